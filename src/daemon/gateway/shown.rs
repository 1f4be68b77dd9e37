//! What the view is made of.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use ipnet::IpNet;
use tokio::sync::watch;

use crate::control::Owner;
use crate::control::owner::OwnerReply;
use crate::control::route::{Publication, Route, RouteState};
use crate::daemon::status::{KernelView, RoutesTo};
use crate::io::forwarding::{Absence, Standing};
use crate::routing::{self, SharedMap, Table};

/// The parts of the view that are made of what stays the same while others change.
#[derive(Default)]
pub struct Shown {
    pub(super) routes: SharedMap<IpNet, Arc<RoutesTo>>,
    /// Of the file, and of cend's set.
    pub(super) warnings: [Arc<Vec<Arc<str>>>; 2],
    pub(super) cend: Option<Arc<OwnerReply>>,
    pub(super) kernel: Arc<KernelView>,
    /// Destinations that the kernel does not lead into the tunnel, as they are shown.
    pub(super) uncarried: BTreeMap<IpNet, Absence>,
    /// How the kernel stands was looked at, and when that was told last.
    pub(super) standing: Option<watch::Receiver<Standing>>,
    pub(super) kernel_is_behind: bool,
}

impl Shown {
    /// The file says these things to its operator.
    pub fn file_warnings(&mut self, warnings: &[String]) {
        self.warnings[0] = Arc::new(warnings.iter().map(|warning| Arc::from(warning.as_str())).collect());
    }

    /// cend's set gives rise to these.
    pub fn cend_warnings(&mut self, warnings: impl Iterator<Item = Arc<str>>) {
        self.warnings[1] = Arc::new(warnings.collect());
    }

    /// What became of cend's set, if there is one.
    pub fn cend_reply(&mut self, reply: Option<OwnerReply>) {
        if self.cend.as_deref() != reply.as_ref() {
            self.cend = reply.map(Arc::new);
        }
    }

    /// Shows the routes to these destinations as the table has them.
    pub fn show(&mut self, changed: BTreeSet<IpNet>, table: &Table) {
        let Self { routes, uncarried, .. } = self;
        for destination in changed {
            let absence = uncarried.get(&destination);
            let at = table.at(&destination).into_iter().map(|(entry, state)| route(entry, state, absence));
            let at: Vec<Route> = at.collect();
            if at.is_empty() {
                routes.remove(&destination);
            } else {
                routes.insert(destination, Arc::new(RoutesTo::new(at)));
            }
        }
    }

    /// The kernel has to be looked at again, whether it tells of a change or not.
    pub fn kernel_is_behind(&mut self) {
        self.kernel_is_behind = true;
    }
}

/// A route that the kernel lacks carries nothing, whatever its connection does.
fn route(entry: &routing::VpnRoute, state: routing::RouteState, absence: Option<&Absence>) -> Route {
    let routing::VpnRoute { destination, policy, connection, weight, owner, publication, created, closed } = entry;
    Route {
        destination: *destination,
        source: policy.map(|policy| policy.source),
        priority: policy.map(|policy| policy.priority),
        connection: connection.to_string(),
        weight: weight.value(),
        state: match state {
            _ if absence.is_some() => RouteState::Down,
            routing::RouteState::Active => RouteState::Active,
            routing::RouteState::Standby => RouteState::Standby,
            routing::RouteState::Down => RouteState::Down,
        },
        reason: absence.map(ToString::to_string).or_else(|| closed.map(|why| why.to_string())),
        publication: match publication {
            routing::Publication::Normal => Publication::Normal,
            routing::Publication::Published => Publication::Published,
        },
        owner: match owner {
            routing::Owner::File => Owner::File,
            routing::Owner::Cend => Owner::Cend,
        },
        created: *created,
    }
}
