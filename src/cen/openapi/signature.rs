//! The cloud's two request signatures, made and checked: RPC signature version 1.0 and ACS3-HMAC-SHA256.
//!
//! Both sign a canonical form of the *decoded* parameters, because clients differ in how they encode them.
//! Sources: "Request syntax and signature method V2" and "V3" of the OpenAPI documentation; the tests hold requests
//! recorded from the official SDKs.

use std::collections::BTreeSet;

use base64::Engine;
use base64::engine::general_purpose::STANDARD as BASE64;
use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, utf8_percent_encode};
use zeroize::Zeroizing;

use super::request::Request;
use super::rpc::Parameters;
use crate::cen::error::ApiError;
use crate::crypto::digest::{constant_time_eq, hmac_sha1, hmac_sha256, sha256};

/// The only ACS3 algorithm accepted.
pub const ACS3: &str = "ACS3-HMAC-SHA256";

/// Everything but RFC 3986's unreserved characters.
const RESERVED: &AsciiSet = &NON_ALPHANUMERIC.remove(b'-').remove(b'_').remove(b'.').remove(b'~');

/// Headers that an ACS3 signature must cover.
const ACS3_REQUIRED: &[&str] =
    &["host", "x-acs-action", "x-acs-content-sha256", "x-acs-date", "x-acs-signature-nonce", "x-acs-version"];

/// The keyed digest of an RPC signature.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RpcMethod {
    /// What every SDK uses.
    HmacSha1,
    /// What some can be told to use.
    HmacSha256,
}

impl RpcMethod {
    /// The value of `SignatureMethod`.
    pub fn name(self) -> &'static str {
        match self {
            Self::HmacSha1 => "HMAC-SHA1",
            Self::HmacSha256 => "HMAC-SHA256",
        }
    }
}

/// Who claims to have signed a request, when, and with what; nothing of it is proven yet.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Claim {
    /// Whose secret must match.
    pub access_key_id: String,
    /// UTC, as sent.
    pub timestamp: String,
    /// May be used once.
    pub nonce: String,
    proof: Proof,
}

#[derive(Clone, Debug, PartialEq, Eq)]
enum Proof {
    Rpc { method: RpcMethod, signature: Vec<u8> },
    Acs3 { signed_headers: Vec<String>, signature: Vec<u8> },
}

impl Claim {
    /// Finds the signature of a request, of either family. `parameters` are those of the query and the form body.
    ///
    /// # Errors
    /// `IncompleteSignature`, `InvalidSignatureMethod`, `InvalidSignatureVersion`, `InvalidSecurityToken.Malformed`.
    pub fn of(request: &Request, parameters: &Parameters) -> Result<Self, ApiError> {
        if request.header("x-acs-security-token").or(parameters.text("SecurityToken")).is_some() {
            return Err(ApiError::bad_request(
                "InvalidSecurityToken.Malformed",
                "The specified SecurityToken is malformed: temporary credentials do not exist here.",
            ));
        }
        match request.header("authorization") {
            Some(authorization) => Self::acs3(request, authorization),
            None => Self::rpc(parameters),
        }
    }

    fn rpc(parameters: &Parameters) -> Result<Self, ApiError> {
        let needed = |name| parameters.text(name).ok_or_else(incomplete);
        let encoded = needed("Signature")?;
        let access_key_id = needed("AccessKeyId")?.to_owned();
        let timestamp = needed("Timestamp")?.to_owned();
        let nonce = needed("SignatureNonce")?.to_owned();
        if needed("SignatureVersion")? != "1.0" {
            return Err(ApiError::invalid("SignatureVersion"));
        }
        let method = match needed("SignatureMethod")? {
            // PRIVATEKEY and BEARERTOKEN prove something other than the knowledge of a secret.
            _ if parameters.text("SignatureType").is_some() => return Err(unknown_method()),
            "HMAC-SHA1" => RpcMethod::HmacSha1,
            "HMAC-SHA256" => RpcMethod::HmacSha256,
            _ => return Err(unknown_method()),
        };
        // What is no base64 cannot match, and is told so as any other wrong signature.
        let signature = BASE64.decode(encoded).unwrap_or_default();
        Ok(Self { access_key_id, timestamp, nonce, proof: Proof::Rpc { method, signature } })
    }

