//! What the peer of a connection has to be told: `GET /v1/connections/{name}/export`.

use ipnet::IpNet;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// One connection from gatewayd's side, without its key. Whoever prints it for the peer turns it round.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct ConnectionExport {
    /// The connection's name, which the peer may keep.
    pub name: String,
    /// gatewayd's address; absent when the peer has to be told by other means.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub local_address: Option<String>,
    /// An address, a name, or `any`.
    pub peer: String,
    /// gatewayd's identity (IDi or IDr, RFC 7296 section 3.5): an address, a name, `user@host`, or `keyid:` with
    /// hexadecimal digits.
    pub local_id: String,
    /// The identity that gatewayd expects of the peer, written likewise.
    pub peer_id: String,
    /// Proposals in the keyword style, the most preferred first.
    pub ike_proposals: Vec<String>,
    /// Seconds until gatewayd's IKE SA ends; it rekeys at 80 to 90 per cent of them. From 60 to 30 days.
    pub ike_lifetime_seconds: u64,
    /// Seconds between liveness checks; absent when they are off.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub liveness_seconds: Option<u64>,
    /// Whether gatewayd sends ESP in UDP even where there is no NAT (RFC 3948).
    pub force_encapsulation: bool,
    /// Whether gatewayd takes and makes only IKE SAs without a Child SA at first (RFC 6023), so that the peer has to, too.
    #[serde(default)]
    pub only_childless: bool,
    /// When gatewayd negotiates: `now`, `on-traffic` or `wait`. The peer has to call when gatewayd does not.
    pub start: String,
    /// The children, in gatewayd's order.
    pub children: Vec<ChildExport>,
}

/// One child of a connection: what it protects, from gatewayd's side, and how.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct ChildExport {
    /// Its name, unique in the connection.
    pub name: String,
    /// Networks on gatewayd's side, without host bits.
    #[schemars(with = "Vec<String>")]
    pub local_subnets: Vec<IpNet>,
    /// Networks on the peer's side, without host bits.
    #[schemars(with = "Vec<String>")]
    pub peer_subnets: Vec<IpNet>,
    /// ESP proposals in the keyword style, the most preferred first.
    pub esp_proposals: Vec<String>,
    /// Seconds until gatewayd's Child SA ends; it rekeys at 80 to 90 per cent of them. From 30 to 30 days.
    pub lifetime_seconds: u64,
}
