//! Destination-based routes of VPN gateways, those of the cloud and those that a running gateway's own file names, and the
//! publication of either kind of route.

use std::collections::BTreeMap;

use ipnet::{IpNet, Ipv4Net};
use serde_json::{Value, json};

use super::action::{Action, Answer, Context, VPC};
use super::field::{self, label};
use super::live::FileRoute;
use super::paging::{PAGE_NUMBER, Page, page_size, wrapped};
use super::parameter::Kind::{Boolean, Label, RegionId, Text, Word};
use super::parameter::{Kind, Parameter, optional, required};
use super::region;
use super::rpc::Parameters;
use super::vpn_gateway;
use crate::cen::command::{Command, CreateVpnRoute, KnownVpnRoute, ModifyVpnRoute, PublishVpnRoute};
use crate::cen::error::ApiError;
use crate::cen::identifier::{RouteEntryId, VpnGatewayId};
use crate::cen::network::UnixMillis;
use crate::cen::realism::{APPLIANCE, TASK_CONFLICT, VPN_CONNECTION, VPN_GATEWAY, VPN_TASK};
use crate::cen::vpn::VpnRouteKey;

/// This resource's rows of the action table.
pub static ACTIONS: &[Action] = &[
    Action {
        version: VPC,
        name: "CreateVpnRouteEntry",
        parameters: &[
            required("RegionId", RegionId),
            required("VpnGatewayId", Text),
            required("RouteDest", Text),
            required("NextHop", Text),
            required("Weight", WEIGHT),
            required("PublishVpc", Boolean),
            OVERLAY_MODE,
            optional("Description", Label(256)),
        ],
        handler: create,
        busy: &[VPN_GATEWAY, VPN_CONNECTION, TASK_CONFLICT, VPN_TASK, APPLIANCE],
    },
    Action {
        version: VPC,
        name: "PublishVpnRouteEntry",
        parameters: &[
            required("RegionId", RegionId),
            required("VpnGatewayId", Text),
            required("RouteDest", Text),
            required("NextHop", Text),
            required("RouteType", Word(&["dbr", "pbr"])),
            required("PublishVpc", Boolean),
        ],
        handler: publish,
        busy: &[VPN_GATEWAY, VPN_CONNECTION, TASK_CONFLICT, VPN_TASK, APPLIANCE],
    },
    Action {
        version: VPC,
        name: "DeleteVpnRouteEntry",
        parameters: &[
            required("RegionId", RegionId),
            required("VpnGatewayId", Text),
            required("RouteDest", Text),
            required("NextHop", Text),
            required("Weight", WEIGHT),
            OVERLAY_MODE,
        ],
        handler: delete,
        busy: &[VPN_GATEWAY, VPN_CONNECTION, TASK_CONFLICT, VPN_TASK, APPLIANCE],
    },
    Action {
        version: VPC,
        name: "ModifyVpnRouteEntryWeight",
        parameters: &[
            required("RegionId", RegionId),
            required("VpnGatewayId", Text),
            required("RouteDest", Text),
            required("NextHop", Text),
            required("Weight", WEIGHT),
            required("NewWeight", WEIGHT),
            OVERLAY_MODE,
        ],
        handler: modify,
        busy: &[VPN_GATEWAY, VPN_CONNECTION, TASK_CONFLICT, VPN_TASK, APPLIANCE],
    },
    Action {
        version: VPC,
        name: "DescribeVpnRouteEntries",
        parameters: &[
            required("RegionId", RegionId),
            PAGE_NUMBER,
            page_size(50),
            required("VpnGatewayId", Text),
            optional("RouteEntryType", Word(&["custom", "bgp"])),
        ],
        handler: describe,
        busy: &[],
    },
];

/// A standby has 0.
pub(super) const WEIGHT: Kind = Word(&["0", "100"]);
pub(super) const OVERLAY_MODE: Parameter = optional("OverlayMode", Word(&["Ipsec"]));

fn create(parameters: &Parameters, context: &mut Context<'_>) -> Result<Answer, ApiError> {
    let key = key(parameters, context)?;
    created(parameters, context, key, None)
}

/// Creates a route of either kind; a policy-based one has a priority.
pub(super) fn created(
    parameters: &Parameters,
    context: &mut Context<'_>,
    key: VpnRouteKey,
    priority: Option<u8>,
) -> Result<Answer, ApiError> {
    let create = CreateVpnRoute {
        weight: weight(parameters, "Weight")?,
        priority,
        publish: parameters.required_boolean("PublishVpc")?,
        entry_id: RouteEntryId::generate(&context.seed()),
        description: label(parameters, "Description"),
        key,
    };
    let mut response = json!({
        "VpnInstanceId": create.key.gateway.as_str(),
        "RouteDest": create.key.destination.to_string(),
        "NextHop": create.key.next_hop,
        "Weight": create.weight,
        "State": state_name(create.publish),
        "CreateTime": context.now.0,
        "Description": create.description,
        "OverlayMode": "Ipsec",
    });
    if let (Some(source), Some(priority)) = (create.key.source, priority) {
        response["RouteSource"] = source.to_string().into();
        response["Priority"] = priority.into();
    }
    Ok(Answer::Write { command: Command::CreateVpnRoute(create), response })
}

