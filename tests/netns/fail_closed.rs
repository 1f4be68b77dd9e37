//! Nothing fails open: plaintext of protected prefixes on the outer wire is counted while gatewayd, its device, its filter,
//! its routes and its links are taken away, with one connection, with two, and with 0.0.0.0/0.
//!
//! ```text
//!  host 10.1.0.10 ── lan ─ gateway ─ wan 203.0.113.1 ══ wan 203.0.113.2 ─ peer ─ lan ── far 10.2.0.10
//!                                 └ default route ──────────────┘
//! ```
use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::process::Command;
use std::thread::sleep;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use nix::sys::signal::Signal;
use tempfile::TempDir;

use crate::gatewayd::{GATEWAYCTL, Gatewayd};
use crate::lab::{Process, TestNamespace, cable, eventually, may_make_namespaces};

const PATIENCE: Duration = Duration::from_secs(10);
/// Sends a datagram to each destination every two milliseconds, whatever the kernel answers. A source may be given.
const LOAD: &str = "
import socket, sys, time
sockets = []
for pair in sys.argv[1:]:
    source, destination = pair.split('>')
    s = socket.socket(socket.AF_INET6 if ':' in source else socket.AF_INET, socket.SOCK_DGRAM)
    s.setsockopt(socket.SOL_IP, 15, 1)
    s.bind((source, 0))
    sockets.append((s, destination))
print('loading', flush=True)
while True:
    for s, destination in sockets:
        try: s.sendto(b'plaintext', (destination, 9))
        except OSError: pass
    time.sleep(0.002)
";

/// What never is on the outer wire.
const PLAINTEXT: &str = "net 10.0.0.0/8 or net 172.16.0.0/12 or net fd00::/16";

struct Lab {
    variant: Variant,
    gatewayd: Gatewayd,
    peer: Gatewayd,
    host: TestNamespace,
    far: TestNamespace,
    folder: TempDir,
    configuration: String,
    load: Vec<Process>,
}

/// What is protected: one connection, two of which one never comes up, everything, or one connection with IPv6 inside.
#[derive(Clone, Copy, Debug)]
enum Variant {
    One,
    Two,
    Everything,
    Ipv6,
}

const VARIANTS: [Variant; 4] = [Variant::One, Variant::Two, Variant::Everything, Variant::Ipv6];

fn connection(name: &str, peer: &str, local: &str, remote: &str, start: &str) -> String {
    format!(
        "[[connection]]\nname = \"{name}\"\npeer = \"{peer}\"\npsk = \"a key for this test only\"\nstart = \"{start}\"\n\
         local_subnets = [\"{local}\"]\npeer_subnets = [\"{remote}\"]\n\
         [[route]]\ndestination = \"{remote}\"\nconnection = \"{name}\"\n"
    )
}

impl Variant {
    /// The subnets of this side and of the other.
    fn subnets(self) -> [&'static str; 2] {
        match self {
            Variant::One | Variant::Two => ["10.1.0.0/24", "10.2.0.0/24"],
            Variant::Everything => ["10.1.0.0/24", "0.0.0.0/0"],
            Variant::Ipv6 => ["fd00:1::/64", "fd00:2::/64"],
        }
    }

    /// Addresses of the host, of the gateway towards it, and of the far host.
    fn addresses(self) -> [&'static str; 3] {
        match self {
            Variant::Ipv6 => ["fd00:1::10", "fd00:1::1", "fd00:2::10"],
            _ => ["10.1.0.10", "10.1.0.1", "10.2.0.10"],
        }
    }

    fn configuration(self) -> String {
        let [local, remote] = self.subnets();
        let mut text = connection("far", "203.0.113.2", local, remote, "now");
        if matches!(self, Variant::Two) {
            text += &connection("dead", "203.0.113.77", "10.1.0.0/24", "10.3.0.0/24", "now");
        }
        format!("local_addresses = [\"203.0.113.1\"]\n{text}")
    }

    fn protected(self) -> &'static [&'static str] {
        match self {
            Variant::One => &["10.2.0.10"],
            Variant::Two => &["10.2.0.10", "10.3.0.10"],
            Variant::Everything => &["10.2.0.10", "172.16.9.9"],
            Variant::Ipv6 => &["fd00:2::10", "fd00:2::77"],
        }
    }
}

