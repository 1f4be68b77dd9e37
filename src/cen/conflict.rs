//! Collisions of published routes, as both ends see them.

use std::collections::{BTreeMap, BTreeSet};
use std::rc::Rc;

use ipnet::Ipv4Net;

use super::horizon::Horizons;
use super::index::{CenIndex, Member, Offer};
use super::learn::{LearnedRoute, LearnedStatus, Rejection, View, place};
use super::network::{NetworkId, NetworkKind};
use super::passage::Passage;
use super::state::State;

/// One record of the API's `Conflicts`: what stands in the way, and where.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Conflict<'a> {
    /// The destination over there that collides.
    pub destination: Ipv4Net,
    /// Region of the other network (`RegionId`).
    pub region: &'a str,
    /// The other network of the collision (`InstanceId`, `InstanceType`).
    pub instance: &'a NetworkId,
    /// `conflict` (a colliding destination), `overflow` (the other network's quota is exhausted) or `prohibited` (a route
    /// map keeps it from the other network).
    pub status: &'static str,
}

/// Why the routes of one network do not arrive everywhere. What is the same for all of its routes is looked at once.
pub struct Conflicts<'a> {
    state: &'a State,
    network: &'a NetworkId,
    member: Member,
    index: &'a CenIndex,
    /// Where route maps stand, or VBRs learn: what each of them sees.
    views: Vec<View<'a>>,
    /// What somebody sees who keeps nothing out, where no maps stand.
    region: View<'a>,
    /// The other VPCs, in the order of conflicts with them.
    vpcs: Vec<(&'a str, &'a NetworkId, Member)>,
    /// `None` where route maps stand, so that every network has to be asked.
    horizons: Option<Horizons>,
    /// The last places that the other VPCs have room for, the least first.
    places: Vec<u64>,
}

/// Who has no room for a route: the VPCs, but for those whose own tables keep it out, that are full before its place.
struct Full {
    place: u64,
    keepers: BTreeMap<Member, Ipv4Net>,
}

impl<'a> Conflicts<'a> {
    /// Those of a network's routes; `None` when it is not attached.
    pub fn of(state: &'a State, network: &'a NetworkId) -> Option<Self> {
        let cen = &state.attachments.get(network)?.cen;
        let index = state.index_of(cen)?;
        let passage = Rc::new(Passage::of(state, cen));
        let has_maps = !passage.is_open();
        let asked = index.members().filter(|(learner, _)| *learner != network);
        let asked = asked.filter(|(learner, _)| has_maps || learner.kind() == NetworkKind::Vbr);
        let views =
            asked.filter_map(|(learner, _)| View::of_network_past(state, learner, Rc::clone(&passage))).collect();
        let vpcs = index.members().filter(|(learner, _)| *learner != network && learner.kind() == NetworkKind::Vpc);
        let mut vpcs: Vec<_> =
            vpcs.map(|(learner, member)| (state.region_of(learner).unwrap_or_default(), learner, member)).collect();
        vpcs.sort_unstable();
        let horizons = (!has_maps).then(|| Horizons::of(state, index));
        let places = horizons.iter().flat_map(|horizons| vpcs.iter().map(|(.., member)| horizons.at(*member)));
        let mut places: Vec<u64> = places.collect();
        places.sort_unstable();
        let (region, member) = (View::of_region(state, cen, "")?, index.member(network)?);
        Some(Self { state, network, member, index, views, region, vpcs, horizons, places })
    }

