//! What an established IKE SA does about Child SAs that the data path cannot use: it could not install them, or they have
//! used up what they may carry.

use super::Established;
use crate::ike::child::Stage;
use crate::ike::children::Removed;
use crate::ike::config::Start;
use crate::ike::context::Context;
use crate::ike::event::{Removal, SaLimit};
use crate::ike::exchange::Task;
use crate::ike::wanted::WantedChild;

impl Established {
    /// An SA of this pair has come to a limit.
    pub(in crate::ike) fn limit_reached(&mut self, inbound_spi: u32, limit: SaLimit, cx: &mut Context<'_>) {
        let Some(pair) = self.children_mut().current_mut(inbound_spi) else { return };
        // A rekey that is under way already is the one that is needed.
        let rekeys = std::mem::replace(&mut pair.stage, Stage::Rekeying) == Stage::Rekeying;
        if limit == SaLimit::Hard && !std::mem::replace(&mut pair.exhausted, true) {
            let child = pair.child.clone();
            self.sa.tell(
                format!(
                    "Child SA {child} has used up its sequence numbers or another hard limit (inbound SPI \
                     {inbound_spi:08x}): its packets are dropped until it is replaced"
                ),
                cx,
            );
        }
        if !rekeys {
            match limit {
                SaLimit::Soft => self.agenda.queue(Task::RekeyChild(inbound_spi)),
                SaLimit::Hard => self.agenda.queue_first(Task::RekeyChild(inbound_spi)),
            }
            self.advance(cx);
        }
    }

    /// The peer does not rekey a pair that has used up its hard limit: it carries nothing, so nothing is lost with it. A
    /// new one takes its place.
    pub(in crate::ike) fn replace_exhausted(&mut self, inbound_spi: u32, cx: &mut Context<'_>) {
        let Some(removed) = self.children_mut().remove(inbound_spi, Removal::Exhausted, cx) else { return };
        if !removed.is_guest {
            self.agenda.queue_first(Task::CreateChild(WantedChild::new(removed.child)));
        }
        self.agenda.queue_first(Task::DeleteChild { inbound_spi, reason: Removal::Exhausted });
        // It may have been one of several parts.
        self.child_lost(cx);
    }

    /// The data path has not installed a pair: the peer is told, and it is tried again later.
    pub(in crate::ike) fn install_failed(&mut self, inbound_spi: u32, reason: &str, cx: &mut Context<'_>) {
        let Some(removed) = self.children_mut().remove(inbound_spi, Removal::NotInstalled, cx) else { return };
        let current = removed.was_current();
        let Removed { child, stage, is_guest } = removed;
        self.sa.tell(format!("Child SA {child} was not set up: {reason}"), cx);
        if !matches!(stage, Stage::Deleting | Stage::Retired(_)) {
            self.agenda.queue_first(Task::DeleteChild { inbound_spi, reason: Removal::NotInstalled });
        }
        if current && !is_guest && !self.children().serves(&child) {
            self.agenda.was_not_installed();
            // Who waits for the peer leaves it to the peer to try again.
            if self.agenda.keeps_children() || self.sa.connection().start == Start::OnTraffic {
                let at = cx.now + self.agenda.failure_wait(cx);
                self.agenda.retry(Task::CreateChild(WantedChild::new(child)), at);
            }
        } else if current {
            self.child_lost(cx);
        }
        self.advance(cx);
    }
}
