//! What VPCs publish, from the VPC's side. The target is the CEN instance that the VPC is attached to.

use serde_json::{Value, json};

use super::action::{Action, Answer, Context, VPC};
use super::field;
use super::paging::{Continuation, NEXT_TOKEN};
use super::parameter::Kind::{Cidr, Integer, RegionId, Structures, Text};
use super::parameter::{Parameter, optional, required};
use super::region;
use super::route_entry;
use super::rpc::Parameters;
use crate::cen::command::{Command, PublishVpcRoutes};
use crate::cen::error::ApiError;
use crate::cen::identifier::{CenId, RouteTableId};
use crate::cen::network::NetworkKind;
use crate::cen::plan::vpc_publish::not_associated;
use crate::cen::publish::status_in_table;

/// This resource's rows of the action table.
pub static ACTIONS: &[Action] = &[
    Action { version: VPC, name: "PublishVpcRouteEntries", parameters: PUBLISH, handler: publish, busy: &[] },
    Action {
        version: VPC,
        name: "WithdrawVpcPublishedRouteEntries",
        parameters: PUBLISH,
        handler: withdraw,
        busy: &[],
    },
    Action {
        version: VPC,
        name: "ListVpcPublishedRouteEntries",
        parameters: &[
            required("RegionId", RegionId),
            required("RouteTableId", Text),
            required("TargetType", Text),
            optional("TargetInstanceId", Text),
            optional("DestinationCidrBlock", Cidr),
            optional("MaxResults", Integer(1, 500)),
            NEXT_TOKEN,
        ],
        handler: list,
        busy: &[],
    },
];

/// The kind of target that there is.
const CEN: &str = "CEN";
/// Kinds of the cloud that no VPC is connected with here.
const OTHERS: &[&str] = &["ECR", "TransitRouter"];

/// Entries of one call at most.
const ENTRIES: usize = 50;

const ENTRY: &[Parameter] = &[required("RouteTableId", Text), required("DestinationCidrBlock", Cidr)];

const PUBLISH: &[Parameter] = &[
    required("RegionId", RegionId),
    required("RouteEntries", Structures(ENTRY, ENTRIES)),
    required("TargetType", Text),
    required("TargetInstanceId", Text),
];

fn publish(parameters: &Parameters, context: &mut Context<'_>) -> Result<Answer, ApiError> {
    change(parameters, context, true)
}

fn withdraw(parameters: &Parameters, context: &mut Context<'_>) -> Result<Answer, ApiError> {
    change(parameters, context, false)
}

fn change(parameters: &Parameters, context: &mut Context<'_>, publish: bool) -> Result<Answer, ApiError> {
    check_target(parameters)?;
    let mut entries = Vec::new();
    for entry in parameters.structures("RouteEntries") {
        let table = RouteTableId::from(entry.required("RouteTableId")?);
        route_entry::check_region_of(region::of(parameters)?, context.state, &table)?;
        entries.push((table, field::required_cidr(&entry, "DestinationCidrBlock")?));
    }
    let cen = CenId::from(parameters.required("TargetInstanceId")?);
    let command = Command::PublishVpcRoutes(PublishVpcRoutes { cen, entries, publish });
    Ok(Answer::Write { command, response: json!({}) })
}

/// Every VPC is connected with CEN alone.
fn check_target(parameters: &Parameters) -> Result<(), ApiError> {
    match parameters.required("TargetType")? {
        CEN => Ok(()),
        other if OTHERS.contains(&other) => Err(not_associated()),
        _ => {
            let message = "The operation is not allowed because the target type is not supported.";
            Err(ApiError::bad_request("OperationDenied.UnsupportedTargetType", message))
        }
    }
}

/// The entries of a system table, published or not. Those of a custom table can only be the latter.
fn list(parameters: &Parameters, context: &mut Context<'_>) -> Result<Answer, ApiError> {
    let (state, region) = (context.state, region::of(parameters)?);
    let continuation = Continuation::with_limit(parameters, "MaxResults", 50)?;
    let table = state.route_tables.get(parameters.required("RouteTableId")?);
    let table = table.filter(|table| state.region_of(&table.network) == Some(region));
    let table = table.filter(|table| table.network.kind() == NetworkKind::Vpc).ok_or_else(route_entry::no_table)?;
    check_target(parameters)?;
    let asked_cen = |cen: &CenId| field::is_asked(parameters, "TargetInstanceId", cen.as_str());
    let attachment = state.attachments.get(&table.network).filter(|attachment| asked_cen(&attachment.cen));
    let cen = &attachment.ok_or_else(not_associated)?.cen;
    let destination = field::cidr(parameters, "DestinationCidrBlock")?;
    let asked = table.entries.values().filter(|entry| destination.is_none_or(|asked| asked == entry.destination));
    let shown = asked.map(|entry| {
        let target = json!({
            "PublishStatus": status_in_table(state, table, entry).api_name(),
            "PublishTargetInstanceId": cen.as_str(),
            "PublishTargetType": CEN,
        });
        let shown = json!({
            "RouteEntryId": entry.id.as_str(),
            "RouteTableId": table.id.as_str(),
            "DestinationCidrBlock": entry.destination.to_string(),
            "RoutePublishTargets": [target],
        });
        (route_entry::key(entry.destination, entry.id.as_str()), shown)
    });
    let (entries, token) = continuation.of_items(shown.collect());
    Ok(Answer::Read(json!({"NextToken": token, "RouteEntries": Value::Array(entries)})))
}
