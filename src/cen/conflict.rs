//! Collisions of published routes, as both ends see them.

use ipnet::Ipv4Net;

use super::learn::{LearnedRoute, LearnedStatus, Rejection, learned_routes};
use super::network::NetworkId;
use super::state::State;

/// One record of the API's `Conflicts`: what stands in the way, and where.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Conflict {
    /// The destination over there that collides.
    pub destination: Ipv4Net,
    /// Region of the other network (`RegionId`).
    pub region: String,
    /// The other network of the collision (`InstanceId`, `InstanceType`).
    pub instance: NetworkId,
    /// `conflict` (a colliding destination) or `overflow` (the other network's quota is exhausted).
    pub status: &'static str,
}

/// Why the network's published route to `destination` does not arrive everywhere: one record for each network that
/// rejected it with an entry of its own or for want of room, and one for the publisher that came earlier.
pub fn at_publisher(state: &State, network: &NetworkId, destination: Ipv4Net) -> Vec<Conflict> {
    let Some(attachment) = state.attachments.get(network) else { return Vec::new() };
    if !attachment.publications.contains_key(&destination) {
        return Vec::new();
    }
    let mut conflicts = Vec::new();
    for (learner, _) in state.attached_to(&attachment.cen).filter(|(learner, _)| *learner != network) {
        let routes = learned_routes(state, learner);
        let ours = routes.iter().filter(|route| route.publisher == *network && route.destination == destination);
        conflicts.extend(ours.filter_map(|route| at_learner(state, learner, route)));
    }
    conflicts.sort();
    conflicts.dedup();
    conflicts
}

/// What keeps a route out of the learner's table; `None` when it was learned.
pub fn at_learner(state: &State, learner: &NetworkId, route: &LearnedRoute) -> Option<Conflict> {
    let LearnedStatus::Rejected(rejection) = &route.status else { return None };
    let (destination, instance, status) = match rejection {
        Rejection::OwnEntry(own) => (*own, learner, "conflict"),
        Rejection::EarlierPublisher(winner) => (route.destination, winner, "conflict"),
        Rejection::Overflow => (route.destination, learner, "overflow"),
    };
    let region = state.region_of(instance).unwrap_or_default().to_owned();
    Some(Conflict { destination, region, instance: instance.clone(), status })
}

/// Published routes of other networks that the network's own entry to `destination` keeps out.
pub fn with_own_entry(state: &State, network: &NetworkId, destination: Ipv4Net) -> Vec<Conflict> {
    let kept_out = learned_routes(state, network);
    let kept_out =
        kept_out.into_iter().filter(|route| route.status == LearnedStatus::Rejected(Rejection::OwnEntry(destination)));
    let record = |route: LearnedRoute| Conflict {
        destination: route.destination,
        region: route.publisher_region,
        instance: route.publisher,
        status: "conflict",
    };
    kept_out.map(record).collect()
}
