//! Reading one table of a TOML file key by key, so that every complaint names its file, line, key and what is allowed.

use std::cell::{OnceCell, RefCell};
use std::fmt;
use std::path::{Path, PathBuf};

use toml::Spanned;
use toml::de::{DeTable, DeValue};

use super::{hint, syntax};

/// One complaint about a configuration file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Problem {
    /// Counts from 1; 0 when the complaint is about the whole file.
    pub line: usize,
    /// The key as the file nests it (`connection.idc.mtu`), or empty when the file is no TOML at all.
    pub key: String,
    /// What is wrong and what is allowed, for a person. Never shows a key.
    pub message: String,
    /// What can be shown of the line with a mark below the place, if the file is no TOML; empty otherwise. For who looks at the
    /// file anyway, and never for a log. Where the line may hold a secret, all from its `=` on is left out.
    pub shown: String,
}

/// Everything that is wrong with a configuration file, in the order of its lines.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ConfigError {
    /// The configuration file.
    pub file: PathBuf,
    /// What is wrong with it, in the file's order; at least one.
    pub problems: Vec<Problem>,
}

impl ConfigError {
    /// A complaint about the file as a whole.
    pub fn about_file(path: &Path, message: String) -> Self {
        Self {
            file: path.to_owned(),
            problems: vec![Problem { line: 0, key: String::new(), message, shown: String::new() }],
        }
    }
}

impl fmt::Display for ConfigError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (number, problem) in self.problems.iter().enumerate() {
            if number > 0 {
                f.write_str("\n")?;
            }
            if problem.line == 0 {
                write!(f, "{}: {}", self.file.display(), problem.message)?;
            } else if problem.key.is_empty() {
                write!(f, "{}:{}: {}", self.file.display(), problem.line, problem.message)?;
            } else {
                write!(f, "{}:{}: {}: {}", self.file.display(), problem.line, problem.key, problem.message)?;
            }
        }
        Ok(())
    }
}

impl std::error::Error for ConfigError {}

/// How a complaint about a key begins that is not there.
const MISSING: &str = "is missing";

/// A file being read: its text for line numbers, and what was found wrong so far.
pub struct Source<'s> {
    path: PathBuf,
    text: &'s str,
    problems: RefCell<Vec<Problem>>,
    warnings: RefCell<Vec<String>>,
    /// Where its lines end, for thousands of complaints.
    line_ends: OnceCell<Vec<usize>>,
}

impl<'s> Source<'s> {
    /// The text of a file that has been read; `path` is for messages.
    pub fn new(path: &Path, text: &'s str) -> Self {
        let (problems, warnings, line_ends) = Default::default();
        Self { path: path.to_owned(), text, problems, warnings, line_ends }
    }

    /// Parses the text; a syntax error is the file's only problem.
    pub fn parse(&self) -> Result<Spanned<DeTable<'s>>, ConfigError> {
        DeTable::parse(self.text).map_err(|error| {
            let at = error.span().map_or(0, |span| span.start);
            ConfigError {
                file: self.path.clone(),
                problems: vec![Problem {
                    line: self.line(at),
                    key: String::new(),
                    message: error.message().to_owned(),
                    shown: syntax::place(self.text, at, self.line(at)),
                }],
            }
        })
    }

    /// The file's path, as given.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Notes a problem. `at` in bytes from the text's beginning; `key` with those of the tables around it.
    pub fn problem(&self, at: usize, key: String, message: String) {
        self.problems.borrow_mut().push(Problem { line: self.line(at), key, message, shown: String::new() });
    }

    /// Whether something was found wrong with a key at the top of the file.
    pub fn is_wrong(&self, key: &str) -> bool {
        self.problems.borrow().iter().any(|problem| problem.key == key)
    }

    /// Whether something about a key was found wrong since the table was begun that starts at this place.
    fn is_wrong_since(&self, at: usize, key: &str) -> bool {
        let line = self.line(at);
        let problems = self.problems.borrow();
        problems.iter().rev().take_while(|problem| problem.line >= line).any(|problem| problem.key == key)
    }

    /// Takes the complaint back that a key is missing in the table that starts at this place, if there was one.
    fn forgive_missing(&self, at: usize, key: &str) {
        let line = self.line(at);
        let is_missing =
            |problem: &Problem| problem.line == line && problem.key == key && problem.message.starts_with(MISSING);
        self.problems.borrow_mut().retain(|problem| !is_missing(problem));
    }

    /// Notes a warning, likewise.
    pub fn warn(&self, at: usize, key: &str, message: &str) {
        self.warnings.borrow_mut().push(format!("{}:{}: {key}: {message}", self.path.display(), self.line(at)));
    }

    /// The warnings if nothing is wrong, all problems otherwise.
    pub fn finish(self) -> Result<Vec<String>, ConfigError> {
        let mut problems = self.problems.into_inner();
        if problems.is_empty() {
            return Ok(self.warnings.into_inner());
        }
        problems.sort_by_key(|problem| problem.line);
        Err(ConfigError { file: self.path, problems })
    }

    fn line(&self, at: usize) -> usize {
        let ends = self.line_ends.get_or_init(|| self.text.match_indices('\n').map(|(end, _)| end).collect());
        1 + ends.partition_point(|end| *end < at)
    }
}

/// One table, whose keys are taken one by one; [`Section::finish`] refuses those that nobody asked for.
pub struct Section<'t> {
    /// The file that the table stands in.
    pub source: &'t Source<'t>,
    table: &'t DeTable<'t>,
    /// Where the table begins, for complaints about keys that are missing.
    at: usize,
    /// `connection.idc.`, or empty for the file itself.
    prefix: String,
    asked: Vec<&'static str>,
}

