//! gatewayd's and cend's side of the kernel: routes, rules, blackholes, and the filter against plaintext.
use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use ipnet::IpNet;
use ipsec_gateway::io::forwarding::{Absence, Forwarding, ForwardingSettings, Standing, release};
use ipsec_gateway::io::kept_policy::{KeptPolicy, Share};
use ipsec_gateway::io::netlink::Netlink;
use ipsec_gateway::io::netlink::kernel_watch::KernelWatch;
use ipsec_gateway::io::netlink::reconciler::Reconciler;
use ipsec_gateway::io::netns::Namespace;
use ipsec_gateway::io::nftables::OuterPorts;
use ipsec_gateway::routing::{
    FIREWALL_MARK, Family, Interest, KernelPolicy, KernelRoute, KernelRule, KernelState, PROTOCOL_CEND,
    PROTOCOL_GATEWAYD, Picture, Policy, RouteKind, kernel_state, reconcile,
};

use crate::lab::{TestNamespace, cable, may_make_namespaces};

/// A namespace with an outer link `wan`, whose other end is in a second one, and a stand-in for the tunnel device.
pub fn gateway() -> (TestNamespace, TestNamespace) {
    let (gateway, outside) = (TestNamespace::new("gateway"), TestNamespace::new("outside"));
    cable(&gateway, ("wan", "198.51.100.2/24"), &outside, ("eth0", "198.51.100.1/24"));
    gateway.ip("tuntap add ipsec0 mode tun");
    gateway.ip("link set ipsec0 up");
    gateway.ip("route add default via 198.51.100.1");
    (gateway, outside)
}

fn place(gateway: &TestNamespace) -> Namespace {
    Namespace::Named(gateway.name.as_str().into())
}

pub fn forwarding(gateway: &TestNamespace) -> Forwarding {
    let ports = OuterPorts { ike: 500, nat: 4500 };
    Forwarding::start(ForwardingSettings { namespace: place(gateway), ports, state: None }, &protecting(&[]))
}

fn nets<C: FromIterator<IpNet>>(texts: &[&str]) -> C {
    texts.iter().map(|text| text.parse().expect("a prefix")).collect()
}

pub fn protecting(destinations: &[&str]) -> KeptPolicy {
    KeptPolicy {
        device: "ipsec0".into(),
        mark: FIREWALL_MARK,
        file: Share { protect: nets(destinations), ..Share::default() },
        ..KeptPolicy::default()
    }
}

fn ours(gateway: &TestNamespace) -> Vec<String> {
    let listing = gateway.ip("route show table all proto 201");
    listing.lines().map(|line| line.trim().to_owned()).collect()
}

pub async fn eventually(what: &str, condition: impl Fn() -> bool) {
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
    let rules = gateway.ip("rule show");

    let running = forwarding(&gateway);
    running.apply(protecting(&["10.1.1.0/24"])).await.expect("the kernel takes the routes");
    assert_eq!(ours(&gateway).len(), 2, "{:?}", ours(&gateway));
    assert_eq!(gateway.ip("rule show"), rules, "the kernel's fast lookup stays");
    assert!(gateway.ip("route get 10.1.1.7").contains("dev ipsec0"));

    gateway.ip("route delete 10.1.1.0/24 dev ipsec0");
    eventually("a deleted route comes back", || ours(&gateway).len() == 2).await;
    assert!(gateway.ip("route get 10.1.1.7").contains("dev ipsec0"));

    // As in a crash: the task is gone, and the device with it.
    drop(running);
    gateway.ip("link delete ipsec0");
    assert!(!gateway.succeeds(&["ip", "route", "get", "10.1.1.7"]), "the blackhole holds");
    assert!(gateway.exec(&["nft", "list", "tables"]).contains("inet gatewayd"), "the filter holds");

    gateway.ip("tuntap add ipsec0 mode tun");
    gateway.ip("link set ipsec0 up");
    let again = forwarding(&gateway);
    again.apply(protecting(&["10.1.1.0/24"])).await.expect("the next start takes over");
    assert!(gateway.ip("route get 10.1.1.7").contains("dev ipsec0"));
    again.end().await;
    assert_eq!(ours(&gateway).len(), 2, "an end leaves a blackhole in main and one before it");
    assert!(
        ours(&gateway).iter().all(|route| route.starts_with("blackhole")) && gateway.ip("rule show").contains("20199")
    );
    let released = release(place(&gateway)).await.expect("a release");
    assert_eq!((released.routes, released.rules, released.tables), (2, 1, vec!["gatewayd".to_owned()]));
    assert_eq!(ours(&gateway), Vec::<String>::new());
    assert!(!gateway.exec(&["nft", "list", "tables"]).contains("gatewayd"));
    assert!(gateway.ip("route show").contains(foreign), "what is not ours stays");
    assert_eq!(release(place(&gateway)).await.expect("again"), Default::default());
}

