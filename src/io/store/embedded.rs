//! A store in one file of its own, with redb.

use std::cell::Cell;
use std::fmt::Display;
use std::fs::{self, File, OpenOptions, TryLockError};
use std::io::{self, Write};
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt, PermissionsExt};
use std::path::Path;

use redb::backends::FileBackend;
use redb::{Builder, Database, ReadableDatabase, ReadableTable, StorageBackend, Table, TableDefinition};
use zeroize::Zeroizing;

use super::{Revision, Store, StoreError};
use crate::cen::apply::apply;
use crate::cen::change::Change;
use crate::cen::nonce::UsedNonce;
use crate::cen::state::State;

/// The file's name in the state directory.
const FILE: &str = "cloud.redb";

/// Version of what the tables hold, which the first change writes. Format 1 knows no policy-based routes, route maps or other
/// things that came later, and versions that write it would read them as something else, or leave them out.
const FORMAT: u64 = 2;

/// The oldest format that is read: all that it holds means the same in the newest one.
const OLDEST_FORMAT: u64 = 1;

/// `format`, `revision` (the newest one) and `folded` (the one of the state in [`STATE`]).
const NUMBERS: TableDefinition<&str, u64> = TableDefinition::new("numbers");

/// The folded state, as JSON in pieces: the first under the empty key, the others by number.
const STATE: TableDefinition<&str, &[u8]> = TableDefinition::new("state");

/// Each revision's changes since, as JSON.
const CHANGES: TableDefinition<u64, &[u8]> = TableDefinition::new("changes");

/// The digests of used nonces with the second in which each was used, by the last second in which each counts: the clock
/// window orders them, so that those that have expired go without a look at the others.
const NONCES: TableDefinition<(i64, [u8; 32]), i64> = TableDefinition::new("nonces");

/// Memory that redb may use as a cache: none, because its pages hold keys that the log of changes has and the state has no
/// more. A commit waits for the disk in any case.
const CACHE: usize = 0;

/// Size of one piece of the folded state, in bytes.
const PIECE: usize = 1 << 20;

/// A log that is no longer than this, in bytes, is not folded.
const SHORT: u64 = 1 << 20;

/// A [`Store`] in one file.
pub struct EmbeddedStore {
    database: Database,
    /// Bytes of the folded state and of the log.
    sizes: Cell<(u64, u64)>,
    /// The directory, locked as long as the store is open.
    _directory: Option<File>,
}

impl EmbeddedStore {
    /// Opens the store in a directory, which is made if it is not there. The file holds pre-shared keys: only its
    /// owner may read it.
    ///
    /// # Errors
    /// [`StoreError::InUse`] while another process has it open.
    #[expect(clippy::disallowed_methods, reason = "at the start, when nobody is served yet")]
    pub fn open(directory: &Path) -> Result<Self, StoreError> {
        let path = directory.join(FILE);
        let failed = |error: io::Error| StoreError::Failed(format!("{}: {error}", path.display()));
        fs::DirBuilder::new().recursive(true).mode(0o700).create(directory).map_err(failed)?;
        let handle = File::open(directory).map_err(failed)?;
        match handle.try_lock() {
            Ok(()) => {}
            Err(TryLockError::WouldBlock) => return Err(StoreError::InUse),
            Err(TryLockError::Error(error)) => return Err(failed(error)),
        }
        if !path.try_exists().map_err(failed)? {
            create(directory, &path).map_err(|error| match error {
                CreateError::File(error) => failed(error),
                CreateError::Store(error) => error,
            })?;
            handle.sync_all().map_err(failed)?;
        }
        let backend = FileBackend::new(private_file(&path).map_err(failed)?).map_err(opening)?;
        Ok(Self { _directory: Some(handle), ..Self::with_backend(backend)? })
    }

    /// Opens a store on any storage.
    ///
    /// # Errors
    /// As [`Self::open`].
    pub fn with_backend(backend: impl StorageBackend) -> Result<Self, StoreError> {
        let mut builder = Builder::new();
        builder.set_cache_size(CACHE).set_check_integrity_on_open(true);
        let database = builder.create_with_backend(backend).map_err(opening)?;
        let store = Self { database, sizes: Cell::new((0, 0)), _directory: None };
        store.initialise()?;
        Ok(store)
    }