/// A value with its place.
pub type Value<'t> = Spanned<DeValue<'t>>;

impl<'t> Section<'t> {
    /// The file itself as a table.
    pub fn new(source: &'t Source<'t>, table: &'t Spanned<DeTable<'t>>) -> Self {
        let at = table.span().start;
        Self { source, table: table.get_ref(), at, prefix: String::new(), asked: Vec::new() }
    }

    /// Names the section in complaints, once its own name is known.
    pub fn named(mut self, prefix: String) -> Self {
        self.prefix = prefix;
        self
    }

    fn value(&mut self, key: &'static str) -> Option<&'t Value<'t>> {
        self.asked.push(key);
        let table: &'t DeTable<'t> = self.table;
        table.iter().find(|(name, _)| name.get_ref().as_ref() == key).map(|(_, value)| value)
    }

    /// Whether the key is there, as an offset into the file for later complaints.
    pub fn place(&self, key: &str) -> Option<usize> {
        self.table.iter().find(|(name, _)| name.get_ref().as_ref() == key).map(|(name, _)| name.span().start)
    }

    /// A key of the table with those of the tables around it, such as `connection.idc.peer`.
    pub fn path(&self, key: &str) -> String {
        format!("{}{key}", self.prefix)
    }

    /// Complains about `key`, at its place if it is there and at the section's head if not.
    pub fn problem(&self, key: &str, message: impl Into<String>) {
        self.source.problem(self.place(key).unwrap_or(self.at), self.path(key), message.into());
    }

    /// Whether something about a key of the table was found wrong already: one mistake is one complaint.
    pub fn is_wrong(&self, key: &str) -> bool {
        self.source.is_wrong_since(self.at, &self.path(key))
    }

    /// Notes a warning about a key of the table.
    pub fn warn(&self, key: &str, message: &str) {
        self.source.warn(self.place(key).unwrap_or(self.at), &self.path(key), message);
    }

    /// The value of an optional key. A wrong value is noted and yields nothing.
    pub fn optional<T>(
        &mut self,
        key: &'static str,
        read: impl FnOnce(&DeValue<'t>) -> Result<T, String>,
    ) -> Option<T> {
        let value = self.value(key)?;
        match read(value.get_ref()) {
            Ok(read) => Some(read),
            Err(message) => {
                self.source.problem(value.span().start, self.path(key), message);
                None
            }
        }
    }

    /// The value of a key that must be there.
    pub fn required<T>(
        &mut self,
        key: &'static str,
        read: impl FnOnce(&DeValue<'t>) -> Result<T, String>,
    ) -> Option<T> {
        if self.place(key).is_none() {
            self.asked.push(key);
            self.problem(key, MISSING);
            return None;
        }
        self.optional(key, read)
    }

    /// A list whose items are read one by one, each complaint at its own line. A single value is a list of one.
    pub fn list<T>(
        &mut self,
        key: &'static str,
        mut read: impl FnMut(&DeValue<'t>) -> Result<T, String>,
    ) -> Option<Vec<T>> {
        let value = self.value(key)?;
        let items: Vec<&Value<'t>> = match value.get_ref() {
            DeValue::Array(array) => array.iter().collect(),
            _ => vec![value],
        };
        let mut list = Vec::with_capacity(items.len());
        for item in items {
            match read(item.get_ref()) {
                Ok(read) => list.push(read),
                Err(message) => self.source.problem(item.span().start, self.path(key), message),
            }
        }
        Some(list)
    }

    /// The tables of an array of tables (`[[key]]`).
    pub fn tables(&mut self, key: &'static str) -> Vec<Section<'t>> {
        let Some(value) = self.value(key) else { return Vec::new() };
        let DeValue::Array(array) = value.get_ref() else {
            self.problem(key, format!("is a {}; write it as [[{}]]", value.get_ref().type_str(), self.path(key)));
            return Vec::new();
        };
        let mut sections = Vec::with_capacity(array.len());
        for item in array.iter() {
            match item.get_ref() {
                DeValue::Table(table) => sections.push(Section {
                    source: self.source,
                    table,
                    at: item.span().start,
                    prefix: format!("{}.", self.path(key)),
                    asked: Vec::new(),
                }),
                other => self.source.problem(
                    item.span().start,
                    self.path(key),
                    format!("holds a {}; write it as [[{}]]", other.type_str(), self.path(key)),
                ),
            }
        }
        sections
    }

    /// Every key and value of a table whose keys are names.
    pub fn entries(&mut self, key: &'static str) -> Vec<(&'t str, &'t Value<'t>)> {
        let Some(value) = self.value(key) else { return Vec::new() };
        match value.get_ref() {
            DeValue::Table(table) => table.iter().map(|(name, value)| (name.get_ref().as_ref(), value)).collect(),
            other => {
                self.problem(key, format!("is a {}; write it as [{}]", other.type_str(), self.path(key)));
                Vec::new()
            }
        }
    }

    /// Refuses the keys that were not asked for.
    pub fn finish(self) {
        for (name, _) in self.table.iter() {
            let key = name.get_ref().as_ref();
            if !self.asked.contains(&key) {
                let mut allowed = self.asked.clone();
                allowed.sort_unstable();
                let absent: Vec<&str> = allowed.iter().copied().filter(|key| self.place(key).is_none()).collect();
                let meant = hint::key(key, &absent);
                // One mistake, one complaint: what was meant is not missing.
                meant.into_iter().for_each(|meant| self.source.forgive_missing(self.at, &self.path(meant)));
                let hint = hint::did_you_mean(meant);
                let message = format!("unknown key{hint}; allowed: {}", allowed.join(", "));
                self.source.problem(name.span().start, self.path(key), message);
            }
        }
    }
}
