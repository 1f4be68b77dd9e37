//! Whose turn it is to ask a peer that has not answered: connections that start, and IKE SAs whose path is silent. A peer that is
//! to serve thousands is asked for some at a time: what it cannot answer at once it would drop, and the repetitions would only be
//! more of the same. Where nobody answers, one finds out for all whether the path is back.
//!
//! ```text
//!  wait ─► the queue of these two addresses: who has packets first, then the oldest
//!             │  by turns among the addresses, as long as there are places
//!             ▼
//!          a place, until the answer comes or for LONGEST ── between addresses that do not answer: one negotiation
//!             │ answered
//!             ▼
//!          the others between these addresses, AT_ONCE at a time; and more of other addresses, for the link may be back
//! ```

use std::collections::{BTreeMap, HashMap, VecDeque};
use std::net::IpAddr;
use std::sync::Arc;
use std::time::{Duration, Instant};

use crate::ike::config::Connection;
use crate::ike::event::{Deadline, Why};
use crate::wire::ike::IkeSpi;

/// Places between two addresses;
const AT_ONCE: usize = 32;
/// one that has taken so long holds up no other any more: its peer may be dead, or refuse that connection alone.
const LONGEST: Duration = Duration::from_secs(1);
/// Places of all addresses together,
const ALL_AT_ONCE: usize = 256;
/// and as many more, of which this is for those that do not answer, unless another one of them has just begun to.
const SILENT_AT_ONCE: usize = 64;
/// For how long that gives hope for the others.
const HOPE: Duration = Duration::from_secs(5);
/// One turn in so many is given to who has no packets, whoever else has.
const WITHOUT_PACKETS: u32 = 4;
/// That addresses do not answer is remembered for so long after somebody last found out.
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
    /// Places taken between addresses that answer, and between such as do not.
    taken: [usize; 2],
    /// The addresses between which somebody waits and there is room: those that answer, and those that do not; of each, for who
    /// has packets, and for the others.
    rotation: [[VecDeque<Addresses>; 2]; 2],
    /// Everybody who waits, and whether it has packets.
    waiting: HashMap<Turn, bool>,
    turns: u32,
    hope_until: Instant,
    now: Instant,
    sweep_at: usize,
}

/// What is known of two addresses.
#[derive(Default)]
struct Between {
    places: usize,
    /// They do not answer, as was last found then.
    silent: Option<Instant>,
    answered: Option<Instant>,
    /// The peer that answered last had forgotten an IKE SA, and may have forgotten all.
    forgotten: bool,
    /// The negotiation that finds out whether they answer.
    pioneer: Option<IkeSpi>,
    /// Who has packets, and the others.
    waiting: [VecDeque<Turn>; 2],
    /// Whether they stand in the rotation for these.
    in_rotation: [bool; 2],
}

struct Place {
    addresses: Addresses,
    at: Instant,
    silent: bool,
    /// It has been there for too long to count.
    is_late: bool,
}

impl Between {
    fn has_room(&self) -> bool {
        if self.silent.is_some() { self.pioneer.is_none() && self.places == 0 } else { self.places < AT_ONCE }
    }

    fn is_idle(&self) -> bool {
        self.places == 0 && self.pioneer.is_none() && self.waiting.iter().all(VecDeque::is_empty)
    }
}

impl StartLimit {
    /// Nobody waits.
    pub(super) fn new(now: Instant) -> Self {
        Self {
            between: BTreeMap::new(),
            places: HashMap::new(),
            by_age: VecDeque::new(),
            taken: [0; 2],
            rotation: Default::default(),
            waiting: HashMap::new(),
            turns: 0,
            hope_until: now,
            now,
            sweep_at: FEW,
        }
    }

