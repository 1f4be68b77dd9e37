//! gatewayd's side of its namespace's kernel: routes into the tunnel, and the filter against plaintext, kept in step.
use std::collections::BTreeSet;
use std::net::IpAddr;
use std::sync::Arc;

use ipnet::IpNet;
use tokio::sync::{mpsc, oneshot, watch};
use tokio::task::JoinHandle;
use tracing::warn;

use crate::io::netlink::reconciler::{Occasions, Reason, Reconciler};
use crate::io::netlink::{Change, NetlinkError};
use crate::io::netns::Namespace;
use crate::io::nftables::{FilterError, OuterPorts, PlaintextFilter};
use crate::routing::kernel_routes::TABLE_MAIN;
use crate::routing::{
    AddressRange, Family, KernelState, PROTOCOL_GATEWAYD, RouteKind, kernel_state, protected_sources,
};

/// What stays the same for the life of the tunnel device.
#[derive(Clone, Debug)]
pub struct ForwardingSettings {
    /// Where gatewayd runs.
    pub namespace: Namespace,
    /// Name of the tunnel device.
    pub device: Arc<str>,
    /// Firewall mark of gatewayd's sockets.
    pub mark: u32,
    /// Its UDP ports.
    pub ports: OuterPorts,
}

/// What the route table asks for.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ForwardingTarget {
    /// Destinations of the VPN routes.
    pub destinations: BTreeSet<IpNet>,
    /// Outer addresses of the peers, as configured and as seen.
    pub outer_peers: BTreeSet<IpAddr>,
}

