# Two gateways and a host behind each, for the labs that put load through a tunnel. Sourced.
#
#   left-host 10.1.0.10 – 10.1.0.1 left 203.0.113.1 – 203.0.113.2 right 10.2.0.1 – 10.2.0.10 right-host

# make_topology: the namespaces and their cables, 1500 bytes each. The hosts' TCP is CUBIC whatever the machine's own
# congestion control is, and by their routes: a socket that begins with BBR and is told to be CUBIC afterwards, as iperf3's
# -C does, goes on pacing what it sends by timers.
make_topology() {
    host left-host
    host left forward
    host right forward
    host right-host
    cable left-host eth0 10.1.0.10/24 left lan 10.1.0.1/24
    cable left wan 203.0.113.1/24 right wan 203.0.113.2/24
    cable right lan 10.2.0.1/24 right-host eth0 10.2.0.10/24
    ip -n "$lab-left-host" route add default via 10.1.0.1 congctl cubic
    ip -n "$lab-right-host" route add default via 10.2.0.1 congctl cubic
}

# side_addresses SIDE: sets address, peer, subnet and peer_subnet of that gateway.
side_addresses() {
    case $1 in
        left) address=203.0.113.1 peer=203.0.113.2 subnet=10.1.0.0/24 peer_subnet=10.2.0.0/24 ;;
        right) address=203.0.113.2 peer=203.0.113.1 subnet=10.2.0.0/24 peer_subnet=10.1.0.0/24 ;;
    esac
}

# start_gatewayd SIDE START ESP SETTINGS CONNECTION-SETTINGS: gatewayd with one connection to the other side. The last
# two are lines of gatewayd.toml's top level and of the connection.
start_gatewayd() {
    local address peer subnet peer_subnet
    side_addresses "$1"
    cat > "$lab_directory/$1.toml" <<CONF
local_addresses = ["$address"]
$4

[[connection]]
name = "tunnel"
peer = "$peer"
psk = "$secret"
start = "$2"
ike = ["aes128gcm16-prfsha256-x25519"]
esp = ["$3"]
local_subnets = ["$subnet"]
peer_subnets = ["$peer_subnet"]
$5

[[route]]
destination = "$peer_subnet"
connection = "tunnel"
CONF
    chmod 600 "$lab_directory/$1.toml"
    run_gatewayd "$1"
}

# run_gatewayd SIDE: gatewayd with the configuration that the lab's folder has for that side.
run_gatewayd() {
    start "$1" "$1" "$programs/gatewayd" --config "$lab_directory/$1.toml" \
        --socket "$lab_directory/$1.sock" --state "$lab_directory/$1-state"
}

# gatewayctl_on SIDE ARGUMENTS...
gatewayctl_on() {
    local side=$1
    shift
    "$programs/gatewayctl" --socket "$lab_directory/$side.sock" "$@"
}

# wait_for_tunnel SECONDS: until the hosts reach each other.
wait_for_tunnel() { wait_for "$1" on left-host ping -c 1 -W 1 10.2.0.10; }

# busy_seconds: how long the machine's processors have been busy since it started; time that a hypervisor took is not.
busy_seconds() { awk -v ticks="$(getconf CLK_TCK)" '/^cpu / { print ($2 + $3 + $4 + $7 + $8) / ticks }' /proc/stat; }

# iperf SECONDS ARGUMENTS...: a TCP run from the left host to the right one, where `iperf3 -s` runs; prints iperf3's JSON.
# Fails unless both ends finished and the sender's congestion control was CUBIC.
iperf() {
    local time=$1 attempt output
    shift
    for attempt in 1 2 3; do
        output=$(on left-host timeout $((time + 15)) iperf3 -J -c 10.2.0.10 -t "$time" "$@" 2> /dev/null)
        jq -e '.end.sender_tcp_congestion == "cubic" and .end.sum_received.bytes > 0' <<< "$output" > /dev/null 2>&1 &&
            { echo "$output"; return; }
        sleep 0.5 # the server may still be busy with the run before
    done
    jq -r '.error // "no result"' <<< "$output" >&2
    return 1
}
