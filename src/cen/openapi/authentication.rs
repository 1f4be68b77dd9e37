//! Who may call: access keys, the clock window and the memory of used nonces around the signatures.

use std::collections::BTreeMap;

use super::request::Request;
use super::rpc::Parameters;
use super::signature::Claim;
use crate::cen::error::ApiError;
use crate::cen::nonce::{NonceMemory, UsedNonce};
use crate::crypto::secret::Secret;

/// How far a request's time may be from ours, in seconds, either way.
pub const CLOCK_WINDOW: i64 = 15 * 60;

/// The most nonces remembered, of reads and writes together.
const NONCE_LIMIT: usize = 500_000;

/// Accounts' keys by their ids.
#[derive(Debug, Default)]
pub struct AccessKeys {
    secrets: BTreeMap<String, Secret>,
}

impl AccessKeys {
    /// Adds a key, or replaces its secret.
    pub fn insert(&mut self, id: impl Into<String>, secret: Secret) {
        self.secrets.insert(id.into(), secret);
    }

    /// True when nobody could call.
    pub fn is_empty(&self) -> bool {
        self.secrets.is_empty()
    }

    fn secret(&self, id: &str) -> Option<&Secret> {
        self.secrets.get(id)
    }
}

/// Checks requests one after the other.
#[derive(Debug)]
pub struct Authenticator {
    keys: AccessKeys,
    nonces: NonceMemory,
}

impl Authenticator {
    /// Accepts the given keys only. No nonce has been used yet.
    pub fn new(keys: AccessKeys) -> Self {
        Self { keys, nonces: NonceMemory::new(NONCE_LIMIT) }
    }

    /// Takes in the nonces that an earlier process has kept, whose requests could be replayed otherwise.
    pub fn recall(&mut self, nonces: impl IntoIterator<Item = UsedNonce>) {
        self.nonces.recall(nonces);
    }

    /// Accepts a request that a known key signed, within the clock window, with a nonce not used before, and answers
    /// that key's secret and the nonce. `now` is in seconds since 1970. A refused request leaves no trace.
    ///
    /// # Errors
    /// The gateway's codes: `IncompleteSignature`, `InvalidTimeStamp.Format`, `InvalidTimeStamp.Expired`,
    /// `InvalidAccessKeyId.NotFound`, `SignatureDoesNotMatch`, `SignatureNonceUsed`, `Throttling.User` and those of
    /// [`Claim::of`].
    pub fn accept(
        &mut self,
        request: &Request,
        parameters: &Parameters,
        now: i64,
    ) -> Result<(&Secret, UsedNonce), ApiError> {
        let claim = Claim::of(request, parameters)?;
        let time = unix_seconds(&claim.timestamp).ok_or_else(|| {
            let message = "Specified time stamp or date value is not well formatted.";
            ApiError::bad_request("InvalidTimeStamp.Format", message)
        })?;
        if now.abs_diff(time) > CLOCK_WINDOW.unsigned_abs() {
            let message = "Specified time stamp or date value is expired.";
            return Err(ApiError::bad_request("InvalidTimeStamp.Expired", message));
        }
        let secret = self
            .keys
            .secret(&claim.access_key_id)
            .ok_or_else(|| ApiError::not_found("InvalidAccessKeyId.NotFound", "Specified access key is not found."))?;
        claim.verify(request, parameters, secret.as_bytes())?;
        let nonce = UsedNonce::new(&claim.access_key_id, &claim.nonce, now, time.saturating_add(CLOCK_WINDOW));
        self.nonces.insert(&nonce)?;
        Ok((secret, nonce))
    }
}

/// Seconds since 1970 of `2026-11-22T20:16:32Z`, the only form that signatures use.
fn unix_seconds(text: &str) -> Option<i64> {
    let shape = b"0000-00-00T00:00:00Z";
    let fits = |(byte, model): (u8, &u8)| if *model == b'0' { byte.is_ascii_digit() } else { byte == *model };
    if text.len() != shape.len() || !text.bytes().zip(shape).all(fits) {
        return None;
    }
    text.parse::<jiff::Timestamp>().ok().map(jiff::Timestamp::as_second)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cen::openapi::signature::{RpcMethod, percent_encode, sign_rpc};

    /// 2026-11-22T20:00:00Z.
    const NOW: i64 = 1_795_377_600;

    fn authenticator() -> Authenticator {
        let mut keys = AccessKeys::default();
        keys.insert("testak", Secret::new(b"testsk".to_vec()));
        Authenticator::new(keys)
    }

    fn signed(key: &str, timestamp: &str, nonce: &str) -> Request {
        let timestamp = percent_encode(timestamp);
        let query = format!(
            "Action=A&AccessKeyId={key}&Timestamp={timestamp}&SignatureNonce={nonce}&SignatureVersion=1.0\
             &SignatureMethod=HMAC-SHA1"
        );
        let mut request = Request::new("GET", query);
        let signature = sign_rpc(RpcMethod::HmacSha1, "GET", &request.parameters().unwrap(), b"testsk");
        request.query.push_str(&format!("&Signature={}", percent_encode(&signature)));
        request
    }

    fn code(authenticator: &mut Authenticator, request: &Request, now: i64) -> String {
        match authenticator.accept(request, &request.parameters().unwrap(), now) {
            Ok(_) => "accepted".to_owned(),
            Err(error) => error.code.into_owned(),
        }
    }

    #[test]
    fn the_clock_window_is_fifteen_minutes_either_way() {
        for (offset, expected) in [
            (0, "accepted"),
            (900, "accepted"),
            (-900, "accepted"),
            (901, "InvalidTimeStamp.Expired"),
            (-901, "InvalidTimeStamp.Expired"),
        ] {
            let request = signed("testak", "2026-11-22T20:00:00Z", "n");
            assert_eq!(code(&mut authenticator(), &request, NOW + offset), expected, "{offset}");
        }
    }

    #[test]
    fn only_one_form_of_time_is_accepted() {
        for timestamp in ["2026-11-22 20:00:00Z", "2026-11-22T20:00:00", "2026-13-22T20:00:00Z", "1795377600", "é"] {
            let request = signed("testak", timestamp, "n");
            assert_eq!(code(&mut authenticator(), &request, NOW), "InvalidTimeStamp.Format", "{timestamp}");
        }
    }

    #[test]
    fn a_nonce_is_used_once_and_only_by_an_accepted_request() {
        let mut authenticator = authenticator();
        let request = signed("testak", "2026-11-22T20:00:00Z", "n");
        let mut forged = request.clone();
        forged.query = forged.query.replace("Action=A", "Action=B");
        assert_eq!(code(&mut authenticator, &forged, NOW), "SignatureDoesNotMatch");
        assert_eq!(code(&mut authenticator, &request, NOW), "accepted");
        assert_eq!(code(&mut authenticator, &request, NOW), "SignatureNonceUsed");
        assert_eq!(code(&mut authenticator, &request, NOW + 900), "SignatureNonceUsed");
        assert_eq!(code(&mut authenticator, &request, NOW + 901), "InvalidTimeStamp.Expired");
    }

    #[test]
    fn an_unknown_key_is_not_found() {
        let request = signed("nobody", "2026-11-22T20:00:00Z", "n");
        assert_eq!(code(&mut authenticator(), &request, NOW), "InvalidAccessKeyId.NotFound");
    }
}
