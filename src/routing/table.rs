//! The VPN gateway's route table.
use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;
use std::sync::Arc;

use ipnet::IpNet;

use super::best_path::rank;
use super::entry::{Owner, Publication, RouteKey, RouteState, VpnRoute};

/// Why a route was not taken into the table.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum RouteRefused {
    /// The destination has bits set beyond its prefix length.
    #[error("{0} has host bits set; the prefix is {prefix}", prefix = .0.trunc())]
    HostBits(IpNet),
    /// The same destination and connection belong to the other owner.
    #[error("the route {destination} to {connection} belongs to the {owner}", destination = key.destination, connection = key.connection)]
    OwnedByOther {
        /// The route that was asked for.
        key: RouteKey,
        /// Who has it.
        owner: Owner,
    },
    /// The set names one destination and connection twice.
    #[error("the route {} to {} is named twice", .0.destination, .0.connection)]
    Duplicate(RouteKey),
}

/// VPN routes by destination and connection, and which connections are up.
#[derive(Clone, Debug, Default)]
pub struct Table {
    /// By destination; few connections lead to one.
    routes: BTreeMap<IpNet, Vec<VpnRoute>>,
    up: BTreeSet<Arc<str>>,
}

impl Table {
    /// An empty table with every connection down.
    pub fn new() -> Self {
        Self::default()
    }

    /// Makes `routes` the complete set of `owner`. Routes of the other owner stay; one that clashes with them, or that
    /// is malformed, is left out and answered with its reason. A route that stays keeps its time of creation.
    pub fn replace_owned(&mut self, owner: Owner, routes: Vec<VpnRoute>) -> Vec<(RouteKey, RouteRefused)> {
        let previous = self.take_owned(owner);
        let mut refused = Vec::new();
        for mut route in routes {
            route.owner = owner;
            let key = route.key();
            if let Some(before) = previous.get(&key) {
                route.created = before.created;
            }
            if let Err(reason) = self.insert(route) {
                refused.push((key, reason));
            }
        }
        refused
    }

    fn insert(&mut self, route: VpnRoute) -> Result<(), RouteRefused> {
        if route.destination != route.destination.trunc() {
            return Err(RouteRefused::HostBits(route.destination));
        }
        // Nothing can be refused from here on when the destination is new, so none is left empty.
        let at_destination = self.routes.entry(route.destination).or_insert_with(|| Vec::with_capacity(1));
        match at_destination.iter().find(|present| present.connection == route.connection) {
            Some(present) if present.owner == route.owner => Err(RouteRefused::Duplicate(route.key())),
            Some(present) => Err(RouteRefused::OwnedByOther { key: route.key(), owner: present.owner }),
            None => {
                at_destination.push(route);
                Ok(())
            }
        }
    }

    fn take_owned(&mut self, owner: Owner) -> BTreeMap<RouteKey, VpnRoute> {
        let mut taken = BTreeMap::new();
        self.routes.retain(|_, at_destination| {
            at_destination.retain(|route| {
                let keep = route.owner != owner;
                if !keep {
                    taken.insert(route.key(), route.clone());
                }
                keep
            });
            !at_destination.is_empty()
        });
        taken
    }

    /// Sets the publication state of the file's routes to exactly what `publications` says: a route that it does not
    /// name is normal. Answers the keys that name no route of the file.
    pub fn set_file_publications(&mut self, publications: &BTreeMap<RouteKey, Publication>) -> Vec<RouteKey> {
        let mut unknown: BTreeSet<&RouteKey> = publications.keys().collect();
        for route in self.routes.values_mut().flatten() {
            if route.owner != Owner::File {
                continue;
            }
            let key = route.key();
            route.publication = publications.get(&key).copied().unwrap_or_default();
            unknown.remove(&key);
        }
        unknown.into_iter().cloned().collect()
    }

    /// Notes that a connection has, or no longer has, a Child SA whose path answers. Answers whether that is news.
    pub fn set_up(&mut self, connection: &str, up: bool) -> bool {
        if up { self.up.insert(connection.into()) } else { self.up.remove(connection) }
    }

    /// Whether a connection is up.
    pub fn is_up(&self, connection: &str) -> bool {
        self.up.contains(connection)
    }

    /// Every route with its state: by destination, then in order of preference.
    pub fn routes(&self) -> impl Iterator<Item = (&VpnRoute, RouteState)> {
        self.routes.values().flat_map(|at_destination| rank(at_destination, |name| self.is_up(name)))
    }

    /// Every destination with its routes in order of preference.
    pub fn destinations(&self) -> impl Iterator<Item = (IpNet, Vec<(&VpnRoute, RouteState)>)> {
        self.routes.iter().map(|(destination, routes)| (*destination, rank(routes, |name| self.is_up(name))))
    }

