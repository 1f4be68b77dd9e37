//! Extensions of IKE: what each is for, and that nothing comes of it where one end does without.

use std::time::Duration;

use ipsec_gateway::ike::{Childless, Extensions, RekeyWhat};

use crate::network::Quality;
use crate::setup::{LEFT, RIGHT, Setup};
use crate::world::World;

const SECOND: Duration = Duration::from_secs(1);

/// With the same for both ends.
fn with(extensions: Extensions) -> Setup {
    Setup { extensions: std::array::from_fn(|_| extensions.clone()), ..Setup::plain() }
}

fn check(world: &World) {
    assert_eq!(world.violation, None, "{}", world.trace());
}

fn established(setup: &Setup, seed: u64) -> World {
    let mut world = World::new(setup, seed);
    world.keep_trace();
    world.agree_within(60 * SECOND);
    check(&world);
    world
}

fn names(world: &World, side: usize) -> Vec<&'static str> {
    let status = world.ends[side].endpoint.status().remove(0);
    status.ike_sa.expect("an IKE SA").extensions
}

#[test]
fn each_extension_is_there_only_if_both_ends_have_it() {
    let all = ["nat-detection", "fragmentation", "childless", "quick-crash-detection"];
    let world = established(&Setup::plain(), 1);
    assert_eq!([names(&world, LEFT), names(&world, RIGHT)], [all, all]);
    let off = Extensions { fragment_size: None, childless: Childless::Never, quick_crash_detection: false };
    for side in [LEFT, RIGHT] {
        let mut setup = Setup::plain();
        setup.nat_detection[side] = false;
        setup.extensions[side] = off.clone();
        let world = established(&setup, 2);
        assert_eq!(names(&world, side), [""; 0]);
        // Who answers cannot know whether it was heard that it takes childless requests.
        let childless = &["childless"][..];
        assert_eq!(names(&world, 1 - side), if side == LEFT { childless } else { &[] });
    }
}

/// A hundred subnets on each side make an IKE_AUTH of more than three kilobytes.
#[test]
fn a_hundred_subnets_pass_a_network_that_drops_fragments_only_with_fragmentation_at_both_ends() {
    let size = Some(Extensions::FRAGMENT_SIZE);
    for (sizes, passes) in [([size, size], true), ([None, size], false), ([size, None], false)] {
        let mut setup = Setup { subnets: 100, ..Setup::plain() };
        for (side, size) in sizes.into_iter().enumerate() {
            setup.extensions[side].fragment_size = size;
        }
        let mut world = World::new(&setup, 1);
        world.keep_trace();
        world.network.largest = Some(1400);
        world.run_for(60 * SECOND);
        check(&world);
        assert_eq!(world.ends[LEFT].ike_sa().is_some(), passes, "{sizes:?}\n{}", world.trace());
        if passes {
            world.agree_within(SECOND);
            for what in [RekeyWhat::Child, RekeyWhat::Ike] {
                world.rekey(RIGHT, what);
                world.agree_within(20 * SECOND);
            }
            check(&world);
        }
    }
}

#[test]
fn fragments_that_are_lost_doubled_and_out_of_order_come_together() {
    let extensions = Extensions { fragment_size: Some(140), ..Extensions::default() };
    for seed in 0..30 {
        let mut world = World::new(&Setup { forger: true, ..with(extensions.clone()) }, seed);
        world.keep_trace();
        world.network.quality = Quality::FAIR;
        world.agree_within(120 * SECOND);
        world.must_stay_up(true);
        for what in [RekeyWhat::Child, RekeyWhat::Ike, RekeyWhat::Child] {
            world.rekey(seed as usize % 2, what);
            world.run_for(60 * SECOND);
        }
        world.network.quality = Quality::GOOD;
        world.agree_within(120 * SECOND);
        check(&world);
    }
}

#[test]
fn a_childless_ike_sa_gets_its_children_afterwards() {
    for (left, right) in [
        (Childless::Force, Childless::Force),
        (Childless::Force, Childless::Allow),
        (Childless::Allow, Childless::Allow),
    ] {
        let mut setup = Setup { children: 2, ..Setup::plain() };
        (setup.extensions[LEFT].childless, setup.extensions[RIGHT].childless) = (left, right);
        established(&setup, 1);
    }
}

/// Both ends say why there is no tunnel.
#[test]
fn ends_that_disagree_about_childless_ike_sas_say_so() {
    for (left, right, told) in [
        (Childless::Force, Childless::Never, "does not support IKE SAs without a Child SA"),
        (Childless::Allow, Childless::Force, "INVALID_SYNTAX"),
    ] {
        let mut setup = Setup::plain();
        (setup.extensions[LEFT].childless, setup.extensions[RIGHT].childless) = (left, right);
        let mut world = World::new(&setup, 1);
        world.run_for(10 * SECOND);
        let status = world.ends[LEFT].endpoint.status().remove(0);
        assert!(status.ike_sa.is_none());
        let error = status.last_error.expect("an error").to_string();
        assert!(error.contains(told), "{error}");
    }
}

/// How long an end needs after its first question to a peer that has restarted.
fn time_to_recover(setup: &Setup, seed: u64) -> Duration {
    let mut world = established(setup, seed);
    world.run_for(10 * SECOND);
    world.restart(RIGHT);
    let asked = world.now;
    world.rekey(LEFT, RekeyWhat::Child);
    world.agree_within(20 * SECOND);
    check(&world);
    world.now - asked
}

#[test]
fn a_peer_that_has_restarted_is_back_within_a_second_of_the_first_question() {
    let off = Extensions { quick_crash_detection: false, ..Extensions::default() };
    for seed in 0..20 {
        let time = time_to_recover(&Setup::plain(), seed);
        assert!(time <= SECOND, "{time:?}");
        for side in [LEFT, RIGHT] {
            let mut setup = Setup::plain();
            setup.extensions[side] = off.clone();
            let time = time_to_recover(&setup, seed);
            assert!(time > SECOND, "{time:?} though one end does without");
        }
    }
}

#[test]
fn tokens_are_renewed_when_the_ike_sa_is_rekeyed() {
    for (seed, rekeys) in [(1, LEFT), (2, RIGHT)] {
        let mut world = established(&Setup::plain(), seed);
        world.run_for(10 * SECOND);
        world.rekey(rekeys, RekeyWhat::Ike);
        world.run_for(10 * SECOND);
        for side in [LEFT, RIGHT] {
            assert!(names(&world, side).contains(&"quick-crash-detection"), "{}", world.trace());
        }
        world.restart(RIGHT);
        let asked = world.now;
        world.rekey(LEFT, RekeyWhat::Child);
        world.agree_within(20 * SECOND);
        check(&world);
        assert!(world.now - asked <= SECOND, "{}", world.trace());
    }
}

#[test]
fn tokens_of_other_ike_sas_and_forged_ones_have_no_effect() {
    for seed in 0..20 {
        let mut world = established(&Setup { forger: true, ..Setup::plain() }, seed);
        // The forger sees the token of this IKE SA, which is lost.
        world.restart(RIGHT);
        world.rekey(LEFT, RekeyWhat::Child);
        world.agree_within(20 * SECOND);
        world.run_for(10 * SECOND);
        let before = world.ends[LEFT].downs;
        world.must_stay_up(true);
        for _ in 0..20 {
            world.rekey(seed as usize % 2, RekeyWhat::Child);
            world.run_for(5 * SECOND);
        }
        check(&world);
        assert_eq!(world.ends[LEFT].downs, before);
    }
}
