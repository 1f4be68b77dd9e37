//! Which of everybody's kernel routes can make a difference to what gatewayd sets.
use std::collections::BTreeSet;
use std::net::IpAddr;

use ipnet::{IpNet, Ipv4Net, Ipv6Net};

use super::kernel_routes::{PROTOCOL_GATEWAYD, TABLE_LOCAL, TABLE_MAIN, is_tunnel_table};
use super::policy::Policy;
use super::prefixes::shortened;
use super::shared::SharedSet;

/// What tells the routes that matter from the others, by the little of a route that is looked at first. A machine may have
/// a hundred thousand routes of somebody else; of those only the ones are kept, and looked at, that matter.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Interest {
    prefixes: SharedSet<IpNet>,
    /// The lengths of the prefixes, of either family.
    lengths: BTreeSet<u8>,
    addresses: BTreeSet<IpAddr>,
}

impl Interest {
    /// For what is protected and the local subnets of `policy`, and the addresses that the peers are called from.
    pub fn new(policy: &Policy, outer_addresses: &BTreeSet<IpAddr>) -> Self {
        let local = || policy.local.iter().copied().filter(|subnet| subnet.prefix_len() > 0);
        let mut prefixes = policy.protect.clone();
        // Those that a file gives host bits.
        for loose in policy.protect.iter().filter(|net| net.trunc() != **net) {
            prefixes.remove(loose);
            prefixes.insert(loose.trunc());
        }
        prefixes.extend(local().map(|net| net.trunc()));
        let lengths = prefixes.iter().map(IpNet::prefix_len).collect();
        let hosts = local().filter(is_host).map(|host| host.addr());
        let addresses = outer_addresses.iter().copied().chain(hosts).collect();
        Self { prefixes, lengths, addresses }
    }

    /// Whether a route under a protocol number to a destination in a table matters. The rules, in order:
    /// 1. gatewayd's own do, and everybody's in its tables, which may take the place of its own;
    /// 2. of the machine's own addresses, those that the peers are called from and those that are local subnets;
    /// 3. of `main`, the default routes, which tell the outer devices, and what overlaps a protected prefix or a local
    ///    subnet: it may take packets out of the tunnel, be exempt, or lead to the subnet;
    /// 4. no other does.
    pub fn holds(&self, table: u32, protocol: u8, destination: &IpNet) -> bool {
        match table {
            _ if protocol == PROTOCOL_GATEWAYD || is_tunnel_table(table) => true,
            TABLE_LOCAL => is_host(destination) && self.addresses.contains(&destination.addr()),
            TABLE_MAIN => destination.prefix_len() == 0 || self.overlaps(destination),
            _ => false,
        }
    }

    /// Whether one of the routes that were passed by, as they did not matter `before`, may matter now.
    pub fn may_hold(&self, passed: &PassedBy, before: &Self) -> bool {
        self.addresses.difference(&before.addresses).any(|new| passed.has_address(new))
            || self.prefixes.without(&before.prefixes).any(|new| passed.overlaps(new))
    }

    fn overlaps(&self, destination: &IpNet) -> bool {
        // In their order, those that lie in a prefix follow it.
        let following = self.prefixes.starting_at(destination).next();
        following.is_some_and(|prefix| destination.contains(prefix)) || self.held(destination)
    }

    /// Whether one of the prefixes holds this one.
    fn held(&self, prefix: &IpNet) -> bool {
        let mut shorter = self.lengths.range(..=prefix.prefix_len());
        shorter.any(|length| shortened(prefix, *length).is_some_and(|holder| self.prefixes.contains(&holder)))
    }
}

/// Destinations of `main` and addresses of the machine whose routes did not matter when they were told of. They tell whether
/// something else that comes to matter has to be read. Those of routes that have gone meanwhile may be there still.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct PassedBy {
    ipv4: BTreeSet<Ipv4Net>,
    ipv6: BTreeSet<Ipv6Net>,
    addresses: BTreeSet<IpAddr>,
    /// There are others, which found no room.
    overflown: bool,
}

impl PassedBy {
    /// How many are known, some megabytes. Beyond that, each of the others may be one that matters.
    const MOST: usize = 1 << 18;

    /// A route to a destination in a table does not matter.
    pub fn add(&mut self, table: u32, destination: &IpNet) {
        if self.ipv4.len() + self.ipv6.len() + self.addresses.len() >= Self::MOST {
            self.overflown = true;
            return;
        }
        let _is_new = match (table, destination) {
            (TABLE_MAIN, IpNet::V4(prefix)) => self.ipv4.insert(*prefix),
            (TABLE_MAIN, IpNet::V6(prefix)) => self.ipv6.insert(*prefix),
            (TABLE_LOCAL, host) if is_host(host) => self.addresses.insert(host.addr()),
            _ => false,
        };
    }

    fn has_address(&self, address: &IpAddr) -> bool {
        self.overflown || self.addresses.contains(address)
    }

