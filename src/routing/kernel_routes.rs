//! The kernel routes and rules that carry the VPN routes' packets into the tunnel device, and fail closed.
use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;
use std::sync::Arc;

use ipnet::IpNet;

use super::prefixes::{inside, shortened};
use super::reconcile::{Family, KernelRoute, KernelRule, KernelState, RouteKind};

/// `rtm_protocol` of every kernel route and rule that gatewayd makes.
pub const PROTOCOL_GATEWAYD: u8 = 201;
/// `rtm_protocol` of every kernel route and rule that cend makes.
pub const PROTOCOL_CEND: u8 = 202;
/// Firewall mark (`SO_MARK`) of gatewayd's own sockets, unless its config names another.
pub const FIREWALL_MARK: u32 = 0x4947_0001;

/// The kernel's table of the machine's own addresses.
pub const TABLE_LOCAL: u32 = 255;
/// The kernel's main routing table.
pub const TABLE_MAIN: u32 = 254;
/// The table of the protected prefixes for which `main` is not enough, and of what is exempt inside them, asked before
/// `main` for every packet without our sockets' mark.
pub const TABLE_POLICY: u32 = 20_199;
/// Priority of the rule that asks it, unless the kernel's rule for `local` (0) was moved behind it.
const PRIORITY_POLICY: u32 = 10;
/// Tables for routes behind the mark: this plus the prefix length.
const TABLE_BEHIND_MARK: u32 = 20_200;
/// Priority of the first rule for routes behind the mark; far before `main` (32766), after `local` (0).
const PRIORITY_BEHIND_MARK: u32 = 20_000;
/// Metric of the drop that stands behind every tunnel route: the highest there is.
pub const METRIC_BLACKHOLE: u32 = u32::MAX;

/// Metric of the drop that stands behind the routes to a local subnet. It tells that drop from the others.
pub const METRIC_LOCAL_BLACKHOLE: u32 = METRIC_BLACKHOLE - 1;

/// Priority of the kernel's rule for `main`.
const PRIORITY_MAIN: u32 = 32_766;

/// The table before `main` for a destination's tunnel route and blackhole.
fn tunnel_table(destination: &IpNet) -> u32 {
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
    /// Families whose explicit prefixes stand in the table before `main` too, with the priority of the rule that asks it:
    /// see [`KernelPolicy::needs_rule`].
    pub before_main: BTreeMap<Family, u32>,
    /// Prefixes that are closed behind the routes to them: see [`super::local_subnets`].
    pub closed: BTreeSet<IpNet>,
    /// Prefixes inside those that are not closed.
    pub bypass: BTreeSet<IpNet>,
    /// The configured and current outer addresses of the peers.
    pub outer_peers: BTreeSet<IpAddr>,
}

impl KernelPolicy {
    /// The table that decides about packets to a destination.
    pub fn table(&self, destination: &IpNet) -> u32 {
        let before_main = self.before_main.contains_key(&Family::of(destination));
        if destination.prefix_len() == 0 || before_main { tunnel_table(destination) } else { TABLE_MAIN }
    }

