//! VPN connections, their routes, and what depends on them.

use super::*;
use crate::cen::vpn::{PreSharedKey, VpnRouteKey};

fn create_connection(id: &str, customer_gateway: &str, remote: &[&str], auto: bool) -> CreateVpnConnection {
    CreateVpnConnection {
        id: format!("vco-{id}").into(),
        entry_ids: (0..remote.len()).map(|n| format!("rte-auto-{id}-{n}").into()).collect(),
        region: "cn-hangzhou".into(),
        gateway: "vpn-h".into(),
        customer_gateway: customer_gateway.into(),
        name: String::new(),
        local_subnets: vec![net("192.168.0.0/16")],
        remote_subnets: remote.iter().map(|subnet| net(subnet)).collect(),
        effect_immediately: false,
        dead_peer_detection: true,
        nat_traversal: true,
        auto_config_route: auto,
        ike: IkeParameters::default(),
        ipsec: IpsecParameters::default(),
        generated_psk: PreSharedKey::new("generated".into()),
        tags: Vec::new(),
    }
}

fn connect(id: &str, remote: &[&str], auto: bool) -> Command {
    Command::CreateVpnConnection(Box::new(create_connection(id, "cgw-idc", remote, auto)))
}

#[test]
fn a_connection_configures_its_routes_itself() {
    let (mut world, hangzhou, _) = attached();
    world.does(connect("a", &["10.1.1.0/24", "10.1.2.0/24"], true));
    assert_eq!(
        world.refuses(create_entry("vtb-h", "10.1.1.0/24", "VpnGateway", "vpn-h")),
        "InvalidCIDRBlock.Duplicate"
    );
    assert!(world.state.vpn_routes.values().all(|route| route.published && route.weight == 100));
    assert!(!world.is_published(&hangzhou, "10.1.1.0/24"), "to the VPC, not to CEN");

    world.does(delete_entry("vtb-h", "10.1.1.0/24", "vpn-h"));
    let route = |world: &World, destination: &str| {
        let routes = world.state.vpn_routes.values();
        routes.filter(|route| route.key.destination == net(destination)).map(|route| route.published).next()
    };
    assert_eq!((route(&world, "10.1.1.0/24"), route(&world, "10.1.2.0/24")), (Some(false), Some(true)));
    assert_eq!(
        world.refuses(Command::DeleteVpnGateway { gateway: "vpn-h".into() }),
        "VpnDependencyViolation.VpnConnection"
    );
    world.does(Command::DeleteVpnConnection { connection: "vco-a".into() });
    assert!(world.state.vpn_routes.is_empty());
    assert!(world.entry_to(&hangzhou, "10.1.2.0/24").is_none());
    world.does(Command::DeleteVpnGateway { gateway: "vpn-h".into() });
}

#[test]
fn a_connection_without_missing_values_gets_the_defaults() {
    let (mut world, ..) = world();
    world.does(connect("a", &["10.1.1.0/24"], false));
    let connection = &world.state.vpn_connections["vco-a"];
    let (ike, ipsec) = (&connection.ike, &connection.ipsec);
    assert_eq!((ike.version.as_str(), ike.encryption.word(), ike.authentication.word()), ("ikev2", "aes", "sha256"));
    assert_eq!((ike.group.word(), ipsec.pfs.word(), ike.lifetime), ("group14", "group14", 86400));
    assert_eq!((ike.local_id.as_str(), ike.remote_id.as_str()), ("203.0.113.1", "203.0.113.200"));
    assert_eq!(ike.psk.expose(), "generated");
    assert!(!format!("{connection:?}").contains("generated"));
    assert_eq!(world.refuses(connect("b", &["10.1.1.0/24"], false)), "InvalidVpnConnection.AlreadyExists");

    let mut given = create_connection("c", "cgw-idc", &["10.3.0.0/16"], false);
    given.ike.psk = Some(PreSharedKey::new("has space".into()));
    assert_eq!(world.refuses(Command::CreateVpnConnection(Box::new(given.clone()))), "InvalidIkeConfig.Psk");
    given.ike =
        IkeParameters { version: Some("ikev1".into()), authentication: "md5".parse().ok(), ..Default::default() };
    world.does(Command::CreateVpnConnection(Box::new(given.clone())));
    assert_eq!(world.state.vpn_connections["vco-c"].ike.authentication.word(), "md5", "stored and shown as given");
    given.ike.version = Some("ikev3".into());
    assert_eq!(world.refuses(Command::CreateVpnConnection(Box::new(given))), "InvalidIkeConfig.IkeVersion");
}

