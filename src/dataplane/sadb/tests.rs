use super::*;
use crate::crypto::fake::SeededEntropy;
use crate::crypto::{IvSource, Secret, Suite, encryption};
use crate::dataplane::parameters::EspKeys;
use crate::dataplane::policy::Selector;
use crate::esp::Limits;
use crate::wire::ip::Ports;

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

fn outbound(inbound_spi: u32, connection: u32, child: u32, replaces: Option<u32>) -> OutboundSaParameters {
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
        active: replaces.is_none(),
        replaces,
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
fn the_lower_child_carries_a_packet_and_of_one_child_the_newest_sa() {
    let mut sadb = OutboundSadb::default();
    assert_eq!((chosen(&mut sadb, 3), sadb.is_up(ConnectionId(3))), (None, false));
    sadb.install(outbound(300, 3, 1, None)).unwrap();
    sadb.install(outbound(301, 3, 0, None)).unwrap();
    sadb.install(outbound(302, 3, 0, None)).unwrap();
    sadb.install(outbound(303, 3, 1, None)).unwrap();
    assert_eq!(chosen(&mut sadb, 3), Some(302));
    sadb.remove(302);
    assert_eq!(chosen(&mut sadb, 3), Some(301));
    sadb.remove(301);
    assert_eq!(chosen(&mut sadb, 3), Some(303));
    // A place that is used again belongs to the newest all the same.
    sadb.install(outbound(304, 3, 1, None)).unwrap();
    assert_eq!(chosen(&mut sadb, 3), Some(304));
    assert_eq!(chosen(&mut sadb, 2), None);
}

#[test]
fn a_replacement_is_used_from_its_activation_on_and_the_old_one_no_more() {
    let mut sadb = OutboundSadb::default();
    sadb.install(outbound(1000, 0, 0, None)).unwrap();
    sadb.install(outbound(1001, 0, 0, Some(1000))).unwrap();
    assert_eq!(chosen(&mut sadb, 0), Some(1000));
    sadb.activate(1001);
    sadb.activate(1001);
    assert_eq!(chosen(&mut sadb, 0), Some(1001));
    sadb.remove(1001);
    assert_eq!((chosen(&mut sadb, 0), sadb.is_up(ConnectionId(0))), (None, false), "the old one stays unused");
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
