//! The deadlines of the endpoint: the next one of every owner.

use std::collections::{BTreeSet, HashMap};
use std::net::IpAddr;
use std::sync::Arc;
use std::time::Instant;

use crate::ike::association::AssociationId;
use crate::ike::event::{Deadline, Why};
use crate::wire::ike::IkeSpi;

/// Who owns a deadline.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(super) enum Timer {
    IkeSa(IkeSpi),
    Connection(Arc<str>),
    /// An association of this connection with several IKE SAs.
    Duplicates(Arc<str>, AssociationId),
    /// Connections to this peer that wait for their start.
    Starts(IpAddr),
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
