//! The publishing table, and every rule that a random walk would hardly meet.

use super::*;
use crate::cen::apply::apply;
use crate::cen::client_token::{ClientToken, TOKEN_KEPT};
use crate::cen::command::*;
use crate::cen::conflict;
use crate::cen::learn::{LearnedStatus, Rejection, learned_routes};
use crate::cen::network::{
    BoundVpc, Declarations, DeclaredAddress, DeclaredRoute, DeclaredVbr, Host, NetworkKind, VpcName,
};
use crate::cen::publish::{PublishStatus, publish_status};
use crate::cen::route::{KINDS, RouteKind};

mod bandwidth;
mod crowd;
mod route_entries;
mod route_map;
mod route_table;
mod semantics;
mod vpc;
mod vpn;

fn net(text: &str) -> Ipv4Net {
    text.parse().unwrap()
}

/// A cloud that is told what to do, one command after the other.
#[derive(Default)]
struct World {
    state: State,
}

impl World {
    fn submit(&mut self, submission: &Submission) -> Result<(), ApiError> {
        for change in plan(&self.state, submission)? {
            apply(&mut self.state, &change);
        }
        Ok(())
    }

    fn try_do(&mut self, command: Command) -> Result<(), ApiError> {
        self.submit(&Submission { command, client_token: None, dry_run: false, now: UnixMillis(5) })
    }

    fn does(&mut self, command: Command) {
        self.try_do(command).unwrap();
    }

    fn refuses(&mut self, command: Command) -> String {
        let before = self.state.clone();
        let code = self.try_do(command).unwrap_err().code.into_owned();
        assert_eq!(self.state, before);
        code
    }

    fn vpc(&mut self, name: &str, region: &str, cidr: &str) -> NetworkId {
        self.does(create_vpc(name, region, cidr));
        NetworkId::Vpc(format!("vpc-{name}").as_str().into())
    }

    fn entry_to(&self, network: &NetworkId, destination: &str) -> Option<&RouteEntry> {
        self.state.table_of(network)?.entry_to(net(destination))
    }

    fn is_published(&self, network: &NetworkId, destination: &str) -> bool {
        let entry = self.entry_to(network, destination).unwrap();
        publish_status(&self.state, network, entry) == PublishStatus::Published
    }

    /// What became of the routes to `destination` at the network, by publisher.
    fn learned(&self, network: &NetworkId, destination: &str) -> Vec<(NetworkId, LearnedStatus)> {
        let routes = learned_routes(&self.state, network).into_iter();
        let routes = routes.filter(|route| route.destination == net(destination));
        routes.map(|route| (route.publisher, route.status)).collect()
    }
}

fn create_vpc(name: &str, region: &str, cidr: &str) -> Command {
    Command::CreateVpc(CreateVpc {
        id: format!("vpc-{name}").into(),
        router: format!("vrt-{name}").into(),
        route_table: format!("vtb-{name}").into(),
        service_entry: format!("rte-service-{name}").into(),
        region: region.into(),
        cidr: net(cidr),
        name: name.into(),
        description: String::new(),
        tags: Vec::new(),
        user_cidrs: Vec::new(),
        resource_group: String::new(),
    })
}

fn create_vswitch(vpc: &str, id: &str, cidr: &str) -> Command {
    Command::CreateVSwitch(CreateVSwitch {
        tags: Vec::new(),
        id: format!("vsw-{id}").into(),
        system_entry: format!("rte-vsw-{id}").into(),
        vpc: format!("vpc-{vpc}").into(),
        zone: "zone".into(),
        cidr: net(cidr),
        name: String::new(),
        description: String::new(),
    })
}

fn create_entry(table: &str, destination: &str, next_hop_type: &str, next_hop: &str) -> Command {
    Command::CreateRouteEntry(CreateRouteEntry {
        id: format!("rte-{table}-{destination}").into(),
        route_table: table.into(),
        destination: net(destination),
        next_hop_type: next_hop_type.into(),
        next_hop: next_hop.into(),
        next_hops: Vec::new(),
        name: String::new(),
        description: String::new(),
    })
}

