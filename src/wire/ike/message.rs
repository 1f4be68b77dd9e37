//! Whole messages (RFC 7296 section 3): the header, payloads in the clear, and the frame of what is encrypted.

use std::ops::Range;

use super::codes::PayloadType;
use super::cursor::TooLong;
use super::fragment::{self, FRAGMENT_HEADER_LEN, Fragment};
use super::header::{HEADER_LEN, Header, MAX_MESSAGE_LEN};
use super::malformed::Malformed;
use super::payload::{self, Chain, Payload};

/// A message whose header and clear payloads are read; what is encrypted is only located.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ParsedMessage<'a> {
    /// The header as it came; its major version is 2 and its length that of `bytes`.
    pub header: Header,
    /// The payloads in the clear, without the Encrypted one. Where there is an Encrypted payload they are not
    /// authenticated until that one is opened.
    pub payloads: Vec<Payload>,
    /// Where the Encrypted payload lies; `None` in a message that is all in the clear.
    pub encrypted: Option<Encrypted>,
    /// The whole datagram, header included.
    pub bytes: &'a [u8],
}

/// Where the Encrypted payload (RFC 7296 section 3.14) lies in its message, which it always ends.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Encrypted {
    /// The type of the first payload inside.
    pub first_payload: PayloadType,
    /// Offset of the initialization vector. All that stands before it is authenticated but not encrypted.
    pub iv_offset: usize,
    /// Set for an Encrypted Fragment payload (RFC 7383).
    pub fragment: Option<Fragment>,
}

/// The parts of an Encrypted payload that opening it needs.
pub struct EncryptedParts<'a> {
    /// From the IKE header to the initialization vector: the associated data (RFC 5282 section 5.1).
    pub before: &'a [u8],
    /// The initialization vector, as long as the suite says.
    pub iv: &'a [u8],
    /// The ciphertext, to be decrypted in place.
    pub body: &'a mut [u8],
    /// The integrity check value at the message's end, over all that stands before it.
    pub icv: &'a [u8],
}

impl Encrypted {
    /// Splits `message`, a copy of the datagram that was parsed; `None` when it is too short for the suite.
    pub fn split<'a>(&self, message: &'a mut [u8], iv_len: usize, icv_len: usize) -> Option<EncryptedParts<'a>> {
        let (before, rest) = message.split_at_mut_checked(self.iv_offset)?;
        let (iv, rest) = rest.split_at_mut_checked(iv_len)?;
        let (body, icv) = rest.split_at_mut_checked(rest.len().checked_sub(icv_len)?)?;
        // The pad length byte at least (RFC 7296 section 3.14).
        (!body.is_empty()).then_some(EncryptedParts { before, iv, body, icv })
    }
}

/// Reads a message: its header, the payloads in the clear, and where the encrypted ones lie.
///
/// # Errors
/// [`Malformed`] says why: among them another major version, a header length that is not the datagram's, an unknown
/// critical payload, bytes after the last one.
pub fn parse_message(bytes: &[u8]) -> Result<ParsedMessage<'_>, Malformed> {
    let header = Header::parse(bytes)?;
    if header.major_version != 2 {
        return Err(Malformed::MajorVersion(header.major_version));
    }
    if bytes.len() > MAX_MESSAGE_LEN {
        return Err(Malformed::TooLong);
    }
    if usize::try_from(header.length) != Ok(bytes.len()) {
        return Err(Malformed::Length { header: header.length, datagram: bytes.len() });
    }
    let mut chain = Chain::new(header.next_payload, &bytes[HEADER_LEN..]);
    let payloads = payload::parse_chain(&mut chain)?;
    let encrypted = match chain.remainder() {
        (PayloadType::NONE, []) => None,
        (PayloadType::NONE, _) => return Err(Malformed::TrailingBytes),
        (kind, rest) => Some(locate_encrypted(kind, rest, bytes.len())?),
    };
    Ok(ParsedMessage { header, payloads, encrypted, bytes })
}

