//! The inbound loop under a hostile network and a hostile peer, with an algorithm that costs nothing.

use std::io;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::ops::Range;
use std::sync::Arc;
use std::time::Instant;

use ipsec_gateway::crypto::{SealingKey, Secret, fake};
use ipsec_gateway::dataplane::command::InboundCommand;
use ipsec_gateway::dataplane::device::{DatagramSource, PacketSink, ReceiveSlab, Received, Wait};
use ipsec_gateway::dataplane::drop::DropCounters;
use ipsec_gateway::dataplane::facts::SaFacts;
use ipsec_gateway::dataplane::fib::ConnectionId;
use ipsec_gateway::dataplane::ike_queue::ike_queue;
use ipsec_gateway::dataplane::outer_header::{Encapsulation, OuterPath};
use ipsec_gateway::dataplane::parameters::{EspKeys, InboundSaParameters, Tunnel};
use ipsec_gateway::dataplane::policy::{Selector, SelectorPair};
use ipsec_gateway::dataplane::{InboundLoop, InboundPorts};
use ipsec_gateway::esp::{Limits, Overhead};
use ipsec_gateway::wire::ip::IpHeader;

use super::SPI;

const LOCAL: SocketAddr = SocketAddr::new(IpAddr::V4(Ipv4Addr::new(198, 51, 100, 2)), 4500);
const PEER: SocketAddr = SocketAddr::new(IpAddr::V4(Ipv4Addr::new(203, 0, 113, 2)), 4500);

/// Datagrams out of records of four bytes (form, segment, sequence number, length) and a content. With the lowest bit
/// of the form set, the content is sealed for the SA as an honest ESP implementation would; otherwise it is raw.
struct Records<'a> {
    data: &'a [u8],
    sealing: SealingKey,
}

impl Records<'_> {
    fn sealed(&self, sequence: u8, content: &[u8]) -> Vec<u8> {
        let overhead = Overhead::of(fake::SUITE);
        let mut packet = [&SPI.to_be_bytes()[..], &u32::from(sequence).to_be_bytes()].concat();
        packet.resize(overhead.header_len(), 9);
        packet.extend(content);
        packet.resize(packet.len() + overhead.icv_len(), 0);
        let (header, rest) = packet.split_at_mut(8);
        let (iv, rest) = rest.split_at_mut(overhead.iv_len());
        let (body, icv) = rest.split_at_mut(content.len());
        self.sealing.seal(header, iv, body, &[], icv);
        packet
    }
}

impl DatagramSource for Records<'_> {
    fn receive(&mut self, slab: &mut ReceiveSlab, _wait: Wait) -> io::Result<()> {
        while let (Some(([form, segment, sequence, len], rest)), true) =
            (self.data.split_first_chunk(), slab.free() > 0)
        {
            let (content, rest) = rest.split_at(usize::from(*len).min(rest.len()));
            self.data = rest;
            let datagram = if form & 1 == 1 { self.sealed(*sequence, content) } else { content.to_vec() };
            let buffer = slab.next_buffer();
            if let Some(free) = slab.free_buffers().next() {
                free[..datagram.len()].copy_from_slice(&datagram);
            }
            slab.commit(Received {
                buffer,
                start: 0,
                end: datagram.len(),
                segment: if *segment == 0 { datagram.len() } else { usize::from(*segment) },
                peer: PEER,
                local: LOCAL,
                form: if form & 2 == 2 { Encapsulation::Raw } else { Encapsulation::Udp },
                traffic_class: form >> 2 & 0b11,
            });
        }
        Ok(())
    }
}

/// Lets nothing through that lies outside the selectors.
struct Checked(Arc<SelectorPair>);

impl PacketSink for Checked {
    fn deliver(&mut self, buffer: &mut [u8], packets: &[Range<usize>]) -> io::Result<usize> {
        for packet in packets {
            let header = IpHeader::parse(&buffer[packet.clone()]).expect("a whole inner packet");
            assert_eq!(header.total_len, packet.len());
            assert!(self.0.covers_inbound(&header.flow), "{:?} is outside the selectors", header.flow);
        }
        Ok(0)
    }
}

/// Everything that reaches the sockets of ESP.
pub fn dataplane_inbound(data: &[u8]) -> bool {
    let encryption_key = vec![0x5a; fake::SUITE.encryption_key_len()];
    let sealing = SealingKey::new(fake::SUITE, &encryption_key, &[]).expect("keys of the right lengths");
    let prefix = |text: &str| vec![Selector::prefix(text.parse().expect("a prefix"))];
    let selectors = Arc::new(SelectorPair { local: prefix("10.1.0.0/16"), peer: prefix("192.168.0.0/16") });
    let facts = Arc::new(SaFacts::new(Instant::now()));
    let (mut commands, receiver) = rtrb::RingBuffer::new(1);
    let (ike, mut ike_reader) = ike_queue();
    let ports = InboundPorts {
        source: Records { data, sealing },
        sink: Checked(Arc::clone(&selectors)),
        commands: receiver,
        ike,
        wake: Box::new(()),
        drops: Arc::new(DropCounters::default()),
    };
    let mut inbound = InboundLoop::new(ports, Instant::now);
    let install = InboundCommand::Install(Box::new(InboundSaParameters {
        spi: SPI,
        connection: ConnectionId(1),
        suite: fake::SUITE,
        keys: EspKeys { encryption: Secret::new(encryption_key), integrity: Secret::new(vec![]) },
        extended_sequence: false,
        replay_window: 64,
        selectors,
        tunnel: Tunnel {
            encapsulation: Encapsulation::Udp,
            path: OuterPath { local: LOCAL, peer: PEER },
            outer_mtu: 1500,
        },
        limits: Limits::UNLIMITED,
        facts: Arc::clone(&facts),
    }));
    commands.push(install).expect("room for one command");
    inbound.run_once(Wait::No).expect("a source that cannot fail");
    let mut datagram = Vec::new();
    while ike_reader.pop(&mut datagram).is_some() {
        super::ike_message(&datagram);
    }
    facts.read().packets > 0
}
