//! Giving up a path and giving up an IKE SA are different things.

use super::duplicates::crossed_between;
use super::*;
use crate::ike::endpoint::timers::Timer;
use crate::ike::exchange::task::Task;
use crate::ike::keys::Spis;
use crate::ike::{RekeyWhat, Removal};
use crate::wire::ike::{ExchangeType, Flags, Notify, NotifyType, Payload, encode_message};

/// Both ends, established ten seconds ago; the left one checks after 30 seconds.
fn established() -> Lab {
    let mut left = connection(0);
    left.liveness_interval = Some(30 * SECOND);
    let mut lab = Lab::new([config(left), config(connection(1))]);
    lab.settle();
    lab.pass(10 * SECOND);
    lab.assert_paired(1);
    lab.events[0].clear();
    lab
}

/// What the left end sends in so many tenths of a second in which nothing arrives. Packets that go out, if any do, are told of
/// every two seconds. With the tenth in which it is sent.
fn away(lab: &mut Lab, tenths: u32, packets: bool) -> Vec<(u32, ExchangeType)> {
    let mut sent = Vec::new();
    for tenth in 0..tenths {
        if let Some(inbound_spi) = lab.inbound(0).first().copied().filter(|_| packets && tenth % 20 == 0) {
            lab.command(0, Command::CheckLiveness { inbound_spi });
        }
        lab.tick(0);
        let datagrams = lab.wire.drain(..).filter(|(from, _)| *from == 0);
        sent.extend(datagrams.map(|(_, transmit)| (tenth, header(&transmit).exchange_type)));
        lab.now += SECOND / 10;
    }
    sent
}

/// The events about the path of the left end's IKE SA since the last call.
fn news(lab: &mut Lab) -> Vec<&'static str> {
    let news = lab.events[0].drain(..).filter_map(|event| match event {
        Event::PathSilent { .. } => Some("silent"),
        Event::PathAnswers { .. } => Some("answers"),
        Event::ConnectionDown { .. } => Some("down"),
        Event::ChildRemoved { .. } => Some("removed"),
        _ => None,
    });
    news.collect()
}

fn attempts(lab: &Lab) -> usize {
    lab.ends[0].connections.ike_sas.all().values().filter(|sa| matches!(sa, IkeSa::InitSent(_))).count()
}

fn silent_since(lab: &Lab) -> Option<Instant> {
    lab.ends[0].status().remove(0).ike_sa.expect("an IKE SA").silent_since
}

/// The right end starts anew, with this connection.
fn forget(lab: &mut Lab, connection: Connection) {
    lab.ends[1] = Endpoint::new(Arc::new(config(connection)), Box::new(SeededEntropy::new(99)), lab.now);
    lab.pairs[1].clear();
}

#[test]
fn a_path_is_silent_long_before_its_ike_sa_is_given_up() {
    let mut lab = established();
    let (spis, pair, heard) = (lab.ike_spis(0), lab.inbound(0), lab.now - 10 * SECOND);
    let sent = away(&mut lab, 14, true);
    assert_eq!(sent.iter().map(|(tenth, _)| *tenth).collect::<Vec<_>>(), [0, 5, 13], "{sent:?}");
    assert_eq!((news(&mut lab), silent_since(&lab), attempts(&lab)), (Vec::new(), None, 0));
    away(&mut lab, 2, true);
    assert_eq!((news(&mut lab), attempts(&lab)), (vec!["silent"], 1));
    assert!(silent_since(&lab).is_some_and(|since| since <= heard + SECOND));
    let sent = away(&mut lab, 1200, true);
    assert_eq!(news(&mut lab), Vec::<&str>::new(), "it is said once, and nothing is given up in two minutes");
    assert_eq!((lab.ike_spis(0), lab.inbound(0)), (spis, pair));
    let inits: Vec<u32> =
        sent.iter().filter(|(_, kind)| *kind == ExchangeType::IKE_SA_INIT).map(|(at, _)| *at).collect();
    assert!(inits.windows(2).all(|pair| pair[1] - pair[0] <= 21), "at least every two seconds: {inits:?}");
    away(&mut lab, 400, true);
    assert_eq!(news(&mut lab)[..2], ["removed", "down"]);
}

#[test]
fn the_first_sign_of_life_takes_everything_back() {
    let mut lab = established();
    let (spis, pair) = (lab.ike_spis(0), lab.inbound(0));
    away(&mut lab, 450, true);
    assert_eq!((news(&mut lab), attempts(&lab)), (vec!["silent"], 1));
    // What was unanswered is repeated before what is attempted beside it.
    lab.pass(3 * SECOND);
    assert_eq!((news(&mut lab), attempts(&lab), silent_since(&lab)), (vec!["answers"], 0, None));
    assert_eq!((lab.ike_spis(0), lab.inbound(0)), (spis, pair));
    lab.pass(60 * SECOND);
    lab.assert_paired(1);
    assert_eq!((news(&mut lab), lab.ends[0].connections.ike_sas.all().len()), (Vec::new(), 1));
}

