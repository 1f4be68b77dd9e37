//! A network that loses, duplicates, reorders and corrupts: what arrives was sent, once, unchanged.

use crate::gateway::{Agreement, Gateway, RING, SPIS};
use crate::packets::udp;
use ipsec_gateway::dataplane::drop::DropReason;
use ipsec_gateway::io::device::faulty::{Faults, FaultyLink};
use ipsec_gateway::io::device::memory::MemoryLink;
use std::collections::BTreeSet;

const PACKETS: u32 = 4000;

#[test]
fn each_packet_arrives_at_most_once_and_unchanged() {
    for seed in 0..20 {
        let faults = Faults { loss: 30, duplication: 50, reordering: 100, corruption: 20 };
        let link = MemoryLink::new(RING);
        let agreement = Agreement { extended: seed % 2 == 0, ..Agreement::default() };
        let mut sender = Gateway::new(FaultyLink::new(link.clone(), faults, seed), MemoryLink::new(RING));
        let mut receiver = Gateway::new(MemoryLink::new(RING), link.clone());
        sender.install(0, &agreement, SPIS);
        let (_, facts) = receiver.install(1, &agreement, SPIS);
        let mut arrived = BTreeSet::new();
        for n in 0..PACKETS {
            sender.offer(&udp("10.1.0.1", "10.2.0.1", 40 + n as usize % 300, n));
            sender.run_outbound();
            receiver.run_inbound(&link);
            for packet in receiver.delivered() {
                let n = u32::from_be_bytes(packet[28..32].try_into().unwrap());
                assert_eq!(packet, udp("10.1.0.1", "10.2.0.1", 40 + n as usize % 300, n), "seed {seed}: changed");
                assert!(arrived.insert(n), "seed {seed}: packet {n} arrived twice");
            }
        }
        let lost = arrived.len() as f64 / f64::from(PACKETS);
        assert!(lost > 0.93, "seed {seed}: only {lost} of the packets arrived");
        assert_eq!(facts.read().packets, arrived.len() as u64, "what is counted is what arrived");
        assert!(receiver.dropped(DropReason::Replayed) > 0, "duplicates were seen as such");
        assert!(receiver.dropped(DropReason::BadIcv) > 0, "corruption was seen as such");
    }
}

#[test]
fn a_narrow_window_drops_what_comes_too_late() {
    let link = MemoryLink::new(RING);
    let agreement = Agreement { replay_window: 64, ..Agreement::default() };
    let mut sender = Gateway::new(link.clone(), MemoryLink::new(RING));
    let mut receiver = Gateway::new(MemoryLink::new(RING), link.clone());
    sender.install(0, &agreement, SPIS);
    receiver.install(1, &agreement, SPIS);
    let mut sealed = Vec::new();
    for n in 0..100 {
        sender.offer(&udp("10.1.0.1", "10.2.0.1", 40, n));
        sender.run_outbound();
        sealed.push(link.in_flight.ring().pop(|bytes, flight| (bytes.to_vec(), flight)).unwrap());
    }
    // The newest first: of the others, only those within 64 numbers of it are accepted.
    for (bytes, flight) in sealed.iter().rev() {
        assert!(link.in_flight.ring().push(bytes, *flight));
        receiver.run_inbound(&link);
    }
    assert_eq!(receiver.delivered().len(), 64);
    assert_eq!(receiver.dropped(DropReason::BeforeWindow), 36);
}
