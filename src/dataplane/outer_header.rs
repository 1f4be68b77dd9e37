//! The outer header: addresses, form, and the bits that it takes from the inner one and gives back
//! (RFC 4301 section 5.1.2, RFC 6040).

use crate::wire::ip::{self, IpHeader};
use std::net::{IpAddr, SocketAddr};

/// How ESP travels between the gateways. Either form is accepted at any time (RFC 7296 section 2.23); this is what we send.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Encapsulation {
    /// Inside UDP between the ports of the path, as RFC 3948 says.
    Udp,
    /// As IP protocol 50.
    Raw,
}

/// The two outer addresses of an SA. Raw ESP ignores the ports.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct OuterPath {
    /// Our address and NAT traversal port. An unspecified address lets the kernel choose.
    pub local: SocketAddr,
    /// The peer's address and the port that its NAT gave it.
    pub peer: SocketAddr,
}

/// What the outer DF bit becomes (RFC 4301 section 8.1). An outer IPv6 packet is fragmented by nobody on the way.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
pub enum DfPolicy {
    /// As the inner packet says; an inner IPv6 packet counts as DF.
    #[default]
    Copy,
    /// Always set.
    Set,
    /// Always clear: routers may fragment the outer packet.
    Clear,
}

impl DfPolicy {
    /// The outer DF bit of a packet whose inner DF bit is given.
    pub fn outer(self, inner: bool) -> bool {
        match self {
            Self::Copy => inner,
            Self::Set => true,
            Self::Clear => false,
        }
    }
}

impl Encapsulation {
    /// Bytes of the headers before ESP: the outer IP header without options, and UDP's.
    pub fn header_len(self, outer: IpAddr) -> usize {
        let ip = if outer.is_ipv4() { 20 } else { 40 };
        match self {
            Self::Udp => ip + 8,
            Self::Raw => ip,
        }
    }
}

/// The ECN field of an IP header: the low two bits of the TOS or traffic class byte.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Ecn {
    /// 00
    NotEct,
    /// 01
    Ect1,
    /// 10
    Ect0,
    /// 11, congestion experienced
    Ce,
}

impl Ecn {
    /// The ECN field of a TOS or traffic class byte.
    pub fn of(traffic_class: u8) -> Self {
        match traffic_class & 0b11 {
            0b00 => Self::NotEct,
            0b01 => Self::Ect1,
            0b10 => Self::Ect0,
            _ => Self::Ce,
        }
    }

    /// The two bits.
    pub fn bits(self) -> u8 {
        match self {
            Self::NotEct => 0b00,
            Self::Ect1 => 0b01,
            Self::Ect0 => 0b10,
            Self::Ce => 0b11,
        }
    }

    /// The inner ECN field after decapsulation, or `None` where the packet must be dropped (RFC 6040 section 4.2, figure 4).
    pub fn decapsulate(inner: Self, outer: Self) -> Option<Self> {
        match (inner, outer) {
            (Self::NotEct, Self::Ce) => None,
            (Self::NotEct, _) => Some(Self::NotEct),
            (_, Self::Ce) | (Self::Ce, _) => Some(Self::Ce),
            (Self::Ect1, _) | (Self::Ect0, Self::Ect1) => Some(Self::Ect1),
            (Self::Ect0, Self::NotEct | Self::Ect0) => Some(Self::Ect0),
        }
    }
}

/// Marks a packet "congestion experienced" (RFC 3168), if it is ECN-capable. Says whether it is.
pub fn mark_congestion(packet: &mut [u8]) -> bool {
    let Ok(header) = IpHeader::parse(packet) else { return false };
    let capable = Ecn::of(header.traffic_class) != Ecn::NotEct;
    if capable {
        ip::set_traffic_class(packet, header.traffic_class | Ecn::Ce.bits());
    }
    capable
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn decapsulation_follows_every_cell_of_the_figure() {
        use Ecn::{Ce, Ect0, Ect1, NotEct};
        let columns = [NotEct, Ect0, Ect1, Ce];
        let figure = [
            (NotEct, [Some(NotEct), Some(NotEct), Some(NotEct), None]),
            (Ect0, [Some(Ect0), Some(Ect0), Some(Ect1), Some(Ce)]),
            (Ect1, [Some(Ect1), Some(Ect1), Some(Ect1), Some(Ce)]),
            (Ce, [Some(Ce), Some(Ce), Some(Ce), Some(Ce)]),
        ];
        for (inner, row) in figure {
            for (outer, expected) in columns.iter().zip(row) {
                assert_eq!(Ecn::decapsulate(inner, *outer), expected, "inner {inner:?}, outer {outer:?}");
            }
        }
    }

    #[test]
    fn ecn_bits_survive_the_round_trip() {
        for byte in 0..=u8::MAX {
            assert_eq!(Ecn::of(byte).bits(), byte & 0b11);
        }
    }

    #[test]
    fn df_is_copied_set_or_cleared() {
        for inner in [false, true] {
            assert_eq!(DfPolicy::Copy.outer(inner), inner);
            assert!(DfPolicy::Set.outer(inner));
            assert!(!DfPolicy::Clear.outer(inner));
        }
    }

    #[test]
    fn header_lengths_count_the_outer_ip_header() {
        let (v4, v6): (IpAddr, IpAddr) = ("192.0.2.1".parse().unwrap(), "2001:db8::1".parse().unwrap());
        assert_eq!(Encapsulation::Udp.header_len(v4), 28);
        assert_eq!(Encapsulation::Raw.header_len(v4), 20);
        assert_eq!(Encapsulation::Udp.header_len(v6), 48);
        assert_eq!(Encapsulation::Raw.header_len(v6), 40);
    }
}
