//! What an ICMP error quotes: the beginning of the packet that it is about (RFC 792, RFC 1812 section 4.3.2.3, RFC 4443
//! section 2.4). Often no more than eight bytes beyond the IP header.

use super::esp::EspHeader;
use super::field::word;
use super::ip::{IPV4_HEADER_LEN, IPV6_HEADER_LEN, ipv4_field, ipv6_field, protocol};
use std::net::IpAddr;
use std::ops::Range;

const ICMP_HEADER_LEN: usize = 8;
const UDP_HEADER_LEN: usize = 8;
const V4_UNREACHABLE: u8 = 3;
const V4_FRAGMENTATION_NEEDED: u8 = 4;
const V6_PACKET_TOO_BIG: u8 = 2;

/// "Too big", of either family, about a packet that somebody claims that we sent.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct TooBig {
    /// The MTU of the next hop. 0 of routers older than RFC 1191.
    pub mtu: u32,
    /// What the packet was.
    pub packet: QuotedPacket,
}

/// The beginning of a packet.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct QuotedPacket {
    /// Its source.
    pub source: IpAddr,
    /// Its destination.
    pub destination: IpAddr,
    /// Its length as its header states it, which is more than what is quoted.
    pub total_len: u32,
    /// What it carried.
    pub transport: QuotedTransport,
}

/// The beginning of what a packet carries.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum QuotedTransport {
    /// IP protocol 50.
    Esp {
        /// The security parameters index.
        spi: u32,
    },
    /// UDP.
    Udp {
        /// Source port.
        source: u16,
        /// Destination port.
        destination: u16,
        /// The first four bytes of the datagram, if they are quoted: an SPI, or the non-ESP marker.
        first: Option<u32>,
    },
}

impl TooBig {
    /// Reads an ICMP message without the IP header before it. `None` when it is another one, or about another kind of packet.
    pub fn parse(icmp: &[u8], ipv4: bool) -> Option<Self> {
        let (header, quoted) = icmp.split_first_chunk::<ICMP_HEADER_LEN>()?;
        match (ipv4, header[0], header[1]) {
            (true, V4_UNREACHABLE, V4_FRAGMENTATION_NEEDED) => {
                let mtu = u32::from(u16::from_be_bytes([header[6], header[7]]));
                Some(Self { mtu, packet: parse_ipv4(quoted)? })
            }
            (false, V6_PACKET_TOO_BIG, _) => {
                let mtu = u32::from_be_bytes([header[4], header[5], header[6], header[7]]);
                Some(Self { mtu, packet: parse_ipv6(quoted)? })
            }
            _ => None,
        }
    }
}

/// Only a packet with DF, or its first fragment, can be too big and shows what it carries.
fn parse_ipv4(quoted: &[u8]) -> Option<QuotedPacket> {
    let header: &[u8; IPV4_HEADER_LEN] = quoted.first_chunk()?;
    let header_len = usize::from(header[0] & 0x0f) * 4;
    let later = word(header, ipv4_field::FRAGMENT) & 0x1fff != 0;
    if header[0] >> 4 != 4 || header_len < IPV4_HEADER_LEN || later {
        return None;
    }
    let address = |field: Range<usize>| Some(IpAddr::from(<[u8; 4]>::try_from(header.get(field)?).ok()?));
    Some(QuotedPacket {
        source: address(ipv4_field::SOURCE)?,
        destination: address(ipv4_field::DESTINATION)?,
        total_len: word(header, ipv4_field::TOTAL_LENGTH).into(),
        transport: transport(header[ipv4_field::PROTOCOL], quoted.get(header_len..)?)?,
    })
}

/// We send no extension headers but that of fragments, which are never too big.
fn parse_ipv6(quoted: &[u8]) -> Option<QuotedPacket> {
    let header: &[u8; IPV6_HEADER_LEN] = quoted.first_chunk()?;
    if header[0] >> 4 != 6 {
        return None;
    }
    let address = |field: Range<usize>| Some(IpAddr::from(<[u8; 16]>::try_from(header.get(field)?).ok()?));
    Some(QuotedPacket {
        source: address(ipv6_field::SOURCE)?,
        destination: address(ipv6_field::DESTINATION)?,
        total_len: IPV6_HEADER_LEN as u32 + u32::from(word(header, ipv6_field::PAYLOAD_LENGTH)),
        transport: transport(header[ipv6_field::NEXT_HEADER], &quoted[IPV6_HEADER_LEN..])?,
    })
}

