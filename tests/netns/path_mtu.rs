//! Path MTU discovery: two gatewayds with two routers between them, whose wires take less than the hosts believe.
//!
//! ```text
//!  host-a 10.1.0.10 ─ gateway-a ══ wire0 ══ router-1 ══ wire1 ══ router-2 ══ wire2 ══ gateway-b ─ host-b 10.2.0.10
//! ```
use std::fs;
use std::net::IpAddr;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use ipsec_gateway::wire::ip::{self, protocol};
use tempfile::TempDir;

use crate::gatewayd::Gatewayd;
use crate::lab::{Process, TestNamespace, cable, eventually, may_make_namespaces};

/// The wires, by what they connect.
const OWN: usize = 0;
const MIDDLE: usize = 1;

/// How ESP travels: raw or in UDP, over IPv4 or IPv6.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Form {
    udp: bool,
    ipv6: bool,
}

const RAW_4: Form = Form { udp: false, ipv6: false };
const UDP_4: Form = Form { udp: true, ipv6: false };
const RAW_6: Form = Form { udp: false, ipv6: true };
const UDP_6: Form = Form { udp: true, ipv6: true };

impl Form {
    /// An address of a wire: 1 is towards gateway-a, 2 towards gateway-b.
    fn address(self, wire: usize, end: u8) -> String {
        if self.ipv6 { format!("2001:db8:{wire}::{end}") } else { format!("198.18.{wire}.{end}") }
    }

    fn network(self, wire: usize) -> String {
        if self.ipv6 { format!("2001:db8:{wire}::/64") } else { format!("198.18.{wire}.0/24") }
    }

    fn end(self, wire: usize, end: u8) -> String {
        format!("{}/{}", self.address(wire, end), if self.ipv6 { 64 } else { 24 })
    }

    /// The beginning of an ESP packet of 1500 bytes from gateway-a to gateway-b.
    fn packet(self, esp: &[u8]) -> Vec<u8> {
        let (source, destination) = (self.address(0, 1), self.address(2, 2));
        let ports = [&4500_u16.to_be_bytes()[..], &4500_u16.to_be_bytes(), &1480_u16.to_be_bytes(), &[0, 0]].concat();
        let (carried, payload) =
            if self.udp { (protocol::UDP, [&ports, esp].concat()) } else { (protocol::ESP, esp.to_vec()) };
        let parse = |address: String| address.parse().expect("an address");
        let header = match (parse(source), parse(destination)) {
            (IpAddr::V4(source), IpAddr::V4(destination)) => {
                ip::ipv4_header(source, destination, carried, 1500).to_vec()
            }
            (IpAddr::V6(source), IpAddr::V6(destination)) => {
                ip::ipv6_header(source, destination, carried, 1460).to_vec()
            }
            _ => unreachable!("of one family"),
        };
        [header, payload].concat()
    }

    fn ip(self) -> &'static str {
        if self.ipv6 { "-6 " } else { "" }
    }
}

struct Side {
    gatewayd: Gatewayd,
    host: TestNamespace,
}

