//! Pairs of one connection in the IKE SA of another. A peer that cannot tell two connections apart (the same addresses,
//! identities and key) puts the Child SAs of both into one IKE SA. They are the connection's own in every other respect:
//! it is up while there are any, and has no need of an IKE SA of its own.

use std::sync::Arc;
use std::time::Instant;

use super::connections::Runtime;
use super::{Endpoint, IkeSa};
use crate::ike::association::Association;
use crate::ike::child::ChildPair;
use crate::ike::config::{Connection, Peer};
use crate::ike::event::{Event, Output};
use crate::ike::sa::Cause;
use crate::ike::state::Ended;
use crate::wire::ike::IkeSpi;

/// Whose a pair is, and the name of its child.
type Guest = (Arc<Association>, Arc<str>);

impl Endpoint {
    /// An IKE SA carried these pairs of other connections, and now carries those. `error` is why it ended, if it did.
    pub(super) fn guests_changed(
        &mut self,
        host: IkeSpi,
        before: &[Guest],
        after: &[Guest],
        error: Option<String>,
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
            let Some(runtime) = self.connections.get_mut(&connection.name) else { continue };
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
        let Some(runtime) = self.connections.get(name) else { return };
        let complete = self.not_in_hosts(runtime).is_empty();
        let attempts = runtime.ike_sas.attempts().to_vec();
        if complete {
            self.unschedule(name);
            for spi in attempts {
                // What the peer has seen of it is no more than IKE_SA_INIT.
                if matches!(self.ike_sas.get(&spi), Some(IkeSa::InitSent(_))) {
                    self.forget(spi);
                }
            }
        }
        let Some(runtime) = self.connections.get_mut(name) else { return };
        if complete {
            (runtime.attempts, runtime.last_error) = (0, None);
        }
        if runtime.goes_up() {
            self.outbox.push(Output::Event(Event::ConnectionUp { connection: name.clone() }));
        }
        if !complete {
            self.seek_missing(name, now);
        }
    }

    /// An IKE SA carries no pair of this connection any more.
    fn left_by_host(&mut self, connection: &Arc<Connection>, error: Option<String>, now: Instant) {
        let name = &connection.name;
        let Some(runtime) = self.connections.get_mut(name) else { return };
        if !runtime.hosts.is_empty() || runtime.ike_sas.has_established() {
            return self.seek_missing(name, now);
        }
        let unwanted = "its Child SAs in the IKE SA of another connection with the same peer are gone".to_owned();
        let asked_for = !runtime.wanted || self.shutdown.is_some();
        let error = error.or((!asked_for).then_some(unwanted));
        runtime.last_error.clone_from(&error);
        if runtime.ike_sas.is_empty() {
            self.goes_down(connection, true, &Ended::new(Cause::Closed, error), now);
        } else if runtime.goes_down() {
            // What is being negotiated may still take their place.
            let connection = name.clone();
            self.outbox.push(Output::Event(Event::ConnectionDown { connection, error, next_attempt: None }));
        }
    }

    /// A connection that is wanted, and that no IKE SA of its own sees to, tries to get what no other one carries.
    pub(super) fn seek_missing(&mut self, name: &Arc<str>, now: Instant) {
        let Some(runtime) = self.connections.get(name) else { return };
        let alone = runtime.ike_sas.is_empty() && !runtime.hosts.is_empty() && runtime.next_attempt.is_none();
        let initiates = runtime.wanted && matches!(runtime.connection.peer, Peer::Address(_));
        if alone && initiates && self.shutdown.is_none() && !self.not_in_hosts(runtime).is_empty() {
            let wait = self.jittered(super::connections::FIRST_WAIT);
            self.schedule(name, now + wait);
        }
    }

    /// The children of a connection of which no other one's IKE SA carries a pair.
    pub(super) fn not_in_hosts(&self, runtime: &Runtime) -> Vec<Arc<str>> {
        let there: Vec<&Arc<str>> = self.guests_of(runtime).map(|pair| &pair.child).collect();
        let children = runtime.connection.children.iter().map(|child| &child.name);
        children.filter(|name| !there.contains(name)).cloned().collect()
    }

    /// The pairs of a connection in other ones' IKE SAs.
    pub(super) fn guests_of<'a>(&'a self, runtime: &'a Runtime) -> impl Iterator<Item = &'a ChildPair> {
        let hosts = runtime.hosts.iter().filter_map(|spi| self.established_sa(*spi));
        let guests = hosts.flat_map(|state| state.children().guests());
        guests.filter(|pair| Arc::ptr_eq(pair.association.connection(), &runtime.connection))
    }

    pub(super) fn hosts_of(&self, connection: &str) -> Vec<IkeSpi> {
        self.connections.get(connection).map_or_else(Vec::new, |runtime| runtime.hosts.clone())
    }

    /// Deletes the pairs of a connection in other ones' IKE SAs, and nothing else of these.
    pub(super) fn leave_hosts(&mut self, connection: &str, now: Instant) {
        for spi in self.hosts_of(connection) {
            self.with_established(spi, now, |state, cx| state.delete_guests(connection, cx));
        }
    }
}