fn publish(parameters: &Parameters, context: &mut Context<'_>) -> Result<Answer, ApiError> {
    let key = key(parameters, context)?;
    let policy_based = parameters.text("RouteType") == Some("pbr");
    let file_routes = if policy_based { Vec::new() } else { context.live.file_routes(&key.gateway) };
    let named =
        |route: &&FileRoute| route.destination == IpNet::V4(key.destination) && route.connection == key.next_hop;
    let publish = PublishVpnRoute {
        publish: parameters.required_boolean("PublishVpc")?,
        entry_id: RouteEntryId::generate(&context.seed()),
        owned_by_file: file_routes.iter().find(named).map(|route| route.weight),
        policy_based,
        key,
    };
    Ok(Answer::Write { command: Command::PublishVpnRoute(publish), response: json!({}) })
}

/// Deletes a route of either kind.
pub(super) fn delete(parameters: &Parameters, context: &mut Context<'_>) -> Result<Answer, ApiError> {
    let known = known(parameters, context)?;
    Ok(Answer::Write { command: Command::DeleteVpnRoute(known), response: json!({}) })
}

/// Changes the weight of a route of either kind, or the priority of a policy-based one.
pub(super) fn modify(parameters: &Parameters, context: &mut Context<'_>) -> Result<Answer, ApiError> {
    let (new_weight, new_priority) = (parameters.parsed("NewWeight")?, parameters.parsed("NewPriority")?);
    if new_weight.is_none() && new_priority.is_none() {
        return Err(parameters.missing("NewWeight"));
    }
    let modify = ModifyVpnRoute { route: known(parameters, context)?, new_weight, new_priority };
    Ok(Answer::Write { command: Command::ModifyVpnRoute(modify), response: json!({}) })
}

/// The route that a call names, as the caller knows it. The rows of destination-based routes have no priority.
fn known(parameters: &Parameters, context: &Context<'_>) -> Result<KnownVpnRoute, ApiError> {
    let (weight, priority) = (weight(parameters, "Weight")?, parameters.parsed("Priority")?);
    Ok(KnownVpnRoute { key: key(parameters, context)?, weight, priority })
}

fn describe(parameters: &Parameters, context: &mut Context<'_>) -> Result<Answer, ApiError> {
    let (region, page) = (region::of(parameters)?, Page::of(parameters)?);
    let gateway = vpn_gateway::find(context.state, parameters.required("VpnGatewayId")?, region)?;
    let routes: Vec<Value> = match parameters.text("RouteEntryType") {
        Some("bgp") => Vec::new(),
        _ => merged(context, &gateway.id)
            .into_iter()
            .map(|((to, hop), route)| shown(&gateway.id, to, &hop, route))
            .collect(),
    };
    let count = json!({"RouteEntryType": "custom", "Source": "CLOUD", "RouteCount": routes.len()});
    let mut object = page.of_items(routes, "VpnRouteEntries", "VpnRouteEntry");
    object["VpnRouteCounts"] = wrapped("VpnRouteCount", vec![count]);
    Ok(Answer::Read(object))
}

/// What a route's answer shows beside its destination and next hop.
#[derive(Clone, Copy)]
struct Facts {
    weight: u8,
    published: bool,
    created: UnixMillis,
}

/// The cloud's routes and those of the gateway's own file, by destination and next hop. A published route of the file
/// is known to both, and shown while either knows it.
fn merged(context: &Context<'_>, gateway: &VpnGatewayId) -> BTreeMap<(Ipv4Net, String), Facts> {
    let mut routes = BTreeMap::new();
    for route in context.live.file_routes(gateway) {
        // The cloud's VPCs have IPv4 only.
        if let IpNet::V4(destination) = route.destination {
            let facts = Facts { weight: route.weight, published: false, created: route.created };
            routes.insert((destination, route.connection), facts);
        }
    }
    for route in context.state.vpn_routes_of(gateway).filter(|route| route.key.source.is_none()) {
        let facts = Facts { weight: route.weight, published: route.published, created: route.created };
        routes.insert((route.key.destination, route.key.next_hop.clone()), facts);
    }
    routes
}

fn shown(gateway: &VpnGatewayId, destination: Ipv4Net, next_hop: &str, facts: Facts) -> Value {
    json!({
        "VpnInstanceId": gateway.as_str(),
        "RouteDest": destination.to_string(),
        "NextHop": next_hop,
        "NextHopTunnelId": "",
        "Weight": facts.weight,
        "State": state_name(facts.published),
        "RouteEntryType": "custom",
        "Source": "CLOUD",
        "AsPath": "",
        "Community": "",
        "CreateTime": facts.created.0,
    })
}

/// `State`.
pub(super) fn state_name(published: bool) -> &'static str {
    if published { "published" } else { "normal" }
}

/// Gateway, destination and next hop of a call, and the source if its row has one. A gateway of another region is not found;
/// one that does not exist is left to the plan.
pub(super) fn key(parameters: &Parameters, context: &Context<'_>) -> Result<VpnRouteKey, ApiError> {
    let region = region::of(parameters)?;
    let gateway = VpnGatewayId::from(parameters.required("VpnGatewayId")?);
    if context.state.vpn_gateways.contains_key(&gateway) {
        vpn_gateway::find(context.state, gateway.as_str(), region)?;
    }
    let side = |name: &str| {
        let block = |text| field::parse_cidr(text).ok_or_else(|| parameters.invalid(name));
        parameters.text(name).map(block).transpose()
    };
    let destination = side("RouteDest")?.ok_or_else(|| parameters.missing("RouteDest"))?;
    let next_hop = parameters.required("NextHop")?.to_owned();
    Ok(VpnRouteKey { gateway, destination, next_hop, source: side("RouteSource")? })
}

/// A weight that the rows have checked.
fn weight(parameters: &Parameters, name: &str) -> Result<u8, ApiError> {
    parameters.parsed(name)?.ok_or_else(|| parameters.missing(name))
}
