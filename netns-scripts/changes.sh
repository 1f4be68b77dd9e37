#!/usr/bin/env bash
# What a change costs among thousands of connections: one weight, one connection changed, added and removed by a reload, a
# full set of cend's, the route table read meanwhile, the status of one connection, and memory.
#
#   netns-scripts/changes.sh [--connections N] [--resident N] [--json FILE] [--short] [--no-bars]
#
# One gatewayd in a namespace of its own has N connections (8 000 when not said otherwise) in gatewayd.toml, each with a
# route, and none of them calls; another one has as many of the cloud's, put on its control socket. A third one, with 10 000
# (--resident), is asked for its memory. A reply comes when the kernel's side has the change, and the packet path looks up
# every packet that comes from then on in its new table. By turns with the route table something tiny is read: what that
# takes is the machine's and the client's own. The bars hold on a calm machine and for optimised programs. --short: 1 000
# connections, 1 000 resident, and bars ten times as high for what takes time, where the one for reads is on what all but 2 %
# of them take: that holds for programs that are not optimised on a machine that has other work. --no-bars prints figures only.
set -u
here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
. "$here/install.sh"
. "$here/programs.sh"
. "$here/lab.sh"
. "$here/checks.sh"
connections=8000 resident=10000 json= bars=yes times=1 read=worst_ms
while [ $# -gt 0 ]; do
    case $1 in
        --connections) connections=$2; shift ;;
        --resident) resident=$2; shift ;;
        --json) json=$2; shift ;;
        --short) connections=1000 resident=1000 times=10 read=most_ms ;;
        --no-bars) bars= ;;
        *) sed -n '2,14p' "${BASH_SOURCE[0]}" | sed 's/^# \{0,1\}//'; exit 2 ;;
    esac
    shift
done
require_root
install_packages iproute2 procps nftables jq python3
build_programs || exit 2

lab_open "igc$$"
trap lab_close EXIT
trap 'exit 130' INT TERM

# configuration COUNT: gatewayd.toml with so many connections. Their prefixes are no neighbours, so nothing joins them.
configuration() {
    python3 - "$1" <<'PY'
import sys
print('local_addresses = ["203.0.113.1"]')
for n in range(int(sys.argv[1])):
    print(f'''
[[connection]]
name = "site-{n}"
peer = "198.{18 + n // 65536}.{n // 256 % 256}.{n % 256}"
local_id = "gateway.example"
peer_id = "site-{n}.example"
psk = "the key of site {n} of thousands"
start = "wait"
local_subnets = ["10.1.0.0/24"]
peer_subnets = ["10.{64 + n // 2048}.{n // 8 % 256}.{n % 8 * 32}/28"]

[[route]]
destination = "10.{64 + n // 2048}.{n // 8 % 256}.{n % 8 * 32}/28"
connection = "site-{n}"''')
PY
}

runs() { grep -q 'gatewayd runs' "$lab_directory/$1.log"; }
# gateway NAME COUNT: one with so many connections in its file
gateway() {
    host "$1" forward
    cable "$1" wan 203.0.113.1/24 "$1" beyond -
    configuration "$2" > "$lab_directory/$1.toml"
    chmod 600 "$lab_directory/$1.toml"
    start "$1" "$1" "$programs/gatewayd" --config "$lab_directory/$1.toml" \
        --socket "$lab_directory/$1.sock" --state "$lab_directory/$1-state"
    check_within 60 "gatewayd runs with $2 connections" runs "$1"
}
rss_kib() { awk '/^VmRSS/ { print $2 }' "/proc/$(cat "$lab_directory/pids/$1")/status"; }

section "A file of $connections connections"
gateway file "$connections"
gateway cloud 0

python3 - "$lab_directory" "$programs/gatewayctl" "$connections" > "$lab_directory/figures" <<'PY'
import http.client, json, multiprocessing, os, re, socket, subprocess, sys, time
folder, gatewayctl, count = sys.argv[1], sys.argv[2], int(sys.argv[3])

class Socket(http.client.HTTPConnection):
    def __init__(self, name):
        super().__init__("gatewayd", timeout=30)
        self.path = f"{folder}/{name}.sock"
    def connect(self):
        self.sock = socket.socket(socket.AF_UNIX)
        self.sock.connect(self.path)

