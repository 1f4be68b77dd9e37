//! A rate limit of its own for each host, in a table of fixed size.

use std::hash::{BuildHasher, RandomState};
use std::net::IpAddr;
use std::time::Instant;

/// Sets of the table, and hosts of each set: a host has its place in one set, which nobody outside can tell.
const SETS: usize = 256;
const WAYS: usize = 4;

/// A token bucket (what may be sent at once, and how fast that comes back) for each of the hosts that were heard of last.
///
/// A host that finds its set full takes the place of the one that had the most left, which misses the least by it.
#[derive(Debug)]
pub struct HostLimit {
    per_second: f64,
    buckets: Box<[Option<Bucket>]>,
    hasher: RandomState,
}

#[derive(Debug, Clone, Copy)]
struct Bucket {
    host: IpAddr,
    tokens: f64,
    refilled: Instant,
}

impl HostLimit {
    /// So many a second for each host, and as many at once after a quiet second.
    pub fn new(per_second: u32) -> Self {
        let buckets = vec![None; SETS * WAYS].into();
        Self { per_second: f64::from(per_second), buckets, hasher: RandomState::new() }
    }

    /// Whether one more may be sent to a host now; if so, it is counted.
    pub fn take(&mut self, host: IpAddr, now: Instant) -> bool {
        let full = self.per_second;
        let set = (self.hasher.hash_one(host) as usize % SETS) * WAYS;
        let set = &mut self.buckets[set..set + WAYS];
        let left = |bucket: &Bucket| {
            let since = now.saturating_duration_since(bucket.refilled).as_secs_f64();
            (bucket.tokens + since * full).min(full)
        };
        let known = set.iter().position(|bucket| bucket.is_some_and(|bucket| bucket.host == host));
        let place = known.unwrap_or_else(|| {
            let dispensable = |place: &usize| set[*place].as_ref().map_or(f64::INFINITY, left);
            (0..WAYS).max_by(|a, b| dispensable(a).total_cmp(&dispensable(b))).unwrap_or(0)
        });
        let tokens = set[place].as_ref().filter(|bucket| bucket.host == host).map_or(full, left);
        let allowed = tokens >= 1.0;
        let tokens = if allowed { tokens - 1.0 } else { tokens };
        set[place] = Some(Bucket { host, tokens, refilled: now });
        allowed
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::Duration;

    fn host(n: u32) -> IpAddr {
        IpAddr::from((0x0a00_0000 + n).to_be_bytes())
    }

    fn taken(limit: &mut HostLimit, host: IpAddr, now: Instant) -> usize {
        (0..50).filter(|_| limit.take(host, now)).count()
    }

    #[test]
    fn each_host_has_a_rate_of_its_own_that_recovers() {
        let (mut limit, start) = (HostLimit::new(10), Instant::now());
        for n in 0..20 {
            assert_eq!(taken(&mut limit, host(n), start), 10, "host {n}");
        }
        let later = start + Duration::from_millis(500);
        assert_eq!(taken(&mut limit, host(3), later), 5);
        assert_eq!(taken(&mut limit, host(3), later + Duration::from_secs(60)), 10, "no more than a second's worth");
    }

    #[test]
    fn more_hosts_than_places_neither_grow_the_table_nor_go_without() {
        let (mut limit, now) = (HostLimit::new(1), Instant::now());
        for n in 0..20_000 {
            assert!(limit.take(host(n), now), "host {n}");
        }
        assert_eq!(limit.buckets.len(), SETS * WAYS);
    }
}
