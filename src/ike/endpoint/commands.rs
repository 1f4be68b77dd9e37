//! What the endpoint is asked to do.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;
use std::time::{Duration, Instant};

use super::{Endpoint, IkeSa, Timer};
use crate::ike::config::{Config, Connection, Peer, Start};
use crate::ike::context::Context;
use crate::ike::coverage::Flows;
use crate::ike::directory::Directory;
use crate::ike::event::{Command, Deadline, Event, Output, RekeyWhat, Removal, Why};
use crate::ike::ext::table;
use crate::ike::sa::Cause;
use crate::ike::state::established::Established;
use crate::ike::wanted::WantedChild;
use crate::wire::ike::IkeSpi;

/// How long [`Command::Shutdown`] waits at most for the peers to acknowledge that their IKE SAs are deleted.
pub const SHUTDOWN_TIME: Duration = Duration::from_millis(1500);

impl Endpoint {
    pub(super) fn command(&mut self, command: Command, now: Instant) {
        match command {
            Command::Reload(config) => self.reload(config, now),
            Command::Up { connection } => self.up(&connection, now),
            Command::Down { connection } => self.down(&connection, now),
            Command::Rekey { connection, what } => {
                for spi in self.ike_sas_of(&connection) {
                    self.with_established(spi, now, |state, cx| state.rekey_now(what, &connection, cx));
                }
                if what == RekeyWhat::Child {
                    for spi in self.hosts_of(&connection) {
                        self.with_established(spi, now, |state, cx| state.rekey_now(what, &connection, cx));
                    }
                }
            }
            Command::Acquire { connection, child, packet } => {
                let waits = |at: Instant| at > now;
                let Some(runtime) = self.connections.get(&connection) else { return };
                let held = runtime.next_attempt.is_some_and(waits);
                // What starts at once is being negotiated already, or was taken down.
                if !held && (runtime.connection.start == Start::OnTraffic || runtime.is_up()) {
                    let packet = packet.map(|(local, peer)| Flows { local, peer });
                    self.negotiate(&connection, vec![WantedChild { child, packet, part: None }], now);
                }
            }
            Command::SaActivity(activities) => {
                for activity in activities {
                    self.with_owner(activity.inbound_spi, now, |state, cx| state.activity(activity, cx));
                }
            }
            Command::Suspect { inbound_spi } => self.with_owner(inbound_spi, now, |state, cx| state.suspect(cx)),
            Command::LimitReached { inbound_spi, limit } => {
                self.with_owner(inbound_spi, now, |state, cx| state.limit_reached(inbound_spi, limit, cx));
            }
            Command::InstallFailed { inbound_spi, reason } => {
                self.with_owner(inbound_spi, now, |state, cx| state.install_failed(inbound_spi, &reason, cx));
            }
            Command::ProbePath { inbound_spi, size } => {
                if let Some(owner) = self.inbound_spis.owner(inbound_spi) {
                    self.with_established(owner, now, |state, cx| state.probe_path(size, cx));
                }
            }
            Command::Shutdown => self.shut_down(now),
        }
    }

    /// Runs a handler of the established IKE SA that a pair belongs to. A pair that is gone needs none.
    fn with_owner(&mut self, inbound_spi: u32, now: Instant, handler: impl FnOnce(&mut Established, &mut Context<'_>)) {
        if let Some(owner) = self.inbound_spis.owner(inbound_spi) {
            self.with_established(owner, now, handler);
        }
    }

    fn ike_sas_of(&self, connection: &str) -> Vec<IkeSpi> {
        self.connections.get(connection).map_or_else(Vec::new, |runtime| runtime.ike_sas.iter().collect())
    }

    fn up(&mut self, name: &Arc<str>, now: Instant) {
        let Some(runtime) = self.connections.get_mut(name) else { return };
        runtime.wanted = true;
        runtime.attempts = 0;
        let initiates = matches!(runtime.connection.peer, Peer::Address(_));
        for spi in self.ike_sas_of(name) {
            self.with_established(spi, now, |state, _| state.keep_children(true, now));
        }
        if initiates {
            self.unschedule(name);
            self.attempt(name, now);
        }
    }

    fn down(&mut self, name: &Arc<str>, now: Instant) {
        let Some(runtime) = self.connections.get_mut(name) else { return };
        runtime.wanted = false;
        runtime.attempts = 0;
        runtime.last_error = None;
        self.unschedule(name);
        for spi in self.ike_sas_of(name) {
            self.close(spi, now);
        }
        self.leave_hosts(name, now);
    }

    /// Closes an IKE SA in whatever state it is.
    fn close(&mut self, spi: IkeSpi, now: Instant) {
        match self.ike_sas.get(&spi) {
            Some(IkeSa::Established(_)) => {
                self.with_established(spi, now, |state, cx| state.close(Cause::Closed, Removal::Closed, cx));
            }
            Some(sa) => {
                let connection = sa.connection().map(|connection| connection.name.clone());
                self.forget(spi);
                if let Some(connection) = connection {
                    self.outbox.push(Output::Event(Event::ConnectionDown {
                        connection,
                        error: None,
                        next_attempt: None,
                    }));
                }
            }
            None => {}
        }
    }

    /// Takes a configuration: what is equal stays as it is.
    fn reload(&mut self, config: Arc<Config>, now: Instant) {
        let mut config = Arc::unwrap_or_clone(config);
        let known: BTreeMap<Arc<str>, Arc<Connection>> =
            self.connections.iter().map(|(name, runtime)| (name.clone(), runtime.connection.clone())).collect();
        for connection in &mut config.connections {
            // An equal connection stays the very same one: its IKE SAs refer to it.
            if let Some(same) = known.get(&connection.name).filter(|known| **known == *connection) {
                *connection = same.clone();
            }
        }
        self.config = Arc::new(config);
        self.directory = Directory::new(&self.config.connections, table::wanted);
        let same: HashMap<&str, &Arc<Connection>> =
            self.config.connections.iter().map(|connection| (&*connection.name, connection)).collect();
        let kept = |connection: &Arc<Connection>| {
            same.get(&*connection.name).is_some_and(|same| Arc::ptr_eq(same, connection))
        };
        let gone: Vec<Arc<str>> = known.values().filter(|known| !kept(known)).map(|gone| gone.name.clone()).collect();
        for name in gone {
            self.unschedule(&name);
            for spi in self.ike_sas_of(&name) {
                self.close(spi, now);
            }
            self.leave_hosts(&name, now);
            self.connections.remove(&name);
        }
        for connection in self.config.clone().connections.iter() {
            if !self.connections.contains_key(&connection.name) {
                self.add_connection(connection, now);
            }
        }
    }

    fn shut_down(&mut self, now: Instant) {
        if self.shutdown.is_some() {
            return;
        }
        self.shutdown = Some(false);
        let names: Vec<Arc<str>> = self.connections.keys().cloned().collect();
        for name in names {
            self.unschedule(&name);
        }
        let mut spis: Vec<IkeSpi> = self.ike_sas.keys().copied().collect();
        spis.sort_unstable();
        for spi in spis {
            match self.ike_sas.get(&spi) {
                Some(IkeSa::Established(_)) => self.close(spi, now),
                _ => self.forget(spi),
            }
        }
        let deadline = Deadline { at: now + SHUTDOWN_TIME, why: Why::Shutdown };
        self.set_deadline(Timer::Shutdown, Some(deadline));
        self.check_shutdown();
    }
}
