//! The cloud's clients, unmodified, against the real `cend`: the official SDKs for Python and Node.js, Ansible and Prowler,
//! and what Terraform and the `aliyun` command line send, which are in no package registry; and `gatewayctl cloud`.
//!
//! They come from the package registries into environments below Cargo's target directory. Without any way to a registry
//! the tests are skipped; when it is there and the clients are not, they fail.

mod clients;
mod gatewayctl;
#[path = "../missing/mod.rs"]
mod missing;
mod venv;

use std::io::{BufRead, BufReader};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use tempfile::TempDir;

const KEY_ID: &str = "sdk-test";
const KEY_SECRET: &str = "sdk-secret+/=&";

/// A `cend` of its own for each test, without any configuration file.
struct Cend {
    process: Child,
    endpoint: String,
    https: String,
    state: TempDir,
}

impl Cend {
    fn start() -> Self {
        let state = tempfile::tempdir().expect("a directory for the state");
        let started = Instant::now();
        let mut process = Command::new(env!("CARGO_BIN_EXE_cend"))
            .args(["--listen", "127.0.0.1:0", "--listen-tls", "127.0.0.1:0"])
            .args(["--access-key", &format!("{KEY_ID}:{KEY_SECRET}"), "--state"])
            .arg(state.path())
            .stdout(Stdio::piped())
            .spawn()
            .expect("cend starts");
        let mut stdout = BufReader::new(process.stdout.take().expect("cend's output"));
        let mut told = |scheme: &str| {
            let mut line = String::new();
            stdout.read_line(&mut line).expect("cend says where it listens");
            let endpoint = line.trim().rsplit_once(scheme).map(|(_, endpoint)| endpoint.to_owned());
            endpoint.unwrap_or_else(|| panic!("cend said {line:?}"))
        };
        let (endpoint, https) = (told("http://"), told("https://"));
        assert!(started.elapsed() < Duration::from_secs(5), "cend took {:?} to be ready", started.elapsed());
        Self { process, endpoint, https, state }
    }
}

impl Drop for Cend {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

fn run(script: &str, arguments: &[&str]) {
    let Some(mut command) = venv::python(script) else { return };
    if ["typed", "pop"].iter().any(|node| arguments.contains(node)) {
        let Some(node) = clients::node() else { return };
        command.env("NODE_CLIENTS", node);
    }
    let cend = Cend::start();
    let output = command
        .args(arguments)
        .env("CEND_ENDPOINT", &cend.endpoint)
        .env("CEND_HTTPS", &cend.https)
        .env("CEND_CA", cend.state.path().join("ca.pem"))
        .env("CEND_KEY_ID", KEY_ID)
        .env("CEND_KEY_SECRET", KEY_SECRET)
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
fn tutorial_with_the_new_sdks_by_https() {
    run("tutorial.py", &["3"]);
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
fn tutorial_with_the_typed_node_client() {
    run("tutorial.py", &["typed"]);
}

#[test]
fn tutorial_with_pop_core_for_node() {
    run("tutorial.py", &["pop"]);
}

/// footmark, which Ansible's modules call, knows the cloud by its host names only.
#[test]
fn networks_with_ansible() {
    if !nix::unistd::geteuid().is_root() {
        return missing::skipped("root, which names that lead to cend take");
    }
    let Some(ansible) = clients::ansible() else { return };
    let state = tempfile::tempdir().expect("a directory for the state");
    let mut command = venv::without_proxies(Command::new(venv::folder().join("as-the-cloud.sh")));
    let output = command
        .args([Path::new(env!("CARGO_BIN_EXE_cend")), state.path(), &ansible.join("bin/ansible-playbook")])
        .args(["-i", "localhost,"])
        .arg(venv::folder().join("ansible/playbook.yml"))
        .env("GATEWAYCTL", env!("CARGO_BIN_EXE_gatewayctl"))
        .env("CEND_KEY_ID", KEY_ID)
        .env("CEND_KEY_SECRET", KEY_SECRET)
        .env("ANSIBLE_LOCAL_TEMP", state.path())
        .env("ANSIBLE_HOME", state.path())
        .output()
        .expect("the script runs");
    let (out, err) = (String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    assert!(output.status.success(), "{out}\n{err}");
    assert!(out.contains("failed=0") && !out.contains("ok=0"), "it did nothing\n{out}\n{err}");
}

/// Prowler brings 2 GB of other clients, for six minutes: only where `PROWLER` is set to anything but the empty text.
#[test]
fn networks_with_prowler() {
    if std::env::var_os("PROWLER").is_none_or(|asked| asked.is_empty()) {
        return eprintln!("not asked for: PROWLER=1 installs Prowler (2 GB) and runs it");
    }
    if !nix::unistd::geteuid().is_root() {
        return missing::skipped("root, which names that lead to cend take");
    }
    let Some(prowler) = clients::prowler() else { return };
    let state = tempfile::tempdir().expect("a directory for the state");
    let mut command = venv::without_proxies(Command::new(venv::folder().join("as-the-cloud.sh")));
    let output = command
        .args([Path::new(env!("CARGO_BIN_EXE_cend")), state.path(), &prowler.join("bin/python")])
        .arg(venv::folder().join("prowler.py"))
        .env("GATEWAYCTL", env!("CARGO_BIN_EXE_gatewayctl"))
        .envs([("CEND_KEY_ID", KEY_ID), ("CEND_KEY_SECRET", KEY_SECRET)])
        .envs([("ALIBABA_CLOUD_ACCESS_KEY_ID", KEY_ID), ("ALIBABA_CLOUD_ACCESS_KEY_SECRET", KEY_SECRET)])
        .output()
        .expect("the script runs");
    let (out, err) = (String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    assert!(output.status.success() && out.contains("prowler passed"), "{out}\n{err}");
}

#[test]
fn tutorial_as_the_aliyun_command_line_does_it() {
    run("cli.py", &[]);
}

#[test]
fn connections_in_every_form() {
    run("connections.py", &[]);
}

#[test]
fn resources_are_read_back_renamed_and_labelled() {
    run("names.py", &[]);
}

#[test]
fn tutorial_as_terraform_does_it() {
    run("terraform.py", &[]);
}

#[test]
fn a_cloud_that_keeps_its_callers_waiting() {
    run("realism.py", &[]);
}

#[test]
fn networks_with_several_tables_and_blocks() {
    run("networks.py", &[]);
}

#[test]
fn route_maps_conflicts_and_bandwidth_of_a_cen_instance() {
    run("cen.py", &[]);
}

/// Cbn has no package on npm: `callApi` sends its names and lists.
#[test]
fn route_maps_conflicts_and_bandwidth_with_the_node_clients() {
    run("cen.py", &["typed", "pop"]);
}

#[test]
fn requests_and_refusals_on_the_wire() {
    run("wire.py", &[]);
}
