//! The control API's server. What only reads is answered from what the control task published and from what IKE says when
//! asked; what changes something goes to the control task, which answers when it is done.

use std::convert::Infallible;
use std::sync::Arc;
use std::time::{Duration, Instant};

use arc_swap::ArcSwap;
use axum::body::Bytes;
use axum::extract::rejection::JsonRejection;
use axum::extract::{ConnectInfo, DefaultBodyLimit, Path, Query, State};
use axum::http::{StatusCode, header};
use axum::response::sse::{self, KeepAlive, Sse};
use axum::response::{IntoResponse, Response};
use axum::routing::{get, post};
use axum::{Json, Router};
use futures_util::Stream;
use serde::de::DeserializeOwned;
use tokio::sync::broadcast::error::RecvError;
use tokio::sync::{broadcast, mpsc, oneshot};
use tokio::task::{JoinError, spawn_blocking};
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
use crate::control::action::{Accepted, Action};
use crate::control::event::{Event, EventKind};
use crate::control::export::ConnectionExport;
use crate::control::owner::{OwnerReply, OwnerSet};
use crate::control::owner_change::OwnerChange;
use crate::control::reload::Reloaded;
use crate::io::control_server::{MAX_BODY, PeerCredentials};
use crate::io::nftables::PlaintextFilter;

/// Bodies up to this many bytes are read where they arrive.
const INLINE_BODY: usize = 64 << 10;

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
            Refused::UnknownConnection { .. } => StatusCode::NOT_FOUND,
            Refused::BadConfiguration(_) => StatusCode::CONFLICT,
        };
        Self(status, refused.to_string())
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
    written(move || {
        let mut status = status::status(&view, &ike, &drops, connection.as_deref(), started, Instant::now());
        status.drops.extend(counted);
        serde_json::to_vec(&status)
    })
    .await
}

async fn read_connections(State(api): State<Api>) -> Result<Response, Failure> {
    let ike = api.snapshot(None).await?;
    let view = api.view.load_full();
    written(move || serde_json::to_vec(&status::connections(&view, &ike, Instant::now()))).await
}

async fn read_routes(State(api): State<Api>) -> Result<Response, Failure> {
    json(api.view.load().routes_json())
}

/// What takes a while to be written, as all of thousands of connections does, is written where nobody else waits.
async fn written(write: impl FnOnce() -> serde_json::Result<Vec<u8>> + Send + 'static) -> Result<Response, Failure> {
    let written = spawn_blocking(write).await;
    json(written.map_err(|error| Failure(StatusCode::INTERNAL_SERVER_ERROR, error.to_string()))?)
}

fn json(written: serde_json::Result<Vec<u8>>) -> Result<Response, Failure> {
    let json = written.map_err(|error| Failure(StatusCode::INTERNAL_SERVER_ERROR, error.to_string()))?;
    Ok(([(header::CONTENT_TYPE, "application/json")], json).into_response())
}

async fn read_owner(State(api): State<Api>) -> Json<Arc<OwnerReply>> {
    Json(api.view.load().cend.clone().unwrap_or_default())
}

