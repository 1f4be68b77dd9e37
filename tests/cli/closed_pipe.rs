//! A reader that has gone, as `head` goes, ends no program with a panic.

use std::io::pipe;
use std::process::{Command, Stdio};
use std::thread;
use std::time::Duration;

use axum::Router;
use axum::response::sse::{Event, Sse};
use axum::routing::get;
use serde_json::json;

use crate::cloud::{cloud, refusing};
use crate::gatewayd::{Fake, GATEWAYCTL, text};

const CEND: &str = env!("CARGO_BIN_EXE_cend");
const GATEWAYD: &str = env!("CARGO_BIN_EXE_gatewayd");

/// A pipe that nobody reads.
fn nobody() -> Stdio {
    let (reader, writer) = pipe().expect("a pipe");
    drop(reader);
    writer.into()
}

fn gatewayd() -> Fake {
    let status = json!({
        "version": "1", "uptime_seconds": 1, "device": "gwd0", "mtu": 1500,
        "connections": [], "routes": [], "drops": {}
    });
    let events = || async {
        let event = |kind| Event::default().data(json!({"sequence": 1, "kind": kind}).to_string());
        let events = [event("started"), event("reloaded")].map(Ok::<_, std::convert::Infallible>);
        Sse::new(futures_util::stream::iter(events))
    };
    Fake::answering(
        Router::new()
            .route("/v1/status", get(async || axum::Json(status)))
            .route("/v1/connections", get(async || axum::Json(json!([]))))
            .route("/v1/routes", get(async || axum::Json(json!([]))))
            .route("/v1/events", get(events)),
    )
}

#[test]
fn gatewayctl_ends_quietly_when_its_reader_has_gone() {
    let gatewayd = gatewayd();
    for words in [
        &["status"][..],
        &["--json", "status"],
        &["connections"],
        &["--json", "routes"],
        &["events"],
        &["check", "--host"],
        &["--json", "check", "--host"],
        &["cloud", "--reference"],
        &["cloud", "vpc"],
        &["cloud", "vpc", "CreateVpc", "help"],
        &["--help"],
    ] {
        let output = gatewayd.command(words).stdout(nobody()).output().expect("it runs");
        let code = output.status.code();
        assert!(text(&output.stderr).is_empty(), "{words:?}: {}", text(&output.stderr));
        // What this machine lacks is told by the code, as ever.
        assert!(code == Some(0) || words.contains(&"--host") && code == Some(1), "{words:?}: {code:?}");
    }
}

#[test]
fn a_command_s_code_is_its_own_when_its_reader_has_gone() {
    let gatewayd = gatewayd();
    let check = ["status", "--check", "--named", "nobody"];
    let missing = ["check", "/nonexistent.toml"];
    for (words, code) in [(&check[..], 3), (&missing, 1), (&["--json", "check", "/nonexistent.toml"], 1)] {
        let output = gatewayd.command(words).stdout(nobody()).output().expect("it runs");
        assert_eq!(output.status.code(), Some(code), "{words:?}");
    }
    let call = ["cloud", "--endpoint", &refusing(), "vpc", "DescribeVpcs", "--RegionId", "cn-hangzhou"];
    let output = cloud(&call).stdout(nobody()).output().expect("it runs");
    assert_eq!(output.status.code(), Some(1), "{}", text(&output.stderr));
}

#[test]
fn what_goes_on_ends_when_its_reader_has_gone() {
    let gatewayd = gatewayd();
    for words in [&["status", "--watch=1"][..], &["--json", "status", "--watch=1"], &["events"]] {
        let output = gatewayd.command(words).stdout(nobody()).output().expect("it runs");
        assert_eq!((output.status.code(), text(&output.stderr).as_str()), (Some(0), ""), "{words:?}");
    }
}

#[test]
fn a_failure_that_nobody_can_read_is_still_a_failure() {
    for (program, words) in [
        (GATEWAYCTL, &["--socket", "/nonexistent", "status"][..]),
        (GATEWAYCTL, &["check", "/nonexistent.toml"]),
        (GATEWAYD, &["--config", "/nonexistent.toml", "--state", "/nonexistent/state"]),
        (CEND, &["--config", "/nonexistent.toml"]),
    ] {
        let output = Command::new(program).args(words).stderr(nobody()).stdout(Stdio::null()).output();
        assert_eq!(output.expect("it runs").status.code(), Some(1), "{program} {words:?}");
    }
}

#[test]
fn cend_serves_on_when_nobody_reads_its_log() {
    let folder = tempfile::tempdir().expect("a folder");
    let mut cend = Command::new(CEND)
        .args(["--listen", "127.0.0.1:0", "--state"])
        .arg(folder.path())
        .args(["--access-key", "test:secret"])
        .stdout(nobody())
        .stderr(nobody())
        .spawn()
        .expect("it runs");
    thread::sleep(Duration::from_secs(1));
    let ended = cend.try_wait().expect("its state");
    cend.kill().expect("it is ours");
    cend.wait().expect("its end");
    assert_eq!(ended, None);
}
