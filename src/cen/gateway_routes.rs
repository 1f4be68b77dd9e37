//! What a VPN gateway's route table should hold.

use std::collections::BTreeMap;

use ipnet::Ipv4Net;

use super::identifier::{VpnConnectionId, VpnGatewayId};
use super::state::State;
use super::vpn::{VpnConnection, VpnRoute, VpnRouteKey};

/// Weight of a route that is in use whenever its connection is.
pub const ACTIVE_WEIGHT: u8 = 100;

/// A route that the cloud wants in a VPN gateway.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct GatewayRoute {
    /// Where packets must go to take the route (`RouteDest`).
    pub destination: Ipv4Net,
    /// Where they must come from, and the priority, if it is a policy-based route (`RouteSource`, `Priority`).
    pub policy: Option<(Ipv4Net, u8)>,
    /// The connection that they leave through (`NextHop`).
    pub connection: VpnConnectionId,
    /// 100: in use whenever its connection is up; 0: standby (`Weight`).
    pub weight: u8,
    /// Published to the VPC's route table.
    pub published: bool,
}

/// The publication of a route that the gateway's own file names.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FileRoutePublication {
    /// Destination of the route, exactly as that file has it.
    pub destination: Ipv4Net,
    /// The connection's name in that file.
    pub connection: String,
}

/// The gateway's routes through connections of the cloud: the VPN routes, and a route to each remote subnet of a
/// connection in policy mode, which needs no VPN route.
pub fn gateway_routes(state: &State, gateway: &VpnGatewayId) -> Vec<GatewayRoute> {
    let mut routes = BTreeMap::new();
    for connection in state.connections_of(gateway).filter(|connection| connection.policy_mode()) {
        for destination in &connection.remote_subnets {
            let route = by_policy(connection, *destination);
            routes.insert((*destination, connection.id.clone(), None), route);
        }
    }
    for route in state.vpn_routes_of(gateway).filter(|route| !route.owned_by_file) {
        let wanted = by_vpn_route(route);
        routes.insert((wanted.destination, wanted.connection.clone(), route.key.source), wanted);
    }
    routes.into_values().collect()
}

/// The one of [`gateway_routes`] that has this key, if there is one.
pub fn gateway_route(state: &State, key: &VpnRouteKey) -> Option<GatewayRoute> {
    if let Some(route) = state.vpn_routes.get(key).filter(|route| !route.owned_by_file) {
        return Some(by_vpn_route(route));
    }
    let connection = state.vpn_connections.get(key.next_hop.as_str())?;
    let carries = key.source.is_none() && connection.gateway == key.gateway && connection.policy_mode();
    (carries && connection.remote_subnets.contains(&key.destination)).then(|| by_policy(connection, key.destination))
}

fn by_policy(connection: &VpnConnection, destination: Ipv4Net) -> GatewayRoute {
    GatewayRoute {
        destination,
        policy: None,
        connection: connection.id.clone(),
        weight: ACTIVE_WEIGHT,
        published: false,
    }
}

fn by_vpn_route(route: &VpnRoute) -> GatewayRoute {
    GatewayRoute {
        destination: route.key.destination,
        policy: route.key.source.map(|source| (source, route.priority)),
        connection: VpnConnectionId::from(route.key.next_hop.as_str()),
        weight: route.weight,
        published: route.published,
    }
}

/// Published routes that the gateway's own file names.
pub fn file_route_publications(state: &State, gateway: &VpnGatewayId) -> Vec<FileRoutePublication> {
    state.vpn_routes_of(gateway).filter_map(publication).collect()
}

/// The one of [`file_route_publications`] that has this key, if there is one.
pub fn file_route_publication(state: &State, key: &VpnRouteKey) -> Option<FileRoutePublication> {
    state.vpn_routes.get(key).and_then(publication)
}

fn publication(route: &VpnRoute) -> Option<FileRoutePublication> {
    let VpnRouteKey { gateway: _, destination, next_hop, source: _ } = &route.key;
    let published = route.owned_by_file && route.published;
    published.then(|| FileRoutePublication { destination: *destination, connection: next_hop.clone() })
}
