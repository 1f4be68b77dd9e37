//! Deleting Child SAs and IKE SAs (RFC 7296 1.4.1, 2.25).

use std::time::Duration;

use super::{Exchange, Task};
use crate::ike::child::{ChildPair, GRACE, Stage};
use crate::ike::config::Retransmission;
use crate::ike::context::Context;
use crate::ike::event::Removal;
use crate::ike::message::Payloads;
use crate::ike::sa::Cause;
use crate::ike::state::Ended;
use crate::ike::state::established::Established;
use crate::wire::ike::{Delete, ExchangeType, Payload, ProtocolId};

/// Back-off of the last request of an IKE SA: a peer that is gone must not hold up what comes next.
const CLOSING: Retransmission = Retransmission { initial: Duration::from_millis(500), factor: 1.5, tries: 3 };

impl Established {
    /// Tells the peer that a pair is deleted. There may be no pair: the peer then has an SA that we never installed.
    pub(in crate::ike) fn start_delete_child(&mut self, inbound_spi: u32, reason: Removal, cx: &mut Context<'_>) {
        if !self.children_mut().begin_delete(inbound_spi, cx) {
            return;
        }
        let payloads = [Payload::Delete(Delete::esp([inbound_spi]))];
        self.send(ExchangeType::INFORMATIONAL, &payloads, Exchange::DeleteChild { inbound_spi, reason }, cx);
    }

    /// Deletes every pair of another connection, which is taken down or changed: it is not sent on from now on.
    pub(in crate::ike) fn delete_guests(&mut self, connection: &str, cx: &mut Context<'_>) {
        let guests = self.children().guests().filter(|pair| **pair.association.name() == *connection);
        let spis: Vec<u32> = guests.map(|pair| pair.inbound_spi).collect();
        for inbound_spi in spis {
            self.children_mut().begin_delete(inbound_spi, cx);
            self.agenda_mut().queue(Task::DeleteChild { inbound_spi, reason: Removal::Closed });
        }
        self.advance(cx);
    }

    /// The peer has deleted its half. A replaced pair still receives what is in flight.
    pub(in crate::ike) fn child_deleted(&mut self, inbound_spi: u32, reason: Removal, cx: &mut Context<'_>) {
        if reason == Removal::Replaced && self.children().get(inbound_spi).is_some() {
            self.children_mut().retire(inbound_spi, cx.now + GRACE, cx);
        } else if self.children_mut().remove(inbound_spi, reason, cx).is_none() {
            cx.inbound_spis.release(inbound_spi);
        }
    }

    /// Deletes the pairs that the peer names by the SPIs on which it receives. Gives the response's payloads: the
    /// other halves, except of those whose deletion we have asked for ourselves (RFC 7296 1.4.1).
    pub(in crate::ike) fn children_deleted_by_peer(
        &mut self,
        payloads: &Payloads,
        cx: &mut Context<'_>,
    ) -> Vec<Payload> {
        let esp = payloads.deletes().filter(|delete| delete.protocol == ProtocolId::ESP);
        let named: Vec<u32> = esp.flat_map(|delete| &delete.spis).map(|spi| u32::from_be_bytes(*spi)).collect();
        let pairs = self.children().iter().filter(|pair| named.contains(&pair.outbound_spi));
        let gone: Vec<u32> = pairs
            .filter(|pair| !pair.is_retired() && pair.stage != Stage::Deleting)
            .map(|pair| pair.inbound_spi)
            .collect();
        for inbound_spi in &gone {
            self.child_deleted_by_peer(*inbound_spi, cx);
        }
        if gone.is_empty() { Vec::new() } else { vec![Payload::Delete(Delete::esp(gone))] }
    }

    fn child_deleted_by_peer(&mut self, inbound_spi: u32, cx: &mut Context<'_>) {
        self.children_mut().activate_successor(inbound_spi, cx);
        let replaced = self.children().get(inbound_spi).is_some_and(|pair| pair.stage == Stage::Replaced);
        if replaced {
            self.children_mut().retire(inbound_spi, cx.now + GRACE, cx);
        } else if self.children_mut().remove(inbound_spi, Removal::DeletedByPeer, cx).is_some() {
            self.child_lost(cx);
        }
    }

    /// A pair has reached its end: that of its grace, or of its life.
    pub(in crate::ike) fn child_ended(&mut self, inbound_spi: u32, cx: &mut Context<'_>) {
        self.children_mut().activate_successor(inbound_spi, cx);
        let retired = self.children().get(inbound_spi).is_some_and(ChildPair::is_retired);
        let reason = if retired { Removal::Replaced } else { Removal::Expired };
        let Some(removed) = self.children_mut().remove(inbound_spi, reason, cx) else { return };
        if !retired && removed.stage != Stage::Deleting {
            self.agenda_mut().queue(Task::DeleteChild { inbound_spi, reason: Removal::Expired });
        }
        if removed.was_current() {
            self.child_lost(cx);
        }
    }

    /// Tells the peer that this IKE SA is deleted.
    pub(in crate::ike) fn start_delete_ike(&mut self, cx: &mut Context<'_>) {
        let payloads = [Payload::Delete(Delete::ike())];
        self.send_with(ExchangeType::INFORMATIONAL, &payloads, Exchange::DeleteIke, CLOSING, cx);
    }

    /// The peer has deleted this IKE SA. A rekey of ours is forgotten; one of the peer's takes over (RFC 7296 2.25.2).
    pub(in crate::ike) fn deleted_by_peer(mut self, cause: Cause, cx: &mut Context<'_>) -> Ended {
        self.settle_for_rival(cx);
        let removal = if cause == Cause::DeletedByPeer { Removal::DeletedByPeer } else { Removal::IkeSaLost };
        self.remove_children(removal, cx);
        let error = match cause {
            Cause::DeletedByPeer => "the peer deleted the IKE SA",
            _ => "the peer does not accept our identity or key (AUTHENTICATION_FAILED)",
        };
        let ended = self.ending(cause, error.to_owned());
        ended.lingering(self.into_channel())
    }
}
