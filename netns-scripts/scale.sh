#!/usr/bin/env bash
# Thousands of tunnels between two gatewayds: how fast they come up, what an idle one costs in memory and time, and
# whether a busy tunnel suffers from its idle neighbours.
#
#   netns-scripts/scale.sh [--tunnels N] [--rounds N] [--seconds N] [--json FILE]
#
# Two labs of host – gateway – gateway – host stand side by side, one with a single tunnel and one with N (10 000 when
# not said otherwise), each tunnel a connection with identities, subnets and a route of its own. The first tunnel of
# each is loaded by turns. Ends with the status 1 if a bar is not met. The bars for memory and throughput hold from 5 000
# tunnels on: of fewer, what does not grow with them is too large a part.
set -u
here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
. "$here/install.sh"
. "$here/programs.sh"
. "$here/lab.sh"
. "$here/gateways.sh"
. "$here/checks.sh"
tunnels=10000 rounds=9 seconds=2 json=
while [ $# -gt 0 ]; do
    case $1 in
        --tunnels) tunnels=$2; shift ;;
        --rounds) rounds=$2; shift ;;
        --seconds) seconds=$2; shift ;;
        --json) json=$2; shift ;;
        *) sed -n '2,10p' "${BASH_SOURCE[0]}" | sed 's/^# \{0,1\}//'; exit 2 ;;
    esac
    shift
done
[ "$tunnels" -ge 2 ] || { echo "scale.sh: --tunnels takes 2 or more" >&2; exit 2; }
require_root
install_packages iproute2 iputils-ping procps nftables iperf3 jq python3
build_programs || exit 2
one=igs$$o many=igs$$m

# configuration SIDE START TUNNELS: of one gateway. Tunnel 0 joins the two hosts; each other one has 16 addresses at
# either end.
configuration() {
    python3 - "$@" <<'PY'
import ipaddress, sys
side, start, tunnels = sys.argv[1], sys.argv[2], int(sys.argv[3])
left = side == "left"
print(f'local_addresses = ["203.0.113.{1 if left else 2}"]')
def net(base, number):
    return ipaddress.ip_network((int(ipaddress.ip_address(base)) + 16 * number, 28))
for number in range(tunnels):
    here = "10.1.0.0/24" if number == 0 else net("10.64.0.0", number)
    there = "10.2.0.0/24" if number == 0 else net("10.128.0.0", number)
    if not left:
        here, there = there, here
    name = f"tunnel-{number}"
    print(f'''
[[connection]]
name = "{name}"
peer = "203.0.113.{2 if left else 1}"
local_id = "{name}.{side}.example"
peer_id = "{name}.{'right' if left else 'left'}.example"
psk = "the key of tunnel {number} of thousands"
start = "{start}"
force_encapsulation = true
local_subnets = ["{here}"]
peer_subnets = ["{there}"]

[[route]]
destination = "{there}"
connection = "{name}"''')
PY
}

enter() { lab=$1 lab_directory=$lab_root/$1; }
pid_of() { cat "$lab_root/$1/pids/$2"; }
is_running() { grep -q 'gatewayd runs' "$lab_directory/$1.log"; }
# all_up LAB SIDE COUNT: the log tells of some tunnels and counts the others, so the gateway is asked
all_up() { [ "$(established "$1" "$2")" -ge "$3" ]; }
# child_sas LAB SIDE: the inbound SPIs of all tunnels
child_sas() { "$programs/gatewayctl" --socket "$lab_root/$1/$2.sock" --json connections | jq -c '[.[].child_sas[].inbound_spi] | sort'; }
established() { "$programs/gatewayctl" --socket "$lab_root/$1/$2.sock" --json connections | jq '[.[] | select(.state == "established")] | length'; }
resident_kib() { awk '/^VmRSS/ { print $2 }' "/proc/$1/status"; }
# the larger one of a lab's two gateways
resident() { local l r; l=$(resident_kib "$(pid_of "$1" left)") r=$(resident_kib "$(pid_of "$1" right)"); echo $((l > r ? l : r)); }
cpu_ticks() { awk '{ print $14 + $15 }' "/proc/$1/stat"; }
cpu_seconds() { awk -v t="$(cpu_ticks "$1")" -v hz="$(getconf CLK_TCK)" 'BEGIN { printf "%.2f", t / hz }'; }
throughput() { # LAB: Gbit/s through the first tunnel
    local output
    enter "$1"
    output=$(iperf "$seconds") && jq '.end.sum_received.bits_per_second / 1e9' <<< "$output" || echo nan
}
at_most() { awk -v value="$1" -v bar="$2" 'BEGIN { exit !(value <= bar) }' || { echo "$1"; return 1; }; }
at_least() { awk -v value="$1" -v bar="$2" 'BEGIN { exit !(value >= bar) }' || { echo "$1"; return 1; }; }
median() { sort -n | awk '{ v[NR] = $1 } END { print NR % 2 ? v[(NR + 1) / 2] : (v[NR / 2] + v[NR / 2 + 1]) / 2 }'; }

close_labs() {
    for each in $one $many; do
        enter "$each"
        lab_close
    done
}
trap close_labs EXIT
trap 'exit 130' INT TERM

