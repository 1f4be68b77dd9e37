//! IKE_SA_INIT requests of strangers that have returned a cookie, and wait for their turn because all strangers together have
//! no time for key exchanges left: one of each source, so that who asks more often does not come sooner.
//!
//! ```text
//!  who has had none lately ─► the cheapest method first ─► by turns the newest and the oldest ┐
//!  everybody else ─► who had its last longest ago ─────────────────────────────────────────────┴─► when there is time
//! ```
//!
//! The newest and the oldest, because a crowd that has come before may hold up nobody who comes now, nor one that comes
//! afterwards who waits.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use super::budget::{Budget, LastTurn};
use super::error::Discard;
use super::event::Path;
use super::source::Source;

/// Bytes of requests, with what each takes besides its own: some thousand of them.
const MAX_BYTES: usize = 1 << 20;
const OVERHEAD: usize = 256;

/// Who has waited longer has sent its request again, or has gone.
const LONGEST: Duration = Duration::from_secs(5);

/// The requests. They stand in ordered maps, which give their memory back as they empty.
#[derive(Default)]
pub(super) struct Waiting {
    by_turn: BTreeMap<Turn, Request>,
    by_source: BTreeMap<Source, Turn>,
    bytes: usize,
    /// Of the next one.
    number: u64,
    /// Whether the next turn is the oldest newcomer's.
    oldest: bool,
}

/// The place in the order: the lowest is the first.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
struct Turn {
    last: LastTurn,
    cost: Duration,
    number: u64,
}

struct Request {
    source: Source,
    path: Path,
    since: Instant,
    datagram: Vec<u8>,
}

impl Waiting {
    /// Whether nobody waits.
    pub(super) fn is_empty(&self) -> bool {
        self.by_turn.is_empty()
    }

    /// When there is time for who is next; `None` if nobody waits.
    pub(super) fn next_turn(&self, budget: &Budget) -> Option<Instant> {
        self.by_turn.first_key_value().map(|(turn, _)| budget.next_turn(turn.last))
    }

    /// Lets a request wait whose key exchange costs so much and whose source had its last turn then. How many others had to
    /// make room for it.
    ///
    /// # Errors
    /// Its source has one that waits, or there is no room.
    pub(super) fn push(
        &mut self,
        (last, cost): (LastTurn, Duration),
        datagram: &[u8],
        path: Path,
        now: Instant,
    ) -> Result<u64, Discard> {
        let source = Source::of(path.peer.ip());
        if let Some(turn) = self.by_source.get(&source).copied() {
            let request = self.by_turn.get(&turn).filter(|request| !request.is_stale(now));
            match request {
                Some(request) if request.datagram == datagram => return Ok(0),
                Some(_) => return Err(Discard::KeyExchangeLimit),
                None => drop(self.remove(turn)),
            }
        }
        let turn = Turn { last, cost, number: self.number };
        let mut gone = 0;
        while self.bytes + datagram.len() + OVERHEAD > MAX_BYTES {
            let yields = self.yields_to(turn).ok_or(Discard::KeyExchangeLimit)?;
            self.remove(yields);
            gone += 1;
        }
        self.number += 1;
        self.bytes += datagram.len() + OVERHEAD;
        self.by_source.insert(source, turn);
        self.by_turn.insert(turn, Request { source, path, since: now, datagram: datagram.to_vec() });
        Ok(gone)
    }

    /// Who makes room for one with this turn: the last, and of several newcomers that are as good the oldest.
    fn yields_to(&self, turn: Turn) -> Option<Turn> {
        let (last, _) = self.by_turn.last_key_value()?;
        if (last.last, last.cost) > (turn.last, turn.cost) {
            return Some(*last);
        }
        let alike = Turn { number: 0, ..turn };
        self.by_turn.range(alike..turn).next().map(|(oldest, _)| *oldest)
    }

    /// The request whose turn it is, unless it has waited for too long, and what its key exchange costs.
    pub(super) fn pop(&mut self, now: Instant) -> Option<(Vec<u8>, Path, Duration)> {
        let (first, _) = self.by_turn.first_key_value()?;
        let mut turn = *first;
        if turn.last.is_none() {
            self.oldest = !self.oldest;
            if !self.oldest {
                let newest = self.by_turn.range(turn..=Turn { number: u64::MAX, ..turn }).next_back();
                turn = newest.map_or(turn, |(newest, _)| *newest);
            }
        }
        let request = self.remove(turn)?;
        (!request.is_stale(now)).then_some((request.datagram, request.path, turn.cost))
    }

