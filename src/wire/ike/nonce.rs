//! Nonce payload (RFC 7296 section 3.9).

use std::ops::RangeInclusive;

use super::codes::PayloadType;
use super::malformed::Malformed;

/// Bytes of a nonce (RFC 7296 section 3.9).
pub const NONCE_LEN: RangeInclusive<usize> = 16..=256;

pub(super) fn parse(body: &[u8]) -> Result<Vec<u8>, Malformed> {
    if !NONCE_LEN.contains(&body.len()) {
        return Err(Malformed::Payload { payload: PayloadType::NONCE, reason: "not 16 to 256 bytes long" });
    }
    Ok(body.to_vec())
}
