//! What the control task is told of what happens to connections.

use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::time::{Duration, Instant};

use super::pair::Pair;
use crate::ike::AssociationId;

/// What the control task is told.
#[derive(Debug)]
pub enum Notice {
    /// A connection has an established IKE SA.
    ConnectionUp {
        /// Its name.
        connection: Arc<str>,
    },
    /// A connection has no IKE SA any more, or could not get one.
    ConnectionDown {
        /// Its name.
        connection: Arc<str>,
        /// Why, unless it was asked for.
        error: Option<String>,
    },
    /// A child has an SA to send on to a peer. Told in turn with `ChildDown`.
    ChildUp(ChildOf),
    /// The last pair of a child with that peer that sent is gone, and why.
    ChildDown(ChildOf, String),
    /// Whether the connection has any SA to send on whose path answers.
    Carries {
        /// The connection's name.
        connection: Arc<str>,
        /// It has one.
        up: bool,
    },
    /// The peer of an IKE SA of the connection does not answer.
    PathSilent {
        /// The connection's name.
        connection: Arc<str>,
        /// When the peer gave its last sign of life.
        since: Instant,
    },
    /// It answers again.
    PathAnswers {
        /// The connection's name.
        connection: Arc<str>,
    },
    /// A negotiation failed.
    Failure {
        /// The connection that it was for, if that was clear by then.
        connection: Option<Arc<str>>,
        /// The peer's outer address.
        peer: SocketAddr,
        /// Why, for a person.
        reason: String,
    },
    /// Failures beyond those that were told one by one.
    MoreFailures {
        /// How often.
        count: u64,
        /// In which time until now.
        period: Duration,
    },
    /// The peer's outer address in use.
    PeerAt {
        /// The connection's name.
        connection: Arc<str>,
        /// The connection's association with the peer.
        association: AssociationId,
        /// The address.
        peer: IpAddr,
    },
    /// The association with a peer is gone: it has neither an IKE SA nor a pair.
    PeerGone {
        /// The connection's name.
        connection: Arc<str>,
        /// The connection's association with the peer.
        association: AssociationId,
    },
    /// IKE has shut down: every peer has acknowledged that its SAs are deleted, or none was waited for any longer.
    ShutdownComplete,
}

/// What a notice decides about.
#[derive(Debug, PartialEq, Eq, Hash)]
pub(super) enum About {
    /// Whether a connection carries.
    Carries(Arc<str>),
    /// Whether a connection is up: while it is down its peer's name is looked up before each attempt.
    IsUp(Arc<str>),
    /// Where the peer of an association is.
    Peer(Arc<str>, AssociationId),
    /// Whether IKE has shut down.
    Shutdown,
}

impl Notice {
    /// What it decides about; `None` for what only the log and the events tell.
    pub(super) fn about(&self) -> Option<About> {
        match self {
            Notice::Carries { connection, .. } => Some(About::Carries(Arc::clone(connection))),
            Notice::ConnectionUp { connection } | Notice::ConnectionDown { connection, .. } => {
                Some(About::IsUp(Arc::clone(connection)))
            }
            Notice::PeerAt { connection, association, .. } | Notice::PeerGone { connection, association } => {
                Some(About::Peer(Arc::clone(connection), *association))
            }
            Notice::ShutdownComplete => Some(About::Shutdown),
            Notice::PathSilent { .. }
            | Notice::PathAnswers { .. }
            | Notice::Failure { .. }
            | Notice::MoreFailures { .. }
            | Notice::ChildUp(_)
            | Notice::ChildDown(..) => None,
        }
    }
}

/// One child of a connection with one peer.
#[derive(Clone, Debug)]
pub struct ChildOf {
    /// The connection's name.
    pub connection: Arc<str>,
    /// The connection's association with the peer.
    pub association: AssociationId,
    /// The peer's authenticated identity.
    pub peer_id: Arc<str>,
    /// The child's name.
    pub child: Arc<str>,
}

impl From<&Pair> for ChildOf {
    fn from(pair: &Pair) -> Self {
        Self {
            connection: Arc::clone(&pair.connection),
            association: pair.association,
            peer_id: Arc::clone(&pair.peer_id),
            child: Arc::clone(&pair.child),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::daemon::wiring::held::Held;

    #[test]
    fn the_newest_of_what_somebody_acts_on_is_never_given_up() {
        let connection = || Arc::<str>::from("idc");
        let down = |error: &str| Notice::ConnectionDown { connection: connection(), error: Some(error.to_owned()) };
        let mut held = Held::new(Notice::about);
        held.push(Notice::Carries { connection: connection(), up: false });
        held.push(Notice::ConnectionUp { connection: connection() });
        held.push(down("first"));
        held.push(down("last"));
        for _ in 0..200_000 {
            held.push(Notice::PathSilent { connection: connection(), since: Instant::now() });
        }
        let (sender, mut control) = tokio::sync::mpsc::channel(200_000);
        held.pass_on(&sender);
        let told: Vec<Notice> = std::iter::from_fn(|| control.try_recv().ok()).take(2).collect();
        // Its peer's name is looked up then.
        assert!(
            matches!(&told[..], [Notice::Carries { up: false, .. }, Notice::ConnectionDown { error: Some(error), .. }] if error == "last"),
            "{told:?}"
        );
    }
}
