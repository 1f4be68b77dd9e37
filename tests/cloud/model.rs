//! Random lives of the cloud against a reference that is written from its documents and derives everything anew: what is made
//! and deleted, attached and published, associated, granted, tagged and limited; who learns what, past which route maps; and
//! who is told of which conflict.

mod facts;
mod learned;
mod reference;
mod reference_vpc;
mod reference_vpn;
mod walk;
mod walk_vpn;

use std::collections::BTreeMap;
use std::sync::Mutex;
use std::sync::atomic::{AtomicU64, Ordering};

use ipsec_gateway::cen::apply::apply;
use ipsec_gateway::cen::change::Change;
use ipsec_gateway::cen::client_token::ClientToken;
use ipsec_gateway::cen::command::{Command, PublishVpcRoutes, Submission};
use ipsec_gateway::cen::network::UnixMillis;
use ipsec_gateway::cen::plan::plan;
use ipsec_gateway::cen::state::State;
use rand::seq::IndexedRandom;
use rand::{Rng, SeedableRng};
use rand_chacha::ChaCha8Rng;
use reference::{DAY, Reference};
use walk::{CROWD, REGIONS, Walk, create_cen, create_entry, create_vpc, declarations, net, network, table};

/// Sequences where nothing else is asked for.
const SEQUENCES: u64 = 30;

/// Calls of a sequence.
const CALLS: usize = 120;

/// So many have calls of all sorts, taken and refused.
const ENOUGH: u64 = 500;

/// Sorts of calls that are made up.
const SORTS: usize = 49;

/// Of so many sequences one has VPCs that fill the quota of what the others learn.
const CROWDED: u64 = 16;

/// How often each sort of call was taken, and how often refused.
type Counts = BTreeMap<String, (usize, usize)>;

/// The cloud and the reference, side by side.
#[derive(Default)]
struct Both {
    cloud: State,
    reference: Reference,
    /// Calls that had a `ClientToken`.
    tokens: Vec<Submission>,
    now: u64,
    number: usize,
}

impl Both {
    fn new(crowded: bool) -> Self {
        let mut both = Self { now: 1, ..Self::default() };
        let routes = |number: usize| match number {
            0 => vec![("10.0.0.0/24", None), ("10.0.0.0/16", Some(vec![65001, 65002]))],
            _ => vec![("10.0.0.0/24", None), ("10.0.0.0/16", Some(vec![65003]))],
        };
        both.does(Command::Declare(Box::new(declarations(routes, 3))));
        both.does(create_cen("cen-a"));
        both.does(create_cen("cen-b"));
        for (number, region) in REGIONS.into_iter().enumerate() {
            both.does(create_vpc(&format!("vpc-{number}"), region, number));
        }
        for (number, (id, region)) in CROWD.into_iter().enumerate().filter(|_| crowded) {
            both.does(create_vpc(id, region, 10 + number));
            let tos = (number * 49)..((number + 1) * 49);
            let tos: Vec<_> = tos.map(|third| net(&format!("10.3.{third}.0/24"))).collect();
            let entry =
                |(at, to)| create_entry(&table(id), to, "Instance", &format!("i-{id}-0"), 20 + number * 50 + at);
            both.does(Command::CreateRouteEntries(tos.iter().copied().enumerate().map(entry).collect()));
            let cen = "cen-a".into();
            let child = ipsec_gateway::cen::command::ChildInstance { cen, network: network(id), region: region.into() };
            both.does(Command::AttachNetwork(child));
            let entries = tos.iter().map(|to| (table(id).into(), *to)).collect();
            let cen = "cen-a".into();
            both.does(Command::PublishVpcRoutes(PublishVpcRoutes { cen, entries, publish: true }));
        }
        walk::furnish().into_iter().for_each(|command| both.does(command));
        both.number = 10;
        both
    }

    fn does(&mut self, command: Command) {
        let submission = Submission { command, client_token: None, dry_run: false, now: UnixMillis(self.now) };
        assert!(self.both_take(&submission), "{submission:?}");
    }

    /// A call that somebody makes up, now and then one that was made before.
    fn submission(&mut self, random: &mut ChaCha8Rng, crowded: bool) -> Submission {
        self.number += 1;
        // Now and then a night passes, after which some tokens are forgotten.
        self.now += if random.random_ratio(1, 60) { DAY / 2 } else { 60_000 };
        let now = UnixMillis(self.now);
        // What makes something is not repeated when its token is forgotten: no id is given twice.
        let repeatable = |again: &&Submission| {
            let known = again.client_token.as_ref().and_then(|token| self.reference.known(&token.key, self.now));
            known.is_some() || !name_of(&again.command).contains("Create")
        };
        if let Some(again) = self.tokens.choose(random).filter(repeatable).filter(|_| random.random_ratio(1, 4)) {
            return Submission { now, ..again.clone() };
        }
        let mut walk = Walk { random, reference: &self.reference, number: self.number, crowded };
        let command = walk.command();
        let dry_run = random.random_ratio(1, 25);
        let client_token = random.random_ratio(1, 5).then(|| ClientToken {
            key: format!("{} {}", name_of(&command), random.random_range(0..8)),
            fingerprint: format!("{command:?}"),
            answer: Some(self.number.into()),
        });
        let submission = Submission { command, client_token, dry_run, now };
        if submission.client_token.is_some() {
            self.tokens.push(submission.clone());
        }
        submission
    }

