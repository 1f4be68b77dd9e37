//! Many networks that publish more than anybody takes: what is found by the index is what a look at everybody finds.

use std::collections::BTreeMap;
use std::rc::Rc;

use rand::{Rng, SeedableRng};
use rand_chacha::ChaCha8Rng;

use super::*;
use crate::cen::conflict::{Conflict, Conflicts, at_learner};
use crate::cen::horizon::Horizons;
use crate::cen::learn::{LEARNED_ROUTE_QUOTA, View, taken_routes};
use crate::cen::passage::Passage;
use crate::cen::route_map::{Actions, Conditions, Direction, RouteMap};

const REGIONS: [&str; 2] = ["cn-hangzhou", "cn-shanghai"];

fn region(number: usize) -> &'static str {
    REGIONS[number % 2]
}

/// The VPC of a number, with an instance that routes may lead to, attached.
fn attached_vpc(world: &mut World, number: usize, cidr: &str) -> NetworkId {
    let name = format!("c{number}");
    let network = world.vpc(&name, region(number), cidr);
    let vpc = VpcName { region: region(number).into(), name: name.clone() };
    let address = "172.16.0.9".parse().unwrap();
    world.state.declarations.instances.insert(format!("i-{name}").as_str().into(), Host { vpc, address });
    world.does(Command::AttachNetwork(child(&network, region(number))));
    network
}

/// The VPC of a number publishes an entry to `destination`.
fn publish_of(world: &mut World, network: &NetworkId, number: usize, destination: &str) {
    let table = format!("vtb-c{number}");
    world.does(create_entry(&table, destination, "Instance", &format!("i-c{number}")));
    world.does(Command::PublishRoute(route(network, region(number), &table, destination)));
}

/// What is found for all together is what each network finds for itself.
fn assert_horizons(state: &State) {
    let cen = "cen-a".into();
    let (index, passage) = (state.index_of(&cen).unwrap(), Rc::new(Passage::of(state, &cen)));
    for (network, member) in index.members() {
        let alone = |member| View::of_network(state, index.network(member)?).map(|view| view.horizon());
        let sort = View::of_sort(state, index, Rc::clone(&passage), network);
        let view = View::of_network(state, network).unwrap();
        assert_eq!(Horizons::of(index, &sort, alone).at(member), view.horizon(), "{network}");
    }
}

