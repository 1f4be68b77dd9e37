//! Connections by the peers that they are for, so that one among ten thousand is found as fast as one among two, and so
//! that one that comes or goes costs no more.

mod alike;

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::hash::RandomState;
use std::net::IpAddr;
use std::sync::Arc;

pub(super) use self::alike::{Alike, Asked};
use self::alike::{ByIdentity, Prefixes};
#[cfg(test)]
use super::association::looks;
use super::config::{Connection, Peer, Place};
use super::event::Path;
use super::identity::expected_id;
use super::negotiate::IkeAlgorithms;
use crate::wire::ike::Identification;

/// Expected identities that a message names.
const NAMED: usize = 8;

/// Which extensions a connection wants, a bit for each.
type Wants = fn(&Connection) -> u32;

/// The connections of a configuration.
pub(super) struct Directory {
    all: BTreeMap<Place, Arc<Connection>>,
    by_peer: HashMap<Peer, Arc<OfPeer>>,
    wants: Wants,
    hasher: RandomState,
}

/// The connections that a request on some path may belong to: those with the peer's address first, then those that take
/// any peer, each in the order of their places. They stay as they are when the directory changes.
pub(super) struct Candidates {
    groups: Vec<Arc<OfPeer>>,
    /// Our address.
    local: IpAddr,
    hasher: RandomState,
}

/// The connections with the same peer, as it is configured.
#[derive(Clone, Default)]
struct OfPeer {
    by_identity: ByIdentity,
    kinds: Vec<Kind>,
}

/// Connections that are alike in all that an answer to IKE_SA_INIT depends on. There are few kinds, however many
/// connections.
#[derive(Clone)]
struct Kind {
    first: Arc<Connection>,
    wanted: u32,
    places: BTreeSet<Place>,
}

impl Directory {
    /// An empty one. `wants` says which extensions a connection wants.
    pub(super) fn new(wants: Wants) -> Self {
        Self { all: BTreeMap::new(), by_peer: HashMap::new(), wants, hasher: RandomState::new() }
    }

    /// Takes a connection in, at a place that no other one has.
    pub(super) fn insert(&mut self, place: Place, connection: &Arc<Connection>) {
        self.all.insert(place, connection.clone());
        // Who is being answered at the moment keeps the former set.
        let of_peer = Arc::make_mut(self.by_peer.entry(connection.peer).or_default());
        of_peer.insert(place, connection, (self.wants)(connection), &self.hasher);
    }

    /// Takes the connection at this place out.
    pub(super) fn remove(&mut self, place: Place) {
        let Some(connection) = self.all.remove(&place) else { return };
        let Some(of_peer) = self.by_peer.get_mut(&connection.peer) else { return };
        let left = Arc::make_mut(of_peer);
        left.remove(place, &self.hasher);
        if left.kinds.is_empty() {
            self.by_peer.remove(&connection.peer);
        }
    }

    /// Every connection, in the order of their places.
    pub(super) fn all(&self) -> impl Iterator<Item = &Arc<Connection>> {
        let all = self.all.values();
        #[cfg(test)]
        let all = all.inspect(|_| looks::count(1));
        all
    }

    /// Whether any connection is with this peer.
    pub(super) fn knows(&self, peer: Peer) -> bool {
        self.by_peer.contains_key(&peer)
    }

    /// The candidates for a request that came on this path.
    pub(super) fn candidates(&self, path: &Path) -> Arc<Candidates> {
        let peers = [Peer::Address(path.peer.ip()), Peer::Any];
        let groups = peers.iter().filter_map(|peer| self.by_peer.get(peer).cloned());
        Arc::new(Candidates { groups: groups.collect(), local: path.local.ip(), hasher: self.hasher.clone() })
    }

    /// The other connections that a peer cannot tell from `connection`, that accept these algorithms of an IKE SA, and that
    /// may have traffic in common with what is asked for, in the order of their places: the peer may put their Child SAs into
    /// it.
    pub(super) fn siblings<'a>(
        &'a self,
        connection: &Arc<Connection>,
        algorithms: &IkeAlgorithms,
        asked: Asked<'a>,
    ) -> Vec<&'a Arc<Connection>> {
        let Some(of_peer) = self.by_peer.get(&connection.peer) else { return Vec::new() };
        let siblings = of_peer.by_identity.siblings(connection, &self.hasher);
        let allowed = siblings.filter(|alike| allows(alike.first(), algorithms));
        let asked = Prefixes::of(asked);
        let mut found: Vec<_> = allowed.flat_map(|alike| alike.with_traffic(&asked)).collect();
        found.retain(|(_, other)| !Arc::ptr_eq(other, connection));
        found.sort_unstable_by_key(|(place, _)| *place);
        found.into_iter().map(|(_, other)| other).collect()
    }
}

