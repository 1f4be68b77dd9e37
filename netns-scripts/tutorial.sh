#!/usr/bin/env bash
# The tutorial "connect a data centre to the cloud through a VPN gateway", on real packets in network namespaces.
#
#   netns-scripts/tutorial.sh                   both IDC variants, then everything is removed
#   netns-scripts/tutorial.sh --keep            leaves the (last) lab up to play with;  tutorial.sh down  removes it
#   netns-scripts/tutorial.sh --peer gatewayd   our own daemon on the IDC side instead of strongSwan
#   netns-scripts/tutorial.sh --variant NAME    per-vpc (a route per VPC), default (0.0.0.0/0), or both
#   netns-scripts/tutorial.sh --sabotage STEP   leaves a step out: no-entry, no-publish, wrong-psk, no-cend,
#                                               no-gatewayd; the run must end with failed checks
#
#   idc-host ── idc-gateway ══ internet ══ vpn-gateway ── hangzhou-router ──┬── cen-fabric ──┬── beijing-router ── beijing-host
#   10.1.1.10   strongSwan     (capture)   gatewayd       192.168.4.0/24    │                ├── shanghai-router ── …
#                                                         hangzhou-host ────┘                └── hongkong-router ── …
set -u
here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
. "$here/install.sh"
. "$here/programs.sh"
. "$here/lab.sh"
. "$here/strongswan.sh"
. "$here/checks.sh"
. "$here/tutorial-topology.sh"
. "$here/tutorial-steps.sh"

usage() { sed -n '2,10p' "${BASH_SOURCE[0]}" | sed 's/^# \{0,1\}//'; exit "${1:-2}"; }

keep=no peer=strongswan variant=both sabotage=none command=run
while [ $# -gt 0 ]; do
    case $1 in
        --keep) keep=yes ;;
        --peer) peer=${2:-}; shift ;;
        --variant) variant=${2:-}; shift ;;
        --sabotage) sabotage=${2:-}; shift ;;
        down) command=down ;;
        -h | --help) usage 0 ;;
        *) echo "unknown argument: $1" >&2; usage ;;
    esac
    shift
done
case $peer in strongswan | gatewayd) ;; *) echo "--peer is strongswan or gatewayd" >&2; usage ;; esac
case $variant in per-vpc | default | both) ;; *) echo "--variant is per-vpc, default or both" >&2; usage ;; esac
case $sabotage in
    none | no-entry | no-publish | wrong-psk | no-cend | no-gatewayd) ;;
    *) echo "--sabotage is no-entry, no-publish, wrong-psk, no-cend or no-gatewayd" >&2; usage ;;
esac
require_root

if [ "$command" = down ]; then
    shopt -s nullglob
    for kept in "$lab_root"/igt*; do
        lab_open "$(basename "$kept")"
        lab_close
        echo "removed $lab"
    done
    exit 0
fi

section "What this machine needs"
install_packages $strongswan_packages iproute2 iputils-ping procps nftables tcpdump jq curl python3 || exit 2
build_programs || exit 2
echo "  gatewayd, cend and gatewayctl are built; strongSwan $(dpkg-query -W -f "\${Version}" charon-systemd)"

finish() {
    if [ "$keep" = yes ] && [ -d "${lab_directory:-/nonexistent}" ]; then
        describe_kept_lab
    elif [ -n "${lab:-}" ]; then
        lab_close
    fi
}
trap finish EXIT
trap 'exit 130' INT TERM

[ "$variant" = both ] && variants="per-vpc default" || variants=$variant
for idc_routes in $variants; do
    [ -n "${lab:-}" ] && lab_close
    lab_open "igt$$${idc_routes:0:1}"
    run_tutorial
done

printf '\ntutorial: %d passed, %d failed\n' "$checks_passed" "$checks_failed"
[ "$checks_failed" -eq 0 ]
