//! Route maps of CEN instances.

use serde_json::{Value, json};

use super::action::{Action, Answer, CBN, Context};
use super::field::{is_asked, label, parse_cidr};
use super::paging::{PAGE_NUMBER, Page, page_size, wrapped};
use super::parameter::Kind::{Boolean, Integer, Label, List, RegionId, Text, Word};
use super::parameter::{Parameter, optional, refused, required};
use super::rpc::Parameters;
use crate::cen::command::{Command, RouteMapCommand};
use crate::cen::error::ApiError;
use crate::cen::identifier::{CenId, RouteMapId};
use crate::cen::plan::attachment::cen;
use crate::cen::realism::{BLOCKING, Kind, ROUTE_MAP_STATUS};
use crate::cen::route_map::{Actions, Conditions, Direction, EndConditions, Instances, MatchMode, RouteMap};

/// This resource's rows of the action table.
pub static ACTIONS: &[Action] = &[
    Action { version: CBN, name: "CreateCenRouteMap", parameters: CREATE, handler: create, busy: &[BLOCKING] },
    Action { version: CBN, name: "ModifyCenRouteMap", parameters: MODIFY, handler: modify, busy: &[] },
    Action {
        version: CBN,
        name: "DeleteCenRouteMap",
        parameters: &[required("CenId", Text), required("CenRegionId", RegionId), required("RouteMapId", Text)],
        handler: delete,
        busy: &[BLOCKING, ROUTE_MAP_STATUS],
    },
    Action {
        version: CBN,
        name: "DescribeCenRouteMaps",
        parameters: &[
            PAGE_NUMBER,
            page_size(50),
            required("CenId", Text),
            optional("CenRegionId", RegionId),
            optional("RouteMapId", Text),
            DIRECTION,
            refused("TransitRouterRouteTableId"),
        ],
        handler: describe,
        busy: &[],
    },
];

const DIRECTION: Parameter = optional("TransmitDirection", Word(&["RegionIn", "RegionOut"]));
const MODES: &[&str] = &["Include", "Complete"];
/// Entries of one list at most.
const LIST: usize = 32;

/// What both writing actions take, after the rows of their own.
macro_rules! rows {
    ($($own:expr),*) => {
        &[
            required("CenId", Text),
            required("CenRegionId", RegionId),
            $($own,)*
            required("Priority", Integer(1, 100)),
            required("MapResult", Word(&["Permit", "Deny"])),
            optional("NextPriority", Integer(1, 100)),
            optional("Description", Label(256)),
            optional("SourceRegionIds", List),
            optional("SourceInstanceIds", List),
            optional("SourceInstanceIdsReverseMatch", Boolean),
            optional("SourceRouteTableIds", List),
            optional("SourceChildInstanceTypes", List),
            optional("DestinationRegionIds", List),
            optional("DestinationInstanceIds", List),
            optional("DestinationInstanceIdsReverseMatch", Boolean),
            optional("DestinationRouteTableIds", List),
            optional("DestinationChildInstanceTypes", List),
            optional("DestinationCidrBlocks", List),
            optional("CidrMatchMode", Word(MODES)),
            optional("RouteTypes", List),
            optional("MatchAsns", List),
            optional("AsPathMatchMode", Word(MODES)),
            optional("MatchCommunitySet", List),
            optional("CommunityMatchMode", Word(MODES)),
            optional("MatchAddressType", Word(&["IPv4", "IPv6"])),
            optional("Preference", Integer(1, 100)),
            optional("PrependAsPath", List),
            optional("CommunityOperateMode", Word(&["Additive", "Replace"])),
            optional("OperateCommunitySet", List),
        ]
    };
}

const CREATE: &[Parameter] =
    rows!(required("TransmitDirection", Word(&["RegionIn", "RegionOut"])), refused("TransitRouterRouteTableId"));
const MODIFY: &[Parameter] = rows!(required("RouteMapId", Text));

