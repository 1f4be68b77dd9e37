//! What a namespace has of routes and rules, told apart by whose they are, and which part of that is to be compared.
use std::collections::BTreeSet;

use ipnet::IpNet;

use super::reconcile::{KernelRoute, KernelState};

/// Destinations of routes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Destinations {
    /// Every one.
    All,
    /// These.
    These(BTreeSet<IpNet>),
}

impl Destinations {
    /// None at all.
    pub const NONE: Self = Destinations::These(BTreeSet::new());

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        matches!(self, Destinations::These(these) if these.is_empty())
    }

    /// This one too.
    pub fn insert(&mut self, destination: IpNet) {
        if let Destinations::These(these) = self {
            these.insert(destination);
        }
    }

    /// The others' too.
    pub fn join(&mut self, others: Self) {
        match (&mut *self, others) {
            (Destinations::These(these), Destinations::These(others)) => these.extend(others),
            (all, Destinations::All) => *all = Destinations::All,
            (Destinations::All, Destinations::These(_)) => {}
        }
    }
}

/// The routes and rules of one network namespace as far as they matter to whoever keeps routes of its own there. Apart from
/// each other, so that thousands of its own are not looked through for the few of others.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Picture {
    /// Its own routes.
    pub own: BTreeSet<KernelRoute>,
    /// Everybody else's routes, and all policy rules.
    pub rest: KernelState,
}

impl Picture {
    /// Everybody's routes to one destination, in every table.
    pub fn to<'p>(&'p self, destination: &IpNet) -> impl Iterator<Item = &'p KernelRoute> + use<'p> {
        routes_to(&self.own, destination).chain(routes_to(&self.rest.routes, destination))
    }

    /// Everybody's routes to these destinations, and all policy rules.
    pub fn part(&self, destinations: &BTreeSet<IpNet>) -> KernelState {
        let routes = destinations.iter().flat_map(|destination| self.to(destination)).cloned().collect();
        KernelState { routes, rules: self.rest.rules.clone() }
    }
}

/// Those of `routes` that lead to one destination: in their order they follow one another.
pub fn routes_to<'r>(
    routes: &'r BTreeSet<KernelRoute>,
    destination: &IpNet,
) -> impl Iterator<Item = &'r KernelRoute> + use<'r> {
    let destination = *destination;
    routes.range(KernelRoute::least(destination)..).take_while(move |route| route.destination == destination)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::routing::RouteKind;

    #[test]
    fn of_thousands_the_routes_to_a_destination_are_found_in_every_table_and_whoevers_they_are() {
        let net = |text: &str| text.parse::<IpNet>().expect("a prefix");
        let route = |table, destination: &str, protocol, kind| KernelRoute {
            table,
            protocol,
            kind,
            ..KernelRoute::least(net(destination))
        };
        let picture = Picture {
            own: [(254, "10.1.0.0/16"), (20_199, "10.1.0.0/16"), (254, "10.1.0.0/17"), (254, "10.0.0.0/8")]
                .map(|(table, destination)| route(table, destination, 201, RouteKind::Blackhole))
                .into(),
            rest: KernelState {
                routes: [route(254, "10.1.0.0/16", 4, RouteKind::Unicast), route(7, "::/0", 4, RouteKind::Unicast)]
                    .into(),
                ..KernelState::default()
            },
        };
        let shown = |destinations: &[&str]| {
            let part = picture.part(&destinations.iter().map(|text| net(text)).collect());
            part.routes.iter().map(|route| format!("{} {}", route.destination, route.table)).collect::<Vec<_>>()
        };
        assert_eq!(shown(&["10.1.0.0/16"]), ["10.1.0.0/16 254", "10.1.0.0/16 254", "10.1.0.0/16 20199"]);
        assert_eq!(shown(&["10.2.0.0/16", "::/0"]), ["::/0 7"]);
    }

    #[test]
    fn all_stay_all() {
        let net = "10.0.0.0/8".parse::<IpNet>().expect("a prefix");
        let mut some = Destinations::NONE;
        assert!(some.is_empty());
        some.insert(net);
        let mut all = some.clone();
        all.join(Destinations::All);
        all.insert(net);
        all.join(some.clone());
        assert_eq!((all, some.is_empty()), (Destinations::All, false));
    }
}
