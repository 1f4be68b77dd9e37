//! Whose turn it is, when many ask peers that do not answer; and what a hint costs.

use std::collections::BTreeSet;

use super::many::{established, lab, many};
use super::*;
use crate::crypto::fake::SLOW_KEY_EXCHANGE;
use crate::ike::SaActivity;
use crate::ike::association::looks;
use crate::ike::endpoint::start_limit::{Addresses, StartLimit, Turn};
use crate::wire::ike::{ExchangeType, Flags, Notify, NotifyType, Payload, encode_message};

fn between(host: u8) -> Addresses {
    Addresses::of(&connection(0), IpAddr::from([192, 0, 2, host]))
}

fn spi(number: u64) -> IkeSpi {
    IkeSpi(number.to_be_bytes())
}

/// Gives every turn that there is a place for, to negotiations that go on. Tells whose they were.
fn take(limit: &mut StartLimit, now: Instant) -> Vec<u64> {
    let mut taken = Vec::new();
    while let Some((addresses, Turn::Ask(spi))) = limit.next(now) {
        limit.started(addresses, spi, true, now);
        taken.push(u64::from_be_bytes(spi.0));
    }
    taken
}

#[test]
fn who_has_packets_comes_first_then_the_oldest_and_addresses_take_turns() {
    let now = Instant::now();
    let mut limit = StartLimit::new(now);
    for (number, host) in [(1, 1), (2, 1), (3, 1), (4, 2), (5, 2)] {
        assert!(limit.wait(between(host), Turn::Ask(spi(number)), false, now));
    }
    assert!(limit.wait(between(1), Turn::Ask(spi(6)), true, now));
    assert!(!limit.wait(between(1), Turn::Ask(spi(6)), false, now), "it waits already");
    assert!(!limit.wait(between(2), Turn::Ask(spi(5)), true, now), "and has packets from now on");
    assert_eq!(take(&mut limit, now), [6, 5, 1, 4, 2, 3]);
    assert!(limit.next(now).is_none() && !limit.waits(&Turn::Ask(spi(1))));
}

#[test]
fn who_waits_does_so_between_the_addresses_that_it_named_last() {
    let now = Instant::now();
    let mut limit = StartLimit::new(now);
    limit.unanswered(between(1), false, now, now);
    for number in 0..3 {
        limit.wait(between(1), Turn::Ask(spi(number)), number == 2, now);
    }
    assert_eq!(take(&mut limit, now), [2]);
    assert!(!limit.wait(between(2), Turn::Ask(spi(1)), false, now), "it has waited elsewhere");
    assert_eq!(take(&mut limit, now), [1]);
    limit.forget(&Turn::Ask(spi(0)));
    assert!(limit.over(&spi(2)) && !limit.waits(&Turn::Ask(spi(0))));
    assert!(limit.next(now + 20 * SECOND).is_none());
}

#[test]
fn a_connection_whose_peer_moves_does_not_wait_where_nobody_answers() {
    for changes in [false, true] {
        let mut left = many(0, 5);
        left.iter_mut().for_each(|left| left.peer = Peer::Address(Ipv4Addr::new(192, 0, 2, 99).into()));
        let mut lab = lab(left.clone(), many(1, 5));
        // The first attempts are in vain: now each waits for another one to find out.
        for _ in 0..400 {
            lab.now += SECOND / 20;
            lab.tick(0);
            lab.lose();
        }
        assert!(attempts(&lab) < 5);
        for (number, moved) in left.iter_mut().enumerate() {
            moved.peer = Peer::Address(ADDRESSES[1].into());
            let moved = Arc::new(moved.clone());
            if changes {
                let change = Change { removed: Vec::new(), set: vec![(number as u64, moved)] };
                lab.command(0, Command::Change(change));
            }
        }
        if !changes {
            let config = Config::new(left.into_iter().map(Arc::new).collect());
            lab.command(0, Command::Reload(Arc::new(config)));
        }
        lab.settle();
        lab.assert_paired(5);
    }
}

#[test]
fn who_has_no_packets_does_not_wait_for_ever() {
    let now = Instant::now();
    let mut limit = StartLimit::new(now);
    limit.wait(between(1), Turn::Ask(spi(1)), false, now);
    for number in 2..20 {
        limit.wait(between(1), Turn::Ask(spi(number)), true, now);
    }
    assert!(take(&mut limit, now)[..4].contains(&1));
}

