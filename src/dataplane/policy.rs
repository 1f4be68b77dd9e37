//! Traffic selectors in force, and whether a packet lies inside them (RFC 4301 sections 4.4.1 and 5.2).

use crate::wire::ip::{Flow, Ports};
use ipnet::{IpNet, IpSubnets, Ipv4Subnets, Ipv6Subnets};
use std::net::IpAddr;
use std::ops::RangeInclusive;

/// A range of addresses that consists of more prefixes is listed at the one that holds it: what a peer proposes must not
/// cost hundreds of places.
const FEW_PREFIXES: usize = 16;

/// Addresses, protocol and ports of one side: one traffic selector of RFC 7296 section 3.13.1.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Selector {
    addresses: RangeInclusive<IpAddr>,
    protocol: Option<u8>,
    ports: RangeInclusive<u16>,
}

impl Selector {
    /// Every port: also those that a packet does not show.
    pub const ANY_PORT: RangeInclusive<u16> = 0..=u16::MAX;

    /// A selector. `protocol` `None` means any. For ICMP a port is type × 256 + code.
    ///
    /// Returns `None` when the addresses are not an ascending range of one family. A descending range of ports
    /// (65535 to 0) means OPAQUE in RFC 7296 and matches only packets that show no port.
    pub fn new(addresses: RangeInclusive<IpAddr>, protocol: Option<u8>, ports: RangeInclusive<u16>) -> Option<Self> {
        let one_family = addresses.start().is_ipv4() == addresses.end().is_ipv4();
        (one_family && addresses.start() <= addresses.end()).then_some(Self { addresses, protocol, ports })
    }

    /// Every address of a prefix, any protocol, any port.
    pub fn prefix(prefix: ipnet::IpNet) -> Self {
        // `broadcast` is the last address of the prefix in both families.
        Self { addresses: prefix.network()..=prefix.broadcast(), protocol: None, ports: Self::ANY_PORT }
    }

    /// The addresses that it covers.
    pub fn addresses(&self) -> &RangeInclusive<IpAddr> {
        &self.addresses
    }

    /// How many bits of an address it leaves open, rounded up: 0 for one address, 8 for the prefix of 256.
    pub fn open_bits(&self) -> u8 {
        let bits = match (self.addresses.start(), self.addresses.end()) {
            (IpAddr::V4(first), IpAddr::V4(last)) => {
                u128::BITS - u128::from(last.to_bits() - first.to_bits()).leading_zeros()
            }
            (IpAddr::V6(first), IpAddr::V6(last)) => u128::BITS - (last.to_bits() - first.to_bits()).leading_zeros(),
            // A selector is of one family.
            (IpAddr::V4(_), IpAddr::V6(_)) | (IpAddr::V6(_), IpAddr::V4(_)) => u128::BITS,
        };
        bits as u8
    }

    /// The fewest prefixes that its addresses consist of; if they are more than a few, the one prefix that holds them all.
    pub fn prefixes(&self) -> Vec<IpNet> {
        let subnets: Option<IpSubnets> = match (self.addresses.start(), self.addresses.end()) {
            (IpAddr::V4(first), IpAddr::V4(last)) => Some(Ipv4Subnets::new(*first, *last, 0).into()),
            (IpAddr::V6(first), IpAddr::V6(last)) => Some(Ipv6Subnets::new(*first, *last, 0).into()),
            // A selector is of one family.
            (IpAddr::V4(_), IpAddr::V6(_)) | (IpAddr::V6(_), IpAddr::V4(_)) => None,
        };
        let prefixes: Vec<IpNet> = subnets.into_iter().flatten().take(FEW_PREFIXES + 1).collect();
        if prefixes.len() <= FEW_PREFIXES {
            return prefixes;
        }
        let (first, last) = (IpNet::from(*self.addresses.start()), *self.addresses.end());
        let holder = std::iter::successors(Some(first), IpNet::supernet).find(|prefix| prefix.contains(&last));
        holder.into_iter().collect()
    }

    fn covers(&self, address: IpAddr, protocol: u8, port: Option<u16>) -> bool {
        // Addresses of different families never compare as inside: every IPv4 address orders before every IPv6 one, and a
        // range holds only one family.
        *self.addresses.start() <= address
            && address <= *self.addresses.end()
            && self.protocol.is_none_or(|wanted| wanted == protocol)
            && self.covers_port(port)
    }

    fn covers_port(&self, port: Option<u16>) -> bool {
        match port {
            Some(port) => self.ports.contains(&port),
            // A packet that hides its ports matches "any" and OPAQUE only (RFC 4301 section 4.4.1.1).
            None => self.ports == Self::ANY_PORT || self.ports.start() > self.ports.end(),
        }
    }
}

/// The selectors of both sides of a Child SA pair: one immutable value, shared by the outbound policy and the inbound SA.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SelectorPair {
    /// Our side.
    pub local: Vec<Selector>,
    /// The peer's side.
    pub peer: Vec<Selector>,
}

/// Source and destination port as selectors see them; ICMP shows type and code on both sides.
fn ports_of(flow: &Flow) -> (Option<u16>, Option<u16>) {
    match flow.ports {
        Ports::Known { source, destination } => (Some(source), Some(destination)),
        Ports::TypeAndCode(both) => (Some(both), Some(both)),
        Ports::Opaque | Ports::None => (None, None),
    }
}

impl SelectorPair {
    /// Whether a packet that leaves through the tunnel lies inside: from our side, to the peer's.
    pub fn covers_outbound(&self, flow: &Flow) -> bool {
        Self::covers(&self.local, &self.peer, flow)
    }

