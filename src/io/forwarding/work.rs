//! The task that keeps the kernel as a policy asks.
use std::collections::BTreeSet;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, Instant};

use ipnet::IpNet;
use tokio::sync::watch;
use tokio::time::sleep;
use tracing::{debug, info, warn};

use super::absence::absences;
use super::error::{ForwardingError, refused};
use super::filter::{Filter, Told, heard};
use super::keeping::Keeping;
use super::routes::Routes;
use super::standing::Standing;
use crate::io::kept_policy::KeptPolicy;
use crate::io::netlink::PinnedDevice;
use crate::io::netlink::kernel_watch::Reason;
use crate::io::netns::Namespace;
use crate::io::nftables::{self, OuterPorts, PlaintextFilter, TableChanges};
use crate::routing::kernel_routes::{METRIC_BLACKHOLE, TABLE_LOCAL, TABLE_MAIN};
use crate::routing::policy::{Exemption, PROTOCOL_KERNEL};
use crate::routing::{
    Closed, Family, Interest, KernelPolicy, KernelRoute, KernelState, MainTable, OuterDevices, PROTOCOL_GATEWAYD,
    Policy, RouteKind, SharedSet, local_subnets,
};

/// How long to wait before what failed is tried again, whatever happens in between.
const RETRY: Duration = Duration::from_millis(500);
/// How long to collect further changes of the filter before looking.
const SETTLE: Duration = Duration::from_millis(20);

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

/// A request: the policy, and whether the tunnel carries yet.
#[derive(Clone, Default)]
pub(super) struct Request {
    /// Grows with every request; zero is none.
    pub number: u64,
    pub policy: Arc<KeptPolicy>,
    pub carry: bool,
}

/// What became of the last request that was begun, and of all before it.
#[derive(Clone)]
pub(super) struct Done {
    pub number: u64,
    pub result: Result<(), Arc<ForwardingError>>,
}

impl Default for Done {
    fn default() -> Self {
        Done { number: 0, result: Ok(()) }
    }
}

/// How long a comparison may be put off for those that ask.
const OVERDUE: Duration = Duration::from_millis(500);

pub(super) struct Work {
    routes: Routes,
    filter: Filter,
    settings: ForwardingSettings,
    device: Arc<str>,
    pinned: watch::Receiver<Option<PinnedDevice>>,
    /// What is asked for, and what of it both owners' connections and routes protect together.
    asked: Arc<KeptPolicy>,
    policy: Policy,
    /// Whether what is protected may stand in `main`.
    main: MainTable,
    /// Local subnets that an inner device has led to.
    closed: Closed,
    keeping: Keeping,
    standing: watch::Sender<Standing>,
}

impl Work {
    /// For the device and the mark of `kept`, whose closed local subnets are remembered.
    pub(super) fn new(
        settings: ForwardingSettings,
        kept: &KeptPolicy,
        filter: PlaintextFilter,
        pinned: watch::Receiver<Option<PinnedDevice>>,
        standing: watch::Sender<Standing>,
    ) -> Self {
        let device: Arc<str> = kept.device.as_str().into();
        Work {
            routes: Routes::new(settings.namespace.clone(), Arc::clone(&device)),
            filter: Filter::new(filter),
            device,
            pinned,
            asked: Arc::default(),
            policy: Policy::default(),
            main: MainTable::default(),
            closed: kept.closed.clone(),
            keeping: Keeping::new(settings.state.clone()),
            settings,
            standing,
        }
    }

