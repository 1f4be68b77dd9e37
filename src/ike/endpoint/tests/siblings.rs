//! Two connections that the peer cannot tell apart: to it they are one, with two children.

use super::*;
use crate::ike::directory::Directory;
use crate::ike::ext::table;
use crate::ike::{ConnectionStatus, RekeyWhat, Removal};

/// End 0 has one connection with two children.
fn one_with_two() -> Connection {
    let mut connection = connection(0);
    let mut second = connection.children[0].clone();
    second.name = Arc::from("second");
    (second.local_selectors, second.peer_selectors) = (net("10.3.0.0/16"), net("10.4.0.0/16"));
    connection.children.push(second);
    connection
}

/// End 1 has a connection for each of them; the children have the same name.
fn two_with_one(start: Start) -> Vec<Arc<Connection>> {
    let mut one = connection(1);
    one.name = Arc::from("one");
    one.start = start;
    let mut two = one.clone();
    two.name = Arc::from("two");
    let child = &mut two.children[0];
    (child.local_selectors, child.peer_selectors) = (net("10.4.0.0/16"), net("10.3.0.0/16"));
    vec![Arc::new(one), Arc::new(two)]
}

fn lab_with(connections: Vec<Arc<Connection>>) -> Lab {
    Lab::new([config(one_with_two()), Config::new(connections)])
}

fn up(start: Start) -> Lab {
    let mut lab = lab_with(two_with_one(start));
    // What end 1 would start by itself is lost.
    lab.tick(1);
    lab.lose();
    lab.settle();
    lab
}

fn status(lab: &Lab, name: &str) -> ConnectionStatus {
    lab.ends[1].status().into_iter().find(|status| *status.name == *name).expect("a connection")
}

/// The peer's sides of the pairs of a connection at end 1 that send.
fn sending(lab: &Lab, name: &str) -> Vec<TrafficSelector> {
    let pairs =
        lab.pairs[1].values().filter(|pair| *pair.sa.connection == *name && pair.sending && !pair.outbound_gone);
    pairs.flat_map(|pair| pair.sa.peer_selectors.clone()).collect()
}

/// What end 1 told of connections going up and down since the last time.
fn told(lab: &mut Lab) -> Vec<String> {
    let told = lab.events[1].drain(..).filter_map(|event| match event {
        Event::ConnectionUp { connection } => Some(format!("{connection} up")),
        Event::ConnectionDown { connection, .. } => Some(format!("{connection} down")),
        _ => None,
    });
    told.collect()
}

fn established_ike_sas(lab: &Lab) -> usize {
    lab.ends[1].connections.ike_sas.all().values().filter(|sa| sa.association().is_some()).count()
}

#[track_caller]
fn assert_both_up(lab: &Lab) {
    assert_eq!((sending(lab, "one"), sending(lab, "two")), (net("10.1.0.0/16"), net("10.3.0.0/16")));
    lab.assert_paired(2);
    let (one, two) = (status(lab, "one"), status(lab, "two"));
    assert_eq!((one.state, two.state), (ConnectionState::Established, ConnectionState::Established));
    assert_eq!((one.associations.len(), two.associations.len()), (1, 1));
    let spi = |status: &ConnectionStatus| status.associations[0].ike_sas.last().map(|sa| sa.initiator_spi);
    assert_eq!(spi(&one), spi(&two));
    assert_eq!(*two.associations[0].ike_sas[0].connection, *"one");
    assert_ne!(one.associations[0].id, two.associations[0].id);
    for of in [&one, &two] {
        let current = of.children.iter().filter(|child| child.state == crate::ike::ChildState::Installed);
        assert_eq!(current.map(|child| child.association).collect::<Vec<_>>(), [of.associations[0].id]);
        assert_eq!((of.last_error.clone(), of.next_attempt), (None, None));
    }
}

#[test]
fn a_peer_puts_the_children_of_both_into_one_ike_sa() {
    let mut lab = up(Start::Wait);
    assert_both_up(&lab);
    assert_eq!(told(&mut lab), ["one up", "two up"]);
    assert_eq!((lab.failures(0), lab.failures(1)), (vec![], vec![]));
}

