//! Netlink messages as they lie in a datagram, and the little that is looked at of those that do not matter.
use std::net::IpAddr;
use std::sync::Arc;

use ipnet::IpNet;
use netlink_packet_route::link::LinkFlags;

use super::link::Link;

/// Length of a message's header (`struct nlmsghdr`, netlink(7)).
const HEADER: usize = 16;
/// Length of an attribute's header (`struct rtattr`, rtnetlink(7)).
const ATTRIBUTE_HEADER: usize = 4;
/// The upper bits of an attribute's type are flags (`NLA_TYPE_MASK`).
const TYPE_MASK: u16 = 0x3fff;
/// Length of the fixed part of a message about a route (`struct rtmsg`), about a device (`struct ifinfomsg`), and about an
/// address (`struct ifaddrmsg`).
const ROUTE_HEADER: usize = 12;
const LINK_HEADER: usize = 16;
const ADDRESS_HEADER: usize = 8;
/// Attributes (linux/rtnetlink.h, linux/if_link.h).
const RTA_DST: u16 = 1;
const RTA_TABLE: u16 = 15;
const IFLA_IFNAME: u16 = 3;
const IFA_ADDRESS: u16 = 1;
const IFA_LOCAL: u16 = 2;
/// Duplicate address detection has not ended (linux/if_addr.h).
const IFA_F_TENTATIVE: u8 = 0x40;

/// Kinds of messages: `RTM_` and the name in linux/rtnetlink.h.
pub mod kind {
    pub const NEWLINK: u16 = 16;
    pub const DELLINK: u16 = 17;
    pub const NEWADDR: u16 = 20;
    pub const DELADDR: u16 = 21;
    pub const NEWROUTE: u16 = 24;
    pub const DELROUTE: u16 = 25;
    pub const NEWRULE: u16 = 32;
    pub const DELRULE: u16 = 33;
    pub const NEWNEXTHOP: u16 = 104;
    pub const DELNEXTHOP: u16 = 105;
}

/// One netlink message.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Message<'m> {
    /// What it is (`nlmsg_type`).
    pub kind: u16,
    /// `nlmsg_flags`.
    pub flags: u16,
    /// The number of the request that it answers (`nlmsg_seq`).
    pub sequence: u32,
    /// What follows the header.
    pub payload: &'m [u8],
}

/// The messages of a datagram, up to the first that is cut off.
pub fn messages(mut datagram: &[u8]) -> impl Iterator<Item = Message<'_>> {
    std::iter::from_fn(move || {
        let length = usize::try_from(number_at(datagram, 0)?).ok()?;
        let message = datagram.get(..length)?;
        let payload = message.get(HEADER..)?;
        let (kind, flags) = (short_at(message, 4)?, short_at(message, 6)?);
        let sequence = number_at(message, 8)?;
        datagram = datagram.get(length.next_multiple_of(4)..).unwrap_or_default();
        Some(Message { kind, flags, sequence, payload })
    })
}

/// What tells whether a route matters.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RouteHead {
    /// Its table.
    pub table: u32,
    /// Who made it (`rtm_protocol`).
    pub protocol: u8,
    /// Its destination.
    pub destination: IpNet,
}

impl RouteHead {
    /// Of the payload of a message about a route; none for what is no IP route.
    pub fn of(payload: &[u8]) -> Option<Self> {
        let header = payload.get(..ROUTE_HEADER)?;
        let (length, protocol) = (header[1], header[5]);
        let mut address = match i32::from(header[0]) {
            libc::AF_INET => IpAddr::from([0; 4]),
            libc::AF_INET6 => IpAddr::from([0; 16]),
            _ => return None,
        };
        let mut table = u32::from(header[4]);
        for (kind, value) in attributes(&payload[ROUTE_HEADER..]) {
            match (kind, address) {
                (RTA_TABLE, _) => table = number_at(value, 0)?,
                (RTA_DST, IpAddr::V4(_)) => address = <[u8; 4]>::try_from(value).ok()?.into(),
                (RTA_DST, IpAddr::V6(_)) => address = <[u8; 16]>::try_from(value).ok()?.into(),
                _ => {}
            }
        }
        Some(Self { table, protocol, destination: IpNet::new(address, length).ok()? })
    }
}

/// What tells whether a device has come up.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct LinkHead {
    /// Its index.
    pub device: u32,
    /// It is up and has a carrier.
    pub running: bool,
    /// It was made just now: the kernel says that all of it has changed (`ifi_change`).
    pub new: bool,
}

impl LinkHead {
    /// Of the payload of a message about a device; none for what is told of a bridge's port.
    pub fn of(payload: &[u8]) -> Option<Self> {
        let header = payload.get(..LINK_HEADER)?;
        let (device, flags, changed) = (number_at(header, 4)?, number_at(header, 8)?, number_at(header, 12)?);
        let running = LinkFlags::from_bits_retain(flags).contains(LinkFlags::Up | LinkFlags::Running);
        (family(header)? == libc::AF_UNSPEC).then_some(Self { device, running, new: changed == u32::MAX })
    }
}

/// What tells whether an address has come.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct AddressHead {
    /// The index of its device.
    pub device: u32,
    /// The address, at this end.
    pub address: IpAddr,
    /// It is not used until nobody else is found to have it.
    pub tentative: bool,
}

impl AddressHead {
    /// Of the payload of a message about an address.
    pub fn of(payload: &[u8]) -> Option<Self> {
        let header = payload.get(..ADDRESS_HEADER)?;
        let (device, tentative) = (number_at(header, 4)?, header[2] & IFA_F_TENTATIVE != 0);
        let value = |wanted| attributes(&payload[ADDRESS_HEADER..]).find(|(kind, _)| *kind == wanted);
        // Of a point-to-point device IFA_ADDRESS is the other end.
        let (_, address) = value(IFA_LOCAL).or_else(|| value(IFA_ADDRESS))?;
        let address = match family(header)? {
            libc::AF_INET => <[u8; 4]>::try_from(address).ok()?.into(),
            libc::AF_INET6 => <[u8; 16]>::try_from(address).ok()?.into(),
            _ => return None,
        };
        Some(Self { device, address, tentative })
    }
}

