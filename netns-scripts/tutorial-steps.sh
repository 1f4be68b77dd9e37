# The tutorial, section by section, and what must be true after each. Sourced by tutorial.sh.

export ALIBABA_CLOUD_ACCESS_KEY_ID=tutorial ALIBABA_CLOUD_ACCESS_KEY_SECRET=tutorial-secret

run_tutorial() {
    printf '\n%sIDC routes: %s · IDC gateway: %s · left out: %s%s\n' "$bold" "$idc_routes" "$peer" "$sabotage" "$plain"
    set_up_the_lab
    create_networks
    connect_the_data_centre
    attach_networks
    add_idc_routes
    add_vpc_route
    publish_to_cen
    show_the_result
    withdraw_and_delete
    fail_closed
}

# api VARIABLE FILTER PRODUCT ACTION [--Parameter VALUE]...: calls and keeps one value of the reply; false if there is none.
api() {
    local variable=$1 filter=$2 reply value
    shift 2
    reply=$(cloud "$@" 2>&1) || { echo "$reply"; return 1; }
    value=$(jq -re "$filter" <<< "$reply") || { echo "no $filter in: $reply"; return 1; }
    printf -v "$variable" %s "$value"
}

# api_check CLAIM VARIABLE FILTER ...: as api, as a checked claim (not in a subshell, so that the value stays).
api_check() {
    local claim=$1 said
    shift
    if api "$@" > "$lab_directory/said" 2>&1; then pass "$claim"; else
        fail "$claim"
        said=$(head -c 600 "$lab_directory/said")
        printf '          %s\n' "$said"
    fi
}

set_up_the_lab() {
    section "The lab: an IDC, an internet, four VPCs and CEN as network namespaces"
    make_topology
    start_hosts
    check "captures run in the internet" start_capture
    check "$peer runs in the IDC's gateway" start_idc_gateway
    [ "$sabotage" = no-gatewayd ] || check "gatewayd runs in the VPN gateway's namespace" start_gatewayd
    [ "$sabotage" = no-cend ] || check "cend runs and serves the cloud's API" start_cend
}

create_networks() {
    local vpc
    section "The cloud's networks, made through the API"
    declare -gA vpc_id=() table_id=() vswitch_id=()
    for vpc in $vpcs; do
        api_check "VPC $vpc in ${region[$vpc]} ($(vpc_cidr "$vpc"))" made .VpcId vpc CreateVpc \
            --RegionId "${region[$vpc]}" --VpcName "$vpc" --CidrBlock "$(vpc_cidr "$vpc")"
        vpc_id[$vpc]=${made:-none}
        api_check "  its vSwitch" made .VSwitchId vpc CreateVSwitch --RegionId "${region[$vpc]}" \
            --VpcId "${vpc_id[$vpc]}" --ZoneId "${region[$vpc]}-b" --CidrBlock "$(vpc_cidr "$vpc")"
        vswitch_id[$vpc]=${made:-none}
        api_check "  its system route table" made '.RouterTableList.RouterTableListType[0].RouteTableId' \
            vpc DescribeRouteTableList --RegionId "${region[$vpc]}" --VpcId "${vpc_id[$vpc]}"
        table_id[$vpc]=${made:-none}
        made=none
    done
}

