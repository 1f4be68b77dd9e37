//! Which proposal and which traffic selectors both ends agree on: pure functions (RFC 7296 2.7, 2.9, 3.3.6).

mod answer;

pub use self::answer::ChoiceError;
pub(super) use self::answer::{check_esp, check_ike};
use super::config::{Child, EspProposal, IkeProposal};
use crate::crypto::{EncryptionAlgorithm, IntegrityAlgorithm, KeyExchangeAlgorithm, PrfAlgorithm, Suite};
use crate::wire::ike::{Proposal, ProtocolId, TrafficSelector, Transform, TransformType};

const NONE: u16 = 0;

/// The algorithms of an IKE SA.
#[derive(Debug, Clone, Copy)]
pub(super) struct IkeAlgorithms {
    pub(super) suite: Suite,
    pub(super) prf: &'static PrfAlgorithm,
    pub(super) group: &'static KeyExchangeAlgorithm,
}

impl IkeAlgorithms {
    /// As shown in `status`, in the words of the configuration: `aes128gcm16-prfsha256-x25519`.
    pub(super) fn name(&self) -> String {
        format!("{}-{}-{}", suite_name(self.suite), self.prf.name, self.group.name)
    }
}

/// The algorithms of a Child SA.
#[derive(Debug, Clone, Copy)]
pub(super) struct EspAlgorithms {
    pub(super) suite: Suite,
    pub(super) group: Option<&'static KeyExchangeAlgorithm>,
    pub(super) esn: bool,
}

impl EspAlgorithms {
    /// Likewise: `aes128-sha256-modp2048`, the method of the key exchange only where there was one.
    pub(super) fn name(&self) -> String {
        match self.group {
            Some(group) => format!("{}-{}", suite_name(self.suite), group.name),
            None => suite_name(self.suite),
        }
    }
}

fn suite_name(suite: Suite) -> String {
    match suite.integrity {
        Some(integrity) => format!("{}-{}", suite.encryption.name, integrity.name),
        None => suite.encryption.name.to_owned(),
    }
}

/// What was chosen of an offer, with the answer that says so.
#[derive(Debug)]
pub(super) struct Chosen<T> {
    pub(super) algorithms: T,
    /// The peer's SPI of the proposal.
    pub(super) spi: Vec<u8>,
    /// The proposal of the answer, our SPI still missing.
    pub(super) answer: Proposal,
}

/// How key exchange methods take part in choosing an ESP proposal.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum ChildGroups {
    /// The Child SA of IKE_AUTH: none is negotiated, whatever the proposals say (RFC 7296 1.2).
    Ignored,
    /// A Child SA of CREATE_CHILD_SA: as configured; this is the method of the peer's KE payload, if it sent one.
    AsConfigured(Option<u16>),
}

/// Chooses from an IKE offer. Our order decides, except that the method of the peer's KE payload (`guess`) is taken
/// if it is acceptable at all, which saves a round trip.
pub(super) fn choose_ike(
    ours: &[IkeProposal],
    offer: &[Proposal],
    guess: Option<u16>,
) -> Option<Chosen<IkeAlgorithms>> {
    ours.iter().find_map(|our| {
        offer.iter().filter(|theirs| theirs.protocol == ProtocolId::IKE).find_map(|theirs| {
            let (suite, mut transforms) = choose_suite(theirs, &our.encryption, &our.integrity)?;
            let prf =
                *our.prf.iter().find(|prf| offers(theirs, TransformType::PSEUDORANDOM_FUNCTION, prf.transform_id))?;
            let group = choose_group(theirs, &our.groups, guess)?;
            if !understood(theirs, &[TransformType::PSEUDORANDOM_FUNCTION, TransformType::KEY_EXCHANGE]) {
                return None;
            }
            transforms.push(Transform::new(TransformType::PSEUDORANDOM_FUNCTION, prf.transform_id, None));
            transforms.push(Transform::new(TransformType::KEY_EXCHANGE, group.transform_id, None));
            Some(chosen(IkeAlgorithms { suite, prf, group }, theirs, transforms))
        })
    })
}

/// Chooses from an ESP offer, in our order.
pub(super) fn choose_esp(
    ours: &[EspProposal],
    offer: &[Proposal],
    groups: ChildGroups,
) -> Option<Chosen<EspAlgorithms>> {
    ours.iter().find_map(|our| {
        let theirs = offer.iter().filter(|theirs| theirs.protocol == ProtocolId::ESP && theirs.spi.len() == 4);
        theirs.into_iter().find_map(|theirs| {
            let (suite, mut transforms) = choose_suite(theirs, &our.encryption, &our.integrity)?;
            if !understood(theirs, &[TransformType::KEY_EXCHANGE, TransformType::SEQUENCE_NUMBERS]) {
                return None;
            }
            let group = match groups {
                ChildGroups::Ignored => None,
                ChildGroups::AsConfigured(_) if our.groups.is_empty() => {
                    let mut offered = theirs.transforms_of(TransformType::KEY_EXCHANGE).peekable();
                    if offered.peek().is_some() {
                        offered.find(|transform| transform.id == NONE)?;
                        transforms.push(Transform::new(TransformType::KEY_EXCHANGE, NONE, None));
                    }
                    None
                }
                ChildGroups::AsConfigured(guess) => {
                    let group = choose_group(theirs, &our.groups, guess)?;
                    transforms.push(Transform::new(TransformType::KEY_EXCHANGE, group.transform_id, None));
                    Some(group)
                }
            };
            let esn = choose_esn(theirs, &our.esn)?;
            if theirs.transforms_of(TransformType::SEQUENCE_NUMBERS).next().is_some() {
                transforms.push(Transform::new(TransformType::SEQUENCE_NUMBERS, u16::from(esn), None));
            }
            Some(chosen(EspAlgorithms { suite, group, esn }, theirs, transforms))
        })
    })
}

