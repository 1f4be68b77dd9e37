//! gatewayd.toml: read, checked and turned into what the modules take.
//!
//! Unknown keys and wrong values are refused, all at once, each with its file, line, key and what is allowed.

mod connection;
pub mod proposal;
pub mod secret;
pub mod section;
mod value;

use std::collections::{BTreeSet, HashMap, HashSet};
use std::net::IpAddr;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use ipnet::IpNet;
use zeroize::Zeroizing;

use crate::ike;
use crate::io::device::Backend;
use crate::io::{clock, private_file};
use crate::routing::{self, FIREWALL_MARK, VpnRoute, Weight};
use secret::Secrets;
pub use section::ConfigError;
use section::{Section, Source};

/// The largest configuration file that is read, in bytes.
const FILE_LIMIT: u64 = 64 << 20;

/// A whole gatewayd.toml.
#[derive(Clone, Debug)]
pub struct Config {
    pub gateway: Gateway,
    pub connections: Vec<Tunnel>,
    pub routes: Vec<VpnRoute>,
    /// Prefixes that are not protected although a route's destination holds them.
    pub bypass: BTreeSet<IpNet>,
    pub on_stop: OnStop,
    /// What an operator should change though it works.
    pub warnings: Vec<String>,
}

/// What becomes of the protected prefixes when SIGTERM ends gatewayd. Every other end leaves them closed.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum OnStop {
    /// Blackholes and filter stay until `gatewayctl release`.
    #[default]
    Closed,
    /// They are taken away.
    Open,
}

/// Most keys at the top of the file. A change of one of these takes effect at the next start only.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Gateway {
    /// Outer addresses of this gateway; empty: any.
    pub local_addresses: Vec<IpAddr>,
    pub tun: String,
    /// Whether the TUN device hands over super-packets.
    pub tun_backend: Backend,
    /// Addresses of the TUN device, with their prefix lengths.
    pub inner_addresses: Vec<IpNet>,
    /// The most that any path is believed to take, and the TUN's MTU: what fits through the tunnel is worked out per SA.
    pub mtu: u32,
    /// How long it takes at most until a path that takes larger packets than before is found.
    pub pmtu_raise: Duration,
    pub socket: PathBuf,
    pub state: PathBuf,
    /// Firewall mark of gatewayd's own packets.
    pub mark: u32,
    pub log: String,
}

/// Where a connection's peer is, as configured.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum PeerName {
    Address(IpAddr),
    /// A host name, resolved at the start and again and again.
    Name(String),
    Any,
}

impl std::fmt::Display for PeerName {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Address(address) => address.fmt(f),
            Self::Name(name) => f.write_str(name),
            Self::Any => f.write_str("any"),
        }
    }
}

/// What to do with the Don't Fragment bit of the outer IPv4 header.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Df {
    Copy,
    Set,
    Clear,
}

/// How a connection's packets are carried.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Carriage {
    /// Size of the replay window in packets.
    pub replay_window: u32,
    pub df: Df,
}

impl Default for Carriage {
    fn default() -> Self {
        Self { replay_window: 1024, df: Df::Copy }
    }
}

/// One connection: what IKE has to know, what the data path has to know, and the peer's name.
#[derive(Clone, Debug, PartialEq)]
pub struct Tunnel {
    /// `peer` in it is only right for addresses and `any`; [`Tunnel::ike`] fills in what a name resolved to.
    ike: Arc<ike::Connection>,
    pub peer: PeerName,
    pub carriage: Carriage,
    /// Protected networks, for export, child by child as in `ike`.
    pub subnets: Vec<ChildSubnets>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ChildSubnets {
    pub local: Vec<IpNet>,
    pub peer: Vec<IpNet>,
}

impl Tunnel {
    pub fn new(ike: ike::Connection, peer: PeerName, carriage: Carriage, subnets: Vec<ChildSubnets>) -> Self {
        Self { ike: Arc::new(ike), peer, carriage, subnets }
    }

    pub fn name(&self) -> &Arc<str> {
        &self.ike.name
    }

    /// The connection as configured, with an unresolved name standing as `any`.
    pub fn template(&self) -> &ike::Connection {
        &self.ike
    }

