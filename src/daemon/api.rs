//! The control API's server. What only reads is answered from what the control task published and from what IKE says when
//! asked; what changes something goes to the control task, which answers when it is done.

use std::convert::Infallible;
use std::io;
use std::sync::Arc;
use std::time::{Duration, Instant};

use arc_swap::ArcSwap;
use axum::body::Bytes;
use axum::extract::rejection::{JsonRejection, QueryRejection};
use axum::extract::{ConnectInfo, DefaultBodyLimit, FromRequestParts, Path, State};
use axum::http::request::Parts;
use axum::http::{StatusCode, header};
use axum::response::sse::{self, KeepAlive, Sse};
use axum::response::{IntoResponse, Response};
use axum::routing::{get, post};
use axum::{Json, Router};
use futures_util::Stream;
use jiff::Timestamp;
use serde::de::DeserializeOwned;
use tokio::sync::broadcast::error::RecvError;
use tokio::sync::{Semaphore, broadcast, mpsc, oneshot};
use tokio::task::spawn_blocking;
use tokio::time::timeout;
use tracing::info;

use super::events::EventLog;
use super::gateway::Refused;
use super::ike_handle::IkeHandle;
use super::ike_thread::IkeSnapshot;
use super::metrics::Drops;
use super::owner_keeper::{OwnerKeeper, OwnerRefused, OwnerUpdate};
use super::status::{self, View};
use crate::control::Problem;
use crate::control::action::{Accepted, Action, Rekeyed};
use crate::control::event::{Event, EventKind};
use crate::control::export::ConnectionExport;
use crate::control::owner::{OwnerReply, OwnerSet};
use crate::control::owner_change::OwnerChange;
use crate::control::reload::Reloaded;
use crate::io::control_server::{MAX_BODY, PeerCredentials};
use crate::io::nftables::PlaintextFilter;
use crate::io::{background, clock};

/// Bodies up to this many bytes are read where they arrive.
const INLINE_BODY: usize = 64 << 10;

/// Answers about all connections that are written at a time: each holds a copy of what it tells, and a processor.
const WRITERS: usize = 2;

/// How long a status waits for the filter's counters.
const FILTER_TIMEOUT: Duration = Duration::from_secs(1);

/// What only the control task can do.
#[derive(Debug)]
pub enum Ask {
    /// `POST /v1/connections/{name}/{action}`.
    Act {
        /// The name of the connection.
        name: String,
        /// What is to be done with it.
        action: Action,
        /// Where the answer goes.
        answer: oneshot::Sender<Result<Accepted, Refused>>,
    },
    /// `POST /v1/connections/{name}/rekey`, of which SAs.
    Rekey {
        /// The name of the connection.
        name: String,
        /// Which SAs.
        which: Rekeyed,
        /// Where the answer goes.
        answer: oneshot::Sender<Result<Accepted, Refused>>,
    },
    /// `GET /v1/connections/{name}/export`.
    Export {
        /// The name of the connection.
        name: String,
        /// Where the answer goes.
        answer: oneshot::Sender<Result<ConnectionExport, Refused>>,
    },
    /// `POST /v1/reload`.
    Reload {
        /// Where the answer goes, when the file is applied.
        answer: oneshot::Sender<Result<Reloaded, Refused>>,
    },
}

/// What the handlers share.
#[derive(Clone)]
pub struct Api {
    /// To the control task.
    pub asks: mpsc::Sender<Ask>,
    /// To who has cend's set.
    pub owner: OwnerKeeper,
    /// What the control task published last.
    pub view: Arc<ArcSwap<View>>,
    /// The way to the IKE thread, for snapshots.
    pub ike: IkeHandle,
    /// What the data threads drop.
    pub drops: Drops,
    /// What the kernel's filter drops.
    pub filter: PlaintextFilter,
    /// What happens, for `GET /v1/events`.
    pub events: EventLog,
    /// When gatewayd started.
    pub started: Instant,
    /// Room for those who write long answers.
    pub writers: Writers,
}

/// Room for so many who write long answers. Every clone is the same room; further ones wait their turn.
#[derive(Clone, Debug)]
pub struct Writers(Arc<Semaphore>);

impl Default for Writers {
    fn default() -> Self {
        Self(Arc::new(Semaphore::new(WRITERS)))
    }
}

