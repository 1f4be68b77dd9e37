//! Connections: whether they are wanted, their IKE SAs, and when they are tried again.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::{Duration, Instant};

use super::{Endpoint, IkeSa, Timer};
use crate::ike::authentication::{expected_id, same_identity};
use crate::ike::child::ChildPair;
use crate::ike::config::{Connection, Peer, Start};
use crate::ike::context::Context;
use crate::ike::coverage;
use crate::ike::event::{Deadline, Event, Output, Removal, Why};
use crate::ike::sa::{Cause, Phase};
use crate::ike::state::Ended;
use crate::ike::state::established::Established;
use crate::ike::state::init_sent::InitSent;
use crate::ike::status::{ConnectionState, ConnectionStatus};
use crate::ike::wanted::WantedChild;
use crate::wire::ike::IkeSpi;

/// Waits between attempts, before jitter: doubled each time, up to one limit for silence and another for refusals,
/// which another attempt alone does not cure.
const FIRST_WAIT: Duration = Duration::from_secs(1);
const LONGEST_WAIT_AFTER_SILENCE: Duration = Duration::from_secs(4);
const LONGEST_WAIT_AFTER_REFUSAL: Duration = Duration::from_secs(60);

/// What the endpoint keeps of a connection.
pub(super) struct Runtime {
    pub(super) connection: Arc<Connection>,
    /// To be up, and to be tried again when it is not.
    pub(super) wanted: bool,
    /// Our SPIs of its IKE SAs, those that are being negotiated included.
    pub(super) ike_sas: Vec<IkeSpi>,
    pub(super) attempts: u32,
    /// Not tried before.
    pub(super) next_attempt: Option<Instant>,
    pub(super) last_error: Option<String>,
    /// Waits for its start behind others of the same peer.
    pub(super) in_line: bool,
    /// Since when it has had several IKE SAs with one peer of which one is to stay.
    pub(super) duplicated: Option<Instant>,
    up: bool,
}

impl Runtime {
    /// Whether it has an IKE SA.
    pub(super) fn is_up(&self) -> bool {
        self.up
    }
}

impl Endpoint {
    /// Takes a new connection; one that starts at once is due now.
    pub(super) fn add_connection(&mut self, connection: &Arc<Connection>, now: Instant) {
        let wanted = connection.start == Start::Now;
        let runtime = Runtime {
            connection: connection.clone(),
            wanted,
            ike_sas: Vec::new(),
            attempts: 0,
            next_attempt: None,
            last_error: None,
            in_line: false,
            duplicated: None,
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
            let children = runtime.connection.children.iter();
            let all = children.map(|child| WantedChild::new(child.name.clone())).collect();
            self.negotiate(name, all, now);
        }
    }

    /// Sees to it that a connection has these children: by an IKE SA that there is, or by a new one.
    pub(super) fn negotiate(&mut self, name: &Arc<str>, wanted: Vec<WantedChild>, now: Instant) {
        let Some(runtime) = self.connections.get(name) else { return };
        if self.shutdown.is_some() {
            return;
        }
        let usable = runtime.ike_sas.iter().copied().find(|spi| match self.ike_sas.get(spi) {
            Some(IkeSa::InitSent(_) | IkeSa::AuthSent(_)) => true,
            Some(IkeSa::Established(state)) => state.sa().is_active(),
            _ => false,
        });
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
        let rivals = |state: &Established| state.sa().is_active() && same_identity(&expected, state.sa().peer_id());
        let runtimes = self
            .directory
            .between(&connection.local_id, &expected)
            .filter_map(|connection| self.connections.get(&connection.name));
        let mut states = runtimes.flat_map(|runtime| &runtime.ike_sas).filter_map(|spi| self.ike_sas.get(spi));
        !states.any(|sa| established_state(sa).is_some_and(rivals))
    }

