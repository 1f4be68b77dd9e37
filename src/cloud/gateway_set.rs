//! What cend wants in one gatewayd, derived from the cloud's state: the complete set, or what of it was touched.
use std::sync::Arc;

use ipnet::{IpNet, Ipv4Net};

use super::recent_changes::Touched;
use crate::cen::gateway_routes::{
    FileRoutePublication, GatewayRoute, file_route_publication, file_route_publications, gateway_route, gateway_routes,
};
use crate::cen::identifier::VpnGatewayId;
use crate::cen::state::State;
use crate::cen::vpn::{IkeConfig, IpsecConfig, VpnConnection, VpnRouteKey};
use crate::control::owner::{
    OwnerConnection, OwnerEsp, OwnerIke, OwnerPublication, OwnerRoute, OwnerSet, OwnerStart, PresharedKey,
};
use crate::control::owner_change::{OwnerChange, OwnerRouteKey};
use crate::control::route::Publication;
use crate::io::store::Revision;

/// Everything that belongs into the gatewayd of `gateway`. Without a gateway the set is empty, so that what the cloud
/// has deleted goes there too.
pub fn owner_set(state: &State, gateway: Option<&VpnGatewayId>, session: &str, revision: Revision) -> OwnerSet {
    let empty = OwnerSet { session: session.to_owned(), revision: revision.0, ..OwnerSet::default() };
    let Some(gateway) = gateway else { return empty };
    OwnerSet {
        connections: state.connections_of(gateway).filter_map(|one| connection(state, one)).map(Arc::new).collect(),
        routes: gateway_routes(state, gateway).into_iter().map(route).collect(),
        publications: file_route_publications(state, gateway).into_iter().map(publication).collect(),
        ..empty
    }
}

/// What leads the gatewayd of `gateway` from the set that it was told before something was touched to the one of `state`, at
/// the cost of what was touched. The revisions are the caller's to set.
pub fn owner_change(state: &State, gateway: &VpnGatewayId, touched: &Touched) -> OwnerChange {
    let mut change = OwnerChange::default();
    for (_, id) in touched.connections.iter().filter(|(at, _)| at == gateway) {
        let there = state.vpn_connections.get(id).filter(|there| there.gateway == *gateway);
        match there.and_then(|there| connection(state, there)) {
            Some(connection) => change.connections.set.push(Arc::new(connection)),
            None => change.connections.removed.push(id.as_str().to_owned()),
        }
    }
    for key in touched.routes.iter().filter(|key| key.gateway == *gateway) {
        match gateway_route(state, key) {
            Some(there) => change.routes.set.push(route(there)),
            None => change.routes.removed.push(route_key(key)),
        }
    }
    for key in touched.file_routes.iter().filter(|key| key.gateway == *gateway) {
        match file_route_publication(state, key) {
            Some(there) => change.publications.set.push(publication(there)),
            None => change.publications.removed.push(route_key(key)),
        }
    }
    change
}

fn route_key(key: &VpnRouteKey) -> OwnerRouteKey {
    OwnerRouteKey {
        connection: key.next_hop.clone(),
        destination: IpNet::V4(key.destination),
        source: key.source.map(IpNet::V4),
    }
}

/// `None` if the customer gateway is gone, which the cloud's rules do not allow.
fn connection(state: &State, connection: &VpnConnection) -> Option<OwnerConnection> {
    let VpnConnection {
        id,
        gateway: _,
        customer_gateway,
        // What only the cloud shows, and what it does itself.
        name: _,
        local_subnets,
        remote_subnets,
        effect_immediately,
        dead_peer_detection,
        nat_traversal,
        auto_config_route: _,
        ike,
        ipsec,
        created: _,
        tags: _,
    } = connection;
    let IkeConfig { psk, version, mode, encryption, authentication, group, lifetime, local_id, remote_id } = ike;
    let peer = state.customer_gateways.get(customer_gateway)?.address;
    Some(OwnerConnection {
        name: id.as_str().to_owned(),
        peer: peer.to_string(),
        local_id: local_id.clone(),
        peer_id: remote_id.clone(),
        psk: PresharedKey::new(psk.expose()),
        ike: OwnerIke {
            version: version.clone(),
            mode: mode.clone(),
            encryption: encryption.word().to_owned(),
            integrity: authentication.word().to_owned(),
            group: group.word().to_owned(),
            lifetime: u64::from(*lifetime),
        },
        esp: esp(ipsec),
        local_subnets: subnets(local_subnets),
        peer_subnets: subnets(remote_subnets),
        start: if *effect_immediately { OwnerStart::Now } else { OwnerStart::OnTraffic },
        liveness: *dead_peer_detection,
        nat_traversal: *nat_traversal,
    })
}

fn esp(config: &IpsecConfig) -> OwnerEsp {
    let IpsecConfig { encryption, authentication, pfs, lifetime } = config;
    OwnerEsp {
        encryption: encryption.word().to_owned(),
        integrity: authentication.word().to_owned(),
        pfs: pfs.word().to_owned(),
        lifetime: u64::from(*lifetime),
    }
}

fn subnets(subnets: &[Ipv4Net]) -> Vec<IpNet> {
    subnets.iter().copied().map(IpNet::V4).collect()
}

fn route(route: GatewayRoute) -> OwnerRoute {
    let GatewayRoute { destination, policy, connection, weight, published } = route;
    OwnerRoute {
        destination: IpNet::V4(destination),
        source: policy.map(|(source, _)| IpNet::V4(source)),
        priority: policy.map(|(_, priority)| priority),
        connection: connection.as_str().to_owned(),
        weight,
        publication: if published { Publication::Published } else { Publication::Normal },
    }
}

fn publication(publication: FileRoutePublication) -> OwnerPublication {
    let FileRoutePublication { destination, connection } = publication;
    OwnerPublication { destination: IpNet::V4(destination), connection, publication: Publication::Published }
}
