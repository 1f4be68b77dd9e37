//! The writes that are under way, and how things stand because of them.

use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;

use super::part::{Kind, Part, Phase, take_back};
use super::settings::Settings;
use crate::cen::change::Change;
use crate::cen::network::UnixMillis;
use crate::cen::state::State;

/// Calls that are under way at a time. Of more than these the oldest are taken for settled.
pub(super) const CALLS: usize = 4096;

/// How much later than others a call may be handled that came before them, in milliseconds. One that seems to come later than
/// that, and than the delay, was begun before the clock was set back.
pub(super) const LATE: u64 = 10_000;

/// How things stand at one time, as calls that come then see them.
#[derive(Clone, Debug, Default)]
pub struct View {
    /// How real the cloud is to be.
    pub settings: Settings,
    /// [`Calls::version`] when it was taken.
    pub(super) version: u64,
    phases: BTreeMap<Kind, BTreeMap<String, Phase>>,
    /// What takes back what is not shown yet, the newest call first.
    taken_back: Vec<Arc<[Change]>>,
}

impl View {
    /// How things stand because of these calls, in the order in which they began.
    pub(super) fn of(settings: Settings, version: u64, calls: &[Arc<Call>]) -> Self {
        let mut view = Self { settings, version, ..Self::default() };
        calls.iter().for_each(|call| view.add(call));
        view.taken_back.reverse();
        view
    }

    /// The status of something: `settled`, or what the cloud shows while it is under way.
    pub fn status<'a>(&self, kind: Kind, id: &str, settled: &'a str) -> &'a str {
        let phase = self.phases.get(&kind).and_then(|of_kind| of_kind.get(id));
        phase.and_then(|phase| kind.status(*phase)).unwrap_or(settled)
    }

    /// The state as it is shown: with what is being deleted, and without what is being published.
    pub fn shown(&self, state: &Arc<State>) -> Arc<State> {
        if self.taken_back.is_empty() {
            return Arc::clone(state);
        }
        let mut shown = State::clone(state);
        self.taken_back.iter().flat_map(|changes| changes.iter()).for_each(|change| take_back(change, &mut shown));
        Arc::new(shown)
    }

    pub(super) fn is_under_way(&self, (kind, id): &Part) -> bool {
        self.phases.get(kind).is_some_and(|of_kind| of_kind.contains_key(id))
    }

    fn add(&mut self, call: &Call) {
        for ((kind, id), phase) in &call.parts {
            let of_kind = self.phases.entry(*kind).or_default();
            let former = of_kind.get(id).copied();
            // What is being created stays so, whatever else is done with it meanwhile.
            if *phase != Phase::Modifying || former.is_none() {
                of_kind.insert(id.clone(), *phase);
            }
        }
        if !call.taken_back.is_empty() {
            self.taken_back.push(Arc::clone(&call.taken_back));
        }
    }
}

/// A write that is under way.
#[derive(Debug)]
pub(super) struct Call {
    number: u64,
    since: UnixMillis,
    until: UnixMillis,
    parts: Vec<(Part, Phase)>,
    taken_back: Arc<[Change]>,
}

impl Call {
    /// Calls are handled side by side: one that came after this one may have begun before it, and counts all the same.
    fn is_under_way(&self, now: UnixMillis) -> bool {
        let delay = self.until.0.saturating_sub(self.since.0);
        now < self.until && self.since.0.saturating_sub(now.0) <= delay.max(LATE)
    }
}

/// All of them, in the order in which they began.
#[derive(Debug, Default)]
pub(super) struct Calls {
    calls: VecDeque<Arc<Call>>,
    /// Another one whenever one has begun or was forgotten before it was settled.
    version: u64,
}

impl Calls {
    /// Those that are under way, and the version of that.
    pub fn under_way(&self, now: UnixMillis) -> (u64, Vec<Arc<Call>>) {
        (self.version, self.calls.iter().filter(|call| call.is_under_way(now)).cloned().collect())
    }

    /// Begins one that was looked at in a view of the newest version, and says its number. `None`: in an older one.
    pub fn begin(
        &mut self,
        view: &View,
        parts: Vec<(Part, Phase)>,
        taken_back: Arc<[Change]>,
        now: UnixMillis,
    ) -> Option<u64> {
        if view.version != self.version {
            return None;
        }
        self.calls.retain(|call| call.is_under_way(now));
        if self.calls.len() >= CALLS {
            self.calls.pop_front();
        }
        let (number, until) = (self.version, UnixMillis(now.0.saturating_add(view.settings.delay)));
        self.calls.push_back(Arc::new(Call { number, since: now, until, parts, taken_back }));
        self.changed();
        Some(number)
    }

    pub fn abandon(&mut self, number: u64) {
        self.calls.retain(|call| call.number != number);
        self.changed();
    }

    /// Other settings hold from now on: with them, what stands in a view is looked at again.
    pub fn set(&mut self, settings: Settings) {
        if settings.delay == 0 {
            self.calls.clear();
        }
        self.changed();
    }

    fn changed(&mut self) {
        self.version = self.version.wrapping_add(1);
    }
}
