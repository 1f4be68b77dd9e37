//! The tables and keys of cend.toml.

use std::net::{Ipv4Addr, SocketAddr};
use std::ops::Range;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use ipnet::Ipv4Net;
use serde::Deserialize;
use toml::Spanned;

use super::error::ConfigError;

pub(super) fn default_log() -> String {
    "info".to_owned()
}

fn default_listen() -> SocketAddr {
    SocketAddr::from(([127, 0, 0, 1], 8080))
}

fn default_state() -> PathBuf {
    PathBuf::from("/var/lib/cend")
}

/// The whole file.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct File {
    #[serde(default = "default_listen")]
    pub listen: SocketAddr,
    pub listen_tls: Option<SocketAddr>,
    pub tls_certificate: Option<Spanned<PathBuf>>,
    pub tls_key: Option<Spanned<PathBuf>>,
    #[serde(default = "default_state")]
    pub state: PathBuf,
    #[serde(default = "default_log")]
    pub log: String,
    #[serde(default)]
    pub core_dumps: bool,
    pub access_key_file: Option<Spanned<PathBuf>>,
    #[serde(default)]
    pub access_key: Vec<AccessKey>,
    pub public_addresses: Option<Spanned<Ipv4Net>>,
    pub fabric: Option<Fabric>,
    #[serde(default)]
    pub vpc: Vec<Vpc>,
    #[serde(default)]
    pub vbr: Vec<Vbr>,
    #[serde(default)]
    pub vpn_gateway: Vec<VpnGateway>,
    #[serde(default)]
    pub instance: Vec<Host>,
    #[serde(default)]
    pub ha_vip: Vec<Host>,
    pub realism: Option<Realism>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct AccessKey {
    pub id: Spanned<String>,
    pub secret: String,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Fabric {
    pub namespace: Arc<str>,
}

/// The router of a VPC, bound before the VPC exists.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Vpc {
    pub region: String,
    pub name: Spanned<String>,
    pub cidr: Spanned<Ipv4Net>,
    pub namespace: Spanned<String>,
    pub router_device: String,
    pub router_address: Ipv4Addr,
    pub fabric_device: Spanned<String>,
    pub fabric_address: Ipv4Addr,
}

/// A VBR; the keys from `namespace` on bind it, all or none of them.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Vbr {
    pub id: Spanned<String>,
    pub region: String,
    #[serde(default)]
    pub name: String,
    pub route_table: Option<String>,
    pub router_interface: Option<String>,
    #[serde(default)]
    pub route: Vec<VbrRoute>,
    pub namespace: Option<Spanned<String>>,
    pub router_device: Option<String>,
    pub router_address: Option<Ipv4Addr>,
    pub fabric_device: Option<Spanned<String>>,
    pub fabric_address: Option<Ipv4Addr>,
    pub data_center_address: Option<Ipv4Addr>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct VbrRoute {
    pub destination: Spanned<Ipv4Net>,
    #[serde(rename = "type", default)]
    pub kind: VbrRouteType,
    pub as_path: Option<Spanned<Vec<u32>>>,
}

#[derive(Clone, Copy, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub(super) enum VbrRouteType {
    #[default]
    Static,
    Bgp,
}

/// A VPN gateway, named before it exists; the keys from `namespace` on bind it, all or none of them.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct VpnGateway {
    pub region: String,
    pub name: Spanned<String>,
    pub public_address: Spanned<Ipv4Addr>,
    pub namespace: Option<Spanned<String>>,
    pub inner_address: Option<Ipv4Addr>,
    pub router_address: Option<Ipv4Addr>,
    pub socket: Option<PathBuf>,
}

/// An ECS instance or a HaVip.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Host {
    pub id: Spanned<String>,
    pub region: String,
    /// The name of its VPC.
    pub vpc: String,
    pub address: Ipv4Addr,
}

/// How real the cloud is when cend starts.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Realism {
    /// In milliseconds.
    pub delay: Option<Spanned<u64>>,
    pub busy: Option<Spanned<f64>>,
    #[serde(default)]
    pub seed: u64,
    #[serde(default)]
    pub calls_per_second: u32,
}

/// The text that complaints point into.
pub(super) struct Source<'a> {
    pub path: &'a Path,
    pub text: &'a str,
}

impl Source<'_> {
    /// A complaint about the value at `span`.
    pub fn wrong(&self, span: Range<usize>, key: &str, message: impl Into<String>) -> ConfigError {
        ConfigError {
            file: self.path.to_owned(),
            line: Some(self.line(span.start)),
            key: Some(key.to_owned()),
            message: message.into(),
        }
    }

    /// A complaint of the parser, with the key that stands on its line.
    pub fn syntax(&self, error: &toml::de::Error) -> ConfigError {
        let line = error.span().map(|span| self.line(span.start));
        let text = line.and_then(|line| self.text.lines().nth(line - 1)).unwrap_or_default();
        let key = text
            .split_once('=')
            .map(|(key, _)| key.trim())
            .or_else(|| Some(text.trim()).filter(|t| t.starts_with('[')));
        ConfigError {
            file: self.path.to_owned(),
            line,
            key: key.map(str::to_owned),
            message: error.message().to_owned(),
        }
    }

    fn line(&self, at: usize) -> usize {
        1 + self.text.bytes().take(at).filter(|byte| *byte == b'\n').count()
    }
}
