//! The maximum segment size of TCP, lowered in SYNs to what fits the tunnel, in both directions (RFC 4459 section 3.2).

use crate::wire::ip::{FragmentPart, IPV4_HEADER_LEN, IPV6_HEADER_LEN, IpHeader, protocol};
use crate::wire::tcp;

/// Lowers the size that a SYN announces, so that neither side sends segments which do not fit inner packets of `inner_mtu`
/// bytes. Anything else stays as it is.
pub fn clamp(packet: &mut [u8], header: &IpHeader, inner_mtu: usize) {
    if header.flow.protocol != protocol::TCP || header.part == FragmentPart::Later {
        return;
    }
    let Some(segment) = packet.get_mut(header.transport..header.total_len) else { return };
    if !tcp::is_syn(segment) {
        return;
    }
    let ip_header = if header.is_ipv4() { IPV4_HEADER_LEN } else { IPV6_HEADER_LEN };
    let limit = inner_mtu.saturating_sub(ip_header + tcp::HEADER_LEN);
    if limit > 0 {
        tcp::clamp_mss(segment, u16::try_from(limit).unwrap_or(u16::MAX));
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::wire::ip;

    fn segment(flags: u8) -> Vec<u8> {
        vec![0x13, 0x88, 0, 80, 0, 0, 0, 1, 0, 0, 0, 0, 0x60, flags, 0xff, 0xff, 0, 0, 0, 0, 2, 4, 0x22, 0xc4]
    }

    fn ipv4(flags: u8) -> Vec<u8> {
        let header = ip::ipv4_header([10, 0, 0, 1].into(), [10, 0, 0, 2].into(), protocol::TCP, 44);
        [&header[..], &segment(flags)].concat()
    }

    fn ipv6(flags: u8) -> Vec<u8> {
        let header = ip::ipv6_header([1; 16].into(), [2; 16].into(), protocol::TCP, 24);
        [&header[..], &segment(flags)].concat()
    }

    fn announced(mut packet: Vec<u8>, inner_mtu: usize) -> u16 {
        let header = IpHeader::parse(&packet).unwrap();
        clamp(&mut packet, &header, inner_mtu);
        tcp::mss(&packet[header.transport..]).unwrap()
    }

    #[test]
    fn both_kinds_of_syn_are_clamped_in_both_families() {
        for flags in [0x02, 0x12] {
            assert_eq!(announced(ipv4(flags), 1438), 1398);
            assert_eq!(announced(ipv6(flags), 1438), 1378);
        }
    }

    #[test]
    fn other_segments_are_left_alone() {
        assert_eq!(announced(ipv4(0x10), 1438), 8900);
        assert_eq!(announced(ipv4(0x02), 0), 8900, "a tunnel of no size clamps nothing to zero");
    }
}
