//! Several IKE SAs of one connection with one peer.

use super::*;
use crate::ike::channel::Opened;
use crate::wire::ike::{NotifyType, parse_message};

/// Both ends initiate at once, and both IKE SAs are set up.
fn crossed(seed: u64) -> Lab {
    crossed_between([0, 1].map(connection), seed)
}

/// The same, with these connections.
pub(super) fn crossed_between(connections: [Connection; 2], seed: u64) -> Lab {
    let configs = connections.map(|connection| config(Connection { start: Start::Now, ..connection }));
    let mut lab = Lab::seeded(configs, seed);
    lab.tick(0);
    lab.tick(1);
    for _ in 0..8 {
        lab.deliver();
    }
    assert_eq!([ike_sas(&lab, 0), ike_sas(&lab, 1)], [2; 2], "seed {seed}: both are there");
    lab
}

fn ike_sas(lab: &Lab, side: usize) -> usize {
    let active = |sa: &&crate::ike::state::IkeSa| matches!(sa, crate::ike::state::IkeSa::Established(state) if state.sa().is_active());
    lab.ends[side].connections.ike_sas.all().values().filter(active).count()
}

/// Whether an end can send on a pair of this child that the other end receives on.
fn carries(lab: &Lab, side: usize, child: &str) -> bool {
    let mut sending = lab.pairs[side].values().filter(|pair| pair.sending && !pair.outbound_gone);
    sending.any(|pair| &*pair.sa.child == child && lab.pairs[1 - side].contains_key(&pair.sa.outbound_spi))
}

/// Lets time pass at the ends that are named only, and looks after each datagram whether the children carry.
fn pass_watched(lab: &mut Lab, sides: &[usize], span: Duration, children: &[&str]) {
    let end = lab.now + span;
    while lab.now < end {
        for side in sides {
            lab.tick(*side);
        }
        loop {
            for (side, child) in [0, 1].into_iter().flat_map(|side| children.iter().map(move |child| (side, child))) {
                assert!(carries(lab, side, child), "end {side}, child {child}, at {:?}", lab.now);
            }
            if !lab.deliver() {
                break;
            }
        }
        lab.now += Duration::from_millis(100);
    }
}

#[test]
fn of_two_ike_sas_that_both_ends_initiated_one_stays_and_it_is_the_same() {
    for seed in 1..=16 {
        let mut lab = crossed(seed);
        pass_watched(&mut lab, &[0, 1], 5 * SECOND, &["net"]);
        assert_eq!([ike_sas(&lab, 0), ike_sas(&lab, 1)], [1; 2], "seed {seed}");
        assert_eq!(lab.ike_spis(0), lab.ike_spis(1));
        lab.pass(10 * SECOND);
        lab.assert_paired(1);
    }
}

#[test]
fn a_peer_that_leaves_both_is_told_to_drop_one() {
    for seed in 1..=16 {
        let mut lab = crossed(seed);
        // The other end only answers, as one that wants no IKE SA to be unique.
        pass_watched(&mut lab, &[0], 5 * SECOND, &["net"]);
        assert_eq!([ike_sas(&lab, 0), ike_sas(&lab, 1)], [1; 2], "seed {seed}");
        assert_eq!(lab.ike_spis(0), lab.ike_spis(1));
    }
}

pub(super) fn two_children(side: usize) -> Connection {
    let mut connection = connection(side);
    let mut second = connection.children[0].clone();
    second.name = Arc::from("second");
    let nets = ["10.3.0.0/16", "10.4.0.0/16"];
    (second.local_selectors, second.peer_selectors) = (net(nets[side]), net(nets[1 - side]));
    connection.children.push(second);
    connection
}

#[test]
fn a_peer_that_reauthenticates_keeps_the_old_ike_sa_until_the_new_one_has_its_children() {
    let mut lab = Lab::new([0, 1].map(|side| config(two_children(side))));
    lab.settle();
    lab.assert_paired(2);
    let (old, now) = (lab.ike_spis(0), lab.now);
    let spi = *lab.ends[0].connections.ike_sas.all().keys().next().expect("an IKE SA");
    lab.ends[0].connections.negotiate_beside(spi, now);
    lab.collect(0);
    // IKE_SA_INIT, IKE_AUTH; what would set up the second child is under way for long.
    for _ in 0..4 {
        lab.deliver();
    }
    let held: Vec<_> = lab.wire.drain(..).collect();
    assert_eq!([ike_sas(&lab, 0), ike_sas(&lab, 1)], [2; 2]);
    for _ in 0..3 {
        lab.now += 2 * SECOND;
        lab.tick(1);
        lab.lose();
        assert!(carries(&lab, 0, "second") && carries(&lab, 1, "second") && carries(&lab, 1, "net"));
    }
    lab.wire.extend(held);
    pass_watched(&mut lab, &[0, 1], 5 * SECOND, &["net", "second"]);
    assert_eq!([ike_sas(&lab, 0), ike_sas(&lab, 1)], [1; 2]);
    assert_ne!(lab.ike_spis(0), old, "the new one stays");
    lab.pass(10 * SECOND);
    lab.assert_paired(2);
}