connect_the_data_centre() {
    local local_subnet remote_subnet secret=$pre_shared_key
    section "1. The VPN gateway and its IPsec connection to the IDC"
    api_check "a VPN gateway in the Hangzhou VPC" vpn_gateway_id .VpnGatewayId vpc CreateVpnGateway --RegionId cn-hangzhou \
        --VpcId "${vpc_id[hangzhou]}" --VSwitchId "${vswitch_id[hangzhou]}" --Name tutorial --Bandwidth 100 --InstanceChargeType POSTPAY
    api_check "the IDC's device as a customer gateway" customer_gateway_id .CustomerGatewayId vpc CreateCustomerGateway \
        --RegionId cn-hangzhou --IpAddress "$idc_address" --Name idc
    if [ "$idc_routes" = default ]; then
        local_subnet=0.0.0.0/0 remote_subnet=0.0.0.0/0
    else
        local_subnet=$(for vpc in $vpcs; do vpc_cidr "$vpc"; done | sort | paste -sd,)
        remote_subnet=$idc_cidr
    fi
    [ "$sabotage" = wrong-psk ] && secret=not-the-same-key
    api_check "an IPsec connection: $local_subnet === $remote_subnet" vpn_connection_id .VpnConnectionId vpc CreateVpnConnection \
        --RegionId cn-hangzhou --Name to-idc --VpnGatewayId "${vpn_gateway_id:-none}" --CustomerGatewayId "${customer_gateway_id:-none}" \
        --LocalSubnet "$local_subnet" --RemoteSubnet "$remote_subnet" --EffectImmediately true --AutoConfigRoute false \
        --IkeConfig "{\"Psk\":\"$secret\",\"IkeVersion\":\"ikev2\",\"IkeEncAlg\":\"aes256\",\"IkeAuthAlg\":\"sha256\",\"IkePfs\":\"group14\",\"LocalId\":\"$gateway_address\",\"RemoteId\":\"$idc_address\"}" \
        --IpsecConfig '{"IpsecEncAlg":"aes","IpsecAuthAlg":"sha256","IpsecPfs":"group14"}'
    api_check "the VPN gateway's own route: $idc_cidr to the connection" made .RouteDest vpc CreateVpnRouteEntry --RegionId cn-hangzhou \
        --VpnGatewayId "${vpn_gateway_id:-none}" --RouteDest "$idc_cidr" --NextHop "${vpn_connection_id:-none}" --PublishVpc false --Weight 100
    check "the IDC's $peer takes the peer configuration that gatewayctl exports" configure_idc_gateway
    check_within 15 "the tunnel is up: DescribeVpnConnection says ipsec_sa_established" connection_status_is ipsec_sa_established
    "$programs/gatewayctl" --socket "$lab_directory/gatewayd.sock" status 2>&1 | sed 's/^/  /'
}

connection_status_is() {
    local status
    api status .Status vpc DescribeVpnConnection --RegionId cn-hangzhou --VpnConnectionId "${vpn_connection_id:-none}" &&
        equal Status "$status" "$1"
}

attach_networks() {
    local vpc
    section "2. Attach the four VPCs to one CEN instance"
    api_check "a CEN instance" cen_id .CenId cbn CreateCen --Name tutorial
    for vpc in $vpcs; do
        api_check "$vpc attached" made .RequestId cbn AttachCenChildInstance --CenId "${cen_id:-none}" \
            --ChildInstanceId "${vpc_id[$vpc]}" --ChildInstanceType VPC --ChildInstanceRegionId "${region[$vpc]}"
    done
    check_within 3 "Beijing has learned the other VPCs' system routes, in the API and in its kernel" \
        kernel_has beijing "192.168.2.0/24 192.168.3.0/24 192.168.4.0/24"
    check_within 3 "every VPC's kernel agrees with the API" kernels_agree_with_the_api
    expect_reachable "before the VPC has a route entry for the IDC" ""
}

add_idc_routes() {
    section "3. Routes of the IDC, next hop: the VPN gateway"
    if [ "$peer" = strongswan ]; then
        on idc-gateway ip route show table 220 | sed 's/^/  /'
        if [ "$idc_routes" = default ]; then
            check "a default route into the tunnel" idc_gateway_routes default
        else
            check "a route for each VPC into the tunnel" idc_gateway_routes "192.168.1.0/24 192.168.2.0/24 192.168.3.0/24 192.168.4.0/24"
        fi
    else
        "$programs/gatewayctl" --socket "$lab_directory/idc-gatewayd.sock" routes | sed 's/^/  /'
        check "the IDC's gatewayd routes into the tunnel" idc_gatewayd_routes
    fi
}