    /// The routes that a packet to `address` may take, the preferred one first: those of its longest prefix.
    pub fn lookup(&self, address: IpAddr) -> Vec<(&VpnRoute, RouteState)> {
        self.routes
            .iter()
            .filter(|(destination, _)| destination.contains(&address))
            .max_by_key(|(destination, _)| destination.prefix_len())
            .map(|(_, routes)| rank(routes, |name| self.is_up(name)))
            .unwrap_or_default()
    }

    /// Whether an address lies in the destination of a route.
    pub fn covers(&self, address: IpAddr) -> bool {
        self.routes.keys().any(|destination| destination.contains(&address))
    }

    /// Number of routes.
    pub fn len(&self) -> usize {
        self.routes.values().map(Vec::len).sum()
    }

    /// Whether there is no route.
    pub fn is_empty(&self) -> bool {
        self.routes.is_empty()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::routing::entry::Weight;

    fn route(destination: &str, connection: &str, created: u64) -> VpnRoute {
        VpnRoute {
            destination: destination.parse().expect("a prefix"),
            connection: connection.into(),
            weight: Weight::Active,
            owner: Owner::File,
            publication: Publication::Normal,
            created,
        }
    }

    fn shown(table: &Table) -> Vec<String> {
        let one = |(route, state): (&VpnRoute, RouteState)| {
            format!("{} {} {} {state} {}", route.destination, route.connection, route.owner, route.created)
        };
        table.routes().map(one).collect()
    }

    #[test]
    fn each_owner_replaces_only_its_own_and_a_clash_is_refused() {
        let mut table = Table::new();
        assert!(table.replace_owned(Owner::File, vec![route("10.1.0.0/16", "idc", 1)]).is_empty());
        let refused =
            table.replace_owned(Owner::Cend, vec![route("10.1.0.0/16", "idc", 2), route("10.2.0.0/16", "vco-1", 2)]);
        assert!(matches!(refused[..], [(_, RouteRefused::OwnedByOther { owner: Owner::File, .. })]));
        assert_eq!(shown(&table), ["10.1.0.0/16 idc file down 1", "10.2.0.0/16 vco-1 cend down 2"]);
        table.replace_owned(Owner::Cend, vec![]);
        assert_eq!(shown(&table), ["10.1.0.0/16 idc file down 1"]);
    }

    #[test]
    fn a_route_that_stays_keeps_its_time_of_creation() {
        let mut table = Table::new();
        table.replace_owned(Owner::Cend, vec![route("10.1.0.0/16", "a", 1)]);
        table.replace_owned(Owner::Cend, vec![route("10.1.0.0/16", "a", 9), route("10.2.0.0/16", "a", 9)]);
        assert_eq!(shown(&table), ["10.1.0.0/16 a cend down 1", "10.2.0.0/16 a cend down 9"]);
    }

    #[test]
    fn host_bits_and_doubles_are_refused() {
        let mut table = Table::new();
        let routes = vec![route("10.1.0.1/16", "a", 1), route("10.2.0.0/16", "a", 1), route("10.2.0.0/16", "a", 1)];
        let refused = table.replace_owned(Owner::File, routes);
        assert!(matches!(refused[..], [(_, RouteRefused::HostBits(_)), (_, RouteRefused::Duplicate(_))]));
        assert_eq!(table.len(), 1);
        assert_eq!(table.destinations().count(), 1, "a refused route leaves no destination behind");
    }

    #[test]
    fn publications_name_the_files_routes_completely() {
        let mut table = Table::new();
        table.replace_owned(Owner::File, vec![route("10.1.0.0/16", "a", 1), route("10.2.0.0/16", "a", 1)]);
        let key = |destination: &str| route(destination, "a", 0).key();
        let published = |keys: &[&str]| keys.iter().map(|d| (key(d), Publication::Published)).collect();
        let unknown = table.set_file_publications(&published(&["10.1.0.0/16", "10.3.0.0/16"]));
        assert_eq!(unknown, [key("10.3.0.0/16")]);
        table.set_file_publications(&published(&["10.2.0.0/16"]));
        let states: Vec<_> = table.routes().map(|(route, _)| route.publication).collect();
        assert_eq!(states, [Publication::Normal, Publication::Published]);
    }

    #[test]
    fn the_longest_prefix_is_looked_up_even_if_it_is_down() {
        let mut table = Table::new();
        table.replace_owned(Owner::File, vec![route("0.0.0.0/0", "all", 1), route("10.1.0.0/16", "one", 1)]);
        assert!(table.set_up("all", true));
        assert!(!table.set_up("all", true), "no news");
        let found = |address: &str| {
            let routes = table.lookup(address.parse().expect("an address"));
            routes.iter().map(|(route, state)| (route.connection.to_string(), *state)).collect::<Vec<_>>()
        };
        assert_eq!(found("10.1.2.3"), [("one".to_owned(), RouteState::Down)]);
        assert_eq!(found("10.2.2.3"), [("all".to_owned(), RouteState::Active)]);
        assert_eq!(found("fd00::1"), []);
        assert!(table.covers("10.2.2.3".parse().expect("an address")));
        assert!(!table.covers("fd00::1".parse().expect("an address")));
    }
}
