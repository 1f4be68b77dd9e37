//! The outbound loop: from the TUN through policy and SA to the network.

use super::acquire::{Acquire, Acquires};
use super::batch::{RunBuilder, RunKey};
use super::command::OutboundCommand;
use super::device::{DatagramSink, FrameRoom, MAX_PACKET, PacketSink, PacketSource, Sent, Wait, Wake};
use super::drop::{DropCounters, DropReason};
use super::fib::Fib;
use super::fragment::Fragmenter;
use super::mss;
use super::own_link::{has_link_address, is_link_control};
use super::parameters::OutboundConfig;
use super::sadb::{OutboundEntry, OutboundSadb};
use super::too_big::{IPV6_MIN_MTU, TooBig};
use crate::esp::Overhead;
use crate::wire::ip::{Flow, IpHeader, Ports, protocol};
use std::io;
use std::ops::Range;
use std::sync::Arc;
use std::time::{Duration, Instant};

/// Frames that one batch takes at most: what a receiver waits for a batch to be sent is bounded.
const MAX_FRAMES: usize = 64;
/// Packets of one frame: the segments of a super-packet of 64 KiB.
const MAX_FRAME_PACKETS: usize = 128;
/// Room for a batch and for the largest packet at its end.
const SLAB_LEN: usize = 256 * 1024;
/// Room behind it that no frame is read into: what a frame's packets need more when they turn out to be for an SA whose
/// layout takes more than the one that was guessed.
const RELOCATION_ROOM: usize = MAX_FRAME_PACKETS * Overhead::MOST;
/// Room for the fragments of one packet, sealed.
const FRAGMENT_SLAB_LEN: usize = 128 * 1024;
/// Batches that follow one another this fast mean load: then the device is drained before anything is sent.
const BUSY: Duration = Duration::from_micros(50);

/// Whether a loop goes on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Progress {
    /// Call again.
    Continue,
    /// A stop command came.
    Stopped,
}

/// What the outbound loop is connected to.
pub struct OutboundPorts<S, D, T> {
    /// Where packets come from.
    pub source: S,
    /// Where ICMP messages for their senders go: the same device.
    pub replies: D,
    /// Where sealed packets go.
    pub sink: T,
    /// Where commands come from.
    pub commands: rtrb::Consumer<OutboundCommand>,
    /// Where packets without an SA are told.
    pub acquires: Acquires,
    /// Who is woken for rare facts.
    pub wake: Box<dyn Wake>,
    /// Where drops are counted.
    pub drops: Arc<DropCounters>,
}

/// The outbound loop. Owns every outbound SA.
pub struct OutboundLoop<S, D, T> {
    ports: OutboundPorts<S, D, T>,
    path: SealingPath,
    frame: Vec<Range<usize>>,
    slab: Box<[u8]>,
    fib: Arc<Fib>,
    clock: fn() -> Instant,
    /// The last drain found something.
    draining: bool,
    last_batch: Instant,
    woke: Instant,
    flow: Option<(Flow, usize)>,
}

/// The part of the loop that turns inner packets into sealed ones.
struct SealingPath {
    sadb: OutboundSadb,
    run: RunBuilder,
    /// End of the sealed packets in the slab.
    cursor: usize,
    /// How the last SA lays out its packets: the guess for the next.
    overhead: Overhead,
    fragments: Box<[u8]>,
    /// A copy of the packet that is being fragmented.
    fragmented: Vec<u8>,
    too_big: TooBig,
}

impl<S: PacketSource, D: PacketSink, T: DatagramSink> OutboundLoop<S, D, T> {
    /// A loop without SAs and with an empty forwarding table. Everything that it needs is allocated here.
    pub fn new(ports: OutboundPorts<S, D, T>, config: OutboundConfig) -> Self {
        let now = (config.clock)();
        let path = SealingPath {
            sadb: OutboundSadb::default(),
            run: RunBuilder::default(),
            cursor: 0,
            overhead: Overhead::new(8, 4, 16),
            fragments: vec![0; FRAGMENT_SLAB_LEN].into(),
            fragmented: Vec::with_capacity(MAX_PACKET),
            too_big: TooBig::new(config.own_addresses, config.too_big_per_second),
        };
        Self {
            ports,
            path,
            frame: Vec::with_capacity(MAX_FRAME_PACKETS),
            slab: vec![0; SLAB_LEN + RELOCATION_ROOM].into(),
            fib: Arc::new(Fib::default()),
            clock: config.clock,
            draining: false,
            last_batch: now,
            woke: now,
            flow: None,
        }
    }

