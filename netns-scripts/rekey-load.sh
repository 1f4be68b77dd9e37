#!/usr/bin/env bash
# Rekeys under load, two gatewayds against each other: sequence-numbered UDP at half of what the tunnel carries while one
# side or the other replaces the IKE SA and the Child SA every 2 seconds: nothing may be lost, doubled or reordered. Then
# TCP, in turns with and without such rekeys: they may cost 3 %.
#
#   netns-scripts/rekey-load.sh [--seconds N] [--size BYTES] [--raw] [--share PERCENT]
#
#   --seconds N      seconds of UDP, and of TCP with rekeys and without (60)
#   --size BYTES     UDP payload (64)
#   --raw            IP protocol 50 instead of UDP encapsulation
#   --share PERCENT  TCP with rekeys must reach this much of TCP without (97); short runs are noisy
set -u
here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
. "$here/install.sh"
. "$here/programs.sh"
. "$here/lab.sh"
. "$here/gateways.sh"
. "$here/checks.sh"
usage() { sed -n '/^#   netns/,/^[^#]/ s/^# \{0,1\}//p' "${BASH_SOURCE[0]}" >&2; exit 2; }

seconds=60 size=64 share=97 encapsulation='force_encapsulation = true'
while [ $# -gt 0 ]; do
    case $1 in
        --raw) encapsulation=; shift; continue ;;
        --seconds | --size | --share) [[ ${2:-} =~ ^[1-9][0-9]*$ ]] || usage; printf -v "${1#--}" %s "$2" ;;
        *) usage ;;
    esac
    shift 2
done
require_root
install_packages iproute2 iputils-ping procps nftables iperf3 jq
build_programs udp_load || exit 2
secret='rekeys-between-two-gateways'
trap '[ -n "${lab:-}" ] && lab_close' EXIT
trap 'exit 130' INT TERM

udp_load() { on left-host timeout $((seconds + 120)) "$programs/examples/udp_load" "$@"; }

# the inbound SPI of the Child SA that sends
spi() { gatewayctl_on left --json status | jq -r '.connections[0].child_sas | map(select(.sending))[0].inbound_spi'; }

# every_2_seconds COMMAND: a command of gatewayctl, for the left and the right by turns, until it is killed; prints the SPI half
# a second after each.
every_2_seconds() {
    local side=left due=$((${EPOCHREALTIME/./} + 500000))
    while sleep_until $due; do
        gatewayctl_on $side $1 > /dev/null || echo "refused by $side"
        sleep_until $((due + 500000))
        spi
        [ $side = left ] && side=right || side=left
        due=$((due + 2000000))
    done
}

sleep_until() { # MICROSECONDS since 1970
    local left=$(($1 - ${EPOCHREALTIME/./}))
    [ $left -le 0 ] || sleep "$(printf '%d.%06d' $((left / 1000000)) $((left % 1000000)))"
}

# with_rekeys COMMAND...: the command's output, while every 2 seconds a rekey begins; $lab_directory/rekeys gets the SPIs.
with_rekeys() { beside "rekey tunnel --no-wait" "$lab_directory/rekeys" "$@"; }

# without_rekeys COMMAND...: the same with gatewayctl called as often, but only to look: what the calls themselves take from
# the processors is not a rekey's cost.
without_rekeys() { beside connections /dev/null "$@"; }

beside() { # COMMAND-OF-GATEWAYCTL FILE-OF-SPIS COMMAND...
    local calls status
    every_2_seconds "$1" >> "$2" &
    calls=$!
    "${@:3}"
    status=$?
    kill $calls
    wait $calls 2> /dev/null
    return $status
}

different_spis() { sort -u "$lab_directory/rekeys" | grep -cE '^[0-9a-f]{8}$'; }
field_is_zero() { [ "$(jq ".$1" "$lab_directory/counts")" = 0 ] || { jq -c . "$lab_directory/counts"; where_packets_went; return 1; }; }

