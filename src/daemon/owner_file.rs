//! cend's last set in the state directory, so that a start has the cloud's connections before cend is there: the set as it
//! was once, and every change since.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};
use tracing::{info, warn};
use zeroize::Zeroizing;

use crate::control::owner::OwnerSet;
use crate::control::owner_change::{OwnerChange, OwnerEntries};
use crate::io::journal::{self, Contents, Journal};
use crate::io::private_file;

/// The journal of cend's set in the state directory.
const OWNER_FILE: &str = "cend.journal";
/// What older versions kept: the last set as one JSON document. Read for as long as it is there, which is until the journal
/// has been written once: no change is kept before it is gone.
const FORMER_FILE: &str = "cend.json";
/// The largest files that are read back, in bytes.
const OWNER_FILE_LIMIT: u64 = 128 << 20;

/// One record of the journal. The first one is a set, all others are changes.
#[derive(Debug, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
enum Record<S, C> {
    Set(S),
    Change(C),
}

/// Makes the state directory, which only its owner may look into.
///
/// # Errors
/// It cannot be made.
pub fn make_state_directory(path: &Path) -> io::Result<()> {
    use std::os::unix::fs::DirBuilderExt;
    fs::DirBuilder::new().recursive(true).mode(0o700).create(path)
}

/// Reads back cend's set of the last run, if there is one.
///
/// # Errors
/// It cannot be read. What it protected is still known from the policy that was kept.
pub fn restore(state: &Path) -> Result<Option<OwnerEntries>, String> {
    let (former, path) = (state.join(FORMER_FILE), state.join(OWNER_FILE));
    let set = if former.exists() {
        // The journal, if there is one, is older: an older version has run since, or nothing in it was ever told to be done.
        let text = private_file::read(&former, OWNER_FILE_LIMIT).map_err(|error| error.to_string())?;
        let set: OwnerSet = serde_json::from_str(&text).map_err(|error| unreadable(&former, &error))?;
        OwnerEntries::new(set).0
    } else if path.exists() {
        let Contents { records, torn } = journal::read(&path, OWNER_FILE_LIMIT).map_err(|error| error.to_string())?;
        if torn {
            warn!(file = %path.display(), "the last change of cend's set was being written when the system stopped; cend was not told that it is done");
        }
        replay(&path, &records)?
    } else {
        return Ok(None);
    };
    info!(revision = set.revision, connections = set.connections.len(), "restored cend's set");
    Ok(Some(set))
}

fn replay(path: &Path, records: &[Zeroizing<Vec<u8>>]) -> Result<OwnerEntries, String> {
    let out_of_order = || format!("{}: its changes do not follow each other", path.display());
    let mut entries: Option<OwnerEntries> = None;
    for record in records {
        let record = serde_json::from_slice(record).map_err(|error| unreadable(path, &error))?;
        match (record, &mut entries) {
            (Record::<OwnerSet, OwnerChange>::Set(set), None) => entries = Some(OwnerEntries::new(set).0),
            (Record::Change(change), Some(entries)) if change.from == entries.revision => entries.apply(&change),
            _ => return Err(out_of_order()),
        }
    }
    entries.ok_or_else(out_of_order)
}

/// Only where it failed: the text around it may be a key.
fn unreadable(path: &Path, error: &serde_json::Error) -> String {
    format!("{}: unreadable at line {}, column {}", path.display(), error.line(), error.column())
}

/// Keeps cend's set for the next start, readable by its owner only.
#[derive(Debug)]
pub struct OwnerFile {
    state: PathBuf,
    journal: Journal,
    /// What an older version kept is gone. Until then it would be read in the journal's place.
    former_is_gone: bool,
}

impl OwnerFile {
    /// For a set that was [restored](restore), or for none. The first write replaces what is there.
    pub fn new(state: &Path) -> Self {
        Self { state: state.to_owned(), journal: Journal::new(state.join(OWNER_FILE)), former_is_gone: false }
    }

    /// Keeps what a change makes of the set `before`. On the disk when it returns.
    ///
    /// # Errors
    /// The state directory does not take it. A restart finds the set before, or already the one after.
    pub fn keep(&mut self, before: &OwnerEntries, change: &OwnerChange) -> io::Result<()> {
        if self.former_is_gone && self.journal.takes_more() {
            let record = Record::<(), _>::Change(change);
            return self.journal.append(&Zeroizing::new(serde_json::to_vec(&record)?));
        }
        let mut after = before.clone();
        after.apply(change);
        self.replace(&after)
    }

    /// Writes the whole anew when the changes have become as long as the set.
    ///
    /// # Errors
    /// The state directory does not take it; nothing is lost.
    pub fn compact(&mut self, set: &OwnerEntries) -> io::Result<()> {
        if self.journal.is_long() { self.replace(set) } else { Ok(()) }
    }

    fn replace(&mut self, set: &OwnerEntries) -> io::Result<()> {
        fs::create_dir_all(&self.state)?;
        self.journal.replace(&Zeroizing::new(serde_json::to_vec(&Record::<_, ()>::Set(set.set()))?))?;
        if !self.former_is_gone {
            let former = self.state.join(FORMER_FILE);
            private_file::remove(&former).map_err(|error| {
                io::Error::new(error.kind(), format!("{} cannot be removed: {error}", former.display()))
            })?;
            self.former_is_gone = true;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests;
