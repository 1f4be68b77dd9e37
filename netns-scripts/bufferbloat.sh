#!/usr/bin/env bash
# What a ping meets beside a TCP stream that fills the tunnel, host – gateway – gateway – host; with --against beside
# another build of the programs, the two by turns.
#
#   netns-scripts/bufferbloat.sh [--runs N] [--seconds N] [--long N] [--against FOLDER] [--raw]
#
#   --runs N         runs of each build (7)
#   --seconds N      seconds of each TCP run, during which 120 pings a second are sent (5)
#   --long N         seconds of the 1 000-packets-a-second flow beside a stream (60)
#   --against FOLDER gatewayd, gatewayctl and examples/udp_load of an older build; the bars that are ratios need it
#   --raw            IP protocol 50 instead of UDP encapsulation
#
# It prints every run, the medians and their ratios, and checks the bars. Only ratios of one run of the script count, and
# only if nothing else runs on the machine.
set -u
here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
. "$here/install.sh"
. "$here/programs.sh"
. "$here/lab.sh"
. "$here/gateways.sh"
. "$here/checks.sh"
. "$here/bench-measures.sh"
usage() { sed -n '/^#   netns/,/^[^#]/ s/^# \{0,1\}//p' "${BASH_SOURCE[0]}" >&2; exit 2; }

runs=7 seconds=5 long=60 against='' encapsulation='force_encapsulation = true'
while [ $# -gt 0 ]; do
    case $1 in
        --raw) encapsulation=; shift; continue ;;
        --against) against=$(cd "${2:-}" 2> /dev/null && pwd) || usage ;;
        --runs | --seconds | --long) [[ ${2:-} =~ ^[1-9][0-9]*$ ]] || usage; printf -v "${1#--}" %s "$2" ;;
        *) usage ;;
    esac
    shift 2
done
require_root
install_packages iproute2 iputils-ping procps nftables iperf3 jq
build_programs udp_load || exit 2
secret='a-tunnel-that-is-full'
results=$(mktemp)
trap 'close_lab; rm -f "$results"' EXIT
trap 'exit 130' INT TERM

new=$programs
builds=new
[ -z "$against" ] || builds='new old'

