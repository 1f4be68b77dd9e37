//! VPCs and vSwitches.

use std::collections::BTreeMap;

use super::cidr::{self, SERVICE_NETWORK};
use super::{Planner, still_referred_to};
use crate::cen::change::Change;
use crate::cen::command::{CreateVSwitch, CreateVpc};
use crate::cen::error::ApiError;
use crate::cen::identifier::{RouteEntryId, VSwitchId, VpcId};
use crate::cen::network::{NetworkId, VSwitch, Vpc, VpcName};
use crate::cen::route::{EntryOrigin, RouteEntry, RouteKind, RouteTable};

impl<'a> Planner<'a> {
    pub(super) fn create_vpc(&mut self, create: &CreateVpc) -> Result<(), ApiError> {
        cidr::check_vpc(create.cidr)?;
        for block in &create.user_cidrs {
            cidr::check_destination(*block)?;
        }
        let name = VpcName { region: create.region.clone(), name: create.name.clone() };
        let bound = self.state.declarations.bound_vpcs.iter().find(|bound| bound.vpc == name);
        if let Some(bound) = bound.filter(|bound| bound.cidr != create.cidr) {
            let message = format!("{} is bound to a network that has {}.", create.name, bound.cidr);
            return Err(ApiError::bad_request("InvalidCidrBlock", message));
        }
        let service = self.system_entry(&create.service_entry, SERVICE_NETWORK, RouteKind::Service, String::new());
        self.push(Change::RouteTableSet(RouteTable {
            id: create.route_table.clone(),
            network: NetworkId::Vpc(create.id.clone()),
            name: String::new(),
            description: String::new(),
            tags: Vec::new(),
            created: self.now,
            route_propagation: true,
            entries: BTreeMap::from([(service.id.clone(), service)]).into(),
        }));
        self.push(Change::VpcSet(Vpc {
            id: create.id.clone(),
            region: create.region.clone(),
            cidr: create.cidr,
            name: create.name.clone(),
            description: create.description.clone(),
            router: create.router.clone(),
            route_table: create.route_table.clone(),
            created: self.now,
            tags: create.tags.clone(),
            created_as: None,
            secondary_cidrs: Vec::new(),
            user_cidrs: create.user_cidrs.clone(),
        }));
        self.join_resource_group(create.id.as_str(), &create.resource_group);
        Ok(())
    }

    pub(super) fn delete_vpc(&mut self, id: &VpcId) -> Result<(), ApiError> {
        let vpc = self.vpc(id)?;
        let network = NetworkId::Vpc(id.clone());
        let vswitches: Vec<String> = self.state.vswitches_of(id).map(|vswitch| vswitch.id.to_string()).collect();
        let gateways = self.state.vpn_gateways.values().filter(|gateway| gateway.vpc == *id);
        let gateways: Vec<String> = gateways.map(|gateway| gateway.id.to_string()).collect();
        let entries: Vec<String> = self.state.table_of(&network).map_or_else(Vec::new, |table| {
            table.custom_entries().map(|entry| format!("{} ({})", entry.id, entry.destination)).collect()
        });
        let tables: Vec<String> = self.custom_tables(&network).map(|table| table.id.to_string()).collect();
        let cens: Vec<String> =
            self.state.attachments.get(&network).map(|attachment| attachment.cen.to_string()).into_iter().collect();
        // The first kind that there is gives the code; the message names them all.
        let dependents = [
            ("DependencyViolation.VSwitch", vswitches),
            ("DependencyViolation.VpnGateway", gateways),
            ("DependencyViolation.RouteEntry", entries),
            ("DependencyViolation.RouteTable", tables),
            ("DependencyViolation.Cen", cens),
        ];
        if let Some((code, _)) = dependents.iter().find(|(_, those)| !those.is_empty()) {
            let those: Vec<String> = dependents.iter().flat_map(|(_, those)| those).cloned().collect();
            return Err(still_referred_to(code, id.as_str(), &those));
        }
        self.revoke_all(&network);
        self.leave_resource_group(id.as_str());
        self.push(Change::VpcRemoved(id.clone()));
        self.push(Change::RouteTableRemoved(vpc.route_table.clone()));
        Ok(())
    }

