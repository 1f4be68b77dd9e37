//! The endpoint: every IKE SA, found by its SPI, and every connection.

mod admission;
mod commands;
mod connections;
mod duplicates;
mod guests;
mod ike_sas;
mod responder;
mod rotation;
mod runtime;
mod silence;
mod standing;
mod start_limit;
mod status;
#[cfg(test)]
mod tests;
mod timers;
mod turns;
mod unprotected;

use std::sync::Arc;
use std::time::Instant;

use self::admission::make_room;
pub use self::commands::SHUTDOWN_TIME;
use self::connections::Connections;
use self::ike_sas::IkeSaTable;
pub use self::standing::Standing;
use self::timers::Timer;
use super::association::AssociationId;
use super::budget::Unprotected;
use super::channel::UNAUTHENTICATED_LIMIT;
use super::config::Config;
use super::cookie::CookieJar;
use super::error::{Discard, DiscardCounters};
use super::event::{Command, Deadline, Event, Output, Path, Why};
use super::exchange::inform;
use super::failure::Failure;
use super::key_log::KeyLog;
use super::message::Payloads;
use super::own_spi;
use super::sa::Cause;
use super::state::established::liveness;
use super::state::init_sent::InitReply;
use super::state::{IkeSa, Input};
use super::status::ConnectionStatus;
use super::waiting::Waiting;
use crate::crypto::{Entropy, Secret};
use crate::wire::ike::{ExchangeType, Header, IkeSpi, NotifyType, ParsedMessage, Payload, parse_message};

/// An IKEv2 endpoint with all its connections.
///
/// Feed it with `handle_datagram`, `handle_command` and `handle_timeout`; after each call, call
/// [`poll_output`](Self::poll_output) until it yields [`Output::Timeout`], and carry out what it yields in that order.
pub struct Endpoint {
    connections: Connections,
    cookies: CookieJar,
    /// First requests of strangers that wait for their turn.
    waiting: Waiting,
    discards: DiscardCounters,
    /// Set from `Shutdown` on: whether `ShutdownComplete` was said.
    shutdown: Option<bool>,
}

/// Bytes of the longest IKE_SA_INIT request that is read. What is kept of one is kept for who has authenticated nothing.
pub const LONGEST_INIT: usize = 4 << 10;

/// Deadlines that one call sees to; each may cost a key exchange.
const TIMEOUTS_AT_ONCE: usize = 256;

impl Endpoint {
    /// Takes its configuration. Connections that start at once do so in the first `handle_timeout`, for which
    /// `poll_output` asks.
    pub fn new(config: Arc<Config>, mut entropy: Box<dyn Entropy>, now: Instant) -> Self {
        Self {
            cookies: CookieJar::new(&mut *entropy, now),
            connections: Connections::new(config, entropy, now),
            waiting: Waiting::default(),
            discards: DiscardCounters::default(),
            shutdown: None,
        }
    }

    /// Shows every key to `log` from now on.
    #[must_use]
    pub fn with_key_log(mut self, log: Option<Box<dyn KeyLog>>) -> Self {
        self.connections.ike_sas.key_log = log;
        self
    }

    /// Gives peers tokens made with `secret`, by which they know that this end has restarted (RFC 6290). The secret has to
    /// be the same after a restart, and known to nobody else.
    #[must_use]
    pub fn with_token_secret(mut self, secret: Option<Secret>) -> Self {
        self.connections.ike_sas.token_secret = secret;
        self
    }

    /// Takes a datagram that arrived on `path`, its non-ESP marker stripped.
    ///
    /// # Errors
    /// The reason why it was dropped, which is counted too. No SA has changed then.
    pub fn handle_datagram(&mut self, datagram: &[u8], path: Path, now: Instant) -> Result<(), Discard> {
        debug_assert!(self.connections.ike_sas.outbox.is_empty(), "poll_output was not drained");
        let handled = self.dispatch(datagram, path, now);
        if let Err(reason) = handled {
            self.discards.count(reason);
        }
        self.check_shutdown();
        handled
    }

