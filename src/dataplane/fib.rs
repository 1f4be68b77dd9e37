//! The forwarding table of the outbound loop: destination prefix, and source prefix where a policy asks for it, to the
//! connections that may carry it.
//!
//! A prefix names connections; the selectors of a connection's Child SAs then pick the SA. The loop has a table
//! that nobody changes meanwhile and gets another one instead, so it looks up without a lock.

use ipnet::{IpNet, Ipv4Net, Ipv6Net};
use prefix_trie::PrefixMap;
use std::collections::BTreeSet;
use std::net::IpAddr;
use std::sync::Arc;

/// A connection as the data path knows it: a number that the wiring gives out and never reuses for another connection.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct ConnectionId(pub u32);

/// The connections of a prefix. One is the rule: a table of thousands is copied and freed without a piece of memory for each.
#[derive(Clone, Debug)]
enum Choices {
    One(ConnectionId),
    Others(Box<[ConnectionId]>),
}

impl From<Vec<ConnectionId>> for Choices {
    fn from(connections: Vec<ConnectionId>) -> Self {
        match connections[..] {
            [one] => Self::One(one),
            _ => Self::Others(connections.into_boxed_slice()),
        }
    }
}

impl Choices {
    fn as_slice(&self) -> &[ConnectionId] {
        match self {
            Self::One(one) => std::slice::from_ref(one),
            Self::Others(connections) => connections,
        }
    }
}

/// A forwarding table, immutable as long as the loop has it. Every prefix has its connections in order of preference: the first
/// that has a Child SA carries the packet; when none has, the first is asked for one.
#[derive(Clone, Debug, Default)]
pub struct Fib {
    ipv4: PrefixMap<Ipv4Net, Choices>,
    ipv6: PrefixMap<Ipv6Net, Choices>,
    /// `None` where there is no policy: packets pay one look for what is not there.
    policies: Option<Box<Policies>>,
}

/// What a destination's packets from one source have, before all that is told by destination alone.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PolicyEntry {
    /// The lower one is asked first.
    pub priority: u8,
    /// Where packets have to come from: of the destination's family.
    pub source: IpNet,
    /// In order of preference; empty: the packets are dropped.
    pub connections: Box<[ConnectionId]>,
}

/// Policies by destination, those of each in the order in which they are asked. Few are asked for one packet: of the prefixes
/// that cover its destination.
#[derive(Clone, Debug, Default)]
struct Policies {
    ipv4: PrefixMap<Ipv4Net, Box<[PolicyEntry]>>,
    ipv6: PrefixMap<Ipv6Net, Box<[PolicyEntry]>>,
}

impl Policies {
    /// The policy of a packet: the lowest priority, then the longest destination, then the longest source.
    fn find(&self, source: IpAddr, destination: IpAddr) -> Option<&PolicyEntry> {
        match destination {
            IpAddr::V4(address) => first(self.ipv4.cover_values(&Ipv4Net::from(address)), source),
            IpAddr::V6(address) => first(self.ipv6.cover_values(&Ipv6Net::from(address)), source),
        }
    }
}

