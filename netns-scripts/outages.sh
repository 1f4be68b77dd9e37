#!/usr/bin/env bash
# Outages between two gateways in namespaces, and what each costs: the path is away for a while, the peer has forgotten us
# meanwhile, a gatewayd is killed and started at once, strongSwan is, an address goes and comes back, a standby connection
# takes over and gives back. Prints the seconds of traffic that were lost beside what may be.
#
#   netns-scripts/outages.sh              every case (some seven minutes)
#   netns-scripts/outages.sh --short      those that take less than a minute together
#   netns-scripts/outages.sh PATTERN      those whose name matches
set -u
here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
. "$here/install.sh"
. "$here/programs.sh"
. "$here/lab.sh"
. "$here/gateways.sh"
. "$here/strongswan.sh"
. "$here/checks.sh"
short='^(link_5|forgot_5|kill_wait|standby_5)$'
case ${1:-} in --short) pattern=$short ;; *) pattern=${1:-.} ;; esac
require_root
install_packages $strongswan_packages iproute2 iputils-ping procps nftables jq
build_programs || exit 2
secret='outage secret' esp=aes128gcm16
trap '[ -n "${lab:-}" ] && lab_close' EXIT
trap 'exit 130' INT TERM

seconds() { date +%s.%N; }

# later TIME SECONDS, between TIME TIME
later() { awk -v at="$1" -v more="$2" 'BEGIN { printf "%.3f\n", at + more }'; }
between() { awk -v from="$1" -v to="$2" 'BEGIN { printf "%.2f\n", to - from }'; }

# flow [ADDRESS]: a packet each 50 ms, which the other side answers; the log holds the time of each answer
flow() { start flow left-host ping -n -D -i 0.05 "${1:-10.2.0.10}"; }

# answers: the times of the answers so far
answers() { sed -n 's/^\[\([0-9.]*\)\] [0-9]* bytes from .*/\1/p' "$lab_directory/flow.log"; }

# answered_after TIME: the seconds until the first answer after that time; fails while there is none
answered_after() { answers | awk -v from="$1" '$1 > from { printf "%.2f\n", $1 - from; found = 1; exit } END { exit !found }'; }

# longest_gap TIME: the longest time without an answer since then, in seconds
longest_gap() {
    answers | awk -v from="$1" '$1 > from { if (last && $1 - last > most) most = $1 - last } { last = $1 } END { printf "%.2f\n", most }'
}

# row CASE BAR SECONDS: a line of the table
row() {
    local verdict=pass
    awk -v most="$2" -v lost="${3:-99}" 'BEGIN { exit !(lost <= most) }' || verdict=fail
    $verdict "$(printf '%-66s %6s s, at most %s s' "$1" "${3:-never}" "$2")"
}

# back_after CASE BAR TIME: waits for an answer after that time
back_after() {
    wait_for 60 answered_after "$3"
    row "$1" "$2" "$(answered_after "$3")"
}

# cut, mend: nothing passes the link, which neither side's kernel sees
cut() {
    on right nft -f - << NFT
table inet outage {
    chain in { type filter hook prerouting priority -400; iifname "${1:-wan}" drop; }
    chain out { type filter hook postrouting priority 400; oifname "${1:-wan}" drop; }
}
NFT
}
mend() { on right nft delete table inet outage; }

# two_gatewayds LEFT-START RIGHT-START [CONNECTION-SETTINGS]: a tunnel with traffic for a while
two_gatewayds() {
    lab_open "$own_lab"
    make_topology
    start_gatewayd right "$2" $esp "" "${3:-}"
    start_gatewayd left "$1" $esp "" "${3:-}"
    wait_for_tunnel 20 || { fail "no tunnel"; return 1; }
    flow
    sleep 2
}

# ended: no SA is left besides those of the connections, and the lab goes
ended() {
    check_within 40 "one IKE SA and one pair are left at each end" settled
    lab_close
}
settled() {
    local side
    for side in left right; do
        gatewayctl_on "$side" --json status | jq -e --argjson most "${connections:-1}" '
            [.connections[] | .associations[].ike_sas[]] | length == $most' || return 1
    done
}

link_away() {
    local up
    two_gatewayds now wait || return
    ip -n "$lab-left" link set wan down
    sleep "$1"
    ip -n "$lab-left" link set wan up
    up=$(seconds)
    back_after "link down for $1 s" 3 "$up"
    ended
}
case_link_5() { link_away 5; }
case_link_45() { link_away 45; }
case_link_150() { link_away 150; }

path_away() {
    local up
    two_gatewayds now wait || return
    cut
    sleep "$1"
    mend
    up=$(seconds)
    back_after "path away for $1 s" 3 "$up"
    ended
}
case_path_45() { path_away 45; }

forgot() { # SECONDS CONNECTION-SETTINGS
    local up
    two_gatewayds now wait "${2:-}" || return
    cut
    stop right KILL
    run_gatewayd right
    sleep "$1"
    mend
    up=$(seconds)
    back_after "path away for $1 s, and the peer forgot us${2:+ ($2)}" 3 "$up"
    ended
}
case_forgot_5() { forgot 5; }
case_forgot_45() { forgot 45; }
case_forgot_45_without_tokens() { forgot 45 'quick_crash_detection = false'; }

