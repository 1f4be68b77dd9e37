//! Devices and networks in memory, with which tests and benchmarks drive the loops: bounded rings of packets whose memory
//! is allocated once.

use crate::dataplane::device::{
    DatagramSink, DatagramSource, FrameRoom, PacketSink, PacketSource, ReceiveSlab, Received, Run, Sent, Wait,
};
use std::collections::VecDeque;
use std::io;
use std::net::SocketAddr;
use std::ops::Range;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

/// A bounded ring of records in memory that is allocated once: writing and reading allocate nothing.
#[derive(Debug)]
pub struct PacketRing<T> {
    bytes: Box<[u8]>,
    slot: usize,
    /// Length and description of the packets in the ring, oldest first.
    packets: VecDeque<(usize, T)>,
    first: usize,
}

impl<T> PacketRing<T> {
    /// Room for this many packets of at most `slot` bytes.
    pub fn new(packets: usize, slot: usize) -> Self {
        Self { bytes: vec![0; packets * slot].into(), slot, packets: VecDeque::with_capacity(packets), first: 0 }
    }

    fn slots(&self) -> usize {
        self.bytes.len() / self.slot
    }

    /// Adds a packet. Says whether there was room.
    pub fn push(&mut self, packet: &[u8], description: T) -> bool {
        if self.packets.len() == self.slots() || packet.len() > self.slot {
            return false;
        }
        let start = (self.first + self.packets.len()) % self.slots() * self.slot;
        self.bytes[start..start + packet.len()].copy_from_slice(packet);
        self.packets.push_back((packet.len(), description));
        true
    }

    /// Takes the oldest packet: `take` sees it in place.
    pub fn pop<R>(&mut self, take: impl FnOnce(&[u8], T) -> R) -> Option<R> {
        let (len, description) = self.packets.pop_front()?;
        let start = self.first * self.slot;
        self.first = (self.first + 1) % self.slots();
        Some(take(&self.bytes[start..start + len], description))
    }

    /// Looks at the oldest packet.
    fn peek(&self) -> Option<(usize, &T)> {
        self.packets.front().map(|(len, description)| (*len, description))
    }

    /// How many packets wait.
    pub fn len(&self) -> usize {
        self.packets.len()
    }

    /// Whether none waits.
    pub fn is_empty(&self) -> bool {
        self.packets.is_empty()
    }
}

/// A ring that both its ends hold.
#[derive(Debug)]
pub struct Shared<T>(Arc<Mutex<PacketRing<T>>>);

impl<T> Clone for Shared<T> {
    fn clone(&self) -> Self {
        Self(Arc::clone(&self.0))
    }
}

impl<T> Shared<T> {
    /// See [`PacketRing::new`].
    pub fn new(packets: usize, slot: usize) -> Self {
        Self(Arc::new(Mutex::new(PacketRing::new(packets, slot))))
    }

    /// The ring.
    pub fn ring(&self) -> MutexGuard<'_, PacketRing<T>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// A TUN in memory: what the kernel would send into the tunnel, and what came out of it.
///
/// A packet carries the number of its super-packet: neighbours of one number are handed over as one frame, as an
/// offloading device does.
#[derive(Debug, Clone)]
pub struct MemoryDevice {
    /// Packets towards the tunnel, each with the number of its frame.
    pub towards_tunnel: Shared<u64>,
    /// Packets out of the tunnel, and answers of the gateway.
    pub from_tunnel: Shared<()>,
}

impl MemoryDevice {
    /// A device that holds this many packets each way.
    pub fn new(packets: usize) -> Self {
        const SLOT: usize = 16 * 1024;
        Self { towards_tunnel: Shared::new(packets, SLOT), from_tunnel: Shared::new(packets, SLOT) }
    }
}

impl PacketSource for MemoryDevice {
    fn receive(&mut self, room: &mut FrameRoom<'_>, _wait: Wait) -> io::Result<bool> {
        let mut ring = self.towards_tunnel.ring();
        let mut frame = None;
        while let Some((len, &number)) = ring.peek() {
            let space = room.space();
            if space.len() < len || frame.is_some_and(|frame| frame != number) {
                break;
            }
            ring.pop(|packet, _| space[..len].copy_from_slice(packet));
            room.commit(len);
            frame = Some(number);
        }
        Ok(frame.is_some())
    }
}

impl PacketSink for MemoryDevice {
    fn deliver(&mut self, buffer: &mut [u8], packets: &[Range<usize>]) -> io::Result<usize> {
        let mut ring = self.from_tunnel.ring();
        Ok(packets.iter().filter(|packet| !ring.push(&buffer[(*packet).clone()], ())).count())
    }
}

/// How a datagram in a memory network travels.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct InFlight {
    /// Source.
    pub source: SocketAddr,
    /// Destination.
    pub destination: SocketAddr,
    /// UDP or raw ESP.
    pub form: crate::dataplane::outer_header::Encapsulation,
    /// The length of each ESP packet but the last.
    pub segment: usize,
    /// TOS or traffic class.
    pub traffic_class: u8,
    /// The DF bit.
    pub dont_fragment: bool,
}

/// One direction of a network in memory. A run arrives joined, as UDP_GRO joins it.
#[derive(Debug, Clone)]
pub struct MemoryLink {
    /// Runs on the way.
    pub in_flight: Shared<InFlight>,
}

impl MemoryLink {
    /// A link that holds this many runs.
    pub fn new(runs: usize) -> Self {
        Self { in_flight: Shared::new(runs, 65_536) }
    }
}

impl DatagramSink for MemoryLink {
    fn send(&mut self, run: &Run<'_>) -> Sent {
        let flight = InFlight {
            source: run.path.local,
            destination: run.path.peer,
            form: run.encapsulation,
            segment: run.segment,
            traffic_class: run.traffic_class,
            dont_fragment: run.dont_fragment,
        };
        let packets = run.packets().len() as u64;
        let taken = self.in_flight.ring().push(run.bytes, flight);
        Sent { failed: if taken { 0 } else { packets }, ..Sent::default() }
    }
}

impl DatagramSource for MemoryLink {
    fn receive(&mut self, slab: &mut ReceiveSlab, _wait: Wait) -> io::Result<()> {
        let mut ring = self.in_flight.ring();
        while let Some(buffer) = slab.free_buffers().next() {
            let taken = ring.pop(|bytes, flight| {
                buffer[..bytes.len()].copy_from_slice(bytes);
                (bytes.len(), flight)
            });
            let Some((end, flight)) = taken else { break };
            slab.commit(Received {
                buffer: 0,
                start: 0,
                end,
                segment: flight.segment,
                peer: flight.source,
                local: flight.destination,
                form: flight.form,
                traffic_class: flight.traffic_class,
            });
        }
        Ok(())
    }
}
