//! Offloading on and off give the same stream: what is joined comes apart again byte for byte, by the hands of others
//! (tun-rs, the kernel), and what is taken apart is what they make of it.

use crate::streams::{by_flow, checksums_hold, packets, steps};
use etherparse::{
    IpHeaders, Ipv4Header, Ipv6Extensions, Ipv6Header, Ipv6RawExtHeader, PacketBuilder, TcpHeader, ip_number,
};
use ipsec_gateway::dataplane::coalesce::{Coalescer, Offers};
use ipsec_gateway::dataplane::segment::{Segmenter, complete_checksum};
use ipsec_gateway::wire::virtio_net::{PartialChecksum, Segmentation, VirtioNetHeader};
use proptest::prelude::*;
use std::ops::Range;
use tun_rs::{VirtioNetHdr, gso_split};

/// Packets that the inbound loop delivers at once.
const DELIVERY: usize = 128;

/// A receive buffer with packets in it, apart from each other as ESP headers keep them.
pub fn buffer_of(packets: &[Vec<u8>]) -> (Vec<u8>, Vec<Range<usize>>) {
    let (mut buffer, mut ranges) = (Vec::new(), Vec::new());
    for packet in packets {
        buffer.resize(buffer.len() + 24, 0xee);
        ranges.push(buffer.len()..buffer.len() + packet.len());
        buffer.extend_from_slice(packet);
    }
    (buffer, ranges)
}

/// What tun-rs makes of a super-packet.
fn split_by_tun_rs(header: VirtioNetHeader, packet: &[u8]) -> Vec<Vec<u8>> {
    let PartialChecksum { start, offset } = header.checksum.expect("a super-packet has a partial checksum");
    let is_ipv6 = packet[0] >> 4 == 6;
    let kind = match header.segmentation {
        Segmentation::TcpIpv4 => 1,
        Segmentation::TcpIpv6 => 4,
        Segmentation::Udp => 5,
        Segmentation::None => panic!("not a super-packet"),
    };
    let described = VirtioNetHdr {
        flags: 1,
        gso_type: kind,
        hdr_len: header.header_len,
        gso_size: header.segment,
        csum_start: start,
        csum_offset: offset,
    };
    let count = (packet.len() - usize::from(header.header_len)).div_ceil(usize::from(header.segment));
    let mut segments = vec![vec![0; packet.len()]; count];
    let mut sizes = vec![0; count];
    let split = gso_split(&mut packet.to_vec(), described, &mut segments, &mut sizes, 0, is_ipv6).expect("segments");
    assert_eq!(split, count);
    segments.into_iter().zip(sizes).map(|(segment, size)| segment[..size].to_vec()).collect()
}

/// Joins packets as the offloading device does, and has every super-packet taken apart again. Also returns how many writes
/// it took.
fn joined_and_split(packets: &[Vec<u8>], offers: Offers) -> (Vec<Vec<u8>>, usize) {
    let mut coalescer = Coalescer::new(DELIVERY);
    let (mut written, mut writes) = (Vec::new(), 0);
    for delivery in packets.chunks(DELIVERY) {
        let (mut buffer, ranges) = buffer_of(delivery);
        coalescer.sort(&buffer, &ranges, offers);
        for group in 0..coalescer.len() {
            let header = coalescer.describe(group, &mut buffer, &ranges);
            let packet: Vec<u8> = coalescer.parts(group, &ranges).flat_map(|part| buffer[part].to_vec()).collect();
            writes += 1;
            if header.segmentation == Segmentation::None {
                assert_eq!(header, VirtioNetHeader::PLAIN);
                written.push(packet);
            } else {
                let segments = split_by_tun_rs(header, &packet);
                assert!(segments.len() > 1);
                assert!(segments.iter().all(|segment| checksums_hold(segment)));
                written.extend(segments);
            }
        }
    }
    (written, writes)
}

fn slices(packets: &[Vec<u8>]) -> impl Iterator<Item = &[u8]> {
    packets.iter().map(Vec::as_slice)
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 512, ..ProptestConfig::default() })]

    #[test]
    fn joined_packets_come_apart_as_they_were(steps in steps(), tcp: bool, udp: bool) {
        let packets = packets(&steps);
        let (written, _) = joined_and_split(&packets, Offers { tcp, udp });
        prop_assert_eq!(written.len(), packets.len());
        prop_assert_eq!(by_flow(slices(&written)), by_flow(slices(&packets)));
    }

    #[test]
    fn a_refused_super_packet_is_restored(steps in steps()) {
        let packets = packets(&steps);
        let packets = &packets[..packets.len().min(DELIVERY)];
        let (mut buffer, ranges) = buffer_of(packets);
        let before = buffer.clone();
        let mut coalescer = Coalescer::new(DELIVERY);
        coalescer.sort(&buffer, &ranges, Offers { tcp: true, udp: true });
        let mut members = Vec::new();
        for group in 0..coalescer.len() {
            coalescer.describe(group, &mut buffer, &ranges);
            coalescer.restore(group, &mut buffer, &ranges);
            members.extend(coalescer.members(group, &ranges).map(|range| buffer[range].to_vec()));
        }
        prop_assert_eq!(&buffer, &before);
        prop_assert_eq!(members.len(), packets.len());
        prop_assert_eq!(by_flow(slices(&members)), by_flow(slices(packets)));
    }

    #[test]
    fn super_packets_are_segmented_as_tun_rs_does_it(super_packet in super_packets()) {
        let SuperPacket { header, packet } = super_packet;
        let mut segmenter = Segmenter::new(&header, &packet).expect("a well-formed super-packet");
        let mut segments = Vec::new();
        while let Some(len) = segmenter.next_len() {
            let mut segment = vec![0xee; len];
            segmenter.write_next(&packet, &mut segment);
            segments.push(segment);
        }
        prop_assert!(segments.iter().all(|segment| checksums_hold(segment)));
        prop_assert_eq!(segments, split_by_tun_rs(header, &packet));
    }

    #[test]
    fn checksums_left_to_the_device_are_completed(super_packet in super_packets()) {
        // A packet need not be segmented to have a partial checksum.
        let SuperPacket { header, mut packet } = super_packet;
        complete_checksum(&mut packet, header.checksum.expect("a partial checksum")).expect("a field inside");
        prop_assert!(checksums_hold(&packet));
    }
}

