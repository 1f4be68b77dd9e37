//! Deleting Child SAs and IKE SAs (RFC 7296 1.4.1, 2.25).

use std::time::{Duration, Instant};

use super::next::{Next, Request};
use super::task::Task;
use crate::ike::child::{GRACE, Stage};
use crate::ike::children::Children;
use crate::ike::config::{Peer, Retransmission, Start};
use crate::ike::context::Context;
use crate::ike::event::Removal;
use crate::ike::message::Payloads;
use crate::ike::sa::{Cause, Sa};
use crate::ike::tasks::Tasks;
use crate::wire::ike::{Delete, ExchangeType, NotifyType, Payload, ProtocolId};

/// Back-off of the last request of an IKE SA: a peer that is gone must not hold up what comes next.
const CLOSING: Retransmission = Retransmission {
    initial: Duration::from_millis(500),
    factor: 1.5,
    longest: Duration::from_secs(2),
    timeout: Duration::from_secs(4),
};

/// An INFORMATIONAL request that deletes a Child SA.
pub(in crate::ike) struct DeleteChild {
    /// The SPI that we receive on.
    inbound_spi: u32,
    reason: Removal,
}

impl DeleteChild {
    /// Tells the peer that a pair is deleted. There may be no pair: the peer then has an SA that we never installed.
    pub(in crate::ike) fn start(
        inbound_spi: u32,
        reason: Removal,
        children: &mut Children,
        cx: &mut Context<'_>,
    ) -> Next<Self> {
        if !children.begin_delete(inbound_spi, cx) {
            return Next::Done;
        }
        let payloads = vec![Payload::Delete(Delete::esp([inbound_spi]))];
        Next::send(ExchangeType::INFORMATIONAL, payloads, Self { inbound_spi, reason })
    }

    /// The IKE SA ends, and with it both halves.
    pub(in crate::ike) fn abandon(&self, cx: &mut Context<'_>) {
        cx.inbound_spis.release(self.inbound_spi);
    }

    /// The peer has deleted its half. A replaced pair still receives what is in flight.
    pub(in crate::ike) fn reply(self, children: &mut Children, cx: &mut Context<'_>) {
        let Self { inbound_spi, reason } = self;
        if reason == Removal::Replaced && children.get(inbound_spi).is_some() {
            children.retire(inbound_spi, cx.now + GRACE, cx);
        } else if children.remove(inbound_spi, reason, cx).is_none() {
            cx.inbound_spis.release(inbound_spi);
        }
    }
}

/// An INFORMATIONAL request that deletes the IKE SA which carries it.
pub(in crate::ike) struct DeleteIke;

impl DeleteIke {
    /// Tells the peer; any answer ends the IKE SA.
    pub(in crate::ike) fn start() -> Next<Self> {
        let (kind, payloads) = (ExchangeType::INFORMATIONAL, vec![Payload::Delete(Delete::ike())]);
        Next::Send(Request { kind, payloads, policy: Some(CLOSING), exchange: Self })
    }
}

/// Whether a request deletes the IKE SA that carries it, or says that the peer does not believe in it
/// (RFC 7296 2.21.2).
pub(in crate::ike) fn of_ike_sa(request: &Payloads) -> Option<Cause> {
    if request.deletes().any(|delete| delete.protocol == ProtocolId::IKE) {
        return Some(Cause::DeletedByPeer);
    }
    request.notify(NotifyType::AUTHENTICATION_FAILED).map(|_| Cause::Refused)
}

/// Deletes the pairs that the peer names by the SPIs on which it receives. Gives the response's payloads: the other
/// halves, except of those whose deletion we have asked for ourselves (RFC 7296 1.4.1).
pub(in crate::ike) fn requested(
    request: &Payloads,
    children: &mut Children,
    tasks: &mut Tasks,
    cx: &mut Context<'_>,
) -> Vec<Payload> {
    let esp = request.deletes().filter(|delete| delete.protocol == ProtocolId::ESP);
    let named: Vec<u32> = esp.flat_map(|delete| &delete.spis).map(|spi| u32::from_be_bytes(*spi)).collect();
    let pairs = children.iter().filter(|pair| named.contains(&pair.outbound_spi));
    let gone: Vec<u32> =
        pairs.filter(|pair| !pair.is_retired() && pair.stage != Stage::Deleting).map(|pair| pair.inbound_spi).collect();
    for inbound_spi in &gone {
        children.activate_successor(*inbound_spi, cx);
        if children.get(*inbound_spi).is_some_and(|pair| pair.stage == Stage::Replaced) {
            children.retire(*inbound_spi, cx.now + GRACE, cx);
        } else if children.remove(*inbound_spi, Removal::DeletedByPeer, cx).is_some() {
            tasks.child_lost(cx);
        }
    }
    if gone.is_empty() { Vec::new() } else { vec![Payload::Delete(Delete::esp(gone))] }
}

/// Deletes every pair of another connection, which is taken down or changed: it is not sent on from now on.
pub(in crate::ike) fn guests(connection: &str, children: &mut Children, tasks: &mut Tasks, cx: &mut Context<'_>) {
    let guests = children.guests().filter(|pair| **pair.association.name() == *connection);
    let spis: Vec<u32> = guests.map(|pair| pair.inbound_spi).collect();
    for inbound_spi in spis {
        children.begin_delete(inbound_spi, cx);
        tasks.queue(Task::DeleteChild { inbound_spi, reason: Removal::Closed });
    }
}

/// Whether the IKE SA ends with one of its pairs: the peer does not rekey it, and only the peer can begin anew
/// (RFC 7296 2.8). Who initiates has negotiated another IKE SA before.
pub(in crate::ike) fn ends_ike_sa(sa: &Sa, children: &Children, now: Instant) -> bool {
    let connection = sa.connection();
    let only_answers = connection.start == Start::Wait || connection.peer == Peer::Any;
    only_answers && children.current().any(|pair| pair.outlives_its_rekey(now))
}

/// A pair has reached its end: that of its grace, or of its life.
pub(in crate::ike) fn at_its_end(inbound_spi: u32, children: &mut Children, tasks: &mut Tasks, cx: &mut Context<'_>) {
    children.activate_successor(inbound_spi, cx);
    let retired = children.get(inbound_spi).is_some_and(|pair| pair.is_retired());
    let reason = if retired { Removal::Replaced } else { Removal::Expired };
    let Some(removed) = children.remove(inbound_spi, reason, cx) else { return };
    if !retired && removed.stage != Stage::Deleting {
        tasks.queue(Task::DeleteChild { inbound_spi, reason: Removal::Expired });
    }
    if removed.was_current() {
        tasks.child_lost(cx);
    }
}
