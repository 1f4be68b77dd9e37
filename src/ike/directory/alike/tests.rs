use std::time::Duration;

use super::*;
use crate::crypto::Secret;
use crate::ike::config::{Extensions, Peer, Start};

/// Connections with one peer whose addresses, identities and key are the same, as many as thousands of tunnels.
const THOUSANDS: u32 = 8_000;

fn selectors(text: &str) -> Vec<TrafficSelector> {
    text.split_whitespace().map(|net| TrafficSelector::from_net(net.parse().expect("a network"))).collect()
}

/// With these subnets, ours and the peer's.
fn connection(key: &str, [local, peer]: [&str; 2]) -> Arc<Connection> {
    Arc::new(Connection {
        name: peer.into(),
        local_address: None,
        peer: Peer::Address([203, 0, 113, 1].into()),
        local_id: "gateway.example".parse().expect("an identity"),
        peer_id: Some("Site.example".parse().expect("an identity")),
        pre_shared_key: Arc::new(Secret::new(key.as_bytes().to_vec())),
        ike_proposals: Vec::new(),
        children: vec![Child {
            name: "net".into(),
            local_selectors: selectors(local),
            peer_selectors: selectors(peer),
            esp_proposals: Vec::new(),
        }],
        start: Start::Wait,
        ike_lifetime: Duration::from_secs(3600),
        child_lifetime: Duration::from_secs(3600),
        liveness_interval: None,
        nat_traversal: true,
        force_encapsulation: false,
        nat_keepalive: Duration::ZERO,
        extensions: Extensions::default(),
    })
}

fn book(connections: &[Arc<Connection>], hasher: &RandomState) -> ByIdentity {
    let mut book = ByIdentity::default();
    (0..).zip(connections).for_each(|(place, connection)| book.insert(place, connection, hasher));
    book
}

/// The places of those alike with the first one that are found for what is asked, and how many were looked at.
fn found(book: &ByIdentity, hasher: &RandomState, [local, peer]: [&str; 2]) -> (Vec<Place>, usize) {
    let (local, peer) = (selectors(local), selectors(peer));
    looks::take();
    let all = book.expecting(&"site.EXAMPLE".parse().expect("an identity"), hasher);
    let alike = all.first().expect("one that expects it");
    (alike.with_traffic(&Prefixes::of([&local, &peer])).map(|(place, _)| place).collect(), looks::take())
}

#[test]
fn one_of_thousands_with_the_same_identities_is_found_without_a_look_at_the_others() {
    let hasher = RandomState::new();
    let net = |number: u32| format!("{}/32", std::net::Ipv4Addr::from(0x0a00_0000 + number));
    // Told apart by the peer's side, by ours, or by both together.
    let subnets: [fn(u32) -> [u32; 2]; 3] = [|n| [0, n], |n| [n, 0], |n| [n / 100, n % 100]];
    for of in subnets {
        let nets = |number: u32| of(number).map(net);
        let all: Vec<_> = (0..THOUSANDS).map(|n| connection("key", [&nets(n)[0], &nets(n)[1]])).collect();
        let mut book = book(&all, &hasher);
        let [local, peer] = nets(4_567);
        let (places, looks) = found(&book, &hasher, [&local, &peer]);
        assert!(places.contains(&4_567) && places.len() <= 101, "{}", places.len());
        assert!(looks <= 110, "{looks} looks");
        assert!(found(&book, &hasher, ["192.0.2.0/24", "198.51.100.0/24"]).0.is_empty());
        assert_eq!(found(&book, &hasher, ["0.0.0.0/0", "0.0.0.0/0"]).0.len(), THOUSANDS as usize);
        (0..).zip(&all).for_each(|(place, _)| book.remove(place, &hasher));
        assert!(book.connections.is_empty() && book.together.is_empty());
        assert!(book.traffic.iter().all(BTreeSet::is_empty));
    }
}

