//! `up`, `down` and `rekey`: asked for, and waited for until it is so.

use std::collections::BTreeSet;
use std::time::Duration;

use clap::Args;
use futures_util::{Stream, StreamExt};
use schemars::JsonSchema;
use serde::Serialize;
use tokio::time::{Instant, sleep_until, timeout_at};

use super::quantity::duration;
use crate::control::action::{Accepted, Action, Rekeyed};
use crate::control::event::{Event, EventKind};
use crate::control::request::Request;
use crate::control::status::{ChildSa, ChildState, Connection, ConnectionState, IkeSa, Status};
use crate::io::unix::{CallError, ControlClient};

/// How often the status is looked at while nothing is told.
const LOOK_EVERY: Duration = Duration::from_millis(200);

/// How long a command waits for what it asks for.
#[derive(Clone, Copy, Debug, Args)]
pub struct Waiting {
    /// How long to wait until it is so, in seconds; the command fails if it is not by then
    #[arg(long, value_name = "SECONDS", default_value_t = 10, value_parser = clap::value_parser!(u64).range(..=86_400))]
    wait: u64,
    /// Return as soon as gatewayd knows of it, without a look at whether there is anything to be done
    #[arg(long, conflicts_with = "wait")]
    no_wait: bool,
}

/// What became of `up`, `down` or `rekey`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, JsonSchema)]
pub struct Outcome {
    /// The name of the connection.
    pub connection: String,
    /// What was asked.
    pub action: Action,
    /// Whether it is so; with `--no-wait` it is under way.
    pub done: bool,
}

/// What was asked for has not come about.
#[derive(Debug, thiserror::Error)]
#[error("{connection} {what}: {reason}")]
pub struct NotDone {
    connection: String,
    what: String,
    reason: String,
}

/// Something to be done with one connection.
pub struct Task {
    /// The name of the connection.
    pub connection: String,
    /// What is to be done.
    pub action: Action,
    /// Of a rekey: which SAs.
    pub which: Rekeyed,
}

impl Task {
    /// Asks gatewayd for it, and waits until it is so.
    pub async fn run(self, client: &ControlClient, waiting: Waiting) -> Result<Outcome, Box<dyn std::error::Error>> {
        if waiting.no_wait {
            self.ask(client).await?;
            return Ok(Outcome { connection: self.connection, action: self.action, done: false });
        }
        // From before it is asked for, so that nothing of it is missed.
        let events = client.events_of(Some(self.connection.clone()), None).await?;
        let before = self.look(client).await?;
        if self.action == Action::Rekey && self.replaced(&before).is_empty() {
            return Err(self.not_done("cannot be rekeyed", "it has no such SA; gatewayctl up negotiates it").into());
        }
        let Accepted { event, .. } = self.ask(client).await?;
        // How an older attempt ended says nothing of this one.
        let later = events.filter(|told| std::future::ready(told.sequence > event));
        let until = Instant::now() + Duration::from_secs(waiting.wait);
        self.come_about(client, later, &before, until, waiting.wait).await?;
        Ok(Outcome { connection: self.connection, action: self.action, done: true })
    }

    async fn ask(&self, client: &ControlClient) -> Result<Accepted, CallError> {
        let (name, action) = (self.connection.clone(), self.action);
        let request = match action {
            Action::Rekey => Request::Rekey { name, which: self.which.clone() },
            Action::Up | Action::Down => Request::Connection { name, action },
        };
        client.call(&request).await
    }

    async fn come_about(
        &self,
        client: &ControlClient,
        events: impl Stream<Item = Event>,
        before: &Connection,
        until: Instant,
        seconds: u64,
    ) -> Result<(), Box<dyn std::error::Error>> {
        let mut events = std::pin::pin!(events);
        let mut failed = None;
        loop {
            let now = self.look(client).await?;
            if self.is_so(before, &now) {
                return Ok(());
            }
            let what = match self.action {
                Action::Up => "is not up",
                Action::Down => "is not down",
                Action::Rekey => "is not rekeyed",
            };
            if let Some(reason) = failed {
                return Err(self.not_done(what, reason).into());
            }
            if Instant::now() >= until {
                let what = format!("{what} after {}", duration(seconds));
                return Err(self.not_done(what, self.why_not(&now)).into());
            }
            let next = until.min(Instant::now() + LOOK_EVERY);
            match timeout_at(next, events.next()).await {
                Ok(Some(event)) => failed = self.failure(event),
                // gatewayd has gone: the next look says so.
                Ok(None) => sleep_until(next).await,
                Err(_) => {}
            }
        }
    }