killed() { # START OF THE KILLED SIDE, OF THE OTHER ONE
    local at
    two_gatewayds "$2" "$1" || return
    at=$(seconds)
    stop right KILL
    run_gatewayd right
    wait_for 20 answered_after "$(later "$at" 0.3)"
    sleep 1
    row "gatewayd with start = \"$1\" killed and started" 2 "$(longest_gap "$(later "$at" -1)")"
    ended
}
case_kill_now() { killed now wait; }
case_kill_wait() { killed wait now; }

case_address() {
    local up
    two_gatewayds now wait || return
    ip -n "$lab-left" address delete 203.0.113.1/24 dev wan
    sleep 8
    ip -n "$lab-left" address add 203.0.113.1/24 dev wan
    up=$(seconds)
    back_after "our address away for 8 s" 3 "$up"
    ended
}

case_strongswan() {
    local at ready
    lab_open "$own_lab"
    make_topology
    swanctl_configuration outage local_addrs=203.0.113.2 remote_addrs=203.0.113.1 local_ts=10.2.0.0/24 remote_ts=10.1.0.0/24 \
        proposals=aes128gcm16-prfsha256-x25519 "esp_proposals=$esp" "secret=$secret" > "$lab_directory/swanctl.conf"
    strongswan_start strongswan right "$lab_directory/swanctl.conf" || { fail "strongSwan does not start"; return; }
    start_gatewayd left now $esp "" ""
    wait_for 20 on left-host ping -c 1 -W 1 10.2.0.1 || { fail "no tunnel"; return; }
    flow 10.2.0.1
    sleep 2
    at=$(seconds)
    stop strongswan KILL 2> /dev/null
    rm -f "$lab_directory/strongswan/vici"
    strongswan_start strongswan right "$lab_directory/swanctl.conf"
    ready=$(seconds)
    wait_for 30 answered_after "$ready"
    sleep 1
    row "strongSwan killed and started, $(between "$at" "$ready") s later ready: from then on" 3 "$(answered_after "$ready")"
    lab_close
}

# standby SECONDS: the first connection's path is away for so long while a second one is up.
standby() {
    local side address peer subnet peer_subnet up at
    lab_open "$own_lab"
    make_topology
    cable left wan2 198.51.100.1/24 right wan2 198.51.100.2/24
    for side in right left; do
        side_addresses $side
        {
            echo "local_addresses = [\"$address\", \"${address/203.0.113/198.51.100}\"]"
            for name in first second; do
                [ $name = first ] && weight=100 || weight=0
                cat << CONF

[[connection]]
name = "$name"
local_address = "$address"
peer = "$peer"
psk = "$secret"
start = "$([ $side = left ] && echo now || echo wait)"
ike = ["aes128gcm16-prfsha256-x25519"]
esp = ["$esp"]
local_subnets = ["$subnet"]
peer_subnets = ["$peer_subnet"]

[[route]]
destination = "$peer_subnet"
connection = "$name"
weight = $weight
CONF
                address=${address/203.0.113/198.51.100} peer=${peer/203.0.113/198.51.100}
            done
        } > "$lab_directory/$side.toml"
        chmod 600 "$lab_directory/$side.toml"
        run_gatewayd $side
    done
    wait_for 20 routes_are active standby || { fail "no tunnels"; return; }
    wait_for_tunnel 20
    flow
    sleep 2
    cut
    at=$(seconds)
    wait_for 20 answered_after "$(later "$at" 0.3)"
    row "path away, a standby connection takes over" 5 "$(longest_gap "$(later "$at" -1)")"
    check_within 5 "status says that the path is silent" says_silent
    sleep "$1"
    at=$(seconds)
    mend
    wait_for 30 routes_are active standby
    row "path back after $1 s, the standby gives back" 3 "$(between "$at" "$(seconds)")"
    sleep 1
    row "packets lost meanwhile" 0.2 "$(longest_gap "$at")"
    connections=2 ended
}
says_silent() { gatewayctl_on left status first | grep 'has not answered for'; }
routes_are() {
    gatewayctl_on left --json status | jq -e --arg first "$1" --arg second "$2" '
        [.routes[] | {(.connection): .state}] | add | .first == $first and .second == $second'
}
case_standby_5() { standby 5; }
case_standby_60() { standby 60; }

number=0
for name in $(declare -F | awk '$3 ~ /^case_/ { print substr($3, 6) }'); do
    [[ "$name" =~ $pattern ]] || continue
    number=$((number + 1)) own_lab=igo$$n$number
    section "$name"
    failed=$checks_failed
    case_"$name"
    if [ "$checks_failed" -gt "$failed" ] && [ -d "${lab_directory:-/nowhere}" ]; then
        for log in "$lab_directory"/{left,right}.log; do tail -n 15 "$log" 2> /dev/null | sed "s/^/          $(basename "$log"): /"; done
    fi
    [ -n "${lab:-}" ] && lab_close
done
[ "$number" -gt 0 ] || { echo "nothing matches $pattern" >&2; exit 2; }
printf '\noutages: %d passed, %d failed\n' "$checks_passed" "$checks_failed"
[ "$checks_failed" -eq 0 ]
