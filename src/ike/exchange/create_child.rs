//! CREATE_CHILD_SA for Child SAs, new ones and replacing ones (RFC 7296 1.3.1, 1.3.3, 2.17).

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use super::collision::{ChildRival, lowest};
use super::{Exchange, Task};
use crate::crypto::{KeyExchange, KeyExchangeAlgorithm, Secret};
use crate::ike::association::Association;
use crate::ike::channel::OpenedMessage;
use crate::ike::child::{Agreed, ChildPair, PairKeys, Stage};
use crate::ike::config::{Child, Connection, EspProposal};
use crate::ike::context::Context;
use crate::ike::error::{Refusal, Unsendable};
use crate::ike::event::{Event, Removal};
use crate::ike::keys::Nonces;
use crate::ike::message::{self, Payloads};
use crate::ike::negotiate::{self, ChildGroups, EspAlgorithms};
use crate::ike::state::established::Established;
use crate::ike::state::{child_refused, esp_spi};
use crate::ike::wanted::WantedChild;
use crate::wire::ike::{ExchangeType, MAX_SELECTORS, Notify, NotifyType, Payload, Proposal, TrafficSelector};

/// Other key exchange methods that are tried at the peer's wish.
const MAX_GROUPS: u32 = 3;

/// How long our answer may be under way: longer than a peer repeats its request.
const UNCONFIRMED: Duration = Duration::from_secs(180);

/// Pairs that one IKE SA holds before the peer gets no more.
const MAX_CHILDREN: usize = 256;

/// A CREATE_CHILD_SA request of ours for a Child SA.
pub(in crate::ike) struct CreateChild {
    association: Arc<Association>,
    /// It is another connection's than the IKE SA.
    is_guests: bool,
    pub(in crate::ike) child: Child,
    pub(in crate::ike) inbound_spi: u32,
    /// The inbound SPI of the pair to replace.
    pub(in crate::ike) replaces: Option<u32>,
    /// A pair that the peer has made meanwhile in place of the same one.
    pub(in crate::ike) rival: Option<ChildRival>,
    nonce: Vec<u8>,
    key_exchange: Option<KeyExchange>,
    local_selectors: Vec<TrafficSelector>,
    peer_selectors: Vec<TrafficSelector>,
    wanted: WantedChild,
    groups_tried: u32,
}

/// What a responder chose of a request.
pub(in crate::ike) struct Choice {
    pub(in crate::ike) connection: Arc<Connection>,
    pub(in crate::ike) child: Arc<str>,
    pub(in crate::ike) algorithms: EspAlgorithms,
    pub(in crate::ike) outbound_spi: u32,
    pub(in crate::ike) local_selectors: Vec<TrafficSelector>,
    pub(in crate::ike) peer_selectors: Vec<TrafficSelector>,
    answer: Proposal,
}

impl Choice {
    /// The SA and TS payloads of the response.
    pub(in crate::ike) fn answer(&self, inbound_spi: u32) -> Vec<Payload> {
        let proposal = Proposal { spi: inbound_spi.to_be_bytes().to_vec(), ..self.answer.clone() };
        vec![
            Payload::SecurityAssociation(vec![proposal]),
            Payload::TrafficSelectorsInitiator(self.peer_selectors.clone()),
            Payload::TrafficSelectorsResponder(self.local_selectors.clone()),
        ]
    }
}

