//! cend.toml, and the flags that replace it.
//!
//! Unknown keys and values that cannot be are refused with file, line, key and what is allowed.

mod check;
mod file;

use std::fmt;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};

use super::fabric_binding::Bindings;
use crate::cen::network::Declarations;
use crate::crypto::secret::Secret;
use crate::io::private_file;

/// The largest configuration file that is read, in bytes.
const FILE_LIMIT: u64 = 4 << 20;

/// Everything that cend runs with.
#[derive(Debug)]
pub struct Config {
    /// Where the API listens; port 0 takes a free one.
    pub listen: SocketAddr,
    /// Directory of the store.
    pub state: PathBuf,
    /// A filter for the log, for example `info`.
    pub log: String,
    /// Core files, which hold keys, are permitted.
    pub core_dumps: bool,
    /// Who may call, as id and secret.
    pub access_keys: Vec<AccessKey>,
    /// What exists beside what the API makes.
    pub declarations: Declarations,
    /// What is real; empty for a pure simulation.
    pub bindings: Bindings,
}

/// An access key of the API.
#[derive(Debug)]
pub struct AccessKey {
    pub id: String,
    pub secret: Secret,
}

impl AccessKey {
    /// Parses `ID:SECRET`.
    ///
    /// # Errors
    /// Without showing the text.
    pub fn parse(text: &str) -> Result<Self, &'static str> {
        match text.trim().split_once(':') {
            Some((id, secret)) if !id.is_empty() && !secret.is_empty() => {
                Ok(Self { id: id.to_owned(), secret: Secret::new(secret.as_bytes().to_vec()) })
            }
            _ => Err("an access key is ID:SECRET"),
        }
    }

    /// Parses one key per line (or separated by commas); empty lines and those that begin with # are skipped.
    ///
    /// # Errors
    /// As [`Self::parse`].
    pub fn parse_list(text: &str) -> Result<Vec<Self>, &'static str> {
        let lines = text.lines().filter(|line| !line.trim_start().starts_with('#'));
        let keys = lines.flat_map(|line| line.split(',')).map(str::trim).filter(|key| !key.is_empty());
        keys.map(Self::parse).collect()
    }
}

/// Why a configuration is refused.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ConfigError {
    pub file: PathBuf,
    /// From 1; `None` when it is about the file as a whole.
    pub line: Option<usize>,
    pub key: Option<String>,
    pub message: String,
}

impl fmt::Display for ConfigError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.file.display())?;
        if let Some(line) = self.line {
            write!(f, ":{line}")?;
        }
        if let Some(key) = &self.key {
            write!(f, ": {key}")?;
        }
        write!(f, ": {}", self.message)
    }
}

impl std::error::Error for ConfigError {}

impl Config {
    /// A simulation without a configuration file.
    pub fn simulation(listen: SocketAddr, state: PathBuf) -> Self {
        Self {
            listen,
            state,
            log: file::default_log(),
            core_dumps: false,
            access_keys: Vec::new(),
            declarations: Declarations::default(),
            bindings: Bindings::default(),
        }
    }

    /// Reads and checks a file.
    ///
    /// # Errors
    /// The first thing that is wrong.
    pub fn read(path: &Path) -> Result<Self, ConfigError> {
        let about_file = |message: String| ConfigError { file: path.to_owned(), line: None, key: None, message };
        let length = std::fs::metadata(path).map_err(|error| about_file(error.to_string()))?.len();
        if length > FILE_LIMIT {
            return Err(about_file(format!("{length} bytes; allowed: up to {FILE_LIMIT}")));
        }
        let text = std::fs::read_to_string(path).map_err(|error| about_file(error.to_string()))?;
        let text = zeroize::Zeroizing::new(text);
        let config = Self::parse(path, &text)?;
        if text.contains("[[access_key]]") && private_file::others_may_read(path) {
            let shown = path.display();
            let message = format!("others may read the access keys in it; allowed: mode 0600 (run chmod 600 {shown})");
            return Err(about_file(message));
        }
        Ok(config)
    }

    /// Checks a file's text; `path` is for messages, and what the file names is relative to it.
    ///
    /// # Errors
    /// The first thing that is wrong.
    pub fn parse(path: &Path, text: &str) -> Result<Self, ConfigError> {
        let source = file::Source { path, text };
        let parsed: file::File = toml::from_str(text).map_err(|error| source.syntax(&error))?;
        check::check(&source, parsed)
    }
}

#[cfg(test)]
mod tests;
