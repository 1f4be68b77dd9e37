#!/usr/bin/env bash
# gatewayd against strongSwan (userspace ESP), in namespaces: every suite and every key exchange group, in both roles.
# In each: the tunnel comes up, 100 packets a second flow both ways while either side rekeys the Child SA and the IKE SA,
# and nothing is lost; then restarts, identities, IPv6 inside, and what must be refused.
#
#   netns-scripts/interop.sh [PATTERN]      only the configurations whose line matches the pattern
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
trap '[ -n "${lab:-}" ] && lab_close' EXIT
trap 'exit 130' INT TERM

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
        [[ $* == *local_subnets* ]] || echo 'local_subnets = ["10.1.0.0/24"]
peer_subnets = ["10.2.0.0/24"]'
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
    cat > "$lab_directory/swanctl.conf" <<CONF
connections {
  interop {
    version = 2
    local_addrs = $theirs
    remote_addrs = $ours
    proposals = $ike
    $(printf '%s\n    ' "$@")
    local {
      auth = psk
      ${their_id:+id = $their_id}
    }
    remote {
      auth = psk
      ${our_id:+id = $our_id}
    }
    children {
      net {
        local_ts = ${their_selectors:-10.2.0.0/24}
        remote_ts = ${our_selectors:-10.1.0.0/24}
        esp_proposals = $their_esp
      }
    }
  }
}
secrets {
  ike-interop {
    secret = "$secret"
  }
}
CONF
    strongswan_start strongswan theirs "$lab_directory/swanctl.conf"
}

established() { gatewayctl --json status | jq -e '.connections[0].state == "established"'; }
our_spi() { gatewayctl --json status | jq -r '.connections[0].child_sas | map(select(.sending))[0].inbound_spi'; }
our_ike_spi() { gatewayctl --json status | jq -r '.connections[0].ike_sa | .initiator_spi + .responder_spi'; }
spi_differs_from() { local now; now=$(our_spi); [ "$now" != null ] && [ "$now" != "$1" ]; }
ike_spi_differs_from() { local now; now=$(our_ike_spi); [ -n "$now" ] && [ "$now" != "$1" ]; }

# nothing_lost FILE: ping's own count, of a hundred packets or more
nothing_lost() {
    local sent received
    sent=$(grep -oE '^[0-9]+ packets' "$1" | cut -d ' ' -f 1) received=$(grep -oE '[0-9]+ received' "$1" | cut -d ' ' -f 1)
    [ "${sent:-0}" -ge 100 ] && [ "$sent" = "$received" ] || { echo "sent ${sent:-?}, received ${received:-?}"; return 1; }
}

# rekeys: both kinds from either side under traffic
rekeys_under_traffic() {
    local child ike_sa
    on ours ping -i 0.01 -q -I 10.1.0.1 10.2.0.1 > "$lab_directory/ping-ours" 2>&1 & local from_ours=$!
    on theirs ping -i 0.01 -q -I 10.2.0.1 10.1.0.1 > "$lab_directory/ping-theirs" 2>&1 & local from_theirs=$!
    sleep 0.5
    child=$(our_spi) ike_sa=$(our_ike_spi)
    gatewayctl rekey interop > /dev/null
    wait_for 5 spi_differs_from "$child" || { echo "our Child rekey did not happen"; return 1; }
    wait_for 5 ike_spi_differs_from "$ike_sa" || { echo "our IKE rekey did not happen"; return 1; }
    sleep 0.3
    child=$(our_spi)
    swanctl_on strongswan --rekey --child net > /dev/null 2>&1
    wait_for 5 spi_differs_from "$child" || { echo "their Child rekey did not happen"; return 1; }
    ike_sa=$(our_ike_spi)
    swanctl_on strongswan --rekey --ike interop > /dev/null 2>&1
    wait_for 5 ike_spi_differs_from "$ike_sa" || { echo "their IKE rekey did not happen"; return 1; }
    sleep 0.5
    for child in $from_ours $from_theirs; do
        kill -INT "$(pgrep -P "$child" ping || echo "$child")" 2> /dev/null
    done
    wait $from_ours $from_theirs
    nothing_lost "$lab_directory/ping-ours" && nothing_lost "$lab_directory/ping-theirs"
}

run_matrix() {
    local line role
    while read -r ike esp their_esp; do
        [ -n "$ike" ] || continue
        for role in initiator responder; do
            [[ "$ike $esp $role" =~ $pattern ]] || continue
            section "$ike, $esp, gatewayd as $role"
            lab_open "igi$$"
            make_link
            [ $role = initiator ] && start=now || start=wait
            check "strongSwan starts" start_strongswan
            check "gatewayd starts" start_gatewayd
            [ $role = initiator ] || check "strongSwan initiates" swanctl_on strongswan --initiate --child net
            check_within 10 "established" established
            check "100 packets/s both ways during a Child and an IKE rekey from either side: nothing lost" rekeys_under_traffic
            report_failure
            lab_close
        done
    done <<< "$matrix"
}

# on a failure, the ends of both logs
failures_reported=0
report_failure() {
    [ "$checks_failed" -gt $failures_reported ] || return 0
    failures_reported=$checks_failed
    tail -n 15 "$lab_directory/gatewayd.log" | sed 's/^/          gatewayd: /'
    tail -n 15 "$lab_directory/strongswan/charon.log" 2> /dev/null | sed 's/^/          charon:   /'
}

run_matrix
run_cases
printf '\ninterop: %d passed, %d failed\n' "$checks_passed" "$checks_failed"
[ "$checks_failed" -eq 0 ]
