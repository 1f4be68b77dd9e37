//! One route of cend's set, as the route table takes it.

use std::sync::Arc;

use crate::control::owner::OwnerRoute;
use crate::control::owner_change::OwnerRouteKey;
use crate::control::route;
use crate::routing::table::check_prefixes;
use crate::routing::{ClosedBecause, Family, Owner, Publication, RoutePolicy, VpnRoute, Weight};

/// What a route comes to, and why it is not done if it is not. `tunnel` is its connection's name, if that is there; `created` in
/// Unix seconds.
///
/// A policy of which something is refused is there without a connection (RFC 4301 section 4.4.1): what it holds is dropped, and
/// is no other policy's or route's.
pub fn translate(
    key: &OwnerRouteKey,
    wanted: &OwnerRoute,
    tunnel: Option<&Arc<str>>,
    created: u64,
) -> (Option<VpnRoute>, Option<String>) {
    let OwnerRouteKey { connection, destination, source } = key;
    let OwnerRoute { weight, priority, publication, .. } = wanted;
    let route = |policy, weight, connection, closed| VpnRoute {
        destination: *destination,
        policy,
        connection,
        weight,
        owner: Owner::Cend,
        publication: published(*publication),
        created,
        closed,
    };
    let (priority, weight) = (self::priority(*priority), self::weight(*weight));
    let closed = || {
        let weight = *weight.as_ref().unwrap_or(&Weight::Active);
        Some(route(Some(policy(key, wanted)?), weight, connection.as_str().into(), Some(ClosedBecause::Refused)))
    };
    let read = || -> Result<VpnRoute, String> {
        let policy = match source {
            Some(source) => {
                check_prefixes(*destination, Some(*source)).map_err(|error| error.to_string())?;
                Some(RoutePolicy { priority: priority.clone()?, source: *source })
            }
            None => None,
        };
        let weight = weight.clone()?;
        let lacking = || format!("its connection \"{connection}\" is refused, or not in the set");
        Ok(route(policy, weight, Arc::clone(tunnel.ok_or_else(lacking)?), None))
    };
    match read() {
        Ok(route) => (Some(route), None),
        Err(reason) => (closed(), Some(reason)),
    }
}

/// The policy of a policy-based route, whatever is refused about it.
pub fn policy(key: &OwnerRouteKey, wanted: &OwnerRoute) -> Option<RoutePolicy> {
    // One of two families holds no packet. Where nobody can say which policies come before, none does.
    let source = key.source.filter(|source| Family::of(source) == Family::of(&key.destination))?;
    Some(RoutePolicy { priority: priority(wanted.priority).unwrap_or(RoutePolicy::FIRST), source })
}

fn priority(priority: Option<u8>) -> Result<u8, String> {
    match priority.unwrap_or(RoutePolicy::DEFAULT_PRIORITY) {
        priority @ 1..=100 => Ok(priority),
        priority => Err(format!("a priority of {priority} is not from 1 to 100")),
    }
}

fn weight(weight: u8) -> Result<Weight, String> {
    Weight::try_from(u32::from(weight)).map_err(|error| error.to_string())
}

/// A publication state as the route table knows it.
pub fn published(publication: route::Publication) -> Publication {
    match publication {
        route::Publication::Published => Publication::Published,
        route::Publication::Normal => Publication::Normal,
    }
}
