//! Peers that take a part of what they are offered (RFC 7296 2.9).

use super::*;
use crate::ike::exchange::task::Task;
use crate::ike::tasks::Tasks;
use crate::ike::wanted::WantedChild;
use crate::wire::ike::{Notify, NotifyType, Payload};

const LOCAL: &str = "10.1.1.0/24 10.1.2.0/24";
const PEER: &str = "10.2.1.0/24 10.2.2.0/24";

fn two_by_two(start: Start) -> Connection {
    let mut connection = connection(0);
    connection.start = start;
    connection.children[0].local_selectors = net(LOCAL);
    connection.children[0].peer_selectors = net(PEER);
    connection
}

/// With a child for each pair of subnets.
fn one_by_one() -> Connection {
    let mut connection = connection(1);
    let template = connection.children.remove(0);
    for local in PEER.split(' ') {
        for peer in LOCAL.split(' ') {
            connection.children.push(Child {
                name: Arc::from(format!("{local}-{peer}")),
                local_selectors: net(local),
                peer_selectors: net(peer),
                ..template.clone()
            });
        }
    }
    connection
}

fn acquire(lab: &mut Lab, from: &str, to: &str) {
    let packet = Some((net(from)[0], net(to)[0]));
    lab.command(0, Command::Acquire { connection: Arc::from("site"), child: Arc::from("net"), packet });
    lab.settle();
}

/// What end 0 sends on its pairs, in order.
fn carried(lab: &Lab) -> Vec<String> {
    let sending = lab.pairs[0].values().filter(|pair| pair.sending && !pair.outbound_gone);
    let shown = |list: &[TrafficSelector]| list.iter().map(ToString::to_string).collect::<Vec<_>>().join(" ");
    let mut carried: Vec<String> = sending
        .map(|pair| format!("{} === {}", shown(&pair.sa.local_selectors), shown(&pair.sa.peer_selectors)))
        .collect();
    carried.sort();
    carried
}

#[test]
fn what_a_peer_leaves_out_gets_child_sas_of_its_own_at_once() {
    let mut lab = Lab::new([config(two_by_two(Start::Now)), config(one_by_one())]);
    lab.settle();
    lab.pass(SECOND);
    lab.assert_paired(4);
    assert_eq!(
        carried(&lab),
        [
            "10.1.1.0/24 === 10.2.1.0/24",
            "10.1.1.0/24 === 10.2.2.0/24",
            "10.1.2.0/24 === 10.2.1.0/24",
            "10.1.2.0/24 === 10.2.2.0/24"
        ]
    );
    assert!(lab.ends[0].status()[0].left_out.is_empty());
    // A rekey of each gives the same again.
    let before = carried(&lab);
    lab.command(0, Command::Rekey { connection: Arc::from("site"), what: crate::ike::RekeyWhat::Child });
    lab.settle();
    lab.pass(10 * SECOND);
    assert_eq!(carried(&lab), before);
    lab.assert_paired(4);
}

#[test]
fn on_traffic_the_packet_asks_for_what_was_left_out() {
    let mut lab = Lab::new([config(two_by_two(Start::OnTraffic)), config(one_by_one())]);
    lab.settle();
    acquire(&mut lab, "10.1.2.7/32", "10.2.1.9/32");
    assert_eq!(carried(&lab), ["10.1.2.0/24 === 10.2.1.0/24"], "the packet's own first");
    assert_eq!(lab.ends[0].status()[0].left_out.len(), 3);
    lab.pass(60 * SECOND);
    lab.assert_paired(1);
    acquire(&mut lab, "10.1.2.8/32", "10.2.1.10/32");
    lab.assert_paired(1);
    acquire(&mut lab, "10.1.1.7/32", "10.2.2.9/32");
    assert_eq!(carried(&lab), ["10.1.1.0/24 === 10.2.2.0/24", "10.1.2.0/24 === 10.2.1.0/24"]);
    acquire(&mut lab, "10.9.9.9/32", "10.2.2.9/32");
    lab.pass(60 * SECOND);
    lab.assert_paired(2);
}

