//! Which addresses come next, and how many may ask at a time, by what is known of them (see [`super::start_limit`]).

use std::collections::BTreeMap;

/// Places of all addresses that answer, or of which nothing is known,
const ALL_AT_ONCE: usize = 256;
/// and as many more, of which this is for those that do not answer, unless another one of them has just begun to.
const SILENT_AT_ONCE: usize = 64;
/// So many of these the dead leave free: many that are dead for long do not hold up one that has just restarted. So many are for
/// those that a hint is about, and so many for the dead, whoever else waits: anybody can send hints, as many as he likes.
const RESERVED: usize = SILENT_AT_ONCE / 4;
/// One turn in so many is given to who has no packets, whoever else has.
const WITHOUT_PACKETS: u32 = 4;

/// Which addresses come first.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Rank {
    Answering,
    /// They do not answer, but no attempt has been in vain yet, or there was a sign since.
    Silent,
    /// A whole attempt was in vain, and there was a hint since that somebody is there.
    Hinted,
    /// A whole attempt was in vain.
    Dead,
}

pub(super) const RANKS: [Rank; 4] = [Rank::Answering, Rank::Silent, Rank::Hinted, Rank::Dead];

/// The addresses between which somebody waits and there is room, and the places of all.
pub(super) struct Rotation<A> {
    /// By rank and by their tickets; of each rank, for who has packets, and for the others.
    waiting: [[BTreeMap<i64, A>; 2]; RANKS.len()],
    /// Turns given, by rank.
    turns: [u32; RANKS.len()],
    /// Places taken, by rank.
    taken: [usize; RANKS.len()],
}

impl<A> Rotation<A> {
    /// Nobody waits.
    pub(super) fn new() -> Self {
        Self { waiting: Default::default(), turns: Default::default(), taken: Default::default() }
    }

    /// Addresses wait, with packets (0) or without (1).
    pub(super) fn insert(&mut self, rank: Rank, kind: usize, ticket: i64, addresses: A) {
        self.waiting[rank as usize][kind].insert(ticket, addresses);
    }

    pub(super) fn remove(&mut self, rank: Rank, kind: usize, ticket: i64) {
        self.waiting[rank as usize][kind].remove(&ticket);
    }

    /// Takes out those that come next, and tells for which kind.
    pub(super) fn pop(&mut self, rank: Rank) -> Option<(A, usize)> {
        let turns = &mut self.turns[rank as usize];
        *turns = turns.wrapping_add(1);
        let kinds = if turns.is_multiple_of(WITHOUT_PACKETS) { [1, 0] } else { [0, 1] };
        let waiting = &mut self.waiting[rank as usize];
        kinds.into_iter().find_map(|kind| Some((waiting[kind].pop_first()?.1, kind)))
    }

    /// How many addresses of this rank wait.
    pub(super) fn waiting(&self, rank: Rank) -> usize {
        self.waiting[rank as usize].iter().map(BTreeMap::len).sum()
    }

    pub(super) fn take_place(&mut self, rank: Rank) {
        self.taken[rank as usize] += 1;
    }

    pub(super) fn free_place(&mut self, rank: Rank) {
        self.taken[rank as usize] -= 1;
    }

    /// How many places there are for this rank.
    pub(super) fn places_left(&self, rank: Rank, has_hope: bool) -> usize {
        let [answering, silent, hinted, dead] = self.taken;
        let all = if has_hope { ALL_AT_ONCE } else { SILENT_AT_ONCE };
        let left = all.saturating_sub(silent + hinted + dead);
        let [for_hinted, for_dead] = [hinted, dead].map(|taken| RESERVED.saturating_sub(taken));
        // Whoever comes first leaves these free for those that wait for them.
        let but_dead = left.saturating_sub(for_dead.min(self.waiting(Rank::Dead)));
        match rank {
            Rank::Answering => ALL_AT_ONCE.saturating_sub(answering),
            Rank::Silent => but_dead.saturating_sub(for_hinted.min(self.waiting(Rank::Hinted))),
            Rank::Hinted if has_hope || self.waiting(Rank::Dead) == 0 => but_dead,
            Rank::Hinted => but_dead.min(for_hinted),
            Rank::Dead if has_hope => left,
            Rank::Dead => left.min(left.saturating_sub(RESERVED).max(for_dead)),
        }
    }
}
