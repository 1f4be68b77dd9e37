//! CoDel (RFC 8289): whether a queue stands, told by how long packets have waited and not by how many wait.
//!
//! A burst is what a queue is for: it may wait longer than the target, as long as the queue has drained again within an
//! interval. A queue that has not is a standing one. It serves nobody and its senders are told, at first once and then ever
//! more often, until they have slowed down.

use std::time::{Duration, Instant};

/// Bytes that may be left in a queue that is as good as empty: a packet of Ethernet's size.
const PACKET: usize = 1514;
/// Within so many intervals after the last signal a queue that stands again is the same one: the rate at which its senders
/// are told goes on from where it was (RFC 8289 section 5.4).
const MEMORY: u32 = 16;

/// When a queue counts as standing.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct CodelParameters {
    /// How long a packet may wait in a queue that does not stand.
    pub target: Duration,
    /// How long all of them may wait longer than that: the time that senders need to react, at least a round trip.
    pub interval: Duration,
}

/// What the loops go by. A tenth of RFC 8289's target would be the pauses of a busy machine; all of it, 5 ms, is more than
/// the places for frames hold at 10 Gbit/s. The interval is a round trip of a region and its neighbours.
pub const CODEL: CodelParameters =
    CodelParameters { target: Duration::from_millis(2), interval: Duration::from_millis(40) };

impl CodelParameters {
    /// What passes between two signals, when they are the `count`th of a standing queue (RFC 8289 section 5.2).
    fn pause(&self, count: u32) -> Duration {
        self.interval.div_f64(f64::from(count.max(1)).sqrt())
    }
}

/// The state of one queue.
#[derive(Debug, Clone, Copy, Default)]
pub struct Codel {
    /// When the queue will have stood for an interval. `None`: a packet has waited less than the target since.
    stands_from: Option<Instant>,
    /// The next signal, or after the end of a standing queue the one that was not needed.
    next: Option<Instant>,
    /// Signals to the senders of this standing queue so far, and at the end of the last.
    count: u32,
    last_count: u32,
    /// The queue stands.
    standing: bool,
}

impl Codel {
    /// A packet that came at `since` leaves the queue now, with `left` bytes behind it. Says whether its sender is to be told
    /// to slow down: by the loss of the packet, or by a mark.
    pub fn signals(&mut self, since: Instant, left: usize, now: Instant, parameters: &CodelParameters) -> bool {
        let stands = self.stands(since, left, now, parameters);
        match (self.standing, stands) {
            (_, false) => {
                self.standing = false;
                false
            }
            (true, true) => {
                let due = self.next.is_some_and(|next| now >= next);
                if due {
                    self.count = self.count.saturating_add(1);
                    self.next = self.next.map(|next| next + parameters.pause(self.count));
                }
                due
            }
            (false, true) => {
                self.standing = true;
                let more = self.count.saturating_sub(self.last_count);
                let recent =
                    self.next.is_some_and(|next| now.saturating_duration_since(next) < parameters.interval * MEMORY);
                self.count = if recent && more > 1 { more } else { 1 };
                self.last_count = self.count;
                self.next = Some(now + parameters.pause(self.count));
                true
            }
        }
    }

    /// Whether all packets of the last interval have waited longer than the target.
    fn stands(&mut self, since: Instant, left: usize, now: Instant, parameters: &CodelParameters) -> bool {
        if now.saturating_duration_since(since) < parameters.target || left <= PACKET {
            self.stands_from = None;
            return false;
        }
        now >= *self.stands_from.get_or_insert(now + parameters.interval)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const PARAMETERS: CodelParameters =
        CodelParameters { target: Duration::from_millis(5), interval: Duration::from_millis(100) };
    const MUCH: usize = 100_000;

    fn ms(count: u64) -> Duration {
        Duration::from_millis(count)
    }

    /// When a queue's senders are told, in milliseconds, if a packet leaves each millisecond of `times` and has waited for
    /// so long and leaves so much behind.
    fn signals(
        codel: &mut Codel,
        start: Instant,
        times: std::ops::Range<u64>,
        waited: Duration,
        left: usize,
    ) -> Vec<u64> {
        let signals = |at: &u64| {
            let now = start + ms(*at);
            codel.signals(now - waited, left, now, &PARAMETERS)
        };
        times.filter(signals).collect()
    }

    #[test]
    fn a_standing_queue_is_told_after_an_interval_and_then_ever_more_often() {
        let start = Instant::now() + ms(1000);
        let told = signals(&mut Codel::default(), start, 0..500, ms(20), MUCH);
        // 100 ms, then 100 / sqrt(1), 100 / sqrt(2), … later.
        assert_eq!(told, [100, 200, 271, 329, 379, 424, 464]);
    }

    #[test]
    fn a_burst_is_not_told() {
        let (mut codel, start) = (Codel::default(), Instant::now() + ms(1000));
        for burst in 0..20 {
            let at = burst * 100;
            assert_eq!(signals(&mut codel, start, at..at + 99, ms(40), MUCH), [0; 0]);
            assert_eq!(signals(&mut codel, start, at + 99..at + 100, ms(4), MUCH), [0; 0]);
        }
    }

    #[test]
    fn what_leaves_nearly_nothing_behind_is_not_told_however_long_it_has_waited() {
        assert_eq!(signals(&mut Codel::default(), Instant::now() + ms(1000), 0..1000, ms(50), PACKET), [0; 0]);
    }

    #[test]
    fn the_signals_end_with_the_queue() {
        let (mut codel, start) = (Codel::default(), Instant::now() + ms(1000));
        assert_eq!(signals(&mut codel, start, 0..300, ms(20), MUCH), [100, 200, 271]);
        assert_eq!(signals(&mut codel, start, 300..301, ms(1), MUCH), [0; 0]);
        assert_eq!(signals(&mut codel, start, 301..401, ms(20), MUCH), [0; 0]);
    }

    #[test]
    fn a_queue_that_stands_again_soon_is_told_as_often_as_before() {
        let (mut codel, start) = (Codel::default(), Instant::now() + ms(1000));
        let first = signals(&mut codel, start, 0..500, ms(20), MUCH);
        assert_eq!(signals(&mut codel, start, 500..501, ms(1), MUCH), [0; 0]);
        let again = signals(&mut codel, start, 501..720, ms(20), MUCH);
        assert_eq!((first.len(), &again[..2]), (7, &[601, 642][..]), "100 / sqrt(6) ms between the first two");
        let mut codel = Codel { standing: false, stands_from: None, ..codel };
        let much_later = signals(&mut codel, start, 5000..5250, ms(20), MUCH);
        assert_eq!(much_later, [5100, 5200], "the queue of long ago is forgotten");
    }
}
