//! gatewayd's and cend's side of the kernel: routes, rules, blackholes, and the filter against plaintext.
use std::collections::BTreeSet;
use std::time::{Duration, Instant};

use ipnet::IpNet;
use ipsec_gateway::io::forwarding::{Forwarding, ForwardingSettings, ForwardingTarget};
use ipsec_gateway::io::netns::Namespace;
use ipsec_gateway::io::nftables::OuterPorts;
use ipsec_gateway::routing::FIREWALL_MARK;

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
    eventually("a deleted route comes back", || gateway.ip("route get 10.1.1.7").contains("dev ipsec0")).await;

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
    assert_eq!(running.dropped().await.expect("the filter's counters"), 0);
    assert!(!ping("10.1.1.7"), "a protected one does not");
    assert!(running.dropped().await.expect("the filter's counters") > 0, "and is counted");
    running.stop().await.expect("a clean stop");
}
