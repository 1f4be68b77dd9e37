# Network namespaces for one run: made here, removed here. Sourced by the other scripts.
#
# Every namespace is named <lab>-<host>; every process started with `start` is recorded under $lab_directory/pids, so
# that a later `down` ends exactly those, by their ids.

lab_root=/run/ipsec-gateway-lab

# lab_open LAB: starts a lab of that name.
lab_open() {
    lab=$1
    lab_directory=$lab_root/$lab
    mkdir -p "$lab_directory/pids"
    chmod 700 "$lab_root" "$lab_directory"
}

# lab_close: ends the lab's processes and removes its namespaces and files.
lab_close() {
    local entry pid namespace
    for entry in "$lab_directory"/pids/*; do
        [ -e "$entry" ] || continue
        stop "$(basename "$entry")"
    done
    for namespace in $(ip netns list 2> /dev/null | awk -v prefix="$lab-" 'index($1, prefix) == 1 { print $1 }'); do
        for pid in $(ip netns pids "$namespace"); do kill -9 "$pid" 2>/dev/null || true; done
        ip netns delete "$namespace"
    done
    rm -rf "$lab_directory"
}

# host NAME [forward]: makes a namespace; `forward` makes a router of it.
host() {
    local namespace=$lab-$1
    ip netns add "$namespace"
    ip -n "$namespace" link set lo up
    ip netns exec "$namespace" sysctl -qw net.ipv4.conf.all.rp_filter=0 net.ipv4.conf.default.rp_filter=0 \
        net.ipv6.conf.default.accept_dad=0 net.ipv6.conf.all.accept_ra=0 net.ipv6.conf.default.accept_ra=0
    if [ "${2:-}" = forward ]; then
        ip netns exec "$namespace" sysctl -qw net.ipv4.ip_forward=1 net.ipv6.conf.all.forwarding=1
    fi
}

# without_ipv6 NAME: no neighbour discovery or multicast reports of the kernel's own in a capture.
without_ipv6() { ip netns exec "$lab-$1" sysctl -qw net.ipv6.conf.all.disable_ipv6=1 net.ipv6.conf.default.disable_ipv6=1; }

# cable HOST-A DEVICE-A ADDRESS-A HOST-B DEVICE-B ADDRESS-B: a veth pair between two hosts ("-" for no address).
cable() {
    ip link add name "$2" netns "$lab-$1" type veth peer name "$5" netns "$lab-$4"
    [ "$3" = - ] || ip -n "$lab-$1" address add "$3" dev "$2"
    [ "$6" = - ] || ip -n "$lab-$4" address add "$6" dev "$5"
    ip -n "$lab-$1" link set "$2" up
    ip -n "$lab-$4" link set "$5" up
}

# on HOST COMMAND...: runs a command in a host's namespace.
on() {
    local namespace=$lab-$1
    shift
    ip netns exec "$namespace" "$@"
}

# start NAME HOST COMMAND...: starts a program in a host's namespace; its output goes to NAME.log.
start() {
    local name=$1 namespace=$lab-$2
    shift 2
    ip netns exec "$namespace" "$@" > "$lab_directory/$name.log" 2>&1 < /dev/null &
    echo $! > "$lab_directory/pids/$name"
}

# stop NAME [SIGNAL]: ends what `start NAME` started and waits for it; SIGKILL after five seconds.
stop() {
    local entry=$lab_directory/pids/$1 pid
    [ -e "$entry" ] || return 0
    pid=$(cat "$entry")
    rm -f "$entry"
    kill "-${2:-TERM}" "$pid" 2>/dev/null || return 0
    wait_for 5 process_is_gone "$pid" || kill -9 "$pid" 2>/dev/null || true
    wait "$pid" 2>/dev/null || true
}

process_is_gone() {
    local state
    state=$(awk '{ print $3 }' "/proc/$1/stat" 2>/dev/null) || return 0
    [ -z "$state" ] || [ "$state" = Z ]
}

# wait_for SECONDS COMMAND...: until the command succeeds; fails after that many seconds.
wait_for() {
    local deadline=$(($(date +%s%N) + $1 * 1000000000))
    shift
    until "$@" > /dev/null 2>&1; do
        [ "$(date +%s%N)" -lt "$deadline" ] || return 1
        sleep 0.05
    done
}
