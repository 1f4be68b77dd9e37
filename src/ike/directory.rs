//! Connections by the peers that they are for, so that one among ten thousand is found as fast as one among two.

use std::collections::HashMap;
use std::hash::{BuildHasher, RandomState};
use std::net::IpAddr;
use std::sync::Arc;

use super::association::are_siblings;
use super::config::{Connection, Peer};
use super::event::Path;
use super::identity::{expected_id, expects, same_identity};
use super::negotiate::IkeAlgorithms;
use crate::wire::ike::Identification;

/// Sets of candidates that are kept; there is one for each pair of a configured peer's address and an address of ours.
const KEPT_SETS: usize = 20_000;
/// Expected identities that a message names.
const NAMED: usize = 8;

/// Which extensions a connection wants, a bit for each.
type Wants = fn(&Connection) -> u32;

/// The connections of a configuration.
pub(super) struct Directory {
    by_peer: HashMap<Peer, Vec<Arc<Connection>>>,
    all: Candidates,
    /// By peer, if its address is configured, and our address; made when first asked for.
    sets: HashMap<(Option<IpAddr>, IpAddr), Arc<Candidates>>,
    hasher: RandomState,
}

/// The connections that a request on some path may belong to: those with the peer's address first, then those that take
/// any peer, in the order of the configuration.
pub(super) struct Candidates {
    connections: Vec<Arc<Connection>>,
    /// The place of each connection that expects one identity, in the order of the identities' hashes.
    by_id: Vec<(u64, u32)>,
    /// Places of those that take any identity.
    any_id: Vec<u32>,
    /// Places of the first ones with each list of proposals that occurs.
    proposals: Vec<u32>,
    /// The extensions that any of them wants.
    wanted: u32,
    wants: Wants,
    hasher: RandomState,
}

impl Directory {
    pub(super) fn new(connections: &[Arc<Connection>], wants: Wants) -> Self {
        let hasher = RandomState::new();
        let mut by_peer: HashMap<Peer, Vec<Arc<Connection>>> = HashMap::new();
        for connection in connections {
            by_peer.entry(connection.peer).or_default().push(connection.clone());
        }
        let all = Candidates::new(connections.to_vec(), wants, &hasher);
        Self { by_peer, all, sets: HashMap::new(), hasher }
    }

    /// The candidates for a request that came on this path.
    pub(super) fn candidates(&mut self, path: &Path) -> Arc<Candidates> {
        let (peer, local) = (path.peer.ip(), path.local.ip());
        let configured = Some(peer).filter(|peer| self.by_peer.contains_key(&Peer::Address(*peer)));
        if let Some(known) = self.sets.get(&(configured, local)) {
            return known.clone();
        }
        let fits = |connection: &&Arc<Connection>| {
            connection.local_address.is_none_or(|address| address == local || local.is_unspecified())
        };
        let of = |peer: Peer| self.by_peer.get(&peer).into_iter().flatten().filter(fits).cloned();
        let connections = of(Peer::Address(peer)).chain(of(Peer::Any)).collect();
        let set = Arc::new(Candidates::new(connections, self.all.wants, &self.hasher));
        if self.sets.len() >= KEPT_SETS {
            self.sets.clear();
        }
        self.sets.insert((configured, local), set.clone());
        set
    }

    /// The connections whose IKE SAs may stand between these identities.
    pub(super) fn between<'a>(
        &'a self,
        local: &'a Identification,
        peer: &'a Identification,
    ) -> impl Iterator<Item = &'a Arc<Connection>> {
        self.all.expecting(peer).filter(|connection| same_identity(&connection.local_id, local))
    }

    /// The other connections that a peer with this identity cannot tell from `connection`, and that accept these
    /// algorithms of an IKE SA: it may put their Child SAs into it.
    pub(super) fn siblings<'a>(
        &'a self,
        connection: &'a Arc<Connection>,
        peer: &'a Identification,
        algorithms: &'a IkeAlgorithms,
    ) -> impl Iterator<Item = &'a Arc<Connection>> {
        let others = self.between(&connection.local_id, peer).filter(|other| !Arc::ptr_eq(other, connection));
        others.filter(|other| are_siblings(connection, other) && allows(other, algorithms))
    }
}

