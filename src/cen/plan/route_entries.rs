//! Several custom entries at once.

use std::collections::BTreeSet;

use ipnet::Ipv4Net;

use super::Planner;
use super::new_entry::{CUSTOM_ENTRIES, duplicate, quota_exceeded};
use crate::cen::command::{CreateRouteEntry, DeleteRouteEntry};
use crate::cen::error::ApiError;
use crate::cen::identifier::RouteTableId;
use crate::cen::network::UnixMillis;
use crate::cen::state::State;

/// For each entry of a call why it cannot be made beside those before it, or nothing if it can.
pub(in crate::cen) fn refusals_to_create(
    state: &State,
    now: UnixMillis,
    creates: &[CreateRouteEntry],
) -> Vec<Option<ApiError>> {
    let (mut planner, mut added) = (Planner::new(state, now), BTreeSet::new());
    creates.iter().map(|create| planner.create_beside(&mut added, create).err()).collect()
}

/// For each entry of a call why it cannot be deleted after those before it, or nothing if it can.
pub(in crate::cen) fn refusals_to_delete(
    state: &State,
    now: UnixMillis,
    deletes: &[DeleteRouteEntry],
) -> Vec<Option<ApiError>> {
    let (mut planner, mut deleted) = (Planner::new(state, now), BTreeSet::new());
    deletes.iter().map(|delete| planner.delete_beside(&mut deleted, delete).err()).collect()
}

/// Tables, and destinations of entries in them.
type Places = BTreeSet<(RouteTableId, Ipv4Net)>;

impl Planner<'_> {
    pub(super) fn create_route_entries(&mut self, creates: &[CreateRouteEntry]) -> Result<(), ApiError> {
        let mut added = BTreeSet::new();
        creates.iter().try_for_each(|create| self.create_beside(&mut added, create))
    }

    pub(super) fn delete_route_entries(&mut self, deletes: &[DeleteRouteEntry]) -> Result<(), ApiError> {
        let mut deleted = BTreeSet::new();
        deletes.iter().try_for_each(|delete| self.delete_beside(&mut deleted, delete))
    }

    /// The state does not show yet what was added before.
    fn create_beside(&mut self, added: &mut Places, create: &CreateRouteEntry) -> Result<(), ApiError> {
        let place = (create.route_table.clone(), create.destination);
        if added.contains(&place) {
            return Err(duplicate());
        }
        let present = self.route_table(&create.route_table)?.custom_entries().count();
        if present + added.iter().filter(|(table, _)| *table == create.route_table).count() >= CUSTOM_ENTRIES {
            return Err(quota_exceeded());
        }
        self.create_route_entry(create)?;
        added.insert(place);
        Ok(())
    }

    fn delete_beside(&mut self, deleted: &mut Places, delete: &DeleteRouteEntry) -> Result<(), ApiError> {
        let (table, entry) = self.entry_to_delete(delete)?;
        if !deleted.insert((table.id.clone(), entry.destination)) {
            return Err(ApiError::bad_request("InvalidRouteEntry.NotFound", "Route entry not exists."));
        }
        self.delete_route_entry(delete)
    }
}
