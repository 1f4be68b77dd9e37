//! A real cend, killed at random between acknowledged calls of all sorts: what it tells afterwards is what it told before, and
//! no call has its effect twice.

use std::collections::BTreeMap;
use std::path::Path;

use rand::{Rng, SeedableRng};
use rand_chacha::ChaCha8Rng;
use redb::{Database, ReadableDatabase, TableDefinition};
use serde_json::Value;

use crate::kill::{Cend, signed};

const CBN: &str = "2017-09-12";
const VPC: &str = "2016-04-28";

/// Calls in their order. `$Name` is what an earlier call answered as `Name`.
const CALLS: &[(&str, &str, &str)] = &[
    (CBN, "CreateCen", "Name=cen"),
    (VPC, "CreateVpc", "RegionId=cn-hangzhou CidrBlock=192.168.0.0/16 VpcName=h"),
    (VPC, "CreateVSwitch", "RegionId=cn-hangzhou VpcId=$VpcId ZoneId=cn-hangzhou-b CidrBlock=192.168.1.0/24"),
    (VPC, "AssociateVpcCidrBlock", "RegionId=cn-hangzhou VpcId=$VpcId SecondaryCidrBlock=10.9.0.0/16"),
    (VPC, "CreateVpnGateway", "RegionId=cn-hangzhou VpcId=$VpcId Bandwidth=10"),
    (VPC, "ModifyVpnGatewayAttribute", "RegionId=cn-hangzhou VpnGatewayId=$VpnGatewayId AutoPropagate=true"),
    (VPC, "CreateCustomerGateway", "RegionId=cn-hangzhou IpAddress=198.51.100.7"),
    (
        VPC,
        "CreateVpnConnection",
        "RegionId=cn-hangzhou VpnGatewayId=$VpnGatewayId CustomerGatewayId=$CustomerGatewayId LocalSubnet=192.168.0.0/16 \
         RemoteSubnet=10.1.0.0/16,10.2.0.0/16",
    ),
    (
        VPC,
        "CreateVpnPbrRouteEntry",
        "RegionId=cn-hangzhou VpnGatewayId=$VpnGatewayId NextHop=$VpnConnectionId RouteSource=192.168.1.0/24 \
         RouteDest=10.3.0.0/16 Weight=100 Priority=7 PublishVpc=true",
    ),
    (
        VPC,
        "ModifyVpnPbrRouteEntryPriority",
        "RegionId=cn-hangzhou VpnGatewayId=$VpnGatewayId NextHop=$VpnConnectionId RouteSource=192.168.1.0/24 \
         RouteDest=10.3.0.0/16 Weight=100 NewPriority=9",
    ),
    (
        VPC,
        "CreateVpnRouteEntry",
        "RegionId=cn-hangzhou VpnGatewayId=$VpnGatewayId NextHop=$VpnConnectionId RouteDest=10.4.0.0/16 Weight=100 \
         PublishVpc=false",
    ),
    (
        VPC,
        "ModifyVpnRouteEntryWeight",
        "RegionId=cn-hangzhou VpnGatewayId=$VpnGatewayId NextHop=$VpnConnectionId RouteDest=10.4.0.0/16 Weight=100 \
         NewWeight=0",
    ),
    (
        VPC,
        "PublishVpnRouteEntry",
        "RegionId=cn-hangzhou VpnGatewayId=$VpnGatewayId NextHop=$VpnConnectionId RouteDest=10.1.0.0/16 RouteType=pbr \
         PublishVpc=true",
    ),
    (
        VPC,
        "CreateRouteEntries",
        "RegionId=cn-hangzhou RouteEntries.1.RouteTableId=$RouteTableId RouteEntries.1.DstCidrBlock=10.5.0.0/16 \
         RouteEntries.1.NextHop=$VpnGatewayId RouteEntries.1.NextHopType=VpnGateway",
    ),
    (
        VPC,
        "CreateRouteEntry",
        "RegionId=cn-hangzhou RouteTableId=$RouteTableId DestinationCidrBlock=10.6.0.0/16 NextHopType=VpnGateway \
         NextHopId=$VpnGatewayId",
    ),
    (VPC, "ModifyRouteEntry", "RegionId=cn-hangzhou RouteEntryId=$RouteEntryId RouteEntryName=renamed"),
    (
        CBN,
        "AttachCenChildInstance",
        "CenId=$CenId ChildInstanceId=$VpcId ChildInstanceType=VPC ChildInstanceRegionId=cn-hangzhou",
    ),
    (
        VPC,
        "PublishVpcRouteEntries",
        "RegionId=cn-hangzhou TargetType=CEN TargetInstanceId=$CenId RouteEntries.1.RouteTableId=$RouteTableId \
         RouteEntries.1.DestinationCidrBlock=10.6.0.0/16 RouteEntries.2.RouteTableId=$RouteTableId \
         RouteEntries.2.DestinationCidrBlock=10.5.0.0/16",
    ),
    (
        VPC,
        "WithdrawVpcPublishedRouteEntries",
        "RegionId=cn-hangzhou TargetType=CEN TargetInstanceId=$CenId RouteEntries.1.RouteTableId=$RouteTableId \
         RouteEntries.1.DestinationCidrBlock=10.5.0.0/16",
    ),
    (
        CBN,
        "CreateCenRouteMap",
        "CenId=$CenId CenRegionId=cn-hangzhou Priority=5 TransmitDirection=RegionIn MapResult=Permit Preference=20",
    ),
    (CBN, "CreateCenBandwidthPackage", "Bandwidth=10 GeographicRegionAId=China GeographicRegionBId=China"),
    (CBN, "AssociateCenBandwidthPackage", "CenId=$CenId CenBandwidthPackageId=$CenBandwidthPackageId"),
    (CBN, "ModifyCenBandwidthPackageSpec", "CenBandwidthPackageId=$CenBandwidthPackageId Bandwidth=20"),
    (
        VPC,
        "GrantInstanceToCen",
        "RegionId=cn-hangzhou InstanceType=VPC InstanceId=$VpcId CenId=$CenId CenOwnerId=1234567890123456",
    ),
    (VPC, "TagResources", "RegionId=cn-hangzhou ResourceType=VPC ResourceId.1=$VpcId Tag.1.Key=k Tag.1.Value=v"),
    (VPC, "MoveResourceGroup", "RegionId=cn-hangzhou ResourceType=VPC ResourceId=$VpcId NewResourceGroupId=rg-1"),
    (VPC, "CreateRouteTable", "RegionId=cn-hangzhou VpcId=$VpcId RouteTableName=custom"),
    (VPC, "AssociateRouteTable", "RegionId=cn-hangzhou RouteTableId=$RouteTableId VSwitchId=$VSwitchId"),
    (VPC, "ModifyRouteTableAttributes", "RegionId=cn-hangzhou RouteTableId=$RouteTableId RoutePropagationEnable=false"),
];