impl Side {
    fn new(number: u8, form: Form, more: &str, folder: &Path) -> Self {
        let (other, start) = (3 - number, if number == 1 { "now" } else { "wait" });
        let outer = |number| form.address(if number == 1 { 0 } else { 2 }, number);
        let (own, peer, udp) = (outer(number), outer(other), form.udp);
        let gateway = TestNamespace::new(&format!("gw-{number}"));
        let host = TestNamespace::new(&format!("host-{number}"));
        without_dad(&gateway);
        cable(&gateway, ("lan", &format!("10.{number}.0.1/24")), &host, ("eth0", &format!("10.{number}.0.10/24")));
        host.ip(&format!("route add default via 10.{number}.0.1"));
        for (namespace, device, end) in [(&gateway, "lan", "1"), (&host, "eth0", "10")] {
            namespace.ip(&format!("address add fd00:{number}::{end}/64 dev {device} nodad"));
        }
        host.ip(&format!("route add default via fd00:{number}::1"));
        gateway.exec(&["sysctl", "-qw", "net.ipv4.ip_forward=1", "net.ipv6.conf.all.forwarding=1"]);
        let gatewayd = Gatewayd::new(gateway, &folder.join(number.to_string()));
        gatewayd.configure(&format!(
            "local_addresses = [\"{own}\"]\ninner_addresses = [\"10.{number}.0.1/32\", \"fd00:{number}::1/128\"]\nlog = \"debug\"\n{more}\
             [[connection]]\nname = \"other\"\npeer = \"{peer}\"\npsk = \"a key for this test only\"\n\
             force_encapsulation = {udp}\nstart = \"{start}\"\n\
             local_subnets = [\"10.{number}.0.0/24\", \"fd00:{number}::/64\"]\n\
             peer_subnets = [\"10.{other}.0.0/24\", \"fd00:{other}::/64\"]\n\
             [[route]]\ndestination = \"10.{other}.0.0/24\"\nconnection = \"other\"\n\
             [[route]]\ndestination = \"fd00:{other}::/64\"\nconnection = \"other\"\n"
        ));
        Self { gatewayd, host }
    }

    fn connection(&self) -> serde_json::Value {
        self.gatewayd.ask(&["connections"]).map(|list| list[0].clone()).unwrap_or_default()
    }

    /// The path MTU that status shows.
    fn path_mtu(&self) -> u64 {
        self.connection()["path_mtu"].as_u64().unwrap_or(0)
    }
}

fn without_dad(namespace: &TestNamespace) {
    namespace.exec(&["sysctl", "-qw", "net.ipv6.conf.default.accept_dad=0"]);
}

struct Lab {
    form: Form,
    sides: [Side; 2],
    routers: [TestNamespace; 2],
    folder: TempDir,
}

impl Lab {
    /// Up, every wire taking 1500 bytes. `more` are further lines at the top of both configurations.
    fn up(form: Form, more: &str) -> Self {
        let lab = Self::down(form, more);
        lab.start()
    }

    fn down(form: Form, more: &str) -> Self {
        let folder = tempfile::tempdir().expect("a folder");
        let sides = [1, 2].map(|number| Side::new(number, form, more, folder.path()));
        let routers = [1, 2].map(|number| TestNamespace::new(&format!("router-{number}")));
        for router in &routers {
            without_dad(router);
            router.exec(&["sysctl", "-qw", "net.ipv4.ip_forward=1", "net.ipv6.conf.all.forwarding=1"]);
        }
        let [a, b] = &sides;
        let ends = |wire| [form.end(wire, 1), form.end(wire, 2)];
        let chain = [&a.gatewayd.namespace, &routers[0], &routers[1], &b.gatewayd.namespace];
        for (wire, pair) in chain.windows(2).enumerate() {
            let [left, right] = ends(wire);
            let name = format!("wire{wire}");
            cable(pair[0], (&name, &left), pair[1], (&name, &right));
        }
        let route = |namespace: &TestNamespace, towards: usize, via: String| {
            namespace.ip(&format!("{}route add {} via {via}", form.ip(), form.network(towards)));
        };
        for wire in [1, 2] {
            route(&a.gatewayd.namespace, wire, form.address(0, 2));
        }
        route(&routers[0], 2, form.address(1, 2));
        route(&routers[1], 0, form.address(1, 1));
        for wire in [0, 1] {
            route(&b.gatewayd.namespace, wire, form.address(2, 1));
        }
        Self { form, sides, routers, folder }
    }

    fn start(mut self) -> Self {
        self.sides.iter_mut().rev().for_each(|side| side.gatewayd.start());
        let up = |side: &Side| side.connection()["state"] == "established";
        eventually(Duration::from_secs(20), "both sides are established", || self.sides.iter().all(up));
        let form = self.sides[0].connection()["child_sas"][0]["encapsulation"].clone();
        assert_eq!(form, if self.form.udp { "udp" } else { "none" });
        self
    }

