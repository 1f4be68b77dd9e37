//! The protected channel of an IKE SA: seals what we send, opens what comes, and minds the message window.

use std::time::{Duration, Instant};

use super::config::Retransmission;
use super::context::Context;
use super::echo::{self, Echo, on_path};
use super::error::{Discard, Unsendable};
use super::event::{Output, Path, Transmit};
use super::ext::negotiated::Fragments;
use super::ext::reassembly::{Reassembly, VerifiedFragment, Whole};
use super::keys::{IkeKeys, Spis};
use super::message::{Payloads, id_body};
use super::sealer::Sealer;
use super::window::{Digest, Due, Requested, Window};
use crate::crypto::digest::sha256;
use crate::crypto::{OpeningKey, SealingKey};
use crate::wire::ike::{
    Delete, Encrypted, ExchangeType, Fragment, Header, IkeSpi, Malformed, Notify, NotifyType, ParsedMessage, Payload,
    PayloadType, encode_encrypted, parse_payloads, strip_padding,
};

/// The keys, SPIs, window and path of one IKE SA.
pub(super) struct Channel {
    sealer: Sealer,
    opening: OpeningKey,
    window: Window,
    path: Path,
    fragments: Fragments,
    /// The peer is authenticated.
    authenticated: bool,
    /// Of the peer's request, and of its response.
    reassembly: [Option<Box<Reassembly>>; 2],
}

/// Bytes of the longest message that is read of a peer that is not authenticated, also of its fragments together.
pub const UNAUTHENTICATED_LIMIT: usize = 16 << 10;
/// Bytes that the fragments of a message have together at most once it is.
const AUTHENTICATED_LIMIT: usize = 64 << 10;

/// Bytes that the fragments of a message may have together. The response to a request of ours is awaited.
fn reassembly_limit(authenticated: bool, response: bool) -> usize {
    if authenticated || response { AUTHENTICATED_LIMIT } else { UNAUTHENTICATED_LIMIT }
}

/// A message whose integrity was verified. Only [`Channel::open`] makes one.
pub(super) struct OpenedMessage {
    header: Header,
    payloads: Result<Payloads, Malformed>,
    id_body: Option<Vec<u8>>,
    path: Path,
    digest: Digest,
}

/// What [`Channel::open`] found.
pub(super) enum Opened {
    /// A new request or the response that we wait for.
    Message(OpenedMessage),
    /// The request that was answered last, again: only the answer is to be sent once more.
    Repeated(Vec<Transmit>),
    /// A part of such a message, to be [collected](Channel::collect).
    Fragment(VerifiedFragment),
}

impl OpenedMessage {
    pub(super) fn header(&self) -> &Header {
        &self.header
    }

    pub(super) fn exchange(&self) -> ExchangeType {
        self.header.exchange_type
    }

    pub(super) fn is_response(&self) -> bool {
        self.header.flags.response
    }

    /// How it came.
    pub(super) fn path(&self) -> Path {
        self.path
    }

    pub(super) fn payloads(&self) -> Result<&Payloads, Malformed> {
        self.payloads.as_ref().map_err(|malformed| *malformed)
    }

    /// Body of the sender's identification payload, in IKE_AUTH.
    pub(super) fn id_body(&self) -> Option<&[u8]> {
        self.id_body.as_deref()
    }
}

/// What the peer is told of a request that can't be read although its sender is authenticated (RFC 7296 2.21).
pub(super) fn malformed_notify(malformed: Malformed) -> Notify {
    match malformed {
        Malformed::UnsupportedCriticalPayload(kind) => {
            Notify::new(NotifyType::UNSUPPORTED_CRITICAL_PAYLOAD, vec![kind.0])
        }
        _ => Notify::new(NotifyType::INVALID_SYNTAX, Vec::new()),
    }
}

/// The payloads that stand in this plaintext.
fn read(
    header: Header,
    first: PayloadType,
    plaintext: Result<&[u8], Malformed>,
    path: Path,
    digest: Digest,
) -> OpenedMessage {
    let parsed = plaintext.and_then(|plaintext| parse_payloads(first, plaintext));
    let payloads = parsed.and_then(|payloads| Payloads::of_exchange(&header, payloads));
    let id_kind = if header.flags.response {
        PayloadType::IDENTIFICATION_RESPONDER
    } else {
        PayloadType::IDENTIFICATION_INITIATOR
    };
    let id_body = plaintext.and_then(|plaintext| id_body(first, plaintext, id_kind)).unwrap_or_default();
    OpenedMessage { header, payloads, id_body, path, digest }
}

