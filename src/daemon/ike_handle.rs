//! The way to the IKE thread.

use std::sync::{Arc, mpsc};
use std::time::Duration;

use tokio::sync::oneshot;
use tokio::time::timeout;

use super::ike_thread::{IkeSnapshot, Request};
use crate::dataplane::device::Wake;
use crate::io::wake::Waker;

/// How long a status waits for IKE.
const SNAPSHOT_TIMEOUT: Duration = Duration::from_secs(5);

/// Asks the IKE thread for things, from any other thread.
#[derive(Clone, Debug)]
pub struct IkeHandle {
    /// What the thread is asked, in order.
    pub requests: mpsc::Sender<Request>,
    /// Wakes it, so that it looks.
    pub waker: Waker,
}

impl IkeHandle {
    /// Asks the thread for something and wakes it.
    pub fn send(&self, request: Request) {
        // An IKE thread that has ended takes the process with it; see `threads`.
        let _ = self.requests.send(request);
        self.waker.wake();
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
        self.send(request(asker));
        timeout(SNAPSHOT_TIMEOUT, answer).await.ok()?.ok()
    }
}
