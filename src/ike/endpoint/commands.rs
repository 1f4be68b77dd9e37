//! What the endpoint is asked to do.

use std::collections::HashSet;
use std::sync::Arc;
use std::time::{Duration, Instant};

use super::Endpoint;
use super::connections::Connections;
use super::timers::Timer;
use crate::ike::agenda::Agenda;
use crate::ike::children::Children;
use crate::ike::config::{Change, Config, Peer, Start};
use crate::ike::context::Context;
use crate::ike::coverage::Flows;
use crate::ike::data_path;
use crate::ike::event::{Command, Deadline, RekeyWhat, Removal, Why};
use crate::ike::exchange::task::Task;
use crate::ike::exchange::{delete, rekey};
use crate::ike::sa::Sa;
use crate::ike::state::IkeSa;
use crate::ike::state::established::liveness;
use crate::ike::wanted::WantedChild;
use crate::wire::ike::IkeSpi;

/// How long [`Command::Shutdown`] waits at most for the peers to acknowledge that their IKE SAs are deleted.
pub const SHUTDOWN_TIME: Duration = Duration::from_millis(1500);

impl Endpoint {
    pub(super) fn command(&mut self, command: Command, now: Instant) {
        let connections = &mut self.connections;
        match command {
            Command::Reload(config) => connections.reload(config, now),
            Command::Change(change) => connections.change(change, now),
            Command::GiveUpAfter(time) => Arc::make_mut(&mut connections.ike_sas.config).retransmission.timeout = time,
            Command::Up { connection } => connections.up(&connection, now),
            Command::Down { connection } => connections.down(&connection, now),
            Command::Rekey { connection, what } => {
                let mut spis = connections.ike_sas_of(&connection);
                if what == RekeyWhat::Child {
                    spis.extend(connections.hosts_of(&connection));
                }
                for spi in spis {
                    connections.act(spi, now, |_, children, agenda, _| {
                        rekey::now(what, &connection, children, &mut agenda.tasks);
                    });
                }
            }
            Command::RekeyChild { connection, child } => {
                for spi in connections.ike_sas_of(&connection).into_iter().chain(connections.hosts_of(&connection)) {
                    connections.act(spi, now, |_, children, agenda, _| {
                        rekey::child_now(&child, &connection, children, &mut agenda.tasks);
                    });
                }
            }
            Command::Acquire { connection, child, packet } => {
                let waits = |at: Instant| at > now;
                let Some(runtime) = connections.by_name.get(&connection) else { return };
                let held = runtime.next_attempt.is_some_and(waits);
                // What starts at once is being negotiated already, waits for its turn, or was taken down.
                if !held && (runtime.connection.start == Start::OnTraffic || runtime.up) {
                    let packet = packet.map(|(local, peer)| Flows { local, peer });
                    connections.acquire(&connection, WantedChild { child, packet, part: None }, now);
                } else {
                    connections.hurry(&connection, now);
                }
            }
            Command::SaActivity(activities) => {
                for activity in activities {
                    connections.with_pair(activity.inbound_spi, now, |sa, children, agenda, cx| {
                        data_path::activity(activity, sa, children, &mut agenda.tasks, cx);
                    });
                }
            }
            Command::CheckLiveness { inbound_spi } => {
                connections
                    .with_pair(inbound_spi, now, |sa, _, agenda, cx| liveness::packets_go_unanswered(sa, agenda, cx));
            }
            Command::PathsChanged => connections.paths_changed(now),
            Command::LimitReached { inbound_spi, limit } => {
                connections.with_pair(inbound_spi, now, |sa, children, agenda, cx| {
                    data_path::limit_reached(inbound_spi, limit, sa, children, &mut agenda.tasks, cx);
                });
            }
            Command::InstallFailed { inbound_spi, reason } => {
                connections.with_pair(inbound_spi, now, |sa, children, agenda, cx| {
                    data_path::install_failed(inbound_spi, reason, sa, children, &mut agenda.tasks, cx);
                });
            }
            Command::ProbePath { inbound_spi, size } => {
                connections.with_pair(inbound_spi, now, |_, _, agenda, _| agenda.tasks.queue(Task::PathProbe(size)));
            }
            Command::Shutdown => self.shut_down(now),
        }
    }

    fn shut_down(&mut self, now: Instant) {
        if self.shutdown.is_some() {
            return;
        }
        self.shutdown = Some(false);
        let connections = &mut self.connections;
        connections.closed = true;
        let names: Vec<Arc<str>> = connections.by_name.keys().cloned().collect();
        for name in names {
            connections.schedule(&name, None);
        }
        let mut spis: Vec<IkeSpi> = connections.ike_sas.iter().map(|(spi, _)| *spi).collect();
        spis.sort_unstable();
        for spi in spis {
            match connections.ike_sas.get(&spi) {
                Some(IkeSa::Established(_)) => connections.close(spi, Removal::Closed, now),
                _ => drop(connections.forget(spi)),
            }
        }
        let deadline = Deadline { at: now + SHUTDOWN_TIME, why: Why::Shutdown };
        connections.ike_sas.timers.set(Timer::Shutdown, Some(deadline));
    }
}

