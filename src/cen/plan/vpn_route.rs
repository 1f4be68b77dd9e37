//! The route table of a VPN gateway, and its publication to the gateway's VPC.

use ipnet::Ipv4Net;

use super::new_entry::check_free;
use super::vpn_gateway::quota_full;
use super::{Planner, cidr};
use crate::cen::change::Change;
use crate::cen::command::{CreateVpnRoute, DeleteVpnRoute, ModifyVpnRouteWeight, PublishVpnRoute};
use crate::cen::error::ApiError;
use crate::cen::gateway_routes::ACTIVE_WEIGHT;
use crate::cen::identifier::{RouteEntryId, VpnConnectionId, VpnGatewayId};
use crate::cen::network::NetworkId;
use crate::cen::route::{EntryOrigin, RouteEntry, RouteKind, RouteTable};
use crate::cen::vpn::{VpnRoute, VpnRouteKey};

/// Destination-based routes of one VPN gateway at most.
const VPN_ROUTES: usize = 20;

impl<'a> Planner<'a> {
    pub(super) fn create_vpn_route(&mut self, create: &CreateVpnRoute) -> Result<(), ApiError> {
        let key = &create.key;
        self.vpn_gateway(&key.gateway)?;
        let connection = self.vpn_connection(&VpnConnectionId::from(key.next_hop.as_str()))?;
        if connection.gateway != key.gateway {
            let message = format!("{} is not a connection of {}.", connection.id, key.gateway);
            return Err(ApiError::not_found("InvalidVpnConnectionInstanceId.NotFound", message));
        }
        cidr::check_vpn_destination(key.destination)?;
        if ![0, ACTIVE_WEIGHT].contains(&create.weight) {
            return Err(ApiError::invalid("Weight"));
        }
        if self.state.vpn_routes.contains_key(key) {
            let message = "The specified route entry already exists.";
            return Err(ApiError::bad_request("InvalidRouteEntry.Duplicate", message));
        }
        self.check_vpn_route_quota(&key.gateway, 0)?;
        let route = VpnRoute {
            key: key.clone(),
            weight: create.weight,
            published: create.publish,
            owned_by_file: false,
            automatic: false,
            description: create.description.clone(),
            created: self.now,
        };
        if create.publish {
            self.publish_to_vpc(&route, &create.entry_id)?;
        }
        self.push(Change::VpnRouteSet(route));
        Ok(())
    }

    pub(super) fn publish_vpn_route(&mut self, publish: &PublishVpnRoute) -> Result<(), ApiError> {
        self.vpn_gateway(&publish.key.gateway)?;
        let route = self.publishable_vpn_route(publish)?;
        match (publish.publish, route.published) {
            (true, false) => {
                let route = VpnRoute { published: true, ..route };
                self.publish_to_vpc(&route, &publish.entry_id)?;
                self.push(Change::VpnRouteSet(route));
            }
            (false, true) => {
                self.withdraw_from_vpc(&route);
                self.push(unpublished(&route));
            }
            (true, true) | (false, false) => {}
        }
        Ok(())
    }

    pub(super) fn delete_vpn_route(&mut self, delete: &DeleteVpnRoute) -> Result<(), ApiError> {
        self.vpn_gateway(&delete.key.gateway)?;
        self.remove_vpn_route(self.route_of_weight(&delete.key, delete.weight)?);
        Ok(())
    }

    pub(super) fn modify_vpn_route_weight(&mut self, modify: &ModifyVpnRouteWeight) -> Result<(), ApiError> {
        let ModifyVpnRouteWeight { key, weight, new_weight } = modify;
        self.vpn_gateway(&key.gateway)?;
        let route = self.route_of_weight(key, *weight)?;
        if ![0, ACTIVE_WEIGHT].contains(new_weight) {
            return Err(ApiError::invalid("NewWeight"));
        }
        if new_weight != weight {
            self.push(Change::VpnRouteSet(VpnRoute { weight: *new_weight, ..route.clone() }));
        }
        Ok(())
    }