impl Lab {
    /// The gateway, its peer and a host behind each, without a running daemon yet.
    fn new(variant: Variant) -> Self {
        let folder = tempfile::tempdir().expect("a folder");
        let [gateway, peer, host, far] = ["gateway", "peer", "host", "far"].map(TestNamespace::new);
        cable(&gateway, ("wan", "203.0.113.1/24"), &peer, ("wan", "203.0.113.2/24"));
        cable(&gateway, ("lan", "10.1.0.1/24"), &host, ("eth0", "10.1.0.10/24"));
        cable(&peer, ("lan", "10.2.0.1/24"), &far, ("eth0", "10.2.0.10/24"));
        gateway.ip("route add default via 203.0.113.2");
        host.ip("route add default via 10.1.0.1");
        far.ip("route add default via 10.2.0.1");
        for router in [&gateway, &peer] {
            let forwards = ["net.ipv4.ip_forward=1", "net.ipv4.conf.all.rp_filter=0", "net.ipv6.conf.all.forwarding=1"];
            router.exec(&[&["sysctl", "-qw"], &forwards[..]].concat());
        }
        let ipv6 = [
            (&gateway, "wan", "2001:db8::1/64"),
            (&peer, "wan", "2001:db8::2/64"),
            (&gateway, "lan", "fd00:1::1/64"),
            (&host, "eth0", "fd00:1::10/64"),
            (&peer, "lan", "fd00:2::1/64"),
            (&far, "eth0", "fd00:2::10/64"),
        ];
        for (namespace, device, address) in ipv6 {
            namespace.ip(&format!("address add {address} dev {device} nodad"));
        }
        gateway.ip("-6 route add default via 2001:db8::2");
        host.ip("-6 route add default via fd00:1::1");
        far.ip("-6 route add default via fd00:2::1");
        let gatewayd = Gatewayd::new(gateway, &folder.path().join("gateway"));
        let peer = Gatewayd::new(peer, &folder.path().join("peer"));
        let [near, answer] = variant.subnets();
        let other = connection("near", "203.0.113.1", answer, near, "wait");
        peer.configure(&format!("local_addresses = [\"203.0.113.2\"]\n{other}"));
        let configuration = variant.configuration();
        gatewayd.configure(&configuration);
        Self { variant, gatewayd, peer, host, far, folder, configuration, load: Vec::new() }
    }

    /// The same, with both daemons up, the tunnel carrying, and load to everything that is protected: forwarded, and the
    /// gateway's own.
    fn loaded(variant: Variant) -> Self {
        let mut lab = Self::new(variant);
        lab.peer.start();
        lab.gatewayd.start();
        // What was routed before anything was protected may wait for a neighbour's address, and be sent in the clear later.
        lab.answers();
        lab.carries();
        let pairs = |source: &str| variant.protected().iter().map(|to| format!("{source}>{to}")).collect::<Vec<_>>();
        let [host, gateway, _] = variant.addresses();
        lab.load(|lab| &lab.host, &pairs(host));
        lab.load(|lab| &lab.gatewayd.namespace, &pairs(gateway));
        lab
    }

    fn load(&mut self, namespace: fn(&Self) -> &TestNamespace, pairs: &[String]) {
        let log = self.folder.path().join(format!("load{}.log", self.load.len()));
        let words = [&["python3", "-c", LOAD][..], &pairs.iter().map(String::as_str).collect::<Vec<_>>()[..]].concat();
        self.load.push(Process::start(namespace(self), &log, &words));
        eventually(PATIENCE, "the load begins", || fs::read_to_string(&log).is_ok_and(|text| text.contains("loading")));
    }

    fn carries(&self) {
        let far = self.variant.addresses()[2];
        eventually(PATIENCE, "the tunnel carries", || self.host.succeeds(&["ping", "-c", "1", "-W", "1", far]));
    }

    /// Waits until the daemon is there and answers; it does not have to have a tunnel.
    fn answers(&self) {
        eventually(PATIENCE, "gatewayd answers", || self.gatewayd.ask(&["status"]).is_some());
    }

