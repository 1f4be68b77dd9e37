"""What stands on the wire: clients without a Python SDK, and requests that must be refused."""

import base64
import hashlib
import hmac
import http.client
import json
import os
import socket
import ssl
import time
import urllib.parse
import uuid

from checks import equal, refused, server
from sdks import NewSdk, OldSdk

ENDPOINT, KEY, SECRET = server()


def encode(text):
    return urllib.parse.quote(text, safe="-_.~")


def rpc(action, version="2016-04-28", method="POST", secret=SECRET, digest="sha1", **parameters):
    """RPC v1 parameters with their signature; a parameter that is None is left out."""
    everything = {
        "Action": action, "Version": version, "Format": "JSON", "AccessKeyId": KEY, "SignatureVersion": "1.0",
        "SignatureMethod": f"HMAC-{digest.upper()}", "SignatureNonce": uuid.uuid4().hex,
        "Timestamp": time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime()), **parameters,
    }
    everything = {name: value for name, value in everything.items() if value is not None}
    canonical = "&".join(f"{encode(name)}={encode(value)}" for name, value in sorted(everything.items()))
    text = f"{method}&%2F&{encode(canonical)}"
    mac = hmac.new(f"{secret}&".encode(), text.encode(), digest).digest()
    return {**everything, "Signature": base64.b64encode(mac).decode()}, text


def send(method, target="/", body=None, headers=None, connection=None):
    connection = connection or http.client.HTTPConnection(ENDPOINT, timeout=10)
    connection.request(method, target, body=body, headers=headers or {})
    response = connection.getresponse()
    equal(response.getheader("Content-Type"), "application/json;charset=utf-8", "content type")
    answer = json.loads(response.read())
    assert answer["RequestId"] == str(uuid.UUID(answer["RequestId"])).upper(), answer
    if response.status != 200:
        equal(set(answer), {"RequestId", "HostId", "Code", "Message", "Recommend"}, "fields of an error")
    return response.status, answer


FORM = {"Content-Type": "application/x-www-form-urlencoded"}


def node_post(parameters, **more):
    """As Node's pop-core sends: everything in the form body, nothing in the query."""
    return send("POST", body=urllib.parse.urlencode(parameters, quote_via=urllib.parse.quote), headers=FORM, **more)


def expect(code, status, parameters):
    answered, answer = node_post(parameters)
    equal((answer.get("Code"), answered), (code, status), f"answer to {parameters.get('Action')}")
    return answer


def accepted_forms():
    for digest in ("sha1", "sha256"):
        parameters, _ = rpc("DescribeRegions", digest=digest)
        equal(node_post(parameters)[0], 200, f"form body, {digest}")
    parameters, _ = rpc("DescribeRegions", method="GET")
    equal(send("GET", f"/?{urllib.parse.urlencode(parameters)}")[0], 200, "GET with + for a space")
    parameters, _ = rpc("DescribeRegions")
    body = urllib.parse.urlencode(parameters).encode()
    chunks = (body[at:at + 7] for at in range(0, len(body), 7))
    # Without a known length this client sends chunks.
    equal(send("POST", body=chunks, headers=FORM)[0], 200, "chunked body")
    connection = http.client.HTTPConnection(ENDPOINT, timeout=10)
    connection.connect()
    kept = connection.sock
    for _ in range(3):
        equal(node_post(rpc("DescribeRegions")[0], connection=connection)[0], 200, "kept connection")
    assert connection.sock is kept, "the connection was not kept"


