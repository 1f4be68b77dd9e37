//! A flood of IKE_SA_INIT requests from addresses that never answer, during which the configured peer connects
//! (RFC 7296 section 2.6).
//!
//! ```text
//!  peer (gatewayd) 203.0.113.2 ══ 203.0.113.1 gateway (gatewayd) 198.51.100.1 ── 198.51.100.2 forger, all of 10.66.0.0/16
//! ```
use std::fs;
use std::net::{Ipv4Addr, UdpSocket};
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use ipsec_gateway::io::netns::Namespace;
use ipsec_gateway::wire::ike::{
    ExchangeType, Flags, Header, IkeSpi, KeyExchange, KeyExchangeId, Payload, Proposal, ProtocolId, Transform,
    TransformType, encode_message,
};

use crate::gatewayd::Gatewayd;
use crate::lab::{TestNamespace, cable, eventually, may_make_namespaces};

/// Requests in the whole flood, at least; it goes on until the test has seen enough, but never beyond `LIMIT`.
const REQUESTS: u32 = 20_000;
const LIMIT: u32 = 45_000;
const PER_SECOND: u32 = 2_500;
/// Each address sends so many requests, each with an SPI of its own.
const PER_ADDRESS: u32 = 10;
const CONNECTED_WITHIN: Duration = Duration::from_secs(10);
/// What the flood may cost the gateway, in KiB.
const MEMORY: u64 = 16 * 1024;

/// A request that the gateway could accept: its proposal is the one that stands for everybody.
fn request(number: u32) -> Vec<u8> {
    let mut spi = [7; 8];
    spi[..4].copy_from_slice(&number.to_be_bytes());
    let flags = Flags { initiator: true, ..Flags::default() };
    let header = Header::new(IkeSpi(spi), IkeSpi::ZERO, ExchangeType::IKE_SA_INIT, flags, 0);
    // AES-GCM with 128 bits, PRF-HMAC-SHA2-256 and X25519.
    let transforms = [
        Transform::new(TransformType::ENCRYPTION, 20, Some(128)),
        Transform::new(TransformType::PSEUDORANDOM_FUNCTION, 5, None),
        Transform::new(TransformType::KEY_EXCHANGE, 31, None),
    ];
    let proposal = Proposal { number: 1, protocol: ProtocolId::IKE, spi: Vec::new(), transforms: transforms.to_vec() };
    let payloads = [
        Payload::SecurityAssociation(vec![proposal]),
        Payload::KeyExchange(KeyExchange { group: KeyExchangeId(31), data: vec![9; 32] }),
        Payload::Nonce(vec![5; 32]),
    ];
    encode_message(&header, &payloads).expect("a short message")
}

/// Sends at a steady pace until it is told to stop, but at least `REQUESTS` and at most `LIMIT`.
fn flood(sent: &AtomicU32, stop: &AtomicBool) {
    let begin = Instant::now();
    let mut socket = None;
    for number in 0..LIMIT {
        if number >= REQUESTS && stop.load(Ordering::Relaxed) {
            break;
        }
        if number.is_multiple_of(PER_ADDRESS) {
            let due = begin + Duration::from_secs(1) * number / PER_SECOND;
            thread::sleep(due.saturating_duration_since(Instant::now()));
            let source = Ipv4Addr::from_bits(Ipv4Addr::new(10, 66, 0, 1).to_bits() + number / PER_ADDRESS);
            socket = Some(UdpSocket::bind((source, 500)).expect("an address of the forger"));
        }
        // A full queue on the way is part of a flood.
        let _ = socket.as_ref().expect("a socket").send_to(&request(number), "198.51.100.1:500");
        sent.store(number + 1, Ordering::Relaxed);
    }
}

/// A row of /proc/PID/status, in KiB: `VmRSS` is what is resident, `VmHWM` the most that ever was.
fn memory(gatewayd: &mut Gatewayd, row: &str) -> u64 {
    let text = fs::read_to_string(format!("/proc/{}/status", gatewayd.process().id())).expect("a running process");
    let line = text.lines().find_map(|line| line.strip_prefix(row)).expect("the row");
    line.trim_matches(|letter: char| !letter.is_ascii_digit()).parse().expect("a number")
}

fn drops(gatewayd: &Gatewayd, reason: &str) -> u64 {
    let status = gatewayd.ask(&["status"]).expect("the control socket answers, flood or not");
    status["drops"][reason].as_u64().unwrap_or(0)
}