def call(name, method, path, body=None):
    client = Socket(name)
    began = time.monotonic()
    client.request(method, path, body, {"content-type": "application/json"} if body else {})
    answer = client.getresponse()
    text = answer.read()
    took = (time.monotonic() - began) * 1000
    client.close()
    assert answer.status == 200, (path, answer.status, text[:300])
    return took, text

def poll(name, stop, results):
    """Reads the route table again and again, and by turns the revision of cend's set, which is a few bytes."""
    took, tiny = [], []
    while not stop.is_set():
        took.append(call(name, "GET", "/v1/routes")[0])
        time.sleep(0.002)
        tiny.append(call(name, "GET", "/v1/owners/cend")[0])
        time.sleep(0.002)
    results.put((took, tiny))

class Reading:
    """The route table is read meanwhile, by a process of its own."""
    def __init__(self, name): self.name = name
    def __enter__(self):
        self.stop, self.results = multiprocessing.Event(), multiprocessing.Queue()
        self.process = multiprocessing.Process(target=poll, args=(self.name, self.stop, self.results))
        self.process.start()
        time.sleep(0.2)
        return self
    def __exit__(self, *_):
        time.sleep(0.1)
        self.stop.set()
        took, tiny = map(sorted, self.results.get())
        self.process.join()
        middle = lambda times: times[len(times) // 2]
        self.figures = {"median_ms": middle(took), "most_ms": took[len(took) * 98 // 100], "worst_ms": took[-1], "of": len(took),
                        "tiny_median_ms": middle(tiny), "tiny_worst_ms": tiny[-1]}

def median(values): return sorted(values)[len(values) // 2]
figures = {}
path = f"{folder}/file.toml"
text = open(path).read()

def applied():
    """How long the last reload took without the reading, as the log says."""
    line = [line for line in open(f"{folder}/file.log") if "reloaded" in line][-1]
    line = re.sub("\x1b\\[[0-9;]*m", "", line)
    return float(re.search(r"applied_ms=([0-9.]+)", line).group(1)), float(re.search(r"read_ms=([0-9.]+)", line).group(1))

def reload(new):
    with open(path, "w") as file: file.write(new)
    took, answer = call("file", "POST", "/v1/reload")
    return took, json.loads(answer), *applied()

def states():
    return {(route["destination"], route["connection"]): route["weight"] for route in json.loads(call("file", "GET", "/v1/routes")[1])}

nth = count // 2
block = re.search(rf'\n\[\[connection\]\]\nname = "site-{nth}"\n.*?(?=\n\n\[\[connection\]\]|\Z)', text, re.S).group(0)
assert f'connection = "site-{nth}"' in block, block
variants = {
    "one weight": text.replace(block, block + "\nweight = 0"),
    "one connection changed": text.replace(block, block.replace('psk = "', 'psk = "another ')),
    "one connection removed": text.replace(block, ""),
    "one connection added": text + "\n" + re.sub(r'(peer_subnets = \["|destination = ")10\.\d+', r"\g<1>172.20", block.replace(f"site-{nth}", "site-new")),
}
with Reading("file") as reading:
    for what, new in variants.items():
        there, back, whole = [], [], []
        for _ in range(5):
            took, answer, apply, read = reload(new)
            changed = sum(len(answer[key]) for key in ("added", "changed", "removed"))
            assert changed == (0 if what == "one weight" else 1), (what, answer)
            if what == "one weight": assert 0 in states().values()
            there.append(apply)
            whole.append(took)
            _, _, apply, read = reload(text)
            back.append(apply)
        figures[what] = {"apply_ms": median(there), "back_ms": median(back), "whole_ms": median(whole), "read_ms": read}
figures["routes during reloads"] = reading.figures

ask = lambda: subprocess.run([gatewayctl, "--socket", f"{folder}/file.sock", "status", f"site-{nth}"], check=True, stdout=subprocess.PIPE).stdout
took = []
for _ in range(11):
    began = time.monotonic()
    shown = ask()
    took.append((time.monotonic() - began) * 1000)
assert f"site-{nth} ".encode() in shown and b"site-1 " not in shown, shown
figures["status of one"] = {"median_ms": median(took), "worst_ms": max(took)}

def owner_set(revision, weight_of=None, without=None, key_of=None):
    def net(n): return f"10.{64 + n // 2048}.{n // 8 % 256}.{n % 8 * 32}/28"
    chosen = [n for n in range(count) if n != without]
    return json.dumps({"revision": revision, "connections": [{
        "name": f"vco-{n:06}", "peer": f"198.{18 + n // 65536}.{n // 256 % 256}.{n % 256}", "local_id": "203.0.113.1",
        "peer_id": f"site-{n}.example", "psk": f"the key {n} {'changed' if n == key_of else ''}",
        "ike": {"version": "ikev2", "mode": "main", "encryption": "aes", "integrity": "sha256", "group": "group14", "lifetime": 86400},
        "esp": {"encryption": "aes", "integrity": "sha256", "pfs": "group14", "lifetime": 86400},
        "local_subnets": ["10.1.0.0/24"], "peer_subnets": [net(n)], "start": "wait", "liveness": True, "nat_traversal": True}
        for n in chosen],
        "routes": [{"destination": net(n), "connection": f"vco-{n:06}", "weight": 0 if n == weight_of else 100, "publication": "normal"} for n in chosen]})

# Made before: making them takes a processor, too.
sets = {"put": {}, "weight": {"weight_of": nth}, "back": {}, "key": {"key_of": nth}, "without": {"without": nth}}
sets = [(what, owner_set(revision, **arguments)) for revision, (what, arguments) in enumerate(sets.items(), 1)]
figures["full set of cend"] = {}
def put(what, text):
    took, answer = call("cloud", "PUT", "/v1/owners/cend", text)
    assert json.loads(answer)["refused"] == [], answer[:300]
    figures["full set of cend"][f"{what}_ms"] = took
    time.sleep(0.2)
with Reading("cloud") as reading: put(*sets[0])
figures["routes during the first set"] = reading.figures
with Reading("cloud") as reading:
    for what, text in sets[1:]: put(what, text)
figures["routes during full sets"] = reading.figures
json.dump(figures, sys.stdout)
PY
[ $? -eq 0 ] || { fail "the changes"; tail -n 5 "$lab_directory/file.log" "$lab_directory/cloud.log"; exit 1; }

section "$resident connections"
gateway resident "$resident"
sleep 5
rss=$(rss_kib resident)
jq -c --argjson rss "$((rss * 1024 / 1000000))" '. + {"resident": {"mb": $rss}}' "$lab_directory/figures" > "$lab_directory/all"
[ -z "$json" ] || cp "$lab_directory/all" "$json"

section "Figures"
jq -r 'to_entries[] | "  \(.key): \(.value | to_entries | map("\(.key) \(.value * 100 | round / 100)") | join(", "))"' "$lab_directory/all"
value() { jq -r "$1" "$lab_directory/all"; }
at_most() { awk -v value="$1" -v bar="$2" 'BEGIN { exit !(value <= bar) }' || { echo "$1"; return 1; }; }
# bar CLAIM KEY MOST UNIT
bar() {
    local value
    value=$(value "$2")
    [ -z "$bars" ] || check "$1: $3 $4 at most ($value)" at_most "$value" "$3"
}
ms() { bar "$1" "$2" $(($3 * times)) ms; }
for what in "one weight" "one connection changed" "one connection added" "one connection removed"; do
    ms "$what, without the reading" ".\"$what\".apply_ms" 20
done
ms "one read of the route table during reloads" ".\"routes during reloads\".$read" 10
ms "and during the first set of cend" ".\"routes during the first set\".$read" 10
ms "and during others" ".\"routes during full sets\".$read" 10
ms "the status of one connection" '."status of one".median_ms' 20
# 40 MB without any, and 16 kB for each.
bar "$resident connections" .resident.mb $((40 + resident * 16 / 1000)) MB
printf '\nchanges: %d passed, %d failed\n' "$checks_passed" "$checks_failed"
[ "$checks_failed" -eq 0 ]