def refused_requests():
    expect("InvalidAccessKeyId.NotFound", 404, rpc("DescribeRegions", AccessKeyId="nobody")[0])
    expect("IncompleteSignature", 400, {"Action": "DescribeRegions", "Version": "2016-04-28"})
    expect("InvalidSignatureMethod", 400, rpc("DescribeRegions", SignatureMethod="HMAC-MD5")[0])
    for offset in (-1000, 1000):
        stamp = time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(time.time() + offset))
        expect("InvalidTimeStamp.Expired", 400, rpc("DescribeRegions", Timestamp=stamp)[0])
    expect("InvalidTimeStamp.Format", 400, rpc("DescribeRegions", Timestamp="yesterday")[0])
    once, _ = rpc("DescribeRegions")
    equal(node_post(once)[0], 200, "first use of a nonce")
    expect("SignatureNonceUsed", 400, once)
    wrong, text = rpc("DescribeRegions", secret="wrong")
    message = expect("SignatureDoesNotMatch", 400, wrong)["Message"]
    prefix = "Specified signature is not matched with our calculation. server string to sign is:"
    equal(message, prefix + text, "message of a wrong signature")
    ike = json.dumps({"Psk": "hunter2-hunter2"})
    message = expect("SignatureDoesNotMatch", 400, rpc("CreateVpnConnection", secret="wrong", IkeConfig=ike)[0])["Message"]
    assert message.startswith(prefix) and "hunter2" not in message, message
    expect("InvalidApi.NotFound", 404, rpc("MakeCoffee")[0])
    expect("InvalidApi.NotFound", 404, rpc("DescribeVpcs", version="2017-09-12", RegionId="cn-hangzhou")[0])
    expect("NotSimulated", 400, rpc("CreateTransitRouter", version="2017-09-12")[0])
    expect("NotSimulated", 400, rpc("CreateNatGateway", RegionId="cn-hangzhou")[0])
    expect("InvalidParameter.Format", 400, rpc("DescribeRegions", Format="XML")[0])
    equal(send("PUT")[1]["Code"], "UnsupportedHTTPMethod", "PUT")
    equal(send("POST", body=b"x" * (2 << 20), headers=FORM)[0], 413, "a body of 2 MiB")


def regional_endpoints():
    host = {**FORM, "Host": "vpc.eu-central-1.aliyuncs.com"}
    made = node_post(rpc("CreateVpc", RegionId="eu-central-1", CidrBlock="10.0.0.0/8")[0])[1]["VpcId"]
    body = urllib.parse.urlencode(rpc("DescribeVpcs")[0])
    status, answer = send("POST", body=body, headers=host)
    equal((status, [vpc["VpcId"] for vpc in answer["Vpcs"]["Vpc"]]), (200, [made]), "the endpoint's region")
    equal(node_post(rpc("DeleteVpc", VpcId=made)[0])[0], 200, "clean-up")


def https():
    """A client that trusts cend's own authority alone talks to it under the cloud's names, as a hosts file has it do."""
    address, ca = os.environ["CEND_HTTPS"], os.environ["CEND_CA"]
    connection = http.client.HTTPConnection(ENDPOINT, timeout=10)
    connection.request("GET", "/ca.pem")
    with open(ca, encoding="ascii") as file:
        equal(connection.getresponse().read().decode(), file.read(), "the authority's certificate")
    context = ssl.create_default_context(cafile=ca)
    host, port = address.rsplit(":", 1)
    for name in ("vpc.aliyuncs.com", "cbn.aliyuncs.com", "vpc.cn-hangzhou.aliyuncs.com", "localhost"):
        with context.wrap_socket(socket.create_connection((host, int(port)), timeout=10), server_hostname=name) as stream:
            body = urllib.parse.urlencode(rpc("DescribeVpcs", RegionId="cn-hangzhou")[0])
            connection = http.client.HTTPConnection(name, timeout=10)
            connection.sock = stream
            equal(send("POST", body=body, headers=FORM, connection=connection)[0], 200, f"HTTPS, {name}")
    try:
        context.wrap_socket(socket.create_connection((host, int(port)), timeout=10), server_hostname="example.com")
    except ssl.SSLCertVerificationError:
        return
    raise AssertionError("a certificate for any name")


