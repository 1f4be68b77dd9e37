//! The way of a published route through a CEN instance: past the gateway of its publisher's region, and of the learner's.

use std::collections::BTreeMap;

use ipnet::Ipv4Net;

use super::identifier::CenId;
use super::network::{NetworkId, NetworkKind};
use super::route::RouteEntry;
use super::route_map::{Attributes, Direction, End, NetworkEnd, Passing, RouteMap, Verdict, pass};
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

/// The route maps of a CEN instance, by the gateway that they stand at.
pub struct Passage<'a> {
    state: &'a State,
    maps: BTreeMap<(&'a str, Direction), Vec<&'a RouteMap>>,
}

impl<'a> Passage<'a> {
    /// Those of a CEN instance.
    pub fn of(state: &'a State, cen: &'a CenId) -> Self {
        let mut maps: BTreeMap<_, Vec<&RouteMap>> = BTreeMap::new();
        for map in state.route_maps_of(cen) {
            maps.entry((map.region.as_str(), map.direction)).or_default().push(map);
        }
        maps.values_mut().for_each(|maps| maps.sort_by_key(|map| map.priority));
        Self { state, maps }
    }

    /// No map stands anywhere: every route arrives everywhere as it was published, but from VBRs at VBRs.
    pub fn is_open(&self) -> bool {
        self.maps.is_empty()
    }

    /// From a publisher to a region's gateway, the publisher's own or another one.
    pub fn to_region(&self, publisher: &NetworkId, entry: &RouteEntry, region: &str) -> Arrival {
        let mut attributes = Attributes::of_entry(&entry.as_path);
        if self.is_open() {
            return Arrival::Arrives(attributes);
        }
        let from = self.end(publisher);
        let mut step = |at: &str, direction, to| {
            let maps = self.maps.get(&(at, direction)).map(Vec::as_slice).unwrap_or_default();
            pass(maps, &passing(entry, from, End { region: to, network: None }), &mut attributes) != Verdict::Denied
        };
        let enters = step(from.region, Direction::RegionIn, from.region);
        if from.region == region {
            return if enters { Arrival::Arrives(attributes) } else { Arrival::Prohibited(attributes) };
        }
        if !enters || !step(from.region, Direction::RegionOut, region) {
            return Arrival::Absent;
        }
        match step(region, Direction::RegionIn, region) {
            true => Arrival::Arrives(attributes),
            false => Arrival::Prohibited(attributes),
        }
    }

    /// From a publisher to a network. VBRs are connected by maps only.
    pub fn to_network(&self, publisher: &NetworkId, entry: &RouteEntry, learner: &NetworkId) -> Arrival {
        let connected = (publisher.kind(), learner.kind()) != (NetworkKind::Vbr, NetworkKind::Vbr);
        if self.is_open() {
            let attributes = Attributes::of_entry(&entry.as_path);
            return if connected { Arrival::Arrives(attributes) } else { Arrival::Absent };
        }
        let to = self.end(learner);
        let Arrival::Arrives(mut attributes) = self.to_region(publisher, entry, to.region) else {
            return Arrival::Absent;
        };
        let maps = self.maps.get(&(to.region, Direction::RegionOut)).map(Vec::as_slice).unwrap_or_default();
        match pass(maps, &passing(entry, self.end(publisher), to), &mut attributes) {
            Verdict::Denied => Arrival::Prohibited(attributes),
            Verdict::Unmet if !connected => Arrival::Absent,
            Verdict::Unmet | Verdict::Permitted => Arrival::Arrives(attributes),
        }
    }

    /// Whether the gateway of the publisher's region lets a route out to another one.
    pub fn leaves(&self, publisher: &NetworkId, entry: &RouteEntry, region: &str) -> bool {
        let from = self.end(publisher);
        let Arrival::Arrives(mut attributes) = self.to_region(publisher, entry, from.region) else { return false };
        let maps = self.maps.get(&(from.region, Direction::RegionOut)).map(Vec::as_slice).unwrap_or_default();
        pass(maps, &passing(entry, from, End { region, network: None }), &mut attributes) != Verdict::Denied
    }

    fn end<'n>(&'n self, network: &'n NetworkId) -> End<'n> {
        let region = self.state.region_of(network).unwrap_or_default();
        let route_table = self.state.table_of(network).map_or("", |table| table.id.as_str());
        End { region, network: Some(NetworkEnd { id: network.as_str(), kind: network.kind(), route_table }) }
    }
}

fn passing<'n>(entry: &RouteEntry, from: End<'n>, to: End<'n>) -> Passing<'n> {
    let block: Ipv4Net = entry.destination;
    Passing { block, route_type: entry.kind.row().route_type, from, to }
}
