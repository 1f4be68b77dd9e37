//! What an operator asks of one connection.

use serde::{Deserialize, Serialize};

/// The last part of `POST /v1/connections/{name}/{action}`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
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
    pub const ALL: [Self; 3] = [Self::Up, Self::Down, Self::Rekey];

    pub fn name(self) -> &'static str {
        match self {
            Self::Up => "up",
            Self::Down => "down",
            Self::Rekey => "rekey",
        }
    }

    pub fn by_name(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|action| action.name() == name)
    }
}

/// gatewayd took the action on; IKE carries it out, and events and status tell how that went.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Accepted {
    pub connection: String,
    pub action: Action,
}
