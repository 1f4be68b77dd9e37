//! The HTTP server of the cloud's API.

use std::convert::Infallible;
use std::panic::AssertUnwindSafe;
use std::sync::Arc;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use axum::body::Body;
use axum::http::{HeaderValue, Request as HttpRequest, Response as HttpResponse, StatusCode, header, request::Parts};
use futures_util::FutureExt;
use futures_util::future::join_all;
use hyper::body::Incoming;
use hyper::service::service_fn;
use hyper_util::server::graceful::{GracefulConnection, GracefulShutdown};
use percent_encoding::percent_decode;
use serde_json::Value;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpListener;
use tokio::sync::watch;
use tokio::time::{sleep, timeout};

use super::http_clients::{Client, Clients, Limits};
use super::http_connection::{Bodies, Impatient, NoBody, PATIENCE, builder};
use super::memory;
use super::tls::Tls;
use crate::cen::error::ApiError;
use crate::cen::network::UnixMillis;
use crate::cen::openapi::request::{Request, Response, request_id};
use crate::cen::openapi::service::{Cloud, Service};
use crate::crypto::random::SystemEntropy;

/// The longest body: the longest call of the API has some kilobytes.
const MAX_BODY: usize = 1 << 20;

/// The most of bodies at a time.
const MAX_BODIES: usize = 16 << 20;

/// Connections at once.
const CLIENTS: Limits = Limits { of_source: 256, of_all: 1024, large: 4 };

/// Values that an answer may have to be written at once: some microseconds' worth.
const SHORT: usize = 200;

/// Where the certificate of our own authority is read.
const CA_PATH: &str = "/ca.pem";

/// How long calls in progress may take after the request to stop.
const SHUTDOWN_TIMEOUT: Duration = Duration::from_secs(1);

/// An address that is listened on.
#[derive(Debug)]
pub struct Listener {
    /// Where.
    pub listener: TcpListener,
    /// With TLS.
    pub tls: Option<Tls>,
}

/// Serves the API on `listeners` until `shutdown` completes, then lets the calls in progress end. `ca` is the certificate
/// that clients may read and trust.
pub async fn serve<C: Cloud>(
    listeners: Vec<Listener>,
    service: Arc<Service<C>>,
    ca: Option<Arc<str>>,
    shutdown: impl Future<Output = ()>,
) {
    let graceful = GracefulShutdown::new();
    let server = Server { service, bodies: Bodies::new(MAX_BODY, MAX_BODIES, PATIENCE), ca };
    let clients = Clients::new(CLIENTS);
    let (running, stopping) = watch::channel(());
    let accepting = listeners.iter().map(|listener| accept(listener, &server, &clients, &graceful, &stopping));
    tokio::select! {
        () = shutdown => {}
        _ = join_all(accepting) => {}
    }
    drop((listeners, server, running));
    // Whoever is slower than this finds the connection closed, as after a crash.
    let _ = timeout(SHUTDOWN_TIMEOUT, graceful.shutdown()).await;
}

/// What answers.
struct Server<C> {
    service: Arc<Service<C>>,
    bodies: Bodies,
    ca: Option<Arc<str>>,
}

impl<C> Clone for Server<C> {
    fn clone(&self) -> Self {
        Self { service: Arc::clone(&self.service), bodies: self.bodies.clone(), ca: self.ca.clone() }
    }
}

