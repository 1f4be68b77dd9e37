//! CREATE_CHILD_SA for Child SAs that we ask for, new ones and replacing ones (RFC 7296 1.3.1, 1.3.3, 2.17).

use std::sync::Arc;
use std::time::{Duration, Instant};

use super::collision::{ChildRival, lowest};
use super::next::Next;
use super::task::Task;
use crate::crypto::{KeyExchange, KeyExchangeAlgorithm, Secret};
use crate::ike::association::Association;
use crate::ike::child::{Agreed, ChildPair, PairKeys, Stage};
use crate::ike::children::Children;
use crate::ike::config::{Child, EspProposal};
use crate::ike::context::Context;
use crate::ike::data_path;
use crate::ike::error::Unsendable;
use crate::ike::event::Removal;
use crate::ike::failure::{Asked, ChildError, Failure};
use crate::ike::keys::Nonces;
use crate::ike::message::{self, Payloads};
use crate::ike::negotiate::{self, ChildGroups, ChoiceError};
use crate::ike::sa::Sa;
use crate::ike::tasks::Tasks;
use crate::ike::wanted::WantedChild;
use crate::wire::ike::{ExchangeType, KeyExchangeId, Notify, NotifyType, Payload, TrafficSelector};

/// Other key exchange methods that are tried at the peer's wish.
const MAX_GROUPS: u32 = 3;

/// How long the rekey of a pair waits that the peer is not yet known to have.
const UNCONFIRMED_WAIT: Duration = Duration::from_secs(1);

/// A CREATE_CHILD_SA request of ours for a Child SA.
pub(in crate::ike) struct CreateChild {
    association: Arc<Association>,
    /// It is another connection's than the IKE SA.
    is_guests: bool,
    child: Child,
    inbound_spi: u32,
    /// The inbound SPI of the pair to replace.
    replaces: Option<u32>,
    /// A pair that the peer has made meanwhile in place of the same one.
    rival: Option<ChildRival>,
    nonce: Vec<u8>,
    key_exchange: Option<KeyExchange>,
    local_selectors: Vec<TrafficSelector>,
    peer_selectors: Vec<TrafficSelector>,
    wanted: WantedChild,
    groups_tried: u32,
}

impl CreateChild {
    /// Asks for a new pair.
    pub(in crate::ike) fn start(wanted: WantedChild, sa: &Sa, children: &Children, cx: &mut Context<'_>) -> Next<Self> {
        Self::begin(wanted, None, sa, children, cx)
    }

    /// Asks for a pair in place of this one, if it still serves.
    pub(in crate::ike) fn start_rekey(
        inbound_spi: u32,
        sa: &Sa,
        children: &mut Children,
        cx: &mut Context<'_>,
    ) -> Next<Self> {
        let Some(pair) = children.current_mut(inbound_spi) else { return Next::Done };
        if pair.unconfirmed_until.is_some_and(|until| cx.now < until) {
            // The peer might not find the pair, and get to know it from our answer afterwards.
            pair.postpone_rekey(cx.now + UNCONFIRMED_WAIT);
            return Next::Done;
        }
        pair.stage = Stage::Rekeying;
        let wanted = WantedChild::new(pair.child.clone());
        Self::begin(wanted, Some(inbound_spi), sa, children, cx)
    }