    /// What a wire takes from now on.
    fn resize(&self, wire: usize, mtu: u32) {
        let [a, b] = &self.sides;
        let chain = [&a.gatewayd.namespace, &self.routers[0], &self.routers[1], &b.gatewayd.namespace];
        for namespace in &chain[wire..=wire + 1] {
            namespace.ip(&format!("link set wire{wire} mtu {mtu}"));
        }
    }

    /// No router says any more that a packet was too big.
    fn silence(&self) {
        for router in &self.routers {
            router.exec(&["nft", "add table inet silence"]);
            router.exec(&["nft", "add chain inet silence out { type filter hook output priority 0 ; }"]);
            router.exec(&["nft", "add rule inet silence out icmp type destination-unreachable drop"]);
            router.exec(&["nft", "add rule inet silence out icmpv6 type packet-too-big drop"]);
        }
    }

    /// 1 MiB over TCP, in both directions, within this time each.
    fn a_mebibyte_passes(&self, limit: Duration) {
        for (from, to) in [(0, 1), (1, 0)] {
            let stream = Stream::between(self, from, to, &format!("once{from}"), Some(1 << 20));
            eventually(limit, &format!("{:?}: 1 MiB arrives from {from} at {to}", self.form), || {
                stream.arrived() == 1 << 20
            });
        }
    }

    fn path_mtu_is(&self, mtu: u64, limit: Duration) {
        for (number, side) in self.sides.iter().enumerate() {
            let what = format!("{:?}: gateway {number} shows {mtu}", self.form);
            eventually(limit, &what, || side.path_mtu() == mtu);
        }
    }
}

impl Drop for Lab {
    /// What the gateways had to say about a test that fails.
    fn drop(&mut self) {
        if std::thread::panicking() {
            for side in &self.sides {
                let log = fs::read_to_string(side.gatewayd.path("gatewayd.log")).unwrap_or_default();
                eprintln!("{:?}\n{log}", side.connection());
            }
        }
    }
}

const RECEIVE: &str = "
import os, socket, sys
listener = socket.create_server(('0.0.0.0', int(sys.argv[1])))
print('listens', flush=True)
stream, _ = listener.accept()
total, note = 0, os.open(sys.argv[2], os.O_CREAT | os.O_WRONLY)
while data := stream.recv(1 << 16):
    total += len(data)
    os.pwrite(note, b'%020d' % total, 0)
";

/// Sends so many bytes, or 16 KiB every 20 milliseconds without end.
const SEND: &str = "
import socket, sys, time
stream = socket.create_connection((sys.argv[1], int(sys.argv[2])), timeout=60)
print('connected', flush=True)
total = int(sys.argv[3])
while total == 0:
    stream.sendall(bytes(1 << 14))
    time.sleep(0.02)
stream.sendall(bytes(total))
";

/// TCP from one host to the other.
struct Stream {
    note: PathBuf,
    _receiver: Process,
    _sender: Process,
}

impl Stream {
    fn between(lab: &Lab, from: usize, to: usize, name: &str, bytes: Option<u64>) -> Self {
        let file = |kind: &str| lab.folder.path().join(format!("{name}.{kind}"));
        let (note, log, port) = (file("note"), file("receiver"), (5000 + to).to_string());
        let words = ["python3", "-c", RECEIVE, &port, note.to_str().expect("a path")];
        let receiver = Process::start(&lab.sides[to].host, &log, &words);
        let says = |log: &Path, word: &str| fs::read_to_string(log).is_ok_and(|text| text.contains(word));
        eventually(START, "the receiver listens (is python3 installed?)", || says(&log, "listens"));
        let (address, bytes) = (format!("10.{}.0.10", to + 1), bytes.unwrap_or(0).to_string());
        let words = ["python3", "-c", SEND, &address, &port, &bytes];
        let log = file("sender");
        let sender = Process::start(&lab.sides[from].host, &log, &words);
        // The time that something takes counts from here: a busy machine starts programs slowly.
        eventually(START, "the sender is connected", || says(&log, "connected"));
        Self { note, _receiver: receiver, _sender: sender }
    }

