//! What an exchange of ours leaves to the code that joins the parts of an IKE SA.

use crate::ike::config::Retransmission;
use crate::ike::sa::{Phase, Sa};
use crate::wire::ike::{ExchangeType, Payload};

/// What comes after a step of an exchange `E`.
pub(in crate::ike) enum Next<E> {
    /// Nothing: the exchange is over, or there is no need for it.
    Done,
    /// This request is sent.
    Send(Request<E>),
    /// Its request has been sent already.
    Sent(E),
    /// The IKE SA is rekeyed: others take its place.
    Succeeded(Box<Succession>),
}

/// A request of ours.
pub(in crate::ike) struct Request<E> {
    pub(in crate::ike) kind: ExchangeType,
    pub(in crate::ike) payloads: Vec<Payload>,
    /// Its back-off, where it isn't the usual one.
    pub(in crate::ike) policy: Option<Retransmission>,
    /// Goes on with the response.
    pub(in crate::ike) exchange: E,
}

/// What became of a rekey of an IKE SA.
pub(in crate::ike) struct Succession {
    /// Takes the Child SAs, and what is to be done about them.
    pub(in crate::ike) heir: Option<Sa>,
    /// Were made as well, and nobody needs them: the phase of each says which end deletes it.
    pub(in crate::ike) superfluous: Vec<Sa>,
    /// Whether the replaced IKE SA serves from now on, and which end deletes it.
    pub(in crate::ike) replaced: Phase,
}

impl<E> Next<E> {
    /// The usual request of an exchange.
    pub(in crate::ike) fn send(kind: ExchangeType, payloads: Vec<Payload>, exchange: E) -> Self {
        Self::Send(Request { kind, payloads, policy: None, exchange })
    }

    /// The same for one of many exchanges.
    pub(in crate::ike) fn map<F>(self, of: impl FnOnce(E) -> F) -> Next<F> {
        match self {
            Self::Done => Next::Done,
            Self::Send(Request { kind, payloads, policy, exchange }) => {
                Next::Send(Request { kind, payloads, policy, exchange: of(exchange) })
            }
            Self::Sent(exchange) => Next::Sent(of(exchange)),
            Self::Succeeded(succession) => Next::Succeeded(succession),
        }
    }
}
