//! IKE_SA_INIT and IKE_AUTH.

use super::*;
use crate::ike::Encapsulation;
use crate::wire::ike::ExchangeType;

#[test]
fn two_ends_set_up_an_ike_sa_and_a_child_sa() {
    let lab = Lab::up();
    assert_eq!([lab.state(0), lab.state(1)], [ConnectionState::Established; 2]);
    assert_eq!(lab.ike_spis(0), lab.ike_spis(1));
    assert_eq!(lab.sent, [2, 2]);
    let pair = lab.pairs[0].values().next().expect("a pair");
    assert_eq!(pair.sa.encapsulation, Encapsulation::None);
    assert_eq!(pair.sa.local_selectors, net("10.1.0.0/16"));
    assert_eq!(lab.ends[1].half_open(), 0);
    for side in 0..2 {
        let events = &lab.events[side][..];
        let [Event::ChildOutboundActivated { inbound_spi, .. }, Event::ConnectionUp { .. }] = events else {
            panic!("{events:?}")
        };
        assert_eq!([*inbound_spi], lab.inbound(side)[..]);
    }
}

#[test]
fn every_algorithm_is_negotiated() {
    let suites = encryption::TABLE.iter().flat_map(|encryption| {
        let integrity: Vec<_> = match encryption.is_aead() {
            true => vec![None],
            false => integ::TABLE.iter().copied().map(Some).collect(),
        };
        integrity.into_iter().map(move |integrity| (*encryption, integrity))
    });
    let suites: Vec<_> = suites.collect();
    let prfs = prf::TABLE.iter().cycle();
    let groups = ke::TABLE.iter().filter(|group| group.public_len <= 256).cycle();
    for (((encryption, integrity), prf), group) in suites.into_iter().zip(prfs).zip(groups) {
        let configs = [0, 1].map(|side| {
            let mut connection = connection(side);
            let integrity: Vec<_> = integrity.into_iter().collect();
            connection.ike_proposals = vec![IkeProposal {
                encryption: vec![encryption],
                integrity: integrity.clone(),
                prf: vec![*prf],
                groups: vec![*group],
            }];
            connection.children[0].esp_proposals =
                vec![EspProposal { encryption: vec![encryption], integrity, groups: vec![*group], esn: vec![true] }];
            config(connection)
        });
        let mut lab = Lab::new(configs);
        lab.settle();
        lab.assert_paired(1);
        let sa = &lab.pairs[0].values().next().expect("a pair").sa;
        assert_eq!(sa.suite.encryption, encryption);
        assert!(sa.esn);
        assert_eq!(sa.inbound_keys.encryption_key.len(), sa.suite.encryption_key_len());
        // With perfect forward secrecy.
        lab.command(1, Command::Rekey { connection: Arc::from("site"), what: crate::ike::RekeyWhat::Child });
        lab.settle();
        lab.assert_paired(1);
        let groups: Vec<_> = lab.ends[0].status()[0].children.iter().map(|child| child.algorithms.clone()).collect();
        assert!(groups[0].contains(group.name), "{groups:?}");
    }
}

#[test]
fn a_wrong_guess_of_the_group_is_corrected() {
    let mut left = connection(0);
    left.ike_proposals[0].groups = vec![&ke::ECP256, &ke::X25519];
    let mut lab = Lab::new([config(left), config(connection(1))]);
    lab.settle();
    lab.assert_paired(1);
    assert_eq!(lab.discards, [Discard::WrongGroup]);
}

#[test]
fn identities_of_every_kind_authenticate() {
    for (one, other) in
        [("gw.example.com", "@b.example.com"), ("a@example.com", "keyid:00ff10"), ("2001:db8::1", "192.0.2.77")]
    {
        let configs = [0, 1].map(|side| {
            let mut connection = connection(side);
            let ids = [one, other].map(|id| id.parse().expect("an identity"));
            connection.local_id = crate::wire::ike::Identification::clone(&ids[side]);
            connection.peer_id = Some(ids[1 - side].clone());
            config(connection)
        });
        let mut lab = Lab::new(configs);
        lab.settle();
        lab.assert_paired(1);
    }
}

