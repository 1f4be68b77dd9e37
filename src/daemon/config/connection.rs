//! `[[connection]]` and `[[connection.child]]`.

use std::collections::HashSet;
use std::net::IpAddr;
use std::ops::RangeInclusive;
use std::sync::Arc;
use std::time::Duration;

use ipnet::IpNet;
use toml::de::DeValue;

use super::gateway::Gateway;
use super::proposal;
use super::secret::{self, Secrets};
use super::section::Section;
use super::tunnel::{ChildSubnets, Df, EspOptions, PeerName, Tunnel};
use super::value;
use crate::crypto::Secret;
use crate::ike::{Child, Childless, Connection, EspProposal, Extensions, IkeProposal, Peer, Start};
use crate::wire::ike::{Identification, TrafficSelector};

/// What a Child SA may carry in packets and in bytes. With less, an SA would be used up while its successor is negotiated;
/// TOML has no larger integers.
const LIFETIME_PACKETS: RangeInclusive<u64> = 1000..=i64::MAX as u64;
const LIFETIME_BYTES: RangeInclusive<u64> = 1_000_000..=i64::MAX as u64;

/// Characters of a description at most.
const DESCRIPTION_LIMIT: usize = 256;

/// A connection, and what only the checks of the whole file need.
pub struct Read {
    pub tunnel: Tunnel,
    /// Its pre-shared key stands in gatewayd.toml itself.
    pub key_in_file: bool,
}

/// Every connection of a file.
#[derive(Default)]
pub struct Connections {
    /// Those without a problem, in the file's order.
    pub read: Vec<Read>,
    /// The names of all.
    names: HashSet<String>,
    /// One has no name that could be read.
    nameless: bool,
}

impl Connections {
    /// Reads them. What is wrong with them, the source notes.
    pub fn read(section: &mut Section<'_>, gateway: &Gateway, secrets: &Secrets) -> Self {
        let mut connections = Self::default();
        for table in section.tables("connection") {
            let (known, place) = (connections.names.len(), table.place("name"));
            if let Some(read) = read(table, gateway, secrets, &mut connections.names) {
                connections.read.push(read);
            }
            connections.nameless |= place.is_none() || connections.names.len() == known;
        }
        connections
    }

    /// The names of those without a problem, in the file's order.
    pub fn names(&self) -> impl Iterator<Item = &str> {
        self.read.iter().map(|read| &**read.tunnel.name())
    }

    /// Whether one of this name may be left out of those that were read because of a problem of its own.
    pub fn has_broken(&self, name: &str) -> bool {
        self.nameless || self.names.contains(name)
    }
}

fn read(mut table: Section<'_>, gateway: &Gateway, secrets: &Secrets, names: &mut HashSet<String>) -> Option<Read> {
    let name = table.required("name", connection_name);
    if let Some(name) = &name {
        if !names.insert(name.clone()) {
            table.problem("name", format!("\"{name}\" names two connections"));
        }
        let prefix = table.path(&format!("{name}."));
        table = table.named(prefix);
    }
    let peer = table.required("peer", peer_name);
    let address = table.optional("local_address", value::parsed("an IPv4 or IPv6 address in quotes"));
    let local_address = local_address(&table, address, gateway, peer.as_ref());
    let identities = read_identities(&mut table, local_address);
    let key_in_file = table.place("psk").is_some();
    let key = read_key(&mut table, name.as_deref().unwrap_or_default(), secrets);
    let start = read_start(&mut table, peer.as_ref());
    let ike_proposals = read_ike_proposals(&mut table);
    let children = read_children(&mut table, name.as_deref().unwrap_or_default());
    let times = Times::read(&mut table);
    let nat_traversal = table.optional("nat_traversal", value::boolean).unwrap_or(true);
    let force_encapsulation = table.optional("force_encapsulation", value::boolean).unwrap_or(false);
    if force_encapsulation && !nat_traversal {
        table.problem("force_encapsulation", "needs nat_traversal = true");
    }
    let extensions = read_extensions(&mut table);
    let options = read_esp_options(&mut table);
    let description = table.optional("description", description);
    let (source, place, key_of_name) = (table.source, table.place("name"), table.path("name"));
    table.finish();

    let (local_id, peer_id) = identities?;
    let (children, subnets) = children.into_iter().unzip();
    let peer = peer?;
    let ike = Connection {
        name: name?.into(),
        local_address,
        peer: if let PeerName::Address(address) = peer { Peer::Address(address) } else { Peer::Any },
        local_id,
        peer_id,
        pre_shared_key: key?,
        ike_proposals,
        children,
        start,
        ike_lifetime: times.ike,
        child_lifetime: times.child,
        liveness_interval: times.liveness,
        nat_traversal,
        force_encapsulation,
        nat_keepalive: times.nat_keepalive,
        extensions,
    };
    if let (Err(unsendable), Some(place)) = (ike.check_size(), place) {
        source.problem(place, key_of_name, format!("cannot be negotiated: {unsendable}"));
    }
    let tunnel = Tunnel { description, ..Tunnel::new(ike, peer, options, subnets) };
    Some(Read { tunnel, key_in_file })
}

