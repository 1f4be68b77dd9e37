//! An association is there as long as IKE has it, also without a pair; and what is told of its children alternates.

use super::pairs::{row, totals, with};
use super::*;

/// Packets in of each association as status shows it, and of the connection.
fn shown(bench: &Bench, ids: &[u64]) -> (Vec<u64>, u64) {
    let row = row(bench, with(ids));
    (row.associations.iter().map(|of| of.inbound.packets).collect(), row.inbound.packets)
}

/// The pair has received so many packets.
fn carry(bench: &Bench, inbound_spi: u32, packets: u64) {
    bench.wiring.pairs[&inbound_spi].inbound.record(packets, 100 * packets, packets, Instant::now());
}

#[test]
fn a_peer_that_deletes_its_only_pair_and_keeps_the_ike_sa_keeps_its_totals_and_its_address() {
    let mut bench = bench("now");
    bench.up(sa(1000));
    carry(&bench, 1000, 10);
    bench.remove(1000, Removal::DeletedByPeer);
    for _ in 0..3 {
        bench.look(&[1]);
        assert_eq!(shown(&bench, &[1]), (vec![10], 10));
    }
    assert_eq!(bench.peers(), ["1 at 203.0.113.2"], "its IKE packets still go there");
    bench.up(sa(2000));
    carry(&bench, 2000, 5);
    bench.look(&[1]);
    assert_eq!(shown(&bench, &[1]), (vec![15], 15));
    bench.remove(2000, Removal::IkeSaLost);
    bench.look(&[]);
    assert_eq!(bench.peers(), ["1 at 203.0.113.2", "1 gone"]);
    assert_eq!(shown(&bench, &[]), (vec![], 15), "the connection's totals don't fall");
    bench.look(&[]);
    assert!(bench.peers().is_empty(), "told once");
}

#[test]
fn an_association_with_a_pair_is_not_looked_for() {
    let mut bench = bench("now");
    bench.up(sa(1000));
    bench.remove(1000, Removal::DeletedByPeer);
    bench.up(sa(2000));
    bench.look(&[]);
    assert_eq!(bench.peers(), ["1 at 203.0.113.2"; 2]);
    bench.remove(2000, Removal::DeletedByPeer);
    bench.look(&[]);
    assert_eq!(bench.peers(), ["1 gone"]);
}

#[test]
fn road_warriors_that_have_left_leave_nothing_but_what_they_carried() {
    let mut bench = bench_with("now", 8192);
    let warriors: u64 = 1000;
    for n in 0..warriors {
        let (inbound_spi, association) = (2 * (n as u32 + 1), AssociationId(n));
        bench.install(ChildSa { association, ..sa(inbound_spi) });
        carry(&bench, inbound_spi, 1);
        bench.remove(inbound_spi, Removal::IkeSaLost);
    }
    bench.peers();
    let asked = std::cell::Cell::new(0);
    bench.wiring.forget_gone(|_| {
        asked.set(asked.get() + 1);
        false
    });
    assert!(asked.get() > 0 && asked.get() < warriors, "one look takes a part: {}", asked.get());
    (0..10).for_each(|_| bench.look(&[]));
    assert_eq!(bench.peers().len() as u64, warriors);
    assert!(bench.wiring.gone()["idc"].associations.is_empty());
    assert_eq!(totals(&bench)[0], warriors);
}

/// What was told of children, in its order.
fn children(bench: &mut Bench) -> Vec<String> {
    bench.notices().into_iter().filter(|notice| !notice.starts_with("carries")).collect()
}

#[test]
fn a_child_whose_ike_sa_is_lost_in_a_rekey_is_told_down_once() {
    let mut bench = bench("now");
    bench.up(sa(1000));
    bench.install(sa(2000));
    bench.remove(1000, Removal::IkeSaLost);
    bench.remove(2000, Removal::IkeSaLost);
    assert_eq!(children(&mut bench), ["one up", "one down"]);
}

#[test]
fn a_child_that_was_never_up_is_not_told_down() {
    let mut bench = bench("now");
    bench.install(sa(1000));
    bench.remove(1000, Removal::DeletedByPeer);
    assert_eq!(children(&mut bench), Vec::<String>::new());
}

#[test]
fn a_child_that_nothing_replaces_is_told_down_whatever_the_reason() {
    for reason in [Removal::Redundant, Removal::Replaced] {
        let mut bench = bench("now");
        bench.up(sa(1000));
        bench.remove(1000, reason);
        assert_eq!(children(&mut bench), ["one up", "one down"], "{reason}");
        bench.up(sa(2000));
        assert_eq!(children(&mut bench), ["one up"], "{reason}");
    }
}

#[test]
fn a_child_that_sends_again_before_its_retired_pair_goes_was_never_down() {
    let mut bench = bench("now");
    bench.up(sa(1000));
    bench.retire(1000);
    bench.up(sa(2000));
    bench.remove(1000, Removal::Replaced);
    assert_eq!(children(&mut bench), ["one up"]);
    bench.remove(2000, Removal::DeletedByPeer);
    assert_eq!(children(&mut bench), ["one down"]);
}

#[test]
fn the_peer_of_a_pair_that_the_ring_has_no_room_for_is_nowhere() {
    let mut bench = bench_with("now", 1);
    bench.install(sa(1000));
    let path = Path { peer: "203.0.113.9:4500".parse().unwrap(), ..sa(1000).path };
    bench.install(ChildSa { association: AssociationId(2), path, ..sa(2000) });
    assert_eq!(bench.refusal().map(|(spi, _)| spi), Some(2000));
    bench.look(&[1]);
    assert_eq!(bench.peers(), ["1 at 203.0.113.2"]);
}