    /// Through the form that the store keeps, as after a restart.
    fn both_take(&mut self, submission: &Submission) -> bool {
        let expected = self.reference.takes(submission);
        let planned = plan(&self.cloud, submission);
        assert_eq!(planned.is_ok(), expected, "{:?}", planned.err());
        let Ok(changes) = planned else { return false };
        let stored: Vec<Change> = serde_json::from_str(&serde_json::to_string(&changes).unwrap()).unwrap();
        assert_eq!(stored, changes);
        let before = self.cloud.clone();
        stored.iter().for_each(|change| apply(&mut self.cloud, change));
        if changes.is_empty() {
            assert!(before == self.cloud);
        }
        true
    }

    /// Everything that can be asked has the answer that the reference has.
    fn agree(&self, with_conflicts: bool) {
        let mut derived = self.cloud.clone();
        derived.reindex();
        assert!(derived == self.cloud, "the index is not what the state says");
        let (cloud, reference) = (facts::of_state(&self.cloud), facts::of_reference(&self.reference));
        assert!(cloud == reference, "{}", facts::difference(&cloud, &reference));
        let cloud = facts::seen_in_state(&self.cloud, &REGIONS, with_conflicts);
        let reference = facts::seen_in_reference(&self.reference, &REGIONS, with_conflicts);
        assert!(cloud == reference, "{}", facts::difference(&cloud, &reference));
    }
}

/// The command without what it carries.
fn name_of(command: &Command) -> String {
    let text = format!("{command:?}");
    let mut words = text.split(|end: char| !end.is_alphanumeric());
    let words = (words.next().unwrap_or_default(), words.next().unwrap_or_default());
    if ["RouteMap", "Bandwidth"].contains(&words.0) { format!("{} {}", words.0, words.1) } else { words.0.to_owned() }
}

/// One sequence. What it did is told where it fails.
fn live(seed: u64, counts: &Mutex<Counts>) {
    let (mut random, crowded) = (ChaCha8Rng::seed_from_u64(seed), seed.is_multiple_of(CROWDED));
    let mut own = Counts::new();
    let mut both = Both::new(crowded);
    for call in 0..CALLS {
        let submission = both.submission(&mut random, crowded);
        let told = TellOnPanic(format!("MODEL_SEED={seed}, call {call}: {submission:?}"));
        let taken = both.both_take(&submission);
        let count = own.entry(name_of(&submission.command)).or_default();
        if taken {
            count.0 += 1
        } else {
            count.1 += 1
        }
        if !crowded || call % 5 == 0 {
            both.agree(call % 5 == 0);
        }
        std::mem::forget(told);
    }
    let mut counts = counts.lock().unwrap();
    for (name, (taken, refused)) in own {
        let count = counts.entry(name).or_default();
        *count = (count.0 + taken, count.1 + refused);
    }
}

struct TellOnPanic(String);

impl Drop for TellOnPanic {
    fn drop(&mut self) {
        if std::thread::panicking() {
            eprintln!("{}", self.0);
        }
    }
}

fn number_from_environment(name: &str) -> Option<u64> {
    std::env::var(name).ok().map(|number| number.parse().unwrap_or_else(|_| panic!("{name} is a number")))
}

/// `MODEL_SEQUENCES` says how many, `MODEL_SEED` which one is the first; with that alone it is that one only.
#[test]
fn random_lives_of_the_cloud_agree_with_the_reference() {
    let (sequences, seed) = (number_from_environment("MODEL_SEQUENCES"), number_from_environment("MODEL_SEED"));
    let first = seed.unwrap_or(0);
    let end = first + sequences.unwrap_or(if seed.is_some() { 1 } else { SEQUENCES });
    let (next, counts) = (AtomicU64::new(first), Mutex::default());
    std::thread::scope(|scope| {
        for _ in 0..std::thread::available_parallelism().map_or(1, |threads| threads.get()) {
            scope.spawn(|| {
                loop {
                    match next.fetch_add(1, Ordering::Relaxed) {
                        seed if seed < end => live(seed, &counts),
                        _ => return,
                    }
                }
            });
        }
    });
    // A walk on which everything is taken, or everything is refused, would prove nothing.
    let counts: Counts = counts.into_inner().unwrap();
    counts.iter().for_each(|(name, (taken, refused))| println!("{name}: {taken} taken, {refused} refused"));
    let (taken, refused) = counts.values().fold((0, 0), |sum, count| (sum.0 + count.0, sum.1 + count.1));
    assert!(end - first < SEQUENCES || taken > 1000 && refused > 1000, "{taken} taken, {refused} refused");
    if end - first >= ENOUGH {
        let never_refused = ["CreateCen", "CreateVpc", "Declare", "Bandwidth Create"];
        for (name, (taken, refused)) in &counts {
            assert!(*taken > 0 && (*refused > 0 || never_refused.contains(&name.as_str())), "{name}");
        }
        assert_eq!(counts.len(), SORTS, "{:?}", counts.keys());
    }
}