# open_lab BUILD: two gateways of that build and their hosts.
open_lab() {
    if [ "$1" = old ]; then programs=$against; else programs=$new; fi
    lab_open "igq$$"
    make_topology
    start_gatewayd right wait aes128gcm16 '' "$encapsulation"
    start_gatewayd left now aes128gcm16 '' "$encapsulation"
    start iperf right-host iperf3 -s
    start udp-load right-host "$programs/examples/udp_load" receive 10.2.0.10:7000
    wait_for_tunnel 15 || { echo "$1: no connection" >&2; tail -n 5 "$lab_directory"/*.log >&2; return 1; }
}
close_lab() { [ -z "${lab:-}" ] || lab_close; lab=; }

# note METRIC VALUE: one line of $results.
note() {
    printf '%s %s %s\n' "$build" "$1" "${2:-null}" >> "$results"
    printf ' %s %s' "$1" "${2:-null}"
}

# one_run: round trips idle and beside one stream, the stream's throughput, and the highest rate of 64-byte packets.
one_run() {
    local count=$((seconds * 120)) load
    ping_times 300 0.002 > "$lab_directory/idle"
    note idle_us "$(percentile 50 300 "$lab_directory/idle")"
    iperf "$seconds" > "$lab_directory/load" &
    load=$!
    sleep 1
    ping_times "$count" 0.005 > "$lab_directory/loaded"
    wait "$load" || return 1
    note loaded_p50_us "$(percentile 50 "$count" "$lab_directory/loaded")"
    note loaded_p99_us "$(percentile 99 "$count" "$lab_directory/loaded")"
    note pings_lost $((count - $(wc -l < "$lab_directory/loaded")))
    note tcp_gbit_s "$(jq '.end.sum_received.bits_per_second / 1e7 | round / 100' "$lab_directory/load")"
    note udp64_kpps "$(on left-host timeout 60 "$programs/examples/udp_load" search 10.2.0.10:7000 --size 64 \
        --seconds 0.5 --probes 8 | jq '.received_kpps * 100 | round / 100')"
}

# eight_streams: the slowest of eight as a share of the fastest, in percent, over 10 s.
eight_streams() {
    note tcp8_least_percent "$(iperf 10 -P 8 | jq '[.end.streams[].receiver.bits_per_second] | min / max * 100 | round')"
}

# steady_flow: what a flow of 1 000 packets a second loses beside a stream, of how many.
steady_flow() {
    iperf $((long + 2)) > "$lab_directory/load" &
    local load=$!
    sleep 1
    on left-host timeout $((long + 30)) "$programs/examples/udp_load" send 10.2.0.10:7000 --size 64 --seconds "$long" --rate 1000 > "$lab_directory/flow"
    wait "$load"
    note steady_lost "$(jq .lost "$lab_directory/flow")"
    note steady_sent "$(jq .sent "$lab_directory/flow")"
}

for ((run = 1; run <= runs; run++)); do
    for build in $builds; do
        printf '%2d %s:' "$run" "$build"
        open_lab "$build" && one_run
        [ "$run" -gt 1 ] || { eight_streams; steady_flow; }
        close_lab
        echo
    done
    # By turns, so that a machine that grows slower meets both.
    [ -z "$against" ] || builds=$(awk '{ print $2, $1 }' <<< "$builds")
done

# median BUILD METRIC; most BUILD METRIC: of all runs.
values() { awk -v build="$1" -v metric="$2" '$1 == build && $2 == metric && $3 != "null" { print $3 }' "$results" | sort -n; }
median() { values "$1" "$2" | awk '{ value[NR] = $1 } END { print NR ? value[int((NR + 1) / 2)] : "null" }'; }
most() { values "$1" "$2" | tail -n 1; }
ratio() { awk -v new="$(median new "$1")" -v old="$(median old "$1")" 'BEGIN { if (old > 0) printf "%.3f", new / old; else print "null" }'; }

section "Medians of $runs runs"
printf '%-20s %10s %10s %8s\n' '' new old new/old
for metric in idle_us loaded_p50_us loaded_p99_us tcp_gbit_s udp64_kpps tcp8_least_percent; do
    printf '%-20s %10s %10s %8s\n' "$metric" "$(median new $metric)" "$(median old $metric)" "$(ratio $metric)"
done

holds() { awk "BEGIN { exit !($1) }" || { echo "$1"; return 1; }; }
loaded=$(median new loaded_p99_us)
section Bars
check "every run was measured" equal "$(values new udp64_kpps | wc -l)" "$runs" "$runs"
check "no ping was lost in any run" equal lost "$(most new pings_lost)" 0
check "eight streams within 20 % of each other" holds "$(median new tcp8_least_percent) >= 80"
check "1 000 packets a second beside a stream for $long s, none lost" equal lost "$(most new steady_lost)" 0
if [ -z "$against" ]; then
    check "loaded 99th percentile at most 2 ms" holds "$loaded <= 2000"
else
    check "loaded 99th percentile at most 2 ms, or a third of the older build's" holds "$loaded <= 2000 || $(ratio loaded_p99_us) <= 0.33"
    check "TCP throughput at least 0.97 of it" holds "$(ratio tcp_gbit_s) >= 0.97"
    check "64-byte packets a second at least 0.97 of it" holds "$(ratio udp64_kpps) >= 0.97"
    check "idle round trip at most 1.03 of it" holds "$(ratio idle_us) <= 1.03"
fi
printf '\nbufferbloat: %d passed, %d failed\n' "$checks_passed" "$checks_failed"
[ "$checks_failed" -eq 0 ]