    fn initialise(&self) -> Result<(), StoreError> {
        let transaction = self.database.begin_write().map_err(failed)?;
        let format = {
            let mut numbers = transaction.open_table(NUMBERS).map_err(failed)?;
            transaction.open_table(STATE).map_err(failed)?;
            transaction.open_table(CHANGES).map_err(failed)?;
            // Older files have none.
            transaction.open_table(NONCES).map_err(failed)?;
            let format = numbers.get("format").map_err(failed)?.map(|number| number.value());
            if format.is_none() {
                numbers.insert("format", FORMAT).map_err(failed)?;
            }
            format
        };
        match format {
            None | Some(OLDEST_FORMAT..=FORMAT) => transaction.commit().map_err(failed),
            Some(other) => Err(StoreError::Foreign(format!("format {other}, expected {OLDEST_FORMAT} to {FORMAT}"))),
        }
    }
}

impl Store for EmbeddedStore {
    fn load(&self) -> Result<(Revision, State), StoreError> {
        let transaction = self.database.begin_read().map_err(failed)?;
        let numbers = transaction.open_table(NUMBERS).map_err(failed)?;
        let number = |name| numbers.get(name).map(|found| found.map_or(0, |number| number.value())).map_err(failed);
        let (revision, folded) = (number("revision")?, number("folded")?);

        let table = transaction.open_table(STATE).map_err(failed)?;
        let mut whole = Zeroizing::new(Vec::new());
        for row in table.iter().map_err(failed)? {
            whole.extend_from_slice(row.map_err(failed)?.1.value());
        }
        let mut state: State = match whole.is_empty() {
            false => serde_json::from_slice(&whole).map_err(foreign)?,
            true => State::default(),
        };
        state.reindex();
        let (mut last, mut logged) = (folded, 0);
        let log = transaction.open_table(CHANGES).map_err(failed)?;
        for row in log.range(folded.saturating_add(1)..=revision).map_err(failed)? {
            let (number, text) = row.map_err(failed)?;
            logged += text.value().len() as u64;
            let changes: Vec<Change> = serde_json::from_slice(text.value()).map_err(foreign)?;
            changes.iter().for_each(|change| apply(&mut state, change));
            last = last.saturating_add(1);
            if number.value() != last {
                return Err(StoreError::Foreign(format!("revision {last} is missing")));
            }
        }
        if last != revision {
            return Err(StoreError::Foreign(format!("revision {revision} is missing")));
        }
        self.sizes.set((whole.len() as u64, logged));
        Ok((Revision(revision), state))
    }

    fn nonces(&self) -> Result<Vec<UsedNonce>, StoreError> {
        let transaction = self.database.begin_read().map_err(failed)?;
        let table = transaction.open_table(NONCES).map_err(failed)?;
        let rows = table.iter().map_err(failed)?;
        rows.map(|row| {
            let (key, used) = row.map_err(failed)?;
            let (expires, digest) = key.value();
            Ok(UsedNonce { digest, used: used.value(), expires })
        })
        .collect()
    }

    fn is_long(&self) -> bool {
        let (folded, logged) = self.sizes.get();
        logged > folded.max(SHORT)
    }

    fn commit(
        &mut self,
        expected: Revision,
        changes: &[Change],
        nonce: Option<&UsedNonce>,
    ) -> Result<Revision, StoreError> {
        let text = Zeroizing::new(serde_json::to_vec(changes).map_err(failed)?);
        let next = expected.next();
        let transaction = self.database.begin_write().map_err(failed)?;
        let found = {
            let mut numbers = transaction.open_table(NUMBERS).map_err(failed)?;
            let found = numbers.get("revision").map_err(failed)?.map_or(0, |number| number.value());
            numbers.insert("revision", next.0).map_err(failed)?;
            numbers.insert("format", FORMAT).map_err(failed)?;
            let mut log = transaction.open_table(CHANGES).map_err(failed)?;
            log.insert(next.0, text.as_slice()).map_err(failed)?;
            if let Some(UsedNonce { digest, used, expires }) = nonce {
                let mut nonces = transaction.open_table(NONCES).map_err(failed)?;
                nonces.retain_in(..(*used, [0; 32]), |_, _| false).map_err(failed)?;
                nonces.insert((*expires, *digest), used).map_err(failed)?;
            }
            Revision(found)
        };
        if found != expected {
            transaction.abort().map_err(failed)?;
            return Err(StoreError::Outdated { expected, found });
        }
        // redb's default durability: returns after the data is synced.
        transaction.commit().map_err(failed)?;
        let (folded, logged) = self.sizes.get();
        self.sizes.set((folded, logged + text.len() as u64));
        Ok(next)
    }

