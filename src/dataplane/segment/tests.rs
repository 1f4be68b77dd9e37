use super::*;
use crate::dataplane::coalesce::{Coalescer, Offers};
use crate::wire::ip::{self, IpHeader, protocol};

const TIMESTAMPS: [u8; 12] = [1, 1, 8, 10, 0, 0, 0, 7, 0, 0, 0, 9];

/// What the kernel hands over: the pseudo header's sum where the checksum belongs.
fn super_packet(
    is_ipv4: bool,
    is_tcp: bool,
    segment: u16,
    payload_len: usize,
    flags: u8,
) -> (VirtioNetHeader, Vec<u8>) {
    let transport_header = if is_tcp { 20 + TIMESTAMPS.len() } else { 8 };
    let transport_len = transport_header + payload_len;
    let number = if is_tcp { protocol::TCP } else { protocol::UDP };
    let mut packet = if is_ipv4 {
        ip::ipv4_header([10, 0, 0, 1].into(), [10, 0, 0, 2].into(), number, (20 + transport_len) as u16).to_vec()
    } else {
        ip::ipv6_header([0xfd; 16].into(), [0xfc; 16].into(), number, transport_len as u16).to_vec()
    };
    let transport = packet.len();
    if is_tcp {
        packet.extend([0x13, 0x88, 0, 80, 0xff, 0xff, 0xff, 0, 0, 0, 0, 1, 0x80, flags, 1, 0xf6, 0, 0, 0, 0]);
        packet.extend(TIMESTAMPS);
    } else {
        packet.extend([0x13, 0x88, 0, 53, (transport_len >> 8) as u8, transport_len as u8, 0, 0]);
    }
    packet.extend((0..payload_len).map(|n| (n * 7 / 3) as u8));
    let flow = IpHeader::parse(&packet).unwrap().flow;
    let sum = Checksum::default().add_pseudo_header(flow.source, flow.destination, number, transport_len as u32);
    let offset = if is_tcp { 16 } else { 6 };
    set_word(&mut packet, transport + offset..transport + offset + 2, sum.folded());
    let segmentation = match (is_tcp, is_ipv4) {
        (false, _) => Segmentation::Udp,
        (true, true) => Segmentation::TcpIpv4,
        (true, false) => Segmentation::TcpIpv6,
    };
    let checksum = Some(PartialChecksum { start: transport as u16, offset: offset as u16 });
    (VirtioNetHeader { segmentation, segment, header_len: 0, checksum }, packet)
}

fn segments(description: &VirtioNetHeader, packet: &[u8]) -> Vec<Vec<u8>> {
    let mut segmenter = Segmenter::new(description, packet).unwrap();
    let mut segments = Vec::new();
    while let Some(len) = segmenter.next_len() {
        let mut out = vec![0; len];
        segmenter.write_next(packet, &mut out);
        segments.push(out);
    }
    segments
}

fn assert_valid(packet: &[u8]) {
    let header = IpHeader::parse(packet).unwrap();
    assert_eq!(header.total_len, packet.len());
    let body = &packet[header.transport..];
    let flow = header.flow;
    let sum = Checksum::default().add_pseudo_header(flow.source, flow.destination, flow.protocol, body.len() as u32);
    assert_eq!(sum.add_bytes(body).finish(), 0, "transport checksum");
    if header.is_ipv4() {
        assert_eq!(Checksum::default().add_bytes(&packet[..20]).finish(), 0, "header checksum");
    }
}

