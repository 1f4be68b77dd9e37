//! The status of a connection, put together from its IKE SAs and their Child SAs.

use std::net::SocketAddr;
use std::sync::Arc;

use super::connections::Connections;
use crate::ike::child::ChildPair;
use crate::ike::config::{Connection, Peer};
use crate::ike::coverage;
use crate::ike::failure::Failure;
use crate::ike::identity::expected_id;
use crate::ike::sa::Phase;
use crate::ike::state::IkeSa;
use crate::ike::state::established::Established;
use crate::ike::status::{ChildStatus, ConnectionState, ConnectionStatus};

impl Connections {
    pub(super) fn status(&self, connection: &Arc<Connection>) -> ConnectionStatus {
        let runtime = self.by_name.get(&connection.name);
        let sas = || runtime.into_iter().flat_map(|runtime| &runtime.ike_sas).filter_map(|spi| self.ike_sas.get(spi));
        let established: Vec<&Established> = sas().filter_map(established).collect();
        // The newest is at the end.
        let active = established.iter().rev().find(|state| state.sa().is_active()).or(established.last()).copied();
        let connecting = sas().find_map(|sa| match sa {
            IkeSa::InitSent(state) => Some((state.path().peer, state.error())),
            IkeSa::AuthSent(state) => Some((state.path().peer, None)),
            _ => None,
        });
        let state = match (active.map(|state| state.sa().phase()), connecting) {
            (Some(Phase::Active | Phase::Passive(_)), _) => ConnectionState::Established,
            (_, Some(_)) => ConnectionState::Connecting,
            (Some(Phase::Closing(_)), None) => ConnectionState::Closing,
            (None, None) => ConnectionState::Down,
        };
        let configured = match connection.peer {
            Peer::Address(address) => Some(SocketAddr::new(address, self.ike_sas.config.ike_port)),
            Peer::Any => None,
        };
        let up = state == ConnectionState::Established;
        // What failed once and works now is no error any more.
        let serves = |name: &Arc<str>| established.iter().any(|state| state.children().serves(name));
        let served = connection.children.iter().all(|child| serves(&child.name));
        let pairs = |name: &Arc<str>| {
            let name = name.clone();
            let current = established.iter().flat_map(|state| state.children().current());
            current.filter(move |pair| pair.child == name).map(ChildPair::selectors)
        };
        let left_out = connection.children.iter().flat_map(|child| {
            coverage::left_out(child, pairs(&child.name)).into_iter().map(|flows| (child.name.clone(), flows))
        });
        let left_out = left_out.collect();
        let all = established.iter().flat_map(|state| state.children().iter());
        let mut children: Vec<ChildStatus> = all.map(ChildPair::status).collect();
        children.sort_by_key(|status| status.state);
        let last_error = runtime.and_then(|runtime| runtime.last_error.clone());
        let current_error = connecting.and_then(|(_, error)| error).map(|error| Failure::Init(error.clone()));
        ConnectionStatus {
            name: connection.name.clone(),
            state,
            start: connection.start,
            local_id: connection.local_id.clone(),
            peer_id: active.map(|state| state.sa().peer_id().clone()).or_else(|| expected_id(connection)),
            peer: active
                .map(|state| state.sa().channel().path().peer)
                .or(connecting.map(|(peer, _)| peer))
                .or(configured),
            ike_sa: active.filter(|state| state.sa().is_active()).map(|state| state.sa().status()),
            children,
            left_out,
            last_error: if up && served { None } else { current_error.or(last_error) },
            next_attempt: runtime.filter(|_| !up).and_then(|runtime| runtime.next_attempt),
        }
    }
}

fn established(sa: &IkeSa) -> Option<&Established> {
    match sa {
        IkeSa::Established(state) => Some(state),
        _ => None,
    }
}
