//! What can be asked of the cloud. A command carries every id and secret that it needs, so that
//! [`plan`](super::plan::plan) is a pure function.

mod cen;
mod grant;
mod route_table;
mod vpc;
mod vpn;

use ipnet::Ipv4Net;

pub use cen::{BandwidthCommand, RouteMapCommand};
pub use grant::{GrantInstance, RevokeInstance};
pub use route_table::{AssociateRouteTable, CreateRouteTable};
pub use vpc::{MoveToResourceGroup, PublishVpcRoutes, SecondaryCidr};
pub use vpn::{
    CreateCustomerGateway, CreateVpnConnection, CreateVpnGateway, CreateVpnRoute, IkeParameters, IpsecParameters,
    KnownVpnRoute, ModifyVpnConnection, ModifyVpnRoute, PublishVpnRoute,
};

use super::client_token::ClientToken;
use super::identifier::{
    CenId, CustomerGatewayId, RouteEntryId, RouteTableId, VRouterId, VSwitchId, VpcId, VpnConnectionId, VpnGatewayId,
};
use super::network::{Declarations, NetworkId, Tag, UnixMillis};
use super::resource::{ModifyAttributes, TagResources, UntagResources};
use super::route::NextHop;

/// A command with what surrounds it.
#[derive(Clone, Debug)]
pub struct Submission {
    /// What is asked of the cloud.
    pub command: Command,
    /// The caller's `ClientToken`; `None`: a repeated call is another call.
    pub client_token: Option<ClientToken>,
    /// Check everything, change nothing; success is answered with the error `DryRunOperation`.
    pub dry_run: bool,
    /// When the call was received. What it creates carries this as its time of creation.
    pub now: UnixMillis,
}

