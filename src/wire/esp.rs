//! ESP packets (RFC 4303 section 2): the header in the clear and the trailer inside the ciphertext.

/// Bytes of SPI and sequence number.
pub const HEADER_LEN: usize = 8;
/// Bytes of pad length and next header.
pub const TRAILER_LEN: usize = 2;

/// What every ESP packet begins with.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct EspHeader {
    /// The security parameters index.
    pub spi: u32,
    /// The sequence number, or its low half when extended.
    pub sequence: u32,
}

impl EspHeader {
    /// Reads the header; `None` when the bytes end before it does.
    pub fn parse(packet: &[u8]) -> Option<Self> {
        let &[s0, s1, s2, s3, n0, n1, n2, n3] = packet.first_chunk::<HEADER_LEN>()?;
        Some(Self { spi: u32::from_be_bytes([s0, s1, s2, s3]), sequence: u32::from_be_bytes([n0, n1, n2, n3]) })
    }

    /// The header as it goes on the wire.
    pub fn to_bytes(self) -> [u8; HEADER_LEN] {
        let mut bytes = [0; HEADER_LEN];
        bytes[..4].copy_from_slice(&self.spi.to_be_bytes());
        bytes[4..].copy_from_slice(&self.sequence.to_be_bytes());
        bytes
    }
}

/// The padding is not what RFC 4303 section 2.4 prescribes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("the padding is not 1, 2, 3, … or exceeds the packet")]
pub struct BadPadding;

/// Reads the trailer of a decrypted body: the length of the payload before the padding, and the next header.
///
/// # Errors
/// When the padding is longer than the body or does not count 1, 2, 3, ….
pub fn unpad(body: &[u8]) -> Result<(usize, u8), BadPadding> {
    let (rest, &[pad_len, next_header]) = body.split_last_chunk::<TRAILER_LEN>().ok_or(BadPadding)?;
    let payload = rest.len().checked_sub(usize::from(pad_len)).ok_or(BadPadding)?;
    let counts = rest[payload..].iter().zip(1..=u8::MAX).all(|(byte, expected)| *byte == expected);
    if counts { Ok((payload, next_header)) } else { Err(BadPadding) }
}

/// Fills all that follows a payload, padding and trailer, with 1, 2, 3, …, the pad length and the next header.
///
/// # Panics
/// When `rest` is shorter than the trailer or the padding longer than 255 bytes: mistakes of the caller.
pub fn write_trailer(rest: &mut [u8], next_header: u8) {
    let (padding, trailer) = rest.split_last_chunk_mut::<TRAILER_LEN>().expect("room for the trailer");
    let pad_len = u8::try_from(padding.len()).expect("at most 255 bytes of padding");
    padding.iter_mut().zip(1..=u8::MAX).for_each(|(byte, count)| *byte = count);
    *trailer = [pad_len, next_header];
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn headers_survive_the_round_trip() {
        let header = EspHeader { spi: 0xc001_cafe, sequence: 0xffff_fffe };
        assert_eq!(header.to_bytes(), [0xc0, 0x01, 0xca, 0xfe, 0xff, 0xff, 0xff, 0xfe]);
        assert_eq!(EspHeader::parse(&header.to_bytes()), Some(header));
        assert_eq!(EspHeader::parse(&header.to_bytes()[..7]), None);
    }

    #[test]
    fn trailers_survive_the_round_trip() {
        for padding in 0..=255 {
            let mut body = vec![0xaa; 5 + padding + TRAILER_LEN];
            write_trailer(&mut body[5..], 41);
            assert_eq!(unpad(&body), Ok((5, 41)));
        }
    }

    #[test]
    fn wrong_padding_is_refused() {
        assert_eq!(unpad(&[]), Err(BadPadding));
        assert_eq!(unpad(&[4]), Err(BadPadding));
        assert_eq!(unpad(&[1, 2, 3, 4]), Err(BadPadding), "longer than the packet");
        assert_eq!(unpad(&[9, 1, 2, 2, 3, 4]), Err(BadPadding), "does not count");
        assert_eq!(unpad(&[9, 1, 2, 3, 3, 4]), Ok((1, 4)));
    }

    proptest! {
        #[test]
        fn any_bytes_never_panic(body in proptest::collection::vec(any::<u8>(), 0..300)) {
            let _ = EspHeader::parse(&body);
            if let Ok((payload, _)) = unpad(&body) {
                prop_assert!(payload + TRAILER_LEN <= body.len());
            }
        }
    }
}
