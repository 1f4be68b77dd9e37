//! What can keep a Child SA that we ask for from being set up (RFC 7296 1.2, 1.3.1, 2.9).

use std::fmt;

use crate::crypto::KeyExchangeError;
use crate::ike::config::Child;
use crate::ike::error::Unsendable;
use crate::ike::negotiate::{self, ChoiceError, describe, describe_selectors};
use crate::wire::ike::{NotifyType, Proposal, TrafficSelector};

/// Why a Child SA that we asked for was not set up.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ChildError {
    /// The peer accepts none of our ESP proposals, which are these.
    NoProposalChosen(Vec<Proposal>),
    /// The peer accepts none of these traffic selectors.
    SelectorsUnacceptable {
        /// Ours.
        local: Vec<TrafficSelector>,
        /// The peer's.
        peer: Vec<TrafficSelector>,
    },
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
    /// The response has no public value, or one of another method than was agreed on.
    NoKeyExchange,
    /// The peer's public value cannot be one of the method.
    KeyExchange(KeyExchangeError),
    /// Our request does not fit a message.
    Unsendable(Unsendable),
    /// The connection has no child of this name any more.
    Unknown,
    /// The peer wants a Child SA for each pair of hosts (RFC 7296 2.9), and no packet says which.
    SinglePairRequired,
}

impl ChildError {
    /// What an error notification of the peer means, or the lack of one, when these selectors were offered.
    pub(in crate::ike) fn refused(
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
    pub(in crate::ike) fn check_spi(spi: &[u8]) -> Result<u32, Self> {
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
    pub(in crate::ike) fn check_selectors(answer: &[TrafficSelector], offered: &[TrafficSelector]) -> Result<(), Self> {
        let outside = answer.iter().find(|selector| !offered.iter().any(|other| selector.is_subset(other)));
        match (answer, outside) {
            ([], _) => Err(Self::NoSelectors),
            (_, Some(outside)) => Err(Self::SelectorNotOffered(*outside)),
            (_, None) => Ok(()),
        }
    }

    /// Whether the peer believes that there is a Child SA now.
    pub(in crate::ike) fn leaves_child_sa(&self) -> bool {
        match self {
            Self::NoProposalChosen(_) | Self::SelectorsUnacceptable { .. } | Self::Refused(_) | Self::Incomplete => {
                false
            }
            Self::Unsendable(_) | Self::Unknown | Self::SinglePairRequired => false,
            Self::Choice(_)
            | Self::ReservedSpi(_)
            | Self::SelectorNotOffered(_)
            | Self::NoSelectors
            | Self::NoKeyExchange
            | Self::KeyExchange(_) => true,
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
            Self::NoKeyExchange => f.write_str("the response lacks the key exchange"),
            Self::KeyExchange(error) => error.fmt(f),
            Self::Unsendable(unsendable) => unsendable.fmt(f),
            Self::Unknown => f.write_str("the connection has no child of this name"),
            Self::SinglePairRequired => {
                f.write_str("the peer wants a Child SA for each pair of hosts (SINGLE_PAIR_REQUIRED)")
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn selectors(text: &str) -> Vec<TrafficSelector> {
        text.split(' ').map(|net| TrafficSelector::from_net(net.parse().expect("a network"))).collect()
    }

    #[test]
    fn the_selectors_of_an_answer_lie_within_those_that_were_offered() {
        let offered = selectors("10.2.0.0/16 10.1.0.0/16");
        assert_eq!(ChildError::check_selectors(&selectors("10.1.0.0/24"), &offered), Ok(()));
        let wide = selectors("10.0.0.0/8");
        assert_eq!(ChildError::check_selectors(&wide, &offered), Err(ChildError::SelectorNotOffered(wide[0])));
        assert_eq!(ChildError::check_selectors(&[], &offered), Err(ChildError::NoSelectors));
    }
}
