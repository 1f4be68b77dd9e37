//! What goes in and out of the endpoint besides datagrams: commands, events and deadlines.

use std::fmt;
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::time::{Duration, Instant};

use super::association::AssociationId;
use super::config::{Change, Config};
use super::failure::Failure;
use crate::crypto::{Secret, Suite};
use crate::wire::ike::{Identification, TrafficSelector};
use crate::wire::natt::NON_ESP_MARKER;

/// The way that a datagram came or goes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Path {
    /// Our address and port. An unspecified address leaves the choice to the system.
    pub local: SocketAddr,
    /// The peer's address and port, as seen from here.
    pub peer: SocketAddr,
    /// On the NAT traversal socket, where a non-ESP marker stands before IKE (RFC 3948 2.2). Whoever owns the sockets
    /// strips and adds the marker.
    pub non_esp_marker: bool,
}

impl Path {
    /// Bytes of an IP packet on this path before the IKE message: the IP header, UDP's, and the non-ESP marker.
    pub(super) fn header_len(&self) -> usize {
        let ip = if self.peer.is_ipv4() { 20 } else { 40 };
        ip + 8 + if self.non_esp_marker { NON_ESP_MARKER.len() } else { 0 }
    }
}

/// What [`Endpoint::poll_output`](super::Endpoint::poll_output) yields.
#[derive(Debug)]
pub enum Output {
    /// Send this datagram.
    Transmit(Transmit),
    /// Something happened that others must know.
    Event(Event),
    /// Nothing is left; call `handle_timeout` at this time at the latest.
    Timeout(Option<Deadline>),
}

/// A datagram to send.
#[derive(Debug, Clone)]
pub struct Transmit {
    /// Where to.
    pub path: Path,
    /// The IKE message without a non-ESP marker, or the single byte 0xff of a NAT keepalive (RFC 3948 2.3), which is
    /// sent without a marker whatever `path` says.
    pub payload: Vec<u8>,
    /// A probe of the path MTU: to be lost rather than fragmented. Everything else has to get through.
    pub dont_fragment: bool,
}

impl Transmit {
    /// A datagram that may be fragmented.
    pub fn new(path: Path, payload: Vec<u8>) -> Self {
        Self { path, payload, dont_fragment: false }
    }

    /// Whether this is a NAT keepalive, which carries no marker.
    pub fn is_nat_keepalive(&self) -> bool {
        self.payload == [0xff]
    }
}

/// When the endpoint wants to be called, and who asked.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Deadline {
    /// The time.
    pub at: Instant,
    /// The reason.
    pub why: Why,
}

/// The reasons for a wake-up.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Why {
    /// A request was not answered.
    Retransmit,
    /// A half-open IKE SA waited too long.
    HalfOpen,
    /// An IKE SA is to be rekeyed.
    RekeyIke,
    /// An IKE SA is at the end of its life.
    ExpireIke,
    /// A Child SA is to be rekeyed.
    RekeyChild,
    /// A Child SA is at the end of its life.
    ExpireChild,
    /// A replaced inbound SA has served its grace.
    RemoveReplaced,
    /// A refused exchange is tried again.
    Retry,
    /// The peer has been silent.
    Liveness,
    /// A NAT keepalive is due.
    NatKeepalive,
    /// A connection is tried again.
    Reconnect,
    /// Of several IKE SAs with one peer one is to stay.
    Duplicates,
    /// Failures were not told, and their number is to be.
    FailuresLeftOut,
    /// It is the turn of an IKE_SA_INIT request that waits.
    Turn,
    /// The time for a clean shutdown is over.
    Shutdown,
}

