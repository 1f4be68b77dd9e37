//! An established IKE SA: what it is, its Child SAs, and what it is about, joined.

mod data_path;
pub(in crate::ike) mod input;
mod timers;

use std::sync::Arc;
use std::time::{Duration, Instant};

use super::Ended;
use crate::ike::agenda::Agenda;
use crate::ike::channel::{Channel, OpenedMessage};
use crate::ike::child::{Agreed, ChildPair, PairKeys};
use crate::ike::children::Children;
use crate::ike::config::{Peer, Retransmission};
use crate::ike::context::Context;
use crate::ike::coverage::{self, Flows};
use crate::ike::error::Unsendable;
use crate::ike::event::Removal;
use crate::ike::exchange::{Exchange, Task};
use crate::ike::sa::{Cause, Establishing, Phase, Sa};
use crate::ike::wanted::WantedChild;
use crate::wire::ike::{ExchangeType, Payload};

/// Pairs that one child is made of at most, unless packets ask for more.
const MAX_PARTS: usize = 64;

/// How long the responder leaves it to the initiator to ask for the children.
const RESPONDER_PATIENCE: Duration = Duration::from_secs(4);

/// An IKE SA whose peer is authenticated: its three parts, joined.
pub(in crate::ike) struct Established {
    sa: Sa,
    children: Children,
    agenda: Agenda,
    /// A message that it cannot do without does not fit the wire.
    broken: Option<Unsendable>,
    /// IKE SAs that came of rekeys of this one, until the endpoint adopts them.
    successors: Vec<Established>,
    /// The peer said that it knows no other IKE SA with us (RFC 7296 2.4); for the endpoint to act on once.
    pub(in crate::ike) initial_contact: bool,
}

impl Established {
    pub(in crate::ike) fn new(establishing: Establishing, children: Vec<ChildPair>, cx: &mut Context<'_>) -> Self {
        Self::of(Sa::new(establishing, cx), children)
    }

    pub(in crate::ike) fn of(sa: Sa, children: Vec<ChildPair>) -> Self {
        Self {
            children: Children::new(sa.association().clone(), children),
            sa,
            agenda: Agenda::default(),
            broken: None,
            successors: Vec::new(),
            initial_contact: false,
        }
    }

    pub(in crate::ike) fn sa(&self) -> &Sa {
        &self.sa
    }

    pub(in crate::ike) fn sa_mut(&mut self) -> &mut Sa {
        &mut self.sa
    }

    // Children.

    pub(in crate::ike) fn children(&self) -> &Children {
        &self.children
    }

    pub(in crate::ike) fn children_mut(&mut self) -> &mut Children {
        &mut self.children
    }

    pub(in crate::ike) fn install_child(
        &mut self,
        agreed: Agreed,
        keys: PairKeys,
        outbound_active: bool,
        replaces: Option<u32>,
        cx: &mut Context<'_>,
    ) {
        let transport = self.sa.transport(self.sa.channel().path(), cx);
        let pair = ChildPair::install(agreed, keys, transport, outbound_active, replaces, cx);
        let is_own = Arc::ptr_eq(&pair.association, self.sa.association());
        if is_own {
            self.agenda.succeeded(&pair.child);
        }
        self.children.add(pair);
        if replaces.is_none() && is_own {
            // The peer may have left something out.
            self.agenda.look_at(cx.now);
        }
    }

    /// A pair was set up at the peer's request: more of them may come, and what is left out then is asked for.
    pub(in crate::ike) fn leave_the_rest_to_peer(&mut self, now: Instant) {
        self.agenda.look_at(now + RESPONDER_PATIENCE);
    }

    /// Somebody needs this child.
    pub(in crate::ike) fn want(&mut self, mut wanted: WantedChild) {
        let flows = wanted.packet.or(wanted.part);
        if self.agenda.creates(&wanted.child, flows.as_ref()) || self.has(&wanted) {
            return;
        }
        if let (Some(packet), None) = (wanted.packet, wanted.part)
            && self.children.has_current(&wanted.child)
        {
            // The peer has narrowed the child: the packet asks for one of the parts that were left out.
            let holds = |part: &Flows| packet.is_held_by((&[part.local], &[part.peer]));
            let part = self.left_out(&wanted.child).into_iter().find(holds);
            // Or for what was left out of a part: some protocols, some ports.
            let configured = self.sa.connection().child(&wanted.child);
            let configured =
                configured.is_some_and(|child| packet.is_held_by((&child.local_selectors, &child.peer_selectors)));
            let Some(part) = part.or_else(|| configured.then_some(packet)) else { return };
            wanted.part = Some(part);
        }
        self.agenda.queue(Task::CreateChild(wanted));
    }

    /// Whether there is a pair for what is wanted.
    fn has(&self, wanted: &WantedChild) -> bool {
        match wanted.packet.or(wanted.part) {
            Some(flows) => self.children.hold(&wanted.child, &flows),
            None => self.children.has_current(&wanted.child),
        }
    }

