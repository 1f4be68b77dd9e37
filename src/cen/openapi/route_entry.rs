//! Entries of the route tables of VPCs and VBRs.

use serde_json::{Value, json};

use super::action::{Action, Answer, Context, VPC};
use super::field::{self, is_asked, label, optional_label, time_in_seconds};
use super::paging::{Continuation, MAX_RESULT, NEXT_TOKEN, wrapped};
use super::parameter::Kind::{Cidr, Integer, Label, List, RegionId, Structures, Text, Word};
use super::parameter::{Parameter, optional, required};
use super::region;
use super::rpc::Parameters;
use crate::cen::command::{Command, CreateRouteEntry, DeleteRouteEntry, ModifyRouteEntry};
use crate::cen::error::ApiError;
use crate::cen::identifier::{RouteEntryId, RouteTableId};
use crate::cen::learn::{LearnedRoute, taken_routes};
use crate::cen::propagation::receives;
use crate::cen::realism::{Kind, ROUTE_ENTRY_STATUS, TASK_CONFLICT, VPC_STATUS};
use crate::cen::route::{NextHop, RouteEntry, RouteKind, RouteTable};
use crate::cen::state::State;

/// This resource's rows of the action table.
pub static ACTIONS: &[Action] = &[
    Action {
        version: VPC,
        name: "CreateRouteEntry",
        parameters: &[
            optional("RegionId", RegionId),
            required("RouteTableId", Text),
            required("DestinationCidrBlock", Cidr),
            optional("NextHopType", Text),
            optional("NextHopId", Text),
            optional("NextHopList", Structures(NEW_HOP, NEXT_HOPS)),
            optional("RouteEntryName", Label(128)),
            optional("Description", Label(256)),
        ],
        handler: create,
        busy: &[TASK_CONFLICT, ROUTE_ENTRY_STATUS, VPC_STATUS],
    },
    Action {
        version: VPC,
        name: "ModifyRouteEntry",
        parameters: &[
            optional("RegionId", RegionId),
            optional("RouteEntryId", Text),
            optional("RouteTableId", Text),
            optional("DestinationCidrBlock", Cidr),
            optional("RouteEntryName", Label(128)),
            optional("Description", Label(256)),
            optional("NewNextHopType", Text),
            optional("NewNextHopId", Text),
        ],
        handler: modify,
        busy: &[TASK_CONFLICT, ROUTE_ENTRY_STATUS, VPC_STATUS],
    },
    Action {
        version: VPC,
        name: "DeleteRouteEntry",
        parameters: &[
            optional("RegionId", RegionId),
            optional("RouteEntryId", Text),
            optional("RouteTableId", Text),
            optional("DestinationCidrBlock", Cidr),
            optional("NextHopId", Text),
            optional("NextHopList", Structures(OLD_HOP, NEXT_HOPS)),
        ],
        handler: delete,
        busy: &[TASK_CONFLICT, ROUTE_ENTRY_STATUS, VPC_STATUS],
    },
    Action {
        version: VPC,
        name: "DescribeRouteEntryList",
        parameters: &[
            required("RegionId", RegionId),
            required("RouteTableId", Text),
            MAX_RESULT,
            NEXT_TOKEN,
            optional("RouteEntryId", Text),
            optional("RouteEntryName", Text),
            optional("RouteEntryType", Word(&["Custom", "System", "BGP", "CEN", "ECR"])),
            optional("DestinationCidrBlock", Text),
            optional("DestCidrBlockList", List),
            optional("NextHopType", Text),
            optional("NextHopId", Text),
            optional("IpVersion", Text),
            optional("ServiceType", Text),
        ],
        handler: list,
        busy: &[],
    },
];

/// Next hops of one entry at most.
const NEXT_HOPS: usize = 16;

const NEW_HOP: &[Parameter] =
    &[required("NextHopId", Text), optional("NextHopType", Text), optional("Weight", Integer(0, 255))];

const OLD_HOP: &[Parameter] = &[required("NextHopId", Text), optional("NextHopType", Text)];

/// What both forms of naming next hops come to.
struct NextHops {
    kind: String,
    first: String,
    /// Only if there are several.
    all: Vec<NextHop>,
}

