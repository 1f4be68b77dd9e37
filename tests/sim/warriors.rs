//! Road warriors of one connection that takes any peer: they come, rekey, go, crash and come back, and none of them
//! notices the other.

use std::time::Duration;

use ipsec_gateway::crypto::fake::SeededEntropy;
use ipsec_gateway::ike::{Command, RekeyWhat};

use crate::network::Quality;
use crate::schedules::LAST_WAIT;
use crate::setup::{RIGHT, address_of};
use crate::world::{RECOVERY, World};

/// A warrior that is there goes, crashes or restarts; one that is gone comes back.
pub fn come_or_go(world: &mut World, tunnel: usize, choices: &mut SeededEntropy) {
    if !world.tunnels[tunnel].is_wanted {
        return come(world, tunnel);
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

/// Sees to it that a warrior is there.
pub fn come(world: &mut World, tunnel: usize) {
    let outer = world.tunnels[tunnel].outer;
    if !world.ends[outer].runs {
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
    let outer = world.tunnels[wild].outer;
    world.tunnels[calm].must_stay_up = true;
    world.tunnels[calm].must_carry_traffic = true;
    come_or_go(world, wild, choices);
    for _ in 0..8 + choices.next_u64() % 8 {
        let what = if choices.next_u64().is_multiple_of(3) { RekeyWhat::Ike } else { RekeyWhat::Child };
        let line = &mut world.network.lines;
        match choices.next_u64() % 10 {
            0..=2 => come_or_go(world, wild, choices),
            3 => drop(line.insert(address_of(outer), Quality::CUT)),
            4 => drop(line.insert(address_of(outer), Quality::random(choices))),
            5 => drop(line.remove(&address_of(outer))),
            6 | 7 => world.rekey(outer, what),
            8 => world.rekey(RIGHT, what),
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
    come(world, wild);
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
