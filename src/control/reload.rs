//! The answer to `POST /v1/reload`.

use serde::{Deserialize, Serialize};

/// What a reload changed. Connections in none of the lists went on undisturbed.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Reloaded {
    pub added: Vec<String>,
    pub changed: Vec<String>,
    pub removed: Vec<String>,
    #[serde(default)]
    pub warnings: Vec<String>,
}