/// Some dozen VPCs and two VBRs with a vSwitch or entries each, many to the same destinations.
fn crowd(random: &mut ChaCha8Rng) -> World {
    let (mut world, ..) = world();
    let mut vpcs = Vec::new();
    for number in 0..12 {
        let network = attached_vpc(&mut world, number, "172.16.0.0/12");
        if number % 3 == 0 {
            let subnet = format!("172.{}.0.0/16", 16 + number % 2);
            world.does(create_vswitch(&format!("c{number}"), &format!("c{number}"), &subnet));
        }
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

/// Maps at the gateways of both regions and both ways, with each sort of condition now and then.
fn add_maps(world: &mut World, random: &mut ChaCha8Rng) {
    for priority in 1..=12 {
        let direction = if random.random_range(0..3) == 0 { Direction::RegionIn } else { Direction::RegionOut };
        let mut one = |chance: u32| random.random_range(0..chance) == 0;
        let mut conditions = Conditions::default();
        if one(2) {
            conditions.source.regions = vec![REGIONS[usize::from(one(2))].to_owned()];
        }
        if one(3) {
            conditions.source.instances.ids = ["vpc-c1", "vpc-c4", "vbr-a"].map(str::to_owned).into();
            conditions.source.instances.reversed = one(4);
        }
        if one(3) {
            conditions.destination.instances.ids = ["vpc-c2", "vpc-c5", "vbr-b"].map(str::to_owned).into();
        }
        if one(3) {
            conditions.destination.types = vec![if one(2) { "VBR" } else { "VPC" }.to_owned()];
        }
        if one(2) {
            conditions.blocks = vec![net("10.2.0.0/15"), net(if one(2) { "172.16.0.0/16" } else { "10.8.0.0/16" })];
        }
        if one(4) {
            conditions.route_types = vec!["Custom".to_owned()];
        }
        if one(4) {
            conditions.communities = vec!["1:1".to_owned()];
        }
        let actions = Actions {
            preference: one(2).then_some(priority),
            communities: if one(2) { vec!["1:1".to_owned()] } else { Vec::new() },
            ..Actions::default()
        };
        let (permits, next_priority) = (!one(2), one(2).then_some(1));
        let map = route_map::map(priority, REGIONS[usize::from(one(2))], direction);
        world.does(route_map::create(RouteMap { permits, next_priority, conditions, actions, ..map }));
    }
}

#[test]
fn conflicts_are_those_that_everybody_would_tell_of() {
    let (mut told, mut checked) = (BTreeMap::new(), 0);
    for seed in 0..12 {
        let mut random = ChaCha8Rng::seed_from_u64(seed);
        let mut world = crowd(&mut random);
        if seed >= 4 {
            add_maps(&mut world, &mut random);
            assert_parts_of_the_whole(&world);
        }
        let state = &world.state;
        assert_horizons(state);
        for (network, attachment) in &state.attachments {
            for destination in attachment.publications.keys().filter(|_| random.random_range(0..12) == 0) {
                let found = conflict::at_publisher(state, network, *destination);
                let conflicts = Conflicts::of(state, network).unwrap();
                assert_eq!(conflicts.count(*destination), found.len(), "seed {seed}: {network} {destination}");
                let some = conflicts.to(*destination, 3);
                assert!(some.len() == found.len().min(3) && some.iter().all(|one| found.contains(one)), "{some:?}");
                assert_eq!(
                    found,
                    asked_of_everybody(state, network, *destination),
                    "seed {seed}: {network} {destination}"
                );
                found.iter().for_each(|one| *told.entry((seed >= 4, one.status)).or_insert(0) += 1);
                checked += 1;
            }
        }
    }
    for kind in [(false, "overflow"), (false, "conflict"), (true, "conflict"), (true, "prohibited"), (true, "overflow")]
    {
        assert!(told.get(&kind).is_some_and(|count| *count > 5), "{kind:?}: {told:?}");
    }
    assert!(checked > 150, "{checked} routes");
}

#[test]
fn who_publishes_late_has_no_more_room_than_who_publishes_nothing() {
    let (mut world, ..) = world();
    let vpcs: Vec<_> = (0..4).map(|number| attached_vpc(&mut world, number, "172.16.0.0/12")).collect();
    for (number, network) in vpcs[..3].iter().enumerate() {
        for third in 0..LEARNED_ROUTE_QUOTA {
            publish_of(&mut world, network, number, &format!("10.{number}.{third}.0/24"));
        }
    }
    assert_horizons(&world.state);
    let (last, learner) = ("10.2.99.0/24", &vpcs[1]);
    let found = conflict::at_publisher(&world.state, &vpcs[2], net(last));
    assert_eq!(found, asked_of_everybody(&world.state, &vpcs[2], net(last)));
    assert!(found.iter().any(|one| one.instance == learner && one.status == "overflow"), "{found:?}");
}

#[test]
fn room_is_looked_for_where_there_may_be_none() {
    let (mut world, ..) = world();
    let vpcs: Vec<_> = (0..4).map(|number| attached_vpc(&mut world, number, "172.16.0.0/12")).collect();
    for (number, network) in vpcs[..2].iter().enumerate() {
        for third in 0..LEARNED_ROUTE_QUOTA {
            publish_of(&mut world, network, number, &format!("10.{number}.{third}.0/24"));
        }
        // A sort for each, and for those that no map names.
        let mut conditions = Conditions::default();
        conditions.destination.instances.ids = vec![network.as_str().to_owned()];
        let map = route_map::map(10 + u8::try_from(number).unwrap(), region(number), Direction::RegionOut);
        world.does(route_map::create(RouteMap { permits: true, conditions, ..map }));
    }
    let [first, second] = [&vpcs[0], &vpcs[1]].map(|network| Conflicts::of(&world.state, network).unwrap());
    let early = asked_of_everybody(&world.state, &vpcs[0], net("10.0.0.0/24"));
    assert_eq!(first.count(net("10.0.0.0/24")), early.len());
    assert_eq!(first.rooms(), 0, "it is among the first, for which everybody has room");
    let full = asked_of_everybody(&world.state, &vpcs[1], net("10.1.99.0/24"));
    assert_eq!(second.count(net("10.1.99.0/24")), full.len());
    assert!(second.rooms() > 1 && !full.is_empty(), "{full:?}");
}

#[test]
fn who_keeps_out_more_than_is_looked_at_for_all_together_has_room_behind_it() {
    let (mut world, ..) = world();
    let wide = attached_vpc(&mut world, 0, "10.0.0.0/8");
    world.does(create_vswitch("c0", "c0", "10.0.0.0/16"));
    for number in 1..=12 {
        let network = attached_vpc(&mut world, number, "172.16.0.0/12");
        for host in 0..LEARNED_ROUTE_QUOTA {
            // The last one publishes what the first one takes.
            let second = usize::from(number == 12);
            publish_of(&mut world, &network, number, &format!("10.{second}.{number}.{host}/32"));
        }
    }
    assert_horizons(&world.state);
    assert_eq!(taken_routes(&world.state, &wide).len(), LEARNED_ROUTE_QUOTA);
}

#[test]
fn what_is_shown_of_one_status_is_that_part_of_the_whole_and_the_quota_is_kept() {
    let mut world = crowd(&mut ChaCha8Rng::seed_from_u64(9));
    assert_parts_of_the_whole(&world);
    let map = route_map::map(10, "cn-hangzhou", Direction::RegionOut);
    world.does(route_map::denies(map, route_map::from("vpc-c1")));
    assert_parts_of_the_whole(&world);
}

fn assert_parts_of_the_whole(world: &World) {
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
        let part: Vec<_> = all.iter().filter(|route| route.status.is_taken()).cloned().collect();
        assert_eq!(taken, part, "{network}");
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
    assert_eq!(read, world.state);
    for network in world.state.attachments.keys() {
        assert_eq!(learned_routes(&read, network), learned_routes(&world.state, network));
    }
}
