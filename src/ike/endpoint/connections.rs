//! Connections: whether they are wanted, their IKE SAs, and when they are tried again.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::{Duration, Instant};

use super::{Endpoint, IkeSa, Timer};
use crate::ike::association::{AssociationId, IkeSas};
use crate::ike::authentication::expected_id;
use crate::ike::config::{Connection, Peer, Start};
use crate::ike::context::Context;
use crate::ike::event::{Deadline, Event, Output, Removal, Why};
use crate::ike::sa::Cause;
use crate::ike::state::Ended;
use crate::ike::state::established::Established;
use crate::ike::state::init_sent::InitSent;
use crate::ike::wanted::WantedChild;
use crate::wire::ike::IkeSpi;

/// Waits between attempts, before jitter: doubled each time, up to one limit for silence and another for refusals,
/// which another attempt alone does not cure.
pub(super) const FIRST_WAIT: Duration = Duration::from_secs(1);
const LONGEST_WAIT_AFTER_SILENCE: Duration = Duration::from_secs(4);
const LONGEST_WAIT_AFTER_REFUSAL: Duration = Duration::from_secs(60);

/// What the endpoint keeps of a connection.
pub(super) struct Runtime {
    pub(super) connection: Arc<Connection>,
    /// To be up, and to be tried again when it is not.
    pub(super) wanted: bool,
    /// Our SPIs of its IKE SAs, those that are being negotiated included.
    pub(super) ike_sas: IkeSas,
    /// Our SPIs of other connections' IKE SAs that carry pairs of this one.
    pub(super) hosts: Vec<IkeSpi>,
    pub(super) attempts: u32,
    /// Not tried before.
    pub(super) next_attempt: Option<Instant>,
    pub(super) last_error: Option<String>,
    /// Waits for its start behind others of the same peer.
    pub(super) in_line: bool,
    up: bool,
}

impl Runtime {
    /// Whether it has an IKE SA, or pairs in another connection's.
    pub(super) fn is_up(&self) -> bool {
        self.up
    }

    /// Notes that it has one. Says whether it had none before.
    pub(super) fn goes_up(&mut self) -> bool {
        !std::mem::replace(&mut self.up, true)
    }

    /// Notes that it has none any more. Says whether it had one before.
    pub(super) fn goes_down(&mut self) -> bool {
        std::mem::take(&mut self.up)
    }
}

impl Endpoint {
    /// Takes a new connection; one that starts at once is due now.
    pub(super) fn add_connection(&mut self, connection: &Arc<Connection>, now: Instant) {
        let wanted = connection.start == Start::Now;
        let runtime = Runtime {
            connection: connection.clone(),
            wanted,
            ike_sas: IkeSas::default(),
            hosts: Vec::new(),
            attempts: 0,
            next_attempt: None,
            last_error: None,
            in_line: false,
            up: false,
        };
        self.connections.insert(connection.name.clone(), runtime);
        if wanted && matches!(connection.peer, Peer::Address(_)) {
            self.schedule(&connection.name, now);
        }
    }

    pub(super) fn schedule(&mut self, name: &Arc<str>, at: Instant) {
        if let Some(runtime) = self.connections.get_mut(name) {
            runtime.next_attempt = Some(at);
            self.set_deadline(Timer::Connection(name.clone()), Some(Deadline { at, why: Why::Reconnect }));
        }
    }

    pub(super) fn unschedule(&mut self, name: &Arc<str>) {
        if let Some(runtime) = self.connections.get_mut(name) {
            runtime.next_attempt = None;
        }
        self.set_deadline(Timer::Connection(name.clone()), None);
    }

    /// It is time to try a wanted connection.
    pub(super) fn attempt(&mut self, name: &Arc<str>, now: Instant) {
        let Some(runtime) = self.connections.get_mut(name) else { return };
        runtime.next_attempt = None;
        if runtime.wanted && !self.stand_in_line(name, now) {
            let Some(runtime) = self.connections.get(name) else { return };
            let missing = self.not_in_hosts(runtime);
            if !missing.is_empty() {
                self.negotiate(name, missing.into_iter().map(WantedChild::new).collect(), now);
            }
        }
    }

    /// Sees to it that a connection has these children: by an IKE SA that there is, or by a new one.
    pub(super) fn negotiate(&mut self, name: &Arc<str>, wanted: Vec<WantedChild>, now: Instant) {
        let Some(runtime) = self.connections.get(name) else { return };
        if self.shutdown.is_some() {
            return;
        }
        let ike_sas = &runtime.ike_sas;
        let active = |spi: &IkeSpi| self.active(*spi).is_some();
        // Which of many peers is meant is not known.
        let of_one_peer = ike_sas.established().find(active).filter(|_| ike_sas.associations() == 1);
        let usable = ike_sas.attempts().first().copied().or(of_one_peer);
        match usable {
            Some(spi) => self.with_ike_sa(spi, now, |mut sa, cx| {
                for wanted in wanted {
                    match &mut sa {
                        IkeSa::InitSent(state) => state.want(wanted),
                        IkeSa::AuthSent(state) => state.want(wanted),
                        IkeSa::Established(state) => state.want(wanted),
                        IkeSa::AwaitingAuth(_) | IkeSa::Lingering(_) => {}
                    }
                }
                if let IkeSa::Established(state) = &mut sa {
                    state.advance(cx);
                }
                Ok(sa)
            }),
            None => self.initiate(name, wanted, now),
        }
    }

