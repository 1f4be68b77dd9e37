//! Numbers what happens, remembers the last of it and hands it to everyone who listens.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex, PoisonError};

use jiff::Timestamp;
use tokio::sync::broadcast;

use super::wiring::ChildOf;
use crate::control::event::{Event, EventKind};
use crate::ike::Foreign;
use crate::io::clock;

/// Events that are remembered, and that a slow listener may fall behind; one that falls further behind sees a gap in the numbers.
const KEPT: usize = 1024;

/// The events since the start. Cheap to clone: every clone is the same log.
#[derive(Clone, Debug)]
pub struct EventLog {
    past: Arc<Mutex<Past>>,
    listeners: broadcast::Sender<Arc<Event>>,
}

/// What has happened.
#[derive(Debug, Default)]
struct Past {
    /// The number of the newest event.
    sequence: u64,
    /// The newest events, the oldest first.
    events: VecDeque<Arc<Event>>,
}

impl Default for EventLog {
    fn default() -> Self {
        Self { past: Arc::default(), listeners: broadcast::Sender::new(KEPT) }
    }
}

impl EventLog {
    /// Tells every listener.
    pub fn happened(&self, kind: EventKind, connection: Option<&str>, child: Option<&str>, reason: Option<String>) {
        let (connection, child) = (connection.map(str::to_owned), child.map(str::to_owned));
        self.tell(Event { connection, child, reason, ..Event::new(0, clock::time_of_day(), kind) });
    }

    /// Tells every listener of a child with one peer.
    pub fn happened_to(&self, kind: EventKind, of: ChildOf, reason: Option<String>) {
        let ChildOf { connection, association, peer_id, child } = of;
        self.tell(Event {
            connection: Some(connection.to_string()),
            association: Some(association.0),
            // A peer may call itself by many kilobytes, and often.
            peer_id: Some(Foreign(peer_id).to_string()),
            child: Some(child.to_string()),
            reason,
            ..Event::new(0, clock::time_of_day(), kind)
        });
    }

    /// Under one lock, so that everyone hears the numbers in their order.
    fn tell(&self, mut event: Event) {
        let mut past = self.past.lock().unwrap_or_else(PoisonError::into_inner);
        past.sequence += 1;
        event.sequence = past.sequence;
        if past.events.len() == KEPT {
            past.events.pop_front();
        }
        let event = Arc::new(event);
        past.events.push_back(Arc::clone(&event));
        // Nobody listening is no error.
        let _ = self.listeners.send(event);
    }

    /// The number of the newest event.
    pub fn newest(&self) -> u64 {
        self.past.lock().unwrap_or_else(PoisonError::into_inner).sequence
    }

    /// What happens from now on; and before that what is remembered from a time on, if one is given, and the event that tells
    /// where the new ones begin, with the number that the listener starts from.
    pub fn listen(&self, since: Option<Timestamp>) -> (VecDeque<Arc<Event>>, broadcast::Receiver<Arc<Event>>) {
        let past = self.past.lock().unwrap_or_else(PoisonError::into_inner);
        let listener = self.listeners.subscribe();
        let is_meant = |event: &&Arc<Event>| since.is_some_and(|since| event.time >= since);
        let mut first: VecDeque<_> = past.events.iter().filter(is_meant).cloned().collect();
        first.push_back(Arc::new(Event::new(past.sequence, clock::time_of_day(), EventKind::Started)));
        (first, listener)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_listener_hears_what_comes_after_its_first_event() {
        let log = EventLog::default();
        log.happened(EventKind::Reloaded, None, None, None);
        let (first, mut listener) = log.listen(None);
        log.happened(EventKind::ConnectionUp, Some("idc"), None, None);
        let next = listener.try_recv().unwrap();
        assert_eq!((first.len(), first[0].kind, first[0].sequence), (1, EventKind::Started, 1));
        assert_eq!((next.sequence, next.connection.as_deref()), (2, Some("idc")));
        assert_eq!(log.newest(), 2);
    }

    #[test]
    fn of_a_peer_that_calls_itself_by_a_long_name_the_beginning_is_remembered() {
        let log = EventLog::default();
        let peer_id = |length: usize| "x".repeat(length).into();
        for length in [256, 32_000] {
            let (connection, association) = ("idc".into(), crate::ike::AssociationId(1));
            let of = ChildOf { connection, association, peer_id: peer_id(length), child: "net".into() };
            log.happened_to(EventKind::ChildUp, of, None);
        }
        let (past, _) = log.listen(Some(Timestamp::UNIX_EPOCH));
        let told: Vec<_> = past.iter().filter_map(|event| event.peer_id.as_deref()).collect();
        assert_eq!(told, ["x".repeat(256), format!("{}...", "x".repeat(256))]);
    }

    #[test]
    fn what_has_happened_is_remembered_with_its_time_up_to_a_bound() {
        let log = EventLog::default();
        let began = clock::time_of_day();
        for _ in 0..KEPT + 3 {
            log.happened(EventKind::RoutesChanged, None, None, None);
        }
        let (past, _) = log.listen(Some(began));
        let sequences: Vec<u64> = past.iter().map(|event| event.sequence).collect();
        assert_eq!(sequences[..KEPT], (4..=KEPT as u64 + 3).collect::<Vec<_>>());
        assert_eq!(past.back().map(|event| event.kind), Some(EventKind::Started));
        assert!(past.iter().all(|event| event.time >= began));
        let later = clock::time_of_day().checked_add(jiff::SignedDuration::from_secs(1)).unwrap();
        assert_eq!(log.listen(Some(later)).0.len(), 1, "nothing since then");
    }
}
