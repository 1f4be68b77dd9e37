//! Connections and their IKE SAs: whether each is wanted, how it is negotiated, and when it is tried again.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::{Duration, Instant};

use super::ike_sas::{Handled, IkeSaTable};
use super::runtime::Runtime;
use super::start_limit::{Addresses, StartLimit};
use super::timers::Timer;
use crate::crypto::Entropy;
use crate::ike::agenda::Agenda;
use crate::ike::association::AssociationId;
use crate::ike::children::Children;
use crate::ike::config::{Config, Connection, Peer, Place, Start};
use crate::ike::context::Context;
use crate::ike::ended::Ended;
use crate::ike::event::{Deadline, Event, Removal, Why};
use crate::ike::failure::Failure;
use crate::ike::sa::{Cause, Phase, Sa};
use crate::ike::state::IkeSa;
use crate::ike::state::established::Established;
use crate::ike::state::init_sent::InitSent;
use crate::ike::successor::Successor;
use crate::ike::upkeep;
use crate::ike::wanted::WantedChild;
use crate::wire::ike::IkeSpi;

/// Every configured connection, and every IKE SA.
pub(super) struct Connections {
    pub(super) ike_sas: IkeSaTable,
    pub(super) by_name: BTreeMap<Arc<str>, Runtime>,
    pub(super) start_limit: StartLimit,
    /// What the key pairs of negotiations cost that began since turns were last given.
    pub(super) spent: Duration,
    /// Nothing is negotiated any more.
    pub(super) closed: bool,
}

impl Connections {
    /// Takes its configuration.
    pub(super) fn new(config: Arc<Config>, entropy: Box<dyn Entropy>, now: Instant) -> Self {
        let mut config = Arc::unwrap_or_clone(config);
        let configured = std::mem::take(&mut config.connections);
        let mut connections = Self {
            ike_sas: IkeSaTable::new(Arc::new(config), entropy, now),
            by_name: BTreeMap::new(),
            start_limit: StartLimit::new(now),
            spent: Duration::ZERO,
            closed: false,
        };
        for (place, connection) in (0..).zip(configured) {
            connections.ike_sas.directory.insert(place, &connection);
            connections.add(place, connection, now);
        }
        connections
    }

    /// Takes a new connection, which the directory has; one that starts at once is due now.
    pub(super) fn add(&mut self, place: Place, connection: Arc<Connection>, now: Instant) {
        let name = connection.name.clone();
        let runtime = Runtime::new(place, connection);
        let starts = runtime.wanted && matches!(runtime.connection.peer, Peer::Address(_));
        self.by_name.insert(name.clone(), runtime);
        if starts {
            self.schedule(&name, Some(now));
        }
    }

    /// Tries a connection then, and not before; or not by itself.
    pub(super) fn schedule(&mut self, name: &Arc<str>, at: Option<Instant>) {
        if let Some(runtime) = self.by_name.get_mut(name) {
            runtime.next_attempt = at;
        }
        let deadline = at.map(|at| Deadline { at, why: Why::Reconnect });
        self.ike_sas.timers.set(Timer::Connection(name.clone()), deadline);
    }

