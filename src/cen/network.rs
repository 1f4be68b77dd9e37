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
    /// `Key`: 1 to 128 characters, unlike those of the resource's other tags.
    pub key: String,
    /// `Value`: any text, also none.
    pub value: String,
}

/// A network that can be attached to a CEN instance.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub enum NetworkId {
    /// A VPC by its id; stored as `VPC:` and the id.
    Vpc(VpcId),
    /// A virtual border router by its id; stored as `VBR:` and the id.
    Vbr(VbrId),
}

/// The kind of a network, as `ChildInstanceType` names it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum NetworkKind {
    /// A virtual private cloud, `VPC`.
    Vpc,
    /// A virtual border router, `VBR`.
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

    /// The kind of a `ChildInstanceType`; `None` for any text but `VPC` and `VBR`.
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
    /// Whether it is a VPC or a VBR (`ChildInstanceType`).
    pub fn kind(&self) -> NetworkKind {
        match self {
            Self::Vpc(_) => NetworkKind::Vpc,
            Self::Vbr(_) => NetworkKind::Vbr,
        }
    }

    /// The instance id alone, without its kind (`ChildInstanceId`).
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

/// A virtual private cloud. It has a system route table, and may have custom ones beside it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Vpc {
    /// `VpcId`, beginning with `vpc-`.
    pub id: VpcId,
    /// `RegionId`, such as `cn-hangzhou`.
    pub region: String,
    /// `CidrBlock`: the first of the blocks that its vSwitches lie in, /8 to /28.
    pub cidr: Ipv4Net,
    /// `VpcName`; may be empty and need not be unique.
    pub name: String,
    /// `Description`; may be empty.
    pub description: String,
    /// `VRouterId` of its virtual router, beginning with `vrt-`.
    pub router: VRouterId,
    /// `RouteTableId` of its system table, beginning with `vtb-`.
    pub route_table: RouteTableId,
    /// `CreationTime`, shown to the second.
    pub created: UnixMillis,
    /// `Tags`, in the order given.
    pub tags: Vec<Tag>,
    /// The name that it was created with, if it may have another now: the configuration knows it by this one.
    #[serde(default)]
    pub created_as: Option<String>,
    /// `SecondaryCidrBlocks`, in the order in which they were added: blocks that its vSwitches may lie in too.
    #[serde(default)]
    pub secondary_cidrs: Vec<Ipv4Net>,
    /// `UserCidrs`: blocks of the internet that its hosts take for private ones.
    #[serde(default)]
    pub user_cidrs: Vec<Ipv4Net>,
}

impl Vpc {
    /// The blocks that its vSwitches lie in.
    pub fn blocks(&self) -> impl Iterator<Item = Ipv4Net> {
        std::iter::once(self.cidr).chain(self.secondary_cidrs.iter().copied())
    }

    /// The name by which the configuration knows it.
    pub fn created_as(&self) -> &str {
        self.created_as.as_deref().unwrap_or(&self.name)
    }
}

/// A subnet of a VPC. Its system route (next hop `local`) stands in all route tables of the VPC.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct VSwitch {
    /// `VSwitchId`, beginning with `vsw-`.
    pub id: VSwitchId,
    /// The VPC that it is a subnet of (`VpcId`).
    pub vpc: VpcId,
    /// `ZoneId`, such as `cn-hangzhou-b`.
    pub zone: String,
    /// `CidrBlock`: /16 to /29 inside one of the VPC's blocks, disjoint from the VPC's other vSwitches.
    pub cidr: Ipv4Net,
    /// `VSwitchName`; may be empty.
    pub name: String,
    /// `Description`; may be empty.
    pub description: String,
    /// `CreationTime`, shown to the second.
    pub created: UnixMillis,
    /// `Tags`, in the order given.
    #[serde(default)]
    pub tags: Vec<Tag>,
    /// The custom route table of the VPC in which its packets are looked up; `None`: the system table.
    #[serde(default)]
    pub route_table: Option<RouteTableId>,
}

/// A virtual border router: the cloud's end of a leased line to a data centre.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Vbr {
    /// Its id as the configuration gives it, beginning with `vbr-`.
    pub id: VbrId,
    /// The region whose end of the leased line it is.
    pub region: String,
    /// Name for people (`ChildInstanceName`); may be empty.
    pub name: String,
    /// `RouteTableId` of its only table.
    pub route_table: RouteTableId,
    /// The router interface on the leased line: the next hop of the VBR's static routes.
    pub router_interface: String,
    /// When the configuration first declared it.
    pub created: UnixMillis,
}

/// A VPC named before it exists: by its name and region.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct VpcName {
    /// The region that the VPC stands in or will stand in.
    pub region: String,
    /// The `VpcName` with which the VPC was or will be created.
    pub name: String,
}

/// A host inside a VPC that a route may point to: an ECS instance or a HaVip.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Host {
    /// The VPC that it stands in.
    pub vpc: VpcName,
    /// Its private address there.
    pub address: Ipv4Addr,
}

/// A route that the configuration gives to a VBR.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct DeclaredRoute {
    /// Network of the data centre behind the leased line.
    pub destination: Ipv4Net,
    /// Learned over BGP from the data centre, with this AS path; `None`: a static route.
    pub as_path: Option<Vec<u32>>,
}

/// A VBR as the configuration declares it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct DeclaredVbr {
    /// Id by which it is attached to CEN (`ChildInstanceId`), beginning with `vbr-`.
    pub id: VbrId,
    /// The region whose end of the leased line it is.
    pub region: String,
    /// Name for people (`ChildInstanceName`); may be empty.
    pub name: String,
    /// `RouteTableId` of its only table. A VBR declared with another table is another VBR.
    pub route_table: RouteTableId,
    /// The router interface on the leased line: the next hop of all of its routes (`NextHopId`).
    pub router_interface: String,
    /// All routes that its table gets from the configuration; those of the API stand beside them.
    pub routes: Vec<DeclaredRoute>,
}

/// The public address of a VPN gateway, named before the gateway exists.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct DeclaredAddress {
    /// The region that the gateway will stand in.
    pub region: String,
    /// The `Name` with which the gateway will be created.
    pub gateway_name: String,
    /// The `InternetIp` that the gateway gets, unless another gateway has it already.
    pub address: Ipv4Addr,
}

/// A VPC whose place in the real network is known before it is created.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct BoundVpc {
    /// The VPC by its region and name.
    pub vpc: VpcName,
    /// The `CidrBlock` that it must be created with; any other is refused with `InvalidCidrBlock`.
    pub cidr: Ipv4Net,
}

/// What the configuration says exists beside what the API makes.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Declarations {
    /// ECS instances that entries of the type `Instance` may point to.
    pub instances: BTreeMap<InstanceId, Host>,
    /// HaVips that entries of the type `HaVip` may point to.
    pub ha_vips: BTreeMap<HaVipId, Host>,
    /// Virtual border routers with their routes. The API attaches them; it neither creates nor deletes them.
    pub vbrs: Vec<DeclaredVbr>,
    /// Public addresses that are kept for VPN gateways of certain names.
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
