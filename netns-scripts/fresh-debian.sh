#!/usr/bin/env bash
# Makes a clean Debian 12 with debootstrap, puts a fresh clone of this checkout's HEAD into it, and runs the README's two
# commands there: the tutorial and the tests. What the system has beyond Debian's minimal base: git, a C compiler,
# Python 3 and this machine's Rust toolchain. Nothing outside the folder changes.
#
#   netns-scripts/fresh-debian.sh [--keep] [FOLDER]     default folder: a new one under /var/tmp; some 8 GB while it runs
set -eu
here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
. "$here/install.sh"
require_root
keep=no
[ "${1:-}" = --keep ] && { keep=yes; shift; }
root=${1:-$(mktemp -d /var/tmp/ipsec-gateway-debian-XXXXXX)}
install_packages debootstrap

if [ "${IPSEC_GATEWAY_INSIDE:-}" != yes ]; then
    # a mount namespace of its own: every mount below ends with it
    export IPSEC_GATEWAY_INSIDE=yes
    status=0
    unshare --mount --propagation private "${BASH_SOURCE[0]}" $([ "$keep" = yes ] && echo --keep) "$root" || status=$?
    [ "$keep" = yes ] || rm -rf --one-file-system "$root"
    exit $status
fi

mirror=$(awk '$1 == "URIs:" { print $2; exit } $1 == "deb" { for (i = 2; i <= NF; i++) if ($i ~ /^[a-z+]+:/) { print $i; exit } }' \
    /etc/apt/sources.list.d/*.sources /etc/apt/sources.list 2> /dev/null)
echo "debootstrap into $root"
debootstrap --variant=minbase --include=ca-certificates,git,gcc,libc6-dev,python3 bookworm "$root" "$mirror" > "$root.log" 2>&1 ||
    { tail -n 20 "$root.log"; exit 1; }
rm -f "$root.log"
cp -a /etc/apt/. "$root/etc/apt/"
cp -L /etc/resolv.conf "$root/etc/resolv.conf" 2> /dev/null || true
cp -L --remove-destination /etc/ssl/certs/ca-certificates.crt "$root/etc/ssl/certs/ca-certificates.crt"
for file in /etc/pip.conf /etc/hosts; do [ -e "$file" ] && cp "$file" "$root$file"; done

# `ip netns exec` wants the root to be a mount
mount --bind "$root" "$root"
mount -t proc proc "$root/proc"
mount -t sysfs sysfs "$root/sys"
mount --rbind /dev "$root/dev"
mount -t tmpfs tmpfs "$root/run"
mount -t tmpfs tmpfs "$root/tmp"
mkdir -p "$root/run/lock" "$root/root/.cargo"
for folder in .rustup .cargo/bin; do
    mkdir -p "$root/root/$folder"
    mount --bind "${HOME:-/root}/$folder" "$root/root/$folder"
done
[ -e "${CARGO_HOME:-$HOME/.cargo}/config.toml" ] && cp "${CARGO_HOME:-$HOME/.cargo}/config.toml" "$root/root/.cargo/"

git clone -q --no-local "$here/.." "$root/root/ipsec-gateway"
inside() {
    env -i HOME=/root TERM="${TERM:-dumb}" LANG=C.UTF-8 PATH=/root/.cargo/bin:/usr/sbin:/usr/bin:/sbin:/bin \
        $(env | grep -E '^(PIP|SSL|CARGO_HTTP|RUSTUP)_' | xargs) chroot "$root" /bin/bash -c "cd /root/ipsec-gateway && $1"
}
inside netns-scripts/tutorial.sh
inside netns-scripts/test.sh
