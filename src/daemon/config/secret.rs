//! Pre-shared keys from files of their own, whose permissions are checked.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use super::section::{Section, Source};
use super::value;
use crate::crypto::Secret;
use crate::io::private_file;

/// The largest file with a key that is read, in bytes.
const KEY_FILE_LIMIT: u64 = 64 << 10;

/// The largest file with keys of many connections that is read, in bytes.
const KEYS_FILE_LIMIT: u64 = 16 << 20;

/// The whole of a file is one key, without the newline at its end.
pub fn key_file(path: &Path) -> Result<Secret, String> {
    let text = private_file::read(path, KEY_FILE_LIMIT).map_err(|error| error.to_string())?;
    let key = text.strip_suffix('\n').unwrap_or(&text);
    let key = key.strip_suffix('\r').unwrap_or(key);
    if key.is_empty() {
        return Err(format!("{} holds no key", path.display()));
    }
    Ok(Secret::new(key.as_bytes().to_vec()))
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
        let Some(name) = section.optional("secrets", value::text) else { return Self::default() };
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
            match value::text(key.get_ref()) {
                Ok(key) => {
                    keys.insert(connection.to_owned(), Arc::new(Secret::new(key.into_bytes())));
                }
                // The message of `text` would show the value.
                Err(_) => source.problem(key.span().start, format!("psk.{connection}"), "is no text in quotes".into()),
            }
        }
        section.finish();
        source.finish().map_err(|error| error.to_string())?;
        Ok(Self(keys))
    }

    pub fn key(&self, connection: &str) -> Option<Arc<Secret>> {
        self.0.get(connection).map(Arc::clone)
    }
}