#[tokio::test]
async fn a_default_route_takes_everything_but_marked_and_connected_packets() {
    if !may_make_namespaces("a_default_route_takes_everything_but_marked_and_connected_packets") {
        return;
    }
    let (gateway, _outside) = gateway();
    let before = gateway.ip("route show");
    let running = forwarding(&gateway);
    running.apply(protecting(&["0.0.0.0/0"])).await.expect("the kernel takes the routes");
    assert_eq!(gateway.ip("route show"), before, "the main table is left alone");
    assert!(gateway.ip("route get 203.0.113.2").contains("dev ipsec0"));
    let marked = gateway.ip(&format!("route get 203.0.113.2 mark {FIREWALL_MARK}"));
    assert!(marked.contains("dev wan"), "{marked}");
    assert!(gateway.ip("route get 198.51.100.1").contains("dev wan"), "connected networks keep their way");
    drop(running);
    release(place(&gateway)).await.expect("a release");
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
    running.apply(protecting(&["10.1.1.0/24"])).await.expect("the kernel takes the routes");
    assert!(ping("198.51.100.1"), "an unprotected source passes");
    assert_eq!(running.filter().dropped().await.expect("the filter's counters"), 0);
    assert!(!ping("10.1.1.7"), "a protected one does not");
    assert!(running.filter().dropped().await.expect("the filter's counters") > 0, "and is counted");
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
async fn no_foreign_route_takes_traffic_of_a_vpn_route() {
    if !may_make_namespaces("no_foreign_route_takes_traffic_of_a_vpn_route") {
        return;
    }
    let ((gateway, outside), host) = (gateway(), TestNamespace::new("host"));
    cable(&gateway, ("lan", "192.168.4.1/24"), &host, ("eth0", "192.168.4.10/24"));
    host.ip("route add default via 192.168.4.1");
    gateway.exec(&["sysctl", "-qw", "net.ipv4.ip_forward=1"]);
    for address in ["10.1.1.7/32", "10.1.2.7/32", "10.9.9.9/32"] {
        outside.ip(&format!("address add {address} dev lo"));
    }
    // The same prefix, and a more specific one.
    let foreign = ["10.1.1.0/24 via 198.51.100.1 dev wan", "10.1.2.0/25 via 198.51.100.1 dev wan"];
    foreign.iter().for_each(|route| drop(gateway.ip(&format!("route add {route}"))));
    let ping = |from: &TestNamespace, words: &[&str]| {
        from.succeeds(&[&["ping", "-c", "1", "-W", "1"], words].concat());
    };
    let ping_all = || {
        for (from, to) in [(&host, "10.1.1.7"), (&gateway, "10.1.1.7"), (&host, "10.1.2.7"), (&gateway, "10.1.2.7")] {
            ping(from, &[to]);
        }
    };
    ping_all();
    assert_eq!(echoes(&outside), 4, "without a VPN route the foreign ones carry the packets");

    let running = forwarding(&gateway);
    running.apply(protecting(&["10.1.1.0/24", "10.1.2.0/24"])).await.expect("the kernel takes the routes");
    let shut = nets(&["10.1.1.0/24", "10.1.2.0/24"]);
    let all_is_well = Standing { shut, ..Standing::default() };
    assert_eq!(*running.standing().borrow(), all_is_well, "everything is carried and closed, nothing is exempt");
    for destination in ["10.1.1.7", "10.1.2.7"] {
        assert!(gateway.ip(&format!("route get {destination}")).contains("dev ipsec0"));
    }
    foreign.iter().for_each(|route| assert!(gateway.ip("route show").contains(route), "the foreign route stays"));
    ping_all();
    assert_eq!(echoes(&outside), 4, "no packet went out in clear");
    ping(&gateway, &["-m", &FIREWALL_MARK.to_string(), "10.1.1.7"]);
    ping(&host, &["10.9.9.9"]);
    assert_eq!(echoes(&outside), 6, "what is sealed, and what is not protected, goes out");

    // Somebody takes the rule away as well: the foreign routes are asked, and the filter drops.
    gateway.ip("rule delete priority 10");
    ping_all();
    eventually("the rule comes back", || gateway.ip("rule show").contains("20199")).await;
    assert_eq!(echoes(&outside), 6);

    // Somebody else's rule stands behind ours, unless it was given the place before it.
    gateway.ip("route add default via 198.51.100.1 table 77");
    gateway.ip("rule add from 192.168.4.0/24 lookup 77 priority 5000");
    assert!(gateway.ip("route get 10.1.2.7 from 192.168.4.10 iif lan").contains("dev ipsec0"));
    gateway.ip("rule add from 192.168.4.0/24 lookup 77");
    eventually("it is told of", || running.standing().borrow().preceding == [(Family::Ipv4, 9)].into()).await;
    ping_all();
    assert_eq!(echoes(&outside), 6, "what it leads elsewhere is dropped");
    assert_eq!(gateway.ip("rule show").matches("lookup").count(), 6, "the others' rules stay");
}

#[tokio::test]
async fn what_is_kept_out_is_told_of_while_others_change_and_set_once_it_may_be() {
    if !may_make_namespaces("what_is_kept_out_is_told_of_while_others_change_and_set_once_it_may_be") {
        return;
    }
    let (gateway, _outside) = gateway();
    // The first has the rule set, the second has the place in its table.
    let foreign = "10.1.1.0/24 via 198.51.100.1 dev wan";
    gateway.ip(&format!("route add {foreign}"));
    gateway.ip(&format!("route add {foreign} table 20199"));
    let running = forwarding(&gateway);
    let blocked = BTreeMap::from([("10.1.1.0/24".parse().expect("a prefix"), Absence::Blocked { protocol: 3 })]);
    for protected in [&["10.1.1.0/24"][..], &["10.1.1.0/24", "10.3.3.0/24"], &["10.1.1.0/24"]] {
        running.apply(protecting(protected)).await.expect("the kernel takes the others");
        assert_eq!(running.standing().borrow().uncarried, blocked, "{protected:?}");
    }
    gateway.ip(&format!("route delete {foreign} table 20199"));
    eventually("it is carried", || running.standing().borrow().uncarried.is_empty()).await;
    assert!(gateway.ip("route get 10.1.1.7").contains("dev ipsec0"));
}

#[tokio::test]
async fn a_hub_keeps_its_lan_and_its_bypass_inside_the_protected_prefix() {
    if !may_make_namespaces("a_hub_keeps_its_lan_and_its_bypass_inside_the_protected_prefix") {
        return;
    }
    let ((gateway, outside), host) = (gateway(), TestNamespace::new("host"));
    cable(&gateway, ("lan", "10.1.0.1/24"), &host, ("eth0", "10.1.0.10/24"));
    host.ip("route add default via 10.1.0.1");
    outside.ip("address add 10.7.0.1/32 dev lo");
    let ping = |from: &TestNamespace, to: &str| from.succeeds(&["ping", "-c", "1", "-W", "1", to]);
    let running = forwarding(&gateway);
    for local in ["10.1.0.0/24", "10.0.0.0/8"] {
        let mut policy = protecting(&["10.0.0.0/8"]);
        policy.file.local = nets(&[local]);
        policy.bypass = nets(&["10.7.0.0/16"]);
        running.apply(policy).await.expect("the kernel takes the routes");
        assert!(ping(&host, "10.1.0.1") && ping(&gateway, "10.1.0.10"), "the LAN {local} is there");
        assert!(ping(&gateway, "10.7.0.1"), "what is bypassed goes by the default route");
        assert!(gateway.ip("route get 10.2.0.1").contains("dev ipsec0"));
        let exempt: Vec<String> = running
            .standing()
            .borrow()
            .exemptions
            .iter()
            .map(|one| format!("{}: {}", one.prefix, one.reason))
            .collect();
        let lan = if local == "10.1.0.0/24" { "local subnet" } else { "connected network of a local subnet" };
        assert_eq!(exempt, [format!("10.1.0.0/24: {lan}"), "10.7.0.0/16: bypass".to_owned()]);
    }
    running.apply(protecting(&["10.0.0.0/8"])).await.expect("the kernel takes the routes");
    assert!(!ping(&gateway, "10.7.0.1") && !ping(&gateway, "10.1.0.10"), "without being named they are protected");
    assert_eq!(running.standing().borrow().taken.len(), 1, "and that is told of the connected one");
}

#[tokio::test]
async fn flushed_routes_and_rules_are_back_within_a_second() {
    if !may_make_namespaces("flushed_routes_and_rules_are_back_within_a_second") {
        return;
    }
    let (gateway, _outside) = gateway();
    let running = forwarding(&gateway);
    gateway.ip("route add 10.1.1.0/25 via 198.51.100.1");
    running.apply(protecting(&["10.1.1.0/24", "0.0.0.0/0", "fd00:1::/64"])).await.expect("the kernel takes the routes");
    let all = || {
        ["-4", "-6"].map(|family| {
            format!(
                "{}{}",
                gateway.ip(&format!("{family} route show table all proto 201")),
                gateway.ip(&format!("{family} rule show"))
            )
        })
    };
    let right = all();
    for fault in [
        "route flush table 20199",
        "-6 route flush proto 201 table all",
        "route flush table 20200",
        "rule flush proto 201",
        "route flush proto 201",
    ] {
        gateway.ip(fault);
        let begin = Instant::now();
        eventually(fault, || all() == right).await;
        assert!(begin.elapsed() < Duration::from_secs(1), "{fault}: mended after {:?}", begin.elapsed());
    }
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
    let policy = KernelPolicy {
        protect: destinations.into(),
        carried: destinations.into(),
        exempt: nets(&["10.1.1.128/25", "192.0.2.0/24", "2001:db8:1::/48"]),
        before_main: [(Family::Ipv4, 10), (Family::Ipv6, 10)].into(),
        closed: nets(&["192.168.0.0/16", "198.51.0.0/16", "fd00:2::/64"]),
        bypass: nets(&["fd00:2::7/128"]),
        outer_peers: ["203.0.113.2", "198.51.7.7", "2001:db8::2"].map(|peer| peer.parse().expect("an address")).into(),
    };
    let wanted = kernel_state(&policy, &"ipsec0".into(), FIREWALL_MARK);
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
        more_gateways: Vec::new(),
        device: device.map(Into::into),
    };
    let rule = |priority, source: Option<&str>, device: Option<&str>| KernelRule {
        family: Family::Ipv4,
        priority,
        protocol: PROTOCOL_CEND,
        source: source.map(|prefix| prefix.parse().expect("a prefix")),
        input_device: device.map(Into::into),
        unless_mark: None,
        table: priority,
        suppress_prefix_length: None,
        is_foreign: false,
    };
    let shared = KernelRoute {
        more_gateways: ["198.51.100.3", "198.51.100.2"].map(|hop| hop.parse().expect("an address")).into(),
        ..route(254, "10.1.4.0/24", 0, RouteKind::Unicast, None)
    };
    let wanted = KernelState {
        routes: [
            shared,
            route(254, "10.1.1.0/24", 0, RouteKind::Unicast, None),
            route(254, "10.1.2.0/24", 0, RouteKind::Unicast, Some("wan")),
            route(254, "10.1.3.0/24", 0, RouteKind::Unreachable, None),
            route(20_300, "192.168.4.0/24", 0, RouteKind::Throw, None),
            route(20_400, "192.168.1.0/24", 0, RouteKind::Unicast, Some("wan")),
            route(20_400, "0.0.0.0/0", u32::MAX, RouteKind::Unreachable, None),
        ]
        .into(),
        // A rule may name a device that is not there yet.
        rules: [
            rule(20_400, None, Some("wan")),
            rule(20_401, None, Some("later")),
            rule(20_300, Some("192.168.4.0/25"), None),
            rule(20_300, Some("192.168.4.128/25"), None),
        ]
        .into(),
    };
    set_once(&gateway, &wanted, PROTOCOL_CEND).await;
}

