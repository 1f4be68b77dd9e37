//! How many of the set's policies to one destination are in force: they are asked one after the other for each new flow.

use std::collections::{BTreeMap, BTreeSet};

use ipnet::IpNet;

use crate::control::owner_change::OwnerRouteKey;
use crate::routing::{Owner, Publication, RoutePolicy, VpnRoute, Weight};

/// The set's policies by destination, those that found no room among them.
#[derive(Debug, Default)]
pub struct Policies {
    to: BTreeMap<IpNet, Destination>,
}

#[derive(Debug, Default)]
struct Destination {
    in_force: usize,
    /// Those that found no room.
    waiting: BTreeSet<OwnerRouteKey>,
    /// The one route that stands for these in the table.
    closed: Option<VpnRoute>,
}

impl Policies {
    /// Takes a policy in. False: there is no room, and it waits.
    pub fn enter(&mut self, key: &OwnerRouteKey) -> bool {
        let to = self.to.entry(key.destination.trunc()).or_default();
        let has_room = to.in_force < RoutePolicy::MOST;
        if has_room {
            to.in_force += 1;
        } else {
            to.waiting.insert(key.clone());
        }
        has_room
    }

    /// Takes a policy out; `in_force` says whether it had found room.
    pub fn leave(&mut self, key: &OwnerRouteKey, in_force: bool) {
        if let Some(to) = self.to.get_mut(&key.destination.trunc()) {
            to.in_force -= usize::from(in_force);
            to.waiting.remove(key);
        }
    }

    /// One that waits, if there is room for it.
    pub fn admitted(&mut self, destination: &IpNet) -> Option<OwnerRouteKey> {
        let to = self.to.get_mut(destination)?;
        if to.in_force < RoutePolicy::MOST { to.waiting.pop_first() } else { None }
    }

    /// What stood for those that wait, and what does now, if that is another one: a policy that drops what comes from the least
    /// prefix that holds all of their sources, before all others. `now` in Unix seconds.
    pub fn closed(&mut self, destination: IpNet, now: u64) -> (Option<VpnRoute>, Option<VpnRoute>) {
        let Some(to) = self.to.get_mut(&destination) else { return (None, None) };
        let source = to.waiting.iter().filter_map(|key| key.source).reduce(holding_both);
        let created = to.closed.as_ref().map_or(now, |closed| closed.created);
        let closed = source.map(|source| VpnRoute {
            destination,
            policy: Some(RoutePolicy { priority: RoutePolicy::FIRST, source: source.trunc() }),
            // No connection can have that name.
            connection: "(refused)".into(),
            weight: Weight::Active,
            owner: Owner::Cend,
            publication: Publication::Normal,
            created,
            closed: true,
        });
        let changed = if to.closed == closed {
            (None, None)
        } else {
            (std::mem::replace(&mut to.closed, closed.clone()), closed)
        };
        if to.in_force == 0 && to.waiting.is_empty() {
            self.to.remove(&destination);
        }
        changed
    }
}

/// The longest prefix that holds both of these, of one family.
fn holding_both(mut prefix: IpNet, other: IpNet) -> IpNet {
    while !prefix.contains(&other) {
        let Some(wider) = prefix.supernet() else { break };
        prefix = wider;
    }
    prefix
}
