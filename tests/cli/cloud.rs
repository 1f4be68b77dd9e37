//! `cloud` against a cloud that refuses every call.

use std::io::{Read, Write};
use std::net::TcpListener;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::process::{Command, Output};
use std::thread;

use serde_json::{Value, json};

use crate::gatewayd::{GATEWAYCTL, text};

/// Refuses calls, of which it says what they held, for as long as the test's process lives; answers where it listens.
pub fn refusing() -> String {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
    let endpoint = listener.local_addr().expect("its address").to_string();
    thread::spawn(move || {
        for stream in listener.incoming() {
            let mut stream = stream.expect("a caller");
            let mut request = Vec::new();
            let mut part = [0; 4096];
            // A call's body is short, and its head says how long.
            while !is_whole(&request) {
                let length = stream.read(&mut part).expect("a request");
                assert!(length > 0, "the request is whole");
                request.extend_from_slice(&part[..length]);
            }
            let request = String::from_utf8(request).expect("text");
            let said = request.split_once("\r\n\r\n").map(|(_, body)| body);
            let body = json!({"Code": "Forbidden", "Message": said, "RequestId": "1"}).to_string();
            let head = format!("HTTP/1.1 403 Forbidden\r\ncontent-length: {}\r\nconnection: close", body.len());
            write!(stream, "{head}\r\n\r\n{body}").expect("the answer");
        }
    });
    endpoint
}

fn is_whole(request: &[u8]) -> bool {
    let text = String::from_utf8_lossy(request).to_lowercase();
    let Some((head, body)) = text.split_once("\r\n\r\n") else { return false };
    let length = head.lines().find_map(|line| line.strip_prefix("content-length: "));
    body.len() >= length.map_or(0, |length| length.parse().expect("a length"))
}

/// With a key and no other variable that it reads.
pub fn cloud(words: &[&str]) -> Command {
    let mut command = Command::new(GATEWAYCTL);
    for variable in ["SSL_CERT_FILE", "ALIBABA_CLOUD_ENDPOINT", "ALIBABA_CLOUD_REGION_ID"] {
        command.env_remove(variable);
    }
    command.env("ALIBABA_CLOUD_ACCESS_KEY_ID", "test").env("ALIBABA_CLOUD_ACCESS_KEY_SECRET", "secret");
    command.args(words);
    command
}

fn told(output: &Output) -> (Value, Option<i32>) {
    let failure: Value = serde_json::from_slice(&output.stderr).unwrap_or_else(|_| json!(text(&output.stderr)));
    (failure["kind"].clone(), output.status.code())
}

#[test]
fn a_command_line_that_is_wrong_is_told_as_such() {
    for words in [
        &["vcp", "DescribeVpcs"][..],
        &["vpc", "DescribeVcps"],
        &["vpc", "CreateVpc", "--CidrBlok", "x"],
        &["vpc", "CreateVpc", "--CidrBlock"],
        &["realism", "on"],
        &["realism", "set"],
        &["--access-key", "x", "vpc", "DescribeVpcs"],
        &["--all-pages", "vpc", "CreateVpc"],
        &["--force", "--all-pages", "vpc", "DescribeNothing"],
    ] {
        let output =
            cloud(&[&["--json", "cloud", "--endpoint", "127.0.0.1:1"], words].concat()).output().expect("it runs");
        assert_eq!(told(&output), (json!("usage"), Some(2)), "{words:?}: {}", text(&output.stderr));
        let output = cloud(&[&["cloud", "--endpoint", "127.0.0.1:1"], words].concat()).output().expect("it runs");
        assert_eq!(output.status.code(), Some(2), "{words:?}: {}", text(&output.stderr));
    }
}

#[test]
fn a_refusal_is_json_too_where_json_is_asked_for() {
    let endpoint = refusing();
    let call = ["cloud", "--endpoint", &endpoint, "vpc", "DescribeVpcs", "--RegionId", "cn-hangzhou"];
    let output = cloud(&[&["--json"][..], &call].concat()).output().expect("it runs");
    assert_eq!(told(&output), (json!("refused"), Some(1)), "{}", text(&output.stderr));
    let answer: Value = serde_json::from_slice(&output.stdout).expect("the answer");
    assert_eq!(answer["Code"], "Forbidden");
    let output = cloud(&call).output().expect("it runs");
    assert!(text(&output.stderr).starts_with("gatewayctl: Forbidden (HTTP 403): "), "{}", text(&output.stderr));
}

#[test]
fn an_answer_is_waited_for_by_what_only_asks() {
    let endpoint = refusing();
    let wait = ["--json", "cloud", "--endpoint", &endpoint, "--wait-until", "Status=active", "--region", "cn-hangzhou"];
    for writes in [&["vpc", "CreateVpc"][..], &["--force", "vpc", "StopEverything"]] {
        let output = cloud(&[&wait[..], writes].concat()).output().expect("it runs");
        assert_eq!(told(&output), (json!("usage"), Some(2)), "{writes:?}: {}", text(&output.stderr));
    }
    for asks in [&["vpc", "DescribeVpcs"][..], &["--force", "vpc", "DescribeNothing"]] {
        let output = cloud(&[&wait[..], asks].concat()).output().expect("it runs");
        assert_eq!(told(&output), (json!("refused"), Some(1)), "{asks:?}: {}", text(&output.stderr));
    }
}

#[test]
fn a_variable_that_is_empty_is_not_set() {
    let home = tempfile::tempdir().expect("a folder");
    let profile = json!({"name": "lab", "mode": "AK", "access_key_id": "test", "access_key_secret": "secret", "endpoint": refusing()});
    profiles(home.path(), &json!({"profiles": [profile]}));
    let mut command = cloud(&["cloud", "--profile", "lab", "vpc", "DescribeVpcs"]);
    for variable in ["SSL_CERT_FILE", "ALIBABA_CLOUD_ENDPOINT", "ALIBABA_CLOUD_REGION_ID"] {
        command.env(variable, "");
    }
    let output = command.env("HOME", home.path()).output().expect("it runs");
    let errors = text(&output.stderr);
    assert!(errors.contains("Forbidden") && !errors.contains("RegionId"), "{errors}");
}

fn profiles(home: &Path, profiles: &Value) {
    let folder = home.join(".aliyun");
    std::fs::create_dir(&folder).expect("a folder");
    let file = folder.join("config.json");
    std::fs::write(&file, profiles.to_string()).expect("a file");
    std::fs::set_permissions(&file, std::fs::Permissions::from_mode(0o600)).expect("its mode");
}
