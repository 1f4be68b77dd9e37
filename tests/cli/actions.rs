//! `up`, `down`, `rekey`, `status --check` and `events` against a gatewayd whose answers are known.

use std::process::{Command, Output};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use axum::Json;
use axum::Router;
use axum::extract::{Path, RawQuery, State};
use axum::http::StatusCode;
use axum::response::sse::{Event, Sse};
use axum::routing::{get, post};
use futures_util::{Stream, StreamExt};
use serde_json::{Value, json};

use crate::gatewayd::{Fake, GATEWAYCTL, text};

/// What the fake gatewayd has: one connection, `idc`.
struct World {
    /// Of the connection.
    state: &'static str,
    error: Option<&'static str>,
    /// Of its Child SA and its IKE SA, while it is established.
    spis: [u32; 2],
    /// How many looks at the status it takes until what was asked for is so; `None`: for ever.
    takes: Option<u32>,
    /// What is so then.
    then: Option<(&'static str, [u32; 2])>,
    /// What was asked, with its query.
    asked: Vec<String>,
    /// What its events tell from the first action on.
    event: Option<Value>,
    /// How often its status or its events were asked for.
    looks: usize,
}

type Shared = Arc<Mutex<World>>;

fn world(state: &'static str) -> World {
    World { state, error: None, spis: [1, 1], takes: Some(2), then: None, asked: Vec::new(), event: None, looks: 0 }
}

async fn status(State(world): State<Shared>) -> Json<Value> {
    let mut world = world.lock().expect("the world");
    world.looks += 1;
    if let (Some(then), Some(takes)) = (world.then, world.takes) {
        world.takes = Some(takes.saturating_sub(1));
        if takes == 0 {
            (world.state, world.spis) = then;
        }
    }
    let up = world.state == "established";
    let [child, ike] = world.spis;
    let none = json!({"packets": 0, "bytes": 0});
    let child_sas = json!([{
        "name": "net", "inbound_spi": format!("{child:08x}"), "outbound_spi": "00000001", "algorithms": "aes128gcm16",
        "encapsulation": "udp", "local_selectors": [], "peer_selectors": [], "sending": true, "age_seconds": 1,
        "inbound": none, "outbound": none
    }]);
    let ike_sa = json!({
        "initiator_spi": format!("{ike:016x}"), "responder_spi": "0000000000000001", "role": "initiator",
        "algorithms": "aes128gcm16-prfsha256-x25519", "age_seconds": 1
    });
    let connection = json!({
        "name": "idc", "owner": "file", "state": world.state, "peer": "203.0.113.2", "local_id": "a", "peer_id": "b",
        "ike_state": if up { "ike_sa_established" } else { "ike_sa_not_established" },
        "child_state": if up { "ipsec_sa_established" } else { "ipsec_sa_not_established" },
        "start": "now", "child_sas": if up { child_sas } else { json!([]) }, "ike_sa": up.then_some(ike_sa),
        "last_error": world.error
    });
    Json(json!({
        "version": "1", "uptime_seconds": 1, "device": "gwd0", "mtu": 1500, "connections": [connection], "routes": [],
        "drops": {}
    }))
}

async fn act(
    State(world): State<Shared>,
    Path((name, action)): Path<(String, String)>,
    RawQuery(query): RawQuery,
) -> (StatusCode, Json<Value>) {
    let mut world = world.lock().expect("the world");
    world.asked.push(format!("{action}{}", query.map_or_else(String::new, |query| format!("?{query}"))));
    if name != "idc" {
        return (StatusCode::NOT_FOUND, Json(json!({"error": "no connection is called so"})));
    }
    world.then = Some(match action.as_str() {
        "up" => ("established", [1, 1]),
        "down" => ("down", [0, 0]),
        _ => ("established", [2, if world.asked.iter().any(|asked| asked.contains("child")) { 1 } else { 2 }]),
    });
    (StatusCode::OK, Json(json!({"connection": name, "action": action, "event": 5})))
}

async fn events(
    State(world): State<Shared>,
    RawQuery(query): RawQuery,
) -> Sse<impl Stream<Item = Result<Event, std::convert::Infallible>>> {
    world.lock().expect("the world").looks += 1;
    let started = json!({"sequence": 4, "time": "2026-11-27T22:00:00Z", "kind": "started"});
    let past = json!({
        "sequence": 3, "time": "2026-11-27T21:59:00.5Z", "kind": "connection-down", "connection": "idc", "reason": "no answer"
    });
    let first: Vec<Value> = match query {
        Some(query) if query.contains("since=") => vec![past, started],
        _ => vec![started],
    };
    let later = futures_util::stream::once(async move {
        loop {
            tokio::time::sleep(Duration::from_millis(20)).await;
            let world = world.lock().expect("the world");
            if let (Some(event), false) = (&world.event, world.asked.is_empty()) {
                return event.clone();
            }
        }
    });
    let all = futures_util::stream::iter(first).chain(later).map(|event| Ok(Event::default().data(event.to_string())));
    Sse::new(all)
}

fn gatewayd(world: World) -> (Fake, Shared) {
    let shared = Arc::new(Mutex::new(world));
    let router = Router::new()
        .route("/v1/status", get(status))
        .route("/v1/connections/{name}/{action}", post(act))
        .route("/v1/events", get(events))
        .with_state(Arc::clone(&shared));
    (Fake::answering(router), shared)
}

fn asked(world: &Shared) -> Vec<String> {
    world.lock().expect("the world").asked.clone()
}

#[test]
fn an_action_returns_when_it_is_so() {
    for (before, words, printed) in [
        ("down", &["up", "idc"][..], "idc is up\n"),
        ("established", &["down", "idc"], "idc is down\n"),
        ("established", &["rekey", "idc"], "idc is rekeyed\n"),
        ("established", &["rekey", "idc", "--ike"], "idc is rekeyed\n"),
        ("established", &["rekey", "idc", "--child", "net"], "idc is rekeyed\n"),
    ] {
        let (gatewayd, world) = gatewayd(world(before));
        let output = gatewayd.ask(words);
        assert_eq!(
            (text(&output.stdout).as_str(), output.status.code()),
            (printed, Some(0)),
            "{}",
            text(&output.stderr)
        );
        let looks = world.lock().expect("the world").takes;
        assert_eq!(looks, Some(0), "{words:?} waited");
        let query = match words {
            [.., "--ike"] => "rekey?sa=ike",
            [.., "--child", "net"] => "rekey?child=net",
            [action, ..] => action,
            [] => "",
        };
        assert_eq!(asked(&world), [query]);
    }
}

#[test]
fn what_does_not_come_about_fails_and_says_why() {
    let never = World { takes: None, error: Some("AUTHENTICATION_FAILED"), ..world("down") };
    let (gatewayd_, _) = gatewayd(never);
    let output = gatewayd_.ask(&["up", "idc", "--wait", "1"]);
    assert_eq!(output.status.code(), Some(1));
    assert_eq!(text(&output.stderr), "gatewayctl: idc is not up after 1s: AUTHENTICATION_FAILED\n");
    let output = gatewayd_.ask(&["--json", "up", "idc", "--wait", "1"]);
    let failure: Value = serde_json::from_slice(&output.stderr).expect("JSON");
    assert_eq!((&failure["kind"], output.stdout.len()), (&json!("not-done"), 0));

    let (gatewayd_, world_) = gatewayd(world("down"));
    let output = gatewayd_.ask(&["rekey", "idc"]);
    assert!(text(&output.stderr).contains("idc cannot be rekeyed: it has no such SA"), "{}", text(&output.stderr));
    assert_eq!((output.status.code(), asked(&world_).len()), (Some(1), 0));
}

#[test]
fn a_refusal_that_an_event_tells_ends_the_waiting() {
    let event =
        json!({"sequence": 6, "kind": "connection-down", "connection": "idc", "reason": "the peer refuses our key"});
    let (gatewayd, _) = gatewayd(World { takes: None, event: Some(event), ..world("connecting") });
    let began = Instant::now();
    let output = gatewayd.ask(&["up", "idc", "--wait", "30"]);
    assert_eq!(text(&output.stderr), "gatewayctl: idc is not up: the peer refuses our key\n");
    assert_eq!(output.status.code(), Some(1));
    assert!(began.elapsed() < Duration::from_secs(10));
}

#[test]
fn how_an_older_attempt_ended_ends_no_waiting() {
    let event = json!({"sequence": 5, "kind": "connection-down", "connection": "idc", "reason": "no answer"});
    let (gatewayd, _) = gatewayd(World { event: Some(event), takes: Some(5), ..world("connecting") });
    let output = gatewayd.ask(&["up", "idc"]);
    assert_eq!(
        (text(&output.stdout).as_str(), output.status.code()),
        ("idc is up\n", Some(0)),
        "{}",
        text(&output.stderr)
    );
}

#[test]
fn what_is_being_negotiated_is_not_down() {
    let (gatewayd, _) = gatewayd(World { takes: None, ..world("connecting") });
    let output = gatewayd.ask(&["down", "idc", "--wait", "1"]);
    assert_eq!(text(&output.stderr), "gatewayctl: idc is not down after 1s: no answer so far\n");
    assert_eq!(output.status.code(), Some(1));
    for state in ["down", "waiting"] {
        let (gatewayd, _) = self::gatewayd(World { takes: None, ..world(state) });
        assert_eq!(gatewayd.ask(&["down", "idc", "--wait", "1"]).status.code(), Some(0), "{state}");
    }
}

#[test]
fn a_rekey_that_does_not_come_about_is_blamed_on_nobody() {
    let (gatewayd, _) = gatewayd(World { takes: None, ..world("established") });
    let output = gatewayd.ask(&["rekey", "idc", "--wait", "1"]);
    let told =
        "gatewayctl: idc is not rekeyed after 1s: gatewayd's log says whether the peer refused, or has not answered\n";
    assert_eq!((text(&output.stderr).as_str(), output.status.code()), (told, Some(1)));
}

#[test]
fn without_waiting_it_is_under_way() {
    let (gatewayd, _) = gatewayd(World { takes: None, ..world("down") });
    let output = gatewayd.ask(&["up", "idc", "--no-wait"]);
    assert_eq!((text(&output.stdout).as_str(), output.status.code()), ("idc: up is under way\n", Some(0)));
    let output = gatewayd.ask(&["--json", "up", "idc", "--no-wait"]);
    let outcome: Value = serde_json::from_slice(&output.stdout).expect("JSON");
    assert_eq!(outcome, json!({"connection": "idc", "action": "up", "done": false}));
    let (gatewayd, world) = self::gatewayd(world("established"));
    assert_eq!(gatewayd.ask(&["rekey", "idc", "--no-wait"]).status.code(), Some(0));
    assert_eq!((asked(&world), world.lock().expect("the world").looks), (vec!["rekey".to_owned()], 0));
}

#[test]
fn a_check_of_the_status_has_a_code_of_its_own() {
    let (gatewayd_, _) = gatewayd(World { error: Some("no answer"), ..world("down") });
    for (words, code) in [(&["status"][..], 0), (&["status", "--summary"], 0), (&["status", "--check"], 3)] {
        let output = gatewayd_.ask(words);
        assert_eq!(output.status.code(), Some(code), "{words:?}: {}", text(&output.stderr));
    }
    let output = gatewayd_.ask(&["--json", "status", "--check"]);
    let summary: Value = serde_json::from_slice(&output.stdout).expect("JSON");
    assert_eq!(summary["not_up"], json!([{"connection": "idc", "reason": "no answer"}]));
    let narrowed = gatewayd_.ask(&["--json", "status", "--state", "established"]);
    let status: Value = serde_json::from_slice(&narrowed.stdout).expect("JSON");
    assert_eq!(status["connections"], json!([]));
    let (gatewayd_, _) = gatewayd(world("established"));
    assert_eq!(gatewayd_.ask(&["status", "--check"]).status.code(), Some(0));
}

#[test]
fn a_check_of_nothing_is_no_success() {
    let (gatewayd, _) = gatewayd(world("established"));
    let output = gatewayd.ask(&["status", "--check", "--named", "icd"]);
    assert_eq!(
        (text(&output.stderr).as_str(), output.status.code()),
        ("gatewayctl: no connection is selected\n", Some(3))
    );
    let output = gatewayd.ask(&["--json", "status", "--check", "--owner", "cend"]);
    let failure: Value = serde_json::from_slice(&output.stderr).expect("JSON");
    assert_eq!((&failure["error"], output.status.code()), (&json!("no connection is selected"), Some(3)));
    assert_eq!(gatewayd.ask(&["status", "--check", "--named", "id"]).status.code(), Some(0));
    // Who asks for those in a state knows how they are.
    assert_eq!(gatewayd.ask(&["status", "--check", "--state", "established"]).status.code(), Some(2));
}

#[test]
fn past_events_are_told_with_their_time() {
    let (gatewayd, _) = gatewayd(world("down"));
    let output = gatewayd
        .command(&["events", "--since", "2026-11-27T21:00:00Z", "--no-follow"])
        .env("TZ", "UTC")
        .output()
        .expect("it runs");
    assert_eq!(text(&output.stdout), "2026-11-27 21:59:00.500 connection-down idc: no answer\n");
    assert_eq!(output.status.code(), Some(0));
    let output = gatewayd.ask(&["--json", "events", "--since", "10m", "--no-follow"]);
    let lines: Vec<Value> =
        text(&output.stdout).lines().map(|line| serde_json::from_str(line).expect("JSON")).collect();
    assert_eq!((lines.len(), &lines[0]["time"]), (1, &json!("2026-11-27T21:59:00.5Z")));
}

#[test]
fn failures_are_json_too_where_json_is_asked_for() {
    let (gatewayd, _) = gatewayd(world("down"));
    let told = |output: Output| -> (Value, Option<i32>) {
        (serde_json::from_slice(&output.stderr).expect("JSON"), output.status.code())
    };
    let failure = |words: &[&str]| told(gatewayd.ask(words));
    let (usage, code) = failure(&["--json", "stauts"]);
    assert_eq!((&usage["kind"], code), (&json!("usage"), Some(2)));
    let nobody = Command::new(GATEWAYCTL).args(["--json", "--socket", "/nonexistent", "status"]).output();
    let (unreachable, code) = told(nobody.expect("it runs"));
    assert_eq!((&unreachable["kind"], code), (&json!("unreachable"), Some(1)));
    let (refused, code) = failure(&["--json", "reload"]);
    assert_eq!((refused["kind"].is_string(), code), (true, Some(1)));
}
