//! What an attached network learns from the CEN instance.

use std::cell::OnceCell;
use std::collections::BTreeSet;
use std::rc::Rc;

use ipnet::Ipv4Net;

use super::identifier::CenId;
use super::index::{CenIndex, Member, Offer};
use super::network::{NetworkId, NetworkKind};
use super::on_demand::OnDemand;
use super::passage::{Arrival, Fate, Passage, Way};
use super::route::{RouteEntry, RouteKind};
use super::route_map::Attributes;
use super::state::State;

/// Routes that one network takes from CEN at most (the documented quota of routes per CEN instance); those published
/// later overflow.
pub const LEARNED_ROUTE_QUOTA: usize = 100;

/// Why a route is not used although it is published.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Rejection {
    /// The learner's own entry to this destination collides with it.
    OwnEntry(Ipv4Net),
    /// Another network published the same destination earlier, or with a better preference.
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
    /// A route map keeps it out.
    Prohibited,
}

impl LearnedStatus {
    /// The API's `Status`.
    pub fn api_name(&self) -> &'static str {
        match self {
            Self::Active => "Active",
            Self::Candidate => "Candidate",
            Self::Rejected(_) => "Rejected",
            Self::Prohibited => "Prohibited",
        }
    }

    /// In the learner's table, in use or standing by.
    pub fn is_taken(&self) -> bool {
        matches!(self, Self::Active | Self::Candidate)
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
    /// What it has become on its way: preference, AS path, communities.
    pub attributes: Attributes,
    /// Whether the learner uses it, and if not, why (`Status`).
    pub status: LearnedStatus,
}

/// Everything that the other networks of its CEN instance publish to `network`, in the order of destinations, with
/// what became of each route. A network that is not attached learns nothing.
///
/// The rules, in this order (overlapping routing is on, as it is for every CEN instance since 2019):
/// 1. A network does not learn its own routes.
/// 2. Route maps decide which routes come so far, and how they look then. VBRs are not connected with each other unless a
///    map permits it: a VBR learns from VPCs only.
/// 3. A route to exactly the destination of an entry of the learner's own table is rejected.
/// 4. A route that lies inside one of the learner's vSwitches is rejected. A vSwitch inside the route is no obstacle,
///    nor is a custom entry that contains the route or lies inside it: the longest prefix decides.
/// 5. Of several routes to one destination the one with the smallest preference, of equals the earliest published, wins,
///    together with all other VBR routes if it came from a VBR: of those that are equally preferred BGP beats static; of
///    BGP routes the one with the shortest AS path is active (the earlier one of equals) and the rest stand by; static
///    routes are all active and share the load. Every other route is rejected, until the winner is withdrawn, deleted or
///    detached.
/// 6. Destinations beyond [`LEARNED_ROUTE_QUOTA`], in the order of publication, overflow.
pub fn learned_routes(state: &State, network: &NetworkId) -> Vec<LearnedRoute> {
    let Some(view) = View::of_network(state, network) else { return Vec::new() };
    view.offers(None).offers.filter_map(|offer| view.route(offer)).collect()
}

/// Those of [`learned_routes`] that stand in the learner's table, in use or standing by.
pub fn taken_routes(state: &State, network: &NetworkId) -> Vec<LearnedRoute> {
    View::of_network(state, network).map(|view| view.taken()).unwrap_or_default()
}

/// As [`taken_routes`], past the route maps of the network's CEN instance, which several networks have in common.
pub fn taken_routes_past<'a>(state: &'a State, network: &'a NetworkId, passage: Rc<Passage<'a>>) -> Vec<LearnedRoute> {
    View::of_network_past(state, network, passage).map(|view| view.taken()).unwrap_or_default()
}

