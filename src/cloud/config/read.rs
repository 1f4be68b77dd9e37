//! From a file to a configuration.

use std::path::Path;

use super::error::ConfigError;
use super::{Config, check, file};
use crate::io::private_file;

/// The largest configuration file that is read, in bytes.
const FILE_LIMIT: u64 = 4 << 20;

impl Config {
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
