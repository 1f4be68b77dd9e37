//! Tables for a person: without borders, one line for each row, cut to the terminal's width, with notes below the rows.

use comfy_table::presets;
use comfy_table::{CellAlignment, ColumnConstraint, ContentArrangement, Row, Table};

/// Where a note begins, below its row.
const NOTE_INDENT: usize = 4;

/// Rows below headings. On a terminal each row is one line: the columns that may be cut are, where there is no room.
pub struct Rows {
    table: Table,
    /// What is to be said of each row.
    notes: Vec<String>,
}

impl Rows {
    /// A table with these headings, as wide as the terminal, if it goes to one.
    pub fn new(headings: &[&str]) -> Self {
        let mut table = Table::new();
        table.load_style(presets::NOTHING);
        table.set_content_arrangement(ContentArrangement::Dynamic);
        table.set_truncation_indicator("…");
        table.set_header(headings.iter().map(|heading| heading.to_uppercase()));
        // Two blanks between columns, and none at the ends.
        for (number, column) in table.column_iter_mut().enumerate() {
            column.set_padding((0, if number + 1 < headings.len() { 2 } else { 0 }));
        }
        Self { table, notes: Vec::new() }
    }

    /// For a terminal of so many columns.
    #[cfg(test)]
    pub fn of_width(mut self, columns: u16) -> Self {
        self.table.set_width(columns);
        self
    }

    /// Adds a row, and what is to be said of it: nothing, if the note is empty.
    pub fn add(&mut self, cells: impl IntoIterator<Item = String>, note: String) {
        let mut row = Row::from(cells);
        row.max_height(1);
        self.table.add_row(row);
        self.notes.push(note);
    }

    /// These columns hold numbers.
    pub fn align_right(mut self, columns: &[usize]) -> Self {
        for column in columns {
            if let Some(column) = self.table.column_mut(*column) {
                column.set_cell_alignment(CellAlignment::Right);
            }
        }
        self
    }

    /// Only these columns are cut where there is no room.
    pub fn cut(mut self, columns: &[usize]) -> Self {
        for (number, column) in self.table.column_iter_mut().enumerate() {
            if !columns.contains(&number) {
                column.set_constraint(ColumnConstraint::ContentWidth);
            }
        }
        self
    }

    /// The table, with each note below its row.
    pub fn text(&self) -> String {
        let width = self.table.width().map(usize::from);
        let mut lines = self.table.lines().map(|line| line.trim_end().to_owned());
        let mut text: Vec<String> = lines.by_ref().take(1).collect();
        for (line, note) in lines.zip(&self.notes) {
            text.push(line);
            if !note.is_empty() {
                text.push(wrapped(&format!("{}{note}", " ".repeat(NOTE_INDENT)), width, NOTE_INDENT));
            }
        }
        text.join("\n")
    }
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
        assert!(lines[1].contains('…') && lines[1].contains("established") && lines[1].ends_with("1.46 KiB"), "{text}");
        assert_eq!(lines[3], "    nobody answers at the address of the");
    }
}
