//! The entry points of fuzzing on stable Rust: every kept seed, and mutations of the seeds under fixed seeds.

#[path = "../fuzz/src/lib.rs"]
mod entry_points;

use std::panic::catch_unwind;
use std::path::Path;

use ipsec_gateway::crypto::fake::SeededEntropy;

/// Mutations of each seed.
const ROUNDS: u64 = 2000;

/// Bytes of the longest input.
const LONGEST: usize = 4096;

fn seeds(name: &str) -> Vec<Vec<u8>> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("fuzz/seeds").join(name);
    let entries = std::fs::read_dir(&folder).unwrap_or_else(|error| panic!("{}: {error}", folder.display()));
    let mut paths: Vec<_> = entries.map(|entry| entry.expect("a directory entry").path()).collect();
    paths.sort();
    assert!(!paths.is_empty(), "{} holds no seed", folder.display());
    paths.into_iter().map(|path| std::fs::read(path).expect("a readable seed")).collect()
}

/// Changes an input once: a bit, a byte, a boundary value, a cut, a copy of a piece, or a piece of another seed.
fn mutate(input: &mut Vec<u8>, others: &[Vec<u8>], entropy: &mut SeededEntropy) {
    let mut below = |bound: usize| (entropy.next_u64() % bound.max(1) as u64) as usize;
    let at = below(input.len());
    match below(8) {
        0 if !input.is_empty() => input[at] ^= 1 << below(8),
        1 if !input.is_empty() => input[at] = below(256) as u8,
        2 if !input.is_empty() => input[at] = [0, 1, 0x7f, 0x80, 0xfe, 0xff][below(6)],
        3 => input.truncate(at),
        4 => input.extend(vec![below(256) as u8; below(40)]),
        5 if !input.is_empty() => {
            let piece = input[at..(at + below(64)).min(input.len())].to_vec();
            let to = below(input.len());
            input.splice(to..to, piece);
        }
        6 if !input.is_empty() => drop(input.drain(at..(at + below(16)).min(input.len()))),
        _ => {
            let other = &others[below(others.len())];
            let from = below(other.len());
            let piece = other[from..(from + below(64)).min(other.len())].to_vec();
            input.splice(at..at, piece);
        }
    }
    input.truncate(LONGEST);
}

fn run(name: &str, entry_point: entry_points::EntryPoint, input: &[u8]) {
    assert!(catch_unwind(|| entry_point(input)).is_ok(), "{name} fails on {}", hex::encode(input));
}

#[test]
fn seeds_and_their_mutations() {
    for &(name, entry_point) in entry_points::ALL {
        let seeds = seeds(name);
        for (number, seed) in seeds.iter().enumerate() {
            run(name, entry_point, seed);
            let mut entropy = SeededEntropy::new(number as u64);
            for _ in 0..ROUNDS {
                let mut input = seed.clone();
                for _ in 0..1 + entropy.next_u64() % 4 {
                    mutate(&mut input, &seeds, &mut entropy);
                }
                run(name, entry_point, &input);
            }
        }
    }
}

#[test]
fn random_bytes() {
    for &(name, entry_point) in entry_points::ALL {
        let mut entropy = SeededEntropy::new(99);
        for len in 0..300 {
            let input: Vec<u8> = (0..len).map(|_| entropy.next_u64() as u8).collect();
            run(name, entry_point, &input);
        }
    }
}

/// Seeds that are refused at once would explore nothing.
#[test]
fn seeds_are_understood() {
    for &(name, entry_point) in entry_points::ALL {
        assert!(seeds(name).iter().any(|seed| entry_point(seed)), "{name} understands none of its seeds");
    }
}
