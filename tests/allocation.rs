//! The packet path allocates nothing: a million packets through both loops of both gateways, under an allocator that
//! counts. A test binary of its own, so that no other test allocates meanwhile.

#[allow(dead_code, reason = "the harness serves another test binary too, which uses more of it")]
#[path = "dataplane/gateway.rs"]
mod gateway;
#[path = "missing/mod.rs"]
mod missing;
#[allow(dead_code, reason = "the harness serves another test binary too, which uses more of it")]
#[path = "dataplane/packets.rs"]
mod packets;

use gateway::{Agreement, Gateway, Pair};
use ipsec_gateway::crypto::{Suite, encryption, integ};
use ipsec_gateway::dataplane::device::{
    DatagramSink, DatagramSource, FrameRoom, FrameSource, PacketSource, ReceiveSlab, Run, Sent, Wait,
};
use ipsec_gateway::dataplane::drop::{DropCounters, DropReason};
use ipsec_gateway::dataplane::fair_source::FairSource;
use ipsec_gateway::dataplane::outer_header::{Encapsulation, OuterPath};
use ipsec_gateway::dataplane::parameters::OutboundSaParameters;
use ipsec_gateway::dataplane::policy::{Selector, SelectorPair};
use ipsec_gateway::dataplane::sadb::OutboundSadb;
use ipsec_gateway::esp::Overhead;
use ipsec_gateway::io::esp_sockets::{EspSockets, EspSocketsConfig};
use ipsec_gateway::wire::ip::{Flow, IpHeader};
use ipsec_gateway::wire::virtio_net::HEADER_LEN;
use std::alloc::{GlobalAlloc, Layout, System};
use std::cell::Cell;
use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::{Duration, Instant};

struct Counting;

thread_local! {
    /// Of this thread alone: the test harness has threads of its own.
    static ALLOCATIONS: Cell<u64> = const { Cell::new(0) };
}

fn count() {
    ALLOCATIONS.set(ALLOCATIONS.get() + 1);
}

// SAFETY: every call goes to the system's allocator as it came; counting touches no memory of it.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        count();
        // SAFETY: the caller's promises are passed on.
        unsafe { System.alloc(layout) }
    }

    unsafe fn dealloc(&self, pointer: *mut u8, layout: Layout) {
        // SAFETY: the caller's promises are passed on.
        unsafe { System.dealloc(pointer, layout) }
    }

    unsafe fn realloc(&self, pointer: *mut u8, layout: Layout, new_size: usize) -> *mut u8 {
        count();
        // SAFETY: the caller's promises are passed on.
        unsafe { System.realloc(pointer, layout, new_size) }
    }
}

#[global_allocator]
static ALLOCATOR: Counting = Counting;

const BATCH: usize = 64;

/// Carries `batches` batches from one side to the other and counts what arrives.
fn carry(pair: &mut Pair, from: usize, packets: &[Vec<u8>], batches: usize) -> u64 {
    let mut arrived = 0;
    for _ in 0..batches {
        let Pair { gateways, links, .. } = pair;
        {
            let mut ring = gateways[from].device.towards_tunnel.ring();
            for (n, packet) in packets.iter().enumerate() {
                assert!(ring.push(packet, n as u64));
            }
        }
        while !gateways[from].device.towards_tunnel.ring().is_empty() {
            gateways[from].outbound.run_once(Wait::No).expect("devices in memory never go");
        }
        while !links[from].in_flight.ring().is_empty() {
            gateways[1 - from].inbound.run_once(Wait::No).expect("devices in memory never go");
        }
        let mut ring = gateways[1 - from].device.from_tunnel.ring();
        while ring.pop(|_, ()| ()).is_some() {
            arrived += 1;
        }
    }
    arrived
}

#[test]
fn a_million_packets_allocate_nothing() {
    let gcm = Suite::new(&encryption::AES128_GCM_16, None).expect("an AEAD stands alone");
    let cbc = Suite::new(&encryption::AES256_CBC, Some(&integ::HMAC_SHA2_256_128)).expect("CBC with an HMAC");
    for (suite, rounds) in [(gcm, 900_000 / (2 * BATCH)), (cbc, 100_000 / (2 * BATCH) + 1)] {
        let mut pair = Pair::new(&Agreement { suite, ..Agreement::default() });
        // Sizes that run together and sizes that do not, both families, SYNs, and packets that are fragmented.
        let inner = |source: &str, destination: &str, n: usize| match n % 16 {
            0 => packets::syn(source, destination, 1460),
            1 if source.contains('.') => packets::fragmentable(packets::udp(source, destination, 2500, 1)),
            _ => packets::udp(source, destination, 20 + n / 8 * 40, n as u32),
        };
        let there: Vec<_> = (0..BATCH).map(|n| inner("10.1.0.1", "10.2.0.1", n)).collect();
        let back: Vec<_> = (0..BATCH).map(|n| inner("fd00:2::1", "fd00:1::1", n)).collect();
        carry(&mut pair, 0, &there, 4);
        carry(&mut pair, 1, &back, 4);

        let before = ALLOCATIONS.get();
        let arrived = carry(&mut pair, 0, &there, rounds) + carry(&mut pair, 1, &back, rounds);
        let allocations = ALLOCATIONS.get() - before;
        assert!(arrived >= (rounds * 2 * BATCH) as u64, "only {arrived} packets arrived");
        assert_eq!(allocations, 0, "{suite:?}: {allocations} allocations for {arrived} packets");
        assert_eq!(pair.gateways.iter().map(Gateway::all_drops).sum::<u64>(), 0);
    }
}

