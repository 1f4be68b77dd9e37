//! What datagrams may cost whose sender nobody has authenticated: by purpose and by source, in memory of a fixed size, so
//! that no kind of them starves another, and no sender a peer (RFC 7296 2.6, 2.21).
//!
//! A cookie asked for is in no budget: it is shorter than what asks for it and costs one HMAC. It is how everybody gets
//! away from those that forge their addresses: what these may have together is little, and when it is used up, a cookie is
//! asked for; who returns it is counted by its source from then on, and who authenticates itself gets back what its key exchange
//! was charged.

mod bucket;
mod served;

use std::hash::{DefaultHasher, Hash, Hasher};
use std::time::{Duration, Instant};

use self::bucket::{Bucket, Rate};
use self::served::Served;
use super::source::{Asker, Source};
use crate::crypto::{Entropy, KeyExchangeAlgorithm};
use crate::wire::ike::Identification;

/// Places of the table of sources. Two that have the same one share what one may have.
const PLACES: usize = 2048;

/// How long failures that are not told are counted, before their number is.
const LEFT_OUT_TOLD_AFTER: Duration = Duration::from_secs(5);

/// Time of key exchanges that one source has, in microseconds: a twelfth of the time, so that with what it may save it is
/// below a tenth of any ten seconds.
const KEY_EXCHANGE_OF_SOURCE: Rate = Rate { every: 12, burst: 83_000 };
/// That those have together who have not returned a cookie: a twentieth.
const KEY_EXCHANGE_UNPROVEN: Rate = Rate { every: 20, burst: 50_000 };
/// That strangers have together who have: a quarter,
const KEY_EXCHANGE_OF_STRANGERS: Rate = Rate { every: 4, burst: 250_000 };
/// and those of them besides that have had none lately: an eighth, so that they wait for nobody who asks again and again.
const KEY_EXCHANGE_OF_NEWCOMERS: Rate = Rate { every: 8, burst: 500_000 };
/// That configured peers have together besides what each has as a source: half. Many tunnels may have one peer.
const KEY_EXCHANGE_OF_CONFIGURED: Rate = Rate { every: 2, burst: 500_000 };

/// Answers that are a step of IKE_SA_INIT: of those who have not returned a cookie together, then of each source.
const STEPS_UNPROVEN: Rate = Rate::per_second(100);
const STEPS_OF_SOURCE: Rate = Rate::per_second(100);

/// Failures that are told, of configured peers and of others each: four in any second at most, eight in five.
const FAILURES: Rate = Rate { every: 1_000_000, burst: 3 };
/// And of one source.
const FAILURES_OF_SOURCE: Rate = Rate { every: 1_000_000, burst: 2 };

/// Failures that are told of peers that have authenticated themselves: twenty at once, as after a change of the configuration,
/// then one in a second,
const FAILURES_OF_AUTHENTICATED: Rate = Rate { every: 1_000_000, burst: 20 };
/// and of one association: what a connection with several children may have at once, then one in ten seconds. The peer can cause
/// them with each request.
const FAILURES_OF_ASSOCIATION: Rate = Rate { every: 10_000_000, burst: 8 };

/// What a datagram in the clear may cause that no cookie can be asked for first: an answer, or a search. Each kind has a
/// budget of its own.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Unprotected {
    /// INVALID_MAJOR_VERSION.
    Version,
    /// UNSUPPORTED_CRITICAL_PAYLOAD to a first request.
    CriticalPayload,
    /// INVALID_IKE_SPI to who sends on an IKE SA that we may never have had.
    UnknownSpi,
    /// The same for an SPI that we have made for this address. After a restart every peer needs one.
    LostSpi,
    /// What hints that a peer is there: who waits for its answer asks again.
    Hint,
}

impl Unprotected {
    const COUNT: usize = 5;

    /// What all have together, and each source of them: of configured peers, or of others.
    fn rates(self, configured: bool) -> [Rate; 2] {
        let per_second = match (self, configured) {
            (Self::Version | Self::CriticalPayload, _) => [20, 5],
            // Each costs what it touches, and what one peer's address sends, or somebody in its name, takes nothing from others.
            (Self::Hint, _) => [1_000_000, 5],
            // Many tunnels may have one peer.
            (Self::UnknownSpi | Self::LostSpi, true) => [1_000, 200],
            (Self::LostSpi, false) => [1_000, 20],
            (Self::UnknownSpi, false) => [100, 10],
        };
        per_second.map(Rate::per_second)
    }
}

/// Every budget.
pub(super) struct Budget {
    start: Instant,
    /// Who does not know it cannot choose addresses that share a place.
    key: [u8; 16],
    sources: Vec<OfSource>,
    /// Of all who have not returned a cookie.
    unproven: Unproven,
    /// Time of key exchanges.
    configured: Bucket,
    strangers: Bucket,
    newcomers: Bucket,
    /// The strangers that are no newcomers.
    served: Served,
    /// Of configured peers, of others, by kind.
    unprotected: [[Bucket; Unprotected::COUNT]; 2],
    /// Of configured peers, of others.
    failures: [Bucket; 2],
    failures_of_authenticated: Bucket,
    left_out: Option<LeftOut>,
}