    /// Takes a command.
    pub fn handle_command(&mut self, command: Command, now: Instant) {
        debug_assert!(self.connections.ike_sas.outbox.is_empty(), "poll_output was not drained");
        self.command(command, now);
        self.check_shutdown();
    }

    /// Lets time pass. An early call does nothing. When much is due, a call does a part of it, and `poll_output` asks for
    /// the next one at once: what the network brings meanwhile need not wait for everything.
    pub fn handle_timeout(&mut self, now: Instant) {
        debug_assert!(self.connections.ike_sas.outbox.is_empty(), "poll_output was not drained");
        let connections = &mut self.connections;
        if let Some(left_out) = connections.ike_sas.budget.take_left_out(now) {
            connections.ike_sas.event(Event::FailuresLeftOut { count: left_out.count, span: left_out.span(now) });
        }
        let (mut turned, mut turns_left) = (false, false);
        for _ in 0..TIMEOUTS_AT_ONCE {
            let Some(timer) = connections.ike_sas.timers.take_due(now) else { break };
            match timer {
                Timer::IkeSa(spi) => connections.ike_sa_due(spi, now),
                Timer::Connection(name) => connections.attempt(&name, false, now),
                Timer::Duplicates(name, association) => connections.settle_duplicates(&name, association, now),
                // Each may cost a key exchange as well.
                Timer::Turns if turned => turns_left = true,
                Timer::Turns => {
                    turned = true;
                    connections.take_turns(now);
                }
                // The time for a clean shutdown is over.
                Timer::Shutdown => connections.ike_sas.clear(),
            }
        }
        if turns_left {
            connections.turns_changed();
        }
        self.serve_waiting(now);
        self.check_shutdown();
    }

    /// Yields the next consequence. Call until it is [`Output::Timeout`], before any other call.
    pub fn poll_output(&mut self) -> Output {
        let Connections { ike_sas, by_name, .. } = &mut self.connections;
        for (name, failure) in std::mem::take(&mut ike_sas.outbox.untold) {
            if let Some(runtime) = by_name.get_mut(&name) {
                runtime.last_error = Some(failure);
            }
        }
        let Some(output) = ike_sas.outbox.pop() else {
            let ike_sas = &self.connections.ike_sas;
            let turn = self.waiting.next_turn(&ike_sas.budget).map(|at| Deadline { at, why: Why::Turn });
            let deadlines = ike_sas.next_deadline().into_iter().chain(turn);
            return Output::Timeout(deadlines.min_by_key(|deadline| deadline.at));
        };
        // The status of a connection that is down says what failed last, also when the peer had asked.
        if let Output::Event(Event::Failure { connection: Some(name), failure, .. }) = &output
            && let Some(runtime) = by_name.get_mut(name)
        {
            runtime.last_error = Some(failure.clone());
        }
        output
    }

    /// Every configured connection, in the order of the configuration.
    pub fn status(&self) -> Vec<ConnectionStatus> {
        self.connections.ike_sas.directory.all().map(|connection| self.connections.status(connection)).collect()
    }

    /// One connection, if there is one of this name. Nothing of the others is looked at.
    pub fn status_of(&self, name: &str) -> Option<ConnectionStatus> {
        self.connections.by_name.get(name).map(|runtime| self.connections.status(&runtime.connection))
    }

    /// Whether an association is there: it has an IKE SA or a pair of Child SAs.
    pub fn has_association(&self, association: AssociationId) -> bool {
        self.connections.ike_sas.associations.has(association)
    }

    /// Datagrams dropped, by reason.
    pub fn discards(&self) -> &DiscardCounters {
        &self.discards
    }

