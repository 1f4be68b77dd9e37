//! The endpoint: every IKE SA, found by its SPI, and every connection.

mod commands;
mod connections;
mod duplicates;
mod guests;
mod pace;
mod responder;
mod status;
#[cfg(test)]
mod tests;
mod unprotected;

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::net::IpAddr;
use std::sync::Arc;
use std::time::Instant;

pub use self::commands::SHUTDOWN_TIME;
use self::connections::Runtime;
use self::pace::Pace;
use super::allowance::Allowance;
use super::association::{Association, AssociationId, Associations};
use super::config::{Config, Connection};
use super::context::{Context, InboundSpis, Outbox};
use super::cookie::CookieJar;
use super::directory::Directory;
use super::error::{Discard, DiscardCounters};
use super::event::{Command, Deadline, Event, Output, Path, Why};
use super::ext::table;
use super::half_open::HalfOpen;
use super::key_log::KeyLog;
use super::message::Payloads;
use super::state::established::Established;
use super::state::init_sent::InitReply;
use super::state::{Ended, IkeSa, Input, Lingering};
use super::status::ConnectionStatus;
use crate::crypto::{Entropy, Secret};
use crate::wire::ike::{ExchangeType, IkeSpi, NotifyType, ParsedMessage, Payload, parse_message};

/// An IKEv2 endpoint with all its connections.
///
/// Feed it with `handle_datagram`, `handle_command` and `handle_timeout`; after each call, call
/// [`poll_output`](Self::poll_output) until it yields [`Output::Timeout`], and carry out what it yields in that order.
pub struct Endpoint {
    config: Arc<Config>,
    directory: Directory,
    associations: Associations,
    entropy: Box<dyn Entropy>,
    outbox: Outbox,
    inbound_spis: InboundSpis,
    /// By the SPI that we chose.
    ike_sas: HashMap<IkeSpi, IkeSa>,
    connections: BTreeMap<Arc<str>, Runtime>,
    pace: Pace,
    half_open: HalfOpen,
    cookies: CookieJar,
    discards: DiscardCounters,
    /// The next deadline of every owner of one, and the same by owner.
    deadlines: BTreeSet<(Instant, Why, Timer)>,
    deadline_of: HashMap<Timer, (Instant, Why)>,
    unprotected: Allowance,
    key_log: Option<Box<dyn KeyLog>>,
    token_secret: Option<Secret>,
    /// Set from `Shutdown` on: whether `ShutdownComplete` was said.
    shutdown: Option<bool>,
}

/// Deadlines that one call sees to; each may cost a key exchange.
const TIMEOUTS_AT_ONCE: usize = 256;

/// Who owns a deadline.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
enum Timer {
    IkeSa(IkeSpi),
    Connection(Arc<str>),
    /// An association of this connection with several IKE SAs.
    Duplicates(Arc<str>, AssociationId),
    /// Connections to this peer that wait for their start.
    Line(IpAddr),
    Shutdown,
}

impl Endpoint {
    /// Takes its configuration. Connections that start at once do so in the first `handle_timeout`, for which
    /// `poll_output` asks.
    pub fn new(config: Arc<Config>, mut entropy: Box<dyn Entropy>, now: Instant) -> Self {
        let cookies = CookieJar::new(&mut *entropy, now);
        let mut endpoint = Self {
            directory: Directory::new(&config.connections, table::wanted),
            associations: Associations::default(),
            config,
            entropy,
            outbox: Outbox::default(),
            inbound_spis: InboundSpis::default(),
            ike_sas: HashMap::new(),
            connections: BTreeMap::new(),
            pace: Pace::default(),
            half_open: HalfOpen::default(),
            cookies,
            discards: DiscardCounters::default(),
            deadlines: BTreeSet::new(),
            deadline_of: HashMap::new(),
            unprotected: Allowance::new(now),
            key_log: None,
            token_secret: None,
            shutdown: None,
        };
        for connection in endpoint.config.clone().connections.iter() {
            endpoint.add_connection(connection, now);
        }
        endpoint
    }

    /// Shows every key to `log` from now on.
    #[must_use]
    pub fn with_key_log(mut self, log: Option<Box<dyn KeyLog>>) -> Self {
        self.key_log = log;
        self
    }

