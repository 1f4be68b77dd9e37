//! What can be asked of the cloud. A command carries every id and secret that it needs, so that
//! [`plan`](super::plan::plan) is a pure function.

use std::net::Ipv4Addr;

use ipnet::Ipv4Net;
use serde::{Deserialize, Serialize};

use super::identifier::{
    CenId, CustomerGatewayId, RouteEntryId, RouteTableId, VRouterId, VSwitchId, VpcId, VpnConnectionId, VpnGatewayId,
};
use super::network::{Declarations, NetworkId, Tag, UnixMillis};
use super::resource::{ModifyAttributes, TagResources, UntagResources};
use super::vpn::{PreSharedKey, VpnRouteKey};
use crate::crypto::{CloudName, CloudPfs, EncryptionAlgorithm, IntegrityAlgorithm, KeyExchangeAlgorithm};

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

/// The `ClientToken` of a call: up to 64 ASCII characters that the caller chose, unique to the call.
///
/// A repeated call must have the effect of one and get the same answer. Ids and generated secrets of such a call are
/// therefore derived from the token, so that the repeated command equals the first.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ClientToken {
    /// Name of the called action, such as `CreateVpc`: the same text in calls of two actions is two tokens.
    pub action: &'static str,
    /// The parameter's text, 1 to 64 ASCII characters.
    pub token: String,
}

impl ClientToken {
    /// The key under which the token's use is kept.
    pub fn key(&self) -> String {
        format!("{} {}", self.action, self.token)
    }
}

/// Everything that changes the cloud.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
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
    /// Changes the name or the description of a resource (`Modify…Attribute`, `ModifyRouteTableAttributes`).
    ModifyAttributes(ModifyAttributes),
    /// Gives resources tags (`TagResources`).
    TagResources(TagResources),
    /// Takes tags from resources (`UntagResources`).
    UntagResources(UntagResources),
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
    /// Adds a destination-based route to a VPN gateway (`CreateVpnRouteEntry`).
    CreateVpnRoute(CreateVpnRoute),
    /// Publishes a VPN gateway's route to its VPC's system route table, or withdraws it from there
    /// (`PublishVpnRouteEntry`).
    PublishVpnRoute(PublishVpnRoute),
    /// Removes a destination-based route from a VPN gateway, and from its VPC if it was published
    /// (`DeleteVpnRouteEntry`).
    DeleteVpnRoute(DeleteVpnRoute),
    /// Makes a destination-based route of a VPN gateway active or standby (`ModifyVpnRouteEntryWeight`).
    ModifyVpnRouteWeight(ModifyVpnRouteWeight),
    /// The configuration of the simulator: the complete set of what it declares.
    Declare(Box<Declarations>),
}

/// Parameters of `CreateCen`, with the id that the new CEN instance will have.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
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
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
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
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ChildInstance {
    /// The CEN instance that the network belongs to or is to join (`CenId`).
    pub cen: CenId,
    /// The VPC or VBR (`ChildInstanceType`, `ChildInstanceId`).
    pub network: NetworkId,
    /// `ChildInstanceRegionId`; not the network's own: `ParameterIllegal.ChildInstanceRegionId`.
    pub region: String,
}

/// An entry that is to be published or withdrawn.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct PublishedRoute {
    /// The network whose table holds the entry; it must be attached to the CEN instance that it names.
    pub child: ChildInstance,
    /// `ChildInstanceRouteTableId`; not the network's own table: `InvalidParameter`.
    pub route_table: RouteTableId,
    /// `DestinationCidrBlock`: destination of the entry exactly; no such entry: `InvalidOperation.NotFoundRoute`.
    pub destination: Ipv4Net,
}

/// Parameters of `CreateVpc`, with the ids of everything that comes into being with the VPC.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
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
}