/// Everything that changes the cloud.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Command {
    /// Creates a CEN instance (`CreateCen`).
    CreateCen(CreateCen),
    /// Changes name, description or protection level of a CEN instance (`ModifyCenAttribute`).
    ModifyCen(ModifyCen),
    /// Deletes a CEN instance that nothing is attached to (`DeleteCen`).
    DeleteCen {
        /// The CEN instance (`CenId`).
        cen: CenId,
    },
    /// Makes a VPC or VBR a child instance of a CEN instance (`AttachCenChildInstance`).
    AttachNetwork(ChildInstance),
    /// Takes a VPC or VBR out of its CEN instance, with what it published (`DetachCenChildInstance`).
    DetachNetwork(ChildInstance),
    /// Publishes an entry of a child instance's route table to CEN (`PublishRouteEntries`). One that is published
    /// already stays as it is.
    PublishRoute(PublishedRoute),
    /// Takes an entry of a child instance's route table out of CEN (`WithdrawPublishedRouteEntries`). One that is not
    /// published stays as it is.
    WithdrawRoute(PublishedRoute),
    /// Creates, changes or deletes a route map (`CreateCenRouteMap`, `ModifyCenRouteMap`, `DeleteCenRouteMap`).
    RouteMap(RouteMapCommand),
    /// Bandwidth packages and limits (`…CenBandwidthPackage…`, `SetCenInterRegionBandwidthLimit`).
    Bandwidth(BandwidthCommand),
    /// Changes the name or the description of a resource (`Modify…Attribute`, `ModifyRouteTableAttributes`).
    ModifyAttributes(ModifyAttributes),
    /// Gives resources tags (`TagResources`).
    TagResources(TagResources),
    /// Takes tags from resources (`UntagResources`).
    UntagResources(UntagResources),
    /// Nothing: a call that was made before with its `ClientToken`, and has its answer. Its nonce is used.
    Nothing,
    /// Creates a VPC with its system route table (`CreateVpc`).
    CreateVpc(CreateVpc),
    /// Deletes a VPC that has no vSwitch, no VPN gateway and no custom entry and is not attached to CEN (`DeleteVpc`).
    DeleteVpc {
        /// The VPC (`VpcId`).
        vpc: VpcId,
    },
    /// Creates a vSwitch in a VPC, with its system route (`CreateVSwitch`).
    CreateVSwitch(CreateVSwitch),
    /// Deletes a vSwitch that no VPN gateway stands in, with its system route (`DeleteVSwitch`).
    DeleteVSwitch {
        /// The vSwitch (`VSwitchId`).
        vswitch: VSwitchId,
    },
    /// Adds a custom entry to the route table of a VPC or VBR (`CreateRouteEntry`).
    CreateRouteEntry(CreateRouteEntry),
    /// Changes a custom entry of a route table (`ModifyRouteEntry`).
    ModifyRouteEntry(ModifyRouteEntry),
    /// Removes a custom entry from its route table, and from CEN if it was published (`DeleteRouteEntry`).
    DeleteRouteEntry(DeleteRouteEntry),
    /// Adds several custom entries, all or none (`CreateRouteEntries`).
    CreateRouteEntries(Vec<CreateRouteEntry>),
    /// Removes several custom entries, all or none (`DeleteRouteEntries`).
    DeleteRouteEntries(Vec<DeleteRouteEntry>),
    /// Creates a custom route table in a VPC (`CreateRouteTable`).
    CreateRouteTable(CreateRouteTable),
    /// Deletes a custom route table that has no custom entry and that no vSwitch uses (`DeleteRouteTable`).
    DeleteRouteTable {
        /// The custom route table (`RouteTableId`).
        route_table: RouteTableId,
    },
    /// Lets a vSwitch use a custom route table (`AssociateRouteTable`).
    AssociateRouteTable(AssociateRouteTable),
    /// Lets a vSwitch use the system route table again (`UnassociateRouteTable`).
    UnassociateRouteTable(AssociateRouteTable),
    /// Gives a VPC a secondary CIDR block (`AssociateVpcCidrBlock`).
    AssociateCidr(SecondaryCidr),
    /// Takes a secondary CIDR block from a VPC that has no vSwitch in it (`UnassociateVpcCidrBlock`).
    UnassociateCidr(SecondaryCidr),
    /// Publishes entries of route tables to CEN, or withdraws them, from the VPC's side (`PublishVpcRouteEntries`,
    /// `WithdrawVpcPublishedRouteEntries`).
    PublishVpcRoutes(PublishVpcRoutes),
    /// Puts a resource into a resource group (`MoveResourceGroup`, `MoveVpnResourceGroup`).
    MoveToResourceGroup(MoveToResourceGroup),
    /// Permits a CEN instance to attach a network (`GrantInstanceToCen`).
    GrantInstance(GrantInstance),
    /// Permits it no more (`RevokeInstanceFromCen`).
    RevokeInstance(RevokeInstance),
    /// Creates a VPN gateway in a VPC (`CreateVpnGateway`).
    CreateVpnGateway(CreateVpnGateway),
    /// Deletes a VPN gateway that no connection and no entry of its VPC's table names (`DeleteVpnGateway`).
    DeleteVpnGateway {
        /// The VPN gateway (`VpnGatewayId`).
        gateway: VpnGatewayId,
    },
    /// Makes the customer's VPN device known by its public address (`CreateCustomerGateway`).
    CreateCustomerGateway(CreateCustomerGateway),
    /// Deletes a customer gateway that no connection names (`DeleteCustomerGateway`).
    DeleteCustomerGateway {
        /// The customer gateway (`CustomerGatewayId`).
        customer_gateway: CustomerGatewayId,
    },
    /// Creates an IPsec-VPN connection between a VPN gateway and a customer gateway (`CreateVpnConnection`).
    CreateVpnConnection(Box<CreateVpnConnection>),
    /// Changes an IPsec-VPN connection (`ModifyVpnConnectionAttribute`).
    ModifyVpnConnection(Box<ModifyVpnConnection>),
    /// Deletes an IPsec-VPN connection, its routes in the gateway, and what these published to the VPC
    /// (`DeleteVpnConnection`).
    DeleteVpnConnection {
        /// The IPsec-VPN connection (`VpnConnectionId`).
        connection: VpnConnectionId,
    },
    /// Adds a route to a VPN gateway (`CreateVpnRouteEntry`, `CreateVpnPbrRouteEntry`).
    CreateVpnRoute(CreateVpnRoute),
    /// Publishes a VPN gateway's route to its VPC's system route table, or withdraws it from there
    /// (`PublishVpnRouteEntry`).
    PublishVpnRoute(PublishVpnRoute),
    /// Removes a route from a VPN gateway, and from its VPC if it was published (`DeleteVpnRouteEntry`,
    /// `DeleteVpnPbrRouteEntry`).
    DeleteVpnRoute(KnownVpnRoute),
    /// Makes a route of a VPN gateway active or standby, or gives a policy-based one another priority
    /// (`ModifyVpnRouteEntryWeight`, `ModifyVpnPbrRouteEntry…`).
    ModifyVpnRoute(ModifyVpnRoute),
    /// The configuration of the simulator: the complete set of what it declares.
    Declare(Box<Declarations>),
}

