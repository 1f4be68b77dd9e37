//! What an attached network learns from the CEN instance.

use std::collections::{BTreeMap, BTreeSet};

use ipnet::Ipv4Net;

use super::identifier::CenId;
use super::network::{NetworkId, NetworkKind};
use super::route::{RouteEntry, RouteKind};
use super::state::{Attachment, State};

/// Routes that one network takes from CEN at most (the documented quota of routes per CEN instance); those published
/// later overflow.
pub const LEARNED_ROUTE_QUOTA: usize = 100;

/// Why a route is not used although it is published.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Rejection {
    /// The learner's own entry to this destination collides with it.
    OwnEntry(Ipv4Net),
    /// Another network published the same destination earlier.
    EarlierPublisher(NetworkId),
    /// The learner's quota is exhausted.
    Overflow,
}

/// What became of a published route at a learner.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum LearnedStatus {
    /// In use. Several active routes to one destination share the load.
    Active,
    /// Standby behind a better route to the same destination.
    Candidate,
    /// Not learned.
    Rejected(Rejection),
}

impl LearnedStatus {
    /// The API's `Status`.
    pub fn api_name(&self) -> &'static str {
        match self {
            Self::Active => "Active",
            Self::Candidate => "Candidate",
            Self::Rejected(_) => "Rejected",
        }
    }
}

/// A route that another network published, as one network sees it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LearnedRoute {
    /// Destination of the publisher's entry (`DestinationCidrBlock`).
    pub destination: Ipv4Net,
    /// The network that published it: its next hop.
    pub publisher: NetworkId,
    /// Region of the publisher (`NextHopRegionId`).
    pub publisher_region: String,
    /// Kind of the publisher's entry.
    pub kind: RouteKind,
    /// AS path of a BGP route; empty for all others.
    pub as_path: Vec<u32>,
    /// Whether the learner uses it, and if not, why (`Status`).
    pub status: LearnedStatus,
}

/// A published entry with its publisher.
struct Candidate<'a> {
    publisher: &'a NetworkId,
    region: &'a str,
    entry: &'a RouteEntry,
    order: u64,
}

impl Candidate<'_> {
    fn learned(&self, status: LearnedStatus) -> LearnedRoute {
        LearnedRoute {
            destination: self.entry.destination,
            publisher: self.publisher.clone(),
            publisher_region: self.region.to_owned(),
            kind: self.entry.kind,
            as_path: self.entry.as_path.clone(),
            status,
        }
    }
}

/// Everything that the other networks of its CEN instance publish to `network`, in the order of destinations, with
/// what became of each route. A network that is not attached learns nothing.
///
/// The rules, in this order (overlapping routing is on, as it is for every CEN instance since 2019):
/// 1. A network does not learn its own routes.
/// 2. VBRs are not connected with each other: a VBR learns from VPCs only.
/// 3. A route to exactly the destination of an entry of the learner's own table is rejected.
/// 4. A route that lies inside one of the learner's vSwitches is rejected. A vSwitch inside the route is no obstacle,
///    nor is a custom entry that contains the route or lies inside it: the longest prefix decides.
/// 5. Of several routes to one destination the earliest published wins, together with all other VBR routes if it came
///    from a VBR: among these BGP beats static; of BGP routes the one with the shortest AS path is active (the earlier
///    one of equals) and the rest stand by; static routes are all active and share the load. Every other route is
///    rejected, until the winner is withdrawn, deleted or detached.
/// 6. Destinations beyond [`LEARNED_ROUTE_QUOTA`], in the order of publication, overflow.
pub fn learned_routes(state: &State, network: &NetworkId) -> Vec<LearnedRoute> {
    let Some(attachment) = state.attachments.get(network) else { return Vec::new() };
    let own_entries = own_entries(state, network);
    let connected = published_in(state, attachment)
        .into_iter()
        .filter(|candidate| candidate.publisher != network)
        .filter(|candidate| (network.kind(), candidate.publisher.kind()) != (NetworkKind::Vbr, NetworkKind::Vbr));

    let mut learned = Vec::new();
    let mut fitting: BTreeMap<Ipv4Net, Vec<Candidate<'_>>> = BTreeMap::new();
    for candidate in connected {
        match own_entries.iter().find(|own| collides(own, candidate.entry.destination)) {
            Some(own) => {
                let rejection = Rejection::OwnEntry(own.destination);
                learned.push((candidate.order, candidate.learned(LearnedStatus::Rejected(rejection))));
            }
            None => fitting.entry(candidate.entry.destination).or_default().push(candidate),
        }
    }
    learned.extend(fitting.into_values().flat_map(select));
    overflow(&mut learned);
    finish(learned)
}

