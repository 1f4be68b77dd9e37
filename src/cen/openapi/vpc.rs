//! VPCs.

use std::collections::BTreeMap;

use ipnet::Ipv4Net;
use serde_json::{Value, json};

use super::action::{Action, Answer, Context, VPC};
use super::field::{self, label, tags, tags_json, tags_row, time_in_seconds};
use super::paging::{PAGE_NUMBER, Page, page_size, wrapped};
use super::parameter::Kind::{Always, Boolean, Cidr, Cidrs, Label, RegionId, Text};
use super::parameter::{ignored, optional, refused, required};
use super::region;
use super::rpc::Parameters;
use crate::cen::command::{Command, CreateVpc};
use crate::cen::error::ApiError;
use crate::cen::identifier::{RouteEntryId, RouteTableId, VRouterId, VpcId};
use crate::cen::network::{NetworkId, Vpc};
use crate::cen::realism::{self, OPERATION_CONFLICT, TASK_CONFLICT, VPC_STATUS};
use crate::cen::resource::ResourceId;
use crate::cen::route::RouteTable;
use crate::cen::state::State;

/// This resource's rows of the action table.
pub static ACTIONS: &[Action] = &[
    Action {
        version: VPC,
        name: "CreateVpc",
        parameters: &[
            required("RegionId", RegionId),
            optional("CidrBlock", Cidr),
            optional("VpcName", Label(128)),
            optional("Description", Label(256)),
            tags_row("Tag"),
            optional("EnableIpv6", Always(false)),
            ignored("EnableDnsHostname", Boolean),
            ignored("Ipv6Isp", Text),
            optional("ResourceGroupId", Text),
            optional("UserCidr", Cidrs),
            refused("Ipv6CidrBlock"),
            refused("Ipv6CidrMask"),
            refused("Ipv6IpamPoolId"),
            refused("Ipv4IpamPoolId"),
            refused("Ipv4CidrMask"),
        ],
        handler: create,
        busy: &[TASK_CONFLICT],
    },
    Action {
        version: VPC,
        name: "DescribeVpcs",
        parameters: &[
            required("RegionId", RegionId),
            PAGE_NUMBER,
            page_size(50),
            optional("VpcId", Text),
            optional("VpcName", Text),
            optional("IsDefault", Boolean),
            optional("EnableIpv6", Boolean),
            optional("DhcpOptionsSetId", Text),
            tags_row("Tag"),
            optional("ResourceGroupId", Text),
            ignored("VpcOwnerId", Text),
        ],
        handler: describe,
        busy: &[],
    },
    Action {
        version: VPC,
        name: "DescribeVpcAttribute",
        parameters: &[required("RegionId", RegionId), required("VpcId", Text), ignored("IsDefault", Boolean)],
        handler: describe_attribute,
        busy: &[],
    },
    Action {
        version: VPC,
        name: "ModifyVpcAttribute",
        parameters: &[
            optional("RegionId", RegionId),
            required("VpcId", Text),
            optional("VpcName", Label(128)),
            optional("Description", Label(256)),
            optional("EnableIPv6", Always(false)),
            ignored("EnableDnsHostname", Boolean),
            ignored("Ipv6Isp", Text),
            refused("CidrBlock"),
            refused("Ipv6CidrBlock"),
        ],
        handler: modify,
        busy: &[VPC_STATUS, OPERATION_CONFLICT],
    },
    Action {
        version: VPC,
        name: "DeleteVpc",
        parameters: &[optional("RegionId", RegionId), required("VpcId", Text), optional("ForceDelete", Always(false))],
        handler: delete,
        busy: &[VPC_STATUS],
    },
];

/// The account that owns everything; the simulated cloud has one.
pub const OWNER: u64 = 1_000_000_000_000_001;

/// User CIDR blocks of one VPC at most.
const USER_CIDRS: usize = 3;

/// A VPC made without a `CidrBlock` has this one.
const DEFAULT_CIDR: &str = "172.16.0.0/12";

