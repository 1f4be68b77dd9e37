//! The outer header from the inner one and back, and what happens to packets that do not fit.

use crate::gateway::{Agreement, Pair};
use crate::packets::{fragmentable, packet, syn, udp};
use ipsec_gateway::dataplane::drop::DropReason;
use ipsec_gateway::dataplane::outer_header::DfPolicy;
use ipsec_gateway::io::device::memory::InFlight;
use ipsec_gateway::wire::checksum::Checksum;
use ipsec_gateway::wire::ip::{self, IpHeader, protocol};
use ipsec_gateway::wire::tcp;

/// What the first gateway sends for a packet: addresses and bits of the outer header, and the length of each ESP packet.
fn outer(pair: &mut Pair, packet: &[u8]) -> Vec<(InFlight, usize)> {
    pair.gateways[0].offer(packet);
    pair.gateways[0].run_outbound();
    let mut ring = pair.links[0].in_flight.ring();
    let mut packets = Vec::new();
    while let Some((len, flight)) = ring.pop(|bytes, flight| (bytes.len(), flight)) {
        packets.extend((0..len).step_by(flight.segment).map(|at| (flight, flight.segment.min(len - at))));
    }
    packets
}

#[test]
fn dscp_and_ecn_are_copied_out() {
    let mut pair = Pair::new(&Agreement::default());
    for (source, destination) in [("10.1.0.1", "10.2.0.1"), ("fd00:1::1", "fd00:2::1")] {
        for traffic_class in [0x00, 0xb8, 0xb9, 0x02, 0xff] {
            let mut inner = udp(source, destination, 20, 1);
            ip::set_traffic_class(&mut inner, traffic_class);
            let sent = outer(&mut pair, &inner);
            assert_eq!(sent.len(), 1);
            assert_eq!(sent[0].0.traffic_class, traffic_class);
        }
    }
}

#[test]
fn outer_and_inner_ecn_are_combined_on_the_way_in() {
    // (inner, outer on arrival, what the host sees): RFC 6040 figure 4, in the wire's bits.
    let cases = [
        (0b10, 0b11, Some(0b11)),
        (0b01, 0b11, Some(0b11)),
        (0b10, 0b01, Some(0b01)),
        (0b11, 0b00, Some(0b11)),
        (0b00, 0b10, Some(0b00)),
        (0b00, 0b11, None),
    ];
    let mut pair = Pair::new(&Agreement::default());
    for (inner_ecn, outer_ecn, expected) in cases {
        for (source, destination) in [("10.1.0.1", "10.2.0.1"), ("fd00:1::1", "fd00:2::1")] {
            let mut inner = udp(source, destination, 20, 1);
            ip::set_traffic_class(&mut inner, 0xb8 | inner_ecn);
            pair.gateways[0].offer(&inner);
            pair.gateways[0].run_outbound();
            let (bytes, flight) = pair.links[0].in_flight.ring().pop(|bytes, flight| (bytes.to_vec(), flight)).unwrap();
            let marked = InFlight { traffic_class: outer_ecn, ..flight };
            assert!(pair.links[0].in_flight.ring().push(&bytes, marked));
            pair.gateways[1].run_inbound(&pair.links[0]);
            let delivered = pair.gateways[1].delivered();
            let seen = delivered.first().map(|packet| IpHeader::parse(packet).unwrap().traffic_class);
            assert_eq!(seen, expected.map(|ecn: u8| 0xb8 | ecn), "inner {inner_ecn:02b}, outer {outer_ecn:02b}");
            if let Some(packet) = delivered.first().filter(|packet| packet[0] >> 4 == 4) {
                assert_eq!(Checksum::default().add_bytes(&packet[..20]).finish(), 0);
            }
        }
    }
    assert_eq!(pair.gateways[1].dropped(DropReason::ForbiddenEcn), 2);
}

#[test]
fn df_is_copied_set_or_cleared() {
    for (df, with, without) in
        [(DfPolicy::Copy, true, false), (DfPolicy::Set, true, true), (DfPolicy::Clear, false, false)]
    {
        let mut pair = Pair::new(&Agreement { df, ..Agreement::default() });
        let inner = udp("10.1.0.1", "10.2.0.1", 20, 1);
        assert_eq!(outer(&mut pair, &inner)[0].0.dont_fragment, with, "{df:?}");
        assert_eq!(outer(&mut pair, &fragmentable(inner))[0].0.dont_fragment, without, "{df:?}");
    }
}

