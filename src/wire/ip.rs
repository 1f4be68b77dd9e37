//! IPv4 (RFC 791) and IPv6 (RFC 8200) packets as they travel inside a tunnel.

use super::checksum::{self, Checksum};
use super::field::word;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::ops::Range;

/// Protocol numbers of the IANA registry that the packet path knows by name.
pub mod protocol {
    /// IPv6 hop-by-hop options.
    pub const HOP_BY_HOP: u8 = 0;
    /// ICMP.
    pub const ICMP: u8 = 1;
    /// IGMP.
    pub const IGMP: u8 = 2;
    /// IPv4 in a tunnel.
    pub const IPV4: u8 = 4;
    /// TCP.
    pub const TCP: u8 = 6;
    /// UDP.
    pub const UDP: u8 = 17;
    /// IPv6 in a tunnel.
    pub const IPV6: u8 = 41;
    /// IPv6 routing header.
    pub const ROUTING: u8 = 43;
    /// IPv6 fragment header.
    pub const FRAGMENT: u8 = 44;
    /// ESP.
    pub const ESP: u8 = 50;
    /// AH, which in IPv6 may stand between the extension headers.
    pub const AUTHENTICATION: u8 = 51;
    /// ICMPv6.
    pub const ICMPV6: u8 = 58;
    /// No next header: in ESP, a dummy packet (RFC 4303 section 2.6).
    pub const NO_NEXT_HEADER: u8 = 59;
    /// IPv6 destination options.
    pub const DESTINATION_OPTIONS: u8 = 60;
    /// DCCP.
    pub const DCCP: u8 = 33;
    /// SCTP.
    pub const SCTP: u8 = 132;
    /// UDP-Lite.
    pub const UDP_LITE: u8 = 136;
}

/// Bytes of an IPv4 header without options.
pub const IPV4_HEADER_LEN: usize = 20;
/// Bytes of the fixed IPv6 header.
pub const IPV6_HEADER_LEN: usize = 40;
/// The extension headers that a packet may stack up; more is an attack, not a packet.
const MAX_EXTENSION_HEADERS: usize = 16;

/// Where the fields of an IPv4 header stand.
pub mod ipv4_field {
    use super::Range;
    /// DSCP and ECN.
    pub const TRAFFIC_CLASS: usize = 1;
    /// Header and payload.
    pub const TOTAL_LENGTH: Range<usize> = 2..4;
    /// Identification, which the fragments of a packet share.
    pub const IDENTIFICATION: Range<usize> = 4..6;
    /// Flags and offset.
    pub const FRAGMENT: Range<usize> = 6..8;
    /// The next protocol.
    pub const PROTOCOL: usize = 9;
    /// Of the header.
    pub const CHECKSUM: Range<usize> = 10..12;
    /// Source address.
    pub const SOURCE: Range<usize> = 12..16;
    /// Destination address.
    pub const DESTINATION: Range<usize> = 16..20;
}

/// Where the fields of an IPv6 header stand.
pub mod ipv6_field {
    use super::Range;
    /// What follows the fixed header.
    pub const PAYLOAD_LENGTH: Range<usize> = 4..6;
    /// The next header.
    pub const NEXT_HEADER: usize = 6;
    /// Source address.
    pub const SOURCE: Range<usize> = 8..24;
    /// Destination address.
    pub const DESTINATION: Range<usize> = 24..40;
}

/// Bytes are not a well-formed IP packet.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum MalformedIp {
    /// The version is neither 4 nor 6, or there is no byte at all.
    #[error("neither IPv4 nor IPv6")]
    Version,
    /// The bytes end before the header or the length that it states.
    #[error("truncated packet")]
    Truncated,
    /// A length field contradicts itself.
    #[error("impossible header length")]
    HeaderLength,
    /// More extension headers than any packet needs.
    #[error("too many IPv6 extension headers")]
    ExtensionHeaders,
}

