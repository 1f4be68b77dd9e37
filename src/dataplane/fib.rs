//! The forwarding table of the outbound loop: destination prefix to the connections that may carry it.
//!
//! A prefix names connections; the selectors of a connection's Child SAs then pick the SA. The table is immutable and is
//! replaced whole, so the loop looks up without a lock.

use ipnet::{IpNet, Ipv4Net, Ipv6Net};
use prefix_trie::PrefixMap;
use std::net::IpAddr;
use std::sync::Arc;

/// A connection as the data path knows it: a number that the wiring gives out and never reuses for another connection.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct ConnectionId(pub u32);

/// A forwarding table, immutable once it is published. Every prefix has its connections in order of preference: the first
/// that has a Child SA carries the packet; when none has, the first is asked for one.
#[derive(Clone, Debug, Default)]
pub struct Fib {
    ipv4: PrefixMap<Ipv4Net, Box<[ConnectionId]>>,
    ipv6: PrefixMap<Ipv6Net, Box<[ConnectionId]>>,
}

impl Fib {
    /// Builds a table. A prefix given twice keeps the later choices; a prefix with no connection drops what it covers, also
    /// when a shorter one would carry it.
    pub fn new(routes: impl IntoIterator<Item = (IpNet, Vec<ConnectionId>)>) -> Self {
        let mut fib = Self::default();
        for (prefix, connections) in routes {
            fib.insert(prefix, connections);
        }
        fib
    }

    /// Gives a prefix these connections, instead of those that it has.
    pub fn insert(&mut self, prefix: IpNet, connections: Vec<ConnectionId>) {
        let connections = connections.into_boxed_slice();
        match prefix {
            IpNet::V4(prefix) => self.ipv4.insert(prefix.trunc(), connections),
            IpNet::V6(prefix) => self.ipv6.insert(prefix.trunc(), connections),
        };
    }

    /// Takes a prefix out: what it covers is a shorter one's.
    pub fn remove(&mut self, prefix: IpNet) {
        match prefix {
            IpNet::V4(prefix) => self.ipv4.remove(&prefix.trunc()),
            IpNet::V6(prefix) => self.ipv6.remove(&prefix.trunc()),
        };
    }

    /// The connections of the longest prefix that covers an address; empty when none does.
    pub fn connections(&self, destination: IpAddr) -> &[ConnectionId] {
        let found = match destination {
            IpAddr::V4(address) => self.ipv4.get_lpm(&Ipv4Net::from(address)).map(|(_, connections)| connections),
            IpAddr::V6(address) => self.ipv6.get_lpm(&Ipv6Net::from(address)).map(|(_, connections)| connections),
        };
        found.map_or(&[], |connections| connections)
    }

    /// The number of prefixes.
    pub fn len(&self) -> usize {
        self.ipv4.len() + self.ipv6.len()
    }

    /// Whether the table covers nothing.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }
}

/// The control side's hold on tables that the loop may still use, so that a table's last reference (and the cost of
/// freeing it) never falls to the data thread.
#[derive(Debug, Default)]
pub struct FibPublisher {
    held: Vec<Arc<Fib>>,
}

impl FibPublisher {
    /// The reference for the loop (`OutboundCommand::SetFib`) to a table that the publisher holds from now on.
    pub fn publish(&mut self, fib: Fib) -> Arc<Fib> {
        self.collect();
        let fib = Arc::new(fib);
        self.held.push(Arc::clone(&fib));
        fib
    }

    /// A copy of the table that was published last, to be changed and published. It costs one pass over the table, without
    /// a look at what a change does not name.
    pub fn newest(&self) -> Fib {
        self.held.last().map(|fib| Fib::clone(fib)).unwrap_or_default()
    }

    /// Frees the tables that the loop let go of, except the newest. Returns how many are still held.
    pub fn collect(&mut self) -> usize {
        if let Some(newest) = self.held.pop() {
            self.held.retain(|fib| Arc::strong_count(fib) > 1);
            self.held.push(newest);
        }
        self.held.len()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn fib(routes: &[(&str, &[u32])]) -> Fib {
        let ids = |ids: &[u32]| ids.iter().copied().map(ConnectionId).collect();
        Fib::new(routes.iter().map(|(prefix, connections)| (prefix.parse().unwrap(), ids(connections))))
    }

    fn look_up(fib: &Fib, address: &str) -> Vec<u32> {
        fib.connections(address.parse().unwrap()).iter().map(|id| id.0).collect()
    }

    #[test]
    fn the_longest_prefix_wins() {
        let fib = fib(&[("10.0.0.0/8", &[1]), ("10.1.1.0/24", &[2, 3]), ("10.1.1.7/32", &[]), ("2001:db8::/32", &[4])]);
        assert_eq!(look_up(&fib, "10.9.9.9"), [1]);
        assert_eq!(look_up(&fib, "10.1.1.9"), [2, 3]);
        assert!(look_up(&fib, "10.1.1.7").is_empty());
        assert!(look_up(&fib, "11.0.0.1").is_empty());
        assert_eq!(look_up(&fib, "2001:db8::1"), [4]);
        assert_eq!(fib.len(), 4);
    }

    #[test]
    fn default_routes_cover_only_their_family() {
        let fib = fib(&[("0.0.0.0/0", &[1])]);
        assert_eq!(look_up(&fib, "255.255.255.255"), [1]);
        assert!(look_up(&fib, "::1").is_empty());
    }

    #[test]
    fn the_publisher_outlives_the_loop_s_reference() {
        let mut publisher = FibPublisher::default();
        let in_use = publisher.publish(Fib::default());
        let second = publisher.publish(Fib::default());
        assert_eq!(publisher.collect(), 2, "the first is still in use");
        drop(in_use);
        assert_eq!(publisher.collect(), 1, "the newest stays");
        drop(second);
        assert_eq!(publisher.collect(), 1);
    }
}
