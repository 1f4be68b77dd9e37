//! IKE_SA_INIT requests of strangers that have returned a cookie, and wait for their turn because all strangers together have
//! no time for key exchanges left: one of each source, so that who asks more often does not come sooner.
//!
//! ```text
//!  who has had none lately ─► each cost as much time ─► of one, by turns the newest and the oldest ┐
//!  everybody else ─► each cost as much time ─► of one, who had its last longest ago ────────────────┴─► when there is time
//! ```
//!
//! Each cost as much time, because whoever has sources enough to fill the time with cheap methods may hold up nobody that has
//! a dear one, nor the other way round. The newest and the oldest, because a crowd that has come before may hold up nobody
//! who comes now, nor one that comes afterwards who waits. Newcomers have a part of the time for themselves; what there is
//! besides they share with everybody else, who would otherwise wait for as long as new ones come, and has an eighth of it.

mod shares;

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use self::shares::Shares;
use super::budget::{Budget, LastTurn};
use super::error::Discard;
use super::event::Path;
use super::source::Source;

/// Bytes of requests, with what each takes besides its own: some thousand of them.
const MAX_BYTES: usize = 1 << 20;
const OVERHEAD: usize = 256;

/// Who has waited longer has sent its request again, or has gone.
const LONGEST: Duration = Duration::from_secs(5);

/// How often the time of everybody else counts against that of newcomers: they have an eighth of what both share.
const COUNTS_OF_OTHERS: u32 = 7;

/// The requests. They stand in ordered maps, which give their memory back as they empty.
#[derive(Default)]
pub(super) struct Waiting {
    queues: BTreeMap<Class, Queue>,
    by_source: BTreeMap<Source, Turn>,
    bytes: usize,
    /// Of the next one.
    number: u64,
    /// Of the time that newcomers share with everybody else.
    crowds: Shares<Crowd>,
    costs: BTreeMap<Crowd, Shares<Duration>>,
}

/// Those who are served before each other by nothing but their order. There are twice as many as key exchange methods.
type Class = (Crowd, Duration);

#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Crowd {
    Newcomers,
    Others,
}

/// Those of one class. It stays when it is empty.
#[derive(Default)]
struct Queue {
    requests: BTreeMap<Place, Request>,
    bytes: usize,
    /// Whether the next turn is the oldest newcomer's.
    oldest: bool,
}

/// The place in a queue: the lowest is the first.
type Place = (LastTurn, u64);

/// Where a request stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Turn {
    class: Class,
    place: Place,
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
        self.by_source.is_empty()
    }

    /// When there is time for who is next; `None` if nobody waits.
    pub(super) fn next_turn(&self, budget: &Budget) -> Option<Instant> {
        let waiting = self.queues.iter().find(|(_, queue)| !queue.requests.is_empty());
        waiting.map(|((crowd, _), _)| match crowd {
            Crowd::Newcomers => budget.next_turn(None),
            Crowd::Others => budget.time_for_all(),
        })
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
            let request = self.request(turn).filter(|request| !request.is_stale(now));
            match request {
                Some(request) if request.datagram == datagram => return Ok(0),
                Some(_) => return Err(Discard::KeyExchangeLimit),
                None => drop(self.remove(turn)),
            }
        }
        let crowd = if last.is_none() { Crowd::Newcomers } else { Crowd::Others };
        let turn = Turn { class: (crowd, cost), place: (last, self.number) };
        let bytes = datagram.len() + OVERHEAD;
        let mut gone = 0;
        while self.bytes + bytes > MAX_BYTES {
            let yields = self.yields_to(turn).ok_or(Discard::KeyExchangeLimit)?;
            self.remove(yields);
            gone += 1;
        }
        self.number += 1;
        self.bytes += bytes;
        self.by_source.insert(source, turn);
        let queue = self.queues.entry(turn.class).or_default();
        queue.bytes += bytes;
        queue.requests.insert(turn.place, Request { source, path, since: now, datagram: datagram.to_vec() });
        Ok(gone)
    }

    /// Who makes room for one with this turn: of the class that has most, the oldest newcomer, or who had its last turn last. Of
    /// its own class one that had it no later makes none.
    fn yields_to(&self, turn: Turn) -> Option<Turn> {
        let own = self.queues.get(&turn.class).map_or(0, |queue| queue.bytes);
        let (class, queue) = self.queues.iter().max_by_key(|(_, queue)| queue.bytes)?;
        let (class, queue) = if queue.bytes > own { (class, queue) } else { self.queues.get_key_value(&turn.class)? };
        let (place, _) = match class.0 {
            Crowd::Newcomers => queue.requests.first_key_value()?,
            Crowd::Others => queue.requests.last_key_value()?,
        };
        let keeps = *class == turn.class && class.0 == Crowd::Others && place.0 <= turn.place.0;
        (!keeps).then_some(Turn { class: *class, place: *place })
    }

    /// The request whose turn it is, unless it has waited for too long, and what its key exchange costs. There is time for a
    /// newcomer, or for everybody.
    pub(super) fn pop(&mut self, for_all: bool, now: Instant) -> Option<(Vec<u8>, Path, Duration)> {
        let waiting = || self.queues.iter().filter(|(_, queue)| !queue.requests.is_empty()).map(|(class, _)| *class);
        let crowds = waiting().map(|(crowd, _)| crowd).filter(|crowd| for_all || *crowd == Crowd::Newcomers);
        let crowd = self.crowds.next(crowds)?;
        let costs = waiting().filter(|(of, _)| *of == crowd).map(|(_, cost)| cost);
        let cost = match self.costs.get(&crowd) {
            Some(shares) => shares.next(costs)?,
            None => costs.min()?,
        };
        let class = (crowd, cost);
        let place = self.queues.get_mut(&class)?.next_place(crowd)?;
        let request = self.remove(Turn { class, place })?;
        if request.is_stale(now) {
            return None;
        }
        if for_all {
            let counts = if crowd == Crowd::Others { COUNTS_OF_OTHERS } else { 1 };
            self.crowds.took(crowd, cost * counts);
        }
        self.costs.entry(crowd).or_default().took(cost, cost);
        Some((request.datagram, request.path, cost))
    }

    fn request(&self, turn: Turn) -> Option<&Request> {
        self.queues.get(&turn.class)?.requests.get(&turn.place)
    }

    fn remove(&mut self, turn: Turn) -> Option<Request> {
        let queue = self.queues.get_mut(&turn.class)?;
        let request = queue.requests.remove(&turn.place)?;
        let bytes = request.datagram.len() + OVERHEAD;
        queue.bytes -= bytes;
        self.bytes -= bytes;
        self.by_source.remove(&request.source);
        Some(request)
    }
}

