//! TCP segments (RFC 9293): the flags and the maximum segment size option.

use super::checksum;
use std::ops::Range;

/// Bytes of a header without options.
pub const HEADER_LEN: usize = 20;
/// Where the sequence number stands.
pub const SEQUENCE: Range<usize> = 4..8;
const DATA_OFFSET: usize = 12;
/// Where the flags stand.
pub const FLAGS: usize = 13;
/// Where the checksum stands.
pub const CHECKSUM: Range<usize> = 16..18;

/// The flags that the packet path knows by name.
pub mod flag {
    /// No more data from the sender.
    pub const FIN: u8 = 0x01;
    /// Synchronise sequence numbers.
    pub const SYN: u8 = 0x02;
    /// Push.
    pub const PSH: u8 = 0x08;
    /// The acknowledgment number counts.
    pub const ACK: u8 = 0x10;
    /// Congestion experienced (RFC 3168).
    pub const ECE: u8 = 0x40;
    /// Congestion window reduced (RFC 3168).
    pub const CWR: u8 = 0x80;
}

const OPTION_END: u8 = 0;
const OPTION_NOP: u8 = 1;
const OPTION_MSS: u8 = 2;
const OPTION_MSS_LEN: u8 = 4;

/// Whether a segment is a SYN, with or without ACK.
pub fn is_syn(segment: &[u8]) -> bool {
    segment.get(FLAGS).is_some_and(|flags| flags & flag::SYN != 0)
}

/// Bytes of a segment's header with its options; `None` when the segment is shorter than that.
pub fn header_len(segment: &[u8]) -> Option<usize> {
    let length = usize::from(segment.get(DATA_OFFSET)? >> 4) * 4;
    (HEADER_LEN..=segment.len()).contains(&length).then_some(length)
}

/// Where the value of the maximum segment size option stands, if the segment has one.
fn mss_position(segment: &[u8]) -> Option<usize> {
    let header_len = usize::from(segment.get(DATA_OFFSET)? >> 4) * 4;
    let options = segment.get(HEADER_LEN..header_len)?;
    let mut at = 0;
    loop {
        match *options.get(at)? {
            OPTION_END => return None,
            OPTION_NOP => at += 1,
            OPTION_MSS if *options.get(at + 1)? == OPTION_MSS_LEN && options.len() >= at + 4 => {
                return Some(HEADER_LEN + at + 2);
            }
            _ => match *options.get(at + 1)? {
                0 | 1 => return None,
                length => at += usize::from(length),
            },
        }
    }
}

/// The maximum segment size that a segment announces.
pub fn mss(segment: &[u8]) -> Option<u16> {
    let at = mss_position(segment)?;
    Some(u16::from_be_bytes([*segment.get(at)?, *segment.get(at + 1)?]))
}

/// Lowers the announced maximum segment size to `limit` and brings the checksum up to date. Says whether it changed.
pub fn clamp_mss(segment: &mut [u8], limit: u16) -> bool {
    let (Some(at), Some(announced)) = (mss_position(segment), mss(segment)) else { return false };
    if announced <= limit {
        return false;
    }
    let Some(&[high, low]) = segment.get(CHECKSUM) else { return false };
    let before = u16::from_be_bytes([high, low]);
    // The option may stand at an odd offset; then each of its bytes is the other half of a word of the sum.
    let (old, new) =
        if at.is_multiple_of(2) { (announced, limit) } else { (announced.swap_bytes(), limit.swap_bytes()) };
    let after = checksum::update(before, old, new);
    segment[at..at + 2].copy_from_slice(&limit.to_be_bytes());
    segment[CHECKSUM].copy_from_slice(&after.to_be_bytes());
    true
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::wire::checksum::Checksum;
    use proptest::prelude::*;

    fn syn(options: &[u8]) -> Vec<u8> {
        let mut segment = vec![0x13, 0x88, 0, 80, 0, 0, 0, 1, 0, 0, 0, 0, 0, flag::SYN, 0xff, 0xff, 0, 0, 0, 0];
        segment.extend_from_slice(options);
        segment.resize(segment.len().next_multiple_of(4), OPTION_END);
        segment[DATA_OFFSET] = (segment.len() as u8 / 4) << 4;
        let sum = Checksum::default().add_bytes(&segment).finish();
        segment[CHECKSUM].copy_from_slice(&sum.to_be_bytes());
        segment
    }

    #[test]
    fn the_option_is_found_among_others() {
        assert_eq!(mss(&syn(&[2, 4, 5, 180])), Some(1460));
        assert_eq!(mss(&syn(&[1, 1, 8, 10, 0, 0, 0, 0, 0, 0, 0, 0, 3, 3, 7, 2, 4, 5, 180])), Some(1460));
        assert_eq!(mss(&syn(&[])), None);
        assert_eq!(mss(&syn(&[0, 2, 4, 5, 180])), None, "nothing counts after the end");
        assert_eq!(mss(&syn(&[8, 0, 2, 4, 5, 180])), None, "an option of no length ends the walk");
        assert_eq!(mss(&syn(&[2, 3, 5, 180])), None);
    }

    #[test]
    fn clamping_keeps_the_checksum_right_at_even_and_odd_offsets() {
        for options in [&[2, 4, 5, 180][..], &[1, 2, 4, 5, 180], &[4, 2, 1, 2, 4, 0xff, 0xff]] {
            let mut segment = syn(options);
            assert!(clamp_mss(&mut segment, 1398));
            assert_eq!(mss(&segment), Some(1398));
            assert_eq!(Checksum::default().add_bytes(&segment).finish(), 0, "{options:?}");
            assert!(!clamp_mss(&mut segment, 1398), "low enough is left alone");
        }
    }

    #[test]
    fn only_syns_are_syns() {
        let mut segment = syn(&[]);
        assert!(is_syn(&segment));
        segment[FLAGS] = 0x12;
        assert!(is_syn(&segment));
        segment[FLAGS] = 0x10;
        assert!(!is_syn(&segment));
        assert!(!is_syn(&segment[..10]));
    }

    proptest! {
        #[test]
        fn any_bytes_never_panic(mut bytes in proptest::collection::vec(any::<u8>(), 0..80), limit in any::<u16>()) {
            clamp_mss(&mut bytes, limit);
            if let Some(mss) = mss(&bytes) {
                prop_assert!(mss <= limit);
            }
        }
    }
}
