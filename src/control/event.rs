//! What happened, as a stream of server-sent events.

use serde::{Deserialize, Serialize};

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum EventKind {
    /// gatewayd runs; the first event of every stream, so that a listener knows where it begins.
    Started,
    ConnectionUp,
    ConnectionDown,
    ChildUp,
    ChildDown,
    /// A VPN route was added, removed, or changed its state.
    RoutesChanged,
    /// The configuration file or an owner's set was applied.
    Reloaded,
}

impl EventKind {
    pub fn name(self) -> &'static str {
        match self {
            Self::Started => "started",
            Self::ConnectionUp => "connection-up",
            Self::ConnectionDown => "connection-down",
            Self::ChildUp => "child-up",
            Self::ChildDown => "child-down",
            Self::RoutesChanged => "routes-changed",
            Self::Reloaded => "reloaded",
        }
    }
}

/// One event of `GET /v1/events`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Event {
    /// Counts from 1 since gatewayd started. A gap means that the listener was too slow and should read `/v1/status`.
    pub sequence: u64,
    pub kind: EventKind,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub connection: Option<String>,
    /// The number of the connection's association with this peer, and the peer's identity: of a child.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub association: Option<u64>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub peer_id: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub child: Option<String>,
    /// Why, where there is a reason: the error of a connection that went down.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reason: Option<String>,
}

impl Event {
    /// One that is about nothing in particular.
    pub fn new(sequence: u64, kind: EventKind) -> Self {
        Self { sequence, kind, connection: None, association: None, peer_id: None, child: None, reason: None }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_event_is_written_without_what_it_lacks() {
        let event = Event::new(4, EventKind::RoutesChanged);
        assert_eq!(serde_json::to_string(&event).unwrap(), r#"{"sequence":4,"kind":"routes-changed"}"#);
    }

    #[test]
    fn a_name_is_what_json_says() {
        for kind in [EventKind::Started, EventKind::ConnectionUp, EventKind::ChildDown, EventKind::Reloaded] {
            assert_eq!(serde_json::to_value(kind).unwrap(), kind.name());
        }
    }
}
