//! Where the handlers of calls work: on threads of their own, so many at a time. The others wait, as many as there are
//! connections at most.

use std::sync::Arc;

use tokio::sync::Semaphore;

use crate::cen::error::ApiError;
use crate::cen::openapi::action::Purpose;
use crate::io::memory;

/// Calls that are worked on at a time: those that read,
const READERS: usize = 8;
/// and those that write. What they read for takes a moment, and the change itself is the writer's.
const WRITERS: usize = 4;

/// Places for those that read, and for those that write, so that no number of long reads keeps a write waiting.
#[derive(Debug)]
pub struct Workers {
    readers: Arc<Semaphore>,
    writers: Arc<Semaphore>,
}

impl Default for Workers {
    fn default() -> Self {
        Self { readers: Arc::new(Semaphore::new(READERS)), writers: Arc::new(Semaphore::new(WRITERS)) }
    }
}

impl Workers {
    /// Does a call's work when it is its turn.
    ///
    /// # Errors
    /// `InternalError` when it panicked.
    pub async fn work<T: Send + 'static>(
        &self,
        purpose: Purpose,
        work: impl FnOnce() -> T + Send + 'static,
    ) -> Result<T, ApiError> {
        let places = match purpose {
            Purpose::Read => &self.readers,
            Purpose::Write => &self.writers,
        };
        let worker = Arc::clone(places).acquire_owned().await.map_err(|_| ApiError::internal())?;
        let forgetting = move || {
            let outcome = work();
            memory::forget();
            // Not before: a caller who has gone leaves the work to be ended.
            drop(worker);
            outcome
        };
        tokio::task::spawn_blocking(forgetting).await.map_err(|error| {
            tracing::error!(%error, "a call's handler failed");
            ApiError::internal()
        })
    }
}

#[cfg(test)]
mod tests {
    use std::sync::mpsc;
    use std::time::Duration;

    use futures_util::future::join_all;
    use tokio::time::timeout;

    use super::*;

    #[tokio::test]
    async fn long_reads_keep_no_write_waiting() {
        let workers = Workers::default();
        let (releases, gates): (Vec<_>, Vec<_>) = (0..READERS + 1).map(|_| mpsc::sync_channel::<()>(1)).unzip();
        let reads = join_all(gates.into_iter().map(|gate| workers.work(Purpose::Read, move || gate.recv().is_ok())));
        let write = async {
            let written = timeout(Duration::from_secs(5), workers.work(Purpose::Write, || 7)).await;
            drop(releases);
            written
        };
        let (reads, written) = tokio::join!(reads, write);
        assert_eq!(written.expect("it waits for no read").unwrap(), 7);
        assert_eq!(reads.len(), READERS + 1);
    }
}
