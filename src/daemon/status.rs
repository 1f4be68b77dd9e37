//! Status: put together from what the control task and the IKE thread published, without asking either.

use std::collections::{BTreeMap, HashMap};
use std::sync::{Arc, OnceLock};
use std::time::Instant;

use ipnet::IpNet;

use super::config::Tunnel;
use super::export::{peer_identity, start_word};
use super::ike_thread::IkeSnapshot;
use super::metrics::Drops;
use super::wiring::Pair;
use super::wiring::carried::{Carried, Count};
use crate::control::Owner;
use crate::control::owner::OwnerReply;
use crate::control::route::Route;
use crate::control::status::{
    Association, ChildSa, ChildState, Connection, ConnectionState, Exemption, IkeSa, IkeState, Role, Status, Traffic,
};
use crate::dataplane::drop::DropReason;
use crate::ike::{self, AssociationId};
use crate::routing::SharedMap;

/// What the control task publishes after every change. What a change leaves alone is shared with the view before.
#[derive(Clone, Debug, Default)]
pub struct View {
    /// The name of the TUN device.
    pub device: String,
    /// Its MTU in bytes.
    pub mtu: u32,
    /// The connections of the file, in its order.
    pub of_file: Arc<Vec<Arc<Tunnel>>>,
    /// The connections of cend, by name.
    pub of_cend: Arc<BTreeMap<Arc<str>, Arc<Tunnel>>>,
    /// By peers' names that have no address: why.
    pub unresolved: Arc<BTreeMap<String, String>>,
    /// The VPN gateway's route table by destination.
    pub routes: SharedMap<IpNet, Arc<RoutesTo>>,
    /// What an operator should change or know of, by who says so.
    pub warnings: Vec<Arc<Vec<Arc<str>>>>,
    /// How the kernel's side stands.
    pub kernel: Arc<KernelView>,
    /// Whether cend ever sent a set, and what became of it.
    pub cend: Option<Arc<OwnerReply>>,
}

/// What is shown of the kernel's side.
#[derive(Debug, Default)]
pub struct KernelView {
    /// Why it is not as the routes ask, if it is not.
    pub trouble: Option<String>,
    /// What is exempt inside the routes' destinations.
    pub exemptions: Vec<Exemption>,
    /// Local subnets that are closed behind their routes.
    pub closed: Vec<IpNet>,
}

/// The routes to one destination, and what they are in JSON once somebody has asked: of thousands only those are written again
/// that have changed.
#[derive(Debug)]
pub struct RoutesTo {
    /// In order of preference.
    pub routes: Vec<Route>,
    json: OnceLock<Box<str>>,
}

impl RoutesTo {
    /// These, in order of preference.
    pub fn new(routes: Vec<Route>) -> Self {
        Self { routes, json: OnceLock::new() }
    }

    /// The elements of an array, without its brackets.
    fn json(&self) -> serde_json::Result<&str> {
        if let Some(json) = self.json.get() {
            return Ok(json);
        }
        let array = serde_json::to_string(&self.routes)?;
        Ok(self.json.get_or_init(|| array[1..array.len() - 1].into()))
    }
}

impl View {
    /// Every connection with who defined it, those of the file first.
    fn tunnels(&self) -> impl Iterator<Item = (Owner, &Tunnel)> {
        let of_file = self.of_file.iter().map(|tunnel| (Owner::File, &**tunnel));
        of_file.chain(self.of_cend.values().map(|tunnel| (Owner::Cend, &**tunnel)))
    }

    /// The names of the connections, those of the file first.
    pub fn names(&self) -> impl Iterator<Item = &Arc<str>> {
        self.tunnels().map(|(_, tunnel)| tunnel.name())
    }

    /// Every route, by destination, then in order of preference.
    pub fn routes(&self) -> impl Iterator<Item = &Route> {
        self.routes.values().flat_map(|to| &to.routes)
    }

