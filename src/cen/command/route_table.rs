//! Commands on custom route tables.

use crate::cen::identifier::{RouteTableId, VSwitchId, VpcId};
use crate::cen::network::Tag;

/// Parameters of `CreateRouteTable`, with the id that the new table will have.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CreateRouteTable {
    /// Id of the new table (`RouteTableId` of the answer).
    pub id: RouteTableId,
    /// The VPC that gets the table (`VpcId`).
    pub vpc: VpcId,
    /// `RouteTableName`: at most 128 characters, not beginning like a URL; empty when not given.
    pub name: String,
    /// `Description`: at most 256 characters, not beginning like a URL; empty when not given.
    pub description: String,
    /// `Tag.N`: the labels of the new table, at most 20.
    pub tags: Vec<Tag>,
}

/// Parameters of `AssociateRouteTable` and `UnassociateRouteTable`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AssociateRouteTable {
    /// The custom route table (`RouteTableId`).
    pub route_table: RouteTableId,
    /// A vSwitch of the same VPC (`VSwitchId`).
    pub vswitch: VSwitchId,
}
