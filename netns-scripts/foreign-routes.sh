#!/usr/bin/env bash
# What the routes of others cost gatewayd: a whole table of them in its namespace, and changes of one at a time.
#
#   netns-scripts/foreign-routes.sh [--routes N] [--changes N] [--json FILE]
#
# A gateway with one connection gets N routes of somebody else (100 000 when not said otherwise) beside its own, as from a
# routing daemon, none of which overlaps what is protected. Then one of them is changed at a time, N times (50), then one
# that does overlap. Ends with the status 1 if a bar is not met: one change costs 5 ms of processor time at most, and all
# of them 4 MiB of memory.
set -u
here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
. "$here/install.sh"
. "$here/programs.sh"
. "$here/lab.sh"
. "$here/gateways.sh"
. "$here/checks.sh"
routes=100000 changes=50 json=
while [ $# -gt 0 ]; do
    case $1 in
        --routes) routes=$2; shift ;;
        --changes) changes=$2; shift ;;
        --json) json=$2; shift ;;
        *) sed -n '2,11p' "${BASH_SOURCE[0]}" | sed 's/^# \{0,1\}//'; exit 2 ;;
    esac
    shift
done
[ "$routes" -ge 1 ] && [ "$routes" -le 1000000 ] && [ "$changes" -ge 1 ] ||
    { echo "foreign-routes.sh: --routes takes 1 to 1000000, --changes 1 or more" >&2; exit 2; }
require_root
install_packages iproute2 nftables jq
build_programs || exit 2
lab_open igf$$
trap lab_close EXIT
trap 'exit 130' INT TERM
secret="a key for this lab only"

# batch VERB FIRST COUNT: lines for `ip -batch`, one /24 each from 32.0.0.0 on
batch() {
    awk -v verb="$1" -v first="$2" -v count="$3" 'BEGIN {
        for (i = first; i < first + count; i++)
            printf "route %s %d.%d.%d.0/24 via 203.0.113.2 proto 186\n", verb, 32 + int(i / 65536), int(i / 256) % 256, i % 256
    }'
}
on_left() { ip -n "$lab-left" "$@"; }
pid() { cat "$lab_directory/pids/left"; }
# nanoseconds on a processor, of all threads
cpu_ns() { cat /proc/"$(pid)"/task/*/schedstat | awk '{ sum += $1 } END { printf "%.0f", sum }'; }
resident_kib() { awk '/^VmRSS/ { print $2 }' "/proc/$(pid)/status"; }
# quiet: it has done nothing of weight for half a second
quiet() { local a; a=$(cpu_ns); sleep 0.5; [ $(($(cpu_ns) - a)) -lt 8000000 ]; }
is_running() { grep -q 'gatewayd runs' "$lab_directory/left.log"; }
milliseconds() { awk -v ns="$1" -v parts="${2:-1}" 'BEGIN { printf "%.3f", ns / parts / 1e6 }'; }
at_most() { awk -v value="$1" -v bar="$2" 'BEGIN { exit !(value <= bar) }' || { echo "$1"; return 1; }; }
before_main() { on_left rule show | grep -q 'lookup 20199'; }

# cost_of_changes COMMAND...: processor time of one change in ms; each alone, as a look takes several that come together
cost_of_changes() {
    local began change
    began=$(cpu_ns)
    for ((change = 0; change < changes; change++)); do
        "$@" "$change"
        sleep 0.06
    done
    milliseconds $(($(cpu_ns) - began)) "$changes"
}
idle() { :; }
unrelated() { if [ $(($1 % 2)) -eq 0 ]; then batch delete 7 1; else batch add 7 1; fi | ip -n "$lab-left" -batch -; }
overlapping() { on_left route "$([ $(($1 % 2)) -eq 0 ] && echo add || echo delete)" 10.2.0.128/25 via 203.0.113.2 proto 186; }

section "$routes routes of somebody else"
make_topology
start_gatewayd left wait aes128gcm16-x25519 "" ""
check_within 30 "gatewayd runs" is_running
check_within 30 "it is quiet" quiet
resident_before=$(resident_kib) began=$(cpu_ns)
check "they are set" ip -n "$lab-left" -batch - <<< "$(batch add 0 "$routes")"
check_within 30 "gatewayd is quiet again" quiet
loading=$(milliseconds $(($(cpu_ns) - began)))
resident_after=$(resident_kib)
grown=$((resident_after - resident_before))
printf '  while they were set: %s ms of processor time; resident %s KiB before, %s KiB after\n' "$loading" "$resident_before" "$resident_after"
check "they take 4 MiB at most ($grown KiB)" at_most "$grown" 4096

section "One of them"
nothing=$(cost_of_changes idle)
one=$(cost_of_changes unrelated)
printf '  a change: %s ms of processor time, with %s ms that the same time costs without one\n' "$one" "$nothing"
check "a change costs 5 ms at most ($one ms)" at_most "$one" 5
check "it is no business of ours" not before_main

section "One that overlaps what is protected"
overlap=$(cost_of_changes overlapping)
on_left route add 10.2.0.128/25 via 203.0.113.2 proto 186 2> /dev/null
printf '  a change: %s ms of processor time\n' "$overlap"
check "a change costs 5 ms at most ($overlap ms)" at_most "$overlap" 5
check_within 2 "it takes nothing out of the tunnel" before_main
resident_end=$(resident_kib)
printf '  resident at the end: %s KiB\n' "$resident_end"

if [ -n "$json" ]; then
    jq -n --argjson routes "$routes" --argjson loading_cpu_ms "$loading" --argjson idle_ms "$nothing" --argjson change_ms "$one" \
        --argjson overlapping_change_ms "$overlap" --argjson rss_before_kib "$resident_before" \
        --argjson rss_after_kib "$resident_after" --argjson rss_end_kib "$resident_end" '$ARGS.named' > "$json"
fi
printf '\nforeign-routes: %d passed, %d failed\n' "$checks_passed" "$checks_failed"
[ "$checks_failed" -eq 0 ]
