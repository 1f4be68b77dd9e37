//! The kernel's routes and rules, brought to what is wanted: the destinations of which the policy or the kernel tells
//! something new are compared, with those that have been refused or kept out; all of them only at the start, after a failure,
//! and where everything had to be read.
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use ipnet::IpNet;

use super::error::ForwardingError;
use crate::io::netlink::kernel_watch::{KernelWatch, Reason};
use crate::io::netlink::reconciler::Reconciler;
use crate::io::netlink::{Link, Outcome, PinnedDevice};
use crate::io::netns::Namespace;
use crate::routing::kernel_routes::{METRIC_LOCAL_BLACKHOLE, TABLE_MAIN};
use crate::routing::picture::routes_to;
use crate::routing::{
    Destinations, Family, Interest, KernelPolicy, KernelRoute, PROTOCOL_GATEWAYD, Picture, RouteKind, SharedSet,
};

/// How often what has changed meanwhile is compared before others have their turn.
const COMPARISONS: usize = 3;

/// The kernel's routes and rules as far as they matter, and what is wanted of them.
pub(super) struct Routes {
    kernel: KernelWatch,
    reconciler: Reconciler,
    /// The tunnel device, as it is called in routes.
    device: Arc<str>,
    /// What is wanted, and the firewall mark of our sockets.
    wanted: KernelPolicy,
    mark: u32,
    /// Destinations whose routes may not be as wanted.
    due: Destinations,
    /// Destinations of routes that are wanted and have been refused or are kept out. They are compared again with whatever is,
    /// so that none of them is forgotten. All, if something failed that is no route.
    stuck: Destinations,
    in_force: InForce,
}

/// Protected destinations whose routes stand in the table that decides about them, and the kernel asks that.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct InForce {
    /// Those that lead into the tunnel.
    pub led: SharedSet<IpNet>,
    /// Those with a blackhole.
    pub shut: SharedSet<IpNet>,
}

impl Routes {
    /// Nothing is wanted or known yet.
    pub(super) fn new(namespace: Namespace, device: Arc<str>) -> Self {
        Routes {
            kernel: KernelWatch::new(namespace.clone()),
            reconciler: Reconciler::new(namespace, PROTOCOL_GATEWAYD),
            device,
            wanted: KernelPolicy::default(),
            mark: 0,
            due: Destinations::All,
            stuck: Destinations::NONE,
            in_force: InForce::default(),
        }
    }

    /// Pins the tunnel device: its name in a route means it, whatever it is called at the moment.
    pub(super) fn pin(&mut self, device: Option<PinnedDevice>) {
        self.reconciler.pin(device.clone());
        self.kernel.pin(device);
    }

    /// From now on this matters of everybody's routes.
    pub(super) fn heed(&mut self, interest: Interest) {
        self.kernel.want(interest);
    }

    /// The pinned device as it was last seen; `None` if it was not in the namespace.
    pub(super) fn pinned_link(&self) -> Option<&Link> {
        self.kernel.pinned_link()
    }

    /// What there is of what matters.
    pub(super) fn picture(&self) -> &Picture {
        self.kernel.picture()
    }

    /// What is wanted.
    pub(super) fn wanted(&self) -> &KernelPolicy {
        &self.wanted
    }

    /// What of it is in force.
    pub(super) fn in_force(&self) -> &InForce {
        &self.in_force
    }

    /// Takes what the kernel has told since the last look, from which what is wanted may follow.
    pub(super) async fn look(&mut self) -> Result<(), ForwardingError> {
        self.hear().await?;
        // What others change from now on is looked at in the next round.
        self.kernel.take_news();
        Ok(())
    }

    /// Waits until there is something to look at. May be dropped and called again.
    pub(super) async fn next(&mut self) -> Reason {
        let reason = self.kernel.next().await;
        if reason == Reason::Resync {
            self.due = Destinations::All;
        }
        reason
    }

    /// Brings the kernel to what is `wanted` now, with packets of our sockets marked by `mark`. Answers what became of all that
    /// has been compared last.
    pub(super) async fn bring(&mut self, wanted: KernelPolicy, mark: u32) -> Result<Outcome, ForwardingError> {
        let differing = if mark == self.mark { wanted.differing(&self.wanted) } else { Destinations::All };
        (self.wanted, self.mark) = (wanted, mark);
        self.settle(differing).await
    }

    /// The same, if only these differ from what is wanted.
    pub(super) async fn carry(
        &mut self,
        carried: SharedSet<IpNet>,
        before_main: BTreeMap<Family, u32>,
    ) -> Result<Outcome, ForwardingError> {
        let differing = if before_main == self.wanted.before_main {
            Destinations::These(carried.differing(&self.wanted.carried).copied().collect())
        } else {
            Destinations::All
        };
        (self.wanted.carried, self.wanted.before_main) = (carried, before_main);
        self.settle(differing).await
    }

