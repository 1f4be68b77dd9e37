//! The VPN gateway's route table as the control API shows it.

use ipnet::IpNet;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::Owner;

/// Whether a VPN route carries traffic. Written as [`RouteState::name`] in JSON.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum RouteState {
    /// Carries the traffic of its destination.
    Active,
    /// Its connection is up, but another route of the same destination is preferred.
    Standby,
    /// Its connection has no Child SA; or the kernel does not lead packets to it, or something about it is refused: then `reason`
    /// says so.
    Down,
}

impl RouteState {
    /// The word that JSON has.
    pub fn name(self) -> &'static str {
        match self {
            Self::Active => "active",
            Self::Standby => "standby",
            Self::Down => "down",
        }
    }
}

/// Whether the cloud publishes the route to the VPC. gatewayd only shows what cend last told it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum Publication {
    /// The VPC's route table has the destination.
    Published,
    /// It is in the VPN gateway's route table only.
    #[default]
    Normal,
}

impl Publication {
    /// The word that JSON has.
    pub fn name(self) -> &'static str {
        match self {
            Self::Published => "published",
            Self::Normal => "normal",
        }
    }
}

/// One row of `GET /v1/routes`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Route {
    /// The destination, without host bits.
    #[schemars(with = "String")]
    pub destination: IpNet,
    /// Where packets have to come from, if it is a policy-based route, without host bits.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(with = "Option<String>")]
    pub source: Option<IpNet>,
    /// Of a policy-based route: the lower one is asked first, 1 to 100.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub priority: Option<u8>,
    /// The next hop: the name of a connection.
    pub connection: String,
    /// 0 or 100, as in the cloud's API; of two routes of one destination the heavier is preferred.
    pub weight: u8,
    /// Whether it carries traffic.
    pub state: RouteState,
    /// Why the kernel does not lead the destination's packets into the tunnel, or why gatewayd drops what the route holds; absent
    /// while they do.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reason: Option<String>,
    /// Whether the cloud publishes it to the VPC.
    pub publication: Publication,
    /// Who defined it.
    pub owner: Owner,
    /// When the route was added, in seconds since 1970.
    pub created: u64,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_wire_form_is_the_documented_one() {
        let text = r#"{"destination":"10.1.1.0/24","connection":"idc","weight":100,"state":"active","publication":"published","owner":"cend","created":1700000000}"#;
        let route: Route = serde_json::from_str(text).unwrap();
        assert_eq!(route.state, RouteState::Active);
        assert_eq!(serde_json::to_string(&route).unwrap(), text);
    }
}
