//! What this machine and network namespace offer to gatewayd: `gatewayctl check --host`.

use std::fs::{self, OpenOptions};
use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::os::fd::AsRawFd;
use std::path::Path;
use std::process::{Command, Stdio};

use nix::sys::socket::{setsockopt, sockopt};
use schemars::JsonSchema;
use serde::Serialize;
use socket2::{Domain, Protocol, Socket, Type};

use super::instance;

/// One thing that was looked at.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, JsonSchema)]
pub struct Finding {
    /// What was looked at, such as `/dev/net/tun` or `UDP port 500`.
    pub subject: &'static str,
    /// Whether gatewayd can do with it.
    pub verdict: Verdict,
    /// What was found, and where something is missing, what to do about it.
    pub detail: String,
}

/// Whether gatewayd can do with what this machine offers.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum Verdict {
    /// All that gatewayd uses is there.
    Good,
    /// gatewayd does without, but slower or with less.
    Lacking,
    /// gatewayd cannot run.
    Missing,
}

fn good(subject: &'static str, detail: impl Into<String>) -> Finding {
    Finding { subject, verdict: Verdict::Good, detail: detail.into() }
}

fn missing(subject: &'static str, detail: impl Into<String>) -> Finding {
    Finding { subject, verdict: Verdict::Missing, detail: detail.into() }
}

fn lacking(subject: &'static str, detail: impl Into<String>) -> Finding {
    Finding { subject, verdict: Verdict::Lacking, detail: detail.into() }
}

/// Looks at everything. Nothing is changed: no device is made, and sockets are closed at once.
pub fn findings() -> Vec<Finding> {
    let mut findings = vec![privileges(), tun()];
    for port in [500, 4500] {
        findings.push(udp_port(port));
    }
    findings.extend([raw_sockets(), udp_offload(), tun_offload(), forwarding(), nftables()]);
    findings
}

/// What a configuration is compared with.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Here {
    /// The addresses of this network namespace.
    pub addresses: Vec<IpAddr>,
    /// Why no TUN device of the configured name can be had, if somebody has it.
    pub tun_taken: Option<String>,
}

impl Here {
    /// Looks at this machine and network namespace. `tun`: the configured name of the TUN device.
    ///
    /// # Errors
    /// The system does not tell its addresses.
    pub fn look(tun: &str) -> io::Result<Self> {
        let addresses = nix::ifaddrs::getifaddrs()?.filter_map(|entry| {
            let address = entry.address?;
            let v4 = address.as_sockaddr_in().map(|address| IpAddr::V4(address.ip()));
            v4.or_else(|| address.as_sockaddr_in6().map(|address| IpAddr::V6(address.ip())))
        });
        Ok(Self { addresses: addresses.collect(), tun_taken: tun_taken(tun) })
    }
}

/// A TUN of this name that nobody has open is taken over; one that gatewayd has open is its own.
fn tun_taken(name: &str) -> Option<String> {
    let folder = Path::new("/sys/class/net").join(name);
    if !folder.exists() {
        return None;
    }
    // include/uapi/linux/if_tun.h: IFF_TUN is 1, IFF_TAP 2.
    let flags = fs::read_to_string(folder.join("tun_flags")).ok();
    let flags = flags.and_then(|text| u32::from_str_radix(text.trim().trim_start_matches("0x"), 16).ok());
    if flags.is_none_or(|flags| flags & 1 == 0) {
        return Some(format!("{name}: a network device of this name is there and is no TUN; name another one as tun"));
    }
    // A TUN has a carrier while a program has it open. Of one that is down the file cannot be read.
    let open = fs::read_to_string(folder.join("carrier")).is_ok_and(|carrier| carrier.trim() == "1");
    let ours = matches!(instance::holder(), Ok(Some(_)));
    (open && !ours).then(|| format!("{name}: another program has the TUN of this name open; name another one as tun"))
}

/// Bits of `CapEff` in /proc/self/status (capabilities(7)).
const CAPABILITIES: [(u32, &str); 3] = [(10, "CAP_NET_BIND_SERVICE"), (12, "CAP_NET_ADMIN"), (13, "CAP_NET_RAW")];

fn privileges() -> Finding {
    const SUBJECT: &str = "privileges";
    let status = match fs::read_to_string("/proc/self/status") {
        Ok(status) => status,
        Err(error) => return missing(SUBJECT, format!("not known, for /proc/self/status cannot be read: {error}")),
    };
    let capabilities = status.lines().find_map(|line| line.strip_prefix("CapEff:"));
    let Some(effective) = capabilities.and_then(|digits| u64::from_str_radix(digits.trim(), 16).ok()) else {
        return missing(SUBJECT, "not known, for /proc/self/status tells no CapEff".to_owned());
    };
    let lacking: Vec<&str> =
        CAPABILITIES.iter().filter(|(bit, _)| effective & (1 << bit) == 0).map(|(_, name)| *name).collect();
    if lacking.is_empty() {
        good(SUBJECT, "CAP_NET_ADMIN, CAP_NET_RAW and CAP_NET_BIND_SERVICE are there")
    } else {
        missing(SUBJECT, format!("{} missing; run as root or with AmbientCapabilities=", lacking.join(", ")))
    }
}

fn tun() -> Finding {
    const SUBJECT: &str = "/dev/net/tun";
    match OpenOptions::new().read(true).write(true).open("/dev/net/tun") {
        Ok(_) => good(SUBJECT, "can be opened"),
        Err(error) => missing(SUBJECT, format!("{error}; load the module tun, or allow the device")),
    }
}

