//! Which of several VPN routes to one destination forwards.
use std::cmp::Reverse;

use super::entry::{RouteState, VpnRoute, Weight};

/// Orders the routes to one destination, the preferred one first.
///
/// The prefix has already decided: a longer one wins whatever its weight, even if every connection behind it is down
/// (protected traffic does not escape to a shorter route). Among routes to one destination, in this order:
/// 1. a connection that is up before one that is down, or whose every path is silent;
/// 2. weight 100 before weight 0;
/// 3. the older route before the newer one, so that adding a route never moves traffic off a working path;
/// 4. the connection's name, byte by byte, so that the choice never depends on the order of insertion.
///
/// When all are down, the first one is still the choice: its connection may negotiate on traffic, and until then the
/// packets are dropped.
pub fn rank<'r>(
    routes: impl IntoIterator<Item = &'r VpnRoute>,
    is_up: impl Fn(&str) -> bool,
) -> Vec<(&'r VpnRoute, RouteState)> {
    let mut ranked: Vec<(bool, &VpnRoute)> =
        routes.into_iter().map(|route| (is_up(&route.connection), route)).collect();
    ranked.sort_by_key(|(up, route)| {
        (Reverse(*up), Reverse(route.weight == Weight::Active), route.created, &route.connection)
    });
    ranked.into_iter().enumerate().map(|(position, (up, route))| (route, state(up, position))).collect()
}

fn state(up: bool, position: usize) -> RouteState {
    match (up, position) {
        (false, _) => RouteState::Down,
        (true, 0) => RouteState::Active,
        (true, _) => RouteState::Standby,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::routing::entry::{Owner, Publication};

    fn route(connection: &str, weight: Weight, created: u64) -> VpnRoute {
        VpnRoute {
            destination: "10.1.1.0/24".parse().expect("a prefix"),
            connection: connection.into(),
            weight,
            owner: Owner::Cend,
            publication: Publication::Normal,
            created,
        }
    }

    fn order(routes: &[VpnRoute], up: &[&str]) -> Vec<(String, RouteState)> {
        rank(routes, |name| up.contains(&name)).into_iter().map(|(r, s)| (r.connection.to_string(), s)).collect()
    }

    /// Each row: the rule that decides, the routes, the connections that are up, the expected order.
    #[test]
    fn each_rule_decides_in_its_turn() {
        use RouteState::{Active, Down, Standby};
        use Weight::{Active as W100, Standby as W0};
        type Row = (&'static str, Vec<VpnRoute>, &'static [&'static str], Vec<(&'static str, RouteState)>);
        let rows: Vec<Row> = vec![
            ("weight", vec![route("b", W0, 1), route("a", W100, 2)], &["a", "b"], vec![("a", Active), ("b", Standby)]),
            (
                "up before weight",
                vec![route("a", W100, 1), route("b", W0, 2)],
                &["b"],
                vec![("b", Active), ("a", Down)],
            ),
            ("older", vec![route("a", W100, 9), route("b", W100, 1)], &["a", "b"], vec![("b", Active), ("a", Standby)]),
            ("name", vec![route("b", W100, 1), route("a", W100, 1)], &["a", "b"], vec![("a", Active), ("b", Standby)]),
            ("all down", vec![route("b", W0, 1), route("a", W100, 1)], &[], vec![("a", Down), ("b", Down)]),
        ];
        for (rule, routes, up, expected) in rows {
            let expected: Vec<_> = expected.into_iter().map(|(name, state)| (name.to_owned(), state)).collect();
            assert_eq!(order(&routes, up), expected, "{rule}");
            let reversed: Vec<VpnRoute> = routes.into_iter().rev().collect();
            assert_eq!(order(&reversed, up), expected, "{rule}, inserted the other way round");
        }
    }
}
