//! The connections of both owners in force. A change of some costs what it names, and one look at each pointer of a list.

use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet};
use std::ops::Range;
use std::sync::Arc;

use crate::control::Owner;
use crate::daemon::config::{PeerName, Tunnel};
use crate::ike::Place;

/// Connections of one owner, in their order. Shared with whoever shows them.
pub type List = Arc<Vec<Arc<Tunnel>>>;

/// In the order of their connections.
const OWNERS: [Owner; 2] = [Owner::File, Owner::Cend];
/// How far the places of neighbours are apart, so that others fit between them.
const STEP: Place = 1 << 32;
/// The places of cend's connections begin here, behind all of the file's.
const CEND: Place = 1 << 63;

/// What is different about the connections, each with whose it is.
#[derive(Debug, Default)]
pub struct Difference {
    /// Those that are gone, or are not as they were.
    pub gone: Vec<(Owner, Arc<Tunnel>)>,
    /// Those that are new, or not as they were.
    pub new: Vec<(Owner, Arc<Tunnel>)>,
    /// Those that only stand at another place.
    pub moved: Vec<Arc<Tunnel>>,
}

impl Difference {
    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.gone.is_empty() && self.new.is_empty() && self.moved.is_empty()
    }
}

/// A connection that is known by its name.
#[derive(Debug)]
pub struct Known {
    /// Where IKE has it.
    pub place: Place,
    /// What it is.
    pub tunnel: Arc<Tunnel>,
}

/// The connections in force.
#[derive(Debug, Default)]
pub struct Tunnels {
    file: List,
    cend: List,
    by_name: HashMap<Arc<str>, Known>,
    /// The connections whose peer has each name.
    by_peer_name: BTreeMap<String, BTreeSet<Arc<str>>>,
}

impl Tunnels {
    /// The connections of an owner, in their order.
    pub fn list(&self, owner: Owner) -> &List {
        match owner {
            Owner::File => &self.file,
            Owner::Cend => &self.cend,
        }
    }

    /// The connection of a name.
    pub fn known(&self, name: &str) -> Option<&Known> {
        self.by_name.get(name)
    }

    /// The names of all of them, those of the file first.
    pub fn names(&self) -> impl Iterator<Item = &Arc<str>> {
        self.file.iter().chain(self.cend.iter()).map(|tunnel| tunnel.name())
    }

    /// The peers' names that have to be resolved.
    pub fn peer_names(&self) -> impl Iterator<Item = &String> {
        self.by_peer_name.keys()
    }

    /// The connections whose peer has this name.
    pub fn of_peer(&self, name: &str) -> impl Iterator<Item = &Known> {
        self.by_peer_name.get(name).into_iter().flatten().filter_map(|connection| self.by_name.get(connection))
    }

    /// Takes these lists instead of those in force. One list is compared with the other by pointers: what is to stay has to
    /// be shared. No name may be there twice.
    pub fn replace(&mut self, file: List, cend: List) -> Difference {
        let before = [std::mem::replace(&mut self.file, file), std::mem::replace(&mut self.cend, cend)];
        let after = [Arc::clone(&self.file), Arc::clone(&self.cend)];
        let spans = [span(&before[0], &after[0]), span(&before[1], &after[1])];
        let mut difference = Difference::default();
        for (side, (old, new)) in spans.iter().enumerate() {
            let (old, new) = (&before[side][old.clone()], &after[side][new.clone()]);
            let pointers = |list: &[Arc<Tunnel>]| list.iter().map(Arc::as_ptr).collect::<HashSet<_>>();
            let without = |list: &[Arc<Tunnel>], others: HashSet<*const Tunnel>| {
                let others = list.iter().filter(move |tunnel| !others.contains(&Arc::as_ptr(tunnel)));
                others.map(|tunnel| (OWNERS[side], Arc::clone(tunnel))).collect::<Vec<_>>()
            };
            difference.gone.extend(without(old, pointers(new)));
            difference.new.extend(without(new, pointers(old)));
        }
        for (_, tunnel) in &difference.gone {
            self.forget(tunnel);
        }
        for (side, (_, new)) in spans.into_iter().enumerate() {
            let start = if side == 0 { 0 } else { CEND };
            difference.moved.extend(self.place(&after[side], new, start));
        }
        difference
    }