#[test]
fn an_sa_among_many_is_found_without_an_allocation() {
    let agreement = Agreement::default();
    let mut sadb = OutboundSadb::default();
    for n in 0..100 {
        let prefix = |text: String| Selector::prefix(text.parse().expect("a prefix"));
        let (local, peer) = (prefix("10.1.0.0/16".to_owned()), prefix(format!("10.2.{n}.0/24")));
        let selectors = Arc::new(SelectorPair { local: vec![local], peer: vec![peer] });
        let sa = OutboundSaParameters { selectors, ..agreement.outbound(0, [256 + n, 1256 + n]) };
        sadb.install(sa).expect("keys of the right length");
    }
    let flow = |n| {
        let packet = packets::udp("10.1.0.1", &format!("10.2.{n}.1"), 60, 1);
        IpHeader::parse(&packet).expect("a packet of ours").flow
    };
    let flows: Vec<Flow> = (0..110).map(flow).collect();
    let before = ALLOCATIONS.get();
    let found = flows.iter().filter(|flow| sadb.select(gateway::CONNECTION, flow).is_some()).count();
    assert_eq!((found, ALLOCATIONS.get() - before), (100, 0));
}

/// A device whose sender never waits: every flow and both sizes of places have more than can be handed over.
struct Flood {
    packets: Vec<Vec<u8>>,
    read: usize,
}

impl FrameSource for Flood {
    fn read(&mut self, frame: &mut [u8], _wait: Wait) -> io::Result<Option<usize>> {
        let packet = &self.packets[self.read % self.packets.len()];
        self.read += 1;
        frame[..HEADER_LEN].fill(0);
        frame[HEADER_LEN..][..packet.len()].copy_from_slice(packet);
        Ok(Some(HEADER_LEN + packet.len()))
    }
}

#[test]
fn what_waits_in_the_fair_queue_allocates_nothing() {
    let lens = |n: usize| if n.is_multiple_of(8) { 60_000 } else { 60 };
    let packets = (0..400).map(|n| packets::udp(&format!("10.1.0.{}", n % 97), "10.2.0.1", lens(n), 1)).collect();
    let drops = Arc::new(DropCounters::default());
    let mut source = FairSource::new(Flood { packets, read: 0 }, Arc::clone(&drops), Instant::now);
    let (mut slab, mut places) = (vec![0; 70_000], Vec::with_capacity(1));
    let before = ALLOCATIONS.get();
    for _ in 0..20_000 {
        let mut room = FrameRoom::new(&mut slab, 0, Overhead::new(8, 4, 16), &mut places);
        assert!(source.receive(&mut room, Wait::No).expect("a device that stays"));
    }
    assert_eq!(ALLOCATIONS.get() - before, 0);
    assert!(drops.count(DropReason::QueueFull) > 10_000, "places ran out");
}

/// The real sockets, over the loopback: runs of both forms, one datagram alone and many.
#[test]
fn sockets_allocate_nothing() {
    let sockets = match EspSockets::bind(EspSocketsConfig { port: 0, mark: None, raw: true }) {
        Ok(sockets) => sockets,
        Err(error) if error.raw_os_error() == Some(libc::EPERM) => {
            return missing::skipped(format_args!("raw sockets: {error}"));
        }
        Err(error) => panic!("{error}"),
    };
    let (mut sink, mut source) = (sockets.sink(), sockets.source().expect("an epoll instance"));
    let mut slab = ReceiveSlab::new(16);
    let address = |host| SocketAddr::from(([127, 0, 78, host], sockets.port()));
    let path = OuterPath { local: address(1), peer: address(2) };
    let bytes = [9; 40 * 1000 + 10];
    let mut before = 0;
    for round in 0..40 {
        if round == 4 {
            before = ALLOCATIONS.get();
        }
        for (encapsulation, len) in
            [(Encapsulation::Udp, bytes.len()), (Encapsulation::Raw, bytes.len()), (Encapsulation::Udp, 700)]
        {
            let run =
                Run { bytes: &bytes[..len], segment: 1000, path, encapsulation, traffic_class: 8, dont_fragment: true };
            assert_eq!(sink.send(&run), Sent::default());
        }
        let mut left = 2 * bytes.len() + 700;
        while left > 0 {
            slab.clear();
            source.receive(&mut slab, Wait::AtMost(Duration::from_secs(5))).expect("sockets that stay");
            // Raw sockets see what other tests send.
            let ours = slab.received().iter().filter(|received| received.peer.ip() == path.local.ip());
            left -= ours.map(|received| received.end - received.start).sum::<usize>();
        }
    }
    assert_eq!(ALLOCATIONS.get() - before, 0);
}
