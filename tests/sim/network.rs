//! The network between the ends: what it does to a datagram, and the NAT that may stand before some of them.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::net::{IpAddr, SocketAddr};
use std::time::{Duration, Instant};

use ipsec_gateway::crypto::fake::SeededEntropy;

/// What crosses the network.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Packet {
    /// An IKE message, or a NAT keepalive.
    Ike(Vec<u8>),
    /// An ESP packet, by its SPI and the key that it was sealed with, and what is in it.
    Esp { spi: u32, key: Vec<u8>, flow: Flow },
}

/// An inner packet: from the network of one end's child to that of another one.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Flow {
    pub from: usize,
    pub to: usize,
    /// Its number.
    pub child: usize,
}

/// A packet on its way.
#[derive(Debug, Clone)]
pub struct Datagram {
    /// The end that it really came from.
    pub sender: usize,
    pub source: SocketAddr,
    pub destination: SocketAddr,
    /// Whether a non-ESP marker stands before it.
    pub marker: bool,
    pub packet: Packet,
}

impl Datagram {
    /// Bytes of the IPv4 packet, for a message of IKE.
    fn len(&self) -> usize {
        match &self.packet {
            Packet::Ike(message) => 28 + if self.marker { 4 } else { 0 } + message.len(),
            Packet::Esp { .. } => 0,
        }
    }
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

/// A NAT before some ends: each of their ports gets one of its own when something leaves from it.
pub struct Nat {
    inside: Vec<IpAddr>,
    outside: IpAddr,
    ports: BTreeMap<SocketAddr, u16>,
    next: u16,
}

impl Nat {
    const FIRST_PORT: u16 = 20_000;

    pub fn new(inside: Vec<IpAddr>, outside: IpAddr) -> Self {
        Self { inside, outside, ports: BTreeMap::new(), next: Self::FIRST_PORT }
    }

    /// Forgets every mapping: from now on other ports are used, and the old ones lead nowhere.
    pub fn rebind(&mut self) {
        self.ports.clear();
    }

    /// Gives each end the ports that another one had: what is sent to them reaches somebody else.
    pub fn swap(&mut self) {
        let before = std::mem::take(&mut self.ports);
        let ends: BTreeSet<IpAddr> = before.keys().map(SocketAddr::ip).collect();
        let next = |end: IpAddr| ends.range(end..).nth(1).or(ends.first()).copied().unwrap_or(end);
        let moved = before.into_iter().map(|(inside, port)| (SocketAddr::new(next(inside.ip()), inside.port()), port));
        self.ports = moved.collect();
    }

    fn leave(&mut self, source: SocketAddr) -> SocketAddr {
        let next = &mut self.next;
        let port = *self.ports.entry(source).or_insert_with(|| {
            let port = *next;
            *next = next.checked_add(1).unwrap_or(Self::FIRST_PORT);
            port
        });
        SocketAddr::new(self.outside, port)
    }

    fn enter(&self, port: u16) -> Option<SocketAddr> {
        self.ports.iter().find(|(_, outside)| **outside == port).map(|(inside, _)| *inside)
    }
}

/// Packets in flight, and what happens to those that are sent.
pub struct Network {
    pub quality: Quality,
    /// Instead, for what crosses the line of an end, by its own address.
    pub lines: BTreeMap<IpAddr, Quality>,
    pub nat: Option<Nat>,
    /// Bytes of the largest packet that passes: whoever sends more has it fragmented, and fragments are dropped.
    pub largest: Option<usize>,
    in_flight: BTreeMap<(Instant, u64), Datagram>,
    sent: u64,
    lost: HashMap<Vec<u8>, u32>,
    /// Losses, duplications and deliveries so far.
    pub fates: u64,
}

impl Network {
    pub fn new(nat: Option<Nat>) -> Self {
        Self {
            quality: Quality::GOOD,
            lines: BTreeMap::new(),
            nat,
            largest: None,
            in_flight: BTreeMap::new(),
            sent: 0,
            lost: HashMap::new(),
            fates: 0,
        }
    }

    /// Takes a packet from its sender; says how many copies are under way.
    pub fn send(&mut self, mut datagram: Datagram, now: Instant, random: &mut SeededEntropy) -> u32 {
        let quality = self.quality_between(datagram.source, datagram.destination);
        if let Some(nat) = &mut self.nat
            && nat.inside.contains(&datagram.source.ip())
        {
            datagram.source = nat.leave(datagram.source);
        }
        self.fates += 1;
        if self.largest.is_some_and(|largest| datagram.len() > largest) || self.loses(&datagram, quality, random) {
            return 0;
        }
        let copies = if random.next_u64() % 100 < quality.duplication { 2 } else { 1 };
        for _ in 0..copies {
            let (shortest, longest) = quality.delay;
            let delay = Duration::from_millis(shortest + random.next_u64() % (longest - shortest).max(1));
            self.sent += 1;
            self.in_flight.insert((now + delay, self.sent), datagram.clone());
        }
        copies
    }

    fn quality_between(&self, source: SocketAddr, destination: SocketAddr) -> Quality {
        let ends = [Some(source), self.leads_to(destination)].into_iter().flatten();
        ends.filter_map(|end| self.lines.get(&end.ip())).next().copied().unwrap_or(self.quality)
    }

    fn loses(&mut self, datagram: &Datagram, quality: Quality, random: &mut SeededEntropy) -> bool {
        if random.next_u64() % 100 >= quality.loss {
            return false;
        }
        let Packet::Ike(message) = &datagram.packet else { return true };
        let losses = self.lost.entry(message.clone()).or_default();
        let lose = *losses < quality.losses_of_one_message;
        *losses = losses.saturating_add(u32::from(lose));
        lose
    }

    /// Where a packet to this address arrives, unless it leads nowhere: a NAT may have forgotten it.
    pub fn leads_to(&self, destination: SocketAddr) -> Option<SocketAddr> {
        match &self.nat {
            Some(nat) if destination.ip() == nat.outside => nat.enter(destination.port()),
            _ => Some(destination),
        }
    }

    /// When the next packet arrives.
    pub fn next_arrival(&self) -> Option<Instant> {
        self.in_flight.keys().next().map(|(at, _)| *at)
    }

    /// The packet that arrives next, with the addresses that its receiver sees; `None` if it leads nowhere.
    pub fn arrive(&mut self) -> Option<Datagram> {
        let (_, mut datagram) = self.in_flight.pop_first()?;
        datagram.destination = self.leads_to(datagram.destination)?;
        Some(datagram)
    }
}
