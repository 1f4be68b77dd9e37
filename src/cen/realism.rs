//! How the real cloud keeps its callers waiting: statuses that settle after a while, calls that are refused because something is
//! busy, and calls that come too often. All of it is off unless somebody switches it on, to see whether a client waits and tries
//! again as it should.
//!
//! What a write changes is stored and takes effect at once, in kernels and gateways too. What is shown of it settles later: until
//! the delay has passed, what is created or changed shows the status that the cloud shows meanwhile, and what is deleted,
//! published or withdrawn is shown as it was. Nothing of this is stored: after a restart everything is settled.
//!
//! Nothing here waits. What is under way is compared with the time that the caller hands in. Settings are read without a lock;
//! while nothing is switched on, none is taken.

mod busy;
mod part;
mod settings;
mod under_way;

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use arc_swap::ArcSwap;

pub use busy::*;
pub use part::{Kind, Phase};
pub use settings::{MAX_DELAY, Modification, Settings};
pub use under_way::View;

use part::{Part, Touched, taken_back};
use under_way::Calls;

use super::change::Change;
use super::command::{Command, Submission};
use super::error::ApiError;
use super::network::UnixMillis;
use super::plan::plan;
use super::state::State;
use crate::crypto::digest::hmac_sha256;

/// A call is refused as busy so many times in a row at most: whoever tries again gets through.
const REFUSALS: u8 = 3;

/// Calls of which it is remembered how often they were refused. More than these begin anew.
const REFUSED_CALLS: usize = 4096;

/// The time in which calls are counted, in milliseconds.
const WINDOW: u64 = 1000;

/// A write that was begun. It is forgotten when this is dropped, unless it is [`done`](Self::done): what fails, and what nobody
/// waits for any more, leaves nothing under way.
#[derive(Debug)]
#[must_use]
pub struct Begun {
    realism: Arc<Realism>,
    number: u64,
    done: bool,
}

impl Begun {
    /// The write is done, and under way until it is settled.
    pub fn done(mut self) {
        self.done = true;
    }
}

impl Drop for Begun {
    fn drop(&mut self) {
        if !self.done {
            self.realism.lock().calls.abandon(self.number);
        }
    }
}

/// The settings and what follows from them for the calls that come.
#[derive(Debug, Default)]
pub struct Realism {
    /// Replaced while the lock is held.
    settings: ArcSwap<Settings>,
    course: Mutex<Course>,
}

