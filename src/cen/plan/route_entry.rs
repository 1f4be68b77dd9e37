//! Custom entries of the route tables of VPCs and VBRs.

use std::collections::BTreeSet;

use ipnet::Ipv4Net;

use super::Planner;
use super::new_entry::check_free;
use super::vpn_route::unpublished;
use crate::cen::change::Change;
use crate::cen::command::{CreateRouteEntry, DeleteRouteEntry, ModifyRouteEntry};
use crate::cen::error::ApiError;
use crate::cen::identifier::{RouteTableId, VpnGatewayId};
use crate::cen::learn::View;
use crate::cen::network::{Host, NetworkId};
use crate::cen::route::{EntryOrigin, NextHop, RouteEntry, RouteKind, RouteTable};

/// Next hops of one entry at most.
const NEXT_HOPS: usize = 16;

impl<'a> Planner<'a> {
    pub(super) fn create_route_entry(&mut self, create: &CreateRouteEntry) -> Result<(), ApiError> {
        let table = self.route_table(&create.route_table)?;
        let kind = kind(table, &create.next_hop_type)?;
        check_free(table, create.destination)?;
        self.check_next_hop(table, kind, &create.next_hop)?;
        self.check_next_hops(table, kind, &create.next_hops)?;
        let entry = RouteEntry {
            id: create.id.clone(),
            destination: create.destination,
            kind,
            next_hop: create.next_hop.clone(),
            next_hops: create.next_hops.clone(),
            as_path: Vec::new(),
            origin: EntryOrigin::Api,
            name: create.name.clone(),
            description: create.description.clone(),
            created: self.now,
        };
        self.add_entry(table, entry);
        Ok(())
    }

    pub(super) fn delete_route_entry(&mut self, delete: &DeleteRouteEntry) -> Result<(), ApiError> {
        let (table, entry) = self.entry_to_delete(delete)?;
        match (entry.origin, entry.kind.row().custom) {
            (EntryOrigin::System, _) => {
                let message = "Specified operation is denied as route entry type is system.";
                return Err(ApiError::bad_request("OperationDenied", message));
            }
            (EntryOrigin::Declared, _) | (_, false) => return Err(not_by_api()),
            (EntryOrigin::VpnRoute, true) => {
                // The gateway's own routes to this destination remain, unpublished.
                let gateway = VpnGatewayId::from(entry.next_hop.as_str());
                for route in
                    self.state.vpn_routes_of(&gateway).filter(|route| route.key.destination == entry.destination)
                {
                    self.changes.push(unpublished(route));
                }
            }
            (EntryOrigin::Api, true) => {}
        }
        self.remove_entry(table, entry);
        Ok(())
    }

    /// Who is led elsewhere is not lost on the way: what was published stays published.
    pub(super) fn modify_route_entry(&mut self, modify: &ModifyRouteEntry) -> Result<(), ApiError> {
        let missing = || ApiError::bad_request("InvalidRouteEntryId.NotFound", "Route entry not exists.");
        let (table, entry) = self.state.route_entry(modify.entry.as_str()).ok_or_else(missing)?;
        if entry.origin != EntryOrigin::Api {
            let message = "Specified operation is denied: only entries made by CreateRouteEntry can be modified.";
            return Err(ApiError::bad_request("OperationDenied", message));
        }
        let mut new = entry.clone();
        if let Some(name) = &modify.name {
            new.name.clone_from(name);
        }
        if let Some(description) = &modify.description {
            new.description.clone_from(description);
        }
        if let Some((next_hop_type, next_hop)) = &modify.next_hop {
            new.kind = kind(table, next_hop_type)?;
            self.check_next_hop(table, new.kind, next_hop)?;
            new.next_hop.clone_from(next_hop);
            new.next_hops.clear();
        }
        self.push(Change::RouteEntrySet { table: table.id.clone(), entry: new });
        Ok(())
    }