    /// Brings the kernel to what is asked for last, now and whenever somebody touches it, until nobody can ask any more.
    pub(super) async fn run(mut self, mut inbox: watch::Receiver<Request>, done: watch::Sender<Done>) {
        if inbox.wait_for(|request| request.number > 0).await.is_err() {
            return;
        }
        let mut table_changes = None;
        let mut told = None;
        // Since when the table is to be compared.
        let mut suspected = None;
        loop {
            let Request { number, policy, carry } = inbox.borrow_and_update().clone();
            self.policy = policy.policy();
            self.routes.heed(Interest::new(&self.policy, &policy.outer_addresses));
            self.asked = policy;
            loop {
                self.listen(&mut table_changes);
                let ours = self.filter.port();
                told = told.or(heard(&mut table_changes, ours));
                let answered = done.borrow().number >= number;
                // Who asks does not wait for a comparison, which comes right after; but not for ever after.
                if let Some(of) = told.filter(|_| answered) {
                    let since = *suspected.get_or_insert_with(Instant::now);
                    tokio::select! {
                        biased;
                        changed = inbox.changed(), if since.elapsed() < OVERDUE => match changed {
                            Ok(()) => break,
                            Err(_) => return self.leave().await,
                        },
                        () = self.filter.verify(of) => (told, suspected) = (None, None),
                    }
                }
                let result = self.round(carry).await.map_err(Arc::new);
                // The round may have opened it.
                let ours = self.filter.port();
                let failed = result.is_err();
                self.tell_trouble(result.as_ref().err().map(|error| &**error));
                if !answered {
                    done.send_replace(Done { number, result });
                }
                self.keeping.begin(&self.asked, &self.closed);
                let is_asked = loop {
                    tokio::select! {
                        biased;
                        changed = inbox.changed() => match changed {
                            Ok(()) => break true,
                            Err(_) => return self.leave().await,
                        },
                        wrote = self.keeping.written() => self.has_kept(wrote),
                        () = std::future::ready(()), if told.is_some() && !failed => break false,
                        // What failed may have been told of by the kernel as well, and would be at once again.
                        () = sleep(RETRY), if failed => break false,
                        reason = self.routes.next(), if !failed => {
                            if reason == Reason::Resync {
                                told = told.or(Some(Told::ByTheClock));
                            }
                            break false;
                        }
                        heard = next_change(&mut table_changes, ours), if !failed => {
                            told = Some(heard);
                            sleep(SETTLE).await;
                            break false;
                        }
                    }
                };
                if is_asked {
                    break;
                }
            }
        }
    }

    /// What stays after the end must hold whatever others do to routes and filters, as nobody mends it: the blackholes
    /// stand before `main`, too.
    async fn leave(mut self) {
        self.filter.unwatched = true;
        let round = self.round(false).await;
        self.tell_trouble(round.as_ref().err());
        self.keep().await;
    }

    /// Starts to listen for changes of the table, if that is not so yet.
    fn listen(&self, changes: &mut Option<TableChanges>) {
        if changes.is_none() {
            match TableChanges::listen(&self.settings.namespace) {
                Ok(listening) => *changes = Some(listening),
                Err(error) => debug!(%error, "cannot listen for changes of the filter; it is compared every second"),
            }
        }
    }

    /// What drops comes first, and waits for nobody; then the filter; then what leads traffic into the tunnel, which must
    /// not be there before what watches the way back.
    async fn round(&mut self, carry: bool) -> Result<(), ForwardingError> {
        self.routes.pin(self.pinned.borrow().clone());
        self.routes.look().await?;
        let usable = carry && self.device_is_usable();
        let (asked, policy, rest) = (&self.asked, &self.policy, &self.routes.picture().rest);
        let outer = OuterDevices::find(&rest.routes, &asked.outer_addresses, &policy.local);
        let subnets = local_subnets(policy, &self.closed, &rest.routes, &self.device, &outer);
        let exemptions = policy.exemptions(&rest.routes, &self.device, &outer.all(), &subnets.closed);
        let taken = taken(policy, rest, &exemptions, &self.device);
        self.closed = subnets.remembered;
        let mut wanted = KernelPolicy {
            carried: self.carried(usable),
            exempt: exemptions.iter().filter(|one| one.reason.is_ours()).map(|one| one.prefix).collect(),
            closed: subnets.closed.values().copied().collect(),
            bypass: asked.bypass.clone(),
            outer_peers: asked.outer_peers.clone(),
            protect: policy.protect.clone(),
            ..KernelPolicy::default()
        };
        self.main.follow(&wanted);
        wanted.before_main = self.main.needs_rule(rest, &self.device, self.filter.unwatched);
        let mut outcome = self.routes.bring(wanted, asked.mark).await?;
        let unwatched = self.filter.unwatched;
        let exempt = exemptions.iter().map(|exemption| exemption.prefix);
        let filtered = self.filter.set(self.tunnel(), &self.policy.protect, exempt).await;
        let (carried, wanted) = (self.carried(usable), self.routes.wanted());
        let before_main = if unwatched == self.filter.unwatched {
            wanted.before_main.clone()
        } else {
            self.main.needs_rule(&self.routes.picture().rest, &self.device, self.filter.unwatched)
        };
        if carried != wanted.carried || before_main != wanted.before_main {
            outcome = self.routes.carry(carried, before_main).await?;
        }
        let in_force = self.routes.in_force();
        let uncarried = self.policy.protect.without(&in_force.led).copied();
        let uncarried = absences(uncarried, &self.filter.watched, usable, &outcome);
        self.standing.send_if_modified(|standing| {
            let news = Standing {
                uncarried,
                taken,
                exemptions,
                one_armed: subnets.one_armed,
                closed: subnets.closed,
                preceding: preceding(self.routes.wanted(), &self.routes.picture().rest),
                shut: in_force.shut.clone(),
                trouble: standing.trouble.clone(),
                unkept: standing.unkept.clone(),
            };
            let changed = *standing != news;
            *standing = news;
            changed
        });
        refused(outcome.refusals())?;
        Ok(filtered?)
    }

