//! IKE SAs that wait for their IKE_AUTH request, or were refused a moment ago: how many, from whom, and who makes room
//! (RFC 7296 2.6).

use std::cmp::Reverse;
use std::collections::{BTreeMap, BTreeSet};
use std::net::SocketAddr;
use std::time::{Duration, Instant};

use super::budget::Charge;
use super::config::Config;
use super::error::Discard;
use super::source::{Asker, Source};
use crate::wire::ike::IkeSpi;

/// Bytes of messages that all of them keep together.
pub(super) const MAX_BYTES: usize = 16 << 20;

/// How long one is left alone by others of its source: an honest initiator goes on sooner.
const SETTLING: Duration = Duration::from_secs(2);

/// Whom a half-open IKE SA belongs to: the initiator's SPI and address.
type First = (IkeSpi, SocketAddr);

/// The book of half-open IKE SAs. It holds ordered maps alone, which give their memory back as they empty.
#[derive(Default)]
pub(super) struct HalfOpen {
    by_first: BTreeMap<First, (Source, u64)>,
    /// Those of each source, by their numbers: the oldest first.
    by_source: BTreeMap<Source, OfSource>,
    /// How many each source has, then the number of its oldest one: the last is the source that is to make room.
    by_count: BTreeSet<Rank>,
    /// The same for how many bytes it has.
    by_bytes: BTreeSet<Rank>,
    /// Of the next one.
    number: u64,
    bytes: usize,
}

/// How much a source has, and the number of its oldest one.
type Rank = (usize, Reverse<u64>, Source);

#[derive(Default)]
struct OfSource {
    waiting: BTreeMap<u64, Waiting>,
    bytes: usize,
}

struct Waiting {
    ours: IkeSpi,
    since: Instant,
    /// Of messages.
    bytes: usize,
    charge: Charge,
}

impl HalfOpen {
    /// Takes one in with our SPI, the bytes that it keeps, and what it was charged.
    pub(super) fn insert(
        &mut self,
        initiator: IkeSpi,
        from: SocketAddr,
        (ours, bytes, charge): (IkeSpi, usize, Charge),
        now: Instant,
    ) {
        let (first, source) = ((initiator, from), Source::of(from.ip()));
        self.remove(initiator, from);
        let number = self.number;
        self.number += 1;
        self.bytes += bytes;
        self.by_first.insert(first, (source, number));
        self.change(source, |of_source| {
            of_source.bytes += bytes;
            of_source.waiting.insert(number, Waiting { ours, since: now, bytes, charge });
        });
    }

    /// Our SPI of the half-open IKE SA that this initiator has.
    pub(super) fn of(&self, initiator: IkeSpi, from: SocketAddr) -> Option<IkeSpi> {
        let (source, number) = self.by_first.get(&(initiator, from))?;
        Some(self.by_source.get(source)?.waiting.get(number)?.ours)
    }

    /// The IKE SA of this initiator is not half-open any more. Gives what it was charged.
    pub(super) fn remove(&mut self, initiator: IkeSpi, from: SocketAddr) -> Option<Charge> {
        let (source, number) = self.by_first.remove(&(initiator, from))?;
        let mut gone = None;
        self.change(source, |of_source| {
            gone = of_source.waiting.remove(&number);
            of_source.bytes -= gone.as_ref().map_or(0, |gone| gone.bytes);
        });
        let gone = gone?;
        self.bytes -= gone.bytes;
        Some(gone.charge)
    }

    /// This one keeps so many bytes of messages now.
    pub(super) fn keeps(&mut self, initiator: IkeSpi, from: SocketAddr, bytes: usize) {
        let Some((source, number)) = self.by_first.get(&(initiator, from)).copied() else { return };
        let mut before = bytes;
        self.change(source, |of_source| {
            if let Some(waiting) = of_source.waiting.get_mut(&number) {
                before = std::mem::replace(&mut waiting.bytes, bytes);
                of_source.bytes = of_source.bytes - before + bytes;
            }
        });
        self.bytes = self.bytes - before + bytes;
    }

    /// Changes what a source has, and its place among the others.
    fn change(&mut self, source: Source, change: impl FnOnce(&mut OfSource)) {
        let ranks = |OfSource { waiting, bytes }: &OfSource| {
            let (oldest, _) = waiting.first_key_value()?;
            Some([waiting.len(), *bytes].map(|much| (much, Reverse(*oldest), source)))
        };
        let of_source = self.by_source.entry(source).or_default();
        if let Some([count, bytes]) = ranks(of_source) {
            self.by_count.remove(&count);
            self.by_bytes.remove(&bytes);
        }
        change(of_source);
        match ranks(of_source) {
            Some([count, bytes]) => {
                self.by_count.insert(count);
                self.by_bytes.insert(bytes);
            }
            None => drop(self.by_source.remove(&source)),
        }
    }

    /// Whether a request from this source must bring a cookie.
    pub(super) fn needs_cookie(&self, source: Source, config: &Config) -> bool {
        self.len() >= config.cookie_threshold || self.held_by(source).0 >= config.cookie_threshold_per_source
    }

