//! Message IDs, retransmission and the response cache, with a window of one (RFC 7296 2.1 to 2.3).

use std::time::{Duration, Instant};

use crate::ike::config::Retransmission;
use crate::ike::error::Discard;

/// An IKE SA whose message IDs have come this far is to be rekeyed: they must not wrap (RFC 7296 2.2).
const REKEY_AT: u64 = u32::MAX as u64 / 4 * 3;

/// How long after a sign of life an outstanding request is repeated at the latest.
const HEARD_WAIT: Duration = Duration::from_secs(2);

/// Transmissions that something outside causes are no closer to another one.
const PROMPT_APART: Duration = Duration::from_secs(1);

/// Transmissions of a request that is not waited for any longer than it must be.
const LAST_TRANSMISSIONS: u32 = 6;

/// The SHA-256 of a message, by which a repetition is told from another message of the same ID.
pub(super) type Digest = [u8; 32];

/// Both directions of an IKE SA: at most one request of ours, and the last request of the peer.
pub(super) struct Window {
    /// Counts on beyond 32 bits, where no message has an ID any more.
    next_request: u64,
    outstanding: Option<Outstanding>,
    expected_request: u64,
    answered: Option<Answered>,
}

/// A request of ours that waits for its response.
struct Outstanding {
    message_id: u32,
    /// One, or the fragments of the request.
    datagrams: Vec<Vec<u8>>,
    /// A smaller request that does as well, sent with every repetition: the first one may be too large to arrive at all.
    smaller: Option<Vec<u8>>,
    policy: Retransmission,
    sent: u32,
    /// When it was sent last,
    last: Instant,
    /// and is sent again.
    next: Instant,
    /// The peer is given up then.
    until: Instant,
}

/// The peer's last request, and what it was answered.
struct Answered {
    message_id: u32,
    request: Digest,
    /// One datagram, or the fragments of the response.
    response: Vec<Vec<u8>>,
}

/// What to do with a request of the peer, before it is opened.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Requested<'a> {
    /// It is the next one.
    New,
    /// It is the last one again, byte for byte: send all of this once more.
    Repeated(&'a [Vec<u8>]),
}

/// What the passing of time asks for.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Due<'a> {
    /// Nothing yet.
    Nothing,
    /// Send all of this again, and then what may arrive in its place.
    Retransmit(&'a [Vec<u8>], Option<&'a [u8]>),
    /// The peer is given up.
    Dead,
}

impl Window {
    /// Of a new IKE SA: the first request of either end has the ID 0 (RFC 7296 2.2, 2.18).
    pub(super) fn fresh() -> Self {
        Self { next_request: 0, outstanding: None, expected_request: 0, answered: None }
    }

    /// With our next request and the one expected from the peer.
    #[cfg(test)]
    pub(super) fn at(next_request: u32, expected_request: u32) -> Self {
        Self { next_request: next_request.into(), expected_request: expected_request.into(), ..Self::fresh() }
    }

    /// Whether a request of ours can be sent now.
    pub(super) fn is_free(&self) -> bool {
        self.outstanding.is_none() && self.next_request <= u32::MAX.into()
    }

    /// Whether so many message IDs are used, of either end, that it is time for another IKE SA.
    pub(super) fn runs_out(&self) -> bool {
        self.next_request.max(self.expected_request) >= REKEY_AT
    }

    /// The ID of our next request, if one can be sent.
    pub(super) fn next_request(&self) -> u32 {
        u32::try_from(self.next_request).unwrap_or(u32::MAX)
    }

    /// Records a request of ours that is being sent under [`next_request`](Self::next_request).
    pub(super) fn sent(&mut self, datagrams: Vec<Vec<u8>>, policy: Retransmission, now: Instant) {
        let (message_id, until) = (self.next_request(), now + policy.timeout);
        let next = until.min(now + policy.wait(0));
        let smaller = None;
        self.outstanding =
            Some(Outstanding { message_id, datagrams, smaller, policy, sent: 1, last: now, next, until });
        self.next_request += 1;
    }

