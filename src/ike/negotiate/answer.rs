//! Whether an answer chose what was offered: one proposal of ours by its number, with one of its algorithms of each kind
//! (RFC 7296 2.7, 3.3.1, 3.3.6).

use std::fmt;

use super::{
    ChildGroups, Chosen, EspAlgorithms, IkeAlgorithms, choose_esp, choose_ike, describe_transform, offer_esp, offer_ike,
};
use crate::ike::config::{EspProposal, IkeProposal};
use crate::wire::ike::{KeyExchangeId, Proposal, ProtocolId, Transform, TransformType};

/// What is wrong with the peer's choice from an offer of ours: in each case it is the peer that did what it must not do.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ChoiceError {
    /// So many proposals instead of one.
    Proposals(usize),
    /// The number of no proposal of ours, which have the numbers from 1 to `offered`.
    Number { chosen: u8, offered: usize },
    /// A proposal for another protocol than the one of its number.
    Protocol(ProtocolId),
    /// An SPI of so many bytes, where an ESP SA has one of four.
    SpiLength(usize),
    /// More than one algorithm of this kind.
    Repeated(TransformType),
    /// An algorithm that the proposal of this number does not have.
    NotOffered { number: u8, transform: Transform },
    /// No algorithm of a kind that the proposal has.
    Missing(TransformType),
    /// Algorithms that were offered, but not to be used together.
    Combination,
    /// Another key exchange method than that of the public value that was sent.
    Group { chosen: KeyExchangeId, sent: KeyExchangeId },
}

impl fmt::Display for ChoiceError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("the peer chose ")?;
        match self {
            Self::Proposals(count) => write!(f, "{count} proposals instead of one"),
            Self::Number { chosen, offered: 1 } => write!(f, "proposal {chosen}; only 1 was offered"),
            Self::Number { chosen, offered } => write!(f, "proposal {chosen}; only 1 to {offered} were offered"),
            Self::Protocol(protocol) => write!(f, "a proposal for the protocol {protocol}, which was not offered"),
            Self::SpiLength(length) => write!(f, "an SPI of {length} {}, not 4", plural(*length, "byte", "bytes")),
            Self::Repeated(kind) => write!(f, "more than one {kind} algorithm"),
            Self::NotOffered { number, transform } => {
                write!(f, "{}, which proposal {number} does not offer", describe_transform(transform))
            }
            Self::Missing(kind) => write!(f, "no {kind} algorithm"),
            Self::Combination => f.write_str("algorithms that cannot be used together"),
            Self::Group { chosen, sent } => {
                write!(f, "the key exchange method {chosen}, but the public value that it was sent is one of {sent}")
            }
        }
    }
}

fn plural(count: usize, one: &'static str, many: &'static str) -> &'static str {
    if count == 1 { one } else { many }
}

/// Checks the answer to an IKE offer of ours. `group` is the key exchange method of the public value that was sent.
///
/// # Errors
/// What the peer chose although it must not.
pub(in crate::ike) fn check_ike(
    ours: &[IkeProposal],
    answer: &[Proposal],
    group: u16,
) -> Result<Chosen<IkeAlgorithms>, ChoiceError> {
    let chosen = single(answer)
        .and_then(|(index, answer)| choose_ike(ours.get(index..=index)?, std::slice::from_ref(answer), None))
        .ok_or_else(|| explain(&offer_ike(ours, &[]), answer))?;
    match chosen.algorithms.group.transform_id {
        chosen if chosen != group => {
            Err(ChoiceError::Group { chosen: KeyExchangeId(chosen), sent: KeyExchangeId(group) })
        }
        _ => Ok(chosen),
    }
}

/// Checks the answer to an ESP offer of ours.
///
/// # Errors
/// What the peer chose although it must not.
pub(in crate::ike) fn check_esp(
    ours: &[EspProposal],
    answer: &[Proposal],
    groups: ChildGroups,
) -> Result<Chosen<EspAlgorithms>, ChoiceError> {
    single(answer)
        .and_then(|(index, answer)| choose_esp(ours.get(index..=index)?, std::slice::from_ref(answer), groups))
        .ok_or_else(|| explain(&offer_esp(ours, 0, groups != ChildGroups::Ignored), answer))
}

/// The only proposal of an answer, and which one of ours its number means.
fn single(answer: &[Proposal]) -> Option<(usize, &Proposal)> {
    let [answer] = answer else { return None };
    let index = usize::from(answer.number.checked_sub(1)?);
    repeated(answer).is_none().then_some((index, answer))
}

/// A kind of which an answer has more than one algorithm.
fn repeated(answer: &Proposal) -> Option<TransformType> {
    let mut transforms = answer.transforms.iter().enumerate();
    let again = transforms
        .find(|(index, transform)| answer.transforms.iter().take(*index).any(|other| other.kind == transform.kind));
    again.map(|(_, transform)| transform.kind)
}

/// What is wrong with an answer that is not acceptable.
fn explain(offer: &[Proposal], answer: &[Proposal]) -> ChoiceError {
    /// Integrity comes last: where the cipher protects integrity itself, none is missing.
    const KINDS: [TransformType; 5] = [
        TransformType::ENCRYPTION,
        TransformType::PSEUDORANDOM_FUNCTION,
        TransformType::KEY_EXCHANGE,
        TransformType::SEQUENCE_NUMBERS,
        TransformType::INTEGRITY,
    ];
    let [answer] = answer else { return ChoiceError::Proposals(answer.len()) };
    let Proposal { number, protocol, ref spi, ref transforms } = *answer;
    let Some(offered) = usize::from(number).checked_sub(1).and_then(|index| offer.get(index)) else {
        return ChoiceError::Number { chosen: number, offered: offer.len() };
    };
    let has = |proposal: &Proposal, kind| proposal.transforms_of(kind).next().is_some();
    let foreign = transforms.iter().find(|transform| !offered.transforms.contains(transform));
    let missing = KINDS.into_iter().find(|kind| has(offered, *kind) && !has(answer, *kind));
    if protocol != offered.protocol {
        ChoiceError::Protocol(protocol)
    } else if protocol == ProtocolId::ESP && spi.len() != offered.spi.len() {
        ChoiceError::SpiLength(spi.len())
    } else if let Some(kind) = repeated(answer) {
        ChoiceError::Repeated(kind)
    } else if let Some(transform) = foreign.cloned() {
        ChoiceError::NotOffered { number, transform }
    } else {
        missing.map_or(ChoiceError::Combination, ChoiceError::Missing)
    }
}
