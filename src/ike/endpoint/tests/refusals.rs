//! Peers that refuse what an established IKE SA asks for.

use super::*;
use crate::crypto::KeyExchangeAlgorithm;
use crate::ike::RekeyWhat;
use crate::ike::channel::Opened;
use crate::wire::ike::{ExchangeType, Notify, NotifyType, Payload, parse_message};

fn rekey_child(lab: &mut Lab) {
    lab.command(0, Command::Rekey { connection: Arc::from("site"), what: RekeyWhat::Child });
}

fn with_groups(mut connection: Connection, groups: &[&'static KeyExchangeAlgorithm]) -> Connection {
    connection.children[0].esp_proposals[0].groups = groups.to_vec();
    connection
}

#[test]
fn a_child_that_the_peer_never_rekeys_lives_on_in_a_new_ike_sa() {
    // IKE_AUTH negotiates no group, the rekey does: no common proposal.
    let left = with_groups(connection(0), &[&ke::X25519]);
    let mut lab = Lab::new([config(left), config(connection(1))]);
    lab.settle();
    lab.assert_paired(1);
    let first = lab.ike_spis(0);
    let mut seen = 0;
    let end = lab.now + 3 * Duration::from_secs(3600);
    while lab.now < end {
        lab.pass(10 * SECOND);
        let sending = lab.pairs[0].values().filter(|pair| pair.sending && !pair.outbound_gone).count();
        assert!(sending >= 1, "there is no moment without a pair");
        seen = seen.max(sending);
    }
    assert_ne!(lab.ike_spis(0), first, "the IKE SA was replaced");
    assert!(lab.failures(0).iter().any(|reason| reason.contains("NO_PROPOSAL_CHOSEN")), "{:?}", lab.failures(0));
    assert!(lab.sent[0] < 100, "{} datagrams in three hours", lab.sent[0]);
    assert!(seen <= 2, "{seen} pairs at once");
}

#[test]
fn a_rekey_asks_for_the_group_in_use() {
    let groups: [&'static KeyExchangeAlgorithm; 2] = [&ke::X25519, &ke::ECP256];
    let configs = [0, 1].map(|side| {
        let mut connection = with_groups(connection(side), &groups);
        connection.ike_proposals[0].groups = vec![&ke::ECP256];
        config(connection)
    });
    let mut lab = Lab::new(configs);
    lab.settle();
    for _ in 0..2 {
        rekey_child(&mut lab);
        lab.settle();
        lab.pass(10 * SECOND);
        lab.assert_paired(1);
        let status = lab.ends[0].status();
        assert!(status[0].children[0].algorithms.contains(ke::ECP256.name), "{:?}", status[0].children);
    }
    assert_eq!(lab.discards, []);
}

#[test]
fn a_peer_that_is_never_ready_is_asked_less_often_and_told_of_once() {
    let mut lab = Lab::up();
    let spi = *lab.ends[0].connections.ike_sas.all().keys().next().expect("an IKE SA");
    let answer = Payloads::new(vec![Payload::Notify(Notify::new(NotifyType::TEMPORARY_FAILURE, Vec::new()))]);
    let mut waits = Vec::new();
    rekey_child(&mut lab);
    for _ in 0..8 {
        lab.lose();
        let now = lab.now;
        let mut next = None;
        lab.ends[0].connections.with_established(spi, now, |state, cx| {
            state.act(cx, |sa, _, _, _| {
                sa.channel_mut().answered();
            });
        });
        lab.ends[0].answer_with(spi, &answer, now);
        lab.ends[0].connections.with_established(spi, now, |state, _| {
            next = state.children().deadlines().map(|deadline| deadline.at).min();
        });
        lab.collect(0);
        let next = next.expect("it is tried again");
        waits.push((next - now).as_secs());
        lab.now = next;
        lab.tick(0);
    }
    assert!(waits[0] <= 4 && waits[1] >= 4 && waits.iter().all(|wait| *wait <= 39), "{waits:?}");
    assert!(waits[4..].iter().all(|wait| *wait >= 21), "{waits:?}");
    assert_eq!(lab.failures(0).len(), 1, "{:?}", lab.failures(0));
}

#[test]
fn an_ike_sa_that_ends_leaves_no_inbound_spi_behind() {
    for under_way in [false, true] {
        let mut lab = Lab::up();
        let (spi, now) = (*lab.ends[0].connections.ike_sas.all().keys().next().expect("an IKE SA"), lab.now);
        rekey_child(&mut lab);
        lab.lose();
        if under_way {
            // The deletion of what the answer brings is sent at once, else it waits.
            lab.ends[0].connections.with_established(spi, now, |state, _| {
                state.channel_mut().answered();
            });
        }
        // An answer without what it needs.
        lab.ends[0].answer_with(spi, &Payloads::new(Vec::new()), now);
        lab.ends[0].connections.with_established(spi, now, |state, cx| state.advance(cx));
        lab.collect(0);
        assert_eq!(lab.lose(), usize::from(under_way));
        lab.command(0, Command::Down { connection: Arc::from("site") });
        for _ in 0..120 {
            lab.lose();
            lab.now += SECOND;
            lab.tick(0);
        }
        assert!(lab.ends[0].connections.ike_sas.all().is_empty());
        assert!(lab.ends[0].connections.ike_sas.inbound_spis.is_empty(), "under way: {under_way}");
    }
}

#[test]
fn a_refused_rekey_of_the_ike_sa_negotiates_another_one_beside_it() {
    let mut lab = Lab::up();
    let old = lab.ike_spis(0);
    let spi = *lab.ends[1].connections.ike_sas.all().keys().next().expect("an IKE SA");
    lab.command(0, Command::Rekey { connection: Arc::from("site"), what: RekeyWhat::Ike });
    answer_instead(&mut lab, spi, &[Payload::Notify(Notify::new(NotifyType::NO_ADDITIONAL_SAS, Vec::new()))]);
    assert_eq!(lab.failures(0), ["the peer does not rekey the IKE SA: it answers NO_ADDITIONAL_SAS"]);
    assert_eq!(lab.wire.len(), 1, "IKE_SA_INIT");
    assert!(header(&lab.wire[0].1).responder_spi.is_zero());
    lab.settle();
    lab.pass(5 * SECOND);
    assert_ne!(lab.ike_spis(0), old, "the new one serves");
    lab.assert_paired(1);
    let down = |event: &Event| matches!(event, Event::ConnectionDown { .. });
    assert!(!lab.events.iter().flatten().any(down), "and there was always one");
}

/// End 1 gives this answer to the request that is on the wire.
fn answer_instead(lab: &mut Lab, spi: IkeSpi, payloads: &[Payload]) {
    let (_, request) = lab.wire.pop_front().expect("a request");
    let Path { local, peer, non_esp_marker } = request.path;
    let path = Path { local: peer, peer: local, non_esp_marker };
    lab.ends[1].connections.act(spi, lab.now, |sa, _, _, cx| {
        let message = parse_message(&request.payload).expect("a message");
        let Ok(Opened::Message(request)) = sa.channel().open(&message, path) else { panic!("no request") };
        sa.channel_mut().respond(&request, payloads, cx).expect("a response");
    });
    lab.collect(1);
    lab.deliver();
}

#[test]
fn what_the_peer_has_made_of_a_request_is_deleted_when_its_answer_cannot_be_read() {
    let mut lab = Lab::up();
    let spi = *lab.ends[1].connections.ike_sas.all().keys().next().expect("an IKE SA");
    rekey_child(&mut lab);
    answer_instead(&mut lab, spi, &[Payload::Nonce(vec![7; 32])]);
    assert_eq!(lab.failures(0), ["Child SA net was not set up: the response lacks a payload"]);
    assert_eq!(
        lab.wire.iter().map(|(_, sent)| header(sent).exchange_type).collect::<Vec<_>>(),
        [ExchangeType::INFORMATIONAL]
    );
    lab.settle();
    lab.pass(20 * SECOND);
    lab.assert_paired(1);
}

/// The nonce of the request of end 0 that is on the wire.
fn nonce_of_request(lab: &Lab, spi: IkeSpi) -> Vec<u8> {
    let (_, request) = lab.wire.front().expect("a request");
    let message = parse_message(&request.payload).expect("a message");
    let peer = lab.ends[1].connections.ike_sas.established(&spi).expect("a peer");
    let Ok(Opened::Message(opened)) = peer.sa().channel().open(&message, request.path) else { panic!("no request") };
    opened.payloads().expect("payloads").nonce().expect("a nonce").clone()
}

#[test]
fn what_is_asked_again_with_another_group_has_a_new_nonce() {
    for what in [RekeyWhat::Child, RekeyWhat::Ike] {
        let configs = [0, 1].map(|side| {
            let mut connection = with_groups(connection(side), &[&ke::X25519, &ke::ECP256]);
            connection.ike_proposals[0].groups.push(&ke::ECP256);
            config(connection)
        });
        let mut lab = Lab::new(configs);
        lab.settle();
        let spi = *lab.ends[1].connections.ike_sas.all().keys().next().expect("an IKE SA");
        lab.command(0, Command::Rekey { connection: Arc::from("site"), what });
        let first = nonce_of_request(&lab, spi);
        let wanted = ke::ECP256.transform_id.to_be_bytes().to_vec();
        answer_instead(&mut lab, spi, &[Payload::Notify(Notify::new(NotifyType::INVALID_KE_PAYLOAD, wanted))]);
        assert_ne!(nonce_of_request(&lab, spi), first, "{what:?}");
        lab.settle();
        lab.pass(10 * SECOND);
        lab.assert_paired(1);
    }
}

#[test]
fn beside_a_peer_that_is_not_ready_for_minutes_another_ike_sa_is_negotiated() {
    let mut lab = Lab::up();
    let spi = *lab.ends[1].connections.ike_sas.all().keys().next().expect("an IKE SA");
    let begun = lab.now;
    rekey_child(&mut lab);
    let mut negotiated = None;
    while negotiated.is_none() && lab.now < begun + 600 * SECOND {
        let requests =
            |lab: &Lab| lab.wire.iter().any(|(_, sent)| header(sent).exchange_type == ExchangeType::CREATE_CHILD_SA);
        if requests(&lab) {
            answer_instead(&mut lab, spi, &[Payload::Notify(Notify::new(NotifyType::TEMPORARY_FAILURE, Vec::new()))]);
        }
        if lab.wire.iter().any(|(_, sent)| header(sent).exchange_type == ExchangeType::IKE_SA_INIT) {
            negotiated = Some(lab.now - begun);
        } else {
            lab.now += SECOND;
            lab.tick(0);
        }
    }
    let negotiated = negotiated.expect("another IKE SA");
    assert!((180..=220).contains(&negotiated.as_secs()), "{negotiated:?}");
    let old = lab.ike_spis(0);
    lab.settle();
    lab.pass(10 * SECOND);
    assert_ne!(lab.ike_spis(0), old, "it takes over");
    lab.assert_paired(1);
}

#[test]
fn who_only_answers_and_cannot_rekey_a_child_closes_the_ike_sa_when_it_expires() {
    let left = Connection { child_lifetime: Duration::from_secs(24 * 3600), ..connection(0) };
    // Each rekey of end 1 wants a group, and end 0 takes none.
    let right = with_groups(connection(1), &[&ke::X25519]);
    let ends: [fn(&mut Connection); 2] = [|_| (), |right| right.peer = Peer::Any];
    for change in ends {
        let mut right = right.clone();
        change(&mut right);
        let mut lab = Lab::new([config(left.clone()), config(right)]);
        lab.settle();
        let first = lab.ike_spis(0);
        lab.pass(Duration::from_secs(3590));
        assert_eq!(lab.ike_spis(0), first, "as long as the pair serves");
        lab.pass(20 * SECOND);
        assert_ne!(lab.ike_spis(0), first, "the peer has started anew");
        lab.assert_paired(1);
    }
}

#[test]
fn a_peer_that_refuses_is_tried_less_and_less_often_until_somebody_asks_for_it_anew() {
    let mut wrong = connection(1);
    wrong.pre_shared_key = Arc::new(Secret::new(b"another horse".to_vec()));
    let mut lab = Lab::new([config(connection(0)), config(wrong)]);
    let begin = lab.now;
    // The seconds in which an attempt was refused, counted from the first one.
    let refused_at = |lab: &mut Lab, span: u32| -> Vec<u64> {
        let began = lab.now;
        let mut at = Vec::new();
        while lab.now < began + span * SECOND {
            lab.events[0].clear();
            lab.pass(SECOND / 4);
            let refused = lab.events[0].iter().any(|event| matches!(event, Event::ConnectionDown { .. }));
            at.extend(refused.then(|| (lab.now - began).as_secs()));
        }
        at
    };
    lab.settle();
    let waits = |at: Vec<u64>| at.windows(2).map(|pair| pair[1] - pair[0]).collect::<Vec<_>>();
    let first = waits(refused_at(&mut lab, 400));
    assert!(first.len() >= 8, "{first:?}");
    // Doubled each time up to a minute, with some jitter.
    assert!(first[0] <= 6 && first.windows(2).take(4).all(|two| two[1] * 10 >= two[0] * 12), "{first:?}");
    assert!(first[5..].iter().all(|wait| (40..=80).contains(wait)), "{first:?}");
    lab.command(0, Command::Up { connection: "site".into() });
    lab.settle();
    let again = waits(refused_at(&mut lab, 60));
    assert!(again.len() >= 3 && again[0] <= 6, "{again:?}, {:?} after the start", lab.now - begin);
}

#[test]
fn rekeys_that_nobody_accepts_are_told_a_few_times_and_counted() {
    // IKE_AUTH negotiates no group, each rekey does.
    let left = with_groups(connection(0), &[&ke::X25519]);
    let mut lab = Lab::new([config(left), config(connection(1))]);
    lab.settle();
    for _ in 0..40 {
        rekey_child(&mut lab);
        lab.settle();
        lab.pass(SECOND / 4);
    }
    for side in [0, 1] {
        let told = lab.failures(side);
        assert!((1..=9).contains(&told.len()), "{} told in ten seconds", told.len());
    }
    lab.pass(6 * SECOND);
    assert!(lab.events[1].iter().any(|event| matches!(event, Event::FailuresLeftOut { count, .. } if *count > 1)));
}

#[test]
fn attempts_with_a_wrong_key_are_told_a_few_times_and_their_status_says_why() {
    let mut left = connection(0);
    left.pre_shared_key = Arc::new(Secret::new(b"another".to_vec()));
    let name = left.name.clone();
    let mut lab = Lab::new([config(left), config(connection(1))]);
    for _ in 0..20 {
        lab.command(0, Command::Down { connection: name.clone() });
        lab.command(0, Command::Up { connection: name.clone() });
        lab.settle();
        let error = lab.ends[0].status().remove(0).last_error.map(|error| error.to_string());
        assert!(error.is_some_and(|error| error.contains("AUTHENTICATION_FAILED")));
    }
    assert!((1..=4).contains(&lab.failures(0).len()), "{} of 20 told", lab.failures(0).len());
    lab.pass(6 * SECOND);
    assert!(lab.events[0].iter().any(|event| matches!(event, Event::FailuresLeftOut { count, .. } if *count >= 16)));
}