    pub(super) fn route_table(&self, id: &RouteTableId) -> Result<&'a RouteTable, ApiError> {
        let missing = || ApiError::not_found("InvalidRouteTableId.NotFound", "Specified route table does not exist.");
        self.state.route_tables.get(id).ok_or_else(missing)
    }

    pub(super) fn entry_to_delete(
        &self,
        delete: &DeleteRouteEntry,
    ) -> Result<(&'a RouteTable, &'a RouteEntry), ApiError> {
        match delete {
            DeleteRouteEntry::ById(id) => self
                .state
                .route_entry(id.as_str())
                .ok_or_else(|| ApiError::bad_request("InvalidRouteEntryId.NotFound", "Route entry not exists.")),
            DeleteRouteEntry::ByDestination { route_table, destination, next_hops } => {
                let table = self.route_table(route_table)?;
                let asked: BTreeSet<&str> = next_hops.iter().map(String::as_str).collect();
                let entry = table.entry_to(*destination).filter(|entry| entry.hops().collect::<BTreeSet<_>>() == asked);
                entry.map(|entry| (table, entry)).ok_or_else(|| self.nothing_to_delete(table, *destination))
            }
        }
    }

    /// A learned route is there to see, but not the table's own.
    fn nothing_to_delete(&self, table: &RouteTable, destination: Ipv4Net) -> ApiError {
        let view = View::of_network(self.state, &table.network);
        let is_learned = view.is_some_and(|view| !view.routes_to(destination).is_empty());
        if table.entry_to(destination).is_none() && is_learned {
            return not_by_api();
        }
        ApiError::bad_request("InvalidRouteEntry.NotFound", "Route entry not exists.")
    }

    fn check_next_hop(&self, table: &RouteTable, kind: RouteKind, next_hop: &str) -> Result<(), ApiError> {
        let declared = &self.state.declarations;
        match (kind, &table.network) {
            (RouteKind::Instance, network) if self.stands_in(declared.instances.get(next_hop), network) => Ok(()),
            (RouteKind::HaVip, network) if self.stands_in(declared.ha_vips.get(next_hop), network) => Ok(()),
            (RouteKind::HaVip, _) => {
                Err(ApiError::not_found("InvalidHaVipId.NotFound", "The specified HaVip does not exist in the VPC."))
            }
            (RouteKind::VpnGateway, NetworkId::Vpc(vpc)) => {
                let gateway = self.state.vpn_gateways.get(next_hop).filter(|gateway| gateway.vpc == *vpc);
                let missing =
                    || ApiError::bad_request("InvalidVpnInstanceId.NotFound", "The specified VPN was not found.");
                gateway.map(|_| ()).ok_or_else(missing)
            }
            (RouteKind::DataCenter, NetworkId::Vbr(vbr))
                if self.state.vbrs.get(vbr).is_some_and(|vbr| vbr.router_interface == next_hop) =>
            {
                Ok(())
            }
            _ => Err(ApiError::not_found("InvalidNextHopId.NotFound", "Specified next hop does not exist.")),
        }
    }

    /// Several next hops share the load if their weights are equal; of two with 100 and 0 the latter stands by.
    fn check_next_hops(&self, table: &RouteTable, kind: RouteKind, next_hops: &[NextHop]) -> Result<(), ApiError> {
        if next_hops.is_empty() {
            return Ok(());
        }
        let ids: BTreeSet<&str> = next_hops.iter().map(|hop| hop.id.as_str()).collect();
        let weights: BTreeSet<u8> = next_hops.iter().map(|hop| hop.weight).collect();
        let fits = weights.len() == 1 || next_hops.len() == 2 && weights == BTreeSet::from([0, 100]);
        if !fits || ids.len() < next_hops.len() || !(2..=NEXT_HOPS).contains(&next_hops.len()) {
            return Err(ApiError::invalid("NextHopList"));
        }
        next_hops.iter().try_for_each(|hop| self.check_next_hop(table, kind, &hop.id))
    }

    fn stands_in(&self, host: Option<&Host>, network: &NetworkId) -> bool {
        let (Some(host), NetworkId::Vpc(vpc)) = (host, network) else { return false };
        self.state.vpcs.get(vpc).is_some_and(|vpc| vpc.region == host.vpc.region && vpc.created_as() == host.vpc.name)
    }
}

/// The kind of entry that a table of this network has for a `NextHopType`.
fn kind(table: &RouteTable, next_hop_type: &str) -> Result<RouteKind, ApiError> {
    let unknown = || ApiError::bad_request("InvalidNextHopType", "Specified next hop type is not valid.");
    RouteKind::custom(table.network.kind(), next_hop_type).ok_or_else(unknown)
}

fn not_by_api() -> ApiError {
    ApiError::bad_request("Forbbiden", "Specified RouteEntry cannot allowed delete by openApi.")
}
