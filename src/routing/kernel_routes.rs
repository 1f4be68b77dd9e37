//! The kernel routes and rules that carry the VPN routes' packets into the tunnel device, and fail closed.
use std::collections::BTreeSet;
use std::net::IpAddr;
use std::sync::Arc;

use ipnet::IpNet;

use super::reconcile::{Family, KernelRoute, KernelRule, KernelState, RouteKind};

/// `rtm_protocol` of every kernel route and rule that gatewayd makes.
pub const PROTOCOL_GATEWAYD: u8 = 201;
/// `rtm_protocol` of every kernel route and rule that cend makes.
pub const PROTOCOL_CEND: u8 = 202;
/// Firewall mark (`SO_MARK`) of gatewayd's own sockets, unless its config names another.
pub const FIREWALL_MARK: u32 = 0x4947_0001;

/// The kernel's main routing table.
pub const TABLE_MAIN: u32 = 254;
/// Tables for routes behind the mark: this plus the prefix length.
const TABLE_BEHIND_MARK: u32 = 20_200;
/// Priority of the first rule for routes behind the mark; far before `main` (32766), after `local` (0).
const PRIORITY_BEHIND_MARK: u32 = 20_000;
/// Metric of the drop that stands behind every tunnel route: the highest there is.
pub const METRIC_BLACKHOLE: u32 = u32::MAX;

/// Metric of a tunnel route: the best that the family has, so that no other route to the same prefix wins. IPv6 reads
/// 0 as "no metric given".
pub fn tunnel_metric(destination: &IpNet) -> u32 {
    match destination {
        IpNet::V4(_) => 0,
        IpNet::V6(_) => 1,
    }
}

/// What gatewayd wants in the kernel of its namespace.
///
/// 1. Each destination has a route to the tunnel device, whether its connection is up or not: the outbound thread
///    decides what a packet may become, and without an SA it becomes nothing.
/// 2. Behind it stands a blackhole of the same prefix at the highest metric. It needs no device, so it is what is left
///    when gatewayd dies and the device vanishes; the next start finds it in place.
/// 3. A destination that holds the outer address of a peer, as 0.0.0.0/0 holds all, would lead our own sealed packets
///    back into the tunnel. Its two routes stand in a table of their own, asked only for packets without our
///    sockets' mark.
/// 4. Such a table comes before `main`, but after every longer prefix of `main`, so that connected networks, the VPC's
///    side, and tunnel routes with longer prefixes keep their way: the rule before it asks `main` and suppresses
///    prefixes up to this length. Tables of longer prefixes come first.
///
/// `outer_peers` are the configured and current addresses of the peers; `mark` is the sockets' firewall mark.
pub fn kernel_state(
    destinations: impl IntoIterator<Item = IpNet>,
    outer_peers: &[IpAddr],
    device: &Arc<str>,
    mark: u32,
) -> KernelState {
    let mut outer_peers = outer_peers.to_vec();
    outer_peers.sort_unstable();
    let mut state = KernelState::default();
    let mut behind_mark: BTreeSet<(Family, u8)> = BTreeSet::new();
    for destination in destinations {
        let table = if may_hold_outer_packets(&destination, &outer_peers) {
            behind_mark.insert((Family::of(&destination), destination.prefix_len()));
            TABLE_BEHIND_MARK + u32::from(destination.prefix_len())
        } else {
            TABLE_MAIN
        };
        state.routes.insert(tunnel_route(table, destination, device));
        state.routes.insert(blackhole(table, destination));
    }
    for (family, prefix_length) in behind_mark {
        state.rules.extend(rules_behind_mark(family, prefix_length, mark));
    }
    state
}

/// A default route holds every outer packet, also to a peer that is only known once it calls.
/// `outer_peers` ascend.
fn may_hold_outer_packets(destination: &IpNet, outer_peers: &[IpAddr]) -> bool {
    let from = outer_peers.partition_point(|peer| *peer < destination.network());
    destination.prefix_len() == 0 || outer_peers.get(from).is_some_and(|peer| destination.contains(peer))
}

fn tunnel_route(table: u32, destination: IpNet, device: &Arc<str>) -> KernelRoute {
    KernelRoute {
        table,
        destination,
        metric: tunnel_metric(&destination),
        protocol: PROTOCOL_GATEWAYD,
        kind: RouteKind::Unicast,
        gateway: None,
        device: Some(Arc::clone(device)),
    }
}