    fn fold(&mut self, revision: Revision, state: &State) -> Result<(), StoreError> {
        let transaction = self.database.begin_write().map_err(failed)?;
        let mut size = 0;
        let found = {
            let mut numbers = transaction.open_table(NUMBERS).map_err(failed)?;
            let found = numbers.get("revision").map_err(failed)?.map_or(0, |number| number.value());
            numbers.insert("folded", revision.0).map_err(failed)?;
            numbers.insert("format", FORMAT).map_err(failed)?;
            let mut table = transaction.open_table(STATE).map_err(failed)?;
            table.retain(|_, _| false).map_err(failed)?;
            let mut pieces = Pieces { table, piece: Zeroizing::new(Vec::with_capacity(PIECE)), count: 0, size: 0 };
            serde_json::to_writer(&mut pieces, state).map_err(failed)?;
            pieces.insert().map_err(failed)?;
            size += pieces.size;
            let mut log = transaction.open_table(CHANGES).map_err(failed)?;
            log.retain(|number, _| number > revision.0).map_err(failed)?;
            Revision(found)
        };
        if found != revision {
            transaction.abort().map_err(failed)?;
            return Err(StoreError::Outdated { expected: revision, found });
        }
        transaction.commit().map_err(failed)?;
        self.sizes.set((size, 0));
        Ok(())
    }
}

/// Writes the folded state.
struct Pieces<'t> {
    table: Table<'t, &'static str, &'static [u8]>,
    piece: Zeroizing<Vec<u8>>,
    count: usize,
    size: u64,
}

impl Pieces<'_> {
    fn insert(&mut self) -> io::Result<()> {
        let key = if self.count == 0 { String::new() } else { format!("{:08}", self.count) };
        self.table.insert(key.as_str(), self.piece.as_slice()).map_err(io::Error::other)?;
        self.count += 1;
        self.size += self.piece.len() as u64;
        self.piece.clear();
        Ok(())
    }
}

impl Write for Pieces<'_> {
    fn write(&mut self, text: &[u8]) -> io::Result<usize> {
        if self.piece.len() == PIECE {
            self.insert()?;
        }
        let taken = text.len().min(PIECE - self.piece.len());
        self.piece.extend_from_slice(&text[..taken]);
        Ok(taken)
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

enum CreateError {
    File(io::Error),
    Store(StoreError),
}

/// Makes an empty store under another name first: a crash while redb writes its first pages leaves a file that cannot
/// be opened.
#[expect(clippy::disallowed_methods, reason = "at the start, when nobody is served yet")]
fn create(directory: &Path, path: &Path) -> Result<(), CreateError> {
    let new = directory.join(format!("{FILE}.new"));
    match fs::remove_file(&new) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(CreateError::File(error)),
        _ => {}
    }
    let file = private_file(&new).map_err(CreateError::File)?;
    let backend = FileBackend::new(file).map_err(|error| CreateError::Store(opening(error)))?;
    drop(EmbeddedStore::with_backend(backend).map_err(CreateError::Store)?);
    File::open(&new).and_then(|file| file.sync_all()).map_err(CreateError::File)?;
    fs::rename(&new, path).map_err(CreateError::File)
}

/// The file, with mode 0600 whoever made it.
fn private_file(path: &Path) -> io::Result<File> {
    let file = OpenOptions::new().read(true).write(true).create(true).truncate(false).mode(0o600).open(path)?;
    file.set_permissions(fs::Permissions::from_mode(0o600))?;
    Ok(file)
}

fn failed(error: impl Display) -> StoreError {
    StoreError::Failed(error.to_string())
}

fn foreign(error: serde_json::Error) -> StoreError {
    // Only where it failed: the text around it may be a key.
    StoreError::Foreign(format!("unreadable at column {}", error.column()))
}

fn opening(error: impl Into<redb::Error>) -> StoreError {
    match error.into() {
        redb::Error::DatabaseAlreadyOpen => StoreError::InUse,
        redb::Error::Corrupted(what) => StoreError::Foreign(what),
        other => failed(other),
    }
}

#[cfg(test)]
mod tests;
