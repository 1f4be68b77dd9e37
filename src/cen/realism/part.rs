//! What a change leaves under way in the real cloud, what has to be settled before it, and how it is taken back.

use ipnet::Ipv4Net;

use crate::cen::apply::apply;
use crate::cen::bandwidth::BandwidthPackage;
use crate::cen::change::Change;
use crate::cen::identifier::{RouteTableId, VpnGatewayId};
use crate::cen::network::NetworkId;
use crate::cen::state::State;

/// Kinds of what has a status in the cloud.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Kind {
    /// A CEN instance, by its id.
    Cen,
    /// A network attached to a CEN instance, by the network's id.
    Attachment,
    /// A published route, by its network's id and its destination.
    Publication,
    /// A route map, by its id.
    RouteMap,
    /// A bandwidth package, by its id.
    BandwidthPackage,
    /// A VPC, by its id.
    Vpc,
    /// A vSwitch, by its id.
    VSwitch,
    /// A route table, by its id.
    RouteTable,
    /// A route entry, by its id.
    RouteEntry,
    /// A VPN gateway, by its id.
    VpnGateway,
    /// An IPsec-VPN connection, by its id.
    VpnConnection,
}

/// What is being done with something.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Phase {
    /// It is there, and not ready yet.
    Creating,
    /// It gets other attributes.
    Modifying,
    /// It is still there, and will not be for long.
    Deleting,
}

impl Kind {
    /// The status that the cloud shows meanwhile. `None`: it knows no word for that; publications and bandwidth packages are
    /// shown as they were before.
    pub fn status(self, phase: Phase) -> Option<&'static str> {
        let words = match self {
            Self::Cen => [Some("Creating"), None, Some("Deleting")],
            Self::Attachment => [Some("Attaching"), None, Some("Detaching")],
            Self::Publication | Self::BandwidthPackage => [None; 3],
            Self::RouteMap => [Some("Creating"), Some("Modifying"), Some("Deleting")],
            Self::Vpc | Self::VSwitch | Self::RouteTable => [Some("Pending"); 3],
            Self::RouteEntry => [Some("Pending"), Some("Modifying"), Some("Deleting")],
            Self::VpnGateway | Self::VpnConnection => [Some("provisioning"), Some("updating"), Some("deleting")],
        };
        match phase {
            Phase::Creating => words[0],
            Phase::Modifying => words[1],
            Phase::Deleting => words[2],
        }
    }
}

/// Something that has a status: its kind and its id.
pub type Part = (Kind, String);

/// What a call touches.
#[derive(Debug, Default)]
pub struct Touched {
    /// What is under way from then on.
    pub under_way: Vec<(Part, Phase)>,
    /// What has to be settled beside these.
    pub needs: Vec<Part>,
}

impl Touched {
    /// What changes of this state touch.
    pub fn by(changes: &[Change], state: &State) -> Self {
        let mut touched = Self::default();
        changes.iter().for_each(|change| touched.add(change, state));
        touched
    }

    /// All of it.
    pub fn parts(&self) -> impl Iterator<Item = &Part> {
        self.under_way.iter().map(|(part, _)| part).chain(&self.needs)
    }

