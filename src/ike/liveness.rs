//! Liveness: whether the path to the peer answers, and whether the peer still knows the IKE SA (RFC 7296 2.4).
//!
//! There are two clocks. A path that leaves a check without any authenticated answer for [`ANSWER_TIME`] is *silent*: whoever
//! has another way sends there, and another IKE SA is tried beside this one. The IKE SA itself is given up much later, when its
//! request has been repeated for the whole of [`Retransmission::timeout`](super::config::Retransmission::timeout), or when a
//! peer that authenticates has set up the one beside it; the first authenticated sign of life takes everything back.
//!
//! ```text
//!  packets, or a request ──► ╳ the path is away, or the peer has restarted
//!  half a second later: a check ─► ╳ (from such a peer perhaps INVALID_IKE_SPI, unprotected: it leads to a check, no more)
//!  ANSWER_TIME later: the path is silent
//!  IKE_SA_INIT ────────────► ╳ when it is its turn, again and again, and the check with it, until
//!      either  ◄── an authenticated answer: the path answers, the attempt is dropped
//!      or      ◄── IKE_SA_INIT response, IKE_AUTH …: the new IKE SA takes the place of the old one
//! ```

use std::time::{Duration, Instant};

/// How long a check may stay without an answer: longer than a packet takes there and back, with two repetitions.
pub(super) const ANSWER_TIME: Duration = Duration::from_millis(1500);

/// Between checks that unprotected reports cause.
const CHECK_INTERVAL: Duration = Duration::from_secs(10);

/// For how long packets that went unanswered are believed to go on.
const PACKETS_GO_ON: Duration = Duration::from_secs(3);

/// When the peer last gave a sign of life, and what its silence has led to.
#[derive(Debug)]
pub(super) struct Liveness {
    /// When the peer last gave an authenticated sign of life.
    heard: Instant,
    /// No report causes a check before.
    next_check: Option<Instant>,
    /// What was asked then has had no answer.
    asked: Option<Instant>,
    /// The path does not answer.
    silent: bool,
    /// When packets were last said to go unanswered.
    packets: Option<Instant>,
}

/// What a sign of life tells.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Heard {
    /// Nothing new.
    Known,
    /// The peer lives.
    Lives,
    /// Its path answers that was silent.
    Answers,
}

impl Liveness {
    pub(super) fn new(now: Instant) -> Self {
        Self { heard: now, next_check: None, asked: None, silent: false, packets: None }
    }

    /// When the peer last gave an authenticated sign of life.
    pub(super) fn heard(&self) -> Instant {
        self.heard
    }

    /// The peer gave an authenticated sign of life at `at`.
    pub(super) fn heard_at(&mut self, at: Instant) -> Heard {
        if at <= self.heard {
            return Heard::Known;
        }
        let was_silent = self.silent;
        *self = Self { next_check: self.next_check, ..Self::new(at) };
        if was_silent { Heard::Answers } else { Heard::Lives }
    }

    /// A check is under way: without a sign of life in time, the path is silent.
    pub(super) fn await_answer(&mut self, now: Instant) {
        self.asked.get_or_insert(now);
    }

    /// Whether a check is under way, or was in vain.
    pub(super) fn awaits_answer(&self) -> bool {
        self.asked.is_some()
    }

    /// When the path is silent, unless it answers.
    pub(super) fn deadline(&self) -> Option<Instant> {
        self.asked.filter(|_| !self.silent).map(|asked| asked + ANSWER_TIME)
    }

    /// Whether the path is silent from now on; it is said once.
    pub(super) fn falls_silent(&mut self, now: Instant) -> bool {
        let due = self.deadline().is_some_and(|at| at <= now);
        self.silent |= due;
        due
    }

    /// Whether the path does not answer. An IKE SA that is set up meanwhile takes this one's place.
    pub(super) fn is_silent(&self) -> bool {
        self.silent
    }

    /// The path does not answer, and has not since then.
    pub(super) fn silent_since(&self) -> Option<Instant> {
        self.silent.then_some(self.heard)
    }

    /// The path does not answer, and what was asked first without an answer was asked then.
    pub(super) fn unanswered_since(&self) -> Option<Instant> {
        self.asked.filter(|_| self.silent)
    }

    /// Packets go out, and nothing comes back.
    pub(super) fn packets_go_unanswered(&mut self, now: Instant) {
        self.packets = Some(now);
    }

    /// Whether packets wait for an answer.
    pub(super) fn packets_wait(&self, now: Instant) -> bool {
        self.packets.is_some_and(|at| now < at + PACKETS_GO_ON)
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
