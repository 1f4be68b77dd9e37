//! Seeded schedules: set up, rekeys over a network where every message arrives at last, chaos with restarts, recovery,
//! rekeys under traffic, a clean end.

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use ipsec_gateway::crypto::fake::SeededEntropy;
use ipsec_gateway::ike::{Command, RekeyWhat};

use crate::end::{Bug, Sound};
use crate::network::Quality;
use crate::setup::{LEFT, RIGHT, Setup};
use crate::world::{RECOVERY, World};

const SCHEDULES: u64 = 10_000;
const LEAST_EVENTS: u64 = 100;
const LEAST_REKEYS: u64 = 2;

/// Longer than a request is repeated and waited for once a NAT has led its last repetitions astray.
const LAST_WAIT: Duration = Duration::from_secs(90);

/// Runs one schedule with a bug in the right end.
pub fn run(seed: u64, bug: Box<dyn Bug>, trace: bool) -> World {
    let mut choices = SeededEntropy::new(seed);
    let setup = Setup::random(&mut choices);
    let mut world = World::with_bug(&setup, choices.next_u64(), bug);
    if trace {
        world.keep_trace();
        world.note(|| format!("seed {seed}: {setup:?}"));
    }
    let phases: [fn(&mut World, &mut SeededEntropy); 5] = [set_up, fair_rekeys, chaos, recovery, traffic];
    for phase in phases {
        if !world.is_violated() {
            phase(&mut world, &mut choices);
        }
    }
    if !world.is_violated() {
        clean_end(&mut world, &mut choices);
    }
    world
}

fn either(choices: &mut SeededEntropy) -> usize {
    (choices.next_u64() % 2) as usize
}

fn rekey_something(world: &mut World, choices: &mut SeededEntropy) {
    let what = if choices.next_u64().is_multiple_of(3) { RekeyWhat::Ike } else { RekeyWhat::Child };
    match choices.next_u64() % 3 {
        // Both ends at once, of the same or of different kinds.
        0 => {
            world.rekey(LEFT, what);
            let other = if choices.next_u64().is_multiple_of(2) { what } else { RekeyWhat::Ike };
            world.run_for(Duration::from_millis(choices.next_u64() % 80));
            world.rekey(RIGHT, other);
        }
        _ => world.rekey(either(choices), what),
    }
}

fn set_up(world: &mut World, _: &mut SeededEntropy) {
    world.agree_within(Duration::from_secs(60));
}

/// Losses, duplicates and reordering, but what is repeated arrives: no connection may be lost.
fn fair_rekeys(world: &mut World, choices: &mut SeededEntropy) {
    world.run_for(Duration::from_secs(10));
    world.network.quality = Quality::FAIR;
    world.must_stay_up(true);
    for _ in 0..2 {
        rekey_something(world, choices);
        world.send_traffic(LEFT);
        world.run_for(Duration::from_secs(choices.next_u64() % 40));
    }
    world.network.quality = Quality::GOOD;
    world.agree_within(RECOVERY);
    world.must_stay_up(false);
}

fn chaos(world: &mut World, choices: &mut SeededEntropy) {
    for _ in 0..12 + choices.next_u64() % 12 {
        match choices.next_u64() % 12 {
            0 => world.restart(either(choices)),
            1 => world.network.quality = Quality::CUT,
            2..=4 => world.network.quality = Quality::random(choices),
            5 => {
                if let Some(nat) = &mut world.network.nat {
                    nat.rebind();
                }
            }
            6..=8 => rekey_something(world, choices),
            _ => {
                let side = either(choices);
                world.send_traffic(side);
            }
        }
        world.run_for(Duration::from_millis(choices.next_u64() % 15_000));
        if world.is_violated() {
            return;
        }
    }
}