/// What one source has, or those of one place.
#[derive(Clone, Default)]
struct OfSource {
    key_exchange: Bucket,
    steps: Bucket,
    unprotected: [Bucket; Unprotected::COUNT],
    failures: Bucket,
    /// Of the associations that have this place.
    failures_of_association: Bucket,
}

/// What was charged for the key exchange of a half-open IKE SA.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Charge {
    /// Microseconds.
    cost: u64,
    source: Source,
    to: Payer,
}

/// Whose budget a charge was to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Payer {
    Unproven,
    Source,
    SourceAndStrangers,
    SourceAndNewcomers,
    Configured,
}

/// When a stranger's turn comes, the first ones first: who has had none lately, then who had its last longest ago.
pub(super) type LastTurn = Option<u64>;

#[derive(Default)]
struct Unproven {
    key_exchange: Bucket,
    steps: Bucket,
}

/// Failures that were not told.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct LeftOut {
    since: Instant,
    pub(super) count: u64,
}

impl LeftOut {
    /// When their number is to be told.
    pub(super) fn due(self) -> Instant {
        self.since + LEFT_OUT_TOLD_AFTER
    }

    /// How long they were counted.
    pub(super) fn span(self, now: Instant) -> Duration {
        now.saturating_duration_since(self.since)
    }
}

impl Budget {
    /// With everything that may be saved.
    pub(super) fn new(entropy: &mut dyn Entropy, now: Instant) -> Self {
        let mut key = [0; 16];
        entropy.fill(&mut key);
        Self {
            start: now,
            key,
            sources: vec![OfSource::default(); PLACES],
            unproven: Unproven::default(),
            configured: Bucket::default(),
            strangers: Bucket::default(),
            newcomers: Bucket::default(),
            served: Served::default(),
            unprotected: Default::default(),
            failures: Default::default(),
            failures_of_authenticated: Bucket::default(),
            left_out: None,
        }
    }

    /// Whether what those have who did not return a cookie is used up, so that one is to be asked for.
    pub(super) fn needs_cookie(&self, now: Instant) -> bool {
        let now = self.micros(now);
        let Unproven { key_exchange, steps } = self.unproven;
        !(key_exchange.has(KEY_EXCHANGE_UNPROVEN, now) && steps.has(STEPS_UNPROVEN, now))
    }

    /// Whether a key pair may be made for a half-open IKE SA, and a secret when its IKE_AUTH request comes, which is not
    /// asked for again: both are charged.
    ///
    /// Who has not returned a cookie has a part in the little that is for such; a source that has, what each has. Beyond
    /// that configured peers have something together; for others there is also a limit together, at which they take turns.
    pub(super) fn key_exchange(&mut self, asker: Asker, method: &KeyExchangeAlgorithm, now: Instant) -> Option<Charge> {
        let (cost, now, source) = (cost(method), self.micros(now), asker.source);
        let charge = |to| Some(Charge { cost, source, to });
        if !asker.proven {
            let unproven = self.unproven.key_exchange.take(cost, KEY_EXCHANGE_UNPROVEN, now);
            return charge(Payer::Unproven).filter(|_| unproven);
        }
        let place = self.place(source);
        let shared = if asker.configured { Payer::Source } else { self.shared(self.served.last(source, now), now)? };
        if !self.sources[place].key_exchange.take(cost, KEY_EXCHANGE_OF_SOURCE, now) {
            let more = asker.configured && self.configured.take(cost, KEY_EXCHANGE_OF_CONFIGURED, now);
            return charge(Payer::Configured).filter(|_| more);
        }
        match shared {
            Payer::SourceAndStrangers => self.strangers.take(cost, KEY_EXCHANGE_OF_STRANGERS, now),
            Payer::SourceAndNewcomers => self.newcomers.take(cost, KEY_EXCHANGE_OF_NEWCOMERS, now),
            Payer::Unproven | Payer::Source | Payer::Configured => return charge(shared),
        };
        self.served.note(source, cost, now);
        charge(shared)
    }

    /// Which of what strangers have together has anything for one of them that had its last turn then.
    fn shared(&self, last: LastTurn, now: u64) -> Option<Payer> {
        if self.strangers.has(KEY_EXCHANGE_OF_STRANGERS, now) {
            return Some(Payer::SourceAndStrangers);
        }
        let newcomers = last.is_none() && self.newcomers.has(KEY_EXCHANGE_OF_NEWCOMERS, now);
        newcomers.then_some(Payer::SourceAndNewcomers)
    }

    /// When a source had its last turn, if it has anything left of its own.
    pub(super) fn last_turn(&self, source: Source, now: Instant) -> Option<LastTurn> {
        let now = self.micros(now);
        let own = self.sources[self.place(source)].key_exchange.has(KEY_EXCHANGE_OF_SOURCE, now);
        own.then(|| self.served.last(source, now))
    }

