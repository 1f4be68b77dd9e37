//! Keeping the children of an established IKE SA up: what somebody wants and no pair of Child SAs carries yet is put on the
//! agenda, in parts where the peer has narrowed a child (RFC 7296 2.9).

use std::sync::Arc;
use std::time::Instant;

use super::agenda::Agenda;
use super::child::ChildPair;
use super::children::Children;
use super::config::{Connection, Peer};
use super::coverage::{self, Flows};
use super::exchange::task::Task;
use super::wanted::WantedChild;

/// Pairs that one child is made of at most, unless packets ask for more.
const MAX_PARTS: usize = 64;

/// Somebody needs this child: it is asked for, unless it is there, or asked for already.
pub(super) fn want(
    mut wanted: WantedChild,
    connection: &Connection,
    children: &Children,
    agenda: &mut Agenda,
    now: Instant,
) {
    if wanted.packet.is_some_and(|packet| agenda.tasks.refused.holds(&wanted.child, &packet, now)) {
        return;
    }
    let flows = wanted.packet.or(wanted.part);
    if agenda.creates(&wanted.child, flows.as_ref()) || children.have(&wanted) {
        return;
    }
    if let (Some(packet), None) = (wanted.packet, wanted.part)
        && children.has_current(&wanted.child)
    {
        // The peer has narrowed the child: the packet asks for one of the parts that were left out.
        let holds = |part: &Flows| packet.is_held_by((&[part.local], &[part.peer]));
        let part = left_out(&wanted.child, connection, children).into_iter().find(holds);
        // Or for what was left out of a part: some protocols, some ports.
        let configured = connection.child(&wanted.child);
        let configured =
            configured.is_some_and(|child| packet.is_held_by((&child.local_selectors, &child.peer_selectors)));
        let Some(part) = part.or_else(|| configured.then_some(packet)) else { return };
        wanted.part = Some(part);
    }
    agenda.tasks.queue(Task::CreateChild(wanted));
}

/// Every configured child is wanted.
pub(super) fn want_all(connection: &Connection, children: &Children, agenda: &mut Agenda, now: Instant) {
    for child in &connection.children {
        let part = part_to_ask_for(&child.name, connection, children, agenda);
        want(WantedChild { part, ..WantedChild::new(child.name.clone()) }, connection, children, agenda, now);
    }
}

/// The first part of a child that the peer has left out and has not refused. A peer that takes one pair of hosts at a
/// time is left to the packets.
fn part_to_ask_for(child: &Arc<str>, connection: &Connection, children: &Children, agenda: &Agenda) -> Option<Flows> {
    // What one of many peers leaves out belongs to the others.
    if connection.peer == Peer::Any {
        return None;
    }
    let mut pairs = agenda.tasks.retries_of(child);
    for pair in children.current_of(child) {
        let (local, peer) = pair.selectors();
        let (Some(local), Some(peer)) = (local.first(), peer.first()) else { continue };
        if (Flows { local: *local, peer: *peer }).is_one_pair_of_hosts() {
            return None;
        }
        pairs += 1;
    }
    let asked = |part: &Flows| agenda.creates(child, Some(part));
    left_out(child, connection, children).into_iter().find(|part| !asked(part)).filter(|_| pairs < MAX_PARTS)
}

/// What of a child's traffic the peer has left out of the pairs that there are.
fn left_out(child: &Arc<str>, connection: &Connection, children: &Children) -> Vec<Flows> {
    let pairs = children.current_of(child).map(ChildPair::selectors);
    connection.child(child).map_or_else(Vec::new, |child| coverage::left_out(child, pairs))
}
