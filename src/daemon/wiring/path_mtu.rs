//! Path MTU discovery between the modules: what routers, the device and IKE's probes say goes into the table of
//! `dataplane::path_mtu`, and what it decides goes to the data threads and to IKE.
//!
//! ```text
//!  ICMP ── told ──┐                          ┌── SetPathMtu ──► outbound, inbound
//!  SaFacts ───────┼──► PathMtus ── Step ─────┼── ProbePath ───► ike ── PathProbed ─┐
//!  OuterTooBig ───┘       ▲                  └── AskDevice ───► the kernel ────────┤
//!                         └────────────────────────────────────────────────────────┘
//! ```

use std::collections::HashMap;
use std::io;
use std::net::IpAddr;
use std::sync::Arc;
use std::time::{Duration, Instant};

use tracing::{debug, info};

use super::{Pair, Wiring};
use crate::dataplane::command::{InboundCommand, OutboundCommand};
use crate::dataplane::drop::{DropCounters, DropReason};
use crate::dataplane::outer_header::{Encapsulation, OuterPath};
use crate::dataplane::path_mtu::{PathMtus, Step};
use crate::ike::Command;
use crate::wire::quoted::{QuotedPacket, QuotedTransport, TooBig};

/// Pairs of a peer that are held against a quotation that shows ports only.
const COMPARED: usize = 64;
/// What stands in place of an SPI before IKE on the port of NAT traversal (RFC 3948 section 2.2).
const NON_ESP: u32 = 0;

/// Tells what the own device takes that packets from the first address to the second leave by.
pub type DeviceMtu = Box<dyn Fn(IpAddr, IpAddr) -> io::Result<u16> + Send>;

/// The paths to the peers and who uses them.
pub struct Paths {
    table: PathMtus,
    /// By the peer's address: the outbound SPI of each pair, and the inbound one.
    users: HashMap<IpAddr, HashMap<u32, u32>>,
    device: DeviceMtu,
    /// Of the outbound thread.
    drops: Arc<DropCounters>,
    /// Packets that the kernel had refused as too big when it was asked last.
    refused: u64,
}

impl Paths {
    /// Without paths. `outer_mtu`, in bytes, is what none is believed to exceed; what no IP packet reaches is as good as the
    /// largest. A path that takes more again is found within `raise`.
    pub fn new(outer_mtu: u32, raise: Duration, drops: Arc<DropCounters>, device: DeviceMtu) -> Self {
        let table = PathMtus::new(u16::try_from(outer_mtu).unwrap_or(u16::MAX), raise);
        Self { table, users: HashMap::new(), device, drops, refused: 0 }
    }

    /// A pair uses the path. Returns what it takes.
    pub fn join(&mut self, path: OuterPath, outbound_spi: u32, inbound_spi: u32, now: Instant) -> u16 {
        let peer = path.peer.ip();
        let device = || device_mtu(&self.device, path.local.ip(), peer);
        self.table.join(peer, device, now);
        self.users.entry(peer).or_default().insert(outbound_spi, inbound_spi);
        self.table.mtu(peer)
    }

    /// A pair uses the path no longer.
    pub fn leave(&mut self, peer: IpAddr, outbound_spi: u32) {
        self.table.leave(peer);
        if let Some(users) = self.users.get_mut(&peer) {
            users.remove(&outbound_spi);
            if users.is_empty() {
                self.users.remove(&peer);
            }
        }
    }

    /// What the path to a peer takes.
    pub fn mtu(&self, peer: IpAddr) -> u16 {
        self.table.mtu(peer)
    }

    /// A packet that not every path takes went to a peer at this time.
    pub fn large_sent(&mut self, peer: IpAddr, at: Instant) {
        self.table.large_sent(peer, at);
    }

    /// What became of a probe.
    pub fn probed(&mut self, peer: IpAddr, asked: u16, sent: u16, in_time: bool, now: Instant) {
        debug!(%peer, asked, sent, in_time, "probed the path MTU");
        self.table.probed(peer, asked, sent, in_time, now);
    }

    /// Lets time pass, and looks whether the kernel has refused packets.
    pub fn look(&mut self, now: Instant) {
        self.table.look(now);
        let refused = self.drops.count(DropReason::OuterTooBig);
        if refused != std::mem::replace(&mut self.refused, refused) {
            self.table.refused(now);
        }
    }
}

