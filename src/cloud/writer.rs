//! The only writer of the cloud's state.
//!
//! ```text
//!  API calls ── submit ──► [writer thread: plan ► commit ► apply] ── watch, what was touched ──► API reads, fabric, gateways
//!                 ◄─────── reply, when the change is on the disk
//! ```
//! A thread of its own: a commit waits for the disk, and a caller that goes away must not stop one half-way.

use std::sync::Arc;
use std::thread::{self, JoinHandle};

use tokio::sync::{mpsc, oneshot, watch};

use super::recent_changes::{RecentChanges, Touched};
use crate::cen::apply::apply;
use crate::cen::change::Change;
use crate::cen::command::Submission;
use crate::cen::error::ApiError;
use crate::cen::nonce::UsedNonce;
use crate::cen::plan::plan;
use crate::cen::state::State;
use crate::io::store::{Revision, Store, StoreError};

/// Submissions that may wait; further callers wait with theirs.
const QUEUE: usize = 64;

type Job = (Submission, Option<UsedNonce>, oneshot::Sender<Result<(), ApiError>>);

/// A committed state.
#[derive(Clone, Debug)]
pub struct Committed {
    /// The store's revision.
    pub revision: Revision,
    /// The state of that revision. Whoever keeps it makes the next commit but one copy the parts that it changes.
    pub state: Arc<State>,
}

/// The newest committed state, and how it came about, for those who follow it.
#[derive(Clone, Debug)]
pub struct Commits {
    /// Every committed state as it comes; a slow reader sees the newest only.
    pub newest: watch::Receiver<Committed>,
    /// What the last commits have touched, up to the newest one at least.
    pub recent: Arc<RecentChanges>,
}

/// A handle to the writer. When the last one is dropped, the thread ends.
#[derive(Clone)]
pub struct Writer {
    jobs: mpsc::Sender<Job>,
    commits: Commits,
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
        let recent = Arc::new(RecentChanges::default());
        recent.begin(revision);
        let (publish, newest) = watch::channel(Committed { revision, state: Arc::new(state) });
        let commits = Commits { newest, recent: Arc::clone(&recent) };
        let ledger = Ledger { store, publish, recent, copy: None, healthy: true };
        let thread = thread::Builder::new()
            .name("cloud-writer".to_owned())
            .spawn(move || ledger.run(queue))
            .map_err(|error| StoreError::Failed(format!("no thread for the writer: {error}")))?;
        Ok((Self { jobs, commits }, thread))
    }

    /// The newest committed state.
    pub fn state(&self) -> Arc<State> {
        Arc::clone(&self.commits.newest.borrow().state)
    }

    /// Everything that is committed, from now on.
    pub fn commits(&self) -> Commits {
        self.commits.clone()
    }

    /// Plans, commits and applies; returns when the change is durable.
    ///
    /// # Errors
    /// The cloud's refusal, or `InternalError` when the store failed.
    pub async fn submit(&self, submission: Submission) -> Result<(), ApiError> {
        self.send(submission, None).await
    }

    /// As [`Self::submit`], for a signed call, whose nonce is committed with what it changes. One that changes nothing is
    /// committed for its nonce alone, because it might change something when it is replayed; a refused one is not.
    ///
    /// # Errors
    /// As [`Self::submit`].
    pub async fn submit_signed(&self, submission: Submission, nonce: UsedNonce) -> Result<(), ApiError> {
        self.send(submission, Some(nonce)).await
    }

    async fn send(&self, submission: Submission, nonce: Option<UsedNonce>) -> Result<(), ApiError> {
        let (reply, outcome) = oneshot::channel();
        self.jobs.send((submission, nonce, reply)).await.map_err(|_| ApiError::internal())?;
        outcome.await.map_err(|_| ApiError::internal())?
    }
}

/// The state and the store that must agree with it.
struct Ledger {
    store: Box<dyn Store>,
    publish: watch::Sender<Committed>,
    recent: Arc<RecentChanges>,
    /// The newest state once more, which becomes the next one, so that a commit copies only what it changes. `None` if the
    /// last one but one was still being read when it was to become this.
    copy: Option<State>,
    /// False after a failure of the store that left it unknown what is on the disk.
    healthy: bool,
}

