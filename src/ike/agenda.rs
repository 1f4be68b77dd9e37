//! What an established IKE SA is about: the exchange of ours under way, and what comes after it.

use std::sync::Arc;

use super::coverage::Flows;
use super::exchange::Exchange;
use super::exchange::rekey::RekeyIke;
use super::tasks::Tasks;
use super::wanted::WantedChild;

/// The exchanges of ours, of which the window allows one at a time.
#[derive(Default)]
pub(super) struct Agenda {
    /// The one under way.
    pub(super) exchange: Option<Exchange>,
    /// What comes after it.
    pub(super) tasks: Tasks,
}

impl Agenda {
    /// With nothing under way.
    pub(super) fn new(tasks: Tasks) -> Self {
        Self { exchange: None, tasks }
    }

    pub(super) fn is_free(&self) -> bool {
        self.exchange.is_none()
    }

    /// Whether what is wanted is being asked for, or is to be: the same part of the child, or the whole.
    pub(super) fn creates(&self, child: &Arc<str>, flows: Option<&Flows>) -> bool {
        let same = |wanted: &WantedChild| {
            let holds = |part: &Flows| flows.is_some_and(|flows| flows.is_held_by((&[part.local], &[part.peer])));
            wanted.child == *child && wanted.part.as_ref().is_none_or(holds)
        };
        self.exchange.as_ref().and_then(Exchange::wanted).is_some_and(same) || self.tasks.any_wanted(same)
    }

    /// Whether anything is being asked for, or is to be.
    pub(super) fn creates_any(&self) -> bool {
        self.exchange.as_ref().and_then(Exchange::wanted).is_some() || self.tasks.any_wanted(|_| true)
    }

    /// The rekey of the IKE SA that we have asked for.
    pub(super) fn rekey(&self) -> Option<&RekeyIke> {
        self.exchange.as_ref().and_then(Exchange::rekeys_ike)
    }
}
