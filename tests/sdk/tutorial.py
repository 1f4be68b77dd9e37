"""The tutorial, from the first VPC to the last clean-up, with each official SDK in turn."""

import sys

from checks import equal, refused, server
from node_sdk import NodeSdk
from sdks import all_sdks

IDC = "10.1.1.0/24"
PSK = "Tut0rial~!@#$%^&*()_-+={}[]|;:,.<>/?"
VPCS = {
    "cn-beijing": "192.168.1.0/24",
    "cn-shanghai": "192.168.2.0/24",
    "cn-hongkong": "192.168.3.0/24",
    "cn-hangzhou": "192.168.4.0/24",
}


class Tutorial:
    def __init__(self, sdk, number):
        self.sdk = sdk
        self.customer_ip = f"198.51.100.{number}"
        self.vpcs = {}

    def vpc(self, action, region="cn-hangzhou", **parameters):
        return self.sdk.call("Vpc", action, {"RegionId": region, **parameters})

    def cbn(self, action, **parameters):
        return self.sdk.call("Cbn", action, parameters)

    # --- what the tutorial does ---

    def run(self):
        self.describe_regions()
        for region, cidr in VPCS.items():
            self.create_vpc(region, cidr)
        self.create_vpn()
        equal(self.status(), "ike_sa_not_established", "status without a gatewayd")
        self.create_cen()
        for region in VPCS:
            self.attach(region)
        self.system_routes_are_learned()
        self.create_entry()
        self.learned_by(set())
        self.publish()
        self.learned_by({"cn-beijing", "cn-shanghai", "cn-hongkong"})
        self.publish_state("Published")
        self.cbn("WithdrawPublishedRouteEntries", **self.published())
        self.learned_by(set())
        self.publish_state("NonPublished")
        self.publish()
        self.learned_by({"cn-beijing", "cn-shanghai", "cn-hongkong"})
        self.delete_entry()
        self.learned_by(set())
        self.system_entries_can_be_withdrawn()
        self.vpn_routes()
        self.errors()
        self.clean_up()

    def describe_regions(self):
        regions = self.sdk.call("Vpc", "DescribeRegions", {})["Regions"]["Region"]
        known = {region["RegionId"] for region in regions}
        assert set(VPCS) <= known, known

    def create_vpc(self, region, cidr):
        zone = self.vpc("DescribeZones", region)["Zones"]["Zone"][1]["ZoneId"]
        name = f"{region} é*~ /+=&"
        created = self.vpc("CreateVpc", region, CidrBlock=cidr, VpcName=name, ClientToken=f"{self.customer_ip}{cidr}")
        again = self.vpc("CreateVpc", region, CidrBlock=cidr, VpcName=name, ClientToken=f"{self.customer_ip}{cidr}")
        equal(again["VpcId"], created["VpcId"], "VPC of a repeated ClientToken")
        vpc, table = created["VpcId"], created["RouteTableId"]
        vswitch = self.vpc("CreateVSwitch", region, VpcId=vpc, ZoneId=zone, CidrBlock=cidr)["VSwitchId"]
        self.vpcs[region] = {"vpc": vpc, "table": table, "vswitch": vswitch}
        shown = self.vpc("DescribeVpcs", region, VpcId=vpc)
        equal(shown["TotalCount"], 1, "VPCs of this id")
        shown = shown["Vpcs"]["Vpc"][0]
        equal(shown["Status"], "Available", "status of the VPC")
        equal(shown["VpcName"], name, "name of the VPC")
        equal(shown["RouterTableIds"]["RouterTableIds"], [table], "tables of the VPC")
        equal(shown["VSwitchIds"]["VSwitchId"], [vswitch], "vSwitches of the VPC")
        tables = self.vpc("DescribeRouteTableList", region, VpcId=vpc)["RouterTableList"]["RouterTableListType"]
        equal([(t["RouteTableId"], t["RouteTableType"]) for t in tables], [(table, "System")], "route tables")
        equal(self.entries(region)[cidr]["Type"], "System", "type of the vSwitch's route")
        listed = self.vpc("DescribeVSwitches", region, VpcId=vpc)["VSwitches"]["VSwitch"]
        equal([v["CidrBlock"] for v in listed], [cidr], "vSwitches of the VPC")

    def create_vpn(self):
        home = self.vpcs["cn-hangzhou"]
        self.gateway = self.vpc(
            "CreateVpnGateway", VpcId=home["vpc"], VSwitchId=home["vswitch"], Bandwidth=5,
            InstanceChargeType="POSTPAY", Name="gateway",
        )["VpnGatewayId"]
        shown = self.vpc("DescribeVpnGateway", VpnGatewayId=self.gateway)
        equal((shown["Status"], shown["IpsecVpn"]), ("active", "enable"), "VPN gateway")
        self.gateway_ip = shown["InternetIp"]
        customer = self.vpc("CreateCustomerGateway", IpAddress=self.customer_ip, Name="idc")
        self.customer = customer["CustomerGatewayId"]
        assert isinstance(customer["CreateTime"], int), customer
        created = self.vpc(
            "CreateVpnConnection", VpnGatewayId=self.gateway, CustomerGatewayId=self.customer,
            LocalSubnet="192.168.0.0/16", RemoteSubnet=IDC, EffectImmediately=True, AutoConfigRoute=False,
            IkeConfig='{"Psk": "%s", "IkeVersion": "ikev2", "IkeLifetime": 3600}' % PSK,
        )
        self.connection = created["VpnConnectionId"]
        shown = self.vpc("DescribeVpnConnection", VpnConnectionId=self.connection)
        equal(shown["EffectImmediately"], True, "EffectImmediately")
        ike = shown["IkeConfig"]
        equal((ike["Psk"], ike["IkeLifetime"], ike["IkeEncAlg"]), (PSK, 3600, "aes"), "IkeConfig")
        equal((ike["IkeAuthAlg"], ike["IkePfs"]), ("sha256", "group14"), "defaults of IkeConfig")
        equal((ike["LocalId"], ike["RemoteId"]), (self.gateway_ip, self.customer_ip), "default identities")
        equal(shown["IpsecConfig"]["IpsecLifetime"], 86400, "lifetime of phase 2")
        listed = self.vpc("DescribeVpnConnections", VpnGatewayId=self.gateway)
        equal(listed["VpnConnections"]["VpnConnection"][0]["VpnConnectionId"], self.connection, "listed connection")
        config = self.vpc("DownloadVpnConnectionConfig", VpnConnectionId=self.connection)["VpnConnectionConfig"]
        equal((config["Local"], config["Remote"]), (self.customer_ip, self.gateway_ip), "customer's view")
        equal((config["LocalSubnet"], config["RemoteSubnet"]), (IDC, "192.168.0.0/16"), "customer's subnets")
        equal((config["IkeConfig"]["LocalId"]), self.customer_ip, "customer's identity")

    def status(self):
        return self.vpc("DescribeVpnConnection", VpnConnectionId=self.connection)["Status"]

    def create_cen(self):
        self.cen = self.cbn("CreateCen", Name="tutorial", Description="a*b c~中")["CenId"]
        found = self.cbn("DescribeCens", Filter=[{"Key": "CenId", "Value": [self.cen]}]) if self.sdk.name[0] == "n" \
            else self.cbn("DescribeCens", PageSize=50)
        found = [cen for cen in found["Cens"]["Cen"] if cen["CenId"] == self.cen]
        equal([(cen["Status"], cen["Description"]) for cen in found], [("Active", "a*b c~中")], "CEN instance")

    def child(self, region):
        return {
            "CenId": self.cen, "ChildInstanceId": self.vpcs[region]["vpc"], "ChildInstanceType": "VPC",
            "ChildInstanceRegionId": region,
        }

    def attach(self, region):
        self.cbn("AttachCenChildInstance", **self.child(region))
        shown = self.cbn("DescribeCenAttachedChildInstanceAttribute", **self.child(region))
        equal(shown["Status"], "Attached", "attachment")

    def entries(self, region):
        """The route table as pages of three show it, by destination."""
        table, entries, token = self.vpcs[region]["table"], {}, None
        while token != "":
            more = {"NextToken": token} if token else {}
            page = self.vpc("DescribeRouteEntryList", region, RouteTableId=table, MaxResult=3, **more)
            token = page["NextToken"]
            entries.update((e["DestinationCidrBlock"], e) for e in page["RouteEntrys"]["RouteEntry"])
        return entries

    def system_routes_are_learned(self):
        for region, own in VPCS.items():
            entries = self.entries(region)
            for destination in VPCS.values():
                expected = "System" if destination == own else "CEN"
                equal(entries[destination]["Type"], expected, f"{destination} in {region}")

    def create_entry(self):
        entry = {
            "RouteTableId": self.vpcs["cn-hangzhou"]["table"], "DestinationCidrBlock": IDC,
            "NextHopType": "VpnGateway", "NextHopId": self.gateway,
        }
        created = self.vpc("CreateRouteEntry", **entry)
        self.entry = created["RouteEntryId"]
        refused("InvalidCIDRBlock.Duplicate", 400, lambda: self.vpc("CreateRouteEntry", **entry))
        shown = self.entries("cn-hangzhou")[IDC]
        equal((shown["Type"], shown["Status"]), ("Custom", "Available"), "the entry")
        equal(shown["NextHops"]["NextHop"][0]["NextHopId"], self.gateway, "next hop of the entry")
        self.publish_state("NonPublished")

    def published(self, destination=IDC):
        table = self.vpcs["cn-hangzhou"]["table"]
        return {**self.child("cn-hangzhou"), "ChildInstanceRouteTableId": table, "DestinationCidrBlock": destination}

    def publish(self):
        self.cbn("PublishRouteEntries", **self.published())

    def publish_state(self, expected, destination=IDC):
        routes = self.cbn("DescribePublishedRouteEntries", **self.child("cn-hangzhou"), PageSize=50)
        routes = routes["PublishedRouteEntries"]["PublishedRouteEntry"]
        states = {route["DestinationCidrBlock"]: route["PublishStatus"] for route in routes}
        equal(states[destination], expected, f"PublishStatus of {destination}")

    def learned_by(self, expected, destination=IDC):
        learners = set()
        for region in VPCS:
            entry = self.entries(region).get(destination, {})
            if entry.get("Type") == "CEN":
                learners.add(region)
                equal(entry["NextHops"]["NextHop"][0]["NextHopId"], self.vpcs["cn-hangzhou"]["vpc"], "learned next hop")
            routes = self.cbn("DescribeCenChildInstanceRouteEntries", **self.child(region), PageSize=50)
            routes = routes["CenRouteEntries"]["CenRouteEntry"]
            learned = any(r["DestinationCidrBlock"] == destination and r["Type"] == "CEN" for r in routes)
            equal(learned, region in expected, f"{destination} among the CEN routes of {region}")
        equal(learners, expected, f"learners of {destination}")
        domain = self.cbn("DescribeCenRegionDomainRouteEntries", CenId=self.cen, CenRegionId="cn-hongkong", PageSize=50)
        domain = {route["DestinationCidrBlock"] for route in domain["CenRouteEntries"]["CenRouteEntry"]}
        equal(destination in domain, bool(expected), f"{destination} in the region's CEN table")

    def delete_entry(self):
        self.vpc("DeleteRouteEntry", RouteEntryId=self.entry)
        assert IDC not in self.entries("cn-hangzhou")

    def system_entries_can_be_withdrawn(self):
        home = VPCS["cn-hangzhou"]
        self.publish_state("Published", home)
        self.cbn("WithdrawPublishedRouteEntries", **self.published(home))
        self.learned_by(set(), home)
        self.cbn("PublishRouteEntries", **self.published(home))
        self.learned_by(set(VPCS) - {"cn-hangzhou"}, home)

    def vpn_routes(self):
        route = {"VpnGatewayId": self.gateway, "RouteDest": "10.9.0.0/24", "NextHop": self.connection}
        created = self.vpc("CreateVpnRouteEntry", **route, PublishVpc=True, Weight=100)
        equal((created["State"], created["Weight"]), ("published", 100), "VPN route")
        equal(self.entries("cn-hangzhou")["10.9.0.0/24"]["Type"], "Custom", "published VPN route in the VPC")
        self.vpc("PublishVpnRouteEntry", **route, RouteType="dbr", PublishVpc=False)
        assert "10.9.0.0/24" not in self.entries("cn-hangzhou")
        shown = self.vpc("DescribeVpnRouteEntries", VpnGatewayId=self.gateway)["VpnRouteEntries"]["VpnRouteEntry"]
        states = {entry["RouteDest"]: entry["State"] for entry in shown}
        equal(states["10.9.0.0/24"], "normal", "withdrawn VPN route")
        self.vpc("DeleteVpnRouteEntry", **route, Weight=100)

    def errors(self):
        cbn, vpc = self.cbn, self.vpc
        refused("InvalidOperation.NotFoundRoute", 400, lambda: cbn("PublishRouteEntries", **self.published()))
        refused("InvalidOperation.ChildInstanceAlreadyAttached", 409,
                lambda: cbn("AttachCenChildInstance", **self.child("cn-beijing")))
        refused("InvalidRouteTableId.NotFound", 404,
                lambda: vpc("DescribeRouteEntryList", RouteTableId="vtb-unknown"))
        refused("InvalidVpnConnectionInstanceId.NotFound", 404,
                lambda: vpc("DescribeVpnConnection", VpnConnectionId="vco-unknown"))
        refused("InvalidVpnGatewayInstanceId.NotFound", 404,
                lambda: vpc("DescribeVpnGateway", VpnGatewayId="vpn-unknown"))
        refused("InvalidRouteEntry.NotFound", 400,
                lambda: vpc("DeleteRouteEntry", RouteTableId=self.vpcs["cn-hangzhou"]["table"],
                            DestinationCidrBlock=IDC, NextHopId=self.gateway))
        refused("InvalidIpAddress.AlreadyExist", 400,
                lambda: vpc("CreateCustomerGateway", IpAddress=self.customer_ip))
        refused("InvalidVpcId.NotFound", 404,
                lambda: vpc("CreateVSwitch", VpcId="vpc-unknown", ZoneId="cn-hangzhou-b", CidrBlock="10.0.0.0/24"))
        refused("DryRunOperation", 412, lambda: vpc("CreateVpc", CidrBlock="10.0.0.0/8", DryRun=True))

    def clean_up(self):
        self.vpc("DeleteVpnConnection", VpnConnectionId=self.connection)
        self.vpc("DeleteCustomerGateway", CustomerGatewayId=self.customer)
        self.vpc("DeleteVpnGateway", VpnGatewayId=self.gateway)
        for region in VPCS:
            self.cbn("DetachCenChildInstance", **self.child(region))
        self.cbn("DeleteCen", CenId=self.cen)
        for region, made in self.vpcs.items():
            self.vpc("DeleteVSwitch", region, VSwitchId=made["vswitch"])
            self.vpc("DeleteVpc", region, VpcId=made["vpc"])
            equal(self.vpc("DescribeVpcs", region, VpcId=made["vpc"])["TotalCount"], 0, "VPCs after the clean-up")


if __name__ == "__main__":
    chosen = sys.argv[1]
    sdk = all_sdks(*server())[int(chosen)] if chosen.isdigit() else NodeSdk(chosen, *server())
    Tutorial(sdk, 10).run()
    print(f"tutorial passed: {sdk.name}")