    /// One record for each network that rejected the route to `destination` with an entry of its own or for want of room, or
    /// from which a map keeps it, and one for the publisher that is preferred. In order; at most `most`, where any of them
    /// are as good as others.
    pub fn to(&self, destination: Ipv4Net, most: usize) -> Vec<Conflict<'a>> {
        let (mut conflicts, full) = self.apart_from_full(destination, most);
        if let (Some(full), Some(horizons)) = (full, &self.horizons) {
            let vpcs = self.vpcs.iter().filter(|(.., member)| full.holds(*member, horizons));
            let overflow = |&(region, instance, _): &(&'a str, &'a NetworkId, Member)| Conflict {
                destination,
                region,
                instance,
                status: "overflow",
            };
            conflicts.extend(vpcs.take(most.saturating_sub(conflicts.len())).map(overflow));
            conflicts.sort();
        }
        conflicts.truncate(most);
        conflicts
    }

    /// How many records [`to`](Self::to) has, without a look at each of those who are full.
    pub fn count(&self, destination: Ipv4Net) -> usize {
        let (conflicts, full) = self.apart_from_full(destination, usize::MAX);
        let Some((full, horizons)) = full.zip(self.horizons.as_ref()) else { return conflicts.len() };
        let without_room = self.places.partition_point(|last| *last < full.place);
        let keep_out = full.keepers.keys().filter(|member| **member != self.member);
        conflicts.len() + without_room - keep_out.filter(|member| horizons.at(**member) < full.place).count()
    }

    /// The records but for those of the VPCs that are full, in order, at most `most` of each sort; and who these are, if the
    /// route gets as far as to be measured.
    fn apart_from_full(&self, destination: Ipv4Net, most: usize) -> (Vec<Conflict<'a>>, Option<Full>) {
        let group: Vec<Offer> = self.index.offers_to(destination).collect();
        let Some(ours) = group.iter().find(|offer| offer.publisher == self.member) else { return (Vec::new(), None) };
        // Many may tell of the same: of the publisher that is preferred.
        let mut conflicts = BTreeSet::new();
        for view in &self.views {
            let route = view.routes_to(destination).into_iter().find(|route| route.publisher == *self.network);
            conflicts.extend(route.and_then(|route| at_learner(self.state, view.network()?, &route)));
            if conflicts.len() >= most {
                break;
            }
        }
        let full = self.horizons.as_ref().and_then(|_| self.at_vpcs(&group, *ours, most, &mut conflicts));
        (conflicts.into_iter().collect(), full)
    }

    /// At the VPCs, which all see the same but for what their own tables keep out.
    fn at_vpcs(
        &self,
        group: &[Offer],
        ours: Offer,
        most: usize,
        conflicts: &mut BTreeSet<Conflict<'a>>,
    ) -> Option<Full> {
        let destination = ours.destination;
        let is_vpc = |member| self.index.network(member).is_some_and(|network| network.kind() == NetworkKind::Vpc);
        let mut keepers = BTreeMap::new();
        for (member, own) in self.index.all_who_keep_out(destination).filter(|(member, _)| is_vpc(*member)) {
            keepers.entry(member).or_insert(own);
        }
        let record = |instance: &'a NetworkId, destination| Conflict {
            destination,
            region: self.state.region_of(instance).unwrap_or_default(),
            instance,
            status: "conflict",
        };
        let own = keepers.iter().filter(|(member, _)| **member != self.member);
        let own = own.filter_map(|(member, own)| Some(record(self.index.network(*member)?, *own)));
        conflicts.extend(own.take(most));
        let judged = self.region.judge(group);
        match judged.iter().find(|one| one.offer == ours).map(|one| &one.status) {
            Some(LearnedStatus::Rejected(Rejection::EarlierPublisher(winner))) => {
                let seen = self.vpcs.iter().any(|(.., member)| !keepers.contains_key(member));
                let winner = self.index.member(winner).and_then(|member| self.index.network(member));
                conflicts.extend(winner.filter(|_| seen).map(|winner| record(winner, destination)));
                None
            }
            _ => {
                let least = self.places.first().copied().unwrap_or(u64::MAX);
                place(&judged).filter(|place| *place > least).map(|place| Full { place, keepers })
            }
        }
    }
}

impl Full {
    fn holds(&self, member: Member, horizons: &Horizons) -> bool {
        !self.keepers.contains_key(&member) && horizons.at(member) < self.place
    }
}

/// Why the network's published route to `destination` does not arrive everywhere; see [`Conflicts::to`].
pub fn at_publisher<'a>(state: &'a State, network: &'a NetworkId, destination: Ipv4Net) -> Vec<Conflict<'a>> {
    Conflicts::of(state, network).map(|conflicts| conflicts.to(destination, usize::MAX)).unwrap_or_default()
}

/// What keeps a route out of the learner's table; `None` when it was learned.
pub fn at_learner<'a>(state: &'a State, learner: &'a NetworkId, route: &LearnedRoute) -> Option<Conflict<'a>> {
    let known = |network: &NetworkId| state.attachments.get_key_value(network).map(|(network, _)| network);
    let (destination, instance, status) = match &route.status {
        LearnedStatus::Active | LearnedStatus::Candidate => return None,
        LearnedStatus::Rejected(Rejection::OwnEntry(own)) => (*own, learner, "conflict"),
        LearnedStatus::Rejected(Rejection::EarlierPublisher(winner)) => (route.destination, known(winner)?, "conflict"),
        LearnedStatus::Rejected(Rejection::Overflow) => (route.destination, learner, "overflow"),
        LearnedStatus::Prohibited => (route.destination, learner, "prohibited"),
    };
    Some(Conflict { destination, region: state.region_of(instance).unwrap_or_default(), instance, status })
}

/// Published routes of other networks that the network's own entry to `destination` keeps out, at most `most`.
pub fn with_own_entry<'a>(
    state: &'a State,
    network: &'a NetworkId,
    destination: Ipv4Net,
    most: usize,
) -> Vec<Conflict<'a>> {
    let Some(view) = View::of_network(state, network) else { return Vec::new() };
    let record = |publisher: &NetworkId, destination| {
        let (instance, _) = state.attachments.get_key_value(publisher)?;
        let region = state.region_of(instance).unwrap_or_default();
        Some(Conflict { destination, region, instance, status: "conflict" })
    };
    view.kept_out_by(destination).filter_map(|route| record(&route.publisher, route.destination)).take(most).collect()
}
