//! What fuzzing calls: every decoder that reads bytes or text from outside, with what must hold of its results.
//!
//! `cargo +nightly fuzz run ike_message fuzz/corpus/ike_message fuzz/seeds/ike_message` explores one of them;
//! `tests/fuzz_smoke.rs` calls all of them on stable Rust with the seeds and with mutations of the seeds.

mod ike_endpoint;
mod inbound_loop;

use std::path::Path;

use ipsec_gateway::cen::openapi::rpc::Parameters;
use ipsec_gateway::crypto::{OpeningKey, SealingKey, Suite, encryption, fake, integ};
use ipsec_gateway::daemon::config::Config;
use ipsec_gateway::esp::{InboundSa, Limits, Overhead};
use ipsec_gateway::wire::esp::EspHeader;
use ipsec_gateway::wire::ike::{
    Identification, PayloadType, encode_message, encode_payloads, parse_message, parse_payloads, strip_padding,
};
use ipsec_gateway::wire::ip::IpHeader;
use ipsec_gateway::wire::{icmp, natt, tcp};

pub use ike_endpoint::ike_endpoint;
pub use inbound_loop::dataplane_inbound;

/// What fuzzing calls. The answer tells whether the input was understood, so that seeds can be held to it.
pub type EntryPoint = fn(&[u8]) -> bool;

/// Every entry point by the name of its target and of its folder of seeds.
pub const ALL: &[(&str, EntryPoint)] = &[
    ("ike_message", ike_message),
    ("ike_payloads", ike_payloads),
    ("ip_packet", ip_packet),
    ("nat_traversal", nat_traversal),
    ("esp_open", esp_open),
    ("esp_contents", esp_contents),
    ("dataplane_inbound", dataplane_inbound),
    ("ike_endpoint", ike_endpoint),
    ("identification", identification),
    ("api_parameters", api_parameters),
    ("gatewayd_config", gatewayd_config),
];

const SPI: u32 = 0x0102_0304;

/// A datagram on port 500. What is read of it survives being written and read again; an Encrypted payload that nobody
/// sealed opens under no suite.
pub fn ike_message(data: &[u8]) -> bool {
    let Ok(parsed) = parse_message(data) else { return false };
    assert_eq!(parsed.bytes, data);
    let Some(encrypted) = parsed.encrypted else {
        let again = encode_message(&parsed.header, &parsed.payloads).expect("no longer than what was read");
        assert_eq!(parse_message(&again).expect("what was written").payloads, parsed.payloads);
        return true;
    };
    for (suite, opening) in opening_keys() {
        let mut message = data.to_vec();
        let Some(parts) = encrypted.split(&mut message, suite.iv_len(), suite.icv_len()) else { continue };
        assert!(opening.open(parts.before, parts.iv, parts.body, &[], parts.icv).is_err(), "{suite:?} was forged");
    }
    true
}

/// The decrypted inside of an Encrypted payload, behind a byte with the type of its first payload.
pub fn ike_payloads(data: &[u8]) -> bool {
    let Some((&first, plaintext)) = data.split_first() else { return false };
    let Ok(bytes) = strip_padding(plaintext) else { return false };
    let Ok(payloads) = parse_payloads(PayloadType(first), bytes) else { return false };
    let (first, again) = encode_payloads(&payloads).expect("no longer than what was read");
    assert_eq!(parse_payloads(first, &again), Ok(payloads));
    true
}

/// An inner packet, from the TUN or out of ESP, and everything that is done to one.
pub fn ip_packet(data: &[u8]) -> bool {
    let Ok(header) = IpHeader::parse(data) else { return false };
    assert!(header.transport <= header.total_len && header.total_len <= data.len());
    let mut packet = data[..header.total_len].to_vec();
    icmp::is_error(&header, &packet);
    let segment = &mut packet[header.transport..];
    let announced = tcp::mss(segment);
    if tcp::is_syn(segment) && tcp::clamp_mss(segment, 1300) {
        assert!(announced.is_some_and(|announced| announced > 1300));
        assert_eq!(tcp::mss(segment), Some(1300));
    }
    let mut out = [0; icmp::MAX_TOO_BIG];
    let len = match (header.flow.source, header.flow.destination) {
        (std::net::IpAddr::V4(source), std::net::IpAddr::V4(destination)) => {
            icmp::fragmentation_needed(destination, source, 1400, data, &mut out)
        }
        (std::net::IpAddr::V6(source), std::net::IpAddr::V6(destination)) => {
            icmp::packet_too_big(destination, source, 1400, data, &mut out)
        }
        _ => panic!("addresses of two families in one header"),
    };
    let answer = IpHeader::parse(&out[..len]).expect("our own packet");
    assert!(icmp::is_error(&answer, &out[..len]), "an error about an error would loop");
    true
}

