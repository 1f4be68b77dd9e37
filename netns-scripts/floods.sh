#!/usr/bin/env bash
# A gatewayd under floods of what strangers can send to its IKE ports, at 1 000 packets a second from one address and as fast
# as it goes from many: who gets a tunnel meanwhile, what established traffic loses, and what it costs. Prints a table and
# checks its bars.
#
#   netns-scripts/floods.sh [--seconds N] [--short] [PATTERN]
#
#   --seconds N   how long each flood lasts (8)
#   --short       some floods of 5 seconds, at 1 000 packets a second
#   PATTERN       only the floods whose name matches, as "init 500 one" (kind, port, sources)
#
#   steady 192.0.2.2 ══ 192.0.2.1 ┐
#   picky  192.0.2.6 ── 192.0.2.5 ├ target ┤ 198.51.100.1 ── 198.51.100.2 flooder, and all addresses that nobody has
#   any    192.0.2.10 ─ 192.0.2.9 ┘
#
# `steady` has a tunnel and sends through it all the time; `picky` is a configured peer that guesses the wrong key exchange
# method and needs INVALID_KE_PAYLOAD; `any` is a peer of a connection that takes anybody's address.
set -u
here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
. "$here/install.sh"
. "$here/programs.sh"
. "$here/lab.sh"
. "$here/checks.sh"
seconds=8 short= pattern=.
while [ $# -gt 0 ]; do
    case $1 in
        --seconds) [[ ${2:-} =~ ^[1-9][0-9]*$ ]] || { echo "floods.sh: --seconds takes a number" >&2; exit 2; }; seconds=$2; shift ;;
        --short) short=1 seconds=5 ;;
        -*) sed -n '2,12p' "${BASH_SOURCE[0]}" | sed 's/^# \{0,1\}//'; exit 2 ;;
        *) pattern=$1 ;;
    esac
    shift
done
require_root
install_packages iproute2 procps nftables jq python3
build_programs flood handshakes udp_load || exit 2
secret='a secret of the floods'

# kind, ports, and what the generator is told besides. Kinds that need answers have many real addresses instead of forged ones.
floods='junk 500,4500
init 500,4500
large 500
unknown-ike 500,4500
unknown-esp 4500,0
half-open 500
auth 500 --group 16 --public-len 512
fragments 500
identity 500 --local-id-bytes 15000
large-identity 500 --local-id-bytes 30000'
stateful='half-open large auth fragments'
identities='identity large-identity'
is_one_of() { [[ " $2 " == *" $1 "* ]]; } # WORD WORDS

make_topology() {
    local name number=0
    host target
    host flooder
    for name in steady picky any; do
        host "$name"
        cable "$name" wan "192.0.2.$((4 * number + 2))/30" target "$name" "192.0.2.$((4 * number + 1))/30"
        number=$((number + 1))
    done
    cable flooder wan 198.51.100.2/24 target flooder 198.51.100.1/24
    for number in {64..191}; do ip -n "$lab-flooder" address add "198.51.100.$number/24" dev wan; done
    ip -n "$lab-target" route add default via 198.51.100.2
    ip -n "$lab-target" address add 10.1.0.1/32 dev lo
    ip -n "$lab-steady" address add 10.2.0.1/32 dev lo
}

# connection NAME PEER IKE OWN-SUBNET PEER-SUBNET [LINE...]: a section of gatewayd.toml
connection() {
    printf '[[connection]]\nname = "%s"\npeer = "%s"\npsk = "%s"\nike = ["%s"]\nesp = ["aes128gcm16"]\nforce_encapsulation = true\n' \
        "$1" "$2" "$secret" "$3"
    printf 'local_subnets = ["%s"]\npeer_subnets = ["%s"]\n' "$4" "$5"
    printf '%s\n' "${@:6}"
}

run_gatewayd() { # HOST
    chmod 600 "$lab_directory/$1.toml"
    start "$1" "$1" "$programs/gatewayd" --config "$lab_directory/$1.toml" --socket "$lab_directory/$1.sock" --state "$lab_directory/$1-state"
    wait_for 10 gatewayctl_on "$1" connections
}

gatewayctl_on() { "$programs/gatewayctl" --socket "$lab_directory/$1.sock" "${@:2}"; }

