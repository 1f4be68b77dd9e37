//! What the bound namespaces' kernels should have, derived from the cloud's state.
use std::cell::RefCell;
use std::collections::{BTreeMap, BTreeSet};
use std::net::{IpAddr, Ipv4Addr};
use std::rc::Rc;
use std::sync::Arc;

use ipnet::{IpNet, Ipv4Net};

use super::fabric_binding::{Bindings, BoundNetwork, GatewayBinding, NetworkBinding};
use crate::cen::identifier::CenId;
use crate::cen::learn::{LearnedRoute, LearnedStatus, taken_routes_past};
use crate::cen::network::NetworkId;
use crate::cen::passage::Passage;
use crate::cen::propagation::receives;
use crate::cen::route::{RouteEntry, RouteKind as EntryKind, RouteTable};
use crate::cen::state::State;
use crate::cen::vpn::VpnGateway;
use crate::crypto::digest::sha256;
use crate::routing::kernel_routes::TABLE_MAIN;
use crate::routing::{Family, KernelRoute, KernelRule, KernelState, PROTOCOL_CEND, RouteKind};

/// Priority of the rules that lead to the custom route tables of VPCs: vSwitches do not overlap.
const VSWITCH_PRIORITY: u32 = 20_300;
/// The custom route tables: this, with the rest of the number from the table's id.
const CUSTOM_TABLE: u32 = 0x4000_0000;
/// Routing tables of the fabric: this plus the place of the network in the config.
const FABRIC_TABLE: u32 = 20_400;
/// Priorities of the fabric's rules: this plus the same place.
const FABRIC_PRIORITY: u32 = 20_400;
/// The highest metric: what stands behind every other route.
const LAST: u32 = u32::MAX;

/// Every bound namespace with what it should have under cend's protocol number. A namespace that should have nothing is
/// there too, so that what it had is taken away.
///
/// - A router has its table: entries to a next hop become routes to that host, to the VPN gateway or to the data
///   centre, or unreachable if nothing is bound there; a longer prefix catches its packets either way, as in the cloud.
///   Entries to vSwitches are the router's own links. Routes learned from CEN lead to the fabric.
/// - A custom route table of a VPC is a routing table of its own, in which packets from the vSwitches are looked up that are
///   associated with it, and nowhere else: only its system routes lead back to the router's own links.
/// - The fabric has one routing table for each bound network, which packets from that network's device are looked up
///   in. It holds exactly what the network has learned, each route leading to its publisher's router, and behind that
///   nothing: what CEN does not connect cannot talk, although the fabric has a link to everybody.
/// - A VPN gateway hands everything that its VPC can reach to the VPC's router: vSwitches, custom entries that do not
///   lead back to this gateway, and what the VPC has learned from CEN.
pub fn fabric_routes(state: &State, bindings: &Bindings) -> BTreeMap<Arc<str>, KernelState> {
    let mut kernels: BTreeMap<Arc<str>, KernelState> = BTreeMap::new();
    let bound = Bound::resolve(state, bindings);
    for (place, binding) in (0..).zip(&bindings.networks) {
        let network = bound.network(binding);
        let router = kernels.entry(Arc::clone(&binding.namespace)).or_default();
        if let Some(network) = &network {
            router.routes.extend(bound.router_routes(binding, network));
            bound.add_custom_tables(binding, network, router);
        }
        if let Some(fabric) = &bindings.fabric {
            let fabric = kernels.entry(Arc::clone(&fabric.namespace)).or_default();
            fabric.rules.insert(fabric_rule(place, binding));
            fabric.routes.insert(fabric_end(place));
            if let Some(network) = &network {
                fabric.routes.extend(bound.fabric_routes(place, network));
            }
        }
    }
    for binding in &bindings.vpn_gateways {
        let kernel = kernels.entry(Arc::clone(&binding.namespace)).or_default();
        if let Some(gateway) = bound_gateway(state, binding) {
            kernel.routes.extend(bound.gateway_routes(binding, gateway));
        }
    }
    kernels
}

/// The gateway that a binding names; of several with one name the oldest.
pub fn bound_gateway<'s>(state: &'s State, binding: &GatewayBinding) -> Option<&'s VpnGateway> {
    let named = |gateway: &&VpnGateway| gateway.region == binding.region && gateway.created_as() == binding.name;
    state.vpn_gateways.values().filter(named).min_by_key(|gateway| (gateway.created, &gateway.id))
}

/// The network that a binding names; of several VPCs with one name the oldest.
pub fn bound_network(state: &State, binding: &NetworkBinding) -> Option<NetworkId> {
    match &binding.network {
        BoundNetwork::Vbr(id) => state.vbrs.contains_key(id).then(|| NetworkId::Vbr(id.clone())),
        BoundNetwork::Vpc(name) => {
            let named = state.vpcs.values().filter(|vpc| vpc.region == name.region && vpc.created_as() == name.name);
            named.min_by_key(|vpc| (vpc.created, &vpc.id)).map(|vpc| NetworkId::Vpc(vpc.id.clone()))
        }
    }
}

