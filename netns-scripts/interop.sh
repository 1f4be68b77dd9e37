#!/usr/bin/env bash
# gatewayd against strongSwan (userspace ESP), in namespaces: every suite and every key exchange group, in both roles.
# In each: the tunnel comes up, 100 packets a second flow both ways while either side rekeys the Child SA and the IKE SA,
# and nothing is lost; then restarts, identities, IPv6 inside, and what must be refused.
#
#   netns-scripts/interop.sh [PATTERN]      only the configurations whose line, and the cases whose name, matches
#
# Several run at a time, each in a lab of its own; IPSEC_GATEWAY_JOBS says how many (4).
set -u
here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
. "$here/install.sh"
. "$here/programs.sh"
. "$here/lab.sh"
. "$here/strongswan.sh"
. "$here/checks.sh"
. "$here/interop-cases.sh"
pattern=${1:-.}
require_root
install_packages $strongswan_packages iproute2 iputils-ping procps nftables jq
build_programs || exit 2
secret='interop secret, with spaces & signs'

ours=203.0.113.1 theirs=203.0.113.2
# Two gateways on one link; each has an inner address per family of its own.
make_link() {
    host ours forward
    host theirs forward
    cable ours wan $ours/24 theirs wan $theirs/24
    ip -n "$lab-ours" address add 10.1.0.1/24 dev lo
    ip -n "$lab-theirs" address add 10.2.0.1/24 dev lo
    ip -n "$lab-ours" address add fd00:1::1/64 dev lo
    ip -n "$lab-theirs" address add fd00:2::1/64 dev lo
}

# start_gatewayd [LINES...]: the settings of the connection come from ike, esp, start and the lines given.
start_gatewayd() {
    {
        cat <<CONF
local_addresses = ["$ours"]

[[connection]]
name = "interop"
peer = "$theirs"
psk = "${our_secret:-$secret}"
start = "$start"
ike = ["$ike"]
esp = ["$esp"]
CONF
        printf '%s\n' "$@"
        [[ $* == *local_subnets* ]] || printf '%s\n' 'local_subnets = ["10.1.0.0/24"]' 'peer_subnets = ["10.2.0.0/24"]'
        for destination in ${destinations:-10.2.0.0/24}; do
            printf '\n[[route]]\ndestination = "%s"\nconnection = "interop"\n' "$destination"
        done
    } > "$lab_directory/gatewayd.toml"
    chmod 600 "$lab_directory/gatewayd.toml"
    launch_gatewayd
}

launch_gatewayd() {
    start gatewayd ours "$programs/gatewayd" --config "$lab_directory/gatewayd.toml" \
        --socket "$lab_directory/gatewayd.sock" --state "$lab_directory/state"
    wait_for 5 gatewayctl status
}

gatewayctl() { "$programs/gatewayctl" --socket "$lab_directory/gatewayd.sock" "$@"; }

# start_strongswan [LINE...]: extra lines stand in the connection; ids and selectors can be given by variables.
start_strongswan() {
    swanctl_configuration interop "local_addrs=$theirs" "remote_addrs=$ours" "local_id=${their_id:-}" "remote_id=${our_id:-}" \
        "local_ts=${their_selectors:-10.2.0.0/24}" "remote_ts=${our_selectors:-10.1.0.0/24}" \
        "proposals=$ike" "esp_proposals=$their_esp" "secret=$secret" "more=$(printf '%s\n    ' "$@")" > "$lab_directory/swanctl.conf"
    strongswan_start strongswan theirs "$lab_directory/swanctl.conf"
}

established() { gatewayctl --json status | jq -e '.connections[0].state == "established"'; }
our_spi() { gatewayctl --json status | jq -r '.connections[0].child_sas | map(select(.sending))[0].inbound_spi'; }
our_ike_spi() { gatewayctl --json status | jq -r '.connections[0].ike_sa | .initiator_spi + .responder_spi'; }
spi_differs_from() { local now; now=$(our_spi); [ "$now" != null ] && [ "$now" != "$1" ]; }
ike_spi_differs_from() { local now; now=$(our_ike_spi); [ -n "$now" ] && [ "$now" != "$1" ]; }

state_is() { gatewayctl --json status | jq -e --arg state "$1" '.connections[0].state == $state'; }
one_pair_at_strongswan() { [ "$(swanctl_on strongswan --list-sas | grep -c ', INSTALLED,')" = 1 ]; }

# flow HOST FROM TO: packets that the other side answers; the log holds a line for each answer. The interval is nominal:
# what was reached is counted in the end.
flow() { start "ping-$1" "$1" ping -i 0.006 -I "$2" "$3"; }

# nothing_lost HOST: every packet of the flow was answered, up to the last answer; only what was under way when the flow
# was stopped is not counted.
nothing_lost() { lost_at_most 0 "$1"; }

# lost_at_most COUNT HOST: likewise, but for so many packets.
lost_at_most() {
    awk -v most="$1" -v flow="$2" '
        /icmp_seq=[0-9]+ ttl=/ { match($0, /icmp_seq=[0-9]+/); n = substr($0, RSTART + 9, RLENGTH - 9) + 0
                                 if (!(n in seen)) { seen[n]; answered++ } if (n > last) last = n }
        / packets transmitted/ { sent = $1; rate = $NF + 0 ? int(sent * 1000 / $NF) : 0 }
        END { printf "from %s: %d packets, %d/s, %d lost\n", flow, sent, rate, last - answered
              exit !(last >= 50 && last - answered <= most && sent - last <= 50) }' "$lab_directory/ping-$2.log"
}

