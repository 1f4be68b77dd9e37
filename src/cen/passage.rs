//! The way of a published route through a CEN instance: past the gateway of its publisher's region, and of the learner's.

use std::collections::BTreeMap;

use ipnet::Ipv4Net;

use super::identifier::{CenId, RouteMapId};
use super::network::{NetworkId, NetworkKind};
use super::route::RouteEntry;
use super::route_map::{Attributes, Conditions, Direction, End, NetworkEnd, Passing, RouteMap, Verdict, pass, permits};
use super::state::State;

/// What became of a route on its way.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Arrival {
    /// It does not come as far as to the last gateway, or the networks are not connected.
    Absent,
    /// A map of the last gateway keeps it out.
    Prohibited(Attributes),
    /// It arrives.
    Arrives(Attributes),
}

/// An [`Arrival`] without what the route has become.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fate {
    /// See [`Arrival::Absent`].
    Absent,
    /// See [`Arrival::Prohibited`].
    Prohibited,
    /// See [`Arrival::Arrives`].
    Arrives,
}

/// The route maps of a CEN instance, by the gateway that they stand at.
pub struct Passage<'a> {
    state: &'a State,
    maps: BTreeMap<Direction, BTreeMap<&'a str, Vec<&'a RouteMap>>>,
}

/// Networks of one sort get the same routes, as far as CEN is concerned: they differ by their own tables only. Where no map
/// stands that is the kind; else the region too, and the maps of its gateway that look at what goes to them.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Sort<'a> {
    kind: NetworkKind,
    region: &'a str,
    maps: Vec<&'a RouteMapId>,
}

impl<'a> Passage<'a> {
    /// Those of a CEN instance.
    pub fn of(state: &'a State, cen: &'a CenId) -> Self {
        let mut maps: BTreeMap<_, BTreeMap<_, Vec<&RouteMap>>> = BTreeMap::new();
        for map in state.route_maps_of(cen) {
            maps.entry(map.direction).or_default().entry(map.region.as_str()).or_default().push(map);
        }
        maps.values_mut().flat_map(BTreeMap::values_mut).for_each(|maps| maps.sort_by_key(|map| map.priority));
        Self { state, maps }
    }

    /// No map stands anywhere: every route arrives everywhere as it was published, but from VBRs at VBRs.
    pub fn is_open(&self) -> bool {
        self.maps.is_empty()
    }

    /// The sort of a network that learns.
    pub fn sort_of(&self, learner: &'a NetworkId) -> Sort<'a> {
        let kind = learner.kind();
        if self.is_open() {
            return Sort { kind, region: "", maps: Vec::new() };
        }
        let end = self.end(learner);
        let maps = self.at(end.region, Direction::RegionOut).iter().filter(|map| map.conditions.destination.meet(&end));
        Sort { kind, region: end.region, maps: maps.map(|map| &map.id).collect() }
    }

    /// From a publisher to a region's gateway, the publisher's own or another one.
    pub fn to_region(&self, publisher: &NetworkId, region: &str) -> Way<'a> {
        if self.is_open() {
            return Way::of(Vec::new(), Fate::Arrives);
        }
        let from = self.end(publisher);
        let to = |region| End { region, network: None };
        let mut gates = Vec::new();
        let mut gate =
            |at: &str, direction, to: End<'_>, denied| gates.push(self.gate(at, direction, &from, &to, denied));
        if from.region == region {
            gate(region, Direction::RegionIn, to(region), Fate::Prohibited);
        } else {
            gate(from.region, Direction::RegionIn, to(from.region), Fate::Absent);
            gate(from.region, Direction::RegionOut, to(region), Fate::Absent);
            gate(region, Direction::RegionIn, to(region), Fate::Prohibited);
        }
        Way::of(gates, Fate::Arrives)
    }

