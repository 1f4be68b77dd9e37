//! gatewayd's side of its namespace's kernel: routes into the tunnel, blackholes, and the filter against plaintext, kept
//! in step.
use std::collections::BTreeSet;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use ipnet::IpNet;
use tokio::sync::{mpsc, oneshot, watch};
use tokio::task::JoinHandle;
use tokio::time::{sleep, timeout};
use tracing::{debug, info, warn};

use crate::io::kept_policy::KeptPolicy;
use crate::io::netlink::reconciler::{Occasions, Reason, Reconciler};
use crate::io::netlink::{Change, NetlinkError};
use crate::io::netns::Namespace;
use crate::io::nftables::{self, FilterError, Listing, OuterPorts, PlaintextFilter, TableChanges};
use crate::routing::kernel_routes::TABLE_MAIN;
use crate::routing::policy::Exemption;
use crate::routing::{
    AddressRange, Family, KernelPolicy, KernelRoute, KernelState, PROTOCOL_GATEWAYD, Policy, RouteKind, kernel_state,
    local_subnets, protected_sources,
};

/// How long to wait before what failed is tried again.
const RETRY: Duration = Duration::from_secs(1);
/// How long the task has to finish what it is doing.
const END: Duration = Duration::from_secs(5);
/// How long to collect further changes of the filter before looking.
const SETTLE: Duration = Duration::from_millis(20);

/// Why the filter is compared.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Told {
    ByTheKernel,
    ByTheClock,
}

/// What stays the same for the life of the tunnel device.
#[derive(Clone, Debug)]
pub struct ForwardingSettings {
    /// Where gatewayd runs.
    pub namespace: Namespace,
    /// Its UDP ports.
    pub ports: OuterPorts,
    /// The folder in which the policy in force is kept; none keeps nothing.
    pub state: Option<PathBuf>,
}

/// Why the kernel is not as the route table asks.
#[derive(Debug, thiserror::Error)]
pub enum ForwardingError {
    /// Routes or rules could not be read or set.
    #[error(transparent)]
    Netlink(#[from] NetlinkError),
    /// The filter against plaintext could not be set. What is protected is closed then: nothing is led into the tunnel
    /// that the filter does not watch.
    #[error("filter against plaintext: {0}")]
    Filter(#[from] FilterError),
    /// Some routes or rules were refused.
    #[error("{} kernel routes or rules were refused, first: {}", .0.len(), .0.first().map(String::as_str).unwrap_or_default())]
    Refused(Vec<String>),
    /// The task that does it has ended.
    #[error("forwarding has been stopped")]
    Stopped,
}

/// How things stand in the kernel.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Standing {
    /// Protected destinations that no route leads into the tunnel; their packets are dropped.
    pub uncarried: BTreeSet<IpNet>,
    /// What is exempt inside protected prefixes.
    pub exemptions: BTreeSet<Exemption>,
    /// Local subnets that only the default route leads to.
    pub one_armed: BTreeSet<IpNet>,
    /// Connected networks that a protected prefix takes, with it.
    pub taken: BTreeSet<(IpNet, IpNet)>,
    /// What could not be done.
    pub trouble: Option<String>,
}

/// A request: the policy, and whether the tunnel carries yet.
struct Request {
    policy: KeptPolicy,
    carry: bool,
    answer: oneshot::Sender<Result<(), ForwardingError>>,
}

/// A handle on the task. However it ends, blackholes, rules and filter stay in the kernel; [`release`] takes them away.
pub struct Forwarding {
    requests: mpsc::UnboundedSender<Request>,
    standing: watch::Receiver<Standing>,
    filter: PlaintextFilter,
    task: JoinHandle<()>,
}

impl Drop for Forwarding {
    fn drop(&mut self) {
        self.task.abort();
    }
}

impl Forwarding {
    /// Starts the task for the device and the mark of `kept`, whose closed local subnets are remembered. The kernel is
    /// first touched by [`Forwarding::close`] or [`Forwarding::apply`].
    pub fn start(settings: ForwardingSettings, kept: &KeptPolicy) -> Self {
        let device: Arc<str> = kept.device.as_str().into();
        let filter = PlaintextFilter::new(settings.namespace.clone(), Arc::clone(&device), kept.mark, settings.ports);
        let (requests, inbox) = mpsc::unbounded_channel();
        let (standing_sender, standing) = watch::channel(Standing::default());
        let work = Work {
            reconciler: Reconciler::new(settings.namespace.clone(), PROTOCOL_GATEWAYD),
            device,
            filter: filter.clone(),
            filtered: None,
            watched: BTreeSet::new(),
            kept: KeptPolicy { closed: kept.closed.clone(), ..KeptPolicy::default() },
            written: None,
            settings,
            standing: standing_sender,
        };
        let task = tokio::spawn(work.run(inbox));
        Forwarding { requests, standing, filter, task }
    }

