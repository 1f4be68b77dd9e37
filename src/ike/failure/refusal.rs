//! Why a request of an authenticated peer is refused, and what the peer is told (RFC 7296 1.3, 2.21, 2.25).

use std::fmt;
use std::sync::Arc;

use super::foreign::Foreign;
use crate::ike::negotiate::{describe, describe_selectors};
use crate::wire::ike::{MAX_SELECTORS, Notify, NotifyType, Payload, Proposal, TrafficSelector};

/// What one end offers or accepts for each Child SA: selectors of ours, and of the peer's.
pub type Selectors = (Vec<TrafficSelector>, Vec<TrafficSelector>);

/// Why a request of the peer is refused. The IKE SA stays as it is, but for [`Refusal::Syntax`].
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Refusal {
    /// No common proposal for an IKE SA.
    IkeProposal {
        /// What the peer offers.
        offered: Vec<Proposal>,
        /// What we accept.
        accepted: Vec<Proposal>,
    },
    /// No common proposal for a Child SA of this child.
    EspProposal {
        /// The child's name.
        child: Arc<str>,
        /// What the peer offers.
        offered: Vec<Proposal>,
        /// What we accept.
        accepted: Vec<Proposal>,
    },
    /// No common traffic selectors with any child of the connection.
    Selectors {
        /// The name of the connection.
        connection: Arc<str>,
        /// What the peer asks for.
        asked: Selectors,
        /// What each child of the connection has.
        configured: Vec<Selectors>,
    },
    /// What this child and the peer have in common are more traffic selectors than a payload of ours holds.
    TooManySelectors {
        /// The child's name.
        child: Arc<str>,
    },
    /// The key exchange payload is not for the chosen method, which is this one.
    WrongGroup(u16),
    /// Not now: it would collide with an exchange of ours (RFC 7296 2.25).
    Temporary,
    /// The Child SA to rekey, with this SPI, does not exist.
    ChildNotFound(u32),
    /// A payload is missing or wrong, which ends the IKE SA (RFC 7296 2.21.3).
    Syntax,
    /// The peer has this many Child SAs, and gets no further one.
    NoAdditionalSas(usize),
}

impl Refusal {
    /// The notification that tells the peer.
    pub(in crate::ike) fn notify(&self) -> Payload {
        let plain = |kind| Notify::new(kind, Vec::new());
        Payload::Notify(match self {
            Self::IkeProposal { .. } | Self::EspProposal { .. } => plain(NotifyType::NO_PROPOSAL_CHOSEN),
            Self::Selectors { .. } | Self::TooManySelectors { .. } => plain(NotifyType::TS_UNACCEPTABLE),
            Self::WrongGroup(group) => Notify::new(NotifyType::INVALID_KE_PAYLOAD, group.to_be_bytes().to_vec()),
            Self::Temporary => plain(NotifyType::TEMPORARY_FAILURE),
            Self::ChildNotFound(spi) => Notify::about_esp(NotifyType::CHILD_SA_NOT_FOUND, *spi, Vec::new()),
            Self::Syntax => plain(NotifyType::INVALID_SYNTAX),
            Self::NoAdditionalSas(_) => plain(NotifyType::NO_ADDITIONAL_SAS),
        })
    }

    /// Whether only a person can do something about it; of the rest both ends go on as the protocol says.
    pub(in crate::ike) fn concerns_a_person(&self) -> bool {
        !matches!(self, Self::WrongGroup(_) | Self::Temporary | Self::ChildNotFound(_))
    }
}

impl fmt::Display for Refusal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let pair =
            |(ours, theirs): &Selectors| format!("{} === {}", describe_selectors(ours), describe_selectors(theirs));
        match self {
            Self::IkeProposal { offered, accepted } => write!(
                f,
                "no common IKE proposal; the peer offers {}, we accept {}",
                Foreign(describe(offered)),
                describe(accepted)
            ),
            Self::EspProposal { child, offered, accepted } => write!(
                f,
                "no common ESP proposal; the peer offers {}, child {child} accepts {}",
                Foreign(describe(offered)),
                describe(accepted)
            ),
            Self::Selectors { connection, asked, configured } => write!(
                f,
                "no common traffic selectors; the peer asks for {}, connection {connection} has {}",
                Foreign(pair(asked)),
                configured.iter().map(pair).collect::<Vec<_>>().join(", ")
            ),
            Self::TooManySelectors { child } => write!(
                f,
                "what child {child} and the peer have in common are more than {MAX_SELECTORS} traffic selectors on one side"
            ),
            Self::WrongGroup(group) => write!(f, "the key exchange method {group} is wanted"),
            Self::Temporary => f.write_str("the request collides with one of ours"),
            Self::ChildNotFound(spi) => write!(f, "there is no Child SA with the SPI {spi:08x}"),
            Self::Syntax => {
                f.write_str("a CREATE_CHILD_SA or IKE_AUTH request lacks a payload, or has one that cannot be")
            }
            Self::NoAdditionalSas(count) => {
                write!(f, "refused a further Child SA: the peer has {count} already")
            }
        }
    }
}