    /// Gives the outstanding request a smaller one of the same ID, which is sent with every repetition. A peer that has got
    /// one of them takes the other for a repetition.
    pub(super) fn or_smaller(&mut self, datagram: Vec<u8>) {
        if let Some(outstanding) = &mut self.outstanding {
            outstanding.smaller = Some(datagram);
        }
    }

    /// Whether this ID is that of our outstanding request.
    pub(super) fn check_response(&self, message_id: u32) -> Result<(), Discard> {
        match &self.outstanding {
            Some(outstanding) if outstanding.message_id == message_id => Ok(()),
            _ => Err(Discard::UnexpectedResponse),
        }
    }

    /// Our answer to the peer's last request, which is kept for its repetitions.
    pub(super) fn answer(&self) -> &[Vec<u8>] {
        self.answered.as_ref().map_or(&[], |answered| &answered.response)
    }

    /// Our request was answered. Says whether it had been repeated.
    pub(super) fn answered(&mut self) -> bool {
        self.outstanding.take().is_some_and(|outstanding| outstanding.sent > 1)
    }

    /// When the outstanding request is due.
    pub(super) fn deadline(&self) -> Option<Instant> {
        self.outstanding.as_ref().map(|outstanding| outstanding.next)
    }

    /// Lets time pass for the outstanding request.
    pub(super) fn due(&mut self, now: Instant) -> Due<'_> {
        match &mut self.outstanding {
            Some(outstanding) if outstanding.next <= now => {
                if outstanding.until <= now {
                    return Due::Dead;
                }
                outstanding.next = outstanding.until.min(now + outstanding.policy.wait(outstanding.sent));
                outstanding.sent += 1;
                outstanding.last = now;
                Due::Retransmit(&outstanding.datagrams, outstanding.smaller.as_deref())
            }
            _ => Due::Nothing,
        }
    }

    /// The peer has shown that it lives, or where it is: what went unanswered so far says nothing any more. The outstanding
    /// request is repeated soon, and is waited for as long as a new one.
    pub(super) fn heard(&mut self, now: Instant) {
        if let Some(outstanding) = &mut self.outstanding {
            outstanding.next = outstanding.next.min(now + HEARD_WAIT);
            outstanding.until = now + outstanding.policy.timeout;
        }
    }

    /// Something may have changed about the way to the peer: the outstanding request is due at once, if the last
    /// transmission is not too recent. Says whether it is. It is not waited for any longer than otherwise.
    pub(super) fn prompt(&mut self, now: Instant) -> bool {
        let prompted = self.outstanding.as_mut().filter(|outstanding| outstanding.last + PROMPT_APART <= now);
        prompted.map(|outstanding| outstanding.next = now).is_some()
    }

    /// Others ask in its place whether the way to the peer is back: the outstanding request is repeated after this time, and
    /// rarely from then on, unless something prompts it.
    pub(super) fn rest(&mut self, wait: Duration, now: Instant) {
        if let Some(outstanding) = &mut self.outstanding {
            outstanding.policy.initial = outstanding.policy.longest;
            outstanding.next = outstanding.next.max(now + wait).min(outstanding.until);
        }
    }

    /// Waits no longer than this between transmissions of the outstanding request from now on, and not for many of them.
    pub(super) fn hasten(&mut self, limit: Duration, now: Instant) {
        if let Some(outstanding) = &mut self.outstanding {
            outstanding.policy.longest = outstanding.policy.longest.min(limit);
            // Nor after a sign of life.
            outstanding.policy.timeout = outstanding.policy.timeout.min(limit * LAST_TRANSMISSIONS);
            outstanding.until = outstanding.until.min(now + outstanding.policy.timeout);
            outstanding.next = outstanding.next.min(now + limit);
        }
    }

    /// Whether a request of this ID is new, or may be the last one again.
    pub(super) fn check_request_id(&self, message_id: u32) -> Result<(), Discard> {
        let last = self.answered.as_ref().map(|answered| answered.message_id);
        let known = u64::from(message_id) == self.expected_request || last == Some(message_id);
        if known { Ok(()) } else { Err(Discard::MessageId) }
    }

    /// Judges a request by its ID and, for one that was answered before, by its bytes: only an identical copy gets
    /// the response again, and no request is handled twice.
    pub(super) fn check_request(&self, message_id: u32, digest: &Digest) -> Result<Requested<'_>, Discard> {
        if u64::from(message_id) == self.expected_request {
            return Ok(Requested::New);
        }
        match &self.answered {
            Some(answered) if answered.message_id == message_id => {
                if answered.request == *digest {
                    Ok(Requested::Repeated(&answered.response))
                } else {
                    Err(Discard::NotIdentical)
                }
            }
            _ => Err(Discard::MessageId),
        }
    }

    /// The response to the request of this ID, if it was answered last.
    pub(super) fn answer_to(&self, message_id: u32) -> Option<&[Vec<u8>]> {
        self.answered.as_ref().filter(|answered| answered.message_id == message_id).map(|answered| &*answered.response)
    }

    /// Remembers the response to the request that was expected.
    pub(super) fn respond(&mut self, request: Digest, response: Vec<Vec<u8>>) {
        let message_id = u32::try_from(self.expected_request).unwrap_or(u32::MAX);
        self.answered = Some(Answered { message_id, request, response });
        self.expected_request += 1;
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::crypto::digest::sha256;

    const SECOND: Duration = Duration::from_secs(1);

    fn policy() -> Retransmission {
        Retransmission { initial: SECOND, factor: 2.0, longest: 3 * SECOND, timeout: 8 * SECOND }
    }

    /// When the request is sent again from now on, in seconds after the start, and given up.
    fn course(window: &mut Window, start: Instant) -> Vec<f64> {
        let mut course = Vec::new();
        while let Some(at) = window.deadline() {
            course.push((at - start).as_secs_f64());
            if window.due(at) == Due::Dead {
                break;
            }
        }
        course
    }

    #[test]
    fn a_request_is_repeated_with_growing_waits_and_then_given_up() {
        let start = Instant::now();
        let mut window = Window::fresh();
        window.sent(vec![b"request".to_vec()], policy(), start);
        assert_eq!(window.due(start), Due::Nothing);
        assert_eq!(window.due(start + SECOND), Due::Retransmit(&[b"request".to_vec()], None));
        assert_eq!(course(&mut window, start), [3.0, 6.0, 8.0]);
    }

    #[test]
    fn the_default_is_a_dozen_transmissions_in_more_than_two_minutes() {
        let start = Instant::now();
        let mut window = Window::fresh();
        window.sent(vec![b"request".to_vec()], Retransmission::default(), start);
        let course = course(&mut window, start);
        assert!(course.len() >= 12 && course.last() >= Some(&120.0), "{course:?}");
        let waits: Vec<f64> = course.windows(2).map(|pair| pair[1] - pair[0]).collect();
        assert!(waits[..waits.len() - 1].windows(2).all(|pair| pair[0] <= pair[1]), "{waits:?}");
    }

    #[test]
    fn a_sign_of_life_is_soon_followed_by_a_repetition_and_the_whole_time_again() {
        let start = Instant::now();
        let mut window = Window::fresh();
        window.sent(vec![b"request".to_vec()], policy(), start);
        window.heard(start + SECOND / 2);
        assert_eq!(window.deadline(), Some(start + SECOND), "nothing went unanswered yet");
        assert_eq!(window.due(start + SECOND), Due::Retransmit(&[b"request".to_vec()], None));
        assert_eq!(window.due(start + 3 * SECOND), Due::Retransmit(&[b"request".to_vec()], None));
        window.heard(start + 3 * SECOND);
        assert_eq!(course(&mut window, start), [5.0, 8.0, 11.0]);
    }

    #[test]
    fn a_prompt_repeats_at_once_but_not_often_and_prolongs_nothing() {
        let start = Instant::now();
        let mut window = Window::fresh();
        assert!(!window.prompt(start), "nothing waits");
        window.sent(vec![b"request".to_vec()], policy(), start);
        assert!(!window.prompt(start + SECOND / 2), "it was sent a moment ago");
        assert_eq!(window.due(start + SECOND), Due::Retransmit(&[b"request".to_vec()], None));
        assert!(window.prompt(start + 2 * SECOND));
        assert_eq!(course(&mut window, start), [2.0, 5.0, 8.0]);
        assert_eq!(window.due(start + 20 * SECOND), Due::Dead);
    }

    #[test]
    fn a_request_that_rests_is_repeated_rarely_and_not_waited_for_any_longer() {
        let start = Instant::now();
        let mut window = Window::fresh();
        window.sent(vec![b"request".to_vec()], policy(), start);
        window.rest(2 * SECOND, start);
        assert_eq!(course(&mut window, start), [2.0, 5.0, 8.0]);
        window.answered();
        window.sent(vec![b"next".to_vec()], policy(), start);
        assert_eq!(window.deadline(), Some(start + SECOND), "the next one is as always");
    }

    #[test]
    fn what_is_hastened_is_not_waited_for_any_longer_after_a_sign_of_life() {
        let start = Instant::now();
        let mut window = Window::fresh();
        window.sent(vec![b"request".to_vec()], Retransmission::default(), start);
        window.hasten(SECOND / 2, start);
        window.heard(start + SECOND);
        assert_eq!(course(&mut window, start), [0.5, 1.0, 1.5, 2.0, 2.5, 3.0, 3.5, 4.0]);
    }

    #[test]
    fn only_the_outstanding_request_takes_a_response() {
        let mut window = Window::at(4, 0);
        assert_eq!(window.check_response(4), Err(Discard::UnexpectedResponse));
        window.sent(Vec::new(), policy(), Instant::now());
        assert_eq!(window.check_response(3), Err(Discard::UnexpectedResponse));
        assert_eq!(window.check_response(4), Ok(()));
        assert!(!window.answered());
        assert_eq!(window.check_response(4), Err(Discard::UnexpectedResponse));
        assert_eq!(window.next_request(), 5);
    }

    #[test]
    fn message_ids_never_begin_again() {
        let mut window = Window::at(u32::MAX - 1, u32::MAX);
        assert!(window.runs_out() && !Window::at(1 << 31, 1 << 31).runs_out());
        assert_eq!(window.check_request(u32::MAX, &sha256(b"last")), Ok(Requested::New));
        window.respond(sha256(b"last"), vec![b"answer".to_vec()]);
        assert_eq!(window.check_request(u32::MAX, &sha256(b"last")), Ok(Requested::Repeated(&[b"answer".to_vec()])));
        assert_eq!(window.check_request(0, &sha256(b"first")), Err(Discard::MessageId), "what was captured long ago");
        for id in [u32::MAX - 1, u32::MAX] {
            assert!(window.is_free() && window.next_request() == id);
            window.sent(Vec::new(), policy(), Instant::now());
            assert_eq!(window.check_response(id), Ok(()));
            window.answered();
        }
        assert!(!window.is_free(), "there is no further one");
    }

    #[test]
    fn only_an_identical_copy_gets_the_cached_response() {
        let mut window = Window::at(0, 1);
        assert_eq!(window.check_request(1, &sha256(b"a")), Ok(Requested::New));
        window.respond(sha256(b"a"), vec![b"answer".to_vec()]);
        assert_eq!(window.check_request(1, &sha256(b"a")), Ok(Requested::Repeated(&[b"answer".to_vec()])));
        assert_eq!(window.check_request(1, &sha256(b"b")), Err(Discard::NotIdentical));
        assert_eq!(window.check_request(0, &sha256(b"a")), Err(Discard::MessageId));
        assert_eq!(window.check_request(3, &sha256(b"a")), Err(Discard::MessageId));
        assert_eq!(window.check_request(2, &sha256(b"b")), Ok(Requested::New));
    }
}
