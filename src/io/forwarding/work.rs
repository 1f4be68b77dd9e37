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
use super::keeping::Keeping;
use super::standing::Standing;
use crate::io::kept_policy::KeptPolicy;
use crate::io::netlink::kernel_watch::{KernelWatch, Reason};
use crate::io::netlink::reconciler::Reconciler;
use crate::io::netlink::{Outcome, PinnedDevice};
use crate::io::netns::Namespace;
use crate::io::nftables::{self, FilterError, Holds, OuterPorts, PlaintextFilter, TableChanges};
use crate::routing::kernel_routes::{METRIC_BLACKHOLE, METRIC_LOCAL_BLACKHOLE, TABLE_LOCAL, TABLE_MAIN};
use crate::routing::policy::{Exemption, PROTOCOL_KERNEL};
use crate::routing::{
    AddressRange, Family, Interest, KernelPolicy, KernelRoute, KernelState, OuterDevices, PROTOCOL_GATEWAYD, Policy,
    RouteKind, kernel_state, local_subnets, protected_sources,
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
    pub policy: KeptPolicy,
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

/// Why the filter is compared.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Told {
    ByTheKernel,
    ByTheClock,
}

/// How long a comparison may be put off for those that ask.
const OVERDUE: Duration = Duration::from_millis(500);

/// What the tunnel device is called at the moment, and what is protected.
type Filtered = (Option<Arc<str>>, Vec<AddressRange>);

