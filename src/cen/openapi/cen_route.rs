//! Routes as CEN sees them: a region's table of what is published, and a child instance's own and learned routes.

use std::cell::OnceCell;

use serde_json::{Value, json};

use super::action::{Action, Answer, CBN, Context};
use super::attachment::{CHILD_TYPE, child, kind};
use super::paging::{PAGE_NUMBER, Page, page_size, wrapped};
use super::parameter::Kind::{RegionId, Text, Word};
use super::parameter::{optional, required};
use super::published_route::{CONFLICTS, conflicts_shown};
use super::rpc::Parameters;
use crate::cen::command::ChildInstance;
use crate::cen::conflict::{Conflicts, at_learner, with_own_entry};
use crate::cen::error::ApiError;
use crate::cen::identifier::CenId;
use crate::cen::index::Offer;
use crate::cen::learn::{LearnedRoute, Offers, View};
use crate::cen::plan::attachment::{attached_table, cen};
use crate::cen::propagation::receives;
use crate::cen::publish::status_in_table;
use crate::cen::route::{RouteEntry, RouteTable};
use crate::cen::route_map::Direction;
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
        busy: &[],
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
        busy: &[],
    },
];

const STATUSES: &[&str] = &["Active", "Candidate", "Rejected", "Prohibited", "All"];

/// Every published route that comes to the region's gateway, with its publisher as the next hop.
fn describe_region(parameters: &Parameters, context: &mut Context<'_>) -> Result<Answer, ApiError> {
    let page = Page::of(parameters)?;
    let id = CenId::from(parameters.required("CenId")?);
    cen(context.state, &id)?;
    let status = parameters.text("Status").unwrap_or("Active");
    let view = View::of_region(context.state, &id, parameters.required("CenRegionId")?);
    let Some(view) = view else {
        return Ok(Answer::Read(page.of_items(Vec::new(), "CenRouteEntries", "CenRouteEntry")));
    };
    let Offers { count, offers } = view.offers(asked(status));
    let shown = |route: LearnedRoute| {
        let mut object = published(&route);
        let goes_on = view.goes_to_other_regions(&route);
        object["ToOtherRegionStatus"] = if goes_on { "Active" } else { "Prohibited" }.into();
        object["Preference"] = route.attributes.preference.into();
        object["CenOutRouteMapRecords"] = maps_met(&route, Direction::RegionOut, "CenOutRouteMapRecord");
        object
    };
    let routes = offers.skip(page.start()).take(page.size()).filter_map(|offer| view.route(offer));
    Ok(Answer::Read(page.of_total(count, routes.map(shown).collect(), "CenRouteEntries", "CenRouteEntry")))
}

/// The status that routes have to have; `All`: any.
fn asked(status: &str) -> Option<&str> {
    Some(status).filter(|status| *status != "All")
}

/// What both actions show of a published route.
fn published(route: &LearnedRoute) -> Value {
    let texts = |texts: Vec<String>| texts.into_iter().map(Value::from).collect::<Vec<_>>();
    json!({
        "DestinationCidrBlock": route.destination,
        "Type": "CEN",
        "NextHopType": route.publisher.kind().api_name(),
        "NextHopInstanceId": route.publisher.as_str(),
        "NextHopRegionId": route.publisher_region,
        "Status": route.status.api_name(),
        "AsPaths": wrapped("AsPath", texts(route.attributes.as_path.iter().map(u32::to_string).collect())),
        "Communities": wrapped("Community", texts(route.attributes.communities.clone())),
        "CenRouteMapRecords": maps_met(route, Direction::RegionIn, "CenRouteMapRecord"),
    })
}

/// The maps of one direction that the route has met and that permitted it.
fn maps_met(route: &LearnedRoute, direction: Direction, inner: &str) -> Value {
    let met = route.attributes.met.iter().filter(|(at, ..)| *at == direction);
    let shown = met.map(|(_, region, id)| json!({"RegionId": region, "RouteMapId": id.as_str()}));
    wrapped(inner, shown.collect())
}

