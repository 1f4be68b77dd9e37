//! What the endpoint keeps of a configured connection.

use std::sync::Arc;
use std::time::Instant;

use super::ike_sas::IkeSaTable;
use crate::ike::association::IkeSas;
use crate::ike::config::{Connection, Start};
use crate::ike::failure::Failure;
use crate::wire::ike::IkeSpi;

/// What the endpoint keeps of a connection.
pub(super) struct Runtime {
    pub(super) connection: Arc<Connection>,
    /// To be up, and to be tried again when it is not.
    pub(super) wanted: bool,
    /// Our SPIs of its IKE SAs, those that are being negotiated included.
    pub(super) ike_sas: IkeSas,
    /// Our SPIs of other connections' IKE SAs that carry pairs of this one.
    pub(super) hosts: Vec<IkeSpi>,
    pub(super) attempts: u32,
    /// Not tried before.
    pub(super) next_attempt: Option<Instant>,
    pub(super) last_error: Option<Failure>,
    /// Waits for its start behind others of the same peer.
    pub(super) waits: bool,
    /// Has an IKE SA, or pairs in another connection's.
    pub(super) up: bool,
}

impl Runtime {
    /// Without an IKE SA.
    pub(super) fn new(connection: Arc<Connection>) -> Self {
        Self {
            wanted: connection.start == Start::Now,
            connection,
            ike_sas: IkeSas::default(),
            hosts: Vec::new(),
            attempts: 0,
            next_attempt: None,
            last_error: None,
            waits: false,
            up: false,
        }
    }

    /// Its children of which no other connection's IKE SA carries a pair.
    pub(super) fn not_in_hosts(&self, ike_sas: &IkeSaTable) -> Vec<Arc<str>> {
        let hosts = self.hosts.iter().filter_map(|spi| ike_sas.established(spi));
        let guests = hosts.flat_map(|state| state.children().guests());
        let own = guests.filter(|pair| Arc::ptr_eq(pair.association.connection(), &self.connection));
        let there: Vec<&Arc<str>> = own.map(|pair| &pair.child).collect();
        let children = self.connection.children.iter().map(|child| &child.name);
        children.filter(|name| !there.contains(name)).cloned().collect()
    }
}