start_gateways() {
    local x25519=aes128gcm16-prfsha256-x25519 modp2048=aes128gcm16-prfsha256-modp2048
    {
        echo 'local_addresses = ["192.0.2.1", "192.0.2.5", "192.0.2.9", "198.51.100.1"]'
        echo 'inner_addresses = ["10.1.0.1/32"]'
        connection steady 192.0.2.2 $x25519 10.1.0.0/24 10.2.0.0/24 'start = "wait"' 'local_address = "192.0.2.1"'
        connection picky 192.0.2.6 $modp2048 10.1.1.0/24 10.3.0.0/24 'start = "wait"' 'local_address = "192.0.2.5"'
        connection any any $x25519-modp4096 10.1.2.0/24 10.4.0.0/24 'start = "wait"' 'local_id = "target.example"' 'peer_id = "any.example"'
        printf '[[route]]\ndestination = "10.2.0.0/24"\nconnection = "steady"\n'
    } > "$lab_directory/target.toml"
    {
        printf 'local_addresses = ["192.0.2.2"]\ninner_addresses = ["10.2.0.1/32"]\n'
        connection tunnel 192.0.2.1 $x25519 10.2.0.0/24 10.1.0.0/24 'start = "now"'
        printf '[[route]]\ndestination = "10.1.0.0/24"\nconnection = "tunnel"\n'
    } > "$lab_directory/steady.toml"
    {
        echo 'local_addresses = ["192.0.2.6"]'
        connection tunnel 192.0.2.5 "$x25519-modp2048" 10.3.0.0/24 10.1.1.0/24 'start = "wait"'
    } > "$lab_directory/picky.toml"
    {
        echo 'local_addresses = ["192.0.2.10"]'
        connection tunnel 192.0.2.9 $x25519 10.4.0.0/24 10.1.2.0/24 'start = "wait"' 'local_id = "any.example"' 'peer_id = "target.example"'
    } > "$lab_directory/any.toml"
    local name
    for name in target steady picky any; do run_gatewayd $name || return 1; done
}

state_is() { [ "$(gatewayctl_on "$1" --json connections | jq -r '.[0].state')" = "$2" ]; }
resident_kib() { awk '/^VmRSS/ { print $2 }' "/proc/$(cat "$lab_directory/pids/target")/status"; }
lines() { wc -l < "$lab_directory/target.log"; }
since() { tail -n +$(($1 + 1)) "$lab_directory/target.log"; } # LINE: of the target's log what came after

# most_lines_in_a_second LINE: of those since, without what is told of the peers' own tunnels
most_lines_in_a_second() {
    since "$1" | grep -vE '^\S+ +INFO .*connection=(steady|picky|any)\b' | cut -c 1-19 | sort | uniq -c |
        awk '{ if ($1 > most) most = $1 } END { print most + 0 }'
}

# failures_since LINE: negotiations that failed, told one by one or as a number
failures_since() {
    since "$1" | awk '/ negotiation failed/ { failed++ } match($0, /… [0-9]+ more negotiations failed/) { split(substr($0, RSTART), words, " "); failed += words[2] } END { print failed + 0 }'
}

dropped() { gatewayctl_on target --json status | jq --arg reason "$1" '.drops[$reason] // 0'; } # REASON: so far

# flood SECONDS KIND PORT SOURCES ARGUMENTS...: runs the generator; it prints its counts
flood() {
    local time=$1 kind=$2 port=$3 sources=$4 how
    if is_one_of "$kind" "$identities"; then
        how=198.51.100.2
        [ "$sources" = one ] || how=$(seq -s , -f '198.51.100.%g' 64 191)
        on flooder "$programs/examples/handshakes" --peer 198.51.100.1 --sources "$how" --seconds "$time" --at-once 128 \
            --psk wrong --give-up-after 1 "${@:5}" 2> /dev/null |
            jq -c '{sent: .datagrams, rate: (.datagrams / .seconds | round), accepted: .auth_requests}'
        return
    fi
    case $sources in
        one) how="--source 198.51.100.2 --rate 1000" ;;
        many) is_one_of "$kind" "$stateful" && how="--source 198.51.100.64 --sources 128" || how="--source 198.51.100.2 --sources 0" ;;
    esac
    on flooder timeout $((time + 10)) "$programs/examples/flood" "$kind" 198.51.100.1 --port "$port" --seconds "$time" $how "${@:5}"
}

# traffic SECONDS: what the tunnel of steady loses of 1 000 packets a second each way
traffic() {
    local load=("$programs/examples/udp_load" send --size 200 --seconds "$1" --rate 1000)
    {
        on steady timeout $(($1 + 20)) "${load[@]}" 10.1.0.1:7000 2> /dev/null &
        on target timeout $(($1 + 20)) "${load[@]}" 10.2.0.1:7000 2> /dev/null
        wait $!
    } | jq -s 'if length == 2 then map(.lost) | add else error("a direction has no counts") end' 2> /dev/null
}

# seconds_to_up HOST: from the operator's wish to the tunnel, in the log; "-" without
seconds_to_up() {
    python3 - "$lab_directory/$1.log" <<'PY'
import datetime, re, sys
asked = up = None
for line in open(sys.argv[1], errors="replace"):
    stamp = re.match(r"\S+", line).group().replace("Z", "+00:00")
    if "an operator asks" in line:
        asked, up = (stamp, None) if "up" in line.rsplit("action=")[-1] else (None, None)
    elif "connection up" in line and asked and not up:
        up = stamp
at = datetime.datetime.fromisoformat
print(f"{(at(up) - at(asked)).total_seconds():.2f}" if asked and up else "-")
PY
}