    /// Gives peers tokens made with `secret`, by which they know that this end has restarted (RFC 6290). The secret has to
    /// be the same after a restart, and known to nobody else.
    #[must_use]
    pub fn with_token_secret(mut self, secret: Option<Secret>) -> Self {
        self.token_secret = secret;
        self
    }

    /// Takes a datagram that arrived on `path`, its non-ESP marker stripped.
    ///
    /// # Errors
    /// The reason why it was dropped, which is counted too. No SA has changed then.
    pub fn handle_datagram(&mut self, datagram: &[u8], path: Path, now: Instant) -> Result<(), Discard> {
        debug_assert!(self.outbox.is_empty(), "poll_output was not drained");
        let handled = self.dispatch(datagram, path, now);
        if let Err(reason) = handled {
            self.discards.count(reason);
        }
        handled
    }

    /// Takes a command.
    pub fn handle_command(&mut self, command: Command, now: Instant) {
        debug_assert!(self.outbox.is_empty(), "poll_output was not drained");
        self.command(command, now);
    }

    /// Lets time pass. An early call does nothing. When much is due, a call does a part of it, and `poll_output` asks for
    /// the next one at once: what the network brings meanwhile need not wait for everything.
    pub fn handle_timeout(&mut self, now: Instant) {
        debug_assert!(self.outbox.is_empty(), "poll_output was not drained");
        for _ in 0..TIMEOUTS_AT_ONCE {
            let Some((at, _, timer)) = self.deadlines.first().cloned() else { return };
            if at > now {
                return;
            }
            self.set_deadline(timer.clone(), None);
            match timer {
                Timer::IkeSa(spi) => self.with_ike_sa(spi, now, |sa, cx| sa.handle_timeout(cx)),
                Timer::Connection(name) => self.attempt(&name, now),
                Timer::Duplicates(name, association) => self.settle_duplicates(&name, association, now),
                Timer::Line(peer) => self.serve_line(peer, now),
                Timer::Shutdown => self.abandon_everything(now),
            }
        }
    }

    /// Yields the next consequence. Call until it is [`Output::Timeout`], before any other call.
    pub fn poll_output(&mut self) -> Output {
        match self.outbox.pop() {
            Some(output) => {
                self.remember_failure(&output);
                output
            }
            None => Output::Timeout(self.deadlines.first().map(|(at, why, _)| Deadline { at: *at, why: *why })),
        }
    }

    /// The status of a connection that is down says what failed last, also when the peer had asked.
    fn remember_failure(&mut self, output: &Output) {
        if let Output::Event(Event::Failure { connection: Some(name), reason, .. }) = output
            && let Some(runtime) = self.connections.get_mut(name)
        {
            runtime.last_error = Some(reason.clone());
        }
    }

    /// Every configured connection, in the order of the configuration.
    pub fn status(&self) -> Vec<ConnectionStatus> {
        self.config.connections.iter().map(|connection| self.connection_status(connection)).collect()
    }

    /// Datagrams dropped, by reason.
    pub fn discards(&self) -> &DiscardCounters {
        &self.discards
    }

    /// IKE SAs that wait for their IKE_AUTH request, or whose request was refused a moment ago.
    pub fn half_open(&self) -> usize {
        self.half_open.len()
    }

    fn dispatch(&mut self, datagram: &[u8], path: Path, now: Instant) -> Result<(), Discard> {
        if datagram == [0xff] {
            return Err(Discard::Keepalive);
        }
        let message = parse_message(datagram).map_err(|malformed| self.unreadable(malformed, datagram, path, now))?;
        let header = message.header;
        if header.exchange_type == ExchangeType::IKE_SA_INIT && !header.flags.response {
            return self.init_requested(&message, path, now);
        }
        // The flag tells whether the sender is the original initiator; the other SPI is ours.
        let ours = if header.flags.initiator { header.responder_spi } else { header.initiator_spi };
        let Some(sa) = self.ike_sas.get_mut(&ours) else {
            return self.unknown_spi(ours, &message, path, now);
        };
        if let IkeSa::AwaitingAuth(state) = sa
            && header.exchange_type == ExchangeType::IKE_AUTH
        {
            state.derive(self.key_log.as_deref());
        }
        let input = match sa.open(&message, path) {
            Ok(input) => input,
            Err(reason) => {
                self.heed_hint(ours, &message, path, now);
                return Err(reason);
            }
        };
        let noted = match &input {
            Input::Init(InitReply::Error(error)) => Err(error.discard()),
            _ => Ok(()),
        };
        self.with_ike_sa(ours, now, |sa, cx| sa.handle(input, cx));
        noted
    }