/// What the endpoint is asked to do.
#[derive(Debug)]
pub enum Command {
    /// Takes this configuration. Connections that are equal keep their SAs, changed and removed ones are closed with
    /// their peers, and changed ones start anew.
    Reload(Arc<Config>),
    /// Takes a difference to the connections that there are, to the same effect. It costs what it changes.
    Change(Change),
    /// From the next request on gives up peers that have not answered for this long (RFC 7296 2.4).
    GiveUpAfter(Duration),
    /// Negotiates the connection now, and again when it is lost, until `Down`.
    Up {
        /// Its name.
        connection: Arc<str>,
    },
    /// Closes the connection, and leaves it down until `Up`, a packet (with on-traffic) or the peer asks for it.
    Down {
        /// Its name.
        connection: Arc<str>,
    },
    /// Rekeys now.
    Rekey {
        /// Its name.
        connection: Arc<str>,
        /// Which SAs.
        what: RekeyWhat,
    },
    /// Replace the Child SAs of one child of a connection.
    RekeyChild {
        /// The connection's name.
        connection: Arc<str>,
        /// The child's.
        child: Arc<str>,
    },
    /// A packet has no SA: negotiate one.
    Acquire {
        /// The connection.
        connection: Arc<str>,
        /// The child of it that matches the packet.
        child: Arc<str>,
        /// The packet's own selectors (source and destination), offered before the configured ones (RFC 7296 2.9).
        packet: Option<(TrafficSelector, TrafficSelector)>,
    },
    /// What the data path saw on inbound SAs since the last time.
    SaActivity(Vec<SaActivity>),
    /// Packets go out on this pair, but none have come back for a while: asks the peer for a sign of life now, if the
    /// connection does so at all (RFC 7296 2.4). To be repeated every few seconds while that goes on.
    CheckLiveness {
        /// SPI of the inbound SA of the pair.
        inbound_spi: u32,
    },
    /// A link, an address or a route of this machine has changed, perhaps for the better: whoever waits for an answer asks again,
    /// when it is its turn among all that do.
    PathsChanged,
    /// An SA of this pair has come to a limit of what it may carry. Past the soft one the pair is rekeyed; past the hard
    /// one it carries nothing any more, and is replaced whether the peer rekeys it or not.
    LimitReached {
        /// SPI of the inbound SA of the pair.
        inbound_spi: u32,
        /// Which limit.
        limit: SaLimit,
    },
    /// The data path could not install this pair. It is deleted at the peer, who believes in it.
    InstallFailed {
        /// SPI of the inbound SA of the pair.
        inbound_spi: u32,
        /// Why, for a person.
        reason: String,
    },
    /// Finds out whether outer packets of this size reach the peer of this pair: [`Event::PathProbed`] tells, unless the IKE
    /// SA goes or has better things to do.
    ProbePath {
        /// SPI of the inbound SA of the pair.
        inbound_spi: u32,
        /// Bytes of a whole outer IP packet.
        size: u16,
    },
    /// Deletes every SA at its peer. [`Event::ShutdownComplete`] follows within two seconds, answered or not.
    Shutdown,
}

/// The SAs that [`Command::Rekey`] means.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum RekeyWhat {
    /// The IKE SA.
    Ike,
    /// Every Child SA of the connection.
    Child,
}

/// How far an SA has used up its sequence numbers, packets or bytes (RFC 4301 4.4.2.1).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum SaLimit {
    /// It goes on, and is to be rekeyed.
    Soft,
    /// It passes nothing any more.
    Hard,
}

/// What the data path saw on one inbound SA.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct SaActivity {
    /// The SA's SPI, which we chose.
    pub inbound_spi: u32,
    /// When a packet was last authenticated on it.
    pub last_inbound: Instant,
    /// Whether this tells of the SA's first packet.
    pub first_seen: bool,
    /// Source address of the authenticated UDP packet with the highest sequence number, when it is not where we send.
    pub source: Option<SocketAddr>,
}

/// What the endpoint tells.
#[derive(Debug)]
pub enum Event {
    /// A pair of Child SAs was negotiated: both exist. The inbound one must be in place before the next datagram is sent; the
    /// outbound one is not to be used before [`Event::ChildOutboundActivated`].
    ChildInstalled(Box<ChildSa>),
    /// The outbound SA of this pair is to be used from now on, until it is retired or removed: at once, or where we answered
    /// a rekey, when the peer has shown that it is ready for it (RFC 7296 2.8). Several pairs of one child may be in use.
    ChildOutboundActivated {
        /// Name of the connection.
        connection: Arc<str>,
        /// Its association with this peer.
        association: AssociationId,
        /// SPI of the inbound SA of the pair.
        inbound_spi: u32,
        /// SPI of the outbound SA of the pair.
        outbound_spi: u32,
    },
    /// The outbound SA of this pair is not to be used any more: remove it now. Its inbound SA still takes packets in flight;
    /// [`Event::ChildRemoved`] follows when it is to go.
    ///
    /// Said of a pair that another one replaces, after that one's activation, and of a pair that is being deleted: at most
    /// once of each pair.
    ChildOutboundRetired {
        /// Name of the connection.
        connection: Arc<str>,
        /// Its association with this peer.
        association: AssociationId,
        /// SPI of the inbound SA of the pair.
        inbound_spi: u32,
    },
    /// Remove what is left of the pair: the inbound SA, and the outbound one if it was not retired before.
    ChildRemoved {
        /// Name of the connection.
        connection: Arc<str>,
        /// Its association with this peer.
        association: AssociationId,
        /// Name of the child.
        child: Arc<str>,
        /// SPI of the inbound SA of the pair.
        inbound_spi: u32,
        /// SPI of the outbound SA of the pair.
        outbound_spi: u32,
        /// Why it went.
        reason: Removal,
    },
    /// The peer of these Child SAs is reached another way now.
    PathChanged {
        /// Name of the connection that their IKE SA was set up for.
        connection: Arc<str>,
        /// SPIs of the inbound SAs of the pairs.
        inbound_spis: Vec<u32>,
        /// The way from now on.
        path: Path,
    },
    /// The peer of these Child SAs does not answer: they are sent on only where there is nothing else, until
    /// [`Event::PathAnswers`]. They are not given up. Child SAs that are set up later have a path that answers.
    PathSilent {
        /// Name of the connection that their IKE SA was set up for.
        connection: Arc<str>,
        /// SPIs of the inbound SAs of the pairs.
        inbound_spis: Vec<u32>,
        /// When the peer last gave a sign of life.
        since: Instant,
    },
    /// The peer of these Child SAs answers again.
    PathAnswers {
        /// Name of the connection that their IKE SA was set up for.
        connection: Arc<str>,
        /// SPIs of the inbound SAs of the pairs.
        inbound_spis: Vec<u32>,
    },
    /// What became of [`Command::ProbePath`].
    PathProbed {
        /// The peer's address.
        peer: IpAddr,
        /// The size that was asked for.
        asked: u16,
        /// The size that the packet had. A few bytes fewer where the IKE SA's cipher has blocks.
        sent: u16,
        /// It was answered before it was repeated: as a whole, it reached the peer.
        in_time: bool,
    },
    /// An IKE SA of the connection was established, or a pair of Child SAs of it in the IKE SA of another one with the same
    /// peer, where there was neither before.
    ConnectionUp {
        /// Its name.
        connection: Arc<str>,
    },
    /// The connection has neither any more, or could not get it.
    ConnectionDown {
        /// Its name.
        connection: Arc<str>,
        /// Why, unless it was asked for.
        error: Option<Failure>,
        /// When it will be tried again.
        next_attempt: Option<Instant>,
    },
    /// Something failed that a person should see; its text says what to look at. Of peers that have not authenticated
    /// themselves, as initiators or as responders, eight are told in a second at most; of one association eight at once and
    /// one in ten seconds, and of all twenty at once and one in a second.
    Failure {
        /// Name of the connection, when the peer could be matched to one.
        connection: Option<Arc<str>>,
        /// The peer's address.
        peer: SocketAddr,
        /// What failed.
        failure: Failure,
    },
    /// So many failures were not told beyond those.
    FailuresLeftOut {
        /// Their number; not 0.
        count: u64,
        /// The time since the first of them.
        span: Duration,
    },
    /// Every SA is closed. The endpoint sends nothing more.
    ShutdownComplete,
}

