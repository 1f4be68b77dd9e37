//! Token buckets.

/// How fast a bucket fills, and how much it holds.
#[derive(Debug, Clone, Copy)]
pub(super) struct Rate {
    /// Microseconds until one more unit is there.
    pub(super) every: u64,
    /// Units of a full bucket.
    pub(super) burst: u64,
}

impl Rate {
    /// So many units a second, and as many at once.
    pub(super) const fn per_second(units: u64) -> Self {
        Self { every: 1_000_000 / units, burst: units }
    }
}

/// A token bucket, as the moment at which it is full again: the generic cell rate algorithm (ITU-T I.371). Times are
/// microseconds from any beginning; a new bucket is full.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Bucket(u64);

impl Bucket {
    /// Whether there is a unit in it, or a part of one.
    pub(super) fn has(self, rate: Rate, now: u64) -> bool {
        self.0 < now.saturating_add(rate.burst.saturating_mul(rate.every))
    }

    /// From when on there is.
    pub(super) fn ready_at(self, rate: Rate) -> u64 {
        (self.0 + 1).saturating_sub(rate.burst.saturating_mul(rate.every))
    }

    /// Takes some units, if there is any. It may owe some then: what costs more than a full bucket has to be possible.
    pub(super) fn take(&mut self, units: u64, rate: Rate, now: u64) -> bool {
        let has = self.has(rate, now);
        if has {
            self.0 = self.0.max(now).saturating_add(units.saturating_mul(rate.every));
        }
        has
    }

    /// Puts some units back. What is more than it holds is lost.
    pub(super) fn give(&mut self, units: u64, rate: Rate) {
        self.0 = self.0.saturating_sub(units.saturating_mul(rate.every));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const RATE: Rate = Rate { every: 10, burst: 3 };

    #[test]
    fn a_bucket_holds_its_burst_and_fills_at_its_rate() {
        let mut bucket = Bucket::default();
        assert_eq!([0; 5].map(|now| bucket.take(1, RATE, now)), [true, true, true, false, false]);
        assert_eq!([9, 11, 12, 20, 21].map(|now| bucket.take(1, RATE, now)), [true, true, false, false, true]);
        assert_eq!(
            [1_000; 4].map(|now| bucket.take(1, RATE, now)),
            [true, true, true, false],
            "no more than its burst"
        );
    }

    #[test]
    fn what_is_given_back_is_there_again_and_no_more_than_it_holds() {
        let mut bucket = Bucket::default();
        assert_eq!([100; 4].map(|now| bucket.take(1, RATE, now)), [true, true, true, false]);
        bucket.give(1, RATE);
        assert!(bucket.take(1, RATE, 100) && !bucket.take(1, RATE, 100));
        bucket.give(50, RATE);
        assert_eq!([100; 4].map(|now| bucket.take(1, RATE, now)), [true, true, true, false]);
    }

    #[test]
    fn what_is_dearer_than_the_bucket_is_paid_off() {
        let mut bucket = Bucket::default();
        assert!(bucket.take(10, RATE, 0));
        assert!(!bucket.has(RATE, 70) && bucket.has(RATE, 71));
        assert_eq!((bucket.ready_at(RATE), Bucket::default().ready_at(RATE)), (71, 0));
        assert!(!bucket.take(1, RATE, 70));
    }
}
