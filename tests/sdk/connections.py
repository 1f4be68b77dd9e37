"""IPsec-VPN connections: defaults, both forms of their tunnel, modification, and what must be refused."""

import json

from checks import equal, refused, server
from sdks import NewSdk

sdk = NewSdk(*server())


def vpc(action, **parameters):
    return sdk.call("Vpc", action, {"RegionId": "cn-hangzhou", **parameters})


def gateway():
    made = vpc("CreateVpc", CidrBlock="192.168.4.0/24")
    one = vpc("CreateVpnGateway", VpcId=made["VpcId"], Bandwidth=10, InstanceChargeType="PREPAY", Period=1)
    customer = vpc("CreateCustomerGateway", IpAddress="198.51.100.1", Asn="65530")
    equal(vpc("DescribeVpnGateway", VpnGatewayId=one["VpnGatewayId"])["Spec"], "10M", "bandwidth")
    return made, {"VpnGatewayId": one["VpnGatewayId"], "LocalSubnet": "192.168.4.0/24"}, customer["CustomerGatewayId"]


def shown(created):
    return vpc("DescribeVpnConnection", VpnConnectionId=created["VpnConnectionId"])


def defaults(made, base, customer):
    created = vpc("CreateVpnConnection", **base, CustomerGatewayId=customer, RemoteSubnet="10.1.1.0/24", ClientToken="t")
    again = vpc("CreateVpnConnection", **base, CustomerGatewayId=customer, RemoteSubnet="10.1.1.0/24", ClientToken="t")
    equal(again, {**created, "RequestId": again["RequestId"]}, "answer to a repeated call")
    connection = shown(created)
    flags = [connection[name] for name in ("EffectImmediately", "EnableDpd", "EnableNatTraversal")]
    equal(flags, [False, True, True], "default switches")
    ike = connection["IkeConfig"]
    assert len(ike["Psk"]) == 16 and ike["Psk"].isalnum(), ike
    words = ("IkeVersion", "IkeMode", "IkeEncAlg", "IkeAuthAlg", "IkePfs", "IkeLifetime")
    equal([ike[word] for word in words], ["ikev2", "main", "aes", "sha256", "group14", 86400], "IkeConfig")
    ipsec = {"IpsecEncAlg": "aes", "IpsecAuthAlg": "sha256", "IpsecPfs": "group14", "IpsecLifetime": 86400}
    equal(connection["IpsecConfig"], ipsec, "IpsecConfig")
    # AutoConfigRoute makes a policy-based route of the gateway, and leaves the VPC's entry to who configures it.
    equal([(r["RouteSource"], r["RouteDest"], r["NextHop"], r["Weight"], r["Priority"], r["State"])
           for r in policy_routes(base)],
          [("192.168.4.0/24", "10.1.1.0/24", created["VpnConnectionId"], 100, 10, "normal")], "route of the connection")
    equal(vpc("DescribeVpnRouteEntries", VpnGatewayId=base["VpnGatewayId"])["TotalCount"], 0, "routes by destination")
    entry = vpc("CreateRouteEntry", RouteTableId=made["RouteTableId"], DestinationCidrBlock="10.1.1.0/24",
                NextHopType="VpnGateway", NextHopId=base["VpnGatewayId"])
    vpc("DeleteVpnConnection", VpnConnectionId=created["VpnConnectionId"])
    equal(policy_routes(base), [], "routes after the connection has gone")
    vpc("DeleteRouteEntry", RouteEntryId=entry["RouteEntryId"])


def policy_routes(base):
    found = vpc("DescribeVpnPbrRouteEntries", VpnGatewayId=base["VpnGatewayId"])
    return found["VpnPbrRouteEntries"]["VpnPbrRouteEntry"]


