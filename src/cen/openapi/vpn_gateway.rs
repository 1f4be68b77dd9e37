//! VPN gateways.

use serde_json::{Value, json};

use super::action::{Action, Answer, Context, VPC};
use super::field::{self, label, tags, tags_json, tags_row};
use super::paging::{PAGE_NUMBER, Page, page_size, wrapped};
use super::parameter::Kind::{Always, Boolean, Integer, Label, Offered, RegionId, Text, Word};
use super::parameter::{ignored, optional, refused, required};
use super::region;
use super::rpc::Parameters;
use crate::cen::command::{Command, CreateVpnGateway};
use crate::cen::error::ApiError;
use crate::cen::identifier::{VSwitchId, VpcId, VpnGatewayId};
use crate::cen::realism::{Kind, VPN_GATEWAY};
use crate::cen::resource::{ModifyAttributes, ResourceId};
use crate::cen::state::State;
use crate::cen::vpn::VpnGateway;

/// This resource's rows of the action table.
pub static ACTIONS: &[Action] = &[
    Action {
        version: VPC,
        name: "CreateVpnGateway",
        parameters: &[
            required("RegionId", RegionId),
            required("VpcId", Text),
            required("Bandwidth", Integer(1, 1000)),
            optional("InstanceChargeType", Word(&["PREPAY", "POSTPAY"])),
            optional("VSwitchId", Text),
            optional("DisasterRecoveryVSwitchId", Text),
            optional("Name", Label(100)),
            optional("Description", Label(256)),
            tags_row("Tags"),
            optional("NetworkType", Offered(&["public"], &["private"])),
            optional("VpnType", Offered(&["Normal"], &["NationalStandard"])),
            optional("EnableIpsec", Always(true)),
            optional("EnableSsl", Always(false)),
            refused("SslConnections"),
            ignored("Period", Integer(1, 36)),
            ignored("AutoPay", Boolean),
            optional("ResourceGroupId", Text),
        ],
        handler: create,
        busy: &[],
    },
    Action {
        version: VPC,
        name: "DescribeVpnGateway",
        parameters: &[
            required("RegionId", RegionId),
            required("VpnGatewayId", Text),
            ignored("IncludeReservationData", Boolean),
        ],
        handler: describe_one,
        busy: &[],
    },
    Action {
        version: VPC,
        name: "DescribeVpnGateways",
        parameters: &[
            required("RegionId", RegionId),
            PAGE_NUMBER,
            page_size(50),
            optional("VpcId", Text),
            optional("VpnGatewayId", Text),
            optional("GatewayType", Text),
            optional("Status", Text),
            optional("BusinessStatus", Text),
            tags_row("Tag"),
            ignored("IncludeReservationData", Boolean),
            optional("ResourceGroupId", Text),
        ],
        handler: describe,
        busy: &[],
    },
    Action {
        version: VPC,
        name: "DescribeVpnGatewayAvailableZones",
        parameters: &[
            required("RegionId", RegionId),
            required("Spec", Word(&["5M", "10M", "20M", "50M", "100M", "200M", "500M", "1000M"])),
            optional("GatewayType", Offered(&[GATEWAY_TYPE], &["Enhanced.SiteToSite"])),
            ignored("AcceptLanguage", Text),
        ],
        handler: available_zones,
        busy: &[],
    },
    Action {
        version: VPC,
        name: "CheckVpnBgpEnabled",
        parameters: &[required("RegionId", RegionId)],
        handler: check_bgp,
        busy: &[],
    },
    Action {
        version: VPC,
        name: "ModifyVpnGatewayAttribute",
        parameters: &[
            required("RegionId", RegionId),
            required("VpnGatewayId", Text),
            optional("Name", Label(100)),
            optional("Description", Label(256)),
            optional("AutoPropagate", Boolean),
        ],
        handler: modify,
        busy: &[],
    },
    Action {
        version: VPC,
        name: "DeleteVpnGateway",
        parameters: &[required("RegionId", RegionId), required("VpnGatewayId", Text)],
        handler: delete,
        busy: &[VPN_GATEWAY],
    },
];

/// The only one that is simulated.
const GATEWAY_TYPE: &str = "Traditional";

fn create(parameters: &Parameters, context: &mut Context<'_>) -> Result<Answer, ApiError> {
    let region = region::of(parameters)?.to_owned();
    let vpc = VpcId::from(parameters.required("VpcId")?);
    let bandwidth = parameters.parsed::<u32>("Bandwidth")?.ok_or_else(|| parameters.missing("Bandwidth"))?;
    let charge_type = parameters.text("InstanceChargeType").unwrap_or("POSTPAY");
    let create = CreateVpnGateway {
        id: VpnGatewayId::generate(&context.seed()),
        region,
        vpc,
        vswitch: parameters.text("VSwitchId").map(VSwitchId::from),
        disaster_recovery_vswitch: parameters.text("DisasterRecoveryVSwitchId").map(VSwitchId::from),
        name: label(parameters, "Name"),
        description: label(parameters, "Description"),
        bandwidth,
        charge_type: charge_type.to_owned(),
        tags: tags(parameters, "Tags")?,
        resource_group: label(parameters, "ResourceGroupId"),
    };
    let response = json!({"VpnGatewayId": create.id.as_str(), "Name": create.name, "OrderId": 0});
    Ok(Answer::Write { command: Command::CreateVpnGateway(create), response })
}

fn describe_one(parameters: &Parameters, context: &mut Context<'_>) -> Result<Answer, ApiError> {
    let region = region::of(parameters)?;
    let gateway = find(context.state, parameters.required("VpnGatewayId")?, region)?;
    Ok(Answer::Read(shown(context, gateway)))
}

