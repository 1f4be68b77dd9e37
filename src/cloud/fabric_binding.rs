//! How cend's networks and VPN gateways are bound to network namespaces.
//!
//! ```text
//!  host ── [router namespace of a VPC or VBR] ══ router_device … fabric_device ══ [fabric namespace] ══ … other routers
//!                       ║ inner link
//!          [namespace of its VPN gateway]
//! ```
//! Namespaces, links and addresses are made by whoever made the lab; cend sets routes and policy rules only. A VPC or
//! VPN gateway is bound by region and name, because its id does not exist before the API made it.
use std::net::Ipv4Addr;
use std::path::PathBuf;
use std::sync::Arc;

use serde::Deserialize;

use crate::cen::identifier::VbrId;
use crate::cen::network::VpcName;

/// Everything that cend is bound to. Empty: cend is an API simulation and programs nothing.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Bindings {
    /// Namespace in which the CEN fabric forwards between the attached networks.
    pub fabric: Option<FabricBinding>,
    /// The routers of VPCs and VBRs.
    pub networks: Vec<NetworkBinding>,
    /// VPN gateways.
    pub vpn_gateways: Vec<GatewayBinding>,
}

/// Where the CEN fabric forwards.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct FabricBinding {
    /// Name of a network namespace under /run/netns.
    pub namespace: Arc<str>,
}

/// Which network a binding is for.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum BoundNetwork {
    /// The VPC that has, or will be given, this name in this region.
    Vpc(VpcName),
    /// The declared VBR with this id.
    Vbr(VbrId),
}

/// The router of a VPC or VBR, and its link to the fabric.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct NetworkBinding {
    /// Whose router it is.
    pub network: BoundNetwork,
    /// Network namespace of the router.
    pub namespace: Arc<str>,
    /// The router's device towards the fabric.
    pub router_device: Arc<str>,
    /// The router's address on that link: the fabric's next hop towards this network.
    pub router_address: Ipv4Addr,
    /// The fabric's device towards the router.
    pub fabric_device: Arc<str>,
    /// The fabric's address on that link: the router's next hop towards CEN.
    pub fabric_address: Ipv4Addr,
    /// A VBR's next hop towards the data centre.
    #[serde(default)]
    pub data_center_address: Option<Ipv4Addr>,
}

/// The namespace of a VPN gateway, its link to its VPC's router, and the gatewayd in it.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct GatewayBinding {
    /// Region of the gateway.
    pub region: String,
    /// The `Name` that the gateway has, or will be created with.
    pub name: String,
    /// Network namespace of the VPN gateway.
    pub namespace: Arc<str>,
    /// The gateway's inner address: the VPC router's next hop towards the gateway.
    pub inner_address: Ipv4Addr,
    /// The VPC router's address on the same link: the gateway's next hop towards the VPC.
    pub router_address: Ipv4Addr,
    /// Control socket of the gatewayd that runs there.
    pub socket: PathBuf,
}
