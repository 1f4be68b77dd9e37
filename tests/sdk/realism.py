"""A cloud that keeps its callers waiting: who waits and tries again gets through, and who does not fails."""

import http.client
import time
import urllib.parse

import terraform
from checks import equal, server
from retried import ALSO_RETRIED, RETRIED
from sdks import NewSdk, OldSdk, Refused
from wire import ENDPOINT, FORM, node_post, rpc

CEND = "2026-11-27"
REGION = "cn-hangzhou"


def realism(action="ModifyRealism", **settings):
    status, answer = node_post(rpc(action, version=CEND, **settings)[0])
    equal(status, 200, answer)
    return answer


def off():
    realism(Delay="0", BusyFrequency="0", CallsPerSecond="0")


def settings_are_shown_and_only_a_signed_call_makes_them():
    shown = realism("DescribeRealism")
    equal((shown["Delay"], shown["BusyFrequency"], shown["CallsPerSecond"]), (0, 0.0, 0), "settings at the start")
    realism(Delay="300", BusyFrequency="0.3")
    shown = realism(Seed="7")
    equal((shown["Delay"], shown["BusyFrequency"], shown["Seed"]), (300, 0.3, 7), "what is not given stays")
    status, answer = node_post(rpc("ModifyRealism", version=CEND, secret="wrong", Delay="0")[0])
    equal((status, answer["Code"]), (400, "SignatureDoesNotMatch"), "a stranger")
    for name, value in (("Delay", "600001"), ("BusyFrequency", "1.1"), ("BusyFrequency", "NaN")):
        status, answer = node_post(rpc("ModifyRealism", version=CEND, **{name: value})[0])
        equal((status, answer["Code"]), (400, f"Invalid{name}"), f"{name} {value}")
    off()


def throttled_calls_say_what_they_are(sdk):
    realism(CallsPerSecond="1")
    refusals = []
    # Two calls may fall into two seconds; of five not each.
    for _ in range(5):
        try:
            sdk.call("Vpc", "DescribeVpcs", {"RegionId": REGION})
        except Refused as refusal:
            refusals.append((refusal.code, refusal.status))
    equal(set(refusals), {("Throttling.User", 400)}, "calls in one second")
    off()


def throttled_calls_say_when_to_come_again():
    realism(CallsPerSecond="1")
    after = None
    while after is None:
        connection = http.client.HTTPConnection(ENDPOINT, timeout=10)
        body = urllib.parse.urlencode(rpc("DescribeRegions")[0])
        connection.request("POST", "/", body=body, headers=FORM)
        response = connection.getresponse()
        response.read()
        after = response.getheader("x-acs-retry-after")
        equal(response.status == 400, after is not None, "the header is there when the call is throttled")
    assert 1 <= int(after) <= 1000, after
    time.sleep(int(after) / 1000)
    equal(node_post(rpc("DescribeRegions")[0])[0], 200, "after the time that was told")
    off()


class Patient:
    """The official SDK, and what a script of the user's does round it."""

    BUSY = RETRIED | {code for codes in ALSO_RETRIED.values() for code in codes}

    def __init__(self, sdk, tries):
        self.sdk, self.tries = sdk, tries

    def call(self, product, action, **parameters):
        for left in reversed(range(self.tries)):
            try:
                return self.sdk.call(product, action, parameters)
            except Refused as refusal:
                if refusal.code not in self.BUSY or not left:
                    raise
                time.sleep(0.2)

    def vpc(self, action, **parameters):
        return self.call("Vpc", action, RegionId=REGION, **parameters)

    def waits(self, settled, look):
        if self.tries == 1:
            return
        end = time.monotonic() + 10
        while look() != settled:
            assert time.monotonic() < end, f"{settled} never comes"
            time.sleep(0.1)

    def script(self, number):
        """A network in CEN, made and taken down."""
        made = self.vpc("CreateVpc", CidrBlock=f"10.{number}.0.0/16")
        vpc, table = made["VpcId"], made["RouteTableId"]
        self.waits("Available", lambda: self.vpc("DescribeVpcAttribute", VpcId=vpc)["Status"])
        block = f"10.{number}.1.0/24"
        vswitch = self.vpc("CreateVSwitch", VpcId=vpc, ZoneId=f"{REGION}-b", CidrBlock=block)["VSwitchId"]
        self.waits("Available", lambda: self.vpc("DescribeVSwitches", VSwitchId=vswitch)["VSwitches"]["VSwitch"][0]["Status"])
        cen = self.call("Cbn", "CreateCen", Name="patient")["CenId"]
        child = {"CenId": cen, "ChildInstanceId": vpc, "ChildInstanceType": "VPC", "ChildInstanceRegionId": REGION}
        self.call("Cbn", "AttachCenChildInstance", **child)
        attached = lambda: self.call("Cbn", "DescribeCenAttachedChildInstances", CenId=cen)["ChildInstances"]["ChildInstance"]
        self.waits(["Attached"], lambda: [one["Status"] for one in attached()])
        route = {**child, "ChildInstanceRouteTableId": table, "DestinationCidrBlock": block}
        look = lambda: self.call("Cbn", "DescribePublishedRouteEntries", **route)["PublishedRouteEntries"]["PublishedRouteEntry"]
        self.waits(["Published"], lambda: [one["PublishStatus"] for one in look()])
        self.call("Cbn", "WithdrawPublishedRouteEntries", **route)
        self.waits(["NonPublished"], lambda: [one["PublishStatus"] for one in look()])
        self.call("Cbn", "DetachCenChildInstance", **child)
        self.waits([], attached)
        self.call("Cbn", "DeleteCen", CenId=cen)
        self.vpc("DeleteVSwitch", VSwitchId=vswitch)
        self.waits(0, lambda: self.vpc("DescribeVSwitches", VpcId=vpc)["TotalCount"])
        self.vpc("DeleteVpc", VpcId=vpc)


def who_does_not_wait_fails(sdk):
    """By either, alone."""
    for number, settings in enumerate(({"Delay": "300"}, {"BusyFrequency": "1"}), 100):
        realism(**settings)
        try:
            Patient(sdk, tries=1).script(number)
        except Refused as refusal:
            assert refusal.code in Patient.BUSY, refusal
        else:
            raise AssertionError(f"{settings}: a client that does not wait got through")
        off()


def main():
    endpoint, key, secret = server()
    sdks = NewSdk(endpoint, key, secret), OldSdk(endpoint, key, secret)
    settings_are_shown_and_only_a_signed_call_makes_them()
    throttled_calls_say_what_they_are(sdks[0])
    throttled_calls_say_when_to_come_again()
    who_does_not_wait_fails(sdks[0])
    realism(Delay="300", BusyFrequency="0.3", Seed="1", CallsPerSecond="8")
    for number, sdk in enumerate(sdks, 1):
        Patient(sdk, tries=50).script(number)
    terraform.tutorial()
    off()


if __name__ == "__main__":
    main()
    print("realism passed")
