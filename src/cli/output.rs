//! What the commands print. A reader that has gone, as `head` goes when it has read enough, is no failure.

use std::io::{self, ErrorKind, Write};

use serde::Serialize;

/// Why something could not be printed.
#[derive(Debug, thiserror::Error)]
pub enum OutputError {
    /// Nobody reads standard output any more.
    #[error("nobody reads the output")]
    ReaderGone,
    /// It cannot be written to, as a file on a full disk.
    #[error("standard output: {0}")]
    Io(io::Error),
    /// It is nothing that JSON can hold.
    #[error(transparent)]
    Json(#[from] serde_json::Error),
}

impl From<io::Error> for OutputError {
    fn from(error: io::Error) -> Self {
        if error.kind() == ErrorKind::BrokenPipe { Self::ReaderGone } else { Self::Io(error) }
    }
}

/// Prints a text as it is, and at once.
pub fn print(text: &str) -> Result<(), OutputError> {
    let mut out = io::stdout().lock();
    out.write_all(text.as_bytes())?;
    Ok(out.flush()?)
}

/// Prints a text and ends its line.
pub fn line(text: &str) -> Result<(), OutputError> {
    print(&format!("{text}\n"))
}

/// Prints a value as JSON over several lines.
pub fn json(value: &impl Serialize) -> Result<(), OutputError> {
    line(&serde_json::to_string_pretty(value)?)
}
