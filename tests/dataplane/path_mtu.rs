//! What fits a path whose MTU is not the device's, and fragments on SAs that name ports.

use crate::gateway::{Agreement, Gateway, Pair, SPIS};
use crate::packets::{fragmentable, syn, udp};
use ipsec_gateway::dataplane::command::{InboundCommand, OutboundCommand};
use ipsec_gateway::dataplane::drop::DropReason;
use ipsec_gateway::dataplane::policy::{Selector, SelectorPair};
use ipsec_gateway::io::device::memory::PacketRing;
use ipsec_gateway::wire::ip::protocol;
use ipsec_gateway::wire::tcp;
use std::net::IpAddr;
use std::sync::Arc;
use std::time::Instant;

fn set_path_mtu(gateway: &mut Gateway, peer: IpAddr, mtu: u16) {
    gateway.command_outbound(OutboundCommand::SetPathMtu { peer, mtu });
    gateway.command_inbound(InboundCommand::SetPathMtu { peer, mtu });
}

#[test]
fn what_is_too_big_and_what_syns_announce_follows_the_path_to_the_peer() {
    let agreement = Agreement::default();
    let mut pair = Pair::new(&agreement);
    let (peer, other) = (agreement.outer[1].ip(), "203.0.113.99".parse().unwrap());
    // A header of 20 bytes and UDP's of 8, over 20 + 8 + 8 + 8 + 2 + 16 of the tunnel, rounded to a multiple of 4.
    for (to, mtu, inner) in [(other, 600, 1438), (peer, 1400, 1338), (peer, 1492, 1430), (peer, 576, 514)] {
        set_path_mtu(&mut pair.gateways[0], to, mtu);
        let fits = udp("10.1.0.1", "10.2.0.1", inner - 28, 1);
        assert_eq!(pair.carry(0, std::slice::from_ref(&fits)), [fits], "{to} {mtu}");
        assert!(pair.carry(0, &[udp("10.1.0.1", "10.2.0.1", inner - 27, 1)]).is_empty());
        let answer = &pair.gateways[0].delivered()[0];
        assert_eq!(answer[26..28], (inner as u16).to_be_bytes());
        let (out, back) = (syn("10.1.0.1", "10.2.0.1", 9000), syn("10.2.0.1", "10.1.0.1", 9000));
        assert_eq!(tcp::mss(&pair.carry(0, &[out])[0][20..]), Some(inner as u16 - 40), "out of the TUN");
        assert_eq!(
            tcp::mss(&pair.carry(1, &[back])[0][20..]),
            Some((inner as u16 - 40).min(1398)),
            "out of the tunnel"
        );
    }
}

#[test]
fn packets_that_not_every_path_takes_are_told_of() {
    let mut pair = Pair::new(&Agreement::default());
    let large = |pair: &Pair| pair.facts[0].0.read().last_large;
    // An outer packet of 576 bytes holds 514.
    pair.carry(0, &[udp("10.1.0.1", "10.2.0.1", 514 - 28, 1)]);
    assert_eq!(large(&pair), None);
    pair.carry(0, &[udp("10.1.0.1", "10.2.0.1", 515 - 28, 1)]);
    let first = large(&pair);
    assert!(first.is_some_and(|at| at <= Instant::now()));
    pair.carry(0, &[udp("10.1.0.1", "10.2.0.1", 20, 1)]);
    assert_eq!(large(&pair), first, "a small one is none");
}

#[test]
fn the_sender_of_a_super_packet_is_told_once() {
    let mut pair = Pair::new(&Agreement::default());
    {
        let mut ring = pair.gateways[0].device.towards_tunnel.ring();
        (0..40).for_each(|_| assert!(ring.push(&udp("10.1.0.1", "10.2.0.1", 1472, 1), 7)));
    }
    pair.gateways[0].run_outbound();
    assert_eq!(pair.gateways[0].delivered().len(), 1);
    assert_eq!(pair.gateways[0].dropped(DropReason::TooBig), 40);
    pair.carry(0, &[udp("10.1.0.1", "10.2.0.1", 1472, 1)]);
    assert_eq!(pair.gateways[0].delivered().len(), 1, "again in a later batch");
}

/// Both gateways have SAs that carry only UDP to or from port 53 of the second side.
fn narrowed(agreement: &Agreement) -> Pair {
    let mut pair = Pair::new(agreement);
    for side in [0, 1] {
        let selector = |of: usize| {
            let network: ipnet::Ipv4Net = agreement.networks[of][0].parse().unwrap();
            let ports = if of == 1 { 53..=53 } else { Selector::ANY_PORT };
            let addresses = IpAddr::V4(network.network())..=IpAddr::V4(network.broadcast());
            Selector::new(addresses, Some(protocol::UDP), ports).unwrap()
        };
        let selectors = Arc::new(SelectorPair { local: vec![selector(side)], peer: vec![selector(1 - side)] });
        let mut outbound = agreement.outbound(side, SPIS);
        let mut inbound = agreement.inbound(side, SPIS);
        (outbound.selectors, inbound.selectors) = (Arc::clone(&selectors), selectors);
        pair.gateways[side].command_inbound(InboundCommand::Remove { spi: SPIS[side] });
        pair.gateways[side].command_outbound(OutboundCommand::Remove { inbound_spi: SPIS[side] });
        pair.gateways[side].command_outbound(OutboundCommand::Install(Box::new(outbound)));
        pair.gateways[side].command_inbound(InboundCommand::Install(Box::new(inbound)));
    }
    pair
}

#[test]
fn a_long_packet_on_an_sa_that_names_ports_arrives_whole() {
    let mut pair = narrowed(&Agreement::default());
    let long = fragmentable(udp("10.1.0.1", "10.2.0.1", 4000, 7));
    pair.gateways[0].offer(&long);
    pair.gateways[0].run_outbound();
    {
        let ring = pair.links[0].in_flight.ring();
        assert_eq!(ring.len(), 1, "the outer packet is what is fragmented");
    }
    pair.gateways[1].run_inbound(&pair.links[0]);
    assert_eq!(pair.gateways[1].delivered(), [long]);
    assert_eq!(pair.gateways.iter().map(Gateway::all_drops).sum::<u64>(), 0);
}

#[test]
fn what_no_outer_packet_holds_and_the_peer_takes_in_no_fragments_is_dropped_with_a_reason() {
    let mut pair = narrowed(&Agreement::default());
    *pair.gateways[0].device.towards_tunnel.ring() = PacketRing::new(2, 65_535);
    *pair.gateways[1].device.from_tunnel.ring() = PacketRing::new(2, 65_535);
    let longest = fragmentable(udp("10.1.0.1", "10.2.0.1", 65_000, 7));
    assert_eq!(pair.carry(0, std::slice::from_ref(&longest)), [longest]);
    assert!(pair.carry(0, &[fragmentable(udp("10.1.0.1", "10.2.0.1", 65_500, 7))]).is_empty());
    assert_eq!(pair.gateways[0].dropped(DropReason::CannotFragment), 1);
}

#[test]
fn over_ipv6_what_fits_is_never_to_be_fragmented() {
    let outer = ["[2001:db8::1]:4500", "[2001:db8::2]:4500"].map(|address| address.parse().unwrap());
    let mut pair = Pair::new(&Agreement { outer, ..Agreement::default() });
    pair.gateways[0].offer(&fragmentable(udp("10.1.0.1", "10.2.0.1", 1000, 7)));
    pair.gateways[0].run_outbound();
    let sent = pair.links[0].in_flight.ring().pop(|_, flight| flight.dont_fragment);
    assert_eq!(sent, Some(true));
}
