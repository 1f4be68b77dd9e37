//! Routes as CEN sees them: a region's table of what is published, and a child instance's own and learned routes.

use serde_json::{Value, json};

use super::action::{Action, Answer, CBN, Context};
use super::attachment::{CHILD_TYPE, child, kind};
use super::field::is_asked;
use super::paging::{PAGE_NUMBER, Page, page_size, wrapped};
use super::parameter::Kind::{RegionId, Text, Word};
use super::parameter::{optional, required};
use super::published_route::conflicts_shown;
use super::rpc::Parameters;
use crate::cen::command::ChildInstance;
use crate::cen::conflict;
use crate::cen::error::ApiError;
use crate::cen::identifier::CenId;
use crate::cen::learn::{LearnedRoute, cen_routes, learned_routes};
use crate::cen::plan::attachment::{attached_table, cen};
use crate::cen::publish::{PublishStatus, publish_status};
use crate::cen::route::{RouteEntry, RouteTable};
use crate::cen::state::State;

/// This resource's rows of the action table.
pub static ACTIONS: &[Action] = &[
    Action {
        version: CBN,
        name: "DescribeCenRegionDomainRouteEntries",
        parameters: &[
            PAGE_NUMBER,
            page_size(500),
            required("CenId", Text),
            required("CenRegionId", RegionId),
            optional("Status", Word(STATUSES)),
        ],
        handler: describe_region,
    },
    Action {
        version: CBN,
        name: "DescribeCenChildInstanceRouteEntries",
        parameters: &[
            PAGE_NUMBER,
            page_size(500),
            required("CenId", Text),
            CHILD_TYPE,
            required("ChildInstanceId", Text),
            optional("ChildInstanceRegionId", Text),
            optional("ChildInstanceRouteTableId", Text),
            optional("Status", Word(STATUSES)),
        ],
        handler: describe_child,
    },
];

const STATUSES: &[&str] = &["Active", "Candidate", "Rejected", "Prohibited", "All"];

/// Every published route, with its publisher as the next hop: classic CEN brings each to all of its regions.
fn describe_region(parameters: &Parameters, context: &mut Context<'_>) -> Result<Answer, ApiError> {
    let page = Page::of(parameters)?;
    let id = CenId::from(parameters.required("CenId")?);
    cen(context.state, &id)?;
    let status = parameters.text("Status").unwrap_or("Active");
    let routes = cen_routes(context.state, &id).into_iter();
    let routes = routes.filter(|route| [route.status.api_name(), "All"].contains(&status));
    let shown = routes.map(|route| {
        let mut object = published(&route);
        object["ToOtherRegionStatus"] = "Active".into();
        object["Preference"] = 50.into();
        object["CenOutRouteMapRecords"] = wrapped("CenOutRouteMapRecord", Vec::new());
        object
    });
    Ok(Answer::Read(page.of_items(shown.collect(), "CenRouteEntries", "CenRouteEntry")))
}

/// What both actions show of a published route.
fn published(route: &LearnedRoute) -> Value {
    let as_path = route.as_path.iter().map(|number| number.to_string().into()).collect();
    json!({
        "DestinationCidrBlock": route.destination,
        "Type": "CEN",
        "NextHopType": route.publisher.kind().api_name(),
        "NextHopInstanceId": route.publisher.as_str(),
        "NextHopRegionId": route.publisher_region,
        "Status": route.status.api_name(),
        "AsPaths": wrapped("AsPath", as_path),
        "Communities": wrapped("Community", Vec::new()),
        "CenRouteMapRecords": wrapped("CenRouteMapRecord", Vec::new()),
    })
}

fn describe_child(parameters: &Parameters, context: &mut Context<'_>) -> Result<Answer, ApiError> {
    let (state, page) = (context.state, Page::of(parameters)?);
    let child = child_in_any_region(parameters, state)?;
    let table = attached_table(state, &child)?;
    let status = parameters.text("Status").unwrap_or("All");
    let mut routes: Vec<_> = Vec::new();
    if is_asked(parameters, "ChildInstanceRouteTableId", table.id.as_str()) {
        let own = table.entries.values().map(|entry| (entry.destination, own(state, table, entry)));
        let learned = learned_routes(state, &child.network);
        let learned = learned.iter().map(|route| (route.destination, learned_shown(state, table, route)));
        routes.extend(own.chain(learned));
    }
    // Stable: a table's own entry stands before the learned routes to its destination.
    routes.sort_by_key(|(destination, _)| *destination);
    let routes = routes.into_iter().map(|(_, route)| route);
    let asked = routes.filter(|route| status == "All" || route["Status"] == status);
    Ok(Answer::Read(page.of_items(asked.collect(), "CenRouteEntries", "CenRouteEntry")))
}

/// As [`child`], where the region may be left out.
fn child_in_any_region(parameters: &Parameters, state: &State) -> Result<ChildInstance, ApiError> {
    if parameters.text("ChildInstanceRegionId").is_some() {
        return child(parameters);
    }
    let kind = kind(parameters.required("ChildInstanceType")?)?;
    let network = kind.network(parameters.required("ChildInstanceId")?);
    let region = state.region_of(&network).unwrap_or_default().to_owned();
    Ok(ChildInstance { cen: parameters.required("CenId")?.into(), network, region })
}

fn own(state: &State, table: &RouteTable, entry: &RouteEntry) -> Value {
    let (network, row) = (&table.network, entry.kind.row());
    let mut conflicts = conflict::with_own_entry(state, network, entry.destination);
    if publish_status(state, network, entry) == PublishStatus::Published {
        conflicts.extend(conflict::at_publisher(state, network, entry.destination));
        conflicts.sort();
        conflicts.dedup();
    }
    let as_path = entry.as_path.iter().map(|number| number.to_string().into()).collect();
    json!({
        "DestinationCidrBlock": entry.destination,
        "Type": row.route_type,
        "NextHopType": row.next_hop_type,
        "NextHopInstanceId": entry.next_hop,
        "NextHopRegionId": state.region_of(network).unwrap_or_default(),
        "OperationalMode": row.withdrawable,
        "PublishStatus": publish_status(state, network, entry).api_name(),
        "RouteTableId": table.id.as_str(),
        "Status": "Active",
        "Conflicts": conflicts_shown(&conflicts),
        "AsPaths": wrapped("AsPath", as_path),
        "Communities": wrapped("Community", Vec::new()),
        "CenRouteMapRecords": wrapped("CenRouteMapRecord", Vec::new()),
    })
}

fn learned_shown(state: &State, table: &RouteTable, route: &LearnedRoute) -> Value {
    let conflicts: Vec<_> = conflict::at_learner(state, &table.network, route).into_iter().collect();
    let mut object = published(route);
    object["OperationalMode"] = false.into();
    object["RouteTableId"] = table.id.as_str().into();
    object["Conflicts"] = conflicts_shown(&conflicts);
    object
}
