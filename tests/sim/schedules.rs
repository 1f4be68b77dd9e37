//! Seeded schedules: set up, rekeys over a network where every message arrives at last, with several peers one that is
//! a bad neighbour to the other, chaos with restarts, recovery, rekeys under traffic, a clean end.
//!
//! `SIM_SCHEDULES` sets how many there are, `SIM_SEED` runs a single one.

use std::collections::BTreeSet;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use ipsec_gateway::crypto::fake::SeededEntropy;
use ipsec_gateway::ike::{Command, RekeyWhat};

use crate::end::{Bug, Sound};
use crate::network::Quality;
use crate::setup::{LEFT, RIGHT, Setup, name};
use crate::warriors;
use crate::world::{RECOVERY, World};

const SCHEDULES_OF_TWO: u64 = 10_000;
/// Each takes several times as long; the long form is `SIM_SCHEDULES=10000`.
const SCHEDULES_OF_THREE: u64 = 300;
const LEAST_EVENTS: u64 = 100;
const LEAST_REKEYS: u64 = 2;

/// Longer than a request is repeated and waited for once a NAT has led its last repetitions astray.
pub const LAST_WAIT: Duration = Duration::from_secs(155);

/// How a schedule chooses what its ends are.
pub type Choose = fn(&mut SeededEntropy) -> Setup;

type Phase = fn(&mut World, &mut SeededEntropy);

/// Runs one schedule with a bug in the right end.
pub fn run(choose: Choose, seed: u64, bug: Box<dyn Bug>, trace: bool) -> World {
    let mut choices = SeededEntropy::new(seed);
    let setup = choose(&mut choices);
    let mut world = World::with_bug(&setup, choices.next_u64(), bug);
    if trace {
        world.keep_trace();
        world.note(|| format!("seed {seed}: {setup:?}"));
    }
    let neighbours: &[Phase] = if world.tunnels.len() > 1 { &[warriors::neighbours] } else { &[] };
    let phases: [&[Phase]; 3] = [&[set_up, fair_rekeys], neighbours, &[chaos, recovery, traffic, clean_end]];
    for phase in phases.into_iter().flatten() {
        if !world.is_violated() {
            phase(&mut world, &mut choices);
        }
    }
    world
}

/// One of several; where there is no choice, nothing is drawn.
fn one_of<T: Copy>(among: &[T], choices: &mut SeededEntropy) -> T {
    if among.len() == 1 { among[0] } else { among[choices.next_u64() as usize % among.len()] }
}

/// The tunnels whose outer end is there.
fn wanted_tunnels(world: &World) -> Vec<usize> {
    (0..world.tunnels.len()).filter(|tunnel| world.tunnels[*tunnel].is_wanted).collect()
}

/// One of the ends that are there.
fn an_end(world: &World, choices: &mut SeededEntropy) -> usize {
    let present: Vec<usize> = world.ends.iter().filter(|end| end.runs).map(|end| end.side).collect();
    one_of(&present, choices)
}

fn rekey_something(world: &mut World, choices: &mut SeededEntropy) {
    let what = if choices.next_u64().is_multiple_of(3) { RekeyWhat::Ike } else { RekeyWhat::Child };
    let wanted = wanted_tunnels(world);
    if wanted.is_empty() {
        return;
    }
    let ends = world.tunnels[one_of(&wanted, choices)].ends();
    match choices.next_u64() % 3 {
        // Both ends at once, of the same or of different kinds.
        0 => {
            world.rekey(ends[0], what);
            let other = if choices.next_u64().is_multiple_of(2) { what } else { RekeyWhat::Ike };
            world.run_for(Duration::from_millis(choices.next_u64() % 80));
            world.rekey(ends[1], other);
        }
        _ => world.rekey(one_of(&ends, choices), what),
    }
}

