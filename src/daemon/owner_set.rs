//! cend's set, translated from the cloud's values into what this gateway does, with a reason for what it does not.

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use ipnet::IpNet;

use super::changed::Changed;
use super::config::{ChildSubnets, Config, EspOptions, PeerName, Tunnel, check_name, proposal};
use super::policy::{self, Protected};
use crate::control::owner::{OwnerConnection, OwnerEsp, OwnerIke, OwnerRoute, OwnerStart, Refusal, RefusedKind};
use crate::control::owner_change::{OwnerChange, OwnerEntries, OwnerRouteKey};
use crate::control::route;
use crate::crypto::cloud_name::InCloud;
use crate::crypto::psk::{self, Notation};
use crate::crypto::{CloudName, CloudPfs, IntegrityAlgorithm, prf};
use crate::ike::{Child, Connection, EspProposal, Extensions, IkeProposal, Peer, Start};
use crate::io::kept_policy::Share;
use crate::routing::{Publication, RouteKey, VpnRoute};
use crate::wire::ike::{Identification, TrafficSelector};

mod routes;

/// Interval of liveness checks (EnableDpd), which the cloud does not let its users choose.
const LIVENESS: Duration = Duration::from_secs(30);

/// What of the set can be done beside the file's configuration, which wins where both name the same thing.
#[derive(Debug, Default)]
pub struct Translation {
    file: FileNames,
    /// The connections, with names that are not the file's. Shared with whoever shows them.
    pub tunnels: Arc<BTreeMap<Arc<str>, Arc<Tunnel>>>,
    /// The routes through these connections.
    pub routes: BTreeMap<RouteKey, VpnRoute>,
    /// Publication state of the file's routes.
    pub publications: BTreeMap<RouteKey, Publication>,
    /// What is not done, and why.
    refused: BTreeMap<Refused, String>,
    /// What the set that was put last named twice.
    pub twice: Vec<Refusal>,
    /// What an operator should know although it is done, such as a weak algorithm, by connection.
    pub warnings: BTreeMap<Arc<str>, Arc<str>>,
}

/// What of the file matters to the set.
#[derive(Debug, Default)]
struct FileNames {
    local_addresses: Vec<IpAddr>,
    connections: BTreeSet<Arc<str>>,
    routes: BTreeSet<RouteKey>,
}

impl FileNames {
    fn of(file: &Config) -> Self {
        Self {
            local_addresses: file.gateway.local_addresses.clone(),
            connections: file.connections.iter().map(|tunnel| Arc::clone(tunnel.name())).collect(),
            routes: file.routes.iter().map(VpnRoute::key).collect(),
        }
    }
}

/// What is refused: the kind of thing, its name for a person, and the connection of a route.
type Refused = (RefusedKind, String, String);

/// What is different after a change of the set or of the file: all that those who carry it out have to look at.
#[derive(Debug, Default)]
pub struct Touched {
    /// Connections, in the order of their names.
    pub tunnels: Changed<Vec<Arc<Tunnel>>>,
    /// Routes.
    pub routes: Changed<Vec<VpnRoute>>,
    /// Routes of the file whose publication is another one, or has become the set's to say or has ceased to be.
    pub publications: Vec<RouteKey>,
    /// What the set protects, whether it is done or refused.
    pub protected: Changed<Protected>,
    /// What is refused, or for another reason than before.
    pub refused: Vec<Refusal>,
    /// What an operator should know of what is new.
    pub warnings: Vec<Arc<str>>,
    /// The warnings are not the ones before.
    pub other_warnings: bool,
}

/// Whose translation is to be made anew.
#[derive(Default)]
struct Asked {
    connections: BTreeSet<String>,
    routes: BTreeSet<OwnerRouteKey>,
    publications: BTreeSet<OwnerRouteKey>,
}

impl Translation {
    /// Translates a whole set, or none. `now` in Unix seconds is the time of creation of new routes.
    pub fn new(set: Option<&OwnerEntries>, file: &Config, now: u64) -> (Self, Touched) {
        let mut translation = Self { file: FileNames::of(file), ..Self::default() };
        let touched = set.map_or_else(Touched::default, |set| {
            let asked = Asked {
                connections: set.connections.keys().cloned().collect(),
                routes: set.routes.keys().cloned().collect(),
                publications: set.publications.keys().cloned().collect(),
            };
            let protected = Changed { new: protected(set, &asked), ..Changed::default() };
            Touched { protected, ..translation.translate(set, asked, now) }
        });
        (translation, touched)
    }

