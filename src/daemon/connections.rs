//! What the threads agree on about connections: their numbers in the data path, and what is configured.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};

use super::config::EspOptions;
use crate::dataplane::fib::ConnectionId;
use crate::ike::{self, Place};

/// The numbers by which the data path knows connections. A name keeps its number for the life of the process.
#[derive(Debug, Default)]
pub struct ConnectionIds(Mutex<Numbers>);

#[derive(Debug, Default)]
struct Numbers {
    by_name: HashMap<Arc<str>, ConnectionId>,
    names: Vec<Arc<str>>,
}

impl ConnectionIds {
    /// The number of a connection, a new one at its first mention.
    pub fn id(&self, name: &Arc<str>) -> ConnectionId {
        let mut numbers = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(id) = numbers.by_name.get(name) {
            return *id;
        }
        let id = ConnectionId(numbers.names.len() as u32);
        numbers.names.push(Arc::clone(name));
        numbers.by_name.insert(Arc::clone(name), id);
        id
    }

    /// The connection of a number.
    pub fn name(&self, id: ConnectionId) -> Option<Arc<str>> {
        let numbers = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        numbers.names.get(id.0 as usize).map(Arc::clone)
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
