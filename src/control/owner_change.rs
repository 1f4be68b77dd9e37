//! What changes in cend's set from one revision to the next, and the set by its keys, which that changes.
//!
//! As between an RPKI repository and those who follow it (RFC 8182): a set belongs to a session, the run of cend that counts its
//! revisions, and a change joins two revisions of one session. Who has another session or another revision is told the whole.

use std::collections::BTreeMap;
use std::collections::btree_map::Entry;
use std::sync::Arc;

use ipnet::IpNet;
use serde::{Deserialize, Serialize};

use super::owner::{OwnerConnection, OwnerPublication, OwnerRoute, OwnerSet, Refusal, RefusedKind};
use super::route::Publication;
use crate::wire::cidr;

/// The body of `PATCH /v1/owners/cend`: what has to be done to a set of revision `from` to make it the one of `to`. Taken if
/// the set in force is of this session and revision, and refused with 409 and the revision in force otherwise.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct OwnerChange {
    /// As in [`OwnerSet::session`].
    #[serde(default)]
    pub session: String,
    /// The revision that the change begins at.
    pub from: u64,
    /// The revision that it leads to; `from` in a question whether that is in force.
    pub to: u64,
    /// Connections by their names.
    #[serde(default, skip_serializing_if = "Difference::is_empty")]
    pub connections: Difference<Arc<OwnerConnection>, String>,
    /// VPN routes by destination and connection.
    #[serde(default, skip_serializing_if = "Difference::is_empty")]
    pub routes: Difference<OwnerRoute, OwnerRouteKey>,
    /// Publication state of gatewayd.toml's routes, likewise.
    #[serde(default, skip_serializing_if = "Difference::is_empty")]
    pub publications: Difference<OwnerPublication, OwnerRouteKey>,
}

/// What changes among the things of one kind. First everything is removed, then everything is set.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Difference<T, K> {
    /// What is there from now on, new or in place of what had its key.
    #[serde(default = "Vec::new")]
    pub set: Vec<T>,
    /// The keys of what is there no more. One that was not there is no mistake.
    #[serde(default = "Vec::new")]
    pub removed: Vec<K>,
}

impl<T, K> Default for Difference<T, K> {
    fn default() -> Self {
        Self { set: Vec::new(), removed: Vec::new() }
    }
}

impl<T, K> Difference<T, K> {
    /// Whether nothing changes.
    pub fn is_empty(&self) -> bool {
        self.set.is_empty() && self.removed.is_empty()
    }
}

/// What names a VPN route in a set. Ordered by connection, so that the routes of one stand together.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct OwnerRouteKey {
    /// The name of the connection that the route leads into.
    pub connection: String,
    /// The destination, without host bits.
    #[serde(deserialize_with = "cidr::one")]
    pub destination: IpNet,
    /// The source of a policy-based route, without host bits.
    #[serde(default, deserialize_with = "cidr::optional", skip_serializing_if = "Option::is_none")]
    pub source: Option<IpNet>,
}

impl OwnerRoute {
    /// What names this route.
    pub fn key(&self) -> OwnerRouteKey {
        OwnerRouteKey { connection: self.connection.clone(), destination: self.destination, source: self.source }
    }
}

impl OwnerPublication {
    /// What names the route whose publication it is.
    pub fn key(&self) -> OwnerRouteKey {
        OwnerRouteKey { connection: self.connection.clone(), destination: self.destination, source: None }
    }
}

impl OwnerChange {
    /// Whether nothing but the revision changes.
    pub fn is_empty(&self) -> bool {
        self.connections.is_empty() && self.routes.is_empty() && self.publications.is_empty()
    }

    /// The names of the connections that it sets or removes.
    pub fn connection_names(&self) -> impl Iterator<Item = &str> {
        let Difference { set, removed } = &self.connections;
        set.iter().map(|connection| connection.name.as_str()).chain(removed.iter().map(String::as_str))
    }

    /// The keys of the routes that it sets or removes.
    pub fn route_keys(&self) -> impl Iterator<Item = OwnerRouteKey> {
        self.routes.set.iter().map(OwnerRoute::key).chain(self.routes.removed.iter().cloned())
    }

    /// The keys of the publications that it sets or removes.
    pub fn publication_keys(&self) -> impl Iterator<Item = OwnerRouteKey> {
        self.publications.set.iter().map(OwnerPublication::key).chain(self.publications.removed.iter().cloned())
    }
}

/// cend's complete set by its keys. What a change leaves alone is shared with every copy.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct OwnerEntries {
    /// As in [`OwnerSet::session`].
    pub session: String,
    /// As in [`OwnerSet::revision`].
    pub revision: u64,
    /// The connections by their names.
    pub connections: BTreeMap<String, Arc<OwnerConnection>>,
    /// The VPN routes.
    pub routes: BTreeMap<OwnerRouteKey, OwnerRoute>,
    /// Publication state of gatewayd.toml's routes.
    pub publications: BTreeMap<OwnerRouteKey, Publication>,
}

