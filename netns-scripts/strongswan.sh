# strongSwan as a peer: its configuration, and charon-systemd in a namespace with its userspace ESP (kernel-libipsec).
# Sourced.
#
# Everything of one instance lives under $lab_directory/<instance>: configuration, vici socket, log, and a copy of
# swanctl, because Debian's AppArmor profile ties /usr/sbin/swanctl to /etc/swanctl and /run/charon.vici.

strongswan_packages="charon-systemd strongswan-swanctl libcharon-extra-plugins libstrongswan-standard-plugins libstrongswan-extra-plugins"

# swanctl_configuration NAME KEY=VALUE...: prints the swanctl.conf of one IKEv2 connection with a pre-shared key and a
# Child SA `net`. Keys: local_addrs remote_addrs local_ts remote_ts proposals esp_proposals secret, all needed; local_id
# and remote_id; more, lines that stand in the connection.
swanctl_configuration() {
    local name=$1 setting
    local -A is=()
    shift
    for setting in "$@"; do is[${setting%%=*}]=${setting#*=}; done
    cat <<CONF
connections {
  $name {
    version = 2
    local_addrs = ${is[local_addrs]}
    remote_addrs = ${is[remote_addrs]}
    proposals = ${is[proposals]}
    ${is[more]:-}
    local {
      auth = psk
      ${is[local_id]:+id = ${is[local_id]}}
    }
    remote {
      auth = psk
      ${is[remote_id]:+id = ${is[remote_id]}}
    }
    children {
      net {
        local_ts = ${is[local_ts]}
        remote_ts = ${is[remote_ts]}
        esp_proposals = ${is[esp_proposals]}
      }
    }
  }
}
secrets {
  ike-$name {
    secret = "${is[secret]}"
  }
}
CONF
}

# charon_configuration FOLDER ESP-PLUGINS: prints the strongswan.conf of a charon whose vici socket and log stand in the
# folder. With kernel-libipsec among the plugins the packets of IKE and ESP carry a mark that keeps them out of the tunnel.
# $charon_options are more lines for charon's section, $charon_log is the level of its log (1).
charon_configuration() {
    local marks=
    [[ $2 != *kernel-libipsec* ]] || marks='
    socket-default {
      fwmark = 0x42
    }
    kernel-netlink {
      fwmark = !0x42
    }
    kernel-libipsec {
      allow_peer_ts = yes
      fwmark = !0x42
    }'
    cat <<CONF
charon-systemd {
  load = random nonce openssl pem pkcs1 hmac kdf sha1 sha2 aes gcm ccm curve25519 chapoly vici $2 socket-default updown
  install_virtual_ip = no
  retransmit_tries = 4
  retransmit_timeout = 1
  ${charon_options:-}
  plugins {
    vici {
      socket = unix://$1/vici
    }$marks
  }
  filelog {
    charon {
      path = $1/charon.log
      default = ${charon_log:-1}
      flush_line = yes
    }
  }
}
swanctl {
  load = pem pkcs1 openssl random
}
CONF
}

# strongswan_start INSTANCE HOST SWANCTL-CONF: starts charon in the host's namespace and loads the configuration.
strongswan_start() {
    local instance=$1 host=$2 configuration=$3 home=$lab_directory/$1
    mkdir -p "$home/swanctl"
    chmod 700 "$home"
    install -m 600 "$configuration" "$home/swanctl/swanctl.conf"
    cp /usr/sbin/swanctl "$home/swanctl-copy"
    cp /usr/sbin/charon-systemd "$home/charon-copy"
    charon_configuration "$home" "kernel-libipsec kernel-netlink" > "$home/strongswan.conf"
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
