//! Policy-based routes of VPN gateways: by source and destination, before the destination-based ones.

use serde_json::{Value, json};

use super::action::{Action, Answer, Context, VPC};
use super::paging::{PAGE_NUMBER, Page, page_size};
use super::parameter::Kind::{Boolean, Integer, Label, RegionId, Text};
use super::parameter::{Kind, optional, required};
use super::region;
use super::rpc::Parameters;
use super::vpn_gateway;
use super::vpn_route::{OVERLAY_MODE, WEIGHT, created, delete, key, modify, state_name};
use crate::cen::error::ApiError;
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
    let key = key(parameters, context)?;
    let priority = parameters.parsed("Priority")?.unwrap_or(DEFAULT_PRIORITY);
    created(parameters, context, key, Some(priority))
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