#[test]
fn what_a_peer_never_takes_is_tried_less_and_less_and_the_rest_stays() {
    let mut right = one_by_one();
    right.children.truncate(1);
    let mut lab = Lab::new([config(two_by_two(Start::Now)), config(right)]);
    lab.settle();
    lab.pass(SECOND);
    lab.assert_paired(1);
    let before = lab.sent[0];
    lab.pass(600 * SECOND);
    lab.assert_paired(1);
    assert!(lab.sent[0] - before < 12, "{} requests in ten minutes", lab.sent[0] - before);
    let left_out: Vec<String> =
        lab.ends[0].status()[0].left_out.iter().map(|(child, flows)| format!("{child}: {flows}")).collect();
    assert_eq!(
        left_out,
        ["net: 10.1.1.0/24 === 10.2.2.0/24", "net: 10.1.2.0/24 === 10.2.1.0/24", "net: 10.1.2.0/24 === 10.2.2.0/24"]
    );
}

#[test]
fn a_peer_that_wants_single_pairs_gets_that_of_the_packet() {
    let mut lab = Lab::new([config(two_by_two(Start::OnTraffic)), config(one_by_one())]);
    lab.settle();
    acquire(&mut lab, "10.1.1.7/32", "10.2.1.9/32");
    let packet = Some((net("10.1.2.7/32")[0], net("10.2.2.9/32")[0]));
    lab.command(0, Command::Acquire { connection: Arc::from("site"), child: Arc::from("net"), packet });
    lab.lose();
    let spi = *lab.ends[0].connections.ike_sas.all().keys().next().expect("an IKE SA");
    let now = lab.now;
    let refusal = Payloads::new(vec![Payload::Notify(Notify::new(NotifyType::SINGLE_PAIR_REQUIRED, Vec::new()))]);
    // As if that were the answer to the request that was lost: the next request has its message ID.
    lab.ends[0].answer_with(spi, &refusal, now);
    lab.ends[0].connections.with_established(spi, now, |state, cx| {
        state.act(cx, |_, _, agenda, _| {
            let wanted: Vec<_> = agenda.tasks.queued().iter().filter_map(Task::wanted).cloned().collect();
            let part = wanted.first().and_then(|wanted| wanted.part).expect("a part");
            assert_eq!(part.to_string(), "10.1.2.7/32 === 10.2.2.9/32");
            assert!(!agenda.tasks.ask_for_one_pair(wanted.first().expect("a task")), "asked for once");
        });
    });
    lab.collect(0);
}

#[test]
fn a_part_that_is_refused_does_not_keep_the_others_from_being_asked_for() {
    let mut right = one_by_one();
    // The second one that would be asked for.
    right.children.retain(|child| &*child.name != "10.2.2.0/24-10.1.1.0/24");
    assert_eq!(right.children.len(), 3);
    let mut lab = Lab::new([config(two_by_two(Start::Now)), config(right)]);
    lab.settle();
    lab.pass(5 * SECOND);
    lab.assert_paired(3);
    assert_eq!(lab.ends[0].status()[0].left_out.len(), 1);
}

#[test]
fn a_packet_asks_also_for_the_ports_that_were_left_out_and_also_when_all_starts_at_once() {
    let mut right = connection(1);
    let ports = |port| TrafficSelector { protocol: 6, start_port: port, end_port: port, ..net("10.2.0.0/16")[0] };
    right.children[0].local_selectors = vec![ports(443)];
    let mut second = right.children[0].clone();
    (second.name, second.local_selectors) = (Arc::from("ssh"), vec![ports(22)]);
    right.children.push(second);
    let mut lab = Lab::new([config(connection(0)), config(right)]);
    lab.settle();
    lab.pass(SECOND);
    lab.assert_paired(1);
    let packet = TrafficSelector { protocol: 6, start_port: 22, end_port: 22, ..net("10.2.0.9/32")[0] };
    let source = TrafficSelector { protocol: 6, start_port: 5000, end_port: 5000, ..net("10.1.0.9/32")[0] };
    let packet = Some((source, packet));
    lab.command(0, Command::Acquire { connection: Arc::from("site"), child: Arc::from("net"), packet });
    lab.settle();
    lab.assert_paired(2);
}

