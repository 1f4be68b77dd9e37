//! What the threads agree on about connections: their numbers in the data path, and what is configured.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use super::config::EspOptions;
use crate::dataplane::fib::ConnectionId;
use crate::ike::{self, Place};

/// A number of a connection that is not used any more is given to another one after this time: by then the data path has
/// long forgotten its SAs and the forwarding tables that named it.
const REST: Duration = Duration::from_secs(600);

/// The numbers by which the data path knows connections. A name keeps its number while it is used.
#[derive(Debug, Default)]
pub struct ConnectionIds(Mutex<Numbers>);

#[derive(Debug, Default)]
struct Numbers {
    by_name: HashMap<Arc<str>, ConnectionId>,
    /// By number; none for one that is free.
    names: Vec<Option<Arc<str>>>,
    free: Vec<ConnectionId>,
    /// Names that are not used, and since when.
    unused: HashMap<Arc<str>, Instant>,
}

impl ConnectionIds {
    /// The number of a connection, a new one at its first mention.
    pub fn id(&self, name: &Arc<str>) -> ConnectionId {
        let mut numbers = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(id) = numbers.by_name.get(name) {
            return *id;
        }
        let id = numbers.free.pop().unwrap_or_else(|| {
            numbers.names.push(None);
            ConnectionId(numbers.names.len() as u32 - 1)
        });
        numbers.names[id.0 as usize] = Some(Arc::clone(name));
        numbers.by_name.insert(Arc::clone(name), id);
        id
    }

    /// The connection of a number.
    pub fn name(&self, id: ConnectionId) -> Option<Arc<str>> {
        let numbers = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        numbers.names.get(id.0 as usize).cloned().flatten()
    }

    /// The connections of some names are gone, and those of others are there, which may be the same. The number of one that is
    /// gone is free after ten minutes.
    pub fn change(&self, gone: &[Arc<str>], there: &[Arc<str>], now: Instant) {
        let mut numbers = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let Numbers { by_name, names, free, unused } = &mut *numbers;
        unused.extend(gone.iter().map(|name| (Arc::clone(name), now)));
        there.iter().for_each(|name| _ = unused.remove(name));
        unused.retain(|name, since| {
            let rests = now.saturating_duration_since(*since) < REST;
            if !rests && let Some(id) = by_name.remove(name) {
                names[id.0 as usize] = None;
                free.push(id);
            }
            rests
        });
    }
}

/// A connection in force, as IKE and the data path take it.
#[derive(Clone, Debug)]
pub struct InForce {
    /// Its name.
    pub name: Arc<str>,
    /// Where it stands among those that fit a peer equally well.
    pub place: Place,
    /// What IKE takes; `None` while the address of its peer is not known.
    pub ike: Option<Arc<ike::Connection>>,
    /// How its Child SAs handle packets.
    pub esp_options: EspOptions,
}

/// What is different about the connections in force. It is all that IKE and the wiring are told, and all that they look at.
#[derive(Clone, Debug, Default)]
pub struct Change {
    /// The names of those that are gone.
    pub removed: Vec<Arc<str>>,
    /// Those that are new, or not as they were.
    pub set: Vec<InForce>,
}

impl Change {
    /// The same for IKE, which has only those whose peer's address is known.
    pub fn for_ike(&self) -> ike::Change {
        let without = self.set.iter().filter(|connection| connection.ike.is_none());
        let removed = self.removed.iter().chain(without.map(|connection| &connection.name)).cloned().collect();
        let with = |connection: &InForce| Some((connection.place, Arc::clone(connection.ike.as_ref()?)));
        ike::Change { removed, set: self.set.iter().filter_map(with).collect() }
    }
}

/// The connections in force by their names, as the wiring knows them.
#[derive(Clone, Debug, Default)]
pub struct Configured {
    by_name: HashMap<Arc<str>, (Option<Arc<ike::Connection>>, EspOptions)>,
}

impl Configured {
    /// Takes a difference.
    pub fn change(&mut self, change: &Change) {
        for name in &change.removed {
            self.by_name.remove(name);
        }
        for InForce { name, place: _, ike, esp_options } in &change.set {
            self.by_name.insert(Arc::clone(name), (ike.clone(), *esp_options));
        }
    }

    /// The connection of a name.
    pub fn connection(&self, name: &str) -> Option<&Arc<ike::Connection>> {
        self.by_name.get(name)?.0.as_ref()
    }

    /// Whether there is one of this name, even if its peer's address is not known at the moment.
    pub fn knows(&self, name: &str) -> bool {
        self.by_name.contains_key(name)
    }

    /// How its Child SAs handle packets.
    pub fn esp_options(&self, name: &str) -> EspOptions {
        self.by_name.get(name).map(|(_, options)| *options).unwrap_or_default()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn connections_that_come_and_go_do_not_grow_the_numbers_and_take_no_number_that_may_still_be_meant() {
        let (ids, start) = (ConnectionIds::default(), Instant::now());
        let stays = ids.id(&"stays".into());
        let mut highest = 0;
        for round in 0..100_u32 {
            let now = start + Duration::from_secs(300) * round;
            let name: Arc<str> = format!("of round {round}").into();
            highest = highest.max(ids.id(&name).0);
            let before = round.checked_sub(1).map(|before| Arc::<str>::from(format!("of round {before}")));
            ids.change(before.as_slice(), &[Arc::clone(&name), "stays".into()], now);
            assert!(before.is_none_or(|before| ids.name(ids.id(&before)) == Some(before)), "it rests");
        }
        assert!(highest <= 4, "{highest}");
        assert_eq!((ids.id(&"stays".into()), ids.name(stays)), (stays, Some("stays".into())));
    }
}
