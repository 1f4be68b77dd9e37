//! Which places in the order of publication each network has room for, for all networks of a CEN instance at once.

use std::collections::{BTreeMap, BTreeSet};

use super::index::{CenIndex, Member};
use super::learn::{LEARNED_ROUTE_QUOTA, View};
use super::network::NetworkKind;
use super::state::State;

/// Destinations that are looked at for all together. Who still has room then is looked at alone.
const TOGETHER: usize = 10 * LEARNED_ROUTE_QUOTA;

/// The last place that each network has room for. Only where no route map stands: there every VPC sees the same routes, apart
/// from those that its own table keeps out.
pub struct Horizons {
    /// Of everybody who is not named otherwise.
    common: u64,
    others: BTreeMap<Member, u64>,
}

impl Horizons {
    /// Those of a CEN instance without route maps.
    pub fn of(state: &State, index: &CenIndex) -> Self {
        let mut horizons = Self { common: u64::MAX, others: BTreeMap::new() };
        let vbrs = index.members().filter(|(network, _)| network.kind() == NetworkKind::Vbr).map(|(_, member)| member);
        let mut alone: BTreeSet<Member> = vbrs.collect();
        // How many of the destinations so far each network keeps out, of those that keep out any of the first.
        let mut kept_out: BTreeMap<Member, usize> = BTreeMap::new();
        let (mut seen, mut count) = (BTreeSet::new(), 0);
        for offer in index.in_order().filter(|offer| seen.insert(offer.destination)) {
            if count == TOGETHER {
                alone.extend(kept_out.into_keys().filter(|member| !horizons.others.contains_key(member)));
                kept_out = BTreeMap::new();
                break;
            }
            count += 1;
            let keepers: BTreeSet<Member> =
                index.all_who_keep_out(offer.destination).map(|(member, _)| member).collect();
            for member in &keepers {
                // Who has kept nothing out so far is full with everybody, and what it keeps out then changes nothing.
                if count <= LEARNED_ROUTE_QUOTA || kept_out.contains_key(member) {
                    *kept_out.entry(*member).or_default() += 1;
                }
            }
            if count == LEARNED_ROUTE_QUOTA {
                horizons.common = offer.order;
            }
            for (member, kept_out) in &kept_out {
                if count - kept_out == LEARNED_ROUTE_QUOTA && !keepers.contains(member) {
                    horizons.others.insert(*member, offer.order);
                }
            }
            let all_found = || kept_out.keys().all(|member| horizons.others.contains_key(member));
            if count >= LEARNED_ROUTE_QUOTA && all_found() {
                break;
            }
        }
        // There was nothing more to keep out.
        let unfilled = kept_out.into_keys().filter(|member| !horizons.others.contains_key(member));
        let unfilled: Vec<Member> = unfilled.collect();
        horizons.others.extend(unfilled.into_iter().map(|member| (member, u64::MAX)));
        for member in alone {
            let view = index.network(member).and_then(|network| View::of_network(state, network));
            horizons.others.insert(member, view.map_or(u64::MAX, |view| view.horizon()));
        }
        horizons
    }

    /// That of a network.
    pub fn at(&self, member: Member) -> u64 {
        self.others.get(&member).copied().unwrap_or(self.common)
    }
}
