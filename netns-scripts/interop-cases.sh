# What interop.sh runs. Sourced.

# IKE proposal, our ESP proposal, strongSwan's ESP proposal (the last two differ in keywords only): together every
# encryption, integrity, PRF and key exchange algorithm that gatewayd has; with and without PFS.
matrix='
aes128gcm16-prfsha256-x25519 aes128gcm16 aes128gcm16
aes256gcm16-prfsha384-ecp384 aes256gcm16-ecp384 aes256gcm16-ecp384
chacha20poly1305-prfsha256-ecp256 chacha20poly1305-x25519 chacha20poly1305-x25519
aes128-sha256-modp2048 aes128-sha256-modp2048 aes128-sha256-modp2048
aes256-sha384-prfsha384-modp3072 aes256-sha384 aes256-sha384
aes256-sha512-prfsha512-modp4096 aes256-sha512 aes256-sha512
aes256gcm16-prfsha512-x25519 aes256-sha256-ecp256 aes256-sha256-ecp256
aes128-sha1-prfsha1-modp1024 aes128-sha1 aes128-sha1
aes128-sha1-modp1536 aes128-sha1-modp1536 aes128-sha1-modp1536
'

# fresh NAME: a new lab for one case, with the default suite
fresh() {
    [ -z "${lab:-}" ] || { report_failure; lab_close; }
    section "$1"
    lab_open "$own_lab"
    make_link
    ike=aes128gcm16-prfsha256-x25519 esp=aes128gcm16 their_esp=aes128gcm16 start=now
    unset their_id our_id their_selectors our_selectors destinations our_secret
}

ping_from_ours() { on ours ping -c 1 -W 1 -I "${1:-10.1.0.1}" "${2:-10.2.0.1}"; }
ping_from_theirs() { on theirs ping -c 1 -W 1 -I 10.2.0.1 10.1.0.1; }
log_has() { grep -qE "$1" "$lab_directory/gatewayd.log"; }
log_lacks() { ! grep -qF "$1" "$lab_directory/gatewayd.log"; }
last_error_has() { gatewayctl --json status | jq -e --arg text "$1" '.connections[0].last_error // "" | contains($text)'; }
selectors_are() {
    gatewayctl --json status | jq -e --arg ours "$1" --arg theirs "$2" \
        '.connections[0].child_sas[0] | .local_selectors == [$ours] and .peer_selectors == [$theirs]'
}

case_strongswan_default_proposals() {
    fresh "strongSwan's default proposals, either side initiating"
    ike=default their_esp=default
    check "strongSwan starts" start_strongswan
    ike=aes256-sha256-modp2048 esp=aes256-sha256 start=wait
    check "gatewayd starts" start_gatewayd
    check "strongSwan initiates" swanctl_on strongswan --initiate --child net
    check_within 5 "packets flow" ping_from_ours
    swanctl_on strongswan --terminate --ike interop > /dev/null 2>&1
    check "gatewayd initiates" gatewayctl up interop
    check_within 10 "packets flow again" ping_from_theirs
}

case_identities() {
    local ours_is theirs_is
    for pair in "gateway.cloud.example idc.example" "ops@cloud.example ops@idc.example" "keyid:a1b2c3 keyid:0d0e0f" "fd00:1::1 fd00:2::1"; do
        ours_is=${pair% *} theirs_is=${pair#* }
        fresh "identities $ours_is and $theirs_is"
        our_id=$(strongswan_identity "$ours_is") their_id=$(strongswan_identity "$theirs_is")
        check "strongSwan starts" start_strongswan
        check "gatewayd starts" start_gatewayd "local_id = \"$ours_is\"" "peer_id = \"$theirs_is\""
        check_within 10 "packets flow" ping_from_ours
    done
}

# a key id is written as @# and hexadecimal digits in strongSwan's configuration
strongswan_identity() { case $1 in keyid:*) echo "\"@#${1#keyid:}\"" ;; *) echo "$1" ;; esac; }

case_several_selectors() {
    fresh "several selectors in one Child SA, IPv6 inside"
    our_selectors=10.1.0.0/24,fd00:1::/64 their_selectors=10.2.0.0/24,fd00:2::/64
    destinations="10.2.0.0/24 fd00:2::/64"
    check "strongSwan starts" start_strongswan
    check "gatewayd starts" start_gatewayd 'local_subnets = ["10.1.0.0/24", "fd00:1::/64"]' 'peer_subnets = ["10.2.0.0/24", "fd00:2::/64"]'
    check_within 10 "IPv4 flows" ping_from_ours
    check_within 5 "IPv6 flows" ping_from_ours fd00:1::1 fd00:2::1
}

