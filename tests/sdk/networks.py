"""VPCs with several route tables and CIDR blocks, and what they grant and publish to CEN."""

import sys

from checks import equal, refused, server
from sdks import NewSdk

REGION = {"RegionId": "cn-hangzhou"}
OWNER = 1000000000000001


class Cloud:
    def __init__(self, sdk):
        self.sdk = sdk

    def vpc(self, action, **parameters):
        return self.sdk.call("Vpc", action, {**REGION, **parameters})

    def cbn(self, action, **parameters):
        return self.sdk.call("Cbn", action, parameters)

    def refuses(self, code, status, action, **parameters):
        return refused(code, status, lambda: self.vpc(action, **parameters))

    def tables(self, **parameters):
        return self.vpc("DescribeRouteTableList", **parameters)["RouterTableList"]["RouterTableListType"]

    def entries(self, table):
        entries = self.vpc("DescribeRouteEntryList", RouteTableId=table, MaxResult=100)["RouteEntrys"]["RouteEntry"]
        return {entry["DestinationCidrBlock"]: entry for entry in entries}

    def vswitch(self, vpc, block):
        return self.vpc("CreateVSwitch", VpcId=vpc, ZoneId="cn-hangzhou-b", CidrBlock=block)["VSwitchId"]


def custom_route_tables(cloud):
    """What Terraform's alicloud_route_table and alicloud_route_table_attachment do."""
    made = cloud.vpc("CreateVpc", CidrBlock="10.0.0.0/16", VpcName="tables")
    vpc, system = made["VpcId"], made["RouteTableId"]
    vswitch = cloud.vswitch(vpc, "10.0.1.0/24")
    custom = cloud.vpc("CreateRouteTable", VpcId=vpc, RouteTableName="dmz", Description="d", AssociateType="VSwitch",
                       Tag=[{"Key": "env", "Value": "test"}])["RouteTableId"]
    cloud.refuses("InvalidAssociateType", 400, "CreateRouteTable", VpcId=vpc, AssociateType="Gateway")

    (table,) = cloud.tables(RouteTableId=custom)
    shown = [table[name] for name in ("RouteTableType", "Status", "VpcId", "RouteTableName", "AssociateType",
                                      "RoutePropagationEnable", "VSwitchIds")]
    equal(shown, ["Custom", "Available", vpc, "dmz", "VSwitch", True, {"VSwitchId": []}], "a custom table")
    equal([table["RouteTableId"] for table in cloud.tables(VpcId=vpc, RouteTableType="Custom")], [custom], "by type")
    equal(set(cloud.entries(custom)), {"10.0.1.0/24", "100.64.0.0/10"}, "its system routes")
    (described,) = cloud.vpc("DescribeVpcs", VpcId=vpc)["Vpcs"]["Vpc"]
    equal(set(described["RouterTableIds"]["RouterTableIds"]), {system, custom}, "the VPC's tables")

    cloud.vpc("AssociateRouteTable", RouteTableId=custom, VSwitchId=vswitch)
    attributes = cloud.vpc("DescribeVSwitchAttributes", VSwitchId=vswitch)
    equal((attributes["Status"], attributes["RouteTable"]),
          ("Available", {"RouteTableId": custom, "RouteTableType": "Custom"}), "the vSwitch's table")
    equal([table["VSwitchIds"]["VSwitchId"] for table in cloud.tables(RouteTableId=custom)], [[vswitch]], "its vSwitches")
    old = cloud.vpc("DescribeRouteTables", RouteTableId=custom)["RouteTables"]["RouteTable"]
    equal([table["RouteTableType"] for table in old], ["Custom"], "in the older action")
    cloud.refuses("ResourceAlreadyAssociated.RouteTable", 400, "AssociateRouteTable", RouteTableId=custom,
                  VSwitchId=vswitch)
    cloud.refuses("IncorrectRouteTableStatus", 404, "DeleteRouteTable", RouteTableId=custom)
    cloud.refuses("DependencyViolation.RouteTable", 400, "DeleteVSwitch", VSwitchId=vswitch)
    cloud.refuses("IncorrectRouteTableType", 400, "DeleteRouteTable", RouteTableId=system)

    cloud.vpc("ModifyRouteTableAttributes", RouteTableId=custom, RoutePropagationEnable=False)
    (table,) = cloud.tables(RouteTableId=custom)
    equal((table["RoutePropagationEnable"], table["RouteTableName"]), (False, "dmz"), "propagation is off")

    gateway = cloud.vpc("CreateVpnGateway", VpcId=vpc, Bandwidth=10)["VpnGatewayId"]
    entry = cloud.vpc("CreateRouteEntry", RouteTableId=custom, DestinationCidrBlock="172.16.0.0/16",
                      NextHopType="VpnGateway", NextHopId=gateway)["RouteEntryId"]
    equal("172.16.0.0/16" in cloud.entries(system), False, "an entry of the custom table alone")
    cen = cloud.cbn("CreateCen", Name="tables")["CenId"]
    child = {"CenId": cen, "ChildInstanceId": vpc, "ChildInstanceType": "VPC", "ChildInstanceRegionId": "cn-hangzhou"}
    cloud.cbn("AttachCenChildInstance", **child)
    refused("InvalidOperation.UnsupportRouteTableType", 400, lambda: cloud.cbn(
        "PublishRouteEntries", **child, ChildInstanceRouteTableId=custom, DestinationCidrBlock="172.16.0.0/16"))
    cloud.cbn("DetachCenChildInstance", **child)
    cloud.cbn("DeleteCen", CenId=cen)

    cloud.vpc("UnassociateRouteTable", RouteTableId=custom, VSwitchId=vswitch)
    cloud.refuses("InvalidBindingStatus.RouteTable", 404, "UnassociateRouteTable", RouteTableId=custom, VSwitchId=vswitch)
    cloud.refuses("DependencyViolation.RouteEntry", 404, "DeleteRouteTable", RouteTableId=custom)
    cloud.vpc("DeleteRouteEntry", RouteEntryId=entry)
    cloud.vpc("DeleteRouteTable", RouteTableId=custom)
    equal(cloud.tables(RouteTableId=custom), [], "a table that is gone")
    cloud.vpc("DeleteVpnGateway", VpnGatewayId=gateway)
    cloud.vpc("DeleteVSwitch", VSwitchId=vswitch)
    cloud.vpc("DeleteVpc", VpcId=vpc)


