use proptest::prelude::*;

use super::*;
use crate::routing::MainTable;

fn nets<C: FromIterator<IpNet>>(list: &[&str]) -> C {
    list.iter().map(|text| text.parse().expect("a prefix")).collect()
}

fn policy(protect: &[&str], peers: &[&str]) -> KernelPolicy {
    KernelPolicy {
        protect: nets(protect),
        carried: nets(protect),
        outer_peers: peers.iter().map(|peer| peer.parse().expect("an address")).collect(),
        ..KernelPolicy::default()
    }
}

fn shown(policy: &KernelPolicy) -> (Vec<String>, Vec<String>) {
    let state = kernel_state(policy, &"ipsec0".into(), FIREWALL_MARK);
    assert!(state.routes.iter().all(|route| route.protocol == PROTOCOL_GATEWAYD));
    let route = |r: &KernelRoute| format!("{:?} {} {} {}", r.kind, r.destination, r.table, r.metric);
    let rule = |r: &KernelRule| {
        let condition = if r.unless_mark.is_some() { "unmarked" } else { "all" };
        format!("{} {:?} {condition} {} {:?}", r.priority, r.family, r.table, r.suppress_prefix_length)
    };
    (state.routes.iter().map(route).collect(), state.rules.iter().map(rule).collect())
}

const IN_MAIN: [&str; 2] = ["Unicast 10.1.1.0/24 254 0", "Blackhole 10.1.1.0/24 254 4294967295"];
const BEFORE_MAIN: [&str; 2] = ["Unicast 10.1.1.0/24 20199 0", "Blackhole 10.1.1.0/24 20199 4294967295"];

fn needs_rule(policy: &KernelPolicy, actual: &KernelState, unwatched: bool) -> BTreeMap<Family, u32> {
    let mut main = MainTable::default();
    main.follow(policy);
    main.needs_rule(actual, "ipsec0", unwatched)
}

#[test]
fn an_explicit_prefix_stands_in_main_and_needs_no_rule() {
    let (routes, rules) = shown(&policy(&["10.1.1.0/24"], &["203.0.113.2"]));
    assert_eq!((routes, rules), (IN_MAIN.map(str::to_owned).to_vec(), Vec::new()));
}

#[test]
fn with_a_rule_everything_explicit_of_the_family_stands_before_main_as_well() {
    let mut policy = policy(&["10.1.1.0/24", "fd00:1::/64", "0.0.0.0/0"], &[]);
    policy.before_main = [(Family::Ipv4, 10)].into();
    let (routes, rules) = shown(&policy);
    let ipv4: Vec<&str> = routes.iter().filter(|route| route.contains("10.1.1")).map(String::as_str).collect();
    assert_eq!(ipv4, [IN_MAIN, BEFORE_MAIN].concat());
    assert_eq!(routes.iter().filter(|route| route.contains("fd00")).count(), 2);
    assert_eq!(rules[0], "10 Ipv4 unmarked 20199 None");
}

