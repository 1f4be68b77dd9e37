//! The control socket: HTTP over a Unix socket, served and called.

use std::fs;
use std::io;
use std::os::unix::fs::{FileTypeExt, PermissionsExt};
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use axum::Router;
use futures_util::{Stream, StreamExt};
use jiff::Timestamp;
use reqwest::StatusCode;
use reqwest::header::CONTENT_TYPE;
use serde::Serialize;
use serde::de::DeserializeOwned;
use tokio::net::UnixListener;

use super::control_server;
use super::http_connection::PATIENCE;
use crate::control::Problem;
use crate::control::event::Event;
use crate::control::request::{Method, Request};

/// A listening control socket, which removes its file when it goes.
pub struct ControlSocket {
    listener: UnixListener,
    file: SocketFile,
}

struct SocketFile(PathBuf);

impl Drop for SocketFile {
    fn drop(&mut self) {
        // Nothing to be done about a failure: the next start replaces a stale file.
        let _ = fs::remove_file(&self.0);
    }
}

/// Why there is no control socket.
#[derive(Debug, thiserror::Error)]
pub enum ControlSocketError {
    /// Somebody answers on the socket of this path.
    #[error("another gatewayd answers on {0}; give this one a socket of its own (--socket)")]
    InUse(String),
    /// A file that is no socket stands at this path; it is left alone.
    #[error("{0} is there already and is no socket")]
    NotASocket(String),
    /// The directory or the socket cannot be made, or a stale socket not removed.
    #[error("{path}: {source}")]
    Io {
        /// The socket's path.
        path: String,
        /// What the system says.
        source: io::Error,
    },
}

impl ControlSocket {
    /// Listens with mode 0660. A file that a crashed instance left is replaced, one that somebody answers on is not.
    pub fn bind(path: &Path) -> Result<Self, ControlSocketError> {
        let failed = |source| ControlSocketError::Io { path: path.display().to_string(), source };
        if let Some(folder) = path.parent() {
            fs::create_dir_all(folder).map_err(failed)?;
        }
        // An instance that was just killed may answer for a moment more.
        let deadline = Instant::now() + Duration::from_secs(1);
        while let Err(error) = remove_stale(path) {
            if !matches!(error, ControlSocketError::InUse(_)) || Instant::now() >= deadline {
                return Err(error);
            }
            #[expect(clippy::disallowed_methods, reason = "at the start, when nobody is served yet")]
            std::thread::sleep(Duration::from_millis(50));
        }
        // The mode is set on a name that nobody knows yet, so that no moment is left in which others could connect.
        let mut staging = path.as_os_str().to_owned();
        staging.push(format!(".{}", std::process::id()));
        let staging = PathBuf::from(staging);
        let _ = fs::remove_file(&staging);
        let listener = UnixListener::bind(&staging).map_err(failed)?;
        fs::set_permissions(&staging, fs::Permissions::from_mode(0o660)).map_err(failed)?;
        fs::rename(&staging, path).map_err(failed)?;
        Ok(Self { listener, file: SocketFile(path.to_owned()) })
    }

    /// Answers requests until `stop` completes. A client that keeps silent, or does not read its answer, for ten seconds
    /// is left; a stream of events stays as long as its reader reads.
    ///
    /// # Errors
    /// This runtime cannot listen to it.
    pub async fn serve(self, router: Router, stop: impl Future<Output = ()> + Send + 'static) -> io::Result<()> {
        self.serve_with(PATIENCE, router, stop).await
    }

    async fn serve_with(
        self,
        patience: Duration,
        router: Router,
        stop: impl Future<Output = ()> + Send + 'static,
    ) -> io::Result<()> {
        let Self { listener, file } = self;
        // It may have been bound in another runtime.
        let listener = UnixListener::from_std(listener.into_std()?)?;
        // Event streams never end by themselves, so waiting for open connections would wait for ever.
        tokio::select! {
            () = control_server::serve(listener, router, patience) => {}
            () = stop => {}
        }
        drop(file);
        Ok(())
    }
}

fn remove_stale(path: &Path) -> Result<(), ControlSocketError> {
    let shown = || path.display().to_string();
    let failed = |source| ControlSocketError::Io { path: shown(), source };
    let metadata = match fs::symlink_metadata(path) {
        Ok(metadata) => metadata,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
        Err(error) => return Err(failed(error)),
    };
    if !metadata.file_type().is_socket() {
        return Err(ControlSocketError::NotASocket(shown()));
    }
    match UnixStream::connect(path) {
        Ok(_) => Err(ControlSocketError::InUse(shown())),
        Err(_) => fs::remove_file(path).map_err(failed),
    }
}

/// Calls a gatewayd on its control socket.
#[derive(Clone, Debug)]
pub struct ControlClient {
    http: reqwest::Client,
    path: PathBuf,
}

