//! An IKE SA that came of a rekey of another one, as its parts: the endpoint makes an established IKE SA of them.

use super::children::Children;
use super::context::Context;
use super::exchange::task::Task;
use super::sa::{Phase, Sa};
use super::tasks::Tasks;

/// The parts of an IKE SA that came of a rekey.
pub(super) struct Successor {
    pub(super) sa: Sa,
    pub(super) children: Children,
    pub(super) tasks: Tasks,
}

impl Successor {
    /// One that takes the Child SAs of the IKE SA that it replaces, and what was to be done about them.
    pub(super) fn heir(sa: Sa, children: &mut Children, tasks: &mut Tasks, cx: &mut Context<'_>) -> Self {
        let mut heir =
            Self { children: Children::new(sa.association().clone(), Vec::new()), sa, tasks: Tasks::default() };
        heir.children.inherit(children, heir.sa.channel().local_spi(), cx);
        heir.tasks.inherit(tasks);
        heir
    }

    /// One that nobody needs: its phase says which end deletes it.
    pub(super) fn superfluous(sa: Sa) -> Self {
        let tasks = match sa.phase() {
            Phase::Closing(_) => Tasks::only(Task::DeleteIke),
            Phase::Active | Phase::Passive(_) => Tasks::default(),
        };
        Self { children: Children::new(sa.association().clone(), Vec::new()), sa, tasks }
    }
}
