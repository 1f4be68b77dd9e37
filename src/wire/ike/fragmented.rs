//! A protected message as one datagram, or as several where it would be too large (RFC 7383 section 2.5).

use super::codes::PayloadType;
use super::cursor::TooLong;
use super::fragment::{FRAGMENT_HEADER_LEN, Fragment};
use super::header::{HEADER_LEN, Header, MAX_MESSAGE_LEN};
use super::message::{EncryptedShape, Sealable, frame};
use super::payload::{self, PAYLOAD_HEADER_LEN, Payload};

/// Bytes of payloads that a fragment carries at least, however small it was to be: something has to get through.
const LEAST_CONTENT: usize = 16;

/// A message with an Encrypted payload around `inner`, ready to be sealed; or, if it would have more than `limit` bytes,
/// its fragments, none of which has. `header.next_payload` and `header.length` are computed.
///
/// # Errors
/// [`TooLong`] when a value does not fit its length field, or the message has more bytes than one datagram can.
pub fn encode_fragments(
    header: &Header,
    inner: &[Payload],
    shape: EncryptedShape,
    limit: usize,
) -> Result<Vec<Sealable>, TooLong> {
    let (first_inner, plaintext) = payload::encode_payloads(inner)?;
    let whole = frame(header, &[], first_inner, None, plaintext.clone(), shape)?;
    if whole.message.len() <= limit {
        return Ok(vec![whole]);
    }
    let headers = HEADER_LEN + PAYLOAD_HEADER_LEN + FRAGMENT_HEADER_LEN + shape.iv_len + shape.icv_len;
    let room = limit.saturating_sub(headers);
    // One byte counts the padding.
    let content = (room - room % shape.block_len.max(1)).saturating_sub(1).max(LEAST_CONTENT);
    let pieces = plaintext.chunks(content);
    let too_long = TooLong { what: "bytes of a message", limit: MAX_MESSAGE_LEN };
    let total = u16::try_from(pieces.len()).map_err(|_| too_long)?;
    let one = |(number, piece): (u16, &[u8])| {
        let fragment = Fragment { number, total };
        // Only the first one tells the type of the first payload inside (RFC 7383 section 2.5).
        let first = if number == 1 { first_inner } else { PayloadType::NONE };
        frame(header, &[], first, Some(fragment), piece.to_vec(), shape)
    };
    (1..=total).zip(pieces).map(one).collect()
}

#[cfg(test)]
mod tests {
    use super::super::{ExchangeType, Flags, IkeSpi, parse_message, parse_payloads, strip_padding};
    use super::*;

    fn header() -> Header {
        let flags = Flags { initiator: true, ..Flags::default() };
        Header::new(IkeSpi([1; 8]), IkeSpi([2; 8]), ExchangeType::IKE_AUTH, flags, 1)
    }

    #[test]
    fn fragments_are_within_the_limit_and_come_together_again() {
        let inner = [Payload::VendorId(vec![7; 700]), Payload::Nonce(vec![8; 32])];
        for (iv_len, block_len, icv_len) in [(8, 1, 16), (16, 16, 12), (16, 16, 32)] {
            let shape = EncryptedShape { iv_len, block_len, icv_len };
            for limit in [120, 200, 201, 215, 576, 700] {
                let sealables = encode_fragments(&header(), &inner, shape, limit).unwrap();
                assert!(sealables.len() > 1);
                let (mut first, mut plaintext) = (PayloadType::NONE, Vec::new());
                for (index, sealable) in sealables.iter().enumerate() {
                    assert!(sealable.message.len() <= limit, "{} of {limit}", sealable.message.len());
                    assert_eq!(sealable.body.len() % block_len, 0);
                    let parsed = parse_message(&sealable.message).unwrap();
                    let encrypted = parsed.encrypted.unwrap();
                    let number = index as u16 + 1;
                    let total = sealables.len() as u16;
                    assert_eq!(encrypted.fragment, Some(Fragment { number, total }));
                    if number == 1 {
                        first = encrypted.first_payload;
                    } else {
                        assert_eq!(encrypted.first_payload, PayloadType::NONE);
                    }
                    let mut copy = sealable.message.clone();
                    let parts = encrypted.split(&mut copy, iv_len, icv_len).unwrap();
                    plaintext.extend(strip_padding(parts.body).unwrap());
                }
                assert_eq!(parse_payloads(first, &plaintext).unwrap(), inner);
            }
        }
    }

    #[test]
    fn what_fits_is_not_fragmented() {
        let shape = EncryptedShape { iv_len: 8, block_len: 1, icv_len: 16 };
        let inner = [Payload::VendorId(vec![7; 100])];
        let whole = encode_fragments(&header(), &inner, shape, usize::MAX).unwrap();
        let length = whole[0].message.len();
        assert_eq!(encode_fragments(&header(), &inner, shape, length).unwrap().len(), 1);
        assert_eq!(encode_fragments(&header(), &inner, shape, length - 1).unwrap().len(), 2);
        assert_eq!(parse_message(&whole[0].message).unwrap().encrypted.unwrap().fragment, None);
    }
}
