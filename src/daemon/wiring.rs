//! Between IKE and the data path: the only place that knows both.
//!
//! ```text
//!  ike ── Event ──► Wiring ── install, remove, path ──► rings of the data threads
//!                      └───── Notice ──► control task: routes, events, log
//!  data threads ── SaFacts, Acquire ──► Wiring ── Command ──► ike
//! ```

mod acquire;
mod associations;
pub mod carried;
mod discovery;
mod held;
mod installation;
mod notice;
mod pair;
pub mod path_mtu;
mod turns;

use std::collections::{HashMap, VecDeque};
use std::sync::Arc;
use std::time::{Duration, Instant};

use tokio::sync::mpsc;

pub use self::associations::GonePairs;
use self::associations::OfConnections;
use self::held::Held;
use self::installation::{Installation, encapsulation, selector_pair};
use self::notice::About;
pub use self::notice::{ChildOf, Notice};
pub use self::pair::Pair;
use self::path_mtu::Paths;
pub use super::command_ring::{CommandRing, RingFull};
use super::connections::{Change, Configured, ConnectionIds};
use crate::crypto::Entropy;
use crate::dataplane::command::{InboundCommand, OutboundCommand};
use crate::dataplane::outer_header::{Encapsulation, OuterPath};
use crate::dataplane::parameters::{OutboundSaParameters, Tunnel};
use crate::ike::{AssociationId, ChildSa, Command, ConnectionStatus, Event, Path, Removal, SaActivity};

/// How long the first packet on a new pair is awaited with attention: until then the peer may not use it yet.
const FRESH: Duration = Duration::from_secs(10);

/// The channels to the data threads and to the control task.
pub struct Channels {
    /// The ring of the outbound thread's commands.
    pub outbound: Arc<CommandRing<OutboundCommand>>,
    /// The ring of the inbound thread's commands.
    pub inbound: CommandRing<InboundCommand>,
    /// The connections' numbers in the data path.
    pub ids: Arc<ConnectionIds>,
    /// What the control task is told.
    pub notices: mpsc::Sender<Notice>,
}

/// Lives in the IKE thread.
pub struct Wiring {
    channels: Channels,
    /// What the control task has not been told yet.
    held: Held<Notice, About>,
    /// A data thread has commands to take that its ring had no room for.
    behind: bool,
    /// The paths to the peers, and what they take.
    pub paths: Paths,
    /// What IKE has to know of what it decided.
    answers: VecDeque<Command>,
    entropy: Box<dyn Entropy>,
    configured: Configured,
    /// By inbound SPI.
    pub pairs: HashMap<u32, Pair>,
    of_connections: OfConnections,
    /// By inbound SPI, the outbound SAs of the pairs that IKE has not said to use yet.
    waiting: HashMap<u32, Box<OutboundSaParameters>>,
    /// Pairs whose peer has not used them yet, and that are young.
    fresh: Vec<u32>,
    /// Every pair, the one that was looked at longest ago first; may still hold some that are gone.
    turns: VecDeque<u32>,
}

impl Wiring {
    /// Without connections and SAs.
    pub fn new(channels: Channels, paths: Paths, entropy: Box<dyn Entropy>) -> Self {
        Self {
            channels,
            held: Held::new(Notice::about),
            behind: false,
            paths,
            answers: VecDeque::new(),
            entropy,
            configured: Configured::default(),
            pairs: HashMap::new(),
            of_connections: OfConnections::default(),
            waiting: HashMap::new(),
            fresh: Vec::new(),
            turns: VecDeque::new(),
        }
    }

    /// Takes a difference of the configured connections. What was counted for one that is gone is forgotten with its last
    /// association.
    pub fn configure(&mut self, change: &Change) {
        self.configured.change(change);
        for name in &change.removed {
            self.of_connections.forget_empty(name);
        }
    }

    /// The pairs in this status of a connection, by inbound SPI, and those of it that are gone.
    pub fn of(&self, status: &ConnectionStatus) -> (HashMap<u32, Pair>, HashMap<Arc<str>, GonePairs>) {
        let spis = status.children.iter().map(|child| child.inbound_spi);
        let pairs = spis.filter_map(|spi| Some((spi, self.pairs.get(&spi)?.clone()))).collect();
        let gone = self.of_connections.gone_of(&status.name).map(|gone| (Arc::clone(&status.name), gone));
        (pairs, gone.into_iter().collect())
    }

