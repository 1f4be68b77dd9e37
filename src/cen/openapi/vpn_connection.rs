//! IPsec-VPN connections.

use serde_json::{Value, json};

use super::action::{Action, Answer, Context, VPC};
use super::field::{self, joined, label, optional_label, tags, tags_json, tags_row};
use super::live::TunnelStatus;
use super::paging::{PAGE_NUMBER, Page, page_size, wrapped};
use super::parameter::Kind::{Boolean, Cidrs, Label, RegionId, Text};
use super::parameter::{optional, required};
use super::region;
use super::rpc::Parameters;
use super::tunnel_options::{
    BGP_CONFIG, CUSTOMER_GATEWAY, ENABLE_DPD, ENABLE_NAT_TRAVERSAL, ENABLE_TUNNELS_BGP, HEALTH_CHECK_CONFIG,
    IKE_CONFIG, IPSEC_CONFIG, REMOTE_CA_CERTIFICATE, SPECIFICATION, TunnelOptions,
};
use crate::cen::change::Change;
use crate::cen::command::{Command, CreateVpnConnection, ModifyVpnConnection, Submission};
use crate::cen::error::ApiError;
use crate::cen::identifier::{CustomerGatewayId, VpnConnectionId, VpnGatewayId};
use crate::cen::plan::plan;
use crate::cen::realism::{APPLIANCE, Kind, VPN_CONNECTION, VPN_GATEWAY, VPN_TASK};
use crate::cen::state::State;
use crate::cen::vpn::{IkeConfig, IpsecConfig, PreSharedKey, VpnConnection};

/// This resource's rows of the action table.
pub static ACTIONS: &[Action] = &[
    Action {
        version: VPC,
        name: "CreateVpnConnection",
        parameters: &[
            required("RegionId", RegionId),
            required("VpnGatewayId", Text),
            required("LocalSubnet", Cidrs),
            required("RemoteSubnet", Cidrs),
            optional("Name", Label(100)),
            optional("EffectImmediately", Boolean),
            optional("AutoConfigRoute", Boolean),
            CUSTOMER_GATEWAY,
            ENABLE_DPD,
            ENABLE_NAT_TRAVERSAL,
            IKE_CONFIG,
            IPSEC_CONFIG,
            HEALTH_CHECK_CONFIG,
            BGP_CONFIG,
            ENABLE_TUNNELS_BGP,
            REMOTE_CA_CERTIFICATE,
            SPECIFICATION,
            tags_row("Tags"),
        ],
        handler: create,
        busy: &[VPN_GATEWAY, VPN_CONNECTION, VPN_TASK, APPLIANCE],
    },
    Action {
        version: VPC,
        name: "ModifyVpnConnectionAttribute",
        parameters: &[
            required("RegionId", RegionId),
            required("VpnConnectionId", Text),
            optional("LocalSubnet", Cidrs),
            optional("RemoteSubnet", Cidrs),
            optional("Name", Label(100)),
            optional("EffectImmediately", Boolean),
            optional("AutoConfigRoute", Boolean),
            CUSTOMER_GATEWAY,
            ENABLE_DPD,
            ENABLE_NAT_TRAVERSAL,
            IKE_CONFIG,
            IPSEC_CONFIG,
            HEALTH_CHECK_CONFIG,
            BGP_CONFIG,
            ENABLE_TUNNELS_BGP,
            REMOTE_CA_CERTIFICATE,
            SPECIFICATION,
        ],
        handler: modify,
        busy: &[VPN_GATEWAY, VPN_TASK],
    },
    Action {
        version: VPC,
        name: "DescribeVpnConnection",
        parameters: &[required("RegionId", RegionId), required("VpnConnectionId", Text)],
        handler: describe_one,
        busy: &[],
    },
    Action {
        version: VPC,
        name: "DescribeVpnConnections",
        parameters: &[
            required("RegionId", RegionId),
            PAGE_NUMBER,
            page_size(50),
            optional("VpnGatewayId", Text),
            optional("CustomerGatewayId", Text),
            optional("VpnConnectionId", Text),
            tags_row("Tag"),
            optional("ResourceGroupId", Text),
        ],
        handler: describe,
        busy: &[],
    },
    Action {
        version: VPC,
        name: "DeleteVpnConnection",
        parameters: &[required("RegionId", RegionId), required("VpnConnectionId", Text)],
        handler: delete,
        busy: &[VPN_GATEWAY, VPN_CONNECTION, VPN_TASK, APPLIANCE],
    },
    Action {
        version: VPC,
        name: "DownloadVpnConnectionConfig",
        parameters: &[required("RegionId", RegionId), required("VpnConnectionId", Text)],
        handler: download,
        busy: &[],
    },
];