    /// Makes a change of the set, and follows it at the cost of what it changes.
    pub fn change(&mut self, set: &mut OwnerEntries, change: &OwnerChange, now: u64) -> Touched {
        let asked = Asked {
            connections: change.connection_names().map(str::to_owned).collect(),
            routes: change.route_keys().collect(),
            publications: change.publication_keys().collect(),
        };
        let gone = protected(set, &asked);
        set.apply(change);
        let protected = Changed { gone, new: protected(set, &asked) };
        Touched { protected, ..self.translate(set, asked, now) }
    }

    /// Follows the file: what it has begun or ceased to name is translated anew.
    pub fn follow_file(&mut self, set: &OwnerEntries, file: &Config, now: u64) -> Touched {
        let names = FileNames::of(file);
        let turned = names.connections.symmetric_difference(&self.file.connections);
        let asked = Asked {
            connections: turned
                .filter(|name| set.connections.contains_key(&***name))
                .map(ToString::to_string)
                .collect(),
            routes: BTreeSet::new(),
            publications: set.publications.keys().cloned().collect(),
        };
        self.file = names;
        self.translate(set, asked, now)
    }

    /// What is not done, and why.
    pub fn refused(&self) -> impl Iterator<Item = Refusal> {
        let refused = self.refused.iter().map(|((kind, name, _), reason)| Refusal {
            kind: *kind,
            name: name.clone(),
            reason: reason.clone(),
        });
        refused.chain(self.twice.iter().cloned())
    }

    fn translate(&mut self, set: &OwnerEntries, asked: Asked, now: u64) -> Touched {
        let Asked { connections, mut routes, publications } = asked;
        let mut touched = Touched::default();
        for name in connections {
            let was_there = self.tunnels.contains_key(&*name);
            let is_there = self.connection(&name, set.connections.get(&name), &mut touched);
            // The routes of one that stays do not depend on what it has become; those of one that is not there do on the file.
            if !(is_there && was_there) {
                routes.extend(set.routes_of(&name).cloned());
            }
        }
        if !touched.tunnels.is_empty() {
            let Changed { gone, new } = &touched.tunnels;
            let named = |tunnel: &Arc<Tunnel>| (Arc::clone(tunnel.name()), Arc::clone(tunnel));
            let tunnels = Arc::make_mut(&mut self.tunnels);
            gone.iter().for_each(|tunnel| _ = tunnels.remove(tunnel.name()));
            tunnels.extend(new.iter().map(named));
        }
        for key in routes {
            self.route(&key, set.routes.get(&key), now, &mut touched);
        }
        for key in publications {
            self.publication(&key, set.publications.get(&key), &mut touched);
        }
        touched
    }

    /// Translates one connection. Whether there is one.
    fn connection(&mut self, name: &str, wanted: Option<&Arc<OwnerConnection>>, touched: &mut Touched) -> bool {
        let translated = wanted.map(|wanted| match self.file.connections.contains(name) {
            true => Err("gatewayd.toml has a connection of this name".to_owned()),
            false => tunnel(wanted, &self.file),
        });
        let before = self.tunnels.get(name);
        let (tunnel, weak, refusal) = match translated {
            Some(Ok((tunnel, weak))) => (Some(tunnel), weak, None),
            Some(Err(reason)) => (None, BTreeSet::new(), Some(reason)),
            None => (None, BTreeSet::new(), None),
        };
        let is_there = tunnel.is_some();
        // What is as it was stays what it was.
        if before.map(|before| &**before) != tunnel.as_ref() {
            touched.tunnels.gone.extend(before.cloned());
            touched.tunnels.new.extend(tunnel.map(Arc::new));
        }
        self.warn(name, &weak, touched);
        self.refuse((RefusedKind::Connection, name.to_owned(), String::new()), refusal, touched);
        is_there
    }

    /// Notes which algorithms of a connection are weak, or that none is.
    fn warn(&mut self, name: &str, weak: &BTreeSet<&'static str>, touched: &mut Touched) {
        let weak: Vec<&str> = weak.iter().copied().collect();
        let warning = format!("connection {name}: {} can be broken today", weak.join(", "));
        let warning: Option<Arc<str>> = (!weak.is_empty()).then(|| warning.into());
        touched.warnings.extend(warning.clone());
        if self.warnings.get(name) != warning.as_ref() {
            touched.other_warnings = true;
            self.warnings.remove(name);
            self.warnings.extend(warning.map(|warning| (name.into(), warning)));
        }
    }

