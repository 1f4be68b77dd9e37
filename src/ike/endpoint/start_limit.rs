//! Whose turn it is to ask a peer that has not answered: connections that start, and IKE SAs whose path is silent. A peer that is
//! to serve thousands is asked for some at a time: what it cannot answer at once it would drop, and the repetitions would only be
//! more of the same. Where nobody answers, one finds out for all whether the path is back.
//!
//! ```text
//!  wait ─► the queue of these two addresses: who has packets first, then the oldest
//!             │  by turns among the addresses, as long as there are places
//!             ▼
//!          a place, until the answer comes or for LONGEST ── between addresses that do not answer: one negotiation,
//!             │ answered                                        and after PIONEER another one beside it
//!             ▼
//!          the others between these addresses, AT_ONCE at a time; and more of other addresses, for the link may be back
//! ```

use std::collections::{BTreeMap, HashMap, VecDeque};
use std::net::IpAddr;
use std::sync::Arc;
use std::time::{Duration, Instant};

use super::rotation::{RANKS, Rank, Rotation};
use crate::ike::config::Connection;
use crate::ike::event::{Deadline, Why};
use crate::wire::ike::IkeSpi;

/// Places between two addresses;
const AT_ONCE: usize = 32;
/// one that has taken so long holds up no other any more: its peer may be dead, or refuse that connection alone.
const LONGEST: Duration = Duration::from_secs(1);
/// One that finds out whether addresses answer is the only one for so long. What it asks for may be what its peer does not
/// answer, and then others are to find out.
const PIONEER: Duration = Duration::from_secs(2);
/// For how long that gives hope for the others.
const HOPE: Duration = Duration::from_secs(5);
/// Whether addresses answer is remembered for so long after somebody last found out.
const REMEMBERED: Duration = Duration::from_secs(60);
/// When there are so many addresses, those that are of no interest any more are taken out.
const FEW: usize = 64;

/// Between which addresses an IKE SA is, or is to be.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(super) struct Addresses {
    pub(super) peer: IpAddr,
    /// Ours, as configured.
    local: Option<IpAddr>,
}

impl Addresses {
    /// Those of a connection whose peer is at this address.
    pub(super) fn of(connection: &Connection, peer: IpAddr) -> Self {
        Self { peer, local: connection.local_address }
    }
}

/// What waits for its turn.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(super) enum Turn {
    /// A connection is to be negotiated.
    Start(Arc<str>),
    /// What an IKE SA has asked its peer is asked again.
    Ask(IkeSpi),
    /// That was in vain: another IKE SA is negotiated beside it.
    Beside(IkeSpi),
}

/// What is under way and what waits.
pub(super) struct StartLimit {
    between: BTreeMap<Addresses, Between>,
    places: HashMap<IkeSpi, Place>,
    /// The places, the oldest first; those that have been given up may still be there.
    by_age: VecDeque<(Instant, IkeSpi)>,
    /// The negotiations that find out, the oldest first; those that have ended may still be there.
    pioneers: VecDeque<(Instant, Addresses)>,
    /// The addresses between which somebody waits and there is room.
    rotation: Rotation<Addresses>,
    /// Everybody who waits.
    waiting: HashMap<Turn, Waiter>,
    tickets: i64,
    hope_until: Instant,
    now: Instant,
    sweep_at: usize,
}

/// Who finds out whether addresses answer.
#[derive(Clone, Copy)]
struct Pioneer {
    spi: IkeSpi,
    since: Instant,
    /// It waits for another turn.
    waits: bool,
}

/// What is known of two addresses.
#[derive(Default)]
struct Between {
    places: usize,
    /// They do not answer, as was last found then.
    silent: Option<Instant>,
    /// A whole attempt was in vain since there was a sign.
    dead: bool,
    /// There was a hint after that.
    hinted: bool,
    answered: Option<Instant>,
    /// What was answered since they were silent is not authenticated.
    unproven: bool,
    /// The peer that answered last had forgotten an IKE SA, and may have forgotten all.
    forgotten: bool,
    /// The negotiation that finds out whether they answer.
    pioneer: Option<Pioneer>,
    /// Who has packets, and the others, by their tickets.
    waiting: [BTreeMap<i64, Turn>; 2],
    /// Where they stand in the rotation for these.
    stands: [Option<(Rank, i64)>; 2],
}

/// Where somebody stands who waits.
#[derive(Clone, Copy)]
struct Waiter {
    addresses: Addresses,
    has_packets: bool,
    ticket: i64,
}