    fn add(&mut self, change: &Change, state: &State) {
        match change {
            Change::CenSet(cen) => self.set(Kind::Cen, &cen.id, state.cens.contains_key(&cen.id)),
            Change::CenRemoved(id) => self.removed(Kind::Cen, id),
            Change::Attached { network, cen, .. } => {
                self.set(Kind::Attachment, network, false);
                self.need(Kind::Cen, cen);
                self.need_network(network);
            }
            Change::Detached { network } => {
                self.removed(Kind::Attachment, network);
                let attachment = state.attachments.get(network);
                attachment.into_iter().for_each(|attachment| self.need(Kind::Cen, &attachment.cen));
            }
            Change::Published { network, destination, .. } | Change::Withdrawn { network, destination } => {
                self.set(Kind::Publication, format!("{network} {destination}"), true);
                self.need(Kind::Attachment, network);
                let entry = state.table_of(network).and_then(|table| table.entry_to(*destination));
                entry.into_iter().for_each(|entry| self.need(Kind::RouteEntry, &entry.id));
            }
            Change::RouteMapSet(map) => {
                self.set(Kind::RouteMap, &map.id, state.route_maps.contains_key(&map.id));
                self.need(Kind::Cen, &map.cen);
            }
            Change::RouteMapRemoved(id) => self.removed(Kind::RouteMap, id),
            Change::BandwidthPackageSet(package) => {
                let known = state.bandwidth_packages.contains_key(&package.id);
                self.set(Kind::BandwidthPackage, &package.id, known);
                package.serves.iter().for_each(|(cen, _)| self.need(Kind::Cen, cen));
            }
            Change::BandwidthPackageRemoved(id) => self.removed(Kind::BandwidthPackage, id),
            Change::BandwidthLimitSet(limit) => self.need(Kind::Cen, &limit.cen),
            Change::VpcSet(vpc) => self.set(Kind::Vpc, &vpc.id, state.vpcs.contains_key(&vpc.id)),
            Change::VpcRemoved(id) => self.removed(Kind::Vpc, id),
            Change::VSwitchSet(vswitch) => {
                let former = state.vswitches.get(&vswitch.id);
                self.set(Kind::VSwitch, &vswitch.id, former.is_some());
                self.need(Kind::Vpc, &vswitch.vpc);
                let tables =
                    former.and_then(|former| former.route_table.as_ref()).into_iter().chain(&vswitch.route_table);
                tables.for_each(|table| self.need(Kind::RouteTable, table));
            }
            Change::VSwitchRemoved(id) => {
                self.removed(Kind::VSwitch, id);
                state.vswitches.get(id).into_iter().for_each(|vswitch| self.need(Kind::Vpc, &vswitch.vpc));
            }
            Change::RouteTableSet(table) => {
                self.set(Kind::RouteTable, &table.id, state.route_tables.contains_key(&table.id));
                self.need_network(&table.network);
            }
            Change::RouteTableRemoved(id) => self.removed(Kind::RouteTable, id),
            Change::RouteEntrySet { table, entry } => {
                let former = state.route_tables.get(table);
                self.set(
                    Kind::RouteEntry,
                    &entry.id,
                    former.is_some_and(|table| table.entries.contains_key(&entry.id)),
                );
                self.need_table(table, state);
                if state.vpn_gateways.contains_key(entry.next_hop.as_str()) {
                    self.need(Kind::VpnGateway, &entry.next_hop);
                }
            }
            Change::RouteEntryRemoved { table, entry } => {
                self.removed(Kind::RouteEntry, entry);
                self.need_table(table, state);
            }
            Change::VpnGatewaySet(gateway) => {
                self.set(Kind::VpnGateway, &gateway.id, state.vpn_gateways.contains_key(&gateway.id));
                self.need(Kind::Vpc, &gateway.vpc);
            }
            Change::VpnGatewayRemoved(id) => self.removed(Kind::VpnGateway, id),
            Change::VpnConnectionSet(connection) => {
                let known = state.vpn_connections.contains_key(&connection.id);
                self.set(Kind::VpnConnection, &connection.id, known);
                self.updates(&connection.gateway);
            }
            Change::VpnConnectionRemoved(id) => {
                self.removed(Kind::VpnConnection, id);
                let connection = state.vpn_connections.get(id);
                connection.into_iter().for_each(|connection| self.updates(&connection.gateway));
            }
            Change::VpnRouteSet(route) => {
                self.updates(&route.key.gateway);
                self.need(Kind::VpnConnection, &route.key.next_hop);
            }
            Change::VpnRouteRemoved(key) => {
                self.updates(&key.gateway);
                self.need(Kind::VpnConnection, &key.next_hop);
            }
            // They have no status, or nobody asked for them by a call.
            Change::VbrSet(_)
            | Change::VbrRemoved(_)
            | Change::ResourceGroupSet { .. }
            | Change::Granted(_)
            | Change::Revoked { .. }
            | Change::CustomerGatewaySet(_)
            | Change::CustomerGatewayRemoved(_)
            | Change::ClientTokenUsed { .. }
            | Change::Declared(_) => {}
        }
    }

    fn set(&mut self, kind: Kind, id: impl ToString, known: bool) {
        let phase = if known { Phase::Modifying } else { Phase::Creating };
        self.under_way.push(((kind, id.to_string()), phase));
    }

    fn removed(&mut self, kind: Kind, id: impl ToString) {
        self.under_way.push(((kind, id.to_string()), Phase::Deleting));
    }

    fn need(&mut self, kind: Kind, id: impl ToString) {
        self.needs.push((kind, id.to_string()));
    }

    fn need_network(&mut self, network: &NetworkId) {
        if let NetworkId::Vpc(vpc) = network {
            self.need(Kind::Vpc, vpc);
        }
    }

