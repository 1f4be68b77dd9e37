//! Knowing what a namespace has without reading it again and again: one change costs one look.
use std::io;
use std::time::Duration;

use netlink_packet_route::AddressFamily;
use rtnetlink::MulticastGroup;
use tokio::time::{Instant, sleep, sleep_until};
use tracing::debug;

use super::error::NetlinkError;
use super::message::{Message, messages};
use super::mirror::{Mirror, Reading, Unread};
use super::socket::{Dump, RouteSocket};
use super::{Link, PinnedDevice};
use crate::io::netns::Namespace;
use crate::routing::{Destinations, Interest, Picture};

/// How often everything is read even if nobody reported a change.
pub const RESYNC: Duration = Duration::from_secs(60);
/// How long to collect further changes before looking.
const SETTLE: Duration = Duration::from_millis(20);
/// How long to wait where the kernel cannot be listened to.
const RETRY: Duration = Duration::from_secs(1);
/// What was lost is read again after as long as so many readings took, but not later than this: while somebody loads a
/// whole table, the kernel tells more than can be read.
const READING_SHARE: u32 = 10;
const LATEST_READING: Duration = Duration::from_secs(1);
/// Changes that one look takes, and without letting other tasks have a turn; more wait for the next look.
const CHANGES_AT_ONCE: usize = 16_384;
const CHANGES_A_TURN: usize = 256;

const GROUPS: [MulticastGroup; 7] = [
    MulticastGroup::Link,
    MulticastGroup::Ipv4Ifaddr,
    MulticastGroup::Ipv4Route,
    MulticastGroup::Ipv4Rule,
    MulticastGroup::Ipv6Route,
    MulticastGroup::Ipv6Rule,
    MulticastGroup::Nexthop,
];

const FAMILIES: [AddressFamily; 2] = [AddressFamily::Inet, AddressFamily::Inet6];

/// Why the kernel has to be looked at again.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Reason {
    /// Something was touched in the kernel.
    KernelChanged,
    /// The time for a full comparison has come.
    Resync,
}

/// What matters of a namespace's routes, rules and devices, and what changes of it.
///
/// It is read as a whole at first, when the kernel had more to tell than could be heard, when something happened of which
/// the kernel does not tell all, when more matters than before, and every minute. Otherwise each change is taken as the
/// kernel tells it.
pub struct KernelWatch {
    namespace: Namespace,
    /// Which life of the namespace the socket is in.
    identity: Option<u64>,
    socket: Option<RouteSocket>,
    mirror: Mirror,
    resync: Instant,
    /// When routes were read last, and how long that took.
    read: Option<(Instant, Duration)>,
}

impl KernelWatch {
    /// For `namespace`. Nothing is opened or read yet.
    pub fn new(namespace: Namespace) -> Self {
        let resync = Instant::now() + RESYNC;
        KernelWatch { namespace, identity: None, socket: None, mirror: Mirror::new(), resync, read: None }
    }

    /// Pins a device: its name in a route means it, whatever it is called at the moment, and never another one.
    pub fn pin(&mut self, device: Option<PinnedDevice>) {
        self.mirror.pin(device);
    }

    /// From now on this matters, and nothing else.
    pub fn want(&mut self, interest: Interest) {
        self.mirror.want(interest);
    }

    /// Something was not as it was believed to be, so that everything has to be read.
    pub fn distrust(&mut self) {
        self.mirror.unread = Unread::ALL;
    }

    /// The pinned device as it was last seen; `None` if it was not in the namespace.
    pub fn pinned_link(&self) -> Option<&Link> {
        self.mirror.pinned_link()
    }

    /// Takes what the kernel has told, and reads what is not known. Answers the destinations whose routes may be others
    /// than when it was looked last.
    ///
    /// # Errors
    /// The namespace cannot be entered, or the kernel refused to answer.
    pub async fn look(&mut self) -> Result<Destinations, NetlinkError> {
        self.listen();
        self.hear().await;
        if self.mirror.unread.any() {
            self.read().await?;
        }
        Ok(std::mem::replace(&mut self.mirror.told, Destinations::NONE))
    }

    /// What there is of what matters, as of the last look.
    pub fn picture(&self) -> &Picture {
        self.mirror.picture()
    }

