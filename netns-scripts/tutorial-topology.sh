# The tutorial's networks as namespaces. Sourced by tutorial.sh.
#
# Only addresses, links and each host's default route are set here. Every other route is cend's (protocol 202) or
# gatewayd's (protocol 201); on the IDC side it is the IDC gateway's own.

vpcs="beijing shanghai hongkong hangzhou"
declare -A region=([beijing]=cn-beijing [shanghai]=cn-shanghai [hongkong]=cn-hongkong [hangzhou]=cn-hangzhou)
declare -A number=([beijing]=1 [shanghai]=2 [hongkong]=3 [hangzhou]=4)
idc_cidr=10.1.1.0/24
idc_address=203.0.113.2
gateway_address=198.51.100.2
gateway_inner_address=100.64.0.2
pre_shared_key='Tutorial-2026-key'

vpc_cidr() { echo "192.168.${number[$1]}.0/24"; }
vpc_host_address() { echo "192.168.${number[$1]}.10"; }

make_topology() {
    local vpc
    host idc-host
    host idc-gateway forward
    host internet forward
    host vpn-gateway forward
    host cen-fabric forward
    for vpc in $vpcs; do
        host "$vpc-router" forward
        host "$vpc-host"
    done
    without_ipv6 internet
    without_ipv6 idc-gateway
    without_ipv6 vpn-gateway

    cable idc-host eth0 10.1.1.10/24 idc-gateway lan 10.1.1.1/24
    cable idc-gateway wan "$idc_address/24" internet idc 203.0.113.1/24
    cable internet cloud 198.51.100.1/24 vpn-gateway wan "$gateway_address/24"
    cable vpn-gateway vpc "$gateway_inner_address/30" hangzhou-router vpn 100.64.0.1/30
    for vpc in $vpcs; do
        cable "$vpc-host" eth0 "$(vpc_host_address "$vpc")/24" "$vpc-router" vpc "192.168.${number[$vpc]}.1/24"
        cable "$vpc-router" cen "100.64.${number[$vpc]}.2/30" cen-fabric "$vpc" "100.64.${number[$vpc]}.1/30"
        ip -n "$lab-$vpc-host" route add default via "192.168.${number[$vpc]}.1"
    done
    ip -n "$lab-idc-host" route add default via 10.1.1.1
    ip -n "$lab-idc-gateway" route add default via 203.0.113.1
    ip -n "$lab-vpn-gateway" route add default via 198.51.100.1
}

# start_hosts: every VPC host serves one mebibyte over HTTP, for the TCP transfers.
start_hosts() {
    local vpc
    mkdir -p "$lab_directory/www"
    head -c 1048576 /dev/urandom > "$lab_directory/www/mebibyte"
    for vpc in $vpcs; do
        start "$vpc-www" "$vpc-host" python3 -m http.server 80 --directory "$lab_directory/www"
    done
}

# start_capture: what crosses the internet, and what the fabric and both gateways' outer devices carry.
start_capture() {
    start capture-idc internet tcpdump -n -U -i idc -w "$lab_directory/internet-idc.pcap"
    start capture-cloud internet tcpdump -n -U -i cloud -w "$lab_directory/internet-cloud.pcap"
    wait_for 5 test -s "$lab_directory/internet-idc.pcap" && wait_for 5 test -s "$lab_directory/internet-cloud.pcap"
}

# captured FILTER...: the number of packets in both captures that match.
captured() {
    local file total=0
    for file in internet-idc internet-cloud; do
        total=$((total + $(tcpdump -n -r "$lab_directory/$file.pcap" "$@" 2>/dev/null | wc -l)))
    done
    echo "$total"
}

cend_configuration() {
    local vpc
    cat <<CONF
listen = "127.0.0.1:8080"
state = "$lab_directory/cend-state"

[[access_key]]
id = "$ALIBABA_CLOUD_ACCESS_KEY_ID"
secret = "$ALIBABA_CLOUD_ACCESS_KEY_SECRET"

[fabric]
namespace = "$lab-cen-fabric"

[[vpn_gateway]]
region = "cn-hangzhou"
name = "tutorial"
public_address = "$gateway_address"
namespace = "$lab-vpn-gateway"
inner_address = "$gateway_inner_address"
router_address = "100.64.0.1"
socket = "$lab_directory/gatewayd.sock"
CONF
    for vpc in $vpcs; do
        cat <<CONF

[[vpc]]
region = "${region[$vpc]}"
name = "$vpc"
cidr = "$(vpc_cidr "$vpc")"
namespace = "$lab-$vpc-router"
router_device = "cen"
router_address = "100.64.${number[$vpc]}.2"
fabric_device = "$vpc"
fabric_address = "100.64.${number[$vpc]}.1"
CONF
    done
}

