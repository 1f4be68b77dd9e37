//! The way to the IKE thread.

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::oneshot;
use tokio::time::timeout;

use super::ike_thread::{IkeSnapshot, Request};
use super::request_queue::RequestQueue;
use crate::dataplane::device::Wake;
use crate::io::wake::Waker;

/// How long a status waits for IKE.
const SNAPSHOT_TIMEOUT: Duration = Duration::from_secs(5);
/// Requests that may wait when somebody wants a snapshot; behind more of them nobody waits.
const BEFORE_SNAPSHOT: usize = 256;

/// Asks the IKE thread for things, from any other thread.
#[derive(Clone, Debug)]
pub struct IkeHandle {
    /// What the thread is asked.
    pub requests: RequestQueue<Request>,
    /// Wakes it, so that it looks.
    pub waker: Waker,
}

impl IkeHandle {
    /// Asks the thread for something and wakes it. Waits for nothing: see [`IkeHandle::has_hung`].
    pub fn send(&self, request: Request) {
        self.requests.add(request);
        self.waker.wake();
    }

    /// Whether the thread left so much lying that something was lost. What IKE does is not what was decided, then, and the
    /// process has to end.
    pub fn has_hung(&self) -> bool {
        self.requests.has_lost()
    }

    /// What IKE and the data path look like. None when IKE does not answer in time, or is about to end.
    pub async fn snapshot(&self) -> Option<Arc<IkeSnapshot>> {
        self.ask(Request::Snapshot).await
    }

    /// The same of one connection, without a look at the others.
    pub async fn snapshot_of(&self, connection: &str) -> Option<Arc<IkeSnapshot>> {
        self.ask(|asker| Request::SnapshotOf(connection.into(), asker)).await
    }

    async fn ask<T>(&self, request: impl FnOnce(oneshot::Sender<T>) -> Request) -> Option<T> {
        let (asker, answer) = oneshot::channel();
        if !self.requests.offer(request(asker), BEFORE_SNAPSHOT) {
            return None;
        }
        self.waker.wake();
        timeout(SNAPSHOT_TIMEOUT, answer).await.ok()?.ok()
    }
}