/// Takes connections for ever.
async fn accept<C: Cloud>(
    Listener { listener, tls }: &Listener,
    server: &Server<C>,
    clients: &Clients,
    graceful: &GracefulShutdown,
    stopping: &watch::Receiver<()>,
) {
    loop {
        let (stream, address) = match listener.accept().await {
            Ok(accepted) => accepted,
            Err(error) => {
                // Out of descriptors, or the caller has gone: neither ends the server.
                tracing::warn!(%error, "cannot accept a connection");
                sleep(Duration::from_millis(100)).await;
                continue;
            }
        };
        let Some(client) = clients.admit(address.ip()).map(Arc::new) else {
            tracing::debug!(%address, "too many connections that are busy");
            continue;
        };
        // Answers are short: waiting to fill a segment would only delay them.
        let _ = stream.set_nodelay(true);
        let (watcher, server, tls) = (graceful.watcher(), server.clone(), tls.clone());
        let mut stopping = stopping.clone();
        tokio::spawn(async move {
            let talk = async {
                match tls {
                    None => watcher.watch(server.connection(stream, &client)).await.map_err(|error| error.to_string()),
                    Some(tls) => {
                        let handshake = tls.acceptor.accept(stream);
                        let stream = tokio::select! {
                            stream = handshake => stream.map_err(|error| error.to_string())?,
                            // Nothing has been asked yet that could be answered.
                            _ = stopping.changed() => return Ok(()),
                        };
                        watcher.watch(server.connection(stream, &client)).await.map_err(|error| error.to_string())
                    }
                }
            };
            tokio::select! {
                // First, so that a call that nobody will hear of is not begun.
                biased;
                () = client.displaced() => tracing::debug!(%address, "left an idle connection for a new one"),
                // A handshake is part of the head's time.
                () = client.says_nothing(PATIENCE) => tracing::debug!(%address, "left a silent connection"),
                outcome = talk => if let Err(error) = outcome {
                    tracing::debug!(error, "connection ended");
                },
            }
        });
    }
}

impl<C: Cloud> Server<C> {
    fn connection<S: AsyncRead + AsyncWrite + Unpin + 'static>(
        &self,
        stream: S,
        client: &Arc<Client>,
    ) -> impl GracefulConnection<Error = hyper::Error> + use<S, C> {
        let (server, client) = (self.clone(), Arc::clone(client));
        let answer = service_fn(move |request| {
            let (server, client) = (server.clone(), Arc::clone(&client));
            async move { Ok::<_, Infallible>(server.answer(request, &client).await) }
        });
        builder(PATIENCE).serve_connection(Impatient::new(stream, PATIENCE), answer)
    }

    async fn answer(&self, request: HttpRequest<Incoming>, client: &Arc<Client>) -> HttpResponse<Body> {
        client.has_asked();
        if let Some(ca) = self.ca.as_deref().filter(|_| request.uri().path() == CA_PATH) {
            let mut http = HttpResponse::new(Body::from(ca.to_owned()));
            let kind = HeaderValue::from_static("application/x-pem-file");
            http.headers_mut().insert(header::CONTENT_TYPE, kind);
            return http;
        }
        answer(request, &self.bodies, &self.service, client).await
    }
}

/// Answers one request. A panic on the way is a fault of ours, which the caller sees as such and nothing more.
async fn answer<C: Cloud>(
    request: HttpRequest<Incoming>,
    bodies: &Bodies,
    service: &Service<C>,
    client: &Arc<Client>,
) -> HttpResponse<Body> {
    let (parts, body) = request.into_parts();
    // Its room among all bodies is free when it has been read: what a call makes of it is small. Who is slow with it counts
    // as idle.
    let body = bodies.read(body, || client.large()).await;
    let Some(_busy) = client.busy() else {
        let left = ApiError::new(503, "ServiceUnavailable", "Too many connections.");
        return http(&refusal(&left)).0;
    };
    let request = match body {
        Ok(body) => plain(&parts, body.bytes),
        Err(NoBody::TooLarge) => Err(ApiError::new(413, "RequestTooLarge", "The request body is too large.")),
        Err(NoBody::Incomplete) => Err(ApiError::bad_request("InvalidRequestBody", "The request body is incomplete.")),
        Err(NoBody::Slow) => Err(ApiError::new(408, "RequestTimeout", "The request body did not arrive in time.")),
        Err(NoBody::NoRoom) => Err(ApiError::new(503, "ServiceUnavailable", "Too many large requests at a time.")),
    };
    let asks_with_key = request.as_ref().is_ok_and(|request| holds_key(&request.query) || holds_key(&request.body));
    let response = match request {
        Ok(request) => AssertUnwindSafe(service.call(request, now())).catch_unwind().await.unwrap_or_else(|_| {
            tracing::error!("a call panicked");
            refusal(&ApiError::internal())
        }),
        Err(error) => refusal(&error),
    };
    let (mut http, answers_with_key) = written(response).await;
    if asks_with_key || answers_with_key {
        // The connection's buffers hold a key: they go with it.
        http.headers_mut().insert(header::CONNECTION, HeaderValue::from_static("close"));
    }
    http
}