    /// Handles one batch: waits for a first frame as said, obeys what commands came, and sends everything that it read.
    ///
    /// # Errors
    /// When the device is gone.
    pub fn run_once(&mut self, wait: Wait) -> io::Result<Progress> {
        self.path.cursor = 0;
        let mut received = self.receive(wait)?;
        let now = (self.clock)();
        self.woke = now;
        let mut progress = self.obey();
        let drain = self.draining || now.saturating_duration_since(self.last_batch) < BUSY;
        self.draining = false;
        if received {
            self.last_batch = now;
        }
        for frame in 1..=MAX_FRAMES {
            if !received {
                break;
            }
            self.handle_frame(now);
            // What is read has to be handled: the last frame of a full batch is not followed by a read.
            let drain = drain || self.holds_frames();
            if !drain || frame == MAX_FRAMES || !self.has_room() {
                break;
            }
            received = self.receive(Wait::No)?;
            self.draining |= received;
            if self.obey() == Progress::Stopped {
                progress = Progress::Stopped;
            }
        }
        let sent = self.path.run.flush(&self.slab, &mut self.ports.sink);
        count_sent(&self.ports.drops, sent);
        if self.path.sadb.publish(now) {
            self.ports.wake.wake();
        }
        Ok(progress)
    }

    /// Whether an SA came or went since the last call: then the thread's stack and registers may hold keys.
    pub fn took_keys(&mut self) -> bool {
        self.path.sadb.took_keys()
    }

    /// Whether frames wait that were read out of the device: it tells nobody of them, so the next batch must not be waited
    /// for.
    pub fn holds_frames(&self) -> bool {
        self.ports.source.holds_frames()
    }

    /// When the last batch had done waiting.
    pub fn woke_at(&self) -> Instant {
        self.woke
    }

    fn has_room(&self) -> bool {
        SLAB_LEN.saturating_sub(self.path.cursor) > MAX_PACKET + self.path.overhead.sealed_len(0) + 512
    }

    fn receive(&mut self, wait: Wait) -> io::Result<bool> {
        let mut room =
            FrameRoom::new(&mut self.slab[..SLAB_LEN], self.path.cursor, self.path.overhead, &mut self.frame);
        self.ports.source.receive(&mut room, wait)
    }

    /// Obeys what waits in the command ring now: all that was queued before the frame at hand came, and no more, so that
    /// whoever queues commands all the time does not hold up packets.
    fn obey(&mut self) -> Progress {
        let mut progress = Progress::Continue;
        for _ in 0..self.ports.commands.slots() {
            let Ok(command) = self.ports.commands.pop() else { break };
            self.flow = None;
            let sadb = &mut self.path.sadb;
            match command {
                OutboundCommand::Install(parameters) => {
                    let facts = Arc::clone(&parameters.facts);
                    if let Err(error) = sadb.install(*parameters) {
                        facts.record_install_error(error);
                        self.ports.wake.wake();
                    }
                }
                OutboundCommand::Remove { inbound_spi } => sadb.remove(inbound_spi),
                OutboundCommand::SetPath { inbound_spi, path, encapsulation } => {
                    sadb.set_path(inbound_spi, path, encapsulation);
                }
                OutboundCommand::SetSilent { inbound_spi, silent } => sadb.set_silent(inbound_spi, silent),
                OutboundCommand::SetPathMtu { peer, mtu } => sadb.set_path_mtu(peer, mtu),
                OutboundCommand::SetFib(fib) => self.fib = fib,
                OutboundCommand::Stop => progress = Progress::Stopped,
            }
        }
        progress
    }

    /// One frame is one flow: one lookup, one SA.
    fn handle_frame(&mut self, now: Instant) {
        let count = self.frame.len() as u64;
        let Some(first) = self.frame.first().cloned() else {
            return self.ports.drops.add(DropReason::MalformedInner, 1);
        };
        let Ok(header) = IpHeader::parse(&self.slab[first]) else {
            self.ports.drops.add(DropReason::MalformedInner, count);
            return;
        };
        match self.select(&header.flow, now) {
            Ok(place) => {
                // No packet of a frame is larger than its first.
                let largest = header.total_len;
                let left_out = self.path.relocate(&mut self.slab, &mut self.frame, place);
                if left_out > 0 {
                    self.ports.drops.add(DropReason::NoRoom, left_out);
                    self.path.sadb.dropped(place, left_out);
                }
                for packet in self.frame.drain(..) {
                    self.path.seal(&mut self.slab, packet, place, now, &mut self.ports);
                }
                self.path.sadb.touch(place, largest);
            }
            Err(reason) => self.ports.drops.add(reason, count),
        }
    }

