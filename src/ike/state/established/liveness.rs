//! When an established IKE SA asks its peer for a sign of life, and what comes of it: see [`crate::ike::liveness`].

use std::time::{Duration, Instant};

use crate::ike::agenda::Agenda;
use crate::ike::children::Children;
use crate::ike::context::Context;
use crate::ike::event::Event;
use crate::ike::exchange::task::Task;
use crate::ike::sa::Sa;

/// A peer that was heard so recently is not asked, whatever packets go unanswered.
const RECENT: Duration = Duration::from_millis(500);

/// When to check, unless an answer is awaited already.
pub(super) fn due(sa: &Sa) -> Option<Instant> {
    let interval = sa.connection().liveness_interval?;
    (sa.is_active() && !sa.liveness().awaits_answer()).then(|| sa.liveness().heard() + interval)
}

/// Lets time pass.
pub(super) fn timeout(sa: &mut Sa, children: &Children, agenda: &mut Agenda, cx: &mut Context<'_>) {
    if due(sa).is_some_and(|at| at <= cx.now) {
        // An exchange under way is a check by itself.
        if agenda.is_free() {
            agenda.tasks.queue(Task::Liveness);
        }
        sa.liveness_mut().await_answer(cx.now);
    }
    if sa.liveness_mut().falls_silent(cx.now) {
        let (connection, since) = (sa.connection().name.clone(), sa.liveness().heard());
        let inbound_spis = children.iter().map(|pair| pair.inbound_spi).collect();
        cx.event(Event::PathSilent { connection, inbound_spis, since });
        cx.outbox.renegotiate = true;
    }
}

/// Packets go out to the peer, and nothing comes back: it is checked at once, and as long as that goes on another IKE SA is
/// tried beside one whose path is silent.
pub(in crate::ike) fn packets_go_unanswered(sa: &mut Sa, agenda: &mut Agenda, cx: &mut Context<'_>) {
    if sa.connection().liveness_interval.is_none() || !sa.is_active() || cx.now < sa.liveness().heard() + RECENT {
        return;
    }
    sa.liveness_mut().packets_go_unanswered(cx.now);
    let is_silent = sa.liveness().is_silent();
    if agenda.is_free() {
        agenda.tasks.queue(Task::Liveness);
    } else if !is_silent {
        sa.channel_mut().window_mut().prompt(cx.now);
    }
    sa.liveness_mut().await_answer(cx.now);
    // It asks again when it is its turn among all that are silent.
    cx.outbox.renegotiate |= is_silent;
}

/// Somebody says that the peer does not know this IKE SA, or one of its Child SAs (RFC 7296 1.5, 2.4): it is checked, not too
/// often.
pub(in crate::ike) fn is_reported_unknown(sa: &mut Sa, agenda: &mut Agenda, now: Instant) {
    // That a peer does not know yet what it will learn from our answer is no sign of a restart.
    if sa.is_unconfirmed() || !sa.is_active() {
        return;
    }
    if !sa.liveness_mut().allows_check(now) {
        return;
    }
    // A request of ours that is under way is as good as a check.
    if agenda.is_free() {
        agenda.tasks.queue(Task::Liveness);
    }
    sa.liveness_mut().await_answer(now);
}