pub(super) struct Work {
    kernel: KernelWatch,
    reconciler: Reconciler,
    settings: ForwardingSettings,
    device: Arc<str>,
    pinned: watch::Receiver<Option<PinnedDevice>>,
    filter: PlaintextFilter,
    /// What the filter takes for the tunnel and protects, and what its table then held, once it has been set.
    filtered: Option<(Filtered, Holds)>,
    /// Destinations that the filter watches.
    watched: BTreeSet<IpNet>,
    /// The filter could not be set, or nobody will.
    unwatched: bool,
    kept: KeptPolicy,
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
        Work {
            kernel: KernelWatch::new(settings.namespace.clone()),
            reconciler: Reconciler::new(settings.namespace.clone(), PROTOCOL_GATEWAYD),
            device: kept.device.as_str().into(),
            pinned,
            filter,
            filtered: None,
            watched: BTreeSet::new(),
            unwatched: false,
            kept: KeptPolicy { closed: kept.closed.clone(), ..KeptPolicy::default() },
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
            let closed = std::mem::take(&mut self.kept.closed);
            self.kept = KeptPolicy { closed, ..policy };
            loop {
                self.listen(&mut table_changes);
                told = told.or(heard(&mut table_changes));
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
                        () = self.verify(of) => (told, suspected) = (None, None),
                    }
                }
                let result = self.round(carry).await.map_err(Arc::new);
                let failed = result.is_err();
                self.tell_trouble(result.as_ref().err().map(|error| &**error));
                if !answered {
                    done.send_replace(Done { number, result });
                }
                self.keeping.begin(&self.kept);
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
                        reason = self.kernel.next(), if !failed => {
                            if reason == Reason::Resync {
                                told = told.or(Some(Told::ByTheClock));
                            }
                            break false;
                        }
                        heard = next_change(&mut table_changes), if !failed => {
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
        self.unwatched = true;
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

    /// Compares the whole table with what it held when it was set, as somebody `told` of a change, and forgets that if it
    /// differs, so that the next round sets it again. Only this ends the suspicion.
    async fn verify(&mut self, told: Told) {
        let Some(((tunnel, protected), held)) = &self.filtered else { return };
        let stands = match held {
            Holds::This(held) => self.filter.listing().await.map(|listing| listing.filter(|listing| listing == held)),
            Holds::WithOtherElements(held) => {
                let whole = self.filter.trusting(tunnel.clone()).whole(protected).await;
                whole.map(|listing| listing.filter(|listing| listing.has_the_rules_of(held)))
            }
        };
        match stands {
            Ok(Some(listing)) => {
                if let Some((_, held)) = &mut self.filtered {
                    *held = Holds::This(listing);
                }
            }
            Ok(None) => {
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

    /// What drops comes first, and waits for nobody; then the filter; then what leads traffic into the tunnel, which must
    /// not be there before what watches the way back.
    async fn round(&mut self, carry: bool) -> Result<(), ForwardingError> {
        let policy = self.kept.policy();
        let pinned = self.pinned.borrow().clone();
        self.reconciler.pin(pinned.clone());
        self.kernel.pin(pinned);
        self.kernel.want(Interest::new(&policy, &self.kept.outer_addresses));
        let mut actual = self.kernel.actual().await?;
        let usable = carry && self.device_is_usable();
        let outer = OuterDevices::find(&actual.routes, &self.kept.outer_addresses, &policy.local);
        let subnets = local_subnets(&policy, &self.kept.closed, &actual.routes, &self.device, &outer);
        let exemptions = policy.exemptions(&actual.routes, &self.device, &outer.all(), &subnets.closed);
        self.kept.closed = subnets.remembered;
        let mut desired = KernelPolicy {
            carried: self.carried(&policy, usable),
            exempt: exemptions.iter().filter(|one| one.reason.is_ours()).map(|one| one.prefix).collect(),
            closed: subnets.closed.values().copied().collect(),
            bypass: self.kept.bypass.clone(),
            outer_peers: self.kept.outer_peers.clone(),
            protect: policy.protect.clone(),
            ..KernelPolicy::default()
        };
        desired.before_main = desired.needs_rule(&actual, &self.device, self.unwatched);
        let mut outcome = self.bring(&desired, &mut actual).await?;
        let filtered = self.set_filter(&policy, &exemptions).await;
        let carried = self.carried(&policy, usable);
        let before_main = desired.needs_rule(&actual, &self.device, self.unwatched);
        if carried != desired.carried || before_main != desired.before_main {
            (desired.carried, desired.before_main) = (carried, before_main);
            outcome = self.bring(&desired, &mut actual).await?;
        }
        let led = in_force(&desired, &actual, RouteKind::Unicast);
        let uncarried = policy.protect.difference(&led).copied();
        let uncarried = absences(uncarried, &self.watched, usable, &outcome);
        self.standing.send_if_modified(|standing| {
            let news = Standing {
                uncarried,
                taken: taken(&policy, &actual, &exemptions, &self.device),
                exemptions,
                one_armed: subnets.one_armed,
                closed: subnets.closed,
                preceding: preceding(&desired, &actual),
                shut: in_force(&desired, &actual, RouteKind::Blackhole),
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
    fn carried(&self, policy: &Policy, usable: bool) -> BTreeSet<IpNet> {
        if usable { policy.protect.intersection(&self.watched).copied().collect() } else { BTreeSet::new() }
    }

    /// Brings the kernel to a policy, and takes what it then tells.
    async fn bring(
        &mut self,
        policy: &KernelPolicy,
        actual: &mut Arc<KernelState>,
    ) -> Result<Outcome, ForwardingError> {
        let outcome = self.reconciler.bring(&kernel_state(policy, &self.device, self.kept.mark), actual).await?;
        if outcome.surprised {
            self.kernel.distrust();
        }
        // Held by nobody else, it is changed where it lies.
        *actual = Arc::default();
        *actual = self.kernel.actual().await?;
        Ok(outcome)
    }

    /// What the tunnel device is called at the moment.
    fn tunnel(&self) -> Option<Arc<str>> {
        if self.pinned.borrow().is_none() {
            return Some(Arc::clone(&self.device));
        }
        self.kernel.pinned_link().map(|link| Arc::clone(&link.name))
    }

    /// Whether routes can lead into the tunnel device: the kernel refuses them while it is down.
    fn device_is_usable(&self) -> bool {
        self.pinned.borrow().is_none() || self.kernel.pinned_link().is_some_and(|link| link.up)
    }

    /// Sets the filter unless it stands as it should. Where that fails, only what it watched before is carried; and
    /// nothing, if it does not stand any more.
    async fn set_filter(&mut self, policy: &Policy, exemptions: &BTreeSet<Exemption>) -> Result<(), FilterError> {
        let exempt = || exemptions.iter().map(|exemption| exemption.prefix);
        let of_family = |family| protected_sources(policy.protect.iter().copied(), exempt(), family);
        let wanted = (self.tunnel(), [of_family(Family::Ipv4), of_family(Family::Ipv6)].concat());
        if self.filtered.as_ref().is_some_and(|(filtered, _)| *filtered == wanted) {
            self.watched.clone_from(&policy.protect);
            return Ok(());
        }
        let (tunnel, protected) = wanted.clone();
        // Of a table that stands only the elements change that differ.
        if let Some(((_, before), _)) = self.filtered.as_ref().filter(|((trusted, _), _)| *trusted == tunnel) {
            match self.filter.trusting(tunnel.clone()).change(before, &protected).await {
                Ok(true) => {
                    let held = self.filtered.take().map(|(_, held)| held.with_other_elements());
                    self.filtered = held.map(|held| (wanted, held));
                    self.watched.clone_from(&policy.protect);
                    return Ok(());
                }
                Ok(false) => {}
                Err(error) => debug!(%error, "the filter is set as a whole"),
            }
        }
        match self.filter.trusting(tunnel).apply(protected).await {
            Ok(listing) => {
                self.filtered = Some((wanted, Holds::This(listing)));
                self.unwatched = false;
                self.watched.clone_from(&policy.protect);
                Ok(())
            }
            Err(error) => {
                // A table that stood still stands, as it was.
                if self.filtered.is_none() {
                    self.watched.clear();
                    self.unwatched = true;
                }
                Err(error)
            }
        }
    }

    /// Keeps the policy in force in the state directory, to the end.
    async fn keep(&mut self) {
        self.keeping.begin(&self.kept);
        while self.keeping.is_writing() {
            let wrote = self.keeping.written().await;
            self.has_kept(wrote);
        }
    }

    /// Takes what became of writing. What could not be written is tried again in the next round.
    fn has_kept(&mut self, wrote: std::io::Result<()>) {
        if wrote.is_ok() {
            self.keeping.begin(&self.kept);
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

/// The protected destinations whose routes of a kind stand in the table that decides about them, and the kernel asks that.
fn in_force(policy: &KernelPolicy, actual: &KernelState, kind: RouteKind) -> BTreeSet<IpNet> {
    let ours = actual.rules.iter().filter(|rule| rule.protocol == PROTOCOL_GATEWAYD && !rule.is_foreign);
    let asked: BTreeSet<(Family, u32)> = ours.map(|rule| (rule.family, rule.table)).collect();
    let stands = |route: &&KernelRoute| {
        let (destination, table) = (&route.destination, route.table);
        route.protocol == PROTOCOL_GATEWAYD
            && route.kind == kind
            && route.metric != METRIC_LOCAL_BLACKHOLE
            && policy.protect.contains(destination)
            && policy.table(destination) == table
            && (table == TABLE_MAIN || asked.contains(&(Family::of(destination), table)))
    };
    actual.routes.iter().filter(stands).map(|route| route.destination).collect()
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

/// Takes what the kernel told of the filter's table since it was last listened to.
fn heard(changes: &mut Option<TableChanges>) -> Option<Told> {
    match changes.as_ref()?.take(nftables::TABLE) {
        Ok(about) => about.then_some(Told::ByTheKernel),
        Err(error) => {
            debug!(%error, "listening for changes of the filter ended");
            *changes = None;
            Some(Told::ByTheKernel)
        }
    }
}

/// Waits for a change of the filter's table. Nothing is waited for once it has been taken from the socket, for the wait may
/// be given up. Without a socket it ends after a second, so that the table is compared by the
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
