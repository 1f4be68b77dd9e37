//! The codes by which the cloud refuses a call for now. Which of them an action has stands in its row of the action table:
//! those that Terraform's provider tries again after, as its source says, so that a client which waits as it does gets on.

use super::part::Kind;
use super::part::Kind::{Attachment, Cen, Publication, RouteEntry, RouteMap, RouteTable, VSwitch, Vpc};
use super::part::Kind::{VpnConnection, VpnGateway};
use crate::cen::error::ApiError;

/// One of the codes that say: not now.
#[derive(Clone, Copy, Debug)]
pub struct Busy {
    /// For example `Operation.Blocking`.
    pub code: &'static str,
    /// Never 404, which clients take for a resource that is not there.
    http_status: u16,
    message: &'static str,
    /// What is not settled when it is answered; empty: anything.
    about: &'static [Kind],
}

const fn busy(code: &'static str, about: &'static [Kind], message: &'static str) -> Busy {
    Busy { code, http_status: 400, message, about }
}

const fn conflict(code: &'static str, about: &'static [Kind], message: &'static str) -> Busy {
    Busy { code, http_status: 409, message, about }
}

const CONFIGURING: &str = "The specified service is configuring.";
const FREQUENT: &str = "The operation is too frequent. Please try again later.";

/// Several changes at a time, in Vpc.
pub const TASK_CONFLICT: Busy = busy("TaskConflict", &[], FREQUENT);
/// As [`TASK_CONFLICT`], of other actions.
pub const OPERATION_CONFLICT: Busy =
    busy("OperationConflict", &[], "Request was denied due to conflict with a previous request.");
/// A VPC is not `Available`.
pub const VPC_STATUS: Busy = busy("IncorrectVpcStatus", &[Vpc], "Current VPC status does not support this operation.");
/// A vSwitch is not `Available`.
pub const VSWITCH_STATUS: Busy =
    busy("IncorrectVSwitchStatus", &[VSwitch], "Current vSwitch status does not support this operation.");
/// As [`VSWITCH_STATUS`], of `ModifyVSwitchAttribute`.
pub const STATUS_OF_VSWITCH: Busy =
    busy("IncorrectStatus.VSwitch", &[VSwitch], "The status of the vSwitch does not support this operation.");
/// CEN is taking the VPC's routes, of `CreateVSwitch`.
pub const CREATE_VSWITCH_CEN: Busy = busy(
    "CreateVSwitch.IncorrectStatus.cbnStatus",
    &[Attachment, Cen, Publication],
    "The status of the CEN instance does not support this operation.",
);
/// As [`CREATE_VSWITCH_CEN`], of `DeleteVSwitch`.
pub const DELETE_VSWITCH_CEN: Busy = busy(
    "DeleteVSwitch.IncorrectStatus.cbnStatus",
    &[Attachment, Cen, Publication],
    "The status of the CEN instance does not support this operation.",
);
/// An entry is not `Available`.
pub const ROUTE_ENTRY_STATUS: Busy =
    busy("IncorrectRouteEntryStatus", &[RouteEntry], "Some route entry status blocked this operation.");
/// Something is not `Available`, of actions on route tables.
pub const STATUS: Busy = busy("IncorrectStatus", &[Vpc, RouteTable], "The status does not support this operation.");
/// A route table is not `Available`, of `DeleteRouteTable`.
pub const ROUTE_TABLE_STATUS: Busy =
    busy("IncorrectRouteTableStatus", &[RouteTable], "The status of the route table does not support this operation.");
/// As [`ROUTE_TABLE_STATUS`], of `AssociateRouteTable` and `UnassociateRouteTable`.
pub const STATUS_OF_ROUTE_TABLE: Busy =
    busy("IncorrectStatus.RouteTable", &[RouteTable], "The status of the route table does not support this operation.");
/// A VPN gateway is not `active`.
pub const VPN_GATEWAY: Busy = busy("VpnGateway.Configuring", &[VpnGateway], CONFIGURING);
/// An IPsec-VPN connection is not `active`.
pub const VPN_CONNECTION: Busy = busy("VpnConnection.Configuring", &[VpnConnection], CONFIGURING);
/// Several changes of a VPN gateway at a time.
pub const VPN_TASK: Busy = busy("VpnTask.CONFLICT", &[], FREQUENT);
/// What carries the VPN gateway is being configured.
pub const APPLIANCE: Busy = busy("Appliance.Configuring", &[], CONFIGURING);
/// Several changes of a CEN instance at a time.
pub const BLOCKING: Busy =
    conflict("Operation.Blocking", &[], "The operation is blocked by another one. Please try again later.");
/// A CEN instance is not `Active`.
pub const CEN_STATUS: Busy = conflict(
    "InvalidOperation.CenInstanceStatus",
    &[Cen],
    "The CEN instance is not in a valid state for the operation.",
);
/// A child instance is not `Attached`.
pub const CHILD_STATUS: Busy = conflict(
    "InvalidOperation.ChildInstanceStatus",
    &[Attachment],
    "The child-instance is not in a valid state for the operation.",
);
/// The VPC of a child instance is not `Available`.
pub const VPC_OF_CHILD: Busy =
    busy("OperationFailed.InvalidVpcStatus", &[Vpc], "The status of the VPC does not support this operation.");
/// A child instance cannot be detached now.
pub const INSTANCE_STATUS: Busy =
    busy("InstanceStatus.NotSupport", &[Attachment], "The status of the instance does not support this operation.");
/// A route map is not `Active`.
pub const ROUTE_MAP_STATUS: Busy =
    busy("IncorrectStatus.RouteMap", &[RouteMap], "The status of the route map does not support this operation.");

impl Busy {
    /// The refusal.
    pub fn refusal(&self) -> ApiError {
        ApiError::new(self.http_status, self.code, self.message)
    }

    /// Which of an action's codes says that something of these kinds is not settled: one that is about them, or else the first.
    pub fn about<'a>(codes: &'a [Self], unsettled: &[Kind]) -> Option<&'a Self> {
        let about = |code: &&Self| code.about.iter().any(|kind| unsettled.contains(kind));
        codes.iter().find(about).or_else(|| codes.first()).filter(|_| !unsettled.is_empty())
    }
}
