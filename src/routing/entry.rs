//! One entry of the VPN gateway's route table.
use std::fmt;
use std::sync::Arc;

use ipnet::IpNet;
use serde::{Deserialize, Serialize};

/// What names a VPN route: two routes to one destination differ in their connection or their source.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct RouteKey {
    /// Inner destination prefix, host bits zero.
    pub destination: IpNet,
    /// Name of the IPsec connection that is the next hop.
    pub connection: Arc<str>,
    /// Inner source prefix of a policy-based route, host bits zero.
    pub source: Option<IpNet>,
}

/// What makes a route policy-based: it carries packets from its source only, and is asked before the destination-based
/// routes, as an entry of the ordered SPD of RFC 4301 section 4.4.1.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct RoutePolicy {
    /// The lower one is asked first: 1 to 100 (`Priority`).
    pub priority: u8,
    /// Inner source prefix, host bits zero (`RouteSource`).
    pub source: IpNet,
}

impl RoutePolicy {
    /// The priority of a route that is given none, as in the cloud's API.
    pub const DEFAULT_PRIORITY: u8 = 10;
    /// Before all that can be given: of a policy that is closed because its own priority cannot be understood.
    pub const FIRST: u8 = 0;
    /// How many a configuration file may have to one destination: a packet of a new flow is compared with each. The cloud's
    /// quota is 20 for a whole gateway.
    pub const MOST: usize = 64;
}

/// Preference among routes to one destination, as `CreateVpnRouteEntry` knows it: 100 is active, 0 is standby.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Weight {
    /// Weight 0: forwards only while no active route's connection is up.
    Standby,
    /// Weight 100.
    Active,
}

impl Weight {
    /// The weight as the cloud's API writes it.
    pub fn value(self) -> u8 {
        match self {
            Weight::Standby => 0,
            Weight::Active => 100,
        }
    }
}

/// A weight other than 0 and 100, which the cloud does not know.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("a VPN route's weight is 0 (standby) or 100 (active), not {0}")]
pub struct InvalidWeight(pub u32);

impl TryFrom<u32> for Weight {
    type Error = InvalidWeight;

    fn try_from(value: u32) -> Result<Self, InvalidWeight> {
        match value {
            0 => Ok(Weight::Standby),
            100 => Ok(Weight::Active),
            other => Err(InvalidWeight(other)),
        }
    }
}

/// Who made a route and alone may change it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Owner {
    /// gatewayd.toml.
    File,
    /// The cloud's API, through cend.
    Cend,
}

impl fmt::Display for Owner {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Owner::File => "file",
            Owner::Cend => "cend",
        })
    }
}

/// Whether a VPN route is published to the VPC's route table (`State` of `DescribeVpnRouteEntries`). cend decides;
/// gatewayd shows.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Publication {
    /// Not in the VPC's route table.
    #[default]
    Normal,
    /// In the VPC's system route table, next hop VPN gateway.
    Published,
}

impl fmt::Display for Publication {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Publication::Normal => "normal",
            Publication::Published => "published",
        })
    }
}

/// Why a policy-based route is closed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum ClosedBecause {
    /// The owner's set names it in a way that is refused.
    Refused,
    /// The owner's set has been lost, and was not told again since.
    SetLost,
}

impl fmt::Display for ClosedBecause {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            ClosedBecause::Refused => "the owner's set names it in a way that is refused; its packets are dropped",
            ClosedBecause::SetLost => {
                "the owner's set is lost and was not told again since; its packets are dropped until then"
            }
        })
    }
}

/// What a route does at this moment; [`super::best_path`] decides it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum RouteState {
    /// Packets to the destination go to this connection.
    Active,
    /// Its connection is up, but another route to the same destination is preferred.
    Standby,
    /// Its connection is down, or its peer does not answer: packets go there only where no other route's connection is up.
    Down,
}

impl fmt::Display for RouteState {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            RouteState::Active => "active",
            RouteState::Standby => "standby",
            RouteState::Down => "down",
        })
    }
}

/// A route of the VPN gateway: packets to `destination` belong into `connection`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct VpnRoute {
    /// Inner destination prefix, host bits zero.
    pub destination: IpNet,
    /// What else a packet has to have, if the route is policy-based.
    pub policy: Option<RoutePolicy>,
    /// Name of the IPsec connection that is the next hop.
    pub connection: Arc<str>,
    /// Active or standby.
    pub weight: Weight,
    /// Who made the route.
    pub owner: Owner,
    /// Whether the VPC's route table has it.
    pub publication: Publication,
    /// Seconds since the Unix epoch at which the owner made it.
    pub created: u64,
    /// Why it is closed, if it is: what it holds is dropped, whatever is up, and is no other route's but one of the very same
    /// policy. Host bits in its prefixes mean nothing.
    pub closed: Option<ClosedBecause>,
}

impl VpnRoute {
    /// What names this route.
    pub fn key(&self) -> RouteKey {
        RouteKey {
            destination: self.destination,
            connection: Arc::clone(&self.connection),
            source: self.policy.map(|policy| policy.source),
        }
    }

    /// Whether this is the route that a key names.
    pub fn is(&self, key: &RouteKey) -> bool {
        let RouteKey { destination, connection, source } = key;
        self.destination == *destination
            && self.policy.map(|policy| policy.source) == *source
            && self.connection == *connection
    }
}