def blocks(cloud):
    """Secondary and user CIDR blocks, as Terraform's alicloud_vpc has them."""
    vpc = cloud.vpc("CreateVpc", CidrBlock="10.0.0.0/16", UserCidr="203.0.113.0/24,198.51.100.0/24",
                    ResourceGroupId="rg-1")["VpcId"]
    cloud.refuses("InvalidUserCidr", 400, "CreateVpc", UserCidr="1.1.1.0/24,2.2.2.0/24,3.3.3.0/24,4.4.4.0/24")
    answer = cloud.vpc("AssociateVpcCidrBlock", VpcId=vpc, SecondaryCidrBlock="172.16.0.0/16", IpVersion="IPV4")
    equal((answer["CidrBlock"], answer["IpVersion"]), ("172.16.0.0/16", "IPV4"), "the answer")
    (shown,) = cloud.vpc("DescribeVpcs", VpcId=vpc, ResourceGroupId="rg-1")["Vpcs"]["Vpc"]
    for shown in (shown, cloud.vpc("DescribeVpcAttribute", VpcId=vpc)):
        equal(shown["SecondaryCidrBlocks"]["SecondaryCidrBlock"], ["172.16.0.0/16"], "the secondary blocks")
        equal(shown["UserCidrs"]["UserCidr"], ["203.0.113.0/24", "198.51.100.0/24"], "the user's blocks")
    equal(cloud.vpc("DescribeVpcs", ResourceGroupId="rg-2")["Vpcs"]["Vpc"], [], "of another group")
    cloud.refuses("MissingParam.SecondaryCidrBlockOrIpv6CidrBlock", 400, "AssociateVpcCidrBlock", VpcId=vpc)
    cloud.refuses("InvalidIpVersion", 400, "AssociateVpcCidrBlock", VpcId=vpc, IpVersion="IPV6")
    vswitch = cloud.vswitch(vpc, "172.16.1.0/24")
    cloud.refuses("DependencyViolation.VSwitch", 400, "UnassociateVpcCidrBlock", VpcId=vpc,
                  SecondaryCidrBlock="172.16.0.0/16")
    cloud.vpc("DeleteVSwitch", VSwitchId=vswitch)
    cloud.vpc("UnassociateVpcCidrBlock", VpcId=vpc, SecondaryCidrBlock="172.16.0.0/16")
    shown = cloud.vpc("DescribeVpcAttribute", VpcId=vpc)
    equal(shown["SecondaryCidrBlocks"]["SecondaryCidrBlock"], [], "no secondary block")

    cloud.vpc("MoveResourceGroup", ResourceType="vpc", ResourceId=vpc, NewResourceGroupId="rg-2")
    equal(cloud.vpc("DescribeVpcAttribute", VpcId=vpc)["ResourceGroupId"], "rg-2", "the VPC's group")
    cloud.refuses("ResourceNotFound", 404, "MoveResourceGroup", ResourceType="vpc", ResourceId="vpc-none",
                  NewResourceGroupId="rg-2")
    gateway = cloud.vpc("CreateCustomerGateway", IpAddress="198.51.100.78")["CustomerGatewayId"]
    cloud.vpc("MoveVpnResourceGroup", ResourceType="CustomerGateway", InstanceId=gateway, NewResourceGroupId="rg-3")
    equal(cloud.vpc("DescribeCustomerGateway", CustomerGatewayId=gateway)["ResourceGroupId"], "rg-3", "its group")
    cloud.vpc("DeleteCustomerGateway", CustomerGatewayId=gateway)
    cen = cloud.cbn("CreateCen", Name="groups")["CenId"]
    cloud.cbn("MoveResourceGroup", ResourceType="cen", ResourceId=cen, NewResourceGroupId="rg-4")
    (shown,) = cloud.cbn("DescribeCens", ResourceGroupId="rg-4")["Cens"]["Cen"]
    equal((shown["CenId"], shown["ResourceGroupId"]), (cen, "rg-4"), "the CEN instance's group")
    cloud.cbn("DeleteCen", CenId=cen)
    cloud.vpc("DeleteVpc", VpcId=vpc)