    /// Who sends on an IKE SA that we don't have may want to know (RFC 7296 2.21.4). But it may be one that the peer
    /// has made while we rekey the same one: it serves from when the peer goes on with it.
    fn unknown_spi(
        &mut self,
        ours: IkeSpi,
        message: &ParsedMessage<'_>,
        path: Path,
        now: Instant,
    ) -> Result<(), Discard> {
        let header = &message.header;
        // Of a request in fragments the first one is enough.
        let first = message.encrypted.and_then(|encrypted| encrypted.fragment).is_none_or(|one| one.number == 1);
        let wants = !header.flags.response && !header.responder_spi.is_zero() && self.shutdown.is_none() && first;
        // The allowance bounds the search, too.
        if !wants || !self.unprotected.take(now) {
            return Err(Discard::UnknownSpi);
        }
        let rival = self.all_established().find_map(|(spi, state)| state.rival_ike_sa(ours).map(|rival| (spi, rival)));
        let Some((rekeyed, rival)) = rival else {
            self.disown(header, path);
            return Err(Discard::UnknownSpi);
        };
        if !rival.is_taken_up(message, path) {
            return Err(Discard::UnknownSpi);
        }
        self.with_established(rekeyed, now, |state, cx| state.yield_to_rival(cx));
        let input = self.ike_sas.get(&ours).ok_or(Discard::UnknownSpi)?.open(message, path)?;
        self.with_ike_sa(ours, now, |sa, cx| sa.handle(input, cx));
        Ok(())
    }

    fn all_established(&self) -> impl Iterator<Item = (IkeSpi, &Established)> {
        self.ike_sas.iter().filter_map(|(spi, sa)| match sa {
            IkeSa::Established(state) => Some((*spi, &**state)),
            _ => None,
        })
    }

    /// An unprotected error can come from anybody: an established IKE SA asks its peer, one that is being set up notes
    /// it, nothing more (RFC 7296 2.4, 2.21.2, 2.21.4).
    fn heed_hint(&mut self, ours: IkeSpi, message: &ParsedMessage<'_>, path: Path, now: Instant) {
        let hints = |payload: &Payload| matches!(payload, Payload::Notify(notify) if notify.kind == NotifyType::INVALID_IKE_SPI);
        if let Some(IkeSa::AuthSent(state)) = self.ike_sas.get_mut(&ours) {
            state.hinted(message);
        }
        let Some(IkeSa::Established(state)) = self.ike_sas.get(&ours) else { return };
        if path.peer.ip() != state.sa().channel().path().peer.ip() || message.encrypted.is_some() {
            return;
        }
        if state.sa().is_disowned(&Payloads::new(message.payloads.clone())) {
            self.with_ike_sa(ours, now, |sa, cx| match sa {
                IkeSa::Established(state) => Err(state.peer_restarted(cx)),
                sa => Ok(sa),
            });
        } else if message.payloads.iter().any(hints) {
            self.with_established(ours, now, |state, cx| state.hinted(cx));
        }
    }

