//! Why something could not be done through rtnetlink.
use std::io;
use std::sync::Arc;

/// Why the kernel could not be asked, or refused.
#[derive(Debug, thiserror::Error)]
pub enum NetlinkError {
    /// The namespace cannot be entered, or its socket not be opened.
    #[error(transparent)]
    Socket(#[from] io::Error),
    /// The kernel's answer to a request.
    #[error("{what}: {error}")]
    Refused {
        /// What was asked.
        what: String,
        /// The answer.
        error: io::Error,
    },
    /// There is no device of this name in the namespace.
    #[error("there is no network device {0}")]
    NoDevice(Arc<str>),
}

impl NetlinkError {
    pub(super) fn refused(what: impl Into<String>, error: rtnetlink::Error) -> Self {
        NetlinkError::Refused { what: what.into(), error: io_error(error) }
    }

    /// The kernel's error number, if it answered with one.
    pub fn errno(&self) -> Option<i32> {
        match self {
            NetlinkError::Refused { error, .. } => error.raw_os_error(),
            NetlinkError::Socket(_) | NetlinkError::NoDevice(_) => None,
        }
    }
}

fn io_error(error: rtnetlink::Error) -> io::Error {
    match error {
        rtnetlink::Error::NetlinkError(message) => message.to_io(),
        other => io::Error::other(other.to_string()),
    }
}