/// Characters of a pre-shared key that the cloud makes up.
const GENERATED_PSK_LEN: usize = 16;

fn create(parameters: &Parameters, context: &mut Context<'_>) -> Result<Answer, ApiError> {
    let region = region::of(parameters)?.to_owned();
    let gateway = VpnGatewayId::from(parameters.required("VpnGatewayId")?);
    let options = TunnelOptions::of(parameters)?;
    let customer_gateway = options.customer_gateway.ok_or_else(|| ApiError::missing("CustomerGatewayId"))?;
    let create = CreateVpnConnection {
        id: VpnConnectionId::generate(&context.seed()),
        region,
        gateway,
        customer_gateway: CustomerGatewayId::from(customer_gateway),
        name: label(parameters, "Name"),
        local_subnets: field::cidrs(parameters, "LocalSubnet")?,
        remote_subnets: field::cidrs(parameters, "RemoteSubnet")?,
        effect_immediately: parameters.boolean("EffectImmediately")?.unwrap_or(false),
        dead_peer_detection: options.dead_peer_detection.unwrap_or(true),
        nat_traversal: options.nat_traversal.unwrap_or(true),
        auto_config_route: parameters.boolean("AutoConfigRoute")?.unwrap_or(true),
        ike: options.ike,
        ipsec: options.ipsec,
        generated_psk: PreSharedKey::new(context.random_text(GENERATED_PSK_LEN)),
        tags: tags(parameters, "Tags")?,
    };
    // A repeated call finds what the first one made.
    let created = context.state.vpn_connections.get(&create.id).map_or(context.now, |connection| connection.created);
    let response = json!({"VpnConnectionId": create.id.as_str(), "Name": create.name, "CreateTime": created.0});
    Ok(Answer::Write { command: Command::CreateVpnConnection(Box::new(create)), response })
}

fn modify(parameters: &Parameters, context: &mut Context<'_>) -> Result<Answer, ApiError> {
    let old = find(context.state, parameters)?;
    let options = TunnelOptions::of(parameters)?;
    if options.tunnel_id.is_some_and(|asked| asked != tunnel_id(old)) {
        let message = "The specified tunnel does not belong to the connection.";
        return Err(ApiError::not_found("InvalidTunnelId.NotFound", message));
    }
    if options.customer_gateway.is_some_and(|asked| asked != old.customer_gateway.as_str()) {
        return Err(field::unsupported(parameters, "CustomerGatewayId"));
    }
    let subnets = |name| parameters.text(name).map(|_| field::cidrs(parameters, name)).transpose();
    let modify = ModifyVpnConnection {
        connection: old.id.clone(),
        name: optional_label(parameters, "Name"),
        local_subnets: subnets("LocalSubnet")?,
        remote_subnets: subnets("RemoteSubnet")?,
        effect_immediately: parameters.boolean("EffectImmediately")?,
        dead_peer_detection: options.dead_peer_detection,
        nat_traversal: options.nat_traversal,
        auto_config_route: parameters.boolean("AutoConfigRoute")?,
        ike: options.ike,
        ipsec: options.ipsec,
    };
    let command = Command::ModifyVpnConnection(Box::new(modify));
    let preview = Submission { command: command.clone(), client_token: None, dry_run: false, now: context.now };
    let changes = plan(context.state, &preview)?;
    let new = changes.iter().find_map(|change| match change {
        Change::VpnConnectionSet(connection) => Some(connection.as_ref()),
        _ => None,
    });
    let response = shown(context, new.unwrap_or(old));
    Ok(Answer::Write { command, response })
}

fn describe_one(parameters: &Parameters, context: &mut Context<'_>) -> Result<Answer, ApiError> {
    let connection = find(context.state, parameters)?;
    Ok(Answer::Read(shown(context, connection)))
}

