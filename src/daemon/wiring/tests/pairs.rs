//! Which pairs send, what is told of them, and what they carried.

use super::*;
use crate::daemon::ike_thread::IkeSnapshot;
use crate::daemon::status::{self, View};
use crate::dataplane::sadb::OutboundSadb;

#[test]
fn a_pair_receives_when_it_is_installed_and_sends_when_ike_says_so() {
    let mut bench = bench("now");
    bench.install(sa(1000));
    let Ok(InboundCommand::Install(inbound)) = bench.inbound.pop() else { panic!("no inbound SA") };
    assert!(bench.outbound.pop().is_err() && !bench.sends(1000));
    assert_eq!(bench.notices(), Vec::<String>::new());
    bench.activate(1000);
    let Ok(OutboundCommand::Install(outbound)) = bench.outbound.pop() else { panic!("no outbound SA") };
    assert_eq!((inbound.spi, outbound.inbound_spi, outbound.spi), (1000, 1000, 1001));
    assert_eq!((inbound.replay_window, inbound.connection), (1024, outbound.connection));
    assert!(bench.sends(1000) && Arc::ptr_eq(&inbound.selectors, &outbound.selectors));
    assert_eq!(bench.notices(), ["one up", "carries true"]);
    bench.activate(1000);
    assert!(bench.outbound.pop().is_err() && bench.notices().is_empty(), "once");
}

#[test]
fn a_pair_that_goes_before_it_is_used_never_sends() {
    for retired in [true, false] {
        let mut bench = bench("now");
        bench.install(sa(1000));
        if retired {
            bench.retire(1000);
        } else {
            bench.remove(1000, Removal::DeletedByPeer);
        }
        bench.activate(1000);
        let installs = std::iter::from_fn(|| bench.outbound.pop().ok());
        assert_eq!(installs.filter(|command| matches!(command, OutboundCommand::Install(_))).count(), 0);
        assert!(!bench.notices().contains(&"carries true".to_owned()));
        assert!(bench.wiring.waiting.is_empty(), "its keys are gone");
    }
}

#[test]
fn a_rekey_is_no_news_and_the_last_pair_is() {
    let mut bench = bench("now");
    bench.up(sa(1000));
    bench.install(sa(2000));
    assert!(bench.sends(1000) && !bench.sends(2000));
    bench.activate(2000);
    bench.retire(1000);
    assert!(!bench.sends(1000) && bench.sends(2000));
    bench.remove(1000, Removal::Replaced);
    let told = bench.notices();
    assert_eq!(told.iter().filter(|notice| notice.starts_with("one")).collect::<Vec<_>>(), ["one up"]);
    assert!(!told.contains(&"carries false".to_owned()), "a rekey never leaves the connection without a sender");
    bench.remove(2000, Removal::DeletedByPeer);
    assert_eq!(bench.notices(), ["one down", "carries false"]);
    assert!(bench.wiring.pairs.is_empty());
}

/// The outbound SAs that the data thread has after what it was told.
fn obey(bench: &mut Bench, sadb: &mut OutboundSadb) {
    while let Ok(command) = bench.outbound.pop() {
        match command {
            OutboundCommand::Install(sa) => sadb.install(*sa).unwrap(),
            OutboundCommand::Remove { inbound_spi } => sadb.remove(inbound_spi),
            _ => {}
        }
    }
}

/// The outbound SPI of the SA that carries a packet to an address.
fn carrier(bench: &mut Bench, sadb: &mut OutboundSadb, destination: &str) -> Option<u32> {
    obey(bench, sadb);
    let connection = bench.wiring.channels.ids.id(&Arc::from("idc"));
    let (source, destination) = ("10.1.0.9".parse().unwrap(), destination.parse().unwrap());
    let flow = Flow { source, destination, protocol: protocol::UDP, ports: Ports::Opaque };
    let place = sadb.select(connection, &flow)?;
    Some(sadb.entry(place).sa.spi())
}

/// A pair for a part of what the child is configured with.
fn part(inbound_spi: u32, peer_subnet: &str) -> ChildSa {
    ChildSa { peer_selectors: vec![TrafficSelector::from_net(peer_subnet.parse().unwrap())], ..sa(inbound_spi) }
}

#[test]
fn of_two_pairs_of_one_child_the_other_one_goes_on() {
    for gone in [1000, 2000] {
        let (left, mut bench, mut sadb) = (3000 - gone, bench("now"), OutboundSadb::default());
        bench.up(part(1000, "10.2.0.0/25"));
        bench.up(part(2000, "10.2.0.128/25"));
        assert!(bench.sends(1000) && bench.sends(2000));
        let carriers = |bench: &mut Bench, sadb: &mut OutboundSadb| {
            ["10.2.0.1", "10.2.0.129"].map(|address| carrier(bench, sadb, address))
        };
        assert_eq!(carriers(&mut bench, &mut sadb), [Some(1001), Some(2001)]);
        assert_eq!(bench.notices(), ["one up", "carries true", "carries true"]);
        bench.remove(gone, Removal::DeletedByPeer);
        assert!(bench.sends(left));
        assert_eq!(bench.notices(), ["carries true"], "neither the child nor the connection went down");
        let expected = [1000, 2000].map(|spi| (spi == left).then_some(spi + 1));
        assert_eq!(carriers(&mut bench, &mut sadb), expected);
        bench.remove(left, Removal::DeletedByPeer);
        assert_eq!(bench.notices(), ["one down", "carries false"]);
    }
}