/// Parameters of `CreateVSwitch`, with the ids of the new vSwitch and of its system route.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct CreateVSwitch {
    /// Id of the new vSwitch (`VSwitchId` of the answer).
    pub id: VSwitchId,
    /// Id of the vSwitch's system route.
    pub system_entry: RouteEntryId,
    /// The VPC that the vSwitch is a subnet of (`VpcId`).
    pub vpc: VpcId,
    /// A zone of the VPC's region, such as `cn-hangzhou-b` (`ZoneId`).
    pub zone: String,
    /// `CidrBlock`: a prefix of 16 to 29 bits inside the VPC's block that overlaps no other vSwitch and contains no
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
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
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
    /// `RouteEntryName`: at most 128 characters, not beginning like a URL; empty when not given.
    pub name: String,
    /// `Description`: at most 256 characters, not beginning like a URL; empty when not given.
    pub description: String,
}

/// Parameters of `ModifyRouteEntry`; `None` leaves a field as it is.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
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
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum DeleteRouteEntry {
    /// By `RouteEntryId`; no such entry: `InvalidRouteEntryId.NotFound`.
    ById(RouteEntryId),
    /// By its place, all of whose parts must match; no such entry: `InvalidRouteEntry.NotFound`.
    ByDestination {
        /// The table that holds the entry (`RouteTableId`).
        route_table: RouteTableId,
        /// Destination of the entry exactly (`DestinationCidrBlock`).
        destination: Ipv4Net,
        /// Id of what the entry points to (`NextHopId`).
        next_hop: String,
    },
}

/// Parameters of `CreateVpnGateway`, with the id that the new gateway will have.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct CreateVpnGateway {
    /// Id of the new VPN gateway (`VpnGatewayId` of the answer).
    pub id: VpnGatewayId,
    /// `RegionId`; not the VPC's region: `InvalidVpcId.NotFound`.
    pub region: String,
    /// The VPC that the gateway connects (`VpcId`).
    pub vpc: VpcId,
    /// `VSwitchId`: the vSwitch of the VPC that the gateway stands in, if one is given.
    pub vswitch: Option<VSwitchId>,
    /// `DisasterRecoveryVSwitchId`: a vSwitch of the VPC for a second tunnel. It is checked and shown; this cloud has
    /// single tunnels only.
    pub disaster_recovery_vswitch: Option<VSwitchId>,
    /// `Name`: at most 100 characters, not beginning like a URL; empty when not given. The configuration may bind an
    /// address to it.
    pub name: String,
    /// `Description`: at most 256 characters, not beginning like a URL; empty when not given.
    pub description: String,
    /// `Bandwidth` in Mbit/s: 5, 10, 20, 50, 100, 200, 500 or 1000. It is not enforced.
    pub bandwidth: u32,
    /// `InstanceChargeType`: `PREPAY` or `POSTPAY`, shown as `ChargeType`.
    pub charge_type: String,
    /// `Tags.N`: the labels of the new VPN gateway, at most 20.
    pub tags: Vec<Tag>,
}

/// Parameters of `CreateCustomerGateway`, with the id that the new customer gateway will have.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct CreateCustomerGateway {
    /// Id of the new customer gateway (`CustomerGatewayId` of the answer).
    pub id: CustomerGatewayId,
    /// The region that knows the customer gateway (`RegionId`).
    pub region: String,
    /// `IpAddress`: public address of the customer's device, not 0.0.0.0 nor one of 100.64.0.0/10, 127.0.0.0/8,
    /// 169.254.0.0/16 and 224.0.0.0/3 (`InvalidIpAddress.WrongFormat`), and once per region
    /// (`InvalidIpAddress.AlreadyExist`).
    pub address: Ipv4Addr,
    /// `Asn`: AS number of the customer's network, 1 to 4294967295 but not the cloud's own 45104. It is kept and shown;
    /// this cloud runs no BGP over VPN.
    pub asn: Option<u32>,
    /// `Name`: at most 100 characters, not beginning like a URL; empty when not given.
    pub name: String,
    /// `Description`: at most 100 characters, not beginning like a URL; empty when not given.
    pub description: String,
    /// `Tags.N`: the labels of the new customer gateway, at most 20.
    pub tags: Vec<Tag>,
}

