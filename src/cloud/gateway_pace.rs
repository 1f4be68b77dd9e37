//! When a link to a gatewayd tells it something and when it looks at its status: pure, by the clock of the caller.

use std::time::Duration;

use tokio::time::Instant;

/// First and longest pause before the next attempt at what did not succeed.
pub const BACK_OFF: (Duration, Duration) = (Duration::from_millis(100), Duration::from_secs(5));
/// After a look at the status as many times its duration passes before the next one: it tells of all connections.
const LOOK_PAUSE: u32 = 10;
/// After one that gatewayd was too busy for, the next one comes after this time.
const LOOK_AGAIN: Duration = Duration::from_secs(1);
/// Looks in a row that fail before somebody is woken.
const LOOKS_FAILED: u32 = 5;
/// How long what gatewayd said last is shown although it says nothing more.
const SHOWN_FOR: Duration = Duration::from_secs(60);

/// What gatewayd is still to be told, and when.
///
/// What it could not take this time is told again by and by, and whatever is committed meanwhile is told with it.
#[derive(Debug)]
pub struct Telling {
    /// `None` while nothing is owed.
    at: Option<Instant>,
    verify: bool,
    /// How long until the next attempt, should this one fail.
    pause: Duration,
}

impl Telling {
    /// Everything is owed, at once: which set gatewayd has is not known.
    pub fn begin(now: Instant) -> Self {
        Self { at: Some(now), verify: true, pause: BACK_OFF.0 }
    }

    /// Something is committed, or gatewayd is to be asked for its revision. After a failure it waits for the next attempt.
    pub fn owe(&mut self, verify: bool, now: Instant) {
        self.verify |= verify;
        self.at.get_or_insert(now);
    }

    /// When gatewayd is told.
    pub fn at(&self) -> Option<Instant> {
        self.at
    }

    /// Whether gatewayd is to be asked for its revision.
    pub fn verifies(&self) -> bool {
        self.verify
    }

    /// gatewayd has what it was told. Answers whether an attempt before this one failed.
    pub fn succeeded(&mut self) -> bool {
        let failed = self.pause != BACK_OFF.0;
        *self = Self { at: None, verify: false, pause: BACK_OFF.0 };
        failed
    }

    /// gatewayd could not take it.
    pub fn failed(&mut self, now: Instant) {
        self.at = Some(now + self.pause);
        self.pause = (self.pause * 2).min(BACK_OFF.1);
    }
}

/// What a look that failed has for a consequence.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Failing {
    /// Somebody is to be woken, once for a row of failures.
    pub warns: bool,
    /// What was said last is too old to be shown.
    pub outlived: bool,
}

/// Looks at the status: one after something happened, and not too many.
#[derive(Debug)]
pub struct Looks {
    /// Something happened since the last one.
    stale: bool,
    next: Instant,
    /// The last one that told something, or the beginning.
    succeeded: Instant,
    /// Those in a row that failed.
    failures: u32,
}

impl Looks {
    /// None is due yet.
    pub fn begin(now: Instant) -> Self {
        Self { stale: false, next: now, succeeded: now, failures: 0 }
    }

    /// Something happened.
    pub fn outdate(&mut self) {
        self.stale = true;
    }

    /// When the next one begins; `None` while nothing has happened.
    pub fn at(&self) -> Option<Instant> {
        self.stale.then_some(self.next)
    }

    /// One begins: what happens from now on needs another.
    pub fn begun(&mut self) {
        self.stale = false;
    }

    /// One has told the status. Answers whether it was missed before.
    pub fn succeeded(&mut self, took: Duration, now: Instant) -> bool {
        self.next = now + took * LOOK_PAUSE;
        self.succeeded = now;
        std::mem::take(&mut self.failures) >= LOOKS_FAILED
    }

    /// gatewayd had no time for one.
    pub fn failed(&mut self, now: Instant) -> Failing {
        (self.stale, self.next) = (true, now + LOOK_AGAIN);
        self.failures = self.failures.saturating_add(1);
        Failing { warns: self.failures == LOOKS_FAILED, outlived: now.duration_since(self.succeeded) >= SHOWN_FOR }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_gatewayd_could_not_take_is_told_again_more_and_more_seldom_with_all_that_came_meanwhile() {
        let begin = Instant::now();
        let mut telling = Telling::begin(begin);
        assert!(telling.at() == Some(begin) && telling.verifies());
        assert!(!telling.succeeded() && telling.at().is_none());
        telling.owe(false, begin);
        let (mut now, mut pauses) = (begin, Vec::new());
        for _ in 0..8 {
            assert!(!telling.verifies());
            telling.failed(now);
            telling.owe(false, now);
            let next = telling.at().unwrap();
            pauses.push((next - now).as_millis());
            now = next;
        }
        assert_eq!(pauses, [100, 200, 400, 800, 1600, 3200, 5000, 5000]);
        telling.owe(true, now);
        assert!(telling.verifies());
        assert!(telling.succeeded() && telling.at().is_none());
        telling.owe(false, now);
        assert!(telling.at() == Some(now) && !telling.verifies());
    }

    #[test]
    fn a_status_that_never_comes_is_told_of_once_and_the_last_one_is_not_shown_for_ever() {
        let begin = Instant::now();
        let mut looks = Looks::begin(begin);
        assert_eq!(looks.at(), None);
        looks.outdate();
        assert_eq!(looks.at(), Some(begin));
        looks.begun();
        assert!(!looks.succeeded(Duration::from_millis(20), begin) && looks.at().is_none());
        looks.outdate();
        assert_eq!(looks.at(), Some(begin + Duration::from_millis(200)));
        let failing: Vec<Failing> = (1..=100)
            .map(|second| {
                looks.begun();
                let failing = looks.failed(begin + Duration::from_secs(second));
                assert_eq!(looks.at(), Some(begin + Duration::from_secs(second + 1)));
                failing
            })
            .collect();
        let warned: Vec<usize> = (0..100).filter(|place| failing[*place].warns).collect();
        assert_eq!(warned, [4]);
        assert_eq!(failing.iter().position(|failing| failing.outlived), Some(59));
        let now = begin + Duration::from_secs(200);
        assert!(looks.succeeded(Duration::ZERO, now), "it was missed");
        assert_eq!(looks.failed(now + Duration::from_secs(1)), Failing::default());
    }
}
