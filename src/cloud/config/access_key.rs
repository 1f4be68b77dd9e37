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
    /// As [`Self::parse`], with the number of the line.
    pub fn parse_list(text: &str) -> Result<Vec<Self>, String> {
        let lines = text.lines().zip(1..).filter(|(line, _)| !line.trim_start().starts_with('#'));
        let keys = lines.flat_map(|(line, number)| line.split(',').map(move |key| (key.trim(), number)));
        let keys = keys.filter(|(key, _)| !key.is_empty());
        keys.map(|(key, number)| Self::parse(key).map_err(|error| format!("line {number}: {error}"))).collect()
    }
}
