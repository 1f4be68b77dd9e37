//! Who does not take a network's published routes, and why.

use ipnet::Ipv4Net;

use super::action::{Action, Answer, CBN, Context};
use super::attachment::{CHILD_TYPE, kind};
use super::field::cidr;
use super::paging::{PAGE_NUMBER, Page, page_size};
use super::parameter::Kind::{Cidr, Text};
use super::parameter::{optional, required};
use super::published_route::conflict_shown;
use super::rpc::Parameters;
use crate::cen::command::ChildInstance;
use crate::cen::conflict::Conflicts;
use crate::cen::error::ApiError;
use crate::cen::plan::attachment::attached_table;

/// This resource's rows of the action table.
pub static ACTIONS: &[Action] = &[Action {
    version: CBN,
    name: "DescribeRouteConflict",
    parameters: &[
        PAGE_NUMBER,
        page_size(50),
        CHILD_TYPE,
        required("ChildInstanceId", Text),
        required("ChildInstanceRegionId", Text),
        required("ChildInstanceRouteTableId", Text),
        optional("DestinationCidrBlock", Cidr),
    ],
    handler: describe,
    busy: &[],
}];

/// The conflicts of one route, or of all that the network publishes, in the order of destinations.
fn describe(parameters: &Parameters, context: &mut Context<'_>) -> Result<Answer, ApiError> {
    let (state, page) = (context.state, Page::of(parameters)?);
    let network = kind(parameters.required("ChildInstanceType")?)?.network(parameters.required("ChildInstanceId")?);
    let attachment = state.attachments.get(&network);
    let attachment =
        attachment.ok_or_else(|| ApiError::not_found("Instance.NotExist", "The instance is not exist."))?;
    let region = parameters.required("ChildInstanceRegionId")?.to_owned();
    let child = ChildInstance { cen: attachment.cen.clone(), network, region };
    let table = attached_table(state, &child)?;
    if parameters.required("ChildInstanceRouteTableId")? != table.id.as_str() {
        let message = format!("The specified table is not the route table of {}.", child.network);
        return Err(ApiError::bad_request("InvalidParameter", message));
    }
    let asked = cidr(parameters, "DestinationCidrBlock")?;
    let published =
        attachment.publications.keys().filter(|destination| asked.is_none_or(|asked| asked == **destination));
    let Some(conflicts) = Conflicts::of(state, &child.network) else {
        return Ok(Answer::Read(page.of_items(Vec::new(), "RouteConflicts", "RouteConflict")));
    };
    // Of a route that nobody has room for there are as many records as networks.
    let count = |destination: &&Ipv4Net| conflicts.count(**destination);
    let records = |destination: &&Ipv4Net| conflicts.to(**destination, usize::MAX).iter().map(conflict_shown).collect();
    Ok(Answer::Read(page.of_groups(published, count, records, "RouteConflicts", "RouteConflict")))
}