    /// Whether something of somebody else's, or the pinned device, has changed since this was asked last.
    pub fn take_news(&mut self) -> bool {
        std::mem::take(&mut self.mirror.news)
    }

    /// Waits until there is something else of what matters. May be dropped and called again.
    pub async fn next(&mut self) -> Reason {
        loop {
            let Mirror { news, told, unread, .. } = &self.mirror;
            if *news || !told.is_empty() || unread.any() {
                sleep_until(self.due()).await;
                return Reason::KernelChanged;
            }
            let Some(socket) = &mut self.socket else {
                sleep(RETRY).await;
                self.distrust();
                return Reason::Resync;
            };
            tokio::select! {
                heard = socket.receive() => match heard {
                    Ok(datagram) => messages(datagram).for_each(|message| self.mirror.told(&message)),
                    Err(error) => self.lost(&error),
                },
                () = sleep_until(self.resync) => {
                    self.resync = Instant::now() + RESYNC;
                    self.distrust();
                    return Reason::Resync;
                }
            }
        }
    }

    /// When to look, after a change: a moment later, as changes come together, and not at once again if everything has to
    /// be read.
    fn due(&self) -> Instant {
        let settled = Instant::now() + SETTLE;
        let read = self.read.filter(|_| self.mirror.unread.routes);
        let rested = read.map(|(at, took)| at + (took * READING_SHARE).min(LATEST_READING));
        rested.map_or(settled, |rested| rested.max(settled))
    }

    /// Listens in the namespace as it is now, which may have been deleted and made again.
    fn listen(&mut self) {
        let identity = self.namespace.identity().ok();
        if self.socket.is_some() && identity == self.identity {
            return;
        }
        // Whatever happened before is not known.
        self.distrust();
        self.identity = identity;
        self.socket = RouteSocket::open(&self.namespace, &GROUPS)
            .inspect_err(|error| debug!(namespace = %self.namespace, %error, "cannot listen for kernel changes"))
            .ok();
    }

    /// Takes what the kernel has told already.
    async fn hear(&mut self) {
        for heard in 1..=CHANGES_AT_ONCE {
            if heard % CHANGES_A_TURN == 0 {
                tokio::task::yield_now().await;
            }
            let Some(socket) = &mut self.socket else { return };
            match socket.take() {
                Ok(Some(datagram)) => messages(datagram).for_each(|message| self.mirror.told(&message)),
                Ok(None) => return,
                Err(error) => self.lost(&error),
            }
        }
    }

    /// Some of what the kernel told has not been heard.
    fn lost(&mut self, error: &io::Error) {
        debug!(namespace = %self.namespace, %error, "changes of the kernel's routes were missed");
        self.distrust();
        if error.raw_os_error() != Some(libc::ENOBUFS) {
            self.socket = None;
        }
    }

    /// Reads what is not known. What happens meanwhile is told, and taken afterwards.
    async fn read(&mut self) -> Result<(), NetlinkError> {
        let Unread { links, routes, rules } = self.mirror.unread;
        let mut socket = RouteSocket::open(&self.namespace, &[])?;
        let refused = |what: &'static str| move |error| NetlinkError::Refused { what: what.to_owned(), error };
        if links {
            let mut reading = Reading::default();
            let each = |message: Message<'_>| reading.link(&message);
            socket.dump(Dump::Links, each).await.map_err(refused("listing devices"))?;
            self.mirror.links_are_read(reading);
        }
        if routes {
            let began = Instant::now();
            let mut reading = Reading::default();
            self.mirror.reads_routes();
            for family in FAMILIES {
                let each = |message: Message<'_>| self.mirror.read_route(&mut reading, &message);
                socket.dump(Dump::Routes(family), each).await.map_err(refused("listing routes"))?;
            }
            self.mirror.routes_are_read(reading);
            let now = Instant::now();
            self.read = Some((now, now.saturating_duration_since(began)));
        }
        if rules {
            let mut reading = Reading::default();
            for family in FAMILIES {
                let each = |message: Message<'_>| reading.rule(&message);
                socket.dump(Dump::Rules(family), each).await.map_err(refused("listing rules"))?;
            }
            self.mirror.rules_are_read(reading);
        }
        Ok(())
    }
}