case_narrowing() {
    fresh "narrowing: 0.0.0.0/0 against a subnet"
    check "strongSwan starts" start_strongswan
    check "gatewayd starts" start_gatewayd 'local_subnets = ["0.0.0.0/0"]' 'peer_subnets = ["0.0.0.0/0"]'
    check_within 10 "packets flow" ping_from_ours
    check_within 2 "the selectors in force are the narrow ones" selectors_are 10.1.0.0/24 10.2.0.0/24
}

# second_subnets: both gateways have a second inner subnet
second_subnets() {
    ip -n "$lab-ours" address add 10.1.1.1/24 dev lo
    ip -n "$lab-theirs" address add 10.2.1.1/24 dev lo
    destinations="10.2.0.0/24 10.2.1.0/24"
}

# child NAME LOCAL REMOTE: a child of strongSwan's
child() { echo "children { $1 { local_ts = $2"; echo "remote_ts = $3"; echo "esp_proposals = $their_esp } }"; }

sending_pairs_are() {
    gatewayctl --json status | jq -e --argjson count "$1" '[.connections[0].child_sas[] | select(.sending)] | length == $count'
}

every_subnet_reaches_every_other() {
    local from to
    for from in 10.1.0.1 10.1.1.1; do
        for to in 10.2.0.1 10.2.1.1; do ping_from_ours $from $to || return 1; done
    done
}

case_child_for_each_subnet_pair() {
    fresh "a strongSwan with a child for each pair of subnets"
    second_subnets
    check "strongSwan starts" start_strongswan "$(child b 10.2.0.0/24 10.1.1.0/24)" "$(child c 10.2.1.0/24 10.1.0.0/24)" \
        "$(child d 10.2.1.0/24 10.1.1.0/24)"
    check "gatewayd starts" start_gatewayd 'local_subnets = ["10.1.0.0/24", "10.1.1.0/24"]' \
        'peer_subnets = ["10.2.0.0/24", "10.2.1.0/24"]'
    check_within 10 "each pair of subnets has a Child SA" sending_pairs_are 4
    check_within 5 "every subnet reaches every other" every_subnet_reaches_every_other
    check "strongSwan deletes one of them" swanctl_on strongswan --terminate --child net
    check_within 10 "it comes back" sending_pairs_are 4
    check_within 5 "every subnet reaches every other again" every_subnet_reaches_every_other
}

one_ike_sa_at_strongswan() { [ "$(swanctl_on strongswan --list-sas | grep -c ESTABLISHED)" = 1 ]; }
one_ike_sa() { one_ike_sa_at_strongswan && one_pair_at_strongswan && sending_pairs_are 1; }

case_both_initiate() {
    local unique
    for unique in never no keep replace; do
        fresh "both initiate at once, strongSwan with unique = $unique"
        ip -n "$lab-theirs" link set wan down
        check "strongSwan starts, and initiates" start_strongswan "unique = $unique" "children { net { start_action = start } }"
        check "gatewayd starts, and initiates" start_gatewayd
        ip -n "$lab-theirs" link set wan up
        check_within 10 "packets flow" ping_from_ours
        check_within 5 "there is one IKE SA, and one pair of Child SAs" one_ike_sa
        sleep 5
        check "it stays" one_ike_sa
        check "packets flow" ping_from_theirs
    done
}

case_peer_reauthenticates() {
    local make_before_break
    for make_before_break in yes no; do
        fresh "strongSwan reauthenticates, make_before_break = $make_before_break"
        charon_options="make_before_break = $make_before_break" start=wait
        check "strongSwan starts" start_strongswan "reauth_time = 3s" "rand_time = 0s" "over_time = 20s"
        check "gatewayd starts" start_gatewayd
        unset charon_options
        check "strongSwan initiates" swanctl_on strongswan --initiate --child net
        check_within 5 "packets flow" ping_from_theirs
        first=$(our_ike_spi)
        flow theirs 10.2.0.1 10.1.0.1
        sleep 10
        stop ping-theirs INT
        check "there is another IKE SA" ike_spi_differs_from "$first"
        # Who answers IKE_AUTH sends on the new SA at once, perhaps before the other side has installed it.
        [ $make_before_break = no ] || check "at most one packet was lost each time" lost_at_most 3 theirs
        check_within 5 "packets flow" ping_from_theirs
        check_within 5 "there is one IKE SA, and one pair of Child SAs" one_ike_sa
    done
}

