use super::*;
use crate::crypto::{encryption, integ, ke, prf};

fn transform(kind: TransformType, id: u16, key_bits: Option<u16>) -> Transform {
    Transform::new(kind, id, key_bits)
}

fn encr(id: u16, key_bits: Option<u16>) -> Transform {
    transform(TransformType::ENCRYPTION, id, key_bits)
}

fn integ(id: u16) -> Transform {
    transform(TransformType::INTEGRITY, id, None)
}

fn prf(id: u16) -> Transform {
    transform(TransformType::PSEUDORANDOM_FUNCTION, id, None)
}

fn ke(id: u16) -> Transform {
    transform(TransformType::KEY_EXCHANGE, id, None)
}

fn ike(number: u8, transforms: Vec<Transform>) -> Proposal {
    Proposal { number, protocol: ProtocolId::IKE, spi: Vec::new(), transforms }
}

fn esp(number: u8, transforms: Vec<Transform>) -> Proposal {
    Proposal { number, protocol: ProtocolId::ESP, spi: vec![1, 2, 3, 4], transforms }
}

fn ours(cbc: bool) -> Vec<IkeProposal> {
    let (encryption, integrity) = match cbc {
        true => (vec![&encryption::AES256_CBC, &encryption::AES128_CBC], vec![&integ::HMAC_SHA2_256_128]),
        false => (vec![&encryption::AES256_GCM_16], Vec::new()),
    };
    vec![IkeProposal { encryption, integrity, prf: vec![&prf::HMAC_SHA2_256], groups: vec![&ke::ECP256, &ke::X25519] }]
}

fn ours_esp(groups: bool) -> Vec<EspProposal> {
    let groups = if groups { vec![&ke::X25519, &ke::MODP2048] } else { Vec::new() };
    vec![EspProposal {
        encryption: vec![&encryption::AES128_GCM_16],
        integrity: Vec::new(),
        groups,
        esn: vec![true, false],
    }]
}

/// As libreswan offers: four proposals, each with one cipher.
#[test]
fn the_right_one_of_several_proposals_is_answered_with_its_number() {
    let rest = || vec![prf(7), prf(5), ke(14), ke(19), ke(31)];
    let with = |number, mut transforms: Vec<Transform>| {
        transforms.extend(rest());
        ike(number, transforms)
    };
    let offer = [
        with(1, vec![encr(20, Some(256))]),
        with(2, vec![encr(20, Some(128))]),
        with(3, vec![encr(12, Some(256)), integ(14), integ(12)]),
        with(4, vec![encr(12, Some(128)), integ(14), integ(12)]),
    ];
    let chosen = choose_ike(&ours(true), &offer, Some(14)).expect("a choice");
    assert_eq!(chosen.answer.number, 3);
    assert_eq!(chosen.algorithms.name(), "aes256-sha256-prfsha256-ecp256");
    assert!(check_ike(&ours(true), &[Proposal { number: 1, ..chosen.answer.clone() }], 19).is_ok());
    assert!(check_ike(&ours(true), &[chosen.answer], 19).is_err(), "an answer to a proposal that was not made");
}

#[test]
fn a_peer_may_mix_aead_and_other_ciphers_in_one_proposal() {
    let offer = [ike(1, vec![encr(12, Some(128)), encr(20, Some(256)), integ(12), prf(5), ke(31)])];
    let aead = choose_ike(&ours(false), &offer, Some(31)).expect("a choice");
    assert!(aead.answer.transforms_of(TransformType::INTEGRITY).next().is_none());
    let cbc = choose_ike(&ours(true), &offer, Some(31)).expect("a choice");
    assert_eq!(cbc.algorithms.suite.encryption.key_bits, Some(128));
    assert_eq!(cbc.answer.transforms_of(TransformType::INTEGRITY).count(), 1);
}

#[test]
fn integrity_none_beside_an_aead_is_repeated_in_the_answer() {
    let offer = [ike(1, vec![encr(20, Some(256)), integ(0), prf(5), ke(31)])];
    let chosen = choose_ike(&ours(false), &offer, None).expect("a choice");
    assert_eq!(chosen.answer.transforms_of(TransformType::INTEGRITY).map(|none| none.id).collect::<Vec<_>>(), [0]);
}

#[test]
fn key_lengths_unknown_types_and_unknown_attributes_are_minded() {
    let tail = [prf(5), ke(31)];
    let offer = |first: Transform, more: &[Transform]| [ike(1, [&[first], &tail[..], more].concat())];
    assert!(choose_ike(&ours(false), &offer(encr(20, Some(256)), &[]), None).is_some());
    assert!(choose_ike(&ours(false), &offer(encr(20, None), &[]), None).is_none(), "AES needs a key length");
    assert!(choose_ike(&ours(false), &offer(encr(20, Some(192)), &[]), None).is_none());
    let strange = Transform { unknown_attributes: vec![0x80, 99, 0, 0], ..encr(20, Some(256)) };
    assert!(choose_ike(&ours(false), &offer(strange, &[]), None).is_none());
    let additional = transform(TransformType::ADDITIONAL_KEY_EXCHANGE_1, 36, None);
    assert!(choose_ike(&ours(false), &offer(encr(20, Some(256)), &[additional]), None).is_none());
    for missing in 0..3 {
        let mut transforms = vec![encr(20, Some(256)), prf(5), ke(31)];
        transforms.remove(missing);
        assert!(choose_ike(&ours(false), &[ike(1, transforms)], None).is_none());
    }
}

