//! Faults for tests: a link that loses, duplicates, reorders and corrupts, as its seed says.

use super::memory::{InFlight, MemoryLink};
use crate::dataplane::device::{DatagramSink, Run, Sent};
use crate::dataplane::outer_header::OuterPath;

/// How often each fault strikes, in thousandths of the ESP packets.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Faults {
    /// The packet is lost.
    pub loss: u32,
    /// It arrives twice.
    pub duplication: u32,
    /// It arrives after the next ones.
    pub reordering: u32,
    /// One bit is wrong.
    pub corruption: u32,
}

/// How often each fault struck.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Struck {
    /// Packets lost.
    pub lost: u64,
    /// Packets sent twice.
    pub duplicated: u64,
    /// Packets held back.
    pub reordered: u64,
    /// Packets with a wrong bit; the genuine one is lost.
    pub corrupted: u64,
}

/// A link with faults. Every ESP packet travels alone.
#[derive(Debug)]
pub struct FaultyLink {
    link: MemoryLink,
    faults: Faults,
    /// What struck so far.
    pub struck: Struck,
    state: u64,
    held: Vec<(Vec<u8>, InFlight)>,
}

/// Held packets leave, newest first, when this many are held.
const HELD: usize = 8;

impl FaultyLink {
    /// Faults in front of a link.
    pub fn new(link: MemoryLink, faults: Faults, seed: u64) -> Self {
        Self { link, faults, struck: Struck::default(), state: seed, held: Vec::new() }
    }

    /// SplitMix64.
    fn random(&mut self) -> u64 {
        self.state = self.state.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mixed = (self.state ^ (self.state >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ (mixed >> 31)
    }

    fn strikes(&mut self, thousandths: u32) -> bool {
        self.random() % 1000 < u64::from(thousandths)
    }

    fn forward(&mut self, packet: &[u8], flight: InFlight) -> u64 {
        u64::from(!self.link.in_flight.ring().push(packet, flight))
    }

    /// Lets go of what is held back.
    pub fn release(&mut self) {
        while let Some((packet, flight)) = self.held.pop() {
            self.forward(&packet, flight);
        }
    }

    fn carry(&mut self, packet: &[u8], flight: InFlight) -> u64 {
        if self.strikes(self.faults.loss) {
            self.struck.lost += 1;
            return 0;
        }
        if self.strikes(self.faults.corruption) {
            self.struck.corrupted += 1;
            let mut corrupted = packet.to_vec();
            let bit = self.random() as usize % (corrupted.len() * 8);
            corrupted[bit / 8] ^= 1 << (bit % 8);
            return self.forward(&corrupted, flight);
        }
        if self.strikes(self.faults.reordering) {
            self.struck.reordered += 1;
            self.held.push((packet.to_vec(), flight));
            if self.held.len() == HELD {
                self.release();
            }
            return 0;
        }
        let failed = self.forward(packet, flight);
        if self.strikes(self.faults.duplication) {
            self.struck.duplicated += 1;
            self.forward(packet, flight);
        }
        failed
    }
}

impl DatagramSink for FaultyLink {
    fn send(&mut self, run: &Run<'_>) -> Sent {
        let OuterPath { local, peer } = run.path;
        let mut failed = 0;
        for packet in run.packets() {
            let flight = InFlight {
                source: local,
                destination: peer,
                form: run.encapsulation,
                segment: packet.len(),
                traffic_class: run.traffic_class,
                dont_fragment: run.dont_fragment,
            };
            failed += self.carry(packet, flight);
        }
        Sent { failed, ..Sent::default() }
    }
}
