#!/usr/bin/env bash
# iperf3 and small packets through the tunnel, beside strongSwan's userspace ESP (kernel-libipsec), in the same kind of
# namespaces and in the same run: host – gateway – gateway – host, the contenders interleaved round by round.
#
#   netns-scripts/bench.sh [--rounds N] [--seconds N]
#
# Absolute figures drift from machine to machine: only the ratios within one run count.
set -u
here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
. "$here/install.sh"
. "$here/programs.sh"
. "$here/lab.sh"
. "$here/strongswan.sh"
rounds=3 seconds=3
while [ $# -gt 0 ]; do
    case $1 in
        --rounds) rounds=$2; shift ;;
        --seconds) seconds=$2; shift ;;
        *) sed -n '2,7p' "${BASH_SOURCE[0]}" | sed 's/^# \{0,1\}//'; exit 2 ;;
    esac
    shift
done
require_root
install_packages $strongswan_packages iproute2 iputils-ping procps nftables iperf3 jq python3
build_programs || exit 2
secret='benchmark-of-two-gateways'

make_topology() {
    host left-host
    host left forward
    host right forward
    host right-host
    cable left-host eth0 10.1.0.10/24 left lan 10.1.0.1/24
    cable left wan 203.0.113.1/24 right wan 203.0.113.2/24
    cable right lan 10.2.0.1/24 right-host eth0 10.2.0.10/24
    ip -n "$lab-left-host" route add default via 10.1.0.1
    ip -n "$lab-right-host" route add default via 10.2.0.1
}

# the same connection for both contenders: AES-GCM-128, UDP-encapsulated
strongswan_side() { # LOCAL PEER LOCAL-SUBNET PEER-SUBNET
    cat <<CONF
connections {
  bench {
    version = 2
    local_addrs = $1
    remote_addrs = $2
    encap = yes
    proposals = aes128gcm16-prfsha256-x25519
    local {
      auth = psk
    }
    remote {
      auth = psk
    }
    children {
      net {
        local_ts = $3
        remote_ts = $4
        esp_proposals = aes128gcm16
      }
    }
  }
}
secrets {
  ike-bench {
    secret = "$secret"
  }
}
CONF
}

gatewayd_side() { # START LOCAL PEER LOCAL-SUBNET PEER-SUBNET
    cat <<CONF
local_addresses = ["$2"]

[[connection]]
name = "bench"
peer = "$3"
psk = "$secret"
start = "$1"
ike = ["aes128gcm16-prfsha256-x25519"]
esp = ["aes128gcm16"]
force_encapsulation = true
local_subnets = ["$4"]
peer_subnets = ["$5"]

[[route]]
destination = "$5"
connection = "bench"
CONF
}

start_contender() {
    lab_open "igb$$$1"
    make_topology
    case $1 in
        plain)
            ip -n "$lab-left" route add 10.2.0.0/24 via 203.0.113.2
            ip -n "$lab-right" route add 10.1.0.0/24 via 203.0.113.1
            ;;
        strongswan)
            strongswan_side 203.0.113.1 203.0.113.2 10.1.0.0/24 10.2.0.0/24 > "$lab_directory/left.conf"
            strongswan_side 203.0.113.2 203.0.113.1 10.2.0.0/24 10.1.0.0/24 > "$lab_directory/right.conf"
            strongswan_start left left "$lab_directory/left.conf" && strongswan_start right right "$lab_directory/right.conf" &&
                swanctl_on left --initiate --child net > /dev/null
            ;;
        ours)
            gatewayd_side now 203.0.113.1 203.0.113.2 10.1.0.0/24 10.2.0.0/24 > "$lab_directory/left.toml"
            gatewayd_side wait 203.0.113.2 203.0.113.1 10.2.0.0/24 10.1.0.0/24 > "$lab_directory/right.toml"
            chmod 600 "$lab_directory"/*.toml
            for side in right left; do
                start "$side" "$side" "$programs/gatewayd" --config "$lab_directory/$side.toml" \
                    --socket "$lab_directory/$side.sock" --state "$lab_directory/$side-state"
            done
            ;;
    esac
    start iperf right-host iperf3 -s
    wait_for 15 on left-host ping -c 1 -W 1 10.2.0.10 || { echo "$1: no connection" >&2; tail -n 5 "$lab_directory"/*.log >&2; return 1; }
}

# json FILTER IPERF-ARGUMENTS...
measure() {
    local filter=$1
    shift
    wait_for 5 on left-host bash -c '< /dev/tcp/10.2.0.10/5201' || true
    sleep 0.3
    on left-host iperf3 -J -c 10.2.0.10 -t "$seconds" "$@" 2> /dev/null | jq -r "$filter" 2> /dev/null || echo nan
}

round() {
    echo "tcp_gbit_s $1 $(measure '.end.sum_received.bits_per_second / 1e9' -C cubic)" >> "$results"
    echo "tcp_reverse_gbit_s $1 $(measure '.end.sum_received.bits_per_second / 1e9' -C cubic -R)" >> "$results"
    echo "udp64_kpps $1 $(measure '(.end.sum.packets - .end.sum.lost_packets) / .end.sum.seconds / 1e3' -u -b 0 -l 64)" >> "$results"
    echo "rtt_us $1 $(on left-host ping -q -f -c 2000 10.2.0.10 | awk -F / '/^rtt/ { print $5 * 1000 }')" >> "$results"
}

results=$(mktemp)
trap '[ -n "${lab:-}" ] && lab_close; rm -f "$results"' EXIT
trap 'exit 130' INT TERM
echo "strongSwan: $(dpkg-query -W -f '${Version}' charon-systemd); kernel $(uname -r); $rounds rounds of $seconds s"
for ((number = 1; number <= rounds; number++)); do
    for contender in plain strongswan ours; do
        echo "round $number: $contender" >&2
        start_contender $contender && round $contender
        lab_close
    done
done
python3 - "$results" <<'PY'
import statistics, sys
figures = {}
for line in open(sys.argv[1]):
    parts = line.split()
    if len(parts) == 3 and parts[2] not in ("nan", "null"):
        figures.setdefault(parts[0], {}).setdefault(parts[1], []).append(float(parts[2]))
print(f"\n{'median (min–max)':22}{'plain':>24}{'strongswan':>24}{'ours':>24}{'ours/strongswan':>18}")
for metric, by in figures.items():
    row = f"{metric:22}"
    for contender in ("plain", "strongswan", "ours"):
        values = by.get(contender)
        row += f"{statistics.median(values):10.2f} ({min(values):.2f}–{max(values):.2f})".rjust(24) if values else f"{'-':>24}"
    if by.get("ours") and by.get("strongswan"):
        row += f"{statistics.median(by['ours']) / statistics.median(by['strongswan']):18.2f}"
    print(row)
PY
