//! Policy-based routes of VPN gateways: by source and destination, before the destination-based ones.

use serde_json::{Value, json};

use super::action::{Action, Answer, Context, VPC};
use super::field::label;
use super::paging::{PAGE_NUMBER, Page, page_size};
use super::parameter::Kind::{Boolean, Integer, Label, RegionId, Text};
use super::parameter::{Kind, optional, required};
use super::region;
use super::rpc::Parameters;
use super::vpn_gateway;
use super::vpn_route::{OVERLAY_MODE, WEIGHT, cidr, key, state_name, weight};
use crate::cen::command::{Command, CreateVpnRoute, KnownVpnRoute, ModifyVpnRoute};
use crate::cen::error::ApiError;
use crate::cen::identifier::RouteEntryId;
use crate::cen::realism::{APPLIANCE, TASK_CONFLICT, VPN_CONNECTION, VPN_GATEWAY, VPN_TASK};
use crate::cen::vpn::{DEFAULT_PRIORITY, VpnRoute, VpnRouteKey};

/// This resource's rows of the action table.
pub static ACTIONS: &[Action] = &[
    Action {
        version: VPC,
        name: "CreateVpnPbrRouteEntry",
        parameters: &[
            required("RegionId", RegionId),
            required("VpnGatewayId", Text),
            required("RouteSource", Text),
            required("RouteDest", Text),
            required("NextHop", Text),
            required("Weight", WEIGHT),
            optional("Priority", PRIORITY),
            required("PublishVpc", Boolean),
            OVERLAY_MODE,
            optional("Description", Label(100)),
        ],
        handler: create,
        busy: &[VPN_GATEWAY, VPN_CONNECTION, TASK_CONFLICT, VPN_TASK, APPLIANCE],
    },
    Action {
        version: VPC,
        name: "DeleteVpnPbrRouteEntry",
        parameters: &[
            required("RegionId", RegionId),
            required("VpnGatewayId", Text),
            required("RouteSource", Text),
            required("RouteDest", Text),
            required("NextHop", Text),
            required("Weight", WEIGHT),
            optional("Priority", PRIORITY),
            OVERLAY_MODE,
        ],
        handler: delete,
        busy: &[VPN_GATEWAY, VPN_CONNECTION, TASK_CONFLICT, VPN_TASK, APPLIANCE],
    },
    Action {
        version: VPC,
        name: "ModifyVpnPbrRouteEntryWeight",
        parameters: &[
            required("RegionId", RegionId),
            required("VpnGatewayId", Text),
            required("RouteSource", Text),
            required("RouteDest", Text),
            required("NextHop", Text),
            required("Weight", WEIGHT),
            optional("Priority", PRIORITY),
            required("NewWeight", WEIGHT),
            OVERLAY_MODE,
        ],
        handler: modify,
        busy: &[VPN_GATEWAY, VPN_CONNECTION, TASK_CONFLICT, VPN_TASK, APPLIANCE],
    },
    Action {
        version: VPC,
        name: "ModifyVpnPbrRouteEntryPriority",
        parameters: &[
            required("RegionId", RegionId),
            required("VpnGatewayId", Text),
            required("RouteSource", Text),
            required("RouteDest", Text),
            required("NextHop", Text),
            required("Weight", WEIGHT),
            optional("Priority", PRIORITY),
            required("NewPriority", PRIORITY),
        ],
        handler: modify,
        busy: &[],
    },
    Action {
        version: VPC,
        name: "ModifyVpnPbrRouteEntryAttribute",
        parameters: &[
            required("RegionId", RegionId),
            required("VpnGatewayId", Text),
            required("RouteSource", Text),
            required("RouteDest", Text),
            required("NextHop", Text),
            required("Weight", WEIGHT),
            required("Priority", PRIORITY),
            optional("NewWeight", WEIGHT),
            optional("NewPriority", PRIORITY),
        ],
        handler: modify,
        busy: &[],
    },
    Action {
        version: VPC,
        name: "DescribeVpnPbrRouteEntries",
        parameters: &[required("RegionId", RegionId), PAGE_NUMBER, page_size(50), required("VpnGatewayId", Text)],
        handler: describe,
        busy: &[],
    },
];

