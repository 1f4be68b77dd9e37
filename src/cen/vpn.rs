//! VPN gateways, customer gateways, IPsec-VPN connections and the VPN gateway's route table.

use std::fmt;
use std::net::Ipv4Addr;

use ipnet::Ipv4Net;
use serde::{Deserialize, Serialize};
use zeroize::Zeroizing;

use super::identifier::{CustomerGatewayId, VSwitchId, VpcId, VpnConnectionId, VpnGatewayId};
use super::network::{Tag, UnixMillis};
use crate::crypto::{CloudName, CloudPfs, EncryptionAlgorithm, IntegrityAlgorithm, KeyExchangeAlgorithm};

/// A VPN gateway of a VPC.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct VpnGateway {
    /// `VpnGatewayId`, beginning with `vpn-`.
    pub id: VpnGatewayId,
    /// `RegionId`, the VPC's.
    pub region: String,
    /// The VPC that it connects (`VpcId`).
    pub vpc: VpcId,
    /// The vSwitch that it stands in, if one was given (`VSwitchId`).
    pub vswitch: Option<VSwitchId>,
    /// The vSwitch for a second tunnel, if one was given (`DisasterRecoveryVSwitchId`); there is no second tunnel.
    pub disaster_recovery_vswitch: Option<VSwitchId>,
    /// `Name`; may be empty.
    pub name: String,
    /// `Description`; may be empty.
    pub description: String,
    /// Mbit/s, shown as `Spec`. It is not enforced.
    pub bandwidth: u32,
    /// `PREPAY` or `POSTPAY`.
    pub charge_type: String,
    /// `InternetIp`: its public address, unlike those of all other VPN gateways.
    pub internet_ip: Ipv4Addr,
    /// `CreateTime`, shown in milliseconds.
    pub created: UnixMillis,
    /// `Tags`, in the order given.
    pub tags: Vec<Tag>,
    /// `AutoPropagate`: routes of the VPC are to be told to BGP peers, of which there are none yet.
    #[serde(default)]
    pub auto_propagate: bool,
    /// The name that it was created with, if it may have another now: the configuration knows it by this one.
    #[serde(default)]
    pub created_as: Option<String>,
}

impl VpnGateway {
    /// The name by which the configuration knows it.
    pub fn created_as(&self) -> &str {
        self.created_as.as_deref().unwrap_or(&self.name)
    }
}

/// The customer's VPN device: its public address.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct CustomerGateway {
    /// `CustomerGatewayId`, beginning with `cgw-`.
    pub id: CustomerGatewayId,
    /// The region that knows it (`RegionId`).
    pub region: String,
    /// `IpAddress`: the device's public address, unlike those of the region's other customer gateways.
    pub address: Ipv4Addr,
    /// `Asn`: AS number of the customer's network, if one was given. Nothing uses it.
    pub asn: Option<u32>,
    /// `Name`; may be empty.
    pub name: String,
    /// `Description`; may be empty.
    pub description: String,
    /// `CreateTime`, shown in milliseconds.
    pub created: UnixMillis,
    /// `Tags`, in the order given.
    pub tags: Vec<Tag>,
}

/// A pre-shared key as the API carries it. Wiped when dropped, never shown by `Debug`.
#[derive(Clone, PartialEq, Eq)]
pub struct PreSharedKey(Zeroizing<String>);

impl PreSharedKey {
    /// Keeps a key. Whether its length and characters are allowed is for the plan to say.
    pub fn new(text: String) -> Self {
        Self(Zeroizing::new(text))
    }

    /// The key itself, for the peer's configuration and for `DescribeVpnConnection`, which shows it.
    pub fn expose(&self) -> &str {
        &self.0
    }
}

impl fmt::Debug for PreSharedKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("PreSharedKey(..)")
    }
}

impl Serialize for PreSharedKey {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(&self.0)
    }
}

impl<'de> Deserialize<'de> for PreSharedKey {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        String::deserialize(deserializer).map(Self::new)
    }
}

/// Phase 1 of a connection (`IkeConfig`), in the API's words.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct IkeConfig {
    /// `Psk`, which `DescribeVpnConnection` shows in clear, as the cloud does.
    pub psk: PreSharedKey,
    /// `ikev1` or `ikev2`.
    pub version: String,
    /// `main` or `aggressive`; means something to IKEv1 only.
    pub mode: String,
    /// `IkeEncAlg`: `aes` (128 bits), `aes192`, `aes256`, `des` or `3des`.
    pub encryption: CloudName<EncryptionAlgorithm>,
    /// `IkeAuthAlg`: `md5`, `sha1`, `sha256`, `sha384` or `sha512`.
    pub authentication: CloudName<IntegrityAlgorithm>,
    /// Diffie-Hellman group, `IkePfs`.
    pub group: CloudName<KeyExchangeAlgorithm>,
    /// Seconds, 0 to 86400.
    pub lifetime: u32,
    /// Identity of the VPN gateway.
    pub local_id: String,
    /// Identity of the customer's device.
    pub remote_id: String,
}

