//! IKE_SA_INIT requests: nothing is kept of one until its cookie, its proposals and its key exchange are in order
//! (RFC 7296 1.2, 2.6, 2.7).

use std::sync::Arc;
use std::time::{Duration, Instant};

use super::Endpoint;
use super::admission::admit;
use super::ike_sas::IkeSaTable;
use super::unprotected;
use crate::crypto::KeyExchangeAlgorithm;
use crate::crypto::digest::sha256;
use crate::ike::budget::Charge;
use crate::ike::config::Connection;
use crate::ike::cookie::Initiator;
use crate::ike::directory::Candidates;
use crate::ike::error::Discard;
use crate::ike::event::{Event, Output, Path, Transmit};
use crate::ike::ext::negotiated::Negotiated;
use crate::ike::ext::table::{self, At, Point, Voice};
use crate::ike::failure::{Failure, Refusal};
use crate::ike::keys::Spis;
use crate::ike::message::{self, Payloads};
use crate::ike::negotiate::{self, Chosen, IkeAlgorithms};
use crate::ike::source::Asker;
use crate::ike::state::IkeSa;
use crate::ike::state::awaiting_auth::{AwaitingAuth, Initiated};
use crate::ike::transcript::Transcript;
use crate::ike::window::Window;
use crate::wire::ike::grammar::{self, Direction};
use crate::wire::ike::{
    ExchangeType, Flags, Header, IkeSpi, Notify, NotifyType, ParsedMessage, Payload, Proposal, encode_message,
    parse_message,
};

/// Time of key exchanges that one call spends on who has waited, but for one that has begun.
const TURNS_AT_ONCE: Duration = Duration::from_millis(2);

impl Endpoint {
    /// Answers an IKE_SA_INIT request. One that `arrives` may have to wait for its turn.
    pub(super) fn init_requested(
        &mut self,
        mut message: ParsedMessage<'_>,
        path: Path,
        arrives: bool,
        now: Instant,
    ) -> Result<(), Discard> {
        let header = message.header;
        if self.shutdown.is_some() {
            return Err(Discard::Closing);
        }
        if !header.flags.initiator || header.initiator_spi.is_zero() || !header.responder_spi.is_zero() {
            return Err(Discard::WrongDirection);
        }
        if header.message_id != 0 || message.encrypted.is_some() {
            return Err(Discard::Grammar);
        }
        grammar::check(header.exchange_type, Direction::Request, false, &message.payloads)
            .map_err(|_| Discard::Grammar)?;
        if let Some(ours) = self.connections.ike_sas.half_open.of(header.initiator_spi, path.peer) {
            return repeat_answer(&mut self.connections.ike_sas, ours, &message, path);
        }
        let payloads = Payloads::new(std::mem::take(&mut message.payloads));
        let nonce = payloads.nonce().ok_or(Discard::Grammar)?;
        let candidates = self.connections.ike_sas.directory.candidates(&path);
        let asker = Asker::new(path, &candidates);
        let asker = asker.proven(self.check_cookie(&header, &payloads, nonce, asker, path, now)?);
        if candidates.is_empty() {
            let refusal = Notify::new(NotifyType::NO_PROPOSAL_CHOSEN, Vec::new());
            return Err(self.refuse_init(&header, asker, path, refusal, Discard::NoConnection, now));
        }
        let (Some(offer), Some(theirs)) = (payloads.security_association(), payloads.key_exchange()) else {
            return Err(Discard::Grammar);
        };
        let Some(chosen) = choose(&candidates, offer, theirs.group.0) else {
            tell_of_proposals(&mut self.connections.ike_sas, asker, &candidates, offer, path, now);
            let refusal = Notify::new(NotifyType::NO_PROPOSAL_CHOSEN, Vec::new());
            return Err(self.refuse_init(&header, asker, path, refusal, Discard::NoProposal, now));
        };
        let group = chosen.algorithms.group;
        if group.transform_id != theirs.group.0 {
            let wanted = group.transform_id.to_be_bytes().to_vec();
            let refusal = Notify::new(NotifyType::INVALID_KE_PAYLOAD, wanted);
            return Err(self.refuse_init(&header, asker, path, refusal, Discard::WrongGroup, now));
        }
        if theirs.data.len() != group.public_len {
            return Err(Discard::BadKeyExchange);
        }
        if arrives && self.has_to_wait(asker, group, message.bytes, path, now)? {
            return Ok(());
        }
        let charge = admit(&mut self.connections, asker, message.bytes.len(), group, now)?;
        self.open_half(&message, candidates, chosen, &payloads, (path, charge), now)
    }

