//! Custom route tables of VPCs.
//!
//! A table has the system routes of its VPC, and is for the vSwitches that are associated with it. What stands in it is
//! never published to CEN.

use std::collections::BTreeMap;

use ipnet::Ipv4Net;

use super::{Planner, still_referred_to};
use crate::cen::change::Change;
use crate::cen::command::{AssociateRouteTable, CreateRouteTable};
use crate::cen::error::ApiError;
use crate::cen::identifier::{RouteEntryId, RouteTableId};
use crate::cen::network::{NetworkId, VSwitch};
use crate::cen::route::{RouteEntry, RouteTable};
use crate::crypto::digest::sha256;

/// Custom route tables of one VPC at most.
const CUSTOM_TABLES: usize = 9;

impl<'a> Planner<'a> {
    pub(super) fn create_route_table(&mut self, create: &CreateRouteTable) -> Result<(), ApiError> {
        let vpc = self.vpc(&create.vpc)?;
        let network = NetworkId::Vpc(vpc.id.clone());
        if self.state.tables_of(&network).filter(|table| self.state.is_custom(table)).count() >= CUSTOM_TABLES {
            return Err(ApiError::bad_request("QuotaExceeded.RouteTable", "VPC RouteTable quota exceeded."));
        }
        let system = self.vpc_table(vpc)?.entries.values().filter(|entry| entry.kind.row().route_type == "System");
        let copied = system.map(|entry| self.system_entry_in(&create.id, entry));
        self.push(Change::RouteTableSet(RouteTable {
            id: create.id.clone(),
            network,
            name: create.name.clone(),
            description: create.description.clone(),
            tags: create.tags.clone(),
            created: self.now,
            route_propagation: true,
            entries: copied.map(|entry| (entry.id.clone(), entry)).collect::<BTreeMap<_, _>>().into(),
        }));
        Ok(())
    }

    pub(super) fn delete_route_table(&mut self, id: &RouteTableId) -> Result<(), ApiError> {
        let table = self.route_table(id)?;
        if !self.state.is_custom(table) {
            let message = "Route table can be deleted by this action only when it's type is custom.";
            return Err(ApiError::bad_request("IncorrectRouteTableType", message));
        }
        let entries: Vec<String> =
            table.custom_entries().map(|entry| format!("{} ({})", entry.id, entry.destination)).collect();
        let vswitches: Vec<String> = self.state.vswitches_by(table).map(|vswitch| vswitch.id.to_string()).collect();
        let code = match (vswitches.is_empty(), entries.is_empty()) {
            (true, true) => {
                self.push(Change::RouteTableRemoved(id.clone()));
                return Ok(());
            }
            (false, _) => "IncorrectRouteTableStatus",
            (true, false) => "DependencyViolation.RouteEntry",
        };
        // The cloud answers both with 404.
        let refusal = still_referred_to(code, id.as_str(), &[vswitches, entries].concat());
        Err(ApiError { http_status: 404, ..refusal })
    }

    /// A vSwitch that uses another custom table goes over to this one.
    pub(super) fn associate_route_table(&mut self, associate: &AssociateRouteTable) -> Result<(), ApiError> {
        let (table, vswitch) = (self.route_table(&associate.route_table)?, self.vswitch(&associate.vswitch)?);
        if table.network != NetworkId::Vpc(vswitch.vpc.clone()) {
            let message = "The specified virtual switch and route table are not in the same VPC.";
            return Err(ApiError::not_found("Forbidden.NotInSameVpc", message));
        }
        if !self.state.is_custom(table) {
            let message = "The associated route tables cannot be directly changed to system route tables.";
            return Err(ApiError::bad_request("OperationDenied.SwitchToSystemRouteTable", message));
        }
        if vswitch.route_table.as_ref() == Some(&table.id) {
            let message = "The resource has already associated with a routetable.";
            return Err(ApiError::bad_request("ResourceAlreadyAssociated.RouteTable", message));
        }
        self.push(Change::VSwitchSet(VSwitch { route_table: Some(table.id.clone()), ..vswitch.clone() }));
        Ok(())
    }

    pub(super) fn unassociate_route_table(&mut self, associate: &AssociateRouteTable) -> Result<(), ApiError> {
        let (table, vswitch) = (self.route_table(&associate.route_table)?, self.vswitch(&associate.vswitch)?);
        if !self.state.is_custom(table) {
            let message = "System route table can not be unassociated.";
            return Err(ApiError::not_found("OperationUnsupported.SystemRouteTable", message));
        }
        if vswitch.route_table.as_ref() != Some(&table.id) {
            let message = "The specified virtual switch and route table does not bind";
            return Err(ApiError::not_found("InvalidBindingStatus.RouteTable", message));
        }
        self.push(Change::VSwitchSet(VSwitch { route_table: None, ..vswitch.clone() }));
        Ok(())
    }

    /// The entry of a custom table that is the same as one of the system table. Its id follows from the table and the
    /// destination: a command names only ids of what it makes.
    pub(super) fn system_entry_in(&self, table: &RouteTableId, system: &RouteEntry) -> RouteEntry {
        RouteEntry { id: entry_id(table, system.destination), created: self.now, ..system.clone() }
    }

    /// The custom tables of a VPC.
    pub(super) fn custom_tables(&self, network: &'a NetworkId) -> impl Iterator<Item = &'a RouteTable> {
        let state = self.state;
        state.tables_of(network).filter(move |table| state.is_custom(table))
    }
}

fn entry_id(table: &RouteTableId, destination: Ipv4Net) -> RouteEntryId {
    RouteEntryId::generate(&sha256(format!("{table} {destination}").as_bytes()))
}
