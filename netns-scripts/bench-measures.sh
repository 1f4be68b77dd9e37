# What bench.sh measures of a contender that is up: each function takes its metrics and records them. Sourced by bench.sh.

# record METRIC VALUE: one line of $results; `null` is a measurement that failed.
record() {
    printf '%s %s %s %s\n' "$round" "$contender" "$1" "${2:-null}" >> "$results"
    printf '    %-22s %s\n' "$1" "${2:-null}" >&2
}

measure_contender() {
    measure_idle_round_trip
    measure_tcp
    measure_loaded_round_trip
    measure_udp
    measure_memory
}

# One stream and eight, towards the right host and back. The first run also gives the processor time a gigabyte: all that
# the whole machine did, iperf3 included, so that work moved into the kernel counts as well.
measure_tcp() {
    local output busy
    local rate='.end.sum_received.bits_per_second / 1e9 * 1000 | round / 1000'
    busy=$(busy_seconds)
    count_datagrams
    output=$(iperf "$seconds")
    record tcp1_gbit_s "$(jq -r "$rate" <<< "$output")"
    record cpu_s_per_gbyte "$(jq -r --argjson busy "$(awk -v a="$busy" -v b="$(busy_seconds)" 'BEGIN { print b - a }')" \
        '$busy / (.end.sum_received.bytes / 1e9) * 1000 | round / 1000' <<< "$output")"
    check_offloads || exit 1
    record tcp1_reverse_gbit_s "$(iperf "$seconds" -R | jq -r "$rate")"
    record tcp8_gbit_s "$(iperf "$seconds" -P 8 | jq -r "$rate")"
    record tcp8_reverse_gbit_s "$(iperf "$seconds" -P 8 -R | jq -r "$rate")"
}

# Bytes and datagrams so far between the gateways: what the left one sent and the right one received.
datagram_counters() {
    on left cat /sys/class/net/wan/statistics/tx_bytes
    on left awk '/^Udp: [0-9]/ { print $5 }' /proc/self/net/snmp
    on right cat /sys/class/net/wan/statistics/rx_bytes
    on right awk '/^Udp: [0-9]/ { print $2 }' /proc/self/net/snmp
}
count_datagrams() { mapfile -t counted < <(datagram_counters); }

# check_offloads: since count_datagrams, how many bytes a datagram the gateways' UDP sockets sent and received: more than
# the link's 1500 only with UDP segmentation (GSO) and coalescing (GRO). wireguard-go must use both, and segmentation
# offload on its TUN: without them the comparison would be worth nothing.
check_offloads() {
    local now sent received tun
    mapfile -t now < <(datagram_counters)
    sent=$(((now[0] - counted[0]) / (now[1] - counted[1] + 1))) received=$(((now[2] - counted[2]) / (now[3] - counted[3] + 1)))
    case $contender in
        plain | ours-raw) return 0 ;;
        wireguard-go*)
            for side in left right; do
                tun=$(on $side ethtool -k "$(wireguard_device $side)" | awk '/^tcp-segmentation-offload:/ { print $2 }')
                [ "$tun" = on ] || { echo "$contender: the TUN of $side has no TCP segmentation offload" >&2; return 1; }
            done
            [ "$sent" -gt 3000 ] && [ "$received" -gt 3000 ] ||
                { echo "$contender: $sent bytes a datagram sent, $received received: UDP GSO or GRO is off" >&2; return 1; } ;;
    esac
    echo "    (bytes a UDP datagram of the sockets: $sent sent, $received received)" >&2
}

# Round trips from the hosts' ICMP. Idle: paced, so that every packet finds the gateways asleep; the median.
measure_idle_round_trip() {
    ping_times "$pings" 0.002 > "$lab_directory/idle"
    record rtt_idle_us "$(percentile 50 "$pings" "$lab_directory/idle")"
}

# The 99th percentile while one TCP stream fills the tunnel.
measure_loaded_round_trip() {
    local count=$((seconds * 200)) load
    iperf $((seconds + 3)) > "$lab_directory/load.json" &
    load=$!
    sleep 1
    ping_times "$count" 0.005 > "$lab_directory/loaded"
    wait "$load" || { record rtt_loaded_p99_us null; return; }
    record rtt_loaded_p99_us "$(percentile 99 "$count" "$lab_directory/loaded")"
}

ping_times() { # COUNT INTERVAL: microseconds, one a line
    on left-host ping -n -c "$1" -i "$2" -W 1 10.2.0.10 | sed -n 's/.*time=\([0-9.]*\) ms$/\1/p' | awk '{ print $1 * 1000 }'
}

# percentile PERCENT SENT FILE: of the round trips in the file; one without an answer counts as the second that it was
# waited for.
percentile() {
    sort -n "$3" | awk -v percent="$1" -v sent="$2" '
        { value[NR] = $1 }
        END { rank = int((sent * percent + 99) / 100); print NR == 0 ? "null" : rank <= NR ? value[rank] : 1000000 }'
}

# The highest rate of datagrams received with less than 1 % lost, for three payload sizes. The probes' datagrams are single
# ones, as an ordinary application's; the largest, 1428 bytes as a packet, needs fragments in strongSwan's tunnel only.
measure_udp() {
    local size
    for size in 64 512 1400; do
        record "udp${size}_kpps" "$(on left-host timeout 120 "$programs/examples/udp_load" search 10.2.0.10:7000 \
            --size $size --seconds "$probe_seconds" --probes "$probes" | jq -r '.received_kpps * 100 | round / 100')"
    done
}

# Peak resident memory after all of the above, of the side that needed more. Plain routing has no process.
measure_memory() {
    local side
    for side in left right; do
        if [ -e "$lab_directory/pids/$side" ]; then
            awk '/^VmHWM:/ { print $2 * 1024 / 1e6 }' "/proc/$(cat "$lab_directory/pids/$side")/status"
        else
            echo 0
        fi
    done | sort -n | tail -n 1 > "$lab_directory/memory"
    record rss_mb "$(cat "$lab_directory/memory")"
}
