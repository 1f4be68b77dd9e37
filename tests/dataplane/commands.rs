//! Decisions that fall into the loops while packets pass.

use crate::gateway::{Agreement, Pair, SPIS};
use crate::packets::udp;
use ipsec_gateway::crypto::{Secret, Suite, WrongKeyLength, encryption, integ};
use ipsec_gateway::dataplane::Progress;
use ipsec_gateway::dataplane::command::{InboundCommand, OutboundCommand};
use ipsec_gateway::dataplane::device::Wait;
use ipsec_gateway::dataplane::drop::DropReason;
use ipsec_gateway::dataplane::facts::InstallError;
use ipsec_gateway::dataplane::outer_header::{Encapsulation, OuterPath};
use ipsec_gateway::esp::Limits;

const NEW: [u32; 2] = [0xc000_0011, 0xc000_0012];

fn one(n: u32) -> Vec<Vec<u8>> {
    vec![udp("10.1.0.1", "10.2.0.1", 60, n)]
}

#[test]
fn a_rekey_loses_nothing() {
    let agreement = Agreement::default();
    let mut pair = Pair::new(&agreement);
    assert_eq!(pair.carry(0, &one(1)).len(), 1);

    // Both ends receive on the new pair, and the responder keeps sending on the old SA.
    for side in [0, 1] {
        let inbound = agreement.inbound(side, NEW);
        pair.gateways[side].command_inbound(InboundCommand::Install(Box::new(inbound)));
    }
    let new = agreement.outbound(0, NEW);
    let new_facts = std::sync::Arc::clone(&new.facts);
    assert_eq!(pair.carry(0, &one(2)).len(), 1);
    assert_eq!((new_facts.read().packets, pair.facts[0].0.read().packets), (0, 2));

    pair.gateways[0].command_outbound(OutboundCommand::Install(Box::new(new)));
    assert_eq!(pair.carry(0, &one(3)).len(), 1);
    assert_eq!((new_facts.read().packets, pair.facts[0].0.read().packets), (1, 2));

    // The old pair goes; what is still on its way is lost, what is sent now is not.
    pair.gateways[0].command_outbound(OutboundCommand::Remove { inbound_spi: SPIS[0] });
    pair.gateways[1].command_inbound(InboundCommand::Remove { spi: SPIS[1] });
    assert_eq!(pair.carry(0, &one(4)).len(), 1);
    assert_eq!(pair.gateways.iter().map(|gateway| gateway.all_drops()).sum::<u64>(), 0);
}

#[test]
fn a_new_sa_takes_over_from_one_with_the_same_selectors() {
    let agreement = Agreement::default();
    let mut pair = Pair::new(&agreement);
    pair.gateways[1].command_inbound(InboundCommand::Install(Box::new(agreement.inbound(1, NEW))));
    let new = agreement.outbound(0, NEW);
    let new_facts = std::sync::Arc::clone(&new.facts);
    pair.gateways[0].command_outbound(OutboundCommand::Install(Box::new(new)));
    assert_eq!(pair.carry(0, &one(1)).len(), 1);
    assert_eq!((new_facts.read().packets, pair.facts[0].0.read().packets), (1, 0));
}

#[test]
fn a_removed_sa_carries_and_accepts_nothing() {
    let mut pair = Pair::new(&Agreement::default());
    pair.gateways[1].command_inbound(InboundCommand::Remove { spi: SPIS[1] });
    assert!(pair.carry(0, &one(1)).is_empty());
    assert_eq!(pair.gateways[1].dropped(DropReason::UnknownSpi), 1);
    pair.gateways[0].command_outbound(OutboundCommand::Remove { inbound_spi: SPIS[0] });
    assert!(pair.carry(0, &one(2)).is_empty());
    assert_eq!(pair.gateways[0].dropped(DropReason::NoSa), 1);
}

#[test]
fn a_command_counts_for_the_packet_that_was_read_with_it() {
    let mut pair = Pair::new(&Agreement::default());
    pair.carry(0, &one(1));
    pair.gateways[0].offer(&one(2)[0]);
    pair.gateways[0].command_outbound(OutboundCommand::Remove { inbound_spi: SPIS[0] });
    pair.gateways[0].run_outbound();
    assert_eq!(pair.gateways[0].dropped(DropReason::NoSa), 1);
}

#[test]
fn packets_follow_a_peer_that_moved() {
    let mut pair = Pair::new(&Agreement::default());
    let path = OuterPath { local: "192.0.2.1:4500".parse().unwrap(), peer: "203.0.113.9:61234".parse().unwrap() };
    let command = OutboundCommand::SetPath { inbound_spi: SPIS[0], path, encapsulation: Encapsulation::Raw };
    pair.gateways[0].command_outbound(command);
    pair.gateways[0].offer(&one(1)[0]);
    pair.gateways[0].run_outbound();
    let flight = pair.links[0].in_flight.ring().pop(|_, flight| flight).unwrap();
    assert_eq!((flight.destination, flight.form), (path.peer, Encapsulation::Raw));
}