at_least() { [ "$1" -ge "$2" ] || { echo "$1"; return 1; }; } # VALUE BAR
at_most() { [[ $1 =~ ^[0-9.]+$ ]] && awk -v value="$1" -v bar="$2" 'BEGIN { exit !(value <= bar) }' || { echo "$1"; return 1; }; }

# one_flood KIND PORT SOURCES ARGUMENTS...: a row of the table, and its checks. What established traffic loses anyway is measured
# beside the same flood to a closed port, and without any where the flood is none without answers.
one_flood() {
    local kind=$1 port=$2 sources=$3 what="$1 $2 $3" closed=9 baseline lost before after from fragments load traffic counts accepted name
    [ "$port" = 0 ] && what="$1 raw $3"
    if is_one_of "$kind" "$identities"; then
        baseline=$(traffic $((seconds - 1)))
    else
        flood "$seconds" "$kind" $closed "$sources" "${@:4}" > /dev/null &
        load=$!
        sleep 0.5
        baseline=$(traffic $((seconds - 1)))
        wait $load
    fi
    before=$(resident_kib) from=$(lines) fragments=$(dropped ike-fragment)
    flood "$seconds" "$kind" "$port" "$sources" "${@:4}" > "$lab_directory/counts" &
    load=$!
    sleep 0.5
    traffic $((seconds - 1)) > "$lab_directory/lost" &
    traffic=$!
    sleep 0.8
    for name in picky any; do gatewayctl_on $name up tunnel --no-wait > /dev/null; done
    wait $load
    counts=$(cat "$lab_directory/counts")
    local picky any most longest failures
    picky=$(seconds_to_up picky) any=$(seconds_to_up any)
    wait $traffic
    lost=$(cat "$lab_directory/lost")
    for name in picky any; do gatewayctl_on $name down tunnel --no-wait > /dev/null; done
    sleep 10
    after=$(resident_kib)
    most=$(most_lines_in_a_second "$from") failures=$(failures_since "$from") fragments=$(($(dropped ike-fragment) - fragments))
    longest=$(since "$from" | awk '{ if (length > most) most = length } END { print most + 0 }')
    accepted=$(jq -r '.accepted // 0' <<< "$counts")
    printf '%-26s %8s/s  picky %5s s  any %5s s  accepted %6s  failed %5s  lost %5s (closed port %5s)  RSS %+6d KiB  log %3d lines in a second, longest %5d\n' \
        "$what" "$(jq -r '.rate // 0' <<< "$counts")" "$picky" "$any" "$accepted" "$failures" "${lost:-?}" "${baseline:-?}" \
        $((after - before)) "$most" "$longest"
    check "$what: a configured peer that needs INVALID_KE_PAYLOAD is up within 1 s" at_most "$picky" 1
    check "$what: a peer of an any connection is up within 3 s" at_most "$any" 3
    # A source's own oldest one yields after 2 s: so many can have been there, 64 at a time.
    [ "$kind $sources" != "half-open one" ] ||
        check "$what: one source holds 64 half-open IKE SAs at a time at most" at_most "$accepted" $((64 * (1 + seconds / 2)))
    # One in a thousand, of both directions together.
    check "$what: established traffic loses no more than beside a closed port" at_most "${lost:--}" $((${baseline:-0} + 2 * seconds))
    check "$what: 10 s later at most 32 MiB more are resident" at_most $((after > before ? after - before : 0)) 32768
    check "$what: 10 lines of log in any second at most" at_most "$most" 10
    check "$what: no line is longer than 256 bytes of others' text and ours" at_most "$longest" 640
    case $kind in
        identity) check "$what: identities arrive and are refused, ten a second" at_least "$failures" $((10 * seconds)) ;;
        large-identity) check "$what: fragments beyond 16 KiB arrive and are dropped, ten a second" at_least "$fragments" $((10 * seconds)) ;;
    esac
}

trap '[ -n "${lab:-}" ] && lab_close' EXIT
trap 'exit 130' INT TERM
lab_open "iga$$"
make_topology
check "four gatewayds run" start_gateways
start receive-target target "$programs/examples/udp_load" receive 10.1.0.1:7000
start receive-steady steady "$programs/examples/udp_load" receive 10.2.0.1:7000
check_within 15 "the steady peer's tunnel is up" state_is steady established
for name in picky any; do
    gatewayctl_on $name up tunnel --no-wait > /dev/null
    check_within 5 "without a flood, the peer $name gets its tunnel" state_is $name established
    gatewayctl_on $name down tunnel --no-wait > /dev/null
done
section "Floods of $seconds s"
while read -r kind ports arguments; do
    for port in ${ports//,/ }; do
        for sources in one many; do
            [[ "$kind $port $sources" =~ $pattern ]] || continue
            [ -z "$short" ] || [[ "$kind $port $sources" =~ ^(junk|init|auth|identity)\ 500\ one ]] || continue
            one_flood "$kind" "$port" "$sources" $arguments
        done
    done
done <<< "$floods"
printf '\nfloods: %d passed, %d failed\n' "$checks_passed" "$checks_failed"
[ "$checks_failed" -eq 0 ]
