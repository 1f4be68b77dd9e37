//! One gatewayd kept as the cloud wants it.
//!
//! It is told what changed from the revision that it has to the newest one, and the complete set at first or when it has
//! another revision than was thought. It is asked for its revision on every connection and every minute. Its events are
//! followed, and what it last said about itself is kept for as long as it can be reached and goes on to say so. A change that
//! it cannot take this time (its disk is full) ends no link: it is told again by and by, and the status is looked at meanwhile.

use std::sync::Arc;
use std::time::Duration;

use futures_util::StreamExt;
use futures_util::future::OptionFuture;
use tokio::sync::watch;
use tokio::task::spawn_blocking;
use tokio::time::{Instant, MissedTickBehavior, interval_at, sleep, sleep_until};
use tracing::{debug, info, warn};

use super::fabric_binding::GatewayBinding;
use super::fabric_routes::bound_gateway;
use super::gateway_pace::{BACK_OFF, Looks, Telling};
use super::gateway_set::{owner_change, owner_set};
use super::writer::{Commits, Committed};
use crate::cen::identifier::VpnGatewayId;
use crate::control::owner::{OwnerReply, Refusal};
use crate::control::owner_change::OwnerChange;
use crate::control::request::Request;
use crate::control::status::Status;
use crate::io::store::Revision;
use crate::io::unix::{CallError, ControlClient};

/// How often gatewayd's revision is asked for although nothing changed.
const REPEAT: Duration = Duration::from_secs(60);
/// A link that held for so long is one that was kept: what ends it afterwards is news.
const KEPT: Duration = Duration::from_secs(60);
/// How many gatewayd events may be answered by one look at its status.
const EVENTS_AT_ONCE: usize = 64;

/// What a gatewayd last said; `None` while it cannot be reached, or has not told its status for long.
pub type Snapshot = Option<Arc<Status>>;

/// What a gatewayd has acknowledged last.
#[derive(Clone, Debug)]
struct Told {
    /// Whose connections and routes it was told.
    gateway: Option<VpnGatewayId>,
    /// The revision that it has.
    revision: Revision,
    /// Up to this revision nothing else has touched the gateway.
    seen: Revision,
}

/// One link, over all connections to its gatewayd.
pub struct Follower {
    binding: GatewayBinding,
    commits: Commits,
    session: Arc<str>,
    snapshot: watch::Sender<Snapshot>,
    told: Option<Told>,
    /// What gatewayd refused last: the same is told once.
    refused: Vec<Refusal>,
    /// What was complained of last: the same is told once.
    complaint: String,
    /// It has been said that gatewayd has the set, since the last complaint.
    announced: bool,
    /// For the log.
    shown: String,
}

impl Follower {
    /// A link to the gatewayd of a binding; `session` is the run of cend that counts the revisions.
    pub fn new(
        binding: GatewayBinding,
        commits: Commits,
        session: Arc<str>,
        snapshot: watch::Sender<Snapshot>,
    ) -> Self {
        let shown = binding.socket.display().to_string();
        Self {
            binding,
            commits,
            session,
            snapshot,
            told: None,
            refused: Vec::new(),
            complaint: String::new(),
            announced: false,
            shown,
        }
    }

    /// Keeps the link until nothing is committed any more: connects, works until the connection breaks, waits, connects
    /// again.
    pub async fn run(mut self) {
        let mut pause = BACK_OFF.0;
        loop {
            let begun = Instant::now();
            let ended = self.connection().await;
            if begun.elapsed() >= KEPT {
                self.complaint.clear();
            }
            if self.snapshot.send_replace(None).is_some() {
                pause = BACK_OFF.0;
            }
            match ended {
                Ok(()) => return,
                Err(error) => self.complain(&error.to_string()),
            }
            sleep(pause).await;
            pause = (pause * 2).min(BACK_OFF.1);
        }
    }

    /// Works until the connection breaks; `Ok` when nothing is committed any more.
    async fn connection(&mut self) -> Result<(), CallError> {
        let client = ControlClient::new(&self.binding.socket)?;
        // Events first: what happens between the set and the first look at the status is then not missed.
        let mut events = std::pin::pin!(client.events().await?.ready_chunks(EVENTS_AT_ONCE));
        let mut repeat = interval_at(Instant::now() + REPEAT, REPEAT);
        repeat.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let (mut telling, mut looks) = (Telling::begin(Instant::now()), Looks::begin(Instant::now()));
        // Beside everything else: the status of thousands takes longer than a change of one.
        let mut look = None;
        loop {
            tokio::select! {
                changed = self.commits.newest.changed() => {
                    if changed.is_err() {
                        return Ok(());
                    }
                    telling.owe(false, Instant::now());
                }
                heard = events.next() => match heard {
                    Some(_) => looks.outdate(),
                    None => return Err(CallError::Unreachable {
                        path: self.shown.clone(),
                        reason: "it ended the stream of events".to_owned(),
                    }),
                },
                _ = repeat.tick() => telling.owe(true, Instant::now()),
                Some(()) = OptionFuture::from(telling.at().map(sleep_until)) => {
                    if self.try_to_tell(&client, &mut telling).await? {
                        looks.outdate();
                    }
                }
                Some(()) = OptionFuture::from(looks.at().map(sleep_until)), if look.is_none() => {
                    looks.begun();
                    look = Some(Box::pin(timed_look(&client)));
                }
                Some(looked) = OptionFuture::from(look.as_mut()), if look.is_some() => {
                    look = None;
                    self.see(looked, &mut looks)?;
                }
            }
        }
    }

