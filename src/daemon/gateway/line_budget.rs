//! A bound on the lines that say how connections come and go: thousands that lose their path at once, and are tried for as
//! long as it stays away, are told by some lines and a count. Events and status have each of them.

use std::collections::BTreeMap;
use std::mem;
use std::sync::Arc;
use std::time::{Duration, Instant};

/// So many lines of each kind,
const LINES: u32 = 16;
/// of which one connection writes so many,
const SHARE: u32 = 6;
/// in so long.
const PERIOD: Duration = Duration::from_secs(5);

/// What a line tells: the one kind takes nothing from the other.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Tells {
    /// Something that works.
    News,
    /// Something that should be seen to.
    Trouble,
}

/// What was told in the period that runs, or ran last.
pub struct LineBudget {
    begun: Instant,
    kinds: [Told; 2],
    untold: u64,
}

/// Lines of one kind. No more connections than lines stand here.
#[derive(Default)]
struct Told {
    lines: u32,
    of: BTreeMap<Arc<str>, u32>,
}

impl LineBudget {
    /// Nothing was told yet.
    pub fn new(now: Instant) -> Self {
        Self { begun: now, kinds: Default::default(), untold: 0 }
    }

    /// Whether one more line may be written about a connection; if not, it is counted. A period begins with its first line.
    pub fn take(&mut self, tells: Tells, connection: &Arc<str>, now: Instant) -> bool {
        if self.untold == 0 && now.duration_since(self.begun) >= PERIOD {
            (self.begun, self.kinds) = (now, Default::default());
        }
        let told = &mut self.kinds[tells as usize];
        let may = told.lines < LINES && told.of.get(connection).is_none_or(|lines| *lines < SHARE);
        if may {
            told.lines += 1;
            *told.of.entry(Arc::clone(connection)).or_default() += 1;
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
        self.kinds = Default::default();
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
        for step in 0..2000_u32 {
            let now = begin + Duration::from_millis(10) * step;
            if budget.due().is_some_and(|due| due <= now) {
                let (untold, span) = budget.rest(now);
                assert_eq!(span, PERIOD);
                counted += untold;
            }
            lines += u64::from(budget.take(Tells::Trouble, &format!("tunnel-{step}").into(), now));
        }
        assert_eq!(lines, 4 * u64::from(LINES));
        assert_eq!(lines + counted + budget.rest(begin + PERIOD * 4).0, 2000, "each is told or counted");
    }

    #[test]
    fn one_connection_takes_the_lines_of_no_other_and_news_none_of_trouble() {
        let begin = Instant::now();
        let mut budget = LineBudget::new(begin);
        let mut take = |tells, name: &str| budget.take(tells, &name.into(), begin);
        let restless = (0..1000).filter(|_| take(Tells::News, "restless")).count();
        assert_eq!(restless, SHARE as usize);
        assert!(take(Tells::News, "another"));
        assert!((0..1000).filter(|number| take(Tells::News, &format!("{number}"))).count() < LINES as usize);
        assert!(take(Tells::Trouble, "restless"));
    }

    #[test]
    fn what_comes_now_and_then_is_always_told() {
        let begin = Instant::now();
        let mut budget = LineBudget::new(begin);
        for step in 0..1000 {
            let now = begin + Duration::from_secs(1) * step;
            assert!(budget.take(Tells::News, &"idc".into(), now) && budget.due().is_none());
        }
    }
}
