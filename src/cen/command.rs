//! What can be asked of the cloud. A command carries every id and secret that it needs, so that
//! [`plan`](super::plan::plan) is a pure function.

use std::net::Ipv4Addr;

use ipnet::Ipv4Net;
use serde::{Deserialize, Serialize};

use super::identifier::{
    CenId, CustomerGatewayId, RouteEntryId, RouteTableId, VRouterId, VSwitchId, VpcId, VpnConnectionId, VpnGatewayId,
};
use super::network::{Declarations, NetworkId, Tag, UnixMillis};
use super::vpn::{PreSharedKey, VpnRouteKey};
use crate::crypto::{CloudName, CloudPfs, EncryptionAlgorithm, IntegrityAlgorithm, KeyExchangeAlgorithm};

/// A command with what surrounds it.
#[derive(Clone, Debug)]
pub struct Submission {
    pub command: Command,
    pub client_token: Option<ClientToken>,
    /// Check everything, change nothing; success is answered with the error `DryRunOperation`.
    pub dry_run: bool,
    pub now: UnixMillis,
}

/// The `ClientToken` of a call: up to 64 ASCII characters that the caller chose, unique to the call.
///
/// A repeated call must have the effect of one and get the same answer. Ids and generated secrets of such a call are
/// therefore derived from the token, so that the repeated command equals the first.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ClientToken {
    pub action: &'static str,
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
    CreateCen(CreateCen),
    ModifyCen(ModifyCen),
    DeleteCen {
        cen: CenId,
    },
    AttachNetwork(ChildInstance),
    DetachNetwork(ChildInstance),
    PublishRoute(PublishedRoute),
    WithdrawRoute(PublishedRoute),
    CreateVpc(CreateVpc),
    DeleteVpc {
        vpc: VpcId,
    },
    CreateVSwitch(CreateVSwitch),
    DeleteVSwitch {
        vswitch: VSwitchId,
    },
    CreateRouteEntry(CreateRouteEntry),
    DeleteRouteEntry(DeleteRouteEntry),
    CreateVpnGateway(CreateVpnGateway),
    DeleteVpnGateway {
        gateway: VpnGatewayId,
    },
    CreateCustomerGateway(CreateCustomerGateway),
    DeleteCustomerGateway {
        customer_gateway: CustomerGatewayId,
    },
    CreateVpnConnection(Box<CreateVpnConnection>),
    ModifyVpnConnection(Box<ModifyVpnConnection>),
    DeleteVpnConnection {
        connection: VpnConnectionId,
    },
    CreateVpnRoute(CreateVpnRoute),
    PublishVpnRoute(PublishVpnRoute),
    DeleteVpnRoute(DeleteVpnRoute),
    /// The configuration of the simulator: the complete set of what it declares.
    Declare(Box<Declarations>),
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct CreateCen {
    pub id: CenId,
    pub name: String,
    pub description: String,
    pub protection_level: Option<String>,
    pub tags: Vec<Tag>,
}

/// `None` leaves a field as it is.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ModifyCen {
    pub cen: CenId,
    pub name: Option<String>,
    pub description: Option<String>,
    pub protection_level: Option<String>,
}

/// A network as the Cbn actions name it: instance, type and region must agree.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ChildInstance {
    pub cen: CenId,
    pub network: NetworkId,
    pub region: String,
}

