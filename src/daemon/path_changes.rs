//! Tells IKE when a link, an address or a route of this machine has changed: a path that was away may be back.

use std::time::Duration;

use tokio::time::sleep;
use tracing::debug;

use super::ike_handle::IkeHandle;
use super::ike_thread::Request;
use crate::ike::Command;
use crate::io::netlink::{Change, Changes, NetlinkError};
use crate::io::netns::Namespace;
use crate::routing::PROTOCOL_GATEWAYD;

/// Changes that are closer together are told together: the first at once, the others after this time.
const APART: Duration = Duration::from_secs(1);
/// How long after the kernel could not be listened to that is tried again. Without it, paths are found by repetitions alone.
const LISTEN_AGAIN: Duration = Duration::from_secs(10);

/// What the kernel's changes are heard from.
trait Listener: Send {
    /// The next change; `None` once some were lost.
    fn next(&mut self) -> impl Future<Output = Option<Change>> + Send;
    /// Forgets those that have been heard by now.
    fn forget(&mut self);
}

impl Listener for Changes {
    fn next(&mut self) -> impl Future<Output = Option<Change>> + Send {
        Changes::next(self)
    }

    fn forget(&mut self) {
        Changes::forget(self);
    }
}

/// Tells of every change from now on.
pub async fn follow(ike: IkeHandle) {
    let tell_ike = || ike.send(Request::Command(Command::PathsChanged));
    follow_by(|| Changes::listen(&Namespace::Own), tell_ike).await;
}

async fn follow_by<L: Listener>(listen: impl Fn() -> Result<L, NetlinkError>, tell_ike: impl Fn()) {
    let mut missed = false;
    loop {
        match listen() {
            Ok(changes) => {
                // What came while nobody listened is not known.
                if std::mem::replace(&mut missed, true) {
                    tell_ike();
                }
                tell(changes, &tell_ike).await;
            }
            Err(error) => {
                debug!(%error, "the kernel's changes cannot be heard of");
                sleep(LISTEN_AGAIN).await;
            }
        }
    }
}

/// Tells of the changes until the kernel has had more news than could be read.
async fn tell(mut changes: impl Listener, told: impl Fn()) {
    while let Some(change) = changes.next().await {
        if !may_lead_to_a_peer(change) {
            continue;
        }
        // What else has been heard by now is told with it.
        changes.forget();
        told();
        sleep(APART).await;
    }
}

/// Our own routes lead into the tunnel, and rules alone bring no path back.
fn may_lead_to_a_peer(change: Change) -> bool {
    match change {
        Change::Route { protocol, .. } => protocol != PROTOCOL_GATEWAYD,
        Change::Link | Change::Address => true,
        Change::Rule => false,
    }
}

#[cfg(test)]
mod tests {
    use std::cell::{Cell, RefCell};
    use std::collections::VecDeque;

    use super::*;

    /// Hears these, then that more was lost, or nothing any more.
    struct Heard(VecDeque<Change>, bool);

    impl Listener for Heard {
        async fn next(&mut self) -> Option<Change> {
            match self.0.pop_front() {
                None if !self.1 => std::future::pending().await,
                change => change,
            }
        }

        fn forget(&mut self) {}
    }

    #[tokio::test]
    async fn what_was_lost_is_told_as_a_change_and_our_own_routes_are_not() {
        let route = |protocol| Change::Route { protocol, table: 254 };
        let first = Heard([route(PROTOCOL_GATEWAYD), Change::Rule].into(), true);
        let second = Heard([route(4), route(PROTOCOL_GATEWAYD)].into(), false);
        let listeners = RefCell::new(VecDeque::from([first, second]));
        let (told, at_listening) = (Cell::new(0), RefCell::new(Vec::new()));
        let listen = || {
            at_listening.borrow_mut().push(told.get());
            Ok(listeners.borrow_mut().pop_front().expect("two are enough"))
        };
        let follow = follow_by(listen, || told.set(told.get() + 1));
        let _ = tokio::time::timeout(APART / 2, follow).await;
        // Once since some were lost (ENOBUFS), and once for the route.
        assert_eq!((told.get(), at_listening.into_inner()), (2, vec![0, 0]));
    }
}