/// The index and the state of the device of a message's payload; none for what is told of a bridge's port or has no name.
pub fn link(payload: &[u8]) -> Option<(u32, Link)> {
    let header = payload.get(..LINK_HEADER)?;
    if i32::from(header[0]) != libc::AF_UNSPEC {
        return None;
    }
    let (index, flags) = (number_at(header, 4)?, number_at(header, 8)?);
    let (_, name) = attributes(&payload[LINK_HEADER..]).find(|(kind, _)| *kind == IFLA_IFNAME)?;
    let name = std::str::from_utf8(name.strip_suffix(&[0]).unwrap_or(name)).ok()?;
    Some((index, Link { name: Arc::from(name), up: flags & LinkFlags::Up.bits() != 0 }))
}

/// The address family of a message's payload, which each kind of rtnetlink's begins with.
pub fn family(payload: &[u8]) -> Option<i32> {
    payload.first().map(|family| i32::from(*family))
}

fn attributes(mut bytes: &[u8]) -> impl Iterator<Item = (u16, &[u8])> {
    std::iter::from_fn(move || {
        let length = usize::from(short_at(bytes, 0)?);
        let kind = short_at(bytes, 2)? & TYPE_MASK;
        let value = bytes.get(ATTRIBUTE_HEADER..length)?;
        bytes = bytes.get(length.next_multiple_of(4)..).unwrap_or_default();
        Some((kind, value))
    })
}

fn number_at(bytes: &[u8], at: usize) -> Option<u32> {
    Some(u32::from_ne_bytes(bytes.get(at..at + 4)?.try_into().ok()?))
}

fn short_at(bytes: &[u8], at: usize) -> Option<u16> {
    Some(u16::from_ne_bytes(bytes.get(at..at + 2)?.try_into().ok()?))
}

#[cfg(test)]
mod tests {
    use netlink_packet_route::address::{AddressAttribute, AddressMessage};
    use netlink_packet_route::link::{LinkAttribute, LinkMessage};
    use netlink_packet_route::{AddressFamily, RouteNetlinkMessage};
    use proptest::prelude::*;
    use rtnetlink::packet_core::{NetlinkHeader, NetlinkMessage};

    use super::super::convert::route_message;
    use super::*;
    use crate::routing::{KernelRoute, RouteKind};

    fn datagram(inner: RouteNetlinkMessage) -> Vec<u8> {
        let mut message = NetlinkMessage::new(NetlinkHeader::default(), inner.into());
        message.finalize();
        let mut bytes = vec![0; message.buffer_len()];
        message.serialize(&mut bytes);
        bytes
    }

    #[test]
    fn a_route_tells_its_table_protocol_and_destination() {
        for (destination, table) in [("10.2.0.0/16", 20_199), ("0.0.0.0/0", 254), ("fd00::/64", 254)] {
            let destination: IpNet = destination.parse().expect("a prefix");
            let (metric, protocol, kind) = (7, 186, RouteKind::Blackhole);
            let route = KernelRoute { table, metric, protocol, kind, ..KernelRoute::least(destination) };
            let message = route_message(&route, &Default::default()).expect("no device is named");
            let bytes = datagram(RouteNetlinkMessage::NewRoute(message));
            let two = [&bytes[..], &bytes].concat();
            let found: Vec<_> = messages(&two).map(|message| RouteHead::of(message.payload)).collect();
            assert_eq!(found, [Some(RouteHead { table, protocol, destination }); 2]);
        }
    }

    #[test]
    fn a_device_tells_its_name_and_whether_it_is_up() {
        let mut message = LinkMessage::default();
        message.header.index = 3;
        message.header.flags = LinkFlags::Up;
        message.attributes = vec![LinkAttribute::Mtu(1500), LinkAttribute::IfName("wan".to_owned())];
        let bytes = datagram(RouteNetlinkMessage::NewLink(message));
        let found: Vec<_> = messages(&bytes).map(|message| link(message.payload)).collect();
        assert_eq!(found, [Some((3, Link { name: "wan".into(), up: true }))]);
        let head: Vec<_> = messages(&bytes).map(|message| LinkHead::of(message.payload)).collect();
        assert_eq!(head, [Some(LinkHead { device: 3, running: false, new: false })]);
    }

    #[test]
    fn an_address_tells_its_device_and_this_end_of_it() {
        let mut message = AddressMessage::default();
        message.header.family = AddressFamily::Inet;
        message.header.index = 5;
        let [here, there] = ["192.0.2.1", "192.0.2.2"].map(|text| text.parse().expect("an address"));
        message.attributes = vec![AddressAttribute::Address(there), AddressAttribute::Local(here)];
        let bytes = datagram(RouteNetlinkMessage::NewAddress(message));
        let found: Vec<_> = messages(&bytes).map(|message| AddressHead::of(message.payload)).collect();
        assert_eq!(found, [Some(AddressHead { device: 5, address: here, tentative: false })]);
    }

    proptest! {
        #[test]
        fn no_bytes_confuse_it(bytes in proptest::collection::vec(any::<u8>(), 0..200)) {
            for message in messages(&bytes) {
                let _ = (RouteHead::of(message.payload), link(message.payload), family(message.payload));
            }
            let _ = (RouteHead::of(&bytes), link(&bytes), LinkHead::of(&bytes), AddressHead::of(&bytes));
        }
    }
}