fn create(parameters: &Parameters, context: &mut Context<'_>) -> Result<Answer, ApiError> {
    let id = RouteMapId::generate(&context.seed());
    let direction = Direction::from_api_name(parameters.required("TransmitDirection")?);
    let direction = direction.ok_or_else(|| parameters.invalid("TransmitDirection"))?;
    let response = json!({"RouteMapId": id.as_str()});
    let command = RouteMapCommand::Create(Box::new(map(parameters, id, direction)?));
    Ok(Answer::Write { command: Command::RouteMap(command), response })
}

/// A map gets all of its attributes anew: lists that are not given are empty from then on.
fn modify(parameters: &Parameters, context: &mut Context<'_>) -> Result<Answer, ApiError> {
    let id = RouteMapId::from(parameters.required("RouteMapId")?);
    let present = context.state.route_maps.get(&id);
    let direction = present.map_or(Direction::RegionIn, |present| present.direction);
    let command = RouteMapCommand::Modify(Box::new(map(parameters, id, direction)?));
    Ok(Answer::Write { command: Command::RouteMap(command), response: json!({}) })
}

fn delete(parameters: &Parameters, _: &mut Context<'_>) -> Result<Answer, ApiError> {
    let command = RouteMapCommand::Delete {
        cen: parameters.required("CenId")?.into(),
        region: parameters.required("CenRegionId")?.to_owned(),
        id: parameters.required("RouteMapId")?.into(),
    };
    Ok(Answer::Write { command: Command::RouteMap(command), response: json!({}) })
}

fn map(parameters: &Parameters, id: RouteMapId, direction: Direction) -> Result<RouteMap, ApiError> {
    Ok(RouteMap {
        id,
        cen: parameters.required("CenId")?.into(),
        region: parameters.required("CenRegionId")?.to_owned(),
        direction,
        priority: parameters.parsed("Priority")?.ok_or_else(|| parameters.missing("Priority"))?,
        permits: parameters.required("MapResult")? == "Permit",
        next_priority: parameters.parsed("NextPriority")?,
        description: label(parameters, "Description"),
        conditions: Conditions {
            source: end(parameters, "Source")?,
            destination: end(parameters, "Destination")?,
            blocks: each(parameters, "DestinationCidrBlocks", parse_cidr)?,
            block_mode: mode(parameters, "CidrMatchMode"),
            route_types: words(parameters, "RouteTypes", &["System", "Custom", "BGP"])?,
            as_path: each(parameters, "MatchAsns", as_number)?,
            as_path_mode: mode(parameters, "AsPathMatchMode"),
            communities: each(parameters, "MatchCommunitySet", community)?,
            community_mode: mode(parameters, "CommunityMatchMode"),
            address_type: label(parameters, "MatchAddressType"),
        },
        actions: Actions {
            preference: parameters.parsed("Preference")?,
            prepend: each(parameters, "PrependAsPath", as_number)?,
            communities: each(parameters, "OperateCommunitySet", community)?,
            replaces_communities: parameters.text("CommunityOperateMode") == Some("Replace"),
        },
    })
}

/// The conditions whose names begin with `Source` or `Destination`.
fn end(parameters: &Parameters, side: &str) -> Result<EndConditions, ApiError> {
    let name = |rest: &str| format!("{side}{rest}");
    let text = |text: &str| Some(text.to_owned());
    Ok(EndConditions {
        regions: each(parameters, &name("RegionIds"), text)?,
        instances: Instances {
            ids: each(parameters, &name("InstanceIds"), text)?,
            reversed: parameters.boolean(&name("InstanceIdsReverseMatch"))?.unwrap_or(false),
        },
        route_tables: each(parameters, &name("RouteTableIds"), text)?,
        types: words(parameters, &name("ChildInstanceTypes"), &["VPC", "VBR", "CCN", "VPN"])?,
    })
}

fn each<T>(parameters: &Parameters, name: &str, read: impl Fn(&str) -> Option<T>) -> Result<Vec<T>, ApiError> {
    let list = parameters.list(name);
    if list.len() > LIST {
        return Err(parameters.invalid(name));
    }
    list.into_iter().map(|text| read(text).ok_or_else(|| parameters.invalid(name))).collect()
}

fn words(parameters: &Parameters, name: &str, known: &[&str]) -> Result<Vec<String>, ApiError> {
    each(parameters, name, |word| known.contains(&word).then(|| word.to_owned()))
}

