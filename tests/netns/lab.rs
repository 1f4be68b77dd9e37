//! Network namespaces and processes for one test: made here, and removed when the guard is dropped, also after a failure.
use std::fs::File;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::{Duration, Instant};

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

use crate::missing::skipped;

/// Whether namespaces can be made; skips the test when not.
pub fn may_make_namespaces(test: &str) -> bool {
    let root = nix::unistd::geteuid().is_root();
    if !root {
        skipped(format_args!("root, which making the network namespaces of {test} takes"));
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
        Self::named(name)
    }

    /// Makes one of this name with its loopback device up.
    pub fn named(name: String) -> Self {
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

/// A process that does not outlive its test.
pub struct Process(Child);

impl Process {
    /// Starts a program inside a namespace; what it prints goes to the file `log`.
    pub fn start(namespace: &TestNamespace, log: &Path, program: &[&str]) -> Self {
        let mut command = Command::new("ip");
        // `ip netns exec` becomes the program, so the process is the program itself.
        command.args(["netns", "exec", &namespace.name]).args(program);
        Self::spawn(command, log)
    }

    /// Starts a program; what it prints goes to the file `log`.
    pub fn spawn(mut command: Command, log: &Path) -> Self {
        let log = File::create(log).expect("a log file");
        let errors = log.try_clone().expect("a second handle");
        Self(command.stdin(Stdio::null()).stdout(log).stderr(errors).spawn().expect("the program starts"))
    }

    pub fn id(&self) -> u32 {
        self.0.id()
    }

    pub fn signal(&self, signal: Signal) {
        kill(Pid::from_raw(self.0.id().cast_signed()), signal).expect("the process is there");
    }

    /// How long the process takes to end.
    pub fn ends_within(&mut self, limit: Duration) -> Duration {
        let begin = Instant::now();
        eventually(limit, "the process ends", || self.0.try_wait().expect("our own child").is_some());
        begin.elapsed()
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// Waits for a condition, and fails when it does not come true in time.
pub fn eventually(limit: Duration, what: &str, mut condition: impl FnMut() -> bool) {
    let begin = Instant::now();
    while !condition() {
        assert!(begin.elapsed() < limit, "not within {limit:?}: {what}");
        std::thread::sleep(Duration::from_millis(20));
    }
}
