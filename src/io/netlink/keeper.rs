//! Keeping the kernel of a namespace as somebody says that it should be, whoever touches it.

use std::collections::HashSet;

use ipnet::IpNet;
use tokio::sync::watch;
use tokio::time::Instant;
use tracing::{info, warn};

use super::reconciler::{Occasions, Reconciler};
use super::watch::{ALL, Change};
use super::{NetlinkError, Outcome};
use crate::io::netns::Namespace;
use crate::io::retry::Retry;
use crate::routing::{KernelRoute, KernelState, PROTOCOL_GATEWAYD, RouteKind};

/// How a kernel stands to what it should have.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Standing {
    /// Attempts that have failed since the start, in whole or in part.
    pub failures: u64,
    /// Why it is not as it should be; `None` when it is.
    pub amiss: Option<String>,
}

/// Table and destination of a route.
type Place = (u32, IpNet);

/// Whether a change may be one of what is kept at `places` under `protocol`. gatewayd's routes, of which it may change thousands
/// in the same namespace, are nobody else's: they matter only where they take or leave the place of one that is kept.
fn concerns(places: &HashSet<Place>, protocol: u8, change: Change) -> bool {
    match change {
        Change::Route { protocol: PROTOCOL_GATEWAYD, table, destination } => {
            protocol == PROTOCOL_GATEWAYD || places.contains(&(table, destination))
        }
        _ => true,
    }
}

/// Keeps what stands under `protocol` in `namespace` equal to the newest value of `desired`: at once when that changes,
/// when somebody else touches a route or rule, and every minute. What fails is tried again after a second, and then more and
/// more seldom; a route that the kernel refuses is closed meanwhile. `report` is told how things stand, when that is new. Ends
/// when the sender of `desired` is gone, and leaves the kernel as it is.
pub async fn keep(
    namespace: Namespace,
    protocol: u8,
    mut desired: watch::Receiver<KernelState>,
    report: impl Fn(&Standing),
) {
    let mut reconciler = Reconciler::new(namespace.clone(), protocol);
    let mut occasions = Occasions::new(namespace.clone(), &ALL, |_| true);
    let mut places = HashSet::new();
    let (mut retry, mut standing) = (Retry::default(), Standing::default());
    loop {
        occasions.begin();
        let wanted = desired.borrow_and_update().clone();
        let wanted_places: HashSet<Place> =
            wanted.routes.iter().map(|route| (route.table, route.destination)).collect();
        if places != wanted_places {
            places.clone_from(&wanted_places);
            occasions.concerns = Box::new(move |change| concerns(&wanted_places, protocol, change));
        }
        let round = round(&mut reconciler, &wanted).await;
        let (failed, amiss) = match &round {
            Ok(outcome) => (!outcome.is_complete(), summary(outcome)),
            Err(error) => (true, Some(error.to_string())),
        };
        if failed {
            retry.failed(Instant::now());
            standing.failures = standing.failures.saturating_add(1);
        } else {
            retry.succeeded();
        }
        if let (Err(error), true) = (&round, standing.amiss != amiss) {
            warn!(%namespace, %error, failures = standing.failures, "kernel routes cannot be kept in step; it is tried again");
        }
        // A route that somebody else's keeps out is nothing to try again, and not in step either.
        if amiss.is_none() && standing.amiss.is_some() {
            info!(%namespace, failures = standing.failures, "kernel routes are in step again");
        }
        if failed || standing.amiss != amiss {
            standing.amiss = amiss;
            report(&standing);
        }
        tokio::select! {
            changed = desired.changed() => if changed.is_err() { return },
            () = retry.due() => {}
            // A namespace that cannot be read may not be listened to either.
            _ = occasions.next(), if round.is_ok() => {}
        }
    }
}

/// One comparison, and what follows from it. Where the kernel refuses a route, packets find neither the one that stood there
/// before nor a wider one: they find that their destination is unreachable.
async fn round(reconciler: &mut Reconciler, wanted: &KernelState) -> Result<Outcome, NetlinkError> {
    let actual = reconciler.actual(wanted).await?;
    let mut outcome = reconciler.bring(wanted, &actual).await?;
    if !outcome.refused.is_empty() {
        let mut closed = wanted.clone();
        for (route, _) in &outcome.refused {
            closed.routes.remove(route);
            closed.routes.insert(closed_route(route));
        }
        let actual = reconciler.actual(&closed).await?;
        let closing = reconciler.bring(&closed, &actual).await?;
        outcome.refused.extend(closing.refused);
        // All else was tried once more.
        outcome.failed = closing.failed;
    }
    reconciler.complain(&outcome);
    Ok(outcome)
}

/// What stands in a refused route's place.
fn closed_route(refused: &KernelRoute) -> KernelRoute {
    let kind = RouteKind::Unreachable;
    KernelRoute { kind, gateway: None, more_gateways: Vec::new(), device: None, ..refused.clone() }
}

/// The first thing that is amiss, and how much is.
fn summary(outcome: &Outcome) -> Option<String> {
    let mut complaints = outcome.complaints();
    let first = complaints.next()?;
    Some(match complaints.count() {
        0 => first,
        more => format!("{first}, and {more} more"),
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::routing::PROTOCOL_CEND;

    #[test]
    fn routes_that_gatewayd_changes_elsewhere_are_no_reason_to_read_the_kernel() {
        let net = |text: &str| text.parse::<IpNet>().expect("a prefix");
        let places = HashSet::from([(254, net("10.1.0.0/16"))]);
        let route =
            |protocol, table, destination: &str| Change::Route { protocol, table, destination: net(destination) };
        let of_cend = |change| concerns(&places, PROTOCOL_CEND, change);
        assert!(!of_cend(route(PROTOCOL_GATEWAYD, 254, "10.2.0.0/16")));
        assert!(!of_cend(route(PROTOCOL_GATEWAYD, 20_199, "10.1.0.0/16")));
        assert!(of_cend(route(PROTOCOL_GATEWAYD, 254, "10.1.0.0/16")), "it may have been in the way");
        assert!(of_cend(route(PROTOCOL_CEND, 254, "10.2.0.0/16")) && of_cend(route(3, 254, "10.2.0.0/16")));
        assert!(of_cend(Change::Rule));
        assert!(concerns(&places, PROTOCOL_GATEWAYD, route(PROTOCOL_GATEWAYD, 254, "10.2.0.0/16")));
    }
}