idc_gateway_routes() { equal routes "$(on idc-gateway ip -o route show table 220 | awk '{ print $1 }' | sort | xargs)" "$1"; }

idc_gatewayd_routes() {
    local expected=4
    [ "$idc_routes" = default ] && expected=1
    equal "active routes" "$("$programs/gatewayctl" --socket "$lab_directory/idc-gatewayd.sock" --json routes | jq '[.[] | select(.state == "active")] | length')" $expected
}

add_vpc_route() {
    section "4. A route entry in the Hangzhou VPC: $idc_cidr, next hop: the VPN gateway"
    if [ "$sabotage" = no-entry ]; then echo "  left out"; else create_vpc_route; fi
    print_tables "Before publishing"
    check_within 3 "the entry is in Hangzhou's kernel" kernel_has hangzhou "$idc_cidr"
    check "the entry is NonPublished" publish_status_is NonPublished
    check "no other VPC knows $idc_cidr" nobody_learned
    expect_reachable "with the entry, before publishing" "hangzhou"
}

create_vpc_route() {
    api_check "CreateRouteEntry" made .RequestId vpc CreateRouteEntry --RegionId cn-hangzhou --RouteTableId "${table_id[hangzhou]}" \
        --DestinationCidrBlock "$idc_cidr" --NextHopType VpnGateway --NextHopId "${vpn_gateway_id:-none}"
}

publish_to_cen() {
    section "5. Publish the entry to CEN"
    if [ "$sabotage" = no-publish ]; then echo "  left out"; else publish PublishRouteEntries; fi
    print_tables "After publishing"
    check "the entry is Published" publish_status_is Published
    check_within 3 "the other VPCs have learned $idc_cidr, in their kernels too" everybody_learned
    check_within 3 "every VPC's kernel agrees with the API" kernels_agree_with_the_api
}

publish() {
    api_check "$1" made .RequestId cbn "$1" --CenId "${cen_id:-none}" --ChildInstanceId "${vpc_id[hangzhou]}" --ChildInstanceType VPC \
        --ChildInstanceRegionId cn-hangzhou --ChildInstanceRouteTableId "${table_id[hangzhou]}" --DestinationCidrBlock "$idc_cidr"
}

show_the_result() {
    section "6. The result: the IDC reaches every VPC"
    expect_reachable "published" "beijing shanghai hongkong hangzhou"
    check "the internet carried ESP from the IDC" some_esp_from "$idc_address"
    check "the internet carried ESP from the cloud" some_esp_from "$gateway_address"
    check "and nothing but IKE and ESP" only_ipsec_captured
    check "every route on the cloud's side is a link's, a host's default route, cend's or gatewayd's" only_our_routes
}

withdraw_and_delete() {
    section "7. Withdraw, publish again, delete"
    publish WithdrawPublishedRouteEntries
    check_within 1 "the other VPCs have forgotten $idc_cidr within a second" nobody_learned
    expect_reachable "withdrawn" "hangzhou"
    publish PublishRouteEntries
    check_within 1 "learned again" everybody_learned
    api_check "DeleteRouteEntry" made .RequestId vpc DeleteRouteEntry --RegionId cn-hangzhou --RouteTableId "${table_id[hangzhou]}" \
        --DestinationCidrBlock "$idc_cidr" --NextHopId "${vpn_gateway_id:-none}"
    check_within 1 "gone from CEN and from Hong Kong's kernel within a second" nobody_learned
    expect_reachable "the entry deleted" ""
}

fail_closed() {
    section "8. Without a gateway nothing leaks"
    create_vpc_route
    publish PublishRouteEntries
    check_within 3 "published again" everybody_learned
    expect_reachable "before gatewayd is killed" "beijing shanghai hongkong hangzhou"
    stop gatewayd KILL
    expect_reachable "gatewayd killed with -9" ""
    check "the whole capture holds no inner packet" no_inner_packet_captured
}

# --- what is checked -------------------------------------------------------------------------------------------------