#[test]
fn a_rule_is_needed_for_what_others_would_take_and_what_main_cannot_hold() {
    let policy = policy(&["10.1.0.0/16", "10.1.1.0/24", "10.2.0.0/16", "0.0.0.0/0", "fd00:1::/64"], &[]);
    let needed = |policy: &KernelPolicy, actual: &KernelState| needs_rule(policy, actual, false);
    let nothing = BTreeMap::new();
    let (ipv4, ipv6) = ([(Family::Ipv4, 10)].into(), [(Family::Ipv6, 10)].into());
    assert_eq!(needed(&policy, &KernelState::default()), nothing);
    let by_route = |destination: &str, protocol, device: &str, metric| {
        let route = tunnel_route(TABLE_MAIN, destination.parse().expect("a prefix"), &device.into());
        let routes = [KernelRoute { protocol, metric, ..route }].into();
        needed(&policy, &KernelState { routes, ..KernelState::default() })
    };
    assert_eq!(by_route("10.1.1.128/25", 4, "wan", 100), ipv4, "a longer one");
    assert_eq!(by_route("10.2.0.0/16", 2, "lan", 100), ipv4, "an equal one, which wins when the tunnel is gone");
    assert_eq!(by_route("10.2.0.0/16", 2, "ipsec0", 0), ipv4, "one in our place");
    assert_eq!(by_route("10.0.0.0/8", 4, "wan", 0), nothing);
    assert_eq!(by_route("10.1.1.0/24", PROTOCOL_GATEWAYD, "ipsec0", 0), nothing);
    assert_eq!(by_route("10.1.1.0/25", 2, "ipsec0", 256), nothing);
    let by_rule = |rule: KernelRule| needed(&policy, &KernelState { rules: [rule].into(), ..KernelState::default() });
    assert_eq!(by_rule(KernelRule { protocol: 3, ..rule(Family::Ipv6, 100, 77) }), ipv6);
    assert_eq!(by_rule(KernelRule { is_foreign: true, ..rule(Family::Ipv6, 100, 77) }), ipv6);
    assert_eq!(by_rule(policy_rule(Family::Ipv4, 10, FIREWALL_MARK)), ipv4, "ours stays");
    assert_eq!(by_rule(rule(Family::Ipv4, 100, TABLE_LOCAL)), [(Family::Ipv4, 100)].into(), "behind `local`");
    for priority in [0, 32_766, 32_767] {
        assert_eq!(by_rule(rule(Family::Ipv6, priority, 77)), nothing);
    }
    let both: BTreeMap<Family, u32> = [(Family::Ipv4, 10), (Family::Ipv6, 10)].into();
    assert_eq!(needs_rule(&policy, &KernelState::default(), true), both, "without a filter");
    let with_peer = KernelPolicy { outer_peers: ["10.2.0.9".parse().expect("an address")].into(), ..policy.clone() };
    assert_eq!(needed(&with_peer, &KernelState::default()), ipv4);
    let with_exempt = KernelPolicy { exempt: nets(&["fd00:1::7/128"]), ..policy.clone() };
    assert_eq!(needed(&with_exempt, &KernelState::default()), ipv6);
}

#[test]
fn a_default_route_leaves_main_alone_and_stands_behind_the_mark() {
    let (routes, rules) = shown(&policy(&["0.0.0.0/0", "::/0"], &[]));
    let default_routes = ["Unicast 0.0.0.0/0 20200 0", "Blackhole 0.0.0.0/0 20200 4294967295"];
    assert_eq!(routes, [&default_routes[..], &["Unicast ::/0 20200 1", "Blackhole ::/0 20200 4294967295"]].concat());
    assert_eq!(
        rules,
        [
            "20256 Ipv4 all 254 Some(0)",
            "20257 Ipv4 unmarked 20200 None",
            "20256 Ipv6 all 254 Some(0)",
            "20257 Ipv6 unmarked 20200 None"
        ]
    );
}

#[test]
fn a_prefix_that_holds_a_peer_stays_out_of_main() {
    let mut policy = policy(&["203.0.113.0/24"], &["203.0.113.2"]);
    policy.before_main = needs_rule(&policy, &KernelState::default(), false);
    let (routes, _) = shown(&policy);
    assert_eq!(routes, ["Unicast 203.0.113.0/24 20199 0", "Blackhole 203.0.113.0/24 20199 4294967295"]);
}

#[test]
fn what_is_exempt_is_thrown_out_of_every_table_that_would_hold_it() {
    let exempt = nets(&["10.1.0.0/24", "192.0.2.0/24"]);
    let mut policy = KernelPolicy { exempt, ..policy(&["10.0.0.0/8", "0.0.0.0/0"], &[]) };
    policy.before_main = needs_rule(&policy, &KernelState::default(), false);
    let (routes, _) = shown(&policy);
    let throws: Vec<_> = routes.iter().filter(|route| route.starts_with("Throw")).collect();
    assert_eq!(throws, ["Throw 10.1.0.0/24 20199 0", "Throw 10.1.0.0/24 20200 0", "Throw 192.0.2.0/24 20200 0"]);
}

