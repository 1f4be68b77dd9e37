//! Configuration payload (RFC 7296 section 3.15).

use super::codes::{ConfigurationType, PayloadType};
use super::cursor::{Cursor, TooLong, put_u16_length};
use super::malformed::Malformed;

/// The bit of an attribute type that is reserved: zero when sent, ignored when read.
const RESERVED: u16 = 0x8000;

/// A request for, or a grant of, addresses and other settings.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Configuration {
    /// Request, reply, set or acknowledgement (CFG Type).
    pub kind: ConfigurationType,
    /// The settings, in the order sent; types may come several times.
    pub attributes: Vec<ConfigurationAttribute>,
}

/// One setting.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ConfigurationAttribute {
    /// 0 to 32767, as IANA's registry of configuration attributes says.
    pub kind: u16,
    /// Empty in a request for any value.
    pub value: Vec<u8>,
}

pub(super) fn parse(body: &[u8]) -> Result<Configuration, Malformed> {
    let malformed = Malformed::Payload { payload: PayloadType::CONFIGURATION, reason: "truncated" };
    let mut body = Cursor::new(body);
    let [kind, _, _, _] = body.array().ok_or(malformed)?;
    let mut attributes = Vec::new();
    while !body.is_empty() {
        attributes.push(parse_attribute(&mut body).ok_or(malformed)?);
    }
    Ok(Configuration { kind: ConfigurationType(kind), attributes })
}

fn parse_attribute(body: &mut Cursor<'_>) -> Option<ConfigurationAttribute> {
    let kind = body.u16()? & !RESERVED;
    let length = body.u16()?;
    Some(ConfigurationAttribute { kind, value: body.take(length.into())?.to_vec() })
}

pub(super) fn encode(value: &Configuration, out: &mut Vec<u8>) -> Result<(), TooLong> {
    let Configuration { kind, attributes } = value;
    out.extend([kind.0, 0, 0, 0]);
    for ConfigurationAttribute { kind, value } in attributes {
        out.extend((kind & !RESERVED).to_be_bytes());
        put_u16_length(out, value.len(), "bytes of a configuration attribute")?;
        out.extend(value);
    }
    Ok(())
}
