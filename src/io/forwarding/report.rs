//! What of the VPN routes is not in the kernel, and why.
use std::collections::{BTreeMap, BTreeSet};
use std::fmt;

use ipnet::IpNet;

use crate::io::netlink::Outcome;
use crate::routing::{KernelRoute, KernelState, RouteKind};

/// Why the kernel does not lead the packets of a destination into the tunnel. They are dropped.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Absence {
    /// Somebody else's route with the same prefix and metric is there.
    Blocked {
        /// Its protocol number (`rtm_protocol`).
        protocol: u8,
    },
    /// The tunnel device is down, or not there.
    NoDevice,
    /// The kernel refused it, or could not be asked; what it answered.
    Refused(String),
}

impl fmt::Display for Absence {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Blocked { protocol } => {
                write!(f, "another route, of protocol {protocol}, holds its place in the kernel")
            }
            Self::NoDevice => f.write_str("the TUN device is down or not there"),
            Self::Refused(answer) => write!(f, "the kernel does not take it: {answer}"),
        }
    }
}

/// How the kernel's side stands after a round.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct KernelReport {
    /// Destinations that the kernel does not lead into the tunnel.
    pub absent: BTreeMap<IpNet, Absence>,
    /// What else is not as the VPN routes ask, in lines for a person.
    pub troubles: Vec<String>,
}

/// How many destinations a line names.
const NAMED: usize = 3;

impl KernelReport {
    /// What a round over `destinations` came to.
    pub fn of(destinations: &BTreeSet<IpNet>, device_is_usable: bool, outcome: &Outcome) -> Self {
        if !device_is_usable {
            let absent = destinations.iter().map(|destination| (*destination, Absence::NoDevice)).collect();
            return Self { absent, troubles: troubles(outcome) };
        }
        let blocked = outcome.blocked.iter().filter(|(wanted, _)| leads(wanted));
        let blocked =
            blocked.map(|(wanted, present)| (wanted.destination, Absence::Blocked { protocol: present.protocol }));
        let refused = outcome.refused.iter().filter(|(route, _)| leads(route));
        let refused = refused.map(|(route, answer)| (route.destination, Absence::Refused(answer.clone())));
        Self { absent: blocked.chain(refused).collect(), troubles: troubles(outcome) }
    }

    /// What stands when nothing could be changed: those of the `wanted` routes that `actual` lacks are absent.
    pub fn unchanged(wanted: &KernelState, actual: &KernelState, error: &dyn fmt::Display) -> Self {
        let missing = wanted.routes.difference(&actual.routes).filter(|route| leads(route));
        let absent = missing.map(|route| (route.destination, Absence::Refused(error.to_string())));
        Self { absent: absent.collect(), troubles: vec![trouble(error)] }
    }

    /// Lines for a person about the absent destinations, those with the same reason together. A device that is down is
    /// told of by whoever keeps the device.
    pub fn dropped(&self) -> Vec<String> {
        let mut by_reason: BTreeMap<&Absence, Vec<&IpNet>> = BTreeMap::new();
        for (destination, absence) in self.absent.iter().filter(|(_, absence)| **absence != Absence::NoDevice) {
            by_reason.entry(absence).or_default().push(destination);
        }
        by_reason
            .into_iter()
            .map(|(reason, list)| format!("packets of {} are dropped: {reason}", routes(&list)))
            .collect()
    }
}

fn routes(destinations: &[&IpNet]) -> String {
    let named: Vec<String> = destinations.iter().take(NAMED).map(ToString::to_string).collect();
    let more = destinations.len().saturating_sub(NAMED);
    match (destinations.len(), more) {
        (1, _) => format!("route {}", named.concat()),
        (_, 0) => format!("routes {}", named.join(", ")),
        _ => format!("routes {} and {more} more", named.join(", ")),
    }
}

fn leads(route: &KernelRoute) -> bool {
    route.kind == RouteKind::Unicast
}

/// A line for a person about a round that came to nothing.
pub fn trouble(error: &dyn fmt::Display) -> String {
    format!("the kernel is not as the VPN routes ask: {error}")
}

