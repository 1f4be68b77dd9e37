//! Who sends what nobody has authenticated, as far as that can be told.

use std::net::{IpAddr, Ipv6Addr};

use super::directory::Candidates;
use super::event::Path;

/// Where datagrams come from: an IPv4 address, or an IPv6 /64, which is what one host may have for itself (RFC 7934 6.2).
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Source(IpAddr);

impl Source {
    /// The source that this address belongs to.
    pub fn of(address: IpAddr) -> Self {
        Self(match address {
            IpAddr::V4(_) => address,
            IpAddr::V6(address) => IpAddr::V6(Ipv6Addr::from_bits(address.to_bits() & (u128::MAX << 64))),
        })
    }
}

/// Who asks for something.
#[derive(Debug, Clone, Copy)]
pub(super) struct Asker {
    pub(super) source: Source,
    /// It has returned a cookie, or sends what is protected by keys that it has a part in: it receives at its address.
    pub(super) proven: bool,
    /// A connection is configured with its address.
    pub(super) configured: bool,
}

impl Asker {
    /// Whoever sent on this path, of whom nothing is known but its address.
    pub(super) fn new(path: Path, candidates: &Candidates) -> Self {
        Self { source: Source::of(path.peer.ip()), proven: false, configured: candidates.are_configured() }
    }

    /// One that receives at its address, if that is so.
    pub(super) fn proven(self, proven: bool) -> Self {
        Self { proven, ..self }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hosts_of_one_ipv6_network_are_one_source() {
        let of = |text: &str| Source::of(text.parse().expect("an address"));
        assert_eq!(of("2001:db8:0:1::1"), of("2001:db8:0:1:ffff::2"));
        assert_ne!(of("2001:db8:0:1::1"), of("2001:db8:0:2::1"));
        assert_ne!(of("192.0.2.1"), of("192.0.2.2"));
    }
}