#[test]
fn of_two_peers_of_one_connection_the_elder_goes_on_when_the_younger_leaves() {
    let (mut bench, mut sadb) = (bench("now"), OutboundSadb::default());
    let behind = |peer: &str, sa: ChildSa| ChildSa { path: Path { peer: peer.parse().unwrap(), ..sa.path }, ..sa };
    bench.up(behind("203.0.113.2:4500", part(1000, "10.2.0.7/32")));
    bench.up(behind("203.0.113.3:4500", part(2000, "10.2.0.8/32")));
    assert_eq!(carrier(&mut bench, &mut sadb, "10.2.0.7"), Some(1001));
    assert_eq!(carrier(&mut bench, &mut sadb, "10.2.0.8"), Some(2001));
    bench.notices();
    // Its pair is rekeyed, then it goes.
    bench.up(behind("203.0.113.3:4500", part(3000, "10.2.0.8/32")));
    bench.retire(2000);
    bench.remove(2000, Removal::Replaced);
    bench.remove(3000, Removal::IkeSaLost);
    assert!(bench.sends(1000));
    assert_eq!(carrier(&mut bench, &mut sadb, "10.2.0.7"), Some(1001));
    assert_eq!(carrier(&mut bench, &mut sadb, "10.2.0.8"), None);
    assert!(bench.notices().iter().all(|notice| notice == "carries true"));
}

#[test]
fn what_is_told_of_a_child_names_the_association() {
    let mut bench = bench("now");
    let of = |association: u64, id: &str, sa: ChildSa| ChildSa {
        association: AssociationId(association),
        peer_id: id.parse().unwrap(),
        ..sa
    };
    bench.up(of(1, "elder.example", part(1000, "10.2.0.7/32")));
    bench.up(of(2, "younger.example", part(2000, "10.2.0.8/32")));
    bench.remove(2000, Removal::IkeSaLost);
    bench.look(&[1]);
    let mut told = Vec::new();
    while let Ok(notice) = bench.notices.try_recv() {
        match notice {
            Notice::ChildUp(of) => told.push(format!("{} {} up", of.association, of.peer_id)),
            Notice::ChildDown(of, reason) => told.push(format!("{} {} down: {reason}", of.association, of.peer_id)),
            Notice::PeerGone { association, .. } => told.push(format!("{association} gone")),
            Notice::Carries { up: false, .. } => told.push("the connection is down".to_owned()),
            _ => {}
        }
    }
    assert_eq!(
        told,
        ["1 elder.example up", "2 younger.example up", "2 younger.example down: its IKE SA is gone", "2 gone"]
    );
}

#[test]
fn a_peer_that_moves_takes_its_own_pairs_along() {
    let mut bench = bench("now");
    bench.up(part(1000, "10.2.0.7/32"));
    bench.up(ChildSa { association: AssociationId(2), ..part(2000, "10.2.0.8/32") });
    let path = Path { peer: "203.0.113.9:4501".parse().unwrap(), ..sa(1000).path };
    bench.event(Event::PathChanged { connection: "idc".into(), inbound_spis: vec![2000], path });
    let peer = |spi: u32| bench.wiring.pairs[&spi].outer().1;
    assert_eq!((peer(1000), peer(2000)), (sa(1000).path.peer, path.peer));
    let mut at = Vec::new();
    while let Ok(notice) = bench.notices.try_recv() {
        if let Notice::PeerAt { association, peer, .. } = notice {
            at.push((association.0, peer.to_string()));
        }
    }
    assert_eq!(at.last(), Some(&(2, "203.0.113.9".to_owned())));
}

/// Packets and bytes of the connection in and out, as status shows them.
pub(super) fn totals(bench: &Bench) -> [u64; 4] {
    let row = row(bench, ike::ConnectionStatus::clone(&nothing()));
    let (inbound, outbound) = (row.inbound, row.outbound);
    [inbound.packets, inbound.bytes, outbound.packets, outbound.bytes]
}

/// What IKE says of a connection without an IKE SA.
pub(super) fn nothing() -> ike::ConnectionStatus {
    ike::ConnectionStatus {
        name: "idc".into(),
        state: ike::ConnectionState::Down,
        start: ike::Start::Now,
        local_id: "gw".parse().unwrap(),
        peer_id: None,
        peer: None,
        associations: Vec::new(),
        ike_sa: None,
        children: Vec::new(),
        left_out: Vec::new(),
        last_error: None,
        next_attempt: None,
    }
}

/// What IKE says of a connection with these associations.
pub(super) fn with(ids: &[u64]) -> ike::ConnectionStatus {
    let of = |id: &u64| ike::AssociationStatus {
        id: AssociationId(*id),
        peer_id: format!("peer-{id}.example").parse().unwrap(),
        peer: "203.0.113.2:4500".parse().unwrap(),
        since: Instant::now(),
        ike_sas: Vec::new(),
    };
    ike::ConnectionStatus { associations: ids.iter().map(of).collect(), ..nothing() }
}

