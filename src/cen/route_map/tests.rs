//! Every condition and every action, each a row with its source: the documents of CreateCenRouteMap (the API's reference, and
//! "Route map overview" of 2019).

use super::*;

fn net(text: &str) -> Ipv4Net {
    text.parse().unwrap()
}

fn texts(list: &[&str]) -> Vec<String> {
    list.iter().map(|text| (*text).to_owned()).collect()
}

fn map(priority: u8, conditions: Conditions) -> RouteMap {
    RouteMap {
        id: format!("cenrmap-{priority}").into(),
        cen: "cen-a".into(),
        region: "cn-hangzhou".into(),
        direction: Direction::RegionOut,
        priority,
        permits: true,
        next_priority: None,
        description: String::new(),
        conditions,
        actions: Actions::default(),
    }
}

fn network<'a>(id: &'a str, kind: NetworkKind, route_table: &'a str, region: &'a str) -> End<'a> {
    End { region, network: Some(NetworkEnd { id, kind, route_table }) }
}

/// A route with its ends.
#[derive(Clone, Copy)]
struct Going {
    route: Passing<'static>,
    from: End<'static>,
    to: End<'static>,
}

/// 10.1.1.0/24, learned over BGP by a VBR in Shanghai, on its way to a VPC in Hangzhou.
fn passing() -> Going {
    Going {
        route: Passing { block: net("10.1.1.0/24"), route_type: "BGP" },
        from: network("vbr-a", NetworkKind::Vbr, "vtb-a", "cn-shanghai"),
        to: network("vpc-b", NetworkKind::Vpc, "vtb-b", "cn-hangzhou"),
    }
}

/// Past those maps whose ends are met.
fn pass(maps: &[&RouteMap], Going { route, from, to }: &Going, attributes: &mut Attributes) -> Verdict {
    let maps: Vec<_> = maps.iter().copied().filter(|map| map.conditions.meet_ends(from, to)).collect();
    let by_block = permits(&maps, route.block);
    let verdict = super::pass(&maps, route, attributes);
    if !maps.iter().any(|map| map.conditions.ask_about_more_than_the_block()) {
        assert_eq!(verdict, by_block);
    }
    if maps.iter().all(|map| !map.conditions.ask_about_the_route()) {
        assert_eq!(verdict, permits(&maps, Ipv4Net::default()));
    }
    verdict
}

fn attributes() -> Attributes {
    Attributes { communities: texts(&["65001:1", "65001:2"]), ..Attributes::of_entry(&[65001, 65002]) }
}

fn meets(conditions: Conditions, route: &Going) -> bool {
    pass(&[&map(10, conditions)], route, &mut attributes()) == Verdict::Permitted
}

fn source(end: EndConditions) -> Conditions {
    Conditions { source: end, ..Conditions::default() }
}

fn destination(end: EndConditions) -> Conditions {
    Conditions { destination: end, ..Conditions::default() }
}

fn regions(list: &[&str]) -> EndConditions {
    EndConditions { regions: texts(list), ..EndConditions::default() }
}

fn instances(list: &[&str], reversed: bool) -> EndConditions {
    EndConditions { instances: Instances { ids: texts(list), reversed }, ..EndConditions::default() }
}

fn tables(list: &[&str]) -> EndConditions {
    EndConditions { route_tables: texts(list), ..EndConditions::default() }
}

fn types(list: &[&str]) -> EndConditions {
    EndConditions { types: texts(list), ..EndConditions::default() }
}

fn blocks(list: &[&str], block_mode: MatchMode) -> Conditions {
    Conditions { blocks: list.iter().map(|block| net(block)).collect(), block_mode, ..Conditions::default() }
}

fn as_path(list: &[u32], as_path_mode: MatchMode) -> Conditions {
    Conditions { as_path: list.to_vec(), as_path_mode, ..Conditions::default() }
}

fn communities(list: &[&str], community_mode: MatchMode) -> Conditions {
    Conditions { communities: texts(list), community_mode, ..Conditions::default() }
}

