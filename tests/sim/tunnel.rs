//! What stands between the right end and each other one, and what must hold of it at the moment.

use crate::setup::RIGHT;

/// What an end is to have with the right one.
pub struct Tunnel {
    pub outer: usize,
    /// Whether the outer end is there and wants it.
    pub is_wanted: bool,
    /// Whether losing the connection is a violation: while nobody restarts and every message arrives at last.
    pub must_stay_up: bool,
    /// Whether an ESP packet without an SA, at either end, is a violation: while the network is good.
    pub must_carry_traffic: bool,
}

impl Tunnel {
    pub fn new(outer: usize) -> Self {
        Self { outer, is_wanted: true, must_stay_up: false, must_carry_traffic: false }
    }

    pub fn ends(&self) -> [usize; 2] {
        [self.outer, RIGHT]
    }

    /// Whether this end has it.
    pub fn is_of(&self, side: usize) -> bool {
        self.ends().contains(&side)
    }
}
