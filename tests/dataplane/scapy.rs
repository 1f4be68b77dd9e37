//! Against scapy, an independent implementation of ESP: each side opens what the other sealed.

use crate::missing::skipped;
use crate::packets::udp;
use ipsec_gateway::crypto::fake::SeededEntropy;
use ipsec_gateway::crypto::{IvSource, Suite, encryption, integ};
use ipsec_gateway::esp::{InboundSa, Limits, OutboundSa};
use ipsec_gateway::wire::ip::{self, protocol};
use serde_json::{Value, json};
use std::io::{BufRead, BufReader, Write};
use std::net::IpAddr;
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};

const SPI: u32 = 0xc0de_cafe;
const WRAP: u64 = 1 << 32;

struct Scapy {
    child: Child,
    input: ChildStdin,
    output: BufReader<ChildStdout>,
}

impl Scapy {
    /// Debian's python3 has scapy; another in the path may not.
    fn start() -> Option<Self> {
        let script = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/dataplane/scapy_esp.py");
        let python = "/usr/bin/python3";
        let works = Command::new(python).args(["-c", "import scapy.layers.ipsec, cryptography"]).output();
        if !works.is_ok_and(|output| output.status.success()) {
            return None;
        }
        let mut command = Command::new(python);
        command.arg(script).stdin(Stdio::piped()).stdout(Stdio::piped());
        let mut child = command.spawn().ok()?;
        let (input, output) = (child.stdin.take()?, BufReader::new(child.stdout.take()?));
        Some(Self { child, input, output })
    }

    fn ask(&mut self, request: &Value) -> Vec<u8> {
        writeln!(self.input, "{request}").unwrap();
        let mut line = String::new();
        self.output.read_line(&mut line).unwrap();
        let answer: Value = serde_json::from_str(&line).unwrap_or_else(|_| panic!("scapy ended at {request}"));
        let packet = answer["packet"].as_str().unwrap_or_else(|| panic!("{answer} to {request}"));
        hex::decode(packet).unwrap()
    }
}

impl Drop for Scapy {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

struct Case {
    suite: Suite,
    extended: bool,
    outer: [&'static str; 2],
    udp: bool,
}

impl Case {
    fn keys(&self) -> (Vec<u8>, Vec<u8>) {
        let fill = |length: usize, salt: u8| (0..length).map(|n| n as u8 ^ salt).collect();
        (fill(self.suite.encryption_key_len(), 0x11), fill(self.suite.integrity_key_len(), 0x22))
    }

    fn request(&self, op: &str, sequence: u64, packet: &[u8]) -> Value {
        let (encryption, integrity) = self.keys();
        json!({
            "op": op, "suite": self.suite.name(), "encryption": hex::encode(encryption),
            "integrity": hex::encode(integrity), "spi": SPI, "sequence": sequence, "extended": self.extended,
            "outer": self.outer, "udp": self.udp, "packet": hex::encode(packet),
        })
    }

    fn outbound(&self) -> OutboundSa {
        let (encryption, integrity) = self.keys();
        let ivs = IvSource::new(self.suite, &mut SeededEntropy::new(3));
        OutboundSa::new(SPI, self.suite, &encryption, &integrity, ivs, self.extended, Limits::UNLIMITED).unwrap()
    }

    fn inbound(&self) -> InboundSa {
        let (encryption, integrity) = self.keys();
        InboundSa::new(SPI, self.suite, &encryption, &integrity, self.extended, 1024, Limits::UNLIMITED).unwrap()
    }

    /// The outer packet round an ESP packet, for scapy.
    fn wrap(&self, esp: &[u8]) -> Vec<u8> {
        let mut payload = Vec::new();
        if self.udp {
            let length = (esp.len() as u16 + 8).to_be_bytes();
            payload.extend([0x11, 0x94, 0x11, 0x94, length[0], length[1], 0, 0]);
        }
        payload.extend_from_slice(esp);
        let next = if self.udp { protocol::UDP } else { protocol::ESP };
        crate::packets::packet(self.outer[0], self.outer[1], next, &payload)
    }

    /// The ESP packet in scapy's outer packet.
    fn unwrap<'a>(&self, outer: &'a mut [u8]) -> &'a mut [u8] {
        let header = ip::IpHeader::parse(outer).unwrap();
        assert_eq!(header.flow.destination, self.outer[1].parse::<IpAddr>().unwrap());
        &mut outer[header.transport + if self.udp { 8 } else { 0 }..]
    }
}

fn cases() -> Vec<Case> {
    let mut cases = Vec::new();
    let aead = encryption::TABLE.iter().filter_map(|row| Suite::new(row, None));
    let cbc = encryption::TABLE
        .iter()
        .flat_map(|row| integ::TABLE.iter().filter_map(|integrity| Suite::new(row, Some(integrity))));
    for suite in aead.chain(cbc) {
        for extended in [false, true] {
            for (outer, udp) in [
                (["192.0.2.1", "192.0.2.2"], true),
                (["192.0.2.1", "192.0.2.2"], false),
                (["2001:db8::1", "2001:db8::2"], true),
                (["2001:db8::1", "2001:db8::2"], false),
            ] {
                cases.push(Case { suite, extended, outer, udp });
            }
        }
    }
    cases
}

#[test]
fn each_opens_what_the_other_sealed() {
    let Some(mut scapy) = Scapy::start() else {
        return skipped("scapy with cryptography for /usr/bin/python3 (Debian: python3-scapy)");
    };
    for case in cases() {
        let what = format!("{:?} extended {} {:?} udp {}", case.suite, case.extended, case.outer, case.udp);
        // With extension, cross the wrap: the high half changes between the packets.
        let (start, numbers) = match case.extended {
            true => (WRAP - 2, vec![WRAP - 1, WRAP, WRAP + 1]),
            false => (0, vec![1, 2, 3]),
        };
        let (mut outbound, mut inbound) = (case.outbound().starting_after(start), case.inbound());
        for (n, sequence) in numbers.into_iter().enumerate() {
            let inner = match n % 2 {
                0 => udp("10.1.0.1", "10.2.0.1", 33 + n * 7, 5),
                _ => udp("fd00:1::1", "fd00:2::1", 34 + n * 7, 6),
            };
            let next_header = if n % 2 == 0 { protocol::IPV4 } else { protocol::IPV6 };

            let header_len = outbound.overhead().header_len();
            let mut room = vec![0; outbound.overhead().sealed_len(inner.len())];
            room[header_len..header_len + inner.len()].copy_from_slice(&inner);
            outbound.seal(&mut room, inner.len(), next_header).unwrap();
            assert_eq!(scapy.ask(&case.request("open", sequence, &case.wrap(&room))), inner, "opened by scapy: {what}");

            let mut outer = scapy.ask(&case.request("seal", sequence, &inner));
            let opened = inbound.open(case.unwrap(&mut outer)).unwrap_or_else(|error| panic!("{what}: {error}"));
            assert_eq!((&*opened.packet, opened.next_header), (&inner[..], next_header), "sealed by scapy: {what}");
        }
        assert_eq!(inbound.packets(), 3);
    }
}