    /// Gives the connections of this part of a list places between its neighbours', and tells which had others before.
    fn place(&mut self, list: &[Arc<Tunnel>], part: Range<usize>, start: Place) -> Vec<Arc<Tunnel>> {
        let known = |tunnels: &Self, at: usize| list.get(at).and_then(|tunnel| tunnels.place_of(tunnel));
        let mut moved = Vec::new();
        let mut last = part.start.checked_sub(1).and_then(|at| known(self, at)).unwrap_or(start);
        let mut at = part.start;
        while at < part.end {
            // Those that have no place, or one that is not behind the last one.
            let run = (at..part.end).take_while(|at| known(self, *at).is_none_or(|place| place <= last)).count();
            if run == 0 {
                last = known(self, at).unwrap_or(last);
                at += 1;
                continue;
            }
            let gap = match known(self, at + run).filter(|next| *next > last) {
                Some(next) => (next - last) / (run as Place + 1),
                None => STEP,
            };
            if gap == 0 {
                // No room is left between neighbours, once in a long life.
                return self.place_anew(list, start);
            }
            for tunnel in &list[at..at + run] {
                last += gap;
                moved.extend(self.set_place(tunnel, last));
            }
            at += run;
        }
        moved
    }

    fn place_anew(&mut self, list: &[Arc<Tunnel>], start: Place) -> Vec<Arc<Tunnel>> {
        let places = (1..).map(|number| start + number * STEP);
        list.iter().zip(places).filter_map(|(tunnel, place)| self.set_place(tunnel, place)).collect()
    }

    fn place_of(&self, tunnel: &Arc<Tunnel>) -> Option<Place> {
        self.by_name.get(tunnel.name()).filter(|known| Arc::ptr_eq(&known.tunnel, tunnel)).map(|known| known.place)
    }

    /// Gives the connection if it was there already, at another place.
    fn set_place(&mut self, tunnel: &Arc<Tunnel>, place: Place) -> Option<Arc<Tunnel>> {
        let moved = self.place_of(tunnel).is_some();
        if let PeerName::Name(name) = &tunnel.peer {
            self.by_peer_name.entry(name.clone()).or_default().insert(Arc::clone(tunnel.name()));
        }
        self.by_name.insert(Arc::clone(tunnel.name()), Known { place, tunnel: Arc::clone(tunnel) });
        moved.then(|| Arc::clone(tunnel))
    }

    fn forget(&mut self, tunnel: &Arc<Tunnel>) {
        self.by_name.remove(tunnel.name());
        if let PeerName::Name(name) = &tunnel.peer
            && let Some(connections) = self.by_peer_name.get_mut(name)
        {
            connections.remove(tunnel.name());
            if connections.is_empty() {
                self.by_peer_name.remove(name);
            }
        }
    }
}

/// Where two lists are not the same: all before and behind is.
fn span(before: &[Arc<Tunnel>], after: &[Arc<Tunnel>]) -> (Range<usize>, Range<usize>) {
    let same = |(one, other): &(&Arc<Tunnel>, &Arc<Tunnel>)| Arc::ptr_eq(one, other);
    let first = before.iter().zip(after).take_while(same).count();
    let last = before[first..].iter().rev().zip(after[first..].iter().rev()).take_while(same).count();
    (first..before.len() - last, first..after.len() - last)
}

/// Which connections one list has that another has not, by name: added, changed, removed.
pub fn told(before: &[Arc<Tunnel>], after: &[Arc<Tunnel>]) -> [Vec<String>; 3] {
    let (old, new) = span(before, after);
    let (old, new) = (&before[old], &after[new]);
    let by_name: HashMap<&Arc<str>, &Arc<Tunnel>> = old.iter().map(|tunnel| (tunnel.name(), tunnel)).collect();
    let names: HashSet<&Arc<str>> = new.iter().map(|tunnel| tunnel.name()).collect();
    let named = |tunnel: &Arc<Tunnel>| tunnel.name().to_string();
    let added = new.iter().filter(|tunnel| !by_name.contains_key(tunnel.name())).map(named);
    let differs = |tunnel: &&Arc<Tunnel>| {
        by_name.get(tunnel.name()).is_some_and(|known| !Arc::ptr_eq(known, tunnel) && **known != **tunnel)
    };
    let removed = old.iter().filter(|tunnel| !names.contains(tunnel.name())).map(named);
    [added.collect(), new.iter().filter(differs).map(named).collect(), removed.collect()]
}

/// Puts the very same connections into a list that are equal to those of another one.
pub fn share(list: &mut [Arc<Tunnel>], with: &[Arc<Tunnel>]) {
    let by_name: HashMap<&Arc<str>, &Arc<Tunnel>> = with.iter().map(|tunnel| (tunnel.name(), tunnel)).collect();
    for tunnel in list {
        if let Some(same) = by_name.get(tunnel.name()).filter(|same| **same == tunnel) {
            *tunnel = Arc::clone(same);
        }
    }
}

#[cfg(test)]
mod tests;
