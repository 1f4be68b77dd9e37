//! Where IKE datagrams of senders that nobody has authenticated wait for the endpoint, whichever port they came on.
//!
//! ```text
//!  known IKE SA ──────────────────────────────────────► endpoint, at once
//!  a configured peer that has shown to receive at its address ─► a queue ─┐
//!  a configured peer's address                                ─► a queue ─┼ by turns ► endpoint, a few milliseconds
//!  anybody who has shown to receive at its address            ─► a queue ─┤            at a time
//!  everybody else                                             ─► a queue ─┘
//! ```
//!
//! Inside a queue sources take turns, so forged addresses do not hold up who has shown to receive at its own, nor a
//! configured peer whose address nobody forges.

use std::time::Instant;

use super::source_queue::{Arrival, SourceQueue};
use crate::dataplane::ike_queue::MAX_INITIAL;
use crate::ike::{LONGEST_INIT, Path, Standing, UNAUTHENTICATED_LIMIT};
use crate::wire::ike::ExchangeType;

/// What the data path lets through to IKE is what IKE reads.
const _: () = assert!(MAX_INITIAL == LONGEST_INIT);

/// Bytes of each queue: some thousand requests.
const QUEUE: usize = 1 << 20;
/// Where the exchange type stands in an IKE header (RFC 7296 section 3.1).
const EXCHANGE_TYPE: usize = 18;

/// What waits, and what was not let in.
pub struct Arrivals {
    /// By standing, the best first.
    queues: [SourceQueue; 4],
    /// The queue whose turn it is.
    turn: usize,
    overflowed: u64,
    too_large: u64,
}

impl Default for Arrivals {
    fn default() -> Self {
        Self { queues: std::array::from_fn(|_| SourceQueue::new(QUEUE)), turn: 0, overflowed: 0, too_large: 0 }
    }
}

impl Arrivals {
    /// Lets a datagram wait. What is too large, or has no room, is counted and dropped. True if there is nothing to wait for:
    /// the sender is known, and to be answered at once.
    #[must_use]
    pub fn admit(&mut self, datagram: &[u8], path: Path, standing: Standing, now: Instant) -> bool {
        let place = match standing {
            Standing::Known => return true,
            Standing::Expected => 0,
            Standing::Configured => 1,
            Standing::Returned => 2,
            Standing::Stranger => 3,
        };
        if is_too_large(datagram) {
            self.too_large += 1;
        } else {
            self.overflowed += self.queues[place].push(datagram, path, now);
        }
        false
    }

    /// The next datagram that has not waited for too long.
    pub fn pop(&mut self, now: Instant) -> Option<Arrival> {
        for _ in 0..self.queues.len() {
            let place = self.turn;
            self.turn = (place + 1) % self.queues.len();
            if let Some(arrival) = self.queues[place].pop(&mut self.overflowed, now) {
                return Some(arrival);
            }
        }
        None
    }

    /// Whether nothing waits.
    pub fn is_empty(&self) -> bool {
        self.queues.iter().all(SourceQueue::is_empty)
    }

    /// Datagrams that had to make room for others or waited for too long, since the start.
    pub fn overflowed(&self) -> u64 {
        self.overflowed
    }

    /// Datagrams that were too large for who sent them, since the start.
    pub fn too_large(&self) -> u64 {
        self.too_large
    }
}

/// Whether a datagram is larger than who is not authenticated may send.
fn is_too_large(datagram: &[u8]) -> bool {
    let initial = datagram.get(EXCHANGE_TYPE) == Some(&ExchangeType::IKE_SA_INIT.0);
    datagram.len() > if initial { LONGEST_INIT } else { UNAUTHENTICATED_LIMIT }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn path(host: u8) -> Path {
        let peer = std::net::SocketAddr::from(([198, 51, 100, host], 500));
        Path { local: "192.0.2.1:500".parse().unwrap(), peer, non_esp_marker: false }
    }

    fn message(exchange: ExchangeType, length: usize) -> Vec<u8> {
        let mut message = vec![0; length];
        message[EXCHANGE_TYPE] = exchange.0;
        message
    }

    #[test]
    fn a_flood_of_strangers_leaves_the_turns_of_others() {
        let (mut arrivals, now) = (Arrivals::default(), Instant::now());
        let init = message(ExchangeType::IKE_SA_INIT, 300);
        for number in 0..20_000_u32 {
            let peer = (std::net::Ipv4Addr::from_bits(number), 500).into();
            assert!(!arrivals.admit(&init, Path { peer, ..path(1) }, Standing::Stranger, now));
        }
        assert!(!arrivals.admit(&init, path(7), Standing::Configured, now));
        assert!(!arrivals.admit(&init, path(8), Standing::Returned, now));
        assert!(!arrivals.admit(&init, path(9), Standing::Expected, now));
        let first: Vec<_> = std::iter::from_fn(|| arrivals.pop(now)).take(4).map(|(_, path)| path.peer).collect();
        assert!((7..=9).all(|host| first.contains(&path(host).peer)), "{first:?}");
        assert!(arrivals.overflowed() > 10_000);
    }

    #[test]
    fn an_established_peer_does_not_wait_however_large_its_message() {
        let (mut arrivals, now) = (Arrivals::default(), Instant::now());
        assert!(arrivals.admit(&message(ExchangeType::CREATE_CHILD_SA, 60_000), path(1), Standing::Known, now));
        assert!(arrivals.is_empty());
    }

    #[test]
    fn what_is_too_large_for_its_sender_is_counted_and_not_kept() {
        let (mut arrivals, now) = (Arrivals::default(), Instant::now());
        for (exchange, limit) in
            [(ExchangeType::IKE_SA_INIT, MAX_INITIAL), (ExchangeType::IKE_AUTH, UNAUTHENTICATED_LIMIT)]
        {
            for standing in [Standing::Expected, Standing::Configured, Standing::Returned, Standing::Stranger] {
                let before = arrivals.too_large();
                assert!(!arrivals.admit(&message(exchange, limit), path(1), standing, now));
                assert_eq!(arrivals.pop(now).map(|(bytes, _)| bytes.len()), Some(limit));
                assert!(!arrivals.admit(&message(exchange, limit + 1), path(1), standing, now));
                assert!(arrivals.is_empty());
                assert_eq!(arrivals.too_large(), before + 1);
            }
        }
    }
}
