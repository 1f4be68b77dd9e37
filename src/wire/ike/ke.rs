//! Key Exchange payload (RFC 7296 section 3.4).

use super::codes::{KeyExchangeId, PayloadType};
use super::cursor::Cursor;
use super::malformed::Malformed;

/// A public value and the method that it belongs to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct KeyExchange {
    /// The method that the public value belongs to (Diffie-Hellman Group Num).
    pub group: KeyExchangeId,
    /// The public value; its length is not checked here, because only the method knows it.
    pub data: Vec<u8>,
}

pub(super) fn parse(body: &[u8]) -> Result<KeyExchange, Malformed> {
    let mut body = Cursor::new(body);
    let read = |body: &mut Cursor<'_>| {
        let group = body.u16()?;
        let _reserved = body.u16()?;
        Some(KeyExchangeId(group))
    };
    let group =
        read(&mut body).ok_or(Malformed::Payload { payload: PayloadType::KEY_EXCHANGE, reason: "truncated" })?;
    Ok(KeyExchange { group, data: body.rest().to_vec() })
}

pub(super) fn encode(value: &KeyExchange, out: &mut Vec<u8>) {
    let KeyExchange { group, data } = value;
    out.extend(group.0.to_be_bytes());
    out.extend([0, 0]);
    out.extend(data);
}
