//! Kernel routes and rules as netlink messages, and back.
use std::collections::HashMap;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::sync::Arc;

use ipnet::IpNet;
use netlink_packet_route::AddressFamily;
use netlink_packet_route::route::{
    RouteAddress, RouteAttribute, RouteMessage, RouteNextHop, RouteProtocol, RouteScope, RouteType, RouteVia,
};
use netlink_packet_route::rule::{RuleAction, RuleAttribute, RuleFlags, RuleMessage};

use super::error::NetlinkError;
use crate::routing::{Family, KernelRoute, KernelRule, PROTOCOL_CEND, RouteKind};

/// A route as a person reads it.
pub fn shown(route: &KernelRoute) -> String {
    let device = route.device.as_deref().unwrap_or("no device");
    format!("{} in table {} ({device}, metric {})", route.destination, route.table, route.metric)
}

/// The routes of a message, one for each next hop, unless it is one of cend's; none for what is no IP route.
pub fn routes(message: &RouteMessage, names: &HashMap<u32, Arc<str>>) -> Vec<KernelRoute> {
    let Some(route) = route(message, names) else { return Vec::new() };
    let hops = message.attributes.iter().find_map(|attribute| match attribute {
        RouteAttribute::MultiPath(hops) => Some(hops),
        _ => None,
    });
    let gateway = |hop: &RouteNextHop| {
        hop.attributes.iter().find_map(|attribute| match attribute {
            RouteAttribute::Gateway(address) => ip_address(address),
            _ => None,
        })
    };
    let by_hop = |hop: &RouteNextHop| {
        let device = names.get(&hop.interface_index).cloned();
        KernelRoute { gateway: gateway(hop), device, ..route.clone() }
    };
    match hops.map(Vec::as_slice) {
        None => vec![route],
        Some([first, more @ ..]) if route.protocol == PROTOCOL_CEND => {
            vec![KernelRoute { more_gateways: more.iter().filter_map(gateway).collect(), ..by_hop(first) }]
        }
        Some(hops) => hops.iter().map(by_hop).collect(),
    }
}

fn route(message: &RouteMessage, names: &HashMap<u32, Arc<str>>) -> Option<KernelRoute> {
    let header = &message.header;
    let mut destination = match header.address_family {
        AddressFamily::Inet => IpAddr::V4(Ipv4Addr::UNSPECIFIED),
        AddressFamily::Inet6 => IpAddr::V6(Ipv6Addr::UNSPECIFIED),
        _ => return None,
    };
    let (mut table, mut metric, mut gateway, mut device) = (u32::from(header.table), 0, None, None);
    for attribute in &message.attributes {
        match attribute {
            RouteAttribute::Destination(address) => destination = ip_address(address)?,
            RouteAttribute::Table(number) => table = *number,
            RouteAttribute::Priority(number) => metric = *number,
            RouteAttribute::Gateway(address) => gateway = ip_address(address),
            RouteAttribute::Via(RouteVia::Inet6(address)) => gateway = Some(IpAddr::V6(*address)),
            RouteAttribute::Oif(index) => device = names.get(index).cloned(),
            _ => {}
        }
    }
    let kind = kind(header.kind);
    // IPv6 hangs routes that drop on the loopback device.
    let device = device.filter(|_| !matches!(kind, RouteKind::Blackhole | RouteKind::Unreachable | RouteKind::Throw));
    let destination = IpNet::new(destination, header.destination_prefix_length).ok()?;
    let protocol = header.protocol.into();
    Some(KernelRoute { table, metric, protocol, kind, gateway, device, ..KernelRoute::least(destination) })
}

fn ip_address(address: &RouteAddress) -> Option<IpAddr> {
    match address {
        RouteAddress::Inet(address) => Some(IpAddr::V4(*address)),
        RouteAddress::Inet6(address) => Some(IpAddr::V6(*address)),
        _ => None,
    }
}

fn kind(kind: RouteType) -> RouteKind {
    match kind {
        RouteType::Unicast => RouteKind::Unicast,
        RouteType::BlackHole => RouteKind::Blackhole,
        RouteType::Unreachable => RouteKind::Unreachable,
        RouteType::Throw => RouteKind::Throw,
        other => RouteKind::Other(other.into()),
    }
}

