"""The tutorial as Terraform's alicloud provider does it, which is in no package registry: the calls that its resources make,
signed as it signs, with its waiting, its retries and its matching of errors. A second plan must be empty.

What it sends, waits for and matches was read in its source.
"""

import time
import uuid

from checks import equal
from retried import ALSO_RETRIED, RETRIED
from wire import node_post, rpc

CBN, VPC = "2017-09-12", "2016-04-28"
REGION = "cn-hangzhou"
PATIENCE = 10


class Failed(Exception):
    def __init__(self, action, status, answer):
        super().__init__(f"{action}: {status} {answer.get('Code')}: {answer.get('Message')}")
        self.status, self.code = status, answer.get("Code")


def call(action, version=VPC, final=None, **parameters):
    """One call; an error that the resource tries again is tried again, unless its code begins with `final`."""
    end = time.monotonic() + PATIENCE
    if version == VPC:
        parameters.setdefault("RegionId", REGION)
    while True:
        status, answer = node_post(rpc(action, version=version, **parameters)[0])
        if status == 200:
            return answer
        retried = answer["Code"] in RETRIED | set(ALSO_RETRIED.get(action, ())) and time.monotonic() < end
        if not retried or final and answer["Code"].startswith(final):
            raise Failed(action, status, answer)
        time.sleep(0.2)


class Resource:
    """A resource of a configuration. `read` answers its fields, or raises; what is configured stands in `fields`."""

    # Codes that its reading takes for "not there (yet)": it waits on, or after a deletion it is done.
    absent = ()
    # The states that it waits for after creation; None when it does not wait.
    states = None
    state_field = "Status"

    def apply(self):
        self.create()
        self.settled()
        self.plan_is_empty("after creation")
        return self

    def settled(self):
        end = time.monotonic() + PATIENCE
        while self.states and (shown := self.found()).get(self.state_field) not in self.states:
            assert time.monotonic() < end, f"{type(self).__name__} waits for ever: {shown}"
            time.sleep(0.2)

    def found(self):
        """What is read; nothing when it is not there."""
        try:
            return self.read()
        except Failed as failed:
            # A 404 of any kind reads as absent in most resources.
            if failed.status == 404 or failed.code in self.absent:
                return {}
            raise

    def plan_is_empty(self, when):
        shown = self.found()
        assert shown, f"{type(self).__name__} {when}: Terraform drops it from its state"
        for field, configured in self.fields.items():
            equal(shown.get(field), configured, f"{type(self).__name__}.{field} {when}: the next plan would change it")

    def update(self, action, field=None, **changed):
        call(action, **self.key(), **changed)
        self.fields.update(field or {name: value for name, value in changed.items() if name in self.fields})
        self.settled()
        self.plan_is_empty(f"after {action}")

    def destroy(self):
        self.delete()
        end = time.monotonic() + PATIENCE
        while self.found():
            assert time.monotonic() < end, f"{type(self).__name__} does not go away"
            time.sleep(0.2)


def token():
    return f"TF-{uuid.uuid4().hex}"


def only(items, what):
    equal(len(items), 1, what)
    return items[0]


class Vpc(Resource):
    states = ("Available",)
    absent = ("InvalidVpcID.NotFound", "InvalidVpcId.NotFound", "Forbidden.VpcNotFound")

    def __init__(self, cidr, name):
        self.fields = {"CidrBlock": cidr, "VpcName": name, "Description": "", "RegionId": REGION}

    def create(self):
        made = call("CreateVpc", ClientToken=token(), CidrBlock=self.fields["CidrBlock"], VpcName=self.fields["VpcName"],
                    EnableIpv6="false", DryRun="false")
        self.id, self.table = made["VpcId"], made["RouteTableId"]

    def key(self):
        return {"VpcId": self.id}

    def read(self):
        shown = call("DescribeVpcAttribute", **self.key())
        if shown["Status"] == "Available":
            # It reads the system table beside, and sets it as an attribute.
            tables = call("DescribeRouteTableList", **self.key())["RouterTableList"]["RouterTableListType"]
            system = only([table for table in tables if table["RouteTableType"] == "System"], "system tables")
            equal((system["RouteTableId"], system["Status"]), (self.table, "Available"), "system table")
        return shown

    def delete(self):
        call("DeleteVpc", ClientToken=token(), **self.key())


