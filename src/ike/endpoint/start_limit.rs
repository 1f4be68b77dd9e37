//! How fast connections start. A peer that is to serve thousands is asked for some at a time: what it cannot answer at
//! once it would drop, and the repetitions would only be more of the same.

use std::collections::{HashMap, VecDeque};
use std::net::IpAddr;
use std::sync::Arc;
use std::time::{Duration, Instant};

use crate::ike::event::{Deadline, Why};
use crate::wire::ike::IkeSpi;

/// Negotiations with one peer address that we have under way at a time;
const AT_ONCE: usize = 32;
/// one that has taken so long holds up no other any more: its peer may be dead, or refuse that connection alone.
const LONGEST: Duration = Duration::from_secs(1);

/// What is under way and what waits, by the peer's address.
#[derive(Default)]
pub(super) struct StartLimit(HashMap<IpAddr, Starts>);

#[derive(Default)]
struct Starts {
    under_way: VecDeque<(Instant, IkeSpi)>,
    waiting: VecDeque<Arc<str>>,
}

impl StartLimit {
    /// Whether another negotiation with a peer may start now. `negotiates` tells of one that started earlier whether it is
    /// still under way.
    pub(super) fn allows(&mut self, peer: IpAddr, negotiates: impl Fn(&IkeSpi) -> bool, now: Instant) -> bool {
        let Some(starts) = self.0.get_mut(&peer) else { return true };
        let holds = |at: Instant| now.saturating_duration_since(at) < LONGEST;
        starts.under_way.retain(|(at, spi)| holds(*at) && negotiates(spi));
        starts.under_way.len() < AT_ONCE
    }

    /// A connection waits for its start.
    pub(super) fn wait(&mut self, peer: IpAddr, name: Arc<str>) {
        self.0.entry(peer).or_default().waiting.push_back(name);
    }

    /// Who has waited longest for a start with this peer, and does not wait any more.
    pub(super) fn next(&mut self, peer: IpAddr) -> Option<Arc<str>> {
        self.0.get_mut(&peer)?.waiting.pop_front()
    }

    /// A negotiation has started.
    pub(super) fn started(&mut self, peer: IpAddr, spi: IkeSpi, now: Instant) {
        let starts = self.0.entry(peer).or_default();
        // More than are allowed are there only by a person's orders.
        if starts.under_way.len() >= AT_ONCE {
            starts.under_way.pop_front();
        }
        starts.under_way.push_back((now, spi));
    }

    /// A negotiation with a peer is over. Says when the next one is to start, if one waits.
    pub(super) fn over(
        &mut self,
        peer: IpAddr,
        negotiates: impl Fn(&IkeSpi) -> bool,
        now: Instant,
    ) -> Option<Deadline> {
        self.allows(peer, negotiates, now);
        let starts = self.0.get(&peer)?;
        if !starts.waiting.is_empty() {
            return Some(Deadline { at: now, why: Why::Reconnect });
        }
        if starts.under_way.is_empty() {
            self.0.remove(&peer);
        }
        None
    }

    /// When who waits may start at the latest: the oldest one under way makes room then.
    pub(super) fn deadline(&self, peer: IpAddr) -> Option<Deadline> {
        let starts = self.0.get(&peer).filter(|starts| !starts.waiting.is_empty())?;
        let (at, _) = starts.under_way.front()?;
        Some(Deadline { at: *at + LONGEST, why: Why::Reconnect })
    }
}