    fn release(&self) -> (bool, String) {
        let namespace = &self.gatewayd.namespace.name;
        let words = ["netns", "exec", namespace, GATEWAYCTL, "--socket", "/nonexistent", "release"];
        let output = Command::new("ip").args(words).output().expect("it runs");
        let text = [output.stdout, output.stderr].concat();
        (output.status.success(), String::from_utf8_lossy(&text).into_owned())
    }

    /// Counts plaintext on the outer wire from now on.
    fn tap(&self) -> Tap {
        let folder = self.folder.path();
        Tap::start(&self.peer.namespace, "wan", PLAINTEXT, folder)
    }

    /// Plaintext that crosses the outer wire in a while: enough for what goes out by itself to be seen for certain.
    fn open_frames(&self) -> usize {
        let tap = self.tap();
        sleep(Duration::from_millis(400));
        tap.frames().len()
    }

    /// The last line of the daemon's log.
    fn last_line(&self) -> String {
        let log = fs::read_to_string(self.gatewayd.path("gatewayd.log")).expect("a log");
        log.lines().last().unwrap_or_default().to_owned()
    }

    /// What a tap has seen a moment from now.
    fn frames_after(&self, tap: Tap) -> usize {
        sleep(Duration::from_millis(300));
        tap.frames().len()
    }

    fn ends(&mut self, how: Signal) {
        self.gatewayd.process().signal(how);
        self.gatewayd.process().ends_within(Duration::from_secs(4));
    }
}

/// A capture of what a filter selects.
struct Tap {
    process: Process,
    file: String,
    begin: SystemTime,
}

impl Tap {
    fn start(at: &TestNamespace, device: &str, filter: &str, folder: &Path) -> Self {
        let (file, log) = (folder.join("tap.pcap").display().to_string(), folder.join("tap.log"));
        let words = ["tcpdump", "-n", "-U", "--immediate-mode", "-i", device, "-w", &file, filter];
        let process = Process::start(at, &log, &words);
        let listens = || fs::read_to_string(&log).is_ok_and(|text| text.contains("listening on"));
        eventually(PATIENCE, "tcpdump listens (is it installed?)", listens);
        Self { process, file, begin: SystemTime::now() }
    }

    /// When each frame crossed, since the tap was there.
    fn frames(mut self) -> Vec<Duration> {
        // What is on its way is seen before the capture ends.
        sleep(Duration::from_millis(100));
        self.process.signal(Signal::SIGINT);
        self.process.ends_within(PATIENCE);
        let output = Command::new("tcpdump").args(["-tt", "-nr", &self.file]).output().expect("tcpdump runs");
        let begin = self.begin.duration_since(UNIX_EPOCH).expect("a clock").as_secs_f64();
        let text = String::from_utf8_lossy(&output.stdout).into_owned();
        let time = |line: &str| line.split(' ').next().and_then(|word| word.parse::<f64>().ok()).expect("a time");
        // Shown if an assertion about their number fails.
        text.lines().take(10).for_each(|line| eprintln!("on the outer wire: {line}"));
        text.lines().map(|line| Duration::from_secs_f64((time(line) - begin).max(0.0))).collect()
    }
}

