//! When to read a TUN and when to wait for it.

use crate::dataplane::device::Wait;
use nix::errno::Errno;
use nix::poll::{PollFd, PollFlags, PollTimeout};
use std::io;
use std::os::fd::BorrowedFd;
use std::time::Duration;

/// Remembers whether the last read found a packet.
#[derive(Debug, Default)]
pub struct Readiness {
    /// It did, so the next probably does too: it is tried before anything waits.
    eager: bool,
}

impl Readiness {
    /// Calls `read`, which returns the bytes of a frame if there was one and never blocks, and waits for the device in between.
    ///
    /// # Errors
    /// Those of `read` and of poll.
    pub fn read_or_wait(
        &mut self,
        device: BorrowedFd<'_>,
        wait: Wait,
        mut read: impl FnMut() -> io::Result<Option<usize>>,
    ) -> io::Result<Option<usize>> {
        let Wait::AtMost(time) = wait else {
            let frame = read()?;
            self.eager = frame.is_some();
            return Ok(frame);
        };
        if self.eager {
            let frame = read()?;
            self.eager = frame.is_some();
            if self.eager {
                return Ok(frame);
            }
        }
        if poll(device, time)? { read() } else { Ok(None) }
    }
}

fn poll(device: BorrowedFd<'_>, time: Duration) -> io::Result<bool> {
    let timeout = PollTimeout::try_from(time).unwrap_or(PollTimeout::MAX);
    match nix::poll::poll(&mut [PollFd::new(device, PollFlags::POLLIN)], timeout) {
        Ok(ready) => Ok(ready > 0),
        Err(Errno::EINTR) => Ok(false),
        Err(error) => Err(error.into()),
    }
}

/// Whether a read merely found nothing. EIO: the interface is down; it may come up again.
pub fn is_transient(error: &io::Error) -> bool {
    matches!(error.raw_os_error().map(Errno::from_raw), Some(Errno::EAGAIN | Errno::EINTR | Errno::EIO))
}