/// Changes the whole network, or the line of one among several outer ends.
fn change_quality(world: &mut World, quality: Quality, choices: &mut SeededEntropy) {
    let lines = world.tunnels.iter().map(|tunnel| Some(tunnel.outer));
    let several = lines.filter(|_| world.tunnels.len() > 1);
    match one_of(&several.chain([None]).collect::<Vec<_>>(), choices) {
        Some(outer) => drop(world.network.lines.insert(world.ends[outer].address, quality)),
        None => {
            world.network.lines.clear();
            world.network.quality = quality;
        }
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
    // Only one of several peers can be missed.
    let actions = if world.tunnels.len() > 1 { 17 } else { 12 };
    for _ in 0..12 + choices.next_u64() % 12 {
        match choices.next_u64() % actions {
            0 => {
                let side = an_end(world, choices);
                world.restart(side);
            }
            1 => change_quality(world, Quality::CUT, choices),
            2..=4 => {
                let quality = Quality::random(choices);
                change_quality(world, quality, choices);
            }
            5 => {
                if let Some(nat) = &mut world.network.nat {
                    nat.rebind();
                }
            }
            6..=8 => rekey_something(world, choices),
            9..=11 => {
                let side = an_end(world, choices);
                world.send_traffic(side);
            }
            12 => {
                if let Some(nat) = &mut world.network.nat {
                    nat.swap();
                }
            }
            // Every peer is sent away, and comes again.
            13 => world.command(RIGHT, Command::Down { connection: "tunnel".into() }),
            _ => {
                let tunnel = (choices.next_u64() % world.tunnels.len() as u64) as usize;
                warriors::come_or_go(world, tunnel, choices);
            }
        }
        world.run_for(Duration::from_millis(choices.next_u64() % 15_000));
        if world.is_violated() {
            return;
        }
    }
}

/// The network heals: the ends must find each other again. Of several peers one may be gone for good.
fn recovery(world: &mut World, choices: &mut SeededEntropy) {
    world.network.quality = Quality::GOOD;
    world.network.lines.clear();
    let some_stay_away = world.tunnels.len() > 1 && choices.next_u64().is_multiple_of(3);
    if !some_stay_away || wanted_tunnels(world).is_empty() {
        (0..world.tunnels.len()).for_each(|tunnel| warriors::come(world, tunnel, choices));
    }
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
            let side = an_end(world, choices);
            world.send_traffic(side);
        }
        world.run_for(Duration::from_secs(12));
    }
    world.must_carry_traffic(false);
    world.settle_within(RECOVERY);
}

/// An end that is shut down leaves nothing behind at its peers, and changes nothing between others.
fn clean_end(world: &mut World, choices: &mut SeededEntropy) {
    world.must_stay_up(false);
    let (tunnels, ends) = (wanted_tunnels(world), ends_in_use(world));
    let side = one_of(&ends, choices);
    let (closed, others): (Vec<_>, Vec<_>) =
        tunnels.into_iter().partition(|tunnel| world.tunnels[*tunnel].ends().contains(&side));
    for tunnel in &closed {
        world.tunnels[*tunnel].is_wanted = false;
    }
    world.must_stay_up(true);
    world.must_carry_traffic(true);
    world.command(side, Command::Shutdown);
    world.run_for(Duration::from_secs(3));
    if !world.ends[side].shut_down || !world.ends[side].pairs.is_empty() {
        world.violate("a shutdown left SAs behind or did not end".to_owned());
    }
    world.run_for(Duration::from_secs(7));
    for tunnel in closed {
        for far in world.tunnels[tunnel].ends().into_iter().filter(|far| *far != side) {
            let left: Vec<u32> = world.ends[far].pairs_in_use(side).map(|pair| pair.inbound_spi).collect();
            if !left.is_empty() {
                world.violate(format!("a shutdown left {left:x?} at {}", name(far)));
            }
        }
    }
    for tunnel in others {
        world.tunnels[tunnel].ends().into_iter().for_each(|side| world.send_through(tunnel, side));
    }
    world.settle_within(RECOVERY);
}

/// The ends of the tunnels that are wanted.
fn ends_in_use(world: &World) -> Vec<usize> {
    let ends = wanted_tunnels(world).into_iter().flat_map(|tunnel| world.tunnels[tunnel].ends());
    ends.collect::<BTreeSet<_>>().into_iter().collect()
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
fn fails(choose: Choose, seed: u64) -> Option<String> {
    let mut world = run(choose, seed, Box::new(Sound), false);
    check_coverage(&mut world);
    let violation = world.violation?;
    let traced = run(choose, seed, Box::new(Sound), true);
    Some(format!("seed {seed}: {violation}\n{}", traced.trace()))
}

fn number_from_environment(name: &str) -> Option<u64> {
    std::env::var(name).ok().map(|number| number.parse().unwrap_or_else(|_| panic!("{name} is a number")))
}

fn run_all(choose: Choose, schedules: u64) {
    let (first, end) = match number_from_environment("SIM_SEED") {
        Some(seed) => (seed, seed + 1),
        None => (0, number_from_environment("SIM_SCHEDULES").unwrap_or(schedules)),
    };
    let seeds = AtomicU64::new(first);
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
                        if let Some(failure) = fails(choose, seed) {
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
fn ten_thousand_schedules() {
    run_all(Setup::random, SCHEDULES_OF_TWO);
}

#[test]
fn schedules_of_road_warriors() {
    run_all(Setup::random_warriors, SCHEDULES_OF_THREE);
}

#[test]
fn a_schedule_is_the_same_every_time() {
    for (choose, schedules) in [(Setup::random as Choose, 50), (Setup::random_warriors, 20)] {
        for seed in 0..schedules {
            let [first, second] = [(), ()].map(|()| {
                let mut world = run(choose, seed, Box::new(Sound), false);
                // The trace tells points in time, which are others each time.
                let ike_sas = world.rekeyed_ike_sas();
                (world.events, world.network.fates, world.delivered_esp, ike_sas, world.random.next_u64())
            });
            assert_eq!(first, second, "seed {seed}");
        }
    }
}