    /// The same as a JSON array.
    ///
    /// # Errors
    /// A route cannot be written.
    pub fn routes_json(&self) -> serde_json::Result<Vec<u8>> {
        let parts = self.routes.values().map(|to| to.json()).collect::<serde_json::Result<Vec<&str>>>()?;
        let mut json = Vec::with_capacity(2 + parts.iter().map(|part| part.len() + 1).sum::<usize>());
        json.push(b'[');
        for part in parts.into_iter().filter(|part| !part.is_empty()) {
            if json.len() > 1 {
                json.push(b',');
            }
            json.extend_from_slice(part.as_bytes());
        }
        json.push(b']');
        Ok(json)
    }

    fn shown(&self, owner: Owner, tunnel: &Tunnel) -> TunnelView {
        TunnelView::of(tunnel, owner, self.unresolved.get(&tunnel.peer.to_string()).cloned())
    }
}

/// A configured connection.
#[derive(Debug)]
pub struct TunnelView {
    /// As [`Connection::name`], and so on for what has the same name there.
    pub name: String,
    /// What the file notes about it.
    pub description: Option<String>,
    /// Who defined it.
    pub owner: Owner,
    /// The peer as configured: an address, a name, or `any`.
    pub peer: String,
    /// Our identity.
    pub local_id: String,
    /// The peer's identity as configured, else its address.
    pub peer_id: String,
    /// `now`, `on-traffic` or `wait`.
    pub start: &'static str,
    /// The names of its children, in their order.
    pub children: Vec<String>,
    /// Why its peer's name has no address.
    pub unresolved: Option<String>,
}

impl TunnelView {
    /// A connection as it is configured. `unresolved`: why its peer's name has no address, if it has none.
    pub fn of(tunnel: &Tunnel, owner: Owner, unresolved: Option<String>) -> Self {
        // What the status does not show is the data path's and the export's.
        let Tunnel { ike: _, peer, esp_options: _, subnets: _, description } = tunnel;
        let template = tunnel.template();
        Self {
            name: tunnel.name().to_string(),
            description: description.clone(),
            owner,
            peer: peer.to_string(),
            local_id: template.local_id.to_string(),
            peer_id: peer_identity(tunnel),
            start: start_word(template.start),
            children: template.children.iter().map(|child| child.name.to_string()).collect(),
            unresolved,
        }
    }
}

/// The whole status; or of the connections and their routes, `only` those of one. Without it every connection is shown
/// that the view has, with it none if there is none of this name.
pub fn status(
    view: &View,
    ike: &IkeSnapshot,
    drops: &Drops,
    only: Option<&str>,
    started: Instant,
    now: Instant,
) -> Status {
    let is_meant = |route: &&Route| only.is_none_or(|name| route.connection == name);
    let KernelView { trouble, exemptions, closed } = &*view.kernel;
    let trouble = trouble.iter().map(|trouble| format!("the kernel is not as the VPN routes ask: {trouble}"));
    let warnings = view.warnings.iter().flat_map(|warnings| warnings.iter().map(ToString::to_string)).chain(trouble);
    Status {
        version: env!("CARGO_PKG_VERSION").to_owned(),
        uptime_seconds: now.saturating_duration_since(started).as_secs(),
        device: view.device.clone(),
        mtu: view.mtu,
        cend_revision: view.cend.as_ref().map(|reply| reply.revision),
        connections: connections_of(view, ike, only, now),
        routes: view.routes().filter(is_meant).cloned().collect(),
        drops: drops.by_reason(&ike.discards),
        congestion_marks: drops.outbound.count(DropReason::Marked),
        warnings: warnings.chain(ike.connections.iter().filter_map(narrowed)).collect(),
        exemptions: exemptions.clone(),
        closed_local_subnets: closed.clone(),
    }
}

fn left_out(status: &ike::ConnectionStatus) -> Vec<String> {
    status.left_out.iter().map(|(child, flows)| format!("{child}: {flows}")).collect()
}

