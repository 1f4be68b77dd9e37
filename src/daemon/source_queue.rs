//! Datagrams that wait, served by turns between their sources: stochastic fair queueing (McKenney 1990). A source falls into
//! one of a fixed number of buckets, by a hash with a random key, so that no number of forged sources takes more memory than
//! one does, and nobody can aim at another's bucket.

use std::collections::VecDeque;
use std::hash::{BuildHasher, RandomState};
use std::time::{Duration, Instant};

use crate::ike::{Path, Source};

/// How many sources are told apart at a time.
const BUCKETS: usize = 256;
/// What a waiting datagram takes besides its own bytes.
const OVERHEAD: usize = 144;
/// Who has waited longer has sent its request again, or has gone: after a flood nobody waits for what is left of it.
const LONGEST_WAIT: Duration = Duration::from_secs(1);

/// A datagram, and the way that it came.
pub type Arrival = (Vec<u8>, Path);

/// A queue that is bounded in bytes.
pub struct SourceQueue {
    buckets: Vec<VecDeque<(Instant, Arrival)>>,
    /// The bytes in each bucket, with what each datagram takes besides its own.
    bytes: Vec<u32>,
    /// Whose turn it is; a bucket stands here once if it holds anything, and may still when it does not any more.
    turns: VecDeque<u8>,
    has_turn: Vec<bool>,
    held: usize,
    limit: usize,
    hasher: RandomState,
}

impl SourceQueue {
    /// An empty queue that takes so many bytes, 144 for each datagram included.
    pub fn new(limit: usize) -> Self {
        Self {
            buckets: vec![VecDeque::new(); BUCKETS],
            bytes: vec![0; BUCKETS],
            turns: VecDeque::new(),
            has_turn: vec![false; BUCKETS],
            held: 0,
            limit,
            hasher: RandomState::new(),
        }
    }

    /// Whether nothing waits.
    pub fn is_empty(&self) -> bool {
        self.held == 0
    }

    /// Takes a datagram in. Where there is no room the oldest one of whichever bucket holds most goes. Returns how many went,
    /// which may be this one.
    pub fn push(&mut self, datagram: &[u8], path: Path, now: Instant) -> u64 {
        let cost = datagram.len() + OVERHEAD;
        if cost > self.limit {
            return 1;
        }
        let mut gone = 0;
        while self.held + cost > self.limit {
            let fullest = self.bytes.iter().enumerate().max_by_key(|(_, bytes)| **bytes).map_or(0, |(place, _)| place);
            if self.take(fullest).is_none() {
                return gone + 1;
            }
            gone += 1;
        }
        let place = (self.hasher.hash_one(Source::of(path.peer.ip())) % BUCKETS as u64) as usize;
        self.buckets[place].push_back((now, (datagram.to_vec(), path)));
        self.bytes[place] += cost as u32;
        self.held += cost;
        if !std::mem::replace(&mut self.has_turn[place], true) {
            self.turns.push_back(place as u8);
        }
        gone
    }

    /// The oldest datagram of the bucket whose turn it is. Those that have waited for more than a second go, and are added to
    /// `gone`.
    pub fn pop(&mut self, gone: &mut u64, now: Instant) -> Option<Arrival> {
        while let Some(turn) = self.turns.pop_front() {
            let place = usize::from(turn);
            let mut arrival = self.take(place);
            while arrival.as_ref().is_some_and(|(since, _)| now.saturating_duration_since(*since) > LONGEST_WAIT) {
                *gone += 1;
                arrival = self.take(place);
            }
            self.has_turn[place] = self.bytes[place] > 0;
            if self.has_turn[place] {
                self.turns.push_back(turn);
            }
            if let Some((_, arrival)) = arrival {
                return Some(arrival);
            }
        }
        None
    }

    fn take(&mut self, place: usize) -> Option<(Instant, Arrival)> {
        let taken = self.buckets[place].pop_front()?;
        let cost = taken.1.0.len() + OVERHEAD;
        self.held -= cost;
        self.bytes[place] -= cost as u32;
        if self.bytes[place] == 0 {
            self.buckets[place] = VecDeque::new();
        }
        if self.held == 0 {
            // Who shared a bucket with a flood shall not do so in the next one.
            self.hasher = RandomState::new();
        }
        Some(taken)
    }
}

#[cfg(test)]
mod tests {
    use std::net::IpAddr;

    use super::*;

    fn path(peer: &str) -> Path {
        Path { local: "192.0.2.1:500".parse().unwrap(), peer: peer.parse().unwrap(), non_esp_marker: false }
    }

    /// Everything that waits, in the order in which it is served.
    fn drain(queue: &mut SourceQueue, now: Instant) -> Vec<Arrival> {
        std::iter::from_fn(|| queue.pop(&mut 0, now)).collect()
    }

