//! The inbound loop: from the network through SA and selectors to the TUN.

use super::command::InboundCommand;
use super::device::{DatagramSource, MAX_DELIVERY, PacketSink, RECEIVE_BUFFER, ReceiveSlab, Received, Wait, Wake};
use super::drop::{DropCounters, DropReason};
use super::ike_queue::{IkeQueueWriter, QueueFull};
use super::mss;
use super::outbound::Progress;
use super::outer_header::{Ecn, Encapsulation, OuterPath};
use super::sadb::InboundSadb;
use crate::esp::OpenError;
use crate::esp::replay::Replayed;
use crate::wire::esp::EspHeader;
use crate::wire::ip::{self, IpHeader, protocol};
use crate::wire::natt::{self, NON_ESP_MARKER};
use std::io;
use std::ops::Range;
use std::sync::Arc;
use std::time::Instant;

/// Buffers that one batch receives into.
const BUFFERS: usize = 16;

/// What the inbound loop is connected to.
pub struct InboundPorts<S, D> {
    /// Where datagrams come from.
    pub source: S,
    /// Where opened packets go.
    pub sink: D,
    /// Where commands come from.
    pub commands: rtrb::Consumer<InboundCommand>,
    /// Where IKE datagrams go.
    pub ike: IkeQueueWriter,
    /// Who is woken for IKE datagrams and rare facts.
    pub wake: Box<dyn Wake>,
    /// Where drops are counted.
    pub drops: Arc<DropCounters>,
}

/// The inbound loop. Owns every inbound SA.
pub struct InboundLoop<S, D> {
    ports: InboundPorts<S, D>,
    path: OpeningPath,
    slab: ReceiveSlab,
    clock: fn() -> Instant,
    woke: Instant,
}

/// The part of the loop that turns datagrams into inner packets.
struct OpeningPath {
    sadb: InboundSadb,
    /// Opened packets of the batch that are not delivered yet.
    opened: Vec<Range<usize>>,
    ike_waits: bool,
}

impl<S: DatagramSource, D: PacketSink> InboundLoop<S, D> {
    /// A loop without SAs. Everything that it needs is allocated here. `clock` is `Instant::now` outside tests.
    pub fn new(ports: InboundPorts<S, D>, clock: fn() -> Instant) -> Self {
        let path =
            OpeningPath { sadb: InboundSadb::default(), opened: Vec::with_capacity(MAX_DELIVERY), ike_waits: false };
        Self { ports, path, slab: ReceiveSlab::new(BUFFERS), clock, woke: clock() }
    }

    /// Whether an SA came or went since the last call: then the thread's stack and registers may hold keys.
    pub fn took_keys(&mut self) -> bool {
        self.path.sadb.took_keys()
    }

    /// When the last batch had done waiting.
    pub fn woke_at(&self) -> Instant {
        self.woke
    }

    /// Handles one batch: waits for a first datagram as said, obeys what commands came, and delivers everything that it
    /// received.
    ///
    /// # Errors
    /// When the sockets or the device are gone.
    pub fn run_once(&mut self, wait: Wait) -> io::Result<Progress> {
        self.slab.clear();
        self.ports.source.receive(&mut self.slab, wait)?;
        let now = (self.clock)();
        self.woke = now;
        let progress = self.obey();
        let unreachable = self.slab.take_unreachable();
        if unreachable > 0 {
            self.ports.drops.add(DropReason::IcmpUnreachable, unreachable);
        }
        for n in 0..self.slab.received().len() {
            let Some((bytes, received)) = self.slab.datagram(n) else { break };
            self.path.handle_buffer(bytes, &received, &mut self.ports)?;
        }
        self.path.deliver(self.slab.bytes(), &mut self.ports)?;
        let wake = self.path.sadb.publish(now);
        if std::mem::take(&mut self.path.ike_waits) || wake {
            self.ports.wake.wake();
        }
        Ok(progress)
    }

    /// Obeys what waits in the command ring now: all that was queued before the batch at hand came, and no more, so that
    /// whoever queues commands all the time does not hold up packets.
    fn obey(&mut self) -> Progress {
        let mut progress = Progress::Continue;
        for _ in 0..self.ports.commands.slots() {
            let Ok(command) = self.ports.commands.pop() else { break };
            let sadb = &mut self.path.sadb;
            match command {
                InboundCommand::Install(parameters) => {
                    let facts = Arc::clone(&parameters.facts);
                    if let Err(error) = sadb.install(*parameters) {
                        facts.record_install_error(error);
                        self.ports.wake.wake();
                    }
                }
                InboundCommand::Remove { spi } => sadb.remove(spi),
                InboundCommand::SetPath { spi, path, encapsulation } => sadb.set_path(spi, path, encapsulation),
                InboundCommand::SetPathMtu { peer, mtu } => sadb.set_path_mtu(peer, mtu),
                InboundCommand::Stop => progress = Progress::Stopped,
            }
        }
        progress
    }
}

impl OpeningPath {
    /// Walks a buffer by segment: the kernel joins datagrams of one sender whatever their SPI, and IKE among them.
    /// `bytes` are those of all buffers.
    fn handle_buffer<S, D: PacketSink>(
        &mut self,
        bytes: &mut [u8],
        received: &Received,
        ports: &mut InboundPorts<S, D>,
    ) -> io::Result<()> {
        let segment = received.segment.clamp(1, RECEIVE_BUFFER);
        let mut start = received.start;
        while start < received.end {
            let end = received.end.min(start + segment);
            if let Err(reason) = self.handle_datagram(bytes, start..end, received, ports) {
                ports.drops.add(reason, 1);
            }
            if self.opened.len() == MAX_DELIVERY {
                self.deliver(bytes, ports)?;
            }
            start = end;
        }
        Ok(())
    }

