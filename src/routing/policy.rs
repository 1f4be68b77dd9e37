//! Which destinations are protected, and which are exempt although a protected prefix holds them.
use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::sync::Arc;

use ipnet::IpNet;

use super::kernel_routes::TABLE_MAIN;
use super::reconcile::{Family, KernelRoute, RouteKind};

/// `rtm_protocol` of what the kernel makes itself, such as the route of a network that an address is in.
pub const PROTOCOL_KERNEL: u8 = 2;

/// What traffic is for: the part of the security policy (RFC 4301 section 4.4.1) that is told by destination.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Policy {
    /// PROTECT: destinations of the VPN routes.
    pub protect: BTreeSet<IpNet>,
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

    /// What is exempt, given everybody's routes; `device` is the tunnel's. The rules, in order:
    /// 1. the longest of the protected, local and bypass prefixes that hold an address decides, and of equal ones the
    ///    protected one;
    /// 2. a connected network that lies in a local subnet is exempt from shorter protected prefixes;
    /// 3. any other route of the main table is exempt from 0.0.0.0/0 and ::/0 only, so no foreign route takes traffic
    ///    of an explicit prefix out of the tunnel, however it came there (DHCP option 121, a routing daemon).
    ///
    /// IPv6 link-local prefixes are left out: they belong to every link and are never protected.
    pub fn exemptions(&self, routes: &BTreeSet<KernelRoute>, device: &str) -> BTreeSet<Exemption> {
        let lengths = self.lengths();
        let named = |prefixes: &BTreeSet<IpNet>, reason| {
            let exempt = |prefix: &IpNet| {
                Some(Exemption { prefix: *prefix, within: self.within(prefix, &lengths)?, reason, device: None })
            };
            prefixes.iter().filter_map(exempt).collect::<Vec<_>>()
        };
        let mut exemptions: BTreeMap<IpNet, Exemption> = BTreeMap::new();
        let foreign = routes.iter().filter(|route| {
            route.table == TABLE_MAIN && route.kind == RouteKind::Unicast && route.device.as_deref() != Some(device)
        });
        let by_route = foreign.filter_map(|route| self.by_route(route, &lengths));
        let in_order =
            by_route.chain(named(&self.local, Reason::LocalSubnet)).chain(named(&self.bypass, Reason::Bypass));
        // What the configuration says is the better reason.
        exemptions.extend(in_order.map(|exemption| (exemption.prefix, exemption)));
        exemptions.into_values().collect()
    }

    fn by_route(&self, route: &KernelRoute, lengths: &[u8]) -> Option<Exemption> {
        let prefix = route.destination;
        if prefix.prefix_len() == 0 || is_link_local(&prefix) {
            return None;
        }
        let within = self.within(&prefix, lengths)?;
        let connected = route.protocol == PROTOCOL_KERNEL && route.gateway.is_none();
        let reason = if connected && self.local.iter().any(|local| local.contains(&prefix)) {
            Reason::Connected
        } else if within.prefix_len() == 0 && !self.protect.contains(&prefix) {
            Reason::MoreSpecificRoute
        } else {
            return None;
        };
        Some(Exemption { prefix, within, reason, device: route.device.clone() })
    }

    /// The longest protected prefix that is shorter than `prefix` and holds it; none if `prefix` is protected itself.
    fn within(&self, prefix: &IpNet, lengths: &[u8]) -> Option<IpNet> {
        if self.protect.contains(prefix) {
            return None;
        }
        let shorter = lengths.iter().filter(|length| **length < prefix.prefix_len());
        let mut holders = shorter.filter_map(|length| Some(IpNet::new(prefix.network(), *length).ok()?.trunc()));
        holders.find(|holder| self.protect.contains(holder))
    }

    /// The lengths that protected prefixes have, the longest first.
    fn lengths(&self) -> Vec<u8> {
        let lengths: BTreeSet<u8> = self.protect.iter().map(IpNet::prefix_len).collect();
        lengths.into_iter().rev().collect()
    }

    /// The protected prefix of all addresses of a family, if there is one.
    pub fn default_route(&self, family: Family) -> Option<IpNet> {
        self.protect.iter().copied().find(|prefix| prefix.prefix_len() == 0 && Family::of(prefix) == family)
    }
}

fn is_link_local(prefix: &IpNet) -> bool {
    matches!(prefix, IpNet::V6(prefix) if prefix.network().is_unicast_link_local() && prefix.prefix_len() >= 10)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn nets(list: &[&str]) -> BTreeSet<IpNet> {
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
            device: Some(device.into()),
        }
    }

    fn exempt(protect: &[&str], local: &[&str], bypass: &[&str], routes: &[KernelRoute]) -> Vec<String> {
        let policy = Policy { protect: nets(protect), local: nets(local), bypass: nets(bypass) };
        let shown = |one: Exemption| format!("{} in {}: {}", one.prefix, one.within, one.reason);
        policy.exemptions(&routes.iter().cloned().collect(), "gwd0").into_iter().map(shown).collect()
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
