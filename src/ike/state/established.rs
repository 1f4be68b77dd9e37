//! An established IKE SA: its Child SAs, its one exchange under way, and what is to come.

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::{Duration, Instant};

use super::{Cause, Ended, Secured, WantedChild};
use crate::ike::channel::{Channel, Opened, OpenedMessage, malformed_notify};
use crate::ike::child::{Agreed, ChildPair, PairKeys, Stage, Transport};
use crate::ike::config::{Connection, Retransmission};
use crate::ike::context::Context;
use crate::ike::error::Discard;
use crate::ike::event::{Deadline, Event, Path, Removal, SaActivity, Why};
use crate::ike::exchange::{Exchange, Task};
use crate::ike::ext::natd::{self, NatStatus};
use crate::ike::keys::ChildKeySource;
use crate::ike::message::Payloads;
use crate::ike::negotiate::IkeAlgorithms;
use crate::ike::status::{ChildStatus, IkeSaStatus};
use crate::wire::ike::{ExchangeType, Identification, Notify, NotifyType, ParsedMessage, Payload, ProtocolId};

/// First and longest wait after a Child SA was refused, before jitter.
const FAILURE_WAIT: Duration = Duration::from_secs(5);
const LONGEST_FAILURE_WAIT: Duration = Duration::from_secs(300);

/// How long the responder leaves it to the initiator to ask for the children.
const RESPONDER_PATIENCE: Duration = Duration::from_secs(4);

/// Between transmissions once somebody hinted that the peer does not know the IKE SA.
const HINTED_WAIT: Duration = Duration::from_millis(500);

/// An IKE SA whose peer is authenticated.
pub(in crate::ike) struct Established {
    connection: Arc<Connection>,
    peer_id: Identification,
    channel: Channel,
    child_key_source: ChildKeySource,
    algorithms: IkeAlgorithms,
    nat: NatStatus,
    encapsulate: bool,
    born: Instant,
    rekey_at: Instant,
    expires_at: Instant,
    children: Vec<ChildPair>,
    tasks: VecDeque<Task>,
    retries: Vec<(Instant, Task)>,
    exchange: Option<Exchange>,
    phase: Phase,
    /// When the peer last gave an authenticated sign of life.
    heard: Instant,
    /// The peer asked for this IKE SA in a rekey and has not used it: our answer may not have arrived.
    unconfirmed: bool,
    keepalive_at: Option<Instant>,
    /// Every configured child is to be kept up.
    keep_children: bool,
    ensure_at: Option<Instant>,
    child_failures: u32,
    /// The peer said that it knows no other IKE SA with us (RFC 7296 2.4); for the endpoint to act on once.
    pub(in crate::ike) initial_contact: bool,
}

/// Whether the IKE SA serves.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(in crate::ike) enum Phase {
    Active,
    /// Another IKE SA has taken its place, and the peer is to delete it until then.
    Passive(Instant),
    /// We are deleting it.
    Closing(Cause),
}

/// What becomes an established IKE SA.
pub(in crate::ike) struct Establishing {
    pub(in crate::ike) connection: Arc<Connection>,
    pub(in crate::ike) peer_id: Identification,
    pub(in crate::ike) secured: Secured,
}

impl Established {
    pub(in crate::ike) fn new(establishing: Establishing, children: Vec<ChildPair>, cx: &mut Context<'_>) -> Self {
        let Establishing { connection, peer_id, secured } = establishing;
        let Secured { channel, child_key_source, algorithms, nat, encapsulate } = secured;
        let rekey_at = cx.now + cx.jitter(connection.ike_lifetime, 80, 90);
        let keepalive = connection.nat_keepalive;
        Self {
            expires_at: cx.now + connection.ike_lifetime,
            keepalive_at: (nat.local_behind_nat && !keepalive.is_zero()).then(|| cx.now + keepalive),
            connection,
            peer_id,
            channel,
            child_key_source,
            algorithms,
            nat,
            encapsulate,
            born: cx.now,
            rekey_at,
            children,
            tasks: VecDeque::new(),
            retries: Vec::new(),
            exchange: None,
            phase: Phase::Active,
            heard: cx.now,
            unconfirmed: false,
            keep_children: false,
            ensure_at: None,
            child_failures: 0,
            initial_contact: false,
        }
    }

    pub(in crate::ike) fn connection(&self) -> &Arc<Connection> {
        &self.connection
    }

    pub(in crate::ike) fn peer_id(&self) -> &Identification {
        &self.peer_id
    }