impl OfPeer {
    fn insert(&mut self, place: Place, connection: &Arc<Connection>, wanted: u32, hasher: &RandomState) {
        self.by_identity.insert(place, connection, hasher);
        let alike = |kind: &&mut Kind| {
            kind.wanted == wanted
                && kind.first.local_address == connection.local_address
                && kind.first.ike_proposals == connection.ike_proposals
        };
        match self.kinds.iter_mut().find(alike) {
            Some(kind) => {
                kind.places.insert(place);
                if kind.places.first() == Some(&place) {
                    kind.first = connection.clone();
                }
            }
            None => self.kinds.push(Kind { first: connection.clone(), wanted, places: BTreeSet::from([place]) }),
        }
        self.sort_kinds();
    }

    fn remove(&mut self, place: Place, hasher: &RandomState) {
        self.by_identity.remove(place, hasher);
        self.kinds.retain_mut(|kind| {
            kind.places.remove(&place);
            match kind.places.first().and_then(|place| self.by_identity.connections().get(place)) {
                Some(first) => kind.first = first.clone(),
                None => return false,
            }
            true
        });
        self.sort_kinds();
    }

    fn sort_kinds(&mut self) {
        self.kinds.sort_by_key(|kind| kind.places.first().copied());
    }
}

impl Candidates {
    fn fits(&self, connection: &Connection) -> bool {
        connection.local_address.is_none_or(|address| address == self.local || self.local.is_unspecified())
    }

    fn kinds(&self) -> impl Iterator<Item = &Kind> {
        self.groups.iter().flat_map(|group| &group.kinds).filter(|kind| self.fits(&kind.first))
    }

    pub(super) fn is_empty(&self) -> bool {
        self.kinds().next().is_none()
    }

    /// The first one. It is configured with the peer's address, if any is.
    pub(super) fn first(&self) -> Option<&Arc<Connection>> {
        self.kinds().next().map(|kind| &kind.first)
    }

    /// Whether any is configured with the peer's address.
    pub(super) fn are_configured(&self) -> bool {
        self.first().is_some_and(|first| matches!(first.peer, Peer::Address(_)))
    }

    /// Connections with each list of proposals that occurs among them, in the order of the first ones.
    pub(super) fn distinct_proposals(&self) -> impl Iterator<Item = &Arc<Connection>> {
        let mut distinct: Vec<&Arc<Connection>> = Vec::new();
        for kind in self.kinds() {
            if distinct.iter().all(|known| known.ike_proposals != kind.first.ike_proposals) {
                distinct.push(&kind.first);
            }
        }
        distinct.into_iter()
    }

    /// The first one that accepts these algorithms.
    pub(super) fn first_with(&self, algorithms: &IkeAlgorithms) -> Option<&Arc<Connection>> {
        self.kinds().map(|kind| &kind.first).find(|connection| allows(connection, algorithms))
    }

    /// The extensions that any wants.
    pub(super) fn wanted(&self) -> u32 {
        self.kinds().fold(0, |wanted, kind| wanted | kind.wanted)
    }

    /// The extensions that any wants that accepts these algorithms.
    pub(super) fn wanted_with(&self, algorithms: &IkeAlgorithms) -> u32 {
        let allowed = self.kinds().filter(|kind| allows(&kind.first, algorithms));
        allowed.fold(0, |wanted, kind| wanted | kind.wanted)
    }

    /// Those that expect this identity, or take any, and accept these algorithms, the ones that are alike together.
    pub(super) fn fitting(&self, id: &Identification, algorithms: &IkeAlgorithms) -> Vec<Alike<'_>> {
        let expecting = self.groups.iter().flat_map(|group| group.by_identity.expecting(id, &self.hasher));
        expecting.filter(|alike| self.fits(alike.first()) && allows(alike.first(), algorithms)).collect()
    }

    /// The identities that are expected with these algorithms, for a person.
    pub(super) fn expected(&self, algorithms: &IkeAlgorithms) -> Vec<String> {
        let all = self.groups.iter().flat_map(|group| group.by_identity.connections().values());
        let allowed = all.filter(|connection| self.fits(connection) && allows(connection, algorithms));
        let mut named: Vec<String> =
            allowed.filter_map(|c| expected_id(c)).take(NAMED).map(|id| id.to_string()).collect();
        let number: usize = self.kinds().map(|kind| kind.places.len()).sum();
        if named.len() == NAMED && number > NAMED {
            named.push(format!("that of another one of {number} connections"));
        }
        named
    }
}

/// Of these the connections that may have traffic in common with what is asked for: those with the peer's address first,
/// then those that take any peer, each in the order of their places.
pub(super) fn with_traffic<'a>(alike: &[Alike<'a>], asked: Asked<'a>) -> Vec<&'a Arc<Connection>> {
    let asked = Prefixes::of(asked);
    let mut found: Vec<_> = alike.iter().flat_map(|alike| alike.with_traffic(&asked)).collect();
    found.sort_unstable_by_key(|(place, connection)| (connection.peer == Peer::Any, *place));
    found.into_iter().map(|(_, connection)| connection).collect()
}

