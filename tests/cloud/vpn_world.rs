//! Random lives of VPN connections and their routes, as commands that the cloud may refuse.

use ipnet::Ipv4Net;
use ipsec_gateway::cen::command::{
    Command, CreateCustomerGateway, CreateVSwitch, CreateVpc, CreateVpnConnection, CreateVpnGateway, CreateVpnRoute,
    IkeParameters, IpsecParameters, KnownVpnRoute, ModifyVpnConnection, ModifyVpnRoute, PublishVpnRoute, Submission,
};
use ipsec_gateway::cen::network::{Declarations, UnixMillis};
use ipsec_gateway::cen::vpn::{PreSharedKey, VpnRouteKey};
use ipsec_gateway::cloud::fabric_binding::GatewayBinding;
use rand::Rng;
use rand::seq::IndexedRandom;
use rand_chacha::ChaCha8Rng;

pub const REGION: &str = "cn-hangzhou";
/// Only the first one is bound to a gatewayd.
pub const GATEWAYS: [&str; 2] = ["vpn-bound", "vpn-other"];
const CONNECTIONS: usize = 5;
const CUSTOMERS: usize = 3;
/// With the least prefix a connection is in destination mode.
const SUBNETS: [&str; 5] = ["10.1.0.0/24", "10.2.0.0/24", "10.3.0.0/16", "10.3.1.0/24", "0.0.0.0/0"];
/// What the file of the bound gatewayd names.
const FILE_ROUTES: [(&str, &str); 2] = [("10.9.0.0/24", "branch"), ("10.1.0.0/24", "branch")];

/// A command as the API submits it.
pub fn submission(command: Command) -> Submission {
    Submission { command, client_token: None, dry_run: false, now: UnixMillis(1) }
}

pub fn net(text: &str) -> Ipv4Net {
    text.parse().unwrap()
}

/// The binding of the first gateway.
pub fn binding(socket: &std::path::Path) -> GatewayBinding {
    GatewayBinding {
        region: REGION.into(),
        name: GATEWAYS[0].into(),
        namespace: "none".into(),
        inner_address: "10.254.4.2".parse().unwrap(),
        router_address: "10.254.4.1".parse().unwrap(),
        socket: socket.to_owned(),
    }
}

/// What is there before the first connection.
pub fn beginning() -> Vec<Command> {
    let pool = Declarations { address_pool: net("203.0.113.0/24"), ..Declarations::default() };
    let mut commands = vec![
        Command::Declare(Box::new(pool)),
        Command::CreateVpc(CreateVpc {
            id: "vpc-a".into(),
            router: "vrt-a".into(),
            route_table: "vtb-a".into(),
            service_entry: "rte-service".into(),
            region: REGION.into(),
            cidr: net("192.168.0.0/16"),
            name: "vpc".into(),
            description: String::new(),
            tags: Vec::new(),
            user_cidrs: Vec::new(),
            resource_group: String::new(),
        }),
        Command::CreateVSwitch(CreateVSwitch {
            tags: Vec::new(),
            id: "vsw-a".into(),
            system_entry: "rte-vsw".into(),
            vpc: "vpc-a".into(),
            zone: String::new(),
            cidr: net("192.168.0.0/24"),
            name: String::new(),
            description: String::new(),
        }),
    ];
    commands.extend(GATEWAYS.map(create_gateway));
    commands.extend((0..CUSTOMERS).map(create_customer));
    commands
}

fn create_gateway(name: &str) -> Command {
    Command::CreateVpnGateway(CreateVpnGateway {
        id: name.into(),
        region: REGION.into(),
        vpc: "vpc-a".into(),
        vswitch: None,
        disaster_recovery_vswitch: None,
        name: name.into(),
        description: String::new(),
        bandwidth: 10,
        charge_type: "POSTPAY".into(),
        tags: Vec::new(),
        resource_group: String::new(),
    })
}

fn create_customer(number: usize) -> Command {
    Command::CreateCustomerGateway(CreateCustomerGateway {
        id: format!("cgw-{number}").into(),
        region: REGION.into(),
        address: format!("198.51.100.{number}").parse().unwrap(),
        asn: None,
        name: String::new(),
        description: String::new(),
        tags: Vec::new(),
        resource_group: String::new(),
    })
}

