//! What passes a tunnel, and what does not.

use crate::gateway::{Agreement, CONNECTION, Gateway, Pair, RING, SPIS};
use crate::packets::{packet, udp};
use ipsec_gateway::crypto::{Suite, encryption, integ};
use ipsec_gateway::dataplane::command::{InboundCommand, OutboundCommand};
use ipsec_gateway::dataplane::drop::DropReason;
use ipsec_gateway::dataplane::fib::{ConnectionId, Fib, PolicyEntry};
use ipsec_gateway::dataplane::outer_header::{Encapsulation, OuterPath};
use ipsec_gateway::io::device::memory::{InFlight, MemoryLink};
use ipsec_gateway::wire::ip::{ipv4_field, protocol};
use std::sync::Arc;

fn suites() -> Vec<Suite> {
    let rows = encryption::TABLE.iter().copied();
    rows.flat_map(|row| match row.is_aead() {
        true => Suite::new(row, None).into_iter().collect::<Vec<_>>(),
        false => integ::TABLE.iter().filter_map(|integrity| Suite::new(row, Some(integrity))).collect(),
    })
    .collect()
}

#[test]
fn every_suite_form_and_family_carries_packets_both_ways() {
    let outers = [["192.0.2.1:4500", "198.51.100.1:4500"], ["[2001:db8::1]:4500", "[2001:db8::2]:4500"]];
    for suite in suites() {
        for (encapsulation, extended) in [(Encapsulation::Udp, false), (Encapsulation::Raw, true)] {
            for outer in outers.map(|pair| pair.map(|address| address.parse().unwrap())) {
                let agreement = Agreement { suite, encapsulation, extended, outer, ..Agreement::default() };
                let mut pair = Pair::new(&agreement);
                for (from, source, destination) in [
                    (0, "10.1.0.1", "10.2.0.1"),
                    (1, "10.2.0.1", "10.1.0.1"),
                    (0, "fd00:1::1", "fd00:2::1"),
                    (1, "fd00:2::1", "fd00:1::1"),
                ] {
                    let packets: Vec<_> = (0..20).map(|n| udp(source, destination, 30 * n + 1, n as u32)).collect();
                    assert_eq!(pair.carry(from, &packets), packets, "{suite:?} {encapsulation:?} from {from}");
                }
                assert_eq!(pair.gateways.iter().map(Gateway::all_drops).sum::<u64>(), 0);
            }
        }
    }
}

#[test]
fn more_packets_than_a_batch_takes_all_pass() {
    let mut pair = Pair::new(&Agreement::default());
    for size in [10, 1300] {
        let packets: Vec<_> = (0..400).map(|n| udp("10.1.0.1", "10.2.0.1", size, n)).collect();
        assert_eq!(pair.carry(0, &packets), packets);
    }
    assert_eq!(pair.gateways.iter().map(Gateway::all_drops).sum::<u64>(), 0);
}

#[test]
fn facts_tell_packets_bytes_and_source() {
    let mut pair = Pair::new(&Agreement::default());
    let packets: Vec<_> = (0..10).map(|n| udp("10.1.0.1", "10.2.0.1", 100, n)).collect();
    pair.carry(0, &packets);
    let (sent, received) = (pair.facts[0].0.read(), pair.facts[1].1.read());
    assert_eq!((sent.packets, sent.bytes, sent.sequence), (10, 1280, 10));
    assert_eq!((received.packets, received.bytes, received.sequence), (10, 1280, 10));
    assert_eq!(received.source, Some("192.0.2.1:4500".parse().unwrap()));
    assert!(sent.first_used.is_some() && received.first_used.is_some());
    assert_eq!(pair.facts[1].0.read().first_used, None, "nothing went back");
}

#[test]
fn equal_packets_travel_as_one_run() {
    let mut pair = Pair::new(&Agreement::default());
    // A super-packet: one frame of 40 equal packets and a shorter one.
    {
        let mut ring = pair.gateways[0].device.towards_tunnel.ring();
        (0..40).for_each(|n| assert!(ring.push(&udp("10.1.0.1", "10.2.0.1", 1000, n), 1)));
        assert!(ring.push(&udp("10.1.0.1", "10.2.0.1", 10, 99), 1));
    }
    pair.gateways[0].run_outbound();
    assert_eq!(pair.links[0].in_flight.ring().len(), 1, "one send for the whole super-packet");
    pair.gateways[1].run_inbound(&pair.links[0]);
    assert_eq!(pair.gateways[1].delivered().len(), 41);
}

