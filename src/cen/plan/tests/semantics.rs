//! What the cloud's documentation says of routes in CEN, one row a sentence: where it says so, and that it holds here.

use super::route_map::{create, denies, from, map};
use super::*;
use crate::cen::learn::{LEARNED_ROUTE_QUOTA, View};
use crate::cen::route_map::{Actions, Direction, RouteMap};

/// A sentence of the documentation.
struct Sentence {
    says: &'static str,
    /// The page, by its number at www.alibabacloud.com/help/doc-detail, or by its name.
    source: &'static str,
    /// The kinds of routes that it is about; empty: all that can be published.
    kinds: &'static [RouteKind],
    holds: fn(),
}

const PUBLISHING_PAGE: &str = "doc-detail/85470, PublishRouteEntries: Published by default";
const ROUTES_PAGE: &str = "doc-detail/86980, route entries of network instances";
const MANUAL: &str = "backbonenet (2019): Manage network instances, Publish and withdraw routes";
const OVERLAPPING: &str = "backbonenet (2019): Enable overlapping routing";
const CONFLICTS: &str = "help.aliyun.com, DescribeRouteConflict (api-c8b691)";
const LINES: &str = "backbonenet (2019): two leased lines";
const MAPS: &str = "backbonenet (2019): Route map overview";
const LIMITS: &str = "backbonenet (2019): Limits";

const IN_VPC: &[RouteKind] = &[RouteKind::Instance, RouteKind::VpnGateway, RouteKind::HaVip];
const OF_VBR: &[RouteKind] = &[RouteKind::DataCenter, RouteKind::Bgp];