# connection_is NAME STATE: of one of several connections
connection_is() {
    gatewayctl --json status "$1" | jq -e --arg state "$2" '.connections[0].state == $state'
}
# in_the_ike_sa_of NAME OTHER: what carries a connection is the IKE SA of the other one
in_the_ike_sa_of() {
    gatewayctl --json status "$1" | jq -e --arg other "$2" '.connections[0].associations | length == 1 and
        (.[0].ike_sas | length == 1 and .[0].of_connection == $other)'
}
spi_of() { gatewayctl --json status "$1" | jq -r '.connections[0].child_sas | map(select(.sending))[0].inbound_spi'; }
spi_of_differs_from() { local now; now=$(spi_of "$1"); [ "$now" != null ] && [ "$now" != "$2" ]; }
from_seven() { ping_from_ours 10.1.7.1 10.2.7.1; }

case_two_connections_in_one_ike_sa() {
    local spi first
    fresh "one connection of strongSwan's with two children, two connections of ours"
    on ours ip address add 10.1.7.1/24 dev lo
    on theirs ip address add 10.2.7.1/24 dev lo
    start=wait
    check "strongSwan starts" start_strongswan "children { second {" "local_ts = 10.2.7.0/24" "remote_ts = 10.1.7.0/24" \
        "esp_proposals = aes256gcm16-ecp384" "} }"
    check "gatewayd starts" start_gatewayd 'local_subnets = ["10.1.0.0/24"]' 'peer_subnets = ["10.2.0.0/24"]' \
        '[[connection]]' 'name = "second"' "peer = \"$theirs\"" "psk = \"$secret\"" "start = \"wait\"" "ike = [\"$ike\"]" \
        'esp = ["aes256gcm16-ecp384"]' 'local_subnets = ["10.1.7.0/24"]' 'peer_subnets = ["10.2.7.0/24"]' \
        '[[route]]' 'destination = "10.2.7.0/24"' 'connection = "second"'
    gatewayctl check "$lab_directory/gatewayd.toml" > "$lab_directory/checked" 2>&1
    check "check explains" grep -q 'connections interop, second have the same addresses' "$lab_directory/checked"
    check "strongSwan initiates the first child" swanctl_on strongswan --initiate --child net
    check "strongSwan initiates the second child" swanctl_on strongswan --initiate --child second
    check_within 5 "packets flow through the first connection" ping_from_ours
    check_within 5 "packets flow through the second connection" from_seven
    check "the first one is up" connection_is interop established
    check "the second one is up" connection_is second established
    check "strongSwan has one IKE SA" one_ike_sa_at_strongswan
    check "it is the first one's" in_the_ike_sa_of second interop
    spi=$(spi_of second) first=$(spi_of interop)
    check "strongSwan rekeys the second child" swanctl_on strongswan --rekey --child second
    check_within 5 "the second connection has a new pair" spi_of_differs_from second "$spi"
    check "the first one has the same as before" [ "$(spi_of interop)" = "$first" ]
    spi=$(spi_of second)
    check "gatewayd rekeys it" gatewayctl rekey second
    check_within 5 "the second connection has a new pair again" spi_of_differs_from second "$spi"
    check "strongSwan rekeys the IKE SA" swanctl_on strongswan --rekey --ike interop
    sleep 2
    check "packets flow through the first connection" ping_from_ours
    check "packets flow through the second connection" from_seven
    check "it is taken down" gatewayctl down second
    check_within 5 "the second one is down" not connection_is second established
    check "the first one is up" connection_is interop established
    check "packets flow through the first connection" ping_from_ours
    check "strongSwan has one IKE SA" one_ike_sa_at_strongswan
    check "strongSwan initiates the second child again" swanctl_on strongswan --initiate --child second
    check_within 5 "packets flow through the second connection" from_seven
    check "strongSwan closes the IKE SA" swanctl_on strongswan --terminate --ike interop
    check_within 5 "the first one is down" not connection_is interop established
    check_within 5 "the second one is down" not connection_is second established
}

case_on_traffic() {
    fresh "negotiation on traffic"
    start=on-traffic
    check "strongSwan starts" start_strongswan
    check "gatewayd starts" start_gatewayd
    check_within 2 "nothing is negotiated before" state_is waiting
    check_within 10 "the first packets bring it up" ping_from_ours
}

