//! IKE SAs that wait for their IKE_AUTH request: how many, from whom, and which came first (RFC 7296 2.6).

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
    /// Oldest first; may still hold some that are gone.
    order: VecDeque<First>,
}

impl HalfOpen {
    pub(super) fn insert(&mut self, initiator: IkeSpi, source: SocketAddr, ours: IkeSpi) {
        self.by_first.insert((initiator, source), ours);
        *self.per_source.entry(prefix(source.ip())).or_default() += 1;
        self.order.push_back((initiator, source));
        if self.order.len() > 2 * self.by_first.len() + 64 {
            self.order.retain(|first| self.by_first.contains_key(first));
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
        while let Some(first) = self.order.front() {
            if let Some(ours) = self.by_first.get(first) {
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
