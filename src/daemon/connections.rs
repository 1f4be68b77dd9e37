//! What the threads agree on about connections: their numbers in the data path, and what is configured.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};

use super::config::EspOptions;
use crate::dataplane::fib::ConnectionId;
use crate::ike;

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

/// The connections in force: for IKE, and the ESP options of each one.
#[derive(Clone, Debug)]
pub struct Configured {
    /// The connections for IKE, with the endpoint's limits.
    pub ike: Arc<ike::Config>,
    by_name: HashMap<Arc<str>, (Option<Arc<ike::Connection>>, EspOptions)>,
}

impl Configured {
    /// Those of `ike`, and the ESP options of each one by its name.
    pub fn new(ike: ike::Config, options: impl IntoIterator<Item = (Arc<str>, EspOptions)>) -> Self {
        let mut by_name: HashMap<_, _> = options.into_iter().map(|(name, options)| (name, (None, options))).collect();
        for connection in &ike.connections {
            by_name.entry(Arc::clone(&connection.name)).or_default().0 = Some(Arc::clone(connection));
        }
        Self { ike: Arc::new(ike), by_name }
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