fn describe_child(parameters: &Parameters, context: &mut Context<'_>) -> Result<Answer, ApiError> {
    let (state, page) = (context.state, Page::of(parameters)?);
    let child = child_in_any_region(parameters, state)?;
    let system = attached_table(state, &child)?;
    let named = parameters.text("ChildInstanceRouteTableId").map_or(Some(system), |id| state.route_tables.get(id));
    let Some(table) = named.filter(|table| table.network == child.network) else {
        return Ok(Answer::Read(page.of_items(Vec::new(), "CenRouteEntries", "CenRouteEntry")));
    };
    let status = asked(parameters.text("Status").unwrap_or("All"));
    let active = status.is_none_or(|status| status == "Active");
    let mut own: Vec<&RouteEntry> = table.entries.values().filter(|_| active).collect();
    own.sort_by_key(|entry| entry.destination);
    let view = View::of_network(state, &child.network);
    let learned = match &view {
        Some(view) if table.id == system.id => view.offers(status),
        Some(view) if active => received(table, view),
        _ => Offers { count: 0, offers: Box::new(std::iter::empty()) },
    };
    let total = own.len() + learned.count;
    let rows = merged(own, learned.offers).skip(page.start()).take(page.size());
    let conflicts = OnceCell::new();
    let shown = |row| match row {
        Row::Own(entry) => {
            let conflicts = conflicts.get_or_init(|| Conflicts::of(state, &child.network));
            own_shown(state, table, entry, view.as_ref().zip(conflicts.as_ref()))
        }
        Row::Learned(offer) => {
            let route = view.as_ref().and_then(|view| view.route(offer));
            route.map(|route| learned_shown(state, table, &route)).unwrap_or_default()
        }
    };
    Ok(Answer::Read(page.of_total(total, rows.map(shown).collect(), "CenRouteEntries", "CenRouteEntry")))
}

/// Of what a network uses of its learned routes, those that a custom table receives.
fn received<'v>(table: &RouteTable, view: &'v View<'_>) -> Offers<'v> {
    let active = view.offers(Some("Active")).offers;
    let received = |offer: &Offer| view.route(*offer).is_some_and(|route| receives(table, &route));
    let offers: Vec<Offer> = active.filter(received).collect();
    Offers { count: offers.len(), offers: Box::new(offers.into_iter()) }
}

/// Own entries and learned routes, both in the order of destinations, in this order: of one destination the own entry first.
fn merged<'a>(own: Vec<&'a RouteEntry>, learned: impl Iterator<Item = Offer>) -> impl Iterator<Item = Row<'a>> {
    let (mut own, mut learned) = (own.into_iter().peekable(), learned.peekable());
    std::iter::from_fn(move || match (own.peek(), learned.peek()) {
        (Some(entry), Some(offer)) if entry.destination > offer.destination => learned.next().map(Row::Learned),
        (Some(_), _) => own.next().map(Row::Own),
        (None, _) => learned.next().map(Row::Learned),
    })
}

/// What stands in a child instance's table.
enum Row<'a> {
    Own(&'a RouteEntry),
    Learned(Offer),
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

fn own_shown<'a>(
    state: &'a State,
    table: &RouteTable,
    entry: &RouteEntry,
    attached: Option<(&View<'a>, &Conflicts<'a>)>,
) -> Value {
    let (network, row) = (&table.network, entry.kind.row());
    // CEN knows nothing of what stands in a custom table.
    let custom = state.is_custom(table);
    let mut records = Vec::new();
    if let Some((view, conflicts)) = attached.filter(|_| !custom) {
        records = with_own_entry(state, view, entry.destination, CONFLICTS);
        records.extend(conflicts.to(entry.destination, CONFLICTS));
    }
    records.sort();
    records.dedup();
    records.truncate(CONFLICTS);
    let as_path = entry.as_path.iter().map(|number| number.to_string().into()).collect();
    json!({
        "DestinationCidrBlock": entry.destination,
        "Type": row.route_type,
        "NextHopType": row.next_hop_type,
        "NextHopInstanceId": entry.next_hop,
        "NextHopRegionId": state.region_of(network).unwrap_or_default(),
        "OperationalMode": row.withdrawable && !custom,
        "PublishStatus": status_in_table(state, table, entry).api_name(),
        "RouteTableId": table.id.as_str(),
        "Status": "Active",
        "Conflicts": conflicts_shown(&records),
        "AsPaths": wrapped("AsPath", as_path),
        "Communities": wrapped("Community", Vec::new()),
        "CenRouteMapRecords": wrapped("CenRouteMapRecord", Vec::new()),
    })
}

fn learned_shown(state: &State, table: &RouteTable, route: &LearnedRoute) -> Value {
    let conflicts: Vec<_> = at_learner(state, &table.network, route).into_iter().collect();
    let mut object = published(route);
    object["OperationalMode"] = false.into();
    object["RouteTableId"] = table.id.as_str().into();
    object["Conflicts"] = conflicts_shown(&conflicts);
    object
}
