//! Route maps and bandwidth of CEN instances.

use crate::cen::bandwidth::BandwidthPackage;
use crate::cen::identifier::{BandwidthPackageId, CenId, RouteMapId};
use crate::cen::route_map::{Direction, RouteMap};

/// What is to be done with the route maps of a CEN instance.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum RouteMapCommand {
    /// `CreateCenRouteMap`.
    Create(Box<RouteMap>),
    /// `ModifyCenRouteMap`: the map gets these attributes; region and direction are those that it has.
    Modify(Box<RouteMap>),
    /// `DeleteCenRouteMap`.
    Delete {
        /// `CenId`.
        cen: CenId,
        /// `CenRegionId`.
        region: String,
        /// `RouteMapId`.
        id: RouteMapId,
    },
}

impl RouteMapCommand {
    /// Where a map stands: two of one priority cannot.
    pub fn place(map: &RouteMap) -> (&CenId, &str, Direction, u8) {
        (&map.cen, &map.region, map.direction, map.priority)
    }
}

/// What is to be done with bandwidth packages and limits.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum BandwidthCommand {
    /// `CreateCenBandwidthPackage`.
    Create(Box<BandwidthPackage>),
    /// `ModifyCenBandwidthPackageAttribute` and `ModifyCenBandwidthPackageSpec`; `None` leaves a field as it is.
    Modify {
        /// `CenBandwidthPackageId`.
        id: BandwidthPackageId,
        /// `Name`.
        name: Option<String>,
        /// `Description`.
        description: Option<String>,
        /// `Bandwidth`, in Mbit/s.
        bandwidth: Option<u32>,
    },
    /// `DeleteCenBandwidthPackage`.
    Delete {
        /// `CenBandwidthPackageId`.
        id: BandwidthPackageId,
    },
    /// `AssociateCenBandwidthPackage`.
    Associate {
        /// `CenId`.
        cen: CenId,
        /// `CenBandwidthPackageId`.
        id: BandwidthPackageId,
    },
    /// `UnassociateCenBandwidthPackage`.
    Unassociate {
        /// `CenId`.
        cen: CenId,
        /// `CenBandwidthPackageId`.
        id: BandwidthPackageId,
    },
    /// `SetCenInterRegionBandwidthLimit`.
    SetLimit {
        /// `CenId`.
        cen: CenId,
        /// `LocalRegionId` and `OppositeRegionId`.
        regions: (String, String),
        /// `BandwidthLimit` in Mbit/s; 0: none any more.
        limit: u32,
    },
}
