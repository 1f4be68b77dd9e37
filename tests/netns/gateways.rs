//! Two gatewayds in namespaces of their own, with a host behind each: tunnel, failures, restarts, clean ends.
//!
//! ```text
//!  host-a 10.1.0.10 ── lan ─ gateway-a ─ wan 203.0.113.1 ══ wan 203.0.113.2 ─ gateway-b ─ lan ── host-b 10.2.0.10
//! ```
use std::fs::{self, File};
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use serde_json::Value;
use tempfile::TempDir;

use crate::lab::{TestNamespace, cable, may_make_namespaces};

const GATEWAYD: &str = env!("CARGO_BIN_EXE_gatewayd");
const GATEWAYCTL: &str = env!("CARGO_BIN_EXE_gatewayctl");

/// What either side must manage after a crash of the other or of itself.
const BACK_WITHIN: Duration = Duration::from_secs(10);

/// A process that does not outlive its test.
struct Process(Child);

impl Process {
    fn start(namespace: &TestNamespace, log: &Path, program: &[&str]) -> Self {
        let log = File::create(log).expect("a log file");
        let errors = log.try_clone().expect("a second handle");
        let mut command = Command::new("ip");
        // `ip netns exec` becomes the program, so the process is the program itself.
        command.args(["netns", "exec", &namespace.name]).args(program).stdin(Stdio::null());
        Self(command.stdout(log).stderr(errors).spawn().expect("the program starts"))
    }

    fn signal(&self, signal: Signal) {
        kill(Pid::from_raw(self.0.id().cast_signed()), signal).expect("the process is there");
    }

