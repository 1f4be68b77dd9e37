//! What the kernel refuses to send: named in status and log, by peer and reason, while it lasts.
//!
//! ```text
//!  gateway-a 10.1.0.1 (203.0.113.1) ══ wan ══ gateway-b 10.2.0.1 (203.0.113.2)
//! ```
use std::fs;
use std::path::Path;
use std::time::Duration;

use serde_json::Value;

use crate::gatewayd::Gatewayd;
use crate::lab::{TestNamespace, cable, eventually, may_make_namespaces};

const SOON: Duration = Duration::from_secs(10);
/// A refusal counts as over when nothing was refused for a while.
const OVER_WITHIN: Duration = Duration::from_secs(40);

fn gateway(number: u8, start: &str, folder: &Path) -> Gatewayd {
    let other = 3 - number;
    let gatewayd =
        Gatewayd::new(TestNamespace::new(&format!("gateway-{number}")), &folder.join(format!("side-{number}")));
    gatewayd.configure(&format!(
        "local_addresses = [\"203.0.113.{number}\"]\ninner_addresses = [\"10.{number}.0.1/32\"]\n\
         [[connection]]\nname = \"other\"\npeer = \"203.0.113.{other}\"\npsk = \"a key for this test only\"\n\
         start = \"{start}\"\nlocal_subnets = [\"10.{number}.0.0/24\"]\npeer_subnets = [\"10.{other}.0.0/24\"]\n\
         [[route]]\ndestination = \"10.{other}.0.0/24\"\nconnection = \"other\"\n"
    ));
    gatewayd
}

fn connection(gatewayd: &Gatewayd) -> Value {
    gatewayd.ask(&["connections"]).map(|list| list[0].clone()).unwrap_or_default()
}

fn last_error(gatewayd: &Gatewayd) -> String {
    connection(gatewayd)["last_error"].as_str().unwrap_or_default().to_owned()
}

fn drops(gatewayd: &Gatewayd, reason: &str) -> u64 {
    let status = gatewayd.ask(&["status"]).unwrap_or_default();
    status["drops"][reason].as_u64().unwrap_or_default()
}

fn reaches(gatewayd: &Gatewayd) -> bool {
    gatewayd.namespace.succeeds(&["ping", "-c", "1", "-W", "1", "-I", "10.1.0.1", "10.2.0.1"])
}

#[test]
fn a_firewall_that_drops_esp_is_named_while_it_does() {
    if !may_make_namespaces("a_firewall_that_drops_esp_is_named_while_it_does") {
        return;
    }
    let folder = tempfile::tempdir().expect("a folder");
    let (mut a, mut b) = (gateway(1, "now", folder.path()), gateway(2, "wait", folder.path()));
    cable(&a.namespace, ("wan", "203.0.113.1/24"), &b.namespace, ("wan", "203.0.113.2/24"));
    b.start();
    a.start();
    eventually(SOON, "the tunnel carries packets", || reaches(&a));
    assert_eq!(last_error(&a), "");

    a.namespace.exec(&["nft", "add table ip firewall"]);
    a.namespace.exec(&["nft", "add chain ip firewall output { type filter hook output priority 0; }"]);
    a.namespace.exec(&["nft", "add rule ip firewall output ip protocol esp drop"]);
    let expected = "the kernel refuses to send ESP packets to 203.0.113.2 from 203.0.113.1: Operation not permitted (os \
                    error 1); a firewall or policy of this host forbids it";
    eventually(SOON, "the status names the firewall", || !reaches(&a) && last_error(&a) == expected);
    assert!(drops(&a, "send-forbidden") > 0);
    let log = || fs::read_to_string(a.path("gatewayd.log")).expect("a log");
    assert_eq!(log().matches(expected).count(), 1, "one line, however many packets");

    a.namespace.exec(&["nft", "delete table ip firewall"]);
    assert!(reaches(&a));
    eventually(OVER_WITHIN, "the error goes with its cause", || last_error(&a).is_empty());
    assert!(log().contains(&format!("no longer so: {expected}")));
}

#[test]
fn a_peer_without_a_route_is_not_a_peer_that_does_not_answer() {
    if !may_make_namespaces("a_peer_without_a_route_is_not_a_peer_that_does_not_answer") {
        return;
    }
    let folder = tempfile::tempdir().expect("a folder");
    let mut a = gateway(1, "now", folder.path());
    a.namespace.ip("address add 203.0.113.1/32 dev lo");
    a.start();
    let expected = "the kernel refuses to send IKE messages to 203.0.113.2 from 203.0.113.1: Network is unreachable (os \
                    error 101); this host has no working route to it";
    eventually(SOON, "the status names the missing route", || last_error(&a) == expected);
    assert!(drops(&a, "send-unreachable") > 0);
    assert!(fs::read_to_string(a.path("gatewayd.log")).expect("a log").contains(expected));
}
