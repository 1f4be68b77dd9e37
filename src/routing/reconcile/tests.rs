use std::collections::BTreeMap;

use proptest::prelude::*;

use super::*;

const OURS: u8 = 201;
const THEIRS: u8 = 4;

fn route(destination: &str, protocol: u8, device: Option<&str>) -> KernelRoute {
    KernelRoute {
        table: 254,
        destination: destination.parse().expect("a prefix"),
        metric: 0,
        protocol,
        kind: if device.is_some() { RouteKind::Unicast } else { RouteKind::Blackhole },
        gateway: None,
        more_gateways: Vec::new(),
        device: device.map(Arc::from),
    }
}

fn state(routes: &[KernelRoute]) -> KernelState {
    KernelState { routes: routes.iter().cloned().collect(), rules: BTreeSet::new() }
}

#[test]
fn a_foreign_route_in_the_same_place_blocks_and_is_left_alone() {
    let wanted = route("10.1.1.0/24", OURS, Some("ipsec0"));
    let foreign = route("10.1.1.0/24", THEIRS, Some("eth0"));
    let diff = reconcile(&state(std::slice::from_ref(&wanted)), &state(std::slice::from_ref(&foreign)), OURS);
    assert!(diff.is_empty());
    assert_eq!(diff.blocked, [(wanted, foreign)]);
}

#[test]
fn what_drops_comes_first_and_goes_last() {
    let drops = KernelRoute { metric: u32::MAX, ..route("10.1.1.0/24", OURS, None) };
    let both = state(&[route("10.1.1.0/24", OURS, Some("ipsec0")), drops.clone()]);
    let diff = reconcile(&both, &KernelState::default(), OURS);
    assert_eq!(diff.add.first(), Some(&drops));
    let diff = reconcile(&KernelState::default(), &both, OURS);
    assert_eq!(diff.remove.last(), Some(&drops));
}

#[test]
fn a_route_by_gateway_is_met_whatever_device_the_kernel_found() {
    let gateway = Some("100.64.0.2".parse().expect("an address"));
    let wanted = KernelRoute { gateway, kind: RouteKind::Unicast, ..route("10.1.1.0/24", OURS, None) };
    let present = KernelRoute { device: Some("vpn".into()), ..wanted.clone() };
    assert!(reconcile(&state(std::slice::from_ref(&wanted)), &state(&[present]), OURS).is_empty());
    let elsewhere = KernelRoute { gateway: None, ..route("10.1.1.0/24", OURS, Some("vpn")) };
    let diff = reconcile(&state(std::slice::from_ref(&wanted)), &state(std::slice::from_ref(&elsewhere)), OURS);
    assert_eq!(diff.replace, [(elsewhere, wanted)]);
}

#[test]
fn a_rule_of_somebody_else_is_never_removed() {
    let rule = |protocol| KernelRule {
        family: Family::Ipv4,
        priority: 100,
        protocol,
        source: None,
        input_device: None,
        unless_mark: None,
        table: 7,
        suppress_prefix_length: None,
        is_foreign: false,
    };
    let odd = KernelRule { is_foreign: true, ..rule(OURS) };
    let actual = KernelState { routes: BTreeSet::new(), rules: [rule(OURS), rule(THEIRS), odd].into() };
    let diff = reconcile(&KernelState::default(), &actual, OURS);
    assert_eq!(diff.remove_rules, [rule(OURS)]);
}

/// What a kernel does with a diff: one route per place, and an addition into a taken place fails.
fn applied(diff: &Diff, actual: &KernelState) -> KernelState {
    let mut routes = actual.routes.clone();
    for route in &diff.add {
        assert!(!routes.iter().any(|present| present.place() == route.place()), "the place of {route:?} is taken");
        routes.insert(route.clone());
    }
    for (old, new) in &diff.replace {
        assert_eq!(old.place(), new.place());
        assert!(routes.remove(old));
        routes.insert(new.clone());
    }
    for route in &diff.remove {
        assert!(routes.remove(route));
    }
    KernelState { routes, rules: actual.rules.clone() }
}

fn routes(protocols: &'static [u8]) -> impl Strategy<Value = KernelState> {
    let one = (0u8..4, proptest::sample::select(protocols), 0u8..3).prop_map(|(place, protocol, way)| {
        let device = ["ipsec0", "ipsec1"].get(usize::from(way)).copied();
        route(&format!("10.{place}.0.0/16"), protocol, device)
    });
    proptest::collection::vec(one, 0..6).prop_map(|routes| {
        let by_place: BTreeMap<_, _> = routes.into_iter().map(|route| (route.place(), route)).collect();
        KernelState { routes: by_place.into_values().collect(), rules: BTreeSet::new() }
    })
}

proptest! {
    #[test]
    fn a_second_round_finds_nothing_to_do_and_foreign_routes_stay(
        desired in routes(&[OURS]), actual in routes(&[OURS, THEIRS]),
    ) {
        let diff = reconcile(&desired, &actual, OURS);
        let after = applied(&diff, &actual);
        prop_assert!(reconcile(&desired, &after, OURS).is_empty());
        let foreign = |state: &KernelState| {
            state.routes.iter().filter(|route| route.protocol == THEIRS).cloned().collect::<Vec<_>>()
        };
        prop_assert_eq!(foreign(&after), foreign(&actual));
        for wanted in &desired.routes {
            let blocked = diff.blocked.iter().any(|(blocked, _)| blocked == wanted);
            prop_assert!(blocked || after.routes.contains(wanted));
        }
    }
}