/// Why a pair of Child SAs was removed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Removal {
    /// A newer pair has taken its place.
    Replaced,
    /// The peer deleted it.
    DeletedByPeer,
    /// We were asked to close it.
    Closed,
    /// Its IKE SA went.
    IkeSaLost,
    /// The end of its lifetime was reached.
    Expired,
    /// Both ends had made one; this was the redundant one (RFC 7296 2.8.1).
    Redundant,
    /// The data path could not install it.
    NotInstalled,
    /// Its sequence numbers or another hard limit were used up before the peer rekeyed it.
    Exhausted,
}

impl fmt::Display for Removal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Replaced => "replaced by a newer one",
            Self::DeletedByPeer => "deleted by the peer",
            Self::Closed => "closed",
            Self::IkeSaLost => "its IKE SA is gone",
            Self::Expired => "expired",
            Self::Redundant => "redundant after both ends rekeyed",
            Self::NotInstalled => "the data path could not install it",
            Self::Exhausted => "used up before the peer rekeyed it",
        })
    }
}

/// How ESP travels on the wire.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Encapsulation {
    /// In UDP, between the ports of the path (RFC 3948).
    Udp,
    /// As IP protocol 50.
    None,
}

/// A pair of ESP SAs with the keys, which move to the data path.
#[derive(Debug)]
pub struct ChildSa {
    /// Name of the connection.
    pub connection: Arc<str>,
    /// Its association with this peer.
    pub association: AssociationId,
    /// The peer's authenticated identity.
    pub peer_id: Identification,
    /// Name of the child within the connection.
    pub child: Arc<str>,
    /// SPI of the SA that we receive on.
    pub inbound_spi: u32,
    /// SPI of the SA that we send on.
    pub outbound_spi: u32,
    /// Algorithms of both.
    pub suite: Suite,
    /// Extended sequence numbers.
    pub esn: bool,
    /// Keys of the inbound SA.
    pub inbound_keys: SaKeys,
    /// Keys of the outbound SA.
    pub outbound_keys: SaKeys,
    /// Traffic on our side, as agreed.
    pub local_selectors: Vec<TrafficSelector>,
    /// Traffic on the peer's side, as agreed.
    pub peer_selectors: Vec<TrafficSelector>,
    /// How to send. Either form must be accepted when receiving (RFC 7296 2.23).
    pub encapsulation: Encapsulation,
    /// The outer addresses, and the ports of UDP encapsulation.
    pub path: Path,
}

/// The keys of one ESP SA (RFC 7296 2.17).
#[derive(Debug)]
pub struct SaKeys {
    /// The key of the encryption algorithm, with its salt at the end if it has one.
    pub encryption_key: Secret,
    /// The key of the integrity algorithm; empty with AEAD.
    pub integrity_key: Secret,
}