#[test]
fn every_condition_meets_what_its_parameter_says() {
    use MatchMode::{Complete, Include};
    let route_types = |list: &[&str]| Conditions { route_types: texts(list), ..Conditions::default() };
    let address = |kind: &str| Conditions { address_type: kind.to_owned(), ..Conditions::default() };
    for (what, conditions, expected) in [
        ("no condition at all", Conditions::default(), true),
        ("SourceRegionIds", source(regions(&["cn-beijing", "cn-shanghai"])), true),
        ("SourceRegionIds, another", source(regions(&["cn-beijing"])), false),
        ("SourceInstanceIds", source(instances(&["vbr-a"], false)), true),
        ("SourceInstanceIds, another", source(instances(&["vbr-b"], false)), false),
        ("SourceInstanceIdsReverseMatch", source(instances(&["vbr-a"], true)), false),
        ("SourceInstanceIdsReverseMatch, another", source(instances(&["vbr-b"], true)), true),
        ("SourceInstanceIdsReverseMatch of nothing", source(instances(&[], true)), true),
        ("SourceRouteTableIds", source(tables(&["vtb-a"])), true),
        ("SourceRouteTableIds, another", source(tables(&["vtb-b"])), false),
        ("SourceChildInstanceTypes", source(types(&["VPC", "VBR"])), true),
        ("SourceChildInstanceTypes, another", source(types(&["VPC", "CCN"])), false),
        ("DestinationRegionIds", destination(regions(&["cn-hangzhou"])), true),
        ("DestinationRegionIds, another", destination(regions(&["cn-shanghai"])), false),
        ("DestinationInstanceIds", destination(instances(&["vpc-b"], false)), true),
        ("DestinationInstanceIds, another", destination(instances(&["vpc-c"], false)), false),
        ("DestinationInstanceIdsReverseMatch", destination(instances(&["vpc-b"], true)), false),
        ("DestinationRouteTableIds", destination(tables(&["vtb-b"])), true),
        ("DestinationRouteTableIds, another", destination(tables(&["vtb-a"])), false),
        ("DestinationChildInstanceTypes", destination(types(&["VPC"])), true),
        ("DestinationChildInstanceTypes, another", destination(types(&["VBR"])), false),
        ("DestinationCidrBlocks, Include: inside", blocks(&["10.1.0.0/16"], Include), true),
        ("DestinationCidrBlocks, Include: the same", blocks(&["10.1.1.0/24"], Include), true),
        ("DestinationCidrBlocks, Include: around", blocks(&["10.1.1.0/25"], Include), false),
        ("DestinationCidrBlocks, Complete: inside", blocks(&["10.1.0.0/16"], Complete), false),
        ("DestinationCidrBlocks, Complete: the same", blocks(&["10.1.0.0/16", "10.1.1.0/24"], Complete), true),
        ("RouteTypes", route_types(&["Custom", "BGP"]), true),
        ("RouteTypes, another", route_types(&["System"]), false),
        ("MatchAsns, Include: something in common", as_path(&[65002, 65003], Include), true),
        ("MatchAsns, Include: nothing in common", as_path(&[65003], Include), false),
        ("MatchAsns, Complete: the same", as_path(&[65001, 65002], Complete), true),
        ("MatchAsns, Complete: a part", as_path(&[65001], Complete), false),
        ("MatchCommunitySet, Include: something in common", communities(&["65001:2", "1:1"], Include), true),
        ("MatchCommunitySet, Include: nothing in common", communities(&["1:1"], Include), false),
        ("MatchCommunitySet, Complete: the same", communities(&["65001:1", "65001:2"], Complete), true),
        ("MatchCommunitySet, Complete: a part", communities(&["65001:1"], Complete), false),
        ("MatchAddressType IPv4", address("IPv4"), true),
        ("MatchAddressType IPv6", address("IPv6"), false),
    ] {
        assert_eq!(meets(conditions, &passing()), expected, "{what}");
    }
    let both = Conditions { route_types: texts(&["BGP"]), ..source(regions(&["cn-beijing"])) };
    assert!(!meets(both, &passing()), "all conditions have to be met");
}

