//! The server on the control socket: HTTP/1, with bounds on what one client and all of them may take.

use std::convert::Infallible;
use std::os::fd::AsFd;
use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::body::Body;
use axum::extract::ConnectInfo;
use axum::http::{HeaderValue, Request, Response, header};
use axum::response::IntoResponse;
use hyper::body::Incoming;
use hyper::service::{Service, service_fn};
use hyper_util::service::TowerToHyperService;
use tokio::net::{UnixListener, UnixStream};
use tokio::sync::Semaphore;
use tokio::time::sleep;
use tracing::{debug, warn};

use super::http_connection::{Bodies, Impatient, NoBody, builder};
use super::socket_setup::widen_send_buffer_to;
use crate::control::Problem;

/// The largest body: an owner's set of ten thousand connections has some megabytes.
pub const MAX_BODY: usize = 32 << 20;
/// Bodies at a time, in bytes.
const MAX_BODIES: usize = MAX_BODY;
/// Connections at once. Further ones wait in the kernel's queue.
const MAX_CONNECTIONS: usize = 256;
/// Bytes of an answer that the kernel takes at once. An answer that goes out in parts costs a turn on a processor for each, at
/// both ends; but what the kernel holds for a client that does not read counts for nobody once its connection has ended.
const SEND_BUFFER: usize = 256 << 10;

/// Who is at the other end of a connection to the control socket, as the kernel knows it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct PeerCredentials {
    /// The caller's process id; `None` when the kernel does not tell it.
    pub pid: Option<i32>,
    /// The caller's effective user id; `None` when the kernel does not tell it (SO_PEERCRED, unix(7)).
    pub uid: Option<u32>,
}

impl PeerCredentials {
    fn of(stream: &UnixStream) -> Self {
        let credentials = stream.peer_cred().ok();
        Self { pid: credentials.as_ref().and_then(|c| c.pid()), uid: credentials.as_ref().map(|c| c.uid()) }
    }
}

impl std::fmt::Display for PeerCredentials {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let number = |number: Option<i64>| number.map_or_else(|| "unknown".to_owned(), |number| number.to_string());
        write!(f, "uid {}, pid {}", number(self.uid.map(i64::from)), number(self.pid.map(i64::from)))
    }
}

/// Answers requests for ever.
pub(super) async fn serve(listener: UnixListener, router: Router, patience: Duration) {
    let slots = Arc::new(Semaphore::new(MAX_CONNECTIONS));
    let bodies = Bodies::new(MAX_BODY, MAX_BODIES, patience);
    loop {
        let slot = Arc::clone(&slots).acquire_owned().await;
        let stream = match listener.accept().await {
            Ok((stream, _)) => stream,
            Err(error) => {
                // Out of descriptors, or the caller has gone: neither ends the server.
                warn!(%error, "cannot accept a client of the control socket");
                sleep(Duration::from_secs(1)).await;
                continue;
            }
        };
        let connection = connection(stream, bodies.clone(), router.clone(), patience);
        tokio::spawn(async move {
            let _slot = slot;
            if let Err(error) = connection.await {
                debug!(%error, "a client of the control socket was left");
            }
        });
    }
}

async fn connection(
    stream: UnixStream,
    bodies: Bodies,
    router: Router,
    patience: Duration,
) -> Result<(), hyper::Error> {
    let caller = PeerCredentials::of(&stream);
    widen_send_buffer_to(stream.as_fd(), SEND_BUFFER);
    let answer = service_fn(move |request| {
        let (bodies, router) = (bodies.clone(), router.clone());
        async move { Ok::<_, Infallible>(answer(request, caller, &bodies, router).await) }
    });
    builder(patience).serve_connection(Impatient::new(stream, patience), answer).await
}

/// Answers one request, when its body is there. The body's room is free when the answer is.
async fn answer(
    request: Request<Incoming>,
    caller: PeerCredentials,
    bodies: &Bodies,
    router: Router,
) -> Response<Body> {
    let (mut parts, body) = request.into_parts();
    parts.extensions.insert(ConnectInfo(caller));
    let (bytes, _room) = match bodies.read(body, || Some(())).await {
        Ok(body) => body.into_parts(),
        Err(error) => return refusal(error),
    };
    let request = Request::from_parts(parts, Body::from(bytes));
    let answered = TowerToHyperService::new(router).call(request).await;
    answered.unwrap_or_else(|never: Infallible| match never {})
}

fn refusal(error: NoBody) -> Response<Body> {
    let mut response =
        (error.status(), axum::Json(Problem { error: error.to_string(), revision: None })).into_response();
    // What is left of the body is not read.
    response.headers_mut().insert(header::CONNECTION, HeaderValue::from_static("close"));
    response
}

#[cfg(test)]
mod tests {
    use std::time::Instant;

    use axum::body::Bytes;
    use axum::extract::DefaultBodyLimit;
    use axum::response::sse::{Event, Sse};
    use axum::routing::{get, put};
    use tokio::io::{AsyncReadExt, AsyncWriteExt};
    use tokio::time::timeout;