/// The connection as status shows it.
pub(super) fn row(bench: &Bench, status: ike::ConnectionStatus) -> crate::control::status::Connection {
    let view = View { of_file: config("now").connections, ..View::default() };
    let (pairs, gone) = (bench.wiring.pairs.clone(), bench.wiring.gone());
    let snapshot = IkeSnapshot { connections: vec![status], pairs, gone, ..IkeSnapshot::default() };
    status::connections(&view, &snapshot, Instant::now()).remove(0)
}

#[test]
fn what_each_peer_carried_is_told_apart_and_errors_never_fall_either() {
    let mut bench = bench("now");
    bench.up(part(1000, "10.2.0.7/32"));
    bench.up(ChildSa { association: AssociationId(2), ..part(2000, "10.2.0.8/32") });
    for (spi, packets) in [(1000, 10), (2000, 5)] {
        let pair = &bench.wiring.pairs[&spi];
        pair.inbound.record(packets, 100 * packets, packets, Instant::now());
        pair.inbound.record_errors(packets + 1);
        pair.outbound.record_errors(1);
    }
    let shown = |bench: &Bench, ids: &[u64]| {
        let row = row(bench, with(ids));
        let each = row.associations.iter().map(|of| (of.id, of.inbound.packets, of.inbound.errors)).collect::<Vec<_>>();
        (each, row.inbound.packets, row.inbound.errors, row.outbound.errors)
    };
    assert_eq!(shown(&bench, &[1, 2]), (vec![(1, 10, 11), (2, 5, 6)], 15, 17, 2));
    // A rekey of one, then the other leaves.
    bench.up(part(3000, "10.2.0.7/32"));
    bench.remove(1000, Removal::Replaced);
    bench.wiring.pairs[&3000].inbound.record_errors(1);
    assert_eq!(shown(&bench, &[1, 2]), (vec![(1, 10, 12), (2, 5, 6)], 15, 18, 2));
    bench.remove(2000, Removal::IkeSaLost);
    assert_eq!(shown(&bench, &[1]), (vec![(1, 10, 12)], 15, 18, 2));
}

#[test]
fn totals_outlast_a_peers_name_that_has_no_address_for_a_while() {
    let mut bench = bench("now");
    bench.up(sa(1000));
    bench.wiring.pairs[&1000].inbound.record(10, 1000, 10, Instant::now());
    let unresolved = Change { set: vec![in_force(None)], ..Change::default() };
    for closed_first in [true, false] {
        if closed_first {
            bench.remove(1000, Removal::Closed);
        }
        bench.wiring.configure(&unresolved);
        assert_eq!(totals(&bench), [10, 1000, 0, 0]);
    }
    let mut other = super::bench("now");
    other.up(sa(1000));
    other.wiring.pairs[&1000].inbound.record(10, 1000, 10, Instant::now());
    other.wiring.configure(&unresolved);
    other.remove(1000, Removal::Closed);
    assert_eq!(totals(&other), [10, 1000, 0, 0]);
}

#[test]
fn what_a_connection_carried_never_falls() {
    let mut bench = bench("now");
    let facts = |bench: &Bench, spi| {
        let pair = &bench.wiring.pairs[&spi];
        (Arc::clone(&pair.inbound), Arc::clone(&pair.outbound))
    };
    assert_eq!(totals(&bench), [0; 4]);
    bench.up(sa(1000));
    let (inbound, outbound) = facts(&bench, 1000);
    inbound.record(10, 1000, 10, Instant::now());
    outbound.record(20, 2000, 20, Instant::now());
    bench.up(sa(2000));
    bench.retire(1000);
    facts(&bench, 2000).0.record(1, 100, 1, Instant::now());
    assert_eq!(totals(&bench), [11, 1100, 20, 2000]);
    // The data thread may come to its command later, and count until then.
    bench.remove(1000, Removal::Replaced);
    assert_eq!(totals(&bench), [11, 1100, 20, 2000]);
    inbound.record(12, 1200, 12, Instant::now());
    assert_eq!(totals(&bench), [13, 1300, 20, 2000]);
    drop((inbound, outbound));
    while bench.inbound.pop().is_ok() || bench.outbound.pop().is_ok() {}
    bench.remove(2000, Removal::DeletedByPeer);
    assert_eq!(totals(&bench), [13, 1300, 20, 2000]);
    bench.up(sa(3000));
    facts(&bench, 3000).1.record(5, 500, 5, Instant::now());
    assert_eq!(totals(&bench), [13, 1300, 25, 2500]);
    // A connection that is configured no more is forgotten with its last association.
    bench.wiring.configure(&Change { removed: vec!["idc".into()], ..Change::default() });
    assert_eq!(totals(&bench), [13, 1300, 25, 2500]);
    bench.remove(3000, Removal::Closed);
    assert_eq!(totals(&bench), [13, 1300, 25, 2500]);
    bench.look(&[]);
    assert_eq!(totals(&bench), [0; 4]);
}