fn delete_entry(table: &str, destination: &str, next_hop: &str) -> Command {
    Command::DeleteRouteEntry(DeleteRouteEntry::ByDestination {
        route_table: table.into(),
        destination: net(destination),
        next_hops: vec![next_hop.into()],
    })
}

fn child(network: &NetworkId, region: &str) -> ChildInstance {
    ChildInstance { cen: "cen-a".into(), network: network.clone(), region: region.into() }
}

fn route(network: &NetworkId, region: &str, table: &str, destination: &str) -> PublishedRoute {
    PublishedRoute { child: child(network, region), route_table: table.into(), destination: net(destination) }
}

fn declarations() -> Declarations {
    let host = |address: &str| Host {
        vpc: VpcName { region: "cn-hangzhou".into(), name: "h".into() },
        address: address.parse().unwrap(),
    };
    let vbr = |id: &str, routes: &[(&str, Option<Vec<u32>>)]| DeclaredVbr {
        id: format!("vbr-{id}").as_str().into(),
        region: "cn-shanghai".into(),
        name: String::new(),
        route_table: format!("vtb-vbr-{id}").into(),
        router_interface: format!("ri-{id}"),
        routes: routes
            .iter()
            .map(|(destination, as_path)| DeclaredRoute { destination: net(destination), as_path: as_path.clone() })
            .collect(),
    };
    Declarations {
        instances: [("i-a".into(), host("192.168.4.9"))].into(),
        ha_vips: [("havip-a".into(), host("192.168.4.8"))].into(),
        vbrs: vec![
            vbr("a", &[("10.8.0.0/16", None), ("10.9.0.0/16", Some(vec![65001, 65002]))]),
            vbr("b", &[("10.8.0.0/16", None), ("10.9.0.0/16", Some(vec![65003]))]),
        ],
        ..Declarations::default()
    }
}

/// Hangzhou with a vSwitch, a VPN gateway, an instance and a HaVip; Beijing; two VBRs; a CEN instance, empty.
fn world() -> (World, NetworkId, NetworkId) {
    let mut world = World::default();
    world.does(Command::Declare(Box::new(declarations())));
    let hangzhou = world.vpc("h", "cn-hangzhou", "192.168.4.0/24");
    let beijing = world.vpc("b", "cn-beijing", "192.168.1.0/24");
    world.does(create_vswitch("h", "h", "192.168.4.0/24"));
    world.does(create_vswitch("b", "b", "192.168.1.0/24"));
    world.does(Command::CreateVpnGateway(CreateVpnGateway {
        id: "vpn-h".into(),
        region: "cn-hangzhou".into(),
        vpc: "vpc-h".into(),
        vswitch: Some("vsw-h".into()),
        disaster_recovery_vswitch: None,
        name: "gateway".into(),
        description: String::new(),
        bandwidth: 10,
        charge_type: "POSTPAY".into(),
        tags: Vec::new(),
        resource_group: String::new(),
    }));
    world.does(customer_gateway("idc", "203.0.113.200"));
    world.does(Command::CreateCen(CreateCen {
        id: "cen-a".into(),
        name: String::new(),
        description: String::new(),
        protection_level: None,
        tags: Vec::new(),
    }));
    (world, hangzhou, beijing)
}

fn customer_gateway(id: &str, address: &str) -> Command {
    Command::CreateCustomerGateway(CreateCustomerGateway {
        id: format!("cgw-{id}").into(),
        region: "cn-hangzhou".into(),
        address: address.parse().unwrap(),
        asn: None,
        name: String::new(),
        description: String::new(),
        tags: Vec::new(),
        resource_group: String::new(),
    })
}

fn attached() -> (World, NetworkId, NetworkId) {
    let (mut world, hangzhou, beijing) = world();
    world.does(Command::AttachNetwork(child(&hangzhou, "cn-hangzhou")));
    world.does(Command::AttachNetwork(child(&beijing, "cn-beijing")));
    (world, hangzhou, beijing)
}