fn create(parameters: &Parameters, context: &mut Context<'_>) -> Result<Answer, ApiError> {
    let cidr = match field::cidr(parameters, "CidrBlock")? {
        Some(cidr) => cidr,
        None => field::parse_cidr(DEFAULT_CIDR).ok_or_else(ApiError::internal)?,
    };
    let user_cidrs = field::cidrs(parameters, "UserCidr")?;
    if user_cidrs.len() > USER_CIDRS {
        return Err(parameters.invalid("UserCidr"));
    }
    let create = CreateVpc {
        id: VpcId::generate(&context.seed()),
        router: VRouterId::generate(&context.seed()),
        route_table: RouteTableId::generate(&context.seed()),
        service_entry: RouteEntryId::generate(&context.seed()),
        region: region::of(parameters)?.to_owned(),
        cidr,
        name: label(parameters, "VpcName"),
        description: label(parameters, "Description"),
        tags: tags(parameters, "Tag")?,
        user_cidrs,
        resource_group: label(parameters, "ResourceGroupId"),
    };
    let response = json!({
        "VpcId": create.id.as_str(),
        "VRouterId": create.router.as_str(),
        "RouteTableId": create.route_table.as_str(),
        "ResourceGroupId": create.resource_group,
    });
    Ok(Answer::Write { command: Command::CreateVpc(create), response })
}

fn describe(parameters: &Parameters, context: &mut Context<'_>) -> Result<Answer, ApiError> {
    let (region, page) = (region::of(parameters)?, Page::of(parameters)?);
    let asked_tags = tags(parameters, "Tag")?;
    let default = parameters.boolean("IsDefault")?.unwrap_or(false);
    let ipv6 = parameters.boolean("EnableIpv6")?.unwrap_or(false);
    let asked = |vpc: &&Vpc| {
        vpc.region == region
            && !default
            // None has either.
            && !ipv6
            && field::is_asked(parameters, "DhcpOptionsSetId", "")
            && field::is_asked(parameters, "ResourceGroupId", context.state.resource_group(vpc.id.as_str()))
            && field::is_listed(parameters, "VpcId", vpc.id.as_str())
            && field::is_asked(parameters, "VpcName", &vpc.name)
            && field::has_tags(&vpc.tags, &asked_tags)
    };
    let vpcs = context.state.vpcs.values().filter(asked);
    let all = Belongings::of_all(context.state);
    Ok(Answer::Read(page.of_each(vpcs, |vpc| shown(context, vpc, &all), "Vpcs", "Vpc")))
}

fn describe_attribute(parameters: &Parameters, context: &mut Context<'_>) -> Result<Answer, ApiError> {
    let region = region::of(parameters)?;
    let vpc = context.state.vpcs.get(parameters.required("VpcId")?).filter(|vpc| vpc.region == region);
    let vpc = vpc.ok_or_else(not_found)?;
    let mut object = shown(context, vpc, &Belongings::of_all(context.state));
    let cens = context
        .state
        .attachments
        .get(&NetworkId::Vpc(vpc.id.clone()))
        .map(|attachment| json!({"CenId": attachment.cen.as_str(), "CenOwnerId": OWNER, "CenStatus": "Attached"}));
    object["AssociatedCens"] = wrapped("AssociatedCen", cens.into_iter().collect());
    let vswitches = context.state.vswitches_of(&vpc.id).count();
    let gateways = context.state.vpn_gateways.values().filter(|gateway| gateway.vpc == vpc.id).count();
    let tables = context.state.tables_of(&NetworkId::Vpc(vpc.id.clone())).count();
    let resources = [("VSwitch", vswitches), ("VRouter", 1), ("RouteTable", tables), ("VpnGateway", gateways)];
    let resources = resources.map(|(kind, count)| json!({"ResourceType": kind, "ResourceCount": count}));
    object["CloudResources"] = wrapped("CloudResourceSetType", resources.to_vec());
    Ok(Answer::Read(object))
}