    fn arrived(&self) -> u64 {
        fs::read_to_string(&self.note).ok().and_then(|text| text.parse().ok()).unwrap_or(0)
    }

    /// Waits until as much again has arrived as fits no window: what was in flight before has arrived, or been repeated.
    fn goes_on(&self, limit: Duration) -> Duration {
        let (begin, from) = (Instant::now(), self.arrived());
        eventually(limit, "the stream goes on", || self.arrived() > from + (1 << 17));
        begin.elapsed()
    }
}

/// Runs a test with each form in turn.
fn each_form(test: &str, body: impl Fn(Form)) {
    if may_make_namespaces(test) {
        [RAW_4, UDP_4, RAW_6, UDP_6].into_iter().for_each(body);
    }
}

const SOON: Duration = Duration::from_secs(10);
/// What a busy machine may take to start a program.
const START: Duration = Duration::from_secs(30);

#[test]
fn a_mebibyte_passes_an_own_device_of_1400_or_1460_bytes() {
    each_form("a_mebibyte_passes_an_own_device_of_1400_or_1460_bytes", |form| {
        for mtu in [1400, 1460] {
            let lab = Lab::down(form, "");
            lab.resize(OWN, mtu);
            let lab = lab.start();
            lab.a_mebibyte_passes(SOON);
            lab.path_mtu_is(mtu.into(), SOON);
        }
    });
}

#[test]
fn a_mebibyte_passes_pppoe_and_a_wire_of_1400_bytes_two_hops_away() {
    each_form("a_mebibyte_passes_pppoe_and_a_wire_of_1400_bytes_two_hops_away", |form| {
        for mtu in [1492, 1400] {
            let lab = Lab::up(form, "");
            lab.resize(MIDDLE, mtu);
            lab.a_mebibyte_passes(SOON);
            lab.path_mtu_is(mtu.into(), SOON);
        }
    });
}

#[test]
fn a_mebibyte_passes_where_routers_are_silent() {
    each_form("a_mebibyte_passes_where_routers_are_silent", |form| {
        for mtu in [1492, 1400] {
            let lab = Lab::up(form, "");
            lab.silence();
            lab.resize(MIDDLE, mtu);
            lab.a_mebibyte_passes(SOON);
            lab.path_mtu_is(mtu.into(), SOON);
        }
    });
}

#[test]
fn a_stream_goes_on_within_3_seconds_after_the_path_shrinks() {
    each_form("a_stream_goes_on_within_3_seconds_after_the_path_shrinks", |form| {
        let lab = Lab::up(form, "");
        let stream = Stream::between(&lab, 0, 1, "stream", None);
        stream.goes_on(SOON);
        lab.resize(MIDDLE, 1400);
        stream.goes_on(Duration::from_secs(3));
        lab.resize(OWN, 1380);
        stream.goes_on(Duration::from_secs(3));
        eventually(SOON, "the path MTU is shown", || lab.sides[0].path_mtu() == 1380);
    });
}

#[test]
fn a_stream_goes_on_within_10_seconds_where_routers_are_silent() {
    each_form("a_stream_goes_on_within_10_seconds_where_routers_are_silent", |form| {
        let lab = Lab::up(form, "");
        lab.silence();
        let stream = Stream::between(&lab, 0, 1, "stream", None);
        stream.goes_on(SOON);
        lab.resize(MIDDLE, 1400);
        stream.goes_on(SOON);
        eventually(SOON, "the path MTU is shown", || lab.sides[0].path_mtu() == 1400);
    });
}

