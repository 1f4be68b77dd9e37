//! What the networks of each CEN instance publish and what their own tables hold, kept beside the state from change to
//! change: what a network learns, and who rejects a route, is found without looking at everybody's table.

use std::collections::{BTreeMap, BTreeSet};

use ipnet::Ipv4Net;

use super::identifier::CenId;
use super::network::NetworkId;
use super::route::RouteKind;
use crate::routing::SharedSet;

/// A network's number within its CEN instance, so that the sets below are small. It means nothing elsewhere.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Member(u32);

impl Member {
    /// The number itself.
    pub fn number(self) -> usize {
        self.0 as usize
    }
}

/// By CEN instance; one that nothing is attached to has none.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Index {
    cens: BTreeMap<CenId, CenIndex>,
}

/// A published route: which entry of whose table.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Offer {
    /// Destination of the publisher's entry.
    pub destination: Ipv4Net,
    /// Its place in the order of publication.
    pub order: u64,
    /// Who publishes it.
    pub publisher: Member,
}

/// One CEN instance. Two are equal that say the same of the same networks, whatever numbers these have.
#[derive(Clone, Debug, Default)]
pub struct CenIndex {
    numbers: BTreeMap<NetworkId, Member>,
    /// By number. Numbers of networks that were detached are given again.
    networks: Vec<Option<NetworkId>>,
    free: Vec<Member>,
    by_destination: SharedSet<(Ipv4Net, u64, Member)>,
    by_order: SharedSet<(u64, Ipv4Net, Member)>,
    /// Destinations that several members publish.
    contested: BTreeSet<Ipv4Net>,
    /// All destinations of the members' own tables.
    own: SharedSet<(Ipv4Net, Member)>,
    /// Those of them that keep out whatever lies inside them too.
    closed: SharedSet<(Ipv4Net, Member)>,
}

impl PartialEq for CenIndex {
    fn eq(&self, other: &Self) -> bool {
        let equal = |said: fn(&Self) -> BTreeSet<Said<'_>>| said(self) == said(other);
        self.contested == other.contested
            && equal(|index| index.members().map(|(id, member)| (None, 0, Some(id), index.network(member))).collect())
            && equal(|index| index.offers().map(|offer| index.said(offer)).collect())
            && equal(|index| index.in_order().map(|offer| index.said(offer)).collect())
            && equal(|index| index.own.iter().map(|(to, of)| (Some(*to), 0, index.network(*of), None)).collect())
            && equal(|index| index.closed.iter().map(|(to, of)| (Some(*to), 0, index.network(*of), None)).collect())
    }
}

impl Eq for CenIndex {}

/// Something of an index with networks instead of numbers, to be compared.
type Said<'a> = (Option<Ipv4Net>, u64, Option<&'a NetworkId>, Option<&'a NetworkId>);

impl Index {
    /// The part for a CEN instance.
    pub fn of(&self, cen: &CenId) -> Option<&CenIndex> {
        self.cens.get(cen)
    }

    /// A network joins, with what its table holds.
    pub fn attach(
        &mut self,
        cen: &CenId,
        network: &NetworkId,
        entries: impl IntoIterator<Item = (Ipv4Net, RouteKind)>,
    ) {
        let index = self.cens.entry(cen.clone()).or_default();
        index.join(network);
        entries.into_iter().for_each(|(destination, kind)| index.add_entry(network, destination, kind));
    }

    /// A network leaves, with what it published and what its table holds.
    pub fn detach(
        &mut self,
        cen: &CenId,
        network: &NetworkId,
        entries: impl IntoIterator<Item = (Ipv4Net, RouteKind)>,
        publications: impl IntoIterator<Item = (Ipv4Net, u64)>,
    ) {
        let Some(index) = self.cens.get_mut(cen) else { return };
        entries.into_iter().for_each(|(destination, kind)| index.remove_entry(network, destination, kind));
        publications.into_iter().for_each(|(destination, order)| index.withdraw(network, destination, order));
        index.leave(network);
        if index.numbers.is_empty() {
            self.cens.remove(cen);
        }
    }