destination_of() { jq -r '.RouteEntrys.RouteEntry[].DestinationCidrBlock'; }

# the API's view of a VPC's table, without what is a link of the router: custom and learned entries
api_routes() {
    cloud vpc DescribeRouteEntryList --RegionId "${region[$1]}" --RouteTableId "${table_id[$1]}" --MaxResult 100 |
        jq -r '.RouteEntrys.RouteEntry[] | select(.Type != "System") | .DestinationCidrBlock' | sort
}

kernel_has() {
    local destination
    for destination in $2; do
        kernel_routes "$1" | grep -qxF "$destination" || { echo "$1's kernel has: $(kernel_routes "$1" | xargs)"; return 1; }
    done
}

kernels_agree_with_the_api() {
    local vpc
    for vpc in $vpcs; do
        equal "$vpc: kernel routes" "$(kernel_routes "$vpc" | xargs)" "$(api_routes "$vpc" | xargs)" || return 1
        [ -n "$(api_routes "$vpc")" ] || { echo "$vpc: the API shows no route"; return 1; }
    done
}

everybody_learned() {
    local vpc
    for vpc in beijing shanghai hongkong; do
        api_routes "$vpc" | grep -qxF "$idc_cidr" || { echo "$vpc: not in the API's table"; return 1; }
        kernel_has "$vpc" "$idc_cidr" || return 1
    done
}

nobody_learned() {
    local vpc
    [ -n "$(api_routes beijing)" ] || { echo "the API shows no route of Beijing's"; return 1; }
    for vpc in beijing shanghai hongkong; do
        ! api_routes "$vpc" | grep -qxF "$idc_cidr" || { echo "$vpc: still in the API's table"; return 1; }
        ! kernel_routes "$vpc" | grep -qxF "$idc_cidr" || { echo "$vpc: still in the kernel"; return 1; }
    done
}

publish_status_is() {
    local status
    api status '.PublishedRouteEntries.PublishedRouteEntry[0].PublishStatus' cbn DescribePublishedRouteEntries --CenId "${cen_id:-none}" \
        --ChildInstanceId "${vpc_id[hangzhou]}" --ChildInstanceType VPC --ChildInstanceRegionId cn-hangzhou \
        --ChildInstanceRouteTableId "${table_id[hangzhou]}" --DestinationCidrBlock "$idc_cidr" && equal PublishStatus "$status" "$1"
}

# print_tables TITLE: each VPC's route table from the API, and its kernel's, side by side
print_tables() {
    local vpc
    printf '\n  %s\n' "$1"
    for vpc in $vpcs; do
        cloud vpc DescribeRouteEntryList --RegionId "${region[$vpc]}" --RouteTableId "${table_id[$vpc]}" --MaxResult 100 2> /dev/null |
            jq -r '.RouteEntrys.RouteEntry[]? | [.DestinationCidrBlock, .Type, (.NextHops.NextHop[0] | .NextHopType + " " + .NextHopId)] | @tsv' |
            awk -F '\t' '{ printf "%-18s %-7s %s\n", $1, $2, $3 }' > "$lab_directory/table-api"
        ip -n "$lab-$vpc-router" route show | grep -v '^100\.64\.' > "$lab_directory/table-kernel"
        printf '  %s (%s)\n' "$vpc" "${region[$vpc]}"
        paste -d '\t' "$lab_directory/table-api" "$lab_directory/table-kernel" |
            awk -F '\t' 'BEGIN { printf "    %-62s | %s\n", "API: destination, type, next hop", "kernel: ip route" } { printf "    %-62s | %s\n", $1, $2 }'
    done
    cloud cbn DescribePublishedRouteEntries --CenId "${cen_id:-none}" --ChildInstanceId "${vpc_id[hangzhou]}" --ChildInstanceType VPC \
        --ChildInstanceRegionId cn-hangzhou --PageSize 50 2> /dev/null | jq -r '.PublishedRouteEntries.PublishedRouteEntry[]? |
        "    hangzhou publishes: \(.DestinationCidrBlock) (\(.RouteType), \(.NextHopType)): \(.PublishStatus)"'
    echo
}

