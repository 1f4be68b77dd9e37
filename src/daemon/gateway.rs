//! The control task's state: what is configured, by whom, and what follows from it for IKE, routes and kernel.

mod apply;
pub mod line_budget;
pub mod load;
mod peers;
mod routes;
mod shown;
mod tunnels;
mod view;

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Instant;

use arc_swap::ArcSwap;
use ipnet::IpNet;
use tokio::sync::watch;
use tracing::{info, warn};

use self::line_budget::{LineBudget, Tells};
use self::peers::Peers;
use self::shown::Shown;
use self::tunnels::Tunnels;
use super::conditions::{Conditions, Source};
use super::config::{Config, PeerName, Tunnel};
use super::connections::ConnectionIds;
use super::events::EventLog;
use super::export;
use super::ike_handle::IkeHandle;
use super::ike_thread::Request;
use super::names::{Hurries, Resolution};
use super::owner_set::Translation;
use super::policy::Protection;
use super::status::View;
use super::wiring::{ChildOf, CommandRing, Notice};
use crate::control::action::{Accepted, Action, Rekeyed};
use crate::control::event::EventKind;
use crate::control::export::ConnectionExport;
use crate::control::owner_change::OwnerEntries;
use crate::dataplane::command::OutboundCommand;
use crate::dataplane::fib::FibPublisher;
use crate::ike::{Command, RekeyWhat};
use crate::io::forwarding::Forwarding;
use crate::io::ip_forwarding::Families;
use crate::io::kept_policy::{KeptPolicy, Share};
use crate::routing::{SharedSet, Table, VpnRoute, update_fib};

/// How many names a refusal tells.
const NAMED: usize = 20;

/// Why something that an operator asked for was not done.
#[derive(Debug, thiserror::Error)]
pub enum Refused {
    /// There is no such connection.
    #[error("no connection is called \"{name}\"; there are: {known}")]
    UnknownConnection {
        /// The name that was asked for.
        name: String,
        /// The names that there are, or some of them, separated by commas.
        known: String,
    },
    /// The connection has no such child.
    #[error("connection {connection} has no child \"{child}\"; it has: {known}")]
    UnknownChild {
        /// The connection.
        connection: String,
        /// The name that was asked for.
        child: String,
        /// The names of its children, separated by commas.
        known: String,
    },
    /// The file that was read again is wrong; its problems.
    #[error("the configuration is as it was: {0}")]
    BadConfiguration(String),
}

impl Refused {
    /// There is no connection of this name; there are those of the others.
    pub fn unknown<'a>(name: &str, others: impl Iterator<Item = &'a Arc<str>>) -> Self {
        let mut known: Vec<&str> = others.take(NAMED + 1).map(|name| &**name).collect();
        if known.len() > NAMED {
            known[NAMED] = "and others";
        }
        Self::UnknownConnection { name: name.to_owned(), known: known.join(", ") }
    }
}

/// Owned by the control task alone.
pub struct Gateway {
    /// The configuration file, for a reload.
    pub path: PathBuf,
    /// The state directory.
    pub state: PathBuf,
    /// What the configuration file said when it was last taken.
    pub file: Arc<Config>,
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
    pub owner: Option<OwnerEntries>,
    /// What the cloud protected last, while its set is not known.
    pub cend_before: Share,
    /// What of cend's set is done, and what is not.
    pub cend: Translation,
    /// What is in force of both.
    pub force: Force,
    /// Makes forwarding tables, and frees the former ones here rather than in the outbound thread.
    pub fibs: FibPublisher,
    /// The names of peers that are to be looked up now.
    pub hurries: Hurries,
    /// Addresses of peers that are configured by name.
    pub resolved: BTreeMap<String, IpAddr>,
    /// Why a name has no address.
    pub unresolved: BTreeMap<String, String>,
    /// Outer addresses that peers were seen at.
    pub seen: Peers,
    /// Peers' addresses that the kernel's side takes into account.
    pub outer_peers: watch::Sender<SharedSet<IpAddr>>,
    /// What has changed, and has to be told.
    pub stale: Stale,
    /// The parts of the view.
    pub shown: Shown,
    /// Connections whose routes changed their state; to be told when the view shows it.
    pub turned: Vec<Arc<str>>,
    /// Lines of the log on how connections come and go.
    pub lines: LineBudget,
    /// What is wrong at the moment, whoever finds out.
    pub conditions: Conditions,
    /// The address families of the routes.
    pub families: watch::Sender<Families>,
}

/// What is in force: what a change is compared with.
#[derive(Default)]
pub struct Force {
    /// The connections of both owners.
    pub tunnels: Tunnels,
    /// The routes that the file asks for.
    routes: Arc<Vec<VpnRoute>>,
    /// The VPN gateway's route table.
    pub table: Table,
    /// What is protected.
    pub protection: Protection,
}

