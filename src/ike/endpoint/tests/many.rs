//! Many connections between two ends: told apart by identity, started some at a time.

use super::*;

/// `count` connections as end `side` has them, each with identities, a key and a subnet of its own.
pub(super) fn many(side: usize, count: usize) -> Vec<Connection> {
    let ids = |number: usize| [format!("left-{number}.example"), format!("right-{number}.example")];
    (0..count)
        .map(|number| {
            let subnets = [format!("10.{number}.1.0/24"), format!("10.{number}.2.0/24")];
            let mut connection = connection(side);
            connection.name = format!("site-{number}").into();
            connection.local_id = ids(number)[side].parse().expect("an identity");
            // Names are compared without regard to case.
            connection.peer_id = Some(ids(number)[1 - side].to_uppercase().parse().expect("an identity"));
            connection.pre_shared_key = Arc::new(Secret::new(format!("key {number}").into_bytes()));
            connection.children[0].local_selectors = net(&subnets[side]);
            connection.children[0].peer_selectors = net(&subnets[1 - side]);
            connection
        })
        .collect()
}

pub(super) fn lab(left: Vec<Connection>, right: Vec<Connection>) -> Lab {
    Lab::new([left, right].map(|connections| Config::new(connections.into_iter().map(Arc::new).collect())))
}

pub(super) fn established(lab: &Lab, side: usize) -> Vec<bool> {
    lab.ends[side].status().iter().map(|status| status.state == ConnectionState::Established).collect()
}

#[test]
fn a_hundred_connections_start_some_at_a_time_and_each_meets_its_own() {
    let mut lab = lab(many(0, 100), many(1, 100));
    lab.tick(0);
    assert_eq!(lab.wire.len(), 32, "the others wait for answers to these");
    // The answers of one round are what starts the next one; no time passes.
    (0..4).for_each(|_| lab.settle());
    lab.assert_paired(100);
    assert_eq!([established(&lab, 0), established(&lab, 1)], [vec![true; 100], vec![true; 100]]);
    assert_eq!((lab.failures(0), lab.failures(1)), (vec![], vec![]));
    for pair in lab.pairs[1].values() {
        let number: usize = pair.sa.connection.strip_prefix("site-").expect("a name").parse().expect("a number");
        assert_eq!(pair.sa.local_selectors, net(&format!("10.{number}.2.0/24")), "{}", pair.sa.connection);
    }
}

#[test]
fn a_silent_peer_holds_up_its_own_connections_only_and_these_not_for_ever() {
    let mut left = many(0, 80);
    for connection in &mut left[..79] {
        connection.peer = Peer::Address(Ipv4Addr::new(192, 0, 2, 99).into());
    }
    let mut lab = lab(left, many(1, 80));
    lab.tick(0);
    let to = |lab: &Lab, host: u8| {
        lab.wire.iter().filter(|(_, sent)| sent.path.peer.ip() == IpAddr::from([192, 0, 2, host])).count()
    };
    assert_eq!((to(&lab, 2), to(&lab, 99)), (1, 32));
    lab.wire.retain(|(_, sent)| sent.path.peer.ip() == IpAddr::from([192, 0, 2, 2]));
    while lab.deliver() {}
    assert!(established(&lab, 0)[79]);
    let mut started = std::collections::BTreeSet::new();
    let mut counts = Vec::new();
    for _ in 0..3 {
        lab.now += SECOND;
        lab.tick(0);
        started.extend(lab.wire.drain(..).map(|(_, sent)| header(&sent).initiator_spi));
        counts.push(started.len());
    }
    assert_eq!(counts, [64, 79, 79], "repetitions of the first ones and the next ones, then the rest");
}

#[test]
fn connections_that_are_taken_down_or_removed_while_they_wait_do_not_start() {
    let mut lab = lab(many(0, 40), many(1, 40));
    lab.tick(0);
    lab.command(0, Command::Down { connection: "site-9".into() });
    let down = lab.ends[0].status().iter().filter(|status| status.state == ConnectionState::Down).count();
    assert_eq!(down, 8, "seven wait, one was taken down");
    let kept = many(0, 40).into_iter().take(39).map(Arc::new).collect();
    lab.command(0, Command::Reload(Arc::new(Config::new(kept))));
    (0..2).for_each(|_| lab.settle());
    let up = established(&lab, 0);
    assert_eq!((up.len(), up.iter().filter(|up| **up).count(), up[9]), (39, 38, false));
}

#[test]
fn a_difference_touches_what_it_names_and_a_peer_meets_the_lowest_place() {
    let mut lab = lab(many(0, 40), many(1, 40));
    (0..3).for_each(|_| lab.settle());
    lab.assert_paired(40);
    let spis = lab.inbound(1);
    lab.events[1].clear();
    // The left one's site-7 changes at the right: another key. site-8 goes, site-9 moves to the end, site-3 is told again.
    let all = many(1, 40);
    let mut changed = all[7].clone();
    changed.pre_shared_key = Arc::new(Secret::new(b"another".to_vec()));
    let again = |place: u64, number: usize| (place, Arc::new(all[number].clone()));
    let set = vec![(7, Arc::new(changed)), again(100, 9), again(3, 3)];
    lab.command(1, Command::Change(Change { removed: vec!["site-8".into(), "unknown".into()], set }));
    let down: Vec<&str> = lab.events[1]
        .iter()
        .filter_map(|event| if let Event::ChildRemoved { connection, .. } = event { Some(&**connection) } else { None })
        .collect();
    assert_eq!(down, ["site-8", "site-7"]);
    let kept = lab.inbound(1);
    assert_eq!((kept.len(), kept.iter().all(|spi| spis.contains(spi))), (38, true));
    let names: Vec<String> = lab.ends[1].status().iter().map(|status| status.name.to_string()).collect();
    assert_eq!((names.len(), &*names[7], &*names[8], &*names[38]), (39, "site-7", "site-10", "site-9"));
    assert_eq!(lab.ends[1].status_of("site-9").map(|status| status.state), Some(ConnectionState::Established));
    assert!(lab.ends[1].status_of("site-8").is_none());
    while lab.deliver() {}
    lab.pass(10 * SECOND);
    let refused = lab.failures(0);
    assert!(!refused.is_empty() && lab.inbound(1).len() == 38, "nobody else serves site-7 and site-8");
    // A connection that takes any peer with any key of its own comes first or last, as its place says.
    let mut any = all[7].clone();
    (any.name, any.peer, any.peer_id, any.start) = ("any".into(), Peer::Any, None, Start::Wait);
    lab.command(1, Command::Change(Change { set: vec![(50, Arc::new(any))], ..Change::default() }));
    lab.pass(120 * SECOND);
    let served: Vec<&str> =
        lab.pairs[1].values().map(|pair| &*pair.sa.connection).filter(|name| *name == "any").collect();
    assert_eq!(served, ["any"], "site-7 has another key, so the other one is meant");
}
