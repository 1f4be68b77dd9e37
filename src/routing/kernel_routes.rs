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
/// The table of the protected prefixes and of what is exempt inside them, asked before `main` for every packet without
/// our sockets' mark.
pub const TABLE_POLICY: u32 = 20_199;
/// Priority of the rule that asks it: before `main` (32766) and the rules behind the mark, after `local` (0).
const PRIORITY_POLICY: u32 = 19_999;
/// Tables for routes behind the mark: this plus the prefix length.
const TABLE_BEHIND_MARK: u32 = 20_200;
/// Priority of the first rule for routes behind the mark; far before `main` (32766), after `local` (0).
const PRIORITY_BEHIND_MARK: u32 = 20_000;
/// Metric of the drop that stands behind every tunnel route: the highest there is.
pub const METRIC_BLACKHOLE: u32 = u32::MAX;

/// The table before `main` that holds a destination's tunnel route and blackhole.
pub fn tunnel_table(destination: &IpNet) -> u32 {
    if destination.prefix_len() == 0 { TABLE_BEHIND_MARK } else { TABLE_POLICY }
}

/// Whether a table is one that gatewayd fills.
pub fn is_tunnel_table(table: u32) -> bool {
    (TABLE_POLICY..=TABLE_BEHIND_MARK + 128).contains(&table)
}

/// Metric of a tunnel route: the best that the family has, so that no other route to the same prefix wins. IPv6 reads
/// 0 as "no metric given".
pub fn tunnel_metric(destination: &IpNet) -> u32 {
    match destination {
        IpNet::V4(_) => 0,
        IpNet::V6(_) => 1,
    }
}

/// What the kernel's routes and rules follow from.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct KernelPolicy {
    /// Destinations of the VPN routes.
    pub protect: BTreeSet<IpNet>,
    /// Those of them that have a route to the tunnel device; the others are only closed.
    pub carried: BTreeSet<IpNet>,
    /// Prefixes inside them that are exempt, whatever the main table says of them.
    pub exempt: BTreeSet<IpNet>,
    /// Prefixes that are closed behind the routes to them: see [`super::local_subnets`].
    pub closed: BTreeSet<IpNet>,
    /// Prefixes inside those that are not closed.
    pub bypass: BTreeSet<IpNet>,
    /// The configured and current outer addresses of the peers.
    pub outer_peers: BTreeSet<IpAddr>,
}

/// What gatewayd wants in the kernel of its namespace.
///
/// 1. Each destination has a route to the tunnel device (`device`), whether its connection is up or not: the outbound
///    thread decides what a packet may become, and without an SA it becomes nothing.
/// 2. Behind it stands a blackhole of the same prefix at the highest metric. It needs no device, so it is what is left
///    when gatewayd ends and the device vanishes; the next start finds it in place.
/// 3. Both stand in a table of their own, which is asked before `main`: a more specific route of somebody else takes
///    nothing out of the tunnel. What is exempt has a `throw` route there, which leads on to the next rule. Packets with
///    our sockets' `mark` pass it by: they are sealed.
/// 4. The same two routes stand in `main` as well, for those who read it (a routing daemon that announces them, a person)
///    and for the case that somebody flushes the rules; but not where they would lead too much into the tunnel: our own
///    sealed packets, where the destination holds the outer address of a peer, or what is exempt inside it.
/// 5. 0.0.0.0/0 and ::/0 come after every longer prefix of `main`: the rule before their table asks `main` and suppresses
///    prefixes of length 0.
/// 6. A prefix that is to be closed for decrypted packets has a blackhole at the highest metric in `main`. If it holds
///    the outer address of a peer or a prefix of `bypass`, the blackhole stands in a table behind the mark and behind the
///    prefixes of `main` that are as long.
///
/// `mark` is the sockets' firewall mark.
pub fn kernel_state(policy: &KernelPolicy, device: &Arc<str>, mark: u32) -> KernelState {
    let KernelPolicy { protect, carried, exempt, closed, bypass, outer_peers } = policy;
    let mut state = KernelState::default();
    for destination in protect {
        let default_route = destination.prefix_len() == 0;
        let table = tunnel_table(destination);
        let has_exempt = inside(destination, exempt).next().is_some();
        let in_main = !default_route && !has_exempt && !holds_any(destination, outer_peers);
        for table in [Some(table), in_main.then_some(TABLE_MAIN)].into_iter().flatten() {
            state.routes.insert(blackhole(table, *destination));
            if carried.contains(destination) {
                state.routes.insert(tunnel_route(table, *destination, device));
            }
        }
        let family = Family::of(destination);
        if default_route {
            state.rules.extend(rules_behind_mark(family, 0, 0, mark));
        } else {
            state.rules.insert(policy_rule(family, mark));
        }
        state.routes.extend(inside(destination, exempt).map(|prefix| throw(table, prefix)));
    }
    for prefix in closed.iter().filter(|prefix| prefix.prefix_len() > 0) {
        if holds_any(prefix, outer_peers) || inside(prefix, bypass).next().is_some() {
            let length = prefix.prefix_len();
            let table = TABLE_BEHIND_MARK + u32::from(length);
            state.rules.extend(rules_behind_mark(Family::of(prefix), length, length.saturating_sub(1), mark));
            state.routes.insert(blackhole(table, *prefix));
            state.routes.extend(inside(prefix, bypass).map(|prefix| throw(table, prefix)));
        } else {
            state.routes.insert(blackhole(TABLE_MAIN, *prefix));
        }
    }
    state
}