/// What has changed, and has to be told.
#[derive(Default)]
pub struct Stale {
    /// Destinations that the forwarding table has not as the route table.
    pub fib: BTreeSet<IpNet>,
    /// Destinations that the view has not as the route table.
    routes: BTreeSet<IpNet>,
    /// The kernel's side does not know a peer's address yet.
    kernel: bool,
    /// The view is behind.
    view: bool,
    /// The names that have to be resolved are others.
    pub names: bool,
}

impl Gateway {
    fn tunnel(&self, name: &str) -> Result<&Arc<Tunnel>, Refused> {
        let known = self.force.tunnels.known(name).map(|known| &known.tunnel);
        known.ok_or_else(|| Refused::unknown(name, self.view.load().names()))
    }

    /// The next attempt to reach the peer of a connection goes where its name leads by then.
    fn look_up_peer(&self, connection: &str) {
        if let Some(PeerName::Name(name)) = self.force.tunnels.known(connection).map(|known| &known.tunnel.peer) {
            self.hurries.ask(name);
        }
    }

    fn resolved_peer(&self, tunnel: &Tunnel) -> Option<IpAddr> {
        match &tunnel.peer {
            PeerName::Address(address) => Some(*address),
            PeerName::Name(name) => self.resolved.get(name).copied(),
            PeerName::Any => None,
        }
    }

    /// What is protected, by whom.
    pub fn policy(&self) -> KeptPolicy {
        self.force.protection.policy(&self.file, self.seen.addresses())
    }

    /// Gives the outbound thread a forwarding table of the routes as they are.
    pub fn publish_fib(&mut self) {
        self.note_routes();
        let changed = std::mem::take(&mut self.stale.fib);
        if changed.is_empty() {
            return;
        }
        let (Force { table, tunnels, .. }, ids) = (&self.force, &self.ids);
        let id = |name: &Arc<str>| tunnels.known(name).map(|_| ids.id(name));
        let fib = self.fibs.change(changed, |fib, of| update_fib(fib, table, of, id));
        self.outbound.send(OutboundCommand::SetFib(fib));
    }

    /// Notes what has changed in the route table.
    fn note_routes(&mut self) {
        let changed = self.force.table.take_changed();
        self.stale.routes.extend(&changed);
        self.stale.fib.extend(changed);
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
        let event = self.events.newest();
        self.look_up_peer(name);
        for command in commands {
            self.ike.send(Request::Command(command));
        }
        Ok(Accepted { connection: name.to_owned(), action, event })
    }

    /// Rekeys SAs of a connection; what IKE makes of it, its events and the status tell.
    pub fn rekey(&self, name: &str, which: Rekeyed) -> Result<Accepted, Refused> {
        let tunnel = self.tunnel(name)?;
        let connection = Arc::clone(tunnel.name());
        let command = match which {
            Rekeyed::All => return self.act(name, Action::Rekey),
            Rekeyed::Ike => Command::Rekey { connection, what: RekeyWhat::Ike },
            Rekeyed::Child(child) => {
                let names = || tunnel.template().children.iter().map(|child| &child.name);
                let Some(child) = names().find(|known| ***known == *child).cloned() else {
                    let known = names().map(|name| &**name).collect::<Vec<_>>().join(", ");
                    return Err(Refused::UnknownChild { connection: name.to_owned(), child, known });
                };
                Command::RekeyChild { connection, child }
            }
        };
        info!(connection = name, action = Action::Rekey.name(), "an operator asks");
        let event = self.events.newest();
        self.ike.send(Request::Command(command));
        Ok(Accepted { connection: name.to_owned(), action: Action::Rekey, event })
    }

    /// What the peer of a connection has to be told.
    pub fn export(&self, name: &str) -> Result<ConnectionExport, Refused> {
        Ok(export::export(self.tunnel(name)?))
    }

    /// Takes what names resolved to, or why they did not. What follows is told once for all of them.
    pub async fn take_resolutions(&mut self, resolutions: &mut Vec<Resolution>) {
        let mut moved = BTreeMap::new();
        for (name, result) in resolutions.drain(..) {
            // A name that no connection has any more is nobody's trouble.
            if self.force.tunnels.of_peer(&name).next().is_none() {
                continue;
            }
            match result {
                Ok(address) => {
                    self.unresolved.remove(&name);
                    let before = self.resolved.insert(name.clone(), address);
                    if before != Some(address) {
                        info!(name, %address, "resolved a peer's name");
                        moved.entry(name).or_insert(before);
                    }
                }
                Err(reason) => {
                    self.unresolved.insert(name, reason);
                }
            }
        }
        if !moved.is_empty() {
            self.peers_have_moved(&moved).await;
        }
        self.tell_unresolved();
    }

    fn tell_unresolved(&self) {
        let line = |(name, reason): (&String, &String)| match self.resolved.get(name) {
            Some(address) => format!("the name {name} cannot be looked up, its last address {address} stays: {reason}"),
            None => format!("the name {name} has no address, its connections wait for one: {reason}"),
        };
        self.conditions.set(Source::Names, self.unresolved.iter().map(line).collect());
    }

