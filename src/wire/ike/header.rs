//! The IKE header (RFC 7296 section 3.1).

use std::fmt;

use super::codes::{ExchangeType, PayloadType};
use super::malformed::Malformed;

/// Bytes of the IKE header.
pub const HEADER_LEN: usize = 28;

/// Longest message that is read or written: what one UDP datagram over IPv4 can carry behind a non-ESP marker, which is
/// 65535 bytes less 20 of IP, 8 of UDP and 4 of the marker (RFC 3948 section 2.2).
pub const MAX_MESSAGE_LEN: usize = 65_535 - 20 - 8 - 4;

/// Where each field of the header lies.
mod field {
    use std::ops::Range;

    pub const INITIATOR_SPI: Range<usize> = 0..8;
    pub const RESPONDER_SPI: Range<usize> = 8..16;
    pub const NEXT_PAYLOAD: usize = 16;
    pub const VERSION: usize = 17;
    pub const EXCHANGE_TYPE: usize = 18;
    pub const FLAGS: usize = 19;
    pub const MESSAGE_ID: Range<usize> = 20..24;
    pub const LENGTH: Range<usize> = 24..28;
}

/// The SPI of one end of an IKE SA; all zero while the responder has not chosen one.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct IkeSpi(pub [u8; 8]);

impl IkeSpi {
    /// No SPI: what the responder's field holds until the responder has chosen one (RFC 7296 section 3.1).
    pub const ZERO: Self = Self([0; 8]);

    /// Whether all bytes are zero, so that no SPI has been chosen; an SPI that is in use never is.
    pub fn is_zero(self) -> bool {
        self == Self::ZERO
    }
}

impl fmt::Display for IkeSpi {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:016x}", u64::from_be_bytes(self.0))
    }
}

impl fmt::Debug for IkeSpi {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "IkeSpi({self})")
    }
}

/// The flags of the header; reserved bits are ignored when read and zero when written.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
pub struct Flags {
    /// The sender is the original initiator of the IKE SA (I).
    pub initiator: bool,
    /// The sender could speak a higher major version (V).
    pub version: bool,
    /// The message answers a request of the same message id (R).
    pub response: bool,
}

impl Flags {
    const INITIATOR: u8 = 0x08;
    const VERSION: u8 = 0x10;
    const RESPONSE: u8 = 0x20;

    fn from_bits(bits: u8) -> Self {
        Self {
            initiator: bits & Self::INITIATOR != 0,
            version: bits & Self::VERSION != 0,
            response: bits & Self::RESPONSE != 0,
        }
    }

    fn bits(self) -> u8 {
        let Self { initiator, version, response } = self;
        (if initiator { Self::INITIATOR } else { 0 })
            | (if version { Self::VERSION } else { 0 })
            | (if response { Self::RESPONSE } else { 0 })
    }
}

/// The IKE header.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Header {
    /// Chosen by the original initiator of the IKE SA; never zero in a valid message.
    pub initiator_spi: IkeSpi,
    /// Chosen by the responder; zero in the first request of an IKE SA.
    pub responder_spi: IkeSpi,
    /// Type of the first payload; the encoder fills it in.
    pub next_payload: PayloadType,
    /// 2 in every message that this crate writes.
    pub major_version: u8,
    /// Ignored when read (RFC 7296 section 2.5).
    pub minor_version: u8,
    /// What the message is for; decides which payloads it has.
    pub exchange_type: ExchangeType,
    /// Who sends, and whether it is a response.
    pub flags: Flags,
    /// Number of the exchange among those that one end began, from 0; a response repeats the request's (RFC 7296
    /// section 2.2).
    pub message_id: u32,
    /// Bytes of the whole message, this header included; the encoder fills it in.
    pub length: u32,
}

impl Header {
    /// A version 2.0 header whose `next_payload` and `length` the encoder will fill in.
    pub fn new(
        initiator_spi: IkeSpi,
        responder_spi: IkeSpi,
        exchange_type: ExchangeType,
        flags: Flags,
        message_id: u32,
    ) -> Self {
        Self {
            initiator_spi,
            responder_spi,
            next_payload: PayloadType::NONE,
            major_version: 2,
            minor_version: 0,
            exchange_type,
            flags,
            message_id,
            length: 0,
        }
    }

