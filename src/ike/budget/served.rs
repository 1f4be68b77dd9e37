//! Which sources have had a key exchange lately, and when: each exactly, since it is them who is to wait for the others.

use std::collections::{BTreeMap, BTreeSet};

use crate::ike::source::Source;

/// How long that is remembered, in microseconds.
const LATELY: u64 = 120_000_000;
/// Sources of each cost at most; the one that was served longest ago makes room. There is no time for more with a dear
/// method, and those that are many with a cheap one have none of these forgotten.
const MOST: usize = 4096;

/// Ordered maps, which give their memory back as they empty.
#[derive(Default)]
pub(super) struct Served {
    by_source: BTreeMap<Source, (u64, Cost)>,
    /// As many as key exchange methods.
    by_cost: BTreeMap<Cost, BTreeSet<(u64, Source)>>,
}

/// Of the dearest key exchange that a source has had, in microseconds.
type Cost = u64;

impl Served {
    /// When this source was served last, if that is not long ago.
    pub(super) fn last(&self, source: Source, now: u64) -> Option<u64> {
        self.by_source.get(&source).map(|(at, _)| *at).filter(|at| now.saturating_sub(*at) < LATELY)
    }

    /// It is served now, at this cost.
    pub(super) fn note(&mut self, source: Source, cost: Cost, now: u64) {
        let dearest = self.by_source.get(&source).map_or(cost, |(_, before)| cost.max(*before));
        self.forget(source);
        self.by_source.insert(source, (now, dearest));
        self.by_cost.entry(dearest).or_default().insert((now, source));
        for by_time in self.by_cost.values_mut() {
            while let Some((at, oldest)) = by_time.first().copied()
                && (by_time.len() > MOST || now.saturating_sub(at) >= LATELY)
            {
                by_time.remove(&(at, oldest));
                self.by_source.remove(&oldest);
            }
        }
    }

    /// It is as if it had not been.
    pub(super) fn forget(&mut self, source: Source) {
        if let Some((at, cost)) = self.by_source.remove(&source)
            && let Some(by_time) = self.by_cost.get_mut(&cost)
        {
            by_time.remove(&(at, source));
        }
    }
}

#[cfg(test)]
mod tests {
    use std::net::{IpAddr, Ipv4Addr};

    use super::*;

    fn source(host: u32) -> Source {
        Source::of(IpAddr::V4(Ipv4Addr::from_bits(host)))
    }

    #[test]
    fn a_source_is_known_by_its_last_time_until_that_is_long_ago() {
        let mut served = Served::default();
        served.note(source(1), 80, 5);
        served.note(source(1), 40, 9);
        assert_eq!(served.last(source(1), 10), Some(9));
        assert_eq!([9 + LATELY - 1, 9 + LATELY].map(|now| served.last(source(1), now)), [Some(9), None]);
        served.forget(source(1));
        assert_eq!((served.last(source(1), 10), served.by_cost[&80].len()), (None, 0));
    }

    #[test]
    fn what_is_remembered_is_bounded() {
        let mut served = Served::default();
        let count = 3 * MOST as u32;
        served.note(source(count), 22_000, 0);
        for host in 0..count {
            served.note(source(host), 80, u64::from(host));
        }
        assert_eq!((served.by_source.len(), served.by_cost[&80].len()), (MOST + 1, MOST));
        assert_eq!(served.last(source(count - 1), u64::from(count)), Some(u64::from(count) - 1));
        assert_eq!(served.last(source(count), u64::from(count)), Some(0), "not for many that were cheap");
        served.note(source(0), 80, LATELY + u64::from(count));
        assert_eq!(served.by_source.len(), 1, "the others were served long ago");
    }
}
