//! Thousands of connections between the same two identities: what happens to one looks at no other.

use super::*;
use crate::ike::association::looks;

/// So many subnets, each with this second octet.
fn subnet(second: u8, number: usize) -> String {
    format!("10.{second}.{}.{}/32", number / 256, number % 256)
}

/// `count` connections of end 1 that its peer cannot tell apart but by their subnets.
fn siblings(count: usize) -> Config {
    let one = |number: usize| {
        let mut connection = connection(1);
        connection.name = format!("site-{number}").into();
        connection.children[0].local_selectors = net("10.2.0.0/16");
        connection.children[0].peer_selectors = net(&subnet(1, number));
        Arc::new(connection)
    };
    Config::new((0..count).map(one).collect())
}

/// End 0 has one connection with a child for some of them.
fn with_children(numbers: &[usize]) -> Config {
    let mut connection = connection(0);
    let child = connection.children[0].clone();
    let children = numbers.iter().map(|number| Child {
        name: format!("child-{number}").into(),
        local_selectors: net(&subnet(1, *number)),
        peer_selectors: net("10.2.0.0/16"),
        ..child.clone()
    });
    connection.children = children.collect();
    config(connection)
}

#[test]
fn a_request_of_their_peer_means_one_without_a_look_at_the_others() {
    let looks = [20, 4_000].map(|count| {
        let numbers = [count / 2, count - 1, 7];
        let mut lab = Lab::new([with_children(&numbers), siblings(count)]);
        looks::take();
        lab.settle();
        let looks = looks::take();
        lab.assert_paired(3);
        for number in numbers {
            let serves = |pair: &&Pair| *pair.sa.connection == *format!("site-{number}");
            assert_eq!(lab.pairs[1].values().filter(serves).count(), 1, "{number}");
        }
        assert_eq!((lab.failures(0), lab.failures(1)), (vec![], vec![]));
        looks
    });
    assert_eq!(looks[0], looks[1]);
}

#[test]
fn who_starts_one_of_them_looks_at_no_other_for_initial_contact() {
    let looks = [20, 4_000].map(|count| {
        let one = |number: usize| {
            let mut connection = connection(0);
            connection.name = format!("site-{number}").into();
            connection.peer_id = Some("hub.example".parse().expect("an identity"));
            if number + 1 < count {
                connection.peer = Peer::Address(Ipv4Addr::from(0x0a80_0000 + number as u32).into());
                connection.start = Start::Wait;
            }
            Arc::new(connection)
        };
        let mut right = connection(1);
        right.local_id = "Hub.example".parse().expect("an identity");
        let mut lab = Lab::new([Config::new((0..count).map(one).collect()), config(right)]);
        looks::take();
        lab.settle();
        let looks = looks::take();
        lab.assert_paired(1);
        looks
    });
    assert_eq!(looks[0], looks[1]);
}
