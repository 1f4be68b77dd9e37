//! Which places in the order of publication each network has room for, for all networks of a sort at once.

use std::collections::{BTreeMap, BTreeSet, HashMap};

use ipnet::Ipv4Net;

use super::index::{CenIndex, Member, Offer};
use super::learn::{LEARNED_ROUTE_QUOTA, View, place};

/// Destinations that are looked at for all together. Who still has room then is looked at alone.
const TOGETHER: usize = 10 * LEARNED_ROUTE_QUOTA;

/// The last place that each network of a sort has room for: they see the same routes, apart from those that their own tables
/// keep out.
pub struct Horizons {
    /// Of everybody who is not named otherwise.
    common: u64,
    others: BTreeMap<Member, u64>,
}

impl Horizons {
    /// Those of the networks that `sort` is the view of; `alone` finds that of one of them without the others, and need not
    /// find any for networks of other sorts.
    pub fn of(index: &CenIndex, sort: &View<'_>, alone: impl Fn(Member) -> Option<u64>) -> Self {
        let mut horizons = Self { common: u64::MAX, others: BTreeMap::new() };
        // How many of the destinations so far each network keeps out, of those that keep out any of the first.
        let mut kept_out: BTreeMap<Member, usize> = BTreeMap::new();
        let mut count = 0;
        for offer in in_place(index, sort) {
            if count == TOGETHER {
                let open = kept_out.into_keys().filter(|member| !horizons.others.contains_key(member));
                let open: Vec<_> = open.filter_map(|member| Some((member, alone(member)?))).collect();
                horizons.others.extend(open);
                return horizons;
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
                return horizons;
            }
        }
        // There was nothing more to keep out.
        let unfilled = kept_out.into_keys().filter(|member| !horizons.others.contains_key(member));
        let unfilled: Vec<Member> = unfilled.collect();
        horizons.others.extend(unfilled.into_iter().map(|member| (member, u64::MAX)));
        horizons
    }

    /// That of a network.
    pub fn at(&self, member: Member) -> u64 {
        self.others.get(&member).copied().unwrap_or(self.common)
    }
}

/// Of each destination the route by whose place it is measured, the earliest first.
fn in_place<'i>(index: &'i CenIndex, sort: &'i View<'_>) -> impl Iterator<Item = Offer> {
    let mut places: HashMap<Ipv4Net, Option<u64>> = HashMap::new();
    sort.arriving().filter(move |offer| {
        let find = || place(&sort.judge(&index.offers_to(offer.destination).collect::<Vec<_>>()));
        *places.entry(offer.destination).or_insert_with(find) == Some(offer.order)
    })
}