#[test]
fn the_guessed_group_is_taken_if_it_is_acceptable() {
    let offer = [ike(1, vec![encr(20, Some(256)), prf(5), ke(19), ke(31), ke(14)])];
    let group = |guess| choose_ike(&ours(false), &offer, guess).expect("a choice").algorithms.group.transform_id;
    assert_eq!([group(Some(31)), group(Some(14)), group(None)], [31, 19, 19]);
}

#[test]
fn sequence_numbers_that_are_not_mentioned_are_short() {
    let esn = |id| transform(TransformType::SEQUENCE_NUMBERS, id, None);
    let chosen =
        |transforms| choose_esp(&ours_esp(false), &[esp(1, transforms)], ChildGroups::Ignored).expect("a choice");
    let silent = chosen(vec![encr(20, Some(128))]);
    assert!(!silent.algorithms.esn && silent.answer.transforms_of(TransformType::SEQUENCE_NUMBERS).next().is_none());
    assert!(chosen(vec![encr(20, Some(128)), esn(0), esn(1)]).algorithms.esn);
    assert!(!chosen(vec![encr(20, Some(128)), esn(0)]).algorithms.esn);
}

#[test]
fn perfect_forward_secrecy_is_what_both_ends_want() {
    let plain = || vec![encr(20, Some(128)), transform(TransformType::SEQUENCE_NUMBERS, 0, None)];
    let with = |groups: &[u16]| [plain(), groups.iter().map(|id| ke(*id)).collect()].concat();
    let choose = |ours: bool, theirs: &[u16], guess| {
        choose_esp(&ours_esp(ours), &[esp(1, with(theirs))], ChildGroups::AsConfigured(guess))
            .map(|chosen| chosen.algorithms.group.map(|group| group.transform_id))
    };
    assert_eq!(choose(false, &[], None), Some(None));
    assert_eq!(choose(false, &[14], Some(14)), None);
    assert_eq!(choose(false, &[14, 0], Some(14)), Some(None), "NONE is offered");
    assert_eq!(choose(true, &[], None), None);
    assert_eq!(choose(true, &[14, 31], Some(14)), Some(Some(14)));
    assert_eq!(choose(true, &[14, 31], Some(19)), Some(Some(31)));
    // In IKE_AUTH none is negotiated.
    let offer = [esp(1, with(&[14]))];
    let first = choose_esp(&ours_esp(true), &offer, ChildGroups::Ignored).expect("a choice");
    assert!(
        first.algorithms.group.is_none() && first.answer.transforms_of(TransformType::KEY_EXCHANGE).next().is_none()
    );
}

fn selectors(text: &str) -> Vec<TrafficSelector> {
    text.split(' ').map(|net| TrafficSelector::from_net(net.parse().expect("a network"))).collect()
}

#[test]
fn selectors_are_intersected_without_repetition() {
    let narrowed = |ours: &str, theirs: &str| narrow(&selectors(ours), &selectors(theirs));
    assert_eq!(narrowed("0.0.0.0/0", "10.1.0.0/16 10.2.0.0/16"), selectors("10.1.0.0/16 10.2.0.0/16"));
    assert_eq!(narrowed("10.1.0.0/16", "10.1.2.3/32 10.0.0.0/8"), selectors("10.1.0.0/16"));
    assert_eq!(narrowed("10.1.0.0/16", "10.2.0.0/16"), []);
    assert_eq!(narrowed("2001:db8::/32 10.0.0.0/8", "::/0 0.0.0.0/0"), selectors("2001:db8::/32 10.0.0.0/8"));
}

#[test]
fn the_child_with_the_very_selectors_comes_before_the_first_one_that_overlaps() {
    let child = |name: &str, local: &str, peer: &str| Child {
        name: name.into(),
        local_selectors: selectors(local),
        peer_selectors: selectors(peer),
        esp_proposals: ours_esp(false),
    };
    let children = [child("all", "0.0.0.0/0", "0.0.0.0/0"), child("one", "10.1.0.0/16", "10.2.0.0/16")];
    let chosen = |local: &str, peer: &str| {
        choose_child(&children, &selectors(local), &selectors(peer)).map(|(child, _, _)| child.name.to_string())
    };
    assert_eq!(chosen("10.1.0.0/16", "10.2.0.0/16").as_deref(), Some("one"));
    assert_eq!(chosen("10.9.0.0/16", "10.2.0.0/16").as_deref(), Some("all"));
    assert_eq!(choose_child(&children[1..], &selectors("10.9.0.0/16"), &selectors("10.2.0.0/16")).map(|_| ()), None);
}

#[test]
fn the_child_that_holds_the_packet_comes_before_one_whose_selectors_are_met_exactly() {
    let child = |name: &str, peer: &str| Child {
        name: name.into(),
        local_selectors: selectors("10.1.0.0/16"),
        peer_selectors: selectors(peer),
        esp_proposals: ours_esp(false),
    };
    let children = [child("part", "10.2.1.0/24"), child("all", "10.0.0.0/8")];
    let chosen = |peer: &str| {
        let (child, _, peer) = choose_child(&children, &selectors("10.1.0.0/16"), &selectors(peer)).expect("a child");
        (child.name.to_string(), peer)
    };
    assert_eq!(chosen("10.2.9.7/32 10.2.0.0/16"), ("all".to_owned(), selectors("10.2.0.0/16")));
    assert_eq!(chosen("10.2.1.7/32 10.2.1.0/24"), ("part".to_owned(), selectors("10.2.1.0/24")));
}