    /// Whether no other IKE SA stands between the identities of a connection: only then may INITIAL_CONTACT be sent,
    /// for the peer drops all others (RFC 7296 2.4).
    fn is_only_one(&self, connection: &Connection) -> bool {
        // A connection that takes any identity waits for its peer.
        let Some(expected) = expected_id(connection) else { return false };
        !self.directory.between(&connection.local_id, &expected).any(|rival| {
            let association = self.associations.find(rival, &expected);
            let ike_sas = self.connections.get(&rival.name).map(|runtime| &runtime.ike_sas);
            let spis = association.zip(ike_sas).map_or(&[][..], |(association, ike_sas)| ike_sas.of(association.id()));
            spis.iter().any(|spi| self.active(*spi).is_some())
        })
    }

    /// Negotiates another IKE SA beside one whose peer may have restarted, or does not rekey; if it is set up, it takes
    /// over. One at a time, and not when it is for the peer to initiate.
    pub(super) fn negotiate_beside(&mut self, spi: IkeSpi, now: Instant) {
        let Some(IkeSa::Established(state)) = self.ike_sas.get(&spi) else { return };
        let name = state.sa().connection().name.clone();
        let association = state.sa().association();
        let own = state.children().current().filter(|pair| Arc::ptr_eq(&pair.association, association));
        let served: Vec<Arc<str>> = own.map(|pair| pair.child.clone()).collect();
        let Some(runtime) = self.connections.get(&name) else { return };
        let beside =
            runtime.ike_sas.of(association.id()).iter().any(|other| *other != spi && self.active(*other).is_some());
        let negotiating = beside || !runtime.ike_sas.attempts().is_empty();
        let initiates = runtime.wanted || runtime.connection.start == Start::OnTraffic;
        if !initiates || self.shutdown.is_some() || negotiating {
            return;
        }
        let configured = runtime.connection.children.iter().map(|child| child.name.clone());
        let children: Vec<Arc<str>> = if runtime.wanted { configured.collect() } else { served };
        let wanted = children.into_iter().map(WantedChild::new).collect();
        self.initiate(&name, wanted, now);
    }

    fn initiate(&mut self, name: &Arc<str>, wanted: Vec<WantedChild>, now: Instant) {
        let Some(runtime) = self.connections.get(name) else { return };
        let initial_contact = self.is_only_one(&runtime.connection);
        let Some(runtime) = self.connections.get_mut(name) else { return };
        let Peer::Address(peer) = runtime.connection.peer else { return };
        runtime.attempts += 1;
        let connection = runtime.connection.clone();
        let mut cx = Context {
            now,
            config: &self.config,
            directory: &self.directory,
            associations: &mut self.associations,
            entropy: &mut *self.entropy,
            outbox: &mut self.outbox,
            inbound_spis: &mut self.inbound_spis,
            key_log: self.key_log.as_deref(),
            token_secret: self.token_secret.as_ref(),
        };
        let state = match InitSent::start(connection, peer, wanted, initial_contact, &mut cx) {
            Ok(state) => state,
            Err(reason) => return self.not_started(name, SocketAddr::new(peer, self.config.ike_port), reason, now),
        };
        let spi = state.spi();
        runtime.ike_sas.add_attempt(spi);
        self.ike_sas.insert(spi, IkeSa::InitSent(Box::new(state)));
        self.retime(spi);
        self.note_start(peer, spi, now);
    }

    /// A connection cannot even be asked for.
    fn not_started(&mut self, name: &Arc<str>, peer: SocketAddr, reason: String, now: Instant) {
        let Some(runtime) = self.connections.get_mut(name) else { return };
        runtime.last_error = Some(reason.clone());
        let (connection, alone) = (runtime.connection.clone(), runtime.ike_sas.is_empty());
        let failure = Event::Failure { connection: Some(name.clone()), peer, reason: reason.clone() };
        self.outbox.push(Output::Event(failure));
        if alone {
            self.goes_down(&connection, false, &Ended::new(Cause::Refused, reason), now);
        }
    }

    /// An IKE SA was authenticated.
    pub(super) fn established(&mut self, spi: IkeSpi, now: Instant) {
        let Some(IkeSa::Established(state)) = self.ike_sas.get_mut(&spi) else { return };
        let initial_contact = std::mem::take(&mut state.initial_contact);
        let (name, association) = (state.sa().connection().name.clone(), state.sa().association().id());
        let known =
            self.connections.get_mut(&name).filter(|runtime| Arc::ptr_eq(&runtime.connection, state.sa().connection()));
        let Some(runtime) = known else {
            // The connection was changed or removed while the peer was being authenticated.
            self.with_established(spi, now, |state, cx| state.close(Cause::Closed, Removal::Closed, cx));
            return;
        };
        runtime.ike_sas.add_established(spi, association);
        runtime.attempts = 0;
        runtime.last_error = None;
        let (wanted, goes_up) = (runtime.wanted, runtime.goes_up());
        let others = runtime.ike_sas.attempts().iter().chain(runtime.ike_sas.of(association));
        let others: Vec<IkeSpi> = others.copied().filter(|other| *other != spi).collect();
        self.unschedule(&name);
        if goes_up {
            self.outbox.push(Output::Event(Event::ConnectionUp { connection: name }));
        }
        self.with_established(spi, now, |state, _| state.keep_children(wanted, now));
        self.meet_others(spi, &others, initial_contact, now);
    }

