//! The way of commands into a data thread.

use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

/// A data thread that makes no room in its ring for this long has more to do than to install SAs.
const ROOM_WITHIN: Duration = Duration::from_secs(3);

/// The sender's end of a command ring; a data thread drains the other after every read.
#[derive(Debug)]
pub struct CommandRing<T> {
    ring: Mutex<rtrb::Producer<T>>,
    /// How long [`offer`](Self::offer) waits for room.
    timeout: Duration,
}

/// A command ring had no room for longer than a data thread takes between two looks at it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("the data thread does not take commands")]
pub struct RingFull;

impl<T> CommandRing<T> {
    /// Over a ring that a data thread drains; [`offer`](Self::offer) waits three seconds for room.
    pub fn new(ring: rtrb::Producer<T>) -> Self {
        Self::with_timeout(ring, ROOM_WITHIN)
    }

    /// Likewise, with another time that [`offer`](Self::offer) waits.
    pub fn with_timeout(ring: rtrb::Producer<T>, timeout: Duration) -> Self {
        Self { ring: Mutex::new(ring), timeout }
    }

    /// Queues a command, waiting for room if there is none; a data thread makes room at least once a second. Without a
    /// data thread there is nobody left to command.
    pub fn send(&self, mut command: T) {
        let mut ring = self.ring.lock().unwrap_or_else(PoisonError::into_inner);
        while let Err(rtrb::PushError::Full(back)) = ring.push(command) {
            if ring.is_abandoned() {
                return;
            }
            command = back;
            std::thread::sleep(Duration::from_millis(1));
        }
    }

    /// Queues a command that may also be refused.
    ///
    /// # Errors
    /// When no room came; the command is gone.
    pub fn offer(&self, mut command: T) -> Result<(), RingFull> {
        let mut ring = self.ring.lock().unwrap_or_else(PoisonError::into_inner);
        let begin = Instant::now();
        while let Err(rtrb::PushError::Full(back)) = ring.push(command) {
            if ring.is_abandoned() || begin.elapsed() >= self.timeout {
                return Err(RingFull);
            }
            command = back;
            std::thread::sleep(Duration::from_millis(1));
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_command_that_may_be_refused_is_when_no_room_comes() {
        let (ring, mut commands) = rtrb::RingBuffer::new(1);
        let ring = CommandRing::with_timeout(ring, Duration::from_millis(5));
        assert_eq!((ring.offer(1), ring.offer(2)), (Ok(()), Err(RingFull)));
        assert_eq!((commands.pop(), ring.offer(3), commands.pop()), (Ok(1), Ok(()), Ok(3)));
        drop(commands);
        assert_eq!(ring.offer(4), Ok(()), "what nobody takes any more is the end of the process, not of a Child SA");
        assert_eq!(ring.offer(5), Err(RingFull));
    }
}