/// Chooses child, proposal and traffic selectors for a request: of the first of these connections that has any traffic in
/// common with it. The first one is told of when none has.
pub(in crate::ike) fn choose(
    connections: &[&Arc<Connection>],
    payloads: &Payloads,
    groups: ChildGroups,
) -> Result<Choice, Refusal> {
    let (Some(offer), Some(theirs), Some(ours)) =
        (payloads.security_association(), payloads.ts_initiator(), payloads.ts_responder())
    else {
        return Err(Refusal::Syntax);
    };
    let of = |connection: &&Arc<Connection>| negotiate::choose_child(&connection.children, ours, theirs).is_some();
    let connection = connections.iter().copied().find(of).or(connections.first().copied()).ok_or(Refusal::Syntax)?;
    let Some((child, local_selectors, peer_selectors)) = negotiate::choose_child(&connection.children, ours, theirs)
    else {
        return Err(Refusal::Selectors(selectors_differ(connection, theirs, ours)));
    };
    if local_selectors.len().max(peer_selectors.len()) > MAX_SELECTORS {
        return Err(Refusal::Selectors(format!(
            "what child {} and the peer have in common are more than {MAX_SELECTORS} traffic selectors on one side",
            child.name
        )));
    }
    let chosen = negotiate::choose_esp(&child.esp_proposals, offer, groups).ok_or_else(|| {
        let with_groups = groups != ChildGroups::Ignored;
        Refusal::NoProposal(format!(
            "no common ESP proposal; the peer offers {}, child {} accepts {}",
            negotiate::describe(offer),
            child.name,
            negotiate::describe(&negotiate::offer_esp(&child.esp_proposals, 0, with_groups))
        ))
    })?;
    let outbound_spi = esp_spi(&chosen.spi).ok_or(Refusal::Syntax)?;
    Ok(Choice {
        connection: connection.clone(),
        child: child.name.clone(),
        algorithms: chosen.algorithms,
        outbound_spi,
        local_selectors,
        peer_selectors,
        answer: chosen.answer,
    })
}

fn selectors_differ(connection: &Connection, theirs: &[TrafficSelector], ours: &[TrafficSelector]) -> String {
    let configured = connection.children.iter().map(|child| {
        format!(
            "{} === {}",
            negotiate::describe_selectors(&child.local_selectors),
            negotiate::describe_selectors(&child.peer_selectors)
        )
    });
    format!(
        "no common traffic selectors; the peer asks for {} === {}, connection {} has {}",
        negotiate::describe_selectors(ours),
        negotiate::describe_selectors(theirs),
        connection.name,
        configured.collect::<Vec<_>>().join(", ")
    )
}

/// The notification that tells a refusal.
pub(in crate::ike) fn refusal_notify(refusal: &Refusal) -> Payload {
    let kind = NotifyType::from(refusal);
    Payload::Notify(match refusal {
        Refusal::WrongGroup(group) => Notify::new(kind, group.to_be_bytes().to_vec()),
        Refusal::ChildNotFound(spi) => Notify::about_esp(kind, *spi, Vec::new()),
        _ => Notify::new(kind, Vec::new()),
    })
}

/// Tells a person of a refusal that only a person can do something about.
pub(in crate::ike) fn report(refusal: &Refusal, connection: &Arc<str>, peer: SocketAddr, cx: &mut Context<'_>) {
    let reason = match refusal {
        Refusal::NoProposal(reason) | Refusal::Selectors(reason) => reason.clone(),
        Refusal::NoAdditionalSas => format!("refused a further Child SA: the peer has {MAX_CHILDREN} already"),
        Refusal::Syntax => {
            "a CREATE_CHILD_SA or IKE_AUTH request lacks a payload, or has one that cannot be".to_owned()
        }
        // Both ends go on as the protocol says.
        Refusal::WrongGroup(_) | Refusal::Temporary | Refusal::ChildNotFound(_) => return,
    };
    cx.event(Event::Failure { connection: Some(connection.clone()), peer, reason });
}

impl CreateChild {
    /// What is asked for.
    pub(in crate::ike) fn wanted(&self) -> &WantedChild {
        &self.wanted
    }

    /// Whether it is for another connection than the IKE SA.
    pub(in crate::ike) fn is_guests(&self) -> bool {
        self.is_guests
    }
}

impl Established {
    /// Asks for a new pair, or for one that takes the place of `replaces`.
    pub(in crate::ike) fn start_create_child(
        &mut self,
        wanted: WantedChild,
        replaces: Option<u32>,
        cx: &mut Context<'_>,
    ) {
        let replaced = replaces.and_then(|spi| self.children().get(spi));
        let association = replaced.map_or(self.sa().association(), |pair| &pair.association).clone();
        let Some(mut child) = association.connection().child(&wanted.child).cloned() else {
            return self.failed(&wanted.child, "the connection has no child of this name", cx);
        };
        // The method that the peer surely accepts. Some accept no other: that of the pair, or of the IKE SA.
        let in_use = replaces.and_then(|spi| self.children().get(spi)).and_then(ChildPair::group);
        let group = prefer_group(&mut child.esp_proposals, in_use.unwrap_or(self.sa().algorithms().group));
        let inbound_spi = cx.inbound_spis.allocate(self.sa().channel().local_spi(), cx.entropy);
        // A rekey is about what is in use; what was left out is asked for apart from it (RFC 7296 2.9.2).
        let (local_selectors, peer_selectors) = match replaces.and_then(|spi| self.children().get(spi)) {
            Some(pair) => {
                let (local, peer) = pair.selectors();
                (local.to_vec(), peer.to_vec())
            }
            None => wanted.selectors(&child),
        };
        let is_guests = !Arc::ptr_eq(&association, self.sa().association());
        let exchange = CreateChild {
            association,
            is_guests,
            child,
            inbound_spi,
            replaces,
            rival: None,
            nonce: cx.nonce(),
            key_exchange: group.map(|group| group.generate(cx.entropy)),
            local_selectors,
            peer_selectors,
            wanted,
            groups_tried: 0,
        };
        self.send_create_child(exchange, cx);
    }