    /// The families for which `main` is not enough, with the priority that a rule before it needs. In a namespace that
    /// never had a rule besides its own, the kernel asks `main` at once; any rule makes each lookup slower, for good. So
    /// there is none as long as nothing asks for it:
    /// 1. there is a rule of somebody else, or one of ours, which costs no more if it stays;
    /// 2. a prefix cannot stand in `main`, because it holds the outer address of a peer or something exempt;
    /// 3. somebody else's route would take packets of a prefix, because it is longer, or has the place of ours (`device` is
    ///    the tunnel's: what leads there takes nothing away);
    /// 4. `unwatched`: no filter drops what such a route takes.
    pub fn needs_rule(&self, actual: &KernelState, device: &str, unwatched: bool) -> BTreeMap<Family, u32> {
        let explicit = || self.protect.iter().filter(|prefix| prefix.prefix_len() > 0);
        let mut families: BTreeSet<Family> =
            explicit().filter(|prefix| unwatched || !self.may_stand_in_main(prefix)).map(Family::of).collect();
        families
            .extend(actual.rules.iter().filter(|rule| (1..PRIORITY_MAIN).contains(&rule.priority)).map(|r| r.family));
        let lengths: BTreeSet<u8> = explicit().map(IpNet::prefix_len).collect();
        let foreign = actual.routes.iter().filter(|route| {
            route.table == TABLE_MAIN
                && route.protocol != PROTOCOL_GATEWAYD
                && (route.device.as_deref() != Some(device) || route.metric == tunnel_metric(&route.destination))
        });
        let taking = foreign.filter(|route| {
            let mut lengths = lengths.range(..=route.destination.prefix_len());
            lengths.any(|length| shortened(&route.destination, *length).is_some_and(|net| self.protect.contains(&net)))
        });
        families.extend(taking.map(|route| Family::of(&route.destination)));
        families.retain(|family| explicit().any(|prefix| Family::of(prefix) == *family));
        families.into_iter().map(|family| (family, priority(actual, family))).collect()
    }

    /// Whether `main` would lead only into the tunnel what belongs there.
    fn may_stand_in_main(&self, destination: &IpNet) -> bool {
        destination.prefix_len() > 0
            && inside(destination, &self.exempt).next().is_none()
            && !holds_any(destination, &self.outer_peers)
    }
}

/// Where the rule before `main` stands: behind that for `local`, as a later one of the same priority does.
fn priority(actual: &KernelState, family: Family) -> u32 {
    let local =
        actual.rules.iter().filter(|rule| rule.family == family && rule.table == TABLE_LOCAL && !rule.is_foreign);
    local.map(|rule| rule.priority).max().unwrap_or(0).max(PRIORITY_POLICY)
}

/// What gatewayd wants in the kernel of its namespace.
///
/// 1. Each destination has a route to the tunnel device (`device`), whether its connection is up or not: the outbound
///    thread decides what a packet may become, and without an SA it becomes nothing.
/// 2. Behind it stands a blackhole of the same prefix at the highest metric. It needs no device, so it is what is left
///    when gatewayd ends and the device vanishes; the next start finds it in place.
/// 3. Both stand in `main`, unless that would lead too much into the tunnel: our own sealed packets, where the
///    destination holds the outer address of a peer, or what is exempt inside it.
/// 4. They stand in a table of their own, which is asked before `main`, where `main` is not enough
///    ([`KernelPolicy::needs_rule`]): a more specific route of somebody else takes nothing out of the tunnel. What is
///    exempt has a `throw` route there, which leads on to the next rule. Packets with our sockets' `mark` pass it by: they
///    are sealed. Until the table stands, the filter drops what the other route takes.
/// 5. 0.0.0.0/0 and ::/0 come after every longer prefix of `main`: the rule before their table asks `main` and suppresses
///    prefixes of length 0.
/// 6. A prefix that is to be closed for decrypted packets has a blackhole behind all other routes in `main`. If it holds
///    the outer address of a peer or a prefix of `bypass`, the blackhole stands in a table behind the mark and behind the
///    prefixes of `main` that are as long.
///
/// `mark` is the sockets' firewall mark.
pub fn kernel_state(policy: &KernelPolicy, device: &Arc<str>, mark: u32) -> KernelState {
    let KernelPolicy { protect, carried, exempt, closed, bypass, outer_peers, .. } = policy;
    let mut state = KernelState::default();
    for destination in protect {
        let table = policy.table(destination);
        let in_main = Some(TABLE_MAIN).filter(|main| *main != table && policy.may_stand_in_main(destination));
        for table in [table].into_iter().chain(in_main) {
            state.routes.insert(blackhole(table, *destination));
            if carried.contains(destination) {
                state.routes.insert(tunnel_route(table, *destination, device));
            }
        }
        let family = Family::of(destination);
        if destination.prefix_len() == 0 {
            state.rules.extend(rules_behind_mark(family, 0, 0, mark));
        } else if let Some(priority) = policy.before_main.get(&family) {
            state.rules.insert(policy_rule(family, *priority, mark));
        }
        if table != TABLE_MAIN {
            state.routes.extend(inside(destination, exempt).map(|prefix| throw(table, prefix)));
        }
    }
    for prefix in closed.iter().filter(|prefix| prefix.prefix_len() > 0) {
        if holds_any(prefix, outer_peers) || inside(prefix, bypass).next().is_some() {
            let length = prefix.prefix_len();
            let table = TABLE_BEHIND_MARK + u32::from(length);
            state.rules.extend(rules_behind_mark(Family::of(prefix), length, length.saturating_sub(1), mark));
            state.routes.insert(local_blackhole(table, *prefix));
            state.routes.extend(inside(prefix, bypass).map(|prefix| throw(table, prefix)));
        } else {
            state.routes.insert(local_blackhole(TABLE_MAIN, *prefix));
        }
    }
    state
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

fn local_blackhole(table: u32, destination: IpNet) -> KernelRoute {
    KernelRoute { metric: METRIC_LOCAL_BLACKHOLE, ..blackhole(table, destination) }
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
        is_foreign: false,
    }
}