    pub(in crate::ike) fn channel(&self) -> &Channel {
        &self.channel
    }

    pub(in crate::ike) fn child_key_source(&self) -> &ChildKeySource {
        &self.child_key_source
    }

    pub(in crate::ike) fn phase(&self) -> &Phase {
        &self.phase
    }

    pub(in crate::ike) fn is_active(&self) -> bool {
        self.phase == Phase::Active
    }

    pub(in crate::ike) fn make_passive(&mut self, until: Instant) {
        self.phase = Phase::Passive(until);
    }

    // Children.

    pub(in crate::ike) fn children(&self) -> &[ChildPair] {
        &self.children
    }

    pub(in crate::ike) fn child(&self, inbound_spi: u32) -> Option<&ChildPair> {
        self.children.iter().find(|pair| pair.inbound_spi == inbound_spi)
    }

    pub(in crate::ike) fn child_mut(&mut self, inbound_spi: u32) -> Option<&mut ChildPair> {
        self.children.iter_mut().find(|pair| pair.inbound_spi == inbound_spi)
    }

    pub(in crate::ike) fn take_child(&mut self, inbound_spi: u32) -> Option<ChildPair> {
        let index = self.children.iter().position(|pair| pair.inbound_spi == inbound_spi)?;
        Some(self.children.remove(index))
    }

    pub(in crate::ike) fn install_child(
        &mut self,
        agreed: Agreed,
        keys: PairKeys,
        outbound_active: bool,
        replaces: Option<u32>,
        cx: &mut Context<'_>,
    ) {
        let transport = Transport::new(self.channel.path(), self.encapsulate, cx.config.nat_port);
        let connection = self.connection.clone();
        let pair = ChildPair::install(agreed, keys, &connection, transport, outbound_active, replaces, cx);
        self.retries.retain(|(_, task)| !task.creates(&pair.child));
        self.child_failures = 0;
        self.children.push(pair);
    }

    /// Another pair has taken this one's place.
    pub(in crate::ike) fn replaced(&mut self, inbound_spi: u32) {
        if let Some(pair) = self.child_mut(inbound_spi) {
            pair.stage = Stage::Replaced;
        }
    }

    /// Starts to send on the pair that was waiting for this one to go.
    pub(in crate::ike) fn activate_successor(&mut self, of: u32, cx: &mut Context<'_>) {
        let name = self.connection.name.clone();
        let successor = self.children.iter_mut().find(|pair| pair.replaces == Some(of) && pair.is_current());
        if let Some(successor) = successor {
            successor.activate(&name, cx);
        }
    }

    /// Somebody needs this child.
    pub(in crate::ike) fn want(&mut self, wanted: WantedChild) {
        if !self.has_or_awaits(&wanted.child) {
            self.tasks.push_back(Task::CreateChild(wanted));
        }
    }

    fn has_or_awaits(&self, name: &Arc<str>) -> bool {
        let creating = match &self.exchange {
            Some(Exchange::CreateChild(exchange)) => exchange.child.name == *name,
            _ => false,
        };
        creating
            || self.children.iter().any(|pair| pair.child == *name && pair.is_current())
            || self.tasks.iter().any(|task| task.creates(name))
            || self.retries.iter().any(|(_, task)| task.creates(name))
    }

    /// Whether every configured child is to be kept up from now on.
    pub(in crate::ike) fn keep_children(&mut self, keep: bool, now: Instant) {
        self.keep_children = keep;
        let patience = if self.channel.is_initiator() { Duration::ZERO } else { RESPONDER_PATIENCE };
        self.ensure_at = keep.then(|| now + patience);
    }

    fn ensure_children(&mut self) {
        let connection = self.connection.clone();
        for child in &connection.children {
            self.want(WantedChild { child: child.name.clone(), packet: None });
        }
    }

    /// A pair is gone that nobody here wanted gone.
    pub(in crate::ike) fn child_lost(&mut self, cx: &mut Context<'_>) {
        if self.keep_children {
            let wait = cx.jitter(Duration::from_secs(1), 80, 160);
            self.ensure_at = Some(cx.now + wait);
        }
    }

    /// A child could not be set up; it is tried again if it is to be kept up. An inbound SPI is given when the peer
    /// believes in an SA that is of no use.
    pub(in crate::ike) fn child_failed(&mut self, child: Arc<str>, unusable: Option<u32>, cx: &mut Context<'_>) {
        if let Some(inbound_spi) = unusable {
            self.queue_first(Task::DeleteChild { inbound_spi, reason: Removal::Redundant });
        }
        if self.keep_children || self.connection.start == crate::ike::config::Start::Now {
            let at = cx.now + self.failure_wait(cx);
            self.retry(Task::CreateChild(WantedChild { child, packet: None }), at);
        }
    }

