//! Rekeys of Child SAs and IKE SAs, also by both ends at once.

use super::*;
use crate::ike::{RekeyWhat, Removal, SaActivity};

fn rekey(lab: &mut Lab, side: usize, what: RekeyWhat) {
    lab.command(side, Command::Rekey { connection: Arc::from("site"), what });
}

#[test]
fn a_child_is_rekeyed_by_either_end_and_the_old_one_receives_for_a_while() {
    for side in 0..2 {
        let mut lab = Lab::up();
        let old = [lab.inbound(0), lab.inbound(1)];
        rekey(&mut lab, side, RekeyWhat::Child);
        lab.settle();
        lab.assert_paired(1);
        for (pairs, old) in lab.pairs.iter().zip(&old) {
            assert_eq!(pairs.len(), 2, "the old inbound SA stays");
            assert!(pairs.contains_key(&old[0]));
        }
        lab.pass(6 * SECOND);
        for (end, old) in old.iter().enumerate() {
            assert_eq!(lab.pairs[end].len(), 1);
            assert!(!lab.pairs[end].contains_key(&old[0]));
            let replaced = |event: &Event| matches!(event, Event::ChildRemoved { reason: Removal::Replaced, .. });
            assert_eq!(lab.events[end].iter().filter(|event| replaced(event)).count(), 1);
        }
        lab.assert_paired(1);
    }
}

/// RFC 7296 2.8: the responder of a rekey goes on sending on the old SA.
#[test]
fn the_responder_switches_at_the_first_packet_or_at_the_deletion() {
    for by_packet in [true, false] {
        let mut lab = Lab::up();
        let old = lab.inbound(1)[0];
        rekey(&mut lab, 0, RekeyWhat::Child);
        assert!(lab.deliver());
        let new = *lab.pairs[1].keys().find(|spi| **spi != old).expect("the new pair");
        assert!(!lab.pairs[1][&new].sending && lab.pairs[1][&old].sending && !lab.pairs[1][&old].outbound_gone);
        if by_packet {
            let activity = SaActivity { inbound_spi: new, last_inbound: lab.now, first_seen: true, source: None };
            lab.command(1, Command::SaActivity(vec![activity]));
        } else {
            assert!(lab.deliver(), "the response");
            assert!(!lab.pairs[1][&new].sending);
            assert!(lab.deliver(), "the deletion");
        }
        assert!(lab.pairs[1][&new].sending && lab.pairs[1][&old].outbound_gone);
        lab.settle();
        lab.assert_paired(1);
    }
}

/// The initiator of a rekey switches when it has the answer, though it may have to wait until it can delete the old pair.
#[test]
fn the_initiator_switches_at_the_answer() {
    let mut lab = Lab::up();
    let old = lab.inbound(0)[0];
    rekey(&mut lab, 0, RekeyWhat::Child);
    assert!(lab.deliver(), "the request");
    assert!(!lab.pairs[0][&old].outbound_gone);
    let from = lab.events[0].len();
    assert!(lab.deliver(), "the response");
    let new = *lab.pairs[0].keys().find(|spi| **spi != old).expect("the new pair");
    let told = lab.events[0][from..].iter().filter_map(|event| match event {
        Event::ChildOutboundActivated { inbound_spi, .. } => Some(("use", *inbound_spi)),
        Event::ChildOutboundRetired { inbound_spi, .. } => Some(("retire", *inbound_spi)),
        _ => None,
    });
    assert_eq!(told.take(2).collect::<Vec<_>>(), [("use", new), ("retire", old)]);
}

#[test]
fn what_waits_for_the_new_ike_sa_goes_on_though_traffic_is_reported_at_once() {
    let mut lab = Lab::up();
    lab.pass(SECOND);
    let (ike_sa, pair) = (lab.ike_spis(0), lab.inbound(0)[0]);
    rekey(&mut lab, 0, RekeyWhat::Ike);
    rekey(&mut lab, 0, RekeyWhat::Child);
    while lab.deliver() {
        let activity = SaActivity { inbound_spi: pair, last_inbound: lab.now, first_seen: false, source: None };
        lab.command(0, Command::SaActivity(vec![activity]));
    }
    lab.pass(6 * SECOND);
    assert_ne!(lab.ike_spis(0), ike_sa);
    assert!(!lab.inbound(0).contains(&pair));
    lab.assert_paired(1);
}

