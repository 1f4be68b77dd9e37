//! One HTTP request as the API sees it, and the answer to it; no socket in sight.

use std::fmt;

use serde_json::{Value, json};
use zeroize::Zeroize;

use super::rpc::Parameters;
use crate::cen::error::ApiError;
use crate::crypto::random::Entropy;

/// A request that has arrived completely.
#[derive(Clone, Default)]
pub struct Request {
    /// Upper case, for example `POST`.
    pub method: String,
    /// The target's path as sent, for example `/`.
    pub path: String,
    /// The target's query as sent, without the question mark.
    pub query: String,
    /// Names in lower case.
    pub headers: Vec<(String, String)>,
    /// Without any transfer coding.
    pub body: Vec<u8>,
}

impl Request {
    /// A request for `/` without headers or a body.
    pub fn new(method: &str, query: impl Into<String>) -> Self {
        let mut request = Self::default();
        request.method.push_str(method);
        request.path.push('/');
        request.query = query.into();
        request
    }

    /// The first header of this (lower-case) name.
    pub fn header(&self, name: &str) -> Option<&str> {
        self.headers.iter().find(|(header, _)| header == name).map(|(_, value)| value.as_str())
    }

    /// Query parameters alone.
    ///
    /// # Errors
    /// As [`Parameters::parse`].
    pub fn query_parameters(&self) -> Result<Parameters, ApiError> {
        Parameters::parse(self.query.as_bytes())
    }

    /// Query and form-body parameters together.
    ///
    /// # Errors
    /// As [`Parameters::parse`].
    pub fn parameters(&self) -> Result<Parameters, ApiError> {
        let mut parameters = self.query_parameters()?;
        if self.header("content-type").is_some_and(is_form) {
            parameters.extend(&self.body)?;
        }
        Ok(parameters)
    }
}

fn is_form(content_type: &str) -> bool {
    let essence = content_type.split(';').next().unwrap_or_default();
    essence.trim().eq_ignore_ascii_case("application/x-www-form-urlencoded")
}

impl Drop for Request {
    fn drop(&mut self) {
        self.query.zeroize();
        self.body.zeroize();
    }
}

/// No query and no body: a pre-shared key may be in them.
impl fmt::Debug for Request {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {} ({} bytes)", self.method, self.path, self.body.len())
    }
}

/// What goes back to the caller.
#[derive(Clone, Debug, PartialEq)]
pub struct Response {
    /// The HTTP status.
    pub status: u16,
    /// One JSON object.
    pub body: Value,
    /// The header `x-acs-retry-after`, in milliseconds, as the official SDKs read it.
    pub retry_after: Option<u64>,
}

impl Response {
    /// HTTP 200 and the handler's object with its `RequestId`.
    pub fn success(mut object: Value, request_id: &str) -> Self {
        if let Value::Object(fields) = &mut object {
            fields.insert("RequestId".to_owned(), request_id.into());
        }
        Self { status: 200, body: object, retry_after: None }
    }

    /// The error shape of every product. `host` is what the caller called us.
    pub fn refusal(error: &ApiError, request_id: &str, host: &str) -> Self {
        let recommend = format!("https://api.alibabacloud.com/troubleshoot?q={}", error.code);
        let body = json!({
            "RequestId": request_id,
            "HostId": host,
            "Code": error.code,
            "Message": error.message,
            "Recommend": recommend,
        });
        Self { status: error.http_status, body, retry_after: error.retry_after }
    }
}

/// An upper-case UUID (version 4), as every answer carries one.
pub fn request_id(entropy: &mut dyn Entropy) -> String {
    let mut bytes = [0; 16];
    entropy.fill(&mut bytes);
    uuid::Builder::from_random_bytes(bytes).into_uuid().hyphenated().to_string().to_uppercase()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::crypto::random::SystemEntropy;

    #[test]
    fn query_and_form_body_are_one_set_in_which_no_name_repeats() {
        let mut request = Request::new("POST", "Action=A");
        request.headers.push(("content-type".into(), "application/x-www-form-urlencoded; charset=utf-8".into()));
        request.body = b"Name=body&Other=a+b%2Ac".to_vec();
        let parameters = request.parameters().unwrap();
        assert_eq!(parameters.raw("Action"), Some("A"));
        assert_eq!(parameters.raw("Name"), Some("body"));
        assert_eq!(parameters.raw("Other"), Some("a b*c"));
        assert_eq!(request.query_parameters().unwrap().raw("Other"), None);
        for query in ["Action=A&Name=query", "Action=A&Name=", "Action=A&Action=A"] {
            request.query = query.to_owned();
            assert_eq!(request.parameters().unwrap_err().code, "InvalidParameter", "{query}");
        }
    }

    #[test]
    fn other_bodies_are_not_parameters() {
        let mut request = Request::new("POST", "");
        request.body = b"Name=body".to_vec();
        request.headers.push(("content-type".into(), "application/json".into()));
        assert!(request.parameters().unwrap().is_empty());
    }

    #[test]
    fn request_ids_are_upper_case_and_differ() {
        let mut entropy = SystemEntropy::new();
        let id = request_id(&mut entropy);
        assert_eq!((id.len(), id.to_uppercase()), (36, id.clone()));
        assert_ne!(id, request_id(&mut entropy));
    }

    #[test]
    fn neither_query_nor_body_is_printed() {
        let mut request = Request::new("POST", "IkeConfig=secret");
        request.body = b"secret".to_vec();
        assert!(!format!("{request:?}").contains("secret"));
    }
}
