//! gatewayd's log: one line for what an operator did or should know, on standard error.

use std::fmt::{self, Write};

use tracing::field::Field;
use tracing_subscriber::EnvFilter;
use tracing_subscriber::field::MakeExt;
use tracing_subscriber::fmt::format::{Writer, debug_fn};

use crate::io::terminal::{colours_on_stderr, complain};

/// The most bytes of a word in a value, more than IKE leaves of what a peer has sent,
const LONGEST_WORD: usize = 300;
/// and of the value.
const LONGEST: usize = 1024;
/// What stands where something was left out.
const CUT: char = '…';

/// The level of a log without a configuration.
pub const DEFAULT: &str = "info";

/// Starts the log at the level of the configuration, or as the environment variable GATEWAYD_LOG says
/// (`debug`, or `info,ipsec_gateway::ike=trace`).
pub fn start(level: &str) {
    let filter = EnvFilter::try_from_env("GATEWAYD_LOG").unwrap_or_else(|_| EnvFilter::new(level));
    let log = tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_writer(std::io::stderr)
        .with_ansi(colours_on_stderr())
        // There is nowhere to tell that standard error cannot be written to.
        .log_internal_errors(false)
        .with_target(false)
        .fmt_fields(debug_fn(write_field).delimited(" "));
    // The journal writes the time itself.
    let started =
        if std::env::var_os("JOURNAL_STREAM").is_some() { log.without_time().try_init() } else { log.try_init() };
    if started.is_err() {
        complain("gatewayd: a log runs already");
    }
}

/// Writes the message, or a value by its name. Whatever is in it stays on the line; a value is cut, for it may be a peer's.
fn write_field(writer: &mut Writer<'_>, field: &Field, value: &dyn fmt::Debug) -> fmt::Result {
    if field.name() == "message" {
        return write!(Fitting::uncut(writer), "{value:?}");
    }
    write!(writer, "{}=", field.name())?;
    write!(Fitting::new(writer), "{value:?}")
}

/// Passes on what is written with control characters escaped, its words and the whole cut. What others choose (identities)
/// has no spaces, so that it is words that are cut, and the sentence round them stays.
struct Fitting<'a> {
    to: &'a mut dyn Write,
    left: usize,
    longest_word: usize,
    /// Bytes of the word that is being written, with what was left out of it.
    word: usize,
}

impl<'a> Fitting<'a> {
    /// Writes to `to`.
    fn new(to: &'a mut dyn Write) -> Self {
        Self { to, left: LONGEST, longest_word: LONGEST_WORD, word: 0 }
    }

    /// The same without a limit, for what is our own.
    fn uncut(to: &'a mut dyn Write) -> Self {
        Self { left: usize::MAX, longest_word: usize::MAX, ..Self::new(to) }
    }
}

impl Write for Fitting<'_> {
    /// Never fails for want of room: what has none is left out, and a single mark says so.
    fn write_str(&mut self, part: &str) -> fmt::Result {
        for letter in part.chars().map(Shown) {
            let before = if letter.0 == ' ' { 0 } else { self.word };
            self.word = before + if letter.0 == ' ' { 0 } else { letter.len() };
            let fits = self.word <= self.longest_word;
            let begins_cut = !fits && before <= self.longest_word;
            if !fits && !begins_cut {
                continue;
            }
            let Some(left) = self.left.checked_sub(letter.len() + CUT.len_utf8()) else {
                return if std::mem::take(&mut self.left) > 0 { self.to.write_char(CUT) } else { Ok(()) };
            };
            self.left = left + CUT.len_utf8();
            if begins_cut { self.to.write_char(CUT)? } else { letter.write_to(self.to)? }
        }
        Ok(())
    }
}

/// A letter, or how one is shown that would end or colour a line, or has no width.
#[derive(Clone, Copy)]
struct Shown(char);

impl Shown {
    /// Quotes and backslashes are shown as they are.
    fn is_plain(self) -> bool {
        matches!(self.0, '"' | '\'' | '\\') || self.0.escape_debug().len() == 1
    }

    /// In bytes.
    fn len(self) -> usize {
        if self.is_plain() { self.0.len_utf8() } else { self.0.escape_debug().len() }
    }

    fn write_to(self, to: &mut dyn Write) -> fmt::Result {
        if self.is_plain() { to.write_char(self.0) } else { write!(to, "{}", self.0.escape_debug()) }
    }
}

#[cfg(test)]
mod tests {
    use std::io;
    use std::sync::{Arc, Mutex};

    use super::*;

    #[derive(Clone, Default)]
    struct Lines(Arc<Mutex<Vec<u8>>>);

    impl io::Write for Lines {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            self.0.lock().unwrap().extend_from_slice(bytes);
            Ok(bytes.len())
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    #[test]
    fn what_is_logged_stays_on_its_line_and_is_not_long() {
        let lines = Lines::default();
        let to = lines.clone();
        let log = tracing_subscriber::fmt()
            .with_writer(move || to.clone())
            .without_time()
            .with_ansi(false)
            .with_target(false)
            .fmt_fields(debug_fn(write_field).delimited(" "))
            .finish();
        tracing::subscriber::with_default(log, || {
            let identity = format!("a\nWARN forged {}", "x".repeat(30_000));
            tracing::warn!(peer_id = %identity, reason = "plain", number = 7, "child\x1b[31m up");
        });
        let text = String::from_utf8(lines.0.lock().unwrap().clone()).unwrap();
        assert!(text.len() < 500 && text.ends_with("… reason=\"plain\" number=7\n"), "{text}");
        assert!(text.contains("WARN child\\u{1b}[31m up peer_id=a\\nWARN forged xxx"), "{text}");
        assert_eq!(text.lines().count(), 1);
    }

    fn line(value: impl fmt::Display) -> String {
        let mut text = String::new();
        write!(Fitting::new(&mut text), "{value}").unwrap();
        text
    }

    #[test]
    fn foreign_text_stays_on_its_line() {
        assert_eq!(line("it's \"plain\", C:\\ and ß"), "it's \"plain\", C:\\ and ß");
        assert_eq!(line("two\nlines\r\t\x1b[31mred\x07\u{202e}"), "two\\nlines\\r\\t\\u{1b}[31mred\\u{7}\\u{202e}");
    }

    #[test]
    fn a_long_word_is_cut_and_the_sentence_stays() {
        for letter in ["x", "é", "\n", "\u{1b}"] {
            let text = line(format_args!("the peer calls itself {}, but @b is expected", letter.repeat(30_000)));
            assert!(text.starts_with("the peer calls itself ") && text.ends_with("… but @b is expected"), "{text}");
            assert!(text.len() < LONGEST_WORD + 50, "{}", text.len());
        }
        let fits = "x".repeat(LONGEST_WORD);
        assert_eq!(line(&fits), fits);
    }

    #[test]
    fn no_number_of_words_makes_a_long_line() {
        let text = line("30 kB of proposals ".repeat(2000));
        assert!(text.len() <= LONGEST && text.ends_with(CUT) && text.matches(CUT).count() == 1, "{text}");
        let mut text = String::new();
        let mut fitting = Fitting::new(&mut text);
        for _ in 0..2000 {
            fitting.write_str("a\nb ").unwrap();
        }
        assert!(text.len() <= LONGEST && text.starts_with("a\\nb a\\nb "), "{text}");
    }
}