/// Which part of a fragmented packet this is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum FragmentPart {
    /// The packet is whole.
    Whole,
    /// The first fragment, which holds the transport header.
    First,
    /// A later one, which does not.
    Later,
}

/// What traffic selectors compare beyond addresses and protocol.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Ports {
    /// Source and destination port of TCP, UDP, UDP-Lite, SCTP and DCCP.
    Known {
        /// Source port.
        source: u16,
        /// Destination port.
        destination: u16,
    },
    /// Type (high byte) and code (low byte) of ICMP and ICMPv6 (RFC 7296 section 3.13.1).
    TypeAndCode(u16),
    /// The protocol has ports, but this packet does not show them: a later fragment, or a truncated header.
    Opaque,
    /// The protocol has none.
    None,
}

/// What a policy looks up.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Flow {
    /// Source address.
    pub source: IpAddr,
    /// Destination address.
    pub destination: IpAddr,
    /// The next layer protocol, after IPv6 extension headers.
    pub protocol: u8,
    /// Ports, or type and code.
    pub ports: Ports,
}

/// What the packet path needs of an IP header, after every length was checked against the bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct IpHeader {
    /// Addresses, protocol and ports.
    pub flow: Flow,
    /// The TOS byte or traffic class: DSCP above ECN.
    pub traffic_class: u8,
    /// IPv4's DF bit; true for IPv6, which no router fragments.
    pub dont_fragment: bool,
    /// Which fragment this is.
    pub part: FragmentPart,
    /// Bytes of the packet as its header states them: trailing bytes beyond are not part of it.
    pub total_len: usize,
    /// Where the transport header starts, at most `total_len`.
    pub transport: usize,
}

impl IpHeader {
    /// Reads the header of a packet.
    ///
    /// # Errors
    /// When the bytes are not one whole IPv4 or IPv6 packet. Bytes after it are tolerated (TFC padding, RFC 4303 section 2.7).
    pub fn parse(packet: &[u8]) -> Result<Self, MalformedIp> {
        match packet.first().map(|first| first >> 4) {
            Some(4) => parse_ipv4(packet),
            Some(6) => parse_ipv6(packet),
            _ => Err(MalformedIp::Version),
        }
    }

    /// Whether the packet is IPv4.
    pub fn is_ipv4(&self) -> bool {
        self.flow.source.is_ipv4()
    }
}

fn octets<const N: usize>(bytes: &[u8], at: Range<usize>) -> Result<[u8; N], MalformedIp> {
    bytes.get(at).and_then(|slice| slice.try_into().ok()).ok_or(MalformedIp::Truncated)
}

fn parse_ipv4(packet: &[u8]) -> Result<IpHeader, MalformedIp> {
    let header: &[u8; IPV4_HEADER_LEN] = packet.first_chunk().ok_or(MalformedIp::Truncated)?;
    let header_len = usize::from(header[0] & 0x0f) * 4;
    let total_len = usize::from(word(header, ipv4_field::TOTAL_LENGTH));
    if header_len < IPV4_HEADER_LEN || total_len < header_len {
        return Err(MalformedIp::HeaderLength);
    }
    let packet = packet.get(..total_len).ok_or(MalformedIp::Truncated)?;
    let fragment = word(header, ipv4_field::FRAGMENT);
    let part = match (fragment & 0x1fff, fragment & 0x2000) {
        (0, 0) => FragmentPart::Whole,
        (0, _) => FragmentPart::First,
        _ => FragmentPart::Later,
    };
    let protocol = header[ipv4_field::PROTOCOL];
    Ok(IpHeader {
        flow: Flow {
            source: IpAddr::V4(Ipv4Addr::from(octets::<4>(header, ipv4_field::SOURCE)?)),
            destination: IpAddr::V4(Ipv4Addr::from(octets::<4>(header, ipv4_field::DESTINATION)?)),
            protocol,
            ports: ports(protocol, part, packet.get(header_len..).unwrap_or_default()),
        },
        traffic_class: header[ipv4_field::TRAFFIC_CLASS],
        dont_fragment: fragment & 0x4000 != 0,
        part,
        total_len,
        transport: header_len,
    })
}