    /// Somebody waits for its turn. Whoever waits already does so with packets from now on, if it has any. Says whether it is
    /// new.
    pub(super) fn wait(&mut self, addresses: Addresses, turn: Turn, has_packets: bool, now: Instant) -> bool {
        self.now = now;
        let known = self.waiting.get(&turn).copied();
        if known.is_some_and(|had_packets| had_packets || !has_packets) {
            return false;
        }
        self.waiting.insert(turn.clone(), has_packets);
        self.known(addresses).waiting[usize::from(!has_packets)].push_back(turn);
        self.line_up(addresses);
        known.is_none()
    }

    /// Whether somebody waits for its turn.
    pub(super) fn waits(&self, turn: &Turn) -> bool {
        self.waiting.contains_key(turn)
    }

    /// Whether the last that has come to wait between these addresses has others before it.
    pub(super) fn has_to_wait(&self, addresses: Addresses) -> bool {
        let Some(between) = self.between.get(&addresses) else { return false };
        let silent = between.silent.is_some();
        let before = self.rotation[usize::from(silent)].iter().map(VecDeque::len).sum::<usize>();
        let alone = between.waiting.iter().map(VecDeque::len).sum::<usize>() <= 1;
        !alone || !between.has_room() || self.taken[usize::from(silent)] + before > self.limit(silent)
    }

    /// Whose turn it is, if there is a place for it. It does not wait any more.
    pub(super) fn next(&mut self, now: Instant) -> Option<(Addresses, Turn)> {
        self.now = now;
        self.expire();
        [false, true].into_iter().find_map(|silent| self.next_of(silent))
    }

    fn next_of(&mut self, silent: bool) -> Option<(Addresses, Turn)> {
        while self.has_places(silent) {
            self.turns = self.turns.wrapping_add(1);
            let [with, without] = if self.turns.is_multiple_of(WITHOUT_PACKETS) { [1, 0] } else { [0, 1] };
            let rotation = &mut self.rotation[usize::from(silent)];
            let first = rotation[with].pop_front().map(|addresses| (addresses, with));
            let (addresses, kind) = first.or_else(|| Some((rotation[without].pop_front()?, without)))?;
            // What has changed since then stands elsewhere, or will when there is room.
            let Some(between) = self.between.get_mut(&addresses) else { continue };
            if between.silent.is_some() != silent {
                continue;
            }
            between.in_rotation[kind] = false;
            if !between.has_room() {
                continue;
            }
            while let Some(turn) = between.waiting[kind].pop_front() {
                if self.waiting.get(&turn) == Some(&(kind == 0)) {
                    self.waiting.remove(&turn);
                    self.line_up(addresses);
                    return Some((addresses, turn));
                }
            }
        }
        None
    }

    /// An IKE SA takes a place: one that is being negotiated, or one that asks.
    pub(super) fn started(&mut self, addresses: Addresses, spi: IkeSpi, negotiates: bool, now: Instant) {
        self.now = now;
        self.over(&spi);
        let between = self.known(addresses);
        between.places += 1;
        let silent = between.silent.is_some();
        if silent && negotiates {
            between.pioneer = Some(spi);
        }
        self.taken[usize::from(silent)] += 1;
        self.places.insert(spi, Place { addresses, at: now, silent, is_late: false });
        self.by_age.push_back((now, spi));
    }

    /// An IKE SA needs its place no longer, if it has one. Says whether it had.
    pub(super) fn over(&mut self, spi: &IkeSpi) -> bool {
        let Some(place) = self.places.remove(spi) else { return false };
        if !place.is_late {
            self.free(&place);
        }
        if let Some(between) = self.between.get_mut(&place.addresses) {
            between.pioneer.take_if(|pioneer| pioneer == spi);
        }
        self.line_up(place.addresses);
        true
    }

    /// Something between these addresses was answered: whoever waits goes on, and others may hope. `forgotten` says whether the
    /// peer had forgotten an IKE SA, if that is known.
    pub(super) fn answered(&mut self, addresses: Addresses, forgotten: Option<bool>, now: Instant) {
        self.now = now;
        let Some(between) = self.between.get_mut(&addresses) else { return };
        between.answered = Some(now);
        between.forgotten = forgotten.unwrap_or(between.forgotten);
        if between.silent.take().is_some() {
            between.pioneer = None;
            between.in_rotation = [false; 2];
            self.hope_until = now + HOPE;
            self.line_up(addresses);
        }
    }

