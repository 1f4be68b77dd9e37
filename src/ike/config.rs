//! What the endpoint is told to do: connections, their proposals and selectors, and the limits of the endpoint itself.
//!
//! Values are compared as a whole on reload: a connection that is equal to what it was keeps its tunnels.

use std::fmt;
use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use crate::crypto::{EncryptionAlgorithm, IntegrityAlgorithm, KeyExchangeAlgorithm, PrfAlgorithm, Secret};
use crate::wire::ike::{Identification, TrafficSelector};

/// The endpoint's configuration. Connections are tried in this order when several fit a peer.
#[derive(Debug, Clone)]
pub struct Config {
    /// The connections, with names that are unique.
    pub connections: Vec<Arc<Connection>>,
    /// From this number of half-open IKE SAs on, every IKE_SA_INIT request must return a cookie (RFC 7296 2.6).
    pub cookie_threshold: usize,
    /// The same threshold for the half-open IKE SAs of one source: an IPv4 address or an IPv6 /64.
    pub cookie_threshold_per_source: usize,
    /// Half-open IKE SAs that are kept at most. Above it only peers that returned a cookie are served, each in place of the
    /// oldest one of the source that has most.
    pub half_open_limit: usize,
    /// Half-open IKE SAs of one source that are kept at most, whatever the connection.
    pub half_open_limit_per_source: usize,
    /// How long a responder waits for the IKE_AUTH request that belongs to its IKE_SA_INIT response.
    pub half_open_timeout: Duration,
    /// How requests on established IKE SAs are repeated, and when their peers are given up. What sets one up is repeated
    /// likewise, but for less long.
    pub retransmission: Retransmission,
    /// The port of IKE without NAT traversal, ours and the peers' (500).
    pub ike_port: u16,
    /// The port of NAT traversal, ours and the peers' (4500, RFC 3948).
    pub nat_port: u16,
}

impl Config {
    /// The defaults for every limit, with these connections.
    pub fn new(connections: Vec<Arc<Connection>>) -> Self {
        Self {
            connections,
            cookie_threshold: 64,
            cookie_threshold_per_source: 3,
            half_open_limit: 10_000,
            half_open_limit_per_source: 64,
            half_open_timeout: Duration::from_secs(30),
            retransmission: Retransmission::default(),
            ike_port: 500,
            nat_port: 4500,
        }
    }

    /// The connection of this name.
    pub fn connection(&self, name: &str) -> Option<&Arc<Connection>> {
        self.connections.iter().find(|connection| &*connection.name == name)
    }
}

/// Where a connection stands among those that fit a peer equally well: the lowest is tried first. No two have the same.
pub type Place = u64;

/// What is different about the configured connections.
#[derive(Debug, Clone, Default)]
pub struct Change {
    /// The names of those that are gone.
    pub removed: Vec<Arc<str>>,
    /// Those that are new, have changed, or have another place than before. A name occurs once.
    pub set: Vec<(Place, Arc<Connection>)>,
}

/// Exponential back-off of requests that were not answered (RFC 7296 2.1, 2.4).
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Retransmission {
    /// Time from the first transmission to the second.
    pub initial: Duration,
    /// Each wait is the one before times this,
    pub factor: f64,
    /// and at most this long.
    pub longest: Duration,
    /// How long after the first transmission, or the peer's last sign of life, the IKE SA is given up.
    pub timeout: Duration,
}

impl Default for Retransmission {
    /// After 0.5, 0.75, 1.1, 1.7 … and at most 16 seconds, for two and a half minutes: 17 transmissions. RFC 7296 2.4 suggests
    /// at least a dozen over several minutes.
    fn default() -> Self {
        Self {
            initial: Duration::from_millis(500),
            factor: 1.5,
            longest: Duration::from_secs(16),
            timeout: Duration::from_secs(150),
        }
    }
}

impl Retransmission {
    /// How long one attempt to set up an IKE SA goes on. A responder forgets a half-open IKE SA after about 30 seconds; the
    /// next attempt begins anew.
    pub(super) const ATTEMPT: Duration = Duration::from_secs(15);
    /// The longest wait of an attempt: a peer that is there again does not wait for the late steps of a back-off.
    const ATTEMPT_WAIT: Duration = Duration::from_secs(2);

