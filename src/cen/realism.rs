//! How the real cloud keeps its callers waiting: statuses that settle after a while, calls that are refused because something is
//! busy, and calls that come too often. All of it is off unless somebody switches it on, to see whether a client waits and tries
//! again as it should.
//!
//! What a write changes is stored and takes effect at once, in kernels and gateways too. What is shown of it settles later: until
//! the delay has passed, what is created or changed shows the status that the cloud shows meanwhile, and what is deleted,
//! published or withdrawn is shown as it was. Nothing of this is stored: after a restart everything is settled.
//!
//! Nothing here waits. What is under way is compared with the time that the caller hands in.

mod busy;
mod part;

use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;

pub use busy::*;
pub use part::{Kind, Phase};

use part::{Part, Touched, taken_back};

use super::apply::apply;
use super::change::Change;
use super::command::{Command, Submission};
use super::error::ApiError;
use super::network::UnixMillis;
use super::plan::plan;
use super::state::State;
use crate::crypto::digest::hmac_sha256;

/// The longest delay, in milliseconds: ten minutes, about as long as the cloud takes for a VPN gateway.
pub const MAX_DELAY: u64 = 10 * 60 * 1000;

/// Calls that are under way at a time. Of more than these the oldest are taken for settled.
const CALLS: usize = 4096;

/// A call is refused as busy so many times in a row at most: whoever tries again gets through.
const REFUSALS: u8 = 3;

/// Calls of which it is remembered how often they were refused. More than these begin anew.
const REFUSED_CALLS: usize = 4096;

/// The time in which calls are counted, in milliseconds.
const WINDOW: u64 = 1000;

/// How real the cloud is to be.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Settings {
    /// How long something is under way, in milliseconds, up to [`MAX_DELAY`]; 0: everything is settled at once.
    pub delay: u64,
    /// How many of the writes are refused as busy, 0 to 1; 0: none.
    pub busy: f64,
    /// What decides which ones: with the same seed the same calls of each action, counted from when it was set.
    pub seed: u64,
    /// Calls in a second, of one action and access key; 0: any number.
    pub calls_per_second: u32,
}

/// How things stand at one time, as calls that come then see them.
#[derive(Clone, Debug, Default)]
pub struct View {
    /// How real the cloud is to be.
    pub settings: Settings,
    phases: BTreeMap<Kind, BTreeMap<String, Phase>>,
    /// What takes back what is not shown yet, the newest call first.
    taken_back: Vec<Arc<[Change]>>,
}

