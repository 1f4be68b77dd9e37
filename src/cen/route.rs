//! Route tables and the kinds of their entries. Everything that depends on the kind of a route stands in [`KINDS`].

use std::collections::BTreeMap;

use ipnet::Ipv4Net;
use serde::{Deserialize, Serialize};

use super::identifier::{RouteEntryId, RouteTableId};
use super::network::{NetworkId, NetworkKind, Tag, UnixMillis};
use super::shared::Shared;

/// What an entry points to; with the network that holds it this decides how it is published.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub enum RouteKind {
    /// A VPC's entry to an ECS instance.
    Instance,
    /// A VPC's entry to a VPN gateway.
    VpnGateway,
    /// A VPC's entry to a HaVip.
    HaVip,
    /// A VPC's system route to one of its vSwitches.
    VSwitch,
    /// A VPC's system route to the cloud's own services, 100.64.0.0/10.
    Service,
    /// A VBR's static route to the data centre.
    DataCenter,
    /// A VBR's route learned over BGP from the data centre.
    Bgp,
}

/// Everything that the cloud's rules say about one kind of route.
#[derive(Debug)]
pub struct KindRow {
    /// The kind that the row is about.
    pub kind: RouteKind,
    /// Networks whose tables hold such entries.
    pub network: NetworkKind,
    /// Published to CEN as soon as the network is attached or the entry appears.
    pub published_by_default: bool,
    /// May be published and withdrawn by a call (`OperationalMode`).
    pub withdrawable: bool,
    /// May be made and deleted by `CreateRouteEntry` and `DeleteRouteEntry`.
    pub custom: bool,
    /// `NextHopType` of the API.
    pub next_hop_type: &'static str,
    /// `RouteType` of the API: `System`, `Custom` or `BGP`.
    pub route_type: &'static str,
}

/// The kinds of routes, one row each.
pub static KINDS: &[KindRow] = &[
    KindRow {
        kind: RouteKind::Instance,
        network: NetworkKind::Vpc,
        published_by_default: false,
        withdrawable: true,
        custom: true,
        next_hop_type: "Instance",
        route_type: "Custom",
    },
    KindRow {
        kind: RouteKind::VpnGateway,
        network: NetworkKind::Vpc,
        published_by_default: false,
        withdrawable: true,
        custom: true,
        next_hop_type: "VpnGateway",
        route_type: "Custom",
    },
    KindRow {
        kind: RouteKind::HaVip,
        network: NetworkKind::Vpc,
        published_by_default: false,
        withdrawable: true,
        custom: true,
        next_hop_type: "HaVip",
        route_type: "Custom",
    },
    KindRow {
        kind: RouteKind::VSwitch,
        network: NetworkKind::Vpc,
        published_by_default: true,
        withdrawable: true,
        custom: false,
        next_hop_type: "local",
        route_type: "System",
    },
    KindRow {
        kind: RouteKind::Service,
        network: NetworkKind::Vpc,
        published_by_default: false,
        withdrawable: false,
        custom: false,
        next_hop_type: "service",
        route_type: "System",
    },
    KindRow {
        kind: RouteKind::DataCenter,
        network: NetworkKind::Vbr,
        published_by_default: true,
        withdrawable: true,
        custom: true,
        next_hop_type: "RouterInterface",
        route_type: "Custom",
    },
    KindRow {
        kind: RouteKind::Bgp,
        network: NetworkKind::Vbr,
        published_by_default: true,
        withdrawable: true,
        custom: false,
        next_hop_type: "RouterInterface",
        route_type: "BGP",
    },
];

impl RouteKind {
    /// This kind's row of [`KINDS`].
    pub fn row(self) -> &'static KindRow {
        KINDS.iter().find(|row| row.kind == self).expect("every kind has a row, as the test of this file shows")
    }

    /// Such an entry takes in nothing that lies inside it, and not only nothing to the same destination.
    pub fn is_closed(self) -> bool {
        matches!(self, Self::VSwitch | Self::Service)
    }

    /// The kind that `CreateRouteEntry` makes in a table of `network` for a `NextHopType`.
    pub fn custom(network: NetworkKind, next_hop_type: &str) -> Option<Self> {
        let mut rows = KINDS.iter().filter(|row| row.custom && row.network == network);
        rows.find(|row| row.next_hop_type == next_hop_type).map(|row| row.kind)
    }
}

