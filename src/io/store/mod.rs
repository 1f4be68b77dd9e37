//! Where the cloud's state lives between two runs: a log of changes behind a revision.

pub mod embedded;

use std::fmt;

use crate::cen::change::Change;
use crate::cen::nonce::UsedNonce;
use crate::cen::state::State;

/// How many commits a store has taken. A writer that expects another number has not seen the newest state.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub struct Revision(pub u64);

impl Revision {
    /// The revision after one more commit.
    #[must_use]
    pub fn next(self) -> Self {
        Self(self.0.saturating_add(1))
    }
}

impl fmt::Display for Revision {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// Why a store did not do what it was asked.
#[derive(Debug, thiserror::Error)]
pub enum StoreError {
    /// The caller has not seen the newest state; nothing has changed.
    #[error("the store is at revision {found}, not at {expected}: somebody else has written to it")]
    Outdated {
        /// The revision that the caller took for the newest.
        expected: Revision,
        /// The newest revision.
        found: Revision,
    },
    /// What the store holds cannot be read as this program writes it: another format, a gap, or damage. Holds what was
    /// found.
    #[error("the store holds something that this program did not write: {0}")]
    Foreign(String),
    /// Another process has the store open.
    #[error("another process uses the store")]
    InUse,
    /// The system or the database refused; holds its words.
    #[error("the store failed: {0}")]
    Failed(String),
}

/// Keeps states. Every method returns when its effect is on the disk, and a crash at any moment leaves the effect of a
/// whole number of calls.
pub trait Store: Send {
    /// The newest revision and its state; the empty state at first.
    ///
    /// # Errors
    /// [`StoreError::Foreign`] or [`StoreError::Failed`].
    fn load(&self) -> Result<(Revision, State), StoreError>;

    /// The nonces that commits brought and that had not expired by the last of them.
    ///
    /// # Errors
    /// As [`Self::load`].
    fn nonces(&self) -> Result<Vec<UsedNonce>, StoreError>;

    /// Adds changes to revision `expected` and returns the next one. The nonce of the call that makes them is kept with
    /// them, until one comes that was used after it had expired.
    ///
    /// # Errors
    /// [`StoreError::Outdated`] when the newest revision is another; nothing has changed then. After
    /// [`StoreError::Failed`] the changes may be there or not: [`Self::load`] tells.
    fn commit(
        &mut self,
        expected: Revision,
        changes: &[Change],
        nonce: Option<&UsedNonce>,
    ) -> Result<Revision, StoreError>;

    /// Whether the log is longer than what it would be replaced by, so that folding it costs no more than it did to write it.
    fn is_long(&self) -> bool;

    /// Replaces the log up to `revision` by its outcome, so that it does not grow for ever.
    ///
    /// # Errors
    /// As [`Self::commit`]; a failure loses nothing.
    fn fold(&mut self, revision: Revision, state: &State) -> Result<(), StoreError>;
}