    /// Closes what `policy` protects: blackholes and filter, and no route into the tunnel. It needs no device.
    ///
    /// # Errors
    /// As for [`Forwarding::apply`].
    pub async fn close(&self, policy: KeptPolicy) -> Result<(), ForwardingError> {
        self.request(policy, false).await
    }

    /// Makes the kernel as `policy` asks, now and from now on: it is compared again when somebody touches a route, a rule
    /// or the filter, and every minute. The tunnel device must exist.
    ///
    /// # Errors
    /// What did not succeed; it is tried again every second.
    pub async fn apply(&self, policy: KeptPolicy) -> Result<(), ForwardingError> {
        self.request(policy, true).await
    }

    async fn request(&self, policy: KeptPolicy, carry: bool) -> Result<(), ForwardingError> {
        let (answer, answered) = oneshot::channel();
        self.requests.send(Request { policy, carry, answer }).map_err(|_| ForwardingError::Stopped)?;
        answered.await.map_err(|_| ForwardingError::Stopped)?
    }

    /// Ends the task, after what it is doing at the moment. The kernel stays as it is.
    pub async fn end(mut self) {
        let (none, _) = mpsc::unbounded_channel();
        self.requests = none;
        if timeout(END, &mut self.task).await.is_err() {
            warn!("the kernel's side of the VPN routes is still being changed");
        }
    }

    /// How things stand at the moment, and changes of that.
    pub fn standing(&self) -> watch::Receiver<Standing> {
        self.standing.clone()
    }

    /// The filter against plaintext, which counts what it drops.
    pub fn filter(&self) -> &PlaintextFilter {
        &self.filter
    }
}

/// What was taken out of the kernel.
#[derive(Clone, Debug, Default, PartialEq, Eq, serde::Serialize)]
pub struct Released {
    /// Kernel routes, blackholes included.
    pub routes: usize,
    /// Policy rules.
    pub rules: usize,
    /// nftables tables, by name.
    pub tables: Vec<String>,
}

/// Takes everything that any gatewayd left in `namespace` out of its kernel, whatever its device was called. From then on
/// the other routes of the namespace decide, and nothing is protected.
///
/// # Errors
/// Something stayed.
pub async fn release(namespace: Namespace) -> Result<Released, ForwardingError> {
    // The filter last: as long as a route is there, something watches.
    let mut reconciler = Reconciler::new(namespace.clone(), PROTOCOL_GATEWAYD);
    let actual = reconciler.actual().await?;
    let outcome = reconciler.bring(&KernelState::default(), &actual).await?;
    refused(&outcome.failed)?;
    let tables = nftables::release(namespace).await?;
    let routes = actual.routes.iter().filter(|route| route.protocol == PROTOCOL_GATEWAYD).count();
    let rules = actual.rules.iter().filter(|rule| rule.protocol == PROTOCOL_GATEWAYD).count();
    Ok(Released { routes, rules, tables })
}

struct Work {
    reconciler: Reconciler,
    settings: ForwardingSettings,
    device: Arc<str>,
    filter: PlaintextFilter,
    /// What the filter protects and what its table then held, once it has been set.
    filtered: Option<(Vec<AddressRange>, Listing)>,
    /// Destinations that the filter watches.
    watched: BTreeSet<IpNet>,
    kept: KeptPolicy,
    /// What the state directory has.
    written: Option<KeptPolicy>,
    standing: watch::Sender<Standing>,
}

impl Work {
    async fn run(mut self, mut inbox: mpsc::UnboundedReceiver<Request>) {
        let Some(mut request) = inbox.recv().await else { return };
        let mut occasions = Occasions::new(self.settings.namespace.clone(), concerns);
        let mut table_changes = None;
        loop {
            let closed = std::mem::take(&mut self.kept.closed);
            self.kept = KeptPolicy { closed, ..request.policy };
            let mut answer = Some(request.answer);
            request = loop {
                occasions.begin();
                self.begin(&mut table_changes);
                let round = self.round(request.carry).await;
                let failed = round.is_err();
                self.tell_trouble(round.as_ref().err());
                if let Some(answer) = answer.take() {
                    // Who asked may have gone.
                    let _ = answer.send(round);
                }
                self.keep().await;
                tokio::select! {
                    request = inbox.recv() => match request {
                        Some(request) => break request,
                        None => return,
                    },
                    reason = occasions.next() => if reason == Reason::Resync {
                        self.verify(&table_changes, Told::ByTheClock).await;
                    },
                    told = next_change(&mut table_changes) => self.verify(&table_changes, told).await,
                    () = sleep(RETRY), if failed => {}
                }
            };
        }
    }