fn transport(carried: u8, bytes: &[u8]) -> Option<QuotedTransport> {
    match carried {
        protocol::ESP => Some(QuotedTransport::Esp { spi: EspHeader::parse(bytes)?.spi }),
        protocol::UDP => {
            let (header, datagram) = bytes.split_first_chunk::<UDP_HEADER_LEN>()?;
            Some(QuotedTransport::Udp {
                source: u16::from_be_bytes([header[0], header[1]]),
                destination: u16::from_be_bytes([header[2], header[3]]),
                first: datagram.first_chunk().map(|first| u32::from_be_bytes(*first)),
            })
        }
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::wire::icmp::{MAX_TOO_BIG, fragmentation_needed, packet_too_big};
    use crate::wire::ip;

    fn esp() -> Vec<u8> {
        [&0xc000_0001_u32.to_be_bytes()[..], &7_u32.to_be_bytes(), &[0xee; 1400]].concat()
    }

    fn udp(datagram: &[u8]) -> Vec<u8> {
        let len = (UDP_HEADER_LEN + datagram.len()) as u16;
        [&4500_u16.to_be_bytes()[..], &1024_u16.to_be_bytes(), &len.to_be_bytes(), &[0, 0], datagram].concat()
    }

    /// The ICMP message about a packet between two addresses.
    fn about(ipv4: bool, carried: u8, payload: &[u8], mtu: u16) -> Vec<u8> {
        let mut out = [0; MAX_TOO_BIG];
        let router = ([192, 0, 2, 254].into(), "2001:db8::fe".parse().unwrap());
        if ipv4 {
            let (us, peer) = ([192, 0, 2, 1].into(), [203, 0, 113, 2].into());
            let header = ip::ipv4_header(us, peer, carried, (20 + payload.len()) as u16);
            let len = fragmentation_needed(router.0, us, mtu, &[&header[..], payload].concat(), &mut out);
            out[20..len].to_vec()
        } else {
            let (us, peer) = ("2001:db8::1".parse().unwrap(), "2001:db8::2".parse().unwrap());
            let header = ip::ipv6_header(us, peer, carried, payload.len() as u16);
            let len = packet_too_big(router.1, us, mtu.into(), &[&header[..], payload].concat(), &mut out);
            out[40..len].to_vec()
        }
    }

    #[test]
    fn both_families_tell_what_was_too_big_and_what_is_not() {
        for (ipv4, header_len) in [(true, 20), (false, 40)] {
            let told = TooBig::parse(&about(ipv4, protocol::ESP, &esp(), 1400), ipv4).unwrap();
            assert_eq!((told.mtu, told.packet.total_len), (1400, header_len + 1408));
            assert_eq!(told.packet.source.is_ipv4(), ipv4);
            assert_eq!(told.packet.transport, QuotedTransport::Esp { spi: 0xc000_0001 });

            let told = TooBig::parse(&about(ipv4, protocol::UDP, &udp(&esp()), 1300), ipv4).unwrap();
            let first = Some(0xc000_0001);
            assert_eq!(told.packet.transport, QuotedTransport::Udp { source: 4500, destination: 1024, first });
        }
    }

    #[test]
    fn eight_bytes_are_enough() {
        let mut message = about(true, protocol::UDP, &udp(&esp()), 1400);
        message.truncate(8 + 20 + 8);
        let told = TooBig::parse(&message, true).unwrap();
        let nothing = QuotedTransport::Udp { source: 4500, destination: 1024, first: None };
        assert_eq!(told.packet.transport, nothing);
        message.pop();
        assert_eq!(TooBig::parse(&message, true), None);
    }

    #[test]
    fn other_messages_other_packets_and_ends_of_packets_say_nothing() {
        let message = about(true, protocol::ESP, &esp(), 1400);
        for len in 0..36 {
            assert_eq!(TooBig::parse(&message[..len], true), None, "{len} bytes");
        }
        assert_eq!(TooBig::parse(&message, false), None, "of the other family");
        assert_eq!(TooBig::parse(&about(true, protocol::TCP, &esp(), 1400), true), None);
        let mut port_unreachable = message.clone();
        port_unreachable[1] = 3;
        assert_eq!(TooBig::parse(&port_unreachable, true), None);
        let mut later = message;
        later[8 + 7] = 9;
        assert_eq!(TooBig::parse(&later, true), None, "a later fragment");
    }
}