#[test]
fn tcp_segments_are_whole_packets_in_sequence() {
    for is_ipv4 in [true, false] {
        let flags = tcp::flag::ACK | tcp::flag::PSH | tcp::flag::FIN | tcp::flag::CWR;
        let (description, packet) = super_packet(is_ipv4, true, 1000, 2500, flags);
        let segments = segments(&description, &packet);
        let transport = if is_ipv4 { 20 } else { 40 };
        assert_eq!(segments.iter().map(Vec::len).collect::<Vec<_>>(), [1000, 1000, 500].map(|n| transport + 32 + n));
        segments.iter().for_each(|segment| assert_valid(segment));
        let at = |segment: &[u8], at: usize| segment[transport + at];
        assert_eq!(segments.iter().map(|segment| at(segment, 13)).collect::<Vec<_>>(), [0x90, 0x10, 0x19]);
        // 0xffffff00 and 1000 bytes more: the sequence number wraps.
        assert_eq!(segments[1][transport + 4..transport + 8], (1000u32 - 256).to_be_bytes());
        let payload: Vec<u8> = segments.iter().flat_map(|segment| segment[transport + 32..].to_vec()).collect();
        assert_eq!(payload, packet[transport + 32..]);
        if is_ipv4 {
            assert_eq!(segments.iter().map(|segment| segment[5]).collect::<Vec<_>>(), [0, 1, 2]);
        }
    }
}

#[test]
fn udp_datagrams_have_lengths_of_their_own() {
    for is_ipv4 in [true, false] {
        let (description, packet) = super_packet(is_ipv4, false, 64, 64 * 3, 0);
        let segments = segments(&description, &packet);
        assert_eq!(segments.len(), 3);
        for segment in &segments {
            assert_valid(segment);
            let transport = if is_ipv4 { 20 } else { 40 };
            assert_eq!(segment[transport + 4..transport + 6], [0, 72]);
        }
    }
}

#[test]
fn what_contradicts_itself_is_refused() {
    let (description, packet) = super_packet(true, true, 1000, 2500, 0x10);
    let refused = |description: VirtioNetHeader, packet: &[u8]| Segmenter::new(&description, packet).is_err();
    assert!(refused(VirtioNetHeader { segment: 0, ..description }, &packet));
    assert!(refused(VirtioNetHeader { checksum: None, ..description }, &packet));
    assert!(refused(VirtioNetHeader { segmentation: Segmentation::TcpIpv6, ..description }, &packet));
    for start in [0, 19, 2552, 65_535] {
        let checksum = Some(PartialChecksum { start, offset: 16 });
        assert!(refused(VirtioNetHeader { checksum, ..description }, &packet), "{start}");
    }
    for length in 0..=52 {
        assert!(refused(description, &packet[..length]), "{length}");
    }
}

#[test]
fn a_checksum_left_to_the_device_is_completed() {
    for is_tcp in [true, false] {
        let (description, mut packet) = super_packet(true, is_tcp, 0, 99, 0x10);
        let partial = description.checksum.unwrap();
        complete_checksum(&mut packet, partial).unwrap();
        assert_valid(&packet);
        let beyond = PartialChecksum { start: packet.len() as u16, ..partial };
        assert_eq!(complete_checksum(&mut packet, beyond), Err(NotSegmentable));
    }
}

#[test]
fn what_was_taken_apart_is_put_together_again() {
    for (is_ipv4, is_tcp) in [(true, true), (false, true), (true, false), (false, false)] {
        let (description, packet) = super_packet(is_ipv4, is_tcp, 500, 2750, 0x18);
        let packets = segments(&description, &packet);
        let mut ranges = Vec::new();
        let mut buffer = Vec::new();
        for packet in &packets {
            buffer.extend([0xee; 5]);
            ranges.push(buffer.len()..buffer.len() + packet.len());
            buffer.extend(packet);
        }
        let before = buffer.clone();
        let mut coalescer = Coalescer::new(16);
        coalescer.sort(&buffer, &ranges, Offers { tcp: true, udp: true });
        assert_eq!((coalescer.len(), coalescer.segments(0)), (1, 6));
        let header = coalescer.describe(0, &mut buffer, &ranges);
        assert_eq!((header.segmentation, header.segment), (description.segmentation, 500));
        assert_eq!(header.checksum, description.checksum);
        let joined: Vec<u8> = coalescer.parts(0, &ranges).flat_map(|part| buffer[part].to_vec()).collect();
        assert_eq!(joined, packet);
        coalescer.restore(0, &mut buffer, &ranges);
        assert_eq!(buffer, before);
    }
}