    /// The connection for IKE, with what the peer's name resolved to. None while a name has not been resolved.
    pub fn ike(&self, resolved: Option<IpAddr>) -> Option<Arc<ike::Connection>> {
        let peer = match (&self.peer, resolved) {
            (PeerName::Address(address), _) => ike::Peer::Address(*address),
            (PeerName::Any, _) => ike::Peer::Any,
            (PeerName::Name(_), Some(address)) => ike::Peer::Address(address),
            (PeerName::Name(_), None) => return None,
        };
        if peer == self.ike.peer {
            return Some(Arc::clone(&self.ike));
        }
        Some(Arc::new(ike::Connection { peer, ..ike::Connection::clone(&self.ike) }))
    }
}

impl Config {
    /// Reads and checks a file, and the files with secrets that it names.
    pub fn load(path: &Path) -> Result<Self, ConfigError> {
        let text = read_text(path).map_err(|error| ConfigError::about_file(path, error))?;
        Self::parse(&text, path)
    }

    /// Checks the text of a file; `path` is for messages and for the relative names of other files.
    pub fn parse(text: &str, path: &Path) -> Result<Self, ConfigError> {
        let source = Source::new(path, text);
        let root = source.parse()?;
        let mut section = Section::new(&source, &root);
        let gateway = read_gateway(&mut section);
        let secrets = Secrets::read(&mut section);
        let connections = connection::read_all(&mut section, &gateway, &secrets);
        let routes = read_routes(&mut section, &connections);
        let bypass = read_bypass(&mut section, &routes);
        let on_stop = section.optional("on_stop", value::one_of(ON_STOP)).unwrap_or_default();
        section.finish();
        let mut warnings = source.finish()?;
        if connections.iter().any(|read| read.key_in_file) && private_file::others_may_read(path) {
            warnings
                .push(format!("{}: holds pre-shared keys and others may read it; run chmod 600 on it", path.display()));
        }
        let connections = connections.into_iter().map(|read| read.tunnel).collect();
        Ok(Self { gateway, connections, routes, bypass, on_stop, warnings })
    }
}

fn read_text(path: &Path) -> Result<Zeroizing<String>, String> {
    let length = std::fs::metadata(path).map_err(|error| error.to_string())?.len();
    if length > FILE_LIMIT {
        return Err(format!("{length} bytes are too many for a configuration file; allowed: up to {FILE_LIMIT}"));
    }
    std::fs::read_to_string(path).map(Zeroizing::new).map_err(|error| error.to_string())
}

fn read_gateway(section: &mut Section<'_>) -> Gateway {
    const ADDRESS: &str = "an IPv4 or IPv6 address in quotes";
    let local_addresses = section.list("local_addresses", value::parsed(ADDRESS)).unwrap_or_default();
    let inner = "an address with its prefix length in quotes, such as \"10.255.0.1/32\"";
    Gateway {
        local_addresses,
        tun: section.optional("tun", device_name).unwrap_or_else(|| "gwd0".to_owned()),
        tun_backend: section.optional("tun_backend", value::one_of(TUN_BACKENDS)).unwrap_or_default(),
        inner_addresses: section.list("inner_addresses", value::parsed(inner)).unwrap_or_default(),
        // RFC 8200 5: no link below 1280 bytes can carry IPv6.
        mtu: section.optional("mtu", value::integer(1280..=65_535)).unwrap_or(1500) as u32,
        // RFC 1191 6.3 and RFC 8201 4: ten minutes.
        pmtu_raise: section
            .optional("pmtu_raise", value::duration(1..=86_400))
            .unwrap_or_else(|| Duration::from_secs(600)),
        socket: section.optional("socket", absolute_path).unwrap_or_else(|| "/run/gatewayd/control.sock".into()),
        state: section.optional("state", absolute_path).unwrap_or_else(|| DEFAULT_STATE.into()),
        mark: section
            .optional("mark", value::integer(1..=u64::from(u32::MAX)))
            .map_or(FIREWALL_MARK, |mark| mark as u32),
        log: section.optional("log", log_level).unwrap_or(super::log::DEFAULT).to_owned(),
    }
}

const ON_STOP: &[(&str, OnStop)] = &[("closed", OnStop::Closed), ("open", OnStop::Open)];

/// The state directory that a file names, as far as the file can be read; for a start that finds the rest of it wrong.
pub fn state_directory(path: &Path) -> PathBuf {
    let named = read_text(path).ok().and_then(|text| {
        let (table, _) = toml::de::DeTable::parse_recoverable(&text);
        let state = table.get_ref().iter().find(|(name, _)| name.get_ref().as_ref() == "state")?.1;
        absolute_path(state.get_ref()).ok()
    });
    named.unwrap_or_else(|| DEFAULT_STATE.into())
}

/// Where the state is kept unless the file says otherwise.
const DEFAULT_STATE: &str = "/var/lib/gatewayd";

fn read_bypass(section: &mut Section<'_>, routes: &[VpnRoute]) -> BTreeSet<IpNet> {
    let prefix = |value: &toml::de::DeValue<'_>| {
        let prefix = connection::network(value)?;
        if prefix.prefix_len() == 0 {
            return Err(format!(
                "{prefix} would exempt everything; allowed: longer prefixes than a route's destination"
            ));
        }
        Ok(prefix)
    };
    let bypass: BTreeSet<IpNet> = section.list("bypass", prefix).unwrap_or_default().into_iter().collect();
    for route in routes.iter().filter(|route| bypass.contains(&route.destination)) {
        section.warn("bypass", &format!("{} is the destination of a route, which wins", route.destination));
    }
    bypass
}

