#!/usr/bin/env bash
# One connection, one weight, one subnet and one published route changed among thousands through the cloud's API: from the
# request to cend until gatewayd has it in its journal, its connections, its packet path's table and its kernel, and has said
# so; and until the last route of it stands in the kernel of gatewayd, or of the router of its VPC.
#
#   netns-scripts/cloud-changes.sh [--connections N] [--rounds N] [--bar MILLISECONDS] [--short]
#
# A gatewayd in a namespace that is bound to the cloud, and the VPC's router in another one; cend, with a store made for
# this, in the benchmark. Ends with the status 1 if a median is above the bar of 20 ms. --short: 300 connections, 10 rounds,
# and a bar of 200 ms, which holds for programs that are not optimised on a machine that has other work. CLOUD_CHANGE names
# the benchmark's program if that is built already.
set -u
here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
. "$here/install.sh"
. "$here/programs.sh"
. "$here/lab.sh"
. "$here/gateways.sh"
connections=8000 rounds=40 bar=20
while [ $# -gt 0 ]; do
    case $1 in
        --connections) connections=$2; shift ;;
        --rounds) rounds=$2; shift ;;
        --bar) bar=$2; shift ;;
        --short) connections=300 rounds=10 bar=200 ;;
        *) sed -n '2,12p' "${BASH_SOURCE[0]}" | sed 's/^# \{0,1\}//'; exit 2 ;;
    esac
    shift
done
require_root
install_packages iproute2 procps nftables jq
build_programs || exit 2
if [ -z "${CLOUD_CHANGE:-}" ]; then
    # beside programs that are not optimised, one that is not either
    case $programs in
        */debug) build='build --bench' ;;
        *) build='bench --no-run --bench' ;;
    esac
    CLOUD_CHANGE=$(cd "$here/.." && cargo $build cloud_change --message-format=json |
        jq -r 'select(.reason == "compiler-artifact" and .target.name == "cloud_change") | .executable') || exit 2
fi

lab_open "igv$$"
trap lab_close EXIT
trap 'exit 1' INT TERM
host left forward
host right
host router forward
cable left wan 203.0.113.1/24 right wan 203.0.113.2/24
cable left lan 10.254.4.2/24 router gateway 10.254.4.1/24
echo 'local_addresses = ["203.0.113.1"]' > "$lab_directory/left.toml"
chmod 600 "$lab_directory/left.toml"
run_gatewayd left
wait_for 10 gatewayctl_on left status || { cat "$lab_directory/left.log"; exit 1; }
"$CLOUD_CHANGE" --connections "$connections" --rounds "$rounds" --bar "$bar" --socket "$lab_directory/left.sock" \
    --gateway "$lab-left" --vpc "$lab-router"
status=$?
routes() { ip -n "$lab-$1" route show proto "$2" | wc -l; }
echo "gatewayd: $(gatewayctl_on left --json status | jq '.connections | length') connections, journal of $(stat -c %s "$lab_directory/left-state/cend.journal") bytes, $(routes left 201) kernel routes; the router of its VPC: $(routes router 202)"
exit $status
