//! What a packet shows of itself to be joined with others.

use crate::wire::checksum::Checksum;
use crate::wire::field::{set_word, word};
use crate::wire::ip::{IPV4_HEADER_LEN, IPV6_HEADER_LEN, ipv4_field, ipv6_field, protocol};
use crate::wire::virtio_net::{PartialChecksum, Segmentation, VirtioNetHeader};
use crate::wire::{tcp, udp};
use std::ops::Range;

/// The IPv4 flag that forbids fragmentation.
const DONT_FRAGMENT: u16 = 0x4000;
/// The only TCP flags that a joined segment may have.
const PLAIN_FLAGS: u8 = tcp::flag::ACK | tcp::flag::PSH | tcp::flag::FIN | tcp::flag::ECE;

/// What may become of a packet.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// It may be joined with its neighbours.
    Joinable(Candidate),
    /// It belongs to a flow, but stands alone.
    Alone(Candidate),
    /// It is something else.
    Unknown,
}

/// A whole TCP segment or UDP datagram without IP options or extension headers.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Candidate {
    /// TCP, otherwise UDP.
    pub is_tcp: bool,
    is_ipv4: bool,
    transport: usize,
    /// Bytes of all headers.
    pub header_len: usize,
    /// Bytes behind them.
    pub payload_len: usize,
    /// Nothing may be joined behind it.
    pub ends: bool,
    sequence: u32,
    identification: u16,
    dont_fragment: bool,
    original: Original,
}

/// The fields that joining changes in a first packet.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Original {
    ip_length: u16,
    ip_checksum: u16,
    transport_checksum: u16,
    flags: u8,
}

impl Candidate {
    /// Looks at a packet.
    pub fn of(packet: &[u8]) -> Kind {
        let (is_ipv4, transport, protocol) = match packet.first() {
            Some(0x45) if packet.len() >= IPV4_HEADER_LEN => {
                let unfragmented = word(packet, ipv4_field::FRAGMENT) & !DONT_FRAGMENT == 0;
                let whole = usize::from(word(packet, ipv4_field::TOTAL_LENGTH)) == packet.len();
                if !unfragmented || !whole {
                    return Kind::Unknown;
                }
                (true, IPV4_HEADER_LEN, packet[ipv4_field::PROTOCOL])
            }
            Some(first) if first >> 4 == 6 && packet.len() >= IPV6_HEADER_LEN => {
                let payload_len = usize::from(word(packet, ipv6_field::PAYLOAD_LENGTH));
                if IPV6_HEADER_LEN + payload_len != packet.len() {
                    return Kind::Unknown;
                }
                (false, IPV6_HEADER_LEN, packet[ipv6_field::NEXT_HEADER])
            }
            _ => return Kind::Unknown,
        };
        let body = &packet[transport..];
        match protocol {
            protocol::TCP => Self::of_tcp(packet, is_ipv4, transport, body),
            protocol::UDP => Self::of_udp(packet, is_ipv4, transport, body),
            _ => Kind::Unknown,
        }
    }

    fn new(packet: &[u8], is_ipv4: bool, is_tcp: bool, transport: usize, header_len: usize) -> Self {
        let length = if is_ipv4 { ipv4_field::TOTAL_LENGTH } else { ipv6_field::PAYLOAD_LENGTH };
        let checksum = if is_tcp { tcp::CHECKSUM } else { udp::CHECKSUM };
        let sequence = transport + tcp::SEQUENCE.start;
        let (high, low) = (word(packet, sequence..sequence + 2), word(packet, sequence + 2..sequence + 4));
        Self {
            is_tcp,
            is_ipv4,
            transport,
            header_len,
            payload_len: packet.len() - header_len,
            ends: false,
            sequence: if is_tcp { u32::from(high) << 16 | u32::from(low) } else { 0 },
            identification: word(packet, ipv4_field::IDENTIFICATION),
            dont_fragment: word(packet, ipv4_field::FRAGMENT) & DONT_FRAGMENT != 0,
            original: Original {
                ip_length: word(packet, length),
                ip_checksum: word(packet, ipv4_field::CHECKSUM),
                transport_checksum: word(&packet[transport..], checksum),
                flags: if is_tcp { packet[transport + tcp::FLAGS] } else { 0 },
            },
        }
    }

    fn of_tcp(packet: &[u8], is_ipv4: bool, transport: usize, body: &[u8]) -> Kind {
        let Some(length) = tcp::header_len(body) else { return Kind::Unknown };
        let mut candidate = Self::new(packet, is_ipv4, true, transport, transport + length);
        let flags = candidate.original.flags;
        candidate.ends = flags & (tcp::flag::PSH | tcp::flag::FIN) != 0;
        if flags & !PLAIN_FLAGS != 0 || flags & tcp::flag::ACK == 0 || candidate.payload_len == 0 {
            return Kind::Alone(candidate);
        }
        Kind::Joinable(candidate)
    }

    fn of_udp(packet: &[u8], is_ipv4: bool, transport: usize, body: &[u8]) -> Kind {
        if body.len() < udp::HEADER_LEN {
            return Kind::Unknown;
        }
        let candidate = Self::new(packet, is_ipv4, false, transport, transport + udp::HEADER_LEN);
        let whole = usize::from(word(body, udp::LENGTH)) == body.len();
        // Without a checksum it could not be joined without getting one.
        if !whole || word(body, udp::CHECKSUM) == 0 || candidate.payload_len == 0 {
            return Kind::Alone(candidate);
        }
        Kind::Joinable(candidate)
    }

    fn addresses(&self) -> Range<usize> {
        if self.is_ipv4 {
            ipv4_field::SOURCE.start..ipv4_field::DESTINATION.end
        } else {
            ipv6_field::SOURCE.start..ipv6_field::DESTINATION.end
        }
    }

