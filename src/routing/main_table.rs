//! For which families the main table is not enough, kept in step with what is protected.
use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;

use ipnet::IpNet;

use super::kernel_routes::{KernelPolicy, PROTOCOL_GATEWAYD, TABLE_LOCAL, TABLE_MAIN, tunnel_metric};
use super::prefixes::{holders, shortened};
use super::reconcile::{Family, KernelRule, KernelState};
use super::shared::SharedSet;

/// Priority of the rule that asks it, unless the kernel's rule for `local` (0) was moved behind it.
const PRIORITY_POLICY: u32 = 10;
/// Priority of the kernel's rule for `main`.
const PRIORITY_MAIN: u32 = 32_766;

/// What is to be known of the protected prefixes but 0.0.0.0/0 and ::/0 to tell whether they may stand in `main`. It is kept as
/// counts, so that a change looks at what it changes.
#[derive(Clone, Debug, Default)]
pub struct MainTable {
    protect: SharedSet<IpNet>,
    exempt: BTreeSet<IpNet>,
    outer_peers: SharedSet<IpAddr>,
    /// How many there are of each length.
    lengths: BTreeMap<(Family, u8), usize>,
    /// Those that would lead too much into the tunnel there.
    unfit: BTreeSet<IpNet>,
}

impl MainTable {
    /// From now on this is wanted. Looks at the prefixes that come or go, and at those that hold what does of peers' addresses
    /// and of what is exempt.
    pub fn follow(&mut self, policy: &KernelPolicy) {
        let is_explicit = |prefix: &&IpNet| prefix.prefix_len() > 0;
        let key = |prefix: &IpNet| (Family::of(prefix), prefix.prefix_len());
        let mut changed: BTreeSet<IpNet> = BTreeSet::new();
        for prefix in policy.protect.without(&self.protect).filter(is_explicit) {
            *self.lengths.entry(key(prefix)).or_default() += 1;
            changed.insert(*prefix);
        }
        for prefix in self.protect.without(&policy.protect).filter(is_explicit) {
            if let Some(count) = self.lengths.get_mut(&key(prefix)) {
                *count -= 1;
                if *count == 0 {
                    self.lengths.remove(&key(prefix));
                }
            }
            changed.insert(*prefix);
        }
        let peers = policy.outer_peers.differing(&self.outer_peers).map(|peer| IpNet::from(*peer));
        let inside: Vec<IpNet> = policy.exempt.symmetric_difference(&self.exempt).copied().chain(peers).collect();
        changed.extend(inside.iter().flat_map(|net| holders(net, |holder| policy.protect.contains(holder))));
        for prefix in changed.iter().filter(is_explicit) {
            #[cfg(test)]
            tests::LOOKS.set(tests::LOOKS.get() + 1);
            if policy.protect.contains(prefix) && !policy.may_stand_in_main(prefix) {
                self.unfit.insert(*prefix);
            } else {
                self.unfit.remove(prefix);
            }
        }
        let KernelPolicy { protect, exempt, outer_peers, .. } = policy;
        if self.exempt != *exempt {
            self.exempt.clone_from(exempt);
        }
        (self.protect, self.outer_peers) = (protect.clone(), outer_peers.clone());
    }

