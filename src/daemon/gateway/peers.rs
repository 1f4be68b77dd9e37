//! The outer addresses at which peers are seen, of every association of every connection.

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::sync::Arc;

use crate::ike::AssociationId;

/// Where peers are.
#[derive(Debug, Default)]
pub struct Peers(BTreeMap<Arc<str>, OfConnection>);

#[derive(Debug, Default)]
struct OfConnection {
    there: BTreeMap<AssociationId, IpAddr>,
    /// Where the last one was, while there is none: it may come back from there.
    last: Option<IpAddr>,
}

impl Peers {
    /// A peer is at this address. Gives the other addresses that are left for that.
    pub fn at(&mut self, connection: Arc<str>, association: AssociationId, peer: IpAddr) -> Vec<IpAddr> {
        let of = self.0.entry(connection).or_default();
        let left = of.last.take().into_iter().chain(of.there.insert(association, peer));
        left.filter(|left| *left != peer).collect()
    }

    /// A peer is gone. Gives the address that is left, if another one of its connection is there.
    pub fn gone(&mut self, connection: &str, association: AssociationId) -> Option<IpAddr> {
        let of = self.0.get_mut(connection)?;
        let left = of.there.remove(&association);
        if of.there.is_empty() {
            of.last = left.or(of.last);
            return None;
        }
        left
    }

    /// Forgets a connection that is not configured any more.
    pub fn forget(&mut self, connection: &str) {
        self.0.remove(connection);
    }

    /// All addresses.
    pub fn addresses(&self) -> impl Iterator<Item = IpAddr> + '_ {
        self.0.values().flat_map(|of| of.there.values().copied().chain(of.last))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_peer_of_a_connection_has_its_address_and_the_last_one_is_remembered() {
        let mut peers = Peers::default();
        let [one, two, three] = [1, 2, 3].map(AssociationId);
        let address = |last: u8| IpAddr::from([203, 0, 113, last]);
        let all = |peers: &Peers| peers.addresses().collect::<Vec<_>>();
        assert!(peers.at("any".into(), one, address(1)).is_empty());
        assert!(peers.at("any".into(), two, address(2)).is_empty());
        assert_eq!(all(&peers), [address(1), address(2)]);
        assert_eq!(peers.at("any".into(), two, address(3)), [address(2)]);
        assert_eq!(peers.gone("any", one), Some(address(1)));
        assert_eq!(peers.gone("any", two), None);
        assert_eq!(all(&peers), [address(3)], "where the last one was");
        assert_eq!(peers.at("any".into(), three, address(4)), [address(3)]);
        assert_eq!(all(&peers), [address(4)]);
        assert_eq!(peers.gone("other", three), None);
    }

    #[test]
    fn of_connections_that_are_not_configured_any_more_nothing_is_left() {
        let mut peers = Peers::default();
        let address = |last: u8| IpAddr::from([203, 0, 113, last]);
        for (name, last) in [("stays", 1), ("goes", 2), ("went", 3)] {
            peers.at(name.into(), AssociationId(u64::from(last)), address(last));
        }
        assert_eq!(peers.gone("went", AssociationId(3)), None);
        peers.forget("goes");
        peers.forget("went");
        assert_eq!(peers.addresses().collect::<Vec<_>>(), [address(1)]);
        assert_eq!(peers.gone("goes", AssociationId(2)), None, "it is told later that its peer is gone");
        assert_eq!(peers.addresses().collect::<Vec<_>>(), [address(1)]);
    }
}
