//! Time that several have by turns, each as much as any other that has something to do (start-time fair queueing,
//! Goyal, Vin and Cheng 1996).

use std::collections::BTreeMap;
use std::time::Duration;

/// What each has had. There are as many entries as there are ones that ever had a turn.
#[derive(Debug)]
pub(super) struct Shares<Who> {
    had: BTreeMap<Who, Duration>,
    /// What whoever was last had before: who comes back has had that much at least, so that nobody saves time up.
    least: Duration,
}

impl<Who> Default for Shares<Who> {
    fn default() -> Self {
        Self { had: BTreeMap::new(), least: Duration::ZERO }
    }
}

impl<Who: Ord + Copy> Shares<Who> {
    /// Whose turn it is of those that have something to do: of several that have had as little, the first.
    pub(super) fn next(&self, who: impl Iterator<Item = Who>) -> Option<Who> {
        who.min_by_key(|who| self.had(*who))
    }

    /// This one has had a turn that took so long.
    pub(super) fn took(&mut self, who: Who, time: Duration) {
        self.least = self.had(who);
        self.had.insert(who, self.least + time);
    }

    fn had(&self, who: Who) -> Duration {
        self.had.get(&who).copied().unwrap_or_default().max(self.least)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const TIMES: [Duration; 3] = [Duration::from_millis(1), Duration::from_millis(7), Duration::from_millis(20)];

    /// How much time each of these gets of so many turns.
    fn time_of(shares: &mut Shares<usize>, who: &[usize], turns: u32) -> [Duration; 3] {
        let mut had = [Duration::ZERO; 3];
        for _ in 0..turns {
            let next = shares.next(who.iter().copied()).expect("somebody");
            shares.took(next, TIMES[next]);
            had[next] += TIMES[next];
        }
        had
    }

    #[test]
    fn each_has_as_much_time_as_any_other_whatever_its_turns_take() {
        let had = time_of(&mut Shares::default(), &[0, 1, 2], 1_000);
        assert!(had.iter().max().unwrap().abs_diff(*had.iter().min().unwrap()) <= TIMES[2], "{had:?}");
    }

    #[test]
    fn who_has_been_away_comes_next_and_has_saved_nothing() {
        let mut shares = Shares::default();
        time_of(&mut shares, &[0, 1, 2], 100);
        time_of(&mut shares, &[0, 1], 10_000);
        assert_eq!(shares.next([0, 1, 2].into_iter().rev()), Some(2));
        let [first, second, third] = time_of(&mut shares, &[0, 1, 2], 100);
        assert!(third <= first.max(second) + TIMES[2], "{first:?} {second:?} {third:?}");
    }

    #[test]
    fn who_comes_back_after_each_turn_has_no_more_than_its_share() {
        let mut shares = Shares::default();
        let mut had = Duration::ZERO;
        for _ in 0..100 {
            // It is away for the others' next turn.
            had += time_of(&mut shares, &[0, 1], 1)[0] + time_of(&mut shares, &[0, 1, 2], 1)[2];
        }
        assert!(shares.had(2).abs_diff(shares.had(1)) <= 2 * TIMES[2], "{had:?} {shares:?}");
    }
}
