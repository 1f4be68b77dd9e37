# What bench.sh compares: how each contender gets onto the machine and how it is started. Sourced by bench.sh.

contenders="plain ours ours-aes256 ours-raw ours-plain-tun ours-to-strongswan wireguard-go wireguard-go-newest boringtun strongswan"
wireguard_go_version=20231211 boringtun_version=0.7.1

# What fits into the 1500 bytes between the gateways with IPv4 outside: WireGuard's default of 1420 would cut a UDP payload
# of 1400 bytes in two. Ours works its MTU out by itself. strongSwan's is 1400 and cannot be set (it goes on reading packets
# of 1400 bytes from a TUN with another MTU), so it alone carries that payload in two fragments.
wireguard_mtu=1440

# prepare_contenders NAME...: installs what they need, unpacks or builds the rivals under the build directory, prints
# their versions, and sets $selected to those that can run.
prepare_contenders() {
    local name packages="iproute2 iputils-ping procps nftables iperf3 jq python3 ethtool"
    rivals=${CARGO_TARGET_DIR:-$here/../target}/rivals
    mkdir -p "$rivals" && rivals=$(cd "$rivals" && pwd) || return 1
    case " $* " in *strongswan*) packages+=" $strongswan_packages" ;; esac
    case " $* " in *wireguard* | *boringtun*) packages+=" wireguard-tools" ;; esac
    install_packages $packages || return 1
    selected=()
    for name in "$@"; do
        case $name in
            wireguard-go) unpack_wireguard_go trixie "$name" "0.0.$wireguard_go_version" || return 1 ;;
            wireguard-go-newest)
                unpack_wireguard_go sid "$name" 0.0. ||
                    { printf '\n!!! %s IS LEFT OUT: Debian sid cannot be had !!!\n\n' "$name" >&2; continue; } ;;
            boringtun) build_boringtun || return 1 ;;
        esac
        selected+=("$name")
    done
    print_versions
}

print_versions() {
    local name
    echo "kernel $(uname -r), $(nproc) processors; $(iperf3 --version | head -n 1)"
    for name in "${selected[@]}"; do
        case $name in
            ours) echo "ours: $("$programs/gatewayd" --version)" ;;
            wireguard-go*) echo "$name: $(cat "$rivals/$name/version")" ;;
            boringtun) echo "boringtun: $("$rivals/boringtun/bin/boringtun-cli" --version)" ;;
            strongswan) echo "strongswan: $(dpkg-query -W -f '${Version}' charon-systemd), kernel-libipsec, AES-GCM-128 in UDP" ;;
        esac
    done
}

# unpack_wireguard_go SUITE NAME VERSION-PREFIX: Debian's package of that suite, which need not be this machine's, into
# $rivals/NAME. apt works on a state of its own; its mirror is the machine's.
unpack_wireguard_go() {
    local suite=$1 home=$rivals/$2 prefix=$3 state mirror keyring=/usr/share/keyrings/debian-archive-keyring.gpg options
    [ -z "$(find "$home/version" -mtime -7 2> /dev/null)" ] || return 0
    state=$(mktemp -d) && chmod 755 "$state" && mkdir -p "$state/lists/partial" "$state/cache/archives/partial" || return 1
    mirror=$(apt-get indextargets --format '$(REPO_URI) $(CODENAME)' 'Created-By: Packages' 'Origin: Debian' |
        awk '$2 !~ /-/ { print $1; exit }')
    echo "deb [signed-by=$keyring] $mirror $suite main" > "$state/sources.list"
    options="-q -o Dir::Etc::SourceList=$state/sources.list -o Dir::Etc::SourceParts=- -o Dir::State::Lists=$state/lists
        -o Dir::Cache=$state/cache -o Acquire::Languages=none -o APT::Sandbox::User=root"
    (cd "$state" && apt-get $options update && apt-get $options download wireguard-go) > "$state/log" 2>&1
    if compgen -G "$state/wireguard-go_$prefix*.deb" > /dev/null; then
        rm -rf "$home" && dpkg-deb -x "$state"/wireguard-go_*.deb "$home" &&
            dpkg-deb -f "$state"/wireguard-go_*.deb Version > "$home/version"
    elif [ ! -e "$home/version" ]; then
        echo "wireguard-go $prefix* is not to be had from $mirror $suite:" >&2
        tail -n 5 "$state/log" >&2
    fi
    rm -rf "$state"
    [ -e "$home/version" ]
}