fn connection_name(value: &DeValue<'_>) -> Result<String, String> {
    let name = value::text(value)?;
    check_name(&name)?;
    Ok(name)
}

/// Free text of one line.
fn description(value: &DeValue<'_>) -> Result<String, String> {
    let text = value::text(value)?;
    let length = text.chars().count();
    if length > DESCRIPTION_LIMIT {
        return Err(format!("has {length} characters; allowed: up to {DESCRIPTION_LIMIT}"));
    }
    if text.chars().any(char::is_control) {
        return Err("holds line ends or other control characters; allowed: one line of text".to_owned());
    }
    Ok(text)
}

/// A connection's name is one segment of the control API's paths, where `.` and `..` would mean a folder
/// (RFC 3986 5.2.4), escaped or not.
pub fn check_name(name: &str) -> Result<(), String> {
    let letters = name.chars().all(|c| c.is_ascii_alphanumeric() || "-_.".contains(c));
    if !letters || !(1..=64).contains(&name.len()) || matches!(name, "." | "..") {
        return Err(format!("\"{name}\" is no name; allowed: up to 64 letters, digits, and - _ ., but not . or .."));
    }
    Ok(())
}

fn peer_name(value: &DeValue<'_>) -> Result<PeerName, String> {
    let text = value::text(value)?;
    if text == "any" {
        return Ok(PeerName::Any);
    }
    let is_unspecified = text.parse().is_ok_and(|address: IpAddr| address.is_unspecified());
    if is_unspecified || text.starts_with("%any") {
        return Err(format!("\"{text}\" is no peer's address (did you mean \"any\"?)"));
    }
    if let Ok(address) = text.parse::<IpAddr>() {
        return Ok(PeerName::Address(address));
    }
    let host = text.len() <= 253 && text.split('.').all(|label| !label.is_empty() && label.len() <= 63);
    let letters = text.chars().all(|c| c.is_ascii_alphanumeric() || "-._".contains(c));
    let only_digits = text.chars().all(|c| c.is_ascii_digit() || c == '.');
    if host && letters && !only_digits {
        return Ok(PeerName::Name(text));
    }
    Err(format!("\"{text}\" is not allowed here; allowed: an IPv4 or IPv6 address, a host name, \"any\""))
}

/// The named address, else the gateway's first of the peer's family.
fn local_address(
    table: &Section<'_>,
    named: Option<IpAddr>,
    gateway: &Gateway,
    peer: Option<&PeerName>,
) -> Option<IpAddr> {
    let peer_address = match peer {
        Some(PeerName::Address(address)) => Some(*address),
        _ => None,
    };
    if let Some(named) = named {
        if !gateway.local_addresses.is_empty() && !gateway.local_addresses.contains(&named) {
            let allowed: Vec<String> = gateway.local_addresses.iter().map(IpAddr::to_string).collect();
            table.problem(
                "local_address",
                format!("{named} is not in local_addresses; allowed: {}", allowed.join(", ")),
            );
        }
        if peer_address.is_some_and(|peer| peer.is_ipv4() != named.is_ipv4()) {
            table.problem("local_address", format!("{named} and the peer are of different address families"));
        }
        return Some(named);
    }
    match peer_address {
        Some(peer) => gateway.local_addresses.iter().copied().find(|local| local.is_ipv4() == peer.is_ipv4()),
        None if gateway.local_addresses.len() == 1 => gateway.local_addresses.first().copied(),
        None => None,
    }
}