/// Who looks at the routes of a CEN instance.
enum Viewer<'a> {
    Network(&'a NetworkId, Member),
    /// Any network of the sort of this one: what CEN brings to all of them, whatever their own tables keep out.
    Sort(&'a NetworkId),
    /// The gateway of a region, which has no table of its own and sees what everybody publishes.
    Region(&'a str),
}

/// What somebody sees of a CEN instance. Only what is asked for is looked at.
pub struct View<'a> {
    state: &'a State,
    index: &'a CenIndex,
    passage: Rc<Passage<'a>>,
    viewer: Viewer<'a>,
    horizon: OnceCell<u64>,
    /// The publishers that were asked about, by their numbers.
    publishers: OnDemand<Publisher<'a>>,
    /// The regions that have a network.
    regions: OnceCell<BTreeSet<&'a str>>,
}

/// What is looked up once of a publisher.
struct Publisher<'a> {
    /// The way of its routes to the viewer.
    way: Way<'a>,
    /// Its entries in the order of their destinations.
    entries: OnceCell<Vec<&'a RouteEntry>>,
}

/// Routes that were asked for.
pub struct Offers<'v> {
    /// How many there are.
    pub count: usize,
    /// They are looked for as far as they are taken.
    pub offers: Box<dyn Iterator<Item = Offer> + 'v>,
}

impl Offers<'_> {
    fn of(offers: Vec<Offer>) -> Self {
        Self { count: offers.len(), offers: Box::new(offers.into_iter()) }
    }
}

/// A published route at the viewer.
pub(super) struct Judged<'a> {
    pub offer: Offer,
    publisher: &'a NetworkId,
    entry: &'a RouteEntry,
    attributes: Attributes,
    pub status: LearnedStatus,
}

impl<'a> View<'a> {
    /// What a network sees; `None` when it is not attached.
    pub fn of_network(state: &'a State, network: &'a NetworkId) -> Option<Self> {
        let passage = Rc::new(Passage::of(state, &state.attachments.get(network)?.cen));
        Self::of_network_past(state, network, passage)
    }

    /// As [`of_network`](Self::of_network), past the route maps of its CEN instance, which several views have in common.
    pub(super) fn of_network_past(state: &'a State, network: &'a NetworkId, passage: Rc<Passage<'a>>) -> Option<Self> {
        let index = state.index_of(&state.attachments.get(network)?.cen)?;
        Some(Self::new(state, index, passage, Viewer::Network(network, index.member(network)?)))
    }

    /// What the gateway of a region sees; `None` when nothing is attached anywhere.
    pub fn of_region(state: &'a State, cen: &'a CenId, region: &'a str) -> Option<Self> {
        Some(Self::new(state, state.index_of(cen)?, Rc::new(Passage::of(state, cen)), Viewer::Region(region)))
    }

    /// What CEN brings to every network of the sort of this one.
    pub(super) fn of_sort(
        state: &'a State,
        index: &'a CenIndex,
        passage: Rc<Passage<'a>>,
        network: &'a NetworkId,
    ) -> Self {
        Self::new(state, index, passage, Viewer::Sort(network))
    }

    fn new(state: &'a State, index: &'a CenIndex, passage: Rc<Passage<'a>>, viewer: Viewer<'a>) -> Self {
        let (horizon, regions) = (OnceCell::new(), OnceCell::new());
        let publishers = OnDemand::new(index.numbers().len());
        Self { state, index, passage, viewer, horizon, publishers, regions }
    }

