//! Tells IKE when a path to a peer may be back: this machine has a link or an address again, or a route that leads to a peer
//! or to us is another one. Whatever else changes, as containers and routing daemons do all the time, is no news.

use std::collections::{HashMap, HashSet};
use std::net::IpAddr;
use std::time::Duration;

use tokio::sync::watch;
use tokio::time::{Instant, sleep, sleep_until};
use tracing::debug;

use super::ike_handle::IkeHandle;
use super::ike_thread::Request;
use crate::ike::Command;
use crate::io::netlink::{Change, Changes, LinkState, NetlinkError};
use crate::io::netns::Namespace;
use crate::routing::{PROTOCOL_GATEWAYD, SharedSet, holds_any};

/// Changes that are closer together are told together: the first at once, the others after this time.
const APART: Duration = Duration::from_secs(1);
/// How long after the kernel could not be listened to that is tried again. Without it, paths are found by repetitions alone.
const LISTEN_AGAIN: Duration = Duration::from_secs(10);
/// Devices, and addresses, of which it is known how they are. With more it is forgotten, and found out anew.
const KNOWN: usize = 4096;

/// Between which addresses the paths lead.
pub struct OuterAddresses {
    /// This gateway's.
    pub ours: Vec<IpAddr>,
    /// The peers', as far as they are known.
    pub peers: watch::Receiver<SharedSet<IpAddr>>,
}

/// What the kernel's changes are heard from.
trait Listener: Send {
    /// The next change; `None` once some were lost. Whoever stops to wait misses none.
    fn next(&mut self) -> impl Future<Output = Option<Change>> + Send;
}

impl Listener for Changes {
    fn next(&mut self) -> impl Future<Output = Option<Change>> + Send {
        Changes::next(self)
    }
}

/// Tells of every path that may be back, from now on.
pub async fn follow(ike: IkeHandle, outer: OuterAddresses) {
    let tell_ike = || ike.send(Request::Command(Command::PathsChanged));
    follow_by(|| Changes::listen(&Namespace::Own), &outer, tell_ike).await;
}

async fn follow_by<L: Listener>(
    listen: impl Fn() -> Result<L, NetlinkError>,
    outer: &OuterAddresses,
    tell_ike: impl Fn(),
) {
    let mut missed = false;
    loop {
        match listen() {
            Ok(changes) => {
                // What came while nobody listened is not known.
                if std::mem::replace(&mut missed, true) {
                    tell_ike();
                }
                tell(changes, outer, &tell_ike).await;
            }
            Err(error) => {
                debug!(%error, "the kernel's changes cannot be heard of");
                sleep(LISTEN_AGAIN).await;
            }
        }
    }
}

/// Tells of the changes until the kernel has had more news than could be read.
async fn tell(mut changes: impl Listener, outer: &OuterAddresses, told: impl Fn()) {
    let (mut known, mut owed, mut next) = (Known::default(), false, Instant::now());
    loop {
        tokio::select! {
            change = changes.next() => match change {
                Some(change) => owed |= known.is_news(change, outer),
                // Who listens anew tells of it.
                None => return,
            },
            () = sleep_until(next), if owed => {
                owed = false;
                told();
                next = Instant::now() + APART;
            }
        }
    }
}

/// How devices and addresses were when they were last heard of.
#[derive(Default)]
struct Known {
    links: HashMap<u32, LinkState>,
    addresses: HashSet<(u32, IpAddr)>,
}

impl Known {
    /// Whether a path to a peer may be back, in this order:
    /// 1. Our own routes lead into the tunnel.
    /// 2. Another route counts if it leads everywhere, to a peer, or to one of our addresses; also when it goes, as the next
    ///    one takes its place.
    /// 3. A link counts if it was down and is not. A new one has no address yet.
    /// 4. An address counts when it comes, if others than neighbours can reach it; not when its lifetime is told anew.
    fn is_news(&mut self, change: Change, outer: &OuterAddresses) -> bool {
        match change {
            Change::Route { protocol, destination, table: _ } => {
                let to_us = || outer.ours.iter().any(|address| destination.contains(address));
                protocol != PROTOCOL_GATEWAYD
                    && (destination.prefix_len() == 0 || holds_any(&destination, &outer.peers.borrow()) || to_us())
            }
            Change::Link { device, state: LinkState::Gone } => {
                self.links.remove(&device);
                false
            }
            Change::Link { device, state } => {
                if self.links.len() >= KNOWN {
                    self.links.clear();
                }
                let before = self.links.get(&device).copied();
                // Until it runs for the first time, a new one stays new.
                let stays = state == LinkState::Down && before == Some(LinkState::New);
                self.links.insert(device, if stays { LinkState::New } else { state });
                state == LinkState::Running && before == Some(LinkState::Down)
            }
            Change::Address { device, address, usable: false } => {
                self.addresses.remove(&(device, address));
                false
            }
            Change::Address { device, address, usable: true } => {
                if self.addresses.len() >= KNOWN {
                    self.addresses.clear();
                }
                self.addresses.insert((device, address)) && reaches_far(address)
            }
            Change::Rule => false,
        }
    }
}

