//! Carries out changes. Total: every change can be applied to every state.

use std::collections::BTreeMap;

use ipnet::Ipv4Net;

use super::change::Change;
use super::client_token::{ClientTokenRecord, TOKEN_KEPT};
use super::identifier::{RouteEntryId, RouteTableId};
use super::index::CenIndex;
use super::network::{Declarations, NetworkId, UnixMillis};
use super::route::{RouteEntry, RouteKind};
use super::shared::Shared;
use super::state::{Attachment, State};

/// The most `ClientToken`s that are known at a time.
const TOKENS: usize = 8192;

/// Applies one change. What it names and does not exist is left alone.
pub fn apply(state: &mut State, change: &Change) {
    match change {
        Change::CenSet(cen) => set(&mut state.cens, &cen.id, cen),
        Change::CenRemoved(id) => remove(&mut state.cens, id),
        Change::Attached { network, cen, at } => {
            detach(state, network);
            let attachment = Attachment { cen: cen.clone(), attached: *at, publications: Shared::default() };
            state.attachments.insert(network.clone(), attachment);
            let entries = state.indexed_entries(network);
            state.index.attach(cen, network, entries);
        }
        Change::Detached { network } => detach(state, network),
        Change::Published { network, destination, order } => {
            state.next_publication = state.next_publication.max(order.saturating_add(1));
            if let Some(attachment) = state.attachments.get_mut(network) {
                let former = attachment.publications.insert(*destination, *order);
                if let Some(index) = state.index.of_mut(&attachment.cen) {
                    former.into_iter().for_each(|former| index.withdraw(network, *destination, former));
                    index.publish(network, *destination, *order);
                }
            }
        }
        Change::Withdrawn { network, destination } => {
            if let Some(attachment) = state.attachments.get_mut(network)
                && let Some(order) = attachment.publications.remove(destination)
                && let Some(index) = state.index.of_mut(&attachment.cen)
            {
                index.withdraw(network, *destination, order);
            }
        }
        Change::RouteMapSet(map) => set(&mut state.route_maps, &map.id, map),
        Change::RouteMapRemoved(id) => remove(&mut state.route_maps, id),
        Change::BandwidthPackageSet(package) => set(&mut state.bandwidth_packages, &package.id, package),
        Change::BandwidthPackageRemoved(id) => remove(&mut state.bandwidth_packages, id),
        Change::BandwidthLimitSet(new) => {
            state.bandwidth_limits.retain(|old| (&old.cen, &old.regions) != (&new.cen, &new.regions));
            if new.limit > 0 {
                state.bandwidth_limits.push(new.clone());
            }
        }
        Change::VpcSet(vpc) => set(&mut state.vpcs, &vpc.id, vpc),
        Change::VpcRemoved(id) => remove(&mut state.vpcs, id),
        Change::VSwitchSet(vswitch) => set(&mut state.vswitches, &vswitch.id, vswitch),
        Change::VSwitchRemoved(id) => remove(&mut state.vswitches, id),
        Change::VbrSet(vbr) => set(&mut state.vbrs, &vbr.id, vbr),
        Change::VbrRemoved(id) => remove(&mut state.vbrs, id),
        Change::RouteTableSet(table) => {
            forget_entries(state, &table.id);
            set(&mut state.route_tables, &table.id, table);
            for entry in table.entries.values() {
                index_entry(state, &table.id, entry, CenIndex::add_entry);
            }
        }
        Change::RouteTableRemoved(id) => {
            forget_entries(state, id);
            remove(&mut state.route_tables, id);
        }
        Change::RouteEntrySet { table, entry } => {
            remove_entry(state, table, &entry.id);
            if let Some(table) = state.route_tables.get_mut(table) {
                set(&mut table.entries, &entry.id, entry);
            }
            index_entry(state, table, entry, CenIndex::add_entry);
        }
        Change::RouteEntryRemoved { table, entry } => remove_entry(state, table, entry),
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
            if state.client_tokens.len() >= TOKENS {
                forget_tokens(&mut state.client_tokens, record.used);
            }
            state.client_tokens.insert(key.clone(), record.clone().into());
        }
        Change::Declared(declarations) => state.declarations = Declarations::clone(declarations).into(),
    }
}

fn detach(state: &mut State, network: &NetworkId) {
    if let Some(former) = state.attachments.remove(network) {
        let entries = state.indexed_entries(network);
        let publications = former.publications.iter().map(|(destination, order)| (*destination, *order));
        state.index.detach(&former.cen, network, entries, publications);
    }
}

fn remove_entry(state: &mut State, table: &RouteTableId, entry: &RouteEntryId) {
    let removed = state.route_tables.get_mut(table).and_then(|table| table.entries.remove(entry));
    if let Some(removed) = removed {
        index_entry(state, table, &removed, CenIndex::remove_entry);
    }
}

