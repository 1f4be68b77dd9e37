"""Prowler, which scans an account, finds the networks of each region under the cloud's own names, over HTTPS.

To be run by the Python of its environment, behind as-the-cloud.sh: a regional endpoint is all that tells cend the region.
"""

import csv
import json
import os
import pathlib
import re
import subprocess
import sys
import tempfile

REGIONS = ("cn-hangzhou", "cn-beijing", "cn-shanghai", "cn-hongkong")


def made(region, number):
    line = [os.environ["GATEWAYCTL"], "cloud", "--endpoint", "https://vpc.aliyuncs.com", "--region", region, "vpc",
            "CreateVpc", "--CidrBlock", f"10.{number}.0.0/16"]
    return json.loads(subprocess.run(line, check=True, capture_output=True, text=True).stdout)["VpcId"]


def scan(folder):
    prowler = pathlib.Path(sys.executable).parent / "prowler"
    line = [prowler, "alibabacloud", "--service", "vpc", "--region", *REGIONS, "--output-formats", "csv",
            "--output-directory", folder, "--no-banner", "--no-color", "--log-level", "ERROR", "--log-file", f"{folder}/log",
            "--ignore-exit-code-3"]
    scanned = subprocess.run(line, capture_output=True, text=True, timeout=300)
    log = pathlib.Path(folder, "log").read_text(encoding="utf-8") if pathlib.Path(folder, "log").exists() else ""
    assert scanned.returncode == 0, f"{scanned.stdout}\n{scanned.stderr}\n{log}"
    (table,) = pathlib.Path(folder).glob("*.csv")
    with table.open(encoding="utf-8", newline="") as file:
        return list(csv.DictReader(file, delimiter=";")), log + scanned.stderr


def check():
    networks = {made(region, number): region for number, region in enumerate(REGIONS)}
    with tempfile.TemporaryDirectory() as folder:
        findings, log = scan(folder)
    found = {finding["RESOURCE_NAME"]: finding for finding in findings}
    assert {name: finding["REGION"] for name, finding in found.items()} == networks, (found, networks, log)
    for vpc, region in networks.items():
        finding = found[vpc]
        assert (finding["CHECK_ID"], finding["STATUS"]) == ("vpc_flow_logs_enabled", "FAIL"), finding
        assert re.fullmatch(rf"acs:vpc:{region}:\d+:vpc/{vpc}", finding["RESOURCE_UID"]), finding
    # Flow logs, and Ram with the account's alias, are not simulated, and nothing else goes wrong: no region is left out.
    expected = re.compile("NotSimulated|ram\\.aliyuncs\\.com")
    errors = [line for line in log.splitlines() if re.search("error|critical", line, re.I)]
    others = [line for line in errors if not expected.search(line)]
    assert not others, others


if __name__ == "__main__":
    check()
    print("prowler passed")
