//! Which of several VPN routes to one destination forwards.
use std::cmp::Reverse;

use ipnet::IpNet;

use super::entry::{RoutePolicy, RouteState, VpnRoute, Weight};

/// Orders the routes to one destination: policy-based ones first, by priority and then the longer source first, and of those
/// with one policy, or with none, the preferred one first.
///
/// Policy and prefix have already decided when it comes to that: they win whatever the weight, even if every connection
/// behind them is down (protected traffic does not escape to another route). Among routes with one policy to one
/// destination, in this order:
/// 1. a connection that is up before one that is down, or whose every path is silent; a closed route is down;
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
        routes.into_iter().map(|route| (route.closed.is_none() && is_up(&route.connection), route)).collect();
    ranked.sort_by_key(|(up, route)| {
        (place(route), Reverse(*up), Reverse(route.weight == Weight::Active), route.created, &route.connection)
    });
    let mut before = None;
    let state = |(up, route): (bool, &'r VpnRoute)| {
        let first = before.replace(route.policy) != Some(route.policy);
        let state = match (up, first) {
            (false, _) => RouteState::Down,
            (true, true) => RouteState::Active,
            (true, false) => RouteState::Standby,
        };
        (route, state)
    };
    ranked.into_iter().map(state).collect()
}

/// When the policies of one destination are asked; having none comes last. One with host bits in its source is closed, and
/// comes before one that holds the same packets.
fn place(route: &VpnRoute) -> (bool, u8, Reverse<u8>, Option<IpNet>, bool) {
    let Some(RoutePolicy { priority, source }) = route.policy else { return (true, 0, Reverse(0), None, false) };
    (false, priority, Reverse(source.prefix_len()), Some(source.trunc()), source == source.trunc())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::routing::entry::{Owner, Publication};

    fn route(connection: &str, weight: Weight, created: u64) -> VpnRoute {
        VpnRoute {
            destination: "10.1.1.0/24".parse().expect("a prefix"),
            policy: None,
            connection: connection.into(),
            weight,
            owner: Owner::Cend,
            publication: Publication::Normal,
            created,
            closed: None,
        }
    }

    fn order(routes: &[VpnRoute], up: &[&str]) -> Vec<(String, RouteState)> {
        rank(routes, |name| up.contains(&name)).into_iter().map(|(r, s)| (r.connection.to_string(), s)).collect()
    }

    #[test]
    fn policies_come_in_their_order_and_each_has_its_choice() {
        let by = |priority, source: &str, connection: &str| {
            let policy = Some(RoutePolicy { priority, source: source.parse().expect("a prefix") });
            VpnRoute { policy, ..route(connection, Weight::Active, 1) }
        };
        let routes = [
            route("none", Weight::Active, 0),
            by(10, "192.168.0.0/16", "wide"),
            by(10, "192.168.1.0/24", "narrow"),
            by(10, "192.168.1.0/24", "other"),
            by(9, "0.0.0.0/0", "all"),
        ];
        let expected = [
            ("all", RouteState::Down),
            ("other", RouteState::Active),
            ("narrow", RouteState::Down),
            ("wide", RouteState::Active),
            ("none", RouteState::Active),
        ];
        let expected = expected.map(|(name, state)| (name.to_owned(), state));
        assert_eq!(order(&routes, &["none", "wide", "other"]), expected);
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
