//! Custom route tables.

use serde_json::Value;

use super::*;
use crate::cen::propagation::receives;
use crate::cen::resource::{ModifyAttributes, ResourceId};

pub(super) fn create_table(vpc: &str, id: &str) -> Command {
    Command::CreateRouteTable(CreateRouteTable {
        id: format!("vtb-{id}").into(),
        vpc: format!("vpc-{vpc}").into(),
        name: String::new(),
        description: String::new(),
        tags: Vec::new(),
    })
}

fn delete_table(id: &str) -> Command {
    Command::DeleteRouteTable { route_table: format!("vtb-{id}").into() }
}

fn association(table: &str, vswitch: &str) -> AssociateRouteTable {
    AssociateRouteTable { route_table: format!("vtb-{table}").into(), vswitch: format!("vsw-{vswitch}").into() }
}

fn associate(table: &str, vswitch: &str) -> Command {
    Command::AssociateRouteTable(association(table, vswitch))
}

fn unassociate(table: &str, vswitch: &str) -> Command {
    Command::UnassociateRouteTable(association(table, vswitch))
}

/// Destinations of a table's entries.
fn destinations(world: &World, table: &str) -> Vec<String> {
    let table = &world.state.route_tables[format!("vtb-{table}").as_str()];
    let mut destinations: Vec<Ipv4Net> = table.entries.values().map(|entry| entry.destination).collect();
    destinations.sort();
    destinations.iter().map(Ipv4Net::to_string).collect()
}

#[test]
fn a_custom_table_has_the_system_routes_of_its_vpc_as_they_come_and_go() {
    let (mut world, ..) = world();
    world.does(create_vpc("big", "cn-hangzhou", "172.16.0.0/12"));
    world.does(create_vswitch("big", "1", "172.16.1.0/24"));
    world.does(create_table("big", "c"));
    assert_eq!(destinations(&world, "c"), ["100.64.0.0/10", "172.16.1.0/24"]);
    world.does(create_vswitch("big", "2", "172.16.2.0/24"));
    assert_eq!(destinations(&world, "c"), ["100.64.0.0/10", "172.16.1.0/24", "172.16.2.0/24"]);
    assert_eq!(destinations(&world, "big"), destinations(&world, "c"));
    let ids: Vec<_> = world.state.route_tables.values().flat_map(|table| table.entries.keys()).collect();
    assert_eq!(ids.iter().collect::<std::collections::BTreeSet<_>>().len(), ids.len(), "every entry has its own id");
    world.does(Command::DeleteVSwitch { vswitch: "vsw-1".into() });
    assert_eq!(destinations(&world, "c"), ["100.64.0.0/10", "172.16.2.0/24"]);
    assert_eq!(world.refuses(create_entry("vtb-c", "172.16.2.0/25", "Instance", "i-a")), "InvalidCidrBlock");
}

#[test]
fn a_vswitch_uses_one_table_at_a_time() {
    let (mut world, hangzhou, _) = world();
    let used = |world: &World| {
        let vswitch = &world.state.vswitches["vsw-h"];
        world.state.table_of_vswitch(vswitch).unwrap().id.to_string()
    };
    for table in ["c1", "c2"] {
        world.does(create_table("h", table));
    }
    world.does(create_table("b", "other"));
    assert_eq!(used(&world), "vtb-h");
    world.does(associate("c1", "h"));
    world.does(associate("c2", "h"));
    assert_eq!(used(&world), "vtb-c2");
    let users = |world: &World, table: &str| world.state.vswitches_by(&world.state.route_tables[table]).count();
    assert_eq!((users(&world, "vtb-h"), users(&world, "vtb-c1"), users(&world, "vtb-c2")), (0, 0, 1));
    for (command, code) in [
        (associate("c2", "h"), "ResourceAlreadyAssociated.RouteTable"),
        (associate("h", "h"), "OperationDenied.SwitchToSystemRouteTable"),
        (associate("other", "h"), "Forbidden.NotInSameVpc"),
        (associate("none", "h"), "InvalidRouteTableId.NotFound"),
        (associate("c1", "none"), "InvalidVSwitchId.NotFound"),
        (unassociate("c1", "h"), "InvalidBindingStatus.RouteTable"),
        (unassociate("h", "h"), "OperationUnsupported.SystemRouteTable"),
        (delete_table("c2"), "IncorrectRouteTableStatus"),
        (delete_table("h"), "IncorrectRouteTableType"),
        (Command::DeleteVSwitch { vswitch: "vsw-h".into() }, "DependencyViolation.VpnGateway"),
    ] {
        assert_eq!(world.refuses(command.clone()), code, "{command:?}");
    }
    world.does(unassociate("c2", "h"));
    assert_eq!(used(&world), "vtb-h");
    assert_eq!(world.state.tables_of(&hangzhou).count(), 3);
    world.does(delete_table("c2"));
}

