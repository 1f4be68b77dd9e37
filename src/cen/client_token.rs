//! `ClientToken`: a repeated call has the effect of one, and gets the answer of the first.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::error::ApiError;
use super::network::UnixMillis;
use super::shared::Shared;

/// How long after its use a `ClientToken` is known, in milliseconds: a day. A call is repeated within minutes.
pub const TOKEN_KEPT: u64 = 24 * 60 * 60 * 1000;

/// The `ClientToken` of a call: up to 64 ASCII characters that the caller chose, unique to the call.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ClientToken {
    /// The called action, by its product's version and its name, and the parameter's text: the same text in calls of two
    /// actions is two tokens.
    pub key: String,
    /// What tells the caller and the call's other parameters from others: a keyed digest, because some parameters are secrets.
    pub fingerprint: String,
    /// What the call is answered if it succeeds; nothing until that is known.
    pub answer: Option<Value>,
}

/// A `ClientToken` that was used.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ClientTokenRecord {
    /// [`ClientToken::fingerprint`] of the call: the same token in another call is refused. Older versions kept a digest of
    /// what the call meant, which equals none of these.
    pub fingerprint: String,
    /// What the call was answered, unless that holds a pre-shared key: such an answer is made anew. Later calls may have changed
    /// what it tells of.
    #[serde(default)]
    pub answer: Option<Value>,
    /// When the call came that used it first.
    pub used: UnixMillis,
}

impl ClientToken {
    /// What is known of this call if it was made before, by the records of tokens under their keys.
    ///
    /// # Errors
    /// `IdempotentParameterMismatch` when the token was used in another call.
    pub fn known<'a>(
        &self,
        records: &'a BTreeMap<String, Shared<ClientTokenRecord>>,
        now: UnixMillis,
    ) -> Result<Option<&'a ClientTokenRecord>, ApiError> {
        let oldest = now.0.saturating_sub(TOKEN_KEPT);
        match records.get(&self.key).map(|record| &**record).filter(|record| record.used.0 >= oldest) {
            Some(record) if record.fingerprint != self.fingerprint => {
                let message = "The client token was used before in a call with other parameters.";
                Err(ApiError::bad_request("IdempotentParameterMismatch", message))
            }
            found => Ok(found),
        }
    }

    /// What is to be known of a call that has come at `now`.
    pub fn record(&self, now: UnixMillis) -> ClientTokenRecord {
        let answer = self.answer.clone().filter(|answer| !holds_key(answer));
        ClientTokenRecord { fingerprint: self.fingerprint.clone(), answer, used: now }
    }
}

/// Whether there is a pre-shared key in an answer, which the API calls `Psk` at every place.
fn holds_key(answer: &Value) -> bool {
    match answer {
        Value::Object(fields) => fields.iter().any(|(name, field)| name == "Psk" || holds_key(field)),
        Value::Array(items) => items.iter().any(holds_key),
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn an_answer_with_a_key_is_not_kept() {
        let kept = |answer: Value| {
            let token = ClientToken { key: String::new(), fingerprint: String::new(), answer: Some(answer) };
            token.record(UnixMillis(0)).answer.is_some()
        };
        assert!(kept(json!({"VpnConnectionId": "vco-1", "Name": "Psk"})));
        for holds in [json!({"Psk": "x"}), json!({"IkeConfig": {"Psk": ""}}), json!({"A": [1, {"B": [{"Psk": "x"}]}]})]
        {
            assert!(!kept(holds));
        }
    }
}