#[test]
fn where_nobody_answers_one_finds_out_for_all() {
    let start = Instant::now();
    let mut limit = StartLimit::new(start);
    limit.unanswered(between(1), false, start, start);
    for number in 0..100 {
        limit.wait(between(1), Turn::Ask(spi(number)), false, start);
    }
    for half in 0..3 {
        let now = start + half * SECOND / 2;
        assert_eq!(take(&mut limit, now), if half == 0 { vec![0] } else { vec![] }, "after {half} halves of a second");
    }
    // It is over, and the next one is it. A hint lets this one ask again, but not more than every second.
    let now = start + 3 * SECOND / 2;
    assert!(limit.over(&spi(0)));
    assert_eq!(take(&mut limit, now), [1]);
    assert!(limit.hint(between(1).peer, now) && !limit.hint(between(2).peer, now));
    assert_eq!((take(&mut limit, now), take(&mut limit, now + SECOND)), (vec![], vec![1]));
    // It is answered: the others go on, some at a time.
    let now = now + 2 * SECOND;
    limit.answered(between(1), None, now);
    assert_eq!(take(&mut limit, now), (2..34).collect::<Vec<_>>());
    assert!(limit.deadline().is_some_and(|deadline| deadline.at <= now + SECOND));
    assert!(limit.over(&spi(7)) && !limit.over(&spi(7)));
    assert_eq!(take(&mut limit, now), [34]);
}

#[test]
fn one_that_is_never_answered_does_not_hold_up_the_others() {
    let start = Instant::now();
    let mut limit = StartLimit::new(start);
    limit.unanswered(between(1), true, start, start);
    for number in 0..3 {
        limit.wait(between(1), Turn::Ask(spi(number)), false, start);
    }
    assert_eq!(take(&mut limit, start), [0]);
    // Hints let it ask again, and do not make it the only one for longer.
    assert!(limit.hint(between(1).peer, start + SECOND));
    assert_eq!(take(&mut limit, start + SECOND), [0]);
    let next = limit.deadline().expect("somebody waits").at;
    assert_eq!((next, take(&mut limit, next)), (start + 2 * SECOND, vec![1]));
    assert!(limit.hint(between(1).peer, start + 5 * SECOND));
    assert_eq!(take(&mut limit, start + 5 * SECOND), [2], "one that has had its time comes last");
}

#[test]
fn a_sign_of_life_of_any_ike_sa_tells_that_somebody_is_there() {
    let start = Instant::now();
    let mut limit = StartLimit::new(start);
    limit.started(between(1), spi(1), true, start);
    limit.heard(between(1), start + 10 * SECOND, start + 10 * SECOND);
    limit.unanswered(between(1), true, start, start + 15 * SECOND);
    assert!(!limit.is_silent(between(1)));
    limit.unanswered(between(1), true, start + 15 * SECOND, start + 30 * SECOND);
    limit.heard(between(1), start + 29 * SECOND, start + 30 * SECOND);
    assert!(limit.is_silent(between(1)));
    limit.heard(between(1), start + 31 * SECOND, start + 31 * SECOND);
    assert!(!limit.is_silent(between(1)));
}

#[test]
fn one_that_falls_silent_does_not_wait_behind_those_that_are_dead_for_long() {
    let start = Instant::now();
    let mut limit = StartLimit::new(start);
    let host = |number: u64| Addresses::of(&connection(0), IpAddr::V4(Ipv4Addr::from(number as u32)));
    for number in 0..1_000 {
        limit.unanswered(host(number), true, start, start);
        limit.wait(host(number), Turn::Ask(spi(number)), true, start);
    }
    assert_eq!(take(&mut limit, start).len(), 48);
    limit.unanswered(host(2_000), false, start, start);
    limit.wait(host(2_000), Turn::Ask(spi(2_000)), false, start);
    assert_eq!(take(&mut limit, start), [2_000], "a place is kept for it");
    assert!(!limit.hint(host(900).peer, start), "a sign of one that is dead");
    assert_eq!(take(&mut limit, start), [900]);
}

