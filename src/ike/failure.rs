//! Why an attempt becomes no IKE SA or no Child SA: who did what it should not have done, as a value. The English of each
//! stands in its `Display`.

use std::fmt;
use std::net::SocketAddr;
use std::sync::Arc;

use super::config::{Child, Connection};
use super::error::Discard;
use super::negotiate::{self, ChoiceError, describe, describe_selectors};
use crate::crypto::KeyExchangeError;
use crate::wire::ike::{
    AuthMethod, Identification, KeyExchangeId, Malformed, Notify, NotifyType, PayloadType, Proposal, TrafficSelector,
};

/// Why a response to our IKE_SA_INIT request is not the one that we wait for. Nobody has authenticated it, so it ends
/// nothing (RFC 7296 2.21.1): it is noted, and told when the attempt ends without a better one.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum InitError {
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
    OtherGroup { answered: KeyExchangeId, sent: KeyExchangeId },
    /// The peer's public value cannot be one of the method.
    KeyExchange(KeyExchangeError),
    /// The peer wants another method, but says none (RFC 7296 1.3).
    NoGroup,
    /// The peer wants a method that we do not offer.
    GroupNotOffered { wanted: KeyExchangeId, offered: Vec<KeyExchangeId> },
    /// The peer wants the method that it was sent.
    SameGroup(KeyExchangeId),
    /// A cookie is not of 1 to 64 bytes (RFC 7296 2.6).
    Cookie(usize),
    /// The peer asked so many times to begin again, with a cookie or another method, and asks once more.
    Retries(u32),
}

impl InitError {
    /// What an error notification of the peer means, but for one that asks for another key exchange method.
    pub(super) fn refused(notify: &Notify, connection: &Connection) -> Self {
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
    pub(super) fn discard(&self) -> Discard {
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

/// Why a peer did not prove to be the one of a connection, for a person; the peer is told nothing but that it did not.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum AuthenticationError {
    /// No connection expects who the peer says that it is.
    UnknownIdentity { claimed: Identification, expected: Vec<String> },
    /// The peer does not know the pre-shared key of the connection.
    WrongKey { connection: Arc<str>, claimed: Identification },
    /// The peer proves its identity in another way than by a pre-shared key, so that nothing is said of the key. The
    /// connection is the one that it means, if any expects it.
    OtherMethod { connection: Option<Arc<str>>, claimed: Identification, method: AuthMethod },
    /// The peer proves nothing.
    NoAuth,
}

impl AuthenticationError {
    /// The connection that the peer meant, if that is clear.
    pub(super) fn connection(&self) -> Option<Arc<str>> {
        match self {
            Self::WrongKey { connection, .. } => Some(connection.clone()),
            Self::OtherMethod { connection, .. } => connection.clone(),
            Self::UnknownIdentity { .. } | Self::NoAuth => None,
        }
    }
}

impl fmt::Display for AuthenticationError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::UnknownIdentity { claimed, expected } if expected.is_empty() => {
                write!(f, "the peer calls itself {claimed}; no connection for its address expects that")
            }
            Self::UnknownIdentity { claimed, expected } => write!(
                f,
                "the peer calls itself {claimed}, but {} is expected; compare its local ID with our peer ID",
                expected.join(" or ")
            ),
            Self::WrongKey { connection, claimed } => write!(
                f,
                "the pre-shared key of {claimed} does not match that of connection {connection}; compare them on both sides"
            ),
            Self::OtherMethod { claimed, method, .. } => {
                let number = if method.name().is_none() { "method " } else { "" };
                write!(
                    f,
                    "{claimed} authenticates by {number}{method}, not by a pre-shared key; configure it to use the key"
                )
            }
            Self::NoAuth => f.write_str("the peer sent no AUTH payload (EAP is not supported)"),
        }
    }
}

/// Why the response to our IKE_AUTH request is not that of the peer that we wanted. But for the first, it is protected; its
/// sender has not proven who it is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum AuthError {
    /// None came that is protected; perhaps one that is not, with an error.
    NoAnswer { peer: SocketAddr, unprotected: Option<NotifyType> },
    /// It cannot be read.
    Malformed(Malformed),
    /// It has neither identity and proof nor an error.
    Incomplete,
    /// The peer takes no request without a Child SA, and the connection makes no other.
    ChildlessUnsupported,
    /// The peer does not believe that we are who we say, which is this.
    NotBelieved(Identification),
    /// The peer reports another error.
    Refused(NotifyType),
    /// The peer did not prove who it is.
    NotProven(AuthenticationError),
}

impl AuthError {
    /// What an error notification of the peer means.
    pub(super) fn refused(kind: NotifyType, connection: &Connection) -> Self {
        match kind {
            NotifyType::AUTHENTICATION_FAILED => Self::NotBelieved(connection.local_id.clone()),
            kind => Self::Refused(kind),
        }
    }

    /// Whether the peer may believe that there is an IKE SA now, and is to be told that there is none.
    pub(super) fn leaves_ike_sa(&self) -> bool {
        !matches!(self, Self::NoAnswer { .. } | Self::ChildlessUnsupported | Self::NotBelieved(_) | Self::Refused(_))
    }
}

