//! Commands, restarts, liveness, reload and shutdown.

use super::*;
use crate::ike::SaActivity;
use crate::ike::sa::Cause;

fn name() -> Arc<str> {
    Arc::from("site")
}

fn end(config: Config, seed: u64, now: Instant) -> Endpoint {
    Endpoint::new(Arc::new(config), Box::new(SeededEntropy::new(seed)), now)
}

#[test]
fn on_traffic_waits_for_a_packet() {
    let mut left = connection(0);
    left.start = Start::OnTraffic;
    let mut lab = Lab::new([config(left), config(connection(1))]);
    lab.pass(60 * SECOND);
    assert_eq!(lab.sent, [0, 0]);
    let packet = Some((net("10.1.0.1/32")[0], net("10.2.0.9/32")[0]));
    lab.command(0, Command::Acquire { connection: name(), child: Arc::from("net"), packet });
    lab.command(0, Command::Acquire { connection: name(), child: Arc::from("net"), packet });
    lab.settle();
    lab.assert_paired(1);
    assert_eq!(lab.sent[0], 2);
    assert_eq!(lab.pairs[0].values().next().expect("a pair").sa.peer_selectors, net("10.2.0.0/16"));
}

#[test]
fn down_closes_and_up_opens() {
    let mut lab = Lab::up();
    lab.command(0, Command::Down { connection: name() });
    assert!(lab.pairs[0].is_empty());
    lab.settle();
    lab.pass(60 * SECOND);
    assert_eq!([lab.state(0), lab.state(1)], [ConnectionState::Down; 2]);
    assert!(lab.pairs[1].is_empty());
    lab.command(0, Command::Up { connection: name() });
    lab.settle();
    lab.assert_paired(1);
}

#[test]
fn every_child_of_a_connection_is_set_up() {
    let configs = [0, 1].map(|side| {
        let mut connection = connection(side);
        let mut second = connection.children[0].clone();
        second.name = Arc::from("second");
        let nets = ["10.3.0.0/16", "10.4.0.0/16"];
        (second.local_selectors, second.peer_selectors) = (net(nets[side]), net(nets[1 - side]));
        second.esp_proposals[0].groups = vec![&ke::X25519];
        connection.children.push(second);
        config(connection)
    });
    let mut lab = Lab::new(configs);
    lab.settle();
    lab.assert_paired(2);
    lab.pass(30 * SECOND);
    lab.assert_paired(2);
}

#[test]
fn a_silent_peer_is_found_out_and_tried_again() {
    let mut left = connection(0);
    left.liveness_interval = Some(10 * SECOND);
    let mut lab = Lab::new([config(left), config(connection(1))]);
    lab.settle();
    lab.pass(35 * SECOND);
    assert_eq!(lab.sent[0], 2 + 3);
    // Traffic spares the question.
    let inbound_spi = lab.inbound(0)[0];
    for _ in 0..5 {
        lab.now += 5 * SECOND;
        let activity = SaActivity { inbound_spi, last_inbound: lab.now, first_seen: false, source: None };
        lab.command(0, Command::SaActivity(vec![activity]));
        lab.settle();
    }
    assert_eq!(lab.sent[0], 2 + 3);
    // The peer is gone for good; a new one takes its address.
    for _ in 0..200 {
        lab.now += SECOND;
        lab.tick(0);
        lab.lose();
    }
    assert!(lab.pairs[0].is_empty());
    assert!(lab.events[0].iter().any(|event| matches!(event, Event::ConnectionDown { error: Some(_), .. })));
    lab.ends[1] = end(config(connection(1)), 77, lab.now);
    lab.pairs[1].clear();
    lab.pass(10 * SECOND);
    lab.assert_paired(1);
}

#[test]
fn a_restarted_initiator_replaces_its_old_sas() {
    let mut lab = Lab::up();
    lab.ends[0] = end(config(connection(0)), 99, lab.now);
    lab.pairs[0].clear();
    lab.pass(10 * SECOND);
    lab.assert_paired(1);
    assert_eq!(lab.pairs[1].len(), 1);
    assert_eq!(lab.ike_spis(0), lab.ike_spis(1));
}