    /// A route that the cloud owns, if it has the weight that the caller takes it to have.
    fn route_of_weight(&self, key: &VpnRouteKey, weight: u8) -> Result<&'a VpnRoute, ApiError> {
        let route = self.state.vpn_routes.get(key);
        route.filter(|route| route.weight == weight && !route.owned_by_file).ok_or_else(no_such_route)
    }

    /// Removes a route of a gateway, from its VPC too.
    pub(super) fn remove_vpn_route(&mut self, route: &VpnRoute) {
        if route.published {
            self.withdraw_from_vpc(route);
        }
        self.push(Change::VpnRouteRemoved(route.key.clone()));
    }

    /// Is there room for one more route beside the `added` ones of this command?
    pub(super) fn check_vpn_route_quota(&self, gateway: &VpnGatewayId, added: usize) -> Result<(), ApiError> {
        let present = self.state.vpn_routes_of(gateway).filter(|route| !route.owned_by_file).count();
        if present + added >= VPN_ROUTES { Err(quota_full("routes of the VPN gateway")) } else { Ok(()) }
    }

    /// Adds the entry to the VPC's system table, unless another published route to this destination has done so.
    ///
    /// # Errors
    /// `InvalidCIDRBlock.Duplicate` when the VPC has an entry of another origin, or another refusal of such an entry.
    pub(super) fn publish_to_vpc(&mut self, route: &VpnRoute, entry_id: &RouteEntryId) -> Result<(), ApiError> {
        let (gateway, destination) = (self.vpn_gateway(&route.key.gateway)?, route.key.destination);
        if self.published_vpn_entry(&gateway.id, destination).is_some() {
            return Ok(());
        }
        let table = self.state.table_of(&NetworkId::Vpc(gateway.vpc.clone())).ok_or_else(ApiError::internal)?;
        check_free(table, destination)?;
        let entry = RouteEntry {
            id: entry_id.clone(),
            destination,
            kind: RouteKind::VpnGateway,
            next_hop: gateway.id.to_string(),
            next_hops: Vec::new(),
            as_path: Vec::new(),
            origin: EntryOrigin::VpnRoute,
            name: String::new(),
            description: String::new(),
            created: self.now,
        };
        self.add_entry(table, entry);
        Ok(())
    }

    /// The entry to a VPN gateway that stands in the VPC's table because a VPN route is published.
    fn published_vpn_entry(
        &self,
        gateway: &VpnGatewayId,
        destination: Ipv4Net,
    ) -> Option<(&'a RouteTable, &'a RouteEntry)> {
        let gateway = self.state.vpn_gateways.get(gateway)?;
        let table = self.state.table_of(&NetworkId::Vpc(gateway.vpc.clone()))?;
        let entry = table.entry_to(destination)?;
        let ours = entry.origin == EntryOrigin::VpnRoute && entry.next_hop == gateway.id.as_str();
        ours.then_some((table, entry))
    }

    /// Takes the entry out of the VPC's table, unless another published route needs it.
    fn withdraw_from_vpc(&mut self, route: &VpnRoute) {
        let destination = route.key.destination;
        let needed =
            |other: &VpnRoute| other.published && other.key.destination == destination && other.key != route.key;
        if self.state.vpn_routes_of(&route.key.gateway).any(needed) {
            return;
        }
        if let Some((table, entry)) = self.published_vpn_entry(&route.key.gateway, destination) {
            self.remove_entry(table, entry);
        }
    }

    /// A VPN route, or one that becomes one by being published: of the gateway's own file, or of a connection in
    /// policy mode.
    fn publishable_vpn_route(&self, publish: &PublishVpnRoute) -> Result<VpnRoute, ApiError> {
        let key = &publish.key;
        if let Some(route) = self.state.vpn_routes.get(key) {
            return Ok(route.clone());
        }
        let fresh = |weight, owned_by_file| VpnRoute {
            key: key.clone(),
            weight,
            published: false,
            owned_by_file,
            automatic: !owned_by_file,
            description: String::new(),
            created: self.now,
        };
        if let Some(weight) = publish.owned_by_file {
            cidr::check_vpn_destination(key.destination)?;
            return Ok(fresh(weight, true));
        }
        let connection = self.state.vpn_connections.get(key.next_hop.as_str());
        let connection = connection.filter(|connection| connection.gateway == key.gateway && connection.policy_mode());
        let carries = connection.is_some_and(|connection| connection.remote_subnets.contains(&key.destination));
        if carries { Ok(fresh(ACTIVE_WEIGHT, false)) } else { Err(no_such_route()) }
    }
}

/// What remains of a route that is no longer published: of one from the gateway's own file, nothing.
pub(super) fn unpublished(route: &VpnRoute) -> Change {
    if route.owned_by_file {
        Change::VpnRouteRemoved(route.key.clone())
    } else {
        Change::VpnRouteSet(VpnRoute { published: false, ..route.clone() })
    }
}

fn no_such_route() -> ApiError {
    ApiError::bad_request("InvalidRouteEntry.NotFound", "The specified route entry does not exist.")
}