    /// The peers' names that have to be resolved.
    pub fn names(&self) -> BTreeSet<String> {
        self.force.tunnels.peer_names().cloned().collect()
    }

    /// Takes what the wiring tells: the log, the events and the route states follow. The view and the kernel's side
    /// follow once for all of them, however many connections come up together. Says whether IKE has shut down.
    pub async fn take_notices(&mut self, notices: &mut Vec<Notice>) -> bool {
        let mut complete = false;
        for notice in notices.drain(..) {
            complete |= self.notice(notice);
        }
        self.note_routes();
        if self.stale.kernel {
            self.apply_kernel().await;
        } else if self.stale.view {
            self.publish_view();
        }
        for connection in std::mem::take(&mut self.turned) {
            self.events.happened(EventKind::RoutesChanged, Some(&connection), None, None);
        }
        complete
    }

    /// When [`tell_the_rest`](Self::tell_the_rest) has something to say, if it has.
    pub fn rest_is_due(&self) -> Option<Instant> {
        self.lines.due()
    }

    /// Counts the lines that were not written, if there are any.
    pub fn tell_the_rest(&mut self) {
        if self.lines.due().is_none() {
            return;
        }
        let (count, span) = self.lines.rest(Instant::now());
        warn!("… {count} more lines on connections in {} s, see their events and status", span.as_secs());
    }

    fn notice(&mut self, notice: Notice) -> bool {
        match notice {
            Notice::ConnectionUp { connection } => {
                if self.lines.take(Tells::News, &connection, Instant::now()) {
                    info!(%connection, "connection up");
                }
                self.events.happened(EventKind::ConnectionUp, Some(&connection), None, None);
            }
            Notice::ConnectionDown { connection, error } => {
                let tells = if error.is_some() { Tells::Trouble } else { Tells::News };
                match &error {
                    _ if !self.lines.take(tells, &connection, Instant::now()) => {}
                    Some(error) => warn!(%connection, error, "connection down"),
                    None => info!(%connection, "connection down"),
                }
                self.look_up_peer(&connection);
                self.events.happened(EventKind::ConnectionDown, Some(&connection), None, error);
            }
            Notice::ChildUp(of) => {
                let ChildOf { connection, association, peer_id, child } = &of;
                if self.lines.take(Tells::News, connection, Instant::now()) {
                    info!(%connection, %association, %peer_id, %child, "child up");
                }
                self.events.happened_to(EventKind::ChildUp, of, None);
            }
            Notice::ChildDown(of, reason) => {
                let ChildOf { connection, association, peer_id, child } = &of;
                if self.lines.take(Tells::News, connection, Instant::now()) {
                    info!(%connection, %association, %peer_id, %child, reason, "child down");
                }
                self.events.happened_to(EventKind::ChildDown, of, Some(reason));
            }
            Notice::Carries { connection, up } => {
                if self.force.table.set_up(&connection, up) {
                    self.stale.view = true;
                    self.turned.push(connection);
                }
            }
            Notice::PathSilent { connection, since } => {
                let seconds = since.elapsed().as_secs();
                if self.lines.take(Tells::Trouble, &connection, Instant::now()) {
                    warn!(%connection, "the peer has not answered for {seconds} s: others are preferred, and it is asked again");
                }
                self.events.happened(EventKind::PathSilent, Some(&connection), None, None);
            }
            Notice::PathAnswers { connection } => {
                if self.lines.take(Tells::News, &connection, Instant::now()) {
                    info!(%connection, "the peer answers again");
                }
                self.events.happened(EventKind::PathAnswers, Some(&connection), None, None);
            }
            Notice::Failure { connection, peer, reason } => {
                warn!(connection = connection.as_deref(), %peer, reason, "negotiation failed");
            }
            Notice::MoreFailures { count, period } => {
                let seconds = period.as_secs();
                warn!("… {count} more negotiations failed in {seconds} s");
            }
            // Of a connection that is gone by now nothing would take the address away again.
            Notice::PeerAt { connection, .. } if self.force.tunnels.known(&connection).is_none() => {}
            Notice::PeerAt { connection, association, peer } => {
                let left = self.seen.at(connection, association, peer).into_iter();
                let news = left.chain(Some(peer).filter(|peer| !self.outer_peers.borrow().contains(peer)));
                // The kernel's side differs only where a route leads to a peer's own address.
                self.stale.kernel |= news.into_iter().any(|address| self.force.table.covers(address));
            }
            Notice::PeerGone { connection, association } => {
                let left = self.seen.gone(&connection, association);
                self.stale.kernel |= left.is_some_and(|address| self.force.table.covers(address));
            }
            Notice::ShutdownComplete => return true,
        }
        false
    }
}

#[cfg(test)]
mod tests;