    fn acs3(request: &Request, authorization: &str) -> Result<Self, ApiError> {
        let (algorithm, fields) = authorization.split_once(' ').ok_or_else(incomplete)?;
        if algorithm != ACS3 {
            return Err(unknown_method());
        }
        let field = |name: &str| {
            let mut found = fields.split(',').filter_map(|field| field.trim().strip_prefix(name)?.strip_prefix('='));
            found.next().ok_or_else(incomplete)
        };
        let signed_headers: Vec<String> = field("SignedHeaders")?.split(';').map(str::to_owned).collect();
        let signed = |name: &str| signed_headers.iter().any(|header| header == name);
        // One that is empty says nothing, and of two the signature does not tell which comes first.
        let said = |name: &str| {
            let mut values = request.headers.iter().filter(|(header, _)| header == name).map(|(_, value)| value.trim());
            values.next().is_some_and(|value| !value.is_empty()) && values.next().is_none()
        };
        let all_required = ACS3_REQUIRED.iter().all(|name| signed(name) && said(name));
        let all_own = request.headers.iter().all(|(name, _)| !name.starts_with("x-acs-") || signed(name));
        // Each name costs its header's value once more: a repeated one would let a short request become a huge text.
        let distinct = signed_headers.iter().collect::<BTreeSet<_>>().len() == signed_headers.len();
        if !all_required || !all_own || !distinct {
            return Err(incomplete());
        }
        let header = |name| request.header(name).map(|value| value.trim().to_owned()).ok_or_else(incomplete);
        Ok(Self {
            access_key_id: field("Credential")?.to_owned(),
            timestamp: header("x-acs-date")?,
            nonce: header("x-acs-signature-nonce")?,
            proof: Proof::Acs3 { signature: hex::decode(field("Signature")?).unwrap_or_default(), signed_headers },
        })
    }

    /// Checks the signature with the claimed key's secret, in constant time.
    ///
    /// # Errors
    /// `SignatureDoesNotMatch`. Its message holds what we signed, unless a secret is part of that.
    pub fn verify(&self, request: &Request, parameters: &Parameters, secret: &[u8]) -> Result<(), ApiError> {
        let (matches, shown) = match &self.proof {
            Proof::Rpc { method, signature } => {
                let text = rpc_string_to_sign(&request.method, parameters);
                let expected = rpc_mac(*method, secret, &text);
                (constant_time_eq(&expected, signature), if carries_secret(parameters) { None } else { Some(text) })
            }
            Proof::Acs3 { signed_headers, signature } => {
                let text = acs3_string_to_sign(request, &request.query_parameters()?, signed_headers);
                (constant_time_eq(&hmac_sha256(secret, &[text.as_bytes()]), signature), Some(text))
            }
        };
        if matches { Ok(()) } else { Err(mismatch(shown.as_ref().map(|text| text.as_str()))) }
    }
}

/// Signs in the RPC manner. `parameters` must hold everything else already, `SignatureMethod` included.
pub fn sign_rpc(method: RpcMethod, http_method: &str, parameters: &Parameters, secret: &[u8]) -> String {
    BASE64.encode(rpc_mac(method, secret, &rpc_string_to_sign(http_method, parameters)))
}

/// The `Authorization` header in the ACS3 manner: signs the host, the content type and every `x-acs-` header.
///
/// # Errors
/// As [`Parameters::parse`].
pub fn authorize_acs3(request: &Request, access_key_id: &str, secret: &[u8]) -> Result<String, ApiError> {
    let covered = |name: &str| name.starts_with("x-acs-") || name == "host" || name == "content-type";
    let mut signed: Vec<String> = request.headers.iter().map(|(name, _)| name.clone()).filter(|n| covered(n)).collect();
    signed.sort();
    signed.dedup();
    let text = acs3_string_to_sign(request, &request.query_parameters()?, &signed);
    let signature = hex::encode(hmac_sha256(secret, &[text.as_bytes()]));
    let signed = signed.join(";");
    Ok(format!("{ACS3} Credential={access_key_id},SignedHeaders={signed},Signature={signature}"))
}