    /// When there is time for a stranger that had its last turn then.
    pub(super) fn next_turn(&self, last: LastTurn) -> Instant {
        let newcomers = self.start + Duration::from_micros(self.newcomers.ready_at(KEY_EXCHANGE_OF_NEWCOMERS));
        let all = self.time_for_all();
        if last.is_none() { all.min(newcomers) } else { all }
    }

    /// When there is time for any stranger, and not for a newcomer alone.
    pub(super) fn time_for_all(&self) -> Instant {
        self.start + Duration::from_micros(self.strangers.ready_at(KEY_EXCHANGE_OF_STRANGERS))
    }

    /// Gives back what was charged for who has authenticated itself: it is no stranger.
    pub(super) fn refund(&mut self, charge: Charge) {
        let Charge { cost, source, to } = charge;
        let place = self.place(source);
        match to {
            Payer::Unproven => return self.unproven.key_exchange.give(cost, KEY_EXCHANGE_UNPROVEN),
            Payer::Configured => return self.configured.give(cost, KEY_EXCHANGE_OF_CONFIGURED),
            Payer::SourceAndStrangers => self.strangers.give(cost, KEY_EXCHANGE_OF_STRANGERS),
            Payer::SourceAndNewcomers => self.newcomers.give(cost, KEY_EXCHANGE_OF_NEWCOMERS),
            Payer::Source => {}
        }
        self.sources[place].key_exchange.give(cost, KEY_EXCHANGE_OF_SOURCE);
        self.served.forget(source);
    }

    /// Whether an IKE_SA_INIT request may get the answer that brings its sender on: NO_PROPOSAL_CHOSEN or
    /// INVALID_KE_PAYLOAD.
    pub(super) fn step(&mut self, asker: Asker, now: Instant) -> bool {
        let (now, place) = (self.micros(now), self.place(asker.source));
        if asker.proven {
            self.sources[place].steps.take(1, STEPS_OF_SOURCE, now)
        } else {
            self.unproven.steps.take(1, STEPS_UNPROVEN, now)
        }
    }

    /// Whether an answer of another kind may be given.
    pub(super) fn unprotected(&mut self, kind: Unprotected, asker: Asker, now: Instant) -> bool {
        let (now, place, kind_at) = (self.micros(now), self.place(asker.source), kind as usize);
        let [of_all, of_source] = kind.rates(asker.configured);
        let all = &mut self.unprotected[usize::from(!asker.configured)][kind_at];
        let own = &mut self.sources[place].unprotected[kind_at];
        all.has(of_all, now) && own.take(1, of_source, now) && all.take(1, of_all, now)
    }

    /// Whether a failure may be told of a peer that did not authenticate itself; otherwise it is counted.
    pub(super) fn failure(&mut self, asker: Asker, now: Instant) -> bool {
        let (at, place) = (self.micros(now), self.place(asker.source));
        let pool = &mut self.failures[usize::from(!asker.configured)];
        let own = &mut self.sources[place].failures;
        let told = pool.has(FAILURES, at) && own.take(1, FAILURES_OF_SOURCE, at) && pool.take(1, FAILURES, at);
        self.told_or_counted(told, now)
    }

    /// The same of a peer that did: of the association of this connection with it, or of one that has taken its place.
    pub(super) fn failure_of(&mut self, connection: &str, peer: &Identification, now: Instant) -> bool {
        let (at, place) = (self.micros(now), self.place((connection, peer)));
        let pool = &mut self.failures_of_authenticated;
        let own = &mut self.sources[place].failures_of_association;
        let told = pool.has(FAILURES_OF_AUTHENTICATED, at)
            && own.take(1, FAILURES_OF_ASSOCIATION, at)
            && pool.take(1, FAILURES_OF_AUTHENTICATED, at);
        self.told_or_counted(told, now)
    }

    fn told_or_counted(&mut self, told: bool, now: Instant) -> bool {
        if !told {
            self.left_out.get_or_insert(LeftOut { since: now, count: 0 }).count += 1;
        }
        told
    }

    /// Failures that were not told, whose number is to be told some time.
    pub(super) fn left_out(&self) -> Option<LeftOut> {
        self.left_out
    }

    /// The same, if it is time; they are told then.
    pub(super) fn take_left_out(&mut self, now: Instant) -> Option<LeftOut> {
        self.left_out.take_if(|left_out| left_out.due() <= now)
    }

    /// The place in the table of a source, or of an association.
    fn place(&self, whose: impl Hash) -> usize {
        let mut hasher = DefaultHasher::new();
        (self.key, whose).hash(&mut hasher);
        hasher.finish() as usize % PLACES
    }

    fn micros(&self, now: Instant) -> u64 {
        u64::try_from(now.saturating_duration_since(self.start).as_micros()).unwrap_or(u64::MAX)
    }
}

/// Of both halves of a key exchange, in microseconds.
fn cost(method: &KeyExchangeAlgorithm) -> u64 {
    u64::try_from(2 * method.cost.as_micros()).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests;
