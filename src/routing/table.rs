//! The VPN gateway's route table.
use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::net::IpAddr;
use std::sync::Arc;

use ipnet::IpNet;

use super::best_path::rank;
use super::entry::{Owner, Publication, RouteKey, RouteState, VpnRoute};
use super::prefixes::shortened;
use super::reconcile::Family;

/// Why a route was not taken into the table.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum RouteRefused {
    /// The destination has bits set beyond its prefix length.
    #[error("{0} has host bits set; the prefix is {prefix}", prefix = .0.trunc())]
    HostBits(IpNet),
    /// Its source and its destination are of different families.
    #[error("{source} and {destination} are of different address families", source = .0, destination = .1)]
    Families(IpNet, IpNet),
    /// The same destination, source and connection belong to the other owner.
    #[error("the route {destination} to {connection} belongs to the {owner}", destination = key.destination, connection = key.connection)]
    OwnedByOther {
        /// The route that was asked for.
        key: RouteKey,
        /// Who has it.
        owner: Owner,
    },
    /// The set names one destination, source and connection twice.
    #[error("the route {} to {} is named twice", .0.destination, .0.connection)]
    Duplicate(RouteKey),
}

/// Whether a route can have these prefixes.
///
/// # Errors
/// One of them has host bits, or they are of different families.
pub fn check_prefixes(destination: IpNet, source: Option<IpNet>) -> Result<(), RouteRefused> {
    if let Some(loose) = [Some(destination), source].into_iter().flatten().find(|prefix| *prefix != prefix.trunc()) {
        return Err(RouteRefused::HostBits(loose));
    }
    match source {
        Some(source) if Family::of(&source) != Family::of(&destination) => {
            Err(RouteRefused::Families(source, destination))
        }
        _ => Ok(()),
    }
}

/// VPN routes by destination, source and connection, and which connections are up. A change looks at what it names only.
#[derive(Clone, Debug, Default)]
pub struct Table {
    /// By destination, without host bits; few connections lead to one.
    routes: BTreeMap<IpNet, Vec<VpnRoute>>,
    /// The destinations that each connection leads to.
    of_connection: BTreeMap<Arc<str>, BTreeSet<IpNet>>,
    /// Routes that are asked for and cannot be taken, as long as that is so.
    refused: Vec<(VpnRoute, RouteRefused)>,
    up: BTreeSet<Arc<str>>,
    /// Destinations whose routes, or the states of these, have changed.
    changed: BTreeSet<IpNet>,
}

impl Table {
    /// An empty table with every connection down.
    pub fn new() -> Self {
        Self::default()
    }

    /// Makes `routes` the complete set of `owner`, as [`Table::change`] does.
    pub fn replace_owned(&mut self, owner: Owner, routes: Vec<VpnRoute>) {
        let owned = |route: &&VpnRoute| route.owner == owner;
        let removed = self.routes.values().flatten().filter(owned).map(VpnRoute::key).collect();
        self.refused.retain(|(route, _)| route.owner != owner);
        self.change(owner, removed, routes);
    }

    /// Takes routes of `owner` away and then others in. Routes of the other owner stay; one that clashes with them, or
    /// that is malformed, is left out, stands in [`Table::refused`], and is tried again at every change. A route that
    /// stays keeps its time of creation. A closed one clashes with none of the other owner's, as it leads nowhere.
    pub fn change(&mut self, owner: Owner, removed: Vec<RouteKey>, added: Vec<VpnRoute>) {
        if removed.is_empty() && added.is_empty() {
            return;
        }
        let mut before = HashMap::new();
        for key in removed {
            match self.remove(owner, &key) {
                Some(created) => _ = before.insert(key, created),
                None => {
                    let is_it = |(route, _): &(VpnRoute, _)| route.owner == owner && route.is(&key);
                    if let Some(place) = self.refused.iter().position(is_it) {
                        self.refused.remove(place);
                    }
                }
            }
        }
        let again = std::mem::take(&mut self.refused).into_iter().map(|(route, _)| route);
        for mut route in again.chain(added.into_iter().map(|route| VpnRoute { owner, ..route })).collect::<Vec<_>>() {
            if let Some(created) = before.get(&route.key()).filter(|_| route.owner == owner) {
                route.created = *created;
            }
            if let Err(reason) = self.insert(&route) {
                self.refused.push((route, reason));
            }
        }
    }

    /// The routes of an owner that cannot be taken, and why.
    pub fn refused(&self, owner: Owner) -> impl Iterator<Item = (&VpnRoute, &RouteRefused)> {
        self.refused.iter().filter(move |(route, _)| route.owner == owner).map(|(route, reason)| (route, reason))
    }

    /// The destinations whose routes, or the states of these, have changed since the last call.
    pub fn take_changed(&mut self) -> BTreeSet<IpNet> {
        std::mem::take(&mut self.changed)
    }

