//! What exists of a configured connection: an association is a connection with one authenticated peer.
//!
//! A connection is a template. One that takes any peer has as many associations as there are peers; any other one has at
//! most one at a time. Child SAs belong to an association, and not always to that of the connection that their IKE SA was
//! set up for: two connections that a peer cannot tell apart by addresses, identities and key are one connection with
//! several children to it, and it puts their Child SAs into one IKE SA.

use std::collections::{BTreeMap, HashMap};
use std::fmt;
use std::hash::{BuildHasher, RandomState};
use std::sync::{Arc, Weak};
use std::time::Instant;

use super::config::Connection;
use super::identity::{canonical, expected_id, same_identity};
use crate::crypto::digest::constant_time_eq;
use crate::wire::ike::{Identification, IkeSpi};

/// The number of an association. None is given twice by one endpoint.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct AssociationId(pub u64);

impl fmt::Display for AssociationId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// Whether a peer cannot tell two connections apart: the same addresses, identities and pre-shared key. Then it may put
/// the Child SAs of both into one IKE SA (RFC 7296 1.3.1 says of none which IKE SA it belongs to).
pub fn are_siblings(one: &Connection, other: &Connection) -> bool {
    let same = |one: Option<Identification>, other: Option<Identification>| match (&one, &other) {
        (Some(one), Some(other)) => same_identity(one, other),
        _ => one == other,
    };
    one.local_address == other.local_address
        && one.peer == other.peer
        && same_identity(&one.local_id, &other.local_id)
        && same(expected_id(one), expected_id(other))
        && constant_time_eq(one.pre_shared_key.as_bytes(), other.pre_shared_key.as_bytes())
}

/// A connection with one authenticated peer. It is there as long as an IKE SA or a pair of Child SAs of it is.
#[derive(Debug)]
pub(super) struct Association {
    id: AssociationId,
    connection: Arc<Connection>,
    peer_id: Identification,
    identities: u64,
    since: Instant,
}

impl Association {
    pub(super) fn id(&self) -> AssociationId {
        self.id
    }

    pub(super) fn connection(&self) -> &Arc<Connection> {
        &self.connection
    }

    /// The name of the connection.
    pub(super) fn name(&self) -> &Arc<str> {
        &self.connection.name
    }

    pub(super) fn peer_id(&self) -> &Identification {
        &self.peer_id
    }

    /// A hash of our identity and the peer's, as [`Associations::identities`] makes it.
    pub(super) fn identities(&self) -> u64 {
        self.identities
    }

    /// When its peer was authenticated first, of all the IKE SAs that have taken each other's place.
    pub(super) fn since(&self) -> Instant {
        self.since
    }
}

/// The associations that there are.
#[derive(Default)]
pub(super) struct Associations {
    last: u64,
    by_peer: HashMap<(Arc<str>, Identification), Weak<Association>>,
    by_id: HashMap<AssociationId, Weak<Association>>,
    /// When there are so many, those that are gone are taken out.
    sweep_at: usize,
    hasher: RandomState,
}

impl Associations {
    const FEW: usize = 64;

    /// The association of a connection with a peer whose identity was just authenticated.
    pub(super) fn of(
        &mut self,
        connection: &Arc<Connection>,
        peer_id: &Identification,
        now: Instant,
    ) -> Arc<Association> {
        let key = (connection.name.clone(), canonical(peer_id));
        let known = self.by_peer.get(&key).and_then(Weak::upgrade);
        // Of a connection that has been changed they are others.
        if let Some(known) = known.filter(|known| Arc::ptr_eq(&known.connection, connection)) {
            return known;
        }
        // Those of changed connections, too, have their numbers until they are gone: this is the larger map.
        if self.by_id.len() >= self.sweep_at {
            self.by_peer.retain(|_, association| association.strong_count() > 0);
            self.by_id.retain(|_, association| association.strong_count() > 0);
            self.sweep_at = (2 * self.by_id.len()).max(Self::FEW);
        }
        self.last += 1;
        let association = Arc::new(Association {
            id: AssociationId(self.last),
            connection: connection.clone(),
            peer_id: peer_id.clone(),
            identities: self.identities(&connection.local_id, peer_id),
            since: now,
        });
        self.by_peer.insert(key, Arc::downgrade(&association));
        self.by_id.insert(association.id, Arc::downgrade(&association));
        association
    }