def published_from_the_vpc(cloud):
    made = cloud.vpc("CreateVpc", CidrBlock="10.0.0.0/16")
    vpc, table = made["VpcId"], made["RouteTableId"]
    vswitch = cloud.vswitch(vpc, "10.0.1.0/24")
    gateway = cloud.vpc("CreateVpnGateway", VpcId=vpc, Bandwidth=10)["VpnGatewayId"]
    destination = "172.16.0.0/16"
    entry = cloud.vpc("CreateRouteEntry", RouteTableId=table, DestinationCidrBlock=destination,
                      NextHopType="VpnGateway", NextHopId=gateway)["RouteEntryId"]
    # So Terraform asks, and takes this answer for "published nowhere".
    cloud.refuses("ResourceNotAssociated.TargetInstance", 400, "ListVpcPublishedRouteEntries", RouteTableId=table,
                  TargetType="ECR", DestinationCidrBlock=destination)
    cen = cloud.cbn("CreateCen", Name="published")["CenId"]
    target = {"TargetType": "CEN", "TargetInstanceId": cen}
    entries = {"RouteEntries": [{"RouteTableId": table, "DestinationCidrBlock": destination}]}
    cloud.refuses("ResourceNotAssociated.TargetInstance", 400, "PublishVpcRouteEntries", **target, **entries)
    child = {"CenId": cen, "ChildInstanceId": vpc, "ChildInstanceType": "VPC", "ChildInstanceRegionId": "cn-hangzhou"}
    cloud.cbn("AttachCenChildInstance", **child)
    cloud.refuses("OperationDenied.UnsupportedTargetType", 400, "PublishVpcRouteEntries", TargetType="Mars",
                  TargetInstanceId=cen, **entries)

    def statuses():
        listed = cloud.vpc("ListVpcPublishedRouteEntries", RouteTableId=table, **target)
        return {one["DestinationCidrBlock"]: one["RoutePublishTargets"][0]["PublishStatus"]
                for one in listed["RouteEntries"]}

    def in_cen():
        shown = cloud.cbn("DescribePublishedRouteEntries", **child, DestinationCidrBlock=destination)
        (shown,) = shown["PublishedRouteEntries"]["PublishedRouteEntry"]
        return shown["PublishStatus"]

    equal(statuses(), {"10.0.1.0/24": "Published", destination: "NonPublished", "100.64.0.0/10": "NonPublished"}, "all")
    cloud.vpc("PublishVpcRouteEntries", **target, **entries)
    equal((statuses()[destination], in_cen()), ("Published", "Published"), "published")
    cloud.vpc("WithdrawVpcPublishedRouteEntries", **target, **entries)
    equal((statuses()[destination], in_cen()), ("NonPublished", "NonPublished"), "withdrawn")
    cloud.cbn("DetachCenChildInstance", **child)

    grant = {"InstanceId": vpc, "InstanceType": "VPC", "CenId": "cen-of-others", "CenOwnerId": 7}
    cloud.vpc("GrantInstanceToCen", **grant)
    cloud.refuses("InstanceType.Invalid", 404, "GrantInstanceToCen", **{**grant, "InstanceType": "CCN"})
    (rule,) = cloud.cbn("DescribeGrantRulesToCen", CenId="cen-of-others", ProductType="VPC")["GrantRules"]["GrantRule"]
    equal((rule["ChildInstanceId"], rule["ChildInstanceOwnerId"], rule["CenOwnerId"]), (vpc, OWNER, 7), "the grant")
    rules = cloud.vpc("DescribeGrantRulesToCen", InstanceId=vpc, InstanceType="VPC")["CenGrantRules"]["CbnGrantRule"]
    equal([rule["CenInstanceId"] for rule in rules], ["cen-of-others"], "the VPC's grants")
    cloud.vpc("RevokeInstanceFromCen", **grant)
    rules = cloud.cbn("DescribeGrantRulesToCen", CenId="cen-of-others", ProductType="VPC")["GrantRules"]["GrantRule"]
    equal(rules, [], "no grant")

    cloud.vpc("DeleteRouteEntry", RouteEntryId=entry)
    cloud.vpc("DeleteVpnGateway", VpnGatewayId=gateway)
    cloud.vpc("DeleteVSwitch", VSwitchId=vswitch)
    cloud.vpc("DeleteVpc", VpcId=vpc)
    cloud.cbn("DeleteCen", CenId=cen)
    assert len(cloud.sdk.call("Vpc", "DescribeRegions", {})["Regions"]["Region"]) > 20, "regions without a region"