/// Phase 2 of a connection (`IpsecConfig`), in the API's words.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct IpsecConfig {
    /// `IpsecEncAlg`: `aes` (128 bits), `aes192`, `aes256`, `des` or `3des`.
    pub encryption: CloudName<EncryptionAlgorithm>,
    /// `IpsecAuthAlg`: `md5`, `sha1`, `sha256`, `sha384` or `sha512`.
    pub authentication: CloudName<IntegrityAlgorithm>,
    /// A group, or `disabled`.
    pub pfs: CloudPfs,
    /// Seconds, 0 to 86400.
    pub lifetime: u32,
}

/// An IPsec-VPN connection between a VPN gateway and a customer gateway.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct VpnConnection {
    /// `VpnConnectionId`, beginning with `vco-`. It is also the connection's name in gatewayd.
    pub id: VpnConnectionId,
    /// The VPN gateway at the cloud's end (`VpnGatewayId`).
    pub gateway: VpnGatewayId,
    /// The customer gateway at the other end (`CustomerGatewayId`).
    pub customer_gateway: CustomerGatewayId,
    /// `Name`; may be empty.
    pub name: String,
    /// `LocalSubnet`: 1 to 10 different CIDR blocks on the cloud's side, in the order given.
    pub local_subnets: Vec<Ipv4Net>,
    /// `RemoteSubnet`: 1 to 10 different CIDR blocks on the customer's side, in the order given.
    pub remote_subnets: Vec<Ipv4Net>,
    /// Negotiate at once; otherwise on the first packet or when the peer starts.
    pub effect_immediately: bool,
    /// `EnableDpd`: a silent peer is asked for a sign of life.
    pub dead_peer_detection: bool,
    /// `EnableNatTraversal`: a NAT on the way is looked for, and ESP carried in UDP behind one.
    pub nat_traversal: bool,
    /// The connection made its own policy-based routes in the gateway.
    pub auto_config_route: bool,
    /// Phase 1: `IkeConfig`, and `TunnelIkeConfig` of the only tunnel.
    pub ike: IkeConfig,
    /// Phase 2: `IpsecConfig`, and `TunnelIpsecConfig` of the only tunnel.
    pub ipsec: IpsecConfig,
    /// `CreateTime`, shown in milliseconds.
    pub created: UnixMillis,
    /// `Tags` (in lists `Tag`), in the order given.
    pub tags: Vec<Tag>,
}

impl VpnConnection {
    /// In policy mode (any subnet but 0.0.0.0/0 on both sides) the gateway sends what the subnets name through the
    /// connection without a route of its own; in destination mode only VPN routes do.
    pub fn policy_mode(&self) -> bool {
        let everything = |subnets: &[Ipv4Net]| subnets.iter().all(|subnet| subnet.prefix_len() == 0);
        !(everything(&self.local_subnets) && everything(&self.remote_subnets))
    }
}

/// What makes a route of a VPN gateway unique.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct VpnRouteKey {
    /// The VPN gateway whose table holds the route (`VpnGatewayId`, in answers `VpnInstanceId`).
    pub gateway: VpnGatewayId,
    /// Where packets must go to take the route (`RouteDest`).
    pub destination: Ipv4Net,
    /// A connection's id; for a route that gatewayd's own file names, the connection's name there.
    pub next_hop: String,
    /// Where packets must come from to take a policy-based route (`RouteSource`); `None`: the route is destination-based.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub source: Option<Ipv4Net>,
}

/// `Priority` of a policy-based route that is given none.
pub const DEFAULT_PRIORITY: u8 = 10;

const fn default_priority() -> u8 {
    DEFAULT_PRIORITY
}

/// A route of a VPN gateway: destination-based, or policy-based if its key has a source.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct VpnRoute {
    /// Gateway, destination and next hop, which no two routes share.
    pub key: VpnRouteKey,
    /// 100: active, 0: standby.
    pub weight: u8,
    /// Among policy-based routes the lower one is asked first: 1 to 100. It means nothing else.
    #[serde(default = "default_priority")]
    pub priority: u8,
    /// Published to the VPC's system route table.
    pub published: bool,
    /// Named in the gateway's own file; only its publication belongs to the cloud.
    pub owned_by_file: bool,
    /// Made by a connection with `AutoConfigRoute` from its subnets, and gone with them.
    pub automatic: bool,
    /// `Description`; may be empty.
    pub description: String,
    /// `CreateTime`, shown in milliseconds.
    pub created: UnixMillis,
}