    fn insert(&mut self, route: &VpnRoute) -> Result<(), RouteRefused> {
        if route.closed.is_none() {
            check_prefixes(route.destination, route.policy.map(|policy| policy.source))?;
        }
        let (key, destination) = (route.key(), route.destination.trunc());
        // Nothing can be refused from here on when the destination is new, so none is left empty.
        let at_destination = self.routes.entry(destination).or_insert_with(|| Vec::with_capacity(1));
        let clashes = |present: &&VpnRoute| present.owner == route.owner || present.closed.or(route.closed).is_none();
        match at_destination.iter().filter(clashes).find(|present| present.is(&key)) {
            Some(present) if present.owner == route.owner => Err(RouteRefused::Duplicate(key)),
            Some(present) => Err(RouteRefused::OwnedByOther { key, owner: present.owner }),
            None => {
                at_destination.push(route.clone());
                self.of_connection.entry(key.connection).or_default().insert(destination);
                self.changed.insert(destination);
                Ok(())
            }
        }
    }

    /// Takes a route of an owner away, if it is there, and gives its time of creation.
    fn remove(&mut self, owner: Owner, key: &RouteKey) -> Option<u64> {
        let destination = key.destination.trunc();
        let at_destination = self.routes.get_mut(&destination)?;
        let is_it = |route: &VpnRoute| route.owner == owner && route.is(key);
        let route = at_destination.remove(at_destination.iter().position(is_it)?);
        let leads_on = at_destination.iter().any(|other| other.connection == key.connection);
        if at_destination.is_empty() {
            self.routes.remove(&destination);
        }
        if let Some(destinations) = self.of_connection.get_mut(&key.connection).filter(|_| !leads_on) {
            destinations.remove(&destination);
            if destinations.is_empty() {
                self.of_connection.remove(&key.connection);
            }
        }
        self.changed.insert(destination);
        Some(route.created)
    }

    /// Sets the publication state of one route of the file. False: there is none of this key.
    pub fn publish(&mut self, key: &RouteKey, publication: Publication) -> bool {
        let at_destination = self.routes.get_mut(&key.destination).into_iter().flatten();
        let mut of_file = at_destination.filter(|route| route.owner == Owner::File);
        let Some(route) = of_file.find(|route| route.is(key)) else { return false };
        if std::mem::replace(&mut route.publication, publication) != publication {
            self.changed.insert(key.destination);
        }
        true
    }

