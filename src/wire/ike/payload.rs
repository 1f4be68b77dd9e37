//! The payload chain (RFC 7296 sections 3.2 and 2.5): which payload is which, in what order, how often.

use super::auth::{self, Authentication};
use super::cert::{self, Certificate, CertificateRequest};
use super::codes::PayloadType;
use super::cp::{self, Configuration};
use super::cursor::{Cursor, TooLong, put_u16_length, set_u16_length};
use super::delete::{self, Delete};
use super::eap::{self, Eap};
use super::id::{self, Identification};
use super::ke::{self, KeyExchange};
use super::malformed::Malformed;
use super::nonce;
use super::notify::{self, Notify};
use super::sa::{self, Proposal};
use super::ts::{self, TrafficSelector};

/// Bytes of the generic payload header.
pub const PAYLOAD_HEADER_LEN: usize = 4;
/// Where the generic header keeps the payload's length, itself included.
const LENGTH_AT: usize = 2;
/// The bit that asks a receiver who does not know the payload's type to reject the message.
const CRITICAL: u8 = 0x80;

/// One payload, read.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Payload {
    /// SA: proposals in the order sent, of which an answer has one (RFC 7296 section 3.3).
    SecurityAssociation(Vec<Proposal>),
    /// KE: the sender's public value (RFC 7296 section 3.4).
    KeyExchange(KeyExchange),
    /// IDi: who the initiator says it is (RFC 7296 section 3.5).
    IdentificationInitiator(Identification),
    /// IDr: who the responder says it is, or whom the initiator wants (RFC 7296 section 3.5).
    IdentificationResponder(Identification),
    /// CERT: one certificate; the first one has the key that signs (RFC 7296 section 3.6).
    Certificate(Certificate),
    /// CERTREQ: which certificates the sender can verify (RFC 7296 section 3.7).
    CertificateRequest(CertificateRequest),
    /// AUTH: the proof of the sender's identity (RFC 7296 section 3.8).
    Authentication(Authentication),
    /// 16 to 256 bytes.
    Nonce(Vec<u8>),
    /// N: an error or a status (RFC 7296 section 3.10).
    Notify(Notify),
    /// D: SAs that the sender closes (RFC 7296 section 3.11).
    Delete(Delete),
    /// V: any bytes that mark an implementation (RFC 7296 section 3.12).
    VendorId(Vec<u8>),
    /// TSi: what the Child SA carries on the initiator's side (RFC 7296 section 3.13).
    TrafficSelectorsInitiator(Vec<TrafficSelector>),
    /// TSr: what the Child SA carries on the responder's side (RFC 7296 section 3.13).
    TrafficSelectorsResponder(Vec<TrafficSelector>),
    /// CP: internal addresses and other settings (RFC 7296 section 3.15).
    Configuration(Configuration),
    /// EAP: one EAP message (RFC 7296 section 3.16).
    Eap(Eap),
    /// A type that is not known and, when read, not critical: to be ignored (RFC 7296 section 2.5).
    Unknown {
        /// The type as the payload before it named it.
        payload_type: PayloadType,
        /// The C bit: a receiver that does not know the type rejects the message.
        critical: bool,
        /// The bytes after the generic payload header.
        body: Vec<u8>,
    },
}

impl Payload {
    /// The type by which the payload before it, or the header, names this one.
    pub fn payload_type(&self) -> PayloadType {
        match self {
            Self::SecurityAssociation(_) => PayloadType::SECURITY_ASSOCIATION,
            Self::KeyExchange(_) => PayloadType::KEY_EXCHANGE,
            Self::IdentificationInitiator(_) => PayloadType::IDENTIFICATION_INITIATOR,
            Self::IdentificationResponder(_) => PayloadType::IDENTIFICATION_RESPONDER,
            Self::Certificate(_) => PayloadType::CERTIFICATE,
            Self::CertificateRequest(_) => PayloadType::CERTIFICATE_REQUEST,
            Self::Authentication(_) => PayloadType::AUTHENTICATION,
            Self::Nonce(_) => PayloadType::NONCE,
            Self::Notify(_) => PayloadType::NOTIFY,
            Self::Delete(_) => PayloadType::DELETE,
            Self::VendorId(_) => PayloadType::VENDOR_ID,
            Self::TrafficSelectorsInitiator(_) => PayloadType::TRAFFIC_SELECTORS_INITIATOR,
            Self::TrafficSelectorsResponder(_) => PayloadType::TRAFFIC_SELECTORS_RESPONDER,
            Self::Configuration(_) => PayloadType::CONFIGURATION,
            Self::Eap(_) => PayloadType::EAP,
            Self::Unknown { payload_type, .. } => *payload_type,
        }
    }

