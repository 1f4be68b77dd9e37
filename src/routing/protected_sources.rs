//! Which source addresses may arrive only through the tunnel.
use std::collections::BTreeSet;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use ipnet::IpNet;

use super::reconcile::Family;

/// An inclusive range of addresses of one family.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct AddressRange {
    /// First address.
    pub first: IpAddr,
    /// Last address.
    pub last: IpAddr,
}

/// Addresses that are protected: those whose longest prefix, among the tunnel's and everybody else's, is the tunnel's.
///
/// A packet from such an address that arrives outside the tunnel must be discarded (RFC 4301 section 5.2), because an
/// answer to it would have gone through the tunnel. The rules, in order:
/// 1. of two prefixes that hold the address, the longer one counts;
/// 2. of two equal prefixes, the tunnel's counts, as its metric wins in the kernel;
/// 3. IPv6 link-local and the unspecified addresses are never protected: neighbour discovery and DHCP use them on every
///    link.
///
/// `elsewhere` are the prefixes that lead elsewhere: connected networks, the VPC's side, static routes. So a VPN route
/// 0.0.0.0/0 protects everything but what the namespace itself has a more specific way to. Ranges are disjoint, not
/// adjacent, and ascending.
pub fn protected_sources(
    tunnel: impl IntoIterator<Item = IpNet>,
    elsewhere: impl IntoIterator<Item = IpNet>,
    family: Family,
) -> Vec<AddressRange> {
    let of_family = |prefix: &IpNet| Family::of(prefix) == family;
    let tunnel: BTreeSet<IpNet> = tunnel.into_iter().filter(of_family).collect();
    let never_protected = NEVER_PROTECTED.iter().filter_map(|prefix| prefix.parse().ok());
    let mut blocks: Vec<Block> = elsewhere
        .into_iter()
        .chain(never_protected)
        .filter(of_family)
        .filter(|prefix| !tunnel.contains(prefix))
        .map(|prefix| Block::new(prefix, false))
        .collect();
    blocks.extend(tunnel.iter().map(|prefix| Block::new(*prefix, true)));
    blocks.sort_by_key(|block| (block.first, std::cmp::Reverse(block.last)));
    protected_blocks(blocks).into_iter().map(|(first, last)| range(first, last, family)).collect()
}

/// Link-local and unspecified addresses of IPv6 (RFC 4861 sections 4.1 and 4.3), and the one of IPv4 that a host without an
/// address asks from (RFC 2131 section 4.1).
const NEVER_PROTECTED: [&str; 3] = ["fe80::/10", "::/128", "0.0.0.0/32"];

#[derive(Clone, Copy)]
struct Block {
    first: u128,
    last: u128,
    protected: bool,
}

impl Block {
    fn new(prefix: IpNet, protected: bool) -> Self {
        Block { first: number(prefix.network()), last: number(prefix.broadcast()), protected }
    }
}

/// Prefixes nest or are disjoint, so one pass with a stack finds the innermost block of every address. `blocks` come
/// by first address, the larger one first.
fn protected_blocks(blocks: Vec<Block>) -> Vec<(u128, u128)> {
    let mut found = Merged::default();
    let mut open: Vec<Block> = Vec::new();
    for block in blocks {
        while let Some(outer) = open.pop_if(|outer| outer.last < block.first) {
            found.cover(outer.last, outer.protected);
        }
        if let (Some(outer), Some(before)) = (open.last(), block.first.checked_sub(1)) {
            found.cover(before, outer.protected);
        }
        found.next = Some(block.first);
        open.push(block);
    }
    while let Some(outer) = open.pop() {
        found.cover(outer.last, outer.protected);
    }
    found.ranges
}

#[derive(Default)]
struct Merged {
    ranges: Vec<(u128, u128)>,
    /// First address not yet decided; `None` past the last address of all.
    next: Option<u128>,
}

impl Merged {
    /// Decides the addresses up to `last`.
    fn cover(&mut self, last: u128, protected: bool) {
        let Some(first) = self.next.filter(|first| *first <= last) else { return };
        self.next = last.checked_add(1);
        if !protected {
            return;
        }
        match self.ranges.last_mut() {
            Some((_, end)) if end.checked_add(1) == Some(first) => *end = last,
            _ => self.ranges.push((first, last)),
        }
    }
}