fn describe(parameters: &Parameters, context: &mut Context<'_>) -> Result<Answer, ApiError> {
    let (region, page) = (region::of(parameters)?, Page::of(parameters)?);
    let asked_tags = tags(parameters, "Tag")?;
    let asked = |connection: &&VpnConnection| {
        region_of(context.state, connection) == Some(region)
            && field::is_asked(parameters, "VpnGatewayId", connection.gateway.as_str())
            && field::is_asked(parameters, "CustomerGatewayId", connection.customer_gateway.as_str())
            && field::is_asked(parameters, "VpnConnectionId", connection.id.as_str())
            && field::is_asked(parameters, "ResourceGroupId", context.state.resource_group(connection.gateway.as_str()))
            && field::has_tags(&connection.tags, &asked_tags)
    };
    let connections = context.state.vpn_connections.values().filter(asked);
    let connections = connections.map(|connection| listed(context, connection)).collect();
    Ok(Answer::Read(page.of_items(connections, "VpnConnections", "VpnConnection")))
}

fn delete(parameters: &Parameters, context: &mut Context<'_>) -> Result<Answer, ApiError> {
    let region = region::of(parameters)?;
    let connection = VpnConnectionId::from(parameters.required("VpnConnectionId")?);
    if let Some(present) = context.state.vpn_connections.get(&connection)
        && region_of(context.state, present) != Some(region)
    {
        return Err(not_found());
    }
    Ok(Answer::Write { command: Command::DeleteVpnConnection { connection }, response: json!({}) })
}

/// The configuration for the customer's device, hence seen from there: what is local to the connection is remote to it.
fn download(parameters: &Parameters, context: &mut Context<'_>) -> Result<Answer, ApiError> {
    let connection = find(context.state, parameters)?;
    let (cloud, customer) = (cloud_address(context.state, connection), customer_address(context.state, connection));
    let mut ike = ike_json(&connection.ike);
    ike["LocalId"] = connection.ike.remote_id.clone().into();
    ike["RemoteId"] = connection.ike.local_id.clone().into();
    let ipsec = ipsec_json(&connection.ipsec);
    let tunnel = json!({
        "TunnelId": tunnel_id(connection),
        "Local": customer,
        "Remote": cloud,
        "IkeConfig": ike,
        "IpsecConfig": ipsec,
    });
    Ok(Answer::Read(json!({"VpnConnectionConfig": {
        "Local": customer,
        "Remote": cloud,
        "LocalSubnet": joined(&connection.remote_subnets),
        "RemoteSubnet": joined(&connection.local_subnets),
        "IkeConfig": ike,
        "IpsecConfig": ipsec,
        "BgpConfigs": wrapped("BgpConfig", Vec::new()),
        "TunnelsConfig": wrapped("TunnelConfig", vec![tunnel]),
    }})))
}

/// The connection that the call names, in the region that it names.
fn find<'a>(state: &'a State, parameters: &Parameters) -> Result<&'a VpnConnection, ApiError> {
    let region = region::of(parameters)?;
    let connection = state.vpn_connections.get(parameters.required("VpnConnectionId")?);
    connection.filter(|connection| region_of(state, connection) == Some(region)).ok_or_else(not_found)
}

fn not_found() -> ApiError {
    let message = "The specified vpn connection instance id does not exist.";
    ApiError::not_found("InvalidVpnConnectionInstanceId.NotFound", message)
}

/// A connection stands where its gateway stands.
fn region_of<'a>(state: &'a State, connection: &VpnConnection) -> Option<&'a str> {
    state.vpn_gateways.get(&connection.gateway).map(|gateway| gateway.region.as_str())
}

fn cloud_address(state: &State, connection: &VpnConnection) -> String {
    state.vpn_gateways.get(&connection.gateway).map(|gateway| gateway.internet_ip.to_string()).unwrap_or_default()
}

fn customer_address(state: &State, connection: &VpnConnection) -> String {
    let gateway = state.customer_gateways.get(&connection.customer_gateway);
    gateway.map(|gateway| gateway.address.to_string()).unwrap_or_default()
}

/// A connection has one tunnel, whose id follows from the connection's.
fn tunnel_id(connection: &VpnConnection) -> String {
    format!("tun-{}", connection.id.as_str().trim_start_matches("vco-"))
}