    /// The wait after transmission `number`, the first being 0.
    pub fn wait(&self, number: u32) -> Duration {
        let seconds = self.initial.as_secs_f64() * self.factor.max(1.0).powi(number.min(30) as i32);
        Duration::from_secs_f64(seconds.clamp(0.001, 3600.0)).min(self.longest)
    }

    /// That of the requests that set up an IKE SA.
    pub(super) fn of_attempt(self) -> Self {
        Self { longest: self.longest.min(Self::ATTEMPT_WAIT), timeout: self.timeout.min(Self::ATTEMPT), ..self }
    }
}

/// Where the peer of a connection is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Peer {
    /// At this address; connections can be initiated.
    Address(IpAddr),
    /// Anywhere; the peer initiates.
    Any,
}

/// When a connection's Child SAs are negotiated.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Start {
    /// At once, and again whenever they are lost.
    Now,
    /// When a packet asks for one ([`Command::Acquire`](super::Command::Acquire)).
    OnTraffic,
    /// When the peer starts.
    Wait,
}

/// One connection to one peer: one IKE SA with its Child SAs.
#[derive(Debug, Clone)]
pub struct Connection {
    /// The name that commands, events and logs use.
    pub name: Arc<str>,
    /// Our outer address. `None` accepts requests at any address; when such a connection initiates, the NAT detection
    /// hash of our address can't match, so ESP is then always encapsulated in UDP.
    pub local_address: Option<IpAddr>,
    /// The peer's outer address.
    pub peer: Peer,
    /// Our identity (IDi or IDr).
    pub local_id: Identification,
    /// The peer's identity. `None`: its outer address as an address identity, or with [`Peer::Any`] any identity at
    /// all, so that the pre-shared key alone authenticates.
    pub peer_id: Option<Identification>,
    /// The shared secret of RFC 7296 2.15.
    pub pre_shared_key: Arc<Secret>,
    /// What IKE may use, preferred first.
    pub ike_proposals: Vec<IkeProposal>,
    /// The Child SAs of this connection, with names that are unique in it.
    pub children: Vec<Child>,
    /// When to negotiate.
    pub start: Start,
    /// Lifetime of an IKE SA: it is rekeyed at 80 to 90 per cent of it and closed at the end.
    pub ike_lifetime: Duration,
    /// Lifetime of a Child SA, in the same manner.
    pub child_lifetime: Duration,
    /// After this time without a sign of life a liveness check is sent (RFC 7296 2.4). `None`: never.
    pub liveness_interval: Option<Duration>,
    /// Whether NAT detection is announced and answered (RFC 7296 2.23).
    pub nat_traversal: bool,
    /// Makes both ends believe that there is a NAT, so that ESP is encapsulated in UDP. Needs `nat_traversal`.
    pub force_encapsulation: bool,
    /// Interval of NAT keepalives (RFC 3948 2.3) when we are behind a NAT. Zero: none.
    pub nat_keepalive: Duration,
    /// Which further capabilities it has.
    pub extensions: Extensions,
}

/// The optional capabilities of a connection, besides NAT traversal.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Extensions {
    /// Fragmentation of IKE messages (RFC 7383): bytes of an IP packet above which a message goes in fragments.
    /// `None`: never, and the peer may not either.
    pub fragment_size: Option<u16>,
    /// IKE SAs that are set up without a Child SA (RFC 6023).
    pub childless: Childless,
    /// Quick crash detection (RFC 6290): tokens are given and taken by which an end that has restarted is known.
    pub quick_crash_detection: bool,
}

impl Extensions {
    /// Bytes of the fragments unless something else is configured: a packet that every IPv6 path takes (RFC 8200 5).
    pub const FRAGMENT_SIZE: u16 = 1280;
}

impl Default for Extensions {
    /// Everything on.
    fn default() -> Self {
        Self { fragment_size: Some(Self::FRAGMENT_SIZE), childless: Childless::Allow, quick_crash_detection: true }
    }
}

/// When an IKE SA is set up without a Child SA (RFC 6023).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Childless {
    /// When the peer asks for none, or when there is none to ask for.
    Allow,
    /// Always, and the peer has to.
    Force,
    /// Never.
    Never,
}