#[test]
fn no_end_and_no_start_opens_and_a_release_does() {
    if !may_make_namespaces("no_end_and_no_start_opens_and_a_release_does") {
        return;
    }
    for variant in VARIANTS {
        let mut lab = Lab::loaded(variant);
        let tap = lab.tap();
        lab.gatewayd.namespace.ip("link delete gwd0");
        lab.gatewayd.process().ends_within(Duration::from_secs(4));
        assert_eq!(lab.frames_after(tap), 0, "{variant:?}: its device was deleted");

        for end in [Signal::SIGKILL, Signal::SIGTERM, Signal::SIGINT] {
            let tap = lab.tap();
            lab.gatewayd.start();
            lab.carries();
            lab.ends(end);
            assert_eq!(lab.frames_after(tap), 0, "{variant:?}: a start, and an end by {end}");
        }
        let said = lab.last_line();
        assert!(said.contains(variant.subnets()[1]), "the last line names what stays: {said}");
        assert!(said.contains("gatewayctl release"), "and how to open it: {said}");

        let tap = lab.tap();
        lab.gatewayd.configure(&format!("{}nonsense = 1\n", lab.configuration));
        lab.gatewayd.start();
        lab.gatewayd.process().ends_within(Duration::from_secs(4));
        assert_eq!(lab.frames_after(tap), 0, "{variant:?}: a start with a typo in the file");

        let (released, text) = lab.release();
        assert!(released, "{text}");
        assert!(lab.open_frames() > 0, "{variant:?}: a release opens, and the tap sees what is open");
        // The prefixes last in force are kept, so a start with a broken file closes them again, whatever lacks.
        lab.gatewayd.start();
        lab.gatewayd.process().ends_within(Duration::from_secs(4));
        assert_eq!(lab.open_frames(), 0, "{variant:?}: a start with a broken file and nothing in the kernel");
        assert!(lab.last_line().contains("gatewayctl release"), "{}", lab.last_line());
        lab.release();
        lab.gatewayd.configure(&lab.configuration);
        lab.gatewayd.namespace.ip("link add gwd0 type veth peer name gwd1");
        lab.gatewayd.start();
        lab.gatewayd.process().ends_within(Duration::from_secs(4));
        assert_eq!(lab.open_frames(), 0, "{variant:?}: a start without a TUN");
        lab.gatewayd.namespace.ip("link delete gwd0");
        lab.release();
        lab.gatewayd.start_with(&["env", "PATH=/nonexistent"]);
        lab.answers();
        assert_eq!(lab.open_frames(), 0, "{variant:?}: a start without nft");
        let warnings = lab.gatewayd.ask(&["status"]).expect("an answer")["warnings"].to_string();
        assert!(warnings.contains("filter against plaintext"), "{warnings}");
    }
}

#[test]
fn only_what_the_operator_gave_up_opens() {
    if !may_make_namespaces("only_what_the_operator_gave_up_opens") {
        return;
    }
    let mut lab = Lab::loaded(Variant::Two);
    let (released, text) = lab.release();
    assert!(!released && text.contains("gatewayd runs in this network namespace"), "{text}");
    assert_eq!(lab.open_frames(), 0, "a release that is refused opens nothing");
    for connection in ["far", "dead"] {
        lab.gatewayd.ask(&["down", connection]).expect("down is taken on");
    }
    assert_eq!(lab.open_frames(), 0, "down opens nothing");

    // By a reload: what the file no longer has is given up, and the rest is not.
    let one = Variant::One.configuration();
    lab.gatewayd.configure(&one);
    lab.gatewayd.ask(&["reload"]).expect("a good file is taken");
    let tap = Tap::start(&lab.peer.namespace, "wan", "net 10.3.0.0/24", lab.folder.path());
    sleep(Duration::from_millis(300));
    assert!(!tap.frames().is_empty(), "the reload gave 10.3.0.0/24 up");
    let tap = Tap::start(&lab.peer.namespace, "wan", "net 10.2.0.0/24", lab.folder.path());
    sleep(Duration::from_millis(300));
    assert_eq!(tap.frames().len(), 0, "and nothing else");

    // By a start: the kept prefixes do not count while the file can be read.
    lab.gatewayd.configure(Variant::Two.configuration().as_str());
    lab.gatewayd.ask(&["reload"]).expect("a good file is taken");
    lab.ends(Signal::SIGKILL);
    lab.gatewayd.configure(&one);
    lab.gatewayd.start();
    lab.answers();
    let tap = Tap::start(&lab.peer.namespace, "wan", "net 10.3.0.0/24", lab.folder.path());
    sleep(Duration::from_millis(300));
    assert!(!tap.frames().is_empty(), "the start gave 10.3.0.0/24 up");

    // By on_stop, for SIGTERM only.
    lab.gatewayd.configure(&format!("on_stop = \"open\"\n{one}"));
    lab.gatewayd.ask(&["reload"]).expect("a good file is taken");
    lab.ends(Signal::SIGINT);
    let tap = Tap::start(&lab.peer.namespace, "wan", "net 10.2.0.0/24", lab.folder.path());
    sleep(Duration::from_millis(300));
    assert_eq!(tap.frames().len(), 0, "SIGINT does not open");
    lab.gatewayd.start();
    lab.carries();
    lab.ends(Signal::SIGTERM);
    assert!(lab.last_line().contains("on_stop"), "{}", lab.last_line());
    let left = [lab.gatewayd.namespace.ip("route show table all proto 201"), lab.gatewayd.namespace.ip("rule show")];
    assert!(left[0].is_empty() && !left[1].contains("proto 201"), "{left:?}");
    assert_eq!(lab.gatewayd.namespace.exec(&["nft", "list", "ruleset"]), "");
    assert_eq!(lab.release(), (true, "nothing of gatewayd is left in this network namespace\n".to_owned()));
}