    /// The routes that the viewer sees with this status (`Active`, `Candidate`, `Rejected`, `Prohibited`), or with any, in
    /// the order of destinations, and of one destination the earliest published first.
    pub fn offers(&self, status: Option<&str>) -> Offers<'_> {
        // Almost all routes that arrive have one status, and the others are found without looking at these.
        let usual = match self.viewer {
            Viewer::Network(..) => "Rejected",
            Viewer::Sort(_) | Viewer::Region(_) => "Active",
        };
        match status {
            None => self.offers_that(|fate| fate != Fate::Absent),
            Some("Prohibited") => self.offers_that(|fate| fate == Fate::Prohibited),
            Some(status) if status == usual => {
                let unusual = self.unusual(usual).into_iter().map(|one| (one.offer.destination, one.offer.order));
                let unusual: BTreeSet<_> = unusual.collect();
                let Offers { count, offers } = self.offers_that(|fate| fate == Fate::Arrives);
                let count = count.saturating_sub(unusual.len());
                let offers = offers.filter(move |offer| !unusual.contains(&(offer.destination, offer.order)));
                Offers { count, offers: Box::new(offers) }
            }
            Some(status) => {
                let some = self.unusual(usual).into_iter().filter(|one| one.status.api_name() == status);
                Offers::of(some.map(|one| one.offer).collect())
            }
        }
    }

    /// The routes of which the maps make what is asked for.
    fn offers_that(&self, asked: impl Fn(Fate) -> bool + Copy + 'static) -> Offers<'_> {
        let offers = self.index.offers().filter(move |offer| asked(self.fate(offer.publisher, offer.destination)));
        Offers { count: self.count(asked), offers: Box::new(offers) }
    }

    /// The routes that arrive and have not the usual status: for a network those that it takes, which come first in the order
    /// of publication; for a region those that others come before.
    fn unusual(&self, usual: &str) -> Vec<Judged<'a>> {
        let judged = match self.viewer {
            Viewer::Network(..) => self.within_horizon(),
            Viewer::Sort(_) | Viewer::Region(_) => self.judged(self.index.contested()),
        };
        let unusual = |one: &Judged<'_>| one.status != LearnedStatus::Prohibited && one.status.api_name() != usual;
        judged.into_iter().filter(unusual).collect()
    }

    /// Those that stand in the viewer's table.
    fn taken(&self) -> Vec<LearnedRoute> {
        let taken = self.within_horizon().into_iter().filter(|one| one.status.is_taken());
        taken.map(|one| self.learned(one)).collect()
    }

    /// What the viewer sees of the destinations that come first in the order of publication, as far as it has room: all that it
    /// takes is among them, also where there are maps.
    fn within_horizon(&self) -> Vec<Judged<'a>> {
        let first = self.arriving().take_while(|offer| offer.order <= self.horizon());
        self.judged(first.map(|offer| offer.destination))
    }

    /// What the viewer sees of what is published to some destinations, in their order.
    fn judged(&self, destinations: impl Iterator<Item = Ipv4Net>) -> Vec<Judged<'a>> {
        let destinations: BTreeSet<Ipv4Net> = destinations.collect();
        let groups = destinations.into_iter().map(|to| self.index.offers_to(to).collect::<Vec<_>>());
        groups.flat_map(|group| self.with_quota(self.judge(&group))).collect()
    }

    /// How many routes there are of which the maps make what is asked for.
    fn count(&self, asked: impl Fn(Fate) -> bool) -> usize {
        let of_member = |(network, member): (&NetworkId, Member)| {
            let publications = &self.state.attachments.get(network)?.publications;
            match self.publisher(member, network)?.way.fate_of_all() {
                _ if self.is_own(member) => None,
                Some(fate) => asked(fate).then(|| publications.len()),
                None => Some(publications.keys().filter(|to| asked(self.fate(member, **to))).count()),
            }
        };
        if !self.sees_all() {
            return self.index.members().filter_map(of_member).sum();
        }
        let own = self.network().and_then(|network| self.state.attachments.get(network));
        let own = own.map_or(0, |attachment| attachment.publications.len());
        if asked(Fate::Arrives) { self.index.published().saturating_sub(own) } else { 0 }
    }

    /// A route that the viewer sees, and what became of it.
    pub fn route(&self, offer: Offer) -> Option<LearnedRoute> {
        let group: Vec<Offer> = self.index.offers_to(offer.destination).collect();
        let judged = self.with_quota(self.judge(&group)).into_iter().find(|one| one.offer == offer)?;
        Some(self.learned(judged))
    }

    fn learned(&self, judged: Judged<'_>) -> LearnedRoute {
        LearnedRoute {
            destination: judged.offer.destination,
            publisher: judged.publisher.clone(),
            publisher_region: self.state.region_of(judged.publisher).unwrap_or_default().to_owned(),
            kind: judged.entry.kind,
            attributes: judged.attributes,
            status: judged.status,
        }
    }

    /// What the viewer sees of what is published to one destination.
    pub fn routes_to(&self, destination: Ipv4Net) -> Vec<LearnedRoute> {
        self.index.offers_to(destination).filter_map(|offer| self.route(offer)).collect()
    }

    /// The network that looks, if it is one.
    pub fn network(&self) -> Option<&'a NetworkId> {
        match self.viewer {
            Viewer::Network(network, _) => Some(network),
            Viewer::Sort(_) | Viewer::Region(_) => None,
        }
    }

    /// What the viewer's own entry to `own` keeps out.
    pub fn kept_out_by(&self, own: Ipv4Net) -> impl Iterator<Item = LearnedRoute> {
        let kept_out = LearnedStatus::Rejected(Rejection::OwnEntry(own));
        let inside = self.index.offers_within(own).filter(move |offer| self.keeps_out(offer.destination) == Some(own));
        inside.filter_map(|offer| self.route(offer)).filter(move |route| route.status == kept_out)
    }

    /// Whether the publisher's gateway lets a route out to any of the other regions that have a network; also true if there
    /// is none.
    pub fn goes_to_other_regions(&self, route: &LearnedRoute) -> bool {
        if self.passage.is_open() {
            return true;
        }
        let member = self.index.member(&route.publisher);
        let entry = member.and_then(|member| self.entry(member, &route.publisher, route.destination));
        let Some(entry) = entry else { return true };
        let with_a_network = || self.index.members().filter_map(|(id, _)| self.state.region_of(id)).collect();
        let regions = self.regions.get_or_init(with_a_network);
        let mut others = regions.iter().filter(|region| **region != route.publisher_region).peekable();
        let leaves = |region| self.passage.out(&route.publisher, region).fate(entry.destination, || Some(entry));
        others.peek().is_none() || others.any(|region| leaves(region) == Fate::Arrives)
    }

    /// Rules 1 to 5, over routes to one destination, the earliest published first.
    pub(super) fn judge(&self, group: &[Offer]) -> Vec<Judged<'a>> {
        let mut judged = Vec::with_capacity(group.len());
        for offer in group {
            let Some(publisher) = self.index.network(offer.publisher) else { continue };
            let Some(entry) = self.entry(offer.publisher, publisher, offer.destination) else { continue };
            let (attributes, status) = match self.arrival(offer.publisher, publisher, entry) {
                Arrival::Absent => continue,
                Arrival::Prohibited(attributes) => (attributes, LearnedStatus::Prohibited),
                Arrival::Arrives(attributes) => {
                    let own = self.keeps_out(offer.destination).map(Rejection::OwnEntry);
                    (attributes, own.map_or(LearnedStatus::Active, LearnedStatus::Rejected))
                }
            };
            judged.push(Judged { offer: *offer, publisher, entry, attributes, status });
        }
        select(&mut judged);
        judged
    }

    /// The place in the order of publication of the last destination that there is room for.
    pub(super) fn horizon(&self) -> u64 {
        *self.horizon.get_or_init(|| match self.viewer {
            Viewer::Network(..) => self.find_horizon(),
            Viewer::Sort(_) | Viewer::Region(_) => u64::MAX,
        })
    }

    fn find_horizon(&self) -> u64 {
        let (mut seen, mut places) = (BTreeSet::new(), BTreeSet::new());
        for offer in self.arriving() {
            if seen.insert(offer.destination) {
                let group: Vec<Offer> = self.index.offers_to(offer.destination).collect();
                places.extend(place(&self.judge(&group)));
            }
            // What comes to be seen later has a later place.
            if let Some(last) = places.iter().nth(LEARNED_ROUTE_QUOTA - 1).filter(|last| **last <= offer.order) {
                return *last;
            }
        }
        u64::MAX
    }

    /// What arrives, whatever the viewer's own table makes of it, the earliest published first.
    pub(super) fn arriving(&self) -> impl Iterator<Item = Offer> {
        self.index.in_order().filter(|offer| self.fate(offer.publisher, offer.destination) == Fate::Arrives)
    }

    /// Rule 6.
    pub(super) fn with_quota(&self, mut judged: Vec<Judged<'a>>) -> Vec<Judged<'a>> {
        if place(&judged).is_some_and(|place| place > self.horizon()) {
            for one in judged.iter_mut().filter(|one| one.status.is_taken()) {
                one.status = LearnedStatus::Rejected(Rejection::Overflow);
            }
        }
        judged
    }

    /// Rule 1.
    fn is_own(&self, publisher: Member) -> bool {
        matches!(self.viewer, Viewer::Network(_, member) if member == publisher)
    }

    /// Rules 1 and 2, without what the route has become.
    fn fate(&self, member: Member, destination: Ipv4Net) -> Fate {
        if self.sees_all() {
            return if self.is_own(member) { Fate::Absent } else { Fate::Arrives };
        }
        let publisher = self.index.network(member).filter(|_| !self.is_own(member));
        let fate = publisher.and_then(|publisher| {
            let entry = || self.entry(member, publisher, destination);
            Some(self.publisher(member, publisher)?.way.fate(destination, entry))
        });
        fate.unwrap_or(Fate::Absent)
    }

    /// Rules 1 and 2.
    fn arrival(&self, member: Member, publisher: &NetworkId, entry: &RouteEntry) -> Arrival {
        let known = self.publisher(member, publisher).filter(|_| !self.is_own(member));
        known.map_or(Arrival::Absent, |publisher| publisher.way.arrival(entry))
    }

    /// No map stands, and the viewer is connected with everybody.
    fn sees_all(&self) -> bool {
        let is_vbr = matches!(self.viewer, Viewer::Network(NetworkId::Vbr(_), _) | Viewer::Sort(NetworkId::Vbr(_)));
        self.passage.is_open() && !is_vbr
    }

    fn publisher(&self, member: Member, network: &NetworkId) -> Option<&Publisher<'a>> {
        let find = || {
            let way = match self.viewer {
                Viewer::Network(learner, _) | Viewer::Sort(learner) => self.passage.to_network(network, learner),
                Viewer::Region(region) => self.passage.to_region(network, region),
            };
            Publisher { way, entries: OnceCell::new() }
        };
        self.publishers.get(member.number(), find)
    }

    /// Rules 3 and 4.
    fn keeps_out(&self, destination: Ipv4Net) -> Option<Ipv4Net> {
        match self.viewer {
            Viewer::Network(_, member) => self.index.keeps_out(member, destination),
            Viewer::Sort(_) | Viewer::Region(_) => None,
        }
    }

    /// The entry of a member's table to a destination.
    fn entry(&self, member: Member, network: &NetworkId, destination: Ipv4Net) -> Option<&'a RouteEntry> {
        let entries = self.publisher(member, network)?.entries.get_or_init(|| {
            let table = self.state.table_of(network);
            let mut entries: Vec<_> = table.into_iter().flat_map(|table| table.entries.values()).collect();
            entries.sort_unstable_by_key(|entry| entry.destination);
            entries
        });
        let place = entries.binary_search_by_key(&destination, |entry| entry.destination).ok()?;
        entries.get(place).copied()
    }
}