    fn dispatch(&mut self, datagram: &[u8], path: Path, now: Instant) -> Result<(), Discard> {
        if datagram == [0xff] {
            return Err(Discard::Keepalive);
        }
        check_length(datagram, &self.connections.ike_sas)?;
        let message = parse_message(datagram).map_err(|malformed| self.unreadable(malformed, datagram, path, now))?;
        let header = message.header;
        if header.exchange_type == ExchangeType::IKE_SA_INIT && !header.flags.response {
            self.init_requested(message, path, true, now)?;
            // Whoever asks for an IKE SA is there, if the address is not forged.
            if self.connections.ike_sas.allows(Unprotected::Hint, path, now) {
                self.connections.prompt_peer(path.peer.ip(), now);
            }
            return Ok(());
        }
        if let Some(spi) = disowned_esp(&message) {
            // Nothing is answered to it, and anybody could have sent it (RFC 7296 1.5, 2.21.4).
            if self.connections.ike_sas.allows(Unprotected::Hint, path, now) {
                self.connections.esp_disowned(spi, path.peer.ip(), now);
            }
            return Err(Discard::UnauthenticatedError);
        }
        let ours = local_spi(&header);
        let ike_sas = &mut self.connections.ike_sas;
        if header.exchange_type == ExchangeType::IKE_AUTH {
            ike_sas.derive(&ours);
        }
        let Some(sa) = ike_sas.get(&ours) else {
            return self.unknown_spi(ours, &message, path, now);
        };
        let input = match sa.open(&message, path) {
            Ok(input) => input,
            Err(reason) => {
                self.heed_report(ours, &message, path, now);
                return Err(reason);
            }
        };
        if let (IkeSa::AwaitingAuth(state), Input::Fragment(fragment)) = (sa, &input) {
            let first = (state.initiator_spi(), state.source());
            let (asker, more) = (state.asker(), fragment.plaintext.len());
            let room = |ike_sas: &IkeSaTable| ike_sas.half_open.room_to_grow(first, asker, more);
            make_room(&mut self.connections, room, now)?;
        }
        let noted = match &input {
            Input::Init(InitReply::Error(error)) => Err(error.discard()),
            _ => Ok(()),
        };
        if let Input::Init(_) = &input {
            self.connections.peer_answers(ours, now);
        }
        if let Input::Init(InitReply::Complete(_)) = &input {
            self.connections.before_auth(ours);
        }
        self.connections.with_ike_sa(ours, now, |sa, cx| sa.handle(input, cx));
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
        // What has no encrypted payload is no request on any IKE SA that there was.
        let asks = !header.flags.response && !header.responder_spi.is_zero() && message.encrypted.is_some();
        let wants = asks && self.shutdown.is_none() && first;
        if !wants {
            return Err(Discard::UnknownSpi);
        }
        let ike_sas = &mut self.connections.ike_sas;
        let rival = ike_sas.rekey_making(ours).and_then(|(spi, rekey)| Some((spi, rekey.rival_with(ours)?)));
        let Some((rekeyed, rival)) = rival else {
            let lost = own_spi::was_made_for(path.peer.ip(), &ours, ike_sas.token_secret.as_ref());
            if !ike_sas.allows(if lost { Unprotected::LostSpi } else { Unprotected::UnknownSpi }, path, now) {
                return Err(Discard::AnswerLimit);
            }
            self.disown(header, path);
            return Err(Discard::UnknownSpi);
        };
        if !rival.is_taken_up(message, path) {
            return Err(Discard::UnknownSpi);
        }
        self.connections.with_established(rekeyed, now, |state, cx| state.yield_to_rival(cx));
        let input = self.connections.ike_sas.get(&ours).ok_or(Discard::UnknownSpi)?.open(message, path)?;
        self.connections.with_ike_sa(ours, now, |sa, cx| sa.handle(input, cx));
        Ok(())
    }