async fn act(
    State(api): State<Api>,
    ConnectInfo(caller): ConnectInfo<PeerCredentials>,
    Path((name, action)): Path<(String, String)>,
) -> Answer<Accepted> {
    let Some(action) = Action::by_name(&action) else {
        let known: Vec<&str> = Action::ALL.iter().map(|action| action.name()).collect();
        let error = format!("\"{action}\" is nothing that a connection does; allowed: {}", known.join(", "));
        return Err(Failure(StatusCode::NOT_FOUND, error));
    };
    info!(%caller, connection = name, action = action.name(), "asked on the control socket");
    api.ask(|answer| Ask::Act { name, action, answer }).await
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
    let parsed = if length > INLINE_BODY { spawn_blocking(parse).await } else { Ok(parse()) };
    let failed = |error: JoinError| Failure(StatusCode::INTERNAL_SERVER_ERROR, error.to_string()).into_response();
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

async fn events(
    State(api): State<Api>,
    Query(Only { connection }): Query<Only>,
) -> Sse<impl Stream<Item = Result<sse::Event, Infallible>>> {
    let (first, listener) = api.events.listen();
    let last = first.sequence;
    let begun = (Some(first), listener, last, connection);
    let stream = futures_util::stream::unfold(begun, |(first, mut listener, last, only)| async move {
        let event = match first {
            Some(first) => first,
            None => next_event(&mut listener, last, only.as_deref()).await?,
        };
        let data = serde_json::to_string(&event).unwrap_or_default();
        Some((Ok(sse::Event::default().data(data)), (None, listener, event.sequence, only)))
    });
    Sse::new(stream).keep_alive(KeepAlive::default())
}

/// The next event after the number `last`. A listener that fell behind is told so, and goes on with what is still kept. Who
/// listens to `only` one connection hears of that, and of what concerns all.
async fn next_event(listener: &mut broadcast::Receiver<Event>, mut last: u64, only: Option<&str>) -> Option<Event> {
    let concerns = |event: &Event| only.is_none_or(|only| event.connection.as_deref().is_none_or(|name| name == only));
    loop {
        match listener.recv().await {
            Ok(event) if concerns(&event) => return Some(event),
            Ok(event) => last = event.sequence,
            Err(RecvError::Lagged(missed)) => {
                let reason = format!("{missed} events before this one were not told: the listener reads too slowly");
                return Some(Event { reason: Some(reason), ..Event::new(last + missed, EventKind::Missed) });
            }
            Err(RecvError::Closed) => return None,
        }
    }
}

#[cfg(test)]
mod tests {
    use std::os::fd::AsFd;

    use futures_util::StreamExt;

    use super::*;
    use crate::control::request::Request as Call;
    use crate::control::status::Status;
    use crate::daemon::ike_thread::Request;
    use crate::daemon::owner_keeper::Kept;
    use crate::daemon::request_queue::RequestQueue;
    use crate::io::netns::Namespace;
    use crate::io::nftables::OuterPorts;
    use crate::io::unix::{CallError, ControlClient, ControlSocket};
    use crate::io::wake::{Waker, wait_readable};

    /// An API on a socket of its own, and the end where the control task would listen.
    struct Served {
        client: ControlClient,
        asked: mpsc::Receiver<Ask>,
        kept: mpsc::Receiver<Kept>,
        events: EventLog,
        _folder: tempfile::TempDir,
    }

    /// An IKE thread without connections.
    fn idle_ike() -> IkeHandle {
        let requests = RequestQueue::default();
        let (asked, waker) = (requests.clone(), Waker::new().unwrap());
        let woken = waker.clone();
        std::thread::spawn(move || {
            loop {
                wait_readable(&[woken.as_fd()], Duration::from_secs(1)).unwrap();
                woken.clear();
                while let Some(request) = asked.next() {
                    if let Request::Snapshot(asker) | Request::SnapshotOf(_, asker) = request {
                        let _ = asker.send(Arc::default());
                    }
                }
            }
        });
        IkeHandle { requests, waker }
    }

    fn serve() -> Served {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("control.sock");
        let (asks, asked) = mpsc::channel(4);
        let events = EventLog::default();
        let view = View { device: "gwd7".into(), mtu: 1400, ..View::default() };
        let (owner, kept) = OwnerKeeper::start(folder.path(), None).unwrap();
        let api = Api {
            asks,
            owner,
            view: Arc::new(ArcSwap::from_pointee(view)),
            ike: idle_ike(),
            drops: Drops::default(),
            filter: PlaintextFilter::new(Namespace::Own, "ig-none".into(), 0, OuterPorts { ike: 500, nat: 4500 }),
            events: events.clone(),
            started: Instant::now(),
        };
        let socket = ControlSocket::bind(&path).unwrap();
        tokio::spawn(socket.serve(api.router(), std::future::pending()));
        Served { client: ControlClient::new(&path).unwrap(), asked, kept, events, _folder: folder }
    }

    fn run(test: impl Future<Output = ()>) {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        runtime.block_on(async { tokio::time::timeout(Duration::from_secs(20), test).await.unwrap() });
    }

    #[test]
    fn status_is_answered_while_the_control_task_is_busy() {
        run(async {
            let served = serve();
            let reload = tokio::spawn({
                let client = served.client.clone();
                async move { client.call::<Reloaded>(&Call::Reload).await }
            });
            let status: Status = served.client.call(&Call::Status).await.unwrap();
            assert_eq!((status.device.as_str(), status.mtu), ("gwd7", 1400));
            let owner: OwnerReply = served.client.call(&Call::Owner).await.unwrap();
            assert_eq!(owner.revision, 0);
            assert!(!reload.is_finished(), "nobody has answered the reload");
        });
    }

    #[test]
    fn a_refusal_is_told_in_its_own_words() {
        run(async {
            let mut served = serve();
            let up = Call::Connection { name: "idc".into(), action: Action::Up };
            let control = async {
                let Some(Ask::Act { name, answer, .. }) = served.asked.recv().await else { panic!("no ask") };
                let _ = answer.send(Err(Refused::UnknownConnection { name, known: "branch".into() }));
            };
            let (answer, ()) = tokio::join!(served.client.call::<Accepted>(&up), control);
            assert_eq!(answer.unwrap_err().to_string(), "no connection is called \"idc\"; there are: branch");
            drop(served.asked);
            let stopping = served.client.call::<Accepted>(&up).await.unwrap_err();
            assert_eq!(stopping.to_string(), "gatewayd is stopping");
        });
    }

    #[test]
    fn a_change_of_another_set_is_a_conflict_and_says_which_revision_is_in_force() {
        run(async {
            let mut served = serve();
            let control = tokio::spawn(async move {
                while let Some(Kept { change, answer, .. }) = served.kept.recv().await {
                    let _ = answer.send(Ok(OwnerReply { revision: change.to, refused: Vec::new() }));
                }
            });
            let change =
                |session: &str, from, to| OwnerChange { session: session.into(), from, to, ..OwnerChange::default() };
            let (client, path) = (served.client, served._folder.path().join("control.sock"));
            let patch = async |change| client.call_with::<OwnerReply>(&Call::PatchOwner, &change).await;
            let refused = patch(change("a", 0, 1)).await.unwrap_err();
            assert!(matches!(&refused, CallError::Conflict(reason) if reason.contains("revision 0")), "{refused}");
            let set = OwnerSet { session: "a".into(), revision: 41, ..OwnerSet::default() };
            let reply: OwnerReply = client.call_with(&Call::PutOwner, &set).await.unwrap();
            assert_eq!(reply.revision, 41);
            assert_eq!(patch(change("a", 41, 43)).await.unwrap().revision, 43);
            for wrong in [change("a", 41, 44), change("b", 43, 44)] {
                assert!(matches!(patch(wrong).await, Err(CallError::Conflict(_))));
            }
            let http = reqwest::Client::builder().unix_socket(path).build().unwrap();
            let url = "http://gatewayd/v1/owners/cend";
            let answer = http.patch(url).json(&change("b", 1, 2)).send().await.unwrap();
            assert_eq!(answer.status().as_u16(), 409);
            assert_eq!(answer.json::<Problem>().await.unwrap().revision, Some(43));
            let senseless = http.patch(url).header("content-type", "application/json").body("{").send().await.unwrap();
            assert_eq!(senseless.status().as_u16(), 400);
            control.abort();
        });
    }

    #[test]
    fn a_listener_is_told_where_it_begins_and_what_comes() {
        run(async {
            let served = serve();
            served.events.happened(EventKind::Reloaded, None, None, None);
            let mut stream = std::pin::pin!(served.client.events().await.unwrap());
            let first = stream.next().await.unwrap();
            assert_eq!((first.kind, first.sequence), (EventKind::Started, 1));
            served.events.happened(EventKind::ConnectionDown, Some("idc"), None, Some("no answer".into()));
            let next = stream.next().await.unwrap();
            assert_eq!((next.sequence, next.reason.as_deref()), (2, Some("no answer")));
        });
    }

    #[tokio::test]
    async fn a_listener_that_falls_behind_is_told_and_blocks_nobody() {
        let events = EventLog::default();
        let (first, mut listener) = events.listen();
        for _ in 0..5000 {
            events.happened(EventKind::RoutesChanged, None, None, None);
        }
        let missed = next_event(&mut listener, first.sequence, None).await.unwrap();
        assert_eq!((missed.kind, missed.sequence), (EventKind::Missed, 5000 - 1024));
        assert!(missed.reason.unwrap().starts_with("3976 events before this one"));
        let next = next_event(&mut listener, missed.sequence, None).await.unwrap();
        assert_eq!((next.kind, next.sequence), (EventKind::RoutesChanged, 5000 - 1024 + 1));
    }
}
