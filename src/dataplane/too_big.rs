//! ICMP "too big": what the sender of a DF packet that does not fit the tunnel is told (RFC 4301 section 8.2, RFC 1191,
//! RFC 8201), at a limited rate to each of them.

use super::host_limit::HostLimit;
use super::parameters::{OwnAddresses, Tunnel};
use crate::wire::icmp::{self, MAX_TOO_BIG};
use crate::wire::ip::{Flow, FragmentPart, IpHeader};
use std::net::{IpAddr, Ipv4Addr};
use std::time::Instant;

/// The dummy address of RFC 7600 section 4.8, for a node without an IPv4 address of its own.
const DUMMY_IPV4: Ipv4Addr = Ipv4Addr::new(192, 0, 0, 8);
/// No IPv6 path is narrower (RFC 8200 section 5).
pub const IPV6_MIN_MTU: usize = 1280;

/// Writes the messages, as many as the rate allows.
#[derive(Debug)]
pub struct TooBig {
    own: OwnAddresses,
    limit: HostLimit,
    /// Whom the last message was about, and when: the segments of a super-packet need no more than one.
    last: Option<(Flow, Instant)>,
    message: [u8; MAX_TOO_BIG],
}

impl TooBig {
    /// At most this many messages a second to each host, and as many at once.
    pub fn new(own: OwnAddresses, per_second: u32) -> Self {
        Self { own, limit: HostLimit::new(per_second), last: None, message: [0; MAX_TOO_BIG] }
    }

    /// The message about `packet`, which does not fit `inner_mtu`; `None` where none may be sent, the rate is used up, or one
    /// about this flow was sent in the same batch, whose time `now` is.
    pub fn message(
        &mut self,
        packet: &[u8],
        header: &IpHeader,
        inner_mtu: usize,
        tunnel: &Tunnel,
        now: Instant,
    ) -> Option<&mut [u8]> {
        let told = self.last == Some((header.flow, now));
        if told || !may_be_told(packet, header) || !self.limit.take(header.flow.source, now) {
            return None;
        }
        self.last = Some((header.flow, now));
        let length = match (header.flow.source, tunnel.path.local.ip()) {
            (IpAddr::V4(host), outer) => {
                let outer = match outer {
                    IpAddr::V4(outer) if !outer.is_unspecified() => Some(outer),
                    _ => None,
                };
                let source = self.own.ipv4.or(outer).unwrap_or(DUMMY_IPV4);
                let mtu = u16::try_from(inner_mtu).unwrap_or(u16::MAX);
                icmp::fragmentation_needed(source, host, mtu, packet, &mut self.message)
            }
            (IpAddr::V6(host), outer) => {
                let outer = match outer {
                    IpAddr::V6(outer) if !outer.is_unspecified() => Some(outer),
                    _ => None,
                };
                let source = self.own.ipv6.or(outer)?;
                let mtu = u32::try_from(inner_mtu.max(IPV6_MIN_MTU)).unwrap_or(u32::MAX);
                icmp::packet_too_big(source, host, mtu, packet, &mut self.message)
            }
        };
        self.message.get_mut(..length)
    }
}

/// No message about errors, later fragments, or packets from or to anything but one host (RFC 1122 section 3.2.2).
fn may_be_told(packet: &[u8], header: &IpHeader) -> bool {
    let one_host = |address: IpAddr| match address {
        IpAddr::V4(address) => {
            !(address.is_multicast() || address.is_broadcast() || address.is_unspecified() || address.is_loopback())
        }
        IpAddr::V6(address) => !(address.is_multicast() || address.is_unspecified() || address.is_loopback()),
    };
    header.part != FragmentPart::Later
        && one_host(header.flow.source)
        && !header.flow.destination.is_multicast()
        && !icmp::is_error(header, packet)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::dataplane::outer_header::{Encapsulation, OuterPath};
    use crate::wire::ip::{self, protocol};
    use std::time::Duration;

    fn tunnel() -> Tunnel {
        let path = OuterPath { local: "192.0.2.1:4500".parse().unwrap(), peer: "192.0.2.2:4500".parse().unwrap() };
        Tunnel { encapsulation: Encapsulation::Udp, path, outer_mtu: 1500 }
    }

    fn ipv4(source: [u8; 4]) -> Vec<u8> {
        [&ip::ipv4_header(source.into(), [10, 9, 0, 1].into(), protocol::UDP, 1500)[..], &[0; 1480]].concat()
    }

    fn ask(too_big: &mut TooBig, packet: &[u8], now: Instant) -> Option<Vec<u8>> {
        let header = IpHeader::parse(packet).unwrap();
        too_big.message(packet, &header, 1438, &tunnel(), now).map(|message| message.to_vec())
    }

    #[test]
    fn the_message_goes_to_the_sender_from_an_address_of_ours() {
        let now = Instant::now();
        let own = OwnAddresses { ipv4: Some([172, 16, 0, 1].into()), ipv6: None };
        for (own, source) in [(own, [172, 16, 0, 1]), (OwnAddresses::default(), [192, 0, 2, 1])] {
            let message = ask(&mut TooBig::new(own, 10), &ipv4([10, 0, 0, 5]), now).unwrap();
            let header = IpHeader::parse(&message).unwrap();
            assert_eq!(header.flow.source, IpAddr::from(source));
            assert_eq!(header.flow.destination, IpAddr::from([10, 0, 0, 5]));
        }
    }

    #[test]
    fn a_host_that_asks_a_lot_takes_nothing_from_the_others() {
        let now = Instant::now();
        let mut too_big = TooBig::new(OwnAddresses::default(), 10);
        for host in [5, 6] {
            let batches = (0..50).map(|n| now + Duration::from_micros(n));
            let told = batches.filter(|at| ask(&mut too_big, &ipv4([10, 0, 0, host]), *at).is_some());
            assert_eq!(told.count(), 10);
        }
    }

    #[test]
    fn nobody_is_told_about_errors_and_nobody_else_than_one_host() {
        let now = Instant::now();
        let mut too_big = TooBig::new(OwnAddresses::default(), 10);
        assert_eq!(ask(&mut too_big, &ipv4([0, 0, 0, 0]), now), None);
        let mut error = ipv4([10, 0, 0, 5]);
        error[9] = protocol::ICMP;
        error[20] = 3;
        assert_eq!(ask(&mut too_big, &error, now), None);
    }

    #[test]
    fn ipv6_is_never_told_less_than_its_minimum_nor_without_a_source() {
        let now = Instant::now();
        let packet = [&ip::ipv6_header([1; 16].into(), [2; 16].into(), protocol::UDP, 1460)[..], &[0; 1460]].concat();
        let header = IpHeader::parse(&packet).unwrap();
        let mut without = TooBig::new(OwnAddresses::default(), 10);
        assert_eq!(without.message(&packet, &header, 1400, &tunnel(), now), None);
        let own = OwnAddresses { ipv4: None, ipv6: Some("2001:db8::1".parse().unwrap()) };
        let mut with = TooBig::new(own, 10);
        let message = with.message(&packet, &header, 900, &tunnel(), now).unwrap();
        assert_eq!(message[44..48], 1280u32.to_be_bytes());
    }
}
