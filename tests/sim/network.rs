//! The network between two ends: what it does to a datagram, and the NAT that may stand before one end.

use std::collections::{BTreeMap, HashMap};
use std::net::SocketAddr;
use std::time::{Duration, Instant};

use ipsec_gateway::crypto::fake::SeededEntropy;

/// What crosses the network.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Packet {
    /// An IKE message, or a NAT keepalive.
    Ike(Vec<u8>),
    /// An ESP packet, by its SPI and the key that it was sealed with.
    Esp { spi: u32, key: Vec<u8> },
}

/// A packet on its way.
#[derive(Debug, Clone)]
pub struct Datagram {
    pub source: SocketAddr,
    pub destination: SocketAddr,
    /// Whether a non-ESP marker stands before it.
    pub marker: bool,
    pub packet: Packet,
}

/// How well the network works.
#[derive(Debug, Clone, Copy)]
pub struct Quality {
    /// Per cent of the packets.
    pub loss: u64,
    /// Per cent of the packets.
    pub duplication: u64,
    /// Milliseconds. A wide range reorders.
    pub delay: (u64, u64),
    /// Losses of one and the same message at most.
    pub losses_of_one_message: u32,
}

impl Quality {
    /// Nothing is lost; packets overtake each other a little.
    pub const GOOD: Self = Self { loss: 0, duplication: 0, delay: (5, 60), losses_of_one_message: 0 };
    /// Every message arrives if it is repeated once.
    pub const FAIR: Self = Self { loss: 30, duplication: 20, delay: (5, 1500), losses_of_one_message: 1 };
    /// Nothing passes.
    pub const CUT: Self = Self { loss: 100, duplication: 0, delay: (5, 6), losses_of_one_message: u32::MAX };

    /// Anything from good to hardly usable.
    pub fn random(random: &mut SeededEntropy) -> Self {
        let shortest = random.next_u64() % 50 + 1;
        let longest = shortest + 1 + random.next_u64() % 4_000;
        Self {
            loss: random.next_u64() % 80,
            duplication: random.next_u64() % 50,
            delay: (shortest, longest),
            losses_of_one_message: u32::MAX,
        }
    }
}

/// A NAT before one end, which gives each of its ports one of its own.
pub struct Nat {
    pub inside: std::net::IpAddr,
    pub outside: std::net::IpAddr,
    base: u16,
}

impl Nat {
    pub fn new(inside: std::net::IpAddr, outside: std::net::IpAddr) -> Self {
        Self { inside, outside, base: 20_000 }
    }

    /// Forgets every mapping: from now on other ports are used, and the old ones lead nowhere.
    pub fn rebind(&mut self) {
        self.base = if self.base > 50_000 { 20_000 } else { self.base + 10_000 };
    }

    fn leave(&self, source: SocketAddr) -> SocketAddr {
        SocketAddr::new(self.outside, self.base + source.port() % 10_000)
    }

    fn enter(&self, destination: SocketAddr) -> Option<SocketAddr> {
        let port = destination.port().checked_sub(self.base).filter(|port| *port < 10_000)?;
        Some(SocketAddr::new(self.inside, port))
    }
}

/// Packets in flight, and what happens to those that are sent.
pub struct Network {
    pub quality: Quality,
    pub nat: Option<Nat>,
    in_flight: BTreeMap<(Instant, u64), Datagram>,
    sent: u64,
    lost: HashMap<Vec<u8>, u32>,
    /// Losses, duplications and deliveries so far.
    pub fates: u64,
}

impl Network {
    pub fn new(nat: Option<Nat>) -> Self {
        Self { quality: Quality::GOOD, nat, in_flight: BTreeMap::new(), sent: 0, lost: HashMap::new(), fates: 0 }
    }

    /// Takes a packet from its sender; says how many copies are under way.
    pub fn send(&mut self, mut datagram: Datagram, now: Instant, random: &mut SeededEntropy) -> u32 {
        if let Some(nat) = &self.nat
            && datagram.source.ip() == nat.inside
        {
            datagram.source = nat.leave(datagram.source);
        }
        self.fates += 1;
        if self.loses(&datagram, random) {
            return 0;
        }
        let copies = if random.next_u64() % 100 < self.quality.duplication { 2 } else { 1 };
        for _ in 0..copies {
            let (shortest, longest) = self.quality.delay;
            let delay = Duration::from_millis(shortest + random.next_u64() % (longest - shortest).max(1));
            self.sent += 1;
            self.in_flight.insert((now + delay, self.sent), datagram.clone());
        }
        copies
    }

    fn loses(&mut self, datagram: &Datagram, random: &mut SeededEntropy) -> bool {
        if random.next_u64() % 100 >= self.quality.loss {
            return false;
        }
        let Packet::Ike(message) = &datagram.packet else { return true };
        let losses = self.lost.entry(message.clone()).or_default();
        let lose = *losses < self.quality.losses_of_one_message;
        *losses = losses.saturating_add(u32::from(lose));
        lose
    }

    /// Whether a packet to this address arrives somewhere: a NAT may have forgotten it.
    pub fn leads_somewhere(&self, destination: SocketAddr) -> bool {
        let inside = |nat: &Nat| destination.ip() != nat.outside || nat.enter(destination).is_some();
        self.nat.as_ref().is_none_or(inside)
    }

    /// When the next packet arrives.
    pub fn next_arrival(&self) -> Option<Instant> {
        self.in_flight.keys().next().map(|(at, _)| *at)
    }

    /// The packet that arrives next, with the addresses that its receiver sees; `None` if it leads nowhere.
    pub fn arrive(&mut self) -> Option<Datagram> {
        let (_, mut datagram) = self.in_flight.pop_first()?;
        if let Some(nat) = &self.nat
            && datagram.destination.ip() == nat.outside
        {
            datagram.destination = nat.enter(datagram.destination)?;
        }
        Some(datagram)
    }
}