    /// Translates one route.
    fn route(&mut self, wanted_key: &OwnerRouteKey, wanted: Option<&OwnerRoute>, now: u64, touched: &mut Touched) {
        let OwnerRouteKey { connection, destination, source } = wanted_key;
        let key = RouteKey { destination: *destination, connection: connection.as_str().into(), source: *source };
        let before = self.routes.remove(&key);
        let tunnel = self.tunnels.get(connection.as_str()).map(|tunnel| tunnel.name());
        let created = before.as_ref().map_or(now, |before| before.created);
        let (route, refusal) =
            wanted.map_or((None, None), |wanted| routes::translate(wanted_key, wanted, tunnel, created));
        if route != before {
            touched.routes.gone.extend(before);
            touched.routes.new.extend(route.clone());
        }
        self.routes.extend(route.map(|route| (key, route)));
        let named = source.map_or_else(String::new, |source| format!(" from {source}"));
        self.refuse((RefusedKind::Route, format!("{destination}{named}"), connection.clone()), refusal, touched);
    }

    fn publication(&mut self, wanted_key: &OwnerRouteKey, wanted: Option<&route::Publication>, touched: &mut Touched) {
        let OwnerRouteKey { connection, destination, source: _ } = wanted_key;
        let key = RouteKey { destination: *destination, connection: connection.as_str().into(), source: None };
        let known = self.file.routes.contains(&key);
        let before = self.publications.remove(&key);
        let publication = wanted.filter(|_| known).map(|publication| routes::published(*publication));
        if publication != before {
            touched.publications.push(key.clone());
        }
        self.publications.extend(publication.map(|publication| (key, publication)));
        let refusal = wanted.filter(|_| !known);
        let refusal = refusal.map(|_| format!("gatewayd.toml has no route {destination} through \"{connection}\""));
        self.refuse((RefusedKind::Publication, destination.to_string(), connection.clone()), refusal, touched);
    }

    /// Notes why something is not done, or that nothing stands against it.
    fn refuse(&mut self, what: Refused, reason: Option<String>, touched: &mut Touched) {
        let Some(reason) = reason else {
            self.refused.remove(&what);
            return;
        };
        let (kind, name, _) = &what;
        if self.refused.get(&what) != Some(&reason) {
            touched.refused.push(Refusal { kind: *kind, name: name.clone(), reason: reason.clone() });
            self.refused.insert(what, reason);
        }
    }
}

/// What those of the set protect that are asked about.
fn protected(set: &OwnerEntries, asked: &Asked) -> Protected {
    let connections = asked.connections.iter().filter_map(|name| set.connections.get(name));
    protected_by(connections, asked.routes.iter().filter_map(|key| set.routes.get_key_value(key)))
}

fn protected_by<'a>(
    connections: impl Iterator<Item = &'a Arc<OwnerConnection>>,
    routes: impl Iterator<Item = (&'a OwnerRouteKey, &'a OwnerRoute)>,
) -> Protected {
    policy::of_cend(connections, routes.map(|(key, wanted)| (key, routes::policy(key, wanted))))
}

/// What the whole set protects.
pub fn share(set: &OwnerEntries) -> Share {
    protected_by(set.connections.values(), set.routes.iter()).into()
}

