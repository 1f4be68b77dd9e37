//! A file of records that only grows, so that a change costs what it changes: 0600, and each record on the disk when
//! [`Journal::append`] returns. Now and then the records before are replaced by one that says what they came to.
//!
//! ```text
//!  FORMAT\n
//!  LENGTH CHECKSUM RECORD\n      LENGTH in bytes; CHECKSUM the first 16 bytes of SHA-256 in hexadecimal; RECORD without \n
//! ```
//! A record is appended after the one before is on the disk. So a crash spoils the last one at most, and what is wrong
//! before that is damage, which nobody may take for an older state.

use std::fs::{File, OpenOptions};
use std::io::{self, Write};
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use zeroize::Zeroizing;

use super::{fault, private_file};
use crate::crypto::digest::sha256;

/// The first line.
const FORMAT: &str = "gatewayd journal 1";
/// Below this length in bytes the records before are not worth being replaced.
const LEAST: u64 = 64 << 10;

/// Why a journal cannot be read.
#[derive(Debug, thiserror::Error)]
pub enum JournalError {
    /// It cannot be opened or read, others may read it, or it is too large.
    #[error(transparent)]
    File(#[from] private_file::PrivateFileError),
    /// It begins otherwise, or a record that is not the last one is wrong.
    #[error("{path} is damaged in line {line}")]
    Damaged {
        /// The file.
        path: String,
        /// Which line, from 1.
        line: usize,
    },
}

/// What a journal holds.
#[derive(Debug)]
pub struct Contents {
    /// Its records, the oldest first.
    pub records: Vec<Zeroizing<Vec<u8>>>,
    /// Whether a crash left a last record that is not whole; it is not among the records.
    pub torn: bool,
}

/// Reads a journal of at most `limit` bytes.
///
/// # Errors
/// It cannot be read, or is damaged.
pub fn read(path: &Path, limit: u64) -> Result<Contents, JournalError> {
    let bytes = private_file::read_bytes(path, limit)?;
    let mut contents = Contents { records: Vec::new(), torn: false };
    // No record has a zero byte: where one ends the file, its length grew before the data came.
    let mut rest = &bytes[..bytes.iter().rposition(|byte| *byte != 0).map_or(0, |last| last + 1)];
    let mut line = 0;
    while !rest.is_empty() {
        line += 1;
        let end = rest.iter().position(|byte| *byte == b'\n');
        let (text, behind) = end.map_or((rest, &rest[rest.len()..]), |end| (&rest[..end], &rest[end + 1..]));
        let damaged = || JournalError::Damaged { path: path.display().to_string(), line };
        rest = behind;
        if line == 1 {
            if text != FORMAT.as_bytes() || end.is_none() {
                return Err(damaged());
            }
            continue;
        }
        match record(text) {
            Ok(record) if end.is_some() => contents.records.push(Zeroizing::new(record.to_vec())),
            // Longer than it says, it has swallowed the one behind it.
            Err(Wrong::TooLong) => return Err(damaged()),
            _ if rest.is_empty() => contents.torn = true,
            _ => return Err(damaged()),
        }
    }
    // Every journal begins with a record, put in place as a whole.
    if contents.records.is_empty() {
        return Err(JournalError::Damaged { path: path.display().to_string(), line: line.max(1) });
    }
    Ok(contents)
}

enum Wrong {
    TooLong,
    Other,
}

fn record(line: &[u8]) -> Result<&[u8], Wrong> {
    let mut parts = line.splitn(3, |byte| *byte == b' ');
    let (Some(length), Some(checksum), Some(record)) = (parts.next(), parts.next(), parts.next()) else {
        return Err(Wrong::Other);
    };
    let length =
        std::str::from_utf8(length).ok().and_then(|length| length.parse::<usize>().ok()).ok_or(Wrong::Other)?;
    if record.len() > length {
        return Err(Wrong::TooLong);
    }
    let whole = record.len() == length && self::checksum(record).as_bytes() == checksum;
    if whole { Ok(record) } else { Err(Wrong::Other) }
}

fn checksum(record: &[u8]) -> String {
    hex::encode(&sha256(record)[..16])
}

/// What stands before a record in its line.
fn head(record: &[u8]) -> io::Result<String> {
    if record.contains(&b'\n') {
        return Err(io::Error::new(io::ErrorKind::InvalidInput, "a record is one line"));
    }
    Ok(format!("{} {} ", record.len(), checksum(record)))
}

/// The writing end.
#[derive(Debug)]
pub struct Journal {
    path: PathBuf,
    /// What is appended to; `None` while it is not known to end with a whole record.
    file: Option<File>,
    /// Bytes in the file.
    length: u64,
    /// Bytes in the file after the records before were replaced last.
    replaced: u64,
}

impl Journal {
    /// A journal at this path, whatever is there: it is replaced before anything is appended.
    pub fn new(path: PathBuf) -> Self {
        Self { path, file: None, length: 0, replaced: 0 }
    }

    /// Whether a record can be appended. Otherwise, as at first, after a failure, or if the file has gone, the whole has to
    /// be replaced.
    pub fn takes_more(&self) -> bool {
        self.file.as_ref().is_some_and(|file| file.metadata().is_ok_and(|metadata| metadata.nlink() > 0))
    }

    /// Whether what was appended is as long as the rest, so that it is time to replace the whole.
    pub fn is_long(&self) -> bool {
        self.length > LEAST && self.length / 2 >= self.replaced
    }

    /// Adds a record. On the disk when it returns.
    ///
    /// # Errors
    /// The disk does not take it, or [`Self::takes_more`] says no; then the record may be there or not after a restart, and the
    /// whole has to be replaced before more is added.
    #[expect(clippy::disallowed_methods, reason = "a journal is written by a thread of its own")]
    pub fn append(&mut self, record: &[u8]) -> io::Result<()> {
        let head = head(record)?;
        // Only a record that has been added leaves the file in order.
        let mut file = self.file.take().ok_or_else(|| io::Error::other("the whole has to be replaced first"))?;
        for part in [head.as_bytes(), record, b"\n"] {
            fault::point()?;
            file.write_all(part)?;
        }
        fault::point()?;
        file.sync_data()?;
        self.length += (head.len() + record.len() + 1) as u64;
        self.file = Some(file);
        Ok(())
    }

    /// Puts one record in the place of all before, beside them first: a crash leaves all of them or the one. On the disk when
    /// it returns.
    ///
    /// # Errors
    /// The disk does not take it; the records before may still be there, or this one.
    pub fn replace(&mut self, record: &[u8]) -> io::Result<()> {
        let head = format!("{FORMAT}\n{}", head(record)?);
        let mut content = Zeroizing::new(Vec::with_capacity(head.len() + record.len() + 1));
        content.extend_from_slice(head.as_bytes());
        content.extend_from_slice(record);
        content.push(b'\n');
        self.file = None;
        private_file::replace(&self.path, &content)?;
        fault::point()?;
        self.file = Some(OpenOptions::new().append(true).open(&self.path)?);
        self.length = content.len() as u64;
        self.replaced = self.length;
        Ok(())
    }
}

#[cfg(test)]
mod tests;