const TUN_BACKENDS: &[(&str, Backend)] =
    &[("auto", Backend::Auto), ("offload", Backend::Offload), ("plain", Backend::Plain)];

fn log_level(value: &toml::de::DeValue<'_>) -> Result<&'static str, String> {
    let levels = ["error", "warn", "info", "debug", "trace"].map(|level| (level, level));
    value::one_of(&levels)(value)
}

/// Linux allows 15 bytes, without slashes and blanks.
fn device_name(value: &toml::de::DeValue<'_>) -> Result<String, String> {
    let name = value::text(value)?;
    if name.len() > 15 || name.contains(|c: char| c == '/' || c == '%' || !c.is_ascii_graphic()) {
        return Err(format!(
            "\"{name}\" is no device name; allowed: up to 15 letters, digits and signs without / and %"
        ));
    }
    Ok(name)
}

fn absolute_path(value: &toml::de::DeValue<'_>) -> Result<PathBuf, String> {
    let path = PathBuf::from(value::text(value)?);
    if path.is_absolute() {
        Ok(path)
    } else {
        Err(format!("\"{}\" is no absolute path; allowed: /…", path.display()))
    }
}

fn read_routes(section: &mut Section<'_>, connections: &[connection::Read]) -> Vec<VpnRoute> {
    let created = clock::unix_seconds();
    let by_name: HashMap<&str, &Arc<str>> =
        connections.iter().map(|read| (&**read.tunnel.name(), read.tunnel.name())).collect();
    let mut seen: HashSet<(IpNet, &Arc<str>)> = HashSet::new();
    let mut routes: Vec<VpnRoute> = Vec::new();
    for mut table in section.tables("route") {
        let destination = table.required("destination", connection::network);
        let name = table.required("connection", value::text);
        let weight = table.optional("weight", weight).unwrap_or(Weight::Active);
        if let (Some(destination), Some(name)) = (destination, name) {
            match by_name.get(&*name).copied() {
                Some(connection) if !seen.insert((destination, connection)) => {
                    table.problem("destination", format!("{destination} through \"{name}\" is there twice"));
                }
                Some(connection) => routes.push(VpnRoute {
                    destination,
                    connection: Arc::clone(connection),
                    weight,
                    owner: routing::Owner::File,
                    publication: routing::Publication::Normal,
                    created,
                }),
                None => {
                    let names: Vec<&str> = connections.iter().map(|read| &**read.tunnel.name()).collect();
                    table.problem(
                        "connection",
                        format!("no connection is called \"{name}\"; allowed: {}", names.join(", ")),
                    );
                }
            }
        }
        table.finish();
    }
    routes
}

fn weight(value: &toml::de::DeValue<'_>) -> Result<Weight, String> {
    let number = value::integer(0..=100)(value).ok().and_then(|number| u32::try_from(number).ok());
    number
        .and_then(|number| Weight::try_from(number).ok())
        .ok_or_else(|| "allowed: 0 (standby), 100 (active)".to_owned())
}

#[cfg(test)]
mod tests;
