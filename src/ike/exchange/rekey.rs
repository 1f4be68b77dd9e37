//! Rekeying: the start of a Child SA's, and the whole of an IKE SA's (RFC 7296 1.3.2, 2.8, 2.18).

use std::time::Duration;

use super::collision::{IkeRival, lowest};
use super::create_child::{refusal_notify, report};
use super::{Exchange, Task};
use crate::crypto::{KeyExchange, KeyExchangeAlgorithm, Secret};
use crate::ike::channel::{Channel, IkeSaKeys, OpenedMessage};
use crate::ike::child::Stage;
use crate::ike::context::Context;
use crate::ike::error::{Refusal, Unsendable};
use crate::ike::event::{Event, Removal};
use crate::ike::keys::{Nonces, Skeyseed, Spis};
use crate::ike::message::{self, Payloads};
use crate::ike::negotiate::{self, IkeAlgorithms};
use crate::ike::sa::{Cause, Phase};
use crate::ike::state::established::Established;
use crate::ike::wanted::WantedChild;
use crate::ike::window::Window;
use crate::wire::ike::{ExchangeType, IkeSpi, Notify, NotifyType, Payload, Proposal};

/// Other key exchange methods that are tried at the peer's wish.
const MAX_GROUPS: u32 = 3;

/// How long an IKE SA that was replaced waits for its deletion by the peer.
const REPLACED_PATIENCE: Duration = Duration::from_secs(60);

/// Wait before a refused rekey of an IKE SA is tried again, before jitter.
const RETRY_WAIT: Duration = Duration::from_secs(10);

/// How long the rekey of a pair waits that the peer is not yet known to have.
const UNCONFIRMED_WAIT: Duration = Duration::from_secs(1);

/// A CREATE_CHILD_SA request of ours for an IKE SA in place of this one.
pub(in crate::ike) struct RekeyIke {
    spi: IkeSpi,
    nonce: Vec<u8>,
    key_exchange: KeyExchange,
    groups_tried: u32,
    /// An IKE SA that the peer has made meanwhile.
    rival: Option<IkeRival>,
}

impl RekeyIke {
    /// The SPI that we chose.
    pub(in crate::ike) fn spi(&self) -> IkeSpi {
        self.spi
    }

    /// The peer's IKE SA that waits for our exchange to end.
    pub(in crate::ike) fn rival(&self) -> Option<&Established> {
        self.rival.as_ref().map(|rival| &*rival.established)
    }
}

impl Established {
    /// Asks for a pair in place of this one, if it still serves.
    pub(in crate::ike) fn start_rekey_child(&mut self, inbound_spi: u32, cx: &mut Context<'_>) {
        let Some(pair) = self.children_mut().current_mut(inbound_spi) else { return };
        if pair.unconfirmed_until.is_some_and(|until| cx.now < until) {
            // The peer might not find the pair, and get to know it from our answer afterwards.
            return pair.postpone_rekey(cx.now + UNCONFIRMED_WAIT);
        }
        pair.stage = Stage::Rekeying;
        let wanted = WantedChild::new(pair.child.clone());
        self.start_create_child(wanted, Some(inbound_spi), cx);
    }

    /// Asks for an IKE SA in place of this one.
    pub(in crate::ike) fn start_rekey_ike(&mut self, cx: &mut Context<'_>) {
        if self.sa().is_active() {
            // The method in use is the one that the peer surely accepts.
            let key_exchange = self.sa().algorithms().group.generate(cx.entropy);
            let exchange =
                RekeyIke { spi: cx.ike_spi(), nonce: cx.nonce(), key_exchange, groups_tried: 0, rival: None };
            self.send_rekey_ike(exchange, cx);
        }
    }

