//! Packets that belong to the link on which they are sent: no router passes them on, and so no tunnel carries them.

use crate::wire::ip::{Flow, Ports, protocol};
use std::net::IpAddr;
use std::ops::RangeInclusive;

/// ICMPv6 types of multicast listener discovery (RFC 2710) and neighbour discovery (RFC 4861), redirects included.
const LISTENER_AND_NEIGHBOUR_DISCOVERY: RangeInclusive<u8> = 130..=137;
/// Version 2 multicast listener report (RFC 3810).
const LISTENER_REPORT_2: u8 = 143;

/// Whether a packet speaks of its link itself: IGMP, MLD and neighbour discovery. The kernel says such things of its own
/// accord on every device, also on the TUN, and a hop limit of 1 or 255 keeps them there.
pub fn is_link_control(flow: &Flow) -> bool {
    match (flow.protocol, flow.ports) {
        (protocol::IGMP, _) => true,
        (protocol::ICMPV6, Ports::TypeAndCode(type_and_code)) => {
            let [kind, _] = type_and_code.to_be_bytes();
            LISTENER_AND_NEIGHBOUR_DISCOVERY.contains(&kind) || kind == LISTENER_REPORT_2
        }
        _ => false,
    }
}

/// Whether a packet comes from or goes to an address that means something on one link only: 224.0.0.0/24 (RFC 5771
/// section 4), 255.255.255.255, 169.254.0.0/16 (RFC 3927), fe80::/10 (RFC 4291 section 2.5.6), and IPv6 multicast, which is not routed by
/// destination.
pub fn has_link_address(flow: &Flow) -> bool {
    [flow.source, flow.destination].into_iter().any(|address| match address {
        IpAddr::V4(address) => {
            address.octets().starts_with(&[224, 0, 0]) || address.is_link_local() || address.is_broadcast()
        }
        IpAddr::V6(address) => address.is_unicast_link_local() || address.is_multicast(),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn flow(source: &str, destination: &str, protocol: u8, ports: Ports) -> Flow {
        Flow {
            source: source.parse().expect("an address"),
            destination: destination.parse().expect("an address"),
            protocol,
            ports,
        }
    }

    #[test]
    fn discovery_is_of_the_link_and_an_echo_is_not() {
        let icmpv6 = |kind: u8| flow("fd00::1", "fd00::2", protocol::ICMPV6, Ports::TypeAndCode(u16::from(kind) << 8));
        for kind in [130, 133, 135, 137, 143] {
            assert!(is_link_control(&icmpv6(kind)), "{kind}");
        }
        for kind in [1, 2, 128, 129, 138, 142, 144] {
            assert!(!is_link_control(&icmpv6(kind)), "{kind}");
        }
        assert!(is_link_control(&flow("10.1.0.1", "239.1.2.3", protocol::IGMP, Ports::None)));
        // The same numbers mean other things in IPv4.
        let icmp = flow("10.1.0.1", "10.2.0.1", protocol::ICMP, Ports::TypeAndCode(135 << 8));
        assert!(!is_link_control(&icmp));
    }

    #[test]
    fn either_end_can_bind_a_packet_to_its_link() {
        let udp =
            |source, destination| flow(source, destination, protocol::UDP, Ports::Known { source: 1, destination: 2 });
        for (source, destination) in [
            ("10.1.0.1", "224.0.0.251"),
            ("0.0.0.0", "255.255.255.255"),
            ("169.254.1.1", "10.2.0.1"),
            ("fe80::1", "fd00::1"),
            ("fd00::1", "ff02::fb"),
        ] {
            assert!(has_link_address(&udp(source, destination)), "{source} {destination}");
        }
        for (source, destination) in [("10.1.0.1", "224.0.1.1"), ("10.1.0.1", "239.1.1.1"), ("fd00::1", "fec0::1")] {
            assert!(!has_link_address(&udp(source, destination)), "{source} {destination}");
        }
    }
}