    /// The established IKE SA with this SPI of ours.
    pub(super) fn established_sa(&self, spi: IkeSpi) -> Option<&Established> {
        self.ike_sas.get(&spi).and_then(established_state)
    }

    /// The same, if it serves.
    pub(super) fn active(&self, spi: IkeSpi) -> Option<&Established> {
        self.established_sa(spi).filter(|state| state.sa().is_active())
    }

    /// Drops an IKE SA of which the peer knows nothing that matters.
    pub(super) fn forget(&mut self, spi: IkeSpi) {
        let Some(sa) = self.ike_sas.remove(&spi) else { return };
        self.set_deadline(Timer::IkeSa(spi), None);
        if let Some(runtime) = sa.connection().and_then(|connection| self.connections.get_mut(&connection.name)) {
            runtime.ike_sas.remove(spi, sa.association().map(|association| association.id()));
        }
        if let IkeSa::AuthSent(state) = sa {
            state.abandon(&mut self.inbound_spis);
        }
    }

    /// An IKE SA of a connection is no more. If it was the last one, the connection is down, and tried again if it is
    /// wanted.
    pub(super) fn connection_ended(
        &mut self,
        spi: IkeSpi,
        connection: &Arc<Connection>,
        association: Option<AssociationId>,
        ended: &Ended,
        now: Instant,
    ) {
        let (name, established) = (&connection.name, association.is_some());
        let Some(runtime) = self.connections.get_mut(name) else { return };
        if !runtime.ike_sas.remove(spi, association) {
            return;
        }
        let others_serve = runtime.ike_sas.has_established() || !runtime.hosts.is_empty();
        // How one of several ends, perhaps another peer's, is no error of those that go on.
        if ended.error.is_some() && !others_serve {
            runtime.last_error.clone_from(&ended.error);
        }
        if others_serve || !runtime.ike_sas.is_empty() {
            // What is being negotiated beside it may still take its place.
            if established && !others_serve && runtime.goes_down() {
                let (connection, error) = (name.clone(), ended.error.clone());
                self.outbox.push(Output::Event(Event::ConnectionDown { connection, error, next_attempt: None }));
            }
            // Others may carry only a part of what this one did.
            return self.seek_missing(name, now);
        }
        self.goes_down(connection, established, ended, now);
    }

    /// A connection has no IKE SA any more, or got none.
    pub(super) fn goes_down(&mut self, connection: &Arc<Connection>, established: bool, ended: &Ended, now: Instant) {
        let name = &connection.name;
        let Some(runtime) = self.connections.get_mut(name) else { return };
        runtime.up = false;
        let attempts = runtime.attempts;
        let again = runtime.wanted && self.shutdown.is_none() && matches!(connection.peer, Peer::Address(_));
        let on_traffic = runtime.connection.start == Start::OnTraffic;
        let wait = retry_wait(attempts, established, &ended.cause);
        let wait = self.jittered(wait);
        if again {
            self.schedule(name, now + wait);
        } else if on_traffic && !established {
            // Packets ask again and again; they must wait as well.
            if let Some(runtime) = self.connections.get_mut(name) {
                runtime.next_attempt = Some(now + wait);
            }
        }
        self.outbox.push(Output::Event(Event::ConnectionDown {
            connection: name.clone(),
            error: ended.error.clone(),
            next_attempt: again.then_some(now + wait),
        }));
    }

    pub(super) fn jittered(&mut self, wait: Duration) -> Duration {
        let mut bytes = [0; 4];
        self.entropy.fill(&mut bytes);
        wait.mul_f64(0.75 + 0.5 * f64::from(u32::from_le_bytes(bytes)) / f64::from(u32::MAX))
    }
}

fn established_state(sa: &IkeSa) -> Option<&Established> {
    match sa {
        IkeSa::Established(state) => Some(state),
        _ => None,
    }
}

/// How long to wait before the next attempt. A connection that was up is tried again soon.
fn retry_wait(attempts: u32, established: bool, cause: &Cause) -> Duration {
    // That the peer is there again is proven.
    if *cause == Cause::Restarted {
        return Duration::ZERO;
    }
    if established && *cause != Cause::Refused {
        return FIRST_WAIT;
    }
    let limit = match cause {
        Cause::Refused => LONGEST_WAIT_AFTER_REFUSAL,
        _ => LONGEST_WAIT_AFTER_SILENCE,
    };
    FIRST_WAIT.saturating_mul(1 << attempts.min(10)).min(limit)
}