    /// Runs a handler of one IKE SA and carries out what comes of it.
    pub(super) fn with_ike_sa(
        &mut self,
        spi: IkeSpi,
        now: Instant,
        handler: impl FnOnce(IkeSa, &mut Context<'_>) -> Result<IkeSa, Ended>,
    ) {
        let Some(handled) = self.ike_sas.handle(spi, now, handler) else { return };
        let Handled { before, end, established, successors, guests, renegotiate, answers } = handled;
        for successor in successors {
            self.adopt(successor, now);
        }
        if established {
            self.established(spi, now);
        }
        self.keep_turns(spi, &before, end.as_ref(), established, answers, now);
        self.notes_life(spi, now);
        let association = before.association.map(|association| association.id());
        match (&end, before.connection) {
            (Some(ended), Some(connection)) => self.ike_sa_ended(spi, &connection, association, ended, now),
            (None, _) if renegotiate => self.negotiate_beside(spi, now),
            (None, _) if answers => self.silent_one_answers(spi, now),
            _ => {}
        }
        let error = end.and_then(|ended| ended.error).map(|error| *error);
        self.guests_changed(spi, &before.guests, &guests, error, now);
    }

    /// The same for an established IKE SA that goes on.
    pub(super) fn with_established(
        &mut self,
        spi: IkeSpi,
        now: Instant,
        handler: impl FnOnce(&mut Established, &mut Context<'_>),
    ) {
        self.with_ike_sa(spi, now, |mut sa, cx| {
            if let IkeSa::Established(state) = &mut sa {
                handler(state, cx);
            }
            Ok(sa)
        });
    }

    /// Lets somebody work on the parts of an established IKE SA.
    pub(super) fn act(
        &mut self,
        spi: IkeSpi,
        now: Instant,
        work: impl FnOnce(&mut Sa, &mut Children, &mut Agenda, &mut Context<'_>),
    ) {
        self.with_established(spi, now, |state, cx| state.act(cx, work));
    }

    /// Takes an IKE SA that came of a rekey, and starts what it was left to do.
    fn adopt(&mut self, successor: Successor, now: Instant) {
        let established = Established::of(successor);
        let spi = established.sa().channel().local_spi();
        if let Some(runtime) = self.by_name.get_mut(&established.sa().connection().name)
            && Arc::ptr_eq(&runtime.connection, established.sa().connection())
        {
            runtime.ike_sas.add_established(spi, established.sa().association().id());
        }
        let sa = IkeSa::established(established);
        let guests = sa.guests();
        self.ike_sas.insert(spi, sa);
        self.guests_changed(spi, &[], &guests, None, now);
        self.with_established(spi, now, |state, cx| state.advance(cx));
    }

    /// Sees to it that a connection has these children: by an IKE SA that there is, or by a new one.
    pub(super) fn negotiate(&mut self, name: &Arc<str>, wanted: Vec<WantedChild>, now: Instant) {
        let Some(runtime) = self.by_name.get(name) else { return };
        if self.closed {
            return;
        }
        let ike_sas = &runtime.ike_sas;
        let active = |spi: &IkeSpi| self.ike_sas.active(spi).is_some();
        // Which of many peers is meant is not known.
        let of_one_peer = ike_sas.established().find(active).filter(|_| ike_sas.associations() == 1);
        // What waits for an attempt is lost with it, so an IKE SA whose peer is not in doubt comes first.
        let works = |spi: &IkeSpi| self.ike_sas.active(spi).is_some_and(|state| !state.sa().liveness().is_silent());
        let working = ike_sas.established().find(works).filter(|_| ike_sas.associations() == 1);
        let usable = working.or(ike_sas.attempts().first().copied()).or(of_one_peer);
        match usable {
            Some(spi) => self.with_ike_sa(spi, now, |mut sa, cx| {
                match &mut sa {
                    IkeSa::InitSent(state) => wanted.into_iter().for_each(|wanted| state.want(wanted)),
                    IkeSa::AuthSent(state) => wanted.into_iter().for_each(|wanted| state.want(wanted)),
                    IkeSa::Established(state) => state.act(cx, |sa, children, agenda, _| {
                        for wanted in wanted {
                            upkeep::want(wanted, sa.connection(), children, agenda, now);
                        }
                    }),
                    IkeSa::AwaitingAuth(_) | IkeSa::Lingering(_) => {}
                }
                Ok(sa)
            }),
            None => drop(self.initiate(name, wanted, now)),
        }
    }

    /// Begins to negotiate another IKE SA. Gives its SPI.
    pub(super) fn initiate(&mut self, name: &Arc<str>, wanted: Vec<WantedChild>, now: Instant) -> Option<IkeSpi> {
        let runtime = self.by_name.get_mut(name)?;
        let Peer::Address(peer) = runtime.connection.peer else { return None };
        let connection = runtime.connection.clone();
        let mut cx = self.ike_sas.context(now);
        match InitSent::start(connection.clone(), peer, wanted, &mut cx) {
            Ok(state) => {
                let spi = state.spi();
                self.spent += state.cost();
                runtime.ike_sas.add_attempt(spi);
                self.ike_sas.insert(spi, IkeSa::InitSent(Box::new(state)));
                self.start_limit.started(Addresses::of(&connection, peer), spi, true, now);
                return Some(spi);
            }
            // It cannot even be asked for.
            Err(failure) => {
                let peer = SocketAddr::new(peer, cx.config.ike_port);
                cx.failed(Some(name.clone()), peer, failure.clone());
                runtime.last_error = Some(failure.clone());
                if runtime.ike_sas.is_empty() {
                    self.goes_down(&connection, false, &Ended::new(Cause::Refused, failure), now);
                }
            }
        }
        None
    }

    /// An IKE SA was authenticated.
    fn established(&mut self, spi: IkeSpi, now: Instant) {
        let Some(IkeSa::Established(state)) = self.ike_sas.get_mut(&spi) else { return };
        let initial_contact = std::mem::take(&mut state.initial_contact);
        let (name, association) = (state.sa().connection().name.clone(), state.sa().association().id());
        let known =
            self.by_name.get_mut(&name).filter(|runtime| Arc::ptr_eq(&runtime.connection, state.sa().connection()));
        let Some(runtime) = known else {
            // The connection was changed or removed while the peer was being authenticated.
            return self.close(spi, Removal::Closed, now);
        };
        runtime.ike_sas.add_established(spi, association);
        runtime.refusals = 0;
        runtime.last_error = None;
        let (wanted, was_up) = (runtime.wanted, std::mem::replace(&mut runtime.up, true));
        let others = runtime.ike_sas.attempts().iter().chain(runtime.ike_sas.of(association));
        let others: Vec<IkeSpi> = others.copied().filter(|other| *other != spi).collect();
        self.schedule(&name, None);
        if !was_up {
            self.ike_sas.event(Event::ConnectionUp { connection: name });
        }
        self.act(spi, now, |sa, _, agenda, cx| {
            agenda.tasks.keep_children(wanted, sa.channel().is_initiator(), cx.now);
        });
        self.meet_others(spi, &others, initial_contact, now);
    }

    /// Closes an IKE SA in whatever state it is.
    pub(super) fn close(&mut self, spi: IkeSpi, removal: Removal, now: Instant) {
        match self.ike_sas.get(&spi) {
            Some(IkeSa::Established(_)) => {
                self.with_established(spi, now, |state, cx| state.close(Cause::Closed, removal, cx));
            }
            Some(sa) => {
                let connection = sa.connection().map(|connection| connection.name.clone());
                self.forget(spi);
                if let Some(connection) = connection {
                    self.ike_sas.event(Event::ConnectionDown { connection, error: None, next_attempt: None });
                }
            }
            None => {}
        }
    }

    /// Drops an IKE SA of which the peer knows nothing that matters.
    pub(super) fn forget(&mut self, spi: IkeSpi) -> Option<IkeSa> {
        let sa = self.ike_sas.remove(spi)?;
        self.turn_is_over(spi);
        if let Some(runtime) = sa.connection().and_then(|connection| self.by_name.get_mut(&connection.name)) {
            runtime.ike_sas.remove(spi, sa.association().map(|association| association.id()));
        }
        if let IkeSa::AuthSent(state) = &sa {
            state.abandon(&mut self.ike_sas.inbound_spis);
        }
        Some(sa)
    }

    /// An IKE SA of a connection is no more. If it was the last one, the connection is down, and tried again if it is
    /// wanted.
    fn ike_sa_ended(
        &mut self,
        spi: IkeSpi,
        connection: &Arc<Connection>,
        association: Option<AssociationId>,
        ended: &Ended,
        now: Instant,
    ) {
        let (name, established) = (&connection.name, association.is_some());
        let Some(runtime) = self.by_name.get_mut(name) else { return };
        if !runtime.ike_sas.remove(spi, association) {
            return;
        }
        // Those that their peer has replaced and is to delete serve nobody. They go on without the connection.
        let left = association.map_or_else(Vec::new, |id| runtime.ike_sas.of(id).to_vec());
        if left.iter().all(|spi| {
            self.ike_sas.established(spi).is_some_and(|state| matches!(state.sa().phase(), Phase::Passive(_)))
        }) {
            for spi in left {
                runtime.ike_sas.remove(spi, association);
            }
        }
        let others_serve = runtime.ike_sas.has_established() || !runtime.hosts.is_empty();
        let error: Option<Failure> = ended.error.as_deref().cloned();
        // How one of several ends, perhaps another peer's, is no error of those that go on.
        if error.is_some() && !others_serve {
            runtime.last_error.clone_from(&error);
        }
        if !others_serve && runtime.ike_sas.is_empty() {
            return self.goes_down(connection, established, ended, now);
        }
        // What is being negotiated beside it may still take its place.
        if established && !others_serve && std::mem::take(&mut runtime.up) {
            self.ike_sas.event(Event::ConnectionDown { connection: name.clone(), error, next_attempt: None });
        }
        self.one_beside_ended(spi, name, association, &ended.cause, now);
        // Others may carry only a part of what this one did.
        self.seek_missing(name, established, &ended.cause, now);
    }

    /// A connection has no IKE SA any more, or got none.
    pub(super) fn goes_down(&mut self, connection: &Arc<Connection>, established: bool, ended: &Ended, now: Instant) {
        let name = &connection.name;
        let Some(runtime) = self.by_name.get_mut(name) else { return };
        runtime.up = false;
        let again = runtime.wanted && !self.closed && matches!(connection.peer, Peer::Address(_));
        let next_attempt = self.try_again(name, again, established, &ended.cause, now);
        let (connection, error) = (name.clone(), ended.error.as_deref().cloned());
        self.ike_sas.event(Event::ConnectionDown { connection, error, next_attempt });
    }

    /// Tries a connection again after a wait, if it is to be tried `by_itself`, and says when. Packets ask again and again:
    /// after an attempt in vain they must wait as well.
    pub(super) fn try_again(
        &mut self,
        name: &Arc<str>,
        by_itself: bool,
        established: bool,
        cause: &Cause,
        now: Instant,
    ) -> Option<Instant> {
        let runtime = self.by_name.get_mut(name)?;
        let on_traffic = runtime.connection.start == Start::OnTraffic && !established;
        if !by_itself && !on_traffic {
            return None;
        }
        let wait = runtime.retry_wait(established, cause, now);
        let at = now + self.ike_sas.context(now).jitter(wait, 75, 125);
        if !by_itself {
            runtime.next_attempt = Some(at);
            return None;
        }
        self.schedule(name, Some(at));
        Some(at)
    }
}
