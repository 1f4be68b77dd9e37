//! IKE_SA_INIT requests: nothing is kept of one until its cookie, its proposals and its key exchange are in order
//! (RFC 7296 1.2, 2.6, 2.7).

use std::sync::Arc;
use std::time::Instant;

use super::Endpoint;
use super::ike_sas::IkeSaTable;
use crate::crypto::digest::sha256;
use crate::ike::config::{Connection, Peer};
use crate::ike::cookie::Initiator;
use crate::ike::directory::Candidates;
use crate::ike::ended::Ended;
use crate::ike::error::Discard;
use crate::ike::event::{Event, Output, Path, Transmit};
use crate::ike::ext::negotiated::Negotiated;
use crate::ike::ext::table::{self, At, Point, Voice};
use crate::ike::failure::{Failure, Refusal};
use crate::ike::keys::Spis;
use crate::ike::message::{self, Payloads};
use crate::ike::negotiate::{self, Chosen, IkeAlgorithms};
use crate::ike::sa::Cause;
use crate::ike::state::IkeSa;
use crate::ike::state::awaiting_auth::{AwaitingAuth, Initiated};
use crate::ike::transcript::Transcript;
use crate::ike::window::Window;
use crate::wire::ike::grammar::{self, Direction};
use crate::wire::ike::{
    ExchangeType, Flags, Header, IkeSpi, Notify, NotifyType, ParsedMessage, Payload, Proposal, encode_message,
};

impl Endpoint {
    /// Answers an IKE_SA_INIT request.
    pub(super) fn init_requested(
        &mut self,
        message: &ParsedMessage<'_>,
        path: Path,
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
            return repeat_answer(&mut self.connections.ike_sas, ours, message, path);
        }
        let payloads = Payloads::new(message.payloads.clone());
        let nonce = payloads.nonce().ok_or(Discard::Grammar)?;
        let candidates = self.connections.ike_sas.directory.candidates(&path);
        let proven = self.check_cookie(&header, &payloads, nonce, path, now)?;
        if candidates.is_empty() {
            let refusal = Notify::new(NotifyType::NO_PROPOSAL_CHOSEN, Vec::new());
            self.answer_unprotected(&header, path, refusal, now);
            return Err(Discard::NoConnection);
        }
        let (Some(offer), Some(theirs)) = (payloads.security_association(), payloads.key_exchange()) else {
            return Err(Discard::Grammar);
        };
        let Some(chosen) = choose(&candidates, offer, theirs.group.0) else {
            self.refuse_proposals(&header, &candidates, offer, path, now);
            return Err(Discard::NoProposal);
        };
        let group = chosen.algorithms.group;
        if group.transform_id != theirs.group.0 {
            let wanted = group.transform_id.to_be_bytes().to_vec();
            self.answer_unprotected(&header, path, Notify::new(NotifyType::INVALID_KE_PAYLOAD, wanted), now);
            return Err(Discard::WrongGroup);
        }
        if theirs.data.len() != group.public_len {
            return Err(Discard::BadKeyExchange);
        }
        self.make_room(&candidates, proven, now)?;
        self.open_half(message, candidates, chosen, &payloads, path, now)
    }

    /// Whether the initiator has proven that it receives at its address; an error when it has to and has not.
    fn check_cookie(
        &mut self,
        header: &Header,
        payloads: &Payloads,
        nonce: &[u8],
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
        if !ike_sas.half_open.needs_cookie(path.peer, &ike_sas.config) {
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

    fn refuse_proposals(
        &mut self,
        header: &Header,
        candidates: &Candidates,
        offer: &[Proposal],
        path: Path,
        now: Instant,
    ) {
        let first = candidates.first();
        if self.unprotected.take(now) {
            let ours = first.map_or_else(Vec::new, |first| negotiate::offer_ike(&first.ike_proposals, &[]));
            self.connections.ike_sas.outbox.push(Output::Event(Event::Failure {
                connection: first.map(|first| first.name.clone()),
                peer: path.peer,
                failure: Failure::Refused(Refusal::IkeProposal { offered: offer.to_vec(), accepted: ours }),
            }));
        }
        self.answer_unprotected(header, path, Notify::new(NotifyType::NO_PROPOSAL_CHOSEN, Vec::new()), now);
    }

    /// At the limit only a configured peer that has returned a cookie is served, in place of the one that has waited
    /// longest: a flood can't keep it out.
    fn make_room(&mut self, candidates: &Candidates, proven: bool, now: Instant) -> Result<(), Discard> {
        if self.connections.ike_sas.half_open.len() < self.connections.ike_sas.config.half_open_limit {
            return Ok(());
        }
        let configured = candidates.first().is_some_and(|connection| matches!(connection.peer, Peer::Address(_)));
        let oldest = self
            .connections
            .ike_sas
            .half_open
            .oldest()
            .filter(|_| configured && proven)
            .ok_or(Discard::HalfOpenLimit)?;
        self.connections.with_ike_sa(oldest, now, |_, _| Err(Ended::new(Cause::NoAnswer, None)));
        Ok(())
    }

    /// Keeps the half-open IKE SA and answers.
    fn open_half(
        &mut self,
        message: &ParsedMessage<'_>,
        candidates: Arc<Candidates>,
        chosen: Chosen<IkeAlgorithms>,
        payloads: &Payloads,
        path: Path,
        now: Instant,
    ) -> Result<(), Discard> {
        let (Some(theirs), Some(initiator_nonce)) = (payloads.key_exchange(), payloads.nonce()) else {
            return Err(Discard::Grammar);
        };
        let Chosen { algorithms, answer, .. } = chosen;
        let mut spi = IkeSpi::ZERO;
        while spi.is_zero() || self.connections.ike_sas.get(&spi).is_some() {
            self.connections.ike_sas.entropy.fill(&mut spi.0);
        }
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
        self.connections.ike_sas.half_open.insert(spis.initiator, path.peer, spi);
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