impl OwnerEntries {
    /// A set by its keys. Of two things with one key the first one counts; the others are answered as refused.
    pub fn new(set: OwnerSet) -> (Self, Vec<Refusal>) {
        let OwnerSet { session, revision, connections, routes, publications } = set;
        let mut twice = Vec::new();
        let mut refuse = |kind, name: String, what| {
            twice.push(Refusal { kind, name, reason: format!("the set names this {what} twice") });
        };
        let connections = connections.into_iter().map(|connection| (connection.name.clone(), connection));
        let routes = routes.into_iter().map(|route| (route.key(), route));
        let publications = publications.into_iter().map(|one| (one.key(), one.publication));
        let destination = |key: &OwnerRouteKey| key.destination.to_string();
        let entries = Self {
            session,
            revision,
            connections: by_key(connections, |name| refuse(RefusedKind::Connection, name.clone(), "connection")),
            routes: by_key(routes, |key| refuse(RefusedKind::Route, destination(key), "route")),
            publications: by_key(publications, |key| {
                refuse(RefusedKind::Publication, destination(key), "route's publication");
            }),
        };
        (entries, twice)
    }

    /// The set as it is put and kept.
    pub fn set(&self) -> OwnerSet {
        OwnerSet {
            session: self.session.clone(),
            revision: self.revision,
            connections: self.connections.values().map(Arc::clone).collect(),
            routes: self.routes.values().cloned().collect(),
            publications: self.publications.iter().map(publication).collect(),
        }
    }

    /// The routes into one connection.
    pub fn routes_of(&self, connection: &str) -> impl Iterator<Item = &OwnerRouteKey> {
        // The least of all prefixes.
        let first = OwnerRouteKey { connection: connection.to_owned(), destination: IpNet::default(), source: None };
        let of_it = {
            let name = first.connection.clone();
            move |key: &&OwnerRouteKey| key.connection == name
        };
        self.routes.range(first..).map(|(key, _)| key).take_while(of_it)
    }

    /// Makes it the set that the change leads to.
    pub fn apply(&mut self, change: &OwnerChange) {
        let OwnerChange { session, from: _, to, connections, routes, publications } = change;
        self.session.clone_from(session);
        self.revision = *to;
        for name in &connections.removed {
            self.connections.remove(name);
        }
        for connection in &connections.set {
            self.connections.insert(connection.name.clone(), Arc::clone(connection));
        }
        for key in &routes.removed {
            self.routes.remove(key);
        }
        for route in &routes.set {
            self.routes.insert(route.key(), route.clone());
        }
        for key in &publications.removed {
            self.publications.remove(key);
        }
        for publication in &publications.set {
            self.publications.insert(publication.key(), publication.publication);
        }
    }

    /// The change that leads from this set to another one.
    pub fn difference(&self, to: &Self) -> OwnerChange {
        OwnerChange {
            session: to.session.clone(),
            from: self.revision,
            to: to.revision,
            connections: difference(&self.connections, &to.connections, |(_, connection)| Arc::clone(connection)),
            routes: difference(&self.routes, &to.routes, |(_, route)| route.clone()),
            publications: difference(&self.publications, &to.publications, publication),
        }
    }
}

/// Of two things with one key the first one.
fn by_key<K: Ord, V>(things: impl Iterator<Item = (K, V)>, mut twice: impl FnMut(&K)) -> BTreeMap<K, V> {
    let mut map = BTreeMap::new();
    for (key, value) in things {
        match map.entry(key) {
            Entry::Vacant(free) => {
                free.insert(value);
            }
            Entry::Occupied(taken) => twice(taken.key()),
        }
    }
    map
}

fn publication((key, publication): (&OwnerRouteKey, &Publication)) -> OwnerPublication {
    // A publication is of a destination-based route.
    let OwnerRouteKey { connection, destination, source: _ } = key.clone();
    OwnerPublication { destination, connection, publication: *publication }
}

fn difference<K: Ord + Clone, V: PartialEq, T>(
    from: &BTreeMap<K, V>,
    to: &BTreeMap<K, V>,
    told: impl Fn((&K, &V)) -> T,
) -> Difference<T, K> {
    let news = to.iter().filter(|(key, value)| from.get(*key) != Some(*value));
    let gone = from.keys().filter(|key| !to.contains_key(*key));
    Difference { set: news.map(told).collect(), removed: gone.cloned().collect() }
}

#[cfg(test)]
mod tests {
    use super::*;

