//! Route tables of VPCs and VBRs, and the custom tables of VPCs.

use serde_json::{Value, json};

use super::action::{Action, Answer, Context, VPC};
use super::field::{has_tags, is_asked, label, optional_label, tags, tags_json, tags_row, time_in_seconds};
use super::paging::{PAGE_NUMBER, Page, page_size, wrapped};
use super::parameter::Kind::{Boolean, Label, Offered, RegionId, Text, Word};
use super::parameter::{Parameter, optional, required};
use super::region;
use super::route_entry;
use super::rpc::Parameters;
use super::vpc::{self, OWNER, table_type};
use super::vswitch;
use crate::cen::command::{AssociateRouteTable, Command, CreateRouteTable};
use crate::cen::error::ApiError;
use crate::cen::identifier::RouteTableId;
use crate::cen::network::{NetworkId, NetworkKind};
use crate::cen::realism::{
    Kind, OPERATION_CONFLICT, ROUTE_TABLE_STATUS, STATUS, STATUS_OF_ROUTE_TABLE, VSWITCH_STATUS,
};
use crate::cen::resource::{ModifyAttributes, ResourceId};
use crate::cen::route::RouteTable;
use crate::cen::state::State;

/// This resource's rows of the action table.
pub static ACTIONS: &[Action] = &[
    Action {
        version: VPC,
        name: "DescribeRouteTableList",
        parameters: &[
            required("RegionId", RegionId),
            PAGE_NUMBER,
            page_size(50),
            optional("VpcId", Text),
            optional("RouteTableId", Text),
            optional("RouteTableName", Text),
            optional("RouterId", Text),
            tags_row("Tag"),
            optional("RouterType", Word(ROUTER_TYPES)),
            optional("RouteTableType", Word(&["System", "Custom"])),
            optional("ResourceGroupId", Text),
        ],
        handler: list,
        busy: &[],
    },
    Action {
        version: VPC,
        name: "DescribeRouteTables",
        parameters: &[
            optional("RegionId", RegionId),
            PAGE_NUMBER,
            page_size(50),
            optional("RouteTableId", Text),
            optional("VRouterId", Text),
            optional("RouterId", Text),
            optional("RouteTableName", Text),
            optional("Type", Word(&["System", "Custom"])),
            optional("ResourceGroupId", Text),
            optional("RouterType", Word(ROUTER_TYPES)),
        ],
        handler: describe,
        busy: &[],
    },
    Action {
        version: VPC,
        name: "ModifyRouteTableAttributes",
        parameters: &[
            optional("RegionId", RegionId),
            required("RouteTableId", Text),
            optional("RouteTableName", Label(128)),
            optional("Description", Label(256)),
            optional("RoutePropagationEnable", Boolean),
        ],
        handler: modify,
        busy: &[OPERATION_CONFLICT, STATUS],
    },
    Action {
        version: VPC,
        name: "CreateRouteTable",
        parameters: &[
            required("RegionId", RegionId),
            required("VpcId", Text),
            optional("RouteTableName", Label(128)),
            optional("Description", Label(256)),
            optional("AssociateType", Offered(&[ASSOCIATE_TYPE], &["Gateway"])),
            tags_row("Tag"),
        ],
        handler: create,
        busy: &[OPERATION_CONFLICT, STATUS],
    },
    Action {
        version: VPC,
        name: "DeleteRouteTable",
        parameters: &[required("RegionId", RegionId), required("RouteTableId", Text)],
        handler: delete,
        busy: &[ROUTE_TABLE_STATUS, OPERATION_CONFLICT],
    },
    Action {
        version: VPC,
        name: "AssociateRouteTable",
        parameters: ASSOCIATION,
        handler: associate,
        busy: &[OPERATION_CONFLICT, STATUS_OF_ROUTE_TABLE, VSWITCH_STATUS],
    },
    Action {
        version: VPC,
        name: "UnassociateRouteTable",
        parameters: ASSOCIATION,
        handler: unassociate,
        busy: &[OPERATION_CONFLICT, STATUS_OF_ROUTE_TABLE, VSWITCH_STATUS],
    },
];