build_boringtun() {
    local home=$rivals/boringtun
    [ "$("$home/bin/boringtun-cli" --version 2> /dev/null)" = "boringtun $boringtun_version" ] && return
    cargo install --quiet --locked boringtun-cli --version "$boringtun_version" --root "$home" --target-dir "$rivals/boringtun-build" &&
        rm -rf "$rivals/boringtun-build"
}

# start_contender NAME: a lab with that contender between the gateways; returns when the hosts reach each other.
start_contender() {
    lab_open "igb$$"
    make_topology
    start_tunnel "$1" || return 1
    start iperf right-host iperf3 -s
    start udp-load right-host "$programs/examples/udp_load" receive 10.2.0.10:7000
    wait_for_tunnel 15 || { echo "$1: no connection" >&2; tail -n 5 "$lab_directory"/*.log >&2; return 1; }
}

start_tunnel() {
    case $1 in
        plain)
            ip -n "$lab-left" route add 10.2.0.0/24 via 203.0.113.2
            ip -n "$lab-right" route add 10.1.0.0/24 via 203.0.113.1 ;;
        ours) start_ours aes128gcm16 '' 'force_encapsulation = true' ;;
        ours-aes256) start_ours aes256gcm16 '' 'force_encapsulation = true' ;;
        ours-raw) start_ours aes128gcm16 '' '' ;;
        ours-plain-tun) start_ours aes128gcm16 'tun_backend = "plain"' 'force_encapsulation = true' ;;
        ours-to-strongswan) start_strongswan right && start_gatewayd left now aes128gcm16 '' 'force_encapsulation = true' ;;
        wireguard-go*) start_wireguard "$rivals/$1/usr/bin/wireguard-go" -f ;;
        boringtun) start_wireguard "$rivals/boringtun/bin/boringtun-cli" --foreground --disable-drop-privileges ;;
        strongswan) start_strongswan right && start_strongswan left && swanctl_on left --initiate --child net > /dev/null ;;
    esac
}

start_ours() { # ESP SETTINGS CONNECTION-SETTINGS
    start_gatewayd right wait "$@"
    start_gatewayd left now "$@"
}

start_strongswan() { # SIDE
    local address peer subnet peer_subnet
    side_addresses "$1"
    swanctl_configuration tunnel "local_addrs=$address" "remote_addrs=$peer" "local_ts=$subnet" "remote_ts=$peer_subnet" \
        proposals=aes128gcm16-prfsha256-x25519 esp_proposals=aes128gcm16 "secret=$secret" "more=encap = yes" > "$lab_directory/$1.conf"
    strongswan_start "$1" "$1" "$lab_directory/$1.conf"
}

# The control sockets of WireGuard's userspace programs stand in one folder for all namespaces, named after the devices:
# so the devices' names are this run's own.
wireguard_device() { echo "wg$$${1:0:1}"; }

start_wireguard() { # PROGRAM ARGUMENTS...
    local side address peer subnet peer_subnet device
    for side in left right; do
        (umask 077 && wg genkey > "$lab_directory/$side.key")
        wg pubkey < "$lab_directory/$side.key" > "$lab_directory/$side.public"
    done
    for side in left right; do
        side_addresses $side
        device=$(wireguard_device $side)
        start $side $side env WG_PROCESS_FOREGROUND=1 "$@" "$device"
        wait_for 5 test -S "/run/wireguard/$device.sock" || { echo "$1 did not start" >&2; cat "$lab_directory/$side.log" >&2; return 1; }
        on $side wg set "$device" private-key "$lab_directory/$side.key" listen-port 51820 \
            peer "$(cat "$lab_directory/$([ $side = left ] && echo right || echo left).public")" \
            allowed-ips "$peer_subnet" endpoint "$peer:51820" || return 1
        ip -n "$lab-$side" link set "$device" mtu $wireguard_mtu up
        ip -n "$lab-$side" route add "$peer_subnet" dev "$device"
    done
}

# close_contender: everything of the contender comes down.
close_contender() {
    [ -n "${lab:-}" ] || return 0
    lab_close
    rm -f "/run/wireguard/$(wireguard_device left).sock" "/run/wireguard/$(wireguard_device right).sock"
    lab=
}