def several_entries(cloud):
    made = cloud.vpc("CreateVpc", CidrBlock="10.0.0.0/16")
    vpc, table = made["VpcId"], made["RouteTableId"]
    gateway = cloud.vpc("CreateVpnGateway", VpcId=vpc, Bandwidth=10)["VpnGatewayId"]

    def entry(block, **more):
        return {"RouteTableId": table, "DstCidrBlock": block, "NextHop": gateway, "NextHopType": "VpnGateway", **more}

    answer = cloud.vpc("CreateRouteEntries", RouteEntries=[
        entry("172.16.0.0/16", Name="first", IpVersion=4), entry("172.16.0.0/16"), entry("172.17.0.0/16")])
    equal((answer["SuccessCount"], answer["FailedCount"], len(answer["RouteEntryIds"])), (2, 1, 2), "two of three")
    (failed,) = answer["FailedRouteEntries"]
    equal((failed["DstCidrBlock"], failed["FailedCode"]), ("172.16.0.0/16", "VPC_ROUTE_ENTRY_CIDR_BLOCK_DUPLICATE"), "why")
    entries = cloud.entries(table)
    equal({entries[block]["RouteEntryId"] for block in ("172.16.0.0/16", "172.17.0.0/16")},
          set(answer["RouteEntryIds"]), "the entries")
    equal(entries["172.16.0.0/16"]["RouteEntryName"], "first", "its name")
    answer = cloud.vpc("DeleteRouteEntries", RouteEntries=[
        {"RouteTableId": table, "RouteEntryId": entries["172.16.0.0/16"]["RouteEntryId"]},
        {"RouteTableId": table, "DstCidrBlock": "172.17.0.0/16", "NextHop": gateway},
        {"RouteTableId": table, "RouteEntryId": "rte-unknown"}])
    equal((answer["SuccessCount"], answer["FailedCount"]), (2, 1), "two of three")
    equal(answer["FailedRouteEntries"][0]["RouteEntryId"], "rte-unknown", "the third")
    equal(set(cloud.entries(table)), {"100.64.0.0/10"}, "what is left")
    # One entry with two next hops, of which one stands by.
    second = cloud.vpc("CreateVpnGateway", VpcId=vpc, Bandwidth=10)["VpnGatewayId"]
    hops = [{"NextHopId": gateway, "NextHopType": "VpnGateway", "Weight": 0},
            {"NextHopId": second, "NextHopType": "VpnGateway", "Weight": 100}]
    shared = {"RouteTableId": table, "DestinationCidrBlock": "172.18.0.0/16"}
    cloud.refuses("InvalidNexthopTypeAndList.BothNotNull", 400, "CreateRouteEntry", **shared, NextHopId=gateway,
                  NextHopList=hops)
    cloud.refuses("InvalidNextHopList", 400, "CreateRouteEntry", **shared, NextHopList=[hops[0], hops[0]])
    cloud.vpc("CreateRouteEntry", **shared, NextHopList=hops)
    shown = [(hop["NextHopId"], hop["NextHopType"], hop["Weight"])
             for hop in cloud.entries(table)["172.18.0.0/16"]["NextHops"]["NextHop"]]
    equal(shown, [(second, "VpnGateway", 100), (gateway, "VpnGateway", 0)], "the one in use first")
    cloud.refuses("VpnDependencyViolation.RouteEntry", 400, "DeleteVpnGateway", VpnGatewayId=gateway)
    cloud.refuses("ParamExclusive.NextHopIdAndList", 400, "DeleteRouteEntry", **shared, NextHopId=second,
                  NextHopList=hops)
    cloud.refuses("InvalidRouteEntry.NotFound", 400, "DeleteRouteEntry", **shared, NextHopId=second)
    cloud.vpc("DeleteRouteEntry", **shared, NextHopList=hops)
    cloud.vpc("DeleteVpnGateway", VpnGatewayId=second)
    cloud.refuses("DryRunOperation", 412, "CreateRouteEntries", DryRun=True, RouteEntries=[entry("172.16.0.0/16")])
    cloud.vpc("DeleteVpnGateway", VpnGatewayId=gateway)
    cloud.vpc("DeleteVpc", VpcId=vpc)


CHECKS = [custom_route_tables, blocks, published_from_the_vpc, several_entries]

endpoint, key, secret = server()
for algorithm in (None, "v2"):
    for check in CHECKS:
        check(Cloud(NewSdk(endpoint, key, secret, algorithm)))
print("passed", file=sys.stdout)