/// The network heals: the ends must find each other again.
fn recovery(world: &mut World, _: &mut SeededEntropy) {
    world.network.quality = Quality::GOOD;
    // A request whose last repetition was lost while nothing passed gives up only now.
    world.run_for(LAST_WAIT);
    world.agree_within(RECOVERY - LAST_WAIT);
    // What was sealed before has arrived or is lost.
    world.run_for(Duration::from_secs(10));
}

/// Rekeys on a good network lose no packet.
fn traffic(world: &mut World, choices: &mut SeededEntropy) {
    world.agree_within(RECOVERY);
    world.must_stay_up(true);
    world.must_carry_traffic(true);
    for _ in 0..3 {
        rekey_something(world, choices);
        for _ in 0..20 {
            world.run_for(Duration::from_millis(choices.next_u64() % 30));
            world.send_traffic(either(choices));
        }
        world.run_for(Duration::from_secs(12));
    }
    world.must_carry_traffic(false);
    world.agree_within(RECOVERY);
}

/// An end that is shut down leaves nothing behind at the other.
fn clean_end(world: &mut World, choices: &mut SeededEntropy) {
    world.must_stay_up(false);
    let side = either(choices);
    world.command(side, Command::Shutdown);
    world.run_for(Duration::from_secs(3));
    if !world.ends[side].shut_down || !world.ends[side].pairs.is_empty() {
        world.violate("a shutdown left SAs behind or did not end".to_owned());
    }
    world.run_for(Duration::from_secs(7));
    let others = world.ends[1 - side].installed_pairs();
    if !others.is_empty() {
        world.violate(format!("a shutdown left {others:x?} at the other end"));
    }
}

/// What a schedule must at least have seen.
fn check_coverage(world: &mut World) {
    let rekeys = world.ends.iter().map(|end| end.rekeyed_children).sum::<u64>();
    let events = world.events + world.network.fates;
    if !world.is_violated() && (events < LEAST_EVENTS || rekeys + world.rekeyed_ike_sas() < LEAST_REKEYS) {
        world.violate(format!("only {events} events and {rekeys} rekeyed pairs"));
    }
}

/// Runs one seed; its trace if it fails.
fn fails(seed: u64) -> Option<String> {
    let mut world = run(seed, Box::new(Sound), false);
    check_coverage(&mut world);
    let violation = world.violation?;
    let traced = run(seed, Box::new(Sound), true);
    Some(format!("seed {seed}: {violation}\n{}", traced.trace()))
}

#[test]
fn ten_thousand_schedules() {
    let first = std::env::var("SIM_SEED").ok().map(|seed| seed.parse().expect("SIM_SEED is a number"));
    let (seeds, end) = match first {
        Some(seed) => (AtomicU64::new(seed), seed + 1),
        None => (AtomicU64::new(0), SCHEDULES),
    };
    let threads = std::thread::available_parallelism().map_or(1, |threads| threads.get());
    let failure = std::thread::scope(|scope| {
        let workers: Vec<_> = (0..threads)
            .map(|_| {
                scope.spawn(|| {
                    loop {
                        let seed = seeds.fetch_add(1, Ordering::Relaxed);
                        if seed >= end {
                            return None;
                        }
                        if let Some(failure) = fails(seed) {
                            seeds.store(end, Ordering::Relaxed);
                            return Some(failure);
                        }
                    }
                })
            })
            .collect();
        workers.into_iter().filter_map(|worker| worker.join().expect("a schedule panicked")).next()
    });
    assert!(failure.is_none(), "{}\nRun it alone with SIM_SEED=<seed>.", failure.unwrap_or_default());
}

#[test]
fn a_schedule_is_the_same_every_time() {
    for seed in 0..50 {
        let [first, second] = [(), ()].map(|()| {
            let mut world = run(seed, Box::new(Sound), false);
            // The trace tells points in time, which are others each time.
            let ike_sas = world.rekeyed_ike_sas();
            (world.events, world.network.fates, world.delivered_esp, ike_sas, world.random.next_u64())
        });
        assert_eq!(first, second, "seed {seed}");
    }
}
