//! Security associations of ESP in tunnel mode (RFC 4303), without I/O: direction is a type, a sequence number cannot be
//! used twice, and the replay window moves only after the tag held.

mod inbound;
pub mod lifetime;
mod outbound;
mod overhead;
pub mod replay;

pub use inbound::{InboundSa, OpenError, Opened};
pub use lifetime::{Limits, Standing};
pub use outbound::{Exhausted, OutboundSa};
pub use overhead::Overhead;

/// The additional data of an AEAD, or what stands before the IV under an ICV of its own, and what stands behind the
/// ciphertext: header and extended sequence number as RFC 4303 section 2.2.1 and RFC 4106 section 5 place them.
struct Authenticated {
    before: [u8; 12],
    before_len: usize,
    after: [u8; 4],
    after_len: usize,
}

impl Authenticated {
    fn new(spi: u32, sequence: u64, extended: bool, aead: bool) -> Self {
        let (high, low) = (((sequence >> 32) as u32).to_be_bytes(), (sequence as u32).to_be_bytes());
        let mut before = [0; 12];
        before[..4].copy_from_slice(&spi.to_be_bytes());
        if extended && aead {
            before[4..8].copy_from_slice(&high);
            before[8..].copy_from_slice(&low);
            Self { before, before_len: 12, after: high, after_len: 0 }
        } else {
            before[4..8].copy_from_slice(&low);
            Self { before, before_len: 8, after: high, after_len: if extended { 4 } else { 0 } }
        }
    }

    fn before(&self) -> &[u8] {
        &self.before[..self.before_len]
    }

    fn after(&self) -> &[u8] {
        &self.after[..self.after_len]
    }
}

#[cfg(test)]
mod tests;