/// Why the kernel is not as the route table asks.
#[derive(Debug, thiserror::Error)]
pub enum ForwardingError {
    /// Routes or rules could not be read or set.
    #[error(transparent)]
    Netlink(#[from] NetlinkError),
    /// The filter against plaintext could not be set.
    #[error("filter against plaintext: {0}")]
    Filter(#[from] FilterError),
    /// Some routes or rules were refused.
    #[error("{} kernel routes or rules were refused, first: {}", .0.len(), .0.first().map(String::as_str).unwrap_or_default())]
    Refused(Vec<String>),
    /// The task that does it has ended.
    #[error("forwarding has been stopped")]
    Stopped,
}

/// Destinations whose packets are dropped, because somebody else's route holds the place of the tunnel's in the kernel.
pub type Blocked = BTreeSet<IpNet>;

/// A handle on the task. Dropped without [`Forwarding::stop`], as in a crash, it leaves blackholes, rules and filter
/// in the kernel.
pub struct Forwarding {
    requests: mpsc::UnboundedSender<(ForwardingTarget, oneshot::Sender<Result<(), ForwardingError>>)>,
    blocked: watch::Receiver<Blocked>,
    filter: PlaintextFilter,
    settings: ForwardingSettings,
    task: JoinHandle<()>,
}

impl Drop for Forwarding {
    fn drop(&mut self) {
        self.task.abort();
    }
}

impl Forwarding {
    /// Starts the task; the kernel is first touched by [`Forwarding::apply`]. The tunnel device must exist by then.
    pub fn start(settings: ForwardingSettings) -> Self {
        let ForwardingSettings { namespace, device, mark, ports } = settings.clone();
        let filter = PlaintextFilter::new(namespace, device, mark, ports);
        let (requests, inbox) = mpsc::unbounded_channel();
        let (blocked_sender, blocked) = watch::channel(Blocked::new());
        let work = Work {
            reconciler: Reconciler::new(settings.namespace.clone(), PROTOCOL_GATEWAYD),
            settings: settings.clone(),
            filter: filter.clone(),
            filtered: None,
            blocked: blocked_sender,
        };
        let task = tokio::spawn(work.run(inbox));
        Forwarding { requests, blocked, filter, settings, task }
    }

    /// Makes the kernel as `target` asks, now and from now on: it is compared again when somebody touches a route, and
    /// every minute.
    ///
    /// # Errors
    /// What did not succeed; it is tried again at the next comparison.
    pub async fn apply(&self, target: ForwardingTarget) -> Result<(), ForwardingError> {
        let (sender, answer) = oneshot::channel();
        self.requests.send((target, sender)).map_err(|_| ForwardingError::Stopped)?;
        answer.await.map_err(|_| ForwardingError::Stopped)?
    }

    /// Destinations that are blocked at the moment, and changes of that.
    pub fn blocked(&self) -> watch::Receiver<Blocked> {
        self.blocked.clone()
    }

    /// The filter against plaintext, which counts what it drops.
    pub fn filter(&self) -> &PlaintextFilter {
        &self.filter
    }

    /// Ends the task and takes everything that is gatewayd's out of the kernel.
    ///
    /// # Errors
    /// Something stayed.
    pub async fn stop(self) -> Result<(), ForwardingError> {
        self.task.abort();
        let mut reconciler = Reconciler::new(self.settings.namespace.clone(), PROTOCOL_GATEWAYD);
        let outcome = reconciler.round(&KernelState::default()).await?;
        self.filter.remove().await?;
        refused(outcome.failed)
    }
}

struct Work {
    reconciler: Reconciler,
    settings: ForwardingSettings,
    filter: PlaintextFilter,
    /// What the filter holds, once it has been set.
    filtered: Option<Vec<AddressRange>>,
    blocked: watch::Sender<Blocked>,
}

impl Work {
    async fn run(
        mut self,
        mut inbox: mpsc::UnboundedReceiver<(ForwardingTarget, oneshot::Sender<Result<(), ForwardingError>>)>,
    ) {
        let Some((mut target, answer)) = inbox.recv().await else { return };
        let mut occasions = Occasions::new(self.settings.namespace.clone(), concerns);
        occasions.begin();
        let _ = answer.send(self.round(&target).await);
        loop {
            tokio::select! {
                request = inbox.recv() => {
                    let Some((newer, answer)) = request else { return };
                    target = newer;
                    occasions.begin();
                    let _ = answer.send(self.round(&target).await);
                }
                reason = occasions.next() => {
                    if reason == Reason::Resync {
                        self.filtered = None;
                    }
                    occasions.begin();
                    if let Err(error) = self.round(&target).await {
                        warn!(%error, "the kernel is not as the VPN routes ask");
                    }
                }
            }
        }
    }

    /// The filter first: a route that leads traffic out must not be there before what watches the way back.
    async fn round(&mut self, target: &ForwardingTarget) -> Result<(), ForwardingError> {
        let actual = self.reconciler.actual().await?;
        let protected = self.protected(target, &actual);
        if self.filtered.as_ref() != Some(&protected) {
            self.filter.apply(protected.clone()).await?;
            self.filtered = Some(protected);
        }
        let peers: Vec<IpAddr> = target.outer_peers.iter().copied().collect();
        let destinations = target.destinations.iter().copied();
        let desired = kernel_state(destinations, &peers, &self.settings.device, self.settings.mark);
        let outcome = self.reconciler.bring(&desired, &actual).await?;
        let blocked: Blocked = outcome.blocked.iter().map(|(wanted, _)| wanted.destination).collect();
        self.blocked.send_if_modified(|current| {
            let news = *current != blocked;
            *current = blocked;
            news
        });
        refused(outcome.failed)
    }

    fn protected(&self, target: &ForwardingTarget, actual: &KernelState) -> Vec<AddressRange> {
        let elsewhere = actual.routes.iter().filter(|route| {
            route.table == TABLE_MAIN
                && route.kind == RouteKind::Unicast
                && route.protocol != PROTOCOL_GATEWAYD
                && route.device.as_deref() != Some(&self.settings.device)
        });
        let elsewhere: Vec<IpNet> = elsewhere.map(|route| route.destination).collect();
        let of_family =
            |family| protected_sources(target.destinations.iter().copied(), elsewhere.iter().copied(), family);
        let mut protected = of_family(Family::Ipv4);
        protected.extend(of_family(Family::Ipv6));
        protected
    }
}

/// Our own routes, and everybody's in the main table: those decide which sources are protected.
fn concerns(change: Change) -> bool {
    match change {
        Change::Route { protocol, table } => protocol == PROTOCOL_GATEWAYD || table == TABLE_MAIN,
        Change::Rule | Change::Link => true,
    }
}

fn refused(failed: Vec<NetlinkError>) -> Result<(), ForwardingError> {
    if failed.is_empty() {
        return Ok(());
    }
    Err(ForwardingError::Refused(failed.iter().map(ToString::to_string).collect()))
}