/// Who made an entry, hence who may delete it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum EntryOrigin {
    /// The cloud, together with the VPC or vSwitch.
    System,
    /// `CreateRouteEntry`.
    Api,
    /// Publishing a VPN gateway's route to its VPC.
    VpnRoute,
    /// The configuration of the simulator.
    Declared,
}

/// A next hop of an entry that has several.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct NextHop {
    /// Id of what it is, of the entry's kind.
    pub id: String,
    /// `Weight`: the same for all, which share the load, or 100 for the one in use and 0 for its standby.
    pub weight: u8,
}

/// One entry of a route table. Destinations are unique within a table.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct RouteEntry {
    /// `RouteEntryId`, beginning with `rte-`.
    pub id: RouteEntryId,
    /// `DestinationCidrBlock`.
    pub destination: Ipv4Net,
    /// What the entry points to: `NextHopType` and `RouteType` follow from it.
    pub kind: RouteKind,
    /// Id of the instance, gateway, HaVip, vSwitch or router interface that the entry points to; empty for the
    /// service route.
    pub next_hop: String,
    /// All of its next hops if it has several (`NextHopList`), the one above first; otherwise empty.
    #[serde(default)]
    pub next_hops: Vec<NextHop>,
    /// AS path of a BGP route, nearest AS first; empty for all others.
    pub as_path: Vec<u32>,
    /// Who made the entry, and so who may delete it.
    pub origin: EntryOrigin,
    /// `RouteEntryName`; may be empty.
    pub name: String,
    /// `Description`; may be empty.
    pub description: String,
    /// When the entry was made.
    pub created: UnixMillis,
}

/// A route table of a VPC, system or custom, or the table of a VBR.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct RouteTable {
    /// `RouteTableId`, beginning with `vtb-`.
    pub id: RouteTableId,
    /// The VPC or VBR whose table it is.
    pub network: NetworkId,
    /// `RouteTableName`; may be empty.
    #[serde(default)]
    pub name: String,
    /// `Description`; may be empty.
    #[serde(default)]
    pub description: String,
    /// `Tags`, in the order given.
    #[serde(default)]
    pub tags: Vec<Tag>,
    /// `CreationTime`: of a custom table its own, of others that of their network.
    pub created: UnixMillis,
    /// `RoutePropagationEnable`: whether it receives what its network learns from CEN.
    #[serde(default = "enabled")]
    pub route_propagation: bool,
    /// Its own entries by their ids. What the network learns from CEN is derived and never stands here.
    pub entries: Shared<BTreeMap<RouteEntryId, RouteEntry>>,
}

/// What holds of tables that were stored before they could be told otherwise.
fn enabled() -> bool {
    true
}

impl RouteEntry {
    /// Ids of all of its next hops.
    pub fn hops(&self) -> impl Iterator<Item = &str> {
        let single = Some(self.next_hop.as_str()).filter(|_| self.next_hops.is_empty());
        single.into_iter().chain(self.next_hops.iter().map(|hop| hop.id.as_str()))
    }

    /// Ids of those that are in use: of several, those of the highest weight.
    pub fn hops_in_use(&self) -> impl Iterator<Item = &str> {
        let highest = self.next_hops.iter().map(|hop| hop.weight).max();
        let standby = move |id: &&str| self.next_hops.iter().any(|hop| hop.id == *id && Some(hop.weight) < highest);
        self.hops().filter(move |id| !standby(id))
    }
}

impl RouteTable {
    /// The entry whose destination is exactly `destination`.
    pub fn entry_to(&self, destination: Ipv4Net) -> Option<&RouteEntry> {
        self.entries.values().find(|entry| entry.destination == destination)
    }

    /// Entries that count against the quota of a table.
    pub fn custom_entries(&self) -> impl Iterator<Item = &RouteEntry> {
        self.entries.values().filter(|entry| entry.kind.row().custom)
    }
}