    /// Somebody has waited for an answer in vain since then.
    pub(super) fn unanswered(&mut self, addresses: Addresses, since: Instant, now: Instant) {
        self.now = now;
        let between = self.known(addresses);
        if between.answered.is_some_and(|at| at > since) {
            return;
        }
        if between.silent.replace(now).is_none() {
            (between.in_rotation, between.forgotten) = ([false; 2], false);
            self.line_up(addresses);
        }
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
        all.into_iter().fold(false, |any, addresses| self.ask_again(addresses) | any)
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
        let ready = |silent: &bool| {
            self.has_places(*silent) && self.rotation[usize::from(*silent)].iter().any(|queue| !queue.is_empty())
        };
        let at = match [false, true].iter().any(ready) {
            true => self.now,
            false => self.by_age.front().filter(|_| !self.waiting.is_empty())?.0 + LONGEST,
        };
        Some(Deadline { at, why: Why::Reconnect })
    }

    /// Who finds out whether addresses answer waits for another turn, before all others.
    fn ask_again(&mut self, addresses: Addresses) -> bool {
        let Some(between) = self.between.get_mut(&addresses) else { return false };
        let Some(pioneer) = between.pioneer.take() else { return false };
        let turn = Turn::Ask(pioneer);
        self.waiting.insert(turn.clone(), true);
        between.waiting[0].push_front(turn);
        self.line_up(addresses);
        true
    }

    fn limit(&self, silent: bool) -> usize {
        if silent && self.hope_until <= self.now { SILENT_AT_ONCE } else { ALL_AT_ONCE }
    }

    fn has_places(&self, silent: bool) -> bool {
        self.taken[usize::from(silent)] < self.limit(silent)
    }

    /// Whoever waits between these addresses gets its turn, if there is room.
    fn line_up(&mut self, addresses: Addresses) {
        let Some(between) = self.between.get_mut(&addresses).filter(|between| between.has_room()) else { return };
        let rotation = &mut self.rotation[usize::from(between.silent.is_some())];
        for (kind, queue) in rotation.iter_mut().enumerate() {
            if !between.waiting[kind].is_empty() && !std::mem::replace(&mut between.in_rotation[kind], true) {
                queue.push_back(addresses);
            }
        }
    }

    /// Places that have been taken for too long do not count any more.
    fn expire(&mut self) {
        while let Some((at, spi)) = self.by_age.front().copied().filter(|(at, _)| *at + LONGEST <= self.now) {
            self.by_age.pop_front();
            let Some(mut place) = self.places.remove(&spi) else { continue };
            if place.at == at && !place.is_late {
                self.free(&place);
                place.is_late = true;
            }
            let addresses = place.addresses;
            let is_pioneer = self.between.get(&addresses).is_some_and(|between| between.pioneer == Some(spi));
            if is_pioneer || place.at != at {
                self.places.insert(spi, place);
            }
            self.line_up(addresses);
        }
    }

    fn free(&mut self, place: &Place) {
        self.taken[usize::from(place.silent)] -= 1;
        if let Some(between) = self.between.get_mut(&place.addresses) {
            between.places -= 1;
        }
    }

    fn known(&mut self, addresses: Addresses) -> &mut Between {
        if self.between.len() >= self.sweep_at {
            let now = self.now;
            let is_remembered = |between: &Between| between.silent.is_some_and(|at| now < at + REMEMBERED);
            self.between.retain(|_, between| !between.is_idle() || is_remembered(between));
            self.sweep_at = (2 * self.between.len()).max(FEW);
        }
        self.between.entry(addresses).or_default()
    }
}
