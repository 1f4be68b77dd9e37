//! What an established IKE SA does with messages.

use super::Established;
use crate::ike::channel::{OpenedMessage, malformed_notify};
use crate::ike::child_offer::report;
use crate::ike::context::Context;
use crate::ike::data_path::{follow_peer, heard};
use crate::ike::ended::Ended;
use crate::ike::event::Removal;
use crate::ike::exchange::{Exchange, child_requested, delete, inform, rekey, rekey_requested};
use crate::ike::failure::{Failure, Refusal};
use crate::ike::message::Payloads;
use crate::ike::sa::Cause;
use crate::wire::ike::{ExchangeType, Notify, NotifyType, Payload};

impl Established {
    pub(in crate::ike) fn handle(mut self, message: OpenedMessage, cx: &mut Context<'_>) -> Result<Self, Ended> {
        self.sa.is_known_to_peer();
        heard(cx.now, &mut self.sa, &self.children, cx);
        follow_peer(message.path(), &mut self.sa, &self.children, cx);
        if message.is_response() {
            let repeated = self.sa.channel_mut().answered();
            // One that cannot be read brings nothing, and leaves the peer with what it has made (RFC 7296 2.21).
            let payloads = message.payloads().unwrap_or(const { &Payloads::empty() });
            self = self.answered(payloads, repeated, cx)?;
        } else {
            self = self.requested(&message, cx)?;
        }
        if self.sa.channel().runs_out() {
            self.sa.lifetime_mut().message_ids_run_out(cx.now);
        }
        self.advance(cx);
        Ok(self)
    }

    /// After INVALID_SYNTAX to a request of a known exchange the IKE SA is no more, at either end (RFC 7296 2.21.3). After
    /// UNSUPPORTED_CRITICAL_PAYLOAD it goes on (2.5), and so it does when the exchange itself is not known here.
    fn requested(mut self, message: &OpenedMessage, cx: &mut Context<'_>) -> Result<Self, Ended> {
        // With a window of one, a new request shows that our last answer has arrived (RFC 7296 2.3).
        self.children.confirmed();
        let payloads = match message.payloads() {
            Ok(payloads) => payloads,
            Err(malformed) => {
                let failure = Failure::MalformedRequest { exchange: message.exchange(), malformed };
                self.sa.tell(failure.clone(), cx);
                let notify = malformed_notify(malformed);
                let is_fatal = notify.kind == NotifyType::INVALID_SYNTAX && is_known(message.exchange());
                self.answer(message, &[Payload::Notify(notify)], cx);
                return if is_fatal {
                    Err(self.end(Cause::Refused, failure, Removal::IkeSaLost, cx))
                } else {
                    Ok(self)
                };
            }
        };
        let answer = match message.exchange() {
            ExchangeType::INFORMATIONAL => {
                if let Some(cause) = delete::of_ike_sa(payloads) {
                    self.answer(message, &[], cx);
                    let (removal, failure) = match cause {
                        Cause::DeletedByPeer => (Removal::DeletedByPeer, Failure::Deleted),
                        _ => (Removal::IkeSaLost, Failure::NotBelieved),
                    };
                    // The peer may repeat its request: the channel stays.
                    return Err(self.end(cause, failure, removal, cx));
                }
                inform::requested(payloads, &mut self.sa);
                Ok(delete::requested(payloads, &mut self.children, &mut self.agenda.tasks, cx))
            }
            ExchangeType::CREATE_CHILD_SA if rekey_requested::is_meant(payloads) => self.rekey_requested(payloads, cx),
            ExchangeType::CREATE_CHILD_SA => self.child_requested(payloads, cx),
            _ => Ok(vec![Payload::Notify(Notify::new(NotifyType::INVALID_SYNTAX, Vec::new()))]),
        };
        let refusal = match answer {
            Ok(answer) => {
                self.answer(message, &answer, cx);
                return Ok(self);
            }
            Err(refusal) => refusal,
        };
        self.answer(message, &[refusal.notify()], cx);
        report(refusal.clone(), self.sa.association(), message.path().peer, cx);
        match refusal {
            Refusal::Syntax => Err(self.end(Cause::Refused, Failure::Refused(refusal), Removal::IkeSaLost, cx)),
            _ => Ok(self),
        }
    }

    /// The peer asks for a Child SA. A rekey of ours may be about the same pair.
    fn child_requested(&mut self, request: &Payloads, cx: &mut Context<'_>) -> Result<Vec<Payload>, Refusal> {
        let Self { sa, children, agenda, .. } = self;
        let busy = !sa.is_active() || agenda.exchange.as_ref().is_some_and(Exchange::refuses_children);
        let answer = child_requested::requested(request, busy, sa, children, &mut agenda.tasks, cx)?;
        if let (Some(rival), Some(Exchange::CreateChild(exchange))) = (answer.rival, &mut agenda.exchange) {
            exchange.meet(rival);
        }
        Ok(answer.payloads)
    }

    /// The peer asks for an IKE SA in place of this one: it takes over, unless a rekey of ours is under way as well.
    fn rekey_requested(&mut self, request: &Payloads, cx: &mut Context<'_>) -> Result<Vec<Payload>, Refusal> {
        let Self { sa, agenda, .. } = self;
        let busy = !sa.is_active() || agenda.exchange.as_ref().is_some_and(Exchange::refuses_rekey_of_ike);
        let rekey_requested::Answer { payloads, rival } = rekey_requested::requested(request, busy, sa, cx)?;
        match &mut agenda.exchange {
            Some(Exchange::RekeyIke(exchange)) => exchange.meet(rival),
            _ => self.succeed(rekey::succeeded_by(rival.sa, &self.sa, cx.now), cx),
        }
        Ok(payloads)
    }

    /// The exchange under way is answered. `repeated` says whether its request had been sent more than once.
    pub(in crate::ike) fn answered(
        mut self,
        reply: &Payloads,
        repeated: bool,
        cx: &mut Context<'_>,
    ) -> Result<Self, Ended> {
        let Some(exchange) = self.agenda.exchange.take() else { return Ok(self) };
        let Self { sa, children, agenda, .. } = &mut self;
        match exchange.reply(reply, repeated, sa, children, &mut agenda.tasks, cx) {
            Ok(next) => self.carry_out(next, cx),
            Err(cause) => return Err(Ended { channel: None, ..self.end(cause, None, Removal::Closed, cx) }),
        }
        Ok(self)
    }
}

/// Whether an exchange has a meaning on an established IKE SA.
fn is_known(exchange: ExchangeType) -> bool {
    matches!(exchange, ExchangeType::CREATE_CHILD_SA | ExchangeType::INFORMATIONAL)
}
