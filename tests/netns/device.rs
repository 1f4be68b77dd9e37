//! What others do to the tunnel device and its surroundings: what can be mended is mended within two seconds, and what
//! cannot be is told within three.
use std::fs;
use std::time::Duration;

use serde_json::Value;

use crate::gatewayd::Gatewayd;
use crate::gateways::Lab;
use crate::lab::{TestNamespace, eventually, may_make_namespaces};
use crate::missing::skipped;

const MENDED_WITHIN: Duration = Duration::from_secs(2);
const TOLD_WITHIN: Duration = Duration::from_secs(3);

/// Two gateways that carry IPv4 and IPv6, each with two inner addresses of either family.
fn lab() -> Lab {
    let both = |text: &str, own: u8, peer: u8| {
        let text = text
            .replace(
                &format!("[\"10.{own}.0.1/32\"]"),
                &format!("[\"10.{own}.0.1/32\", \"10.{own}.0.3/32\", \"fd00:{own}::1/128\", \"fd00:{own}::3/128\"]"),
            )
            .replace(&format!("[\"10.{own}.0.0/24\"]"), &format!("[\"10.{own}.0.0/24\", \"fd00:{own}::/64\"]"))
            .replace(&format!("[\"10.{peer}.0.0/24\"]"), &format!("[\"10.{peer}.0.0/24\", \"fd00:{peer}::/64\"]"));
        format!("{text}[[route]]\ndestination = \"fd00:{peer}::/64\"\nconnection = \"other\"\n")
    };
    let lab = Lab::up_with(|a, b| (both(a, 1, 2), both(b, 2, 1)));
    for side in [&lab.a, &lab.b] {
        side.gatewayd.namespace.exec(&["sysctl", "-qw", "net.ipv6.conf.all.forwarding=1"]);
    }
    eventually(TOLD_WITHIN, "nothing is wrong", || warnings(&lab.a.gatewayd).is_empty());
    lab
}

fn status(gatewayd: &Gatewayd) -> Value {
    gatewayd.ask(&["status"]).expect("an answer")
}

fn warnings(gatewayd: &Gatewayd) -> Vec<String> {
    let status = status(gatewayd);
    let lines = status["warnings"].as_array().expect("a list");
    lines.iter().map(|line| line.as_str().expect("a line").to_owned()).collect()
}

fn warns_of(gatewayd: &Gatewayd, what: &str) -> bool {
    warnings(gatewayd).iter().any(|line| line.contains(what))
}

/// The state of a route as `GET /v1/routes` tells it, with its reason.
fn route_state(gatewayd: &Gatewayd, destination: &str) -> (String, Option<String>) {
    let routes = gatewayd.ask(&["routes"]).expect("an answer");
    let mut routes = routes.as_array().expect("a list").iter();
    let route = routes.find(|route| route["destination"] == destination).expect("the route");
    let text = |key: &str| route[key].as_str().map(str::to_owned);
    (text("state").expect("a state"), text("reason"))
}

fn is_active(gatewayd: &Gatewayd, destination: &str) -> bool {
    route_state(gatewayd, destination).0 == "active"
}

/// The global addresses of the device, in the order of the kernel.
fn addresses(namespace: &TestNamespace) -> Vec<String> {
    let listing = namespace.ip("-o address show dev gwd0 scope global");
    listing.lines().filter_map(|line| line.split_whitespace().nth(3)).map(str::to_owned).collect()
}

/// IPv6 lists the newest address first.
const INNER: [&str; 4] = ["10.1.0.1/32", "10.1.0.3/32", "fd00:1::3/128", "fd00:1::1/128"];

/// Inner addresses, routes and traffic of both families are as they were.
fn is_whole(lab: &Lab) -> bool {
    let namespace = &lab.a.gatewayd.namespace;
    addresses(namespace) == INNER
        && namespace.ip("route show table all proto 201").contains("10.2.0.0/24 dev gwd0")
        && namespace.ip("-6 route show table all proto 201").contains("fd00:2::/64 dev gwd0")
        && ["10.2.0.3", "fd00:2::3"].iter().all(|address| reaches(namespace, address))
}

fn reaches(namespace: &TestNamespace, address: &str) -> bool {
    namespace.succeeds(&["ping", "-c", "1", "-W", "1", address])
}

