//! The exchange that asks a peer for a sign of life, and what leads to it: see [`crate::ike::liveness`].

use std::time::Duration;

use super::{Exchange, Task};
use crate::ike::context::Context;
use crate::ike::state::established::Established;
use crate::wire::ike::ExchangeType;

/// How long a peer that is said not to know the IKE SA has time to give a sign of life.
const DOUBT: Duration = Duration::from_secs(2);

/// How long a peer that takes packets without an answer has time to give a sign of life.
const SILENCE: Duration = Duration::from_secs(3);

impl Established {
    /// Asks for an empty answer. Its retransmissions decide on the peer's life; what is heard from the peer meanwhile
    /// lets them start over.
    pub(in crate::ike) fn start_liveness(&mut self, cx: &mut Context<'_>) {
        if self.sa().is_active() {
            self.send(ExchangeType::INFORMATIONAL, &[], Exchange::Liveness, cx);
        }
    }

    /// Asks for a sign of life now, if there is nothing else under way: any answer is one.
    pub(in crate::ike) fn ask_for_life(&mut self, cx: &mut Context<'_>) {
        self.agenda_mut().queue(Task::Liveness);
        self.advance(cx);
    }

    /// The peer is silent though it is sent packets: asks for a sign of life at once.
    pub(in crate::ike) fn suspect(&mut self, cx: &mut Context<'_>) {
        if self.liveness_at().is_some() {
            self.agenda_mut().queue(Task::Liveness);
            self.advance(cx);
            self.sa_mut().liveness_mut().doubt_from(cx.now + SILENCE);
        } else if self.checks_liveness() && matches!(self.agenda().exchange(), Some(Exchange::PathProbe { .. })) {
            // A probe under way asks for a sign of life as well.
            self.sa_mut().liveness_mut().doubt_from(cx.now + SILENCE);
        }
    }

    /// Somebody says that the peer does not know this IKE SA.
    pub(in crate::ike) fn hinted(&mut self, cx: &mut Context<'_>) {
        // That a peer does not know yet what it will learn from our answer is no sign of a restart.
        if self.sa().is_unconfirmed() || !self.sa().is_active() {
            return;
        }
        if self.agenda().exchange().is_none() && self.sa_mut().liveness_mut().allows_probe(cx.now) {
            self.agenda_mut().queue(Task::Liveness);
            self.advance(cx);
        }
        if self.agenda().exchange().is_some() {
            self.sa_mut().liveness_mut().doubt_from(cx.now + DOUBT);
        }
    }
}