    /// What of a child's traffic the peer has left out of the pairs that there are.
    pub(in crate::ike) fn left_out(&self, child: &Arc<str>) -> Vec<Flows> {
        let pairs = self.children.current_of(child).map(ChildPair::selectors);
        self.sa.connection().child(child).map_or_else(Vec::new, |child| coverage::left_out(child, pairs))
    }

    /// The peer wants one pair of hosts for each Child SA (SINGLE_PAIR_REQUIRED, RFC 7296 2.9): the packet that asks
    /// gets its own. False without a packet, or if that has been asked for.
    pub(in crate::ike) fn ask_for_one_pair(&mut self, wanted: &WantedChild) -> bool {
        let asked = |part: Flows| part.is_one_pair_of_hosts();
        let Some(packet) = wanted.packet.filter(|_| !wanted.part.is_some_and(asked)) else { return false };
        let part = packet.of_whole_hosts();
        self.agenda.queue_first(Task::CreateChild(WantedChild {
            child: wanted.child.clone(),
            packet: None,
            part: Some(part),
        }));
        true
    }

    /// Whether every configured child is to be kept up from now on.
    pub(in crate::ike) fn keep_children(&mut self, keep: bool, now: Instant) {
        let patience = if self.sa.channel().is_initiator() { Duration::ZERO } else { RESPONDER_PATIENCE };
        self.agenda.keep_children(keep, now + patience);
    }

    fn ensure_children(&mut self) {
        let connection = self.sa.connection().clone();
        for child in &connection.children {
            let part = self.part_to_ask_for(&child.name);
            self.want(WantedChild { part, ..WantedChild::new(child.name.clone()) });
        }
    }

    /// The first part of a child that the peer has left out and has not refused. A peer that takes one pair of hosts at a time is left to the
    /// packets.
    fn part_to_ask_for(&self, child: &Arc<str>) -> Option<Flows> {
        // What one of many peers leaves out belongs to the others.
        if self.sa.connection().peer == Peer::Any {
            return None;
        }
        let mut pairs = self.agenda.retries_of(child);
        for pair in self.children.current_of(child) {
            let (local, peer) = pair.selectors();
            let (Some(local), Some(peer)) = (local.first(), peer.first()) else { continue };
            if (Flows { local: *local, peer: *peer }).is_one_pair_of_hosts() {
                return None;
            }
            pairs += 1;
        }
        let asked = |part: &Flows| self.agenda.creates(child, Some(part));
        self.left_out(child).into_iter().find(|part| !asked(part)).filter(|_| pairs < MAX_PARTS)
    }

    /// A pair is gone that nobody here wanted gone.
    pub(in crate::ike) fn child_lost(&mut self, cx: &mut Context<'_>) {
        let wait = cx.jitter(Duration::from_secs(1), 80, 160);
        self.agenda.look_at(cx.now + wait);
    }

    /// A child that we asked for could not be set up; it is tried again, and packets don't ask sooner. An inbound SPI is
    /// given when the peer believes in an SA that is of no use.
    pub(in crate::ike) fn child_failed(&mut self, wanted: WantedChild, unusable: Option<u32>, cx: &mut Context<'_>) {
        if let Some(inbound_spi) = unusable {
            self.agenda.queue_first(Task::DeleteChild { inbound_spi, reason: Removal::Redundant });
        }
        let at = cx.now + self.agenda.failure_wait(cx);
        self.agenda.retry(Task::CreateChild(wanted), at);
        // The peer may take another part.
        self.agenda.look_at(cx.now);
    }

    /// How long to wait after TEMPORARY_FAILURE was the answer when the peer was asked `what`.
    pub(in crate::ike) fn temporary_wait(&mut self, what: &str, cx: &mut Context<'_>) -> Duration {
        let (wait, tell) = self.agenda.temporary_wait(cx);
        if tell {
            self.sa.tell(
                format!("the peer keeps answering TEMPORARY_FAILURE when it is asked {what}; it is asked again"),
                cx,
            );
        }
        wait
    }

    // Exchanges.

    pub(in crate::ike) fn agenda(&self) -> &Agenda {
        &self.agenda
    }

    pub(in crate::ike) fn agenda_mut(&mut self) -> &mut Agenda {
        &mut self.agenda
    }

    /// Sends the request of an exchange.
    pub(in crate::ike) fn send(
        &mut self,
        kind: ExchangeType,
        payloads: &[Payload],
        exchange: Exchange,
        cx: &mut Context<'_>,
    ) {
        match self.sa.channel_mut().request(kind, payloads, cx) {
            Ok(()) => self.agenda.begin(exchange),
            Err(unsendable) => self.not_sent(exchange, unsendable, cx),
        }
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
        match self.sa.channel_mut().request_with(kind, payloads, policy, Duration::MAX, cx) {
            Ok(()) => self.agenda.begin(exchange),
            Err(unsendable) => self.not_sent(exchange, unsendable, cx),
        }
    }