#[test]
fn only_the_newest_packet_moves_the_source() {
    let mut pair = Pair::new(&Agreement::default());
    let mut sealed = Vec::new();
    for n in 0..3 {
        pair.gateways[0].offer(&one(n)[0]);
        pair.gateways[0].run_outbound();
        sealed.push(pair.links[0].in_flight.ring().pop(|bytes, flight| (bytes.to_vec(), flight)).unwrap());
    }
    let sources = ["192.0.2.50:1000", "192.0.2.60:2000", "192.0.2.70:3000"];
    // The second packet first; the first one, delayed, comes from elsewhere and must not count; the third does.
    for (n, expected) in [(1, sources[1]), (0, sources[1]), (2, sources[2])] {
        let (bytes, mut flight) = sealed[n].clone();
        flight.source = sources[n].parse().unwrap();
        assert!(pair.links[0].in_flight.ring().push(&bytes, flight));
        pair.gateways[1].run_inbound(&pair.links[0]);
        assert_eq!(pair.facts[1].1.read().source, Some(expected.parse().unwrap()));
    }
}

#[test]
fn limits_are_told_and_kept() {
    let limits = Limits { soft_packets: 2, hard_packets: 4, ..Limits::UNLIMITED };
    let mut pair = Pair::new(&Agreement { limits, ..Agreement::default() });
    let delivered: usize = (0..6).map(|n| pair.carry(0, &one(n)).len()).sum();
    assert_eq!(delivered, 4);
    let reading = pair.facts[0].0.read();
    assert!(reading.soft_limit_reached && reading.exhausted);
    assert_eq!((pair.gateways[0].dropped(DropReason::SaExhausted), reading.errors), (2, 2));
}

#[test]
fn an_sa_with_a_key_of_another_length_is_refused_and_says_so() {
    let agreement = Agreement::default();
    let mut pair = Pair::new(&agreement);
    let error = WrongKeyLength { expected: (20, 0), actual: (3, 0) };
    let mut outbound = agreement.outbound(0, NEW);
    let mut inbound = agreement.inbound(1, NEW);
    outbound.keys.encryption = Secret::new(vec![1; 3]);
    inbound.keys.encryption = Secret::new(vec![1; 3]);
    let facts = [std::sync::Arc::clone(&outbound.facts), std::sync::Arc::clone(&inbound.facts)];
    pair.gateways[0].command_outbound(OutboundCommand::Install(Box::new(outbound)));
    pair.gateways[1].command_inbound(InboundCommand::Install(Box::new(inbound)));
    assert_eq!(pair.carry(0, &one(1)).len(), 1, "the SA that it was to replace goes on");
    for facts in facts {
        assert_eq!(facts.read().install_error, Some(InstallError::WrongKeyLength(error)));
    }
}

#[test]
fn an_spi_that_is_in_use_stays_with_its_sa() {
    let agreement = Agreement::default();
    let mut pair = Pair::new(&agreement);
    assert_eq!(pair.carry(0, &one(1)).len(), 1);
    let (outbound, inbound) = (agreement.outbound(0, SPIS), agreement.inbound(1, SPIS));
    let facts = [std::sync::Arc::clone(&outbound.facts), std::sync::Arc::clone(&inbound.facts)];
    pair.gateways[0].command_outbound(OutboundCommand::Install(Box::new(outbound)));
    pair.gateways[1].command_inbound(InboundCommand::Install(Box::new(inbound)));
    // A new SA would begin at sequence number 1 again, which the peer has seen.
    assert_eq!(pair.carry(0, &one(2)).len(), 1);
    assert_eq!(pair.facts[0].0.read().sequence, 2);
    for facts in facts {
        assert_eq!(facts.read().install_error, Some(InstallError::SpiInUse));
    }
}

#[test]
fn a_frame_that_fills_the_batch_moves_whole_to_a_larger_layout() {
    let suite = Suite::new(&encryption::AES256_CBC, Some(&integ::HMAC_SHA2_512_256)).unwrap();
    let mut pair = Pair::new(&Agreement { suite, outer_mtu: 9000, ..Agreement::default() });
    // As long as a frame can be, and laid out for AES-GCM, as which nothing tells otherwise before the SA is found.
    let packets: Vec<Vec<u8>> = (0..128).map(|n| udp("10.1.0.1", "10.2.0.1", 2010 - 28, n)).collect();
    for packet in &packets {
        assert!(pair.gateways[0].device.towards_tunnel.ring().push(packet, 1));
    }
    assert_eq!(pair.carry(0, &[]), packets);
    assert_eq!(pair.gateways.iter().map(|gateway| gateway.all_drops()).sum::<u64>(), 0);
}

#[test]
fn stop_ends_both_loops() {
    let mut pair = Pair::new(&Agreement::default());
    let gateway = &mut pair.gateways[0];
    gateway.command_outbound(OutboundCommand::Stop);
    gateway.command_inbound(InboundCommand::Stop);
    assert_eq!(gateway.outbound.run_once(Wait::No).unwrap(), Progress::Stopped);
    assert_eq!(gateway.inbound.run_once(Wait::No).unwrap(), Progress::Stopped);
}
