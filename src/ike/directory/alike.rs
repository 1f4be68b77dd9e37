//! Connections with one peer, found by the identity that each expects of it and by their traffic, so that one among thousands
//! with the same two identities is found as fast as one among two.

use std::collections::{BTreeMap, BTreeSet};
use std::hash::{BuildHasher, RandomState};
use std::net::IpAddr;
use std::sync::Arc;

use ipnet::IpNet;

use crate::ike::association::are_siblings;
#[cfg(test)]
use crate::ike::association::looks;
use crate::ike::config::{Child, Connection, Place};
use crate::ike::identity::{canonical, expected_id, expects};
use crate::wire::ike::{Identification, TrafficSelector};

/// The selectors of a request for a Child SA: those of our side, and those of the peer's.
pub(in crate::ike) type Asked<'a> = [&'a [TrafficSelector]; 2];

/// Connections in the order of their places. Those are together that are alike in all that is told of them before their
/// traffic: addresses, identities, proposals and key.
#[derive(Clone, Default)]
pub(super) struct ByIdentity {
    connections: BTreeMap<Place, Arc<Connection>>,
    /// By the hashes of the identity that each expects, and of all in which those are alike that are together.
    together: BTreeSet<(u64, u64, Place)>,
    /// By the second hash, and for each selector the longest prefix that holds it: of our side, and of the peer's.
    traffic: [BTreeSet<(u64, IpNet, Place)>; 2],
}

/// Connections that are alike.
#[derive(Clone, Copy)]
pub(in crate::ike) struct Alike<'a> {
    of: &'a ByIdentity,
    hash: u64,
    /// The place of the first one.
    place: Place,
    first: &'a Arc<Connection>,
}

/// The hashes of a connection. Their key is random, so nobody chooses identities that have the same one.
struct Hashes {
    expected: u64,
    alike: u64,
}

impl Hashes {
    fn of(connection: &Connection, hasher: &RandomState) -> Self {
        let expected = hash(expected_id(connection).as_ref(), hasher);
        let proposals: Vec<String> = connection.ike_proposals.iter().map(ToString::to_string).collect();
        let (address, key) = (connection.local_address, connection.pre_shared_key.as_bytes());
        let alike = hasher.hash_one((expected, address, canonical(&connection.local_id), proposals, key));
        Self { expected, alike }
    }
}

/// The hash of an identity that is expected; none: any is.
fn hash(expected: Option<&Identification>, hasher: &RandomState) -> u64 {
    hasher.hash_one(expected.map(canonical))
}

impl ByIdentity {
    /// Takes a connection in, at a place that no other one has.
    pub(super) fn insert(&mut self, place: Place, connection: &Arc<Connection>, hasher: &RandomState) {
        let Hashes { expected, alike } = Hashes::of(connection, hasher);
        self.together.insert((expected, alike, place));
        for (traffic, nets) in self.traffic.iter_mut().zip(nets(&connection.children)) {
            traffic.extend(nets.map(|net| (alike, net, place)));
        }
        self.connections.insert(place, connection.clone());
    }

    /// Takes the connection at this place out.
    pub(super) fn remove(&mut self, place: Place, hasher: &RandomState) {
        let Some(connection) = self.connections.remove(&place) else { return };
        let Hashes { expected, alike } = Hashes::of(&connection, hasher);
        self.together.remove(&(expected, alike, place));
        for (traffic, nets) in self.traffic.iter_mut().zip(nets(&connection.children)) {
            nets.for_each(|net| _ = traffic.remove(&(alike, net, place)));
        }
    }

    /// Every one, in the order of their places.
    pub(super) fn connections(&self) -> &BTreeMap<Place, Arc<Connection>> {
        &self.connections
    }

    /// Those that expect this identity or take any, the ones that are alike together, in the order of their first ones.
    pub(super) fn expecting(&self, id: &Identification, hasher: &RandomState) -> Vec<Alike<'_>> {
        let hashes = [hash(Some(id), hasher), hash(None, hasher)];
        let all = hashes.into_iter().flat_map(|expected| self.together_of(expected));
        let mut found: Vec<Alike<'_>> = all.filter(|alike| expects(alike.first, id)).collect();
        found.sort_unstable_by_key(|alike| alike.place);
        found
    }

    /// Those that are siblings of a connection, or would be if it were here, the ones with the same proposals together.
    pub(super) fn siblings(&self, connection: &Connection, hasher: &RandomState) -> impl Iterator<Item = Alike<'_>> {
        let expected = hash(expected_id(connection).as_ref(), hasher);
        self.together_of(expected).filter(|alike| are_siblings(alike.first, connection))
    }

    fn together_of(&self, expected: u64) -> impl Iterator<Item = Alike<'_>> {
        let mut next = Some(0);
        std::iter::from_fn(move || {
            let (of, hash, place) = *self.together.range((expected, next?, Place::MIN)..).next()?;
            next = hash.checked_add(1);
            let first = self.connections.get(&place).filter(|_| of == expected)?;
            #[cfg(test)]
            looks::count(1);
            Some(Alike { of: self, hash, place, first })
        })
    }
}