/// Whether a connection accepts these algorithms.
fn allows(connection: &Connection, algorithms: &IkeAlgorithms) -> bool {
    connection.ike_proposals.iter().any(|proposal| {
        proposal.encryption.contains(&algorithms.suite.encryption)
            && algorithms.suite.integrity.is_none_or(|integrity| proposal.integrity.contains(&integrity))
            && proposal.prf.contains(&algorithms.prf)
            && proposal.groups.contains(&algorithms.group)
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::crypto::Secret;
    use crate::ike::config::{Extensions, Start};

    fn connection(number: u8, peer: Peer, extension: bool) -> Arc<Connection> {
        Arc::new(Connection {
            name: format!("c{number}").into(),
            local_address: number.is_multiple_of(3).then(|| IpAddr::from([192, 0, 2, 1])),
            peer,
            local_id: "gateway.example".parse().unwrap(),
            peer_id: Some(format!("site-{}.example", number / 2).parse().unwrap()),
            pre_shared_key: Arc::new(Secret::new(vec![number])),
            ike_proposals: Vec::new(),
            children: Vec::new(),
            start: Start::Wait,
            ike_lifetime: std::time::Duration::from_secs(3600),
            child_lifetime: std::time::Duration::from_secs(3600),
            liveness_interval: None,
            nat_traversal: extension,
            force_encapsulation: false,
            nat_keepalive: std::time::Duration::ZERO,
            extensions: Extensions::default(),
        })
    }

    /// What a request on a path may see of a directory.
    fn seen(directory: &Directory, peer: [u8; 4], local: [u8; 4]) -> (Vec<String>, u32, Vec<Vec<String>>) {
        let path = Path { local: (local, 500).into(), peer: (peer, 500).into(), non_esp_marker: false };
        let candidates = directory.candidates(&path);
        let names = |list: Vec<&Arc<Connection>>| list.iter().map(|one| one.name.to_string()).collect::<Vec<_>>();
        let firsts = names(candidates.kinds().map(|kind| &kind.first).collect());
        let expecting = (0..5).map(|number| {
            let id: Identification = format!("SITE-{number}.example").parse().unwrap();
            let found = candidates.groups.iter().flat_map(|group| group.by_identity.expecting(&id, &candidates.hasher));
            names(found.map(Alike::first).filter(|connection| candidates.fits(connection)).collect())
        });
        let expecting = expecting.collect();
        (firsts, candidates.wanted(), expecting)
    }

    #[test]
    fn whatever_came_and_went_the_directory_is_that_of_what_is_there() {
        let peers = [Peer::Any, Peer::Address([203, 0, 113, 1].into()), Peer::Address([203, 0, 113, 2].into())];
        let all: Vec<_> = (0..10).map(|n| connection(n, peers[usize::from(n) % 3], n > 4)).collect();
        let wants = |connection: &Connection| u32::from(connection.nat_traversal);
        // Every one of them gone, then there again, in turn; and a set that somebody holds stays as it is.
        let mut directory = Directory::new(wants);
        all.iter().zip(0..).for_each(|(connection, place)| directory.insert(place, connection));
        let whole =
            [[203, 0, 113, 1], [203, 0, 113, 2], [203, 0, 113, 3]].map(|peer| seen(&directory, peer, [192, 0, 2, 1]));
        let path =
            Path { local: ([192, 0, 2, 1], 500).into(), peer: ([203, 0, 113, 1], 500).into(), non_esp_marker: false };
        for gone in 0..10 {
            let held = directory.candidates(&path);
            let before = held.groups.iter().map(|group| group.by_identity.connections().len()).sum::<usize>();
            directory.remove(gone);
            let mut without = Directory::new(wants);
            for (connection, place) in all.iter().zip(0..).filter(|(_, place)| *place != gone) {
                without.insert(place, connection);
            }
            for peer in [[203, 0, 113, 1], [203, 0, 113, 2], [203, 0, 113, 3]] {
                for local in [[192, 0, 2, 1], [192, 0, 2, 2], [0, 0, 0, 0]] {
                    assert_eq!(seen(&directory, peer, local), seen(&without, peer, local), "without {gone}");
                }
            }
            assert_eq!(directory.all().count(), 9);
            assert_eq!(held.groups.iter().map(|group| group.by_identity.connections().len()).sum::<usize>(), before);
            directory.insert(gone, &all[gone as usize]);
        }
        let again =
            [[203, 0, 113, 1], [203, 0, 113, 2], [203, 0, 113, 3]].map(|peer| seen(&directory, peer, [192, 0, 2, 1]));
        assert_eq!(again, whole);
        (0..10).for_each(|place| directory.remove(place));
        assert!(directory.by_peer.is_empty() && directory.all.is_empty());
    }
}
