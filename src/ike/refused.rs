//! What packets asked for and the peer refused: the next packets of the same kind ask again, but not all of them.

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::{Duration, Instant};

use super::coverage::Flows;

/// How long packets do not ask again for what was refused.
pub(super) const REFUSED_FOR: Duration = Duration::from_secs(30);

/// Refusals that are kept; the oldest gives way.
const KEPT: usize = 64;

/// The last refusals of what packets asked for.
#[derive(Default)]
pub(super) struct Refused(VecDeque<Refusal>);

struct Refusal {
    child: Arc<str>,
    packet: Flows,
    until: Instant,
}

impl Refused {
    /// The peer has refused what this packet asked for.
    pub(super) fn note(&mut self, child: Arc<str>, packet: Flows, until: Instant) {
        if self.0.len() >= KEPT {
            self.0.pop_front();
        }
        self.0.push_back(Refusal { child, packet, until });
    }

    /// Whether it is too early for this packet to ask again.
    pub(super) fn holds(&self, child: &str, packet: &Flows, now: Instant) -> bool {
        let mut known = self.0.iter().filter(|known| known.until > now && *known.child == *child);
        known.any(|known| is_alike(&known.packet, packet))
    }

    /// Takes over those of a replaced IKE SA.
    pub(super) fn inherit(&mut self, old: &mut Self) {
        self.0.append(&mut old.0);
    }
}

/// Whether packets go between the same hosts by the same protocol, with the same port on one side at least: the other one
/// may be ephemeral.
fn is_alike(one: &Flows, other: &Flows) -> bool {
    let hosts = |flows: &Flows| (flows.local.start, flows.peer.start, flows.local.protocol);
    hosts(one) == hosts(other)
        && (one.local.start_port == other.local.start_port || one.peer.start_port == other.peer.start_port)
}
