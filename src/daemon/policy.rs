//! What both owners' connections and routes protect, as the kernel's side and the state directory take it.

use std::collections::BTreeSet;
use std::net::IpAddr;

use super::config::{Config, PeerName};
use crate::control::owner_change::OwnerEntries;
use crate::io::kept_policy::{KeptPolicy, Share};

/// What the file protects. Routes that are refused because the cloud has the same one are protected all the same.
pub fn file_share(file: &Config) -> Share {
    let local = file.connections.iter().flat_map(|tunnel| &tunnel.subnets).flat_map(|child| &child.local);
    Share { protect: file.routes.iter().map(|route| route.destination).collect(), local: local.copied().collect() }
}

/// What the cloud protects. A route whose connection this gateway refuses is there all the same: its packets are dropped,
/// and do not go out in clear because they cannot be sealed.
pub fn cend_share(set: &OwnerEntries) -> Share {
    Share {
        protect: set.routes.keys().map(|route| route.destination.trunc()).collect(),
        local: set
            .connections
            .values()
            .flat_map(|connection| &connection.local_subnets)
            .map(|net| net.trunc())
            .collect(),
    }
}

/// The whole, with the peers' outer addresses as known at the moment.
pub fn policy(file: &Config, cend: Share, outer_peers: BTreeSet<IpAddr>) -> KeptPolicy {
    KeptPolicy {
        device: file.gateway.tun.clone(),
        mark: file.gateway.mark,
        outer_addresses: file.gateway.local_addresses.iter().copied().collect(),
        outer_peers,
        bypass: file.bypass.clone(),
        file: file_share(file),
        cend,
        ..KeptPolicy::default()
    }
}

/// Outer addresses of peers that the configuration gives as addresses.
pub fn configured_peers(file: &Config, set: Option<&OwnerEntries>) -> BTreeSet<IpAddr> {
    let of_file = file.connections.iter().filter_map(|tunnel| match &tunnel.peer {
        PeerName::Address(address) => Some(*address),
        PeerName::Name(_) | PeerName::Any => None,
    });
    let of_cend =
        set.into_iter().flat_map(|set| set.connections.values()).filter_map(|connection| connection.peer.parse().ok());
    of_file.chain(of_cend).collect()
}
