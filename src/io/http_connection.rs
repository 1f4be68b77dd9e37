//! What both HTTP servers ask of a client, and bound: how long it may keep silent, leave an answer unread, and how much of
//! bodies is held for all clients together.

use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use axum::body::BodyDataStream;
use axum::http::StatusCode;
use futures_util::StreamExt;
use hyper::body::{Body as _, Incoming};
use hyper::server::conn::http1;
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::time::{Instant, Sleep, sleep, timeout};

/// How long a request's head, and then its body, may take to arrive, and how long an answer may lie unread. An idle
/// connection is closed after as long.
pub const PATIENCE: Duration = Duration::from_secs(10);
/// Bodies are counted in units of this many bytes,
const UNIT: usize = 1 << 10;
/// from this length on. Shorter ones are bounded by the number of connections, so that nobody waits for those of others.
const SMALL: usize = 16 << 10;
/// The longest head of a request: one that a client signs has a few kilobytes.
const MAX_HEAD: usize = 64 << 10;
/// How long a connection that ends is still read from,
pub const LINGER: Duration = Duration::from_secs(2);
/// how long when nothing comes,
const QUIET: Duration = Duration::from_millis(200);
/// and how many bytes at most.
const LINGER_BYTES: usize = 64 << 20;

/// Serves HTTP/1 on connections, with so much patience.
pub fn builder(patience: Duration) -> http1::Builder {
    let mut builder = http1::Builder::new();
    builder.timer(TokioTimer::new()).header_read_timeout(patience).max_buf_size(MAX_HEAD);
    builder
}

/// Why a body is not there.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum NoBody {
    /// It is larger than any may be.
    #[error("the body is too large")]
    TooLarge,
    /// It did not arrive in time.
    #[error("the body did not arrive in time")]
    Slow,
    /// The bodies of others left no room for it.
    #[error("too many large requests at a time")]
    NoRoom,
    /// The client went, or sent something else than HTTP.
    #[error("the body is incomplete")]
    Incomplete,
}

impl NoBody {
    /// The status that says so (RFC 9110 section 15).
    pub fn status(self) -> StatusCode {
        match self {
            Self::TooLarge => StatusCode::PAYLOAD_TOO_LARGE,
            Self::Slow => StatusCode::REQUEST_TIMEOUT,
            Self::NoRoom => StatusCode::SERVICE_UNAVAILABLE,
            Self::Incomplete => StatusCode::BAD_REQUEST,
        }
    }
}

/// A whole body, and the room that it takes among all of them until it goes.
#[derive(Debug)]
pub struct HeldBody {
    /// The bytes.
    pub bytes: Vec<u8>,
    room: Option<OwnedSemaphorePermit>,
}

impl HeldBody {
    /// The bytes, and what keeps their room until it is dropped.
    pub fn into_parts(self) -> (Vec<u8>, Option<OwnedSemaphorePermit>) {
        (self.bytes, self.room)
    }
}

/// The bodies of all requests of a server.
#[derive(Clone, Debug)]
pub struct Bodies {
    room: Arc<Semaphore>,
    longest: usize,
    patience: Duration,
}

impl Bodies {
    /// Bodies of at most `longest` bytes each and `together` bytes at a time.
    pub fn new(longest: usize, together: usize, patience: Duration) -> Self {
        Self { room: Arc::new(Semaphore::new(together.max(longest).div_ceil(UNIT))), longest, patience }
    }

    /// Reads a body. Of one whose length the request does not tell, what is more than a small one counts as the longest.
    /// `large` says whether its sender may have one more that takes room, and is kept as long as it takes it.
    ///
    /// # Errors
    /// It is too large, or not there in time.
    pub async fn read<G>(&self, body: Incoming, large: impl FnOnce() -> Option<G>) -> Result<HeldBody, NoBody> {
        // What is announced is known before any of it is read.
        let announced = body.size_hint().exact().map(|length| usize::try_from(length).unwrap_or(usize::MAX));
        if announced.is_some_and(|length| length > self.longest) {
            return Err(NoBody::TooLarge);
        }
        let mut chunks = axum::body::Body::new(body).into_data_stream();
        let mut bytes = Vec::with_capacity(announced.unwrap_or_default().min(SMALL));
        let patience = sleep(self.patience);
        tokio::pin!(patience);
        let begin = async {
            // A small one ends here.
            while announced.is_none_or(|length| length <= SMALL) && bytes.len() <= SMALL {
                let Some(chunk) = chunks.next().await else { return Ok(true) };
                bytes.extend_from_slice(&chunk.map_err(|_| NoBody::Incomplete)?);
            }
            Ok(false)
        };
        let whole = tokio::select! {
            whole = begin => whole?,
            () = &mut patience => return Err(NoBody::Slow),
        };
        if whole {
            return Ok(HeldBody { bytes, room: None });
        }
        let _large = large().ok_or(NoBody::NoRoom)?;
        let length = announced.unwrap_or(self.longest);
        let units = u32::try_from(length.div_ceil(UNIT)).unwrap_or(u32::MAX);
        let room = timeout(self.patience, Arc::clone(&self.room).acquire_many_owned(units));
        let room = room.await.map_err(|_| NoBody::NoRoom)?.ok();
        bytes.reserve_exact(announced.unwrap_or_default().saturating_sub(bytes.len()));
        timeout(self.patience, collect(&mut chunks, &mut bytes, length)).await.map_err(|_| NoBody::Slow)??;
        Ok(HeldBody { bytes, room })
    }
}