    /// Whether the initiator has proven that it receives at its address; an error when it has to and has not.
    fn check_cookie(
        &mut self,
        header: &Header,
        payloads: &Payloads,
        nonce: &[u8],
        asker: Asker,
        path: Path,
        now: Instant,
    ) -> Result<bool, Discard> {
        let ike_sas = &mut self.connections.ike_sas;
        let initiator = Initiator { nonce, source: path.peer, spi: header.initiator_spi };
        let returned = payloads.notify(NotifyType::COOKIE);
        if let Some(cookie) = returned
            && self.cookies.accepts(&cookie.data, &initiator, &mut *ike_sas.entropy, now)
        {
            return Ok(true);
        }
        let many = ike_sas.half_open.needs_cookie(asker.source, &ike_sas.config);
        if !many && !ike_sas.budget.needs_cookie(now) {
            return Ok(false);
        }
        let cookie = self.cookies.bake(&initiator, &mut *ike_sas.entropy, now);
        let flags = Flags { response: true, ..Flags::default() };
        let answer =
            Header::new(header.initiator_spi, IkeSpi::ZERO, ExchangeType::IKE_SA_INIT, flags, header.message_id);
        let notify = Payload::Notify(Notify::new(NotifyType::COOKIE, cookie));
        if let Ok(payload) = encode_message(&answer, &[notify]) {
            ike_sas.outbox.push(Output::Transmit(Transmit::new(path, payload)));
        }
        Err(Discard::CookieRequired)
    }

    /// Tells the initiator why it is not served, within the budget; what its request counts as.
    fn refuse_init(
        &mut self,
        header: &Header,
        asker: Asker,
        path: Path,
        refusal: Notify,
        discard: Discard,
        now: Instant,
    ) -> Discard {
        let ike_sas = &mut self.connections.ike_sas;
        if !ike_sas.budget.step(asker, now) {
            return Discard::AnswerLimit;
        }
        unprotected::answer(&mut ike_sas.outbox, header, path, refusal);
        discard
    }

    /// Whether the request of a stranger waits now: there is no time for its key exchange, or others wait for some. An error
    /// if it cannot.
    fn has_to_wait(
        &mut self,
        asker: Asker,
        method: &KeyExchangeAlgorithm,
        datagram: &[u8],
        path: Path,
        now: Instant,
    ) -> Result<bool, Discard> {
        if !asker.proven || asker.configured {
            return Ok(false);
        }
        let budget = &self.connections.ike_sas.budget;
        let last = budget.last_turn(asker.source, now).ok_or(Discard::KeyExchangeLimit)?;
        if self.waiting.is_empty() && budget.next_turn(last) <= now {
            return Ok(false);
        }
        let gone = self.waiting.push((last, method.cost), datagram, path, now)?;
        (0..gone).for_each(|_| self.discards.count(Discard::KeyExchangeLimit));
        Ok(true)
    }

    /// Answers who has waited for its turn, a few milliseconds' worth at a time.
    pub(super) fn serve_waiting(&mut self, now: Instant) {
        let mut left = TURNS_AT_ONCE;
        while left > Duration::ZERO
            && self.waiting.next_turn(&self.connections.ike_sas.budget).is_some_and(|at| at <= now)
        {
            let for_all = self.connections.ike_sas.budget.time_for_all() <= now;
            let Some((datagram, path, cost)) = self.waiting.pop(for_all, now) else {
                self.discards.count(Discard::KeyExchangeLimit);
                continue;
            };
            left = left.saturating_sub(cost);
            let message = parse_message(&datagram).map_err(Discard::from);
            if let Err(reason) = message.and_then(|message| self.init_requested(message, path, false, now)) {
                self.discards.count(reason);
            }
        }
    }

