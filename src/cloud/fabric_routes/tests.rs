use std::collections::BTreeSet;

use super::*;
use crate::cen::network::{Host, UnixMillis, VSwitch, Vpc, VpcName};
use crate::cen::route::{EntryOrigin, NextHop, RouteTable};
use crate::cen::state::Attachment;

const HANGZHOU: u8 = 4;
const BEIJING: u8 = 1;

fn net(text: &str) -> Ipv4Net {
    text.parse().expect("a prefix")
}

fn entry(id: &str, destination: &str, kind: EntryKind, next_hop: &str) -> RouteEntry {
    RouteEntry {
        id: id.into(),
        destination: net(destination),
        kind,
        next_hop: next_hop.to_owned(),
        next_hops: Vec::new(),
        as_path: Vec::new(),
        origin: EntryOrigin::Api,
        name: String::new(),
        description: String::new(),
        created: UnixMillis(0),
    }
}

/// A VPC 192.168.N.0/24 with one vSwitch, attached to one CEN with its vSwitch published.
fn add_vpc(state: &mut State, name: &str, number: u8) {
    let cidr = net(&format!("192.168.{number}.0/24"));
    let table = format!("vtb-{name}");
    let vpc = Vpc {
        id: format!("vpc-{name}").into(),
        region: format!("cn-{name}"),
        cidr,
        name: name.to_owned(),
        description: String::new(),
        router: format!("vrt-{name}").into(),
        route_table: table.as_str().into(),
        created: UnixMillis(0),
        tags: Vec::new(),
        created_as: None,
        secondary_cidrs: Vec::new(),
        user_cidrs: Vec::new(),
    };
    let network = NetworkId::Vpc(vpc.id.clone());
    let vswitch = VSwitch {
        id: format!("vsw-{name}").into(),
        vpc: vpc.id.clone(),
        zone: String::new(),
        cidr,
        name: String::new(),
        description: String::new(),
        created: UnixMillis(0),
        tags: Vec::new(),
        route_table: None,
    };
    let system = entry(&format!("rte-{name}"), &cidr.to_string(), EntryKind::VSwitch, vswitch.id.as_str());
    let table = RouteTable {
        id: table.into(),
        network: network.clone(),
        name: String::new(),
        description: String::new(),
        tags: Vec::new(),
        created: UnixMillis(0),
        route_propagation: true,
        entries: BTreeMap::from([(system.id.clone(), system)]).into(),
    };
    state.vswitches.insert(vswitch.id.clone(), vswitch);
    state.route_tables.insert(table.id.clone(), table);
    state.vpcs.insert(vpc.id.clone(), vpc);
    let publications = BTreeMap::from([(cidr, u64::from(number))]).into();
    state.attachments.insert(network, Attachment { cen: "cen-1".into(), attached: UnixMillis(0), publications });
    state.reindex();
}

fn add_entry(state: &mut State, vpc: &str, entry: RouteEntry, published: bool) {
    let network = NetworkId::Vpc(format!("vpc-{vpc}").into());
    if published {
        let attachment = state.attachments.get_mut(&network).expect("an attached network");
        attachment.publications.insert(entry.destination, 100);
    }
    let table = state.route_tables.get_mut(format!("vtb-{vpc}").as_str()).expect("a table");
    table.entries.insert(entry.id.clone(), entry);
    state.reindex();
}

fn state() -> State {
    let mut state = State::default();
    add_vpc(&mut state, "hangzhou", HANGZHOU);
    add_vpc(&mut state, "beijing", BEIJING);
    let gateway = VpnGateway {
        id: "vpn-1".into(),
        region: "cn-hangzhou".to_owned(),
        vpc: "vpc-hangzhou".into(),
        vswitch: None,
        disaster_recovery_vswitch: None,
        name: "to-idc".to_owned(),
        description: String::new(),
        bandwidth: 10,
        charge_type: "POSTPAY".to_owned(),
        internet_ip: Ipv4Addr::new(198, 51, 100, 2),
        created: UnixMillis(0),
        tags: Vec::new(),
        auto_propagate: false,
        created_as: None,
    };
    state.vpn_gateways.insert(gateway.id.clone(), gateway);
    state
}