/// Parameters of `CreateCen`, with the id that the new CEN instance will have.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CreateCen {
    /// Id of the new CEN instance (`CenId` of the answer).
    pub id: CenId,
    /// `Name`: empty when not given, else 1 to 128 characters that do not begin with `http://` or `https://`.
    pub name: String,
    /// `Description`: empty when not given, else 1 to 256 characters that do not begin with `http://` or `https://`.
    pub description: String,
    /// `ProtectionLevel`: `REDUCED`, which is also what is meant when it is not given; any other value is refused.
    pub protection_level: Option<String>,
    /// `Tag.N`: the labels of the new CEN instance, at most 20.
    pub tags: Vec<Tag>,
}

/// Parameters of `ModifyCenAttribute`; `None` leaves a field as it is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ModifyCen {
    /// The CEN instance to change (`CenId`).
    pub cen: CenId,
    /// `Name`: 2 to 128 characters that do not begin with `http://` or `https://`.
    pub name: Option<String>,
    /// `Description`: 2 to 256 characters that do not begin with `http://` or `https://`.
    pub description: Option<String>,
    /// `ProtectionLevel`: `REDUCED` changes nothing, `FULL` is refused with `InvalidOperation.EnhanceProtectionLevel`.
    pub protection_level: Option<String>,
}

/// A network as the Cbn actions name it: instance, type and region must agree.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ChildInstance {
    /// The CEN instance that the network belongs to or is to join (`CenId`).
    pub cen: CenId,
    /// The VPC or VBR (`ChildInstanceType`, `ChildInstanceId`).
    pub network: NetworkId,
    /// `ChildInstanceRegionId`; not the network's own: `ParameterIllegal.ChildInstanceRegionId`.
    pub region: String,
}

/// An entry that is to be published or withdrawn.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PublishedRoute {
    /// The network whose table holds the entry; it must be attached to the CEN instance that it names.
    pub child: ChildInstance,
    /// `ChildInstanceRouteTableId`; not the network's own table: `InvalidParameter`.
    pub route_table: RouteTableId,
    /// `DestinationCidrBlock`: destination of the entry exactly; no such entry: `InvalidOperation.NotFoundRoute`.
    pub destination: Ipv4Net,
}

/// Parameters of `CreateVpc`, with the ids of everything that comes into being with the VPC.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CreateVpc {
    /// Id of the new VPC (`VpcId` of the answer).
    pub id: VpcId,
    /// Id of the VPC's virtual router (`VRouterId` of the answer).
    pub router: VRouterId,
    /// Id of the VPC's system route table (`RouteTableId` of the answer).
    pub route_table: RouteTableId,
    /// Id of the system route to 100.64.0.0/10.
    pub service_entry: RouteEntryId,
    /// The region that the VPC stands in, such as `cn-hangzhou` (`RegionId`).
    pub region: String,
    /// `CidrBlock`: a prefix of 8 to 28 bits that overlaps none of 100.64.0.0/10, 127.0.0.0/8, 169.254.0.0/16 and
    /// 224.0.0.0/3; otherwise `InvalidCidrBlock`.
    pub cidr: Ipv4Net,
    /// `VpcName`: at most 128 characters, not beginning like a URL; empty when not given.
    pub name: String,
    /// `Description`: at most 256 characters, not beginning like a URL; empty when not given.
    pub description: String,
    /// `Tag.N`: the labels of the new VPC, at most 20.
    pub tags: Vec<Tag>,
    /// `UserCidr`: at most three blocks outside of 100.64.0.0/10.
    pub user_cidrs: Vec<Ipv4Net>,
    /// `ResourceGroupId`; empty for the default group.
    pub resource_group: String,
}

