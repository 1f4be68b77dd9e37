//! Text that holds what a peer has sent, for a person.

use std::fmt::{self, Write};

/// Bytes of foreign text that a line has at most.
const LONGEST: usize = 256;

/// Shows a value that a peer has sent, or a part of one: of what is not visible ASCII, and no space, only an escape, and
/// nothing beyond the 256th byte. Who reads it on a terminal is shown what was sent, and does not have it done to the
/// terminal.
pub struct Foreign<T>(pub T);

impl<T: fmt::Display> fmt::Display for Foreign<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut cut = Cut { f, left: LONGEST, is_cut: false };
        match write!(cut, "{}", self.0) {
            Err(_) if cut.is_cut => f.write_str("..."),
            written => written,
        }
    }
}

struct Cut<'a, 'b> {
    f: &'a mut fmt::Formatter<'b>,
    left: usize,
    is_cut: bool,
}

impl Write for Cut<'_, '_> {
    fn write_str(&mut self, text: &str) -> fmt::Result {
        for sign in text.chars() {
            let visible = sign == ' ' || sign.is_ascii_graphic();
            let length = if visible { 1 } else { sign.escape_default().len() };
            let Some(left) = self.left.checked_sub(length) else {
                self.is_cut = true;
                return Err(fmt::Error);
            };
            self.left = left;
            if visible { self.f.write_char(sign)? } else { write!(self.f, "{}", sign.escape_default())? }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_terminal_would_obey_is_escaped() {
        assert_eq!(Foreign("a b\n\x1b[31m'é\u{202e}").to_string(), r"a b\n\u{1b}[31m'\u{e9}\u{202e}");
    }

    #[test]
    fn what_is_long_is_cut() {
        let exact = "x".repeat(LONGEST);
        assert_eq!(Foreign(&exact).to_string(), exact);
        assert_eq!(Foreign(format!("{exact}y")).to_string(), format!("{exact}..."));
        assert_eq!(Foreign("\u{202e}".repeat(100)).to_string().len(), LONGEST / 8 * 8 + 3);
    }
}