/// Where the system does not tell, the path may take what is configured: it is tried.
fn device_mtu(device: &DeviceMtu, local: IpAddr, peer: IpAddr) -> u16 {
    device(local, peer).unwrap_or_else(|error| {
        debug!(%error, %peer, "the device's MTU is unknown");
        u16::MAX
    })
}

impl Wiring {
    /// A router says that a packet was too big. It is believed if the packet was ours for all that is quoted of it: sent on a
    /// pair that is in use, by its SPI, or where too little is quoted to show it, by addresses and ports.
    pub fn told_too_big(&mut self, told: &TooBig, now: Instant) {
        let TooBig { mtu, packet } = told;
        let fits = packet.total_len <= *mtu;
        match u16::try_from(*mtu) {
            Ok(mtu) if !fits && self.is_ours(packet) => self.paths.table.told(packet.destination, mtu, now),
            _ => debug!(mtu, source = %packet.source, destination = %packet.destination, "disbelieved an ICMP message"),
        }
    }

    fn is_ours(&self, packet: &QuotedPacket) -> bool {
        let Some(users) = self.paths.users.get(&packet.destination) else { return false };
        let of_spi = |spi: &u32| users.get(spi).and_then(|inbound| self.pairs.get(inbound));
        match packet.transport {
            QuotedTransport::Esp { spi } => {
                of_spi(&spi).is_some_and(|pair| pair.encapsulation == Encapsulation::Raw && pair.leaves_from(packet))
            }
            QuotedTransport::Udp { source, destination, first } => {
                let ports = |pair: &Pair| (pair.path.local.port(), pair.path.peer.port()) == (source, destination);
                let is_of = |pair: &Pair| ports(pair) && pair.leaves_from(packet);
                let nat_traversal = |pair: &Pair| pair.encapsulation == Encapsulation::Udp;
                match first.filter(|first| *first != NON_ESP) {
                    // On IKE's own port there is no ESP, and what comes first is IKE's.
                    Some(spi) => {
                        of_spi(&spi).is_some_and(|pair| nat_traversal(pair) && is_of(pair)) || {
                            let mut pairs = users.values().take(COMPARED).filter_map(|inbound| self.pairs.get(inbound));
                            pairs.any(|pair| !nat_traversal(pair) && is_of(pair))
                        }
                    }
                    None => users.values().take(COMPARED).filter_map(|inbound| self.pairs.get(inbound)).any(is_of),
                }
            }
        }
    }

    /// Does what path MTU discovery asks for, and returns what it asks of IKE.
    pub fn discover_paths(&mut self, now: Instant) -> Vec<Command> {
        let mut commands = Vec::new();
        while let Some(step) = self.paths.table.next(now) {
            match step {
                Step::Probe { peer, size } => {
                    let pairs = self.paths.users.get(&peer).into_iter().flatten();
                    let mut pairs = pairs.filter_map(|(_, inbound)| Some((*inbound, self.pairs.get(inbound)?)));
                    if let Some((inbound_spi, _)) = pairs.find(|(_, pair)| pair.sending) {
                        commands.push(Command::ProbePath { inbound_spi, size });
                    }
                }
                Step::AskDevice { peer } => {
                    let pair = self.paths.users.get(&peer).and_then(|users| self.pairs.get(users.values().next()?));
                    let Some(local) = pair.map(|pair| pair.path.local.ip()) else { continue };
                    let mtu = device_mtu(&self.paths.device, local, peer);
                    self.paths.table.device(peer, mtu, now);
                }
                Step::Change { peer, old, mtu, learned } => {
                    info!(%peer, mtu, old, "the path MTU changed, {}", learned.text());
                    self.set_path_mtu(peer, mtu);
                }
            }
        }
        commands
    }

    /// Has the data threads keep to what the path to a peer takes.
    pub(super) fn set_path_mtu(&mut self, peer: IpAddr, mtu: u16) {
        for inbound in self.paths.users.get(&peer).into_iter().flat_map(HashMap::values) {
            if let Some(pair) = self.pairs.get_mut(inbound) {
                pair.path_mtu = mtu;
            }
        }
        self.lines.outbound.send(OutboundCommand::SetPathMtu { peer, mtu });
        self.lines.inbound.send(InboundCommand::SetPathMtu { peer, mtu });
    }
}

impl Pair {
    /// Whether the source of a packet is where this pair's packets leave from.
    fn leaves_from(&self, packet: &QuotedPacket) -> bool {
        let local = self.path.local.ip();
        local.is_unspecified() || local == packet.source
    }
}
