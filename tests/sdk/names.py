"""What a client does with resources that it has made: it reads them back, renames them, and labels them."""

import importlib
import inspect
import pathlib
import re
import sys

from checks import equal, refused, server
from sdks import NewSdk

REGION = {"RegionId": "cn-hangzhou"}


def every_action_of_the_sdks_is_known():
    """An action that cend does not know at all reads as "not found"; those of the cloud have to be told apart."""
    for package, kept in (
        ("alibabacloud_cbn20170912", "actions-cbn-2017-09-12.txt"),
        ("alibabacloud_vpc20160428", "actions-vpc-2016-04-28.txt"),
    ):
        source = pathlib.Path(importlib.import_module(f"{package}.client").__file__).read_text()
        names = sorted(set(re.findall(r"action *= *'(\w+)'", source)))
        assert len(names) > 100, names
        kept = pathlib.Path(__file__).parents[2] / "src/cen/openapi" / kept
        equal(kept.read_text().split(), names, f"{kept.name}")


# Rows that the SDKs of today have no field for: older clients send these, and the plan reads them.
BESIDE_THE_SDKS = {
    ("AttachCenChildInstance", "CenOwnerId"),
    ("CreateVpnGateway", "Description"),
    ("CreateVpnGateway", "Tags"),
    ("ModifyVpnConnectionAttribute", "CustomerGatewayId"),
}
COMMON = {"RegionId", "ClientToken", "DryRun", "OwnerAccount", "OwnerId", "ResourceOwnerAccount", "ResourceOwnerId"}


def every_parameter_of_the_sdks_has_a_row():
    """One without a row would be ignored: a filter that is, answers with what was not asked for."""
    document = (pathlib.Path(__file__).parents[2] / "docs/api.md").read_text()
    actions = 0
    for product in document.split("\n## ")[1:]:
        if product.startswith(("Sts ", "cend's own ")):
            continue  # The one's one action takes nothing, and no SDK has the other's.
        package = {"Cbn": "alibabacloud_cbn20170912", "Vpc": "alibabacloud_vpc20160428"}[product.split()[0]]
        models = importlib.import_module(f"{package}.models")
        for block in product.split("\n### ")[1:]:
            action = block.split("\n")[0].strip()
            rows = {name.split(".")[0] for name in re.findall(r"^\| `([^`]+)`", block, re.M)}
            model = inspect.getsource(getattr(models, f"{action}Request"))
            fields = set(re.findall(r"m\.get\('(\w+)'\)", model))
            equal(fields - rows - COMMON, set(), f"parameters of {action} without a row")
            unknown = {name for name in rows - fields - COMMON if (action, name) not in BESIDE_THE_SDKS}
            equal(unknown, set(), f"rows of {action} that no SDK sends")
            actions += 1
    assert actions > 40, actions


