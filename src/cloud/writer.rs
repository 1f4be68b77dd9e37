//! The only writer of the cloud's state.
//!
//! ```text
//!  API calls ── submit ──► [writer thread: plan ► commit ► apply] ── watch ──► API reads, fabric, gateways
//!                 ◄─────── reply, when the change is on the disk
//! ```
//! A thread of its own: a commit waits for the disk, and a caller that goes away must not stop one half-way.

use std::sync::Arc;
use std::thread::{self, JoinHandle};

use tokio::sync::{mpsc, oneshot, watch};

use crate::cen::apply::apply;
use crate::cen::change::Change;
use crate::cen::command::Submission;
use crate::cen::error::ApiError;
use crate::cen::plan::plan;
use crate::cen::state::State;
use crate::io::store::{Revision, Store, StoreError};

/// Submissions that may wait; further callers wait with theirs.
const QUEUE: usize = 64;

/// Commits after which the log is folded.
const FOLD_EVERY: u64 = 512;

type Job = (Submission, oneshot::Sender<Result<(), ApiError>>);

/// A handle to the writer. When the last one is dropped, the thread ends.
#[derive(Clone)]
pub struct Writer {
    jobs: mpsc::Sender<Job>,
    states: watch::Receiver<Arc<State>>,
}

impl Writer {
    /// Loads the store and starts the thread.
    ///
    /// # Errors
    /// When the store cannot be loaded or the thread cannot be started.
    pub fn start(store: Box<dyn Store>) -> Result<(Self, JoinHandle<()>), StoreError> {
        let (revision, state) = store.load()?;
        tracing::info!(%revision, "state loaded");
        let (jobs, queue) = mpsc::channel(QUEUE);
        let (publish, states) = watch::channel(Arc::new(state));
        let ledger = Ledger { store, revision, folded: revision.0, publish, healthy: true };
        let thread = thread::Builder::new()
            .name("cloud-writer".to_owned())
            .spawn(move || ledger.run(queue))
            .map_err(|error| StoreError::Failed(format!("no thread for the writer: {error}")))?;
        Ok((Self { jobs, states }, thread))
    }

    /// The newest committed state.
    pub fn state(&self) -> Arc<State> {
        Arc::clone(&self.states.borrow())
    }

    /// Every committed state as it comes; a slow reader sees the newest only.
    pub fn states(&self) -> watch::Receiver<Arc<State>> {
        self.states.clone()
    }

    /// Plans, commits and applies; returns when the change is durable.
    ///
    /// # Errors
    /// The cloud's refusal, or `InternalError` when the store failed.
    pub async fn submit(&self, submission: Submission) -> Result<(), ApiError> {
        let (reply, outcome) = oneshot::channel();
        self.jobs.send((submission, reply)).await.map_err(|_| ApiError::internal())?;
        outcome.await.map_err(|_| ApiError::internal())?
    }
}

/// The state and the store that must agree with it.
struct Ledger {
    store: Box<dyn Store>,
    revision: Revision,
    /// The revision at which the log was folded last.
    folded: u64,
    publish: watch::Sender<Arc<State>>,
    /// False after a failure of the store that left it unknown what is on the disk.
    healthy: bool,
}

impl Ledger {
    fn run(mut self, mut queue: mpsc::Receiver<Job>) {
        while let Some((submission, reply)) = queue.blocking_recv() {
            // Nobody may be listening any more; the change stands all the same.
            let _ = reply.send(self.carry_out(&submission));
            self.fold();
        }
        tracing::debug!("the writer ends");
    }

    fn carry_out(&mut self, submission: &Submission) -> Result<(), ApiError> {
        if !self.healthy {
            self.reload()?;
        }
        let state = Arc::clone(&self.publish.borrow());
        let changes = plan(&state, submission)?;
        if changes.is_empty() {
            return Ok(());
        }
        match self.store.commit(self.revision, &changes) {
            Ok(revision) => {
                self.revision = revision;
                self.apply(&state, &changes);
                Ok(())
            }
            Err(error) => {
                tracing::error!(%error, "a change could not be stored");
                self.healthy = false;
                Err(ApiError::internal())
            }
        }
    }

    fn apply(&self, state: &State, changes: &[Change]) {
        let mut next = state.clone();
        changes.iter().for_each(|change| apply(&mut next, change));
        self.publish.send_replace(Arc::new(next));
    }

    /// After a failed commit the disk decides what happened.
    fn reload(&mut self) -> Result<(), ApiError> {
        match self.store.load() {
            Ok((revision, state)) => {
                self.revision = revision;
                self.publish.send_replace(Arc::new(state));
                self.healthy = true;
                Ok(())
            }
            Err(error) => {
                tracing::error!(%error, "the store cannot be read");
                Err(ApiError::internal())
            }
        }
    }

    fn fold(&mut self) {
        if !self.healthy || self.revision.0 - self.folded.min(self.revision.0) < FOLD_EVERY {
            return;
        }
        let state = Arc::clone(&self.publish.borrow());
        match self.store.fold(self.revision, &state) {
            Ok(()) => self.folded = self.revision.0,
            Err(error) => {
                tracing::warn!(%error, "the log of changes could not be folded");
                self.healthy = false;
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cen::command::{Command, CreateCen};
    use crate::cen::network::UnixMillis;

    /// Fails or succeeds as it is told; keeps what was committed.
    struct Moody {
        log: Vec<Vec<Change>>,
        failures: Vec<bool>,
    }

    impl Store for Moody {
        fn load(&self) -> Result<(Revision, State), StoreError> {
            let mut state = State::default();
            self.log.iter().flatten().for_each(|change| apply(&mut state, change));
            Ok((Revision(self.log.len() as u64), state))
        }

        fn commit(&mut self, expected: Revision, changes: &[Change]) -> Result<Revision, StoreError> {
            assert_eq!(expected.0, self.log.len() as u64);
            // A failure of which nobody knows whether the change arrived: here it did.
            self.log.push(changes.to_vec());
            if self.failures.pop().unwrap_or(false) {
                return Err(StoreError::Failed("moody".into()));
            }
            Ok(expected.next())
        }

        fn fold(&mut self, _: Revision, _: &State) -> Result<(), StoreError> {
            Ok(())
        }
    }

    fn create_cen(id: &str) -> Submission {
        let command = Command::CreateCen(CreateCen {
            id: id.into(),
            name: String::new(),
            description: String::new(),
            protection_level: None,
            tags: Vec::new(),
        });
        Submission { command, client_token: None, dry_run: false, now: UnixMillis(1) }
    }

    #[tokio::test]
    async fn after_a_failed_commit_the_disk_decides() {
        let store = Moody { log: Vec::new(), failures: vec![true, false] };
        let (writer, thread) = Writer::start(Box::new(store)).unwrap();
        writer.submit(create_cen("cen-a")).await.unwrap();
        assert_eq!(writer.submit(create_cen("cen-b")).await.unwrap_err().http_status, 500);
        assert_eq!(writer.state().cens.len(), 1, "what may not be on the disk is not shown");
        writer.submit(create_cen("cen-c")).await.unwrap();
        assert_eq!(writer.state().cens.len(), 3);
        drop(writer);
        thread.join().unwrap();
    }
}
