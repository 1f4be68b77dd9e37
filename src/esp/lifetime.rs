//! How much an SA may carry: sequence numbers, packets and bytes.

use crate::crypto::Entropy;

/// When to ask for a rekey and when to stop. Times are IKE's concern.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Limits {
    /// Packets after which a rekey is due.
    pub soft_packets: u64,
    /// Packets after which the SA passes nothing any more.
    pub hard_packets: u64,
    /// Bytes of inner packets after which a rekey is due.
    pub soft_bytes: u64,
    /// Bytes after which the SA passes nothing any more.
    pub hard_bytes: u64,
}

/// The share of a lifetime after which a rekey is due, in thousandths: any from the first to the second.
const SOFT_FROM: u64 = 800;
const SOFT_TO: u64 = 900;

/// The last sequence number without extension: numbers must not cycle (RFC 4303 section 3.3.3).
const LAST_SHORT_SEQUENCE: u64 = u32::MAX as u64;

impl Limits {
    /// No limit but the sequence numbers: a rekey is due when three quarters of them are used.
    pub const UNLIMITED: Self =
        Self { soft_packets: u64::MAX, hard_packets: u64::MAX, soft_bytes: u64::MAX, hard_bytes: u64::MAX };

    /// Lifetimes in packets and in bytes of inner packets (RFC 4301 section 4.4.2.1): the SA passes nothing any more when one
    /// of them is over, and a rekey is due at 80 to 90 per cent of it, drawn anew for each SA so that neither the two ends nor
    /// many SAs rekey at the same moment. `None`: no such lifetime.
    pub fn of_lifetimes(packets: Option<u64>, bytes: Option<u64>, entropy: &mut dyn Entropy) -> Self {
        let mut drawn = [0; 2];
        entropy.fill(&mut drawn);
        let soft = SOFT_FROM + u64::from(u16::from_be_bytes(drawn)) % (SOFT_TO - SOFT_FROM + 1);
        // Rounding down loses a thousandth at most, and nothing overflows.
        let soft = |hard: Option<u64>| hard.map_or(u64::MAX, |hard| hard / 1000 * soft + hard % 1000 * soft / 1000);
        Self {
            soft_packets: soft(packets),
            hard_packets: packets.unwrap_or(u64::MAX),
            soft_bytes: soft(bytes),
            hard_bytes: bytes.unwrap_or(u64::MAX),
        }
    }

    /// The highest sequence number that may be sent.
    pub fn last_sequence(extended: bool) -> u64 {
        if extended { u64::MAX } else { LAST_SHORT_SEQUENCE }
    }

    /// Where an SA stands that carried this much and whose highest sequence number is given.
    pub fn standing(&self, packets: u64, bytes: u64, sequence: u64, extended: bool) -> Standing {
        let last = Self::last_sequence(extended);
        if packets >= self.hard_packets || bytes >= self.hard_bytes || sequence >= last {
            Standing::Exhausted
        } else if packets >= self.soft_packets || bytes >= self.soft_bytes || sequence >= last / 4 * 3 {
            Standing::RekeyDue
        } else {
            Standing::Usable
        }
    }
}

impl Default for Limits {
    fn default() -> Self {
        Self::UNLIMITED
    }
}

/// Where an SA stands in its life.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Standing {
    /// Well within its limits.
    Usable,
    /// A soft limit passed.
    RekeyDue,
    /// A hard limit passed.
    Exhausted,
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;
    use crate::crypto::fake::SeededEntropy;

    #[test]
    fn limits_are_met_in_order() {
        let limits = Limits { soft_packets: 10, hard_packets: 20, soft_bytes: 1000, hard_bytes: 2000 };
        let standing = |packets, bytes| limits.standing(packets, bytes, packets, false);
        assert_eq!(standing(9, 999), Standing::Usable);
        assert_eq!(standing(10, 0), Standing::RekeyDue);
        assert_eq!(standing(0, 1000), Standing::RekeyDue);
        assert_eq!(standing(20, 0), Standing::Exhausted);
        assert_eq!(standing(0, 2000), Standing::Exhausted);
    }

    #[test]
    fn a_rekey_is_due_at_80_to_90_per_cent_of_a_lifetime() {
        let mut entropy = SeededEntropy::new(7);
        let mut drawn = BTreeSet::new();
        for (packets, bytes) in [(Some(1000), None), (None, Some(1_000_000)), (Some(u64::MAX), Some(u64::MAX))] {
            for _ in 0..200 {
                let limits = Limits::of_lifetimes(packets, bytes, &mut entropy);
                let share = |soft: u64, hard: u64| (u128::from(soft) * 1000).div_ceil(u128::from(hard));
                for (given, soft, hard) in
                    [(packets, limits.soft_packets, limits.hard_packets), (bytes, limits.soft_bytes, limits.hard_bytes)]
                {
                    assert_eq!(hard, given.unwrap_or(u64::MAX));
                    match given {
                        Some(_) => assert!((800..=900).contains(&share(soft, hard)), "{soft} of {hard}"),
                        None => assert_eq!(soft, u64::MAX),
                    }
                }
                drawn.extend(packets.map(|_| share(limits.soft_packets, limits.hard_packets)));
            }
        }
        assert!(drawn.len() > 50, "SAs that are set up together do not rekey together: {drawn:?}");
    }

    #[test]
    fn sequence_numbers_are_a_limit_of_their_own() {
        let standing = |sequence, extended| Limits::UNLIMITED.standing(1, 1, sequence, extended);
        assert_eq!(standing(u64::from(u32::MAX) / 4 * 3, false), Standing::RekeyDue);
        assert_eq!(standing(u64::from(u32::MAX), false), Standing::Exhausted);
        assert_eq!(standing(u64::from(u32::MAX), true), Standing::Usable);
        assert_eq!(standing(u64::MAX, true), Standing::Exhausted);
    }
}