#[test]
fn a_wrong_key_and_an_unknown_identity_look_alike_to_the_peer() {
    let wrong_key = |connection: &mut Connection| connection.pre_shared_key = Arc::new(Secret::new(b"other".to_vec()));
    let wrong_id =
        |connection: &mut Connection| connection.local_id = "stranger.example.com".parse().expect("an identity");
    let mut sizes = Vec::new();
    for (spoil, hint) in [(&wrong_key as &dyn Fn(&mut Connection), "pre-shared key"), (&wrong_id, "calls itself")] {
        let mut left = connection(0);
        spoil(&mut left);
        let mut lab = Lab::new([config(left), config(connection(1))]);
        lab.tick(0);
        lab.deliver();
        lab.deliver();
        lab.deliver();
        let (_, refusal) = lab.wire.front().expect("an answer").clone();
        assert_eq!(header(&refusal).exchange_type, ExchangeType::IKE_AUTH);
        sizes.push(refusal.payload.len());
        lab.settle();
        lab.assert_paired(0);
        assert!(lab.failures(1)[0].contains(hint), "{:?}", lab.failures(1));
        assert!(lab.failures(0)[0].contains("AUTHENTICATION_FAILED"), "{:?}", lab.failures(0));
        let status = lab.ends[0].status().remove(0);
        assert_eq!(status.state, ConnectionState::Down);
        assert!(status.last_error.is_some() && status.next_attempt.is_some());
        let status = lab.ends[1].status().remove(0);
        assert_eq!(status.state, ConnectionState::Down);
        // An identity that no connection expects is no connection's error.
        let named = lab.events[1].iter().any(|event| matches!(event, Event::Failure { connection: Some(_), .. }));
        assert_eq!(status.last_error.is_some_and(|error| error.to_string().contains(hint)), named);
        assert_eq!(named, hint == "pre-shared key");
    }
    assert_eq!(sizes[0], sizes[1]);
}

#[test]
fn an_initiator_does_not_believe_another_identity() {
    let mut right = connection(1);
    right.local_id = "impostor.example.com".parse().expect("an identity");
    let mut lab = Lab::new([config(connection(0)), config(right)]);
    lab.settle();
    lab.assert_paired(0);
    assert!(lab.failures(0)[0].contains("impostor.example.com"), "{:?}", lab.failures(0));
    assert_eq!(lab.state(1), ConnectionState::Down);
}

#[test]
fn proposals_without_anything_in_common_are_shown_and_asked_for_again() {
    let mut left = connection(0);
    left.ike_proposals[0].encryption = vec![&encryption::AES256_GCM_16];
    let mut lab = Lab::new([config(left), config(connection(1))]);
    lab.settle();
    let text = lab.failures(1)[0].to_owned();
    assert!(text.contains("AES_GCM_16_256") && text.contains("AES_GCM_16_128"), "{text}");
    // Anybody could have sent the answer: it is noted and the attempt goes on.
    assert_eq!(lab.state(0), ConnectionState::Connecting);
    assert!(
        lab.ends[0].status()[0]
            .last_error
            .as_ref()
            .is_some_and(|error| error.to_string().contains("NO_PROPOSAL_CHOSEN"))
    );
    lab.pass(3 * SECOND);
    assert!(lab.sent[0] >= 2);
}

#[test]
fn a_refused_child_leaves_the_ike_sa_up_and_is_tried_again() {
    let mut right = connection(1);
    right.children[0].peer_selectors = net("10.9.0.0/16");
    let mut lab = Lab::new([config(connection(0)), config(right)]);
    lab.settle();
    assert_eq!([lab.state(0), lab.state(1)], [ConnectionState::Established; 2]);
    lab.assert_paired(0);
    assert!(lab.failures(0)[0].contains("TS_UNACCEPTABLE"));
    assert!(lab.failures(1)[0].contains("10.9.0.0/16"));
    let before = lab.failures(0).len();
    lab.pass(30 * SECOND);
    assert!(lab.failures(0).len() > before);
    // The peer's configuration is corrected.
    lab.command(1, Command::Reload(Arc::new(config(connection(1)))));
    lab.pass(30 * SECOND);
    lab.assert_paired(1);
}

#[test]
fn several_selectors_are_narrowed() {
    let (mut left, mut right) = (connection(0), connection(1));
    left.children[0].peer_selectors = net("0.0.0.0/0");
    right.children[0].local_selectors = net("10.2.0.0/16 10.3.0.0/16");
    let mut lab = Lab::new([config(left), config(right)]);
    lab.settle();
    lab.assert_paired(1);
    let sa = &lab.pairs[0].values().next().expect("a pair").sa;
    assert_eq!(sa.peer_selectors, net("10.2.0.0/16 10.3.0.0/16"));
}

