//! What an established IKE SA does as time passes.

use super::{Established, liveness};
use crate::ike::context::Context;
use crate::ike::ended::Ended;
use crate::ike::event::{Deadline, Removal, Why};
use crate::ike::exchange::delete;
use crate::ike::exchange::task::Task;
use crate::ike::failure::Failure;
use crate::ike::sa::{Cause, Phase};
use crate::ike::upkeep;

impl Established {
    pub(in crate::ike) fn handle_timeout(mut self, cx: &mut Context<'_>) -> Result<Self, Ended> {
        if !self.sa.channel_mut().retransmit(cx) {
            let failure = Failure::Silent(self.sa.channel().path().peer);
            return Err(self.peer_is_gone(Cause::NoAnswer, failure, cx));
        }
        match self.sa.phase() {
            Phase::Passive(until) if *until <= cx.now => {
                // The peer was to delete it. It may be waiting for the same (RFC 7296 2.4).
                if self.sa.channel().is_free() {
                    self.sa.channel_mut().delete_once(cx);
                }
                return Err(Ended { channel: None, ..self.end(Cause::Closed, None, Removal::Closed, cx) });
            }
            Phase::Passive(_) | Phase::Closing(_) => {
                self.advance(cx);
                return Ok(self);
            }
            Phase::Active => {}
        }
        if self.sa.lifetime_mut().is_over(cx.now) || delete::ends_ike_sa(&self.sa, &self.children, cx.now) {
            self.close(Cause::Expired, Removal::Expired, cx);
            return Ok(self);
        }
        self.act(cx, |sa, children, agenda, cx| {
            if sa.lifetime_mut().takes_rekey(cx.now) {
                agenda.tasks.queue(Task::RekeyIke);
            }
            for spi in children.ended(cx.now) {
                delete::at_its_end(spi, children, &mut agenda.tasks, cx);
            }
            for spi in children.take_rekeys_due(cx.now) {
                agenda.tasks.queue(Task::RekeyChild(spi));
            }
            agenda.tasks.queue_retries(cx.now);
            if agenda.tasks.take_look(cx.now) {
                upkeep::want_all(sa.connection(), children, agenda, cx.now);
            }
            liveness::timeout(sa, children, agenda, cx);
            let (connection, secured) = sa.extensions();
            secured.timeout(connection, cx);
        });
        Ok(self)
    }

    /// The peer is gone, or has lost this IKE SA (RFC 6290 4.5): nothing is closed there.
    pub(in crate::ike) fn peer_is_gone(self, cause: Cause, failure: Failure, cx: &mut Context<'_>) -> Ended {
        let (cause, failure) = match self.sa.phase().clone() {
            Phase::Closing(cause) => (cause, None),
            Phase::Active | Phase::Passive(_) => (cause, Some(failure)),
        };
        Ended { channel: None, ..self.end(cause, failure, Removal::IkeSaLost, cx) }
    }

    pub(in crate::ike) fn deadline(&self) -> Option<Deadline> {
        let retransmit = self.sa.channel().deadline().map(|at| Deadline { at, why: Why::Retransmit });
        let next = match self.sa.phase() {
            Phase::Passive(until) => Some(Deadline { at: *until, why: Why::ExpireIke }),
            Phase::Closing(_) => None,
            Phase::Active => {
                let liveness = liveness::due(&self.sa).map(|at| Deadline { at, why: Why::Liveness });
                let tasks = self.agenda.tasks.deadlines();
                let deadlines = self.sa.deadlines().chain(tasks).chain(self.children.deadlines());
                deadlines.chain(liveness).min_by_key(|deadline| deadline.at)
            }
        };
        retransmit.into_iter().chain(next).min_by_key(|deadline| deadline.at)
    }
}
