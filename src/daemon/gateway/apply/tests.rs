use std::collections::BTreeMap;
use std::path::Path;

use super::*;
use crate::control::owner::{OwnerConnection, OwnerRoute, OwnerSet};
use crate::control::owner_change::{Difference as Changes, OwnerChange};
use crate::daemon::gateway::shown::Shown;
use crate::daemon::owner_keeper::{OwnerKeeper, OwnerUpdate};
use crate::daemon::owner_set;

const CONNECTIONS: usize = 8000;

fn set() -> OwnerSet {
    OwnerSet {
        session: "s".into(),
        revision: 1,
        connections: (0..CONNECTIONS).map(|number| connection(number, "swordfish")).collect(),
        routes: (0..CONNECTIONS).map(|number| route(number, 100)).collect(),
        ..OwnerSet::default()
    }
}

fn connection(number: usize, key: &str) -> Arc<OwnerConnection> {
    let text = format!(
        r#"{{"name":"vco-{number}","peer":"203.0.113.2","local_id":"203.0.113.1","peer_id":"branch-{number}","psk":"{key}",
        "ike":{{"version":"ikev2","mode":"main","encryption":"aes","integrity":"sha1","group":"group2","lifetime":86400}},
        "esp":{{"encryption":"aes","integrity":"sha1","pfs":"group2","lifetime":86400}},
        "local_subnets":["192.168.0.0/16"],"peer_subnets":["{}"],"start":"wait","liveness":true,"nat_traversal":true}}"#,
        destination(number)
    );
    Arc::new(serde_json::from_str(&text).unwrap())
}

fn destination(number: usize) -> String {
    format!("10.{}.{}.0/24", number / 256, number % 256)
}

fn route(number: usize, weight: u8) -> OwnerRoute {
    OwnerRoute {
        destination: destination(number).parse().unwrap(),
        source: None,
        priority: None,
        connection: format!("vco-{number}"),
        weight,
        publication: crate::control::route::Publication::Normal,
    }
}

/// What of the control task's state follows cend's set, without the kernel and the threads.
struct Followed {
    file: Config,
    set: OwnerEntries,
    cend: Translation,
    force: Force,
    shown: Shown,
}

/// How many of each there were to look at.
#[derive(Debug, Default, PartialEq, Eq)]
struct Work {
    translated: usize,
    told_to_ike: usize,
    destinations: usize,
    shown_connections: usize,
    shown_routes: usize,
    policy: bool,
}

impl Followed {
    fn new() -> Self {
        Self {
            file: Config::parse("", Path::new("gatewayd.toml")).unwrap(),
            set: OwnerEntries::default(),
            cend: Translation::default(),
            force: Force::default(),
            shown: Shown::default(),
        }
    }

    fn follow(&mut self, change: &OwnerChange) -> Work {
        let tunnels = Arc::clone(&self.cend.tunnels);
        let routes = self.shown.routes.clone();
        let touched = self.cend.change(&mut self.set, change, 7);
        self.force.protection.stale = false;
        let difference = self.force.change(&self.file, &self.cend, &touched);
        let told = self.force.told(&difference, |tunnel| match tunnel.peer {
            PeerName::Address(address) => Some(address),
            PeerName::Name(_) | PeerName::Any => None,
        });
        let changed = self.force.table.take_changed();
        let destinations = changed.len();
        self.shown.show(changed, &self.force.table);
        Work {
            translated: touched.tunnels.new.len(),
            told_to_ike: told.removed.len() + told.set.len(),
            destinations,
            shown_connections: others(tunnels.iter(), self.cend.tunnels.iter()),
            shown_routes: others(routes.iter(), self.shown.routes.iter()),
            policy: self.force.protection.stale,
        }
    }
}

/// How many entries are not the very same.
fn others<'a, K: Ord + 'a, V: 'a>(
    before: impl Iterator<Item = (&'a K, &'a Arc<V>)>,
    after: impl Iterator<Item = (&'a K, &'a Arc<V>)>,
) -> usize {
    let [before, after]: [BTreeMap<&K, &Arc<V>>; 2] = [before.collect(), after.collect()];
    let same = |(key, one): &(&&K, &&Arc<V>)| before.get(*key).is_some_and(|other| Arc::ptr_eq(one, other));
    let gone = before.keys().filter(|key| !after.contains_key(*key)).count();
    gone + after.iter().filter(|entry| !same(entry)).count()
}

fn set_connection(from: u64, connection: Arc<OwnerConnection>) -> OwnerChange {
    let connections = Changes { set: vec![connection], removed: vec![] };
    OwnerChange { session: "s".into(), from, to: from + 1, connections, ..OwnerChange::default() }
}

