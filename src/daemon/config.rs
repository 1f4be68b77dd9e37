//! gatewayd.toml: read, checked and turned into what the modules take.
//!
//! Unknown keys and wrong values are refused, all at once, each with its file, line, key and what is allowed.

mod connection;
mod gateway;
mod hint;
pub mod proposal;
pub mod secret;
pub mod section;
pub mod sense;
mod siblings;
mod syntax;
mod tunnel;
mod value;

use std::collections::{BTreeSet, HashMap, HashSet};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use ipnet::IpNet;
use zeroize::Zeroizing;

use crate::io::{clock, private_file};
use crate::routing::{self, Family, RoutePolicy, VpnRoute, Weight};
use connection::Connections;
pub use connection::check_name;
use gateway::DEFAULT_STATE;
pub use gateway::Gateway;
use secret::Secrets;
pub use section::ConfigError;
use section::{Section, Source};
pub use siblings::siblings;
pub use tunnel::{ChildSubnets, Df, EspOptions, PeerName, Tunnel};

/// The largest configuration file that is read, in bytes.
const FILE_LIMIT: u64 = 64 << 20;

/// A whole gatewayd.toml.
#[derive(Clone, Debug)]
pub struct Config {
    /// The keys at the top of the file.
    pub gateway: Gateway,
    /// The connections, with names that are unique, in the file's order.
    pub connections: Arc<Vec<Arc<Tunnel>>>,
    /// The VPN routes; each names one of the connections.
    pub routes: Arc<Vec<VpnRoute>>,
    /// Prefixes that are not protected although a route's destination holds them.
    pub bypass: BTreeSet<IpNet>,
    /// What becomes of the protected prefixes at the end.
    pub on_stop: OnStop,
    /// What an operator should change though it works.
    pub warnings: Vec<String>,
}

/// Of so many wrong names of connections in one file it is guessed which ones were meant: each is compared with all.
const GUESSES: usize = 8;
/// So many names of connections are told at most as those that are allowed.
const NAMES_TOLD: usize = 20;

/// What becomes of the protected prefixes when SIGTERM ends gatewayd. Every other end leaves them closed.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum OnStop {
    /// Blackholes and filter stay until `gatewayctl release`.
    #[default]
    Closed,
    /// They are taken away.
    Open,
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
        let gateway = Gateway::read(&mut section);
        let secrets = Secrets::read(&mut section);
        let connections = Connections::read(&mut section, &gateway, &secrets);
        let routes = Arc::new(read_routes(&mut section, &connections));
        let bypass = read_bypass(&mut section, &routes);
        let on_stop = section.optional("on_stop", value::one_of(ON_STOP)).unwrap_or_default();
        section.finish();
        let mut warnings = source.finish()?;
        if connections.read.iter().any(|read| read.key_in_file) && private_file::others_may_read(path) {
            warnings
                .push(format!("{}: holds pre-shared keys and others may read it; run chmod 600 on it", path.display()));
        }
        let connections = Arc::new(connections.read.into_iter().map(|read| Arc::new(read.tunnel)).collect());
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

const ON_STOP: &[(&str, OnStop)] = &[("closed", OnStop::Closed), ("open", OnStop::Open)];

/// The state directory that a file names, as far as the file can be read; for a start that finds the rest of it wrong.
pub fn state_directory(path: &Path) -> PathBuf {
    let named = read_text(path).ok().and_then(|text| {
        let (table, _) = toml::de::DeTable::parse_recoverable(&text);
        let state = table.get_ref().iter().find(|(name, _)| name.get_ref().as_ref() == "state")?.1;
        value::absolute_path(state.get_ref()).ok()
    });
    named.unwrap_or_else(|| DEFAULT_STATE.into())
}

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

fn read_routes(section: &mut Section<'_>, connections: &Connections) -> Vec<VpnRoute> {
    let created = clock::unix_seconds();
    let by_name: HashMap<&str, &Arc<str>> =
        connections.read.iter().map(|read| (&**read.tunnel.name(), read.tunnel.name())).collect();
    let mut seen: HashSet<(IpNet, Option<IpNet>, &Arc<str>)> = HashSet::new();
    let mut policies: HashMap<IpNet, usize> = HashMap::new();
    let mut routes: Vec<VpnRoute> = Vec::new();
    let mut guesses = GUESSES;
    for mut table in section.tables("route") {
        let destination = table.required("destination", connection::network);
        let name = table.required("connection", value::text);
        let weight = table.optional("weight", weight).unwrap_or(Weight::Active);
        let policy = read_policy(&mut table, destination);
        let source = policy.map(|policy| policy.source);
        if let (Some(destination), Some(name)) = (destination, name) {
            match by_name.get(&*name).copied() {
                Some(connection) if !seen.insert((destination, source, connection)) => {
                    table.problem("destination", format!("{destination} through \"{name}\" is there twice"));
                }
                Some(_) if policy.is_some() && is_one_too_many(policies.entry(destination).or_default()) => {
                    let most = RoutePolicy::MOST;
                    let problem =
                        format!("{destination} has more than {most} routes with a source; allowed: up to {most}");
                    table.problem("destination", problem);
                }
                Some(connection) => routes.push(VpnRoute {
                    destination,
                    policy,
                    connection: Arc::clone(connection),
                    weight,
                    owner: routing::Owner::File,
                    publication: routing::Publication::Normal,
                    created,
                    closed: None,
                }),
                // What is wrong with the connection is told there.
                None if connections.has_broken(&name) => {}
                None => {
                    let meant = guesses.checked_sub(1).and_then(|left| {
                        guesses = left;
                        hint::nearest(&name, connections.names())
                    });
                    let (hint, allowed) = (hint::did_you_mean(meant), allowed_names(connections));
                    let problem = format!("no connection is called \"{name}\"{hint}; allowed: {allowed}");
                    table.problem("connection", problem);
                }
            }
        }
        table.finish();
    }
    routes
}

/// The names of the connections that were read; of many the first ones and how many there are more.
fn allowed_names(connections: &Connections) -> String {
    let told: Vec<&str> = connections.names().take(NAMES_TOLD).collect();
    match connections.read.len() - told.len() {
        0 => told.join(", "),
        more => format!("{}, and {more} more", told.join(", ")),
    }
}

/// Counts a policy; the first one beyond those that there may be is told.
fn is_one_too_many(policies: &mut usize) -> bool {
    *policies += 1;
    *policies == RoutePolicy::MOST + 1
}

/// What makes a route policy-based: its `source`, with its `priority`.
fn read_policy(table: &mut Section<'_>, destination: Option<IpNet>) -> Option<RoutePolicy> {
    let source = table.optional("source", connection::network);
    let range = value::integer(1..=100);
    let priority =
        table.optional("priority", |value| range(value).map(|number| u8::try_from(number).unwrap_or(u8::MAX)));
    match (source, destination) {
        (Some(source), Some(destination)) if Family::of(&source) != Family::of(&destination) => {
            table.problem("source", format!("{source} is not of the address family of {destination}"));
        }
        (None, _) if priority.is_some() => table.problem("priority", "means something only beside a source"),
        _ => {}
    }
    source.map(|source| RoutePolicy { priority: priority.unwrap_or(RoutePolicy::DEFAULT_PRIORITY), source })
}

fn weight(value: &toml::de::DeValue<'_>) -> Result<Weight, String> {
    let number = value::integer(0..=100)(value).ok().and_then(|number| u32::try_from(number).ok());
    number
        .and_then(|number| Weight::try_from(number).ok())
        .ok_or_else(|| "allowed: 0 (standby), 100 (active)".to_owned())
}

#[cfg(test)]
mod tests;