    fn begin(
        wanted: WantedChild,
        replaces: Option<u32>,
        sa: &Sa,
        children: &Children,
        cx: &mut Context<'_>,
    ) -> Next<Self> {
        let replaced = replaces.and_then(|spi| children.get(spi));
        let association = replaced.map_or(sa.association(), |pair| &pair.association).clone();
        let Some(mut child) = association.connection().child(&wanted.child).cloned() else {
            sa.tell(Failure::Child { child: wanted.child, error: ChildError::Unknown }, cx);
            return Next::Done;
        };
        // The method that the peer surely accepts. Some accept no other: that of the pair, or of the IKE SA.
        let in_use = replaced.and_then(ChildPair::group);
        let group = prefer_group(&mut child.esp_proposals, in_use.unwrap_or(sa.algorithms().group));
        let inbound_spi = cx.inbound_spis.allocate(sa.channel().local_spi(), cx.entropy);
        // A rekey is about what is in use; what was left out is asked for apart from it (RFC 7296 2.9.2).
        let (local_selectors, peer_selectors) = match replaced {
            Some(pair) => {
                let (local, peer) = pair.selectors();
                (local.to_vec(), peer.to_vec())
            }
            None => wanted.selectors(&child),
        };
        let exchange = Self {
            is_guests: !Arc::ptr_eq(&association, sa.association()),
            association,
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
        exchange.request(children)
    }

    fn request(self, children: &Children) -> Next<Self> {
        let mut payloads = Vec::new();
        let replaced = self.replaces.and_then(|spi| children.get(spi)).map(|pair| pair.inbound_spi);
        if let Some(spi) = replaced {
            // The SPI that we would expect in packets to us (RFC 7296 2.8).
            payloads.push(Payload::Notify(Notify::about_esp(NotifyType::REKEY_SA, spi, Vec::new())));
        }
        let proposals = negotiate::offer_esp(&self.child.esp_proposals, self.inbound_spi, true);
        payloads.push(Payload::SecurityAssociation(proposals));
        payloads.push(Payload::Nonce(self.nonce.clone()));
        if let Some(ours) = &self.key_exchange {
            payloads.push(message::key_exchange(ours.algorithm(), ours.public()));
        }
        payloads.push(Payload::TrafficSelectorsInitiator(self.local_selectors.clone()));
        payloads.push(Payload::TrafficSelectorsResponder(self.peer_selectors.clone()));
        Next::send(ExchangeType::CREATE_CHILD_SA, payloads, self)
    }

    /// What is asked for.
    pub(in crate::ike) fn wanted(&self) -> &WantedChild {
        &self.wanted
    }

    /// Whether it is for another connection than the IKE SA.
    pub(in crate::ike) fn is_guests(&self) -> bool {
        self.is_guests
    }

    /// The peer has made a pair in place of the one that we replace, if that is the same.
    pub(in crate::ike) fn meet(&mut self, rival: ChildRival) {
        if self.replaces == Some(rival.replaced) {
            self.rival = Some(rival);
        }
    }

    /// Nothing comes of it.
    pub(in crate::ike) fn abandon(&self, cx: &mut Context<'_>) {
        cx.inbound_spis.release(self.inbound_spi);
    }

    /// Our request does not fit a message: the attempt has failed.
    pub(in crate::ike) fn not_sent(
        self,
        unsendable: Unsendable,
        sa: &Sa,
        children: &mut Children,
        tasks: &mut Tasks,
        cx: &mut Context<'_>,
    ) {
        self.abandon(cx);
        self.failed(ChildError::Unsendable(unsendable), sa, children, tasks, cx);
    }

    /// The peer's answer to our request.
    pub(in crate::ike) fn reply(
        mut self,
        reply: &Payloads,
        sa: &Sa,
        children: &mut Children,
        tasks: &mut Tasks,
        cx: &mut Context<'_>,
    ) -> Next<Self> {
        if let Some(error) = reply.error() {
            return self.refused(error, sa, children, tasks, cx);
        }
        let key_exchange = self.key_exchange.take();
        match self.accept(key_exchange, reply) {
            Ok(accepted) => self.settle(accepted, sa, children, tasks, cx),
            Err(error) => {
                // The peer believes in an SA that we can't use.
                let (inbound_spi, reason) = (self.inbound_spi, Removal::Redundant);
                tasks.queue_first(Task::DeleteChild { inbound_spi, reason });
                self.failed(error, sa, children, tasks, cx);
            }
        }
        Next::Done
    }

    /// Checks an answer against what was offered.
    fn accept(&self, key_exchange: Option<KeyExchange>, reply: &Payloads) -> Result<Accepted, ChildError> {
        let (Some(answer), Some(nonce), Some(local), Some(peer)) =
            (reply.security_association(), reply.nonce(), reply.ts_initiator(), reply.ts_responder())
        else {
            return Err(ChildError::Incomplete);
        };
        let group = key_exchange.as_ref().map(|ours| ours.algorithm().transform_id);
        let chosen = negotiate::check_esp(&self.child.esp_proposals, answer, ChildGroups::AsConfigured(group))
            .map_err(ChildError::Choice)?;
        let outbound_spi = ChildError::check_spi(&chosen.spi)?;
        ChildError::check_selectors(local, &self.local_selectors)?;
        ChildError::check_selectors(peer, &self.peer_selectors)?;
        let shared = match (chosen.algorithms.group, key_exchange, reply.key_exchange()) {
            (None, _, _) => None,
            (Some(chosen), Some(ours), Some(theirs)) => {
                let sent = ours.algorithm().transform_id;
                if chosen.transform_id != sent {
                    let (chosen, sent) = (KeyExchangeId(chosen.transform_id), KeyExchangeId(sent));
                    return Err(ChildError::Choice(ChoiceError::Group { chosen, sent }));
                }
                if theirs.group.0 != sent {
                    return Err(ChildError::NoKeyExchange);
                }
                Some(ours.agree(&theirs.data).map_err(ChildError::KeyExchange)?)
            }
            _ => return Err(ChildError::NoKeyExchange),
        };
        Ok(Accepted {
            agreed: Agreed {
                association: self.association.clone(),
                child: self.child.name.clone(),
                algorithms: chosen.algorithms,
                inbound_spi: self.inbound_spi,
                outbound_spi,
                local_selectors: local.clone(),
                peer_selectors: peer.clone(),
            },
            responder_nonce: nonce.clone(),
            shared,
        })
    }

    /// Installs our new pair, unless it is the redundant one of two (RFC 7296 2.8.1).
    fn settle(self, accepted: Accepted, sa: &Sa, children: &mut Children, tasks: &mut Tasks, cx: &mut Context<'_>) {
        let Accepted { agreed, responder_nonce, shared } = accepted;
        let Self { is_guests, inbound_spi, replaces, rival, nonce, .. } = self;
        if let Some(rival) = &rival
            && lowest(&nonce, &responder_nonce) < rival.lowest_nonce
        {
            tasks.queue_first(Task::DeleteChild { inbound_spi, reason: Removal::Redundant });
            return;
        }
        // What was to go on is not wanted here any more: its deletion was begun meanwhile.
        let in_place_of = rival.as_ref().map(|rival| rival.inbound_spi).or(replaces);
        if in_place_of.and_then(|spi| children.get(spi)).is_some_and(|pair| pair.stage == Stage::Deleting) {
            tasks.queue_first(Task::DeleteChild { inbound_spi, reason: Removal::Redundant });
            // Of two rekeys, who asked for the one that stays deletes what both replace (RFC 7296 2.8.1).
            if let Some(rival) = rival {
                tasks.queue(Task::DeleteChild { inbound_spi: rival.replaced, reason: Removal::Closed });
            }
            return;
        }
        if let Some(rival) = rival {
            children.replaced(rival.inbound_spi);
        }
        let nonces = Nonces { initiator: &nonce, responder: &responder_nonce };
        let keys = sa.child_key_source().child_keys(agreed.algorithms.suite, nonces, shared.as_ref());
        let replaces = replaces.filter(|spi| children.get(*spi).is_some());
        if !is_guests {
            tasks.child_set_up(&agreed.child, replaces.is_some(), cx.now);
        }
        children.install(agreed, PairKeys::of(keys, true), replaces, sa, cx);
        children.activate(inbound_spi, cx);
        if let Some(old) = replaces {
            children.replaced(old);
            tasks.queue_first(Task::DeleteChild { inbound_spi: old, reason: Removal::Replaced });
        }
    }

    fn refused(
        mut self,
        error: &Notify,
        sa: &Sa,
        children: &mut Children,
        tasks: &mut Tasks,
        cx: &mut Context<'_>,
    ) -> Next<Self> {
        let wanted = self.key_exchange.as_ref().and_then(|_| group_wanted(&self.child, error));
        if error.kind == NotifyType::INVALID_KE_PAYLOAD
            && let Some(group) = wanted
            && self.groups_tried < MAX_GROUPS
        {
            self.groups_tried += 1;
            self.key_exchange = Some(group.generate(cx.entropy));
            // No nonce is used for two exchanges (RFC 7296 3.9).
            self.nonce = cx.nonce();
            return self.request(children);
        }
        // A peer that means it has dropped the IKE SA (RFC 7296 2.21.3); some mean no more than that they refuse.
        if error.kind == NotifyType::INVALID_SYNTAX {
            tasks.queue(Task::Liveness);
        }
        self.abandon(cx);
        let single_pair = error.kind == NotifyType::SINGLE_PAIR_REQUIRED;
        if single_pair && self.replaces.is_none() && tasks.ask_for_one_pair(&self.wanted) {
            return Next::Done;
        }
        let old = self.replaces.filter(|spi| children.get(*spi).is_some_and(ChildPair::is_current));
        if self.replaces.is_some() && old.is_none() {
            // The peer has replaced what was to be replaced, or it has ended meanwhile.
            if !children.has_current(&self.child.name) {
                tasks.child_lost(cx);
            }
            return Next::Done;
        }
        match error.kind {
            NotifyType::TEMPORARY_FAILURE => {
                let wait = tasks.temporary_wait(Asked::Child(self.child.name.clone()), sa, cx);
                self.retry(cx.now + wait, children, tasks);
            }
            NotifyType::CHILD_SA_NOT_FOUND => {
                let lost = old.and_then(|spi| children.remove(spi, Removal::DeletedByPeer, cx));
                if let Some(lost) = lost.filter(|lost| !lost.is_guest) {
                    tasks.queue(Task::CreateChild(WantedChild::new(lost.child)));
                    tasks.child_lost(cx);
                }
            }
            // The packets that come ask for theirs.
            NotifyType::SINGLE_PAIR_REQUIRED if old.is_none() => self.tell(ChildError::SinglePairRequired, sa, cx),
            kind => {
                let error = ChildError::refused(Some(kind), &self.child, &self.local_selectors, &self.peer_selectors);
                if let Some(pair) = old.and_then(|spi| children.get_mut(spi)) {
                    pair.rekey_was_refused();
                }
                self.failed(error, sa, children, tasks, cx);
                // A pair that cannot be rekeyed would end with its life; a new IKE SA brings a new one before
                // (RFC 7296 2.8).
                let stays = |spi: u32| children.get(spi).is_some_and(ChildPair::is_current);
                cx.outbox.renegotiate |= old.is_some_and(stays);
            }
        }
        Next::Done
    }

    fn tell(&self, error: ChildError, sa: &Sa, cx: &mut Context<'_>) {
        sa.tell(Failure::Child { child: self.child.name.clone(), error }, cx);
    }

    /// The attempt has failed, and is made again later.
    fn failed(self, error: ChildError, sa: &Sa, children: &mut Children, tasks: &mut Tasks, cx: &mut Context<'_>) {
        self.tell(error, sa, cx);
        let exhausted = |spi: &u32| children.get(*spi).is_some_and(|pair| pair.exhausted && pair.is_current());
        match self.replaces {
            Some(spi) if exhausted(&spi) => data_path::replace_exhausted(spi, children, tasks, cx),
            Some(_) => {
                let wait = tasks.failure_wait(cx);
                self.retry(cx.now + wait, children, tasks);
            }
            None => tasks.child_failed(self.wanted, None, cx),
        }
    }

    fn retry(self, at: Instant, children: &mut Children, tasks: &mut Tasks) {
        match self.replaces {
            Some(spi) => {
                if let Some(pair) = children.current_mut(spi) {
                    pair.postpone_rekey(at);
                }
            }
            None => tasks.retry_child(self.wanted, at),
        }
    }
}

/// What an answer to our request amounts to.
struct Accepted {
    agreed: Agreed,
    responder_nonce: Vec<u8>,
    shared: Option<Secret>,
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