async fn collect(chunks: &mut BodyDataStream, bytes: &mut Vec<u8>, longest: usize) -> Result<(), NoBody> {
    if bytes.len() > longest {
        return Err(NoBody::TooLarge);
    }
    while let Some(chunk) = chunks.next().await {
        let chunk = chunk.map_err(|_| NoBody::Incomplete)?;
        if bytes.len() + chunk.len() > longest {
            return Err(NoBody::TooLarge);
        }
        bytes.extend_from_slice(&chunk);
    }
    Ok(())
}

/// A connection that is given up when what waits to be read from it is not, for as long as the patience lasts.
///
/// When the server ends it, what the client still sends is read for a while and thrown away: a request refused before its
/// body was there would else end with a reset, which takes the answer with it (RFC 9112 section 9.6).
#[derive(Debug)]
pub struct Impatient<S> {
    stream: S,
    patience: Duration,
    stalled: Option<Pin<Box<Sleep>>>,
    lingering: Option<Lingering>,
}

#[derive(Debug)]
struct Lingering {
    quiet: Pin<Box<Sleep>>,
    until: Instant,
    bytes: usize,
}

impl Lingering {
    fn new() -> Self {
        Self { quiet: Box::pin(sleep(QUIET)), until: Instant::now() + LINGER, bytes: LINGER_BYTES }
    }
}

impl<S> Impatient<S> {
    /// For hyper.
    pub fn new(stream: S, patience: Duration) -> TokioIo<Self> {
        TokioIo::new(Self { stream, patience, stalled: None, lingering: None })
    }

    /// Passes on what became of a write, unless none could be done for too long.
    fn unless_stalled<T>(&mut self, cx: &mut Context<'_>, outcome: Poll<io::Result<T>>) -> Poll<io::Result<T>> {
        if outcome.is_ready() {
            self.stalled = None;
            return outcome;
        }
        let patience = self.patience;
        let stalled = self.stalled.get_or_insert_with(|| Box::pin(sleep(patience)));
        ready!(stalled.as_mut().poll(cx));
        Poll::Ready(Err(io::ErrorKind::TimedOut.into()))
    }
}

impl<S: AsyncRead + Unpin> AsyncRead for Impatient<S> {
    fn poll_read(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buffer: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_read(cx, buffer)
    }
}

impl<S: AsyncRead + Unpin> Impatient<S> {
    /// Reads until the client has ended the connection too, or has had enough time for it.
    fn poll_linger(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        let lingering = self.lingering.get_or_insert_with(Lingering::new);
        let mut bytes = [std::mem::MaybeUninit::uninit(); 16 << 10];
        while lingering.bytes > 0 && lingering.quiet.as_mut().poll(cx).is_pending() {
            let mut buffer = ReadBuf::uninit(&mut bytes);
            match ready!(Pin::new(&mut self.stream).poll_read(cx, &mut buffer)) {
                Ok(()) if !buffer.filled().is_empty() => {}
                _ => break,
            }
            lingering.bytes = lingering.bytes.saturating_sub(buffer.filled().len());
            lingering.quiet.as_mut().reset(lingering.until.min(Instant::now() + QUIET));
        }
        Poll::Ready(())
    }
}

impl<S: AsyncRead + AsyncWrite + Unpin> AsyncWrite for Impatient<S> {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        let outcome = Pin::new(&mut self.stream).poll_write(cx, bytes);
        self.unless_stalled(cx, outcome)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        parts: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let outcome = Pin::new(&mut self.stream).poll_write_vectored(cx, parts);
        self.unless_stalled(cx, outcome)
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        // TLS takes what it cannot send yet, and is flushed later.
        let outcome = Pin::new(&mut self.stream).poll_flush(cx);
        self.unless_stalled(cx, outcome)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        if self.lingering.is_none() {
            let outcome = Pin::new(&mut self.stream).poll_shutdown(cx);
            ready!(self.unless_stalled(cx, outcome))?;
        }
        self.poll_linger(cx).map(Ok)
    }
}
