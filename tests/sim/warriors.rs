//! Road warriors of one connection that takes any peer: they come, rekey, go, crash and come back, and none of them
//! notices the other.

use std::net::IpAddr;
use std::time::Duration;

use ipsec_gateway::crypto::fake::SeededEntropy;
use ipsec_gateway::ike::{Command, RekeyWhat};

use crate::network::Quality;
use crate::schedules::LAST_WAIT;
use crate::setup::{RIGHT, ROADS, Setup, address};
use crate::world::{RECOVERY, World};

/// A warrior that is there goes, crashes or restarts; one that is gone comes back.
pub fn come_or_go(world: &mut World, tunnel: usize, choices: &mut SeededEntropy) {
    if !world.tunnels[tunnel].is_wanted {
        return come(world, tunnel, choices);
    }
    let outer = world.tunnels[tunnel].outer;
    match choices.next_u64() % 3 {
        0 => world.restart(outer),
        1 => world.crash(outer),
        _ => {
            world.command(outer, Command::Down { connection: "tunnel".into() });
            world.tunnels[tunnel].is_wanted = false;
        }
    }
}

/// Sees to it that a warrior is there. One that has lost its power may be anywhere now, even where the other one was.
pub fn come(world: &mut World, tunnel: usize, choices: &mut SeededEntropy) {
    let outer = world.tunnels[tunnel].outer;
    if !world.ends[outer].runs {
        let is_free = |road: &IpAddr| world.ends.iter().all(|end| end.side == outer || end.address != *road);
        let roads: Vec<IpAddr> = ROADS.map(address).into_iter().filter(is_free).collect();
        let road = roads[choices.next_u64() as usize % roads.len()];
        world.ends[outer].move_to(road);
        world.restart(outer);
    } else if !world.tunnels[tunnel].is_wanted {
        world.command(outer, Command::Up { connection: "tunnel".into() });
        world.tunnels[tunnel].is_wanted = true;
    }
}

/// One warrior has a line of any kind, and does whatever it likes; every packet of the other one arrives meanwhile.
pub fn neighbours(world: &mut World, choices: &mut SeededEntropy) {
    world.run_for(Duration::from_secs(10));
    let calm = (choices.next_u64() % 2) as usize;
    let wild = 1 - calm;
    world.tunnels[calm].must_stay_up = true;
    world.tunnels[calm].must_carry_traffic = true;
    come_or_go(world, wild, choices);
    for _ in 0..8 + choices.next_u64() % 8 {
        let what = if choices.next_u64().is_multiple_of(3) { RekeyWhat::Ike } else { RekeyWhat::Child };
        let outer = world.tunnels[wild].outer;
        let (lines, address) = (&mut world.network.lines, world.ends[outer].address);
        match choices.next_u64() % 12 {
            0..=2 => come_or_go(world, wild, choices),
            3 => drop(lines.insert(address, Quality::CUT)),
            4 => drop(lines.insert(address, Quality::random(choices))),
            5 => lines.clear(),
            6 | 7 => world.rekey(outer, what),
            8 => world.rekey(RIGHT, what),
            // A configuration that is the same changes nothing.
            9 => {
                let same = world.ends[RIGHT].fresh_config();
                world.command(RIGHT, Command::Reload(same));
            }
            _ => {
                let calm = world.tunnels[calm].outer;
                world.rekey(calm, what);
            }
        }
        pass_time(world, [calm, wild], choices);
        if world.is_violated() {
            return;
        }
    }
    world.network.lines.clear();
    come(world, wild, choices);
    world.run_for(LAST_WAIT);
    world.agree_within(RECOVERY - LAST_WAIT);
    world.must_stay_up(false);
    world.must_carry_traffic(false);
}

