//! Pre-shared keys from files of their own, whose permissions are checked.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use toml::de::DeValue;

use super::section::{Section, Source};
use super::value::text;
use crate::crypto::Secret;
use crate::crypto::psk::{self, Notation, PskError};
use crate::io::private_file::{self, PrivateFileError};

/// The largest file with a key that is read, in bytes.
const KEY_FILE_LIMIT: u64 = 64 << 10;

/// The largest file with keys of many connections that is read, in bytes.
const KEYS_FILE_LIMIT: u64 = 16 << 20;

/// Why a file yields no key.
#[derive(Debug, thiserror::Error)]
pub enum KeyFileError {
    /// It cannot be read, or others may read it.
    #[error(transparent)]
    File(#[from] PrivateFileError),
    /// It is no key.
    #[error("{path} {problem}")]
    Key {
        /// The file.
        path: String,
        /// What is wrong; the text itself is never shown.
        problem: PskError,
    },
}

/// The whole of a file is one key.
///
/// # Errors
/// The file cannot be read, others may read it, or it holds no key.
pub fn key_file(path: &Path) -> Result<Secret, KeyFileError> {
    let text = private_file::read(path, KEY_FILE_LIMIT)?;
    psk::read(&text, Notation::Prefixed)
        .map_err(|problem| KeyFileError::Key { path: path.display().to_string(), problem })
}

/// A key in a configuration file. No message shows the value.
pub fn key(value: &DeValue<'_>) -> Result<Secret, String> {
    let text = value.as_str().filter(|text| !text.is_empty()).ok_or("is no text in quotes, or empty")?;
    psk::read(text, Notation::Prefixed).map_err(|problem| problem.to_string())
}

/// A name in a configuration file: relative to the folder of that file.
pub fn beside(config: &Path, name: &str) -> PathBuf {
    config.parent().unwrap_or(Path::new(".")).join(name)
}

/// The keys of the file that `secrets` names: a `[psk]` table of connection names.
#[derive(Default)]
pub struct Secrets(BTreeMap<String, Arc<Secret>>);

impl Secrets {
    /// Reads the file that the key `secrets` names, if it is there.
    pub fn read(section: &mut Section<'_>) -> Self {
        let Some(name) = section.optional("secrets", text) else { return Self::default() };
        match Self::load(&beside(section.source.path(), &name)) {
            Ok(secrets) => secrets,
            Err(message) => {
                section.problem("secrets", message);
                Self::default()
            }
        }
    }

    fn load(path: &Path) -> Result<Self, String> {
        let text = private_file::read(path, KEYS_FILE_LIMIT).map_err(|error| error.to_string())?;
        let source = Source::new(path, &text);
        let root = source.parse().map_err(|error| error.to_string())?;
        let mut section = Section::new(&source, &root);
        let mut keys = BTreeMap::new();
        for (connection, key) in section.entries("psk") {
            match self::key(key.get_ref()) {
                Ok(key) => {
                    keys.insert(connection.to_owned(), Arc::new(key));
                }
                Err(problem) => source.problem(key.span().start, format!("psk.{connection}"), problem),
            }
        }
        section.finish();
        source.finish().map_err(|error| error.to_string())?;
        Ok(Self(keys))
    }

    /// The key of a connection, if the file has one.
    pub fn key(&self, connection: &str) -> Option<Arc<Secret>> {
        self.0.get(connection).map(Arc::clone)
    }
}