#[test]
fn a_nat_is_found_and_the_ends_move_to_the_other_port() {
    let mut left = connection(0);
    left.local_id = "10.0.0.1".parse().expect("an identity");
    let mut right = connection(1);
    right.peer = Peer::Any;
    let mut lab = Lab::new([config(left), config(right)]);
    lab.nat = Some(address([198, 51, 100, 7], 30_000));
    lab.settle();
    lab.assert_paired(1);
    let sa = &lab.pairs[1].values().next().expect("a pair").sa;
    assert_eq!(sa.encapsulation, Encapsulation::Udp);
    assert!(sa.path.non_esp_marker && sa.path.local.port() == 4500);
    assert_eq!(sa.path.peer.ip(), IpAddr::from([198, 51, 100, 7]));
    let ike = lab.ends[0].status().remove(0).ike_sa.expect("an IKE SA");
    assert!(ike.local_behind_nat && !ike.peer_behind_nat);
    // Who is behind the NAT keeps it open.
    lab.sent = [0; 2];
    lab.pass(61 * SECOND);
    assert_eq!(lab.sent, [3, 0]);
    assert_eq!(lab.ends[1].discards().of(Discard::Keepalive), 3);
    // The NAT forgets its mapping: the next authenticated message shows the new one.
    lab.nat = Some(address([198, 51, 100, 8], 31_000));
    lab.command(0, Command::Rekey { connection: Arc::from("site"), what: crate::ike::RekeyWhat::Child });
    lab.settle();
    let moved = lab.events[1].iter().any(
        |event| matches!(event, Event::PathChanged { path, .. } if path.peer.ip() == IpAddr::from([198, 51, 100, 8])),
    );
    assert!(moved, "{:?}", lab.events[1]);
}

#[test]
fn forced_encapsulation_makes_both_ends_use_udp() {
    for forcing in 0..2 {
        let configs = [0, 1].map(|side| {
            let mut connection = connection(side);
            connection.force_encapsulation = side == forcing;
            config(connection)
        });
        let mut lab = Lab::new(configs);
        lab.settle();
        lab.assert_paired(1);
        let sa = &lab.pairs[0].values().next().expect("a pair").sa;
        assert_eq!((sa.encapsulation, sa.path.local.port(), sa.path.peer.port()), (Encapsulation::Udp, 4500, 4500));
    }
}

/// The peer sees another address than the one whose hash it was sent, and so a NAT: what is sent in UDP by one end only is
/// dropped by the other where the kernel does ESP.
#[test]
fn who_leaves_its_address_to_the_system_makes_both_ends_use_udp() {
    let mut lab = Lab::new([config(Connection { local_address: None, ..connection(0) }), config(connection(1))]);
    lab.settle();
    lab.assert_paired(1);
    for side in 0..2 {
        let sa = &lab.pairs[side].values().next().expect("a pair").sa;
        assert_eq!(sa.encapsulation, Encapsulation::Udp, "{side}");
    }
}

#[test]
fn both_ends_at_once_end_with_one_ike_sa() {
    for seed in 0..8 {
        let mut right = connection(1);
        right.start = Start::Now;
        let mut lab = Lab::seeded([config(connection(0)), config(right)], seed);
        lab.settle();
        lab.pass(10 * SECOND);
        lab.assert_paired(1);
        assert_eq!(lab.ike_spis(0), lab.ike_spis(1));
    }
}

#[test]
fn lost_datagrams_are_sent_again() {
    for lost in 0..4 {
        let mut lab = Lab::plain();
        lab.tick(0);
        (0..lost).for_each(|_| assert!(lab.deliver()));
        assert_eq!(lab.lose(), 1);
        lab.pass(5 * SECOND);
        lab.assert_paired(1);
    }
}

#[test]
fn damaged_datagrams_change_nothing() {
    let mut lab = Lab::up();
    lab.command(0, Command::Rekey { connection: Arc::from("site"), what: crate::ike::RekeyWhat::Child });
    let (_, request) = lab.wire.pop_front().expect("a request");
    for index in 0..request.payload.len() {
        let mut damaged = request.clone();
        damaged.payload[index] ^= 1;
        let before = lab.discards.len();
        lab.arrive(1, &damaged);
        lab.wire.clear();
        assert_eq!(lab.discards.len(), before + 1, "byte {index}");
    }
    for len in 0..request.payload.len() {
        let mut cut = request.clone();
        cut.payload.truncate(len);
        lab.arrive(1, &cut);
    }
    lab.wire.clear();
    lab.arrive(1, &request);
    lab.settle();
    lab.assert_paired(1);
}

#[test]
fn asked_again_with_a_cookie_all_else_is_the_same_also_when_encapsulation_is_forced() {
    use crate::wire::ike::{NotifyType, Payload, parse_message};
    let left = Connection { force_encapsulation: true, ..connection(0) };
    let mut right = config(connection(1));
    right.cookie_threshold = 0;
    let mut lab = Lab::new([config(left), right]);
    lab.tick(0);
    let payloads =
        |lab: &Lab| parse_message(&lab.wire.front().expect("a request").1.payload).expect("a message").payloads;
    let first = payloads(&lab);
    lab.deliver();
    lab.deliver();
    let mut again = payloads(&lab);
    let cookie = again.remove(0);
    assert!(matches!(cookie, Payload::Notify(notify) if notify.kind == NotifyType::COOKIE));
    assert_eq!(again, first);
    lab.settle();
    lab.assert_paired(1);
    let encapsulated = |pair: &Pair| pair.sa.encapsulation == crate::ike::Encapsulation::Udp;
    assert!(lab.pairs.iter().flat_map(BTreeMap::values).all(encapsulated));
}
