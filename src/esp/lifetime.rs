//! How much an SA may carry: sequence numbers, packets and bytes.

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

/// The last sequence number without extension: numbers must not cycle (RFC 4303 section 3.3.3).
const LAST_SHORT_SEQUENCE: u64 = u32::MAX as u64;

impl Limits {
    /// No limit but the sequence numbers: a rekey is due when three quarters of them are used.
    pub const UNLIMITED: Self =
        Self { soft_packets: u64::MAX, hard_packets: u64::MAX, soft_bytes: u64::MAX, hard_bytes: u64::MAX };

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
    use super::*;

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
    fn sequence_numbers_are_a_limit_of_their_own() {
        let standing = |sequence, extended| Limits::UNLIMITED.standing(1, 1, sequence, extended);
        assert_eq!(standing(u64::from(u32::MAX) / 4 * 3, false), Standing::RekeyDue);
        assert_eq!(standing(u64::from(u32::MAX), false), Standing::Exhausted);
        assert_eq!(standing(u64::from(u32::MAX), true), Standing::Usable);
        assert_eq!(standing(u64::MAX, true), Standing::Exhausted);
    }
}
