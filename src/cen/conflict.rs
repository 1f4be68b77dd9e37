//! Collisions of published routes, as both ends see them.

use std::cell::OnceCell;
use std::collections::BTreeMap;
use std::rc::Rc;

use ipnet::Ipv4Net;

use super::horizon::Horizons;
use super::index::{CenIndex, Member, Offer};
use super::learn::{LEARNED_ROUTE_QUOTA, LearnedRoute, LearnedStatus, Rejection, View, place};
use super::network::NetworkId;
use super::passage::{Passage, Sort};
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

/// Why the routes of one network do not arrive everywhere. What is the same for all of its routes is looked at once, and what is
/// the same for all networks of a sort for one of them.
pub struct Conflicts<'a> {
    state: &'a State,
    member: Member,
    index: &'a CenIndex,
    passage: Rc<Passage<'a>>,
    sorts: Vec<Learners<'a>>,
    /// The place of each learner in `sorts`.
    sort_of: BTreeMap<Member, usize>,
    /// The place in the order of publication up to which everybody has room: no more than the quota is published so far.
    room_for_all: u64,
}

/// The other networks of one sort.
struct Learners<'a> {
    /// What CEN brings to each of them.
    view: View<'a>,
    members: Vec<(&'a NetworkId, Member)>,
    /// Looked for when a route is asked about that there may be no room for.
    room: OnceCell<Room>,
}

/// What the networks of a sort have room for.
struct Room {
    horizons: Horizons,
    /// The last places, the least first.
    places: Vec<u64>,
}

/// Who has no room for a route: the networks of a sort, but for those whose own tables keep it out, that are full before its
/// place.
struct Full {
    sort: usize,
    place: u64,
}

/// What keeps a route from learners.
struct Kept<'a> {
    /// The records but for those of the networks that are full, in order.
    conflicts: Vec<Conflict<'a>>,
    full: Vec<Full>,
    /// Whose own tables keep it out, with the entry that does, by their sort.
    keepers: BTreeMap<usize, BTreeMap<Member, Ipv4Net>>,
}

impl<'a> Conflicts<'a> {
    /// Those of a network's routes; `None` when it is not attached.
    pub fn of(state: &'a State, network: &'a NetworkId) -> Option<Self> {
        let cen = &state.attachments.get(network)?.cen;
        let index = state.index_of(cen)?;
        let passage = Rc::new(Passage::of(state, cen));
        let mut by_sort: BTreeMap<Sort<'_>, Vec<(&NetworkId, Member)>> = BTreeMap::new();
        for (learner, member) in index.members().filter(|(learner, _)| *learner != network) {
            by_sort.entry(passage.sort_of(learner)).or_default().push((learner, member));
        }
        let learners = by_sort.into_values().filter_map(|members| {
            let view = View::of_sort(state, index, Rc::clone(&passage), members.first()?.0);
            Some(Learners { view, members, room: OnceCell::new() })
        });
        let sorts: Vec<_> = learners.collect();
        let numbered = sorts.iter().enumerate();
        let sort_of = numbered.flat_map(|(place, sort)| sort.members.iter().map(move |(_, member)| (*member, place)));
        let (sort_of, member) = (sort_of.collect(), index.member(network)?);
        let room_for_all = index.in_order().nth(LEARNED_ROUTE_QUOTA - 1).map_or(u64::MAX, |offer| offer.order);
        Some(Self { state, member, index, passage, sorts, sort_of, room_for_all })
    }

    /// One record for each network that rejected the route to `destination` with an entry of its own or for want of room, or
    /// from which a map keeps it, and one for the publisher that is preferred. In order; at most `most`, where any of them
    /// are as good as others.
    pub fn to(&self, destination: Ipv4Net, most: usize) -> Vec<Conflict<'a>> {
        let Kept { mut conflicts, full, keepers } = self.apart_from_full(destination, most);
        for Full { sort: number, place } in full {
            let Some(sort) = self.sorts.get(number) else { continue };
            let (horizons, keepers) = (&self.room(sort).horizons, keepers.get(&number));
            let keeps_out = |member: &Member| keepers.is_some_and(|keepers| keepers.contains_key(member));
            let is_full = |(_, member): &&(_, Member)| !keeps_out(member) && horizons.at(*member) < place;
            let overflow = |(instance, _): &(&'a NetworkId, Member)| self.record(instance, destination, "overflow");
            let room = most.saturating_sub(conflicts.len());
            conflicts.extend(sort.members.iter().filter(is_full).take(room).map(overflow));
        }
        conflicts.sort();
        conflicts.truncate(most);
        conflicts
    }