fn blackhole(table: u32, destination: IpNet) -> KernelRoute {
    KernelRoute {
        table,
        destination,
        metric: METRIC_BLACKHOLE,
        protocol: PROTOCOL_GATEWAYD,
        kind: RouteKind::Blackhole,
        gateway: None,
        device: None,
    }
}

fn rules_behind_mark(family: Family, prefix_length: u8, mark: u32) -> [KernelRule; 2] {
    let priority = PRIORITY_BEHIND_MARK + 2 * u32::from(128u8.saturating_sub(prefix_length));
    let rule = KernelRule {
        family,
        priority,
        protocol: PROTOCOL_GATEWAYD,
        input_device: None,
        unless_mark: None,
        table: TABLE_MAIN,
        suppress_prefix_length: None,
    };
    [
        KernelRule { suppress_prefix_length: Some(u32::from(prefix_length)), ..rule.clone() },
        KernelRule {
            priority: priority + 1,
            unless_mark: Some(mark),
            table: TABLE_BEHIND_MARK + u32::from(prefix_length),
            ..rule
        },
    ]
}

#[cfg(test)]
mod tests {
    use super::*;

    fn state(destinations: &[&str], peers: &[&str]) -> KernelState {
        let peers: Vec<IpAddr> = peers.iter().map(|peer| peer.parse().expect("an address")).collect();
        let destinations = destinations.iter().map(|prefix| prefix.parse::<IpNet>().expect("a prefix"));
        kernel_state(destinations, &peers, &"ipsec0".into(), FIREWALL_MARK)
    }

    #[test]
    fn a_destination_away_from_the_peers_is_two_routes_in_main_and_no_rule() {
        let state = state(&["10.1.1.0/24"], &["203.0.113.2"]);
        assert!(state.rules.is_empty());
        let found: Vec<_> = state.routes.iter().map(|r| (r.table, r.metric, r.kind, r.device.as_deref())).collect();
        assert_eq!(
            found,
            [(TABLE_MAIN, 0, RouteKind::Unicast, Some("ipsec0")), (TABLE_MAIN, u32::MAX, RouteKind::Blackhole, None)]
        );
        assert!(state.routes.iter().all(|route| route.protocol == PROTOCOL_GATEWAYD));
    }

    #[test]
    fn a_default_route_leaves_main_alone_and_stands_behind_the_mark() {
        let state = state(&["0.0.0.0/0", "10.1.1.0/24"], &[]);
        let in_main: Vec<_> = state.routes.iter().filter(|r| r.table == TABLE_MAIN).map(|r| r.destination).collect();
        assert_eq!(in_main, vec!["10.1.1.0/24".parse::<IpNet>().expect("a prefix"); 2]);
        let rules: Vec<_> = state.rules.iter().collect();
        assert_eq!(rules.len(), 2);
        assert_eq!((rules[0].table, rules[0].suppress_prefix_length), (TABLE_MAIN, Some(0)));
        assert_eq!((rules[1].table, rules[1].unless_mark), (TABLE_BEHIND_MARK, Some(FIREWALL_MARK)));
        assert!(rules[0].priority < rules[1].priority && rules[1].priority < 32766);
        assert!(state.routes.iter().any(|r| r.table == TABLE_BEHIND_MARK && r.kind == RouteKind::Blackhole));
    }

    #[test]
    fn a_prefix_that_holds_a_peer_stands_behind_the_mark_before_shorter_ones() {
        let state = state(&["0.0.0.0/0", "203.0.113.0/24"], &["203.0.113.2"]);
        let suppressed: Vec<_> = state.rules.iter().filter_map(|rule| rule.suppress_prefix_length).collect();
        assert_eq!(suppressed, [24, 0]);
        assert!(state.routes.iter().all(|route| route.table != TABLE_MAIN));
    }

    #[test]
    fn an_ipv6_default_route_gets_ipv6_rules_and_a_metric_that_the_kernel_keeps() {
        let state = state(&["::/0"], &[]);
        assert!(state.rules.iter().all(|rule| rule.family == Family::Ipv6));
        assert_eq!(state.routes.iter().map(|route| route.metric).min(), Some(1));
    }
}