fn describe(parameters: &Parameters, context: &mut Context<'_>) -> Result<Answer, ApiError> {
    let (region, page) = (region::of(parameters)?, Page::of(parameters)?);
    let asked_tags = tags(parameters, "Tag")?;
    let asked = |gateway: &&VpnGateway| {
        gateway.region == region
            && field::is_asked(parameters, "VpcId", gateway.vpc.as_str())
            && field::is_asked(parameters, "VpnGatewayId", gateway.id.as_str())
            && field::is_asked(parameters, "GatewayType", GATEWAY_TYPE)
            && field::is_asked(parameters, "Status", status(context, gateway))
            && field::is_asked(parameters, "BusinessStatus", "Normal")
            && field::is_asked(parameters, "ResourceGroupId", context.state.resource_group(gateway.id.as_str()))
            && field::has_tags(&gateway.tags, &asked_tags)
    };
    let gateways = context.state.vpn_gateways.values().filter(asked).map(|gateway| shown(context, gateway)).collect();
    Ok(Answer::Read(page.of_items(gateways, "VpnGateways", "VpnGateway")))
}

fn modify(parameters: &Parameters, context: &mut Context<'_>) -> Result<Answer, ApiError> {
    let mut new = find(context.state, parameters.required("VpnGatewayId")?, region::of(parameters)?)?.clone();
    let modify = ModifyAttributes {
        resource: ResourceId::VpnGateway(new.id.clone()),
        name: field::optional_label(parameters, "Name"),
        description: field::optional_label(parameters, "Description"),
        auto_propagate: parameters.boolean("AutoPropagate")?,
        route_propagation: None,
    };
    modify.name.iter().for_each(|name| new.name.clone_from(name));
    modify.description.iter().for_each(|text| new.description.clone_from(text));
    new.auto_propagate = modify.auto_propagate.unwrap_or(new.auto_propagate);
    Ok(Answer::Write { command: Command::ModifyAttributes(modify), response: shown(context, &new) })
}

fn delete(parameters: &Parameters, context: &mut Context<'_>) -> Result<Answer, ApiError> {
    let region = region::of(parameters)?;
    let gateway = VpnGatewayId::from(parameters.required("VpnGatewayId")?);
    if context.state.vpn_gateways.get(&gateway).is_some_and(|present| present.region != region) {
        return Err(not_found());
    }
    Ok(Answer::Write { command: Command::DeleteVpnGateway { gateway }, response: json!({}) })
}

/// A gateway may stand in each of a region's zones, whatever its bandwidth.
fn available_zones(parameters: &Parameters, _: &mut Context<'_>) -> Result<Answer, ApiError> {
    let id = region::of(parameters)?;
    let zones = region::Region::by_id(id).into_iter().flat_map(region::Region::zones);
    let zones: Vec<Value> = zones.map(|zone| json!({"ZoneId": zone, "ZoneName": zone})).collect();
    Ok(Answer::Read(json!({"RegionId": id, "AvailableZoneIdList": zones})))
}

/// No region has BGP over VPN here.
fn check_bgp(parameters: &Parameters, _: &mut Context<'_>) -> Result<Answer, ApiError> {
    region::of(parameters)?;
    Ok(Answer::Read(json!({"BgpEnabled": false})))
}

/// The gateway of this id, if it stands in this region.
///
/// # Errors
/// `InvalidVpnGatewayInstanceId.NotFound`.
pub(super) fn find<'a>(state: &'a State, id: &str, region: &str) -> Result<&'a VpnGateway, ApiError> {
    state.vpn_gateways.get(id).filter(|gateway| gateway.region == region).ok_or_else(not_found)
}

fn not_found() -> ApiError {
    let message = "The specified vpn gateway instance id does not exist.";
    ApiError::not_found("InvalidVpnGatewayInstanceId.NotFound", message)
}

fn status(context: &Context<'_>, gateway: &VpnGateway) -> &'static str {
    context.realism.status(Kind::VpnGateway, gateway.id.as_str(), "active")
}

fn shown(context: &Context<'_>, gateway: &VpnGateway) -> Value {
    let state = context.state;
    let vswitch = |id: &Option<VSwitchId>| id.as_ref().map(|id| id.as_str().to_owned()).unwrap_or_default();
    json!({
        "VpnGatewayId": gateway.id.as_str(),
        "VpcId": gateway.vpc.as_str(),
        "VSwitchId": vswitch(&gateway.vswitch),
        "DisasterRecoveryVSwitchId": vswitch(&gateway.disaster_recovery_vswitch),
        "Name": gateway.name,
        "Description": gateway.description,
        "Status": status(context, gateway),
        "BusinessStatus": "Normal",
        "InternetIp": gateway.internet_ip.to_string(),
        "DisasterRecoveryInternetIp": "",
        "Spec": format!("{}M", gateway.bandwidth),
        "IpsecVpn": "enable",
        "SslVpn": "disable",
        "SslMaxConnections": 0,
        "EnableBgp": false,
        "AutoPropagate": gateway.auto_propagate,
        "NetworkType": "public",
        "VpnType": "Normal",
        "GatewayType": GATEWAY_TYPE,
        // Not in the words of the request.
        "ChargeType": if gateway.charge_type == "PREPAY" { "Prepay" } else { "PostpayByFlow" },
        "CreateTime": gateway.created.0,
        "EndTime": 0,
        "Tag": "{\"VpnEnableBgp\":\"false\"}",
        "Tags": tags_json(&gateway.tags),
        "EniInstanceIds": wrapped("EniInstanceId", Vec::new()),
        "ResourceGroupId": state.resource_group(gateway.id.as_str()),
    })
}
