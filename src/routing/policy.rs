//! Which destinations are protected, and which are exempt although a protected prefix holds them.
use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::sync::Arc;

use ipnet::IpNet;

use super::kernel_routes::{PROTOCOL_GATEWAYD, TABLE_MAIN};
use super::prefixes::shortened;
use super::reconcile::{KernelRoute, RouteKind};
use super::shared::SharedSet;

/// `rtm_protocol` of what the kernel makes itself, such as the route of a network that an address is in.
pub const PROTOCOL_KERNEL: u8 = 2;

/// Local subnets to which an inner device has led, each with the prefix whose blackhole closes it: the subnet itself, or
/// the longest route that held it, because a blackhole of the subnet would win over that route.
pub type Closed = BTreeMap<IpNet, IpNet>;

/// What traffic is for: the part of the security policy (RFC 4301 section 4.4.1) that is told by destination.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Policy {
    /// PROTECT: destinations of the VPN routes.
    pub protect: SharedSet<IpNet>,
    /// The connections' own subnets, which lie on this side.
    pub local: BTreeSet<IpNet>,
    /// BYPASS: what the configuration lets pass by.
    pub bypass: BTreeSet<IpNet>,
}

/// Why an address inside a protected prefix is not protected.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Reason {
    /// It is in a local subnet that is longer than the protected prefix.
    LocalSubnet,
    /// It is in a connected network that lies in a local subnet.
    Connected,
    /// The configuration names it under `bypass`.
    Bypass,
    /// The protected prefix is 0.0.0.0/0 or ::/0, and the main table knows a more specific route.
    MoreSpecificRoute,
}

impl Reason {
    /// Whether gatewayd has to make way for it; for the rest the main table does.
    pub fn is_ours(self) -> bool {
        self != Reason::MoreSpecificRoute
    }
}

impl fmt::Display for Reason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Reason::LocalSubnet => "local subnet",
            Reason::Connected => "connected network of a local subnet",
            Reason::Bypass => "bypass",
            Reason::MoreSpecificRoute => "more specific route",
        })
    }
}

/// A prefix that is not protected although a protected one holds it.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Exemption {
    /// What is exempt.
    pub prefix: IpNet,
    /// The longest protected prefix that holds it.
    pub within: IpNet,
    /// Why.
    pub reason: Reason,
    /// Where it leads, if one route says so.
    pub device: Option<Arc<str>>,
}

impl Policy {
    /// The protected prefixes but 0.0.0.0/0 and ::/0: those that win over every foreign route.
    pub fn explicit(&self) -> impl Iterator<Item = IpNet> {
        self.protect.iter().copied().filter(|prefix| prefix.prefix_len() > 0)
    }

    /// What is exempt, given everybody's routes; `device` is the tunnel's, `outer` are the outer devices, and `closed` the
    /// local subnets that an inner device has led to. The rules, in order:
    /// 1. the longest of the protected, local and bypass prefixes that hold an address decides, and of equal ones the
    ///    protected one; but a local subnet only where it is connected, or a route of an inner device leads to it that is
    ///    longer than the protected prefix: what lies behind another tunnel is not exempt because it is local to one of
    ///    them;
    /// 2. a connected network of an inner device that lies in a local subnet is exempt from protected prefixes that hold it,
    ///    also if they are longer than the local subnet. Somebody outside may have given an outer device its addresses. As
    ///    long as no outer device is known, none is an inner one;
    /// 3. any other route of the main table is exempt from 0.0.0.0/0 and ::/0 only, so no foreign route takes traffic
    ///    of an explicit prefix out of the tunnel, however it came there (DHCP option 121, a routing daemon).
    ///
    /// IPv6 link-local prefixes are left out: they belong to every link and are never protected.
    pub fn exemptions(
        &self,
        routes: &BTreeSet<KernelRoute>,
        device: &str,
        outer: &BTreeSet<Arc<str>>,
        closed: &Closed,
    ) -> BTreeSet<Exemption> {
        let lengths = self.lengths();
        let named = |prefix: &IpNet, reason| {
            Some(Exemption { prefix: *prefix, within: self.within(prefix, &lengths)?, reason, device: None })
        };
        let foreign = routes.iter().filter(|route| {
            route.table == TABLE_MAIN
                && route.kind == RouteKind::Unicast
                && route.protocol != PROTOCOL_GATEWAYD
                && route.destination.prefix_len() > 0
                && route.device.as_deref() != Some(device)
        });
        let foreign: Vec<&KernelRoute> = foreign.collect();
        let leading: BTreeSet<IpNet> = foreign
            .iter()
            .filter(|route| is_connected(route) || is_inner(route, outer))
            .map(|route| route.destination)
            .collect();
        let is_led_to = |local: &IpNet| {
            let within = self.within(local, &lengths).map_or(0, |within| within.prefix_len());
            let mut holders = (within + 1..=local.prefix_len()).filter_map(|length| shortened(local, length));
            closed.get(local).is_some_and(|by| by.prefix_len() > within)
                || holders.any(|holder| leading.contains(&holder))
        };
        // Of several routes to one prefix, one that makes it exempt is enough.
        let by_route = foreign.iter().filter_map(|route| self.by_route(route, outer, &lengths));
        let local = self.local.iter().filter(|local| is_led_to(local));
        let local = local.filter_map(|local| named(local, Reason::LocalSubnet));
        let bypass = self.bypass.iter().filter_map(|prefix| named(prefix, Reason::Bypass));
        // What the configuration says is the better reason.
        let mut exemptions: BTreeMap<IpNet, Exemption> = BTreeMap::new();
        exemptions.extend(by_route.chain(local).chain(bypass).map(|exemption| (exemption.prefix, exemption)));
        exemptions.into_values().collect()
    }

