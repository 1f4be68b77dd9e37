//! What there is of each connection, by association: how many pairs send, which children were told up, and what the pairs
//! that are gone have carried. What happens to one association looks at no other.
//!
//! An association is there as long as IKE has it, with or without a pair: a peer may delete its only one and keep the IKE
//! SA. Whether IKE still has those without a pair is asked now and then.

use std::collections::{HashMap, VecDeque};
use std::sync::Arc;

use super::carried::Gone;
use super::pair::Pair;
use super::turns::at_once;
use crate::ike::AssociationId;

/// What there is of every connection.
#[derive(Default)]
pub(super) struct OfConnections {
    by_name: HashMap<Arc<str>, OfConnection>,
    /// Associations that lost their last pair, the one that was asked for longest ago first; some may have one again.
    idle: VecDeque<(Arc<str>, AssociationId)>,
}

/// What there is of one connection.
#[derive(Default)]
struct OfConnection {
    /// Boxed: of most connections there is one, in a map that has room for more.
    associations: HashMap<AssociationId, Box<OfAssociation>>,
    /// How many of its pairs send on a path that answers.
    answering: usize,
    /// Pairs of associations that are gone.
    gone: Gone,
}

/// What there is of it with one peer.
#[derive(Default)]
struct OfAssociation {
    pairs: usize,
    /// It stands in the list of those that lost their last pair.
    listed: bool,
    /// The children that have a pair that sends, or were told up. Each of them has a pair.
    children: Vec<OfChild>,
    gone: Gone,
}

/// One child of an association.
struct OfChild {
    name: Arc<str>,
    /// How many of its pairs send.
    sending: usize,
    /// It was told up, and not down since.
    told_up: bool,
}

impl OfConnection {
    fn gone_pairs(&self) -> GonePairs {
        GonePairs {
            associations: self.associations.iter().map(|(id, of)| (*id, of.gone.clone())).collect(),
            others: self.gone.clone(),
        }
    }
}

impl OfAssociation {
    /// The child of this name, which may be new.
    fn child_mut(&mut self, name: &Arc<str>) -> &mut OfChild {
        let known = self.children.iter().position(|child| child.name == *name);
        let place = known.unwrap_or_else(|| {
            self.children.push(OfChild { name: Arc::clone(name), sending: 0, told_up: false });
            self.children.len() - 1
        });
        &mut self.children[place]
    }

    /// Forgets the children of which there is nothing to say.
    fn forget_idle_children(&mut self) {
        self.children.retain(|child| child.sending > 0 || child.told_up);
    }
}

/// The pairs of a connection that are gone.
#[derive(Clone, Debug, Default)]
pub struct GonePairs {
    /// Those of associations that are there.
    pub associations: HashMap<AssociationId, Gone>,
    /// Those of associations that are gone.
    pub others: Gone,
}

impl OfConnections {
    /// A pair is there.
    pub(super) fn joined(&mut self, pair: &Pair) {
        let of = self.by_name.entry(Arc::clone(&pair.connection)).or_default();
        of.associations.entry(pair.association).or_default().pairs += 1;
    }

    /// A pair that is there sends from now on, or does not any more.
    pub(super) fn set_sending(&mut self, pair: &Pair, sending: bool) {
        let Some(of_connection) = self.by_name.get_mut(&pair.connection) else { return };
        let Some(of) = of_connection.associations.get_mut(&pair.association) else { return };
        let count = &mut of.child_mut(&pair.child).sending;
        *count = one_more_or_less(*count, sending);
        of.forget_idle_children();
        if !pair.silent {
            self.set_answering(pair, sending);
        }
    }

    /// The path of a pair that sends answers from now on, or does not any more.
    pub(super) fn set_answering(&mut self, pair: &Pair, answering: bool) {
        if let Some(of) = self.by_name.get_mut(&pair.connection) {
            of.answering = one_more_or_less(of.answering, answering);
        }
    }

    /// Whether any pair of the connection sends on a path that answers.
    pub(super) fn carries(&self, connection: &str) -> bool {
        self.by_name.get(connection).is_some_and(|of| of.answering > 0)
    }

    /// The pair's child has one that sends. Whether that is news to those who are told.
    pub(super) fn goes_up(&mut self, pair: &Pair) -> bool {
        let Some(of) = self.association_mut(&pair.connection, pair.association) else { return false };
        !std::mem::replace(&mut of.child_mut(&pair.child).told_up, true)
    }

    /// A pair of its child went. Whether that is news to those who are told: none sends, and the child had been told up.
    pub(super) fn goes_down(&mut self, pair: &Pair) -> bool {
        let Some(of) = self.association_mut(&pair.connection, pair.association) else { return false };
        let child = of.child_mut(&pair.child);
        let down = child.sending == 0 && std::mem::replace(&mut child.told_up, false);
        of.forget_idle_children();
        down
    }

    /// A pair is gone, and what it carried is kept.
    pub(super) fn left(&mut self, pair: &Pair) {
        let Some(of) = self.association_mut(&pair.connection, pair.association) else { return };
        of.gone.add(Arc::clone(&pair.inbound), Arc::clone(&pair.outbound));
        of.pairs = of.pairs.saturating_sub(1);
        if of.pairs == 0 && !std::mem::replace(&mut of.listed, true) {
            self.idle.push_back((Arc::clone(&pair.connection), pair.association));
        }
    }

    /// Forgets the associations without a pair that IKE does not have any more, of thousands a tenth at a time. Gives
    /// them; what they carried is their connection's.
    pub(super) fn forget_gone(&mut self, is_there: impl Fn(AssociationId) -> bool) -> Vec<(Arc<str>, AssociationId)> {
        let mut forgotten = Vec::new();
        for _ in 0..at_once(self.idle.len()) {
            let Some((name, association)) = self.idle.pop_front() else { break };
            let Some(of_connection) = self.by_name.get_mut(&name) else { continue };
            let Some(of) = of_connection.associations.get_mut(&association) else { continue };
            if of.pairs > 0 {
                of.listed = false;
            } else if is_there(association) {
                self.idle.push_back((name, association));
            } else if let Some(of) = of_connection.associations.remove(&association) {
                of_connection.gone.absorb(of.gone);
                forgotten.push((name, association));
            }
        }
        forgotten
    }

    /// Forgets one connection, if it has no association.
    pub(super) fn forget_empty(&mut self, connection: &str) {
        if self.by_name.get(connection).is_some_and(|of| of.associations.is_empty()) {
            self.by_name.remove(connection);
        }
    }

    /// By the name of the connection, its pairs that are gone.
    pub(super) fn gone(&self) -> HashMap<Arc<str>, GonePairs> {
        self.by_name.iter().map(|(name, of)| (Arc::clone(name), of.gone_pairs())).collect()
    }

    /// The same of one connection, if there is anything to say of it.
    pub(super) fn gone_of(&self, connection: &str) -> Option<GonePairs> {
        self.by_name.get(connection).map(OfConnection::gone_pairs)
    }

    fn association_mut(&mut self, connection: &str, association: AssociationId) -> Option<&mut OfAssociation> {
        self.by_name.get_mut(connection)?.associations.get_mut(&association).map(|of| &mut **of)
    }
}

fn one_more_or_less(count: usize, more: bool) -> usize {
    if more { count + 1 } else { count.saturating_sub(1) }
}
