//! Path MTU discovery between the modules: what routers, the device and IKE's probes say goes into the table of
//! `dataplane::path_mtu`, and what it decides goes to the data threads and to IKE.
//!
//! ```text
//!  ICMP ── told ──┐                          ┌── SetPathMtu ──► outbound, inbound
//!  SaFacts ───────┼──► PathMtus ── Step ─────┼── ProbePath ───► ike ── PathProbed ─┐
//!  OuterTooBig ───┘       ▲                  └── AskDevice ───► the kernel ────────┤
//!                         └────────────────────────────────────────────────────────┘
//! ```

use std::net::IpAddr;
use std::time::Instant;

use tracing::{debug, info};

use super::{Pair, Wiring};
use crate::dataplane::command::{InboundCommand, OutboundCommand};
use crate::dataplane::outer_header::Encapsulation;
use crate::dataplane::path_mtu::Step;
use crate::ike::Command;
use crate::wire::quoted::{QuotedPacket, QuotedTransport, TooBig};

/// Pairs of a peer that are held against a quotation that shows ports only.
const COMPARED: usize = 64;
/// What stands in place of an SPI before IKE on the port of NAT traversal (RFC 3948 section 2.2).
const NON_ESP: u32 = 0;

impl Wiring {
    /// A router says that a packet was too big. It is believed if the packet was ours for all that is quoted of it: sent on a
    /// pair that is in use, by its SPI, or where too little is quoted to show it, by addresses and ports.
    pub fn told_too_big(&mut self, told: &TooBig, now: Instant) {
        let TooBig { mtu, packet } = told;
        let fits = packet.total_len <= *mtu;
        match u16::try_from(*mtu) {
            Ok(mtu) if !fits && self.is_ours(packet) => self.paths.told(packet.destination, mtu, now),
            _ => debug!(mtu, source = %packet.source, destination = %packet.destination, "disbelieved an ICMP message"),
        }
    }

    fn is_ours(&self, packet: &QuotedPacket) -> bool {
        let of_spi = |spi| self.paths.user(packet.destination, spi).and_then(|inbound| self.pairs.get(&inbound));
        let users = || {
            let users = self.paths.users(packet.destination).take(COMPARED);
            users.filter_map(|(_, inbound)| self.pairs.get(&inbound))
        };
        match packet.transport {
            QuotedTransport::Esp { spi } => {
                of_spi(spi).is_some_and(|pair| pair.encapsulation == Encapsulation::Raw && pair.leaves_from(packet))
            }
            QuotedTransport::Udp { source, destination, first } => {
                let ports = |pair: &Pair| (pair.path.local.port(), pair.path.peer.port()) == (source, destination);
                let is_of = |pair: &Pair| ports(pair) && pair.leaves_from(packet);
                let nat_traversal = |pair: &Pair| pair.encapsulation == Encapsulation::Udp;
                match first.filter(|first| *first != NON_ESP) {
                    // On IKE's own port there is no ESP, and what comes first is IKE's.
                    Some(spi) => {
                        of_spi(spi).is_some_and(|pair| nat_traversal(pair) && is_of(pair))
                            || users().any(|pair| !nat_traversal(pair) && is_of(pair))
                    }
                    None => users().any(is_of),
                }
            }
        }
    }

    /// Does what path MTU discovery asks for, and returns what it asks of IKE.
    pub fn discover_paths(&mut self, now: Instant) -> Vec<Command> {
        let mut commands = Vec::new();
        while let Some(step) = self.paths.next(now) {
            match step {
                Step::Probe { peer, size } => {
                    let users = self.paths.users(peer);
                    let mut pairs = users.filter_map(|(_, inbound)| Some((inbound, self.pairs.get(&inbound)?)));
                    if let Some((inbound_spi, _)) = pairs.find(|(_, pair)| pair.sending) {
                        commands.push(Command::ProbePath { inbound_spi, size });
                    }
                }
                Step::AskDevice { peer } => {
                    let pair = self.paths.users(peer).find_map(|(_, inbound)| self.pairs.get(&inbound));
                    let Some(local) = pair.map(|pair| pair.path.local.ip()) else { continue };
                    self.paths.ask_device(local, peer, now);
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
        for (_, inbound) in self.paths.users(peer) {
            if let Some(pair) = self.pairs.get_mut(&inbound) {
                pair.path_mtu = mtu;
            }
        }
        self.channels.outbound.send(OutboundCommand::SetPathMtu { peer, mtu });
        self.channels.inbound.send(InboundCommand::SetPathMtu { peer, mtu });
    }
}

impl Pair {
    /// Whether the source of a packet is where this pair's packets leave from.
    fn leaves_from(&self, packet: &QuotedPacket) -> bool {
        let local = self.path.local.ip();
        local.is_unspecified() || local == packet.source
    }
}