const ROUTER_TYPES: &[&str] = &["VRouter", "VBR"];

/// What a custom table is for.
const ASSOCIATE_TYPE: &str = "VSwitch";

const ASSOCIATION: &[Parameter] =
    &[required("RegionId", RegionId), required("RouteTableId", Text), required("VSwitchId", Text)];

fn list(parameters: &Parameters, context: &mut Context<'_>) -> Result<Answer, ApiError> {
    let (region, page) = (region::of(parameters)?, Page::of(parameters)?);
    let kind = parameters.text("RouteTableType");
    let router_type = parameters.text("RouterType");
    let asked_tags = tags(parameters, "Tag")?;
    let state = context.state;
    let asked = |table: &&RouteTable| {
        state.region_of(&table.network) == Some(region)
            && kind.is_none_or(|kind| kind == table_type(state, table))
            && router_type.is_none_or(|asked| asked == self::router_type(table))
            && is_asked(parameters, "RouteTableId", table.id.as_str())
            && is_asked(parameters, "RouteTableName", &table.name)
            && is_asked(parameters, "RouterId", router(state, table))
            && is_asked(parameters, "VpcId", vpc_id(table))
            && is_asked(parameters, "ResourceGroupId", state.resource_group(table.network.as_str()))
            && has_tags(&table.tags, &asked_tags)
    };
    let tables = state.route_tables.values().filter(asked);
    let shown = |table: &RouteTable| {
        json!({
            "RouteTableId": table.id.as_str(),
            "RouteTableName": table.name,
            "RouteTableType": table_type(state, table),
            "RouterId": router(state, table),
            "RouterType": self::router_type(table),
            "VpcId": vpc_id(table),
            "Status": context.realism.status(Kind::RouteTable, table.id.as_str(), "Available"),
            "CreationTime": time_in_seconds(table.created),
            "VSwitchIds": wrapped("VSwitchId", vswitch_ids(state, table)),
            "AssociateType": ASSOCIATE_TYPE,
            "RoutePropagationEnable": table.route_propagation,
            "GatewayIds": wrapped("GatewayIds", Vec::new()),
            "Description": table.description,
            "OwnerId": OWNER,
            "ResourceGroupId": state.resource_group(table.network.as_str()),
            "Tags": tags_json(&table.tags),
        })
    };
    Ok(Answer::Read(page.of_each(tables, shown, "RouterTableList", "RouterTableListType")))
}

fn describe(parameters: &Parameters, context: &mut Context<'_>) -> Result<Answer, ApiError> {
    let page = Page::of(parameters)?;
    let region = region::named(parameters, "RegionId")?;
    let named = ["RouteTableId", "VRouterId", "RouterId"].iter().any(|name| parameters.text(name).is_some());
    if !named && region.is_none() {
        return Err(ApiError::missing("RouteTableId"));
    }
    let router_type = parameters.text("RouterType");
    let state = context.state;
    let asked = |table: &&RouteTable| {
        region.is_none_or(|region| state.region_of(&table.network) == Some(region))
            && router_type.is_none_or(|asked| asked == self::router_type(table))
            && is_asked(parameters, "RouteTableId", table.id.as_str())
            && is_asked(parameters, "RouteTableName", &table.name)
            && is_asked(parameters, "Type", table_type(state, table))
            && is_asked(parameters, "VRouterId", router(state, table))
            && is_asked(parameters, "RouterId", router(state, table))
            && is_asked(parameters, "ResourceGroupId", state.resource_group(table.network.as_str()))
    };
    let tables = state.route_tables.values().filter(asked);
    let shown = |table: &RouteTable| {
        let entries = route_entry::entries(context, table).into_iter().map(|(_, entry)| with_flat_next_hop(entry));
        json!({
            "RouteTableId": table.id.as_str(),
            "RouteTableType": table_type(state, table),
            "VRouterId": router(state, table),
            "Status": context.realism.status(Kind::RouteTable, table.id.as_str(), "Available"),
            "CreationTime": time_in_seconds(table.created),
            "RouteEntrys": wrapped("RouteEntry", entries.collect()),
            "VSwitchIds": wrapped("VSwitchId", vswitch_ids(state, table)),
            "ResourceGroupId": state.resource_group(table.network.as_str()),
        })
    };
    Ok(Answer::Read(page.of_each(tables, shown, "RouteTables", "RouteTable")))
}

