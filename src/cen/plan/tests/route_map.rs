//! What route maps do to what is learned and to the regions' tables.

use super::*;
use crate::cen::identifier::CenId;
use crate::cen::learn::View;
use crate::cen::route_map::{Actions, Conditions, Direction, EndConditions, Instances, RouteMap};

pub(super) fn map(priority: u8, region: &str, direction: Direction) -> RouteMap {
    RouteMap {
        id: format!("cenrmap-{region}-{priority}").into(),
        cen: "cen-a".into(),
        region: region.into(),
        direction,
        priority,
        permits: true,
        next_priority: None,
        description: String::new(),
        conditions: Conditions::default(),
        actions: Actions::default(),
    }
}

pub(super) fn create(map: RouteMap) -> Command {
    Command::RouteMap(RouteMapCommand::Create(Box::new(map)))
}

pub(super) fn denies(map: RouteMap, conditions: Conditions) -> Command {
    create(RouteMap { permits: false, conditions, ..map })
}

pub(super) fn from(id: &str) -> Conditions {
    let instances = Instances { ids: vec![id.to_owned()], reversed: false };
    Conditions { source: EndConditions { instances, ..EndConditions::default() }, ..Conditions::default() }
}

fn to(id: &str) -> Conditions {
    Conditions { destination: from(id).source, ..Conditions::default() }
}

/// Hangzhou and Shanghai publish 10.5.0.0/16 in this order; both and Beijing are attached.
fn two_publishers() -> (World, NetworkId, NetworkId, NetworkId) {
    let (mut world, hangzhou, beijing) = attached();
    let vbr = NetworkId::Vbr("vbr-a".into());
    world.does(create_entry("vtb-h", "10.5.0.0/16", "VpnGateway", "vpn-h"));
    world.does(Command::PublishRoute(route(&hangzhou, "cn-hangzhou", "vtb-h", "10.5.0.0/16")));
    world.does(create_entry("vtb-vbr-a", "10.5.0.0/16", "RouterInterface", "ri-a"));
    world.does(Command::AttachNetwork(child(&vbr, "cn-shanghai")));
    (world, hangzhou, beijing, vbr)
}

/// What a region's table shows: publisher, status, preference.
fn region_table(world: &World, region: &str, destination: &str) -> Vec<(NetworkId, &'static str, u8)> {
    let (cen, region) = (CenId::from("cen-a"), region.to_owned());
    let view = View::of_region(&world.state, &cen, &region).unwrap();
    let routes = view.routes_to(net(destination)).into_iter();
    routes.map(|route| (route.publisher, route.status.api_name(), route.attributes.preference)).collect()
}

#[test]
fn the_gateway_of_the_source_lets_nothing_in_that_is_denied_there() {
    let (mut world, hangzhou, beijing, vbr) = two_publishers();
    world.does(denies(map(5, "cn-hangzhou", Direction::RegionIn), from(hangzhou.as_str())));
    assert_eq!(world.learned(&beijing, "10.5.0.0/16"), [(vbr.clone(), LearnedStatus::Active)]);
    assert_eq!(region_table(&world, "cn-beijing", "10.5.0.0/16"), [(vbr.clone(), "Active", 50)]);
    let own = [(hangzhou, "Prohibited", 50), (vbr, "Active", 50)];
    assert_eq!(region_table(&world, "cn-hangzhou", "10.5.0.0/16"), own);
    world.does(Command::RouteMap(RouteMapCommand::Delete {
        cen: "cen-a".into(),
        region: "cn-hangzhou".into(),
        id: "cenrmap-cn-hangzhou-5".into(),
    }));
    assert_eq!(world.learned(&beijing, "10.5.0.0/16")[0].1, LearnedStatus::Active);
}

