//! Delete payload (RFC 7296 section 3.11).

use super::codes::{PayloadType, ProtocolId};
use super::cursor::{Cursor, TooLong, put_u16_length};
use super::malformed::Malformed;

/// Bytes of an ESP or AH SPI.
const SPI_LEN: u8 = 4;

/// The SAs that their sender has deleted.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Delete {
    /// `IKE` deletes the IKE SA that carries the payload, with all its Child SAs.
    pub protocol: ProtocolId,
    /// The SPIs on which the sender would have received; empty for `IKE`. At most 65535.
    pub spis: Vec<[u8; 4]>,
}

impl Delete {
    /// Deletes the IKE SA that carries the payload.
    pub fn ike() -> Self {
        Self { protocol: ProtocolId::IKE, spis: Vec::new() }
    }

    /// Deletes ESP SAs by the SPIs on which the sender receives.
    pub fn esp(inbound_spis: impl IntoIterator<Item = u32>) -> Self {
        Self { protocol: ProtocolId::ESP, spis: inbound_spis.into_iter().map(u32::to_be_bytes).collect() }
    }
}

fn malformed(reason: &'static str) -> Malformed {
    Malformed::Payload { payload: PayloadType::DELETE, reason }
}

pub(super) fn parse(body: &[u8]) -> Result<Delete, Malformed> {
    let mut body = Cursor::new(body);
    let [protocol, spi_len] = body.array().ok_or(malformed("truncated"))?;
    let count = usize::from(body.u16().ok_or(malformed("truncated"))?);
    let protocol = ProtocolId(protocol);
    let rest = body.rest();
    // RFC 7296 section 3.11: the SPI size is 0 for IKE, whose SPI stands in the header, and 4 for AH and ESP.
    if protocol == ProtocolId::IKE {
        if spi_len != 0 || count != 0 || !rest.is_empty() {
            return Err(malformed("SPIs in a deletion of the IKE SA"));
        }
        return Ok(Delete { protocol, spis: Vec::new() });
    }
    if spi_len != SPI_LEN {
        return Err(malformed("an SPI size that is not 4"));
    }
    let (spis, remainder) = rest.as_chunks();
    if spis.len() != count || !remainder.is_empty() {
        return Err(malformed("the count of SPIs is wrong"));
    }
    Ok(Delete { protocol, spis: spis.to_vec() })
}

pub(super) fn encode(value: &Delete, out: &mut Vec<u8>) -> Result<(), TooLong> {
    let Delete { protocol, spis } = value;
    out.extend([protocol.0, if *protocol == ProtocolId::IKE { 0 } else { SPI_LEN }]);
    put_u16_length(out, spis.len(), "SPIs in one deletion")?;
    out.extend(spis.as_flattened());
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_and_writes_the_layout_of_the_rfc() {
        let bytes = [3, 4, 0, 2, 0, 0, 1, 0, 0xff, 0xee, 0xdd, 0xcc];
        let delete = Delete::esp([0x100, 0xffee_ddcc]);
        assert_eq!(parse(&bytes), Ok(delete.clone()));
        let mut out = Vec::new();
        encode(&delete, &mut out).unwrap();
        assert_eq!(out, bytes);
        assert_eq!(parse(&[1, 0, 0, 0]), Ok(Delete::ike()));
    }

    #[test]
    fn sizes_and_counts_must_agree() {
        let wrong: &[&[u8]] = &[
            &[],
            &[3, 4, 0],
            &[3, 4, 0, 1],
            &[3, 4, 0, 1, 1, 2, 3],
            &[3, 4, 0, 0, 1, 2, 3, 4],
            &[3, 8, 0, 1, 1, 2, 3, 4, 5, 6, 7, 8],
            &[3, 0, 255, 255],
            &[1, 4, 0, 1, 1, 2, 3, 4],
            &[1, 0, 0, 1],
            &[1, 0, 0, 0, 0],
        ];
        for bytes in wrong {
            assert!(parse(bytes).is_err(), "{bytes:?}");
        }
    }
}
