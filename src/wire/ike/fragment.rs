//! The fields of an Encrypted Fragment payload that precede its initialization vector (RFC 7383 section 2.5).

use super::codes::PayloadType;
use super::cursor::Cursor;
use super::malformed::Malformed;

/// Bytes of the two fields.
pub const FRAGMENT_HEADER_LEN: usize = 4;

/// Which part of a fragmented message a fragment is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Fragment {
    /// From 1 to `total`.
    pub number: u16,
    pub total: u16,
}

pub(super) fn parse(body: &[u8]) -> Result<Fragment, Malformed> {
    let malformed = |reason| Malformed::Payload { payload: PayloadType::ENCRYPTED_FRAGMENT, reason };
    let mut body = Cursor::new(body);
    let number = body.u16().ok_or(malformed("truncated"))?;
    let total = body.u16().ok_or(malformed("truncated"))?;
    if number == 0 || number > total {
        return Err(malformed("its number is not between 1 and the total"));
    }
    Ok(Fragment { number, total })
}