    /// Whether there is room for one more that keeps this many bytes. If not, our SPI of the one that makes it:
    ///
    /// 1. One source has no more than its limit: its own oldest gives way, if that had its time. Who asks for many at once
    ///    is to wait, and not to lose those that are about to be complete.
    /// 2. At the whole limit only who has returned a cookie gets a place: of the source that has most, the oldest gives
    ///    way; for a configured peer always, for others if that source has more than theirs.
    ///
    /// # Errors
    /// There is none, and no one makes it.
    pub(super) fn room(
        &self,
        newcomer: Asker,
        bytes: usize,
        config: &Config,
        now: Instant,
    ) -> Result<Option<IkeSpi>, Discard> {
        let Asker { source, proven, configured } = newcomer;
        let (count, held) = self.held_by(source);
        if count >= config.half_open_limit_per_source {
            let had_its_time = |oldest: &&Waiting| oldest.since + SETTLING <= now;
            let oldest = self.oldest_of(source).filter(had_its_time).ok_or(Discard::HalfOpenSourceLimit)?;
            return Ok(Some(oldest.ours));
        }
        let (ranks, mine) = if self.len() >= config.half_open_limit {
            (&self.by_count, count)
        } else if self.bytes + bytes > MAX_BYTES {
            (&self.by_bytes, held)
        } else {
            return Ok(None);
        };
        let fullest = ranks.last().filter(|(most, ..)| proven && (configured || *most > mine));
        let oldest = fullest.and_then(|(_, _, source)| self.oldest_of(*source));
        oldest.map(|oldest| Some(oldest.ours)).ok_or(Discard::HalfOpenLimit)
    }

    /// Whether there is room for so many bytes more of one of them. If not, our SPI of the one that makes it: the oldest of
    /// the source that has most bytes. For a configured peer that is always another source, as long as there is any; for others it
    /// is their own if none has more.
    ///
    /// # Errors
    /// There is none, and only this one could make it.
    pub(super) fn room_to_grow(
        &self,
        (initiator, from): First,
        Asker { source: own, configured, .. }: Asker,
        bytes: usize,
    ) -> Result<Option<IkeSpi>, Discard> {
        if self.bytes + bytes <= MAX_BYTES {
            return Ok(None);
        }
        let (_, mine) = self.held_by(own);
        let mut others = self.by_bytes.iter().rev().filter(|(.., source)| *source != own);
        let fullest = others.next().filter(|(most, ..)| configured || *most > mine);
        let oldest = self.oldest_of(fullest.map_or(own, |(.., fullest)| *fullest)).map(|oldest| oldest.ours);
        oldest.filter(|oldest| self.of(initiator, from) != Some(*oldest)).map(Some).ok_or(Discard::HalfOpenLimit)
    }

    /// How many IKE SAs a source has, and how many bytes they keep.
    fn held_by(&self, source: Source) -> (usize, usize) {
        self.by_source.get(&source).map_or((0, 0), |OfSource { waiting, bytes }| (waiting.len(), *bytes))
    }

    fn oldest_of(&self, source: Source) -> Option<&Waiting> {
        self.by_source.get(&source)?.waiting.first_key_value().map(|(_, oldest)| oldest)
    }

    pub(super) fn len(&self) -> usize {
        self.by_first.len()
    }