/// `IkeConfig` as given; what is `None` takes its default, or stays as it is in a modification.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct IkeParameters {
    /// `Psk`: pre-shared key of 1 to 100 visible ASCII characters.
    pub psk: Option<PreSharedKey>,
    /// `IkeVersion`: `ikev1` or `ikev2`, the default.
    pub version: Option<String>,
    /// `IkeMode`: `main`, the default, or `aggressive`; means something to IKEv1 only.
    pub mode: Option<String>,
    /// `IkeEncAlg`: `aes` (128 bits, the default), `aes192`, `aes256`, `des` or `3des`.
    pub encryption: Option<CloudName<EncryptionAlgorithm>>,
    /// `IkeAuthAlg`: `md5`, `sha1`, `sha256` (the default), `sha384` or `sha512`.
    pub authentication: Option<CloudName<IntegrityAlgorithm>>,
    /// `IkePfs`, the Diffie-Hellman group: `group1`, `group2`, `group5` or `group14`, the default.
    pub group: Option<CloudName<KeyExchangeAlgorithm>>,
    /// `IkeLifetime` of the IKE SA in seconds, 0 to 86400, the default.
    pub lifetime: Option<u32>,
    /// `LocalId`, the VPN gateway's identity: 1 to 100 characters without spaces; by default its public address.
    pub local_id: Option<String>,
    /// `RemoteId`, the customer device's identity: 1 to 100 characters without spaces; by default its public address.
    pub remote_id: Option<String>,
}

/// `IpsecConfig` as given; what is `None` takes its default, or stays as it is in a modification.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct IpsecParameters {
    /// `IpsecEncAlg`: `aes` (128 bits, the default), `aes192`, `aes256`, `des` or `3des`.
    pub encryption: Option<CloudName<EncryptionAlgorithm>>,
    /// `IpsecAuthAlg`: `md5`, `sha1`, `sha256` (the default), `sha384` or `sha512`.
    pub authentication: Option<CloudName<IntegrityAlgorithm>>,
    /// `IpsecPfs`, the group of a fresh key exchange for each Child SA: `disabled`, `group1`, `group2`, `group5` or
    /// `group14`, the default.
    pub pfs: Option<CloudPfs>,
    /// `IpsecLifetime` of a Child SA in seconds, 0 to 86400, the default.
    pub lifetime: Option<u32>,
}

/// Parameters of `CreateVpnConnection`, with the ids of everything that comes into being with the connection.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct CreateVpnConnection {
    /// Id of the new connection (`VpnConnectionId` of the answer).
    pub id: VpnConnectionId,
    /// Where the ids of VPC route entries that `auto_config_route` makes are drawn from, in the order of the subnets.
    pub entry_ids: Vec<RouteEntryId>,
    /// `RegionId`; not the VPN gateway's region: `InvalidVpnGatewayInstanceId.NotFound`.
    pub region: String,
    /// The VPN gateway at the cloud's end (`VpnGatewayId`).
    pub gateway: VpnGatewayId,
    /// The customer gateway at the other end (`CustomerGatewayId`).
    pub customer_gateway: CustomerGatewayId,
    /// `Name`: at most 100 characters, not beginning like a URL; empty when not given.
    pub name: String,
    /// `LocalSubnet`: 1 to 10 CIDR blocks on the cloud's side; 0.0.0.0/0 on both sides leaves all to routes.
    pub local_subnets: Vec<Ipv4Net>,
    /// `RemoteSubnet`: 1 to 10 CIDR blocks on the customer's side; 0.0.0.0/0 on both sides leaves all to routes.
    pub remote_subnets: Vec<Ipv4Net>,
    /// `EffectImmediately`: negotiate at once, otherwise on the first packet; by default `false`.
    pub effect_immediately: bool,
    /// `EnableDpd`: ask a silent peer for a sign of life; by default `true`.
    pub dead_peer_detection: bool,
    /// `EnableNatTraversal`: look for a NAT on the way and carry ESP in UDP behind one; by default `true`.
    pub nat_traversal: bool,
    /// `AutoConfigRoute`: the connection makes the routes to its remote subnets itself; by default `true`.
    pub auto_config_route: bool,
    /// What the call says about phase 1 (`IkeConfig` or `TunnelIkeConfig`).
    pub ike: IkeParameters,
    /// What the call says about phase 2 (`IpsecConfig` or `TunnelIpsecConfig`).
    pub ipsec: IpsecParameters,
    /// The key that the connection gets when the caller gave none.
    pub generated_psk: PreSharedKey,
    /// `Tags.N`: the labels of the new connection, at most 20.
    pub tags: Vec<Tag>,
}

