//! Which local subnets get a blackhole, so that decrypted packets do not leave by the default route.
use std::collections::BTreeSet;
use std::net::IpAddr;
use std::sync::Arc;

use ipnet::IpNet;

use super::kernel_routes::{PROTOCOL_GATEWAYD, TABLE_LOCAL, TABLE_MAIN};
use super::policy::{Closed, Policy};
use super::prefixes::{inside, shortened};
use super::reconcile::{Family, KernelRoute, RouteKind};

/// How many local subnets that are not configured any more are remembered.
const REMEMBERED: usize = 1024;

/// What becomes of the local subnets.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct LocalSubnets {
    /// Those with a blackhole.
    pub closed: Closed,
    /// The same, and those that were closed and are not configured at the moment: they may be again while their link is
    /// down.
    pub remembered: Closed,
    /// Those that only the default route leads to: decrypted packets leave where they came from, as on a one-armed
    /// gateway. They get no blackhole, which would cut them off.
    pub one_armed: BTreeSet<IpNet>,
}

/// Tells the local subnets that lie behind an inner device from those of a one-armed gateway.
///
/// A gateway with an inner device must not send decrypted packets to the outer one when the inner link is down (RFC 4301
/// section 5.2 leaves their forwarding to the routes, so the routes have to be right). The moment does not tell: without
/// the link its routes are gone. So it counts whether an inner device has ever led to the subnet: what leads there now
/// replaces what is `remembered`, and where nothing does the memory stays. The rules, in order:
/// 1. 0.0.0.0/0, ::/0 and what `bypass` holds get no blackhole;
/// 2. a route leads to a subnet if it holds the subnet or lies in it, is no default route, and its device is neither the
///    tunnel's (`device`) nor an outer one of the same family (`outer`);
/// 3. as long as no outer device is known, nothing new is learned.
pub fn local_subnets(
    policy: &Policy,
    remembered: &Closed,
    routes: &BTreeSet<KernelRoute>,
    device: &str,
    outer: &OuterDevices,
) -> LocalSubnets {
    let mut inner = BTreeSet::new();
    let mut any: BTreeSet<IpNet> = BTreeSet::new();
    for route in routes.iter().filter(|route| leads_somewhere(route, device)) {
        any.insert(route.destination);
        let outer = outer.of(Family::of(&route.destination));
        if !outer.is_empty() && route.device.as_ref().is_some_and(|device| !outer.contains(device)) {
            inner.insert(route.destination);
        }
    }
    let bypassed = |subnet: &IpNet| policy.bypass.iter().any(|bypass| bypass.contains(subnet));
    let mut subnets = LocalSubnets { remembered: remembered.clone(), ..LocalSubnets::default() };
    for subnet in policy.local.iter().filter(|subnet| subnet.prefix_len() > 0 && !bypassed(subnet)) {
        if let Some(prefix) = closing(subnet, &inner).or_else(|| remembered.get(subnet).copied()) {
            subnets.closed.insert(*subnet, prefix);
        } else if is_behind_the_default_route(subnet, policy, routes, &any) {
            subnets.one_armed.insert(*subnet);
        }
    }
    subnets.remembered.extend(&subnets.closed);
    let too_many = subnets.remembered.len().saturating_sub(subnets.closed.len() + REMEMBERED);
    let gone = subnets.remembered.keys().filter(|subnet| !subnets.closed.contains_key(*subnet));
    for subnet in gone.take(too_many).copied().collect::<Vec<_>>() {
        subnets.remembered.remove(&subnet);
    }
    subnets
}

/// The prefix whose blackhole closes `subnet`, if one of the inner routes leads there: the longest that holds the subnet, or
/// else the subnet itself when a route lies in it.
fn closing(subnet: &IpNet, inner: &BTreeSet<IpNet>) -> Option<IpNet> {
    if let Some(holder) = holder(subnet, |net| inner.contains(net)) {
        return Some(holder);
    }
    inside(subnet, inner).next().map(|_| *subnet)
}

/// The longest prefix that holds `subnet` and is not that of all addresses.
fn holder(subnet: &IpNet, is_there: impl Fn(&IpNet) -> bool) -> Option<IpNet> {
    let lengths = (1..=subnet.prefix_len()).rev();
    lengths.filter_map(|length| shortened(subnet, length)).find(is_there)
}

fn leads_somewhere(route: &KernelRoute, device: &str) -> bool {
    route.table == TABLE_MAIN
        && route.kind == RouteKind::Unicast
        && route.protocol != PROTOCOL_GATEWAYD
        && route.device.as_deref() != Some(device)
}

