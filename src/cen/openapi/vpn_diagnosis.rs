//! The diagnosis of an IPsec-VPN connection: `DiagnoseVpnGateway` begins one, and `GetVpnGatewayDiagnoseResult` tells what it
//! has found.
//!
//! Nothing of it is stored: a diagnosis' id says of what it is and when it was asked for, and its items are looked at when
//! the result is. What cannot be seen from here, the two checks of connectivity, is left out.

use serde_json::{Value, json};

use super::action::{Action, Answer, Context, VPC};
use super::field::time_in_seconds;
use super::live::TunnelStatus;
use super::parameter::Kind::{RegionId, Text, Word};
use super::parameter::{optional, refused, required};
use super::region;
use super::rpc::Parameters;
use super::vpn_gateway;
use crate::cen::error::ApiError;
use crate::cen::network::{NetworkId, UnixMillis};
use crate::cen::plan::{VPN_CONNECTIONS, VPN_ROUTES};
use crate::cen::route::RouteKind;
use crate::cen::state::State;
use crate::cen::vpn::{VpnConnection, VpnRoute};

/// This resource's rows of the action table.
pub static ACTIONS: &[Action] = &[
    Action {
        version: VPC,
        name: "DiagnoseVpnGateway",
        parameters: &[
            required("RegionId", RegionId),
            required("VpnGatewayId", Text),
            required("ResourceType", Word(&["IPsec"])),
            required("ResourceId", Text),
            // Packets between private addresses.
            refused("IPsecExtendInfo"),
        ],
        handler: diagnose,
        busy: &[],
    },
    Action {
        version: VPC,
        name: "GetVpnGatewayDiagnoseResult",
        parameters: &[required("RegionId", RegionId), required("DiagnoseId", Text), optional("VpnGatewayId", Text)],
        handler: result,
        busy: &[],
    },
];

/// What a diagnosis' id begins with; the connection's own part and the milliseconds follow.
const PREFIX: &str = "vpndgn-";
const OF_A_CONNECTION: &str = "vco-";

fn diagnose(parameters: &Parameters, context: &mut Context<'_>) -> Result<Answer, ApiError> {
    let region = region::of(parameters)?;
    let gateway = vpn_gateway::find(context.state, parameters.required("VpnGatewayId")?, region)?;
    let connection = context.state.vpn_connections.get(parameters.required("ResourceId")?);
    let connection = connection.filter(|connection| connection.gateway == gateway.id).ok_or_else(|| {
        let message = "The specified vpn connection instance id does not exist.";
        ApiError::not_found("InvalidVpnConnectionInstanceId.NotFound", message)
    })?;
    let own = connection.id.as_str().trim_start_matches(OF_A_CONNECTION);
    Ok(Answer::Read(json!({"DiagnoseId": format!("{PREFIX}{own}-{}", context.now.0)})))
}

fn result(parameters: &Parameters, context: &mut Context<'_>) -> Result<Answer, ApiError> {
    let region = region::of(parameters)?;
    let id = parameters.required("DiagnoseId")?;
    let missing = || ApiError::not_found("InvalidDiagnoseId.NotFound", "The specified diagnosis does not exist.");
    let (connection, begun) =
        of_id(context.state, id).filter(|(_, begun)| *begun <= context.now).ok_or_else(missing)?;
    let gateway = vpn_gateway::find(context.state, connection.gateway.as_str(), region)?;
    if parameters.text("VpnGatewayId").is_some_and(|asked| asked != gateway.id.as_str()) {
        return Err(missing());
    }
    let items = [
        conflict(context.state, connection),
        quota(context, connection, "VpnRouteQuota", VPN_ROUTES, |route| route.key.source.is_none()),
        quota(context, connection, "VpnPbrRouteQuota", VPN_ROUTES, |route| route.key.source.is_some()),
        used("VpnIPsecQuota", VPN_CONNECTIONS, context.state.connections_of(&gateway.id).count()),
        consistency(context, connection),
    ];
    Ok(Answer::Read(json!({
        "DiagnoseId": id,
        "VpnGatewayId": gateway.id.as_str(),
        "ResourceType": "IPsec",
        "ResourceInstanceId": connection.id.as_str(),
        "BeginTime": time_in_seconds(begun),
        "FinishTime": time_in_seconds(begun),
        "TotalCount": items.len(),
        "FinishedCount": items.len(),
        "DiagnoseResult": items,
    })))
}

/// The connection that a diagnosis is of, and when it was asked for.
fn of_id<'a>(state: &'a State, id: &str) -> Option<(&'a VpnConnection, UnixMillis)> {
    let (own, begun) = id.strip_prefix(PREFIX)?.rsplit_once('-')?;
    let connection = state.vpn_connections.get(format!("{OF_A_CONNECTION}{own}").as_str())?;
    Some((connection, UnixMillis(begun.parse().ok()?)))
}

fn item(name: &str, level: &str, description: Value) -> Value {
    json!({
        "DiagnoseName": name,
        "DiagnoseResultLevel": level,
        "DiagnoseResultDescription": description.to_string(),
    })
}

/// Whether the VPC leads a remote subnet, or a part of it, elsewhere than to this gateway.
fn conflict(state: &State, connection: &VpnConnection) -> Value {
    let vpc = state.vpn_gateways.get(&connection.gateway).map(|gateway| NetworkId::Vpc(gateway.vpc.clone()));
    let table = vpc.and_then(|vpc| state.table_of(&vpc));
    let others = table.into_iter().flat_map(|table| table.entries.values()).filter(|entry| {
        let ours = entry.kind == RouteKind::VpnGateway && entry.next_hop == connection.gateway.as_str();
        !ours
            && connection
                .remote_subnets
                .iter()
                .any(|remote| remote.contains(&entry.destination) && remote.prefix_len() > 0)
    });
    let others: Vec<Value> =
        others.map(|entry| json!({"destination": entry.destination.to_string(), "nextHop": entry.next_hop})).collect();
    let level = if others.is_empty() { "normal" } else { "warning" };
    item("RouteEntryConflict", level, json!(others))
}

fn quota(
    context: &Context<'_>,
    connection: &VpnConnection,
    name: &str,
    quantity: usize,
    counts: impl Fn(&VpnRoute) -> bool,
) -> Value {
    let routes = context.state.vpn_routes_of(&connection.gateway);
    used(name, quantity, routes.filter(|route| !route.owned_by_file && !route.automatic && counts(route)).count())
}

fn used(name: &str, quantity: usize, used: usize) -> Value {
    let level = if used < quantity { "normal" } else { "warning" };
    item(name, level, json!({"quantity": quantity, "used": used}))
}

/// Whether both ends agree, as far as the running gateway knows.
fn consistency(context: &Context<'_>, connection: &VpnConnection) -> Value {
    let status = context.live.tunnel_status(&connection.gateway, connection.id.as_str());
    let level = match status {
        Some(TunnelStatus::IpsecSaEstablished) => "normal",
        Some(TunnelStatus::IpsecSaNotEstablished) => "error",
        Some(TunnelStatus::IkeSaNotEstablished | TunnelStatus::IkeSaEstablished) | None => "warning",
    };
    let shown = status.map_or("unknown", TunnelStatus::api_name);
    item("VcoConfigConsistency", level, json!({"status": shown}))
}
