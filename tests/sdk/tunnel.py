"""The tutorial where the cloud is real: CreateVpnConnection brings a tunnel up, and routes reach the kernels.

Says when a stage is reached, and goes on with the next one when a line comes in: meanwhile its caller looks at the
namespaces.
"""

import sys
import time

from checks import server
from sdks import NewSdk
from tutorial import IDC, VPCS, Tutorial

TUNNEL_WITHIN = 15


def stage(name):
    print(f"stage {name}", flush=True)
    assert sys.stdin.readline(), f"nobody waits for what comes after {name}"


class RealTutorial(Tutorial):
    def run(self):
        self.describe_regions()
        for region, cidr in VPCS.items():
            self.create_vpc(region, cidr)
        self.create_vpn()
        route = {"VpnGatewayId": self.gateway, "RouteDest": IDC, "NextHop": self.connection, "Weight": 100}
        self.vpc("CreateVpnRouteEntry", **route, PublishVpc=False)
        self.wait_for_the_tunnel()
        self.create_cen()
        for region in VPCS:
            self.attach(region)
        self.system_routes_are_learned()
        stage("attached")
        self.create_entry()
        self.learned_by(set())
        self.publish()
        self.learned_by({"cn-beijing", "cn-shanghai", "cn-hongkong"})
        stage("published")
        self.cbn("WithdrawPublishedRouteEntries", **self.published())
        self.learned_by(set())
        stage("withdrawn")
        self.delete_entry()
        self.vpc("DeleteVpnRouteEntry", **route)
        self.clean_up()
        stage("cleaned-up")

    def wait_for_the_tunnel(self):
        end = time.monotonic() + TUNNEL_WITHIN
        while (status := self.status()) != "ipsec_sa_established":
            assert time.monotonic() < end, f"{status} after {TUNNEL_WITHIN} seconds"
            time.sleep(0.1)


if __name__ == "__main__":
    RealTutorial(NewSdk(*server()), 2).run()
    print("tunnel passed")
