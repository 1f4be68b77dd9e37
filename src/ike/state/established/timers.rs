//! What an established IKE SA does as time passes.

use std::time::Instant;

use super::{Established, Phase};
use crate::ike::context::Context;
use crate::ike::event::{Deadline, Removal, Why};
use crate::ike::exchange::Task;
use crate::ike::ext::natd;
use crate::ike::state::{Cause, Ended};

impl Established {
    pub(in crate::ike) fn handle_timeout(mut self, cx: &mut Context<'_>) -> Result<Self, Ended> {
        if !self.channel.retransmit(cx) {
            return Err(self.peer_is_dead(cx));
        }
        match &self.phase {
            Phase::Passive(until) if *until <= cx.now => return Err(self.ending(Cause::Closed, None)),
            Phase::Passive(_) | Phase::Closing(_) => {
                self.advance(cx);
                return Ok(self);
            }
            Phase::Active => {}
        }
        if self.expires_at <= cx.now {
            self.close(Cause::Expired, Removal::Expired, cx);
            return Ok(self);
        }
        if self.rekey_at <= cx.now {
            self.rekey_at = self.expires_at;
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
        if self.doubt.is_due(cx.now) {
            cx.outbox.renegotiate = true;
        }
        if self.keepalive_at.is_some_and(|at| at <= cx.now) {
            self.keepalive_at = Some(cx.now + self.connection.nat_keepalive);
            natd::keep_alive(self.channel.path(), cx);
        }
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
        let interval = self.connection.liveness_interval?;
        (self.agenda.is_free() && self.is_active()).then(|| self.heard + interval)
    }

    /// Whether a silent peer is asked for a sign of life at all.
    pub(in crate::ike) fn checks_liveness(&self) -> bool {
        self.connection.liveness_interval.is_some() && self.is_active()
    }

    fn peer_is_dead(mut self, cx: &mut Context<'_>) -> Ended {
        self.settle_for_rival(cx);
        self.remove_children(Removal::IkeSaLost, cx);
        match self.phase.clone() {
            Phase::Closing(cause) => self.ending(cause, None),
            Phase::Active | Phase::Passive(_) => {
                let peer = self.channel.path().peer;
                self.ending(Cause::NoAnswer, format!("the peer {peer} does not answer any more"))
            }
        }
    }

    pub(in crate::ike) fn deadline(&self) -> Option<Deadline> {
        let at = |at: Instant, why: Why| Some(Deadline { at, why });
        let mut deadlines = vec![self.channel.deadline().and_then(|due| at(due, Why::Retransmit))];
        match self.phase {
            Phase::Passive(until) => deadlines.push(at(until, Why::ExpireIke)),
            Phase::Closing(_) => {}
            Phase::Active => {
                deadlines.push(at(self.rekey_at, Why::RekeyIke));
                deadlines.push(at(self.expires_at, Why::ExpireIke));
                deadlines.push(self.liveness_at().and_then(|due| at(due, Why::Liveness)));
                deadlines.push(self.doubt.deadline().and_then(|due| at(due, Why::Liveness)));
                deadlines.push(self.keepalive_at.and_then(|due| at(due, Why::NatKeepalive)));
                deadlines.extend(self.agenda.deadlines().map(Some));
                deadlines.extend(self.children.deadlines().map(Some));
            }
        }
        deadlines.into_iter().flatten().min_by_key(|deadline| deadline.at)
    }
}
