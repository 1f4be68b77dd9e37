//! The keys at the top of the file.

use std::net::IpAddr;
use std::path::PathBuf;
use std::time::Duration;

use ipnet::IpNet;

use super::section::Section;
use super::value::{absolute_path, boolean, cidr, duration, integer, one_of, parsed, text};
use crate::daemon::log;
use crate::ike::Retransmission;
use crate::io::device::Backend;
use crate::routing::FIREWALL_MARK;

/// Where the state is kept unless the file says otherwise.
pub const DEFAULT_STATE: &str = "/var/lib/gatewayd";

/// Most keys at the top of the file. A change of one of these takes effect at the next start only.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Gateway {
    /// Outer addresses of this gateway; empty: any.
    pub local_addresses: Vec<IpAddr>,
    /// The name of the TUN device, up to 15 bytes.
    pub tun: String,
    /// Whether the TUN device hands over super-packets.
    pub tun_backend: Backend,
    /// Addresses of the TUN device, with their prefix lengths.
    pub inner_addresses: Vec<IpNet>,
    /// The most that any path is believed to take, and the TUN's MTU: what fits through the tunnel is worked out per SA.
    pub mtu: u32,
    /// How long it takes at most until a path that takes larger packets than before is found.
    pub pmtu_raise: Duration,
    /// How long a request on an established IKE SA is repeated before the IKE SA is given up.
    pub retransmission_timeout: Duration,
    /// The path of the control socket.
    pub socket: PathBuf,
    /// The directory of the state, which only its owner may look into.
    pub state: PathBuf,
    /// Firewall mark of gatewayd's own packets.
    pub mark: u32,
    /// `error`, `warn`, `info`, `debug` or `trace`.
    pub log: String,
    /// Core files, which hold keys, are permitted.
    pub core_dumps: bool,
    /// Folder for the keys of every SA, so that a capture can be read.
    pub key_log: Option<PathBuf>,
}

impl Gateway {
    /// Reads the keys; what is wrong with them, the source notes.
    pub fn read(section: &mut Section<'_>) -> Self {
        const ADDRESS: &str = "an IPv4 or IPv6 address in quotes";
        let local_addresses = section.list("local_addresses", parsed(ADDRESS)).unwrap_or_default();
        let inner = "an address with its prefix length in quotes, without leading zeros, such as \"10.255.0.1/32\"";
        Self {
            local_addresses,
            tun: section.optional("tun", device_name).unwrap_or_else(|| "gwd0".to_owned()),
            tun_backend: section.optional("tun_backend", one_of(TUN_BACKENDS)).unwrap_or_default(),
            inner_addresses: section.list("inner_addresses", cidr(inner)).unwrap_or_default(),
            // RFC 8200 5: no link below 1280 bytes can carry IPv6.
            mtu: section.optional("mtu", integer(1280..=65_535)).unwrap_or(1500) as u32,
            // RFC 1191 6.3 and RFC 8201 4: ten minutes.
            pmtu_raise: section
                .optional("pmtu_raise", duration(1..=86_400))
                .unwrap_or_else(|| Duration::from_secs(600)),
            // RFC 7296 2.4: a dozen transmissions over several minutes.
            retransmission_timeout: section
                .optional("retransmission_timeout", duration(10..=3600))
                .unwrap_or_else(|| Retransmission::default().timeout),
            socket: section.optional("socket", absolute_path).unwrap_or_else(|| "/run/gatewayd/control.sock".into()),
            state: section.optional("state", absolute_path).unwrap_or_else(|| DEFAULT_STATE.into()),
            mark: section.optional("mark", integer(1..=u64::from(u32::MAX))).map_or(FIREWALL_MARK, |mark| mark as u32),
            log: section.optional("log", log_level).unwrap_or(log::DEFAULT).to_owned(),
            core_dumps: section.optional("core_dumps", boolean).unwrap_or(false),
            key_log: read_key_log(section),
        }
    }
}

fn read_key_log(section: &mut Section<'_>) -> Option<PathBuf> {
    let folder = section.optional("key_log", absolute_path)?;
    section.warn("key_log", "the keys of every SA are written there, so whoever reads the folder reads the tunnels");
    Some(folder)
}

const TUN_BACKENDS: &[(&str, Backend)] =
    &[("auto", Backend::Auto), ("offload", Backend::Offload), ("plain", Backend::Plain)];

fn log_level(value: &toml::de::DeValue<'_>) -> Result<&'static str, String> {
    let levels = ["error", "warn", "info", "debug", "trace"].map(|level| (level, level));
    one_of(&levels)(value)
}

/// Linux allows 15 bytes, without slashes and blanks.
fn device_name(value: &toml::de::DeValue<'_>) -> Result<String, String> {
    let name = text(value)?;
    if name.len() > 15 || name.contains(|c: char| c == '/' || c == '%' || !c.is_ascii_graphic()) {
        return Err(format!(
            "\"{name}\" is no device name; allowed: up to 15 letters, digits and signs without / and %"
        ));
    }
    Ok(name)
}
