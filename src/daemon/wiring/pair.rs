//! One pair of ESP SAs in the data path, as the IKE thread knows it.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::{Duration, Instant};

use crate::dataplane::facts::{SaFacts, SaReading};
use crate::dataplane::outer_header::{Encapsulation, OuterPath};
use crate::dataplane::parameters::Tunnel;
use crate::ike::{AssociationId, ChildSa, Command, SaLimit};

/// A peer that has left a packet without any in return for this long is asked whether it is there. Where both ends have a
/// standby, the second of them finds out only when the first one has: this is to leave time for both.
const UNANSWERED: Duration = Duration::from_millis(500);
/// While packets go out and none comes back, it is asked again after this long.
const SUSPECT_AGAIN: Duration = Duration::from_secs(2);

/// A pair of ESP SAs in the data path, as status shows it.
#[derive(Clone, Debug)]
pub struct Pair {
    /// The name of its connection.
    pub connection: Arc<str>,
    /// The connection's association with this peer.
    pub association: AssociationId,
    /// The peer's authenticated identity.
    pub peer_id: Arc<str>,
    /// The name of its child.
    pub child: Arc<str>,
    /// The SPI that the peer chose; the pair itself goes by the inbound one.
    pub outbound_spi: u32,
    /// IKE has said that its outbound SA is to be used, and not that it is not any more. Several pairs of a child may send.
    pub sending: bool,
    /// IKE has said that its path does not answer.
    pub silent: bool,
    /// What the inbound thread says of its SA.
    pub inbound: Arc<SaFacts>,
    /// What the outbound thread says of its SA.
    pub outbound: Arc<SaFacts>,
    pub(super) encapsulation: Encapsulation,
    pub(super) path: OuterPath,
    /// What the path takes in one outer packet, in bytes.
    pub path_mtu: u16,
    /// What IKE was told last.
    pub(super) told: Option<Instant>,
    /// The worst that IKE was told of it.
    trouble: Trouble,
    pub(super) installed: Instant,
    /// Since when a packet has gone unanswered.
    unanswered: Option<Instant>,
    /// When IKE was told so last.
    suspected: Option<Instant>,
}

/// What can be wrong with a pair, the worst last.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Trouble {
    None,
    SoftLimit,
    HardLimit,
    NotInstalled,
}

impl Pair {
    /// A pair that is being installed, and is not yet to be sent on.
    pub(super) fn new(sa: &ChildSa, tunnel: Tunnel, now: Instant) -> Self {
        Self {
            connection: Arc::clone(&sa.connection),
            association: sa.association,
            peer_id: sa.peer_id.to_string().into(),
            child: Arc::clone(&sa.child),
            outbound_spi: sa.outbound_spi,
            sending: false,
            silent: false,
            inbound: Arc::new(SaFacts::new(now)),
            outbound: Arc::new(SaFacts::new(now)),
            encapsulation: tunnel.encapsulation,
            path: tunnel.path,
            path_mtu: tunnel.outer_mtu,
            told: None,
            trouble: Trouble::None,
            installed: now,
            unanswered: None,
            suspected: None,
        }
    }

    /// Where its packets go through now.
    pub(super) fn tunnel(&self) -> Tunnel {
        Tunnel { encapsulation: self.encapsulation, path: self.path, outer_mtu: self.path_mtu }
    }

    /// What IKE is to be told of the pair's troubles, if there is a new one.
    pub(super) fn trouble(&mut self, inbound_spi: u32, inbound: &SaReading, outbound: &SaReading) -> Option<Command> {
        let refused = |direction: &str, reading: &SaReading| {
            reading.install_error.map(|error| format!("the data path refuses its {direction} SA: {error}"))
        };
        let refused = refused("inbound", inbound).or_else(|| refused("outbound", outbound));
        let (trouble, command) = if let Some(reason) = refused {
            (Trouble::NotInstalled, Command::InstallFailed { inbound_spi, reason })
        } else if inbound.exhausted || outbound.exhausted {
            (Trouble::HardLimit, Command::LimitReached { inbound_spi, limit: SaLimit::Hard })
        } else if inbound.soft_limit_reached || outbound.soft_limit_reached {
            (Trouble::SoftLimit, Command::LimitReached { inbound_spi, limit: SaLimit::Soft })
        } else {
            return None;
        };
        (std::mem::replace(&mut self.trouble, trouble) < trouble).then_some(command)
    }

    /// Whether the peer is to be asked for a sign of life now: packets go out, and nothing has come back for a while, by when
    /// the last packet came on the inbound SA and went on the outbound one. A peer that has restarted knows nothing of the
    /// SA, and its traffic would vanish until the next regular check; a path that is away is to be found before that, too.
    pub(super) fn goes_unanswered(
        &mut self,
        inbound: Option<Instant>,
        outbound: Option<Instant>,
        now: Instant,
    ) -> bool {
        let heard = inbound.unwrap_or(self.installed);
        let Some(sent) = outbound.filter(|sent| *sent > heard && self.sending) else {
            (self.unanswered, self.suspected) = (None, None);
            return false;
        };
        // What was unanswered before the peer was heard is answered.
        let since = *self.unanswered.take_if(|since| *since > heard).get_or_insert(sent);
        self.unanswered = Some(since);
        let elapsed = |since: Instant| now.saturating_duration_since(since);
        let due = match self.suspected.filter(|at| *at > heard) {
            None => elapsed(since) >= UNANSWERED,
            Some(at) => elapsed(at) >= SUSPECT_AGAIN && sent > at,
        };
        if due {
            self.suspected = Some(now);
        }
        due
    }

    /// Our outer address and the peer's.
    pub fn outer(&self) -> (SocketAddr, SocketAddr) {
        (self.path.local, self.path.peer)
    }
}
