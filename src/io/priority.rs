//! The process's place among others when processors are short.

use nix::errno::Errno;
use std::io;

/// The nice value of the highest priority.
const HIGHEST: i32 = -20;

/// Puts the calling thread, and the threads that it starts from now on, before ordinary programs.
///
/// # Errors
/// Without CAP_SYS_NICE and without leave by RLIMIT_NICE.
pub fn raise() -> io::Result<()> {
    // SAFETY: the call takes no pointers. 0 is the calling thread: setpriority(2), "C library/kernel differences".
    Errno::result(unsafe { libc::setpriority(libc::PRIO_PROCESS, 0, HIGHEST) }).map(drop).map_err(io::Error::from)
}