    /// Bytes of messages that all of them keep.
    #[cfg(test)]
    pub(super) fn bytes(&self) -> usize {
        self.bytes
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::crypto::fake::SeededEntropy;
    use crate::crypto::ke::X25519;
    use crate::ike::budget::Budget;

    fn spi(number: u64) -> IkeSpi {
        IkeSpi(number.to_be_bytes())
    }

    fn from(host: u8) -> SocketAddr {
        SocketAddr::from(([192, 0, 2, host], 500))
    }

    fn charge() -> Charge {
        let now = Instant::now();
        let mut budget = Budget::new(&mut SeededEntropy::new(1), now);
        budget.key_exchange(newcomer(1), &X25519, now).expect("a new budget")
    }

    fn newcomer(host: u8) -> Asker {
        Asker { source: Source::of(from(host).ip()), proven: true, configured: false }
    }

    /// Sources with so many half-open IKE SAs each. Our SPI is 1000 times the source's number, and one more each.
    fn book(counts: &[(u8, u64)], now: Instant) -> HalfOpen {
        let mut book = HalfOpen::default();
        for (host, count) in counts {
            for number in 0..*count {
                let ours = spi(u64::from(*host) * 1000 + number);
                book.insert(spi(number), from(*host), (ours, 100, charge()), now);
            }
        }
        book
    }

    fn limits(whole: usize, per_source: usize) -> Config {
        Config { half_open_limit: whole, half_open_limit_per_source: per_source, ..Config::new(Vec::new()) }
    }

    #[test]
    fn an_initiator_that_returns_with_its_spi_has_one_place() {
        let now = Instant::now();
        let mut book = HalfOpen::default();
        for round in 0..10_000 {
            book.insert(spi(1), from(1), (spi(round), 100, charge()), now);
        }
        assert_eq!((book.len(), book.bytes, book.of(spi(1), from(1))), (1, 100, Some(spi(9_999))));
        assert_eq!([0; 2].map(|_| book.remove(spi(1), from(1))), [Some(charge()), None]);
        assert_eq!((book.len(), book.bytes), (0, 0));
        assert_eq!((book.by_source.len(), book.by_count.len(), book.by_bytes.len()), (0, 0, 0));
    }

    #[test]
    fn a_source_at_its_limit_loses_its_oldest_when_that_had_its_time() {
        let (now, config) = (Instant::now(), limits(100, 3));
        let book = book(&[(1, 3), (2, 1)], now);
        let room = |host, now| book.room(newcomer(host), 100, &config, now);
        assert_eq!(room(1, now), Err(Discard::HalfOpenSourceLimit));
        assert_eq!(room(1, now + SETTLING), Ok(Some(spi(1000))));
        assert_eq!(room(2, now), Ok(None));
    }

    #[test]
    fn at_the_whole_limit_the_source_that_has_most_makes_room() {
        let (now, config) = (Instant::now(), limits(6, 64));
        let mut book = book(&[(1, 1), (2, 3), (3, 2)], now);
        let room = |book: &HalfOpen, newcomer| book.room(newcomer, 100, &config, now);
        assert_eq!(room(&book, newcomer(4)), Ok(Some(spi(2000))));
        assert_eq!(room(&book, Asker { proven: false, ..newcomer(4) }), Err(Discard::HalfOpenLimit));
        assert_eq!(room(&book, newcomer(2)), Err(Discard::HalfOpenLimit), "it has most itself");
        assert_eq!(room(&book, Asker { configured: true, ..newcomer(2) }), Ok(Some(spi(2000))));
        book.remove(spi(0), from(2));
        book.insert(spi(7), from(1), (spi(1007), 100, charge()), now);
        assert_eq!(room(&book, newcomer(4)), Ok(Some(spi(1000))), "of several with as many, the oldest");
    }

    #[test]
    fn what_they_keep_is_bounded_in_bytes() {
        let (now, config) = (Instant::now(), Config::new(Vec::new()));
        let mut book = book(&[(1, 2), (2, 3)], now);
        book.keeps(spi(0), from(1), MAX_BYTES - 500);
        assert_eq!(book.room(newcomer(3), 100, &config, now), Ok(None));
        assert_eq!(book.room(newcomer(3), 101, &config, now), Ok(Some(spi(1000))), "not of who has most IKE SAs");
        book.remove(spi(0), from(1));
        assert_eq!((book.bytes, book.held_by(newcomer(1).source)), (400, (1, 100)));
    }

    #[test]
    fn a_message_that_grows_takes_the_room_of_the_source_that_has_most() {
        let now = Instant::now();
        let mut book = book(&[(1, 3), (2, 1)], now);
        book.keeps(spi(2), from(1), MAX_BYTES - 400);
        let room =
            |book: &HalfOpen, number, host, bytes| book.room_to_grow((spi(number), from(host)), newcomer(host), bytes);
        assert_eq!(room(&book, 0, 2, 100), Ok(None));
        assert_eq!(room(&book, 0, 2, 101), Ok(Some(spi(1000))), "the oldest of the other source");
        assert_eq!(room(&book, 1, 1, 101), Ok(Some(spi(1000))), "its own oldest");
        assert_eq!(room(&book, 0, 1, 101), Err(Discard::HalfOpenLimit), "not itself");
        book.remove(spi(0), from(1));
        book.remove(spi(1), from(1));
        assert_eq!(room(&book, 0, 2, MAX_BYTES), Ok(Some(spi(1002))));
    }

    #[test]
    fn a_message_of_a_configured_peer_takes_the_room_of_another_source() {
        let now = Instant::now();
        let mut book = book(&[(1, 3), (2, 1), (3, 2)], now);
        book.keeps(spi(2), from(1), MAX_BYTES / 2);
        book.keeps(spi(0), from(3), MAX_BYTES / 4);
        book.keeps(spi(1), from(3), MAX_BYTES / 4 - 300);
        let room = |book: &HalfOpen, configured| {
            book.room_to_grow((spi(2), from(1)), Asker { configured, ..newcomer(1) }, 101)
        };
        assert_eq!(room(&book, false), Ok(Some(spi(1000))), "its own source has most");
        assert_eq!(room(&book, true), Ok(Some(spi(3000))), "the fullest other one");
        (0..2).for_each(|number| assert!(book.remove(spi(number), from(3)).is_some()));
        book.remove(spi(0), from(2));
        book.keeps(spi(2), from(1), MAX_BYTES - 200);
        assert_eq!(room(&book, true), Ok(Some(spi(1000))), "there is no other one");
    }
}