    fn parse(raw: &RawPayload<'_>) -> Result<Self, Malformed> {
        let RawPayload { payload_type, critical, body } = *raw;
        Ok(match payload_type {
            PayloadType::SECURITY_ASSOCIATION => Self::SecurityAssociation(sa::parse(body)?),
            PayloadType::KEY_EXCHANGE => Self::KeyExchange(ke::parse(body)?),
            PayloadType::IDENTIFICATION_INITIATOR => Self::IdentificationInitiator(id::parse(payload_type, body)?),
            PayloadType::IDENTIFICATION_RESPONDER => Self::IdentificationResponder(id::parse(payload_type, body)?),
            PayloadType::CERTIFICATE => Self::Certificate(cert::parse_certificate(body)?),
            PayloadType::CERTIFICATE_REQUEST => Self::CertificateRequest(cert::parse_request(body)?),
            PayloadType::AUTHENTICATION => Self::Authentication(auth::parse(body)?),
            PayloadType::NONCE => Self::Nonce(nonce::parse(body)?),
            PayloadType::NOTIFY => Self::Notify(notify::parse(body)?),
            PayloadType::DELETE => Self::Delete(delete::parse(body)?),
            PayloadType::VENDOR_ID => Self::VendorId(body.to_vec()),
            PayloadType::TRAFFIC_SELECTORS_INITIATOR => Self::TrafficSelectorsInitiator(ts::parse(payload_type, body)?),
            PayloadType::TRAFFIC_SELECTORS_RESPONDER => Self::TrafficSelectorsResponder(ts::parse(payload_type, body)?),
            PayloadType::CONFIGURATION => Self::Configuration(cp::parse(body)?),
            PayloadType::EAP => Self::Eap(eap::parse(body)?),
            _ if critical => return Err(Malformed::UnsupportedCriticalPayload(payload_type)),
            _ => Self::Unknown { payload_type, critical, body: body.to_vec() },
        })
    }

    fn encode_body(&self, out: &mut Vec<u8>) -> Result<(), TooLong> {
        match self {
            Self::SecurityAssociation(proposals) => sa::encode(proposals, out)?,
            Self::KeyExchange(value) => ke::encode(value, out),
            Self::IdentificationInitiator(value) | Self::IdentificationResponder(value) => id::encode(value, out),
            Self::Certificate(value) => cert::encode_certificate(value, out),
            Self::CertificateRequest(value) => cert::encode_request(value, out),
            Self::Authentication(value) => auth::encode(value, out),
            Self::Notify(value) => notify::encode(value, out)?,
            Self::Delete(value) => delete::encode(value, out)?,
            Self::TrafficSelectorsInitiator(selectors) | Self::TrafficSelectorsResponder(selectors) => {
                ts::encode(selectors, out)?;
            }
            Self::Configuration(value) => cp::encode(value, out)?,
            Self::Eap(value) => eap::encode(value, out)?,
            Self::Nonce(body) | Self::VendorId(body) | Self::Unknown { body, .. } => out.extend(body),
        }
        Ok(())
    }
}

/// One link of a payload chain, unread.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct RawPayload<'a> {
    /// The type as the payload before it, or the header, names it.
    pub payload_type: PayloadType,
    /// The C bit: a receiver that does not know the type rejects the message (RFC 7296 section 2.5).
    pub critical: bool,
    /// The bytes after the generic payload header.
    pub body: &'a [u8],
}

/// Walks a payload chain; stops after an error, and before an Encrypted payload, whose chain goes on inside it.
#[derive(Clone)]
pub(super) struct Chain<'a> {
    next: PayloadType,
    rest: Cursor<'a>,
}

impl<'a> Chain<'a> {
    pub fn new(first: PayloadType, bytes: &'a [u8]) -> Self {
        Self { next: first, rest: Cursor::new(bytes) }
    }

    /// The type of the payload that was not walked into, or `NONE`, and the bytes from its generic header on.
    pub fn remainder(&self) -> (PayloadType, &'a [u8]) {
        (self.next, self.rest.rest())
    }

