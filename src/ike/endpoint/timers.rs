//! The deadlines of the endpoint: the next one of every owner.

use std::collections::{BTreeSet, HashMap};
use std::sync::Arc;
use std::time::Instant;

use crate::ike::association::AssociationId;
use crate::ike::event::{Deadline, Why};
use crate::wire::ike::IkeSpi;

/// Places of the table of owners that need not be in use.
const MOST_IDLE_PLACES: usize = 1024;

/// Who owns a deadline.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(super) enum Timer {
    IkeSa(IkeSpi),
    Connection(Arc<str>),
    /// An association of this connection with several IKE SAs.
    Duplicates(Arc<str>, AssociationId),
    /// Those that wait for their turn.
    Turns,
    Shutdown,
}

/// Every owner's next deadline, in the order of time and by owner.
#[derive(Default)]
pub(super) struct Timers {
    in_order: BTreeSet<(Instant, Why, Timer)>,
    by_owner: HashMap<Timer, (Instant, Why)>,
}

impl Timers {
    /// Takes this deadline in place of the owner's last one.
    pub(super) fn set(&mut self, timer: Timer, deadline: Option<Deadline>) {
        if let Some((at, why)) = self.by_owner.remove(&timer) {
            self.in_order.remove(&(at, why, timer.clone()));
            // After a flood.
            if self.by_owner.capacity() > MOST_IDLE_PLACES + 4 * self.by_owner.len() {
                self.by_owner.shrink_to(2 * self.by_owner.len());
            }
        }
        if let Some(Deadline { at, why }) = deadline {
            self.by_owner.insert(timer.clone(), (at, why));
            self.in_order.insert((at, why, timer));
        }
    }

    /// The first one, if it is due; its owner has none then.
    pub(super) fn take_due(&mut self, now: Instant) -> Option<Timer> {
        let (at, _, timer) = self.in_order.first()?;
        let timer = (*at <= now).then(|| timer.clone())?;
        self.set(timer.clone(), None);
        Some(timer)
    }

    /// The first one.
    pub(super) fn next(&self) -> Option<Deadline> {
        self.in_order.first().map(|(at, why, _)| Deadline { at: *at, why: *why })
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    #[test]
    fn after_a_flood_of_owners_their_places_go() {
        let (mut timers, now) = (Timers::default(), Instant::now());
        let owner = |number: u64| Timer::IkeSa(IkeSpi(number.to_be_bytes()));
        let deadline = |number| Deadline { at: now + Duration::from_millis(number), why: Why::HalfOpen };
        (0..20_000).for_each(|number| timers.set(owner(number), Some(deadline(number))));
        (1..20_000).for_each(|number| timers.set(owner(number), None));
        assert!(timers.by_owner.capacity() <= 2 * MOST_IDLE_PLACES, "{} places", timers.by_owner.capacity());
        assert_eq!(timers.take_due(now), Some(owner(0)));
    }
}