    /// Destinations that the tunnel may carry: those that the filter watches.
    fn carried(&self, usable: bool) -> SharedSet<IpNet> {
        match (&self.policy.protect, &self.filter.watched) {
            _ if !usable => SharedSet::default(),
            (protect, watched) if protect == watched => protect.clone(),
            (protect, watched) => protect.iter().filter(|net| watched.contains(net)).copied().collect(),
        }
    }

    /// What the tunnel device is called at the moment.
    fn tunnel(&self) -> Option<Arc<str>> {
        if self.pinned.borrow().is_none() {
            return Some(Arc::clone(&self.device));
        }
        self.routes.pinned_link().map(|link| Arc::clone(&link.name))
    }

    /// Whether routes can lead into the tunnel device: the kernel refuses them while it is down.
    fn device_is_usable(&self) -> bool {
        self.pinned.borrow().is_none() || self.routes.pinned_link().is_some_and(|link| link.up)
    }

    /// Keeps the policy in force in the state directory, to the end.
    async fn keep(&mut self) {
        self.keeping.begin(&self.asked, &self.closed);
        while self.keeping.is_writing() {
            let wrote = self.keeping.written().await;
            self.has_kept(wrote);
        }
    }

    /// Takes what became of writing. What could not be written is tried again in the next round.
    fn has_kept(&mut self, wrote: std::io::Result<()>) {
        if wrote.is_ok() {
            self.keeping.begin(&self.asked, &self.closed);
        }
        let unkept = wrote.err().map(|error| error.to_string());
        self.standing.send_if_modified(|standing| {
            let news = standing.unkept != unkept;
            if let (true, Some(error)) = (news, &unkept) {
                warn!(error, "what is protected cannot be kept in the state directory");
            }
            standing.unkept = unkept;
            news
        });
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

/// Rules of somebody else that are asked before the one for the explicit prefixes of their family.
fn preceding(policy: &KernelPolicy, actual: &KernelState) -> BTreeSet<(Family, u32)> {
    let foreign = actual.rules.iter().filter(|rule| rule.protocol != PROTOCOL_GATEWAYD || rule.is_foreign);
    let before = foreign.filter(|rule| {
        let ours = policy.before_main.get(&rule.family);
        rule.table != TABLE_LOCAL && ours.is_some_and(|ours| rule.priority < *ours)
    });
    before.map(|rule| (rule.family, rule.priority)).collect()
}

/// Destinations of blackholes that a gatewayd set for what it protected.
pub(super) fn blackholed(actual: &KernelState) -> BTreeSet<IpNet> {
    let ours = actual.routes.iter().filter(|route| route.protocol == PROTOCOL_GATEWAYD);
    let closing = ours.filter(|route| route.kind == RouteKind::Blackhole && route.metric == METRIC_BLACKHOLE);
    closing.map(|route| route.destination).collect()
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
        && route.protocol == PROTOCOL_KERNEL
        && route.kind == RouteKind::Unicast
        && route.gateway.is_none()
        && route.device.as_deref() != Some(device)
}

/// Waits for a change of the filter's table that was not asked for on the socket `ours`. Nothing is waited for once it has been taken from the socket, for the wait may
/// be given up. Without a socket it ends after a second, so that the table is compared by the
/// clock.
async fn next_change(changes: &mut Option<TableChanges>, ours: Option<u32>) -> Told {
    let Some(listening) = changes else {
        sleep(RETRY).await;
        return Told::ByTheClock;
    };
    if let Err(error) = listening.next(nftables::TABLE, ours).await {
        debug!(%error, "listening for changes of the filter ended");
        *changes = None;
    }
    Told::ByTheKernel
}