impl Writers {
    /// What takes a while to be written, as all of thousands of connections does, is written where nobody else waits.
    async fn written(
        &self,
        write: impl FnOnce() -> serde_json::Result<Vec<u8>> + Send + 'static,
    ) -> Result<Response, Failure> {
        let failed = |reason: String| Failure(StatusCode::INTERNAL_SERVER_ERROR, reason);
        let room = Arc::clone(&self.0).acquire_owned().await.map_err(|closed| failed(closed.to_string()))?;
        let work = move || {
            // Held by the work, which goes on when its caller has gone.
            let _room = room;
            write()
        };
        json(spawn_blocking(work).await.map_err(|error| failed(error.to_string()))?)
    }
}

type Answer<T> = Result<Json<T>, Failure>;

/// A reply that is no success.
struct Failure(StatusCode, String);

impl IntoResponse for Failure {
    fn into_response(self) -> Response {
        (self.0, Json(Problem { error: self.1, revision: None })).into_response()
    }
}

impl From<Refused> for Failure {
    fn from(refused: Refused) -> Self {
        let status = match refused {
            Refused::UnknownConnection { .. } | Refused::UnknownChild { .. } => StatusCode::NOT_FOUND,
            Refused::BadConfiguration(_) => StatusCode::CONFLICT,
        };
        Self(status, refused.to_string())
    }
}

impl From<QueryRejection> for Failure {
    fn from(refused: QueryRejection) -> Self {
        Self(StatusCode::BAD_REQUEST, refused.body_text())
    }
}

/// The query of a request; one that is not understood is refused as everything else is.
struct Query<T>(T);

impl<T: DeserializeOwned, S: Send + Sync> FromRequestParts<S> for Query<T> {
    type Rejection = Failure;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Self, Failure> {
        let axum::extract::Query(query) = axum::extract::Query::from_request_parts(parts, state).await?;
        Ok(Self(query))
    }
}

impl Api {
    /// Every request of [`crate::control::request::Request`].
    pub fn router(self) -> Router {
        Router::new()
            .route("/v1/status", get(read_status))
            .route("/v1/connections", get(read_connections))
            .route("/v1/connections/{name}/export", get(export))
            .route("/v1/connections/{name}/{action}", post(act))
            .route("/v1/routes", get(read_routes))
            .route("/v1/reload", post(reload))
            .route("/v1/events", get(events))
            .route("/v1/owners/cend", get(read_owner).put(put_owner).patch(patch_owner))
            .fallback(async || Failure(StatusCode::NOT_FOUND, "there is no such request".to_owned()))
            .method_not_allowed_fallback(async || {
                Failure(StatusCode::METHOD_NOT_ALLOWED, "this request takes another method".to_owned())
            })
            .layer(DefaultBodyLimit::max(MAX_BODY))
            .with_state(self)
    }

    /// Of every connection, or of `only` one.
    async fn snapshot(&self, only: Option<&str>) -> Result<Arc<IkeSnapshot>, Failure> {
        let busy = || Failure(StatusCode::SERVICE_UNAVAILABLE, "IKE is too busy to answer, or stopping".to_owned());
        let snapshot = match only {
            Some(connection) => self.ike.snapshot_of(connection).await,
            None => self.ike.snapshot().await,
        };
        snapshot.ok_or_else(busy)
    }

    async fn ask<T>(&self, ask: impl FnOnce(oneshot::Sender<Result<T, Refused>>) -> Ask) -> Answer<T> {
        let stopping = || Failure(StatusCode::SERVICE_UNAVAILABLE, "gatewayd is stopping".to_owned());
        let (answer, answered) = oneshot::channel();
        self.asks.send(ask(answer)).await.map_err(|_| stopping())?;
        Ok(Json(answered.await.map_err(|_| stopping())??))
    }
}

/// What a request is about: one connection, or all.
#[derive(Debug, serde::Deserialize)]
#[serde(deny_unknown_fields)]
struct Only {
    connection: Option<String>,
}