#[test]
fn pairs_in_another_ones_ike_sa_are_rekeyed_from_either_side_and_so_is_that() {
    let mut lab = up(Start::Wait);
    told(&mut lab);
    let associations = |lab: &Lab| ["one", "two"].map(|name| status(lab, name).associations[0].id);
    let before = (lab.inbound(1), associations(&lab));
    let rekeys = [
        (1, "two", RekeyWhat::Child),
        (0, "site", RekeyWhat::Child),
        (1, "one", RekeyWhat::Ike),
        (0, "site", RekeyWhat::Ike),
        (1, "two", RekeyWhat::Child),
    ];
    for (side, name, what) in rekeys {
        lab.command(side, Command::Rekey { connection: name.into(), what });
        lab.pass(10 * SECOND);
        assert_both_up(&lab);
    }
    assert!(lab.inbound(1).iter().all(|spi| !before.0.contains(spi)), "all are new");
    assert_eq!(associations(&lab), before.1);
    assert_eq!(told(&mut lab), Vec::<String>::new());
    assert_eq!((lab.failures(0), lab.failures(1)), (vec![], vec![]));
}

#[test]
fn a_rekey_of_one_connection_leaves_the_other_ones_pair_alone() {
    let mut lab = up(Start::Wait);
    // A further request of the peer shows that it has our answers.
    lab.command(0, Command::Rekey { connection: "site".into(), what: RekeyWhat::Ike });
    lab.pass(10 * SECOND);
    for (name, other) in [("two", "one"), ("one", "two")] {
        let spis = |lab: &Lab, name: &str| status(lab, name).children.iter().map(|c| c.inbound_spi).collect::<Vec<_>>();
        let before = (spis(&lab, name), spis(&lab, other));
        lab.command(1, Command::Rekey { connection: name.into(), what: RekeyWhat::Child });
        lab.pass(10 * SECOND);
        assert_ne!(spis(&lab, name), before.0);
        assert_eq!(spis(&lab, other), before.1);
    }
}

#[test]
fn one_that_has_its_pairs_does_not_go_on_trying() {
    let mut lab = up(Start::Now);
    assert_both_up(&lab);
    for _ in 0..60 {
        lab.pass(SECOND);
        assert_eq!(established_ike_sas(&lab), 1);
    }
    assert_both_up(&lab);
    assert_eq!(told(&mut lab), ["one up", "two up"]);
}

#[test]
fn one_whose_pairs_the_peer_deletes_goes_down_and_tries_by_itself() {
    let mut lab = up(Start::Now);
    told(&mut lab);
    // The peer wants the second child no more, and has no say in what comes then.
    let spi =
        *lab.pairs[0].values().find(|pair| *pair.sa.child == *"second").map(|p| &p.sa.inbound_spi).expect("a pair");
    lab.command(0, Command::InstallFailed { inbound_spi: spi, reason: "for the test".into() });
    while lab.deliver() {}
    assert_eq!(told(&mut lab), ["two down"]);
    assert_eq!((status(&lab, "one").state, sending(&lab, "one")), (ConnectionState::Established, net("10.1.0.0/16")));
    let two = status(&lab, "two");
    assert!(two.last_error.is_some_and(|error| error.to_string().contains("are gone")) && two.next_attempt.is_some());
    lab.pass(3 * SECOND);
    assert_eq!(status(&lab, "two").state, ConnectionState::Established);
    assert_eq!(sending(&lab, "two"), net("10.3.0.0/16"));
}

