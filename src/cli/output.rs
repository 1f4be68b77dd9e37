//! What the commands print. A reader that has gone, as `head` goes when it has read enough, is no failure: what it does not read
//! counts as printed, and a command that goes on for ever ends.

use std::io::{self, ErrorKind, Write};

use serde::Serialize;

/// Why something could not be printed.
#[derive(Debug, thiserror::Error)]
pub enum OutputError {
    /// It cannot be written to, as a file on a full disk.
    #[error("standard output: {0}")]
    Io(#[from] io::Error),
    /// It is nothing that JSON can hold.
    #[error(transparent)]
    Json(#[from] serde_json::Error),
}

/// Whether somebody still reads standard output.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Reader {
    /// Somebody may.
    There,
    /// Nobody does.
    Gone,
}

/// Prints the next of many texts as it is, and at once; says whether another one would be read.
pub fn next(text: &str) -> Result<Reader, OutputError> {
    let mut out = io::stdout().lock();
    match out.write_all(text.as_bytes()).and_then(|()| out.flush()) {
        Ok(()) => Ok(Reader::There),
        Err(error) if error.kind() == ErrorKind::BrokenPipe => Ok(Reader::Gone),
        Err(error) => Err(error.into()),
    }
}

/// The same of a text with a line's end behind it.
pub fn next_line(text: &str) -> Result<Reader, OutputError> {
    next(&format!("{text}\n"))
}

/// Prints a text as it is, and at once.
pub fn print(text: &str) -> Result<(), OutputError> {
    next(text).map(|_| ())
}

/// Prints a text and ends its line.
pub fn line(text: &str) -> Result<(), OutputError> {
    print(&format!("{text}\n"))
}

/// Prints a value as JSON over several lines.
pub fn json(value: &impl Serialize) -> Result<(), OutputError> {
    line(&serde_json::to_string_pretty(value)?)
}