    fn send_create_child(&mut self, exchange: CreateChild, cx: &mut Context<'_>) {
        let mut payloads = Vec::new();
        let replaced = exchange.replaces.and_then(|spi| self.children().get(spi)).map(|pair| pair.inbound_spi);
        if let Some(spi) = replaced {
            // The SPI that we would expect in packets to us (RFC 7296 2.8).
            payloads.push(Payload::Notify(Notify::about_esp(NotifyType::REKEY_SA, spi, Vec::new())));
        }
        let proposals = negotiate::offer_esp(&exchange.child.esp_proposals, exchange.inbound_spi, true);
        payloads.push(Payload::SecurityAssociation(proposals));
        payloads.push(Payload::Nonce(exchange.nonce.clone()));
        if let Some(ours) = &exchange.key_exchange {
            payloads.push(message::key_exchange(ours.algorithm(), ours.public()));
        }
        payloads.push(Payload::TrafficSelectorsInitiator(exchange.local_selectors.clone()));
        payloads.push(Payload::TrafficSelectorsResponder(exchange.peer_selectors.clone()));
        self.send(ExchangeType::CREATE_CHILD_SA, &payloads, Exchange::CreateChild(Box::new(exchange)), cx);
    }

    /// Our request does not fit a message: the attempt has failed.
    pub(in crate::ike) fn create_child_not_sent(
        &mut self,
        exchange: &CreateChild,
        unsendable: Unsendable,
        cx: &mut Context<'_>,
    ) {
        cx.inbound_spis.release(exchange.inbound_spi);
        self.failed(&exchange.child.name, &unsendable.to_string(), cx);
        self.child_attempt_failed(exchange, cx);
    }

    /// The peer's answer to our request.
    pub(in crate::ike) fn child_created(
        &mut self,
        mut exchange: CreateChild,
        payloads: &Payloads,
        cx: &mut Context<'_>,
    ) {
        if let Some(error) = payloads.error() {
            return self.child_refused(exchange, error.clone(), cx);
        }
        let key_exchange = exchange.key_exchange.take();
        match accept(&exchange, key_exchange, payloads) {
            Ok(accepted) => self.settle_child(exchange, accepted, cx),
            Err(reason) => {
                // The peer believes in an SA that we can't use.
                self.agenda_mut()
                    .queue_first(Task::DeleteChild { inbound_spi: exchange.inbound_spi, reason: Removal::Redundant });
                self.failed(&exchange.child.name, &reason, cx);
                self.child_attempt_failed(&exchange, cx);
            }
        }
    }

    /// Installs our new pair, unless it is the redundant one of two (RFC 7296 2.8.1).
    fn settle_child(&mut self, exchange: CreateChild, accepted: Accepted, cx: &mut Context<'_>) {
        let CreateChild { association, child, inbound_spi, replaces, rival, nonce, .. } = exchange;
        let Accepted { algorithms, outbound_spi, local_selectors, peer_selectors, responder_nonce, shared } = accepted;
        if let Some(rival) = &rival
            && lowest(&nonce, &responder_nonce) < rival.lowest_nonce
        {
            self.agenda_mut().queue_first(Task::DeleteChild { inbound_spi, reason: Removal::Redundant });
            return;
        }
        if let Some(rival) = rival {
            self.children_mut().replaced(rival.inbound_spi);
        }
        let nonces = Nonces { initiator: &nonce, responder: &responder_nonce };
        let keys = self.sa().child_key_source().child_keys(algorithms.suite, nonces, shared.as_ref());
        let child = child.name;
        let agreed =
            Agreed { association, child, algorithms, inbound_spi, outbound_spi, local_selectors, peer_selectors };
        let replaces = replaces.filter(|spi| self.children().get(*spi).is_some());
        self.install_child(agreed, PairKeys::of(keys, true), true, replaces, cx);
        if let Some(old) = replaces {
            self.children_mut().replaced(old);
            self.agenda_mut().queue_first(Task::DeleteChild { inbound_spi: old, reason: Removal::Replaced });
        }
    }

