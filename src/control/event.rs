//! What happened, as a stream of server-sent events.

use jiff::Timestamp;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// What can happen. Written as [`EventKind::name`] in JSON.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum EventKind {
    /// Here begins what a listener hears as it happens: the first event of every stream, behind those of the past that were
    /// asked for.
    Started,
    /// A connection has an established IKE SA (RFC 7296 section 1.2) that it had not before.
    ConnectionUp,
    /// A connection has no IKE SA any more, or could not get one; `reason` says why, if it was not asked for.
    ConnectionDown,
    /// A child has a Child SA to send on that had none before.
    ChildUp,
    /// A child has no Child SA to send on any more; `reason` says why. A rekey is no such event.
    ChildDown,
    /// The peer of a connection does not answer: its Child SAs stay, and others are preferred (RFC 7296 section 2.4).
    PathSilent,
    /// It answers again.
    PathAnswers,
    /// A VPN route was added, removed, or changed its state.
    RoutesChanged,
    /// The configuration file or an owner's set was applied.
    Reloaded,
    /// Events up to this number were not told to this listener, which read too slowly; `reason` says how many. It should look
    /// at the status.
    Missed,
}

impl EventKind {
    /// The word that JSON has.
    pub fn name(self) -> &'static str {
        match self {
            Self::Started => "started",
            Self::ConnectionUp => "connection-up",
            Self::ConnectionDown => "connection-down",
            Self::ChildUp => "child-up",
            Self::ChildDown => "child-down",
            Self::PathSilent => "path-silent",
            Self::PathAnswers => "path-answers",
            Self::RoutesChanged => "routes-changed",
            Self::Reloaded => "reloaded",
            Self::Missed => "missed",
        }
    }
}

/// One event of `GET /v1/events`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Event {
    /// Counts from 1 since gatewayd started. A gap means that the listener was too slow and should read `/v1/status`.
    pub sequence: u64,
    /// When it happened, by gatewayd's clock, in UTC (RFC 3339); 1970 if gatewayd is of a version that told no time.
    #[serde(default)]
    #[schemars(with = "String")]
    pub time: Timestamp,
    /// What happened.
    pub kind: EventKind,
    /// The name of the connection that it happened to; absent where it concerns all of them.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub connection: Option<String>,
    /// The number of the connection's association with this peer: of a child.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub association: Option<u64>,
    /// The peer's authenticated identity: of a child.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub peer_id: Option<String>,
    /// The name of the child, as configured; absent where it concerns the whole connection.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub child: Option<String>,
    /// Why, where there is a reason: the error of a connection that went down.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reason: Option<String>,
}

impl Event {
    /// One that is about nothing in particular.
    pub fn new(sequence: u64, time: Timestamp, kind: EventKind) -> Self {
        Self { sequence, time, kind, connection: None, association: None, peer_id: None, child: None, reason: None }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_event_is_written_without_what_it_lacks() {
        let event = Event::new(4, Timestamp::UNIX_EPOCH, EventKind::RoutesChanged);
        let text = r#"{"sequence":4,"time":"1970-01-01T00:00:00Z","kind":"routes-changed"}"#;
        assert_eq!(serde_json::to_string(&event).unwrap(), text);
        let older: Event = serde_json::from_str(r#"{"sequence":4,"kind":"routes-changed"}"#).unwrap();
        assert_eq!(older, event);
    }

    #[test]
    fn a_name_is_what_json_says() {
        for kind in [EventKind::Started, EventKind::ConnectionUp, EventKind::ChildDown, EventKind::Reloaded] {
            assert_eq!(serde_json::to_value(kind).unwrap(), kind.name());
        }
    }
}
