//! Security Association payload: proposals and their transforms (RFC 7296 section 3.3).

use super::codes::{PayloadType, ProtocolId, TransformAttributeType, TransformType};
use super::cursor::{Cursor, TooLong, put_u8_length, set_u16_length};
use super::malformed::Malformed;

/// Where a proposal and a transform keep their 16-bit length.
const SUBSTRUCTURE_LENGTH_AT: usize = 2;
const PROPOSAL_HEADER_LEN: usize = 8;
const TRANSFORM_HEADER_LEN: usize = 8;
/// Proposals of one offer: their numbers have one octet and begin at 1.
const MAX_PROPOSALS: usize = u8::MAX as usize;
/// First byte of a substructure that is the last of its kind.
const LAST: u8 = 0;
const MORE_PROPOSALS: u8 = 2;
const MORE_TRANSFORMS: u8 = 3;
/// The bit of an attribute type that says: a 16-bit value follows instead of a length (TV form).
const SHORT_FORM: u16 = 0x8000;

/// One proposal: a protocol and, for each transform type, the alternatives that its sender accepts.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Proposal {
    /// 1 for the first proposal of an offer, then one more each; an answer repeats the number that it chose.
    pub number: u8,
    /// What the proposal is for: IKE, ESP or AH.
    pub protocol: ProtocolId,
    /// Empty in IKE_SA_INIT, 8 bytes when an IKE SA is rekeyed, 4 bytes for ESP. At most 255 bytes.
    pub spi: Vec<u8>,
    /// In the order sent, which is the sender's order of preference within one transform type. At most 255.
    pub transforms: Vec<Transform>,
}

impl Proposal {
    /// The transforms of one type, in order.
    pub fn transforms_of(&self, kind: TransformType) -> impl Iterator<Item = &Transform> {
        self.transforms.iter().filter(move |transform| transform.kind == kind)
    }
}

/// One algorithm that a proposal offers.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Transform {
    /// What the algorithm is for (Transform Type).
    pub kind: TransformType,
    /// An `EncryptionId`, `PrfId`, … as `kind` says.
    pub id: u16,
    /// The key length attribute, in bits.
    pub key_bits: Option<u16>,
    /// The attributes that are not understood, and a key length after the first, as they were sent. A transform that has
    /// any must not be chosen (RFC 7296 section 3.3.6).
    pub unknown_attributes: Vec<u8>,
}

impl Transform {
    /// A transform with no attribute but, perhaps, the length of its key.
    pub fn new(kind: TransformType, id: u16, key_bits: Option<u16>) -> Self {
        Self { kind, id, key_bits, unknown_attributes: Vec::new() }
    }

    /// Whether every attribute is understood: only then may the transform be chosen (RFC 7296 section 3.3.6).
    pub fn is_understood(&self) -> bool {
        self.unknown_attributes.is_empty()
    }
}

fn malformed(reason: &'static str) -> Malformed {
    Malformed::Payload { payload: PayloadType::SECURITY_ASSOCIATION, reason }
}

pub(super) fn parse(body: &[u8]) -> Result<Vec<Proposal>, Malformed> {
    let mut proposals: Vec<Proposal> = Vec::new();
    let mut rest = Cursor::new(body);
    loop {
        let (proposal, last) = parse_proposal(&mut rest)?;
        // RFC 7296 section 3.3.1: each number is one more than that before it. That the first is 1 holds for offers only.
        if proposals.last().is_some_and(|previous| Some(proposal.number) != previous.number.checked_add(1)) {
            return Err(malformed("proposals are not numbered one by one"));
        }
        proposals.push(proposal);
        match (last, rest.is_empty()) {
            (true, true) => return Ok(proposals),
            (true, false) => return Err(malformed("bytes follow the last proposal")),
            (false, _) => {}
        }
    }
}

fn parse_proposal(rest: &mut Cursor<'_>) -> Result<(Proposal, bool), Malformed> {
    let (marker, body) = substructure(rest, "truncated proposal")?;
    let last = is_last(marker, MORE_PROPOSALS)?;
    let mut body = Cursor::new(body);
    let header: [u8; PROPOSAL_HEADER_LEN - 4] = body.array().ok_or(malformed("truncated proposal"))?;
    let [number, protocol, spi_len, count] = header;
    let spi = body.take(spi_len.into()).ok_or(malformed("truncated SPI"))?.to_vec();
    let mut transforms = Vec::with_capacity(count.into());
    for position in 1..=count {
        let (transform, last) = parse_transform(&mut body)?;
        if last != (position == count) {
            return Err(malformed("the count of transforms is wrong"));
        }
        transforms.push(transform);
    }
    if !body.is_empty() {
        return Err(malformed("bytes follow the last transform"));
    }
    Ok((Proposal { number, protocol: ProtocolId(protocol), spi, transforms }, last))
}

