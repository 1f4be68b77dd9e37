//! Coalescing of opened packets into super-packets for the TUN: many packets, one write.
//!
//! Only what the kernel can take apart again bit by bit is joined: neighbours of one flow whose headers differ in nothing
//! but length, identification, sequence number and checksums, and whose checksums are right (a super-packet gets new ones,
//! which would hide that they were wrong). The identification of packets with DF may change: it means nothing (RFC 6864
//! section 4.1). The packets of a flow keep their order; flows may overtake each other within one delivery.

mod candidate;

use crate::wire::virtio_net::VirtioNetHeader;
use candidate::{Candidate, Kind};
use std::ops::Range;

/// Segments of a super-packet: what fits in 64 KiB at usual sizes, and in one vectored write.
pub const MAX_SEGMENTS: usize = 128;
/// Flows that grow at the same time.
const MAX_OPEN: usize = 16;

/// What may be joined.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Offers {
    /// The device takes super-packets of TCP.
    pub tcp: bool,
    /// It takes super-packets of UDP.
    pub udp: bool,
}

impl Offers {
    fn allow(self, candidate: &Candidate) -> bool {
        if candidate.is_tcp { self.tcp } else { self.udp }
    }
}

/// Joins the packets of one delivery. Keeps its memory from one to the next.
#[derive(Debug)]
pub struct Coalescer {
    groups: Vec<Group>,
    /// For each packet the next one of its group.
    next: Vec<Option<u16>>,
    /// Groups that may grow, the newest last.
    open: Vec<u16>,
}

/// One write: a packet, or the first packet of several and the payloads of the others.
#[derive(Debug, Clone)]
struct Group {
    first: u16,
    last: u16,
    segments: u16,
    /// Bytes of payload so far.
    payload: usize,
    /// The first packet, unless it can have no second.
    candidate: Option<Candidate>,
}

impl Coalescer {
    /// With room for deliveries of this many packets; more make it grow.
    pub fn new(packets: usize) -> Self {
        Self {
            groups: Vec::with_capacity(packets),
            next: Vec::with_capacity(packets),
            open: Vec::with_capacity(MAX_OPEN),
        }
    }

    /// Sorts packets that lie in `buffer` into groups. At most 65535 packets.
    pub fn sort(&mut self, buffer: &[u8], packets: &[Range<usize>], offers: Offers) {
        self.groups.clear();
        self.next.clear();
        self.open.clear();
        for (n, range) in packets.iter().enumerate() {
            self.next.push(None);
            let packet = buffer.get(range.clone()).unwrap_or_default();
            self.add(n as u16, packet, buffer, packets, offers);
        }
    }

    fn add(&mut self, n: u16, packet: &[u8], buffer: &[u8], packets: &[Range<usize>], offers: Offers) {
        let candidate = match Candidate::of(packet) {
            Kind::Joinable(candidate) if offers.allow(&candidate) => candidate,
            Kind::Joinable(candidate) | Kind::Alone(candidate) => {
                self.close_flow(&candidate, packet, buffer, packets);
                return self.push(n, None);
            }
            // Whose flow it belongs to does not show: nothing that came before may grow past it.
            Kind::Unknown => {
                self.open.clear();
                return self.push(n, None);
            }
        };
        let Some(at) = self.find(&candidate, packet, buffer, packets) else { return self.push(n, Some(candidate)) };
        let place = usize::from(self.open[at]);
        let first = &buffer[packets[usize::from(self.groups[place].first)].clone()];
        if !self.groups[place].takes(&candidate, packet, first) {
            self.open.remove(at);
            return self.push(n, Some(candidate));
        }
        let group = &mut self.groups[place];
        self.next[usize::from(group.last)] = Some(n);
        group.last = n;
        group.segments += 1;
        group.payload += candidate.payload_len;
        let segment = group.candidate.map_or(0, |first| first.payload_len);
        if candidate.payload_len < segment || candidate.ends {
            self.open.remove(at);
        }
    }

