//! Why the kernel does not lead the packets of a destination into the tunnel.
use std::collections::BTreeMap;
use std::fmt;

use ipnet::IpNet;

use crate::io::netlink::Outcome;
use crate::routing::{KernelRoute, RouteKind, SharedSet};

/// Why the kernel does not lead the packets of a destination into the tunnel. They are dropped.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Absence {
    /// Somebody else's route with the same prefix and metric is in its table.
    Blocked {
        /// Its protocol number (`rtm_protocol`).
        protocol: u8,
    },
    /// The tunnel device is down, or not there.
    NoDevice,
    /// The kernel refused it; what it answered.
    Refused(String),
    /// The filter against plaintext does not watch it, so it is not led into the tunnel.
    Unwatched,
}

impl fmt::Display for Absence {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Blocked { protocol } => {
                write!(f, "another route, of protocol {protocol}, holds its place in the kernel")
            }
            Self::NoDevice => f.write_str("the TUN device is down or not there"),
            Self::Refused(answer) => write!(f, "the kernel does not take it: {answer}"),
            Self::Unwatched => f.write_str("the filter against plaintext does not stand"),
        }
    }
}

/// The reason for each of the destinations that are not carried after a round that came to `outcome`.
pub fn absences(
    uncarried: impl Iterator<Item = IpNet>,
    watched: &SharedSet<IpNet>,
    device_is_usable: bool,
    outcome: &Outcome,
) -> BTreeMap<IpNet, Absence> {
    let leads = |route: &KernelRoute| route.kind == RouteKind::Unicast;
    let blocked = outcome.blocked.iter().filter(|(wanted, _)| leads(wanted));
    let blocked =
        blocked.map(|(wanted, present)| (wanted.destination, Absence::Blocked { protocol: present.protocol }));
    let refused = outcome.refused.iter().filter(|(route, _)| leads(route));
    let refused = refused.map(|(route, answer)| (route.destination, Absence::Refused(answer.clone())));
    let told: BTreeMap<IpNet, Absence> = blocked.chain(refused).collect();
    let reason = |destination: &IpNet| match told.get(destination) {
        _ if !device_is_usable => Absence::NoDevice,
        Some(absence) => absence.clone(),
        None if !watched.contains(destination) => Absence::Unwatched,
        None => Absence::Refused("it is gone again".to_owned()),
    };
    uncarried.map(|destination| (destination, reason(&destination))).collect()
}

/// How many destinations a line names.
const NAMED: usize = 3;

/// Lines for a person, those with the same reason together. A device that is down is told of by whoever keeps it.
pub fn lines(absences: &BTreeMap<IpNet, Absence>) -> Vec<String> {
    let mut by_reason: BTreeMap<&Absence, Vec<&IpNet>> = BTreeMap::new();
    for (destination, absence) in absences.iter().filter(|(_, absence)| **absence != Absence::NoDevice) {
        by_reason.entry(absence).or_default().push(destination);
    }
    let line = |(reason, list): (&Absence, Vec<&IpNet>)| format!("packets of {} are dropped: {reason}", routes(&list));
    by_reason.into_iter().map(line).collect()
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

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;
    use crate::routing::PROTOCOL_GATEWAYD;

    fn nets(list: &[&str]) -> BTreeSet<IpNet> {
        list.iter().map(|text| text.parse().expect("a prefix")).collect()
    }

    fn tunnel_route(destination: IpNet, protocol: u8) -> KernelRoute {
        KernelRoute {
            table: 20_200,
            destination,
            metric: 1,
            protocol,
            kind: RouteKind::Unicast,
            gateway: None,
            more_gateways: Vec::new(),
            device: Some("gwd0".into()),
        }
    }

    #[test]
    fn routes_of_one_reason_share_a_line_and_others_have_their_own() {
        let taken = nets(&["10.1.0.0/16", "10.2.0.0/16", "10.3.0.0/16", "10.4.0.0/16", "10.5.0.0/16"]);
        let refused = nets(&["fd00::/64"]);
        let unwatched = nets(&["10.9.0.0/16", "10.10.0.0/16"]);
        let pair = |net: &IpNet| (tunnel_route(*net, PROTOCOL_GATEWAYD), tunnel_route(*net, 3));
        let outcome = Outcome {
            blocked: taken.iter().map(pair).collect(),
            refused: refused.iter().map(|net| (pair(net).0, "Permission denied".to_owned())).collect(),
            ..Outcome::default()
        };
        let watched: SharedSet<IpNet> = taken.union(&refused).copied().collect();
        let all = || watched.iter().chain(&unwatched).copied();
        assert_eq!(
            lines(&absences(all(), &watched, true, &outcome)),
            [
                "packets of routes 10.1.0.0/16, 10.2.0.0/16, 10.3.0.0/16 and 2 more are dropped: another route, of \
                 protocol 3, holds its place in the kernel",
                "packets of route fd00::/64 are dropped: the kernel does not take it: Permission denied",
                "packets of routes 10.9.0.0/16, 10.10.0.0/16 are dropped: the filter against plaintext does not stand",
            ]
        );
        let without_device = absences(all(), &watched, false, &outcome);
        assert!(without_device.values().all(|absence| *absence == Absence::NoDevice));
        assert_eq!((without_device.len(), lines(&without_device).len()), (8, 0));
    }
}
