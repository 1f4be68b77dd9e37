//! What cend does about a kernel that is not there, or refuses a route.
use std::io;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use ipnet::IpNet;
use ipsec_gateway::io::netlink::keeper::{Standing, keep};
use ipsec_gateway::io::netns::Namespace;
use ipsec_gateway::routing::{Family, KernelRoute, KernelRule, KernelState, PROTOCOL_CEND};
use tokio::sync::watch;

use crate::kernel::eventually;
use crate::lab::{TestNamespace, may_make_namespaces};

fn net(text: &str) -> IpNet {
    text.parse().expect("a prefix")
}

/// A route of cend's in `main`.
fn route(destination: &str, gateway: &str) -> KernelRoute {
    let gateway = Some(gateway.parse().expect("an address"));
    KernelRoute { table: 254, protocol: PROTOCOL_CEND, gateway, ..KernelRoute::least(net(destination)) }
}

fn state(routes: &[KernelRoute]) -> KernelState {
    KernelState { routes: routes.iter().cloned().collect(), ..KernelState::default() }
}

/// A rule of cend's that leads to a table.
fn rule(priority: u32, input_device: Option<&str>, table: u32) -> KernelRule {
    KernelRule {
        family: Family::Ipv4,
        priority,
        protocol: PROTOCOL_CEND,
        source: None,
        input_device: input_device.map(Into::into),
        unless_mark: None,
        table,
        suppress_prefix_length: None,
        is_foreign: false,
    }
}

/// A name that the kernel takes for no device's.
const NO_DEVICE: &str = "a-name-that-is-too-long";

/// A device `cen` with an address.
fn add_device(namespace: &TestNamespace) {
    namespace.ip("link add cen type veth peer name far");
    namespace.ip("address add 192.0.2.1/24 dev cen");
    namespace.ip("link set far up");
    namespace.ip("link set cen up");
}

/// Keeps a namespace: what to change its wanted state by, and how it stands.
fn kept(name: &str, wanted: KernelState) -> (watch::Sender<KernelState>, watch::Receiver<Standing>) {
    let (sender, receiver) = watch::channel(wanted);
    let (report, standing) = watch::channel(Standing::default());
    let report = move |standing: &Standing| drop(report.send_replace(standing.clone()));
    tokio::spawn(keep(Namespace::Named(name.into()), PROTOCOL_CEND, receiver, report));
    (sender, standing)
}

async fn until(standing: &mut watch::Receiver<Standing>, what: impl FnMut(&Standing) -> bool) -> Standing {
    let wait = tokio::time::timeout(Duration::from_secs(10), standing.wait_for(what));
    wait.await.expect("not within ten seconds").expect("it is kept").clone()
}

#[tokio::test]
async fn a_kernel_that_cannot_be_reached_is_tried_again_more_and_more_seldom_until_it_can() {
    if !may_make_namespaces("a_kernel_that_cannot_be_reached_is_tried_again_more_and_more_seldom_until_it_can") {
        return;
    }
    let begun = Instant::now();
    // Its name is known before it is there.
    let name = TestNamespace::new("late").name.clone();
    let (_wanted, mut standing) = kept(&name, state(&[route("10.1.0.0/16", "192.0.2.2")]));
    let failing = until(&mut standing, |one| one.failures == 2).await;
    assert!(failing.amiss.is_some_and(|why| why.contains(&name)));
    assert!(begun.elapsed() > Duration::from_millis(900), "the second attempt waits for a second");
    let late = TestNamespace::named(name);
    add_device(&late);
    let well = until(&mut standing, |one| one.amiss.is_none()).await;
    assert_eq!(well.failures, 2, "the third attempt succeeds");
    assert!(begun.elapsed() > Duration::from_millis(2900), "and came two seconds after the second");
    assert!(late.ip("route show proto 202").contains("10.1.0.0/16 via 192.0.2.2"));
}