/// Reads the generic header of the Encrypted payload `rest`, which must reach to the end of the message.
fn locate_encrypted(kind: PayloadType, rest: &[u8], message_len: usize) -> Result<Encrypted, Malformed> {
    let malformed = |reason| Malformed::Payload { payload: kind, reason };
    let ([first, _flags, high, low], body) = rest.split_first_chunk().ok_or(malformed("truncated"))?;
    // RFC 7296 section 3.14: it must be the last payload of the message.
    if usize::from(u16::from_be_bytes([*high, *low])) != rest.len() {
        return Err(malformed("it does not end the message"));
    }
    let (fragment, iv_offset) = match kind {
        PayloadType::ENCRYPTED_FRAGMENT => {
            (Some(fragment::parse(body)?), message_len - body.len() + FRAGMENT_HEADER_LEN)
        }
        _ => (None, message_len - body.len()),
    };
    Ok(Encrypted { first_payload: PayloadType(*first), iv_offset, fragment })
}

/// A message in the clear. `header.next_payload` and `header.length` are computed.
///
/// # Errors
/// [`TooLong`] when a value does not fit its length field or the message one datagram.
pub fn encode_message(header: &Header, payloads: &[Payload]) -> Result<Vec<u8>, TooLong> {
    let mut out = vec![0; HEADER_LEN];
    let first = payload::encode_chain(payloads, PayloadType::NONE, &mut out)?;
    finish(header, first, out)
}

/// Writes the header once the rest of the message stands.
fn finish(header: &Header, next_payload: PayloadType, mut message: Vec<u8>) -> Result<Vec<u8>, TooLong> {
    let too_long = TooLong { what: "bytes of a message", limit: MAX_MESSAGE_LEN };
    if message.len() > MAX_MESSAGE_LEN {
        return Err(too_long);
    }
    let length = u32::try_from(message.len()).map_err(|_| too_long)?;
    message[..HEADER_LEN].copy_from_slice(&Header { next_payload, length, ..*header }.encode());
    Ok(message)
}

/// The sizes of a cipher suite that shape an Encrypted payload, in bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct EncryptedShape {
    /// Bytes of the initialization vector before the ciphertext.
    pub iv_len: usize,
    /// What the ciphertext's length must be a multiple of; 1 (or 0) for a stream.
    pub block_len: usize,
    /// Bytes of the integrity check value after the ciphertext.
    pub icv_len: usize,
}

/// A message that is complete but for its encryption: the payloads inside still stand in the clear, padded, and the
/// initialization vector and the integrity check value are zero.
pub struct Sealable {
    /// The whole message.
    pub message: Vec<u8>,
    /// Where in `message` the initialization vector goes.
    pub iv: Range<usize>,
    /// Where in `message` the plaintext stands that is to be encrypted in place, padding included.
    pub body: Range<usize>,
    /// Ends with the message.
    pub icv: Range<usize>,
}

/// The parts of a [`Sealable`] message, for sealing in place.
pub struct SealableParts<'a> {
    /// The associated data: all that precedes the initialization vector.
    pub before: &'a [u8],
    /// Where the initialization vector goes.
    pub iv: &'a mut [u8],
    /// The padded plaintext, to be encrypted in place.
    pub body: &'a mut [u8],
    /// Where the integrity check value over all before it goes.
    pub icv: &'a mut [u8],
}

impl Sealable {
    /// Splits the message, so that the body can be sealed while the rest is read.
    pub fn parts(&mut self) -> SealableParts<'_> {
        let (before, rest) = self.message.split_at_mut(self.iv.start);
        let (iv, rest) = rest.split_at_mut(self.iv.len());
        let (body, icv) = rest.split_at_mut(self.body.len());
        SealableParts { before, iv, body, icv }
    }
}

/// A message with the payloads `clear` in the clear and an Encrypted payload around `inner`, ready to be sealed.
/// `header.next_payload` and `header.length` are computed.
///
/// # Errors
/// [`TooLong`] when a value does not fit its length field or the message one datagram.
pub fn encode_encrypted(
    header: &Header,
    clear: &[Payload],
    inner: &[Payload],
    shape: EncryptedShape,
) -> Result<Sealable, TooLong> {
    let (first_inner, plaintext) = payload::encode_payloads(inner)?;
    frame(header, clear, first_inner, None, plaintext, shape)
}

