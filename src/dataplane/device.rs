//! What the loops need of the world: packets from and to the TUN, datagrams from and to the network.
//!
//! The traits fit devices that hand over one packet a call and devices that hand over super-packets; see `io::device`
//! and `io::udp` for the kernel's, `io::device::memory` for tests.

use super::outer_header::{Encapsulation, OuterPath};
use super::refusal::SendRefusal;
use crate::esp::Overhead;
use crate::wire::virtio_net::HEADER_LEN;
use std::io;
use std::net::SocketAddr;
use std::ops::Range;
use std::time::Duration;

/// The largest inner packet that a device may hand over.
pub const MAX_PACKET: usize = 65_535;

/// Bytes of the largest frame as a device hands it over: a packet or super-packet behind its virtio header.
pub const MAX_FRAME: usize = HEADER_LEN + MAX_PACKET;

/// Packets that are delivered to a device together, at most: what several receive buffers hold, so that the segments of a
/// super-packet that came in two are joined again.
pub const MAX_DELIVERY: usize = 512;

/// How long a call may wait for its first packet.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Wait {
    /// Not at all.
    No,
    /// At most this long.
    AtMost(Duration),
}

/// Room for one frame, in place where it will be sealed: the packets of one flow, back to back with room before each for
/// the ESP header and IV, and after each for padding and ICV.
///
/// A device reserves with [`FrameRoom::space`], writes in place and commits; what is not committed was never there.
#[derive(Debug)]
pub struct FrameRoom<'a> {
    slab: &'a mut [u8],
    cursor: usize,
    overhead: Overhead,
    packets: &'a mut Vec<Range<usize>>,
}

impl<'a> FrameRoom<'a> {
    /// Room in `slab` from `cursor` on, laid out for an SA of this overhead. `packets` collects where packets are; its
    /// capacity bounds how many a frame may hold.
    pub fn new(slab: &'a mut [u8], cursor: usize, overhead: Overhead, packets: &'a mut Vec<Range<usize>>) -> Self {
        packets.clear();
        Self { slab, cursor, overhead, packets }
    }

    /// Where the next packet goes. Empty when the frame is full.
    pub fn space(&mut self) -> &mut [u8] {
        let start = self.cursor + self.overhead.header_len();
        let end = self.slab.len().saturating_sub(self.overhead.trailer_max());
        if start >= end || self.packets.len() == self.packets.capacity() {
            return &mut [];
        }
        let end = end.min(start + MAX_PACKET);
        &mut self.slab[start..end]
    }

    /// Keeps the first `len` bytes of [`space`](Self::space) as a packet. All packets of a frame are of one flow, and equal
    /// in length but for the last, which may be shorter.
    ///
    /// # Panics
    /// When `len` is more than the space, which is a mistake of the device.
    pub fn commit(&mut self, len: usize) {
        assert!(len <= self.space().len(), "a device committed more than it was given");
        let start = self.cursor + self.overhead.header_len();
        self.packets.push(start..start + len);
        self.cursor += self.overhead.sealed_len(len);
    }
}

/// Where inner packets come from: the TUN.
pub trait PacketSource: Send {
    /// Puts the next frame into `room`: one packet, or the segments of one super-packet. Says whether there was one.
    ///
    /// # Errors
    /// When the device is gone. A device that merely has nothing returns `false`.
    fn receive(&mut self, room: &mut FrameRoom<'_>, wait: Wait) -> io::Result<bool>;

    /// Whether something was read that is not handed over yet, of which the device says nothing any more: whoever drives the
    /// source must not sleep.
    fn holds_frames(&self) -> bool {
        false
    }
}

/// Where frames come from as the device has them: one packet or super-packet each.
pub trait FrameSource: Send {
    /// Reads the next frame into `frame`, which has room for the largest ([`MAX_FRAME`]): a virtio header
    /// ([`crate::wire::virtio_net`]), then the packet. Returns its bytes, or `None` if there was none.
    ///
    /// # Errors
    /// When the device is gone.
    fn read(&mut self, frame: &mut [u8], wait: Wait) -> io::Result<Option<usize>>;
}

/// Where opened packets go: the TUN.
pub trait PacketSink: Send {
    /// Delivers packets that lie in `buffer`, the packets of a flow in order. A device that coalesces joins packets of one
    /// flow and may write over their headers. Returns how many packets the device did not take.
    ///
    /// # Errors
    /// When the device is gone.
    fn deliver(&mut self, buffer: &mut [u8], packets: &[Range<usize>]) -> io::Result<usize>;
}

/// Sealed packets of one path, back to back and of equal length but for the last, which may be shorter.
#[derive(Debug, Clone, Copy)]
pub struct Run<'a> {
    /// The ESP packets.
    pub bytes: &'a [u8],
    /// The length of each but the last.
    pub segment: usize,
    /// From where to where.
    pub path: OuterPath,
    /// In which form.
    pub encapsulation: Encapsulation,
    /// The outer TOS or traffic class: DSCP and ECN.
    pub traffic_class: u8,
    /// The outer DF bit.
    pub dont_fragment: bool,
}