#[tokio::test]
async fn a_route_that_the_kernel_refuses_is_closed_until_it_takes_it() {
    if !may_make_namespaces("a_route_that_the_kernel_refuses_is_closed_until_it_takes_it") {
        return;
    }
    let router = TestNamespace::new("router");
    add_device(&router);
    router.ip("route add default via 192.0.2.9");
    let (wanted, mut standing) = kept(&router.name, state(&[route("10.1.0.0/16", "192.0.2.2")]));
    eventually("the route is there", || router.ip("route get 10.1.2.3").contains("via 192.0.2.2")).await;

    // Another next hop for the first, and a second one: nobody knows where these are.
    let moved = [route("10.1.0.0/16", "198.51.100.2"), route("10.2.0.0/16", "198.51.100.2")];
    wanted.send_replace(state(&moved));
    let failing = until(&mut standing, |one| one.amiss.is_some()).await;
    assert!(failing.failures >= 1, "{failing:?}");
    for address in ["10.1.2.3", "10.2.2.3"] {
        assert!(!router.succeeds(&["ip", "route", "get", address]), "{address}: neither the old way nor the default");
    }
    assert!(router.ip("route get 10.3.2.3").contains("via 192.0.2.9"));

    // Something else than the kernel is to blame: a newer state, which it takes.
    wanted.send_replace(state(&[route("10.1.0.0/16", "192.0.2.3"), route("10.2.0.0/16", "198.51.100.2")]));
    router.ip("address add 198.51.100.1/24 dev cen");
    until(&mut standing, |one| one.amiss.is_none()).await;
    assert!(router.ip("route get 10.1.2.3").contains("via 192.0.2.3"));
    assert!(router.ip("route get 10.2.2.3").contains("via 198.51.100.2"));
}

#[tokio::test]
async fn while_a_rule_is_refused_no_other_goes_nor_the_routes_that_it_leads_to() {
    if !may_make_namespaces("while_a_rule_is_refused_no_other_goes_nor_the_routes_that_it_leads_to") {
        return;
    }
    let router = TestNamespace::new("rules");
    add_device(&router);
    router.ip("route add default via 192.0.2.9");
    let in_table = |table| KernelRoute { table, ..route("10.1.0.0/16", "192.0.2.2") };
    let before = KernelState { rules: [rule(20_300, None, 901)].into(), ..state(&[in_table(901), in_table(903)]) };
    let (wanted, mut standing) = kept(&router.name, before);
    eventually("the rule is there", || router.ip("route get 10.1.2.3").contains("via 192.0.2.2")).await;

    let after = |device| KernelState { rules: [rule(20_301, device, 902)].into(), ..state(&[in_table(902)]) };
    wanted.send_replace(after(Some(NO_DEVICE)));
    until(&mut standing, |one| one.failures >= 2).await;
    assert!(router.ip("route get 10.1.2.3").contains("via 192.0.2.2"), "as before, and not by default");
    assert!(router.ip("route show table all").contains("table 902"), "the rest is done");
    assert!(!router.ip("route show table all").contains("table 903"), "no rule leads there");
    wanted.send_replace(after(None));
    until(&mut standing, |one| one.amiss.is_none()).await;
    assert!(router.ip("route get 10.1.2.3").contains("via 192.0.2.2"));
    assert!(!router.ip("rule").contains("lookup 901") && router.ip("rule").contains("lookup 902"));
    assert!(!router.ip("route show table all").contains("table 901"));
}

/// What is logged.
#[derive(Clone, Default)]
struct Log(Arc<Mutex<Vec<u8>>>);

impl Log {
    fn count(&self, text: &str) -> usize {
        String::from_utf8_lossy(&self.0.lock().expect("nobody panicked")).matches(text).count()
    }
}

impl io::Write for Log {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0.lock().expect("nobody panicked").write(bytes)
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

#[tokio::test]
async fn each_fault_is_told_once_and_what_is_in_the_way_is_not_in_step() {
    if !may_make_namespaces("each_fault_is_told_once_and_what_is_in_the_way_is_not_in_step") {
        return;
    }
    let log = Log::default();
    let writer = log.clone();
    let subscriber = tracing_subscriber::fmt().with_ansi(false).with_writer(move || writer.clone()).finish();
    let _here = tracing::subscriber::set_default(subscriber);
    let router = TestNamespace::new("faults");
    let both = KernelState {
        rules: [rule(20_300, Some(NO_DEVICE), 901)].into(),
        ..state(&[route("10.1.0.0/16", "192.0.2.2")])
    };
    let (wanted, mut standing) = kept(&router.name, both);
    let amiss = until(&mut standing, |one| one.amiss.is_some()).await.amiss.expect("why");
    assert!(amiss.ends_with(", and 1 more"), "one route and one rule: {amiss}");
    wanted.send_replace(state(&[route("10.1.0.0/16", "192.0.2.2")]));
    until(&mut standing, |one| one.amiss.as_ref().is_some_and(|why| !why.contains("more"))).await;

    // In the place of the unreachable route, which the kernel took.
    router.ip("route replace blackhole 10.1.0.0/16 proto 99");
    until(&mut standing, |one| one.amiss.as_ref().is_some_and(|why| why.contains("stays out"))).await;
    assert_eq!(log.count("in step again"), 0);
    add_device(&router);
    router.ip("route del blackhole 10.1.0.0/16 proto 99");
    until(&mut standing, |one| one.amiss.is_none()).await;
    assert_eq!(log.count("in step again"), 1);
    assert!(router.ip("route get 10.1.2.3").contains("via 192.0.2.2"));
}
