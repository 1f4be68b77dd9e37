//! Messages that do not fit the wire: never sent in part, and told to a person.

use super::*;
use crate::wire::ike::MAX_SELECTORS;

/// This many networks of one host each, `10.<side>.x.y`.
fn hosts(side: usize, count: usize) -> Vec<TrafficSelector> {
    (0..count).flat_map(|n| net(&format!("10.{side}.{}.{}/32", n / 250, n % 250))).collect()
}

fn connection_with_hosts(side: usize, count: usize) -> Connection {
    let mut connection = connection(side);
    connection.children[0].local_selectors = hosts(side, count);
    connection.children[0].peer_selectors = hosts(1 - side, count);
    connection
}

fn last_error(lab: &Lab, side: usize) -> String {
    lab.ends[side].status().remove(0).last_error.expect("an error").to_string()
}

#[test]
fn as_many_selectors_as_can_be_counted_are_agreed_on() {
    let mut lab = Lab::new([0, 1].map(|side| config(connection_with_hosts(side, MAX_SELECTORS))));
    lab.settle();
    lab.assert_paired(1);
    assert_eq!(lab.pairs[0].values().next().expect("a pair").sa.local_selectors.len(), MAX_SELECTORS);
}

#[test]
fn a_first_request_that_does_not_fit_is_an_error_and_no_empty_datagram() {
    let mut left = connection(0);
    left.ike_proposals[0].prf = vec![&prf::HMAC_SHA2_256; 256];
    assert!(
        left.check_size().is_err_and(|unsendable| unsendable.to_string().contains("255 algorithms in one proposal"))
    );
    let mut lab = Lab::new([config(left), config(connection(1))]);
    lab.tick(0);
    assert_eq!(lab.lose(), 0, "nothing was sent");
    assert_eq!(lab.state(0), ConnectionState::Down);
    assert!(last_error(&lab, 0).contains("IKE_SA_INIT request would have more than 255 algorithms"));
    assert!(
        lab.events[0]
            .iter()
            .any(|event| matches!(event, Event::ConnectionDown { error: Some(_), next_attempt: Some(_), .. }))
    );
    lab.pass(300 * SECOND);
    assert_eq!(lab.sent[0], 0);
    assert!(lab.failures(0).len() < 20, "it is tried again, but not all the time");
}

#[test]
fn proposals_beyond_the_last_number_are_not_left_out() {
    let mut left = connection(0);
    left.ike_proposals = vec![ike_proposal(); 256];
    let error = left.check_size().map_err(|unsendable| unsendable.to_string());
    assert!(error.is_err_and(|error| error.contains("IKE_SA_INIT request would have more than 255 proposals")));
    let mut lab = Lab::new([config(left), config(connection(1))]);
    lab.tick(0);
    assert_eq!(lab.lose(), 0, "nothing was sent");
    assert!(last_error(&lab, 0).contains("more than 255 proposals in one offer"));
}

#[test]
fn an_authentication_request_that_does_not_fit_ends_the_attempt() {
    let left = connection_with_hosts(0, MAX_SELECTORS + 1);
    assert!(left.check_size().is_err());
    let mut lab = Lab::new([config(left), config(connection(1))]);
    lab.settle();
    assert_eq!(lab.sent[0], 1, "IKE_SA_INIT, and no message without its payloads after it");
    assert_eq!(lab.state(0), ConnectionState::Down);
    let error = last_error(&lab, 0);
    assert!(error.contains("IKE_AUTH request would have more than 255 traffic selectors on one side"), "{error}");
}

#[test]
fn a_child_whose_request_does_not_fit_fails_alone() {
    let configs = [0, 1].map(|side| {
        let mut connection = connection(side);
        let mut second = connection_with_hosts(side, MAX_SELECTORS + 1).children.remove(0);
        second.name = Arc::from("second");
        connection.children.push(second);
        config(connection)
    });
    let mut lab = Lab::new(configs);
    lab.settle();
    lab.assert_paired(1);
    let error = last_error(&lab, 0);
    assert!(error.contains("Child SA second was not set up: our CREATE_CHILD_SA request would have more"), "{error}");
}

#[test]
fn an_identity_longer_than_a_payload_ends_the_responder_s_handshake_with_an_answer() {
    let mut right = connection(1);
    right.local_id = crate::wire::ike::Identification::KeyId(vec![7; 65_530]);
    assert!(right.check_size().is_err());
    let mut left = connection(0);
    left.peer_id = None;
    let mut lab = Lab::new([config(left), config(right)]);
    lab.settle();
    assert!(lab.pairs.iter().all(BTreeMap::is_empty));
    assert!(
        lab.failures(1).iter().any(|failure| failure.contains("IKE_AUTH response would have more than 65535 bytes"))
    );
    assert!(lab.failures(0).iter().any(|failure| failure.contains("AUTHENTICATION_FAILED")), "{:?}", lab.failures(0));
}

#[test]
fn an_answer_that_would_have_too_many_selectors_is_a_refusal() {
    // Ranges that cut each other: 16 times 17 pieces.
    let range = |net: &str, ports: (u16, u16)| TrafficSelector {
        protocol: 6,
        start_port: ports.0,
        end_port: ports.1,
        ..TrafficSelector::from_net(net.parse().expect("a network"))
    };
    let nets: Vec<String> = (0..16).map(|n| format!("10.1.{n}.0/24")).collect();
    let mut left = connection(0);
    left.children[0].local_selectors = nets.iter().map(|net| range(net, (0, 65_535))).collect();
    let mut right = connection(1);
    right.children[0].peer_selectors = (0..17).map(|n| range("10.1.0.0/16", (n * 10, n * 10 + 5))).collect();
    let mut lab = Lab::new([config(left), config(right)]);
    lab.settle();
    assert!(lab.pairs.iter().all(BTreeMap::is_empty));
    assert!(
        lab.failures(1).iter().any(|failure| failure.contains("more than 255 traffic selectors")),
        "{:?}",
        lab.failures(1)
    );
    assert!(last_error(&lab, 0).contains("TS_UNACCEPTABLE"));
}
