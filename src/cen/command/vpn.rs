//! Parameters of the commands on VPN gateways, customer gateways, IPsec-VPN connections and their routes.

use std::net::Ipv4Addr;

use ipnet::Ipv4Net;

use crate::cen::identifier::{CustomerGatewayId, RouteEntryId, VSwitchId, VpcId, VpnConnectionId, VpnGatewayId};
use crate::cen::network::Tag;
use crate::cen::vpn::{PreSharedKey, VpnRouteKey};
use crate::crypto::{CloudName, CloudPfs, EncryptionAlgorithm, IntegrityAlgorithm, KeyExchangeAlgorithm};

/// Parameters of `CreateVpnGateway`, with the id that the new gateway will have.
#[derive(Clone, Debug, PartialEq, Eq)]
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
    /// `ResourceGroupId`; empty for the default group.
    pub resource_group: String,
}

/// Parameters of `CreateCustomerGateway`, with the id that the new customer gateway will have.
#[derive(Clone, Debug, PartialEq, Eq)]
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
    /// `ResourceGroupId`; empty for the default group.
    pub resource_group: String,
}

/// `IkeConfig` as given; what is `None` takes its default, or stays as it is in a modification.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
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
#[derive(Clone, Debug, Default, PartialEq, Eq)]
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
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CreateVpnConnection {
    /// Id of the new connection (`VpnConnectionId` of the answer).
    pub id: VpnConnectionId,
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
    /// `AutoConfigRoute`: the connection makes policy-based routes from its local to its remote subnets itself; by
    /// default `true`.
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
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ModifyVpnConnection {
    /// The connection to change (`VpnConnectionId`).
    pub connection: VpnConnectionId,
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
    /// `AutoConfigRoute`: the connection makes the policy-based routes between its subnets itself; switched off, those
    /// that it made go.
    pub auto_config_route: Option<bool>,
    /// What changes of phase 1 (`IkeConfig` or `TunnelIkeConfig`), field by field.
    pub ike: IkeParameters,
    /// What changes of phase 2 (`IpsecConfig` or `TunnelIpsecConfig`), field by field.
    pub ipsec: IpsecParameters,
}

/// Parameters of `CreateVpnRouteEntry` and `CreateVpnPbrRouteEntry`, with the id of the entry that publishing it makes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CreateVpnRoute {
    /// Gateway, destination, connection and source of the new route (`VpnGatewayId`, `RouteDest`, `NextHop`,
    /// `RouteSource`); one that is there already: `InvalidRouteEntry.Duplicate`.
    pub key: VpnRouteKey,
    /// `Weight`: 100, active, or 0, standby.
    pub weight: u8,
    /// `Priority` of a policy-based route, 1 to 100; by default 10.
    pub priority: Option<u8>,
    /// Add the route to the VPC's system table too.
    pub publish: bool,
    /// Id of the VPC entry.
    pub entry_id: RouteEntryId,
    /// `Description`: at most 256 characters, not beginning like a URL; empty when not given.
    pub description: String,
}

/// Parameters of `PublishVpnRouteEntry`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PublishVpnRoute {
    /// Gateway, destination and next hop of the route (`VpnGatewayId`, `RouteDest`, `NextHop`), without a source, which the
    /// action does not name; no such route: `InvalidRouteEntry.NotFound`.
    pub key: VpnRouteKey,
    /// `RouteType`: `pbr`, all policy-based routes of this destination and next hop, or `dbr`.
    pub policy_based: bool,
    /// `true` publishes, `false` withdraws.
    pub publish: bool,
    /// Id of the VPC's entry, if publishing makes one.
    pub entry_id: RouteEntryId,
    /// Weight of the route when the gateway's own file names it, as the running gateway reports it.
    pub owned_by_file: Option<u8>,
}

/// Which route of the cloud's own is meant, and what it is taken to be: all of it must match, otherwise
/// `InvalidRouteEntry.NotFound`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct KnownVpnRoute {
    /// Gateway, destination, next hop and source of the route (`VpnGatewayId`, `RouteDest`, `NextHop`, `RouteSource`).
    pub key: VpnRouteKey,
    /// `Weight`: 100 or 0.
    pub weight: u8,
    /// `Priority` of a policy-based route; `None`: any.
    pub priority: Option<u8>,
}

/// Parameters of `ModifyVpnRouteEntryWeight`, `ModifyVpnPbrRouteEntryWeight`, `ModifyVpnPbrRouteEntryPriority` and
/// `ModifyVpnPbrRouteEntryAttribute`; `None` leaves a field as it is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ModifyVpnRoute {
    /// The route.
    pub route: KnownVpnRoute,
    /// `NewWeight`: 100 or 0.
    pub new_weight: Option<u8>,
    /// `NewPriority`: 1 to 100.
    pub new_priority: Option<u8>,
}
