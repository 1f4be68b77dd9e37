//! gatewayd's and cend's side of the kernel: routes, rules, blackholes, and the filter against plaintext.
use std::collections::BTreeSet;
use std::time::{Duration, Instant};

use ipnet::IpNet;
use ipsec_gateway::io::forwarding::{Absence, Forwarding, ForwardingSettings, ForwardingTarget};
use ipsec_gateway::io::netlink::Netlink;
use ipsec_gateway::io::netlink::reconciler::Reconciler;
use ipsec_gateway::io::netns::Namespace;
use ipsec_gateway::io::nftables::OuterPorts;
use ipsec_gateway::routing::{
    FIREWALL_MARK, Family, KernelRoute, KernelRule, KernelState, PROTOCOL_CEND, PROTOCOL_GATEWAYD, RouteKind,
    kernel_state, reconcile,
};

use crate::lab::{TestNamespace, cable, may_make_namespaces};

/// A namespace with an outer link `wan`, whose other end is in a second one, and a stand-in for the tunnel device.
fn gateway() -> (TestNamespace, TestNamespace) {
    let (gateway, outside) = (TestNamespace::new("gateway"), TestNamespace::new("outside"));
    cable(&gateway, ("wan", "198.51.100.2/24"), &outside, ("eth0", "198.51.100.1/24"));
    gateway.ip("tuntap add ipsec0 mode tun");
    gateway.ip("link set ipsec0 up");
    gateway.ip("route add default via 198.51.100.1");
    (gateway, outside)
}

fn forwarding(gateway: &TestNamespace) -> Forwarding {
    Forwarding::start(ForwardingSettings {
        namespace: Namespace::Named(gateway.name.as_str().into()),
        device: "ipsec0".into(),
        index: None,
        mark: FIREWALL_MARK,
        ports: OuterPorts { ike: 500, nat: 4500 },
    })
}

fn target(destinations: &[&str]) -> ForwardingTarget {
    let destinations = destinations.iter().map(|text| text.parse::<IpNet>().expect("a prefix")).collect();
    ForwardingTarget { destinations, outer_peers: BTreeSet::new() }
}

fn ours(gateway: &TestNamespace) -> Vec<String> {
    let listing = gateway.ip("route show table all proto 201");
    listing.lines().map(|line| line.trim().to_owned()).collect()
}

