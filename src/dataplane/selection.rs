//! Which of a connection's outbound SAs carries a flow.
//!
//! One connection may have thousands of SAs, each with a peer's network of its own. So they are found by the prefixes of
//! the peer's side; our side, protocol and ports are held against what was found.

use super::policy::{Selector, SelectorPair};
use crate::wire::ip::Flow;
use ipnet::{IpNet, Ipv4Net, Ipv6Net};
use prefix_trie::{Prefix, PrefixMap};
use std::cmp::Reverse;
use std::net::IpAddr;
use std::sync::Arc;

/// So many peer selectors are looked through one by one sooner than prefixes are looked up.
const FEW: usize = 8;

/// What the order of SAs that cover the same flow depends on, besides their selectors.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Precedence {
    /// The path to its peer does not answer: every other one comes first.
    silent: bool,
    /// The place of its child in the connection's configuration: the lower one comes first.
    child: u32,
    /// Counts installations: the newest SA comes first.
    installation: u64,
}

impl Precedence {
    /// That of an SA of the `child`th child of its connection. `installation` is higher with every SA.
    pub fn new(child: u32, installation: u64) -> Self {
        Self { silent: false, child, installation }
    }

    /// The same with a path that answers, or does not.
    #[must_use]
    pub fn with_silence(self, silent: bool) -> Self {
        Self { silent, ..self }
    }
}

/// The order of peer selectors that cover the same flow, the one whose SA carries it first.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
struct Rank {
    silent: bool,
    child: u32,
    /// Of one child the narrower selector comes first: who asks for everything does not get what somebody else has asked for
    /// by name.
    open_bits: u8,
    installation: Reverse<u64>,
    /// Which one of its SA's peer selectors it is.
    selector: u32,
}

/// One peer selector of an SA.
struct Candidate {
    rank: Rank,
    place: usize,
    selectors: Arc<SelectorPair>,
}

impl Candidate {
    fn covers(&self, flow: &Flow) -> bool {
        self.selectors.covers_outbound_by(self.rank.selector as usize, flow)
    }

    /// The prefixes that the selector consists of.
    fn prefixes(&self) -> Vec<IpNet> {
        self.selectors.peer.get(self.rank.selector as usize).map_or_else(Vec::new, Selector::prefixes)
    }
}

/// The peer selectors of an SA at a place.
fn candidates(
    precedence: Precedence,
    place: usize,
    selectors: &Arc<SelectorPair>,
) -> impl Iterator<Item = Candidate> + use<'_> {
    let Precedence { silent, child, installation } = precedence;
    (0..).zip(&selectors.peer).map(move |(selector, peer)| {
        let rank = Rank { silent, child, open_bits: peer.open_bits(), installation: Reverse(installation), selector };
        Candidate { rank, place, selectors: Arc::clone(selectors) }
    })
}

/// The outbound SAs of one connection, by their peer selectors, each with its place in the SAD.
pub struct Selection(Sas);

enum Sas {
    /// In their order.
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
    pub fn insert(&mut self, precedence: Precedence, place: usize, selectors: &Arc<SelectorPair>) {
        candidates(precedence, place, selectors).for_each(|candidate| self.insert_one(candidate));
    }

    fn insert_one(&mut self, candidate: Candidate) {
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
    pub fn remove(&mut self, precedence: Precedence, selectors: &Arc<SelectorPair>) {
        candidates(precedence, 0, selectors).for_each(|candidate| self.remove_one(&candidate));
    }

    fn remove_one(&mut self, candidate: &Candidate) {
        match &mut self.0 {
            Sas::Few(few) => remove_from_order(few, candidate.rank),
            Sas::Many(many) => {
                many.remove(candidate);
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

    /// The place of the SA that carries a flow: of those whose selectors cover it one whose path answers, if there is any; of
    /// these that of the lowest child; of one child that with the narrowest of the peer selectors that cover it; of these the
    /// newest.
    pub fn select(&self, flow: &Flow) -> Option<usize> {
        let found = match &self.0 {
            Sas::Few(few) => few.iter().find(|candidate| candidate.covers(flow)),
            Sas::Many(many) => many.select(flow),
        };
        found.map(|candidate| candidate.place)
    }
}

/// Peer selectors by their prefixes. One stands at each of its prefixes; those at one prefix are in their order.
#[derive(Default)]
struct ByPrefix {
    count: usize,
    ipv4: PrefixMap<Ipv4Net, Vec<Candidate>>,
    ipv6: PrefixMap<Ipv6Net, Vec<Candidate>>,
}

impl ByPrefix {
    fn insert(&mut self, candidate: &Candidate) {
        self.count += 1;
        for prefix in candidate.prefixes() {
            let there = match prefix {
                IpNet::V4(prefix) => self.ipv4.entry(prefix).or_default(),
                IpNet::V6(prefix) => self.ipv6.entry(prefix).or_default(),
            };
            insert_in_order(there, Candidate { selectors: Arc::clone(&candidate.selectors), ..*candidate });
        }
    }

    fn remove(&mut self, candidate: &Candidate) {
        self.count -= 1;
        for prefix in candidate.prefixes() {
            match prefix {
                IpNet::V4(prefix) => remove_at(&mut self.ipv4, &prefix, candidate.rank),
                IpNet::V6(prefix) => remove_at(&mut self.ipv6, &prefix, candidate.rank),
            }
        }
    }

    /// Takes everything out, in its order.
    fn take(&mut self) -> Vec<Candidate> {
        let Self { count: _, ipv4, ipv6 } = std::mem::take(self);
        let mut all: Vec<_> = ipv4.into_values().chain(ipv6.into_values()).flatten().collect();
        all.sort_unstable_by_key(|candidate| candidate.rank);
        all.dedup_by_key(|candidate| candidate.rank);
        all
    }

    fn select(&self, flow: &Flow) -> Option<&Candidate> {
        match flow.destination {
            IpAddr::V4(address) => first(&self.ipv4, address.into(), Ipv4Net::supernet, flow),
            IpAddr::V6(address) => first(&self.ipv6, address.into(), Ipv6Net::supernet, flow),
        }
    }
}

/// The first in the order that covers a flow, at the prefixes round its destination, from the longest
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
        let mut earlier = there.iter().take_while(|candidate| first.is_none_or(|first| candidate.rank < first.rank));
        first = earlier.find(|candidate| candidate.covers(flow)).or(first);
        within = supernet(&prefix);
    }
    first
}

fn insert_in_order(list: &mut Vec<Candidate>, candidate: Candidate) {
    if let Err(before) = list.binary_search_by_key(&candidate.rank, |other| other.rank) {
        list.insert(before, candidate);
    }
}

fn remove_from_order(list: &mut Vec<Candidate>, rank: Rank) {
    if let Ok(at) = list.binary_search_by_key(&rank, |candidate| candidate.rank) {
        list.remove(at);
    }
}

fn remove_at<P: Prefix>(map: &mut PrefixMap<P, Vec<Candidate>>, prefix: &P, rank: Rank) {
    let Some(there) = map.get_mut(prefix) else { return };
    remove_from_order(there, rank);
    if there.is_empty() {
        map.remove(prefix);
    }
}
