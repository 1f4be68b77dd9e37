//! Floods of IKE_SA_INIT requests.

use super::*;
use crate::crypto::fake;
use crate::wire::ike::{ExchangeType, Identification};

/// A request of an initiator at `source` that never goes on.
fn flood(lab: &mut Lab, request: &Transmit, number: u32) {
    let mut payload = request.payload.clone();
    payload[..4].copy_from_slice(&(number + 1).to_be_bytes());
    let [_, b, c, d] = number.to_be_bytes();
    let path = Path {
        local: SocketAddr::new(ADDRESSES[1].into(), 500),
        peer: address([198, 18 | b & 1, c, d], 500),
        non_esp_marker: false,
    };
    let _ = lab.ends[1].handle_datagram(&payload, path, lab.now);
    lab.collect(1);
    lab.wire.clear();
}

fn any_and_site() -> Config {
    let mut any = connection(1);
    any.name = Arc::from("any");
    any.peer = Peer::Any;
    Config::new(vec![Arc::new(connection(1)), Arc::new(any)])
}

#[test]
fn a_flood_does_not_keep_a_configured_peer_out() {
    let mut right = any_and_site();
    right.half_open_limit = 200;
    let mut lab = Lab::new([config(connection(0)), right]);
    lab.tick(0);
    let (_, request) = lab.wire.pop_front().expect("a request");
    for number in 0..2_000 {
        flood(&mut lab, &request, number);
    }
    assert_eq!(lab.ends[1].half_open(), 64, "from then on a cookie is needed");
    assert_eq!(lab.ends[1].discards().of(Discard::CookieRequired), 2_000 - 64);
    lab.pass(5 * SECOND);
    lab.assert_paired(1);
    assert!(lab.discards.contains(&Discard::CookieRequired));
    lab.pass(60 * SECOND);
    assert_eq!(lab.ends[1].half_open(), 0);
}

#[test]
fn at_the_limit_the_oldest_makes_room_for_who_returns_a_cookie() {
    let mut right = any_and_site();
    right.half_open_limit = 10;
    right.cookie_threshold = 0;
    let mut lab = Lab::new([config(connection(0)), right]);
    // The flood returns its cookies.
    for number in 0..30 {
        let mut stranger = connection(0);
        let source = Ipv4Addr::new(198, 18, 0, number);
        stranger.local_address = Some(source.into());
        let mut other =
            Endpoint::new(Arc::new(config(stranger)), Box::new(SeededEntropy::new(1000 + u64::from(number))), lab.now);
        for _ in 0..2 {
            other.handle_timeout(lab.now);
            while let Output::Transmit(sent) = other.poll_output() {
                let path = Path { local: sent.path.peer, peer: sent.path.local, non_esp_marker: false };
                let _ = lab.ends[1].handle_datagram(&sent.payload, path, lab.now);
                while let Output::Transmit(answer) = lab.ends[1].poll_output() {
                    let back = Path { local: answer.path.peer, peer: answer.path.local, non_esp_marker: false };
                    if Header::parse(&answer.payload).is_ok_and(|header| header.responder_spi.is_zero()) {
                        while !matches!(other.poll_output(), Output::Timeout(_)) {}
                        let _ = other.handle_datagram(&answer.payload, back, lab.now);
                    }
                }
            }
        }
    }
    assert_eq!(lab.ends[1].half_open(), 10);
    assert_eq!(lab.ends[1].discards().of(Discard::CookieRequired), 30);
    lab.settle();
    lab.assert_paired(1);
    assert_eq!(lab.ends[1].half_open(), 9);
}

/// Both ends after IKE_SA_INIT, with the IKE_AUTH request still on its way.
fn half_open(left: Connection) -> (Lab, Transmit) {
    let mut lab = Lab::new([config(left), config(connection(1))]);
    lab.tick(0);
    while !matches!(lab.wire.front(), Some((0, sent)) if header(sent).exchange_type == ExchangeType::IKE_AUTH) {
        assert!(lab.deliver());
    }
    let (_, request) = lab.wire.pop_front().expect("a request");
    (lab, request)
}

