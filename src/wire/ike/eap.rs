//! Extensible Authentication payload (RFC 7296 section 3.16): one EAP message.

use super::codes::PayloadType;
use super::cursor::{Cursor, TooLong, set_u16_length};
use super::malformed::Malformed;

/// Where an EAP message keeps its length.
const LENGTH_AT: usize = 2;
const HEADER_LEN: usize = 4;

/// An EAP message (RFC 3748 section 4).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Eap {
    /// 1 request, 2 response, 3 success, 4 failure.
    pub code: u8,
    /// Ties a response to its request (RFC 3748 section 4.1).
    pub identifier: u8,
    /// The type and what it carries; empty for success and failure.
    pub data: Vec<u8>,
}

pub(super) fn parse(body: &[u8]) -> Result<Eap, Malformed> {
    let malformed = |reason| Malformed::Payload { payload: PayloadType::EAP, reason };
    let length = body.len();
    let mut body = Cursor::new(body);
    let [code, identifier, high, low] = body.array::<HEADER_LEN>().ok_or(malformed("truncated"))?;
    if usize::from(u16::from_be_bytes([high, low])) != length {
        return Err(malformed("its length is not that of the payload"));
    }
    Ok(Eap { code, identifier, data: body.rest().to_vec() })
}

pub(super) fn encode(value: &Eap, out: &mut Vec<u8>) -> Result<(), TooLong> {
    let Eap { code, identifier, data } = value;
    let start = out.len();
    out.extend([*code, *identifier, 0, 0]);
    out.extend(data);
    set_u16_length(out, start, LENGTH_AT, "bytes of an EAP message")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn its_length_is_that_of_the_payload() {
        assert_eq!(parse(&[1, 7, 0, 5, 1]), Ok(Eap { code: 1, identifier: 7, data: vec![1] }));
        for wrong in [&[1, 7, 0, 4, 1][..], &[1, 7, 0, 6, 1], &[1, 7, 0], &[]] {
            assert!(parse(wrong).is_err(), "{wrong:?}");
        }
    }
}
