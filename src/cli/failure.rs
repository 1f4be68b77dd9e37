//! What went wrong, for a person or for a program.

use std::error::Error;
use std::process::ExitCode;

use schemars::JsonSchema;
use serde::Serialize;

use super::action::NotDone;
use crate::io::terminal::complain;
use crate::io::unix::CallError;

/// A command line that cannot be understood; says what is wrong with it.
#[derive(Debug, thiserror::Error)]
#[error("{0}")]
pub struct UsageError(pub String);

/// A failure, as `--json` writes it on standard error.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, JsonSchema)]
pub struct Failure {
    /// What went wrong and, where that is known, what would be right: for a person.
    pub error: String,
    /// What kind of failure it is.
    pub kind: FailureKind,
}

/// What a program may do about a failure.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum FailureKind {
    /// The command line cannot be understood; the exit code is 2.
    Usage,
    /// gatewayd does not answer on its socket.
    Unreachable,
    /// gatewayd refuses: there is no such connection, say. Or the cloud refuses a call.
    Refused,
    /// gatewayd could not do it this time; later it may.
    Busy,
    /// What was asked for does not fit what stands.
    Conflict,
    /// It was asked for, and has not come about in the time that there was.
    NotDone,
    /// Anything else.
    Other,
}

impl Failure {
    /// What a command failed with.
    pub fn of(error: &(dyn Error + 'static)) -> Self {
        let kind = match error.downcast_ref::<CallError>() {
            Some(CallError::Unreachable { .. }) => FailureKind::Unreachable,
            Some(CallError::Refused(_)) => FailureKind::Refused,
            Some(CallError::Failed(_)) => FailureKind::Busy,
            Some(CallError::Conflict(_)) => FailureKind::Conflict,
            Some(CallError::Senseless(_)) => FailureKind::Other,
            None if error.is::<NotDone>() => FailureKind::NotDone,
            None if error.is::<UsageError>() => FailureKind::Usage,
            None => FailureKind::Other,
        };
        Self { error: error.to_string(), kind }
    }

    /// What the program ends with.
    pub fn exit_code(&self) -> ExitCode {
        ExitCode::from(if self.kind == FailureKind::Usage { 2 } else { 1 })
    }

    /// Tells it on standard error.
    pub fn tell(&self, json: bool) {
        match serde_json::to_string(self) {
            Ok(line) if json => complain(line),
            _ => complain(format_args!("gatewayctl: {}", self.error)),
        }
    }
}