#[test]
fn rubbish_on_a_half_open_ike_sa_costs_one_derivation_and_keeps_nobody_out() {
    let mut left = connection(0);
    left.ike_proposals[0].groups = vec![&fake::SLOW_KEY_EXCHANGE];
    let mut right = connection(1);
    right.ike_proposals[0].groups = vec![&fake::SLOW_KEY_EXCHANGE];
    let mut lab = Lab::new([config(left), config(right)]);
    lab.tick(0);
    lab.deliver();
    lab.deliver();
    let (_, request) = lab.wire.pop_front().expect("an IKE_AUTH request");
    let before = fake::spent();
    for place in 28..request.payload.len() {
        let mut rubbish = request.clone();
        rubbish.payload[place] ^= 1;
        lab.arrive(1, &rubbish);
    }
    assert_eq!(fake::spent() - before, fake::SLOW_KEY_EXCHANGE.cost);
    assert_eq!((lab.lose(), lab.ends[1].half_open()), (0, 1));
    lab.arrive(1, &request);
    lab.settle();
    lab.assert_paired(1);
}

#[test]
fn longer_messages_than_a_stranger_has_use_for_are_not_read() {
    let longest = |lab: &mut Lab, message: &Transmit, length: usize| {
        let mut long = message.clone();
        long.payload.resize(length, 0);
        long.payload[24..28].copy_from_slice(&(length as u32).to_be_bytes());
        lab.discards.clear();
        lab.arrive(1, &long);
        lab.discards.pop()
    };
    let (mut lab, auth) = half_open(connection(0));
    let mut init = auth.clone();
    init.payload[8..16].fill(0);
    init.payload[18] = ExchangeType::IKE_SA_INIT.0;
    assert_ne!(longest(&mut lab, &init, 4 << 10), Some(Discard::TooLong));
    assert_eq!(longest(&mut lab, &init, (4 << 10) + 1), Some(Discard::TooLong));
    let mut unknown = auth.clone();
    unknown.payload[8] ^= 1;
    for message in [&auth, &unknown] {
        assert_ne!(longest(&mut lab, message, 16 << 10), Some(Discard::TooLong));
        assert_eq!(longest(&mut lab, message, (16 << 10) + 1), Some(Discard::TooLong));
    }
    lab.arrive(1, &auth);
    lab.settle();
    lab.assert_paired(1);
    assert_ne!(longest(&mut lab, &auth, 60_000), Some(Discard::TooLong), "the peer is authenticated");
}

#[test]
fn failures_of_strangers_are_told_now_and_then_and_counted() {
    let mut left = connection(0);
    left.pre_shared_key = Arc::new(Secret::new(b"other".to_vec()));
    let mut lab = Lab::new([config(left.clone()), config(connection(1))]);
    lab.command(0, Command::Down { connection: left.name.clone() });
    let strangers = (0..40).map(|seed| {
        let mut stranger = Endpoint::new(Arc::new(config(left.clone())), Box::new(SeededEntropy::new(seed)), lab.now);
        stranger.handle_timeout(lab.now);
        stranger
    });
    for mut stranger in strangers.collect::<Vec<_>>() {
        // A cookie, IKE_SA_INIT and IKE_AUTH.
        for _ in 0..3 {
            while let Output::Transmit(sent) = stranger.poll_output() {
                lab.arrive(1, &sent);
            }
            for (_, answer) in std::mem::take(&mut lab.wire) {
                while !matches!(stranger.poll_output(), Output::Timeout(_)) {}
                let path = Path { local: answer.path.peer, peer: answer.path.local, ..answer.path };
                let _ = stranger.handle_datagram(&answer.payload, path, lab.now);
            }
        }
    }
    assert_eq!(lab.ends[1].half_open(), 40);
    let told = lab.failures(1).len();
    assert!((1..=5).contains(&told), "{told} of 40");
    lab.pass(6 * SECOND);
    let left_out = lab.events[1].iter().filter_map(|event| match event {
        Event::FailuresLeftOut { count, span } => Some((*count, *span)),
        _ => None,
    });
    assert_eq!(left_out.collect::<Vec<_>>(), [(40 - told as u64, 5 * SECOND)]);
}

