"""The official Python SDKs, unmodified, behind one face: call(product, action, parameters) -> dict."""

import importlib
import json
import os
import re

from alibabacloud_tea_openapi.models import Config
from aliyunsdkcore.acs_exception.exceptions import ServerException
from aliyunsdkcore.client import AcsClient
from Tea.exceptions import TeaException


class Refused(Exception):
    """A refusal by the API."""

    def __init__(self, status, code, message, data=None):
        super().__init__(f"{status} {code}: {message}")
        self.status, self.code, self.message, self.data = status, code, message, data


def snake(name):
    return re.sub(r"(?<=[a-z0-9])(?=[A-Z])", "_", name.replace("VSwitch", "Vswitch")).lower()


class NewSdk:
    """alibabacloud_cbn20170912 and alibabacloud_vpc20160428; signs ACS3 unless told 'v2'."""

    def __init__(self, endpoint, key, secret, signature_algorithm=None, ca=None):
        self.name = f"new Python SDK, {signature_algorithm or 'ACS3'}, {'HTTPS' if ca else 'HTTP'}"
        self.products = {}
        for product, package in (("Cbn", "alibabacloud_cbn20170912"), ("Vpc", "alibabacloud_vpc20160428")):
            config = Config(access_key_id=key, access_key_secret=secret, endpoint=endpoint,
                            protocol="https" if ca else "http", ca=ca)
            if signature_algorithm:
                config.signature_algorithm = signature_algorithm
            client = importlib.import_module(f"{package}.client").Client(config)
            self.products[product] = (client, importlib.import_module(f"{package}.models"))

    def call(self, product, action, parameters):
        client, models = self.products[product]
        request = getattr(models, f"{action}Request")().from_map(parameters)
        methods = {name.replace("_", ""): name for name in dir(client)}
        try:
            response = getattr(client, methods[action.lower()])(request)
        except TeaException as error:
            raise Refused(error.data["statusCode"], error.code, error.message, error.data) from error
        assert response.status_code == 200, response.status_code
        return response.body.to_map()


class OldSdk:
    """aliyun-python-sdk-core with -cbn and -vpc; signs RPC v1 and adds RegionId to everything."""

    name = "old Python SDK"
    packages = {"Cbn": "aliyunsdkcbn.request.v20170912", "Vpc": "aliyunsdkvpc.request.v20160428"}

    def __init__(self, endpoint, key, secret):
        self.endpoint, self.key, self.secret = endpoint, key, secret
        self.clients = {}

    def client(self, region):
        if region not in self.clients:
            self.clients[region] = AcsClient(self.key, self.secret, region, auto_retry=False)
        return self.clients[region]

    def call(self, product, action, parameters):
        module = importlib.import_module(f"{self.packages[product]}.{action}Request")
        request = getattr(module, f"{action}Request")()
        request.set_endpoint(self.endpoint)
        region = "cn-hangzhou"
        for name, value in parameters.items():
            if name == "RegionId" and not hasattr(request, "set_RegionId"):
                region = value
                continue
            setter = getattr(request, f"set_{name}", None) or getattr(request, f"set_{name}s")
            setter(json.dumps(value) if isinstance(value, dict) else value)
        try:
            return json.loads(self.client(region).do_action_with_exception(request))
        except ServerException as error:
            raise Refused(error.get_http_status(), error.get_error_code(), error.get_error_msg()) from error


def all_sdks(endpoint, key, secret):
    https, ca = os.environ["CEND_HTTPS"], os.environ["CEND_CA"]
    return [
        NewSdk(endpoint, key, secret), NewSdk(endpoint, key, secret, "v2"), OldSdk(endpoint, key, secret),
        NewSdk(https, key, secret, ca=ca),
    ]