class VSwitch(Resource):
    states = ("Available",)
    absent = ("InvalidVswitchID.NotFound",)

    def __init__(self, vpc, cidr, zone):
        self.fields = {"VpcId": vpc.id, "CidrBlock": cidr, "ZoneId": zone, "VSwitchName": "", "Description": ""}

    def create(self):
        sent = {name: value for name, value in self.fields.items() if value}
        self.id = call("CreateVSwitch", ClientToken=token(), **sent)["VSwitchId"]

    def key(self):
        return {"VSwitchId": self.id}

    def read(self):
        return call("DescribeVSwitchAttributes", **self.key())

    def delete(self):
        call("DeleteVSwitch", **self.key())


class VpnGateway(Resource):
    states = ("active",)
    absent = ("InvalidVpnGatewayInstanceId.NotFound",)

    def __init__(self, vpc, vswitch):
        self.fields = {
            "VpcId": vpc.id, "VSwitchId": vswitch.id, "Name": "gateway", "Description": "", "ChargeType": "PostpayByFlow",
            "IpsecVpn": "enable", "SslVpn": "disable", "VpnType": "Normal", "NetworkType": "public", "BusinessStatus": "Normal",
            "AutoPropagate": False,
        }

    def create(self):
        self.id = call(
            "CreateVpnGateway", ClientToken=token(), VpcId=self.fields["VpcId"], VSwitchId=self.fields["VSwitchId"],
            Name="gateway", Bandwidth="10", EnableIpsec="true", EnableSsl="false", InstanceChargeType="POSTPAY",
            VpnType="Normal", NetworkType="public", AutoPay="true",
        )["VpnGatewayId"]

    def key(self):
        return {"VpnGatewayId": self.id}

    def read(self):
        return call("DescribeVpnGateway", **self.key())

    def delete(self):
        call("DeleteVpnGateway", ClientToken=token(), **self.key())


class CustomerGateway(Resource):
    absent = ("InvalidCustomerGatewayInstanceId.NotFound",)

    def __init__(self, address):
        self.fields = {"IpAddress": address, "Name": "idc", "Description": "", "Asn": 65010}

    def create(self):
        self.id = call("CreateCustomerGateway", ClientToken=token(), IpAddress=self.fields["IpAddress"], Name="idc",
                       Asn="65010")["CustomerGatewayId"]

    def key(self):
        return {"CustomerGatewayId": self.id}

    def read(self):
        return call("DescribeCustomerGateway", **self.key())

    def delete(self):
        call("DeleteCustomerGateway", ClientToken=token(), **self.key())


class VpnConnection(Resource):
    # It takes the connection for ready whatever the tunnel's state is: "active" is that of newer gateways.
    absent = ("InvalidVpnConnectionInstanceId.NotFound",)

    def __init__(self, gateway, customer):
        self.fields = {
            "VpnGatewayId": gateway.id, "CustomerGatewayId": customer.id, "Name": "tutorial", "LocalSubnet": "192.168.0.0/16",
            "RemoteSubnet": "10.1.1.0/24", "EffectImmediately": True, "EnableDpd": True, "EnableNatTraversal": True,
        }

    def create(self):
        sent = {name: str(value).lower() if isinstance(value, bool) else value for name, value in self.fields.items()}
        self.id = call(
            "CreateVpnConnection", ClientToken=token(), AutoConfigRoute="false", **sent,
            IkeConfig='{"Psk":"tf-testvpn2","IkeVersion":"ikev2","IkeMode":"main","IkeEncAlg":"aes256","IkeAuthAlg":"sha256",'
                      '"IkePfs":"group14","IkeLifetime":86400}',
            IpsecConfig='{"IpsecEncAlg":"aes256","IpsecAuthAlg":"sha256","IpsecPfs":"group14","IpsecLifetime":86400}',
        )["VpnConnectionId"]

    def key(self):
        return {"VpnConnectionId": self.id}

    def read(self):
        shown = call("DescribeVpnConnection", **self.key())
        ike, ipsec = shown["IkeConfig"], shown["IpsecConfig"]
        equal((ike["Psk"], ike["IkeVersion"], ike["IkeEncAlg"], ike["IkeAuthAlg"], ike["IkePfs"]),
              ("tf-testvpn2", "ikev2", "aes256", "sha256", "group14"), "ike_config")
        equal((ipsec["IpsecEncAlg"], ipsec["IpsecAuthAlg"], ipsec["IpsecPfs"]), ("aes256", "sha256", "group14"), "ipsec_config")
        assert ike["LocalId"] and ike["RemoteId"], "computed identities"
        return shown

    def delete(self):
        call("DeleteVpnConnection", ClientToken=token(), **self.key())


