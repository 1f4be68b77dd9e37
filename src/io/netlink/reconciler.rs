//! Bringing the kernel of a namespace to what it should be, and knowing when to look at it again.
use std::collections::{BTreeSet, HashSet};
use std::time::Duration;

use rtnetlink::MulticastGroup;
use tokio::time::{Instant, sleep, sleep_until};
use tracing::{debug, info, warn};

use super::kernel_watch::{RESYNC, Reason};
use super::message::RouteHead;
use super::watch::{Change, Changes, OF_DEVICES};
use super::{Netlink, NetlinkError, Outcome, PinnedDevice};
use crate::io::netns::Namespace;
use crate::routing::{KernelState, reconcile};

/// How long to collect further changes before looking.
const SETTLE: Duration = Duration::from_millis(20);
/// How long to wait after the namespace could not be read.
const RETRY: Duration = Duration::from_secs(1);

/// Compares and changes the routes and rules under one protocol number in one namespace.
pub struct Reconciler {
    namespace: Namespace,
    protocol: u8,
    netlink: Option<Netlink>,
    pinned: Option<PinnedDevice>,
    complaints: BTreeSet<String>,
}

impl Reconciler {
    /// A reconciler for what stands under `protocol` in `namespace`. Nothing is opened yet.
    pub fn new(namespace: Namespace, protocol: u8) -> Self {
        Reconciler { namespace, protocol, netlink: None, pinned: None, complaints: BTreeSet::new() }
    }

    /// Pins a device: its name in a route means it, whatever it is called at the moment, and never another one.
    pub fn pin(&mut self, device: Option<PinnedDevice>) {
        if self.pinned != device {
            self.pinned = device;
            self.netlink = None;
        }
    }

    /// The socket, opened anew if the namespace was deleted and made again.
    fn netlink(&mut self) -> Result<&Netlink, NetlinkError> {
        let current = self.netlink.take().filter(|netlink| netlink.is_in(&self.namespace));
        let netlink = match current {
            Some(netlink) => netlink,
            None => Netlink::open(&self.namespace)?.with_pinned(self.pinned.clone()),
        };
        Ok(self.netlink.insert(netlink))
    }

    /// What the namespace has now of what matters to `desired`: the rules, the routes under the protocol number, and
    /// everybody's that may hold the place of a wanted one.
    ///
    /// # Errors
    /// The namespace cannot be entered, or the kernel refused to answer.
    pub async fn actual(&mut self, desired: &KernelState) -> Result<KernelState, NetlinkError> {
        let places: HashSet<_> = desired.routes.iter().map(|route| (route.table, route.destination)).collect();
        let protocol = self.protocol;
        let matters = |head: &RouteHead| head.protocol == protocol || places.contains(&(head.table, head.destination));
        self.netlink()?.state_of(matters).await
    }

    /// Brings the namespace from `actual` to `desired`.
    ///
    /// # Errors
    /// The namespace cannot be entered, or the kernel refused to answer at all.
    pub async fn bring(&mut self, desired: &KernelState, actual: &KernelState) -> Result<Outcome, NetlinkError> {
        let diff = reconcile(desired, actual, self.protocol);
        let outcome = if diff.is_empty() {
            Outcome { blocked: diff.blocked, ..Outcome::default() }
        } else {
            self.netlink()?.apply(diff).await?
        };
        if outcome.set + outcome.removed > 0 {
            info!(namespace = %self.namespace, set = outcome.set, removed = outcome.removed, "kernel routes changed");
        }
        Ok(outcome)
    }

    /// Reads, compares, changes. What is blocked or refused is logged when it is new.
    ///
    /// # Errors
    /// As [`Reconciler::actual`] and [`Reconciler::bring`].
    pub async fn round(&mut self, desired: &KernelState) -> Result<Outcome, NetlinkError> {
        let actual = self.actual(desired).await?;
        let outcome = self.bring(desired, &actual).await?;
        self.complain(&outcome);
        Ok(outcome)
    }

    /// Logs what is blocked or refused and was not the last time.
    pub(super) fn complain(&mut self, outcome: &Outcome) {
        let complaints: BTreeSet<String> = outcome.complaints().collect();
        for complaint in complaints.difference(&self.complaints) {
            warn!(namespace = %self.namespace, "{complaint}");
        }
        self.complaints = complaints;
    }
}

/// Says when the kernel of a namespace must be looked at again.
pub struct Occasions {
    namespace: Namespace,
    groups: &'static [MulticastGroup],
    pub(super) concerns: Box<dyn Fn(Change) -> bool + Send>,
    changes: Option<Changes>,
    resync: Instant,
}

impl Occasions {
    /// Occasions are the changes in `namespace` of devices and addresses that `concerns` picks, and every minute.
    pub fn of_devices(namespace: Namespace, concerns: fn(Change) -> bool) -> Self {
        Self::new(namespace, &OF_DEVICES, concerns)
    }

    pub(super) fn new(
        namespace: Namespace,
        groups: &'static [MulticastGroup],
        concerns: impl Fn(Change) -> bool + Send + 'static,
    ) -> Self {
        Occasions { namespace, groups, concerns: Box::new(concerns), changes: None, resync: Instant::now() + RESYNC }
    }

    /// Forgets what was heard so far and starts to listen; to be called before the kernel is read.
    pub fn begin(&mut self) {
        match &mut self.changes {
            Some(changes) => changes.forget(),
            None => match Changes::listen_to(&self.namespace, self.groups) {
                Ok(changes) => self.changes = Some(changes),
                Err(error) => debug!(namespace = %self.namespace, %error, "cannot listen for kernel changes"),
            },
        }
    }

    /// Waits for the next occasion. May be dropped and called again.
    pub async fn next(&mut self) -> Reason {
        loop {
            let Some(changes) = &mut self.changes else {
                sleep(RETRY).await;
                return Reason::Resync;
            };
            tokio::select! {
                change = changes.next() => match change {
                    Some(change) if (self.concerns)(change) => {
                        sleep(SETTLE).await;
                        return Reason::KernelChanged;
                    }
                    Some(_) => {}
                    None => self.changes = None,
                },
                () = sleep_until(self.resync) => {
                    self.resync = Instant::now() + RESYNC;
                    // A namespace that was deleted and made again needs a new socket.
                    self.changes = None;
                    return Reason::Resync;
                }
            }
        }
    }
}