#[test]
fn syns_are_clamped_in_both_directions() {
    let agreement = Agreement::default();
    for (source, destination, limit) in [("10.1.0.1", "10.2.0.1", 1398), ("fd00:1::1", "fd00:2::1", 1378)] {
        let mut pair = Pair::new(&agreement);
        let delivered = pair.carry(0, &[syn(source, destination, 1460)]);
        let header = IpHeader::parse(&delivered[0]).unwrap();
        let segment = &delivered[0][header.transport..];
        assert_eq!(tcp::mss(segment), Some(limit));
        let sum = Checksum::default()
            .add_pseudo_header(header.flow.source, header.flow.destination, protocol::TCP, segment.len() as u32)
            .add_bytes(segment);
        assert_eq!(sum.finish(), 0);
        let small = syn(source, destination, 536);
        assert_eq!(pair.carry(0, std::slice::from_ref(&small)), [small], "what is low enough stays");
    }
    // Inbound: a peer that does not clamp, and a path back that is narrower than the way here.
    let mut pair = Pair::new(&agreement);
    pair.gateways[1].reinstall(1, &Agreement { outer_mtu: 1280, ..agreement }, crate::gateway::SPIS);
    let delivered = pair.carry(0, &[syn("10.1.0.1", "10.2.0.1", 1460)]);
    assert_eq!(tcp::mss(&delivered[0][20..]), Some(1178));
}

#[test]
fn the_largest_inner_packet_fills_the_outer_one_exactly() {
    let mut pair = Pair::new(&Agreement::default());
    let fits = udp("10.1.0.1", "10.2.0.1", 1438 - 28, 1);
    assert_eq!(outer(&mut pair, &fits)[0].1, 1472);
    let too_big = udp("10.1.0.1", "10.2.0.1", 1438 - 28 + 1, 1);
    assert!(outer(&mut pair, &too_big).is_empty());
}

#[test]
fn a_df_packet_that_does_not_fit_is_answered() {
    let mut pair = Pair::new(&Agreement::default());
    let inner = udp("10.1.0.1", "10.2.0.1", 1472, 1);
    assert!(outer(&mut pair, &inner).is_empty());
    assert_eq!(pair.gateways[0].dropped(DropReason::TooBig), 1);
    let answers = pair.gateways[0].delivered();
    assert_eq!(answers.len(), 1);
    let header = IpHeader::parse(&answers[0]).unwrap();
    assert_eq!(header.flow.protocol, protocol::ICMP);
    assert_eq!(header.flow.destination.to_string(), "10.1.0.1");
    assert_eq!(header.flow.source.to_string(), "192.0.2.1", "an address of ours");
    assert_eq!(answers[0][20..22], [3, 4]);
    assert_eq!(answers[0][26..28], 1438u16.to_be_bytes());
    assert_eq!(answers[0][28..48], inner[..20], "it quotes the packet");
}

#[test]
fn packets_without_df_are_fragmented_before_encryption() {
    let mut pair = Pair::new(&Agreement::default());
    let inner = fragmentable(udp("10.1.0.1", "10.2.0.1", 4000, 0x0102_0304));
    let small = udp("10.1.0.1", "10.2.0.1", 5, 9);
    let delivered = pair.carry(0, &[small.clone(), inner.clone(), small.clone()]);
    let (fragments, ends): (Vec<_>, Vec<_>) = delivered.iter().partition(|packet| packet.len() != small.len());
    assert_eq!(ends, [&small, &small], "order is kept around the fragments");
    assert_eq!(fragments.len(), 3);
    let payload: Vec<u8> = fragments.iter().flat_map(|fragment| fragment[20..].to_vec()).collect();
    assert_eq!(payload, inner[20..]);
    for fragment in fragments {
        assert!(fragment.len() <= 1438);
        assert_eq!(Checksum::default().add_bytes(&fragment[..20]).finish(), 0);
    }
    assert_eq!(pair.gateways[0].all_drops(), 0);
}

#[test]
fn ipv6_is_promised_1280_bytes_even_where_they_do_not_fit() {
    let mut pair = Pair::new(&Agreement { outer_mtu: 1200, ..Agreement::default() });
    let minimum = packet("fd00:1::1", "fd00:2::1", protocol::UDP, &[1; 1240]);
    let sent = outer(&mut pair, &minimum);
    assert_eq!(sent.len(), 1);
    assert!(!sent[0].0.dont_fragment, "the outer packet may be fragmented");
    assert!(outer(&mut pair, &packet("fd00:1::1", "fd00:2::1", protocol::UDP, &[1; 1241])).is_empty());
    assert_eq!(pair.gateways[0].dropped(DropReason::TooBig), 1);
}
