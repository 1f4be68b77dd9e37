//! Authentication payload (RFC 7296 section 3.8).

use super::codes::{AuthMethod, PayloadType};
use super::cursor::Cursor;
use super::malformed::Malformed;

/// The proof that the sender is who its identification payload says.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Authentication {
    /// How the proof was made (Auth Method).
    pub method: AuthMethod,
    /// The MAC or signature itself (Authentication Data); its length is not checked here, because only the method knows
    /// it.
    pub data: Vec<u8>,
}

pub(super) fn parse(body: &[u8]) -> Result<Authentication, Malformed> {
    let mut body = Cursor::new(body);
    let [method, _, _, _] =
        body.array().ok_or(Malformed::Payload { payload: PayloadType::AUTHENTICATION, reason: "truncated" })?;
    Ok(Authentication { method: AuthMethod(method), data: body.rest().to_vec() })
}

pub(super) fn encode(value: &Authentication, out: &mut Vec<u8>) {
    let Authentication { method, data } = value;
    out.extend([method.0, 0, 0, 0]);
    out.extend(data);
}
