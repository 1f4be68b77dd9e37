//! The control task's state: what is configured, by whom, and what follows from it for IKE, routes and kernel.

mod peers;
mod view;

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::net::IpAddr;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use arc_swap::ArcSwap;
use tokio::sync::watch;
use tokio::time::timeout;
use tracing::{info, warn};

use self::peers::Peers;
use super::conditions::{Conditions, Source};
use super::config::{self, Config, PeerName, Tunnel};
use super::connections::{Configured, ConnectionIds};
use super::events::EventLog;
use super::export;
use super::ike_handle::IkeHandle;
use super::ike_thread::Request;
use super::owner_file;
use super::owner_set::{self, Translation};
use super::policy;
use super::status::View;
use super::wiring::{ChildOf, CommandRing, Notice};
use crate::control::Owner;
use crate::control::action::{Accepted, Action};
use crate::control::event::EventKind;
use crate::control::export::ConnectionExport;
use crate::control::owner::{OwnerReply, OwnerSet, Refusal, RefusedKind};
use crate::control::reload::Reloaded;
use crate::dataplane::command::OutboundCommand;
use crate::dataplane::fib::FibPublisher;
use crate::ike::{self, Command, RekeyWhat};
use crate::io::clock;
use crate::io::forwarding::Forwarding;
use crate::io::ip_forwarding::Families;
use crate::io::kept_policy::{KeptPolicy, Share};
use crate::routing::{self, Family, Table, build_fib};

/// How long a change waits for the kernel's side to follow.
const KERNEL_TIMEOUT: Duration = Duration::from_secs(1);
/// Why something that an operator asked for was not done.
#[derive(Debug, thiserror::Error)]
pub enum Refused {
    /// There is no such connection.
    #[error("no connection is called \"{name}\"; there are: {known}")]
    UnknownConnection {
        /// The name that was asked for.
        name: String,
        /// The names that there are, separated by commas.
        known: String,
    },
    /// The file that was read again is wrong; its problems.
    #[error("the configuration is as it was: {0}")]
    BadConfiguration(String),
    /// The state directory does not take the set.
    #[error("the set could not be kept in the state directory: {0}")]
    NotKept(std::io::Error),
}

/// Owned by the control task alone.
pub struct Gateway {
    /// The configuration file, for a reload.
    pub path: PathBuf,
    /// The state directory.
    pub state: PathBuf,
    /// What the configuration file said when it was last taken.
    pub file: Config,
    /// The way to the IKE thread.
    pub ike: IkeHandle,
    /// The connections' numbers in the data path.
    pub ids: Arc<ConnectionIds>,
    /// The ring of the outbound thread's commands.
    pub outbound: Arc<CommandRing<OutboundCommand>>,
    /// The kernel's side: routes, blackholes and filter.
    pub forwarding: Forwarding,
    /// Where events are told and listened to.
    pub events: EventLog,
    /// What the status is made of, for the API.
    pub view: Arc<ArcSwap<View>>,
    /// cend's last complete set; `None` while there is none.
    pub owner: Option<OwnerSet>,
    /// What the cloud protected last, while its set is not known.
    pub cend_before: Share,
    /// The VPN gateway's route table.
    pub table: Table,
    /// Makes forwarding tables, and frees the former ones here rather than in the outbound thread.
    pub fibs: FibPublisher,
    /// What of cend's set is done, and what is not.
    pub cend: Translation,
    /// Addresses of peers that are configured by name.
    pub resolved: BTreeMap<String, IpAddr>,
    /// Why a name has no address.
    pub unresolved: BTreeMap<String, String>,
    /// Outer addresses that peers were seen at.
    pub seen: Peers,
    /// Peers' addresses that the kernel's side takes into account.
    pub outer_peers: BTreeSet<IpAddr>,
    /// The forwarding table is behind the route table.
    pub fib_stale: bool,
    /// The kernel's side does not know a peer's address yet.
    pub kernel_stale: bool,
    /// The view is behind.
    pub view_stale: bool,
    /// Connections whose routes changed their state; to be told when the view shows it.
    pub turned: Vec<Arc<str>>,
    /// What is wrong at the moment, whoever finds out.
    pub conditions: Conditions,
    /// The address families of the routes.
    pub families: watch::Sender<Families>,
}

impl Gateway {
    /// Brings IKE, routes, kernel and status to what is configured.
    pub async fn apply(&mut self) {
        self.cend = match &self.owner {
            Some(set) => owner_set::translate(set, &self.file, clock::unix_seconds()),
            None => Translation::default(),
        };
        for warning in &self.cend.warnings {
            warn!("{warning}");
        }
        for refusal in &self.cend.refused {
            warn!(kind = ?refusal.kind, name = refusal.name, reason = refusal.reason, "refused a part of cend's set");
        }
        self.tell_unresolved();
        self.apply_connections();
        self.apply_routes().await;
    }