#[test]
fn sas_of_different_layouts_share_a_batch() {
    let suite = Suite::new(&encryption::AES256_CBC, Some(&integ::HMAC_SHA2_512_256)).unwrap();
    let (first, other) = (Agreement::default(), [0xc000_0021, 0xc000_0022]);
    let second = Agreement { suite, networks: [vec!["10.1.0.0/16"], vec!["10.3.0.0/16"]], ..Agreement::default() };
    let mut pair = Pair::new(&first);
    let mut outbound = second.outbound(0, other);
    outbound.connection = ConnectionId(8);
    pair.gateways[0].command_outbound(OutboundCommand::Install(Box::new(outbound)));
    let inbound = second.inbound(1, other);
    pair.gateways[1].command_inbound(InboundCommand::Install(Box::new(inbound)));
    let route = |prefix: &str, connection| (prefix.parse().unwrap(), vec![connection]);
    let fib = Fib::new([route("10.2.0.0/16", CONNECTION), route("10.3.0.0/16", ConnectionId(8))]);
    pair.gateways[0].command_outbound(OutboundCommand::SetFib(Arc::new(fib)));

    // Frames of several packets alternate between the SAs: each was laid out for the other one.
    let mut packets = Vec::new();
    for frame in 0..12u64 {
        let destination = if frame % 2 == 0 { "10.2.0.1" } else { "10.3.0.1" };
        for n in 0..5 {
            let packet = udp("10.1.0.1", destination, if n == 4 { 77 } else { 901 }, frame as u32 * 10 + n);
            assert!(pair.gateways[0].device.towards_tunnel.ring().push(&packet, frame));
            packets.push(packet);
        }
    }
    pair.gateways[0].run_outbound();
    pair.gateways[1].run_inbound(&pair.links[0]);
    assert_eq!(pair.gateways[1].delivered(), packets);
}

#[test]
fn of_two_connections_to_one_network_a_policy_picks_by_the_source() {
    let (first, other) = (Agreement::default(), [0xc000_0021, 0xc000_0022]);
    let second = Agreement { networks: [vec!["10.1.9.0/24"], vec!["10.2.0.0/16"]], ..Agreement::default() };
    let mut pair = Pair::new(&first);
    let mut outbound = second.outbound(0, other);
    outbound.connection = ConnectionId(8);
    let facts = Arc::clone(&outbound.facts);
    pair.gateways[0].command_outbound(OutboundCommand::Install(Box::new(outbound)));
    let mut fib = Fib::new([("10.2.0.0/16".parse().unwrap(), vec![CONNECTION])]);
    let policy = |source: &str, connection| PolicyEntry {
        priority: 10,
        source: source.parse().unwrap(),
        connections: [connection].into(),
    };
    // The last one's connection has no SA.
    let policies = vec![policy("10.1.9.0/24", ConnectionId(8)), policy("10.1.8.0/24", ConnectionId(9))];
    fib.set_policies("10.2.0.0/16".parse().unwrap(), policies);
    pair.gateways[0].command_outbound(OutboundCommand::SetFib(Arc::new(fib)));

    let sent = |pair: &mut Pair, source: &str| {
        pair.gateways[0].offer(&udp(source, "10.2.0.1", 50, 1));
        pair.gateways[0].run_outbound();
        (pair.links[0].in_flight.ring().len(), facts.read().packets)
    };
    assert_eq!(sent(&mut pair, "10.1.0.1"), (1, 0), "by destination");
    assert_eq!(sent(&mut pair, "10.1.9.1"), (2, 1), "by the policy");
    assert_eq!(sent(&mut pair, "10.1.8.1"), (2, 1), "not by another way than the policy's");
    assert_eq!(pair.gateways[0].dropped(DropReason::NoSa), 1);
    let acquire = pair.gateways[0].acquires.pop().expect("the packet asks for an SA");
    assert_eq!(acquire.connection, ConnectionId(9));
}

