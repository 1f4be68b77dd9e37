//! What the extensions of one IKE SA have settled with the peer, as one plain value.

use std::time::Instant;

/// What every row keeps of an IKE SA; as it is by default, none is in use.
#[derive(Debug, Clone, Default)]
pub(in crate::ike) struct Negotiated {
    pub(in crate::ike) nat: Nat,
    pub(in crate::ike) fragments: Fragments,
    /// The responder takes an IKE_AUTH request without a Child SA (RFC 6023).
    pub(in crate::ike) childless: bool,
    pub(in crate::ike) crash_detection: CrashDetection,
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
    /// What we pretend that the hash of our own address is, once it was said.
    pub(in crate::ike) made_up_source: Option<[u8; 20]>,
    /// When the next keepalive is due.
    pub(in crate::ike) keepalive_at: Option<Instant>,
}

/// What both ends can do about fragments of IKE messages (RFC 7383).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(in crate::ike) struct Fragments {
    /// Both ends have said that they understand them.
    pub(in crate::ike) accepted: bool,
    /// Bytes of an IP packet from which on we send them; `None`: we send none.
    pub(in crate::ike) size: Option<u16>,
}

/// The tokens of quick crash detection (RFC 6290).
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub(in crate::ike) struct CrashDetection {
    /// The peer has ours.
    pub(in crate::ike) told: bool,
    /// The peer's.
    pub(in crate::ike) token: Option<Vec<u8>>,
}