#[test]
fn a_device_that_was_set_down_is_brought_up_with_all_that_it_lost() {
    if !may_make_namespaces("a_device_that_was_set_down_is_brought_up_with_all_that_it_lost") {
        return;
    }
    let lab = lab();
    assert!(is_whole(&lab), "{:?}", addresses(&lab.a.gatewayd.namespace));
    lab.a.gatewayd.namespace.ip("link set gwd0 down");
    eventually(MENDED_WITHIN, "the device is up and carries both families", || is_whole(&lab));
    lab.reachable();
    lab.a.gatewayd.namespace.ip("link set gwd0 carrier off");
    eventually(MENDED_WITHIN, "the device has its carrier back", || is_whole(&lab));
    assert_eq!(warnings(&lab.a.gatewayd), [""; 0], "what was mended is no condition");

    // Not a person any more, but a program.
    for _ in 0..10 {
        lab.a.gatewayd.namespace.ip("link set gwd0 down");
        eventually(MENDED_WITHIN, "the device is up", || lab.a.gatewayd.namespace.ip("link show gwd0").contains(",UP"));
    }
    eventually(TOLD_WITHIN, "the status warns", || warns_of(&lab.a.gatewayd, "again and again"));
}

#[test]
fn a_renamed_device_gets_its_name_back() {
    if !may_make_namespaces("a_renamed_device_gets_its_name_back") {
        return;
    }
    let lab = lab();
    let namespace = &lab.a.gatewayd.namespace;
    namespace.ip("link set gwd0 name foo");
    let named = || namespace.succeeds(&["ip", "link", "show", "gwd0"]);
    eventually(MENDED_WITHIN, "the device has its name back and carries", || named() && is_whole(&lab));
    // As older tools do it.
    namespace.ip("link set gwd0 down");
    let _ = namespace.succeeds(&["ip", "link", "set", "gwd0", "name", "foo"]);
    eventually(MENDED_WITHIN, "the device has its name back and carries", || named() && is_whole(&lab));
    lab.reachable();
}

#[test]
fn flushed_addresses_come_back_in_order_and_foreign_ones_stay() {
    if !may_make_namespaces("flushed_addresses_come_back_in_order_and_foreign_ones_stay") {
        return;
    }
    let lab = lab();
    let namespace = &lab.a.gatewayd.namespace;
    namespace.ip("address flush dev gwd0");
    eventually(MENDED_WITHIN, "addresses and routes of both families are back", || is_whole(&lab));

    namespace.ip("address add 10.77.0.1/24 dev gwd0");
    namespace.ip("address delete 10.1.0.1/32 dev gwd0");
    namespace.ip("address delete fd00:1::1/128 dev gwd0");
    let expected = ["10.77.0.1/24", "10.1.0.1/32", "10.1.0.3/32", "fd00:1::3/128", "fd00:1::1/128"];
    eventually(MENDED_WITHIN, "the foreign address stays, ours are in order", || addresses(namespace) == expected);
    lab.reachable();
}

#[test]
fn mtu_queue_and_offloads_are_restored() {
    if !may_make_namespaces("mtu_queue_and_offloads_are_restored") {
        return;
    }
    let lab = lab();
    let namespace = &lab.a.gatewayd.namespace;
    let mtu = || namespace.ip("link show gwd0").contains("mtu 1500 ");
    assert!(mtu());
    for other in ["1400", "1000"] {
        namespace.ip(&format!("link set gwd0 mtu {other}"));
        eventually(MENDED_WITHIN, "the MTU is back", || mtu() && is_whole(&lab));
    }
    let queue = || namespace.ip("link show gwd0").contains("qlen 1000");
    assert!(queue());
    namespace.ip("link set gwd0 txqueuelen 0");
    eventually(MENDED_WITHIN, "the queue is back", || queue() && is_whole(&lab));
    let details = namespace.ip("-d link show gwd0");
    assert!(details.contains("addrgenmode none"), "below 1280 there was no IPv6, and now it is as before: {details}");
    if !namespace.succeeds(&["ethtool", "--version"]) {
        return skipped("ethtool, without which the offloads are not looked at");
    }
    let features = || namespace.exec(&["ethtool", "-k", "gwd0"]);
    let before = features();
    for feature in ["tso", "sg", "tx"] {
        namespace.exec(&["ethtool", "-K", "gwd0", feature, "off"]);
        eventually(MENDED_WITHIN, "the offloads are back", || features() == before);
    }
}

