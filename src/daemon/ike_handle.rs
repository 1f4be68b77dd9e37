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

/// The IKE thread does not get round to what it is asked.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("IKE is too busy to be asked for anything")]
pub struct IkeBusy;

/// Asks the IKE thread for things, from any other thread.
#[derive(Clone, Debug)]
pub struct IkeHandle {
    /// What the thread is asked, in order.
    pub requests: mpsc::SyncSender<Request>,
    /// Wakes it, so that it looks.
    pub waker: Waker,
}

impl IkeHandle {
    /// Asks the thread for something and wakes it. Waits for nothing.
    ///
    /// # Errors
    /// The thread leaves so many requests lying that it takes no more.
    pub fn send(&self, request: Request) -> Result<(), IkeBusy> {
        let sent = self.requests.try_send(request);
        self.waker.wake();
        match sent {
            Err(mpsc::TrySendError::Full(_)) => Err(IkeBusy),
            // An IKE thread that has ended takes the process with it; see `threads`.
            Ok(()) | Err(mpsc::TrySendError::Disconnected(_)) => Ok(()),
        }
    }

    /// What IKE and the data path look like. None when IKE does not answer in time, or is about to end.
    pub async fn snapshot(&self) -> Option<Arc<IkeSnapshot>> {
        let (asker, answer) = oneshot::channel();
        self.send(Request::Snapshot(asker)).ok()?;
        timeout(SNAPSHOT_TIMEOUT, answer).await.ok()?.ok()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ike::Command;

    #[test]
    fn a_thread_that_does_not_listen_is_not_waited_for() {
        let (requests, _asked) = mpsc::sync_channel(2);
        let handle = IkeHandle { requests, waker: Waker::new().unwrap() };
        let ask = || handle.send(Request::Command(Command::Shutdown));
        assert_eq!([ask(), ask(), ask()], [Ok(()), Ok(()), Err(IkeBusy)]);
    }
}
