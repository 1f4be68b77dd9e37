//! Every kind of call that shows one page or one thing.

use std::time::Duration;

use ipsec_gateway::cen::openapi::action::{CBN, VPC};

use super::Outcome;
use super::client::{Client, Given};
use super::world::{ROUTES, region};

/// A version, an action and its parameters.
pub type PageCall = (&'static str, &'static str, Vec<(&'static str, String)>);

/// The parameters that name the child instance of this number.
fn child(number: u32) -> [(&'static str, String); 5] {
    [
        ("CenId", "cen-bench".to_owned()),
        ("ChildInstanceId", format!("vpc-{number:020}")),
        ("ChildInstanceType", "VPC".to_owned()),
        ("ChildInstanceRegionId", region(number).to_owned()),
        ("ChildInstanceRouteTableId", format!("vtb-{number:020}")),
    ]
}

/// Calls an action about the child instance of this number.
pub fn of_child(client: &mut Client, action: &str, number: u32, more: Given<'_>) -> Outcome<(Duration, usize)> {
    let child = child(number);
    let given: Vec<(&str, &str)> =
        child.iter().map(|(name, value)| (*name, value.as_str())).chain(more.iter().copied()).collect();
    client.call(CBN, action, &given)
}

/// One call of each.
pub fn pages(networks: u32) -> Vec<PageCall> {
    let page = |size: &str| ("PageSize", size.to_owned());
    let middle = networks / 2;
    let mut child_page: Vec<_> = child(middle).into();
    child_page.push(page("500"));
    let mut deep = child_page.clone();
    deep.push(("PageNumber", (networks * ROUTES / 1000).to_string()));
    let mut published: Vec<_> = child(middle).into();
    published.push(page("50"));
    let mut first: Vec<_> = child(0).into();
    first.push(page("50"));
    let table = ("RouteTableId", format!("vtb-{middle:020}"));
    let here = ("RegionId", region(middle).to_owned());
    let cen = ("CenId", "cen-bench".to_owned());
    let at = ("CenRegionId", region(0).to_owned());
    let mut rejected = child_page.clone();
    rejected.push(("Status", "Rejected".to_owned()));
    let mut active = child_page.clone();
    active.push(("Status", "Active".to_owned()));
    let attached = child(middle)[..4].to_vec();
    vec![
        (CBN, "DescribeCens", vec![page("50")]),
        (CBN, "DescribeCenAttachedChildInstances", vec![cen.clone(), page("50")]),
        (CBN, "DescribePublishedRouteEntries", published.clone()),
        (CBN, "DescribePublishedRouteEntries", first),
        (CBN, "DescribeCenChildInstanceRouteEntries", child_page),
        (CBN, "DescribeCenChildInstanceRouteEntries", deep),
        (CBN, "DescribeCenChildInstanceRouteEntries", rejected),
        (CBN, "DescribeCenChildInstanceRouteEntries", active),
        (CBN, "DescribeCenRegionDomainRouteEntries", vec![cen.clone(), at, page("500")]),
        (CBN, "DescribeRouteConflict", published[1..].to_vec()),
        (VPC, "DescribeVpcs", vec![here.clone(), page("50")]),
        (VPC, "DescribeVSwitches", vec![here.clone(), page("50")]),
        (VPC, "DescribeRouteTableList", vec![here.clone(), page("50")]),
        (VPC, "DescribeRouteTables", vec![table.clone(), here.clone(), page("50")]),
        (VPC, "DescribeRouteEntryList", vec![here.clone(), table.clone(), ("MaxResult", "100".to_owned())]),
        (VPC, "ListVpcPublishedRouteEntries", vec![here.clone(), table, ("TargetType", "CEN".to_owned())]),
        (VPC, "DescribeVpcAttribute", vec![here.clone(), ("VpcId", format!("vpc-{middle:020}"))]),
        (VPC, "DescribeVSwitchAttributes", vec![here.clone(), ("VSwitchId", format!("vsw-{middle:020}"))]),
        (
            VPC,
            "DescribeGrantRulesToCen",
            vec![here.clone(), ("InstanceType", "VPC".to_owned()), ("InstanceId", format!("vpc-{middle:020}"))],
        ),
        (
            VPC,
            "ListTagResources",
            vec![here.clone(), ("ResourceType", "VPC".to_owned()), ("ResourceId.1", format!("vpc-{middle:020}"))],
        ),
        (VPC, "DescribeVpnGateways", vec![here.clone(), page("50")]),
        (VPC, "DescribeVpnConnections", vec![here.clone(), page("50")]),
        (VPC, "DescribeCustomerGateways", vec![here.clone(), page("50")]),
        (VPC, "DescribeRegions", Vec::new()),
        (VPC, "DescribeZones", vec![here]),
        (CBN, "DescribeCenAttachedChildInstanceAttribute", attached),
        (CBN, "DescribeCenRouteMaps", vec![cen.clone(), page("50")]),
        (CBN, "DescribeCenBandwidthPackages", vec![page("50")]),
        (CBN, "DescribeCenInterRegionBandwidthLimits", vec![cen.clone(), page("50")]),
        (CBN, "DescribeChildInstanceRegions", Vec::new()),
        (CBN, "DescribeGrantRulesToCen", vec![cen, ("ProductType", "VPC".to_owned())]),
    ]
}

pub fn call_page(client: &mut Client, page: &PageCall) -> Outcome<(Duration, usize)> {
    let (version, action, given) = page;
    let given: Vec<(&str, &str)> = given.iter().map(|(name, value)| (*name, value.as_str())).collect();
    client.call(version, action, &given)
}