/// What an operator should know of a peer that takes less than is configured.
fn narrowed(status: &ike::ConnectionStatus) -> Option<String> {
    let left_out = left_out(status);
    let (first, more) = (left_out.first()?, left_out.len() - 1);
    let more = if more == 0 { String::new() } else { format!(" and {more} more") };
    Some(format!("connection {}: the peer has left out {first}{more}; compare the subnets of both sides", status.name))
}

/// Every configured connection, in the order of the configuration, the file's first.
pub fn connections(view: &View, ike: &IkeSnapshot, now: Instant) -> Vec<Connection> {
    connections_of(view, ike, None, now)
}

fn connections_of(view: &View, ike: &IkeSnapshot, only: Option<&str>, now: Instant) -> Vec<Connection> {
    let by_name: HashMap<&str, &ike::ConnectionStatus> =
        ike.connections.iter().map(|status| (&*status.name, status)).collect();
    let totals = Totals::of(ike);
    let is_meant = |(_, tunnel): &(Owner, &Tunnel)| only.is_none_or(|name| **tunnel.name() == *name);
    let one = |(owner, tunnel): (Owner, &Tunnel)| {
        connection(view.shown(owner, tunnel), by_name.get(&**tunnel.name()).copied(), ike, &totals, now)
    };
    view.tunnels().filter(is_meant).map(one).collect()
}

/// What all pairs have carried by now: those that are there and those that are gone.
#[derive(Default)]
struct Totals<'a> {
    of_connection: HashMap<&'a str, Carried>,
    of_association: HashMap<AssociationId, Carried>,
}

impl<'a> Totals<'a> {
    fn of(snapshot: &'a IkeSnapshot) -> Self {
        let mut totals = Self::default();
        for (name, gone) in &snapshot.gone {
            let of_connection = totals.of_connection.entry(&**name).or_default();
            of_connection.merge(&gone.others.carried());
            for (association, gone) in &gone.associations {
                let carried = gone.carried();
                of_connection.merge(&carried);
                totals.of_association.entry(*association).or_default().merge(&carried);
            }
        }
        for pair in snapshot.pairs.values() {
            let mut carried = Carried::default();
            carried.add(&pair.inbound, &pair.outbound);
            totals.of_connection.entry(&*pair.connection).or_default().merge(&carried);
            totals.of_association.entry(pair.association).or_default().merge(&carried);
        }
        totals
    }
}

fn connection(
    tunnel: TunnelView,
    ike: Option<&ike::ConnectionStatus>,
    snapshot: &IkeSnapshot,
    totals: &Totals<'_>,
    now: Instant,
) -> Connection {
    let carried = totals.of_connection.get(&*tunnel.name).copied().unwrap_or_default();
    let associations = associations(ike, totals, now);
    let several = associations.len() > 1;
    let child_sas: Vec<ChildSa> = ike
        .into_iter()
        .flat_map(|status| &status.children)
        .filter_map(|child| Some(child_sa(child, snapshot.pairs.get(&child.inbound_spi)?, now)))
        .collect();
    let is_carried = |name: &String| child_sas.iter().any(|sa| sa.sending && sa.name == *name);
    let all_carried = tunnel.children.iter().all(is_carried);
    let any_carried = child_sas.iter().any(|sa| sa.sending);
    let ike_up = ike.is_some_and(|status| status.ike_sa.is_some());
    let pair = ike.filter(|_| !several).and_then(|status| pair_in_use(status, snapshot));
    let path = pair.map(Pair::outer);
    let peer_ip = path.map(|(_, peer)| peer).or_else(|| ike.and_then(|status| status.peer)).map(|peer| peer.ip());
    let peers = associations.iter().map(|of| of.peer_address.ip()).chain(peer_ip);
    let refused = peers.into_iter().find_map(|peer| snapshot.refused.get(&peer)).cloned();
    let TunnelView { name, description, owner, peer, local_id, peer_id, start, children: _, unresolved } = tunnel;
    Connection {
        name,
        description,
        owner,
        state: state(ike, any_carried, start, unresolved.is_some()),
        ike_state: if ike_up { IkeState::IkeSaEstablished } else { IkeState::IkeSaNotEstablished },
        child_state: if all_carried { ChildState::IpsecSaEstablished } else { ChildState::IpsecSaNotEstablished },
        peer,
        peer_address: path
            .map(|(_, peer)| peer)
            .or_else(|| ike.filter(|_| ike_up && !several).and_then(|status| status.peer)),
        local_address: path.map(|(local, _)| local),
        path_mtu: pair.map(|pair| pair.path_mtu),
        local_id,
        peer_id: ike
            .filter(|_| ike_up && !several)
            .and_then(|s| s.peer_id.as_ref())
            .map_or(peer_id, ToString::to_string),
        start: start.to_owned(),
        associations,
        ike_sa: ike.filter(|_| !several).and_then(|status| Some(ike_sa(status.ike_sa.as_ref()?, &status.name, now))),
        child_sas,
        left_out: ike.map(left_out).unwrap_or_default(),
        inbound: traffic(carried.inbound, now),
        outbound: traffic(carried.outbound, now),
        last_error: unresolved
            .or(refused)
            .or_else(|| ike.and_then(|status| status.last_error.as_ref()).map(ToString::to_string)),
        next_attempt_seconds: ike.and_then(|status| status.next_attempt).map(|at| seconds_until(at, now)),
    }
}

