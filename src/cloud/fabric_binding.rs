//! How cend's networks and VPN gateways are bound to network namespaces.
//!
//! ```text
//!  host ── [router namespace of a VPC or VBR] ══ router_device … fabric_device ══ [fabric namespace] ══ … other routers
//!                       ║ inner link
//!          [namespace of its VPN gateway]
//! ```
//! Namespaces, links and addresses are made by whoever made the lab; cend sets routes and policy rules only.
use std::collections::BTreeMap;
use std::net::IpAddr;
use std::path::PathBuf;
use std::sync::Arc;

use serde::Deserialize;

/// Everything that cend is bound to. Empty: cend is an API simulation and programs nothing.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Bindings {
    /// Namespace in which the CEN fabric forwards between the attached networks.
    pub fabric: Option<FabricBinding>,
    /// Networks by the id that the API knows them by (`vpc-…`, `vbr-…`).
    pub networks: BTreeMap<String, NetworkBinding>,
    /// VPN gateways by id (`vpn-…`).
    pub vpn_gateways: BTreeMap<String, GatewayBinding>,
    /// Inner addresses of declared instances and HaVips by id (`i-…`, `havip-…`), which routes may point to.
    pub next_hops: BTreeMap<String, IpAddr>,
}

/// Where the CEN fabric forwards.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct FabricBinding {
    /// Name of a network namespace under /run/netns.
    pub namespace: Arc<str>,
}

/// The router of a VPC or VBR, and its link to the fabric.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct NetworkBinding {
    /// Network namespace of the router.
    pub namespace: Arc<str>,
    /// The router's device towards the fabric.
    pub router_device: Arc<str>,
    /// The router's addresses on that link, one per family: the fabric's next hops towards this network.
    pub router_addresses: Vec<IpAddr>,
    /// The fabric's device towards the router.
    pub fabric_device: Arc<str>,
    /// The fabric's addresses on that link, one per family: the router's next hops towards CEN.
    pub fabric_addresses: Vec<IpAddr>,
}

/// The namespace of a VPN gateway, its link to its VPC's router, and the gatewayd in it.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct GatewayBinding {
    /// Network namespace of the VPN gateway.
    pub namespace: Arc<str>,
    /// The gateway's inner addresses, one per family: the VPC router's next hops towards the gateway.
    pub inner_addresses: Vec<IpAddr>,
    /// The VPC router's addresses on the same link: the gateway's next hops towards the VPC.
    pub router_addresses: Vec<IpAddr>,
    /// Control socket of the gatewayd that runs there.
    pub socket: PathBuf,
}
