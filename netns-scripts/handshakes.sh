#!/usr/bin/env bash
# Handshakes per second of the responder's processor time: gatewayd beside strongSwan's charon, with a pre-shared key, by
# X25519 and by MODP-2048, with and without cookies. The initiator is examples/handshakes.rs, whose head says what one
# handshake is.
#
#   netns-scripts/handshakes.sh [--rounds N] [--seconds N] [--json FILE]
#
# Both log warnings only. charon has a large IKE SA table and no limits on half-open IKE SAs but the cookies' own; its ESP
# is in userspace as ours is (kernel-libipsec), without a route for each SA. Without cookies, 2 negotiations from each of
# 16 addresses are under way at a time; with cookies, 32 from one address.
set -u
here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
. "$here/install.sh"
. "$here/programs.sh"
. "$here/lab.sh"
. "$here/strongswan.sh"
rounds=3 seconds=3 json=
while [ $# -gt 0 ]; do
    case $1 in
        --rounds) rounds=$2; shift ;;
        --seconds) seconds=$2; shift ;;
        --json) json=$2; shift ;;
        *) sed -n '2,10p' "${BASH_SOURCE[0]}" | sed 's/^# \{0,1\}//'; exit 2 ;;
    esac
    shift
done
require_root
install_packages $strongswan_packages iproute2 procps nftables jq python3
build_programs || exit 2
initiator=$programs/examples/handshakes
[ -n "${IPSEC_GATEWAY_PROGRAMS:-}" ] || (cd "$here/.." && cargo build --release --quiet --example handshakes) || exit 2
secret='a benchmark of handshakes'

make_topology() {
    host client
    host server
    cable client wan 203.0.113.100/24 server wan 203.0.113.2/24
    # kernel-libipsec wants an address of its own in the traffic selectors
    ip -n "$lab-server" address add 10.2.0.1/24 dev lo
    for number in {1..16}; do ip -n "$lab-client" address add "203.0.113.$((100 + number))/24" dev wan; done
}

start_gatewayd() {
    cat > "$lab_directory/server.toml" <<CONF
local_addresses = ["203.0.113.2"]
log = "warn"

[[connection]]
name = "clients"
peer = "any"
local_id = "responder.example"
psk = "$secret"
start = "wait"
ike = ["aes128gcm16-prfsha256-x25519-modp2048"]
esp = ["aes128gcm16"]
force_encapsulation = true
local_subnets = ["10.2.0.0/24"]
peer_subnets = ["10.64.0.0/12"]
CONF
    chmod 600 "$lab_directory/server.toml"
    start server server "$programs/gatewayd" --config "$lab_directory/server.toml" \
        --socket "$lab_directory/server.sock" --state "$lab_directory/server-state"
    wait_for 10 "$programs/gatewayctl" --socket "$lab_directory/server.sock" connections
}

start_strongswan() { # COOKIES
    swanctl_configuration clients local_addrs=203.0.113.2 remote_addrs=%any local_id=responder.example remote_id=%any \
        local_ts=10.2.0.0/24 remote_ts=10.64.0.0/12 esp_proposals=aes128gcm16 secret="$secret" \
        proposals="aes128gcm16-prfsha256-x25519, aes128gcm16-prfsha256-modp2048" more='encap = yes
    unique = never' > "$lab_directory/server.conf"
    local protection='dos_protection = no'
    [ "$1" = on ] && protection='cookie_threshold = 1
  block_threshold = 0'
    # a short secret exponent for MODP groups, as ours is
    charon_log=0 charon_options="$protection
  dh_exponent_ansi_x9_42 = no
  install_routes = no
  ikesa_table_size = 4096
  ikesa_table_segments = 16" strongswan_start server server "$lab_directory/server.conf"
}

results=$(mktemp)
trap '[ -n "${lab:-}" ] && lab_close; rm -f "$results"' EXIT
trap 'exit 130' INT TERM
echo "strongSwan: $(dpkg-query -W -f '${Version}' charon-systemd); kernel $(uname -r); $rounds rounds of $seconds s"
one=203.0.113.101
sixteen=$(seq -s , -f '203.0.113.%g' 101 116)
for ((round = 1; round <= rounds; round++)); do
    for cookies in off on; do
        for responder in strongswan gatewayd; do
            lab_open "igh$$"
            make_topology
            "start_$responder" "$cookies" || exit 1
            for group in x25519 modp2048; do
                sources=$([ "$cookies" = on ] && echo "$one" || echo "$sixteen")
                figures=$(on client "$initiator" --peer 203.0.113.2 --sources "$sources" --seconds "$seconds" \
                    --group "$group" --psk "$secret" --pid "$(cat "$lab_directory/pids/server")")
                echo "round $round: $responder $group cookies $cookies: $figures" >&2
                jq -c --arg responder "$responder" --arg group "$group" --arg cookies "$cookies" \
                    '{responder: $responder, group: $group, cookies: $cookies} + .' <<< "$figures" >> "$results"
            done
            lab_close
        done
    done
done
python3 - "$results" "$json" <<'PY'
import collections, json, statistics, sys
runs = collections.defaultdict(list)
for line in open(sys.argv[1]):
    run = json.loads(line)
    runs[run["group"], run["cookies"], run["responder"]].append(run)
print("\nhandshakes per second of the responder's processor time, median (min–max)")
print(f"{'':24}{'strongswan':>22}{'gatewayd':>22}{'ratio':>8}    {'per second of the clock':>24}  INITs per handshake")
for group in ("x25519", "modp2048"):
    for cookies in ("off", "on"):
        cells, medians, rates, requests = "", [], [], []
        for responder in ("strongswan", "gatewayd"):
            those = runs[group, cookies, responder]
            values = [run["per_responder_cpu_second"] for run in those]
            medians.append(statistics.median(values))
            rates.append(statistics.median(run["per_second"] for run in those))
            requests.append(statistics.median(run["init_requests_per_handshake"] for run in those))
            cells += f"{medians[-1]:.0f} ({min(values):.0f}–{max(values):.0f})".rjust(22)
        print(f"{group + ', cookies ' + cookies:24}{cells}{medians[1] / medians[0]:8.2f}    {rates[0]:11.0f} {rates[1]:12.0f}  {requests[0]:.2f} {requests[1]:.2f}")
if sys.argv[2]:
    with open(sys.argv[2], "w") as file:
        json.dump({" ".join(key): those for key, those in runs.items()}, file, indent=1)
PY
