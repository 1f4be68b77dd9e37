//! The Child SAs of an IKE SA: which pairs there are, and which of them send. Nobody else decides that.
//!
//! ```text
//!  add ──► [waits for the peer] ──activate──► sends ──retire──► receives what is in flight ──remove──► gone
//!                                               ▲ of the pair that it replaces
//! ```

use std::sync::Arc;
use std::time::Instant;

use super::association::Association;
use super::child::{Agreed, ChildPair, PairKeys, Stage};
use super::context::Context;
use super::coverage::Flows;
use super::event::{Deadline, Removal, Why};
use super::sa::Sa;
use super::wanted::WantedChild;
use crate::wire::ike::IkeSpi;

/// The pairs of Child SAs of one IKE SA, by the SPI that we receive on.
pub(super) struct Children {
    /// Whose IKE SA it is. Most pairs, and those that are meant by the name of a child alone, are its, too.
    association: Arc<Association>,
    pairs: Vec<ChildPair>,
}

impl Children {
    pub(super) fn new(association: Arc<Association>, pairs: Vec<ChildPair>) -> Self {
        Self { association, pairs }
    }

    pub(super) fn iter(&self) -> impl Iterator<Item = &ChildPair> {
        self.pairs.iter()
    }

    pub(super) fn get(&self, inbound_spi: u32) -> Option<&ChildPair> {
        self.pairs.iter().find(|pair| pair.inbound_spi == inbound_spi)
    }

    pub(super) fn get_mut(&mut self, inbound_spi: u32) -> Option<&mut ChildPair> {
        find(&mut self.pairs, inbound_spi)
    }

    /// The pair with this SPI, if it is, or is about to be, what its child's traffic uses.
    pub(super) fn current_mut(&mut self, inbound_spi: u32) -> Option<&mut ChildPair> {
        self.get_mut(inbound_spi).filter(|pair| pair.is_current())
    }

    /// The pairs that are, or are about to be, what their child's traffic uses.
    pub(super) fn current(&self) -> impl Iterator<Item = &ChildPair> {
        self.pairs.iter().filter(|pair| pair.is_current())
    }

    /// Such pairs of one child of the IKE SA's own connection.
    pub(super) fn current_of(&self, child: &Arc<str>) -> impl Iterator<Item = &ChildPair> {
        self.current_for(&self.association, child)
    }

    fn current_for(&self, association: &Arc<Association>, child: &Arc<str>) -> impl Iterator<Item = &ChildPair> {
        self.current().filter(move |pair| pair.child == *child && Arc::ptr_eq(&pair.association, association))
    }

    /// Such pairs of other connections.
    pub(super) fn guests(&self) -> impl Iterator<Item = &ChildPair> {
        self.current().filter(|pair| !Arc::ptr_eq(&pair.association, &self.association))
    }

    /// Whether there is a pair that carries this child's traffic, or is about to.
    pub(super) fn has_current(&self, child: &Arc<str>) -> bool {
        self.current_of(child).next().is_some()
    }

    /// Whether these carry all that those of another IKE SA do, each by pairs of the same child, or are about to.
    pub(super) fn carry_all_of(&self, others: &Self) -> bool {
        others.current().all(|pair| {
            let (local, peer) = pair.selectors();
            let held = |flows: Flows| {
                self.current_for(&pair.association, &pair.child).any(|other| flows.is_held_by(other.selectors()))
            };
            local.iter().all(|local| peer.iter().all(|peer| held(Flows { local: *local, peer: *peer })))
        })
    }

    /// Whether there is a pair for what is wanted.
    pub(super) fn have(&self, wanted: &WantedChild) -> bool {
        match wanted.packet.or(wanted.part) {
            Some(flows) => self.current_of(&wanted.child).any(|pair| flows.is_held_by(pair.selectors())),
            None => self.has_current(&wanted.child),
        }
    }

    /// Installs a pair in the data path, which does not send on it yet. It takes the place of `replaces`.
    pub(super) fn install(
        &mut self,
        agreed: Agreed,
        keys: PairKeys,
        replaces: Option<u32>,
        sa: &Sa,
        cx: &mut Context<'_>,
    ) {
        let transport = sa.transport(sa.channel().path(), cx);
        self.pairs.push(ChildPair::install(agreed, keys, transport, replaces, cx));
    }

    /// Every answer of ours has arrived.
    pub(super) fn confirmed(&mut self) {
        self.pairs.iter_mut().for_each(|pair| pair.unconfirmed_until = None);
    }

    /// Another pair has taken this one's place.
    pub(super) fn replaced(&mut self, inbound_spi: u32) {
        if let Some(pair) = self.get_mut(inbound_spi) {
            pair.stage = Stage::Replaced;
        }
    }

