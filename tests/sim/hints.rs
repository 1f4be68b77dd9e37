//! Peers that have restarted are found soon; unprotected hints that a peer has, which anybody can forge, never cost an
//! IKE SA (RFC 7296 sections 2.4 and 2.21.4).

use std::net::SocketAddr;
use std::time::Duration;

use ipsec_gateway::ike::Start;
use ipsec_gateway::wire::ike::{ExchangeType, Flags, Header, IkeSpi, Notify, NotifyType, Payload, encode_message};

use crate::network::Quality;
use crate::setup::{LEFT, RIGHT, RIGHT_ADDRESS, Setup, address};
use crate::world::World;

const SECOND: Duration = Duration::from_secs(1);

fn established(setup: &Setup, seed: u64) -> World {
    let mut world = World::new(setup, seed);
    world.keep_trace();
    world.agree_within(60 * SECOND);
    world.run_for(10 * SECOND);
    check(&world);
    world
}

fn check(world: &World) {
    assert_eq!(world.violation, None, "{}", world.trace());
}

/// As the right end would answer if it did not know the IKE SA.
fn forge_hint(world: &mut World) {
    let (initiator, responder) = world.ends[LEFT].ike_sa().expect("an IKE SA");
    let flags = Flags { initiator: false, response: true, ..Flags::default() };
    let header = Header::new(initiator, responder, ExchangeType::INFORMATIONAL, flags, 2);
    let notify = Payload::Notify(Notify::new(NotifyType::INVALID_IKE_SPI, Vec::new()));
    let hint = encode_message(&header, &[notify]).expect("a short message");
    world.forge(LEFT, hint, SocketAddr::new(address(RIGHT_ADDRESS), 500));
}

#[test]
fn forged_hints_cause_few_probes_and_change_nothing() {
    let mut world = established(&Setup { liveness: 3_600 * SECOND, ..Setup::plain() }, 1);
    world.must_stay_up(true);
    let (before, sent) = (world.ends[LEFT].ike_sa(), world.network.fates);
    for _ in 0..600 {
        forge_hint(&mut world);
        world.run_for(SECOND / 10);
    }
    check(&world);
    assert_eq!(world.ends[LEFT].ike_sa(), before);
    let messages = world.network.fates - sent;
    assert!((2..=2 * 7).contains(&messages), "{messages} messages in a minute");
}

/// As somebody would say who gets ESP on an SPI that it does not know (RFC 7296 section 1.5).
fn forge_invalid_spi(world: &mut World) {
    let spi = world.ends[LEFT].pairs.values().next().expect("a pair").outbound_spi;
    let flags = Flags { initiator: true, ..Flags::default() };
    let header = Header::new(IkeSpi([1; 8]), IkeSpi([2; 8]), ExchangeType::INFORMATIONAL, flags, 0);
    let notify = Payload::Notify(Notify::new(NotifyType::INVALID_SPI, spi.to_be_bytes().to_vec()));
    let hint = encode_message(&header, &[notify]).expect("a short message");
    world.forge(LEFT, hint, SocketAddr::new(address(RIGHT_ADDRESS), 500));
}

#[test]
fn a_thousand_forged_hints_a_second_change_nothing() {
    let mut world = established(&Setup { liveness: 3_600 * SECOND, ..Setup::plain() }, 4);
    world.must_stay_up(true);
    let (before, sent) = (world.ends[LEFT].ike_sa(), world.network.fates);
    let started = std::time::Instant::now();
    for number in 0..30_000 {
        if number % 2 == 0 {
            forge_hint(&mut world)
        } else {
            forge_invalid_spi(&mut world)
        }
        world.run_for(SECOND / 1_000);
    }
    println!("{:.1} us of processor each, the simulation's own included", started.elapsed().as_secs_f64() * 1e6 / 3e4);
    check(&world);
    assert_eq!(world.ends[LEFT].ike_sa(), before);
    assert!(world.ends[LEFT].pairs.values().all(|pair| !pair.silent));
    let messages = world.network.fates - sent;
    assert!((2..=2 * 4).contains(&messages), "{messages} messages in half a minute");
}

#[test]
fn forged_hints_do_not_shorten_the_patience_with_a_peer_that_cannot_be_reached() {
    let mut world = established(&Setup::plain(), 2);
    world.must_stay_up(true);
    world.network.quality = Quality::CUT;
    for _ in 0..600 {
        forge_hint(&mut world);
        world.run_for(SECOND / 10);
    }
    world.network.quality = Quality::GOOD;
    world.agree_within(60 * SECOND);
    world.run_for(60 * SECOND);
    check(&world);
}

#[test]
fn a_peer_that_has_restarted_is_found_within_ten_seconds_of_the_first_question() {
    for (start, restarts) in [([Start::Now, Start::Wait], RIGHT), ([Start::Now, Start::Now], RIGHT)] {
        for seed in 0..20 {
            let mut world = established(&Setup { start, liveness: 5 * SECOND, ..Setup::plain() }, seed);
            world.restart(restarts);
            world.agree_within(10 * SECOND);
            check(&world);
        }
    }
}

#[test]
fn an_initiator_that_has_restarted_replaces_what_the_peer_remembers() {
    for seed in 0..20 {
        let mut world = established(&Setup::plain(), seed);
        world.restart(LEFT);
        world.agree_within(5 * SECOND);
        check(&world);
    }
}
