//! Strangers that receive at their addresses ask for key exchanges by the slowest method, more than all of them may have: how
//! long somebody new waits for one.

use std::time::Duration;

use ipsec_gateway::crypto::KeyExchangeAlgorithm;
use ipsec_gateway::crypto::fake;

use super::strangers::Kind;
use super::{Origin, Scene};

const SECOND: Duration = Duration::from_secs(1);

/// How long it takes the warrior to be up that comes when so many have been there for a while.
fn wait(strangers: u32, method: &'static KeyExchangeAlgorithm, seed: u32) -> Duration {
    // All at once, or one after the other, just about as many as can be served.
    let joins = if seed.is_multiple_of(2) { Duration::ZERO } else { Duration::from_millis(32) };
    let mut scene = Scene::with_warrior(Kind::RubbishAuth, method);
    scene.lead = Duration::from_millis(200 + 1_300 * u64::from(seed));
    while scene.peers[1].2.is_none() && scene.now < scene.began + scene.lead + 10 * SECOND {
        scene.pass(2, Origin::Some(strangers, joins));
    }
    scene.peers[1].2.unwrap_or(Duration::MAX)
}

/// How long all seeds wait, the shortest first.
fn waits(strangers: u32, method: &'static KeyExchangeAlgorithm) -> Vec<Duration> {
    let mut waits: Vec<_> = (0..6).map(|seed| wait(strangers, method, seed)).collect();
    waits.sort_unstable();
    println!("{strangers} strangers, newcomer with {}: {waits:?}", method.name);
    waits
}

/// The longest wait of all seeds.
fn longest_wait(strangers: u32, method: &'static KeyExchangeAlgorithm) -> Duration {
    waits(strangers, method).pop().expect("a seed")
}

#[test]
fn a_newcomer_does_not_wait_for_a_few_that_ask_again_and_again() {
    for strangers in [4, 16] {
        assert!(longest_wait(strangers, &fake::SLOW_KEY_EXCHANGE) <= SECOND);
    }
}

#[test]
fn a_newcomer_hardly_waits_for_a_hundred_of_them() {
    assert!(longest_wait(128, &fake::SLOW_KEY_EXCHANGE) <= 3 * SECOND);
    assert!(longest_wait(128, &fake::KEY_EXCHANGE) <= SECOND);
}

#[test]
fn a_newcomer_hardly_waits_for_a_thousand_of_them() {
    // They are newcomers as well. When hundreds of them come within its turn, it is its next request that is answered, after the
    // first one has waited for too long.
    let waits = waits(1_000, &fake::SLOW_KEY_EXCHANGE);
    assert!(waits[4] <= 3 * SECOND && waits[5] <= 8 * SECOND, "{waits:?}");
    assert!(longest_wait(1_000, &fake::KEY_EXCHANGE) <= SECOND);
}

#[test]
fn a_newcomer_with_a_dear_method_does_not_wait_for_thousands_with_a_cheap_one() {
    // More of them than have their turn in two minutes remembered, and more requests than there is time for.
    for lead in [1, 4] {
        let mut scene = Scene::with_warrior(Kind::Init, &fake::SLOW_KEY_EXCHANGE);
        scene.lead = lead * SECOND;
        while scene.peers[1].2.is_none() && scene.now < scene.began + scene.lead + 5 * SECOND {
            scene.pass(8, Origin::Some(6_000, Duration::ZERO));
        }
        let wait = scene.peers[1].2;
        println!("6000 strangers with a cheap method since {lead} s: {wait:?}");
        assert!(wait.is_some_and(|wait| wait <= SECOND), "{wait:?}");
    }
}