fn tunnel(wanted: &OwnerConnection, file: &FileNames) -> Result<(Tunnel, BTreeSet<&'static str>), String> {
    let OwnerConnection {
        name,
        peer,
        local_id,
        peer_id,
        psk,
        ike,
        esp,
        local_subnets,
        peer_subnets,
        start,
        liveness,
        nat_traversal,
    } = wanted;
    let address: IpAddr = peer.parse().map_err(|_| format!("the peer \"{peer}\" is no address"))?;
    let local_address = file.local_addresses.iter().copied().find(|local| local.is_ipv4() == address.is_ipv4());
    let identity = |text: &str| text.parse::<Identification>().map_err(|_| format!("\"{text}\" is no identity"));
    check_name(name)?;
    let pre_shared_key = psk::read(psk.as_str(), Notation::Text).map_err(|_| "it has no pre-shared key".to_owned())?;
    let (ike_proposal, esp_proposal) = (ike_proposal(ike)?, esp_proposal(esp)?);
    let weak = proposal::weak_ike(&ike_proposal).into_iter().chain(proposal::weak_esp(&esp_proposal)).collect();
    let selectors = |nets: &[IpNet]| selectors(nets);
    let child = Child {
        name: name.as_str().into(),
        local_selectors: selectors(local_subnets)?,
        peer_selectors: selectors(peer_subnets)?,
        esp_proposals: vec![esp_proposal],
    };
    let connection = Connection {
        name: name.as_str().into(),
        local_address,
        peer: Peer::Address(address),
        local_id: identity(local_id)?,
        peer_id: if peer_id.is_empty() { None } else { Some(identity(peer_id)?) },
        pre_shared_key: Arc::new(pre_shared_key),
        ike_proposals: vec![ike_proposal],
        children: vec![child],
        start: match start {
            OwnerStart::Now => Start::Now,
            OwnerStart::OnTraffic => Start::OnTraffic,
            OwnerStart::Wait => Start::Wait,
        },
        ike_lifetime: lifetime(ike.lifetime)?,
        child_lifetime: lifetime(esp.lifetime)?,
        liveness_interval: liveness.then_some(LIVENESS),
        nat_traversal: *nat_traversal,
        force_encapsulation: false,
        nat_keepalive: Duration::from_secs(20),
        extensions: Extensions::default(),
    };
    connection.check_size().map_err(|unsendable| format!("it cannot be negotiated: {unsendable}"))?;
    let subnets = ChildSubnets { local: local_subnets.clone(), peer: peer_subnets.clone() };
    Ok((Tunnel::new(connection, PeerName::Address(address), EspOptions::default(), vec![subnets]), weak))
}

fn selectors(nets: &[IpNet]) -> Result<Vec<TrafficSelector>, String> {
    if nets.is_empty() {
        return Err("it has no subnets on one side".to_owned());
    }
    match nets.iter().find(|net| **net != net.trunc()) {
        Some(net) => Err(format!("{net} has bits set behind its prefix")),
        None => Ok(nets.iter().map(|net| TrafficSelector::from_net(*net)).collect()),
    }
}

/// The cloud takes 0 to 86400; a lifetime below a minute would be nothing but rekeys.
fn lifetime(seconds: u64) -> Result<Duration, String> {
    if (60..=86_400).contains(&seconds) {
        Ok(Duration::from_secs(seconds))
    } else {
        Err(format!("a lifetime of {seconds} seconds is not supported; from 60 to 86400 are"))
    }
}

fn ike_proposal(ike: &OwnerIke) -> Result<IkeProposal, String> {
    let OwnerIke { version, mode: _, encryption, integrity, group, lifetime: _ } = ike;
    if version != "ikev2" {
        return Err(format!("{version} is not supported; ikev2 is"));
    }
    let integrity = algorithm::<IntegrityAlgorithm>("integrity", integrity)?;
    Ok(IkeProposal {
        encryption: vec![algorithm("encryption", encryption)?],
        integrity: vec![integrity],
        prf: vec![prf::of_integrity(integrity)],
        groups: vec![algorithm("Diffie-Hellman", group)?],
    })
}

fn esp_proposal(esp: &OwnerEsp) -> Result<EspProposal, String> {
    let OwnerEsp { encryption, integrity, pfs, lifetime: _ } = esp;
    let pfs: CloudPfs = pfs.parse().map_err(|unknown| format!("Diffie-Hellman {pfs} is unknown. {unknown}"))?;
    Ok(EspProposal {
        encryption: vec![algorithm("encryption", encryption)?],
        integrity: vec![algorithm("integrity", integrity)?],
        groups: match pfs {
            CloudPfs::Disabled => Vec::new(),
            CloudPfs::Group(group) => vec![supported("Diffie-Hellman", group)?],
        },
        esn: vec![true, false],
    })
}

/// What one of the cloud's words means.
fn algorithm<A: InCloud>(kind: &str, word: &str) -> Result<&'static A, String> {
    let name = word.parse::<CloudName<A>>().map_err(|unknown| format!("{kind} {word} is unknown. {unknown}"))?;
    supported(kind, name)
}

fn supported<A: InCloud>(kind: &str, name: CloudName<A>) -> Result<&'static A, String> {
    name.algorithm().map_err(|error| format!("{kind} {error}"))
}

#[cfg(test)]
mod tests;
