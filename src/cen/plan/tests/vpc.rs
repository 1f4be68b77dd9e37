//! Blocks, publication from the VPC's side, resource groups and grants.

use super::*;
use crate::cen::resource::ResourceId;

fn block(vpc: &str, cidr: &str) -> SecondaryCidr {
    SecondaryCidr { vpc: format!("vpc-{vpc}").into(), cidr: net(cidr) }
}

fn associate(vpc: &str, cidr: &str) -> Command {
    Command::AssociateCidr(block(vpc, cidr))
}

fn unassociate(vpc: &str, cidr: &str) -> Command {
    Command::UnassociateCidr(block(vpc, cidr))
}

fn vpc_routes(publish: bool, entries: &[(&str, &str)]) -> Command {
    Command::PublishVpcRoutes(PublishVpcRoutes {
        cen: "cen-a".into(),
        entries: entries.iter().map(|(table, destination)| ((*table).into(), net(destination))).collect(),
        publish,
    })
}

fn grant(network: &NetworkId, cen: &str, own_account: bool) -> Command {
    let (network, cen) = (network.clone(), cen.into());
    Command::GrantInstance(GrantInstance { network, cen, cen_owner: 7, own_account })
}

fn revoke(network: &NetworkId, cen: &str) -> Command {
    Command::RevokeInstance(RevokeInstance { network: network.clone(), cen: cen.into() })
}

fn move_to(resource: ResourceId, group: &str) -> Command {
    Command::MoveToResourceGroup(MoveToResourceGroup { resource, group: group.into() })
}

#[test]
fn vswitches_lie_in_secondary_blocks_as_long_as_they_are_there() {
    let (mut world, ..) = world();
    assert_eq!(world.refuses(create_vswitch("h", "2", "10.4.0.0/24")), "InvalidParameter");
    world.does(associate("h", "10.4.0.0/16"));
    world.does(create_vswitch("h", "2", "10.4.0.0/24"));
    assert_eq!(world.refuses(create_vswitch("h", "3", "10.5.0.0/24")), "InvalidParameter");
    assert_eq!(world.refuses(unassociate("h", "10.4.0.0/16")), "DependencyViolation.VSwitch");
    assert_eq!(world.refuses(unassociate("h", "192.168.4.0/24")), "IllegalParam.SecondaryCidrBlock");
    world.does(Command::DeleteVSwitch { vswitch: "vsw-2".into() });
    world.does(unassociate("h", "10.4.0.0/16"));
    assert_eq!(world.state.vpcs["vpc-h"].secondary_cidrs, []);
}

#[test]
fn a_secondary_block_has_to_fit_its_vpc() {
    let (mut world, ..) = world();
    world.does(create_entry("vtb-h", "10.1.1.0/24", "VpnGateway", "vpn-h"));
    world.does(associate("h", "10.4.0.0/16"));
    for (cidr, code) in [
        ("10.4.0.0/16", "Duplicated.SecondaryCidrBlock"),
        ("192.168.4.0/24", "Duplicated.SecondaryCidrBlock"),
        ("10.4.1.0/24", "IllegalParam.SecondaryCidrBlock"),
        ("192.168.0.0/16", "IllegalParam.SecondaryCidrBlock"),
        ("10.0.0.0/15", "IllegalParam.SecondaryCidrBlock"),
        ("10.6.0.0/29", "IllegalParam.SecondaryCidrBlock"),
        ("100.64.1.0/24", "IllegalParam.SecondaryCidrBlock"),
        ("224.0.0.0/16", "IllegalParam.SecondaryCidrBlock"),
        ("10.6.0.1/16", "InvalidCidrBlock.Malformed"),
        ("10.1.0.0/16", "OperationFailed.ConflictWithEntry"),
    ] {
        assert_eq!(world.refuses(associate("h", cidr)), code, "{cidr}");
    }
    assert_eq!(world.refuses(associate("none", "10.6.0.0/16")), "InvalidVpcId.NotFound");
    for number in 5..9 {
        world.does(associate("h", &format!("10.{number}.0.0/16")));
    }
    assert_eq!(world.refuses(associate("h", "10.9.0.0/16")), "QuotaExceeded.VpcMultiCidr");
}

#[test]
fn a_user_cidr_is_not_where_the_cloud_s_services_are() {
    let (mut world, ..) = world();
    let create = |cidr: &str| {
        let Command::CreateVpc(create) = create_vpc("u", "cn-hangzhou", "10.0.0.0/16") else { unreachable!() };
        Command::CreateVpc(CreateVpc { user_cidrs: vec![net(cidr)], resource_group: "rg-1".into(), ..create })
    };
    assert_eq!(world.refuses(create("100.64.1.0/24")), "InvalidCidrBlock");
    world.does(create("203.0.113.0/24"));
    assert_eq!(world.state.vpcs["vpc-u"].user_cidrs, [net("203.0.113.0/24")]);
    assert_eq!(world.state.resource_group("vpc-u"), "rg-1");
}