    fn child_refused(&mut self, mut exchange: CreateChild, error: Notify, cx: &mut Context<'_>) {
        let wanted = exchange.key_exchange.as_ref().and_then(|_| group_wanted(&exchange.child, &error));
        if error.kind == NotifyType::INVALID_KE_PAYLOAD
            && let Some(group) = wanted
            && exchange.groups_tried < MAX_GROUPS
        {
            exchange.groups_tried += 1;
            exchange.key_exchange = Some(group.generate(cx.entropy));
            return self.send_create_child(exchange, cx);
        }
        if error.kind == NotifyType::SINGLE_PAIR_REQUIRED
            && exchange.replaces.is_none()
            && self.ask_for_one_pair(&exchange.wanted)
        {
            return cx.inbound_spis.release(exchange.inbound_spi);
        }
        cx.inbound_spis.release(exchange.inbound_spi);
        let old = exchange.replaces.filter(|spi| self.children().get(*spi).is_some_and(ChildPair::is_current));
        if exchange.replaces.is_some() && old.is_none() {
            // The peer has replaced what was to be replaced, or it has ended meanwhile.
            if !self.children().has_current(&exchange.child.name) {
                self.child_lost(cx);
            }
            return;
        }
        match error.kind {
            NotifyType::TEMPORARY_FAILURE => {
                let wait = self.temporary_wait(&format!("to set up Child SA {}", exchange.child.name), cx);
                self.retry_child(&exchange, cx.now + wait);
            }
            NotifyType::CHILD_SA_NOT_FOUND => {
                let lost = old.and_then(|spi| self.children_mut().remove(spi, Removal::DeletedByPeer, cx));
                if let Some(lost) = lost.filter(|lost| !lost.is_guest) {
                    self.agenda_mut().queue(Task::CreateChild(WantedChild::new(lost.child)));
                    // It may have been one of several parts.
                    self.child_lost(cx);
                }
            }
            NotifyType::SINGLE_PAIR_REQUIRED if old.is_none() => {
                // The packets that come ask for theirs.
                let reason = "the peer wants a Child SA for each pair of hosts (SINGLE_PAIR_REQUIRED)";
                self.failed(&exchange.child.name, reason, cx);
            }
            kind => {
                let reason =
                    child_refused(Some(kind), &exchange.child, &exchange.local_selectors, &exchange.peer_selectors);
                self.failed(&exchange.child.name, &reason, cx);
                self.child_attempt_failed(&exchange, cx);
                // A pair that cannot be rekeyed would end with its life; a new IKE SA brings a new one before
                // (RFC 7296 2.8).
                let stays = |spi: u32| self.children().get(spi).is_some_and(ChildPair::is_current);
                cx.outbox.renegotiate |= old.is_some_and(stays);
            }
        }
    }

    fn retry_child(&mut self, exchange: &CreateChild, at: std::time::Instant) {
        match exchange.replaces {
            Some(spi) => {
                if let Some(pair) = self.children_mut().current_mut(spi) {
                    pair.postpone_rekey(at);
                }
            }
            None => {
                self.agenda_mut().retry(Task::CreateChild(exchange.wanted.clone()), at);
            }
        }
    }

    fn child_attempt_failed(&mut self, exchange: &CreateChild, cx: &mut Context<'_>) {
        let exhausted = |spi: &u32| self.children().get(*spi).is_some_and(|pair| pair.exhausted && pair.is_current());
        match exchange.replaces {
            Some(spi) if exhausted(&spi) => self.replace_exhausted(spi, cx),
            Some(_) => {
                let wait = self.agenda_mut().failure_wait(cx);
                self.retry_child(exchange, cx.now + wait);
            }
            None => self.child_failed(WantedChild { packet: None, ..exchange.wanted.clone() }, None, cx),
        }
    }

