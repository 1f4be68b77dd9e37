//! Which source addresses may arrive only through the tunnel.
use std::collections::{BTreeMap, BTreeSet};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use ipnet::IpNet;

use super::prefixes::{inside, shorter_holders};
use super::reconcile::Family;
use super::shared::SharedSet;

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
/// So a VPN route 0.0.0.0/0 protects everything but what the namespace itself has a more specific way to.
///
/// What is protected is kept in step with the prefixes: a change looks at the prefixes that come or go, at those that lie in
/// them, and at no others.
#[derive(Clone, Debug)]
pub struct ProtectedSources {
    /// The tunnel's prefixes as they were told,
    told: SharedSet<IpNet>,
    /// and without host bits, each as often as it was told.
    tunnel: BTreeMap<IpNet, usize>,
    elsewhere: BTreeSet<IpNet>,
    ranges: SharedSet<AddressRange>,
}

impl Default for ProtectedSources {
    /// Nothing is protected.
    fn default() -> Self {
        Self {
            told: SharedSet::default(),
            tunnel: BTreeMap::new(),
            elsewhere: never_protected(),
            ranges: SharedSet::default(),
        }
    }
}

impl ProtectedSources {
    /// The ranges of protected addresses. They are disjoint, not adjacent, and ascending.
    pub fn ranges(&self) -> &SharedSet<AddressRange> {
        &self.ranges
    }

    /// From now on these are the `tunnel`'s prefixes, and those that lead `elsewhere`: connected networks, the VPC's side,
    /// static routes.
    pub fn change(&mut self, tunnel: &SharedSet<IpNet>, elsewhere: impl IntoIterator<Item = IpNet>) {
        let mut changed = BTreeSet::new();
        let before = std::mem::replace(&mut self.told, tunnel.clone());
        for prefix in tunnel.without(&before).map(IpNet::trunc) {
            let count = self.tunnel.entry(prefix).or_default();
            *count += 1;
            changed.extend((*count == 1).then_some(prefix));
        }
        for prefix in before.without(tunnel).map(IpNet::trunc) {
            if let Some(count) = self.tunnel.get_mut(&prefix) {
                *count -= 1;
                if *count == 0 {
                    self.tunnel.remove(&prefix);
                    changed.insert(prefix);
                }
            }
        }
        let mut all = never_protected();
        all.extend(elsewhere.into_iter().map(|prefix| prefix.trunc()));
        changed.extend(all.symmetric_difference(&self.elsewhere));
        self.elsewhere = all;
        // In their order, those that lie in a prefix follow it.
        let mut done: Option<IpNet> = None;
        for prefix in changed {
            if !done.is_some_and(|outer| outer.contains(&prefix)) {
                self.renew(prefix);
                done = Some(prefix);
            }
        }
    }

    /// Decides anew about the addresses of a prefix.
    fn renew(&mut self, prefix: IpNet) {
        let holder = |is_there: &dyn Fn(&IpNet) -> bool| shorter_holders(&prefix, is_there).last();
        let length = |holder: Option<IpNet>| holder.map(|holder| holder.prefix_len());
        let by_tunnel = length(holder(&|net| self.tunnel.contains_key(net)));
        let by_others = length(holder(&|net| self.elsewhere.contains(net)));
        let mut blocks = vec![Block::new(prefix, by_tunnel.is_some() && by_tunnel >= by_others)];
        let own = Some(prefix).filter(|own| self.elsewhere.contains(own));
        let others = own.into_iter().chain(inside(&prefix, &self.elsewhere));
        blocks.extend(others.map(|net| Block::new(net, false)));
        let tunnel = self.tunnel.range(prefix..).map(|(net, _)| *net).take_while(|net| prefix.contains(net));
        blocks.extend(tunnel.map(|net| Block::new(net, true)));
        #[cfg(test)]
        tests::LOOKS.set(tests::LOOKS.get() + blocks.len());
        // Of equal prefixes the tunnel's is the inner one.
        blocks.sort_by_key(|block| (block.first, std::cmp::Reverse(block.last)));
        self.splice(Family::of(&prefix), Block::new(prefix, true), protected_blocks(blocks));
    }

    /// Of the addresses of `span` these are protected from now on.
    fn splice(&mut self, family: Family, span: Block, protected: Vec<(u128, u128)>) {
        let first = range(span.first, span.first, family);
        let of_family = |range: &AddressRange| range.first.is_ipv4() == (family == Family::Ipv4);
        let touches = |range: &AddressRange| {
            let (begin, end) = (number(range.first), number(range.last));
            of_family(range) && end.saturating_add(1) >= span.first && begin <= span.last.saturating_add(1)
        };
        let before = self.ranges.last_before(&first).into_iter().filter(|range| touches(range));
        let following = self.ranges.starting_at(&first).take_while(|range| touches(range));
        let touching: Vec<AddressRange> = before.chain(following).copied().collect();
        let mut parts = protected;
        for range in touching {
            self.ranges.remove(&range);
            let (first, last) = (number(range.first), number(range.last));
            parts.extend(span.first.checked_sub(1).filter(|end| first <= *end).map(|end| (first, last.min(end))));
            parts.extend(span.last.checked_add(1).filter(|begin| *begin <= last).map(|begin| (first.max(begin), last)));
        }
        parts.sort_unstable();
        let mut merged: Vec<(u128, u128)> = Vec::new();
        for (first, last) in parts {
            match merged.last_mut() {
                Some((_, end)) if end.checked_add(1) == Some(first) => *end = last,
                _ => merged.push((first, last)),
            }
        }
        self.ranges.extend(merged.into_iter().map(|(first, last)| range(first, last, family)));
    }
}

