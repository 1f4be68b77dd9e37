//! What an established IKE SA is about: the exchange of ours under way, what comes after it, and what is tried again when.

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::{Duration, Instant};

use super::context::Context;
use super::coverage::Flows;
use super::event::{Deadline, Why};
use super::exchange::{Exchange, Task};
use super::wanted::WantedChild;

/// First and longest wait after a Child SA was refused, before jitter.
const FAILURE_WAIT: Duration = Duration::from_secs(5);
const LONGEST_FAILURE_WAIT: Duration = Duration::from_secs(300);

/// First and longest wait after TEMPORARY_FAILURE, before jitter (RFC 7296 2.25),
const TEMPORARY_WAIT: Duration = Duration::from_secs(3);
const LONGEST_TEMPORARY_WAIT: Duration = Duration::from_secs(30);
/// and after how many in a row a person is told.
const TEMPORARY_TOLD: u32 = 3;

/// The exchanges of ours, of which the window allows one at a time, and how often they failed.
#[derive(Default)]
pub(super) struct Agenda {
    exchange: Option<Exchange>,
    tasks: VecDeque<Task>,
    retries: Vec<(Instant, Task)>,
    /// Every configured child is to be kept up.
    keep_children: bool,
    /// When to see whether every child is there.
    look_at: Option<Instant>,
    failures: Failures,
}

/// How often in a row something failed.
#[derive(Default, Clone, Copy)]
struct Failures {
    /// The peer refused a Child SA.
    child: u32,
    /// The data path did not install what was negotiated.
    install: u32,
    /// The peer answered TEMPORARY_FAILURE.
    temporary: u32,
}

impl Agenda {
    // The exchange under way.

    pub(super) fn exchange(&self) -> Option<&Exchange> {
        self.exchange.as_ref()
    }

    pub(super) fn exchange_mut(&mut self) -> Option<&mut Exchange> {
        self.exchange.as_mut()
    }

    pub(super) fn begin(&mut self, exchange: Exchange) {
        self.exchange = Some(exchange);
    }

    pub(super) fn take_exchange(&mut self) -> Option<Exchange> {
        self.exchange.take()
    }

    pub(super) fn is_free(&self) -> bool {
        self.exchange.is_none()
    }

    // What comes after it.

    /// Appends a task, once.
    pub(super) fn queue(&mut self, task: Task) {
        if !self.tasks.contains(&task) {
            self.tasks.push_back(task);
        }
    }

    pub(super) fn queue_first(&mut self, task: Task) {
        self.tasks.push_front(task);
    }

    pub(super) fn retry(&mut self, task: Task, at: Instant) {
        self.retries.push((at, task));
    }

    pub(super) fn next_task(&mut self) -> Option<Task> {
        self.tasks.pop_front()
    }

    #[cfg(test)]
    pub(super) fn tasks(&self) -> &VecDeque<Task> {
        &self.tasks
    }

    /// Queues what is to be tried again by now.
    pub(super) fn queue_retries(&mut self, now: Instant) {
        let (due, later): (Vec<_>, Vec<_>) =
            std::mem::take(&mut self.retries).into_iter().partition(|(at, _)| *at <= now);
        self.retries = later;
        due.into_iter().for_each(|(_, task)| self.queue(task));
    }

    /// Whether what is wanted is being asked for, or is to be: the same part of the child, or the whole.
    pub(super) fn creates(&self, child: &Arc<str>, flows: Option<&Flows>) -> bool {
        let same = |wanted: &WantedChild| {
            let holds = |part: &Flows| flows.is_some_and(|flows| flows.is_held_by((&[part.local], &[part.peer])));
            wanted.child == *child && wanted.part.as_ref().is_none_or(holds)
        };
        let creating = match &self.exchange {
            Some(Exchange::CreateChild(exchange)) => !exchange.is_guests() && same(exchange.wanted()),
            _ => false,
        };
        let retries = self.retries.iter().map(|(_, task)| task);
        creating || self.tasks.iter().chain(retries).filter_map(Task::wanted).any(same)
    }

    /// How many attempts for a child wait to be made again.
    pub(super) fn retries_of(&self, child: &Arc<str>) -> usize {
        let wanted = self.retries.iter().filter_map(|(_, task)| task.wanted());
        wanted.filter(|wanted| wanted.child == *child).count()
    }

    /// Only this is left to do.
    pub(super) fn replace_by(&mut self, task: Task) {
        self.tasks.clear();
        self.retries.clear();
        self.tasks.push_back(task);
    }

    /// Takes over what the agenda of a replaced IKE SA had to do about the children.
    pub(super) fn inherit(&mut self, old: &mut Self) {
        self.tasks.extend(old.tasks.drain(..).filter(|task| !matches!(task, Task::RekeyIke | Task::DeleteIke)));
        self.retries.append(&mut old.retries);
        (self.keep_children, self.look_at) = (old.keep_children, old.look_at);
        self.failures = Failures { temporary: self.failures.temporary, ..old.failures };
    }

    // Keeping the children up.

    pub(super) fn keeps_children(&self) -> bool {
        self.keep_children
    }

    /// From now on every configured child is kept up, or not any more.
    pub(super) fn keep_children(&mut self, keep: bool, look_at: Instant) {
        self.keep_children = keep;
        self.look_at = keep.then_some(look_at);
    }

    /// Looks at `at` whether every child is there, if they are to be kept up.
    pub(super) fn look_at(&mut self, at: Instant) {
        if self.keep_children {
            self.look_at = Some(at);
        }
    }

    /// Whether it is time to look.
    pub(super) fn take_look(&mut self, now: Instant) -> bool {
        let due = self.look_at.is_some_and(|at| at <= now);
        if due {
            self.look_at = None;
        }
        due
    }

    // Failures.

    /// A pair of this child was set up: what waits for the whole of it need not.
    pub(super) fn succeeded(&mut self, child: &Arc<str>) {
        let whole = |task: &Task| task.wanted().is_some_and(|wanted| wanted.child == *child && wanted.part.is_none());
        self.retries.retain(|(_, task)| !whole(task));
        self.failures = Failures { install: self.failures.install, ..Failures::default() };
    }

    /// The data path uses what was negotiated.
    pub(super) fn was_installed(&mut self) {
        self.failures.install = 0;
    }

    /// The data path does not.
    pub(super) fn was_not_installed(&mut self) {
        self.failures.install += 1;
    }

    /// How long to wait after a Child SA was refused.
    pub(super) fn failure_wait(&mut self, cx: &mut Context<'_>) -> Duration {
        let failures = self.failures.child.max(self.failures.install.saturating_sub(1));
        let wait = FAILURE_WAIT.saturating_mul(1 << failures.min(10)).min(LONGEST_FAILURE_WAIT);
        self.failures.child += 1;
        cx.jitter(wait, 80, 120)
    }

    /// How long to wait after TEMPORARY_FAILURE, and whether a person is to be told now.
    pub(super) fn temporary_wait(&mut self, cx: &mut Context<'_>) -> (Duration, bool) {
        let wait = TEMPORARY_WAIT.saturating_mul(1 << self.failures.temporary.min(10)).min(LONGEST_TEMPORARY_WAIT);
        self.failures.temporary += 1;
        (cx.jitter(wait, 70, 130), self.failures.temporary == TEMPORARY_TOLD)
    }

    /// When something is to be tried again or looked at.
    pub(super) fn deadlines(&self) -> impl Iterator<Item = Deadline> {
        let retries = self.retries.iter().map(|(at, _)| *at);
        retries.chain(self.look_at).map(|at| Deadline { at, why: Why::Retry })
    }
}