#[test]
fn a_vpc_publishes_several_entries_at_once_or_none() {
    let (mut world, hangzhou, beijing) = attached();
    world.does(create_entry("vtb-h", "10.1.0.0/16", "VpnGateway", "vpn-h"));
    world.does(create_entry("vtb-h", "10.2.0.0/16", "VpnGateway", "vpn-h"));
    let both = [("vtb-h", "10.1.0.0/16"), ("vtb-h", "10.2.0.0/16"), ("vtb-h", "10.1.0.0/16")];
    world.does(vpc_routes(true, &both));
    let first = world.state.attachments[&hangzhou].publications.clone();
    world.does(vpc_routes(true, &both));
    assert_eq!(world.state.attachments[&hangzhou].publications, first, "what is published keeps its place");
    for destination in ["10.1.0.0/16", "10.2.0.0/16"] {
        assert_eq!(world.learned(&beijing, destination), [(hangzhou.clone(), LearnedStatus::Active)]);
    }
    let one_is_missing = [("vtb-h", "10.1.0.0/16"), ("vtb-h", "10.3.0.0/16")];
    assert_eq!(world.refuses(vpc_routes(false, &one_is_missing)), "ResourceNotFound.RouteEntry");
    world.does(vpc_routes(false, &both));
    assert_eq!(world.state.attachments[&hangzhou].publications.len(), 1);

    let service = [("vtb-h", "100.64.0.0/10")];
    assert_eq!(world.refuses(vpc_routes(true, &service)), "OperationUnsupported.PublishSystemRouteEntry");
    let vbr = [("vtb-vbr-a", "10.8.0.0/16")];
    assert_eq!(world.refuses(vpc_routes(true, &vbr)), "ResourceNotAssociated.TargetInstance");
    world.does(Command::CreateRouteTable(CreateRouteTable {
        id: "vtb-c".into(),
        vpc: "vpc-h".into(),
        name: String::new(),
        description: String::new(),
        tags: Vec::new(),
    }));
    let custom = [("vtb-c", "192.168.4.0/24")];
    assert_eq!(world.refuses(vpc_routes(true, &custom)), "Forbidden.OperateCustomRouteTable");
    world.does(Command::DetachNetwork(child(&hangzhou, "cn-hangzhou")));
    assert_eq!(world.refuses(vpc_routes(true, &both)), "ResourceNotAssociated.TargetInstance");
}

#[test]
fn a_resource_is_in_one_group_and_leaves_it_when_it_goes() {
    let (mut world, ..) = world();
    world.does(move_to(ResourceId::Vpc("vpc-b".into()), "rg-1"));
    world.does(move_to(ResourceId::Vpc("vpc-b".into()), "rg-2"));
    world.does(move_to(ResourceId::Cen("cen-a".into()), "rg-2"));
    world.does(move_to(ResourceId::VpnGateway("vpn-h".into()), "rg-2"));
    let Command::CreateCustomerGateway(create) = customer_gateway("two", "203.0.113.201") else { unreachable!() };
    let create = CreateCustomerGateway { resource_group: "rg-2".into(), ..create };
    world.does(Command::CreateCustomerGateway(create));
    assert_eq!(world.state.resource_group("cgw-two"), "rg-2");
    assert_eq!(world.state.resource_group("vpc-b"), "rg-2");
    assert_eq!(world.refuses(move_to(ResourceId::Vpc("vpc-none".into()), "rg-2")), "ResourceNotFound");
    for command in [
        Command::DeleteVSwitch { vswitch: "vsw-b".into() },
        Command::DeleteVpc { vpc: "vpc-b".into() },
        Command::DeleteCen { cen: "cen-a".into() },
        Command::DeleteVpnGateway { gateway: "vpn-h".into() },
        Command::DeleteCustomerGateway { customer_gateway: "cgw-two".into() },
    ] {
        world.does(command);
    }
    assert!(world.state.resource_groups.is_empty());
}

#[test]
fn a_grant_lasts_until_it_is_revoked_or_one_of_the_two_goes() {
    let (mut world, hangzhou, beijing) = world();
    let vbr = NetworkId::Vbr("vbr-a".into());
    let none = NetworkId::Vpc("vpc-none".into());
    assert_eq!(world.refuses(grant(&none, "cen-x", false)), "InvalidInstanceId.NotFound");
    assert_eq!(world.refuses(grant(&NetworkId::Vbr("vbr-x".into()), "cen-x", false)), "InvalidVbr.NotFound");
    assert_eq!(world.refuses(grant(&hangzhou, "cen-x", true)), "IllegalParam.CenInstanceId");
    for network in [&hangzhou, &beijing, &vbr] {
        world.does(grant(network, "cen-x", false));
        world.does(grant(network, "cen-x", false));
        world.does(grant(network, "cen-a", true));
    }
    assert_eq!(world.state.grants.len(), 6);
    world.does(revoke(&hangzhou, "cen-x"));
    world.does(revoke(&hangzhou, "cen-x"));
    assert_eq!(world.state.grants.len(), 5);
    world.does(Command::AttachNetwork(child(&hangzhou, "cn-hangzhou")));
    assert_eq!(world.refuses(revoke(&hangzhou, "cen-a")), "IncorrectStatus");
    world.does(Command::DetachNetwork(child(&hangzhou, "cn-hangzhou")));
    world.does(Command::DeleteVSwitch { vswitch: "vsw-b".into() });
    world.does(Command::DeleteVpc { vpc: "vpc-b".into() });
    assert_eq!(world.state.grants.len(), 3);
    world.does(Command::DeleteCen { cen: "cen-a".into() });
    assert_eq!(world.state.grants.len(), 1);
    world.does(Command::Declare(Box::default()));
    assert!(world.state.grants.is_empty());
}
