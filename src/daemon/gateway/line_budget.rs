//! A bound on the lines that say how connections come and go: thousands that lose their path at once, and are tried for as
//! long as it stays away, are told by some lines and a count. Events and status have each of them.

use std::mem;
use std::time::{Duration, Instant};

/// So many lines,
const LINES: u32 = 20;
/// in so long.
const PERIOD: Duration = Duration::from_secs(5);

/// What was told in the period that runs, or ran last.
pub struct LineBudget {
    begun: Instant,
    told: u32,
    untold: u64,
}

impl LineBudget {
    /// Nothing was told yet.
    pub fn new(now: Instant) -> Self {
        Self { begun: now, told: 0, untold: 0 }
    }

    /// Whether one more line may be written; if not, it is counted. A period begins with its first line.
    pub fn take(&mut self, now: Instant) -> bool {
        if self.untold == 0 && now.duration_since(self.begun) >= PERIOD {
            (self.begun, self.told) = (now, 0);
        }
        let may = self.told < LINES && self.untold == 0;
        if may {
            self.told += 1;
        } else {
            self.untold += 1;
        }
        may
    }

    /// When what was not told is to be [counted](Self::rest), if there is anything.
    pub fn due(&self) -> Option<Instant> {
        (self.untold > 0).then(|| self.begun + PERIOD)
    }

    /// How many lines were not written, and in how long; the next period begins now.
    pub fn rest(&mut self, now: Instant) -> (u64, Duration) {
        let span = now.duration_since(mem::replace(&mut self.begun, now));
        self.told = 0;
        (mem::take(&mut self.untold), span)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn thousands_of_connections_write_a_few_lines_and_a_count() {
        let begin = Instant::now();
        let mut budget = LineBudget::new(begin);
        // A hundred a second for twenty seconds, and whoever keeps to the times.
        let (mut lines, mut counted) = (0, 0);
        for step in 0..2000 {
            let now = begin + Duration::from_millis(10) * step;
            if budget.due().is_some_and(|due| due <= now) {
                let (untold, span) = budget.rest(now);
                assert_eq!(span, PERIOD);
                counted += untold;
            }
            lines += u64::from(budget.take(now));
        }
        assert_eq!(lines, 4 * u64::from(LINES));
        assert_eq!(lines + counted + budget.rest(begin).0, 2000, "each is told or counted");
    }

    #[test]
    fn what_comes_now_and_then_is_always_told() {
        let begin = Instant::now();
        let mut budget = LineBudget::new(begin);
        for step in 0..1000 {
            assert!(budget.take(begin + Duration::from_millis(300) * step) && budget.due().is_none());
        }
    }
}
