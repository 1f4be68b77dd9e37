//! How the routes that an owner asks for differ from those that it asked for before.

use std::collections::HashMap;
use std::sync::Arc;

use crate::routing::{RouteKey, VpnRoute};

/// Routes that are in one list and not in the other: those that are gone, and those that are new. One that is not as it was
/// is both. All before and behind the parts that differ are looked at in their order, and no further.
pub fn difference<'a>(before: &'a [VpnRoute], after: &'a [VpnRoute]) -> (Vec<&'a VpnRoute>, Vec<&'a VpnRoute>) {
    let first = before.iter().zip(after).take_while(|(one, other)| one == other).count();
    let (before, after) = (&before[first..], &after[first..]);
    let last = before.iter().rev().zip(after.iter().rev()).take_while(|(one, other)| one == other).count();
    let (before, after) = (&before[..before.len() - last], &after[..after.len() - last]);
    // One that is there twice has to be told twice.
    let mut there: HashMap<RouteKey, Vec<&VpnRoute>> = HashMap::new();
    for route in before {
        there.entry(route.key()).or_default().push(route);
    }
    let mut stays = |route: &VpnRoute| {
        let known = there.get_mut(&route.key());
        known.and_then(|known| Some(known.swap_remove(known.iter().position(|known| *known == route)?))).is_some()
    };
    let new = after.iter().filter(|route| !stays(route)).collect();
    (there.into_values().flatten().collect(), new)
}

/// Gives the routes that were there the time at which they were made, whatever else about them is new, and the same name.
pub fn keep_creation(routes: &mut [VpnRoute], before: &[VpnRoute]) {
    let before: HashMap<RouteKey, &VpnRoute> = before.iter().map(|route| (route.key(), route)).collect();
    for route in routes {
        if let Some(before) = before.get(&route.key()) {
            route.created = before.created;
            route.connection = Arc::clone(&before.connection);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::routing::{Owner, Publication, Weight};

    fn route(n: usize, created: u64) -> VpnRoute {
        VpnRoute {
            destination: format!("10.{}.{}.0/24", n / 256, n % 256).parse().unwrap(),
            policy: None,
            connection: "idc".into(),
            weight: Weight::Active,
            owner: Owner::File,
            publication: Publication::Normal,
            created,
            closed: None,
        }
    }

    #[test]
    fn of_thousands_the_one_that_differs_is_told() {
        let before: Vec<VpnRoute> = (0..8000).map(|n| route(n, 1)).collect();
        let mut after: Vec<VpnRoute> = (0..8000).map(|n| route(n, 9)).collect();
        keep_creation(&mut after, &before);
        assert_eq!(difference(&before, &after), (vec![], vec![]));
        after[7].weight = Weight::Standby;
        assert_eq!(difference(&before, &after), (vec![&route(7, 1)], vec![&after[7]]));
        after.swap(3, 4000);
        after.push(route(0, 1));
        assert_eq!(difference(&before, &after), (vec![&before[7]], vec![&after[7], &after[8000]]));
        assert_eq!(difference(&after, &after[..8000]), (vec![&after[8000]], vec![]));
    }
}
