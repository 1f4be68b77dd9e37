//! Permissions that networks give to CEN instances: from the Vpc product's side, and from Cbn's.

use serde_json::{Value, json};

use super::action::{Action, Answer, CBN, Context, VPC};
use super::field::{is_asked, time_in_seconds};
use super::paging::{Continuation, NEXT_TOKEN, PAGE_NUMBER, Page, page_size, wrapped};
use super::parameter::Kind::{Always, Integer, RegionId, Text, Word};
use super::parameter::{Parameter, ignored, optional, required};
use super::region;
use super::rpc::Parameters;
use super::vpc::OWNER;
use crate::cen::command::{Command, GrantInstance, RevokeInstance};
use crate::cen::error::ApiError;
use crate::cen::grant::Grant;
use crate::cen::identifier::CenId;
use crate::cen::network::{NetworkId, NetworkKind};
use crate::cen::state::State;

/// The rows of the Vpc product.
pub static ACTIONS: &[Action] = &[
    Action { version: VPC, name: "GrantInstanceToCen", parameters: GRANT, handler: grant, busy: &[] },
    Action { version: VPC, name: "RevokeInstanceFromCen", parameters: GRANT, handler: revoke, busy: &[] },
    Action {
        version: VPC,
        name: "DescribeGrantRulesToCen",
        parameters: &[
            required("RegionId", RegionId),
            required("InstanceType", Text),
            required("InstanceId", Text),
            PAGE_NUMBER,
            page_size(50),
            ignored("ResourceGroupId", Text),
        ],
        handler: describe_of_network,
        busy: &[],
    },
];

/// The rows of the Cbn product.
pub static CBN_ACTIONS: &[Action] = &[Action {
    version: CBN,
    name: "DescribeGrantRulesToCen",
    parameters: &[
        required("CenId", Text),
        required("ProductType", Word(&["VPC", "VBR", "CCN", "VPN"])),
        optional("RegionId", RegionId),
        optional("ChildInstanceId", Text),
        optional("ChildInstanceOwnerId", Text),
        optional("EnabledIpv6", Always(false)),
        optional("MaxResults", Integer(1, 100)),
        NEXT_TOKEN,
    ],
    handler: describe_of_cen,
    busy: &[],
}];

const GRANT: &[Parameter] = &[
    required("RegionId", RegionId),
    required("InstanceType", Text),
    required("InstanceId", Text),
    required("CenId", Text),
    required("CenOwnerId", Integer(1, i64::MAX)),
];

fn grant(parameters: &Parameters, context: &mut Context<'_>) -> Result<Answer, ApiError> {
    let network = network(parameters, context.state)?;
    let cen_owner = parameters.parsed("CenOwnerId")?.ok_or_else(|| parameters.missing("CenOwnerId"))?;
    let cen = CenId::from(parameters.required("CenId")?);
    let grant = GrantInstance { network, cen, cen_owner, own_account: cen_owner == OWNER };
    Ok(Answer::Write { command: Command::GrantInstance(grant), response: json!({}) })
}

fn revoke(parameters: &Parameters, context: &mut Context<'_>) -> Result<Answer, ApiError> {
    let network = network(parameters, context.state)?;
    let revoke = RevokeInstance { network, cen: CenId::from(parameters.required("CenId")?) };
    Ok(Answer::Write { command: Command::RevokeInstance(revoke), response: json!({}) })
}

/// The network that a call names. One of another region is not found; one that does not exist is left to the plan.
fn network(parameters: &Parameters, state: &State) -> Result<NetworkId, ApiError> {
    let unknown = || ApiError::not_found("InstanceType.Invalid", "Specified type is not valid.");
    let kind = NetworkKind::from_api_name(parameters.required("InstanceType")?).ok_or_else(unknown)?;
    let network = kind.network(parameters.required("InstanceId")?);
    match state.region_of(&network) {
        Some(at) if at != region::of(parameters)? => {
            Err(ApiError::not_found("InvalidInstanceId.NotFound", "Specified Instance does not exist."))
        }
        _ => Ok(network),
    }
}

fn describe_of_network(parameters: &Parameters, context: &mut Context<'_>) -> Result<Answer, ApiError> {
    let (network, page) = (network(parameters, context.state)?, Page::of(parameters)?);
    let grants = context.state.grants.iter().filter(|grant| grant.network == network).map(|grant| {
        json!({
            "CenInstanceId": grant.cen.as_str(),
            "CenOwnerId": grant.cen_owner,
            "CreationTime": time_in_seconds(grant.created),
        })
    });
    Ok(Answer::Read(page.of_items(grants.collect(), "CenGrantRules", "CbnGrantRule")))
}

fn describe_of_cen(parameters: &Parameters, context: &mut Context<'_>) -> Result<Answer, ApiError> {
    let (state, continuation) = (context.state, Continuation::with_limit(parameters, "MaxResults", usize::MAX)?);
    let region = region::named(parameters, "RegionId")?;
    let owner = OWNER.to_string();
    let asked = |grant: &&Grant| {
        is_asked(parameters, "CenId", grant.cen.as_str())
            && is_asked(parameters, "ProductType", grant.network.kind().api_name())
            && is_asked(parameters, "ChildInstanceId", grant.network.as_str())
            && is_asked(parameters, "ChildInstanceOwnerId", &owner)
            && region.is_none_or(|region| state.region_of(&grant.network) == Some(region))
    };
    let grants: Vec<(String, Value)> =
        state.grants.iter().filter(asked).map(|grant| (grant.network.to_string(), rule(state, grant))).collect();
    let total = grants.len();
    let (grants, token) = continuation.of_items(grants);
    Ok(Answer::Read(json!({
        "NextToken": token,
        "TotalCount": total,
        "MaxResults": grants.len(),
        "GrantRules": wrapped("GrantRule", grants),
    })))
}

fn rule(state: &State, grant: &Grant) -> Value {
    json!({
        "CenId": grant.cen.as_str(),
        "CenOwnerId": grant.cen_owner,
        "ChildInstanceId": grant.network.as_str(),
        "ChildInstanceOwnerId": OWNER,
        "ChildInstanceRegionId": state.region_of(&grant.network).unwrap_or_default(),
        "ChildInstanceType": grant.network.kind().api_name(),
        "CreateTime": grant.created.0,
        // Who pays for the transfer: the owner of the CEN instance, unless told otherwise, which cannot be here.
        "OrderType": "PayByCenOwner",
        "EffectiveOrderType": "PayByCenOwner",
    })
}