fn modify(parameters: &Parameters, context: &mut Context<'_>) -> Result<Answer, ApiError> {
    let table = RouteTableId::from(parameters.required("RouteTableId")?);
    route_entry::check_region(parameters, context.state, &table)?;
    let modify = ModifyAttributes {
        resource: ResourceId::RouteTable(table),
        name: optional_label(parameters, "RouteTableName"),
        description: optional_label(parameters, "Description"),
        auto_propagate: None,
        route_propagation: parameters.boolean("RoutePropagationEnable")?,
    };
    Ok(Answer::Write { command: Command::ModifyAttributes(modify), response: json!({}) })
}

fn create(parameters: &Parameters, context: &mut Context<'_>) -> Result<Answer, ApiError> {
    let create = CreateRouteTable {
        id: RouteTableId::generate(&context.seed()),
        vpc: vpc::here(parameters, context.state)?,
        name: label(parameters, "RouteTableName"),
        description: label(parameters, "Description"),
        tags: tags(parameters, "Tag")?,
    };
    let response = json!({"RouteTableId": create.id.as_str()});
    Ok(Answer::Write { command: Command::CreateRouteTable(create), response })
}

fn delete(parameters: &Parameters, context: &mut Context<'_>) -> Result<Answer, ApiError> {
    let route_table = RouteTableId::from(parameters.required("RouteTableId")?);
    route_entry::check_region(parameters, context.state, &route_table)?;
    Ok(Answer::Write { command: Command::DeleteRouteTable { route_table }, response: json!({}) })
}

fn associate(parameters: &Parameters, context: &mut Context<'_>) -> Result<Answer, ApiError> {
    let command = Command::AssociateRouteTable(association(parameters, context.state)?);
    Ok(Answer::Write { command, response: json!({}) })
}

fn unassociate(parameters: &Parameters, context: &mut Context<'_>) -> Result<Answer, ApiError> {
    let command = Command::UnassociateRouteTable(association(parameters, context.state)?);
    Ok(Answer::Write { command, response: json!({}) })
}

fn association(parameters: &Parameters, state: &State) -> Result<AssociateRouteTable, ApiError> {
    let route_table = RouteTableId::from(parameters.required("RouteTableId")?);
    route_entry::check_region(parameters, state, &route_table)?;
    Ok(AssociateRouteTable { route_table, vswitch: vswitch::here(parameters, state)? })
}

/// The older action shows the next hop beside the list of next hops too.
fn with_flat_next_hop(mut entry: Value) -> Value {
    let hop = entry["NextHops"]["NextHop"][0].clone();
    entry["NextHopType"] = hop["NextHopType"].clone();
    entry["InstanceId"] = hop["NextHopId"].clone();
    entry
}

/// The VRouter of a VPC, or the VBR itself.
fn router<'a>(state: &'a State, table: &'a RouteTable) -> &'a str {
    match &table.network {
        NetworkId::Vpc(id) => state.vpcs.get(id).map_or("", |vpc| vpc.router.as_str()),
        NetworkId::Vbr(id) => id.as_str(),
    }
}

fn router_type(table: &RouteTable) -> &'static str {
    match table.network.kind() {
        NetworkKind::Vpc => "VRouter",
        NetworkKind::Vbr => "VBR",
    }
}

fn vpc_id(table: &RouteTable) -> &str {
    match &table.network {
        NetworkId::Vpc(id) => id.as_str(),
        NetworkId::Vbr(_) => "",
    }
}

fn vswitch_ids(state: &State, table: &RouteTable) -> Vec<Value> {
    state.vswitches_by(table).map(|vswitch| vswitch.id.as_str().into()).collect()
}