fn chosen<T>(algorithms: T, theirs: &Proposal, transforms: Vec<Transform>) -> Chosen<T> {
    let answer = Proposal { number: theirs.number, protocol: theirs.protocol, spi: Vec::new(), transforms };
    Chosen { algorithms, spi: theirs.spi.clone(), answer }
}

/// Encryption and integrity. A peer may mix AEAD and other algorithms in one proposal; with AEAD no integrity
/// algorithm is chosen, or NONE if the peer listed it.
fn choose_suite(
    theirs: &Proposal,
    encryption: &[&'static EncryptionAlgorithm],
    integrity: &[&'static IntegrityAlgorithm],
) -> Option<(Suite, Vec<Transform>)> {
    let encryption = *encryption.iter().find(|ours| {
        let mut transforms = theirs.transforms_of(TransformType::ENCRYPTION);
        transforms
            .any(|theirs| theirs.id == ours.transform_id && theirs.key_bits == ours.key_bits && theirs.is_understood())
    })?;
    let mut transforms = vec![Transform::new(TransformType::ENCRYPTION, encryption.transform_id, encryption.key_bits)];
    if encryption.is_aead() {
        if offers(theirs, TransformType::INTEGRITY, NONE) {
            transforms.push(Transform::new(TransformType::INTEGRITY, NONE, None));
        }
        return Some((Suite::new(encryption, None)?, transforms));
    }
    let integrity = *integrity.iter().find(|ours| offers(theirs, TransformType::INTEGRITY, ours.transform_id))?;
    transforms.push(Transform::new(TransformType::INTEGRITY, integrity.transform_id, None));
    Some((Suite::new(encryption, Some(integrity))?, transforms))
}

fn choose_group(
    theirs: &Proposal,
    ours: &[&'static KeyExchangeAlgorithm],
    guess: Option<u16>,
) -> Option<&'static KeyExchangeAlgorithm> {
    let mut common = ours.iter().filter(|ours| offers(theirs, TransformType::KEY_EXCHANGE, ours.transform_id));
    let guessed = common.clone().find(|ours| Some(ours.transform_id) == guess);
    guessed.or_else(|| common.next()).copied()
}

/// An absent transform stands for 32-bit sequence numbers; RFC 7296 3.3.3 wants it present, some peers leave it out.
fn choose_esn(theirs: &Proposal, ours: &[bool]) -> Option<bool> {
    let absent = theirs.transforms_of(TransformType::SEQUENCE_NUMBERS).next().is_none();
    let offered = |esn: bool| match absent {
        true => !esn,
        false => offers(theirs, TransformType::SEQUENCE_NUMBERS, u16::from(esn)),
    };
    ours.iter().copied().find(|esn| offered(*esn))
}

fn offers(theirs: &Proposal, kind: TransformType, id: u16) -> bool {
    theirs.transforms_of(kind).any(|transform| transform.id == id && transform.is_understood())
}

/// A proposal with a transform type that isn't understood must be refused (RFC 7296 3.3.6).
fn understood(theirs: &Proposal, kinds: &[TransformType]) -> bool {
    let always = [TransformType::ENCRYPTION, TransformType::INTEGRITY];
    theirs.transforms.iter().all(|transform| always.contains(&transform.kind) || kinds.contains(&transform.kind))
}

/// Our IKE offer. With an SPI when an IKE SA is rekeyed.
pub(super) fn offer_ike(ours: &[IkeProposal], spi: &[u8]) -> Vec<Proposal> {
    let proposals = ours.iter().map(|our| {
        let mut transforms = suite_transforms(&our.encryption, &our.integrity);
        transforms.extend(
            our.prf.iter().map(|prf| Transform::new(TransformType::PSEUDORANDOM_FUNCTION, prf.transform_id, None)),
        );
        transforms.extend(group_transforms(&our.groups));
        (ProtocolId::IKE, transforms)
    });
    number(proposals, spi)
}

/// Our ESP offer; `with_groups` in a CREATE_CHILD_SA exchange.
pub(super) fn offer_esp(ours: &[EspProposal], spi: u32, with_groups: bool) -> Vec<Proposal> {
    let proposals = ours.iter().map(|our| {
        let mut transforms = suite_transforms(&our.encryption, &our.integrity);
        if with_groups {
            transforms.extend(group_transforms(&our.groups));
        }
        let esn = our.esn.iter().map(|esn| Transform::new(TransformType::SEQUENCE_NUMBERS, u16::from(*esn), None));
        transforms.extend(esn);
        (ProtocolId::ESP, transforms)
    });
    number(proposals, &spi.to_be_bytes())
}

/// Numbers the proposals of an offer from 1. More than there are numbers for are all kept: the encoder refuses them.
fn number(proposals: impl Iterator<Item = (ProtocolId, Vec<Transform>)>, spi: &[u8]) -> Vec<Proposal> {
    let numbers = (1..=u8::MAX).chain(std::iter::repeat(u8::MAX));
    numbers
        .zip(proposals)
        .map(|(number, (protocol, transforms))| Proposal { number, protocol, spi: spi.to_vec(), transforms })
        .collect()
}

fn suite_transforms(
    encryption: &[&'static EncryptionAlgorithm],
    integrity: &[&'static IntegrityAlgorithm],
) -> Vec<Transform> {
    let encryption =
        encryption.iter().map(|row| Transform::new(TransformType::ENCRYPTION, row.transform_id, row.key_bits));
    let integrity = integrity.iter().map(|row| Transform::new(TransformType::INTEGRITY, row.transform_id, None));
    encryption.chain(integrity).collect()
}

fn group_transforms(groups: &[&'static KeyExchangeAlgorithm]) -> impl Iterator<Item = Transform> {
    groups.iter().map(|group| Transform::new(TransformType::KEY_EXCHANGE, group.transform_id, None))
}

/// The intersection of two lists of selectors, in the order of the peer's, without what another one covers.
pub(super) fn narrow(ours: &[TrafficSelector], theirs: &[TrafficSelector]) -> Vec<TrafficSelector> {
    let mut agreed: Vec<TrafficSelector> = Vec::new();
    for common in theirs.iter().flat_map(|their| ours.iter().filter_map(|our| our.intersect(their))) {
        if !agreed.iter().any(|known| common.is_subset(known)) {
            agreed.retain(|known| !known.is_subset(&common));
            agreed.push(common);
        }
    }
    agreed
}

/// The child that the peer's selectors mean, with what is agreed: (child, ours, theirs).
///
/// One that covers the first selector of both lists, which is the packet that asks (RFC 7296 2.9), comes before one that
/// has anything in common; of either, one with exactly these selectors comes first.
pub(super) fn choose_child<'a>(
    children: &'a [Child],
    local: &[TrafficSelector],
    peer: &[TrafficSelector],
) -> Option<(&'a Child, Vec<TrafficSelector>, Vec<TrafficSelector>)> {
    children
        .iter()
        .filter_map(|child| {
            let ours = narrow(&child.local_selectors, local);
            let theirs = narrow(&child.peer_selectors, peer);
            if ours.is_empty() || theirs.is_empty() {
                return None;
            }
            let exact = ours == child.local_selectors && theirs == child.peer_selectors;
            let first = covers_first(&ours, local) && covers_first(&theirs, peer);
            Some(((!first, !exact), (child, ours, theirs)))
        })
        .min_by_key(|(rank, _)| *rank)
        .map(|(_, chosen)| chosen)
}

/// Whether what is agreed holds the first one of these selectors.
pub(super) fn covers_first(agreed: &[TrafficSelector], offered: &[TrafficSelector]) -> bool {
    offered.first().is_some_and(|first| agreed.iter().any(|selector| first.is_subset(selector)))
}

/// A peer's offer as text, for a person who compares configurations.
pub(super) fn describe(offer: &[Proposal]) -> String {
    let text = offer.iter().map(|proposal| {
        let transforms = proposal.transforms.iter().map(describe_transform).collect::<Vec<_>>();
        format!("{}:{}", proposal.protocol, transforms.join("/"))
    });
    text.collect::<Vec<_>>().join(", ")
}

fn describe_transform(transform: &Transform) -> String {
    use crate::wire::ike::{EncryptionId, IntegrityId, KeyExchangeId, PrfId};
    match transform.kind {
        TransformType::ENCRYPTION => match transform.key_bits {
            Some(bits) => format!("{}_{bits}", EncryptionId(transform.id)),
            None => EncryptionId(transform.id).to_string(),
        },
        TransformType::PSEUDORANDOM_FUNCTION => format!("PRF_{}", PrfId(transform.id)),
        TransformType::INTEGRITY => IntegrityId(transform.id).to_string(),
        TransformType::KEY_EXCHANGE => KeyExchangeId(transform.id).to_string(),
        TransformType::SEQUENCE_NUMBERS => if transform.id == 1 { "ESN" } else { "NO_ESN" }.to_owned(),
        kind => format!("{kind}({})", transform.id),
    }
}

/// Selectors as text.
pub(super) fn describe_selectors(selectors: &[TrafficSelector]) -> String {
    selectors.iter().map(ToString::to_string).collect::<Vec<_>>().join(" ")
}

#[cfg(test)]
mod tests;