#[test]
fn routes_never_lead_into_a_device_that_took_the_name() {
    if !may_make_namespaces("routes_never_lead_into_a_device_that_took_the_name") {
        return;
    }
    let lab = lab();
    let gatewayd = &lab.a.gatewayd;
    let namespace = &gatewayd.namespace;
    let batch = gatewayd.path("batch");
    fs::write(&batch, "link set gwd0 name foo\nlink add gwd0 type bridge\nlink set gwd0 up\n").expect("a file");
    namespace.ip(&format!("-batch {batch}"));
    eventually(TOLD_WITHIN, "the status warns", || warns_of(gatewayd, "gwd0") && warns_of(gatewayd, "foo"));
    let routes = || namespace.ip("route show table all proto 201") + &namespace.ip("-6 route show table all proto 201");
    eventually(MENDED_WITHIN, "the routes follow the device", || {
        routes().contains("10.2.0.0/24 dev foo") && reaches(namespace, "10.2.0.3") && reaches(namespace, "fd00:2::3")
    });
    assert!(!routes().contains("dev gwd0"), "{}", routes());
    lab.reachable();
    assert!(is_active(gatewayd, "10.2.0.0/24"), "{:?}", route_state(gatewayd, "10.2.0.0/24"));

    namespace.ip("link delete gwd0");
    eventually(TOLD_WITHIN, "the name is free and taken back", || {
        namespace.ip("link show").contains(" gwd0: ") && warnings(gatewayd).is_empty() && is_whole(&lab)
    });
    lab.reachable();
}

#[test]
fn a_device_that_was_moved_away_is_told_and_taken_back() {
    if !may_make_namespaces("a_device_that_was_moved_away_is_told_and_taken_back") {
        return;
    }
    let lab = lab();
    let (gatewayd, elsewhere) = (&lab.a.gatewayd, TestNamespace::new("elsewhere"));
    gatewayd.namespace.ip(&format!("link set gwd0 netns {}", elsewhere.name));
    eventually(TOLD_WITHIN, "the status warns, and no route is active", || {
        let (state, reason) = route_state(gatewayd, "10.2.0.0/24");
        warns_of(gatewayd, "no longer in this network namespace") && state == "down" && reason.is_some()
    });
    assert!(!reaches(&gatewayd.namespace, "10.2.0.3"), "the drops behind the routes hold");
    elsewhere.ip(&format!("link set gwd0 netns {}", gatewayd.namespace.name));
    eventually(TOLD_WITHIN, "it is as it was", || is_whole(&lab) && warnings(gatewayd).is_empty());
    lab.reachable();
}

#[test]
fn forwarding_that_is_off_is_told_for_the_families_of_the_routes() {
    if !may_make_namespaces("forwarding_that_is_off_is_told_for_the_families_of_the_routes") {
        return;
    }
    let lab = lab();
    for (key, family) in [("net.ipv4.ip_forward", "IPv4"), ("net.ipv6.conf.all.forwarding", "IPv6")] {
        let set = |value: u8| lab.a.gatewayd.namespace.exec(&["sysctl", "-qw", &format!("{key}={value}")]);
        set(0);
        let warned = || warns_of(&lab.a.gatewayd, key) && warns_of(&lab.a.gatewayd, family);
        eventually(TOLD_WITHIN, "the status warns", warned);
        assert_eq!(warnings(&lab.a.gatewayd).len(), 1, "of one family");
        set(1);
        eventually(TOLD_WITHIN, "the warning goes", || warnings(&lab.a.gatewayd).is_empty());
    }
    let no_route_of_ipv6 = Lab::up();
    no_route_of_ipv6.a.gatewayd.namespace.exec(&["sysctl", "-qw", "net.ipv4.ip_forward=0"]);
    eventually(TOLD_WITHIN, "the status warns", || warns_of(&no_route_of_ipv6.a.gatewayd, "IPv4"));
    assert!(!warns_of(&no_route_of_ipv6.a.gatewayd, "IPv6"), "nothing of IPv6 is to be forwarded");
}