fn parse_ipv6(packet: &[u8]) -> Result<IpHeader, MalformedIp> {
    let header: &[u8; IPV6_HEADER_LEN] = packet.first_chunk().ok_or(MalformedIp::Truncated)?;
    let total_len = IPV6_HEADER_LEN + usize::from(word(header, ipv6_field::PAYLOAD_LENGTH));
    let packet = packet.get(..total_len).ok_or(MalformedIp::Truncated)?;
    let upper = skip_extension_headers(packet, header[ipv6_field::NEXT_HEADER])?;
    Ok(IpHeader {
        flow: Flow {
            source: IpAddr::V6(Ipv6Addr::from(octets::<16>(header, ipv6_field::SOURCE)?)),
            destination: IpAddr::V6(Ipv6Addr::from(octets::<16>(header, ipv6_field::DESTINATION)?)),
            protocol: upper.protocol,
            ports: ports(upper.protocol, upper.part, packet.get(upper.offset..).unwrap_or_default()),
        },
        traffic_class: header[0] << 4 | header[1] >> 4,
        dont_fragment: true,
        part: upper.part,
        total_len,
        transport: upper.offset,
    })
}

struct UpperLayer {
    protocol: u8,
    offset: usize,
    part: FragmentPart,
}

/// Walks the extension headers of RFC 8200 section 4 (and AH) to the next layer protocol. Behind a later fragment's
/// header is no further header to walk.
fn skip_extension_headers(packet: &[u8], first: u8) -> Result<UpperLayer, MalformedIp> {
    let mut upper = UpperLayer { protocol: first, offset: IPV6_HEADER_LEN, part: FragmentPart::Whole };
    for _ in 0..MAX_EXTENSION_HEADERS {
        let here = packet.get(upper.offset..).unwrap_or_default();
        let length = match upper.protocol {
            protocol::HOP_BY_HOP | protocol::ROUTING | protocol::DESTINATION_OPTIONS => {
                here.get(1).map(|units| (usize::from(*units) + 1) * 8)
            }
            protocol::AUTHENTICATION => here.get(1).map(|units| (usize::from(*units) + 2) * 4),
            protocol::FRAGMENT => Some(8),
            _ => return Ok(upper),
        };
        let length = length.filter(|length| *length <= here.len()).ok_or(MalformedIp::Truncated)?;
        if upper.protocol == protocol::FRAGMENT {
            upper.part = match (word(here, 2..4) >> 3, word(here, 2..4) & 1) {
                (0, 0) => FragmentPart::Whole,
                (0, _) => FragmentPart::First,
                _ => FragmentPart::Later,
            };
        }
        upper.protocol = here.first().copied().ok_or(MalformedIp::Truncated)?;
        upper.offset += length;
        if upper.part == FragmentPart::Later {
            return Ok(upper);
        }
    }
    Err(MalformedIp::ExtensionHeaders)
}

fn ports(protocol: u8, part: FragmentPart, transport: &[u8]) -> Ports {
    let known = |protocol_has_ports: bool| match transport.first_chunk::<4>() {
        Some(_) if part == FragmentPart::Later => Ports::Opaque,
        Some(&[a, b, c, d]) if protocol_has_ports => {
            Ports::Known { source: u16::from_be_bytes([a, b]), destination: u16::from_be_bytes([c, d]) }
        }
        Some(&[kind, code, ..]) => Ports::TypeAndCode(u16::from_be_bytes([kind, code])),
        None => Ports::Opaque,
    };
    match protocol {
        protocol::TCP | protocol::UDP | protocol::UDP_LITE | protocol::SCTP | protocol::DCCP => known(true),
        protocol::ICMP | protocol::ICMPV6 => known(false),
        _ if part == FragmentPart::Later => Ports::Opaque,
        _ => Ports::None,
    }
}

