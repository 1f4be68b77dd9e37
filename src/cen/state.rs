//! Everything that the simulated cloud knows. It changes only through [`apply`](super::apply::apply).

use std::collections::BTreeMap;

use ipnet::Ipv4Net;
use serde::{Deserialize, Serialize};

use super::bandwidth::{BandwidthLimit, BandwidthPackage};
use super::client_token::ClientTokenRecord;
use super::grant::Grant;
use super::identifier::{
    BandwidthPackageId, CenId, CustomerGatewayId, RouteMapId, RouteTableId, VSwitchId, VbrId, VpcId, VpnConnectionId,
    VpnGatewayId,
};
use super::index::{CenIndex, Index};
use super::network::{Declarations, NetworkId, Tag, UnixMillis, VSwitch, Vbr, Vpc};
use super::route::{RouteEntry, RouteKind, RouteTable};
use super::route_map::RouteMap;
use super::shared::Shared;
use super::vpn::{CustomerGateway, VpnConnection, VpnGateway, VpnRoute, VpnRouteKey};

/// A CEN instance.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Cen {
    /// `CenId`, beginning with `cen-`.
    pub id: CenId,
    /// `Name`; may be empty.
    pub name: String,
    /// `Description`; may be empty.
    pub description: String,
    /// `REDUCED`: attached networks may overlap, only identical CIDR blocks collide.
    pub protection_level: String,
    /// `CreationTime`, shown to the minute.
    pub created: UnixMillis,
    /// `Tags`, in the order given.
    pub tags: Vec<Tag>,
}

/// A network's membership of a CEN instance, with what it publishes there.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Attachment {
    /// The CEN instance that the network is attached to (`CenId`).
    pub cen: CenId,
    /// `ChildInstanceAttachTime`, shown to the minute.
    pub attached: UnixMillis,
    /// Published destinations of the network's table, each with its place in the order of publication: of two
    /// publishers of one CIDR the earlier one wins. Destinations that are not here are `NonPublished`.
    pub publications: Shared<BTreeMap<Ipv4Net, u64>>,
}

/// The whole state of the simulated cloud. Its parts are [`Shared`], so that a copy costs little, and a change of a copy what
/// the changed part costs.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct State {
    /// All CEN instances.
    pub cens: Shared<BTreeMap<CenId, Cen>>,
    /// A network is attached to one CEN instance at most.
    pub attachments: Shared<BTreeMap<NetworkId, Attachment>>,
    /// Route maps of all CEN instances.
    #[serde(default)]
    pub route_maps: Shared<BTreeMap<RouteMapId, RouteMap>>,
    /// Bandwidth packages, of whichever CEN instance or of none.
    #[serde(default)]
    pub bandwidth_packages: Shared<BTreeMap<BandwidthPackageId, BandwidthPackage>>,
    /// What pairs of regions of CEN instances have of them, in the order in which they got it.
    #[serde(default)]
    pub bandwidth_limits: Shared<Vec<BandwidthLimit>>,
    /// The place that the next publication takes.
    pub next_publication: u64,
    /// All VPCs.
    pub vpcs: Shared<BTreeMap<VpcId, Vpc>>,
    /// All vSwitches, of every VPC.
    pub vswitches: Shared<BTreeMap<VSwitchId, VSwitch>>,
    /// All virtual border routers, as the configuration declares them.
    pub vbrs: Shared<BTreeMap<VbrId, Vbr>>,
    /// The route tables of all VPCs and VBRs: one each, and the custom tables of VPCs.
    pub route_tables: Shared<BTreeMap<RouteTableId, RouteTable>>,
    /// All VPN gateways.
    pub vpn_gateways: Shared<BTreeMap<VpnGatewayId, VpnGateway>>,
    /// All customer gateways.
    pub customer_gateways: Shared<BTreeMap<CustomerGatewayId, CustomerGateway>>,
    /// All IPsec-VPN connections, of every VPN gateway.
    pub vpn_connections: Shared<BTreeMap<VpnConnectionId, VpnConnection>>,
    /// Routes of all VPN gateways, destination-based and policy-based. Those of a gateway's own file stand here only while they are
    /// published.
    #[serde(with = "vpn_routes")]
    pub vpn_routes: Shared<BTreeMap<VpnRouteKey, VpnRoute>>,
    /// By [`ClientToken::key`](super::client_token::ClientToken::key).
    pub client_tokens: Shared<BTreeMap<String, Shared<ClientTokenRecord>>>,
    /// What the configuration said at the last start.
    pub declarations: Shared<Declarations>,
    /// Permissions of networks for CEN instances, in the order in which they were given.
    #[serde(default)]
    pub grants: Vec<Grant>,
    /// The resource groups of those resources that are in another than the default one, by the resource's id.
    #[serde(default)]
    pub resource_groups: BTreeMap<String, String>,
    /// What CEN instances bring to whom, derived from the other fields; see [`reindex`](Self::reindex).
    #[serde(skip)]
    pub(in crate::cen) index: Shared<Index>,
}

impl State {
    /// Derives what is not stored. To be called once on a state that was read from somewhere.
    pub fn reindex(&mut self) {
        let mut index = Index::default();
        for (network, attachment) in &self.attachments {
            index.attach(&attachment.cen, network, self.indexed_entries(network));
            let Some(part) = index.of_mut(&attachment.cen) else { continue };
            attachment.publications.iter().for_each(|(to, order)| part.publish(network, *to, *order));
        }
        self.index = index.into();
    }