struct Place {
    addresses: Addresses,
    at: Instant,
    rank: Rank,
    /// It has been there for too long to count.
    is_late: bool,
}

impl Between {
    fn rank(&self) -> Rank {
        match self.silent {
            None => Rank::Answering,
            Some(_) if !self.dead => Rank::Silent,
            Some(_) if self.hinted => Rank::Hinted,
            Some(_) => Rank::Dead,
        }
    }

    fn has_room(&self, now: Instant) -> bool {
        let is_found_out = |pioneer: Pioneer| !pioneer.waits && now < pioneer.since + PIONEER;
        match self.rank() {
            Rank::Answering => self.places < AT_ONCE,
            Rank::Silent | Rank::Hinted | Rank::Dead => self.places == 0 && !self.pioneer.is_some_and(is_found_out),
        }
    }

    fn is_idle(&self) -> bool {
        let stands = self.stands.iter().any(Option::is_some);
        self.places == 0 && self.pioneer.is_none() && !stands && self.waiting.iter().all(BTreeMap::is_empty)
    }

    /// Whether they are worth knowing though nobody waits.
    fn is_remembered(&self, now: Instant) -> bool {
        self.silent.max(self.answered).is_some_and(|at| now < at + REMEMBERED)
    }
}

impl StartLimit {
    /// Nobody waits.
    pub(super) fn new(now: Instant) -> Self {
        Self {
            between: BTreeMap::new(),
            places: HashMap::new(),
            by_age: VecDeque::new(),
            pioneers: VecDeque::new(),
            rotation: Rotation::new(),
            waiting: HashMap::new(),
            tickets: 0,
            hope_until: now,
            now,
            sweep_at: FEW,
        }
    }

    /// Somebody waits for its turn. Whoever waits already does so with packets from now on, if it has any, and between these
    /// addresses. Says whether it is new.
    pub(super) fn wait(&mut self, addresses: Addresses, turn: Turn, has_packets: bool, now: Instant) -> bool {
        self.now = now;
        let known = self.waiting.get(&turn).copied();
        if known.is_some_and(|known| known.addresses == addresses && (known.has_packets || !has_packets)) {
            return false;
        }
        self.forget(&turn);
        let has_packets = has_packets || known.is_some_and(|known| known.has_packets);
        self.tickets += 1;
        self.line_up_with(addresses, turn, has_packets, self.tickets);
        known.is_none()
    }

    /// Somebody waits no longer, if it did.
    pub(super) fn forget(&mut self, turn: &Turn) {
        let Some(Waiter { addresses, has_packets, ticket }) = self.waiting.remove(turn) else { return };
        if let Some(between) = self.between.get_mut(&addresses) {
            between.waiting[usize::from(!has_packets)].remove(&ticket);
        }
    }

    fn line_up_with(&mut self, addresses: Addresses, turn: Turn, has_packets: bool, ticket: i64) {
        self.waiting.insert(turn.clone(), Waiter { addresses, has_packets, ticket });
        self.known(addresses).waiting[usize::from(!has_packets)].insert(ticket, turn);
        self.line_up(addresses);
    }

    /// Whether somebody waits for its turn.
    pub(super) fn waits(&self, turn: &Turn) -> bool {
        self.waiting.contains_key(turn)
    }

    /// Whether the last that has come to wait between these addresses has others before it.
    pub(super) fn has_to_wait(&self, addresses: Addresses) -> bool {
        let Some(between) = self.between.get(&addresses) else { return false };
        let rank = between.rank();
        let before: usize =
            RANKS.iter().filter(|before| **before <= rank).map(|before| self.rotation.waiting(*before)).sum();
        let alone = between.waiting.iter().map(BTreeMap::len).sum::<usize>() <= 1;
        !alone || !between.has_room(self.now) || before > self.rotation.places_left(rank, self.hope_until > self.now)
    }

    /// Whose turn it is, if there is a place for it. It does not wait any more.
    pub(super) fn next(&mut self, now: Instant) -> Option<(Addresses, Turn)> {
        self.now = now;
        self.expire();
        RANKS.into_iter().find_map(|rank| self.next_of(rank))
    }

    fn next_of(&mut self, rank: Rank) -> Option<(Addresses, Turn)> {
        while self.rotation.places_left(rank, self.hope_until > self.now) > 0 {
            let (addresses, kind) = self.rotation.pop(rank)?;
            let Some(between) = self.between.get_mut(&addresses) else { continue };
            between.stands[kind] = None;
            // They stand there again when there is room.
            if !between.has_room(self.now) {
                continue;
            }
            if let Some((_, turn)) = between.waiting[kind].pop_first() {
                self.waiting.remove(&turn);
                self.line_up(addresses);
                return Some((addresses, turn));
            }
        }
        None
    }

