//! What of a child's traffic its Child SAs hold, and what they leave out because a peer narrowed them (RFC 7296 2.9).

use std::fmt;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use super::config::Child;
use crate::wire::ike::TrafficSelector;

/// Traffic between one selector of ours and one of the peer's.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Flows {
    /// On our side.
    pub local: TrafficSelector,
    /// On the peer's side.
    pub peer: TrafficSelector,
}

/// The selectors of one Child SA: all of ours with all of the peer's.
pub(super) type Pair<'a> = (&'a [TrafficSelector], &'a [TrafficSelector]);

/// Parts of one child's traffic that are told apart at most. More are left to the packets that ask for them.
const PARTS: usize = 256;
/// Pairs of selectors in Child SAs that are looked at; of more nothing is told.
const LOOKED_AT: usize = 4096;

impl fmt::Display for Flows {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} === {}", self.local, self.peer)
    }
}

impl Flows {
    /// Whether these flows are among those of a Child SA.
    pub(super) fn is_held_by(&self, (local, peer): Pair<'_>) -> bool {
        let within = |one: &TrafficSelector, all: &[TrafficSelector]| all.iter().any(|other| one.is_subset(other));
        within(&self.local, local) && within(&self.peer, peer)
    }

    /// Whether both sides are single addresses: the answer of a peer with a Child SA for each pair of hosts.
    pub(super) fn is_one_pair_of_hosts(&self) -> bool {
        self.local.start == self.local.end && self.peer.start == self.peer.end
    }

    /// Everything between the first hosts of both sides.
    pub(super) fn of_whole_hosts(&self) -> Self {
        Self {
            local: TrafficSelector::from_address(self.local.start),
            peer: TrafficSelector::from_address(self.peer.start),
        }
    }

    /// What is left of the flows beside others. One that a Child SA holds only for some protocol or ports counts as
    /// held: the rest of it is asked for by its packets.
    fn without(self, local: &TrafficSelector, peer: &TrafficSelector, left: &mut Vec<Flows>) {
        let (Some(inner_local), Some(inner_peer)) = (self.local.intersect(local), self.peer.intersect(peer)) else {
            return left.push(self);
        };
        left.extend(beside(self.local, &inner_local).map(|local| Flows { local, ..self }));
        let local = TrafficSelector { start: inner_local.start, end: inner_local.end, ..self.local };
        left.extend(beside(self.peer, &inner_peer).map(|peer| Flows { local, peer }));
    }
}

/// The addresses of a selector below and above those of one inside it.
fn beside(outer: TrafficSelector, inner: &TrafficSelector) -> impl Iterator<Item = TrafficSelector> {
    let below = step(inner.start, -1).filter(|_| outer.start < inner.start);
    let above = step(inner.end, 1).filter(|_| inner.end < outer.end);
    let below = below.map(|end| TrafficSelector { end, ..outer });
    let above = above.map(|start| TrafficSelector { start, ..outer });
    below.into_iter().chain(above)
}

fn step(address: IpAddr, by: i8) -> Option<IpAddr> {
    Some(match address {
        IpAddr::V4(address) => Ipv4Addr::from_bits(address.to_bits().checked_add_signed(by.into())?).into(),
        IpAddr::V6(address) => Ipv6Addr::from_bits(address.to_bits().checked_add_signed(by.into())?).into(),
    })
}

