//! Many networks that publish more than anybody takes: what is found by the index is what a look at everybody finds.

use rand::{Rng, SeedableRng};
use rand_chacha::ChaCha8Rng;

use super::*;
use crate::cen::conflict::{Conflict, at_learner};
use crate::cen::learn::{LEARNED_ROUTE_QUOTA, View, taken_routes};

const REGIONS: [&str; 2] = ["cn-hangzhou", "cn-shanghai"];

fn region(number: usize) -> &'static str {
    REGIONS[number % 2]
}

/// Some dozen VPCs and two VBRs with a vSwitch or entries each, many to the same destinations.
fn crowd(random: &mut ChaCha8Rng) -> World {
    let (mut world, ..) = world();
    let mut vpcs = Vec::new();
    for number in 0..12 {
        let network = world.vpc(&format!("c{number}"), region(number), "172.16.0.0/12");
        if number % 3 == 0 {
            let subnet = format!("172.{}.0.0/16", 16 + number % 2);
            world.does(create_vswitch(&format!("c{number}"), &format!("c{number}"), &subnet));
        }
        world.state.declarations.instances.insert(
            format!("i-c{number}").as_str().into(),
            Host {
                vpc: VpcName { region: region(number).into(), name: format!("c{number}") },
                address: "172.16.0.9".parse().unwrap(),
            },
        );
        world.does(Command::AttachNetwork(child(&network, region(number))));
        vpcs.push(network);
    }
    for vbr in ["vbr-a", "vbr-b"] {
        world.does(Command::AttachNetwork(child(&NetworkId::Vbr(vbr.into()), "cn-shanghai")));
    }
    for _ in 0..400 {
        let number = random.random_range(0..vpcs.len());
        let third = random.random_range(0..200);
        let destination = match random.random_range(0..10) {
            0 => format!("172.16.{third}.0/24"),
            1 => format!("172.17.{third}.0/24"),
            2 => "10.8.0.0/16".to_owned(),
            _ => format!("10.{number}.{third}.0/24"),
        };
        let table = format!("vtb-c{number}");
        let next_hop = format!("i-c{number}");
        if world.try_do(create_entry(&table, &destination, "Instance", &next_hop)).is_ok() {
            let _ = world.try_do(Command::PublishRoute(route(&vpcs[number], region(number), &table, &destination)));
        }
    }
    for _ in 0..60 {
        let network = &vpcs[random.random_range(0..vpcs.len())];
        let published: Vec<Ipv4Net> = world.state.attachments[network].publications.keys().copied().collect();
        if published.is_empty() {
            continue;
        }
        let number: usize = network.as_str().trim_start_matches("vpc-c").parse().unwrap();
        let destination = published[random.random_range(0..published.len())].to_string();
        let one = route(network, region(number), &format!("vtb-c{number}"), &destination);
        world.does(Command::WithdrawRoute(one));
    }
    world
}

/// Every network is asked what it makes of the route.
fn asked_of_everybody<'a>(state: &'a State, network: &'a NetworkId, destination: Ipv4Net) -> Vec<Conflict<'a>> {
    let mut conflicts = Vec::new();
    for learner in state.attachments.keys().filter(|learner| *learner != network) {
        let routes = learned_routes(state, learner).into_iter();
        let ours = routes.filter(|route| route.publisher == *network && route.destination == destination);
        conflicts.extend(ours.filter_map(|route| at_learner(state, learner, &route)));
    }
    conflicts.sort();
    conflicts.dedup();
    conflicts
}

#[test]
fn conflicts_are_those_that_everybody_would_tell_of() {
    let (mut overflows, mut checked) = (0, 0);
    for seed in 0..4 {
        let mut random = ChaCha8Rng::seed_from_u64(seed);
        let world = crowd(&mut random);
        let state = &world.state;
        for (network, attachment) in &state.attachments {
            for destination in attachment.publications.keys().filter(|_| random.random_range(0..12) == 0) {
                let found = conflict::at_publisher(state, network, *destination);
                assert_eq!(
                    found,
                    asked_of_everybody(state, network, *destination),
                    "seed {seed}: {network} {destination}"
                );
                overflows += found.iter().filter(|one| one.status == "overflow").count();
                checked += 1;
            }
        }
    }
    assert!(overflows > 100 && checked > 50, "{overflows} overflows, {checked} routes");
}

#[test]
fn what_is_shown_of_one_status_is_that_part_of_the_whole_and_the_quota_is_kept() {
    let world = crowd(&mut ChaCha8Rng::seed_from_u64(9));
    for network in world.state.attachments.keys() {
        let all = learned_routes(&world.state, network);
        let view = View::of_network(&world.state, network).unwrap();
        for status in ["Active", "Candidate", "Rejected", "Prohibited"] {
            let some: Vec<_> = view.offers(Some(status)).offers.filter_map(|offer| view.route(offer)).collect();
            assert_eq!(view.offers(Some(status)).count, some.len(), "{network} {status}");
            let part: Vec<_> = all.iter().filter(|route| route.status.api_name() == status).cloned().collect();
            assert_eq!(some, part, "{network} {status}");
        }
        assert_eq!(view.offers(None).count, all.len(), "{network}");
        let taken = taken_routes(&world.state, network);
        let destinations: std::collections::BTreeSet<_> = taken.iter().map(|route| route.destination).collect();
        assert!(destinations.len() <= LEARNED_ROUTE_QUOTA, "{network}: {}", destinations.len());
        let full = all.iter().any(|route| route.status == LearnedStatus::Rejected(Rejection::Overflow));
        assert!(!full || destinations.len() == LEARNED_ROUTE_QUOTA, "{network} overflows, and has room");
    }
}

#[test]
fn a_state_that_is_read_has_the_index_of_the_one_that_was_written() {
    let world = crowd(&mut ChaCha8Rng::seed_from_u64(5));
    let mut read: State = serde_json::from_slice(&serde_json::to_vec(&world.state).unwrap()).unwrap();
    read.reindex();
    for network in world.state.attachments.keys() {
        assert_eq!(learned_routes(&read, network), learned_routes(&world.state, network));
    }
}
