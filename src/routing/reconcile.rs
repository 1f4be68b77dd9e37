//! Bringing a kernel's routes and policy rules to what they should be, without touching anybody else's.
use std::collections::BTreeSet;
use std::net::IpAddr;
use std::ops::Bound;
use std::sync::Arc;

use ipnet::IpNet;

/// Address family of a policy rule.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Family {
    /// IPv4.
    Ipv4,
    /// IPv6.
    Ipv6,
}

impl Family {
    /// The family of a prefix.
    pub fn of(prefix: &IpNet) -> Self {
        match prefix {
            IpNet::V4(_) => Family::Ipv4,
            IpNet::V6(_) => Family::Ipv6,
        }
    }
}

/// What a kernel route does with a packet (`rtm_type`, rtnetlink(7)).
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum RouteKind {
    /// Forwards by gateway, device or both.
    Unicast,
    /// Drops silently.
    Blackhole,
    /// Drops and answers ICMP host unreachable.
    Unreachable,
    /// Ends the search in its table; the next policy rule is asked.
    Throw,
    /// Any other type; never one of ours.
    Other(u8),
}

/// One kernel route. In one table the kernel tells routes apart by destination and metric ([`KernelRoute::place`]). In
/// their order, those to one destination follow one another, whatever their tables are.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct KernelRoute {
    /// Destination prefix.
    pub destination: IpNet,
    /// Routing table; 254 is main.
    pub table: u32,
    /// Metric; the lowest wins. IPv6 turns 0 into 1024, so it cannot be asked for there.
    pub metric: u32,
    /// Who made the route (`rtm_protocol`); 2 is the kernel itself.
    pub protocol: u8,
    /// What it does.
    pub kind: RouteKind,
    /// Next hop, if it is not on the link.
    pub gateway: Option<IpAddr>,
    /// Next hops beside the gateway, each of which gets as much as it. Only cend's routes are seen so: of others' there is a
    /// route for each next hop.
    pub more_gateways: Vec<IpAddr>,
    /// Name of the outgoing device; `None` for routes that drop, and in a wanted route whose gateway decides it.
    pub device: Option<Arc<str>>,
}

impl KernelRoute {
    /// What the kernel keeps unique: table, destination, metric.
    pub fn place(&self) -> (u32, IpNet, u32) {
        (self.table, self.destination, self.metric)
    }

    /// The least of all routes to a destination.
    pub fn least(destination: IpNet) -> Self {
        let kind = RouteKind::Unicast;
        let (more_gateways, gateway, device) = (Vec::new(), None, None);
        KernelRoute { destination, table: 0, metric: 0, protocol: 0, kind, gateway, more_gateways, device }
    }

    /// The least of all routes at its place.
    fn first_at_place(&self) -> KernelRoute {
        KernelRoute { table: self.table, metric: self.metric, ..Self::least(self.destination) }
    }

    /// Whether the kernel's `present` route is this wanted one. A route with a gateway and no device takes the device
    /// that the kernel found for it.
    fn is_met_by(&self, present: &KernelRoute) -> bool {
        let device_is_free = self.gateway.is_some() && self.device.is_none();
        let device = if device_is_free { &present.device } else { &self.device };
        KernelRoute { device: device.clone(), ..self.clone() } == *present
    }
}

/// One policy rule (`ip rule`).
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct KernelRule {
    /// IPv4 or IPv6.
    pub family: Family,
    /// Position; lower numbers are asked first. `main` stands at 32766.
    pub priority: u32,
    /// Who made the rule (`FRA_PROTOCOL`).
    pub protocol: u8,
    /// Only packets from addresses in this prefix.
    pub source: Option<IpNet>,
    /// Only packets that arrived on this device.
    pub input_device: Option<Arc<str>>,
    /// Only packets without this firewall mark.
    pub unless_mark: Option<u32>,
    /// The table to ask.
    pub table: u32,
    /// Go on with the next rule if the table's answer has a prefix of this length or shorter.
    pub suppress_prefix_length: Option<u32>,
    /// Whether it has conditions or an action that none of ours has. Such a rule is never ours, whatever its number.
    pub is_foreign: bool,
}

