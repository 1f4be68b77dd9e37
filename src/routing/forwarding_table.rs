//! The outbound thread's forwarding table, made from the VPN routes.
use std::collections::BTreeSet;
use std::sync::Arc;

use ipnet::IpNet;

use super::entry::RoutePolicy;
use super::table::Table;
use crate::dataplane::fib::{ConnectionId, Fib, PolicyEntry};

/// Brings these destinations to what the table says: each with its connections in the order of
/// [`super::best_path::rank`], or not there if it has none.
///
/// `id` gives the number of a connection in the packet path. A destination none of whose connections has a number
/// (they were refused, say) stays in the table with no choice: its packets are dropped and do not fall through to a
/// shorter prefix; so does one all of whose routes are closed. The same is true of each policy of a destination.
pub fn update_fib(
    fib: &mut Fib,
    table: &Table,
    changed: &BTreeSet<IpNet>,
    id: impl Fn(&Arc<str>) -> Option<ConnectionId>,
) {
    for destination in changed {
        let mut by_destination = None;
        let mut policies = Vec::new();
        for same in table.at(destination).chunk_by(|(one, _), (other, _)| one.policy == other.policy) {
            let open = same.iter().filter(|(route, _)| route.closed.is_none());
            let connections: Vec<_> = open.filter_map(|(route, _)| id(&route.connection)).collect();
            match same.first().and_then(|(route, _)| route.policy) {
                Some(RoutePolicy { priority, source }) => {
                    let source = source.trunc();
                    policies.push(PolicyEntry { priority, source, connections: connections.into() });
                }
                None => by_destination = Some(connections),
            }
        }
        match by_destination {
            Some(connections) => fib.insert(*destination, connections),
            None => fib.remove(*destination),
        }
        fib.set_policies(*destination, policies);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::routing::entry::{Owner, Publication, VpnRoute, Weight};

    fn route(destination: &str, connection: &str, weight: Weight) -> VpnRoute {
        VpnRoute {
            destination: destination.parse().expect("a prefix"),
            policy: None,
            connection: connection.into(),
            weight,
            owner: Owner::File,
            publication: Publication::Normal,
            created: 0,
            closed: None,
        }
    }

    #[test]
    fn preference_becomes_order_and_an_unknown_connection_catches_its_packets() {
        let mut table = Table::new();
        table.replace_owned(
            Owner::File,
            vec![
                route("10.0.0.0/8", "one", Weight::Active),
                route("10.0.0.0/8", "two", Weight::Standby),
                route("10.1.0.0/16", "unknown", Weight::Active),
            ],
        );
        table.set_up(&"two".into(), true);
        let ids = |name: &Arc<str>| match &**name {
            "one" => Some(ConnectionId(1)),
            "two" => Some(ConnectionId(2)),
            _ => None,
        };
        let mut fib = Fib::default();
        let changed = table.take_changed();
        update_fib(&mut fib, &table, &changed, ids);
        let source = "192.168.0.1".parse().expect("an address");
        let at = |fib: &Fib, address: &str| fib.connections(source, address.parse().expect("an address")).to_vec();
        assert_eq!(at(&fib, "10.9.9.9"), [ConnectionId(2), ConnectionId(1)]);
        assert_eq!(at(&fib, "10.1.0.1"), []);
        assert_eq!(at(&fib, "172.16.0.1"), []);
        let unknown = route("10.1.0.0/16", "unknown", Weight::Active);
        table.change(Owner::File, vec![unknown.key()], vec![]);
        table.set_up(&"one".into(), true);
        let changed = table.take_changed();
        update_fib(&mut fib, &table, &changed, ids);
        assert_eq!(at(&fib, "10.1.0.1"), [ConnectionId(1), ConnectionId(2)], "the longer prefix is gone");
    }

    #[test]
    fn a_policy_of_a_destination_comes_before_its_routes_and_goes_again() {
        let policy = Some(RoutePolicy { priority: 10, source: "192.168.1.0/24".parse().expect("a prefix") });
        let by_policy = VpnRoute { policy, ..route("10.0.0.0/8", "one", Weight::Active) };
        let unknown = VpnRoute { policy, ..route("10.1.0.0/16", "unknown", Weight::Active) };
        let mut table = Table::new();
        table.replace_owned(Owner::File, vec![route("10.0.0.0/8", "two", Weight::Active), by_policy.clone(), unknown]);
        let ids = |name: &Arc<str>| match &**name {
            "one" => Some(ConnectionId(1)),
            "two" => Some(ConnectionId(2)),
            _ => None,
        };
        let mut fib = Fib::default();
        let mut update = |table: &mut Table| {
            let changed = table.take_changed();
            update_fib(&mut fib, table, &changed, ids);
            [("192.168.1.1", "10.9.9.9"), ("192.168.2.1", "10.9.9.9"), ("192.168.1.1", "10.1.0.1")].map(|(from, to)| {
                fib.connections(from.parse().expect("an address"), to.parse().expect("an address")).to_vec()
            })
        };
        assert_eq!(update(&mut table), [vec![ConnectionId(1)], vec![ConnectionId(2)], vec![]]);
        table.change(Owner::File, vec![by_policy.key()], vec![]);
        assert_eq!(update(&mut table), [vec![ConnectionId(2)], vec![ConnectionId(2)], vec![]]);
    }
}