#[test]
fn what_an_ike_sa_of_its_own_carried_is_asked_for_again_although_another_ones_carries_the_rest() {
    let far = |side: usize| {
        let nets = ["10.5.0.0/16", "10.6.0.0/16"];
        let mut child = connection(side).children.remove(0);
        child.name = Arc::from("far");
        (child.local_selectors, child.peer_selectors) = (net(nets[side]), net(nets[1 - side]));
        child
    };
    let mut connections = two_with_one(Start::Now);
    let mut two = (*connections[1]).clone();
    two.children.push(far(1));
    connections[1] = Arc::new(two);
    let extra = Connection { name: Arc::from("extra"), children: vec![far(0)], ..connection(0) };
    let left = Config::new(vec![Arc::new(one_with_two()), Arc::new(extra)]);
    let mut lab = Lab::new([left, Config::new(connections)]);
    lab.tick(1);
    lab.lose();
    lab.settle();
    let all = |lab: &Lab| {
        let mut all = sending(lab, "two");
        all.sort_by_key(|selector| selector.start);
        all.dedup();
        all
    };
    assert_eq!(all(&lab), net("10.3.0.0/16 10.5.0.0/16"));
    lab.command(0, Command::Down { connection: "extra".into() });
    while lab.deliver() {}
    assert_eq!(all(&lab), net("10.3.0.0/16"));
    lab.pass(5 * SECOND);
    assert_eq!(all(&lab), net("10.3.0.0/16 10.5.0.0/16"));
    assert!(!told(&mut lab).contains(&"two down".to_owned()), "it was never without a pair");
}

#[test]
fn with_their_ike_sa_both_go_down() {
    let mut lab = up(Start::Wait);
    told(&mut lab);
    lab.command(0, Command::Down { connection: "site".into() });
    while lab.deliver() {}
    let mut down = told(&mut lab);
    down.sort();
    assert_eq!(down, ["one down", "two down"]);
    assert!(lab.pairs[1].is_empty());
    for name in ["one", "two"] {
        let status = status(&lab, name);
        assert_eq!((status.state, status.associations.len(), status.children.len()), (ConnectionState::Down, 0, 0));
    }
}

/// The reasons for which pairs of a connection were removed at an end.
fn removals(lab: &Lab, side: usize, name: &str) -> Vec<Removal> {
    let reason = |event: &Event| match event {
        Event::ChildRemoved { connection, reason, .. } if **connection == *name => Some(*reason),
        _ => None,
    };
    lab.events[side].iter().filter_map(reason).collect()
}

#[test]
fn taking_one_down_or_away_deletes_its_pairs_and_nothing_else() {
    let taken_away = |changed: bool| {
        let mut connections = two_with_one(Start::Wait);
        let mut two = (*connections.remove(1)).clone();
        two.child_lifetime *= 2;
        connections.extend(changed.then(|| Arc::new(two)));
        Command::Reload(Arc::new(Config::new(connections)))
    };
    let ways = [Command::Down { connection: "two".into() }, taken_away(false), taken_away(true)];
    for way in ways {
        let mut lab = up(Start::Wait);
        let ike_sa = lab.ike_spis(1);
        lab.events[1].clear();
        let shown = format!("{way:?}");
        lab.command(1, way);
        while lab.deliver() {}
        assert_eq!((removals(&lab, 1, "two"), removals(&lab, 1, "one")), (vec![Removal::Closed], vec![]), "{shown}");
        assert_eq!(removals(&lab, 0, "site"), [Removal::DeletedByPeer], "the peer was told: {shown}");
        assert_eq!((sending(&lab, "one"), sending(&lab, "two")), (net("10.1.0.0/16"), vec![]));
        assert_eq!((lab.ike_spis(1), established_ike_sas(&lab)), (ike_sa, 1), "the IKE SA stays: {shown}");
    }
}

#[test]
fn one_that_is_taken_down_during_the_rekey_of_its_pair_does_not_come_back() {
    for (seed, crossing) in (1..=6).flat_map(|seed| [(seed, false), (seed, true)]) {
        let mut lab = Lab::seeded([config(one_with_two()), Config::new(two_with_one(Start::Wait))], seed);
        lab.settle();
        // A further request of the peer shows that it has our answers.
        lab.command(0, Command::Rekey { connection: "site".into(), what: RekeyWhat::Ike });
        lab.pass(10 * SECOND);
        lab.command(1, Command::Rekey { connection: "two".into(), what: RekeyWhat::Child });
        let request = lab.wire.pop_front().expect("a request");
        if crossing {
            lab.command(0, Command::Rekey { connection: "site".into(), what: RekeyWhat::Child });
            // The pair of "one" comes first; the answer about that of "two" is on its way.
            while lab.pairs[1].values().filter(|pair| *pair.sa.connection == *"two").count() < 2 && lab.deliver() {}
        }
        lab.wire.push_front(request);
        lab.command(1, Command::Down { connection: "two".into() });
        while lab.deliver() {}
        assert_eq!(sending(&lab, "two"), vec![], "seed {seed}, crossing: {crossing}");
        lab.assert_paired(1);
        assert_eq!(status(&lab, "two").state, ConnectionState::Down);
    }
}