fn as_number(text: &str) -> Option<u32> {
    text.parse().ok().filter(|number| *number > 0)
}

/// `n:m`, each from 1 to 65535 (RFC 1997).
fn community(text: &str) -> Option<String> {
    let (n, m) = text.split_once(':')?;
    let (n, m): (u16, u16) = (n.parse().ok()?, m.parse().ok()?);
    (n > 0 && m > 0).then(|| format!("{n}:{m}"))
}

fn mode(parameters: &Parameters, name: &str) -> MatchMode {
    if parameters.text(name) == Some("Complete") { MatchMode::Complete } else { MatchMode::Include }
}

fn describe(parameters: &Parameters, context: &mut Context<'_>) -> Result<Answer, ApiError> {
    let page = Page::of(parameters)?;
    let id = CenId::from(parameters.required("CenId")?);
    cen(context.state, &id)?;
    let asked = |map: &&RouteMap| {
        is_asked(parameters, "CenRegionId", &map.region)
            && is_asked(parameters, "RouteMapId", map.id.as_str())
            && is_asked(parameters, "TransmitDirection", map.direction.api_name())
    };
    let mut maps: Vec<&RouteMap> = context.state.route_maps_of(&id).filter(asked).collect();
    maps.sort_by_key(|map| RouteMapCommand::place(map));
    Ok(Answer::Read(page.of_each(maps, |map| shown(context, map), "RouteMaps", "RouteMap")))
}

fn shown(context: &Context<'_>, map: &RouteMap) -> Value {
    let RouteMap { id, cen, region, direction, priority, permits, next_priority, description, conditions, actions } =
        map;
    let mut object = json!({
        "RouteMapId": id.as_str(),
        "CenId": cen.as_str(),
        "CenRegionId": region,
        "TransmitDirection": direction.api_name(),
        "Priority": priority,
        "MapResult": if *permits { "Permit" } else { "Deny" },
        "Description": description,
        "Status": context.realism.status(Kind::RouteMap, id.as_str(), "Active"),
        "DestinationCidrBlocks": texts("DestinationCidrBlock", &conditions.blocks),
        "CidrMatchMode": mode_name(conditions.block_mode),
        "RouteTypes": texts("RouteType", &conditions.route_types),
        "MatchAsns": texts("MatchAsn", &conditions.as_path),
        "AsPathMatchMode": mode_name(conditions.as_path_mode),
        "MatchCommunitySet": texts("MatchCommunity", &conditions.communities),
        "CommunityMatchMode": mode_name(conditions.community_mode),
        "MatchAddressType": conditions.address_type,
        "PrependAsPath": texts("AsPath", &actions.prepend),
        "CommunityOperateMode": if actions.replaces_communities { "Replace" } else { "Additive" },
        "OperateCommunitySet": texts("OperateCommunity", &actions.communities),
        "TransitRouterRouteTableId": "",
    });
    for (side, end) in [("Source", &conditions.source), ("Destination", &conditions.destination)] {
        let mut list = |plural: &str, values: &[String]| {
            let singular = plural.trim_end_matches('s');
            object[format!("{side}{plural}")] = texts(&format!("{side}{singular}"), values);
        };
        list("RegionIds", &end.regions);
        list("InstanceIds", &end.instances.ids);
        list("RouteTableIds", &end.route_tables);
        list("ChildInstanceTypes", &end.types);
        object[format!("{side}InstanceIdsReverseMatch")] = end.instances.reversed.into();
    }
    // Numbers that were not given are not shown.
    if let Some(next) = next_priority {
        object["NextPriority"] = (*next).into();
    }
    if let Some(preference) = actions.preference {
        object["Preference"] = preference.into();
    }
    object
}

fn mode_name(mode: MatchMode) -> &'static str {
    match mode {
        MatchMode::Include => "Include",
        MatchMode::Complete => "Complete",
    }
}

fn texts(inner: &str, values: &[impl ToString]) -> Value {
    wrapped(inner, values.iter().map(|value| value.to_string().into()).collect())
}