    /// How long the process takes to end.
    fn ends_within(&mut self, limit: Duration) -> Duration {
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

fn eventually(limit: Duration, what: &str, mut condition: impl FnMut() -> bool) {
    let begin = Instant::now();
    while !condition() {
        assert!(begin.elapsed() < limit, "not within {limit:?}: {what}");
        std::thread::sleep(Duration::from_millis(20));
    }
}

/// One side: a gateway and the host behind it.
struct Side {
    name: &'static str,
    gateway: TestNamespace,
    host: TestNamespace,
    folder: PathBuf,
    configuration: String,
    daemon: Option<Process>,
}

impl Side {
    fn new(name: &'static str, number: u8, start: &str, folder: &Path) -> Self {
        let folder = folder.join(name);
        fs::create_dir(&folder).expect("a folder");
        let other = 3 - number;
        let configuration = format!(
            "local_addresses = [\"203.0.113.{number}\"]\ninner_addresses = [\"10.{number}.0.1/32\"]\n\
             [[connection]]\nname = \"other\"\npeer = \"203.0.113.{other}\"\npsk = \"a key for this test only\"\n\
             start = \"{start}\"\nlocal_subnets = [\"10.{number}.0.0/24\"]\npeer_subnets = [\"10.{other}.0.0/24\"]\n\
             [[route]]\ndestination = \"10.{other}.0.0/24\"\nconnection = \"other\"\n"
        );
        let gateway = TestNamespace::new(&format!("gateway-{name}"));
        let host = TestNamespace::new(&format!("host-{name}"));
        let address = format!("10.{number}.0.1/24");
        cable(&gateway, ("lan", &address), &host, ("eth0", &format!("10.{number}.0.10/24")));
        host.ip(&format!("route add default via 10.{number}.0.1"));
        gateway.exec(&["sysctl", "-qw", "net.ipv4.ip_forward=1"]);
        let side = Self { name, gateway, host, folder, configuration, daemon: None };
        side.configure(&side.configuration);
        side
    }

    fn configure(&self, text: &str) {
        let path = self.folder.join("gatewayd.toml");
        fs::write(&path, text).expect("a configuration");
        fs::set_permissions(&path, fs::Permissions::from_mode(0o600)).expect("its mode");
    }

    fn path(&self, file: &str) -> String {
        self.folder.join(file).display().to_string()
    }

    fn start(&mut self) {
        let (config, socket, state) = (self.path("gatewayd.toml"), self.path("socket"), self.path("state"));
        let words = [GATEWAYD, "--config", &config, "--socket", &socket, "--state", &state];
        self.daemon = Some(Process::start(&self.gateway, &self.folder.join("gatewayd.log"), &words));
    }

    fn daemon(&mut self) -> &mut Process {
        self.daemon.as_mut().expect("a running daemon")
    }

    /// `gatewayctl --json` of this side; nothing while the daemon does not answer.
    fn ask(&self, words: &[&str]) -> Option<Value> {
        let socket = self.path("socket");
        let output =
            Command::new(GATEWAYCTL).args(["--socket", &socket, "--json"]).args(words).output().expect("it runs");
        output.status.success().then(|| serde_json::from_slice(&output.stdout).expect("JSON"))
    }

    fn state(&self) -> String {
        let connections = self.ask(&["connections"]);
        connections.and_then(|list| Some(list[0]["state"].as_str()?.to_owned())).unwrap_or_default()
    }

    /// The first pair's inbound SPI.
    fn spi(&self) -> String {
        let connections = self.ask(&["connections"]).unwrap_or_default();
        connections[0]["child_sas"][0]["inbound_spi"].as_str().unwrap_or_default().to_owned()
    }

    fn pings(&self, address: &str) -> bool {
        self.host.succeeds(&["ping", "-c", "1", "-W", "1", address])
    }

    fn our_routes(&self) -> String {
        self.gateway.ip("route show table all proto 201")
    }
}

/// Both sides, the wire between them, and a capture of it.
struct Lab {
    a: Side,
    b: Side,
    capture: Process,
    folder: TempDir,
}

impl Lab {
    /// `a` calls, `b` waits.
    fn up() -> Self {
        let folder = tempfile::tempdir().expect("a folder");
        let mut a = Side::new("a", 1, "now", folder.path());
        let mut b = Side::new("b", 2, "wait", folder.path());
        cable(&a.gateway, ("wan", "203.0.113.1/24"), &b.gateway, ("wan", "203.0.113.2/24"));
        let file = folder.path().join("wan.pcap").display().to_string();
        let words = ["tcpdump", "-n", "-U", "-i", "wan", "-w", &file];
        let capture = Process::start(&a.gateway, &folder.path().join("tcpdump.log"), &words);
        let log = folder.path().join("tcpdump.log");
        let listens = || fs::read_to_string(&log).is_ok_and(|text| text.contains("listening on"));
        eventually(Duration::from_secs(5), "tcpdump listens (is it installed?)", listens);
        b.start();
        a.start();
        let lab = Self { a, b, capture, folder };
        lab.established();
        lab
    }

    fn established(&self) {
        eventually(BACK_WITHIN, "both sides are established", || {
            [&self.a, &self.b].iter().all(|side| side.state() == "established")
        });
    }

    fn reachable(&self) {
        assert!(self.a.pings("10.2.0.10"), "{} reaches the other host", self.a.name);
        assert!(self.b.pings("10.1.0.10"), "{} reaches the other host", self.b.name);
    }

    /// The number of packets on the wire that belong into the tunnel, by their addresses, and of those that are sealed.
    /// (A host whose daemon was killed also answers the peer's ESP with an ICMP error, which is neither.)
    fn wire(&mut self) -> (usize, usize) {
        self.capture.signal(Signal::SIGINT);
        self.capture.ends_within(Duration::from_secs(5));
        let file = self.folder.path().join("wan.pcap");
        let count = |filter: &str| {
            let output = Command::new("tcpdump").arg("-nr").arg(&file).arg(filter).output().expect("tcpdump runs");
            assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
            String::from_utf8_lossy(&output.stdout).lines().count()
        };
        (count("net 10.0.0.0/8"), count("proto 50 or udp port 4500"))
    }
}

#[test]
fn two_gateways_carry_traffic_both_ways_and_nothing_in_clear() {
    if !may_make_namespaces("two_gateways_carry_traffic_both_ways_and_nothing_in_clear") {
        return;
    }
    let mut lab = Lab::up();
    lab.reachable();
    let route = &lab.a.ask(&["routes"]).expect("an answer")[0];
    assert_eq!((route["destination"].as_str(), route["state"].as_str()), (Some("10.2.0.0/24"), Some("active")));

    let before = lab.a.spi();
    lab.a.ask(&["rekey", "other"]).expect("the rekey is taken on");
    eventually(Duration::from_secs(5), "a new Child SA", || lab.a.spi() != before && lab.a.state() == "established");
    lab.reachable();

    lab.a.ask(&["down", "other"]).expect("down is taken on");
    eventually(Duration::from_secs(5), "it is down", || lab.a.state() == "down");
    assert!(!lab.a.pings("10.2.0.10") && !lab.b.pings("10.1.0.10"), "nothing passes while it is down");
    assert_eq!(lab.a.state(), "down", "traffic does not bring up what an operator took down");
    lab.a.ask(&["up", "other"]).expect("up is taken on");
    lab.established();
    lab.reachable();

    lab.a.daemon().signal(Signal::SIGKILL);
    lab.a.daemon().ends_within(Duration::from_secs(2));
    assert!(!lab.a.pings("10.2.0.10") && !lab.b.pings("10.1.0.10"), "nothing passes without a daemon");
    let (clear, sealed) = lab.wire();
    assert_eq!(clear, 0, "a packet in clear crossed the wire");
    assert!(sealed >= 8, "{sealed} ESP packets are too few for the pings");
}

#[test]
fn either_side_is_back_soon_after_a_crash() {
    if !may_make_namespaces("either_side_is_back_soon_after_a_crash") {
        return;
    }
    let mut lab = Lab::up();
    for crashes in ["b", "a"] {
        let side = if crashes == "a" { &mut lab.a } else { &mut lab.b };
        side.daemon().signal(Signal::SIGKILL);
        side.daemon().ends_within(Duration::from_secs(2));
        let kept = side.our_routes();
        assert!(kept.contains("blackhole") && !kept.contains("gwd0"), "only blackholes outlive a crash: {kept}");
        side.start();
        let begin = Instant::now();
        while !lab.a.pings("10.2.0.10") {
            assert!(begin.elapsed() < BACK_WITHIN, "not back within {BACK_WITHIN:?} after a crash of {crashes}");
        }
        lab.established();
        lab.reachable();
    }
}

#[test]
fn sigterm_deletes_the_sas_at_the_peer_and_leaves_nothing_behind() {
    if !may_make_namespaces("sigterm_deletes_the_sas_at_the_peer_and_leaves_nothing_behind") {
        return;
    }
    let mut lab = Lab::up();
    lab.a.daemon().signal(Signal::SIGTERM);
    lab.a.daemon().ends_within(Duration::from_secs(2));
    assert_ne!(lab.b.state(), "established", "the peer was told");
    assert_eq!(lab.a.our_routes(), "", "no route of ours is left");
    assert_eq!(lab.a.gateway.exec(&["nft", "list", "ruleset"]), "", "no nftables table is left");
    assert!(!lab.a.gateway.ip("link show").contains("gwd0"), "no device is left");
    assert!(!Path::new(&lab.a.path("socket")).exists(), "no socket is left");
}

#[test]
fn a_reload_keeps_unchanged_tunnels_and_a_bad_file_changes_nothing() {
    if !may_make_namespaces("a_reload_keeps_unchanged_tunnels_and_a_bad_file_changes_nothing") {
        return;
    }
    let lab = Lab::up();
    let spi = lab.a.spi();
    let more = "[[connection]]\nname = \"more\"\npeer = \"203.0.113.77\"\npsk = \"x\"\nstart = \"wait\"\n\
                local_subnets = \"10.1.0.0/24\"\npeer_subnets = \"10.7.0.0/24\"\n";
    lab.a.configure(&format!("{}{more}", lab.a.configuration));
    let reloaded = lab.a.ask(&["reload"]).expect("a good file is taken");
    assert_eq!(reloaded["added"], serde_json::json!(["more"]));
    assert_eq!((lab.a.state().as_str(), lab.a.spi()), ("established", spi.clone()));

    lab.a.configure(&format!("{}{more}mtuu = 3\n", lab.a.configuration));
    let socket = lab.a.path("socket");
    let output = Command::new(GATEWAYCTL).args(["--socket", &socket, "reload"]).output().expect("it runs");
    let errors = String::from_utf8_lossy(&output.stderr);
    assert!(!output.status.success() && errors.contains("connection.more.mtuu: unknown key; allowed: "), "{errors}");
    let connections = lab.a.ask(&["connections"]).expect("an answer");
    assert_eq!(connections.as_array().map(Vec::len), Some(2), "the configuration is as it was");
    assert_eq!(lab.a.spi(), spi);
    lab.reachable();
}