fn read_identities(table: &mut Section<'_>, local: Option<IpAddr>) -> Option<(Identification, Option<Identification>)> {
    const ALLOWED: &str = "an address, a name (FQDN), user@host, or keyid:hexadecimal digits, in quotes";
    let local_id = table.optional("local_id", value::parsed::<Identification>(ALLOWED));
    let peer_id = table.optional("peer_id", value::parsed::<Identification>(ALLOWED));
    let local_id = match (local_id, local) {
        (Some(named), _) => Some(named),
        (None, Some(IpAddr::V4(address))) => Some(Identification::Ipv4(address)),
        (None, Some(IpAddr::V6(address))) => Some(Identification::Ipv6(address)),
        (None, None) => {
            let broken =
                table.is_wrong("peer") || table.is_wrong("local_address") || table.source.is_wrong("local_addresses");
            // An address that is wrong has its complaint already.
            if table.place("local_id").is_none() && !broken {
                table.problem(
                    "local_id",
                    format!("is missing, and no local address stands in for it; allowed: {ALLOWED}"),
                );
            }
            None
        }
    };
    Some((local_id?, peer_id))
}

fn read_key(table: &mut Section<'_>, name: &str, secrets: &Secrets) -> Option<Arc<Secret>> {
    let inline = table.optional("psk", |value| secret::key(value).map(Arc::new));
    let config = table.source.path().to_owned();
    let file = table.optional("psk_file", |value| {
        let path = secret::beside(&config, &value::text(value)?);
        secret::key_file(&path).map(Arc::new).map_err(|error| error.to_string())
    });
    match (table.place("psk"), table.place("psk_file")) {
        (Some(_), Some(_)) => {
            table.problem("psk_file", "stands beside psk; allowed: one of the two");
            None
        }
        (Some(_), None) => inline,
        (None, Some(_)) => file,
        (None, None) => {
            let key = secrets.key(name);
            if key.is_none() {
                table.problem("psk", "is missing; allowed: psk, psk_file, or an entry of this name under [psk] in the file that `secrets` names");
            }
            key
        }
    }
}

fn read_start(table: &mut Section<'_>, peer: Option<&PeerName>) -> Start {
    let words = [("now", Start::Now), ("on-traffic", Start::OnTraffic), ("wait", Start::Wait)];
    let any = peer == Some(&PeerName::Any);
    let named = table.optional("start", value::one_of(&words));
    if any && named.is_some_and(|start| start != Start::Wait) {
        table.problem("start", "peer = \"any\" cannot be called; allowed: \"wait\"");
    }
    named.unwrap_or(if any { Start::Wait } else { Start::Now })
}

fn read_ike_proposals(table: &mut Section<'_>) -> Vec<IkeProposal> {
    match table.list("ike", |value| proposal::ike(&value::text(value)?)) {
        None => proposal::default_ike(),
        Some(list) => warned_of_weak(table, "ike", list, proposal::weak_ike),
    }
}

fn read_esp_proposals(table: &mut Section<'_>, esn: &[bool]) -> Option<Vec<EspProposal>> {
    let read = table.list("esp", |value| proposal::esp(&value::text(value)?, esn))?;
    Some(warned_of_weak(table, "esp", read, proposal::weak_esp))
}

fn warned_of_weak<P>(
    table: &Section<'_>,
    key: &'static str,
    proposals: Vec<P>,
    weak: impl Fn(&P) -> Vec<&'static str>,
) -> Vec<P> {
    if proposals.is_empty() && !table.is_wrong(key) {
        table.problem(key, "names no proposal; leave the key out for the defaults");
    }
    for weak in proposals.iter().map(weak).filter(|weak| !weak.is_empty()) {
        let weak = weak.join(", ");
        table.warn(key, &format!("{weak} can be broken today; use it only for a peer that knows nothing better"));
    }
    proposals
}

fn read_children(table: &mut Section<'_>, connection: &str) -> Vec<(Child, ChildSubnets)> {
    let words = [("prefer", [true, false].as_slice()), ("require", &[true]), ("off", &[false])];
    let esn = table.optional("esn", value::one_of(&words)).unwrap_or(&[true, false]);
    let default = read_esp_proposals(table, esn).unwrap_or_else(|| proposal::default_esp(esn));
    let sections = table.tables("child");
    let own_subnets = table.place("local_subnets").is_some() || table.place("peer_subnets").is_some();
    if !sections.is_empty() && own_subnets {
        table.problem(
            "local_subnets",
            "stands beside [[connection.child]]; allowed: subnets of the connection, or children",
        );
    }
    if sections.is_empty() || own_subnets {
        let child = read_child(table, connection.to_owned(), default);
        return child.into_iter().collect();
    }
    let mut children: Vec<(Child, ChildSubnets)> = Vec::new();
    for mut section in sections {
        let name = section.required("name", connection_name);
        let esp = read_esp_proposals(&mut section, esn).unwrap_or_else(|| default.clone());
        if name.as_ref().is_some_and(|name| children.iter().any(|(child, _)| *child.name == **name)) {
            section.problem("name", "names two children of the connection");
        }
        children.extend(read_child(&mut section, name.unwrap_or_default(), esp));
        section.finish();
    }
    children
}