fn reaches_far(address: IpAddr) -> bool {
    let near = match address {
        IpAddr::V4(address) => address.is_loopback() || address.is_link_local(),
        IpAddr::V6(address) => address.is_loopback() || address.is_unicast_link_local(),
    };
    !near
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
    }

    fn route(protocol: u8, destination: &str) -> Change {
        Change::Route { protocol, table: 254, destination: destination.parse().expect("a prefix") }
    }

    fn outer() -> OuterAddresses {
        let address = |text: &str| text.parse().expect("an address");
        let peers = SharedSet::from([address("198.51.100.9"), address("2001:db8::9")]);
        OuterAddresses { ours: vec![address("203.0.113.1")], peers: watch::channel(peers).1 }
    }

    #[tokio::test]
    async fn what_was_lost_is_told_as_a_change_and_our_own_routes_are_not() {
        let first = Heard([route(PROTOCOL_GATEWAYD, "0.0.0.0/0"), Change::Rule].into(), true);
        let second = Heard([route(4, "0.0.0.0/0"), route(PROTOCOL_GATEWAYD, "0.0.0.0/0")].into(), false);
        let listeners = RefCell::new(VecDeque::from([first, second]));
        let (told, at_listening) = (Cell::new(0), RefCell::new(Vec::new()));
        let listen = || {
            at_listening.borrow_mut().push(told.get());
            Ok(listeners.borrow_mut().pop_front().expect("two are enough"))
        };
        let outer = outer();
        let follow = follow_by(listen, &outer, || told.set(told.get() + 1));
        let _ = tokio::time::timeout(APART / 2, follow).await;
        // Once since some were lost (ENOBUFS), and once for the route.
        assert_eq!((told.get(), at_listening.into_inner()), (2, vec![0, 0]));
    }

    #[test]
    fn only_a_path_between_us_and_a_peer_is_news() {
        let (outer, mut known) = (outer(), Known::default());
        let mut is_news = |change| known.is_news(change, &outer);
        // A routing daemon's routes; a default route, ones to a peer, one to us.
        for (destination, news) in [
            ("10.9.0.0/16", false),
            ("198.51.100.0/29", false),
            ("2001:db8:1::/48", false),
            ("0.0.0.0/0", true),
            ("::/0", true),
            ("198.51.100.0/24", true),
            ("2001:db8::/64", true),
            ("203.0.113.1/32", true),
        ] {
            assert_eq!(is_news(route(186, destination)), news, "{destination}");
        }
        let link = |state| Change::Link { device: 7, state };
        let address =
            |text: &str, usable| Change::Address { device: 7, address: text.parse().expect("an address"), usable };
        // A container comes and goes.
        use LinkState::{Down, Gone, New, Running};
        for state in [New, Down, Running] {
            assert!(!is_news(link(state)), "{state:?}");
        }
        assert!(!is_news(address("fe80::7", true)));
        for state in [Down, Gone, New, Running, Running] {
            assert!(!is_news(link(state)), "{state:?} later");
        }
        // An uplink does.
        for (state, news) in [(Down, false), (Running, true), (Running, false)] {
            assert_eq!(is_news(link(state)), news, "{state:?} of an uplink");
        }
        for (usable, news) in [(false, false), (true, true), (true, false), (false, false), (true, true)] {
            assert_eq!(is_news(address("2001:db8:7::7", usable)), news, "{usable}");
        }
        assert!(!is_news(Change::Rule));
    }
}
