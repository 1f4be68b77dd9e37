//! What each network learns, in the reference: every published route is led past every gateway, each time anew.

use ipnet::Ipv4Net;
use ipsec_gateway::cen::route_map::{Conditions, Direction, EndConditions, MatchMode, RouteMap};

use super::reference::{Entry, Network, Reference, holds};

/// Destinations that a network has room for.
const QUOTA: usize = 100;

#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Status {
    Active,
    Candidate,
    /// An entry of the learner is in the way.
    Own(Ipv4Net),
    /// Another publisher is preferred.
    Behind(String),
    Overflow,
    Prohibited,
}

/// A route of somebody else.
#[derive(Clone, Debug)]
pub struct Seen {
    pub to: Ipv4Net,
    pub publisher: String,
    pub status: Status,
    pub preference: u8,
    pub as_path: Vec<u32>,
    pub communities: Vec<String>,
    /// The maps that permitted it.
    pub met: Vec<String>,
    is_bgp: bool,
    of_vpc: bool,
}

/// A gateway, and where a route goes from there.
struct Gateway<'a> {
    cen: &'a str,
    region: &'a str,
    direction: Direction,
    to_region: &'a str,
    to_network: Option<&'a Network>,
}

impl Reference {
    /// What a network learns, with what becomes of it; the earliest published first.
    pub fn learned(&self, network: &str) -> Vec<Seen> {
        let (Some(cen), Some(learner)) = (self.cen_of(network), self.network(network)) else { return Vec::new() };
        let mut seen = Vec::new();
        for (id, to) in self.published.iter().filter(|(of, _)| of != network && self.cen_of(of) == Some(cen)) {
            let Some(mut route) = self.up_to(cen, id, *to, &learner.region) else { continue };
            if route.status == Status::Prohibited {
                continue;
            }
            let (region, direction) = (learner.region.as_str(), Direction::RegionOut);
            let last = Gateway { cen, region, direction, to_region: region, to_network: Some(&learner) };
            match self.pass(&last, id, *to, &mut route) {
                Some(false) => route.status = Status::Prohibited,
                None if !route.of_vpc && !learner.is_vpc => continue,
                _ => route.status = self.in_the_way(&learner, *to).map_or(Status::Active, Status::Own),
            }
            seen.push(route);
        }
        select(&mut seen);
        overflow(&mut seen);
        seen
    }

    /// What the gateway of a region sees; the earliest published first.
    pub fn at_region(&self, cen: &str, region: &str) -> Vec<Seen> {
        let of_cen = self.published.iter().filter(|(of, _)| self.cen_of(of) == Some(cen));
        let mut seen: Vec<Seen> = of_cen.filter_map(|(id, to)| self.up_to(cen, id, *to, region)).collect();
        select(&mut seen);
        seen
    }

    /// Whether a route may leave its region for any other one that has a network of the CEN instance.
    pub fn leaves_its_region(&self, cen: &str, id: &str, to: Ipv4Net) -> bool {
        let Some(home) = self.network(id).map(|network| network.region) else { return false };
        let members = self.attached.iter().filter(|(_, of)| of == cen);
        let others = members.filter_map(|(member, _)| self.network(member)).filter(|other| other.region != home);
        let others: Vec<Network> = others.collect();
        others.is_empty() || others.iter().any(|other| self.out_of_its_region(cen, id, to, &other.region).is_some())
    }

    /// The route as the gateway of a region has it; nothing if it does not come so far.
    fn up_to(&self, cen: &str, id: &str, to: Ipv4Net, region: &str) -> Option<Seen> {
        let home = self.network(id)?.region;
        let mut route = match home == region {
            true => self.untouched(id, to)?,
            false => self.out_of_its_region(cen, id, to, region)?,
        };
        let into = Gateway { cen, region, direction: Direction::RegionIn, to_region: region, to_network: None };
        if self.pass(&into, id, to, &mut route) == Some(false) {
            route.status = Status::Prohibited;
        }
        Some(route)
    }

    /// The route as it leaves the gateway of its publisher's region for another one.
    fn out_of_its_region(&self, cen: &str, id: &str, to: Ipv4Net, other: &str) -> Option<Seen> {
        let home = self.network(id)?.region;
        let mut route = self.untouched(id, to)?;
        let into = Gateway { cen, region: &home, direction: Direction::RegionIn, to_region: &home, to_network: None };
        let out = Gateway { direction: Direction::RegionOut, to_region: other, ..into };
        let into = Gateway { direction: Direction::RegionIn, to_region: &home, ..out };
        let enters = self.pass(&into, id, to, &mut route) != Some(false);
        (enters && self.pass(&out, id, to, &mut route) != Some(false)).then_some(route)
    }

    fn untouched(&self, id: &str, to: Ipv4Net) -> Option<Seen> {
        let publisher = self.network(id)?;
        let entry = self.entry(&publisher.system_table, to)?;
        Some(Seen {
            to,
            publisher: publisher.id,
            status: Status::Active,
            preference: 50,
            as_path: entry.as_path.clone().unwrap_or_default(),
            communities: Vec::new(),
            met: Vec::new(),
            is_bgp: entry.as_path.is_some(),
            of_vpc: publisher.is_vpc,
        })
    }

