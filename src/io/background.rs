//! Long work for which somebody waits who can: it leaves the processors to the threads that carry packets and answer others.

use std::io;
use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};

use tokio::sync::oneshot;
use tracing::debug;

/// How far it stands back from the thread that asks (sched(7), "nice"): beside one that does not, it gets a tenth of a
/// processor; alone, all of it.
const NICE: libc::c_int = 10;
/// As far back as Linux lets a thread stand.
const LOWEST: libc::c_int = 19;

/// Does the work on a thread of its own that stands back, and answers what it came to. A panic goes on in who waits.
///
/// # Errors
/// The system has no thread left.
pub async fn run<T: Send + 'static>(work: impl FnOnce() -> T + Send + 'static) -> io::Result<T> {
    let (done, outcome) = oneshot::channel();
    let stand_back = move || {
        // SAFETY: both read and write no memory of ours; 0 is the thread that calls them. It has the nice value of who made it.
        let failed = unsafe {
            let own = libc::getpriority(libc::PRIO_PROCESS, 0);
            libc::setpriority(libc::PRIO_PROCESS, 0, LOWEST.min(own + NICE))
        };
        if failed != 0 {
            debug!(error = %io::Error::last_os_error(), "long work does not stand back");
        }
        // Who asked may have gone.
        let _ = done.send(catch_unwind(AssertUnwindSafe(work)));
    };
    std::thread::Builder::new().name("background".to_owned()).spawn(stand_back)?;
    match outcome.await {
        Ok(Ok(outcome)) => Ok(outcome),
        Ok(Err(panic)) => resume_unwind(panic),
        Err(_) => Err(io::Error::other("a thread ended before its work")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The nice value of the thread that calls it, as the kernel shows it (proc(5), field 19).
    fn nice() -> i64 {
        let stat = std::fs::read_to_string("/proc/thread-self/stat").unwrap();
        stat[stat.rfind(')').unwrap() + 2..].split(' ').nth(16).unwrap().parse().unwrap()
    }

    #[tokio::test]
    async fn the_work_stands_back_and_nobody_else() {
        let before = nice();
        assert_eq!(run(nice).await.unwrap(), i64::from(LOWEST).min(before + i64::from(NICE)));
        assert_eq!((nice(), tokio::task::spawn_blocking(nice).await.unwrap()), (before, before));
    }

    #[tokio::test]
    async fn a_panic_ends_who_waits() {
        let waiting = tokio::spawn(run(|| panic!("of a test")));
        assert!(waiting.await.unwrap_err().is_panic());
    }
}
