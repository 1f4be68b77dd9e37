//! How many lines strangers can cause in the log: a few, and then how many more there were of each kind.
//!
//! ```text
//!  a failure ─► told, up to 8 in a period (2 of which are for kinds not told of yet) ─► else counted by kind
//!  end of the period (5 s) ─► "… 5131 more in 5 s", once for each kind ─► a second's rest ─► the next failure begins a period
//! ```

use std::time::{Duration, Instant};

/// How long lines are counted together.
const PERIOD: Duration = Duration::from_secs(5);
/// After a summary nothing is told for this long, so that the summary's second has no other lines.
const REST: Duration = Duration::from_secs(1);
/// Lines of a period, of all kinds together,
const LINES: usize = 8;
/// of which so many are for kinds that have not had one in it.
const FIRST_OF_KIND: usize = 2;

/// Counts what is told and what is not. `K` is the kinds of lines, all few of which it may hold.
#[derive(Debug)]
pub struct Throttle<K> {
    /// When the period began, unless none has.
    began: Option<Instant>,
    told: usize,
    kinds: Vec<Counted<K>>,
    rests_until: Option<Instant>,
}

#[derive(Debug)]
struct Counted<K> {
    kind: K,
    told: bool,
    more: u64,
}

/// What was not told in a period.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct More<K> {
    /// Of which kind.
    pub kind: K,
    /// How many lines.
    pub count: u64,
    /// How long the period was.
    pub period: Duration,
}

impl<K> Default for Throttle<K> {
    fn default() -> Self {
        Self { began: None, told: 0, kinds: Vec::new(), rests_until: None }
    }
}

impl<K: Copy + PartialEq> Throttle<K> {
    /// Whether a line of this kind is to be told now; else it is counted.
    pub fn tells(&mut self, kind: K, now: Instant) -> bool {
        self.began.get_or_insert(now);
        let place = self.kinds.iter().position(|counted| counted.kind == kind).unwrap_or_else(|| {
            self.kinds.push(Counted { kind, told: false, more: 0 });
            self.kinds.len() - 1
        });
        let counted = &mut self.kinds[place];
        let room = if counted.told { LINES - FIRST_OF_KIND } else { LINES };
        if self.told >= room || self.rests_until.is_some_and(|until| now < until) {
            counted.more += 1;
            return false;
        }
        counted.told = true;
        self.told += 1;
        true
    }

    /// What was counted in a period that is over.
    pub fn more(&mut self, now: Instant) -> Vec<More<K>> {
        let Some(period) = self.began.map(|began| now.saturating_duration_since(began)) else { return Vec::new() };
        if period < PERIOD {
            return Vec::new();
        }
        (self.began, self.told) = (None, 0);
        let kinds = std::mem::take(&mut self.kinds).into_iter().filter(|counted| counted.more > 0);
        let more: Vec<_> = kinds.map(|Counted { kind, more: count, .. }| More { kind, count, period }).collect();
        self.rests_until = Some(now + REST).filter(|_| !more.is_empty());
        more
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const TICK: Duration = Duration::from_millis(10);

    #[test]
    fn a_flood_is_a_few_lines_and_its_number() {
        let (mut throttle, start) = (Throttle::default(), Instant::now());
        // 1 000 a second of one kind for a minute; the times of lines.
        let (mut lines, mut told, mut more) = (Vec::new(), 0, 0);
        for tick in 0..6000 {
            let now = start + TICK * tick;
            for _ in 0..10 {
                if throttle.tells("forged", now) {
                    told += 1;
                    lines.push(now);
                }
            }
            for summary in throttle.more(now) {
                assert!((PERIOD..PERIOD + TICK).contains(&summary.period));
                more += summary.count;
                lines.push(now);
            }
        }
        let begun = throttle.kinds.iter().map(|counted| counted.more).sum::<u64>();
        assert_eq!(told + more + begun, 60_000, "none is forgotten");
        assert!(lines.windows(11).all(|lines| lines[10] - lines[0] >= REST), "10 lines a second at most");
        assert!((60..90).contains(&lines.len()), "{}", lines.len());
    }

    #[test]
    fn a_flood_of_one_kind_hides_no_first_line_of_another() {
        let (mut throttle, now) = (Throttle::default(), Instant::now());
        let told = (0..1000).filter(|_| throttle.tells("forged", now)).count();
        assert_eq!(told, LINES - FIRST_OF_KIND);
        assert!(throttle.tells("a wrong key", now));
        assert!(!throttle.tells("a wrong key", now));
        let more = throttle.more(now + PERIOD);
        let counts: Vec<_> = more.iter().map(|more| (more.kind, more.count)).collect();
        assert_eq!(counts, [("forged", 994), ("a wrong key", 1)]);
    }

    #[test]
    fn what_happens_seldom_is_told_each_time() {
        let (mut throttle, start) = (Throttle::default(), Instant::now());
        for second in 0..100 {
            let now = start + Duration::from_secs(second);
            assert!(throttle.more(now).is_empty());
            assert!(throttle.tells("forged", now));
        }
    }
}