# each_way RATE: the flows' packets and the answers to the other one's together reach that rate
each_way() {
    awk -v least="$1" '/ packets transmitted/ && $NF + 0 { rate += $1 * 1000 / $NF } END { exit rate < least }' \
        "$lab_directory/ping-ours.log" "$lab_directory/ping-theirs.log" || { echo "less than $1 packets/s"; return 1; }
}

# rekeys: both kinds from either side
rekeys() {
    local child ike_sa
    child=$(our_spi) ike_sa=$(our_ike_spi)
    gatewayctl rekey interop > /dev/null || return 1
    wait_for 10 spi_differs_from "$child" || { echo "our Child rekey did not happen"; return 1; }
    wait_for 10 ike_spi_differs_from "$ike_sa" || { echo "our IKE rekey did not happen"; return 1; }
    wait_for 5 one_pair_at_strongswan || { echo "strongSwan keeps a Child SA that was replaced"; return 1; }
    child=$(our_spi)
    swanctl_on strongswan --rekey --child net > /dev/null || return 1
    wait_for 10 spi_differs_from "$child" || { echo "their Child rekey did not happen"; return 1; }
    wait_for 5 one_pair_at_strongswan || { echo "gatewayd keeps a Child SA that was replaced"; return 1; }
    ike_sa=$(our_ike_spi)
    swanctl_on strongswan --rekey --ike interop > /dev/null || return 1
    wait_for 10 ike_spi_differs_from "$ike_sa" || { echo "their IKE rekey did not happen"; return 1; }
}

# rekeys_under_traffic: the same while packets flow both ways
rekeys_under_traffic() {
    local host status=0
    flow ours 10.1.0.1 10.2.0.1
    flow theirs 10.2.0.1 10.1.0.1
    sleep 0.5
    rekeys || status=1
    sleep 0.7
    for host in ours theirs; do stop "ping-$host" INT; done
    for host in ours theirs; do nothing_lost $host || status=1; done
    each_way 100 || status=1
    return $status
}

# one LINE ROLE: a configuration of the matrix
one() {
    local role=$2
    read -r ike esp their_esp <<< "$1"
    section "$ike, $esp, gatewayd as $role"
    lab_open "$own_lab"
    make_link
    [ "$role" = initiator ] && start=now || start=wait
    check "strongSwan starts" start_strongswan
    check "gatewayd starts" start_gatewayd
    [ "$role" = initiator ] || check "strongSwan initiates" swanctl_on strongswan --initiate --child net
    check_within 10 "established" established
    check "100 packets/s both ways during a Child and an IKE rekey from either side: nothing lost" \
        tell rekeys_under_traffic
    sed 's/^/        /' "$lab_directory/told"
}

# tell COMMAND...: keeps what the command prints, to be shown although it succeeds
tell() { "$@" > "$lab_directory/told" 2>&1; }

# on a failure, the ends of both logs
failures_reported=0
report_failure() {
    [ "$checks_failed" -gt $failures_reported ] || return 0
    failures_reported=$checks_failed
    tail -n 15 "$lab_directory/gatewayd.log" | sed 's/^/          gatewayd: /'
    tail -n 15 "$lab_directory/strongswan/charon.log" 2> /dev/null | sed 's/^/          charon:   /'
}

# run NUMBER COMMAND...: one configuration or case in a lab of its own, in the background; the counts go to a file
run() {
    local number=$1
    shift
    (
        own_lab=igi$$n$number
        trap '[ -n "${lab:-}" ] && lab_close' EXIT
        trap 'exit 130' INT TERM
        "$@"
        report_failure
        echo "$checks_passed $checks_failed" > "$results/$number.counts"
    ) > "$results/$number.output" 2>&1 &
    running+=($!)
}

results=$(mktemp -d)
running=()
finish() {
    [ ${#running[@]} -eq 0 ] || kill "${running[@]}" 2> /dev/null
    wait
    rm -rf "$results"
}
trap finish EXIT
trap 'exit 130' INT TERM

jobs_at_once=${IPSEC_GATEWAY_JOBS:-4}
wanted=()
while read -r line; do
    for role in initiator responder; do
        [ -n "$line" ] && [[ "$line $role" =~ $pattern ]] && wanted+=("one|$line|$role")
    done
done <<< "$matrix"
for name in $(declare -F | awk '$3 ~ /^case_/ { print $3 }'); do
    [[ "$name" =~ $pattern ]] && wanted+=("$name")
done
[ ${#wanted[@]} -gt 0 ] || { echo "nothing matches $pattern" >&2; exit 2; }

for number in "${!wanted[@]}"; do
    while [ "$(jobs -rp | wc -l)" -ge "$jobs_at_once" ]; do wait -n; done
    IFS='|' read -r -a command <<< "${wanted[number]}"
    run "$number" "${command[@]}"
done
for number in "${!wanted[@]}"; do
    wait "${running[number]}"
    cat "$results/$number.output"
    if read -r passed failed < "$results/$number.counts"; then
        checks_passed=$((checks_passed + passed)) checks_failed=$((checks_failed + failed))
    else
        fail "${wanted[number]} ended before its end"
    fi
done
running=()
printf '\ninterop: %d passed, %d failed\n' "$checks_passed" "$checks_failed"
[ "$checks_failed" -eq 0 ]