    /// The place of the SA that carries a flow. The route names the connections, the first of them that is up carries it,
    /// and its selectors pick the SA: what they do not cover is dropped, never sent in clear.
    fn select(&mut self, flow: &Flow, now: Instant) -> Result<usize, DropReason> {
        if let Some((last, place)) = self.flow
            && last == *flow
        {
            return Ok(place);
        }
        if is_link_control(flow) {
            return Err(DropReason::OwnLink);
        }
        let sadb = &self.path.sadb;
        let connections = self.fib.connections(flow.source, flow.destination);
        let Some(&preferred) = connections.first() else {
            return Err(if has_link_address(flow) { DropReason::OwnLink } else { DropReason::NoRoute });
        };
        let up = connections.iter().copied().find(|connection| sadb.is_up(*connection));
        let connection = up.unwrap_or(preferred);
        if let Some(place) = sadb.select(connection, flow) {
            self.flow = Some((*flow, place));
            return Ok(place);
        }
        if self.ports.acquires.raise(Acquire { connection, flow: *flow }, now) {
            self.ports.wake.wake();
        }
        Err(if up.is_some() { DropReason::NoMatchingSelector } else { DropReason::NoSa })
    }
}

fn count_sent(drops: &DropCounters, sent: Sent) {
    if sent != Sent::default() {
        drops.add(DropReason::OuterTooBig, sent.too_big);
        drops.add(sent.why.drop_reason(), sent.failed);
    }
}

/// What becomes of an inner packet by its size.
enum Fit {
    /// It is sealed as it is; the outer packet may be fragmented only if DF is false.
    Whole { dont_fragment: bool },
    /// It is fragmented first.
    Fragments,
    /// Its sender has to send smaller ones.
    TooBig,
    /// It cannot be sent, and there is nothing to tell its sender.
    Never,
}

impl OutboundEntry {
    fn fit(&self, header: &IpHeader) -> Fit {
        if header.total_len <= self.inner_mtu {
            // Over IPv6 nobody fragments what fits.
            Fit::Whole { dont_fragment: self.df.outer(header.dont_fragment) || self.tunnel.path.peer.is_ipv6() }
        } else if !header.is_ipv4() && header.total_len <= IPV6_MIN_MTU {
            // A tunnel has to carry what every IPv6 link carries; it does so in outer fragments (RFC 2473 section 7.1).
            Fit::Whole { dont_fragment: false }
        } else if header.dont_fragment {
            Fit::TooBig
        } else if self.selectors.covers_outbound(&Flow { ports: Ports::Opaque, ..header.flow }) {
            Fit::Fragments
        } else if header.total_len <= self.tunnel.fragmented_inner_mtu(self.sa.overhead()) {
            // Later fragments show no ports, so the peer would take none of them from this SA (RFC 4301 section 7). It gets
            // the packet whole, and the outer packet in fragments.
            Fit::Whole { dont_fragment: false }
        } else {
            Fit::Never
        }
    }

    fn run_key(&self, header: &IpHeader, dont_fragment: bool) -> RunKey {
        RunKey {
            path: self.tunnel.path,
            encapsulation: self.tunnel.encapsulation,
            traffic_class: header.traffic_class,
            dont_fragment,
        }
    }
}

impl SealingPath {
    /// Moves a frame's packets to where the SA's layout wants them, if the guess was wrong. Returns how many found no room,
    /// which there is for all that a device may hand over.
    fn relocate(&mut self, slab: &mut [u8], frame: &mut Vec<Range<usize>>, place: usize) -> u64 {
        let wanted = self.sadb.entry(place).sa.overhead();
        if wanted == self.overhead {
            return 0;
        }
        let count = frame.len();
        let mut end = self.cursor;
        let mut fits = |packet: &&Range<usize>| {
            let whole = end + wanted.header_len() + packet.len() + wanted.trailer_max() <= slab.len();
            end += wanted.sealed_len(packet.len());
            whole
        };
        frame.truncate(frame.iter().take_while(&mut fits).count());
        let place_of = |overhead: Overhead, n: usize, frame: &[Range<usize>]| {
            frame[..n].iter().map(|packet| overhead.sealed_len(packet.len())).sum::<usize>() + overhead.header_len()
        };
        // From the end when packets move right, from the start when they move left: none is overwritten unmoved.
        let grows = (1..=frame.len()).any(|n| place_of(wanted, n, frame) > place_of(self.overhead, n, frame));
        for step in 0..frame.len() {
            let n = if grows { frame.len() - 1 - step } else { step };
            let (start, len) = (self.cursor + place_of(wanted, n, frame), frame[n].len());
            slab.copy_within(frame[n].clone(), start);
            frame[n] = start..start + len;
        }
        self.overhead = wanted;
        (count - frame.len()) as u64
    }