    /// The peer asks for a Child SA, to replace one when it says so. Gives the response's payloads.
    pub(in crate::ike) fn create_child_requested(
        &mut self,
        request: &OpenedMessage,
        payloads: &Payloads,
        cx: &mut Context<'_>,
    ) -> Vec<Payload> {
        match self.answer_create_child(payloads, cx) {
            Ok(answer) => answer,
            Err(refusal) => {
                report(&refusal, &self.sa().connection().name.clone(), request.path().peer, cx);
                vec![refusal_notify(&refusal)]
            }
        }
    }

    fn answer_create_child(&mut self, payloads: &Payloads, cx: &mut Context<'_>) -> Result<Vec<Payload>, Refusal> {
        let rekey = payloads.notify(NotifyType::REKEY_SA);
        let replaces = match rekey {
            Some(notify) => Some(self.child_to_rekey(notify.esp_spi().ok_or(Refusal::Syntax)?)?),
            None => None,
        };
        if self.is_closing_or_rekeying() {
            return Err(Refusal::Temporary);
        }
        // A rekey is refused later, so that one is possible at the limit.
        if self.children().len() >= if replaces.is_some() { 2 * MAX_CHILDREN } else { MAX_CHILDREN } {
            return Err(Refusal::NoAdditionalSas);
        }
        let initiator_nonce = payloads.nonce().ok_or(Refusal::Syntax)?;
        let their_key = payloads.key_exchange();
        let guess = their_key.map(|key| key.group.0);
        let choice = self.choose(replaces, payloads, ChildGroups::AsConfigured(guess), cx)?;
        let association = self.association_of(&choice.connection, cx);
        let (shared, public) = match (choice.algorithms.group, their_key) {
            (None, _) => (None, None),
            (Some(group), Some(theirs)) if theirs.group.0 == group.transform_id => {
                let ours = group.generate(cx.entropy);
                let public = message::key_exchange(group, ours.public());
                (Some(ours.agree(&theirs.data).map_err(|_| Refusal::Syntax)?), Some(public))
            }
            (Some(group), _) => return Err(Refusal::WrongGroup(group.transform_id)),
        };
        let responder_nonce = cx.nonce();
        let inbound_spi = cx.inbound_spis.allocate(self.sa().channel().local_spi(), cx.entropy);
        let mut answer = choice.answer(inbound_spi);
        answer.insert(1, Payload::Nonce(responder_nonce.clone()));
        if let Some(public) = public {
            answer.insert(2, public);
        }
        let nonces = Nonces { initiator: initiator_nonce, responder: &responder_nonce };
        let keys = self.sa().child_key_source().child_keys(choice.algorithms.suite, nonces, shared.as_ref());
        let Choice { child, algorithms, outbound_spi, local_selectors, peer_selectors, .. } = choice;
        let is_own = Arc::ptr_eq(&association, self.sa().association());
        let agreed =
            Agreed { association, child, algorithms, inbound_spi, outbound_spi, local_selectors, peer_selectors };
        // Who answers a rekey goes on with the old SA until the peer shows that it has the new one (RFC 7296 2.8).
        self.install_child(agreed, PairKeys::of(keys, false), replaces.is_none(), replaces, cx);
        if let Some(pair) = self.children_mut().get_mut(inbound_spi) {
            pair.unconfirmed_until = Some(cx.now + UNCONFIRMED);
        }
        if is_own {
            self.leave_the_rest_to_peer(cx.now);
        }
        if let Some(old) = replaces {
            self.rival_child(old, ChildRival { inbound_spi, lowest_nonce: lowest(initiator_nonce, &responder_nonce) });
            self.children_mut().replaced(old);
        }
        Ok(answer)
    }

    /// Chooses for a request on this IKE SA: a pair is replaced by one of its own connection; a new one may be of the IKE
    /// SA's connection, or else of one that the peer cannot tell from it.
    fn choose(
        &self,
        replaces: Option<u32>,
        payloads: &Payloads,
        groups: ChildGroups,
        cx: &Context<'_>,
    ) -> Result<Choice, Refusal> {
        if let Some(pair) = replaces.and_then(|spi| self.children().get(spi)) {
            return choose(&[pair.association.connection()], payloads, groups);
        }
        let (own, algorithms) = (self.sa().connection(), self.sa().algorithms());
        let siblings = cx.directory.siblings(own, self.sa().association().peer_id(), &algorithms);
        let connections: Vec<&Arc<Connection>> = std::iter::once(own).chain(siblings).collect();
        choose(&connections, payloads, groups)
    }

