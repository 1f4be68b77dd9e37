//! Datagrams that the kernel refused to send, as a rare fact: joined by peer and class of the error, and raised through a
//! bounded ring at most once a second each.

use super::socket_message::Message;
use crate::dataplane::refusal::SendRefusal;
use std::net::{IpAddr, SocketAddr};
use std::time::{Duration, Instant};

/// Facts that fit the ring; what does not is told with the next refusal.
const RING: usize = 64;
/// Pairs of peer and class that are told apart at a time.
const REMEMBERED: usize = 16;
/// The same is told again only after this time.
const QUIET: Duration = Duration::from_secs(1);

/// What the kernel refused since it was told last.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Refusal {
    /// Where the datagrams were to go.
    pub peer: SocketAddr,
    /// The source address that they were to have; unspecified where the kernel was to choose.
    pub local: IpAddr,
    /// The class of the error.
    pub class: SendRefusal,
    /// The last error of this class itself (errno(3)).
    pub errno: i32,
    /// How many datagrams.
    pub datagrams: u64,
}

/// The sender's end of the ring. Costs nothing while nothing is refused.
#[derive(Debug)]
pub struct RefusalWriter {
    ring: rtrb::Producer<Refusal>,
    /// What is not told yet of each, and when it was told last.
    recent: [Option<(Refusal, Instant)>; REMEMBERED],
    next: usize,
}

/// A ring for one sender.
pub fn refusals() -> (RefusalWriter, rtrb::Consumer<Refusal>) {
    let (ring, reader) = rtrb::RingBuffer::new(RING);
    (RefusalWriter { ring, recent: [None; REMEMBERED], next: 0 }, reader)
}

impl RefusalWriter {
    /// Raises a refusal, now or joined to the next one alike.
    pub(super) fn raise(&mut self, message: &Message, class: SendRefusal, errno: i32, datagrams: u64, now: Instant) {
        let fresh = Refusal { peer: message.peer, local: message.source, class, errno, datagrams };
        let alike = |held: &Refusal| (held.peer, held.class) == (fresh.peer, fresh.class);
        let known = self.recent.iter_mut().flatten().find(|(held, _)| alike(held));
        let Some((held, told)) = known else { return self.raise_first(fresh, now) };
        *held = Refusal { datagrams: held.datagrams + datagrams, ..fresh };
        if now.saturating_duration_since(*told) >= QUIET && self.ring.push(*held).is_ok() {
            (held.datagrams, *told) = (0, now);
        }
    }

    /// Raises one of which nothing is remembered, in the place of the oldest, whose rest is told before. A full ring leaves
    /// everything as it is: only what a stranger to it has refused in the tenth of a second until it is read is not counted.
    fn raise_first(&mut self, fresh: Refusal, now: Instant) {
        let place = &mut self.recent[self.next];
        if let Some((oldest, _)) = place.as_mut().filter(|(oldest, _)| oldest.datagrams > 0) {
            if self.ring.push(*oldest).is_err() {
                return;
            }
            oldest.datagrams = 0;
        }
        if self.ring.push(fresh).is_ok() {
            *place = Some((Refusal { datagrams: 0, ..fresh }, now));
            self.next = (self.next + 1) % REMEMBERED;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn message(peer: &str) -> Message {
        Message { source: [192, 0, 2, 1].into(), peer: peer.parse().unwrap(), traffic_class: 0, segment: None }
    }

    #[test]
    fn what_is_alike_is_told_once_a_second_and_nothing_is_left_out() {
        let (mut writer, mut reader) = refusals();
        let start = Instant::now();
        let one = message("198.51.100.1:4500");
        for n in 0..1000 {
            writer.raise(&one, SendRefusal::Forbidden, libc::EPERM, 2, start + Duration::from_millis(n));
        }
        writer.raise(&message("198.51.100.2:4500"), SendRefusal::Forbidden, libc::EPERM, 1, start);
        writer.raise(&one, SendRefusal::Unreachable, libc::ENETUNREACH, 1, start);
        writer.raise(&one, SendRefusal::Forbidden, libc::EACCES, 5, start + QUIET);
        let told: Vec<_> = std::iter::from_fn(|| reader.pop().ok()).map(|told| (told.errno, told.datagrams)).collect();
        assert_eq!(told, [(libc::EPERM, 2), (libc::EPERM, 1), (libc::ENETUNREACH, 1), (libc::EACCES, 999 * 2 + 5)]);
    }

    #[test]
    fn what_more_peers_than_are_remembered_are_refused_by_turns_is_counted_all_the_same() {
        let (mut writer, mut reader) = refusals();
        let (start, mut raised, mut told) = (Instant::now(), 0, 0);
        for round in 0..30 {
            for peer in 0..2 * REMEMBERED {
                let message = message(&format!("198.51.100.{peer}:4500"));
                for datagrams in 1..4 {
                    writer.raise(&message, SendRefusal::Unreachable, libc::ENETUNREACH, datagrams, start);
                    raised += datagrams;
                }
            }
            let read = std::iter::from_fn(|| reader.pop().ok()).map(|refusal| refusal.datagrams);
            told += read.sum::<u64>();
            let rest: u64 = writer.recent.iter().flatten().map(|(held, _)| held.datagrams).sum();
            assert_eq!(told + rest, raised, "round {round}");
        }
    }
}