#[test]
fn instances_and_tables_of_the_destination_count_within_the_region_only() {
    let abroad = Going { to: End { region: "cn-beijing", network: None }, ..passing() };
    assert!(meets(destination(regions(&["cn-beijing"])), &abroad));
    for end in [instances(&["vpc-b"], false), instances(&["vpc-z"], true), tables(&["vtb-b"]), types(&["VPC"])] {
        assert!(!meets(destination(end), &abroad));
    }
}

#[test]
fn every_action_changes_what_its_parameter_says() {
    let after = |actions: Actions| {
        let mut attributes = attributes();
        pass(&[&RouteMap { actions, ..map(10, Conditions::default()) }], &passing(), &mut attributes);
        (attributes.preference, attributes.as_path, attributes.communities)
    };
    let (path, sets) = (vec![65001, 65002], texts(&["65001:1", "65001:2"]));
    let actions = Actions::default;
    assert_eq!(after(actions()), (50, path.clone(), sets.clone()), "none");
    assert_eq!(after(Actions { preference: Some(7), ..actions() }), (7, path.clone(), sets.clone()), "Preference");
    let prepended = after(Actions { prepend: vec![1, 2], ..actions() });
    assert_eq!(prepended, (50, vec![1, 2, 65001, 65002], sets.clone()), "PrependAsPath");
    let added = Actions { communities: texts(&["1:1", "65001:2"]), ..actions() };
    let all = texts(&["65001:1", "65001:2", "1:1"]);
    assert_eq!(after(added.clone()), (50, path.clone(), all), "CommunityOperateMode Additive");
    let replaced = after(Actions { replaces_communities: true, ..added });
    assert_eq!(replaced, (50, path, texts(&["1:1", "65001:2"])), "CommunityOperateMode Replace");
}

#[test]
fn the_first_map_that_meets_a_route_decides_unless_it_names_the_next() {
    let prefers = |priority: u8, next_priority| RouteMap {
        next_priority,
        actions: Actions { preference: Some(priority), ..Actions::default() },
        ..map(priority, Conditions::default())
    };
    let denies = |priority| RouteMap { permits: false, ..map(priority, Conditions::default()) };
    let unmet = |priority| map(priority, blocks(&["172.16.0.0/12"], MatchMode::Include));
    let other = |priority| RouteMap { permits: false, ..unmet(priority) };
    for (what, maps, verdict, preference, met) in [
        ("none", vec![], Verdict::Unmet, 50, vec![]),
        ("none that meets it", vec![unmet(1), other(2)], Verdict::Unmet, 50, vec![]),
        ("the first", vec![unmet(1), prefers(5, None), denies(9)], Verdict::Permitted, 5, vec![5]),
        ("denied", vec![denies(4), prefers(5, None)], Verdict::Denied, 50, vec![]),
        ("1: the next one", vec![prefers(5, Some(1)), prefers(6, None)], Verdict::Permitted, 6, vec![5, 6]),
        ("on to a map that denies", vec![prefers(5, Some(1)), denies(9)], Verdict::Denied, 5, vec![5]),
        ("past a map", vec![prefers(5, Some(9)), denies(6), prefers(9, None)], Verdict::Permitted, 9, vec![5, 9]),
        ("on to nothing", vec![prefers(5, Some(9)), denies(6)], Verdict::Permitted, 5, vec![5]),
    ] {
        let mut attributes = attributes();
        let refs: Vec<&RouteMap> = maps.iter().collect();
        assert_eq!(pass(&refs, &passing(), &mut attributes), verdict, "{what}");
        let ids: Vec<String> = met.iter().map(|priority: &u8| format!("cenrmap-{priority}")).collect();
        assert_eq!(attributes.preference, preference, "{what}");
        assert_eq!(attributes.met.iter().map(|(.., id)| id.to_string()).collect::<Vec<_>>(), ids, "{what}");
    }
}