    /// The association of one of these connections with the peer.
    fn association_of(&self, connection: &Arc<Connection>, cx: &mut Context<'_>) -> Arc<Association> {
        let own = self.sa().association();
        if Arc::ptr_eq(connection, own.connection()) {
            return own.clone();
        }
        cx.associations.of(connection, own.peer_id(), cx.now)
    }

    /// The pair that the peer wants to replace, by the SPI that it receives on (RFC 7296 1.3.3, 2.25.1).
    fn child_to_rekey(&self, outbound_spi: u32) -> Result<u32, Refusal> {
        let pair = self.children().by_outbound_spi(outbound_spi).ok_or(Refusal::ChildNotFound(outbound_spi))?;
        match pair.stage {
            Stage::Installed | Stage::Rekeying => Ok(pair.inbound_spi),
            Stage::Replaced | Stage::Deleting => Err(Refusal::Temporary),
            Stage::Retired(_) => Err(Refusal::ChildNotFound(outbound_spi)),
        }
    }

    fn failed(&self, child: &Arc<str>, reason: &str, cx: &mut Context<'_>) {
        self.sa().tell(format!("Child SA {child} was not set up: {reason}"), cx);
    }
}

/// What an answer to our request amounts to.
struct Accepted {
    algorithms: EspAlgorithms,
    outbound_spi: u32,
    local_selectors: Vec<TrafficSelector>,
    peer_selectors: Vec<TrafficSelector>,
    responder_nonce: Vec<u8>,
    shared: Option<Secret>,
}

/// Checks an answer against what was offered.
fn accept(exchange: &CreateChild, key_exchange: Option<KeyExchange>, payloads: &Payloads) -> Result<Accepted, String> {
    let (Some(answer), Some(nonce), Some(local), Some(peer)) =
        (payloads.security_association(), payloads.nonce(), payloads.ts_initiator(), payloads.ts_responder())
    else {
        return Err("the response lacks a payload".to_owned());
    };
    let group = key_exchange.as_ref().map(|ours| ours.algorithm().transform_id);
    let chosen = negotiate::accept_esp(&exchange.child.esp_proposals, answer, ChildGroups::AsConfigured(group))
        .filter(|chosen| chosen.algorithms.group.is_none_or(|chosen| Some(chosen.transform_id) == group))
        .ok_or("the peer chose what was not offered")?;
    let outbound_spi = esp_spi(&chosen.spi).ok_or("the peer chose a reserved SPI")?;
    if !negotiate::within(local, &exchange.local_selectors) || !negotiate::within(peer, &exchange.peer_selectors) {
        return Err("the peer widened the traffic selectors".to_owned());
    }
    let shared = match (chosen.algorithms.group, key_exchange, payloads.key_exchange()) {
        (None, _, _) => None,
        (Some(group), Some(ours), Some(theirs)) if theirs.group.0 == group.transform_id => {
            Some(ours.agree(&theirs.data).map_err(|error| error.to_string())?)
        }
        _ => return Err("the response lacks the key exchange".to_owned()),
    };
    Ok(Accepted {
        algorithms: chosen.algorithms,
        outbound_spi,
        local_selectors: local.clone(),
        peer_selectors: peer.clone(),
        responder_nonce: nonce.clone(),
        shared,
    })
}

/// Puts a key exchange method first wherever it is configured, and gives the one to guess (RFC 7296 1.3).
fn prefer_group(
    proposals: &mut [EspProposal],
    preferred: &'static KeyExchangeAlgorithm,
) -> Option<&'static KeyExchangeAlgorithm> {
    let is_preferred = |group: &&KeyExchangeAlgorithm| group.transform_id == preferred.transform_id;
    for proposal in proposals.iter_mut() {
        proposal.groups.sort_by_key(|group| !is_preferred(group));
    }
    let groups = || proposals.iter().flat_map(|proposal| &proposal.groups).copied();
    groups().find(|group| is_preferred(group)).or_else(|| groups().next())
}

/// The configured method that an INVALID_KE_PAYLOAD asks for.
fn group_wanted(child: &Child, error: &Notify) -> Option<&'static KeyExchangeAlgorithm> {
    let wanted = message::wanted_group(error)?;
    child.esp_proposals.iter().flat_map(|proposal| &proposal.groups).copied().find(|group| group.transform_id == wanted)
}
