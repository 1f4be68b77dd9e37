use super::*;
use proptest::prelude::*;

fn ipv4(protocol: u8, payload: &[u8]) -> Vec<u8> {
    let total = (IPV4_HEADER_LEN + payload.len()) as u16;
    let mut packet = ipv4_header([10, 0, 0, 1].into(), [10, 0, 0, 2].into(), protocol, total).to_vec();
    packet.extend_from_slice(payload);
    packet
}

fn ipv6(next: u8, payload: &[u8]) -> Vec<u8> {
    let source = "2001:db8::1".parse().unwrap();
    let destination = "2001:db8::2".parse().unwrap();
    let mut packet = ipv6_header(source, destination, next, payload.len() as u16).to_vec();
    packet.extend_from_slice(payload);
    packet
}

const PORTS: [u8; 8] = [0x13, 0x88, 0x00, 0x50, 0, 8, 0, 0];

#[test]
fn ipv4_header_of_a_real_ping() {
    let packet = hex::decode("45b8005412344000400100000a0000010a00000208000000").unwrap();
    let mut whole = packet.clone();
    whole.resize(84, 0);
    let header = IpHeader::parse(&whole).unwrap();
    assert_eq!(header.flow.source, IpAddr::from([10, 0, 0, 1]));
    assert_eq!(header.flow.ports, Ports::TypeAndCode(0x0800));
    assert_eq!((header.traffic_class, header.dont_fragment, header.total_len, header.transport), (0xb8, true, 84, 20));
    assert_eq!(IpHeader::parse(&packet), Err(MalformedIp::Truncated));
}

#[test]
fn ports_are_known_only_where_the_packet_shows_them() {
    let known = Ports::Known { source: 5000, destination: 80 };
    assert_eq!(IpHeader::parse(&ipv4(protocol::TCP, &PORTS)).unwrap().flow.ports, known);
    assert_eq!(IpHeader::parse(&ipv6(protocol::UDP, &PORTS)).unwrap().flow.ports, known);
    assert_eq!(IpHeader::parse(&ipv4(protocol::UDP, &PORTS[..3])).unwrap().flow.ports, Ports::Opaque);
    assert_eq!(IpHeader::parse(&ipv4(47, &PORTS)).unwrap().flow.ports, Ports::None);
}

#[test]
fn fragments_of_ipv4() {
    let mut packet = ipv4(protocol::UDP, &PORTS);
    set_ipv4_fragment(&mut packet[..20], 28, 0, true);
    let first = IpHeader::parse(&packet).unwrap();
    assert_eq!((first.part, first.dont_fragment), (FragmentPart::First, false));
    assert_eq!(first.flow.ports, Ports::Known { source: 5000, destination: 80 });
    set_ipv4_fragment(&mut packet[..20], 28, 185, false);
    let later = IpHeader::parse(&packet).unwrap();
    assert_eq!((later.part, later.flow.ports), (FragmentPart::Later, Ports::Opaque));
    assert_eq!(Checksum::default().add_bytes(&packet[..20]).finish(), 0);
}

#[test]
fn ipv6_extension_headers_are_walked_to_the_transport() {
    // Hop-by-hop (8 bytes), destination options (16 bytes), fragment (first), UDP.
    let mut chain = vec![protocol::DESTINATION_OPTIONS, 0, 1, 4, 0, 0, 0, 0];
    chain.extend([protocol::FRAGMENT, 1, 1, 12, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0]);
    chain.extend([protocol::UDP, 0, 0, 1, 0, 0, 0, 9]);
    chain.extend(PORTS);
    let header = IpHeader::parse(&ipv6(protocol::HOP_BY_HOP, &chain)).unwrap();
    assert_eq!((header.flow.protocol, header.part, header.transport), (protocol::UDP, FragmentPart::First, 72));
    assert_eq!(header.flow.ports, Ports::Known { source: 5000, destination: 80 });
}

#[test]
fn a_later_ipv6_fragment_hides_its_ports() {
    let mut chain = vec![protocol::TCP, 0, 5, 168, 0, 0, 0, 9];
    chain.extend(PORTS);
    let header = IpHeader::parse(&ipv6(protocol::FRAGMENT, &chain)).unwrap();
    assert_eq!((header.flow.protocol, header.part), (protocol::TCP, FragmentPart::Later));
    assert_eq!(header.flow.ports, Ports::Opaque);
}

#[test]
fn impossible_packets_are_refused() {
    assert_eq!(IpHeader::parse(&[]), Err(MalformedIp::Version));
    assert_eq!(IpHeader::parse(&[0x55; 60]), Err(MalformedIp::Version));
    let mut short_header = ipv4(protocol::TCP, &PORTS);
    short_header[0] = 0x44;
    assert_eq!(IpHeader::parse(&short_header), Err(MalformedIp::HeaderLength));
    let mut length_below_header = ipv4(protocol::TCP, &PORTS);
    length_below_header[3] = 19;
    assert_eq!(IpHeader::parse(&length_below_header), Err(MalformedIp::HeaderLength));
    let endless: Vec<u8> = [protocol::HOP_BY_HOP, 0, 0, 0, 0, 0, 0, 0].repeat(40);
    assert_eq!(IpHeader::parse(&ipv6(protocol::HOP_BY_HOP, &endless)), Err(MalformedIp::ExtensionHeaders));
    assert_eq!(IpHeader::parse(&ipv6(protocol::ROUTING, &[6, 9, 0, 0])), Err(MalformedIp::Truncated));
}

#[test]
fn the_traffic_class_changes_and_the_checksum_follows() {
    let mut packet = ipv4(protocol::TCP, &PORTS);
    for traffic_class in [0x03, 0xb8, 0xff, 0] {
        set_traffic_class(&mut packet, traffic_class);
        assert_eq!(IpHeader::parse(&packet).unwrap().traffic_class, traffic_class);
        assert_eq!(Checksum::default().add_bytes(&packet[..20]).finish(), 0);
    }
    let mut packet = ipv6(protocol::TCP, &PORTS);
    packet[1] |= 0x0a;
    set_traffic_class(&mut packet, 0xb9);
    assert_eq!(IpHeader::parse(&packet).unwrap().traffic_class, 0xb9);
    assert_eq!((packet[0], packet[1]), (0x6b, 0x9a), "version and flow label stay");
}

proptest! {
    #[test]
    fn any_bytes_never_panic(mut bytes in proptest::collection::vec(any::<u8>(), 0..200), version in any::<bool>()) {
        if let Some(first) = bytes.first_mut() {
            *first = if version { 0x45 } else { 0x60 } | *first & 0x0f;
        }
        if let Ok(header) = IpHeader::parse(&bytes) {
            prop_assert!(header.total_len <= bytes.len());
            prop_assert!(header.transport <= header.total_len);
        }
        set_traffic_class(&mut bytes, 0x55);
    }
}
