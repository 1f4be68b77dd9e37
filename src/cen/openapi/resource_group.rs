//! Resource groups, which resources are moved to. What is in which group is all that there is of them here.

use serde_json::json;

use super::action::{Action, Answer, CBN, Context, VPC};
use super::parameter::Kind::{RegionId, Text};
use super::parameter::required;
use super::region;
use super::rpc::Parameters;
use crate::cen::command::{Command, MoveToResourceGroup};
use crate::cen::error::ApiError;
use crate::cen::resource::{KINDS, ResourceId};
use crate::cen::state::State;

/// The rows of the Cbn product.
pub static CBN_ACTIONS: &[Action] = &[Action {
    version: CBN,
    name: "MoveResourceGroup",
    parameters: &[required("ResourceType", Text), required("ResourceId", Text), required("NewResourceGroupId", Text)],
    handler: move_cen,
    busy: &[],
}];

/// The rows of the Vpc product.
pub static ACTIONS: &[Action] = &[
    Action {
        version: VPC,
        name: "MoveResourceGroup",
        parameters: &[
            required("RegionId", RegionId),
            required("ResourceType", Text),
            required("ResourceId", Text),
            required("NewResourceGroupId", Text),
        ],
        handler: move_vpc,
        busy: &[],
    },
    Action {
        version: VPC,
        name: "MoveVpnResourceGroup",
        parameters: &[
            required("RegionId", RegionId),
            required("ResourceType", Text),
            required("InstanceId", Text),
            required("NewResourceGroupId", Text),
        ],
        handler: move_vpn,
        busy: &[],
    },
];

fn move_cen(parameters: &Parameters, context: &mut Context<'_>) -> Result<Answer, ApiError> {
    moved(parameters, context.state, &["CEN"], "ResourceId")
}

fn move_vpc(parameters: &Parameters, context: &mut Context<'_>) -> Result<Answer, ApiError> {
    moved(parameters, context.state, &["VPC"], "ResourceId")
}

fn move_vpn(parameters: &Parameters, context: &mut Context<'_>) -> Result<Answer, ApiError> {
    moved(parameters, context.state, &["VPNGATEWAY", "CUSTOMERGATEWAY"], "InstanceId")
}

/// Clients write the kinds in several ways. What stands in another region is not found.
fn moved(parameters: &Parameters, state: &State, kinds: &[&str], id: &str) -> Result<Answer, ApiError> {
    let asked = parameters.required("ResourceType")?;
    let known = |(name, _): &&(&str, _)| kinds.contains(name) && name.eq_ignore_ascii_case(asked);
    let (_, of_text) = KINDS.iter().find(known).ok_or_else(|| parameters.invalid("ResourceType"))?;
    let resource: ResourceId = of_text(parameters.required(id)?);
    if let Some(at) = resource.region(state).filter(|at| !at.is_empty())
        && !region::is_here(parameters, at)?
    {
        let message = format!("The specified resource {} does not exist.", resource.as_str());
        return Err(ApiError::not_found("ResourceNotFound", message));
    }
    let group = parameters.required("NewResourceGroupId")?.to_owned();
    Ok(Answer::Write {
        command: Command::MoveToResourceGroup(MoveToResourceGroup { resource, group }),
        response: json!({}),
    })
}