#[tokio::test]
async fn one_of_eight_thousand_in_a_patch_is_looked_at_alone_from_the_request_to_the_view() {
    let state = tempfile::tempdir().unwrap();
    let (keeper, mut kept) = OwnerKeeper::start(state.path(), None).unwrap();
    let mut gateway = Followed::new();
    let mut request = async |update: OwnerUpdate| {
        let answer = tokio::spawn({
            let keeper = keeper.clone();
            async move { keeper.update(update).await }
        });
        let Kept { change, twice: _, answer: asker } = kept.recv().await.unwrap();
        let work = gateway.follow(&change);
        let reply = OwnerReply { revision: gateway.set.revision, refused: gateway.cend.refused().collect() };
        asker.send(Ok(reply)).unwrap();
        assert_eq!(answer.await.unwrap().unwrap().refused, []);
        work
    };
    let all = request(OwnerUpdate::Set(set())).await;
    assert_eq!((all.translated, all.told_to_ike, all.shown_routes), (CONNECTIONS, CONNECTIONS, CONNECTIONS));

    let changed = request(OwnerUpdate::Change(set_connection(1, connection(4711, "other")))).await;
    assert_eq!(changed, Work { translated: 1, told_to_ike: 1, shown_connections: 1, ..Work::default() });

    let routes = Changes { set: vec![route(4711, 0)], removed: vec![] };
    let weight = OwnerChange { session: "s".into(), from: 2, to: 3, routes, ..OwnerChange::default() };
    let weight = request(OwnerUpdate::Change(weight)).await;
    assert_eq!(weight, Work { destinations: 1, shown_routes: 1, ..Work::default() });

    let added = OwnerChange {
        routes: Changes { set: vec![route(CONNECTIONS, 100)], removed: vec![] },
        ..set_connection(3, connection(CONNECTIONS, "new"))
    };
    let one =
        Work { translated: 1, told_to_ike: 1, destinations: 1, shown_connections: 1, shown_routes: 1, policy: true };
    assert_eq!(request(OwnerUpdate::Change(added)).await, one);

    // The whole set again, with one that is not as it was.
    let mut again = set();
    (again.revision, again.connections[7]) = (5, connection(7, "again"));
    let put = request(OwnerUpdate::Set(again)).await;
    assert_eq!(
        (put.translated, put.told_to_ike, put.destinations),
        (2, 3, 2),
        "one is another one, one is again what it was, and one is gone"
    );
}

#[test]
fn what_is_protected_follows_the_set_whatever_is_refused_and_ends_when_nobody_asks_for_it_any_more() {
    let mut gateway = Followed::new();
    let protected = |gateway: &Followed| {
        let policy = gateway.force.protection.policy(&gateway.file, std::iter::empty()).cend;
        assert_eq!(policy, owner_set::share(&gateway.set));
        policy.protect.len()
    };
    let refused = OwnerRoute { connection: "nobody".into(), ..route(1, 0) };
    let change = |from, set: Vec<OwnerRoute>, removed: Vec<OwnerRoute>| OwnerChange {
        from,
        to: from + 1,
        routes: Changes { set, removed: removed.iter().map(OwnerRoute::key).collect() },
        ..OwnerChange::default()
    };
    // The same one twice, and one that is removed and set at once.
    gateway.follow(&change(0, vec![refused.clone(), refused.clone(), route(2, 0)], vec![route(2, 0)]));
    assert_eq!((protected(&gateway), gateway.cend.routes.len()), (2, 0));
    // Another one leads there too.
    assert!(!gateway.follow(&change(1, vec![route(1, 0)], vec![])).policy);
    assert!(!gateway.follow(&change(2, vec![], vec![refused])).policy);
    assert_eq!(protected(&gateway), 2);
    assert!(gateway.follow(&change(3, vec![], vec![route(1, 0), route(3, 0)])).policy);
    assert_eq!(protected(&gateway), 1);
}

#[test]
fn what_a_thousand_names_resolve_to_together_is_one_change() {
    let connection = |number: usize| {
        format!(
            "[[connection]]\nname = \"site-{number}\"\npeer = \"site-{number}.example\"\nlocal_id = \"gateway\"\n\
             peer_id = \"site-{number}\"\npsk = \"swordfish, and more of it\"\nlocal_subnets = [\"192.168.0.0/16\"]\n\
             peer_subnets = [\"{}\"]\n",
            destination(number)
        )
    };
    let text: String = (0..1000).map(connection).collect();
    let file = Config::parse(&text, Path::new("gatewayd.toml")).unwrap();
    let mut force = Force::default();
    let difference = force.change(&file, &Translation::default(), &Touched::default());
    assert_eq!(difference.new.len(), 1000);
    let address = |last: u8| IpAddr::from([203, 0, 113, last]);
    let name = |number: usize| format!("site-{number}.example");
    let mut resolved: BTreeMap<String, IpAddr> = (0..1000).map(|number| (name(number), address(7))).collect();
    force.protection.stale = false;
    let set = force.moved(&(0..1000).map(|number| (name(number), None)).collect(), &resolved);
    let peers = |force: &Force| force.protection.policy(&file, std::iter::empty()).outer_peers;
    assert_eq!((set.len(), force.protection.stale, peers(&force)), (1000, true, [address(7)].into()));
    // One of them leads elsewhere, where another one led already: the address that it leaves is still others'.
    resolved.insert(name(1), address(8));
    let set = force.moved(&[(name(1), Some(address(7)))].into(), &resolved);
    assert_eq!((set.len(), peers(&force)), (1, [address(7), address(8)].into()));
}
