//! VPN gateways and customer gateways.

use std::net::Ipv4Addr;

use super::{Planner, cidr, still_referred_to};
use crate::cen::change::Change;
use crate::cen::command::{CreateCustomerGateway, CreateVpnGateway};
use crate::cen::error::ApiError;
use crate::cen::identifier::{CustomerGatewayId, VSwitchId, VpcId, VpnGatewayId};
use crate::cen::network::NetworkId;
use crate::cen::vpn::{CustomerGateway, VpnGateway};

/// VPN gateways of one account at most.
const VPN_GATEWAYS: usize = 30;

/// Customer gateways of one region at most.
const CUSTOMER_GATEWAYS: usize = 100;

/// Mbit/s that a gateway can be bought with.
const BANDWIDTHS: [u32; 8] = [5, 10, 20, 50, 100, 200, 500, 1000];

/// The AS number of the cloud itself, which a customer cannot have.
const CLOUD_ASN: u32 = 45104;

impl<'a> Planner<'a> {
    pub(super) fn create_vpn_gateway(&mut self, create: &CreateVpnGateway) -> Result<(), ApiError> {
        let vpc = self.vpc(&create.vpc)?;
        if vpc.region != create.region {
            return Err(ApiError::not_found("InvalidVpcId.NotFound", "Specified VPC does not exist in the region."));
        }
        for vswitch in [&create.vswitch, &create.disaster_recovery_vswitch].into_iter().flatten() {
            self.check_vswitch(&vpc.id, vswitch)?;
        }
        if !BANDWIDTHS.contains(&create.bandwidth) {
            return Err(ApiError::invalid("Bandwidth"));
        }
        if self.state.vpn_gateways.len() >= VPN_GATEWAYS {
            return Err(quota_full("VPN gateways"));
        }
        self.push(Change::VpnGatewaySet(VpnGateway {
            id: create.id.clone(),
            region: create.region.clone(),
            vpc: create.vpc.clone(),
            vswitch: create.vswitch.clone().or_else(|| self.oldest_vswitch(&create.vpc)),
            disaster_recovery_vswitch: create.disaster_recovery_vswitch.clone(),
            name: create.name.clone(),
            description: create.description.clone(),
            bandwidth: create.bandwidth,
            charge_type: create.charge_type.clone(),
            internet_ip: self.public_address(create)?,
            created: self.now,
            tags: create.tags.clone(),
            auto_propagate: false,
            created_as: None,
        }));
        self.join_resource_group(create.id.as_str(), &create.resource_group);
        Ok(())
    }

    /// The vSwitch that the cloud chooses.
    fn oldest_vswitch(&self, vpc: &VpcId) -> Option<VSwitchId> {
        self.state.vswitches_of(vpc).min_by_key(|vswitch| vswitch.created).map(|vswitch| vswitch.id.clone())
    }

    pub(super) fn delete_vpn_gateway(&mut self, id: &VpnGatewayId) -> Result<(), ApiError> {
        let gateway = self.vpn_gateway(id)?;
        let connections: Vec<String> =
            self.state.connections_of(id).map(|connection| connection.id.to_string()).collect();
        let vpc = NetworkId::Vpc(gateway.vpc.clone());
        let entries = self.state.tables_of(&vpc).flat_map(|table| table.entries.values());
        let entries: Vec<String> = entries
            .filter(|entry| entry.hops().any(|hop| hop == id.as_str()))
            .map(|entry| format!("{} ({})", entry.id, entry.destination))
            .collect();
        let code = match (connections.is_empty(), entries.is_empty()) {
            (true, true) => {
                for route in self.state.vpn_routes_of(id) {
                    self.changes.push(Change::VpnRouteRemoved(route.key.clone()));
                }
                self.leave_resource_group(id.as_str());
                self.push(Change::VpnGatewayRemoved(id.clone()));
                return Ok(());
            }
            (false, _) => "VpnDependencyViolation.VpnConnection",
            (true, false) => "VpnDependencyViolation.RouteEntry",
        };
        Err(still_referred_to(code, id.as_str(), &[connections, entries].concat()))
    }

