"""Route maps, conflicts and bandwidth of a CEN instance, by an official SDK: Python's, or the clients for Node.js that are named."""

import sys

from checks import equal, refused, server
from node_sdk import NodeSdk
from sdks import NewSdk


def check(sdk):
    def vpc(action, region, **parameters):
        return sdk.call("Vpc", action, {"RegionId": region, **parameters})

    def cbn(action, **parameters):
        return sdk.call("Cbn", action, parameters)

    cen = cbn("CreateCen", Name="maps")["CenId"]
    networks = {}
    for region in ("cn-hangzhou", "cn-beijing"):
        made = vpc("CreateVpc", region, CidrBlock="10.0.0.0/8", VpcName="maps")
        networks[region] = (made["VpcId"], made["RouteTableId"])
        zone = vpc("DescribeZones", region)["Zones"]["Zone"][0]["ZoneId"]
        vpc("CreateVSwitch", region, VpcId=made["VpcId"], ZoneId=zone,
            CidrBlock="10.1.0.0/16" if region == "cn-hangzhou" else "10.2.0.0/16")
        cbn("AttachCenChildInstance", CenId=cen, ChildInstanceId=made["VpcId"], ChildInstanceType="VPC",
            ChildInstanceRegionId=region)

    def routes(region):
        entries = cbn("DescribeCenChildInstanceRouteEntries", CenId=cen, ChildInstanceId=networks[region][0],
                      ChildInstanceType="VPC", ChildInstanceRegionId=region)["CenRouteEntries"]["CenRouteEntry"]
        return {one["DestinationCidrBlock"]: one["Status"] for one in entries if one["Type"] == "CEN"}

    def at_region(region):
        table = cbn("DescribeCenRegionDomainRouteEntries", CenId=cen, CenRegionId=region, Status="All")
        return {one["DestinationCidrBlock"]: one for one in table["CenRouteEntries"]["CenRouteEntry"]}

    def conflicts(region):
        network, table = networks[region]
        found = cbn("DescribeRouteConflict", ChildInstanceId=network, ChildInstanceType="VPC",
                    ChildInstanceRegionId=region, ChildInstanceRouteTableId=table)["RouteConflicts"]["RouteConflict"]
        return [(one["DestinationCidrBlock"], one["InstanceId"], one["Status"]) for one in found]

    equal(routes("cn-beijing"), {"10.1.0.0/16": "Active"}, "learned without a map")
    equal(conflicts("cn-hangzhou"), [], "nobody rejects it")

    made = cbn("CreateCenRouteMap", CenId=cen, CenRegionId="cn-beijing", TransmitDirection="RegionIn", Priority=10,
               MapResult="Permit", SourceRegionIds=["cn-hangzhou"], DestinationCidrBlocks=["10.1.0.0/16"],
               CidrMatchMode="Include", Preference=20, CommunityOperateMode="Additive",
               OperateCommunitySet=["65001:7"], Description="first")["RouteMapId"]
    shown = at_region("cn-beijing")["10.1.0.0/16"]
    equal((shown["Preference"], shown["Communities"]["Community"]), (20, ["65001:7"]), "what the map did")
    equal([one["RouteMapId"] for one in shown["CenRouteMapRecords"]["CenRouteMapRecord"]], [made], "the map's record")
    equal(at_region("cn-hangzhou")["10.1.0.0/16"]["Preference"], 50, "in the region that it comes from")
    maps = cbn("DescribeCenRouteMaps", CenId=cen, CenRegionId="cn-beijing")["RouteMaps"]["RouteMap"]
    equal([(one["RouteMapId"], one["Priority"], one["SourceRegionIds"]["SourceRegionId"], one["Preference"],
            one["DestinationCidrBlocks"]["DestinationCidrBlock"], one["Status"]) for one in maps],
          [(made, 10, ["cn-hangzhou"], 20, ["10.1.0.0/16"], "Active")], "the map as it is shown")
    refused("InvalidOperation.PriorityConflict", 400, lambda: cbn(
        "CreateCenRouteMap", CenId=cen, CenRegionId="cn-beijing", TransmitDirection="RegionIn", Priority=10,
        MapResult="Deny"))
    refused("InvalidMatchCommunitySet", 400, lambda: cbn(
        "CreateCenRouteMap", CenId=cen, CenRegionId="cn-beijing", TransmitDirection="RegionIn", Priority=11,
        MapResult="Deny", MatchCommunitySet=["65536:1"]))

    cbn("ModifyCenRouteMap", CenId=cen, CenRegionId="cn-beijing", RouteMapId=made, Priority=12, MapResult="Deny")
    equal(routes("cn-beijing"), {}, "denied at the gateway")
    equal(at_region("cn-beijing")["10.1.0.0/16"]["Status"], "Prohibited", "at the gateway")
    cbn("DeleteCenRouteMap", CenId=cen, CenRegionId="cn-beijing", RouteMapId=made)
    network = networks["cn-beijing"][0]
    made = cbn("CreateCenRouteMap", CenId=cen, CenRegionId="cn-beijing", TransmitDirection="RegionOut", Priority=1,
               MapResult="Deny", DestinationInstanceIds=[network])["RouteMapId"]
    equal(routes("cn-beijing"), {"10.1.0.0/16": "Prohibited"}, "kept from the network")
    equal(conflicts("cn-hangzhou"), [("10.1.0.0/16", network, "prohibited")], "at the publisher")
    cbn("DeleteCenRouteMap", CenId=cen, CenRegionId="cn-beijing", RouteMapId=made)
    equal(routes("cn-beijing"), {"10.1.0.0/16": "Active"}, "without maps again")

    package = cbn("CreateCenBandwidthPackage", Bandwidth=10, GeographicRegionAId="China", GeographicRegionBId="China",
                  Name="package", Period=1, BandwidthPackageChargeType="PREPAY")["CenBandwidthPackageId"]

    def packages():
        found = cbn("DescribeCenBandwidthPackages", Filter=[{"Key": "CenBandwidthPackageId", "Value": [package]}])
        return [(one["Status"], one["Bandwidth"], one["GeographicSpanId"], one["CenIds"]["CenId"])
                for one in found["CenBandwidthPackages"]["CenBandwidthPackage"]]

    def limits():
        found = cbn("DescribeCenInterRegionBandwidthLimits", CenId=cen)["CenInterRegionBandwidthLimits"]
        return [(one["LocalRegionId"], one["OppositeRegionId"], one["BandwidthLimit"], one["BandwidthPackageId"])
                for one in found["CenInterRegionBandwidthLimit"]]

    def limit(bandwidth):
        cbn("SetCenInterRegionBandwidthLimit", CenId=cen, LocalRegionId="cn-hangzhou", OppositeRegionId="cn-beijing",
            BandwidthLimit=bandwidth)

    equal(packages(), [("Idle", 10, "china_china", [])], "a new package")
    cbn("AssociateCenBandwidthPackage", CenId=cen, CenBandwidthPackageId=package)
    equal(packages(), [("InUse", 10, "china_china", [cen])], "a package in use")
    equal(cbn("DescribeCens", Filter=[{"Key": "CenId", "Value": [cen]}])["Cens"]["Cen"][0]["CenBandwidthPackageIds"],
          {"CenBandwidthPackageId": [package]}, "the CEN instance's package")
    limit(4)
    equal(limits(), [("cn-beijing", "cn-hangzhou", 4, package)], "the limit")
    left = cbn("DescribeCenGeographicSpanRemainingBandwidth", CenId=cen, GeographicRegionAId="China",
               GeographicRegionBId="China")
    equal(left["RemainingBandwidth"], 6, "what is left")
    refused("InvalidOperation.BandwidthNotEnough", 400, lambda: limit(11))
    refused("InvalidOperation.CenBandwidthLimitsNotZero", 400, lambda: cbn(
        "UnassociateCenBandwidthPackage", CenId=cen, CenBandwidthPackageId=package))
    cbn("ModifyCenBandwidthPackageSpec", CenBandwidthPackageId=package, Bandwidth=20)
    cbn("ModifyCenBandwidthPackageAttribute", CenBandwidthPackageId=package, Name="renamed")
    limit(11)
    limit(0)
    equal(limits(), [], "no limit any more")
    cbn("UnassociateCenBandwidthPackage", CenId=cen, CenBandwidthPackageId=package)
    cbn("DeleteCenBandwidthPackage", CenBandwidthPackageId=package)
    equal(packages(), [], "the package is gone")
    spans = cbn("DescribeCenGeographicSpans", PageSize=50)["GeographicSpanModels"]["GeographicSpanModel"]
    equal("asia-pacific_china" in [one["GeographicSpanId"] for one in spans], True, "spans")
    regions = cbn("DescribeChildInstanceRegions", ProductType="VPC")["Regions"]["Region"]
    equal("cn-hangzhou" in [one["RegionId"] for one in regions], True, "regions")

    for region, (network, _) in networks.items():
        cbn("DetachCenChildInstance", CenId=cen, ChildInstanceId=network, ChildInstanceType="VPC",
            ChildInstanceRegionId=region)
        for vswitch in vpc("DescribeVSwitches", region, VpcId=network)["VSwitches"]["VSwitch"]:
            vpc("DeleteVSwitch", region, VSwitchId=vswitch["VSwitchId"])
        vpc("DeleteVpc", region, VpcId=network)
    cbn("DeleteCen", CenId=cen)


endpoint, key, secret = server()
clients = [NodeSdk(client, endpoint, key, secret) for client in sys.argv[1:]]
for client in clients or [NewSdk(endpoint, key, secret, algorithm) for algorithm in (None, "v2")]:
    check(client)
print("passed", file=sys.stdout)
