#!/bin/bash
# Init of a User-Mode Linux guest: an IPsec peer with the kernel's own ESP (strongSwan's charon with kernel-netlink).
# Its root is the host's, read-only over hostfs. On the kernel's command line: home=DIR with strongswan.conf, swanctl.conf,
# charon-copy, swanctl-copy and scenario; modules=DIR that holds lib/modules/$(uname -r); address= and inner= of the guest.
mount -t proc proc /proc
mount -t sysfs sys /sys
mount -t tmpfs tmp /mnt
mount -t tmpfs tmp /tmp
export PATH=/usr/sbin:/usr/bin:/sbin:/bin
for argument in $(cat /proc/cmdline); do
    case $argument in home=* | modules=* | address=* | inner=*) eval "$argument" ;; esac
done
for module in jitterentropy_rng drbg ctr gcm ghash-generic seqiv echainiv authenc authencesn cbc hmac sha256_generic sha512_generic \
    chacha_generic poly1305_generic chacha20poly1305 esp4 esp6 xfrm_user tunnel4; do
    modprobe -q -d "$modules" "$module"
done
cd /
ip link set lo up
ip address add "$address/24" dev vec0
ip link set vec0 up
ip address add "$inner/24" dev lo

# control COMMAND...: swanctl on this guest's charon
control() {
    local command=$1
    shift
    STRONGSWAN_CONF=$home/strongswan.conf "$home/swanctl-copy" "$command" --uri unix:///mnt/vici "$@"
}
STRONGSWAN_CONF=$home/strongswan.conf "$home/charon-copy" > /mnt/charon.out 2>&1 &
for attempt in $(seq 100); do [ -S /mnt/vici ] && break; sleep 0.1; done
control --load-all --file "$home/swanctl.conf"
echo "GUEST UP $(uname -r)"
. "$home/scenario"
echo "GUEST DONE"
tail -n 60 /mnt/charon.log
echo o > /proc/sysrq-trigger
sleep 5
