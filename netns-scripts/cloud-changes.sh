#!/usr/bin/env bash
# One connection and one weight changed among thousands through the cloud's API: from the request to cend until gatewayd
# has it in its journal, its connections and routes and the kernel, and has said so.
#
#   netns-scripts/cloud-changes.sh [--connections N] [--rounds N]
#
# A gatewayd in a namespace of its own; cend, with a store made for this, in the benchmark. Ends with the status 1 if the
# median is above the bar of 20 ms. CLOUD_CHANGE names the benchmark's program if that is built already.
set -u
here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
. "$here/install.sh"
. "$here/programs.sh"
. "$here/lab.sh"
. "$here/gateways.sh"
connections=8000 rounds=40
while [ $# -gt 0 ]; do
    case $1 in
        --connections) connections=$2; shift ;;
        --rounds) rounds=$2; shift ;;
        *) sed -n '2,8p' "${BASH_SOURCE[0]}" | sed 's/^# \{0,1\}//'; exit 2 ;;
    esac
    shift
done
require_root
install_packages iproute2 procps nftables jq
build_programs || exit 2
if [ -z "${CLOUD_CHANGE:-}" ]; then
    CLOUD_CHANGE=$(cd "$here/.." && cargo bench --no-run --bench cloud_change --message-format=json |
        jq -r 'select(.reason == "compiler-artifact" and .target.name == "cloud_change") | .executable') || exit 2
fi

lab_open "igc$$"
trap lab_close EXIT
trap 'exit 1' INT TERM
host left
host right
cable left wan 203.0.113.1/24 right wan 203.0.113.2/24
echo 'local_addresses = ["203.0.113.1"]' > "$lab_directory/left.toml"
chmod 600 "$lab_directory/left.toml"
run_gatewayd left
wait_for 10 gatewayctl_on left status || { cat "$lab_directory/left.log"; exit 1; }
"$CLOUD_CHANGE" --connections "$connections" --rounds "$rounds" --socket "$lab_directory/left.sock"
status=$?
echo "gatewayd: $(gatewayctl_on left --json status | jq '.connections | length') connections, journal of $(stat -c %s "$lab_directory/left-state/cend.journal") bytes"
exit $status
