//! A signed caller of the cloud's API.

use std::net::IpAddr;
use std::path::Path;

use axum::body::Body;
use axum::http::{self, Method};
use reqwest::Url;
use serde_json::Value;
use tokio_rustls::rustls::RootCertStore;
use zeroize::Zeroizing;

use super::http_exchange::{self, ExchangeError, Server, TrustError};

use crate::cen::error::ApiError;
use crate::cen::openapi::action::{CBN, CEND, STS, VPC};
use crate::cen::openapi::request::Request;
use crate::cen::openapi::rpc::Parameters;
use crate::cen::openapi::signature::{RpcMethod, authorize_acs3, body_hash, canonical_query, sign_rpc};
use crate::crypto::random::{Entropy, SystemEntropy};
use crate::crypto::secret::Secret;

/// The way in which a call is signed.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Signing {
    /// ACS3-HMAC-SHA256, as new SDKs sign.
    #[default]
    Acs3,
    /// RPC signature version 1.0 with HMAC-SHA1, as older ones do.
    Rpc,
}

/// A product of the cloud.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Product {
    /// Cloud Enterprise Network.
    Cbn,
    /// Virtual private clouds and VPN gateways.
    Vpc,
    /// The Security Token Service: who calls.
    Sts,
    /// cend itself, which the cloud does not have.
    Cend,
}