impl View {
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
        self.taken_back.iter().flat_map(|changes| changes.iter()).for_each(|change| apply(&mut shown, change));
        Arc::new(shown)
    }

    fn is_under_way(&self, (kind, id): &Part) -> bool {
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
struct Call {
    number: u64,
    since: UnixMillis,
    until: UnixMillis,
    parts: Vec<(Part, Phase)>,
    taken_back: Arc<[Change]>,
}

impl Call {
    /// Not before it began either: then the clock was set back.
    fn is_under_way(&self, now: UnixMillis) -> bool {
        (self.since..self.until).contains(&now)
    }
}

/// Names a write that was begun.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Begun(u64);

/// The settings and what follows from them for the calls that come.
#[derive(Debug, Default)]
pub struct Realism {
    settings: Settings,
    next: u64,
    /// In the order in which they began.
    calls: VecDeque<Call>,
    /// Writes that have come since the settings were made, by action.
    writes: BTreeMap<&'static str, u64>,
    /// How often a call was refused since it was last let through, by its fingerprint.
    refused: BTreeMap<String, u8>,
    /// Calls in the second that began then, by access key and action.
    counted: BTreeMap<(String, &'static str), (UnixMillis, u32)>,
}

impl Realism {
    /// How real the cloud is.
    pub fn settings(&self) -> Settings {
        self.settings
    }

    /// Makes it as real as that. Everything is counted anew; what is under way stays so, unless nothing is to be any more.
    pub fn set(&mut self, settings: Settings) {
        let (next, mut calls) = (self.next, std::mem::take(&mut self.calls));
        if settings.delay == 0 {
            calls.clear();
        }
        *self = Self { settings, next, calls, ..Self::default() };
    }

    /// How things stand.
    pub fn view(&self, now: UnixMillis) -> View {
        let mut view = View { settings: self.settings, ..View::default() };
        self.calls.iter().filter(|call| call.is_under_way(now)).for_each(|call| view.add(call));
        view.taken_back.reverse();
        view
    }

    /// Whether calls that come too often are refused.
    pub fn counts(&self) -> bool {
        self.settings.calls_per_second > 0
    }

    /// Counts a call of an action by the holder of an access key.
    ///
    /// # Errors
    /// `Throttling.User`, with the time after which it may come again.
    pub fn admit(&mut self, access_key: &str, action: &'static str, now: UnixMillis) -> Result<(), ApiError> {
        if !self.counts() {
            return Ok(());
        }
        let (began, calls) = self.counted.entry((access_key.to_owned(), action)).or_insert((now, 0));
        if !(began.0..began.0.saturating_add(WINDOW)).contains(&now.0) {
            (*began, *calls) = (now, 0);
        }
        if *calls < self.settings.calls_per_second {
            *calls += 1;
            return Ok(());
        }
        Err(ApiError::throttled(began.0.saturating_add(WINDOW).saturating_sub(now.0)))
    }

    /// Whether any write is refused by chance.
    pub fn refuses(&self) -> bool {
        self.settings.busy > 0.0
    }

    /// Lets a write through, or refuses it by one of its action's codes. `fingerprint` is the same for the same call, whatever
    /// its `ClientToken`.
    ///
    /// # Errors
    /// One of `codes`.
    pub fn chance(&mut self, action: &'static str, codes: &[Busy], fingerprint: &str) -> Result<(), ApiError> {
        if !self.refuses() || codes.is_empty() {
            return Ok(());
        }
        let written = self.writes.entry(action).or_default();
        *written += 1;
        let drawn = hmac_sha256(&self.settings.seed.to_be_bytes(), &[action.as_bytes(), &written.to_be_bytes()]);
        let half =
            |range: std::ops::Range<usize>| drawn[range].iter().fold(0_u32, |all, byte| all << 8 | u32::from(*byte));
        let refused = self.refused.get(fingerprint).copied().unwrap_or(0);
        if f64::from(half(0..4)) / 2_f64.powi(32) >= self.settings.busy || refused >= REFUSALS {
            self.refused.remove(fingerprint);
            return Ok(());
        }
        if self.refused.len() >= REFUSED_CALLS {
            self.refused.clear();
        }
        self.refused.insert(fingerprint.to_owned(), refused + 1);
        let code = codes.iter().cycle().nth(usize::try_from(half(4..8)).unwrap_or(0) % codes.len());
        code.map_or(Ok(()), |code| Err(code.refusal()))
    }

    /// Begins a write, unless something that it changes or needs is not settled. `None`: nothing is under way because of it.
    ///
    /// # Errors
    /// The one of `codes` that says what is not settled; the cloud's refusal in the state as it is shown. An action without
    /// codes is not kept waiting.
    pub fn begin(
        &mut self,
        codes: &[Busy],
        state: &Arc<State>,
        submission: &Submission,
    ) -> Result<Option<Begun>, ApiError> {
        if self.settings.delay == 0 || is_at_once(&submission.command) {
            return Ok(None);
        }
        let now = submission.now;
        let view = self.view(now);
        let shown = view.shown(state);
        let as_shown = plan(&shown, submission);
        let as_it_is = if Arc::ptr_eq(&shown, state) { as_shown.clone() } else { plan(state, submission) };
        let touched = |changes: &Result<Vec<Change>, ApiError>, state| {
            changes.as_ref().map(|changes| Touched::by(changes, state)).unwrap_or_default()
        };
        let (under_way, also) = (touched(&as_it_is, state), touched(&as_shown, &shown));
        let unsettled = under_way.parts().chain(also.parts()).filter(|part| view.is_under_way(part));
        let unsettled: Vec<Kind> = unsettled.map(|(kind, _)| *kind).collect();
        if let Some(code) = Busy::about(codes, &unsettled) {
            return Err(code.refusal());
        }
        as_shown?;
        let taken_back = taken_back(&as_it_is?, state).into();
        Ok(self.add(under_way.under_way, taken_back, now))
    }

    fn add(&mut self, parts: Vec<(Part, Phase)>, taken_back: Arc<[Change]>, now: UnixMillis) -> Option<Begun> {
        if parts.is_empty() {
            return None;
        }
        self.calls.retain(|call| call.is_under_way(now));
        if self.calls.len() >= CALLS {
            self.calls.pop_front();
        }
        let number = self.next;
        self.next = self.next.wrapping_add(1);
        let until = UnixMillis(now.0.saturating_add(self.settings.delay));
        self.calls.push_back(Call { number, since: now, until, parts, taken_back });
        Some(Begun(number))
    }

    /// Forgets a write that has failed after all.
    pub fn abandon(&mut self, begun: Begun) {
        self.calls.retain(|call| call.number != begun.0);
    }
}

/// Tags and resource groups are no part of what a status is about.
fn is_at_once(command: &Command) -> bool {
    matches!(command, Command::TagResources(_) | Command::UntagResources(_) | Command::MoveToResourceGroup(_))
}

#[cfg(test)]
mod tests;
