//! Pairs of one connection in the IKE SA of another. A peer that cannot tell two connections apart (the same addresses,
//! identities and key) puts the Child SAs of both into one IKE SA. They are the connection's own in every other respect:
//! it is up while there are any, and has no need of an IKE SA of its own.

use std::sync::Arc;
use std::time::Instant;

use super::connections::Connections;
use super::ike_sas::Guest;
use crate::ike::config::{Connection, Peer};
use crate::ike::ended::Ended;
use crate::ike::event::Event;
use crate::ike::failure::Failure;
use crate::ike::sa::Cause;
use crate::ike::state::IkeSa;
use crate::wire::ike::IkeSpi;

impl Connections {
    /// An IKE SA carried these pairs of other connections, and now carries those. `error` is why it ended, if it did.
    pub(super) fn guests_changed(
        &mut self,
        host: IkeSpi,
        before: &[Guest],
        after: &[Guest],
        error: Option<Failure>,
        now: Instant,
    ) {
        let same = |(one, other): (&Guest, &Guest)| Arc::ptr_eq(&one.0, &other.0) && one.1 == other.1;
        if before.len() == after.len() && before.iter().zip(after).all(same) {
            return;
        }
        let mut seen: Vec<&Arc<Connection>> = Vec::new();
        for (association, _) in before.iter().chain(after) {
            let connection = association.connection();
            if seen.iter().any(|seen| Arc::ptr_eq(seen, connection)) {
                continue;
            }
            seen.push(connection);
            let Some(runtime) = self.by_name.get_mut(&connection.name) else { continue };
            if !Arc::ptr_eq(&runtime.connection, connection) {
                continue;
            }
            let carries = after.iter().any(|(other, _)| Arc::ptr_eq(other.connection(), connection));
            runtime.hosts.retain(|known| *known != host);
            if carries {
                runtime.hosts.push(host);
                self.taken_in(connection, now);
            } else {
                self.left_by_host(connection, error.clone(), now);
            }
        }
    }

    /// A connection has pairs in another one's IKE SA. If these are all that it is to have, it stops trying by itself.
    fn taken_in(&mut self, connection: &Arc<Connection>, now: Instant) {
        let name = &connection.name;
        let Some(runtime) = self.by_name.get(name) else { return };
        let complete = runtime.not_in_hosts(&self.ike_sas).is_empty();
        let attempts = runtime.ike_sas.attempts().to_vec();
        if complete {
            self.schedule(name, None);
            for spi in attempts {
                // What the peer has seen of it is no more than IKE_SA_INIT.
                if matches!(self.ike_sas.get(&spi), Some(IkeSa::InitSent(_))) {
                    self.forget(spi);
                }
            }
        }
        let Some(runtime) = self.by_name.get_mut(name) else { return };
        if complete {
            (runtime.refusals, runtime.last_error) = (0, None);
        }
        if !std::mem::replace(&mut runtime.up, true) {
            self.ike_sas.event(Event::ConnectionUp { connection: name.clone() });
        }
        if !complete {
            self.seek_missing(name, true, &Cause::Closed, now);
        }
    }

    /// An IKE SA carries no pair of this connection any more.
    fn left_by_host(&mut self, connection: &Arc<Connection>, error: Option<Failure>, now: Instant) {
        let name = &connection.name;
        let Some(runtime) = self.by_name.get_mut(name) else { return };
        if !runtime.hosts.is_empty() || runtime.ike_sas.has_established() {
            return self.seek_missing(name, true, &Cause::Closed, now);
        }
        let asked_for = !runtime.wanted || self.closed;
        let error = error.or((!asked_for).then_some(Failure::LeftByHost));
        runtime.last_error.clone_from(&error);
        if runtime.ike_sas.is_empty() {
            self.goes_down(connection, true, &Ended::new(Cause::Closed, error), now);
        } else if std::mem::take(&mut runtime.up) {
            // What is being negotiated may still take their place.
            let connection = name.clone();
            self.ike_sas.event(Event::ConnectionDown { connection, error, next_attempt: None });
        }
    }

    /// A connection that is wanted, and that no IKE SA of its own sees to, tries to get what no other one carries:
    /// the later, the more often it has tried in vain. `established` and `cause` say how the last attempt or IKE SA ended.
    pub(super) fn seek_missing(&mut self, name: &Arc<str>, established: bool, cause: &Cause, now: Instant) {
        let Some(runtime) = self.by_name.get_mut(name) else { return };
        let alone = runtime.ike_sas.is_empty() && !runtime.hosts.is_empty() && runtime.next_attempt.is_none();
        let initiates = runtime.wanted && matches!(runtime.connection.peer, Peer::Address(_));
        let seeks = alone && initiates && !self.closed && !runtime.not_in_hosts(&self.ike_sas).is_empty();
        if runtime.ike_sas.is_empty() {
            self.try_again(name, seeks, established, cause, now);
        }
    }
}