#[test]
fn what_belongs_to_the_link_neither_leaves_nor_asks_for_an_sa() {
    let mut gateway = Gateway::new(MemoryLink::new(RING), MemoryLink::new(RING));
    gateway.offer(&udp("10.1.0.1", "224.0.0.251", 50, 1));
    gateway.run_outbound();
    gateway.route(&["0.0.0.0/0"]);
    let mut report = udp("10.1.0.1", "224.0.0.22", 50, 1);
    report[ipv4_field::PROTOCOL] = protocol::IGMP;
    gateway.offer(&report);
    gateway.run_outbound();
    assert_eq!((gateway.dropped(DropReason::OwnLink), gateway.dropped(DropReason::NoRoute)), (2, 0));
    assert!(gateway.acquires.pop().is_err(), "the kernel's own chatter brings no tunnel up");

    gateway.offer(&udp("10.1.0.1", "224.0.0.251", 50, 1));
    gateway.run_outbound();
    assert_eq!(gateway.dropped(DropReason::NoSa), 1, "what an operator has a route for is a loss");
}

#[test]
fn without_a_route_an_sa_or_a_selector_nothing_leaves() {
    let link = MemoryLink::new(RING);
    let mut gateway = Gateway::new(link.clone(), MemoryLink::new(RING));
    let offer = |gateway: &mut Gateway, destination| {
        gateway.offer(&udp("10.1.0.1", destination, 50, 1));
        gateway.run_outbound();
    };
    offer(&mut gateway, "10.2.0.1");
    assert_eq!(gateway.dropped(DropReason::NoRoute), 1);

    gateway.route(&["10.2.0.0/16", "172.16.0.0/12"]);
    offer(&mut gateway, "10.2.0.1");
    offer(&mut gateway, "10.2.0.1");
    assert_eq!(gateway.dropped(DropReason::NoSa), 2);
    let acquire = gateway.acquires.pop().expect("the packet asks for an SA");
    assert_eq!(acquire.flow.destination.to_string(), "10.2.0.1");
    assert!(gateway.acquires.pop().is_err(), "and asks once");

    gateway.install(0, &Agreement::default(), SPIS);
    gateway.route(&["10.2.0.0/16", "172.16.0.0/12"]);
    offer(&mut gateway, "172.16.0.1");
    assert_eq!(gateway.dropped(DropReason::NoMatchingSelector), 1);
    assert!(link.in_flight.ring().is_empty(), "nothing left so far");
    offer(&mut gateway, "10.2.0.1");
    assert_eq!(link.in_flight.ring().len(), 1);
}

#[test]
fn what_is_no_ip_packet_is_counted() {
    let mut pair = Pair::new(&Agreement::default());
    for garbage in [&[0x45][..], &[0; 40], &[0x60; 39]] {
        pair.gateways[0].offer(garbage);
    }
    pair.gateways[0].run_outbound();
    assert_eq!(pair.gateways[0].dropped(DropReason::MalformedInner), 3);
}

#[test]
fn inner_addresses_outside_the_selectors_are_dropped_after_decryption() {
    let narrow = Agreement { networks: [vec!["10.1.1.0/24"], vec!["10.2.0.0/16"]], ..Agreement::default() };
    let mut pair = Pair::new(&Agreement::default());
    // The second gateway holds the first to less than the first believes.
    pair.gateways[1].reinstall(1, &narrow, SPIS);
    let inside = udp("10.1.1.5", "10.2.0.1", 10, 1);
    let outside = udp("10.1.2.5", "10.2.0.1", 10, 2);
    assert_eq!(pair.carry(0, &[outside, inside.clone()]), [inside]);
    assert_eq!(pair.gateways[1].dropped(DropReason::SelectorViolation), 1);
}

/// Injects bytes on the link to the second gateway.
fn inject(pair: &mut Pair, bytes: &[u8], form: Encapsulation, segment: usize) {
    let flight = InFlight {
        source: "192.0.2.1:4500".parse().unwrap(),
        destination: "198.51.100.1:4500".parse().unwrap(),
        form,
        segment,
        traffic_class: 0,
        dont_fragment: true,
    };
    assert!(pair.links[0].in_flight.ring().push(bytes, flight));
    let link = pair.links[0].clone();
    pair.gateways[1].run_inbound(&link);
}

/// What the first gateway puts on the wire for a packet.
fn sealed(pair: &mut Pair, packet: &[u8]) -> Vec<u8> {
    pair.gateways[0].offer(packet);
    pair.gateways[0].run_outbound();
    pair.links[0].in_flight.ring().pop(|bytes, _| bytes.to_vec()).unwrap()
}