    /// The part for a CEN instance, to be changed.
    pub fn of_mut(&mut self, cen: &CenId) -> Option<&mut CenIndex> {
        self.cens.get_mut(cen)
    }
}

impl CenIndex {
    fn join(&mut self, network: &NetworkId) {
        if self.numbers.contains_key(network) {
            return;
        }
        let member = self.free.pop().unwrap_or_else(|| {
            self.networks.push(None);
            Member(u32::try_from(self.networks.len() - 1).unwrap_or(u32::MAX))
        });
        if let Some(place) = self.networks.get_mut(member.number()) {
            *place = Some(network.clone());
        }
        self.numbers.insert(network.clone(), member);
    }

    fn leave(&mut self, network: &NetworkId) {
        let Some(member) = self.numbers.remove(network) else { return };
        if let Some(place) = self.networks.get_mut(member.number()) {
            *place = None;
        }
        self.free.push(member);
    }

    /// A member publishes an entry of its table.
    pub fn publish(&mut self, network: &NetworkId, destination: Ipv4Net, order: u64) {
        let Some(member) = self.member(network) else { return };
        self.by_destination.insert((destination, order, member));
        self.by_order.insert((order, destination, member));
        if self.offers_to(destination).nth(1).is_some() {
            self.contested.insert(destination);
        }
    }

    /// A member takes back what it had published at this place.
    pub fn withdraw(&mut self, network: &NetworkId, destination: Ipv4Net, order: u64) {
        let Some(member) = self.member(network) else { return };
        self.by_destination.remove(&(destination, order, member));
        self.by_order.remove(&(order, destination, member));
        if self.contested.contains(&destination) && self.offers_to(destination).nth(1).is_none() {
            self.contested.remove(&destination);
        }
    }

    /// A member's table gets an entry.
    pub fn add_entry(&mut self, network: &NetworkId, destination: Ipv4Net, kind: RouteKind) {
        let Some(member) = self.member(network) else { return };
        self.own.insert((destination, member));
        if kind.is_closed() {
            self.closed.insert((destination, member));
        }
    }

    /// A member's table loses an entry.
    pub fn remove_entry(&mut self, network: &NetworkId, destination: Ipv4Net, kind: RouteKind) {
        let Some(member) = self.member(network) else { return };
        self.own.remove(&(destination, member));
        if kind.is_closed() {
            self.closed.remove(&(destination, member));
        }
    }