#[test]
fn what_still_refers_to_a_table_or_is_in_it_keeps_it() {
    let (mut world, ..) = world();
    world.does(create_table("b", "c"));
    world.does(associate("c", "b"));
    let delete = Command::DeleteVSwitch { vswitch: "vsw-b".into() };
    assert_eq!(world.refuses(delete.clone()), "DependencyViolation.RouteTable");
    world.does(unassociate("c", "b"));
    world.does(delete);
    assert_eq!(world.refuses(Command::DeleteVpc { vpc: "vpc-b".into() }), "DependencyViolation.RouteTable");
    world.does(delete_table("c"));
    world.does(Command::DeleteVpc { vpc: "vpc-b".into() });

    world.does(create_table("h", "c"));
    world.does(create_entry("vtb-c", "10.1.1.0/24", "VpnGateway", "vpn-h"));
    let refusal = world.try_do(delete_table("c")).unwrap_err();
    assert_eq!((refusal.http_status, refusal.code.as_ref()), (404, "DependencyViolation.RouteEntry"));
    let gateway = Command::DeleteVpnGateway { gateway: "vpn-h".into() };
    assert_eq!(world.refuses(gateway), "VpnDependencyViolation.RouteEntry");
    // The same destination may lead elsewhere in another table, but no vSwitch may take it.
    world.does(create_entry("vtb-h", "10.1.1.0/24", "Instance", "i-a"));
    world.does(delete_entry("vtb-c", "10.1.1.0/24", "vpn-h"));
    world.does(delete_table("c"));
}

#[test]
fn a_vpc_has_nine_custom_tables() {
    let (mut world, ..) = world();
    for number in 0..9 {
        world.does(create_table("h", &format!("c{number}")));
    }
    assert_eq!(world.refuses(create_table("h", "c9")), "QuotaExceeded.RouteTable");
    assert_eq!(world.refuses(create_table("none", "c9")), "InvalidVpcId.NotFound");
    world.does(create_table("b", "c9"));
}

#[test]
fn nothing_in_a_custom_table_is_published() {
    let (mut world, hangzhou, beijing) = attached();
    world.does(create_table("h", "c"));
    world.does(create_entry("vtb-c", "10.1.1.0/24", "VpnGateway", "vpn-h"));
    let publish = Command::PublishRoute(route(&hangzhou, "cn-hangzhou", "vtb-c", "10.1.1.0/24"));
    assert_eq!(world.refuses(publish), "InvalidOperation.UnsupportRouteTableType");
    let system = Command::WithdrawRoute(route(&hangzhou, "cn-hangzhou", "vtb-c", "192.168.4.0/24"));
    assert_eq!(world.refuses(system), "InvalidOperation.UnsupportRouteTableType");
    assert_eq!(world.learned(&beijing, "192.168.4.0/24"), [(hangzhou.clone(), LearnedStatus::Active)]);

    // An entry that goes from the custom table withdraws nothing of the system table's.
    world.does(create_entry("vtb-h", "10.1.1.0/24", "VpnGateway", "vpn-h"));
    world.does(Command::PublishRoute(route(&hangzhou, "cn-hangzhou", "vtb-h", "10.1.1.0/24")));
    world.does(delete_entry("vtb-c", "10.1.1.0/24", "vpn-h"));
    assert_eq!(world.learned(&beijing, "10.1.1.0/24"), [(hangzhou, LearnedStatus::Active)]);
    // A new vSwitch has a system route in both tables, and is published once.
    world.does(Command::AssociateCidr(SecondaryCidr { vpc: "vpc-h".into(), cidr: net("10.4.0.0/16") }));
    let order = world.state.next_publication;
    world.does(create_vswitch("h", "2", "10.4.0.0/24"));
    assert_eq!(world.state.next_publication, order + 1);
    world.does(Command::DeleteVSwitch { vswitch: "vsw-2".into() });
    let publications = world.state.attachments.values().map(|attachment| attachment.publications.len()).sum::<usize>();
    assert_eq!(publications, 3);
}

#[test]
fn a_table_receives_what_is_learned_unless_it_is_told_not_to() {
    let (mut world, _, beijing) = attached();
    world.does(create_table("b", "c"));
    let received = |world: &World, table: &str| {
        let table = &world.state.route_tables[table];
        learned_routes(&world.state, &beijing).iter().filter(|route| receives(table, route)).count()
    };
    assert_eq!((received(&world, "vtb-b"), received(&world, "vtb-c")), (1, 1));
    let modify = |route_propagation: Option<bool>| {
        let resource = ResourceId::RouteTable("vtb-c".into());
        let (name, description) = (Some("quiet".to_owned()), None);
        Command::ModifyAttributes(ModifyAttributes {
            resource,
            name,
            description,
            auto_propagate: None,
            route_propagation,
        })
    };
    world.does(modify(Some(false)));
    assert_eq!((received(&world, "vtb-b"), received(&world, "vtb-c")), (1, 0));
    world.does(modify(None));
    assert_eq!(received(&world, "vtb-c"), 0, "what is left out stays");
    world.does(modify(Some(true)));
    assert_eq!(received(&world, "vtb-c"), 1);
}

/// Takes fields out of a document, wherever they stand.
fn without(document: &mut Value, fields: &[&str]) {
    match document {
        Value::Object(object) => {
            object.retain(|name, _| !fields.contains(&name.as_str()));
            object.values_mut().for_each(|value| without(value, fields));
        }
        Value::Array(items) => items.iter_mut().for_each(|value| without(value, fields)),
        _ => {}
    }
}

#[test]
fn a_state_of_an_older_version_is_read() {
    let (world, ..) = attached();
    let mut stored = serde_json::to_value(&world.state).unwrap();
    // A VPC and a VBR have a `route_table` too, and always had.
    for vswitch in stored["vswitches"].as_object_mut().unwrap().values_mut() {
        without(vswitch, &["route_table"]);
    }
    without(
        &mut stored,
        &["route_propagation", "secondary_cidrs", "user_cidrs", "grants", "next_hops", "resource_groups"],
    );
    let mut read: State = serde_json::from_value(stored).unwrap();
    read.reindex();
    assert_eq!(read, world.state);
}