/// An entry that is to be published or withdrawn.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct PublishedRoute {
    pub child: ChildInstance,
    pub route_table: RouteTableId,
    pub destination: Ipv4Net,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct CreateVpc {
    pub id: VpcId,
    pub router: VRouterId,
    pub route_table: RouteTableId,
    /// Id of the system route to 100.64.0.0/10.
    pub service_entry: RouteEntryId,
    pub region: String,
    pub cidr: Ipv4Net,
    pub name: String,
    pub description: String,
    pub tags: Vec<Tag>,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct CreateVSwitch {
    pub id: VSwitchId,
    /// Id of the vSwitch's system route.
    pub system_entry: RouteEntryId,
    pub vpc: VpcId,
    pub zone: String,
    pub cidr: Ipv4Net,
    pub name: String,
    pub description: String,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct CreateRouteEntry {
    pub id: RouteEntryId,
    pub route_table: RouteTableId,
    pub destination: Ipv4Net,
    /// `NextHopType` as given; the API's default is `Instance`.
    pub next_hop_type: String,
    pub next_hop: String,
    pub name: String,
    pub description: String,
}

/// How `DeleteRouteEntry` names its entry.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum DeleteRouteEntry {
    ById(RouteEntryId),
    ByDestination { route_table: RouteTableId, destination: Ipv4Net, next_hop: String },
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct CreateVpnGateway {
    pub id: VpnGatewayId,
    pub region: String,
    pub vpc: VpcId,
    pub vswitch: Option<VSwitchId>,
    pub disaster_recovery_vswitch: Option<VSwitchId>,
    pub name: String,
    pub description: String,
    pub bandwidth: u32,
    pub charge_type: String,
    pub tags: Vec<Tag>,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct CreateCustomerGateway {
    pub id: CustomerGatewayId,
    pub region: String,
    pub address: Ipv4Addr,
    pub asn: Option<u32>,
    pub name: String,
    pub description: String,
    pub tags: Vec<Tag>,
}

/// `IkeConfig` as given; what is `None` takes its default, or stays as it is in a modification.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct IkeParameters {
    pub psk: Option<PreSharedKey>,
    pub version: Option<String>,
    pub mode: Option<String>,
    pub encryption: Option<CloudName<EncryptionAlgorithm>>,
    pub authentication: Option<CloudName<IntegrityAlgorithm>>,
    pub group: Option<CloudName<KeyExchangeAlgorithm>>,
    pub lifetime: Option<u32>,
    pub local_id: Option<String>,
    pub remote_id: Option<String>,
}

/// `IpsecConfig` as given.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct IpsecParameters {
    pub encryption: Option<CloudName<EncryptionAlgorithm>>,
    pub authentication: Option<CloudName<IntegrityAlgorithm>>,
    pub pfs: Option<CloudPfs>,
    pub lifetime: Option<u32>,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct CreateVpnConnection {
    pub id: VpnConnectionId,
    /// Where the ids of VPC route entries that `auto_config_route` makes are drawn from, in the order of the subnets.
    pub entry_ids: Vec<RouteEntryId>,
    pub region: String,
    pub gateway: VpnGatewayId,
    pub customer_gateway: CustomerGatewayId,
    pub name: String,
    pub local_subnets: Vec<Ipv4Net>,
    pub remote_subnets: Vec<Ipv4Net>,
    pub effect_immediately: bool,
    pub dead_peer_detection: bool,
    pub nat_traversal: bool,
    pub auto_config_route: bool,
    pub ike: IkeParameters,
    pub ipsec: IpsecParameters,
    /// The key that the connection gets when the caller gave none.
    pub generated_psk: PreSharedKey,
    pub tags: Vec<Tag>,
}

/// `None` leaves a field as it is.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ModifyVpnConnection {
    pub connection: VpnConnectionId,
    /// One id for each remote subnet of the modified connection, used where it needs a new VPC entry.
    pub entry_ids: Vec<RouteEntryId>,
    pub name: Option<String>,
    pub local_subnets: Option<Vec<Ipv4Net>>,
    pub remote_subnets: Option<Vec<Ipv4Net>>,
    /// Without it the service sets `false`.
    pub effect_immediately: bool,
    pub dead_peer_detection: Option<bool>,
    pub nat_traversal: Option<bool>,
    pub auto_config_route: Option<bool>,
    pub ike: IkeParameters,
    pub ipsec: IpsecParameters,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct CreateVpnRoute {
    pub key: VpnRouteKey,
    pub weight: u8,
    /// Add the route to the VPC's system table too.
    pub publish: bool,
    /// Id of the VPC entry.
    pub entry_id: RouteEntryId,
    pub description: String,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct PublishVpnRoute {
    pub key: VpnRouteKey,
    /// `true` publishes, `false` withdraws.
    pub publish: bool,
    pub entry_id: RouteEntryId,
    /// Weight of the route when the gateway's own file names it, as the running gateway reports it.
    pub owned_by_file: Option<u8>,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct DeleteVpnRoute {
    pub key: VpnRouteKey,
    pub weight: u8,
}
