//! Standard error, and whether somebody looks at it.

use std::fmt;
use std::io::{self, IsTerminal, Write};

/// Whether the log, which goes to standard error, may have colours: on a terminal, unless the environment variable NO_COLOR
/// is set and not empty (no-color.org).
pub fn colours_on_stderr() -> bool {
    io::stderr().is_terminal() && std::env::var_os("NO_COLOR").is_none_or(|value| value.is_empty())
}

/// Tells a failure on standard error, with the end of its line. One that nobody can read is nobody's to know.
pub fn complain(what: impl fmt::Display) {
    let _ = writeln!(io::stderr(), "{what}");
}