impl Connections {
    /// Lets somebody work on the parts of the established IKE SA that a pair belongs to. A pair that is gone needs none.
    fn with_pair(
        &mut self,
        inbound_spi: u32,
        now: Instant,
        work: impl FnOnce(&mut Sa, &mut Children, &mut Agenda, &mut Context<'_>),
    ) {
        if let Some(owner) = self.ike_sas.inbound_spis.owner(inbound_spi) {
            self.act(owner, now, work);
        }
    }

    fn ike_sas_of(&self, connection: &str) -> Vec<IkeSpi> {
        self.by_name.get(connection).map_or_else(Vec::new, |runtime| runtime.ike_sas.iter().collect())
    }

    fn hosts_of(&self, connection: &str) -> Vec<IkeSpi> {
        self.by_name.get(connection).map_or_else(Vec::new, |runtime| runtime.hosts.clone())
    }

    /// Deletes the pairs of a connection in other ones' IKE SAs, and nothing else of these.
    fn leave_hosts(&mut self, connection: &str, now: Instant) {
        for spi in self.hosts_of(connection) {
            self.act(spi, now, |_, children, agenda, cx| delete::guests(connection, children, &mut agenda.tasks, cx));
        }
    }

    fn up(&mut self, name: &Arc<str>, now: Instant) {
        let Some(runtime) = self.by_name.get_mut(name) else { return };
        runtime.wanted = true;
        runtime.refusals = 0;
        let initiates = matches!(runtime.connection.peer, Peer::Address(_));
        for spi in self.ike_sas_of(name) {
            self.act(spi, now, |sa, _, agenda, cx| {
                agenda.tasks.keep_children(true, sa.channel().is_initiator(), cx.now);
            });
        }
        if initiates {
            self.schedule(name, None);
            self.attempt(name, true, now);
        }
    }

    fn down(&mut self, name: &Arc<str>, now: Instant) {
        let Some(runtime) = self.by_name.get_mut(name) else { return };
        runtime.wanted = false;
        runtime.refusals = 0;
        runtime.last_error = None;
        runtime.acquired.clear();
        self.schedule(name, None);
        self.waits_no_more(name);
        for spi in self.ike_sas_of(name) {
            self.close(spi, Removal::Closed, now);
        }
        self.leave_hosts(name, now);
    }

    /// Takes a configuration: what is equal stays as it is.
    fn reload(&mut self, config: Arc<Config>, now: Instant) {
        let mut config = Arc::unwrap_or_clone(config);
        let configured = std::mem::take(&mut config.connections);
        let names: HashSet<&str> = configured.iter().map(|connection| &*connection.name).collect();
        let removed = self.by_name.keys().filter(|name| !names.contains(&***name)).cloned().collect();
        let change = Change { removed, set: (0..).zip(configured.iter().cloned()).collect() };
        self.ike_sas.config = Arc::new(config);
        self.change(change, now);
    }

    /// Takes a difference. Only what it names is looked at.
    fn change(&mut self, change: Change, now: Instant) {
        let Change { removed: mut gone, set } = change;
        let (mut moved, mut new) = (Vec::new(), Vec::new());
        for (place, connection) in set {
            match self.by_name.get_mut(&connection.name) {
                // An equal connection stays the very same one: its IKE SAs refer to it.
                Some(runtime) if *runtime.connection == *connection => {
                    if runtime.place != place {
                        self.ike_sas.directory.remove(std::mem::replace(&mut runtime.place, place));
                        moved.push((place, runtime.connection.clone()));
                    }
                    continue;
                }
                Some(_) => gone.push(connection.name.clone()),
                None => {}
            }
            new.push((place, connection));
        }
        for runtime in gone.iter().filter_map(|name| self.by_name.get(name)) {
            self.ike_sas.directory.remove(runtime.place);
        }
        for (place, connection) in moved.iter().chain(&new) {
            self.ike_sas.directory.insert(*place, connection);
        }
        for name in gone {
            self.schedule(&name, None);
            // What takes its place under this name may have another peer, and stands where that one's connections do.
            self.waits_no_more(&name);
            for spi in self.ike_sas_of(&name) {
                self.close(spi, Removal::Closed, now);
            }
            self.leave_hosts(&name, now);
            self.by_name.remove(&name);
        }
        for (place, connection) in new {
            self.add(place, connection, now);
        }
    }
}