    /// What the index says of a network's table.
    pub(in crate::cen) fn indexed_entries(&self, network: &NetworkId) -> Vec<(Ipv4Net, RouteKind)> {
        let entries = self.table_of(network).into_iter().flat_map(|table| table.entries.values());
        entries.map(|entry| (entry.destination, entry.kind)).collect()
    }

    /// The index of a CEN instance that something is attached to.
    pub(in crate::cen) fn index_of(&self, cen: &CenId) -> Option<&CenIndex> {
        self.index.of(cen)
    }

    /// The system route table of a VPC, or the table of a VBR.
    pub fn table_of(&self, network: &NetworkId) -> Option<&RouteTable> {
        let table = match network {
            NetworkId::Vpc(id) => &self.vpcs.get(id)?.route_table,
            NetworkId::Vbr(id) => &self.vbrs.get(id)?.route_table,
        };
        self.route_tables.get(table)
    }

    /// All route tables of a network: of a VPC the custom ones too.
    pub fn tables_of<'a>(&'a self, network: &'a NetworkId) -> impl Iterator<Item = &'a RouteTable> {
        self.route_tables.values().filter(move |table| table.network == *network)
    }

    /// Whether a table is a custom one, which `CreateRouteTable` made.
    pub fn is_custom(&self, table: &RouteTable) -> bool {
        match &table.network {
            NetworkId::Vpc(id) => self.vpcs.get(id).is_some_and(|vpc| vpc.route_table != table.id),
            NetworkId::Vbr(_) => false,
        }
    }

    /// The table in which a vSwitch's packets are looked up.
    pub fn table_of_vswitch(&self, vswitch: &VSwitch) -> Option<&RouteTable> {
        let system = || self.table_of(&NetworkId::Vpc(vswitch.vpc.clone()));
        vswitch.route_table.as_ref().and_then(|table| self.route_tables.get(table)).or_else(system)
    }

    /// vSwitches whose packets are looked up in a table.
    pub fn vswitches_by<'a>(&'a self, table: &'a RouteTable) -> impl Iterator<Item = &'a VSwitch> {
        let custom = self.is_custom(table);
        self.vswitches.values().filter(move |vswitch| match &vswitch.route_table {
            Some(used) => *used == table.id,
            None => !custom && table.network.as_str() == vswitch.vpc.as_str(),
        })
    }

    /// `ResourceGroupId` of a resource; empty for the default group.
    pub fn resource_group(&self, resource: &str) -> &str {
        self.resource_groups.get(resource).map_or("", String::as_str)
    }

    /// The region of a network.
    pub fn region_of(&self, network: &NetworkId) -> Option<&str> {
        match network {
            NetworkId::Vpc(id) => self.vpcs.get(id).map(|vpc| vpc.region.as_str()),
            NetworkId::Vbr(id) => self.vbrs.get(id).map(|vbr| vbr.region.as_str()),
        }
    }

    /// Every entry of every table with the given id; ids are unique over all tables.
    pub fn route_entry(&self, id: &str) -> Option<(&RouteTable, &RouteEntry)> {
        self.route_tables.values().find_map(|table| Some((table, table.entries.get(id)?)))
    }

    /// Networks attached to a CEN instance.
    pub fn attached_to<'a>(&'a self, cen: &'a CenId) -> impl Iterator<Item = (&'a NetworkId, &'a Attachment)> {
        self.attachments.iter().filter(move |(_, attachment)| attachment.cen == *cen)
    }

    /// Route maps of a CEN instance.
    pub fn route_maps_of<'a>(&'a self, cen: &'a CenId) -> impl Iterator<Item = &'a RouteMap> {
        self.route_maps.values().filter(move |map| map.cen == *cen)
    }

    /// Bandwidth packages that serve a CEN instance.
    pub fn bandwidth_packages_of<'a>(&'a self, cen: &'a CenId) -> impl Iterator<Item = &'a BandwidthPackage> {
        let serves =
            move |package: &&BandwidthPackage| package.serves.as_ref().is_some_and(|(serves, _)| serves == cen);
        self.bandwidth_packages.values().filter(serves)
    }

    /// vSwitches of a VPC.
    pub fn vswitches_of<'a>(&'a self, vpc: &'a VpcId) -> impl Iterator<Item = &'a VSwitch> {
        self.vswitches.values().filter(move |vswitch| vswitch.vpc == *vpc)
    }

    /// Connections of a VPN gateway.
    pub fn connections_of<'a>(&'a self, gateway: &'a VpnGatewayId) -> impl Iterator<Item = &'a VpnConnection> {
        self.vpn_connections.values().filter(move |connection| connection.gateway == *gateway)
    }

    /// Routes of a VPN gateway.
    pub fn vpn_routes_of<'a>(&'a self, gateway: &'a VpnGatewayId) -> impl Iterator<Item = &'a VpnRoute> {
        self.vpn_routes.values().filter(move |route| route.key.gateway == *gateway)
    }
}

/// Keys with several fields cannot be keys of a JSON object: the map is written as the list of its values.
mod vpn_routes {
    use std::collections::BTreeMap;

    use serde::{Deserialize, Deserializer, Serializer};

    use super::{Shared, VpnRoute, VpnRouteKey};

    type Routes = Shared<BTreeMap<VpnRouteKey, VpnRoute>>;

    pub fn serialize<S: Serializer>(map: &Routes, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_seq(map.values())
    }

    pub fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Routes, D::Error> {
        let routes = Vec::<VpnRoute>::deserialize(deserializer)?;
        let map: BTreeMap<_, _> = routes.into_iter().map(|route| (route.key.clone(), route)).collect();
        Ok(map.into())
    }
}
