//! vSwitches.

use serde_json::{Value, json};

use super::action::{Action, Answer, Context, VPC};
use super::field::{self, label, tags, tags_json, tags_row, time_in_seconds};
use super::paging::{PAGE_NUMBER, Page, page_size, wrapped};
use super::parameter::Kind::{Always, Boolean, Cidr, Label, RegionId, Text};
use super::parameter::{ignored, optional, refused, required};
use super::region::{self, Region};
use super::rpc::Parameters;
use super::vpc::{OWNER, table_type};
use crate::cen::command::{Command, CreateVSwitch};
use crate::cen::error::ApiError;
use crate::cen::identifier::{RouteEntryId, VSwitchId, VpcId};
use crate::cen::network::VSwitch;
use crate::cen::realism::{
    CREATE_VSWITCH_CEN, DELETE_VSWITCH_CEN, Kind, OPERATION_CONFLICT, ROUTE_ENTRY_STATUS, STATUS_OF_VSWITCH,
    TASK_CONFLICT, VSWITCH_STATUS,
};
use crate::cen::resource::ResourceId;
use crate::cen::state::State;

/// This resource's rows of the action table.
pub static ACTIONS: &[Action] = &[
    Action {
        version: VPC,
        name: "CreateVSwitch",
        parameters: &[
            optional("RegionId", RegionId),
            required("VpcId", Text),
            required("ZoneId", Text),
            required("CidrBlock", Cidr),
            optional("VSwitchName", Label(128)),
            optional("Description", Label(256)),
            tags_row("Tag"),
            refused("CidrMask"),
            refused("Ipv6CidrMask"),
            refused("Ipv6CidrBlock"),
            refused("VpcIpv6CidrBlock"),
        ],
        handler: create,
        busy: &[TASK_CONFLICT, CREATE_VSWITCH_CEN, VSWITCH_STATUS],
    },
    Action {
        version: VPC,
        name: "DescribeVSwitches",
        parameters: &[
            optional("RegionId", RegionId),
            PAGE_NUMBER,
            page_size(50),
            optional("VpcId", Text),
            optional("VSwitchId", Text),
            optional("ZoneId", Text),
            optional("VSwitchName", Text),
            optional("EnableIpv6", Boolean),
            ignored("VSwitchOwnerId", Text),
            optional("RouteTableId", Text),
            tags_row("Tag"),
            optional("IsDefault", Boolean),
            optional("ResourceGroupId", Text),
        ],
        handler: describe,
        busy: &[],
    },
    Action {
        version: VPC,
        name: "DescribeVSwitchAttributes",
        parameters: &[optional("RegionId", RegionId), required("VSwitchId", Text)],
        handler: describe_attributes,
        busy: &[],
    },
    Action {
        version: VPC,
        name: "ModifyVSwitchAttribute",
        parameters: &[
            optional("RegionId", RegionId),
            required("VSwitchId", Text),
            optional("VSwitchName", Label(128)),
            optional("Description", Label(256)),
            optional("EnableIPv6", Always(false)),
            refused("Ipv6CidrMask"),
            refused("VpcIpv6CidrBlock"),
            refused("Ipv6CidrBlock"),
        ],
        handler: modify,
        busy: &[OPERATION_CONFLICT, STATUS_OF_VSWITCH],
    },
    Action {
        version: VPC,
        name: "DeleteVSwitch",
        parameters: &[optional("RegionId", RegionId), required("VSwitchId", Text)],
        handler: delete,
        busy: &[VSWITCH_STATUS, TASK_CONFLICT, DELETE_VSWITCH_CEN, ROUTE_ENTRY_STATUS],
    },
];

fn create(parameters: &Parameters, context: &mut Context<'_>) -> Result<Answer, ApiError> {
    let vpc = VpcId::from(parameters.required("VpcId")?);
    let zone = parameters.required("ZoneId")?.to_owned();
    if let Some(present) = context.state.vpcs.get(&vpc) {
        if !region::is_here(parameters, &present.region)? {
            return Err(ApiError::not_found("InvalidVpcId.NotFound", "Specified VPC does not exist."));
        }
        let region = Region::by_id(&present.region);
        if !region.is_some_and(|region| region.zones().any(|known| known == zone)) {
            return Err(ApiError::not_found("InvalidZoneId.NotFound", "Specified zone does not exist in the region."));
        }
    }
    let create = CreateVSwitch {
        id: VSwitchId::generate(&context.seed()),
        system_entry: RouteEntryId::generate(&context.seed()),
        vpc,
        zone,
        cidr: field::required_cidr(parameters, "CidrBlock")?,
        name: label(parameters, "VSwitchName"),
        description: label(parameters, "Description"),
        tags: tags(parameters, "Tag")?,
    };
    let response = json!({"VSwitchId": create.id.as_str()});
    Ok(Answer::Write { command: Command::CreateVSwitch(create), response })
}