/// Whether a text, which may be percent-encoded, has a field for a pre-shared key.
fn holds_key(text: impl AsRef<[u8]>) -> bool {
    names_key(&percent_decode(text.as_ref()).collect::<Vec<u8>>())
}

/// Whether a text has a field for a pre-shared key. The API calls it `Psk` at every place, a word by itself: in the middle of a
/// signature or of an id the three letters mean nothing. A name in JSON may be spelled in escapes.
fn names_key(text: &[u8]) -> bool {
    // The alphabet of base64 too, in which signatures are written.
    let goes_on = |at: Option<&u8>| at.is_some_and(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'+' | b'/'));
    let is_name = |at: usize, word: &[u8]| {
        let before = at.checked_sub(1).and_then(|before| text.get(before));
        word.eq_ignore_ascii_case(b"psk") && !goes_on(before) && !goes_on(text.get(at + word.len()))
    };
    text.iter().enumerate().any(|(at, byte)| match byte {
        b'p' | b'P' => text.get(at..at + 3).is_some_and(|word| is_name(at, word)),
        b'\\' => text.get(at + 1) == Some(&b'u'),
        _ => false,
    })
}

fn refusal(error: &ApiError) -> Response {
    Response::refusal(error, &request_id(&mut SystemEntropy::new()), "")
}

/// The request as the API reads it; a header that is no text cannot be part of any signature.
fn plain(parts: &Parts, body: Vec<u8>) -> Result<Request, ApiError> {
    let mut headers = Vec::with_capacity(parts.headers.len());
    for (name, value) in &parts.headers {
        let Ok(value) = std::str::from_utf8(value.as_bytes()) else {
            return Err(ApiError::bad_request("InvalidHeader", format!("Specified header {name} is not valid.")));
        };
        headers.push((name.as_str().to_owned(), value.to_owned()));
    }
    Ok(Request {
        method: parts.method.as_str().to_owned(),
        path: parts.uri.path().to_owned(),
        query: parts.uri.query().unwrap_or_default().to_owned(),
        headers,
        body,
    })
}

/// As [`http`]; a long one is written where nobody waits for it but who asked.
async fn written(response: Response) -> (HttpResponse<Body>, bool) {
    if !is_long(&response.body) {
        return http(&response);
    }
    let writing = tokio::task::spawn_blocking(move || {
        let written = http(&response);
        // An object of thousands of fields takes its time to go, too.
        drop(response);
        memory::forget();
        written
    });
    writing.await.unwrap_or_else(|error| {
        tracing::error!(%error, "an answer could not be written");
        http(&refusal(&ApiError::internal()))
    })
}

/// Whether an answer has so many values that writing it would keep others waiting.
fn is_long(body: &Value) -> bool {
    fn take(value: &Value, room: usize) -> Option<usize> {
        let room = room.checked_sub(1)?;
        match value {
            Value::Array(items) => items.iter().try_fold(room, |room, item| take(item, room)),
            Value::Object(fields) => fields.values().try_fold(room, |room, field| take(field, room)),
            _ => Some(room),
        }
    }
    take(body, SHORT).is_none()
}