    /// An unprotected error can come from anybody: an established IKE SA asks its peer, one that is being set up notes
    /// it, nothing more (RFC 7296 2.4, 2.21.2, 2.21.4).
    fn heed_report(&mut self, ours: IkeSpi, message: &ParsedMessage<'_>, path: Path, now: Instant) {
        let reports = |payload: &Payload| matches!(payload, Payload::Notify(notify) if notify.kind == NotifyType::INVALID_IKE_SPI);
        if let Some(IkeSa::AuthSent(state)) = self.connections.ike_sas.get_mut(&ours) {
            state.note_unprotected(message);
        }
        let Some(state) = self.connections.ike_sas.established(&ours) else { return };
        if path.peer.ip() != state.sa().channel().path().peer.ip() || message.encrypted.is_some() {
            return;
        }
        if inform::is_disowned(state.sa(), &Payloads::new(message.payloads.clone())) {
            self.connections.with_ike_sa(ours, now, |sa, cx| match sa {
                IkeSa::Established(state) => {
                    // Nothing of it is left to be closed at the peer.
                    let failure = Failure::Restarted(state.sa().channel().path().peer);
                    Err(state.peer_is_gone(Cause::Restarted, failure, cx))
                }
                sa => Ok(sa),
            });
        } else if message.payloads.iter().any(reports) {
            self.connections.act(ours, now, |sa, _, agenda, cx| {
                liveness::is_reported_unknown(sa, agenda, cx.now);
            });
            self.connections.prompt_beside(ours, now);
        }
    }

    /// Says that the shutdown is complete when nothing is left to close.
    fn check_shutdown(&mut self) {
        let ike_sas = &mut self.connections.ike_sas;
        let established = |(_, sa): (&IkeSpi, &IkeSa)| matches!(sa, IkeSa::Established(_));
        if self.shutdown == Some(false) && !ike_sas.iter().any(established) {
            self.shutdown = Some(true);
            ike_sas.timers.set(Timer::Shutdown, None);
            ike_sas.event(Event::ShutdownComplete);
        }
    }
}

/// The SPI of a message that is ours. The flag tells whether the sender is the original initiator; the other SPI is ours.
fn local_spi(header: &Header) -> IkeSpi {
    if header.flags.initiator { header.responder_spi } else { header.initiator_spi }
}

/// Whether a datagram is no longer than what is read of somebody who has not authenticated itself, unless it is for an
/// IKE SA that is established or of which we are the initiator. Nothing of a longer one is read or copied.
fn check_length(datagram: &[u8], ike_sas: &IkeSaTable) -> Result<(), Discard> {
    if datagram.len() <= LONGEST_INIT {
        return Ok(());
    }
    // What is no header is told by who reads the message.
    let Ok(header) = Header::parse(datagram) else { return Ok(()) };
    let limit = match ike_sas.get(&local_spi(&header)) {
        _ if header.exchange_type == ExchangeType::IKE_SA_INIT && !header.flags.response => LONGEST_INIT,
        Some(IkeSa::Established(_) | IkeSa::InitSent(_) | IkeSa::AuthSent(_)) => usize::MAX,
        Some(IkeSa::AwaitingAuth(_) | IkeSa::Lingering(_)) | None => UNAUTHENTICATED_LIMIT,
    };
    if datagram.len() <= limit { Ok(()) } else { Err(Discard::TooLong) }
}

/// The SPI of the ESP packets of ours that a message in the clear says that its sender does not know.
fn disowned_esp(message: &ParsedMessage<'_>) -> Option<u32> {
    let header = &message.header;
    if header.exchange_type != ExchangeType::INFORMATIONAL || header.flags.response || message.encrypted.is_some() {
        return None;
    }
    message.payloads.iter().find_map(|payload| match payload {
        Payload::Notify(notify) if notify.kind == NotifyType::INVALID_SPI => {
            Some(u32::from_be_bytes(notify.data.as_slice().try_into().ok()?))
        }
        _ => None,
    })
}
