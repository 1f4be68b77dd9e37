//! Commands on VPCs, beside those that create and delete them.

use ipnet::Ipv4Net;

use crate::cen::identifier::{CenId, RouteTableId, VpcId};
use crate::cen::resource::ResourceId;

/// Parameters of `AssociateVpcCidrBlock` and `UnassociateVpcCidrBlock`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SecondaryCidr {
    /// The VPC (`VpcId`).
    pub vpc: VpcId,
    /// `SecondaryCidrBlock`: a prefix of 16 to 28 bits that overlaps no other block of the VPC.
    pub cidr: Ipv4Net,
}

/// Parameters of `PublishVpcRouteEntries` and `WithdrawVpcPublishedRouteEntries`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PublishVpcRoutes {
    /// The CEN instance that the entries' VPCs are attached to (`TargetInstanceId`).
    pub cen: CenId,
    /// `RouteEntries.N`: tables, and destinations of entries in them.
    pub entries: Vec<(RouteTableId, Ipv4Net)>,
    /// To CEN, or out of it.
    pub publish: bool,
}

/// Parameters of `MoveResourceGroup` and `MoveVpnResourceGroup`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct MoveToResourceGroup {
    /// What is put there (`ResourceType`, `ResourceId`).
    pub resource: ResourceId,
    /// `NewResourceGroupId`. Resource groups are another product's: any name will do.
    pub group: String,
}