    fn link(&mut self) -> Result<RawPayload<'a>, Malformed> {
        let payload_type = self.next;
        let mut read = || {
            let [next, flags] = self.rest.array()?;
            let length = usize::from(self.rest.u16()?).checked_sub(PAYLOAD_HEADER_LEN)?;
            self.next = PayloadType(next);
            Some(RawPayload { payload_type, critical: flags & CRITICAL != 0, body: self.rest.take(length)? })
        };
        read().ok_or(Malformed::Payload { payload: payload_type, reason: "its length is not that of its bytes" })
    }
}

impl<'a> Iterator for Chain<'a> {
    type Item = Result<RawPayload<'a>, Malformed>;

    fn next(&mut self) -> Option<Self::Item> {
        if let PayloadType::NONE | PayloadType::ENCRYPTED | PayloadType::ENCRYPTED_FRAGMENT = self.next {
            return None;
        }
        let link = self.link();
        if link.is_err() {
            self.next = PayloadType::NONE;
        }
        Some(link)
    }
}

/// Reads the payloads of a chain, and leaves the chain where it ends.
///
/// How many there are of a type is bounded by the bytes of the datagram alone: every payload costs its sender its header,
/// and reading one costs no more than its bytes, so that many short ones are no better an attack than a few long ones.
pub(super) fn parse_chain(chain: &mut Chain<'_>) -> Result<Vec<Payload>, Malformed> {
    chain.map(|raw| Payload::parse(&raw?)).collect()
}

/// Reads the payloads that an Encrypted payload held, once it is opened and its padding removed.
///
/// # Errors
/// [`Malformed`] says why; an Encrypted payload inside another is an error too.
pub fn parse_payloads(first: PayloadType, bytes: &[u8]) -> Result<Vec<Payload>, Malformed> {
    let mut chain = Chain::new(first, bytes);
    let payloads = parse_chain(&mut chain)?;
    match chain.remainder() {
        (PayloadType::NONE, []) => Ok(payloads),
        (PayloadType::NONE, _) => Err(Malformed::TrailingBytes),
        (payload, _) => Err(Malformed::Payload { payload, reason: "it stands in another Encrypted payload" }),
    }
}

/// The links of a chain as they were sent, for those who need the very bytes: AUTH covers the identification payload's
/// body with its reserved bytes (RFC 7296 section 2.15).
///
/// # Errors
/// The first broken link. Nothing but lengths is checked.
pub fn split_payloads(first: PayloadType, bytes: &[u8]) -> Result<Vec<RawPayload<'_>>, Malformed> {
    Chain::new(first, bytes).collect()
}

/// Appends a chain of payloads; `after` is the type that the last one names as its successor. Gives the type of the
/// first, which whatever precedes the chain must name.
pub(super) fn encode_chain(
    payloads: &[Payload],
    after: PayloadType,
    out: &mut Vec<u8>,
) -> Result<PayloadType, TooLong> {
    let types = payloads.iter().map(Payload::payload_type).chain([after]);
    for (payload, next) in payloads.iter().zip(types.clone().skip(1)) {
        let start = out.len();
        let critical = matches!(payload, Payload::Unknown { critical: true, .. });
        out.extend([next.0, if critical { CRITICAL } else { 0 }, 0, 0]);
        payload.encode_body(out)?;
        set_u16_length(out, start, LENGTH_AT, "bytes of a payload")?;
    }
    Ok(types.clone().next().unwrap_or(after))
}

/// The bytes of a chain of payloads and the type of its first; `NONE` and nothing for no payloads.
///
/// # Errors
/// [`TooLong`] when a value does not fit its length field.
pub fn encode_payloads(payloads: &[Payload]) -> Result<(PayloadType, Vec<u8>), TooLong> {
    let mut out = Vec::new();
    let first = encode_chain(payloads, PayloadType::NONE, &mut out)?;
    Ok((first, out))
}