    /// Notes that a connection has, or no longer has, a Child SA whose path answers. Answers whether that is news.
    pub fn set_up(&mut self, connection: &Arc<str>, up: bool) -> bool {
        let news = if up { self.up.insert(Arc::clone(connection)) } else { self.up.remove(connection) };
        if news {
            self.changed.extend(self.of_connection.get(connection).into_iter().flatten());
        }
        news
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

    /// The routes to one destination, in order of preference.
    pub fn at(&self, destination: &IpNet) -> Vec<(&VpnRoute, RouteState)> {
        self.routes.get(destination).map(|routes| rank(routes, |name| self.is_up(name))).unwrap_or_default()
    }

    /// The routes that a packet to `address` may take, the preferred one first: those of its longest prefix.
    pub fn lookup(&self, address: IpAddr) -> Vec<(&VpnRoute, RouteState)> {
        self.holders(address).next().map(|destination| self.at(&destination)).unwrap_or_default()
    }

    /// Whether an address lies in the destination of a route.
    pub fn covers(&self, address: IpAddr) -> bool {
        self.holders(address).next().is_some()
    }

    /// The destinations that hold an address, the longest first.
    fn holders(&self, address: IpAddr) -> impl Iterator<Item = IpNet> {
        let host = IpNet::from(address);
        let lengths = (0..=host.prefix_len()).rev();
        lengths.filter_map(move |length| shortened(&host, length)).filter(|prefix| self.routes.contains_key(prefix))
    }

    /// Whether there are routes of a family.
    pub fn has_family(&self, family: Family) -> bool {
        // IPv4 is before IPv6.
        let edge = match family {
            Family::Ipv4 => self.routes.keys().next(),
            Family::Ipv6 => self.routes.keys().next_back(),
        };
        edge.is_some_and(|destination| Family::of(destination) == family)
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
    use crate::routing::entry::{RoutePolicy, Weight};

    fn route(destination: &str, connection: &str, created: u64) -> VpnRoute {
        VpnRoute {
            destination: destination.parse().expect("a prefix"),
            policy: None,
            connection: connection.into(),
            weight: Weight::Active,
            owner: Owner::File,
            publication: Publication::Normal,
            created,
            closed: None,
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
        table.replace_owned(Owner::File, vec![route("10.1.0.0/16", "idc", 1)]);
        table.replace_owned(Owner::Cend, vec![route("10.1.0.0/16", "idc", 2), route("10.2.0.0/16", "vco-1", 2)]);
        let refused: Vec<_> = table.refused(Owner::Cend).collect();
        assert!(matches!(refused[..], [(_, RouteRefused::OwnedByOther { owner: Owner::File, .. })]));
        assert_eq!(table.refused(Owner::File).count(), 0);
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
        table.replace_owned(Owner::File, routes);
        let refused: Vec<_> = table.refused(Owner::File).map(|(_, reason)| reason.clone()).collect();
        assert!(matches!(refused[..], [RouteRefused::HostBits(_), RouteRefused::Duplicate(_)]));
        assert_eq!(table.len(), 1);
        assert_eq!(table.destinations().count(), 1, "a refused route leaves no destination behind");
    }

    #[test]
    fn routes_of_several_sources_into_one_connection_are_routes_of_their_own() {
        let by = |source: &str| {
            let policy = Some(RoutePolicy { priority: 10, source: source.parse().expect("a prefix") });
            VpnRoute { policy, ..route("10.1.0.0/16", "a", 1) }
        };
        let mut table = Table::new();
        let refused = [by("192.168.1.1/24"), by("fd00::/8")];
        let all = [route("10.1.0.0/16", "a", 1), by("192.168.1.0/24"), by("192.168.2.0/24")];
        table.replace_owned(Owner::File, all.iter().chain(&refused).cloned().collect());
        assert_eq!(table.len(), 3);
        let refused: Vec<_> = table.refused(Owner::File).map(|(_, reason)| reason).collect();
        assert!(matches!(refused[..], [RouteRefused::HostBits(_), RouteRefused::Families(..)]));
        table.change(Owner::File, vec![all[1].key()], vec![]);
        assert_eq!(table.len(), 2);
        table.take_changed();
        table.set_up(&"a".into(), true);
        assert_eq!(table.take_changed().len(), 1, "the others still follow their connection");
    }

    #[test]
    fn what_was_refused_is_taken_when_its_place_is_free() {
        let mut table = Table::new();
        table.replace_owned(Owner::File, vec![route("10.1.0.0/16", "a", 1)]);
        table.replace_owned(Owner::Cend, vec![route("10.1.0.0/16", "a", 2), route("10.2.0.0/16", "b", 2)]);
        table.change(Owner::File, vec![route("10.1.0.0/16", "a", 0).key()], vec![]);
        assert_eq!(shown(&table), ["10.1.0.0/16 a cend down 2", "10.2.0.0/16 b cend down 2"]);
        assert_eq!(table.refused(Owner::Cend).count(), 0);
        // One that is refused can be taken back, too.
        table.change(Owner::File, vec![], vec![route("10.2.0.0/16", "b", 3)]);
        assert_eq!(table.refused(Owner::File).count(), 1);
        table.change(Owner::File, vec![route("10.2.0.0/16", "b", 3).key()], vec![]);
        assert_eq!((table.refused(Owner::File).count(), table.len()), (0, 2));
    }

    #[test]
    fn of_thousands_only_what_changes_is_named_as_changed() {
        let net = |n: usize| format!("10.{}.{}.0/24", n / 256, n % 256);
        let all = |n: usize| route(&net(n), &format!("c{n}"), 1);
        let mut table = Table::new();
        table.replace_owned(Owner::File, (0..8000).map(all).collect());
        assert_eq!(table.take_changed().len(), 8000);
        let standby = VpnRoute { weight: Weight::Standby, created: 9, ..all(7) };
        table.change(Owner::File, vec![standby.key()], vec![standby]);
        assert_eq!(table.take_changed(), [net(7).parse().unwrap()].into());
        assert_eq!(table.at(&net(7).parse().unwrap())[0].0.created, 1, "it stays");
        assert!(table.set_up(&"c8".into(), true) && !table.set_up(&"c8".into(), true));
        assert_eq!(table.take_changed(), [net(8).parse().unwrap()].into());
        assert!(table.publish(&all(9).key(), Publication::Published));
        assert!(table.publish(&all(9).key(), Publication::Published));
        assert!(!table.publish(&all(8001).key(), Publication::Published));
        assert_eq!(table.take_changed(), [net(9).parse().unwrap()].into());
        assert!(table.has_family(Family::Ipv4) && !table.has_family(Family::Ipv6));
    }

    #[test]
    fn the_longest_prefix_is_looked_up_even_if_it_is_down() {
        let mut table = Table::new();
        table.replace_owned(Owner::File, vec![route("0.0.0.0/0", "all", 1), route("10.1.0.0/16", "one", 1)]);
        assert!(table.set_up(&"all".into(), true));
        assert!(!table.set_up(&"all".into(), true), "no news");
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