/// Of the policies of prefixes, the shortest first.
fn first<'a>(prefixes: impl Iterator<Item = &'a Box<[PolicyEntry]>>, source: IpAddr) -> Option<&'a PolicyEntry> {
    let of_each = prefixes.filter_map(|entries| entries.iter().find(|entry| entry.source.contains(&source)));
    // Of equal ones the last, that of the longest prefix.
    of_each.reduce(|best, entry| if entry.priority <= best.priority { entry } else { best })
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
        match prefix {
            IpNet::V4(prefix) => self.ipv4.insert(prefix.trunc(), connections.into()),
            IpNet::V6(prefix) => self.ipv6.insert(prefix.trunc(), connections.into()),
        };
    }

    /// Takes a prefix out: what it covers is a shorter one's.
    pub fn remove(&mut self, prefix: IpNet) {
        match prefix {
            IpNet::V4(prefix) => self.ipv4.remove(&prefix.trunc()),
            IpNet::V6(prefix) => self.ipv6.remove(&prefix.trunc()),
        };
    }

    /// Gives a destination these policies, in the order in which they are to be asked (by priority, then the longer source
    /// first), instead of those that it has.
    pub fn set_policies(&mut self, destination: IpNet, policies: Vec<PolicyEntry>) {
        if policies.is_empty() && self.policies.is_none() {
            return;
        }
        let all = self.policies.get_or_insert_default();
        let policies = policies.into_boxed_slice();
        match (destination, policies.is_empty()) {
            (IpNet::V4(prefix), false) => drop(all.ipv4.insert(prefix.trunc(), policies)),
            (IpNet::V4(prefix), true) => drop(all.ipv4.remove(&prefix.trunc())),
            (IpNet::V6(prefix), false) => drop(all.ipv6.insert(prefix.trunc(), policies)),
            (IpNet::V6(prefix), true) => drop(all.ipv6.remove(&prefix.trunc())),
        }
        if all.ipv4.is_empty() && all.ipv6.is_empty() {
            self.policies = None;
        }
    }

    /// The connections of the policy that holds a packet of these addresses, otherwise of the longest prefix that covers its
    /// destination; empty when there is neither.
    pub fn connections(&self, source: IpAddr, destination: IpAddr) -> &[ConnectionId] {
        if let Some(policies) = &self.policies
            && let Some(policy) = policies.find(source, destination)
        {
            return &policy.connections;
        }
        let found = match destination {
            IpAddr::V4(address) => self.ipv4.get_lpm(&Ipv4Net::from(address)).map(|(_, connections)| connections),
            IpAddr::V6(address) => self.ipv6.get_lpm(&Ipv6Net::from(address)).map(|(_, connections)| connections),
        };
        found.map_or(&[], Choices::as_slice)
    }

    /// The number of prefixes that are told by destination alone.
    pub fn len(&self) -> usize {
        self.ipv4.len() + self.ipv6.len()
    }

    /// Whether the table covers nothing.
    pub fn is_empty(&self) -> bool {
        self.len() == 0 && self.policies.is_none()
    }
}

/// The control side's hold on tables that the loop may still use, so that a table's last reference (and the cost of
/// freeing it) never falls to the data thread. Once the loop has let go of the table before the newest, the next change is
/// made in that one: it costs what it names, and no copy of the whole.
#[derive(Debug, Default)]
pub struct FibPublisher {
    newest: Arc<Fib>,
    /// Those before it, the last one last.
    former: Vec<Arc<Fib>>,
    /// Prefixes that the newest may have otherwise than the one before it.
    differing: BTreeSet<IpNet>,
}

impl FibPublisher {
    /// The reference for the loop (`OutboundCommand::SetFib`) to a table that the publisher holds from now on: the newest, with
    /// these prefixes brought to what they are to be now by `update`. It may be given more prefixes than have changed.
    pub fn change(&mut self, changed: BTreeSet<IpNet>, update: impl FnOnce(&mut Fib, &BTreeSet<IpNet>)) -> Arc<Fib> {
        let mut spare = self.former.pop();
        let fib = if let Some(fib) = spare.as_mut().and_then(Arc::get_mut) {
            self.differing.extend(&changed);
            update(fib, &self.differing);
            spare.take().unwrap_or_default()
        } else {
            let mut fib = Fib::clone(&self.newest);
            update(&mut fib, &changed);
            Arc::new(fib)
        };
        self.former.extend(spare);
        self.former.retain(|fib| Arc::strong_count(fib) > 1);
        self.former.push(std::mem::replace(&mut self.newest, Arc::clone(&fib)));
        self.differing = changed;
        fib
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
        look_up_from(fib, "0.0.0.0", address)
    }

    fn look_up_from(fib: &Fib, source: &str, address: &str) -> Vec<u32> {
        fib.connections(source.parse().unwrap(), address.parse().unwrap()).iter().map(|id| id.0).collect()
    }

