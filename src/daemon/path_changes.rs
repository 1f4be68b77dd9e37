//! Tells IKE when a link, an address or a route of this machine has changed: a path that was away may be back.

use std::time::Duration;

use tokio::time::sleep;
use tracing::debug;

use super::ike_handle::IkeHandle;
use super::ike_thread::Request;
use crate::ike::Command;
use crate::io::netlink::{Change, Changes};
use crate::io::netns::Namespace;
use crate::routing::PROTOCOL_GATEWAYD;

/// Changes that are closer together are told together: the first at once, the others after this time.
const APART: Duration = Duration::from_secs(1);
/// How long after the kernel could not be listened to that is tried again. Without it, paths are found by repetitions alone.
const LISTEN_AGAIN: Duration = Duration::from_secs(10);

/// Tells of every change from now on.
pub async fn follow(ike: IkeHandle) {
    let tell_ike = || ike.send(Request::Command(Command::PathsChanged));
    let mut missed = false;
    loop {
        match Changes::listen(&Namespace::Own) {
            Ok(changes) => {
                // What came while nobody listened is not known.
                if std::mem::replace(&mut missed, true) {
                    tell_ike();
                }
                tell(changes, tell_ike).await;
            }
            Err(error) => {
                debug!(%error, "the kernel's changes cannot be heard of");
                sleep(LISTEN_AGAIN).await;
            }
        }
    }
}

/// Tells of the changes until the kernel has had more news than could be read.
async fn tell(mut changes: Changes, told: impl Fn()) {
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