impl Channel {
    pub(super) fn new(
        spis: Spis,
        initiator: bool,
        keys: IkeSaKeys,
        window: Window,
        path: Path,
        fragments: Fragments,
    ) -> Self {
        let IkeSaKeys { sealing, opening } = keys;
        Self {
            sealer: Sealer::new(spis, initiator, sealing),
            opening,
            window,
            path,
            fragments,
            authenticated: false,
            reassembly: [None, None],
        }
    }

    /// The answer to the peer's last request once more, if the message is that request once more.
    pub(super) fn repetition(&self, message: &ParsedMessage<'_>, path: Path) -> Result<Vec<Transmit>, Discard> {
        echo::repetition(&self.window, message, path)
    }

    /// Closes the channel: the keys go, the last answer stays.
    pub(super) fn into_echo(self) -> Echo {
        let Self { sealer: Sealer { spis, initiator, .. }, window, .. } = self;
        Echo { spis, initiator, window }
    }

    pub(super) fn spis(&self) -> Spis {
        self.sealer.spis
    }

    /// Whether we initiated this IKE SA.
    pub(super) fn is_initiator(&self) -> bool {
        self.sealer.initiator
    }

    /// The SPI that we chose.
    pub(super) fn local_spi(&self) -> IkeSpi {
        if self.sealer.initiator { self.sealer.spis.initiator } else { self.sealer.spis.responder }
    }

    pub(super) fn path(&self) -> Path {
        self.path
    }

    pub(super) fn set_path(&mut self, path: Path) {
        self.path = path;
    }

    /// Whether a request of ours can be sent now.
    pub(super) fn is_free(&self) -> bool {
        self.window.is_free()
    }

    /// Whether its message IDs are so far used up that it is to be replaced.
    pub(super) fn runs_out(&self) -> bool {
        self.window.runs_out()
    }

    pub(super) fn deadline(&self) -> Option<Instant> {
        self.window.deadline()
    }

    /// Verifies and reads a message. Takes `&self`: whatever fails here has changed nothing.
    pub(super) fn open(&self, message: &ParsedMessage<'_>, path: Path) -> Result<Opened, Discard> {
        let header = message.header;
        let spis = Spis { initiator: header.initiator_spi, responder: header.responder_spi };
        if spis != self.sealer.spis || header.flags.initiator == self.sealer.initiator {
            return Err(Discard::WrongDirection);
        }
        let encrypted = message.encrypted.ok_or(Discard::Cleartext);
        // A repetition is known by its digest; what cannot be one, or a new request, is not worth the hashing.
        let mut digest = Digest::default();
        if header.flags.response {
            self.window.check_response(header.message_id)?;
        } else {
            self.window.check_request_id(header.message_id)?;
            digest = sha256(message.bytes);
            match self.window.check_request(header.message_id, &digest) {
                Ok(Requested::New) => {}
                Ok(Requested::Repeated(response)) => return Ok(Opened::Repeated(on_path(path, response))),
                Err(Discard::NotIdentical) => return self.open_repeated(message, encrypted?, path),
                Err(discard) => return Err(discard),
            }
        }
        let encrypted = encrypted?;
        if let Some(fragment) = encrypted.fragment {
            if !self.fragments.accepted {
                return Err(Discard::Fragment);
            }
            let present = self.reassembly[usize::from(header.flags.response)].as_deref();
            Reassembly::wants(present, header.message_id, fragment)?;
            let plaintext = strip_padding(&decrypt(&self.opening, message, encrypted)?)?.to_vec();
            Reassembly::fits(
                present,
                header.message_id,
                plaintext.len(),
                reassembly_limit(self.authenticated, header.flags.response),
            )?;
            let first_payload = encrypted.first_payload;
            let fragment = VerifiedFragment { header, fragment, first_payload, plaintext, digest, path };
            return Ok(Opened::Fragment(fragment));
        }
        let body = decrypt(&self.opening, message, encrypted)?;
        let plaintext = strip_padding(&body);
        Ok(Opened::Message(read(header, encrypted.first_payload, plaintext, path, digest)))
    }