/// Parameters of `ModifyVpnConnectionAttribute`; `None` leaves a field as it is.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ModifyVpnConnection {
    /// The connection to change (`VpnConnectionId`).
    pub connection: VpnConnectionId,
    /// One id for each remote subnet of the modified connection, used where it needs a new VPC entry.
    pub entry_ids: Vec<RouteEntryId>,
    /// `Name`: at most 100 characters, not beginning like a URL.
    pub name: Option<String>,
    /// `LocalSubnet`: 1 to 10 CIDR blocks on the cloud's side, in place of all former ones.
    pub local_subnets: Option<Vec<Ipv4Net>>,
    /// `RemoteSubnet`: 1 to 10 CIDR blocks on the customer's side, in place of all former ones.
    pub remote_subnets: Option<Vec<Ipv4Net>>,
    /// `EffectImmediately`: begin the negotiation at once.
    pub effect_immediately: Option<bool>,
    /// `EnableDpd`: ask a silent peer for a sign of life.
    pub dead_peer_detection: Option<bool>,
    /// `EnableNatTraversal`: look for a NAT on the way and carry ESP in UDP behind one.
    pub nat_traversal: Option<bool>,
    /// `AutoConfigRoute`: the connection makes the routes to its remote subnets itself; switched off, those that it
    /// made go.
    pub auto_config_route: Option<bool>,
    /// What changes of phase 1 (`IkeConfig` or `TunnelIkeConfig`), field by field.
    pub ike: IkeParameters,
    /// What changes of phase 2 (`IpsecConfig` or `TunnelIpsecConfig`), field by field.
    pub ipsec: IpsecParameters,
}

/// Parameters of `CreateVpnRouteEntry`, with the id of the entry that publishing it makes.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct CreateVpnRoute {
    /// Gateway, destination and connection of the new route (`VpnGatewayId`, `RouteDest`, `NextHop`); one that is there
    /// already: `InvalidRouteEntry.Duplicate`.
    pub key: VpnRouteKey,
    /// `Weight`: 100, active, or 0, standby.
    pub weight: u8,
    /// Add the route to the VPC's system table too.
    pub publish: bool,
    /// Id of the VPC entry.
    pub entry_id: RouteEntryId,
    /// `Description`: at most 256 characters, not beginning like a URL; empty when not given.
    pub description: String,
}

/// Parameters of `PublishVpnRouteEntry` for a destination-based route (`RouteType` `dbr`).
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct PublishVpnRoute {
    /// Gateway, destination and next hop of the route (`VpnGatewayId`, `RouteDest`, `NextHop`); no such route:
    /// `InvalidRouteEntry.NotFound`.
    pub key: VpnRouteKey,
    /// `true` publishes, `false` withdraws.
    pub publish: bool,
    /// Id of the VPC's entry, if publishing makes one.
    pub entry_id: RouteEntryId,
    /// Weight of the route when the gateway's own file names it, as the running gateway reports it.
    pub owned_by_file: Option<u8>,
}

/// Parameters of `ModifyVpnRouteEntryWeight`: all but the new weight must match a route that the cloud owns.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ModifyVpnRouteWeight {
    /// Gateway, destination and next hop of the route (`VpnGatewayId`, `RouteDest`, `NextHop`).
    pub key: VpnRouteKey,
    /// `Weight`: 100 or 0, as the route has it; otherwise `InvalidRouteEntry.NotFound`.
    pub weight: u8,
    /// `NewWeight`: 100 or 0.
    pub new_weight: u8,
}

/// Parameters of `DeleteVpnRouteEntry`: all of them must match a route that the cloud owns.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct DeleteVpnRoute {
    /// Gateway, destination and next hop of the route (`VpnGatewayId`, `RouteDest`, `NextHop`).
    pub key: VpnRouteKey,
    /// `Weight`: 100 or 0, as the route has it; otherwise `InvalidRouteEntry.NotFound`.
    pub weight: u8,
}