/// The entries of a table go, as far as the index is concerned.
fn forget_entries(state: &mut State, table: &RouteTableId) {
    let entries = state.route_tables.get(table).map(|table| table.entries.clone()).unwrap_or_default();
    for entry in entries.values() {
        index_entry(state, table, entry, CenIndex::remove_entry);
    }
}

/// Tells the index of an entry that came or went, if the table is the one that CEN knows of its network, and that is attached.
fn index_entry(
    state: &mut State,
    table: &RouteTableId,
    entry: &RouteEntry,
    tell: fn(&mut CenIndex, &NetworkId, Ipv4Net, RouteKind),
) {
    let Some(network) = state.route_tables.get(table).map(|table| table.network.clone()) else { return };
    if state.table_of(&network).is_none_or(|known| known.id != *table) {
        return;
    }
    let Some(cen) = state.attachments.get(&network).map(|attachment| attachment.cen.clone()) else { return };
    if let Some(index) = state.index.of_mut(&cen) {
        tell(index, &network, entry.destination, entry.kind);
    }
}

/// Forgets the tokens that are too old, and the oldest half of all of them at least, so that it is not to be done again soon.
fn forget_tokens(tokens: &mut BTreeMap<String, Shared<ClientTokenRecord>>, now: UnixMillis) {
    let mut used: Vec<u64> = tokens.values().map(|token| token.used.0).collect();
    let (_, median, _) = used.select_nth_unstable(TOKENS / 2);
    let oldest = (*median).max(now.0.saturating_sub(TOKEN_KEPT));
    tokens.retain(|_, token| token.used.0 > oldest);
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
    use crate::cen::network::Vpc;
    use crate::cen::route::{EntryOrigin, RouteTable};

    /// No plan makes such changes; the index follows them all the same.
    #[test]
    fn what_is_replaced_leaves_nothing_of_it_in_the_index() {
        let network = NetworkId::Vpc("vpc-a".into());
        let entry = |destination: &str, kind| RouteEntry {
            id: "rte-a".into(),
            destination: destination.parse().unwrap(),
            kind,
            next_hop: String::new(),
            next_hops: Vec::new(),
            as_path: Vec::new(),
            origin: EntryOrigin::System,
            name: String::new(),
            description: String::new(),
            created: UnixMillis(1),
        };
        let table = |entry: Option<RouteEntry>| {
            Change::RouteTableSet(RouteTable {
                id: "vtb-a".into(),
                network: network.clone(),
                name: String::new(),
                description: String::new(),
                tags: Vec::new(),
                created: UnixMillis(1),
                route_propagation: true,
                entries: entry.into_iter().map(|entry| (entry.id.clone(), entry)).collect::<BTreeMap<_, _>>().into(),
            })
        };
        let vpc = Vpc {
            id: "vpc-a".into(),
            region: "cn-hangzhou".into(),
            cidr: "10.0.0.0/8".parse().unwrap(),
            name: String::new(),
            description: String::new(),
            router: "vrt-a".into(),
            route_table: "vtb-a".into(),
            created: UnixMillis(1),
            tags: Vec::new(),
            created_as: None,
            secondary_cidrs: Vec::new(),
            user_cidrs: Vec::new(),
        };
        let attached = |cen: &str| Change::Attached { network: network.clone(), cen: cen.into(), at: UnixMillis(1) };
        let published = |order| {
            let destination = "10.2.0.0/16".parse().unwrap();
            Change::Published { network: network.clone(), destination, order }
        };
        let other = entry("10.2.0.0/16", RouteKind::Instance);
        let mut state = State::default();
        for change in [
            Change::VpcSet(vpc),
            table(Some(entry("10.1.0.0/16", RouteKind::VSwitch))),
            attached("cen-a"),
            Change::RouteEntrySet { table: "vtb-a".into(), entry: other },
            published(1),
            published(2),
            attached("cen-b"),
            table(None),
            table(Some(entry("10.1.0.0/16", RouteKind::VSwitch))),
            Change::RouteTableRemoved("vtb-a".into()),
        ] {
            apply(&mut state, &change);
            let mut derived = state.clone();
            derived.reindex();
            assert_eq!(state.index, derived.index, "{change:?}");
        }
    }

    #[test]
    fn client_tokens_are_bounded_in_number_and_the_newest_stay() {
        let mut state = State::default();
        for n in 0..20_000 {
            let record = ClientTokenRecord { fingerprint: String::new(), answer: None, used: UnixMillis(n) };
            apply(&mut state, &Change::ClientTokenUsed { key: format!("CreateVpc {n:05}"), record });
            assert!(state.client_tokens.len() <= TOKENS);
        }
        let oldest = state.client_tokens.keys().next().unwrap();
        assert!((11_000..17_000).any(|n| *oldest == format!("CreateVpc {n:05}")), "{oldest}");
        assert!(state.client_tokens.contains_key("CreateVpc 19999"));
    }
}