#[test]
fn bad_datagrams_are_counted_and_hurt_nobody() {
    let mut pair = Pair::new(&Agreement::default());
    let genuine = sealed(&mut pair, &udp("10.1.0.1", "10.2.0.1", 50, 1));
    let mut unknown = genuine.clone();
    unknown[0] ^= 1;
    let mut forged = genuine.clone();
    *forged.last_mut().unwrap() ^= 1;
    let cases = [
        (&unknown[..], DropReason::UnknownSpi),
        (&forged, DropReason::BadIcv),
        (&genuine[..20], DropReason::MalformedEsp),
        (&genuine[..7], DropReason::MalformedEsp),
        (&[0xff], DropReason::Keepalive),
        (&[0, 0, 0, 0], DropReason::MalformedDatagram),
        (&[1, 2], DropReason::MalformedDatagram),
    ];
    for (bytes, reason) in cases {
        let before = pair.gateways[1].dropped(reason);
        inject(&mut pair, bytes, Encapsulation::Udp, bytes.len());
        assert_eq!(pair.gateways[1].dropped(reason), before + 1, "{reason:?}");
    }
    assert!(pair.gateways[1].delivered().is_empty());
    let reading = |pair: &Pair| pair.facts[1].1.read();
    assert_eq!((reading(&pair).errors, reading(&pair).packets), (2, 0), "those with the SA's SPI are its errors");
    assert_eq!(reading(&pair).last_used, None, "what anybody can send is no sign of life");
    inject(&mut pair, &genuine, Encapsulation::Udp, genuine.len());
    assert_eq!(pair.gateways[1].delivered().len(), 1, "the genuine packet still passes");
    inject(&mut pair, &genuine, Encapsulation::Raw, genuine.len());
    assert_eq!(pair.gateways[1].dropped(DropReason::Replayed), 1, "in the other form too it is the same packet");
    assert_eq!((reading(&pair).errors, reading(&pair).packets), (3, 1));
}

#[test]
fn either_form_is_accepted_at_any_time() {
    let mut pair = Pair::new(&Agreement::default());
    for form in [Encapsulation::Raw, Encapsulation::Udp, Encapsulation::Raw] {
        let packet = udp("10.1.0.1", "10.2.0.1", 50, 1);
        let esp = sealed(&mut pair, &packet);
        inject(&mut pair, &esp, form, esp.len());
        assert_eq!(pair.gateways[1].delivered(), [packet]);
    }
}

#[test]
fn a_joined_buffer_may_mix_esp_ike_and_rubbish() {
    let mut pair = Pair::new(&Agreement::default());
    let esp = sealed(&mut pair, &udp("10.1.0.1", "10.2.0.1", 50, 1));
    let ike = [&[0; 4][..], &[9; 200][..esp.len() - 4]].concat();
    let mut initial = ike.clone();
    initial[12..20].fill(0);
    let unknown = vec![0x77; esp.len()];
    let joined = [&ike[..], &unknown, &esp, &initial, &[0xff]].concat();
    inject(&mut pair, &joined, Encapsulation::Udp, esp.len());
    let gateway = &mut pair.gateways[1];
    assert_eq!(gateway.delivered().len(), 1);
    assert_eq!((gateway.dropped(DropReason::UnknownSpi), gateway.dropped(DropReason::Keepalive)), (1, 1));
    let path = OuterPath { local: "198.51.100.1:4500".parse().unwrap(), peer: "192.0.2.1:4500".parse().unwrap() };
    let mut buffer = Vec::new();
    assert_eq!(gateway.ike.pop_initial(&mut buffer), Some(path));
    assert_eq!(buffer, initial[4..], "the marker is gone");
    assert_eq!(gateway.ike.pop_established(&mut buffer), Some(path));
    assert_eq!(buffer, ike[4..]);
}

#[test]
fn icmp_and_unusual_protocols_pass_too() {
    let mut pair = Pair::new(&Agreement::default());
    let packets =
        [protocol::ICMP, 47, 89, 132].map(|protocol| packet("10.1.0.1", "10.2.0.1", protocol, &[8, 0, 1, 2, 3, 4]));
    assert_eq!(pair.carry(0, &packets), packets);
}
