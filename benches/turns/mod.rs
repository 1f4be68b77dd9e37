//! Comparing two ways in turns so short that both meet the same noise: the ratio holds on a busy machine too.

use std::hint::black_box;
use std::time::Instant;

/// Packets of a turn.
pub const BATCH: usize = 32;
/// Turns of each way.
pub const TURNS: usize = 5000;

/// Seconds that one turn over the packets of a slab takes, each `len` bytes long.
pub fn time(slab: &mut [u8], len: usize, mut handle: impl FnMut(&mut [u8])) -> f64 {
    let start = Instant::now();
    slab.chunks_mut(len).for_each(|packet| handle(black_box(packet)));
    start.elapsed().as_secs_f64()
}

/// The one in the middle; half of the values are not larger.
pub fn median(mut values: Vec<f64>) -> f64 {
    values.sort_by(f64::total_cmp);
    values[values.len() / 2]
}