/// The connection with each of its peers.
fn associations(ike: Option<&ike::ConnectionStatus>, totals: &Totals<'_>, now: Instant) -> Vec<Association> {
    let one = |status: &ike::ConnectionStatus, of: &ike::AssociationStatus| {
        let carried = totals.of_association.get(&of.id).copied().unwrap_or_default();
        Association {
            id: of.id.0,
            peer_id: of.peer_id.to_string(),
            peer_address: of.peer,
            age_seconds: seconds_since(of.since, now),
            ike_sas: of.ike_sas.iter().map(|sa| ike_sa(sa, &status.name, now)).collect(),
            inbound: traffic(carried.inbound, now),
            outbound: traffic(carried.outbound, now),
        }
    };
    ike.into_iter().flat_map(|status| status.associations.iter().map(move |of| one(status, of))).collect()
}

/// A pair that is sent on.
fn pair_in_use<'a>(status: &ike::ConnectionStatus, snapshot: &'a IkeSnapshot) -> Option<&'a Pair> {
    let mut pairs = status.children.iter().filter_map(|child| snapshot.pairs.get(&child.inbound_spi));
    pairs.find(|pair| pair.sending)
}

fn state(ike: Option<&ike::ConnectionStatus>, carries: bool, start: &str, unresolved: bool) -> ConnectionState {
    let Some(status) = ike else {
        return if unresolved { ConnectionState::Down } else { ConnectionState::Connecting };
    };
    match status.state {
        _ if carries => ConnectionState::Established,
        ike::ConnectionState::Established | ike::ConnectionState::Connecting => ConnectionState::Connecting,
        ike::ConnectionState::Down if start != "now" && status.last_error.is_none() => ConnectionState::Waiting,
        ike::ConnectionState::Down | ike::ConnectionState::Closing => ConnectionState::Down,
    }
}

fn ike_sa(sa: &ike::IkeSaStatus, connection: &str, now: Instant) -> IkeSa {
    IkeSa {
        initiator_spi: hex::encode(sa.initiator_spi.0),
        responder_spi: hex::encode(sa.responder_spi.0),
        of_connection: (*sa.connection != *connection).then(|| sa.connection.to_string()),
        role: if sa.initiator { Role::Initiator } else { Role::Responder },
        algorithms: sa.algorithms.clone(),
        extensions: sa.extensions.iter().map(ToString::to_string).collect(),
        age_seconds: seconds_since(sa.established, now),
        rekey_seconds: Some(seconds_until(sa.rekey_at, now)),
        silent_seconds: sa.silent_since.map(|since| seconds_since(since, now)),
    }
}