class VpnRouteEntry(Resource):
    states, state_field = ("normal", "published"), "State"
    absent = ("InvalidVpnGatewayInstanceId.NotFound",)

    def __init__(self, gateway, connection):
        self.gateway = gateway
        self.fields = {"RouteDest": "10.1.1.0/24", "NextHop": connection.id, "Weight": 0, "State": "normal"}

    def key(self):
        return {"VpnGatewayId": self.gateway.id, "RouteDest": self.fields["RouteDest"], "NextHop": self.fields["NextHop"]}

    def create(self):
        call("CreateVpnRouteEntry", ClientToken=token(), PublishVpc="false", Weight="0", **self.key())

    def read(self):
        shown = call("DescribeVpnRouteEntries", VpnGatewayId=self.gateway.id, PageSize="50")["VpnRouteEntries"]["VpnRouteEntry"]
        return next((entry for entry in shown if entry["RouteDest"] == self.fields["RouteDest"]), {})

    def publish(self):
        self.update("PublishVpnRouteEntry", field={"State": "published"}, RouteType="dbr", PublishVpc="true", ClientToken=token())

    def reweigh(self):
        self.update("ModifyVpnRouteEntryWeight", field={"Weight": 100}, Weight=str(self.fields["Weight"]), NewWeight="100",
                    ClientToken=token())

    def delete(self):
        call("DeleteVpnRouteEntry", ClientToken=token(), Weight=str(self.fields["Weight"]), **self.key())


class RouteEntry(Resource):
    states = ("Available",)
    absent = ("InvalidRouteTableId.NotFound",)

    def __init__(self, vpc, destination, kind, next_hop):
        self.vpc = vpc
        self.fields = {"RouteTableId": vpc.table, "DestinationCidrBlock": destination, "Type": "Custom"}
        self.next_hop = {"NextHopType": kind, "NextHopId": next_hop}

    def key(self):
        return {name: self.fields[name] for name in ("RouteTableId", "DestinationCidrBlock")}

    def create(self):
        call("CreateRouteEntry", ClientToken=token(), **self.key(), **self.next_hop)

    def read(self):
        listed = call("DescribeRouteEntryList", MaxResult="100", **self.key())["RouteEntrys"]["RouteEntry"]
        for entry in listed:
            hop = only(entry["NextHops"]["NextHop"], "next hops")
            if (hop["NextHopType"], hop["NextHopId"]) == tuple(self.next_hop.values()):
                return entry
        return {}

    def delete(self):
        call("DeleteRouteEntry", NextHopId=self.next_hop["NextHopId"], **self.key())


class RouteTable(Resource):
    states = ("Available",)

    def __init__(self, vpc):
        self.fields = {"VpcId": vpc.id, "RouteTableName": "custom", "Description": "one more", "AssociateType": "VSwitch",
                       "RoutePropagationEnable": True}

    def key(self):
        return {"RouteTableId": self.id}

    def create(self):
        self.id = call("CreateRouteTable", ClientToken=token(), VpcId=self.fields["VpcId"], RouteTableName="custom",
                       Description="one more", AssociateType="VSwitch")["RouteTableId"]
        self.table = self.id

    def read(self):
        tables = call("DescribeRouteTableList", **self.key())["RouterTableList"]["RouterTableListType"]
        return only(tables, "tables of this id") if tables else {}

    def delete(self):
        call("DeleteRouteTable", **self.key())


