//! How fast connections start. A peer that is to serve thousands is asked for some at a time: what it cannot answer at
//! once it would drop, and the repetitions would only be more of the same.

use std::collections::{HashMap, VecDeque};
use std::net::IpAddr;
use std::sync::Arc;
use std::time::{Duration, Instant};

use super::{Endpoint, IkeSa, Timer};
use crate::ike::config::Peer;
use crate::ike::event::{Deadline, Why};
use crate::wire::ike::IkeSpi;

/// Negotiations with one peer address that we have under way at a time;
const AT_ONCE: usize = 32;
/// one that has taken so long holds up no other any more: its peer may be dead, or refuse that connection alone.
const PATIENCE: Duration = Duration::from_secs(1);

/// What is under way and what waits, by the peer's address.
#[derive(Default)]
pub(super) struct Pace(HashMap<IpAddr, Line>);

#[derive(Default)]
struct Line {
    started: VecDeque<(Instant, IkeSpi)>,
    waiting: VecDeque<Arc<str>>,
}

impl Endpoint {
    /// Whether another negotiation with a peer may start now.
    fn may_start(&mut self, peer: IpAddr, now: Instant) -> bool {
        let Some(line) = self.pace.0.get_mut(&peer) else { return true };
        let ike_sas = &self.ike_sas;
        line.started.retain(|(at, spi)| {
            let negotiating = matches!(ike_sas.get(spi), Some(IkeSa::InitSent(_) | IkeSa::AuthSent(_)));
            negotiating && now.saturating_duration_since(*at) < PATIENCE
        });
        line.started.len() < AT_ONCE
    }

    /// Puts a connection that is to start in its peer's line. False: it may start at once.
    pub(super) fn stand_in_line(&mut self, name: &Arc<str>, now: Instant) -> bool {
        let Some(runtime) = self.connections.get(name) else { return false };
        let Peer::Address(peer) = runtime.connection.peer else { return false };
        if !runtime.ike_sas.is_empty() || self.may_start(peer, now) {
            return false;
        }
        if let Some(runtime) = self.connections.get_mut(name)
            && !std::mem::replace(&mut runtime.in_line, true)
        {
            self.pace.0.entry(peer).or_default().waiting.push_back(name.clone());
        }
        self.retime_line(peer);
        true
    }

    /// Notes that a negotiation has started.
    pub(super) fn note_start(&mut self, peer: IpAddr, spi: IkeSpi, now: Instant) {
        let line = self.pace.0.entry(peer).or_default();
        // More than are allowed are there only by a person's orders.
        if line.started.len() >= AT_ONCE {
            line.started.pop_front();
        }
        line.started.push_back((now, spi));
    }

    /// A negotiation with a peer is over: the next one in its line may start.
    pub(super) fn negotiation_over(&mut self, peer: IpAddr, now: Instant) {
        self.may_start(peer, now);
        match self.pace.0.get(&peer) {
            Some(line) if !line.waiting.is_empty() => {
                self.set_deadline(Timer::Line(peer), Some(Deadline { at: now, why: Why::Reconnect }));
            }
            Some(line) if line.started.is_empty() => drop(self.pace.0.remove(&peer)),
            _ => {}
        }
    }

    /// Starts who waits, as far as may be.
    pub(super) fn serve_line(&mut self, peer: IpAddr, now: Instant) {
        while self.may_start(peer, now) {
            let Some(name) = self.pace.0.get_mut(&peer).and_then(|line| line.waiting.pop_front()) else { break };
            if let Some(runtime) = self.connections.get_mut(&name) {
                runtime.in_line = false;
                self.attempt(&name, now);
            }
        }
        self.retime_line(peer);
    }

    /// The oldest one under way makes room at the latest when its time is over.
    fn retime_line(&mut self, peer: IpAddr) {
        let waits = self.pace.0.get(&peer).filter(|line| !line.waiting.is_empty());
        let oldest = waits.and_then(|line| line.started.front()).map(|(at, _)| *at + PATIENCE);
        self.set_deadline(Timer::Line(peer), oldest.map(|at| Deadline { at, why: Why::Reconnect }));
    }
}
