//! What can keep an IKE SA from being rekeyed when we ask for it (RFC 7296 1.3.2, 2.18).

use std::fmt;

use crate::crypto::{KeyExchangeError, WrongKeyLength};
use crate::ike::error::Unsendable;
use crate::ike::negotiate::ChoiceError;
use crate::wire::ike::{KeyExchangeId, NotifyType};

/// Why an IKE SA that was to take the place of another one was not set up at our request.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum RekeyError {
    /// Our request does not fit a message.
    Unsendable(Unsendable),
    /// The peer reports an error.
    Refused(NotifyType),
    /// The response has neither an IKE SA nor an error.
    Incomplete,
    /// The peer chose what was not offered.
    Choice(ChoiceError),
    /// The peer has no SPI for its end of the IKE SA.
    NoSpi,
    /// The peer's public value is of another method than ours.
    OtherGroup {
        /// The method of the value.
        answered: KeyExchangeId,
        /// The method that the peer was sent.
        sent: KeyExchangeId,
    },
    /// The peer's public value cannot be one of the method.
    KeyExchange(KeyExchangeError),
    /// No keys can be derived.
    Keys(WrongKeyLength),
}

impl fmt::Display for RekeyError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Unsendable(unsendable) => write!(f, "it is not asked to: {unsendable}"),
            Self::Refused(kind) => write!(f, "it answers {kind}"),
            Self::Incomplete => f.write_str("its response lacks a payload"),
            Self::Choice(error) => error.fmt(f),
            Self::NoSpi => f.write_str("its response has no SPI of the peer"),
            Self::OtherGroup { answered, sent } => write!(
                f,
                "it answers with a public value of the key exchange method {answered}, but was sent one of {sent}"
            ),
            Self::KeyExchange(error) => write!(f, "key exchange failed: {error}"),
            Self::Keys(error) => write!(f, "no keys can be derived: {error}"),
        }
    }
}
