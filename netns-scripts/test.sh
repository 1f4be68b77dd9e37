#!/usr/bin/env bash
# Runs every test: installs what they need (Debian packages; the SDK tests make a Python environment of their own under
# the build directory), then the Rust tests, then the tutorial with both peers and with each of its steps left out, and
# gatewayd against other implementations: strongSwan with every algorithm, and the kernel's ESP; rekeys under load, outages,
# floods of strangers.
#
#   netns-scripts/test.sh            everything
#   netns-scripts/test.sh --rust     the Rust tests only
#   netns-scripts/test.sh --tutorial the runs in namespaces only: the tutorial and the other implementations
#   --require with any of them       a test that would be skipped, for want of a privilege, a device, a program or a way to
#                                    the package index, fails and says what is missing; as when CI is set and not empty
set -u
here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
. "$here/install.sh"
. "$here/lab.sh"
. "$here/strongswan.sh"
. "$here/checks.sh"
cd "$here/.." || exit 2

what=all
for argument in "$@"; do
    case $argument in
        all) ;;
        --rust | --tutorial) what=$argument ;;
        --require) export CI=${CI:-require} ;;
        *) sed -n '2,11p' "${BASH_SOURCE[0]}" | sed 's/^# \{0,1\}//'; exit 2 ;;
    esac
done
require_root
install_packages $strongswan_packages iproute2 iputils-ping procps nftables ethtool tcpdump tshark iperf3 jq curl python3 \
    python3-venv python3-scapy systemd kmod gcc libc6-dev git gdb || exit 2
# Node.js for its official clients, from wherever the machine has it.
command -v npm > /dev/null || install_packages nodejs npm || exit 2

# run_quietly LOG COMMAND...: its output goes to the log; what failed, or else the end of it, is shown when it fails.
run_quietly() {
    local log=$1
    shift
    "$@" > "$log" 2>&1 || { grep -A 3 '  FAIL  ' "$log" || tail -n 12 "$log"; return 1; }
}

# must_fail_checks STEP: the tutorial without that step ends by itself, with failed checks.
must_fail_checks() {
    "$here/tutorial.sh" --variant per-vpc --sabotage "$1" > "$logs/sabotage-$1" 2>&1
    local status=$?
    [ "$status" -eq 1 ] && tail -n 1 "$logs/sabotage-$1" | grep -qE '^tutorial: [0-9]+ passed, [1-9][0-9]* failed$' ||
        { echo "exit status $status"; tail -n 5 "$logs/sabotage-$1"; return 1; }
}

logs=$(mktemp -d)
trap 'rm -rf "$logs"' EXIT

if [ "$what" != --tutorial ]; then
    section "Rust tests"
    started=$SECONDS
    if cargo test --no-fail-fast 2>&1 | tee "$logs/cargo" | grep -E '^(test result|test .*(FAILED|ignored)|     Running|error|failures:|---- |thread .*panicked)'; [ "${PIPESTATUS[0]}" -eq 0 ]; then
        pass "cargo test ($((SECONDS - started)) s)"
    else
        grep -A 30 -E '^---- ' "$logs/cargo" | head -n 200
        fail "cargo test"
    fi
    printf '  %s tests passed, %s failed, %s ignored\n' \
        $(awk '/^test result:/ { passed += $4; failed += $6; ignored += $8 } END { print passed + 0, failed + 0, ignored + 0 }' "$logs/cargo")
fi

if [ "$what" != --rust ]; then
    # the labs run what the Rust tests have just built: nothing here measures speed
    cargo build --bins --example udp_load --example flood --example handshakes --quiet || exit 2
    IPSEC_GATEWAY_PROGRAMS=${CARGO_TARGET_DIR:-target}/debug
    export IPSEC_GATEWAY_PROGRAMS
    section "The tutorial"
    for peer in strongswan gatewayd; do
        check "tutorial.sh --peer $peer" run_quietly "$logs/tutorial-$peer" "$here/tutorial.sh" --peer "$peer"
        tail -n 1 "$logs/tutorial-$peer" | sed 's/^/        /'
    done
    check "interop.sh: every algorithm with strongSwan" run_quietly "$logs/interop" "$here/interop.sh"
    tail -n 1 "$logs/interop" | sed 's/^/        /'
    check "kernel-esp.sh: the kernel's own ESP as the peer" run_quietly "$logs/kernel-esp" "$here/kernel-esp.sh"
    tail -n 1 "$logs/kernel-esp" | sed 's/^/        /'
    for how in "" --raw; do
        check "rekey-load.sh $how: rekeys under load, in short" run_quietly "$logs/rekey-load" "$here/rekey-load.sh" --seconds 10 --share 60 $how
        tail -n 1 "$logs/rekey-load" | sed 's/^/        /'
    done
    check "outages.sh: short ones" run_quietly "$logs/outages" "$here/outages.sh" --short
    tail -n 1 "$logs/outages" | sed 's/^/        /'
    check "scale.sh: hundreds of tunnels between two gatewayds" run_quietly "$logs/scale" "$here/scale.sh" --tunnels 500 --rounds 1 --seconds 1
    tail -n 1 "$logs/scale" | sed 's/^/        /'
    check "changes.sh: a change among a thousand connections" run_quietly "$logs/changes" "$here/changes.sh" --short
    tail -n 1 "$logs/changes" | sed 's/^/        /'
    check "cloud-changes.sh: a change through the cloud's API among hundreds" run_quietly "$logs/cloud-changes" "$here/cloud-changes.sh" --short
    tail -n 1 "$logs/cloud-changes" | sed 's/^/        /'
    check "foreign-routes.sh: thousands of routes of somebody else" run_quietly "$logs/foreign-routes" "$here/foreign-routes.sh" --routes 20000 --changes 10
    tail -n 1 "$logs/foreign-routes" | sed 's/^/        /'
    check "floods.sh: floods of strangers, in short" run_quietly "$logs/floods" "$here/floods.sh" --short
    tail -n 1 "$logs/floods" | sed 's/^/        /'
    for step in no-entry no-publish wrong-psk no-cend no-gatewayd; do
        check "tutorial.sh --sabotage $step fails" must_fail_checks "$step"
    done
fi

printf '\n%d passed, %d failed\n' "$checks_passed" "$checks_failed"
[ "$checks_failed" -eq 0 ]