def refused_parameters():
    region = {"RegionId": "cn-hangzhou"}
    for action, parameters, code, status in [
        ("DescribeVpcs", {}, "MissingRegionId", 400),
        ("DescribeVpcs", {"RegionId": "mars-1"}, "InvalidRegionId.NotFound", 404),
        ("DescribeVpcs", {**region, "PageSize": "51"}, "InvalidPageSize", 400),
        ("DescribeVpcs", {**region, "PageNumber": "0"}, "InvalidPageNumber", 400),
        ("DescribeVpcs", {**region, "IsDefault": "maybe"}, "InvalidIsDefault", 400),
        ("CreateVpc", {**region, "CidrBlock": "10.0.0.0/33"}, "InvalidCidrBlock.Malformed", 400),
        ("CreateVpc", {**region, "CidrBlock": "010.0.0.0/8"}, "InvalidCidrBlock.Malformed", 400),
        ("CreateVpc", {**region, "CidrBlock": "10.0.0.0/08"}, "InvalidCidrBlock.Malformed", 400),
        ("DescribeVSwitches", {}, "MissingParameter", 400),
        ("CreateVSwitch", {**region, "ZoneId": "cn-hangzhou-b"}, "MissingVpcId", 400),
        ("CreateVpnConnection", region, "MissingVpnGatewayId", 400),
        ("DeleteRouteEntry", region, "MissingRouteTableId", 400),
        ("CreateCustomerGateway", {**region, "IpAddress": "1.2.3"}, "InvalidIpAddress.WrongFormat", 400),
    ]:
        expect(code, status, rpc(action, **parameters)[0])
    expect("MissingCenId", 400, rpc("DeleteCen", version="2017-09-12")[0])


def acs3():
    """Refusals of the other family, with bodies that the signature covers."""
    def request(secret=SECRET, body=b"", tamper=b"", date=None, drop=None):
        headers = {
            "host": ENDPOINT, "x-acs-action": "DescribeRegions", "x-acs-version": "2016-04-28",
            "x-acs-date": date or time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime()),
            "x-acs-signature-nonce": uuid.uuid4().hex, "x-acs-content-sha256": hashlib.sha256(body).hexdigest(),
        }
        headers.pop(drop, None)
        signed = ";".join(sorted(headers))
        canonical = "".join(f"{name}:{headers[name]}\n" for name in sorted(headers))
        text = f"POST\n/\n\n{canonical}\n{signed}\n{hashlib.sha256(body).hexdigest()}"
        text = f"ACS3-HMAC-SHA256\n{hashlib.sha256(text.encode()).hexdigest()}"
        mac = hmac.new(secret.encode(), text.encode(), "sha256").hexdigest()
        authorization = f"ACS3-HMAC-SHA256 Credential={KEY},SignedHeaders={signed},Signature={mac}"
        return send("POST", body=body + tamper, headers={**headers, **FORM, "Authorization": authorization})

    equal(request()[0], 200, "ACS3")
    equal(request(body=b"AcceptLanguage=en-US")[0], 200, "ACS3 with a body")
    for answer, code in [
        (request(secret="wrong"), "SignatureDoesNotMatch"),
        (request(body=b"A=1", tamper=b"2"), "SignatureDoesNotMatch"),
        (request(date="2020-01-01T00:00:00Z"), "InvalidTimeStamp.Expired"),
        (request(drop="x-acs-date"), "IncompleteSignature"),
    ]:
        equal((answer[1]["Code"], answer[0]), (code, 400), "ACS3 refusal")


def sdks_with_a_wrong_secret():
    parameters = {"RegionId": "cn-hangzhou"}
    refused("SignatureDoesNotMatch", 400, NewSdk(ENDPOINT, KEY, "wrong").call, "Vpc", "DescribeVpcs", parameters)
    refused("SignatureDoesNotMatch", 400, NewSdk(ENDPOINT, KEY, "wrong", "v2").call, "Vpc", "DescribeVpcs", parameters)
    # This SDK compares our string to sign with its own, finds them equal, and knows that the secret is wrong.
    refused("InvalidAccessKeySecret", 400, OldSdk(ENDPOINT, KEY, "wrong").call, "Vpc", "DescribeVpcs", parameters)
    refused("InvalidAccessKeyId.NotFound", 404, OldSdk(ENDPOINT, "nobody", "x").call, "Vpc", "DescribeVpcs", parameters)


if __name__ == "__main__":
    for check in (accepted_forms, refused_requests, regional_endpoints, https, refused_parameters, acs3, sdks_with_a_wrong_secret):
        check()
        print(f"{check.__name__} passed")
