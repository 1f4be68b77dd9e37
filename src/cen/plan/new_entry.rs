//! What an entry that is to be added to a route table has to keep to.

use ipnet::Ipv4Net;

use super::cidr;
use crate::cen::error::ApiError;
use crate::cen::route::{RouteKind, RouteTable};

/// Custom entries that one route table holds at most.
pub(super) const CUSTOM_ENTRIES: usize = 200;

/// May a custom entry to `destination` be added to the table?
pub(super) fn check_free(table: &RouteTable, destination: Ipv4Net) -> Result<(), ApiError> {
    cidr::check_destination(destination)?;
    let vswitches = table.entries.values().filter(|entry| entry.kind == RouteKind::VSwitch);
    if let Some(vswitch) = vswitches.into_iter().find(|vswitch| vswitch.destination.contains(&destination)) {
        let message = format!(
            "Specified CIDR block is not valid: it lies in vSwitch {} ({}).",
            vswitch.next_hop, vswitch.destination
        );
        return Err(ApiError::bad_request("InvalidCidrBlock", message));
    }
    if table.entry_to(destination).is_some() {
        return Err(duplicate());
    }
    if table.custom_entries().count() >= CUSTOM_ENTRIES {
        return Err(quota_exceeded());
    }
    Ok(())
}

/// 400: the table has an entry to this destination.
pub(super) fn duplicate() -> ApiError {
    ApiError::bad_request("InvalidCIDRBlock.Duplicate", "Specified CIDR block is already exists.")
}

/// 400: the table is full.
pub(super) fn quota_exceeded() -> ApiError {
    ApiError::bad_request("QuotaExceeded", "Route entry quota exceeded in this route table.")
}
