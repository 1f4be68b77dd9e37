//! What is shown of a connection: its associations, their IKE SAs and Child SAs.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::sync::Arc;

use super::connections::Connections;
use crate::ike::association::{Association, AssociationId};
use crate::ike::child::ChildPair;
use crate::ike::config::{Connection, Peer};
use crate::ike::coverage::{self, Flows};
use crate::ike::failure::Failure;
use crate::ike::identity::expected_id;
use crate::ike::sa::Phase;
use crate::ike::state::IkeSa;
use crate::ike::state::established::Established;
use crate::ike::status::{AssociationStatus, ChildStatus, ConnectionState, ConnectionStatus};

impl Connections {
    pub(super) fn status(&self, connection: &Arc<Connection>) -> ConnectionStatus {
        let runtime = self.by_name.get(&connection.name);
        let of = |spis: Vec<_>| -> Vec<&Established> {
            spis.into_iter().filter_map(|spi| self.ike_sas.established(&spi)).collect()
        };
        // The newest is at the end.
        let own = of(runtime.map_or_else(Vec::new, |runtime| runtime.ike_sas.established().collect()));
        let hosts = of(runtime.map_or_else(Vec::new, |runtime| runtime.hosts.clone()));
        let serving = own.iter().rev().find(|state| state.sa().is_active()).or(hosts.last());
        let active = serving.or(own.last()).copied();
        let attempts = runtime.into_iter().flat_map(|runtime| runtime.ike_sas.attempts());
        let connecting = attempts.filter_map(|spi| self.ike_sas.get(spi)).find_map(|sa| match sa {
            IkeSa::InitSent(state) => Some((state.path().peer, state.error())),
            IkeSa::AuthSent(state) => Some((state.path().peer, None)),
            _ => None,
        });
        let state = match (active.map(|state| state.sa().phase()), connecting) {
            (Some(Phase::Active), _) => ConnectionState::Established,
            (_, Some(_)) => ConnectionState::Connecting,
            (Some(Phase::Passive(_) | Phase::Closing(_)), None) => ConnectionState::Closing,
            (None, None) => ConnectionState::Down,
        };
        let configured = match connection.peer {
            Peer::Address(address) => Some(SocketAddr::new(address, self.ike_sas.config.ike_port)),
            Peer::Any => None,
        };
        let up = state == ConnectionState::Established;
        let states: Vec<&Established> = hosts.iter().chain(&own).copied().collect();
        // What failed once and works now is no error any more.
        let serves = |name: &Arc<str>| current(connection, &states).any(|pair| pair.child == *name && !pair.exhausted);
        let served = connection.children.iter().all(|child| serves(&child.name));
        // What fails with one of many peers is no error of the others, whose pairs say nothing of it either.
        let served = served || connection.peer == Peer::Any;
        let last_error = runtime.and_then(|runtime| runtime.last_error.clone());
        let current_error = connecting.and_then(|(_, error)| error).map(|error| Failure::Init(error.clone()));
        let all = states.iter().flat_map(|state| state.children().iter());
        let own = all.filter(|pair| Arc::ptr_eq(pair.association.connection(), connection));
        let mut children: Vec<ChildStatus> = own.map(ChildPair::status).collect();
        children.sort_by_key(|status| status.state);
        ConnectionStatus {
            name: connection.name.clone(),
            state,
            start: connection.start,
            local_id: connection.local_id.clone(),
            peer_id: active.map(|state| state.sa().association().peer_id().clone()).or_else(|| expected_id(connection)),
            peer: active
                .map(|state| state.sa().channel().path().peer)
                .or(connecting.map(|(peer, _)| peer))
                .or(configured),
            associations: associations(connection, &states),
            ike_sa: active.filter(|state| state.sa().is_active()).map(|state| state.sa().status()),
            children,
            left_out: left_out(connection, &states),
            last_error: if up && served { None } else { current_error.or(last_error) },
            next_attempt: runtime.filter(|_| !up).and_then(|runtime| runtime.next_attempt),
        }
    }
}

/// The current pairs of a connection in these IKE SAs.
fn current<'a>(connection: &'a Arc<Connection>, states: &'a [&Established]) -> impl Iterator<Item = &'a ChildPair> {
    let pairs = states.iter().flat_map(|state| state.children().current());
    pairs.filter(|pair| Arc::ptr_eq(pair.association.connection(), connection))
}

/// The associations of a connection that have these IKE SAs, or pairs in them.
fn associations(connection: &Arc<Connection>, states: &[&Established]) -> Vec<AssociationStatus> {
    let mut found: BTreeMap<AssociationId, AssociationStatus> = BTreeMap::new();
    for state in states {
        let sa = state.sa();
        let own = std::iter::once(sa.association());
        let mut of_one = |association: &Arc<Association>| {
            let status = found.entry(association.id()).or_insert_with(|| AssociationStatus {
                id: association.id(),
                peer_id: association.peer_id().clone(),
                peer: sa.channel().path().peer,
                since: association.since(),
                ike_sas: Vec::new(),
            });
            status.peer = sa.channel().path().peer;
            let spi = sa.channel().spis().initiator;
            if status.ike_sas.iter().all(|known| known.initiator_spi != spi) {
                status.ike_sas.push(sa.status());
            }
        };
        let all = own.chain(state.children().iter().map(|pair| &pair.association));
        all.filter(|association| Arc::ptr_eq(association.connection(), connection)).for_each(&mut of_one);
    }
    found.into_values().collect()
}

/// What the peer leaves out of each child; of many peers each one's is the others'.
fn left_out(connection: &Arc<Connection>, states: &[&Established]) -> Vec<(Arc<str>, Flows)> {
    if connection.peer == Peer::Any {
        return Vec::new();
    }
    let pairs = |name: &Arc<str>| {
        let name = name.clone();
        current(connection, states).filter(move |pair| pair.child == name).map(ChildPair::selectors)
    };
    let of_child = |child: &crate::ike::config::Child| {
        let name = child.name.clone();
        coverage::left_out(child, pairs(&child.name)).into_iter().map(move |flows| (name.clone(), flows))
    };
    connection.children.iter().flat_map(of_child).collect()
}
