# strongSwan as a peer in a namespace: charon-systemd with its userspace ESP (kernel-libipsec). Sourced.
#
# Everything of one instance lives under $lab_directory/<instance>: configuration, vici socket, log, and a copy of
# swanctl, because Debian's AppArmor profile ties /usr/sbin/swanctl to /etc/swanctl and /run/charon.vici.

strongswan_packages="charon-systemd strongswan-swanctl libcharon-extra-plugins libstrongswan-standard-plugins libstrongswan-extra-plugins"

# strongswan_start INSTANCE HOST SWANCTL-CONF: starts charon in the host's namespace and loads the configuration.
strongswan_start() {
    local instance=$1 host=$2 configuration=$3 home=$lab_directory/$1
    mkdir -p "$home/swanctl"
    chmod 700 "$home"
    install -m 600 "$configuration" "$home/swanctl/swanctl.conf"
    cp /usr/sbin/swanctl "$home/swanctl-copy"
    cp /usr/sbin/charon-systemd "$home/charon-copy"
    cat > "$home/strongswan.conf" <<CONF
charon-systemd {
  load = random nonce openssl pem pkcs1 hmac kdf sha1 sha2 aes gcm ccm curve25519 chapoly vici kernel-libipsec kernel-netlink socket-default updown
  install_virtual_ip = no
  retransmit_tries = 4
  retransmit_timeout = 1
  plugins {
    vici {
      socket = unix://$home/vici
    }
    socket-default {
      fwmark = 0x42
    }
    kernel-netlink {
      fwmark = !0x42
    }
    kernel-libipsec {
      allow_peer_ts = yes
      fwmark = !0x42
    }
  }
  filelog {
    charon {
      path = $home/charon.log
      default = 1
      flush_line = yes
    }
  }
}
swanctl {
  load = pem pkcs1 openssl random
}
CONF
    STRONGSWAN_CONF=$home/strongswan.conf start "$instance" "$host" "$home/charon-copy"
    wait_for 10 test -S "$home/vici" || { echo "charon did not start; see $lab_directory/$instance.log" >&2; return 1; }
    swanctl_on "$instance" --load-all --file "$home/swanctl/swanctl.conf" > "$home/load.log" 2>&1 ||
        { cat "$home/load.log" >&2; return 1; }
}

# swanctl_on INSTANCE COMMAND...: the instance's own swanctl.
swanctl_on() {
    local home=$lab_directory/$1 command=$2
    shift 2
    STRONGSWAN_CONF=$home/strongswan.conf SWANCTL_DIR=$home/swanctl "$home/swanctl-copy" "$command" --uri "unix://$home/vici" "$@"
}
