//! Permissions that networks give to CEN instances of other accounts.

use serde::{Deserialize, Serialize};

use super::identifier::CenId;
use super::network::{NetworkId, UnixMillis};

/// A network's permission for a CEN instance to attach it. One that belongs to the network's own account needs none.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct Grant {
    /// The VPC or VBR that may be attached (`InstanceType`, `InstanceId`).
    pub network: NetworkId,
    /// The CEN instance that may attach it (`CenId`).
    pub cen: CenId,
    /// The account of the CEN instance (`CenOwnerId`).
    pub cen_owner: u64,
    /// `CreationTime`.
    pub created: UnixMillis,
}

impl Grant {
    /// Whether it is the one of this network for this CEN instance.
    pub fn is_of(&self, network: &NetworkId, cen: &CenId) -> bool {
        self.network == *network && self.cen == *cen
    }
}