    fn by_route(&self, route: &KernelRoute, outer: &BTreeSet<Arc<str>>, lengths: &[u8]) -> Option<Exemption> {
        let prefix = route.destination;
        if is_link_local(&prefix) {
            return None;
        }
        let within = self.within(&prefix, lengths)?;
        let (connected, inner) = (is_connected(route), is_inner(route, outer));
        let reason = match self.local_holder(&prefix) {
            Some(local) if local.prefix_len() > within.prefix_len() && (connected || inner) => Reason::LocalSubnet,
            Some(_) if connected && inner => Reason::Connected,
            _ if within.prefix_len() == 0 => Reason::MoreSpecificRoute,
            _ => return None,
        };
        Some(Exemption { prefix, within, reason, device: route.device.clone() })
    }

    /// The longest local subnet that holds a prefix.
    fn local_holder(&self, prefix: &IpNet) -> Option<IpNet> {
        let mut holders = (0..=prefix.prefix_len()).rev().filter_map(|length| shortened(prefix, length));
        holders.find(|holder| self.local.contains(holder))
    }

    /// The longest protected prefix that is shorter than `prefix` and holds it; none if `prefix` is protected itself.
    fn within(&self, prefix: &IpNet, lengths: &[u8]) -> Option<IpNet> {
        if self.protect.contains(prefix) {
            return None;
        }
        let shorter = lengths.iter().filter(|length| **length < prefix.prefix_len());
        let mut holders = shorter.filter_map(|length| shortened(prefix, *length));
        holders.find(|holder| self.protect.contains(holder))
    }

    /// The lengths that protected prefixes have, the longest first.
    fn lengths(&self) -> Vec<u8> {
        let lengths: BTreeSet<u8> = self.protect.iter().map(IpNet::prefix_len).collect();
        lengths.into_iter().rev().collect()
    }
}

fn is_connected(route: &KernelRoute) -> bool {
    route.protocol == PROTOCOL_KERNEL && route.gateway.is_none()
}

fn is_inner(route: &KernelRoute, outer: &BTreeSet<Arc<str>>) -> bool {
    !outer.is_empty() && route.device.as_ref().is_some_and(|device| !outer.contains(device))
}