    fn send_rekey_ike(&mut self, exchange: RekeyIke, cx: &mut Context<'_>) {
        let payloads = [
            Payload::SecurityAssociation(negotiate::offer_ike(&self.sa().connection().ike_proposals, &exchange.spi.0)),
            Payload::Nonce(exchange.nonce.clone()),
            message::key_exchange(exchange.key_exchange.algorithm(), exchange.key_exchange.public()),
        ];
        self.send(ExchangeType::CREATE_CHILD_SA, &payloads, Exchange::RekeyIke(Box::new(exchange)), cx);
    }

    /// Our request does not fit a message.
    pub(in crate::ike) fn rekey_ike_not_sent(
        &mut self,
        exchange: RekeyIke,
        unsendable: Unsendable,
        cx: &mut Context<'_>,
    ) {
        self.ike_rekey_failed(&format!("it is not asked to: {unsendable}"), exchange.rival, cx);
    }

    /// The peer's answer to our request.
    pub(in crate::ike) fn ike_rekeyed(&mut self, exchange: RekeyIke, payloads: &Payloads, cx: &mut Context<'_>) {
        if let Some(error) = payloads.error() {
            return self.ike_rekey_refused(exchange, &error.clone(), cx);
        }
        let RekeyIke { spi, nonce, key_exchange, groups_tried: _, rival } = exchange;
        let accepted = self.accept_ike_rekey(key_exchange, payloads);
        let Some((algorithms, responder, responder_nonce, shared)) = accepted else {
            return self.ike_rekey_failed("its answer is not one to our offer", rival, cx);
        };
        let spis = Spis { initiator: spi, responder };
        let nonces = Nonces { initiator: &nonce, responder: &responder_nonce };
        let Some(mut ours) = self.replacement(algorithms, nonces, spis, true, &shared, cx) else {
            return self.ike_rekey_failed("no keys can be derived", rival, cx);
        };
        match rival {
            Some(mut rival) if lowest(&nonce, &responder_nonce) < rival.lowest_nonce => {
                rival.established.inherit(self, cx);
                self.sa_mut().set_phase(Phase::Passive(cx.now + REPLACED_PATIENCE));
                ours.close(Cause::Closed, Removal::Closed, cx);
                self.succeed_by(*rival.established);
            }
            rival => {
                ours.inherit(self, cx);
                self.close(Cause::Closed, Removal::Closed, cx);
                if let Some(mut rival) = rival {
                    rival.established.sa_mut().set_phase(Phase::Passive(cx.now + REPLACED_PATIENCE));
                    self.succeed_by(*rival.established);
                }
            }
        }
        self.succeed_by(ours);
    }

    fn accept_ike_rekey(
        &self,
        key_exchange: KeyExchange,
        payloads: &Payloads,
    ) -> Option<(IkeAlgorithms, IkeSpi, Vec<u8>, Secret)> {
        let (answer, theirs, nonce) =
            (payloads.security_association()?, payloads.key_exchange()?, payloads.nonce()?.clone());
        let group = key_exchange.algorithm().transform_id;
        let chosen = negotiate::accept_ike(&self.sa().connection().ike_proposals, answer, group)?;
        let responder = ike_spi(&chosen.spi)?;
        let shared = (theirs.group.0 == group).then(|| key_exchange.agree(&theirs.data).ok())??;
        Some((chosen.algorithms, responder, nonce, shared))
    }

    /// The IKE SA with new keys; its message IDs start at 0 at both ends (RFC 7296 2.18).
    fn replacement(
        &self,
        algorithms: IkeAlgorithms,
        nonces: Nonces<'_>,
        spis: Spis,
        initiator: bool,
        shared: &Secret,
        cx: &mut Context<'_>,
    ) -> Option<Established> {
        let keys = Skeyseed::rekeyed(self.sa().child_key_source(), nonces, shared)
            .expand(algorithms.prf, algorithms.suite, nonces, spis, cx.key_log)
            .ok()?;
        // The peer is authenticated by the old IKE SA; SK_pi and SK_pr have no use.
        let (channel_keys, child_key_source, _) = IkeSaKeys::of(keys, initiator);
        let (path, fragments) = (self.sa().channel().path(), self.sa().channel().fragments());
        let channel = Channel::new(spis, initiator, channel_keys, Window::fresh(), path, fragments);
        let sa = self.sa().successor(channel, child_key_source, algorithms, cx);
        Some(Established::of(sa, Vec::new()))
    }

