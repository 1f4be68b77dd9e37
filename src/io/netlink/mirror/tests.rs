use std::collections::BTreeSet;
use std::net::{IpAddr, Ipv4Addr};

use ipnet::{IpNet, Ipv4Net};
use netlink_packet_route::address::AddressMessage;
use netlink_packet_route::link::{LinkAttribute, LinkFlags, LinkMessage};
use netlink_packet_route::{AddressFamily, RouteNetlinkMessage};
use rtnetlink::packet_core::{NetlinkHeader, NetlinkMessage};

use super::super::message::messages;
use super::*;
use crate::routing::kernel_routes::TABLE_MAIN;
use crate::routing::{PROTOCOL_GATEWAYD, Policy};

const FOREIGN: u8 = 186;

fn net(text: &str) -> IpNet {
    text.parse().expect("a prefix")
}

fn interest(protect: &[&str]) -> Interest {
    let protect = protect.iter().map(|text| net(text)).collect();
    Interest::new(&Policy { protect, ..Policy::default() }, &BTreeSet::new())
}

fn route(destination: &str, metric: u32, device: &str) -> KernelRoute {
    KernelRoute {
        table: TABLE_MAIN,
        destination: net(destination),
        metric,
        protocol: FOREIGN,
        kind: RouteKind::Unicast,
        gateway: None,
        more_gateways: Vec::new(),
        device: Some(device.into()),
    }
}

fn indices() -> HashMap<Arc<str>, u32> {
    [("wan", 1), ("gwd0", 2)].map(|(name, index)| (Arc::from(name), index)).into()
}

fn bytes(message: RouteNetlinkMessage, flags: u16) -> Vec<u8> {
    let mut message = NetlinkMessage::new(NetlinkHeader::default(), message.into());
    message.finalize();
    message.header.flags = flags;
    let mut bytes = vec![0; message.buffer_len()];
    message.serialize(&mut bytes);
    bytes
}

/// A picture of a namespace with the devices `wan` (1) and `gwd0` (2, pinned), of which everything has been read.
struct Pictured(Mirror);

impl Pictured {
    fn new(protect: &[&str]) -> Self {
        let mut mirror = Mirror::new();
        mirror.pin(Some(PinnedDevice { index: 2, name: "gwd0".into() }));
        mirror.want(interest(protect));
        let links = [(1, "wan"), (2, "gwd0")].map(|(index, name)| (index, Link { name: name.into(), up: true }));
        mirror.links_are_read(Reading { links: links.into(), ..Reading::default() });
        mirror.routes_are_read(Reading::default());
        mirror.rules_are_read(Reading::default());
        (mirror.news, mirror.told) = (false, Destinations::NONE);
        Pictured(mirror)
    }

    fn told(&mut self, message: impl Into<RouteNetlinkMessage>, flags: u16) {
        let bytes = bytes(message.into(), flags);
        messages(&bytes).for_each(|message| self.0.told(&message));
    }

    fn route(&mut self, new: bool, route: &KernelRoute, flags: u16) {
        let message = convert::route_message(route, &indices()).expect("a known device");
        let message = if new { RouteNetlinkMessage::NewRoute(message) } else { RouteNetlinkMessage::DelRoute(message) };
        self.told(message, flags);
    }

    /// All routes are read, and these are there.
    fn read(&mut self, routes: &[&KernelRoute]) {
        let mut reading = Reading::default();
        self.0.reads_routes();
        for route in routes {
            let message = RouteNetlinkMessage::NewRoute(convert::route_message(route, &indices()).expect("a device"));
            let bytes = bytes(message, 0);
            messages(&bytes).for_each(|message| self.0.read_route(&mut reading, &message));
        }
        self.0.routes_are_read(reading);
    }

    fn link(&mut self, index: u32, name: &str, up: bool) {
        let mut message = LinkMessage::default();
        message.header.index = index;
        message.header.flags = if up { LinkFlags::Up } else { LinkFlags::empty() };
        message.attributes = vec![LinkAttribute::IfName(name.to_owned())];
        self.told(RouteNetlinkMessage::NewLink(message), 0);
    }

