//! The kernel routes and rules that carry the VPN routes' packets into the tunnel device, and fail closed.
use std::collections::{BTreeMap, BTreeSet};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::sync::Arc;

use ipnet::{IpNet, Ipv4Net, Ipv6Net};

use super::picture::Destinations;
use super::prefixes::{holders, inside, shorter_holders};
use super::reconcile::{Family, KernelRoute, KernelRule, KernelState, RouteKind};
use super::shared::SharedSet;

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
/// Tables for routes behind the mark: this plus the prefix length.
const TABLE_BEHIND_MARK: u32 = 20_200;
/// Priority of the first rule for routes behind the mark; far before `main` (32766), after `local` (0).
const PRIORITY_BEHIND_MARK: u32 = 20_000;
/// Metric of the drop that stands behind every tunnel route: the highest there is.
pub const METRIC_BLACKHOLE: u32 = u32::MAX;

/// Metric of the drop that stands behind the routes to a local subnet. It tells that drop from the others.
pub const METRIC_LOCAL_BLACKHOLE: u32 = METRIC_BLACKHOLE - 1;

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
    pub protect: SharedSet<IpNet>,
    /// Those of them that have a route to the tunnel device; the others are only closed.
    pub carried: SharedSet<IpNet>,
    /// Prefixes inside them that are exempt, whatever the main table says of them.
    pub exempt: BTreeSet<IpNet>,
    /// Families whose explicit prefixes stand in the table before `main` too, with the priority of the rule that asks it:
    /// see [`super::MainTable::needs_rule`].
    pub before_main: BTreeMap<Family, u32>,
    /// Prefixes that are closed behind the routes to them: see [`super::local_subnets`].
    pub closed: BTreeSet<IpNet>,
    /// Prefixes inside those that are not closed.
    pub bypass: BTreeSet<IpNet>,
    /// The configured and current outer addresses of the peers.
    pub outer_peers: SharedSet<IpAddr>,
}

impl KernelPolicy {
    /// The table that decides about packets to a destination.
    pub fn table(&self, destination: &IpNet) -> u32 {
        let before_main = self.before_main.contains_key(&Family::of(destination));
        if destination.prefix_len() == 0 || before_main { tunnel_table(destination) } else { TABLE_MAIN }
    }

    /// Whether `main` would lead only into the tunnel what belongs there.
    pub(super) fn may_stand_in_main(&self, destination: &IpNet) -> bool {
        destination.prefix_len() > 0
            && inside(destination, &self.exempt).next().is_none()
            && !holds_any(destination, &self.outer_peers)
    }
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
///    ([`super::MainTable::needs_rule`]): a more specific route of somebody else takes nothing out of the tunnel. What is
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
    policy.part(&policy.destinations(), device, mark)
}

impl KernelPolicy {
    /// Every destination that there may be a route to.
    pub fn destinations(&self) -> BTreeSet<IpNet> {
        let others = [&self.exempt, &self.closed, &self.bypass].into_iter().flatten();
        self.protect.iter().chain(others).copied().collect()
    }

    /// Of [`kernel_state`] the routes to these destinations, and all rules.
    pub fn part(&self, destinations: &BTreeSet<IpNet>, device: &Arc<str>, mark: u32) -> KernelState {
        let mut state = KernelState { routes: BTreeSet::new(), rules: self.rules(mark) };
        for destination in destinations {
            self.add_routes(destination, device, &mut state.routes);
        }
        state
    }

    /// Whether [`kernel_state`] may say something else of a destination, or of the rules, than `before`: where these sets
    /// differ, where a peer's address came to lie or lies no more, and what is exempt inside what came or went.
    pub fn differing(&self, before: &Self) -> Destinations {
        if self.before_main != before.before_main || self.bypass != before.bypass {
            return Destinations::All;
        }
        let mut found: BTreeSet<IpNet> = self.carried.differing(&before.carried).copied().collect();
        for prefix in self.protect.differing(&before.protect) {
            found.insert(*prefix);
            found.extend(inside(prefix, &self.exempt));
        }
        for prefix in self.exempt.symmetric_difference(&before.exempt) {
            found.insert(*prefix);
            found.extend(holders(prefix, |net| self.protect.contains(net)));
        }
        for prefix in self.closed.symmetric_difference(&before.closed) {
            found.insert(*prefix);
            found.extend(inside(prefix, &self.bypass));
        }
        for peer in self.outer_peers.differing(&before.outer_peers).map(|peer| IpNet::from(*peer)) {
            found.extend(holders(&peer, |net| self.protect.contains(net)));
            for closed in holders(&peer, |net| self.closed.contains(net)) {
                found.insert(closed);
                found.extend(inside(&closed, &self.bypass));
            }
        }
        Destinations::These(found)
    }