/// The customer's table: route type, network, published to CEN by default. Every one can be withdrawn.
const PUBLISHING: &[(&str, RouteKind, NetworkKind, bool)] = &[
    ("points to an ECS instance", RouteKind::Instance, NetworkKind::Vpc, false),
    ("points to a VPN gateway", RouteKind::VpnGateway, NetworkKind::Vpc, false),
    ("points to a HaVip", RouteKind::HaVip, NetworkKind::Vpc, false),
    ("VPC system route", RouteKind::VSwitch, NetworkKind::Vpc, true),
    ("points to a local IDC", RouteKind::DataCenter, NetworkKind::Vbr, true),
    ("BGP route", RouteKind::Bgp, NetworkKind::Vbr, true),
];

#[test]
fn the_kinds_are_the_customers_table_and_the_service_route() {
    for (name, kind, network, by_default) in PUBLISHING {
        let row = kind.row();
        assert_eq!((row.network, row.published_by_default, row.withdrawable), (*network, *by_default, true), "{name}");
    }
    let others: Vec<_> = KINDS.iter().filter(|row| !PUBLISHING.iter().any(|(_, kind, ..)| *kind == row.kind)).collect();
    assert_eq!(others.len(), 1);
    assert_eq!(
        (others[0].kind, others[0].published_by_default, others[0].withdrawable),
        (RouteKind::Service, false, false)
    );
}

#[test]
fn every_row_of_the_publishing_table_holds_from_attaching_to_deleting() {
    for (name, kind, _, by_default) in PUBLISHING {
        let (mut world, hangzhou, beijing) = world();
        let vbr = NetworkId::Vbr("vbr-a".into());
        let (network, region, table, destination) = match kind {
            RouteKind::Instance | RouteKind::VpnGateway | RouteKind::HaVip => {
                (hangzhou, "cn-hangzhou", "vtb-h", "10.1.1.0/24")
            }
            RouteKind::VSwitch => (hangzhou, "cn-hangzhou", "vtb-h", "192.168.4.0/24"),
            RouteKind::DataCenter => (vbr, "cn-shanghai", "vtb-vbr-a", "10.7.0.0/16"),
            RouteKind::Bgp => (vbr, "cn-shanghai", "vtb-vbr-a", "10.9.0.0/16"),
            RouteKind::Service => unreachable!("not in the table"),
        };
        let next_hop = match kind {
            RouteKind::Instance => "i-a",
            RouteKind::VpnGateway => "vpn-h",
            RouteKind::HaVip => "havip-a",
            _ => "ri-a",
        };
        let create = create_entry(table, destination, kind.row().next_hop_type, next_hop);
        if kind.row().custom {
            world.does(create.clone());
        }
        assert_eq!(world.entry_to(&network, destination).unwrap().kind, *kind, "{name}");
        world.does(Command::AttachNetwork(child(&network, region)));
        world.does(Command::AttachNetwork(child(&beijing, "cn-beijing")));
        let (route, active) =
            (route(&network, region, table, destination), vec![(network.clone(), LearnedStatus::Active)]);
        let expected = |published: bool| if published { active.clone() } else { Vec::new() };

        assert_eq!(world.is_published(&network, destination), *by_default, "{name}: default");
        assert_eq!(world.learned(&beijing, destination), expected(*by_default), "{name}: default");
        world.does(Command::PublishRoute(route.clone()));
        world.does(Command::PublishRoute(route.clone()));
        assert_eq!(world.learned(&beijing, destination), active, "{name}: published");
        world.does(Command::WithdrawRoute(route.clone()));
        world.does(Command::WithdrawRoute(route.clone()));
        assert!(!world.is_published(&network, destination), "{name}: withdrawn");
        assert!(world.learned(&beijing, destination).is_empty(), "{name}: withdrawn, others forget it");
        world.does(Command::PublishRoute(route.clone()));

        world.does(Command::DetachNetwork(child(&network, region)));
        assert!(world.learned(&beijing, destination).is_empty(), "{name}: detached");
        assert!(learned_routes(&world.state, &network).is_empty(), "{name}: detached networks learn nothing");
        world.does(Command::AttachNetwork(child(&network, region)));
        assert_eq!(world.learned(&beijing, destination), expected(*by_default), "{name}: attached again");

        if kind.row().custom {
            world.does(Command::PublishRoute(route));
            world.does(delete_entry(table, destination, next_hop));
            assert!(world.learned(&beijing, destination).is_empty(), "{name}: deleted here, gone from CEN");
            world.does(create);
            assert_eq!(world.is_published(&network, destination), *by_default, "{name}: made again");
        }
    }
}