/// What is wanted while no route can lead into the tunnel: only what drops.
pub fn without_tunnel_routes(mut wanted: KernelState) -> KernelState {
    wanted.routes.retain(|route| !leads(route));
    wanted
}

/// Everything that failed but the tunnel routes, of which each is told by its destination.
fn troubles(outcome: &Outcome) -> Vec<String> {
    let drops = |route: &KernelRoute| format!("the drop that stands behind route {}", route.destination);
    let unprotected = outcome.blocked.iter().filter(|(wanted, _)| !leads(wanted));
    let unprotected = unprotected.map(|(wanted, present)| {
        format!("{} stays out: a route of protocol {} holds its place in the kernel", drops(wanted), present.protocol)
    });
    let refused = outcome.refused.iter().filter(|(route, _)| !leads(route));
    let refused = refused.map(|(route, answer)| format!("{} was refused by the kernel: {answer}", drops(route)));
    unprotected.chain(refused).chain(outcome.failed.iter().map(ToString::to_string)).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::routing::{FIREWALL_MARK, kernel_state};

    fn destinations(list: &[&str]) -> BTreeSet<IpNet> {
        list.iter().map(|text| text.parse().expect("a prefix")).collect()
    }

    fn tunnel_route(destination: &str) -> KernelRoute {
        let wanted = kernel_state(destinations(&[destination]), &[], &"gwd0".into(), FIREWALL_MARK);
        wanted.routes.into_iter().find(leads).expect("a tunnel route")
    }

    #[test]
    fn routes_of_one_reason_share_a_line_and_others_have_their_own() {
        let taken = ["10.1.0.0/16", "10.2.0.0/16", "10.3.0.0/16", "10.4.0.0/16", "10.5.0.0/16"];
        let foreign = |destination: &str| KernelRoute { protocol: 3, ..tunnel_route(destination) };
        let outcome = Outcome {
            blocked: taken.iter().map(|net| (tunnel_route(net), foreign(net))).collect(),
            refused: vec![(tunnel_route("fd00::/64"), "Permission denied".to_owned())],
            ..Outcome::default()
        };
        let report = KernelReport::of(&destinations(&taken), true, &outcome);
        assert_eq!(report.absent.len(), 6);
        assert_eq!(report.troubles, [""; 0]);
        assert_eq!(
            report.dropped(),
            [
                "packets of routes 10.1.0.0/16, 10.2.0.0/16, 10.3.0.0/16 and 2 more are dropped: another route, of \
                 protocol 3, holds its place in the kernel",
                "packets of route fd00::/64 are dropped: the kernel does not take it: Permission denied",
            ]
        );
    }

    #[test]
    fn without_its_device_every_route_is_absent_and_only_drops_are_wanted() {
        let all = destinations(&["10.1.0.0/16", "10.2.0.0/16"]);
        let report = KernelReport::of(&all, false, &Outcome::default());
        assert!(report.absent.values().all(|absence| *absence == Absence::NoDevice));
        assert_eq!((report.absent.len(), report.dropped().len()), (2, 0));
        let wanted = without_tunnel_routes(kernel_state(all, &[], &"gwd0".into(), FIREWALL_MARK));
        assert!(wanted.routes.len() == 2 && wanted.routes.iter().all(|route| route.kind == RouteKind::Blackhole));
    }

    #[test]
    fn what_was_there_before_nothing_could_be_changed_is_not_absent() {
        let both = kernel_state(destinations(&["10.1.0.0/16", "10.2.0.0/16"]), &[], &"gwd0".into(), FIREWALL_MARK);
        let one = kernel_state(destinations(&["10.1.0.0/16"]), &[], &"gwd0".into(), FIREWALL_MARK);
        let report = KernelReport::unchanged(&both, &one, &"nft: not found");
        assert_eq!(report.absent.into_keys().collect::<BTreeSet<_>>(), destinations(&["10.2.0.0/16"]));
        assert_eq!(report.troubles.len(), 1);
    }
}
