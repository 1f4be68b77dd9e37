//! Sealed packets on their way out: the longest run of neighbours that one send can carry.

use super::device::{DatagramSink, Run, Sent};
use super::outer_header::{Encapsulation, OuterPath};
use std::ops::Range;

/// Segments that the kernel takes in one UDP_SEGMENT send (UDP_MAX_SEGMENTS of Linux).
const MAX_SEGMENTS: usize = 64;
/// Bytes that it takes: an IP packet of 65535 bytes less the headers of IPv6 and UDP.
const MAX_BYTES: usize = 65_535 - 48;

/// What all packets of a run share.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct RunKey {
    /// From where to where.
    pub path: OuterPath,
    /// In which form.
    pub encapsulation: Encapsulation,
    /// DSCP and ECN.
    pub traffic_class: u8,
    /// The outer DF bit.
    pub dont_fragment: bool,
}

/// The run that is growing at the end of a slab. SAs of one path may share it.
#[derive(Debug, Default)]
pub struct RunBuilder {
    open: Option<OpenRun>,
}

#[derive(Debug)]
struct OpenRun {
    key: RunKey,
    bytes: Range<usize>,
    segment: usize,
    segments: usize,
}

impl OpenRun {
    fn takes(&self, key: &RunKey, packet: &Range<usize>) -> bool {
        // A packet shorter than the others can only be the last.
        let ended = !self.bytes.len().is_multiple_of(self.segment);
        self.key == *key
            && self.bytes.end == packet.start
            && !ended
            && packet.len() <= self.segment
            && self.segments < MAX_SEGMENTS
            && self.bytes.len() + packet.len() <= MAX_BYTES
    }
}

impl RunBuilder {
    /// Adds a sealed packet, which lies in `slab`. What cannot share a run with it is sent before: order is kept.
    pub fn push(&mut self, slab: &[u8], packet: Range<usize>, key: RunKey, sink: &mut impl DatagramSink) -> Sent {
        if packet.is_empty() {
            return Sent::default();
        }
        if let Some(run) = &mut self.open
            && run.takes(&key, &packet)
        {
            run.bytes.end = packet.end;
            run.segments += 1;
            return Sent::default();
        }
        let sent = self.flush(slab, sink);
        self.open = Some(OpenRun { key, segment: packet.len(), bytes: packet, segments: 1 });
        sent
    }

    /// Sends what is there.
    pub fn flush(&mut self, slab: &[u8], sink: &mut impl DatagramSink) -> Sent {
        let Some(OpenRun { key, bytes, segment, segments: _ }) = self.open.take() else { return Sent::default() };
        let RunKey { path, encapsulation, traffic_class, dont_fragment } = key;
        sink.send(&Run { bytes: &slab[bytes], segment, path, encapsulation, traffic_class, dont_fragment })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[derive(Default)]
    struct Sends(Vec<Vec<usize>>);

    impl DatagramSink for Sends {
        fn send(&mut self, run: &Run<'_>) -> Sent {
            self.0.push(run.packets().map(<[u8]>::len).collect());
            Sent::default()
        }
    }

    fn key(traffic_class: u8) -> RunKey {
        let path = OuterPath { local: "192.0.2.1:4500".parse().unwrap(), peer: "192.0.2.2:4500".parse().unwrap() };
        RunKey { path, encapsulation: Encapsulation::Udp, traffic_class, dont_fragment: true }
    }

    /// Pushes packets of (gap before, length, traffic class) and returns the packet lengths of each send.
    fn sends(packets: impl IntoIterator<Item = (usize, usize, u8)>) -> Vec<Vec<usize>> {
        let slab = vec![0; 1 << 20];
        let (mut builder, mut sink, mut at) = (RunBuilder::default(), Sends::default(), 0);
        for (gap, len, traffic_class) in packets {
            at += gap;
            builder.push(&slab, at..at + len, key(traffic_class), &mut sink);
            at += len;
        }
        builder.flush(&slab, &mut sink);
        builder.flush(&slab, &mut sink);
        sink.0
    }

    #[test]
    fn equal_packets_and_a_shorter_last_one_share_a_send() {
        assert_eq!(sends([(0, 100, 0), (0, 100, 0), (0, 60, 0), (0, 100, 0)]), [vec![100, 100, 60], vec![100]]);
    }

    #[test]
    fn a_longer_packet_a_gap_and_another_class_begin_a_run() {
        assert_eq!(sends([(0, 100, 0), (0, 101, 0)]), [[100], [101]]);
        assert_eq!(sends([(0, 100, 0), (4, 100, 0)]), [[100], [100]]);
        assert_eq!(sends([(0, 100, 0), (0, 100, 3)]), [[100], [100]]);
    }

    #[test]
    fn a_run_keeps_within_the_kernel_s_limits() {
        let many: Vec<_> = sends(std::iter::repeat_n((0, 100, 0), 150)).iter().map(Vec::len).collect();
        assert_eq!(many, [64, 64, 22]);
        let large = sends(std::iter::repeat_n((0, 1472, 0), 60));
        assert!(large.iter().all(|run| run.iter().sum::<usize>() <= MAX_BYTES));
        assert_eq!(large.iter().map(Vec::len).sum::<usize>(), 60);
    }
}