case_gatewayd_restarts() {
    fresh "gatewayd killed with -9"
    check "strongSwan starts" start_strongswan
    check "gatewayd starts" start_gatewayd
    check_within 10 "packets flow" ping_from_ours
    stop gatewayd KILL
    check "gatewayd starts again" launch_gatewayd
    check_within 10 "back within 10 s" ping_from_theirs
}

case_strongswan_restarts() {
    fresh "strongSwan killed with -9, and initiating when it starts again"
    check "strongSwan starts" start_strongswan "children { net { start_action = start } }"
    check "gatewayd starts" start_gatewayd
    check_within 10 "packets flow" ping_from_ours
    check "strongSwan starts again" restart_strongswan
    check_within 10 "back within 10 s" ping_from_ours
}

case_strongswan_restarts_and_waits() {
    fresh "strongSwan killed with -9, and waiting for us when it starts again"
    check "strongSwan starts" start_strongswan
    check "gatewayd starts" start_gatewayd
    check_within 10 "packets flow" ping_from_ours
    check "strongSwan starts again" restart_strongswan
    check_within 10 "back within 10 s" ping_from_ours
}

restart_strongswan() {
    stop strongswan KILL
    rm -f "$lab_directory/strongswan/vici"
    strongswan_start strongswan theirs "$lab_directory/swanctl.conf"
}

case_clean_stop() {
    local process
    fresh "a clean stop"
    check "strongSwan starts" start_strongswan
    check "gatewayd starts" start_gatewayd
    check_within 10 "packets flow" ping_from_ours
    process=$(cat "$lab_directory/pids/gatewayd")
    kill -TERM "$process"
    check_within 2 "gatewayd ends within 2 s" process_is_gone "$process"
    check_within 2 "strongSwan has no SA left" empty swanctl_on strongswan --list-sas
    check "no TUN is left" empty ip -n "$lab-ours" link show type tun
    check "nothing is reached in clear" not ping_from_ours
    check "gatewayctl release takes the rest away" on ours "$programs/gatewayctl" release
    check "no route of gatewayd's is left" empty ip -n "$lab-ours" route show table all proto 201
    check "no rule of gatewayd's is left" empty rules_of_gatewayd
    check "no nftables table of gatewayd's is left" empty on ours nft list ruleset
}

rules_of_gatewayd() { ip -n "$lab-ours" -details rule show | awk '/proto 201/'; }

# empty COMMAND...: it succeeds and prints nothing
empty() {
    local output
    output=$("$@" 2>&1) || { echo "$output"; return 1; }
    [ -z "$output" ] || { echo "$output"; return 1; }
}

case_wrong_key() {
    fresh "a wrong pre-shared key"
    our_secret='not the same' start=wait
    check "strongSwan starts" start_strongswan
    check "gatewayd starts" start_gatewayd
    swanctl_on strongswan --initiate --child net > "$lab_directory/initiate" 2>&1
    check "strongSwan is told AUTHENTICATION_FAILED" grep -q AUTH_FAILED "$lab_directory/initiate"
    check_within 2 "gatewayd's log says what to look at" log_has '[Pp]re-shared key'
    gatewayctl up interop --no-wait > /dev/null
    check_within 5 "the status says why gatewayd's own attempt fails" last_error_has AUTHENTICATION_FAILED
    check "the log holds no key" log_lacks 'not the same'
}

case_wrong_identity() {
    fresh "a wrong identity"
    start=wait
    check "strongSwan starts" start_strongswan
    check "gatewayd starts" start_gatewayd 'peer_id = "somebody.else.example"'
    swanctl_on strongswan --initiate --child net > "$lab_directory/initiate" 2>&1
    check "strongSwan is told AUTHENTICATION_FAILED" grep -q AUTH_FAILED "$lab_directory/initiate"
    check_within 2 "gatewayd's log names both identities" log_has "$theirs.*somebody.else.example|somebody.else.example.*$theirs"
}

case_no_common_proposal() {
    fresh "no common proposal"
    start=wait
    check "strongSwan starts" start_strongswan
    ike=aes256gcm16-prfsha384-ecp384
    check "gatewayd starts" start_gatewayd
    swanctl_on strongswan --initiate --child net > "$lab_directory/initiate" 2>&1
    check "strongSwan is told NO_PROPOSAL_CHOSEN" grep -qE 'NO_PROP' "$lab_directory/initiate"
    check_within 2 "gatewayd's log shows both sides' proposals" log_has '(AES_GCM_16.128|aes128gcm16).*(AES_GCM_16.256|aes256gcm16)|(AES_GCM_16.256|aes256gcm16).*(AES_GCM_16.128|aes128gcm16)'
}