    /// The connections of both owners.
    pub fn tunnels(&self) -> impl Iterator<Item = (Owner, &Tunnel)> {
        let file = self.file.connections.iter().map(|tunnel| (Owner::File, tunnel));
        file.chain(self.cend.tunnels.iter().map(|tunnel| (Owner::Cend, tunnel)))
    }

    fn tunnel(&self, name: &str) -> Result<&Tunnel, Refused> {
        self.tunnels().map(|(_, tunnel)| tunnel).find(|tunnel| **tunnel.name() == *name).ok_or_else(|| {
            let known: Vec<&str> = self.tunnels().map(|(_, tunnel)| &**tunnel.name()).collect();
            Refused::UnknownConnection { name: name.to_owned(), known: known.join(", ") }
        })
    }

    fn resolved_peer(&self, tunnel: &Tunnel) -> Option<IpAddr> {
        match &tunnel.peer {
            PeerName::Address(address) => Some(*address),
            PeerName::Name(name) => self.resolved.get(name).copied(),
            PeerName::Any => None,
        }
    }

    fn apply_connections(&mut self) {
        let names: BTreeSet<Arc<str>> = self.tunnels().map(|(_, tunnel)| Arc::clone(tunnel.name())).collect();
        self.seen.retain(|name| names.contains(name));
        let resolved = |tunnel: &Tunnel| tunnel.ike(self.resolved_peer(tunnel));
        let connections: Vec<Arc<ike::Connection>> =
            self.tunnels().filter_map(|(_, tunnel)| resolved(tunnel)).collect();
        let options = self.tunnels().map(|(_, tunnel)| (Arc::clone(tunnel.name()), tunnel.esp_options));
        let mut ike = ike::Config::new(connections);
        ike.retransmission.timeout = self.file.gateway.retransmission_timeout;
        let configured = Configured::new(ike, options);
        self.ike.send(Request::Configure(configured));
    }

    async fn apply_routes(&mut self) {
        let refused = self.table.replace_owned(routing::Owner::File, self.file.routes.clone());
        for (key, reason) in refused {
            warn!(destination = %key.destination, connection = %key.connection, %reason, "refused a route of the file");
        }
        for (key, reason) in self.table.replace_owned(routing::Owner::Cend, self.cend.routes.clone()) {
            let refusal =
                Refusal { kind: RefusedKind::Route, name: key.destination.to_string(), reason: reason.to_string() };
            warn!(name = refusal.name, reason = refusal.reason, "refused a part of cend's set");
            self.cend.refused.push(refusal);
        }
        self.table.set_file_publications(&self.cend.publications);
        self.publish_fib();
        self.apply_kernel().await;
        self.events.happened(EventKind::RoutesChanged, None, None, None);
    }

    async fn apply_kernel(&mut self) {
        let policy = self.policy();
        self.outer_peers.clone_from(&policy.outer_peers);
        self.kernel_stale = false;
        let of_family = |family| self.table.destinations().any(|(destination, _)| Family::of(&destination) == family);
        self.families.send_replace(Families { ipv4: of_family(Family::Ipv4), ipv6: of_family(Family::Ipv6) });
        // What did not succeed is logged where it is tried again, and stands in the view as long as it lasts. A kernel's side
        // that takes longer tells when it is done.
        let _ = timeout(KERNEL_TIMEOUT, self.forwarding.apply(policy)).await;
        self.publish_view();
    }

    /// What is protected, by whom.
    pub fn policy(&self) -> KeptPolicy {
        let configured = self.tunnels().filter_map(|(_, tunnel)| self.resolved_peer(tunnel));
        let outer_peers = configured.chain(self.seen.addresses()).collect();
        let cend = self.owner.as_ref().map_or_else(|| self.cend_before.clone(), policy::cend_share);
        policy::policy(&self.file, cend, outer_peers)
    }

    /// Gives the outbound thread a forwarding table of the routes as they are.
    pub fn publish_fib(&mut self) {
        let fib = build_fib(&self.table, |name| Some(self.ids.id(&Arc::from(name))));
        self.outbound.send(OutboundCommand::SetFib(self.fibs.publish(fib)));
        self.fib_stale = false;
    }

