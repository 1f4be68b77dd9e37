//! Bandwidth packages, and the limits that are taken from them.

use super::*;
use crate::cen::bandwidth::BandwidthPackage;

fn package(id: &str, bandwidth: u32, areas: (&str, &str)) -> Command {
    Command::Bandwidth(BandwidthCommand::Create(Box::new(BandwidthPackage {
        id: id.into(),
        name: String::new(),
        description: String::new(),
        bandwidth,
        areas: (areas.0.to_owned(), areas.1.to_owned()),
        serves: None,
        months: 1,
        created: UnixMillis(1),
        tags: Vec::new(),
    })))
}

fn associate(id: &str) -> Command {
    Command::Bandwidth(BandwidthCommand::Associate { cen: "cen-a".into(), id: id.into() })
}

fn unassociate(id: &str) -> Command {
    Command::Bandwidth(BandwidthCommand::Unassociate { cen: "cen-a".into(), id: id.into() })
}

fn limit(local: &str, opposite: &str, limit: u32) -> Command {
    let regions = (local.to_owned(), opposite.to_owned());
    Command::Bandwidth(BandwidthCommand::SetLimit { cen: "cen-a".into(), regions, limit })
}

fn resize(id: &str, bandwidth: u32) -> Command {
    let command = BandwidthCommand::Modify { id: id.into(), name: None, description: None, bandwidth: Some(bandwidth) };
    Command::Bandwidth(command)
}

#[test]
fn limits_are_taken_from_the_package_between_their_areas() {
    let (mut world, ..) = attached();
    assert_eq!(world.refuses(limit("cn-hangzhou", "cn-beijing", 4)), "InvalidOperation.NoBandwidthPackage");
    world.does(package("cenbwp-a", 10, ("China", "China")));
    world.does(package("cenbwp-b", 10, ("China", "China")));
    assert_eq!(world.refuses(limit("cn-hangzhou", "cn-beijing", 4)), "InvalidOperation.NoBandwidthPackage");
    world.does(associate("cenbwp-a"));
    world.does(associate("cenbwp-a"));
    assert_eq!(world.refuses(associate("cenbwp-b")), "InvalidOperation.CenBandwidthPackageAlreadyExist");
    world.does(limit("cn-hangzhou", "cn-beijing", 4));
    world.does(limit("cn-beijing", "cn-hangzhou", 6));
    assert_eq!(world.state.bandwidth_limits.len(), 1, "one for both ways");
    assert_eq!(world.refuses(limit("cn-hangzhou", "cn-beijing", 11)), "InvalidOperation.BandwidthNotEnough");
    assert_eq!(world.refuses(limit("cn-hangzhou", "cn-hangzhou", 1)), "InvalidOppositeRegionId");
    assert_eq!(world.refuses(limit("cn-hangzhou", "cn-qingdao", 1)), "InvalidOperation.NoChildInstanceEitherRegion");
    world.does(Command::AttachNetwork(child(&NetworkId::Vbr("vbr-a".into()), "cn-shanghai")));
    world.does(limit("cn-shanghai", "cn-beijing", 4));
    assert_eq!(world.refuses(limit("cn-shanghai", "cn-hangzhou", 1)), "InvalidOperation.BandwidthNotEnough");
    assert_eq!(world.refuses(resize("cenbwp-a", 9)), "InvalidOperation.BandwidthNotEnough");
    world.does(resize("cenbwp-a", 20));
    world.does(limit("cn-shanghai", "cn-hangzhou", 1));
}

#[test]
fn a_package_goes_when_nothing_uses_it_any_more() {
    let (mut world, ..) = attached();
    assert_eq!(world.refuses(associate("cenbwp-a")), "ParameterBwpInstanceId");
    world.does(package("cenbwp-a", 10, ("China", "China")));
    assert_eq!(world.refuses(unassociate("cenbwp-a")), "InvalidOperation.BandwidthPackageStatus");
    world.does(associate("cenbwp-a"));
    world.does(limit("cn-hangzhou", "cn-beijing", 4));
    assert_eq!(world.refuses(unassociate("cenbwp-a")), "InvalidOperation.CenBandwidthLimitsNotZero");
    let delete = Command::Bandwidth(BandwidthCommand::Delete { id: "cenbwp-a".into() });
    assert_eq!(world.refuses(delete.clone()), "InvalidOperation.BandwidthPackageStatus");
    world.does(limit("cn-hangzhou", "cn-beijing", 0));
    for (network, region) in [("vpc-h", "cn-hangzhou"), ("vpc-b", "cn-beijing")] {
        world.does(Command::DetachNetwork(child(&NetworkId::Vpc(network.into()), region)));
    }
    let delete_cen = Command::DeleteCen { cen: "cen-a".into() };
    assert_eq!(world.refuses(delete_cen.clone()), "InvalidOperation.CenInstanceStatus", "it has a package");
    world.does(unassociate("cenbwp-a"));
    world.does(delete);
    world.does(delete_cen);
}
