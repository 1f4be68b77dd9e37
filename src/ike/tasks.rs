//! What an established IKE SA is to do next, and what is tried again when: the queue, the retries and their back-off.

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::{Duration, Instant};

use super::context::Context;
use super::coverage::Flows;
use super::event::{Deadline, Removal, Why};
use super::exchange::task::Task;
use super::failure::{Asked, Failure};
use super::refused::{REFUSED_FOR, Refused};
use super::sa::Sa;
use super::wanted::WantedChild;

/// First and longest wait after a Child SA was refused, before jitter.
const FAILURE_WAIT: Duration = Duration::from_secs(5);
const LONGEST_FAILURE_WAIT: Duration = Duration::from_secs(300);

/// First and longest wait after TEMPORARY_FAILURE, before jitter (RFC 7296 2.25),
const TEMPORARY_WAIT: Duration = Duration::from_secs(3);
const LONGEST_TEMPORARY_WAIT: Duration = Duration::from_secs(30);
/// after how many in a row a person is told,
const TEMPORARY_TOLD: u32 = 3;
/// and after how long another IKE SA is negotiated.
const TEMPORARY_FOR_LONG: Duration = Duration::from_secs(180);

/// How long the responder leaves it to the initiator to ask for the children.
const RESPONDER_WAIT: Duration = Duration::from_secs(4);

/// The exchanges of ours that are to come, and how often they failed.
#[derive(Default)]
pub(super) struct Tasks {
    queue: VecDeque<Task>,
    retries: Vec<(Instant, Task)>,
    /// What packets do not ask for again at once.
    pub(super) refused: Refused,
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
    /// When it did so first, or another IKE SA was negotiated for that, and when last.
    not_ready: Option<(Instant, Instant)>,
}

impl Tasks {
    /// Nothing but this.
    pub(super) fn only(task: Task) -> Self {
        Self { queue: VecDeque::from([task]), ..Self::default() }
    }

    // The queue.

    /// Appends a task, once. What there is is rekeyed before anything new is asked for: a rekey that is late is a pair lost.
    pub(super) fn queue(&mut self, task: Task) {
        if self.queue.contains(&task) {
            return;
        }
        let is_new = |task: &Task| task.wanted().is_some();
        let first_new = self.queue.iter().position(is_new).filter(|_| task.is_rekey());
        self.queue.insert(first_new.unwrap_or(self.queue.len()), task);
    }

    pub(super) fn queue_first(&mut self, task: Task) {
        self.queue.push_front(task);
    }

    pub(super) fn next(&mut self) -> Option<Task> {
        self.queue.pop_front()
    }

    /// The IKE SA ends: nothing receives any more on the SPIs of pairs that were to be deleted, also of those that were
    /// never installed.
    pub(super) fn abandon(&self, cx: &mut Context<'_>) {
        for task in &self.queue {
            if let Task::DeleteChild { inbound_spi, .. } = task {
                cx.inbound_spis.release(*inbound_spi);
            }
        }
    }

    #[cfg(test)]
    pub(super) fn queued(&self) -> &VecDeque<Task> {
        &self.queue
    }

    /// Whether an attempt for a child is to come, or to be made again, that is like this.
    pub(super) fn any_wanted(&self, like: impl Fn(&WantedChild) -> bool) -> bool {
        let retries = self.retries.iter().map(|(_, task)| task);
        self.queue.iter().chain(retries).filter_map(Task::wanted).any(like)
    }

    /// Takes over what the tasks of a replaced IKE SA were about the children.
    pub(super) fn inherit(&mut self, old: &mut Self) {
        self.queue.extend(old.queue.drain(..).filter(Task::is_inherited));
        self.retries.append(&mut old.retries);
        self.refused.inherit(&mut old.refused);
        (self.keep_children, self.look_at) = (old.keep_children, old.look_at);
        let Failures { temporary, not_ready, .. } = self.failures;
        self.failures = Failures { temporary, not_ready, ..old.failures };
    }

    // Retries.

    pub(super) fn retry(&mut self, task: Task, at: Instant) {
        self.retries.push((at, task));
    }

    /// Asks for a child again at `at`. A part that only a packet wanted is left to the next packet from then on.
    pub(super) fn retry_child(&mut self, wanted: WantedChild, at: Instant) {
        match wanted.packet_alone() {
            Some(packet) => self.refused.note(wanted.child, packet, at),
            None => self.retry(Task::CreateChild(WantedChild { packet: None, ..wanted }), at),
        }
    }

    /// Queues what is to be tried again by now.
    pub(super) fn queue_retries(&mut self, now: Instant) {
        let (due, later): (Vec<_>, Vec<_>) =
            std::mem::take(&mut self.retries).into_iter().partition(|(at, _)| *at <= now);
        self.retries = later;
        due.into_iter().for_each(|(_, task)| self.queue(task));
    }

    /// How many attempts for a child wait to be made again.
    pub(super) fn retries_of(&self, child: &Arc<str>) -> usize {
        let wanted = self.retries.iter().filter_map(|(_, task)| task.wanted());
        wanted.filter(|wanted| wanted.child == *child).count()
    }