impl Product {
    /// All of them, with the names that the cloud's own command line has for them.
    pub const ALL: &[(Self, &'static str)] =
        &[(Self::Cbn, "cbn"), (Self::Vpc, "vpc"), (Self::Sts, "sts"), (Self::Cend, "cend")];

    /// Reads the name as the cloud's own command line takes it, in any case.
    pub fn by_name(name: &str) -> Option<Self> {
        Self::ALL.iter().find(|(_, known)| known.eq_ignore_ascii_case(name)).map(|(product, _)| *product)
    }

    /// The version that the product's actions have.
    pub fn version(self) -> &'static str {
        match self {
            Self::Cbn => CBN,
            Self::Vpc => VPC,
            Self::Sts => STS,
            Self::Cend => CEND,
        }
    }
}

/// Why there is no answer. A refusal by the API is an answer.
#[derive(Debug, thiserror::Error)]
pub enum CallError {
    /// The endpoint is not `host:port`, nor a URL of HTTP or HTTPS without a path; holds it as given.
    #[error("{0:?} is no endpoint: give host:port, http://host:port or https://host:port")]
    Endpoint(String),
    /// There are no certificates to trust.
    #[error(transparent)]
    Trust(#[from] TrustError),
    /// The request cannot be signed.
    #[error("{0}")]
    Parameters(ApiError),
    /// The endpoint was not reached, or did not answer in time.
    #[error(transparent)]
    Exchange(#[from] ExchangeError),
    /// The request cannot be written as HTTP.
    #[error("the call cannot be written: {0}")]
    Request(#[from] http::Error),
    /// Something answered, but not the API.
    #[error("the answer of {endpoint} (HTTP {status}) is not JSON")]
    NotJson {
        /// Where the call went.
        endpoint: String,
        /// The HTTP status that came.
        status: u16,
    },
}

/// An answer of the API.
#[derive(Clone, Debug)]
pub struct CallAnswer {
    /// The HTTP status: 200, or that of a refusal.
    pub status: u16,
    /// The object that came, with `Code` and `Message` when it is a refusal.
    pub body: Value,
}

impl CallAnswer {
    /// It is no refusal.
    pub fn succeeded(&self) -> bool {
        (200..300).contains(&self.status)
    }

    /// A refusal that asks to come again: the rate is limited, or the service not available.
    pub fn is_busy(&self) -> bool {
        let code = self.body.get("Code").and_then(Value::as_str).unwrap_or_default();
        self.status == 503 || code.starts_with("Throttling")
    }
}

/// Calls one endpoint with one key.
#[derive(Debug)]
pub struct OpenApiClient {
    server: Server,
    access_key_id: String,
    access_key_secret: Secret,
}

impl OpenApiClient {
    /// `endpoint` is a URL without a path, or `host:port`: that means HTTPS, but for this machine's own addresses HTTP. Over HTTPS the server's certificate must come from an
    /// authority in the file `authorities` (PEM); without one nothing is trusted. Proxies of the environment are not used.
    ///
    /// # Errors
    /// [`CallError::Endpoint`]; [`CallError::Trust`] when that file cannot be used.
    pub fn new(
        endpoint: &str,
        authorities: Option<&Path>,
        access_key_id: String,
        access_key_secret: Secret,
    ) -> Result<Self, CallError> {
        let invalid = || CallError::Endpoint(endpoint.to_owned());
        let url = url_of(endpoint).ok_or_else(invalid)?;
        let trusted = authorities.filter(|_| url.scheme() == "https").map(http_exchange::authorities).transpose()?;
        let server = Server::of(&url, trusted.unwrap_or_else(RootCertStore::empty))?.ok_or_else(invalid)?;
        Ok(Self { server, access_key_id, access_key_secret })
    }

    /// Calls an action and waits for its answer.
    ///
    /// # Errors
    /// When there is no answer from the API, of whatever kind.
    pub async fn call(
        &self,
        product: Product,
        action: &str,
        parameters: &Parameters,
        signing: Signing,
    ) -> Result<CallAnswer, CallError> {
        let now = now();
        let mut request = match signing {
            Signing::Acs3 => self.acs3(product, action, parameters, &now)?,
            Signing::Rpc => self.rpc(product, action, parameters, &now),
        };
        let target = if request.query.is_empty() { "/".to_owned() } else { format!("/?{}", request.query) };
        let mut call = http::Request::builder().method(Method::POST).uri(target);
        for (name, value) in request.headers.iter().filter(|(name, _)| name != "host") {
            call = call.header(name, value);
        }
        let (status, text) = self.server.exchange(call.body(Body::from(std::mem::take(&mut request.body)))?).await?;
        let not_json = |_| CallError::NotJson { endpoint: self.server.authority(), status };
        Ok(CallAnswer { status, body: serde_json::from_slice(&text).map_err(not_json)? })
    }

    /// Parameters in a form body, so that no secret stands in a URL.
    fn acs3(&self, product: Product, action: &str, parameters: &Parameters, now: &str) -> Result<Request, CallError> {
        let mut request = Request::new("POST", "");
        request.body = canonical_query(parameters.iter()).as_bytes().to_vec();
        let headers = [
            ("host", self.server.authority()),
            ("accept", "application/json".to_owned()),
            ("content-type", "application/x-www-form-urlencoded".to_owned()),
            ("x-acs-action", action.to_owned()),
            ("x-acs-version", product.version().to_owned()),
            ("x-acs-date", now.to_owned()),
            ("x-acs-signature-nonce", nonce()),
            ("x-acs-content-sha256", body_hash(&request.body)),
        ];
        request.headers = headers.into_iter().map(|(name, value)| (name.to_owned(), value)).collect();
        let secret = self.access_key_secret.as_bytes();
        let authorization = authorize_acs3(&request, &self.access_key_id, secret).map_err(CallError::Parameters)?;
        request.headers.push(("authorization".to_owned(), authorization));
        Ok(request)
    }

    /// Everything in a form body, as Node's client sends it.
    fn rpc(&self, product: Product, action: &str, parameters: &Parameters, now: &str) -> Request {
        let key = (self.access_key_id.as_str(), self.access_key_secret.as_bytes());
        let mut request = Request::new("POST", "");
        request.body = signed_form("POST", (product.version(), action), parameters, key, now).as_bytes().to_vec();
        request.headers.push(("content-type".to_owned(), "application/x-www-form-urlencoded".to_owned()));
        request
    }
}

/// The URL of an endpoint. A call's key and what it carries leave this machine in clear only where that is said.
fn url_of(endpoint: &str) -> Option<Url> {
    if endpoint.contains("://") {
        return Url::parse(endpoint).ok();
    }
    let url = Url::parse(&format!("https://{endpoint}")).ok()?;
    let host = url.host_str()?.trim_start_matches('[').trim_end_matches(']');
    let is_here = host == "localhost" || host.parse().is_ok_and(|address: IpAddr| address.is_loopback());
    if is_here { Url::parse(&format!("http://{endpoint}")).ok() } else { Some(url) }
}

/// The query of a `GET` by which a caller with connections of its own calls an action now, signed in the RPC manner. `key` is
/// the access key's id and secret. It may be sent once; `parameters` that carry a secret belong into a body.
pub fn signed_query(key: (&str, &[u8]), version: &str, action: &str, parameters: &[(&str, &str)]) -> String {
    let mut given = Parameters::default();
    parameters.iter().for_each(|(name, value)| given.insert(*name, *value));
    signed_form("GET", (version, action), &given, key, &now()).to_string()
}

/// All parameters of a call as form text, signed in the RPC manner with a nonce of its own.
fn signed_form(
    http_method: &str,
    (version, action): (&str, &str),
    given: &Parameters,
    (access_key_id, secret): (&str, &[u8]),
    now: &str,
) -> Zeroizing<String> {
    let mut signed = given.clone();
    for (name, value) in [
        ("Action", action),
        ("Version", version),
        ("Format", "JSON"),
        ("AccessKeyId", access_key_id),
        ("Timestamp", now),
        ("SignatureNonce", &nonce()),
        ("SignatureMethod", RpcMethod::HmacSha1.name()),
        ("SignatureVersion", "1.0"),
    ] {
        signed.insert(name, value);
    }
    let signature = sign_rpc(RpcMethod::HmacSha1, http_method, &signed, secret);
    signed.insert("Signature", signature);
    canonical_query(signed.iter())
}

/// The time as signatures carry it.
fn now() -> String {
    jiff::Timestamp::now().strftime("%Y-%m-%dT%H:%M:%SZ").to_string()
}

fn nonce() -> String {
    let mut bytes = [0; 16];
    SystemEntropy::new().fill(&mut bytes);
    hex::encode(bytes)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cen::openapi::authentication::{AccessKeys, Authenticator};

    fn client(endpoint: &str) -> Result<OpenApiClient, CallError> {
        OpenApiClient::new(endpoint, None, "id".to_owned(), Secret::new(b"secret".to_vec()))
    }

    #[test]
    fn both_ways_of_signing_are_accepted_by_the_server() {
        let mut keys = AccessKeys::default();
        keys.insert("id", Secret::new(b"secret".to_vec()));
        let mut authenticator = Authenticator::new(keys);
        let client = client("127.0.0.1:8080").unwrap();
        let parameters = Parameters::parse(b"Name=a+b%2Ac~%E4%B8%AD").unwrap();
        let now = "2026-11-22T20:00:00Z";
        let rpc = client.rpc(Product::Cbn, "CreateCen", &parameters, now);
        let acs3 = client.acs3(Product::Cbn, "CreateCen", &parameters, now).unwrap();
        for request in [rpc, acs3] {
            let received = request.parameters().unwrap();
            assert_eq!(received.text("Name"), Some("a b*c~中"));
            authenticator.accept(&request, &received, 1_795_377_600).unwrap();
        }
        let query = signed_query(("id", b"secret"), CBN, "CreateCen", &[("Name", "a b*c~中")]);
        let request = Request::new("GET", &query);
        let received = request.parameters().unwrap();
        assert_eq!((received.text("Name"), received.text("Action")), (Some("a b*c~中"), Some("CreateCen")));
        let now = jiff::Timestamp::now().as_second();
        authenticator.accept(&request, &received, now).unwrap();
    }

    #[test]
    fn endpoints_are_host_and_port_or_a_plain_url() {
        assert_eq!(client("127.0.0.1:8080").unwrap().server.authority(), "127.0.0.1:8080");
        assert_eq!(client("http://cloud.example").unwrap().server.authority(), "cloud.example");
        for wrong in ["", "ftp://127.0.0.1", "http://127.0.0.1/path", "https://a/?b", "a b"] {
            assert!(matches!(client(wrong), Err(CallError::Endpoint(_))), "{wrong}");
        }
    }

    #[test]
    fn only_this_machine_is_called_without_tls_unless_that_is_said() {
        let tls = |endpoint: &str| format!("{:?}", client(endpoint).unwrap().server).contains("tls: true");
        for here in ["127.0.0.1:8080", "127.1.2.3", "[::1]:8080", "localhost:8080", "LOCALHOST", "http://cloud.example"]
        {
            assert!(!tls(here), "{here}");
        }
        for elsewhere in
            ["cloud.example", "cloud.example:8080", "192.0.2.1:8080", "[2001:db8::1]:8080", "https://127.0.0.1"]
        {
            assert!(tls(elsewhere), "{elsewhere}");
        }
        assert_eq!(client("cloud.example").unwrap().server.authority(), "cloud.example");
    }

    #[test]
    fn products_are_named_in_any_case() {
        assert_eq!(Product::by_name("CBN"), Some(Product::Cbn));
        assert_eq!(Product::by_name("vpc").map(Product::version), Some(VPC));
        assert_eq!(Product::by_name("ecs"), None);
    }
}
