//! Publication to CEN from the VPC's side: the same as from CEN's, with codes of its own, and of several entries at once.

use std::collections::BTreeSet;

use super::Planner;
use crate::cen::command::PublishVpcRoutes;
use crate::cen::error::ApiError;
use crate::cen::network::NetworkId;

impl Planner<'_> {
    pub(super) fn publish_vpc_routes(&mut self, publish: &PublishVpcRoutes) -> Result<(), ApiError> {
        let mut done = BTreeSet::new();
        for (table, destination) in &publish.entries {
            let table = self.route_table(table)?;
            let refused = |code: &'static str, message: &'static str| Err(ApiError::bad_request(code, message));
            if self.state.is_custom(table) {
                let message = "The operation is forbidden because publish route entry in custom route table.";
                return refused("Forbidden.OperateCustomRouteTable", message);
            }
            let attachment = match (&table.network, self.state.attachments.get(&table.network)) {
                (NetworkId::Vpc(_), Some(attachment)) if attachment.cen == publish.cen => attachment,
                _ => return Err(not_associated()),
            };
            let Some(entry) = table.entry_to(*destination) else {
                return refused("ResourceNotFound.RouteEntry", "The specified resource routeEntry is not found.");
            };
            if !entry.kind.row().withdrawable {
                let message = "Publishing system route entry is unsupported.";
                return refused("OperationUnsupported.PublishSystemRouteEntry", message);
            }
            if !done.insert((&table.id, *destination)) {
                continue;
            }
            match publish.publish {
                true if attachment.publications.contains_key(destination) => {}
                true => self.publish(&table.network, *destination),
                false => self.withdraw(&table.network, *destination),
            }
        }
        Ok(())
    }
}

/// The VPC is not attached to what it is to publish to.
pub(in crate::cen) fn not_associated() -> ApiError {
    ApiError::bad_request("ResourceNotAssociated.TargetInstance", "The target instance is not associated with vpc.")
}