    pub(super) fn create_customer_gateway(&mut self, create: &CreateCustomerGateway) -> Result<(), ApiError> {
        if !cidr::is_public_host(create.address) {
            let message = "The specified IP address is not one that a customer gateway can have.";
            return Err(ApiError::bad_request("InvalidIpAddress.WrongFormat", message));
        }
        if create.asn.is_some_and(|asn| asn == 0 || asn == CLOUD_ASN) {
            return Err(ApiError::invalid("Asn"));
        }
        let region = self.state.customer_gateways.values().filter(|gateway| gateway.region == create.region);
        let region: Vec<_> = region.collect();
        if let Some(other) = region.iter().find(|other| other.address == create.address) {
            let message = format!("The specified IP address already exists: {} has it.", other.id);
            return Err(ApiError::bad_request("InvalidIpAddress.AlreadyExist", message));
        }
        if region.len() >= CUSTOMER_GATEWAYS {
            return Err(quota_full("customer gateways"));
        }
        self.push(Change::CustomerGatewaySet(CustomerGateway {
            id: create.id.clone(),
            region: create.region.clone(),
            address: create.address,
            asn: create.asn,
            name: create.name.clone(),
            description: create.description.clone(),
            created: self.now,
            tags: create.tags.clone(),
        }));
        self.join_resource_group(create.id.as_str(), &create.resource_group);
        Ok(())
    }

    pub(super) fn delete_customer_gateway(&mut self, id: &CustomerGatewayId) -> Result<(), ApiError> {
        self.customer_gateway(id)?;
        let users = self.state.vpn_connections.values().filter(|connection| connection.customer_gateway == *id);
        let users: Vec<String> = users.map(|connection| connection.id.to_string()).collect();
        if !users.is_empty() {
            return Err(still_referred_to("DependencyViolation.VpnConnection", id.as_str(), &users));
        }
        self.leave_resource_group(id.as_str());
        self.push(Change::CustomerGatewayRemoved(id.clone()));
        Ok(())
    }

    pub(super) fn vpn_gateway(&self, id: &VpnGatewayId) -> Result<&'a VpnGateway, ApiError> {
        let message = "The specified vpn gateway instance id does not exist.";
        let missing = || ApiError::not_found("InvalidVpnGatewayInstanceId.NotFound", message);
        self.state.vpn_gateways.get(id).ok_or_else(missing)
    }

    pub(super) fn customer_gateway(&self, id: &CustomerGatewayId) -> Result<&'a CustomerGateway, ApiError> {
        let message = "The specified customer gateway instance id does not exist.";
        let missing = || ApiError::not_found("InvalidCustomerGatewayInstanceId.NotFound", message);
        self.state.customer_gateways.get(id).ok_or_else(missing)
    }

    fn check_vswitch(&self, vpc: &VpcId, id: &VSwitchId) -> Result<(), ApiError> {
        if self.state.vswitches.get(id).is_some_and(|vswitch| vswitch.vpc == *vpc) {
            return Ok(());
        }
        let message = format!("The specified vswitchId is not found: {id} is not a vSwitch of {vpc}.");
        Err(ApiError::bad_request("InvalidVSwitchId.NotFound", message))
    }

    /// The address that the configuration gives to a gateway of this name, otherwise the first free one of the pool.
    fn public_address(&self, create: &CreateVpnGateway) -> Result<Ipv4Addr, ApiError> {
        let declarations = &self.state.declarations;
        let used = |address: Ipv4Addr| self.state.vpn_gateways.values().any(|gateway| gateway.internet_ip == address);
        let declared = declarations.gateway_addresses.iter();
        let of_this_name = declared
            .clone()
            .find(|declared| declared.region == create.region && declared.gateway_name == create.name)
            .map(|declared| declared.address);
        if let Some(address) = of_this_name.filter(|address| !used(*address)) {
            return Ok(address);
        }
        let reserved = |address: Ipv4Addr| declared.clone().any(|declared| declared.address == address);
        let mut free = declarations.address_pool.hosts().filter(|address| !used(*address) && !reserved(*address));
        free.next().ok_or_else(|| quota_full("public addresses"))
    }
}

pub(super) fn quota_full(what: &str) -> ApiError {
    ApiError::bad_request("Resource.QuotaFull", format!("The quota of {what} is full."))
}