    /// Negotiates another IKE SA beside one whose peer may have restarted, or does not rekey; if it is set up, it takes
    /// over. One at a time, and not when it is for the peer to initiate.
    pub(super) fn negotiate_beside(&mut self, spi: IkeSpi, now: Instant) {
        let Some(IkeSa::Established(state)) = self.ike_sas.get(&spi) else { return };
        let name = state.sa().connection().name.clone();
        let served: Vec<Arc<str>> = state.children().current().map(|pair| pair.child.clone()).collect();
        let Some(runtime) = self.connections.get(&name) else { return };
        let negotiating = |other: &IkeSpi| match self.ike_sas.get(other) {
            Some(IkeSa::InitSent(_) | IkeSa::AuthSent(_)) => true,
            Some(IkeSa::Established(beside)) => {
                *other != spi && beside.sa().is_active() && same_identity(beside.sa().peer_id(), state.sa().peer_id())
            }
            _ => false,
        };
        let initiates = runtime.wanted || runtime.connection.start == Start::OnTraffic;
        if !initiates || self.shutdown.is_some() || runtime.ike_sas.iter().any(negotiating) {
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
        runtime.ike_sas.push(spi);
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
        let name = state.sa().connection().name.clone();
        let known =
            self.connections.get_mut(&name).filter(|runtime| Arc::ptr_eq(&runtime.connection, state.sa().connection()));
        let Some(runtime) = known else {
            // The connection was changed or removed while the peer was being authenticated.
            self.with_established(spi, now, |state, cx| state.close(Cause::Closed, Removal::Closed, cx));
            return;
        };
        // The newest is at the end: the one that was established last, at the initiator as at the responder, so that
        // both ends mean the same one.
        runtime.ike_sas.retain(|known| *known != spi);
        runtime.ike_sas.push(spi);
        runtime.attempts = 0;
        runtime.last_error = None;
        let (wanted, was_up) = (runtime.wanted, std::mem::replace(&mut runtime.up, true));
        let others: Vec<IkeSpi> = runtime.ike_sas.iter().copied().filter(|other| *other != spi).collect();
        self.unschedule(&name);
        if !was_up {
            self.outbox.push(Output::Event(Event::ConnectionUp { connection: name }));
        }
        self.with_established(spi, now, |state, _| state.keep_children(wanted, now));
        self.meet_others(spi, &others, initial_contact, now);
    }

    /// Drops an IKE SA of which the peer knows nothing that matters.
    pub(super) fn forget(&mut self, spi: IkeSpi) {
        let Some(sa) = self.ike_sas.remove(&spi) else { return };
        self.set_deadline(Timer::IkeSa(spi), None);
        if let Some(runtime) = sa.connection().and_then(|connection| self.connections.get_mut(&connection.name)) {
            runtime.ike_sas.retain(|known| *known != spi);
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
        established: bool,
        ended: &Ended,
        now: Instant,
    ) {
        let name = &connection.name;
        let Some(runtime) = self.connections.get_mut(name) else { return };
        let known = runtime.ike_sas.iter().position(|known| *known == spi);
        let Some(index) = known else { return };
        runtime.ike_sas.remove(index);
        let serves = |spi: &IkeSpi| self.ike_sas.get(spi).and_then(established_state).is_some();
        let others_serve = runtime.ike_sas.iter().any(serves);
        // How one of several ends, perhaps another peer's, is no error of those that go on.
        if ended.error.is_some() && !others_serve {
            runtime.last_error.clone_from(&ended.error);
        }
        if !runtime.ike_sas.is_empty() {
            if established && runtime.up && !others_serve {
                // What is being negotiated beside it may still take its place.
                runtime.up = false;
                let (connection, error) = (name.clone(), ended.error.clone());
                self.outbox.push(Output::Event(Event::ConnectionDown { connection, error, next_attempt: None }));
            }
            return;
        }
        self.goes_down(connection, established, ended, now);
    }

    /// A connection has no IKE SA any more, or got none.
    fn goes_down(&mut self, connection: &Arc<Connection>, established: bool, ended: &Ended, now: Instant) {
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

    fn jittered(&mut self, wait: Duration) -> Duration {
        let mut bytes = [0; 4];
        self.entropy.fill(&mut bytes);
        wait.mul_f64(0.75 + 0.5 * f64::from(u32::from_le_bytes(bytes)) / f64::from(u32::MAX))
    }

    pub(super) fn connection_status(&self, connection: &Arc<Connection>) -> ConnectionStatus {
        let runtime = self.connections.get(&connection.name);
        let sas = || runtime.into_iter().flat_map(|runtime| &runtime.ike_sas).filter_map(|spi| self.ike_sas.get(spi));
        let established: Vec<&Established> = sas().filter_map(established_state).collect();
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
            Peer::Address(address) => Some(SocketAddr::new(address, self.config.ike_port)),
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
        let last_error = runtime.and_then(|runtime| runtime.last_error.clone());
        let current_error = connecting.and_then(|(_, error)| error).map(str::to_owned);
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
            children: established.iter().flat_map(|state| state.children().statuses()).collect(),
            left_out,
            last_error: if up && served { None } else { current_error.or(last_error) },
            next_attempt: runtime.filter(|_| !up).and_then(|runtime| runtime.next_attempt),
        }
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