#[test]
fn selectors_that_are_repeated_or_lie_in_each_other_cost_no_look_more() {
    let hasher = RandomState::new();
    // Each has a prefix of its own on both sides, or one that holds all that is asked for.
    for wide in [false, true] {
        let nets = |n: u32| if wide { "10.0.0.0/8".to_owned() } else { format!("10.0.{}.{}/32", n / 256, n % 256) };
        let all: Vec<_> = (0..1_000).map(|n| connection("key", [&nets(n), &nets(n)])).collect();
        let book = book(&all, &hasher);
        let repeated = "10.0.0.0/16 ".repeat(255);
        let nested = (8..32).map(|length| format!("10.0.0.0/{length} ")).collect::<String>().repeat(10);
        let apart = (0..255).map(|n| format!("10.0.0.{n}/32 ")).collect::<String>();
        for asked in [repeated, nested, apart] {
            let (places, looks) = found(&book, &hasher, [&asked, &asked]);
            assert!(!places.is_empty() && looks <= 1_010, "{} of {looks} looks", places.len());
        }
    }
}

#[test]
fn all_that_have_traffic_in_common_are_found() {
    let hasher = RandomState::new();
    let nets = [
        "10.1.0.0/16",
        "10.1.2.0/24",
        "10.1.2.3/32 10.1.2.4/32",
        "10.2.0.0/16 10.3.0.0/16 10.3.1.0/24",
        "0.0.0.0/0",
        "fd00::/64",
        "::/0",
    ];
    let all: Vec<_> = nets.iter().flat_map(|ours| nets.map(|theirs| connection("key", [*ours, theirs]))).collect();
    let book = book(&all, &hasher);
    for ours in nets {
        for theirs in nets {
            let (places, _) = found(&book, &hasher, [ours, theirs]);
            let common = |one: &[TrafficSelector], asked: &str| {
                let asked = selectors(asked);
                one.iter().any(|one| asked.iter().any(|asked| one.intersect(asked).is_some()))
            };
            for (place, one) in (0..).zip(&all) {
                let child = &one.children[0];
                let fits = common(&child.local_selectors, ours) && common(&child.peer_selectors, theirs);
                assert!(!fits || places.contains(&place), "{ours} and {theirs}: {}", one.name);
            }
        }
    }
}

#[test]
fn ranges_that_are_no_prefixes_are_found_by_what_lies_in_them() {
    let hasher = RandomState::new();
    let mut odd = Connection::clone(&connection("key", ["10.1.0.0/16", "10.9.0.0/24"]));
    odd.children[0].peer_selectors[0].start = [10, 2, 0, 7].into();
    odd.children[0].peer_selectors[0].end = [10, 2, 3, 9].into();
    let book = book(&[Arc::new(odd)], &hasher);
    for asked in ["10.2.0.7/32", "10.2.3.9/32", "10.2.2.0/24", "10.2.0.0/15"] {
        assert_eq!(found(&book, &hasher, ["10.1.7.0/24", asked]).0, [0], "{asked}");
    }
    assert!(found(&book, &hasher, ["10.1.7.0/24", "10.3.0.0/24"]).0.is_empty());
}

#[test]
fn those_with_another_key_are_not_alike() {
    let hasher = RandomState::new();
    let nets = ["10.1.0.0/16", "10.2.0.0/16"];
    let all = ["key", "other", "key"].map(|key| connection(key, nets));
    let book = book(&all, &hasher);
    let expecting = book.expecting(&"site.example".parse().expect("an identity"), &hasher);
    assert_eq!(expecting.iter().map(|alike| alike.place).collect::<Vec<_>>(), [0, 1]);
    let (local, peer) = (selectors(nets[0]), selectors(nets[1]));
    let traffic = |alike: &Alike<'_>| {
        alike.with_traffic(&Prefixes::of([&local, &peer])).map(|(place, _)| place).collect::<Vec<_>>()
    };
    assert_eq!(expecting.iter().map(traffic).collect::<Vec<_>>(), [vec![0, 2], vec![1]]);
    let siblings = book.siblings(&all[1], &hasher);
    assert_eq!(siblings.map(|alike| alike.place).collect::<Vec<_>>(), [1]);
    assert!(book.expecting(&"other.example".parse().expect("an identity"), &hasher).is_empty());
}