    fn add_routes(&self, destination: &IpNet, device: &Arc<str>, routes: &mut BTreeSet<KernelRoute>) {
        if self.protect.contains(destination) {
            let table = self.table(destination);
            let in_main = Some(TABLE_MAIN).filter(|main| *main != table && self.may_stand_in_main(destination));
            for table in [table].into_iter().chain(in_main) {
                routes.insert(blackhole(table, *destination));
                if self.carried.contains(destination) {
                    routes.insert(tunnel_route(table, *destination, device));
                }
            }
        }
        if self.exempt.contains(destination) {
            let tables =
                shorter_holders(destination, |net| self.protect.contains(net)).map(|holder| self.table(&holder));
            routes.extend(tables.filter(|table| *table != TABLE_MAIN).map(|table| throw(table, *destination)));
        }
        if self.closed.contains(destination) && destination.prefix_len() > 0 {
            let table = if self.is_behind_mark(destination) { table_behind_mark(destination) } else { TABLE_MAIN };
            routes.insert(local_blackhole(table, *destination));
        }
        if self.bypass.contains(destination) {
            let holders =
                shorter_holders(destination, |net| self.closed.contains(net)).filter(|holder| holder.prefix_len() > 0);
            routes.extend(holders.map(|holder| throw(table_behind_mark(&holder), *destination)));
        }
    }

    fn rules(&self, mark: u32) -> BTreeSet<KernelRule> {
        let mut rules = BTreeSet::new();
        for (family, everything) in EVERYTHING {
            if self.protect.contains(&everything) {
                rules.extend(rules_behind_mark(family, 0, 0, mark));
            }
            let is_explicit = |prefix: &IpNet| prefix.prefix_len() > 0 && Family::of(prefix) == family;
            if let Some(priority) = self.before_main.get(&family).filter(|_| self.protect.iter().any(is_explicit)) {
                rules.insert(policy_rule(family, *priority, mark));
            }
        }
        for prefix in self.closed.iter().filter(|prefix| prefix.prefix_len() > 0 && self.is_behind_mark(prefix)) {
            let length = prefix.prefix_len();
            rules.extend(rules_behind_mark(Family::of(prefix), length, length.saturating_sub(1), mark));
        }
        rules
    }

    /// Whether the blackhole of a closed prefix stands behind the mark: in `main` it would catch what is to pass.
    fn is_behind_mark(&self, closed: &IpNet) -> bool {
        holds_any(closed, &self.outer_peers) || inside(closed, &self.bypass).next().is_some()
    }
}

/// The prefixes of all addresses.
const EVERYTHING: [(Family, IpNet); 2] = [
    (Family::Ipv4, IpNet::V4(Ipv4Net::new_assert(Ipv4Addr::UNSPECIFIED, 0))),
    (Family::Ipv6, IpNet::V6(Ipv6Net::new_assert(Ipv6Addr::UNSPECIFIED, 0))),
];

fn table_behind_mark(closed: &IpNet) -> u32 {
    TABLE_BEHIND_MARK + u32::from(closed.prefix_len())
}

/// Whether a prefix holds one of the addresses.
pub fn holds_any(prefix: &IpNet, addresses: &SharedSet<IpAddr>) -> bool {
    addresses.starting_at(&prefix.network()).next().is_some_and(|address| prefix.contains(address))
}

fn tunnel_route(table: u32, destination: IpNet, device: &Arc<str>) -> KernelRoute {
    KernelRoute {
        table,
        destination,
        metric: tunnel_metric(&destination),
        protocol: PROTOCOL_GATEWAYD,
        kind: RouteKind::Unicast,
        gateway: None,
        more_gateways: Vec::new(),
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
        more_gateways: Vec::new(),
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
        source: None,
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
mod tests;