fn policy_rule(family: Family, priority: u32, mark: u32) -> KernelRule {
    KernelRule { unless_mark: Some(mark), ..rule(family, priority, TABLE_POLICY) }
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

    const IN_MAIN: [&str; 2] = ["Unicast 10.1.1.0/24 254 0", "Blackhole 10.1.1.0/24 254 4294967295"];
    const BEFORE_MAIN: [&str; 2] = ["Unicast 10.1.1.0/24 20199 0", "Blackhole 10.1.1.0/24 20199 4294967295"];

    #[test]
    fn an_explicit_prefix_stands_in_main_and_needs_no_rule() {
        let (routes, rules) = shown(&policy(&["10.1.1.0/24"], &["203.0.113.2"]));
        assert_eq!((routes, rules), (IN_MAIN.map(str::to_owned).to_vec(), Vec::new()));
    }

    #[test]
    fn with_a_rule_everything_explicit_of_the_family_stands_before_main_as_well() {
        let mut policy = policy(&["10.1.1.0/24", "fd00:1::/64", "0.0.0.0/0"], &[]);
        policy.before_main = [(Family::Ipv4, 10)].into();
        let (routes, rules) = shown(&policy);
        let ipv4: Vec<&str> = routes.iter().filter(|route| route.contains("10.1.1")).map(String::as_str).collect();
        assert_eq!(ipv4, [IN_MAIN, BEFORE_MAIN].concat());
        assert_eq!(routes.iter().filter(|route| route.contains("fd00")).count(), 2);
        assert_eq!(rules[0], "10 Ipv4 unmarked 20199 None");
    }

    #[test]
    fn a_rule_is_needed_for_what_others_would_take_and_what_main_cannot_hold() {
        let policy = policy(&["10.1.0.0/16", "10.1.1.0/24", "10.2.0.0/16", "0.0.0.0/0", "fd00:1::/64"], &[]);
        let needed = |policy: &KernelPolicy, actual: &KernelState| policy.needs_rule(actual, "ipsec0", false);
        let nothing = BTreeMap::new();
        let (ipv4, ipv6) = ([(Family::Ipv4, 10)].into(), [(Family::Ipv6, 10)].into());
        assert_eq!(needed(&policy, &KernelState::default()), nothing);
        let by_route = |destination: &str, protocol, device: &str, metric| {
            let route = tunnel_route(TABLE_MAIN, destination.parse().expect("a prefix"), &device.into());
            let routes = [KernelRoute { protocol, metric, ..route }].into();
            needed(&policy, &KernelState { routes, ..KernelState::default() })
        };
        assert_eq!(by_route("10.1.1.128/25", 4, "wan", 100), ipv4, "a longer one");
        assert_eq!(by_route("10.2.0.0/16", 2, "lan", 100), ipv4, "an equal one, which wins when the tunnel is gone");
        assert_eq!(by_route("10.2.0.0/16", 2, "ipsec0", 0), ipv4, "one in our place");
        assert_eq!(by_route("10.0.0.0/8", 4, "wan", 0), nothing);
        assert_eq!(by_route("10.1.1.0/24", PROTOCOL_GATEWAYD, "ipsec0", 0), nothing);
        assert_eq!(by_route("10.1.1.0/25", 2, "ipsec0", 256), nothing);
        let by_rule =
            |rule: KernelRule| needed(&policy, &KernelState { rules: [rule].into(), ..KernelState::default() });
        assert_eq!(by_rule(KernelRule { protocol: 3, ..rule(Family::Ipv6, 100, 77) }), ipv6);
        assert_eq!(by_rule(KernelRule { is_foreign: true, ..rule(Family::Ipv6, 100, 77) }), ipv6);
        assert_eq!(by_rule(policy_rule(Family::Ipv4, 10, FIREWALL_MARK)), ipv4, "ours stays");
        assert_eq!(by_rule(rule(Family::Ipv4, 100, TABLE_LOCAL)), [(Family::Ipv4, 100)].into(), "behind `local`");
        for priority in [0, PRIORITY_MAIN, 32_767] {
            assert_eq!(by_rule(rule(Family::Ipv6, priority, 77)), nothing);
        }
        let both: BTreeMap<Family, u32> = [(Family::Ipv4, 10), (Family::Ipv6, 10)].into();
        assert_eq!(policy.needs_rule(&KernelState::default(), "ipsec0", true), both, "without a filter");
        let with_peer =
            KernelPolicy { outer_peers: ["10.2.0.9".parse().expect("an address")].into(), ..policy.clone() };
        assert_eq!(needed(&with_peer, &KernelState::default()), ipv4);
        let with_exempt = KernelPolicy { exempt: nets(&["fd00:1::7/128"]), ..policy.clone() };
        assert_eq!(needed(&with_exempt, &KernelState::default()), ipv6);
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
        let mut policy = policy(&["203.0.113.0/24"], &["203.0.113.2"]);
        policy.before_main = policy.needs_rule(&KernelState::default(), "ipsec0", false);
        let (routes, _) = shown(&policy);
        assert_eq!(routes, ["Unicast 203.0.113.0/24 20199 0", "Blackhole 203.0.113.0/24 20199 4294967295"]);
    }

    #[test]
    fn what_is_exempt_is_thrown_out_of_every_table_that_would_hold_it() {
        let exempt = nets(&["10.1.0.0/24", "192.0.2.0/24"]);
        let mut policy = KernelPolicy { exempt, ..policy(&["10.0.0.0/8", "0.0.0.0/0"], &[]) };
        policy.before_main = policy.needs_rule(&KernelState::default(), "ipsec0", false);
        let (routes, _) = shown(&policy);
        let throws: Vec<_> = routes.iter().filter(|route| route.starts_with("Throw")).collect();
        assert_eq!(throws, ["Throw 10.1.0.0/24 20199 0", "Throw 10.1.0.0/24 20200 0", "Throw 192.0.2.0/24 20200 0"]);
    }

    #[test]
    fn a_prefix_that_is_not_carried_is_closed_all_the_same() {
        let policy = KernelPolicy { carried: BTreeSet::new(), ..policy(&["10.1.1.0/24", "::/0"], &[]) };
        let (routes, rules) = shown(&policy);
        assert!(routes.len() == 2 && routes.iter().all(|route| route.starts_with("Blackhole")), "{routes:?}");
        assert_eq!(rules.len(), 2);
    }

    #[test]
    fn a_local_subnet_is_closed_but_not_to_our_own_packets() {
        let closed = nets(&["10.1.0.0/24", "203.0.113.0/24"]);
        let (routes, rules) = shown(&KernelPolicy { closed, ..policy(&[], &["203.0.113.2"]) });
        assert_eq!(routes, ["Blackhole 10.1.0.0/24 254 4294967294", "Blackhole 203.0.113.0/24 20224 4294967294"]);
        assert_eq!(rules, ["20208 Ipv4 all 254 Some(23)", "20209 Ipv4 unmarked 20224 None"]);
    }
}
