//! Inner packets for tests.

use ipsec_gateway::wire::checksum::Checksum;
use ipsec_gateway::wire::ip::{self, protocol};
use std::net::IpAddr;

/// A packet of any protocol between two addresses of one family. IPv4 has DF set.
pub fn packet(source: &str, destination: &str, protocol: u8, payload: &[u8]) -> Vec<u8> {
    let length = payload.len() as u16;
    match (source.parse().unwrap(), destination.parse().unwrap()) {
        (IpAddr::V4(source), IpAddr::V4(destination)) => {
            [&ip::ipv4_header(source, destination, protocol, length + 20)[..], payload].concat()
        }
        (IpAddr::V6(source), IpAddr::V6(destination)) => {
            [&ip::ipv6_header(source, destination, protocol, length)[..], payload].concat()
        }
        _ => panic!("two families"),
    }
}

/// A UDP datagram with `len` bytes of payload that `fill` tells apart.
pub fn udp(source: &str, destination: &str, len: usize, fill: u32) -> Vec<u8> {
    let mut payload = vec![0x13, 0x88, 0x00, 0x35];
    payload.extend((len as u16 + 8).to_be_bytes());
    payload.extend([0, 0]);
    payload.extend(fill.to_be_bytes().into_iter().cycle().take(len));
    packet(source, destination, protocol::UDP, &payload)
}

/// Clears DF.
pub fn fragmentable(mut packet: Vec<u8>) -> Vec<u8> {
    let total = packet.len() as u16;
    ip::set_ipv4_fragment(&mut packet[..20], total, 0, false);
    packet
}

/// A SYN that announces a maximum segment size, with a right checksum.
pub fn syn(source: &str, destination: &str, mss: u16) -> Vec<u8> {
    let mut segment = vec![0x13, 0x88, 0, 80, 0, 0, 0, 1, 0, 0, 0, 0, 0x60, 0x02, 0xff, 0xff, 0, 0, 0, 0, 2, 4];
    segment.extend(mss.to_be_bytes());
    let (from, to) = (source.parse().unwrap(), destination.parse().unwrap());
    let sum = Checksum::default().add_pseudo_header(from, to, protocol::TCP, 24).add_bytes(&segment).finish();
    segment[16..18].copy_from_slice(&sum.to_be_bytes());
    packet(source, destination, protocol::TCP, &segment)
}
