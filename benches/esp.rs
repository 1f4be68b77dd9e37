//! The cost of one ESP packet by suite and size, one layer at a time: ring's bare AEAD call, the suite's key, the SA.
//!
//! `cargo bench --bench esp`, two minutes. What `sa` takes beyond `key` is sequence number, replay window, trailer and
//! limits; what `key` takes beyond `bare` is the choice of the algorithm at run time.
//!
//! At the end come the ratios of `sa` to `bare`, measured in turns. `cargo bench --bench esp -- ratio` prints them alone.

mod turns;

use std::hint::black_box;
use std::time::{Duration, Instant};

use criterion::measurement::WallTime;
use criterion::{BenchmarkGroup, Criterion, Throughput, criterion_group};
use ipsec_gateway::crypto::fake::SeededEntropy;
use ipsec_gateway::crypto::{IvSource, OpeningKey, SealingKey, Suite, encryption, integ};
use ipsec_gateway::esp::{InboundSa, Limits, OutboundSa, Overhead};
use ring::aead::{AES_128_GCM, AES_256_GCM, Aad, CHACHA20_POLY1305, LessSafeKey, Nonce, UnboundKey};
use turns::{BATCH, TURNS, median, time};

/// Bytes of the inner packet.
const SIZES: &[usize] = &[64, 512, 1400, 9000];

const SPI: u32 = 0x1234_5678;
const HEADER_LEN: usize = 8;

/// Every suite without a weak part.
fn suites() -> Vec<Suite> {
    let integrities = || integ::TABLE.iter().copied().map(Some).chain([None]);
    let all =
        encryption::TABLE.iter().flat_map(|row| integrities().filter_map(move |integrity| Suite::new(row, integrity)));
    all.filter(|suite| !suite.is_weak()).collect()
}

/// The keys of a suite, the same for each layer.
struct Keys {
    suite: Suite,
    encryption: Vec<u8>,
    integrity: Vec<u8>,
}

impl Keys {
    fn new(suite: Suite) -> Self {
        Self { suite, encryption: vec![1; suite.encryption_key_len()], integrity: vec![2; suite.integrity_key_len()] }
    }

    /// ring's own key, for the AEADs.
    fn bare(&self) -> Option<LessSafeKey> {
        let algorithm = match self.suite.encryption.name {
            "aes128gcm16" => &AES_128_GCM,
            "aes256gcm16" => &AES_256_GCM,
            "chacha20poly1305" => &CHACHA20_POLY1305,
            _ => return None,
        };
        let key = UnboundKey::new(algorithm, &self.encryption[..self.suite.encryption.key_len]);
        Some(LessSafeKey::new(key.expect("a key of the right length")))
    }

    fn sealing(&self) -> SealingKey {
        SealingKey::new(self.suite, &self.encryption, &self.integrity).expect("keys of the right lengths")
    }

    fn opening(&self) -> OpeningKey {
        OpeningKey::new(self.suite, &self.encryption, &self.integrity).expect("keys of the right lengths")
    }

    fn outbound(&self) -> OutboundSa {
        let iv_source = IvSource::new(self.suite, &mut SeededEntropy::new(1));
        let (encryption, integrity) = (&self.encryption, &self.integrity);
        OutboundSa::new(SPI, self.suite, encryption, integrity, iv_source, true, Limits::UNLIMITED)
            .expect("keys of the right lengths")
    }

    fn inbound(&self) -> InboundSa {
        InboundSa::new(SPI, self.suite, &self.encryption, &self.integrity, true, 1024, Limits::UNLIMITED)
            .expect("keys of the right lengths")
    }
}

/// Header, IV, body and ICV of a sealed packet.
fn split(packet: &mut [u8], overhead: Overhead) -> (&mut [u8], &mut [u8], &mut [u8], &mut [u8]) {
    let (header, rest) = packet.split_at_mut(HEADER_LEN);
    let (iv, rest) = rest.split_at_mut(overhead.iv_len());
    let (body, icv) = rest.split_at_mut(rest.len() - overhead.icv_len());
    (header, iv, body, icv)
}

fn seal_bare(key: &LessSafeKey, packet: &mut [u8], overhead: Overhead) {
    let (header, _, body, icv) = split(packet, overhead);
    let tag = key.seal_in_place_separate_tag(Nonce::assume_unique_for_key([3; 12]), Aad::from(header), body);
    icv.copy_from_slice(tag.expect("a body of possible length").as_ref());
}

fn open_bare(key: &LessSafeKey, packet: &mut [u8], overhead: Overhead) {
    let (header, _, body, icv) = split(packet, overhead);
    let tag = (&*icv).try_into().expect("16 bytes");
    let nonce = Nonce::assume_unique_for_key([3; 12]);
    key.open_in_place_separate_tag(nonce, Aad::from(header), tag, body, 0..).expect("what was sealed");
}

fn seal_key(key: &SealingKey, packet: &mut [u8], overhead: Overhead) {
    let (header, iv, body, icv) = split(packet, overhead);
    key.seal(header, iv, body, &[], icv);
}

