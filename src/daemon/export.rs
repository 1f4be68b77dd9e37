//! A connection as its peer has to know it, without the key.

use std::net::IpAddr;

use super::config::{ChildSubnets, Tunnel, proposal};
use crate::control::export::{ChildExport, ConnectionExport};
use crate::ike::{Child, Childless, Connection, Extensions, Start};
use crate::wire::ike::Identification;

/// `start` in the words of the configuration.
pub fn start_word(start: Start) -> &'static str {
    match start {
        Start::Now => "now",
        Start::OnTraffic => "on-traffic",
        Start::Wait => "wait",
    }
}

/// Who the peer says it is: as configured, or its address.
pub fn peer_identity(tunnel: &Tunnel) -> String {
    match &tunnel.template().peer_id {
        Some(id) => id.to_string(),
        None => tunnel.peer.to_string(),
    }
}

/// What the peer has to be told, from this gateway's side.
pub fn export(tunnel: &Tunnel) -> ConnectionExport {
    // The key is not for export, and what both sides need not have alike is left to the peer.
    let Connection {
        name,
        local_address,
        peer: _,
        local_id,
        peer_id: _,
        pre_shared_key: _,
        ike_proposals,
        children,
        start,
        ike_lifetime,
        child_lifetime,
        liveness_interval,
        nat_traversal: _,
        force_encapsulation,
        nat_keepalive: _,
        extensions: Extensions { fragment_size: _, childless, quick_crash_detection: _ },
    } = tunnel.template();
    // A gateway without a fixed address is reached at its identity, if that is one.
    let identity_address = match local_id {
        Identification::Ipv4(address) => Some(IpAddr::V4(*address)),
        Identification::Ipv6(address) => Some(IpAddr::V6(*address)),
        _ => None,
    };
    let child = |(child, subnets): (&Child, &ChildSubnets)| {
        // The selectors are the subnets' own.
        let Child { name, local_selectors: _, peer_selectors: _, esp_proposals } = child;
        let ChildSubnets { local, peer } = subnets;
        ChildExport {
            name: name.to_string(),
            local_subnets: local.clone(),
            peer_subnets: peer.clone(),
            esp_proposals: esp_proposals.iter().map(proposal::esp_keywords).collect(),
            lifetime_seconds: child_lifetime.as_secs(),
        }
    };
    ConnectionExport {
        name: name.to_string(),
        local_address: local_address.or(identity_address).map(|address| address.to_string()),
        peer: tunnel.peer.to_string(),
        local_id: local_id.to_string(),
        peer_id: peer_identity(tunnel),
        ike_proposals: ike_proposals.iter().map(proposal::ike_keywords).collect(),
        ike_lifetime_seconds: ike_lifetime.as_secs(),
        liveness_seconds: liveness_interval.map(|interval| interval.as_secs()),
        force_encapsulation: *force_encapsulation,
        only_childless: *childless == Childless::Force,
        start: start_word(*start).to_owned(),
        children: children.iter().zip(&tunnel.subnets).map(child).collect(),
    }
}