    /// By the name of the connection, its pairs that are gone.
    pub fn gone(&self) -> HashMap<Arc<str>, GonePairs> {
        self.of_connections.gone()
    }

    /// Carries out what IKE decided. Called before the datagrams that IKE queued after it are sent.
    pub fn event(&mut self, event: Event, now: Instant) {
        match event {
            Event::ChildInstalled(child) => self.install(*child, now),
            Event::ChildOutboundActivated { inbound_spi, .. } => self.activate(inbound_spi),
            Event::ChildOutboundRetired { inbound_spi, .. } => self.retire(inbound_spi),
            Event::ChildRemoved { inbound_spi, reason, .. } => self.remove(inbound_spi, reason),
            Event::PathChanged { inbound_spis, path, .. } => self.path(&inbound_spis, path, now),
            Event::PathSilent { connection, inbound_spis, since } => {
                self.set_silent(&inbound_spis, true);
                self.tell(Notice::PathSilent { connection, since });
            }
            Event::PathAnswers { connection, inbound_spis } => {
                self.set_silent(&inbound_spis, false);
                self.tell(Notice::PathAnswers { connection });
            }
            Event::PathProbed { peer, asked, sent, in_time } => self.paths.probed(peer, asked, sent, in_time, now),
            Event::ConnectionUp { connection } => self.tell(Notice::ConnectionUp { connection }),
            Event::ConnectionDown { connection, error, .. } => {
                self.tell(Notice::ConnectionDown { connection, error: error.map(|error| error.to_string()) });
            }
            Event::Failure { connection, peer, failure } => {
                self.tell(Notice::Failure { connection, peer, reason: failure.to_string() });
            }
            Event::FailuresLeftOut { count, span } => {
                self.tell(Notice::MoreFailures { count, period: span });
            }
            Event::ShutdownComplete => self.tell(Notice::ShutdownComplete),
        }
    }

    /// Ends the data threads.
    pub fn stop(&self) {
        self.channels.outbound.send(OutboundCommand::Stop);
        self.channels.inbound.send(InboundCommand::Stop);
    }

    fn tell(&mut self, notice: Notice) {
        self.held.push(notice);
    }

    /// Tells the control task what happened, as far as it has room for that. To be called when the snapshots of IKE show it,
    /// and again while there is more.
    pub fn tell_news(&mut self) {
        self.held.pass_on(&self.channels.notices);
    }

    /// Hands the data threads what their rings had no room for.
    ///
    /// # Errors
    /// One of them has hung for so long that a command was lost.
    pub fn flush(&mut self) -> Result<(), RingFull> {
        self.behind = !(self.channels.outbound.flush()? & self.channels.inbound.flush()?);
        Ok(())
    }

    /// Whether there is something to be handed on soon.
    pub fn is_behind(&self) -> bool {
        self.behind || !self.held.is_empty()
    }

    /// What IKE has to be told of what it decided; to be asked for until there is no more.
    pub fn next_answer(&mut self) -> Option<Command> {
        self.answers.pop_front()
    }

    /// Installs the inbound SA of a pair. The outbound one waits until IKE says that it is to be used. IKE hears when that
    /// cannot be.
    fn install(&mut self, sa: ChildSa, now: Instant) {
        let inbound_spi = sa.inbound_spi;
        if let Err(reason) = self.try_install(sa, now) {
            self.answers.push_back(Command::InstallFailed { inbound_spi, reason });
        }
    }

