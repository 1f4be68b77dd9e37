use super::*;
use crate::dataplane::device::MAX_PACKET;
use crate::dataplane::frame_pool::PLACES;
use crate::esp::Overhead;
use crate::wire::checksum::Checksum;
use crate::wire::ip;
use crate::wire::virtio_net::{HEADER_LEN, PartialChecksum, Segmentation, VirtioNetHeader};
use std::cell::Cell;
use std::collections::VecDeque;
use std::ops::Range;
use std::sync::LazyLock;
use std::time::Duration;

/// Bytes of payload of a packet and of a super-packet of 40 such.
const PAYLOAD: usize = 1400;
const SUPER: usize = 40 * PAYLOAD;
/// Ports by which frames are told apart.
const STREAM: u16 = 1;
const PING: u16 = 2;

thread_local! {
    static TIME: Cell<Duration> = const { Cell::new(Duration::ZERO) };
}
static START: LazyLock<Instant> = LazyLock::new(Instant::now);

fn clock() -> Instant {
    *START + TIME.get()
}

fn turn(time: Duration) {
    TIME.set(TIME.get() + time);
}

/// A TUN with what the kernel left in it.
#[derive(Default)]
struct Script {
    frames: VecDeque<Vec<u8>>,
    reads: usize,
}

impl FrameSource for Script {
    fn read(&mut self, frame: &mut [u8], _wait: Wait) -> io::Result<Option<usize>> {
        self.reads += 1;
        let Some(next) = self.frames.pop_front() else { return Ok(None) };
        frame[..next.len()].copy_from_slice(&next);
        Ok(Some(next.len()))
    }
}

/// A UDP packet, or with more payload than one takes a super-packet, as the kernel hands it over.
fn frame(port: u16, payload: usize, traffic_class: u8) -> Vec<u8> {
    let (source, destination) = ([10, 1, 0, 1].into(), [10, 2, 0, 1].into());
    let mut packet = ip::ipv4_header(source, destination, 17, (28 + payload) as u16).to_vec();
    packet.extend([[0, 9], port.to_be_bytes(), ((8 + payload) as u16).to_be_bytes(), [0, 0]].concat());
    packet.extend(std::iter::repeat_n(port as u8, payload));
    ip::set_traffic_class(&mut packet, traffic_class);
    let sum = Checksum::default().add_pseudo_header(source.into(), destination.into(), 17, 8 + payload as u32);
    packet[26..28].copy_from_slice(&sum.folded().to_be_bytes());
    let checksum = Some(PartialChecksum { start: 20, offset: 6 });
    let segmentation = if payload > PAYLOAD { Segmentation::Udp } else { Segmentation::None };
    let header = VirtioNetHeader { segmentation, segment: PAYLOAD as u16, header_len: 0, checksum };
    [&header.to_bytes()[..], &packet].concat()
}

/// What one call hands over: port, packets, traffic class of the first.
type Handed = (u16, usize, u8);

struct Bench {
    source: FairSource<Script>,
    drops: Arc<DropCounters>,
    slab: Vec<u8>,
    places: Vec<Range<usize>>,
}

impl Bench {
    /// With a seed by which pings share a queue with none of the other flows, which one in 200 seeds would do.
    fn new() -> Self {
        let drops = Arc::new(DropCounters::default());
        let queue = |source: &FairSource<Script>, port: u16| {
            let flow = IpHeader::parse(frame::packet(&frame(port, 0, 0))).unwrap().flow;
            QueueId::of_hash(source.hash.hash_one(flow))
        };
        let apart = |source: &FairSource<Script>| {
            [STREAM, 100, 101, 102, 103].iter().all(|port| queue(source, *port) != queue(source, PING))
        };
        let new = || FairSource::new(Script::default(), Arc::clone(&drops), clock);
        let source = std::iter::repeat_with(new).find(apart).unwrap();
        Self { source, drops, slab: vec![0; 2 * MAX_PACKET], places: Vec::with_capacity(128) }
    }

    fn offer(&mut self, frames: impl IntoIterator<Item = Vec<u8>>) {
        self.source.source.frames.extend(frames);
    }

    fn receive(&mut self) -> Option<Handed> {
        let mut room = FrameRoom::new(&mut self.slab, 0, Overhead::new(8, 4, 16), &mut self.places);
        if !self.source.receive(&mut room, Wait::No).unwrap() {
            return None;
        }
        let first = &self.slab[self.places.first()?.clone()];
        Some((u16::from_be_bytes([first[22], first[23]]), self.places.len(), first[1]))
    }

