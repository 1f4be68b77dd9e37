//! Why a datagram was dropped, and why a message of ours is not sent.

use std::fmt;

use crate::wire::ike::{ExchangeType, Malformed, TooLong};

macro_rules! discards {
    ($($(#[$doc:meta])* $reason:ident = $name:literal;)*) => {
        /// Why a datagram was dropped without an effect on any SA. Each reason has a counter.
        #[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
        pub enum Discard { $($(#[$doc])* $reason,)* }

        impl Discard {
            /// Every reason, in the order of their counters.
            pub const ALL: &'static [Self] = &[$(Self::$reason),*];

            /// The name of the counter.
            pub fn name(self) -> &'static str {
                match self { $(Self::$reason => $name,)* }
            }
        }
    };
}

discards! {
    /// Not an IKE message, or one that breaks a rule of its format.
    Malformed = "ike_malformed";
    /// A critical payload of a type that is not known; answered with UNSUPPORTED_CRITICAL_PAYLOAD in a first request.
    CriticalPayload = "ike_critical_payload";
    /// Major version other than 2; answered with INVALID_MAJOR_VERSION.
    Version = "ike_version";
    /// A NAT keepalive, which has no meaning for IKE.
    Keepalive = "ike_keepalive";
    /// Payloads that the exchange doesn't allow.
    Grammar = "ike_grammar";
    /// No IKE SA with this SPI.
    UnknownSpi = "ike_unknown_spi";
    /// Not from the peer of the IKE SA, by its direction flags or the other SPI.
    WrongDirection = "ike_wrong_direction";
    /// The integrity check failed: forged or damaged.
    Forged = "ike_forged";
    /// Not encrypted where it must be.
    Cleartext = "ike_cleartext";
    /// A fragment of a message that is not needed, or would make the message larger than is taken (RFC 7383 2.6).
    Fragment = "ike_fragment";
    /// A message ID outside the window (RFC 7296 2.3).
    MessageId = "ike_message_id";
    /// The same message ID as an earlier request, with other contents.
    NotIdentical = "ike_not_identical";
    /// A response that nothing waits for.
    UnexpectedResponse = "ike_unexpected_response";
    /// An exchange that the state of the IKE SA does not allow.
    UnexpectedExchange = "ike_unexpected_exchange";
    /// No connection is configured for these addresses.
    NoConnection = "ike_no_connection";
    /// Answered with a cookie, because too many IKE SAs are half-open.
    CookieRequired = "ike_cookie_required";
    /// The limit of half-open IKE SAs is reached.
    HalfOpenLimit = "ike_half_open_limit";
    /// The source has as many half-open IKE SAs as one may have.
    HalfOpenSourceLimit = "ike_half_open_source_limit";
    /// What its sender may cost in key exchanges is used up.
    KeyExchangeLimit = "ike_key_exchange_limit";
    /// What may be answered in the clear to its sender is used up, so that it got no answer.
    AnswerLimit = "ike_answer_limit";
    /// Longer than what is read of somebody who has not authenticated itself.
    TooLong = "ike_too_long";
    /// No proposal of the peer can be accepted.
    NoProposal = "ike_no_proposal";
    /// Answered with INVALID_KE_PAYLOAD: the key exchange method isn't the one that was chosen.
    WrongGroup = "ike_wrong_group";
    /// Our answer would not fit a message.
    Unsendable = "ike_unsendable";
    /// A public key or a chosen proposal that cannot be right.
    BadKeyExchange = "ike_bad_key_exchange";
    /// An error that the peer reports and nobody has authenticated; noted, nothing more.
    UnauthenticatedError = "ike_unauthenticated_error";
    /// More cookies or other groups than a sane peer asks for.
    TooManyRetries = "ike_too_many_retries";
    /// The endpoint is shutting down.
    Closing = "ike_closing";
}

impl fmt::Display for Discard {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

impl From<Malformed> for Discard {
    fn from(malformed: Malformed) -> Self {
        match malformed {
            Malformed::MajorVersion(_) => Self::Version,
            Malformed::UnsupportedCriticalPayload(_) => Self::CriticalPayload,
            _ => Self::Malformed,
        }
    }
}

/// Counters, one for each reason to discard.
#[derive(Debug, Clone, Default)]
pub struct DiscardCounters([u64; Discard::ALL.len()]);

impl DiscardCounters {
    pub(super) fn count(&mut self, reason: Discard) {
        if let Some(counter) = self.0.get_mut(reason as usize) {
            *counter += 1;
        }
    }

    /// Every reason with its count.
    pub fn iter(&self) -> impl Iterator<Item = (Discard, u64)> + '_ {
        Discard::ALL.iter().copied().zip(self.0.iter().copied())
    }

    /// The count of one reason.
    pub fn of(&self, reason: Discard) -> u64 {
        self.0.get(reason as usize).copied().unwrap_or(0)
    }
}

/// A message of ours does not fit the wire. Nothing of it is sent: a part of it would say something else.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error(
    "our {exchange} {} would have {too_long}; shorten the lists of proposals and subnets, or the identity",
    if *.response { "response" } else { "request" }
)]
pub struct Unsendable {
    /// The exchange that it belongs to.
    pub exchange: ExchangeType,
    /// Whether it answers the peer.
    pub response: bool,
    /// What there is too much of.
    pub too_long: TooLong,
}