fn number(address: IpAddr) -> u128 {
    match address {
        IpAddr::V4(address) => u128::from(u32::from(address)),
        IpAddr::V6(address) => u128::from(address),
    }
}

fn range(first: u128, last: u128, family: Family) -> AddressRange {
    let address = |number: u128| match family {
        Family::Ipv4 => IpAddr::V4(Ipv4Addr::from(number as u32)),
        Family::Ipv6 => IpAddr::V6(Ipv6Addr::from(number)),
    };
    AddressRange { first: address(first), last: address(last) }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn ranges(tunnel: &[&str], elsewhere: &[&str], family: Family) -> Vec<(String, String)> {
        let nets = |list: &[&str]| list.iter().map(|p| p.parse().expect("a prefix")).collect::<Vec<IpNet>>();
        protected_sources(nets(tunnel), nets(elsewhere), family)
            .into_iter()
            .map(|range| (range.first.to_string(), range.last.to_string()))
            .collect()
    }

    fn pairs(list: &[(&str, &str)]) -> Vec<(String, String)> {
        list.iter().map(|(first, last)| ((*first).to_owned(), (*last).to_owned())).collect()
    }

    #[test]
    fn a_default_route_protects_all_but_what_leads_elsewhere() {
        assert_eq!(
            ranges(&["0.0.0.0/0"], &["0.0.0.0/0", "192.168.4.0/24", "203.0.113.0/30"], Family::Ipv4),
            pairs(&[
                ("0.0.0.1", "192.168.3.255"),
                ("192.168.5.0", "203.0.112.255"),
                ("203.0.113.4", "255.255.255.255")
            ])
        );
    }

    #[test]
    fn longer_prefixes_win_on_either_side() {
        assert_eq!(
            ranges(&["10.0.0.0/8", "10.9.9.0/24"], &["10.9.0.0/16"], Family::Ipv4),
            pairs(&[("10.0.0.0", "10.8.255.255"), ("10.9.9.0", "10.9.9.255"), ("10.10.0.0", "10.255.255.255")])
        );
        assert_eq!(ranges(&["10.0.0.0/8"], &["10.0.0.0/8"], Family::Ipv4), pairs(&[("10.0.0.0", "10.255.255.255")]));
    }

    #[test]
    fn neighbour_discovery_survives_an_ipv6_default_route() {
        let found = ranges(&["::/0"], &[], Family::Ipv6);
        assert_eq!(
            found,
            pairs(&[
                ("::1", "fe7f:ffff:ffff:ffff:ffff:ffff:ffff:ffff"),
                ("fec0::", "ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff")
            ])
        );
    }

    fn prefixes() -> impl Strategy<Value = Vec<IpNet>> {
        let prefix = (any::<u32>(), 0u8..=32).prop_filter_map("a prefix", |(bits, length)| {
            ipnet::Ipv4Net::new(Ipv4Addr::from(bits & 0x0f0f_0003), length).ok().map(|net| IpNet::V4(net.trunc()))
        });
        proptest::collection::vec(prefix, 0..12)
    }

    proptest! {
        #[test]
        fn an_address_is_in_a_range_exactly_if_its_longest_prefix_is_the_tunnels(
            tunnel in prefixes(), elsewhere in prefixes(), probe in any::<u32>(),
        ) {
            let found = protected_sources(tunnel.clone(), elsewhere.clone(), Family::Ipv4);
            prop_assert!(found.windows(2).all(|pair| number(pair[0].last) + 1 < number(pair[1].first)));
            let edges = tunnel.iter().chain(&elsewhere).flat_map(|p| [p.network(), p.broadcast()]);
            for address in edges.chain([IpAddr::V4(Ipv4Addr::from(probe))]) {
                let longest = |list: &[IpNet]| {
                    list.iter().filter(|p| p.contains(&address)).map(|p| i16::from(p.prefix_len())).max().unwrap_or(-1)
                };
                let unspecified = address == IpAddr::V4(Ipv4Addr::UNSPECIFIED);
                let expected =
                    longest(&tunnel) >= 0 && longest(&tunnel) >= longest(&elsewhere) && (!unspecified || longest(&tunnel) == 32);
                let inside = found.iter().any(|range| range.first <= address && address <= range.last);
                prop_assert_eq!(inside, expected, "{}", address);
            }
        }
    }
}
