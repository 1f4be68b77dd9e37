//! The tables and keys of cend.toml.

use std::net::{Ipv4Addr, SocketAddr};
use std::ops::Range;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use ipnet::Ipv4Net;
use serde::de::Error;
use serde::{Deserialize, Deserializer};
use toml::Spanned;

use super::error::ConfigError;
use crate::crypto::secret::Secret;
use crate::wire::cidr::Cidr;

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
    pub log: Option<Spanned<String>>,
    #[serde(default)]
    pub core_dumps: bool,
    pub access_key_file: Option<Spanned<PathBuf>>,
    #[serde(default)]
    pub access_key: Vec<AccessKey>,
    pub public_addresses: Option<Spanned<Cidr<Ipv4Net>>>,
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
    #[serde(deserialize_with = "secret")]
    pub secret: Secret,
}

/// Whatever it is, no complaint shows it.
fn secret<'d, D: Deserializer<'d>>(deserializer: D) -> Result<Secret, D::Error> {
    match toml::Value::deserialize(deserializer)? {
        toml::Value::String(text) if !text.is_empty() => Ok(Secret::new(text.into_bytes())),
        _ => Err(D::Error::custom("allowed: a text in quotes, not empty")),
    }
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
    pub region: Spanned<String>,
    pub name: Spanned<String>,
    pub cidr: Spanned<Cidr<Ipv4Net>>,
    pub namespace: Spanned<String>,
    pub router_device: Spanned<String>,
    pub router_address: Ipv4Addr,
    pub fabric_device: Spanned<String>,
    pub fabric_address: Ipv4Addr,
}

/// A VBR; the keys from `namespace` on bind it, all or none of them.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Vbr {
    pub id: Spanned<String>,
    pub region: Spanned<String>,
    #[serde(default)]
    pub name: String,
    pub route_table: Option<String>,
    pub router_interface: Option<String>,
    #[serde(default)]
    pub route: Vec<VbrRoute>,
    pub namespace: Option<Spanned<String>>,
    pub router_device: Option<Spanned<String>>,
    pub router_address: Option<Ipv4Addr>,
    pub fabric_device: Option<Spanned<String>>,
    pub fabric_address: Option<Ipv4Addr>,
    pub data_center_address: Option<Ipv4Addr>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct VbrRoute {
    pub destination: Spanned<Cidr<Ipv4Net>>,
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
    pub region: Spanned<String>,
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
    pub region: Spanned<String>,
    /// The name of its VPC.
    pub vpc: String,
    pub address: Ipv4Addr,
}

/// What may stand where the standard library's readers only say what does not.
const ALLOWED: &[(&str, &str)] = &[
    ("invalid socket address syntax", "an address with a port in quotes, such as \"127.0.0.1:8080\""),
    ("invalid IPv4 address syntax", "an IPv4 address in quotes, such as \"192.0.2.1\""),
];

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

impl<'t> Source<'t> {
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
        let allowed = ALLOWED.iter().find(|(message, _)| *message == error.message());
        let message = match allowed {
            Some((message, allowed)) => format!("{message}; allowed: {allowed}"),
            None => error.message().to_owned(),
        };
        ConfigError { file: self.path.to_owned(), line, key: line.and_then(|line| self.key(line)), message }
    }

    /// The key of a line, behind that of the table which it stands in. What does not look like a key of cend.toml may be part
    /// of a value, and that of a secret.
    fn key(&self, line: usize) -> Option<String> {
        let above: Vec<&str> = self.text.lines().take(line).map(str::trim).collect();
        let header = |line: &'t str| line.strip_prefix('[')?.trim_start_matches('[').split(']').next().filter(is_key);
        let table = above.iter().rev().copied().find_map(header);
        let own = above.last()?.split_once('=').map(|(key, _)| key.trim()).filter(is_key);
        let path: Vec<&str> = table.into_iter().chain(own).collect();
        (!path.is_empty()).then(|| path.join("."))
    }

    fn line(&self, at: usize) -> usize {
        1 + self.text.bytes().take(at).filter(|byte| *byte == b'\n').count()
    }
}

/// Whether it may be a key of cend.toml: their names are small letters with underscores, and a dot stands between two.
fn is_key(text: &&str) -> bool {
    !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_lowercase() || matches!(byte, b'_' | b'.'))
}
