//! What a thread is asked, in order, by others that wait for nothing.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

/// Requests that may wait at all. A thread that leaves as many lying has hung.
pub const WAITING: usize = 4096;

/// Requests that wait. Cheap to clone: every clone is the same queue.
#[derive(Debug)]
pub struct RequestQueue<R>(Arc<Mutex<Queue<R>>>);

#[derive(Debug)]
struct Queue<R> {
    waiting: VecDeque<R>,
    /// A request was lost.
    lost: bool,
}

impl<R> Clone for RequestQueue<R> {
    fn clone(&self) -> Self {
        Self(Arc::clone(&self.0))
    }
}

impl<R> Default for RequestQueue<R> {
    fn default() -> Self {
        Self(Arc::new(Mutex::new(Queue { waiting: VecDeque::new(), lost: false })))
    }
}

impl<R> RequestQueue<R> {
    fn queue(&self) -> MutexGuard<'_, Queue<R>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The request that waits for the longest.
    pub fn next(&self) -> Option<R> {
        self.queue().waiting.pop_front()
    }

    /// Adds one that must not be lost: see [`RequestQueue::has_lost`].
    pub fn add(&self, request: R) {
        let mut queue = self.queue();
        if queue.waiting.len() < WAITING {
            queue.waiting.push_back(request);
        } else {
            queue.lost = true;
        }
    }

    /// Adds one if less than `limit` wait. Whether it was added.
    pub fn offer(&self, request: R, limit: usize) -> bool {
        let mut queue = self.queue();
        let has_room = queue.waiting.len() < limit;
        if has_room {
            queue.waiting.push_back(request);
        }
        has_room
    }

    /// Whether so many waited that one was lost.
    pub fn has_lost(&self) -> bool {
        self.queue().lost
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_thread_that_does_not_listen_costs_nobody_time_and_bounded_memory() {
        let requests = RequestQueue::default();
        (0..WAITING).for_each(|number| requests.add(number));
        assert!(!requests.offer(0, WAITING) && !requests.has_lost());
        requests.add(WAITING);
        assert!(requests.has_lost());
        let all: Vec<usize> = std::iter::from_fn(|| requests.next()).collect();
        assert!(all.into_iter().eq(0..WAITING));
        assert!(requests.offer(7, 1) && !requests.offer(8, 1));
        assert_eq!(requests.clone().next(), Some(7));
    }
}