    /// From a publisher to a network. VBRs are connected by maps only.
    pub fn to_network(&self, publisher: &NetworkId, learner: &NetworkId) -> Way<'a> {
        let connected = (publisher.kind(), learner.kind()) != (NetworkKind::Vbr, NetworkKind::Vbr);
        let unmet = if connected { Fate::Arrives } else { Fate::Absent };
        if self.is_open() {
            return Way::of(Vec::new(), unmet);
        }
        let (from, to) = (self.end(publisher), self.end(learner));
        let mut gates = self.to_region(publisher, to.region).gates;
        gates.iter_mut().for_each(|gate| gate.denied = Fate::Absent);
        gates.push(self.gate(to.region, Direction::RegionOut, &from, &to, Fate::Prohibited));
        Way::of(gates, unmet)
    }

    /// From a publisher out of the gateway of its region, to another one.
    pub fn out(&self, publisher: &NetworkId, region: &str) -> Way<'a> {
        let (from, to) = (self.end(publisher), End { region, network: None });
        let mut gates = self.to_region(publisher, from.region).gates;
        gates.push(self.gate(from.region, Direction::RegionOut, &from, &to, Fate::Absent));
        Way::of(gates, Fate::Arrives)
    }

    fn at(&self, region: &str, direction: Direction) -> &[&'a RouteMap] {
        let maps = self.maps.get(&direction).and_then(|maps| maps.get(region));
        maps.map(Vec::as_slice).unwrap_or_default()
    }

    fn gate(&self, at: &str, direction: Direction, from: &End<'_>, to: &End<'_>, denied: Fate) -> Gate<'a> {
        let maps = self.at(at, direction).iter().filter(|map| map.conditions.meet_ends(from, to));
        Gate { maps: maps.copied().collect(), denied }
    }

    fn end<'n>(&self, network: &'n NetworkId) -> End<'n>
    where
        'a: 'n,
    {
        let region = self.state.region_of(network).unwrap_or_default();
        let route_table = self.state.table_of(network).map_or("", |table| table.id.as_str());
        End { region, network: Some(NetworkEnd { id: network.as_str(), kind: network.kind(), route_table }) }
    }
}

/// The maps of one gateway that look at what goes from one end to the other.
struct Gate<'a> {
    maps: Vec<&'a RouteMap>,
    /// What a route is that they deny.
    denied: Fate,
}

/// The way of all routes from one publisher to one end. Who the two are is settled here, so that a route is only asked what
/// it is itself.
pub struct Way<'a> {
    gates: Vec<Gate<'a>>,
    /// What a route is that no map of the last gateway has met.
    unmet: Fate,
    asks: Asks,
}

/// What the maps of a way have to know of a route.
enum Asks {
    /// Nothing: this is what all routes are.
    Nothing(Fate),
    /// Its destination.
    Block,
    /// What its entry says.
    Entry,
}

impl<'a> Way<'a> {
    fn of(gates: Vec<Gate<'a>>, unmet: Fate) -> Self {
        let conditions = || gates.iter().flat_map(|gate| &gate.maps).map(|map| &map.conditions);
        if conditions().any(Conditions::ask_about_more_than_the_block) {
            return Self { gates, unmet, asks: Asks::Entry };
        }
        let asks_about_block = conditions().any(Conditions::ask_about_the_route);
        let mut way = Self { gates, unmet, asks: Asks::Block };
        if !asks_about_block {
            way.asks = Asks::Nothing(way.fate(Ipv4Net::default(), || None));
        }
        way
    }

    /// What becomes of every route; `None` if that depends on the route.
    pub fn fate_of_all(&self) -> Option<Fate> {
        match self.asks {
            Asks::Nothing(fate) => Some(fate),
            Asks::Block | Asks::Entry => None,
        }
    }

    /// What becomes of the route to a destination, by the publisher's entry.
    pub fn fate<'e>(&self, destination: Ipv4Net, entry: impl FnOnce() -> Option<&'e RouteEntry>) -> Fate {
        match self.asks {
            Asks::Nothing(fate) => return fate,
            Asks::Block => {}
            Asks::Entry => return entry().map_or(Fate::Absent, |entry| self.arrival(entry).fate()),
        }
        let mut permitted = false;
        for gate in &self.gates {
            match permits(&gate.maps, destination) {
                Verdict::Denied => return gate.denied,
                verdict => permitted = verdict == Verdict::Permitted,
            }
        }
        if permitted { Fate::Arrives } else { self.unmet }
    }

    /// What becomes of the route that an entry of the publisher's table is.
    pub fn arrival(&self, entry: &RouteEntry) -> Arrival {
        let route = Passing { block: entry.destination, route_type: entry.kind.row().route_type };
        let (mut attributes, mut permitted) = (Attributes::of_entry(&entry.as_path), false);
        for gate in &self.gates {
            match pass(&gate.maps, &route, &mut attributes) {
                Verdict::Denied if gate.denied == Fate::Prohibited => return Arrival::Prohibited(attributes),
                Verdict::Denied => return Arrival::Absent,
                verdict => permitted = verdict == Verdict::Permitted,
            }
        }
        match self.unmet {
            Fate::Absent if !permitted => Arrival::Absent,
            _ => Arrival::Arrives(attributes),
        }
    }
}

impl Arrival {
    fn fate(&self) -> Fate {
        match self {
            Self::Absent => Fate::Absent,
            Self::Prohibited(_) => Fate::Prohibited,
            Self::Arrives(_) => Fate::Arrives,
        }
    }
}