#[test]
fn a_peer_that_has_forgotten_us_gets_another_ike_sa_soon_after_the_path_is_back() {
    let mut lab = established();
    let spis = lab.ike_spis(0);
    away(&mut lab, 450, true);
    forget(&mut lab, connection(1));
    lab.pass(2 * SECOND + SECOND / 10);
    lab.assert_paired(1);
    assert_ne!(lab.ike_spis(0), spis);
    assert_eq!(news(&mut lab), ["silent", "removed"]);
    lab.pass(20 * SECOND);
    assert_eq!([0, 1].map(|side| lab.ends[side].connections.ike_sas.all().len()), [1, 1]);
}

/// Two IKE SAs of one association, for both ends have initiated, and nothing has arrived for ten seconds.
fn two_silent() -> Lab {
    let connections = [0, 1].map(|side| Connection { liveness_interval: Some(5 * SECOND), ..connection(side) });
    let mut lab = crossed_between(connections, 1);
    // Neither is closed because the other is there.
    let association = lab.pairs[0].values().next().expect("a pair").sa.association;
    lab.ends[0].connections.ike_sas.timers.set(Timer::Duplicates("site".into(), association), None);
    away(&mut lab, 100, false);
    assert_eq!(news(&mut lab), ["silent", "silent"]);
    lab
}

#[test]
fn of_two_ike_sas_that_are_silent_neither_keeps_the_other_from_trying_another_one() {
    let mut lab = two_silent();
    assert_eq!(attempts(&lab), 1);
    forget(&mut lab, connection(1));
    lab.pass(3 * SECOND);
    lab.assert_paired(1);
    lab.pass(5 * SECOND);
    assert_eq!([0, 1].map(|side| ike_sas(&lab.ends[side])), [1, 1]);
}

#[test]
fn the_answer_on_one_of_two_silent_ike_sas_is_enough() {
    let mut lab = two_silent();
    // One of them alone is known to the peer, and not the one that the attempt is beside.
    let beside = lab.ends[0].connections.by_name["site"].beside.expect("an attempt").silent;
    let theirs = lab.ends[1].connections.ike_sas.all();
    let is_same = |sa: &IkeSa| matches!(sa, IkeSa::Established(state) if has(state.sa().channel().spis(), beside));
    let forgotten = theirs.iter().find(|(_, sa)| is_same(sa)).map(|(spi, _)| *spi).expect("the peer's");
    lab.ends[1].connections.forget(forgotten);
    for _ in 0..30 {
        lab.now += SECOND / 10;
        lab.tick(0);
        // What begins another IKE SA gets lost.
        lab.wire.retain(|(_, transmit)| header(transmit).exchange_type != ExchangeType::IKE_SA_INIT);
        while lab.deliver() {}
    }
    assert_eq!(news(&mut lab)[0], "answers");
    assert_eq!(attempts(&lab), 0);
}

#[test]
fn when_one_of_two_silent_ike_sas_is_no_more_attempts_go_on_beside_the_other() {
    let mut lab = two_silent();
    let beside = lab.ends[0].connections.by_name["site"].beside.expect("an attempt").silent;
    let now = lab.now;
    lab.ends[0].connections.close(beside, Removal::Closed, now);
    lab.collect(0);
    for _ in 0..8 {
        away(&mut lab, 50, false);
        assert_eq!((attempts(&lab), ike_sas(&lab.ends[0])), (1, 1));
    }
}

fn has(spis: Spis, spi: IkeSpi) -> bool {
    [spis.initiator, spis.responder].contains(&spi)
}

fn ike_sas(end: &Endpoint) -> usize {
    end.connections.ike_sas.all().values().filter(|sa| matches!(sa, IkeSa::Established(_))).count()
}

#[test]
fn a_check_leads_to_a_silent_path_whatever_it_came_of() {
    let mut lab = Lab::up();
    let (spi, now) = (*lab.ends[0].connections.ike_sas.all().keys().next().expect("an IKE SA"), lab.now);
    lab.ends[0].connections.act(spi, now, |_, _, agenda, _| agenda.tasks.queue(Task::Liveness));
    lab.collect(0);
    away(&mut lab, 20, false);
    assert_eq!(news(&mut lab), ["silent"]);
}

#[test]
fn a_request_that_stays_unanswered_is_a_regular_check_too() {
    let mut lab = established();
    lab.command(0, Command::Rekey { connection: "site".into(), what: RekeyWhat::Child });
    away(&mut lab, 219, false);
    assert_eq!(news(&mut lab), ["silent"]);
}

#[test]
fn without_packets_the_regular_check_finds_a_silent_path() {
    let mut lab = established();
    away(&mut lab, 199, false);
    assert_eq!(news(&mut lab), Vec::<&str>::new());
    away(&mut lab, 20, false);
    assert_eq!(news(&mut lab), ["silent"]);
}

