//! What can be wrong with the proof of who a peer is, and with an IKE_AUTH exchange (RFC 7296 1.2, 2.15, 2.21.2).

use std::fmt;
use std::net::SocketAddr;
use std::sync::Arc;

use super::foreign::Foreign;
use crate::ike::config::Connection;
use crate::wire::ike::{AuthMethod, Identification, Malformed, NotifyType};

/// Why a peer did not prove to be the one of a connection, for a person; the peer is told nothing but that it did not.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum AuthenticationError {
    /// No connection expects who the peer says that it is.
    UnknownIdentity {
        /// Who the peer says that it is.
        claimed: Identification,
        /// Whom connections expect, as text.
        expected: Vec<String>,
    },
    /// The peer does not know the pre-shared key of the connection.
    WrongKey {
        /// The name of the connection.
        connection: Arc<str>,
        /// Who the peer says that it is.
        claimed: Identification,
    },
    /// The peer proves its identity in another way than by a pre-shared key, so that nothing is said of the key. The
    /// connection is the one that it means, if any expects it.
    OtherMethod {
        /// The name of the connection, if that is clear.
        connection: Option<Arc<str>>,
        /// Who the peer says that it is.
        claimed: Identification,
        /// How the peer proves it.
        method: AuthMethod,
    },
    /// The peer proves nothing.
    NoAuth,
}

impl AuthenticationError {
    /// The connection that the peer meant, if that is clear.
    pub(in crate::ike) fn connection(&self) -> Option<Arc<str>> {
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
                write!(f, "the peer calls itself {}; no connection for its address expects that", Foreign(claimed))
            }
            Self::UnknownIdentity { claimed, expected } => write!(
                f,
                "the peer calls itself {}, but {} is expected; compare its local ID with our peer ID",
                Foreign(claimed),
                expected.join(" or ")
            ),
            Self::WrongKey { connection, claimed } => write!(
                f,
                "the pre-shared key of {} does not match that of connection {connection}; compare them on both sides",
                Foreign(claimed)
            ),
            Self::OtherMethod { claimed, method, .. } => {
                let number = if method.name().is_none() { "method " } else { "" };
                write!(
                    f,
                    "{} authenticates by {number}{method}, not by a pre-shared key; configure it to use the key",
                    Foreign(claimed)
                )
            }
            Self::NoAuth => f.write_str("the peer sent no AUTH payload (EAP is not supported)"),
        }
    }
}

/// Why the response to our IKE_AUTH request is not that of the peer that we wanted. But for the first, it is protected; its
/// sender has not proven who it is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum AuthError {
    /// None came that is protected; perhaps one that is not, with an error.
    NoAnswer {
        /// The peer's address.
        peer: SocketAddr,
        /// The error of an unprotected response, if one came.
        unprotected: Option<NotifyType>,
    },
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
    pub(in crate::ike) fn refused(kind: NotifyType, connection: &Connection) -> Self {
        match kind {
            NotifyType::AUTHENTICATION_FAILED => Self::NotBelieved(connection.local_id.clone()),
            kind => Self::Refused(kind),
        }
    }

    /// Whether the peer may believe that there is an IKE SA now, and is to be told that there is none.
    pub(in crate::ike) fn leaves_ike_sa(&self) -> bool {
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