    fn need_table(&mut self, table: &RouteTableId, state: &State) {
        self.need(Kind::RouteTable, table);
        state.route_tables.get(table).into_iter().for_each(|table| self.need_network(&table.network));
    }

    /// A VPN gateway is `updating` while its connections and routes change.
    fn updates(&mut self, gateway: &VpnGatewayId) {
        self.set(Kind::VpnGateway, gateway, true);
    }
}

/// What takes back, in a state in which `changes` are made, those of them that the cloud shows only when they are done: what is
/// deleted, published, withdrawn, and bandwidth packages. `former` is the state without them.
pub fn taken_back(changes: &[Change], former: &State) -> Vec<Change> {
    changes.iter().rev().flat_map(|change| inverse(change, former)).collect()
}

/// Makes one of these changes in the state that is to be shown. What is settled at once stays as it is there: its tags.
pub fn take_back(change: &Change, shown: &mut State) {
    let Change::BandwidthPackageSet(former) = change else { return apply(shown, change) };
    let present = shown.bandwidth_packages.get(&former.id).map_or(&former.tags, |present| &present.tags);
    let package = BandwidthPackage { tags: present.clone(), ..BandwidthPackage::clone(former) };
    apply(shown, &Change::BandwidthPackageSet(Box::new(package)));
}

fn inverse(change: &Change, former: &State) -> Vec<Change> {
    let one = match change {
        Change::Detached { network } => return attached(network, former),
        Change::CenRemoved(id) => former.cens.get(id).cloned().map(Change::CenSet),
        Change::Published { network, destination, .. } => {
            let withdrawn = Change::Withdrawn { network: network.clone(), destination: *destination };
            order(network, *destination, former).is_none().then_some(withdrawn)
        }
        Change::Withdrawn { network, destination } => order(network, *destination, former)
            .map(|order| Change::Published { network: network.clone(), destination: *destination, order }),
        Change::RouteMapRemoved(id) => former.route_maps.get(id).cloned().map(|map| Change::RouteMapSet(Box::new(map))),
        Change::BandwidthPackageSet(package) => package_set(former.bandwidth_packages.get(&package.id)),
        Change::BandwidthPackageRemoved(id) => package_set(former.bandwidth_packages.get(id)),
        Change::VpcRemoved(id) => former.vpcs.get(id).cloned().map(Change::VpcSet),
        Change::VSwitchRemoved(id) => former.vswitches.get(id).cloned().map(Change::VSwitchSet),
        Change::RouteTableRemoved(id) => former.route_tables.get(id).cloned().map(Change::RouteTableSet),
        Change::RouteEntryRemoved { table, entry } => {
            let entry = former.route_tables.get(table).and_then(|table| table.entries.get(entry));
            entry.map(|entry| Change::RouteEntrySet { table: table.clone(), entry: entry.clone() })
        }
        Change::VpnGatewayRemoved(id) => former.vpn_gateways.get(id).cloned().map(Change::VpnGatewaySet),
        Change::VpnConnectionRemoved(id) => {
            former.vpn_connections.get(id).cloned().map(|connection| Change::VpnConnectionSet(Box::new(connection)))
        }
        Change::VpnRouteRemoved(key) => former.vpn_routes.get(key).cloned().map(Change::VpnRouteSet),
        // Only what is deleted leaves its group like this: another group is no write that is under way.
        Change::ResourceGroupSet { resource, group } if group.is_empty() => {
            let group = former.resource_groups.get(resource).map(ToString::to_string);
            group.map(|group| Change::ResourceGroupSet { resource: resource.clone(), group })
        }
        _ => None,
    };
    one.into_iter().collect()
}

fn package_set(package: Option<&BandwidthPackage>) -> Option<Change> {
    package.map(|package| Change::BandwidthPackageSet(Box::new(package.clone())))
}

/// The place in the order of publication that a route had.
fn order(network: &NetworkId, destination: Ipv4Net, former: &State) -> Option<u64> {
    former.attachments.get(network)?.publications.get(&destination).copied()
}

/// The attachment that a network had, with what it published.
fn attached(network: &NetworkId, former: &State) -> Vec<Change> {
    let Some(attachment) = former.attachments.get(network) else { return Vec::new() };
    let (cen, at) = (attachment.cen.clone(), attachment.attached);
    let published = attachment.publications.iter().map(|(destination, order)| Change::Published {
        network: network.clone(),
        destination: *destination,
        order: *order,
    });
    std::iter::once(Change::Attached { network: network.clone(), cen, at }).chain(published).collect()
}