    /// Tells what is owed, and puts it off if gatewayd cannot take it now. Answers whether its status may be another one.
    async fn try_to_tell(&mut self, client: &ControlClient, telling: &mut Telling) -> Result<bool, CallError> {
        let verifies = telling.verifies();
        match self.tell(client, verifies).await {
            Ok(is_news) => {
                if telling.succeeded() {
                    self.complaint.clear();
                }
                if !std::mem::replace(&mut self.announced, true) {
                    info!(gateway = self.shown, "gatewayd has the cloud's set");
                }
                Ok(is_news || verifies)
            }
            Err(CallError::Failed(reason)) => {
                telling.failed(Instant::now());
                self.complain(&reason);
                Ok(true)
            }
            Err(error) => Err(error),
        }
    }

    /// What a look at the status told, or that it told nothing.
    fn see(&self, looked: Result<(Status, Duration), CallError>, looks: &mut Looks) -> Result<(), CallError> {
        match looked {
            Ok((status, took)) => {
                self.snapshot.send_replace(Some(Arc::new(status)));
                if looks.succeeded(took, Instant::now()) {
                    info!(gateway = self.shown, "gatewayd tells its status again");
                }
                Ok(())
            }
            // What it said before stands for a while, until it has the time.
            Err(CallError::Failed(reason)) => {
                let failing = looks.failed(Instant::now());
                if failing.warns {
                    warn!(gateway = self.shown, reason, "gatewayd does not tell its status");
                } else {
                    debug!(gateway = self.shown, reason, "gatewayd tells its status later");
                }
                if failing.outlived && self.snapshot.send_replace(None).is_some() {
                    warn!(gateway = self.shown, "what gatewayd last said is too old to be shown");
                }
                Ok(())
            }
            Err(error) => Err(error),
        }
    }

    fn complain(&mut self, reason: &str) {
        if self.complaint != reason {
            warn!(gateway = self.shown, error = reason, "gatewayd cannot be kept in step");
            reason.clone_into(&mut self.complaint);
            self.announced = false;
        }
    }

    /// Brings gatewayd from what it was told to what is committed, and `verify`s that it has it. Answers whether there was
    /// something to tell.
    async fn tell(&mut self, client: &ControlClient, verify: bool) -> Result<bool, CallError> {
        let Committed { revision, state } = self.commits.newest.borrow_and_update().clone();
        let gateway = bound_gateway(&state, &self.binding).map(|gateway| gateway.id.clone());
        let told = self.told.take().filter(|told| told.gateway == gateway);
        let touched = told.as_ref().and_then(|told| self.commits.recent.between(told.seen, revision));
        if let (Some(told), Some(touched)) = (told, touched) {
            let change = gateway.as_ref().map(|gateway| owner_change(&state, gateway, &touched)).unwrap_or_default();
            // Nobody may keep the state while gatewayd answers.
            drop(state);
            let to = if change.is_empty() { told.revision } else { revision };
            let change = OwnerChange { session: self.session.to_string(), from: told.revision.0, to: to.0, ..change };
            let (is_empty, next) = (change.is_empty(), Told { gateway, revision: to, seen: revision });
            if is_empty && !verify {
                self.told = Some(next);
                return Ok(false);
            }
            match client.call_with(&Request::PatchOwner, &change).await {
                Ok(reply) => {
                    self.told = Some(next);
                    self.hear(reply);
                    return Ok(!is_empty);
                }
                Err(CallError::Conflict(reason)) => {
                    info!(gateway = self.shown, reason, "gatewayd is told the complete set");
                }
                // What became of it is not known, or nothing; to begin where it began is refused if it was taken.
                Err(error @ (CallError::Unreachable { .. } | CallError::Failed(_))) => {
                    self.told = Some(told);
                    return Err(error);
                }
                // It will not be taken another time either: the next attempt begins with the set.
                Err(error) => return Err(error),
            }
        }
        self.put(client).await?;
        Ok(true)
    }

    async fn put(&mut self, client: &ControlClient) -> Result<(), CallError> {
        self.told = None;
        let Committed { revision, state } = self.commits.newest.borrow_and_update().clone();
        let gateway = bound_gateway(&state, &self.binding).map(|gateway| gateway.id.clone());
        let told = Told { gateway: gateway.clone(), revision, seen: revision };
        let session = Arc::clone(&self.session);
        // A set of thousands takes a while, in which others are answered.
        let set = spawn_blocking(move || serde_json::to_vec(&owner_set(&state, gateway.as_ref(), &session, revision)));
        let unsent = |reason: String| CallError::Unreachable { path: self.shown.clone(), reason };
        let set = set.await.map_err(|error| unsent(error.to_string()))?.map_err(|error| unsent(error.to_string()))?;
        let reply = client.call_with_json(&Request::PutOwner, set).await?;
        self.told = Some(told);
        self.hear(reply);
        Ok(())
    }

    fn hear(&mut self, reply: OwnerReply) {
        if reply.refused == self.refused {
            return;
        }
        for refusal in reply.refused.iter().filter(|refusal| !self.refused.contains(refusal)) {
            let Refusal { kind, name, reason } = refusal;
            warn!(gateway = self.shown, ?kind, name, reason, "gatewayd refuses a part of the cloud's set");
        }
        self.refused = reply.refused;
    }
}

async fn timed_look(client: &ControlClient) -> Result<(Status, Duration), CallError> {
    let begun = Instant::now();
    let status = client.call(&Request::Status).await?;
    Ok((status, begun.elapsed()))
}