    /// An IKE SA takes a place: one that is being negotiated, or one that asks.
    pub(super) fn started(&mut self, addresses: Addresses, spi: IkeSpi, negotiates: bool, now: Instant) {
        self.now = now;
        let between = self.known(addresses);
        let asked_before = between.pioneer.filter(|pioneer| pioneer.spi == spi);
        self.over(&spi);
        let between = self.known(addresses);
        between.places += 1;
        let rank = between.rank();
        if rank != Rank::Answering && negotiates {
            // Asking again makes it no younger.
            let since = asked_before.map_or(now, |pioneer| pioneer.since);
            between.pioneer = Some(Pioneer { spi, since, waits: false });
            if asked_before.is_none() {
                self.pioneers.push_back((now, addresses));
            }
        }
        self.rotation.take_place(rank);
        self.places.insert(spi, Place { addresses, at: now, rank, is_late: false });
        self.by_age.push_back((now, spi));
    }

    /// An IKE SA needs its place no longer, if it has one. Says whether it had.
    pub(super) fn over(&mut self, spi: &IkeSpi) -> bool {
        let Some(place) = self.places.remove(spi) else { return false };
        if !place.is_late {
            self.free(&place);
        }
        if let Some(between) = self.between.get_mut(&place.addresses) {
            between.pioneer.take_if(|pioneer| pioneer.spi == *spi);
        }
        self.line_up(place.addresses);
        true
    }

    /// Something between these addresses was answered, and authenticated: whoever waits goes on, and others may hope. `forgotten`
    /// says whether the peer had forgotten an IKE SA, if that is known.
    pub(super) fn answered(&mut self, addresses: Addresses, forgotten: Option<bool>, now: Instant) {
        let Some(between) = self.between.get_mut(&addresses) else { return };
        between.forgotten = forgotten.unwrap_or(between.forgotten);
        let was_silent = between.silent.is_some() || between.unproven;
        self.goes_on(addresses, now);
        let Some(between) = self.between.get_mut(&addresses) else { return };
        between.unproven = false;
        if was_silent {
            self.hope_until = now + HOPE;
        }
    }

    /// The same, but anybody may have said so: that gives no hope for others.
    pub(super) fn answered_unproven(&mut self, addresses: Addresses, now: Instant) {
        if let Some(between) = self.between.get_mut(&addresses) {
            between.unproven |= between.silent.is_some();
            self.goes_on(addresses, now);
        }
    }

    /// The peer gave a sign of life then, authenticated, that nobody had asked for here. Says whether others go on by that.
    pub(super) fn heard(&mut self, addresses: Addresses, at: Instant, now: Instant) -> bool {
        let Some(between) = self.between.get_mut(&addresses) else { return false };
        let answers = between.silent.is_some_and(|silent| at > silent);
        if answers {
            self.answered(addresses, None, now);
        } else {
            between.answered = between.answered.max(Some(at));
        }
        answers
    }

    fn goes_on(&mut self, addresses: Addresses, now: Instant) {
        self.now = now;
        let Some(between) = self.between.get_mut(&addresses) else { return };
        (between.answered, between.dead, between.hinted) = (Some(now), false, false);
        if between.silent.take().is_some() {
            between.pioneer = None;
            self.line_up(addresses);
        }
    }

    /// What somebody asked then has had no answer, and if that was an attempt, for as long as one takes.
    pub(super) fn unanswered(&mut self, addresses: Addresses, is_attempt: bool, since: Instant, now: Instant) {
        self.now = now;
        let between = self.known(addresses);
        if between.answered.is_some_and(|at| at > since) {
            return;
        }
        between.dead |= is_attempt;
        between.hinted &= !is_attempt;
        if between.silent.replace(now).is_none() {
            (between.forgotten, between.unproven) = (false, false);
        }
        self.line_up(addresses);
    }

    /// Whether these addresses do not answer.
    pub(super) fn is_silent(&self, addresses: Addresses) -> bool {
        self.between.get(&addresses).is_some_and(|between| between.silent.is_some())
    }

    /// Whether the peer that answered there last had forgotten an IKE SA.
    pub(super) fn has_forgotten(&self, addresses: Addresses) -> bool {
        self.between.get(&addresses).is_some_and(|between| between.forgotten)
    }

