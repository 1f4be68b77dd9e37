//! What waits in front of the outbound loop: read out of the TUN ahead of its turn, so that it waits in queues of its flow's
//! own ([`FairQueue`]) and not behind whoever sends most.
//!
//! The kernel's queue of a TUN counts places, not bytes, has no fairness, and takes packets out of their sender's account,
//! so that no sender feels it. It is therefore kept empty. As long as little comes at a time, frames go straight on: the
//! device is read ahead only after every [`LOOK_BYTES`] or [`LOOK_FRAMES`].

use super::codel::CODEL;
use super::device::{FrameRoom, FrameSource, PacketSource, Wait};
use super::drop::{DropCounters, DropReason};
use super::fair_queue::{FairQueue, Next, QueueId};
use super::frame::{self, Unpacker};
use super::frame_pool::{FramePool, Kind, Place};
use crate::wire::ip::{FragmentPart, IpHeader, Ports};
use std::hash::{BuildHasher, RandomState};
use std::io;
use std::sync::Arc;
use std::time::Instant;

/// What may be handed over before the device is looked into again, so that a sparse packet waits for one super-packet at
/// most.
const LOOK_BYTES: usize = 32 * 1024;
const LOOK_FRAMES: usize = 32;
/// Frames that are read ahead at a time. No more than twice what is handed over meanwhile: whoever sends more packets than
/// can be sealed leaves them in the kernel, which drops them for less than it costs to read them.
const READ_AHEAD: usize = 64;

/// A [`PacketSource`] that reads a device ahead and gives every flow its turn.
pub struct FairSource<S> {
    source: S,
    pool: FramePool,
    queue: FairQueue,
    /// Seeds differ from start to start, so that nobody can choose flows that share a queue (RFC 8290 section 7).
    hash: RandomState,
    /// The large place that is read into. It is not in the queue.
    landing: Place,
    unpacker: Unpacker,
    /// The frame that is being handed over, and its bytes.
    open: (Place, usize),
    /// Handed over since the device was looked into.
    bytes: usize,
    frames: usize,
    /// When that was.
    looked: Instant,
    clock: fn() -> Instant,
    drops: Arc<DropCounters>,
}

impl<S> std::fmt::Debug for FairSource<S> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("FairSource").finish_non_exhaustive()
    }
}

impl<S: FrameSource> FairSource<S> {
    /// Allocates all that it needs. `clock` is `Instant::now` outside tests. Drops are counted in `drops`, whose only writer
    /// is whoever drives the source.
    pub fn new(source: S, drops: Arc<DropCounters>, clock: fn() -> Instant) -> Self {
        let ((pool, landing), now) = (FramePool::with_landing(), clock());
        Self {
            source,
            pool,
            queue: FairQueue::new(CODEL, now),
            hash: RandomState::new(),
            landing,
            unpacker: Unpacker::default(),
            open: (landing, 0),
            bytes: 0,
            frames: 0,
            looked: now,
            clock,
            drops,
        }
    }

    /// Reads what waits in the device into the queue, up to a limit. Waits for a first frame only if none is in the queue.
    fn look(&mut self, wait: Wait) -> io::Result<()> {
        (self.bytes, self.frames) = (0, 0);
        let wait = if self.queue.is_empty() { wait } else { Wait::No };
        let mut read = self.source.read(self.pool.bytes(self.landing), wait)?;
        self.looked = (self.clock)();
        for _ in 1..READ_AHEAD {
            let Some(len) = read else { return Ok(()) };
            self.enqueue(len);
            read = self.source.read(self.pool.bytes(self.landing), Wait::No)?;
        }
        if let Some(len) = read {
            self.enqueue(len);
        }
        Ok(())
    }

    /// Puts what was read into the queue of its flow. If there is no place left, the flow that holds most makes one free.
    fn enqueue(&mut self, len: usize) {
        let (kind, id) = (Kind::for_len(len), self.queue_of(len));
        let Some(place) = self.free_place(kind) else { return self.drops.add(DropReason::QueueFull, 1) };
        if kind == Kind::Large {
            self.queue.push(std::mem::replace(&mut self.landing, place), len, id, self.looked);
        } else {
            self.pool.copy(self.landing, place, len);
            self.queue.push(place, len, id, self.looked);
        }
    }

    /// The queue of the frame that was read. All fragments of a packet have one, whether they show ports or not.
    fn queue_of(&mut self, len: usize) -> QueueId {
        let Ok(mut header) = IpHeader::parse(frame::packet(&self.pool.bytes(self.landing)[..len])) else {
            return QueueId::of_hash(0);
        };
        if header.part != FragmentPart::Whole {
            header.flow.ports = Ports::Opaque;
        }
        QueueId::of_hash(self.hash.hash_one(header.flow))
    }

    fn free_place(&mut self, kind: Kind) -> Option<Place> {
        loop {
            if let Some(place) = self.pool.take(kind) {
                return Some(place);
            }
            let (shed, len) = self.queue.shed(kind)?;
            self.drops.add(DropReason::QueueFull, frame::packets(&self.pool.bytes(shed)[..len]));
            self.pool.give_back(shed);
        }
    }

    /// Hands over the frame whose turn it is. Says whether there was one.
    fn next(&mut self, room: &mut FrameRoom<'_>) -> bool {
        while let Some(Next { place, len, congested }) = self.queue.pop(self.looked) {
            if self.open(place, len, congested, room) {
                return true;
            }
        }
        false
    }

    /// Hands over a frame, but for what its sender is to lose. Says whether that leaves anything.
    fn open(&mut self, place: Place, len: usize, congested: bool, room: &mut FrameRoom<'_>) -> bool {
        self.bytes += len;
        self.frames += 1;
        let frame = &mut self.pool.bytes(place)[..len];
        let marked = congested && frame::mark(frame);
        if congested {
            let (reason, packets) =
                if marked { (DropReason::Marked, frame::packets(frame)) } else { (DropReason::QueueStands, 1) };
            self.drops.add(reason, packets);
        }
        // What contradicts itself is handed over as an empty frame: the loop counts it.
        let any = self.unpacker.unpack(frame, congested && !marked, room).unwrap_or(true);
        self.open = (place, len);
        self.close();
        any
    }

    /// The place of a frame that was handed over whole is free again.
    fn close(&mut self) {
        let (place, _) = self.open;
        if !self.unpacker.has_rest() && place != self.landing {
            self.pool.give_back(place);
        }
    }
}

impl<S: FrameSource> PacketSource for FairSource<S> {
    fn receive(&mut self, room: &mut FrameRoom<'_>, wait: Wait) -> io::Result<bool> {
        if self.unpacker.has_rest() {
            let (place, len) = self.open;
            self.unpacker.hand_over(&self.pool.bytes(place)[..len], room);
            self.close();
            return Ok(true);
        }
        let due = self.bytes >= LOOK_BYTES || self.frames >= LOOK_FRAMES;
        if due {
            self.look(wait)?;
        } else if self.queue.is_empty() {
            // Nobody waits, so nobody can be passed.
            let Some(len) = self.source.read(self.pool.bytes(self.landing), wait)? else {
                (self.bytes, self.frames) = (0, 0);
                return Ok(false);
            };
            return Ok(self.open(self.landing, len, false, room));
        }
        Ok(self.next(room))
    }

    fn holds_frames(&self) -> bool {
        self.unpacker.has_rest() || !self.queue.is_empty()
    }
}

#[cfg(test)]
mod tests;
