#!/usr/bin/env bash
# gatewayd against the Linux kernel's own ESP: strongSwan with kernel-netlink in a User-Mode Linux guest. Raw ESP (IP
# protocol 50) and UDP encapsulation, with and without extended sequence numbers, AES-GCM, ChaCha20-Poly1305 and
# AES-CBC with HMAC; traffic both ways before and after a rekey from the guest's side.
set -u
here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
. "$here/install.sh"
. "$here/programs.sh"
. "$here/lab.sh"
. "$here/strongswan.sh"
. "$here/checks.sh"
require_root
install_packages $strongswan_packages iproute2 iputils-ping procps nftables tcpdump jq kmod
build_programs || exit 2
ours=10.99.0.1 guest=10.99.0.2 secret='kernel esp secret'

# the guest kernel, unpacked beside the build and never installed
uml=${CARGO_TARGET_DIR:-$here/../target}/user-mode-linux
if [ ! -x "$uml/usr/bin/linux.uml" ]; then
    (d=$(mktemp -d) && cd "$d" && chmod 755 "$d" && { apt-get download -qq user-mode-linux 2> /dev/null ||
        { apt-get update -qq && apt-get download -qq user-mode-linux; }; } && mkdir -p "$uml" && dpkg-deb -x user-mode-linux_*.deb "$uml" && rm -rf "$d") || exit 2
    mkdir -p "$uml/lib"
    ln -sfn "$uml/usr/lib/uml/modules" "$uml/lib/modules"
fi
trap '[ -n "${lab:-}" ] && lab_close' EXIT
trap 'exit 130' INT TERM

write_guest() { # IKE ESP ENCAPSULATION
    local home=$lab_directory/guest
    mkdir -p "$home"
    cp /usr/sbin/charon-systemd "$home/charon-copy"
    cp /usr/sbin/swanctl "$home/swanctl-copy"
    charon_configuration /mnt kernel-netlink > "$home/strongswan.conf"
    swanctl_configuration kernel "local_addrs=$guest" "remote_addrs=$ours" local_ts=10.2.0.0/24 remote_ts=10.1.0.0/24 \
        "proposals=$1" "esp_proposals=$2" "secret=$secret" "more=encap = $3" > "$home/swanctl.conf"
    cat > "$home/scenario" <<'CONF'
control --initiate --child net > /mnt/initiate || cat /mnt/initiate
ping -q -i 0.02 -c 50 -W 1 -I 10.2.0.1 10.1.0.1 | sed 's/^/FIRST /'
ping -q -s 3000 -c 3 -W 1 -I 10.2.0.1 10.1.0.1 | sed 's/^/LARGE /'
control --rekey --child net > /mnt/rekey || cat /mnt/rekey
control --rekey --ike kernel > /mnt/rekey || cat /mnt/rekey
ping -q -i 0.02 -c 50 -W 1 -I 10.2.0.1 10.1.0.1 | sed 's/^/AFTER /'
ip -s xfrm state | grep -E 'proto esp|flag|replay|encap|aead|auth|enc ' | sed 's/^/XFRM /'
ip -s xfrm state | grep -A 8 'stats:' | sed 's/^/XFRM /'
CONF
}

run_case() { # NAME IKE OUR-ESP GUEST-ESP ENCAPSULATION ESN
    section "$1: ESP $3, UDP encapsulation: $5"
    lab_open "igk$$"
    host ours forward
    ip -n "$lab-ours" tuntap add dev tap0 mode tap
    ip -n "$lab-ours" address add $ours/24 dev tap0
    ip -n "$lab-ours" link set tap0 up
    ip -n "$lab-ours" address add 10.1.0.1/24 dev lo
    cat > "$lab_directory/gatewayd.toml" <<CONF
local_addresses = ["$ours"]

[[connection]]
name = "kernel"
peer = "$guest"
psk = "$secret"
start = "wait"
ike = ["$2"]
esp = ["$3"]
esn = "$6"
local_subnets = ["10.1.0.0/24"]
peer_subnets = ["10.2.0.0/24"]

[[route]]
destination = "10.2.0.0/24"
connection = "kernel"
CONF
    chmod 600 "$lab_directory/gatewayd.toml"
    start gatewayd ours "$programs/gatewayd" --config "$lab_directory/gatewayd.toml" --socket "$lab_directory/gatewayd.sock" --state "$lab_directory/state"
    check_within 5 "gatewayd runs" "$programs/gatewayctl" --socket "$lab_directory/gatewayd.sock" status
    start capture ours tcpdump -n -U -i tap0 -w "$lab_directory/tap0.pcap"
    write_guest "$2" "$4" "$5"
    on ours timeout 90 "$uml/usr/bin/linux.uml" mem=256M rootfstype=hostfs rootflags=/ ro init="$here/kernel-esp-guest.sh" con=null con0=fd:0,fd:1 quiet \
        modules="$uml" home="$lab_directory/guest" address=$guest inner=10.2.0.1 vec0:transport=tap,ifname=tap0,depth=128,gro=1 < /dev/null > "$lab_directory/guest.log" 2>&1
    check "50 pings" grep -qa 'FIRST 50 packets transmitted, 50 received' "$lab_directory/guest.log"
    check "3000-byte pings, fragmented inside" grep -qa 'LARGE 3 packets transmitted, 3 received' "$lab_directory/guest.log"
    check "50 pings after the guest rekeyed the Child SA and the IKE SA" grep -qa 'AFTER 50 packets transmitted, 50 received' "$lab_directory/guest.log"
    [ "$6" = off ] || check "the kernel uses extended sequence numbers" grep -qa 'XFRM.*flag.*esn' "$lab_directory/guest.log"
    if [ "$5" = yes ]; then
        check "on the wire: ESP in UDP" captured_some 'udp port 4500 and udp[8:4] != 0 and len > 60'
    else
        check "on the wire: IP protocol 50" captured_some 'ip proto 50'
    fi
    if [ "$checks_failed" -gt "${reported:-0}" ]; then
        reported=$checks_failed
        sed -n '/GUEST UP/,$p' "$lab_directory/guest.log" | tail -n 40 | sed 's/^/          guest:    /'
        tail -n 15 "$lab_directory/gatewayd.log" | sed 's/^/          gatewayd: /'
    fi
    lab_close
}

captured_some() { [ "$(tcpdump -n -r "$lab_directory/tap0.pcap" "$1" 2> /dev/null | wc -l)" -ge 20 ]; }

run_case "AES-GCM, extended sequence numbers" aes128gcm16-prfsha256-x25519 aes128gcm16 aes128gcm16-esn no require
run_case "AES-GCM" aes256gcm16-prfsha384-ecp384 aes256gcm16 aes256gcm16-noesn no off
run_case "ChaCha20-Poly1305" chacha20poly1305-prfsha256-x25519 chacha20poly1305-x25519 chacha20poly1305-x25519-noesn no off
run_case "AES-CBC with HMAC-SHA2-256, extended sequence numbers" aes128-sha256-modp2048 aes128-sha256 aes128-sha256-esn no require
run_case "AES-GCM over UDP" aes128gcm16-prfsha256-x25519 aes128gcm16 aes128gcm16-esn-noesn yes prefer
printf '\nkernel-esp: %d passed, %d failed\n' "$checks_passed" "$checks_failed"
[ "$checks_failed" -eq 0 ]
