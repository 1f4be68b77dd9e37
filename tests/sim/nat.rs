//! A NAT before the end that initiates (RFC 7296 section 2.23).

use std::time::Duration;

use ipsec_gateway::ike::{Encapsulation, RekeyWhat};

use crate::setup::{LEFT, NAT_ADDRESS, RIGHT, Setup, address};
use crate::world::{RECOVERY, World};

fn established(seed: u64) -> World {
    let mut world = World::new(&Setup { nat: true, ..Setup::plain() }, seed);
    world.keep_trace();
    world.agree_within(Duration::from_secs(60));
    check(&world);
    world
}

fn check(world: &World) {
    assert_eq!(world.violation, None, "{}", world.trace());
}

#[test]
fn both_ends_move_to_the_nat_port_and_encapsulate() {
    let world = established(1);
    for end in &world.ends {
        let status = &end.endpoint.status()[0];
        assert!(status.children.iter().all(|child| child.encapsulation == Encapsulation::Udp));
        assert!(end.pairs.values().all(|pair| pair.path.non_esp_marker && pair.path.local.port() == 4500));
    }
    let ike_sa = |side: usize| world.ends[side].endpoint.status()[0].ike_sa.clone().expect("established");
    assert!(ike_sa(LEFT).local_behind_nat && !ike_sa(LEFT).peer_behind_nat);
    assert!(ike_sa(RIGHT).peer_behind_nat && !ike_sa(RIGHT).local_behind_nat);
    assert!(world.ends[RIGHT].pairs.values().all(|pair| pair.path.peer.ip() == address(NAT_ADDRESS)));
}

#[test]
fn a_new_mapping_is_followed_once_an_authentic_packet_shows_it() {
    let mut world = established(2);
    let path = |world: &World| world.ends[RIGHT].pairs.values().next().expect("a pair").path;
    let before = path(&world);
    world.network.nat.as_mut().expect("a NAT").rebind();
    world.send_traffic(LEFT);
    world.run_for(Duration::from_secs(1));
    assert_ne!(path(&world).peer, before.peer);

    let delivered = world.delivered_esp;
    world.must_carry_traffic(true);
    world.send_traffic(RIGHT);
    world.run_for(Duration::from_secs(1));
    assert!(world.delivered_esp > delivered, "a packet reaches the end behind the NAT again\n{}", world.trace());
    check(&world);
}

#[test]
fn rekeys_and_recovery_work_through_a_nat_that_changes() {
    let mut world = established(3);
    for what in [RekeyWhat::Child, RekeyWhat::Ike, RekeyWhat::Child] {
        world.network.nat.as_mut().expect("a NAT").rebind();
        world.rekey(LEFT, what);
        world.agree_within(RECOVERY);
        world.rekey(RIGHT, what);
        world.agree_within(RECOVERY);
        check(&world);
    }
}