    fn routes(&self) -> Vec<KernelRoute> {
        let Picture { own, rest } = self.0.picture();
        own.union(&rest.routes).cloned().collect()
    }

    /// Takes whether there is news or something is told of, and whether routes have to be read.
    fn take(&mut self) -> (bool, bool) {
        let unread = std::mem::take(&mut self.0.unread);
        let told = std::mem::replace(&mut self.0.told, Destinations::NONE);
        (std::mem::take(&mut self.0.news) || !told.is_empty(), unread.routes)
    }
}

#[test]
fn of_a_hundred_thousand_foreign_routes_none_is_looked_at_and_one_that_overlaps_is() {
    let mut pictured = Pictured::new(&["10.2.0.0/16"]);
    for n in 0..100_000_u32 {
        let destination = Ipv4Net::new(Ipv4Addr::from(0x2000_0000 + (n << 8)), 24).expect("a length");
        pictured.route(true, &KernelRoute { destination: destination.into(), ..route("0.0.0.0/0", 0, "wan") }, 0);
    }
    assert_eq!((pictured.0.examined, pictured.routes().len(), pictured.take()), (0, 0, (false, false)));
    let overlapping = route("10.2.7.0/24", 0, "wan");
    pictured.route(true, &overlapping, 0);
    assert_eq!(
        (pictured.0.examined, pictured.routes(), pictured.take()),
        (1, vec![overlapping.clone()], (true, false))
    );
    pictured.route(false, &overlapping, 0);
    assert_eq!((pictured.0.examined, pictured.routes().len(), pictured.take()), (2, 0, (true, false)));
}

#[test]
fn of_routes_that_differ_by_what_is_not_held_one_that_goes_leaves_a_doubt() {
    let mut pictured = Pictured::new(&["10.2.0.0/16"]);
    let (twin, other) = (route("10.2.7.0/24", 0, "wan"), route("10.2.8.0/24", 0, "wan"));
    for route in [&twin, &other, &twin] {
        pictured.route(true, route, 0);
    }
    assert_eq!((pictured.routes().len(), pictured.take()), (2, (true, false)));
    pictured.route(false, &other, 0);
    assert_eq!(pictured.take(), (true, false), "of this one there was no other");
    pictured.route(false, &twin, 0);
    assert_eq!(pictured.take(), (true, true), "the other one may be there still");
    // A list shows both.
    pictured.read(&[&twin, &twin]);
    pictured.take();
    pictured.route(true, &KernelRoute { protocol: 4, ..twin.clone() }, NLM_F_REPLACE);
    assert_eq!(pictured.take(), (false, true), "which of both is replaced is not told");
    pictured.read(&[&twin]);
    pictured.take();
    pictured.route(false, &twin, 0);
    assert_eq!((pictured.routes().len(), pictured.take()), (0, (true, false)), "one is left, and it goes");
}

#[test]
fn what_is_told_of_is_where_a_route_changed() {
    let mut pictured = Pictured::new(&["10.2.0.0/16"]);
    let ours = KernelRoute { protocol: PROTOCOL_GATEWAYD, ..route("10.2.0.0/16", 0, "gwd0") };
    pictured.route(true, &ours, 0);
    pictured.route(true, &route("172.20.0.0/16", 0, "wan"), 0);
    let told = |pictured: &mut Pictured| (std::mem::take(&mut pictured.0.news), pictured.0.told.clone());
    assert_eq!(told(&mut pictured), (false, Destinations::These([net("10.2.0.0/16")].into())), "ours is no news");
    pictured.route(true, &route("10.2.7.0/24", 0, "wan"), 0);
    let both = Destinations::These([net("10.2.0.0/16"), net("10.2.7.0/24")].into());
    assert_eq!(told(&mut pictured), (true, both));
    pictured.read(&[&ours]);
    assert_eq!(told(&mut pictured), (true, Destinations::All), "the other one has gone, and nobody told");
}

