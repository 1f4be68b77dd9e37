//! IKEv2 messages and payloads (RFC 7296 section 3).
//!
//! [`parse_message`] reads a datagram: header, payloads in the clear, and where the Encrypted payload lies.
//! [`Encrypted::split`] hands out what a cipher needs; once it is opened, [`strip_padding`] and [`parse_payloads`]
//! read what was inside. [`encode_message`] and [`encode_encrypted`] go the other way. No input makes any of it
//! panic; what is read takes memory in proportion to its bytes, and can be written and read again.

mod auth;
mod cert;
mod codes;
mod cp;
mod cursor;
mod delete;
mod eap;
mod fragment;
mod fragmented;
pub mod grammar;
mod header;
mod id;
mod ke;
mod malformed;
mod message;
mod nonce;
mod notify;
mod payload;
mod sa;
mod ts;

pub use auth::Authentication;
pub use cert::{Certificate, CertificateRequest};
pub use codes::{
    AuthMethod, CertificateEncoding, ConfigurationType, EncryptionId, ExchangeType, IdType, IntegrityId, KeyExchangeId,
    NotifyType, PayloadType, PrfId, ProtocolId, SequenceNumbersId, TransformAttributeType, TransformType, TsType,
};
pub use cp::{Configuration, ConfigurationAttribute};
pub use cursor::TooLong;
pub use delete::Delete;
pub use eap::Eap;
pub use fragment::{FRAGMENT_HEADER_LEN, Fragment};
pub use fragmented::encode_fragments;
pub use header::{Flags, HEADER_LEN, Header, IkeSpi, MAX_MESSAGE_LEN};
pub use id::{Identification, InvalidIdentification};
pub use ke::KeyExchange;
pub use malformed::Malformed;
pub use message::{
    Encrypted, EncryptedParts, EncryptedShape, ParsedMessage, Sealable, SealableParts, encode_encrypted,
    encode_message, parse_message, strip_padding,
};
pub use nonce::NONCE_LEN;
pub use notify::Notify;
pub use payload::{PAYLOAD_HEADER_LEN, Payload, RawPayload, encode_payloads, parse_payloads, split_payloads};
pub use sa::{Proposal, Transform};
pub use ts::{ANY_PROTOCOL, MAX_SELECTORS, TrafficSelector};
