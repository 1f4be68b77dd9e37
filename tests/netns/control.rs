//! gatewayctl's `up`, `down`, `rekey`, `status --check` and `events` with two real gatewayds.
use std::process::{Command, Output};
use std::time::Duration;

use serde_json::Value;

use crate::gatewayd::GATEWAYCTL;
use crate::gateways::{Lab, Side};
use crate::lab::{eventually, may_make_namespaces};

fn gatewayctl(side: &Side, words: &[&str]) -> Output {
    let socket = side.gatewayd.path("socket");
    Command::new(GATEWAYCTL).args(["--socket", &socket]).args(words).output().expect("it runs")
}

/// Standard output and error, and the code.
fn told(side: &Side, words: &[&str]) -> (String, Option<i32>) {
    let output = gatewayctl(side, words);
    let text = [output.stdout, output.stderr].concat();
    (String::from_utf8(text).expect("text"), output.status.code())
}

/// The SPIs of the IKE SA and of the pair that is sent on.
fn spis(side: &Side) -> [String; 2] {
    let status = side.gatewayd.ask(&["status", "other"]).expect("a status");
    let connection = &status["connections"][0];
    let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
    let pairs = connection["child_sas"].as_array().map(Vec::as_slice).unwrap_or_default();
    let sending = pairs.iter().find(|sa| sa["sending"] == true).unwrap_or(&Value::Null);
    [text(&connection["ike_sa"]["initiator_spi"]), text(&sending["inbound_spi"])]
}

#[test]
fn an_action_is_done_when_gatewayctl_returns() {
    if !may_make_namespaces("an_action_is_done_when_gatewayctl_returns") {
        return;
    }
    let lab = Lab::up();
    eventually(Duration::from_secs(10), "the tunnel is up", || lab.a.state() == "established");
    assert_eq!(told(&lab.a, &["status", "--check"]).1, Some(0));
    let algorithms = lab.a.gatewayd.ask(&["connections"]).expect("connections")[0]["ike_sa"]["algorithms"].clone();
    assert_eq!(algorithms, "aes128gcm16-prfsha256-x25519");

    let [ike, child] = spis(&lab.a);
    assert_eq!(told(&lab.a, &["rekey", "other", "--child", "other"]), ("other is rekeyed\n".into(), Some(0)));
    let [same, newer] = spis(&lab.a);
    assert_eq!((&same, newer == child), (&ike, false), "only the child");
    assert_eq!(told(&lab.a, &["rekey", "other", "--ike"]), ("other is rekeyed\n".into(), Some(0)));
    let [other, same] = spis(&lab.a);
    assert_eq!((other == ike, &same), (false, &newer), "only the IKE SA");
    assert_eq!(told(&lab.b, &["rekey", "other"]), ("other is rekeyed\n".into(), Some(0)));
    let (refused, code) = told(&lab.a, &["rekey", "other", "--child", "nobody"]);
    assert!(code == Some(1) && refused.contains("other cannot be rekeyed"), "{refused}");

    assert_eq!(told(&lab.a, &["down", "other"]), ("other is down\n".into(), Some(0)));
    assert_eq!(lab.a.state(), "down");
    assert_eq!(told(&lab.a, &["status", "--check"]).1, Some(3));
    assert_eq!(told(&lab.a, &["up", "other"]), ("other is up\n".into(), Some(0)));
    assert_eq!(lab.a.state(), "established");
    assert!(lab.a.pings("10.2.0.10"), "packets pass at once");

    let (events, code) = told(&lab.a, &["events", "other", "--since", "1h", "--no-follow"]);
    let kinds: Vec<&str> = events.lines().filter_map(|line| line.split_whitespace().nth(2)).collect();
    assert!(
        code == Some(0)
            && kinds.contains(&"connection-down")
            && kinds.iter().filter(|kind| **kind == "child-up").count() == 2,
        "{events}"
    );
    let year = events.get(..4).and_then(|year| year.parse::<u32>().ok());
    assert!(year.is_some_and(|year| year > 2000), "{events}");

    lab.b.gatewayd.namespace.ip("link set wan down");
    assert_eq!(told(&lab.a, &["down", "other", "--wait", "30"]), ("other is down\n".into(), Some(0)));
    let (reason, code) = told(&lab.a, &["up", "other", "--wait", "1"]);
    assert!(code == Some(1) && reason.starts_with("gatewayctl: other is not up after 1s: "), "{reason}");
}
