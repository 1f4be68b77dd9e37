//! Which local subnets get a blackhole, so that decrypted packets do not leave by the default route.
use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;
use std::sync::Arc;

use ipnet::IpNet;

use super::kernel_routes::{PROTOCOL_GATEWAYD, TABLE_MAIN};
use super::reconcile::{Family, KernelRoute, RouteKind};

/// The kernel's table of the machine's own addresses.
const TABLE_LOCAL: u32 = 255;

/// Local subnets to which an inner device has led, each with the prefix whose blackhole closes it: the subnet itself, or
/// the longest route that held it, because a blackhole of the subnet would win over that route.
pub type Closed = BTreeMap<IpNet, IpNet>;

/// What becomes of the local subnets.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct LocalSubnets {
    /// Those with a blackhole.
    pub closed: Closed,
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
/// 1. 0.0.0.0/0 and ::/0 get no blackhole;
/// 2. a route leads to a subnet if it holds the subnet or lies in it, is no default route, and its device is neither the
///    tunnel's (`device`) nor an outer one;
/// 3. outer devices are those of the default routes and of `outer_addresses`; as long as none is known, nothing new is
///    learned.
pub fn local_subnets(
    local: &BTreeSet<IpNet>,
    remembered: &Closed,
    routes: &BTreeSet<KernelRoute>,
    device: &str,
    outer_addresses: &BTreeSet<IpAddr>,
) -> LocalSubnets {
    let outer = outer_devices(routes, outer_addresses);
    let leading: Vec<&KernelRoute> =
        routes.iter().filter(|route| leads_somewhere(route, device) && route.destination.prefix_len() > 0).collect();
    let mut subnets = LocalSubnets::default();
    for subnet in local.iter().filter(|subnet| subnet.prefix_len() > 0) {
        let inner = leading.iter().filter(|route| route.device.as_ref().is_some_and(|device| !outer.contains(device)));
        let closes = closing(subnet, inner.map(|route| route.destination)).filter(|_| !outer.is_empty());
        if let Some(prefix) = closes.or_else(|| remembered.get(subnet).copied()) {
            subnets.closed.insert(*subnet, prefix);
        } else if is_behind_the_default_route(subnet, routes, device, &leading) {
            subnets.one_armed.insert(*subnet);
        }
    }
    subnets
}

/// The prefix whose blackhole closes `subnet`, if one of the routes leads there: the longest that holds the subnet, or
/// else the subnet itself when a route lies in it.
fn closing(subnet: &IpNet, routes: impl Iterator<Item = IpNet>) -> Option<IpNet> {
    let mut holder: Option<IpNet> = None;
    let mut inside = false;
    for route in routes {
        if route.contains(subnet) {
            holder = holder.filter(|longest| longest.prefix_len() >= route.prefix_len()).or(Some(route));
        } else {
            inside |= subnet.contains(&route);
        }
    }
    holder.or(inside.then_some(*subnet))
}

fn leads_somewhere(route: &KernelRoute, device: &str) -> bool {
    route.table == TABLE_MAIN
        && route.kind == RouteKind::Unicast
        && route.protocol != PROTOCOL_GATEWAYD
        && route.device.as_deref() != Some(device)
}

fn outer_devices(routes: &BTreeSet<KernelRoute>, addresses: &BTreeSet<IpAddr>) -> BTreeSet<Arc<str>> {
    let outer = routes.iter().filter(|route| match route.table {
        TABLE_MAIN => route.destination.prefix_len() == 0 && route.protocol != PROTOCOL_GATEWAYD,
        TABLE_LOCAL => is_host(&route.destination) && addresses.contains(&route.destination.addr()),
        _ => false,
    });
    outer.filter_map(|route| route.device.clone()).collect()
}

fn is_host(prefix: &IpNet) -> bool {
    prefix.prefix_len() == prefix.max_prefix_len()
}

fn is_behind_the_default_route(
    subnet: &IpNet,
    routes: &BTreeSet<KernelRoute>,
    device: &str,
    leading: &[&KernelRoute],
) -> bool {
    let family = Family::of(subnet);
    let has_default = routes.iter().any(|route| {
        route.destination.prefix_len() == 0
            && Family::of(&route.destination) == family
            && leads_somewhere(route, device)
    });
    let is_own =
        is_host(subnet) && routes.iter().any(|route| route.table == TABLE_LOCAL && route.destination == *subnet);
    has_default && !is_own && !leading.iter().any(|route| route.destination.contains(subnet))
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
            device: Some(device.into()),
        }
    }

    fn main(destination: &str, device: &str) -> KernelRoute {
        route(TABLE_MAIN, destination, device)
    }

    fn told(local: &[&str], remembered: &Closed, routes: &[KernelRoute]) -> (Vec<String>, Vec<String>) {
        let local = local.iter().map(|text| net(text)).collect();
        let outer = ["203.0.113.1".parse().expect("an address")].into();
        let found = local_subnets(&local, remembered, &routes.iter().cloned().collect(), "gwd0", &outer);
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
    fn an_own_address_as_local_subnet_is_behind_nothing() {
        let routes = [main("0.0.0.0/0", "wan"), route(TABLE_LOCAL, "10.1.0.1/32", "gwd0")];
        assert_eq!(told(&["10.1.0.1/32"], &Closed::new(), &routes), nothing());
    }
}