/// Appends the generic header of an Encrypted payload whose body will have `body_len` bytes.
pub(super) fn encode_encrypted_header(first: PayloadType, body_len: usize, out: &mut Vec<u8>) -> Result<(), TooLong> {
    out.extend([first.0, 0]);
    put_u16_length(out, PAYLOAD_HEADER_LEN + body_len, "bytes of an encrypted payload")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::wire::ike::{CertificateEncoding, HEADER_LEN, MAX_MESSAGE_LEN, NotifyType};

    #[test]
    fn unknown_payloads_survive_unless_they_are_critical() {
        let unknown = Payload::Unknown { payload_type: PayloadType(200), critical: false, body: vec![1, 2] };
        let vendor = Payload::VendorId(b"v".to_vec());
        let (first, bytes) = encode_payloads(&[unknown.clone(), vendor.clone()]).unwrap();
        assert_eq!((first, bytes.as_slice()), (PayloadType(200), &[43, 0, 0, 6, 1, 2, 0, 0, 0, 5, b'v'][..]));
        assert_eq!(parse_payloads(first, &bytes), Ok(vec![unknown, vendor]));

        let critical = Payload::Unknown { payload_type: PayloadType(1), critical: true, body: Vec::new() };
        let (first, bytes) = encode_payloads(&[critical]).unwrap();
        assert_eq!(parse_payloads(first, &bytes), Err(Malformed::UnsupportedCriticalPayload(PayloadType(1))));
    }

    #[test]
    fn the_critical_bit_of_a_known_payload_is_ignored() {
        assert_eq!(parse_payloads(PayloadType::VENDOR_ID, &[0, 0x80, 0, 4]), Ok(vec![Payload::VendorId(Vec::new())]));
    }

    #[test]
    fn broken_chains_are_refused() {
        let chains: &[(PayloadType, &[u8])] = &[
            (PayloadType::NONE, &[0]),
            (PayloadType::VENDOR_ID, &[]),
            (PayloadType::VENDOR_ID, &[0, 0, 0]),
            (PayloadType::VENDOR_ID, &[0, 0, 0, 3]),
            (PayloadType::VENDOR_ID, &[0, 0, 0, 5]),
            (PayloadType::VENDOR_ID, &[0, 0, 0, 4, 0]),
            (PayloadType::VENDOR_ID, &[43, 0, 0, 4]),
            (PayloadType::VENDOR_ID, &[46, 0, 0, 4]),
            (PayloadType::ENCRYPTED, &[0, 0, 0, 4]),
        ];
        for (first, bytes) in chains {
            assert!(parse_payloads(*first, bytes).is_err(), "{first} {bytes:?}");
        }
        assert_eq!(parse_payloads(PayloadType::NONE, &[]), Ok(Vec::new()));
    }

    /// A multihomed peer tells each of its addresses in a notification (RFC 4555 section 3.4), one with many vendors'
    /// extensions names them all: no count is too high, only the datagram ends.
    #[test]
    fn payloads_are_bounded_by_their_bytes_alone() {
        let datagram = MAX_MESSAGE_LEN - HEADER_LEN;
        let shortest = [
            Payload::Notify(Notify::new(NotifyType::COOKIE, Vec::new())),
            Payload::Delete(Delete::ike()),
            Payload::VendorId(Vec::new()),
            Payload::Certificate(Certificate { encoding: CertificateEncoding(4), data: Vec::new() }),
            Payload::CertificateRequest(CertificateRequest {
                encoding: CertificateEncoding(4),
                authorities: Vec::new(),
            }),
            Payload::Unknown { payload_type: PayloadType(99), critical: false, body: Vec::new() },
        ];
        for payload in shortest {
            let length = encode_payloads(std::slice::from_ref(&payload)).unwrap().1.len();
            for count in [21, 129, datagram / length] {
                let (first, bytes) = encode_payloads(&vec![payload.clone(); count]).unwrap();
                let read = parse_payloads(first, &bytes).map(|payloads| payloads.len());
                assert_eq!(read, Ok(count), "{}", payload.payload_type());
                assert_eq!(split_payloads(first, &bytes).map(|links| links.len()), Ok(count));
            }
        }
    }

    #[test]
    fn links_come_with_their_very_bytes() {
        let bytes = [0, 0, 0, 12, 1, 0xaa, 0xbb, 0xcc, 192, 0, 2, 1];
        let raw = split_payloads(PayloadType::IDENTIFICATION_INITIATOR, &bytes).unwrap();
        assert_eq!(raw[0].body, &bytes[4..]);
    }

    #[test]
    fn what_does_not_fit_is_not_written() {
        let too_long = TooLong { what: "bytes of a payload", limit: 65_535 };
        assert_eq!(encode_payloads(&[Payload::VendorId(vec![0; 65_532])]), Err(too_long));
        assert!(encode_payloads(&[Payload::VendorId(vec![0; 65_531])]).is_ok());
    }
}
