# Installs Debian packages without starting any service of theirs. Sourced by the other scripts.

# install_packages PACKAGE...: installs those that are missing. A policy-rc.d that forbids service starts stands
# while apt runs, and whatever was there before is put back, also after a failure.
install_packages() {
    local missing=() package
    for package in "$@"; do
        dpkg-query -W -f '${db:Status-Status}' "$package" 2>/dev/null | grep -qx installed || missing+=("$package")
    done
    [ ${#missing[@]} -eq 0 ] && return 0
    echo "installing: ${missing[*]}" >&2
    (
        exec 9>/run/lock/ipsec-gateway-install.lock
        flock 9
        policy=/usr/sbin/policy-rc.d
        kept=$(mktemp)
        had_policy=no
        [ -e "$policy" ] && cp -a "$policy" "$kept" && had_policy=yes
        restore_policy() {
            rm -f "$policy"
            [ "$had_policy" = yes ] && cp -a "$kept" "$policy"
            rm -f "$kept"
        }
        trap restore_policy EXIT
        printf '#!/bin/sh\nexit 101\n' > "$policy"
        chmod 755 "$policy"
        export DEBIAN_FRONTEND=noninteractive
        log=$(mktemp)
        apt-get install -y -q --no-install-recommends "${missing[@]}" > "$log" 2>&1 ||
            { apt-get update -q > "$log" 2>&1 && apt-get install -y -q --no-install-recommends "${missing[@]}" >> "$log" 2>&1; } ||
            { cat "$log" >&2; rm -f "$log"; exit 1; }
        rm -f "$log"
    )
}

# require_root: namespaces, TUN devices and raw sockets need it.
require_root() {
    [ "$(id -u)" -eq 0 ] || { echo "$0: needs root: it makes network namespaces and TUN devices" >&2; exit 2; }
}