#[test]
fn the_service_route_and_unknown_routes_cannot_be_published() {
    let (mut world, hangzhou, _) = attached();
    let publish = |destination: &str, table: &str, region: &str| {
        Command::PublishRoute(route(&hangzhou, region, table, destination))
    };
    for (command, code) in [
        (publish("100.64.0.0/10", "vtb-h", "cn-hangzhou"), "InvalidOperation.UnsupportnexthopType"),
        (publish("10.1.1.0/24", "vtb-h", "cn-hangzhou"), "InvalidOperation.NotFoundRoute"),
        (publish("192.168.4.0/24", "vtb-b", "cn-hangzhou"), "InvalidParameter"),
        (publish("192.168.4.0/24", "vtb-h", "cn-beijing"), "ParameterIllegal.ChildInstanceRegionId"),
    ] {
        assert_eq!(world.refuses(command), code);
    }
    let vbr = NetworkId::Vbr("vbr-a".into());
    let not_attached = Command::PublishRoute(route(&vbr, "cn-shanghai", "vtb-vbr-a", "10.8.0.0/16"));
    assert_eq!(world.refuses(not_attached), "Instance.NotExist");
    let again = Command::AttachNetwork(child(&hangzhou, "cn-hangzhou"));
    assert_eq!(world.refuses(again), "InvalidOperation.ChildInstanceAlreadyAttached");
    assert_eq!(world.refuses(Command::DeleteCen { cen: "cen-a".into() }), "InvalidOperation.CenInstanceStatus");
}

#[test]
fn entries_that_collide_within_a_vpc_are_refused() {
    let (mut world, ..) = world();
    world.does(create_entry("vtb-h", "10.1.1.0/24", "VpnGateway", "vpn-h"));
    for (destination, kind, next_hop, code) in [
        ("10.1.1.0/24", "VpnGateway", "vpn-h", "InvalidCIDRBlock.Duplicate"),
        ("192.168.4.0/24", "VpnGateway", "vpn-h", "InvalidCidrBlock"),
        ("192.168.4.128/25", "VpnGateway", "vpn-h", "InvalidCidrBlock"),
        ("100.64.1.0/24", "VpnGateway", "vpn-h", "InvalidCidrBlock"),
        ("10.2.0.0/16", "VpnGateway", "vpn-x", "InvalidVpnInstanceId.NotFound"),
        ("10.2.0.0/16", "Instance", "i-x", "InvalidNextHopId.NotFound"),
        ("10.2.0.0/16", "HaVip", "havip-x", "InvalidHaVipId.NotFound"),
        ("10.2.0.0/16", "RouterInterface", "ri-a", "InvalidNextHopType"),
    ] {
        assert_eq!(world.refuses(create_entry("vtb-h", destination, kind, next_hop)), code, "{destination} {kind}");
    }
    assert_eq!(world.refuses(create_entry("vtb-b", "10.2.0.0/16", "Instance", "i-a")), "InvalidNextHopId.NotFound");
    assert_eq!(
        world.refuses(create_entry("vtb-b", "10.2.0.0/16", "VpnGateway", "vpn-h")),
        "InvalidVpnInstanceId.NotFound"
    );
    // What contains a vSwitch is no collision.
    world.does(create_entry("vtb-h", "192.168.0.0/16", "VpnGateway", "vpn-h"));

    world.does(create_vpc("big", "cn-hangzhou", "172.16.0.0/12"));
    world.does(create_vswitch("big", "1", "172.16.1.0/24"));
    assert_eq!(world.refuses(create_vswitch("big", "2", "172.16.1.128/25")), "InvalidCidrBlock.Overlapped");
    assert_eq!(world.refuses(create_vswitch("big", "3", "10.0.0.0/24")), "InvalidParameter");
    assert_eq!(world.refuses(create_vswitch("big", "4", "172.16.2.1/24")), "InvalidCidrBlock.Malformed");
    assert_eq!(world.refuses(create_vswitch("big", "5", "172.16.2.0/30")), "InvalidCidrBlock.MaskLength");
}