# loss_counters: what the gateways dropped, and what the queues before and behind them did not take, so far.
loss_counters() {
    local side
    for side in left right; do
        gatewayctl_on $side --json status | jq -r --arg side $side '.drops | to_entries[] | "\(.value) dropped by gatewayd of \($side): \(.key)"'
        echo "$(on $side cat /sys/class/net/gwd0/statistics/tx_dropped) did not fit into the queue of $side's TUN"
    done
    for side in left right right-host; do
        echo "$(on $side awk '/^Udp: [0-9]/ { print $6 }' /proc/self/net/snmp) did not fit into socket buffers of $side"
    done
}

# where_packets_went: the counters that are not what they were when $lab_directory/losses was written.
where_packets_went() { loss_counters | grep -vxFf "$lab_directory/losses" | sed 's/^/now /'; }

udp_part() {
    local capacity
    section "UDP, $size bytes, $seconds s, a rekey every 2 s"
    capacity=$(udp_load search 10.2.0.10:7000 --size "$size" --seconds 1 | jq .received_kpps)
    printf '        the tunnel carries %.1f thousand packets/s at less than 1 %% loss\n' "$capacity"
    : > "$lab_directory/rekeys"
    loss_counters > "$lab_directory/losses"
    with_rekeys udp_load send 10.2.0.10:7000 --size "$size" --seconds "$seconds" --rate "$(jq -n "$capacity * 500 | floor")" > "$lab_directory/counts"
    printf '        %s\n' "$(jq -r '"\(.sent) sent, \(.received) received, \(.sent_kpps | round) thousand/s"' "$lab_directory/counts")" \
        "$(different_spis) Child SAs"
    check "a rekey every 2 s, three of four in time" [ "$(different_spis)" -ge $((seconds * 3 / 8)) ]
    check "nothing was lost" field_is_zero lost
    check "nothing was doubled" field_is_zero duplicated
    check "nothing was reordered" field_is_zero reordered
}

received_gbit() { jq '.end.sum_received.bits_per_second / 1e9'; }

# Both kinds of run take turns, in short slices, so that what else the machine does meets both.
tcp_part() {
    local slice=$((seconds >= 10 ? 5 : seconds)) number without=0 with=0 one
    section "TCP, 1 stream, $seconds s with rekeys every 2 s and $seconds s without"
    : > "$lab_directory/rekeys"
    for ((number = 0; number < seconds / slice; number++)); do
        one=$(without_rekeys iperf "$slice" | received_gbit) && without=$(jq -n "$without + ${one:-0}")
        one=$(with_rekeys iperf "$slice" | received_gbit) && with=$(jq -n "$with + ${one:-0}")
    done
    printf '        mean of %d runs: %.3f Gbit/s without, %.3f with; %d Child SAs\n' "$number" \
        "$(jq -n "$without / $number")" "$(jq -n "$with / $number")" "$(different_spis)"
    check "rekeys happened in every run" [ "$(different_spis)" -ge $((number * (slice / 2))) ]
    check "at least $share % of the throughput without rekeys" jq -ne "$without > 0 and $with >= $without * $share / 100"
}

lab_open "igr$$"
make_topology
start_gatewayd right wait aes128gcm16 '' "$encapsulation"
start_gatewayd left now aes128gcm16 '' "$encapsulation"
start iperf right-host iperf3 -s
start udp-load right-host "$programs/examples/udp_load" receive 10.2.0.10:7000
check "the tunnel comes up" wait_for_tunnel 15
# The question is what a rekey loses, not how long the machine may keep a gateway from running: 500 packets, a TUN's usual
# queue, are 10 ms of this load.
for side in left right; do ip -n "$lab-$side" link set gwd0 txqueuelen 10000; done
udp_part
tcp_part
printf '\nrekey-load: %d passed, %d failed\n' "$checks_passed" "$checks_failed"
[ "$checks_failed" -eq 0 ]