/// One next hop by `NextHopType` and `NextHopId`, or a list of them, which are of one type. The one in use comes first.
fn next_hops(parameters: &Parameters) -> Result<NextHops, ApiError> {
    let exclusive = "Specified nexthop and nexthop list cannot both";
    let list = parameters.structures("NextHopList");
    let given = parameters.text("NextHopType");
    match (parameters.text("NextHopId"), list.is_empty()) {
        (Some(_), false) => {
            let code = "InvalidNexthopTypeAndList.BothNotNull";
            Err(ApiError::bad_request(code, format!("{exclusive} not null.")))
        }
        (None, true) => Err(ApiError::bad_request("InvalidNexthopTypeAndList.BothNull", format!("{exclusive} null."))),
        (Some(id), true) => {
            Ok(NextHops { kind: given.unwrap_or(NEXT_HOP_TYPE).to_owned(), first: id.to_owned(), all: Vec::new() })
        }
        (None, false) => {
            let kind =
                list.iter().find_map(|hop| hop.text("NextHopType")).or(given).unwrap_or(NEXT_HOP_TYPE).to_owned();
            if !list.iter().all(|hop| is_asked(hop, "NextHopType", &kind)) {
                return Err(parameters.invalid("NextHopList"));
            }
            let mut all = Vec::with_capacity(list.len());
            for hop in &list {
                let (id, weight) = (hop.required("NextHopId")?.to_owned(), hop.parsed("Weight")?.unwrap_or(0));
                all.push(NextHop { id, weight });
            }
            all.sort_by_key(|hop| std::cmp::Reverse(hop.weight));
            let first = all.first().map(|hop| hop.id.clone()).unwrap_or_default();
            all = if all.len() > 1 { all } else { Vec::new() };
            Ok(NextHops { kind, first, all })
        }
    }
}

/// What a next hop is taken for if nothing is said.
const NEXT_HOP_TYPE: &str = "Instance";

fn create(parameters: &Parameters, context: &mut Context<'_>) -> Result<Answer, ApiError> {
    let table = RouteTableId::from(parameters.required("RouteTableId")?);
    check_region(parameters, context.state, &table)?;
    let destination = field::required_cidr(parameters, "DestinationCidrBlock")?;
    let hops = next_hops(parameters)?;
    let create = CreateRouteEntry {
        id: RouteEntryId::generate(&context.seed()),
        route_table: table,
        destination,
        next_hop_type: hops.kind,
        next_hop: hops.first,
        next_hops: hops.all,
        name: label(parameters, "RouteEntryName"),
        description: label(parameters, "Description"),
    };
    let response = json!({"RouteEntryId": create.id.as_str()});
    Ok(Answer::Write { command: Command::CreateRouteEntry(create), response })
}

fn modify(parameters: &Parameters, context: &mut Context<'_>) -> Result<Answer, ApiError> {
    let found = match parameters.text("RouteEntryId") {
        Some(id) => context.state.route_entry(id),
        None => {
            let table = context.state.route_tables.get(parameters.required("RouteTableId")?).ok_or_else(no_table)?;
            let destination = field::required_cidr(parameters, "DestinationCidrBlock")?;
            table.entry_to(destination).map(|entry| (table, entry))
        }
    };
    let missing = || ApiError::bad_request("InvalidRouteEntryId.NotFound", "Route entry not exists.");
    let (table, entry) = found.ok_or_else(missing)?;
    check_region(parameters, context.state, &table.id)?;
    let next_hop_type = parameters.text("NewNextHopType").unwrap_or(entry.kind.row().next_hop_type);
    let next_hop = parameters.text("NewNextHopId").map(|id| (next_hop_type.to_owned(), id.to_owned()));
    let modify = ModifyRouteEntry {
        entry: entry.id.clone(),
        name: optional_label(parameters, "RouteEntryName"),
        description: optional_label(parameters, "Description"),
        next_hop,
    };
    Ok(Answer::Write { command: Command::ModifyRouteEntry(modify), response: json!({}) })
}

