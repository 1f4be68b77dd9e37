//! What both owners' connections and routes protect, as the kernel's side and the state directory take it.

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;
use std::sync::Arc;

use ipnet::IpNet;

use super::config::{Config, PeerName, Tunnel};
use crate::control::owner::OwnerSet;
use crate::io::kept_policy::{KeptPolicy, Share};
use crate::routing::VpnRoute;

/// What the file protects. Routes that are refused because the cloud has the same one are protected all the same.
pub fn file_share(file: &Config) -> Share {
    let local = file.connections.iter().flat_map(|tunnel| local_subnets(tunnel));
    Share { protect: file.routes.iter().map(|route| route.destination).collect(), local: local.collect() }
}

fn local_subnets(tunnel: &Tunnel) -> impl Iterator<Item = IpNet> {
    tunnel.subnets.iter().flat_map(|child| &child.local).copied()
}

/// What the cloud protects. A route whose connection this gateway refuses is there all the same: its packets are dropped,
/// and do not go out in clear because they cannot be sealed.
pub fn cend_share(set: &OwnerSet) -> Share {
    Share {
        protect: set.routes.iter().map(|route| route.destination.trunc()).collect(),
        local: set.connections.iter().flat_map(|connection| &connection.local_subnets).map(|net| net.trunc()).collect(),
    }
}

/// The whole, with the peers' outer addresses as known at the moment.
pub fn policy(file: &Config, cend: Share, outer_peers: BTreeSet<IpAddr>) -> KeptPolicy {
    KeptPolicy { file: file_share(file), cend, ..without_shares(file, outer_peers) }
}

fn without_shares(file: &Config, outer_peers: BTreeSet<IpAddr>) -> KeptPolicy {
    KeptPolicy {
        device: file.gateway.tun.clone(),
        mark: file.gateway.mark,
        outer_addresses: file.gateway.local_addresses.iter().copied().collect(),
        outer_peers,
        bypass: file.bypass.clone(),
        ..KeptPolicy::default()
    }
}

/// Outer addresses of peers that the configuration gives as addresses.
pub fn configured_peers(file: &Config, set: Option<&OwnerSet>) -> BTreeSet<IpAddr> {
    let of_file = file.connections.iter().filter_map(|tunnel| match &tunnel.peer {
        PeerName::Address(address) => Some(*address),
        PeerName::Name(_) | PeerName::Any => None,
    });
    let of_cend =
        set.into_iter().flat_map(|set| &set.connections).filter_map(|connection| connection.peer.parse().ok());
    of_file.chain(of_cend).collect()
}

/// How often each value is there, so that one comes and goes without a look at the others.
#[derive(Debug)]
pub struct Counted<T>(BTreeMap<T, usize>);

impl<T> Default for Counted<T> {
    fn default() -> Self {
        Self(BTreeMap::new())
    }
}

impl<T: Ord + Copy> Counted<T> {
    /// Once more. Whether it was not there.
    pub fn add(&mut self, value: T) -> bool {
        let count = self.0.entry(value).or_default();
        *count += 1;
        *count == 1
    }

    /// Once less. Whether it is not there any more.
    pub fn remove(&mut self, value: T) -> bool {
        let Some(count) = self.0.get_mut(&value) else { return false };
        *count -= 1;
        *count == 0 && self.0.remove(&value).is_some()
    }

    /// Whether it is there.
    pub fn contains(&self, value: &T) -> bool {
        self.0.contains_key(value)
    }

    /// The values that are there.
    pub fn values(&self) -> impl Iterator<Item = T> {
        self.0.keys().copied()
    }
}

/// What is protected and known of the peers, kept in step with what is configured.
#[derive(Debug, Default)]
pub struct Protection {
    protect: Counted<IpNet>,
    local: Counted<IpNet>,
    peers: Counted<IpAddr>,
    cend: Share,
    /// It is not as it was when it was last taken.
    pub stale: bool,
}

impl Protection {
    /// Routes of the file come and go.
    pub fn routes(&mut self, gone: &[&VpnRoute], new: &[&VpnRoute]) {
        // New ones first, so that what stays is no news.
        for route in new {
            self.stale |= self.protect.add(route.destination);
        }
        for route in gone {
            self.stale |= self.protect.remove(route.destination);
        }
    }

    /// The local subnets of connections of the file come and go.
    pub fn local_subnets(&mut self, gone: &[Arc<Tunnel>], new: &[Arc<Tunnel>]) {
        for net in new.iter().flat_map(|tunnel| local_subnets(tunnel)) {
            self.stale |= self.local.add(net);
        }
        for net in gone.iter().flat_map(|tunnel| local_subnets(tunnel)) {
            self.stale |= self.local.remove(net);
        }
    }

    /// Addresses of peers come and go.
    pub fn peers(&mut self, gone: impl IntoIterator<Item = IpAddr>, new: impl IntoIterator<Item = IpAddr>) {
        for address in new {
            self.stale |= self.peers.add(address);
        }
        for address in gone {
            self.stale |= self.peers.remove(address);
        }
    }

    /// What the cloud protects from now on.
    pub fn cend(&mut self, share: Share) {
        self.stale |= share != self.cend;
        self.cend = share;
    }

    /// The whole, with what the file says besides and the addresses that peers were seen at.
    pub fn policy(&self, file: &Config, seen: impl Iterator<Item = IpAddr>) -> KeptPolicy {
        let outer_peers = self.peers.values().chain(seen).collect();
        KeptPolicy {
            file: Share { protect: self.protect.values().collect(), local: self.local.values().collect() },
            cend: self.cend.clone(),
            ..without_shares(file, outer_peers)
        }
    }

    /// What is protected that is not in `shut`.
    pub fn open<'a>(&'a self, shut: &'a BTreeSet<IpNet>) -> BTreeSet<IpNet> {
        self.protect.values().chain(self.cend.protect.iter().copied()).filter(|net| !shut.contains(net)).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_counted_is_there_until_it_has_gone_as_often_as_it_came() {
        let mut counted = Counted::default();
        assert!(counted.add(1) && !counted.add(1) && !counted.remove(2));
        assert!(!counted.remove(1) && counted.contains(&1));
        assert!(counted.remove(1) && !counted.contains(&1));
        assert_eq!(counted.values().count(), 0);
    }
}
