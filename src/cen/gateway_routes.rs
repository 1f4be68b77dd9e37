//! What a VPN gateway's route table should hold.

use std::collections::BTreeMap;

use ipnet::Ipv4Net;

use super::identifier::{VpnConnectionId, VpnGatewayId};
use super::state::State;
use super::vpn::VpnRouteKey;

/// Weight of a route that is in use whenever its connection is.
pub const ACTIVE_WEIGHT: u8 = 100;

/// A route that the cloud wants in a VPN gateway.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct GatewayRoute {
    /// Where packets must go to take the route (`RouteDest`).
    pub destination: Ipv4Net,
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
            let route = GatewayRoute {
                destination: *destination,
                connection: connection.id.clone(),
                weight: ACTIVE_WEIGHT,
                published: false,
            };
            routes.insert((*destination, connection.id.clone()), route);
        }
    }
    for route in state.vpn_routes_of(gateway).filter(|route| !route.owned_by_file) {
        let connection = VpnConnectionId::from(route.key.next_hop.as_str());
        let destination = route.key.destination;
        let wanted = GatewayRoute {
            destination,
            connection: connection.clone(),
            weight: route.weight,
            published: route.published,
        };
        routes.insert((destination, connection), wanted);
    }
    routes.into_values().collect()
}

/// Published routes that the gateway's own file names.
pub fn file_route_publications(state: &State, gateway: &VpnGatewayId) -> Vec<FileRoutePublication> {
    let published = state.vpn_routes_of(gateway).filter(|route| route.owned_by_file && route.published);
    let publication =
        |key: &VpnRouteKey| FileRoutePublication { destination: key.destination, connection: key.next_hop.clone() };
    published.map(|route| publication(&route.key)).collect()
}