#[test]
fn a_peer_with_an_ike_sa_for_each_child_keeps_them() {
    let mut right = two_children(1);
    right.start = Start::Wait;
    let whole = two_children(0);
    let parts = [0, 1].map(|child| {
        let children = vec![whole.children[child].clone()];
        Arc::new(Connection { name: Arc::from(format!("part{child}")), children, ..two_children(0) })
    });
    let mut lab = Lab::new([Config::new(parts.to_vec()), config(right)]);
    lab.settle();
    // Each may have said that it is the only one.
    lab.pass(2 * SECOND);
    pass_watched(&mut lab, &[0, 1], 60 * SECOND, &["net", "second"]);
    assert_eq!(ike_sas(&lab, 1), 2);
    lab.assert_paired(2);
}

#[test]
fn a_peer_with_an_ike_sa_for_each_subnet_of_one_child_keeps_them() {
    let mut right = connection(1);
    right.start = Start::Wait;
    right.children[0].peer_selectors = net("10.1.0.0/16 10.3.0.0/16");
    let parts = ["10.1.0.0/16", "10.3.0.0/16"].map(|subnet| {
        let mut part = Connection { name: Arc::from(subnet), ..connection(0) };
        part.children[0].local_selectors = net(subnet);
        Arc::new(part)
    });
    let mut lab = Lab::new([Config::new(parts.to_vec()), config(right)]);
    lab.settle();
    lab.pass(60 * SECOND);
    assert_eq!(ike_sas(&lab, 1), 2);
    lab.assert_paired(2);
}

#[test]
fn what_a_peer_does_not_know_any_more_is_not_what_stays() {
    for seed in 1..=8 {
        let mut lab = crossed(seed);
        let states = lab.ends[0].connections.ike_sas.all().values().filter_map(|sa| match sa {
            crate::ike::state::IkeSa::Established(state) => Some(state.sa().channel()),
            _ => None,
        });
        let preferred = states.max_by_key(|channel| channel.spis().initiator).expect("two IKE SAs");
        let (ours, spis) = (preferred.local_spi(), preferred.spis());
        let theirs = if ours == spis.initiator { spis.responder } else { spis.initiator };
        lab.ends[1].connections.forget(theirs);
        lab.pass(10 * SECOND);
        assert_eq!(ike_sas(&lab, 0), 1, "seed {seed}");
        assert!(!lab.ends[0].connections.ike_sas.all().contains_key(&ours), "seed {seed}");
        assert_eq!(lab.ike_spis(0), lab.ike_spis(1));
    }
}

#[test]
fn an_ike_sa_in_doubt_stays_until_the_new_one_has_its_children() {
    let mut lab = Lab::new([0, 1].map(|side| config(two_children(side))));
    lab.settle();
    let (spi, now) = (*lab.ends[0].connections.ike_sas.all().keys().next().expect("an IKE SA"), lab.now);
    lab.ends[0].connections.act(spi, now, |sa, _, _, _| {
        sa.liveness_mut().await_answer(now);
        assert!(sa.liveness_mut().falls_silent(now + 2 * SECOND));
    });
    lab.ends[0].connections.negotiate_beside(spi, now);
    lab.tick(0);
    // IKE_SA_INIT, IKE_AUTH; what would set up the second child is under way for long.
    for _ in 0..4 {
        lab.deliver();
    }
    assert_eq!([ike_sas(&lab, 0), ike_sas(&lab, 1)], [2; 2]);
    assert!(carries(&lab, 0, "second") && carries(&lab, 1, "second"));
    pass_watched(&mut lab, &[0, 1], 5 * SECOND, &["net", "second"]);
    assert_eq!([ike_sas(&lab, 0), ike_sas(&lab, 1)], [1; 2]);
    assert!(!lab.ends[0].connections.ike_sas.all().contains_key(&spi), "the new one stays");
}

/// Whether each IKE_AUTH request that is on its way to end 1 says INITIAL_CONTACT.
fn initial_contacts(lab: &mut Lab) -> Vec<bool> {
    let requests: Vec<Transmit> = lab.wire.iter().map(|(_, transmit)| transmit.clone()).collect();
    let mut said = Vec::new();
    for request in requests {
        let message = parse_message(&request.payload).expect("a message");
        let half_open = lab.ends[1].connections.ike_sas.get_mut(&message.header.responder_spi);
        let Some(IkeSa::AwaitingAuth(state)) = half_open else { panic!("not half-open") };
        state.derive(None);
        let Ok(Opened::Message(opened)) = state.open(&message, request.path) else { panic!("no request") };
        said.push(opened.payloads().expect("payloads").notify(NotifyType::INITIAL_CONTACT).is_some());
    }
    said
}

#[test]
fn of_two_that_start_together_between_the_same_identities_one_says_that_it_is_the_only_one() {
    let configs = [0, 1].map(|side| {
        let mut whole = two_children(side);
        let mut two = Connection { name: Arc::from("two"), ..two_children(side) };
        two.children.remove(0);
        whole.children.truncate(1);
        Config::new(vec![Arc::new(whole), Arc::new(two)])
    });
    let mut lab = Lab::new(configs);
    lab.tick(0);
    for _ in 0..4 {
        lab.deliver();
    }
    let mut said = initial_contacts(&mut lab);
    said.sort_unstable();
    assert_eq!(said, [false, true]);
    lab.settle();
    lab.assert_paired(2);
}
