//! gatewayd's side of its namespace's kernel: routes into the tunnel, blackholes, and the filter against plaintext, kept
//! in step.
mod absence;
mod error;
mod filter;
mod keeping;
mod routes;
mod standing;
mod work;

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use ipnet::IpNet;
use tokio::sync::watch;
use tokio::task::JoinHandle;
use tokio::time::timeout;
use tracing::warn;

pub use absence::Absence;
pub use error::ForwardingError;
pub use standing::Standing;
pub use work::ForwardingSettings;

use self::error::refused;
use self::work::{Done, Request, Work};
use crate::io::kept_policy::KeptPolicy;
use crate::io::netlink::PinnedDevice;
use crate::io::netlink::reconciler::Reconciler;
use crate::io::netns::Namespace;
use crate::io::nftables::{self, PlaintextFilter};
use crate::routing::{KernelState, PROTOCOL_GATEWAYD};

/// How long the task has to finish what it is doing.
const END: Duration = Duration::from_secs(1);

/// A handle on the task. However it ends, blackholes, rules and filter stay in the kernel; [`release`] takes them away.
pub struct Forwarding {
    /// What is asked for last. The task does that only, however much was asked for meanwhile.
    requests: watch::Sender<Request>,
    done: watch::Receiver<Done>,
    standing: watch::Receiver<Standing>,
    pinned: watch::Sender<Option<PinnedDevice>>,
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
        let device = kept.device.as_str().into();
        let filter = PlaintextFilter::new(settings.namespace.clone(), device, kept.mark, settings.ports);
        let (requests, inbox) = watch::channel(Request::default());
        let (done_sender, done) = watch::channel(Done::default());
        let (standing_sender, standing) = watch::channel(Standing::default());
        let (pinned, pin) = watch::channel(None);
        let work = Work::new(settings, kept, filter.clone(), pin, standing_sender);
        let task = tokio::spawn(work.run(inbox, done_sender));
        Forwarding { requests, done, standing, pinned, filter, task }
    }

    /// From the next [`Forwarding::apply`] on, the tunnel is this device, whatever it is called at the moment, and no other
    /// one. Before, it is whichever has the name.
    pub fn pin(&self, device: PinnedDevice) {
        self.pinned.send_replace(Some(device));
    }

    /// Closes what `policy` protects: blackholes and filter, and no route into the tunnel. It needs no device.
    ///
    /// # Errors
    /// As for [`Forwarding::apply`].
    pub async fn close(&self, policy: KeptPolicy) -> Result<(), Arc<ForwardingError>> {
        self.request(policy, false).await
    }

    /// Makes the kernel as `policy` asks, now and from now on: it is compared again when somebody touches a route, a rule
    /// or the filter, and every minute. The tunnel device must exist.
    ///
    /// # Errors
    /// What did not succeed; it is tried again twice a second.
    pub async fn apply(&self, policy: KeptPolicy) -> Result<(), Arc<ForwardingError>> {
        self.request(policy, true).await
    }

    /// Asks at once, also if the answer is not waited for; what was asked for before and not begun is not done any more.
    async fn request(&self, policy: KeptPolicy, carry: bool) -> Result<(), Arc<ForwardingError>> {
        let mut number = 0;
        let policy = Arc::new(policy);
        self.requests.send_modify(|request| {
            number = request.number + 1;
            *request = Request { number, policy, carry };
        });
        let mut done = self.done.clone();
        let done = done.wait_for(|done| done.number >= number).await;
        done.map_err(|_| Arc::new(ForwardingError::Stopped))?.result.clone()
    }

    /// Ends the task, after what it is doing at the moment, and tells how things stand. The kernel stays as it is.
    pub async fn end(mut self) -> Standing {
        self.requests = watch::channel(Request::default()).0;
        if timeout(END, &mut self.task).await.is_err() {
            warn!("the kernel's side of the VPN routes is still being changed");
        }
        self.standing.borrow().clone()
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

/// Destinations that a former gatewayd left closed in `namespace`.
///
/// # Errors
/// The kernel cannot be asked.
pub async fn left_closed(namespace: Namespace) -> Result<BTreeSet<IpNet>, ForwardingError> {
    let actual = Reconciler::new(namespace, PROTOCOL_GATEWAYD).actual(&KernelState::default()).await?;
    Ok(work::blackholed(&actual))
}

/// What was taken out of the kernel.
#[derive(Clone, Debug, Default, PartialEq, Eq, serde::Serialize, schemars::JsonSchema)]
pub struct Released {
    /// Kernel routes, blackholes included.
    pub routes: usize,
    /// Policy rules.
    pub rules: usize,
    /// nftables tables, by name.
    pub tables: Vec<String>,
    /// Why it is not known whether a table stays.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub trouble: Option<String>,
}

/// Takes everything that any gatewayd left in `namespace` out of its kernel, whatever its device was called. From then on
/// the other routes of the namespace decide, and nothing is protected. Without `nft` the routes and rules go all the same.
///
/// # Errors
/// Some routes or rules stayed.
pub async fn release(namespace: Namespace) -> Result<Released, ForwardingError> {
    // The filter last: as long as a route is there, something watches.
    let mut reconciler = Reconciler::new(namespace.clone(), PROTOCOL_GATEWAYD);
    let nothing = KernelState::default();
    let actual = reconciler.actual(&nothing).await?;
    let outcome = reconciler.bring(&nothing, &actual).await?;
    refused(outcome.refusals())?;
    let (tables, trouble) = match nftables::release(&namespace).await {
        Ok(tables) => (tables, None),
        Err(error) => (Vec::new(), Some(error.to_string())),
    };
    let routes = actual.routes.iter().filter(|route| route.protocol == PROTOCOL_GATEWAYD).count();
    let rules = actual.rules.iter().filter(|rule| rule.protocol == PROTOCOL_GATEWAYD && !rule.is_foreign).count();
    Ok(Released { routes, rules, tables, trouble })
}