    /// When something is to be tried again or looked at.
    pub(super) fn deadlines(&self) -> impl Iterator<Item = Deadline> {
        let retries = self.retries.iter().map(|(at, _)| *at);
        retries.chain(self.look_at).map(|at| Deadline { at, why: Why::Retry })
    }

    // Keeping the children up.

    pub(super) fn keeps_children(&self) -> bool {
        self.keep_children
    }

    /// From now on every configured child is kept up, or not any more. Who did not initiate the IKE SA leaves it to the
    /// peer for a while.
    pub(super) fn keep_children(&mut self, keep: bool, initiator: bool, now: Instant) {
        let wait = if initiator { Duration::ZERO } else { RESPONDER_WAIT };
        self.keep_children = keep;
        self.look_at = keep.then_some(now + wait);
    }

    /// Looks at `at` whether every child is there, if they are to be kept up.
    pub(super) fn look_at(&mut self, at: Instant) {
        if self.keep_children {
            self.look_at = Some(at);
        }
    }

    /// A pair was set up at the peer's request: more of them may come, and what is left out then is asked for.
    pub(super) fn leave_the_rest_to_peer(&mut self, now: Instant) {
        self.look_at(now + RESPONDER_WAIT);
    }

    /// A pair is gone that nobody here wanted gone. It may have been one of several parts.
    pub(super) fn child_lost(&mut self, cx: &mut Context<'_>) {
        let wait = cx.jitter(Duration::from_secs(1), 80, 160);
        self.look_at(cx.now + wait);
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

    /// A pair of this child was set up: what waits for the whole of it need not. The peer may have left something out of
    /// one that replaces none.
    pub(super) fn child_set_up(&mut self, child: &Arc<str>, replaces: bool, now: Instant) {
        let whole = |task: &Task| task.wanted().is_some_and(|wanted| wanted.child == *child && wanted.part.is_none());
        self.retries.retain(|(_, task)| !whole(task));
        self.failures = Failures { install: self.failures.install, ..Failures::default() };
        if !replaces {
            self.look_at(now);
        }
    }

    /// The data path uses what was negotiated, or does not.
    pub(super) fn was_installed(&mut self, installed: bool) {
        self.failures.install = if installed { 0 } else { self.failures.install + 1 };
    }

    /// A child that we asked for could not be set up; it is tried again, and packets don't ask sooner. A part that only a
    /// packet wanted is left to the next one. An inbound SPI is given when the peer believes in an SA that is of no use.
    pub(super) fn child_failed(&mut self, wanted: WantedChild, unusable: Option<u32>, cx: &mut Context<'_>) {
        if let Some(inbound_spi) = unusable {
            self.queue_first(Task::DeleteChild { inbound_spi, reason: Removal::Redundant });
        }
        let wait = if wanted.packet_alone().is_some() { REFUSED_FOR } else { self.failure_wait(cx) };
        self.retry_child(wanted, cx.now + wait);
        // The peer may take another part.
        self.look_at(cx.now);
    }

    /// The peer wants one pair of hosts for each Child SA (SINGLE_PAIR_REQUIRED, RFC 7296 2.9): the packet that asks
    /// gets its own. False without a packet, or if that has been asked for.
    pub(super) fn ask_for_one_pair(&mut self, wanted: &WantedChild) -> bool {
        let asked = |part: Flows| part.is_one_pair_of_hosts();
        let Some(packet) = wanted.packet.filter(|_| !wanted.part.is_some_and(asked)) else { return false };
        let (child, part) = (wanted.child.clone(), Some(packet.of_whole_hosts()));
        self.queue_first(Task::CreateChild(WantedChild { child, packet: Some(packet), part }));
        true
    }

    /// How long to wait after a Child SA was refused.
    pub(super) fn failure_wait(&mut self, cx: &mut Context<'_>) -> Duration {
        let failures = self.failures.child.max(self.failures.install.saturating_sub(1));
        let wait = FAILURE_WAIT.saturating_mul(1 << failures.min(10)).min(LONGEST_FAILURE_WAIT);
        self.failures.child += 1;
        cx.jitter(wait, 80, 120)
    }

    /// How long to wait after the peer answered TEMPORARY_FAILURE. A person is told of one that does so again and again. After
    /// minutes the ends disagree for good, and another IKE SA is to take over.
    pub(super) fn temporary_wait(&mut self, asked: Asked, sa: &Sa, cx: &mut Context<'_>) -> Duration {
        let wait = TEMPORARY_WAIT.saturating_mul(1 << self.failures.temporary.min(10)).min(LONGEST_TEMPORARY_WAIT);
        self.failures.temporary += 1;
        if self.failures.temporary == TEMPORARY_TOLD {
            sa.tell(Failure::NeverReady(asked), cx);
        }
        let in_a_row = self.failures.not_ready.filter(|(_, last)| cx.now < *last + TEMPORARY_FOR_LONG);
        let since = in_a_row.map_or(cx.now, |(since, _)| since);
        let for_long = cx.now >= since + TEMPORARY_FOR_LONG;
        cx.outbox.renegotiate |= for_long;
        self.failures.not_ready = Some((if for_long { cx.now } else { since }, cx.now));
        cx.jitter(wait, 70, 130)
    }
}