/// A message around one Encrypted payload, or around the Encrypted Fragment payload of this number, with this plaintext.
pub(super) fn frame(
    header: &Header,
    clear: &[Payload],
    first_inner: PayloadType,
    fragment: Option<Fragment>,
    mut plaintext: Vec<u8>,
    shape: EncryptedShape,
) -> Result<Sealable, TooLong> {
    pad(&mut plaintext, shape.block_len);
    let kind = if fragment.is_some() { PayloadType::ENCRYPTED_FRAGMENT } else { PayloadType::ENCRYPTED };
    let numbers = fragment.map_or_else(Vec::new, |fragment| fragment.encode().to_vec());
    let mut message = vec![0; HEADER_LEN];
    let first = payload::encode_chain(clear, kind, &mut message)?;
    let body_len = numbers.len() + shape.iv_len + plaintext.len() + shape.icv_len;
    payload::encode_encrypted_header(first_inner, body_len, &mut message)?;
    message.extend(numbers);
    let iv = message.len()..message.len() + shape.iv_len;
    let body = iv.end..iv.end + plaintext.len();
    let icv = body.end..body.end + shape.icv_len;
    message.resize(iv.end, 0);
    message.extend(plaintext);
    message.resize(icv.end, 0);
    Ok(Sealable { message: finish(header, first, message)?, iv, body, icv })
}

/// Pads to a multiple of `block_len`; the last byte counts the bytes of padding before it (RFC 7296 section 3.14).
fn pad(plaintext: &mut Vec<u8>, block_len: usize) {
    let padded = (plaintext.len() + 1).next_multiple_of(block_len.clamp(1, 256));
    let padding = padded - plaintext.len() - 1;
    plaintext.resize(padded - 1, 0);
    // Below the block length, of at most 256 bytes.
    plaintext.push(padding as u8);
}