def check(sdk):
    def vpc(action, **parameters):
        return sdk.call("Vpc", action, {**REGION, **parameters})

    made = vpc("CreateVpc", CidrBlock="10.0.0.0/16", VpcName="old")
    vpc_id, table = made["VpcId"], made["RouteTableId"]
    vswitch = vpc("CreateVSwitch", VpcId=vpc_id, ZoneId="cn-hangzhou-b", CidrBlock="10.0.1.0/24")["VSwitchId"]

    shown = vpc("DescribeVSwitchAttributes", VSwitchId=vswitch)
    equal((shown["VSwitchId"], shown["Status"], shown["CidrBlock"]), (vswitch, "Available", "10.0.1.0/24"), "attributes")
    refused("InvalidVswitchID.NotFound", 404, lambda: vpc("DescribeVSwitchAttributes", VSwitchId="vsw-unknown"))

    vpc("ModifyVpcAttribute", VpcId=vpc_id, VpcName="new", Description="a VPC")
    shown = vpc("DescribeVpcAttribute", VpcId=vpc_id)
    equal((shown["VpcName"], shown["Description"]), ("new", "a VPC"), "the VPC's name")
    vpc("ModifyVpcAttribute", VpcId=vpc_id, Description="the VPC")
    equal(vpc("DescribeVpcAttribute", VpcId=vpc_id)["VpcName"], "new", "a name that is left out")
    refused("InvalidVpcId.NotFound", 404, lambda: vpc("ModifyVpcAttribute", VpcId="vpc-unknown", VpcName="x"))
    vpc("ModifyVSwitchAttribute", VSwitchId=vswitch, VSwitchName="subnet")
    equal(vpc("DescribeVSwitchAttributes", VSwitchId=vswitch)["VSwitchName"], "subnet", "the vSwitch's name")
    vpc("ModifyRouteTableAttributes", RouteTableId=table, RouteTableName="main")
    tables = vpc("DescribeRouteTableList", RouteTableId=table)["RouterTableList"]["RouterTableListType"]
    equal([table["RouteTableName"] for table in tables], ["main"], "the route table's name")

    gateway = vpc("CreateVpnGateway", VpcId=vpc_id, Bandwidth=10, Name="old")["VpnGatewayId"]
    shown = vpc("DescribeVpnGateway", VpnGatewayId=gateway)
    equal((shown["ChargeType"], shown["VSwitchId"]), ("PostpayByFlow", vswitch), "what the cloud chose")
    changed = vpc("ModifyVpnGatewayAttribute", VpnGatewayId=gateway, Name="new", AutoPropagate=True)
    equal((changed["Name"], changed["AutoPropagate"]), ("new", True), "the answer to a renaming")
    shown = vpc("DescribeVpnGateway", VpnGatewayId=gateway)
    equal((shown["Name"], shown["AutoPropagate"]), ("new", True), "the gateway's name")
    customer = vpc("CreateCustomerGateway", IpAddress="198.51.100.77")["CustomerGatewayId"]
    vpc("ModifyCustomerGatewayAttribute", CustomerGatewayId=customer, Name="idc")
    equal(vpc("DescribeCustomerGateway", CustomerGatewayId=customer)["Name"], "idc", "the customer gateway's name")

    connection = vpc(
        "CreateVpnConnection", VpnGatewayId=gateway, CustomerGatewayId=customer, LocalSubnet="10.0.1.0/24",
        RemoteSubnet="10.9.0.0/24", EffectImmediately=True, AutoConfigRoute=False)["VpnConnectionId"]
    vpc("ModifyVpnConnectionAttribute", VpnConnectionId=connection, Name="tunnel")
    shown = vpc("DescribeVpnConnection", VpnConnectionId=connection)
    equal((shown["Name"], shown["EffectImmediately"]), ("tunnel", True), "what is left out stays")

    entry = vpc("CreateRouteEntry", RouteTableId=table, DestinationCidrBlock="10.9.0.0/24", NextHopType="VpnGateway",
                NextHopId=gateway)["RouteEntryId"]
    vpc("ModifyRouteEntry", RouteEntryId=entry, RouteEntryName="to the IDC", Description="by VPN")
    entries = vpc("DescribeRouteEntryList", RouteTableId=table, RouteEntryId=entry)["RouteEntrys"]["RouteEntry"]
    equal([(one["RouteEntryName"], one["Description"]) for one in entries], [("to the IDC", "by VPN")], "the entry's name")
    refused("InvalidNextHopId.NotFound", 404, lambda: vpc(
        "ModifyRouteEntry", RouteEntryId=entry, NewNextHopType="Instance", NewNextHopId="i-unknown"))

    for product, kind, resource, show in (
        ("Vpc", "VPC", vpc_id, lambda: vpc("DescribeVpcAttribute", VpcId=vpc_id)),
        ("Vpc", "VSWITCH", vswitch, lambda: vpc("DescribeVSwitchAttributes", VSwitchId=vswitch)),
        ("Vpc", "VpnGateway", gateway, lambda: vpc("DescribeVpnGateway", VpnGatewayId=gateway)),
    ):
        def tags(action, **parameters):
            return sdk.call(product, action, {**REGION, "ResourceType": kind, "ResourceId": [resource], **parameters})

        def listed():
            found = tags("ListTagResources")["TagResources"]["TagResource"]
            return {tag["TagKey"]: tag["TagValue"] for tag in found}

        tags("TagResources", Tag=[{"Key": "env", "Value": "test"}, {"Key": "owner", "Value": "net"}])
        tags("TagResources", Tag=[{"Key": "env", "Value": "live"}])
        equal(listed(), {"env": "live", "owner": "net"}, f"tags of {kind}")
        equal({tag["Key"] for tag in show()["Tags"]["Tag"]}, {"env", "owner"}, f"tags that {kind} shows")
        tags("UnTagResources", TagKey=["env"])
        equal(listed(), {"owner": "net"}, f"tags left of {kind}")
        tags("UnTagResources", All=True)
        equal(listed(), {}, f"no tags of {kind}")
    many = [{"Key": f"key-{n}", "Value": str(n)} for n in range(20)]
    vpc("TagResources", ResourceType="VSWITCH", ResourceId=[vswitch], Tag=many)
    listed = vpc("ListTagResources", ResourceType="VSWITCH", ResourceId=[vswitch])
    equal(len(listed["TagResources"]["TagResource"]), 20, "tags on one page")
    listed = vpc("ListTagResources", ResourceType="VSWITCH", ResourceId=[vswitch], MaxResults=15)
    equal((len(listed["TagResources"]["TagResource"]), bool(listed["NextToken"])), (15, True), "tags on a page of 15")
    for value, found in (("7", [vswitch]), ("8", [])):
        asked = vpc("DescribeVSwitches", Tag=[{"Key": "key-7", "Value": value}])["VSwitches"]["VSwitch"]
        equal([one["VSwitchId"] for one in asked], found, f"vSwitches with key-7 {value}")
    refused("InvalidResourceId.NotFound", 404, lambda: vpc(
        "TagResources", ResourceType="VPC", ResourceId=["vpc-unknown"], Tag=[{"Key": "a", "Value": "b"}]))

    vpc("DeleteVpnConnection", VpnConnectionId=connection)
    vpc("DeleteRouteEntry", RouteEntryId=entry)
    vpc("DeleteVpnGateway", VpnGatewayId=gateway)
    vpc("DeleteCustomerGateway", CustomerGatewayId=customer)
    vpc("DeleteVSwitch", VSwitchId=vswitch)
    vpc("DeleteVpc", VpcId=vpc_id)


every_action_of_the_sdks_is_known()
every_parameter_of_the_sdks_has_a_row()
endpoint, key, secret = server()
for algorithm in (None, "v2"):
    check(NewSdk(endpoint, key, secret, algorithm))
print("passed", file=sys.stdout)