/// What has come of the calls so far.
#[derive(Debug, Default)]
struct Course {
    calls: Calls,
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
        **self.settings.load()
    }

    /// Makes it as real as that. Everything is counted anew; what is under way stays so, unless nothing is to be any more.
    pub fn set(&self, settings: Settings) {
        self.replace(&mut self.lock(), settings);
    }

    /// Modifies the settings, and says what they are then. It counts as [`set`](Self::set); of several at a time each has its
    /// effect.
    pub fn modify(&self, modification: Modification) -> Settings {
        let mut course = self.lock();
        let settings = self.settings().modified(modification);
        self.replace(&mut course, settings);
        settings
    }

    fn replace(&self, course: &mut Course, settings: Settings) {
        let mut calls = std::mem::take(&mut course.calls);
        calls.set(settings);
        *course = Course { calls, ..Course::default() };
        self.settings.store(Arc::new(settings));
    }

    /// How things stand.
    pub fn view(&self, now: UnixMillis) -> View {
        let settings = self.settings();
        if settings.delay == 0 {
            return View::of(settings, 0, &[]);
        }
        let course = self.lock();
        let (settings, (version, calls)) = (self.settings(), course.calls.under_way(now));
        drop(course);
        View::of(settings, version, &calls)
    }

    /// Whether calls that come too often are refused.
    pub fn counts(&self) -> bool {
        self.settings().calls_per_second > 0
    }

    /// Counts a call of an action by the holder of an access key.
    ///
    /// # Errors
    /// `Throttling.User`, with the time after which it may come again.
    pub fn admit(&self, access_key: &str, action: &'static str, now: UnixMillis) -> Result<(), ApiError> {
        let allowed = self.settings().calls_per_second;
        if allowed == 0 {
            return Ok(());
        }
        let mut course = self.lock();
        let (began, calls) = course.counted.entry((access_key.to_owned(), action)).or_insert((now, 0));
        if !(began.0..began.0.saturating_add(WINDOW)).contains(&now.0) {
            (*began, *calls) = (now, 0);
        }
        if *calls < allowed {
            *calls += 1;
            return Ok(());
        }
        Err(ApiError::throttled(began.0.saturating_add(WINDOW).saturating_sub(now.0)))
    }

    /// Whether any write is refused by chance.
    pub fn refuses(&self) -> bool {
        self.settings().busy > 0.0
    }

    /// Lets a write through, or refuses it by one of its action's codes. `fingerprint` is the same for the same call, whatever
    /// its `ClientToken`.
    ///
    /// # Errors
    /// One of `codes`.
    pub fn chance(&self, action: &'static str, codes: &[Busy], fingerprint: &str) -> Result<(), ApiError> {
        let Settings { busy, seed, .. } = self.settings();
        if busy <= 0.0 || codes.is_empty() {
            return Ok(());
        }
        let Course { writes, refused: tries, .. } = &mut *self.lock();
        let written = writes.entry(action).or_default();
        *written += 1;
        let drawn = hmac_sha256(&seed.to_be_bytes(), &[action.as_bytes(), &written.to_be_bytes()]);
        let half =
            |range: std::ops::Range<usize>| drawn[range].iter().fold(0_u32, |all, byte| all << 8 | u32::from(*byte));
        let refused = tries.get(fingerprint).copied().unwrap_or(0);
        if f64::from(half(0..4)) / 2_f64.powi(32) >= busy || refused >= REFUSALS {
            tries.remove(fingerprint);
            return Ok(());
        }
        if tries.len() >= REFUSED_CALLS {
            tries.clear();
        }
        tries.insert(fingerprint.to_owned(), refused + 1);
        let code = codes.iter().cycle().nth(usize::try_from(half(4..8)).unwrap_or(0) % codes.len());
        code.map_or(Ok(()), |code| Err(code.refusal()))
    }

    /// Begins a write, unless something that it changes or needs is not settled. `None`: nothing is under way because of it.
    ///
    /// # Errors
    /// The one of `codes` that says what is not settled; the cloud's refusal in the state as it is shown. An action without
    /// codes is not kept waiting.
    pub fn begin(
        self: &Arc<Self>,
        codes: &[Busy],
        state: &Arc<State>,
        submission: &Submission,
    ) -> Result<Option<Begun>, ApiError> {
        if is_at_once(&submission.command) {
            return Ok(None);
        }
        // Plans take their time, in which nobody is to wait for the lock. If another one began meanwhile, it is looked at too.
        loop {
            let view = self.view(submission.now);
            if view.settings.delay == 0 {
                return Ok(None);
            }
            let (parts, taken_back) = brought_under_way(&view, codes, state, submission)?;
            if parts.is_empty() {
                return Ok(None);
            }
            let number = self.lock().calls.begin(&view, parts, taken_back, submission.now);
            if let Some(number) = number {
                return Ok(Some(Begun { realism: Arc::clone(self), number, done: false }));
            }
        }
    }

    /// It guards no invariant that a panic could have broken half-way.
    fn lock(&self) -> MutexGuard<'_, Course> {
        self.course.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// What a write brings under way, and what takes it back.
type Brought = (Vec<(Part, Phase)>, Arc<[Change]>);

/// What a write brings under way, and what takes back what is not shown of it yet; or why it may not begin.
fn brought_under_way(
    view: &View,
    codes: &[Busy],
    state: &Arc<State>,
    submission: &Submission,
) -> Result<Brought, ApiError> {
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
    Ok((under_way.under_way, taken_back(&as_it_is?, state).into()))
}

/// Tags and resource groups are no part of what a status is about.
fn is_at_once(command: &Command) -> bool {
    matches!(command, Command::TagResources(_) | Command::UntagResources(_) | Command::MoveToResourceGroup(_))
}

#[cfg(test)]
mod tests;
