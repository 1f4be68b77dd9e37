//! What is looked up for a packet: the replay window, the SA, the route.
//!
//! `cargo bench --bench lookup`, a minute.

use std::collections::HashSet;
use std::hint::black_box;
use std::net::{IpAddr, Ipv4Addr};
use std::sync::Arc;
use std::time::{Duration, Instant};

use criterion::{BenchmarkId, Criterion, criterion_group, criterion_main};
use ipnet::{IpNet, Ipv4Net};
use ipsec_gateway::crypto::fake::SeededEntropy;
use ipsec_gateway::crypto::{IvSource, Secret, Suite, encryption};
use ipsec_gateway::dataplane::facts::SaFacts;
use ipsec_gateway::dataplane::fib::{ConnectionId, Fib, PolicyEntry};
use ipsec_gateway::dataplane::outer_header::{DfPolicy, Encapsulation, OuterPath};
use ipsec_gateway::dataplane::parameters::{EspKeys, InboundSaParameters, OutboundSaParameters, Tunnel};
use ipsec_gateway::dataplane::policy::{Selector, SelectorPair};
use ipsec_gateway::dataplane::sadb::{InboundSadb, OutboundSadb};
use ipsec_gateway::esp::Limits;
use ipsec_gateway::esp::replay::ReplayWindow;
use ipsec_gateway::wire::ip::{self, protocol};
use ipsec_gateway::wire::ip::{Flow, IpHeader};
use rand::{Rng, SeedableRng};
use rand_chacha::ChaCha8Rng;

const SAS: &[u32] = &[1, 1_000, 100_000];
/// Associations of one connection.
const ASSOCIATIONS: &[u32] = &[1, 2, 4, 8, 16, 1_000, 10_000];
const ROUTES: &[usize] = &[100, 10_000, 500_000];
/// Lookups that are repeated in turn; a power of two.
const LOOKUPS: usize = 4096;

fn replay(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("replay");
    for packets in [64, 1024, 65_536] {
        let mut window = ReplayWindow::new(packets);
        let mut sequence = 0;
        group.bench_function(BenchmarkId::new("in_order", packets), |bencher| {
            bencher.iter(|| {
                sequence += 1;
                let fresh = window.check(black_box(sequence)).expect("a new sequence number");
                window.accept(fresh)
            });
        });
        // Of every eight the order is turned round.
        group.bench_function(BenchmarkId::new("reordered", packets), |bencher| {
            bencher.iter(|| {
                sequence += 1;
                let fresh = window.check(black_box(sequence ^ 7)).map(|fresh| window.accept(fresh));
                fresh.is_ok()
            });
        });
        group.bench_function(BenchmarkId::new("replayed", packets), |bencher| {
            bencher.iter(|| window.check(black_box(window.highest())).is_err());
        });
    }
}

/// The network of the `n`th connection.
fn network(n: u32) -> Ipv4Net {
    Ipv4Net::new(Ipv4Addr::from(0x0a00_0000 + (n << 4)), 28).expect("a length of IPv4")
}

/// A flow into the network of the `n`th connection.
fn flow(n: u32) -> Flow {
    let header = ip::ipv4_header([192, 0, 2, 1].into(), network(n).addr(), protocol::ICMP, 28);
    IpHeader::parse(&[&header[..], &[0; 8]].concat()).expect("a header just built").flow
}

struct Parameters {
    suite: Suite,
    facts: Arc<SaFacts>,
}

impl Parameters {
    fn new() -> Self {
        let suite = Suite::new(&encryption::AES128_GCM_16, None).expect("an AEAD stands alone");
        Self { suite, facts: Arc::new(SaFacts::new(Instant::now())) }
    }

    fn keys(&self) -> EspKeys {
        let encryption = Secret::new(vec![1; self.suite.encryption_key_len()]);
        EspKeys { encryption, integrity: Secret::new(Vec::new()) }
    }

    fn tunnel(&self) -> Tunnel {
        let [local, peer] = ["192.0.2.1:4500", "192.0.2.2:4500"].map(|address| address.parse().expect("an address"));
        Tunnel { encapsulation: Encapsulation::Udp, path: OuterPath { local, peer }, outer_mtu: 1500 }
    }

    fn selectors(&self, n: u32) -> Arc<SelectorPair> {
        let local = Selector::prefix("0.0.0.0/0".parse().expect("a prefix"));
        Arc::new(SelectorPair { local: [local].into(), peer: [Selector::prefix(network(n).into())].into() })
    }

    fn inbound(&self, n: u32, spi: u32) -> InboundSaParameters {
        InboundSaParameters {
            spi,
            connection: ConnectionId(n),
            suite: self.suite,
            keys: self.keys(),
            extended_sequence: true,
            replay_window: 1024,
            selectors: self.selectors(n),
            tunnel: self.tunnel(),
            limits: Limits::UNLIMITED,
            facts: Arc::clone(&self.facts),
        }
    }

    /// To the `n`th network.
    fn outbound(&self, connection: ConnectionId, n: u32, spi: u32) -> OutboundSaParameters {
        OutboundSaParameters {
            inbound_spi: spi,
            spi,
            connection,
            child: 0,
            suite: self.suite,
            keys: self.keys(),
            iv_source: IvSource::new(self.suite, &mut SeededEntropy::new(1)),
            extended_sequence: true,
            selectors: self.selectors(n),
            tunnel: self.tunnel(),
            df: DfPolicy::Copy,
            limits: Limits::UNLIMITED,
            facts: Arc::clone(&self.facts),
        }
    }
}

