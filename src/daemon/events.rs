//! Numbers what happens and hands it to everyone who listens.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use tokio::sync::broadcast;

use super::wiring::ChildOf;
use crate::control::event::{Event, EventKind};

/// Events that a slow listener may fall behind; one that falls further behind sees a gap in the numbers.
const KEPT: usize = 1024;

/// The events since the start. Cheap to clone: every clone is the same log.
#[derive(Clone, Debug)]
pub struct EventLog {
    sequence: Arc<AtomicU64>,
    listeners: broadcast::Sender<Event>,
}

impl Default for EventLog {
    fn default() -> Self {
        Self { sequence: Arc::default(), listeners: broadcast::Sender::new(KEPT) }
    }
}

impl EventLog {
    /// Tells every listener.
    pub fn happened(&self, kind: EventKind, connection: Option<&str>, child: Option<&str>, reason: Option<String>) {
        let sequence = self.sequence.fetch_add(1, Ordering::Relaxed) + 1;
        let (connection, child) = (connection.map(str::to_owned), child.map(str::to_owned));
        // Nobody listening is no error.
        let _ = self.listeners.send(Event { connection, child, reason, ..Event::new(sequence, kind) });
    }

    /// Tells every listener of a child with one peer.
    pub fn happened_to(&self, kind: EventKind, of: ChildOf, reason: Option<String>) {
        let sequence = self.sequence.fetch_add(1, Ordering::Relaxed) + 1;
        let ChildOf { connection, association, peer_id, child } = of;
        // Nobody listening is no error.
        let _ = self.listeners.send(Event {
            connection: Some(connection.to_string()),
            association: Some(association.0),
            peer_id: Some(peer_id.to_string()),
            child: Some(child.to_string()),
            reason,
            ..Event::new(sequence, kind)
        });
    }

    /// What happens from now on, and the event that a stream begins with: the number that the listener starts from.
    pub fn listen(&self) -> (Event, broadcast::Receiver<Event>) {
        let listener = self.listeners.subscribe();
        let sequence = self.sequence.load(Ordering::Relaxed);
        (Event::new(sequence, EventKind::Started), listener)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_listener_hears_what_comes_after_its_first_event() {
        let log = EventLog::default();
        log.happened(EventKind::Reloaded, None, None, None);
        let (first, mut listener) = log.listen();
        log.happened(EventKind::ConnectionUp, Some("idc"), None, None);
        let next = listener.try_recv().unwrap();
        assert_eq!((first.kind, first.sequence), (EventKind::Started, 1));
        assert_eq!((next.sequence, next.connection.as_deref()), (2, Some("idc")));
    }
}