#[test]
fn a_restarted_responder_is_noticed_by_its_answer_to_a_liveness_check() {
    let mut left = connection(0);
    left.liveness_interval = Some(5 * SECOND);
    let mut lab = Lab::new([config(left), config(connection(1))]);
    lab.settle();
    lab.ends[1] = end(config(connection(1)), 98, lab.now);
    lab.pairs[1].clear();
    lab.pass(10 * SECOND);
    lab.assert_paired(1);
}

#[test]
fn a_reload_keeps_what_is_equal_and_closes_what_is_gone() {
    let mut lab = Lab::up();
    let spis = lab.ike_spis(0);
    lab.command(0, Command::Reload(Arc::new(config(connection(0)))));
    lab.settle();
    assert_eq!(lab.ike_spis(0), spis);
    lab.assert_paired(1);
    // A changed connection starts anew.
    let mut changed = connection(0);
    changed.child_lifetime = Duration::from_secs(600);
    lab.command(0, Command::Reload(Arc::new(config(changed))));
    lab.settle();
    lab.pass(5 * SECOND);
    assert_ne!(lab.ike_spis(0), spis);
    lab.assert_paired(1);
    // A removed one goes.
    lab.command(0, Command::Reload(Arc::new(Config::new(Vec::new()))));
    lab.settle();
    assert!(lab.pairs[0].is_empty() && lab.pairs[1].is_empty());
    assert_eq!(lab.state(1), ConnectionState::Down);
}

#[test]
fn a_shutdown_deletes_and_completes() {
    let mut lab = Lab::up();
    lab.command(0, Command::Shutdown);
    lab.settle();
    assert!(lab.pairs.iter().all(BTreeMap::is_empty));
    assert!(matches!(lab.events[0].last(), Some(Event::ShutdownComplete)));
    assert_eq!(lab.state(1), ConnectionState::Down);
}

#[test]
fn a_shutdown_completes_within_two_seconds_without_an_answer() {
    let mut lab = Lab::up();
    lab.command(0, Command::Shutdown);
    for _ in 0..19 {
        lab.lose();
        lab.now += SECOND / 10;
        lab.tick(0);
    }
    assert!(lab.pairs[0].is_empty());
    assert!(matches!(lab.events[0].last(), Some(Event::ShutdownComplete)));
    let packets = lab.sent[0];
    lab.lose();
    lab.pass(60 * SECOND);
    assert_eq!(lab.sent[0], packets);
}

#[test]
fn a_repeated_request_gets_the_same_answer_and_a_forged_repetition_none() {
    let mut lab = Lab::up();
    lab.command(0, Command::Rekey { connection: name(), what: crate::ike::RekeyWhat::Child });
    let (_, request) = lab.wire.front().expect("a request").clone();
    lab.deliver();
    let (_, first) = lab.wire.front().expect("an answer").clone();
    lab.arrive(1, &request);
    let (_, second) = lab.wire.back().expect("an answer").clone();
    assert_eq!(first.payload, second.payload);
    let pairs = lab.pairs[1].len();
    let mut other = request;
    *other.payload.last_mut().expect("a byte") ^= 1;
    lab.arrive(1, &other);
    assert_eq!(lab.discards.last(), Some(&Discard::NotIdentical));
    assert_eq!(lab.pairs[1].len(), pairs);
    lab.settle();
    lab.assert_paired(1);
}

#[test]
fn the_time_without_events_costs_nothing() {
    let mut lab = Lab::up();
    let before = lab.sent;
    lab.tick(0);
    lab.tick(1);
    lab.pass(60 * SECOND);
    assert_eq!(lab.sent, before);
}

/// End 1 sends a request of its own, which ends at end 0 in this answer; gives the request.
fn ask(lab: &mut Lab, payloads: &[crate::wire::ike::Payload]) -> Transmit {
    let spi = *lab.ends[1].connections.ike_sas.all().keys().next().expect("an IKE SA");
    let kind = crate::wire::ike::ExchangeType::CREATE_CHILD_SA;
    let now = lab.now;
    lab.ends[1].connections.act(spi, now, |sa, _, _, cx| {
        sa.channel_mut().request(kind, payloads, cx).expect("a request");
    });
    lab.collect(1);
    let (_, request) = lab.wire.pop_front().expect("a request");
    lab.arrive(0, &request);
    request
}