    /// A request of the ID that was answered last, but not the same datagram. A peer may repeat a request in other
    /// fragments than before: the first of them gets the answer again, if it is authentic (RFC 7383 2.6.1).
    fn open_repeated(&self, message: &ParsedMessage<'_>, encrypted: Encrypted, path: Path) -> Result<Opened, Discard> {
        match encrypted.fragment {
            // Not for who has proven nothing: its address may be another's, which the answer would go to.
            Some(Fragment { number: 1, .. }) if self.fragments.accepted && self.authenticated => {
                decrypt(&self.opening, message, encrypted)?;
                let answer = self.window.answer_to(message.header.message_id).ok_or(Discard::MessageId)?;
                Ok(Opened::Repeated(on_path(path, answer)))
            }
            Some(_) => Err(Discard::Fragment),
            None => Err(Discard::NotIdentical),
        }
    }

    /// Takes a fragment; gives the message when it was the last one.
    pub(super) fn collect(&mut self, fragment: VerifiedFragment) -> Option<OpenedMessage> {
        let limit = reassembly_limit(self.authenticated, fragment.header.flags.response);
        let slot = &mut self.reassembly[usize::from(fragment.header.flags.response)];
        let Whole { header, first_payload, plaintext, digest, path } =
            Reassembly::take(slot, fragment, limit).ok().flatten()?;
        Some(read(header, first_payload, Ok(&plaintext), path, digest))
    }

    /// What was settled about fragments, and whether the peer is authenticated.
    pub(super) fn set_fragments(&mut self, fragments: Fragments, authenticated: bool) {
        (self.fragments, self.authenticated) = (fragments, authenticated);
    }

    /// Sends a request of ours. The window must be free.
    ///
    /// # Errors
    /// It does not fit a message. The window is as it was.
    pub(super) fn request(
        &mut self,
        exchange: ExchangeType,
        payloads: &[Payload],
        cx: &mut Context<'_>,
    ) -> Result<(), Unsendable> {
        self.request_with(exchange, payloads, cx.config.retransmission, cx)
    }

    /// Sends a request with its own back-off.
    ///
    /// # Errors
    /// It does not fit a message. The window is as it was.
    pub(super) fn request_with(
        &mut self,
        exchange: ExchangeType,
        payloads: &[Payload],
        policy: Retransmission,
        cx: &mut Context<'_>,
    ) -> Result<(), Unsendable> {
        let limit = self.datagram_limit(self.path);
        let datagrams = self.sealer.seal(exchange, false, self.window.next_request(), payloads, limit, cx.entropy)?;
        cx.transmit(self.path, &datagrams);
        self.window.sent(datagrams, policy, cx.now);
        Ok(())
    }

    /// Tells the peer once that this IKE SA is deleted; no answer is waited for.
    pub(super) fn delete_once(&mut self, cx: &mut Context<'_>) {
        let once = Retransmission { timeout: Duration::ZERO, ..cx.config.retransmission };
        let payloads = [Payload::Delete(Delete::ike())];
        let told = self.request_with(ExchangeType::INFORMATIONAL, &payloads, once, cx);
        debug_assert!(told.is_ok(), "a deletion of eight bytes fits a message");
    }

    /// Answers the request that was just opened, to where it came from (RFC 7296 2.11), and remembers the answer.
    ///
    /// # Errors
    /// It does not fit a message. The request counts as not answered.
    pub(super) fn respond(
        &mut self,
        request: &OpenedMessage,
        payloads: &[Payload],
        cx: &mut Context<'_>,
    ) -> Result<(), Unsendable> {
        let (message_id, limit) = (request.header().message_id, self.datagram_limit(request.path()));
        let response = self.sealer.seal(request.exchange(), true, message_id, payloads, limit, cx.entropy)?;
        cx.transmit(request.path(), &response);
        self.reassembly[0] = None;
        self.window.respond(request.digest, response);
        Ok(())
    }

    /// Our request was answered by the message that was just opened. Says whether it had been repeated.
    pub(super) fn answered(&mut self) -> bool {
        self.reassembly[1] = None;
        self.window.answered()
    }