#[test]
fn what_a_peer_refuses_an_ike_sa_of_its_own_for_is_asked_for_less_and_less() {
    let mut connections = two_with_one(Start::Now);
    let mut two = (*connections[1]).clone();
    let mut far = two.children[0].clone();
    (far.name, far.local_selectors, far.peer_selectors) = ("far".into(), net("10.6.0.0/16"), net("10.5.0.0/16"));
    two.children.push(far);
    connections[1] = Arc::new(two);
    let mut lab = lab_with(connections);
    lab.tick(1);
    lab.lose();
    while lab.wire.is_empty() {
        lab.tick(0);
    }
    while lab.deliver() {}
    assert_eq!(sending(&lab, "two"), net("10.3.0.0/16"));
    // From now on end 0 takes nobody who has our key.
    let changed = Connection { pre_shared_key: Arc::new(Secret::new(b"another".to_vec())), ..one_with_two() };
    let mut directory = Directory::new(table::wanted);
    directory.insert(0, &Arc::new(changed));
    lab.ends[0].connections.ike_sas.directory = directory;
    lab.pass(10 * SECOND);
    let before = lab.sent[1];
    lab.pass(600 * SECOND);
    let requests = lab.sent[1] - before;
    assert!((10..60).contains(&requests), "{requests} datagrams in ten minutes");
    assert_eq!(sending(&lab, "two"), net("10.3.0.0/16"), "what the other one's IKE SA carries stays");
}

#[test]
fn one_with_another_key_or_identity_or_address_is_no_sibling() {
    let changes: [fn(&mut Connection); 4] = [
        |two| two.pre_shared_key = Arc::new(Secret::new(b"another".to_vec())),
        |two| two.local_id = "other.example".parse().expect("an identity"),
        |two| two.peer_id = Some("other.example".parse().expect("an identity")),
        |two| two.local_address = None,
    ];
    for change in changes {
        let mut connections = two_with_one(Start::Wait);
        let mut two = (*connections[1]).clone();
        change(&mut two);
        connections[1] = Arc::new(two);
        let mut lab = lab_with(connections);
        lab.settle();
        assert_eq!((sending(&lab, "one"), sending(&lab, "two")), (net("10.1.0.0/16"), vec![]));
        assert!(lab.failures(1).iter().any(|failure| failure.contains("no common traffic selectors")));
    }
}

#[test]
fn the_siblings_own_proposals_hold_for_its_child() {
    let mut connections = two_with_one(Start::Wait);
    let mut two = (*connections[1]).clone();
    two.children[0].esp_proposals[0].encryption = vec![&encryption::AES256_GCM_16];
    connections[1] = Arc::new(two);
    let mut lab = lab_with(connections);
    lab.settle();
    assert_eq!(sending(&lab, "two"), vec![]);
    assert!(lab.failures(1).iter().any(|failure| failure.contains("no common ESP proposal")));
}

#[test]
fn the_connection_that_holds_the_first_selectors_comes_before_one_that_holds_a_part() {
    let mut connections = two_with_one(Start::Wait);
    for (connection, local) in connections.iter_mut().zip(["10.2.1.0/24", "10.2.0.0/16"]) {
        let child = &mut Arc::make_mut(connection).children[0];
        (child.local_selectors, child.peer_selectors) = (net(local), net("10.1.0.0/16"));
    }
    let mut lab = Lab::new([config(connection(0)), Config::new(connections)]);
    lab.settle();
    assert_eq!((sending(&lab, "one"), sending(&lab, "two")), (vec![], net("10.1.0.0/16")));
    // Nor does the first one that has any of it get what is asked for later.
    lab.command(0, Command::Rekey { connection: "site".into(), what: RekeyWhat::Child });
    lab.pass(10 * SECOND);
    assert_eq!((sending(&lab, "one"), sending(&lab, "two")), (vec![], net("10.1.0.0/16")));
}
