//! Floods of IKE_SA_INIT requests.

use super::*;
use crate::wire::ike::ExchangeType;

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
fn at_the_limit_the_oldest_makes_room_for_a_configured_peer() {
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
    assert_eq!(lab.ends[1].discards().of(Discard::HalfOpenLimit), 20);
    lab.settle();
    lab.assert_paired(1);
    assert_eq!(lab.ends[1].half_open(), 9);
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
