//! A VPC's custom route table in the kernel of its router: who uses it, and what that changes for its packets.
use std::collections::BTreeMap;

use ipsec_gateway::cen::apply::apply;
use ipsec_gateway::cen::command::{
    AssociateRouteTable, Command, CreateRouteEntry, CreateRouteTable, CreateVSwitch, CreateVpc, Submission,
};
use ipsec_gateway::cen::network::{Declarations, Host, UnixMillis, VpcName};
use ipsec_gateway::cen::plan::plan;
use ipsec_gateway::cen::route::NextHop;
use ipsec_gateway::cen::state::State;
use ipsec_gateway::cloud::fabric_binding::{Bindings, BoundNetwork, NetworkBinding};
use ipsec_gateway::cloud::fabric_routes::fabric_routes;
use ipsec_gateway::io::netlink::Netlink;
use ipsec_gateway::io::netns::Namespace;
use ipsec_gateway::routing::{PROTOCOL_CEND, reconcile};

use crate::lab::{TestNamespace, cable, may_make_namespaces};

const REGION: &str = "cn-hangzhou";

fn does(state: &mut State, command: Command) {
    let submission = Submission { command, client_token: None, dry_run: false, now: UnixMillis(1) };
    for change in plan(state, &submission).expect("the cloud agrees") {
        apply(state, &change);
    }
}

fn create_vswitch(id: &str, cidr: &str) -> Command {
    Command::CreateVSwitch(CreateVSwitch {
        id: id.into(),
        system_entry: format!("rte-{id}").into(),
        vpc: "vpc-a".into(),
        zone: String::new(),
        cidr: cidr.parse().expect("a block"),
        name: String::new(),
        description: String::new(),
        tags: Vec::new(),
    })
}

fn create_entry(table: &str, destination: &str, hops: &[&str]) -> Command {
    let next_hops = hops.iter().map(|id| NextHop { id: (*id).to_owned(), weight: 0 });
    Command::CreateRouteEntry(CreateRouteEntry {
        id: format!("rte-{table}-{destination}").into(),
        route_table: table.into(),
        destination: destination.parse().expect("a block"),
        next_hop_type: "Instance".to_owned(),
        next_hop: hops[0].to_owned(),
        next_hops: if hops.len() > 1 { next_hops.collect() } else { Vec::new() },
        name: String::new(),
        description: String::new(),
    })
}

/// A VPC with two vSwitches and a custom table, which the first one uses. Only the system table leads to 10.200.0.0/16.
fn cloud() -> State {
    let vpc = VpcName { region: REGION.to_owned(), name: "vpc".to_owned() };
    let host = |last: u8| Host { vpc: vpc.clone(), address: [192, 168, 4, last].into() };
    let instances = [("i-custom", 11), ("i-1", 131), ("i-2", 132)].map(|(id, last)| (id.into(), host(last)));
    let mut state = State::default();
    let commands = [
        Command::Declare(Box::new(Declarations { instances: BTreeMap::from(instances), ..Declarations::default() })),
        Command::CreateVpc(CreateVpc {
            id: "vpc-a".into(),
            router: "vrt-a".into(),
            route_table: "vtb-a".into(),
            service_entry: "rte-service".into(),
            region: REGION.to_owned(),
            cidr: "192.168.4.0/24".parse().expect("a block"),
            name: "vpc".to_owned(),
            description: String::new(),
            tags: Vec::new(),
            user_cidrs: Vec::new(),
            resource_group: String::new(),
        }),
        create_vswitch("vsw-1", "192.168.4.0/25"),
        Command::CreateRouteTable(CreateRouteTable {
            id: "vtb-custom".into(),
            vpc: "vpc-a".into(),
            name: String::new(),
            description: String::new(),
            tags: Vec::new(),
        }),
        create_vswitch("vsw-2", "192.168.4.128/25"),
        create_entry("vtb-custom", "10.9.0.0/16", &["i-custom"]),
        create_entry("vtb-a", "10.9.0.0/16", &["i-1", "i-2"]),
        create_entry("vtb-a", "10.200.0.0/16", &["i-1"]),
        Command::AssociateRouteTable(association()),
    ];
    commands.into_iter().for_each(|command| does(&mut state, command));
    state
}

