//! What both owners' connections and routes protect, as the kernel's side and the state directory take it.

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;
use std::sync::Arc;

use ipnet::IpNet;

use super::changed::Changed;
use super::config::{Config, PeerName, Tunnel};
use crate::control::Owner;
use crate::control::owner::OwnerConnection;
use crate::control::owner_change::{OwnerEntries, OwnerRouteKey};
use crate::io::kept_policy::{KeptPolicy, KeptRoute, Share};
use crate::routing::{RoutePolicy, SharedSet, VpnRoute};

/// Prefixes that routes and connections protect, each as often as they do.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Protected {
    /// Destinations of routes.
    pub protect: Vec<IpNet>,
    /// Local subnets of connections.
    pub local: Vec<IpNet>,
    /// Policy-based routes of the cloud.
    pub policies: Vec<KeptRoute>,
}

impl From<Protected> for Share {
    fn from(Protected { protect, local, policies }: Protected) -> Self {
        Self {
            protect: protect.into_iter().collect(),
            local: local.into_iter().collect(),
            policies: policies.into_iter().collect(),
        }
    }
}

impl From<Share> for Protected {
    fn from(Share { protect, local, policies }: Share) -> Self {
        Self {
            protect: protect.iter().copied().collect(),
            local: local.into_iter().collect(),
            policies: policies.iter().cloned().collect(),
        }
    }
}

/// What the file protects with these. Routes that are refused because the cloud has the same one are protected all the same.
pub fn of_file<'a>(
    connections: impl Iterator<Item = &'a Arc<Tunnel>>,
    routes: impl Iterator<Item = &'a VpnRoute>,
) -> Protected {
    let local = connections.flat_map(|tunnel| tunnel.subnets.iter().flat_map(|child| &child.local));
    Protected {
        protect: routes.map(|route| route.destination).collect(),
        local: local.copied().collect(),
        policies: Vec::new(),
    }
}

/// What the cloud protects with these; a route that is policy-based comes with its policy. A route whose connection this gateway
/// refuses is there all the same: its packets are dropped, and do not go out in clear because they cannot be sealed.
pub fn of_cend<'a>(
    connections: impl Iterator<Item = &'a Arc<OwnerConnection>>,
    routes: impl Iterator<Item = (&'a OwnerRouteKey, Option<RoutePolicy>)>,
) -> Protected {
    let local = connections.flat_map(|connection| &connection.local_subnets).map(IpNet::trunc).collect();
    let mut protected = Protected { local, ..Protected::default() };
    for (OwnerRouteKey { connection, destination, source: _ }, policy) in routes {
        protected.protect.push(destination.trunc());
        let route = |policy| KeptRoute { destination: *destination, policy, connection: connection.as_str().into() };
        protected.policies.extend(policy.map(route));
    }
    protected
}

/// What the whole file protects.
pub fn file_share(file: &Config) -> Share {
    of_file(file.connections.iter(), file.routes.iter()).into()
}

/// The whole, with the peers' outer addresses as known at the moment.
pub fn policy(file: &Config, cend: Share, outer_peers: SharedSet<IpAddr>) -> KeptPolicy {
    KeptPolicy { file: file_share(file), cend, ..without_shares(file, outer_peers) }
}

fn without_shares(file: &Config, outer_peers: SharedSet<IpAddr>) -> KeptPolicy {
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
pub fn configured_peers(file: &Config, set: Option<&OwnerEntries>) -> SharedSet<IpAddr> {
    let of_file = file.connections.iter().filter_map(|tunnel| match &tunnel.peer {
        PeerName::Address(address) => Some(*address),
        PeerName::Name(_) | PeerName::Any => None,
    });
    let of_cend =
        set.into_iter().flat_map(|set| set.connections.values()).filter_map(|connection| connection.peer.parse().ok());
    of_file.chain(of_cend).collect()
}

/// How often each value is there, so that one comes and goes without a look at the others.
#[derive(Debug)]
pub struct Counted<T> {
    counts: BTreeMap<T, usize>,
    there: SharedSet<T>,
}

impl<T> Default for Counted<T> {
    fn default() -> Self {
        Self { counts: BTreeMap::new(), there: SharedSet::default() }
    }
}

impl<T: Ord + Clone> Counted<T> {
    /// Once more. Whether it was not there.
    pub fn add(&mut self, value: T) -> bool {
        let count = self.counts.entry(value.clone()).or_default();
        *count += 1;
        *count == 1 && self.there.insert(value)
    }

    /// Once less. Whether it is not there any more.
    pub fn remove(&mut self, value: T) -> bool {
        let Some(count) = self.counts.get_mut(&value) else { return false };
        *count -= 1;
        *count == 0 && self.counts.remove(&value).is_some() && self.there.remove(&value)
    }

    /// Some come and some go. Whether others are there than before.
    pub fn change(&mut self, gone: impl IntoIterator<Item = T>, new: impl IntoIterator<Item = T>) -> bool {
        // New ones first, so that what stays is no news.
        let come = new.into_iter().fold(false, |news, value| self.add(value) | news);
        gone.into_iter().fold(come, |news, value| self.remove(value) | news)
    }

    /// Whether it is there.
    pub fn contains(&self, value: &T) -> bool {
        self.counts.contains_key(value)
    }

    /// The values that are there.
    pub fn values(&self) -> &SharedSet<T> {
        &self.there
    }
}

/// What one owner protects.
#[derive(Debug, Default)]
struct CountedShare {
    protect: Counted<IpNet>,
    local: Counted<IpNet>,
    policies: Counted<KeptRoute>,
}

impl CountedShare {
    fn share(&self) -> Share {
        Share {
            protect: self.protect.values().clone(),
            local: self.local.values().iter().copied().collect(),
            policies: self.policies.values().clone(),
        }
    }
}

/// What is protected and known of the peers, kept in step with what is configured.
#[derive(Debug, Default)]
pub struct Protection {
    file: CountedShare,
    cend: CountedShare,
    peers: Counted<IpAddr>,
    /// It is not as it was when it was last taken.
    pub stale: bool,
}

impl Protection {
    /// What an owner protects changes.
    pub fn change(&mut self, owner: Owner, Changed { gone, new }: &Changed<Protected>) {
        let share = match owner {
            Owner::File => &mut self.file,
            Owner::Cend => &mut self.cend,
        };
        self.stale |= share.protect.change(gone.protect.iter().copied(), new.protect.iter().copied());
        self.stale |= share.local.change(gone.local.iter().copied(), new.local.iter().copied());
        self.stale |= share.policies.change(gone.policies.iter().cloned(), new.policies.iter().cloned());
    }

    /// Addresses of peers come and go.
    pub fn peers(&mut self, gone: impl IntoIterator<Item = IpAddr>, new: impl IntoIterator<Item = IpAddr>) {
        self.stale |= self.peers.change(gone, new);
    }

    /// The whole, with what the file says besides and the addresses that peers were seen at.
    pub fn policy(&self, file: &Config, seen: impl Iterator<Item = IpAddr>) -> KeptPolicy {
        let mut outer_peers = self.peers.values().clone();
        outer_peers.extend(seen);
        KeptPolicy { file: self.file.share(), cend: self.cend.share(), ..without_shares(file, outer_peers) }
    }

    /// What is protected that is not in `shut`.
    pub fn open(&self, shut: &SharedSet<IpNet>) -> BTreeSet<IpNet> {
        [&self.file, &self.cend].into_iter().flat_map(|owner| owner.protect.values().without(shut)).copied().collect()
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
        assert_eq!(counted.values().len(), 0);
    }
}