case_several_children() {
    fresh "two Child SAs with subnets and algorithms of their own"
    on ours ip address add 10.1.7.1/24 dev lo
    on theirs ip address add 10.2.7.1/24 dev lo
    destinations="10.2.0.0/24 10.2.7.0/24"
    check "strongSwan starts" start_strongswan "children { second {" "local_ts = 10.2.7.0/24" "remote_ts = 10.1.7.0/24" \
        "esp_proposals = aes256gcm16-ecp384" "} }"
    check "gatewayd starts" start_gatewayd '[[connection.child]]' 'name = "first"' \
        'local_subnets = ["10.1.0.0/24"]' 'peer_subnets = ["10.2.0.0/24"]' \
        '[[connection.child]]' 'name = "second"' 'esp = ["aes256gcm16-ecp384"]' \
        'local_subnets = ["10.1.7.0/24"]' 'peer_subnets = ["10.2.7.0/24"]'
    check_within 10 "packets flow through the first" ping_from_ours
    check_within 5 "packets flow through the second" ping_from_ours 10.1.7.1 10.2.7.1
}

# fragments_are_dropped: a path that takes 1400 bytes, at either end of which later IP fragments are dropped
fragments_are_dropped() {
    local host
    for host in ours theirs; do
        ip -n "$lab-$host" link set wan mtu 1400
        on $host nft -f - <<'NFT' || return 1
table inet no_fragments {
    chain before {
        type filter hook prerouting priority -450
        ip frag-off & 0x3fff != 0 counter drop
    }
}
NFT
    done
}

# a hundred subnets, as strongSwan takes them; a pair of SAs for each pair of a hundred on either side is too much for its
# userspace ESP, and enough for the simulation
a_hundred_subnets() { seq -f '10.1.%g.0/24' -s, 0 99; }
# quoted LIST: the same as gatewayd takes them
quoted() { printf '["%s"]' "${1//,/\", \"}"; }

extension_is_used() { gatewayctl --json status | jq -e --arg name "$1" '.connections[0].ike_sa.extensions | index($name)'; }

case_fragmentation() {
    local role fragmentation subnets
    subnets=$(a_hundred_subnets)
    for role in initiator responder; do
        for fragmentation in true false; do
            fresh "a hundred subnets, and a path that drops IP fragments, gatewayd as $role, fragmentation = $fragmentation"
            our_selectors=$subnets
            [ $role = initiator ] || start=wait
            check "IP fragments are dropped" fragments_are_dropped
            check "strongSwan starts" start_strongswan
            check "gatewayd starts" start_gatewayd "fragmentation = $fragmentation" "local_subnets = $(quoted "$subnets")" \
                'peer_subnets = ["10.2.0.0/24"]'
            [ $role = initiator ] || swanctl_on strongswan --initiate --child net --timeout 5 > /dev/null 2>&1
            if [ $fragmentation = true ]; then
                check_within 10 "packets flow" ping_from_ours
                check "IKE messages go in fragments" extension_is_used fragmentation
                check "strongSwan has got fragments" grep -qF '[ EF(' "$lab_directory/strongswan/charon.log"
                check "strongSwan has sent fragments" grep -qF 'splitting IKE message' "$lab_directory/strongswan/charon.log"
                check "both kinds of rekeys work" rekeys
            else
                sleep 6
                check "there is no tunnel" not established
            fi
        done
    done
}

case_childless() {
    fresh "strongSwan with childless = force, gatewayd as initiator"
    check "strongSwan starts" start_strongswan "childless = force"
    check "gatewayd starts" start_gatewayd 'childless = "force"'
    check_within 10 "packets flow" ping_from_ours
    check "the IKE SA came without a Child SA" extension_is_used childless
    check "both kinds of rekeys work" rekeys
    fresh "strongSwan with childless = force, gatewayd as responder"
    start=wait
    check "strongSwan starts" start_strongswan "childless = force"
    check "gatewayd starts" start_gatewayd
    check "strongSwan initiates" swanctl_on strongswan --initiate --child net
    check_within 5 "packets flow" ping_from_theirs
    check "both kinds of rekeys work" rekeys
}