#[test]
fn what_the_cloud_protected_stays_closed_while_its_set_is_lost() {
    if !may_make_namespaces("what_the_cloud_protected_stays_closed_while_its_set_is_lost") {
        return;
    }
    let mut lab = Lab::new(Variant::One);
    lab.gatewayd.configure("local_addresses = [\"203.0.113.1\"]\n");
    lab.load(|lab| &lab.host, &["10.1.0.10>10.2.0.10".to_owned()]);
    assert!(lab.open_frames() > 0, "nothing is protected yet");
    let state = lab.gatewayd.path("state");
    let kept = r#"{"device": "gwd0", "mark": 1229389825, "cend": {"protect": ["10.2.0.0/24"], "local": []}}"#;
    fs::create_dir(&state).expect("a state directory");
    for (file, text) in [("policy.json", kept), ("cend.json", "{ a disk that was full")] {
        let path = Path::new(&state).join(file);
        fs::write(&path, text).expect("a file");
        fs::set_permissions(&path, fs::Permissions::from_mode(0o600)).expect("its mode");
    }
    lab.gatewayd.start();
    lab.answers();
    assert_eq!(lab.open_frames(), 0, "cend's set is lost, what it protected is not");
    let warnings = lab.gatewayd.ask(&["status"]).expect("an answer")["warnings"].to_string();
    assert!(warnings.contains("10.2.0.0/24"), "{warnings}");
}

#[test]
fn a_foreign_route_takes_nothing_out_of_the_tunnel() {
    if !may_make_namespaces("a_foreign_route_takes_nothing_out_of_the_tunnel") {
        return;
    }
    for variant in [Variant::One, Variant::Two] {
        let mut lab = Lab::loaded(variant);
        let tap = lab.tap();
        for route in ["10.2.0.0/25", "10.3.0.10/32"] {
            lab.gatewayd.namespace.ip(&format!("route add {route} via 203.0.113.2"));
        }
        // A network that somebody else's address server makes a connected one.
        lab.gatewayd.namespace.ip("address add 10.2.0.9/28 dev wan");
        lab.carries();
        assert_eq!(lab.frames_after(tap), 0, "{variant:?}: the tunnel is up");
        let status = lab.gatewayd.ask(&["status"]).expect("an answer");
        assert_eq!(status["exemptions"], serde_json::json!([]), "nothing is exempt");
        assert!(status["warnings"].to_string().contains("10.2.0.0/28"), "{}", status["warnings"]);
        let tap = lab.tap();
        lab.ends(Signal::SIGKILL);
        assert_eq!(lab.frames_after(tap), 0, "{variant:?}: after a crash");
        // Nobody mends after an end, so blackholes and rule alone must hold.
        lab.gatewayd.start();
        lab.carries();
        lab.ends(Signal::SIGTERM);
        let tap = lab.tap();
        lab.gatewayd.namespace.exec(&["nft", "flush", "ruleset"]);
        lab.gatewayd.namespace.ip("route add 10.2.0.0/26 via 203.0.113.2");
        assert_eq!(lab.frames_after(tap), 0, "{variant:?}: after a stop, without the filter");
        lab.gatewayd.namespace.ip("route delete 10.2.0.0/26 via 203.0.113.2");
        lab.release();
        lab.gatewayd.namespace.ip("address delete 10.2.0.9/28 dev wan");
        assert!(lab.open_frames() > 0, "the tap sees what is open");
    }
    // Under 0.0.0.0/0 what the main table knows better is exempt, and the status says so.
    let lab = Lab::loaded(Variant::Everything);
    lab.gatewayd.namespace.ip("route add 10.2.0.0/25 via 203.0.113.2");
    let exempt = || lab.gatewayd.ask(&["status"]).map(|status| status["exemptions"].to_string()).unwrap_or_default();
    eventually(PATIENCE, "the exemption is shown", || {
        exempt().contains("10.2.0.0/25") && exempt().contains("more specific route")
    });
}