fn read_child(
    section: &mut Section<'_>,
    name: String,
    esp_proposals: Vec<EspProposal>,
) -> Option<(Child, ChildSubnets)> {
    let local = read_subnets(section, "local_subnets");
    let peer = read_subnets(section, "peer_subnets");
    let (local, peer) = (local?, peer?);
    for family in [true, false] {
        let has = |nets: &[IpNet]| nets.iter().any(|net| net.addr().is_ipv4() == family);
        if has(&local) != has(&peer) {
            let family = if family { "IPv4" } else { "IPv6" };
            section.problem("peer_subnets", format!("only one side has {family} subnets; a tunnel needs both"));
        }
    }
    let selectors = |nets: &[IpNet]| nets.iter().map(|net| TrafficSelector::from_net(*net)).collect();
    let child = Child {
        name: name.into(),
        local_selectors: selectors(&local),
        peer_selectors: selectors(&peer),
        esp_proposals,
    };
    Some((child, ChildSubnets { local, peer }))
}

fn read_subnets(section: &mut Section<'_>, key: &'static str) -> Option<Vec<IpNet>> {
    let Some(subnets) = section.list(key, network) else {
        section.problem(key, "is missing; allowed: a list of networks, such as [\"10.1.1.0/24\"]");
        return None;
    };
    if section.is_wrong(key) {
        return None;
    }
    if subnets.is_empty() {
        section.problem(key, "is empty; allowed: a list of networks, such as [\"10.1.1.0/24\"]");
        return None;
    }
    Some(subnets)
}

/// A network without host bits.
pub fn network(value: &DeValue<'_>) -> Result<IpNet, String> {
    let net = value::cidr("a network in quotes without leading zeros, such as \"10.1.1.0/24\"")(value)?;
    if net != net.trunc() {
        return Err(format!("\"{net}\" has bits set behind its prefix; allowed: \"{}\"", net.trunc()));
    }
    Ok(net)
}

struct Times {
    ike: Duration,
    child: Duration,
    liveness: Option<Duration>,
    nat_keepalive: Duration,
}

impl Times {
    fn read(table: &mut Section<'_>) -> Self {
        let ike = table.optional("ike_lifetime", value::duration(60..=30 * 86_400));
        let child = table.optional("child_lifetime", value::duration(30..=30 * 86_400));
        let liveness = table.optional("liveness", value::duration_or_off(1..=3600));
        let nat_keepalive = table.optional("nat_keepalive", value::duration_or_off(1..=300));
        Self {
            ike: ike.unwrap_or(Duration::from_secs(4 * 3600)),
            child: child.unwrap_or(Duration::from_secs(3600)),
            liveness: liveness.unwrap_or(Some(Duration::from_secs(30))),
            nat_keepalive: nat_keepalive.unwrap_or(Some(Duration::from_secs(20))).unwrap_or(Duration::ZERO),
        }
    }
}

fn read_extensions(table: &mut Section<'_>) -> Extensions {
    let fragmentation = table.optional("fragmentation", value::boolean).unwrap_or(true);
    // RFC 791: every host takes 576 bytes.
    let size = table.optional("fragment_size", value::integer(576..=u64::from(u16::MAX)));
    if size.is_some() && !fragmentation {
        table.problem("fragment_size", "needs fragmentation = true");
    }
    let words = [("allow", Childless::Allow), ("force", Childless::Force), ("never", Childless::Never)];
    Extensions {
        fragment_size: fragmentation.then_some(size.map_or(Extensions::FRAGMENT_SIZE, |size| size as u16)),
        childless: table.optional("childless", value::one_of(&words)).unwrap_or(Childless::Allow),
        quick_crash_detection: table.optional("quick_crash_detection", value::boolean).unwrap_or(true),
    }
}

fn read_esp_options(table: &mut Section<'_>) -> EspOptions {
    let words = [("copy", Df::Copy), ("set", Df::Set), ("clear", Df::Clear)];
    let default = EspOptions::default();
    let window = table.optional("replay_window", value::integer(64..=65_536));
    EspOptions {
        replay_window: window.map_or(default.replay_window, |packets| packets as u32),
        df: table.optional("df", value::one_of(&words)).unwrap_or(default.df),
        lifetime_packets: table.optional("child_lifetime_packets", value::integer(LIFETIME_PACKETS)),
        lifetime_bytes: table.optional("child_lifetime_bytes", value::integer(LIFETIME_BYTES)),
    }
}
