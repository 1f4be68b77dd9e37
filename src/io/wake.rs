//! Waking a thread that waits for file descriptors.

use std::io;
use std::os::fd::{AsFd, BorrowedFd};
use std::sync::Arc;
use std::time::Duration;

use nix::errno::Errno;
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::sys::eventfd::{EfdFlags, EventFd};

use crate::dataplane::device::Wake;

/// A descriptor that becomes readable when anybody wakes it.
#[derive(Clone, Debug)]
pub struct Waker(Arc<EventFd>);

impl Waker {
    /// # Errors
    /// No descriptor is left.
    pub fn new() -> io::Result<Self> {
        let flags = EfdFlags::EFD_NONBLOCK | EfdFlags::EFD_CLOEXEC;
        Ok(Self(Arc::new(EventFd::from_value_and_flags(0, flags)?)))
    }

    /// Forgets the wake-ups so far; to be called before looking for what they were for.
    pub fn clear(&self) {
        // Fails only when there was none.
        let _ = self.0.read();
    }
}

impl Wake for Waker {
    fn wake(&self) {
        // Fails only when 2^64-1 wake-ups wait, and then the sleeper is awake.
        let _ = self.0.write(1);
    }
}

impl AsFd for Waker {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.0.as_fd()
    }
}

/// Waits until one of the descriptors is readable, at most this long.
///
/// # Errors
/// A descriptor is not open.
pub fn wait_readable(descriptors: &[BorrowedFd<'_>], at_most: Duration) -> io::Result<()> {
    let mut waited: Vec<PollFd<'_>> = descriptors.iter().map(|fd| PollFd::new(*fd, PollFlags::POLLIN)).collect();
    // Rounded up, or the last fraction of a millisecond would be spent waking again and again.
    let milliseconds = at_most.as_nanos().div_ceil(1_000_000).min(60_000);
    let timeout = PollTimeout::try_from(milliseconds as i32).unwrap_or(PollTimeout::ZERO);
    match poll(&mut waited, timeout) {
        Ok(_) | Err(Errno::EINTR) => Ok(()),
        Err(error) => Err(error.into()),
    }
}

#[cfg(test)]
mod tests {
    use std::time::Instant;

    use super::*;

    #[test]
    fn a_wake_up_ends_the_wait_and_is_kept_until_then() {
        let waker = Waker::new().unwrap();
        waker.clone().wake();
        waker.wake();
        let begin = Instant::now();
        wait_readable(&[waker.as_fd()], Duration::from_secs(20)).unwrap();
        assert!(begin.elapsed() < Duration::from_secs(10));
        waker.clear();
        let begin = Instant::now();
        wait_readable(&[waker.as_fd()], Duration::from_millis(20)).unwrap();
        assert!(begin.elapsed() >= Duration::from_millis(20), "a cleared waker does not wake");
    }
}
