//! What super-packets cost: taking one apart, putting one together, checksums. tun-rs does the same beside it.
//!
//! `cargo bench --bench offload`, a quarter of a minute.

use std::hint::black_box;
use std::ops::Range;
use std::time::Duration;

use criterion::{BenchmarkId, Criterion, Throughput, criterion_group, criterion_main};
use ipsec_gateway::dataplane::coalesce::{Coalescer, Offers};
use ipsec_gateway::dataplane::segment::Segmenter;
use ipsec_gateway::wire::checksum::Checksum;
use ipsec_gateway::wire::ip::{self, protocol};
use ipsec_gateway::wire::virtio_net::{PartialChecksum, Segmentation, VirtioNetHeader};
use tun_rs::{VirtioNetHdr, gso_split};

/// Headers of IPv4 and of TCP with a timestamp.
const HEADER_LEN: u16 = 52;
/// Payload of a segment that fits a tunnel with an outer MTU of 1500, and how many of them a super-packet has.
const SEGMENT: u16 = 1386;
const SEGMENTS: u16 = 46;
/// Room of a segment with its ESP header and trailer.
const STRIDE: usize = 1536;

fn super_packet() -> Vec<u8> {
    let len = HEADER_LEN + SEGMENT * SEGMENTS;
    let mut packet = ip::ipv4_header([10, 1, 0, 1].into(), [10, 2, 0, 1].into(), protocol::TCP, len).to_vec();
    packet.extend([0x13, 0x88, 0x14, 0x51, 0, 0, 0, 1, 0, 0, 0, 1, 0x80, 0x10, 1, 0xf6, 0, 0, 0, 0]);
    packet.extend([1, 1, 8, 10, 0, 0, 0, 1, 0, 0, 0, 2]);
    packet.extend((0..len - HEADER_LEN).map(|n| n as u8));
    // The kernel leaves the sum of the pseudo header in the field.
    let sum = Checksum::default().add_bytes(&packet[12..20]).add_word(protocol::TCP.into()).add_word(len - 20);
    packet[36..38].copy_from_slice(&(!sum.finish()).to_be_bytes());
    packet
}

const DESCRIPTION: VirtioNetHeader = VirtioNetHeader {
    segmentation: Segmentation::TcpIpv4,
    segment: SEGMENT,
    header_len: HEADER_LEN,
    checksum: Some(PartialChecksum { start: 20, offset: 16 }),
};

/// Takes a super-packet apart into a slab, and returns where the segments lie.
fn segment(packet: &[u8], slab: &mut [u8], segments: &mut Vec<Range<usize>>) {
    segments.clear();
    let mut segmenter = Segmenter::new(&DESCRIPTION, packet).expect("a well-formed super-packet");
    while let Some(len) = segmenter.next_len() {
        let start = segments.len() * STRIDE;
        segmenter.write_next(packet, &mut slab[start..start + len]);
        segments.push(start..start + len);
    }
}

fn super_packets(criterion: &mut Criterion) {
    let mut packet = super_packet();
    let mut slab = vec![0; STRIDE * usize::from(SEGMENTS)];
    let mut segments = Vec::with_capacity(usize::from(SEGMENTS));
    let mut group = criterion.benchmark_group("super-packet");
    group.throughput(Throughput::Bytes(packet.len() as u64));
    group.bench_function("segment", |bencher| {
        bencher.iter(|| segment(black_box(&packet), &mut slab, &mut segments));
    });

    let mut coalescer = Coalescer::new(segments.len());
    group.bench_function("coalesce", |bencher| {
        bencher.iter(|| {
            coalescer.sort(black_box(&slab), &segments, Offers { tcp: true, udp: true });
            assert_eq!(coalescer.len(), 1);
            // Undone for the next time; it costs next to nothing.
            black_box(coalescer.describe(0, &mut slab, &segments));
            coalescer.restore(0, &mut slab, &segments);
        });
    });

    let mut buffers: Vec<_> = slab.chunks(STRIDE).map(<[u8]>::to_vec).collect();
    let mut sizes = vec![0; buffers.len()];
    let (hdr_len, gso_size) = (HEADER_LEN, SEGMENT);
    let header = VirtioNetHdr { flags: 1, gso_type: 1, hdr_len, gso_size, csum_start: 20, csum_offset: 16 };
    group.bench_function("segment/tun-rs", |bencher| {
        bencher
            .iter(|| gso_split(black_box(&mut packet), header, &mut buffers, &mut sizes, 0, false).expect("segments"));
    });
}

fn checksum(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("checksum");
    for size in [20, 64, 512, 1400, 65_535] {
        let bytes: Vec<u8> = (0..size).map(|n| n as u8).collect();
        group.throughput(Throughput::Bytes(size as u64));
        group.bench_function(BenchmarkId::from_parameter(size), |bencher| {
            bencher.iter(|| Checksum::default().add_bytes(black_box(&bytes)).finish());
        });
    }
}

criterion_group! {
    name = benches;
    config = Criterion::default()
        .warm_up_time(Duration::from_millis(100))
        .measurement_time(Duration::from_millis(500))
        .sample_size(10);
    targets = super_packets, checksum
}
criterion_main!(benches);