/// Every route of a CEN instance as its regions' tables show it: rules 5 and 6 do not depend on a learner's own table,
/// so this is what a network with an empty table and a connection to everybody would see.
pub fn cen_routes(state: &State, cen: &CenId) -> Vec<LearnedRoute> {
    let Some((_, attachment)) = state.attached_to(cen).next() else { return Vec::new() };
    let mut groups: BTreeMap<Ipv4Net, Vec<Candidate<'_>>> = BTreeMap::new();
    for candidate in published_in(state, attachment) {
        groups.entry(candidate.entry.destination).or_default().push(candidate);
    }
    finish(groups.into_values().flat_map(select).collect())
}

fn own_entries<'a>(state: &'a State, network: &NetworkId) -> Vec<&'a RouteEntry> {
    state.table_of(network).map(|table| table.entries.values().collect()).unwrap_or_default()
}

/// What the networks of the same CEN instance publish.
fn published_in<'a>(state: &'a State, attachment: &'a Attachment) -> Vec<Candidate<'a>> {
    let mut candidates = Vec::new();
    for (publisher, member) in state.attached_to(&attachment.cen) {
        let (Some(table), Some(region)) = (state.table_of(publisher), state.region_of(publisher)) else { continue };
        for (destination, order) in &member.publications {
            let Some(entry) = table.entry_to(*destination) else { continue };
            candidates.push(Candidate { publisher, region, entry, order: *order });
        }
    }
    candidates
}

/// Rules 3 and 4: does a learner's own entry keep a route out?
fn collides(own: &RouteEntry, destination: Ipv4Net) -> bool {
    match own.kind {
        RouteKind::VSwitch | RouteKind::Service => own.destination.contains(&destination),
        _ => own.destination == destination,
    }
}

/// Rule 5, over routes to one destination.
fn select(mut group: Vec<Candidate<'_>>) -> Vec<(u64, LearnedRoute)> {
    group.sort_by(|a, b| (a.order, a.publisher).cmp(&(b.order, b.publisher)));
    let Some(winner) = group.first() else { return Vec::new() };
    let (winner_id, winner_kind) = (winner.publisher.clone(), winner.publisher.kind());
    let best_bgp = group
        .iter()
        .filter(|candidate| candidate.entry.kind == RouteKind::Bgp)
        .min_by_key(|candidate| (candidate.entry.as_path.len(), candidate.order))
        .map(|candidate| candidate.publisher.clone());
    let status = |candidate: &Candidate<'_>| {
        if *candidate.publisher == winner_id && winner_kind == NetworkKind::Vpc {
            return LearnedStatus::Active;
        }
        if winner_kind == NetworkKind::Vpc || candidate.publisher.kind() == NetworkKind::Vpc {
            return LearnedStatus::Rejected(Rejection::EarlierPublisher(winner_id.clone()));
        }
        match &best_bgp {
            Some(best) if candidate.publisher != best => LearnedStatus::Candidate,
            _ => LearnedStatus::Active,
        }
    };
    group.iter().map(|candidate| (candidate.order, candidate.learned(status(candidate)))).collect()
}

/// Rule 6.
fn overflow(learned: &mut [(u64, LearnedRoute)]) {
    learned.sort_by(|(a, x), (b, y)| (a, x.destination, &x.publisher).cmp(&(b, y.destination, &y.publisher)));
    let mut taken = BTreeSet::new();
    for (_, route) in learned.iter_mut().filter(|(_, route)| !matches!(route.status, LearnedStatus::Rejected(_))) {
        if taken.len() >= LEARNED_ROUTE_QUOTA && !taken.contains(&route.destination) {
            route.status = LearnedStatus::Rejected(Rejection::Overflow);
        } else {
            taken.insert(route.destination);
        }
    }
}

fn finish(mut learned: Vec<(u64, LearnedRoute)>) -> Vec<LearnedRoute> {
    learned.sort_by(|(a, x), (b, y)| (x.destination, a, &x.publisher).cmp(&(y.destination, b, &y.publisher)));
    learned.into_iter().map(|(_, route)| route).collect()
}
