//! Which sources have had a key exchange lately, and when: each exactly, since it is them who is to wait for the others.

use std::collections::{BTreeMap, BTreeSet};

use crate::ike::source::Source;

/// How long that is remembered, in microseconds.
const LATELY: u64 = 120_000_000;
/// Sources at most; the one that was served longest ago makes room.
const MOST: usize = 4096;

/// Two ordered maps, which give their memory back as they empty.
#[derive(Default)]
pub(super) struct Served {
    by_source: BTreeMap<Source, u64>,
    by_time: BTreeSet<(u64, Source)>,
}

impl Served {
    /// When this source was served last, if that is not long ago.
    pub(super) fn last(&self, source: Source, now: u64) -> Option<u64> {
        self.by_source.get(&source).copied().filter(|at| now.saturating_sub(*at) < LATELY)
    }

    /// It is served now.
    pub(super) fn note(&mut self, source: Source, now: u64) {
        self.forget(source);
        self.by_source.insert(source, now);
        self.by_time.insert((now, source));
        while let Some((at, oldest)) = self.by_time.first().copied()
            && (self.by_time.len() > MOST || now.saturating_sub(at) >= LATELY)
        {
            self.forget(oldest);
        }
    }

    /// It is as if it had not been.
    pub(super) fn forget(&mut self, source: Source) {
        if let Some(at) = self.by_source.remove(&source) {
            self.by_time.remove(&(at, source));
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
        served.note(source(1), 5);
        served.note(source(1), 9);
        assert_eq!(served.last(source(1), 10), Some(9));
        assert_eq!([9 + LATELY - 1, 9 + LATELY].map(|now| served.last(source(1), now)), [Some(9), None]);
        served.forget(source(1));
        assert_eq!((served.last(source(1), 10), served.by_time.len()), (None, 0));
    }

    #[test]
    fn what_is_remembered_is_bounded() {
        let mut served = Served::default();
        let count = 3 * MOST as u32;
        for host in 0..count {
            served.note(source(host), u64::from(host));
        }
        assert_eq!((served.by_source.len(), served.by_time.len()), (MOST, MOST));
        assert_eq!(served.last(source(count - 1), u64::from(count)), Some(u64::from(count) - 1));
        served.note(source(0), LATELY + u64::from(count));
        assert_eq!(served.by_source.len(), 1, "the others were served long ago");
    }
}
