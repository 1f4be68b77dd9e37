//! What the data path tells of the Child SAs of an IKE SA, and what follows: it could not install a pair, a pair has used up
//! what it may carry, packets came on one.

use std::time::Instant;

use super::child::Stage;
use super::children::{Children, Removed};
use super::config::Start;
use super::context::Context;
use super::event::{Event, Path, Removal, SaActivity, SaLimit};
use super::exchange::task::Task;
use super::failure::Failure;
use super::sa::Sa;
use super::tasks::Tasks;
use super::wanted::WantedChild;

/// What the data path saw on an inbound SA.
pub(super) fn activity(
    activity: SaActivity,
    sa: &mut Sa,
    children: &mut Children,
    tasks: &mut Tasks,
    cx: &mut Context<'_>,
) {
    let Some(pair) = children.get(activity.inbound_spi) else { return };
    let encapsulated = pair.is_encapsulated();
    if activity.first_seen && pair.is_current() {
        // The peer has used the pair: we send on it, too.
        children.activate(activity.inbound_spi, cx);
        tasks.was_installed(true);
    }
    heard(activity.last_inbound, sa, children, cx);
    if let Some(source) = activity.source
        && encapsulated
        && sa.channel().path().non_esp_marker
    {
        let path = Path { peer: source, ..sa.channel().path() };
        follow_peer(path, sa, children, cx);
    }
}

/// The peer gave an authenticated sign of life at `at`: by a packet, or by a message.
pub(super) fn heard(at: Instant, sa: &mut Sa, children: &Children, cx: &mut Context<'_>) {
    if sa.heard_at(at, cx.now) {
        let connection = sa.connection().name.clone();
        let inbound_spis = children.iter().map(|pair| pair.inbound_spi).collect();
        cx.event(Event::PathAnswers { connection, inbound_spis });
        cx.outbox.answers = true;
    }
}

/// Child SAs follow a peer that has moved.
pub(super) fn follow_peer(path: Path, sa: &mut Sa, children: &Children, cx: &mut Context<'_>) {
    if !sa.follow(path, cx.now) {
        return;
    }
    let encapsulated = children.iter().filter(|pair| pair.is_encapsulated());
    let inbound_spis: Vec<u32> = encapsulated.map(|pair| pair.inbound_spi).collect();
    if !inbound_spis.is_empty() {
        let path = sa.transport(path, cx).path;
        cx.event(Event::PathChanged { connection: sa.connection().name.clone(), inbound_spis, path });
    }
}

/// An SA of this pair has come to a limit.
pub(super) fn limit_reached(
    inbound_spi: u32,
    limit: SaLimit,
    sa: &Sa,
    children: &mut Children,
    tasks: &mut Tasks,
    cx: &mut Context<'_>,
) {
    let Some(pair) = children.current_mut(inbound_spi) else { return };
    // A rekey that is under way already is the one that is needed.
    let rekeys = std::mem::replace(&mut pair.stage, Stage::Rekeying) == Stage::Rekeying;
    if limit == SaLimit::Hard && !std::mem::replace(&mut pair.exhausted, true) {
        sa.tell(Failure::Exhausted { child: pair.child.clone(), inbound_spi }, cx);
    }
    match limit {
        _ if rekeys => {}
        SaLimit::Soft => tasks.queue(Task::RekeyChild(inbound_spi)),
        SaLimit::Hard => tasks.queue_first(Task::RekeyChild(inbound_spi)),
    }
}

/// The peer does not rekey a pair that has used up its hard limit: it carries nothing, so nothing is lost with it. A
/// new one takes its place.
pub(super) fn replace_exhausted(inbound_spi: u32, children: &mut Children, tasks: &mut Tasks, cx: &mut Context<'_>) {
    let Some(removed) = children.remove(inbound_spi, Removal::Exhausted, cx) else { return };
    if !removed.is_guest {
        tasks.queue_first(Task::CreateChild(WantedChild::new(removed.child)));
    }
    tasks.queue_first(Task::DeleteChild { inbound_spi, reason: Removal::Exhausted });
    tasks.child_lost(cx);
}

/// The data path has not installed a pair: the peer is told, and it is tried again later.
pub(super) fn install_failed(
    inbound_spi: u32,
    reason: String,
    sa: &Sa,
    children: &mut Children,
    tasks: &mut Tasks,
    cx: &mut Context<'_>,
) {
    let Some(removed) = children.remove(inbound_spi, Removal::NotInstalled, cx) else { return };
    let current = removed.was_current();
    let Removed { child, stage, is_guest } = removed;
    sa.tell(Failure::NotInstalled { child: child.clone(), reason }, cx);
    if !matches!(stage, Stage::Deleting | Stage::Retired(_)) {
        tasks.queue_first(Task::DeleteChild { inbound_spi, reason: Removal::NotInstalled });
    }
    let serves = || children.current_of(&child).any(|pair| !pair.exhausted);
    if current && !is_guest && !serves() {
        tasks.was_installed(false);
        // Who waits for the peer leaves it to the peer to try again.
        if tasks.keeps_children() || sa.connection().start == Start::OnTraffic {
            let at = cx.now + tasks.failure_wait(cx);
            tasks.retry(Task::CreateChild(WantedChild::new(child)), at);
        }
    } else if current {
        tasks.child_lost(cx);
    }
}