fn shown(context: &Context<'_>, connection: &VpnConnection) -> Value {
    let live = context.live.tunnel_status(&connection.gateway, connection.id.as_str());
    let status = live.unwrap_or(TunnelStatus::IkeSaNotEstablished).api_name();
    let zone = context.state.vpn_gateways.get(&connection.gateway).and_then(|gateway| gateway.vswitch.as_ref());
    let zone = zone.and_then(|vswitch| context.state.vswitches.get(vswitch)).map(|vswitch| vswitch.zone.as_str());
    json!({
        "VpnConnectionId": connection.id.as_str(),
        "VpnGatewayId": connection.gateway.as_str(),
        "CustomerGatewayId": connection.customer_gateway.as_str(),
        "Name": connection.name,
        "LocalSubnet": joined(&connection.local_subnets),
        "RemoteSubnet": joined(&connection.remote_subnets),
        "Status": status,
        "State": context.realism.status(Kind::VpnConnection, connection.id.as_str(), "active"),
        "CreateTime": connection.created.0,
        "EffectImmediately": connection.effect_immediately,
        "EnableDpd": connection.dead_peer_detection,
        "EnableNatTraversal": connection.nat_traversal,
        "EnableTunnelsBgp": false,
        "AutoConfigRoute": connection.auto_config_route,
        "InternetIp": cloud_address(context.state, connection),
        "AttachType": "VPNGW",
        "NetworkType": "public",
        "CrossAccountAuthorized": false,
        // It goes with its gateway.
        "ResourceGroupId": context.state.resource_group(connection.gateway.as_str()),
        "IkeConfig": ike_json(&connection.ike),
        "IpsecConfig": ipsec_json(&connection.ipsec),
        "VcoHealthCheck": {"Enable": "false"},
        "VpnBgpConfig": {"EnableBgp": "false"},
        "TunnelOptionsSpecification": wrapped("TunnelOptions", vec![tunnel_json(context, connection, status, zone)]),
        "Tags": tags_json(&connection.tags),
    })
}

/// As a list shows it: there the tags stand in `Tag`.
fn listed(context: &Context<'_>, connection: &VpnConnection) -> Value {
    let mut object = shown(context, connection);
    if let Value::Object(fields) = &mut object
        && let Some(tags) = fields.remove("Tags")
    {
        fields.insert("Tag".to_owned(), tags);
    }
    object
}

/// Within the list of tunnels switches and lifetimes are text.
fn tunnel_json(context: &Context<'_>, connection: &VpnConnection, status: &str, zone: Option<&str>) -> Value {
    let mut ike = ike_json(&connection.ike);
    ike["IkeLifetime"] = connection.ike.lifetime.to_string().into();
    let mut ipsec = ipsec_json(&connection.ipsec);
    ipsec["IpsecLifetime"] = connection.ipsec.lifetime.to_string().into();
    json!({
        "TunnelId": tunnel_id(connection),
        "TunnelIndex": 1,
        "Role": "master",
        "State": context.realism.status(Kind::VpnConnection, connection.id.as_str(), "active"),
        "Status": status,
        "InternetIp": cloud_address(context.state, connection),
        "ZoneNo": zone.unwrap_or_default(),
        "CustomerGatewayId": connection.customer_gateway.as_str(),
        "EnableDpd": connection.dead_peer_detection.to_string(),
        "EnableNatTraversal": connection.nat_traversal.to_string(),
        "TunnelIkeConfig": ike,
        "TunnelIpsecConfig": ipsec,
    })
}

fn ike_json(ike: &IkeConfig) -> Value {
    json!({
        "Psk": ike.psk.expose(),
        "IkeVersion": ike.version,
        "IkeMode": ike.mode,
        "IkeEncAlg": ike.encryption.word(),
        "IkeAuthAlg": ike.authentication.word(),
        "IkePfs": ike.group.word(),
        "IkeLifetime": ike.lifetime,
        "LocalId": ike.local_id,
        "RemoteId": ike.remote_id,
    })
}

fn ipsec_json(ipsec: &IpsecConfig) -> Value {
    json!({
        "IpsecEncAlg": ipsec.encryption.word(),
        "IpsecAuthAlg": ipsec.authentication.word(),
        "IpsecPfs": ipsec.pfs.word(),
        "IpsecLifetime": ipsec.lifetime,
    })
}