#[tokio::test]
async fn the_picture_is_what_the_kernel_has_after_every_change() {
    if !may_make_namespaces("the_picture_is_what_the_kernel_has_after_every_change") {
        return;
    }
    let (gateway, _outside) = gateway();
    let policy = Policy { protect: nets(&["10.1.1.0/24", "fd00:1::/64"]), ..Policy::default() };
    let interest = Interest::new(&policy, &["198.51.100.2".parse().expect("an address")].into());
    let mut watch = KernelWatch::new(place(&gateway));
    watch.want(interest.clone());
    let changes = [
        "route add 10.1.1.0/25 via 198.51.100.1 proto 186",
        "route add 172.20.0.0/16 via 198.51.100.1 proto 186",
        "route replace 10.1.1.0/25 via 198.51.100.3 proto 187",
        "route add 10.1.1.0/25 dev wan metric 7",
        "route append 10.1.1.0/25 via 198.51.100.4 proto 187",
        "route replace 10.1.1.0/25 via 198.51.100.5 proto 187",
        "route add 10.1.1.0/25 tos 4 via 198.51.100.1",
        "route delete 10.1.1.0/25 tos 4",
        "route add 10.0.0.0/8 nexthop via 198.51.100.1 nexthop via 198.51.100.6",
        "route change 10.0.0.0/8 via 198.51.100.1",
        "route flush proto 187",
        "address add 198.51.100.7/32 dev wan",
        "route append 10.1.1.16/28 dev wan src 198.51.100.2",
        "route append 10.1.1.16/28 dev wan src 198.51.100.7",
        "route delete 10.1.1.16/28 dev wan src 198.51.100.7",
        "route append 10.1.1.16/28 dev wan mtu 1300",
        "route append 10.1.1.16/28 dev wan mtu 1400",
        "route replace 10.1.1.16/28 dev wan mtu 1500",
        "route delete 10.1.1.16/28 dev wan",
        "route delete 10.1.1.16/28 dev wan",
        "route flush 10.1.1.16/28",
        "address add 10.1.1.129/25 dev wan",
        "route add 10.1.1.64/26 dev wan src 10.1.1.129",
        "address delete 10.1.1.129/25 dev wan",
        "nexthop add id 7 via 198.51.100.1 dev wan",
        "route add 10.1.1.32/28 nhid 7",
        "nexthop replace id 7 via 198.51.100.9 dev wan",
        "nexthop delete id 7",
        "address add fd00:9::2/64 dev wan nodad",
        "route add fd00:1::/80 nexthop via fd00:9::1 nexthop via fd00:9::3",
        "route append fd00:1::/80 via fd00:9::4",
        "route delete fd00:1::/80 via fd00:9::3",
        "route replace fd00:1::/80 via fd00:9::5",
        "route add blackhole fd00:1:0:0:7::/80",
        "rule add to 192.0.2.0/24 priority 77 table 7",
        "rule delete priority 77",
        "link add veth7 type veth peer name veth8",
        "address add 10.1.1.77/30 dev veth7",
        "link set veth7 up",
        "link set veth8 up",
        "link set veth7 down",
        "link set veth7 name veth9",
        "link set veth9 up",
        "link delete veth9",
        "link set wan down",
        "link set wan up",
    ];
    for change in changes {
        gateway.ip(change);
        tokio::time::sleep(Duration::from_millis(30)).await;
        watch.look().await.expect("the kernel answers");
        let Picture { own, rest } = watch.picture().clone();
        let pictured = KernelState { routes: own.union(&rest.routes).cloned().collect(), rules: rest.rules };
        let mut read = Netlink::open(&place(&gateway)).expect("a socket").state().await.expect("the kernel answers");
        read.routes.retain(|route| interest.holds(route.table, route.protocol, &route.destination));
        assert_eq!(pictured, read, "after ip {change}");
    }
}