fn modify(parameters: &Parameters, context: &mut Context<'_>) -> Result<Answer, ApiError> {
    let command = field::modify_attributes(parameters, ResourceId::Vpc(here(parameters, context.state)?), "VpcName");
    Ok(Answer::Write { command, response: json!({}) })
}

/// The VPC that a call names. One of another region is not found; one that does not exist is left to the plan.
pub(super) fn here(parameters: &Parameters, state: &State) -> Result<VpcId, ApiError> {
    let vpc = VpcId::from(parameters.required("VpcId")?);
    match state.vpcs.get(&vpc) {
        Some(present) if !region::is_here(parameters, &present.region)? => Err(not_found()),
        _ => Ok(vpc),
    }
}

fn delete(parameters: &Parameters, context: &mut Context<'_>) -> Result<Answer, ApiError> {
    let vpc = here(parameters, context.state)?;
    Ok(Answer::Write { command: Command::DeleteVpc { vpc }, response: json!({}) })
}

/// `RouteTableType`.
pub(super) fn table_type(state: &State, table: &RouteTable) -> &'static str {
    if state.is_custom(table) { "Custom" } else { "System" }
}

fn not_found() -> ApiError {
    ApiError::not_found("InvalidVpcId.NotFound", "Specified VPC does not exist.")
}

/// The ids of what belongs to each VPC, found for all VPCs of a page by one look at everything.
#[derive(Default)]
struct Belongings<'s> {
    tables: BTreeMap<&'s str, Vec<&'s str>>,
    vswitches: BTreeMap<&'s str, Vec<&'s str>>,
}

impl<'s> Belongings<'s> {
    fn of_all(state: &'s State) -> Self {
        let mut all = Self::default();
        for table in state.route_tables.values() {
            all.tables.entry(table.network.as_str()).or_default().push(table.id.as_str());
        }
        for vswitch in state.vswitches.values() {
            all.vswitches.entry(vswitch.vpc.as_str()).or_default().push(vswitch.id.as_str());
        }
        all
    }
}

fn shown(context: &Context<'_>, vpc: &Vpc, all: &Belongings<'_>) -> Value {
    let state = context.state;
    let attached = state.attachments.contains_key(&NetworkId::Vpc(vpc.id.clone()));
    let of_vpc = |ids: &BTreeMap<&str, Vec<&str>>| {
        ids.get(vpc.id.as_str()).into_iter().flatten().map(|id| Value::from(*id)).collect()
    };
    let (tables, vswitches) = (of_vpc(&all.tables), of_vpc(&all.vswitches));
    json!({
        "VpcId": vpc.id.as_str(),
        "RegionId": vpc.region,
        "VpcName": vpc.name,
        "CidrBlock": vpc.cidr.to_string(),
        "Status": context.realism.status(realism::Kind::Vpc, vpc.id.as_str(), "Available"),
        "CreationTime": time_in_seconds(vpc.created),
        "Description": vpc.description,
        "VRouterId": vpc.router.as_str(),
        "IsDefault": false,
        "CenStatus": if attached { "Attached" } else { "Detached" },
        "OwnerId": OWNER,
        "RouterTableIds": wrapped("RouterTableIds", tables),
        "VSwitchIds": wrapped("VSwitchId", vswitches),
        "SecondaryCidrBlocks": wrapped("SecondaryCidrBlock", blocks(&vpc.secondary_cidrs)),
        "UserCidrs": wrapped("UserCidr", blocks(&vpc.user_cidrs)),
        "NatGatewayIds": wrapped("NatGatewayIds", Vec::new()),
        "Ipv6CidrBlock": "",
        "ResourceGroupId": state.resource_group(vpc.id.as_str()),
        "Tags": tags_json(&vpc.tags),
    })
}

/// CIDR blocks as a list of texts.
pub(super) fn blocks(cidrs: &[Ipv4Net]) -> Vec<Value> {
    cidrs.iter().map(|cidr| cidr.to_string().into()).collect()
}