    /// What the maps of a gateway say of a route, which they change: permitted, denied, or nothing.
    fn pass(&self, gateway: &Gateway<'_>, id: &str, to: Ipv4Net, route: &mut Seen) -> Option<bool> {
        let publisher = self.network(id)?;
        let entry = self.entry(&publisher.system_table, to)?;
        let here = |map: &&RouteMap| {
            map.cen.as_str() == gateway.cen && map.region == gateway.region && map.direction == gateway.direction
        };
        let (mut from, mut said) = (1, None);
        loop {
            let meeting = self.maps.iter().filter(here).filter(|map| map.priority >= from);
            let meeting = meeting.filter(|map| meets(&map.conditions, gateway, &publisher, &entry, route));
            let Some(map) = meeting.min_by_key(|map| map.priority) else { return said };
            if !map.permits {
                return Some(false);
            }
            said = Some(true);
            route.met.push(map.id.to_string());
            route.preference = map.actions.preference.unwrap_or(route.preference);
            route.as_path = [map.actions.prepend.clone(), route.as_path.clone()].concat();
            if map.actions.replaces_communities {
                route.communities.clear();
            }
            for community in &map.actions.communities {
                if !route.communities.contains(community) {
                    route.communities.push(community.clone());
                }
            }
            from = match map.next_priority {
                None => return said,
                Some(1) => map.priority + 1,
                Some(next) => next,
            };
        }
    }

    /// The learner's own entry to the destination, or its vSwitch or service network that contains it.
    fn in_the_way(&self, learner: &Network, to: Ipv4Net) -> Option<Ipv4Net> {
        let own = || self.entries.iter().filter(|entry| entry.table == learner.system_table);
        let around = own().filter(|entry| matches!(entry.kind.as_str(), "local" | "service") && holds(entry.to, to));
        own().find(|entry| entry.to == to).or(around.max_by_key(|entry| entry.to.prefix_len())).map(|entry| entry.to)
    }
}

fn meets(asked: &Conditions, gateway: &Gateway<'_>, publisher: &Network, entry: &Entry, route: &Seen) -> bool {
    let kind = match (entry.kind.as_str(), &entry.as_path) {
        (_, Some(_)) => "BGP",
        ("local" | "service", None) => "System",
        _ => "Custom",
    };
    let blocks = asked.blocks.iter();
    let in_blocks = match asked.block_mode {
        MatchMode::Include => blocks.filter(|block| holds(**block, entry.to)).count() > 0,
        MatchMode::Complete => asked.blocks.contains(&entry.to),
    };
    let path = match asked.as_path_mode {
        MatchMode::Include => route.as_path.iter().any(|number| asked.as_path.contains(number)),
        MatchMode::Complete => route.as_path == asked.as_path,
    };
    let communities = match asked.community_mode {
        MatchMode::Include => route.communities.iter().any(|one| asked.communities.contains(one)),
        MatchMode::Complete => route.communities == asked.communities,
    };
    end_meets(&asked.source, &publisher.region, Some(publisher))
        && end_meets(&asked.destination, gateway.to_region, gateway.to_network)
        && (asked.blocks.is_empty() || in_blocks)
        && (asked.route_types.is_empty() || asked.route_types.iter().any(|one| one == kind))
        && (asked.as_path.is_empty() || path)
        && (asked.communities.is_empty() || communities)
        && asked.address_type != "IPv6"
}

fn end_meets(asked: &EndConditions, region: &str, network: Option<&Network>) -> bool {
    let lists =
        |list: &[String], value: Option<&str>| list.is_empty() || list.iter().any(|one| Some(one.as_str()) == value);
    let kind = network.map(|network| if network.is_vpc { "VPC" } else { "VBR" });
    let instances = match (&asked.instances.ids, network) {
        (ids, _) if ids.is_empty() => true,
        (_, None) => false,
        (ids, Some(network)) => ids.contains(&network.id) != asked.instances.reversed,
    };
    lists(&asked.regions, Some(region))
        && instances
        && lists(&asked.route_tables, network.map(|network| network.system_table.as_str()))
        && lists(&asked.types, kind)
}

/// Of several routes to one destination: the smallest preference, then the earliest publisher; and with a VBR all others
/// that are equally preferred, but BGP before static, and of BGP routes the shortest path.
fn select(seen: &mut [Seen]) {
    for at in 0..seen.len() {
        let to = seen[at].to;
        let rivals = || {
            let arrived =
                |route: &&Seen| matches!(route.status, Status::Active | Status::Candidate | Status::Behind(_));
            seen.iter().filter(move |route| route.to == to).filter(arrived)
        };
        if !rivals().any(|rival| rival.publisher == seen[at].publisher) {
            continue;
        }
        let winner = rivals().min_by_key(|rival| rival.preference).unwrap();
        let as_good = || rivals().filter(|rival| !rival.of_vpc && rival.preference == winner.preference);
        let bgp = as_good().filter(|rival| rival.is_bgp).min_by_key(|rival| rival.as_path.len());
        let mine = &seen[at];
        let status = if winner.of_vpc || mine.of_vpc {
            match mine.publisher == winner.publisher {
                true => Status::Active,
                false => Status::Behind(winner.publisher.clone()),
            }
        } else if mine.preference != winner.preference || bgp.is_some_and(|bgp| bgp.publisher != mine.publisher) {
            Status::Candidate
        } else {
            Status::Active
        };
        seen[at].status = status;
    }
}

/// A hundred destinations have room, in the order in which the first of their routes was published that is taken.
fn overflow(seen: &mut [Seen]) {
    let mut room = Vec::new();
    for route in seen.iter_mut().filter(|route| matches!(route.status, Status::Active | Status::Candidate)) {
        if room.len() < QUOTA && !room.contains(&route.to) {
            room.push(route.to);
        }
        if !room.contains(&route.to) {
            route.status = Status::Overflow;
        }
    }
}