    /// Runs a handler of one IKE SA and carries out what comes of it.
    fn with_ike_sa(
        &mut self,
        spi: IkeSpi,
        now: Instant,
        handler: impl FnOnce(IkeSa, &mut Context<'_>) -> Result<IkeSa, Ended>,
    ) {
        let Some(sa) = self.ike_sas.remove(&spi) else { return };
        let mut before = Before::of(&sa);
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
        let mut after = handler(sa, &mut cx).and_then(|sa| sa.unless_broken(&mut cx));
        let successors = match &mut after {
            Ok(sa) => sa.take_successors(),
            Err(ended) => std::mem::take(&mut ended.successors),
        };
        let renegotiate = std::mem::take(&mut self.outbox.renegotiate);
        for established in successors {
            self.adopt(established, now);
        }
        match after {
            Ok(sa) => {
                let established = matches!(sa, IkeSa::Established(_)) && before.association.is_none();
                let guests = sa.guests();
                self.ike_sas.insert(spi, sa);
                self.retime(spi);
                if established {
                    self.leave_half_open(&before);
                    self.established(spi, now);
                    before.negotiating.into_iter().for_each(|peer| self.negotiation_over(peer, now));
                }
                if renegotiate {
                    self.negotiate_beside(spi, now);
                }
                self.guests_changed(spi, &before.guests, &guests, None, now);
            }
            Err(ended) => {
                if ended.channel.is_none() {
                    self.leave_half_open(&before);
                }
                before.negotiating.into_iter().for_each(|peer| self.negotiation_over(peer, now));
                let (guests, error) = (std::mem::take(&mut before.guests), ended.error.clone());
                self.ended(spi, before, ended, now);
                self.guests_changed(spi, &guests, &[], error, now);
            }
        }
        self.check_shutdown();
    }

    fn leave_half_open(&mut self, before: &Before) {
        if let Some((initiator, source)) = before.half_open {
            self.half_open.remove(initiator, source);
        }
    }

    /// The same for an established IKE SA that goes on.
    fn with_established(
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

    /// Takes an IKE SA that came of a rekey, and starts what it was left to do.
    fn adopt(&mut self, established: Established, now: Instant) {
        let spi = established.sa().channel().local_spi();
        if let Some(runtime) = self.connections.get_mut(&established.sa().connection().name)
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

    /// Files the end of an IKE SA; one whose peer may repeat its last request lingers.
    fn ended(&mut self, spi: IkeSpi, before: Before, mut ended: Ended, now: Instant) {
        self.set_deadline(Timer::IkeSa(spi), None);
        if let Some(channel) = ended.channel.take() {
            self.ike_sas.insert(spi, IkeSa::Lingering(Box::new(Lingering::new(*channel, before.half_open, now))));
            self.retime(spi);
        }
        if let Some(connection) = before.connection {
            self.connection_ended(spi, &connection, before.association.map(|known| known.id()), &ended, now);
        }
    }

    fn retime(&mut self, spi: IkeSpi) {
        let deadline = self.ike_sas.get(&spi).and_then(IkeSa::deadline);
        self.set_deadline(Timer::IkeSa(spi), deadline);
    }

    fn set_deadline(&mut self, timer: Timer, deadline: Option<Deadline>) {
        if let Some((at, why)) = self.deadline_of.remove(&timer) {
            self.deadlines.remove(&(at, why, timer.clone()));
        }
        if let Some(Deadline { at, why }) = deadline {
            self.deadline_of.insert(timer.clone(), (at, why));
            self.deadlines.insert((at, why, timer));
        }
    }

    /// Says that the shutdown is complete when nothing is left to close.
    fn check_shutdown(&mut self) {
        let established = |sa: &IkeSa| matches!(sa, IkeSa::Established(_));
        if self.shutdown == Some(false) && !self.ike_sas.values().any(established) {
            self.shutdown = Some(true);
            self.set_deadline(Timer::Shutdown, None);
            self.outbox.push(Output::Event(Event::ShutdownComplete));
        }
    }

    /// The time for a clean shutdown is over.
    fn abandon_everything(&mut self, _now: Instant) {
        self.ike_sas.clear();
        self.deadlines.clear();
        self.deadline_of.clear();
        self.check_shutdown();
    }
}

/// What is to be remembered of an IKE SA while a handler consumes it.
struct Before {
    connection: Option<Arc<Connection>>,
    /// Whose it was, if it was established.
    association: Option<Arc<Association>>,
    /// What it carried of other connections.
    guests: Vec<(Arc<Association>, Arc<str>)>,
    half_open: Option<(IkeSpi, std::net::SocketAddr)>,
    /// With whom we negotiate it as its initiator.
    negotiating: Option<IpAddr>,
}

impl Before {
    fn of(sa: &IkeSa) -> Self {
        Self {
            connection: sa.connection().cloned(),
            association: sa.association().cloned(),
            guests: sa.guests(),
            half_open: match sa {
                IkeSa::AwaitingAuth(state) => Some((state.initiator_spi(), state.source())),
                IkeSa::Lingering(state) => state.half_open,
                _ => None,
            },
            negotiating: match sa {
                IkeSa::InitSent(state) => Some(state.path().peer.ip()),
                IkeSa::AuthSent(state) => Some(state.path().peer.ip()),
                _ => None,
            },
        }
    }
}
