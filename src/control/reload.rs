//! The answer to `POST /v1/reload`.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// What a reload changed. Connections in none of the lists went on undisturbed.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Reloaded {
    /// Names of connections that the file has and had not.
    pub added: Vec<String>,
    /// Names of connections with another configuration than before. Their SAs are negotiated anew if what is negotiated has
    /// changed; what concerns packets alone, such as limits and DF, counts for Child SAs that are made from then on.
    pub changed: Vec<String>,
    /// Names of connections that the file has no more; their SAs are deleted at the peers.
    pub removed: Vec<String>,
    /// What an operator should know of the file, such as a key that takes effect at the next start only.
    #[serde(default)]
    pub warnings: Vec<String>,
}