#[test]
fn without_the_inner_link_decrypted_packets_stay_inside() {
    if !may_make_namespaces("without_the_inner_link_decrypted_packets_stay_inside") {
        return;
    }
    for variant in VARIANTS {
        let mut lab = Lab::loaded(variant);
        lab.load.clear();
        let [host, _, far] = variant.addresses();
        lab.load(|lab| &lab.far, &[format!("{far}>{host}"), format!("{far}>{host}7")]);
        let tap = lab.tap();
        lab.gatewayd.namespace.ip("link set lan down");
        assert_eq!(lab.frames_after(tap), 0, "{variant:?}: the inner link is down");
        // Told by what has been, not by the moment.
        let tap = lab.tap();
        lab.ends(Signal::SIGKILL);
        lab.gatewayd.start();
        eventually(PATIENCE, "the connection is back", || {
            let connections = lab.gatewayd.ask(&["connections"]).unwrap_or_default();
            connections[0]["state"] == "established"
        });
        assert_eq!(lab.frames_after(tap), 0, "{variant:?}: a start without the inner link");
        lab.gatewayd.namespace.ip("link set lan up");
        if matches!(variant, Variant::Ipv6) {
            // The kernel takes IPv6 addresses away with the link.
            lab.gatewayd.namespace.ip("address add fd00:1::1/64 dev lan nodad");
        }
        eventually(PATIENCE, "decrypted packets arrive again", || {
            lab.far.succeeds(&["ping", "-c", "1", "-W", "1", host])
        });
    }
}

#[test]
fn a_one_armed_gateway_works_and_is_warned() {
    if !may_make_namespaces("a_one_armed_gateway_works_and_is_warned") {
        return;
    }
    // The host is behind the next router of the outer device: here, the peer's namespace routes to it in clear.
    let lab = Lab::new(Variant::One);
    lab.gatewayd.namespace.ip("link delete lan");
    let router = TestNamespace::new("router");
    cable(&lab.gatewayd.namespace, ("arm", "192.0.2.1/24"), &router, ("arm", "192.0.2.2/24"));
    let host = TestNamespace::new("armhost");
    cable(&router, ("lan", "10.1.0.1/24"), &host, ("eth0", "10.1.0.10/24"));
    router.exec(&["sysctl", "-qw", "net.ipv4.ip_forward=1"]);
    router.ip("route add default via 192.0.2.1");
    host.ip("route add default via 10.1.0.1");
    lab.gatewayd.namespace.ip("route replace default via 192.0.2.2");
    let mut lab = lab;
    lab.peer.start();
    lab.gatewayd.start();
    eventually(PATIENCE, "the tunnel carries both ways", || {
        host.succeeds(&["ping", "-c", "1", "-W", "1", "10.2.0.10"])
    });
    let status = lab.gatewayd.ask(&["status"]).expect("an answer");
    assert!(status["warnings"].to_string().contains("10.1.0.0/24 lies behind the default route"), "{status}");
}

#[test]
fn a_flush_of_the_filter_is_mended_within_a_second() {
    if !may_make_namespaces("a_flush_of_the_filter_is_mended_within_a_second") {
        return;
    }
    for variant in [Variant::One, Variant::Two, Variant::Everything] {
        let mut lab = Lab::loaded(variant);
        // A spoofed protected source, from the wire: it must not reach the host.
        lab.peer.namespace.ip("address add 10.2.0.66/32 dev lo");
        lab.peer.namespace.ip("route add 10.1.0.10/32 via 203.0.113.1 table 77");
        lab.peer.namespace.ip("rule add from 10.2.0.66 lookup 77 priority 10");
        lab.load(|lab| &lab.peer.namespace, &["10.2.0.66>10.1.0.10".to_owned()]);
        let inner = || Tap::start(&lab.host, "eth0", "src 10.2.0.66", lab.folder.path());
        let tap = inner();
        sleep(Duration::from_millis(300));
        assert_eq!(tap.frames().len(), 0, "{variant:?}: the filter stands");
        let tap = inner();
        lab.gatewayd.namespace.exec(&["nft", "flush", "ruleset"]);
        let flushed = tap.begin.elapsed().expect("a clock");
        sleep(Duration::from_millis(1500));
        let late = tap.frames().into_iter().filter(|time| *time > flushed + Duration::from_secs(1)).count();
        assert_eq!(late, 0, "{variant:?}: plaintext later than a second after the flush");
        let listing = lab.gatewayd.namespace.exec(&["nft", "list", "ruleset"]);
        assert!(listing.contains("table inet gatewayd"), "{listing}");
        // What goes out is led by routes, which a flush of the filter does not touch.
        let tap = Tap::start(&lab.peer.namespace, "wan", "src net 10.1.0.0/24", lab.folder.path());
        lab.gatewayd.namespace.exec(&["nft", "flush", "ruleset"]);
        assert_eq!(lab.frames_after(tap), 0, "{variant:?}: outwards");
    }
}

