//! What the threads agree on about connections: their numbers in the data path, and what is configured.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use super::config::EspOptions;
use crate::dataplane::fib::ConnectionId;
use crate::ike;

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

    /// Only these names are used from now on. The numbers of others are free after ten minutes in which they were not.
    pub fn retain(&self, used: impl Fn(&str) -> bool, now: Instant) {
        let mut numbers = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let Numbers { by_name, names, free, unused } = &mut *numbers;
        unused.retain(|name, _| !used(name));
        by_name.retain(|name, id| {
            if used(name) {
                return true;
            }
            let since = *unused.entry(Arc::clone(name)).or_insert(now);
            let rests = now.saturating_duration_since(since) < REST;
            if !rests {
                unused.remove(name);
                names[id.0 as usize] = None;
                free.push(*id);
            }
            rests
        });
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
            ids.retain(|used| used == "stays" || *used == *name, now);
            let before = round.checked_sub(1).map(|before| Arc::<str>::from(format!("of round {before}")));
            assert!(before.is_none_or(|before| ids.name(ids.id(&before)) == Some(before)), "it rests");
        }
        assert!(highest <= 4, "{highest}");
        assert_eq!((ids.id(&"stays".into()), ids.name(stays)), (stays, Some("stays".into())));
    }
}