/// The prefixes that are longer than `holder` and lie in it.
fn inside<'p>(holder: &'p IpNet, prefixes: &'p BTreeSet<IpNet>) -> impl Iterator<Item = IpNet> + 'p {
    prefixes.iter().copied().filter(move |prefix| prefix != holder && holder.contains(prefix))
}

/// Whether a prefix holds one of the addresses.
fn holds_any(prefix: &IpNet, addresses: &BTreeSet<IpAddr>) -> bool {
    addresses.range(prefix.network()..).next().is_some_and(|address| prefix.contains(address))
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

fn throw(table: u32, prefix: IpNet) -> KernelRoute {
    KernelRoute { kind: RouteKind::Throw, metric: tunnel_metric(&prefix), ..blackhole(table, prefix) }
}

fn rule(family: Family, priority: u32, table: u32) -> KernelRule {
    KernelRule {
        family,
        priority,
        protocol: PROTOCOL_GATEWAYD,
        input_device: None,
        unless_mark: None,
        table,
        suppress_prefix_length: None,
    }
}

fn policy_rule(family: Family, mark: u32) -> KernelRule {
    KernelRule { unless_mark: Some(mark), ..rule(family, PRIORITY_POLICY, TABLE_POLICY) }
}

/// The rules that ask the table of prefixes of length `length`: after `main`, whose prefixes of `suppressed` or less do not
/// count. Tables of longer prefixes come first.
fn rules_behind_mark(family: Family, length: u8, suppressed: u8, mark: u32) -> [KernelRule; 2] {
    let priority = PRIORITY_BEHIND_MARK + 2 * u32::from(128u8.saturating_sub(length));
    [
        KernelRule { suppress_prefix_length: Some(u32::from(suppressed)), ..rule(family, priority, TABLE_MAIN) },
        KernelRule { unless_mark: Some(mark), ..rule(family, priority + 1, TABLE_BEHIND_MARK + u32::from(length)) },
    ]
}

#[cfg(test)]
mod tests {
    use super::*;

    fn nets(list: &[&str]) -> BTreeSet<IpNet> {
        list.iter().map(|text| text.parse().expect("a prefix")).collect()
    }

    fn policy(protect: &[&str], peers: &[&str]) -> KernelPolicy {
        KernelPolicy {
            protect: nets(protect),
            carried: nets(protect),
            outer_peers: peers.iter().map(|peer| peer.parse().expect("an address")).collect(),
            ..KernelPolicy::default()
        }
    }

    fn shown(policy: &KernelPolicy) -> (Vec<String>, Vec<String>) {
        let state = kernel_state(policy, &"ipsec0".into(), FIREWALL_MARK);
        assert!(state.routes.iter().all(|route| route.protocol == PROTOCOL_GATEWAYD));
        let route = |r: &KernelRoute| format!("{:?} {} {} {}", r.kind, r.destination, r.table, r.metric);
        let rule = |r: &KernelRule| {
            let condition = if r.unless_mark.is_some() { "unmarked" } else { "all" };
            format!("{} {:?} {condition} {} {:?}", r.priority, r.family, r.table, r.suppress_prefix_length)
        };
        (state.routes.iter().map(route).collect(), state.rules.iter().map(rule).collect())
    }

    #[test]
    fn an_explicit_prefix_stands_before_main_and_in_it() {
        let (routes, rules) = shown(&policy(&["10.1.1.0/24"], &["203.0.113.2"]));
        assert_eq!(
            routes,
            [
                "Unicast 10.1.1.0/24 254 0",
                "Blackhole 10.1.1.0/24 254 4294967295",
                "Unicast 10.1.1.0/24 20199 0",
                "Blackhole 10.1.1.0/24 20199 4294967295"
            ]
        );
        assert_eq!(rules, ["19999 Ipv4 unmarked 20199 None"]);
    }

    #[test]
    fn a_default_route_leaves_main_alone_and_stands_behind_the_mark() {
        let (routes, rules) = shown(&policy(&["0.0.0.0/0", "::/0"], &[]));
        let default_routes = ["Unicast 0.0.0.0/0 20200 0", "Blackhole 0.0.0.0/0 20200 4294967295"];
        assert_eq!(
            routes,
            [&default_routes[..], &["Unicast ::/0 20200 1", "Blackhole ::/0 20200 4294967295"]].concat()
        );
        assert_eq!(
            rules,
            [
                "20256 Ipv4 all 254 Some(0)",
                "20257 Ipv4 unmarked 20200 None",
                "20256 Ipv6 all 254 Some(0)",
                "20257 Ipv6 unmarked 20200 None"
            ]
        );
    }

    #[test]
    fn a_prefix_that_holds_a_peer_stays_out_of_main() {
        let (routes, _) = shown(&policy(&["203.0.113.0/24"], &["203.0.113.2"]));
        assert_eq!(routes, ["Unicast 203.0.113.0/24 20199 0", "Blackhole 203.0.113.0/24 20199 4294967295"]);
    }

    #[test]
    fn what_is_exempt_is_thrown_out_of_every_table_that_would_hold_it() {
        let exempt = nets(&["10.1.0.0/24", "192.0.2.0/24"]);
        let policy = KernelPolicy { exempt, ..policy(&["10.0.0.0/8", "0.0.0.0/0"], &[]) };
        let (routes, _) = shown(&policy);
        let throws: Vec<_> = routes.iter().filter(|route| route.starts_with("Throw")).collect();
        assert_eq!(throws, ["Throw 10.1.0.0/24 20199 0", "Throw 10.1.0.0/24 20200 0", "Throw 192.0.2.0/24 20200 0"]);
    }

    #[test]
    fn a_prefix_that_is_not_carried_is_closed_all_the_same() {
        let policy = KernelPolicy { carried: BTreeSet::new(), ..policy(&["10.1.1.0/24", "::/0"], &[]) };
        let (routes, rules) = shown(&policy);
        assert!(routes.len() == 3 && routes.iter().all(|route| route.starts_with("Blackhole")), "{routes:?}");
        assert_eq!(rules.len(), 3);
    }

    #[test]
    fn a_local_subnet_is_closed_but_not_to_our_own_packets() {
        let closed = nets(&["10.1.0.0/24", "203.0.113.0/24"]);
        let (routes, rules) = shown(&KernelPolicy { closed, ..policy(&[], &["203.0.113.2"]) });
        assert_eq!(routes, ["Blackhole 10.1.0.0/24 254 4294967295", "Blackhole 203.0.113.0/24 20224 4294967295"]);
        assert_eq!(rules, ["20208 Ipv4 all 254 Some(23)", "20209 Ipv4 unmarked 20224 None"]);
    }
}
