//! FQ-CoDel (RFC 8290): frames wait in a queue for each flow, the flows take turns, and CoDel looks whether a flow's queue
//! stands.
//!
//! ```text
//!  push ─► flow's queue ─┬─ new flows ─┐
//!                        └─ old flows ─┴─► pop: new before old; who has used up its quantum goes to the end of the old
//! ```
//!
//! A flow that sends less than its share finds its queue empty, comes as a new one and passes all that wait. Frames are
//! places of a [`FramePool`](super::frame_pool::FramePool) here: the queue links them and looks at no byte.

use super::codel::{Codel, CodelParameters};
use super::frame_pool::{KINDS, Kind, PLACES, Place};
use std::time::Instant;

/// Queues that flows are spread over (RFC 8290 section 4.1.2).
const QUEUES: usize = 1024;
/// Bytes that a flow may send before it is the next one's turn. More than RFC 8290's 1514, because a bulk flow's frames are
/// super-packets of up to 64 KiB: who sends less than a quarter of one in a turn is sparse beside it.
const QUANTUM: i32 = 16 * 1024;

/// The queue that a flow has.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct QueueId(u16);

impl QueueId {
    /// That of a flow with this hash, all of whose bits are alike.
    pub fn of_hash(hash: u64) -> Self {
        Self((hash % QUEUES as u64) as u16)
    }
}

/// A frame whose turn it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Next {
    /// Where it lies.
    pub place: Place,
    /// Its bytes, as told when it came.
    pub len: usize,
    /// The flow's queue stands: its sender is to be told, by a mark or by a loss.
    pub congested: bool,
}

/// The queues of all flows. Allocates nothing after its construction.
#[derive(Debug)]
pub struct FairQueue {
    parameters: CodelParameters,
    /// By place.
    frames: Box<[Waiting]>,
    queues: Box<[Queue]>,
    /// How many places of each kind a queue holds: what is looked through when one kind has run out.
    held: [Box<[u16]>; KINDS],
    new: Turns,
    old: Turns,
    len: usize,
}

#[derive(Debug, Clone, Copy)]
struct Waiting {
    since: Instant,
    len: u32,
    next: Option<Place>,
}

/// One flow, or the few whose hashes are alike.
#[derive(Debug, Clone, Copy, Default)]
struct Queue {
    first: Option<Place>,
    last: Option<Place>,
    bytes: usize,
    /// What it may still send in this turn; what it sent too much is taken from the next.
    deficit: i32,
    /// It is among the new or the old flows.
    listed: bool,
    next: Option<QueueId>,
    codel: Codel,
}

/// Queues in the order of their turns.
#[derive(Debug, Clone, Copy, Default)]
struct Turns {
    first: Option<QueueId>,
    last: Option<QueueId>,
}

impl Turns {
    fn push(&mut self, id: QueueId, queues: &mut [Queue]) {
        queues[usize::from(id.0)].next = None;
        match self.last.replace(id) {
            Some(last) => queues[usize::from(last.0)].next = Some(id),
            None => self.first = Some(id),
        }
    }

    fn pop(&mut self, queues: &[Queue]) -> Option<QueueId> {
        let first = self.first?;
        self.first = queues[usize::from(first.0)].next;
        if self.first.is_none() {
            self.last = None;
        }
        Some(first)
    }
}

impl FairQueue {
    /// An empty queue for the places of one pool.
    pub fn new(parameters: CodelParameters, now: Instant) -> Self {
        Self {
            parameters,
            frames: vec![Waiting { since: now, len: 0, next: None }; PLACES].into(),
            queues: vec![Queue::default(); QUEUES].into(),
            held: std::array::from_fn(|_| vec![0; QUEUES].into()),
            new: Turns::default(),
            old: Turns::default(),
            len: 0,
        }
    }

    /// Whether no frame waits.
    pub fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// Puts a frame of `len` bytes behind those of its flow. The place must not be in the queue already.
    pub fn push(&mut self, place: Place, len: usize, id: QueueId, now: Instant) {
        self.frames[place.index()] = Waiting { since: now, len: len as u32, next: None };
        let queue = &mut self.queues[usize::from(id.0)];
        match queue.last.replace(place) {
            Some(last) => self.frames[last.index()].next = Some(place),
            None => queue.first = Some(place),
        }
        queue.bytes += len;
        self.held[place.kind() as usize][usize::from(id.0)] += 1;
        self.len += 1;
        if !queue.listed {
            queue.listed = true;
            queue.deficit = QUANTUM;
            self.new.push(id, &mut self.queues);
        }
    }

    /// Takes the frame whose turn it is.
    pub fn pop(&mut self, now: Instant) -> Option<Next> {
        if self.len == 0 {
            return None;
        }
        loop {
            let is_new = self.new.first.is_some();
            let id = if is_new { self.new.first } else { self.old.first }?;
            let in_debt = self.queues[usize::from(id.0)].deficit <= 0;
            if !in_debt && let Some((place, frame)) = self.unlink(id) {
                let queue = &mut self.queues[usize::from(id.0)];
                queue.deficit -= frame.len as i32;
                let congested = queue.codel.signals(frame.since, queue.bytes, now, &self.parameters);
                return Some(Next { place, len: frame.len as usize, congested });
            }
            // Its turn is over. A new one with nothing left waits among the old ones once: were it new again with its next
            // frame, no old one might ever have its turn (RFC 8290 section 4.2). Who is in debt stays until it is paid.
            let turns = if is_new { &mut self.new } else { &mut self.old };
            turns.pop(&self.queues);
            let queue = &mut self.queues[usize::from(id.0)];
            queue.deficit += if in_debt { QUANTUM } else { 0 };
            queue.listed = in_debt || (is_new && self.old.first.is_some());
            if queue.listed {
                self.old.push(id, &mut self.queues);
            }
        }
    }

    /// Takes the oldest frame of the flow that holds most places of a kind, which is not always of that kind. `None` if no
    /// flow holds any.
    pub fn shed(&mut self, kind: Kind) -> Option<(Place, usize)> {
        let held = self.held[kind as usize].iter().enumerate();
        let (fattest, _) = held.max_by_key(|(_, held)| **held).filter(|(_, held)| **held > 0)?;
        let (place, frame) = self.unlink(QueueId(fattest as u16))?;
        Some((place, frame.len as usize))
    }

    /// Takes the oldest frame out of a queue.
    fn unlink(&mut self, id: QueueId) -> Option<(Place, Waiting)> {
        let queue = &mut self.queues[usize::from(id.0)];
        let place = queue.first?;
        let frame = self.frames[place.index()];
        queue.first = frame.next;
        if frame.next.is_none() {
            queue.last = None;
        }
        queue.bytes -= frame.len as usize;
        self.held[place.kind() as usize][usize::from(id.0)] -= 1;
        self.len -= 1;
        Some((place, frame))
    }
}

#[cfg(test)]
mod tests;