fn delete(parameters: &Parameters, context: &mut Context<'_>) -> Result<Answer, ApiError> {
    let id = parameters.text("RouteEntryId");
    let by_place = parameters.text("DestinationCidrBlock").is_some();
    let delete = match (id, by_place) {
        (Some(_), true) => {
            let message = "RouteEntryId and RouteTableId or DestinationCidrBlock cannot both be given.";
            let code = "ParamExclusive.RouteEntryIdAndRouteTableIdOrDestCidrBlock";
            return Err(ApiError::bad_request(code, message));
        }
        (Some(id), false) => DeleteRouteEntry::ById(RouteEntryId::from(id)),
        (None, _) => {
            let route_table = RouteTableId::from(parameters.required("RouteTableId")?);
            let destination = field::required_cidr(parameters, "DestinationCidrBlock")?;
            DeleteRouteEntry::ByDestination { route_table, destination, next_hops: old_hops(parameters)? }
        }
    };
    let table = match &delete {
        DeleteRouteEntry::ById(id) => context.state.route_entry(id.as_str()).map(|(table, _)| &table.id),
        DeleteRouteEntry::ByDestination { route_table, .. } => Some(route_table),
    };
    if let Some(table) = table {
        check_region(parameters, context.state, table)?;
    }
    Ok(Answer::Write { command: Command::DeleteRouteEntry(delete), response: json!({}) })
}

/// Ids of the next hops of an entry that is to be deleted.
fn old_hops(parameters: &Parameters) -> Result<Vec<String>, ApiError> {
    let list = parameters.structures("NextHopList");
    match (parameters.text("NextHopId"), list.is_empty()) {
        (Some(_), false) => {
            let message = "NextHopId and NextHopList cannot both be given.";
            Err(ApiError::bad_request("ParamExclusive.NextHopIdAndList", message))
        }
        (None, true) => {
            let message = "Specified nexthop and nexthop list cannot both null.";
            Err(ApiError::bad_request("InvalidNextHop", message))
        }
        (Some(id), true) => Ok(vec![id.to_owned()]),
        (None, false) => list.iter().map(|hop| hop.required("NextHopId").map(str::to_owned)).collect(),
    }
}

/// As [`check_region`], where the region has been read already.
pub(super) fn check_region_of(region: &str, state: &State, table: &RouteTableId) -> Result<(), ApiError> {
    let present = state.route_tables.get(table).and_then(|table| state.region_of(&table.network));
    if present.is_some_and(|present| present != region) { Err(no_table()) } else { Ok(()) }
}

/// A table of another region than the caller's is not found; one that does not exist is left to the plan.
pub(super) fn check_region(parameters: &Parameters, state: &State, table: &RouteTableId) -> Result<(), ApiError> {
    let present = state.route_tables.get(table).and_then(|table| state.region_of(&table.network));
    match present {
        Some(region) if !region::is_here(parameters, region)? => Err(no_table()),
        _ => Ok(()),
    }
}

pub(super) fn no_table() -> ApiError {
    ApiError::not_found("InvalidRouteTableId.NotFound", "Specified route table does not exist.")
}

fn list(parameters: &Parameters, context: &mut Context<'_>) -> Result<Answer, ApiError> {
    let region = region::of(parameters)?;
    let continuation = Continuation::of(parameters)?;
    let table = context.state.route_tables.get(parameters.required("RouteTableId")?);
    let table = table.filter(|table| context.state.region_of(&table.network) == Some(region)).ok_or_else(no_table)?;
    let kind = parameters.text("RouteEntryType");
    let family = parameters.text("IpVersion").is_none_or(|version| version.eq_ignore_ascii_case("ipv4"));
    let destinations = parameters.list("DestCidrBlockList");
    let asked = |entry: &Value| {
        let field = |name: &str| entry[name].as_str().unwrap_or_default();
        let hops = entry["NextHops"]["NextHop"].as_array();
        let hop = |name: &str, parameter: &str| {
            hops.is_some_and(|hops| {
                hops.iter().any(|hop| is_asked(parameters, parameter, hop[name].as_str().unwrap_or_default()))
            })
        };
        family
            && is_asked(parameters, "RouteEntryId", field("RouteEntryId"))
            && is_asked(parameters, "DestinationCidrBlock", field("DestinationCidrBlock"))
            && (destinations.is_empty() || destinations.contains(&field("DestinationCidrBlock")))
            && is_asked(parameters, "RouteEntryName", field("RouteEntryName"))
            && is_asked(parameters, "ServiceType", field("ServiceType"))
            && kind.is_none_or(|kind| kind == field("Type"))
            && hop("NextHopType", "NextHopType")
            && hop("NextHopId", "NextHopId")
    };
    let entries: Vec<(String, Value)> = entries(context, table).into_iter().filter(|(_, entry)| asked(entry)).collect();
    let (total, limit) = (entries.len(), continuation.limit());
    let (entries, token) = continuation.of_items(entries);
    Ok(Answer::Read(json!({
        "NextToken": token,
        "TotalCount": total,
        "MaxResult": limit,
        "RouteEntrys": wrapped("RouteEntry", entries),
    })))
}

