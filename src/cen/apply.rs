//! Carries out changes. Total: every change can be applied to every state.

use std::collections::BTreeMap;

use super::change::Change;
use super::state::{Attachment, State};

/// How long after its use a `ClientToken` is known, in milliseconds: a day. A call is repeated within minutes.
const TOKEN_KEPT: u64 = 24 * 60 * 60 * 1000;

/// Applies one change. What it names and does not exist is left alone.
pub fn apply(state: &mut State, change: &Change) {
    match change {
        Change::CenSet(cen) => set(&mut state.cens, &cen.id, cen),
        Change::CenRemoved(id) => remove(&mut state.cens, id),
        Change::Attached { network, cen, at } => {
            let attachment = Attachment { cen: cen.clone(), attached: *at, publications: BTreeMap::new() };
            state.attachments.insert(network.clone(), attachment);
        }
        Change::Detached { network } => remove(&mut state.attachments, network),
        Change::Published { network, destination, order } => {
            state.next_publication = state.next_publication.max(order.saturating_add(1));
            if let Some(attachment) = state.attachments.get_mut(network) {
                attachment.publications.insert(*destination, *order);
            }
        }
        Change::Withdrawn { network, destination } => {
            if let Some(attachment) = state.attachments.get_mut(network) {
                attachment.publications.remove(destination);
            }
        }
        Change::VpcSet(vpc) => set(&mut state.vpcs, &vpc.id, vpc),
        Change::VpcRemoved(id) => remove(&mut state.vpcs, id),
        Change::VSwitchSet(vswitch) => set(&mut state.vswitches, &vswitch.id, vswitch),
        Change::VSwitchRemoved(id) => remove(&mut state.vswitches, id),
        Change::VbrSet(vbr) => set(&mut state.vbrs, &vbr.id, vbr),
        Change::VbrRemoved(id) => remove(&mut state.vbrs, id),
        Change::RouteTableSet(table) => set(&mut state.route_tables, &table.id, table),
        Change::RouteTableRemoved(id) => remove(&mut state.route_tables, id),
        Change::RouteEntrySet { table, entry } => {
            if let Some(table) = state.route_tables.get_mut(table) {
                set(&mut table.entries, &entry.id, entry);
            }
        }
        Change::RouteEntryRemoved { table, entry } => {
            if let Some(table) = state.route_tables.get_mut(table) {
                remove(&mut table.entries, entry);
            }
        }
        Change::ResourceGroupSet { resource, group } if group.is_empty() => {
            remove(&mut state.resource_groups, resource)
        }
        Change::ResourceGroupSet { resource, group } => set(&mut state.resource_groups, resource, group),
        Change::Granted(grant) => {
            state.grants.retain(|known| !known.is_of(&grant.network, &grant.cen));
            state.grants.push(grant.clone());
        }
        Change::Revoked { network, cen } => state.grants.retain(|known| !known.is_of(network, cen)),
        Change::VpnGatewaySet(gateway) => set(&mut state.vpn_gateways, &gateway.id, gateway),
        Change::VpnGatewayRemoved(id) => remove(&mut state.vpn_gateways, id),
        Change::CustomerGatewaySet(gateway) => set(&mut state.customer_gateways, &gateway.id, gateway),
        Change::CustomerGatewayRemoved(id) => remove(&mut state.customer_gateways, id),
        Change::VpnConnectionSet(connection) => set(&mut state.vpn_connections, &connection.id, connection),
        Change::VpnConnectionRemoved(id) => remove(&mut state.vpn_connections, id),
        Change::VpnRouteSet(route) => set(&mut state.vpn_routes, &route.key, route),
        Change::VpnRouteRemoved(key) => remove(&mut state.vpn_routes, key),
        Change::ClientTokenUsed { key, record } => {
            let oldest = record.used.0.saturating_sub(TOKEN_KEPT);
            state.client_tokens.retain(|_, known| known.used.0 >= oldest);
            set(&mut state.client_tokens, key, record);
        }
        Change::Declared(declarations) => state.declarations.clone_from(declarations),
    }
}

fn set<K: Ord + Clone, V: Clone>(map: &mut BTreeMap<K, V>, key: &K, value: &V) {
    map.insert(key.clone(), value.clone());
}

fn remove<K: Ord, V>(map: &mut BTreeMap<K, V>, key: &K) {
    map.remove(key);
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cen::network::UnixMillis;
    use crate::cen::state::ClientTokenRecord;

    #[test]
    fn a_client_token_is_known_for_a_day_and_then_forgotten() {
        let mut state = State::default();
        let hour = 60 * 60 * 1000;
        for n in 0..1000 {
            let record = ClientTokenRecord { fingerprint: String::new(), used: UnixMillis(n * hour) };
            apply(&mut state, &Change::ClientTokenUsed { key: format!("CreateVpc {n:04}"), record });
        }
        let known: Vec<&String> = state.client_tokens.keys().collect();
        assert_eq!((known.len(), known[0].as_str()), (25, "CreateVpc 0975"));
    }
}