async fn eventually(what: &str, condition: impl Fn() -> bool) {
    let limit = Instant::now() + Duration::from_secs(5);
    while !condition() {
        assert!(Instant::now() < limit, "not within five seconds: {what}");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

#[tokio::test]
async fn routes_follow_the_table_heal_themselves_and_fail_closed() {
    if !may_make_namespaces("routes_follow_the_table_heal_themselves_and_fail_closed") {
        return;
    }
    let (gateway, _outside) = gateway();
    let foreign = "172.20.0.0/16 via 198.51.100.1 dev wan";
    gateway.ip(&format!("route add {foreign}"));

    let running = forwarding(&gateway);
    running.apply(target(&["10.1.1.0/24"])).await.expect("the kernel takes the routes");
    assert_eq!(ours(&gateway).len(), 2, "{:?}", ours(&gateway));
    assert!(gateway.ip("route get 10.1.1.7").contains("dev ipsec0"));

    gateway.ip("route delete 10.1.1.0/24 dev ipsec0");
    eventually("a deleted route comes back", || ours(&gateway).len() == 2).await;
    assert!(gateway.ip("route get 10.1.1.7").contains("dev ipsec0"));

    // As in a crash: the task is gone, and the device with it.
    drop(running);
    gateway.ip("link delete ipsec0");
    assert!(!gateway.succeeds(&["ip", "route", "get", "10.1.1.7"]), "the blackhole holds");
    assert!(gateway.exec(&["nft", "list", "tables"]).contains("gatewayd_ipsec0"), "the filter holds");

    gateway.ip("tuntap add ipsec0 mode tun");
    gateway.ip("link set ipsec0 up");
    let again = forwarding(&gateway);
    again.apply(target(&["10.1.1.0/24"])).await.expect("the next start takes over");
    assert!(gateway.ip("route get 10.1.1.7").contains("dev ipsec0"));
    again.stop().await.expect("a clean stop");
    assert_eq!(ours(&gateway), Vec::<String>::new());
    assert!(!gateway.exec(&["nft", "list", "tables"]).contains("gatewayd"));
    assert!(gateway.ip("route show").contains(foreign), "what is not ours stays");
}

#[tokio::test]
async fn a_default_route_takes_everything_but_marked_and_connected_packets() {
    if !may_make_namespaces("a_default_route_takes_everything_but_marked_and_connected_packets") {
        return;
    }
    let (gateway, _outside) = gateway();
    let before = gateway.ip("route show");
    let running = forwarding(&gateway);
    running.apply(target(&["0.0.0.0/0"])).await.expect("the kernel takes the routes");
    assert_eq!(gateway.ip("route show"), before, "the main table is left alone");
    assert!(gateway.ip("route get 203.0.113.2").contains("dev ipsec0"));
    let marked = gateway.ip(&format!("route get 203.0.113.2 mark {FIREWALL_MARK}"));
    assert!(marked.contains("dev wan"), "{marked}");
    assert!(gateway.ip("route get 198.51.100.1").contains("dev wan"), "connected networks keep their way");
    running.stop().await.expect("a clean stop");
    assert!(gateway.ip("route get 203.0.113.2").contains("dev wan"));
    assert!(!gateway.ip("rule show").contains("suppress"));
}

#[tokio::test]
async fn plaintext_from_a_protected_source_is_dropped_outside_the_tunnel() {
    if !may_make_namespaces("plaintext_from_a_protected_source_is_dropped_outside_the_tunnel") {
        return;
    }
    let (gateway, outside) = gateway();
    outside.ip("address add 10.1.1.7/32 dev lo");
    let ping = |source: &str| outside.succeeds(&["ping", "-c", "1", "-W", "1", "-I", source, "198.51.100.2"]);
    let running = forwarding(&gateway);
    running.apply(target(&["10.1.1.0/24"])).await.expect("the kernel takes the routes");
    assert!(ping("198.51.100.1"), "an unprotected source passes");
    assert_eq!(running.filter().dropped().await.expect("the filter's counters"), 0);
    assert!(!ping("10.1.1.7"), "a protected one does not");
    assert!(running.filter().dropped().await.expect("the filter's counters") > 0, "and is counted");
    running.stop().await.expect("a clean stop");
}

/// Echo requests that a namespace has received.
fn echoes(namespace: &TestNamespace) -> u64 {
    let tables = namespace.exec(&["cat", "/proc/net/snmp"]);
    let mut icmp = tables.lines().filter(|line| line.starts_with("Icmp: ")).map(|line| line.split(' '));
    let (names, values) = (icmp.next().expect("the names"), icmp.next().expect("the values"));
    let echoes = names.zip(values).find(|(name, _)| *name == "InEchos").expect("the counter").1;
    echoes.parse().expect("a number")
}

#[tokio::test]
async fn traffic_of_a_vpn_route_is_dropped_when_a_foreign_route_takes_its_place() {
    if !may_make_namespaces("traffic_of_a_vpn_route_is_dropped_when_a_foreign_route_takes_its_place") {
        return;
    }
    let ((gateway, outside), host) = (gateway(), TestNamespace::new("host"));
    cable(&gateway, ("lan", "192.168.4.1/24"), &host, ("eth0", "192.168.4.10/24"));
    host.ip("route add default via 192.168.4.1");
    gateway.exec(&["sysctl", "-qw", "net.ipv4.ip_forward=1"]);
    for address in ["10.1.1.7/32", "10.9.9.9/32"] {
        outside.ip(&format!("address add {address} dev lo"));
    }
    let foreign = "10.1.1.0/24 via 198.51.100.1 dev wan";
    gateway.ip(&format!("route add {foreign}"));
    let ping = |from: &TestNamespace, words: &[&str]| {
        from.succeeds(&[&["ping", "-c", "1", "-W", "1"], words].concat());
    };
    ping(&host, &["10.1.1.7"]);
    ping(&gateway, &["10.1.1.7"]);
    assert_eq!(echoes(&outside), 2, "without a VPN route the foreign one carries the packets");

    let running = forwarding(&gateway);
    running.apply(target(&["10.1.1.0/24"])).await.expect("a blocked route is no failure");
    let absent = running.report().borrow().absent.clone();
    let absent: Vec<_> = absent.into_iter().map(|(net, absence)| (net.to_string(), absence)).collect();
    assert_eq!(absent, [("10.1.1.0/24".to_owned(), Absence::Blocked { protocol: 3 })]);
    assert!(gateway.ip("route show").contains(foreign), "the foreign route stays");
    ping(&host, &["10.1.1.7"]);
    ping(&gateway, &["10.1.1.7"]);
    assert_eq!(echoes(&outside), 2, "no packet went out in clear");
    assert_eq!(running.filter().dropped().await.expect("the filter's counters"), 2);
    ping(&gateway, &["-m", &FIREWALL_MARK.to_string(), "10.1.1.7"]);
    ping(&host, &["10.9.9.9"]);
    assert_eq!(echoes(&outside), 4, "what is sealed, and what is not protected, goes out");

    gateway.ip(&format!("route delete {foreign}"));
    eventually("the VPN route takes its place", || ours(&gateway).len() == 2).await;
    running.stop().await.expect("a clean stop");
}

/// Sets `wanted`, and asserts that all of it is there and that a second look finds nothing to do.
async fn set_once(namespace: &TestNamespace, wanted: &KernelState, protocol: u8) {
    let place = Namespace::Named(namespace.name.as_str().into());
    let mut reconciler = Reconciler::new(place.clone(), protocol);
    let outcome = reconciler.round(wanted).await.expect("the kernel answers");
    assert!(outcome.refusals().is_empty() && outcome.blocked.is_empty(), "{outcome:?}");
    assert_eq!(outcome.set, wanted.routes.len() + wanted.rules.len());
    let actual = Netlink::open(&place).expect("a socket").state().await.expect("the kernel answers");
    let left = reconcile(wanted, &actual, protocol);
    assert!(left.is_empty() && left.blocked.is_empty(), "the kernel shows something else than was set: {left:?}");
    let removed = reconciler.round(&KernelState::default()).await.expect("the kernel answers");
    assert!(removed.failed.is_empty() && removed.removed == outcome.set, "{removed:?}");
}

#[tokio::test]
async fn what_gatewayd_sets_reads_back_the_same() {
    if !may_make_namespaces("what_gatewayd_sets_reads_back_the_same") {
        return;
    }
    let (gateway, _outside) = gateway();
    let destinations =
        ["0.0.0.0/0", "203.0.113.0/24", "10.1.1.0/24", "10.1.2.3/32", "::/0", "2001:db8::/32", "fd00::1/128"];
    let destinations = destinations.map(|prefix| prefix.parse::<IpNet>().expect("a prefix"));
    let peers = ["203.0.113.2", "2001:db8::2"].map(|address| address.parse().expect("an address"));
    let wanted = kernel_state(destinations, &peers, &"ipsec0".into(), FIREWALL_MARK);
    set_once(&gateway, &wanted, PROTOCOL_GATEWAYD).await;
}

#[tokio::test]
async fn what_cend_sets_reads_back_the_same() {
    if !may_make_namespaces("what_cend_sets_reads_back_the_same") {
        return;
    }
    let (gateway, _outside) = gateway();
    let route = |table, destination: &str, metric, kind, device: Option<&str>| KernelRoute {
        table,
        destination: destination.parse().expect("a prefix"),
        metric,
        protocol: PROTOCOL_CEND,
        kind,
        gateway: (kind == RouteKind::Unicast).then(|| "198.51.100.1".parse().expect("an address")),
        device: device.map(Into::into),
    };
    let rule = |priority, device: &str| KernelRule {
        family: Family::Ipv4,
        priority,
        protocol: PROTOCOL_CEND,
        input_device: Some(device.into()),
        unless_mark: None,
        table: priority,
        suppress_prefix_length: None,
    };
    let wanted = KernelState {
        routes: [
            route(254, "10.1.1.0/24", 0, RouteKind::Unicast, None),
            route(254, "10.1.2.0/24", 0, RouteKind::Unicast, Some("wan")),
            route(254, "10.1.3.0/24", 0, RouteKind::Unreachable, None),
            route(20_400, "192.168.1.0/24", 0, RouteKind::Unicast, Some("wan")),
            route(20_400, "0.0.0.0/0", u32::MAX, RouteKind::Unreachable, None),
        ]
        .into(),
        // A rule may name a device that is not there yet.
        rules: [rule(20_400, "wan"), rule(20_401, "later")].into(),
    };
    set_once(&gateway, &wanted, PROTOCOL_CEND).await;
}