fn bindings() -> Bindings {
    let network = |name: &str, number: u8| NetworkBinding {
        network: BoundNetwork::Vpc(VpcName { region: format!("cn-{name}"), name: name.to_owned() }),
        namespace: format!("{name}-router").into(),
        router_device: "cen".into(),
        router_address: Ipv4Addr::new(100, 64, number, 2),
        fabric_device: name.into(),
        fabric_address: Ipv4Addr::new(100, 64, number, 1),
        data_center_address: None,
    };
    Bindings {
        fabric: Some(super::super::fabric_binding::FabricBinding { namespace: "fabric".into() }),
        networks: vec![network("hangzhou", HANGZHOU), network("beijing", BEIJING)],
        vpn_gateways: vec![GatewayBinding {
            region: "cn-hangzhou".to_owned(),
            name: "to-idc".to_owned(),
            namespace: "vpn-gateway".into(),
            inner_address: Ipv4Addr::new(100, 64, 0, 2),
            router_address: Ipv4Addr::new(100, 64, 0, 1),
            socket: "/run/gatewayd.sock".into(),
        }],
    }
}

/// Routes of one namespace and table as `destination via gateway`, drops as `destination kind`.
fn shown(kernels: &BTreeMap<Arc<str>, KernelState>, namespace: &str, table: u32) -> BTreeSet<String> {
    let one = |route: &KernelRoute| match route.gateway {
        Some(gateway) => format!("{} via {gateway}", route.destination),
        None => format!("{} {:?}", route.destination, route.kind),
    };
    kernels[namespace].routes.iter().filter(|route| route.table == table).map(one).collect()
}

fn set(lines: &[&str]) -> BTreeSet<String> {
    lines.iter().map(|line| (*line).to_owned()).collect()
}

const HANGZHOU_TABLE: u32 = FABRIC_TABLE;
const BEIJING_TABLE: u32 = FABRIC_TABLE + 1;

#[test]
fn attached_networks_learn_each_other_and_the_gateway_reaches_both() {
    let kernels = fabric_routes(&state(), &bindings());
    assert_eq!(shown(&kernels, "hangzhou-router", TABLE_MAIN), set(&["192.168.1.0/24 via 100.64.4.1"]));
    assert_eq!(shown(&kernels, "beijing-router", TABLE_MAIN), set(&["192.168.4.0/24 via 100.64.1.1"]));
    assert_eq!(
        shown(&kernels, "fabric", HANGZHOU_TABLE),
        set(&["192.168.1.0/24 via 100.64.1.2", "0.0.0.0/0 Unreachable"])
    );
    assert_eq!(
        shown(&kernels, "vpn-gateway", TABLE_MAIN),
        set(&["192.168.1.0/24 via 100.64.0.1", "192.168.4.0/24 via 100.64.0.1"])
    );
    let rules: Vec<_> = kernels["fabric"].rules.iter().map(|r| (r.input_device.as_deref(), r.table)).collect();
    assert_eq!(rules, [(Some("hangzhou"), HANGZHOU_TABLE), (Some("beijing"), BEIJING_TABLE)]);
}

#[test]
fn an_entry_to_the_vpn_gateway_reaches_others_only_once_published() {
    for published in [false, true] {
        let mut state = state();
        let to_idc = entry("rte-idc", "10.1.1.0/24", EntryKind::VpnGateway, "vpn-1");
        add_entry(&mut state, "hangzhou", to_idc, published);
        let kernels = fabric_routes(&state, &bindings());
        assert!(shown(&kernels, "hangzhou-router", TABLE_MAIN).contains("10.1.1.0/24 via 100.64.0.2"));
        let in_beijing = shown(&kernels, "beijing-router", TABLE_MAIN).contains("10.1.1.0/24 via 100.64.1.1");
        let in_fabric = shown(&kernels, "fabric", BEIJING_TABLE).contains("10.1.1.0/24 via 100.64.4.2");
        assert_eq!((in_beijing, in_fabric), (published, published));
        let gateway = shown(&kernels, "vpn-gateway", TABLE_MAIN);
        assert!(!gateway.iter().any(|line| line.starts_with("10.1.1.0/24")), "the gateway does not route in a circle");
    }
}