/// Why a call failed.
#[derive(Debug, thiserror::Error)]
pub enum CallError {
    /// Nobody answers on the socket, or the connection broke.
    #[error("cannot reach gatewayd at {path}: {reason}")]
    Unreachable {
        /// The socket's path.
        path: String,
        /// The innermost cause, in words.
        reason: String,
    },
    /// gatewayd's own words.
    #[error("{0}")]
    Refused(String),
    /// Likewise, where it could not do it this time: it is busy, is stopping, or the disk is full (5xx, RFC 9110 section 15.6).
    #[error("{0}")]
    Failed(String),
    /// Likewise, where what was asked for does not fit what stands (409, RFC 9110 section 15.5.10).
    #[error("{0}")]
    Conflict(String),
    /// The answer is not the JSON that the call expects; holds what is wrong with it, or the answer itself.
    #[error("gatewayd's answer makes no sense: {0}")]
    Senseless(String),
}

impl ControlClient {
    /// Makes a client for the socket of this path. Nothing is sent yet.
    pub fn new(path: &Path) -> Result<Self, CallError> {
        let http = reqwest::Client::builder()
            .unix_socket(path.to_owned())
            .connect_timeout(Duration::from_secs(5))
            // A connection's buffers hold the keys that went through it, and go with it.
            .pool_max_idle_per_host(0)
            .build()
            .map_err(|error| CallError::Unreachable { path: path.display().to_string(), reason: error.to_string() })?;
        Ok(Self { http, path: path.to_owned() })
    }

    /// Sends a request without a body.
    pub async fn call<T: DeserializeOwned>(&self, request: &Request) -> Result<T, CallError> {
        self.answer(self.builder(request).timeout(Duration::from_secs(10))).await
    }

    /// Sends a request with a JSON body.
    pub async fn call_with<T: DeserializeOwned>(
        &self,
        request: &Request,
        body: &impl Serialize,
    ) -> Result<T, CallError> {
        self.answer(self.builder(request).timeout(Duration::from_secs(10)).json(body)).await
    }

    /// Sends a request with a body that is JSON already.
    pub async fn call_with_json<T: DeserializeOwned>(&self, request: &Request, json: Vec<u8>) -> Result<T, CallError> {
        let builder = self.builder(request).timeout(Duration::from_secs(10));
        self.answer(builder.header(CONTENT_TYPE, "application/json").body(json)).await
    }

    /// Follows gatewayd's events until gatewayd goes.
    pub async fn events(&self) -> Result<impl Stream<Item = Event> + Send + use<>, CallError> {
        self.follow(&Request::Events).await
    }

    /// The same, of one connection and of what concerns all, or with what has happened `since`.
    pub async fn events_of(
        &self,
        name: Option<String>,
        since: Option<Timestamp>,
    ) -> Result<impl Stream<Item = Event> + Send + use<>, CallError> {
        self.follow(&Request::EventsOf { name, since }).await
    }

    async fn follow(&self, request: &Request) -> Result<impl Stream<Item = Event> + Send + use<>, CallError> {
        let response = self.builder(request).send().await.map_err(|error| self.unreachable(&error))?;
        if !response.status().is_success() {
            return Err(self.refusal(response).await);
        }
        let chunks = response.bytes_stream().take_while(|chunk| std::future::ready(chunk.is_ok()));
        let mut pending = Vec::new();
        Ok(chunks.flat_map(move |chunk| {
            pending.extend_from_slice(&chunk.unwrap_or_default());
            futures_util::stream::iter(take_events(&mut pending))
        }))
    }

    fn builder(&self, request: &Request) -> reqwest::RequestBuilder {
        let url = format!("http://gatewayd{}", request.path());
        match request.method() {
            Method::Get => self.http.get(url),
            Method::Post => self.http.post(url),
            Method::Put => self.http.put(url),
            Method::Patch => self.http.patch(url),
        }
    }

    async fn answer<T: DeserializeOwned>(&self, builder: reqwest::RequestBuilder) -> Result<T, CallError> {
        let response = builder.send().await.map_err(|error| self.unreachable(&error))?;
        let status = response.status();
        let body = response.bytes().await.map_err(|error| self.unreachable(&error))?;
        if status.is_success() {
            return serde_json::from_slice(&body).map_err(|error| CallError::Senseless(error.to_string()));
        }
        Err(Self::refused(status, &body))
    }

    async fn refusal(&self, response: reqwest::Response) -> CallError {
        let status = response.status();
        match response.bytes().await {
            Ok(body) => Self::refused(status, &body),
            Err(error) => self.unreachable(&error),
        }
    }