    async fn look(&self, client: &ControlClient) -> Result<Connection, CallError> {
        let name = self.connection.clone();
        let status: Status = client.call(&Request::StatusOf { name }).await?;
        let found = status.connections.into_iter().find(|connection| connection.name == self.connection);
        found.ok_or_else(|| CallError::Refused(format!("{} is not configured any more", self.connection)))
    }

    fn is_so(&self, before: &Connection, now: &Connection) -> bool {
        match self.action {
            Action::Up => is_up(now),
            Action::Down => {
                matches!(now.state, ConnectionState::Down | ConnectionState::Waiting)
                    && ike_sas(now).next().is_none()
                    && now.child_sas.is_empty()
            }
            Action::Rekey => {
                let now = self.replaced(now);
                !now.is_empty() && now.is_disjoint(&self.replaced(before))
            }
        }
    }

    /// The SPIs that a rekey gives successors.
    fn replaced<'a>(&self, connection: &'a Connection) -> BTreeSet<&'a str> {
        let ike = ike_sas(connection).map(|sa| &*sa.initiator_spi);
        let children = |only: Option<&'a str>| sending(connection, only).map(|sa| &*sa.inbound_spi);
        match &self.which {
            Rekeyed::Ike => ike.collect(),
            Rekeyed::All => ike.chain(children(None)).collect(),
            Rekeyed::Child(child) => {
                let name = connection.child_sas.iter().map(|sa| &*sa.name).find(|name| name == child);
                name.map(|name| children(Some(name)).collect()).unwrap_or_default()
            }
        }
    }

    /// Why it will not come about, if an event says so.
    fn failure(&self, event: Event) -> Option<String> {
        let fails = match self.action {
            Action::Up | Action::Rekey => matches!(event.kind, EventKind::ConnectionDown),
            Action::Down => false,
        };
        event.reason.filter(|_| fails)
    }

    fn why_not(&self, now: &Connection) -> String {
        match now.last_error.clone() {
            None if self.action != Action::Up && now.state == ConnectionState::Established => {
                "gatewayd's log says whether the peer refused, or has not answered".to_owned()
            }
            None => why(now),
            Some(error) => error,
        }
    }

    fn not_done(&self, what: impl Into<String>, reason: impl Into<String>) -> NotDone {
        NotDone { connection: self.connection.clone(), what: what.into(), reason: reason.into() }
    }
}

/// Whether every child of a connection carries traffic.
pub fn is_up(connection: &Connection) -> bool {
    connection.state == ConnectionState::Established && connection.child_state == ChildState::IpsecSaEstablished
}

/// Why a connection is not as it should be, as far as gatewayd tells.
pub fn why(connection: &Connection) -> String {
    let otherwise = match connection.state {
        ConnectionState::Established => "a child of it has no Child SA",
        ConnectionState::Connecting => "no answer so far",
        ConnectionState::Waiting if connection.start == "on-traffic" => "it waits for a packet to the peer's subnets",
        ConnectionState::Waiting => "it waits for the peer to call",
        ConnectionState::Down => "it was taken down",
    };
    connection.last_error.clone().unwrap_or_else(|| otherwise.to_owned())
}

/// The connection's own: what happens to another one's, in which the peer has put its Child SAs, is asked of that one.
fn ike_sas(connection: &Connection) -> impl Iterator<Item = &IkeSa> {
    let all =
        connection.ike_sa.iter().chain(connection.associations.iter().flat_map(|association| &association.ike_sas));
    all.filter(|sa| sa.of_connection.is_none())
}

fn sending<'a>(connection: &'a Connection, only: Option<&'a str>) -> impl Iterator<Item = &'a ChildSa> {
    let is_meant = move |sa: &&ChildSa| sa.sending && only.is_none_or(|only| sa.name == only);
    connection.child_sas.iter().filter(is_meant)
}