#[test]
fn neither_hints_nor_those_that_fall_silent_keep_out_those_that_are_dead_for_long() {
    for falling_silent in [0, 100] {
        let start = Instant::now();
        let mut limit = StartLimit::new(start);
        let host = |number: u64| Addresses::of(&connection(0), IpAddr::V4(Ipv4Addr::from(number as u32)));
        for number in 0..300 {
            limit.unanswered(host(number), true, start, start);
            limit.wait(host(number), Turn::Ask(spi(number)), number % 2 == 0, start);
        }
        let (mut called, mut at_once) = (BTreeSet::new(), 0);
        for second in 0..20 {
            let now = start + second * SECOND;
            let falling = (1_000 * u64::from(second) + 1_000..).take(falling_silent);
            for number in falling {
                limit.unanswered(host(number), false, now, now);
                limit.wait(host(number), Turn::Ask(spi(number)), true, now);
            }
            (200..300).for_each(|number| _ = limit.hint(host(number).peer, now));
            let taken = take(&mut limit, now);
            at_once = at_once.max(taken.len());
            called.extend(taken);
        }
        let missing: Vec<u64> = (0..300).filter(|number| !called.contains(number)).collect();
        assert_eq!(missing, Vec::<u64>::new(), "{falling_silent} fall silent each second");
        assert!(at_once <= 64, "{at_once}");
    }
}

#[test]
fn addresses_that_fall_silent_again_and_again_have_one_place_in_the_rotation() {
    let start = Instant::now();
    let mut limit = StartLimit::new(start);
    let between = |number: u64| Addresses::of(&connection(0), IpAddr::V4(Ipv4Addr::from(number as u32)));
    for number in 0..1_000 {
        limit.started(between(2_000 + number), spi(2_000 + number), false, start);
    }
    for number in 0..256 {
        limit.wait(between(number % 128), Turn::Ask(spi(number)), false, start);
    }
    for _ in 0..10 {
        limit.unanswered(between(7), false, start, start);
        limit.answered_unproven(between(7), start);
    }
    limit.answered(between(7), None, start);
    let first = take(&mut limit, start + SECOND);
    assert_eq!(first[..128].iter().filter(|number| *number % 128 == 7).count(), 1);
}

#[test]
fn an_answer_that_nobody_has_authenticated_gives_no_hope_for_others() {
    let start = Instant::now();
    let mut limit = StartLimit::new(start);
    let host = |number: u64| Addresses::of(&connection(0), IpAddr::V4(Ipv4Addr::from(number as u32)));
    for number in 0..1_000 {
        limit.unanswered(host(number), false, start, start);
        limit.wait(host(number), Turn::Ask(spi(number)), false, start);
    }
    assert_eq!(take(&mut limit, start).len(), 64);
    limit.answered_unproven(host(3), start);
    assert!(!limit.is_silent(host(3)));
    assert_eq!(take(&mut limit, start).len(), 0);
    limit.answered(host(3), None, start);
    assert_eq!(take(&mut limit, start).len(), 256 - 64);
}

#[test]
fn addresses_that_do_not_answer_have_few_places_until_one_of_them_does() {
    let start = Instant::now();
    let mut limit = StartLimit::new(start);
    let ask = |limit: &mut StartLimit, hosts: std::ops::Range<u64>, silent: bool, now: Instant| {
        for number in hosts {
            let addresses = Addresses::of(&connection(0), IpAddr::V4(Ipv4Addr::from(number as u32)));
            if silent {
                limit.unanswered(addresses, false, now, now);
            }
            limit.wait(addresses, Turn::Ask(spi(number)), false, now);
        }
    };
    ask(&mut limit, 0..1_000, true, start);
    ask(&mut limit, 1_000..1_100, false, start);
    let first = take(&mut limit, start);
    assert_eq!(first.len(), 64 + 100, "the silent ones take no place from the others");
    assert_eq!(take(&mut limit, start + SECOND / 2).len(), 0);
    assert_eq!(take(&mut limit, start + SECOND).len(), 64, "the next ones, a second later");
    let answers = Addresses::of(&connection(0), IpAddr::V4(Ipv4Addr::from(3)));
    limit.answered(answers, None, start + SECOND);
    assert_eq!(take(&mut limit, start + SECOND).len(), 256 - 64);
}

#[test]
fn one_silent_ike_sa_among_others_that_were_answered_since_makes_no_path_silent() {
    let start = Instant::now();
    let mut limit = StartLimit::new(start);
    limit.wait(between(1), Turn::Ask(spi(1)), false, start);
    limit.answered(between(1), None, start + 2 * SECOND);
    limit.unanswered(between(1), false, start + SECOND, start + 3 * SECOND);
    assert!(!limit.is_silent(between(1)));
    limit.unanswered(between(1), false, start + 2 * SECOND, start + 4 * SECOND);
    assert!(limit.is_silent(between(1)));
}