def routes_by_source(made, base, customer):
    created = vpc("CreateVpnConnection", **base, CustomerGatewayId=customer, RemoteSubnet="10.7.0.0/24",
                  AutoConfigRoute=False)["VpnConnectionId"]
    gateway = base["VpnGatewayId"]
    route = {"VpnGatewayId": gateway, "RouteSource": "192.168.4.0/25", "RouteDest": "10.7.0.0/24", "NextHop": created}
    answer = vpc("CreateVpnPbrRouteEntry", **route, Weight=100, PublishVpc=True, Description="first")
    equal((answer["Priority"], answer["State"], answer["VpnInstanceId"]), (10, "published", gateway), "the answer")
    refused("InvalidRouteEntry.Duplicate", 400, lambda: vpc(
        "CreateVpnPbrRouteEntry", **route, Weight=0, Priority=5, PublishVpc=False))
    refused("InvalidPriority", 400, lambda: vpc(
        "CreateVpnPbrRouteEntry", **route, Weight=0, Priority=101, PublishVpc=False))
    refused("InvalidCIDRBlock.Duplicate", 400, lambda: vpc(
        "CreateRouteEntry", RouteTableId=made["RouteTableId"], DestinationCidrBlock="10.7.0.0/24",
        NextHopType="VpnGateway", NextHopId=gateway))
    vpc("ModifyVpnPbrRouteEntryWeight", **route, Weight=100, NewWeight=0)
    vpc("ModifyVpnPbrRouteEntryPriority", **route, Weight=0, Priority=10, NewPriority=20)
    vpc("ModifyVpnPbrRouteEntryAttribute", **route, Weight=0, Priority=20, NewWeight=100, NewPriority=30)
    refused("InvalidRouteEntry.NotFound", 400, lambda: vpc("DeleteVpnPbrRouteEntry", **route, Weight=100, Priority=10))
    equal([(r["Weight"], r["Priority"], r["State"]) for r in policy_routes(base)], [(100, 30, "published")], "as changed")
    vpc("PublishVpnRouteEntry", VpnGatewayId=gateway, RouteDest="10.7.0.0/24", NextHop=created, RouteType="pbr",
        PublishVpc=False)
    equal([r["State"] for r in policy_routes(base)], ["normal"], "withdrawn")

    diagnosis = vpc("DiagnoseVpnGateway", VpnGatewayId=gateway, ResourceType="IPsec", ResourceId=created)["DiagnoseId"]
    result = vpc("GetVpnGatewayDiagnoseResult", VpnGatewayId=gateway, DiagnoseId=diagnosis)
    equal((result["ResourceInstanceId"], result["FinishedCount"]), (created, result["TotalCount"]), "the diagnosis")
    found = {item["DiagnoseName"]: item for item in result["DiagnoseResult"]}
    equal(json.loads(found["VpnPbrRouteQuota"]["DiagnoseResultDescription"]), {"quantity": 20, "used": 1}, "a quota")
    equal(found["VcoConfigConsistency"]["DiagnoseResultLevel"], "warning", "nobody has looked")
    for unknown in (diagnosis + "0", "vpndgn-unknown-1", "x"):
        refused("InvalidDiagnoseId.NotFound", 404, lambda: vpc("GetVpnGatewayDiagnoseResult", DiagnoseId=unknown))

    vpc("DeleteVpnPbrRouteEntry", **route, Weight=100)
    equal(policy_routes(base), [], "deleted")
    vpc("DeleteVpnConnection", VpnConnectionId=created)


def what_a_region_has():
    equal(vpc("CheckVpnBgpEnabled")["BgpEnabled"], False, "BGP over VPN")
    zones = vpc("DescribeVpnGatewayAvailableZones", Spec="10M")
    equal(zones["AvailableZoneIdList"][0]["ZoneId"], "cn-hangzhou-a", "a zone")
    refused("InvalidSpec", 400, lambda: vpc("DescribeVpnGatewayAvailableZones", Spec="11M"))
    refused("InvalidGatewayType", 400, lambda: vpc(
        "DescribeVpnGatewayAvailableZones", Spec="10M", GatewayType="Enhanced.SiteToSite"))


def legacy_words_are_kept(base, customer):
    ike = {"IkeVersion": "ikev1", "IkeMode": "aggressive", "IkeEncAlg": "3des", "IkeAuthAlg": "md5", "IkePfs": "group1",
           "Psk": "k", "LocalId": "gw.example", "RemoteId": "idc.example", "IkeLifetime": "3600"}
    ipsec = {"IpsecEncAlg": "des", "IpsecAuthAlg": "sha1", "IpsecPfs": "disabled", "IpsecLifetime": 600}
    created = vpc("CreateVpnConnection", **base, CustomerGatewayId=customer, RemoteSubnet="10.2.0.0/24,10.3.0.0/24",
                  IkeConfig=json.dumps(ike), IpsecConfig=json.dumps(ipsec))
    connection = shown(created)
    equal(connection["IkeConfig"], {**ike, "IkeLifetime": 3600}, "IkeConfig as given")
    equal(connection["IpsecConfig"], ipsec, "IpsecConfig as given")
    equal(connection["RemoteSubnet"], "10.2.0.0/24,10.3.0.0/24", "RemoteSubnet")
    changed = vpc("ModifyVpnConnectionAttribute", VpnConnectionId=created["VpnConnectionId"], Name="new",
                  RemoteSubnet="10.2.0.0/24", IkeConfig=json.dumps({"IkeVersion": "ikev2"}), EnableDpd=False)
    equal((changed["Name"], changed["IkeConfig"]["IkeVersion"]), ("new", "ikev2"), "answer to the modification")
    connection = shown(created)
    equal((connection["IkeConfig"]["IkeVersion"], connection["IkeConfig"]["Psk"]), ("ikev2", "k"), "after it")
    equal((connection["RemoteSubnet"], connection["EnableDpd"]), ("10.2.0.0/24", False), "after it")
    vpc("DeleteVpnConnection", VpnConnectionId=created["VpnConnectionId"])


