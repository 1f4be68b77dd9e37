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
    /// How many fragments the message was cut into, at least 1.
    pub total: u16,
}

impl Fragment {
    pub(super) fn encode(self) -> [u8; FRAGMENT_HEADER_LEN] {
        let ([a, b], [c, d]) = (self.number.to_be_bytes(), self.total.to_be_bytes());
        [a, b, c, d]
    }
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_run_from_one_to_the_total() {
        assert_eq!(parse(&[0, 2, 0, 3]), Ok(Fragment { number: 2, total: 3 }));
        for wrong in [&[0, 0, 0, 3][..], &[0, 4, 0, 3], &[0, 0, 0, 0], &[0, 1, 0]] {
            assert!(parse(wrong).is_err(), "{wrong:?}");
        }
    }
}