class RouteTableAttachment(Resource):
    states = ("Available",)

    def __init__(self, table, vswitch):
        self.table, self.vswitch = table, vswitch
        self.fields = {"RouteTableId": table.id}

    def key(self):
        return {"RouteTableId": self.table.id, "VSwitchId": self.vswitch.id}

    def create(self):
        call("AssociateRouteTable", ClientToken=token(), **self.key())

    def read(self):
        table = self.table.read()
        return table if self.vswitch.id in table.get("VSwitchIds", {}).get("VSwitchId", []) else {}

    def delete(self):
        call("UnassociateRouteTable", ClientToken=token(), **self.key())


class PbrRouteEntry(Resource):
    states, state_field = ("normal", "published"), "State"
    absent = ("InvalidVpnGatewayInstanceId.NotFound",)

    def __init__(self, gateway, connection):
        self.gateway = gateway
        self.fields = {"RouteSource": "192.168.4.0/24", "RouteDest": "10.2.0.0/24", "NextHop": connection.id, "Weight": 0,
                       "State": "normal"}

    def key(self):
        return {"VpnGatewayId": self.gateway.id,
                **{name: self.fields[name] for name in ("RouteSource", "RouteDest", "NextHop")}}

    def create(self):
        call("CreateVpnPbrRouteEntry", ClientToken=token(), PublishVpc="false", Weight="0", **self.key())

    def read(self):
        shown = call("DescribeVpnPbrRouteEntries", VpnGatewayId=self.gateway.id, PageSize="50")
        shown = shown["VpnPbrRouteEntries"]["VpnPbrRouteEntry"]
        wanted = {name: self.fields[name] for name in ("RouteSource", "RouteDest", "NextHop")}
        return next((entry for entry in shown if wanted.items() <= entry.items()), {})

    def reweigh(self):
        self.update("ModifyVpnPbrRouteEntryWeight", field={"Weight": 100}, Weight=str(self.fields["Weight"]), NewWeight="100",
                    ClientToken=token())

    def delete(self):
        call("DeleteVpnPbrRouteEntry", ClientToken=token(), Weight=str(self.fields["Weight"]), **self.key())


class Cen(Resource):
    states = ("Active",)
    absent = ("ParameterCenInstanceId",)

    def __init__(self):
        self.fields = {"Name": "tutorial", "Description": "of the tutorial", "ProtectionLevel": "REDUCED"}

    def key(self):
        return {"CenId": self.id}

    def create(self):
        self.id = call("CreateCen", CBN, ClientToken=token(), **self.fields)["CenId"]

    def read(self):
        filters = {"Filter.1.Key": "CenId", "Filter.1.Value.1": self.id}
        cens = call("DescribeCens", CBN, PageSize="10", PageNumber="1", **filters)["Cens"]["Cen"]
        return only(cens, "CEN instances of this id") if cens else {}

    def delete(self):
        call("DeleteCen", CBN, **self.key())


class CenAttachment(Resource):
    states = ("Attached",)
    absent = ("ParameterCenInstanceId", "InvalidOperation.CenInstanceStatus")

    def __init__(self, cen, vpc):
        self.fields = {
            "CenId": cen.id, "ChildInstanceId": vpc.id, "ChildInstanceType": "VPC", "ChildInstanceRegionId": REGION,
        }

    def key(self):
        return self.fields

    def create(self):
        call("AttachCenChildInstance", CBN, **self.fields)

    def read(self):
        return call("DescribeCenAttachedChildInstanceAttribute", CBN, **self.fields)

    def delete(self):
        call("DetachCenChildInstance", CBN, **self.fields)


class CenRouteEntry(Resource):
    states, state_field = ("Published",), "PublishStatus"
    absent = ("InvalidCenInstanceId.NotFound",)

    def __init__(self, attachment, vpc, entry):
        self.attachment = attachment
        self.fields = {
            "ChildInstanceRouteTableId": vpc.table, "DestinationCidrBlock": entry.fields["DestinationCidrBlock"],
            "PublishStatus": "Published",
        }

    def sent(self):
        return {**self.attachment.fields, **{name: self.fields[name] for name in list(self.fields)[:2]}}

    def create(self):
        call("PublishRouteEntries", CBN, **self.sent())

    def read(self):
        routes = call("DescribePublishedRouteEntries", CBN, **self.sent())["PublishedRouteEntries"]["PublishedRouteEntry"]
        route = next((route for route in routes if route["DestinationCidrBlock"] == self.fields["DestinationCidrBlock"]), {})
        return route if route.get("PublishStatus") == "Published" else {}

    def delete(self):
        call("WithdrawPublishedRouteEntries", CBN, **self.sent())