/// The routes and rules of one network namespace: all that are wanted there under one protocol number, or all that are
/// there.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct KernelState {
    /// Routes.
    pub routes: BTreeSet<KernelRoute>,
    /// Policy rules.
    pub rules: BTreeSet<KernelRule>,
}

/// What to do, in the order of the fields: something that drops is there before something is taken away, and a rule is
/// set only when the table that it points to is full.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Diff {
    /// Routes whose place is free; dropping ones first.
    pub add: Vec<KernelRoute>,
    /// Routes whose place is taken by an older one of the same protocol number; `(old, new)`.
    pub replace: Vec<(KernelRoute, KernelRoute)>,
    /// Rules that are missing.
    pub add_rules: Vec<KernelRule>,
    /// Rules that are too many.
    pub remove_rules: Vec<KernelRule>,
    /// Routes that are too many; forwarding ones first.
    pub remove: Vec<KernelRoute>,
    /// Wanted routes whose place somebody else's route takes, with that route. Nothing is done about them.
    pub blocked: Vec<(KernelRoute, KernelRoute)>,
}

impl Diff {
    /// Whether there is nothing to do. Blocked routes do not count: only their owner can make room.
    pub fn is_empty(&self) -> bool {
        self.add.is_empty()
            && self.replace.is_empty()
            && self.add_rules.is_empty()
            && self.remove_rules.is_empty()
            && self.remove.is_empty()
    }
}

/// What brings a namespace from `actual` to `desired`.
///
/// Only routes and rules under `protocol` are ever changed or removed; everything in `desired` must carry that number.
/// `actual` holds everybody's routes, so that a wanted route does not take the place of a foreign one.
pub fn reconcile(desired: &KernelState, actual: &KernelState, protocol: u8) -> Diff {
    let mut diff = Diff::default();
    // Our routes that stay, or that are replaced and so need no removal.
    let mut settled: BTreeSet<&KernelRoute> = BTreeSet::new();
    // The two are in one order: what both have is passed by.
    for wanted in desired.routes.difference(&actual.routes) {
        let there: Vec<&KernelRoute> = at_place(actual, wanted).collect();
        if let Some(met) = there.iter().find(|route| wanted.is_met_by(route)) {
            settled.insert(met);
        } else if let Some(foreign) = there.iter().find(|route| route.protocol != protocol) {
            diff.blocked.push((wanted.clone(), (*foreign).clone()));
        } else if let Some(own) = there.first() {
            settled.insert(own);
            diff.replace.push(((*own).clone(), wanted.clone()));
        } else {
            diff.add.push(wanted.clone());
        }
    }
    let own = actual.routes.difference(&desired.routes).filter(|route| route.protocol == protocol);
    diff.remove = own.filter(|route| !settled.contains(route)).cloned().collect();
    diff.add.sort_by_key(|route| route.kind == RouteKind::Unicast);
    diff.remove.sort_by_key(|route| route.kind != RouteKind::Unicast);
    diff.add_rules = desired.rules.difference(&actual.rules).cloned().collect();
    let own_rules =
        actual.rules.difference(&desired.rules).filter(|rule| rule.protocol == protocol && !rule.is_foreign);
    diff.remove_rules = own_rules.cloned().collect();
    diff
}

/// The routes at the place of a wanted one.
fn at_place<'a>(actual: &'a KernelState, wanted: &KernelRoute) -> impl Iterator<Item = &'a KernelRoute> {
    let place = wanted.place();
    let from = actual.routes.range((Bound::Included(wanted.first_at_place()), Bound::Unbounded));
    from.take_while(move |route| route.place() == place)
}

#[cfg(test)]
mod tests;