    /// The families for which `main` is not enough, with the priority that a rule before it needs. In a namespace that
    /// never had a rule besides its own, the kernel asks `main` at once; any rule makes each lookup slower, for good. So
    /// there is none as long as nothing asks for it:
    /// 1. there is a rule of somebody else, or one of ours, which costs no more if it stays;
    /// 2. a prefix cannot stand in `main`, because it holds the outer address of a peer or something exempt;
    /// 3. somebody else's route would take packets of a prefix, because it is longer, or has the place of ours (`device` is
    ///    the tunnel's: what leads there takes nothing away);
    /// 4. `unwatched`: no filter drops what such a route takes.
    pub fn needs_rule(&self, actual: &KernelState, device: &str, unwatched: bool) -> BTreeMap<Family, u32> {
        let explicit: BTreeSet<Family> = self.lengths.keys().map(|(family, _)| *family).collect();
        let asked = actual.rules.iter().filter(|rule| (1..PRIORITY_MAIN).contains(&rule.priority));
        let mut families: BTreeSet<Family> = asked.map(|rule| rule.family).collect();
        families.extend(self.unfit.iter().next().into_iter().chain(self.unfit.iter().next_back()).map(Family::of));
        families.extend(explicit.iter().filter(|_| unwatched));
        let foreign = actual.routes.iter().filter(|route| {
            route.table == TABLE_MAIN
                && route.protocol != PROTOCOL_GATEWAYD
                && (route.device.as_deref() != Some(device) || route.metric == tunnel_metric(&route.destination))
        });
        let taking = foreign.filter(|route| {
            let family = Family::of(&route.destination);
            let mut lengths = self.lengths.range((family, 0)..=(family, route.destination.prefix_len()));
            lengths.any(|((_, length), _)| {
                shortened(&route.destination, *length).is_some_and(|net| self.protect.contains(&net))
            })
        });
        families.extend(taking.map(|route| Family::of(&route.destination)));
        families.retain(|family| explicit.contains(family));
        families.into_iter().map(|family| (family, priority(actual, family))).collect()
    }
}

/// Where the rule before `main` stands: behind that for `local`, as a later one of the same priority does.
fn priority(actual: &KernelState, family: Family) -> u32 {
    let is_local = |rule: &&KernelRule| {
        rule.family == family && rule.table == TABLE_LOCAL && rule.source.is_none() && !rule.is_foreign
    };
    let local = actual.rules.iter().filter(is_local);
    local.map(|rule| rule.priority).max().unwrap_or(0).max(PRIORITY_POLICY)
}

#[cfg(test)]
mod tests {
    use std::cell::Cell;
    use std::net::Ipv4Addr;

    use super::*;

    thread_local!(pub(super) static LOOKS: Cell<usize> = const { Cell::new(0) });

    #[test]
    fn what_is_known_of_thousands_follows_a_change_of_one() {
        let net = |n: u32, length| IpNet::new(Ipv4Addr::from(0x0a00_0000 + (n << 8)).into(), length).expect("a prefix");
        let mut policy = KernelPolicy { protect: (0..8_000).map(|n| net(n, 24)).collect(), ..KernelPolicy::default() };
        policy.outer_peers = (0..8_000).map(|n| IpAddr::from(Ipv4Addr::from(0x0b00_0000 + n))).collect();
        let mut main = MainTable::default();
        main.follow(&policy);
        let needed = |main: &MainTable| main.needs_rule(&KernelState::default(), "gwd0", false).len();
        let v6 = "fd00::/64".parse().expect("a prefix");
        let changes: [&dyn Fn(&mut KernelPolicy); 8] = [
            &|policy| _ = policy.protect.insert(net(9_000, 25)),
            &|policy| _ = policy.outer_peers.insert(net(7, 24).addr()),
            &|policy| _ = policy.protect.remove(&net(7, 24)),
            &|policy| _ = policy.exempt.insert(net(8, 26)),
            &|policy| _ = policy.exempt.remove(&net(8, 26)),
            &|policy| _ = policy.protect.insert(v6),
            &|policy| _ = policy.outer_peers.insert("fd00::7".parse().expect("an address")),
            &|policy| _ = policy.protect.remove(&v6),
        ];
        let mut seen = Vec::new();
        for change in changes {
            change(&mut policy);
            LOOKS.set(0);
            main.follow(&policy);
            assert!(LOOKS.get() <= 2, "{} looks", LOOKS.get());
            seen.push(needed(&main));
            let mut anew = MainTable::default();
            anew.follow(&policy);
            assert_eq!((&main.lengths, &main.unfit), (&anew.lengths, &anew.unfit));
        }
        assert_eq!(seen, [0, 1, 0, 1, 0, 0, 1, 0]);
    }
}
