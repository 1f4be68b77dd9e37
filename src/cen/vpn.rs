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
    pub id: VpnGatewayId,
    pub region: String,
    pub vpc: VpcId,
    pub vswitch: Option<VSwitchId>,
    pub disaster_recovery_vswitch: Option<VSwitchId>,
    pub name: String,
    pub description: String,
    /// Mbit/s, shown as `Spec`. It is not enforced.
    pub bandwidth: u32,
    /// `PREPAY` or `POSTPAY`.
    pub charge_type: String,
    pub internet_ip: Ipv4Addr,
    pub created: UnixMillis,
    pub tags: Vec<Tag>,
}

/// The customer's VPN device: its public address.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct CustomerGateway {
    pub id: CustomerGatewayId,
    pub region: String,
    pub address: Ipv4Addr,
    pub asn: Option<u32>,
    pub name: String,
    pub description: String,
    pub created: UnixMillis,
    pub tags: Vec<Tag>,
}

/// A pre-shared key as the API carries it. Wiped when dropped, never shown by `Debug`.
#[derive(Clone, PartialEq, Eq)]
pub struct PreSharedKey(Zeroizing<String>);

impl PreSharedKey {
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
    pub psk: PreSharedKey,
    /// `ikev1` or `ikev2`.
    pub version: String,
    /// `main` or `aggressive`; means something to IKEv1 only.
    pub mode: String,
    /// `IkeEncAlg`.
    pub encryption: CloudName<EncryptionAlgorithm>,
    /// `IkeAuthAlg`, as PRF and as integrity algorithm.
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
    /// `IpsecEncAlg`.
    pub encryption: CloudName<EncryptionAlgorithm>,
    /// `IpsecAuthAlg`.
    pub authentication: CloudName<IntegrityAlgorithm>,
    /// `IpsecPfs`.
    pub pfs: CloudPfs,
    /// Seconds, 0 to 86400.
    pub lifetime: u32,
}

/// An IPsec-VPN connection between a VPN gateway and a customer gateway.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct VpnConnection {
    pub id: VpnConnectionId,
    pub gateway: VpnGatewayId,
    pub customer_gateway: CustomerGatewayId,
    pub name: String,
    pub local_subnets: Vec<Ipv4Net>,
    pub remote_subnets: Vec<Ipv4Net>,
    /// Negotiate at once; otherwise on the first packet or when the peer starts.
    pub effect_immediately: bool,
    pub dead_peer_detection: bool,
    pub nat_traversal: bool,
    /// The connection made its own routes in the gateway and in the VPC.
    pub auto_config_route: bool,
    pub ike: IkeConfig,
    pub ipsec: IpsecConfig,
    pub created: UnixMillis,
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
    pub gateway: VpnGatewayId,
    pub destination: Ipv4Net,
    /// A connection's id; for a route that gatewayd's own file names, the connection's name there.
    pub next_hop: String,
}

/// A destination-based route of a VPN gateway.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct VpnRoute {
    pub key: VpnRouteKey,
    /// 100: active, 0: standby.
    pub weight: u8,
    /// Published to the VPC's system route table.
    pub published: bool,
    /// Named in the gateway's own file; only its publication belongs to the cloud.
    pub owned_by_file: bool,
    /// Made by a connection with `AutoConfigRoute`, and gone with it.
    pub automatic: bool,
    pub description: String,
    pub created: UnixMillis,
}
