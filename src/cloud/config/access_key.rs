//! Who may call the API.

use crate::crypto::secret::Secret;

/// An access key of the API.
#[derive(Debug)]
pub struct AccessKey {
    /// The id that a request names (`AccessKeyId`).
    pub id: String,
    /// The secret that requests are signed with; never shown.
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
