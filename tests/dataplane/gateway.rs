//! Two gateways back to back in memory: real loops, real SAs, no kernel.

use ipsec_gateway::crypto::fake::SeededEntropy;
use ipsec_gateway::crypto::{IvSource, Secret, Suite, encryption};
use ipsec_gateway::dataplane::acquire::{Acquire, Acquires};
use ipsec_gateway::dataplane::command::{COMMAND_RING, InboundCommand, OutboundCommand};
use ipsec_gateway::dataplane::device::{DatagramSink, Wait};
use ipsec_gateway::dataplane::drop::{DropCounters, DropReason};
use ipsec_gateway::dataplane::facts::SaFacts;
use ipsec_gateway::dataplane::fib::{ConnectionId, Fib};
use ipsec_gateway::dataplane::ike_queue::{IkeQueueReader, ike_queue};
use ipsec_gateway::dataplane::outer_header::{DfPolicy, Encapsulation, OuterPath};
use ipsec_gateway::dataplane::parameters::{
    EspKeys, InboundSaParameters, OutboundConfig, OutboundSaParameters, Tunnel,
};
use ipsec_gateway::dataplane::policy::{Selector, SelectorPair};
use ipsec_gateway::dataplane::{InboundLoop, InboundPorts, OutboundLoop, OutboundPorts, Progress};
use ipsec_gateway::esp::Limits;
use ipsec_gateway::io::device::memory::{MemoryDevice, MemoryLink};
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Instant;

pub const CONNECTION: ConnectionId = ConnectionId(7);
pub const RING: usize = 512;

/// What both ends of a Child SA pair agree on.
#[derive(Clone)]
pub struct Agreement {
    pub suite: Suite,
    pub extended: bool,
    pub replay_window: u32,
    pub encapsulation: Encapsulation,
    pub df: DfPolicy,
    pub outer_mtu: u16,
    pub outer: [SocketAddr; 2],
    /// The networks of the first and the second gateway.
    pub networks: [Vec<&'static str>; 2],
    pub limits: Limits,
}

impl Default for Agreement {
    fn default() -> Self {
        Self {
            suite: Suite::new(&encryption::AES128_GCM_16, None).expect("an AEAD stands alone"),
            extended: false,
            replay_window: 1024,
            encapsulation: Encapsulation::Udp,
            df: DfPolicy::Copy,
            outer_mtu: 1500,
            outer: ["192.0.2.1:4500".parse().unwrap(), "198.51.100.1:4500".parse().unwrap()],
            networks: [vec!["10.1.0.0/16", "fd00:1::/64"], vec!["10.2.0.0/16", "fd00:2::/64"]],
            limits: Limits::UNLIMITED,
        }
    }
}

impl Agreement {
    /// What the gateway on `side` (0 or 1) installs for a pair whose inbound SPIs are given by side.
    pub fn outbound(&self, side: usize, spis: [u32; 2]) -> OutboundSaParameters {
        OutboundSaParameters {
            inbound_spi: spis[side],
            spi: spis[1 - side],
            connection: CONNECTION,
            child: 0,
            suite: self.suite,
            keys: self.keys(spis[1 - side]),
            iv_source: IvSource::new(self.suite, &mut SeededEntropy::new(u64::from(spis[side]))),
            extended_sequence: self.extended,
            selectors: self.selectors(side),
            tunnel: self.tunnel(side),
            df: self.df,
            limits: self.limits,
            facts: Arc::new(SaFacts::new(Instant::now())),
        }
    }

    pub fn inbound(&self, side: usize, spis: [u32; 2]) -> InboundSaParameters {
        InboundSaParameters {
            spi: spis[side],
            connection: CONNECTION,
            suite: self.suite,
            keys: self.keys(spis[side]),
            extended_sequence: self.extended,
            replay_window: self.replay_window,
            selectors: self.selectors(side),
            tunnel: self.tunnel(side),
            limits: self.limits,
            facts: Arc::new(SaFacts::new(Instant::now())),
        }
    }

    /// Every SPI has keys of its own.
    fn keys(&self, spi: u32) -> EspKeys {
        let fill = |length: usize, salt: u8| (0..length).map(|n| n as u8 ^ spi as u8 ^ salt).collect();
        EspKeys {
            encryption: Secret::new(fill(self.suite.encryption_key_len(), 0x33)),
            integrity: Secret::new(fill(self.suite.integrity_key_len(), 0xcc)),
        }
    }

    fn selectors(&self, side: usize) -> Arc<SelectorPair> {
        let selectors = |side: usize| {
            self.networks[side].iter().map(|network| Selector::prefix(network.parse().unwrap())).collect()
        };
        Arc::new(SelectorPair { local: selectors(side), peer: selectors(1 - side) })
    }

