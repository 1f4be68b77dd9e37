//! What the extensions of one IKE SA have settled with the peer, as one plain value.

use std::time::Instant;

/// What every row keeps of an IKE SA; as it is by default, none is in use.
#[derive(Debug, Clone, Default)]
pub(in crate::ike) struct Negotiated {
    pub(in crate::ike) nat: Nat,
}

/// What NAT detection found (RFC 7296 2.23).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(in crate::ike) struct Nat {
    /// Both ends took part.
    pub(in crate::ike) supported: bool,
    /// The peer sees us at another address than our own.
    pub(in crate::ike) local_behind_nat: bool,
    /// We see the peer at another address than its own, or it pretends so.
    pub(in crate::ike) peer_behind_nat: bool,
    /// ESP goes in UDP.
    pub(in crate::ike) encapsulate: bool,
    /// When the next keepalive is due.
    pub(in crate::ike) keepalive_at: Option<Instant>,
}