fn open_key(key: &OpeningKey, packet: &mut [u8], overhead: Overhead) {
    let (header, iv, body, icv) = split(packet, overhead);
    key.open(header, iv, body, &[], icv).expect("what was sealed");
}

fn seal(criterion: &mut Criterion) {
    for keys in suites().into_iter().map(Keys::new) {
        let overhead = Overhead::of(keys.suite);
        for &size in SIZES {
            let mut packet = vec![0; overhead.sealed_len(size)];
            let mut group = group(criterion, "seal", keys.suite, size);
            if let Some(key) = keys.bare() {
                group.bench_function("bare", |bencher| {
                    bencher.iter(|| seal_bare(&key, black_box(&mut packet), overhead));
                });
            }
            let key = keys.sealing();
            group.bench_function("key", |bencher| bencher.iter(|| seal_key(&key, black_box(&mut packet), overhead)));
            let mut sa = keys.outbound();
            group.bench_function("sa", |bencher| bencher.iter(|| sa.seal(black_box(&mut packet), size, 4)));
        }
    }
}

fn open(criterion: &mut Criterion) {
    for keys in suites().into_iter().map(Keys::new) {
        let overhead = Overhead::of(keys.suite);
        for &size in SIZES {
            let mut group = group(criterion, "open", keys.suite, size);
            let len = overhead.sealed_len(size);
            if let Some(key) = keys.bare() {
                let seal = |packet: &mut [u8]| seal_bare(&key, packet, overhead);
                bench_open(&mut group, "bare", len, seal, |packet| open_bare(&key, packet, overhead));
            }
            let (sealing, opening) = (keys.sealing(), keys.opening());
            let seal = |packet: &mut [u8]| seal_key(&sealing, packet, overhead);
            bench_open(&mut group, "key", len, seal, |packet| open_key(&opening, packet, overhead));
            let (mut outbound, mut inbound) = (keys.outbound(), keys.inbound());
            let seal = |packet: &mut [u8]| {
                outbound.seal(packet, size, 4).expect("sequence numbers left");
            };
            bench_open(&mut group, "sa", len, seal, |packet| {
                inbound.open(packet).expect("what was sealed");
            });
        }
    }
}

/// Measures `open` alone, over batches of fresh packets of `len` bytes: sealing them anew is not measured.
fn bench_open(
    group: &mut BenchmarkGroup<'_, WallTime>,
    layer: &str,
    len: usize,
    mut seal: impl FnMut(&mut [u8]),
    mut open: impl FnMut(&mut [u8]),
) {
    let mut slab = vec![0; len * BATCH];
    group.bench_function(layer, |bencher| {
        bencher.iter_custom(|iterations| {
            let mut total = Duration::ZERO;
            let mut left = usize::try_from(iterations).expect("as many as fit in memory");
            while left > 0 {
                let batch = left.min(BATCH);
                slab.chunks_mut(len).take(batch).for_each(&mut seal);
                let start = Instant::now();
                slab.chunks_mut(len).take(batch).for_each(|packet| open(black_box(packet)));
                total += start.elapsed();
                left -= batch;
            }
            total
        });
    });
}

fn group<'a>(criterion: &'a mut Criterion, direction: &str, suite: Suite, size: usize) -> BenchmarkGroup<'a, WallTime> {
    let mut group = criterion.benchmark_group(format!("{direction}/{}/{size}", suite.name()));
    group.throughput(Throughput::Bytes(size as u64));
    group
}

criterion_group! {
    name = benches;
    config = Criterion::default()
        .warm_up_time(Duration::from_millis(100))
        .measurement_time(Duration::from_millis(400))
        .sample_size(10);
    targets = seal, open
}

fn main() {
    benches();
    Criterion::default().configure_from_args().final_summary();
    print_ratios();
}

fn print_ratios() {
    println!("time of an SA's seal and open relative to the bare AEAD call, median of {TURNS} turns");
    println!("{:<20}{:>8}{:>8}{:>8}", "suite", "bytes", "seal", "open");
    for keys in suites().into_iter().map(Keys::new) {
        let Some(bare) = keys.bare() else { continue };
        for &size in SIZES {
            let overhead = Overhead::of(keys.suite);
            let len = overhead.sealed_len(size);
            let mut slab = vec![0; len * BATCH];
            let (mut outbound, mut inbound) = (keys.outbound(), keys.inbound());
            let mut ratios = [Vec::new(), Vec::new()];
            for _ in 0..TURNS {
                let sealing_bare = time(&mut slab, len, |packet| seal_bare(&bare, packet, overhead));
                let opening_bare = time(&mut slab, len, |packet| open_bare(&bare, packet, overhead));
                let sealing = time(&mut slab, len, |packet| {
                    outbound.seal(packet, size, 4).expect("sequence numbers left");
                });
                let opening = time(&mut slab, len, |packet| {
                    inbound.open(packet).expect("what was sealed");
                });
                ratios[0].push(sealing / sealing_bare);
                ratios[1].push(opening / opening_bare);
            }
            let [seal, open] = ratios.map(median);
            println!("{:<20}{size:>8}{seal:>8.3}{open:>8.3}", keys.suite.name());
        }
    }
}