/// So many connections with one peer, up and silent: nothing arrives for a while.
fn silent(count: usize) -> Lab {
    silent_but(0, count)
}

/// The same, but so many of them have asked nothing.
fn silent_but(idle: usize, count: usize) -> Lab {
    let mut left = many(0, count);
    left[idle..].iter_mut().for_each(|connection| connection.liveness_interval = Some(10 * SECOND));
    let mut lab = lab(left, many(1, count));
    (0..count).for_each(|_| lab.settle());
    assert!(established(&lab, 0).into_iter().all(|up| up));
    for _ in 0..200 {
        lab.now += SECOND / 10;
        lab.tick(0);
        lab.lose();
    }
    lab
}

fn attempts(lab: &Lab) -> usize {
    lab.ends[0].connections.ike_sas.all().values().filter(|sa| matches!(sa, IkeSa::InitSent(_))).count()
}

#[test]
fn one_of_many_ike_sas_with_a_silent_peer_tries_another_and_its_answer_brings_all_back() {
    let mut lab = silent(100);
    assert!((1..=10).contains(&attempts(&lab)), "one more every two seconds: {}", attempts(&lab));
    let spis: BTreeSet<u32> = lab.inbound(0).into_iter().collect();
    // What a second brings: those that find out, and what the others repeat rarely.
    let mut sent = 0;
    for _ in 0..100 {
        lab.now += SECOND / 10;
        lab.tick(0);
        sent += lab.lose();
    }
    assert!(sent <= 10 * 8 + 100 * 10 / 8, "{sent} datagrams in ten seconds");
    lab.pass(3 * SECOND);
    let silent = lab.ends[0]
        .status()
        .iter()
        .filter(|status| status.ike_sa.as_ref().is_some_and(|sa| sa.silent_since.is_some()))
        .count();
    assert_eq!((silent, attempts(&lab)), (0, 0), "all have been asked");
    assert_eq!(lab.inbound(0).into_iter().collect::<BTreeSet<_>>(), spis, "and none was replaced");
}

/// The data path of the left end has just received a packet of this connection.
fn hear(lab: &mut Lab, connection: &str) {
    let pair = lab.pairs[0].values().find(|pair| &*pair.sa.connection == connection).expect("its pair");
    let activity =
        SaActivity { inbound_spi: pair.sa.inbound_spi, last_inbound: lab.now, first_seen: false, source: None };
    lab.command(0, Command::SaActivity(vec![activity]));
}

#[test]
fn a_packet_of_one_connection_lets_those_go_on_at_once_that_wait_for_the_same_peer() {
    let mut lab = silent_but(1, 100);
    lab.now += SECOND / 100;
    hear(&mut lab, "site-0");
    lab.tick(0);
    let asked = lab.lose();
    assert!(asked > 20, "{asked} ask at once");
}

#[test]
fn a_sign_of_life_from_before_the_question_is_no_answer_to_it() {
    let mut left = many(0, 40);
    left.iter_mut().for_each(|connection| connection.liveness_interval = Some(3_600 * SECOND));
    let mut lab = lab(left, many(1, 40));
    (0..40).for_each(|_| lab.settle());
    lab.pass(10 * SECOND);
    // The path goes away right after this; half a second later packets of all others have gone unanswered.
    hear(&mut lab, "site-0");
    lab.now += SECOND / 2;
    let others = lab.pairs[0].values().filter(|pair| &*pair.sa.connection != "site-0");
    for inbound_spi in others.map(|pair| pair.sa.inbound_spi).collect::<Vec<_>>() {
        lab.command(0, Command::CheckLiveness { inbound_spi });
    }
    for _ in 0..40 {
        lab.lose();
        lab.now += SECOND / 10;
        lab.tick(0);
    }
    assert!((1..=3).contains(&attempts(&lab)), "one more every two seconds: {}", attempts(&lab));
}

#[test]
fn changed_paths_let_many_ask_some_at_a_time() {
    let mut lab = silent(100);
    lab.command(0, Command::PathsChanged);
    let mut asked = 0;
    for _ in 0..2 {
        lab.tick(0);
        asked += lab.lose();
        lab.now += SECOND;
    }
    assert!((1..=30).contains(&asked), "{asked} ask within a second");
}

