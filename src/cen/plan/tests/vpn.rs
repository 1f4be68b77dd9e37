//! VPN connections, their routes, and what depends on them.

use super::*;
use crate::cen::network::Declarations;
use crate::cen::vpn::{PreSharedKey, VpnRouteKey};

fn create_connection(id: &str, customer_gateway: &str, remote: &[&str], auto: bool) -> CreateVpnConnection {
    CreateVpnConnection {
        id: format!("vco-{id}").into(),
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

/// Nothing of it.
fn modify_connection(id: &str) -> ModifyVpnConnection {
    ModifyVpnConnection {
        connection: id.into(),
        name: None,
        local_subnets: None,
        remote_subnets: None,
        effect_immediately: None,
        dead_peer_detection: None,
        nat_traversal: None,
        auto_config_route: None,
        ike: IkeParameters::default(),
        ipsec: IpsecParameters::default(),
    }
}

fn route_key(source: Option<&str>, destination: &str, next_hop: &str) -> VpnRouteKey {
    VpnRouteKey {
        gateway: "vpn-h".into(),
        destination: net(destination),
        next_hop: next_hop.into(),
        source: source.map(net),
    }
}

fn create_route(key: VpnRouteKey, weight: u8, publish: bool) -> Command {
    let entry_id = format!("rte-{}-{}", key.destination, key.next_hop).into();
    Command::CreateVpnRoute(CreateVpnRoute {
        key,
        weight,
        priority: None,
        publish,
        entry_id,
        description: String::new(),
    })
}

fn publish_route(key: VpnRouteKey, policy_based: bool, publish: bool) -> Command {
    let entry_id = format!("rte-again-{}", key.next_hop).into();
    Command::PublishVpnRoute(PublishVpnRoute { key, policy_based, publish, entry_id, owned_by_file: None })
}

#[test]
fn a_connection_configures_policy_based_routes_and_no_entry_of_the_vpc() {
    let (mut world, hangzhou, _) = attached();
    let mut create = create_connection("a", "cgw-idc", &["10.1.1.0/24", "10.1.2.0/24"], true);
    create.local_subnets = vec![net("192.168.4.0/24"), net("192.168.5.0/24")];
    world.does(Command::CreateVpnConnection(Box::new(create)));
    let key = |source, destination| route_key(Some(source), destination, "vco-a");
    let keys = |world: &World| world.state.vpn_routes.keys().cloned().collect::<Vec<_>>();
    let mut expected = vec![
        key("192.168.4.0/24", "10.1.1.0/24"),
        key("192.168.4.0/24", "10.1.2.0/24"),
        key("192.168.5.0/24", "10.1.1.0/24"),
        key("192.168.5.0/24", "10.1.2.0/24"),
    ];
    expected.sort();
    assert_eq!(keys(&world), expected);
    let made = world.state.vpn_routes.values();
    assert!(made.clone().all(|route| (route.weight, route.priority, route.published) == (100, 10, false)));
    // What configurations do beside it: they make the entry themselves.
    world.does(create_entry("vtb-h", "10.1.1.0/24", "VpnGateway", "vpn-h"));

    let modify = |auto: Option<bool>, remote: &str| {
        Command::ModifyVpnConnection(Box::new(ModifyVpnConnection {
            remote_subnets: Some(vec![net(remote)]),
            auto_config_route: auto,
            ..modify_connection("vco-a")
        }))
    };
    world.does(modify(None, "10.1.3.0/24"));
    assert_eq!(keys(&world), [key("192.168.4.0/24", "10.1.3.0/24"), key("192.168.5.0/24", "10.1.3.0/24")]);
    // One that somebody has made is not the connection's to take.
    world.does(create_route(key("192.168.6.0/24", "10.1.3.0/24"), 100, false));
    world.does(modify(Some(false), "10.1.3.0/24"));
    assert_eq!(keys(&world), [key("192.168.6.0/24", "10.1.3.0/24")]);
    world.does(Command::DeleteVpnConnection { connection: "vco-a".into() });
    assert!(world.state.vpn_routes.is_empty());
    assert!(world.entry_to(&hangzhou, "10.1.1.0/24").is_some());
}

/// What older versions left: destination-based routes that say that `AutoConfigRoute` has made them.
fn leave_automatic_destination_routes(world: &mut World, routes: &[(&str, &str, u8, bool)]) {
    world.state.vpn_routes.clear();
    for (destination, connection, weight, published) in routes {
        world.does(create_route(route_key(None, destination, connection), *weight, *published));
    }
    let text = serde_json::to_string(&world.state).unwrap();
    let text = text.replace("\"automatic\":false", "\"automatic\":true").replace("\"priority\":10,", "");
    world.state = serde_json::from_str(&text).unwrap();
    assert!(world.state.vpn_routes.values().all(|route| route.automatic && route.key.source.is_none()));
}

#[test]
fn automatic_routes_of_an_older_version_become_policy_based_and_what_was_published_stays() {
    let (mut world, hangzhou, _) = world();
    world.does(connect("a", &["10.1.1.0/24", "10.1.2.0/24"], true));
    leave_automatic_destination_routes(
        &mut world,
        &[("10.1.1.0/24", "vco-a", 100, true), ("10.1.2.0/24", "vco-a", 100, false)],
    );
    let declare = Command::Declare(Box::new(Declarations::clone(&world.state.declarations)));
    world.does(declare.clone());
    let found: Vec<_> = world.state.vpn_routes.values().map(|route| (route.key.clone(), route.automatic)).collect();
    let expected = [
        (route_key(None, "10.1.1.0/24", "vco-a"), false),
        (route_key(Some("192.168.0.0/16"), "10.1.1.0/24", "vco-a"), true),
        (route_key(Some("192.168.0.0/16"), "10.1.2.0/24", "vco-a"), true),
    ];
    assert_eq!(found, expected);
    assert!(world.entry_to(&hangzhou, "10.1.1.0/24").is_some(), "traffic relies on it");
    // Once: one that somebody deletes does not come back with the next start.
    world.does(Command::DeleteVpnRoute(KnownVpnRoute { key: expected[2].0.clone(), weight: 100, priority: None }));
    world.does(declare);
    assert_eq!(world.state.vpn_routes.len(), 2);
    world.does(publish_route(expected[0].0.clone(), false, false));
    assert!(world.entry_to(&hangzhou, "10.1.1.0/24").is_none(), "and may be withdrawn");
}

#[test]
fn at_the_first_start_of_this_version_no_packet_takes_another_way() {
    let (mut world, ..) = world();
    world.does(customer_gateway("second", "203.0.113.201"));
    world.does(connect("a", &["10.1.0.0/16", "10.2.0.0/16", "10.3.0.0/16", "10.4.0.0/16", "10.5.0.0/16"], true));
    let second = create_connection("b", "cgw-second", &["10.1.0.0/16", "10.5.5.0/24", "10.0.0.0/8"], false);
    world.does(Command::CreateVpnConnection(Box::new(second)));
    leave_automatic_destination_routes(
        &mut world,
        &[
            ("10.1.0.0/16", "vco-a", 0, true),
            ("10.2.0.0/16", "vco-a", 100, false),
            ("10.3.0.0/16", "vco-a", 0, false),
            ("10.4.0.0/16", "vco-a", 100, false),
            ("10.5.0.0/16", "vco-a", 100, false),
        ],
    );
    // Somebody's own routes through the other connection, to a part of what the first one has, and around it.
    world.does(create_route(route_key(None, "10.2.2.0/24", "vco-b"), 100, false));
    world.does(create_route(route_key(None, "10.0.0.0/8", "vco-b"), 100, false));

    let declare = Command::Declare(Box::new(Declarations::clone(&world.state.declarations)));
    world.does(declare.clone());
    let left = |world: &World| {
        let routes = world.state.vpn_routes.values().filter(|route| route.key.next_hop == "vco-a");
        let shown = |route: &crate::cen::vpn::VpnRoute| {
            let (VpnRouteKey { destination, source, .. }, weight) = (&route.key, route.weight);
            (destination.to_string(), source.is_some(), weight, route.published, route.automatic)
        };
        routes.map(shown).collect::<Vec<_>>()
    };
    let route = |destination: &str, policy_based, weight, published| {
        (destination.to_owned(), policy_based, weight, published, policy_based)
    };
    let expected = [
        route("10.1.0.0/16", false, 0, true),
        route("10.2.0.0/16", false, 100, false),
        route("10.3.0.0/16", false, 0, false),
        route("10.3.0.0/16", true, 0, false),
        route("10.4.0.0/16", true, 100, false),
        route("10.5.0.0/16", false, 100, false),
    ];
    assert_eq!(left(&world), expected);

    // Nor does one at the next start, nor when something else of the connection is changed.
    world.does(declare);
    let modify = |remote_subnets, psk: &str| {
        Command::ModifyVpnConnection(Box::new(ModifyVpnConnection {
            remote_subnets,
            auto_config_route: Some(true),
            ike: IkeParameters { psk: Some(PreSharedKey::new(psk.into())), ..IkeParameters::default() },
            ..modify_connection("vco-a")
        }))
    };
    world.does(modify(None, "another"));
    assert_eq!(left(&world), expected);
    world.does(modify(Some(vec![net("10.3.0.0/16"), net("10.6.0.0/16")]), "another"));
    assert!(left(&world).contains(&route("10.6.0.0/16", true, 100, false)));
}

#[test]
fn a_policy_based_route_has_a_source_a_priority_and_a_quota_of_its_own() {
    let (mut world, ..) = world();
    world.does(connect("a", &["10.1.1.0/24"], false));
    let key = route_key(Some("192.168.4.0/24"), "10.1.1.0/24", "vco-a");
    let create = |priority| {
        let Command::CreateVpnRoute(create) = create_route(key.clone(), 100, false) else { unreachable!() };
        Command::CreateVpnRoute(CreateVpnRoute { priority: Some(priority), ..create })
    };
    assert_eq!(world.refuses(create(0)), "InvalidPriority");
    assert_eq!(world.refuses(create(101)), "InvalidPriority");
    world.does(create(7));
    assert_eq!(world.refuses(create(8)), "InvalidRouteEntry.Duplicate");
    world.does(create_route(route_key(None, "10.1.1.0/24", "vco-a"), 100, false));
    let service = route_key(Some("100.64.1.0/24"), "10.1.1.0/24", "vco-a");
    assert_eq!(world.refuses(create_route(service, 100, false)), "InvalidCidrBlock");

    let known = |weight, priority| KnownVpnRoute { key: key.clone(), weight, priority };
    let modify =
        |route, new_weight, new_priority| Command::ModifyVpnRoute(ModifyVpnRoute { route, new_weight, new_priority });
    assert_eq!(world.refuses(modify(known(100, Some(8)), Some(0), None)), "InvalidRouteEntry.NotFound");
    assert_eq!(world.refuses(modify(known(100, Some(7)), None, Some(101))), "InvalidNewPriority");
    world.does(modify(known(100, None), Some(0), None));
    world.does(modify(known(0, Some(7)), None, Some(1)));
    let route = &world.state.vpn_routes[&key];
    assert_eq!((route.weight, route.priority), (0, 1));
    assert_eq!(world.refuses(Command::DeleteVpnRoute(known(0, Some(7)))), "InvalidRouteEntry.NotFound");
    world.does(Command::DeleteVpnRoute(known(0, Some(1))));

    for n in 0..20 {
        world.does(create_route(route_key(Some(&format!("192.168.{n}.0/24")), "10.1.1.0/24", "vco-a"), 100, false));
    }
    let more = route_key(Some("192.168.20.0/24"), "10.1.1.0/24", "vco-a");
    assert_eq!(world.refuses(create_route(more, 100, false)), "Resource.QuotaFull");
    world.does(create_route(route_key(None, "10.1.2.0/24", "vco-a"), 100, false));
}

#[test]
fn automatic_routes_count_in_the_quota_of_policy_based_ones() {
    let (mut world, ..) = world();
    let nets = |count: usize| (0..count).map(|n| format!("10.1.{n}.0/24")).collect::<Vec<_>>();
    let connection = |id: &str, gateway: &str, count: usize, automatic| {
        let nets = nets(count);
        let nets: Vec<&str> = nets.iter().map(String::as_str).collect();
        Command::CreateVpnConnection(Box::new(create_connection(id, gateway, &nets, automatic)))
    };
    world.does(customer_gateway("second", "203.0.113.201"));
    world.does(customer_gateway("third", "203.0.113.202"));
    world.does(connection("a", "cgw-idc", 10, true));
    world.does(connection("b", "cgw-second", 9, true));
    world.does(create_route(route_key(Some("192.168.4.0/24"), "10.1.1.0/24", "vco-a"), 100, false));
    let more = route_key(Some("192.168.5.0/24"), "10.1.1.0/24", "vco-a");
    assert_eq!(world.refuses(create_route(more, 100, false)), "Resource.QuotaFull");
    assert_eq!(world.refuses(connection("c", "cgw-third", 1, true)), "Resource.QuotaFull");
    world.does(connection("c", "cgw-third", 1, false));

    // Others in the place of those that go need no more room.
    let modify = |remote_subnets| {
        Command::ModifyVpnConnection(Box::new(ModifyVpnConnection {
            remote_subnets: Some(remote_subnets),
            ..modify_connection("vco-b")
        }))
    };
    world.does(modify((0..9).map(|n| net(&format!("10.2.{n}.0/24"))).collect()));
    assert_eq!(world.refuses(modify((0..10).map(|n| net(&format!("10.2.{n}.0/24"))).collect())), "Resource.QuotaFull");
    assert_eq!(world.state.vpn_routes.len(), 20);
}

#[test]
fn both_kinds_of_routes_share_one_entry_of_the_vpc_and_go_with_the_policy_based_one() {
    let (mut world, hangzhou, _) = world();
    world.does(connect("a", &["10.1.1.0/24"], false));
    let by_destination = route_key(None, "10.1.1.0/24", "vco-a");
    let [one, other] =
        ["192.168.4.0/24", "192.168.5.0/24"].map(|source| route_key(Some(source), "10.1.1.0/24", "vco-a"));
    assert_eq!(world.refuses(publish_route(by_destination.clone(), true, true)), "InvalidRouteEntry.NotFound");
    world.does(create_route(by_destination.clone(), 100, true));
    world.does(create_route(one.clone(), 100, true));
    world.does(create_route(other, 100, false));
    world.does(Command::DeleteVpnRoute(KnownVpnRoute { key: one.clone(), weight: 100, priority: None }));
    assert!(world.entry_to(&hangzhou, "10.1.1.0/24").is_some(), "the other kind is still published");
    world.does(create_route(one, 100, false));
    world.does(customer_gateway("second", "203.0.113.201"));
    world.does(Command::CreateVpnConnection(Box::new(create_connection("b", "cgw-second", &["10.1.1.0/24"], false))));
    let of_another = route_key(Some("192.168.6.0/24"), "10.1.1.0/24", "vco-b");
    world.does(create_route(of_another.clone(), 100, true));
    world.does(publish_route(by_destination.clone(), false, true));
    world.does(publish_route(by_destination.clone(), true, true));
    assert!(world.state.vpn_routes.values().all(|route| route.published));
    // The destination-based one goes alone, and the entry is still needed.
    world.does(publish_route(by_destination.clone(), false, false));
    assert!(world.state.vpn_routes.values().all(|route| route.published == route.key.source.is_some()));
    assert!(world.entry_to(&hangzhou, "10.1.1.0/24").is_some());
    world.does(publish_route(by_destination.clone(), false, true));
    // The policy-based ones of a connection take it along, and leave another connection's.
    world.does(publish_route(by_destination.clone(), true, false));
    assert!(world.state.vpn_routes.values().all(|route| route.published == (route.key == of_another)));
    assert!(world.entry_to(&hangzhou, "10.1.1.0/24").is_some());
    world.does(publish_route(of_another, true, false));
    assert!(world.entry_to(&hangzhou, "10.1.1.0/24").is_none());
    // All that need the entry go at once.
    world.does(publish_route(by_destination.clone(), false, true));
    world.does(publish_route(by_destination, true, true));
    world.does(Command::DeleteVpnConnection { connection: "vco-a".into() });
    assert!(world.entry_to(&hangzhou, "10.1.1.0/24").is_none());
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
    let key = |next_hop: &str| route_key(None, "10.1.1.0/24", next_hop);
    let create = |next_hop, weight| create_route(key(next_hop), weight, true);
    world.does(create("vco-a", 100));
    world.does(create("vco-b", 0));
    assert_eq!(world.refuses(create("vco-b", 0)), "InvalidRouteEntry.Duplicate");
    let publish = |next_hop: &str, publish| publish_route(key(next_hop), false, publish);
    world.does(publish("vco-a", false));
    assert!(world.entry_to(&hangzhou, "10.1.1.0/24").is_some(), "the other route is still published");
    let known = |weight| KnownVpnRoute { key: key("vco-b"), weight, priority: None };
    let delete = |weight| Command::DeleteVpnRoute(known(weight));
    assert_eq!(world.refuses(delete(100)), "InvalidRouteEntry.NotFound");
    let modify = |weight, new_weight| {
        let route = known(weight);
        Command::ModifyVpnRoute(ModifyVpnRoute { route, new_weight: Some(new_weight), new_priority: None })
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
    world.does(create_entry("vtb-h", "10.1.1.0/24", "VpnGateway", "vpn-h"));
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