    /// Receives everything. A millisecond passes with each frame of the stream.
    fn drain(&mut self) -> Vec<Handed> {
        std::iter::from_fn(|| {
            self.receive().inspect(|(port, ..)| turn(Duration::from_millis(u64::from(*port == STREAM))))
        })
        .collect()
    }
}

#[test]
fn a_ping_passes_the_stream_that_waits_in_the_device() {
    let mut bench = Bench::new();
    bench.offer((0..30).map(|_| frame(STREAM, SUPER, 0)));
    bench.offer([frame(PING, 56, 0)]);
    bench.offer((0..10).map(|_| frame(STREAM, SUPER, 0)));
    let ports: Vec<u16> = bench.drain().iter().map(|(port, ..)| *port).collect();
    assert_eq!(ports.iter().position(|port| *port == PING), Some(2), "{ports:?}");
    assert_eq!(ports.len(), 41);
}

#[test]
fn nobody_sleeps_while_frames_wait_of_which_the_device_says_nothing_any_more() {
    for (frames, payload) in [(3, SUPER), (90, 56)] {
        let mut bench = Bench::new();
        bench.offer((0..frames).map(|_| frame(STREAM, payload, 0)));
        let mut handed_over = 0;
        while !bench.source.source.frames.is_empty() || bench.source.holds_frames() {
            handed_over += usize::from(bench.receive().is_some());
        }
        assert_eq!(handed_over, frames, "{payload}");
    }
}

#[test]
fn a_ping_that_comes_while_a_stream_waits_is_the_next_but_one() {
    let mut bench = Bench::new();
    bench.offer((0..60).map(|_| frame(STREAM, SUPER, 0)));
    for _ in 0..10 {
        bench.receive();
    }
    for _ in 0..10 {
        bench.offer([frame(PING, 56, 0)]);
        // One that was begun, and one whose turn it was.
        let next = [bench.receive(), bench.receive()];
        assert!(next.iter().flatten().any(|(port, ..)| *port == PING), "{next:?}");
    }
}

#[test]
fn what_comes_little_by_little_costs_one_read_each() {
    let mut bench = Bench::new();
    for _ in 0..1000 {
        bench.offer([frame(PING, 56, 0)]);
        assert_eq!(bench.receive(), Some((PING, 1, 0)));
        assert_eq!(bench.receive(), None);
    }
    assert_eq!(bench.source.source.reads, 2000);
}

#[test]
fn packets_of_every_size_come_out_whole_and_in_order() {
    let mut bench = Bench::new();
    let payload = |n: usize| if n.is_multiple_of(3) { PAYLOAD * (2 + n % 7) } else { n * 11 % PAYLOAD };
    let mut packets = Vec::new();
    for start in (0..400).step_by(50) {
        bench.offer((start..start + 50).map(|n| frame(STREAM, payload(n), 0)));
        while bench.receive().is_some() {
            packets.extend(bench.places.iter().map(|place| bench.slab[place.clone()].to_vec()));
        }
    }
    let expected: Vec<usize> = (0..400)
        .flat_map(|n: usize| if n.is_multiple_of(3) { vec![PAYLOAD; 2 + n % 7] } else { vec![payload(n)] })
        .map(|payload| 28 + payload)
        .collect();
    assert_eq!(packets.iter().map(Vec::len).collect::<Vec<_>>(), expected);
    for packet in &packets {
        let header = IpHeader::parse(packet).unwrap();
        let body = &packet[header.transport..];
        let sum =
            Checksum::default().add_pseudo_header(header.flow.source, header.flow.destination, 17, body.len() as u32);
        assert!(body[6..8] == [0, 0] || sum.add_bytes(body).finish() == 0, "{header:?}");
    }
    assert_eq!(bench.drops.iter().map(|(_, count)| count).sum::<u64>(), 0);
}

/// A stream of which 25 ms wait, for so many frames: what came out of it.
fn standing(bench: &mut Bench, frames: usize, traffic_class: u8) -> Vec<Handed> {
    bench.offer((0..25).map(|_| frame(STREAM, SUPER, traffic_class)));
    (0..frames)
        .filter_map(|_| {
            bench.offer([frame(STREAM, SUPER, traffic_class)]);
            turn(Duration::from_millis(1));
            bench.receive()
        })
        .collect()
}