static SENTENCES: &[Sentence] = &[
    Sentence {
        says: "routes to an ECS instance, a VPN gateway or a HaVip are not published by default, and can be",
        source: PUBLISHING_PAGE,
        kinds: IN_VPC,
        holds: || {
            for (kind, hop) in [("Instance", "i-a"), ("VpnGateway", "vpn-h"), ("HaVip", "havip-a")] {
                let (mut world, hangzhou, beijing) = attached();
                world.does(create_entry("vtb-h", "10.1.1.0/24", kind, hop));
                assert!(world.learned(&beijing, "10.1.1.0/24").is_empty());
                world.does(publish("10.1.1.0/24"));
                assert_eq!(world.learned(&beijing, "10.1.1.0/24"), active(&hangzhou));
            }
        },
    },
    Sentence {
        says: "a system route is published by default: one for each vSwitch, and not the block of the VPC",
        source: PUBLISHING_PAGE,
        kinds: &[RouteKind::VSwitch],
        holds: || {
            let (mut world, _, beijing) = attached();
            let wide = world.vpc("w", "cn-hangzhou", "172.16.0.0/12");
            world.does(Command::AttachNetwork(child(&wide, "cn-hangzhou")));
            world.does(create_vswitch("w", "1", "172.16.1.0/24"));
            world.does(create_vswitch("w", "2", "172.16.2.0/24"));
            assert_eq!(world.learned(&beijing, "172.16.1.0/24"), active(&wide));
            assert_eq!(world.learned(&beijing, "172.16.2.0/24"), active(&wide));
            assert!(world.learned(&beijing, "172.16.0.0/12").is_empty());
        },
    },
    Sentence {
        says: "routes of a VBR to the IDC, static or by BGP, are published by default, and can be withdrawn",
        source: PUBLISHING_PAGE,
        kinds: OF_VBR,
        holds: || {
            let (mut world, vbr, beijing) = with_vbr("vbr-a");
            for destination in ["10.8.0.0/16", "10.9.0.0/16"] {
                assert_eq!(world.learned(&beijing, destination), active(&vbr));
                world.does(Command::WithdrawRoute(route(&vbr, "cn-shanghai", "vtb-vbr-a", destination)));
                assert!(world.learned(&beijing, destination).is_empty());
                world.does(Command::PublishRoute(route(&vbr, "cn-shanghai", "vtb-vbr-a", destination)));
                assert_eq!(world.learned(&beijing, destination), active(&vbr));
            }
        },
    },
    Sentence {
        says: "the route to 100.64.0.0/10 is not published and cannot be",
        source: "backbonenet (2019): DescribePublishedRouteEntries, example (OperationalMode false)",
        kinds: &[RouteKind::Service],
        holds: || {
            let (mut world, hangzhou, _) = attached();
            assert!(!world.is_published(&hangzhou, "100.64.0.0/10"));
            assert_eq!(world.refuses(publish("100.64.0.0/10")), "InvalidOperation.UnsupportnexthopType");
        },
    },
    Sentence {
        says: "entries of custom route tables cannot be published",
        source: ROUTES_PAGE,
        kinds: IN_VPC,
        holds: || {
            let (mut world, hangzhou, _) = attached();
            world.does(route_table::create_table("h", "c"));
            world.does(create_entry("vtb-c", "10.1.1.0/24", "VpnGateway", "vpn-h"));
            let publish = Command::PublishRoute(route(&hangzhou, "cn-hangzhou", "vtb-c", "10.1.1.0/24"));
            assert_eq!(world.refuses(publish), "InvalidOperation.UnsupportRouteTableType");
        },
    },
    Sentence {
        says: "a network that is attached learns what the others publish, and they learn what it does, in all regions",
        source: MANUAL,
        kinds: &[],
        holds: || {
            let (world, hangzhou, beijing) = attached();
            assert_eq!(world.learned(&beijing, "192.168.4.0/24"), active(&hangzhou));
            assert_eq!(world.learned(&hangzhou, "192.168.1.0/24"), active(&beijing));
            assert!(world.state.bandwidth_limits.is_empty(), "routes need no bandwidth");
        },
    },
    Sentence {
        says: "VPCs are connected with VPCs and VBRs, and VBRs are not with each other",
        source: MAPS,
        kinds: OF_VBR,
        holds: || {
            let (mut world, vbr, beijing) = with_vbr("vbr-a");
            let other = NetworkId::Vbr("vbr-b".into());
            world.does(Command::AttachNetwork(child(&other, "cn-shanghai")));
            assert_eq!(world.learned(&vbr, "192.168.1.0/24"), active(&beijing));
            assert!(world.learned(&other, "10.9.0.0/16").is_empty());
        },
    },
    Sentence {
        says: "publishing and withdrawing leave the table of the publisher as it is; what was withdrawn is gone everywhere else",
        source: MANUAL,
        kinds: &[],
        holds: || {
            let (mut world, hangzhou, beijing) = attached();
            let before = world.state.table_of(&hangzhou).cloned();
            world.does(withdraw("192.168.4.0/24"));
            assert!(world.learned(&beijing, "192.168.4.0/24").is_empty());
            assert!(!world.is_published(&hangzhou, "192.168.4.0/24"));
            assert_eq!(world.state.table_of(&hangzhou).cloned(), before);
        },
    },
    Sentence {
        says: "an entry that is deleted is deleted from CEN; made again it is as if it were new",
        source: MANUAL,
        kinds: IN_VPC,
        holds: || {
            let (mut world, hangzhou, beijing) = publishes("10.1.1.0/24");
            world.does(delete_entry("vtb-h", "10.1.1.0/24", "vpn-h"));
            assert!(world.learned(&beijing, "10.1.1.0/24").is_empty());
            world.does(create_entry("vtb-h", "10.1.1.0/24", "VpnGateway", "vpn-h"));
            assert!(!world.is_published(&hangzhou, "10.1.1.0/24"));
        },
    },
    Sentence {
        says: "a system route goes with its vSwitch",
        source: MANUAL,
        kinds: &[RouteKind::VSwitch],
        holds: || {
            let (mut world, hangzhou, beijing) = attached();
            world.does(Command::DeleteVSwitch { vswitch: "vsw-b".into() });
            assert!(world.learned(&hangzhou, "192.168.1.0/24").is_empty());
            assert!(world.entry_to(&beijing, "192.168.1.0/24").is_none());
        },
    },
    Sentence {
        says: "what a VPN gateway is the next hop of keeps it",
        source: "DeleteVpnGateway: VpnDependencyViolation.RouteEntry",
        kinds: &[RouteKind::VpnGateway],
        holds: || {
            let (mut world, ..) = publishes("10.1.1.0/24");
            let delete = Command::DeleteVpnGateway { gateway: "vpn-h".into() };
            assert_eq!(world.refuses(delete), "VpnDependencyViolation.RouteEntry");
        },
    },
    Sentence {
        says: "a network that is detached learns nothing and publishes nothing, and begins with the defaults again",
        source: MANUAL,
        kinds: &[],
        holds: || {
            let (mut world, hangzhou, beijing) = publishes("10.1.1.0/24");
            world.does(Command::DetachNetwork(child(&hangzhou, "cn-hangzhou")));
            assert!(learned_routes(&world.state, &hangzhou).is_empty());
            assert!(learned_routes(&world.state, &beijing).is_empty());
            world.does(Command::AttachNetwork(child(&hangzhou, "cn-hangzhou")));
            assert!(world.learned(&beijing, "10.1.1.0/24").is_empty());
            assert_eq!(world.learned(&beijing, "192.168.4.0/24"), active(&hangzhou));
        },
    },
    Sentence {
        says: "a network is attached to one CEN instance, and a CEN instance is deleted when nothing is attached",
        source: "AttachCenChildInstance: InvalidOperation.ChildInstanceAlreadyAttached; DeleteCen",
        kinds: &[],
        holds: || {
            let (mut world, hangzhou, _) = attached();
            let again = Command::AttachNetwork(child(&hangzhou, "cn-hangzhou"));
            assert_eq!(world.refuses(again), "InvalidOperation.ChildInstanceAlreadyAttached");
            let delete = Command::DeleteCen { cen: "cen-a".into() };
            assert_eq!(world.refuses(delete), "InvalidOperation.CenInstanceStatus");
        },
    },
    Sentence {
        says: "a route to the destination of an entry of the learner is rejected, and is a conflict at both ends",
        source: CONFLICTS,
        kinds: IN_VPC,
        holds: || {
            let (mut world, beijing) = own_entry_of_hangzhou("10.8.0.0/16");
            let (vbr, hangzhou) = (NetworkId::Vbr("vbr-a".into()), NetworkId::Vpc("vpc-h".into()));
            let rejected = LearnedStatus::Rejected(Rejection::OwnEntry(net("10.8.0.0/16")));
            assert_eq!(world.learned(&hangzhou, "10.8.0.0/16"), [(vbr.clone(), rejected)]);
            let conflicts = conflict::at_publisher(&world.state, &vbr, net("10.8.0.0/16"));
            assert_eq!(
                conflicts.iter().map(|one| (one.instance, one.status)).collect::<Vec<_>>(),
                [(&hangzhou, "conflict")]
            );
            let view = View::of_network(&world.state, &hangzhou).unwrap();
            assert_eq!(conflict::with_own_entry(&world.state, &view, net("10.8.0.0/16"), 9)[0].instance, &vbr);
            assert_eq!(world.learned(&beijing, "10.8.0.0/16"), active(&vbr), "others take it");
            // What was learned first goes when an entry of its own comes, and comes when that goes.
            world.does(delete_entry("vtb-h", "10.8.0.0/16", "vpn-h"));
            assert_eq!(world.learned(&hangzhou, "10.8.0.0/16"), active(&vbr));
        },
    },
    Sentence {
        says: "custom entries of the learner that contain the route or lie inside it are no obstacle: the longest prefix decides",
        source: OVERLAPPING,
        kinds: IN_VPC,
        holds: || {
            for own in ["10.0.0.0/8", "10.8.1.0/24"] {
                let (world, _) = own_entry_of_hangzhou(own);
                let vbr = NetworkId::Vbr("vbr-a".into());
                assert_eq!(world.learned(&NetworkId::Vpc("vpc-h".into()), "10.8.0.0/16"), active(&vbr));
            }
        },
    },
    Sentence {
        says: "a route that is the learner's vSwitch or lies inside it is rejected, and one that contains it is not",
        source: OVERLAPPING,
        kinds: &[RouteKind::VSwitch],
        holds: || {
            for (to, taken) in [("192.168.1.0/24", false), ("192.168.1.128/25", false), ("192.168.0.0/16", true)] {
                let (world, hangzhou, beijing) = publishes(to);
                let own = LearnedStatus::Rejected(Rejection::OwnEntry(net("192.168.1.0/24")));
                let expected = if taken { LearnedStatus::Active } else { own };
                assert_eq!(world.learned(&beijing, to), [(hangzhou, expected)], "{to}");
            }
        },
    },
    Sentence {
        says: "learned routes that overlap with different masks are both taken",
        source: OVERLAPPING,
        kinds: &[],
        holds: || {
            let (mut world, hangzhou, beijing) = publishes("10.8.1.0/24");
            let vbr = NetworkId::Vbr("vbr-a".into());
            world.does(Command::AttachNetwork(child(&vbr, "cn-shanghai")));
            assert_eq!(world.learned(&beijing, "10.8.0.0/16"), active(&vbr));
            assert_eq!(world.learned(&beijing, "10.8.1.0/24"), active(&hangzhou));
        },
    },
    Sentence {
        says: "a network takes 100 routes, and those published later overflow until there is room",
        source: LIMITS,
        kinds: &[],
        holds: || {
            let (mut world, hangzhou, beijing) = attached();
            // One of the hundred is the route to the vSwitch.
            for third in 0..LEARNED_ROUTE_QUOTA {
                let to = format!("10.1.{third}.0/24");
                world.does(create_entry("vtb-h", &to, "VpnGateway", "vpn-h"));
                world.does(publish(&to));
            }
            let overflow = LearnedStatus::Rejected(Rejection::Overflow);
            assert_eq!(world.learned(&beijing, "10.1.99.0/24"), [(hangzhou.clone(), overflow)]);
            let conflicts = conflict::at_publisher(&world.state, &hangzhou, net("10.1.99.0/24"));
            assert_eq!(
                conflicts.iter().map(|one| (one.instance, one.status)).collect::<Vec<_>>(),
                [(&beijing, "overflow")]
            );
            world.does(withdraw("10.1.7.0/24"));
            assert_eq!(world.learned(&beijing, "10.1.99.0/24"), active(&hangzhou));
        },
    },
    Sentence {
        says: "static routes of several VBRs to one destination share the load",
        source: LINES,
        kinds: &[RouteKind::DataCenter],
        holds: || {
            let (mut world, a, beijing) = with_vbr("vbr-a");
            let b = NetworkId::Vbr("vbr-b".into());
            world.does(Command::AttachNetwork(child(&b, "cn-shanghai")));
            let both = [(a, LearnedStatus::Active), (b, LearnedStatus::Active)];
            assert_eq!(world.learned(&beijing, "10.8.0.0/16"), both);
        },
    },
    Sentence {
        says: "of BGP routes the one with the shorter AS path is active, and the other stands by until it goes",
        source: LINES,
        kinds: &[RouteKind::Bgp],
        holds: || {
            let (mut world, longer, beijing) = with_vbr("vbr-a");
            let shorter = NetworkId::Vbr("vbr-b".into());
            world.does(Command::AttachNetwork(child(&shorter, "cn-shanghai")));
            let expected = [(longer.clone(), LearnedStatus::Candidate), (shorter.clone(), LearnedStatus::Active)];
            assert_eq!(world.learned(&beijing, "10.9.0.0/16"), expected);
            world.does(Command::DetachNetwork(child(&shorter, "cn-shanghai")));
            assert_eq!(world.learned(&beijing, "10.9.0.0/16"), active(&longer));
        },
    },
    Sentence {
        says: "of VBRs' routes to one destination BGP is preferred to static",
        source: "help.aliyun.com, ECMP routing for VBRs in different regions",
        kinds: OF_VBR,
        holds: || {
            let (mut world, bgp, beijing) = with_vbr("vbr-b");
            let mut changed = declarations();
            changed.vbrs[0].routes[1].as_path = None;
            world.does(Command::Declare(Box::new(changed)));
            let fixed = NetworkId::Vbr("vbr-a".into());
            world.does(Command::AttachNetwork(child(&fixed, "cn-shanghai")));
            let expected = [(bgp, LearnedStatus::Active), (fixed, LearnedStatus::Candidate)];
            assert_eq!(world.learned(&beijing, "10.9.0.0/16"), expected);
        },
    },
    Sentence {
        says: "of VPCs that publish one destination the first one's is active, until it is withdrawn, deleted or detached",
        source: "docs.byteplus.com, CEN: Route entries (the cloud's own pages only say that identical blocks conflict)",
        kinds: IN_VPC,
        holds: || {
            let ends: [fn(&NetworkId) -> Command; 3] = [
                |_| withdraw("10.1.1.0/24"),
                |_| delete_entry("vtb-h", "10.1.1.0/24", "vpn-h"),
                |first| Command::DetachNetwork(child(first, "cn-hangzhou")),
            ];
            for end in ends {
                let (mut world, first, beijing) = publishes("10.1.1.0/24");
                let second = world.vpc("s", "cn-shanghai", "10.1.0.0/16");
                world.does(create_vswitch("s", "s", "10.1.1.0/24"));
                world.does(Command::AttachNetwork(child(&second, "cn-shanghai")));
                let late = LearnedStatus::Rejected(Rejection::EarlierPublisher(first.clone()));
                let expected = [(first.clone(), LearnedStatus::Active), (second.clone(), late)];
                assert_eq!(world.learned(&beijing, "10.1.1.0/24"), expected);
                world.does(end(&first));
                assert_eq!(world.learned(&beijing, "10.1.1.0/24"), active(&second));
            }
        },
    },
    Sentence {
        says: "a smaller preference comes before the order of publication",
        source: MAPS,
        kinds: &[],
        holds: || {
            let (mut world, first, beijing) = publishes("10.8.0.0/16");
            let vbr = NetworkId::Vbr("vbr-a".into());
            world.does(Command::AttachNetwork(child(&vbr, "cn-shanghai")));
            let actions = Actions { preference: Some(49), ..Actions::default() };
            let better = map(5, "cn-beijing", Direction::RegionIn);
            world.does(create(RouteMap { actions, conditions: from("vbr-a"), ..better }));
            let behind = LearnedStatus::Rejected(Rejection::EarlierPublisher(vbr.clone()));
            let expected = [(first, behind), (vbr, LearnedStatus::Active)];
            assert_eq!(world.learned(&beijing, "10.8.0.0/16"), expected);
        },
    },
    Sentence {
        says: "the first map by priority whose conditions are met decides; what meets none passes",
        source: MAPS,
        kinds: &[],
        holds: || {
            let (mut world, hangzhou, beijing) = attached();
            world.does(denies(map(9, "cn-hangzhou", Direction::RegionIn), from("vpc-h")));
            assert!(world.learned(&beijing, "192.168.4.0/24").is_empty());
            assert_eq!(world.learned(&hangzhou, "192.168.1.0/24"), active(&beijing), "no map is about it");
            let permits = RouteMap { conditions: from("vpc-h"), ..map(4, "cn-hangzhou", Direction::RegionIn) };
            world.does(create(permits.clone()));
            assert_eq!(world.learned(&beijing, "192.168.4.0/24"), active(&hangzhou));
            // With a next priority it goes on to the map that denies.
            let goes_on = RouteMap { next_priority: Some(9), ..permits };
            world.does(Command::RouteMap(RouteMapCommand::Modify(Box::new(goes_on))));
            assert!(world.learned(&beijing, "192.168.4.0/24").is_empty());
        },
    },
    Sentence {
        says: "a reversed list of instances matches all others",
        source: MAPS,
        kinds: &[],
        holds: || {
            let (mut world, hangzhou, beijing) = attached();
            let mut others = from("vpc-h");
            others.source.instances.reversed = true;
            world.does(denies(map(5, "cn-hangzhou", Direction::RegionOut), others));
            assert_eq!(world.learned(&beijing, "192.168.4.0/24"), active(&hangzhou));
            assert_eq!(world.learned(&hangzhou, "192.168.1.0/24"), [(beijing, LearnedStatus::Prohibited)]);
        },
    },
    Sentence {
        says: "a route table holds 200 custom entries, and a region 100 route maps of a direction",
        source: "CreateRouteEntry: QuotaExceeded; backbonenet (2019): Limits",
        kinds: IN_VPC,
        holds: || {
            let (mut world, ..) = attached();
            for number in 0..200 {
                world.does(create_entry("vtb-h", &format!("10.1.{number}.0/24"), "VpnGateway", "vpn-h"));
            }
            assert_eq!(world.refuses(create_entry("vtb-h", "10.2.0.0/24", "VpnGateway", "vpn-h")), "QuotaExceeded");
            (1..=100).for_each(|priority| world.does(create(map(priority, "cn-hangzhou", Direction::RegionIn))));
            let more =
                RouteMap { id: "cenrmap-more".into(), priority: 101, ..map(1, "cn-hangzhou", Direction::RegionIn) };
            assert_eq!(world.refuses(create(more)), "QuotaExceeded.RouteMap");
        },
    },
];

