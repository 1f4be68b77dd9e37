//! Two gatewayds in namespaces of their own, with a host behind each: tunnel, failures, restarts, clean ends.
//!
//! ```text
//!  host-a 10.1.0.10 ── lan ─ gateway-a ─ wan 203.0.113.1 ══ wan 203.0.113.2 ─ gateway-b ─ lan ── host-b 10.2.0.10
//! ```
use std::fs;
use std::path::Path;
use std::process::Command;
use std::time::{Duration, Instant};

use nix::sys::signal::Signal;
use tempfile::TempDir;

use crate::gatewayd::{GATEWAYCTL, Gatewayd};
use crate::lab::{Process, TestNamespace, cable, eventually, may_make_namespaces};

/// What either side must manage after a crash of the other or of itself.
const BACK_WITHIN: Duration = Duration::from_secs(10);

/// One side: a gateway and the host behind it.
pub struct Side {
    pub name: &'static str,
    pub gatewayd: Gatewayd,
    pub host: TestNamespace,
    pub configuration: String,
}

impl Side {
    fn new(name: &'static str, number: u8, start: &str, folder: &Path) -> Self {
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
        let gatewayd = Gatewayd::new(gateway, &folder.join(name));
        gatewayd.configure(&configuration);
        Self { name, gatewayd, host, configuration }
    }

    pub fn state(&self) -> String {
        let connections = self.gatewayd.ask(&["connections"]);
        connections.and_then(|list| Some(list[0]["state"].as_str()?.to_owned())).unwrap_or_default()
    }

    /// The first pair's inbound SPI.
    pub fn spi(&self) -> String {
        let connections = self.gatewayd.ask(&["connections"]).unwrap_or_default();
        connections[0]["child_sas"][0]["inbound_spi"].as_str().unwrap_or_default().to_owned()
    }

    pub fn pings(&self, address: &str) -> bool {
        self.host.succeeds(&["ping", "-c", "1", "-W", "1", address])
    }

    fn our_routes(&self) -> String {
        self.gatewayd.namespace.ip("route show table all proto 201")
    }
}

/// Both sides, the wire between them, and a capture of it.
pub struct Lab {
    pub a: Side,
    pub b: Side,
    capture: Process,
    pub folder: TempDir,
}

impl Lab {
    /// `a` calls, `b` waits.
    pub fn up() -> Self {
        Self::up_with(|a, b| (a.to_owned(), b.to_owned()))
    }

    /// The same with other configurations than the usual two.
    pub fn up_with(configurations: impl FnOnce(&str, &str) -> (String, String)) -> Self {
        let folder = tempfile::tempdir().expect("a folder");
        let mut a = Side::new("a", 1, "now", folder.path());
        let mut b = Side::new("b", 2, "wait", folder.path());
        (a.configuration, b.configuration) = configurations(&a.configuration, &b.configuration);
        a.gatewayd.configure(&a.configuration);
        b.gatewayd.configure(&b.configuration);
        cable(&a.gatewayd.namespace, ("wan", "203.0.113.1/24"), &b.gatewayd.namespace, ("wan", "203.0.113.2/24"));
        let file = folder.path().join("wan.pcap").display().to_string();
        let words = ["tcpdump", "-n", "-U", "-i", "wan", "-w", &file];
        let capture = Process::start(&a.gatewayd.namespace, &folder.path().join("tcpdump.log"), &words);
        let log = folder.path().join("tcpdump.log");
        let listens = || fs::read_to_string(&log).is_ok_and(|text| text.contains("listening on"));
        eventually(Duration::from_secs(5), "tcpdump listens (is it installed?)", listens);
        b.gatewayd.start();
        a.gatewayd.start();
        let lab = Self { a, b, capture, folder };
        lab.established();
        lab
    }

    pub fn established(&self) {
        eventually(BACK_WITHIN, "both sides are established", || {
            [&self.a, &self.b].iter().all(|side| side.state() == "established")
        });
    }

    pub fn reachable(&self) {
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
        (count("net 10.0.0.0/8 or net 172.16.0.0/12"), count("proto 50 or udp port 4500"))
    }
}

#[test]
fn two_gateways_carry_traffic_both_ways_and_nothing_in_clear() {
    if !may_make_namespaces("two_gateways_carry_traffic_both_ways_and_nothing_in_clear") {
        return;
    }
    let mut lab = Lab::up();
    lab.reachable();
    let route = &lab.a.gatewayd.ask(&["routes"]).expect("an answer")[0];
    assert_eq!((route["destination"].as_str(), route["state"].as_str()), (Some("10.2.0.0/24"), Some("active")));

    let before = lab.a.spi();
    lab.a.gatewayd.ask(&["rekey", "other"]).expect("the rekey is taken on");
    eventually(Duration::from_secs(5), "a new Child SA", || lab.a.spi() != before && lab.a.state() == "established");
    lab.reachable();

    lab.a.gatewayd.ask(&["down", "other"]).expect("down is taken on");
    eventually(Duration::from_secs(5), "it is down", || lab.a.state() == "down");
    assert!(!lab.a.pings("10.2.0.10") && !lab.b.pings("10.1.0.10"), "nothing passes while it is down");
    assert_eq!(lab.a.state(), "down", "traffic does not bring up what an operator took down");
    lab.a.gatewayd.ask(&["up", "other"]).expect("up is taken on");
    lab.established();
    lab.reachable();

    lab.a.gatewayd.crash();
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
        side.gatewayd.crash();
        let kept = side.our_routes();
        assert!(kept.contains("blackhole") && !kept.contains("gwd0"), "only blackholes outlive a crash: {kept}");
        side.gatewayd.start();
        let begin = Instant::now();
        while !lab.a.pings("10.2.0.10") {
            assert!(begin.elapsed() < BACK_WITHIN, "not back within {BACK_WITHIN:?} after a crash of {crashes}");
        }
        lab.established();
        lab.reachable();
    }
}