fn parse_transform(rest: &mut Cursor<'_>) -> Result<(Transform, bool), Malformed> {
    let (marker, body) = substructure(rest, "truncated transform")?;
    let last = is_last(marker, MORE_TRANSFORMS)?;
    let mut body = Cursor::new(body);
    let header: [u8; TRANSFORM_HEADER_LEN - 4] = body.array().ok_or(malformed("truncated transform"))?;
    let [kind, _reserved, id_high, id_low] = header;
    let id = u16::from_be_bytes([id_high, id_low]);
    let mut transform = Transform::new(TransformType(kind), id, None);
    while !body.is_empty() {
        parse_attribute(&mut body, &mut transform).ok_or(malformed("truncated attribute"))?;
    }
    Ok((transform, last))
}

fn parse_attribute(body: &mut Cursor<'_>, transform: &mut Transform) -> Option<()> {
    let kind = body.u16()?;
    let value_or_length = body.u16()?;
    if kind == TransformAttributeType::KEY_LENGTH.0 | SHORT_FORM && transform.key_bits.is_none() {
        transform.key_bits = Some(value_or_length);
        return Some(());
    }
    let long_value = if kind & SHORT_FORM == 0 { body.take(value_or_length.into())? } else { &[] };
    for part in [&kind.to_be_bytes()[..], &value_or_length.to_be_bytes(), long_value] {
        transform.unknown_attributes.extend(part);
    }
    Some(())
}

/// Splits off one length-prefixed substructure: its first byte and what follows its length field.
fn substructure<'a>(rest: &mut Cursor<'a>, truncated: &'static str) -> Result<(u8, &'a [u8]), Malformed> {
    let read = |rest: &mut Cursor<'a>| {
        let [marker, _reserved] = rest.array()?;
        let length = usize::from(rest.u16()?).checked_sub(SUBSTRUCTURE_LENGTH_AT + 2)?;
        Some((marker, rest.take(length)?))
    };
    read(rest).ok_or(malformed(truncated))
}

fn is_last(marker: u8, more: u8) -> Result<bool, Malformed> {
    match marker {
        LAST => Ok(true),
        marker if marker == more => Ok(false),
        _ => Err(malformed("a substructure says neither last nor more")),
    }
}

pub(super) fn encode(proposals: &[Proposal], out: &mut Vec<u8>) -> Result<(), TooLong> {
    if proposals.len() > MAX_PROPOSALS {
        return Err(TooLong { what: "proposals in one offer", limit: MAX_PROPOSALS });
    }
    for (index, proposal) in proposals.iter().enumerate() {
        let Proposal { number, protocol, spi, transforms } = proposal;
        let start = out.len();
        let last = index + 1 == proposals.len();
        out.extend([if last { LAST } else { MORE_PROPOSALS }, 0, 0, 0, *number, protocol.0]);
        put_u8_length(out, spi.len(), "bytes of an SPI")?;
        put_u8_length(out, transforms.len(), "algorithms in one proposal")?;
        out.extend(spi);
        for (index, transform) in transforms.iter().enumerate() {
            encode_transform(transform, index + 1 == transforms.len(), out)?;
        }
        set_u16_length(out, start, SUBSTRUCTURE_LENGTH_AT, "bytes of a proposal")?;
    }
    Ok(())
}

fn encode_transform(transform: &Transform, last: bool, out: &mut Vec<u8>) -> Result<(), TooLong> {
    let Transform { kind, id, key_bits, unknown_attributes } = transform;
    let start = out.len();
    out.extend([if last { LAST } else { MORE_TRANSFORMS }, 0, 0, 0, kind.0, 0]);
    out.extend(id.to_be_bytes());
    if let Some(bits) = key_bits {
        out.extend((TransformAttributeType::KEY_LENGTH.0 | SHORT_FORM).to_be_bytes());
        out.extend(bits.to_be_bytes());
    }
    out.extend(unknown_attributes);
    set_u16_length(out, start, SUBSTRUCTURE_LENGTH_AT, "bytes of a transform")
}

#[cfg(test)]
mod tests {
    use super::*;