/// From one state to the next.
struct Step {
    former: Arc<State>,
    changes: Vec<Change>,
}

impl Ledger {
    fn run(mut self, mut queue: mpsc::Receiver<Job>) {
        while let Some((submission, nonce, reply)) = queue.blocking_recv() {
            match self.carry_out(&submission, nonce.as_ref()) {
                Ok(Some(Step { former, changes })) => {
                    // Nobody may be listening any more; the change stands all the same.
                    let _ = reply.send(Ok(()));
                    self.copy = Arc::try_unwrap(former).ok();
                    if let Some(copy) = &mut self.copy {
                        changes.iter().for_each(|change| apply(copy, change));
                    }
                }
                Ok(None) => drop(reply.send(Ok(()))),
                Err(refused) => drop(reply.send(Err(refused))),
            }
            self.fold();
        }
        tracing::debug!("the writer ends");
    }

    /// Answers what was done, if there was anything to do.
    fn carry_out(&mut self, submission: &Submission, nonce: Option<&UsedNonce>) -> Result<Option<Step>, ApiError> {
        if !self.healthy {
            self.reload()?;
        }
        let Committed { revision, state } = self.publish.borrow().clone();
        let changes = plan(&state, submission)?;
        if changes.is_empty() && nonce.is_none() {
            return Ok(None);
        }
        match self.store.commit(revision, &changes, nonce) {
            Ok(revision) => {
                let mut next = self.copy.take().unwrap_or_else(|| State::clone(&state));
                changes.iter().for_each(|change| apply(&mut next, change));
                self.recent.add(revision, Touched::of(&state, &changes));
                self.publish.send_replace(Committed { revision, state: Arc::new(next) });
                Ok(Some(Step { former: state, changes }))
            }
            Err(error) => {
                tracing::error!(%error, "a change could not be stored");
                self.healthy = false;
                Err(ApiError::internal())
            }
        }
    }

    /// After a failed commit the disk decides what happened.
    fn reload(&mut self) -> Result<(), ApiError> {
        match self.store.load() {
            Ok((revision, state)) => {
                self.copy = None;
                self.recent.begin(revision);
                self.publish.send_replace(Committed { revision, state: Arc::new(state) });
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
        let Committed { revision, state } = self.publish.borrow().clone();
        if !self.healthy || !self.store.is_long() {
            return;
        }
        if let Err(error) = self.store.fold(revision, &state) {
            tracing::warn!(%error, "the log of changes could not be folded");
            self.healthy = false;
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

        fn nonces(&self) -> Result<Vec<UsedNonce>, StoreError> {
            Ok(Vec::new())
        }

        fn commit(
            &mut self,
            expected: Revision,
            changes: &[Change],
            _: Option<&UsedNonce>,
        ) -> Result<Revision, StoreError> {
            assert_eq!(expected.0, self.log.len() as u64);
            // A failure of which nobody knows whether the change arrived: here it did.
            self.log.push(changes.to_vec());
            if self.failures.pop().unwrap_or(false) {
                return Err(StoreError::Failed("moody".into()));
            }
            Ok(expected.next())
        }

        fn is_long(&self) -> bool {
            false
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
        let Commits { newest, recent } = writer.commits();
        assert_eq!(newest.borrow().revision, Revision(3));
        assert_eq!(recent.between(Revision(1), Revision(3)), None, "nobody knows what the second one touched");
        assert!(recent.between(Revision(2), Revision(3)).unwrap().networks);
        drop(writer);
        thread.join().unwrap();
    }

    #[tokio::test]
    async fn who_keeps_a_state_sees_it_as_it_was_and_all_others_go_on() {
        let (writer, thread) = Writer::start(Box::new(Moody { log: Vec::new(), failures: Vec::new() })).unwrap();
        let mut kept = Vec::new();
        for number in 0..20_usize {
            writer.submit(create_cen(&format!("cen-{number}"))).await.unwrap();
            if number % 3 != 0 {
                kept.push((number + 1, writer.state()));
            }
            assert_eq!(writer.state().cens.len(), number + 1);
        }
        assert!(kept.iter().all(|(number, state)| state.cens.len() == *number));
        drop(writer);
        thread.join().unwrap();
    }
}
