//! What can be wrong with the response to an IKE_SA_INIT request of ours (RFC 7296 1.2, 2.6, 2.21.1).

use std::fmt;

use crate::crypto::KeyExchangeError;
use crate::ike::config::Connection;
use crate::ike::error::Discard;
use crate::ike::negotiate::{self, ChoiceError, describe};
use crate::wire::ike::{KeyExchangeId, Malformed, Notify, NotifyType, PayloadType, Proposal};

/// Why a response to our IKE_SA_INIT request is not the one that we wait for. Nobody has authenticated it, so it ends
/// nothing (RFC 7296 2.21.1): it is noted, and told when the attempt ends without a better one.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum InitError {
    /// The peer accepts none of our proposals, which are these, or has no connection for us.
    NoProposalChosen(Vec<Proposal>),
    /// The peer does not know a payload type that it takes for critical, if it says which (RFC 7296 2.5).
    UnsupportedCriticalPayload(Option<PayloadType>),
    /// The peer reports another error.
    Refused(NotifyType),
    /// The response cannot be read.
    Malformed(Malformed),
    /// The response has neither what was asked for nor an error.
    Missing(PayloadType),
    /// The peer has no SPI for its end of the IKE SA.
    NoSpi,
    /// The peer chose what was not offered.
    Choice(ChoiceError),
    /// The peer's public value is of another method than ours.
    OtherGroup {
        /// The method of the value.
        answered: KeyExchangeId,
        /// The method that the peer was sent.
        sent: KeyExchangeId,
    },
    /// The peer's public value cannot be one of the method.
    KeyExchange(KeyExchangeError),
    /// The peer wants another method, but says none (RFC 7296 1.3).
    NoGroup,
    /// The peer wants a method that we do not offer.
    GroupNotOffered {
        /// The method that the peer wants.
        wanted: KeyExchangeId,
        /// The methods that we offer.
        offered: Vec<KeyExchangeId>,
    },
    /// The peer wants the method that it was sent.
    SameGroup(KeyExchangeId),
    /// A cookie is not of 1 to 64 bytes (RFC 7296 2.6).
    Cookie(usize),
    /// The peer asked so many times to begin again, with a cookie or another method, and asks once more.
    Retries(u32),
}

impl InitError {
    /// What an error notification of the peer means, but for one that asks for another key exchange method.
    pub(in crate::ike) fn refused(notify: &Notify, connection: &Connection) -> Self {
        match notify.kind {
            NotifyType::NO_PROPOSAL_CHOSEN => {
                Self::NoProposalChosen(negotiate::offer_ike(&connection.ike_proposals, &[]))
            }
            NotifyType::UNSUPPORTED_CRITICAL_PAYLOAD => {
                Self::UnsupportedCriticalPayload(notify.data.first().copied().map(PayloadType))
            }
            kind => Self::Refused(kind),
        }
    }

    /// What the response counts as.
    pub(in crate::ike) fn discard(&self) -> Discard {
        match self {
            Self::NoProposalChosen(_) | Self::UnsupportedCriticalPayload(_) | Self::Refused(_) => {
                Discard::UnauthenticatedError
            }
            Self::Malformed(malformed) => Discard::from(*malformed),
            Self::NoGroup | Self::Cookie(_) => Discard::Malformed,
            Self::Missing(_) => Discard::Grammar,
            Self::Choice(_) => Discard::NoProposal,
            Self::NoSpi | Self::OtherGroup { .. } | Self::KeyExchange(_) => Discard::BadKeyExchange,
            Self::GroupNotOffered { .. } | Self::SameGroup(_) => Discard::WrongGroup,
            Self::Retries(_) => Discard::TooManyRetries,
        }
    }
}

impl fmt::Display for InitError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NoProposalChosen(ours) => write!(
                f,
                "the peer answers NO_PROPOSAL_CHOSEN: it has no connection for our address or accepts none of our IKE \
                 proposals, which are {}",
                describe(ours)
            ),
            Self::UnsupportedCriticalPayload(Some(kind)) => write!(
                f,
                "the peer answers UNSUPPORTED_CRITICAL_PAYLOAD: payload type {} is unknown to it, and critical",
                kind.0
            ),
            Self::UnsupportedCriticalPayload(None) => f.write_str("the peer answers UNSUPPORTED_CRITICAL_PAYLOAD"),
            Self::Refused(kind) => write!(f, "the peer answers {kind}"),
            Self::Malformed(malformed) => write!(f, "the peer's IKE_SA_INIT response cannot be read: {malformed}"),
            Self::Missing(payload) => write!(f, "the peer's IKE_SA_INIT response lacks its {payload} payload"),
            Self::NoSpi => f.write_str("the peer's IKE_SA_INIT response has no SPI of the peer"),
            Self::Choice(error) => write!(f, "the peer's IKE_SA_INIT response is not acceptable: {error}"),
            Self::OtherGroup { answered, sent } => write!(
                f,
                "the peer answers with a public value of the key exchange method {answered}, but was sent one of {sent}"
            ),
            Self::KeyExchange(error) => write!(f, "key exchange failed: {error}"),
            Self::NoGroup => f.write_str("the peer answers INVALID_KE_PAYLOAD, but names no method that it wants"),
            Self::GroupNotOffered { wanted, offered } => write!(
                f,
                "the peer wants the key exchange method {wanted}, which we do not offer; ours are {}",
                offered.iter().map(ToString::to_string).collect::<Vec<_>>().join(" ")
            ),
            Self::SameGroup(wanted) => {
                write!(f, "the peer answers INVALID_KE_PAYLOAD, but wants {wanted}, which it was sent")
            }
            Self::Cookie(length) => write!(f, "the peer wants a cookie of {length} bytes back, not of 1 to 64"),
            Self::Retries(times) => {
                write!(f, "the peer asked {times} times to begin again, with a cookie or another key exchange method")
            }
        }
    }
}
