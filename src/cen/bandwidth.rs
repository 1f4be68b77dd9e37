//! Bandwidth between geographic areas: packages, and what of them is given to pairs of regions. State and rules only: packets
//! are not shaped.

use serde::{Deserialize, Serialize};

use super::identifier::{BandwidthPackageId, CenId};
use super::network::{Tag, UnixMillis};

/// A geographic area, whose regions share a package.
#[derive(Debug)]
pub struct Area {
    /// As packages name it (`GeographicRegionAId`).
    pub id: &'static str,
    /// As answers name it.
    pub shown: &'static str,
    /// What its regions' ids begin with.
    regions: &'static [&'static str],
}

/// The areas. A region belongs to the first one that names it.
pub static AREAS: &[Area] = &[
    Area { id: "China", shown: "china", regions: &["cn-"] },
    Area { id: "Australia", shown: "australia", regions: &["ap-southeast-2"] },
    Area { id: "Asia-Pacific", shown: "asia-pacific", regions: &["ap-"] },
    Area { id: "North-America", shown: "north-america", regions: &["us-"] },
    Area { id: "Middle-East", shown: "middle-east", regions: &["me-"] },
    Area { id: "Europe", shown: "europe", regions: &["eu-"] },
];

impl Area {
    /// The area of a region; `None` for one that stands in none.
    pub fn of_region(region: &str) -> Option<&'static Self> {
        AREAS.iter().find(|area| area.regions.iter().any(|start| region.starts_with(start)))
    }

    /// The area that a call names, in any case.
    pub fn by_id(id: &str) -> Option<&'static Self> {
        AREAS.iter().find(|area| area.id.eq_ignore_ascii_case(id))
    }
}

/// Two areas or two regions, of which neither is the first.
pub fn pair<T: Ord>(a: T, b: T) -> (T, T) {
    if a <= b { (a, b) } else { (b, a) }
}

/// A bandwidth package.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct BandwidthPackage {
    /// `CenBandwidthPackageId`, beginning with `cenbwp-`.
    pub id: BandwidthPackageId,
    /// `Name`; may be empty.
    pub name: String,
    /// `Description`; may be empty.
    pub description: String,
    /// `Bandwidth`, 2 to 10 000 Mbit/s, each way.
    pub bandwidth: u32,
    /// `GeographicRegionAId` and `GeographicRegionBId` as packages name them, the smaller word first.
    pub areas: (String, String),
    /// The CEN instance that it serves, if it serves one, and since when.
    pub serves: Option<(CenId, UnixMillis)>,
    /// `Period`, in months.
    pub months: u32,
    /// `CreationTime`.
    pub created: UnixMillis,
    /// `Tags`, in the order given.
    pub tags: Vec<Tag>,
}

/// The bandwidth between two regions of a CEN instance.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct BandwidthLimit {
    /// `CenId`.
    pub cen: CenId,
    /// The two regions, the smaller id first.
    pub regions: (String, String),
    /// `BandwidthLimit` in Mbit/s, at least 1.
    pub limit: u32,
}

impl BandwidthLimit {
    /// The areas that the regions stand in, the smaller word first.
    pub fn areas(&self) -> Option<(&'static str, &'static str)> {
        Some(pair(Area::of_region(&self.regions.0)?.id, Area::of_region(&self.regions.1)?.id))
    }
}