#[test]
fn a_prefix_that_is_not_carried_is_closed_all_the_same() {
    let policy = KernelPolicy { carried: SharedSet::default(), ..policy(&["10.1.1.0/24", "::/0"], &[]) };
    let (routes, rules) = shown(&policy);
    assert!(routes.len() == 2 && routes.iter().all(|route| route.starts_with("Blackhole")), "{routes:?}");
    assert_eq!(rules.len(), 2);
}

#[test]
fn a_local_subnet_is_closed_but_not_to_our_own_packets() {
    let closed = nets(&["10.1.0.0/24", "203.0.113.0/24"]);
    let (routes, rules) = shown(&KernelPolicy { closed, ..policy(&[], &["203.0.113.2"]) });
    assert_eq!(routes, ["Blackhole 10.1.0.0/24 254 4294967294", "Blackhole 203.0.113.0/24 20224 4294967294"]);
    assert_eq!(rules, ["20208 Ipv4 all 254 Some(23)", "20209 Ipv4 unmarked 20224 None"]);
}

fn prefixes() -> impl Strategy<Value = BTreeSet<IpNet>> {
    let prefix = prop_oneof![
        Just("0.0.0.0/0"),
        Just("10.0.0.0/8"),
        Just("10.1.0.0/16"),
        Just("10.1.1.0/24"),
        Just("10.1.1.7/32"),
        Just("10.2.0.0/16"),
        Just("::/0"),
        Just("fd00::/16"),
        Just("fd00:1::/64"),
    ];
    proptest::collection::btree_set(prefix.prop_map(|text| text.parse::<IpNet>().expect("a prefix")), 0..7)
}

prop_compose! {
    fn policies()(
        protect in prefixes(), not_carried in prefixes(), exempt in prefixes(), closed in prefixes(), bypass in prefixes(),
        peers in prefixes(), rules in proptest::collection::btree_map(prop_oneof![Just(Family::Ipv4), Just(Family::Ipv6)], 10..12u32, 0..2),
        has_bypass in any::<bool>(), has_rules in any::<bool>(),
    ) -> KernelPolicy {
        KernelPolicy {
            carried: protect.difference(&not_carried).copied().collect(),
            bypass: if has_bypass { bypass } else { BTreeSet::new() },
            before_main: if has_rules { rules } else { BTreeMap::new() },
            outer_peers: peers.iter().map(IpNet::network).collect(),
            protect: protect.into_iter().collect(), exempt, closed,
        }
    }
}

proptest! {
    #[test]
    fn where_two_policies_are_not_told_to_differ_they_want_the_same(before in policies(), after in policies()) {
        let state = |policy: &KernelPolicy| kernel_state(policy, &"ipsec0".into(), FIREWALL_MARK);
        let differing = match after.differing(&before) {
            Destinations::All => return Ok(()),
            Destinations::These(these) => these,
        };
        let mut changed = state(&before).routes;
        changed.retain(|route| !differing.contains(&route.destination));
        let part = after.part(&differing, &"ipsec0".into(), FIREWALL_MARK);
        prop_assert!(part.routes.iter().all(|route| differing.contains(&route.destination)));
        changed.extend(part.routes);
        prop_assert_eq!((changed, part.rules), (state(&after).routes, state(&after).rules));
    }
}

#[test]
fn of_thousands_of_destinations_the_one_that_comes_is_told_to_differ() {
    let destination = |n: u32| IpNet::V4(Ipv4Net::new_assert(Ipv4Addr::from(0x0a00_0000 + (n << 8)), 24));
    let of = |count| -> KernelPolicy {
        let protect: SharedSet<IpNet> = (0..count).map(destination).collect();
        KernelPolicy { carried: protect.clone(), protect, ..KernelPolicy::default() }
    };
    let (before, after) = (of(8000), of(8001));
    let found = Destinations::These([destination(8000)].into());
    assert_eq!([after.differing(&before), before.differing(&after)], [found.clone(), found]);
    let peer = KernelPolicy { outer_peers: ["10.0.7.9".parse().expect("an address")].into(), ..before.clone() };
    assert_eq!(peer.differing(&before), Destinations::These([destination(7)].into()));
}