/// The message that sets a route.
pub fn route_message(route: &KernelRoute, indices: &HashMap<Arc<str>, u32>) -> Result<RouteMessage, NetlinkError> {
    let KernelRoute { table, destination, metric, protocol, kind, gateway, more_gateways, device } = route;
    let mut message = RouteMessage::default();
    message.header.address_family = address_family(Family::of(destination));
    message.header.destination_prefix_length = destination.prefix_len();
    message.header.protocol = RouteProtocol::from(*protocol);
    message.header.scope = match (kind, gateway) {
        (RouteKind::Unicast, None) => RouteScope::Link,
        _ => RouteScope::Universe,
    };
    message.header.kind = match kind {
        RouteKind::Unicast => RouteType::Unicast,
        RouteKind::Blackhole => RouteType::BlackHole,
        RouteKind::Unreachable => RouteType::Unreachable,
        RouteKind::Throw => RouteType::Throw,
        RouteKind::Other(number) => RouteType::from(*number),
    };
    let attributes = &mut message.attributes;
    attributes.push(RouteAttribute::Table(*table));
    attributes.push(RouteAttribute::Destination(destination.addr().into()));
    if *metric > 0 {
        attributes.push(RouteAttribute::Priority(*metric));
    }
    let index = match device {
        Some(device) => Some(*indices.get(device).ok_or_else(|| NetlinkError::NoDevice(Arc::clone(device)))?),
        None => None,
    };
    if more_gateways.is_empty() {
        attributes.extend(gateway.map(|gateway| RouteAttribute::Gateway(gateway.into())));
        attributes.extend(index.map(RouteAttribute::Oif));
    } else {
        let hop = |(gateway, index): (&IpAddr, u32)| {
            let mut hop = RouteNextHop::default();
            hop.interface_index = index;
            hop.attributes.push(RouteAttribute::Gateway((*gateway).into()));
            hop
        };
        // The kernel finds the devices of the others.
        let first = gateway.iter().map(|gateway| (gateway, index.unwrap_or(0)));
        let more = more_gateways.iter().map(|gateway| (gateway, 0));
        attributes.push(RouteAttribute::MultiPath(first.chain(more).map(hop).collect()));
    }
    Ok(message)
}

/// The message that removes a route. Protocol, kind, gateway and device narrow it to exactly this one.
pub fn removed_route_message(
    route: &KernelRoute,
    indices: &HashMap<Arc<str>, u32>,
) -> Result<RouteMessage, NetlinkError> {
    let mut message = route_message(route, indices)?;
    // "Any scope" for a removal: the kernel may have chosen another than we did.
    message.header.scope = RouteScope::NoWhere;
    Ok(message)
}

/// The rule of a message. Of one with conditions that none of ours has, only family, priority and protocol count.
pub fn rule(message: &RuleMessage) -> Option<KernelRule> {
    let header = &message.header;
    let family = match header.family {
        AddressFamily::Inet => Family::Ipv4,
        AddressFamily::Inet6 => Family::Ipv6,
        _ => return None,
    };
    let mut rule = KernelRule {
        family,
        priority: 0,
        protocol: 0,
        source: None,
        input_device: None,
        unless_mark: None,
        table: u32::from(header.table),
        suppress_prefix_length: None,
        is_foreign: header.action != RuleAction::ToTable || header.dst_len > 0 || header.tos > 0,
    };
    let mut mark = None;
    for attribute in &message.attributes {
        match attribute {
            RuleAttribute::Priority(number) => rule.priority = *number,
            RuleAttribute::Protocol(number) => rule.protocol = (*number).into(),
            RuleAttribute::Source(address) => rule.source = IpNet::new(*address, header.src_len).ok(),
            RuleAttribute::Iifname(name) => rule.input_device = Some(name.as_str().into()),
            RuleAttribute::FwMark(number) => mark = Some(*number),
            RuleAttribute::Table(number) => rule.table = *number,
            // All ones is how the kernel says "nothing is suppressed".
            RuleAttribute::SuppressPrefixLen(length) if *length != u32::MAX => {
                rule.suppress_prefix_length = Some(*length);
            }
            // All ones: the whole mark, and no group of devices.
            RuleAttribute::FwMask(u32::MAX)
            | RuleAttribute::SuppressIfGroup(u32::MAX)
            | RuleAttribute::SuppressPrefixLen(_) => {}
            _ => rule.is_foreign = true,
        }
    }
    let inverted = header.flags.contains(RuleFlags::Invert);
    rule.is_foreign |= inverted != mark.is_some();
    rule.is_foreign |= rule.source.map_or(0, |source| source.prefix_len()) != header.src_len;
    rule.unless_mark = mark;
    Some(rule)
}

