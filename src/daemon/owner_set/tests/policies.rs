//! What the set's policies come to in the packet path, also where something about them is refused.

use super::*;
use crate::dataplane::fib::{ConnectionId, Fib};
use crate::routing::{Table, update_fib};

/// A file with connections of these names, and its text besides.
fn file_with(names: &[&str], besides: &str) -> Config {
    let connection = |name: &&str| {
        format!(
            "[[connection]]\nname = \"{name}\"\npeer = \"203.0.113.9\"\nlocal_id = \"gw\"\npsk = \"x\"\n\
             local_subnets = \"192.168.0.0/16\"\npeer_subnets = \"10.0.0.0/8\"\n"
        )
    };
    let connections: String = names.iter().map(connection).collect();
    Config::parse(&format!("{connections}{besides}"), Path::new("gatewayd.toml")).unwrap()
}

/// The set and what follows from it up to the forwarding table.
struct World {
    file: Config,
    set: OwnerEntries,
    translation: Translation,
    table: Table,
}

impl World {
    fn new(names: &[&str], routes: Vec<OwnerRoute>, file: Config) -> Self {
        let connections = names.iter().map(|name| connection(name).into()).collect();
        let (set, twice) = OwnerEntries::new(OwnerSet { revision: 1, connections, routes, ..OwnerSet::default() });
        assert!(twice.is_empty());
        let (translation, touched) = Translation::new(Some(&set), &file, 7);
        let mut table = Table::new();
        table.replace_owned(Owner::File, file.routes.to_vec());
        let mut world = Self { file, set, translation, table };
        world.take(touched);
        world
    }

    fn take(&mut self, touched: Touched) {
        let Changed { gone, new } = touched.routes;
        self.table.change(Owner::Cend, gone.iter().map(VpnRoute::key).collect(), new);
    }

    fn reload(&mut self, file: Config) {
        let touched = self.translation.follow_file(&self.set, &file, 8);
        let gone = self.file.routes.iter().map(VpnRoute::key).collect();
        self.table.change(Owner::File, gone, file.routes.to_vec());
        self.file = file;
        self.take(touched);
    }

    fn patch(&mut self, removed: &[&OwnerRoute], set: &[OwnerRoute]) {
        let mut change = OwnerChange { from: 1, to: 1, ..OwnerChange::default() };
        change.routes.removed = removed.iter().map(|route| route.key()).collect();
        change.routes.set = set.to_vec();
        let touched = self.translation.change(&mut self.set, &change, 8);
        self.take(touched);
    }

    fn fib(&self) -> (Fib, Vec<String>) {
        let of_file = self.file.connections.iter().map(|tunnel| (tunnel.name(), "file's"));
        let names: Vec<_> = of_file.chain(self.translation.tunnels.keys().map(|name| (name, "cend's"))).collect();
        let id = |name: &Arc<str>| {
            let place = names.iter().position(|(known, _)| *known == name)?;
            u32::try_from(place).ok().map(ConnectionId)
        };
        let mut fib = Fib::default();
        update_fib(&mut fib, &self.table, &self.table.destinations().map(|(destination, _)| destination).collect(), id);
        (fib, names.iter().map(|(name, owner)| format!("{owner} {name}")).collect())
    }

    /// Where a packet goes: into one of the connections, or nowhere.
    fn way(&self, source: &str, destination: &str) -> String {
        let (fib, names) = self.fib();
        let found = fib.connections(source.parse().unwrap(), destination.parse().unwrap());
        found.first().map_or_else(|| "dropped".to_owned(), |id| names[id.0 as usize].clone())
    }

    fn reasons(&self) -> Vec<String> {
        self.translation.refused().map(|refusal| refusal.reason).collect()
    }
}

fn by(source: &str, destination: &str, connection: &str, priority: u8) -> OwnerRoute {
    let (source, priority) = (source.parse().ok(), Some(priority));
    OwnerRoute { source, priority, ..route(destination, connection, 100) }
}

/// A policy into `vco-1`, and what would carry its packets if it were not there: another policy, and a route.
fn world(file: Config) -> (World, OwnerRoute) {
    let policy = by("192.168.7.0/24", "10.1.0.0/16", "vco-1", 10);
    let others = [by("192.168.0.0/16", "10.1.0.0/16", "vco-2", 20), route("10.0.0.0/8", "vco-2", 100)];
    let routes = others.into_iter().chain([policy.clone()]).collect();
    (World::new(&["vco-1", "vco-2"], routes, file), policy)
}