    /// How many records [`to`](Self::to) has, without a look at each of those who are full.
    pub fn count(&self, destination: Ipv4Net) -> usize {
        let Kept { conflicts, full, keepers } = self.apart_from_full(destination, usize::MAX);
        let overflows = full.iter().filter_map(|Full { sort: number, place }| {
            let Room { horizons, places } = self.room(self.sorts.get(*number)?);
            let keep_out = keepers.get(number).into_iter().flat_map(BTreeMap::keys);
            let without_room = places.partition_point(|last| last < place);
            Some(without_room - keep_out.filter(|member| horizons.at(**member) < *place).count())
        });
        conflicts.len() + overflows.sum::<usize>()
    }

    /// What the networks of a sort have room for.
    fn room<'s>(&self, sort: &'s Learners<'a>) -> &'s Room {
        sort.room.get_or_init(|| {
            let alone = |member| {
                let (network, _) = sort.members.iter().find(|(_, one)| *one == member)?;
                Some(View::of_network_past(self.state, network, Rc::clone(&self.passage))?.horizon())
            };
            let horizons = Horizons::of(self.index, &sort.view, alone);
            let mut places: Vec<u64> = sort.members.iter().map(|(_, member)| horizons.at(*member)).collect();
            places.sort_unstable();
            Room { horizons, places }
        })
    }

    /// For how many sorts it was looked for.
    #[cfg(test)]
    pub(super) fn rooms(&self) -> usize {
        self.sorts.iter().filter(|sort| sort.room.get().is_some()).count()
    }

    fn record(&self, instance: &'a NetworkId, destination: Ipv4Net, status: &'static str) -> Conflict<'a> {
        let region = self.state.region_of(instance).unwrap_or_default();
        Conflict { destination, region, instance, status }
    }

    /// What keeps a route from learners, at most `most` records of each kind.
    fn apart_from_full(&self, destination: Ipv4Net, most: usize) -> Kept<'a> {
        let mut kept = Kept { conflicts: Vec::new(), full: Vec::new(), keepers: BTreeMap::new() };
        let group: Vec<Offer> = self.index.offers_to(destination).collect();
        let Some(ours) = group.iter().find(|offer| offer.publisher == self.member) else { return kept };
        for (member, own) in self.index.all_who_keep_out(destination) {
            if let Some(sort) = self.sort_of.get(&member) {
                kept.keepers.entry(*sort).or_default().entry(member).or_insert(own);
            }
        }
        let mut kept_out = Vec::new();
        for (number, sort) in self.sorts.iter().enumerate() {
            let judged = sort.view.judge(&group);
            let Some(status) = judged.iter().find(|one| one.offer == *ours).map(|one| &one.status) else { continue };
            if *status == LearnedStatus::Prohibited {
                let prohibited = sort.members.iter().map(|(id, _)| self.record(id, destination, "prohibited"));
                kept.conflicts.extend(prohibited.take(most));
                continue;
            }
            let keepers = kept.keepers.get(&number);
            let records = keepers.into_iter().flatten().filter_map(|(member, own)| {
                let instance = self.index.network(*member)?;
                Some(self.record(instance, *own, "conflict"))
            });
            kept_out.extend(records.take(most.saturating_sub(kept_out.len())));
            match (status, place(&judged)) {
                (LearnedStatus::Rejected(Rejection::EarlierPublisher(winner)), _) => {
                    let winner = self.index.member(winner).and_then(|member| self.index.network(member));
                    let winner = winner.filter(|_| keepers.map_or(0, BTreeMap::len) < sort.members.len());
                    kept.conflicts.extend(winner.map(|winner| self.record(winner, destination, "conflict")));
                }
                (_, Some(place))
                    if place > self.room_for_all
                        && self.room(sort).places.first().is_some_and(|least| *least < place) =>
                {
                    kept.full.push(Full { sort: number, place });
                }
                _ => {}
            }
        }
        kept.conflicts.extend(kept_out);
        kept.conflicts.sort();
        kept.conflicts.dedup();
        kept
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

/// Published routes of other networks that the own entry to `destination` of the network that looks keeps out, at most `most`.
pub fn with_own_entry<'a>(state: &'a State, view: &View<'a>, destination: Ipv4Net, most: usize) -> Vec<Conflict<'a>> {
    let record = |publisher: &NetworkId, destination| {
        let (instance, _) = state.attachments.get_key_value(publisher)?;
        let region = state.region_of(instance).unwrap_or_default();
        Some(Conflict { destination, region, instance, status: "conflict" })
    };
    view.kept_out_by(destination).filter_map(|route| record(&route.publisher, route.destination)).take(most).collect()
}