#[test]
fn a_route_that_the_kernel_lacks_is_not_active() {
    if !may_make_namespaces("a_route_that_the_kernel_lacks_is_not_active") {
        return;
    }
    let lab = lab();
    let gatewayd = &lab.a.gatewayd;
    let namespace = &gatewayd.namespace;
    let (ipv4, ipv6) = ("10.2.0.0/24", "fd00:2::/64");
    eventually(TOLD_WITHIN, "both routes are active", || is_active(gatewayd, ipv4) && is_active(gatewayd, ipv6));

    // Somebody else's route takes the place of ours, and then that in the table before it.
    let foreign = "10.2.0.0/24 via 10.1.0.10 dev lan";
    namespace.ip(&format!("route replace {foreign}"));
    let table = || {
        let ours = namespace.ip("route show table all proto 201 10.2.0.0/24 dev gwd0");
        ours.split_whitespace().skip_while(|word| *word != "table").nth(1).map(str::to_owned)
    };
    eventually(TOLD_WITHIN, "the route is in another table", || table().is_some());
    let table = table().expect("its table");
    eventually(TOLD_WITHIN, "it is active there", || is_active(gatewayd, ipv4) && warnings(gatewayd).is_empty());
    namespace.ip(&format!("route replace {foreign} table {table}"));
    eventually(TOLD_WITHIN, "the route is down, with its reason", || {
        let (state, reason) = route_state(gatewayd, ipv4);
        state == "down" && reason.is_some_and(|reason| reason.contains("another route")) && warns_of(gatewayd, ipv4)
    });
    assert!(is_active(gatewayd, ipv6), "the other one is");
    namespace.ip(&format!("route delete {foreign} table {table}"));
    namespace.ip(&format!("route delete {foreign}"));
    eventually(TOLD_WITHIN, "all is well", || is_active(gatewayd, ipv4) && warnings(gatewayd).is_empty());
    lab.reachable();

    // The kernel refuses ours.
    let disable = |value: u8| namespace.exec(&["sysctl", "-qw", &format!("net.ipv6.conf.gwd0.disable_ipv6={value}")]);
    disable(1);
    eventually(TOLD_WITHIN, "the route is down, with its reason", || {
        let (state, reason) = route_state(gatewayd, ipv6);
        state == "down" && reason.is_some() && warns_of(gatewayd, "fd00:1::1/128") && warns_of(gatewayd, ipv6)
    });
    assert!(is_active(gatewayd, ipv4), "the other one is");
    disable(0);
    eventually(TOLD_WITHIN, "all is well", || is_active(gatewayd, ipv6) && warnings(gatewayd).is_empty());
    eventually(MENDED_WITHIN, "both families pass", || is_whole(&lab));
}

#[test]
fn the_kernel_s_own_chatter_is_no_drop() {
    if !may_make_namespaces("the_kernel_s_own_chatter_is_no_drop") {
        return;
    }
    let folder = tempfile::tempdir().expect("a folder");
    let mut gatewayd = Gatewayd::new(TestNamespace::new("gateway"), &folder.path().join("gateway"));
    gatewayd.configure("inner_addresses = [\"10.1.0.1/32\", \"fd00:1::1/128\"]\n");
    gatewayd.start();
    eventually(Duration::from_secs(5), "gatewayd answers", || gatewayd.ask(&["status"]).is_some());
    // Joining groups makes the kernel announce that: IGMP and MLD.
    let namespace = &gatewayd.namespace;
    namespace.ip("address add 239.1.2.3/32 dev gwd0 autojoin");
    namespace.ip("address add fd00:9::9/64 dev gwd0");
    let sent = || -> u64 {
        let text = namespace.exec(&["cat", "/sys/class/net/gwd0/statistics/tx_packets"]);
        text.trim().parse().expect("a number")
    };
    eventually(Duration::from_secs(5), "the kernel has spoken of both families", || sent() >= 2);
    // Packets are handled in order: once this one is counted, those before it have been.
    assert!(!namespace.succeeds(&["ping", "-c", "1", "-W", "1", "-I", "gwd0", "192.0.2.9"]));
    let drops = || status(&gatewayd)["drops"].clone();
    eventually(TOLD_WITHIN, "a packet without a route is a drop", || drops() != serde_json::json!({}));
    assert_eq!(drops(), serde_json::json!({"no-route": 1}), "and the kernel's chatter is not");
}

#[test]
fn a_name_that_cannot_be_looked_up_is_told_while_it_is_configured() {
    if !may_make_namespaces("a_name_that_cannot_be_looked_up_is_told_while_it_is_configured") {
        return;
    }
    let folder = tempfile::tempdir().expect("a folder");
    let mut gatewayd = Gatewayd::new(TestNamespace::new("gateway"), &folder.path().join("gateway"));
    gatewayd.configure(
        "[[connection]]\nname = \"other\"\npeer = \"nobody.invalid\"\npsk = \"a key for this test only\"\n\
         local_id = \"gateway\"\nlocal_subnets = \"10.1.0.0/24\"\npeer_subnets = \"10.2.0.0/24\"\n",
    );
    gatewayd.start();
    eventually(Duration::from_secs(5), "gatewayd answers", || gatewayd.ask(&["status"]).is_some());
    eventually(Duration::from_secs(15), "the status warns", || warns_of(&gatewayd, "nobody.invalid"));
    gatewayd.configure("");
    gatewayd.ask(&["reload"]).expect("the reload is taken on");
    eventually(TOLD_WITHIN, "the warning goes with the connection", || warnings(&gatewayd).is_empty());
}