    /// The peer at this address seems to be there: the one that finds out asks again. Says whether there is such a one.
    pub(super) fn hint(&mut self, peer: IpAddr, now: Instant) -> bool {
        self.now = now;
        let all = self.between.range(Addresses { peer, local: None }..);
        let all: Vec<Addresses> = all.map(|(addresses, _)| *addresses).take_while(|all| all.peer == peer).collect();
        all.into_iter().fold(false, |any, addresses| {
            if let Some(between) = self.between.get_mut(&addresses) {
                between.hinted = true;
                self.line_up(addresses);
            }
            self.ask_again(addresses) | any
        })
    }

    /// Any path may be back: whoever finds out asks again, and more of them do.
    pub(super) fn hope(&mut self, now: Instant) {
        (self.now, self.hope_until) = (now, now + HOPE);
        let all: Vec<Addresses> = self.between.keys().copied().collect();
        for addresses in all {
            self.ask_again(addresses);
        }
    }

    /// When there is a place for somebody who waits, at the latest.
    pub(super) fn deadline(&self) -> Option<Deadline> {
        let has_hope = self.hope_until > self.now;
        let is_next = |rank: Rank| self.rotation.places_left(rank, has_hope) > 0 && self.rotation.waiting(rank) > 0;
        let at = if RANKS.into_iter().any(is_next) {
            self.now
        } else {
            let place = self.by_age.front().map(|(at, _)| *at + LONGEST);
            let pioneer = self.pioneers.front().map(|(at, _)| *at + PIONEER);
            place.into_iter().chain(pioneer).min().filter(|_| !self.waiting.is_empty())?
        };
        Some(Deadline { at, why: Why::Reconnect })
    }

    /// Who finds out whether addresses answer waits for another turn, before all others.
    fn ask_again(&mut self, addresses: Addresses) -> bool {
        let Some(between) = self.between.get_mut(&addresses) else { return false };
        let Some(pioneer) = &mut between.pioneer else { return false };
        // When it has had its time, others come before it.
        let first = self.now < pioneer.since + PIONEER;
        pioneer.waits = true;
        let turn = Turn::Ask(pioneer.spi);
        self.forget(&turn);
        self.tickets += 1;
        self.line_up_with(addresses, turn, first, if first { -self.tickets } else { self.tickets });
        true
    }

    /// Whoever waits between these addresses gets its turn, if there is room.
    fn line_up(&mut self, addresses: Addresses) {
        let Some(between) = self.between.get_mut(&addresses) else { return };
        let (rank, has_room) = (between.rank(), between.has_room(self.now));
        for kind in [0, 1] {
            if let Some((before, ticket)) = between.stands[kind].take_if(|(before, _)| *before != rank) {
                self.rotation.remove(before, kind, ticket);
            }
            if has_room && !between.waiting[kind].is_empty() && between.stands[kind].is_none() {
                self.tickets += 1;
                between.stands[kind] = Some((rank, self.tickets));
                self.rotation.insert(rank, kind, self.tickets, addresses);
            }
        }
    }

    /// Places that have been taken for too long do not count any more.
    fn expire(&mut self) {
        while let Some((_, addresses)) = self.pioneers.pop_front_if(|(at, _)| *at + PIONEER <= self.now) {
            self.line_up(addresses);
        }
        while let Some((at, spi)) = self.by_age.front().copied().filter(|(at, _)| *at + LONGEST <= self.now) {
            self.by_age.pop_front();
            let Some(mut place) = self.places.remove(&spi) else { continue };
            if place.at == at && !place.is_late {
                self.free(&place);
                place.is_late = true;
            }
            let addresses = place.addresses;
            let is_pioneer = self
                .between
                .get(&addresses)
                .and_then(|between| between.pioneer)
                .is_some_and(|pioneer| pioneer.spi == spi);
            if is_pioneer || place.at != at {
                self.places.insert(spi, place);
            }
            self.line_up(addresses);
        }
    }

    fn free(&mut self, place: &Place) {
        self.rotation.free_place(place.rank);
        if let Some(between) = self.between.get_mut(&place.addresses) {
            between.places -= 1;
        }
    }

    fn known(&mut self, addresses: Addresses) -> &mut Between {
        if self.between.len() >= self.sweep_at {
            let now = self.now;
            self.between.retain(|_, between| !between.is_idle() || between.is_remembered(now));
            self.sweep_at = (2 * self.between.len()).max(FEW);
        }
        self.between.entry(addresses).or_default()
    }
}