#[test]
fn a_path_that_grows_is_found() {
    each_form("a_path_that_grows_is_found", |form| {
        let lab = Lab::down(form, "pmtu_raise = \"3s\"\n");
        lab.resize(OWN, 1460);
        lab.resize(MIDDLE, 1400);
        let lab = lab.start();
        lab.a_mebibyte_passes(SOON);
        lab.resize(MIDDLE, 1500);
        eventually(SOON, "the wire in the middle grew", || lab.sides[0].path_mtu() == 1460);
        lab.resize(OWN, 1500);
        lab.path_mtu_is(1500, SOON);
    });
}

#[test]
fn ipv6_inside_has_its_1280_bytes_although_the_path_has_no_room_for_them() {
    each_form("ipv6_inside_has_its_1280_bytes_although_the_path_has_no_room_for_them", |form| {
        let lab = Lab::up(form, "");
        lab.silence();
        lab.resize(MIDDLE, 1280);
        for (from, to) in [(0, 2), (1, 1)] {
            // The first ones are how it is found out.
            let pings = |size: &str| {
                let address = format!("fd00:{to}::10");
                lab.sides[from].host.succeeds(&["ping", "-6", "-M", "do", "-s", size, "-c", "1", "-W", "1", &address])
            };
            eventually(SOON, &format!("{form:?}: 1280 bytes pass from {from}"), || pings("1232"));
            assert_eq!(lab.sides[from].path_mtu(), 1280);
            assert!((0..5).all(|_| pings("1232")) && !pings("1233"), "{form:?} from {from}");
        }
    });
}

/// Sends the ICMP message "too big" to an address, quoting a packet.
const TOO_BIG: &str = "
import socket, struct, sys
to, mtu, quoted = sys.argv[1], int(sys.argv[2]), bytes.fromhex(sys.argv[3])
if ':' in to:
    icmp = socket.socket(socket.AF_INET6, socket.SOCK_RAW, socket.IPPROTO_ICMPV6)
    message = struct.pack('!BBHI', 2, 0, 0, mtu) + quoted
else:
    icmp = socket.socket(socket.AF_INET, socket.SOCK_RAW, socket.IPPROTO_ICMP)
    message = struct.pack('!BBHHH', 3, 4, 0, 0, mtu) + quoted
    total = sum(struct.unpack('!%dH' % (len(message) // 2), message))
    while total > 0xffff:
        total = (total & 0xffff) + (total >> 16)
    message = message[:2] + struct.pack('!H', total ^ 0xffff) + message[4:]
icmp.sendto(message, (to, 0))
";

#[test]
fn a_forged_icmp_message_changes_nothing() {
    each_form("a_forged_icmp_message_changes_nothing", |form| {
        let lab = Lab::up(form, "");
        let child = lab.sides[0].connection()["child_sas"][0].clone();
        let spi = u32::from_str_radix(child["outbound_spi"].as_str().expect("an SPI"), 16).expect("an SPI");
        let tell = |mtu: u32, spi: u32| {
            let esp = [&spi.to_be_bytes()[..], &1_u32.to_be_bytes(), &[0; 40]].concat();
            let quoted = hex::encode(form.packet(&esp));
            lab.routers[0].exec(&["python3", "-c", TOO_BIG, &form.address(0, 1), &mtu.to_string(), &quoted]);
        };
        // They arrive in this order, so when the last one has had its effect, the others have had theirs.
        for (mtu, spi) in [(1300, spi ^ 1), (575, spi), (if form.ipv6 { 1279 } else { 0 }, spi), (1400, spi)] {
            tell(mtu, spi);
        }
        let news = || Some(lab.sides[0].path_mtu()).filter(|mtu| ![0, 1500].contains(mtu));
        eventually(SOON, "the message about a packet of ours is believed", || news().is_some());
        assert_eq!(news(), Some(1400), "{form:?}");
    });
}