#[test]
fn sigterm_deletes_the_sas_at_the_peer_and_stays_closed() {
    if !may_make_namespaces("sigterm_deletes_the_sas_at_the_peer_and_stays_closed") {
        return;
    }
    let mut lab = Lab::up();
    lab.a.gatewayd.process().signal(Signal::SIGTERM);
    lab.a.gatewayd.process().ends_within(Duration::from_secs(2));
    assert_ne!(lab.b.state(), "established", "the peer was told");
    let kept = lab.a.our_routes();
    assert!(kept.contains("blackhole 10.2.0.0/24") && !kept.contains("gwd0"), "only blackholes stay: {kept}");
    assert!(lab.a.gatewayd.namespace.exec(&["nft", "list", "tables"]).contains("gatewayd"), "the filter stays");
    assert!(!lab.a.gatewayd.namespace.ip("link show").contains("gwd0"), "no device is left");
    assert!(!Path::new(&lab.a.gatewayd.path("socket")).exists(), "no socket is left");
}

#[test]
fn a_stop_waits_for_a_slow_peer_and_tells_of_a_silent_one() {
    if !may_make_namespaces("a_stop_waits_for_a_slow_peer_and_tells_of_a_silent_one") {
        return;
    }
    for silent in [false, true] {
        let mut lab = Lab::up();
        lab.b.gatewayd.process().signal(Signal::SIGSTOP);
        lab.a.gatewayd.process().signal(Signal::SIGTERM);
        if !silent {
            std::thread::sleep(Duration::from_millis(1250));
            lab.b.gatewayd.process().signal(Signal::SIGCONT);
        }
        lab.a.gatewayd.process().ends_within(Duration::from_secs(3));
        let log = fs::read_to_string(lab.a.gatewayd.path("gatewayd.log")).expect("a log");
        assert_eq!(log.contains("did not acknowledge"), silent, "{log}");
    }
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
    lab.a.gatewayd.configure(&format!("{}{more}", lab.a.configuration));
    let reloaded = lab.a.gatewayd.ask(&["reload"]).expect("a good file is taken");
    assert_eq!(reloaded["added"], serde_json::json!(["more"]));
    assert_eq!((lab.a.state().as_str(), lab.a.spi()), ("established", spi.clone()));

    lab.a.gatewayd.configure(&format!("{}{more}mtuu = 3\n", lab.a.configuration));
    let socket = lab.a.gatewayd.path("socket");
    let output = Command::new(GATEWAYCTL).args(["--socket", &socket, "reload"]).output().expect("it runs");
    let errors = String::from_utf8_lossy(&output.stderr);
    assert!(!output.status.success() && errors.contains("connection.more.mtuu: unknown key; allowed: "), "{errors}");
    let connections = lab.a.gatewayd.ask(&["connections"]).expect("an answer");
    assert_eq!(connections.as_array().map(Vec::len), Some(2), "the configuration is as it was");
    assert_eq!(lab.a.spi(), spi);
    lab.reachable();
}

#[test]
fn plaintext_beside_the_tunnel_is_dropped_and_shown() {
    if !may_make_namespaces("plaintext_beside_the_tunnel_is_dropped_and_shown") {
        return;
    }
    let lab = Lab::up();
    let plaintext = || {
        let status = lab.a.gatewayd.ask(&["status"]).expect("an answer");
        status["drops"]["plaintext"].as_u64().unwrap_or(0)
    };
    assert_eq!(plaintext(), 0);
    // A forged packet: a source behind the tunnel, but from the wire.
    let forged = ["ping", "-c", "1", "-W", "1", "-I", "10.2.0.1", "203.0.113.1"];
    assert!(!lab.b.gatewayd.namespace.succeeds(&forged));
    assert_eq!(plaintext(), 1);
    lab.reachable();
    assert_eq!(plaintext(), 1, "what comes through the tunnel is no plaintext");
}

#[test]
fn a_default_route_leads_everything_into_the_tunnel_but_the_tunnel_itself() {
    if !may_make_namespaces("a_default_route_leads_everything_into_the_tunnel_but_the_tunnel_itself") {
        return;
    }
    let everything = |text: &str| text.replace("10.2.0.0/24", "0.0.0.0/0");
    let mut lab = Lab::up_with(|a, b| (everything(a), everything(b)));
    lab.reachable();
    // Beyond the other gateway, and known to no route of this one but the default.
    lab.b.host.ip("address add 172.16.9.9/32 dev lo");
    lab.b.gatewayd.namespace.ip("route add 172.16.9.9/32 via 10.2.0.10");
    assert!(lab.a.pings("172.16.9.9"));
    lab.a.gatewayd.ask(&["rekey", "other"]).expect("the rekey is taken on");
    lab.established();
    lab.reachable();
    lab.a.gatewayd.crash();
    assert!(!lab.a.pings("172.16.9.9") && !lab.a.pings("10.2.0.10"));
    assert_eq!(lab.wire().0, 0, "a packet in clear crossed the wire");
}
