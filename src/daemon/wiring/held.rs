//! What the control task is to be told and has no room for.

use std::collections::{HashSet, VecDeque};
use std::hash::Hash;

use tokio::sync::mpsc;
use tracing::warn;

/// From so many on, what only the log and the events tell is given up.
const HELD: usize = 65_536;

/// Notices that wait, in their order. Of those that decide about something, which `lasting` says, the newest about each
/// thing is never given up.
pub(super) struct Held<N, K> {
    lasting: fn(&N) -> Option<K>,
    waiting: VecDeque<N>,
    /// How many there were after the last time that some were given up.
    kept: usize,
}

impl<N, K: Eq + Hash> Held<N, K> {
    pub(super) fn new(lasting: fn(&N) -> Option<K>) -> Self {
        Self { lasting, waiting: VecDeque::new(), kept: 0 }
    }

    pub(super) fn is_empty(&self) -> bool {
        self.waiting.is_empty()
    }

    pub(super) fn push(&mut self, notice: N) {
        // What stays can be many: then it is looked at again when there are twice as many.
        if self.waiting.len() >= HELD.max(2 * self.kept) {
            self.give_up();
        }
        self.waiting.push_back(notice);
    }

    /// Passes on as many as there is room for.
    pub(super) fn pass_on(&mut self, control: &mpsc::Sender<N>) {
        while let Some(notice) = self.waiting.pop_front() {
            match control.try_send(notice) {
                Ok(()) => {}
                Err(mpsc::error::TrySendError::Full(notice)) => return self.waiting.push_front(notice),
                // Without a control task the process is about to end.
                Err(mpsc::error::TrySendError::Closed(_)) => return self.waiting.clear(),
            }
        }
    }

    fn give_up(&mut self) {
        let (before, mut newer) = (self.waiting.len(), HashSet::new());
        let mut kept = VecDeque::new();
        for notice in self.waiting.drain(..).rev() {
            if (self.lasting)(&notice).is_some_and(|about| newer.insert(about)) {
                kept.push_front(notice);
            }
        }
        (self.kept, self.waiting) = (kept.len(), kept);
        let lost = before - self.kept;
        warn!(lost, "the control task is behind: log and events lack some of what happened to connections");
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The even numbers say something that lasts, about one of ten things.
    fn held() -> Held<usize, usize> {
        Held::new(|number| number.is_multiple_of(2).then_some(number % 20))
    }

    #[test]
    fn what_finds_no_room_waits_in_its_order() {
        let (sender, mut control) = mpsc::channel(2);
        let mut held = held();
        (0..5).for_each(|number| held.push(number));
        let mut told = Vec::new();
        while !held.is_empty() {
            held.pass_on(&sender);
            told.extend(std::iter::from_fn(|| control.try_recv().ok()));
        }
        assert_eq!(told, [0, 1, 2, 3, 4]);
        drop(control);
        held.push(5);
        held.pass_on(&sender);
        assert!(held.is_empty(), "nobody is there");
    }

    #[test]
    fn a_control_task_that_hears_nothing_costs_bounded_memory_and_no_decision() {
        let mut held = held();
        for number in 0..4 * HELD {
            held.push(number);
            assert!(held.waiting.len() <= HELD);
        }
        let lasting: Vec<usize> = held.waiting.iter().copied().filter(|number| number.is_multiple_of(2)).collect();
        let last_of = |thing| lasting.iter().copied().rfind(|number| number % 20 == thing);
        for thing in (0..20).step_by(2) {
            assert!(last_of(thing).is_some_and(|last| last >= 4 * HELD - 20), "the newest about {thing}");
        }
    }
}
