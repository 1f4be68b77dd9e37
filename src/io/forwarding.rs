//! gatewayd's side of its namespace's kernel: routes into the tunnel, and the filter against plaintext, kept in step.
use std::collections::BTreeSet;
use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use ipnet::IpNet;
use tokio::sync::{mpsc, oneshot, watch};
use tokio::task::JoinHandle;
use tokio::time::sleep;

mod report;

pub use report::{Absence, KernelReport};

use crate::io::netlink::reconciler::{Occasions, Reason, Reconciler};
use crate::io::netlink::{Change, NetlinkError, Outcome, PinnedDevice};
use crate::io::netns::Namespace;
use crate::io::nftables::{FilterError, OuterPorts, PlaintextFilter};
use crate::routing::kernel_routes::TABLE_MAIN;
use crate::routing::{
    AddressRange, Family, KernelState, PROTOCOL_GATEWAYD, RouteKind, kernel_state, protected_sources,
};

/// How long to wait for another try at what the kernel refused.
const RETRY: Duration = Duration::from_secs(2);

/// What stays the same for the life of the tunnel device.
#[derive(Clone, Debug)]
pub struct ForwardingSettings {
    /// Where gatewayd runs.
    pub namespace: Namespace,
    /// Name of the tunnel device.
    pub device: Arc<str>,
    /// Its interface index, by which it is found whatever it is called at the moment; `None`: whichever has the name.
    pub index: Option<u32>,
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

/// A handle on the task. Dropped without [`Forwarding::stop`], as in a crash, it leaves blackholes, rules and filter
/// in the kernel.
pub struct Forwarding {
    requests: mpsc::UnboundedSender<(ForwardingTarget, oneshot::Sender<Result<(), ForwardingError>>)>,
    report: watch::Receiver<KernelReport>,
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
        let ForwardingSettings { namespace, device, index, mark, ports } = settings.clone();
        let pinned = index.map(|index| PinnedDevice { index, name: Arc::clone(&device) });
        let filter = PlaintextFilter::new(namespace, device, mark, ports);
        let (requests, inbox) = mpsc::unbounded_channel();
        let (told, report) = watch::channel(KernelReport::default());
        let work = Work {
            reconciler: Reconciler::new(settings.namespace.clone(), PROTOCOL_GATEWAYD).with_pinned(pinned),
            settings: settings.clone(),
            filter: filter.clone(),
            filtered: None,
            told,
        };
        let task = tokio::spawn(work.run(inbox));
        Forwarding { requests, report, filter, settings, task }
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

    /// How the kernel's side stands, and changes of that.
    pub fn report(&self) -> watch::Receiver<KernelReport> {
        self.report.clone()
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
        refused(outcome.refusals())
    }
}

struct Work {
    reconciler: Reconciler,
    settings: ForwardingSettings,
    filter: PlaintextFilter,
    /// The device that the filter takes for the tunnel, and what it protects, once it has been set.
    filtered: Option<(Option<Arc<str>>, Vec<AddressRange>)>,
    told: watch::Sender<KernelReport>,
}

impl Work {
    async fn run(
        mut self,
        mut inbox: mpsc::UnboundedReceiver<(ForwardingTarget, oneshot::Sender<Result<(), ForwardingError>>)>,
    ) {
        let Some((mut target, answer)) = inbox.recv().await else { return };
        let mut occasions = Occasions::new(self.settings.namespace.clone(), concerns);
        occasions.begin();
        let first = self.round(&target).await;
        let mut troubled = first.is_err();
        let _ = answer.send(first);
        loop {
            tokio::select! {
                request = inbox.recv() => {
                    let Some((newer, answer)) = request else { return };
                    target = newer;
                    occasions.begin();
                    let round = self.round(&target).await;
                    troubled = round.is_err();
                    let _ = answer.send(round);
                }
                reason = occasions.next() => {
                    if reason == Reason::Resync {
                        self.filtered = None;
                    }
                    occasions.begin();
                    troubled = self.round(&target).await.is_err();
                }
                // The kernel does not always say when it would take what it refused.
                () = sleep(RETRY), if troubled => {
                    occasions.begin();
                    troubled = self.round(&target).await.is_err();
                }
            }
        }
    }

    async fn round(&mut self, target: &ForwardingTarget) -> Result<(), ForwardingError> {
        let peers: Vec<IpAddr> = target.outer_peers.iter().copied().collect();
        let destinations = target.destinations.iter().copied();
        let wanted = kernel_state(destinations, &peers, &self.settings.device, self.settings.mark);
        let actual = match self.reconciler.actual().await {
            Ok(actual) => actual,
            Err(error) => {
                let absent = self.told.borrow().absent.clone();
                self.tell(KernelReport { absent, troubles: vec![report::trouble(&error)] });
                return Err(error.into());
            }
        };
        let usable = self.device_is_usable();
        let wanted = if usable { wanted } else { report::without_tunnel_routes(wanted) };
        let changed = self.change(target, &wanted, &actual).await;
        self.tell(match &changed {
            Ok(outcome) => KernelReport::of(&target.destinations, usable, outcome),
            Err(error) => KernelReport::unchanged(&wanted, &actual, error),
        });
        refused(changed?.refusals())
    }

    /// The filter first: a route that leads traffic out must not be there before what watches the way back.
    async fn change(
        &mut self,
        target: &ForwardingTarget,
        wanted: &KernelState,
        actual: &KernelState,
    ) -> Result<Outcome, ForwardingError> {
        let filtered = (self.tunnel(), self.protected(target, actual));
        if self.filtered.as_ref() != Some(&filtered) {
            let (tunnel, protected) = filtered.clone();
            self.filter.trusting(tunnel).apply(protected).await?;
            self.filtered = Some(filtered);
        }
        Ok(self.reconciler.bring(wanted, actual).await?)
    }

    fn tell(&self, report: KernelReport) {
        self.told.send_if_modified(|current| {
            let news = *current != report;
            *current = report;
            news
        });
    }

    /// What the tunnel device is called at the moment.
    fn tunnel(&self) -> Option<Arc<str>> {
        match self.settings.index {
            Some(_) => self.reconciler.pinned_link().map(|link| Arc::clone(&link.name)),
            None => Some(Arc::clone(&self.settings.device)),
        }
    }

    /// Whether routes can lead into the tunnel device: the kernel refuses them while it is down.
    fn device_is_usable(&self) -> bool {
        self.settings.index.is_none() || self.reconciler.pinned_link().is_some_and(|link| link.up)
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
        Change::Rule | Change::Link | Change::Address => true,
    }
}

fn refused(refusals: Vec<String>) -> Result<(), ForwardingError> {
    if refusals.is_empty() { Ok(()) } else { Err(ForwardingError::Refused(refusals)) }
}
