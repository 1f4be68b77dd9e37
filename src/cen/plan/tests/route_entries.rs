//! Several entries at once.

use super::*;
use crate::cen::plan::route_entries::{refusals_to_create, refusals_to_delete};
use crate::cen::route::NextHop;

fn create(table: &str, destination: &str, next_hop: &str) -> CreateRouteEntry {
    match create_entry(table, destination, "VpnGateway", next_hop) {
        Command::CreateRouteEntry(create) => create,
        _ => unreachable!("it creates an entry"),
    }
}

fn delete(table: &str, destination: &str, next_hop: &str) -> DeleteRouteEntry {
    match delete_entry(table, destination, next_hop) {
        Command::DeleteRouteEntry(delete) => delete,
        _ => unreachable!("it deletes an entry"),
    }
}

fn codes(refusals: Vec<Option<ApiError>>) -> Vec<Option<String>> {
    refusals.into_iter().map(|refusal| refusal.map(|refusal| refusal.code.into_owned())).collect()
}

#[test]
fn each_entry_of_a_call_stands_beside_those_before_it() {
    let (mut world, hangzhou, _) = world();
    let creates = [
        create("vtb-h", "10.1.0.0/16", "vpn-h"),
        create("vtb-h", "10.1.0.0/16", "vpn-h"),
        create("vtb-h", "10.2.0.0/16", "vpn-x"),
        create("vtb-h", "10.2.0.0/16", "vpn-h"),
        create("vtb-none", "10.2.0.0/16", "vpn-h"),
    ];
    let refused = |code: &str| Some(code.to_owned());
    let refusals = codes(refusals_to_create(&world.state, UnixMillis(5), &creates));
    let expected = [
        None,
        refused("InvalidCIDRBlock.Duplicate"),
        refused("InvalidVpnInstanceId.NotFound"),
        None,
        refused("InvalidRouteTableId.NotFound"),
    ];
    assert_eq!(refusals, expected);
    assert_eq!(world.refuses(Command::CreateRouteEntries(creates.to_vec())), "InvalidCIDRBlock.Duplicate");
    world.does(Command::CreateRouteEntries(vec![creates[0].clone(), creates[3].clone()]));
    assert!(world.entry_to(&hangzhou, "10.1.0.0/16").is_some() && world.entry_to(&hangzhou, "10.2.0.0/16").is_some());

    let deletes = [
        delete("vtb-h", "10.1.0.0/16", "vpn-h"),
        delete("vtb-h", "10.1.0.0/16", "vpn-h"),
        delete("vtb-h", "192.168.4.0/24", "vsw-h"),
    ];
    let refusals = codes(refusals_to_delete(&world.state, UnixMillis(5), &deletes));
    assert_eq!(refusals, [None, refused("InvalidRouteEntry.NotFound"), refused("OperationDenied")]);
    world.does(Command::DeleteRouteEntries(vec![deletes[0].clone(), delete("vtb-h", "10.2.0.0/16", "vpn-h")]));
    assert!(world.entry_to(&hangzhou, "10.1.0.0/16").is_none() && world.entry_to(&hangzhou, "10.2.0.0/16").is_none());
}

#[test]
fn a_call_fills_a_table_and_no_more() {
    let (mut world, ..) = world();
    for number in 0..199 {
        world.does(create_entry("vtb-h", &format!("10.1.{number}.0/24"), "VpnGateway", "vpn-h"));
    }
    let creates = ["10.2.0.0/24", "10.2.1.0/24"].map(|destination| create("vtb-h", destination, "vpn-h"));
    let refusals = codes(refusals_to_create(&world.state, UnixMillis(5), &creates));
    assert_eq!(refusals, [None, Some("QuotaExceeded".to_owned())]);
}

/// An entry to instances with these weights.
fn create_shared(destination: &str, hops: &[(&str, u8)]) -> Command {
    let next_hops: Vec<NextHop> =
        hops.iter().map(|(id, weight)| NextHop { id: (*id).into(), weight: *weight }).collect();
    match create_entry("vtb-h", destination, "Instance", hops[0].0) {
        Command::CreateRouteEntry(create) => Command::CreateRouteEntry(CreateRouteEntry { next_hops, ..create }),
        _ => unreachable!("it creates an entry"),
    }
}

fn delete_shared(destination: &str, hops: &[&str]) -> Command {
    Command::DeleteRouteEntry(DeleteRouteEntry::ByDestination {
        route_table: "vtb-h".into(),
        destination: net(destination),
        next_hops: hops.iter().map(|hop| (*hop).to_owned()).collect(),
    })
}

#[test]
fn an_entry_has_up_to_sixteen_next_hops_that_share_the_load_or_one_that_stands_by() {
    let (mut world, hangzhou, _) = world();
    let mut declared = declarations();
    let host = declared.instances["i-a"].clone();
    let names: Vec<String> = (0..17).map(|number| format!("i-{number}")).collect();
    declared.instances.extend(names.iter().map(|name| (name.as_str().into(), host.clone())));
    world.does(Command::Declare(Box::new(declared)));
    let of = |count: usize| names[..count].iter().map(|name| (name.as_str(), 5)).collect::<Vec<_>>();
    for (hops, code) in [
        (vec![("i-0", 5)], "InvalidNextHopList"),
        (of(17), "InvalidNextHopList"),
        (vec![("i-0", 5), ("i-0", 5)], "InvalidNextHopList"),
        (vec![("i-0", 5), ("i-1", 6)], "InvalidNextHopList"),
        (vec![("i-0", 100), ("i-1", 0), ("i-2", 0)], "InvalidNextHopList"),
        (vec![("i-0", 5), ("i-none", 5)], "InvalidNextHopId.NotFound"),
    ] {
        assert_eq!(world.refuses(create_shared("10.1.0.0/16", &hops)), code, "{hops:?}");
    }
    world.does(create_shared("10.1.0.0/16", &of(16)));
    world.does(create_shared("10.2.0.0/16", &[("i-1", 100), ("i-0", 0)]));
    let used = |world: &World, destination: &str| {
        world.entry_to(&hangzhou, destination).unwrap().hops_in_use().map(str::to_owned).collect::<Vec<_>>()
    };
    assert_eq!(used(&world, "10.1.0.0/16").len(), 16);
    assert_eq!(used(&world, "10.2.0.0/16"), ["i-1"]);

    assert_eq!(world.refuses(delete_shared("10.2.0.0/16", &["i-1"])), "InvalidRouteEntry.NotFound");
    world.does(delete_shared("10.2.0.0/16", &["i-0", "i-1"]));
    world.does(Command::ModifyRouteEntry(ModifyRouteEntry {
        entry: "rte-vtb-h-10.1.0.0/16".into(),
        name: None,
        description: None,
        next_hop: Some(("VpnGateway".into(), "vpn-h".into())),
    }));
    assert_eq!(used(&world, "10.1.0.0/16"), ["vpn-h"]);
}
