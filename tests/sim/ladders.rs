//! Collisions of rekeys and deletions (RFC 7296 sections 2.8.1, 2.8.2 and 2.25), each drawn as a ladder.
//!
//! Whoever wins depends on nonces, so every ladder is climbed with many seeds.

use std::time::Duration;

use ipsec_gateway::ike::{Command, RekeyWhat};

use crate::network::Quality;
use crate::setup::{LEFT, RIGHT, Setup};
use crate::world::{RECOVERY, World};

const SEEDS: u64 = 40;
/// Longer than one way of the network takes, shorter than a retransmission.
const ONE_WAY: Duration = Duration::from_millis(100);

fn climb(ladder: impl Fn(&mut World)) {
    for seed in 0..SEEDS {
        let setup = Setup { perfect_forward_secrecy: seed % 2 == 0, children: 1 + seed as usize % 2, ..Setup::plain() };
        let mut world = World::new(&setup, seed);
        world.keep_trace();
        world.agree_within(Duration::from_secs(60));
        world.run_for(Duration::from_secs(10));
        world.must_stay_up(true);
        world.must_carry_traffic(true);
        ladder(&mut world);
        world.run_for(Duration::from_secs(30));
        world.agree_within(RECOVERY);
        assert_eq!(world.violation, None, "seed {seed}\n{}", world.trace());
    }
}

/// All that is sent now is lost, and sent again later.
fn cut_while(world: &mut World, happening: impl Fn(&mut World)) {
    world.network.quality = Quality::CUT;
    happening(world);
    world.network.quality = Quality::GOOD;
}

/// ```text
///  left                                right
///  rekey child ─────────╲  ╱────────── rekey child
///  answer ──────────────╱──╲────────── answer
///  the end whose exchange has the lowest nonce deletes its new pair, the other the old one
/// ```
#[test]
fn both_rekey_the_same_child() {
    climb(|world| {
        let before = world.ends[LEFT].installed_pairs();
        world.rekey(LEFT, RekeyWhat::Child);
        world.rekey(RIGHT, RekeyWhat::Child);
        world.run_for(Duration::from_secs(10));
        let after = world.ends[LEFT].installed_pairs();
        assert!(after.iter().all(|pair| !before.contains(pair)), "every pair was replaced");
    });
}

/// ```text
///  left                                right
///  rekey child ──── lost               rekey child ────►
///  (repeats it later)   ◄───────────── which is answered and completed
///  rekey child, for a pair that is replaced by now ────►
/// ```
#[test]
fn one_rekey_is_late_and_finds_its_child_replaced() {
    climb(|world| {
        cut_while(world, |world| world.rekey(LEFT, RekeyWhat::Child));
        world.rekey(RIGHT, RekeyWhat::Child);
    });
}

/// ```text
///  left                                right
///  rekey IKE SA ────────╲  ╱────────── rekey IKE SA
///  answer ──────────────╱──╲────────── answer
///  the end whose exchange has the lowest nonce deletes its new IKE SA, the other the old one
/// ```
#[test]
fn both_rekey_the_ike_sa() {
    climb(|world| {
        let before = world.ends[LEFT].ike_sa();
        world.rekey(LEFT, RekeyWhat::Ike);
        world.rekey(RIGHT, RekeyWhat::Ike);
        world.run_for(Duration::from_secs(20));
        assert_ne!(world.ends[LEFT].ike_sa(), before);
    });
}

#[test]
fn one_ike_rekey_is_late() {
    climb(|world| {
        cut_while(world, |world| world.rekey(LEFT, RekeyWhat::Ike));
        world.rekey(RIGHT, RekeyWhat::Ike);
    });
}

/// ```text
///  left                                right
///  rekey child ─────────╲  ╱────────── rekey IKE SA
///  TEMPORARY_FAILURE ───╱──╲────────── TEMPORARY_FAILURE, or the child is rekeyed (2.25.2)
/// ```
#[test]
fn one_rekeys_a_child_while_the_other_rekeys_the_ike_sa() {
    climb(|world| {
        world.rekey(LEFT, RekeyWhat::Child);
        world.rekey(RIGHT, RekeyWhat::Ike);
    });
    climb(|world| {
        world.rekey(LEFT, RekeyWhat::Ike);
        world.run_for(ONE_WAY / 3);
        world.rekey(RIGHT, RekeyWhat::Child);
    });
}

/// ```text
///  left                                right
///  rekey child ───────────────────────►
///              ◄───────────────────────
///  delete the old pair ─╲  ╱────────── rekey child, again
/// ```
#[test]
fn a_rekey_crosses_the_deletion_of_the_pair_before() {
    for wait in 1..12 {
        climb(|world| {
            world.rekey(LEFT, RekeyWhat::Child);
            world.run_for(Duration::from_millis(wait * 15));
            world.rekey(RIGHT, RekeyWhat::Child);
        });
    }
}

/// Every message of both rekeys is lost once.
#[test]
fn both_rekey_and_each_message_is_lost_once() {
    for what in
        [[RekeyWhat::Child, RekeyWhat::Child], [RekeyWhat::Ike, RekeyWhat::Ike], [RekeyWhat::Child, RekeyWhat::Ike]]
    {
        climb(|world| {
            world.must_carry_traffic(false);
            world.network.quality = Quality { loss: 100, losses_of_one_message: 1, ..Quality::GOOD };
            world.rekey(LEFT, what[0]);
            world.rekey(RIGHT, what[1]);
            world.run_for(Duration::from_secs(60));
            world.network.quality = Quality::GOOD;
        });
    }
}

/// ```text
///  left                                right
///  rekey ───────────────╲  ╱────────── down: delete IKE SA
/// ```
#[test]
fn a_rekey_crosses_the_deletion_of_the_ike_sa() {
    for what in [RekeyWhat::Child, RekeyWhat::Ike] {
        climb(|world| {
            world.must_stay_up(false);
            world.must_carry_traffic(false);
            world.rekey(LEFT, what);
            world.command(RIGHT, Command::Down { connection: "tunnel".into() });
            world.run_for(Duration::from_secs(10));
            // Left negotiates at once again; right accepts, for it only waits.
        });
    }
}