#[test]
fn the_ike_sa_is_rekeyed_by_either_end_and_the_children_move() {
    for side in 0..2 {
        let mut lab = Lab::up();
        let old = lab.ike_spis(0);
        rekey(&mut lab, side, RekeyWhat::Ike);
        lab.settle();
        lab.assert_paired(1);
        assert_ne!(lab.ike_spis(0), old);
        assert_eq!(lab.ike_spis(0), lab.ike_spis(1));
        // The new one serves, in both directions.
        for from in [0, 1] {
            rekey(&mut lab, from, RekeyWhat::Child);
            lab.settle();
            lab.assert_paired(1);
            rekey(&mut lab, from, RekeyWhat::Ike);
            lab.settle();
        }
        lab.pass(120 * SECOND);
        lab.assert_paired(1);
        assert_eq!(lab.ends[0].connections.ike_sas.all().len(), 1);
        assert_eq!(lab.ends[1].connections.ike_sas.all().len(), 1);
        assert!(lab.events.iter().flatten().all(|event| !matches!(event, Event::ConnectionDown { .. })));
    }
}

#[test]
fn an_ike_sa_that_runs_out_of_message_ids_is_rekeyed() {
    let mut lab = Lab::up();
    let old = lab.ike_spis(0);
    for end in &mut lab.ends {
        for sa in end.connections.ike_sas.all_mut().values_mut() {
            let IkeSa::Established(state) = sa else { panic!("not established") };
            state.skip_to(u32::MAX - 3);
        }
    }
    rekey(&mut lab, 0, RekeyWhat::Child);
    lab.settle();
    lab.pass(10 * SECOND);
    assert_ne!(lab.ike_spis(0), old);
    assert_eq!(lab.ike_spis(0), lab.ike_spis(1));
    lab.assert_paired(1);
    rekey(&mut lab, 0, RekeyWhat::Child);
    lab.settle();
    lab.assert_paired(1);
}

#[test]
fn simultaneous_child_rekeys_leave_one_pair() {
    for seed in 0..16 {
        // Every interleaving of the two requests, the two responses and what follows.
        for order in 0..32_u32 {
            let mut lab = Lab::seeded([config(connection(0)), config(connection(1))], seed);
            lab.settle();
            rekey(&mut lab, 0, RekeyWhat::Child);
            rekey(&mut lab, 1, RekeyWhat::Child);
            interleave(&mut lab, order);
            lab.assert_paired(1);
            lab.pass(20 * SECOND);
            lab.assert_paired(1);
            assert_eq!([lab.pairs[0].len(), lab.pairs[1].len()], [1, 1], "seed {seed} order {order}");
        }
    }
}

#[test]
fn simultaneous_ike_rekeys_leave_one_ike_sa() {
    for seed in 0..16 {
        for order in 0..32_u32 {
            let mut lab = Lab::seeded([config(connection(0)), config(connection(1))], seed);
            lab.settle();
            rekey(&mut lab, 0, RekeyWhat::Ike);
            rekey(&mut lab, 1, RekeyWhat::Ike);
            interleave(&mut lab, order);
            lab.pass(130 * SECOND);
            lab.assert_paired(1);
            assert_eq!(lab.ike_spis(0), lab.ike_spis(1), "seed {seed} order {order}");
            assert_eq!(
                [lab.ends[0].connections.ike_sas.all().len(), lab.ends[1].connections.ike_sas.all().len()],
                [1, 1],
                "seed {seed} order {order}"
            );
            rekey(&mut lab, 1, RekeyWhat::Child);
            lab.settle();
            lab.assert_paired(1);
        }
    }
}

#[test]
fn an_ike_rekey_and_a_child_rekey_at_once_both_come_about() {
    for seed in 0..4 {
        for order in 0..32_u32 {
            let mut lab = Lab::seeded([config(connection(0)), config(connection(1))], seed);
            lab.settle();
            let (ike, child) = (lab.ike_spis(0), lab.inbound(0));
            rekey(&mut lab, 0, RekeyWhat::Ike);
            rekey(&mut lab, 1, RekeyWhat::Child);
            interleave(&mut lab, order);
            lab.pass(130 * SECOND);
            lab.assert_paired(1);
            assert_eq!(lab.ike_spis(0), lab.ike_spis(1));
            assert_ne!(lab.ike_spis(0), ike, "seed {seed} order {order}");
            assert_ne!(lab.inbound(0), child, "seed {seed} order {order}");
        }
    }
}

/// Delivers what is on the wire in an order that the bits of `order` give: of the two directions, which comes next.
fn interleave(lab: &mut Lab, mut order: u32) {
    for _ in 0..10_000 {
        let wanted = (order & 1) as usize;
        order >>= 1;
        let at =
            lab.wire.iter().position(|(from, _)| *from == wanted).or(if lab.wire.is_empty() { None } else { Some(0) });
        let Some(at) = at else { return };
        let (from, transmit) = lab.wire.remove(at).expect("a datagram");
        lab.arrive(1 - from, &transmit);
    }
    panic!("the two ends never stop talking");
}

