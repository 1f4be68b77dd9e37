//! Trying again what has failed, more and more seldom.

use std::time::Duration;

use tokio::time::{Instant, sleep_until};

/// The first pause before another attempt; it doubles with each that fails,
const FIRST: Duration = Duration::from_secs(1);
/// up to this one.
const LONGEST: Duration = Duration::from_secs(30);

/// Whether something failed when it was tried last, and when it is tried again. An attempt that is made sooner, because there
/// is something newer to do, counts like any other.
#[derive(Debug, Default)]
pub struct Retry {
    /// Those in a row that failed.
    failures: u32,
    /// `None` while nothing is owed.
    next: Option<Instant>,
}

impl Retry {
    /// An attempt has failed.
    pub fn failed(&mut self, now: Instant) {
        let pause = FIRST.saturating_mul(1 << self.failures.min(16)).min(LONGEST);
        self.failures = self.failures.saturating_add(1);
        self.next = Some(now + pause);
    }

    /// An attempt has succeeded, so nothing is owed any more. Answers how many in a row failed before it.
    pub fn succeeded(&mut self) -> u32 {
        self.next = None;
        std::mem::take(&mut self.failures)
    }

    /// Whether the last attempt failed.
    pub fn is_owed(&self) -> bool {
        self.next.is_some()
    }

    /// Waits until it is time for the next attempt: for ever while nothing is owed. May be dropped and called again.
    pub async fn due(&self) {
        match self.next {
            Some(next) => sleep_until(next).await,
            None => std::future::pending().await,
        }
    }
}

#[cfg(test)]
mod tests {
    use futures_util::FutureExt;

    use super::*;

    #[tokio::test]
    async fn pauses_double_up_to_half_a_minute_and_a_success_ends_them() {
        let begin = Instant::now();
        let mut retry = Retry::default();
        assert!(!retry.is_owed() && retry.due().now_or_never().is_none() && retry.succeeded() == 0);
        let (mut now, mut pauses) = (begin, Vec::new());
        for _ in 0..40 {
            retry.failed(now);
            let next = retry.next.expect("it is owed");
            pauses.push((next - now).as_secs());
            now = next;
        }
        assert_eq!(pauses[..7], [1, 2, 4, 8, 16, 30, 30]);
        assert_eq!(pauses[39], 30);
        assert!(retry.due().now_or_never().is_none(), "not yet");
        assert_eq!((retry.succeeded(), retry.is_owed()), (40, false));
        retry.failed(begin);
        assert_eq!(retry.next, Some(begin + FIRST));
        retry.failed(begin - LONGEST);
        tokio::task::yield_now().await;
        retry.due().await;
        assert_eq!(retry.succeeded(), 2);
    }
}