/// The response, and whether there is a key in it.
fn http(response: &Response) -> (HttpResponse<Body>, bool) {
    let text = response.body.to_string();
    let holds_key = names_key(text.as_bytes());
    let mut http = HttpResponse::new(Body::from(text));
    *http.status_mut() = StatusCode::from_u16(response.status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
    http.headers_mut().insert(header::CONTENT_TYPE, HeaderValue::from_static("application/json;charset=utf-8"));
    if let Some(milliseconds) = response.retry_after {
        http.headers_mut().insert("x-acs-retry-after", HeaderValue::from(milliseconds));
    }
    (http, holds_key)
}

fn now() -> UnixMillis {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    UnixMillis(u64::try_from(since.as_millis()).unwrap_or(u64::MAX))
}

#[cfg(test)]
mod tests {
    use tokio::io::{AsyncReadExt, AsyncWriteExt};
    use tokio::net::TcpStream;
    use tokio::sync::oneshot;

    use super::super::tls::Identity;
    use super::*;
    use crate::cen::command::Submission;
    use crate::cen::nonce::UsedNonce;
    use crate::cen::openapi::action::{Action, Answer, Context, Purpose, VPC};
    use crate::cen::openapi::authentication::AccessKeys;
    use crate::cen::openapi::live::{LiveGateways, NoGateways};
    use crate::cen::openapi::parameter::{Kind, optional};
    use crate::cen::openapi::rpc::Parameters;
    use crate::cen::state::State;
    use crate::crypto::secret::Secret;
    use crate::io::openapi_client::{OpenApiClient, Product, Signing};

    struct Nothing;

    impl Cloud for Nothing {
        fn state(&self) -> Arc<State> {
            Arc::default()
        }

        fn live(&self) -> Arc<dyn LiveGateways> {
            Arc::new(NoGateways)
        }

        async fn work<T: Send + 'static>(
            &self,
            _: Purpose,
            work: impl FnOnce() -> T + Send + 'static,
        ) -> Result<T, ApiError> {
            Ok(work())
        }

        async fn submit(&self, _: Submission, _: UsedNonce) -> Result<(), ApiError> {
            Ok(())
        }
    }

    fn echo(parameters: &Parameters, _: &mut Context<'_>) -> Result<Answer, ApiError> {
        Ok(Answer::Read(serde_json::json!({"Name": parameters.required("Name")?})))
    }

    fn panic(_: &Parameters, _: &mut Context<'_>) -> Result<Answer, ApiError> {
        panic!("on purpose: {}", "what a client must not see");
    }

    static ACTIONS: &[&[Action]] = &[&[
        Action { version: VPC, name: "Echo", parameters: &[optional("Name", Kind::Text)], handler: echo, busy: &[] },
        Action { version: VPC, name: "Panic", parameters: &[], handler: panic, busy: &[] },
    ]];

    #[tokio::test]
    async fn a_connection_that_carried_a_key_is_closed() {
        let service = Arc::new(Service::new(Nothing, AccessKeys::default(), ACTIONS));
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        tokio::spawn(serve(vec![Listener { listener, tls: None }], service, None, std::future::pending()));
        let psk = "Action=Echo&IkeConfig=%7B%22Psk%22%3A%22x%22%7D";
        let cases = [
            ("", psk, true),
            (psk, "", true),
            ("", "Action=Echo&Tunnel.1.IkeConfig.Psk=x", true),
            ("", "Psk=x", true),
            ("", "IkeConfig=%7B%22%50sk%22%3A%22x%22%7D", true),
            ("", "IkeConfig=%7B%22%5Cu0050sk%22%3A%22x%22%7D", true),
            ("", "Action=Echo", false),
            // Three letters that a signature, an id or a nonce has by chance.
            ("Signature=%2FMhoPsKUCKZ6N%2BpSk%3D", "", false),
            ("Signature=x%2BpSK%2Fs%3D", "", false),
            ("", "CenId=cen-dku69a8pskdtfu", false),
        ];
        for (query, body, closed) in cases {
            let mut stream = TcpStream::connect(address).await.unwrap();
            let length = body.len();
            let request = format!("POST /?{query} HTTP/1.1\r\nHost: x\r\nContent-Length: {length}\r\n\r\n{body}");
            stream.write_all(request.as_bytes()).await.unwrap();
            let mut answer = Vec::new();
            while !answer.windows(4).any(|end| end == b"\r\n\r\n") {
                assert_ne!(stream.read_buf(&mut answer).await.unwrap(), 0, "an answer comes");
            }
            let answer = String::from_utf8_lossy(&answer).to_ascii_lowercase();
            assert_eq!(answer.contains("connection: close"), closed, "{query} {body}: {answer}");
        }
    }

    #[tokio::test]
    async fn a_caller_that_is_refused_while_it_sends_reads_why() {
        let service = Arc::new(Service::new(Nothing, AccessKeys::default(), ACTIONS));
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        tokio::spawn(serve(vec![Listener { listener, tls: None }], service, None, std::future::pending()));
        for length in [MAX_BODY + 1, 4 * MAX_BODY] {
            let mut stream = TcpStream::connect(address).await.unwrap();
            let head = format!("POST / HTTP/1.1\r\nHost: x\r\nContent-Length: {length}\r\n\r\n");
            stream.write_all(head.as_bytes()).await.unwrap();
            stream.write_all(&vec![b'x'; length]).await.expect("the server lets it end");
            let mut answer = String::new();
            timeout(PATIENCE, stream.read_to_string(&mut answer)).await.expect("an answer, and an end").unwrap();
            assert!(answer.starts_with("HTTP/1.1 413"), "{answer}");
        }
    }

    /// More connections than there are places say nothing, and a caller is answered at once; the silent ones are left.
    #[tokio::test]
    async fn silent_connections_keep_nobody_out() {
        let service = Arc::new(Service::new(Nothing, AccessKeys::default(), ACTIONS));
        let folder = tempfile::tempdir().unwrap();
        let own = Identity::Own { directory: folder.path().to_owned() };
        let tls = Tls::new(&own, &["localhost".to_owned()], &[]).unwrap();
        let ca = tls.ca.clone();
        let (plain, secure) =
            (TcpListener::bind("127.0.0.1:0").await.unwrap(), TcpListener::bind("127.0.0.1:0").await.unwrap());
        let addresses = [plain.local_addr().unwrap(), secure.local_addr().unwrap()];
        let listeners = vec![Listener { listener: plain, tls: None }, Listener { listener: secure, tls: Some(tls) }];
        tokio::spawn(serve(listeners, service, ca.clone(), std::future::pending()));
        let mut silent = Vec::new();
        for n in 0..CLIENTS.of_source + 100 {
            let mut stream = TcpStream::connect(addresses[n % 2]).await.unwrap();
            // Half a head, or half a handshake: a record's type and version.
            stream.write_all([&b"GET /"[..], &[22, 3, 1]][n % 2]).await.unwrap();
            silent.push(stream);
        }
        let began = std::time::Instant::now();
        let mut stream = TcpStream::connect(addresses[0]).await.unwrap();
        stream.write_all(b"GET /ca.pem HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n").await.unwrap();
        let mut answer = String::new();
        timeout(PATIENCE, stream.read_to_string(&mut answer)).await.expect("an answer").unwrap();
        assert!(answer.ends_with(&*ca.unwrap()) && began.elapsed() < PATIENCE / 2, "{:?} {answer}", began.elapsed());
        let mut first = silent.swap_remove(0);
        let mut byte = [0];
        let left = timeout(PATIENCE / 2, first.read(&mut byte)).await.expect("it is left for a new one");
        assert!(matches!(left, Ok(0) | Err(_)));
    }

    #[tokio::test]
    async fn calls_are_answered_also_after_one_that_panicked_until_the_server_stops() {
        let mut keys = AccessKeys::default();
        keys.insert("id", Secret::new(b"secret".to_vec()));
        let service = Arc::new(Service::new(Nothing, keys, ACTIONS));
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let endpoint = listener.local_addr().unwrap().to_string();
        let (stop, stopped) = oneshot::channel::<()>();
        let listeners = vec![Listener { listener, tls: None }];
        let server = tokio::spawn(serve(listeners, service, None, async move { stopped.await.unwrap_or_default() }));
        let client = OpenApiClient::new(&endpoint, None, "id".to_owned(), Secret::new(b"secret".to_vec())).unwrap();
        let name = Parameters::parse("Name=a+b%2A%E4%B8%AD".as_bytes()).unwrap();

        let panicked = client.call(Product::Vpc, "Panic", &name, Signing::Acs3).await.unwrap();
        assert_eq!((panicked.status, panicked.body["Code"].as_str()), (500, Some("InternalError")));
        assert!(!panicked.body.to_string().contains("on purpose"));
        for signing in [Signing::Acs3, Signing::Rpc] {
            let answer = client.call(Product::Vpc, "Echo", &name, signing).await.unwrap();
            assert_eq!((answer.status, answer.body["Name"].as_str()), (200, Some("a b*中")));
            let refused = client.call(Product::Vpc, "Echo", &Parameters::default(), signing).await.unwrap();
            assert_eq!((refused.status, refused.body["Code"].as_str()), (400, Some("MissingName")));
        }
        stop.send(()).unwrap();
        timeout(Duration::from_secs(5), server).await.expect("the server stops").unwrap();
        assert!(client.call(Product::Vpc, "Echo", &name, Signing::Acs3).await.is_err());
    }
}