    /// Reads the file again. A bad one changes nothing.
    pub async fn reload(&mut self) -> Result<Reloaded, Refused> {
        let file = Config::load(&self.path).map_err(|error| Refused::BadConfiguration(error.to_string()))?;
        let mut reloaded = difference(&self.file.connections, &file.connections);
        reloaded.warnings.clone_from(&file.warnings);
        let (socket, state) = (self.file.gateway.socket.clone(), self.state.clone());
        if (config::Gateway { socket, state, ..file.gateway.clone() }) != self.file.gateway {
            reloaded
                .warnings
                .push("a key above the connections changed; that takes effect at the next start".to_owned());
        }
        for warning in &reloaded.warnings {
            warn!("{warning}");
        }
        self.file = Config { gateway: self.file.gateway.clone(), ..file };
        self.apply().await;
        info!(added = ?reloaded.added, changed = ?reloaded.changed, removed = ?reloaded.removed, "reloaded");
        self.events.happened(EventKind::Reloaded, None, None, None);
        Ok(reloaded)
    }

    /// Takes cend's complete set: kept on the disk first, then applied.
    pub async fn take_owner_set(&mut self, set: OwnerSet) -> Result<OwnerReply, Refused> {
        if self.owner.as_ref() != Some(&set) {
            owner_file::keep(&self.state, &set).map_err(Refused::NotKept)?;
            let known = self.owner.as_ref().map_or(0, |set| set.revision);
            info!(revision = set.revision, previous = known, connections = set.connections.len(), "took cend's set");
            self.owner = Some(set);
            self.apply().await;
            self.events.happened(EventKind::Reloaded, None, None, None);
        }
        Ok(self.owner_reply())
    }

    /// What became of cend's set: the answer to it, and to who asks later.
    pub fn owner_reply(&self) -> OwnerReply {
        let revision = self.owner.as_ref().map_or(0, |set| set.revision);
        OwnerReply { revision, refused: self.cend.refused.clone() }
    }

    /// Passes an operator's action on to IKE.
    pub fn act(&self, name: &str, action: Action) -> Result<Accepted, Refused> {
        let connection = Arc::clone(self.tunnel(name)?.name());
        let commands = match action {
            Action::Up => vec![Command::Up { connection }],
            Action::Down => vec![Command::Down { connection }],
            Action::Rekey => vec![
                Command::Rekey { connection: Arc::clone(&connection), what: RekeyWhat::Ike },
                Command::Rekey { connection, what: RekeyWhat::Child },
            ],
        };
        info!(connection = name, action = action.name(), "an operator asks");
        for command in commands {
            self.ike.send(Request::Command(command));
        }
        Ok(Accepted { connection: name.to_owned(), action })
    }

    /// What the peer of a connection has to be told.
    pub fn export(&self, name: &str) -> Result<ConnectionExport, Refused> {
        Ok(export::export(self.tunnel(name)?))
    }

    /// Takes what a name resolved to, or why it did not.
    pub async fn take_resolution(&mut self, name: String, result: Result<IpAddr, String>) {
        match result {
            Ok(address) => {
                self.unresolved.remove(&name);
                if self.resolved.insert(name.clone(), address) != Some(address) {
                    info!(name, %address, "resolved a peer's name");
                    self.apply_connections();
                    self.apply_kernel().await;
                }
            }
            Err(reason) => {
                self.unresolved.insert(name, reason);
            }
        }
        self.tell_unresolved();
    }

    /// Names that no connection has any more are nobody's trouble.
    fn tell_unresolved(&self) {
        let configured = self.names();
        let unresolved = self.unresolved.iter().filter(|(name, _)| configured.contains(*name));
        let line = |(name, reason): (&String, &String)| match self.resolved.get(name) {
            Some(address) => format!("the name {name} cannot be looked up, its last address {address} stays: {reason}"),
            None => format!("the name {name} has no address, its connections wait for one: {reason}"),
        };
        self.conditions.set(Source::Names, unresolved.map(line).collect());
    }

    /// The peers' names that have to be resolved.
    pub fn names(&self) -> BTreeSet<String> {
        let name = |peer: &PeerName| if let PeerName::Name(name) = peer { Some(name.clone()) } else { None };
        self.tunnels().filter_map(|(_, tunnel)| name(&tunnel.peer)).collect()
    }

    /// Takes what the wiring tells: the log, the events and the route states follow. The view and the kernel's side
    /// follow once for all of them, however many connections come up together. Says whether IKE has shut down.
    pub async fn take_notices(&mut self, notices: &mut Vec<Notice>) -> bool {
        let mut complete = false;
        for notice in notices.drain(..) {
            complete |= self.notice(notice);
        }
        if self.kernel_stale {
            self.apply_kernel().await;
        } else if self.view_stale {
            self.publish_view();
        }
        for connection in std::mem::take(&mut self.turned) {
            self.events.happened(EventKind::RoutesChanged, Some(&connection), None, None);
        }
        complete
    }

