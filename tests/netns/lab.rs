//! Network namespaces for one test: made here, and removed when the guard is dropped, also after a failure.
use std::process::Command;
use std::sync::atomic::{AtomicU32, Ordering};

/// Whether namespaces can be made; says loudly when not.
pub fn may_make_namespaces(test: &str) -> bool {
    let root = nix::unistd::geteuid().is_root();
    if !root {
        eprintln!("SKIPPED {test}: making network namespaces takes root");
    }
    root
}

/// A namespace of its own for a test.
pub struct TestNamespace {
    pub name: String,
}

impl TestNamespace {
    /// Makes `ig<process>-<count>-<role>` with its loopback device up.
    pub fn new(role: &str) -> Self {
        static COUNT: AtomicU32 = AtomicU32::new(0);
        let name = format!("ig{}-{}-{role}", std::process::id(), COUNT.fetch_add(1, Ordering::Relaxed));
        let namespace = TestNamespace { name };
        run("ip", &["netns", "add", &namespace.name]);
        namespace.ip("link set lo up");
        namespace
    }

    /// Runs `ip` inside; answers what it printed.
    pub fn ip(&self, arguments: &str) -> String {
        let words: Vec<&str> = ["-n", &self.name].into_iter().chain(arguments.split_whitespace()).collect();
        run("ip", &words)
    }

    /// Runs a program inside; answers what it printed.
    pub fn exec(&self, words: &[&str]) -> String {
        let words: Vec<&str> = ["netns", "exec", &self.name].iter().chain(words).copied().collect();
        run("ip", &words)
    }

    /// Whether a program succeeds inside.
    pub fn succeeds(&self, words: &[&str]) -> bool {
        let mut command = Command::new("ip");
        command.args(["netns", "exec", &self.name]).args(words);
        command.output().expect("ip runs").status.success()
    }
}

impl Drop for TestNamespace {
    fn drop(&mut self) {
        let _ = Command::new("ip").args(["netns", "delete", &self.name]).output();
    }
}

/// A pair of connected devices, up, each with an address (`-`: none).
pub fn cable(left: &TestNamespace, left_end: (&str, &str), right: &TestNamespace, right_end: (&str, &str)) {
    let words = ["link", "add", left_end.0, "netns", &left.name, "type", "veth"];
    let peer = ["peer", "name", right_end.0, "netns", &right.name];
    run("ip", &[&words[..], &peer[..]].concat());
    for (namespace, (device, address)) in [(left, left_end), (right, right_end)] {
        if address != "-" {
            namespace.ip(&format!("address add {address} dev {device}"));
        }
        namespace.ip(&format!("link set {device} up"));
    }
}

fn run(program: &str, words: &[&str]) -> String {
    let output = Command::new(program).args(words).output().expect("the program runs");
    let errors = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{program} {words:?}: {errors}");
    String::from_utf8_lossy(&output.stdout).into_owned()
}
