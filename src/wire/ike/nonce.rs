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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sixteen_to_256_bytes() {
        for (length, fits) in [(0, false), (15, false), (16, true), (256, true), (257, false)] {
            assert_eq!(parse(&vec![7; length]).is_ok(), fits, "{length} bytes");
        }
    }
}
