use super::*;
use crate::crypto::fake::SeededEntropy;
use crate::crypto::{IvSource, Secret, Suite, encryption};
use crate::dataplane::parameters::EspKeys;
use crate::dataplane::policy::Selector;
use crate::esp::Limits;
use crate::wire::ip::Ports;
use proptest::collection::vec;
use proptest::prelude::*;
use std::net::{Ipv4Addr, Ipv6Addr};

fn suite() -> Suite {
    Suite::new(&encryption::AES128_GCM_16, None).unwrap()
}

fn tunnel() -> Tunnel {
    let path = OuterPath { local: "192.0.2.1:4500".parse().unwrap(), peer: "192.0.2.2:4500".parse().unwrap() };
    Tunnel { encapsulation: Encapsulation::Udp, path, outer_mtu: 1500 }
}

fn keys() -> EspKeys {
    EspKeys { encryption: Secret::new(vec![7; 20]), integrity: Secret::new(Vec::new()) }
}

fn selectors(peer: &str) -> Arc<SelectorPair> {
    let any = Selector::prefix("0.0.0.0/0".parse().unwrap());
    Arc::new(SelectorPair { local: vec![any], peer: vec![Selector::prefix(peer.parse().unwrap())] })
}

fn outbound(inbound_spi: u32, connection: u32, child: u32) -> OutboundSaParameters {
    OutboundSaParameters {
        inbound_spi,
        spi: inbound_spi ^ 0xffff,
        connection: ConnectionId(connection),
        child,
        suite: suite(),
        keys: keys(),
        iv_source: IvSource::new(suite(), &mut SeededEntropy::new(1)),
        extended_sequence: true,
        selectors: selectors("10.0.0.0/8"),
        tunnel: tunnel(),
        df: DfPolicy::Copy,
        limits: Limits::UNLIMITED,
        facts: Arc::new(SaFacts::new(Instant::now())),
    }
}

fn inbound(spi: u32) -> InboundSaParameters {
    InboundSaParameters {
        spi,
        connection: ConnectionId(0),
        suite: suite(),
        keys: keys(),
        extended_sequence: true,
        replay_window: 1024,
        selectors: selectors("10.0.0.0/8"),
        tunnel: tunnel(),
        limits: Limits::UNLIMITED,
        facts: Arc::new(SaFacts::new(Instant::now())),
    }
}

/// The inbound SPI of the SA that a connection sends on.
fn chosen(sadb: &mut OutboundSadb, connection: u32) -> Option<u32> {
    let (source, destination) = ("192.168.0.1".parse().unwrap(), "10.1.1.1".parse().unwrap());
    let flow = Flow { source, destination, protocol: 17, ports: Ports::Opaque };
    let place = sadb.select(ConnectionId(connection), &flow)?;
    Some(sadb.entry(place).sa.spi() ^ 0xffff)
}

#[test]
fn a_paths_mtu_is_that_of_the_sas_with_its_peer_wherever_they_have_been() {
    let (mut out, mut into) = (OutboundSadb::default(), InboundSadb::default());
    for spi in 1..=300 {
        out.install(outbound(spi, spi, 0)).unwrap();
        into.install(inbound(spi)).unwrap();
        let peer = SocketAddr::from(([10, 9, (spi / 256) as u8, (spi % 256) as u8], 4500));
        let path = OuterPath { peer, ..tunnel().path };
        if spi != 7 {
            out.set_path(spi, path, Encapsulation::Udp);
            into.set_path(spi, path, Encapsulation::Udp);
        }
    }
    for spi in [100, 200] {
        let path = OuterPath { peer: "192.0.2.2:999".parse().unwrap(), ..tunnel().path };
        out.set_path(spi, path, Encapsulation::Udp);
        into.set_path(spi, path, Encapsulation::Udp);
    }
    out.remove(200);
    into.remove(200);
    let peer = tunnel().path.peer.ip();
    assert_eq!((out.by_peer.places(peer).count(), into.by_peer.places(peer).count()), (2, 2), "what is looked at");
    out.set_path_mtu(peer, 1300);
    into.set_path_mtu(peer, 1300);
    for spi in (1..=300).filter(|spi| *spi != 200) {
        let mtu = if [7, 100].contains(&spi) { 1300 } else { 1500 };
        assert_eq!(out.by_spi(spi).unwrap().1.tunnel.outer_mtu, mtu, "{spi}");
        let place = into.find(spi).unwrap();
        assert_eq!(into.entries.get_mut(place).unwrap().tunnel.outer_mtu, mtu, "{spi}");
    }
    (1..=300).for_each(|spi| {
        out.remove(spi);
        into.remove(spi);
    });
    assert!(out.by_peer.0.is_empty() && into.by_peer.0.is_empty());
}

