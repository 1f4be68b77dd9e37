//! The end of an IKE SA.

use super::channel::Channel;
use super::failure::Failure;
use super::sa::Cause;
use super::successor::Successor;

/// How an IKE SA has ended.
pub(super) struct Ended {
    pub(super) cause: Cause,
    /// What happened, unless it was asked for.
    pub(super) error: Option<Box<Failure>>,
    /// Set when the peer may still repeat its last request.
    pub(super) channel: Option<Box<Channel>>,
    /// IKE SAs that came of its rekeys, for the endpoint to adopt.
    pub(super) successors: Vec<Successor>,
}

impl Ended {
    pub(super) fn new(cause: Cause, error: impl Into<Option<Failure>>) -> Self {
        Self { cause, error: error.into().map(Box::new), channel: None, successors: Vec::new() }
    }

    /// The same, whose last answer may have to be repeated.
    pub(super) fn lingering(self, channel: Channel) -> Self {
        Self { channel: Some(Box::new(channel)), ..self }
    }
}
