//! What the loops need of the world: packets from and to the TUN, datagrams from and to the network.
//!
//! The traits fit devices that hand over one packet a call and devices that hand over super-packets; see `io::device`
//! and `io::udp` for the kernel's, `io::device::memory` for tests.

use super::outer_header::{Encapsulation, OuterPath};
use crate::esp::Overhead;
use std::io;
use std::net::SocketAddr;
use std::ops::Range;
use std::time::Duration;

/// The largest inner packet that a device may hand over.
pub const MAX_PACKET: usize = 65_535;

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
}

/// Where opened packets go: the TUN.
pub trait PacketSink: Send {
    /// Delivers packets that lie in `buffer`, in order. A device that coalesces may join neighbours of one flow.
    /// Returns how many packets the device did not take.
    ///
    /// # Errors
    /// When the device is gone.
    fn deliver(&mut self, buffer: &[u8], packets: &[Range<usize>]) -> io::Result<usize>;
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
    /// Packets that it refused for another reason.
    pub failed: u64,
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

/// Buffers to receive into, all in one slab, and what came into them.
#[derive(Debug)]
pub struct ReceiveSlab {
    bytes: Box<[u8]>,
    received: Vec<Received>,
}

impl ReceiveSlab {
    /// A slab of this many buffers.
    pub fn new(buffers: usize) -> Self {
        Self { bytes: vec![0; buffers * RECEIVE_BUFFER].into(), received: Vec::with_capacity(buffers) }
    }

    /// How many buffers are still free.
    pub fn free(&self) -> usize {
        self.bytes.len() / RECEIVE_BUFFER - self.received.len()
    }

    /// The free buffers, to be filled in order.
    pub fn free_buffers(&mut self) -> std::slice::ChunksExactMut<'_, u8> {
        self.bytes[self.received.len() * RECEIVE_BUFFER..].chunks_exact_mut(RECEIVE_BUFFER)
    }

    /// The index of the first free buffer.
    pub fn next_buffer(&self) -> usize {
        self.received.len()
    }

    /// Keeps what came into the next free buffer. Ranges beyond the buffer are cut.
    pub fn commit(&mut self, mut received: Received) {
        if self.free() == 0 {
            return;
        }
        received.buffer = self.received.len();
        received.end = received.end.min(RECEIVE_BUFFER);
        received.start = received.start.min(received.end);
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

    /// The buffer of the `n`th datagram and how it arrived.
    pub fn datagram(&mut self, n: usize) -> Option<(&mut [u8], Received)> {
        let received = *self.received.get(n)?;
        let start = received.buffer * RECEIVE_BUFFER;
        Some((&mut self.bytes[start..start + RECEIVE_BUFFER], received))
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
