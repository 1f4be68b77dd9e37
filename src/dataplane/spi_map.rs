//! SPI → place, looked up for every packet.

use std::collections::HashMap;
use std::hash::{BuildHasherDefault, Hasher};

/// Places by the SPI of an inbound SA.
pub type SpiMap = HashMap<u32, usize, BuildHasherDefault<SpiHasher>>;

/// One multiplication. The SPIs in the map are random numbers that we drew ourselves, so nobody can choose them to
/// collide, and whoever sends packets with chosen SPIs finds chains that are as short as everywhere. (The number itself
/// would not do: the map takes the place from the lowest bits of the hash and a tag from the highest.)
#[derive(Default)]
pub struct SpiHasher(u64);

impl Hasher for SpiHasher {
    fn write_u32(&mut self, spi: u32) {
        // 2^64 divided by the golden ratio: Fibonacci hashing.
        self.0 = u64::from(spi).wrapping_mul(0x9e37_79b9_7f4a_7c15);
    }

    fn write(&mut self, bytes: &[u8]) {
        for byte in bytes {
            self.0 = (self.0 << 8 | u64::from(*byte)).wrapping_mul(0x9e37_79b9_7f4a_7c15);
        }
    }

    fn finish(&self) -> u64 {
        self.0
    }
}