    /// Whether one of the destinations of `main` lies in a prefix or holds it.
    fn overlaps(&self, prefix: &IpNet) -> bool {
        let mut holders = (0..=prefix.prefix_len()).filter_map(|length| shortened(prefix, length));
        let overlaps = match prefix {
            IpNet::V4(prefix) => {
                // In their order, those that lie in a prefix follow it.
                self.ipv4.range(prefix..).next().is_some_and(|following| prefix.contains(following))
                    || holders.any(|holder| matches!(holder, IpNet::V4(holder) if self.ipv4.contains(&holder)))
            }
            IpNet::V6(prefix) => {
                self.ipv6.range(prefix..).next().is_some_and(|following| prefix.contains(following))
                    || holders.any(|holder| matches!(holder, IpNet::V6(holder) if self.ipv6.contains(&holder)))
            }
        };
        self.overflown || overlaps
    }
}

fn is_host(prefix: &IpNet) -> bool {
    prefix.prefix_len() == prefix.max_prefix_len()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn net(text: &str) -> IpNet {
        text.parse().expect("a prefix")
    }

    fn nets<C: FromIterator<IpNet>>(list: &[&str]) -> C {
        list.iter().map(|text| net(text)).collect()
    }

    fn interest(protect: &[&str], local: &[&str]) -> Interest {
        let policy = Policy { protect: nets(protect), local: nets(local), ..Policy::default() };
        Interest::new(&policy, &["203.0.113.1".parse().expect("an address")].into())
    }

    #[test]
    fn only_what_overlaps_matters_of_main() {
        let interest = interest(&["10.2.0.0/16", "fd00:2::/64"], &["10.1.0.0/24", "0.0.0.0/0"]);
        let holds = |destination: &str| interest.holds(TABLE_MAIN, 186, &net(destination));
        for matters in ["10.2.0.0/16", "10.2.7.0/24", "10.0.0.0/8", "10.1.0.7/32", "0.0.0.0/0", "::/0", "fd00::/16"] {
            assert!(holds(matters), "{matters}");
        }
        for other in ["10.3.0.0/16", "10.1.1.0/24", "192.0.2.0/24", "fd00:3::/64", "2001:db8::/32"] {
            assert!(!holds(other), "{other}");
        }
    }

    #[test]
    fn other_tables_matter_where_they_are_ours_or_tell_of_an_outer_address() {
        let interest = interest(&["10.2.0.0/16"], &["10.1.0.1/32"]);
        assert!(interest.holds(7, PROTOCOL_GATEWAYD, &net("192.0.2.0/24")));
        assert!(interest.holds(20_199, 4, &net("192.0.2.0/24")));
        assert!(!interest.holds(7, 4, &net("10.2.0.0/16")));
        assert!(interest.holds(TABLE_LOCAL, 2, &net("203.0.113.1/32")));
        assert!(interest.holds(TABLE_LOCAL, 2, &net("10.1.0.1/32")));
        assert!(!interest.holds(TABLE_LOCAL, 2, &net("10.2.0.1/32")));
    }

    #[test]
    fn everything_of_main_matters_where_everything_is_protected() {
        let interest = interest(&["0.0.0.0/0"], &[]);
        assert!(interest.holds(TABLE_MAIN, 186, &net("192.0.2.0/24")));
        assert!(!interest.holds(TABLE_MAIN, 186, &net("2001:db8::/32")));
    }

    #[test]
    fn of_what_was_passed_by_only_what_overlaps_something_new_may_matter() {
        let before = interest(&["10.2.0.0/16"], &[]);
        let mut passed = PassedBy::default();
        for (table, destination) in [
            (TABLE_MAIN, "10.4.7.0/24"),
            (TABLE_MAIN, "172.16.0.0/12"),
            (TABLE_MAIN, "fd00:4::/64"),
            (TABLE_LOCAL, "10.5.0.1/32"),
            (TABLE_LOCAL, "127.0.0.0/8"),
            (7, "10.6.0.0/16"),
        ] {
            passed.add(table, &net(destination));
        }
        let new = |protect: &[&str], local: &[&str]| interest(protect, local).may_hold(&passed, &before);
        for matters in ["10.4.0.0/16", "10.4.7.0/24", "10.4.7.9/32", "172.17.1.0/24", "0.0.0.0/0", "fd00:4::7/128"] {
            assert!(new(&["10.2.0.0/16", matters], &[]), "{matters}");
        }
        assert!(new(&[], &["10.5.0.1/32"]), "an address of the machine is local");
        for other in ["10.4.8.0/24", "10.6.0.0/16", "10.5.0.1/32", "127.0.0.1/32", "fd00:5::/64"] {
            assert!(!new(&["10.2.0.0/16", other], &[]), "{other}");
        }
        assert!(!new(&[], &[]), "nothing comes to matter");
        (0..=PassedBy::MOST as u32).for_each(|n| passed.add(TABLE_MAIN, &IpNet::from(IpAddr::from(n.to_be_bytes()))));
        assert!(interest(&["fd00:5::/64"], &[]).may_hold(&passed, &before), "what found no room may be there");
    }
}
