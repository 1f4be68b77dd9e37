//! Which of a connection's outbound SAs carries a flow.
//!
//! One connection may have thousands of SAs, each with a peer's network of its own. So they are found by the prefixes of
//! the peer's side; our side, protocol and ports are held against what was found.

use super::policy::SelectorPair;
use crate::wire::ip::Flow;
use ipnet::{IpNet, Ipv4Net, Ipv6Net};
use prefix_trie::{Prefix, PrefixMap};
use std::cmp::Reverse;
use std::net::IpAddr;
use std::sync::Arc;

/// So many SAs are looked through one by one sooner than prefixes are looked up.
const FEW: usize = 8;

/// The order of SAs that cover the same flow, the one that carries it first.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Precedence {
    /// The place of its child in the connection's configuration: the lower one comes first.
    child: u32,
    /// Counts installations: of one child, the newest SA comes first.
    installation: Reverse<u64>,
}

impl Precedence {
    /// That of an SA of the `child`th child of its connection. `installation` is higher with every SA.
    pub fn new(child: u32, installation: u64) -> Self {
        Self { child, installation: Reverse(installation) }
    }
}

/// An SA as the selection knows it.
struct Candidate {
    precedence: Precedence,
    place: usize,
    selectors: Arc<SelectorPair>,
}

/// The outbound SAs of one connection, each with its place in the SAD.
pub struct Selection(Sas);

enum Sas {
    /// In the order of precedence.
    Few(Vec<Candidate>),
    Many(Box<ByPrefix>),
}

impl Default for Selection {
    fn default() -> Self {
        Self(Sas::Few(Vec::new()))
    }
}

impl Selection {
    /// Adds the SA at a place. Its precedence is like no other one's.
    pub fn insert(&mut self, precedence: Precedence, place: usize, selectors: Arc<SelectorPair>) {
        let candidate = Candidate { precedence, place, selectors };
        match &mut self.0 {
            Sas::Few(few) if few.len() < FEW => insert_in_order(few, candidate),
            Sas::Few(few) => {
                let mut many = Box::<ByPrefix>::default();
                few.drain(..).chain([candidate]).for_each(|candidate| many.insert(&candidate));
                self.0 = Sas::Many(many);
            }
            Sas::Many(many) => many.insert(&candidate),
        }
    }

    /// Removes the SA that was added with these.
    pub fn remove(&mut self, precedence: Precedence, selectors: &SelectorPair) {
        match &mut self.0 {
            Sas::Few(few) => remove_from_order(few, precedence),
            Sas::Many(many) => {
                many.remove(precedence, selectors);
                // Not as soon as there are few, so that one that comes and goes does not have all of them moved each time.
                if many.count <= FEW / 2 {
                    self.0 = Sas::Few(many.take());
                }
            }
        }
    }

    /// Whether there is no SA.
    pub fn is_empty(&self) -> bool {
        match &self.0 {
            Sas::Few(few) => few.is_empty(),
            Sas::Many(many) => many.count == 0,
        }
    }

    /// The place of the SA that carries a flow: of those whose selectors cover it, the first in the order of precedence.
    pub fn select(&self, flow: &Flow) -> Option<usize> {
        let found = match &self.0 {
            Sas::Few(few) => few.iter().find(|candidate| candidate.selectors.covers_outbound(flow)),
            Sas::Many(many) => many.select(flow),
        };
        found.map(|candidate| candidate.place)
    }
}

/// SAs by the prefixes of the peer's side. An SA stands at each of its prefixes; those at one prefix are in the order of
/// precedence.
#[derive(Default)]
struct ByPrefix {
    count: usize,
    ipv4: PrefixMap<Ipv4Net, Vec<Candidate>>,
    ipv6: PrefixMap<Ipv6Net, Vec<Candidate>>,
}

impl ByPrefix {
    fn insert(&mut self, candidate: &Candidate) {
        self.count += 1;
        for prefix in prefixes(&candidate.selectors) {
            let there = match prefix {
                IpNet::V4(prefix) => self.ipv4.entry(prefix).or_default(),
                IpNet::V6(prefix) => self.ipv6.entry(prefix).or_default(),
            };
            insert_in_order(there, Candidate { selectors: Arc::clone(&candidate.selectors), ..*candidate });
        }
    }

    fn remove(&mut self, precedence: Precedence, selectors: &SelectorPair) {
        self.count -= 1;
        for prefix in prefixes(selectors) {
            match prefix {
                IpNet::V4(prefix) => remove_at(&mut self.ipv4, &prefix, precedence),
                IpNet::V6(prefix) => remove_at(&mut self.ipv6, &prefix, precedence),
            }
        }
    }

    /// Takes every SA out, in the order of precedence.
    fn take(&mut self) -> Vec<Candidate> {
        let Self { count: _, ipv4, ipv6 } = std::mem::take(self);
        let mut all: Vec<_> = ipv4.into_values().chain(ipv6.into_values()).flatten().collect();
        all.sort_unstable_by_key(|candidate| candidate.precedence);
        all.dedup_by_key(|candidate| candidate.precedence);
        all
    }

    fn select(&self, flow: &Flow) -> Option<&Candidate> {
        match flow.destination {
            IpAddr::V4(address) => first(&self.ipv4, address.into(), Ipv4Net::supernet, flow),
            IpAddr::V6(address) => first(&self.ipv6, address.into(), Ipv6Net::supernet, flow),
        }
    }
}

/// The first SA in the order of precedence that covers a flow, at the prefixes round its destination, from the longest
/// to the shortest. (The map's own iterator over them allocates.)
fn first<'a, P: Prefix>(
    map: &'a PrefixMap<P, Vec<Candidate>>,
    destination: P,
    supernet: fn(&P) -> Option<P>,
    flow: &Flow,
) -> Option<&'a Candidate> {
    let mut first: Option<&Candidate> = None;
    let mut within = Some(destination);
    while let Some((prefix, there)) = within.and_then(|within| map.get_lpm(&within)) {
        let mut earlier =
            there.iter().take_while(|candidate| first.is_none_or(|first| candidate.precedence < first.precedence));
        first = earlier.find(|candidate| candidate.selectors.covers_outbound(flow)).or(first);
        within = supernet(&prefix);
    }
    first
}

/// The prefixes that the peer's side consists of, the same one perhaps several times.
fn prefixes(selectors: &SelectorPair) -> impl Iterator<Item = IpNet> {
    selectors.peer.iter().flat_map(|selector| selector.prefixes())
}

fn insert_in_order(list: &mut Vec<Candidate>, candidate: Candidate) {
    if let Err(before) = list.binary_search_by_key(&candidate.precedence, |other| other.precedence) {
        list.insert(before, candidate);
    }
}

fn remove_from_order(list: &mut Vec<Candidate>, precedence: Precedence) {
    if let Ok(at) = list.binary_search_by_key(&precedence, |candidate| candidate.precedence) {
        list.remove(at);
    }
}

fn remove_at<P: Prefix>(map: &mut PrefixMap<P, Vec<Candidate>>, prefix: &P, precedence: Precedence) {
    let Some(there) = map.get_mut(prefix) else { return };
    remove_from_order(there, precedence);
    if there.is_empty() {
        map.remove(prefix);
    }
}