def tags_of(resource, kind):
    listed = call("ListTagResources", ResourceType=kind, **{"ResourceId.1": resource.id})["TagResources"]["TagResource"]
    return {tag["TagKey"]: tag["TagValue"] for tag in listed}


def retag(resource, kind):
    named = {"ResourceType": kind, "ResourceId.1": resource.id}
    call("TagResources", **named, **{"Tag.1.Key": "Created", "Tag.1.Value": "TF", "Tag.2.Key": "For", "Tag.2.Value": "tests"})
    equal(tags_of(resource, kind), {"Created": "TF", "For": "tests"}, "tags")
    call("UnTagResources", **named, **{"TagKey.1": "For"})
    equal(tags_of(resource, kind), {"Created": "TF"}, "tags after one was removed")


def tutorial():
    vpc = Vpc("192.168.0.0/16", "tutorial").apply()
    vswitch = VSwitch(vpc, "192.168.4.0/24", "cn-hangzhou-b").apply()
    gateway = VpnGateway(vpc, vswitch).apply()
    customer = CustomerGateway("198.51.100.7").apply()
    connection = VpnConnection(gateway, customer).apply()
    vpn_route = VpnRouteEntry(gateway, connection).apply()
    pbr = PbrRouteEntry(gateway, connection).apply()
    entry = RouteEntry(vpc, "10.1.1.0/24", "VpnGateway", gateway.id).apply()
    table = RouteTable(vpc).apply()
    other = VSwitch(vpc, "192.168.5.0/24", "cn-hangzhou-g").apply()
    attached = RouteTableAttachment(table, other).apply()
    of_table = RouteEntry(table, "10.3.0.0/16", "VpnGateway", gateway.id).apply()
    cen = Cen().apply()
    attachment = CenAttachment(cen, vpc).apply()
    published = CenRouteEntry(attachment, vpc, entry).apply()

    vpc.update("ModifyVpcAttribute", VpcName="renamed", Description="one more")
    vswitch.update("ModifyVSwitchAttribute", VSwitchName="renamed")
    gateway.update("ModifyVpnGatewayAttribute", Name="renamed", ClientToken=token())
    customer.update("ModifyCustomerGatewayAttribute", Name="renamed", ClientToken=token())
    connection.update("ModifyVpnConnectionAttribute", Name="renamed", ClientToken=token())
    vpn_route.reweigh()
    pbr.reweigh()
    table.update("ModifyRouteTableAttributes", RouteTableName="renamed")
    cen_fields = {"Name": "renamed", "Description": "one more", "ProtectionLevel": "REDUCED"}
    call("ModifyCenAttribute", CBN, **cen.key(), **cen_fields)
    cen.fields.update(cen_fields)
    for resource, kind in ((vpc, "VPC"), (vswitch, "VSWITCH"), (gateway, "VpnGateWay"), (connection, "VpnConnection")):
        retag(resource, kind)

    made = [vpc, vswitch, gateway, customer, connection, vpn_route, pbr, entry, table, other, attached, of_table, cen,
            attachment, published]
    for resource in made:
        resource.plan_is_empty("in the second plan")
    # A gateway with a connection, and a vSwitch under a gateway, are refused by codes that it tries again by.
    for resource, codes in ((vswitch, "DependencyViolation"), (vpc, "DependencyViolation"), (cen, "InvalidOperation")):
        try:
            action = {Vpc: "DeleteVpc", VSwitch: "DeleteVSwitch", Cen: "DeleteCen"}[type(resource)]
            call(action, CBN if resource is cen else VPC, codes, **resource.key())
        except Failed as failed:
            assert failed.code.startswith(codes), failed
        else:
            raise AssertionError(f"{type(resource).__name__} went although others refer to it")
    for resource in reversed(made):
        resource.destroy()


if __name__ == "__main__":
    tutorial()
    print("terraform passed")