    fn ike_rekey_refused(&mut self, mut exchange: RekeyIke, error: &Notify, cx: &mut Context<'_>) {
        if error.kind == NotifyType::INVALID_KE_PAYLOAD
            && exchange.groups_tried < MAX_GROUPS
            && let Some(group) = self.ike_group_wanted(error)
        {
            exchange.groups_tried += 1;
            exchange.key_exchange = group.generate(cx.entropy);
            return self.send_rekey_ike(exchange, cx);
        }
        if error.kind == NotifyType::TEMPORARY_FAILURE {
            if !self.adopt_rival(exchange, cx) {
                let wait = self.temporary_wait("to rekey the IKE SA", cx);
                self.sa_mut().set_rekey_at(cx.now + wait);
            }
            return;
        }
        self.ike_rekey_failed(&format!("it answers {}", error.kind), exchange.rival, cx);
    }

    fn ike_group_wanted(&self, error: &Notify) -> Option<&'static KeyExchangeAlgorithm> {
        let wanted = message::wanted_group(error)?;
        let ours = self.sa().connection().ike_proposals.iter().flat_map(|proposal| &proposal.groups);
        ours.copied().find(|group| group.transform_id == wanted)
    }

    fn ike_rekey_failed(&mut self, reason: &str, rival: Option<IkeRival>, cx: &mut Context<'_>) {
        if let Some(rival) = rival {
            return self.succeeded_by(*rival.established, cx);
        }
        cx.event(Event::Failure {
            connection: Some(self.sa().connection().name.clone()),
            peer: self.sa().channel().path().peer,
            reason: format!("the peer does not rekey the IKE SA: {reason}"),
        });
        // A new IKE SA takes its place before it ends (RFC 7296 2.8).
        cx.outbox.renegotiate = true;
        let wait = cx.jitter(RETRY_WAIT, 80, 200);
        self.sa_mut().set_rekey_at(cx.now + wait);
    }

    /// Gives up an own rekey for the peer's, if it made one. False: it made none.
    pub(in crate::ike) fn adopt_rival(&mut self, exchange: RekeyIke, cx: &mut Context<'_>) -> bool {
        match exchange.rival {
            // Nobody wants a successor of what is being deleted; the peer is to know.
            Some(mut rival) if matches!(self.sa().phase(), Phase::Closing(_)) => {
                rival.established.close(Cause::Closed, Removal::Closed, cx);
                self.succeed_by(*rival.established);
                true
            }
            Some(rival) => {
                self.succeeded_by(*rival.established, cx);
                true
            }
            None => false,
        }
    }

    /// Another IKE SA takes over; the peer, who asked for it, deletes this one.
    fn succeeded_by(&mut self, mut successor: Established, cx: &mut Context<'_>) {
        successor.inherit(self, cx);
        self.sa_mut().set_phase(Phase::Passive(cx.now + REPLACED_PATIENCE));
        self.succeed_by(successor);
    }

    /// The peer asks for an IKE SA in place of this one. Gives the response's payloads.
    pub(in crate::ike) fn ike_rekey_requested(
        &mut self,
        request: &OpenedMessage,
        payloads: &Payloads,
        cx: &mut Context<'_>,
    ) -> Vec<Payload> {
        match self.answer_ike_rekey(payloads, cx) {
            Ok(answer) => answer,
            Err(refusal) => {
                report(&refusal, &self.sa().connection().name.clone(), request.path().peer, cx);
                vec![refusal_notify(&refusal)]
            }
        }
    }

    fn answer_ike_rekey(&mut self, payloads: &Payloads, cx: &mut Context<'_>) -> Result<Vec<Payload>, Refusal> {
        let busy = match self.agenda().exchange() {
            // RFC 7296 2.25.2.
            Some(Exchange::CreateChild(_) | Exchange::DeleteChild { .. } | Exchange::DeleteIke) => true,
            Some(Exchange::RekeyIke(exchange)) => exchange.rival.is_some(),
            Some(Exchange::Liveness | Exchange::Inform | Exchange::PathProbe { .. }) | None => false,
        };
        if busy || !self.sa().is_active() {
            return Err(Refusal::Temporary);
        }
        let offer = payloads.security_association().ok_or(Refusal::Syntax)?;
        let initiator_nonce = payloads.nonce().ok_or(Refusal::Syntax)?;
        let theirs = payloads.key_exchange().ok_or(Refusal::Syntax)?;
        let ours = &self.sa().connection().ike_proposals;
        let chosen = negotiate::choose_ike(ours, offer, Some(theirs.group.0)).ok_or_else(|| {
            Refusal::NoProposal(format!(
                "no common IKE proposal; the peer offers {}, we accept {}",
                negotiate::describe(offer),
                negotiate::describe(&negotiate::offer_ike(ours, &[]))
            ))
        })?;
        let algorithms = chosen.algorithms;
        if algorithms.group.transform_id != theirs.group.0 {
            return Err(Refusal::WrongGroup(algorithms.group.transform_id));
        }
        let initiator = ike_spi(&chosen.spi).ok_or(Refusal::Syntax)?;
        let spis = Spis { initiator, responder: cx.ike_spi() };
        let key_exchange = algorithms.group.generate(cx.entropy);
        let responder_nonce = cx.nonce();
        let answer = vec![
            Payload::SecurityAssociation(vec![Proposal { spi: spis.responder.0.to_vec(), ..chosen.answer }]),
            Payload::Nonce(responder_nonce.clone()),
            message::key_exchange(algorithms.group, key_exchange.public()),
        ];
        let shared = key_exchange.agree(&theirs.data).map_err(|_| Refusal::Syntax)?;
        let nonces = Nonces { initiator: initiator_nonce, responder: &responder_nonce };
        let replacement = self.replacement(algorithms, nonces, spis, false, &shared, cx).ok_or(Refusal::Syntax)?;
        match self.agenda_mut().exchange_mut() {
            Some(Exchange::RekeyIke(exchange)) => {
                let lowest_nonce = lowest(initiator_nonce, &responder_nonce);
                exchange.rival = Some(IkeRival { established: Box::new(replacement), lowest_nonce });
            }
            _ => self.succeeded_by(replacement, cx),
        }
        Ok(answer)
    }

    /// Asks for new keys now: of the IKE SA, or of every pair of a connection that serves.
    pub(in crate::ike) fn rekey_now(
        &mut self,
        what: crate::ike::event::RekeyWhat,
        connection: &str,
        cx: &mut Context<'_>,
    ) {
        match what {
            crate::ike::event::RekeyWhat::Ike => self.agenda_mut().queue(Task::RekeyIke),
            crate::ike::event::RekeyWhat::Child => {
                let current = self.children().current().filter(|pair| **pair.association.name() == *connection);
                let spis: Vec<u32> = current.map(|pair| pair.inbound_spi).collect();
                spis.into_iter().for_each(|spi| self.agenda_mut().queue(Task::RekeyChild(spi)));
            }
        }
        self.advance(cx);
    }
}

/// The SPI of an IKE proposal: eight bytes, not all zero.
fn ike_spi(spi: &[u8]) -> Option<IkeSpi> {
    let spi = IkeSpi(<[u8; 8]>::try_from(spi).ok()?);
    (!spi.is_zero()).then_some(spi)
}