    pub(in crate::ike) fn failure_wait(&mut self, cx: &mut Context<'_>) -> Duration {
        let wait = FAILURE_WAIT.saturating_mul(1 << self.child_failures.min(10)).min(LONGEST_FAILURE_WAIT);
        self.child_failures += 1;
        cx.jitter(wait, 80, 120)
    }

    // Exchanges.

    pub(in crate::ike) fn exchange_mut(&mut self) -> Option<&mut Exchange> {
        self.exchange.as_mut()
    }

    pub(in crate::ike) fn exchange(&self) -> Option<&Exchange> {
        self.exchange.as_ref()
    }

    pub(in crate::ike) fn queue(&mut self, task: Task) {
        if !self.tasks.contains(&task) {
            self.tasks.push_back(task);
        }
    }

    pub(in crate::ike) fn queue_first(&mut self, task: Task) {
        self.tasks.push_front(task);
    }

    pub(in crate::ike) fn retry(&mut self, task: Task, at: Instant) {
        self.retries.push((at, task));
    }

    /// Sends the request of an exchange.
    pub(in crate::ike) fn send(
        &mut self,
        kind: ExchangeType,
        payloads: &[Payload],
        exchange: Exchange,
        cx: &mut Context<'_>,
    ) {
        self.exchange = Some(exchange);
        self.channel.request(kind, payloads, cx);
    }

    /// Sends the request of an exchange, with a back-off of its own.
    pub(in crate::ike) fn send_with(
        &mut self,
        kind: ExchangeType,
        payloads: &[Payload],
        exchange: Exchange,
        policy: Retransmission,
        cx: &mut Context<'_>,
    ) {
        self.exchange = Some(exchange);
        self.channel.request_with(kind, payloads, policy, Duration::MAX, cx);
    }

    /// This IKE SA goes before a rekey of ours is answered: a rekey of the peer's takes over, if there is one.
    pub(in crate::ike) fn settle_for_rival(&mut self, cx: &mut Context<'_>) {
        match self.exchange.take() {
            Some(Exchange::RekeyIke(exchange)) => {
                self.adopt_rival(*exchange, cx);
            }
            other => self.exchange = other,
        }
    }

    pub(in crate::ike) fn into_channel(self) -> Channel {
        self.channel
    }

    /// Starts what waits, as the window allows.
    pub(in crate::ike) fn advance(&mut self, cx: &mut Context<'_>) {
        while self.exchange.is_none() && self.channel.is_free() {
            let Some(task) = self.tasks.pop_front() else { return };
            match task {
                Task::CreateChild(wanted) => {
                    let there = self.children.iter().any(|pair| pair.child == wanted.child && pair.is_current());
                    if !there {
                        self.start_create_child(wanted, None, cx);
                    }
                }
                Task::RekeyChild(spi) => self.start_rekey_child(spi, cx),
                Task::RekeyIke => self.start_rekey_ike(cx),
                Task::DeleteChild { inbound_spi, reason } => self.start_delete_child(inbound_spi, reason, cx),
                Task::DeleteIke => self.start_delete_ike(cx),
                Task::Liveness => self.start_liveness(cx),
            }
        }
    }

    /// Whether this IKE SA goes or is being replaced, so that the peer must not start a new exchange about its
    /// children (RFC 7296 2.25.2).
    pub(in crate::ike) fn is_closing_or_rekeying(&self) -> bool {
        !self.is_active() || matches!(self.exchange, Some(Exchange::RekeyIke(_) | Exchange::DeleteIke))
    }

    /// Closes it: the Child SAs go at once, the peer is told.
    pub(in crate::ike) fn close(&mut self, cause: Cause, removal: Removal, cx: &mut Context<'_>) {
        if matches!(self.phase, Phase::Closing(_)) {
            return;
        }
        self.phase = Phase::Closing(cause);
        self.remove_children(removal, cx);
        self.tasks.clear();
        self.retries.clear();
        self.tasks.push_back(Task::DeleteIke);
        self.channel.hasten(Duration::from_millis(500), cx.now);
        self.advance(cx);
    }

