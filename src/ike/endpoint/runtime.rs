//! What the endpoint keeps of a configured connection.

use std::sync::Arc;
use std::time::Instant;

use crate::ike::config::{Connection, Start};
use crate::ike::failure::Failure;
use crate::wire::ike::IkeSpi;

/// What the endpoint keeps of a connection.
pub(super) struct Runtime {
    pub(super) connection: Arc<Connection>,
    /// To be up, and to be tried again when it is not.
    pub(super) wanted: bool,
    /// Our SPIs of its IKE SAs, those that are being negotiated included.
    pub(super) ike_sas: Vec<IkeSpi>,
    pub(super) attempts: u32,
    /// Not tried before.
    pub(super) next_attempt: Option<Instant>,
    pub(super) last_error: Option<Failure>,
    /// Waits for its start behind others of the same peer.
    pub(super) waits: bool,
    /// Since when it has had several IKE SAs with one peer of which one is to stay.
    pub(super) duplicated: Option<Instant>,
    /// Has an IKE SA.
    pub(super) up: bool,
}

impl Runtime {
    /// Without an IKE SA.
    pub(super) fn new(connection: Arc<Connection>) -> Self {
        Self {
            wanted: connection.start == Start::Now,
            connection,
            ike_sas: Vec::new(),
            attempts: 0,
            next_attempt: None,
            last_error: None,
            waits: false,
            duplicated: None,
            up: false,
        }
    }
}
