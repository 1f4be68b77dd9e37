//! The outbound thread's forwarding table, made from the VPN routes.
use std::collections::BTreeSet;
use std::sync::Arc;

use ipnet::IpNet;

use super::table::Table;
use crate::dataplane::fib::{ConnectionId, Fib};

/// Brings these destinations to what the table says: each with its connections in the order of
/// [`super::best_path::rank`], or not there if it has none.
///
/// `id` gives the number of a connection in the packet path. A destination none of whose connections has a number
/// (they were refused, say) stays in the table with no choice: its packets are dropped and do not fall through to a
/// shorter prefix.
pub fn update_fib(
    fib: &mut Fib,
    table: &Table,
    changed: &BTreeSet<IpNet>,
    id: impl Fn(&Arc<str>) -> Option<ConnectionId>,
) {
    for destination in changed {
        let routes = table.at(destination);
        if routes.is_empty() {
            fib.remove(*destination);
        } else {
            fib.insert(*destination, routes.iter().filter_map(|(route, _)| id(&route.connection)).collect());
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::routing::entry::{Owner, Publication, VpnRoute, Weight};

    fn route(destination: &str, connection: &str, weight: Weight) -> VpnRoute {
        VpnRoute {
            destination: destination.parse().expect("a prefix"),
            connection: connection.into(),
            weight,
            owner: Owner::File,
            publication: Publication::Normal,
            created: 0,
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
        let at = |fib: &Fib, address: &str| fib.connections(address.parse().expect("an address")).to_vec();
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
}