async fn read_status(State(api): State<Api>, Query(Only { connection }): Query<Only>) -> Result<Response, Failure> {
    let only = connection.as_deref();
    // Read before the rest, which must not be older than the question. Without a filter there is nothing to tell. Who asks for
    // one connection does not wait for `nft`, which reads the whole table for a counter.
    let plaintext = match only {
        Some(_) => None,
        None => timeout(FILTER_TIMEOUT, api.filter.dropped()).await.ok().and_then(Result::ok),
    };
    let ike = api.snapshot(only).await?;
    let view = api.view.load_full();
    if let Some(name) = only
        && view.names().all(|known| **known != *name)
    {
        return Err(Refused::unknown(name, view.names()).into());
    }
    let counted = plaintext.filter(|packets| *packets > 0).map(|packets| ("plaintext".to_owned(), packets));
    let (drops, started) = (api.drops, api.started);
    let written = api.writers.written(move || {
        let mut status = status::status(&view, &ike, &drops, connection.as_deref(), started, Instant::now());
        status.drops.extend(counted);
        serde_json::to_vec(&status)
    });
    written.await
}

async fn read_connections(State(api): State<Api>) -> Result<Response, Failure> {
    let ike = api.snapshot(None).await?;
    let view = api.view.load_full();
    api.writers.written(move || serde_json::to_vec(&status::connections(&view, &ike, Instant::now()))).await
}

async fn read_routes(State(api): State<Api>) -> Result<Response, Failure> {
    json(api.view.load().routes_json())
}

fn json(written: serde_json::Result<Vec<u8>>) -> Result<Response, Failure> {
    let json = written.map_err(|error| Failure(StatusCode::INTERNAL_SERVER_ERROR, error.to_string()))?;
    Ok(([(header::CONTENT_TYPE, "application/json")], json).into_response())
}

async fn read_owner(State(api): State<Api>) -> Json<Arc<OwnerReply>> {
    Json(api.view.load().cend.clone().unwrap_or_default())
}

/// Which SAs a rekey is about; without a word, all.
#[derive(Debug, serde::Deserialize)]
#[serde(deny_unknown_fields)]
struct Which {
    sa: Option<SaKind>,
    child: Option<String>,
}

/// What `sa` may be: Child SAs are named by their child.
#[derive(Debug, serde::Deserialize)]
#[serde(rename_all = "kebab-case")]
enum SaKind {
    Ike,
}

async fn act(
    State(api): State<Api>,
    ConnectInfo(caller): ConnectInfo<PeerCredentials>,
    Path((name, action)): Path<(String, String)>,
    Query(which): Query<Which>,
) -> Answer<Accepted> {
    let Some(action) = Action::by_name(&action) else {
        let known: Vec<&str> = Action::ALL.iter().map(|action| action.name()).collect();
        let error = format!("\"{action}\" is nothing that a connection does; allowed: {}", known.join(", "));
        return Err(Failure(StatusCode::NOT_FOUND, error));
    };
    info!(%caller, connection = name, action = action.name(), "asked on the control socket");
    let which = match which {
        Which { sa: None, child: None } => return api.ask(|answer| Ask::Act { name, action, answer }).await,
        Which { sa: Some(SaKind::Ike), child: None } => Rekeyed::Ike,
        Which { sa: None, child: Some(child) } => Rekeyed::Child(child),
        Which { sa: Some(SaKind::Ike), child: Some(_) } => return Err(unclear("one of sa and child")),
    };
    if action != Action::Rekey {
        return Err(unclear("sa and child with rekey"));
    }
    api.ask(|answer| Ask::Rekey { name, which, answer }).await
}

fn unclear(allowed: &str) -> Failure {
    Failure(StatusCode::BAD_REQUEST, format!("the query is not clear; allowed: {allowed}"))
}

async fn export(State(api): State<Api>, Path(name): Path<String>) -> Answer<ConnectionExport> {
    api.ask(|answer| Ask::Export { name, answer }).await
}

async fn reload(State(api): State<Api>, ConnectInfo(caller): ConnectInfo<PeerCredentials>) -> Answer<Reloaded> {
    info!(%caller, "asked on the control socket to reload");
    api.ask(|answer| Ask::Reload { answer }).await
}

async fn put_owner(
    State(api): State<Api>,
    ConnectInfo(caller): ConnectInfo<PeerCredentials>,
    body: Bytes,
) -> impl IntoResponse {
    let answer: Result<_, Response> = async {
        let set: OwnerSet = parse(body).await?;
        tracing::debug!(%caller, revision = set.revision, "cend's set came");
        update_owner(&api, OwnerUpdate::Set(set)).await
    }
    .await;
    // The connection's buffers hold keys: they go with it.
    ([(header::CONNECTION, "close")], answer)
}