    /// The sources of that.
    fn served(queue: &mut SourceQueue, now: Instant) -> Vec<IpAddr> {
        drain(queue, now).into_iter().map(|(_, path)| path.peer.ip()).collect()
    }

    /// Two sources that do not share a bucket.
    fn strangers(queue: &SourceQueue) -> (Path, Path) {
        let place = |path: Path| queue.hasher.hash_one(Source::of(path.peer.ip())) % BUCKETS as u64;
        let one = path("198.51.100.1:500");
        let others = (2..=255).map(|host| path(&format!("198.51.100.{host}:500")));
        (one, others.into_iter().find(|other| place(*other) != place(one)).unwrap())
    }

    #[test]
    fn sources_take_turns_however_much_one_sends() {
        let (mut queue, now) = (SourceQueue::new(1 << 20), Instant::now());
        let (flood, other) = strangers(&queue);
        for number in 0..100 {
            queue.push(&[number; 100], flood, now);
        }
        queue.push(&[1; 100], other, now);
        queue.push(&[2; 100], other, now);
        let served = served(&mut queue, now);
        assert_eq!(served.len(), 102);
        let turns: Vec<_> = (0..served.len()).filter(|turn| served[*turn] == other.peer.ip()).collect();
        assert_eq!(turns, [1, 3], "each second turn is the other's as long as it has anything");
        assert!(queue.is_empty());
    }

    #[test]
    fn the_oldest_of_who_holds_most_goes_first_and_bytes_are_what_counts() {
        let (mut queue, now) = (SourceQueue::new(10 * (1000 + OVERHEAD)), Instant::now());
        let (flood, other) = strangers(&queue);
        assert_eq!(queue.push(&[9; 1000], other, now), 0);
        let gone: u64 =
            (0..1000_u32).map(|n| queue.push(&[&n.to_be_bytes()[..], &[0; 996]].concat(), flood, now)).sum();
        assert_eq!(gone, 991);
        let left: Vec<_> = drain(&mut queue, now);
        assert_eq!(left.len(), 10);
        assert!(left.iter().any(|(_, path)| path.peer == other.peer), "the other one's is there");
        let oldest = left.iter().find(|(_, path)| path.peer == flood.peer).map(|(bytes, _)| bytes[..4].to_vec());
        assert_eq!(oldest, Some(991_u32.to_be_bytes().to_vec()), "the newest of the flood are");
        // Small ones cost their places, too.
        let mut queue = SourceQueue::new(10 * (1000 + OVERHEAD));
        for _ in 0..1000 {
            queue.push(&[1; 28], flood, now);
        }
        assert_eq!(served(&mut queue, now).len(), 10 * (1000 + OVERHEAD) / (28 + OVERHEAD));
    }

    #[test]
    fn forged_sources_take_no_more_room_than_one_does() {
        let (mut queue, now) = (SourceQueue::new(64 << 10), Instant::now());
        for number in 0..100_000_u32 {
            let peer = (std::net::Ipv4Addr::from_bits(number), 500).into();
            queue.push(&[0; 300], Path { peer, ..path("192.0.2.9:500") }, now);
        }
        assert!(queue.held <= 64 << 10 && queue.turns.len() <= BUCKETS);
        assert!(served(&mut queue, now).len() <= (64 << 10) / 300);
        assert!(queue.buckets.iter().all(|bucket| bucket.capacity() == 0), "the room is given back");
    }

    #[test]
    fn a_subnet_of_ipv6_is_one_source() {
        let [one, same, other] =
            ["2001:db8::1", "2001:db8::ffff:1", "2001:db8:0:1::1"].map(|text| text.parse().unwrap());
        assert_eq!(Source::of(one), Source::of(same));
        assert_ne!(Source::of(one), Source::of(other));
    }

    #[test]
    fn what_is_larger_than_the_whole_is_not_taken() {
        let (mut queue, now) = (SourceQueue::new(1000), Instant::now());
        assert_eq!(queue.push(&[0; 1000], path("192.0.2.9:500"), now), 1);
        assert!(queue.is_empty() && queue.pop(&mut 0, now).is_none());
    }

    #[test]
    fn what_a_flood_leaves_behind_is_not_worked_off() {
        let (mut queue, now) = (SourceQueue::new(1 << 20), Instant::now());
        let (flood, other) = strangers(&queue);
        for number in 0..1000_u32 {
            queue.push(&number.to_be_bytes(), flood, now);
        }
        let later = now + LONGEST_WAIT + Duration::from_millis(1);
        queue.push(b"new", other, later);
        let mut gone = 0;
        assert_eq!(queue.pop(&mut gone, later).map(|(_, path)| path.peer), Some(other.peer));
        assert!(queue.is_empty() && gone == 1000, "{gone}");
    }
}