#[test]
fn a_route_table_holds_200_custom_entries() {
    let (mut world, ..) = world();
    for number in 0..200 {
        world.does(create_entry("vtb-h", &format!("10.1.{number}.0/24"), "VpnGateway", "vpn-h"));
    }
    assert_eq!(world.refuses(create_entry("vtb-h", "10.2.0.0/24", "VpnGateway", "vpn-h")), "QuotaExceeded");
}

#[test]
fn a_collision_is_not_learned_and_shows_at_both_ends() {
    let (mut world, hangzhou, beijing) = attached();
    world.does(create_entry("vtb-h", "192.168.1.0/25", "VpnGateway", "vpn-h"));
    let inside = route(&hangzhou, "cn-hangzhou", "vtb-h", "192.168.1.0/25");
    world.does(Command::PublishRoute(inside));
    let rejected = LearnedStatus::Rejected(Rejection::OwnEntry(net("192.168.1.0/24")));
    assert_eq!(world.learned(&beijing, "192.168.1.0/25"), [(hangzhou.clone(), rejected)]);
    let conflicts = conflict::at_publisher(&world.state, &hangzhou, net("192.168.1.0/25"));
    let seen: Vec<_> = conflicts.iter().map(|c| (c.region, c.instance.clone(), c.status)).collect();
    assert_eq!(seen, [("cn-beijing", beijing.clone(), "conflict")]);
    let view = crate::cen::learn::View::of_network(&world.state, &beijing).unwrap();
    let own = conflict::with_own_entry(&world.state, &view, net("192.168.1.0/24"), 9);
    assert_eq!((own.len(), own[0].instance), (1, &hangzhou));

    // A route that contains the vSwitch is no collision: the longest prefix decides.
    world.does(create_entry("vtb-h", "192.168.0.0/16", "VpnGateway", "vpn-h"));
    world.does(Command::PublishRoute(route(&hangzhou, "cn-hangzhou", "vtb-h", "192.168.0.0/16")));
    assert_eq!(world.learned(&beijing, "192.168.0.0/16"), [(hangzhou, LearnedStatus::Active)]);
}

#[test]
fn the_earlier_publisher_wins_until_it_withdraws() {
    let (mut world, hangzhou, beijing) = attached();
    let shanghai = world.vpc("s", "cn-shanghai", "192.168.2.0/24");
    world.does(Command::AttachNetwork(child(&shanghai, "cn-shanghai")));
    let vbr = NetworkId::Vbr("vbr-a".into());
    world.does(create_entry("vtb-h", "10.8.0.0/16", "VpnGateway", "vpn-h"));
    let first = route(&hangzhou, "cn-hangzhou", "vtb-h", "10.8.0.0/16");
    world.does(Command::PublishRoute(first.clone()));
    world.does(Command::AttachNetwork(child(&vbr, "cn-shanghai")));
    let late = LearnedStatus::Rejected(Rejection::EarlierPublisher(hangzhou.clone()));
    assert_eq!(
        world.learned(&beijing, "10.8.0.0/16"),
        [(hangzhou.clone(), LearnedStatus::Active), (vbr.clone(), late)]
    );
    let conflicts = conflict::at_publisher(&world.state, &vbr, net("10.8.0.0/16"));
    assert!(conflicts.iter().all(|conflict| *conflict.instance == hangzhou) && !conflicts.is_empty());
    world.does(Command::WithdrawRoute(first));
    assert_eq!(world.learned(&beijing, "10.8.0.0/16"), [(vbr, LearnedStatus::Active)]);
}