    /// Reads the header alone: no check of its version or of its length against the datagram, so that
    /// INVALID_MAJOR_VERSION can be answered and demultiplexing costs little.
    pub fn parse(bytes: &[u8]) -> Result<Self, Malformed> {
        let bytes: &[u8; HEADER_LEN] = bytes.first_chunk().ok_or(Malformed::Truncated("header"))?;
        let four = |range: std::ops::Range<usize>| {
            bytes[range].iter().fold(0_u32, |value, &byte| value << 8 | u32::from(byte))
        };
        let mut initiator_spi = IkeSpi::ZERO;
        initiator_spi.0.copy_from_slice(&bytes[field::INITIATOR_SPI]);
        let mut responder_spi = IkeSpi::ZERO;
        responder_spi.0.copy_from_slice(&bytes[field::RESPONDER_SPI]);
        Ok(Self {
            initiator_spi,
            responder_spi,
            next_payload: PayloadType(bytes[field::NEXT_PAYLOAD]),
            major_version: bytes[field::VERSION] >> 4,
            minor_version: bytes[field::VERSION] & 0x0f,
            exchange_type: ExchangeType(bytes[field::EXCHANGE_TYPE]),
            flags: Flags::from_bits(bytes[field::FLAGS]),
            message_id: four(field::MESSAGE_ID),
            length: four(field::LENGTH),
        })
    }

    /// The header's bytes, every field as it stands in `self`.
    pub fn encode(&self) -> [u8; HEADER_LEN] {
        let Self {
            initiator_spi,
            responder_spi,
            next_payload,
            major_version,
            minor_version,
            exchange_type,
            flags,
            message_id,
            length,
        } = *self;
        let mut bytes = [0; HEADER_LEN];
        bytes[field::INITIATOR_SPI].copy_from_slice(&initiator_spi.0);
        bytes[field::RESPONDER_SPI].copy_from_slice(&responder_spi.0);
        bytes[field::NEXT_PAYLOAD] = next_payload.0;
        bytes[field::VERSION] = major_version << 4 | (minor_version & 0x0f);
        bytes[field::EXCHANGE_TYPE] = exchange_type.0;
        bytes[field::FLAGS] = flags.bits();
        bytes[field::MESSAGE_ID].copy_from_slice(&message_id.to_be_bytes());
        bytes[field::LENGTH].copy_from_slice(&length.to_be_bytes());
        bytes
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const BYTES: [u8; HEADER_LEN] =
        [1, 2, 3, 4, 5, 6, 7, 8, 0, 0, 0, 0, 0, 0, 0, 9, 33, 0x20, 34, 0x08, 0, 0, 0, 0, 0, 0, 1, 0];

    #[test]
    fn reads_and_writes_each_field() {
        let header = Header::parse(&BYTES).unwrap();
        assert_eq!(header.initiator_spi, IkeSpi([1, 2, 3, 4, 5, 6, 7, 8]));
        assert_eq!(header.responder_spi, IkeSpi([0, 0, 0, 0, 0, 0, 0, 9]));
        assert_eq!(header.next_payload, PayloadType::SECURITY_ASSOCIATION);
        assert_eq!((header.major_version, header.minor_version), (2, 0));
        assert_eq!(header.exchange_type, ExchangeType::IKE_SA_INIT);
        assert_eq!(header.flags, Flags { initiator: true, version: false, response: false });
        assert_eq!((header.message_id, header.length), (0, 256));
        assert_eq!(header.encode(), BYTES);
    }

    #[test]
    fn needs_all_its_bytes() {
        for length in 0..HEADER_LEN {
            assert_eq!(Header::parse(&BYTES[..length]), Err(Malformed::Truncated("header")));
        }
    }

    #[test]
    fn reserved_flags_are_ignored_and_not_sent() {
        let mut bytes = BYTES;
        bytes[19] = 0xff;
        let header = Header::parse(&bytes).unwrap();
        assert_eq!(header.flags, Flags { initiator: true, version: true, response: true });
        assert_eq!(header.encode()[19], 0x38);
    }
}