/// One SA again and again, and another one each time.
fn sa(criterion: &mut Criterion) {
    let parameters = Parameters::new();
    let mut group = criterion.benchmark_group("sa");
    for &count in SAS {
        let mut random = ChaCha8Rng::seed_from_u64(1);
        let (mut inbound, mut outbound) = (InboundSadb::default(), OutboundSadb::default());
        // Of a hundred thousand random ones two may be the same.
        let mut known = HashSet::new();
        let spis: Vec<u32> = std::iter::repeat_with(|| random.random_range(256..u32::MAX))
            .filter(|spi| known.insert(*spi))
            .take(count as usize)
            .collect();
        for (n, &spi) in (0..).zip(&spis) {
            inbound.install(parameters.inbound(n, spi)).expect("keys of the right length");
            outbound.install(parameters.outbound(ConnectionId(n), n, spi)).expect("keys of the right length");
        }
        let picks: Vec<u32> = std::iter::repeat_with(|| random.random_range(0..count)).take(LOOKUPS).collect();
        let mut turn = (0..LOOKUPS).cycle();
        let mut next = || picks[turn.next().expect("an endless sequence")];
        group.bench_function(BenchmarkId::new("inbound_same", count), |bencher| {
            bencher.iter(|| inbound.find(black_box(spis[0])).expect("an SA"));
        });
        group.bench_function(BenchmarkId::new("inbound_any", count), |bencher| {
            bencher.iter(|| inbound.find(black_box(spis[next() as usize])).expect("an SA"));
        });
        group.bench_function(BenchmarkId::new("outbound_any", count), |bencher| {
            let flows: Vec<_> = picks.iter().map(|n| (ConnectionId(*n), flow(*n))).collect();
            let mut flows = flows.iter().cycle();
            bencher.iter(|| {
                let (connection, flow) = flows.next().expect("an endless sequence");
                outbound.select(*connection, black_box(flow)).expect("an SA")
            });
        });
    }
}

/// One connection with many peers, each with a network of its own: the SA of a flow into any of them, and of a flow into
/// none.
fn association(criterion: &mut Criterion) {
    let parameters = Parameters::new();
    let connection = ConnectionId(0);
    let mut group = criterion.benchmark_group("association");
    for &count in ASSOCIATIONS {
        let mut outbound = OutboundSadb::default();
        for n in 0..count {
            outbound.install(parameters.outbound(connection, n, 256 + n)).expect("keys of the right length");
        }
        let mut random = ChaCha8Rng::seed_from_u64(3);
        let flows: Vec<_> = std::iter::repeat_with(|| flow(random.random_range(0..count))).take(LOOKUPS).collect();
        let mut flows = flows.iter().cycle();
        group.bench_function(BenchmarkId::new("any", count), |bencher| {
            bencher.iter(|| outbound.select(connection, black_box(flows.next().expect("an endless sequence"))));
        });
        let elsewhere = flow(count);
        group.bench_function(BenchmarkId::new("none", count), |bencher| {
            bencher.iter(|| outbound.select(connection, black_box(&elsewhere)));
        });
        // A rekey: the new SA comes, the old one goes.
        let mut spi = u32::MAX;
        group.bench_function(BenchmarkId::new("rekey", count), |bencher| {
            bencher.iter_batched(
                || {
                    spi -= 1;
                    (parameters.outbound(connection, 0, spi), spi)
                },
                |(sa, spi)| {
                    outbound.install(sa).expect("an SPI that is free");
                    outbound.remove(spi);
                },
                criterion::BatchSize::SmallInput,
            );
        });
    }
}

/// Prefixes of /8 to /28 all over, with a default route.
fn route(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("route");
    for &count in ROUTES {
        let mut random = ChaCha8Rng::seed_from_u64(2);
        let prefixes = std::iter::repeat_with(|| {
            Ipv4Net::new(Ipv4Addr::from(random.random::<u32>()), random.random_range(8..=28)).expect("a length of IPv4")
        });
        let default = Ipv4Net::default();
        let routes: Vec<_> = prefixes
            .take(count - 1)
            .chain([default])
            .map(|prefix| (IpNet::V4(prefix), vec![ConnectionId(1)]))
            .collect();
        let destinations: Vec<IpNet> = routes.iter().map(|(prefix, _)| *prefix).collect();
        let mut fib = Fib::new(routes);
        let source = IpAddr::from(Ipv4Addr::new(192, 0, 2, 1));
        let addresses: Vec<IpAddr> =
            std::iter::repeat_with(|| Ipv4Addr::from(random.random::<u32>()).into()).take(LOOKUPS).collect();
        let mut addresses = addresses.into_iter().cycle();
        group.bench_function(BenchmarkId::from_parameter(count), |bencher| {
            bencher.iter(|| fib.connections(source, black_box(addresses.next().expect("an endless sequence"))).len());
        });
        // One policy for each hundredth of the destinations, none of which is the source's.
        let other: IpNet = "203.0.113.0/24".parse().expect("a prefix");
        for prefix in destinations.iter().step_by(100) {
            let connections = [ConnectionId(2)].into();
            fib.set_policies(*prefix, vec![PolicyEntry { priority: 10, source: other, connections }]);
        }
        group.bench_function(BenchmarkId::new("beside_policies", count), |bencher| {
            bencher.iter(|| fib.connections(source, black_box(addresses.next().expect("an endless sequence"))).len());
        });
    }
}

criterion_group! {
    name = benches;
    config = Criterion::default()
        .warm_up_time(Duration::from_millis(200))
        .measurement_time(Duration::from_millis(500))
        .sample_size(10);
    targets = replay, sa, association, route
}
criterion_main!(benches);