    /// Forgets what was heard of the table so far, or starts to listen.
    fn begin(&self, changes: &mut Option<TableChanges>) {
        match changes {
            Some(changes) => changes.forget(),
            None => match TableChanges::listen(&self.settings.namespace) {
                Ok(listening) => *changes = Some(listening),
                Err(error) => debug!(%error, "cannot listen for changes of the filter; it is compared every second"),
            },
        }
    }

    /// Compares the whole table with what it held when it was set, and forgets that if it differs, so that the next round
    /// sets it again.
    async fn verify(&mut self, changes: &Option<TableChanges>, told: Told) {
        let Some((_, held)) = &self.filtered else { return };
        if told == Told::ByTheKernel {
            sleep(SETTLE).await;
        }
        if let Some(changes) = changes {
            changes.forget();
        }
        match self.filter.listing().await {
            Ok(Some(listing)) if listing == *held => {}
            Ok(_) => {
                warn!("somebody changed gatewayd's nftables table; it is set again");
                self.filtered = None;
            }
            Err(error) => {
                debug!(%error, "the filter cannot be compared");
                // Only what the kernel told is a reason to believe that it does not stand any more.
                if told == Told::ByTheKernel {
                    self.filtered = None;
                }
            }
        }
    }

    /// The filter first: a route that leads traffic into the tunnel must not be there before what watches the way back.
    async fn round(&mut self, carry: bool) -> Result<(), ForwardingError> {
        let policy = self.kept.policy();
        let actual = self.reconciler.actual().await?;
        let exemptions = policy.exemptions(&actual.routes, &self.device);
        let filtered = self.set_filter(&policy, &exemptions).await;
        let subnets =
            local_subnets(&policy.local, &self.kept.closed, &actual.routes, &self.device, &self.kept.outer_addresses);
        self.kept.closed = subnets.closed;
        let desired = kernel_state(
            &KernelPolicy {
                carried: if carry {
                    policy.protect.intersection(&self.watched).copied().collect()
                } else {
                    BTreeSet::new()
                },
                exempt: exemptions.iter().filter(|one| one.reason.is_ours()).map(|one| one.prefix).collect(),
                closed: self.kept.closed.values().copied().collect(),
                bypass: self.kept.bypass.clone(),
                outer_peers: self.kept.outer_peers.clone(),
                protect: policy.protect.clone(),
            },
            &self.device,
            self.kept.mark,
        );
        let outcome = self.reconciler.bring(&desired, &actual).await?;
        let changed = outcome.set + outcome.removed + outcome.failed.len() > 0;
        let now = if changed { self.reconciler.actual().await? } else { actual };
        let carried = carried(&now);
        self.standing.send_if_modified(|standing| {
            let news = Standing {
                uncarried: policy.protect.difference(&carried).copied().collect(),
                taken: taken(&policy, &now, &exemptions, &self.device),
                exemptions,
                one_armed: subnets.one_armed,
                trouble: standing.trouble.clone(),
            };
            let changed = *standing != news;
            *standing = news;
            changed
        });
        filtered?;
        refused(&outcome.failed)
    }