    /// Whether this one is there.
    pub(super) fn has(&self, association: AssociationId) -> bool {
        self.by_id.get(&association).is_some_and(|association| association.strong_count() > 0)
    }

    /// A hash of two identities, ours and the peer's: the same for those that are the same ones.
    pub(super) fn identities(&self, local: &Identification, peer: &Identification) -> u64 {
        self.hasher.hash_one((canonical(local), canonical(peer)))
    }
}

/// Our SPIs of a connection's IKE SAs: of those that are being negotiated, and of the established ones by association. What
/// happens to one association looks at no other.
#[derive(Default)]
pub(super) struct IkeSas {
    attempts: Vec<IkeSpi>,
    /// Boxed: of most connections there is one, in a node that has room for more.
    established: BTreeMap<AssociationId, Box<Peers>>,
}

/// The IKE SAs of one association.
#[derive(Default)]
pub(super) struct Peers {
    /// The newest is at the end.
    spis: Vec<IkeSpi>,
    /// Since when there have been several of which one is to stay.
    pub(super) duplicated: Option<Instant>,
}

impl IkeSas {
    pub(super) fn is_empty(&self) -> bool {
        self.attempts.is_empty() && self.established.is_empty()
    }

    pub(super) fn has_established(&self) -> bool {
        !self.established.is_empty()
    }

    /// Takes in one that we negotiate.
    pub(super) fn add_attempt(&mut self, spi: IkeSpi) {
        self.attempts.push(spi);
    }

    /// Takes in an established one, perhaps one that was negotiated.
    pub(super) fn add_established(&mut self, spi: IkeSpi, association: AssociationId) {
        self.attempts.retain(|known| *known != spi);
        let spis = &mut self.established.entry(association).or_default().spis;
        if !spis.contains(&spi) {
            spis.push(spi);
        }
    }

    /// Takes one out. False if it was not there.
    pub(super) fn remove(&mut self, spi: IkeSpi, association: Option<AssociationId>) -> bool {
        let attempts = self.attempts.len();
        self.attempts.retain(|known| *known != spi);
        let was_attempt = self.attempts.len() < attempts;
        let Some((id, peers)) = association.and_then(|id| Some((id, self.established.get_mut(&id)?))) else {
            return was_attempt;
        };
        let known = peers.spis.len();
        peers.spis.retain(|known| *known != spi);
        let was_established = peers.spis.len() < known;
        if peers.spis.is_empty() {
            self.established.remove(&id);
        }
        was_attempt || was_established
    }

    /// Those that are being negotiated.
    pub(super) fn attempts(&self) -> &[IkeSpi] {
        &self.attempts
    }

    /// Those of one association, the newest at the end.
    pub(super) fn of(&self, association: AssociationId) -> &[IkeSpi] {
        let spis: &[IkeSpi] = self.established.get(&association).map_or(&[], |peers| &peers.spis);
        #[cfg(test)]
        looks::count(spis.len());
        spis
    }

    /// What is known of one association.
    pub(super) fn peers_mut(&mut self, association: AssociationId) -> Option<&mut Peers> {
        self.established.get_mut(&association).map(|peers| &mut **peers)
    }

    /// The established ones of every association.
    pub(super) fn established(&self) -> impl DoubleEndedIterator<Item = IkeSpi> + '_ {
        let all = self.established.values().flat_map(|peers| &peers.spis).copied();
        #[cfg(test)]
        let all = all.inspect(|_| looks::count(1));
        all
    }

    /// How many associations there are.
    pub(super) fn associations(&self) -> usize {
        self.established.len()
    }

    /// All of them.
    pub(super) fn iter(&self) -> impl Iterator<Item = IkeSpi> + '_ {
        self.attempts.iter().copied().chain(self.established())
    }
}

/// How many connections, and IKE SAs of connections, this thread has looked at.
#[cfg(test)]
pub(super) mod looks {
    use std::cell::Cell;

    thread_local!(static LOOKS: Cell<usize> = const { Cell::new(0) });

    pub(in crate::ike) fn count(looks: usize) {
        LOOKS.set(LOOKS.get() + looks);
    }

    pub(in crate::ike) fn take() -> usize {
        LOOKS.take()
    }
}