impl fmt::Display for AuthError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NoAnswer { peer, unprotected: None } => write!(f, "no answer to IKE_AUTH from {peer}"),
            Self::NoAnswer { peer, unprotected: Some(kind) } => {
                write!(f, "no answer to IKE_AUTH from {peer} but an unprotected {kind}, which anybody could have sent")
            }
            Self::Malformed(malformed) => write!(f, "the IKE_AUTH response is malformed: {malformed}"),
            Self::Incomplete => f.write_str("the IKE_AUTH response lacks IDr or AUTH"),
            Self::ChildlessUnsupported => f.write_str(
                "the peer does not support IKE SAs without a Child SA (RFC 6023), and childless = \"force\" makes no other",
            ),
            Self::NotBelieved(local_id) => write!(
                f,
                "the peer answers AUTHENTICATION_FAILED: the pre-shared key differs, the peer does not know our identity \
                 {local_id}, or it wants something else than a pre-shared key of us; compare each with the peer's \
                 configuration"
            ),
            Self::Refused(kind) => write!(f, "the peer answers {kind} to IKE_AUTH"),
            Self::NotProven(error) => error.fmt(f),
        }
    }
}

/// Why a Child SA that we asked for was not set up.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum ChildError {
    /// The peer accepts none of our ESP proposals, which are these.
    NoProposalChosen(Vec<Proposal>),
    /// The peer accepts none of these traffic selectors.
    SelectorsUnacceptable { local: Vec<TrafficSelector>, peer: Vec<TrafficSelector> },
    /// The peer reports another error.
    Refused(NotifyType),
    /// The response has neither a Child SA nor an error.
    Incomplete,
    /// The peer chose what was not offered.
    Choice(ChoiceError),
    /// The peer wants to receive on an SPI that must not be used (RFC 4303 2.1).
    ReservedSpi(u32),
    /// The peer answers with a traffic selector that lies outside of those that it was offered (RFC 7296 2.9).
    SelectorNotOffered(TrafficSelector),
    /// The peer answers with no traffic selector of a type that is known here.
    NoSelectors,
}

impl ChildError {
    /// What an error notification of the peer means, or the lack of one, when these selectors were offered.
    pub(super) fn refused(
        kind: Option<NotifyType>,
        child: &Child,
        local: &[TrafficSelector],
        peer: &[TrafficSelector],
    ) -> Self {
        match kind {
            Some(NotifyType::NO_PROPOSAL_CHOSEN) => {
                Self::NoProposalChosen(negotiate::offer_esp(&child.esp_proposals, 0, true))
            }
            Some(NotifyType::TS_UNACCEPTABLE) => {
                Self::SelectorsUnacceptable { local: local.to_vec(), peer: peer.to_vec() }
            }
            Some(kind) => Self::Refused(kind),
            None => Self::Incomplete,
        }
    }

    /// The SPI of an ESP proposal; values up to 255 are reserved (RFC 4303 2.1).
    ///
    /// # Errors
    /// It is reserved, or none of an ESP SA.
    pub(super) fn check_spi(spi: &[u8]) -> Result<u32, Self> {
        let bytes = <[u8; 4]>::try_from(spi).map_err(|_| Self::Choice(ChoiceError::SpiLength(spi.len())))?;
        match u32::from_be_bytes(bytes) {
            reserved @ 0..=255 => Err(Self::ReservedSpi(reserved)),
            spi => Ok(spi),
        }
    }

    /// Checks that the selectors of an answer lie within those that were offered.
    ///
    /// # Errors
    /// The first one that does not, or that there is none.
    pub(super) fn check_selectors(answer: &[TrafficSelector], offered: &[TrafficSelector]) -> Result<(), Self> {
        let outside = answer.iter().find(|selector| !offered.iter().any(|other| selector.is_subset(other)));
        match (answer, outside) {
            ([], _) => Err(Self::NoSelectors),
            (_, Some(outside)) => Err(Self::SelectorNotOffered(*outside)),
            (_, None) => Ok(()),
        }
    }

    /// Whether the peer believes that there is a Child SA now.
    pub(super) fn leaves_child_sa(&self) -> bool {
        match self {
            Self::NoProposalChosen(_) | Self::SelectorsUnacceptable { .. } | Self::Refused(_) | Self::Incomplete => {
                false
            }
            Self::Choice(_) | Self::ReservedSpi(_) | Self::SelectorNotOffered(_) | Self::NoSelectors => true,
        }
    }
}

impl fmt::Display for ChildError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NoProposalChosen(ours) => {
                write!(f, "the peer answers NO_PROPOSAL_CHOSEN; our ESP proposals are {}", describe(ours))
            }
            Self::SelectorsUnacceptable { local, peer } => write!(
                f,
                "the peer answers TS_UNACCEPTABLE; our traffic selectors are {} === {}",
                describe_selectors(local),
                describe_selectors(peer)
            ),
            Self::Refused(kind) => write!(f, "the peer answers {kind}"),
            Self::Incomplete => f.write_str("the response lacks a payload"),
            Self::Choice(error) => error.fmt(f),
            Self::ReservedSpi(spi) => write!(f, "the peer chose the SPI {spi}, which is reserved"),
            Self::SelectorNotOffered(selector) => {
                write!(f, "the peer answers with the traffic selector {selector}, which was not offered")
            }
            Self::NoSelectors => f.write_str("the peer answers with no traffic selector of a type that is known here"),
        }
    }
}