#[test]
fn a_policy_is_closed_while_the_file_has_a_connection_of_its_connection_s_name() {
    let (mut world, policy) = world(file_with(&[], ""));
    let way = |world: &World| world.way("192.168.7.1", "10.1.0.1");
    assert_eq!(way(&world), "cend's vco-1");
    world.reload(file_with(&["vco-1"], ""));
    assert_eq!(way(&world), "dropped");
    assert_eq!(world.way("192.168.8.1", "10.1.0.1"), "cend's vco-2");
    assert!(world.reasons().iter().any(|reason| reason.contains("its connection \"vco-1\"")));
    // The same policy of the file carries; in another place in the order the set's is closed still.
    let same = |priority: u8| {
        let policy = format!("source = \"192.168.7.0/24\"\npriority = {priority}\n");
        format!("[[route]]\ndestination = \"10.1.0.0/16\"\nconnection = \"vco-1\"\n{policy}")
    };
    world.reload(file_with(&["vco-1"], &same(10)));
    assert_eq!(way(&world), "file's vco-1");
    world.reload(file_with(&["vco-1"], &same(11)));
    assert_eq!(way(&world), "dropped");
    world.reload(file_with(&[], ""));
    assert_eq!(way(&world), "cend's vco-1");
    assert_eq!(world.reasons(), [""; 0]);
    world.reload(file_with(&["vco-1"], ""));
    world.patch(&[&policy], &[]);
    assert_eq!(way(&world), "cend's vco-2", "who wanted it wants it no more");
}

#[test]
fn a_policy_is_closed_while_something_about_it_is_refused() {
    type Change = fn(&mut OwnerRoute);
    let wrong: [(Change, &str); 5] = [
        (|policy| policy.weight = 50, "not 50"),
        (|policy| policy.priority = Some(0), "a priority of 0"),
        (|policy| policy.priority = Some(101), "a priority of 101"),
        (|policy| policy.destination = "10.1.0.9/16".parse().unwrap(), "10.1.0.9/16 has host bits set"),
        (|policy| policy.source = "192.168.7.9/24".parse().ok(), "192.168.7.9/24 has host bits set"),
    ];
    for (change, reason) in wrong {
        let (mut world, policy) = world(file_with(&[], ""));
        let mut changed = policy.clone();
        change(&mut changed);
        let removed: Vec<_> = [&policy].into_iter().filter(|policy| policy.key() != changed.key()).collect();
        world.patch(&removed, &[changed.clone()]);
        assert_eq!(world.way("192.168.7.1", "10.1.0.1"), "dropped", "{reason}");
        assert_eq!(world.way("192.168.8.1", "10.1.0.1"), "cend's vco-2", "{reason}");
        assert!(matches!(&world.reasons()[..], [one] if one.contains(reason)), "{:?}", world.reasons());
        assert_eq!(world.table.refused(Owner::Cend).count(), 0);
        // First all is removed, then all is set.
        world.patch(&[&changed], &[policy]);
        assert_eq!(world.way("192.168.7.1", "10.1.0.1"), "cend's vco-1", "{reason}");
        assert_eq!(world.reasons(), [""; 0]);
    }
}

#[test]
fn a_policy_into_a_connection_that_is_not_in_the_set_is_no_business_of_the_file_s() {
    for names in [["x"].as_slice(), &[]] {
        let routes = vec![by("192.168.7.0/24", "10.1.0.0/16", "x", 10), route("10.0.0.0/8", "vco-2", 100)];
        let mut world = World::new(&["vco-2"], routes, file_with(names, ""));
        for names in [&[][..], &["x"], &[]] {
            assert_eq!(world.way("192.168.7.1", "10.1.0.1"), "dropped", "{names:?}");
            assert!(world.table.routes().all(|(route, _)| &*route.connection != "x" || route.policy.is_some()));
            world.reload(file_with(names, ""));
        }
        assert_eq!(world.way("192.168.7.1", "10.1.0.1"), "dropped");
    }
}

#[test]
fn many_policies_to_one_destination_are_all_in_force() {
    let all: Vec<OwnerRoute> = (0..200).map(|n| by(&format!("192.168.{n}.0/24"), "10.1.0.0/16", "vco-1", 10)).collect();
    let world = World::new(&["vco-1"], all, file_with(&[], ""));
    for n in [0, 63, 64, 199] {
        assert_eq!(world.way(&format!("192.168.{n}.1"), "10.1.0.1"), "cend's vco-1");
    }
    assert_eq!(world.reasons(), [""; 0]);
}
