//! Liveness: whether the peer is still there, and still knows the IKE SA (RFC 7296 2.4).
//!
//! A peer that has restarted answers with INVALID_IKE_SPI, which anybody could send, or leaves what it is sent without
//! any answer. Either leads to one liveness check, and when that stays without an authenticated answer, to an IKE SA beside
//! this one: only a peer that authenticates takes the place of the old one, which is waited for as long as ever.
//!
//! ```text
//!  request ─────────────► peer that has restarted
//!          ◄───────────── INVALID_IKE_SPI, unprotected, or nothing at all for packets
//!  two or three seconds later, nothing authentic was heard:
//!  IKE_SA_INIT ─────────► … IKE_AUTH: the new IKE SA replaces the old one
//! ```

use std::time::{Duration, Instant};

/// Between checks that unprotected reports cause.
const CHECK_INTERVAL: Duration = Duration::from_secs(10);

/// When the peer last gave a sign of life, and what reports that it does not know the IKE SA have led to.
#[derive(Debug)]
pub(super) struct Liveness {
    /// When the peer last gave an authenticated sign of life.
    heard: Instant,
    /// No report causes a check before.
    next_check: Option<Instant>,
    /// When another IKE SA is to be negotiated.
    replace_at: Option<Instant>,
    /// Another IKE SA is being negotiated, and nothing was heard on this one meanwhile.
    replacing: bool,
}

impl Liveness {
    pub(super) fn new(now: Instant) -> Self {
        Self { heard: now, next_check: None, replace_at: None, replacing: false }
    }

    /// When the peer last gave an authenticated sign of life.
    pub(super) fn heard(&self) -> Instant {
        self.heard
    }

    /// The peer gave an authenticated sign of life at `at`. Says whether that is news.
    pub(super) fn heard_at(&mut self, at: Instant) -> bool {
        let news = at > self.heard;
        if news {
            *self = Self { heard: at, replace_at: None, replacing: false, ..*self };
        }
        news
    }

    /// Without a sign of life until `due`, another IKE SA is to be negotiated.
    pub(super) fn replace_at(&mut self, due: Instant) {
        self.replace_at = Some(self.replace_at.map_or(due, |at| at.min(due)));
    }

    pub(super) fn deadline(&self) -> Option<Instant> {
        self.replace_at
    }

    /// Whether to negotiate another IKE SA now; it is asked for once.
    pub(super) fn is_due(&mut self, now: Instant) -> bool {
        let due = self.replace_at.is_some_and(|at| at <= now);
        if due {
            self.replace_at = None;
            self.replacing = true;
        }
        due
    }

    /// Whether an IKE SA that is set up now takes this one's place.
    pub(super) fn is_replacing(&self) -> bool {
        self.replacing
    }

    /// Whether a report may cause a check now; it does, then.
    pub(super) fn allows_check(&mut self, now: Instant) -> bool {
        let allowed = self.next_check.is_none_or(|at| at <= now);
        if allowed {
            self.next_check = Some(now + CHECK_INTERVAL);
        }
        allowed
    }
}