section "$tunnels tunnels, and one"
for each in $one $many; do
    lab_open "$each"
    make_topology
    count=$([ "$each" = "$one" ] && echo 1 || echo "$tunnels")
    configuration left now "$count" > "$lab_directory/left.toml"
    configuration right wait "$count" > "$lab_directory/right.toml"
    chmod 600 "$lab_directory"/*.toml
    began=$(date +%s%N)
    run_gatewayd right
    check_within 60 "the responder of $count reads its configuration and runs" is_running right
    ready=$((($(date +%s%N) - began) / 1000000))
    run_gatewayd left
    check_within 60 "the initiator of $count runs" is_running left
    runs=$(date +%s%N)
    check_within 180 "all $count come up" all_up "$each" left "$count"
    bring_up=$(awk -v ns="$(($(date +%s%N) - runs))" 'BEGIN { printf "%.2f", ns / 1e9 }')
    start iperf right-host iperf3 -s
    check_within 10 "the hosts reach each other" on left-host ping -c 1 -W 1 10.2.0.10
done
printf '  from start to running: %s ms\n' "$ready"
rate=$(awk -v n="$tunnels" -v s="$bring_up" 'BEGIN { printf "%.0f", (s > 0 ? n / s : 0) }')
initiator_cpu=$(cpu_seconds "$(pid_of "$many" left)") responder_cpu=$(cpu_seconds "$(pid_of "$many" right)")
printf '  %s tunnels came up in %s s: %s in a second; CPU seconds %s (initiator), %s (responder)\n' \
    "$tunnels" "$bring_up" "$rate" "$initiator_cpu" "$responder_cpu"
check "gatewayctl shows all as established at the initiator" equal count "$(established "$many" left)" "$tunnels"
check "gatewayctl shows all as established at the responder" equal count "$(established "$many" right)" "$tunnels"

section "A busy tunnel among idle ones"
for ((round = 1; round <= rounds; round++)); do
    for each in $one $many; do
        throughput "$each" >> "$lab_root/$each/throughput"
    done
done
alone=$(median < "$lab_root/$one/throughput") among=$(median < "$lab_root/$many/throughput")
values() { awk '{ printf " %.2f", $1 }' "$lab_root/$1/throughput"; }
printf '  TCP, one stream, median of %d rounds: %.2f Gbit/s alone, %.2f among %d\n' "$rounds" "$alone" "$among" "$tunnels"
printf '  round by round:%s alone,%s among %d\n' "$(values "$one")" "$(values "$many")" "$tunnels"
kept=$(awk -v a="$alone" -v m="$among" 'BEGIN { printf "%.3f", m / a }')
[ "$tunnels" -lt 5000 ] || check "a busy tunnel keeps 90 % of its throughput ($kept)" at_least "$kept" 0.9

section "An idle tunnel"
rss_one=$(resident "$one") rss_many=$(resident "$many")
each_bytes=$(((rss_many - rss_one) * 1024 / (tunnels - 1)))
printf '  resident after the load, the larger gateway: %s KiB with one tunnel, %s KiB with %s\n' "$rss_one" "$rss_many" "$tunnels"
printf '  a further idle tunnel takes %s bytes\n' "$each_bytes"
if [ "$tunnels" -ge 5000 ]; then
    check "one tunnel takes 20 MB at most ($((rss_one * 1024 / 1000)) kB)" at_most "$((rss_one * 1024))" 20000000
    check "a further idle tunnel takes 16 KiB at most" at_most "$each_bytes" 16384
fi
idle=() before=()
for side in left right; do before[${#before[@]}]=$(cpu_ticks "$(pid_of "$many" $side)"); done
sleep 10
for side in left right; do
    idle+=("$(awk -v a="${before[${#idle[@]}]}" -v b="$(cpu_ticks "$(pid_of "$many" $side)")" -v hz="$(getconf CLK_TCK)" 'BEGIN { printf "%.1f", (b - a) / hz * 10 }')")
done
printf '  %s idle tunnels take %s %% (initiator) and %s %% (responder) of a processor\n' "$tunnels" "${idle[@]}"
seconds_of() { # COMMAND...
    local began
    began=$(date +%s%N)
    "$@" > /dev/null
    awk -v ns="$(($(date +%s%N) - began))" 'BEGIN { printf "%.2f", ns / 1e9 }'
}
ask() { "$programs/gatewayctl" --socket "$lab_root/$many/left.sock" "$@"; }
printf '  gatewayctl status takes %s s\n' "$(seconds_of ask status)"
before=$(child_sas "$many" left)
sed -i '$a # read again' "$lab_root/$many/left.toml"
printf '  gatewayctl reload takes %s s\n' "$(seconds_of ask reload)"
check "a reload leaves every tunnel alone" equal "the SPIs of all tunnels" "$(child_sas "$many" left)" "$before"

if [ -n "$json" ]; then
    jq -n --argjson tunnels "$tunnels" --argjson bring_up_s "$bring_up" --argjson per_second "$rate" \
        --argjson initiator_cpu_s "$initiator_cpu" --argjson responder_cpu_s "$responder_cpu" \
        --argjson rss_one_kib "$rss_one" --argjson rss_all_kib "$rss_many" --argjson bytes_per_idle_tunnel "$each_bytes" \
        --argjson tcp_alone_gbit_s "$alone" --argjson tcp_among_all_gbit_s "$among" \
        --argjson idle_cpu_percent "[${idle[0]}, ${idle[1]}]" '$ARGS.named' > "$json"
fi
printf '\nscale: %d passed, %d failed\n' "$checks_passed" "$checks_failed"
[ "$checks_failed" -eq 0 ]