impl PartialEq for Connection {
    /// Equal in every field; the keys are compared in constant time.
    fn eq(&self, other: &Self) -> bool {
        let Self {
            name,
            local_address,
            peer,
            local_id,
            peer_id,
            pre_shared_key,
            ike_proposals,
            children,
            start,
            ike_lifetime,
            child_lifetime,
            liveness_interval,
            nat_traversal,
            force_encapsulation,
            nat_keepalive,
            extensions,
        } = self;
        *name == other.name
            && *local_address == other.local_address
            && *peer == other.peer
            && *local_id == other.local_id
            && *peer_id == other.peer_id
            && crate::crypto::digest::constant_time_eq(pre_shared_key.as_bytes(), other.pre_shared_key.as_bytes())
            && *ike_proposals == other.ike_proposals
            && *children == other.children
            && *start == other.start
            && *ike_lifetime == other.ike_lifetime
            && *child_lifetime == other.child_lifetime
            && *liveness_interval == other.liveness_interval
            && *nat_traversal == other.nat_traversal
            && *force_encapsulation == other.force_encapsulation
            && *nat_keepalive == other.nat_keepalive
            && *extensions == other.extensions
    }
}

impl Connection {
    /// The Child SA configuration of this name.
    pub fn child(&self, name: &str) -> Option<&Child> {
        self.children.iter().find(|child| &*child.name == name)
    }
}

/// One Child SA of a connection: what it protects and how.
#[derive(Debug, Clone, PartialEq)]
pub struct Child {
    /// Its name within the connection.
    pub name: Arc<str>,
    /// Traffic on our side.
    pub local_selectors: Vec<TrafficSelector>,
    /// Traffic on the peer's side.
    pub peer_selectors: Vec<TrafficSelector>,
    /// What ESP may use, preferred first.
    pub esp_proposals: Vec<EspProposal>,
}

/// One proposal for an IKE SA: any combination of these, each list preferred first (RFC 7296 3.3).
///
/// Encryption algorithms are all AEAD, with no integrity algorithm, or none of them is.
#[derive(Debug, Clone, PartialEq)]
pub struct IkeProposal {
    /// Encryption.
    pub encryption: Vec<&'static EncryptionAlgorithm>,
    /// Integrity protection; empty with AEAD.
    pub integrity: Vec<&'static IntegrityAlgorithm>,
    /// Pseudorandom functions.
    pub prf: Vec<&'static PrfAlgorithm>,
    /// Key exchange methods.
    pub groups: Vec<&'static KeyExchangeAlgorithm>,
}

/// One proposal for an ESP SA.
#[derive(Debug, Clone, PartialEq)]
pub struct EspProposal {
    /// Encryption; all AEAD or none.
    pub encryption: Vec<&'static EncryptionAlgorithm>,
    /// Integrity protection; empty with AEAD.
    pub integrity: Vec<&'static IntegrityAlgorithm>,
    /// Key exchange methods for perfect forward secrecy; empty: none. The first Child SA of an IKE SA takes its keys
    /// from the IKE SA's own exchange and negotiates no method (RFC 7296 1.2).
    pub groups: Vec<&'static KeyExchangeAlgorithm>,
    /// Extended sequence numbers: the accepted values, preferred first.
    pub esn: Vec<bool>,
}

impl fmt::Display for IkeProposal {
    /// `IKE:AES_CBC_128/HMAC_SHA2_256_128/…`, with the registry's names.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let names = names(&self.encryption, &self.integrity)
            .chain(self.prf.iter().map(|prf| prf.iana_name.to_owned()))
            .chain(self.groups.iter().map(|group| group.iana_name.to_owned()));
        write!(f, "IKE:{}", names.collect::<Vec<_>>().join("/"))
    }
}

impl fmt::Display for EspProposal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let names = names(&self.encryption, &self.integrity)
            .chain(self.groups.iter().map(|group| group.iana_name.to_owned()))
            .chain(self.esn.iter().map(|esn| if *esn { "ESN" } else { "NO_ESN" }.to_owned()));
        write!(f, "ESP:{}", names.collect::<Vec<_>>().join("/"))
    }
}

fn names<'a>(
    encryption: &'a [&'static EncryptionAlgorithm],
    integrity: &'a [&'static IntegrityAlgorithm],
) -> impl Iterator<Item = String> + 'a {
    let encryption = encryption.iter().map(|encryption| match encryption.key_bits {
        Some(bits) => format!("{}_{bits}", encryption.iana_name),
        None => encryption.iana_name.to_owned(),
    });
    encryption.chain(integrity.iter().map(|integrity| integrity.iana_name.to_owned()))
}
