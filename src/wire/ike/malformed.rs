//! Why bytes are not an IKEv2 message.

use super::codes::PayloadType;

/// Why bytes could not be read as an IKEv2 message or as its payloads.
///
/// Everything but [`Malformed::UnsupportedCriticalPayload`] and [`Malformed::MajorVersion`] is INVALID_SYNTAX when it
/// stands in a message that is authenticated (RFC 7296 section 2.21); otherwise it is only dropped.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum Malformed {
    /// The datagram ends within the named part.
    #[error("the message ends before its {0} does")]
    Truncated(&'static str),
    /// The Length field of the header is not the datagram's length, in bytes.
    #[error("the header gives {header} bytes, the datagram has {datagram}")]
    Length {
        /// What the header says.
        header: u32,
        /// What has come.
        datagram: usize,
    },
    /// The message has more than [`MAX_MESSAGE_LEN`](super::header::MAX_MESSAGE_LEN) bytes.
    #[error("the message is longer than 65535 bytes")]
    TooLong,
    /// The header follows another major version: INVALID_MAJOR_VERSION (RFC 7296 section 2.5).
    #[error("major version {0} is not 2")]
    MajorVersion(u8),
    /// A payload that must be understood is not: UNSUPPORTED_CRITICAL_PAYLOAD with its type (RFC 7296 section 2.5).
    #[error("payload type {} is critical and unknown", .0.0)]
    UnsupportedCriticalPayload(PayloadType),
    /// A payload cannot be read.
    #[error("{payload} payload: {reason}")]
    Payload {
        /// Its type.
        payload: PayloadType,
        /// What is wrong with it, for the log.
        reason: &'static str,
    },
    /// One of those that an exchange has a number of; how many others there are does not matter.
    #[error("more than {limit} {payload} payloads")]
    TooMany {
        /// The payload that comes too often.
        payload: PayloadType,
        /// How often it may come.
        limit: usize,
    },
    /// The last payload names no successor, but the message or the Encrypted payload goes on.
    #[error("bytes follow the last payload")]
    TrailingBytes,
    /// The Pad Length byte of the Encrypted payload counts more bytes than there are, or is missing (RFC 7296 section
    /// 3.14).
    #[error("the padding is longer than the plaintext")]
    Padding,
}
