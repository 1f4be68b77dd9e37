//! Who has cend's set, and alone decides what becomes of it.
//!
//! ```text
//!  PUT, PATCH ──► [owner thread: fits? ► on the disk] ──► control task: connections, routes, kernel ──► reply
//! ```
//! A thread of its own: it waits for the disk, while everybody else is answered. What it hands on are differences, in the
//! order in which they were kept.

use std::io;
use std::path::Path;
use std::thread;

use tokio::sync::{mpsc, oneshot};
use tracing::{error, info};

use super::owner_file::OwnerFile;
use crate::control::owner::{OwnerReply, OwnerSet, Refusal};
use crate::control::owner_change::{OwnerChange, OwnerEntries};

/// Requests that may wait; further callers wait with theirs.
const QUEUE: usize = 16;

/// What cend wants of its set.
#[derive(Debug)]
pub enum OwnerUpdate {
    /// `PUT /v1/owners/cend`.
    Set(OwnerSet),
    /// `PATCH /v1/owners/cend`.
    Change(OwnerChange),
}

/// Why a set stays as it is.
#[derive(Debug, thiserror::Error)]
pub enum OwnerRefused {
    /// The change begins at another set than the one in force.
    #[error("the change begins at revision {from} of another set; in force is revision {revision}: put the whole")]
    Outdated {
        /// The revision that the change begins at.
        from: u64,
        /// The revision in force; 0 while there is none.
        revision: u64,
    },
    /// The state directory does not take it.
    #[error("the set could not be kept in the state directory: {0}")]
    NotKept(io::Error),
    /// gatewayd ends.
    #[error("gatewayd is stopping")]
    Stopping,
}

/// Where the answer to an update goes.
pub type OwnerAnswer = oneshot::Sender<Result<OwnerReply, OwnerRefused>>;

/// A change that is on the disk, on its way to those who carry it out.
#[derive(Debug)]
pub struct Kept {
    /// What changes; empty if only the revision does.
    pub change: OwnerChange,
    /// What a new set names twice; `None` for a change.
    pub twice: Option<Vec<Refusal>>,
    /// Where the answer goes.
    pub answer: OwnerAnswer,
}

/// The way to the thread. When the last one is dropped, it ends.
#[derive(Clone, Debug)]
pub struct OwnerKeeper {
    updates: mpsc::Sender<(OwnerUpdate, OwnerAnswer)>,
}

impl OwnerKeeper {
    /// Starts the thread with the set that was restored. What it has kept comes out of the receiver.
    ///
    /// # Errors
    /// There is no thread.
    pub fn start(state: &Path, restored: Option<OwnerEntries>) -> io::Result<(Self, mpsc::Receiver<Kept>)> {
        let (updates, queue) = mpsc::channel(QUEUE);
        let (kept, receiver) = mpsc::channel(QUEUE);
        let owner = Owner { file: OwnerFile::new(state), set: restored, kept };
        thread::Builder::new().name("owner".to_owned()).spawn(move || owner.run(queue))?;
        Ok((Self { updates }, receiver))
    }

    /// Has an update kept and carried out.
    ///
    /// # Errors
    /// The set is as it was, and why.
    pub async fn update(&self, update: OwnerUpdate) -> Result<OwnerReply, OwnerRefused> {
        let (answer, answered) = oneshot::channel();
        self.updates.send((update, answer)).await.map_err(|_| OwnerRefused::Stopping)?;
        answered.await.map_err(|_| OwnerRefused::Stopping)?
    }
}

struct Owner {
    file: OwnerFile,
    set: Option<OwnerEntries>,
    kept: mpsc::Sender<Kept>,
}

impl Owner {
    fn run(mut self, mut queue: mpsc::Receiver<(OwnerUpdate, OwnerAnswer)>) {
        while let Some((update, answer)) = queue.blocking_recv() {
            match self.keep(update) {
                Ok((change, twice)) => {
                    // If nobody takes it, gatewayd stops, and the caller is told by the answer that is dropped.
                    let _ = self.kept.blocking_send(Kept { change, twice, answer });
                    self.compact();
                }
                Err(refused) => {
                    if !matches!(refused, OwnerRefused::Stopping) {
                        info!(%refused, "cend's set stays as it is");
                    }
                    // A caller that has gone does not mind.
                    let _ = answer.send(Err(refused));
                }
            }
        }
    }

    fn keep(&mut self, update: OwnerUpdate) -> Result<(OwnerChange, Option<Vec<Refusal>>), OwnerRefused> {
        let nothing = OwnerEntries::default();
        let (change, twice) = match update {
            OwnerUpdate::Set(set) => {
                let (set, twice) = OwnerEntries::new(set);
                (self.set.as_ref().unwrap_or(&nothing).difference(&set), Some(twice))
            }
            OwnerUpdate::Change(change) => match &self.set {
                Some(set) if (set.revision, &set.session) == (change.from, &change.session) => (change, None),
                set => {
                    let revision = set.as_ref().map_or(0, |set| set.revision);
                    return Err(OwnerRefused::Outdated { from: change.from, revision });
                }
            },
        };
        let same =
            |set: &OwnerEntries| change.is_empty() && (set.revision, &set.session) == (change.to, &change.session);
        if !self.set.as_ref().is_some_and(same) {
            self.file.keep(self.set.as_ref().unwrap_or(&nothing), &change).map_err(OwnerRefused::NotKept)?;
            self.set.get_or_insert_default().apply(&change);
        }
        Ok((change, twice))
    }

    fn compact(&mut self) {
        if let Some(set) = &self.set
            && let Err(error) = self.file.compact(set)
        {
            error!(%error, "the file of cend's set could not be written anew; the next change tries again");
        }
    }
}

#[cfg(test)]
mod tests;