fn child_sa(child: &ike::ChildStatus, pair: &Pair, now: Instant) -> ChildSa {
    let texts = |list: &[crate::wire::ike::TrafficSelector]| list.iter().map(ToString::to_string).collect();
    let retired = child.state == ike::ChildState::Retired;
    ChildSa {
        name: child.name.to_string(),
        association: child.association.0,
        inbound_spi: format!("{:08x}", child.inbound_spi),
        outbound_spi: format!("{:08x}", child.outbound_spi),
        algorithms: child.algorithms.clone(),
        encapsulation: form(child.encapsulation),
        local_selectors: texts(&child.local_selectors),
        peer_selectors: texts(&child.peer_selectors),
        sending: pair.sending,
        age_seconds: seconds_since(child.established, now),
        rekey_seconds: (!retired).then(|| seconds_until(child.rekey_at, now)),
        inbound: traffic(Count::from(pair.inbound.read()), now),
        outbound: traffic(Count::from(pair.outbound.read()), now),
    }
}

fn form(encapsulation: ike::Encapsulation) -> String {
    match encapsulation {
        ike::Encapsulation::Udp => "udp".to_owned(),
        ike::Encapsulation::None => "none".to_owned(),
    }
}

fn traffic(Count { packets, bytes, errors, last }: Count, now: Instant) -> Traffic {
    Traffic { packets, bytes, errors, idle_seconds: last.map(|last| seconds_since(last, now)) }
}

fn seconds_since(then: Instant, now: Instant) -> u64 {
    now.saturating_duration_since(then).as_secs()
}

fn seconds_until(then: Instant, now: Instant) -> u64 {
    then.saturating_duration_since(now).as_secs()
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::*;
    use crate::control::route::{Publication, RouteState};
    use crate::daemon::config::Config;

    fn route(destination: &str, connection: &str) -> Route {
        Route {
            destination: destination.parse().unwrap(),
            source: None,
            priority: None,
            connection: connection.to_owned(),
            weight: 100,
            state: RouteState::Down,
            reason: Some("a \"quoted\" word".to_owned()),
            publication: Publication::Normal,
            owner: Owner::File,
            created: 7,
        }
    }

    #[test]
    fn the_routes_are_one_array_and_only_those_that_are_new_are_written_again() {
        let mut view = View::default();
        assert_eq!(view.routes_json().unwrap(), b"[]");
        let to = |destination: &str, connections: &[&str]| {
            let routes = connections.iter().map(|connection| route(destination, connection)).collect();
            (destination.parse().unwrap(), Arc::new(RoutesTo::new(routes)))
        };
        for (destination, routes) in [to("10.1.0.0/16", &["a", "b"]), to("10.2.0.0/16", &[]), to("10.3.0.0/16", &["c"])]
        {
            view.routes.insert(destination, routes);
        }
        let told = |view: &View| serde_json::from_slice::<Vec<Route>>(&view.routes_json().unwrap()).unwrap();
        let shown = |view: &View| view.routes().cloned().collect::<Vec<_>>();
        assert_eq!((told(&view), told(&view).len()), (shown(&view), 3));
        let before = view.clone();
        let (destination, other) = to("10.3.0.0/16", &["d"]);
        view.routes.insert(destination, other);
        let written = |view: &View| view.routes.values().map(|to| to.json.get().is_some()).collect::<Vec<_>>();
        assert_eq!(written(&view), [true, true, false]);
        assert_eq!((told(&view), told(&before)), (shown(&view), shown(&before)));
    }

    #[test]
    fn what_the_file_notes_about_a_connection_is_shown() {
        let text = "[[connection]]\nname = \"idc\"\npeer = \"203.0.113.2\"\nlocal_id = \"gw\"\npsk = \"x\"\n\
                    local_subnets = \"10.1.0.0/24\"\npeer_subnets = \"10.2.0.0/24\"\ndescription = \"to the plant\"\n";
        let config = Config::parse(text, Path::new("gatewayd.toml")).unwrap();
        let view = View { of_file: config.connections, ..View::default() };
        let shown = connections(&view, &IkeSnapshot::default(), Instant::now());
        assert_eq!(shown[0].description.as_deref(), Some("to the plant"));
    }
}
