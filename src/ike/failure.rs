//! What can go wrong with a peer, as values that say whose doing it is. The English of each stands in its `Display`, and
//! nowhere else.

mod auth;
mod child;
mod foreign;
mod init;
mod refusal;
mod rekey;

use std::fmt;
use std::net::SocketAddr;
use std::sync::Arc;

pub use self::auth::{AuthError, AuthenticationError};
pub use self::child::ChildError;
pub use self::foreign::Foreign;
pub use self::init::InitError;
pub use self::refusal::Refusal;
pub use self::rekey::RekeyError;
use super::error::Unsendable;
use crate::crypto::WrongKeyLength;
use crate::wire::ike::{ExchangeType, Malformed};

/// What failed with a peer, for a person: its text says what to look at.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Failure {
    /// No response to IKE_SA_INIT has come from this address.
    NoAnswer(SocketAddr),
    /// The connection offers no key exchange method, so that there is nothing to send.
    NoKeyExchangeMethod,
    /// A message that the IKE SA cannot do without does not fit the wire.
    Unsendable(Unsendable),
    /// The response to IKE_SA_INIT is not one to our request.
    Init(InitError),
    /// The keys of the IKE SA cannot be derived.
    Keys(WrongKeyLength),
    /// The IKE_AUTH exchange that we began failed.
    Auth(AuthError),
    /// The peer that began to negotiate did not prove who it is.
    NotProven(AuthenticationError),
    /// An authenticated, or at least protected, request of the peer cannot be read.
    MalformedRequest {
        /// The exchange that it would begin.
        exchange: ExchangeType,
        /// What is wrong with it.
        malformed: Malformed,
    },
    /// A request of the peer was refused.
    Refused(Refusal),
    /// A Child SA that we asked for was not set up.
    Child {
        /// The child's name.
        child: Arc<str>,
        /// Why.
        error: ChildError,
    },
    /// A Child SA was set up, but the data path could not install it.
    NotInstalled {
        /// The child's name.
        child: Arc<str>,
        /// What the data path says.
        reason: String,
    },
    /// A Child SA has come to a hard limit, and carries nothing until it is replaced (RFC 4301 4.4.2.1).
    Exhausted {
        /// The child's name.
        child: Arc<str>,
        /// SPI of its inbound SA.
        inbound_spi: u32,
    },
    /// The peer does not rekey the IKE SA.
    Rekey(RekeyError),
    /// The peer has answered TEMPORARY_FAILURE several times in a row (RFC 7296 2.25).
    NeverReady(Asked),
    /// The peer, at this address, does not answer on an established IKE SA any more.
    Silent(SocketAddr),
    /// The peer, at this address, has proven that it does not know the established IKE SA any more (RFC 6290).
    Restarted(SocketAddr),
    /// The peer asks for no Child SA in IKE_AUTH (RFC 6023), which the connection takes from nobody.
    ChildMissing,
    /// The peer asks for a Child SA in IKE_AUTH, and the connection sets them up later only (RFC 6023).
    ChildTooEarly,
    /// The Child SAs that a connection had in the IKE SA of another one with the same peer are gone.
    LeftByHost,
    /// The peer deleted the IKE SA.
    Deleted,
    /// The peer says on an established IKE SA that it does not believe in it (RFC 7296 2.21.2).
    NotBelieved,
}

/// What a peer was asked to do.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Asked {
    /// To set up a Child SA of this child.
    Child(Arc<str>),
    /// To rekey the IKE SA.
    RekeyIke,
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NoAnswer(peer) => write!(f, "no answer from {peer}"),
            Self::NoKeyExchangeMethod => f.write_str("the connection has no IKE proposal with a key exchange method"),
            Self::Unsendable(unsendable) => unsendable.fmt(f),
            Self::Init(error) => error.fmt(f),
            Self::Keys(error) => error.fmt(f),
            Self::Auth(error) => error.fmt(f),
            Self::NotProven(error) => write!(f, "authentication failed: {error}"),
            Self::MalformedRequest { exchange: ExchangeType::IKE_AUTH, malformed } => {
                write!(f, "the IKE_AUTH request is malformed: {malformed}")
            }
            Self::MalformedRequest { exchange, malformed } => {
                write!(f, "the peer's {exchange} request is malformed: {malformed}")
            }
            Self::Refused(refusal) => refusal.fmt(f),
            Self::Child { child, error } => write!(f, "Child SA {child} was not set up: {error}"),
            Self::NotInstalled { child, reason } => write!(f, "Child SA {child} was not set up: {reason}"),
            Self::Exhausted { child, inbound_spi } => write!(
                f,
                "Child SA {child} has used up its sequence numbers or another hard limit (inbound SPI {inbound_spi:08x}): \
                 its packets are dropped until it is replaced"
            ),
            Self::Rekey(error) => write!(f, "the peer does not rekey the IKE SA: {error}"),
            Self::NeverReady(asked) => {
                write!(f, "the peer keeps answering TEMPORARY_FAILURE when it is asked {asked}; it is asked again")
            }
            Self::Silent(peer) => write!(f, "the peer {peer} does not answer any more"),
            Self::Restarted(peer) => write!(f, "the peer {peer} has restarted"),
            Self::ChildMissing => {
                f.write_str("the peer asks for no Child SA in IKE_AUTH, which childless = \"never\" refuses")
            }
            Self::ChildTooEarly => {
                f.write_str("the peer asks for a Child SA in IKE_AUTH, which childless = \"force\" refuses")
            }
            Self::LeftByHost => {
                f.write_str("its Child SAs in the IKE SA of another connection with the same peer are gone")
            }
            Self::Deleted => f.write_str("the peer deleted the IKE SA"),
            Self::NotBelieved => f.write_str("the peer does not accept our identity or key (AUTHENTICATION_FAILED)"),
        }
    }
}

impl fmt::Display for Asked {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Child(child) => write!(f, "to set up Child SA {child}"),
            Self::RekeyIke => f.write_str("to rekey the IKE SA"),
        }
    }
}

impl From<Unsendable> for Failure {
    fn from(unsendable: Unsendable) -> Self {
        Self::Unsendable(unsendable)
    }
}
