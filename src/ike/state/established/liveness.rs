//! When an established IKE SA asks its peer for a sign of life: see [`crate::ike::liveness`].

use std::time::{Duration, Instant};

use crate::ike::agenda::Agenda;
use crate::ike::exchange::Exchange;
use crate::ike::exchange::task::Task;
use crate::ike::sa::Sa;

/// How long a peer that is said not to know the IKE SA has time to give a sign of life.
const REPORTED: Duration = Duration::from_secs(2);

/// How long a peer that takes packets without an answer has time to give a sign of life.
const SILENCE: Duration = Duration::from_secs(3);

/// When to check. An exchange under way is a check by itself.
pub(super) fn due(sa: &Sa, agenda: &Agenda) -> Option<Instant> {
    let interval = sa.connection().liveness_interval?;
    (agenda.is_free() && sa.is_active()).then(|| sa.liveness().heard() + interval)
}

/// The peer is silent though it is sent packets: it is checked at once.
pub(in crate::ike) fn is_silent(sa: &mut Sa, agenda: &mut Agenda, now: Instant) {
    if due(sa, agenda).is_some() {
        agenda.tasks.queue(Task::Liveness);
    } else if sa.connection().liveness_interval.is_none()
        || !sa.is_active()
        // A probe under way asks for a sign of life as well.
        || !matches!(agenda.exchange, Some(Exchange::PathProbe(_)))
    {
        return;
    }
    sa.liveness_mut().replace_at(now + SILENCE);
}

/// Somebody says that the peer does not know this IKE SA (RFC 7296 2.4): it is checked, not too often.
pub(in crate::ike) fn is_reported_unknown(sa: &mut Sa, agenda: &mut Agenda, now: Instant) {
    // That a peer does not know yet what it will learn from our answer is no sign of a restart.
    if sa.is_unconfirmed() || !sa.is_active() {
        return;
    }
    let checks = agenda.is_free() && sa.liveness_mut().allows_check(now);
    if checks {
        agenda.tasks.queue(Task::Liveness);
    }
    if checks || !agenda.is_free() {
        sa.liveness_mut().replace_at(now + REPORTED);
    }
}
