//! Commands on the permissions that networks give to CEN instances.

use crate::cen::identifier::CenId;
use crate::cen::network::NetworkId;

/// Parameters of `GrantInstanceToCen`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct GrantInstance {
    /// The VPC or VBR (`InstanceType`, `InstanceId`).
    pub network: NetworkId,
    /// The CEN instance, which may be another account's (`CenId`).
    pub cen: CenId,
    /// Its account (`CenOwnerId`).
    pub cen_owner: u64,
    /// The account is the one that owns everything here, so the CEN instance has to be here.
    pub own_account: bool,
}

/// Parameters of `RevokeInstanceFromCen`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RevokeInstance {
    /// The VPC or VBR (`InstanceType`, `InstanceId`).
    pub network: NetworkId,
    /// The CEN instance (`CenId`).
    pub cen: CenId,
}