    /// Takes every pair from the data path.
    pub(in crate::ike) fn remove_children(&mut self, reason: Removal, cx: &mut Context<'_>) {
        if let Some(Exchange::CreateChild(exchange)) = &self.exchange {
            cx.inbound_spis.release(exchange.inbound_spi);
        }
        for pair in self.children.drain(..) {
            pair.remove(&self.connection.name, reason, cx);
        }
    }

    // Input.

    pub(in crate::ike) fn open(&self, message: &ParsedMessage<'_>, path: Path) -> Result<Opened, Discard> {
        self.channel.open(message, path)
    }

    pub(in crate::ike) fn handle(
        mut self,
        message: OpenedMessage,
        datagram: &[u8],
        cx: &mut Context<'_>,
    ) -> Result<Self, Ended> {
        self.heard = cx.now;
        self.unconfirmed = false;
        self.follow_peer(message.path(), cx);
        if message.is_response() {
            self.handle_response(&message, cx)?;
        } else {
            self = self.handle_request(&message, datagram, cx)?;
        }
        self.advance(cx);
        Ok(self)
    }

    fn handle_request(mut self, message: &OpenedMessage, datagram: &[u8], cx: &mut Context<'_>) -> Result<Self, Ended> {
        // With a window of one, a new request shows that our last answer has arrived (RFC 7296 2.3).
        self.children.iter_mut().for_each(|pair| pair.unconfirmed_until = None);
        let payloads = match message.payloads() {
            Ok(payloads) => payloads,
            Err(malformed) => {
                self.channel.respond(message, datagram, &[Payload::Notify(malformed_notify(malformed))], cx);
                return Ok(self);
            }
        };
        let answer = match message.exchange() {
            ExchangeType::INFORMATIONAL => {
                if let Some(cause) = deletes_ike_sa(payloads) {
                    self.channel.respond(message, datagram, &[], cx);
                    return Err(self.deleted_by_peer(cause, cx));
                }
                self.children_deleted_by_peer(payloads, cx)
            }
            ExchangeType::CREATE_CHILD_SA if concerns_ike(payloads) => self.ike_rekey_requested(message, payloads, cx),
            ExchangeType::CREATE_CHILD_SA => self.create_child_requested(message, payloads, cx),
            _ => vec![Payload::Notify(Notify::new(NotifyType::INVALID_SYNTAX, Vec::new()))],
        };
        self.channel.respond(message, datagram, &answer, cx);
        Ok(self)
    }

    fn handle_response(&mut self, message: &OpenedMessage, cx: &mut Context<'_>) -> Result<(), Ended> {
        self.channel.answered();
        let unreadable = Payloads::unreadable();
        let payloads = message.payloads().unwrap_or(&unreadable);
        match self.exchange.take() {
            // The SA goes anyway: what the answer would have brought is deleted with it.
            Some(Exchange::CreateChild(_) | Exchange::RekeyIke(_)) if matches!(self.phase, Phase::Closing(_)) => {}
            Some(Exchange::CreateChild(exchange)) => self.child_created(*exchange, payloads, cx),
            Some(Exchange::RekeyIke(exchange)) => self.ike_rekeyed(*exchange, payloads, cx),
            Some(Exchange::DeleteChild { inbound_spi, reason }) => self.child_deleted(inbound_spi, reason, cx),
            Some(Exchange::DeleteIke) => {
                let cause = match &self.phase {
                    Phase::Closing(cause) => cause.clone(),
                    Phase::Active | Phase::Passive(_) => Cause::Closed,
                };
                return Err(Ended::new(cause, None));
            }
            Some(Exchange::Liveness) | None => {}
        }
        Ok(())
    }

    /// What the data path saw.
    pub(in crate::ike) fn activity(&mut self, activity: SaActivity, cx: &mut Context<'_>) {
        let Some(pair) = self.children.iter_mut().find(|pair| pair.inbound_spi == activity.inbound_spi) else { return };
        self.heard = self.heard.max(activity.last_inbound);
        if activity.first_seen && pair.is_current() {
            pair.activate(&self.connection.name, cx);
        }
        if let Some(source) = activity.source
            && pair.is_encapsulated()
            && self.channel.path().non_esp_marker
        {
            let path = Path { peer: source, ..self.channel.path() };
            self.follow_peer(path, cx);
        }
    }

