//! The route table of a VPN gateway, and its publication to the gateway's VPC.

use std::collections::BTreeSet;

use ipnet::Ipv4Net;

use super::new_entry::check_free;
use super::vpn_gateway::quota_full;
use super::{Planner, cidr};
use crate::cen::change::Change;
use crate::cen::command::{CreateVpnRoute, KnownVpnRoute, ModifyVpnRoute, PublishVpnRoute};
use crate::cen::error::ApiError;
use crate::cen::gateway_routes::ACTIVE_WEIGHT;
use crate::cen::identifier::{RouteEntryId, VpnConnectionId, VpnGatewayId};
use crate::cen::network::NetworkId;
use crate::cen::route::{EntryOrigin, RouteEntry, RouteKind, RouteTable};
use crate::cen::vpn::{DEFAULT_PRIORITY, VpnRoute, VpnRouteKey};

/// Destination-based routes of one VPN gateway at most, and as many policy-based ones, those that its connections make
/// included.
pub(in crate::cen) const VPN_ROUTES: usize = 20;

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
        key.source.map_or(Ok(()), cidr::check_vpn_destination)?;
        check_weight("Weight", create.weight)?;
        let priority = create.priority.unwrap_or(DEFAULT_PRIORITY);
        check_priority("Priority", priority)?;
        if self.state.vpn_routes.contains_key(key) {
            let message = "The specified route entry already exists.";
            return Err(ApiError::bad_request("InvalidRouteEntry.Duplicate", message));
        }
        if self.vpn_route_count(&key.gateway, key.source.is_some()) >= VPN_ROUTES {
            return Err(quota_full("routes of the VPN gateway"));
        }
        let route = VpnRoute {
            key: key.clone(),
            weight: create.weight,
            priority,
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
        let routes = self.publishable_vpn_routes(publish)?;
        if publish.publish {
            // Their destination is the same, and so is the VPC's entry.
            let fresh: Vec<VpnRoute> = routes.into_iter().filter(|route| !route.published).collect();
            if let Some(route) = fresh.first() {
                self.publish_to_vpc(route, &publish.entry_id)?;
            }
            self.changes
                .extend(fresh.into_iter().map(|route| Change::VpnRouteSet(VpnRoute { published: true, ..route })));
            return Ok(());
        }
        let mut published: Vec<VpnRoute> = routes.into_iter().filter(|route| route.published).collect();
        if !published.is_empty() {
            let VpnRouteKey { gateway, destination, .. } = &publish.key;
            if publish.policy_based {
                // The destination-based routes to it are withdrawn with them, but not the other way round.
                let routes = self.state.vpn_routes_of(gateway).filter(|route| route.key.source.is_none());
                published
                    .extend(routes.filter(|route| route.published && route.key.destination == *destination).cloned());
            }
            let keys: Vec<&VpnRouteKey> = published.iter().map(|route| &route.key).collect();
            self.withdraw_from_vpc(gateway, *destination, &keys);
            self.changes.extend(published.iter().map(unpublished));
        }
        Ok(())
    }

    pub(super) fn delete_vpn_route(&mut self, route: &KnownVpnRoute) -> Result<(), ApiError> {
        self.vpn_gateway(&route.key.gateway)?;
        let route = self.known_route(route)?;
        self.remove_vpn_routes(&[route]);
        Ok(())
    }

    pub(super) fn modify_vpn_route(&mut self, modify: &ModifyVpnRoute) -> Result<(), ApiError> {
        self.vpn_gateway(&modify.route.key.gateway)?;
        let old = self.known_route(&modify.route)?;
        let (weight, priority) = (modify.new_weight.unwrap_or(old.weight), modify.new_priority.unwrap_or(old.priority));
        check_weight("NewWeight", weight)?;
        check_priority("NewPriority", priority)?;
        if (weight, priority) != (old.weight, old.priority) {
            self.push(Change::VpnRouteSet(VpnRoute { weight, priority, ..old.clone() }));
        }
        Ok(())
    }

    /// A route that the cloud owns, if it is what the caller takes it for.
    fn known_route(&self, known: &KnownVpnRoute) -> Result<&'a VpnRoute, ApiError> {
        let KnownVpnRoute { key, weight, priority } = known;
        let is_it = |route: &&VpnRoute| {
            !route.owned_by_file && route.weight == *weight && priority.is_none_or(|known| known == route.priority)
        };
        self.state.vpn_routes.get(key).filter(is_it).ok_or_else(no_such_route)
    }

    /// Removes routes of one gateway, from its VPC too.
    pub(super) fn remove_vpn_routes(&mut self, routes: &[&VpnRoute]) {
        let keys: Vec<&VpnRouteKey> = routes.iter().map(|route| &route.key).collect();
        let published = routes.iter().filter(|route| route.published);
        let destinations: BTreeSet<(&VpnGatewayId, Ipv4Net)> =
            published.map(|route| (&route.key.gateway, route.key.destination)).collect();
        for (gateway, destination) in destinations {
            self.withdraw_from_vpc(gateway, destination, &keys);
        }
        self.changes.extend(routes.iter().map(|route| Change::VpnRouteRemoved(route.key.clone())));
    }

    /// Routes of this kind that count against the quota.
    pub(super) fn vpn_route_count(&self, gateway: &VpnGatewayId, policy_based: bool) -> usize {
        let counts = |route: &&VpnRoute| !route.owned_by_file && route.key.source.is_some() == policy_based;
        self.state.vpn_routes_of(gateway).filter(counts).count()
    }

    /// Adds the entry to the VPC's system table, unless another published route to this destination has done so.
    ///
    /// # Errors
    /// `InvalidCIDRBlock.Duplicate` when the VPC has an entry of another origin, or another refusal of such an entry.
    fn publish_to_vpc(&mut self, route: &VpnRoute, entry_id: &RouteEntryId) -> Result<(), ApiError> {
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

    /// Takes the entry of a gateway's routes out of the VPC's table, unless one that is published needs it and is none of
    /// those that go.
    fn withdraw_from_vpc(&mut self, gateway: &VpnGatewayId, destination: Ipv4Net, going: &[&VpnRouteKey]) {
        let needed =
            |other: &VpnRoute| other.published && other.key.destination == destination && !going.contains(&&other.key);
        if self.state.vpn_routes_of(gateway).any(needed) {
            return;
        }
        if let Some((table, entry)) = self.published_vpn_entry(gateway, destination) {
            self.remove_entry(table, entry);
        }
    }

    /// VPN routes, or one that becomes one by being published: of the gateway's own file, or of a connection in policy
    /// mode.
    fn publishable_vpn_routes(&self, publish: &PublishVpnRoute) -> Result<Vec<VpnRoute>, ApiError> {
        let key = &publish.key;
        if publish.policy_based {
            let is_it = |route: &&VpnRoute| {
                route.key.source.is_some()
                    && (route.key.destination, &route.key.next_hop) == (key.destination, &key.next_hop)
            };
            let routes: Vec<VpnRoute> = self.state.vpn_routes_of(&key.gateway).filter(is_it).cloned().collect();
            return if routes.is_empty() { Err(no_such_route()) } else { Ok(routes) };
        }
        if let Some(route) = self.state.vpn_routes.get(key) {
            return Ok(vec![route.clone()]);
        }
        let fresh = |weight, owned_by_file| VpnRoute {
            key: key.clone(),
            weight,
            priority: DEFAULT_PRIORITY,
            published: false,
            owned_by_file,
            automatic: false,
            description: String::new(),
            created: self.now,
        };
        if let Some(weight) = publish.owned_by_file {
            cidr::check_vpn_destination(key.destination)?;
            return Ok(vec![fresh(weight, true)]);
        }
        let connection = self.state.vpn_connections.get(key.next_hop.as_str());
        let connection = connection.filter(|connection| connection.gateway == key.gateway && connection.policy_mode());
        let carries = connection.is_some_and(|connection| connection.remote_subnets.contains(&key.destination));
        if carries { Ok(vec![fresh(ACTIVE_WEIGHT, false)]) } else { Err(no_such_route()) }
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

fn check_weight(parameter: &str, weight: u8) -> Result<(), ApiError> {
    if [0, ACTIVE_WEIGHT].contains(&weight) { Ok(()) } else { Err(ApiError::invalid(parameter)) }
}

fn check_priority(parameter: &str, priority: u8) -> Result<(), ApiError> {
    if (1..=100).contains(&priority) { Ok(()) } else { Err(ApiError::invalid(parameter)) }
}

fn no_such_route() -> ApiError {
    ApiError::bad_request("InvalidRouteEntry.NotFound", "The specified route entry does not exist.")
}