    const DOCUMENTED: &str = r#"{"session":"9df4b597-af9e-4dca-bdda-719cce2c4e28","from":17,"to":19,
     "connections":{"set":[{"name":"vco-1","peer":"203.0.113.2","local_id":"203.0.113.1","peer_id":"203.0.113.2",
       "psk":"swordfish",
       "ike":{"version":"ikev2","mode":"main","encryption":"aes","integrity":"sha256","group":"group14","lifetime":86400},
       "esp":{"encryption":"aes","integrity":"sha256","pfs":"group14","lifetime":86400},
       "local_subnets":["192.168.0.0/16"],"peer_subnets":["10.1.1.0/24"],
       "start":"now","liveness":true,"nat_traversal":true}],"removed":["vco-2"]},
     "routes":{"set":[{"destination":"10.1.1.0/24","connection":"vco-1","weight":0,"publication":"published"}],
       "removed":[{"destination":"10.1.2.0/24","connection":"vco-2"}]},
     "publications":{"removed":[{"destination":"10.9.0.0/24","connection":"branch"}]}}"#;

    fn route(destination: &str, connection: &str, weight: u8) -> OwnerRoute {
        OwnerRoute {
            destination: destination.parse().unwrap(),
            source: None,
            priority: None,
            connection: connection.into(),
            weight,
            publication: Publication::Normal,
        }
    }

    fn documented() -> OwnerChange {
        serde_json::from_str(DOCUMENTED).unwrap()
    }

    #[test]
    fn the_documented_change_is_read_and_written_alike_and_shows_no_key() {
        let change = documented();
        assert_eq!((change.from, change.to, change.connections.removed.len()), (17, 19, 1));
        let again: OwnerChange = serde_json::from_str(&serde_json::to_string(&change).unwrap()).unwrap();
        assert_eq!(again, change);
        assert!(!format!("{change:?}").contains("swordfish"));
        let error = serde_json::from_str::<OwnerChange>(r#"{"from":1,"to":2,"tunnels":{}}"#).unwrap_err();
        assert!(error.to_string().contains("unknown field `tunnels`"), "{error}");
    }

    #[test]
    fn the_difference_of_two_sets_leads_from_one_to_the_other_and_holds_nothing_else() {
        let connection = (*documented().connections.set[0]).clone();
        let named = |name: &str| Arc::new(OwnerConnection { name: name.into(), ..connection.clone() });
        let routes = vec![route("10.1.0.0/24", "stays", 100), route("10.2.0.0/24", "goes", 100)];
        let connections = vec![named("changes"), named("goes"), named("stays")];
        let before = OwnerSet { revision: 7, connections, routes, ..OwnerSet::default() };
        let new = named("new");
        let changed = Arc::new(OwnerConnection { liveness: false, ..(*named("changes")).clone() });
        let stays = named("stays");
        let after = OwnerSet {
            session: "b".into(),
            revision: 3,
            connections: vec![changed, stays, new],
            routes: vec![route("10.1.0.0/24", "stays", 0)],
            ..OwnerSet::default()
        };
        let (mut before, after) = (OwnerEntries::new(before).0, OwnerEntries::new(after).0);
        let change = before.difference(&after);
        assert_eq!(change.connection_names().collect::<Vec<_>>(), ["changes", "new", "goes"]);
        assert_eq!((change.routes.set.len(), change.routes.removed.len()), (1, 1));
        before.apply(&change);
        assert_eq!(before, after);
        assert!(before.difference(&after).is_empty());
        assert_eq!(OwnerEntries::new(after.set()).0, after);
    }

    #[test]
    fn what_a_set_names_twice_counts_once_and_is_told() {
        let routes = vec![route("10.1.0.0/24", "a", 100), route("10.1.0.0/24", "a", 0), route("10.1.0.0/24", "b", 0)];
        let (entries, twice) = OwnerEntries::new(OwnerSet { revision: 1, routes, ..OwnerSet::default() });
        assert_eq!(entries.routes.values().map(|route| route.weight).collect::<Vec<_>>(), [100, 0]);
        assert_eq!((twice.len(), twice[0].kind), (1, RefusedKind::Route));
    }

    #[test]
    fn the_routes_of_a_connection_are_found_without_the_others() {
        let routes = [("10.1.0.0/24", "a"), ("0.0.0.0/0", "b"), ("fd00::/8", "b"), ("10.1.0.0/24", "bb")]
            .map(|(to, by)| route(to, by, 0));
        let (entries, _) = OwnerEntries::new(OwnerSet { routes: routes.into(), ..OwnerSet::default() });
        let of = |name| entries.routes_of(name).map(|key| key.destination.to_string()).collect::<Vec<_>>();
        assert_eq!(of("b"), ["0.0.0.0/0", "fd00::/8"]);
        assert_eq!((of("a").len(), of("c").len()), (1, 0));
    }
}