/// The devices towards the peers and the rest of the world, by family.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct OuterDevices {
    ipv4: BTreeSet<Arc<str>>,
    ipv6: BTreeSet<Arc<str>>,
}

impl OuterDevices {
    /// Those that the default routes lead to, and those that have one of the `addresses` that the peers are called from; but
    /// not for an address in a local subnet, from which a gateway may serve peers as well.
    pub fn find(routes: &BTreeSet<KernelRoute>, addresses: &BTreeSet<IpAddr>, local: &BTreeSet<IpNet>) -> Self {
        let mut outer = Self::default();
        let is_outer = |address: &IpAddr| {
            let inside = || local.iter().any(|local| local.prefix_len() > 0 && local.contains(address));
            addresses.contains(address) && !inside()
        };
        for route in routes {
            let found = match route.table {
                TABLE_MAIN => route.destination.prefix_len() == 0 && route.protocol != PROTOCOL_GATEWAYD,
                TABLE_LOCAL => is_host(&route.destination) && is_outer(&route.destination.addr()),
                _ => false,
            };
            if found {
                match Family::of(&route.destination) {
                    Family::Ipv4 => outer.ipv4.extend(route.device.clone()),
                    Family::Ipv6 => outer.ipv6.extend(route.device.clone()),
                }
            }
        }
        outer
    }

    /// Those of a family; as long as there is none, those of the other one.
    pub fn of(&self, family: Family) -> &BTreeSet<Arc<str>> {
        match family {
            Family::Ipv4 if self.ipv4.is_empty() => &self.ipv6,
            Family::Ipv6 if !self.ipv6.is_empty() => &self.ipv6,
            Family::Ipv4 | Family::Ipv6 => &self.ipv4,
        }
    }

    /// Those of either family.
    pub fn all(&self) -> BTreeSet<Arc<str>> {
        self.ipv4.union(&self.ipv6).cloned().collect()
    }
}

fn is_host(prefix: &IpNet) -> bool {
    prefix.prefix_len() == prefix.max_prefix_len()
}

