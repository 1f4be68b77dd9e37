//! What changes for a gatewayd is derived from what commits touch, without a look at the rest: after every step it comes to
//! the set that is derived from the whole state.

use ipsec_gateway::cen::apply::apply;
use ipsec_gateway::cen::change::Change;
use ipsec_gateway::cen::plan::plan;
use ipsec_gateway::cen::state::State;
use ipsec_gateway::cloud::gateway_set::{owner_change, owner_set};
use ipsec_gateway::cloud::recent_changes::{RecentChanges, Touched};
use ipsec_gateway::control::owner_change::{OwnerChange, OwnerEntries};
use ipsec_gateway::io::store::Revision;
use rand::{Rng, SeedableRng};
use rand_chacha::ChaCha8Rng;

use crate::vpn_world::{GATEWAYS, beginning, random_command, submission};

const SEQUENCES: u64 = 200;
const STEPS: usize = 150;

/// A store without a disk.
#[derive(Default)]
struct Cloud {
    state: State,
    revision: Revision,
    recent: RecentChanges,
}

impl Cloud {
    fn commit(&mut self, changes: &[Change]) {
        let touched = Touched::of(&self.state, changes);
        changes.iter().for_each(|change| apply(&mut self.state, change));
        self.revision = self.revision.next();
        self.recent.add(self.revision, touched);
    }

    fn takes(&mut self, command: ipsec_gateway::cen::command::Command) -> bool {
        let Ok(changes) = plan(&self.state, &submission(command)) else { return false };
        if !changes.is_empty() {
            self.commit(&changes);
        }
        true
    }
}

/// What one gateway was told, and up to which revision nothing else has touched it.
struct Told {
    entries: OwnerEntries,
    seen: Revision,
}

impl Told {
    fn whole(cloud: &Cloud, gateway: &str) -> OwnerEntries {
        OwnerEntries::new(owner_set(&cloud.state, Some(&gateway.into()), "s", cloud.revision)).0
    }

    fn follow(&mut self, cloud: &Cloud, gateway: &str) -> OwnerChange {
        let touched = cloud.recent.between(self.seen, cloud.revision).unwrap();
        let change = owner_change(&cloud.state, &gateway.into(), &touched);
        let change = OwnerChange { session: "s".into(), from: self.entries.revision, to: cloud.revision.0, ..change };
        self.entries.apply(&change);
        self.seen = cloud.revision;
        change
    }
}

#[test]
fn what_was_told_by_changes_is_the_whole_set_after_random_commits() {
    let (mut taken, mut told_one, mut told_nothing) = (0, 0, 0);
    for seed in 0..SEQUENCES {
        let mut random = ChaCha8Rng::seed_from_u64(seed);
        let mut cloud = Cloud::default();
        beginning().into_iter().for_each(|command| assert!(cloud.takes(command)));
        let mut told = GATEWAYS.map(|gateway| Told { entries: Told::whole(&cloud, gateway), seen: cloud.revision });
        for step in 0..STEPS {
            // Several commits may come together into one change.
            for more in 0..random.random_range(1..4) {
                taken += usize::from(cloud.takes(random_command(&mut random, step * 10 + more)));
            }
            // What the API never does to it now may still stand in a store.
            if random.random_bool(0.05)
                && let Some(customer) = cloud.state.customer_gateways.values().next()
            {
                let mut moved = customer.clone();
                moved.address = [198, 51, 100, random.random()].into();
                cloud.commit(&[Change::CustomerGatewaySet(moved)]);
            }
            for (told, gateway) in told.iter_mut().zip(GATEWAYS).filter(|_| random.random_bool(0.7)) {
                let whole = Told::whole(&cloud, gateway);
                let (before, change) = (told.entries.clone(), told.follow(&cloud, gateway));
                assert_eq!(told.entries, whole, "seed {seed}, step {step}, {gateway}: {change:?}");
                let needed = before.difference(&whole);
                told_one += usize::from(!change.is_empty());
                told_nothing += usize::from(change.is_empty());
                assert!(needed.is_empty() || !change.is_empty());
            }
        }
    }
    assert!(taken > 10_000 && told_one > 10_000 && told_nothing > 1_000, "{taken}, {told_one}, {told_nothing}");
}

#[test]
fn one_change_among_thousands_is_told_alone() {
    let mut cloud = Cloud::default();
    beginning().into_iter().for_each(|command| assert!(cloud.takes(command)));
    let mut random = ChaCha8Rng::seed_from_u64(7);
    while cloud.state.vpn_connections.is_empty() {
        cloud.takes(random_command(&mut random, 0));
    }
    let model = cloud.state.vpn_connections.values().next().unwrap().clone();
    let copies = (0..5000).map(|number| {
        let mut copy = model.clone();
        (copy.id, copy.gateway) = (format!("vco-copy-{number}").into(), GATEWAYS[0].into());
        Change::VpnConnectionSet(Box::new(copy))
    });
    let copies: Vec<Change> = copies.collect();
    cloud.commit(&copies);
    let mut told = Told { entries: Told::whole(&cloud, GATEWAYS[0]), seen: cloud.revision };
    let mut changed = cloud.state.vpn_connections["vco-copy-77"].clone();
    changed.dead_peer_detection = !changed.dead_peer_detection;
    cloud.commit(&[Change::VpnConnectionSet(Box::new(changed))]);
    let change = told.follow(&cloud, GATEWAYS[0]);
    assert_eq!(change.connection_names().collect::<Vec<_>>(), ["vco-copy-77"]);
    assert!(change.route_keys().count() <= model.remote_subnets.len());
    assert!(serde_json::to_vec(&change).unwrap().len() < 2000);
}
