//! The cloud's refusals: an HTTP status, a code that programs compare, a message that people read.

use std::borrow::Cow;
use std::fmt;

/// One refusal, as the API answers it.
///
/// Codes and their spellings are the cloud's, mistakes included: clients compare them literally.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ApiError {
    /// 4xx: the caller's fault; 5xx: ours.
    pub http_status: u16,
    /// For example `InvalidCIDRBlock.Duplicate`.
    pub code: Cow<'static, str>,
    /// One sentence. Never holds a secret.
    pub message: Cow<'static, str>,
    /// After how many milliseconds a throttled call may come again.
    pub retry_after: Option<u64>,
}

impl ApiError {
    /// A refusal with any HTTP status.
    pub fn new(http_status: u16, code: impl Into<Cow<'static, str>>, message: impl Into<Cow<'static, str>>) -> Self {
        Self { http_status, code: code.into(), message: message.into(), retry_after: None }
    }

    /// HTTP 400.
    pub fn bad_request(code: impl Into<Cow<'static, str>>, message: impl Into<Cow<'static, str>>) -> Self {
        Self::new(400, code, message)
    }

    /// HTTP 404.
    pub fn not_found(code: impl Into<Cow<'static, str>>, message: impl Into<Cow<'static, str>>) -> Self {
        Self::new(404, code, message)
    }

    /// HTTP 409.
    pub fn conflict(code: impl Into<Cow<'static, str>>, message: impl Into<Cow<'static, str>>) -> Self {
        Self::new(409, code, message)
    }

    /// A mandatory parameter is absent or empty.
    pub fn missing(parameter: &str) -> Self {
        Self::bad_request(format!("Missing{parameter}"), format!("{parameter} is mandatory for this action."))
    }

    /// None of several parameters is there, of which one has to be.
    pub fn not_supplied(parameters: &str) -> Self {
        let message = format!(
            "The input parameter \"{parameters}\" that is mandatory for processing this request is not supplied."
        );
        Self::bad_request("MissingParameter", message)
    }

    /// A parameter is present and cannot be what it is.
    pub fn invalid(parameter: &str) -> Self {
        Self::bad_request(format!("Invalid{parameter}"), format!("Specified parameter {parameter} is not valid."))
    }

    /// Calls come too often; the next one has a chance after so many milliseconds.
    pub fn throttled(retry_after: u64) -> Self {
        let refusal = Self::bad_request("Throttling.User", "Request was denied due to user flow control.");
        // Clients take 0 for no time at all.
        Self { retry_after: Some(retry_after.max(1)), ..refusal }
    }

    /// A dry run that would succeed.
    pub fn dry_run() -> Self {
        Self::new(412, "DryRunOperation", "Request validation has been passed with DryRun flag set.")
    }

    /// A fault of this server. What exactly failed goes to the log, not to the caller.
    pub fn internal() -> Self {
        Self::new(500, "InternalError", "The request processing has failed due to some unknown error.")
    }
}

impl fmt::Display for ApiError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.code, self.message)
    }
}

impl std::error::Error for ApiError {}