    fn try_install(&mut self, sa: ChildSa, now: Instant) -> Result<(), String> {
        let id = self.channels.ids.id(&sa.connection);
        let Some(configured) = self.configured.connection(&sa.connection) else {
            return Err(format!("connection {} is not configured any more", sa.connection));
        };
        let Some(place) = configured.children.iter().position(|child| child.name == sa.child) else {
            return Err(format!("connection {} has no child {}", sa.connection, sa.child));
        };
        let options = self.configured.esp_options(&sa.connection);
        let selectors = selector_pair(&sa.local_selectors, &sa.peer_selectors)
            .ok_or("the agreed traffic selectors are no ranges of one family")?;
        let path = OuterPath { local: sa.path.local, peer: sa.path.peer };
        let (inbound_spi, outbound_spi) = (sa.inbound_spi, sa.outbound_spi);
        self.forget(inbound_spi, Removal::Replaced);
        let outer_mtu = self.paths.join(path, outbound_spi, inbound_spi, now);
        let tunnel = Tunnel { encapsulation: encapsulation(sa.encapsulation), path, outer_mtu };
        let pair = Pair::new(&sa, tunnel, now);
        let parts = Installation { id, place, options, tunnel, selectors: Arc::new(selectors) };
        let (inbound, outbound) = (Arc::clone(&pair.inbound), Arc::clone(&pair.outbound));
        let (receiving, sending) = parts.parameters(sa, inbound, outbound, self.entropy.as_mut());
        if let Err(full) = self.channels.inbound.offer(InboundCommand::Install(Box::new(receiving))) {
            self.paths.leave(path.peer.ip(), outbound_spi);
            return Err(full.to_string());
        }
        self.waiting.insert(inbound_spi, Box::new(sending));
        self.of_connections.joined(&pair);
        let (connection, association) = (Arc::clone(&pair.connection), pair.association);
        self.fresh.push(inbound_spi);
        self.pairs.insert(inbound_spi, pair);
        self.turns.push_back(inbound_spi);
        self.tell(Notice::PeerAt { connection, association, peer: path.peer.ip() });
        Ok(())
    }

    /// Installs the outbound SA of a pair, which is used from then on. IKE hears when that cannot be.
    fn activate(&mut self, inbound_spi: u32) {
        let Some(mut outbound) = self.waiting.remove(&inbound_spi) else { return };
        let Some(pair) = self.pairs.get(&inbound_spi) else { return };
        // The peer may have moved since they were agreed on.
        outbound.tunnel = pair.tunnel();
        let silent = pair.silent;
        if let Err(full) = self.channels.outbound.offer(OutboundCommand::Install(outbound)) {
            self.channels.inbound.send(InboundCommand::Remove { spi: inbound_spi });
            self.forget(inbound_spi, Removal::NotInstalled);
            self.answers.push_back(Command::InstallFailed { inbound_spi, reason: full.to_string() });
            return;
        }
        let (child, connection) = (ChildOf::from(pair), Arc::clone(&pair.connection));
        let news = self.of_connections.goes_up(pair);
        self.set_sending(inbound_spi, true);
        if silent {
            self.channels.outbound.send(OutboundCommand::SetSilent { inbound_spi, silent });
        }
        if news {
            self.tell(Notice::ChildUp(child));
        }
        let up = self.of_connections.carries(&connection);
        self.tell(Notice::Carries { connection, up });
    }

    /// Notes whether a pair sends.
    fn set_sending(&mut self, inbound_spi: u32, sending: bool) {
        let Some(pair) = self.pairs.get_mut(&inbound_spi) else { return };
        if std::mem::replace(&mut pair.sending, sending) != sending {
            self.of_connections.set_sending(pair, sending);
        }
    }

    /// The path of these pairs does not answer, or answers again: the loop prefers others, and so do routes where every pair
    /// of a connection is silent.
    fn set_silent(&mut self, inbound_spis: &[u32], silent: bool) {
        for inbound_spi in inbound_spis {
            let Some(pair) = self.pairs.get_mut(inbound_spi) else { continue };
            if std::mem::replace(&mut pair.silent, silent) == silent {
                continue;
            }
            self.channels.outbound.send(OutboundCommand::SetSilent { inbound_spi: *inbound_spi, silent });
            if pair.sending {
                self.of_connections.set_answering(pair, !silent);
            }
            let (connection, up) = (Arc::clone(&pair.connection), self.of_connections.carries(&pair.connection));
            self.tell(Notice::Carries { connection, up });
        }
    }

    /// Removes the outbound SA of a pair.
    fn retire(&mut self, inbound_spi: u32) {
        self.waiting.remove(&inbound_spi);
        self.channels.outbound.send(OutboundCommand::Remove { inbound_spi });
        self.set_sending(inbound_spi, false);
        let Some(pair) = self.pairs.get(&inbound_spi) else { return };
        let (connection, up) = (Arc::clone(&pair.connection), self.of_connections.carries(&pair.connection));
        self.tell(Notice::Carries { connection, up });
    }

    fn remove(&mut self, inbound_spi: u32, reason: Removal) {
        self.channels.inbound.send(InboundCommand::Remove { spi: inbound_spi });
        self.channels.outbound.send(OutboundCommand::Remove { inbound_spi });
        let Some(pair) = self.forget(inbound_spi, reason) else { return };
        let up = self.of_connections.carries(&pair.connection);
        self.tell(Notice::Carries { connection: pair.connection, up });
    }