    /// One ESP proposal: AES-GCM-16-256 and no extended sequence numbers, laid out as RFC 7296 section 3.3 draws it.
    const ESP: &[u8] = &[
        0, 0, 0, 32, 1, 3, 4, 2, 0xca, 0xfe, 0xba,
        0xbe, // last, 32 bytes, number 1, ESP, a 4-byte SPI, 2 transforms
        3, 0, 0, 12, 1, 0, 0, 20, 0x80, 14, 1, 0, // more, 12 bytes, encryption, AES-GCM-16, key length 256
        0, 0, 0, 8, 5, 0, 0, 0, // last, 8 bytes, sequence numbers, 32-bit
    ];

    fn esp() -> Proposal {
        Proposal {
            number: 1,
            protocol: ProtocolId::ESP,
            spi: vec![0xca, 0xfe, 0xba, 0xbe],
            transforms: vec![
                Transform::new(TransformType::ENCRYPTION, 20, Some(256)),
                Transform::new(TransformType::SEQUENCE_NUMBERS, 0, None),
            ],
        }
    }

    #[test]
    fn reads_and_writes_the_layout_of_the_rfc() {
        assert_eq!(parse(ESP), Ok(vec![esp()]));
        let mut out = Vec::new();
        encode(&[esp()], &mut out).unwrap();
        assert_eq!(out, ESP);
        assert_eq!(esp().transforms_of(TransformType::ENCRYPTION).count(), 1);
    }

    #[test]
    fn every_truncation_is_refused() {
        for length in 0..ESP.len() {
            assert!(parse(&ESP[..length]).is_err(), "{length} bytes");
        }
    }

    #[test]
    fn what_cannot_be_understood_about_a_transform_is_remembered() {
        let mut long_form = ESP.to_vec();
        long_form[20..24].copy_from_slice(&[0, 99, 0, 0]);
        assert!(!parse(&long_form).unwrap()[0].transforms[0].is_understood());
        // Written again, it says the same: a transform that must not be chosen stays one.
        let read = parse(&long_form).unwrap();
        let mut written = Vec::new();
        encode(&read, &mut written).unwrap();
        assert_eq!(parse(&written), Ok(read));
        let mut overlong = ESP.to_vec();
        overlong[20..24].copy_from_slice(&[0, 99, 0, 1]);
        assert!(parse(&overlong).is_err());
    }

    #[test]
    fn a_key_length_given_twice_makes_a_transform_unusable() {
        let twice = [0, 0, 0, 24, 1, 3, 0, 1, 0, 0, 0, 16, 1, 0, 0, 20, 0x80, 14, 1, 0, 0x80, 14, 0, 128];
        assert!(!parse(&twice).unwrap()[0].transforms[0].is_understood());
    }

    #[test]
    fn counts_and_markers_must_agree() {
        for (at, value) in [(7, 1), (7, 3), (12, 0), (24, 3), (0, 2), (0, 7), (3, 31), (15, 11)] {
            let mut bytes = ESP.to_vec();
            bytes[at] = value;
            assert!(parse(&bytes).is_err(), "byte {at} is {value}");
        }
    }

    #[test]
    fn proposals_are_numbered_one_by_one() {
        let numbered = |numbers: &[u8]| {
            let proposals: Vec<_> = numbers.iter().map(|&number| Proposal { number, ..esp() }).collect();
            let mut out = Vec::new();
            encode(&proposals, &mut out).unwrap();
            parse(&out)
        };
        assert_eq!(numbered(&[1, 2, 3]).unwrap().len(), 3);
        // An answer repeats the number of the proposal that it chose.
        assert_eq!(numbered(&[7]).unwrap()[0].number, 7);
        for wrong in [&[1, 1][..], &[1, 3], &[2, 1], &[255, 0]] {
            assert!(numbered(wrong).is_err(), "{wrong:?}");
        }
    }

    #[test]
    fn what_does_not_fit_is_not_written() {
        let mut proposal = esp();
        proposal.transforms = vec![proposal.transforms[0].clone(); 256];
        let too_many = TooLong { what: "algorithms in one proposal", limit: 255 };
        assert_eq!(encode(&[proposal], &mut Vec::new()), Err(too_many));
        let too_many = TooLong { what: "proposals in one offer", limit: 255 };
        assert_eq!(encode(&vec![esp(); 256], &mut Vec::new()), Err(too_many));
        assert_eq!(encode(&vec![esp(); 255], &mut Vec::new()), Ok(()));
    }
}
