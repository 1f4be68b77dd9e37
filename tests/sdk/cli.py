"""The tutorial as the `aliyun` command line does it, which is in no package registry: its own commands, sent as it sends them
(RPC signature, everything in the query of a POST, over HTTPS), with its waiting, its merging of pages and its errors.

What it sends and how it waits, merges and tells errors was read in its source and in that of the Go SDK below it.
"""

import http.client
import json
import os
import shlex
import ssl
import threading
import time
import urllib.parse

import jmespath

from checks import equal, server
from wire import rpc, send

VERSIONS = {"vpc": "2016-04-28", "cbn": "2017-09-12", "sts": "2015-04-01"}
# The region of its profile, which goes with every call that is told no other.
REGION = "cn-hangzhou"
HEADERS = {
    "Content-Type": "application/x-www-form-urlencoded", "User-Agent": "Aliyun-CLI/3.0.73", "x-sdk-client": "golang/1.0.0",
    "x-sdk-invoke-type": "common", "Accept-Encoding": "identity",
}
SECRET_IS_WRONG = "InvalidAccessKeySecret: Please check you AccessKeySecret"
VPCS = {
    "cn-beijing": "192.168.1.0/24",
    "cn-shanghai": "192.168.2.0/24",
    "cn-hongkong": "192.168.3.0/24",
    "cn-hangzhou": "192.168.4.0/24",
}


class Failed(Exception):
    """What it prints on an error, behind `ERROR: `."""


class Cli:
    """`run` takes what stands behind `aliyun` on a command line, and answers what is printed, read as JSON."""

    def __init__(self, secret):
        self.secret = secret
        self.steps = 0
        self.trusted = ssl.create_default_context(cafile=os.environ["CEND_CA"])

    def run(self, line, **values):
        words = shlex.split(line)
        words = [word.format(**values) if not word.startswith('{"') else word for word in words]
        product, action, flags = words[0], words[1], words[2:]
        options = {}
        parameters = {"RegionId": REGION}
        while flags:
            flag = flags.pop(0)
            if flag in ("--waiter", "--pager"):
                fields = {}
                while flags and not flags[0].startswith("--"):
                    key, given, value = flags.pop(0).partition("=")
                    fields.update({key: value} if given else {"path": key})
                options[flag] = fields
            else:
                parameters["RegionId" if flag == "--region" else flag.removeprefix("--")] = flags.pop(0)
        self.steps += 1
        call = lambda: self.call(product, action, parameters)
        if "--waiter" in options:
            return wait(call, **options["--waiter"])
        return merge(call, parameters, **options["--pager"]) if "--pager" in options else call()

    def call(self, product, action, parameters):
        # Its Go SDK signs an empty SignatureType too, and writes a query as a form: + for a space.
        signed, text = rpc(action, version=VERSIONS[product], secret=self.secret, SignatureType="", **parameters)
        target = f"/?{urllib.parse.urlencode(sorted(signed.items()))}"
        connection = http.client.HTTPSConnection(os.environ["CEND_HTTPS"], timeout=10, context=self.trusted)
        status, answer = send("POST", target, body=b"", headers=HEADERS, connection=connection)
        connection.close()
        if status == 200:
            return answer
        recommend = answer["Recommend"]
        prefix = "Specified signature is not matched with our calculation. server string to sign is:"
        if answer["Code"] == "SignatureDoesNotMatch" and answer["Message"] == prefix + text:
            recommend = SECRET_IS_WRONG
        raise Failed(f"SDK.ServerError\nErrorCode: {answer['Code']}\nRecommend: {recommend}\n"
                     f"RequestId: {answer['RequestId']}\nMessage: {answer['Message']}")


def shown(value):
    """A value of an answer as a waiter compares it."""
    return value if isinstance(value, str) else "" if value is None else json.dumps(value)


def wait(call, expr, to, timeout="180", interval="5"):
    end = time.monotonic() + int(timeout)
    while (last := shown(jmespath.search(expr, call()))) != to:
        if time.monotonic() > end:
            raise Failed(f"wait '{expr}' to '{to}' timeout({timeout}seconds), last='{last}'")
        time.sleep(int(interval))
    return last