#[test]
fn lost_rekey_messages_are_sent_again() {
    for what in [RekeyWhat::Child, RekeyWhat::Ike] {
        for lost in 0..4 {
            let mut lab = Lab::up();
            rekey(&mut lab, 0, what);
            (0..lost).for_each(|_| assert!(lab.deliver()));
            assert_eq!(lab.lose(), 1);
            lab.pass(20 * SECOND);
            lab.assert_paired(1);
            assert_eq!([lab.pairs[0].len(), lab.pairs[1].len()], [1, 1]);
            assert_eq!(lab.ike_spis(0), lab.ike_spis(1));
        }
    }
}

#[test]
fn a_deletion_during_a_rekey_leaves_both_ends_agreed() {
    for order in 0..32_u32 {
        let mut lab = Lab::up();
        rekey(&mut lab, 0, RekeyWhat::Child);
        lab.command(1, Command::Down { connection: Arc::from("site") });
        interleave(&mut lab, order);
        lab.pass(30 * SECOND);
        // End 0 wants it up, and end 1 accepts what its peer asks for.
        lab.assert_paired(1);
        assert_eq!(lab.ike_spis(0), lab.ike_spis(1));
    }
}

#[test]
fn lifetimes_rekey_in_time() {
    let mut lab = Lab::up();
    lab.pass(Duration::from_secs(24 * 3600));
    lab.assert_paired(1);
    let expired = |event: &&Event| matches!(event, Event::ChildRemoved { reason: Removal::Expired, .. });
    assert_eq!(lab.events.iter().flatten().filter(expired).count(), 0);
    let replaced = |event: &&Event| matches!(event, Event::ChildRemoved { reason: Removal::Replaced, .. });
    assert!(lab.events[0].iter().filter(replaced).count() >= 20);
    assert!(lab.events.iter().flatten().all(|event| !matches!(event, Event::ConnectionDown { .. })));
}

#[test]
fn an_ike_sa_that_is_closed_while_it_is_rekeyed_leaves_none_at_the_peer() {
    let mut lab = Lab::up();
    rekey(&mut lab, 0, RekeyWhat::Ike);
    lab.command(0, Command::Down { connection: Arc::from("site") });
    lab.settle();
    lab.pass(5 * SECOND);
    let left = [0, 1].map(|side| lab.ends[side].connections.ike_sas.all().len());
    assert!(lab.pairs.iter().all(BTreeMap::is_empty), "{:?}", lab.pairs);
    assert_eq!(lab.ends[1].status()[0].state, ConnectionState::Down, "{left:?}");
}

#[test]
fn a_replaced_ike_sa_that_the_peer_does_not_delete_is_deleted_once() {
    let mut lab = Lab::up();
    let old = *lab.ends[0].connections.ike_sas.all().keys().next().expect("an IKE SA");
    rekey(&mut lab, 0, RekeyWhat::Ike);
    lab.deliver();
    lab.deliver();
    // End 0 forgets the old one before its deletion arrives.
    lab.lose();
    lab.ends[0].connections.forget(old);
    let mut said = Vec::new();
    for _ in 0..80 {
        lab.now += SECOND;
        lab.tick(1);
        said.extend(lab.wire.drain(..).filter(|(_, sent)| header(sent).initiator_spi == old));
    }
    let [(1, deletion)] = &said[..] else { panic!("{said:?}") };
    let header = header(deletion);
    assert_eq!(header.exchange_type, crate::wire::ike::ExchangeType::INFORMATIONAL);
    assert!(!header.flags.response);
    lab.assert_paired(1);
}

#[test]
fn one_child_is_rekeyed_alone() {
    let mut lab = Lab::new([0, 1].map(|side| config(super::duplicates::two_children(side))));
    lab.settle();
    lab.assert_paired(2);
    let before = lab.ike_spis(0);
    let of = |lab: &Lab, name: &str| -> Vec<u32> {
        let sending = lab.pairs[0].iter().filter(|(_, pair)| pair.sending && !pair.outbound_gone);
        sending.filter(|(_, pair)| *pair.sa.child == *name).map(|(spi, _)| *spi).collect()
    };
    let (net, second) = (of(&lab, "net"), of(&lab, "second"));
    lab.command(0, Command::RekeyChild { connection: Arc::from("site"), child: Arc::from("second") });
    lab.settle();
    lab.pass(6 * SECOND);
    lab.assert_paired(2);
    assert_eq!((of(&lab, "net"), lab.ike_spis(0)), (net, before));
    assert!(of(&lab, "second").len() == 1 && of(&lab, "second") != second);
    let quiet = of(&lab, "second");
    lab.command(0, Command::RekeyChild { connection: Arc::from("site"), child: Arc::from("third") });
    lab.settle();
    assert_eq!(of(&lab, "second"), quiet, "what there is not is not rekeyed");
}