/// The payloads of an opened Encrypted payload, without their padding, whose contents do not matter.
///
/// # Errors
/// [`Malformed::Padding`] when the padding is longer than the plaintext.
pub fn strip_padding(plaintext: &[u8]) -> Result<&[u8], Malformed> {
    let (&padding, rest) = plaintext.split_last().ok_or(Malformed::Padding)?;
    let length = rest.len().checked_sub(padding.into()).ok_or(Malformed::Padding)?;
    Ok(&rest[..length])
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::wire::ike::{ExchangeType, Flags, IkeSpi, parse_payloads};

    fn header() -> Header {
        let flags = Flags { initiator: true, ..Flags::default() };
        Header::new(IkeSpi([1; 8]), IkeSpi([2; 8]), ExchangeType::INFORMATIONAL, flags, 7)
    }

    const SHAPE: EncryptedShape = EncryptedShape { iv_len: 8, block_len: 1, icv_len: 16 };

    #[test]
    fn a_clear_message_comes_back() {
        let payloads = [Payload::VendorId(vec![9]), Payload::Nonce(vec![0; 32])];
        let bytes = encode_message(&header(), &payloads).unwrap();
        let message = parse_message(&bytes).unwrap();
        assert_eq!(message.payloads, payloads);
        assert_eq!((message.encrypted, message.header.message_id), (None, 7));
    }

    #[test]
    fn the_frame_of_an_encrypted_message_is_found_where_it_was_put() {
        for (block_len, inner) in [(1, 0), (1, 5), (16, 0), (16, 11), (16, 12), (16, 27), (0, 3)] {
            let shape = EncryptedShape { iv_len: 16, block_len, icv_len: 12 };
            let payloads = if inner == 0 { Vec::new() } else { vec![Payload::VendorId(vec![1; inner])] };
            let clear = [Payload::VendorId(vec![2])];
            let mut sealable = encode_encrypted(&header(), &clear, &payloads, shape).unwrap();
            assert_eq!(sealable.body.len() % block_len.max(1), 0);
            assert_eq!(sealable.icv.end, sealable.message.len());
            let parts = sealable.parts();
            parts.iv.fill(0xaa);
            parts.icv.fill(0xbb);

            let message = sealable.message.clone();
            let parsed = parse_message(&message).unwrap();
            let encrypted = parsed.encrypted.unwrap();
            assert_eq!(parsed.payloads, clear);
            let mut message = message.clone();
            let parts = encrypted.split(&mut message, shape.iv_len, shape.icv_len).unwrap();
            assert_eq!((parts.iv, parts.icv), (&[0xaa; 16][..], &[0xbb; 12][..]));
            assert_eq!(parts.before, &sealable.message[..sealable.iv.start]);
            let plaintext = strip_padding(parts.body).unwrap();
            assert_eq!(parse_payloads(encrypted.first_payload, plaintext), Ok(payloads));
        }
    }

    #[test]
    fn an_encrypted_payload_ends_its_message() {
        let sealable = encode_encrypted(&header(), &[], &[], SHAPE).unwrap();
        let length = sealable.message.len();
        for wrong in [length - 1, length - HEADER_LEN - 1, 3] {
            let mut message = sealable.message.clone();
            message[HEADER_LEN + 2..HEADER_LEN + 4].copy_from_slice(&(wrong as u16).to_be_bytes());
            assert!(parse_message(&message).is_err(), "length {wrong}");
        }
    }

    #[test]
    fn an_encrypted_payload_too_short_for_its_suite_is_not_split() {
        let mut sealable = encode_encrypted(&header(), &[], &[], SHAPE).unwrap();
        let encrypted = parse_message(&sealable.message.clone()).unwrap().encrypted.unwrap();
        assert!(encrypted.split(&mut sealable.message, 8, 16).is_some());
        assert!(encrypted.split(&mut sealable.message, 9, 16).is_none());
        assert!(encrypted.split(&mut sealable.message, 8, 17).is_none());
        assert!(encrypted.split(&mut sealable.message, 8, 1000).is_none());
    }

    #[test]
    fn fragments_show_their_number() {
        let mut message = encode_message(&header(), &[]).unwrap();
        message[16] = PayloadType::ENCRYPTED_FRAGMENT.0;
        message.extend([35, 0, 0, 12, 0, 1, 0, 2, 9, 9, 9, 9]);
        message[27] = message.len() as u8;
        let encrypted = parse_message(&message).unwrap().encrypted.unwrap();
        assert_eq!(encrypted.fragment, Some(Fragment { number: 1, total: 2 }));
        assert_eq!(&message[encrypted.iv_offset..], [9; 4]);
        message[33] = 0;
        assert!(parse_message(&message).is_err());
    }

    #[test]
    fn lengths_and_versions_are_checked() {
        let bytes = encode_message(&header(), &[Payload::VendorId(vec![9])]).unwrap();
        for length in 0..bytes.len() {
            assert!(parse_message(&bytes[..length]).is_err(), "{length} bytes");
        }
        let mut longer = bytes.clone();
        longer.push(0);
        assert_eq!(parse_message(&longer), Err(Malformed::Length { header: 33, datagram: 34 }));
        longer[27] += 1;
        assert_eq!(parse_message(&longer), Err(Malformed::TrailingBytes));
        for (version, wrong) in [(0x10, Some(1)), (0x30, Some(3)), (0x2f, None)] {
            let mut other = bytes.clone();
            other[17] = version;
            assert_eq!(parse_message(&other).err(), wrong.map(Malformed::MajorVersion));
        }
    }

    #[test]
    fn a_message_is_at_most_a_datagram() {
        let payload = Payload::VendorId(vec![0; 40_000]);
        let too_long = TooLong { what: "bytes of a message", limit: MAX_MESSAGE_LEN };
        assert_eq!(encode_message(&header(), &[payload.clone(), payload]), Err(too_long));
    }

    #[test]
    fn padding_longer_than_the_plaintext_is_refused() {
        assert_eq!(strip_padding(&[]), Err(Malformed::Padding));
        assert_eq!(strip_padding(&[1]), Err(Malformed::Padding));
        assert_eq!(strip_padding(&[5, 0]), Ok(&[5][..]));
        assert_eq!(strip_padding(&[5, 9, 1]), Ok(&[5][..]));
    }
}