fn udp_port(port: u16) -> Finding {
    let subject = if port == 500 { "UDP port 500" } else { "UDP port 4500" };
    for address in [IpAddr::V4(Ipv4Addr::UNSPECIFIED), IpAddr::V6(Ipv6Addr::UNSPECIFIED)] {
        match bind(SocketAddr::new(address, port)) {
            Ok(()) => {}
            // A machine without IPv6 is no worse for it.
            Err(error) if error.raw_os_error() == Some(libc::EAFNOSUPPORT) => {}
            Err(error) if error.kind() == io::ErrorKind::AddrInUse => {
                return missing(subject, "somebody listens on it already, perhaps gatewayd itself");
            }
            Err(error) => return missing(subject, error.to_string()),
        }
    }
    good(subject, "free")
}

fn bind(address: SocketAddr) -> io::Result<()> {
    let socket = Socket::new(Domain::for_address(address), Type::DGRAM, Some(Protocol::UDP))?;
    if address.is_ipv6() {
        socket.set_only_v6(true)?;
    }
    socket.bind(&address.into())
}

/// IP protocol 50, for ESP without UDP.
fn raw_sockets() -> Finding {
    const SUBJECT: &str = "raw sockets";
    match Socket::new(Domain::IPV4, Type::RAW, Some(Protocol::from(50))) {
        Ok(_) => good(SUBJECT, "ESP can travel as IP protocol 50"),
        Err(error) => missing(SUBJECT, error.to_string()),
    }
}

fn udp_offload() -> Finding {
    const SUBJECT: &str = "UDP offloads";
    let socket = match Socket::new(Domain::IPV4, Type::DGRAM, Some(Protocol::UDP)) {
        Ok(socket) => socket,
        Err(error) => return missing(SUBJECT, error.to_string()),
    };
    let segment = setsockopt(&socket, sockopt::UdpGsoSegment, &1400).is_ok();
    let receive = setsockopt(&socket, sockopt::UdpGroSegment, &true).is_ok();
    match (segment, receive) {
        (true, true) => good(SUBJECT, "UDP_SEGMENT and UDP_GRO are there"),
        (false, true) => lacking(SUBJECT, "no UDP_SEGMENT: each packet is sent by a call of its own"),
        (true, false) => lacking(SUBJECT, "no UDP_GRO: each packet is received by a call of its own"),
        (false, false) => lacking(SUBJECT, "neither UDP_SEGMENT nor UDP_GRO: each packet is a call of its own"),
    }
}

nix::ioctl_read_bad!(
    /// Writes the `IFF_` flags that the kernel's TUN driver knows (`TUNGETFEATURES`, linux/if_tun.h).
    tun_features,
    libc::TUNGETFEATURES,
    libc::c_uint
);

fn tun_offload() -> Finding {
    const SUBJECT: &str = "TUN offloads";
    let Ok(file) = OpenOptions::new().read(true).write(true).open("/dev/net/tun") else {
        return missing(SUBJECT, "/dev/net/tun cannot be opened");
    };
    let mut features: libc::c_uint = 0;
    // SAFETY: the descriptor is open for the whole call, and TUNGETFEATURES writes one unsigned int to the pointer.
    let asked = unsafe { tun_features(file.as_raw_fd(), &raw mut features) };
    let header = features & libc::IFF_VNET_HDR as libc::c_uint != 0;
    let queues = features & libc::IFF_MULTI_QUEUE as libc::c_uint != 0;
    match asked {
        Err(error) => lacking(SUBJECT, error.to_string()),
        Ok(_) if header && queues => good(SUBJECT, "super-packets (IFF_VNET_HDR) and several queues are there"),
        Ok(_) if header => good(SUBJECT, "super-packets (IFF_VNET_HDR) are there"),
        Ok(_) => lacking(SUBJECT, "no IFF_VNET_HDR: the device hands over one packet a call"),
    }
}

fn forwarding() -> Finding {
    const SUBJECT: &str = "forwarding";
    match fs::read_to_string("/proc/sys/net/ipv4/ip_forward") {
        Ok(value) if value.trim() == "1" => good(SUBJECT, "net.ipv4.ip_forward is on"),
        Ok(_) => lacking(SUBJECT, "net.ipv4.ip_forward is 0: only this machine itself reaches the tunnels"),
        Err(error) => lacking(SUBJECT, error.to_string()),
    }
}

fn nftables() -> Finding {
    const SUBJECT: &str = "nft";
    let run = Command::new("nft").arg("--version").stdin(Stdio::null()).stderr(Stdio::null()).output();
    match run {
        Ok(output) if output.status.success() => {
            good(SUBJECT, String::from_utf8_lossy(&output.stdout).trim().to_owned())
        }
        _ => missing(SUBJECT, "not found; install nftables: gatewayd drops plaintext of protected networks with it"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_subject_is_looked_at_once() {
        let findings = findings();
        let subjects: std::collections::BTreeSet<&str> = findings.iter().map(|finding| finding.subject).collect();
        assert_eq!(subjects.len(), findings.len());
        assert!(findings.iter().all(|finding| !finding.detail.is_empty()));
    }

    #[test]
    fn a_port_in_use_is_seen() {
        let taken = std::net::UdpSocket::bind("127.0.0.1:0").unwrap();
        let error = bind(taken.local_addr().unwrap()).unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::AddrInUse);
    }
}