/// What is asked to see everything. A name that no call has answered yet is empty.
const LOOKS: &[(&str, &str, &str)] = &[
    (CBN, "DescribeCens", ""),
    (CBN, "DescribeCenAttachedChildInstances", "CenId=$CenId"),
    (CBN, "DescribeCenRegionDomainRouteEntries", "CenId=$CenId CenRegionId=cn-hangzhou"),
    (CBN, "DescribeCenRouteMaps", "CenId=$CenId"),
    (CBN, "DescribeCenBandwidthPackages", ""),
    (VPC, "DescribeGrantRulesToCen", "RegionId=cn-hangzhou InstanceType=VPC InstanceId=$VpcId"),
    (VPC, "DescribeVpcs", "RegionId=cn-hangzhou"),
    (VPC, "DescribeVSwitches", "RegionId=cn-hangzhou"),
    (VPC, "DescribeRouteTableList", "RegionId=cn-hangzhou"),
    (VPC, "DescribeRouteTables", "RegionId=cn-hangzhou"),
    (VPC, "DescribeVpnGateways", "RegionId=cn-hangzhou"),
    (VPC, "DescribeCustomerGateways", "RegionId=cn-hangzhou"),
    (VPC, "DescribeVpnConnections", "RegionId=cn-hangzhou"),
    (VPC, "DescribeVpnRouteEntries", "RegionId=cn-hangzhou VpnGatewayId=$VpnGatewayId"),
    (VPC, "DescribeVpnPbrRouteEntries", "RegionId=cn-hangzhou VpnGatewayId=$VpnGatewayId"),
    (VPC, "ListTagResources", "RegionId=cn-hangzhou ResourceType=VPC ResourceId.1=$VpcId"),
];