    fn deliver<S, D: PacketSink>(&mut self, buffer: &mut [u8], ports: &mut InboundPorts<S, D>) -> io::Result<()> {
        if self.opened.is_empty() {
            return Ok(());
        }
        let refused = ports.sink.deliver(buffer, &self.opened)?;
        self.opened.clear();
        if refused > 0 {
            ports.drops.add(DropReason::DeviceFull, refused as u64);
        }
        Ok(())
    }

    fn handle_datagram<S, D>(
        &mut self,
        buffer: &mut [u8],
        range: Range<usize>,
        received: &Received,
        ports: &mut InboundPorts<S, D>,
    ) -> Result<(), DropReason> {
        let datagram = buffer.get(range.clone()).unwrap_or_default();
        let kind = match received.form {
            Encapsulation::Udp => natt::classify(datagram),
            Encapsulation::Raw => natt::Kind::Esp,
        };
        match kind {
            natt::Kind::Esp => self.open(buffer, range, received),
            natt::Kind::Keepalive => Err(DropReason::Keepalive),
            natt::Kind::Malformed => Err(DropReason::MalformedDatagram),
            natt::Kind::Ike => {
                let path = OuterPath { local: received.local, peer: received.peer };
                self.ike_waits = true;
                let ike = datagram.get(NON_ESP_MARKER.len()..).unwrap_or_default();
                ports.ike.push(path, ike).map_err(|full| match full {
                    QueueFull::Initial => DropReason::IkeInitialQueueFull,
                    QueueFull::Established => DropReason::IkeQueueFull,
                    QueueFull::TooLarge => DropReason::IkeTooLarge,
                })
            }
        }
    }

    /// Opens one ESP packet and holds what came out against the SA's selectors (RFC 4301 section 5.2).
    fn open(&mut self, buffer: &mut [u8], range: Range<usize>, received: &Received) -> Result<(), DropReason> {
        let esp = buffer.get_mut(range.clone()).unwrap_or_default();
        let header = EspHeader::parse(esp).ok_or(DropReason::MalformedEsp)?;
        let place = self.sadb.find(header.spi).ok_or(DropReason::UnknownSpi)?;
        let entry = self.sadb.entry(place);
        let outcome = match entry.sa.open(esp) {
            Ok(opened) => {
                let start = range.start + entry.sa.overhead().header_len();
                let checked = check(opened.packet, opened.next_header, entry, received.traffic_class);
                checked.map(|len| (start..start + len, opened.newest))
            }
            Err(error) => {
                if matches!(error, OpenError::Exhausted | OpenError::Dummy | OpenError::BadPadding) {
                    self.sadb.touch(place, false, received.peer);
                }
                let reason = drop_reason(error);
                if reason.is_loss() {
                    self.sadb.dropped(place);
                }
                return Err(reason);
            }
        };
        // The packet was authentic, whatever its content: the peer lives, and there.
        let newest = outcome.as_ref().is_ok_and(|(_, newest)| *newest);
        self.sadb.touch(place, newest, received.peer);
        let (packet, _) = outcome.inspect_err(|_| self.sadb.dropped(place))?;
        self.opened.push(packet);
        Ok(())
    }
}

/// Checks and completes an opened packet: version, selectors, ECN, MSS. Returns its length without TFC padding.
fn check(
    packet: &mut [u8],
    next_header: u8,
    entry: &super::sadb::InboundEntry,
    outer_traffic_class: u8,
) -> Result<usize, DropReason> {
    let ipv4 = match next_header {
        protocol::IPV4 => true,
        protocol::IPV6 => false,
        _ => return Err(DropReason::UnknownNextHeader),
    };
    let header = IpHeader::parse(packet).map_err(|_| DropReason::MalformedOpened)?;
    if header.is_ipv4() != ipv4 {
        return Err(DropReason::MalformedOpened);
    }
    if !entry.selectors.covers_inbound(&header.flow) {
        return Err(DropReason::SelectorViolation);
    }
    let (inner, outer) = (Ecn::of(header.traffic_class), Ecn::of(outer_traffic_class));
    let ecn = Ecn::decapsulate(inner, outer).ok_or(DropReason::ForbiddenEcn)?;
    if ecn != inner {
        ip::set_traffic_class(packet, header.traffic_class & !0b11 | ecn.bits());
    }
    mss::clamp(packet, &header, entry.inner_mtu);
    Ok(header.total_len)
}

fn drop_reason(error: OpenError) -> DropReason {
    match error {
        OpenError::Malformed => DropReason::MalformedEsp,
        OpenError::Replayed(Replayed::Seen) => DropReason::Replayed,
        OpenError::Replayed(Replayed::BeforeWindow) => DropReason::BeforeWindow,
        OpenError::Exhausted => DropReason::SaExhausted,
        OpenError::BadIcv => DropReason::BadIcv,
        OpenError::BadPadding => DropReason::BadPadding,
        OpenError::Dummy => DropReason::Dummy,
    }
}