    /// A request of ours does not fit a message: an exchange that can fail alone does, any other ends the IKE SA.
    fn not_sent(&mut self, exchange: Exchange, unsendable: Unsendable, cx: &mut Context<'_>) {
        match exchange {
            Exchange::CreateChild(exchange) => self.create_child_not_sent(&exchange, unsendable, cx),
            Exchange::RekeyIke(exchange) => self.rekey_ike_not_sent(*exchange, unsendable, cx),
            // Nothing depends on a probe.
            Exchange::PathProbe { .. } => {}
            Exchange::DeleteChild { .. } | Exchange::DeleteIke | Exchange::Liveness | Exchange::Inform => {
                self.broken = Some(unsendable);
            }
        }
    }

    /// Answers a request. An answer that does not fit a message ends the IKE SA: the peer would wait for it in vain.
    fn answer(&mut self, request: &OpenedMessage, payloads: &[Payload], cx: &mut Context<'_>) {
        if let Err(unsendable) = self.sa.channel_mut().respond(request, payloads, cx) {
            self.broken = Some(unsendable);
        }
    }

    /// Goes on, unless a message that it cannot do without did not fit the wire.
    pub(in crate::ike) fn unless_broken(mut self, cx: &mut Context<'_>) -> Result<Self, Ended> {
        let Some(unsendable) = self.broken.take() else { return Ok(self) };
        self.settle_for_rival(cx);
        self.remove_children(Removal::IkeSaLost, cx);
        if self.sa.channel().is_free() {
            self.sa.channel_mut().delete_once(cx);
        }
        let reason = unsendable.to_string();
        self.sa.tell(reason.clone(), cx);
        Err(self.ending(Cause::Refused, reason))
    }

    pub(in crate::ike) fn into_channel(self) -> Channel {
        self.sa.into_channel()
    }

    /// Starts what waits, as the window allows.
    pub(in crate::ike) fn advance(&mut self, cx: &mut Context<'_>) {
        while self.agenda.is_free() && self.sa.channel().is_free() {
            let owed = self.sa.owes_information(cx).then_some(Task::Inform);
            let Some(task) = self.agenda.next_task().or(owed) else { return };
            match task {
                Task::CreateChild(wanted) => {
                    if !self.has(&wanted) {
                        self.start_create_child(wanted, None, cx);
                    }
                }
                Task::RekeyChild(spi) => self.start_rekey_child(spi, cx),
                Task::RekeyIke => self.start_rekey_ike(cx),
                Task::DeleteChild { inbound_spi, reason } => self.start_delete_child(inbound_spi, reason, cx),
                Task::DeleteIke => self.start_delete_ike(cx),
                Task::Liveness => self.start_liveness(cx),
                Task::Inform => {
                    let payloads = self.sa.inform(cx);
                    self.send(ExchangeType::INFORMATIONAL, &payloads, Exchange::Inform, cx);
                }
                Task::PathProbe(size) => self.start_path_probe(size, cx),
            }
        }
    }

    /// Whether this IKE SA goes or is being replaced, so that the peer must not start a new exchange about its
    /// children (RFC 7296 2.25.2).
    pub(in crate::ike) fn is_closing_or_rekeying(&self) -> bool {
        !self.sa.is_active() || matches!(self.agenda.exchange(), Some(Exchange::RekeyIke(_) | Exchange::DeleteIke))
    }

    /// Closes it: the Child SAs go at once, the peer is told.
    pub(in crate::ike) fn close(&mut self, cause: Cause, removal: Removal, cx: &mut Context<'_>) {
        if matches!(self.sa.phase(), Phase::Closing(_)) {
            return;
        }
        self.sa.set_phase(Phase::Closing(cause));
        self.remove_children(removal, cx);
        self.agenda.replace_by(Task::DeleteIke);
        self.sa.channel_mut().hasten(Duration::from_millis(500), cx.now);
        self.advance(cx);
    }

    /// Takes every pair from the data path.
    pub(in crate::ike) fn remove_children(&mut self, reason: Removal, cx: &mut Context<'_>) {
        if let Some(Exchange::CreateChild(exchange)) = self.agenda.exchange() {
            cx.inbound_spis.release(exchange.inbound_spi);
        }
        self.children.remove_all(reason, cx);
    }

    // Succession: an IKE SA that replaces this one.

    /// Gives an IKE SA that came of a rekey to the endpoint.
    pub(in crate::ike) fn succeed_by(&mut self, successor: Self) {
        self.successors.push(successor);
    }

    pub(in crate::ike) fn take_successors(&mut self) -> Vec<Self> {
        std::mem::take(&mut self.successors)
    }

    /// The end of this IKE SA, from which its successors go on.
    pub(in crate::ike) fn ending(&mut self, cause: Cause, error: impl Into<Option<String>>) -> Ended {
        Ended { successors: self.take_successors(), ..Ended::new(cause, error) }
    }

    /// Takes the Child SAs of the IKE SA that it replaces, and what was to be done about them.
    pub(in crate::ike) fn inherit(&mut self, old: &mut Self, cx: &mut Context<'_>) {
        self.children.inherit(&mut old.children, self.sa.channel().local_spi(), cx);
        self.agenda.inherit(&mut old.agenda);
    }
}