/// What calls have answered, by field.
type Known = BTreeMap<String, String>;

/// The query of a call, signed anew.
fn query(version: &str, action: &str, text: &str, known: &Known, token: Option<&str>) -> String {
    let words: Vec<(&str, String)> = text
        .split_whitespace()
        .map(|word| {
            let (name, value) = word.split_once('=').unwrap();
            let of_before = |name: &str| known.get(name).cloned().unwrap_or_default();
            (name, value.strip_prefix('$').map_or_else(|| value.to_owned(), of_before))
        })
        .collect();
    let mut given: Vec<(&str, &str)> = words.iter().map(|(name, value)| (*name, value.as_str())).collect();
    given.extend(token.map(|token| ("ClientToken", token)));
    signed(action, version, &given)
}

/// The answer without what is new each time.
fn answer((status, mut body): (u16, Value)) -> (u16, Value) {
    body.as_object_mut().unwrap().retain(|name, _| !["RequestId", "HostId"].contains(&name.as_str()));
    (status, body)
}

fn everything(cend: &Cend, known: &Known) -> Vec<(&'static str, (u16, Value))> {
    let look = |(version, action, text): &(&'static str, &'static str, &str)| {
        (*action, answer(cend.send(&query(version, action, text, known, None))))
    };
    LOOKS.iter().map(look).collect()
}

/// The format that the file says it has.
fn format(directory: &Path) -> u64 {
    let database = Database::open(directory.join("cloud.redb")).unwrap();
    let transaction = database.begin_read().unwrap();
    let numbers = transaction.open_table(TableDefinition::<&str, u64>::new("numbers")).unwrap();
    numbers.get("format").unwrap().unwrap().value()
}

#[test]
fn whatever_was_acknowledged_is_as_it_was_after_a_kill_and_is_done_once() {
    let seed: u64 = rand::random();
    println!("seed {seed}");
    let mut random = ChaCha8Rng::seed_from_u64(seed);
    let directory = tempfile::tempdir().unwrap();
    let mut known = Known::new();
    let mut cend = Cend::start(directory.path());
    let mut kills = 0;
    for (number, (version, action, text)) in CALLS.iter().enumerate() {
        let token = format!("token-{number}");
        let before = known.clone();
        let sent = query(version, action, text, &before, Some(&token));
        let first = answer(cend.send(&sent));
        assert_eq!(first.0, 200, "{action}: {}", first.1);
        for (name, value) in first.1.as_object().unwrap() {
            known.extend(value.as_str().map(|value| (name.clone(), value.to_owned())));
        }
        if random.random_ratio(2, 3) && number + 1 < CALLS.len() {
            continue;
        }
        kills += 1;
        let seen = everything(&cend, &known);
        cend.kill();
        assert_eq!(format(directory.path()), 2);
        cend = Cend::start(directory.path());
        assert_eq!(everything(&cend, &known), seen, "after {action}");
        assert_eq!(cend.send(&sent).1["Code"], "SignatureNonceUsed", "{action} is replayed");
        let again = answer(cend.send(&query(version, action, text, &before, Some(&token))));
        assert_eq!(again, first, "{action} is repeated with its token");
        assert_eq!(everything(&cend, &known), seen, "after {action} and its repetition");
    }
    let mut refused = everything(&cend, &known);
    refused.retain(|(_, (status, _))| *status != 200);
    assert!(refused.is_empty() && kills > 0, "{refused:?}");
}