fn state(gatewayd: &Gatewayd, connection: &str) -> String {
    let connections = gatewayd.ask(&["connections"]).unwrap_or_default();
    let rows = connections.as_array().map(Vec::as_slice).unwrap_or_default();
    let row = rows.iter().find(|row| row["name"] == connection);
    row.and_then(|row| Some(row["state"].as_str()?.to_owned())).unwrap_or_default()
}

struct Lab {
    gateway: Gatewayd,
    peer: Gatewayd,
    forger: TestNamespace,
    _folder: tempfile::TempDir,
}

impl Lab {
    /// The gateway runs and takes anybody; the peer is yet to be started.
    fn up() -> Self {
        let folder = tempfile::tempdir().expect("a folder");
        let (gateway, peer) = (TestNamespace::new("gateway"), TestNamespace::new("peer"));
        let forger = TestNamespace::new("forger");
        cable(&gateway, ("wan", "203.0.113.1/24"), &peer, ("wan", "203.0.113.2/24"));
        cable(&gateway, ("lan", "198.51.100.1/24"), &forger, ("wan", "198.51.100.2/24"));
        // Every address in it is the forger's own.
        forger.ip("address add 10.66.0.0/16 dev lo");
        forger.ip("route add default via 198.51.100.1");
        gateway.ip("route add 10.66.0.0/16 via 198.51.100.2");
        let mut gateway = Gatewayd::new(gateway, &folder.path().join("gateway"));
        let connection = |name: &str, peer: &str, start: &str, own: u8, other: u8| {
            format!(
                "[[connection]]\nname = \"{name}\"\npeer = \"{peer}\"\npsk = \"a key for this test only\"\n\
                 start = \"{start}\"\nlocal_subnets = \"10.{own}.0.0/24\"\npeer_subnets = \"10.{other}.0.0/24\"\n"
            )
        };
        gateway.configure(&format!(
            "local_addresses = [\"203.0.113.1\", \"198.51.100.1\"]\n{}local_address = \"203.0.113.1\"\n{}\
             local_address = \"198.51.100.1\"\npeer_id = \"@nobody\"\n",
            connection("peer", "203.0.113.2", "wait", 1, 2),
            connection("anybody", "any", "wait", 3, 4),
        ));
        gateway.start();
        let peer = Gatewayd::new(peer, &folder.path().join("peer"));
        peer.configure(&format!(
            "local_addresses = [\"203.0.113.2\"]\n{}",
            connection("gateway", "203.0.113.1", "now", 2, 1)
        ));
        let lab = Self { gateway, peer, forger, _folder: folder };
        eventually(Duration::from_secs(5), "the gateway runs", || lab.gateway.ask(&["status"]).is_some());
        lab
    }
}

#[test]
fn the_configured_peer_connects_during_a_flood() {
    if !may_make_namespaces("the_configured_peer_connects_during_a_flood") {
        return;
    }
    let mut lab = Lab::up();
    let before = memory(&mut lab.gateway, "VmRSS:");
    let (sent, stop) = (AtomicU32::new(0), AtomicBool::new(false));
    let forger = Namespace::Named(lab.forger.name.as_str().into());
    thread::scope(|scope| {
        let flood = scope.spawn(|| forger.run(|| flood(&sent, &stop)).expect("the forger's namespace"));
        eventually(Duration::from_secs(5), "the flood has begun, and cookies are asked for", || {
            sent.load(Ordering::Relaxed) > PER_SECOND && drops(&lab.gateway, "ike-cookie-required") > 0
        });
        lab.peer.start();
        eventually(CONNECTED_WITHIN, "the peer connects during the flood", || {
            state(&lab.gateway, "peer") == "established" && state(&lab.peer, "gateway") == "established"
        });
        assert!(!flood.is_finished(), "the flood was over before the peer had connected");
        stop.store(true, Ordering::Relaxed);
    });
    let cookies = drops(&lab.gateway, "ike-cookie-required");
    let sent = sent.load(Ordering::Relaxed);
    assert!(cookies > u64::from(REQUESTS / 4), "of {sent} requests only {cookies} were answered with a cookie");
    let most = memory(&mut lab.gateway, "VmHWM:");
    println!("{sent} requests, {cookies} cookies, {before} KiB before and at most {most} KiB");
    assert!(most < before + MEMORY, "{before} KiB before the flood, and up to {most} KiB in it");
    assert_eq!(state(&lab.gateway, "peer"), "established", "after the flood");
}