/// What a table holds and what it receives of what its network has learned from CEN, each with a key that keeps its place.
pub(super) fn entries(context: &Context<'_>, table: &RouteTable) -> Vec<(String, Value)> {
    let state = context.state;
    let own =
        table.entries.values().map(|entry| (key(entry.destination, entry.id.as_str()), own(context, table, entry)));
    let learned = taken_routes(state, &table.network);
    let learned = learned.iter().filter(|route| receives(table, route));
    let learned = learned.map(|route| (key(route.destination, route.publisher.as_str()), learned_entry(table, route)));
    own.chain(learned).collect()
}

/// Entries are ordered by destination, numerically.
pub(super) fn key(destination: ipnet::Ipv4Net, rest: &str) -> String {
    format!("{:08x}/{:02} {rest}", u32::from(destination.network()), destination.prefix_len())
}

fn own(context: &Context<'_>, table: &RouteTable, entry: &RouteEntry) -> Value {
    let state = context.state;
    let row = entry.kind.row();
    let next_hop = match entry.kind {
        // The API shows no instance behind the cloud's own routes.
        RouteKind::VSwitch | RouteKind::Service => "",
        _ => entry.next_hop.as_str(),
    };
    let hop = |id: &str, weight: u8| {
        json!({
            "NextHopType": row.next_hop_type,
            "NextHopId": id,
            "NextHopRegionId": state.region_of(&table.network).unwrap_or_default(),
            "Enabled": 1,
            "Weight": weight,
        })
    };
    let hops = match entry.next_hops.is_empty() {
        true => vec![hop(next_hop, 0)],
        false => entry.next_hops.iter().map(|one| hop(&one.id, one.weight)).collect(),
    };
    json!({
        "RouteEntryId": entry.id.as_str(),
        "RouteEntryName": entry.name,
        "DestinationCidrBlock": entry.destination.to_string(),
        "Type": row.route_type,
        "Status": context.realism.status(Kind::RouteEntry, entry.id.as_str(), "Available"),
        "RouteTableId": table.id.as_str(),
        "IpVersion": "ipv4",
        "Description": entry.description,
        "GmtModified": time_in_seconds(entry.created),
        "Origin": "RouteTable",
        "ServiceType": "",
        "NextHops": wrapped("NextHop", hops),
    })
}

fn learned_entry(table: &RouteTable, route: &LearnedRoute) -> Value {
    let publisher_type = route.publisher.kind().api_name();
    let hop = json!({
        "NextHopType": publisher_type,
        "NextHopId": route.publisher.as_str(),
        "NextHopRegionId": route.publisher_region,
        "Enabled": 1,
        "Weight": 0,
        "NextHopRelatedInfo": {
            "InstanceId": route.publisher.as_str(),
            "InstanceType": publisher_type,
            "RegionId": route.publisher_region,
        },
    });
    json!({
        "RouteEntryId": "",
        "RouteEntryName": "",
        "DestinationCidrBlock": route.destination.to_string(),
        "Type": "CEN",
        "Status": "Available",
        "RouteTableId": table.id.as_str(),
        "IpVersion": "ipv4",
        "Description": "",
        "Origin": "RouteTable",
        "ServiceType": "",
        "NextHops": wrapped("NextHop", vec![hop]),
    })
}