/// A stranger goes as far as an IKE_AUTH request in fragments, of which the last one does not come.
fn leave_incomplete(lab: &mut Lab, source: Ipv4Addr, seed: u64) {
    let mut stranger = connection(0);
    stranger.local_address = Some(source.into());
    stranger.local_id = Identification::KeyId(vec![7; 14_000]);
    let mut stranger = Endpoint::new(Arc::new(config(stranger)), Box::new(SeededEntropy::new(seed)), lab.now);
    stranger.handle_timeout(lab.now);
    // A cookie, IKE_SA_INIT and IKE_AUTH.
    for _ in 0..3 {
        let sent = std::iter::from_fn(|| match stranger.poll_output() {
            Output::Transmit(sent) => Some(sent),
            _ => None,
        });
        let mut sent: Vec<_> = sent.collect();
        if sent.first().is_some_and(|sent| header(sent).exchange_type == ExchangeType::IKE_AUTH) {
            sent.pop();
        }
        for sent in sent {
            lab.arrive(1, &sent);
        }
        for (_, answer) in std::mem::take(&mut lab.wire) {
            let path = Path { local: answer.path.peer, peer: answer.path.local, ..answer.path };
            let _ = stranger.handle_datagram(&answer.payload, path, lab.now);
        }
    }
}

#[test]
fn fragments_that_are_never_complete_keep_nobody_out() {
    let mut left = connection(0);
    left.extensions.fragment_size = Some(140);
    let mut lab = Lab::new([config(left), any_and_site()]);
    // From 24 sources, more than what all may leave together.
    for number in 0..24 * 60 {
        let source = Ipv4Addr::new(198, 18, 0, (number % 24) as u8);
        leave_incomplete(&mut lab, source, 1_000 + number);
    }
    assert!(lab.ends[1].half_open() > 1_000);
    lab.tick(0);
    lab.settle();
    lab.assert_paired(1);
}

#[test]
fn one_source_needs_a_cookie_after_a_few() {
    let mut lab = Lab::plain();
    lab.tick(0);
    let (_, request) = lab.wire.pop_front().expect("a request");
    for number in 0..5_u8 {
        let mut copy = request.clone();
        copy.payload[0] = number;
        lab.arrive(1, &copy);
    }
    assert_eq!(lab.ends[1].half_open(), 3);
    assert_eq!(lab.ends[1].discards().of(Discard::CookieRequired), 2);
}

#[test]
fn a_refused_peer_counts_as_half_open_until_its_answer_is_forgotten() {
    let mut left = connection(0);
    left.pre_shared_key = Arc::new(Secret::new(b"other".to_vec()));
    let mut lab = Lab::new([config(left), config(connection(1))]);
    lab.settle();
    assert_eq!(lab.ends[1].half_open(), 1);
    lab.command(0, Command::Down { connection: connection(0).name });
    lab.pass(Duration::from_secs(11));
    assert_eq!(lab.ends[1].half_open(), 0);
}

#[test]
fn a_stranger_gets_a_short_refusal_and_leaves_nothing() {
    let mut right = connection(1);
    right.peer = Peer::Address([203, 0, 113, 9].into());
    let mut lab = Lab::new([config(connection(0)), config(right)]);
    lab.tick(0);
    let (_, request) = lab.wire.front().expect("a request").clone();
    lab.deliver();
    let (_, answer) = lab.wire.front().expect("a refusal").clone();
    assert!(answer.payload.len() < request.payload.len());
    assert_eq!(header(&answer).exchange_type, ExchangeType::IKE_SA_INIT);
    assert_eq!(lab.ends[1].half_open(), 0);
    assert_eq!(lab.discards, [Discard::NoConnection]);
}

#[test]
fn other_versions_are_told_ours_and_garbage_nothing() {
    let mut lab = Lab::plain();
    lab.tick(0);
    let (_, request) = lab.wire.pop_front().expect("a request");
    let mut third = request.clone();
    third.payload[17] = 0x30;
    lab.arrive(1, &third);
    assert_eq!(lab.discards, [Discard::Version]);
    assert_eq!(lab.lose(), 1);
    for payload in
        [vec![], vec![0], vec![0xff; 28], vec![0; 2000], request.payload[..request.payload.len() - 1].to_vec()]
    {
        lab.arrive(1, &Transmit { payload, ..request.clone() });
    }
    assert_eq!(lab.lose(), 0);
    assert_eq!(lab.ends[1].half_open(), 0);
}
