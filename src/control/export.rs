//! What the peer of a connection has to be told: `GET /v1/connections/{name}/export`.

use ipnet::IpNet;
use serde::{Deserialize, Serialize};

/// One connection from gatewayd's side, without its key. Whoever prints it for the peer turns it round.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ConnectionExport {
    pub name: String,
    /// gatewayd's address; absent when the peer has to be told by other means.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub local_address: Option<String>,
    /// An address, a name, or `any`.
    pub peer: String,
    pub local_id: String,
    pub peer_id: String,
    /// Proposals in the keyword style, the most preferred first.
    pub ike_proposals: Vec<String>,
    pub ike_lifetime_seconds: u64,
    /// Seconds between liveness checks; absent when they are off.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub liveness_seconds: Option<u64>,
    pub force_encapsulation: bool,
    /// When gatewayd negotiates: `now`, `on-traffic` or `wait`. The peer has to call when gatewayd does not.
    pub start: String,
    pub children: Vec<ChildExport>,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ChildExport {
    pub name: String,
    pub local_subnets: Vec<IpNet>,
    pub peer_subnets: Vec<IpNet>,
    pub esp_proposals: Vec<String>,
    pub lifetime_seconds: u64,
}