    /// A peer behind a NAT is followed when its address changes; who is behind a NAT itself does not follow, for
    /// then anybody on the way could redirect it (RFC 7296 2.23).
    fn follow_peer(&mut self, path: Path, cx: &mut Context<'_>) {
        let moved = path != self.channel.path() && path.non_esp_marker == self.channel.path().non_esp_marker;
        if !moved || !self.nat.peer_behind_nat || self.nat.local_behind_nat {
            return;
        }
        self.channel.set_path(path);
        let encapsulated = self.children.iter().filter(|pair| pair.is_encapsulated());
        let outbound_spis: Vec<u32> = encapsulated.map(|pair| pair.outbound_spi).collect();
        if !outbound_spis.is_empty() {
            let path = Transport::new(path, self.encapsulate, cx.config.nat_port).path;
            cx.event(Event::PathChanged { connection: self.connection.name.clone(), outbound_spis, path });
        }
    }

    // Time.

    pub(in crate::ike) fn handle_timeout(mut self, cx: &mut Context<'_>) -> Result<Self, Ended> {
        if !self.channel.retransmit(cx) {
            return Err(self.peer_is_dead(cx));
        }
        match &self.phase {
            Phase::Passive(until) if *until <= cx.now => return Err(Ended::new(Cause::Closed, None)),
            Phase::Passive(_) | Phase::Closing(_) => {
                self.advance(cx);
                return Ok(self);
            }
            Phase::Active => {}
        }
        if self.expires_at <= cx.now {
            self.close(Cause::Expired, Removal::Expired, cx);
            return Ok(self);
        }
        if self.rekey_at <= cx.now {
            self.rekey_at = self.expires_at;
            self.queue(Task::RekeyIke);
        }
        self.children_timeout(cx);
        let (due, later) = std::mem::take(&mut self.retries).into_iter().partition(|(at, _)| *at <= cx.now);
        self.retries = later;
        let due: Vec<(Instant, Task)> = due;
        due.into_iter().for_each(|(_, task)| self.queue(task));
        if self.ensure_at.is_some_and(|at| at <= cx.now) {
            self.ensure_at = None;
            self.ensure_children();
        }
        if self.liveness_at().is_some_and(|at| at <= cx.now) {
            self.queue(Task::Liveness);
        }
        if self.keepalive_at.is_some_and(|at| at <= cx.now) {
            self.keepalive_at = Some(cx.now + self.connection.nat_keepalive);
            natd::keep_alive(self.channel.path(), cx);
        }
        self.advance(cx);
        Ok(self)
    }

    fn children_timeout(&mut self, cx: &mut Context<'_>) {
        let ended: Vec<u32> =
            self.children.iter().filter(|pair| pair.end_due() <= cx.now).map(|pair| pair.inbound_spi).collect();
        for spi in ended {
            self.child_ended(spi, cx);
        }
        let due = |pair: &&mut ChildPair| pair.rekey_due().is_some_and(|at| at <= cx.now);
        for pair in self.children.iter_mut().filter(due) {
            pair.stage = Stage::Rekeying;
            self.tasks.push_back(Task::RekeyChild(pair.inbound_spi));
        }
    }

    /// When to ask for a sign of life. An exchange under way asks for one by itself.
    fn liveness_at(&self) -> Option<Instant> {
        let interval = self.connection.liveness_interval?;
        (self.exchange.is_none() && self.is_active()).then(|| self.heard + interval)
    }

    /// The peer is silent though it is sent packets: asks for a sign of life at once, with the usual patience.
    pub(in crate::ike) fn suspect(&mut self, cx: &mut Context<'_>) {
        if self.liveness_at().is_some() {
            self.queue(Task::Liveness);
            self.advance(cx);
        }
    }

    /// The peer may not know this IKE SA any more: finds out soon.
    pub(in crate::ike) fn hasten_liveness(&mut self, cx: &mut Context<'_>) {
        // That a peer does not know yet what it will learn from our answer is no sign of a restart.
        if self.unconfirmed {
            return;
        }
        self.queue(Task::Liveness);
        self.advance(cx);
        self.channel.hasten(HINTED_WAIT, cx.now);
    }

    fn peer_is_dead(mut self, cx: &mut Context<'_>) -> Ended {
        self.settle_for_rival(cx);
        self.remove_children(Removal::IkeSaLost, cx);
        match self.phase {
            Phase::Closing(cause) => Ended::new(cause, None),
            Phase::Active | Phase::Passive(_) => {
                Ended::new(Cause::NoAnswer, format!("the peer {} does not answer any more", self.channel.path().peer))
            }
        }
    }

