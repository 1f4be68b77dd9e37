//! Tables for a person: without borders, one line for each row, cut to the terminal's width, with notes below the rows.

use comfy_table::presets;
use comfy_table::{CellAlignment, Table};

/// Where a note begins, below its row.
const NOTE_INDENT: usize = 4;

/// Blanks between two columns.
const GAP: usize = 2;

/// What a column that may be cut keeps.
const LEAST: usize = 8;

/// Rows below headings. On a terminal each row is one line: where there is no room, the columns that may be cut are cut in the
/// middle of their words, as names often differ at their end alone.
pub struct Rows {
    headings: Vec<String>,
    /// What stands in each row, and what is to be said of it.
    rows: Vec<(Vec<String>, String)>,
    numbers: &'static [usize],
    cut: &'static [usize],
    width: Option<usize>,
}

impl Rows {
    /// A table with these headings, as wide as the terminal, if it goes to one.
    pub fn new(headings: &[&str]) -> Self {
        let headings = headings.iter().map(|heading| heading.to_uppercase()).collect();
        Self { headings, rows: Vec::new(), numbers: &[], cut: &[], width: terminal_width() }
    }

    /// For a terminal of so many columns.
    #[cfg(test)]
    pub fn of_width(self, columns: usize) -> Self {
        Self { width: Some(columns), ..self }
    }

    /// Adds a row, and what is to be said of it: nothing, if the note is empty.
    pub fn add(&mut self, cells: impl IntoIterator<Item = String>, note: String) {
        self.rows.push((cells.into_iter().collect(), note));
    }

    /// These columns hold numbers.
    pub fn align_right(self, columns: &'static [usize]) -> Self {
        Self { numbers: columns, ..self }
    }

    /// Only these columns are cut where there is no room.
    pub fn cut(self, columns: &'static [usize]) -> Self {
        Self { cut: columns, ..self }
    }

    /// The table, with each note below its row.
    pub fn text(&self) -> String {
        let widths = self.widths();
        let mut table = Table::new();
        table.load_style(presets::NOTHING);
        table.set_header(&self.headings);
        for (cells, _) in &self.rows {
            table.add_row(cells.iter().zip(&widths).map(|(cell, width)| shortened(cell, *width)));
        }
        let last = self.headings.len().saturating_sub(1);
        for (number, column) in table.column_iter_mut().enumerate() {
            column.set_padding((0, if number == last { 0 } else { GAP as u16 }));
            if self.numbers.contains(&number) {
                column.set_cell_alignment(CellAlignment::Right);
            }
        }
        let mut lines = table.lines().map(|line| line.trim_end().to_owned());
        let mut text: Vec<String> = lines.by_ref().take(1).collect();
        for (line, (_, note)) in lines.zip(&self.rows) {
            text.push(line);
            if !note.is_empty() {
                text.push(wrapped(&format!("{}{note}", " ".repeat(NOTE_INDENT)), self.width, NOTE_INDENT));
            }
        }
        text.join("\n")
    }

    /// How wide each column may be: as wide as what it holds, and the widest of those that may be cut less, until all fit.
    fn widths(&self) -> Vec<usize> {
        let length = |text: &String| text.chars().count();
        let mut widths: Vec<usize> = self.headings.iter().map(length).collect();
        for (cells, _) in &self.rows {
            widths.iter_mut().zip(cells).for_each(|(width, cell)| *width = length(cell).max(*width));
        }
        let all = |widths: &[usize]| widths.iter().sum::<usize>() + GAP * widths.len().saturating_sub(1);
        while self.width.is_some_and(|width| all(&widths) > width) {
            let cut = widths.iter_mut().enumerate().filter(|(number, _)| self.cut.contains(number));
            match cut.map(|(_, width)| width).max().filter(|width| **width > LEAST) {
                Some(widest) => *widest -= 1,
                None => break,
            }
        }
        widths
    }
}

/// A text without its middle, if it is longer than that.
fn shortened(text: &str, width: usize) -> String {
    let length = text.chars().count();
    let Some(left) = width.checked_sub(1).filter(|_| length > width) else { return text.to_owned() };
    let tail = left / 2;
    let head: String = text.chars().take(left - tail).collect();
    let tail: String = text.chars().skip(length - tail).collect();
    format!("{head}…{tail}")
}

/// The columns of the terminal, if the output goes to one.
pub fn terminal_width() -> Option<usize> {
    Table::new().width().map(usize::from)
}

/// A text with its lines broken between words where they are too long; what follows is indented.
pub fn wrapped(text: &str, width: Option<usize>, indent: usize) -> String {
    let Some(width) = width.filter(|width| *width > 2 * indent) else { return text.to_owned() };
    text.lines().map(|line| wrapped_line(line, width, indent)).collect::<Vec<_>>().join("\n")
}

fn wrapped_line(line: &str, width: usize, indent: usize) -> String {
    let mut broken = String::new();
    let mut used = 0;
    for word in line.split_inclusive(' ') {
        let length = word.trim_end().chars().count();
        if used > indent && used + length > width {
            broken.truncate(broken.trim_end().len());
            broken.push('\n');
            broken.push_str(&" ".repeat(indent));
            used = indent;
        }
        broken.push_str(word);
        used += word.chars().count();
    }
    broken
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_long_line_is_broken_between_words_and_goes_on_indented() {
        let text = "    error    the peer at the other end says nothing at all\nshort";
        let expected = "    error    the peer at the\n             other end says\n             nothing at all\nshort";
        assert_eq!(wrapped(text, Some(30), 13), expected);
        assert_eq!(wrapped(text, None, 13), text);
        let word = "x".repeat(40);
        assert_eq!(
            wrapped(&format!("    error    {word} end"), Some(30), 13),
            format!("    error    {word}\n             end")
        );
    }

    #[test]
    fn a_row_stays_on_its_line_and_its_note_below() {
        let mut rows = Rows::new(&["name", "state", "bytes"]).of_width(40);
        rows.add(
            ["a-name-that-is-much-too-long-for-this-table".into(), "established".into(), "1.46 KiB".into()],
            String::new(),
        );
        rows.add(["b".into(), "down".into(), "0 B".into()], "nobody answers at the address of the peer, try it".into());
        let text = rows.align_right(&[2]).cut(&[0]).text();
        let lines: Vec<&str> = text.lines().collect();
        assert_eq!(lines.len(), 5, "{text}");
        assert!(lines.iter().all(|line| line.chars().count() <= 40), "{text}");
        assert!(lines[1].starts_with("a-name-t…is-table  established") && lines[1].ends_with("1.46 KiB"), "{text}");
        assert_eq!(lines[3], "    nobody answers at the address of the");
    }
}
