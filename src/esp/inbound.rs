//! The receiving side of an SA.

use super::lifetime::{Limits, Standing};
use super::replay::{ReplayWindow, Replayed};
use super::{Authenticated, Overhead};
use crate::crypto::{OpeningKey, Suite, WrongKeyLength};
use crate::wire::esp::{EspHeader, HEADER_LEN, TRAILER_LEN, unpad};
use crate::wire::ip::protocol::NO_NEXT_HEADER;

/// An inbound SA: it alone knows its key and its replay window.
pub struct InboundSa {
    spi: u32,
    key: OpeningKey,
    overhead: Overhead,
    block_len: usize,
    aead: bool,
    extended: bool,
    window: ReplayWindow,
    packets: u64,
    bytes: u64,
    limits: Limits,
}

/// An authentic packet, decrypted in place.
#[derive(Debug, PartialEq, Eq)]
pub struct Opened<'a> {
    /// The inner packet, and behind it TFC padding if the sender added some (RFC 4303 section 2.7).
    pub packet: &'a mut [u8],
    /// 4 or 41, or whatever the sender claims.
    pub next_header: u8,
    /// Whether its sequence number is the highest yet.
    pub newest: bool,
}

/// Why a packet was not opened. Only the last two come after authentication.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum OpenError {
    /// Too short for the suite, or no whole number of blocks.
    #[error("too short, or no whole number of blocks")]
    Malformed,
    /// Its sequence number cannot be new.
    #[error(transparent)]
    Replayed(#[from] Replayed),
    /// The SA reached a hard limit. The packet is authentic.
    #[error("the SA is exhausted")]
    Exhausted,
    /// The ICV is wrong.
    #[error("the integrity check failed")]
    BadIcv,
    /// The padding is wrong.
    #[error("the padding is wrong")]
    BadPadding,
    /// A dummy packet (RFC 4303 section 2.6), to be dropped in silence.
    #[error("a dummy packet")]
    Dummy,
}

impl InboundSa {
    /// An SA that has received nothing. For `replay_window` see [`ReplayWindow::new`].
    ///
    /// # Errors
    /// When a key is not as long as the suite says.
    pub fn new(
        spi: u32,
        suite: Suite,
        encryption_key: &[u8],
        integrity_key: &[u8],
        extended: bool,
        replay_window: u32,
        limits: Limits,
    ) -> Result<Self, WrongKeyLength> {
        Ok(Self {
            spi,
            key: OpeningKey::new(suite, encryption_key, integrity_key)?,
            overhead: Overhead::of(suite),
            block_len: suite.block_len().max(1),
            aead: suite.encryption.is_aead(),
            extended,
            window: ReplayWindow::new(replay_window),
            packets: 0,
            bytes: 0,
            limits,
        })
    }

    /// The layout of its packets.
    pub fn overhead(&self) -> Overhead {
        self.overhead
    }

    /// Packets authenticated so far.
    pub fn packets(&self) -> u64 {
        self.packets
    }

    /// Bytes of inner packets authenticated so far, TFC padding included.
    pub fn bytes(&self) -> u64 {
        self.bytes
    }

    /// The highest authenticated sequence number; 0 before the first.
    pub fn highest_sequence(&self) -> u64 {
        self.window.highest()
    }

    /// Where it stands in its life. Sequence numbers bind the sender, not the receiver.
    pub fn standing(&self) -> Standing {
        self.limits.standing(self.packets, self.bytes, 0, true)
    }

    /// Opens an ESP packet in place: replay check, ICV, decryption, and only then a place in the replay window.
    ///
    /// # Errors
    /// When the packet is not a new and authentic one with a payload. The window has moved only in the cases that come
    /// after authentication.
    pub fn open<'a>(&mut self, packet: &'a mut [u8]) -> Result<Opened<'a>, OpenError> {
        let header = EspHeader::parse(packet).ok_or(OpenError::Malformed)?;
        let fixed = self.overhead.header_len() + self.overhead.icv_len();
        let body_len = packet.len().checked_sub(fixed).ok_or(OpenError::Malformed)?;
        if body_len < TRAILER_LEN || !body_len.is_multiple_of(self.block_len) {
            return Err(OpenError::Malformed);
        }
        let sequence = if self.extended { self.window.extend(header.sequence) } else { u64::from(header.sequence) };
        let fresh = self.window.check(sequence)?;

        let (_, rest) = packet.split_at_mut(HEADER_LEN);
        let (iv, rest) = rest.split_at_mut(self.overhead.iv_len());
        let (body, icv) = rest.split_at_mut(body_len);
        let authenticated = Authenticated::new(self.spi, sequence, self.extended, self.aead);
        self.key.open(authenticated.before(), iv, body, authenticated.after(), icv).map_err(|_| OpenError::BadIcv)?;
        let newest = self.window.accept(fresh);
        // Not before: whoever hears of it takes the packet for a sign of life.
        if self.standing() == Standing::Exhausted {
            return Err(OpenError::Exhausted);
        }

        let (payload, next_header) = unpad(body).map_err(|_| OpenError::BadPadding)?;
        self.packets += 1;
        self.bytes += payload as u64;
        if next_header == NO_NEXT_HEADER {
            return Err(OpenError::Dummy);
        }
        let (packet, _) = body.split_at_mut(payload);
        Ok(Opened { packet, next_header, newest })
    }
}
