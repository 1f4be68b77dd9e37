//! What a child instance publishes to its CEN instance.

use serde_json::{Value, json};

use super::action::{Action, Answer, CBN, Context};
use super::attachment::{CHILD_TYPE, child};
use super::field::{cidr, is_asked, required_cidr};
use super::paging::{PAGE_NUMBER, Page, page_size, wrapped};
use super::parameter::Kind::{Cidr, Text};
use super::parameter::{Parameter, optional, required};
use super::rpc::Parameters;
use crate::cen::command::{Command, PublishedRoute};
use crate::cen::conflict::{Conflict, Conflicts};
use crate::cen::error::ApiError;
use crate::cen::plan::attachment::attached_table;
use crate::cen::publish::publish_status;
use crate::cen::realism::{BLOCKING, CEN_STATUS, CHILD_STATUS};
use crate::cen::route::RouteEntry;

/// This resource's rows of the action table.
pub static ACTIONS: &[Action] = &[
    Action {
        version: CBN,
        name: "PublishRouteEntries",
        parameters: ENTRY,
        handler: publish,
        busy: &[BLOCKING, CEN_STATUS, CHILD_STATUS],
    },
    Action {
        version: CBN,
        name: "WithdrawPublishedRouteEntries",
        parameters: ENTRY,
        handler: withdraw,
        busy: &[CEN_STATUS],
    },
    Action {
        version: CBN,
        name: "DescribePublishedRouteEntries",
        parameters: &[
            PAGE_NUMBER,
            page_size(50),
            required("CenId", Text),
            CHILD_TYPE,
            required("ChildInstanceId", Text),
            required("ChildInstanceRegionId", Text),
            optional("ChildInstanceRouteTableId", Text),
            optional("DestinationCidrBlock", Cidr),
        ],
        handler: describe,
        busy: &[],
    },
];

/// The rows of what publishes and withdraws.
const ENTRY: &[Parameter] = &[
    required("CenId", Text),
    CHILD_TYPE,
    required("ChildInstanceId", Text),
    required("ChildInstanceRegionId", Text),
    required("ChildInstanceRouteTableId", Text),
    required("DestinationCidrBlock", Cidr),
];

fn publish(parameters: &Parameters, _: &mut Context<'_>) -> Result<Answer, ApiError> {
    Ok(Answer::Write { command: Command::PublishRoute(route(parameters)?), response: json!({}) })
}

fn withdraw(parameters: &Parameters, _: &mut Context<'_>) -> Result<Answer, ApiError> {
    Ok(Answer::Write { command: Command::WithdrawRoute(route(parameters)?), response: json!({}) })
}

fn route(parameters: &Parameters) -> Result<PublishedRoute, ApiError> {
    Ok(PublishedRoute {
        child: child(parameters)?,
        route_table: parameters.required("ChildInstanceRouteTableId")?.into(),
        destination: required_cidr(parameters, "DestinationCidrBlock")?,
    })
}

/// All of the child's own entries, published or not.
fn describe(parameters: &Parameters, context: &mut Context<'_>) -> Result<Answer, ApiError> {
    let (state, page) = (context.state, Page::of(parameters)?);
    let child = child(parameters)?;
    let table = attached_table(state, &child)?;
    let destination = cidr(parameters, "DestinationCidrBlock")?;
    let mut entries: Vec<&RouteEntry> = table
        .entries
        .values()
        .filter(|_| is_asked(parameters, "ChildInstanceRouteTableId", table.id.as_str()))
        .filter(|entry| destination.is_none_or(|destination| entry.destination == destination))
        .collect();
    entries.sort_by_key(|entry| entry.destination);
    let conflicts = Conflicts::of(state, &child.network);
    let shown = |entry: &RouteEntry| {
        let conflicts = conflicts.as_ref().map(|all| all.to(entry.destination, CONFLICTS)).unwrap_or_default();
        json!({
            "ChildInstanceRouteTableId": table.id.as_str(),
            "DestinationCidrBlock": entry.destination,
            "NextHopType": entry.kind.row().next_hop_type,
            "NextHopId": entry.next_hop,
            "RouteType": entry.kind.row().route_type,
            "OperationalMode": entry.kind.row().withdrawable,
            "PublishStatus": publish_status(state, &child.network, entry).api_name(),
            "Conflicts": conflicts_shown(&conflicts),
        })
    };
    Ok(Answer::Read(page.of_each(entries, shown, "PublishedRouteEntries", "PublishedRouteEntry")))
}

/// Of each network's rejections of one route so many are shown with it. `DescribeRouteConflict` shows all.
pub(super) const CONFLICTS: usize = 20;

/// The `Conflicts` of a route.
pub(super) fn conflicts_shown(conflicts: &[Conflict<'_>]) -> Value {
    wrapped("Conflict", conflicts.iter().map(conflict_shown).collect())
}

/// One of them.
pub(super) fn conflict_shown(conflict: &Conflict<'_>) -> Value {
    json!({
        "DestinationCidrBlock": conflict.destination,
        "RegionId": conflict.region,
        "InstanceId": conflict.instance.as_str(),
        "InstanceType": conflict.instance.kind().api_name(),
        "Status": conflict.status,
    })
}