ping_from_idc() { on idc-host ping -c 1 -W 1 "$(vpc_host_address "$1")" > /dev/null 2>&1; }

fetch_from_idc() {
    on idc-host curl -s --max-time 3 -o "$lab_directory/fetched-$1" "http://$(vpc_host_address "$1")/mebibyte" &&
        cmp -s "$lab_directory/fetched-$1" "$lab_directory/www/mebibyte"
}

# expect_reachable WHEN "VPC...": the reachability matrix, and a check that just these VPCs answer
expect_reachable() {
    local vpc reached='' by_ping by_tcp attempts=()
    for vpc in $vpcs; do
        { ping_from_idc "$vpc" && echo yes || echo no; } > "$lab_directory/reach-ping-$vpc" &
        attempts+=($!)
        { fetch_from_idc "$vpc" && echo yes || echo no; } > "$lab_directory/reach-tcp-$vpc" &
        attempts+=($!)
    done
    wait "${attempts[@]}"
    printf '  %-28s' "10.1.1.10 to:"
    for vpc in $vpcs; do printf ' %-20s' "$vpc"; done
    printf '\n  %-28s' "  ping / 1 MiB over TCP"
    for vpc in $vpcs; do
        by_ping=$(cat "$lab_directory/reach-ping-$vpc") by_tcp=$(cat "$lab_directory/reach-tcp-$vpc")
        printf ' %-20s' "$by_ping / $by_tcp"
        [ "$by_ping/$by_tcp" = yes/yes ] && reached="$reached $vpc"
        [ "$by_ping" = "$by_tcp" ] || reached="$reached $vpc(ping:$by_ping,tcp:$by_tcp)"
    done
    echo
    check "$1: the IDC reaches ${2:-none}" equal reachable "$(echo $reached | xargs -n 1 2> /dev/null | sort | xargs)" \
        "$(echo $2 | xargs -n 1 2> /dev/null | sort | xargs)"
}

# ESP in UDP: a non-zero SPI where IKE has its non-ESP marker; or protocol 50
some_esp_from() {
    local count
    count=$(captured "src host $1 and ((udp port 4500 and udp[8:4] != 0 and len > 60) or ip proto 50)")
    [ "$count" -gt 0 ] || { echo "no ESP from $1 captured"; return 1; }
}

only_ipsec_captured() {
    local other
    [ "$(captured 'ip')" -gt 0 ] || { echo "nothing was captured"; return 1; }
    other=$(captured '(ip or ip6) and not (udp port 500 or udp port 4500 or ip proto 50)')
    [ "$other" = 0 ] || { echo "$other other packets"; return 1; }
    no_inner_packet_captured
}

# what else may be there after a gateway died: its kernel's complaints that nobody takes the packets (port or protocol unreachable)
no_inner_packet_captured() {
    local other
    other=$(captured '(ip or ip6) and not (udp port 500 or udp port 4500 or ip proto 50 or icmp[0:2] = 0x0303 or icmp[0:2] = 0x0302)')
    [ "$other" = 0 ] || { echo "$other other packets"; return 1; }
    other=$(captured 'net 10.1.1.0/24 or net 192.168.0.0/16')
    [ "$other" = 0 ] || { echo "$other inner packets"; return 1; }
}

only_our_routes() {
    local name other
    for name in vpn-gateway cen-fabric $(for vpc in $vpcs; do echo "$vpc-router"; done); do
        other=$(ip -n "$lab-$name" -4 route show table all | grep -v -e ' proto kernel' -e ' proto 201' -e ' proto 202' |
            if [ "$name" = vpn-gateway ]; then grep -v '^default via 198\.51\.100\.1 dev wan'; else cat; fi)
        [ -z "$other" ] || { echo "$name: $other"; return 1; }
    done
}