    fn refused(status: StatusCode, body: &[u8]) -> CallError {
        match serde_json::from_slice::<Problem>(body) {
            Ok(problem) if status == StatusCode::CONFLICT => CallError::Conflict(problem.error),
            Ok(problem) if status.is_server_error() => CallError::Failed(problem.error),
            Ok(problem) => CallError::Refused(problem.error),
            Err(_) => CallError::Senseless(String::from_utf8_lossy(body).into_owned()),
        }
    }

    /// The innermost cause says what is wrong; the outer ones only that something is.
    fn unreachable(&self, error: &reqwest::Error) -> CallError {
        let mut cause: &dyn std::error::Error = error;
        while let Some(inner) = cause.source() {
            cause = inner;
        }
        CallError::Unreachable { path: self.path.display().to_string(), reason: cause.to_string() }
    }
}

/// Takes the complete server-sent events out of `pending`; comments and what is no event of ours are skipped.
fn take_events(pending: &mut Vec<u8>) -> Vec<Event> {
    let mut events = Vec::new();
    while let Some(end) = pending.windows(2).position(|pair| pair == b"\n\n") {
        let block: Vec<u8> = pending.drain(..end + 2).collect();
        let text = String::from_utf8_lossy(&block);
        let data = text.lines().filter_map(|line| line.strip_prefix("data:"));
        events.extend(data.filter_map(|data| serde_json::from_str(data.trim()).ok()));
    }
    events
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::MetadataExt;

    use axum::routing::{get, post};

    use super::*;
    use crate::control::action::{Accepted, Action};
    use crate::control::owner::OwnerReply;

    fn runtime() -> tokio::runtime::Runtime {
        tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap()
    }

    fn router() -> Router {
        Router::new()
            .route("/v1/owners/cend", get(async || axum::Json(OwnerReply { revision: 3, refused: Vec::new() })))
            .route(
                "/v1/connections/{name}/{action}",
                post(async || {
                    (
                        axum::http::StatusCode::NOT_FOUND,
                        axum::Json(Problem { error: "no such thing".into(), revision: None }),
                    )
                }),
            )
    }

    #[test]
    fn a_call_is_answered_and_a_refusal_is_told() {
        runtime().block_on(async {
            let folder = tempfile::tempdir().unwrap();
            let path = folder.path().join("run/control.sock");
            let socket = ControlSocket::bind(&path).unwrap();
            assert_eq!(fs::metadata(&path).unwrap().mode() & 0o777, 0o660);
            let (stop, stopped) = tokio::sync::oneshot::channel::<()>();
            let server = tokio::spawn(socket.serve(router(), async { stopped.await.unwrap_or_default() }));
            let client = ControlClient::new(&path).unwrap();
            let reply: OwnerReply = client.call(&Request::Owner).await.unwrap();
            assert_eq!(reply.revision, 3);
            let up = Request::Connection { name: "idc".into(), action: Action::Up };
            let refused = client.call::<Accepted>(&up).await.unwrap_err();
            assert_eq!(refused.to_string(), "no such thing");
            stop.send(()).unwrap();
            server.await.unwrap().unwrap();
            assert!(!path.exists(), "a clean stop leaves no socket behind");
        });
    }

    #[test]
    fn a_stale_socket_is_replaced_and_a_live_one_is_not() {
        runtime().block_on(async {
            let folder = tempfile::tempdir().unwrap();
            let path = folder.path().join("control.sock");
            drop(std::os::unix::net::UnixListener::bind(&path).unwrap());
            let live = ControlSocket::bind(&path).unwrap();
            assert!(matches!(ControlSocket::bind(&path), Err(ControlSocketError::InUse(_))));
            drop(live);
            fs::write(&path, "precious").unwrap();
            assert!(matches!(ControlSocket::bind(&path), Err(ControlSocketError::NotASocket(_))));
        });
    }

    #[test]
    fn nobody_at_the_socket_is_said_plainly() {
        runtime().block_on(async {
            let client = ControlClient::new(Path::new("/nonexistent/control.sock")).unwrap();
            let error = client.call::<OwnerReply>(&Request::Owner).await.unwrap_err();
            assert_eq!(
                error.to_string(),
                "cannot reach gatewayd at /nonexistent/control.sock: No such file or directory (os error 2)"
            );
        });
    }

    #[test]
    fn events_are_cut_out_of_the_stream_wherever_it_breaks() {
        let stream = b": hello\n\ndata: {\"sequence\":1,\"kind\":\"started\"}\n\ndata: {\"sequence\":2,\"kind\":\"reloaded\"}\n\ndata: {";
        for cut in 0..stream.len() {
            let mut pending = Vec::new();
            let mut sequences = Vec::new();
            for part in [&stream[..cut], &stream[cut..]] {
                pending.extend_from_slice(part);
                sequences.extend(take_events(&mut pending).into_iter().map(|event| event.sequence));
            }
            assert_eq!(sequences, [1, 2], "cut at {cut}");
        }
    }
}