#[test]
fn a_detached_network_is_cut_off_in_the_fabric_and_everywhere_forgotten() {
    let mut state = state();
    state.attachments.remove(&NetworkId::Vpc("vpc-beijing".into()));
    state.reindex();
    let kernels = fabric_routes(&state, &bindings());
    assert_eq!(shown(&kernels, "fabric", BEIJING_TABLE), set(&["0.0.0.0/0 Unreachable"]));
    assert_eq!(shown(&kernels, "fabric", HANGZHOU_TABLE), set(&["0.0.0.0/0 Unreachable"]));
    assert!(shown(&kernels, "beijing-router", TABLE_MAIN).is_empty());
    assert_eq!(kernels["fabric"].rules.len(), 2, "its packets are still looked up in its own table");
}

#[test]
fn an_entry_to_a_host_goes_there_and_one_to_nothing_catches_its_packets() {
    let mut state = state();
    let vpc = VpcName { region: "cn-hangzhou".to_owned(), name: "hangzhou".to_owned() };
    let host = Host { vpc, address: Ipv4Addr::new(192, 168, 4, 10) };
    state.declarations.instances.insert("i-1".into(), host);
    add_entry(&mut state, "hangzhou", entry("rte-1", "172.16.0.0/16", EntryKind::Instance, "i-1"), false);
    add_entry(&mut state, "hangzhou", entry("rte-2", "172.17.0.0/16", EntryKind::VpnGateway, "vpn-unbound"), false);
    let kernels = fabric_routes(&state, &bindings());
    let router = shown(&kernels, "hangzhou-router", TABLE_MAIN);
    assert!(router.contains("172.16.0.0/16 via 192.168.4.10"), "{router:?}");
    assert!(router.contains("172.17.0.0/16 Unreachable"), "{router:?}");
}

#[test]
fn before_the_api_made_anything_every_bound_namespace_is_named_and_the_fabric_is_shut() {
    let kernels = fabric_routes(&State::default(), &bindings());
    let namespaces: Vec<&str> = kernels.keys().map(AsRef::as_ref).collect();
    assert_eq!(namespaces, ["beijing-router", "fabric", "hangzhou-router", "vpn-gateway"]);
    let routes: Vec<_> = kernels.values().flat_map(|kernel| &kernel.routes).collect();
    assert!(routes.iter().all(|route| route.kind == RouteKind::Unreachable));
}

/// The rules of a namespace as `from source lookup table`.
fn shown_rules(kernels: &BTreeMap<Arc<str>, KernelState>, namespace: &str) -> Vec<String> {
    let one = |rule: &KernelRule| format!("from {} lookup {}", rule.source.expect("a source"), rule.table);
    kernels[namespace].rules.iter().map(one).collect()
}

/// Gives Hangzhou a custom table with its system route, one to the VPN gateway and the default route to a host.
fn add_custom_table(state: &mut State) -> u32 {
    let network = NetworkId::Vpc("vpc-hangzhou".into());
    let vpc = VpcName { region: "cn-hangzhou".to_owned(), name: "hangzhou".to_owned() };
    state.declarations.instances.insert("i-1".into(), Host { vpc, address: Ipv4Addr::new(192, 168, 4, 10) });
    let entries = [
        entry("rte-c1", "192.168.4.0/24", EntryKind::VSwitch, "vsw-hangzhou"),
        entry("rte-c2", "10.9.0.0/16", EntryKind::VpnGateway, "vpn-1"),
        entry("rte-c3", "0.0.0.0/0", EntryKind::Instance, "i-1"),
    ];
    let system = state.table_of(&network).expect("a table").clone();
    let entries = BTreeMap::from(entries.map(|entry| (entry.id.clone(), entry))).into();
    let table = RouteTable { id: "vtb-custom".into(), entries, ..system };
    let number = custom_table(&table);
    state.route_tables.insert(table.id.clone(), table);
    number
}

#[test]
fn packets_of_a_vswitch_are_looked_up_in_the_custom_table_that_it_uses() {
    let mut state = state();
    let number = add_custom_table(&mut state);
    let kernels = fabric_routes(&state, &bindings());
    assert!(kernels["hangzhou-router"].rules.is_empty(), "nobody uses the table");
    assert!(shown(&kernels, "hangzhou-router", number).is_empty());

    let vswitch = state.vswitches.get_mut("vsw-hangzhou").expect("a vSwitch");
    vswitch.route_table = Some("vtb-custom".into());
    let kernels = fabric_routes(&state, &bindings());
    assert_eq!(shown_rules(&kernels, "hangzhou-router"), [format!("from 192.168.4.0/24 lookup {number}")]);
    assert_eq!(
        shown(&kernels, "hangzhou-router", number),
        set(&[
            "192.168.4.0/24 Throw",
            "10.9.0.0/16 via 100.64.0.2",
            "0.0.0.0/0 via 192.168.4.10",
            "0.0.0.0/0 Unreachable",
            "192.168.1.0/24 via 100.64.4.1",
        ])
    );
    assert_eq!(shown(&kernels, "hangzhou-router", TABLE_MAIN), set(&["192.168.1.0/24 via 100.64.4.1"]));
}

