//! Several entries of route tables in one call, of which each has its own outcome.

use serde_json::{Value, json};

use super::action::{Action, Answer, Context, VPC};
use super::field::{label, required_cidr};
use super::parameter::Kind::{Cidr, Label, Offered, RegionId, Structures, Text};
use super::parameter::{Parameter, optional, required};
use super::region;
use super::route_entry;
use super::rpc::Parameters;
use crate::cen::command::{Command, CreateRouteEntry, DeleteRouteEntry};
use crate::cen::error::ApiError;
use crate::cen::identifier::{RouteEntryId, RouteTableId};
use crate::cen::plan::route_entries::{refusals_to_create, refusals_to_delete};
use crate::cen::realism::{ROUTE_ENTRY_STATUS, TASK_CONFLICT, VPC_STATUS};

/// This resource's rows of the action table.
pub static ACTIONS: &[Action] = &[
    Action {
        version: VPC,
        name: "CreateRouteEntries",
        parameters: &[required("RegionId", RegionId), required("RouteEntries", Structures(NEW, ENTRIES))],
        handler: create,
        busy: &[TASK_CONFLICT, ROUTE_ENTRY_STATUS, VPC_STATUS],
    },
    Action {
        version: VPC,
        name: "DeleteRouteEntries",
        parameters: &[required("RegionId", RegionId), required("RouteEntries", Structures(OLD, ENTRIES))],
        handler: delete,
        busy: &[TASK_CONFLICT, ROUTE_ENTRY_STATUS, VPC_STATUS],
    },
];

/// Entries of one call at most.
const ENTRIES: usize = 50;

const NEW: &[Parameter] = &[
    required("RouteTableId", Text),
    required("DstCidrBlock", Cidr),
    required("NextHop", Text),
    optional("NextHopType", Text),
    optional("IpVersion", Offered(&["4"], &["6"])),
    optional("Name", Label(128)),
    optional("Description", Label(256)),
];

const OLD: &[Parameter] = &[
    required("RouteTableId", Text),
    optional("RouteEntryId", Text),
    optional("DstCidrBlock", Cidr),
    optional("NextHop", Text),
];

fn create(parameters: &Parameters, context: &mut Context<'_>) -> Result<Answer, ApiError> {
    let asked = parameters.structures("RouteEntries");
    let mut creates = Vec::with_capacity(asked.len());
    for entry in &asked {
        creates.push(CreateRouteEntry {
            id: RouteEntryId::generate(&context.seed()),
            route_table: table(parameters, entry, context)?,
            destination: required_cidr(entry, "DstCidrBlock")?,
            next_hop_type: entry.text("NextHopType").unwrap_or("Instance").to_owned(),
            next_hop: entry.required("NextHop")?.to_owned(),
            next_hops: Vec::new(),
            name: label(entry, "Name"),
            description: label(entry, "Description"),
        });
    }
    let refusals = refusals_to_create(context.state, context.now, &creates);
    let failed = failures(&asked, &refusals);
    creates = taken(creates, &refusals);
    let mut response = counts(creates.len(), failed);
    response["RouteEntryIds"] = creates.iter().map(|create| create.id.as_str()).collect();
    Ok(Answer::Write { command: Command::CreateRouteEntries(creates), response })
}

fn delete(parameters: &Parameters, context: &mut Context<'_>) -> Result<Answer, ApiError> {
    let asked = parameters.structures("RouteEntries");
    let mut deletes = Vec::with_capacity(asked.len());
    for entry in &asked {
        let route_table = table(parameters, entry, context)?;
        deletes.push(match entry.text("RouteEntryId") {
            Some(id) => DeleteRouteEntry::ById(RouteEntryId::from(id)),
            None => DeleteRouteEntry::ByDestination {
                route_table,
                destination: required_cidr(entry, "DstCidrBlock")?,
                next_hops: vec![entry.required("NextHop")?.to_owned()],
            },
        });
    }
    let refusals = refusals_to_delete(context.state, context.now, &deletes);
    let mut failed = failures(&asked, &refusals);
    let named = asked.iter().zip(&refusals).filter(|(_, refusal)| refusal.is_some());
    for (failure, (entry, _)) in failed.iter_mut().zip(named) {
        failure["RouteEntryId"] = entry.text("RouteEntryId").unwrap_or_default().into();
    }
    deletes = taken(deletes, &refusals);
    let response = counts(deletes.len(), failed);
    Ok(Answer::Write { command: Command::DeleteRouteEntries(deletes), response })
}

/// The table of an entry, which stands in the call's region.
fn table(parameters: &Parameters, entry: &Parameters, context: &Context<'_>) -> Result<RouteTableId, ApiError> {
    let table = RouteTableId::from(entry.required("RouteTableId")?);
    route_entry::check_region_of(region::of(parameters)?, context.state, &table)?;
    Ok(table)
}

/// What was not refused.
fn taken<T>(entries: Vec<T>, refusals: &[Option<ApiError>]) -> Vec<T> {
    let kept = entries.into_iter().zip(refusals).filter(|(_, refusal)| refusal.is_none());
    kept.map(|(entry, _)| entry).collect()
}

fn failures(asked: &[Parameters], refusals: &[Option<ApiError>]) -> Vec<Value> {
    let each = asked.iter().zip(refusals).filter_map(|(entry, refusal)| Some((entry, refusal.as_ref()?)));
    each.map(|(entry, refusal)| {
        json!({
            "DstCidrBlock": entry.text("DstCidrBlock").unwrap_or_default(),
            "NextHop": entry.text("NextHop").unwrap_or_default(),
            "FailedCode": failed_code(&refusal.code),
            "FailedMessage": refusal.message,
        })
    })
    .collect()
}

/// One of the codes is known to be spelt otherwise here.
fn failed_code(code: &str) -> &str {
    if code == "InvalidCIDRBlock.Duplicate" { "VPC_ROUTE_ENTRY_CIDR_BLOCK_DUPLICATE" } else { code }
}

fn counts(taken: usize, failed: Vec<Value>) -> Value {
    json!({"SuccessCount": taken, "FailedCount": failed.len(), "FailedRouteEntries": failed})
}