def tunnel_options(base, customer):
    tunnel = {"Role": "master", "CustomerGatewayId": customer, "EnableDpd": True,
              "TunnelIkeConfig": {"Psk": "tunnel-key", "IkeLifetime": 7200, "IkeEncAlg": "aes256"},
              "TunnelIpsecConfig": {"IpsecPfs": "group5"}}
    created = vpc("CreateVpnConnection", **base, RemoteSubnet="10.4.0.0/24", TunnelOptionsSpecification=[tunnel])
    shown_tunnel = shown(created)["TunnelOptionsSpecification"]["TunnelOptions"][0]
    equal((shown_tunnel["Role"], shown_tunnel["EnableDpd"]), ("master", "true"), "tunnel")
    ike = shown_tunnel["TunnelIkeConfig"]
    equal((ike["Psk"], ike["IkeEncAlg"]), ("tunnel-key", "aes256"), "TunnelIkeConfig")
    equal(str(ike["IkeLifetime"]), "7200", "TunnelIkeConfig")
    equal(shown_tunnel["TunnelIpsecConfig"]["IpsecPfs"], "group5", "TunnelIpsecConfig")
    vpc("ModifyVpnConnectionAttribute", VpnConnectionId=created["VpnConnectionId"], TunnelOptionsSpecification=[
        {"TunnelId": shown_tunnel["TunnelId"], "TunnelIkeConfig": {"Psk": "other-key"}}])
    equal(shown(created)["IkeConfig"]["Psk"], "other-key", "key of the modified tunnel")
    refused("InvalidTunnelOptionsSpecification", 400, lambda: vpc(
        "CreateVpnConnection", **base, RemoteSubnet="10.5.0.0/24",
        TunnelOptionsSpecification=[tunnel, {**tunnel, "Role": "slave"}]))
    vpc("DeleteVpnConnection", VpnConnectionId=created["VpnConnectionId"])


def refusals(base, customer):
    for change, code in [
        ({"IkeConfig": json.dumps({"Psk": "with space"})}, "InvalidIkeConfig.Psk"),
        ({"IkeConfig": json.dumps({"Psk": "x" * 101})}, "InvalidIkeConfig.Psk"),
        ({"IkeConfig": json.dumps({"IkeEncAlg": "rot13"})}, "InvalidIkeConfig.IkeEncAlg"),
        ({"IkeConfig": json.dumps({"IkeLifetime": 86401})}, "InvalidIkeConfig.IkeLifetime"),
        ({"IpsecConfig": json.dumps({"IpsecPfs": "group7"})}, "InvalidIpsecConfig.IpsecPfs"),
        ({"IkeConfig": "{"}, "InvalidIkeConfig"),
        ({"RemoteSubnet": "10.0.0.0/8,"}, "InvalidRemoteSubnet"),
        ({"BgpConfig": json.dumps({"EnableBgp": "true"})}, "InvalidBgpConfig.EnableBgp"),
        ({"CustomerGatewayId": None}, "MissingCustomerGatewayId"),
    ]:
        wanted = {**base, "CustomerGatewayId": customer, "RemoteSubnet": "10.6.0.0/24", **change}
        refused(code, 400, lambda: vpc("CreateVpnConnection", **wanted))
    wanted = {**base, "CustomerGatewayId": "cgw-unknown", "RemoteSubnet": "10.6.0.0/24"}
    refused("InvalidCustomerGatewayInstanceId.NotFound", 404, lambda: vpc("CreateVpnConnection", **wanted))
    shown_in = lambda region: sdk.call("Vpc", "DescribeVpnConnections", {"RegionId": region})["TotalCount"]
    equal((shown_in("cn-hangzhou"), shown_in("cn-beijing")), (0, 0), "connections left")


if __name__ == "__main__":
    made, base, customer = gateway()
    defaults(made, base, customer)
    legacy_words_are_kept(base, customer)
    tunnel_options(base, customer)
    routes_by_source(made, base, customer)
    what_a_region_has()
    refusals(base, customer)
    print("connections passed")
