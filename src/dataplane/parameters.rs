//! What a loop needs to know of an SA and of its surroundings.

use super::facts::SaFacts;
use super::fib::ConnectionId;
use super::outer_header::{DfPolicy, Encapsulation, OuterPath};
use super::path_mtu;
use super::policy::SelectorPair;
use crate::crypto::{IvSource, Secret, Suite};
use crate::esp::{Limits, Overhead};
use std::net::{Ipv4Addr, Ipv6Addr};
use std::sync::Arc;
use std::time::Instant;

/// The keys of one direction, moved in and zeroised with the SA.
#[derive(Debug)]
pub struct EspKeys {
    /// The encryption key, followed by the salt where the algorithm has one.
    pub encryption: Secret,
    /// The integrity key; empty with an AEAD.
    pub integrity: Secret,
}

/// Where an SA's packets go through, from which the limits of its inner packets follow.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Tunnel {
    /// What we send.
    pub encapsulation: Encapsulation,
    /// The outer addresses.
    pub path: OuterPath,
    /// The largest outer IP packet that reaches the peer whole, headers included. Usually 1500.
    pub outer_mtu: u16,
}

impl Tunnel {
    /// The largest inner packet of a suite that needs no outer fragmentation; 0 where nothing fits.
    pub fn inner_mtu(&self, overhead: Overhead) -> usize {
        self.largest_inner(overhead, self.outer_mtu)
    }

    /// The largest inner packet that fits every path to the peer: only what is larger needs path MTU discovery.
    pub fn least_inner_mtu(&self, overhead: Overhead) -> usize {
        self.largest_inner(overhead, path_mtu::least(self.path.peer.ip()))
    }

    /// The largest inner packet that an outer packet can hold, in as many fragments as there may be.
    pub fn fragmented_inner_mtu(&self, overhead: Overhead) -> usize {
        self.largest_inner(overhead, u16::MAX)
    }

    fn largest_inner(&self, overhead: Overhead, outer: u16) -> usize {
        let header = self.encapsulation.header_len(self.path.peer.ip());
        overhead.largest_inner(usize::from(outer).saturating_sub(header))
    }
}

/// An outbound SA, to be used from when it is installed. Its identity everywhere is `inbound_spi`, the SPI of its inbound twin: that one we chose, so it is
/// unique here, while two peers may choose the same outbound SPI.
pub struct OutboundSaParameters {
    /// The SPI of the inbound SA of the pair.
    pub inbound_spi: u32,
    /// The SPI that the peer chose, which goes into every packet.
    pub spi: u32,
    /// Whose SA it is.
    pub connection: ConnectionId,
    /// The place of the child in the connection's configuration: where selectors overlap, the lower one carries the packet.
    pub child: u32,
    /// Algorithms.
    pub suite: Suite,
    /// Keys.
    pub keys: EspKeys,
    /// Where CBC's unpredictable IVs come from; the IV of an AEAD is the sequence number.
    pub iv_source: IvSource,
    /// 64-bit sequence numbers (RFC 4303 section 2.2.1).
    pub extended_sequence: bool,
    /// The selectors of the pair.
    pub selectors: Arc<SelectorPair>,
    /// Outer addresses and form.
    pub tunnel: Tunnel,
    /// The outer DF bit.
    pub df: DfPolicy,
    /// When to ask for a rekey and when to stop.
    pub limits: Limits,
    /// Where to write what happens.
    pub facts: Arc<SaFacts>,
}

/// An inbound SA.
#[derive(Debug)]
pub struct InboundSaParameters {
    /// The SPI that we chose.
    pub spi: u32,
    /// Whose SA it is.
    pub connection: ConnectionId,
    /// Algorithms.
    pub suite: Suite,
    /// Keys.
    pub keys: EspKeys,
    /// 64-bit sequence numbers.
    pub extended_sequence: bool,
    /// Packets that the replay window spans: 64 to 65536, rounded up to a multiple of 64.
    pub replay_window: u32,
    /// The selectors of the pair, against which every opened packet is checked.
    pub selectors: Arc<SelectorPair>,
    /// Outer addresses and form of the pair's other direction: the MSS of SYNs is clamped to what fits there.
    pub tunnel: Tunnel,
    /// When to ask for a rekey and when to stop.
    pub limits: Limits,
    /// Where to write what happens.
    pub facts: Arc<SaFacts>,
}

/// The addresses of ours that ICMP "too big" messages come from.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct OwnAddresses {
    /// For IPv4. Without one, the outer local address is used, or RFC 7600's 192.0.0.8.
    pub ipv4: Option<Ipv4Addr>,
    /// For IPv6. Without one, the outer local address is used; if that is IPv4 too, no message is sent.
    pub ipv6: Option<Ipv6Addr>,
}

/// What the outbound loop needs besides SAs.
#[derive(Debug, Clone, Copy)]
pub struct OutboundConfig {
    /// Sources of ICMP messages.
    pub own_addresses: OwnAddresses,
    /// ICMP "too big" messages a second to each inner host, at most; after a quiet second as many may come at once.
    pub too_big_per_second: u32,
    /// What the loop's clock is; tests may turn their own.
    pub clock: fn() -> Instant,
}

impl Default for OutboundConfig {
    fn default() -> Self {
        Self { own_addresses: OwnAddresses::default(), too_big_per_second: 100, clock: Instant::now }
    }
}