    pub(super) fn create_vswitch(&mut self, create: &CreateVSwitch) -> Result<(), ApiError> {
        let vpc = self.vpc(&create.vpc)?;
        cidr::check_aligned(create.cidr)?;
        if !(16..=29).contains(&create.cidr.prefix_len()) {
            let message = "Specified CIDR block is not valid: the mask of a vSwitch is 16 to 29 bits long.";
            return Err(ApiError::bad_request("InvalidCidrBlock.MaskLength", message));
        }
        if !vpc.blocks().any(|block| block.contains(&create.cidr)) {
            return Err(ApiError::bad_request("InvalidParameter", "Specified CIDR block is not valid in VPC."));
        }
        let table = self.vpc_table(vpc)?;
        if let Some(other) = self.state.vswitches_of(&vpc.id).find(|other| cidr::overlap(other.cidr, create.cidr)) {
            return Err(overlapped("subnets", &format!("{} ({})", other.id, other.cidr)));
        }
        let network = NetworkId::Vpc(vpc.id.clone());
        let mut entries = self.state.tables_of(&network).flat_map(RouteTable::custom_entries);
        if let Some(entry) = entries.find(|entry| create.cidr.contains(&entry.destination)) {
            return Err(overlapped("entry", &format!("{} ({})", entry.id, entry.destination)));
        }
        self.push(Change::VSwitchSet(VSwitch {
            id: create.id.clone(),
            vpc: vpc.id.clone(),
            zone: create.zone.clone(),
            cidr: create.cidr,
            name: create.name.clone(),
            description: create.description.clone(),
            created: self.now,
            tags: create.tags.clone(),
            route_table: None,
        }));
        let next_hop = create.id.to_string();
        let entry = self.system_entry(&create.system_entry, create.cidr, RouteKind::VSwitch, next_hop);
        for custom in self.state.tables_of(&network).filter(|other| other.id != table.id) {
            self.add_entry(custom, self.system_entry_in(&custom.id, &entry));
        }
        self.add_entry(table, entry);
        Ok(())
    }

    pub(super) fn delete_vswitch(&mut self, id: &VSwitchId) -> Result<(), ApiError> {
        let vswitch = self.vswitch(id)?;
        let users = self.state.vpn_gateways.values().filter(|gateway| {
            [&gateway.vswitch, &gateway.disaster_recovery_vswitch].into_iter().flatten().any(|used| used == id)
        });
        let users: Vec<String> = users.map(|gateway| gateway.id.to_string()).collect();
        if !users.is_empty() {
            return Err(still_referred_to("DependencyViolation.VpnGateway", id.as_str(), &users));
        }
        if let Some(table) = &vswitch.route_table {
            return Err(still_referred_to("DependencyViolation.RouteTable", id.as_str(), &[table.to_string()]));
        }
        self.push(Change::VSwitchRemoved(id.clone()));
        for table in self.state.tables_of(&NetworkId::Vpc(vswitch.vpc.clone())) {
            if let Some(entry) = table.entry_to(vswitch.cidr) {
                self.remove_entry(table, entry);
            }
        }
        Ok(())
    }

    pub(super) fn vswitch(&self, id: &VSwitchId) -> Result<&'a VSwitch, ApiError> {
        let missing = || ApiError::not_found("InvalidVSwitchId.NotFound", "Specified virtual switch does not exist.");
        self.state.vswitches.get(id).ok_or_else(missing)
    }

    pub(super) fn vpc(&self, id: &VpcId) -> Result<&'a Vpc, ApiError> {
        let missing = || ApiError::not_found("InvalidVpcId.NotFound", "Specified VPC does not exist.");
        self.state.vpcs.get(id).ok_or_else(missing)
    }

    pub(super) fn vpc_table(&self, vpc: &Vpc) -> Result<&'a RouteTable, ApiError> {
        self.state.route_tables.get(&vpc.route_table).ok_or_else(ApiError::internal)
    }

    fn system_entry(
        &self,
        id: &RouteEntryId,
        destination: ipnet::Ipv4Net,
        kind: RouteKind,
        next_hop: String,
    ) -> RouteEntry {
        RouteEntry {
            id: id.clone(),
            destination,
            kind,
            next_hop,
            next_hops: Vec::new(),
            as_path: Vec::new(),
            origin: EntryOrigin::System,
            name: String::new(),
            description: String::new(),
            created: self.now,
        }
    }
}

fn overlapped(what: &str, with: &str) -> ApiError {
    let message = format!("Specified CIDR block overlapped with other {what}: {with}.");
    ApiError::bad_request("InvalidCidrBlock.Overlapped", message)
}