#[test]
fn a_refused_attempt_beside_a_silent_ike_sa_is_not_made_again_at_once() {
    let mut lab = established();
    away(&mut lab, 20, true);
    let mut changed = connection(1);
    changed.pre_shared_key = Arc::new(Secret::new(b"another one".to_vec()));
    changed.extensions.quick_crash_detection = false;
    forget(&mut lab, changed);
    let refused = |lab: &Lab| lab.failures(0).len();
    for _ in 0..10 {
        let inbound_spi = lab.inbound(0)[0];
        lab.command(0, Command::CheckLiveness { inbound_spi });
        lab.pass(2 * SECOND);
    }
    assert!((2..=5).contains(&refused(&lab)), "{:?}", lab.failures(0));
}

#[test]
fn a_change_of_links_makes_those_who_wait_ask_again_at_once_but_not_who_was_refused() {
    let mut lab = established();
    away(&mut lab, 600, false);
    let sent = |lab: &mut Lab| lab.wire.drain(..).filter(|(from, _)| *from == 0).count();
    lab.now += SECOND;
    lab.command(0, Command::PathsChanged);
    lab.tick(0);
    assert!(sent(&mut lab) >= 2, "the check, and IKE_SA_INIT");
    for _ in 0..1000 {
        lab.command(0, Command::PathsChanged);
        lab.tick(0);
    }
    assert_eq!(sent(&mut lab), 0, "they were sent a moment ago");

    // A connection that waits before its next attempt, for hours of other routes that come and go.
    let mut refusing = connection(1);
    refusing.pre_shared_key = Arc::new(Secret::new(b"another one".to_vec()));
    let mut lab = Lab::new([config(connection(0)), config(refusing)]);
    lab.settle();
    lab.pass(30 * SECOND);
    lab.tick(0);
    assert_eq!((sent(&mut lab), attempts(&lab)), (0, 0));
    for _ in 0..1000 {
        lab.command(0, Command::PathsChanged);
        lab.tick(0);
    }
    assert_eq!((sent(&mut lab), attempts(&lab)), (0, 0));
}

#[test]
fn invalid_spi_in_the_clear_causes_a_check_of_the_ike_sa_that_sends_on_it_and_no_answer() {
    let mut lab = established();
    let known = lab.pairs[0].values().next().expect("a pair").sa.outbound_spi;
    let mut hint = |spi: u32, from: [u8; 4]| {
        let flags = Flags { initiator: true, ..Flags::default() };
        let header = Header::new(IkeSpi([7; 8]), IkeSpi([9; 8]), ExchangeType::INFORMATIONAL, flags, 0);
        let notify = Notify::new(NotifyType::INVALID_SPI, spi.to_be_bytes().to_vec());
        let message = encode_message(&header, &[Payload::Notify(notify)]).expect("a short message");
        let path = Path { local: address(ADDRESSES[0].octets(), 500), peer: address(from, 500), non_esp_marker: false };
        let result = lab.ends[0].handle_datagram(&message, path, lab.now);
        assert_eq!(result, Err(Discard::UnauthenticatedError));
        lab.collect(0);
        lab.wire.drain(..).map(|(_, transmit)| header_of(&transmit)).collect::<Vec<_>>()
    };
    assert_eq!(hint(known ^ 1, ADDRESSES[1].octets()), [], "another SPI");
    assert_eq!(hint(known, [192, 0, 2, 77]), [], "from elsewhere");
    assert_eq!(hint(known, ADDRESSES[1].octets()), [(ExchangeType::INFORMATIONAL, false)], "a check");
    for _ in 0..1000 {
        assert_eq!(hint(known, ADDRESSES[1].octets()), []);
    }
}

/// The exchange of a message, and whether it answers.
fn header_of(transmit: &Transmit) -> (ExchangeType, bool) {
    let header = header(transmit);
    (header.exchange_type, header.flags.response)
}

#[test]
fn a_peer_that_asks_for_an_ike_sa_makes_those_who_wait_for_it_ask_again_at_once() {
    let mut lab = established();
    away(&mut lab, 600, false);
    while away(&mut lab, 1, false).iter().all(|(_, kind)| *kind != ExchangeType::IKE_SA_INIT) {}
    lab.now += SECOND;
    lab.tick(0);
    assert_eq!(lab.lose(), 0, "nothing is due");
    let mut initiating = connection(1);
    initiating.start = Start::Now;
    forget(&mut lab, initiating);
    lab.tick(1);
    assert!(lab.deliver());
    lab.tick(0);
    let sent = lab.wire.iter().filter(|(from, _)| *from == 0).map(|(_, transmit)| header_of(transmit));
    let requests: Vec<ExchangeType> = sent.filter(|(_, is_response)| !is_response).map(|(kind, _)| kind).collect();
    assert_eq!(requests, [ExchangeType::INFORMATIONAL, ExchangeType::IKE_SA_INIT]);
}