fn is_link_local(prefix: &IpNet) -> bool {
    matches!(prefix, IpNet::V6(prefix) if prefix.network().is_unicast_link_local() && prefix.prefix_len() >= 10)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn nets<C: FromIterator<IpNet>>(list: &[&str]) -> C {
        list.iter().map(|text| text.parse().expect("a prefix")).collect()
    }

    fn route(destination: &str, device: &str, protocol: u8, gateway: Option<&str>) -> KernelRoute {
        KernelRoute {
            table: TABLE_MAIN,
            destination: destination.parse().expect("a prefix"),
            metric: 0,
            protocol,
            kind: RouteKind::Unicast,
            gateway: gateway.map(|gateway| gateway.parse().expect("an address")),
            more_gateways: Vec::new(),
            device: Some(device.into()),
        }
    }

    fn exempt(protect: &[&str], local: &[&str], bypass: &[&str], routes: &[KernelRoute]) -> Vec<String> {
        let policy = Policy { protect: nets(protect), local: nets(local), bypass: nets(bypass) };
        let shown = |one: Exemption| format!("{} in {}: {}", one.prefix, one.within, one.reason);
        let outer = ["wan".into()].into();
        let found = policy.exemptions(&routes.iter().cloned().collect(), "gwd0", &outer, &Closed::new());
        found.into_iter().map(shown).collect()
    }

    #[test]
    fn no_foreign_route_is_exempt_from_an_explicit_prefix() {
        let routes = [
            route("10.2.0.0/25", "wan", 16, Some("203.0.113.9")),
            route("10.2.0.128/25", "wan", PROTOCOL_KERNEL, None),
            route("0.0.0.0/0", "wan", 3, Some("203.0.113.9")),
        ];
        assert!(exempt(&["10.2.0.0/24"], &["10.1.0.0/24"], &[], &routes).is_empty());
        // Not even where 0.0.0.0/0 is protected as well.
        assert!(exempt(&["10.2.0.0/24", "0.0.0.0/0"], &[], &[], &routes).is_empty());
    }

    #[test]
    fn a_hub_keeps_its_lan_inside_the_peers_prefix() {
        let lan = [route("10.1.0.0/24", "lan", PROTOCOL_KERNEL, None)];
        assert_eq!(exempt(&["10.0.0.0/8"], &["10.1.0.0/24"], &[], &lan), ["10.1.0.0/24 in 10.0.0.0/8: local subnet"]);
        // Also where hub and spokes share one prefix; a static route beside it is no connected network.
        let routes = [lan[0].clone(), route("10.3.0.0/16", "lan", 4, Some("10.1.0.2"))];
        let connected = "10.1.0.0/24 in 10.0.0.0/8: connected network of a local subnet";
        assert_eq!(exempt(&["10.0.0.0/8"], &["10.0.0.0/8"], &[], &routes), [connected]);
        assert_eq!(
            exempt(&["10.0.0.0/8"], &["10.0.0.0/8"], &["10.3.0.0/16"], &routes),
            [connected, "10.3.0.0/16 in 10.0.0.0/8: bypass"]
        );
    }

    #[test]
    fn a_subnet_that_is_local_to_one_connection_and_behind_another_is_not_exempt() {
        // A transit hub: one peer may see a part of what lies behind the other.
        let default_route = route("0.0.0.0/0", "wan", 4, Some("203.0.113.9"));
        let local = ["10.1.0.0/24", "10.3.1.0/24"];
        assert!(exempt(&["10.2.0.0/16", "10.3.0.0/16"], &local, &[], &[default_route]).is_empty());
        // Not by a route that somebody gave an outer device, nor because a shorter route of an inner one holds it.
        let routes =
            [route("10.3.1.0/24", "wan", 16, Some("203.0.113.9")), route("10.0.0.0/8", "lan", 4, Some("10.1.0.2"))];
        assert!(exempt(&["10.2.0.0/16", "10.3.0.0/16"], &local, &[], &routes).is_empty());
        let policy = Policy { protect: nets(&["10.3.0.0/16"]), local: nets(&["10.3.1.0/24"]), bypass: nets(&[]) };
        let net = |text: &str| text.parse::<IpNet>().expect("a prefix");
        let closed = Closed::from([(net("10.3.1.0/24"), net("10.0.0.0/8"))]);
        assert!(policy.exemptions(&BTreeSet::new(), "gwd0", &BTreeSet::new(), &closed).is_empty());
        // Once an inner device has led there, it is: without its link it is closed, and not led into the tunnel.
        let policy = Policy { protect: nets(&["10.0.0.0/8"]), local: nets(&["10.1.0.0/24"]), bypass: nets(&[]) };
        let closed = Closed::from([(net("10.1.0.0/24"), net("10.1.0.0/24"))]);
        assert_eq!(policy.exemptions(&BTreeSet::new(), "gwd0", &BTreeSet::new(), &closed).len(), 1);
    }

    #[test]
    fn a_connected_network_of_an_outer_device_is_exempt_only_where_a_local_subnet_says_so() {
        let (inner, outer) = (route("10.1.0.0/24", "lan", 2, None), route("10.2.0.0/28", "wan", 2, None));
        // Another route to the same network, of a worse metric, hides nothing.
        let given = KernelRoute { metric: 100, ..route("10.1.0.0/24", "wan", 16, Some("203.0.113.9")) };
        let routes = [inner, outer, given];
        for local in ["0.0.0.0/0", "10.0.0.0/8"] {
            let connected = "10.1.0.0/24 in 10.0.0.0/8: connected network of a local subnet";
            assert_eq!(exempt(&["10.0.0.0/8"], &[local], &[], &routes), [connected], "{local}");
        }
        assert_eq!(
            exempt(&["10.0.0.0/8"], &["10.2.0.0/24"], &[], &routes),
            ["10.2.0.0/28 in 10.0.0.0/8: local subnet"]
        );
    }

    #[test]
    fn of_equal_prefixes_the_protected_one_counts() {
        let routes = [route("10.2.0.0/24", "wan", PROTOCOL_KERNEL, None)];
        assert!(exempt(&["10.2.0.0/24"], &["10.2.0.0/24"], &["10.2.0.0/24"], &routes).is_empty());
        assert!(exempt(&["10.2.0.0/24", "10.0.0.0/8"], &["10.2.0.0/24"], &[], &routes).is_empty());
    }

    #[test]
    fn a_default_route_lets_the_main_table_know_better() {
        let routes = [
            route("192.168.4.0/24", "lan", PROTOCOL_KERNEL, None),
            route("172.16.0.0/12", "wan", 4, Some("203.0.113.9")),
            route("fe80::/64", "wan", PROTOCOL_KERNEL, None),
            route("0.0.0.0/0", "wan", 4, Some("203.0.113.9")),
        ];
        assert_eq!(
            exempt(&["0.0.0.0/0", "::/0"], &[], &["198.51.100.7/32"], &routes),
            [
                "172.16.0.0/12 in 0.0.0.0/0: more specific route",
                "192.168.4.0/24 in 0.0.0.0/0: more specific route",
                "198.51.100.7/32 in 0.0.0.0/0: bypass",
            ]
        );
    }
}