async fn patch_owner(
    State(api): State<Api>,
    ConnectInfo(caller): ConnectInfo<PeerCredentials>,
    body: Bytes,
) -> impl IntoResponse {
    let answer: Result<_, Response> = async {
        let change: OwnerChange = parse(body).await?;
        tracing::debug!(%caller, from = change.from, to = change.to, "a change of cend's set came");
        update_owner(&api, OwnerUpdate::Change(change)).await
    }
    .await;
    ([(header::CONNECTION, "close")], answer)
}

/// A body of megabytes takes a while, in which others are answered.
async fn parse<T: DeserializeOwned + Send + 'static>(body: Bytes) -> Result<T, Response> {
    let length = body.len();
    let parse = move || Json::from_bytes(&body).map(|Json(value)| value);
    let parsed = if length > INLINE_BODY { background::run(parse).await } else { Ok(parse()) };
    let failed = |error: io::Error| Failure(StatusCode::INTERNAL_SERVER_ERROR, error.to_string()).into_response();
    let refused = |rejection: JsonRejection| Failure(rejection.status(), rejection.body_text()).into_response();
    parsed.map_err(failed)?.map_err(refused)
}

async fn update_owner(api: &Api, update: OwnerUpdate) -> Result<Json<OwnerReply>, Response> {
    api.owner.update(update).await.map(Json).map_err(|refused| {
        let (status, revision) = match &refused {
            OwnerRefused::Outdated { revision, .. } => (StatusCode::CONFLICT, Some(*revision)),
            OwnerRefused::NotKept(_) => (StatusCode::INTERNAL_SERVER_ERROR, None),
            OwnerRefused::Stopping => (StatusCode::SERVICE_UNAVAILABLE, None),
        };
        (status, Json(Problem { error: refused.to_string(), revision })).into_response()
    })
}

/// What a listener hears: of one connection or of all, and what from a time in the past on.
#[derive(Debug, serde::Deserialize)]
#[serde(deny_unknown_fields)]
struct Listen {
    connection: Option<String>,
    since: Option<Timestamp>,
}

async fn events(
    State(api): State<Api>,
    Query(Listen { connection, since }): Query<Listen>,
) -> Sse<impl Stream<Item = Result<sse::Event, Infallible>>> {
    let (mut first, listener) = api.events.listen(since);
    first.retain(|event| concerns(event, connection.as_deref()));
    let begun = (first, listener, 0, connection);
    let stream = futures_util::stream::unfold(begun, |(mut first, mut listener, last, only)| async move {
        let event = match first.pop_front() {
            Some(first) => first,
            None => next_event(&mut listener, last, only.as_deref()).await?,
        };
        let data = serde_json::to_string(&*event).unwrap_or_default();
        Some((Ok(sse::Event::default().data(data)), (first, listener, event.sequence, only)))
    });
    Sse::new(stream).keep_alive(KeepAlive::default())
}

/// The next event after the number `last`. A listener that fell behind is told so, and goes on with what is still kept. Who
/// listens to `only` one connection hears of that, and of what concerns all.
async fn next_event(
    listener: &mut broadcast::Receiver<Arc<Event>>,
    mut last: u64,
    only: Option<&str>,
) -> Option<Arc<Event>> {
    loop {
        match listener.recv().await {
            Ok(event) if concerns(&event, only) => return Some(event),
            Ok(event) => last = event.sequence,
            Err(RecvError::Lagged(missed)) => {
                let reason = format!("{missed} events before this one were not told: the listener reads too slowly");
                return Some(Arc::new(Event { reason: Some(reason), ..missed_up_to(last + missed) }));
            }
            Err(RecvError::Closed) => return None,
        }
    }
}

/// Whether who listens to `only` one connection hears of an event.
fn concerns(event: &Event, only: Option<&str>) -> bool {
    only.is_none_or(|only| event.connection.as_deref().is_none_or(|name| name == only))
}

fn missed_up_to(sequence: u64) -> Event {
    Event::new(sequence, clock::time_of_day(), EventKind::Missed)
}

#[cfg(test)]
mod tests;
