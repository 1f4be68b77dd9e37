//! The bare AEAD call of ring, which the gateway uses, beside that of aws-lc-rs.
//!
//! `cargo bench --bench aead`, a minute. At the end come the times of aws-lc-rs relative to ring's, measured in turns;
//! `cargo bench --bench aead -- ratio` prints them alone.

mod turns;

use std::hint::black_box;
use std::time::Duration;

use criterion::{BatchSize, Criterion, Throughput, criterion_group};
use turns::{BATCH, TURNS, median, time};

/// Bytes of the packet.
const SIZES: &[usize] = &[64, 512, 1400, 9000];
/// SPI and sequence number, which are authenticated.
const HEADER: [u8; 8] = [1; 8];
const TAG_LEN: usize = 16;
const ALGORITHMS: &[&str] = &["aes128gcm", "aes256gcm", "chacha20poly1305"];

/// A key of one library. Packets have room for the tag at their end.
trait Key {
    fn seal(&self, packet: &mut [u8]);
    fn open(&self, packet: &mut [u8]);
}

/// The two libraries have the same interface.
macro_rules! library {
    ($library:ident) => {
        mod $library {
            use super::{HEADER, Key, TAG_LEN};
            use ::$library::aead::{AES_128_GCM, AES_256_GCM, Aad, CHACHA20_POLY1305, LessSafeKey, Nonce, UnboundKey};

            pub fn key(algorithm: &str) -> Box<dyn Key> {
                let algorithm = match algorithm {
                    "aes128gcm" => &AES_128_GCM,
                    "aes256gcm" => &AES_256_GCM,
                    _ => &CHACHA20_POLY1305,
                };
                let key = UnboundKey::new(algorithm, &vec![2; algorithm.key_len()]);
                Box::new(LessSafeKey::new(key.expect("a key of the right length")))
            }

            impl Key for LessSafeKey {
                fn seal(&self, packet: &mut [u8]) {
                    let (body, icv) = packet.split_at_mut(packet.len() - TAG_LEN);
                    let nonce = Nonce::assume_unique_for_key([3; 12]);
                    let tag = self.seal_in_place_separate_tag(nonce, Aad::from(HEADER), body);
                    icv.copy_from_slice(tag.expect("a possible length").as_ref());
                }

                fn open(&self, packet: &mut [u8]) {
                    let nonce = Nonce::assume_unique_for_key([3; 12]);
                    self.open_in_place(nonce, Aad::from(HEADER), packet).expect("what was sealed");
                }
            }
        }
    };
}
library!(aws_lc_rs);
library!(ring);

fn rows() -> impl Iterator<Item = (&'static str, usize)> {
    ALGORITHMS.iter().flat_map(|algorithm| SIZES.iter().map(|size| (*algorithm, *size)))
}

fn aead(criterion: &mut Criterion) {
    for (algorithm, size) in rows() {
        for (library, key) in [("ring", ring::key(algorithm)), ("aws-lc-rs", aws_lc_rs::key(algorithm))] {
            let mut packet = vec![0; size + TAG_LEN];
            let mut group = criterion.benchmark_group(format!("aead/{algorithm}/{size}"));
            group.throughput(Throughput::Bytes(size as u64));
            group.bench_function(format!("seal/{library}"), |bencher| {
                bencher.iter(|| key.seal(black_box(&mut packet)));
            });
            packet.fill(0);
            key.seal(&mut packet);
            group.bench_function(format!("open/{library}"), |bencher| {
                bencher.iter_batched_ref(|| packet.clone(), |packet| key.open(packet), BatchSize::NumIterations(32));
            });
        }
    }
}

fn print_ratios() {
    println!("time of aws-lc-rs relative to ring's, median of {TURNS} turns");
    println!("{:<20}{:>8}{:>8}{:>8}", "algorithm", "bytes", "seal", "open");
    for (algorithm, size) in rows() {
        let keys = [ring::key(algorithm), aws_lc_rs::key(algorithm)];
        let len = size + TAG_LEN;
        let mut slab = vec![0; len * BATCH];
        let mut ratios = [Vec::new(), Vec::new()];
        for _ in 0..TURNS {
            let [ours, theirs] = keys.each_ref().map(|key| {
                [time(&mut slab, len, |packet| key.seal(packet)), time(&mut slab, len, |packet| key.open(packet))]
            });
            ratios[0].push(theirs[0] / ours[0]);
            ratios[1].push(theirs[1] / ours[1]);
        }
        let [seal, open] = ratios.map(median);
        println!("{algorithm:<20}{size:>8}{seal:>8.3}{open:>8.3}");
    }
}

criterion_group! {
    name = benches;
    config = Criterion::default()
        .warm_up_time(Duration::from_millis(100))
        .measurement_time(Duration::from_millis(400))
        .sample_size(10);
    targets = aead
}

fn main() {
    benches();
    Criterion::default().configure_from_args().final_summary();
    print_ratios();
}