impl Queue {
    /// The place of who is next.
    fn next_place(&mut self, crowd: Crowd) -> Option<Place> {
        if crowd == Crowd::Newcomers {
            self.oldest = !self.oldest;
        }
        let newest = crowd == Crowd::Newcomers && !self.oldest;
        let next = if newest { self.requests.last_key_value() } else { self.requests.first_key_value() };
        next.map(|(place, _)| *place)
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

    /// Those that waited, in their order when there is time for everybody.
    fn served(waiting: &mut Waiting, now: Instant) -> Vec<u32> {
        let next = std::iter::from_fn(|| (!waiting.is_empty()).then(|| waiting.pop(true, now)));
        next.map(|one| u32::from_be_bytes(one.expect("not stale").0.try_into().expect("a host"))).collect()
    }

    fn push(waiting: &mut Waiting, host: u32, turn: (LastTurn, Duration), now: Instant) -> Result<u64, Discard> {
        waiting.push(turn, &host.to_be_bytes(), path(host), now)
    }

    #[test]
    fn newcomers_and_everybody_else_take_turns_and_of_those_who_was_served_longest_ago() {
        let (mut waiting, now) = (Waiting::default(), Instant::now());
        for (host, last) in [(1, Some(7)), (2, Some(5)), (3, None), (4, None), (5, Some(6)), (6, None), (7, None)] {
            assert_eq!(push(&mut waiting, host, (last, DEAR), now), Ok(0));
        }
        let newcomer = waiting.pop(false, now).expect("time for a newcomer").0;
        assert_eq!(newcomer, 3_u32.to_be_bytes());
        assert_eq!(served(&mut waiting, now), [7, 2, 4, 6, 5, 1]);
        assert_eq!((waiting.bytes, waiting.by_source.len(), waiting.is_empty()), (0, 0, true));
        assert!(waiting.queues.values().all(|queue| queue.bytes == 0));
        push(&mut waiting, 1, (Some(7), DEAR), now).expect("room");
        assert_eq!(waiting.pop(false, now), None, "it is no newcomer");
    }

    #[test]
    fn a_crowd_with_a_cheap_method_holds_up_nobody_with_a_dear_one_nor_the_other_way_round() {
        for last in [None, Some(5)] {
            for (crowd, one) in [(CHEAP, DEAR), (DEAR, CHEAP)] {
                let (mut waiting, now) = (Waiting::default(), Instant::now());
                (0..100).for_each(|host| assert_eq!(push(&mut waiting, host, (last, crowd), now), Ok(0)));
                (0..10).for_each(|_| assert!(waiting.pop(true, now).is_some()));
                push(&mut waiting, 1_000, (last, one), now).expect("room");
                let place = served(&mut waiting, now).iter().position(|host| *host == 1_000);
                assert!(place.is_some_and(|place| place <= 1), "{last:?}, {crowd:?}: {place:?}");
            }
        }
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
        assert_eq!(waiting.pop(true, later).map(|(datagram, ..)| datagram), Some(b"more".to_vec()));
        assert_eq!(from_first(&mut waiting, b"late", now), Ok(0));
        assert_eq!(waiting.pop(true, later), None);
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
            assert_eq!(push(&mut waiting, host, (None, CHEAP), now), Ok(1), "a newcomer");
        }
        assert!(waiting.bytes <= MAX_BYTES && waiting.by_source.len() == room as usize);
        assert_eq!(push(&mut waiting, 3 * room, (None, DEAR), now), Ok(1), "a newcomer with a dear method");
        let left = served(&mut waiting, now);
        let (newcomers, others): (Vec<u32>, Vec<u32>) = left.into_iter().partition(|host| *host >= room);
        assert!(newcomers.len().abs_diff(others.len()) <= 2, "{} and {}", newcomers.len(), others.len());
        let newest = 3 * room - newcomers.len() as u32 + 1;
        assert!(newcomers.iter().all(|host| *host >= newest - 1), "the oldest ones make room");
        assert_eq!(others.iter().max(), Some(&(others.len() as u32 - 1)), "and who had its last turn last");
    }
}