    /// Whether addresses, protocol and ports are the same.
    pub fn same_flow(&self, packet: &[u8], other: &Self, other_packet: &[u8]) -> bool {
        let ports = self.transport..self.transport + 4;
        self.is_tcp == other.is_tcp
            && self.is_ipv4 == other.is_ipv4
            && packet[ports.clone()] == other_packet[ports]
            && packet[self.addresses()] == other_packet[self.addresses()]
    }

    /// Whether the packet is the next after `segments` packets with `payload` bytes, the first of which is `first`, of
    /// the same flow: every other header field is equal.
    pub fn continues(&self, packet: &[u8], own: &Self, first: &[u8], segments: u16, payload: usize) -> bool {
        if self.header_len != own.header_len || !self.same_ip_fields(packet, own, first, segments) {
            return false;
        }
        if !self.is_tcp {
            return true;
        }
        let (ours, theirs) = (&packet[self.transport..self.header_len], &first[self.transport..self.header_len]);
        // Acknowledgment number and data offset; window; urgent pointer and options.
        let equal = ours[8..tcp::FLAGS] == theirs[8..tcp::FLAGS]
            && ours[14..16] == theirs[14..16]
            && ours[18..] == theirs[18..];
        let closing = tcp::flag::PSH | tcp::flag::FIN;
        equal
            && self.original.flags & !closing == own.original.flags & !closing
            && self.sequence == own.sequence.wrapping_add(payload as u32)
    }

    fn same_ip_fields(&self, packet: &[u8], own: &Self, first: &[u8], segments: u16) -> bool {
        if self.is_ipv4 {
            // TOS; TTL and protocol. Without DF the identification has to count as the kernel will.
            packet[ipv4_field::TRAFFIC_CLASS] == first[ipv4_field::TRAFFIC_CLASS]
                && packet[ipv4_field::FRAGMENT.end] == first[ipv4_field::FRAGMENT.end]
                && self.dont_fragment == own.dont_fragment
                && (self.dont_fragment || self.identification == own.identification.wrapping_add(segments))
        } else {
            // Version, traffic class and flow label; hop limit.
            packet[..4] == first[..4] && packet[ipv6_field::NEXT_HEADER + 1] == first[ipv6_field::NEXT_HEADER + 1]
        }
    }

    fn pseudo_header(&self, packet: &[u8], transport_len: usize) -> Checksum {
        let addresses = Checksum::default().add_bytes(&packet[self.addresses()]);
        let protocol = if self.is_tcp { protocol::TCP } else { protocol::UDP };
        addresses.add_word(u16::from(protocol)).add_word(transport_len as u16)
    }

    /// Whether the checksums of the packet are right.
    pub fn checksums_hold(&self, packet: &[u8]) -> bool {
        let ip = !self.is_ipv4 || Checksum::default().add_bytes(&packet[..IPV4_HEADER_LEN]).finish() == 0;
        let body = &packet[self.transport..];
        ip && self.pseudo_header(packet, body.len()).add_bytes(body).finish() == 0
    }

    /// The TCP flags of a packet of the same flow.
    pub fn flags_of(&self, packet: &[u8]) -> u8 {
        if self.is_tcp { packet[self.transport + tcp::FLAGS] } else { 0 }
    }

    /// Makes the headers those of a super-packet with `payload` bytes, which ends with a packet of these flags.
    pub fn join(&self, packet: &mut [u8], payload: usize, last_flags: u8) -> VirtioNetHeader {
        let transport_len = self.header_len - self.transport + payload;
        if self.is_ipv4 {
            set_word(packet, ipv4_field::TOTAL_LENGTH, (self.transport + transport_len) as u16);
            set_word(packet, ipv4_field::CHECKSUM, 0);
            let checksum = Checksum::default().add_bytes(&packet[..IPV4_HEADER_LEN]).finish();
            set_word(packet, ipv4_field::CHECKSUM, checksum);
        } else {
            set_word(packet, ipv6_field::PAYLOAD_LENGTH, transport_len as u16);
        }
        let pseudo_header = self.pseudo_header(packet, transport_len).folded();
        let body = &mut packet[self.transport..];
        let field = if self.is_tcp {
            body[tcp::FLAGS] |= last_flags;
            tcp::CHECKSUM
        } else {
            set_word(body, udp::LENGTH, transport_len as u16);
            udp::CHECKSUM
        };
        set_word(body, field.clone(), pseudo_header);
        VirtioNetHeader {
            segmentation: match (self.is_tcp, self.is_ipv4) {
                (false, _) => Segmentation::Udp,
                (true, true) => Segmentation::TcpIpv4,
                (true, false) => Segmentation::TcpIpv6,
            },
            segment: self.payload_len as u16,
            header_len: self.header_len as u16,
            checksum: Some(PartialChecksum { start: self.transport as u16, offset: field.start as u16 }),
        }
    }

    /// Undoes [`join`](Self::join).
    pub fn restore(&self, packet: &mut [u8]) {
        let Original { ip_length, ip_checksum, transport_checksum, flags } = self.original;
        if self.is_ipv4 {
            set_word(packet, ipv4_field::TOTAL_LENGTH, ip_length);
            set_word(packet, ipv4_field::CHECKSUM, ip_checksum);
        } else {
            set_word(packet, ipv6_field::PAYLOAD_LENGTH, ip_length);
        }
        let own_len = self.header_len - self.transport + self.payload_len;
        let body = &mut packet[self.transport..];
        if self.is_tcp {
            body[tcp::FLAGS] = flags;
            set_word(body, tcp::CHECKSUM, transport_checksum);
        } else {
            set_word(body, udp::LENGTH, own_len as u16);
            set_word(body, udp::CHECKSUM, transport_checksum);
        }
    }
}