/// Parameters of `CreateVSwitch`, with the ids of the new vSwitch and of its system route.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CreateVSwitch {
    /// Id of the new vSwitch (`VSwitchId` of the answer).
    pub id: VSwitchId,
    /// Id of the vSwitch's system route.
    pub system_entry: RouteEntryId,
    /// The VPC that the vSwitch is a subnet of (`VpcId`).
    pub vpc: VpcId,
    /// A zone of the VPC's region, such as `cn-hangzhou-b` (`ZoneId`).
    pub zone: String,
    /// `CidrBlock`: a prefix of 16 to 29 bits inside one of the VPC's blocks that overlaps no other vSwitch and contains no
    /// custom entry's destination.
    pub cidr: Ipv4Net,
    /// `VSwitchName`: at most 128 characters, not beginning like a URL; empty when not given.
    pub name: String,
    /// `Description`: at most 256 characters, not beginning like a URL; empty when not given.
    pub description: String,
    /// `Tag.N`: the labels of the new vSwitch, at most 20.
    pub tags: Vec<Tag>,
}

/// Parameters of `CreateRouteEntry`, with the id that the new entry will have.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CreateRouteEntry {
    /// Id of the new entry (`RouteEntryId` of the answer).
    pub id: RouteEntryId,
    /// The table of a VPC or VBR that gets the entry (`RouteTableId`).
    pub route_table: RouteTableId,
    /// `DestinationCidrBlock`: not inside 100.64.0.0/10 or a vSwitch of the VPC (`InvalidCidrBlock`), and not in the
    /// table yet (`InvalidCIDRBlock.Duplicate`).
    pub destination: Ipv4Net,
    /// `NextHopType` as given; the API's default is `Instance`.
    pub next_hop_type: String,
    /// `NextHopId`: id of the instance, HaVip, VPN gateway or router interface, which must belong to the table's own
    /// VPC or VBR.
    pub next_hop: String,
    /// `NextHopList`: two to sixteen of them, the first of which is `next_hop`; empty for a single next hop.
    pub next_hops: Vec<NextHop>,
    /// `RouteEntryName`: at most 128 characters, not beginning like a URL; empty when not given.
    pub name: String,
    /// `Description`: at most 256 characters, not beginning like a URL; empty when not given.
    pub description: String,
}

/// Parameters of `ModifyRouteEntry`; `None` leaves a field as it is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ModifyRouteEntry {
    /// The entry (`RouteEntryId`, or that of its table with this `DestinationCidrBlock`).
    pub entry: RouteEntryId,
    /// `RouteEntryName`.
    pub name: Option<String>,
    /// `Description`.
    pub description: Option<String>,
    /// `NewNextHopType` and `NewNextHopId`.
    pub next_hop: Option<(String, String)>,
}

/// How `DeleteRouteEntry` names its entry.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum DeleteRouteEntry {
    /// By `RouteEntryId`; no such entry: `InvalidRouteEntryId.NotFound`.
    ById(RouteEntryId),
    /// By its place, all of whose parts must match; no such entry: `InvalidRouteEntry.NotFound`.
    ByDestination {
        /// The table that holds the entry (`RouteTableId`).
        route_table: RouteTableId,
        /// Destination of the entry exactly (`DestinationCidrBlock`).
        destination: Ipv4Net,
        /// Ids of all that the entry points to, in any order (`NextHopId`, `NextHopList`).
        next_hops: Vec<String>,
    },
}