/// The lowest one is asked first.
const PRIORITY: Kind = Integer(1, 100);

fn create(parameters: &Parameters, context: &mut Context<'_>) -> Result<Answer, ApiError> {
    let key = policy_key(parameters, context)?;
    let create = CreateVpnRoute {
        weight: weight(parameters, "Weight")?,
        priority: Some(parameters.parsed("Priority")?.unwrap_or(DEFAULT_PRIORITY)),
        publish: parameters.required_boolean("PublishVpc")?,
        entry_id: RouteEntryId::generate(&context.seed()),
        description: label(parameters, "Description"),
        key,
    };
    let created = context.state.vpn_routes.get(&create.key).map_or(context.now, |route| route.created);
    let response = json!({
        "VpnInstanceId": create.key.gateway.as_str(),
        "RouteSource": create.key.source.map(|source| source.to_string()),
        "RouteDest": create.key.destination.to_string(),
        "NextHop": create.key.next_hop,
        "Weight": create.weight,
        "Priority": create.priority,
        "State": state_name(create.publish),
        "CreateTime": created.0,
        "Description": create.description,
        "OverlayMode": "Ipsec",
    });
    Ok(Answer::Write { command: Command::CreateVpnRoute(create), response })
}

fn delete(parameters: &Parameters, context: &mut Context<'_>) -> Result<Answer, ApiError> {
    let known = known(parameters, context)?;
    Ok(Answer::Write { command: Command::DeleteVpnRoute(known), response: json!({}) })
}

fn modify(parameters: &Parameters, context: &mut Context<'_>) -> Result<Answer, ApiError> {
    let (new_weight, new_priority) = (parameters.parsed("NewWeight")?, parameters.parsed("NewPriority")?);
    if new_weight.is_none() && new_priority.is_none() {
        return Err(parameters.missing("NewWeight"));
    }
    let modify = ModifyVpnRoute { route: known(parameters, context)?, new_weight, new_priority };
    Ok(Answer::Write { command: Command::ModifyVpnRoute(modify), response: json!({}) })
}

fn describe(parameters: &Parameters, context: &mut Context<'_>) -> Result<Answer, ApiError> {
    let (region, page) = (region::of(parameters)?, Page::of(parameters)?);
    let gateway = vpn_gateway::find(context.state, parameters.required("VpnGatewayId")?, region)?;
    let routes = context.state.vpn_routes_of(&gateway.id).filter_map(shown).collect();
    Ok(Answer::Read(page.of_items(routes, "VpnPbrRouteEntries", "VpnPbrRouteEntry")))
}

/// Nothing of a destination-based route.
fn shown(route: &VpnRoute) -> Option<Value> {
    let VpnRouteKey { gateway, destination, next_hop, source } = &route.key;
    Some(json!({
        "VpnInstanceId": gateway.as_str(),
        "RouteSource": (*source)?.to_string(),
        "RouteDest": destination.to_string(),
        "NextHop": next_hop,
        "NextHopTunnelId": "",
        "Weight": route.weight,
        "Priority": route.priority,
        "State": state_name(route.published),
        "CreateTime": route.created.0,
    }))
}

fn policy_key(parameters: &Parameters, context: &Context<'_>) -> Result<VpnRouteKey, ApiError> {
    Ok(VpnRouteKey { source: Some(cidr(parameters, "RouteSource")?), ..key(parameters, context)? })
}

fn known(parameters: &Parameters, context: &Context<'_>) -> Result<KnownVpnRoute, ApiError> {
    let (weight, priority) = (weight(parameters, "Weight")?, parameters.parsed("Priority")?);
    Ok(KnownVpnRoute { key: policy_key(parameters, context)?, weight, priority })
}