#[test]
fn many_connections_asked_for_by_packets_start_some_at_a_time() {
    let mut left = many(0, 100);
    left.iter_mut().for_each(|connection| connection.start = Start::OnTraffic);
    let mut lab = lab(left, many(1, 100));
    for number in 0..100 {
        let connection = format!("site-{number}").into();
        lab.command(0, Command::Acquire { connection, child: "net".into(), packet: None });
    }
    lab.tick(0);
    assert_eq!(lab.wire.len(), 32);
    (0..4).for_each(|_| lab.settle());
    lab.assert_paired(100);
}

#[test]
fn commands_begin_no_negotiation_and_one_call_no_more_than_a_few_milliseconds_of_them() {
    let mut left = many(0, 20);
    for connection in &mut left {
        connection.start = Start::OnTraffic;
        connection.ike_proposals.iter_mut().for_each(|proposal| proposal.groups = vec![&SLOW_KEY_EXCHANGE]);
    }
    let mut lab = lab(left, many(1, 20));
    for number in 0..20 {
        let connection: Arc<str> = format!("site-{number}").into();
        lab.command(0, Command::Acquire { connection: connection.clone(), child: "net".into(), packet: None });
        lab.command(0, Command::Up { connection });
    }
    assert_eq!(lab.wire.len(), 0, "they only wait");
    for begun in 1..=3 {
        lab.tick(0);
        assert_eq!(lab.wire.len(), begun);
    }
}

/// A datagram in the clear for the left end, from this host.
fn arrive(lab: &mut Lab, message: &[u8], host: u8) {
    let path = Path {
        local: address(ADDRESSES[0].octets(), 500),
        peer: address([192, 0, 2, host], 500),
        non_esp_marker: false,
    };
    let _ = lab.ends[0].handle_datagram(message, path, lab.now);
    lab.collect(0);
}

fn invalid_spi(spi: u32) -> Vec<u8> {
    let flags = Flags { initiator: true, ..Flags::default() };
    let header = Header::new(IkeSpi([7; 8]), IkeSpi([9; 8]), ExchangeType::INFORMATIONAL, flags, 0);
    let notify = Notify::new(NotifyType::INVALID_SPI, spi.to_be_bytes().to_vec());
    encode_message(&header, &[Payload::Notify(notify)]).expect("a short message")
}

/// An IKE_SA_INIT request as the right end would send it.
fn init_request() -> Vec<u8> {
    let mut connection = connection(1);
    connection.start = Start::Now;
    let mut end = Endpoint::new(Arc::new(config(connection)), Box::new(SeededEntropy::new(5)), Instant::now());
    end.handle_timeout(Instant::now());
    loop {
        match end.poll_output() {
            Output::Transmit(transmit) => return transmit.payload,
            Output::Event(_) => {}
            Output::Timeout(_) => panic!("no request"),
        }
    }
}

#[test]
fn a_hint_looks_at_what_it_touches_however_many_ike_sas_there_are() {
    let costs = |count: usize| {
        let mut lab = silent(count);
        let pair = lab.pairs[0].values().next().expect("a pair").sa.outbound_spi;
        let hints = [invalid_spi(pair), invalid_spi(pair ^ 1), init_request()];
        hints.map(|hint| {
            lab.now += SECOND;
            lab.tick(0);
            lab.lose();
            looks::take();
            arrive(&mut lab, &hint, 2);
            looks::take()
        })
    };
    let (few, many) = (costs(40), costs(160));
    assert!(few.iter().zip(many).all(|(few, many)| many <= few + 4), "{few:?} and {many:?}");
    assert!(many.iter().all(|looks| *looks < 30), "{many:?}");
}

#[test]
fn hints_in_the_name_of_some_peers_take_nothing_from_another_ones() {
    let mut left = many(0, 5);
    for (connection, host) in left[..4].iter_mut().zip(90..) {
        (connection.peer, connection.start) = (Peer::Address(Ipv4Addr::new(192, 0, 2, host).into()), Start::Wait);
    }
    left[4].liveness_interval = Some(30 * SECOND);
    let mut lab = lab(left, many(1, 5));
    lab.settle();
    lab.pass(10 * SECOND);
    lab.assert_paired(1);
    for number in 0..1_000 {
        arrive(&mut lab, &invalid_spi(7), 90 + (number % 4) as u8);
        lab.now += SECOND / 1_000;
    }
    assert_eq!(lab.lose(), 0);
    let pair = lab.pairs[0].values().next().expect("a pair").sa.outbound_spi;
    arrive(&mut lab, &invalid_spi(pair), 2);
    assert_eq!(lab.lose(), 1, "a check");
}