    pub(in crate::ike) fn deadline(&self) -> Option<Deadline> {
        let at = |at: Instant, why: Why| Some(Deadline { at, why });
        let mut deadlines = vec![self.channel.deadline().and_then(|due| at(due, Why::Retransmit))];
        match self.phase {
            Phase::Passive(until) => deadlines.push(at(until, Why::ExpireIke)),
            Phase::Closing(_) => {}
            Phase::Active => {
                deadlines.push(at(self.rekey_at, Why::RekeyIke));
                deadlines.push(at(self.expires_at, Why::ExpireIke));
                deadlines.push(self.liveness_at().and_then(|due| at(due, Why::Liveness)));
                deadlines.push(self.keepalive_at.and_then(|due| at(due, Why::NatKeepalive)));
                deadlines.push(self.ensure_at.and_then(|due| at(due, Why::Retry)));
                deadlines.extend(self.retries.iter().map(|(due, _)| at(*due, Why::Retry)));
                for pair in &self.children {
                    let why = if pair.is_retired() { Why::RemoveReplaced } else { Why::ExpireChild };
                    deadlines.push(at(pair.end_due(), why));
                    deadlines.push(pair.rekey_due().and_then(|due| at(due, Why::RekeyChild)));
                }
            }
        }
        deadlines.into_iter().flatten().min_by_key(|deadline| deadline.at)
    }

    // Succession: an IKE SA that replaces this one.

    /// An IKE SA with the same peer, with keys of its own.
    pub(in crate::ike) fn successor(
        &self,
        channel: Channel,
        child_key_source: ChildKeySource,
        algorithms: IkeAlgorithms,
        cx: &mut Context<'_>,
    ) -> Self {
        let (nat, encapsulate) = (self.nat, self.encapsulate);
        let secured = Secured { channel, child_key_source, algorithms, nat, encapsulate };
        let establishing = Establishing { connection: self.connection.clone(), peer_id: self.peer_id.clone(), secured };
        let unconfirmed = !establishing.secured.channel.is_initiator();
        Self { unconfirmed, ..Self::new(establishing, Vec::new(), cx) }
    }

    /// Takes the Child SAs of the IKE SA that it replaces, and what was to be done about them.
    pub(in crate::ike) fn inherit(&mut self, old: &mut Self, cx: &mut Context<'_>) {
        self.children.append(&mut old.children);
        self.tasks.extend(old.tasks.drain(..).filter(|task| !matches!(task, Task::RekeyIke | Task::DeleteIke)));
        self.retries.append(&mut old.retries);
        self.keep_children = old.keep_children;
        self.ensure_at = old.ensure_at;
        self.child_failures = old.child_failures;
        for pair in &self.children {
            cx.inbound_spis.moved(pair.inbound_spi, self.channel.local_spi());
        }
    }

    // Status.

    pub(in crate::ike) fn status(&self) -> IkeSaStatus {
        let spis = self.channel.spis();
        IkeSaStatus {
            initiator_spi: spis.initiator,
            responder_spi: spis.responder,
            initiator: self.channel.is_initiator(),
            algorithms: self.algorithms.name(),
            established: self.born,
            rekey_at: self.rekey_at,
            expires_at: self.expires_at,
            local_behind_nat: self.nat.local_behind_nat,
            peer_behind_nat: self.nat.peer_behind_nat,
        }
    }

    pub(in crate::ike) fn child_statuses(&self) -> Vec<ChildStatus> {
        let mut statuses: Vec<ChildStatus> = self.children.iter().map(ChildPair::status).collect();
        statuses.sort_by_key(|status| status.state);
        statuses
    }

    pub(in crate::ike) fn algorithms(&self) -> IkeAlgorithms {
        self.algorithms
    }

    pub(in crate::ike) fn set_rekey_at(&mut self, at: Instant) {
        self.rekey_at = at.min(self.expires_at);
    }
}

/// Whether a request deletes the IKE SA that carries it, or says that the peer does not believe in it
/// (RFC 7296 2.21.2).
fn deletes_ike_sa(payloads: &Payloads) -> Option<Cause> {
    if payloads.deletes().any(|delete| delete.protocol == ProtocolId::IKE) {
        return Some(Cause::DeletedByPeer);
    }
    payloads.notify(NotifyType::AUTHENTICATION_FAILED).map(|_| Cause::Refused)
}

/// Whether a CREATE_CHILD_SA request rekeys the IKE SA.
fn concerns_ike(payloads: &Payloads) -> bool {
    payloads
        .security_association()
        .and_then(|offer| offer.first())
        .is_some_and(|first| first.protocol == ProtocolId::IKE)
}