    /// Forgets a pair, but not what it carried. Its child is down if no other pair of it sends, whatever the reason: what
    /// was to take its place may not be there.
    fn forget(&mut self, inbound_spi: u32, reason: Removal) -> Option<Pair> {
        self.waiting.remove(&inbound_spi);
        self.set_sending(inbound_spi, false);
        let pair = self.pairs.remove(&inbound_spi)?;
        self.paths.leave(pair.path.peer.ip(), pair.outbound_spi);
        self.of_connections.left(&pair);
        if self.of_connections.goes_down(&pair) {
            self.tell(Notice::ChildDown(ChildOf::from(&pair), reason.to_string()));
        }
        Some(pair)
    }

    /// Forgets associations that are gone. `is_there` says whether IKE has one; only those without a pair are asked for.
    /// To be called now and then, when IKE has nothing more to tell.
    pub fn forget_gone(&mut self, is_there: impl Fn(AssociationId) -> bool) {
        for (connection, association) in self.of_connections.forget_gone(is_there) {
            if !self.configured.knows(&connection) {
                self.of_connections.forget_empty(&connection);
            }
            self.tell(Notice::PeerGone { connection, association });
        }
    }

    fn path(&mut self, inbound_spis: &[u32], path: Path, now: Instant) {
        let path = OuterPath { local: path.local, peer: path.peer };
        let mut moved = HashMap::new();
        for spi in inbound_spis {
            let Some(pair) = self.pairs.get_mut(spi) else { continue };
            moved.insert(pair.association, Arc::clone(&pair.connection));
            self.paths.leave(pair.path.peer.ip(), pair.outbound_spi);
            self.paths.join(path, pair.outbound_spi, *spi, now);
            pair.path = path;
            let encapsulation = pair.encapsulation;
            self.channels.outbound.send(OutboundCommand::SetPath { inbound_spi: *spi, path, encapsulation });
            self.channels.inbound.send(InboundCommand::SetPath { spi: *spi, path, encapsulation });
        }
        self.set_path_mtu(path.peer.ip(), self.paths.mtu(path.peer.ip()));
        for (association, connection) in moved {
            self.tell(Notice::PeerAt { connection, association, peer: path.peer.ip() });
        }
    }

    /// The pairs to look at now: those whose first packet matters, and of thousands of others a tenth at a time.
    fn due_pairs(&mut self, now: Instant) -> Vec<u32> {
        let pairs = &self.pairs;
        let waits = |pair: &Pair| pair.told.is_none() && now.saturating_duration_since(pair.installed) < FRESH;
        self.fresh.retain(|spi| pairs.get(spi).is_some_and(waits));
        let mut due = self.fresh.clone();
        for _ in 0..turns::at_once(self.turns.len()) {
            let Some(spi) = self.turns.pop_front() else { break };
            let Some(pair) = self.pairs.get(&spi) else { continue };
            self.turns.push_back(spi);
            if !waits(pair) {
                due.push(spi);
            }
        }
        due
    }

    /// What the data path saw since the last call, as commands for IKE.
    pub fn activity(&mut self, now: Instant) -> Vec<Command> {
        let mut seen = Vec::new();
        let mut commands = Vec::new();
        for inbound_spi in self.due_pairs(now) {
            let Some(pair) = self.pairs.get_mut(&inbound_spi) else { continue };
            let inbound = pair.inbound.read();
            if let Some(last) = inbound.last_used.filter(|last| pair.told != Some(*last)) {
                // Raw ESP tells no port, so it cannot tell where a NAT moved the peer.
                let moved = inbound.source.filter(|source| source.port() != 0 && *source != pair.path.peer);
                seen.push(SaActivity {
                    inbound_spi,
                    last_inbound: last,
                    first_seen: pair.told.is_none(),
                    source: moved.filter(|_| pair.encapsulation == Encapsulation::Udp),
                });
                pair.told = Some(last);
            }
            let outbound = pair.outbound.read();
            if let Some(at) = outbound.last_large {
                self.paths.large_sent(pair.path.peer.ip(), at);
            }
            if pair.goes_unanswered(inbound.last_used, outbound.last_used, now) {
                commands.push(Command::CheckLiveness { inbound_spi });
            }
            commands.extend(pair.trouble(inbound_spi, &inbound, &outbound));
        }
        self.paths.look(now);
        if !seen.is_empty() {
            commands.push(Command::SaActivity(seen));
        }
        commands
    }
}

#[cfg(test)]
mod tests;