#[test]
fn a_route_that_its_region_does_not_let_in_goes_to_no_other_region() {
    let (mut world, hangzhou, ..) = two_publishers();
    world.does(denies(map(5, "cn-hangzhou", Direction::RegionIn), from(hangzhou.as_str())));
    let cen = CenId::from("cen-a");
    let view = View::of_region(&world.state, &cen, "cn-hangzhou").unwrap();
    let routes = view.routes_to(net("10.5.0.0/16"));
    let leaves: Vec<_> = routes.iter().map(|route| (&route.publisher, view.goes_to_other_regions(route))).collect();
    assert_eq!(leaves[0], (&hangzhou, false));
    assert!(leaves[1].1);
}

#[test]
fn a_route_that_may_not_leave_its_region_stays_there() {
    let (mut world, hangzhou, beijing, vbr) = two_publishers();
    let neighbour = world.vpc("n", "cn-hangzhou", "172.16.0.0/16");
    world.does(Command::AttachNetwork(child(&neighbour, "cn-hangzhou")));
    let regions = vec!["cn-beijing".to_owned()];
    let abroad =
        Conditions { destination: EndConditions { regions, ..EndConditions::default() }, ..from(hangzhou.as_str()) };
    world.does(denies(map(5, "cn-hangzhou", Direction::RegionOut), abroad));
    assert_eq!(world.learned(&beijing, "10.5.0.0/16"), [(vbr, LearnedStatus::Active)]);
    assert_eq!(world.learned(&neighbour, "10.5.0.0/16")[0], (hangzhou, LearnedStatus::Active));
}

#[test]
fn what_a_gateway_keeps_from_one_network_is_prohibited_there_and_a_conflict_at_the_publisher() {
    let (mut world, hangzhou, beijing, vbr) = two_publishers();
    let one = Conditions { source: from(hangzhou.as_str()).source, ..to(beijing.as_str()) };
    world.does(denies(map(5, "cn-beijing", Direction::RegionOut), one));
    let expected = [(hangzhou.clone(), LearnedStatus::Prohibited), (vbr, LearnedStatus::Active)];
    assert_eq!(world.learned(&beijing, "10.5.0.0/16"), expected);
    let conflicts = conflict::at_publisher(&world.state, &hangzhou, net("10.5.0.0/16"));
    assert!(conflicts.iter().any(|one| (one.instance, one.status) == (&beijing, "prohibited")), "{conflicts:?}");
}

#[test]
fn what_several_networks_tell_of_alike_counts_once_among_the_conflicts_that_are_shown() {
    let (mut world, hangzhou, _, vbr) = two_publishers();
    let third = world.vpc("z", "cn-shanghai", "10.5.0.0/16");
    world.does(create_vswitch("z", "z", "10.5.0.0/16"));
    world.does(Command::AttachNetwork(child(&third, "cn-shanghai")));
    world.does(create(map(5, "cn-qingdao", Direction::RegionIn)));
    let conflicts = conflict::Conflicts::of(&world.state, &vbr).unwrap();
    let shown = conflicts.to(net("10.5.0.0/16"), 2);
    assert_eq!(shown.iter().map(|one| one.instance).collect::<Vec<_>>(), [&hangzhou, &third]);
}

#[test]
fn the_smaller_preference_wins_over_the_earlier_publication() {
    let (mut world, hangzhou, beijing, vbr) = two_publishers();
    let better = RouteMap {
        conditions: from(vbr.as_str()),
        actions: Actions { preference: Some(10), ..Actions::default() },
        ..map(5, "cn-beijing", Direction::RegionIn)
    };
    let late = LearnedStatus::Rejected(Rejection::EarlierPublisher(hangzhou.clone()));
    assert_eq!(world.learned(&beijing, "10.5.0.0/16")[1], (vbr.clone(), late));
    world.does(create(better));
    let rejected = LearnedStatus::Rejected(Rejection::EarlierPublisher(vbr.clone()));
    let expected = [(hangzhou.clone(), rejected), (vbr.clone(), LearnedStatus::Active)];
    assert_eq!(world.learned(&beijing, "10.5.0.0/16"), expected);
    let table = [(hangzhou, "Rejected", 50), (vbr, "Active", 10)];
    assert_eq!(region_table(&world, "cn-beijing", "10.5.0.0/16"), table);
    assert_eq!(region_table(&world, "cn-hangzhou", "10.5.0.0/16")[0].1, "Active", "only in its own region");
}