    /// Sends a request whose outer packet has at most this size, filled up with a notification that means nothing, and is not
    /// to be fragmented when it is sent first. Returns the size that it has; `None`, and nothing is sent, when the headers
    /// alone are as large.
    pub(super) fn probe(&mut self, size: u16, policy: Retransmission, cx: &mut Context<'_>) -> Option<u16> {
        let headers = self.path.header_len();
        let padding = |length: usize| [Payload::Notify(Notify::new(NotifyType::PATH_PROBE, vec![0; length]))];
        let empty = encode_encrypted(
            &self.sealer.header(ExchangeType::INFORMATIONAL, false, 0),
            &[],
            &padding(0),
            self.sealer.shape(),
        );
        let room = usize::from(size).checked_sub(headers + empty.ok()?.message.len())?;
        // One byte more may take a whole block more, never two.
        let room = room - room % self.sealer.shape().block_len.max(1);
        let exchange = ExchangeType::INFORMATIONAL;
        // A fragment would say nothing of the path.
        let mut one = |payloads: &[Payload]| {
            let message_id = self.window.next_request();
            let datagrams = self.sealer.seal(exchange, false, message_id, payloads, usize::MAX, cx.entropy);
            datagrams.ok()?.pop()
        };
        let datagram = one(&padding(room))?;
        let sent = u16::try_from(headers + datagram.len()).ok()?;
        // Where fragments are dropped, or a link below IP takes less than it says, no repetition of the probe arrives. An
        // empty request of the same ID does, and ends the exchange: nothing may wait for a probe for long.
        let empty = one(&[])?;
        self.window.sent(vec![datagram.clone()], policy, cx.now);
        self.window.or_smaller(empty);
        let probe = Transmit { path: self.path, payload: datagram, dont_fragment: true };
        cx.outbox.push(Output::Transmit(probe));
        Some(sent)
    }

    /// When an outstanding request is repeated and given up, for what changes that.
    pub(super) fn window_mut(&mut self) -> &mut Window {
        &mut self.window
    }

    /// Repeats the outstanding request if it is time. False: the peer is given up.
    pub(super) fn retransmit(&mut self, cx: &mut Context<'_>) -> bool {
        match self.window.due(cx.now) {
            Due::Nothing => true,
            Due::Retransmit(datagrams, smaller) => {
                cx.transmit(self.path, datagrams);
                cx.transmit(self.path, smaller);
                true
            }
            Due::Dead => false,
        }
    }

    /// Bytes of the longest message that goes out on this path as a whole.
    fn datagram_limit(&self, path: Path) -> usize {
        self.fragments.size.map_or(usize::MAX, |size| usize::from(size).saturating_sub(path.header_len()))
    }
}

#[cfg(test)]
impl Channel {
    /// As if so many messages had been exchanged.
    pub(super) fn skip_to(&mut self, message_id: u32) {
        self.window = Window::at(message_id, message_id);
    }

    pub(super) fn sealer_mut(&mut self) -> &mut Sealer {
        &mut self.sealer
    }
}

/// Bytes of the fragments that wait for others.
pub(super) fn reassembled_bytes(channel: &Channel) -> usize {
    channel.reassembly.iter().flatten().map(|reassembly| reassembly.bytes()).sum()
}

/// The plaintext of a message or fragment, with its padding.
fn decrypt(opening: &OpeningKey, message: &ParsedMessage<'_>, encrypted: Encrypted) -> Result<Vec<u8>, Discard> {
    let suite = opening.suite();
    let mut copy = message.bytes.to_vec();
    let parts = encrypted.split(&mut copy, suite.iv_len(), suite.icv_len()).ok_or(Discard::Forged)?;
    opening.open(parts.before, parts.iv, parts.body, &[], parts.icv).map_err(|_| Discard::Forged)?;
    Ok(parts.body.to_vec())
}

/// The keys of one end for its channel.
pub(super) struct IkeSaKeys {
    sealing: SealingKey,
    opening: OpeningKey,
}

impl IkeSaKeys {
    /// Splits the keys of an IKE SA into those of the channel and the rest.
    pub(super) fn of(
        keys: IkeKeys,
        initiator: bool,
    ) -> (Self, super::keys::ChildKeySource, super::keys::AuthenticationKeys) {
        let IkeKeys { child_key_source, authentication, initiator: from_initiator, responder: from_responder } = keys;
        let (ours, theirs) =
            if initiator { (from_initiator, from_responder) } else { (from_responder, from_initiator) };
        (Self { sealing: ours.0, opening: theirs.1 }, child_key_source, authentication)
    }
}
