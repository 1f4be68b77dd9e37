#!/usr/bin/env bash
# The tunnel's speed beside other userspace tunnels, in the same kind of namespaces and in the same run: host – gateway –
# gateway – host, the contenders interleaved round by round.
#
#   netns-scripts/bench.sh [--rounds N] [--seconds N] [--quick] [--only NAME,...] [--json FILE]
#
#   --rounds N      rounds of all contenders (5)
#   --seconds N     seconds of each TCP run (4)
#   --quick         one round with short runs: at most 6 minutes after the build
#   --only NAME,... only these contenders: plain ours ours-aes256 ours-raw ours-plain-tun ours-to-strongswan wireguard-go
#                   wireguard-go-newest boringtun strongswan
#   --json FILE     {"rounds": N, "results": {CONTENDER: {METRIC: [one value a round]}}}; null is a failed measurement
#
# It prints medians, spreads and the ratio of ours to each. Absolute figures drift from machine to machine: only the
# ratios within one run count, and only if nothing else runs on the machine.
set -u
here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
. "$here/install.sh"
. "$here/programs.sh"
. "$here/lab.sh"
. "$here/gateways.sh"
. "$here/strongswan.sh"
. "$here/bench-contenders.sh"
. "$here/bench-measures.sh"

usage() { sed -n '/^#   netns/,/^[^#]/ s/^# \{0,1\}//p' "${BASH_SOURCE[0]}" >&2; exit 2; }

rounds=5 seconds=4 probe_seconds=0.5 probes=8 pings=1000 wanted=$contenders json=
while [ $# -gt 0 ]; do
    case $1 in
        --quick) rounds=1 seconds=2 probe_seconds=0.3 probes=6 pings=500; shift; continue ;;
        --rounds | --seconds) [[ ${2:-} =~ ^[1-9][0-9]*$ ]] || usage; printf -v "${1#--}" %s "$2" ;;
        --only) wanted=${2:-}; wanted=${wanted//,/ } ;;
        --json) json=${2:-}; [ -n "$json" ] && : > "$json" || usage ;;
        *) usage ;;
    esac
    shift 2
done
[ -n "$wanted" ] || usage
for name in $wanted; do
    case " $contenders " in *" $name "*) ;; *) echo "no contender $name; there are: $contenders" >&2; exit 2 ;; esac
done

require_root
build_programs udp_load || exit 2
results=$(mktemp)
trap 'close_contender; rm -f "$results"' EXIT
trap 'exit 130' INT TERM
prepare_contenders $wanted || exit 2
echo "$rounds rounds, TCP runs of $seconds s"
secret='benchmark-of-two-gateways'

status=0
for ((round = 1; round <= rounds; round++)); do
    for contender in "${selected[@]}"; do
        echo "round $round: $contender" >&2
        if start_contender "$contender"; then measure_contender; else status=1; fi
        close_contender
    done
done
python3 "$here/bench-table.py" "$results" "$rounds" "$json" || status=1
exit $status