    /// Whether a packet that leaves lies inside, on the peer's side inside the selector of this number.
    pub fn covers_outbound_by(&self, peer: usize, flow: &Flow) -> bool {
        let to = self.peer.get(peer).map_or(&[][..], std::slice::from_ref);
        Self::covers(&self.local, to, flow)
    }

    /// Whether a packet that came out of the tunnel lies inside: from the peer's side, to ours.
    pub fn covers_inbound(&self, flow: &Flow) -> bool {
        Self::covers(&self.peer, &self.local, flow)
    }

    fn covers(from: &[Selector], to: &[Selector], flow: &Flow) -> bool {
        let (source, destination) = ports_of(flow);
        to.iter().any(|selector| selector.covers(flow.destination, flow.protocol, destination))
            && from.iter().any(|selector| selector.covers(flow.source, flow.protocol, source))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::wire::ip::protocol;

    fn range(first: &str, last: &str) -> RangeInclusive<IpAddr> {
        first.parse().unwrap()..=last.parse().unwrap()
    }

    fn flow(source: &str, destination: &str, protocol: u8, ports: Ports) -> Flow {
        Flow { source: source.parse().unwrap(), destination: destination.parse().unwrap(), protocol, ports }
    }

    fn pair(local: Selector, peer: Selector) -> SelectorPair {
        SelectorPair { local: vec![local], peer: vec![peer] }
    }

    fn any_net(prefix: &str) -> Selector {
        Selector::prefix(prefix.parse().unwrap())
    }

    #[test]
    fn direction_decides_which_side_is_which() {
        let pair = pair(any_net("192.168.0.0/16"), any_net("10.1.1.0/24"));
        let out = flow("192.168.3.4", "10.1.1.9", protocol::ICMP, Ports::TypeAndCode(0x800));
        let back = flow("10.1.1.9", "192.168.3.4", protocol::ICMP, Ports::TypeAndCode(0));
        assert!(pair.covers_outbound(&out) && !pair.covers_inbound(&out));
        assert!(pair.covers_inbound(&back) && !pair.covers_outbound(&back));
    }

    #[test]
    fn edges_of_a_range_are_inside_and_their_neighbours_are_not() {
        let selector = Selector::new(range("10.0.0.5", "10.0.0.9"), None, Selector::ANY_PORT).unwrap();
        for (address, inside) in [("10.0.0.4", false), ("10.0.0.5", true), ("10.0.0.9", true), ("10.0.0.10", false)] {
            assert_eq!(selector.covers(address.parse().unwrap(), 6, Some(1)), inside, "{address}");
        }
    }

    #[test]
    fn families_never_match_each_other() {
        assert!(!any_net("0.0.0.0/0").covers("::1".parse().unwrap(), 6, Some(1)));
        assert!(!any_net("::/0").covers("10.0.0.1".parse().unwrap(), 6, Some(1)));
        assert!(any_net("0.0.0.0/0").covers("255.255.255.255".parse().unwrap(), 6, Some(1)));
        assert_eq!(Selector::new("10.0.0.1".parse().unwrap()..="::1".parse().unwrap(), None, Selector::ANY_PORT), None);
        assert_eq!(Selector::new(range("10.0.0.2", "10.0.0.1"), None, Selector::ANY_PORT), None);
    }

    #[test]
    fn protocol_and_ports_restrict() {
        let web = Selector::new(range("10.0.0.0", "10.0.0.255"), Some(protocol::TCP), 80..=443).unwrap();
        let pair = pair(any_net("192.168.0.0/16"), web);
        let to = |protocol, port| {
            let ports = Ports::Known { source: 40000, destination: port };
            pair.covers_outbound(&flow("192.168.0.1", "10.0.0.1", protocol, ports))
        };
        assert!(to(protocol::TCP, 80) && to(protocol::TCP, 443));
        assert!(!to(protocol::TCP, 79) && !to(protocol::TCP, 444) && !to(protocol::UDP, 80));
    }

    #[test]
    fn a_later_fragment_matches_only_selectors_of_any_or_opaque_port() {
        let address: IpAddr = "10.0.0.1".parse().unwrap();
        let with_ports = |ports| Selector::new(range("10.0.0.0", "10.0.0.255"), None, ports).unwrap();
        assert!(with_ports(Selector::ANY_PORT).covers(address, 17, None));
        assert!(!with_ports(0..=65534).covers(address, 17, None));
        #[expect(clippy::reversed_empty_ranges, reason = "RFC 7296 writes OPAQUE as 65535 to 0")]
        let opaque = with_ports(65535..=0);
        assert!(opaque.covers(address, 17, None) && !opaque.covers(address, 17, Some(80)));
    }

    #[test]
    fn several_selectors_on_each_side_are_alternatives() {
        let pair = SelectorPair {
            local: vec![any_net("192.168.0.0/24"), any_net("fd00:1::/64")],
            peer: vec![any_net("10.1.0.0/24"), any_net("10.2.0.0/24"), any_net("fd00:2::/64")],
        };
        let covered = |source, destination| pair.covers_outbound(&flow(source, destination, 17, Ports::Opaque));
        assert!(covered("192.168.0.1", "10.2.0.1") && covered("fd00:1::1", "fd00:2::1"));
        assert!(!covered("192.168.0.1", "10.3.0.1") && !covered("192.168.1.1", "10.2.0.1"));
    }
}
