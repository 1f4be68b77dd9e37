//! Why a packet was not passed on: one counter per reason, from which metric names and `gatewayctl` columns derive.

use std::sync::atomic::{AtomicU64, Ordering};

/// Declares the reasons once: the variant, its name and the sentence that explains it.
macro_rules! drop_reasons {
    ($($(#[doc = $doc:literal])+ $variant:ident => $name:literal,)+) => {
        /// A reason for which a packet or datagram is dropped. Each is counted by each loop.
        #[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
        #[repr(usize)]
        pub enum DropReason { $($(#[doc = $doc])+ $variant,)+ }

        impl DropReason {
            /// Every reason, in the order of the counters.
            pub const ALL: &[Self] = &[$(Self::$variant,)+];

            /// The name in metrics, status output and logs: lower case, words joined by hyphens.
            pub const fn name(self) -> &'static str {
                match self { $(Self::$variant => $name,)+ }
            }

            /// One sentence for a person.
            pub const fn description(self) -> &'static str {
                match self { $(Self::$variant => concat!($($doc),+),)+ }
            }

            /// Whether somebody misses what was dropped. What exists only to be discarded is counted, but is no drop in a
            /// status.
            pub const fn is_loss(self) -> bool {
                !matches!(self, Self::OwnLink | Self::Dummy | Self::Keepalive | Self::Marked)
            }
        }
    };
}

drop_reasons! {
    /// No VPN route covers the destination of a packet from the TUN.
    NoRoute => "no-route",
    /// A packet from the TUN that belongs to its own link, mostly the kernel's own: IGMP, MLD, neighbour discovery, or a
    /// link-local or multicast address without a route. No router passes it on, so nothing is lost.
    OwnLink => "own-link",
    /// A VPN route covers it, but its connection has no Child SA: the packet asks for one and is dropped.
    NoSa => "no-sa",
    /// The connection has Child SAs, none of whose selectors covers the packet.
    NoMatchingSelector => "no-matching-selector",
    /// A packet from the TUN is not a well-formed IPv4 or IPv6 packet.
    MalformedInner => "malformed-inner",
    /// A DF packet does not fit the tunnel; the sender was told so by ICMP, if the rate limit allowed.
    TooBig => "too-big",
    /// An IPv4 packet that needs fragments cannot be fragmented: its header leaves no room, or the SA's selectors name ports,
    /// which later fragments do not show, and the outer packet would be longer than an IP packet can be.
    CannotFragment => "cannot-fragment",
    /// A packet from the TUN found no room in the batch.
    NoRoom => "no-room",
    /// The queue of the packet's flow stands: one packet was left out so that its sender slows down (CoDel, RFC 8289).
    QueueStands => "queue-stands",
    /// Packets came faster than they can be sealed: the flow of which most waited lost the oldest of them.
    QueueFull => "queue-full",
    /// No drop: an ECN-capable packet was marked "congestion experienced" where another would have been left out.
    Marked => "marked",
    /// The SA has no sequence number left, or reached its hard limit.
    SaExhausted => "sa-exhausted",
    /// The kernel has no working route to the peer (ENETUNREACH, EHOSTUNREACH, ENETDOWN).
    SendUnreachable => "send-unreachable",
    /// A firewall or a policy of this host forbids the datagram (EPERM, EACCES).
    SendForbidden => "send-forbidden",
    /// The kernel or the device has no room for the datagram (ENOBUFS, ENOMEM).
    SendNoBuffers => "send-no-buffers",
    /// The outer address is none of this host's (EINVAL, EADDRNOTAVAIL).
    SendBadSource => "send-bad-source",
    /// The kernel refused to send the datagram for another reason.
    SendFailed => "send-failed",
    /// An ICMP message told that a datagram did not reach its peer.
    IcmpUnreachable => "icmp-unreachable",
    /// The datagram is larger than the path takes, the kernel says.
    OuterTooBig => "outer-too-big",
    /// No SA has the SPI of a received ESP packet.
    UnknownSpi => "unknown-spi",
    /// An ESP packet is too short, or its ciphertext is no whole number of blocks.
    MalformedEsp => "malformed-esp",
    /// The sequence number was seen before.
    Replayed => "replayed",
    /// The sequence number lies left of the replay window.
    BeforeWindow => "before-window",
    /// The integrity check value is wrong: forged, corrupted or sealed under another key.
    BadIcv => "bad-icv",
    /// The padding is not 1, 2, 3, … or longer than the packet.
    BadPadding => "bad-padding",
    /// The next header of an opened packet is neither IPv4, IPv6 nor a dummy.
    UnknownNextHeader => "unknown-next-header",
    /// A dummy packet (next header 59), which exists only to be discarded.
    Dummy => "dummy",
    /// An opened packet is not a well-formed packet of the IP version that its next header names.
    MalformedOpened => "malformed-opened",
    /// The addresses, protocol or ports of an opened packet lie outside the SA's selectors.
    SelectorViolation => "selector-violation",
    /// Outer CE over an inner packet that is not ECN-capable.
    ForbiddenEcn => "forbidden-ecn",
    /// The TUN refused an opened packet.
    DeviceFull => "device-full",
    /// A NAT keepalive, which exists only to be discarded.
    Keepalive => "keepalive",
    /// A datagram on the NAT traversal port that is neither ESP, IKE nor a keepalive.
    MalformedDatagram => "malformed-datagram",
    /// An IKE datagram is larger than who is not authenticated may send: 4 KiB for IKE_SA_INIT, 16 KiB for others.
    IkeTooLarge => "ike-too-large",
    /// IKE's queue for datagrams of who is not known is full, or the one of port 4500 for requests that open a new IKE SA.
    IkeInitialQueueFull => "ike-initial-queue-full",
    /// IKE's queue for everything else is full.
    IkeQueueFull => "ike-queue-full",
}

/// One counter per [`DropReason`]. A loop is the only writer; anyone may read at any time.
#[derive(Debug)]
pub struct DropCounters {
    counts: [AtomicU64; DropReason::ALL.len()],
}

impl Default for DropCounters {
    fn default() -> Self {
        Self { counts: std::array::from_fn(|_| AtomicU64::new(0)) }
    }
}

impl DropCounters {
    /// Counts `packets` drops. To be called by one thread only: a plain load and store, which no bus lock slows down.
    pub fn add(&self, reason: DropReason, packets: u64) {
        let count = &self.counts[reason as usize];
        count.store(count.load(Ordering::Relaxed).wrapping_add(packets), Ordering::Relaxed);
    }

    /// How often the reason occurred so far.
    pub fn count(&self, reason: DropReason) -> u64 {
        self.counts[reason as usize].load(Ordering::Relaxed)
    }

    /// Every reason with its count, zeros included.
    pub fn iter(&self) -> impl Iterator<Item = (DropReason, u64)> + '_ {
        DropReason::ALL.iter().map(|reason| (*reason, self.count(*reason)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::BTreeSet;

    #[test]
    fn every_reason_has_a_counter_and_a_name_of_its_own() {
        let names: BTreeSet<_> = DropReason::ALL.iter().map(|reason| reason.name()).collect();
        assert_eq!(names.len(), DropReason::ALL.len());
        for (position, reason) in DropReason::ALL.iter().enumerate() {
            assert_eq!(*reason as usize, position);
            assert!(!reason.description().trim().is_empty());
        }
    }

    #[test]
    fn counters_count_each_reason_apart() {
        let counters = DropCounters::default();
        counters.add(DropReason::Replayed, 2);
        counters.add(DropReason::Replayed, 1);
        counters.add(DropReason::BadIcv, 5);
        assert_eq!(counters.count(DropReason::Replayed), 3);
        assert_eq!(counters.count(DropReason::BadIcv), 5);
        assert_eq!(counters.iter().map(|(_, count)| count).sum::<u64>(), 8);
    }
}