#[test]
fn the_lower_child_carries_a_packet_and_of_equal_ones_the_newest_sa() {
    let mut sadb = OutboundSadb::default();
    assert_eq!((chosen(&mut sadb, 3), sadb.is_up(ConnectionId(3))), (None, false));
    sadb.install(outbound(300, 3, 1)).unwrap();
    sadb.install(outbound(301, 3, 0)).unwrap();
    sadb.install(outbound(302, 3, 0)).unwrap();
    sadb.install(outbound(303, 3, 1)).unwrap();
    assert_eq!(chosen(&mut sadb, 3), Some(302));
    sadb.remove(302);
    assert_eq!(chosen(&mut sadb, 3), Some(301));
    sadb.remove(301);
    assert_eq!(chosen(&mut sadb, 3), Some(303));
    // A place that is used again belongs to the newest all the same.
    sadb.install(outbound(304, 3, 1)).unwrap();
    assert_eq!(chosen(&mut sadb, 3), Some(304));
    assert_eq!(chosen(&mut sadb, 2), None);
}

#[test]
fn who_asks_for_everything_does_not_get_what_another_has_asked_for() {
    for elder_is_narrow in [true, false] {
        for others in [0, 20] {
            let mut sadb = OutboundSadb::default();
            for n in 0..others {
                let selectors = selectors(&format!("10.9.{n}.0/24"));
                sadb.install(OutboundSaParameters { selectors, ..outbound(500 + n, 3, 0) }).unwrap();
            }
            let nets = if elder_is_narrow { ["10.1.1.0/24", "0.0.0.0/0"] } else { ["0.0.0.0/0", "10.1.1.0/24"] };
            for (spi, net) in (300..).zip(nets) {
                sadb.install(OutboundSaParameters { selectors: selectors(net), ..outbound(spi, 3, 0) }).unwrap();
            }
            let (narrow, wide) = if elder_is_narrow { (300, 301) } else { (301, 300) };
            assert_eq!(chosen(&mut sadb, 3), Some(narrow), "{others} others");
            sadb.remove(narrow);
            assert_eq!(chosen(&mut sadb, 3), Some(wide), "{others} others");
        }
    }
}

#[test]
fn an_sa_whose_path_is_silent_carries_only_what_no_other_one_covers() {
    for others in [0, 20] {
        let mut sadb = OutboundSadb::default();
        for n in 0..others {
            let selectors = selectors(&format!("10.9.{n}.0/24"));
            sadb.install(OutboundSaParameters { selectors, ..outbound(500 + n, 3, 0) }).unwrap();
        }
        sadb.install(outbound(300, 3, 1)).unwrap();
        let narrow = OutboundSaParameters { selectors: selectors("10.1.1.0/24"), ..outbound(301, 3, 0) };
        sadb.install(narrow).unwrap();
        assert_eq!(chosen(&mut sadb, 3), Some(301));
        sadb.set_silent(301, true);
        assert_eq!(chosen(&mut sadb, 3), Some(300), "a lower child, and narrower, but silent");
        sadb.set_silent(300, true);
        assert_eq!((chosen(&mut sadb, 3), sadb.is_up(ConnectionId(3))), (Some(301), true), "there is nothing else");
        sadb.set_silent(300, false);
        sadb.remove(300);
        assert_eq!(chosen(&mut sadb, 3), Some(301));
        sadb.set_silent(301, false);
        sadb.remove(301);
        assert_eq!(chosen(&mut sadb, 3), None);
    }
}

