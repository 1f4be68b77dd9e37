//! The way of commands into a data thread.

use std::collections::VecDeque;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use tokio::time::{Instant, sleep};

/// Commands that wait behind a full ring and may be refused: a data thread that leaves as many lying has more to do than to
/// install SAs.
const WAITING_OFFERS: usize = 8192;
/// Commands that wait behind a full ring at all. More come only when a data thread has hung for long.
const WAITING: usize = 65_536;
/// How long until a full ring is looked at again by who waits for it, at first and at most.
const AGAIN: (Duration, Duration) = (Duration::from_millis(1), Duration::from_millis(32));

/// The sender's end of a command ring; a data thread drains the other after every read, and at least once a second.
///
/// Nobody waits for room: what does not fit into the ring waits here, in its order, and follows with what is sent next or by
/// [`flush`](Self::flush).
#[derive(Debug)]
pub struct CommandRing<T>(Mutex<Way<T>>);

#[derive(Debug)]
struct Way<T> {
    ring: rtrb::Producer<T>,
    /// What the ring had no room for, the oldest first.
    waiting: VecDeque<T>,
    /// How many may wait there of those that may be refused.
    offers: usize,
    /// A command was lost.
    lost: bool,
}

impl<T> Way<T> {
    fn flush(&mut self) {
        while let Some(command) = self.waiting.pop_front() {
            if let Err(rtrb::PushError::Full(back)) = self.ring.push(command) {
                // Without a data thread there is nobody left to command.
                if self.ring.is_abandoned() {
                    return self.waiting.clear();
                }
                return self.waiting.push_front(back);
            }
        }
    }
}

/// Too many commands wait for a data thread.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("the data thread does not take commands")]
pub struct RingFull;

/// A data thread has not obeyed in time.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum NotHandedOver {
    /// Commands still wait; they follow, in their order, when there is room.
    #[error("the data thread is late: commands still wait for it after {} ms", .0.as_millis())]
    Late(Duration),
    /// A command was lost.
    #[error(transparent)]
    Lost(#[from] RingFull),
}

impl<T> CommandRing<T> {
    /// Over a ring that a data thread drains.
    pub fn new(ring: rtrb::Producer<T>) -> Self {
        Self::with_offers(ring, WAITING_OFFERS)
    }

    /// Likewise, behind which only so many commands wait that may be refused.
    pub fn with_offers(ring: rtrb::Producer<T>, offers: usize) -> Self {
        Self(Mutex::new(Way { ring, waiting: VecDeque::new(), offers, lost: false }))
    }

    /// Queues a command that must not be lost. If it is all the same, because the data thread has hung for long,
    /// [`flush`](Self::flush) says so from then on.
    pub fn send(&self, command: T) {
        let mut way = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if way.waiting.len() < WAITING {
            way.waiting.push_back(command);
        } else {
            way.lost = true;
        }
        way.flush();
    }

    /// Queues a command that may also be refused.
    ///
    /// # Errors
    /// When many wait already; the command is gone.
    pub fn offer(&self, command: T) -> Result<(), RingFull> {
        let mut way = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        way.flush();
        if way.ring.is_full() && way.waiting.len() >= way.offers {
            return Err(RingFull);
        }
        way.waiting.push_back(command);
        way.flush();
        Ok(())
    }

    /// Hands over what waits, as far as there is room. Whether nothing waits any more.
    ///
    /// # Errors
    /// A command was lost: what the data thread does is not what was decided, and the process has to end.
    pub fn flush(&self) -> Result<bool, RingFull> {
        let mut way = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        way.flush();
        if way.lost { Err(RingFull) } else { Ok(way.waiting.is_empty()) }
    }
}

impl<T> CommandRing<T> {
    /// Waits until all that was sent is in the ring: the data thread obeys it before it handles anything that it reads from
    /// then on. That takes a moment only after thousands of commands. Who makes room wakes nobody: a packet's thread has no
    /// system call to spare for it.
    ///
    /// # Errors
    /// It took longer than `limit`, or a command was lost.
    pub async fn handed_over(&self, limit: Duration) -> Result<(), NotHandedOver> {
        let (until, mut pause) = (Instant::now() + limit, AGAIN.0);
        while !self.flush()? {
            if Instant::now() >= until {
                return Err(NotHandedOver::Late(limit));
            }
            sleep(pause).await;
            pause = (pause * 2).min(AGAIN.1);
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nobody_waits_for_room_and_the_order_stays() {
        let (ring, mut commands) = rtrb::RingBuffer::new(2);
        let (ring, began) = (CommandRing::new(ring), Instant::now());
        for command in 0..5 {
            ring.send(command);
        }
        assert_eq!(ring.offer(5), Ok(()));
        assert!(began.elapsed() < Duration::from_millis(500), "{:?}", began.elapsed());
        let mut taken = Vec::new();
        while taken.len() < 6 {
            taken.extend(std::iter::from_fn(|| commands.pop().ok()));
            assert_eq!(ring.flush(), Ok(taken.len() >= 4));
        }
        assert_eq!(taken, [0, 1, 2, 3, 4, 5]);
    }

    #[tokio::test]
    async fn what_waits_behind_a_full_ring_is_handed_over_when_there_is_room() {
        let (ring, mut commands) = rtrb::RingBuffer::new(1);
        let ring = CommandRing::new(ring);
        ring.send(1);
        let limit = Duration::from_millis(20);
        assert_eq!(ring.handed_over(limit).await, Ok(()));
        ring.send(2);
        assert_eq!(ring.handed_over(limit).await, Err(NotHandedOver::Late(limit)), "the second one has no room yet");
        assert_eq!(commands.pop(), Ok(1));
        assert_eq!(ring.handed_over(limit).await, Ok(()));
        assert_eq!(commands.pop(), Ok(2));
    }

    #[tokio::test]
    async fn who_waits_is_told_of_a_loss_at_once() {
        let (ring, commands) = rtrb::RingBuffer::new(1);
        let ring = CommandRing::new(ring);
        (0..=WAITING + 1).for_each(|command| ring.send(command));
        assert_eq!(ring.handed_over(Duration::from_secs(60)).await, Err(NotHandedOver::Lost(RingFull)));
        drop(commands);
    }

    #[test]
    fn what_may_be_refused_is_when_many_wait_and_a_loss_is_told() {
        let (ring, mut commands) = rtrb::RingBuffer::new(1);
        let ring = CommandRing::new(ring);
        let taken = (0..WAITING).take_while(|command| ring.offer(*command).is_ok()).count();
        assert_eq!(taken, WAITING_OFFERS + 1, "the ring itself holds one");
        for command in taken..=WAITING {
            ring.send(command);
        }
        assert_eq!(ring.flush(), Ok(false));
        ring.send(0);
        assert_eq!((ring.flush(), commands.pop()), (Err(RingFull), Ok(0)));
        drop(commands);
        assert_eq!(ring.flush(), Err(RingFull));
    }

    #[test]
    fn what_nobody_takes_any_more_is_the_end_of_the_process_and_not_of_a_child_sa() {
        let (ring, commands) = rtrb::RingBuffer::new(1);
        let ring = CommandRing::new(ring);
        drop(commands);
        assert_eq!([ring.offer(1), ring.offer(2), ring.offer(3)], [Ok(()); 3]);
        assert_eq!(ring.flush(), Ok(true));
    }
}