    /// Keeps the half-open IKE SA and answers.
    fn open_half(
        &mut self,
        message: &ParsedMessage<'_>,
        candidates: Arc<Candidates>,
        chosen: Chosen<IkeAlgorithms>,
        payloads: &Payloads,
        (path, charge): (Path, Charge),
        now: Instant,
    ) -> Result<(), Discard> {
        let (Some(theirs), Some(initiator_nonce)) = (payloads.key_exchange(), payloads.nonce()) else {
            return Err(Discard::Grammar);
        };
        let Chosen { algorithms, answer, .. } = chosen;
        let spi = self.connections.ike_sas.context(now).ike_spi(path.peer.ip());
        let spis = Spis { initiator: message.header.initiator_spi, responder: spi };
        let key_exchange = algorithms.group.generate(&mut *self.connections.ike_sas.entropy);
        let mut responder_nonce = vec![0; 32];
        self.connections.ike_sas.entropy.fill(&mut responder_nonce);
        let mut answer = vec![
            Payload::SecurityAssociation(vec![answer]),
            message::key_exchange(algorithms.group, key_exchange.public()),
            Payload::Nonce(responder_nonce.clone()),
        ];
        let first = candidates.first_with(&algorithms).ok_or(Discard::NoProposal)?;
        let (rows, mut negotiated) = (table::rows(candidates.wanted_with(&algorithms)), Negotiated::default());
        let asked =
            At { point: Point::InitRequest, spis: Spis { responder: IkeSpi::ZERO, ..spis }, path, initiator: false };
        table::hear(&rows, asked, payloads, &mut negotiated);
        let ike_sas = &mut self.connections.ike_sas;
        let (entropy, token_secret) = (&mut *ike_sas.entropy, ike_sas.token_secret.as_ref());
        let voice = Voice { connection: first, entropy, token_secret };
        answer.extend(table::say(&rows, At { point: Point::InitResponse, spis, ..asked }, voice, &mut negotiated));
        let flags = Flags { response: true, ..Flags::default() };
        let message_id = message.header.message_id;
        let header = Header::new(spis.initiator, spis.responder, ExchangeType::IKE_SA_INIT, flags, message_id);
        let response = encode_message(&header, &answer).map_err(|_| Discard::Unsendable)?;
        self.connections.ike_sas.outbox.push(Output::Transmit(Transmit::new(path, response.clone())));
        let mut window = Window::fresh();
        window.respond(sha256(message.bytes), vec![response.clone()]);
        let transcript = Transcript {
            request: message.bytes.to_vec(),
            response,
            initiator_nonce: initiator_nonce.clone(),
            responder_nonce,
        };
        let public = theirs.data.clone();
        let initiated =
            Initiated { candidates, spis, path, transcript, algorithms, negotiated, key_exchange, public, window };
        let state = AwaitingAuth::new(initiated, now + self.connections.ike_sas.config.half_open_timeout);
        let kept = state.kept_bytes();
        self.connections.ike_sas.half_open.insert(spis.initiator, path.peer, (spi, kept, charge), now);
        self.connections.ike_sas.insert(spi, IkeSa::AwaitingAuth(Box::new(state)));
        Ok(())
    }
}

/// Sends the answer to a repeated IKE_SA_INIT request once more.
fn repeat_answer(
    ike_sas: &mut IkeSaTable,
    ours: IkeSpi,
    message: &ParsedMessage<'_>,
    path: Path,
) -> Result<(), Discard> {
    let Some(IkeSa::AwaitingAuth(state)) = ike_sas.get(&ours) else {
        return Err(Discard::UnexpectedExchange);
    };
    let answer = state.repetition(message, path)?;
    answer.into_iter().for_each(|transmit| ike_sas.outbox.push(Output::Transmit(transmit)));
    Ok(())
}

/// The first candidate's choice that there is.
fn choose(candidates: &Candidates, offer: &[Proposal], guess: u16) -> Option<Chosen<IkeAlgorithms>> {
    let choice = |connection: &Arc<Connection>| negotiate::choose_ike(&connection.ike_proposals, offer, Some(guess));
    candidates.distinct_proposals().find_map(choice)
}

/// Tells a person of proposals that have nothing in common with ours.
fn tell_of_proposals(
    ike_sas: &mut IkeSaTable,
    asker: Asker,
    candidates: &Candidates,
    offer: &[Proposal],
    path: Path,
    now: Instant,
) {
    let first = candidates.first();
    if ike_sas.budget.failure(asker, now) {
        let ours = first.map_or_else(Vec::new, |first| negotiate::offer_ike(&first.ike_proposals, &[]));
        ike_sas.event(Event::Failure {
            connection: first.map(|first| first.name.clone()),
            peer: path.peer,
            failure: Failure::Refused(Refusal::IkeProposal { offered: offer.to_vec(), accepted: ours }),
        });
    }
}
