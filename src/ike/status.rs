//! What the endpoint shows of itself.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Instant;

use super::association::AssociationId;
use super::config::Start;
use super::coverage::Flows;
use super::event::Encapsulation;
use super::failure::Failure;
use crate::wire::ike::{Identification, IkeSpi, TrafficSelector};

/// The state of one configured connection.
#[derive(Debug, Clone)]
pub struct ConnectionStatus {
    /// Its name.
    pub name: Arc<str>,
    /// How far its IKE SA is.
    pub state: ConnectionState,
    /// When it is negotiated.
    pub start: Start,
    /// Our identity.
    pub local_id: Identification,
    /// The peer's authenticated identity, or the configured one while there is none.
    pub peer_id: Option<Identification>,
    /// Where the peer is: of the IKE SA if there is one, or as configured.
    pub peer: Option<SocketAddr>,
    /// What there is of it with each authenticated peer: several only if it takes any peer.
    pub associations: Vec<AssociationStatus>,
    /// The IKE SA that serves, once established; of several associations that of the newest.
    pub ike_sa: Option<IkeSaStatus>,
    /// The Child SAs of all associations, of each IKE SA the ones in use first.
    pub children: Vec<ChildStatus>,
    /// What the peer left out of the Child SAs of a child when it narrowed them (RFC 7296 2.9), by the child's name. Its
    /// packets are dropped, or ask for Child SAs of their own.
    pub left_out: Vec<(Arc<str>, Flows)>,
    /// What went wrong last, if the connection isn't up, or not every child of it has a pair of Child SAs.
    pub last_error: Option<Failure>,
    /// When it will be tried again.
    pub next_attempt: Option<Instant>,
}

/// A connection with one authenticated peer.
#[derive(Debug, Clone)]
pub struct AssociationStatus {
    /// Its number.
    pub id: AssociationId,
    /// The peer's identity.
    pub peer_id: Identification,
    /// The peer's address.
    pub peer: SocketAddr,
    /// When the peer was authenticated first.
    pub since: Instant,
    /// The established IKE SAs that it has or that carry Child SAs of it, the newest last.
    pub ike_sas: Vec<IkeSaStatus>,
}

/// How far a connection is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ConnectionState {
    /// No IKE SA.
    Down,
    /// IKE_SA_INIT or IKE_AUTH is under way.
    Connecting,
    /// The IKE SA is established; its Child SAs are listed.
    Established,
    /// The IKE SA is being deleted.
    Closing,
}

/// An established IKE SA.
#[derive(Debug, Clone)]
pub struct IkeSaStatus {
    /// The connection that it was set up for: another one where a peer has put the Child SAs of two connections into one
    /// IKE SA.
    pub connection: Arc<str>,
    /// SPI of the end that initiated this IKE SA.
    pub initiator_spi: IkeSpi,
    /// SPI of the other end.
    pub responder_spi: IkeSpi,
    /// Whether we initiated it.
    pub initiator: bool,
    /// Encryption, integrity, PRF and key exchange, in the words of the configuration: `aes256gcm16-prfsha256-x25519`.
    pub algorithms: String,
    /// When it was established.
    pub established: Instant,
    /// When it will be rekeyed.
    pub rekey_at: Instant,
    /// When it ends at the latest.
    pub expires_at: Instant,
    /// Whether a NAT is in front of us.
    pub local_behind_nat: bool,
    /// Whether a NAT is in front of the peer.
    pub peer_behind_nat: bool,
    /// Its path does not answer, and has not since then.
    pub silent_since: Option<Instant>,
    /// The names of the extensions that both ends use, such as `nat-detection`.
    pub extensions: Vec<&'static str>,
}

/// A pair of Child SAs.
#[derive(Debug, Clone)]
pub struct ChildStatus {
    /// Whose it is.
    pub association: AssociationId,
    /// Name within the connection.
    pub name: Arc<str>,
    /// How far it is.
    pub state: ChildState,
    /// SPI that we receive on.
    pub inbound_spi: u32,
    /// SPI that we send on.
    pub outbound_spi: u32,
    /// Encryption, integrity and, after a rekey with perfect forward secrecy, the key exchange.
    pub algorithms: String,
    /// Extended sequence numbers.
    pub esn: bool,
    /// How it is sent.
    pub encapsulation: Encapsulation,
    /// Traffic on our side.
    pub local_selectors: Vec<TrafficSelector>,
    /// Traffic on the peer's side.
    pub peer_selectors: Vec<TrafficSelector>,
    /// When it was installed.
    pub established: Instant,
    /// When it will be rekeyed.
    pub rekey_at: Instant,
    /// When it ends at the latest.
    pub expires_at: Instant,
}

/// How far a pair of Child SAs is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum ChildState {
    /// In use.
    Installed,
    /// Being replaced.
    Rekeying,
    /// Replaced; only the inbound SA is left, for packets in flight.
    Retired,
}
