//! Why the kernel is not brought to where it should be.
use crate::io::netlink::NetlinkError;
use crate::io::nftables::FilterError;

/// Why the kernel is not as the route table asks.
#[derive(Debug, thiserror::Error)]
pub enum ForwardingError {
    /// Routes or rules could not be read or set.
    #[error(transparent)]
    Netlink(#[from] NetlinkError),
    /// The filter against plaintext could not be set. What is protected is closed then: nothing is led into the tunnel
    /// that the filter does not watch.
    #[error("filter against plaintext: {0}")]
    Filter(#[from] FilterError),
    /// Some routes or rules were refused.
    #[error("{} kernel routes or rules were refused, first: {}", .0.len(), .0.first().map(String::as_str).unwrap_or_default())]
    Refused(Vec<String>),
    /// The task that does it has ended.
    #[error("forwarding has been stopped")]
    Stopped,
}

/// What became of changes of which these were refused.
///
/// # Errors
/// Some were.
pub(super) fn refused(refusals: Vec<String>) -> Result<(), ForwardingError> {
    if refusals.is_empty() { Ok(()) } else { Err(ForwardingError::Refused(refusals)) }
}
