//! `gatewayctl check` of files.

use std::path::Path;
use std::process::{Command, Output};

use serde_json::Value;

use crate::gatewayd::{GATEWAYCTL, text};

const GOOD: &str = r#"
[[connection]]
name = "idc"
peer = "203.0.113.2"
local_id = "gw.example.com"
psk = "0123456789abcdef0123456789abcdef"
local_subnets = ["192.168.0.0/16"]
peer_subnets = ["10.1.0.0/16"]
[[route]]
destination = "10.1.1.0/24"
connection = "idc"
"#;

fn check(folder: &Path, content: &str, words: &[&str]) -> Output {
    let path = folder.join("gatewayd.toml");
    std::fs::write(&path, content).expect("a file");
    Command::new(GATEWAYCTL).args(words).arg("check").arg(&path).output().expect("it runs")
}

#[test]
fn a_file_that_cannot_work_is_told_so() {
    let folder = tempfile::tempdir().expect("a folder");
    let outside = GOOD.replace("10.1.1.0/24", "10.9.0.0/24");
    let output = check(folder.path(), &outside, &[]);
    assert_eq!(output.status.code(), Some(1));
    assert!(text(&output.stderr).contains("route 10.9.0.0/24: no child of connection idc"), "{}", text(&output.stderr));
    let output = check(folder.path(), &outside, &["--json"]);
    let checked: Value = serde_json::from_slice(&output.stdout).expect("JSON");
    assert_eq!((&checked["good"], output.status.code()), (&Value::Bool(false), Some(1)));
    assert_eq!(checked["file"]["problems"].as_array().map(Vec::len), Some(1), "{checked}");
    let output = check(folder.path(), GOOD, &[]);
    assert_eq!(output.status.code(), Some(0), "{}", text(&output.stderr));
}

#[test]
fn what_is_no_toml_is_shown_as_the_parser_renders_it() {
    let folder = tempfile::tempdir().expect("a folder");
    let errors = text(&check(folder.path(), "mtu = 1500\ntun = = 3\n", &[]).stderr);
    assert!(errors.contains("gatewayd.toml:2: ") && errors.contains("2 | tun = = 3\n  |       ^"), "{errors}");
    let errors = text(&check(folder.path(), &GOOD.replace("cdef\"\nlocal", "cdef\nlocal"), &[]).stderr);
    assert!(errors.contains("gatewayd.toml:6: ") && !errors.contains("0123456789"), "{errors}");
}