#[test]
fn a_table_without_propagation_receives_nothing_from_cen_and_the_other_does() {
    let mut state = state();
    let number = add_custom_table(&mut state);
    state.vswitches.get_mut("vsw-hangzhou").expect("a vSwitch").route_table = Some("vtb-custom".into());
    let received = "192.168.1.0/24 via 100.64.4.1";
    for (off, in_custom, in_main) in [("vtb-custom", false, true), ("vtb-hangzhou", true, false)] {
        let mut state = state.clone();
        state.route_tables.get_mut(off).expect("a table").route_propagation = false;
        let kernels = fabric_routes(&state, &bindings());
        assert_eq!(shown(&kernels, "hangzhou-router", number).contains(received), in_custom, "{off}");
        assert_eq!(shown(&kernels, "hangzhou-router", TABLE_MAIN).contains(received), in_main, "{off}");
        let of_gateway = shown(&kernels, "vpn-gateway", TABLE_MAIN);
        assert_eq!(of_gateway.contains("192.168.1.0/24 via 100.64.0.1"), in_main, "a gateway follows the system table");
    }
}

#[test]
fn an_own_entry_of_a_custom_table_wins_over_what_is_learned() {
    let mut state = state();
    let number = add_custom_table(&mut state);
    state.vswitches.get_mut("vsw-hangzhou").expect("a vSwitch").route_table = Some("vtb-custom".into());
    let table = state.route_tables.get_mut("vtb-custom").expect("a table");
    let own = entry("rte-c4", "192.168.1.0/24", EntryKind::VpnGateway, "vpn-1");
    table.entries.insert(own.id.clone(), own);
    let kernels = fabric_routes(&state, &bindings());
    let custom = shown(&kernels, "hangzhou-router", number);
    assert!(custom.contains("192.168.1.0/24 via 100.64.0.2"), "{custom:?}");
    assert!(!custom.contains("192.168.1.0/24 via 100.64.4.1"), "{custom:?}");
    assert_eq!(shown(&kernels, "hangzhou-router", TABLE_MAIN), set(&["192.168.1.0/24 via 100.64.4.1"]));
}

#[test]
fn an_entry_with_several_next_hops_is_one_route_to_those_in_use() {
    let mut state = state();
    let vpc = VpcName { region: "cn-hangzhou".to_owned(), name: "hangzhou".to_owned() };
    for number in [1, 2] {
        let host = Host { vpc: vpc.clone(), address: Ipv4Addr::new(192, 168, 4, 10 + number) };
        state.declarations.instances.insert(format!("i-{number}").as_str().into(), host);
    }
    let several = |id: &str, destination: &str, hops: &[(&str, u8)]| RouteEntry {
        next_hops: hops.iter().map(|(id, weight)| NextHop { id: (*id).to_owned(), weight: *weight }).collect(),
        ..entry(id, destination, EntryKind::Instance, hops[0].0)
    };
    let three = [("i-1", 5), ("i-unbound", 5), ("i-2", 5)];
    add_entry(&mut state, "hangzhou", several("rte-1", "172.16.0.0/16", &three), false);
    add_entry(&mut state, "hangzhou", several("rte-2", "172.17.0.0/16", &[("i-2", 100), ("i-1", 0)]), false);
    let kernels = fabric_routes(&state, &bindings());
    let gateways = |destination: &str| {
        let to_it =
            kernels["hangzhou-router"].routes.iter().filter(|route| route.destination.to_string() == destination);
        let all = to_it.map(|route| route.gateway.into_iter().chain(route.more_gateways.clone()).collect::<Vec<_>>());
        all.collect::<Vec<_>>()
    };
    let host = |last| IpAddr::from([192, 168, 4, last]);
    assert_eq!(gateways("172.16.0.0/16"), [vec![host(11), host(12)]]);
    assert_eq!(gateways("172.17.0.0/16"), [vec![host(12)]]);
}