#[test]
fn a_standing_stream_loses_one_packet_of_a_super_packet_at_a_time() {
    let mut bench = Bench::new();
    let out = standing(&mut bench, 400, 0);
    let lost: usize = out.iter().map(|(_, packets, _)| 40 - packets).sum();
    assert!(out.len() == 400 && (5..50).contains(&lost), "{lost} of {}", out.len());
    assert!(out.iter().all(|(_, packets, class)| *packets >= 39 && *class == 0));
    assert_eq!((bench.drops.count(DropReason::QueueStands), bench.drops.count(DropReason::Marked)), (lost as u64, 0));
}

#[test]
fn a_standing_stream_that_knows_ecn_is_marked_and_loses_nothing() {
    for ect in [1, 2] {
        let mut bench = Bench::new();
        let out = standing(&mut bench, 400, 0xb8 | ect);
        assert!(out.len() == 400 && out.iter().all(|(_, packets, _)| *packets == 40));
        let marked = out.iter().filter(|(.., class)| *class == 0xb8 | 3).count();
        assert!((5..50).contains(&marked), "{marked}");
        assert!(out.iter().all(|(.., class)| [0xb8 | ect, 0xb8 | 3].contains(class)));
        let drops = &bench.drops;
        assert_eq!((drops.count(DropReason::Marked), drops.count(DropReason::QueueStands)), (40 * marked as u64, 0));
    }
}

#[test]
fn single_packets_of_a_standing_stream_are_lost_whole() {
    let mut bench = Bench::new();
    bench.offer((0..500).map(|_| frame(STREAM, PAYLOAD, 0)));
    let (mut offered, mut out) = (500, 0);
    for _ in 0..20_000 {
        bench.offer([frame(STREAM, PAYLOAD, 0)]);
        offered += 1;
        turn(Duration::from_micros(10));
        out += u64::from(bench.receive().is_some());
    }
    let lost = bench.drops.count(DropReason::QueueStands);
    assert!((3..30).contains(&lost), "{lost}");
    out += bench.drain().len() as u64;
    assert_eq!(out + bench.drops.count(DropReason::QueueStands), offered);
}

#[test]
fn a_flood_of_every_size_is_bounded_and_accounted_for_and_a_ping_is_not_lost() {
    let mut bench = Bench::new();
    let (mut offered, mut handed, mut pings) = (0, 0, 0);
    for round in 0..2000 {
        let payload = if round % 500 < 250 { SUPER } else { 64 };
        for port in 100..104 {
            bench.offer([frame(port, payload, 0)]);
            offered += if payload == SUPER { 40 } else { 1 };
        }
        if round % 10 == 0 {
            bench.offer([frame(PING, 56, 0)]);
        }
        let (port, packets, _) = bench.receive().expect("there is always more");
        if port == PING { pings += 1 } else { handed += packets as u64 }
    }
    let waiting = PLACES - bench.source.pool.free();
    assert!(waiting <= PLACES && bench.drops.count(DropReason::QueueFull) > 0);
    while let Some((port, packets, _)) = bench.receive() {
        if port == PING { pings += 1 } else { handed += packets as u64 }
    }
    assert_eq!(pings, 200);
    assert_eq!(handed + bench.drops.iter().map(|(_, count)| count).sum::<u64>(), offered);
    assert_eq!(bench.source.pool.free(), PLACES - 1, "every place but the one that is read into is free again");
}

#[test]
fn a_flood_costs_no_more_than_two_reads_a_packet() {
    let mut bench = Bench::new();
    bench.offer((0..100_000).map(|_| frame(STREAM, 64, 0)));
    for _ in 0..20_000 {
        bench.receive().expect("there is more");
    }
    assert!(bench.source.source.reads <= 41_000, "{}", bench.source.source.reads);
}

#[test]
fn what_contradicts_itself_is_handed_over_empty() {
    let mut bench = Bench::new();
    let mut broken = frame(STREAM, SUPER, 0);
    broken[HEADER_LEN] = 0;
    bench.offer([broken.clone(), vec![0; HEADER_LEN - 1], vec![0; HEADER_LEN]]);
    for _ in 0..3 {
        let mut room = FrameRoom::new(&mut bench.slab, 0, Overhead::new(8, 4, 16), &mut bench.places);
        assert!(bench.source.receive(&mut room, Wait::No).unwrap());
        assert!(bench.places.iter().all(Range::is_empty));
    }
}
