//! Payloads of a message that was read, and lookups in them.

use crate::crypto::KeyExchangeAlgorithm;
use crate::wire::ike::grammar::{self, Direction, GrammarError};
use crate::wire::ike::{
    Authentication, Delete, Header, Identification, KeyExchange, KeyExchangeId, Malformed, Notify, NotifyType, Payload,
    PayloadType, Proposal, TrafficSelector, split_payloads,
};

/// The payloads of one message.
#[derive(Debug, Default)]
pub(super) struct Payloads(Vec<Payload>);

/// Finds the first payload of one kind.
macro_rules! first {
    ($($name:ident: $variant:ident -> $type:ty;)*) => {
        $(pub(super) fn $name(&self) -> Option<&$type> {
            self.0.iter().find_map(|payload| match payload {
                Payload::$variant(value) => Some(value),
                _ => None,
            })
        })*
    };
}

impl Payloads {
    pub(super) const fn empty() -> Self {
        Self(Vec::new())
    }

    pub(super) fn new(payloads: Vec<Payload>) -> Self {
        Self(payloads)
    }

    /// Payloads of a protected message that its exchange knows, each as often as it may stand there.
    pub(super) fn of_exchange(header: &Header, payloads: Vec<Payload>) -> Result<Self, Malformed> {
        let direction = if header.flags.response { Direction::Response } else { Direction::Request };
        match grammar::check(header.exchange_type, direction, true, &payloads) {
            Ok(()) => Ok(Self::new(payloads)),
            Err(GrammarError::Missing(payload)) => Err(Malformed::Payload { payload, reason: "it is missing" }),
            Err(GrammarError::TooMany { payload, limit }) => Err(Malformed::TooMany { payload, limit }),
            Err(GrammarError::Incomplete(payload, _)) => Err(Malformed::Payload { payload, reason: "it stands alone" }),
            Err(GrammarError::UnknownExchange(_) | GrammarError::NotEncrypted(_)) => {
                Err(Malformed::Payload { payload: PayloadType::ENCRYPTED, reason: "an unknown exchange" })
            }
        }
    }

    first! {
        security_association: SecurityAssociation -> Vec<Proposal>;
        key_exchange: KeyExchange -> KeyExchange;
        nonce: Nonce -> Vec<u8>;
        id_initiator: IdentificationInitiator -> Identification;
        id_responder: IdentificationResponder -> Identification;
        authentication: Authentication -> Authentication;
        ts_initiator: TrafficSelectorsInitiator -> Vec<TrafficSelector>;
        ts_responder: TrafficSelectorsResponder -> Vec<TrafficSelector>;
    }

    /// Every notification of one type.
    pub(super) fn notifies(&self, kind: NotifyType) -> impl Iterator<Item = &Notify> {
        self.all_notifies().filter(move |notify| notify.kind == kind)
    }

    pub(super) fn notify(&self, kind: NotifyType) -> Option<&Notify> {
        self.notifies(kind).next()
    }

    /// The first notification that reports an error.
    pub(super) fn error(&self) -> Option<&Notify> {
        self.all_notifies().find(|notify| notify.kind.is_error())
    }

    pub(super) fn deletes(&self) -> impl Iterator<Item = &Delete> {
        self.0.iter().filter_map(|payload| match payload {
            Payload::Delete(delete) => Some(delete),
            _ => None,
        })
    }

    fn all_notifies(&self) -> impl Iterator<Item = &Notify> {
        self.0.iter().filter_map(|payload| match payload {
            Payload::Notify(notify) => Some(notify),
            _ => None,
        })
    }
}

/// The key exchange payload with our public value.
pub(super) fn key_exchange(method: &KeyExchangeAlgorithm, public: &[u8]) -> Payload {
    Payload::KeyExchange(KeyExchange { group: KeyExchangeId(method.transform_id), data: public.to_vec() })
}

/// The method that an INVALID_KE_PAYLOAD notification asks for.
pub(super) fn wanted_group(notify: &Notify) -> Option<u16> {
    <[u8; 2]>::try_from(notify.data.as_slice()).ok().map(u16::from_be_bytes)
}

/// The body of an identification payload as it stands in an opened message without its padding, reserved bytes included:
/// AUTH is computed over it (RFC 7296 2.15).
pub(super) fn id_body(first: PayloadType, plaintext: &[u8], kind: PayloadType) -> Result<Option<Vec<u8>>, Malformed> {
    let raw = split_payloads(first, plaintext)?;
    Ok(raw.iter().find(|raw| raw.payload_type == kind).map(|raw| raw.body.to_vec()))
}