    fn said(&self, offer: Offer) -> Said<'_> {
        (Some(offer.destination), offer.order, self.network(offer.publisher), None)
    }

    /// A network's number.
    pub fn member(&self, network: &NetworkId) -> Option<Member> {
        self.numbers.get(network).copied()
    }

    /// All numbers that are given or were.
    pub fn numbers(&self) -> std::ops::Range<usize> {
        0..self.networks.len()
    }

    /// The network of a number.
    pub fn network(&self, member: Member) -> Option<&NetworkId> {
        self.networks.get(member.number())?.as_ref()
    }

    /// All members in the order of their ids.
    pub fn members(&self) -> impl Iterator<Item = (&NetworkId, Member)> {
        self.numbers.iter().map(|(network, member)| (network, *member))
    }

    /// How much is published.
    pub fn published(&self) -> usize {
        self.by_destination.len()
    }

    /// The destinations that several members publish.
    pub fn contested(&self) -> impl Iterator<Item = Ipv4Net> {
        self.contested.iter().copied()
    }

    /// Everything that is published, by destination, and of one destination the earliest first.
    pub fn offers(&self) -> impl Iterator<Item = Offer> {
        self.by_destination.iter().map(offer)
    }

    /// What is published to one destination, the earliest first.
    pub fn offers_to(&self, destination: Ipv4Net) -> impl Iterator<Item = Offer> {
        let first = (destination, 0, Member(0));
        self.by_destination.starting_at(&first).take_while(move |(to, ..)| *to == destination).map(offer)
    }

    /// What is published to a block and to what lies inside it.
    pub fn offers_within(&self, block: Ipv4Net) -> impl Iterator<Item = Offer> {
        let last = Ipv4Net::from(block.broadcast());
        let within = self.by_destination.starting_at(&(block, 0, Member(0)));
        within.take_while(move |(to, ..)| *to <= last).map(offer)
    }

    /// Everything that is published, the earliest first.
    pub fn in_order(&self) -> impl Iterator<Item = Offer> {
        self.by_order.iter().map(|(order, destination, publisher)| offer(&(*destination, *order, *publisher)))
    }

    /// The entry of a member's own table that keeps a route out: one to the same destination, or the narrowest closed one
    /// that the destination lies in.
    pub fn keeps_out(&self, member: Member, destination: Ipv4Net) -> Option<Ipv4Net> {
        if self.own.contains(&(destination, member)) {
            return Some(destination);
        }
        around(destination).find(|block| self.closed.contains(&(*block, member)))
    }

    /// All members whose own tables keep a route out, each with the entry that does; one may be named twice.
    pub fn all_who_keep_out(&self, destination: Ipv4Net) -> impl Iterator<Item = (Member, Ipv4Net)> {
        let at = |set: &SharedSet<(Ipv4Net, Member)>, block| {
            let same = set.starting_at(&(block, Member(0))).take_while(|(to, _)| *to == block);
            same.map(|(block, member)| (*member, *block)).collect::<Vec<_>>()
        };
        let same = at(&self.own, destination);
        same.into_iter().chain(around(destination).flat_map(move |block| at(&self.closed, block)))
    }
}

fn offer((destination, order, publisher): &(Ipv4Net, u64, Member)) -> Offer {
    Offer { destination: *destination, order: *order, publisher: *publisher }
}

/// The blocks that contain another one, itself first.
fn around(block: Ipv4Net) -> impl Iterator<Item = Ipv4Net> {
    std::iter::successors(Some(block.trunc()), Ipv4Net::supernet)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn net(text: &str) -> Ipv4Net {
        text.parse().unwrap()
    }

    #[test]
    fn a_network_that_leaves_takes_everything_of_its_own_along_and_its_number_is_given_again() {
        let (cen, a, b) = (CenId::from("cen-a"), NetworkId::Vpc("vpc-a".into()), NetworkId::Vpc("vpc-b".into()));
        let entries = |third: u8| [(net(&format!("10.{third}.0.0/16")), RouteKind::VSwitch)];
        let mut index = Index::default();
        index.attach(&cen, &a, entries(1));
        index.attach(&cen, &b, entries(2));
        let part = index.of_mut(&cen).unwrap();
        part.publish(&a, net("10.1.0.0/16"), 4);
        part.publish(&b, net("10.2.0.0/16"), 3);
        let part = index.of(&cen).unwrap();
        assert_eq!(part.in_order().map(|offer| offer.order).collect::<Vec<_>>(), [3, 4]);
        assert_eq!(part.offers_to(net("10.1.0.0/16")).count(), 1);
        let member = part.member(&a).unwrap();
        assert_eq!(part.keeps_out(member, net("10.1.7.0/24")), Some(net("10.1.0.0/16")));
        assert_eq!(part.keeps_out(member, net("10.0.0.0/8")), None);
        assert_eq!(part.all_who_keep_out(net("10.1.7.0/24")).collect::<Vec<_>>(), [(member, net("10.1.0.0/16"))]);

        index.detach(&cen, &a, entries(1), [(net("10.1.0.0/16"), 4)]);
        let part = index.of(&cen).unwrap();
        assert_eq!((part.offers().count(), part.own.len(), part.closed.len()), (1, 1, 1));
        index.attach(&cen, &a, []);
        assert_eq!(index.of(&cen).unwrap().member(&a), Some(member));
        index.detach(&cen, &a, [], []);
        index.detach(&cen, &b, entries(2), [(net("10.2.0.0/16"), 3)]);
        assert!(index.of(&cen).is_none());
    }
}