/// A datagram on port 4500.
pub fn nat_traversal(data: &[u8]) -> bool {
    match natt::classify(data) {
        natt::Kind::Ike => ike_message(&data[natt::NON_ESP_MARKER.len()..]),
        natt::Kind::Esp => esp_open(data),
        natt::Kind::Keepalive => data == natt::KEEPALIVE,
        natt::Kind::Malformed => {
            assert!(data.len() <= 4);
            false
        }
    }
}

/// A forged ESP packet, under every suite: never opened, never counted.
pub fn esp_open(data: &[u8]) -> bool {
    for suite in suites() {
        let (encryption_key, integrity_key) = keys(suite);
        for extended in [false, true] {
            let limits = Limits::UNLIMITED;
            let mut sa = InboundSa::new(SPI, suite, &encryption_key, &integrity_key, extended, 64, limits)
                .expect("keys of the right lengths");
            assert!(sa.open(&mut data.to_vec()).is_err(), "{suite:?} was forged");
            assert_eq!((sa.packets(), sa.highest_sequence()), (0, 0));
        }
    }
    EspHeader::parse(data).is_some()
}

/// Authentic ESP packets of a hostile peer: records of a length, a sequence number and a body.
pub fn esp_contents(mut data: &[u8]) -> bool {
    let (suite, overhead) = (fake::SUITE, Overhead::of(fake::SUITE));
    let (encryption_key, _) = keys(suite);
    let sealing = SealingKey::new(suite, &encryption_key, &[]).expect("keys of the right lengths");
    let mut sa = InboundSa::new(SPI, suite, &encryption_key, &[], false, 64, Limits::UNLIMITED)
        .expect("keys of the right lengths");
    let mut accepted = std::collections::BTreeSet::new();
    while let Some(([len, sequence], rest)) = data.split_first_chunk() {
        let (body, rest) = rest.split_at(usize::from(*len).min(rest.len()));
        data = rest;
        let before = sa.highest_sequence();
        let mut packet = [&SPI.to_be_bytes()[..], &u32::from(*sequence).to_be_bytes()].concat();
        packet.resize(overhead.header_len(), 9);
        packet.extend(body);
        packet.resize(packet.len() + overhead.icv_len(), 0);
        let (header, rest) = packet.split_at_mut(8);
        let (iv, rest) = rest.split_at_mut(overhead.iv_len());
        let (body, icv) = rest.split_at_mut(body.len());
        sealing.seal(header, iv, body, &[], icv);
        if let Ok(opened) = sa.open(&mut packet) {
            assert!(accepted.insert(*sequence), "sequence number {sequence} came in twice");
            assert_eq!(opened.newest, u64::from(*sequence) > before);
            ip_packet(opened.packet);
        }
    }
    !accepted.is_empty()
}

/// The text of an identity. What is read survives being shown and read again.
pub fn identification(data: &[u8]) -> bool {
    let Ok(text) = std::str::from_utf8(data) else { return false };
    let Ok(identification) = text.parse::<Identification>() else { return false };
    assert_eq!(identification.to_string().parse().as_ref(), Ok(&identification));
    assert_eq!(Identification::from_wire(identification.id_type(), &identification.data()), identification);
    true
}

/// The parameters of a call of the cloud's API.
pub fn api_parameters(data: &[u8]) -> bool {
    Parameters::parse(data).is_ok_and(|parameters| !format!("{parameters:?}").is_empty())
}

/// The text of gatewayd.toml: proposals, selectors, identities.
pub fn gatewayd_config(data: &[u8]) -> bool {
    let Ok(text) = std::str::from_utf8(data) else { return false };
    match Config::parse(text, Path::new("/nonexistent/gatewayd.toml")) {
        Ok(_) => true,
        Err(error) => {
            assert!(!error.to_string().is_empty());
            false
        }
    }
}

/// Every suite of the tables.
fn suites() -> Vec<Suite> {
    let integrities = || integ::TABLE.iter().copied().map(Some).chain([None]);
    let pairs = encryption::TABLE.iter().flat_map(|row| integrities().map(move |integrity| (row, integrity)));
    pairs.filter_map(|(encryption, integrity)| Suite::new(encryption, integrity)).collect()
}

/// Encryption and integrity key.
fn keys(suite: Suite) -> (Vec<u8>, Vec<u8>) {
    (vec![0x5a; suite.encryption_key_len()], vec![0xa5; suite.integrity_key_len()])
}

fn opening_keys() -> impl Iterator<Item = (Suite, OpeningKey)> {
    suites().into_iter().map(|suite| {
        let (encryption_key, integrity_key) = keys(suite);
        (suite, OpeningKey::new(suite, &encryption_key, &integrity_key).expect("keys of the right lengths"))
    })
}
