//! Peers that are configured by name: resolved at the start, and again and again.

use std::collections::BTreeSet;
use std::net::IpAddr;
use std::time::Duration;

use tokio::sync::{mpsc, watch};

/// How long an address is taken for right.
const AGAIN: Duration = Duration::from_secs(60);
/// How long after a failure the next attempt comes.
const RETRY: Duration = Duration::from_secs(5);

/// What a name resolved to, or why it did not.
pub type Resolution = (String, Result<IpAddr, String>);

/// Resolves the names of `names` until nobody wants the results.
pub async fn resolve(mut names: watch::Receiver<BTreeSet<String>>, results: mpsc::Sender<Resolution>) {
    loop {
        let wanted = names.borrow_and_update().clone();
        let mut failed = false;
        for name in wanted {
            let result = look_up(&name).await;
            failed |= result.is_err();
            if results.send((name, result)).await.is_err() {
                return;
            }
        }
        let pause = tokio::time::sleep(if failed { RETRY } else { AGAIN });
        tokio::select! {
            changed = names.changed() => if changed.is_err() { return },
            () = pause => {}
        }
    }
}

/// The lowest of a name's addresses, IPv4 first: a resolver that turns its answers round must not move the peer.
async fn look_up(name: &str) -> Result<IpAddr, String> {
    let found = tokio::net::lookup_host((name, 0)).await.map_err(|error| format!("cannot resolve {name}: {error}"))?;
    let addresses: BTreeSet<IpAddr> = found.map(|address| address.ip()).collect();
    addresses.into_iter().next().ok_or_else(|| format!("{name} has no address"))
}
