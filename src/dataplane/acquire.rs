//! Packets that ask for a Child SA: a rare fact, raised through a bounded ring and deduplicated.

use super::fib::ConnectionId;
use crate::wire::ip::Flow;
use std::time::{Duration, Instant};

/// A packet met a VPN route, but no SA to carry it. The packet itself is dropped.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Acquire {
    /// The connection that the route prefers.
    pub connection: ConnectionId,
    /// What the packet was, as a hint for the traffic selectors.
    pub flow: Flow,
}

/// Facts that fit the ring; more are forgotten, for the next packet raises them again.
pub const ACQUIRE_RING: usize = 64;
/// Distinct (connection, source, destination) that are remembered as raised.
const REMEMBERED: usize = 64;
/// The same packets ask again only after this time.
const QUIET: Duration = Duration::from_secs(1);

/// The loop's end of the ring.
#[derive(Debug)]
pub struct Acquires {
    ring: rtrb::Producer<Acquire>,
    recent: [Option<(Acquire, Instant)>; REMEMBERED],
    next: usize,
}

impl Acquires {
    /// A ring and the reader's end of it.
    pub fn new() -> (Self, rtrb::Consumer<Acquire>) {
        let (ring, reader) = rtrb::RingBuffer::new(ACQUIRE_RING);
        (Self { ring, recent: [None; REMEMBERED], next: 0 }, reader)
    }

    /// Raises a fact unless the like was raised within the last second. Says whether it went into the ring.
    pub fn raise(&mut self, acquire: Acquire, now: Instant) -> bool {
        let alike = |old: &Acquire| {
            old.connection == acquire.connection
                && (old.flow.source, old.flow.destination) == (acquire.flow.source, acquire.flow.destination)
        };
        let quiet = |at: Instant| now.saturating_duration_since(at) < QUIET;
        if self.recent.iter().flatten().any(|(old, at)| alike(old) && quiet(*at)) {
            return false;
        }
        if self.ring.push(acquire).is_err() {
            return false;
        }
        self.recent[self.next] = Some((acquire, now));
        self.next = (self.next + 1) % REMEMBERED;
        true
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::wire::ip::Ports;

    fn acquire(connection: u32, last: u8) -> Acquire {
        let flow = Flow {
            source: [192, 168, 0, 1].into(),
            destination: [10, 0, 0, last].into(),
            protocol: 17,
            ports: Ports::Known { source: u16::from(last), destination: 53 },
        };
        Acquire { connection: ConnectionId(connection), flow }
    }

    #[test]
    fn the_same_question_is_asked_once_a_second() {
        let (mut acquires, mut reader) = Acquires::new();
        let start = Instant::now();
        assert!(acquires.raise(acquire(1, 1), start));
        assert!(!acquires.raise(acquire(1, 1), start + Duration::from_millis(999)));
        assert!(acquires.raise(acquire(1, 2), start), "another destination");
        assert!(acquires.raise(acquire(2, 1), start), "another connection");
        assert!(acquires.raise(acquire(1, 1), start + Duration::from_secs(1)));
        assert_eq!(std::iter::from_fn(|| reader.pop().ok()).count(), 4);
    }

    #[test]
    fn a_full_ring_forgets_and_a_later_packet_asks_again() {
        let (mut acquires, mut reader) = Acquires::new();
        let now = Instant::now();
        for n in 0..ACQUIRE_RING as u32 {
            assert!(acquires.raise(acquire(n, 1), now));
        }
        assert!(!acquires.raise(acquire(999, 1), now));
        assert!(reader.pop().is_ok());
        assert!(acquires.raise(acquire(999, 1), now), "what did not fit was not remembered as asked");
    }
}
