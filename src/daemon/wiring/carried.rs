//! What a connection has carried since gatewayd knows it: SAs come and go, and its counters go on.

use std::sync::Arc;
use std::time::Instant;

use crate::dataplane::facts::{SaFacts, SaReading};

/// What went through SAs of one direction: inner packets and their bytes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Count {
    /// Inner packets.
    pub packets: u64,
    /// Their bytes.
    pub bytes: u64,
    /// Packets that an SA has dropped.
    pub errors: u64,
    /// When the newest of them passed; `None` while there was none.
    pub last: Option<Instant>,
}

impl From<SaReading> for Count {
    fn from(reading: SaReading) -> Self {
        let SaReading { packets, bytes, errors, last_used: last, .. } = reading;
        Self { packets, bytes, errors, last }
    }
}

impl Count {
    fn add(&mut self, other: Self) {
        self.packets = self.packets.saturating_add(other.packets);
        self.bytes = self.bytes.saturating_add(other.bytes);
        self.errors = self.errors.saturating_add(other.errors);
        self.last = self.last.max(other.last);
    }
}

/// What went through pairs of SAs.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Carried {
    /// From the peer.
    pub inbound: Count,
    /// To the peer.
    pub outbound: Count,
}

impl Carried {
    /// Adds what a pair has carried by now.
    pub fn add(&mut self, inbound: &SaFacts, outbound: &SaFacts) {
        self.inbound.add(inbound.read().into());
        self.outbound.add(outbound.read().into());
    }

    /// Adds what others have carried.
    pub fn merge(&mut self, other: &Self) {
        self.inbound.add(other.inbound);
        self.outbound.add(other.outbound);
    }
}

/// Pairs that are gone.
#[derive(Clone, Debug, Default)]
pub struct Gone {
    carried: Carried,
    /// Facts of pairs that a data thread may still have, and count on.
    leaving: Vec<(Arc<SaFacts>, Arc<SaFacts>)>,
    /// When there are so many of them, it is seen which are final.
    look_at: usize,
}

impl Gone {
    /// A pair goes; the data threads have been told to remove what they have of it.
    pub fn add(&mut self, inbound: Arc<SaFacts>, outbound: Arc<SaFacts>) {
        self.leaving.push((inbound, outbound));
        self.look();
    }

    /// Takes over the pairs of an association that has no other ones.
    pub fn absorb(&mut self, other: Self) {
        self.carried.merge(&other.carried);
        self.leaving.extend(other.leaving);
        self.look();
    }

    /// Counts what is final. The more there is, the rarer: thousands may go at once.
    fn look(&mut self) {
        let Self { carried, leaving, look_at } = self;
        if leaving.len() < *look_at {
            return;
        }
        leaving.retain_mut(|(inbound, outbound)| {
            // Whoever is the only one to have them has seen the last that was written.
            let is_final = Arc::get_mut(inbound).is_some() && Arc::get_mut(outbound).is_some();
            if is_final {
                carried.add(inbound, outbound);
            }
            !is_final
        });
        *look_at = 2 * leaving.len();
    }

    /// What they have carried by now.
    pub fn carried(&self) -> Carried {
        let mut carried = self.carried;
        self.leaving.iter().for_each(|(inbound, outbound)| carried.add(inbound, outbound));
        carried
    }
}
