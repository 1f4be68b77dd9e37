//! What a connection is configured to be.

use std::net::IpAddr;
use std::sync::Arc;

use ipnet::IpNet;

use crate::ike;

/// Where a connection's peer is, as configured.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum PeerName {
    /// At an address.
    Address(IpAddr),
    /// A host name, resolved at the start and again and again.
    Name(String),
    /// Anywhere: the peer calls.
    Any,
}

impl std::fmt::Display for PeerName {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Address(address) => address.fmt(f),
            Self::Name(name) => f.write_str(name),
            Self::Any => f.write_str("any"),
        }
    }
}

/// What to do with the Don't Fragment bit of the outer IPv4 header.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Df {
    /// As the inner packet has it; set over an inner IPv6 packet (RFC 4301 section 8.1).
    Copy,
    /// Always set.
    Set,
    /// Never set.
    Clear,
}

/// How a connection's Child SAs handle packets (RFC 4301 section 4.4.2.1).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct EspOptions {
    /// Size of the replay window in packets.
    pub replay_window: u32,
    /// The outer Don't Fragment bit.
    pub df: Df,
    /// Packets that an SA carries at most; `None`: no limit but the sequence numbers.
    pub lifetime_packets: Option<u64>,
    /// Bytes of inner packets that an SA carries at most; `None`: no limit.
    pub lifetime_bytes: Option<u64>,
}

impl Default for EspOptions {
    fn default() -> Self {
        Self { replay_window: 1024, df: Df::Copy, lifetime_packets: None, lifetime_bytes: None }
    }
}

/// One connection: what IKE has to know, what the data path has to know, and the peer's name.
#[derive(Clone, Debug, PartialEq)]
pub struct Tunnel {
    /// `peer` in it is only right for addresses and `any`; [`Tunnel::ike`] fills in what a name resolved to.
    pub(in crate::daemon) ike: Arc<ike::Connection>,
    /// Where the peer is, as configured.
    pub peer: PeerName,
    /// How its Child SAs handle packets.
    pub esp_options: EspOptions,
    /// Protected networks, for export, child by child as in `ike`.
    pub subnets: Vec<ChildSubnets>,
    /// What an operator notes about it, for status.
    pub description: Option<String>,
}

/// The protected networks of one child.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ChildSubnets {
    /// On our side, without host bits.
    pub local: Vec<IpNet>,
    /// On the peer's side, without host bits.
    pub peer: Vec<IpNet>,
}

impl Tunnel {
    /// A connection without a description. `subnets` are those of `ike`'s children, in their order.
    pub fn new(ike: ike::Connection, peer: PeerName, esp_options: EspOptions, subnets: Vec<ChildSubnets>) -> Self {
        Self { ike: Arc::new(ike), peer, esp_options, subnets, description: None }
    }

    /// The connection's name.
    pub fn name(&self) -> &Arc<str> {
        &self.ike.name
    }

    /// The connection as configured, with an unresolved name standing as `any`.
    pub fn template(&self) -> &ike::Connection {
        &self.ike
    }

    /// The connection for IKE, with what the peer's name resolved to. None while a name has not been resolved.
    pub fn ike(&self, resolved: Option<IpAddr>) -> Option<Arc<ike::Connection>> {
        let peer = match (&self.peer, resolved) {
            (PeerName::Address(address), _) => ike::Peer::Address(*address),
            (PeerName::Any, _) => ike::Peer::Any,
            (PeerName::Name(_), Some(address)) => ike::Peer::Address(address),
            (PeerName::Name(_), None) => return None,
        };
        if peer == self.ike.peer {
            return Some(Arc::clone(&self.ike));
        }
        Some(Arc::new(ike::Connection { peer, ..ike::Connection::clone(&self.ike) }))
    }
}
