//! The HTTP server of the cloud's API.

use std::convert::Infallible;
use std::panic::AssertUnwindSafe;
use std::sync::Arc;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use axum::body::{Body, to_bytes};
use axum::http::{HeaderValue, Request as HttpRequest, Response as HttpResponse, StatusCode, header, request::Parts};
use futures_util::FutureExt;
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::{TokioIo, TokioTimer};
use hyper_util::server::graceful::GracefulShutdown;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::Semaphore;
use tokio::time::{sleep, timeout};

use crate::cen::error::ApiError;
use crate::cen::network::UnixMillis;
use crate::cen::openapi::request::{Request, Response, request_id};
use crate::cen::openapi::service::{Cloud, Service};
use crate::crypto::random::SystemEntropy;

/// The longest body: the longest call of the API has some kilobytes.
const MAX_BODY: usize = 1 << 20;

/// How long a request's head, and then its body, may take to arrive; an idle connection is closed after as long.
const ARRIVAL_TIMEOUT: Duration = Duration::from_secs(60);

/// Connections at once. Further ones wait in the kernel's queue.
const MAX_CONNECTIONS: usize = 1024;

/// How long calls in progress may take after the request to stop.
const SHUTDOWN_TIMEOUT: Duration = Duration::from_secs(1);

/// Serves the API on `listener` until `shutdown` completes, then lets the calls in progress end.
pub async fn serve<C: Cloud>(listener: TcpListener, service: Arc<Service<C>>, shutdown: impl Future<Output = ()>) {
    let (graceful, slots) = (GracefulShutdown::new(), Arc::new(Semaphore::new(MAX_CONNECTIONS)));
    let mut shutdown = std::pin::pin!(shutdown);
    loop {
        let accepted = async {
            let slot = Arc::clone(&slots).acquire_owned().await;
            (slot, listener.accept().await)
        };
        let (slot, stream) = tokio::select! {
            () = &mut shutdown => break,
            (slot, accepted) = accepted => match accepted {
                Ok((stream, _)) => (slot, stream),
                Err(error) => {
                    // Out of descriptors, or the caller has gone: neither ends the server.
                    tracing::warn!(%error, "cannot accept a connection");
                    sleep(Duration::from_millis(100)).await;
                    continue;
                }
            },
        };
        let connection = graceful.watch(connection(stream, Arc::clone(&service)));
        tokio::spawn(async move {
            let _slot = slot;
            if let Err(error) = connection.await {
                tracing::debug!(%error, "connection ended");
            }
        });
    }
    drop(listener);
    // Whoever is slower than this finds the connection closed, as after a crash.
    let _ = timeout(SHUTDOWN_TIMEOUT, graceful.shutdown()).await;
}

fn connection<C: Cloud>(
    stream: TcpStream,
    service: Arc<Service<C>>,
) -> impl hyper_util::server::graceful::GracefulConnection<Error = hyper::Error> {
    // Answers are short: waiting to fill a segment would only delay them.
    let _ = stream.set_nodelay(true);
    let answer = service_fn(move |request| {
        let service = Arc::clone(&service);
        async move { Ok::<_, Infallible>(answer(request, &service).await) }
    });
    http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(ARRIVAL_TIMEOUT)
        .serve_connection(TokioIo::new(stream), answer)
}

/// Answers one request. A panic on the way is a fault of ours, which the caller sees as such and nothing more.
async fn answer<C: Cloud>(request: HttpRequest<Incoming>, service: &Service<C>) -> HttpResponse<Body> {
    let (parts, body) = request.into_parts();
    let body = timeout(ARRIVAL_TIMEOUT, to_bytes(Body::new(body), MAX_BODY)).await;
    let request = match body {
        Ok(Ok(body)) => plain(&parts, body.into()),
        Ok(Err(_)) if announces_too_much(&parts) => {
            Err(ApiError::new(413, "RequestTooLarge", "The request body is too large."))
        }
        Ok(Err(_)) => Err(ApiError::bad_request("InvalidRequestBody", "The request body is too large or incomplete.")),
        Err(_) => Err(ApiError::new(408, "RequestTimeout", "The request body did not arrive in time.")),
    };
    let response = match request {
        Ok(request) => AssertUnwindSafe(service.call(request, now())).catch_unwind().await.unwrap_or_else(|_| {
            tracing::error!("a call panicked");
            refusal(&ApiError::internal())
        }),
        Err(error) => refusal(&error),
    };
    http(&response)
}

fn announces_too_much(parts: &Parts) -> bool {
    let length = parts.headers.get(header::CONTENT_LENGTH).and_then(|value| value.to_str().ok()?.parse::<u64>().ok());
    length.is_some_and(|length| length > MAX_BODY as u64)
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

fn http(response: &Response) -> HttpResponse<Body> {
    let mut http = HttpResponse::new(Body::from(response.body.to_string()));
    *http.status_mut() = StatusCode::from_u16(response.status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
    http.headers_mut().insert(header::CONTENT_TYPE, HeaderValue::from_static("application/json;charset=utf-8"));
    http
}

fn now() -> UnixMillis {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    UnixMillis(u64::try_from(since.as_millis()).unwrap_or(u64::MAX))
}