    use super::super::http_connection::LINGER;
    use super::*;

    const PATIENCE: Duration = Duration::from_millis(400);
    const LONG: Duration = Duration::from_secs(20);

    /// An event at once, and one after three times the patience.
    async fn events() -> impl IntoResponse {
        let late = async {
            sleep(3 * PATIENCE).await;
            Ok::<_, Infallible>(Event::default().data("late"))
        };
        let soon = async { Ok(Event::default().data("soon")) };
        Sse::new(futures_util::StreamExt::chain(futures_util::stream::once(soon), futures_util::stream::once(late)))
    }

    fn router() -> Router {
        Router::new()
            .route("/small", get(async || "here"))
            .route("/large", get(async || vec![b'x'; 64 << 20]))
            .route("/events", get(events))
            .route("/owner", put(async |body: Bytes| body.len().to_string()))
            .layer(DefaultBodyLimit::max(MAX_BODY))
    }

    struct Served(tempfile::TempDir);

    impl Served {
        fn start() -> Self {
            let folder = tempfile::tempdir().unwrap();
            let listener = UnixListener::bind(folder.path().join("socket")).unwrap();
            tokio::spawn(serve(listener, router(), PATIENCE));
            Self(folder)
        }

        async fn client(&self, begins: &str) -> UnixStream {
            let mut stream = UnixStream::connect(self.0.path().join("socket")).await.unwrap();
            stream.write_all(begins.as_bytes()).await.unwrap();
            stream
        }
    }

    /// What comes until the server ends the connection.
    async fn rest(mut stream: UnixStream) -> String {
        let mut text = Vec::new();
        // An end in the middle of an answer is an end.
        let _ = timeout(LONG, stream.read_to_end(&mut text)).await.expect("the server ends the connection");
        String::from_utf8_lossy(&text).into_owned()
    }

    #[tokio::test]
    async fn a_silent_client_is_left() {
        let served = Served::start();
        let owner = "PUT /owner HTTP/1.1\r\nHost: x\r\nContent-Length: 9\r\n\r\nhal";
        for (begins, told) in [("", ""), ("GET /sm", ""), ("GET /small HTTP/1.1\r\nHost:", ""), (owner, "408")] {
            let began = Instant::now();
            let answer = rest(served.client(begins).await).await;
            assert!(began.elapsed() >= PATIENCE && answer.contains(told), "{begins:?}: {answer}");
        }
        let idle = rest(served.client("GET /small HTTP/1.1\r\nHost: x\r\n\r\n").await).await;
        assert!(idle.ends_with("here"), "answered, and then left: {idle}");
    }

    #[tokio::test]
    async fn a_client_that_does_not_read_its_answer_is_left() {
        let served = Served::start();
        let stream = served.client("GET /large HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n").await;
        sleep(3 * PATIENCE).await;
        let answer = rest(stream).await;
        // The kernel allows itself twice as much as was asked for (socket(7)), and a piece more.
        assert!(answer.len() < 3 * SEND_BUFFER, "{} bytes came of an answer that nobody had read", answer.len());
    }

    #[tokio::test]
    async fn a_stream_of_events_outlives_the_patience() {
        let served = Served::start();
        let answer = rest(served.client("GET /events HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n").await).await;
        assert!(answer.contains("soon") && answer.contains("late"), "{answer}");
    }

    #[tokio::test]
    async fn large_bodies_wait_for_each_other_and_small_requests_for_nobody() {
        let served = Served::start();
        let put = |length: usize| {
            format!("PUT /owner HTTP/1.1\r\nHost: x\r\nConnection: close\r\nContent-Length: {length}\r\n\r\n")
        };
        let began = Instant::now();
        let hoarder = served.client(&put(MAX_BODY)).await;
        sleep(PATIENCE / 4).await;
        for body in [0, 1000] {
            let answer = rest(served.client(&(put(body) + &"x".repeat(body))).await).await;
            assert!(answer.ends_with(&format!("\r\n{body}")) || answer.contains(&format!("{body}\r\n")), "{answer}");
        }
        assert!(began.elapsed() < PATIENCE, "small ones waited");
        let large = 100_000;
        let answer = rest(served.client(&(put(large) + &"x".repeat(large))).await).await;
        assert!(answer.contains("100000") && began.elapsed() >= PATIENCE, "only when the first has gone: {answer}");
        assert!(rest(hoarder).await.contains("408"));
        let began = Instant::now();
        assert!(rest(served.client(&put(MAX_BODY + 1)).await).await.contains("413"));
        assert!(began.elapsed() < 2 * LINGER, "what is too large is not waited for");
    }

    #[tokio::test]
    async fn a_client_that_is_refused_while_it_sends_reads_why() {
        let served = Served::start();
        let length = MAX_BODY + 1;
        let mut stream =
            served.client(&format!("PUT /owner HTTP/1.1\r\nHost: x\r\nContent-Length: {length}\r\n\r\n")).await;
        stream.write_all(&vec![b'x'; length]).await.expect("the server lets it end");
        assert!(rest(stream).await.contains("413"));
    }
}
