//! The connections of both owners in force. A change of some costs what it names, and one of the file besides one look at each
//! pointer of its list.

use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet};
use std::ops::{Bound, Range};
use std::sync::Arc;

use crate::control::Owner;
use crate::daemon::changed::Changed;
use crate::daemon::config::{PeerName, Tunnel};
use crate::ike::Place;

/// Connections of the file, in its order. Shared with whoever shows them.
pub type List = Arc<Vec<Arc<Tunnel>>>;
/// Connections of cend, in the order of their names.
pub type ByName = BTreeMap<Arc<str>, Arc<Tunnel>>;

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
    by_name: HashMap<Arc<str>, Known>,
    /// The connections whose peer has each name.
    by_peer_name: BTreeMap<String, BTreeSet<Arc<str>>>,
}

impl Tunnels {
    /// The connection of a name.
    pub fn known(&self, name: &str) -> Option<&Known> {
        self.by_name.get(name)
    }

    /// The peers' names that have to be resolved.
    pub fn peer_names(&self) -> impl Iterator<Item = &String> {
        self.by_peer_name.keys()
    }

    /// The connections whose peer has this name.
    pub fn of_peer(&self, name: &str) -> impl Iterator<Item = &Known> {
        self.by_peer_name.get(name).into_iter().flatten().filter_map(|connection| self.by_name.get(connection))
    }

    /// Takes the list of the file, which is compared with the one in force by pointers: what is to stay has to be shared; and
    /// what has changed among cend's, which are `cend` from now on. No name may be there twice.
    pub fn change(&mut self, file: &List, cend: &ByName, of_cend: &Changed<Vec<Arc<Tunnel>>>) -> Difference {
        let before = std::mem::replace(&mut self.file, Arc::clone(file));
        let (old, new) = if Arc::ptr_eq(&before, file) { (0..0, 0..0) } else { span(&before, file) };
        let Changed { gone, new: come } = differing(&before[old], &file[new.clone()]);
        let owned = |owner, list: Vec<Arc<Tunnel>>| list.into_iter().map(move |tunnel| (owner, tunnel));
        let gone: Vec<_> = owned(Owner::File, gone).chain(owned(Owner::Cend, of_cend.gone.clone())).collect();
        let come: Vec<_> = owned(Owner::File, come).chain(owned(Owner::Cend, of_cend.new.clone())).collect();
        // All that are gone first: a name may have another owner now.
        for (_, tunnel) in &gone {
            self.forget(tunnel);
        }
        let mut moved = self.place(file, new);
        moved.extend(self.place_by_name(cend, &of_cend.new));
        Difference { gone, new: come, moved }
    }

    /// Gives the connections of this part of the file's list places between its neighbours', and tells which had others before.
    fn place(&mut self, list: &[Arc<Tunnel>], part: Range<usize>) -> Vec<Arc<Tunnel>> {
        let known = |tunnels: &Self, at: usize| list.get(at).and_then(|tunnel| tunnels.place_of(tunnel));
        let mut moved = Vec::new();
        let mut last = part.start.checked_sub(1).and_then(|at| known(self, at)).unwrap_or_default();
        let mut at = part.start;
        while at < part.end {
            // Those that have no place, or one that is not behind the last one.
            let run = (at..part.end).take_while(|at| known(self, *at).is_none_or(|place| place <= last)).count();
            if run == 0 {
                last = known(self, at).unwrap_or(last);
                at += 1;
                continue;
            }
            let next = known(self, at + run).filter(|next| *next > last);
            let Some(gap) = gap(last, next, run) else { return self.set_places(list, 0, STEP) };
            moved.extend(self.set_places(&list[at..at + run], last, gap));
            last += gap * run as Place;
            at += run;
        }
        moved
    }

    /// The same for the `new` ones of cend, at the cost of these.
    fn place_by_name(&mut self, cend: &ByName, new: &[Arc<Tunnel>]) -> Vec<Arc<Tunnel>> {
        let place = |tunnels: &Self, entry: Option<(&Arc<str>, &Arc<Tunnel>)>| tunnels.place_of(entry?.1);
        let mut moved = Vec::new();
        for tunnel in new {
            if self.place_of(tunnel).is_some() {
                // It stands behind another new one.
                continue;
            }
            let from: &str = tunnel.name();
            let last = place(self, cend.range::<str, _>((Bound::Unbounded, Bound::Excluded(from))).next_back())
                .unwrap_or(CEND);
            let mut behind = cend.range::<str, _>((Bound::Included(from), Bound::Unbounded)).peekable();
            let mut run = Vec::new();
            while let Some((_, tunnel)) = behind.next_if(|(_, tunnel)| self.place_of(tunnel).is_none()) {
                run.push(Arc::clone(tunnel));
            }
            let next = place(self, behind.next());
            let Some(gap) = gap(last, next, run.len()) else { return self.set_places(cend.values(), CEND, STEP) };
            moved.extend(self.set_places(&run, last, gap));
        }
        moved
    }

    /// Gives these connections places `gap` from each other behind `last`, and tells which were there already.
    fn set_places<'a>(
        &mut self,
        list: impl IntoIterator<Item = &'a Arc<Tunnel>>,
        last: Place,
        gap: Place,
    ) -> Vec<Arc<Tunnel>> {
        let places = (1..).map(|number| last + number * gap);
        list.into_iter().zip(places).filter_map(|(tunnel, place)| self.set_place(tunnel, place)).collect()
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

/// How far from each other as many places are as have to find room between two. `None`: there is no room left between these
/// neighbours, once in a long life.
fn gap(last: Place, next: Option<Place>, count: usize) -> Option<Place> {
    let gap = next.map_or(STEP, |next| (next - last) / (count as Place + 1));
    (gap > 0).then_some(gap)
}

/// What one list has that the other has not, by pointers.
fn differing(before: &[Arc<Tunnel>], after: &[Arc<Tunnel>]) -> Changed<Vec<Arc<Tunnel>>> {
    let pointers = |list: &[Arc<Tunnel>]| list.iter().map(Arc::as_ptr).collect::<HashSet<_>>();
    let without = |list: &[Arc<Tunnel>], others: HashSet<*const Tunnel>| {
        list.iter().filter(|tunnel| !others.contains(&Arc::as_ptr(tunnel))).cloned().collect()
    };
    Changed { gone: without(before, pointers(after)), new: without(after, pointers(before)) }
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