start_cend() {
    (umask 077 && cend_configuration > "$lab_directory/cend.toml")
    start cend cen-fabric "$programs/cend" --config "$lab_directory/cend.toml"
    wait_for 5 on cen-fabric curl -s -o /dev/null http://127.0.0.1:8080/
}

gatewayd_configuration() {
    cat <<CONF
local_addresses = ["$gateway_address"]
inner_addresses = ["$gateway_inner_address/32"]
CONF
}

start_gatewayd() {
    (umask 077 && gatewayd_configuration > "$lab_directory/gatewayd.toml")
    start gatewayd vpn-gateway "$programs/gatewayd" --config "$lab_directory/gatewayd.toml" \
        --socket "$lab_directory/gatewayd.sock" --state "$lab_directory/gatewayd-state"
    wait_for 5 "$programs/gatewayctl" --socket "$lab_directory/gatewayd.sock" status
}

# start_idc_gateway: the IDC's device runs from the start, with nothing to do yet
start_idc_gateway() {
    local configuration=$lab_directory/idc-gateway.conf
    (umask 077 && printf '%s' "$pre_shared_key" > "$lab_directory/pre-shared-key")
    if [ "$peer" = strongswan ]; then
        : > "$configuration"
        # charon's routing table stands before main: with a default route in it, the IDC's own networks would go into
        # the tunnel as well; so what main knows more exactly than by its default route comes first
        [ "$idc_routes" = per-vpc ] || ip -n "$lab-idc-gateway" rule add priority 210 lookup main suppress_prefixlength 0
        strongswan_start strongswan idc-gateway "$configuration"
    else
        (umask 077 && printf 'local_addresses = ["%s"]\n\n' "$idc_address" > "$configuration")
        start idc-gatewayd idc-gateway "$programs/gatewayd" --config "$configuration" \
            --socket "$lab_directory/idc-gatewayd.sock" --state "$lab_directory/idc-gatewayd-state"
        wait_for 5 "$programs/gatewayctl" --socket "$lab_directory/idc-gatewayd.sock" status
    fi
}

# configure_idc_gateway: what gatewayctl exports for the IDC's device, with the key that both sides agreed on
configure_idc_gateway() {
    local exported=$lab_directory/idc-connection.conf
    export_connection() {
        "$programs/gatewayctl" --socket "$lab_directory/gatewayd.sock" export "${vpn_connection_id:-none}" \
            --for "$peer" --psk-file "$lab_directory/pre-shared-key" > "$exported"
    }
    (umask 077 && : > "$exported")
    wait_for 3 export_connection || export_connection || return 1
    if [ "$peer" = strongswan ]; then
        install -m 600 "$exported" "$lab_directory/strongswan/swanctl/swanctl.conf"
        swanctl_on strongswan --load-all --file "$lab_directory/strongswan/swanctl/swanctl.conf"
    else
        cat "$exported" >> "$lab_directory/idc-gateway.conf"
        "$programs/gatewayctl" --socket "$lab_directory/idc-gatewayd.sock" reload
    fi
}

# cloud PRODUCT ACTION [--Parameter VALUE]...: a signed call of the cloud's API.
cloud() {
    on cen-fabric "$programs/gatewayctl" cloud --endpoint http://127.0.0.1:8080 "$@"
}

# prints the VPC routers' own routes: what cend programmed
kernel_routes() { ip -n "$lab-$1-router" -o route show table main proto 202 | awk '{ print $1 }' | sort; }

describe_kept_lab() {
    cat <<TEXT

The lab is up. Some things to try (remove it with: netns-scripts/tutorial.sh down):
  ip netns exec $lab-idc-host ping $(vpc_host_address hongkong)
  $programs/gatewayctl --socket $lab_directory/gatewayd.sock status
  ip netns exec $lab-cen-fabric $programs/gatewayctl cloud --endpoint http://127.0.0.1:8080 cbn DescribeCens
  ip netns exec $lab-internet tcpdump -n -i idc
(the API's key pair: export ALIBABA_CLOUD_ACCESS_KEY_ID=$ALIBABA_CLOUD_ACCESS_KEY_ID ALIBABA_CLOUD_ACCESS_KEY_SECRET=$ALIBABA_CLOUD_ACCESS_KEY_SECRET)
TEXT
}
