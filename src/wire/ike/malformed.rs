//! Why bytes are not an IKEv2 message.

use super::codes::PayloadType;

/// Why bytes could not be read as an IKEv2 message or as its payloads.
///
/// Everything but [`Malformed::UnsupportedCriticalPayload`] and [`Malformed::MajorVersion`] is INVALID_SYNTAX when it
/// stands in a message that is authenticated (RFC 7296 section 2.21); otherwise it is only dropped.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum Malformed {
    #[error("the message ends before its {0} does")]
    Truncated(&'static str),
    #[error("the header gives {header} bytes, the datagram has {datagram}")]
    Length { header: u32, datagram: usize },
    #[error("the message is longer than 65535 bytes")]
    TooLong,
    /// The header follows another major version: INVALID_MAJOR_VERSION (RFC 7296 section 2.5).
    #[error("major version {0} is not 2")]
    MajorVersion(u8),
    /// A payload that must be understood is not: UNSUPPORTED_CRITICAL_PAYLOAD with its type (RFC 7296 section 2.5).
    #[error("payload type {} is critical and unknown", .0.0)]
    UnsupportedCriticalPayload(PayloadType),
    #[error("{payload} payload: {reason}")]
    Payload { payload: PayloadType, reason: &'static str },
    /// One of those that an exchange has a number of; how many others there are does not matter.
    #[error("more than {limit} {payload} payloads")]
    TooMany { payload: PayloadType, limit: usize },
    #[error("bytes follow the last payload")]
    TrailingBytes,
    #[error("the padding is longer than the plaintext")]
    Padding,
}
