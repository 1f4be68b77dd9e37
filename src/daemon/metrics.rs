//! Counters of what was dropped, by reason, from every thread.

use std::collections::BTreeMap;
use std::sync::Arc;

use crate::dataplane::drop::DropCounters;

/// The counters of both data threads. Each has one writer; anyone may read.
#[derive(Clone, Debug, Default)]
pub struct Drops {
    /// Those of the outbound thread.
    pub outbound: Arc<DropCounters>,
    /// Those of the inbound thread.
    pub inbound: Arc<DropCounters>,
}

impl Drops {
    /// What was lost, with the same reason of both directions added up, and IKE's discards.
    pub fn by_reason(&self, ike: &[(String, u64)]) -> BTreeMap<String, u64> {
        let mut sum: BTreeMap<String, u64> = BTreeMap::new();
        let lost = self.outbound.iter().chain(self.inbound.iter()).filter(|(reason, _)| reason.is_loss());
        let data = lost.map(|(reason, count)| (reason.name().to_owned(), count));
        for (reason, count) in data.chain(ike.iter().cloned()) {
            if count > 0 {
                *sum.entry(reason).or_default() += count;
            }
        }
        sum
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::dataplane::drop::DropReason;

    #[test]
    fn both_directions_and_ike_add_up_and_what_is_no_loss_stays_out() {
        let drops = Drops::default();
        drops.outbound.add(DropReason::NoSa, 2);
        drops.inbound.add(DropReason::BadIcv, 1);
        drops.inbound.add(DropReason::Keepalive, 7);
        drops.outbound.add(DropReason::OwnLink, 9);
        let ike = [("ike-malformed".to_owned(), 3), ("ike-unknown-spi".to_owned(), 0)];
        let sum: Vec<(String, u64)> = drops.by_reason(&ike).into_iter().collect();
        assert_eq!(sum, [("bad-icv".into(), 1), ("ike-malformed".into(), 3), ("no-sa".into(), 2)]);
    }
}