fn association() -> AssociateRouteTable {
    AssociateRouteTable { route_table: "vtb-custom".into(), vswitch: "vsw-1".into() }
}

/// Brings the router's kernel to what the state says, twice: the second time there is nothing to do.
async fn set(router: &TestNamespace, state: &State) {
    let network = BoundNetwork::Vpc(VpcName { region: REGION.to_owned(), name: "vpc".to_owned() });
    let bindings = Bindings {
        networks: vec![NetworkBinding {
            network,
            namespace: router.name.as_str().into(),
            router_device: "cen".into(),
            router_address: [100, 64, 4, 2].into(),
            fabric_device: "cn-hangzhou".into(),
            fabric_address: [100, 64, 4, 1].into(),
            data_center_address: None,
        }],
        ..Bindings::default()
    };
    let wanted = &fabric_routes(state, &bindings)[router.name.as_str()];
    let netlink = Netlink::open(&Namespace::Named(router.name.as_str().into())).expect("a socket");
    let diff = reconcile(wanted, &netlink.state().await.expect("its routes"), PROTOCOL_CEND);
    let outcome = netlink.apply(diff).await.expect("its devices");
    assert_eq!((outcome.refusals(), outcome.blocked), (Vec::new(), Vec::new()));
    let again = reconcile(wanted, &netlink.state().await.expect("its routes"), PROTOCOL_CEND);
    assert!(again.is_empty(), "{again:?}");
}

#[tokio::test]
async fn packets_of_a_vswitch_go_where_its_custom_table_says_and_nowhere_else() {
    if !may_make_namespaces("packets_of_a_vswitch_go_where_its_custom_table_says_and_nowhere_else") {
        return;
    }
    let router = TestNamespace::new("router");
    let hosts = ["host-1", "host-2"].map(TestNamespace::new);
    cable(&router, ("one", "192.168.4.1/25"), &hosts[0], ("eth0", "192.168.4.10/25"));
    cable(&router, ("two", "192.168.4.129/25"), &hosts[1], ("eth0", "192.168.4.130/25"));
    router.exec(&["sysctl", "-qw", "net.ipv4.ip_forward=1"]);
    hosts[0].ip("route add default via 192.168.4.1");
    hosts[1].ip("route add default via 192.168.4.129");

    let mut state = cloud();
    set(&router, &state).await;
    let way = |destination: &str, source: &str, device: &str| {
        router.ip(&format!("route get {destination} from {source} iif {device}"))
    };
    assert!(way("10.9.0.1", "192.168.4.10", "one").contains("via 192.168.4.11 "));
    let of_the_other = way("10.9.0.1", "192.168.4.130", "two");
    assert!(
        ["via 192.168.4.131 ", "via 192.168.4.132 "].iter().any(|hop| of_the_other.contains(hop)),
        "{of_the_other}"
    );
    assert!(way("10.200.0.1", "192.168.4.130", "two").contains("via 192.168.4.131 "));
    let astray = ["ip", "route", "get", "10.200.0.1", "from", "192.168.4.10", "iif", "one"];
    assert!(!router.succeeds(&astray), "only the system table leads there");
    assert!(hosts[0].succeeds(&["ping", "-c1", "-W2", "192.168.4.130"]), "vSwitches of a VPC reach each other");
    let shared = router.ip("route show 10.9.0.0/16");
    assert_eq!(shared.matches("nexthop via").count(), 2, "{shared}");

    does(&mut state, Command::UnassociateRouteTable(association()));
    set(&router, &state).await;
    assert!(way("10.200.0.1", "192.168.4.10", "one").contains("via 192.168.4.131 "));
    assert!(!router.ip("rule show").contains("192.168.4.0/25"));
}
