//! Collisions of published routes, as both ends see them.

use std::collections::BTreeMap;

use ipnet::Ipv4Net;

use super::horizon::Horizons;
use super::identifier::CenId;
use super::index::{CenIndex, Member, Offer};
use super::learn::{LearnedRoute, LearnedStatus, Rejection, View, place};
use super::network::{NetworkId, NetworkKind};
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
    cen: &'a CenId,
    network: &'a NetworkId,
    member: Member,
    index: &'a CenIndex,
    /// Where route maps stand, or VBRs learn: what each of them sees.
    views: Vec<View<'a>>,
    /// The other VPCs, in the order of conflicts with them.
    vpcs: Vec<(&'a str, &'a NetworkId, Member)>,
    /// `None` where route maps stand, so that every network has to be asked.
    horizons: Option<Horizons>,
    /// The last place that everybody has room for.
    least: u64,
}

impl<'a> Conflicts<'a> {
    /// Those of a network's routes; `None` when it is not attached.
    pub fn of(state: &'a State, network: &'a NetworkId) -> Option<Self> {
        let cen = &state.attachments.get(network)?.cen;
        let index = state.index_of(cen)?;
        let has_maps = state.route_maps_of(cen).next().is_some();
        let asked = index.members().filter(|(learner, _)| *learner != network);
        let asked = asked.filter(|(learner, _)| has_maps || learner.kind() == NetworkKind::Vbr);
        let views = asked.filter_map(|(learner, _)| View::of_network(state, learner)).collect();
        let vpcs = index.members().filter(|(learner, _)| *learner != network && learner.kind() == NetworkKind::Vpc);
        let mut vpcs: Vec<_> =
            vpcs.map(|(learner, member)| (state.region_of(learner).unwrap_or_default(), learner, member)).collect();
        vpcs.sort_unstable();
        let horizons = (!has_maps).then(|| Horizons::of(state, index));
        let least = horizons.as_ref().map_or(0, Horizons::least);
        Some(Self { state, cen, network, member: index.member(network)?, index, views, vpcs, horizons, least })
    }

    /// One record for each network that rejected the route to `destination` with an entry of its own or for want of room, or
    /// from which a map keeps it, and one for the publisher that is preferred. In order; at most `most`, where any of them
    /// are as good as others.
    pub fn to(&self, destination: Ipv4Net, most: usize) -> Vec<Conflict<'a>> {
        let group: Vec<Offer> = self.index.offers_to(destination).collect();
        let Some(ours) = group.iter().find(|offer| offer.publisher == self.member) else { return Vec::new() };
        let mut conflicts = Vec::new();
        for view in &self.views {
            let route = view.routes_to(destination).into_iter().find(|route| route.publisher == *self.network);
            conflicts.extend(route.and_then(|route| at_learner(self.state, view.network()?, &route)));
            if conflicts.len() >= most {
                break;
            }
        }
        if let Some(horizons) = &self.horizons {
            self.at_vpcs(&group, *ours, horizons, most, &mut conflicts);
        }
        conflicts.sort();
        conflicts.dedup();
        conflicts.truncate(most);
        conflicts
    }

    /// At the VPCs, which all see the same but for what their own tables keep out.
    fn at_vpcs(
        &self,
        group: &[Offer],
        ours: Offer,
        horizons: &Horizons,
        most: usize,
        conflicts: &mut Vec<Conflict<'a>>,
    ) {
        let destination = ours.destination;
        let is_vpc = |member| self.index.network(member).is_some_and(|network| network.kind() == NetworkKind::Vpc);
        let mut keepers = BTreeMap::new();
        for (member, own) in self.index.all_who_keep_out(destination).filter(|(member, _)| is_vpc(*member)) {
            keepers.entry(member).or_insert(own);
        }
        // As somebody sees it who keeps nothing out.
        let Some(region) = View::of_region(self.state, self.cen, "") else { return };
        let judged = region.judge(group);
        let status = judged.iter().find(|one| one.offer == ours).map(|one| &one.status);
        let others = || self.vpcs.iter().filter(|(.., member)| !keepers.contains_key(member));
        let record = |instance: &'a NetworkId, destination, status| Conflict {
            destination,
            region: self.state.region_of(instance).unwrap_or_default(),
            instance,
            status,
        };
        let own = keepers.iter().filter(|(member, _)| **member != self.member);
        let own = own.filter_map(|(member, own)| Some(record(self.index.network(*member)?, *own, "conflict")));
        conflicts.extend(own.take(most));
        match status {
            Some(LearnedStatus::Rejected(Rejection::EarlierPublisher(winner))) => {
                let seen = others().next().is_some();
                let winner = self.index.member(winner).and_then(|member| self.index.network(member));
                conflicts.extend(winner.filter(|_| seen).map(|winner| record(winner, destination, "conflict")));
            }
            _ => {
                let Some(place) = place(&judged).filter(|place| *place > self.least) else { return };
                let full = others().filter(|(.., member)| horizons.at(*member) < place);
                let full = full.take(most.saturating_sub(conflicts.len()));
                let overflow = |&(region, instance, _): &(&'a str, &'a NetworkId, Member)| Conflict {
                    destination,
                    region,
                    instance,
                    status: "overflow",
                };
                conflicts.extend(full.map(overflow));
            }
        }
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
