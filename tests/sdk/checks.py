"""Assertions that say what was expected, and where cend listens."""

import os

from sdks import Refused


def server():
    """Endpoint, access key id and secret, as the test binary passes them."""
    return os.environ["CEND_ENDPOINT"], os.environ["CEND_KEY_ID"], os.environ["CEND_KEY_SECRET"]


def equal(actual, expected, what):
    if actual != expected:
        raise AssertionError(f"{what}: expected {expected!r}, got {actual!r}")


def refused(code, status, call, *arguments):
    """The call must be refused with this code and HTTP status; returns the refusal."""
    try:
        answer = call(*arguments)
    except Refused as refusal:
        equal((refusal.code, refusal.status), (code, status), f"refusal of {arguments}")
        return refusal
    raise AssertionError(f"{arguments} was not refused with {code}, but answered {answer}")