/// Both send now and then.
fn pass_time(world: &mut World, tunnels: [usize; 2], choices: &mut SeededEntropy) {
    for _ in 0..4 {
        world.run_for(Duration::from_millis(choices.next_u64() % 4_000));
        for tunnel in tunnels {
            let side = world.tunnels[tunnel].ends()[(choices.next_u64() % 2) as usize];
            world.send_through(tunnel, side);
        }
    }
}

/// Two warriors that are up.
fn established(setup: Setup, seed: u64) -> World {
    let mut world = World::new(&Setup { ends: 3, ..setup }, seed);
    world.keep_trace();
    world.agree_within(Duration::from_secs(60));
    world.run_for(Duration::from_secs(10));
    check(&world);
    world
}

fn check(world: &World) {
    assert_eq!(world.violation, None, "{}", world.trace());
}

/// Inbound and outbound SPIs of the pairs between the hub and one warrior.
fn spis(world: &World, outer: usize) -> Vec<(u32, u32)> {
    world.ends[RIGHT].pairs_in_use(outer).map(|pair| (pair.inbound_spi, pair.outbound_spi)).collect()
}

#[test]
fn the_elder_notices_nothing_of_a_younger_one_that_comes_and_goes() {
    for seed in 0..20 {
        let mut world = established(Setup { children: 2, ..Setup::plain() }, seed);
        let elder = (seed % 2) as usize;
        let younger = 1 - elder;
        let outer = world.tunnels[elder].outer;
        let before = (spis(&world, outer), world.ends[outer].ike_sa());
        world.tunnels[elder].must_stay_up = true;
        world.tunnels[elder].must_carry_traffic = true;
        for _ in 0..3 {
            let connection = "tunnel".into();
            world.command(world.tunnels[younger].outer, Command::Down { connection });
            world.tunnels[younger].is_wanted = false;
            world.settle_within(Duration::from_secs(20));
            let connection = "tunnel".into();
            world.command(world.tunnels[younger].outer, Command::Up { connection });
            world.tunnels[younger].is_wanted = true;
            world.settle_within(Duration::from_secs(20));
        }
        check(&world);
        assert_eq!((spis(&world, outer), world.ends[outer].ike_sa()), before);
    }
}

#[test]
fn two_peers_behind_one_address_are_told_apart_by_their_ports() {
    let mut world = established(Setup { nat: true, ..Setup::plain() }, 1);
    let paths: Vec<_> = world.ends[RIGHT].pairs.values().map(|pair| pair.path.peer).collect();
    assert_eq!(paths.len(), 2);
    assert_eq!(paths[0].ip(), paths[1].ip());
    assert_ne!(paths[0].port(), paths[1].port());
    world.must_carry_traffic(true);
    let before = world.delivered_esp;
    (0..world.ends.len()).for_each(|side| world.send_traffic(side));
    world.run_for(Duration::from_secs(1));
    check(&world);
    assert_eq!(world.delivered_esp, before + 4, "a packet each way for each warrior");
}

#[test]
fn peers_that_have_got_each_others_ports_find_their_ways_again() {
    for seed in 0..20 {
        let mut world = established(Setup { nat: true, ..Setup::plain() }, seed);
        world.network.nat.as_mut().expect("a NAT").swap();
        // Each says from its new port that it is alive.
        world.settle_within(Duration::from_secs(60));
        check(&world);
    }
}

#[test]
fn a_peer_that_crashed_is_forgotten_and_its_address_serves_another() {
    for seed in 0..20 {
        let mut world = established(Setup::plain(), seed);
        let [crashed, other] = [0, 1].map(|tunnel| world.tunnels[tunnel].outer);
        let road = world.ends[crashed].address;
        world.crash(crashed);
        world.crash(other);
        world.ends[other].move_to(road);
        world.restart(other);
        world.run_for(Duration::from_secs(20));
        world.tunnels[1].must_stay_up = true;
        world.tunnels[1].must_carry_traffic = true;
        world.settle_within(RECOVERY);
        check(&world);
        assert_eq!(spis(&world, crashed), []);
    }
}
