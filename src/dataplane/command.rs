//! Decisions that fall into the loops. A loop drains its ring after every read, before it handles what it read: an SA
//! queued before IKE's reply goes out is there for every packet that the reply can cause.

use super::fib::Fib;
use super::outer_header::{Encapsulation, OuterPath};
use super::parameters::{InboundSaParameters, OutboundSaParameters};
use std::net::IpAddr;
use std::sync::Arc;

/// Commands that fit a ring. The sender waits for room when there is none; the loops make room at least once a second, so
/// this also bounds how many SAs are installed in a second without traffic.
pub const COMMAND_RING: usize = 8192;

/// For the outbound loop. SAs are named by the SPI of their inbound twin.
pub enum OutboundCommand {
    /// Adds an SA, which carries what its selectors cover from now on. That it could not be added is told by its facts.
    Install(Box<OutboundSaParameters>),
    /// Removes an SA and its keys.
    Remove {
        /// Which SA.
        inbound_spi: u32,
    },
    /// The peer moved, or NAT appeared. What the path to its new address takes follows with `SetPathMtu`.
    SetPath {
        /// Which SA.
        inbound_spi: u32,
        /// The new addresses.
        path: OuterPath,
        /// The new form.
        encapsulation: Encapsulation,
    },
    /// Whether the path of an SA answers. One that does not is used where no other SA of its connection covers a packet.
    SetSilent {
        /// Which SA.
        inbound_spi: u32,
        /// It does not answer.
        silent: bool,
    },
    /// The path to a peer takes outer packets of another size.
    SetPathMtu {
        /// The peer's outer address.
        peer: IpAddr,
        /// The largest outer IP packet, in bytes.
        mtu: u16,
    },
    /// Replaces the forwarding table. Made by [`FibPublisher`](super::fib::FibPublisher).
    SetFib(Arc<Fib>),
    /// Ends the loop after what it read is handled.
    Stop,
}

/// For the inbound loop.
#[derive(Debug)]
pub enum InboundCommand {
    /// Adds an SA. That it could not be added is told by its facts.
    Install(Box<InboundSaParameters>),
    /// Removes an SA and its keys.
    Remove {
        /// Which SA.
        spi: u32,
    },
    /// The outer path of the pair changed, and with it what fits. What it takes follows with `SetPathMtu`.
    SetPath {
        /// Which SA.
        spi: u32,
        /// The new addresses.
        path: OuterPath,
        /// The form in which the other direction is sent.
        encapsulation: Encapsulation,
    },
    /// The path to a peer takes outer packets of another size.
    SetPathMtu {
        /// The peer's outer address.
        peer: IpAddr,
        /// The largest outer IP packet, in bytes.
        mtu: u16,
    },
    /// Ends the loop after what it read is handled.
    Stop,
}
