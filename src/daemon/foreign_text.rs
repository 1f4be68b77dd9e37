//! Text that others have a part in, made fit for a line of the log, an event and a status: no control characters, and
//! nothing of it long. What others choose (identities) has no spaces, so that it is words that are cut, and the
//! sentence round them stays.

use std::fmt::{self, Display, Write};

/// The most bytes of a word.
pub const LONGEST_WORD: usize = 200;
/// The most bytes of a text.
pub const LONGEST: usize = 1024;
/// What stands where something was left out.
const CUT: char = '…';

/// What a value says, on one line, its words cut to [`LONGEST_WORD`] and the whole to [`LONGEST`] bytes.
pub fn line(value: impl Display) -> String {
    let mut text = String::new();
    // Writing to a string does not fail.
    let _ = write!(Fitting::new(&mut text), "{value}");
    text
}

/// Passes on what is written with control characters escaped, and cut as [`line`] cuts.
pub struct Fitting<'a> {
    to: &'a mut dyn Write,
    left: usize,
    longest_word: usize,
    /// Bytes of the word that is being written, with what was left out of it.
    word: usize,
}

impl<'a> Fitting<'a> {
    /// Writes to `to`.
    pub fn new(to: &'a mut dyn Write) -> Self {
        Self { to, left: LONGEST, longest_word: LONGEST_WORD, word: 0 }
    }

    /// The same without a limit, for what is our own.
    pub fn uncut(to: &'a mut dyn Write) -> Self {
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
    use super::*;

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
            assert!(text.len() < 256, "{}", text.len());
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