/// Writes the TOS byte or traffic class of a packet and, for IPv4, brings its header checksum up to date.
/// Bytes that are no IP packet stay as they are.
pub fn set_traffic_class(packet: &mut [u8], traffic_class: u8) {
    match packet.first().map(|first| first >> 4) {
        Some(4) => {
            let Some(header) = packet.first_chunk_mut::<IPV4_HEADER_LEN>() else { return };
            let old = u16::from_be_bytes([header[0], header[1]]);
            header[ipv4_field::TRAFFIC_CLASS] = traffic_class;
            let new = u16::from_be_bytes([header[0], header[1]]);
            let field = checksum::update(word(header, ipv4_field::CHECKSUM), old, new);
            header[ipv4_field::CHECKSUM].copy_from_slice(&field.to_be_bytes());
        }
        Some(6) => {
            let Some(header) = packet.first_chunk_mut::<IPV6_HEADER_LEN>() else { return };
            header[0] = header[0] & 0xf0 | traffic_class >> 4;
            header[1] = header[1] & 0x0f | traffic_class << 4;
        }
        _ => {}
    }
}

/// Writes length, fragment field and a fresh checksum into an IPv4 header of `header_len` bytes, which fragments share.
pub fn set_ipv4_fragment(header: &mut [u8], total_len: u16, offset_units: u16, more: bool) {
    if header.len() < IPV4_HEADER_LEN {
        return;
    }
    let field = offset_units & 0x1fff | if more { 0x2000 } else { 0 };
    header[ipv4_field::TOTAL_LENGTH].copy_from_slice(&total_len.to_be_bytes());
    header[ipv4_field::FRAGMENT].copy_from_slice(&field.to_be_bytes());
    header[ipv4_field::CHECKSUM].copy_from_slice(&[0, 0]);
    let checksum = Checksum::default().add_bytes(header).finish();
    header[ipv4_field::CHECKSUM].copy_from_slice(&checksum.to_be_bytes());
}

/// A fresh IPv4 header without options: DF set, TTL 64.
pub fn ipv4_header(source: Ipv4Addr, destination: Ipv4Addr, protocol: u8, total_len: u16) -> [u8; IPV4_HEADER_LEN] {
    let mut header = [0; IPV4_HEADER_LEN];
    header[0] = 0x45;
    header[ipv4_field::TOTAL_LENGTH].copy_from_slice(&total_len.to_be_bytes());
    header[ipv4_field::FRAGMENT].copy_from_slice(&0x4000u16.to_be_bytes());
    header[8] = 64;
    header[ipv4_field::PROTOCOL] = protocol;
    header[ipv4_field::SOURCE].copy_from_slice(&source.octets());
    header[ipv4_field::DESTINATION].copy_from_slice(&destination.octets());
    let checksum = Checksum::default().add_bytes(&header).finish();
    header[ipv4_field::CHECKSUM].copy_from_slice(&checksum.to_be_bytes());
    header
}

/// A fresh IPv6 header: hop limit 64.
pub fn ipv6_header(source: Ipv6Addr, destination: Ipv6Addr, next: u8, payload_len: u16) -> [u8; IPV6_HEADER_LEN] {
    let mut header = [0; IPV6_HEADER_LEN];
    header[0] = 0x60;
    header[ipv6_field::PAYLOAD_LENGTH].copy_from_slice(&payload_len.to_be_bytes());
    header[ipv6_field::NEXT_HEADER] = next;
    header[7] = 64;
    header[ipv6_field::SOURCE].copy_from_slice(&source.octets());
    header[ipv6_field::DESTINATION].copy_from_slice(&destination.octets());
    header
}

#[cfg(test)]
mod tests;