/// The lower-case hexadecimal SHA-256 that `x-acs-content-sha256` carries.
pub fn body_hash(body: &[u8]) -> String {
    hex::encode(sha256(body))
}

/// RFC 3986 percent-encoding: a space is `%20`, a tilde stays.
pub fn percent_encode(text: &str) -> String {
    utf8_percent_encode(text, RESERVED).to_string()
}

/// `name=value` pairs in byte order of the decoded names.
pub fn canonical_query<'a>(parameters: impl Iterator<Item = (&'a str, &'a str)>) -> Zeroizing<String> {
    let mut text = Zeroizing::new(String::new());
    for (name, value) in parameters {
        if !text.is_empty() {
            text.push('&');
        }
        text.extend(utf8_percent_encode(name, RESERVED));
        text.push('=');
        text.extend(utf8_percent_encode(value, RESERVED));
    }
    text
}

fn rpc_string_to_sign(http_method: &str, parameters: &Parameters) -> Zeroizing<String> {
    let query = canonical_query(parameters.iter().filter(|(name, _)| *name != "Signature"));
    let mut text = Zeroizing::new(format!("{http_method}&%2F&"));
    text.extend(utf8_percent_encode(&query, RESERVED));
    text
}

fn rpc_mac(method: RpcMethod, secret: &[u8], text: &str) -> Vec<u8> {
    let mut key = Zeroizing::new(secret.to_vec());
    key.push(b'&');
    match method {
        RpcMethod::HmacSha1 => hmac_sha1(&key, &[text.as_bytes()]).to_vec(),
        RpcMethod::HmacSha256 => hmac_sha256(&key, &[text.as_bytes()]).to_vec(),
    }
}

/// The body's hash is computed, not believed: a wrong `x-acs-content-sha256` makes the signature wrong.
fn acs3_string_to_sign(request: &Request, query: &Parameters, signed_headers: &[String]) -> Zeroizing<String> {
    let mut canonical = Zeroizing::new(format!("{}\n{}\n", request.method, request.path));
    canonical.push_str(&canonical_query(query.iter()));
    canonical.push('\n');
    for name in signed_headers {
        let mut values: Vec<&str> =
            request.headers.iter().filter(|(header, _)| header == name).map(|(_, value)| value.trim()).collect();
        values.sort_unstable();
        canonical.push_str(&format!("{name}:{}\n", values.join(",")));
    }
    canonical.push_str(&format!("\n{}\n{}", signed_headers.join(";"), body_hash(&request.body)));
    Zeroizing::new(format!("{ACS3}\n{}", hex::encode(sha256(canonical.as_bytes()))))
}

/// True when a parameter is, or may contain, something that must not be repeated in an error text.
fn carries_secret(parameters: &Parameters) -> bool {
    let secret_name = |name: &str| {
        let name = name.to_ascii_lowercase();
        ["psk", "authkey", "password", "secret", "ikeconfig"].iter().any(|word| name.contains(word))
    };
    let secret_value = |value: &str| value.to_ascii_lowercase().contains("psk");
    parameters.iter().any(|(name, value)| secret_name(name) || secret_value(value))
}

fn incomplete() -> ApiError {
    ApiError::bad_request("IncompleteSignature", "The request signature does not conform to Aliyun standards.")
}

fn unknown_method() -> ApiError {
    ApiError::bad_request("InvalidSignatureMethod", "Specified signature method is not valid.")
}

/// Clients split this message at the colon and compare what follows with what they signed: there must be one.
fn mismatch(string_to_sign: Option<&str>) -> ApiError {
    let shown = string_to_sign.unwrap_or("(not shown, because the request carries a secret)");
    ApiError::bad_request(
        "SignatureDoesNotMatch",
        format!("Specified signature is not matched with our calculation. server string to sign is:{shown}"),
    )
}

#[cfg(test)]
mod tests;