impl Candidates {
    fn new(connections: Vec<Arc<Connection>>, wants: Wants, hasher: &RandomState) -> Self {
        let (mut by_id, mut any_id) = (Vec::with_capacity(connections.len()), Vec::new());
        let mut proposals: Vec<u32> = Vec::new();
        for (place, connection) in connections.iter().enumerate() {
            match expected_id(connection) {
                Some(id) => by_id.push((hash(&id, hasher), place as u32)),
                None => any_id.push(place as u32),
            }
            if !proposals.iter().any(|first| connections[*first as usize].ike_proposals == connection.ike_proposals) {
                proposals.push(place as u32);
            }
        }
        by_id.sort_unstable();
        let wanted = connections.iter().fold(0, |wanted, connection| wanted | wants(connection));
        Self { connections, by_id, any_id, proposals, wanted, wants, hasher: hasher.clone() }
    }

    pub(super) fn is_empty(&self) -> bool {
        self.connections.is_empty()
    }

    /// The first one. It is configured with the peer's address, if any is.
    pub(super) fn first(&self) -> Option<&Arc<Connection>> {
        self.connections.first()
    }

    /// Whether any is configured with the peer's address.
    pub(super) fn are_configured(&self) -> bool {
        self.first().is_some_and(|first| matches!(first.peer, Peer::Address(_)))
    }

    /// The first connection of each list of proposals that occurs among them.
    pub(super) fn distinct_proposals(&self) -> impl Iterator<Item = &Arc<Connection>> {
        self.proposals.iter().filter_map(|place| self.connections.get(*place as usize))
    }

    /// The first one that accepts these algorithms.
    pub(super) fn first_with(&self, algorithms: &IkeAlgorithms) -> Option<&Arc<Connection>> {
        self.distinct_proposals().find(|connection| allows(connection, algorithms))
    }

    /// The extensions that any wants.
    pub(super) fn wanted(&self) -> u32 {
        self.wanted
    }

    /// The extensions that any wants that accepts these algorithms.
    pub(super) fn wanted_with(&self, algorithms: &IkeAlgorithms) -> u32 {
        let mut wanted = 0;
        for connection in &self.connections {
            if allows(connection, algorithms) {
                wanted |= (self.wants)(connection);
            }
            if wanted == self.wanted {
                break;
            }
        }
        wanted
    }

    /// Those that expect this identity or take any.
    fn expecting<'a>(&'a self, id: &'a Identification) -> impl Iterator<Item = &'a Arc<Connection>> {
        let wanted = hash(id, &self.hasher);
        let start = self.by_id.partition_point(|(hash, _)| *hash < wanted);
        let same = self.by_id[start..].iter().take_while(move |(hash, _)| *hash == wanted).map(|(_, place)| *place);
        let mut places: Vec<u32> = same.chain(self.any_id.iter().copied()).collect();
        places.sort_unstable();
        let found = places.into_iter().filter_map(|place| self.connections.get(place as usize));
        found.filter(|connection| expects(connection, id))
    }

    /// Those that expect this identity, or take any, and accept these algorithms.
    pub(super) fn fitting<'a>(
        &'a self,
        id: &'a Identification,
        algorithms: &'a IkeAlgorithms,
    ) -> impl Iterator<Item = &'a Arc<Connection>> {
        self.expecting(id).filter(|connection| allows(connection, algorithms))
    }

    /// The identities that are expected with these algorithms, for a person.
    pub(super) fn expected(&self, algorithms: &IkeAlgorithms) -> Vec<String> {
        let allowed = self.connections.iter().filter(|connection| allows(connection, algorithms));
        let mut named: Vec<String> =
            allowed.filter_map(|c| expected_id(c)).take(NAMED).map(|id| id.to_string()).collect();
        if named.len() == NAMED && self.connections.len() > NAMED {
            named.push(format!("that of another one of {} connections", self.connections.len()));
        }
        named
    }
}

/// Equal for identities that are the same one.
fn hash(id: &Identification, hasher: &RandomState) -> u64 {
    match id {
        Identification::Fqdn(name) => hasher.hash_one((1, name.to_ascii_lowercase())),
        Identification::UserFqdn(name) => hasher.hash_one((2, name.to_ascii_lowercase())),
        other => hasher.hash_one((3, other)),
    }
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