/// The message that sets or removes a rule.
pub fn rule_message(rule: &KernelRule) -> RuleMessage {
    let KernelRule {
        family,
        priority,
        protocol,
        source,
        input_device,
        unless_mark,
        table,
        suppress_prefix_length,
        is_foreign: _,
    } = rule;
    let mut message = RuleMessage::default();
    message.header.family = address_family(*family);
    message.header.action = RuleAction::ToTable;
    let attributes = &mut message.attributes;
    attributes.push(RuleAttribute::Priority(*priority));
    attributes.push(RuleAttribute::Protocol(RouteProtocol::from(*protocol)));
    attributes.push(RuleAttribute::Table(*table));
    if let Some(source) = source {
        message.header.src_len = source.prefix_len();
        attributes.push(RuleAttribute::Source(source.addr()));
    }
    if let Some(device) = input_device {
        attributes.push(RuleAttribute::Iifname(device.to_string()));
    }
    if let Some(mark) = unless_mark {
        message.header.flags = RuleFlags::Invert;
        attributes.push(RuleAttribute::FwMark(*mark));
        attributes.push(RuleAttribute::FwMask(u32::MAX));
    }
    if let Some(length) = suppress_prefix_length {
        attributes.push(RuleAttribute::SuppressPrefixLen(*length));
    }
    message
}

fn address_family(family: Family) -> AddressFamily {
    match family {
        Family::Ipv4 => AddressFamily::Inet,
        Family::Ipv6 => AddressFamily::Inet6,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::routing::{KernelPolicy, kernel_state};

    #[test]
    fn what_gatewayd_wants_survives_the_way_to_the_kernel_and_back() {
        let device: Arc<str> = "ipsec0".into();
        let destinations = ["0.0.0.0/0", "10.1.1.0/24", "::/0", "fd00:1::/64"];
        let destinations = destinations.map(|prefix| prefix.parse::<IpNet>().expect("a prefix"));
        let policy = KernelPolicy {
            protect: destinations.into(),
            carried: destinations.into(),
            exempt: ["10.1.1.128/25", "fd00:1::/96"].map(|prefix| prefix.parse().expect("a prefix")).into(),
            ..KernelPolicy::default()
        };
        let wanted = kernel_state(&policy, &device, 0x4947_0001);
        let indices = HashMap::from([(Arc::clone(&device), 7)]);
        let names = HashMap::from([(7, device)]);
        for route in &wanted.routes {
            let message = route_message(route, &indices).expect("a known device");
            assert_eq!(super::route(&message, &names).as_ref(), Some(route));
        }
        for rule in &wanted.rules {
            assert_eq!(super::rule(&rule_message(rule)).as_ref(), Some(rule));
        }
    }

    #[test]
    fn a_rule_for_a_source_survives_the_way_to_the_kernel_and_back() {
        let rule = KernelRule {
            family: Family::Ipv4,
            priority: 20_300,
            protocol: PROTOCOL_CEND,
            source: Some("192.168.4.0/25".parse().expect("a prefix")),
            input_device: None,
            unless_mark: None,
            table: 0x4000_0001,
            suppress_prefix_length: None,
            is_foreign: false,
        };
        assert_eq!(super::rule(&rule_message(&rule)), Some(rule));
    }

    #[test]
    fn a_route_of_cend_to_several_next_hops_is_one_and_anybody_else_s_is_one_for_each() {
        let [first, second] = ["100.64.0.2", "100.64.0.6"].map(|text| text.parse::<IpAddr>().expect("an address"));
        let shared = KernelRoute {
            table: 254,
            protocol: PROTOCOL_CEND,
            gateway: Some(first),
            more_gateways: vec![second],
            ..KernelRoute::least("10.1.0.0/16".parse().expect("a prefix"))
        };
        let message = |protocol| route_message(&KernelRoute { protocol, ..shared.clone() }, &HashMap::new());
        let read = |protocol| routes(&message(protocol).expect("no device is named"), &HashMap::new());
        assert_eq!(read(PROTOCOL_CEND), std::slice::from_ref(&shared));
        let each =
            |gateway| KernelRoute { protocol: 4, gateway: Some(gateway), more_gateways: Vec::new(), ..shared.clone() };
        assert_eq!(read(4), [each(first), each(second)]);
    }

    #[test]
    fn a_rule_with_other_conditions_is_nobodys_we_know() {
        let mut message = rule_message(&KernelRule {
            family: Family::Ipv4,
            priority: 9,
            protocol: 201,
            source: None,
            input_device: None,
            unless_mark: None,
            table: 254,
            suppress_prefix_length: None,
            is_foreign: false,
        });
        message.header.dst_len = 24;
        assert!(rule(&message).is_some_and(|rule| rule.is_foreign && rule.priority == 9));
    }
}
