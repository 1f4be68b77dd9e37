//! How much work datagrams that nobody has authenticated may cause.

use std::time::Instant;

/// How many answers and reports unauthenticated datagrams may cause, so that a flood gets no more out of us.
pub(super) struct Allowance {
    second: Instant,
    left: u32,
}

impl Allowance {
    const PER_SECOND: u32 = 20;

    pub(super) fn new(now: Instant) -> Self {
        Self { second: now, left: Self::PER_SECOND }
    }

    /// Whether one more is allowed; it is counted.
    pub(super) fn take(&mut self, now: Instant) -> bool {
        if now.saturating_duration_since(self.second).as_secs() >= 1 {
            *self = Self::new(now);
        }
        let allowed = self.left > 0;
        self.left = self.left.saturating_sub(1);
        allowed
    }
}
