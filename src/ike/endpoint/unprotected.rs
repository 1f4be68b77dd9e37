//! What a message that nobody has authenticated gets for an answer: an error in the clear, not too often (RFC 7296 2.5, 2.21).

use std::time::Instant;

use super::Endpoint;
use crate::ike::budget::Unprotected;
use crate::ike::channel::malformed_notify;
use crate::ike::context::Outbox;
use crate::ike::error::Discard;
use crate::ike::event::{Output, Path, Transmit};
use crate::ike::ext::table::{self, At, Point};
use crate::ike::keys::Spis;
use crate::ike::state::IkeSa;
use crate::wire::ike::{ExchangeType, Flags, Header, Malformed, Notify, NotifyType, Payload, encode_message};

impl Endpoint {
    /// A message that cannot be read. Another major version is told which one we speak, and a first request with a
    /// critical payload which one we do not know (RFC 7296 2.5); what would be the response to a first request of ours
    /// is noted. Everything else waits until it is authenticated.
    pub(super) fn unreadable(&mut self, malformed: Malformed, datagram: &[u8], path: Path, now: Instant) -> Discard {
        let discard = Discard::from(malformed);
        let Ok(header) = Header::parse(datagram) else { return discard };
        if header.flags.response {
            if let Some(IkeSa::InitSent(state)) = self.connections.ike_sas.get_mut(&header.initiator_spi) {
                state.unreadable(&header, malformed);
            }
            return discard;
        }
        let (kind, notify) = match malformed {
            Malformed::MajorVersion(3..) => {
                (Unprotected::Version, Notify::new(NotifyType::INVALID_MAJOR_VERSION, Vec::new()))
            }
            Malformed::UnsupportedCriticalPayload(_) if self.shutdown.is_none() && is_first_request(&header) => {
                (Unprotected::CriticalPayload, malformed_notify(malformed))
            }
            _ => return discard,
        };
        let ike_sas = &mut self.connections.ike_sas;
        if !ike_sas.allows(kind, path, now) {
            return Discard::AnswerLimit;
        }
        answer(&mut ike_sas.outbox, &header, path, notify);
        discard
    }

    /// Says that we do not know the IKE SA of a request, and proves it to who has a token of it. No token is told of an
    /// IKE SA that there is, or is about to be, whichever end's SPI the message claims to be ours.
    pub(super) fn disown(&mut self, header: &Header, path: Path) {
        let ike_sas = &mut self.connections.ike_sas;
        let spis = Spis { initiator: header.initiator_spi, responder: header.responder_spi };
        let mut payloads = vec![Payload::Notify(Notify::new(NotifyType::INVALID_IKE_SPI, Vec::new()))];
        let exists = |spi| ike_sas.get(&spi).is_some() || ike_sas.rekey_making(spi).is_some();
        if !exists(spis.initiator) && !exists(spis.responder) {
            let at = At { point: Point::Inform, spis, path, initiator: !header.flags.initiator };
            let candidates = ike_sas.directory.candidates(&path);
            payloads.extend(table::disown(&table::rows(candidates.wanted()), at, ike_sas.token_secret.as_ref()));
        }
        send(&mut ike_sas.outbox, header, path, &payloads);
    }
}

/// Answers an error in the clear.
pub(super) fn answer(outbox: &mut Outbox, header: &Header, path: Path, notify: Notify) {
    send(outbox, header, path, &[Payload::Notify(notify)]);
}

/// Answers in the clear, with what the request said of itself (RFC 7296 1.5).
fn send(outbox: &mut Outbox, header: &Header, path: Path, payloads: &[Payload]) {
    let flags = Flags { initiator: !header.flags.initiator, version: false, response: true };
    let answer =
        Header::new(header.initiator_spi, header.responder_spi, header.exchange_type, flags, header.message_id);
    if let Ok(payload) = encode_message(&answer, payloads) {
        outbox.push(Output::Transmit(Transmit::new(path, payload)));
    }
}

/// Whether a message is the first of an initiator: IKE_SA_INIT, with no SPI of ours (RFC 7296 3.1).
fn is_first_request(header: &Header) -> bool {
    let Header { exchange_type, flags, message_id, initiator_spi, responder_spi, .. } = *header;
    exchange_type == ExchangeType::IKE_SA_INIT
        && (flags.initiator && !flags.response && message_id == 0)
        && (!initiator_spi.is_zero() && responder_spi.is_zero())
}