#[test]
fn what_takes_the_place_of_a_route_replaces_it_and_a_doubt_is_read() {
    let mut pictured = Pictured::new(&["10.2.0.0/16"]);
    let (by_wan, by_tunnel) = (route("10.2.0.0/16", 7, "wan"), route("10.2.0.0/16", 7, "gwd0"));
    pictured.route(true, &by_wan, 0);
    pictured.route(true, &by_tunnel, NLM_F_REPLACE);
    assert_eq!((pictured.routes(), pictured.take()), (vec![by_tunnel.clone()], (true, false)));
    pictured.route(true, &by_wan, 0);
    pictured.route(true, &route("10.2.0.0/16", 8, "wan"), NLM_F_REPLACE);
    assert_eq!((pictured.routes().len(), pictured.take()), (3, (true, false)), "another metric is another place");
    let elsewhere = KernelRoute { gateway: Some(IpAddr::from([203, 0, 113, 9])), ..by_wan };
    pictured.route(true, &elsewhere, NLM_F_REPLACE);
    assert_eq!(pictured.take(), (false, true), "which of two is not told");
}

#[test]
fn what_the_kernel_takes_away_silently_is_read() {
    let mut pictured = Pictured::new(&["10.2.0.0/16"]);
    pictured.route(true, &route("10.2.0.0/16", 0, "wan"), 0);
    pictured.take();
    pictured.link(1, "wan", true);
    pictured.link(3, "veth0", true);
    pictured.link(3, "veth0", false);
    assert_eq!(pictured.take(), (false, false), "a device without routes, or nothing new of one");
    pictured.link(1, "wan", false);
    assert_eq!(pictured.take(), (false, true), "a device with a route went down");
    for (family, read) in [(AddressFamily::Inet6, false), (AddressFamily::Inet, true)] {
        let mut message = AddressMessage::default();
        message.header.family = family;
        pictured.told(RouteNetlinkMessage::DelAddress(message.clone()), 0);
        assert_eq!(pictured.take(), (false, read));
        pictured.told(RouteNetlinkMessage::NewAddress(message), 0);
        assert_eq!(pictured.take(), (false, false));
    }
}

#[test]
fn the_pinned_device_is_followed_under_any_name() {
    let mut pictured = Pictured::new(&["10.2.0.0/16"]);
    let ours = KernelRoute { protocol: PROTOCOL_GATEWAYD, ..route("10.2.0.0/16", 0, "gwd0") };
    pictured.route(true, &ours, 0);
    pictured.take();
    pictured.link(2, "tun9", true);
    assert_eq!(pictured.0.pinned_link().map(|link| &*link.name), Some("tun9"));
    assert_eq!(pictured.take(), (true, true));
    pictured.route(true, &ours, 0);
    assert_eq!((pictured.routes(), pictured.take()), (vec![ours], (false, false)), "its routes are the same");
}

#[test]
fn only_what_did_not_matter_before_has_to_be_read() {
    let mut pictured = Pictured::new(&["10.2.0.0/16", "10.3.0.0/16"]);
    for destination in ["10.2.7.0/24", "10.3.7.0/24"] {
        pictured.route(true, &route(destination, 0, "wan"), 0);
    }
    pictured.take();
    pictured.0.want(interest(&["10.2.0.0/16"]));
    assert_eq!((pictured.routes(), pictured.take()), (vec![route("10.2.7.0/24", 0, "wan")], (false, false)));
    pictured.route(true, &route("10.5.7.0/24", 0, "wan"), 0);
    for other in ["10.2.9.0/24", "10.4.0.0/16", "10.5.8.0/24"] {
        pictured.0.want(interest(&["10.2.0.0/16", other]));
        assert_eq!(pictured.take(), (false, false), "nobody has a route that overlaps {other}");
    }
    for passed_by in ["10.5.0.0/16", "10.3.0.0/16"] {
        pictured.0.want(interest(&["10.2.0.0/16", passed_by]));
        assert_eq!(pictured.take(), (false, true), "what did not matter before does now");
    }
}
