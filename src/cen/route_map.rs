//! Route maps of a CEN instance: which routes pass a region's gateway, and how they are changed on the way.

use ipnet::Ipv4Net;
use serde::{Deserialize, Serialize};

use super::identifier::{CenId, RouteMapId};
use super::network::NetworkKind;

/// The preference of a route that no map has given one; smaller is better.
pub const PREFERENCE: u8 = 50;

/// Which way the routes go that a map looks at (`TransmitDirection`).
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub enum Direction {
    /// To the region's gateway: from networks of the region and from other regions.
    RegionIn,
    /// From the region's gateway: to networks of the region and to other regions.
    RegionOut,
}

impl Direction {
    /// The API's spelling.
    pub fn api_name(self) -> &'static str {
        match self {
            Self::RegionIn => "RegionIn",
            Self::RegionOut => "RegionOut",
        }
    }

    /// The direction of this name.
    pub fn from_api_name(name: &str) -> Option<Self> {
        [Self::RegionIn, Self::RegionOut].into_iter().find(|direction| direction.api_name() == name)
    }
}

/// How a list is compared with what a route has.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub enum MatchMode {
    /// They have something in common; a route's destination lies in a listed block.
    #[default]
    Include,
    /// They are the same; a route's destination is a listed block.
    Complete,
}

/// A list of instances, or of everything else (`…ReverseMatch`).
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Instances {
    /// `SourceInstanceIds` or `DestinationInstanceIds`.
    pub ids: Vec<String>,
    /// It matches all others.
    pub reversed: bool,
}

/// Where routes come from or go to. An empty list asks for nothing.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct EndConditions {
    /// `SourceRegionIds`, `DestinationRegionIds`.
    pub regions: Vec<String>,
    /// `SourceInstanceIds`, `DestinationInstanceIds`.
    pub instances: Instances,
    /// `SourceRouteTableIds`, `DestinationRouteTableIds`.
    pub route_tables: Vec<String>,
    /// `SourceChildInstanceTypes`, `DestinationChildInstanceTypes`: `VPC`, `VBR`, `CCN`.
    pub types: Vec<String>,
}

/// What a route must be like so that a map looks at it; all of it has to be true.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Conditions {
    /// Where the route comes from.
    pub source: EndConditions,
    /// Where it goes. Other conditions than regions are never met by a route that goes to another region.
    pub destination: EndConditions,
    /// `DestinationCidrBlocks`.
    pub blocks: Vec<Ipv4Net>,
    /// `CidrMatchMode`.
    pub block_mode: MatchMode,
    /// `RouteTypes`: `System`, `Custom`, `BGP`.
    pub route_types: Vec<String>,
    /// `MatchAsns`.
    pub as_path: Vec<u32>,
    /// `AsPathMatchMode`.
    pub as_path_mode: MatchMode,
    /// `MatchCommunitySet`.
    pub communities: Vec<String>,
    /// `CommunityMatchMode`.
    pub community_mode: MatchMode,
    /// `MatchAddressType`: `IPv4`, `IPv6`; empty: both. All routes here are of IPv4.
    pub address_type: String,
}

/// How a route is changed that a map permits.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Actions {
    /// `Preference`, 1 to 100.
    pub preference: Option<u8>,
    /// `PrependAsPath`, the first one in front.
    pub prepend: Vec<u32>,
    /// `OperateCommunitySet`.
    pub communities: Vec<String>,
    /// `CommunityOperateMode`: `Replace` instead of `Additive`.
    pub replaces_communities: bool,
}

/// A route map.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct RouteMap {
    /// `RouteMapId`, beginning with `cenrmap-`.
    pub id: RouteMapId,
    /// Whose it is (`CenId`).
    pub cen: CenId,
    /// The region at whose gateway it stands (`CenRegionId`).
    pub region: String,
    /// `TransmitDirection`.
    pub direction: Direction,
    /// `Priority`, 1 to 100, unlike that of the region's other maps of this direction; the smallest is asked first.
    pub priority: u8,
    /// `MapResult`: `Permit`, and not `Deny`.
    pub permits: bool,
    /// `NextPriority`: a route that is permitted goes on to the map of this priority; 1: to the next one.
    pub next_priority: Option<u8>,
    /// `Description`; may be empty.
    pub description: String,
    /// Which routes it decides about.
    pub conditions: Conditions,
    /// What it does with those that it permits.
    pub actions: Actions,
}

/// What is known of a route on its way, beside its destination.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Attributes {
    /// Smaller is better.
    pub preference: u8,
    /// Nearest AS first.
    pub as_path: Vec<u32>,
    /// `n:m`, in the order in which they were added.
    pub communities: Vec<String>,
    /// The maps that have permitted it by their conditions, in the order in which it met them.
    pub met: Vec<(Direction, String, RouteMapId)>,
}

impl Attributes {
    /// Those of a route that no map has touched.
    pub fn of_entry(as_path: &[u32]) -> Self {
        Self { preference: PREFERENCE, as_path: as_path.to_vec(), communities: Vec::new(), met: Vec::new() }
    }
}

/// One end of a route's way past a gateway.
#[derive(Clone, Copy, Debug)]
pub struct End<'a> {
    /// Its region.
    pub region: &'a str,
    /// The network; `None`: the gateway of the region.
    pub network: Option<NetworkEnd<'a>>,
}

