//! CEN instances, what is attached to them, and what attached networks publish.

use super::{Planner, still_referred_to};
use crate::cen::change::Change;
use crate::cen::command::{ChildInstance, CreateCen, ModifyCen, PublishedRoute};
use crate::cen::error::ApiError;
use crate::cen::identifier::CenId;
use crate::cen::route::{RouteEntry, RouteTable};
use crate::cen::state::{Cen, State};

/// The protection level of every CEN instance: networks may overlap, identical CIDR blocks collide.
const PROTECTION_LEVEL: &str = "REDUCED";

impl<'a> Planner<'a> {
    pub(super) fn create_cen(&mut self, create: &CreateCen) -> Result<(), ApiError> {
        check_text("Name", &create.name, 1, 128)?;
        check_text("Description", &create.description, 1, 256)?;
        check_protection_level(create.protection_level.as_deref())?;
        self.push(Change::CenSet(Cen {
            id: create.id.clone(),
            name: create.name.clone(),
            description: create.description.clone(),
            protection_level: PROTECTION_LEVEL.to_owned(),
            created: self.now,
            tags: create.tags.clone(),
        }));
        Ok(())
    }

    pub(super) fn modify_cen(&mut self, modify: &ModifyCen) -> Result<(), ApiError> {
        let mut cen = cen(self.state, &modify.cen)?.clone();
        check_protection_level(modify.protection_level.as_deref())?;
        if let Some(name) = &modify.name {
            check_text("Name", name, 2, 128)?;
            cen.name.clone_from(name);
        }
        if let Some(description) = &modify.description {
            check_text("Description", description, 2, 256)?;
            cen.description.clone_from(description);
        }
        self.push(Change::CenSet(cen));
        Ok(())
    }

    pub(super) fn delete_cen(&mut self, id: &CenId) -> Result<(), ApiError> {
        cen(self.state, id)?;
        let mut attached: Vec<String> = self.state.attached_to(id).map(|(network, _)| network.to_string()).collect();
        attached.extend(self.state.bandwidth_packages_of(id).map(|package| package.id.to_string()));
        if !attached.is_empty() {
            let refusal = still_referred_to("InvalidOperation.CenInstanceStatus", id.as_str(), &attached);
            return Err(ApiError { http_status: 409, ..refusal });
        }
        let maps: Vec<_> = self.state.route_maps_of(id).map(|map| Change::RouteMapRemoved(map.id.clone())).collect();
        self.changes.extend(maps);
        self.revoke_for(id);
        self.leave_resource_group(id.as_str());
        self.push(Change::CenRemoved(id.clone()));
        Ok(())
    }

    pub(super) fn attach(&mut self, child: &ChildInstance) -> Result<(), ApiError> {
        let table = child_table(self.state, child)?;
        if self.state.attachments.contains_key(&child.network) {
            let message = "Operation is invalid because the child-instance has already been attached to another CEN.";
            return Err(ApiError::conflict("InvalidOperation.ChildInstanceAlreadyAttached", message));
        }
        self.push(Change::Attached { network: child.network.clone(), cen: child.cen.clone(), at: self.now });
        for entry in table.entries.values().filter(|entry| entry.kind.row().published_by_default) {
            self.publish(&child.network, entry.destination);
        }
        Ok(())
    }

    pub(super) fn detach(&mut self, child: &ChildInstance) -> Result<(), ApiError> {
        attached_table(self.state, child)?;
        self.push(Change::Detached { network: child.network.clone() });
        Ok(())
    }

    pub(super) fn publish_route(&mut self, route: &PublishedRoute) -> Result<(), ApiError> {
        let entry = self.publishable(route)?;
        let attachment = self.state.attachments.get(&route.child.network);
        // Publishing what is published keeps its place in the order.
        if !attachment.is_some_and(|attachment| attachment.publications.contains_key(&entry.destination)) {
            self.publish(&route.child.network, entry.destination);
        }
        Ok(())
    }

    pub(super) fn withdraw_route(&mut self, route: &PublishedRoute) -> Result<(), ApiError> {
        let entry = self.publishable(route)?;
        self.withdraw(&route.child.network, entry.destination);
        Ok(())
    }

    /// The entry that a call wants to publish or withdraw, if it is one that may be.
    fn publishable(&self, route: &PublishedRoute) -> Result<&'a RouteEntry, ApiError> {
        let table = attached_table(self.state, &route.child)?;
        if self.state.route_tables.get(&route.route_table).is_some_and(|named| self.state.is_custom(named)) {
            let message = "The route table type is unsupported.";
            return Err(ApiError::bad_request("InvalidOperation.UnsupportRouteTableType", message));
        }
        if table.id != route.route_table {
            let message = format!("{} is not the route table of {}.", route.route_table, route.child.network);
            return Err(ApiError::bad_request("InvalidParameter", message));
        }
        let entry = table.entry_to(route.destination).ok_or_else(|| {
            ApiError::bad_request("InvalidOperation.NotFoundRoute", "The specified route does not exist.")
        })?;
        if !entry.kind.row().withdrawable {
            let message = "The nexthop type is unsupported.";
            return Err(ApiError::bad_request("InvalidOperation.UnsupportnexthopType", message));
        }
        Ok(entry)
    }
}

/// A CEN instance that exists.
pub(in crate::cen) fn cen<'a>(state: &'a State, cen: &CenId) -> Result<&'a Cen, ApiError> {
    let message = "The parameter of CEN instance id is illegal.";
    state.cens.get(cen).ok_or_else(|| ApiError::bad_request("ParameterIllegal.CenInstanceId", message))
}

/// The route table of a child instance that exists where the call says it does.
fn child_table<'a>(state: &'a State, child: &ChildInstance) -> Result<&'a RouteTable, ApiError> {
    cen(state, &child.cen)?;
    let missing = || ApiError::not_found("Instance.NotExist", "The instance is not exist.");
    let table = state.table_of(&child.network).ok_or_else(missing)?;
    if state.region_of(&child.network) != Some(child.region.as_str()) {
        let message = "The parameter of child instance region id is illegal.";
        return Err(ApiError::bad_request("ParameterIllegal.ChildInstanceRegionId", message));
    }
    Ok(table)
}

/// The route table of a child instance that is attached to the CEN instance that the call names.
pub(in crate::cen) fn attached_table<'a>(state: &'a State, child: &ChildInstance) -> Result<&'a RouteTable, ApiError> {
    let table = child_table(state, child)?;
    match state.attachments.get(&child.network) {
        Some(attachment) if attachment.cen == child.cen => Ok(table),
        _ => {
            let message = format!("The instance is not exist: {} is not attached to {}.", child.network, child.cen);
            Err(ApiError::not_found("Instance.NotExist", message))
        }
    }
}

/// A name or description: absent, or within bounds and not a link.
fn check_text(parameter: &str, text: &str, at_least: usize, at_most: usize) -> Result<(), ApiError> {
    let length = text.chars().count();
    let link = text.starts_with("http://") || text.starts_with("https://");
    if !text.is_empty() && (link || !(at_least..=at_most).contains(&length)) {
        return Err(ApiError::invalid(parameter));
    }
    Ok(())
}

fn check_protection_level(level: Option<&str>) -> Result<(), ApiError> {
    match level {
        None | Some(PROTECTION_LEVEL) => Ok(()),
        Some("FULL") => {
            let message = "The protection level cannot be raised: networks of a CEN instance may overlap.";
            Err(ApiError::bad_request("InvalidOperation.EnhanceProtectionLevel", message))
        }
        Some(_) => Err(ApiError::invalid("ProtectionLevel")),
    }
}