/// The state together with what its resources are bound to.
struct Bound<'s> {
    state: &'s State,
    networks: BTreeMap<NetworkId, &'s NetworkBinding>,
    /// Inner addresses by VPN gateway id.
    gateways: BTreeMap<&'s str, Ipv4Addr>,
    has_fabric: bool,
    /// What networks have learned, of those that were asked for.
    taken: RefCell<BTreeMap<NetworkId, Rc<[LearnedRoute]>>>,
    /// The route maps of each CEN instance that was asked for.
    passages: RefCell<BTreeMap<&'s CenId, Rc<Passage<'s>>>>,
}

impl<'s> Bound<'s> {
    fn resolve(state: &'s State, bindings: &'s Bindings) -> Self {
        let networks = bindings.networks.iter().filter_map(|binding| Some((bound_network(state, binding)?, binding)));
        let gateways = bindings
            .vpn_gateways
            .iter()
            .filter_map(|binding| Some((bound_gateway(state, binding)?.id.as_str(), binding.inner_address)));
        Bound {
            state,
            networks: networks.collect(),
            gateways: gateways.collect(),
            has_fabric: bindings.fabric.is_some(),
            taken: RefCell::default(),
            passages: RefCell::default(),
        }
    }

    fn network(&self, binding: &NetworkBinding) -> Option<NetworkId> {
        self.networks.iter().find(|(_, bound)| **bound == binding).map(|(id, _)| id.clone())
    }

    /// What stands in the kernel's main table.
    fn router_routes(&self, binding: &NetworkBinding, network: &NetworkId) -> Vec<KernelRoute> {
        let Some(table) = self.state.table_of(network) else { return Vec::new() };
        let entries = table.entries.values().filter_map(|entry| self.entry_route(TABLE_MAIN, binding, entry));
        entries.chain(self.learned_by(TABLE_MAIN, binding, table)).collect()
    }

    /// The custom tables that a vSwitch uses, with a rule for each of these.
    fn add_custom_tables(&self, binding: &NetworkBinding, network: &NetworkId, router: &mut KernelState) {
        for table in self.state.tables_of(network).filter(|table| self.state.is_custom(table)) {
            let number = custom_table(table);
            let rules: Vec<KernelRule> =
                self.state.vswitches_by(table).map(|vswitch| vswitch_rule(vswitch.cidr, number)).collect();
            if rules.is_empty() {
                continue;
            }
            router.rules.extend(rules);
            router.routes.extend(table.entries.values().map(|entry| {
                self.entry_route(number, binding, entry).unwrap_or_else(|| throw(number, entry.destination))
            }));
            router.routes.extend(self.learned_by(number, binding, table));
            router.routes.insert(unreachable(number, Ipv4Net::default(), LAST));
        }
    }

    /// Where an entry leads; `None` for the system routes, which lead to the router's own links.
    fn entry_route(&self, table: u32, binding: &NetworkBinding, entry: &RouteEntry) -> Option<KernelRoute> {
        let address = |hop: &str| match entry.kind {
            EntryKind::VSwitch | EntryKind::Service => None,
            EntryKind::Instance | EntryKind::HaVip => self.host(hop),
            EntryKind::VpnGateway => self.gateways.get(hop).copied(),
            EntryKind::DataCenter | EntryKind::Bgp => binding.data_center_address,
        };
        if matches!(entry.kind, EntryKind::VSwitch | EntryKind::Service) {
            return None;
        }
        let mut addresses = entry.hops_in_use().filter_map(address);
        let Some(first) = addresses.next() else { return Some(unreachable(table, entry.destination, 0)) };
        let more_gateways = addresses.map(IpAddr::V4).collect();
        Some(KernelRoute { more_gateways, ..route(table, entry.destination, first, None) })
    }

    /// Routes to the fabric, of what a route table receives.
    fn learned_by(&self, number: u32, binding: &NetworkBinding, table: &RouteTable) -> Vec<KernelRoute> {
        if !self.has_fabric {
            return Vec::new();
        }
        let to_fabric = |destination| route(number, destination, binding.fabric_address, Some(&binding.router_device));
        self.received(table).into_iter().map(to_fabric).collect()
    }

    /// Destinations that a route table receives from CEN.
    fn received(&self, table: &RouteTable) -> BTreeSet<Ipv4Net> {
        let learned = self.taken(&table.network);
        learned.iter().filter(|route| receives(table, route)).map(|route| route.destination).collect()
    }

    /// For all of a network's tables and for the fabric it is looked for once.
    fn taken(&self, network: &NetworkId) -> Rc<[LearnedRoute]> {
        let mut known = self.taken.borrow_mut();
        Rc::clone(known.entry(network.clone()).or_insert_with(|| {
            let passage = self.passage(network);
            passage.map_or_else(Vec::new, |passage| taken_routes_past(self.state, network, passage)).into()
        }))
    }