    fn push(&mut self, n: u16, candidate: Option<Candidate>) {
        let payload = candidate.map_or(0, |candidate| candidate.payload_len);
        self.groups.push(Group { first: n, last: n, segments: 1, payload, candidate });
        if candidate.is_some_and(|candidate| !candidate.ends) {
            if self.open.len() == MAX_OPEN {
                self.open.remove(0);
            }
            self.open.push((self.groups.len() - 1) as u16);
        }
    }

    /// The place in `open` of the group of a packet's flow.
    fn find(&self, candidate: &Candidate, packet: &[u8], buffer: &[u8], packets: &[Range<usize>]) -> Option<usize> {
        self.open.iter().rposition(|place| {
            let group = &self.groups[usize::from(*place)];
            let first = &buffer[packets[usize::from(group.first)].clone()];
            group.candidate.is_some_and(|other| candidate.same_flow(packet, &other, first))
        })
    }

    fn close_flow(&mut self, candidate: &Candidate, packet: &[u8], buffer: &[u8], packets: &[Range<usize>]) {
        if let Some(at) = self.find(candidate, packet, buffer, packets) {
            self.open.remove(at);
        }
    }

    /// How many writes the packets became.
    pub fn len(&self) -> usize {
        self.groups.len()
    }

    /// Whether there was no packet.
    pub fn is_empty(&self) -> bool {
        self.groups.is_empty()
    }

    /// Makes the `n`th group ready to be written: patches the headers of its first packet and returns what goes before it.
    pub fn describe(&self, n: usize, buffer: &mut [u8], packets: &[Range<usize>]) -> VirtioNetHeader {
        let group = &self.groups[n];
        let (Some(first), true) = (&group.candidate, group.segments > 1) else { return VirtioNetHeader::PLAIN };
        let last = packets[usize::from(group.last)].clone();
        let flags = first.flags_of(&buffer[last]);
        first.join(&mut buffer[packets[usize::from(group.first)].clone()], group.payload, flags)
    }

    /// Puts back what [`describe`](Self::describe) patched, for a device that did not take the super-packet.
    pub fn restore(&self, n: usize, buffer: &mut [u8], packets: &[Range<usize>]) {
        let group = &self.groups[n];
        if let (Some(first), true) = (&group.candidate, group.segments > 1) {
            first.restore(&mut buffer[packets[usize::from(group.first)].clone()]);
        }
    }

    /// What the `n`th group consists of: its first packet whole, of the others the payload.
    pub fn parts<'a>(&'a self, n: usize, packets: &'a [Range<usize>]) -> impl Iterator<Item = Range<usize>> + 'a {
        let header_len = self.groups[n].candidate.map_or(0, |first| first.header_len);
        self.members(n, packets).enumerate().map(move |(place, packet)| match place {
            0 => packet,
            _ => packet.start + header_len..packet.end,
        })
    }

    /// The packets of the `n`th group.
    pub fn members<'a>(&'a self, n: usize, packets: &'a [Range<usize>]) -> impl Iterator<Item = Range<usize>> + 'a {
        let mut at = Some(self.groups[n].first);
        std::iter::from_fn(move || {
            let here = usize::from(at?);
            at = self.next[here];
            Some(packets[here].clone())
        })
    }

    /// How many packets the `n`th group has.
    pub fn segments(&self, n: usize) -> usize {
        usize::from(self.groups[n].segments)
    }
}

impl Group {
    /// Whether `packet`, of the same flow, may follow what the group has.
    fn takes(&self, candidate: &Candidate, packet: &[u8], first: &[u8]) -> bool {
        let Some(own) = self.candidate else { return false };
        let fits = usize::from(self.segments) < MAX_SEGMENTS
            && candidate.payload_len <= own.payload_len
            && own.header_len + self.payload + candidate.payload_len <= usize::from(u16::MAX)
            && candidate.continues(packet, &own, first, self.segments, self.payload);
        // The checksums of a first packet that has a second were found right then.
        fits && candidate.checksums_hold(packet) && (self.segments > 1 || own.checksums_hold(first))
    }
}

#[cfg(test)]
mod tests;
