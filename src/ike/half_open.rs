//! IKE SAs that wait for their IKE_AUTH request, or were refused a moment ago: how many, from whom, and which came first (RFC 7296 2.6).

use std::collections::{HashMap, VecDeque};
use std::net::{IpAddr, Ipv6Addr, SocketAddr};

use super::config::Config;
use crate::wire::ike::IkeSpi;

/// Whom a half-open IKE SA belongs to: the initiator's SPI and address.
type First = (IkeSpi, SocketAddr);

/// The book of half-open IKE SAs.
#[derive(Default)]
pub(super) struct HalfOpen {
    by_first: HashMap<First, IkeSpi>,
    per_source: HashMap<IpAddr, usize>,
    /// Oldest first, with our SPI; may still hold some that are gone.
    order: VecDeque<(First, IkeSpi)>,
}

impl HalfOpen {
    pub(super) fn insert(&mut self, initiator: IkeSpi, source: SocketAddr, ours: IkeSpi) {
        self.by_first.insert((initiator, source), ours);
        *self.per_source.entry(prefix(source.ip())).or_default() += 1;
        self.order.push_back(((initiator, source), ours));
        if self.order.len() > 2 * self.by_first.len() + 64 {
            // By our SPI: an initiator that comes back with its old one must not keep its old places.
            self.order.retain(|(first, ours)| self.by_first.get(first) == Some(ours));
        }
    }

    /// Our SPI of the half-open IKE SA that this initiator has.
    pub(super) fn of(&self, initiator: IkeSpi, source: SocketAddr) -> Option<IkeSpi> {
        self.by_first.get(&(initiator, source)).copied()
    }

    /// The IKE SA of this initiator is not half-open any more.
    pub(super) fn remove(&mut self, initiator: IkeSpi, source: SocketAddr) {
        if self.by_first.remove(&(initiator, source)).is_some()
            && let Some(count) = self.per_source.get_mut(&prefix(source.ip()))
        {
            *count -= 1;
            if *count == 0 {
                self.per_source.remove(&prefix(source.ip()));
            }
        }
    }

    /// Our SPI of the one that has waited longest.
    pub(super) fn oldest(&mut self) -> Option<IkeSpi> {
        while let Some((first, ours)) = self.order.front() {
            if self.by_first.get(first) == Some(ours) {
                return Some(*ours);
            }
            self.order.pop_front();
        }
        None
    }

    /// Whether a request from this source must bring a cookie.
    pub(super) fn needs_cookie(&self, source: SocketAddr, config: &Config) -> bool {
        let from_source = self.per_source.get(&prefix(source.ip())).copied().unwrap_or(0);
        self.by_first.len() >= config.cookie_threshold || from_source >= config.cookie_threshold_per_source
    }

    pub(super) fn len(&self) -> usize {
        self.by_first.len()
    }
}

/// Who counts as one source: an IPv4 address or an IPv6 /64.
fn prefix(address: IpAddr) -> IpAddr {
    match address {
        IpAddr::V4(_) => address,
        IpAddr::V6(address) => IpAddr::V6(Ipv6Addr::from_bits(address.to_bits() & (u128::MAX << 64))),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn spi(number: u64) -> IkeSpi {
        IkeSpi(number.to_be_bytes())
    }

    fn source(port: u16) -> SocketAddr {
        SocketAddr::from(([192, 0, 2, 1], port))
    }

    #[test]
    fn an_initiator_that_returns_with_its_spi_takes_no_more_room_each_time() {
        let mut book = HalfOpen::default();
        for round in 0..10_000 {
            book.insert(spi(1), source(500), spi(round));
            book.remove(spi(1), source(500));
        }
        assert!(book.order.len() <= 66, "{} places", book.order.len());
        assert_eq!((book.len(), book.per_source.len(), book.oldest()), (0, 0, None));
    }

    #[test]
    fn who_returns_waits_behind_those_that_stayed() {
        let mut book = HalfOpen::default();
        book.insert(spi(1), source(500), spi(11));
        book.insert(spi(2), source(501), spi(12));
        book.remove(spi(1), source(500));
        book.insert(spi(1), source(500), spi(13));
        assert_eq!(book.oldest(), Some(spi(12)));
        book.remove(spi(2), source(501));
        assert_eq!(book.oldest(), Some(spi(13)));
    }
}