    fn passage(&self, network: &NetworkId) -> Option<Rc<Passage<'s>>> {
        let cen = &self.state.attachments.get(network)?.cen;
        let mut passages = self.passages.borrow_mut();
        Some(Rc::clone(passages.entry(cen).or_insert_with(|| Rc::new(Passage::of(self.state, cen)))))
    }

    fn fabric_routes(&self, place: u32, network: &NetworkId) -> Vec<KernelRoute> {
        let table = FABRIC_TABLE + place;
        let publisher = |(destination, publisher): (Ipv4Net, NetworkId)| {
            let binding = self.networks.get(&publisher)?;
            Some(route(table, destination, binding.router_address, Some(&binding.fabric_device)))
        };
        self.learned(network).into_iter().filter_map(publisher).collect()
    }

    fn gateway_routes(&self, binding: &GatewayBinding, gateway: &VpnGateway) -> Vec<KernelRoute> {
        let vpc = NetworkId::Vpc(gateway.vpc.clone());
        let Some(table) = self.state.table_of(&vpc) else { return Vec::new() };
        let leads_on = |entry: &&RouteEntry| {
            entry.kind != EntryKind::Service && entry.hops_in_use().all(|hop| hop != gateway.id.as_str())
        };
        let own = table.entries.values().filter(leads_on);
        let destinations = own.map(|entry| entry.destination).chain(self.received(table));
        destinations.map(|destination| route(TABLE_MAIN, destination, binding.router_address, None)).collect()
    }

    /// Routes in use that a network has learned. Equal routes of several publishers share the load in the cloud; here
    /// the first bound one carries it all.
    fn learned(&self, network: &NetworkId) -> BTreeMap<Ipv4Net, NetworkId> {
        let mut learned: BTreeMap<Ipv4Net, NetworkId> = BTreeMap::new();
        let taken = self.taken(network);
        for route in taken.iter().filter(|route| route.status == LearnedStatus::Active) {
            let present = learned.get(&route.destination);
            if present.is_none_or(|publisher| !self.networks.contains_key(publisher)) {
                learned.insert(route.destination, route.publisher.clone());
            }
        }
        learned
    }

    fn host(&self, id: &str) -> Option<Ipv4Addr> {
        let declared = &self.state.declarations;
        declared.instances.get(id).or_else(|| declared.ha_vips.get(id)).map(|host| host.address)
    }
}

fn route(table: u32, destination: Ipv4Net, gateway: Ipv4Addr, device: Option<&Arc<str>>) -> KernelRoute {
    KernelRoute {
        table,
        destination: IpNet::V4(destination),
        metric: 0,
        protocol: PROTOCOL_CEND,
        kind: RouteKind::Unicast,
        gateway: Some(gateway.into()),
        more_gateways: Vec::new(),
        device: device.cloned(),
    }
}

fn unreachable(table: u32, destination: Ipv4Net, metric: u32) -> KernelRoute {
    KernelRoute {
        table,
        destination: IpNet::V4(destination),
        metric,
        protocol: PROTOCOL_CEND,
        kind: RouteKind::Unreachable,
        gateway: None,
        more_gateways: Vec::new(),
        device: None,
    }
}

/// Ends the search in a custom table, so that the router's own links are asked.
fn throw(table: u32, destination: Ipv4Net) -> KernelRoute {
    KernelRoute { kind: RouteKind::Throw, ..unreachable(table, destination, 0) }
}

/// The kernel's number of a custom table. It stays when other tables come and go, so that no packet is ever looked up in
/// another's; that two tables of one router meet in a number of 30 bits is left to chance.
fn custom_table(table: &RouteTable) -> u32 {
    let [a, b, c, d, ..] = sha256(table.id.as_str().as_bytes());
    CUSTOM_TABLE | (u32::from_be_bytes([a, b, c, d]) >> 2)
}

fn vswitch_rule(vswitch: Ipv4Net, table: u32) -> KernelRule {
    KernelRule {
        family: Family::Ipv4,
        priority: VSWITCH_PRIORITY,
        protocol: PROTOCOL_CEND,
        source: Some(IpNet::V4(vswitch)),
        input_device: None,
        unless_mark: None,
        table,
        suppress_prefix_length: None,
        is_foreign: false,
    }
}

fn fabric_rule(place: u32, binding: &NetworkBinding) -> KernelRule {
    KernelRule {
        family: Family::Ipv4,
        priority: FABRIC_PRIORITY + place,
        protocol: PROTOCOL_CEND,
        source: None,
        input_device: Some(Arc::clone(&binding.fabric_device)),
        unless_mark: None,
        table: FABRIC_TABLE + place,
        suppress_prefix_length: None,
        is_foreign: false,
    }
}

fn fabric_end(place: u32) -> KernelRoute {
    unreachable(FABRIC_TABLE + place, Ipv4Net::default(), LAST)
}

#[cfg(test)]
mod tests;