/// One thing that somebody asks of the cloud; `number` makes ids that are new.
pub fn random_command(random: &mut ChaCha8Rng, number: usize) -> Command {
    let gateway = *GATEWAYS.choose(random).unwrap();
    let connection = format!("vco-{}", random.random_range(0..CONNECTIONS));
    let weight = *[0, 100].choose(random).unwrap();
    let key = VpnRouteKey {
        gateway: gateway.into(),
        destination: net(SUBNETS.choose(random).unwrap()),
        next_hop: connection.clone(),
        // Also that of the routes that a connection makes itself.
        source: random.random_bool(0.5).then(|| net("192.168.0.0/16")),
    };
    match random.random_range(0..14) {
        0..3 => Command::CreateVpnConnection(Box::new(CreateVpnConnection {
            id: connection.as_str().into(),
            region: REGION.into(),
            gateway: gateway.into(),
            customer_gateway: format!("cgw-{}", random.random_range(0..CUSTOMERS)).into(),
            name: String::new(),
            local_subnets: vec![net(if random.random_bool(0.3) { "0.0.0.0/0" } else { "192.168.0.0/16" })],
            remote_subnets: subnets(random),
            effect_immediately: random.random(),
            dead_peer_detection: true,
            nat_traversal: true,
            auto_config_route: random.random(),
            ike: IkeParameters::default(),
            ipsec: IpsecParameters::default(),
            generated_psk: PreSharedKey::new(format!("key-{number}")),
            tags: Vec::new(),
        })),
        3 | 4 => Command::ModifyVpnConnection(Box::new(ModifyVpnConnection {
            connection: connection.as_str().into(),
            name: Some(format!("name-{number}")),
            local_subnets: None,
            remote_subnets: random.random_bool(0.5).then(|| subnets(random)),
            effect_immediately: random.random_bool(0.5).then(|| random.random()),
            dead_peer_detection: Some(random.random()),
            nat_traversal: None,
            auto_config_route: Some(random.random()),
            ike: IkeParameters::default(),
            ipsec: IpsecParameters::default(),
        })),
        5 => Command::DeleteVpnConnection { connection: connection.as_str().into() },
        6..8 => Command::CreateVpnRoute(CreateVpnRoute {
            key,
            weight,
            priority: None,
            publish: random.random(),
            entry_id: format!("rte-{number}").into(),
            description: String::new(),
        }),
        8 if random.random() => Command::DeleteVpnRoute(KnownVpnRoute { key, weight, priority: None }),
        8 => Command::ModifyVpnRoute(ModifyVpnRoute {
            route: KnownVpnRoute { key, weight, priority: None },
            new_weight: random.random_bool(0.5).then_some(100 - weight),
            new_priority: random.random_bool(0.5).then(|| random.random_range(1..=100)),
        }),
        9 | 10 => Command::PublishVpnRoute(PublishVpnRoute {
            policy_based: key.source.is_some(),
            key: VpnRouteKey { source: None, ..key },
            publish: random.random(),
            entry_id: format!("rte-{number}").into(),
            owned_by_file: None,
        }),
        11 => {
            let (destination, next_hop) = *FILE_ROUTES.choose(random).unwrap();
            Command::PublishVpnRoute(PublishVpnRoute {
                key: VpnRouteKey { destination: net(destination), next_hop: next_hop.into(), source: None, ..key },
                policy_based: false,
                publish: random.random(),
                entry_id: format!("rte-{number}").into(),
                owned_by_file: Some(100),
            })
        }
        12 => match random.random_bool(0.5) {
            true => Command::DeleteVpnGateway { gateway: gateway.into() },
            false => create_gateway(gateway),
        },
        _ => {
            let customer = random.random_range(0..CUSTOMERS);
            match random.random_bool(0.5) {
                true => Command::DeleteCustomerGateway { customer_gateway: format!("cgw-{customer}").into() },
                false => create_customer(customer),
            }
        }
    }
}

fn subnets(random: &mut ChaCha8Rng) -> Vec<Ipv4Net> {
    let count = random.random_range(1..3);
    SUBNETS.choose_multiple(random, count).map(|subnet| net(subnet)).collect()
}
