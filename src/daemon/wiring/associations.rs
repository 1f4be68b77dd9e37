//! What there is of each connection, by association: how many pairs send, and what those that are gone have carried. What
//! happens to one association looks at no other.

use std::collections::HashMap;
use std::sync::Arc;

use super::carried::Gone;
use super::pair::Pair;
use crate::ike::AssociationId;

/// What there is of one connection.
#[derive(Default)]
pub(super) struct OfConnection {
    associations: HashMap<AssociationId, OfAssociation>,
    /// How many of its pairs send.
    sending: usize,
    /// Pairs of associations that are gone.
    gone: Gone,
}

/// What there is of it with one peer.
#[derive(Default)]
struct OfAssociation {
    pairs: usize,
    /// How many pairs of each child send; none that have no such pair.
    sending: HashMap<Arc<str>, usize>,
    gone: Gone,
}

/// The pairs of a connection that are gone.
#[derive(Clone, Debug, Default)]
pub struct GonePairs {
    /// Those of associations that have other ones.
    pub associations: HashMap<AssociationId, Gone>,
    /// Those of associations that are gone.
    pub others: Gone,
}

impl OfConnection {
    pub(super) fn is_empty(&self) -> bool {
        self.associations.is_empty()
    }

    /// Whether any pair sends.
    pub(super) fn carries(&self) -> bool {
        self.sending > 0
    }

    /// Whether any pair of one child of an association sends.
    pub(super) fn child_sends(&self, association: AssociationId, child: &str) -> bool {
        self.associations.get(&association).is_some_and(|of| of.sending.contains_key(child))
    }

    /// A pair is there.
    pub(super) fn joined(&mut self, pair: &Pair) {
        self.associations.entry(pair.association).or_default().pairs += 1;
    }

    /// A pair sends from now on, or does not any more.
    pub(super) fn set_sending(&mut self, association: AssociationId, child: &Arc<str>, sending: bool) {
        let of = &mut self.associations.entry(association).or_default().sending;
        if sending {
            self.sending += 1;
            *of.entry(Arc::clone(child)).or_default() += 1;
            return;
        }
        self.sending = self.sending.saturating_sub(1);
        match of.get_mut(child) {
            Some(count) if *count > 1 => *count -= 1,
            _ => drop(of.remove(child)),
        }
    }

    /// A pair is gone. Says whether it was the last one of its association.
    pub(super) fn left(&mut self, pair: &Pair) -> bool {
        let Some(of) = self.associations.get_mut(&pair.association) else { return false };
        of.gone.add(Arc::clone(&pair.inbound), Arc::clone(&pair.outbound));
        of.pairs = of.pairs.saturating_sub(1);
        if of.pairs > 0 {
            return false;
        }
        if let Some(of) = self.associations.remove(&pair.association) {
            self.gone.absorb(of.gone);
        }
        true
    }

    pub(super) fn gone(&self) -> GonePairs {
        let associations = self.associations.iter().map(|(id, of)| (*id, of.gone.clone())).collect();
        GonePairs { associations, others: self.gone.clone() }
    }
}
