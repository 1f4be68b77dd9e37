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


CHECKS = [custom_route_tables]

endpoint, key, secret = server()
for algorithm in (None, "v2"):
    for check in CHECKS:
        check(Cloud(NewSdk(endpoint, key, secret, algorithm)))
print("passed", file=sys.stdout)