    pub fn tunnel(&self, side: usize) -> Tunnel {
        let path = OuterPath { local: self.outer[side], peer: self.outer[1 - side] };
        Tunnel { encapsulation: self.encapsulation, path, outer_mtu: self.outer_mtu }
    }
}

/// One gateway: its two loops and everything that they are connected to.
pub struct Gateway<T = MemoryLink> {
    pub device: MemoryDevice,
    pub outbound: OutboundLoop<MemoryDevice, MemoryDevice, T>,
    pub inbound: InboundLoop<MemoryLink, MemoryDevice>,
    pub outbound_commands: rtrb::Producer<OutboundCommand>,
    pub inbound_commands: rtrb::Producer<InboundCommand>,
    pub outbound_drops: Arc<DropCounters>,
    pub inbound_drops: Arc<DropCounters>,
    pub acquires: rtrb::Consumer<Acquire>,
    pub ike: IkeQueueReader,
}

impl<T: DatagramSink> Gateway<T> {
    /// A gateway without SAs that sends to `sink` and receives from `link`.
    pub fn new(sink: T, link: MemoryLink) -> Self {
        let device = MemoryDevice::new(RING);
        let (outbound_commands, commands) = rtrb::RingBuffer::new(COMMAND_RING);
        let (acquires, acquires_reader) = Acquires::new();
        let outbound_drops = Arc::new(DropCounters::default());
        let ports = OutboundPorts {
            source: device.clone(),
            replies: device.clone(),
            sink,
            commands,
            acquires,
            wake: Box::new(()),
            drops: Arc::clone(&outbound_drops),
        };
        let outbound = OutboundLoop::new(ports, OutboundConfig::default());
        let (inbound_commands, commands) = rtrb::RingBuffer::new(COMMAND_RING);
        let (ike, ike_reader) = ike_queue();
        let inbound_drops = Arc::new(DropCounters::default());
        let ports = InboundPorts {
            source: link,
            sink: device.clone(),
            commands,
            ike,
            wake: Box::new(()),
            drops: Arc::clone(&inbound_drops),
        };
        let inbound = InboundLoop::new(ports, Instant::now);
        Self {
            device,
            outbound,
            inbound,
            outbound_commands,
            inbound_commands,
            outbound_drops,
            inbound_drops,
            acquires: acquires_reader,
            ike: ike_reader,
        }
    }

    pub fn command_outbound(&mut self, command: OutboundCommand) {
        assert!(self.outbound_commands.push(command).is_ok(), "room for a command");
    }

    pub fn command_inbound(&mut self, command: InboundCommand) {
        assert!(self.inbound_commands.push(command).is_ok(), "room for a command");
    }

    /// Routes to the peer's networks, and the SAs of a pair. Returns the facts of both SAs.
    pub fn install(&mut self, side: usize, agreement: &Agreement, spis: [u32; 2]) -> (Arc<SaFacts>, Arc<SaFacts>) {
        self.route(&agreement.networks[1 - side]);
        let (outbound, inbound) = (agreement.outbound(side, spis), agreement.inbound(side, spis));
        let facts = (Arc::clone(&outbound.facts), Arc::clone(&inbound.facts));
        self.command_inbound(InboundCommand::Install(Box::new(inbound)));
        self.command_outbound(OutboundCommand::Install(Box::new(outbound)));
        facts
    }

    /// Installs a pair in the place of the one with these SPIs.
    pub fn reinstall(&mut self, side: usize, agreement: &Agreement, spis: [u32; 2]) {
        self.command_inbound(InboundCommand::Remove { spi: spis[side] });
        self.command_outbound(OutboundCommand::Remove { inbound_spi: spis[side] });
        self.install(side, agreement, spis);
    }

    pub fn route(&mut self, networks: &[&str]) {
        let routes = networks.iter().map(|network| (network.parse().unwrap(), vec![CONNECTION]));
        self.command_outbound(OutboundCommand::SetFib(Arc::new(Fib::new(routes))));
    }

    /// A packet that the kernel routes into the tunnel, as a frame of its own.
    pub fn offer(&mut self, packet: &[u8]) {
        let mut ring = self.device.towards_tunnel.ring();
        let number = ring.len() as u64;
        assert!(ring.push(packet, number), "room for a packet");
    }

    pub fn run_outbound(&mut self) {
        while !self.device.towards_tunnel.ring().is_empty() {
            assert_eq!(self.outbound.run_once(Wait::No).unwrap(), Progress::Continue);
        }
    }

    pub fn run_inbound(&mut self, link: &MemoryLink) {
        loop {
            assert_eq!(self.inbound.run_once(Wait::No).unwrap(), Progress::Continue);
            if link.in_flight.ring().is_empty() {
                return;
            }
        }
    }

    /// What came out of the tunnel, or back from the gateway.
    pub fn delivered(&mut self) -> Vec<Vec<u8>> {
        let mut ring = self.device.from_tunnel.ring();
        std::iter::from_fn(|| ring.pop(|packet, ()| packet.to_vec())).collect()
    }

    pub fn dropped(&self, reason: DropReason) -> u64 {
        self.outbound_drops.count(reason) + self.inbound_drops.count(reason)
    }

    pub fn all_drops(&self) -> u64 {
        self.outbound_drops.iter().chain(self.inbound_drops.iter()).map(|(_, count)| count).sum()
    }
}

/// Two gateways and the links between them.
pub struct Pair {
    pub gateways: [Gateway; 2],
    /// From each gateway to the other.
    pub links: [MemoryLink; 2],
    pub facts: [(Arc<SaFacts>, Arc<SaFacts>); 2],
}

pub const SPIS: [u32; 2] = [0xc000_0001, 0xc000_0002];

impl Pair {
    /// With one Child SA pair between them.
    pub fn new(agreement: &Agreement) -> Self {
        let links = [MemoryLink::new(RING), MemoryLink::new(RING)];
        let mut gateways =
            [Gateway::new(links[0].clone(), links[1].clone()), Gateway::new(links[1].clone(), links[0].clone())];
        let facts = [0, 1].map(|side| gateways[side].install(side, agreement, SPIS));
        Self { gateways, links, facts }
    }

    /// Carries packets from one side to the other. Returns what arrives.
    pub fn carry(&mut self, from: usize, packets: &[Vec<u8>]) -> Vec<Vec<u8>> {
        packets.iter().for_each(|packet| self.gateways[from].offer(packet));
        self.gateways[from].run_outbound();
        self.gateways[1 - from].run_inbound(&self.links[from]);
        self.gateways[1 - from].delivered()
    }
}
