//! Secondary CIDR blocks of VPCs.

use super::{Planner, cidr, still_referred_to};
use crate::cen::change::Change;
use crate::cen::command::SecondaryCidr;
use crate::cen::error::ApiError;
use crate::cen::network::{NetworkId, Vpc};
use crate::cen::route::RouteTable;

/// Secondary IPv4 blocks of one VPC at most.
const SECONDARY_CIDRS: usize = 5;

impl Planner<'_> {
    pub(super) fn associate_cidr(&mut self, block: &SecondaryCidr) -> Result<(), ApiError> {
        let SecondaryCidr { vpc, cidr: new } = block;
        let vpc = self.vpc(vpc)?;
        cidr::check_vpc(*new).map_err(illegal_unless_malformed)?;
        if new.prefix_len() < 16 {
            return Err(illegal("the mask of a secondary block is 16 to 28 bits long"));
        }
        if vpc.blocks().any(|other| other == *new) {
            let message = "The specified secondary CIDR block is already one of the VPC.";
            return Err(ApiError::bad_request("Duplicated.SecondaryCidrBlock", message));
        }
        if let Some(other) = vpc.blocks().find(|other| cidr::overlap(*other, *new)) {
            return Err(illegal(&format!("it overlaps {other} of the VPC")));
        }
        let network = NetworkId::Vpc(vpc.id.clone());
        let mut entries = self.state.tables_of(&network).flat_map(RouteTable::custom_entries);
        if let Some(entry) = entries.find(|entry| new.contains(&entry.destination)) {
            let message =
                format!("The secondary CIDR block conflicts with route entry {} ({}).", entry.id, entry.destination);
            return Err(ApiError::bad_request("OperationFailed.ConflictWithEntry", message));
        }
        if vpc.secondary_cidrs.len() >= SECONDARY_CIDRS {
            let message = "The quota of secondary CIDR blocks of the VPC is exceeded.";
            return Err(ApiError::bad_request("QuotaExceeded.VpcMultiCidr", message));
        }
        let secondary_cidrs = vpc.secondary_cidrs.iter().copied().chain([*new]).collect();
        self.push(Change::VpcSet(Vpc { secondary_cidrs, ..vpc.clone() }));
        Ok(())
    }

    pub(super) fn unassociate_cidr(&mut self, block: &SecondaryCidr) -> Result<(), ApiError> {
        let SecondaryCidr { vpc, cidr: old } = block;
        let vpc = self.vpc(vpc)?;
        if !vpc.secondary_cidrs.contains(old) {
            return Err(illegal("the VPC has no such secondary block"));
        }
        let inside = self.state.vswitches_of(&vpc.id).filter(|vswitch| old.contains(&vswitch.cidr));
        let inside: Vec<String> = inside.map(|vswitch| format!("{} ({})", vswitch.id, vswitch.cidr)).collect();
        if !inside.is_empty() {
            return Err(still_referred_to("DependencyViolation.VSwitch", &old.to_string(), &inside));
        }
        let secondary_cidrs = vpc.secondary_cidrs.iter().copied().filter(|other| other != old).collect();
        self.push(Change::VpcSet(Vpc { secondary_cidrs, ..vpc.clone() }));
        Ok(())
    }
}

fn illegal(why: &str) -> ApiError {
    let message = format!("The specified SecondaryCidrBlock is illegal: {why}.");
    ApiError::bad_request("IllegalParam.SecondaryCidrBlock", message)
}

/// What is no block of a VPC at all has a code of its own here.
fn illegal_unless_malformed(error: ApiError) -> ApiError {
    match error.code.as_ref() {
        "InvalidCidrBlock.Malformed" => error,
        _ => illegal("a network of the cloud cannot have this block"),
    }
}
