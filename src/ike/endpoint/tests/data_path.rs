//! What the data path cannot do: pairs that it does not install, and SAs that have used up what they may carry.

use super::*;
use crate::ike::{RekeyWhat, Removal, SaLimit};

fn refuse(lab: &mut Lab, side: usize, inbound_spi: u32) {
    let reason = "keys of (3, 0) bytes where the suite takes (20, 0)".to_owned();
    lab.command(side, Command::InstallFailed { inbound_spi, reason });
}

fn limit(lab: &mut Lab, side: usize, limit: SaLimit) {
    let inbound_spi = lab.inbound(side)[0];
    lab.command(side, Command::LimitReached { inbound_spi, limit });
}

fn removals(lab: &Lab, side: usize) -> Vec<Removal> {
    let reason = |event: &Event| match event {
        Event::ChildRemoved { reason, .. } => Some(*reason),
        _ => None,
    };
    lab.events[side].iter().filter_map(reason).collect()
}

fn last_error(lab: &Lab, side: usize) -> Option<String> {
    lab.ends[side].status().remove(0).last_error.map(|error| error.to_string())
}

#[test]
fn a_pair_that_was_not_installed_is_deleted_at_both_ends_and_tried_again() {
    let mut lab = Lab::up();
    let refused = lab.inbound(0)[0];
    refuse(&mut lab, 0, refused);
    assert!(lab.pairs[0].is_empty(), "it is gone at once");
    lab.settle();
    assert!(lab.pairs[1].is_empty(), "the peer was told");
    assert_eq!((removals(&lab, 0), removals(&lab, 1)), (vec![Removal::NotInstalled], vec![Removal::DeletedByPeer]));
    let error = last_error(&lab, 0).expect("an error, although the IKE SA is up");
    assert!(error.contains("Child SA net was not set up") && error.contains("keys of (3, 0) bytes"), "{error}");
    lab.pass(10 * SECOND);
    lab.assert_paired(1);
    assert_eq!(last_error(&lab, 0), None, "what works is no error any more");
}

#[test]
fn what_is_refused_again_and_again_is_tried_less_and_less_often() {
    let mut lab = Lab::up();
    let mut attempts = 0;
    let end = lab.now + 600 * SECOND;
    while lab.now < end {
        if let Some(refused) = lab.inbound(0).first().copied() {
            attempts += 1;
            refuse(&mut lab, 0, refused);
            lab.settle();
        }
        lab.pass(SECOND);
    }
    assert!((5..12).contains(&attempts), "{attempts} attempts in ten minutes");
}

#[test]
fn who_waits_for_the_peer_leaves_the_next_attempt_to_it() {
    let mut lab = Lab::up();
    lab.pass(30 * SECOND);
    let refused = lab.inbound(1)[0];
    refuse(&mut lab, 1, refused);
    lab.settle();
    assert!(lab.pairs.iter().all(BTreeMap::is_empty));
    lab.pass(10 * SECOND);
    lab.assert_paired(1);
}

#[test]
fn a_refusal_during_a_rekey_leaves_both_ends_agreed() {
    for side in 0..2 {
        let mut lab = Lab::up();
        let old = lab.inbound(side)[0];
        lab.command(0, Command::Rekey { connection: Arc::from("site"), what: RekeyWhat::Child });
        while lab.inbound(side).len() < 2 {
            assert!(lab.deliver());
        }
        let new = *lab.pairs[side].keys().find(|spi| **spi != old).expect("the new pair");
        refuse(&mut lab, side, new);
        lab.settle();
        lab.pass(30 * SECOND);
        lab.assert_paired(1);
        assert_eq!([lab.pairs[0].len(), lab.pairs[1].len()], [1, 1], "end {side}");
    }
}

#[test]
fn either_limit_rekeys_just_the_pair_that_came_to_it() {
    for reached in [SaLimit::Soft, SaLimit::Hard] {
        let mut lab = Lab::up();
        let old = lab.inbound(0)[0];
        limit(&mut lab, 0, reached);
        limit(&mut lab, 0, reached);
        lab.settle();
        lab.pass(6 * SECOND);
        lab.assert_paired(1);
        assert!(!lab.inbound(0).contains(&old), "{reached:?}");
        assert_eq!(removals(&lab, 0), [Removal::Replaced], "{reached:?}");
        let told = lab.failures(0).iter().filter(|failure| failure.contains("used up its sequence numbers")).count();
        assert_eq!(told, usize::from(reached == SaLimit::Hard), "{reached:?}");
    }
}

#[test]
fn an_exhausted_pair_that_the_peer_does_not_rekey_makes_room_for_a_new_one() {
    let mut left = connection(0);
    let mut right = connection(1);
    // In IKE_AUTH no method is negotiated; from then on, the peer wants one that this end does not have.
    left.children[0].esp_proposals[0].groups = vec![&ke::X25519];
    right.children[0].esp_proposals[0].groups = vec![&ke::ECP256];
    let mut lab = Lab::new([config(left), config(right)]);
    lab.settle();
    lab.assert_paired(1);
    // Who initiates has a new IKE SA to go to.
    let old = lab.inbound(0);
    limit(&mut lab, 0, SaLimit::Soft);
    lab.settle();
    lab.pass(10 * SECOND);
    lab.assert_paired(1);
    assert_ne!(lab.inbound(0), old);
    assert_eq!(removals(&lab, 0), [Removal::Redundant]);

    // Who waits for the peer has not.
    limit(&mut lab, 1, SaLimit::Soft);
    lab.settle();
    lab.assert_paired(1);
    assert_eq!(removals(&lab, 0), [Removal::Redundant], "the old one still serves");
    limit(&mut lab, 1, SaLimit::Hard);
    lab.settle();
    assert!(lab.pairs.iter().all(BTreeMap::is_empty), "it carries nothing, so it goes at both ends");
    assert!(removals(&lab, 1).contains(&Removal::Exhausted), "{:?}", removals(&lab, 1));
    let error = last_error(&lab, 1).expect("an error");
    assert!(error.contains("NO_PROPOSAL_CHOSEN"), "{error}");
}