#[test]
fn vbrs_share_static_routes_and_prefer_the_shorter_as_path() {
    let (mut world, _, beijing) = attached();
    let (a, b) = (NetworkId::Vbr("vbr-a".into()), NetworkId::Vbr("vbr-b".into()));
    world.does(Command::AttachNetwork(child(&a, "cn-shanghai")));
    world.does(Command::AttachNetwork(child(&b, "cn-shanghai")));
    let both = [(a.clone(), LearnedStatus::Active), (b.clone(), LearnedStatus::Active)];
    assert_eq!(world.learned(&beijing, "10.8.0.0/16"), both);
    let shorter = [(a.clone(), LearnedStatus::Candidate), (b.clone(), LearnedStatus::Active)];
    assert_eq!(world.learned(&beijing, "10.9.0.0/16"), shorter);
    // VBRs learn from VPCs, not from each other.
    assert!(learned_routes(&world.state, &a).iter().all(|route| route.publisher.kind() == NetworkKind::Vpc));
    assert_eq!(world.learned(&a, "192.168.1.0/24").len(), 1);
}

#[test]
fn a_client_token_makes_a_repeated_call_one_call() {
    let (mut world, ..) = world();
    let submission = |fingerprint: &str, command| Submission {
        command,
        client_token: Some(ClientToken {
            key: "CreateVpc once".into(),
            fingerprint: fingerprint.into(),
            answer: Some(fingerprint.into()),
        }),
        dry_run: false,
        now: UnixMillis(9),
    };
    world.submit(&submission("first", create_vpc("t", "cn-beijing", "10.0.0.0/16"))).unwrap();
    let before = world.state.clone();
    assert_eq!(before.client_tokens["CreateVpc once"].answer, Some("first".into()));
    world.submit(&submission("first", create_vpc("again", "cn-beijing", "10.0.0.0/16"))).unwrap();
    assert_eq!(world.state, before);
    let later =
        |now| Submission { now: UnixMillis(now), ..submission("other", create_vpc("o", "cn-beijing", "10.1.0.0/16")) };
    assert_eq!(world.submit(&later(TOKEN_KEPT + 9)).unwrap_err().code, "IdempotentParameterMismatch");
    let dry = Submission {
        dry_run: true,
        client_token: None,
        ..submission("dry", create_vpc("d", "cn-beijing", "10.2.0.0/16"))
    };
    assert_eq!(world.submit(&dry).unwrap_err().code, "DryRunOperation");
    assert_eq!(world.state, before);
    world.submit(&later(TOKEN_KEPT + 10)).unwrap();
}

#[test]
fn declared_things_follow_the_configuration() {
    let (mut world, ..) = world();
    let vbr = NetworkId::Vbr("vbr-a".into());
    world.does(Command::AttachNetwork(child(&vbr, "cn-shanghai")));
    world.does(Command::WithdrawRoute(route(&vbr, "cn-shanghai", "vtb-vbr-a", "10.8.0.0/16")));
    assert_eq!(world.refuses(delete_entry("vtb-vbr-a", "10.8.0.0/16", "ri-a")), "Forbbiden");
    let again = plan(
        &world.state,
        &Submission {
            command: Command::Declare(Box::new(declarations())),
            client_token: None,
            dry_run: false,
            now: UnixMillis(99),
        },
    );
    assert_eq!(again.unwrap(), [], "a restart with the same configuration changes nothing");

    let mut changed = declarations();
    changed.vbrs.remove(1);
    changed.vbrs[0].routes[1].destination = net("10.99.0.0/16");
    changed.gateway_addresses.push(DeclaredAddress {
        region: "cn-hangzhou".into(),
        gateway_name: "named".into(),
        address: "198.51.100.7".parse().unwrap(),
    });
    changed.bound_vpcs.push(BoundVpc {
        vpc: VpcName { region: "cn-beijing".into(), name: "bound".into() },
        cidr: net("192.168.9.0/24"),
    });
    world.does(Command::Declare(Box::new(changed)));
    assert!(world.is_published(&vbr, "10.99.0.0/16") && !world.is_published(&vbr, "10.8.0.0/16"));
    assert!(world.entry_to(&vbr, "10.9.0.0/16").is_none());
    assert_eq!(world.state.vbrs.len(), 1);
    assert_eq!(world.refuses(create_vpc("bound", "cn-beijing", "192.168.8.0/24")), "InvalidCidrBlock");
    world.does(create_vpc("bound", "cn-beijing", "192.168.9.0/24"));
}