impl<'a> Alike<'a> {
    /// The first one: what it is alike in holds for all.
    pub(in crate::ike) fn first(self) -> &'a Arc<Connection> {
        self.first
    }

    /// Those that may have traffic in common with what is asked for on both sides, with their places.
    pub(super) fn with_traffic(self, asked: &[Prefixes; 2]) -> impl Iterator<Item = (Place, &'a Arc<Connection>)> {
        let [ours, theirs] = [0, 1].map(|side| asked[side].overlapping(&self.of.traffic[side], self.hash));
        let found = fewest(ours, theirs).into_iter();
        let found = found.filter_map(move |place| Some((place, self.of.connections.get(&place)?)));
        // Two that had the same hash by chance would be no less told apart.
        found.filter(move |(_, one)| are_siblings(one, self.first) && one.ike_proposals == self.first.ike_proposals)
    }
}

/// What the iterator yields that ends first: those are in both that are looked for.
fn fewest(mut one: impl Iterator<Item = Place>, mut other: impl Iterator<Item = Place>) -> BTreeSet<Place> {
    let mut found = [BTreeSet::new(), BTreeSet::new()];
    loop {
        #[cfg(test)]
        looks::count(1);
        let [of_one, of_other] = &mut found;
        match (one.next(), other.next()) {
            (Some(place), Some(another)) => _ = (of_one.insert(place), of_other.insert(another)),
            (None, _) => return std::mem::take(of_one),
            (_, None) => return std::mem::take(of_other),
        }
    }
}

/// The prefixes that hold the addresses of one side of what is asked for, in their order, none in another one: however many
/// selectors a peer sends, each prefix of a connection is met once.
pub(super) struct Prefixes(Vec<IpNet>);

impl Prefixes {
    /// Of both sides.
    pub(super) fn of(asked: Asked<'_>) -> [Self; 2] {
        asked.map(|selectors| {
            let mut nets = IpNet::aggregate(&selectors.iter().filter_map(covering).collect());
            nets.sort_unstable();
            Self(nets)
        })
    }

    /// The places of those that are alike by this hash, and have a prefix that holds one of these or lies in it.
    fn overlapping(&self, traffic: &BTreeSet<(u64, IpNet, Place)>, hash: u64) -> impl Iterator<Item = Place> {
        let before = std::iter::once(None).chain(self.0.iter().map(Some));
        before.zip(&self.0).flat_map(move |(before, net)| {
            // Those that hold the one before as well have been met there.
            let new = before.map_or(0, |before| common(before.network(), net.network()).map_or(0, |bits| bits + 1));
            let shorter = (new..net.prefix_len()).filter_map(move |length| shortened(net.network(), length));
            let holding =
                shorter.flat_map(move |holder| traffic.range((hash, holder, Place::MIN)..=(hash, holder, Place::MAX)));
            // In their order, those that lie in a prefix follow it.
            let following = traffic.range((hash, *net, Place::MIN)..);
            let inside = following.take_while(move |(of, inside, _)| *of == hash && net.contains(inside));
            holding.chain(inside).map(|(_, _, place)| *place)
        })
    }
}

/// For each selector of these children the longest prefix that holds it: of our side, and of the peer's.
fn nets(children: &[Child]) -> [impl Iterator<Item = IpNet>; 2] {
    [0, 1].map(|side| {
        let selectors = children.iter().flat_map(move |child| [&child.local_selectors, &child.peer_selectors][side]);
        selectors.filter_map(covering)
    })
}

/// The longest prefix that holds a selector's addresses.
fn covering(selector: &TrafficSelector) -> Option<IpNet> {
    shortened(selector.start, common(selector.start, selector.end)?)
}

/// The number of bits that two addresses of one family begin with alike.
fn common(one: IpAddr, other: IpAddr) -> Option<u8> {
    let same = match (one, other) {
        (IpAddr::V4(one), IpAddr::V4(other)) => (one.to_bits() ^ other.to_bits()).leading_zeros(),
        (IpAddr::V6(one), IpAddr::V6(other)) => (one.to_bits() ^ other.to_bits()).leading_zeros(),
        _ => return None,
    };
    u8::try_from(same).ok()
}

fn shortened(address: IpAddr, length: u8) -> Option<IpNet> {
    Some(IpNet::new(address, length).ok()?.trunc())
}

#[cfg(test)]
mod tests;
