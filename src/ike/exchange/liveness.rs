//! Liveness: whether the peer is still there, and still knows the IKE SA (RFC 7296 2.4).
//!
//! A peer that has restarted answers with INVALID_IKE_SPI, which anybody could send, or leaves what it is sent without
//! any answer. Either leads to one probe, and when the probe stays without an authenticated answer, to an IKE SA beside
//! this one: only a peer that authenticates takes the place of the old one. The patience with the old one is always the
//! same.
//!
//! ```text
//!  request ─────────────► peer that has restarted
//!          ◄───────────── INVALID_IKE_SPI, unprotected, or nothing at all for packets
//!  DOUBT or SILENCE later, nothing authentic was heard:
//!  IKE_SA_INIT ─────────► … IKE_AUTH: the new IKE SA replaces the old one
//! ```

use std::time::{Duration, Instant};

use super::{Exchange, Task};
use crate::ike::context::Context;
use crate::ike::state::established::Established;
use crate::wire::ike::ExchangeType;

/// Between probes that hints cause.
const PROBE_INTERVAL: Duration = Duration::from_secs(10);

/// How long a peer that is said not to know the IKE SA has time to give a sign of life.
const DOUBT: Duration = Duration::from_secs(2);

/// How long a peer that takes packets without an answer has time to give a sign of life.
const SILENCE: Duration = Duration::from_secs(3);

/// What hints that the peer does not know the IKE SA, and its silence, have led to.
#[derive(Debug, Default)]
pub(in crate::ike) struct Doubt {
    /// No hint causes a probe before.
    next_probe: Option<Instant>,
    /// When another IKE SA is to be negotiated.
    replace_at: Option<Instant>,
    /// Another IKE SA is being negotiated, and nothing was heard on this one meanwhile.
    replacing: bool,
}

impl Doubt {
    /// The peer gave an authenticated sign of life.
    pub(in crate::ike) fn dispel(&mut self) {
        self.replace_at = None;
        self.replacing = false;
    }

    pub(in crate::ike) fn deadline(&self) -> Option<Instant> {
        self.replace_at
    }

    /// Whether to negotiate another IKE SA now; it is asked for once.
    pub(in crate::ike) fn is_due(&mut self, now: Instant) -> bool {
        let due = self.replace_at.is_some_and(|at| at <= now);
        if due {
            self.replace_at = None;
            self.replacing = true;
        }
        due
    }

    /// Whether an IKE SA that is set up now takes this one's place.
    pub(in crate::ike) fn is_replacing(&self) -> bool {
        self.replacing
    }

    fn allows_probe(&mut self, now: Instant) -> bool {
        let allowed = self.next_probe.is_none_or(|at| at <= now);
        if allowed {
            self.next_probe = Some(now + PROBE_INTERVAL);
        }
        allowed
    }
}

impl Established {
    /// Asks for an empty answer. Its retransmissions decide on the peer's life; what is heard from the peer meanwhile
    /// lets them start over.
    pub(in crate::ike) fn start_liveness(&mut self, cx: &mut Context<'_>) {
        if self.is_active() {
            self.send(ExchangeType::INFORMATIONAL, &[], Exchange::Liveness, cx);
        }
    }

    /// The peer is silent though it is sent packets: asks for a sign of life at once.
    pub(in crate::ike) fn suspect(&mut self, cx: &mut Context<'_>) {
        if self.liveness_at().is_some() {
            self.agenda_mut().queue(Task::Liveness);
            self.advance(cx);
            self.doubt_from(cx.now + SILENCE);
        } else if self.checks_liveness() && matches!(self.agenda().exchange(), Some(Exchange::PathProbe { .. })) {
            // A probe under way asks for a sign of life as well.
            self.doubt_from(cx.now + SILENCE);
        }
    }

    fn doubt_from(&mut self, due: Instant) {
        let doubt = self.doubt_mut();
        doubt.replace_at = Some(doubt.replace_at.map_or(due, |at| at.min(due)));
    }

    /// Somebody says that the peer does not know this IKE SA.
    pub(in crate::ike) fn hinted(&mut self, cx: &mut Context<'_>) {
        // That a peer does not know yet what it will learn from our answer is no sign of a restart.
        if self.is_unconfirmed() || !self.is_active() {
            return;
        }
        if self.agenda().exchange().is_none() && self.doubt_mut().allows_probe(cx.now) {
            self.agenda_mut().queue(Task::Liveness);
            self.advance(cx);
        }
        if self.agenda().exchange().is_some() {
            self.doubt_from(cx.now + DOUBT);
        }
    }
}