impl<'a> Run<'a> {
    /// The ESP packets one by one.
    pub fn packets(&self) -> std::slice::Chunks<'a, u8> {
        self.bytes.chunks(self.segment.max(1))
    }
}

/// What became of a run.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Sent {
    /// Packets that the kernel refused as larger than the path takes.
    pub too_big: u64,
    /// Packets that it refused for another reason,
    pub failed: u64,
    /// and for which, as far as the last of them tells.
    pub why: SendRefusal,
}

/// Where sealed packets go: the NAT traversal port and the raw ESP sockets.
pub trait DatagramSink: Send {
    /// Sends a run. What cannot be sent is counted, not retried: ESP is a datagram service.
    fn send(&mut self, run: &Run<'_>) -> Sent;
}

/// Bytes of a receive buffer: the largest GRO buffer that the kernel builds.
pub const RECEIVE_BUFFER: usize = 65_536;

/// How a datagram arrived.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Received {
    /// Which buffer of the slab.
    pub buffer: usize,
    /// Where in the buffer: for raw ESP over IPv4 without the IP header that came before.
    pub start: usize,
    /// Where the bytes end in the buffer.
    pub end: usize,
    /// The length of each datagram but the last when the kernel joined several (UDP_GRO); otherwise the whole length.
    pub segment: usize,
    /// Source. The port is 0 for raw ESP.
    pub peer: SocketAddr,
    /// Destination, as far as the socket told.
    pub local: SocketAddr,
    /// In which form: UDP to the NAT traversal port, or raw ESP.
    pub form: Encapsulation,
    /// The outer TOS or traffic class.
    pub traffic_class: u8,
}

impl Received {
    /// Whether another datagram may be appended: the last of a buffer may be shorter than those before, none longer.
    fn takes(&self, other: &Self) -> bool {
        let (len, other_len) = (self.end - self.start, other.end - other.start);
        let alike = (self.peer, self.local, self.form, self.traffic_class)
            == (other.peer, other.local, other.form, other.traffic_class);
        let single = other.segment == other_len;
        let full = len > 0 && len.is_multiple_of(self.segment.max(1));
        alike && single && full && (1..=self.segment).contains(&other_len) && self.end + other_len <= RECEIVE_BUFFER
    }
}

/// Buffers to receive into, all in one slab, and what came into them.
#[derive(Debug)]
pub struct ReceiveSlab {
    bytes: Box<[u8]>,
    received: Vec<Received>,
    /// What ICMP told of earlier sends meanwhile.
    unreachable: u64,
}

impl ReceiveSlab {
    /// A slab of this many buffers.
    pub fn new(buffers: usize) -> Self {
        Self { bytes: vec![0; buffers * RECEIVE_BUFFER].into(), received: Vec::with_capacity(buffers), unreachable: 0 }
    }

    /// Notes that ICMP told of so many earlier datagrams that they did not arrive.
    pub fn note_unreachable(&mut self, datagrams: u64) {
        self.unreachable += datagrams;
    }

    /// How many were noted since the last call.
    pub fn take_unreachable(&mut self) -> u64 {
        std::mem::take(&mut self.unreachable)
    }

    /// How many buffers are still free.
    pub fn free(&self) -> usize {
        self.bytes.len() / RECEIVE_BUFFER - self.received.len()
    }