    /// Starts to send on a pair, if that has not been done, and stops on the one that it replaces.
    pub(super) fn activate(&mut self, inbound_spi: u32, cx: &mut Context<'_>) {
        let Some(pair) = find(&mut self.pairs, inbound_spi) else { return };
        pair.activate(cx);
        if let Some(replaced) = pair.replaces.take().and_then(|spi| find(&mut self.pairs, spi)) {
            replaced.retire_outbound(cx);
        }
    }

    /// Starts to send on the pair that was waiting for this one to go.
    pub(super) fn activate_successor(&mut self, of: u32, cx: &mut Context<'_>) {
        let successor = self.pairs.iter().find(|pair| pair.replaces == Some(of) && pair.is_current());
        if let Some(inbound_spi) = successor.map(|pair| pair.inbound_spi) {
            self.activate(inbound_spi, cx);
        }
    }

    /// We are about to delete the pair: nothing is sent on it any more. False if it was deleted already.
    pub(super) fn begin_delete(&mut self, inbound_spi: u32, cx: &mut Context<'_>) -> bool {
        match find(&mut self.pairs, inbound_spi) {
            Some(pair) if pair.is_retired() => false,
            Some(pair) => {
                pair.stage = Stage::Deleting;
                pair.retire_outbound(cx);
                true
            }
            // The peer may have one that we never installed.
            None => true,
        }
    }

    /// Both ends have deleted the pair; it still receives what is in flight until then.
    pub(super) fn retire(&mut self, inbound_spi: u32, until: Instant, cx: &mut Context<'_>) {
        let Some(pair) = find(&mut self.pairs, inbound_spi) else { return };
        if !pair.is_retired() {
            pair.stage = Stage::Retired(until);
        }
        pair.retire_outbound(cx);
    }

    /// Takes a pair from the data path. Tells how it was.
    pub(super) fn remove(&mut self, inbound_spi: u32, reason: Removal, cx: &mut Context<'_>) -> Option<Removed> {
        let index = self.pairs.iter().position(|pair| pair.inbound_spi == inbound_spi)?;
        let pair = self.pairs.remove(index);
        let is_guest = !Arc::ptr_eq(&pair.association, &self.association);
        let removed = Removed { child: pair.child.clone(), stage: pair.stage, is_guest };
        pair.remove(reason, cx);
        Some(removed)
    }

    /// Takes every pair from the data path.
    pub(super) fn remove_all(&mut self, reason: Removal, cx: &mut Context<'_>) {
        for pair in self.pairs.drain(..) {
            pair.remove(reason, cx);
        }
    }

    /// Takes over the pairs of the IKE SA that this one replaces; `owner` is our SPI of this one.
    pub(super) fn inherit(&mut self, old: &mut Self, owner: IkeSpi, cx: &mut Context<'_>) {
        for pair in &old.pairs {
            cx.inbound_spis.moved(pair.inbound_spi, owner);
        }
        self.pairs.append(&mut old.pairs);
    }

    /// The pairs whose grace or life is over.
    pub(super) fn ended(&self, now: Instant) -> Vec<u32> {
        self.pairs.iter().filter(|pair| pair.end_due() <= now).map(|pair| pair.inbound_spi).collect()
    }

    /// The pairs that are to be rekeyed now. Each is named once.
    pub(super) fn take_rekeys_due(&mut self, now: Instant) -> Vec<u32> {
        let due = self.pairs.iter_mut().filter(|pair| pair.rekey_due().is_some_and(|at| at <= now));
        due.map(|pair| {
            pair.stage = Stage::Rekeying;
            pair.inbound_spi
        })
        .collect()
    }

    /// When the pairs want something done.
    pub(super) fn deadlines(&self) -> impl Iterator<Item = Deadline> {
        self.pairs.iter().flat_map(|pair| {
            let why = if pair.is_retired() { Why::RemoveReplaced } else { Why::ExpireChild };
            let rekey = pair.rekey_due().map(|at| Deadline { at, why: Why::RekeyChild });
            [Some(Deadline { at: pair.end_due(), why }), rekey].into_iter().flatten()
        })
    }
}

/// The pair with this SPI.
fn find(pairs: &mut [ChildPair], inbound_spi: u32) -> Option<&mut ChildPair> {
    pairs.iter_mut().find(|pair| pair.inbound_spi == inbound_spi)
}

/// What a pair was that is gone.
pub(super) struct Removed {
    pub(super) child: Arc<str>,
    pub(super) stage: Stage,
    /// It was another connection's, which sees to a new one itself.
    pub(super) is_guest: bool,
}

impl Removed {
    /// Whether it was, or was about to be, what its child's traffic used.
    pub(super) fn was_current(&self) -> bool {
        self.stage.is_current()
    }
}
