//! The ICMP messages that a tunnel sends itself: "too big" of IPv4 (RFC 792, RFC 1191) and of IPv6 (RFC 4443).

use super::checksum::Checksum;
use super::ip::{self, IPV4_HEADER_LEN, IPV6_HEADER_LEN, IpHeader, protocol};
use std::net::{Ipv4Addr, Ipv6Addr};

const HEADER_LEN: usize = 8;
const V4_UNREACHABLE: u8 = 3;
const V4_FRAGMENTATION_NEEDED: u8 = 4;
const V6_PACKET_TOO_BIG: u8 = 2;
/// An ICMP error quotes as much as fits these (RFC 1812 section 4.3.2.3, RFC 4443 section 2.4).
const V4_MAX_LEN: usize = 576;
const V6_MAX_LEN: usize = 1280;
/// The largest message built here.
pub const MAX_TOO_BIG: usize = V6_MAX_LEN;

/// Whether a packet is an ICMP error, about which no other error may be sent (RFC 1122 section 3.2.2, RFC 4443 section 2.4).
pub fn is_error(header: &IpHeader, packet: &[u8]) -> bool {
    let kind = packet.get(header.transport).copied();
    match header.flow.protocol {
        // Echo, router discovery, timestamp, information and mask messages and their replies are the queries.
        protocol::ICMP => !matches!(kind, Some(0 | 8..=10 | 13..=18)),
        protocol::ICMPV6 => kind.is_none_or(|kind| kind < 128),
        _ => false,
    }
}

/// "Fragmentation needed and DF set" about `original`, written into `out`. Returns its length.
pub fn fragmentation_needed(
    source: Ipv4Addr,
    destination: Ipv4Addr,
    mtu: u16,
    original: &[u8],
    out: &mut [u8; MAX_TOO_BIG],
) -> usize {
    let quoted = original.len().min(V4_MAX_LEN - IPV4_HEADER_LEN - HEADER_LEN);
    let total = IPV4_HEADER_LEN + HEADER_LEN + quoted;
    let (header, rest) = out.split_at_mut(IPV4_HEADER_LEN);
    header.copy_from_slice(&ip::ipv4_header(source, destination, protocol::ICMP, total as u16));
    let message = &mut rest[..HEADER_LEN + quoted];
    message[..HEADER_LEN].copy_from_slice(&[V4_UNREACHABLE, V4_FRAGMENTATION_NEEDED, 0, 0, 0, 0, 0, 0]);
    message[6..HEADER_LEN].copy_from_slice(&mtu.to_be_bytes());
    message[HEADER_LEN..].copy_from_slice(&original[..quoted]);
    let checksum = Checksum::default().add_bytes(message).finish();
    message[2..4].copy_from_slice(&checksum.to_be_bytes());
    total
}

/// "Packet too big" about `original`, written into `out`. Returns its length.
pub fn packet_too_big(
    source: Ipv6Addr,
    destination: Ipv6Addr,
    mtu: u32,
    original: &[u8],
    out: &mut [u8; MAX_TOO_BIG],
) -> usize {
    let quoted = original.len().min(V6_MAX_LEN - IPV6_HEADER_LEN - HEADER_LEN);
    let length = HEADER_LEN + quoted;
    let (header, rest) = out.split_at_mut(IPV6_HEADER_LEN);
    header.copy_from_slice(&ip::ipv6_header(source, destination, protocol::ICMPV6, length as u16));
    let message = &mut rest[..length];
    message[..4].copy_from_slice(&[V6_PACKET_TOO_BIG, 0, 0, 0]);
    message[4..HEADER_LEN].copy_from_slice(&mtu.to_be_bytes());
    message[HEADER_LEN..].copy_from_slice(&original[..quoted]);
    let checksum = Checksum::default()
        .add_pseudo_header(source.into(), destination.into(), protocol::ICMPV6, length as u32)
        .add_bytes(message)
        .finish();
    message[2..4].copy_from_slice(&checksum.to_be_bytes());
    IPV6_HEADER_LEN + length
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn fragmentation_needed_quotes_the_packet_and_checks_out() {
        let original = ip::ipv4_header([10, 0, 0, 1].into(), [10, 9, 0, 1].into(), protocol::UDP, 1500);
        let original = [&original[..], &[7; 1480]].concat();
        let mut out = [0; MAX_TOO_BIG];
        let len = fragmentation_needed([192, 0, 2, 1].into(), [10, 0, 0, 1].into(), 1438, &original, &mut out);
        let header = IpHeader::parse(&out[..len]).unwrap();
        assert_eq!((header.total_len, header.flow.protocol), (576, protocol::ICMP));
        assert_eq!(Checksum::default().add_bytes(&out[..20]).finish(), 0);
        assert_eq!(Checksum::default().add_bytes(&out[20..len]).finish(), 0);
        assert_eq!(out[20..28][6..], 1438u16.to_be_bytes());
        assert_eq!(out[28..len], original[..len - 28]);
        assert!(is_error(&header, &out[..len]));
    }

    #[test]
    fn packet_too_big_quotes_the_packet_and_checks_out() {
        let (source, host) = ("2001:db8::1".parse().unwrap(), "2001:db8::7".parse().unwrap());
        let original = [&ip::ipv6_header(host, source, protocol::TCP, 1460)[..], &[9; 1460]].concat();
        let mut out = [0; MAX_TOO_BIG];
        let len = packet_too_big(source, host, 1400, &original, &mut out);
        let header = IpHeader::parse(&out[..len]).unwrap();
        assert_eq!((len, header.flow.protocol), (V6_MAX_LEN, protocol::ICMPV6));
        let sum = Checksum::default()
            .add_pseudo_header(source.into(), host.into(), protocol::ICMPV6, (len - 40) as u32)
            .add_bytes(&out[40..len]);
        assert_eq!(sum.finish(), 0);
        assert_eq!(out[44..48], 1400u32.to_be_bytes());
        assert!(is_error(&header, &out[..len]));
    }

    #[test]
    fn queries_are_no_errors() {
        let echo = [&ip::ipv4_header([1; 4].into(), [2; 4].into(), protocol::ICMP, 28)[..], &[8, 0, 0, 0, 0, 0, 0, 0]]
            .concat();
        assert!(!is_error(&IpHeader::parse(&echo).unwrap(), &echo));
        let echo =
            [&ip::ipv6_header([1; 16].into(), [2; 16].into(), protocol::ICMPV6, 4)[..], &[128, 0, 0, 0]].concat();
        assert!(!is_error(&IpHeader::parse(&echo).unwrap(), &echo));
    }
}
