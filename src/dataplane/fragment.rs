//! Fragmentation of IPv4 packets before they are encrypted (RFC 791 section 3.2, RFC 4301 section 7).

use crate::wire::ip::{self, IPV4_HEADER_LEN};

const OPTION_END: u8 = 0;
const OPTION_NOP: u8 = 1;
/// The flag of an option that every fragment carries.
const COPIED: u8 = 0x80;
const MORE_FRAGMENTS: u16 = 0x2000;
const OFFSET: u16 = 0x1fff;

/// The fragments of one packet.
#[derive(Debug)]
pub struct Fragmenter<'a> {
    header: &'a [u8],
    payload: &'a [u8],
    /// Of the original's fragment field: offset in units of 8 bytes, and whether more follows it.
    base: u16,
    more_after: bool,
    /// Payload bytes of each fragment but the last.
    step: usize,
    done: usize,
}

impl<'a> Fragmenter<'a> {
    /// Splits an IPv4 packet of exactly its total length, whose header is `header_len` bytes long, into fragments of at
    /// most `limit` bytes. `None` when the header leaves no room for payload.
    pub fn new(packet: &'a [u8], header_len: usize, limit: usize) -> Option<Self> {
        let (header, payload) = packet.split_at_checked(header_len)?;
        let field = u16::from_be_bytes([*header.get(6)?, *header.get(7)?]);
        let step = limit.checked_sub(header_len)? & !7;
        (step > 0 && header_len >= IPV4_HEADER_LEN).then_some(Self {
            header,
            payload,
            base: field & OFFSET,
            more_after: field & MORE_FRAGMENTS != 0,
            step,
            done: 0,
        })
    }

    /// Bytes of the next fragment; `None` after the last.
    pub fn next_len(&self) -> Option<usize> {
        let rest = self.payload.len() - self.done;
        (rest > 0).then(|| self.header.len() + rest.min(self.step))
    }

    /// Writes the next fragment, of [`next_len`](Self::next_len) bytes, into `out`.
    ///
    /// # Panics
    /// When `out` is not that long, a mistake of the caller.
    pub fn write_next(&mut self, out: &mut [u8]) {
        let len = out.len() - self.header.len();
        let (header, payload) = out.split_at_mut(self.header.len());
        header.copy_from_slice(self.header);
        payload.copy_from_slice(&self.payload[self.done..self.done + len]);
        let offset = self.base + (self.done / 8) as u16;
        if offset != 0 {
            blank_uncopied_options(header);
        }
        self.done += len;
        let more = self.more_after || self.done < self.payload.len();
        ip::set_ipv4_fragment(header, (header.len() + len) as u16, offset, more);
    }
}

/// Options without the copied flag belong to the first fragment only; no-operations keep the header's length.
fn blank_uncopied_options(header: &mut [u8]) {
    let mut at = IPV4_HEADER_LEN;
    while let Some(&kind) = header.get(at) {
        let length = match kind {
            OPTION_END => return,
            OPTION_NOP => 1,
            _ => match header.get(at + 1) {
                Some(&length) if length >= 2 => usize::from(length),
                _ => return,
            },
        };
        let end = (at + length).min(header.len());
        if kind & COPIED == 0 {
            header[at..end].fill(OPTION_NOP);
        }
        at = end;
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::wire::checksum::Checksum;
    use crate::wire::ip::{FragmentPart, IpHeader, protocol};

    fn fragments(packet: &[u8], header_len: usize, limit: usize) -> Vec<Vec<u8>> {
        let mut fragmenter = Fragmenter::new(packet, header_len, limit).unwrap();
        let mut fragments = Vec::new();
        while let Some(len) = fragmenter.next_len() {
            let mut out = vec![0; len];
            fragmenter.write_next(&mut out);
            fragments.push(out);
        }
        fragments
    }

    /// What the receiving host makes of them; fragments may come in any order.
    fn reassemble(fragments: &[Vec<u8>], header_len: usize) -> Vec<u8> {
        let mut payload = vec![None; 65_536];
        let mut end = None;
        for fragment in fragments {
            let field = u16::from_be_bytes([fragment[6], fragment[7]]);
            let offset = usize::from(field & OFFSET) * 8;
            for (n, byte) in fragment[header_len..].iter().enumerate() {
                assert_eq!(payload[offset + n].replace(*byte), None, "fragments overlap");
            }
            if field & MORE_FRAGMENTS == 0 {
                end = Some(offset + fragment.len() - header_len);
            }
        }
        payload.into_iter().take(end.unwrap()).map(Option::unwrap).collect()
    }

    fn packet(payload: usize, options: &[u8]) -> Vec<u8> {
        let total = IPV4_HEADER_LEN + options.len() + payload;
        let mut packet =
            ip::ipv4_header([10, 0, 0, 1].into(), [10, 0, 0, 2].into(), protocol::UDP, total as u16).to_vec();
        packet.extend_from_slice(options);
        packet[0] = 0x40 | (packet.len() / 4) as u8;
        let header_len = packet.len();
        packet.extend((0..payload).map(|n| (n / 3) as u8));
        ip::set_ipv4_fragment(&mut packet[..header_len], total as u16, 0, false);
        packet
    }

    #[test]
    fn fragments_fit_and_make_the_packet_again() {
        for (payload, limit) in [(1480, 1438), (1480, 68), (1419, 1438), (20_000, 1280)] {
            let packet = packet(payload, &[]);
            let fragments = fragments(&packet, 20, limit);
            assert_eq!(reassemble(&fragments, 20), packet[20..], "{payload} {limit}");
            for fragment in &fragments {
                assert!(fragment.len() <= limit);
                assert_eq!(Checksum::default().add_bytes(&fragment[..20]).finish(), 0);
                assert_eq!(IpHeader::parse(fragment).unwrap().total_len, fragment.len());
            }
        }
    }

    #[test]
    fn a_fragment_can_be_fragmented_again() {
        let whole = packet(4000, &[]);
        let first: Vec<_> = fragments(&whole, 20, 1500);
        let second: Vec<_> = first.iter().flat_map(|fragment| fragments(fragment, 20, 600)).collect();
        assert!(second.len() > first.len());
        assert_eq!(reassemble(&second, 20), whole[20..]);
        assert_eq!(IpHeader::parse(&second[1]).unwrap().part, FragmentPart::Later);
    }

    #[test]
    fn options_without_the_copied_flag_stay_with_the_first_fragment() {
        // Record route (not copied), then router alert (copied).
        let options = [7, 7, 4, 0, 0, 0, 0, 148, 4, 0, 0, 0];
        let fragments = fragments(&packet(100, &options), 32, 80);
        assert_eq!(fragments[0][20..32], options);
        assert_eq!(fragments[1][20..32], [1, 1, 1, 1, 1, 1, 1, 148, 4, 0, 0, 0]);
        assert_eq!(Checksum::default().add_bytes(&fragments[1][..32]).finish(), 0);
    }

    #[test]
    fn no_room_is_no_fragmenter() {
        assert!(Fragmenter::new(&packet(100, &[]), 20, 27).is_none());
        assert!(Fragmenter::new(&packet(100, &[]), 20, 28).is_some());
    }
}
