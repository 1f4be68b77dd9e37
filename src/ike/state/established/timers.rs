//! What an established IKE SA does as time passes.

use std::time::Instant;

use super::Established;
use crate::ike::context::Context;
use crate::ike::event::{Deadline, Removal, Why};
use crate::ike::exchange::Task;
use crate::ike::sa::{Cause, Phase};
use crate::ike::state::Ended;

impl Established {
    pub(in crate::ike) fn handle_timeout(mut self, cx: &mut Context<'_>) -> Result<Self, Ended> {
        if !self.sa.channel_mut().retransmit(cx) {
            return Err(self.peer_is_dead(cx));
        }
        match self.sa.phase() {
            Phase::Passive(until) if *until <= cx.now => return Err(self.ending(Cause::Closed, None)),
            Phase::Passive(_) | Phase::Closing(_) => {
                self.advance(cx);
                return Ok(self);
            }
            Phase::Active => {}
        }
        if self.sa.is_expired(cx.now) {
            self.close(Cause::Expired, Removal::Expired, cx);
            return Ok(self);
        }
        if self.sa.takes_rekey(cx.now) {
            self.agenda.queue(Task::RekeyIke);
        }
        self.children_timeout(cx);
        self.agenda.queue_retries(cx.now);
        if self.agenda.take_look(cx.now) {
            self.ensure_children();
        }
        if self.liveness_at().is_some_and(|at| at <= cx.now) {
            self.agenda.queue(Task::Liveness);
        }
        if self.sa.liveness_mut().is_due(cx.now) {
            cx.outbox.renegotiate = true;
        }
        self.sa.extensions_timeout(cx);
        self.advance(cx);
        Ok(self)
    }

    fn children_timeout(&mut self, cx: &mut Context<'_>) {
        for spi in self.children.ended(cx.now) {
            self.child_ended(spi, cx);
        }
        for spi in self.children.take_rekeys_due(cx.now) {
            self.agenda.queue(Task::RekeyChild(spi));
        }
    }

    /// When to ask for a sign of life. An exchange under way asks for one by itself.
    pub(in crate::ike) fn liveness_at(&self) -> Option<Instant> {
        let interval = self.sa.connection().liveness_interval?;
        (self.agenda.is_free() && self.sa.is_active()).then(|| self.sa.liveness().heard() + interval)
    }

    /// Whether a silent peer is asked for a sign of life at all.
    pub(in crate::ike) fn checks_liveness(&self) -> bool {
        self.sa.connection().liveness_interval.is_some() && self.sa.is_active()
    }

    fn peer_is_dead(self, cx: &mut Context<'_>) -> Ended {
        let peer = self.sa.channel().path().peer;
        self.peer_is_gone(Cause::NoAnswer, format!("the peer {peer} does not answer any more"), cx)
    }

    /// The peer has proven that it does not know this IKE SA any more (RFC 6290 4.5): nothing of it is left to be closed
    /// there.
    pub(in crate::ike) fn peer_restarted(self, cx: &mut Context<'_>) -> Ended {
        let peer = self.sa.channel().path().peer;
        self.peer_is_gone(Cause::Restarted, format!("the peer {peer} has restarted"), cx)
    }

    fn peer_is_gone(mut self, cause: Cause, error: String, cx: &mut Context<'_>) -> Ended {
        self.settle_for_rival(cx);
        self.remove_children(Removal::IkeSaLost, cx);
        match self.sa.phase().clone() {
            Phase::Closing(cause) => self.ending(cause, None),
            Phase::Active | Phase::Passive(_) => self.ending(cause, error),
        }
    }

    pub(in crate::ike) fn deadline(&self) -> Option<Deadline> {
        let retransmit = self.sa.channel().deadline().map(|at| Deadline { at, why: Why::Retransmit });
        let next = match self.sa.phase() {
            Phase::Passive(until) => Some(Deadline { at: *until, why: Why::ExpireIke }),
            Phase::Closing(_) => None,
            Phase::Active => {
                let liveness = self.liveness_at().map(|at| Deadline { at, why: Why::Liveness });
                let deadlines = self.sa.deadlines().chain(self.agenda.deadlines()).chain(self.children.deadlines());
                deadlines.chain(liveness).min_by_key(|deadline| deadline.at)
            }
        };
        retransmit.into_iter().chain(next).min_by_key(|deadline| deadline.at)
    }
}