fn active(publisher: &NetworkId) -> Vec<(NetworkId, LearnedStatus)> {
    vec![(publisher.clone(), LearnedStatus::Active)]
}

fn publish(destination: &str) -> Command {
    Command::PublishRoute(route(&NetworkId::Vpc("vpc-h".into()), "cn-hangzhou", "vtb-h", destination))
}

fn withdraw(destination: &str) -> Command {
    Command::WithdrawRoute(route(&NetworkId::Vpc("vpc-h".into()), "cn-hangzhou", "vtb-h", destination))
}

/// Hangzhou publishes a route to its VPN gateway.
fn publishes(destination: &str) -> (World, NetworkId, NetworkId) {
    let (mut world, hangzhou, beijing) = attached();
    world.does(create_entry("vtb-h", destination, "VpnGateway", "vpn-h"));
    world.does(publish(destination));
    (world, hangzhou, beijing)
}

/// A VBR is attached too; with Beijing.
fn with_vbr(id: &str) -> (World, NetworkId, NetworkId) {
    let (mut world, _, beijing) = attached();
    let vbr = NetworkId::Vbr(id.into());
    world.does(Command::AttachNetwork(child(&vbr, "cn-shanghai")));
    (world, vbr, beijing)
}

/// A VBR publishes 10.8.0.0/16, and then Hangzhou gets an entry of its own; with Beijing.
fn own_entry_of_hangzhou(destination: &str) -> (World, NetworkId) {
    let (mut world, _, beijing) = with_vbr("vbr-a");
    world.does(create_entry("vtb-h", destination, "VpnGateway", "vpn-h"));
    (world, beijing)
}

#[test]
fn what_the_documentation_says_holds() {
    for Sentence { says, source, holds, .. } in SENTENCES {
        let held = std::panic::catch_unwind(holds);
        assert!(held.is_ok(), "{source}: {says}");
    }
}

#[test]
fn every_kind_of_route_is_spoken_of() {
    for row in KINDS {
        assert!(SENTENCES.iter().any(|sentence| sentence.kinds.contains(&row.kind)), "{:?}", row.kind);
    }
}