    /// Seals one packet in place, or fragments it, or answers that it is too big.
    fn seal<S, D: PacketSink, T: DatagramSink>(
        &mut self,
        slab: &mut [u8],
        packet: Range<usize>,
        place: usize,
        now: Instant,
        ports: &mut OutboundPorts<S, D, T>,
    ) {
        let Ok(header) = IpHeader::parse(&slab[packet.clone()]) else {
            self.drop_on(place, DropReason::MalformedInner, ports);
            return;
        };
        let packet = packet.start..packet.start + header.total_len;
        let entry = self.sadb.entry(place);
        mss::clamp(&mut slab[packet.clone()], &header, entry.inner_mtu);
        let dont_fragment = match entry.fit(&header) {
            Fit::Whole { dont_fragment } => dont_fragment,
            Fit::Fragments => return self.seal_fragments(slab, packet, header, place, ports),
            Fit::Never => return self.drop_on(place, DropReason::CannotFragment, ports),
            Fit::TooBig => {
                let (inner, tunnel) = (&slab[packet], &entry.tunnel);
                if let Some(message) = self.too_big.message(inner, &header, entry.inner_mtu, tunnel, now) {
                    let whole = 0..message.len();
                    // A device that does not take it has counted the loss of an advice, not of a packet.
                    let _ = ports.replies.deliver(message, std::slice::from_ref(&whole));
                }
                self.drop_on(place, DropReason::TooBig, ports);
                return;
            }
        };
        let start = packet.start - self.overhead.header_len();
        match entry.sa.seal(&mut slab[start..], header.total_len, next_header(&header)) {
            Ok(sealed) => {
                let key = entry.run_key(&header, dont_fragment);
                let sent = self.run.push(slab, start..start + sealed, key, &mut ports.sink);
                count_sent(&ports.drops, sent);
                self.cursor = start + sealed;
            }
            Err(_) => self.drop_on(place, DropReason::SaExhausted, ports),
        }
    }

    /// A packet is dropped on an SA.
    fn drop_on<S, D, T>(&mut self, place: usize, reason: DropReason, ports: &OutboundPorts<S, D, T>) {
        ports.drops.add(reason, 1);
        self.sadb.dropped(place, 1);
    }

    /// Seals the fragments of a packet in a slab of their own, after all that came before was sent.
    fn seal_fragments<S, D, T: DatagramSink>(
        &mut self,
        slab: &[u8],
        packet: Range<usize>,
        header: IpHeader,
        place: usize,
        ports: &mut OutboundPorts<S, D, T>,
    ) {
        count_sent(&ports.drops, self.run.flush(slab, &mut ports.sink));
        self.fragmented.clear();
        self.fragmented.extend_from_slice(&slab[packet]);
        let entry = self.sadb.entry(place);
        let Some(mut fragmenter) = Fragmenter::new(&self.fragmented, header.transport, entry.inner_mtu) else {
            self.drop_on(place, DropReason::CannotFragment, ports);
            return;
        };
        // What was fragmented fits; over IPv6 it would be fragmented once more without DF.
        let key = entry.run_key(&header, entry.df.outer(false) || entry.tunnel.path.peer.is_ipv6());
        let mut cursor = 0;
        while let Some(len) = fragmenter.next_len() {
            if cursor + self.overhead.sealed_len(len) > self.fragments.len() {
                count_sent(&ports.drops, self.run.flush(&self.fragments, &mut ports.sink));
                cursor = 0;
            }
            let room = &mut self.fragments[cursor..];
            fragmenter.write_next(&mut room[self.overhead.header_len()..][..len]);
            let Ok(sealed) = entry.sa.seal(room, len, protocol::IPV4) else {
                self.drop_on(place, DropReason::SaExhausted, ports);
                break;
            };
            let sent = self.run.push(&self.fragments, cursor..cursor + sealed, key, &mut ports.sink);
            count_sent(&ports.drops, sent);
            cursor += sealed;
        }
        count_sent(&ports.drops, self.run.flush(&self.fragments, &mut ports.sink));
    }
}

fn next_header(header: &IpHeader) -> u8 {
    if header.is_ipv4() { protocol::IPV4 } else { protocol::IPV6 }
}