def merge(call, parameters, path=None):
    """All pages as one list: that of the path (`Vpcs.Vpc[]`), or the first that an object of the answer holds, in an order that
    is chance.
    """
    merged, path = [], path and tuple(path.removesuffix("[]").split("."))
    while True:
        page = call()
        for field in ("TotalCount", "PageNumber", "PageSize"):
            assert isinstance(page[field], int), f"{field} of {page}: it ends with a panic"
        if path is None:
            paths = [(outer, inner) for outer, value in page.items() if isinstance(value, dict)
                     for inner, items in value.items() if isinstance(items, list)]
            equal(len(paths), 1, f"lists in {page}")
            path = paths[0]
        merged += page[path[0]][path[1]]
        if page["PageNumber"] >= -(-page["TotalCount"] // page["PageSize"]):
            return {path[0]: {path[1]: merged}}
        parameters["PageNumber"] = str(page["PageNumber"] + 1)


def fails(code, cli, line, **values):
    """As scripts match it: by what is printed."""
    try:
        answer = cli.run(line, **values)
    except Failed as failed:
        lines = str(failed).splitlines()
        equal((lines[0], lines[1]), ("SDK.ServerError", f"ErrorCode: {code}"), f"what {line} prints")
        equal([line.partition(": ")[0] for line in lines[2:5]], ["Recommend", "RequestId", "Message"], "the other lines")
        return str(failed)
    raise AssertionError(f"{line} was not refused with {code}, but answered {answer}")


def tutorial(cli):
    run = cli.run
    regions = jmespath.search("Regions.Region[].RegionId", run("vpc DescribeRegions"))
    assert set(VPCS) <= set(regions), regions
    made = {}
    for region, cidr in VPCS.items():
        zone = run("vpc DescribeZones --region {region}", region=region)["Zones"]["Zone"][0]["ZoneId"]
        vpc = run("vpc CreateVpc --RegionId {region} --CidrBlock {cidr} --VpcName 'the first*~ one'", region=region, cidr=cidr)
        run("vpc DescribeVpcs --RegionId {region} --VpcId {vpc} --waiter expr=Vpcs.Vpc[0].Status to=Available",
            region=region, vpc=vpc["VpcId"])
        vswitch = run("vpc CreateVSwitch --RegionId {region} --VpcId {vpc} --ZoneId {zone} --CidrBlock {cidr}",
                      region=region, vpc=vpc["VpcId"], zone=zone, cidr=cidr)["VSwitchId"]
        run("vpc DescribeVSwitchAttributes --RegionId {region} --VSwitchId {vswitch} --waiter expr=Status to=Available",
            region=region, vswitch=vswitch)
        made[region] = {"region": region, "vpc": vpc["VpcId"], "table": vpc["RouteTableId"], "vswitch": vswitch}
    home = made["cn-hangzhou"]

    gateway = run("vpc CreateVpnGateway --VpcId {vpc} --VSwitchId {vswitch} --Bandwidth 5 --InstanceChargeType POSTPAY "
                  "--AutoPay true --EnableIpsec true --EnableSsl false --Name gateway", **home)["VpnGatewayId"]
    run("vpc DescribeVpnGateway --VpnGatewayId {gateway} --waiter expr=Status to=active timeout=60 interval=2", gateway=gateway)
    customer = run("vpc CreateCustomerGateway --IpAddress 198.51.100.9 --Name idc")["CustomerGatewayId"]
    connection = run(
        "vpc CreateVpnConnection --VpnGatewayId {gateway} --CustomerGatewayId {customer} --LocalSubnet 192.168.0.0/16 "
        "--RemoteSubnet 10.1.1.0/24 --EffectImmediately true --AutoConfigRoute false "
        """--IkeConfig '{"Psk":"1234&=+*~","IkeVersion":"ikev2","IkeEncAlg":"aes256","IkeLifetime":86400}' """
        """--IpsecConfig '{"IpsecEncAlg":"aes256","IpsecAuthAlg":"sha256","IpsecPfs":"group14"}'""",
        gateway=gateway, customer=customer)["VpnConnectionId"]
    of_connection = {"connection": connection}
    equal(jmespath.search("IkeConfig.Psk", run("vpc DescribeVpnConnection --VpnConnectionId {connection}", **of_connection)),
          "1234&=+*~", "the pre-shared key")
    run("vpc DescribeVpnConnection --VpnConnectionId {connection} --waiter expr=Status to=ike_sa_not_established",
        **of_connection)
    run("vpc CreateVpnRouteEntry --VpnGatewayId {gateway} --RouteDest 10.1.1.0/24 --NextHop {connection} --Weight 100 "
        "--PublishVpc false", gateway=gateway, **of_connection)
    listed = run("vpc DescribeVpnRouteEntries --VpnGatewayId {gateway} --pager VpnRouteEntries.VpnRouteEntry[]", gateway=gateway)
    equal(jmespath.search("VpnRouteEntries.VpnRouteEntry[].State", listed), ["normal"], "VPN routes")

    cen = run("cbn CreateCen --Name tutorial --Description 'of the tutorial'")["CenId"]
    run("cbn DescribeCens --Filter.1.Key CenId --Filter.1.Value.1 {cen} --waiter expr=Cens.Cen[0].Status to=Active", cen=cen)
    child = ("--CenId {cen} --ChildInstanceId {vpc} --ChildInstanceType VPC --ChildInstanceRegionId {region}")
    for each in made.values():
        run(f"cbn AttachCenChildInstance {child}", cen=cen, **each)
        run(f"cbn DescribeCenAttachedChildInstanceAttribute {child} --waiter expr=Status to=Attached", cen=cen, **each)
    entry = "--RouteTableId {table} --DestinationCidrBlock 10.1.1.0/24"
    run(f"vpc CreateRouteEntry {entry} --NextHopType VpnGateway --NextHopId {{gateway}}", gateway=gateway, **home)
    run(f"vpc DescribeRouteEntryList {entry} --waiter expr=RouteEntrys.RouteEntry[0].Status to=Available", **home)
    route = f"{child} --ChildInstanceRouteTableId {{table}} --DestinationCidrBlock 10.1.1.0/24"
    published = "PublishedRouteEntries.PublishedRouteEntry[0].PublishStatus"
    run(f"cbn DescribePublishedRouteEntries {route} --waiter expr={published} to=NonPublished", cen=cen, **home)
    run(f"cbn PublishRouteEntries {route}", cen=cen, **home)
    run(f"cbn DescribePublishedRouteEntries {route} --waiter expr={published} to=Published", cen=cen, **home)
    learned = "CenRouteEntries.CenRouteEntry[?DestinationCidrBlock=='10.1.1.0/24'].Type"
    for each in made.values():
        routes = run(f"cbn DescribeCenChildInstanceRouteEntries {child} --PageSize 2 --pager", cen=cen, **each)
        equal(jmespath.search(learned, routes), ["Custom" if each is home else "CEN"], f"the route in {each['region']}")

    errors(cli, cen, child, home, gateway)
    run(f"cbn WithdrawPublishedRouteEntries {route}", cen=cen, **home)
    run(f"cbn DescribePublishedRouteEntries {route} --waiter expr={published} to=NonPublished", cen=cen, **home)
    run(f"vpc DeleteRouteEntry {entry} --NextHopId {{gateway}}", gateway=gateway, **home)
    run("vpc DeleteVpnConnection --VpnConnectionId {connection}", **of_connection)
    run("vpc DeleteCustomerGateway --CustomerGatewayId {customer}", customer=customer)
    run("vpc DeleteVpnGateway --VpnGatewayId {gateway}", gateway=gateway)
    run("vpc DescribeVpnGateways --VpcId {vpc} --waiter expr=TotalCount to=0", **home)
    for each in made.values():
        run(f"cbn DetachCenChildInstance {child}", cen=cen, **each)
    run("cbn DescribeCenAttachedChildInstances --CenId {cen} --waiter expr=TotalCount to=0", cen=cen)
    run("cbn DeleteCen --CenId {cen}", cen=cen)
    for each in made.values():
        run("vpc DeleteVSwitch --RegionId {region} --VSwitchId {vswitch}", **each)
        run("vpc DeleteVpc --RegionId {region} --VpcId {vpc}", **each)


def errors(cli, cen, child, home, gateway):
    fails("InvalidOperation.ChildInstanceAlreadyAttached", cli, f"cbn AttachCenChildInstance {child}", cen=cen, **home)
    fails("InvalidVpnGatewayInstanceId.NotFound", cli, "vpc DescribeVpnGateway --VpnGatewayId vpn-none")
    told = fails("DependencyViolation.VpnGateway", cli, "vpc DeleteVSwitch --VSwitchId {vswitch}", **home)
    assert gateway in told, told
    fails("NotSimulated", cli, "cbn CreateTransitRouter --CenId {cen}", cen=cen)
    fails("InvalidApi.NotFound", cli, "vpc MakeCoffee")
    told = fails("SignatureDoesNotMatch", Cli("wrong"), "vpc DescribeVpcs")
    assert SECRET_IS_WRONG in told, told


def waiting(cli):
    """A waiter that really waits, and one whose time ends."""
    vpc = cli.run("vpc CreateVpc --CidrBlock 10.0.0.0/8")["VpcId"]
    rename = threading.Timer(1, Cli(cli.secret).run, ["vpc ModifyVpcAttribute --VpcName renamed --VpcId {vpc}"], {"vpc": vpc})
    rename.start()
    name = "vpc DescribeVpcs --VpcId {vpc} --waiter expr=Vpcs.Vpc[0].VpcName"
    equal(cli.run(f"{name} to=renamed timeout=30 interval=2", vpc=vpc), "renamed", "what was waited for")
    rename.join()
    try:
        cli.run(f"{name} to=other timeout=1 interval=2", vpc=vpc)
        raise AssertionError("a name that it does not have")
    except Failed as failed:
        equal(str(failed), "wait 'Vpcs.Vpc[0].VpcName' to 'other' timeout(1seconds), last='renamed'", "the end of the time")
    cli.run("vpc DeleteVpc --VpcId {vpc}", vpc=vpc)


def pages(cli):
    """Every list that has pages, merged: 23 networks of ten a page."""
    made = [cli.run("vpc CreateVpc --CidrBlock 10.0.0.0/16")["VpcId"] for _ in range(23)]
    merged = cli.run("vpc DescribeVpcs --pager")["Vpcs"]["Vpc"]
    equal({vpc["VpcId"] for vpc in merged}, set(made), "the networks of all pages")
    equal(len(merged), 23, "each of them once")
    tables = cli.run("vpc DescribeRouteTableList --PageSize 7 --pager")["RouterTableList"]["RouterTableListType"]
    equal(len(tables), 23, "their tables")
    for line in ("vpc DescribeVSwitches", "vpc DescribeVpnGateways", "vpc DescribeCustomerGateways", "vpc DescribeVpnConnections",
                 "cbn DescribeCens", "cbn DescribeCenBandwidthPackages"):
        items = [items for value in cli.run(f"{line} --pager").values() for items in value.values()]
        equal(items, [[]], f"what is left of {line}")
    for vpc in made:
        cli.run("vpc DeleteVpc --VpcId {vpc}", vpc=vpc)


if __name__ == "__main__":
    aliyun = Cli(server()[2])
    equal(aliyun.run("sts GetCallerIdentity")["IdentityType"], "Account", "who calls")
    tutorial(aliyun)
    assert aliyun.steps >= 56, aliyun.steps
    for check in (waiting, pages):
        check(aliyun)
    print(f"cli passed: {aliyun.steps} commands")
