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

#[cfg(test)]
mod tests {
    use super::*;

    /// The nice value of the calling thread: field 19 of its stat, the 17th behind the name (proc_pid_stat(5)).
    fn nice() -> i32 {
        let stat = std::fs::read_to_string("/proc/thread-self/stat").unwrap();
        let (_, fields) = stat.rsplit_once(") ").unwrap();
        fields.split(' ').nth(16).unwrap().parse().unwrap()
    }

    #[test]
    fn a_raised_thread_hands_its_priority_down_and_leaves_the_others_alone() {
        let before = nice();
        let raised = std::thread::spawn(|| raise().map(|()| (nice(), std::thread::spawn(nice).join().unwrap())));
        match raised.join().unwrap() {
            Ok(raised) => assert_eq!(raised, (HIGHEST, HIGHEST)),
            Err(error) => eprintln!("SKIPPED: no higher priority: {error}"),
        }
        assert_eq!(nice(), before);
    }
}