/// The place of a destination in the order of publication: that of its earliest route that is not kept out.
pub(super) fn place(judged: &[Judged<'_>]) -> Option<u64> {
    judged.iter().find(|one| one.status.is_taken()).map(|one| one.offer.order)
}

/// Rule 5, over routes to one destination, the earliest published first: those that arrive are marked as active.
fn select(group: &mut [Judged<'_>]) {
    let arrived = |one: &&Judged<'_>| one.status == LearnedStatus::Active;
    let Some(winner) = group.iter().filter(arrived).min_by_key(|one| (one.attributes.preference, one.offer.order))
    else {
        return;
    };
    let (winner, preference) = (winner.publisher, winner.attributes.preference);
    let best = |one: &Judged<'_>| one.publisher.kind() == NetworkKind::Vbr && one.attributes.preference == preference;
    let best_bgp = group
        .iter()
        .filter(arrived)
        .filter(|one| best(one) && one.entry.kind == RouteKind::Bgp)
        .min_by_key(|one| (one.attributes.as_path.len(), one.offer.order))
        .map(|one| one.publisher);
    for one in group.iter_mut().filter(|one| one.status == LearnedStatus::Active) {
        let shares = winner.kind() == NetworkKind::Vbr && one.publisher.kind() == NetworkKind::Vbr;
        one.status = match best_bgp {
            _ if !shares && one.publisher == winner => LearnedStatus::Active,
            _ if !shares => LearnedStatus::Rejected(Rejection::EarlierPublisher(winner.clone())),
            _ if !best(one) => LearnedStatus::Candidate,
            Some(bgp) if one.publisher != bgp => LearnedStatus::Candidate,
            _ => LearnedStatus::Active,
        };
    }
}
