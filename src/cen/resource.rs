//! What the resources of the API have in common: a name, a description and tags.

use serde::{Deserialize, Serialize};

use super::identifier::{CenId, CustomerGatewayId, RouteTableId, VSwitchId, VpcId, VpnConnectionId, VpnGatewayId};
use super::network::Tag;
use super::state::State;

/// A resource that has a name or tags.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub enum ResourceId {
    /// A CEN instance.
    Cen(CenId),
    /// A VPC.
    Vpc(VpcId),
    /// A vSwitch.
    VSwitch(VSwitchId),
    /// A route table of a VPC.
    RouteTable(RouteTableId),
    /// A VPN gateway.
    VpnGateway(VpnGatewayId),
    /// A customer gateway.
    CustomerGateway(CustomerGatewayId),
    /// An IPsec-VPN connection.
    VpnConnection(VpnConnectionId),
}

/// Makes a resource's id of its text.
pub type OfText = fn(&str) -> ResourceId;

/// The kinds, with the `ResourceType` that the tag actions call them.
pub static KINDS: &[(&str, OfText)] = &[
    ("CEN", |id| ResourceId::Cen(id.into())),
    ("VPC", |id| ResourceId::Vpc(id.into())),
    ("VSWITCH", |id| ResourceId::VSwitch(id.into())),
    ("ROUTETABLE", |id| ResourceId::RouteTable(id.into())),
    ("VPNGATEWAY", |id| ResourceId::VpnGateway(id.into())),
    ("CUSTOMERGATEWAY", |id| ResourceId::CustomerGateway(id.into())),
    ("VPNCONNECTION", |id| ResourceId::VpnConnection(id.into())),
];

impl ResourceId {
    /// The id alone.
    pub fn as_str(&self) -> &str {
        match self {
            Self::Cen(id) => id.as_str(),
            Self::Vpc(id) => id.as_str(),
            Self::VSwitch(id) => id.as_str(),
            Self::RouteTable(id) => id.as_str(),
            Self::VpnGateway(id) => id.as_str(),
            Self::CustomerGateway(id) => id.as_str(),
            Self::VpnConnection(id) => id.as_str(),
        }
    }

    /// The region that it stands in; empty for a CEN instance, which stands in all of them. `None`: there is none of this id.
    pub fn region<'a>(&self, state: &'a State) -> Option<&'a str> {
        let of_vpc = |id: &VpcId| state.vpcs.get(id).map(|vpc| vpc.region.as_str());
        let of_gateway = |id: &VpnGatewayId| state.vpn_gateways.get(id).map(|gateway| gateway.region.as_str());
        match self {
            Self::Cen(id) => state.cens.contains_key(id).then_some(""),
            Self::Vpc(id) => of_vpc(id),
            Self::VSwitch(id) => of_vpc(&state.vswitches.get(id)?.vpc),
            Self::RouteTable(id) => state.region_of(&state.route_tables.get(id)?.network),
            Self::VpnGateway(id) => of_gateway(id),
            Self::CustomerGateway(id) => state.customer_gateways.get(id).map(|gateway| gateway.region.as_str()),
            Self::VpnConnection(id) => of_gateway(&state.vpn_connections.get(id)?.gateway),
        }
    }

    /// Its tags; none if there is none of this id.
    pub fn tags<'a>(&self, state: &'a State) -> &'a [Tag] {
        let tags = match self {
            Self::Cen(id) => state.cens.get(id).map(|cen| &cen.tags),
            Self::Vpc(id) => state.vpcs.get(id).map(|vpc| &vpc.tags),
            Self::VSwitch(id) => state.vswitches.get(id).map(|vswitch| &vswitch.tags),
            Self::RouteTable(id) => state.route_tables.get(id).map(|table| &table.tags),
            Self::VpnGateway(id) => state.vpn_gateways.get(id).map(|gateway| &gateway.tags),
            Self::CustomerGateway(id) => state.customer_gateways.get(id).map(|gateway| &gateway.tags),
            Self::VpnConnection(id) => state.vpn_connections.get(id).map(|connection| &connection.tags),
        };
        tags.map_or(&[], Vec::as_slice)
    }
}

/// Parameters of the actions that change what a resource is called; `None` leaves a field as it is.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ModifyAttributes {
    /// Whose they are.
    pub resource: ResourceId,
    /// `Name`, `VpcName`, `VSwitchName` or `RouteTableName`.
    pub name: Option<String>,
    /// `Description`.
    pub description: Option<String>,
    /// `AutoPropagate` of a VPN gateway.
    pub auto_propagate: Option<bool>,
    /// `RoutePropagationEnable` of a route table.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub route_propagation: Option<bool>,
}

/// Parameters of `TagResources`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct TagResources {
    /// `ResourceId.N`.
    pub resources: Vec<ResourceId>,
    /// `Tag.N`: a key that a resource has already gets this value.
    pub tags: Vec<Tag>,
}

/// Parameters of `UntagResources`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct UntagResources {
    /// `ResourceId.N`.
    pub resources: Vec<ResourceId>,
    /// `TagKey.N`; `None` stands for all keys (`All`).
    pub keys: Option<Vec<String>>,
}