#[test]
fn two_vpn_routes_share_one_entry_of_the_vpc() {
    let (mut world, hangzhou, _) = world();
    world.does(customer_gateway("second", "203.0.113.201"));
    world.does(connect("a", &["10.1.1.0/24"], false));
    let second = create_connection("b", "cgw-second", &["10.1.1.0/24"], false);
    world.does(Command::CreateVpnConnection(Box::new(second)));
    let key = |next_hop: &str| VpnRouteKey {
        gateway: "vpn-h".into(),
        destination: net("10.1.1.0/24"),
        next_hop: next_hop.into(),
    };
    let create = |next_hop, weight| {
        Command::CreateVpnRoute(CreateVpnRoute {
            key: key(next_hop),
            weight,
            publish: true,
            entry_id: format!("rte-{next_hop}").into(),
            description: String::new(),
        })
    };
    world.does(create("vco-a", 100));
    world.does(create("vco-b", 0));
    assert_eq!(world.refuses(create("vco-b", 0)), "InvalidRouteEntry.Duplicate");
    let publish = |next_hop: &str, publish| {
        let entry_id = format!("rte-again-{next_hop}").into();
        Command::PublishVpnRoute(PublishVpnRoute { key: key(next_hop), publish, entry_id, owned_by_file: None })
    };
    world.does(publish("vco-a", false));
    assert!(world.entry_to(&hangzhou, "10.1.1.0/24").is_some(), "the other route is still published");
    let delete = |weight| Command::DeleteVpnRoute(DeleteVpnRoute { key: key("vco-b"), weight });
    assert_eq!(world.refuses(delete(100)), "InvalidRouteEntry.NotFound");
    let modify = |weight, new_weight| {
        Command::ModifyVpnRouteWeight(ModifyVpnRouteWeight { key: key("vco-b"), weight, new_weight })
    };
    assert_eq!(world.refuses(modify(100, 0)), "InvalidRouteEntry.NotFound");
    assert_eq!(world.refuses(modify(0, 50)), "InvalidNewWeight");
    world.does(modify(0, 100));
    let route = &world.state.vpn_routes[&key("vco-b")];
    assert_eq!((route.weight, route.published), (100, true));
    world.does(modify(100, 0));
    world.does(delete(0));
    assert!(world.entry_to(&hangzhou, "10.1.1.0/24").is_none());
    world.does(create_entry("vtb-h", "10.1.1.0/24", "VpnGateway", "vpn-h"));
    assert_eq!(world.refuses(publish("vco-a", true)), "InvalidCIDRBlock.Duplicate");
}

#[test]
fn what_is_still_referred_to_cannot_be_deleted_and_the_refusal_names_what_refers_to_it() {
    let (mut world, ..) = attached();
    world.does(connect("a", &["10.1.1.0/24"], true));
    let refusal = world.try_do(Command::DeleteVpc { vpc: "vpc-h".into() }).unwrap_err();
    assert_eq!(refusal.code, "DependencyViolation.VSwitch");
    for dependent in ["vsw-h", "vpn-h", "10.1.1.0/24", "cen-a"] {
        assert!(refusal.message.contains(dependent), "{refusal}");
    }
    let vswitch = Command::DeleteVSwitch { vswitch: "vsw-h".into() };
    assert_eq!(world.refuses(vswitch), "DependencyViolation.VpnGateway");
    let customer = Command::DeleteCustomerGateway { customer_gateway: "cgw-idc".into() };
    assert_eq!(world.refuses(customer), "DependencyViolation.VpnConnection");
}
