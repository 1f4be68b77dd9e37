//! The cloud that is measured.

use std::collections::BTreeMap;
use std::path::Path;

use ipnet::Ipv4Net;
use ipsec_gateway::cen::apply::apply;
use ipsec_gateway::cen::change::Change;
use ipsec_gateway::cen::network::{NetworkId, UnixMillis, VSwitch, Vpc};
use ipsec_gateway::cen::route::{EntryOrigin, RouteEntry, RouteKind, RouteTable};
use ipsec_gateway::cen::route_map::{Actions, Conditions, Direction, EndConditions, Instances, MatchMode, RouteMap};
use ipsec_gateway::cen::state::{Cen, State};
use ipsec_gateway::io::store::embedded::EmbeddedStore;
use ipsec_gateway::io::store::{Revision, Store};

use super::Outcome;

const REGIONS: [&str; 4] = ["cn-hangzhou", "cn-beijing", "cn-shanghai", "eu-central-1"];
/// Routes that each network publishes.
pub const ROUTES: u32 = 100;

/// The region of a network.
pub fn region(number: u32) -> &'static str {
    REGIONS[number as usize % REGIONS.len()]
}

/// Where a route of a network leads.
pub fn destination(number: u32, route: u32) -> Ipv4Net {
    Ipv4Net::new_assert((0x0a00_0000 + (number * 128 + route) * 16).into(), 28)
}

fn entry(number: u32, route: u32) -> RouteEntry {
    RouteEntry {
        id: format!("rte-{number:05}-{route:014}").into(),
        destination: destination(number, route),
        kind: RouteKind::Instance,
        next_hop: format!("i-{number:020}"),
        as_path: Vec::new(),
        origin: EntryOrigin::Api,
        name: String::new(),
        description: String::new(),
        created: UnixMillis(1),
        next_hops: Vec::new(),
    }
}

/// One network with its routes, all but the last of them published.
fn network(number: u32, order: &mut u64, attached: bool) -> Vec<Change> {
    let network = NetworkId::Vpc(format!("vpc-{number:020}").into());
    let table = format!("vtb-{number:020}");
    let vpc = Vpc {
        id: network.as_str().into(),
        region: region(number).to_owned(),
        cidr: "172.16.0.0/12".parse().expect("a block"),
        name: format!("network-{number}"),
        description: String::new(),
        router: format!("vrt-{number:020}").into(),
        route_table: table.as_str().into(),
        created: UnixMillis(1),
        tags: Vec::new(),
        created_as: None,
        secondary_cidrs: Vec::new(),
        user_cidrs: Vec::new(),
    };
    let entries: BTreeMap<_, _> =
        (0..=ROUTES).map(|route| entry(number, route)).map(|one| (one.id.clone(), one)).collect();
    let table = RouteTable {
        id: table.as_str().into(),
        network: network.clone(),
        name: String::new(),
        description: String::new(),
        tags: Vec::new(),
        created: UnixMillis(1),
        entries: entries.into(),
        route_propagation: true,
    };
    let [.., high, low] = number.to_be_bytes();
    let vswitch = VSwitch {
        id: format!("vsw-{number:020}").into(),
        vpc: vpc.id.clone(),
        zone: format!("{}-b", region(number)),
        cidr: Ipv4Net::new_assert([172, 16 + high % 16, low, 0].into(), 24),
        name: format!("subnet-{number}"),
        description: String::new(),
        created: UnixMillis(1),
        tags: Vec::new(),
        route_table: None,
    };
    let mut changes = vec![Change::VpcSet(vpc), Change::RouteTableSet(table), Change::VSwitchSet(vswitch)];
    if attached {
        changes.push(Change::Attached { network: network.clone(), cen: "cen-bench".into(), at: UnixMillis(1) });
        changes.extend((0..ROUTES).map(|route| {
            *order += 1;
            Change::Published { network: network.clone(), destination: destination(number, route), order: *order }
        }));
    }
    changes
}

/// Route maps at the gateways of all regions, half of them each way, with conditions about who publishes, who learns, and what.
fn route_map(number: u32, networks: u32) -> RouteMap {
    let round = number / 8;
    let direction = if (number / 4).is_multiple_of(2) { Direction::RegionOut } else { Direction::RegionIn };
    let ids = |first: u32| (0..8).map(|one| format!("vpc-{:020}", (first + one * 37) % networks)).collect();
    let instances =
        |first| EndConditions { instances: Instances { ids: ids(first), reversed: false }, ..EndConditions::default() };
    let mut conditions = Conditions::default();
    match round % 3 {
        0 => {
            conditions.source = instances(number);
            if direction == Direction::RegionOut {
                conditions.destination = instances(number + 101);
            }
        }
        1 => {
            conditions.blocks = vec![destination(number * 31 % networks, 0).supernet().expect("a wider one")];
            conditions.block_mode = MatchMode::Include;
        }
        _ => conditions.source.regions = vec![region(number + 1).to_owned()],
    }
    RouteMap {
        id: format!("cenrmap-{number:016}").into(),
        cen: "cen-bench".into(),
        region: region(number).to_owned(),
        direction,
        priority: u8::try_from(round + 1).expect("not so many"),
        permits: round % 3 == 2 || number.is_multiple_of(2),
        next_priority: None,
        description: String::new(),
        conditions,
        actions: Actions::default(),
    }
}

/// A store with that many networks, and one more that is not attached; and with route maps.
pub fn fill(directory: &Path, networks: u32, maps: u32) -> Outcome<()> {
    let mut store = EmbeddedStore::open(directory)?;
    let (mut state, mut revision, mut order) = (State::default(), Revision(0), 0);
    let cen = Cen {
        id: "cen-bench".into(),
        name: String::new(),
        description: String::new(),
        protection_level: "REDUCED".into(),
        created: UnixMillis(1),
        tags: Vec::new(),
    };
    let mut all = vec![Change::CenSet(cen)];
    for number in 0..=networks {
        all.extend(network(number, &mut order, number < networks));
    }
    all.extend((0..maps).map(|number| Change::RouteMapSet(Box::new(route_map(number, networks)))));
    all.iter().for_each(|change| apply(&mut state, change));
    revision = store.commit(revision, &[Change::CenRemoved("cen-none".into())], None)?;
    store.fold(revision, &state)?;
    Ok(())
}
