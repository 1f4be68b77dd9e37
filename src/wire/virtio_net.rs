//! The header before every packet of a TUN device with IFF_VNET_HDR: what is left to do for the packet (Virtio 1.2 section
//! 5.1.6, `struct virtio_net_hdr` of linux/virtio_net.h). Fields are in the machine's byte order.

/// Bytes of the header.
pub const HEADER_LEN: usize = 10;

/// The checksum field holds only the sum of the pseudo header.
const NEEDS_CHECKSUM: u8 = 1;
/// A flag beside the type: the super-packet's first segment says CWR.
const ECN: u8 = 0x80;

const GSO_NONE: u8 = 0;
const GSO_TCP_IPV4: u8 = 1;
const GSO_TCP_IPV6: u8 = 4;
const GSO_UDP: u8 = 5;

/// What a super-packet consists of.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Segmentation {
    /// It is one packet.
    None,
    /// TCP segments over IPv4.
    TcpIpv4,
    /// TCP segments over IPv6.
    TcpIpv6,
    /// UDP datagrams over either.
    Udp,
}

/// Where a checksum is to be completed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct PartialChecksum {
    /// The first byte that it covers: where the transport header starts.
    pub start: u16,
    /// Where the field stands, from `start` on.
    pub offset: u16,
}

/// The header as values.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct VirtioNetHeader {
    /// The kind of super-packet.
    pub segmentation: Segmentation,
    /// Payload bytes of each segment but the last, which may have less.
    pub segment: u16,
    /// Bytes of all headers. A hint: readers work it out themselves.
    pub header_len: u16,
    /// The checksum, where it is not complete.
    pub checksum: Option<PartialChecksum>,
}

/// A kind of super-packet that was never asked for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("a super-packet of unknown kind {0}")]
pub struct UnknownSegmentation(pub u8);

impl VirtioNetHeader {
    /// For a packet that needs nothing.
    pub const PLAIN: Self = Self { segmentation: Segmentation::None, segment: 0, header_len: 0, checksum: None };

    /// Reads a header.
    ///
    /// # Errors
    /// When the kind of super-packet is none that the device was asked for.
    pub fn parse(bytes: &[u8; HEADER_LEN]) -> Result<Self, UnknownSegmentation> {
        let [flags, kind, words @ ..] = *bytes;
        let word = |n: usize| u16::from_ne_bytes([words[2 * n], words[2 * n + 1]]);
        let segmentation = match kind & !ECN {
            GSO_NONE => Segmentation::None,
            GSO_TCP_IPV4 => Segmentation::TcpIpv4,
            GSO_TCP_IPV6 => Segmentation::TcpIpv6,
            GSO_UDP => Segmentation::Udp,
            unknown => return Err(UnknownSegmentation(unknown)),
        };
        let checksum = (flags & NEEDS_CHECKSUM != 0).then(|| PartialChecksum { start: word(2), offset: word(3) });
        Ok(Self { segmentation, header_len: word(0), segment: word(1), checksum })
    }

    /// Writes the header.
    pub fn to_bytes(self) -> [u8; HEADER_LEN] {
        let kind = match self.segmentation {
            Segmentation::None => GSO_NONE,
            Segmentation::TcpIpv4 => GSO_TCP_IPV4,
            Segmentation::TcpIpv6 => GSO_TCP_IPV6,
            Segmentation::Udp => GSO_UDP,
        };
        let flags = if self.checksum.is_some() { NEEDS_CHECKSUM } else { 0 };
        let PartialChecksum { start, offset } = self.checksum.unwrap_or(PartialChecksum { start: 0, offset: 0 });
        let mut bytes = [flags, kind, 0, 0, 0, 0, 0, 0, 0, 0];
        for (n, word) in [self.header_len, self.segment, start, offset].into_iter().enumerate() {
            bytes[2 + 2 * n..4 + 2 * n].copy_from_slice(&word.to_ne_bytes());
        }
        bytes
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn headers_come_back_whole() {
        let checksum = Some(PartialChecksum { start: 20, offset: 16 });
        for segmentation in [Segmentation::TcpIpv4, Segmentation::TcpIpv6, Segmentation::Udp] {
            let header = VirtioNetHeader { segmentation, segment: 1386, header_len: 52, checksum };
            assert_eq!(VirtioNetHeader::parse(&header.to_bytes()), Ok(header));
        }
        assert_eq!(VirtioNetHeader::PLAIN.to_bytes(), [0; HEADER_LEN]);
        assert_eq!(VirtioNetHeader::parse(&[0; HEADER_LEN]), Ok(VirtioNetHeader::PLAIN));
    }

    #[test]
    fn the_ecn_flag_is_no_kind_of_its_own_and_unknown_kinds_are_refused() {
        let kind = |kind| VirtioNetHeader::parse(&[0, kind, 0, 0, 0, 0, 0, 0, 0, 0]);
        assert_eq!(kind(0x81).map(|header| header.segmentation), Ok(Segmentation::TcpIpv4));
        assert_eq!(kind(3), Err(UnknownSegmentation(3)));
    }
}