fn describe(parameters: &Parameters, context: &mut Context<'_>) -> Result<Answer, ApiError> {
    let page = Page::of(parameters)?;
    let region = region::named(parameters, "RegionId")?;
    if region.is_none() && parameters.text("VpcId").is_none() {
        return Err(ApiError::not_supplied("regionId or vpcInstanceId"));
    }
    let default = parameters.boolean("IsDefault")?.unwrap_or(false);
    let ipv6 = parameters.boolean("EnableIpv6")?.unwrap_or(false);
    let asked_tags = tags(parameters, "Tag")?;
    let table_of = |vswitch: &VSwitch| context.state.table_of_vswitch(vswitch);
    let asked = |vswitch: &&VSwitch| {
        let vpc = context.state.vpcs.get(&vswitch.vpc);
        region.is_none_or(|region| vpc.is_some_and(|vpc| vpc.region == region))
            && !default
            // None has any.
            && !ipv6
            && field::is_asked(parameters, "RouteTableId", table_of(vswitch).map_or("", |table| table.id.as_str()))
            && field::has_tags(&vswitch.tags, &asked_tags)
            && field::is_asked(parameters, "VpcId", vswitch.vpc.as_str())
            && field::is_asked(parameters, "ZoneId", &vswitch.zone)
            && field::is_listed(parameters, "VSwitchId", vswitch.id.as_str())
            && field::is_asked(parameters, "VSwitchName", &vswitch.name)
            && field::is_asked(parameters, "ResourceGroupId", context.state.resource_group(vswitch.vpc.as_str()))
    };
    let vswitches = context.state.vswitches.values().filter(asked);
    Ok(Answer::Read(page.of_each(vswitches, |vswitch| shown(context, vswitch), "VSwitches", "VSwitch")))
}

fn describe_attributes(parameters: &Parameters, context: &mut Context<'_>) -> Result<Answer, ApiError> {
    let vswitch = context.state.vswitches.get(&here(parameters, context.state)?);
    let vswitch = vswitch
        .ok_or_else(|| ApiError::not_found("InvalidVswitchID.NotFound", "Specified virtual switch does not exist."))?;
    let mut object = shown(context, vswitch);
    let gateways = context.state.vpn_gateways.values();
    let gateways = gateways.filter(|gateway| gateway.vswitch.as_ref() == Some(&vswitch.id)).count();
    let resources = vec![json!({"ResourceType": "VpnGateway", "ResourceCount": gateways})];
    object["CloudResources"] = wrapped("CloudResourceSetType", resources);
    Ok(Answer::Read(object))
}

fn modify(parameters: &Parameters, context: &mut Context<'_>) -> Result<Answer, ApiError> {
    let vswitch = ResourceId::VSwitch(here(parameters, context.state)?);
    let command = field::modify_attributes(parameters, vswitch, "VSwitchName");
    Ok(Answer::Write { command, response: json!({}) })
}

fn delete(parameters: &Parameters, context: &mut Context<'_>) -> Result<Answer, ApiError> {
    let vswitch = here(parameters, context.state)?;
    Ok(Answer::Write { command: Command::DeleteVSwitch { vswitch }, response: json!({}) })
}

/// The vSwitch that a call names. One of another region is not found; one that does not exist is left to who asks for it.
pub(super) fn here(parameters: &Parameters, state: &State) -> Result<VSwitchId, ApiError> {
    let vswitch = VSwitchId::from(parameters.required("VSwitchId")?);
    match ResourceId::VSwitch(vswitch.clone()).region(state) {
        Some(region) if !region::is_here(parameters, region)? => {
            Err(ApiError::not_found("InvalidVSwitchId.NotFound", "Specified virtual switch does not exist."))
        }
        _ => Ok(vswitch),
    }
}

fn shown(context: &Context<'_>, vswitch: &VSwitch) -> Value {
    let state = context.state;
    let table = state.table_of_vswitch(vswitch);
    json!({
        "VSwitchId": vswitch.id.as_str(),
        "VpcId": vswitch.vpc.as_str(),
        "ZoneId": vswitch.zone,
        "CidrBlock": vswitch.cidr.to_string(),
        "VSwitchName": vswitch.name,
        "Description": vswitch.description,
        "Status": context.realism.status(Kind::VSwitch, vswitch.id.as_str(), "Available"),
        "CreationTime": time_in_seconds(vswitch.created),
        "IsDefault": false,
        // The cloud keeps the network's first and its last three addresses for itself.
        "AvailableIpAddressCount": (1_u64 << (32 - vswitch.cidr.prefix_len())).saturating_sub(4),
        "RouteTable": {
            "RouteTableId": table.map(|table| table.id.as_str()),
            "RouteTableType": table.map(|table| table_type(state, table)),
        },
        "Ipv6CidrBlock": "",
        // It is in the group of its VPC.
        "ResourceGroupId": state.resource_group(vswitch.vpc.as_str()),
        "OwnerId": OWNER,
        "Tags": tags_json(&vswitch.tags),
    })
}
