//! The official Python SDKs, unmodified, against the real `cend`.
//!
//! The SDKs come from the package index into an environment below Cargo's target directory. Without any way to the
//! index the tests say so and end; when the index is there and the SDKs are not, they fail.

use std::io::{BufRead, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::OnceLock;
use std::time::{Duration, Instant};

use tempfile::TempDir;

const KEY_ID: &str = "sdk-test";
const KEY_SECRET: &str = "sdk-secret+/=&";

/// What the script answers when there is no way to the package index.
const OFFLINE: i32 = 75;

/// A `cend` of its own for each test, without any configuration file.
struct Cend {
    process: Child,
    endpoint: String,
    _state: TempDir,
}

impl Cend {
    fn start() -> Self {
        let state = tempfile::tempdir().expect("a directory for the state");
        let started = Instant::now();
        let mut process = Command::new(env!("CARGO_BIN_EXE_cend"))
            .args(["--listen", "127.0.0.1:0", "--access-key", &format!("{KEY_ID}:{KEY_SECRET}"), "--state"])
            .arg(state.path())
            .stdout(Stdio::piped())
            .spawn()
            .expect("cend starts");
        let mut line = String::new();
        let stdout = process.stdout.take().expect("cend's output");
        BufReader::new(stdout).read_line(&mut line).expect("cend says where it listens");
        let endpoint = line.trim().rsplit_once("http://").map(|(_, endpoint)| endpoint.to_owned());
        let endpoint = endpoint.unwrap_or_else(|| panic!("cend said {line:?}"));
        assert!(started.elapsed() < Duration::from_secs(5), "cend took {:?} to be ready", started.elapsed());
        Self { process, endpoint, _state: state }
    }
}

impl Drop for Cend {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

fn folder() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/sdk")
}

/// The Python interpreter that has the SDKs; `None` offline.
fn python() -> Option<&'static Path> {
    static PYTHON: OnceLock<Option<PathBuf>> = OnceLock::new();
    let python = PYTHON.get_or_init(|| {
        let venv = Path::new(env!("CARGO_TARGET_TMPDIR")).join("sdk-venv");
        let made = Command::new(folder().join("make-venv.sh")).arg(&venv).status().expect("make-venv.sh runs");
        match made.code() {
            Some(0) => Some(venv.join("bin/python")),
            Some(OFFLINE) => None,
            other => panic!("the official SDKs cannot be installed: make-venv.sh ended with {other:?}"),
        }
    });
    python.as_deref()
}

fn run(script: &str, arguments: &[&str]) {
    let Some(python) = python() else {
        eprintln!("SKIPPED {script}: no way to the package index, so the official SDKs are not here");
        return;
    };
    let cend = Cend::start();
    let output = Command::new(python)
        .arg(folder().join(script))
        .args(arguments)
        .env("CEND_ENDPOINT", &cend.endpoint)
        .env("CEND_KEY_ID", KEY_ID)
        .env("CEND_KEY_SECRET", KEY_SECRET)
        .env("PYTHONDONTWRITEBYTECODE", "1")
        // The SDKs would send requests for a loopback address through it.
        .env_remove("HTTP_PROXY")
        .env_remove("http_proxy")
        .env_remove("HTTPS_PROXY")
        .env_remove("https_proxy")
        .env_remove("ALL_PROXY")
        .env_remove("all_proxy")
        .output()
        .expect("Python runs");
    let (out, err) = (String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    assert!(output.status.success(), "{script} failed\n{out}\n{err}");
    assert!(out.contains("passed"), "{script} checked nothing\n{out}\n{err}");
}

#[test]
fn tutorial_with_the_new_sdks_signing_acs3() {
    run("tutorial.py", &["0"]);
}

#[test]
fn tutorial_with_the_new_sdks_signing_rpc() {
    run("tutorial.py", &["1"]);
}

#[test]
fn tutorial_with_the_old_sdks() {
    run("tutorial.py", &["2"]);
}

#[test]
fn connections_in_every_form() {
    run("connections.py", &[]);
}

#[test]
fn requests_and_refusals_on_the_wire() {
    run("wire.py", &[]);
}