#[test]
fn a_bulk_transfer_takes_few_writes() {
    // 120 segments of each of three flows, in turn.
    let steps: Vec<_> =
        (0..40).flat_map(|_| [0, 2, 3].map(|flow| crate::streams::Step::plain(flow, 1200, 3))).collect();
    let packets = packets(&steps);
    assert_eq!(packets.len(), 360);
    let (_, writes) = joined_and_split(&packets, Offers { tcp: true, udp: true });
    assert!(writes <= 3 * packets.len().div_ceil(DELIVERY), "{writes} writes");
    let (_, writes) = joined_and_split(&packets, Offers { tcp: false, udp: true });
    assert_eq!(writes, packets.len());
}

/// A super-packet as the kernel hands it over: lengths of the whole, the checksum field with the sum of the pseudo header.
#[derive(Debug, Clone)]
struct SuperPacket {
    header: VirtioNetHeader,
    packet: Vec<u8>,
}

prop_compose! {
    fn super_packets()(
        (ipv6, tcp, extended, timestamps) in any::<(bool, bool, bool, bool)>(),
        (identification, dont_fragment, sequence, flags) in any::<(u16, bool, u32, u8)>(),
        (segment, len) in prop_oneof![
            4 => (1000..1460usize, 1..62_000usize),
            1 => (1..100usize, 1..1000usize),
        ],
        seed: u8,
    ) -> SuperPacket {
        let payload: Vec<u8> = (0..len).map(|n| (n * 7) as u8 ^ seed).collect();
        let transport = if tcp { ip_number::TCP } else { ip_number::UDP };
        let mut ip = ip_headers(ipv6, identification, dont_fragment);
        if let IpHeaders::Ipv6(_, extensions) = &mut ip
            && extended
        {
            *extensions = Ipv6Extensions {
                hop_by_hop_options: Ipv6RawExtHeader::new_raw(transport, &[1, 4, 0, 0, 0, 0]).ok(),
                ..Default::default()
            };
        }
        let start = ip.header_len();
        let mut packet = Vec::new();
        let transport_len = if tcp {
            let mut header = TcpHeader::new(1000, 5201, sequence, 500);
            header.ack = true;
            (header.fin, header.psh, header.cwr, header.ece) =
                (flags & 1 != 0, flags & 2 != 0, flags & 4 != 0, flags & 8 != 0);
            if timestamps {
                header.set_options_raw(&[1, 1, 8, 10, 0, 0, 0, 1, 0, 0, 0, 2]).expect("12 bytes");
            }
            let len = header.header_len();
            PacketBuilder::ip(ip).tcp_header(header).write_to_vec(&mut packet, &payload).expect("headers that fit");
            len
        } else {
            PacketBuilder::ip(ip).udp(1000, 5201).write_to_vec(&mut packet, &payload).expect("headers that fit");
            8
        };
        let offset = if tcp { 16 } else { 6 };
        let sum = pseudo_header_sum(&packet, transport.0, packet.len() - start);
        packet[start + offset..start + offset + 2].copy_from_slice(&sum.to_be_bytes());
        let header = VirtioNetHeader {
            segmentation: match (tcp, ipv6) {
                (false, _) => Segmentation::Udp,
                (true, false) => Segmentation::TcpIpv4,
                (true, true) => Segmentation::TcpIpv6,
            },
            segment: segment as u16,
            header_len: (start + transport_len) as u16,
            checksum: Some(PartialChecksum { start: start as u16, offset: offset as u16 }),
        };
        SuperPacket { header, packet }
    }
}

fn ip_headers(ipv6: bool, identification: u16, dont_fragment: bool) -> IpHeaders {
    if ipv6 {
        let header = Ipv6Header { hop_limit: 64, source: [0xfd; 16], destination: [0xfe; 16], ..Default::default() };
        return IpHeaders::Ipv6(header, Ipv6Extensions::default());
    }
    let (source, destination) = ([10, 2, 0, 1], [10, 1, 0, 1]);
    let header =
        Ipv4Header { identification, dont_fragment, time_to_live: 64, source, destination, ..Default::default() };
    IpHeaders::Ipv4(header, Default::default())
}

/// The sum of a pseudo header, not inverted (RFC 9293 section 3.1, RFC 8200 section 8.1).
fn pseudo_header_sum(packet: &[u8], protocol: u8, transport_len: usize) -> u16 {
    let addresses = if packet[0] >> 4 == 6 { &packet[8..40] } else { &packet[12..20] };
    let words = addresses.chunks(2).map(|word| usize::from(word[0]) << 8 | usize::from(word[1]));
    let mut sum = words.sum::<usize>() + usize::from(protocol) + transport_len;
    while sum > 0xffff {
        sum = (sum & 0xffff) + (sum >> 16);
    }
    sum as u16
}