#[test]
fn a_lone_part_is_rekeyed_as_it_is() {
    let mut lab = Lab::new([config(two_by_two(Start::OnTraffic)), config(one_by_one())]);
    lab.settle();
    acquire(&mut lab, "10.1.2.7/32", "10.2.1.9/32");
    let before = carried(&lab);
    for _ in 0..2 {
        lab.command(0, Command::Rekey { connection: Arc::from("site"), what: crate::ike::RekeyWhat::Child });
        lab.settle();
        lab.pass(10 * SECOND);
        assert_eq!(carried(&lab), before);
        lab.assert_paired(1);
    }
}

#[test]
fn of_two_ends_that_want_every_part_one_asks_for_them() {
    let mut right = one_by_one();
    right.start = Start::Now;
    let mut lab = Lab::new([config(two_by_two(Start::Now)), config(right)]);
    lab.tick(0);
    while lab.deliver() {}
    lab.pass(20 * SECOND);
    lab.assert_paired(4);
    assert_eq!([lab.pairs[0].len(), lab.pairs[1].len()], [4; 2], "and nothing twice");
}

#[test]
fn what_a_packet_asks_for_does_not_wait_for_an_attempt_beside_an_ike_sa_that_works() {
    let mut lab = Lab::new([config(two_by_two(Start::OnTraffic)), config(one_by_one())]);
    lab.settle();
    acquire(&mut lab, "10.1.2.7/32", "10.2.1.9/32");
    let (spi, now) = (*lab.ends[0].connections.ike_sas.all().keys().next().expect("an IKE SA"), lab.now);
    lab.ends[0].connections.negotiate_beside(spi, now);
    lab.collect(0);
    assert_eq!(lab.lose(), 1, "IKE_SA_INIT, which nobody answers");
    acquire(&mut lab, "10.1.1.7/32", "10.2.2.9/32");
    lab.assert_paired(2);
}

#[test]
fn what_packets_ask_for_and_the_peer_refuses_is_asked_for_again_by_packets_only() {
    let mut right = one_by_one();
    right.children.truncate(1);
    let mut lab = Lab::new([config(two_by_two(Start::OnTraffic)), config(right)]);
    lab.settle();
    acquire(&mut lab, "10.1.1.7/32", "10.2.1.9/32");
    lab.assert_paired(1);
    let ask = |lab: &mut Lab, number: u16| {
        let of_port = |net: &str, port| TrafficSelector {
            protocol: 6,
            start_port: port,
            end_port: port,
            ..TrafficSelector::from_net(net.parse().expect("a network"))
        };
        let packet = Some((of_port("10.1.2.7/32", 5000 + number), of_port("10.2.2.9/32", 443)));
        lab.command(0, Command::Acquire { connection: Arc::from("site"), child: Arc::from("net"), packet });
        lab.settle();
    };
    let before = lab.sent[0];
    (0..200).for_each(|number| ask(&mut lab, number));
    assert_eq!(lab.sent[0] - before, 1, "another ephemeral port is nothing new");
    lab.pass(600 * SECOND);
    assert_eq!(lab.sent[0] - before, 1, "nobody wants it any more");
    ask(&mut lab, 7);
    assert_eq!(lab.sent[0] - before, 2);
    lab.assert_paired(1);
}

#[test]
fn what_there_is_is_rekeyed_before_anything_new_is_asked_for() {
    let wanted = || Task::CreateChild(WantedChild::new(Arc::from("net")));
    let mut tasks = Tasks::default();
    [Task::Liveness, wanted(), Task::RekeyChild(1), Task::RekeyIke].into_iter().for_each(|task| tasks.queue(task));
    let order: Vec<Task> = std::iter::from_fn(|| tasks.next()).collect();
    assert_eq!(order, [Task::Liveness, Task::RekeyChild(1), Task::RekeyIke, wanted()]);
}
