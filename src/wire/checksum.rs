//! The Internet checksum (RFC 1071) and its incremental update (RFC 1624).

use std::net::IpAddr;

/// A running one's complement sum of 16-bit words.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Checksum(u64);

impl Checksum {
    /// Adds bytes, which start at an even offset of what is summed; an odd last byte is padded with zero.
    #[must_use]
    pub fn add_bytes(self, bytes: &[u8]) -> Self {
        // The sum of byte-swapped words is the byte-swapped sum (RFC 1071 section 2 B), so words are added as the machine
        // reads them and one swap at the end puts them right.
        self.add_word(u16::from_be(machine_order_sum(bytes)))
    }

    /// Adds bytes as [`add_bytes`](Self::add_bytes) does, and copies them on the way: memory is walked through once.
    ///
    /// # Panics
    /// When `copy` is not as long as `bytes`, a mistake of the caller.
    #[must_use]
    pub fn add_bytes_copied(self, bytes: &[u8], copy: &mut [u8]) -> Self {
        assert_eq!(bytes.len(), copy.len(), "a copy is as long as what is copied");
        self.add_word(u16::from_be(machine_order_sum_copied(bytes, copy)))
    }

    /// Takes back a word that is part of the sum.
    #[must_use]
    pub fn remove_word(self, word: u16) -> Self {
        self.add_word(!word)
    }

    /// Adds one word.
    #[must_use]
    pub fn add_word(self, word: u16) -> Self {
        Self(self.0 + u64::from(word)).partly_folded()
    }

    /// Adds the pseudo header of a transport protocol (RFC 9293 section 3.1, RFC 8200 section 8.1).
    #[must_use]
    pub fn add_pseudo_header(self, source: IpAddr, destination: IpAddr, protocol: u8, length: u32) -> Self {
        let [high, low] = [(length >> 16) as u16, length as u16];
        self.add_address(source).add_address(destination).add_word(u16::from(protocol)).add_word(high).add_word(low)
    }

    fn add_address(self, address: IpAddr) -> Self {
        match address {
            IpAddr::V4(address) => self.add_bytes(&address.octets()),
            IpAddr::V6(address) => self.add_bytes(&address.octets()),
        }
    }

    /// Keeps the sum far below the point where adding could overflow.
    fn partly_folded(self) -> Self {
        Self((self.0 & 0xffff_ffff) + (self.0 >> 32))
    }

    /// The sum itself, folded to a word: what a field holds whose checksum somebody else completes.
    pub fn folded(self) -> u16 {
        fold(self.0)
    }

    /// The value for a checksum field; over data that holds a right checksum it is zero.
    pub fn finish(self) -> u16 {
        !self.folded()
    }
}

fn fold(mut sum: u64) -> u16 {
    while sum >> 16 != 0 {
        sum = (sum & 0xffff) + (sum >> 16);
    }
    sum as u16
}

/// Sums that grow side by side: two vectors of what every 64-bit processor has.
const LANES: usize = 4;
/// Bytes that all of them take at once.
const BLOCK: usize = LANES * 8;

/// The sum in the machine's byte order.
fn machine_order_sum(bytes: &[u8]) -> u16 {
    let (blocks, rest) = bytes.as_chunks();
    let mut lanes = [0; LANES];
    for block in blocks {
        add_block(&mut lanes, block);
    }
    finish(lanes, rest)
}

/// The same, and a copy on the way.
fn machine_order_sum_copied(bytes: &[u8], copy: &mut [u8]) -> u16 {
    let (blocks, rest) = bytes.as_chunks();
    let (block_copies, rest_copy) = copy.as_chunks_mut();
    let mut lanes = [0; LANES];
    for (block, copy) in blocks.iter().zip(block_copies) {
        *copy = *block;
        add_block(&mut lanes, block);
    }
    rest_copy.copy_from_slice(rest);
    finish(lanes, rest)
}

/// Written so that the compiler makes vectors of it: 32-bit halves of words are added in 64 bits, which no packet can make
/// overflow.
fn add_block(lanes: &mut [u64; LANES], block: &[u8; BLOCK]) {
    let (words, _) = block.as_chunks::<8>();
    for (lane, word) in lanes.iter_mut().zip(words) {
        let word = u64::from_ne_bytes(*word);
        *lane += (word & 0xffff_ffff) + (word >> 32);
    }
}

/// The sum of the lanes and of what is left when all whole blocks are in them.
fn finish(lanes: [u64; LANES], rest: &[u8]) -> u16 {
    let (words, rest) = rest.as_chunks::<4>();
    let mut last = [0; 4];
    last[..rest.len()].copy_from_slice(rest);
    let mut tail = u64::from(u32::from_ne_bytes(last));
    for word in words {
        tail += u64::from(u32::from_ne_bytes(*word));
    }
    fold(lanes[0] + lanes[1] + lanes[2] + lanes[3] + tail)
}

/// The checksum field after one 16-bit word of what it covers changed from `old` to `new` (RFC 1624 equation 3).
pub fn update(field: u16, old: u16, new: u16) -> u16 {
    Checksum::default().add_word(!field).add_word(!old).add_word(new).finish()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sum_of_the_example_in_rfc_1071() {
        let data = [0x00, 0x01, 0xf2, 0x03, 0xf4, 0xf5, 0xf6, 0xf7];
        assert_eq!(Checksum::default().add_bytes(&data).finish(), !0xddf2);
    }

    #[test]
    fn odd_lengths_are_padded_with_zero() {
        for length in 0..9 {
            let bytes: Vec<u8> = (1..=length).map(|n| n * 29).collect();
            let mut padded = bytes.clone();
            padded.resize(12, 0);
            assert_eq!(Checksum::default().add_bytes(&bytes).finish(), Checksum::default().add_bytes(&padded).finish());
        }
    }

    #[test]
    fn long_and_short_runs_agree_with_the_sum_of_single_words() {
        let bytes: Vec<u8> = (0..70_000u32).map(|n| (n.wrapping_mul(2_654_435_761) >> 13) as u8).collect();
        for length in [31, 32, 33, 63, 64, 65, 1399, 1400, 65_535, 70_000] {
            let words = bytes[..length].chunks(2).map(|pair| [pair[0], pair.get(1).copied().unwrap_or(0)]);
            let one_by_one = words.fold(Checksum::default(), |sum, pair| sum.add_word(u16::from_be_bytes(pair)));
            assert_eq!(Checksum::default().add_bytes(&bytes[..length]).finish(), one_by_one.finish(), "{length}");
            let mut copy = vec![0; length];
            let copied = Checksum::default().add_bytes_copied(&bytes[..length], &mut copy);
            assert_eq!((copied.finish(), &copy[..]), (one_by_one.finish(), &bytes[..length]), "{length}");
        }
    }

    #[test]
    fn update_agrees_with_a_full_sum() {
        let mut data = [0x45, 0x00, 0x00, 0x54, 0xa6, 0xf2, 0x40, 0x00, 0x40, 0x01, 0, 0, 10, 0, 0, 1, 10, 0, 0, 2];
        for new in [0u16, 1, 0x4503, 0x45b8, 0xffff] {
            let field = Checksum::default().add_bytes(&data).finish();
            let old = u16::from_be_bytes([data[0], data[1]]);
            data[..2].copy_from_slice(&new.to_be_bytes());
            assert_eq!(update(field, old, new), Checksum::default().add_bytes(&data).finish());
        }
    }
}
