//! What an established IKE SA does with messages, and with what the data path saw.

use super::Established;
use crate::ike::channel::{Opened, OpenedMessage, malformed_notify};
use crate::ike::context::Context;
use crate::ike::error::Discard;
use crate::ike::event::{Event, Path, SaActivity};
use crate::ike::exchange::Exchange;
use crate::ike::message::Payloads;
use crate::ike::sa::{Cause, Phase};
use crate::ike::state::Ended;
use crate::wire::ike::{ExchangeType, Notify, NotifyType, ParsedMessage, Payload, ProtocolId};

impl Established {
    pub(in crate::ike) fn open(&self, message: &ParsedMessage<'_>, path: Path) -> Result<Opened, Discard> {
        self.sa.channel().open(message, path)
    }

    pub(in crate::ike) fn handle(mut self, message: OpenedMessage, cx: &mut Context<'_>) -> Result<Self, Ended> {
        self.sa.heard_message(cx.now);
        self.follow_peer(message.path(), cx);
        if message.is_response() {
            self.handle_response(&message, cx)?;
        } else {
            self = self.handle_request(&message, cx)?;
        }
        self.sa.mind_message_ids(cx.now);
        self.advance(cx);
        Ok(self)
    }

    fn handle_request(mut self, message: &OpenedMessage, cx: &mut Context<'_>) -> Result<Self, Ended> {
        // With a window of one, a new request shows that our last answer has arrived (RFC 7296 2.3).
        self.children.confirmed();
        let payloads = match message.payloads() {
            Ok(payloads) => payloads,
            Err(malformed) => {
                self.sa.tell(format!("the peer's {} request is malformed: {malformed}", message.exchange()), cx);
                self.answer(message, &[Payload::Notify(malformed_notify(malformed))], cx);
                return Ok(self);
            }
        };
        let answer = match message.exchange() {
            ExchangeType::INFORMATIONAL => {
                if let Some(cause) = deletes_ike_sa(payloads) {
                    self.answer(message, &[], cx);
                    return Err(self.deleted_by_peer(cause, cx));
                }
                self.sa.informed(payloads);
                self.children_deleted_by_peer(payloads, cx)
            }
            ExchangeType::CREATE_CHILD_SA if concerns_ike(payloads) => self.ike_rekey_requested(message, payloads, cx),
            ExchangeType::CREATE_CHILD_SA => self.create_child_requested(message, payloads, cx),
            _ => vec![Payload::Notify(Notify::new(NotifyType::INVALID_SYNTAX, Vec::new()))],
        };
        self.answer(message, &answer, cx);
        Ok(self)
    }

    fn handle_response(&mut self, message: &OpenedMessage, cx: &mut Context<'_>) -> Result<(), Ended> {
        let repeated = self.sa.channel_mut().answered();
        let unreadable = Payloads::unreadable();
        let payloads = message.payloads().unwrap_or(&unreadable);
        match self.agenda.take_exchange() {
            // The SA goes anyway: what the answer would have brought is deleted with it.
            Some(Exchange::CreateChild(_) | Exchange::RekeyIke(_)) if matches!(self.sa.phase(), Phase::Closing(_)) => {}
            Some(Exchange::CreateChild(exchange)) => self.child_created(*exchange, payloads, cx),
            Some(Exchange::RekeyIke(exchange)) => self.ike_rekeyed(*exchange, payloads, cx),
            Some(Exchange::DeleteChild { inbound_spi, reason }) => self.child_deleted(inbound_spi, reason, cx),
            Some(Exchange::DeleteIke) => {
                let cause = match self.sa.phase() {
                    Phase::Closing(cause) => cause.clone(),
                    Phase::Active | Phase::Passive(_) => Cause::Closed,
                };
                return Err(self.ending(cause, None));
            }
            Some(Exchange::PathProbe { asked, sent }) => self.path_probed(asked, sent, !repeated, cx),
            Some(Exchange::Liveness | Exchange::Inform) | None => {}
        }
        Ok(())
    }

    /// What the data path saw.
    pub(in crate::ike) fn activity(&mut self, activity: SaActivity, cx: &mut Context<'_>) {
        let Some(pair) = self.children.get(activity.inbound_spi) else { return };
        let encapsulated = pair.is_encapsulated();
        if activity.first_seen && pair.is_current() {
            self.children.used_by_peer(activity.inbound_spi, cx);
            self.agenda.was_installed();
        }
        self.sa.heard_at(activity.last_inbound, cx.now);
        if let Some(source) = activity.source
            && encapsulated
            && self.sa.channel().path().non_esp_marker
        {
            let path = Path { peer: source, ..self.sa.channel().path() };
            self.follow_peer(path, cx);
        }
    }

    /// Child SAs follow a peer that has moved.
    fn follow_peer(&mut self, path: Path, cx: &mut Context<'_>) {
        if !self.sa.follow(path, cx.now) {
            return;
        }
        let encapsulated = self.children.iter().filter(|pair| pair.is_encapsulated());
        let inbound_spis: Vec<u32> = encapsulated.map(|pair| pair.inbound_spi).collect();
        if !inbound_spis.is_empty() {
            let path = self.sa.transport(path, cx).path;
            cx.event(Event::PathChanged { connection: self.sa.connection().name.clone(), inbound_spis, path });
        }
    }
}

/// Whether a request deletes the IKE SA that carries it, or says that the peer does not believe in it
/// (RFC 7296 2.21.2).
pub(in crate::ike) fn deletes_ike_sa(payloads: &Payloads) -> Option<Cause> {
    if payloads.deletes().any(|delete| delete.protocol == ProtocolId::IKE) {
        return Some(Cause::DeletedByPeer);
    }
    payloads.notify(NotifyType::AUTHENTICATION_FAILED).map(|_| Cause::Refused)
}

/// Whether a CREATE_CHILD_SA request rekeys the IKE SA.
fn concerns_ike(payloads: &Payloads) -> bool {
    payloads
        .security_association()
        .and_then(|offer| offer.first())
        .is_some_and(|first| first.protocol == ProtocolId::IKE)
}