    fn remove(&mut self, turn: Turn) -> Option<Request> {
        let request = self.by_turn.remove(&turn)?;
        self.by_source.remove(&request.source);
        self.bytes -= request.datagram.len() + OVERHEAD;
        Some(request)
    }
}

impl Request {
    fn is_stale(&self, now: Instant) -> bool {
        now.saturating_duration_since(self.since) > LONGEST
    }
}

#[cfg(test)]
mod tests {
    use std::net::{Ipv4Addr, SocketAddr};

    use super::*;

    const CHEAP: Duration = Duration::from_micros(80);
    const DEAR: Duration = Duration::from_micros(11_000);

    fn path(host: u32) -> Path {
        let peer = SocketAddr::from((Ipv4Addr::from_bits(0x0b00_0000 + host), 500));
        Path { local: SocketAddr::from(([192, 0, 2, 1], 500)), peer, non_esp_marker: false }
    }

    /// Those that waited, in their order.
    fn served(waiting: &mut Waiting, now: Instant) -> Vec<u32> {
        let next = std::iter::from_fn(|| (!waiting.is_empty()).then(|| waiting.pop(now)));
        next.map(|one| u32::from_be_bytes(one.expect("not stale").0.try_into().expect("a host"))).collect()
    }

    fn push(waiting: &mut Waiting, host: u32, turn: (LastTurn, Duration), now: Instant) -> Result<u64, Discard> {
        waiting.push(turn, &host.to_be_bytes(), path(host), now)
    }

    #[test]
    fn newcomers_go_first_and_then_who_was_served_longest_ago() {
        let (mut waiting, now) = (Waiting::default(), Instant::now());
        for (host, last, cost) in
            [(1, Some(7), CHEAP), (2, Some(5), DEAR), (3, None, DEAR), (4, None, CHEAP), (5, Some(6), DEAR)]
        {
            assert_eq!(push(&mut waiting, host, (last, cost), now), Ok(0));
        }
        assert_eq!(served(&mut waiting, now), [4, 3, 2, 5, 1]);
        assert_eq!((waiting.bytes, waiting.by_source.len(), waiting.is_empty()), (0, 0, true));
    }

    #[test]
    fn of_a_crowd_the_newest_and_the_oldest_take_turns() {
        let (mut waiting, now) = (Waiting::default(), Instant::now());
        (0..6).for_each(|host| assert_eq!(push(&mut waiting, host, (None, DEAR), now), Ok(0)));
        let mut order = served(&mut waiting, now);
        let newest: Vec<u32> = order.iter().copied().filter(|host| *host > 2).collect();
        assert_eq!(newest, [5, 4, 3]);
        order.retain(|host| *host <= 2);
        assert_eq!(order, [0, 1, 2]);
    }

    #[test]
    fn a_source_waits_with_one_request() {
        let (mut waiting, now) = (Waiting::default(), Instant::now());
        let from_first = |waiting: &mut Waiting, what: &[u8], now| waiting.push((None, DEAR), what, path(1), now);
        assert_eq!(from_first(&mut waiting, b"once", now), Ok(0));
        assert_eq!(from_first(&mut waiting, b"once", now), Ok(0), "the same again");
        assert_eq!(from_first(&mut waiting, b"more", now), Err(Discard::KeyExchangeLimit));
        let later = now + LONGEST + Duration::from_millis(1);
        assert_eq!(from_first(&mut waiting, b"more", later), Ok(0), "the first one has gone");
        assert_eq!(waiting.pop(later).map(|(datagram, ..)| datagram), Some(b"more".to_vec()));
        assert_eq!(from_first(&mut waiting, b"late", now), Ok(0));
        assert_eq!(waiting.pop(later), None);
        assert!(waiting.is_empty());
    }

    #[test]
    fn what_waits_is_bounded_and_who_has_had_most_makes_room() {
        let (mut waiting, now) = (Waiting::default(), Instant::now());
        let room = (MAX_BYTES / (4 + OVERHEAD)) as u32;
        for host in 0..room {
            assert_eq!(push(&mut waiting, host, (Some(u64::from(host)), DEAR), now), Ok(0));
        }
        let late = push(&mut waiting, room, (Some(u64::from(room)), DEAR), now);
        assert_eq!(late, Err(Discard::KeyExchangeLimit), "it had its last turn after all others");
        for host in room..3 * room {
            assert_eq!(push(&mut waiting, host, (None, DEAR), now), Ok(1), "a newcomer");
        }
        assert!(waiting.bytes <= MAX_BYTES && waiting.by_turn.len() == room as usize);
        let left = served(&mut waiting, now);
        assert_eq!((left.iter().min(), left.iter().max()), (Some(&(2 * room)), Some(&(3 * room - 1))));
    }
}
