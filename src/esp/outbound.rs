//! The sending side of an SA.

use super::lifetime::{Limits, Standing};
use super::{Authenticated, Overhead};
use crate::crypto::{IvSource, SealingKey, Suite, WrongKeyLength};
use crate::wire::esp::{EspHeader, HEADER_LEN, write_trailer};

/// An outbound SA: it alone knows its key and its sequence number.
pub struct OutboundSa {
    spi: u32,
    key: SealingKey,
    /// For CBC. An AEAD takes the sequence number as IV, which never repeats under the key (RFC 4106 section 3.1).
    iv_source: IvSource,
    overhead: Overhead,
    aead: bool,
    extended: bool,
    /// The last one used.
    sequence: u64,
    packets: u64,
    bytes: u64,
    limits: Limits,
}

/// The SA has no sequence number left or reached a hard limit; it seals nothing any more.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("the SA is exhausted")]
pub struct Exhausted;

impl OutboundSa {
    /// An SA that has sent nothing.
    ///
    /// # Errors
    /// When a key is not as long as the suite says.
    pub fn new(
        spi: u32,
        suite: Suite,
        encryption_key: &[u8],
        integrity_key: &[u8],
        iv_source: IvSource,
        extended: bool,
        limits: Limits,
    ) -> Result<Self, WrongKeyLength> {
        Ok(Self {
            spi,
            key: SealingKey::new(suite, encryption_key, integrity_key)?,
            iv_source,
            overhead: Overhead::of(suite),
            aead: suite.encryption.is_aead(),
            extended,
            sequence: 0,
            packets: 0,
            bytes: 0,
            limits,
        })
    }

    /// The same SA after this many sequence numbers were used, as if lost on the way.
    #[must_use]
    pub fn starting_after(mut self, sequence: u64) -> Self {
        self.sequence = self.sequence.max(sequence);
        self
    }

    /// The layout of its packets.
    pub fn overhead(&self) -> Overhead {
        self.overhead
    }

    /// The SPI in its packets.
    pub fn spi(&self) -> u32 {
        self.spi
    }

    /// Packets sealed so far.
    pub fn packets(&self) -> u64 {
        self.packets
    }

    /// Bytes of the inner packets sealed so far.
    pub fn bytes(&self) -> u64 {
        self.bytes
    }

    /// The last sequence number used; 0 before the first.
    pub fn sequence(&self) -> u64 {
        self.sequence
    }

    /// Where it stands in its life.
    pub fn standing(&self) -> Standing {
        self.limits.standing(self.packets, self.bytes, self.sequence, self.extended)
    }

    /// Seals, in place, an inner packet of `inner` bytes that stands in `room` behind space for header and IV
    /// ([`Overhead::header_len`]). Returns the length of the ESP packet, which starts where `room` does.
    ///
    /// # Errors
    /// When the SA is exhausted; `room` is unchanged.
    ///
    /// # Panics
    /// When `room` is shorter than [`Overhead::sealed_len`], a mistake of the caller.
    pub fn seal(&mut self, room: &mut [u8], inner: usize, next_header: u8) -> Result<usize, Exhausted> {
        if self.standing() == Standing::Exhausted {
            return Err(Exhausted);
        }
        // Taken before anything is encrypted: whatever happens below, no number is used twice.
        self.sequence += 1;
        self.packets += 1;
        self.bytes += inner as u64;

        let sealed = self.overhead.sealed_len(inner);
        let (header, rest) = room[..sealed].split_at_mut(HEADER_LEN);
        let (iv, rest) = rest.split_at_mut(self.overhead.iv_len());
        let (body, icv) = rest.split_at_mut(rest.len() - self.overhead.icv_len());
        header.copy_from_slice(&EspHeader { spi: self.spi, sequence: self.sequence as u32 }.to_bytes());
        if self.aead {
            iv.copy_from_slice(&self.sequence.to_be_bytes());
        } else {
            self.iv_source.fill_next(iv);
        }
        write_trailer(&mut body[inner..], next_header);
        let authenticated = Authenticated::new(self.spi, self.sequence, self.extended, self.aead);
        self.key.seal(authenticated.before(), iv, body, authenticated.after(), icv);
        Ok(sealed)
    }
}