#[test]
fn a_flush_among_other_changes_is_mended_as_fast() {
    if !may_make_namespaces("a_flush_among_other_changes_is_mended_as_fast") {
        return;
    }
    let mut lab = Lab::new(Variant::One);
    lab.gatewayd.start();
    lab.answers();
    let namespace = lab.gatewayd.namespace.name.clone();
    // A routing daemon at work, and an operator.
    let script = "while true; do ip route add 192.0.2.0/24 via 203.0.113.2; ip route delete 192.0.2.0/24; done";
    let _churn = Process::start(&lab.gatewayd.namespace, &lab.folder.path().join("churn.log"), &["sh", "-c", script]);
    let listing = ["nft", "-s", "list", "table", "inet", "gatewayd"];
    let right = lab.gatewayd.namespace.exec(&listing);
    // Some tell the kernel's listeners of many changes, some of one.
    let faults: [&[&str]; 3] = [
        &["flush", "ruleset"],
        &["flush", "set", "inet", "gatewayd", "protected_ipv4"],
        &["add", "table", "inet", "gatewayd", "{ flags dormant ; }"],
    ];
    for round in 0..18 {
        lab.gatewayd.namespace.exec(&[&["nft"], faults[round % 3]].concat());
        if round % 4 == 0 {
            lab.gatewayd.ask(&["reload"]).expect("a good file is taken");
        }
        let stands = || {
            let output = Command::new("ip").args(["netns", "exec", &namespace]).args(listing).output();
            output.is_ok_and(|output| String::from_utf8_lossy(&output.stdout) == right)
        };
        eventually(Duration::from_secs(1), "the filter is back", stands);
    }
}

#[test]
fn what_is_local_to_one_connection_and_behind_another_stays_in_the_tunnel() {
    if !may_make_namespaces("what_is_local_to_one_connection_and_behind_another_stays_in_the_tunnel") {
        return;
    }
    let mut lab = Lab::new(Variant::One);
    // A transit hub: the first peer may see a part of what lies behind the second.
    let first = connection("first", "203.0.113.2", "10.1.0.0/24\", \"10.3.1.0/24", "10.2.0.0/16", "now");
    let second = connection("second", "203.0.113.77", "10.1.0.0/24", "10.3.0.0/16", "now");
    lab.gatewayd.configure(&format!("local_addresses = [\"203.0.113.1\"]\n{first}{second}"));
    lab.gatewayd.start();
    lab.answers();
    let tap = lab.tap();
    lab.load(|lab| &lab.host, &["10.1.0.10>10.3.1.7".to_owned()]);
    assert_eq!(lab.frames_after(tap), 0, "it went out in clear");
    assert!(lab.gatewayd.namespace.ip("route get 10.3.1.7").contains("dev gwd0"));
    let status = lab.gatewayd.ask(&["status"]).expect("an answer");
    assert!(!status["warnings"].to_string().contains("10.3.1.0/24"), "{status}");
}

#[test]
fn the_last_line_says_what_is_open_when_nothing_could_be_closed() {
    if !may_make_namespaces("the_last_line_says_what_is_open_when_nothing_could_be_closed") {
        return;
    }
    let mut lab = Lab::new(Variant::One);
    lab.gatewayd.start_with(&["setpriv", "--bounding-set", "-net_admin", "--inh-caps", "-net_admin"]);
    lab.gatewayd.process().ends_within(Duration::from_secs(4));
    let said = lab.last_line();
    assert!(said.contains("OPEN is: 10.2.0.0/24"), "{said}");
}