/// `any` are the destinations that the main table has routes to.
fn is_behind_the_default_route(
    subnet: &IpNet,
    policy: &Policy,
    routes: &BTreeSet<KernelRoute>,
    any: &BTreeSet<IpNet>,
) -> bool {
    let everything = shortened(subnet, 0);
    let is_own =
        || is_host(subnet) && routes.iter().any(|route| route.table == TABLE_LOCAL && route.destination == *subnet);
    let protected = |net: &IpNet| policy.protect.contains(net);
    let is_protected = holder(subnet, protected).or(everything.filter(protected)).is_some();
    everything.is_some_and(|net| any.contains(&net))
        && !is_protected
        && holder(subnet, |net| any.contains(net)).is_none()
        && !is_own()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn net(text: &str) -> IpNet {
        text.parse().expect("a prefix")
    }

    fn route(table: u32, destination: &str, device: &str) -> KernelRoute {
        KernelRoute {
            table,
            destination: net(destination),
            metric: 0,
            protocol: 2,
            kind: if table == TABLE_LOCAL { RouteKind::Other(2) } else { RouteKind::Unicast },
            gateway: None,
            more_gateways: Vec::new(),
            device: Some(device.into()),
        }
    }

    fn main(destination: &str, device: &str) -> KernelRoute {
        route(TABLE_MAIN, destination, device)
    }

    fn told(local: &[&str], remembered: &Closed, routes: &[KernelRoute]) -> (Vec<String>, Vec<String>) {
        let policy = Policy { local: local.iter().map(|text| net(text)).collect(), ..Policy::default() };
        shown(&found(&policy, remembered, routes))
    }

    fn found(policy: &Policy, remembered: &Closed, routes: &[KernelRoute]) -> LocalSubnets {
        let addresses = ["203.0.113.1", "10.1.0.1"].map(|text| text.parse().expect("an address")).into();
        let routes = routes.iter().cloned().collect();
        let outer = OuterDevices::find(&routes, &addresses, &policy.local);
        local_subnets(policy, remembered, &routes, "gwd0", &outer)
    }

    fn shown(found: &LocalSubnets) -> (Vec<String>, Vec<String>) {
        let closed = found.closed.iter().map(|(subnet, prefix)| format!("{subnet} by {prefix}")).collect();
        (closed, found.one_armed.iter().map(ToString::to_string).collect())
    }

    fn nothing() -> (Vec<String>, Vec<String>) {
        (Vec::new(), Vec::new())
    }

    #[test]
    fn a_subnet_behind_an_inner_device_is_closed_and_stays_so_without_its_link() {
        let wan = [main("0.0.0.0/0", "wan"), route(TABLE_LOCAL, "203.0.113.1/32", "wan")];
        let with_lan = [&wan[..], &[main("10.1.0.0/24", "lan")]].concat();
        let closed = (vec!["10.1.0.0/24 by 10.1.0.0/24".to_owned()], Vec::new());
        assert_eq!(told(&["10.1.0.0/24"], &Closed::new(), &with_lan), closed);
        let remembered = Closed::from([(net("10.1.0.0/24"), net("10.1.0.0/24"))]);
        assert_eq!(told(&["10.1.0.0/24"], &remembered, &wan), closed);
    }

    #[test]
    fn a_blackhole_never_wins_over_the_route_that_leads_to_the_subnet() {
        let routes = [main("0.0.0.0/0", "wan"), main("10.1.0.0/16", "lan"), main("10.0.0.0/8", "lan")];
        assert_eq!(told(&["10.1.7.0/24"], &Closed::new(), &routes).0, ["10.1.7.0/24 by 10.1.0.0/16"]);
        // Routes inside the subnet, of one device or of several.
        let routes = [main("0.0.0.0/0", "wan"), main("10.1.0.0/25", "lan"), main("10.1.0.128/25", "lan2")];
        assert_eq!(told(&["10.1.0.0/24"], &Closed::new(), &routes).0, ["10.1.0.0/24 by 10.1.0.0/24"]);
        let routes = [main("0.0.0.0/0", "wan"), main("10.1.0.0/25", "lan"), main("10.1.0.0/16", "lan")];
        assert_eq!(told(&["10.1.0.0/24"], &Closed::new(), &routes).0, ["10.1.0.0/24 by 10.1.0.0/16"]);
    }

    #[test]
    fn a_one_armed_gateway_is_told_and_left_open() {
        let routes = [main("0.0.0.0/0", "eth0"), main("10.1.0.0/24", "eth0")];
        assert_eq!(told(&["10.0.0.0/8"], &Closed::new(), &routes), (Vec::new(), vec!["10.0.0.0/8".to_owned()]));
        assert_eq!(told(&["10.1.0.0/24"], &Closed::new(), &routes), nothing(), "it is on the link");
        assert_eq!(told(&["0.0.0.0/0"], &Closed::new(), &routes), nothing());
    }

    #[test]
    fn nothing_is_learned_as_long_as_no_outer_device_is_known() {
        assert_eq!(told(&["10.1.0.0/24"], &Closed::new(), &[main("10.1.0.0/24", "lan")]), nothing());
    }

    #[test]
    fn an_inner_device_is_one_whatever_else_it_is() {
        // It has one of the addresses that peers are called from, and IPv6's default route.
        let routes = [
            main("0.0.0.0/0", "wan"),
            main("10.1.0.0/24", "lan"),
            main("::/0", "lan"),
            route(TABLE_LOCAL, "10.1.0.1/32", "lan"),
        ];
        assert_eq!(told(&["10.1.0.0/24"], &Closed::new(), &routes).0, ["10.1.0.0/24 by 10.1.0.0/24"]);
        // Without a default route, the address outside tells.
        let routes = [main("10.1.0.0/24", "lan"), route(TABLE_LOCAL, "203.0.113.1/32", "wan")];
        assert_eq!(told(&["10.1.0.0/24"], &Closed::new(), &routes).0, ["10.1.0.0/24 by 10.1.0.0/24"]);
    }

    #[test]
    fn what_is_not_configured_for_a_while_is_remembered_and_what_is_bypassed_is_open() {
        let remembered = Closed::from([(net("10.1.0.0/24"), net("10.1.0.0/24"))]);
        let without = found(&Policy::default(), &remembered, &[main("0.0.0.0/0", "wan")]);
        assert_eq!((without.closed, without.remembered), (Closed::new(), remembered.clone()));
        let local = BTreeSet::from([net("10.1.0.0/24")]);
        let bypass = BTreeSet::from([net("10.1.0.0/16")]);
        let policy = Policy { local: local.clone(), bypass, ..Policy::default() };
        assert_eq!(shown(&found(&policy, &remembered, &[main("0.0.0.0/0", "wan")])), nothing());
        // What a tunnel decides is behind no default route.
        let policy = Policy { local, protect: [net("10.0.0.0/8")].into(), ..Policy::default() };
        assert_eq!(shown(&found(&policy, &Closed::new(), &[main("0.0.0.0/0", "wan")])), nothing());
    }

    #[test]
    fn an_own_address_as_local_subnet_is_behind_nothing() {
        let routes = [main("0.0.0.0/0", "wan"), route(TABLE_LOCAL, "10.1.0.1/32", "gwd0")];
        assert_eq!(told(&["10.1.0.1/32"], &Closed::new(), &routes), nothing());
    }
}