#[test]
fn a_new_sa_is_used_from_its_installation_on_and_one_that_is_gone_no_more() {
    let mut sadb = OutboundSadb::default();
    sadb.install(outbound(1000, 0, 0)).unwrap();
    assert_eq!(chosen(&mut sadb, 0), Some(1000));
    sadb.install(outbound(1001, 0, 0)).unwrap();
    assert_eq!(chosen(&mut sadb, 0), Some(1001));
    sadb.remove(1000);
    sadb.remove(1000);
    assert_eq!(chosen(&mut sadb, 0), Some(1001));
    sadb.remove(1001);
    assert_eq!((chosen(&mut sadb, 0), sadb.is_up(ConnectionId(0))), (None, false));
}

/// One of a thousand neighbours, of either family.
fn neighbour(is_ipv4: bool, n: u16) -> IpAddr {
    if is_ipv4 {
        Ipv4Addr::from_bits(0x0a00_0000 + u32::from(n)).into()
    } else {
        Ipv6Addr::from_bits((0xfd00 << 112) + u128::from(n)).into()
    }
}

fn protocols() -> impl Strategy<Value = u8> {
    prop::sample::select(vec![6, 17])
}

fn any_selector() -> impl Strategy<Value = Selector> {
    let addresses = prop_oneof![
        (0..1024_u16, 0..1024_u16).prop_map(|(one, other)| (one.min(other), one.max(other))),
        (0..1024_u16, 0..10_u32).prop_map(|(n, bits)| (n >> bits << bits, n | ((1_u16 << bits) - 1))),
    ];
    #[expect(clippy::reversed_empty_ranges, reason = "RFC 7296 writes OPAQUE as 65535 to 0")]
    let ports = prop_oneof![3 => Just(Selector::ANY_PORT), 1 => Just(0..=2), 1 => Just(65535..=0)];
    let everything = any::<bool>().prop_map(|is_ipv4| {
        let all = if is_ipv4 { "0.0.0.0/0" } else { "::/0" };
        Selector::prefix(all.parse().unwrap())
    });
    let some = (any::<bool>(), addresses, prop::option::of(protocols()), ports).prop_map(
        |(is_ipv4, (first, last), protocol, ports)| {
            Selector::new(neighbour(is_ipv4, first)..=neighbour(is_ipv4, last), protocol, ports).unwrap()
        },
    );
    prop_oneof![1 => everything, 4 => some]
}

fn any_selectors() -> impl Strategy<Value = SelectorPair> {
    (vec(any_selector(), 1..4), vec(any_selector(), 1..4)).prop_map(|(local, peer)| SelectorPair { local, peer })
}

fn any_flow() -> impl Strategy<Value = Flow> {
    let ports = (0..4_u16, 0..4_u16).prop_map(|(source, destination)| Ports::Known { source, destination });
    let ports = prop_oneof![Just(Ports::Opaque), ports];
    (any::<bool>(), 0..1024_u16, 0..1024_u16, protocols(), ports).prop_map(|(is_ipv4, from, to, protocol, ports)| {
        let (source, destination) = (neighbour(is_ipv4, from), neighbour(is_ipv4, to));
        Flow { source, destination, protocol, ports }
    })
}

#[derive(Debug, Clone)]
enum Change {
    Install { connection: u32, child: u32, selectors: SelectorPair },
    Remove(prop::sample::Index),
}

fn any_change() -> impl Strategy<Value = Change> {
    let install = (0..2_u32, 0..3_u32, any_selectors()).prop_map(|(connection, child, selectors)| Change::Install {
        connection,
        child,
        selectors,
    });
    prop_oneof![3 => install, 1 => any::<prop::sample::Index>().prop_map(Change::Remove)]
}

/// An SA that is installed, the eldest first.
struct Installed {
    spi: u32,
    connection: u32,
    child: u32,
    selectors: Arc<SelectorPair>,
}

/// The length of the host part of the shortest prefix that has as many addresses.
fn narrowness(selector: &Selector) -> usize {
    let bits = |address: &IpAddr| match address {
        IpAddr::V4(address) => u128::from(address.to_bits()),
        IpAddr::V6(address) => address.to_bits(),
    };
    let more_than_one = bits(selector.addresses().end()) - bits(selector.addresses().start());
    (0..128).filter(|bit| more_than_one >> bit > 0).count()
}