    fn notice(&mut self, notice: Notice) -> bool {
        match notice {
            Notice::ConnectionUp { connection } => {
                info!(%connection, "connection up");
                self.events.happened(EventKind::ConnectionUp, Some(&connection), None, None);
            }
            Notice::ConnectionDown { connection, error } => {
                match &error {
                    Some(error) => warn!(%connection, error, "connection down"),
                    None => info!(%connection, "connection down"),
                }
                self.events.happened(EventKind::ConnectionDown, Some(&connection), None, error);
            }
            Notice::ChildUp(of) => {
                let ChildOf { connection, association, peer_id, child } = &of;
                info!(%connection, %association, %peer_id, %child, "child up");
                self.events.happened_to(EventKind::ChildUp, of, None);
            }
            Notice::ChildDown(of, reason) => {
                let ChildOf { connection, association, peer_id, child } = &of;
                info!(%connection, %association, %peer_id, %child, reason, "child down");
                self.events.happened_to(EventKind::ChildDown, of, Some(reason));
            }
            Notice::Carries { connection, up } => {
                if self.table.set_up(&connection, up) {
                    (self.fib_stale, self.view_stale) = (true, true);
                    self.turned.push(connection);
                }
            }
            Notice::PathSilent { connection, since } => {
                let seconds = since.elapsed().as_secs();
                warn!(%connection, "the peer has not answered for {seconds} s: others are preferred, and it is asked again");
                self.events.happened(EventKind::PathSilent, Some(&connection), None, None);
            }
            Notice::PathAnswers { connection } => {
                info!(%connection, "the peer answers again");
                self.events.happened(EventKind::PathAnswers, Some(&connection), None, None);
            }
            Notice::Failure { connection, peer, reason } => {
                warn!(connection = connection.as_deref(), %peer, reason, "negotiation failed");
            }
            Notice::FailuresLeftOut { count, span } => {
                let seconds = span.as_secs();
                warn!(
                    "{count} more negotiations failed in {seconds} s, with peers that have not authenticated themselves"
                );
            }
            Notice::PeerAt { connection, association, peer } => {
                let left = self.seen.at(connection, association, peer).into_iter();
                let news = left.chain(Some(peer).filter(|peer| !self.outer_peers.contains(peer)));
                // The kernel's side differs only where a route leads to a peer's own address.
                self.kernel_stale |= news.into_iter().any(|address| self.table.covers(address));
            }
            Notice::PeerGone { connection, association } => {
                let left = self.seen.gone(&connection, association);
                self.kernel_stale |= left.is_some_and(|address| self.table.covers(address));
            }
            Notice::ShutdownComplete => return true,
        }
        false
    }
}

/// Which connections a new file adds, changes and removes.
fn difference(before: &[Tunnel], after: &[Tunnel]) -> Reloaded {
    let by_name = |tunnels: &'_ [Tunnel]| -> HashMap<Arc<str>, usize> {
        tunnels.iter().enumerate().map(|(place, tunnel)| (Arc::clone(tunnel.name()), place)).collect()
    };
    let (old, new) = (by_name(before), by_name(after));
    let mut reloaded = Reloaded::default();
    for tunnel in after {
        match old.get(tunnel.name()).map(|place| &before[*place]) {
            None => reloaded.added.push(tunnel.name().to_string()),
            Some(before) if before != tunnel => reloaded.changed.push(tunnel.name().to_string()),
            Some(_) => {}
        }
    }
    let stays = |tunnel: &&Tunnel| new.contains_key(tunnel.name());
    reloaded.removed = before.iter().filter(|tunnel| !stays(tunnel)).map(|tunnel| tunnel.name().to_string()).collect();
    reloaded
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::*;

    #[test]
    fn a_reload_tells_what_it_touches() {
        let file = |names: &[(&str, &str)]| {
            let text: String = names
                .iter()
                .map(|(name, psk)| {
                    format!(
                        "[[connection]]\nname = \"{name}\"\npeer = \"203.0.113.1\"\nlocal_id = \"a\"\npsk = \"{psk}\"\nlocal_subnets = \"10.0.0.0/24\"\npeer_subnets = \"10.1.0.0/24\"\n"
                    )
                })
                .collect();
            Config::parse(&text, Path::new("gatewayd.toml")).unwrap().connections
        };
        let before = file(&[("stays", "1"), ("changes", "1"), ("goes", "1")]);
        let after = file(&[("new", "1"), ("changes", "2"), ("stays", "1")]);
        let reloaded = difference(&before, &after);
        assert_eq!(
            (reloaded.added, reloaded.changed, reloaded.removed),
            (vec!["new".into()], vec!["changes".into()], vec!["goes".into()])
        );
    }
}
