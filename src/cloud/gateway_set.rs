//! The complete set that cend wants in one gatewayd, derived from the cloud's state.
use ipnet::{IpNet, Ipv4Net};

use crate::cen::gateway_routes::{FileRoutePublication, GatewayRoute, file_route_publications, gateway_routes};
use crate::cen::state::State;
use crate::cen::vpn::{IkeConfig, IpsecConfig, VpnConnection, VpnGateway};
use crate::control::owner::{
    OwnerConnection, OwnerEsp, OwnerIke, OwnerPublication, OwnerRoute, OwnerSet, OwnerStart, PresharedKey,
};
use crate::control::route::Publication;

/// Everything that belongs into the gatewayd of `gateway`. Without a gateway the set is empty, so that what the cloud
/// has deleted goes there too.
pub fn owner_set(state: &State, gateway: Option<&VpnGateway>, revision: u64) -> OwnerSet {
    let Some(gateway) = gateway else { return OwnerSet { revision, ..OwnerSet::default() } };
    OwnerSet {
        revision,
        connections: state.connections_of(&gateway.id).filter_map(|one| connection(state, one)).collect(),
        routes: gateway_routes(state, &gateway.id).into_iter().map(route).collect(),
        publications: file_route_publications(state, &gateway.id).into_iter().map(publication).collect(),
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
    let GatewayRoute { destination, connection, weight, published } = route;
    OwnerRoute {
        destination: IpNet::V4(destination),
        connection: connection.as_str().to_owned(),
        weight,
        publication: if published { Publication::Published } else { Publication::Normal },
    }
}

fn publication(publication: FileRoutePublication) -> OwnerPublication {
    let FileRoutePublication { destination, connection } = publication;
    OwnerPublication { destination: IpNet::V4(destination), connection, publication: Publication::Published }
}
