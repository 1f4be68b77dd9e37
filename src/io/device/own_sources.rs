//! Packets out of a TUN whose source is an address of this host.

/// The gateway's own ICMP messages come out of the TUN with an address of this host as their source, which the kernel
/// takes for a forgery unless told otherwise. Where it cannot be told (a read-only /proc), senders of packets that are too
/// big learn nothing; everything else works.
pub(super) fn accept_own_sources(name: &str) {
    let _ = std::fs::write(format!("/proc/sys/net/ipv4/conf/{name}/accept_local"), "1");
}
