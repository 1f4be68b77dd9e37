//! scapy's IKEv2 layer as an independent decoder and encoder of the same messages.

use std::io::Write;
use std::process::{Command, Stdio};

use ipsec_gateway::wire::ike::{
    AuthMethod, Authentication, Delete, ExchangeType, Flags, Header, Identification, IkeSpi, KeyExchange,
    KeyExchangeId, Notify, NotifyType, Payload, Proposal, ProtocolId, TrafficSelector, Transform, TransformType,
    encode_message, parse_message,
};

use crate::missing::skipped;

const PYTHON: &str = "/usr/bin/python3";

/// Whether scapy's IKEv2 layer is there; skips the test when it is not.
fn scapy_is_missing() -> bool {
    let found = Command::new(PYTHON).args(["-c", "import scapy.contrib.ikev2"]).stderr(Stdio::null()).status();
    let missing = !found.is_ok_and(|status| status.success());
    if missing {
        skipped(format_args!("scapy.contrib.ikev2 for {PYTHON} (Debian: python3-scapy)"));
    }
    missing
}

/// What scapy makes of each message, and the message that it has written.
fn ask_scapy(messages: &[Vec<u8>]) -> (Vec<String>, Vec<u8>) {
    let mut scapy = Command::new(PYTHON)
        .arg(concat!(env!("CARGO_MANIFEST_DIR"), "/tests/model/ike_messages.py"))
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .expect("python");
    let mut input = scapy.stdin.take().expect("a pipe");
    for message in messages {
        writeln!(input, "{}", hex::encode(message)).expect("python reads");
    }
    drop(input);
    let output = scapy.wait_with_output().expect("python ends");
    assert!(output.status.success(), "scapy failed");
    let text = String::from_utf8(output.stdout).expect("text");
    let mut lines: Vec<_> = text.lines().map(str::to_owned).collect();
    let written = hex::decode(lines.pop().expect("a last line")).expect("hexadecimal");
    (lines, written)
}

fn proposal(protocol: ProtocolId, spi: Vec<u8>) -> Proposal {
    Proposal {
        number: 1,
        protocol,
        spi,
        transforms: vec![
            Transform::new(TransformType::ENCRYPTION, 20, Some(256)),
            Transform::new(TransformType::PSEUDORANDOM_FUNCTION, 5, None),
            Transform::new(TransformType::KEY_EXCHANGE, 31, None),
        ],
    }
}

fn init() -> Vec<Payload> {
    vec![
        Payload::SecurityAssociation(vec![proposal(ProtocolId::IKE, Vec::new())]),
        Payload::KeyExchange(KeyExchange { group: KeyExchangeId::CURVE_25519, data: vec![9; 32] }),
        Payload::Nonce(vec![7; 32]),
        Payload::Notify(Notify::new(NotifyType::NAT_DETECTION_SOURCE_IP, vec![1; 20])),
        Payload::Notify(Notify::new(NotifyType::NAT_DETECTION_DESTINATION_IP, vec![2; 20])),
        Payload::VendorId(b"somebody".to_vec()),
    ]
}

fn authentication() -> Vec<Payload> {
    vec![
        Payload::IdentificationInitiator(Identification::Fqdn("gw.example".into())),
        Payload::IdentificationResponder(Identification::Ipv4("192.0.2.2".parse().unwrap())),
        Payload::Authentication(Authentication { method: AuthMethod::SHARED_KEY, data: vec![3; 32] }),
        Payload::SecurityAssociation(vec![proposal(ProtocolId::ESP, vec![1, 2, 3, 4])]),
        Payload::TrafficSelectorsInitiator(vec![TrafficSelector::from_net("10.1.0.0/16".parse().unwrap())]),
        Payload::TrafficSelectorsResponder(vec![TrafficSelector::from_net("0.0.0.0/0".parse().unwrap())]),
    ]
}

#[test]
fn scapy_reads_what_is_written_and_writes_what_is_read() {
    if scapy_is_missing() {
        return;
    }
    let cases = [
        (ExchangeType::IKE_SA_INIT, init(), "34 0 SA KE Nonce Notify(16388) Notify(16389) VendorID"),
        (ExchangeType::IKE_AUTH, authentication(), "35 1 IDi IDr AUTH SA TSi TSr"),
        (ExchangeType::INFORMATIONAL, vec![Payload::Delete(Delete::esp([0x100, 0x200]))], "37 2 Delete"),
        (
            ExchangeType::CREATE_CHILD_SA,
            vec![Payload::Notify(Notify::about_esp(NotifyType::REKEY_SA, 0x1234, Vec::new()))],
            "36 3 Notify(16393)",
        ),
    ];
    let headers: Vec<_> = (0..)
        .zip(&cases)
        .map(|(message_id, (exchange, ..))| {
            let flags = Flags { initiator: true, ..Flags::default() };
            Header::new(IkeSpi([5; 8]), IkeSpi::ZERO, *exchange, flags, message_id)
        })
        .collect();
    let messages: Vec<_> = headers
        .iter()
        .zip(&cases)
        .map(|(header, (_, payloads, _))| encode_message(header, payloads).expect("short payloads"))
        .collect();

    let (summaries, written) = ask_scapy(&messages);
    assert_eq!(summaries.len(), cases.len());
    for (summary, (.., expected)) in summaries.iter().zip(&cases) {
        assert_eq!(*summary, format!("0505050505050505 {expected}"));
    }
    let read = parse_message(&written).expect("scapy's message");
    assert_eq!(read.header.initiator_spi, IkeSpi([5; 8]));
    assert_eq!(read.payloads, init()[..4]);
}