/// What the selection has to find: looked for one by one.
fn looked_for(installed: &[Installed], connection: u32, flow: &Flow) -> Option<u32> {
    let of_connection = installed.iter().rev().filter(|sa| sa.connection == connection);
    let by_selector = of_connection.flat_map(|sa| sa.selectors.peer.iter().map(move |peer| (sa, peer)));
    let covering = by_selector.filter(|(sa, peer)| {
        let peer = vec![(*peer).clone()];
        SelectorPair { local: sa.selectors.local.clone(), peer }.covers_outbound(flow)
    });
    covering.min_by_key(|(sa, peer)| (sa.child, narrowness(peer))).map(|(sa, _)| sa.spi)
}

fn assert_same(sadb: &mut OutboundSadb, installed: &[Installed], flows: &[Flow]) {
    for connection in 0..2 {
        assert_eq!(sadb.is_up(ConnectionId(connection)), installed.iter().any(|sa| sa.connection == connection));
        for flow in flows {
            let found = sadb.select(ConnectionId(connection), flow);
            let found = found.map(|place| sadb.entry(place).sa.spi() ^ 0xffff);
            assert_eq!(found, looked_for(installed, connection, flow), "{flow:?} of {}", installed.len());
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(128))]

    #[test]
    fn the_sa_that_is_found_is_the_one_that_a_search_through_all_finds(
        changes in vec(any_change(), 1..80),
        flows in vec(any_flow(), 16),
    ) {
        let mut sadb = OutboundSadb::default();
        let mut installed: Vec<Installed> = Vec::new();
        for (spi, change) in (256..).zip(changes) {
            match change {
                Change::Install { connection, child, selectors } => {
                    let selectors = Arc::new(selectors);
                    let parameters = outbound(spi, connection, child);
                    sadb.install(OutboundSaParameters { selectors: Arc::clone(&selectors), ..parameters }).unwrap();
                    installed.push(Installed { spi, connection, child, selectors });
                }
                Change::Remove(_) if installed.is_empty() => {}
                Change::Remove(index) => sadb.remove(installed.remove(index.index(installed.len())).spi),
            }
            assert_same(&mut sadb, &installed, &flows);
        }
        while !installed.is_empty() {
            sadb.remove(installed.remove(installed.len() / 2).spi);
            assert_same(&mut sadb, &installed, &flows);
        }
    }
}

#[test]
fn thousands_of_sas_are_found_and_their_facts_stay_with_them() {
    let (now, source) = (Instant::now(), "192.0.2.2:4500".parse().unwrap());
    let mut sadb = InboundSadb::default();
    let spi = |n: u32| 256 + n.wrapping_mul(0x0101_0101) % 0xffff_f000;
    let facts: Vec<Arc<SaFacts>> = (0..5000)
        .map(|n| {
            let parameters = inbound(spi(n));
            let facts = Arc::clone(&parameters.facts);
            sadb.install(parameters).unwrap();
            facts
        })
        .collect();
    (0..5000).filter(|n| n % 3 == 0).for_each(|n| sadb.remove(spi(n)));
    for n in 0..5000 {
        let found = sadb.find(spi(n));
        assert_eq!((found.is_some(), sadb.find(spi(n))), (n % 3 != 0, found), "{n}");
        if let Some(place) = found.filter(|_| n % 2 == 0) {
            sadb.touch(place, true, source);
        }
    }
    // One that is removed between a packet and the report takes its facts along.
    sadb.remove(spi(4));
    sadb.publish(now);
    for (n, facts) in facts.iter().enumerate() {
        assert_eq!(facts.read().last_used.is_some(), n % 2 == 0 && n % 3 != 0 && n != 4, "{n}");
    }
    assert!(!sadb.publish(now), "nothing is reported twice");
}

#[test]
fn an_idle_pair_of_sas_takes_less_than_four_kibibytes() {
    let pair = size_of::<OutboundEntry>() + size_of::<InboundEntry>() + 2 * size_of::<SaFacts>();
    assert!(pair < 4096, "{pair} bytes");
}
