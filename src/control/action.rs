//! What an operator asks of one connection.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// The last part of `POST /v1/connections/{name}/{action}`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum Action {
    /// Negotiates now, whatever the connection's `start` says.
    Up,
    /// Deletes the connection's SAs at the peer and stays down until `up`, the peer, or a reload.
    Down,
    /// Replaces the IKE SA and every Child SA without interrupting traffic.
    Rekey,
}

impl Action {
    /// Every action.
    pub const ALL: [Self; 3] = [Self::Up, Self::Down, Self::Rekey];

    /// The word in the request's path, in JSON and on `gatewayctl`'s command line.
    pub fn name(self) -> &'static str {
        match self {
            Self::Up => "up",
            Self::Down => "down",
            Self::Rekey => "rekey",
        }
    }

    /// The action that a word means; `None` for any other word.
    pub fn by_name(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|action| action.name() == name)
    }
}

/// Which SAs of a connection are rekeyed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Rekeyed {
    /// The IKE SA and every Child SA: `POST /v1/connections/{name}/rekey`.
    All,
    /// The IKE SA alone (RFC 7296 section 1.3.2): with `?sa=ike`.
    Ike,
    /// The Child SAs of one child alone (RFC 7296 section 1.3.3), by its name: with `?child={name}`.
    Child(String),
}

/// gatewayd took the action on; IKE carries it out, and events and status tell how that went.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Accepted {
    /// The name of the connection.
    pub connection: String,
    /// What was asked.
    pub action: Action,
    /// The number of the last event before it was asked; 0 if gatewayd is of a version that does not tell.
    #[serde(default)]
    pub event: u64,
}
