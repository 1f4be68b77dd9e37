//! gatewayd's filter against plaintext: whatever others do to it is mended, and its own changes cost no comparison.
use std::io;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use tracing::Level;

use crate::kernel::{eventually, forwarding, gateway, protecting};
use crate::lab::may_make_namespaces;

/// When a stream of changes must have let a comparison through, on however busy a machine: it is put off by half a second.
const AT_LAST: Duration = Duration::from_secs(30);

/// Counts the comparisons that are logged.
#[derive(Clone, Default)]
struct Comparisons(Arc<Mutex<usize>>);

impl Comparisons {
    fn count(&self) -> usize {
        *self.0.lock().expect("no writer has panicked")
    }
}

impl io::Write for Comparisons {
    fn write(&mut self, line: &[u8]) -> io::Result<usize> {
        let is_one = String::from_utf8_lossy(line).contains("the filter is compared");
        *self.0.lock().expect("no writer has panicked") += usize::from(is_one);
        Ok(line.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

#[tokio::test]
async fn whatever_is_done_to_the_filter_is_mended() {
    if !may_make_namespaces("whatever_is_done_to_the_filter_is_mended") {
        return;
    }
    let (gateway, _outside) = gateway();
    let nft = |words: &str| gateway.exec(&[&["nft"], &words.split(' ').collect::<Vec<_>>()[..]].concat());
    let listing = || nft("-s list table inet gatewayd");
    nft("add table inet gatewayd_old0");
    let running = forwarding(&gateway);
    running.apply(protecting(&["10.1.1.0/24", "fd00:1::/64"])).await.expect("the kernel takes the filter");
    assert_eq!(nft("list tables").trim(), "table inet gatewayd", "the table of a former version has gone");
    let right = listing();
    for fault in [
        "flush ruleset",
        "flush chain inet gatewayd forward",
        "flush set inet gatewayd protected_ipv4",
        "delete element inet gatewayd protected_ipv4 { 10.1.1.0/24 }",
        "insert rule inet gatewayd output accept",
        "add chain inet gatewayd more { type filter hook input priority 0 ; policy accept ; }",
        "add table inet gatewayd { flags dormant ; }",
    ] {
        nft(fault);
        let begin = Instant::now();
        eventually(fault, || gateway.succeeds(&["nft", "list", "table", "inet", "gatewayd"]) && listing() == right)
            .await;
        assert!(begin.elapsed() < Duration::from_secs(1), "{fault}: mended after {:?}", begin.elapsed());
    }
    nft("add table inet somebody { flags dormant ; }");
    assert_eq!(listing(), right, "what others do elsewhere is theirs");
}

/// The rule set of a filter, and faults that leave it as many rules and elements.
const SUBTLE_FAULTS: [&str; 3] = [
    "flush chain inet gatewayd forward ; add rule inet gatewayd forward accept ; add rule inet gatewayd forward accept ; \
     add rule inet gatewayd forward accept ; add rule inet gatewayd forward accept",
    "delete element inet gatewayd protected_ipv4 { 10.1.1.0/24 } ; \
     add element inet gatewayd protected_ipv4 { 10.7.7.0/24 }",
    "add rule inet gatewayd input accept",
];

#[tokio::test]
async fn a_fault_in_the_filter_does_not_pass_with_a_change_of_its_elements() {
    if !may_make_namespaces("a_fault_in_the_filter_does_not_pass_with_a_change_of_its_elements") {
        return;
    }
    let (gateway, _outside) = gateway();
    let listing = || gateway.exec(&["nft", "-s", "list", "table", "inet", "gatewayd"]);
    let running = forwarding(&gateway);
    let (one, two) = (protecting(&["10.1.1.0/24"]), protecting(&["10.1.1.0/24", "10.3.3.0/24"]));
    running.apply(two.clone()).await.expect("the kernel takes the filter");
    let right = listing();
    for fault in SUBTLE_FAULTS {
        running.apply(one.clone()).await.expect("the kernel takes the filter");
        eventually("an element less", || !listing().contains("10.3.3.0/24")).await;
        tokio::time::sleep(Duration::from_millis(300)).await;
        // Both before the task has a turn, so that it hears of the fault with the request.
        gateway.exec(&["nft", fault]);
        running.apply(two.clone()).await.expect("the kernel takes the filter");
        eventually(fault, || listing() == right).await;
    }
}

#[tokio::test]
async fn a_stream_of_changes_does_not_hide_a_fault_in_the_filter() {
    if !may_make_namespaces("a_stream_of_changes_does_not_hide_a_fault_in_the_filter") {
        return;
    }
    let (gateway, _outside) = gateway();
    let running = forwarding(&gateway);
    let policies = [protecting(&["10.1.1.0/24"]), protecting(&["10.1.1.0/24", "10.3.3.0/24"])];
    running.apply(policies[0].clone()).await.expect("the kernel takes the filter");
    let has_fault = || {
        let listing = gateway.exec(&["nft", "-s", "list", "chain", "inet", "gatewayd", "output"]);
        listing.contains("meta mark 0x0000002a accept")
    };
    gateway.exec(&["nft", "insert rule inet gatewayd output meta mark 42 accept"]);
    assert!(has_fault());
    let (begin, mut changes, mut looked) = (Instant::now(), 0, Instant::now());
    // One asks for the next as soon as it has the answer to the last.
    loop {
        running.apply(policies[changes % 2].clone()).await.expect("the kernel takes the filter");
        changes += 1;
        if looked.elapsed() > Duration::from_millis(100) {
            if !has_fault() {
                break;
            }
            looked = Instant::now();
        }
        assert!(begin.elapsed() < AT_LAST, "the fault is there after {changes} changes");
    }
}

#[tokio::test]
async fn only_what_others_change_is_compared() {
    if !may_make_namespaces("only_what_others_change_is_compared") {
        return;
    }
    let (gateway, _outside) = gateway();
    let comparisons = Comparisons::default();
    let writer = comparisons.clone();
    let log = tracing_subscriber::fmt().with_max_level(Level::DEBUG).with_writer(move || writer.clone()).finish();
    let _here = tracing::subscriber::set_default(log);
    let running = forwarding(&gateway);
    let policies = [protecting(&["10.1.1.0/24"]), protecting(&["10.1.1.0/24", "10.3.3.0/24"])];
    running.apply(policies[0].clone()).await.expect("the kernel takes the filter");
    eventually("what nft loaded is compared", || comparisons.count() > 0).await;
    // The first change opens the socket.
    running.apply(policies[1].clone()).await.expect("the kernel takes the filter");
    tokio::time::sleep(Duration::from_millis(500)).await;
    let before = comparisons.count();
    for change in 0..20 {
        running.apply(policies[change % 2].clone()).await.expect("the kernel takes the filter");
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    assert_eq!(comparisons.count(), before, "its own changes");
    gateway.exec(&["nft", "add element inet gatewayd protected_ipv4 { 10.7.7.0/24 }"]);
    eventually("somebody else's change", || comparisons.count() > before).await;
}
