//! What CEN joins: VPCs with their vSwitches, and virtual border routers (VBRs). Also what stands inside a VPC
//! as a next hop: ECS instances and HaVips, which the configuration declares.

use std::collections::BTreeMap;
use std::fmt;
use std::net::Ipv4Addr;

use ipnet::Ipv4Net;
use serde::{Deserialize, Serialize};

use super::identifier::{HaVipId, InstanceId, RouteTableId, VRouterId, VSwitchId, VbrId, VpcId};

/// Milliseconds since 1970-01-01T00:00:00Z.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct UnixMillis(pub u64);

/// A label that a caller puts on a resource.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct Tag {
    pub key: String,
    pub value: String,
}

/// A network that can be attached to a CEN instance.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub enum NetworkId {
    Vpc(VpcId),
    Vbr(VbrId),
}

/// The kind of a network, as `ChildInstanceType` names it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum NetworkKind {
    Vpc,
    Vbr,
}

impl NetworkKind {
    /// The API's name: `VPC` or `VBR`.
    pub fn api_name(self) -> &'static str {
        match self {
            Self::Vpc => "VPC",
            Self::Vbr => "VBR",
        }
    }

    pub fn from_api_name(name: &str) -> Option<Self> {
        [Self::Vpc, Self::Vbr].into_iter().find(|kind| kind.api_name() == name)
    }

    /// The network of this kind with the given instance id.
    pub fn network(self, instance_id: &str) -> NetworkId {
        match self {
            Self::Vpc => NetworkId::Vpc(instance_id.into()),
            Self::Vbr => NetworkId::Vbr(instance_id.into()),
        }
    }
}

impl NetworkId {
    pub fn kind(&self) -> NetworkKind {
        match self {
            Self::Vpc(_) => NetworkKind::Vpc,
            Self::Vbr(_) => NetworkKind::Vbr,
        }
    }

    pub fn as_str(&self) -> &str {
        match self {
            Self::Vpc(id) => id.as_str(),
            Self::Vbr(id) => id.as_str(),
        }
    }
}

impl fmt::Display for NetworkId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

impl From<NetworkId> for String {
    fn from(network: NetworkId) -> Self {
        format!("{}:{network}", network.kind().api_name())
    }
}

impl TryFrom<String> for NetworkId {
    type Error = String;

    fn try_from(text: String) -> Result<Self, String> {
        text.split_once(':')
            .and_then(|(kind, id)| Some(NetworkKind::from_api_name(kind)?.network(id)))
            .ok_or_else(|| format!("{text:?} is not VPC:id or VBR:id"))
    }
}

/// A virtual private cloud. It has one route table, its system table.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Vpc {
    pub id: VpcId,
    pub region: String,
    pub cidr: Ipv4Net,
    pub name: String,
    pub description: String,
    pub router: VRouterId,
    pub route_table: RouteTableId,
    pub created: UnixMillis,
    pub tags: Vec<Tag>,
}

/// A subnet of a VPC. Its system route (next hop `local`) stands in the VPC's route table.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct VSwitch {
    pub id: VSwitchId,
    pub vpc: VpcId,
    pub zone: String,
    pub cidr: Ipv4Net,
    pub name: String,
    pub description: String,
    pub created: UnixMillis,
}

/// A virtual border router: the cloud's end of a leased line to a data centre.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Vbr {
    pub id: VbrId,
    pub region: String,
    pub name: String,
    pub route_table: RouteTableId,
    /// The router interface on the leased line: the next hop of the VBR's static routes.
    pub router_interface: String,
    pub created: UnixMillis,
}

/// A VPC named before it exists: by its name and region.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct VpcName {
    pub region: String,
    pub name: String,
}

/// A host inside a VPC that a route may point to: an ECS instance or a HaVip.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Host {
    pub vpc: VpcName,
    pub address: Ipv4Addr,
}

/// A route that the configuration gives to a VBR.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct DeclaredRoute {
    pub destination: Ipv4Net,
    /// Learned over BGP from the data centre, with this AS path; `None`: a static route.
    pub as_path: Option<Vec<u32>>,
}

/// A VBR as the configuration declares it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct DeclaredVbr {
    pub id: VbrId,
    pub region: String,
    pub name: String,
    pub route_table: RouteTableId,
    pub router_interface: String,
    pub routes: Vec<DeclaredRoute>,
}

/// The public address of a VPN gateway, named before the gateway exists.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct DeclaredAddress {
    pub region: String,
    /// The `Name` with which the gateway will be created.
    pub gateway_name: String,
    pub address: Ipv4Addr,
}

/// A VPC whose place in the real network is known before it is created.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct BoundVpc {
    pub vpc: VpcName,
    pub cidr: Ipv4Net,
}

/// What the configuration says exists beside what the API makes.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Declarations {
    pub instances: BTreeMap<InstanceId, Host>,
    pub ha_vips: BTreeMap<HaVipId, Host>,
    pub vbrs: Vec<DeclaredVbr>,
    pub gateway_addresses: Vec<DeclaredAddress>,
    /// A VPC of such a name and region must be created with this CIDR block.
    pub bound_vpcs: Vec<BoundVpc>,
    /// Public addresses of VPN gateways that no declaration names are taken from here.
    pub address_pool: Ipv4Net,
}

impl Default for Declarations {
    fn default() -> Self {
        Self {
            instances: BTreeMap::new(),
            ha_vips: BTreeMap::new(),
            vbrs: Vec::new(),
            gateway_addresses: Vec::new(),
            bound_vpcs: Vec::new(),
            // RFC 5737: addresses for documentation, so that a simulation never names a real host.
            address_pool: Ipv4Net::new_assert(Ipv4Addr::new(203, 0, 113, 0), 24),
        }
    }
}