fn never_protected() -> BTreeSet<IpNet> {
    NEVER_PROTECTED.iter().filter_map(|prefix| prefix.parse().ok()).collect()
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
    use std::cell::Cell;

    use proptest::prelude::*;

    use super::*;

    thread_local!(pub(super) static LOOKS: Cell<usize> = const { Cell::new(0) });

    fn of(tunnel: &[IpNet], elsewhere: &[IpNet]) -> ProtectedSources {
        let mut sources = ProtectedSources::default();
        sources.change(&tunnel.iter().copied().collect(), elsewhere.iter().copied());
        sources
    }

    fn ranges(tunnel: &[&str], elsewhere: &[&str]) -> Vec<(String, String)> {
        let nets = |list: &[&str]| list.iter().map(|p| p.parse().expect("a prefix")).collect::<Vec<IpNet>>();
        let sources = of(&nets(tunnel), &nets(elsewhere));
        sources.ranges().iter().map(|range| (range.first.to_string(), range.last.to_string())).collect()
    }

    fn pairs(list: &[(&str, &str)]) -> Vec<(String, String)> {
        list.iter().map(|(first, last)| ((*first).to_owned(), (*last).to_owned())).collect()
    }

    #[test]
    fn a_default_route_protects_all_but_what_leads_elsewhere() {
        assert_eq!(
            ranges(&["0.0.0.0/0"], &["0.0.0.0/0", "192.168.4.0/24", "203.0.113.0/30"]),
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
            ranges(&["10.0.0.0/8", "10.9.9.0/24"], &["10.9.0.0/16"]),
            pairs(&[("10.0.0.0", "10.8.255.255"), ("10.9.9.0", "10.9.9.255"), ("10.10.0.0", "10.255.255.255")])
        );
        assert_eq!(ranges(&["10.0.0.0/8"], &["10.0.0.0/8"]), pairs(&[("10.0.0.0", "10.255.255.255")]));
    }

    #[test]
    fn neighbour_discovery_survives_an_ipv6_default_route() {
        let found = ranges(&["::/0"], &[]);
        assert_eq!(
            found,
            pairs(&[
                ("::1", "fe7f:ffff:ffff:ffff:ffff:ffff:ffff:ffff"),
                ("fec0::", "ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff")
            ])
        );
    }

    #[test]
    fn one_of_thousands_comes_and_goes_without_a_look_at_the_others() {
        let net =
            |n: u32, length| IpNet::new(Ipv4Addr::from(0x0a00_0000 + (n << 10)).into(), length).expect("a prefix");
        // Every second one beside the next one's place, so that all are ranges of their own.
        let mut tunnel: SharedSet<IpNet> = (0..8_000).map(|n| net(2 * n, 24)).collect();
        let mut sources = of(&tunnel.iter().copied().collect::<Vec<_>>(), &[]);
        assert_eq!(sources.ranges().len(), 8_000);
        for (prefix, there) in [(net(77, 24), 8_001), (net(4_000, 25), 8_000), (net(8_000, 16), 7_968)] {
            let before = sources.ranges().clone();
            tunnel.insert(prefix);
            LOOKS.set(0);
            sources.change(&tunnel, []);
            assert_eq!(sources.ranges().len(), there, "{prefix}");
            tunnel.remove(&prefix);
            sources.change(&tunnel, []);
            let expected = if prefix.prefix_len() > 16 { 6 } else { 150 };
            assert!(LOOKS.get() <= expected, "{prefix}: {} looks", LOOKS.get());
            assert_eq!(*sources.ranges(), before);
        }
    }

    #[test]
    fn a_prefix_with_host_bits_goes_when_it_has_gone_in_every_form() {
        let nets = ["10.1.0.0/24", "10.1.0.7/24"].map(|text| text.parse::<IpNet>().expect("a prefix"));
        let mut sources = of(&nets, &[]);
        sources.change(&[nets[1]].into(), []);
        assert_eq!(sources.ranges().len(), 1);
        sources.change(&SharedSet::default(), []);
        assert!(sources.ranges().is_empty());
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
            before in [prefixes(), prefixes()], tunnel in prefixes(), elsewhere in prefixes(), probe in any::<u32>(),
        ) {
            let mut sources = of(&before[0], &before[1]);
            sources.change(&tunnel.iter().copied().collect(), elsewhere.iter().copied());
            let found: Vec<AddressRange> = sources.ranges().iter().copied().collect();
            let anew = of(&tunnel, &elsewhere);
            prop_assert_eq!(sources.ranges(), anew.ranges());
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