#[test]
fn a_request_that_is_malformed_ends_the_ike_sa_and_the_connection_is_negotiated_anew() {
    use crate::wire::ike::Payload;
    let mut lab = Lab::up();
    let first = lab.ike_spis(0);
    let request = ask(&mut lab, &[Payload::Nonce(vec![7; 32])]);
    let answer = lab.wire.pop_front().expect("an answer").1;
    assert!(header(&answer).flags.response);
    assert_eq!(lab.lose(), 0, "no Delete is needed");
    assert!(lab.pairs[0].is_empty() && lab.ends[0].status()[0].next_attempt.is_some());
    // The answer may be lost.
    lab.arrive(0, &request);
    assert_eq!(lab.wire.pop_front().expect("the answer again").1.payload, answer.payload);
    lab.pass(5 * SECOND);
    assert_ne!(lab.ike_spis(0), first);
    assert_eq!(lab.state(0), ConnectionState::Established);
}

#[test]
fn a_request_with_an_unknown_critical_payload_leaves_the_ike_sa() {
    use crate::wire::ike::{Payload, PayloadType};
    let mut lab = Lab::up();
    let first = lab.ike_spis(0);
    ask(&mut lab, &[Payload::Unknown { payload_type: PayloadType(200), critical: true, body: vec![1] }]);
    assert_eq!(lab.wire.len(), 1, "an answer");
    assert_eq!(lab.ike_spis(0), first);
    lab.assert_paired(1);
}

#[test]
fn an_ike_sa_that_only_waits_for_its_deletion_does_not_hold_its_connection_up() {
    let mut lab = Lab::up();
    let old = *lab.ends[1].connections.ike_sas.all().keys().next().expect("an IKE SA");
    lab.command(0, Command::Rekey { connection: Arc::from("site"), what: crate::ike::RekeyWhat::Ike });
    assert!(lab.deliver());
    lab.lose();
    let mut spis = lab.ends[1].connections.ike_sas.all().keys().copied();
    let (new, now) = (spis.find(|spi| *spi != old).expect("the one that replaces it"), lab.now);
    drop(spis);
    assert_eq!(lab.state(1), ConnectionState::Established);
    lab.events[1].clear();
    let silent = crate::ike::failure::Failure::Silent(SocketAddr::new(ADDRESSES[0].into(), 500));
    lab.ends[1].connections.with_ike_sa(new, now, |sa, cx| match sa {
        IkeSa::Established(state) => Err(state.peer_is_gone(Cause::NoAnswer, silent, cx)),
        _ => panic!("not established"),
    });
    lab.collect(1);
    assert_eq!(lab.state(1), ConnectionState::Down);
    let down: Vec<bool> = lab.events[1]
        .iter()
        .filter_map(|event| match event {
            Event::ConnectionDown { error, .. } => Some(error.is_some()),
            _ => None,
        })
        .collect();
    assert_eq!(down, [true], "it says why");
    lab.pass(120 * SECOND);
    assert!(lab.ends[1].connections.ike_sas.all().is_empty());
}

#[test]
fn a_peer_that_restarts_again_and_again_is_tried_at_once_only_the_first_time() {
    let mut lab = Lab::up();
    let mut waits = Vec::new();
    for _ in 0..10 {
        let established = |sa: &&IkeSa| matches!(sa, IkeSa::Established(_));
        let sas = lab.ends[0].connections.ike_sas.all();
        assert_eq!(sas.values().filter(established).count(), 1);
        let (spi, now) = (*sas.keys().next().expect("an IKE SA"), lab.now);
        let failure = crate::ike::failure::Failure::Restarted(SocketAddr::new(ADDRESSES[1].into(), 500));
        lab.ends[0].connections.with_ike_sa(spi, now, |sa, cx| match sa {
            IkeSa::Established(state) => Err(state.peer_is_gone(Cause::Restarted, failure, cx)),
            _ => panic!("not established"),
        });
        lab.collect(0);
        let next = lab.ends[0].status()[0].next_attempt.expect("it is tried again");
        waits.push((next - now).as_millis());
        lab.now = next;
        lab.settle();
    }
    assert!(waits[0] == 0 && waits[1] >= 750 && waits[4] >= 6000, "{waits:?}");
    assert!(waits[9] >= 45_000 && waits.iter().all(|wait| *wait <= 75_000), "{waits:?}");
}
