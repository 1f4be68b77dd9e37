use super::*;
use crate::wire::checksum::Checksum;
use crate::wire::ip::{self, protocol};

const ALL: Offers = Offers { tcp: true, udp: true };

/// A TCP segment of a flow that its port names, with right checksums.
fn segment(port: u8, sequence: u32, payload: usize, flags: u8) -> Vec<u8> {
    let header = ip::ipv4_header([10, 0, 0, 1].into(), [10, 0, 0, 2].into(), protocol::TCP, (40 + payload) as u16);
    let mut packet = header.to_vec();
    packet.extend([0x13, 0x88, 0, port]);
    packet.extend(sequence.to_be_bytes());
    packet.extend([0, 0, 0, 1, 0x50, flags, 1, 0xf6, 0, 0, 0, 0]);
    packet.resize(40 + payload, 0xab);
    seal(packet)
}

/// Puts right checksums into a TCP packet.
fn seal(mut packet: Vec<u8>) -> Vec<u8> {
    packet[10..12].fill(0);
    let ip = Checksum::default().add_bytes(&packet[..20]).finish();
    packet[10..12].copy_from_slice(&ip.to_be_bytes());
    packet[36..38].fill(0);
    let pseudo = Checksum::default().add_bytes(&packet[12..20]).add_word(6).add_word((packet.len() - 20) as u16);
    let tcp = pseudo.add_bytes(&packet[20..]).finish();
    packet[36..38].copy_from_slice(&tcp.to_be_bytes());
    packet
}

fn icmp() -> Vec<u8> {
    let mut packet = ip::ipv4_header([10, 0, 0, 1].into(), [10, 0, 0, 2].into(), protocol::ICMP, 28).to_vec();
    packet.resize(28, 8);
    packet
}

/// The places of the packets of each write.
fn groups(packets: &[Vec<u8>], offers: Offers) -> Vec<Vec<usize>> {
    let mut ranges = Vec::new();
    let mut buffer = Vec::new();
    for packet in packets {
        ranges.push(buffer.len()..buffer.len() + packet.len());
        buffer.extend(packet);
    }
    let mut coalescer = Coalescer::new(packets.len());
    coalescer.sort(&buffer, &ranges, offers);
    let place = |member: Range<usize>| ranges.iter().position(|range| *range == member).unwrap();
    (0..coalescer.len()).map(|n| coalescer.members(n, &ranges).map(place).collect()).collect()
}

#[test]
fn neighbours_in_sequence_are_joined_and_a_short_or_pushed_one_is_the_last() {
    let flow =
        [segment(1, 0, 100, 0x10), segment(1, 100, 100, 0x10), segment(1, 200, 60, 0x10), segment(1, 260, 60, 0x10)];
    assert_eq!(groups(&flow, ALL), [vec![0, 1, 2], vec![3]]);
    let pushed = [segment(1, 0, 100, 0x10), segment(1, 100, 100, 0x18), segment(1, 200, 100, 0x10)];
    assert_eq!(groups(&pushed, ALL), [vec![0, 1], vec![2]]);
    assert_eq!(groups(&flow, Offers { tcp: false, udp: true }).len(), 4);
}

#[test]
fn flows_grow_side_by_side() {
    let mixed =
        [segment(1, 0, 100, 0x10), segment(2, 0, 50, 0x10), segment(1, 100, 100, 0x10), segment(2, 50, 50, 0x10)];
    assert_eq!(groups(&mixed, ALL), [[0, 2], [1, 3]]);
}

#[test]
fn whatever_differs_begins_anew() {
    let first = segment(1, 0, 100, 0x10);
    let next = segment(1, 100, 100, 0x10);
    let changed = |at: usize, value: u8| {
        let mut packet = next.clone();
        packet[at] = value;
        seal(packet)
    };
    // TOS, DF (and an identification out of step), TTL, acknowledgment, window, urgent pointer, flags.
    for (at, value) in [(1, 1), (6, 0), (8, 63), (31, 2), (35, 0), (39, 1), (33, 0x50), (33, 0x30), (33, 0x90)] {
        let packets = [first.clone(), changed(at, value)];
        assert_eq!(groups(&packets, ALL), [[0], [1]], "byte {at}");
    }
    assert_eq!(groups(&[first.clone(), segment(1, 101, 100, 0x10)], ALL), [[0], [1]], "a gap");
    assert_eq!(groups(&[first.clone(), segment(1, 100, 101, 0x10)], ALL), [[0], [1]], "a longer one");
    assert_eq!(groups(&[first, next], ALL), [[0, 1]]);
}

#[test]
fn a_wrong_checksum_stays_visible() {
    let (first, next) = (segment(1, 0, 100, 0x10), segment(1, 100, 100, 0x10));
    for at in [11, 37, 99] {
        let mut wrong = next.clone();
        wrong[at] ^= 1;
        assert_eq!(groups(&[first.clone(), wrong], ALL), [[0], [1]], "byte {at} of the second");
        let mut wrong = first.clone();
        wrong[at] ^= 1;
        assert_eq!(groups(&[wrong, next.clone()], ALL), [[0], [1]], "byte {at} of the first");
    }
}

#[test]
fn nothing_grows_past_a_packet_of_its_own_flow_or_of_none() {
    let (first, next) = (segment(1, 0, 100, 0x10), segment(1, 100, 100, 0x10));
    for between in [segment(1, 100, 0, 0x10), segment(1, 100, 0, 0x04), icmp(), vec![0x45], vec![]] {
        let packets = [first.clone(), between, next.clone()];
        assert_eq!(groups(&packets, ALL), [[0], [1], [2]]);
    }
    let other_flow = [first, segment(2, 9, 0, 0x10), next];
    assert_eq!(groups(&other_flow, ALL), [vec![0, 2], vec![1]]);
}

#[test]
fn a_super_packet_keeps_within_64_kib_and_its_segments() {
    let many: Vec<_> = (0..200).map(|n| segment(1, n * 10, 10, 0x10)).collect();
    assert_eq!(groups(&many, ALL).iter().map(Vec::len).collect::<Vec<_>>(), [MAX_SEGMENTS, 200 - MAX_SEGMENTS]);
    let large: Vec<_> = (0..50).map(|n| segment(1, n * 1400, 1400, 0x10)).collect();
    assert_eq!(groups(&large, ALL).iter().map(Vec::len).collect::<Vec<_>>(), [46, 4]);
}