    /// Compares what differs, and then what the kernel tells of it, until it tells nothing else any more.
    async fn settle(&mut self, differing: Destinations) -> Result<Outcome, ForwardingError> {
        self.note(&differing);
        self.due.join(differing);
        let mut outcome = self.compare().await?;
        for _ in 1..COMPARISONS {
            if outcome.set + outcome.removed == 0 && !outcome.surprised {
                break;
            }
            self.hear().await?;
            outcome = self.compare().await?;
        }
        Ok(outcome)
    }

    /// Compares what is due and changes what is not as it is wanted.
    async fn compare(&mut self) -> Result<Outcome, ForwardingError> {
        // Until that has come to an end nothing is known.
        let mut due = std::mem::replace(&mut self.due, Destinations::All);
        due.join(self.stuck.clone());
        let destinations = match due {
            Destinations::These(these) => these,
            Destinations::All => self.all(),
        };
        let desired = self.wanted.part(&destinations, &self.device, self.mark);
        let actual = self.kernel.picture().part(&destinations);
        let outcome = self.reconciler.bring(&desired, &actual).await?;
        self.stuck = stuck(&outcome);
        if outcome.surprised {
            self.kernel.distrust();
        } else {
            self.due = Destinations::NONE;
        }
        Ok(outcome)
    }

    /// Every destination to which a route of ours is wanted, or there.
    fn all(&self) -> BTreeSet<IpNet> {
        let mut all = self.wanted.destinations();
        all.extend(self.kernel.picture().own.iter().map(|route| route.destination));
        all
    }

    async fn hear(&mut self) -> Result<(), ForwardingError> {
        let told = self.kernel.look().await?;
        self.note(&told);
        self.due.join(told);
        Ok(())
    }

    /// Notes what of these is in force.
    fn note(&mut self, destinations: &Destinations) {
        let Routes { kernel, wanted, in_force, .. } = self;
        let Picture { own, rest } = kernel.picture();
        let ours = rest.rules.iter().filter(|rule| rule.protocol == PROTOCOL_GATEWAYD && !rule.is_foreign);
        let asked: BTreeSet<(Family, u32)> = ours.map(|rule| (rule.family, rule.table)).collect();
        let decides = |route: &&KernelRoute| {
            let (destination, table) = (&route.destination, route.table);
            wanted.protect.contains(destination)
                && wanted.table(destination) == table
                && (table == TABLE_MAIN || asked.contains(&(Family::of(destination), table)))
        };
        match destinations {
            Destinations::All => {
                *in_force = InForce::default();
                own.iter().filter(decides).for_each(|route| in_force.add(route));
            }
            Destinations::These(these) => {
                for destination in these {
                    in_force.led.remove(destination);
                    in_force.shut.remove(destination);
                    routes_to(own, destination).filter(decides).for_each(|route| in_force.add(route));
                }
            }
        }
    }
}

/// Destinations of which a comparison did not reach what is wanted.
fn stuck(outcome: &Outcome) -> Destinations {
    if !outcome.failed.is_empty() {
        return Destinations::All;
    }
    let blocked = outcome.blocked.iter().map(|(wanted, _)| wanted.destination);
    let refused = outcome.refused.iter().map(|(wanted, _)| wanted.destination);
    Destinations::These(blocked.chain(refused).collect())
}

impl InForce {
    fn add(&mut self, route: &KernelRoute) {
        match route.kind {
            RouteKind::Unicast => self.led.insert(route.destination),
            RouteKind::Blackhole if route.metric != METRIC_LOCAL_BLACKHOLE => self.shut.insert(route.destination),
            _ => false,
        };
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::io::netlink::NetlinkError;

    #[test]
    fn only_what_is_kept_out_or_refused_is_compared_again() {
        let route = |destination: &str| KernelRoute::least(destination.parse().expect("a prefix"));
        let (one, other) = (route("10.1.0.0/16"), route("fd00::/64"));
        let mut outcome = Outcome {
            set: 8000,
            blocked: vec![(one.clone(), KernelRoute { protocol: 3, ..one.clone() })],
            refused: vec![(other.clone(), "Permission denied".to_owned())],
            ..Outcome::default()
        };
        assert_eq!(stuck(&Outcome::default()), Destinations::NONE);
        assert_eq!(stuck(&outcome), Destinations::These([one.destination, other.destination].into()));
        outcome.failed.push(NetlinkError::NoDevice("gwd0".into()));
        assert_eq!(stuck(&outcome), Destinations::All, "a rule, or a route that would not go");
    }
}