#[test]
fn vbrs_are_connected_by_a_map_that_permits_it() {
    let (mut world, ..) = attached();
    let (a, b) = (NetworkId::Vbr("vbr-a".into()), NetworkId::Vbr("vbr-b".into()));
    world.does(create_entry("vtb-vbr-a", "10.77.0.0/16", "RouterInterface", "ri-a"));
    world.does(Command::AttachNetwork(child(&a, "cn-shanghai")));
    world.does(Command::AttachNetwork(child(&b, "cn-shanghai")));
    assert_eq!(world.learned(&b, "10.77.0.0/16"), []);
    world.does(create(RouteMap { conditions: to("vbr-b"), ..map(5, "cn-shanghai", Direction::RegionOut) }));
    assert_eq!(world.learned(&b, "10.77.0.0/16"), [(a.clone(), LearnedStatus::Active)]);
    assert_eq!(world.learned(&a, "10.77.0.0/16"), []);
    assert!(learned_routes(&world.state, &a).iter().all(|route| route.publisher.kind() == NetworkKind::Vpc));
}

#[test]
fn a_longer_as_path_loses_among_bgp_routes() {
    let (mut world, _, beijing) = attached();
    let (a, b) = (NetworkId::Vbr("vbr-a".into()), NetworkId::Vbr("vbr-b".into()));
    world.does(Command::AttachNetwork(child(&a, "cn-shanghai")));
    world.does(Command::AttachNetwork(child(&b, "cn-shanghai")));
    let mut longer = map(5, "cn-shanghai", Direction::RegionIn);
    longer.actions.prepend = vec![65009, 65009];
    longer.conditions = from("vbr-b");
    assert_eq!(world.refuses(create(longer.clone())), "IllegalParam.PrependAsPath");
    longer.conditions.source.regions = vec!["cn-shanghai".to_owned()];
    world.does(create(longer));
    let expected = [(a, LearnedStatus::Active), (b, LearnedStatus::Candidate)];
    assert_eq!(world.learned(&beijing, "10.9.0.0/16"), expected);
}

#[test]
fn maps_are_refused_that_cannot_stand_beside_others() {
    let (mut world, ..) = attached();
    let first = map(5, "cn-hangzhou", Direction::RegionIn);
    world.does(create(first.clone()));
    let same = RouteMap { id: "cenrmap-x".into(), ..first.clone() };
    assert_eq!(world.refuses(create(same.clone())), "InvalidOperation.PriorityConflict");
    world.does(create(RouteMap { direction: Direction::RegionOut, ..same.clone() }));
    let back = RouteMap { id: "cenrmap-y".into(), priority: 9, next_priority: Some(8), ..first.clone() };
    assert_eq!(world.refuses(create(back)), "IllegalParam.NextPriority");
    let elsewhere = RouteMap { cen: "cen-z".into(), ..first.clone() };
    assert_eq!(world.refuses(create(elsewhere)), "ParameterIllegal.CenInstanceId");
    let modify = |map| Command::RouteMap(RouteMapCommand::Modify(Box::new(map)));
    assert_eq!(
        world.refuses(modify(RouteMap { id: "cenrmap-z".into(), ..first.clone() })),
        "InvalidRouteMapId.NotFound"
    );
    world.does(modify(RouteMap { priority: 6, permits: false, ..first }));
    let changed = &world.state.route_maps["cenrmap-cn-hangzhou-5"];
    assert_eq!((changed.priority, changed.permits), (6, false));
    for network in world.state.attachments.keys().cloned().collect::<Vec<_>>() {
        let region = world.state.region_of(&network).unwrap().to_owned();
        world.does(Command::DetachNetwork(child(&network, &region)));
    }
    world.does(Command::DeleteCen { cen: "cen-a".into() });
    assert!(world.state.route_maps.is_empty(), "maps go with their CEN instance");
}