    /// Sets the filter unless it stands as it should. Where that fails, only what it watched before is carried; and
    /// nothing, if it does not stand any more.
    async fn set_filter(&mut self, policy: &Policy, exemptions: &BTreeSet<Exemption>) -> Result<(), FilterError> {
        let exempt = || exemptions.iter().map(|exemption| exemption.prefix);
        let of_family = |family| protected_sources(policy.protect.iter().copied(), exempt(), family);
        let protected = [of_family(Family::Ipv4), of_family(Family::Ipv6)].concat();
        if self.filtered.as_ref().is_some_and(|(ranges, _)| *ranges == protected) {
            self.watched.clone_from(&policy.protect);
            return Ok(());
        }
        match self.filter.apply(protected.clone()).await {
            Ok(listing) => {
                self.filtered = Some((protected, listing));
                self.watched.clone_from(&policy.protect);
                Ok(())
            }
            Err(error) => {
                // A table that stood still stands, as it was.
                if self.filtered.is_none() {
                    self.watched.clear();
                }
                Err(error)
            }
        }
    }

    /// Keeps the policy in force in the state directory, when it has changed.
    async fn keep(&mut self) {
        let Some(folder) = self.settings.state.clone() else { return };
        if self.written.as_ref() == Some(&self.kept) {
            return;
        }
        let kept = self.kept.clone();
        let wrote = tokio::task::spawn_blocking(move || kept.write(&folder).map(|()| kept)).await;
        match wrote.map_err(std::io::Error::other).and_then(|written| written) {
            Ok(written) => self.written = Some(written),
            Err(error) => warn!(%error, "what is protected cannot be kept in the state directory"),
        }
    }

    fn tell_trouble(&self, error: Option<&ForwardingError>) {
        let trouble = error.map(ToString::to_string);
        self.standing.send_if_modified(|standing| {
            let news = standing.trouble != trouble;
            match (&standing.trouble, &trouble) {
                (_, Some(trouble)) if news => warn!("the kernel is not as the VPN routes ask: {trouble}"),
                (Some(_), None) => info!("the kernel is as the VPN routes ask"),
                _ => {}
            }
            standing.trouble = trouble;
            news
        });
    }
}

/// Destinations that a route leads into the tunnel before any other is asked.
fn carried(actual: &KernelState) -> BTreeSet<IpNet> {
    let leads = |route: &&KernelRoute| {
        route.protocol == PROTOCOL_GATEWAYD && route.table != TABLE_MAIN && route.kind == RouteKind::Unicast
    };
    actual.routes.iter().filter(leads).map(|route| route.destination).collect()
}

/// Connected networks inside a protected prefix that are not exempt: their hosts are not reached any more, which an
/// operator may not have meant.
fn taken(
    policy: &Policy,
    actual: &KernelState,
    exemptions: &BTreeSet<Exemption>,
    device: &str,
) -> BTreeSet<(IpNet, IpNet)> {
    let connected = actual.routes.iter().filter(|route| is_connected(route, device));
    let exempt = |net: &IpNet| exemptions.iter().any(|exemption| exemption.prefix.contains(net));
    let taking = |net: IpNet| {
        let holders = policy.explicit().filter(|holder| holder.contains(&net) && !exempt(&net));
        Some((net, holders.max_by_key(IpNet::prefix_len)?))
    };
    connected.filter_map(|route| taking(route.destination)).collect()
}

fn is_connected(route: &KernelRoute, device: &str) -> bool {
    route.table == TABLE_MAIN
        && route.protocol == crate::routing::policy::PROTOCOL_KERNEL
        && route.kind == RouteKind::Unicast
        && route.gateway.is_none()
        && route.device.as_deref() != Some(device)
}

/// Waits for a change of the filter's table; without a socket it ends after a second, so that the table is compared by the
/// clock.
async fn next_change(changes: &mut Option<TableChanges>) -> Told {
    let Some(listening) = changes else {
        sleep(RETRY).await;
        return Told::ByTheClock;
    };
    if let Err(error) = listening.next(nftables::TABLE).await {
        debug!(%error, "listening for changes of the filter ended");
        *changes = None;
    }
    Told::ByTheKernel
}

/// Our own routes, and everybody's in the main table: those decide what is exempt.
fn concerns(change: Change) -> bool {
    match change {
        Change::Route { protocol, table } => protocol == PROTOCOL_GATEWAYD || table == TABLE_MAIN,
        Change::Rule | Change::Link => true,
    }
}

fn refused(failed: &[NetlinkError]) -> Result<(), ForwardingError> {
    if failed.is_empty() {
        return Ok(());
    }
    Err(ForwardingError::Refused(failed.iter().map(ToString::to_string).collect()))
}