    /// The free buffers, to be filled in order.
    pub fn free_buffers(&mut self) -> std::slice::ChunksExactMut<'_, u8> {
        self.bytes[self.received.len() * RECEIVE_BUFFER..].chunks_exact_mut(RECEIVE_BUFFER)
    }

    /// The bytes of a buffer, free or not.
    ///
    /// # Panics
    /// When there are fewer buffers.
    pub fn buffer(&self, index: usize) -> &[u8] {
        &self.bytes[index * RECEIVE_BUFFER..][..RECEIVE_BUFFER]
    }

    /// The index of the first free buffer.
    pub fn next_buffer(&self) -> usize {
        self.received.len()
    }

    /// Keeps what came into the next free buffer. Ranges beyond the buffer are cut.
    pub fn commit(&mut self, received: Received) {
        self.commit_from(self.received.len(), received);
    }

    /// Keeps what came into the buffer with this index, which is the next free one or lies behind it.
    ///
    /// A datagram as long as the last one, or shorter, from and to the same place is joined to it, as the kernel does
    /// (UDP_GRO): the neighbours in a stream then lie back to back, whoever received them. Anything else is moved to the
    /// next free buffer. Ranges beyond the buffer are cut.
    pub fn commit_from(&mut self, index: usize, mut received: Received) {
        let next = self.received.len();
        if index < next || index >= self.bytes.len() / RECEIVE_BUFFER {
            return;
        }
        received.end = received.end.min(RECEIVE_BUFFER);
        received.start = received.start.min(received.end);
        received.segment = received.segment.min(received.end - received.start);
        let bytes = index * RECEIVE_BUFFER + received.start..index * RECEIVE_BUFFER + received.end;
        if let Some(last) = self.received.last_mut()
            && last.takes(&received)
        {
            self.bytes.copy_within(bytes, last.buffer * RECEIVE_BUFFER + last.end);
            last.end += received.end - received.start;
            return;
        }
        if index != next {
            self.bytes.copy_within(bytes, next * RECEIVE_BUFFER + received.start);
        }
        received.buffer = next;
        self.received.push(received);
    }

    /// Forgets what came.
    pub fn clear(&mut self) {
        self.received.clear();
    }

    /// What came, in order.
    pub fn received(&self) -> &[Received] {
        &self.received
    }

    /// The bytes of all buffers, and how the `n`th datagram arrived: its start and end count from the first buffer's.
    pub fn datagram(&mut self, n: usize) -> Option<(&mut [u8], Received)> {
        let received = *self.received.get(n)?;
        let first = received.buffer * RECEIVE_BUFFER;
        let placed = Received { start: first + received.start, end: first + received.end, ..received };
        Some((&mut self.bytes, placed))
    }

    /// The bytes of all buffers.
    pub fn bytes(&mut self) -> &mut [u8] {
        &mut self.bytes
    }
}

/// Where datagrams come from: the NAT traversal port and the raw ESP sockets.
pub trait DatagramSource: Send {
    /// Receives into the free buffers of `slab` what is there, waiting for the first as said.
    ///
    /// # Errors
    /// When the sockets are gone. Nothing to receive is no error.
    fn receive(&mut self, slab: &mut ReceiveSlab, wait: Wait) -> io::Result<()>;
}

/// Wakes whoever reads the rings of facts: the IKE thread. Called at most once a batch.
pub trait Wake: Send {
    /// Wakes it. A wake-up that nobody waits for is kept or harmless.
    fn wake(&self);
}

/// For who polls.
impl Wake for () {
    fn wake(&self) {}
}

#[cfg(test)]
mod tests {
    use super::*;

    fn received(start: usize, len: usize, traffic_class: u8) -> Received {
        let address = "192.0.2.1:4500".parse().unwrap();
        let (peer, local, form, end) = (address, address, Encapsulation::Raw, start + len);
        Received { buffer: 0, start, end, segment: len, peer, local, form, traffic_class }
    }

    /// Commits datagrams that came into a buffer each, and returns what lies in each kept buffer: segment and bytes.
    fn kept(datagrams: &[Received]) -> Vec<(usize, Vec<u8>)> {
        let mut slab = ReceiveSlab::new(datagrams.len());
        for (n, (buffer, datagram)) in slab.free_buffers().zip(datagrams).enumerate() {
            buffer[datagram.start..datagram.end].fill(n as u8 + 1);
        }
        for (n, datagram) in datagrams.iter().enumerate() {
            slab.commit_from(n, *datagram);
        }
        (0..slab.received().len())
            .map(|n| {
                let (buffer, received) = slab.datagram(n).unwrap();
                (received.segment, buffer[received.start..received.end].to_vec())
            })
            .collect()
    }

    #[test]
    fn equal_datagrams_and_a_shorter_last_one_are_joined() {
        let lengths = [100, 100, 60, 100].map(|len| received(20, len, 0));
        let joined = [vec![1; 100], vec![2; 100], vec![3; 60]].concat();
        assert_eq!(kept(&lengths), [(100, joined), (100, vec![4; 100])]);
    }

    #[test]
    fn a_longer_datagram_and_another_class_stay_apart() {
        let (short, long, other) = (received(20, 100, 0), received(0, 101, 0), received(20, 100, 1));
        assert_eq!(kept(&[short, long]), [(100, vec![1; 100]), (101, vec![2; 101])]);
        assert_eq!(kept(&[short, other]), [(100, vec![1; 100]), (100, vec![2; 100])]);
    }

    #[test]
    fn what_the_kernel_joined_is_kept_as_it_is() {
        let joined = Received { segment: 50, ..received(0, 120, 0) };
        let single = received(0, 50, 0);
        assert_eq!(kept(&[single, joined]), [(50, vec![1; 50]), (50, vec![2; 120])]);
        assert_eq!(kept(&[joined, single]), [(50, vec![1; 120]), (50, vec![2; 50])], "the last is short");
    }

    #[test]
    fn a_buffer_is_never_overfull() {
        let large = received(20, 30_000, 0);
        let kept = kept(&[large, large, large]);
        assert_eq!(kept.iter().map(|(_, bytes)| bytes.len()).collect::<Vec<_>>(), [60_000, 30_000]);
        assert_eq!(kept[1].1, [3; 30_000]);
    }
}