/// A network at an end.
#[derive(Clone, Copy, Debug)]
pub struct NetworkEnd<'a> {
    /// Its instance id.
    pub id: &'a str,
    /// Whether it is a VPC or a VBR.
    pub kind: NetworkKind,
    /// The id of its system route table.
    pub route_table: &'a str,
}

/// A route that passes a gateway, apart from its ends.
#[derive(Clone, Copy, Debug)]
pub struct Passing<'a> {
    /// Its destination.
    pub block: Ipv4Net,
    /// `System`, `Custom` or `BGP`.
    pub route_type: &'a str,
}

/// What the maps of a gateway say.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// No map has met it.
    Unmet,
    /// Permitted by a map.
    Permitted,
    /// Denied by a map.
    Denied,
}

/// Leads a route past the maps of one gateway and direction whose conditions about the ends are met
/// ([`Conditions::meet_ends`]), in the order of their priorities. The first one whose other conditions are met too decides, and
/// changes what it permits; if it names a next priority, the route goes on there.
pub fn pass(maps: &[&RouteMap], route: &Passing<'_>, attributes: &mut Attributes) -> Verdict {
    let change = |map: &RouteMap, attributes: &mut Attributes| {
        map.actions.change(attributes);
        attributes.met.push((map.direction, map.region.clone(), map.id.clone()));
    };
    walk(maps, attributes, |map, attributes| map.conditions.meet_route(route, attributes), change)
}

/// The verdict of [`pass`] about a destination, where no map asks about more than that.
pub fn permits(maps: &[&RouteMap], block: Ipv4Net) -> Verdict {
    walk(maps, &mut (), |map, ()| map.conditions.meets_block(block), |_, ()| ())
}

fn walk<A>(
    maps: &[&RouteMap],
    attributes: &mut A,
    meets: impl Fn(&RouteMap, &A) -> bool,
    change: impl Fn(&RouteMap, &mut A),
) -> Verdict {
    let (mut verdict, mut from) = (Verdict::Unmet, 0);
    for map in maps {
        if map.priority < from || !meets(map, attributes) {
            continue;
        }
        if !map.permits {
            return Verdict::Denied;
        }
        verdict = Verdict::Permitted;
        change(map, attributes);
        match map.next_priority {
            None => return verdict,
            Some(1) => {}
            Some(next) => from = next,
        }
    }
    verdict
}

impl Conditions {
    /// Whether a route's publisher and where it goes from the gateway are met, and the family that all routes have.
    pub fn meet_ends(&self, from: &End<'_>, to: &End<'_>) -> bool {
        self.address_type != "IPv6" && self.source.meet(from) && self.destination.meet(to)
    }

    /// Whether there are conditions about a route beside its ends.
    pub fn ask_about_the_route(&self) -> bool {
        !self.blocks.is_empty() || self.ask_about_more_than_the_block()
    }

    /// Whether there are conditions about a route beside its ends and its destination.
    pub fn ask_about_more_than_the_block(&self) -> bool {
        !(self.route_types.is_empty() && self.as_path.is_empty() && self.communities.is_empty())
    }

    fn meet_route(&self, route: &Passing<'_>, attributes: &Attributes) -> bool {
        self.meets_block(route.block)
            && is_listed(&self.route_types, route.route_type)
            && compare(&self.as_path, &attributes.as_path, self.as_path_mode)
            && compare(&self.communities, &attributes.communities, self.community_mode)
    }

    fn meets_block(&self, block: Ipv4Net) -> bool {
        let meets = |listed: &Ipv4Net| match self.block_mode {
            MatchMode::Include => listed.contains(&block),
            MatchMode::Complete => *listed == block,
        };
        self.blocks.is_empty() || self.blocks.iter().any(meets)
    }
}

impl EndConditions {
    /// Whether an end is as they ask for.
    pub fn meet(&self, end: &End<'_>) -> bool {
        let Instances { ids, reversed } = &self.instances;
        if !is_listed(&self.regions, end.region) {
            return false;
        }
        let Some(NetworkEnd { id, kind, route_table }) = end.network else {
            return ids.is_empty() && self.route_tables.is_empty() && self.types.is_empty();
        };
        (ids.is_empty() || ids.iter().any(|listed| listed == id) != *reversed)
            && is_listed(&self.route_tables, route_table)
            && is_listed(&self.types, kind.api_name())
    }
}

fn is_listed(list: &[String], value: &str) -> bool {
    list.is_empty() || list.iter().any(|listed| listed == value)
}

/// An empty list asks for nothing.
fn compare<T: PartialEq>(asked: &[T], present: &[T], mode: MatchMode) -> bool {
    asked.is_empty()
        || match mode {
            MatchMode::Include => asked.iter().any(|one| present.contains(one)),
            MatchMode::Complete => asked == present,
        }
}

impl Actions {
    fn change(&self, attributes: &mut Attributes) {
        if let Some(preference) = self.preference {
            attributes.preference = preference;
        }
        attributes.as_path.splice(0..0, self.prepend.iter().copied());
        if self.replaces_communities {
            attributes.communities.clear();
        }
        for community in &self.communities {
            if !attributes.communities.contains(community) {
                attributes.communities.push(community.clone());
            }
        }
    }
}

#[cfg(test)]
mod tests;