    #[test]
    fn policies_come_first_by_priority_destination_and_source() {
        let mut fib = fib(&[("10.0.0.0/8", &[1]), ("10.1.1.7/32", &[2])]);
        let policy = |priority, source: &str, connection: Option<u32>| PolicyEntry {
            priority,
            source: source.parse().unwrap(),
            connections: connection.map(ConnectionId).into_iter().collect(),
        };
        let net = |text: &str| text.parse::<IpNet>().unwrap();
        fib.set_policies(
            net("10.0.0.0/8"),
            vec![policy(5, "192.168.9.0/24", Some(5)), policy(10, "192.168.0.0/16", Some(6))],
        );
        fib.set_policies(
            net("10.1.0.0/16"),
            vec![policy(10, "192.168.1.0/24", Some(7)), policy(10, "192.168.0.0/16", None)],
        );
        fib.set_policies(net("2001:db8::/32"), vec![policy(1, "fd00::/8", Some(8))]);
        for (source, destination, expected) in [
            ("172.16.0.1", "10.9.9.9", &[1][..]),
            ("192.168.1.1", "10.9.9.9", &[6]),
            ("192.168.1.1", "10.1.1.9", &[7]),
            // The policy of a longer destination wins, also with no connection that could carry it.
            ("192.168.2.1", "10.1.1.9", &[]),
            // A lower priority wins over it, and any policy over the longest destination without one.
            ("192.168.9.1", "10.1.1.9", &[5]),
            ("192.168.1.1", "10.1.1.7", &[7]),
            ("172.16.0.1", "10.1.1.7", &[2]),
            ("fd00::1", "2001:db8::1", &[8]),
            ("fe80::1", "2001:db8::1", &[]),
        ] {
            assert_eq!(look_up_from(&fib, source, destination), expected, "{source} to {destination}");
        }
        for destination in ["10.0.0.0/8", "10.1.0.0/16", "2001:db8::/32"] {
            assert!(fib.policies.is_some());
            fib.set_policies(net(destination), Vec::new());
        }
        assert!(fib.policies.is_none(), "where there is none, none is looked for");
        assert_eq!(look_up_from(&fib, "192.168.1.1", "10.1.1.9"), [1]);
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
    fn one_connection_stands_in_the_table_itself() {
        for count in 0..4 {
            let ids: Vec<ConnectionId> = (0..count).map(ConnectionId).collect();
            let choices = Choices::from(ids.clone());
            assert_eq!((choices.as_slice(), matches!(choices, Choices::One(_))), (&ids[..], count == 1));
        }
        assert_eq!(size_of::<Choices>(), size_of::<Box<[ConnectionId]>>());
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
        let mut next = || publisher.change(BTreeSet::new(), |_, _| {});
        let in_use = next();
        let (second, third) = (next(), next());
        drop(third);
        assert_eq!([&in_use, &second].map(Arc::strong_count), [2, 2], "both may be in use");
        drop(next());
        assert_eq!(Arc::strong_count(&in_use), 2);
        drop(second);
        drop(next());
        assert_eq!((Arc::strong_count(&in_use), publisher.former.len()), (2, 2), "the other one is gone");
    }

    #[test]
    fn a_change_is_made_in_a_table_that_nobody_uses_and_is_as_one_made_anew() {
        let mut publisher = FibPublisher::default();
        let mut wanted = std::collections::BTreeMap::new();
        let mut in_use: Vec<(Arc<Fib>, Vec<Vec<u32>>)> = Vec::new();
        let all = |fib: &Fib| (0..8).map(|net| look_up(fib, &format!("10.0.{net}.1"))).collect::<Vec<_>>();
        let mut copied = 0;
        for step in 0..60_u32 {
            let prefix: IpNet = format!("10.0.{}.0/24", step * 5 % 8).parse().unwrap();
            if step % 3 == 0 {
                wanted.remove(&prefix)
            } else {
                wanted.insert(prefix, vec![ConnectionId(step)])
            };
            let fib = publisher.change([prefix].into(), |fib, changed| {
                // The one before the newest is given the change before, too.
                copied += usize::from(changed.len() == 1);
                assert!(changed.len() <= 2);
                for prefix in changed {
                    match wanted.get(prefix) {
                        Some(connections) => fib.insert(*prefix, connections.clone()),
                        None => fib.remove(*prefix),
                    }
                }
            });
            assert_eq!(all(&fib), all(&Fib::new(wanted.clone())), "step {step}");
            assert!(in_use.iter().all(|(fib, before)| all(fib) == *before), "nobody changes what is in use");
            let shown = all(&fib);
            in_use.push((fib, shown));
            // The loop takes one after the other, and is late for a while.
            if !(20..25).contains(&step) {
                in_use.drain(..in_use.len() - 1);
            }
        }
        assert!(copied < 10, "{copied} copies");
    }
}