/// The traffic of a child that none of its Child SAs hold; nothing as long as it has none, or has more than can be told
/// apart in a moment.
pub(super) fn left_out<'a>(child: &Child, pairs: impl Iterator<Item = Pair<'a>>) -> Vec<Flows> {
    let pairs: Vec<Pair<'_>> = pairs.collect();
    if pairs.iter().map(|(local, peer)| local.len() * peer.len()).sum::<usize>() > LOOKED_AT {
        return Vec::new();
    }
    let whole = |(local, peer): &Pair<'_>| *local == child.local_selectors && *peer == child.peer_selectors;
    if pairs.is_empty() || pairs.iter().any(whole) {
        return Vec::new();
    }
    let of_one_family = |flows: &Flows| flows.local.start.is_ipv4() == flows.peer.start.is_ipv4();
    let configured = child
        .local_selectors
        .iter()
        .flat_map(|local| child.peer_selectors.iter().map(|peer| Flows { local: *local, peer: *peer }));
    let mut left: Vec<Flows> = configured.filter(of_one_family).take(PARTS).collect();
    for (local, peer) in pairs
        .iter()
        .flat_map(|(local, peer)| local.iter().flat_map(move |local| peer.iter().map(move |peer| (local, peer))))
    {
        let mut rest = Vec::with_capacity(left.len());
        left.into_iter().for_each(|flows| flows.without(local, peer, &mut rest));
        left = rest;
        left.truncate(PARTS);
    }
    left
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ike::config::Child;

    fn net(text: &str) -> TrafficSelector {
        TrafficSelector::from_net(text.parse().expect("a prefix"))
    }

    fn child(local: &[&str], peer: &[&str]) -> Child {
        Child {
            name: "c".into(),
            local_selectors: local.iter().map(|text| net(text)).collect(),
            peer_selectors: peer.iter().map(|text| net(text)).collect(),
            esp_proposals: Vec::new(),
        }
    }

    fn shown(left: &[Flows]) -> Vec<String> {
        left.iter().map(|flows| format!("{} === {}", flows.local, flows.peer)).collect()
    }

    #[test]
    fn without_a_pair_and_with_a_whole_one_nothing_is_left_out() {
        let child = child(&["10.1.0.0/24", "10.2.0.0/24"], &["10.3.0.0/24"]);
        assert!(left_out(&child, std::iter::empty()).is_empty());
        let whole = (&child.local_selectors[..], &child.peer_selectors[..]);
        assert!(left_out(&child, [whole].into_iter()).is_empty());
        let parts = [([net("10.1.0.0/24")], [net("10.3.0.0/24")]), ([net("10.2.0.0/24")], [net("10.0.0.0/8")])];
        assert!(left_out(&child, parts.iter().map(|(local, peer)| (&local[..], &peer[..]))).is_empty());
    }

    #[test]
    fn one_of_two_by_two_leaves_three() {
        let child = child(&["10.1.0.0/24", "10.2.0.0/24"], &["10.3.0.0/24", "10.4.0.0/24"]);
        let (local, peer) = ([net("10.1.0.0/24")], [net("10.3.0.0/24")]);
        let left = left_out(&child, [(&local[..], &peer[..])].into_iter());
        assert_eq!(
            shown(&left),
            ["10.1.0.0/24 === 10.4.0.0/24", "10.2.0.0/24 === 10.3.0.0/24", "10.2.0.0/24 === 10.4.0.0/24"]
        );
        assert!(Flows { local: net("10.1.0.7/32"), peer: net("10.3.0.9/32") }.is_held_by((&local, &peer)));
        assert!(!Flows { local: net("10.1.0.7/32"), peer: net("10.4.0.9/32") }.is_held_by((&local, &peer)));
    }

    #[test]
    fn a_pair_of_hosts_leaves_what_is_around_it_and_families_are_not_mixed() {
        let child = child(&["10.1.0.0/30", "fd00::/64"], &["10.3.0.0/30"]);
        let (local, peer) = ([net("10.1.0.1/32")], [net("10.3.0.0/32")]);
        let left = left_out(&child, [(&local[..], &peer[..])].into_iter());
        assert_eq!(
            shown(&left),
            ["10.1.0.0/32 === 10.3.0.0/30", "10.1.0.2/31 === 10.3.0.0/30", "10.1.0.1/32 === 10.3.0.1-10.3.0.3"]
        );
        assert!(Flows { local: local[0], peer: peer[0] }.is_one_pair_of_hosts());
    }

    #[test]
    fn the_ends_of_the_address_space_are_no_trouble() {
        let child = child(&["0.0.0.0/0"], &["::/0", "0.0.0.0/0"]);
        let (local, peer) = ([net("255.255.255.255/32")], [net("0.0.0.0/32")]);
        assert_eq!(left_out(&child, [(&local[..], &peer[..])].into_iter()).len(), 2);
    }

    #[test]
    fn what_is_held_for_some_ports_only_counts_as_held() {
        let child = child(&["10.1.0.0/24"], &["10.3.0.0/24"]);
        let web = TrafficSelector { protocol: 6, start_port: 443, end_port: 443, ..net("10.3.0.0/24") };
        let (local, peer) = ([net("10.1.0.0/24")], [web]);
        assert!(left_out(&child, [(&local[..], &peer[..])].into_iter()).is_empty());
        assert!(!Flows { local: net("10.1.0.7/32"), peer: net("10.3.0.9/32") }.is_held_by((&local, &peer)));
    }
}
